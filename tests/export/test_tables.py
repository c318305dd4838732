"""The tables of an export: every event fits its table, and every column can be asked for."""

import re
from collections import defaultdict
from datetime import datetime
from pathlib import Path
from typing import Any, get_args

import duckdb
import orjson
import pyarrow as pa
import pytest

from events.decided import COMPONENTS, EVENT_TYPES, DecidedEvent, NodeRow
from events.history import ShadowDecided
from events.inputs import INPUTS
from orchestrator.export.shapes import DECISION, SHAPES, TIME, list_of, objects, plain, rows
from orchestrator.export.tables import ENVELOPE, KINDS, Row, tables
from schemas.history import INPUT, Known, flatten, tell
from schemas.journal import Entry
from schemas.times import iso_day
from tests.core.story import Story
from tests.golden.test_journal import read
from tests.projections.test_from_the_core import told

ROOT = Path(__file__).parents[2]


def entries() -> dict[str, list[Entry]]:
    """Of the first release, and of today's core."""
    return {
        "0.1.0": [entry for commit in read("journal-0.1.0")[1] for entry in commit.entries],
        "today": [orjson.loads(entry) for entry in told().entries],
        "days": [orjson.loads(entry) for entry in days().entries],
    }


def days() -> Story:
    """Days wherever a time or a day may be told."""
    story = Story()
    story.node("BOS", holidays=["2026-12-25"])
    story.item("MUG", "CUP")
    lot: dict[str, Any] = {"lot": "L1", "expires_on": "2027-01-31"}
    story.send("stock_received", node_id="BOS", sku="MUG", quantity=5, **lot)
    announced: dict[str, Any] = {
        "node_id": "BOS",
        "sku": "CUP",
        "document": "PO-1",
        "expected_at": "2026-12-24",
    }
    story.send("inbound_announced", quantity=5, **announced)
    wanted: dict[str, Any] = {
        "ship_not_before": "2026-11-27",
        "ship_by": "2026-12-01",
        "deliver_by": "2026-12-03",
    }
    story.order("1", MUG=2, CUP=1, **wanted)
    story.report("accepted", "1.1")
    story.ship("1.1")
    story.track("TP1", "in_transit", estimated_delivery_at="2026-12-02")
    suspended: dict[str, Any] = {
        "market_id": "US",
        "carrier": "ups",
        "reason": "storm",
        "until": "2026-12-24",
    }
    story.send("lane_suspended", **suspended)
    return story


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
    fields |= {(ShadowDecided.TYPE, field) for field in ShadowDecided.model_fields}
    assert SHAPES.keys() <= fields


@pytest.mark.parametrize("release", ["0.1.0", "today", "days"])
def test_every_event_arrives_in_its_table_with_nothing_left_out(release: str) -> None:
    known = Known()
    gathered: dict[tuple[str, str], list[Row]] = defaultdict(list)
    said: dict[tuple[str, str], set[str]] = defaultdict(set)
    for number, entry in enumerate(entries()[release]):
        for one in tell(known, entry):
            key = "input" if one.n == INPUT else "event", one.type
            said[key] |= {field for field, value in one.data.items() if value is not None}
            gathered[key].append((number, 0, known.clock_ms, one))
    assert len(gathered) > (10 if release == "days" else 25)
    for key, some in gathered.items():
        table = tables()[key]
        found = table.take(0, some)
        found.validate(full=True)
        assert found.num_rows == len(some)
        assert found.column("position").null_count == 0
        names = {column.field: column.name for column in table.columns}
        for field in said[key] - ENVELOPE.keys() - {"type"}:
            column = found.column(names[field])
            assert column.null_count < len(some), (key, field)


@pytest.mark.parametrize("release", ["0.1.0", "today", "days"])
def test_a_table_says_what_the_topic_history_says(release: str) -> None:
    known, flat = Known(), Known()
    gathered: dict[tuple[str, str], list[Row]] = defaultdict(list)
    records: dict[tuple[str, str], list[dict[str, Any]]] = defaultdict(list)
    for number, entry in enumerate(entries()[release]):
        for one in tell(known, entry):
            key = "input" if one.n == INPUT else "event", one.type
            gathered[key].append((number, 3, known.clock_ms, one))
        for _, record in flatten(flat, 2, number, 3, entry):
            records[record["kind"], record["event"]].append(record)
    assert gathered.keys() == records.keys()
    for key, some in gathered.items():
        found = tables()[key].take(2, some).select([*ENVELOPE]).to_pylist()
        for row_, record in zip(found, records[key], strict=True):
            for name, type_ in ENVELOPE.items():
                value = record.get(name)
                if value is not None and type_ == TIME:
                    value = datetime.fromisoformat(value)
                assert row_[name] == value, (key, name)


