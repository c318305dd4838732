"""Generated files are what the code would write, and change only as a released version may."""

from collections.abc import Iterator
from copy import deepcopy
from pathlib import Path
from typing import Annotated, Any, Literal

import orjson
import pytest
from pydantic import BaseModel, ConfigDict, Field

from events.history import HISTORY
from events.inputs import INPUTS
from events.kpis import KPIS
from events.outputs import OUTPUTS
from schemas import generate
from schemas.evolution import breaks
from schemas.topics import TOPICS
from schemas.words import schema_at


def test_the_generated_files_are_what_the_code_would_write() -> None:
    assert generate.stale(generate.files()) == []


def test_nothing_breaks_what_is_released() -> None:
    assert generate.problems() == []


def test_a_stale_file_is_named_and_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(generate, "HERE", tmp_path / "schemas")
    wanted = {tmp_path / "docs" / "page.md": "new\n"}
    assert generate.settle(wanted, check=True) == 1
    assert capsys.readouterr().err == "docs/page.md is stale: run `make docs`\n"
    assert generate.settle(wanted, check=False) == 0
    assert generate.settle(wanted, check=True) == 0


class Part(BaseModel):
    model_config = ConfigDict(extra="forbid")
    sku: Annotated[str, Field(min_length=1, max_length=64, pattern="^[A-Z]+$")]
    quantity: Annotated[int, Field(ge=1, le=100)]
    note: str | None = None


class Before(BaseModel):
    model_config = ConfigDict(extra="forbid")
    kind: Literal["a", "b"]
    count: int = 0
    lines: Annotated[list[Part], Field(min_length=1, max_length=10)]
    attributes: dict[str, str] = {}


def changed(change: str) -> tuple[dict[str, Any], dict[str, Any]]:
    """The schema before and after a change, written as an assignment to a path in it."""
    old = Before.model_json_schema()
    new = deepcopy(old)
    exec(change, {"s": new, "part": new["$defs"]["Part"]})  # noqa: S102 - our own table
    return old, new


FORBIDDEN = {
    "del s['properties']['count']": "count: was removed",
    "del part['properties']['note']": "lines[].note: was removed",
    "s['required'].append('count')": "count: was made required",
    "s['properties']['x'] = {'type': 'string'}; s['required'].append('x')": "x: was made required",
    "s['properties']['kind']['enum'] = ['a']": 'kind: the value "b" was removed',
    "s['properties']['count']['type'] = 'string'": "count: type was 'integer', is 'string'",
    "s['properties']['count']['default'] = 1": "count: the default was 0, is 1",
    "s['properties']['count']['minimum'] = 0": "count: minimum was raised from None to 0",
    "part['properties']['quantity']['minimum'] = 2": "lines[].quantity: minimum was raised",
    "part['properties']['quantity']['maximum'] = 99": "lines[].quantity: maximum was lowered",
    "part['properties']['sku']['maxLength'] = 10": "lines[].sku: maxLength was lowered",
    "part['properties']['sku']['minLength'] = 2": "lines[].sku: minLength was raised",
    "part['properties']['sku']['pattern'] = '^[A-Z]$'": "lines[].sku: pattern was",
    "s['properties']['lines']['maxItems'] = 5": "lines: maxItems was lowered from 10 to 5",
    "part['properties']['note'] = {'type': 'string', 'default': None}": "lines[].note: type was",
    "s['properties']['attributes']['additionalProperties'] = False": "attributes.*: was",
    "s['properties']['count']['not'] = {'const': 0}": "count: not was absent, is",
}


@pytest.mark.parametrize("change", FORBIDDEN)
def test_what_breaks_those_who_hold_to_it_is_named(change: str) -> None:
    found = breaks(*changed(change))
    assert len(found) == 1
    assert found[0].startswith(FORBIDDEN[change])


@pytest.mark.parametrize(
    "change",
    [
        "s['properties']['x'] = {'type': 'string', 'default': ''}",
        "part['properties']['x'] = {'type': 'string', 'default': ''}",
        "s['properties']['kind']['enum'].append('c')",
        "part['properties']['quantity']['maximum'] = 200",
        "part['properties']['quantity']['minimum'] = 0",
        "del part['properties']['sku']['pattern']",
        "s['properties']['kind']['description'] = 'Says what it is.'",
        "s['properties']['count'] = {'default': 0, 'anyOf': [{'type': 'integer'}, {}]}",
        "s['required'].remove('kind')",
        "s['required'].remove('kind'); s['properties']['kind']['default'] = 'a'",
        "pass",
    ],
)
def test_what_widens_is_allowed(change: str) -> None:
    assert breaks(*changed(change)) == []


def test_what_was_always_in_an_output_stays_in_it() -> None:
    assert breaks(*changed("s['required'].remove('kind')"), output=True) == [
        "kind: was always there, is optional now"
    ]


def _references(node: object) -> Iterator[str]:
    if isinstance(node, dict):
        if isinstance(node.get("$ref"), str):
            yield node["$ref"]
        for value in node.values():
            yield from _references(value)
    elif isinstance(node, list):
        for value in node:
            yield from _references(value)


def test_the_asyncapi_document_names_every_public_topic_and_event_once() -> None:
    document = orjson.loads(generate.ASYNCAPI.read_bytes())
    public = {name for name, topic in TOPICS.items() if topic.role != "internal"}
    assert set(document["channels"]) == public
    events = [name for channel in document["channels"].values() for name in channel["messages"]]
    assert sorted(events) == sorted([*INPUTS, *OUTPUTS, *HISTORY, *KPIS, "rejected_record"])
    for reference in _references(document):
        if reference.startswith("#/"):
            at = document
            for step in reference[2:].split("/"):
                at = at[step]
        else:
            assert (generate.HERE / reference).exists()


def test_what_is_not_built_stands_in_no_published_schema() -> None:
    for name, model in INPUTS.items():
        schema = orjson.loads((generate.JSON_SCHEMAS / f"{name}.v1.json").read_bytes())
        for path in model.NOT_BUILT:
            steps = path.replace("[]", ".0").split(".")
            at = tuple(0 if step == "0" else step for step in steps)
            assert schema_at(schema, at) is None, (name, path)
