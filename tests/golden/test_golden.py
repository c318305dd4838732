"""Every released event version, by its golden sample, through today's readers."""

from pathlib import Path
from typing import Any

import orjson
import pytest
from jsonschema import Draft202012Validator
from pydantic import BaseModel

from events.history import HISTORY
from events.inputs import INPUTS
from events.kpis import KPIS
from events.outputs import OUTPUTS
from schemas.cloudevents import Accepted, emit, read

SAMPLES = sorted(Path("schemas/golden").glob("*.json"))


def sample(path: Path) -> tuple[str, dict[str, Any]]:
    return path.name.partition(".")[0], orjson.loads(path.read_bytes())


def unset(model: BaseModel, at: str) -> list[str]:
    """The fields below `model` that the sample leaves at their default."""
    found = [f"{at}{name}" for name in type(model).model_fields.keys() - model.model_fields_set]
    for name, value in model:
        parts = value if isinstance(value, list) else [value]
        inside = [unset(one, f"{at}{name}.") for one in parts if isinstance(one, BaseModel)]
        if inside:  # some fields exclude each other: another element sets them
            found += [field for field in inside[0] if all(field in other for other in inside)]
        if value == type(model).model_fields[name].default:
            found.append(f"{at}{name}")
    return found


@pytest.mark.parametrize("path", SAMPLES, ids=lambda path: path.stem)
def test_todays_reader_reads_it_and_writes_it_back_equal(path: Path) -> None:
    name, event = sample(path)
    if name not in INPUTS:
        model: BaseModel = {**OUTPUTS, **HISTORY, **KPIS}[name].model_validate_json(
            orjson.dumps(event["data"])
        )
        assert orjson.loads(model.model_dump_json(exclude_defaults=True)) == event["data"]
    else:
        structured = read(INPUTS[name].TOPIC, path.read_bytes(), [])
        headers = emit(name, event["id"], event["source"], event["time"])
        binary = read(INPUTS[name].TOPIC, orjson.dumps(event["data"]), headers)
        assert isinstance(structured, Accepted), structured
        assert structured == binary
        assert orjson.loads(structured.data) == event["data"]
        model = structured.model
    assert unset(model, "") == [], "a sample sets every field, to something else than its default"


@pytest.mark.parametrize("path", SAMPLES, ids=lambda path: path.stem)
def test_it_fits_the_published_schema(path: Path) -> None:
    _, event = sample(path)
    schema = orjson.loads((Path("schemas/json") / path.name).read_bytes())
    Draft202012Validator.check_schema(schema)
    Draft202012Validator(schema).validate(event["data"])


def test_there_is_one_for_every_event() -> None:
    assert {sample(path)[0] for path in SAMPLES} == {*INPUTS, *OUTPUTS, *HISTORY, *KPIS}