def test_decisions_of_the_first_release_have_the_structure_of_todays() -> None:
    texts = [
        event["decision"]
        for entry in entries()["0.1.0"]
        for event in entry["events"]
        if event["type"] == "order_allocated"
    ]
    told_ = DECISION.column([*texts, None]).to_pylist()
    assert told_.pop() is None
    assert {one["v"] for one in told_} == {1}
    for text, one in zip(texts, told_, strict=True):
        said = orjson.loads(text)
        assert [(row["node_id"], row["distance_m"]) for row in one["candidates"]] == [
            tuple(row[:2]) for row in said["candidates"]
        ]
        assert {row["cost_minor"] for row in one["candidates"]} <= {None}
        assert (one["chosen"] or {}).get("nodes") == (said["chosen"] or {}).get("nodes")
        assert (one["chosen"] or {}).get("distance_m") == (said["chosen"] or {}).get("distance_m")


def test_a_decision_shows_each_row_that_was_recorded() -> None:
    texts = [
        event["decision"]
        for entry in entries()["today"]
        for event in entry["events"]
        if event["type"] == "order_allocated"
    ]
    assert len(texts) > 5
    for text, told_ in zip(texts, DECISION.column(texts).to_pylist(), strict=True):
        said = orjson.loads(text)
        recorded = [NodeRow(*row_) for _, *some in said["sets"] for row_ in some]
        assert len(recorded) == len(told_["candidates"])
        for node, one in zip(recorded, told_["candidates"], strict=True):
            assert one["node_id"] == node.node_id
            assert one["cost_minor"] == sum(node.costs)
            assert [one[f"{name}_minor"] for name in COMPONENTS][: len(node.costs)] == node.costs
            assert (one["days_late"], one["parcels"]) == (node.days_late, node.parcels)
            assert one["ship_day"] == iso_day(node.ship_day)
            assert (one["fences"] or []) == list(node.fences)
            assert len(one["short"] or ()) == len(node.short)


def test_values_that_are_missing_stay_missing() -> None:
    shape = list_of(rows(a=plain(pa.int64()), b=plain(pa.string())))
    values = [None, [], [(1,), (2, "x"), (3, "y", "more")], None]
    assert shape.column(values).to_pylist() == [
        None,
        [],
        [{"a": 1, "b": None}, {"a": 2, "b": "x"}, {"a": 3, "b": "y"}],
        None,
    ]
    named = objects(a=plain(pa.int64()), b=list_of(plain(pa.string())))
    assert named.column([{"b": ["x"]}, None, {}]).to_pylist() == [
        {"a": None, "b": ["x"]},
        None,
        {"a": None, "b": None},
    ]
    with pytest.raises((TypeError, pa.ArrowInvalid)):
        plain(pa.int64()).column(["seven"])


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
            may_be_a_day = column.name == "estimated_delivery_at"
            if column.name.endswith("_at") and table.kind == "event" and not may_be_a_day:
                many = pa.types.is_list(column.type)
                moment = column.type.value_type if many else column.type
                assert pa.types.is_timestamp(moment), (table.event, column.name)
            if column.name.endswith("_minor") and column.name != "costs_minor":  # has its parts
                assert column.type == pa.int64()
            assert not column.name.endswith("_ms")


def test_the_reference_names_every_table_and_column() -> None:
    page = (ROOT / "docs/reference/analytics.md").read_text(encoding="utf-8")
    for table in tables().values():
        start = page.index(f"\n### {KINDS[table.kind]}.{table.event}\n")
        section = page[start : page.find("\n### ", start + 5)]
        named = set(re.findall(r"^\| `(\w+)` \|", section, re.MULTILINE))
        assert named == {column.name for column in table.columns}
