"""The tables of an export: every event fits its table, and every column can be asked for."""

import re
from collections import defaultdict
from pathlib import Path
from typing import get_args

import duckdb
import orjson
import pyarrow as pa
import pytest

from events.decided import EVENT_TYPES, DecidedEvent
from events.inputs import INPUTS
from orchestrator.export.shapes import DECISION, SHAPES, decision
from orchestrator.export.tables import ENVELOPE, KINDS, tables
from schemas.history import Known, flatten
from schemas.journal import Entry
from tests.golden.test_journal import read
from tests.projections.test_from_the_core import told

ROOT = Path(__file__).parents[2]


def entries() -> dict[str, list[Entry]]:
    """Of the first release, and of today's core."""
    return {
        "0.1.0": [entry for commit in read("journal-0.1.0")[1] for entry in commit.entries],
        "today": [orjson.loads(entry) for entry in told().entries],
    }


def test_there_is_a_table_for_every_input_and_every_decided_event() -> None:
    there = tables().keys()
    assert {name for kind, name in there if kind == "event"} == EVENT_TYPES
    assert INPUTS.keys() <= {name for kind, name in there if kind == "input"}


def test_what_is_shaped_by_hand_exists() -> None:
    fields = {
        (get_args(one.__annotations__["type"])[0], field)
        for one in get_args(DecidedEvent)
        for field in one.__annotations__
    }
    assert SHAPES.keys() <= fields


@pytest.mark.parametrize("release", ["0.1.0", "today"])
def test_every_event_arrives_in_its_table_with_nothing_left_out(release: str) -> None:
    known = Known()
    lines: dict[tuple[str, str], list[bytes]] = defaultdict(list)
    said: dict[tuple[str, str], set[str]] = defaultdict(set)
    for number, entry in enumerate(entries()[release]):
        for _, record in flatten(known, 0, number, 0, entry):
            key = record["kind"], record["event"]
            said[key] |= {field for field, value in record["data"].items() if value is not None}
            reshape = tables()[key].reshape
            if reshape is not None:
                reshape(record["data"])
            lines[key].append(orjson.dumps(record))
    assert len(lines) > 25
    for key, some in lines.items():
        table = tables()[key]
        found = table.read(some)
        assert found.num_rows == len(some)
        assert found.column("position").null_count == 0
        names = {column.field: column.name for column in table.columns}
        for field in said[key] - ENVELOPE.keys():
            column = found.column(names[field])
            assert column.null_count < len(some), (key, field)


def test_decisions_of_the_first_release_have_the_structure_of_todays() -> None:
    texts = [
        event["decision"]
        for entry in entries()["0.1.0"]
        for event in entry["events"]
        if event["type"] == "order_allocated"
    ]
    told_ = pa.array([decision(text) for text in texts], _loose(DECISION)).to_pylist()
    assert {one["v"] for one in told_} == {1}
    for text, one in zip(texts, told_, strict=True):
        said = orjson.loads(text)
        assert [row["node_id"] for row in one["candidates"]] == [
            row[0] for row in said["candidates"]
        ]
        assert (one["chosen"] or {}).get("nodes") == (said["chosen"] or {}).get("nodes")


def _loose(type_: pa.DataType) -> pa.DataType:
    """Times as the texts that they are before they are read."""
    return pa.struct([(f.name, pa.string() if f.name == "promise" else f.type) for f in type_])


def test_every_column_can_be_named_without_quotes() -> None:
    connection = duckdb.connect()
    for table in tables().values():
        empty = table.schema.empty_table()
        connection.register("one", empty)
        for name in table.schema.names:
            connection.execute(f"SELECT one.{name}, {name} FROM one WHERE {name} IS NULL")  # noqa: S608


def test_times_and_money_have_types() -> None:
    for table in tables().values():
        for column in table.columns:
            if column.name.endswith("_at") and table.kind == "event":
                assert pa.types.is_timestamp(column.type), (table.event, column.name)
            if column.name.endswith("_minor"):
                assert column.type == pa.int64()
            assert not column.name.endswith("_ms")


def test_the_reference_names_every_table_and_column() -> None:
    page = (ROOT / "docs/reference/analytics.md").read_text(encoding="utf-8")
    for table in tables().values():
        start = page.index(f"\n### {KINDS[table.kind]}.{table.event}\n")
        section = page[start : page.find("\n### ", start + 5)]
        named = set(re.findall(r"^\| `(\w+)` \|", section, re.MULTILINE))
        assert named == {column.name for column in table.columns}
