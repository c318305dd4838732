"""NUL in any text of an input is refused: PostgreSQL has no such text; projectors would halt."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import orjson
import pytest

from events.inputs import INPUTS
from schemas.cloudevents import Rejected, emit, read

TIME = "2026-01-31T12:00:00Z"


def with_nul(value: object) -> Iterator[Any]:
    """The value with NUL in one of its texts or names, each in turn."""
    if isinstance(value, str):
        yield value[:1] + "\0" + value[1:]
    elif isinstance(value, dict):
        for name, inner in value.items():
            yield from ({**value, name: changed} for changed in with_nul(inner))
            yield {("\0" + one if one == name else one): kept for one, kept in value.items()}
    elif isinstance(value, list):
        for number, inner in enumerate(value):
            for changed in with_nul(inner):
                yield [*value[:number], changed, *value[number + 1 :]]


@pytest.mark.parametrize("name", sorted(INPUTS))
def test_nul_in_any_text_of_an_input_is_invalid_data(name: str) -> None:
    data = orjson.loads(Path(f"schemas/golden/{name}.v1.json").read_bytes())["data"]
    topic, headers = INPUTS[name].TOPIC, emit(name, "1", "test", TIME)
    assert not isinstance(read(topic, orjson.dumps(data), headers), Rejected)
    variants = list(with_nul(data))
    assert variants
    for variant in variants:
        event = read(topic, orjson.dumps(variant), headers)
        assert isinstance(event, Rejected), variant
        assert event.code == "invalid_data", (event.code, variant)
