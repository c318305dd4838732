"""History's records: flat, with all that is wanted beside them, and the same after a restart."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import orjson
import pytest

from events.decided import EVENT_TYPES
from events.history import HISTORY
from orchestrator.core import snapshot
from orchestrator.core.decide import fold as fold_shard
from orchestrator.core.shard import Shard
from orchestrator.remembered import history_format
from schemas.history import Flat, Known, flatten, fold
from schemas.journal import Commit, Entry
from tests.core.story import Story
from tests.golden.test_journal import read

RECORD = HISTORY["history_recorded"]
ROOT = Path(__file__).parents[2]


def told(story: Story) -> list[Flat]:
    known = Known()
    return [
        flat
        for seq, entry in enumerate(story.entries)
        for flat in flatten(known, 0, seq, 0, orjson.loads(entry))
    ]


def only(records: list[Flat], event: str) -> Flat:
    (found,) = [one for one in records if one.record["event"] == event]
    return found


def a_sold_unit() -> Story:
    story = Story()
    story.node("BOS")
    story.item("A")
    story.receive("BOS", A=5)
    story.order("7", A=2)
    return story


def test_an_order_carries_its_placing_to_every_later_event() -> None:
    story = a_sold_unit()
    story.report("accepted", "7.1")
    story.ship("7.1")
    story.track("TP1")
    records = told(story)
    about = [one for one in records if one.record.get("order_id") == "7"]
    assert {one.key for one in about} == {"7"}
    assert {one.record["market_id"] for one in about} == {"US"}
    assert {one.record["channel"] for one in about} == {"web"}
    placed_at = only(records, "order_placed").record["data"]["placed_at"]
    assert {one.record["placed_at"] for one in about} == {placed_at}
    assert only(records, "shipment_delivered").record["node_id"] == "BOS"


def test_an_input_stands_before_its_events_and_is_their_cause() -> None:
    records = [one.record for one in told(a_sold_unit()) if one.record.get("order_id") == "7"]
    first, *events = records
    assert (first["kind"], first["event"], first["n"]) == ("input", "order_placed", -1)
    assert first["position"].endswith(".0.-1")
    assert [one["n"] for one in events] == list(range(events[0]["n"], events[0]["n"] + len(events)))
    assert {one["cause"] for one in events} == {"order_placed"}
    assert {one["cause_id"] for one in events} == {first["cause_id"]}
    assert {one["cause_position"] for one in events} == {first["position"]}


def test_a_key_is_the_order_else_the_item_else_the_node_else_the_market_else_the_shard() -> None:
    records = told(a_sold_unit())
    keys = {one.record["event"]: one.key for one in records if one.record["kind"] == "input"}
    assert keys["order_placed"] == "7"
    assert keys["stock_received"] == "A"
    assert keys["node_defined"] == "BOS"
    assert keys["market_defined"] == "US"
    assert keys["clock_ticked"] == "shard/0"


def test_stock_carries_the_market_of_its_node() -> None:
    moved = only(told(a_sold_unit()), "stock_moved")
    assert moved.record["market_id"] == "US"
    assert moved.record["node_id"] == "BOS"


def test_a_report_on_work_nobody_asked_for_is_of_no_order() -> None:
    story = a_sold_unit()
    story.report("accepted", "8.1", node_id="BOS")
    report = only(told(story), "fulfillment_accepted")
    assert "order_id" not in report.record
    assert report.key == "BOS"


def golden() -> list[Commit]:
    return read("journal-0.1.0")[1]


def entries() -> Iterator[tuple[int, int, Entry]]:
    for commit in golden():
        for number, entry in enumerate(commit.entries):
            yield commit.seq, number, entry


def test_every_record_has_the_published_shape() -> None:
    known = Known()
    seen: set[str] = set()
    positions: list[tuple[int, int, int]] = []
    for seq, number, entry in entries():
        for _, record in flatten(known, 0, seq, number, entry):
            RECORD.model_validate_json(orjson.dumps(record))
            positions.append((record["seq"], record["entry"], record["n"]))
            seen.add(record["event"])
    assert positions == sorted(set(positions))
    assert len(seen & EVENT_TYPES) > 25
    assert known.orders  # the walk ends with some


def restored(shard: Shard) -> Known:
    restoring = history_format().restoring(0)
    for row in snapshot.rows(shard):
        restoring.take(orjson.loads(row))
    for segment in snapshot.segments(shard, frozenset()):
        restoring.take(orjson.loads(segment.row or b"null"))
    return restoring.finish()


def plain(known: Known) -> dict[str, Any]:
    orders = {
        key: [one.placed_at, one.promised_by, sorted(one.work)] for key, one in known.orders.items()
    }
    return {"clock": known.clock_ms, "markets": known.markets, "orders": orders}


def test_what_a_snapshot_makes_known_is_what_the_journal_before_it_did() -> None:
    known, shard = Known(), Shard(0)
    for count, (_, _, entry) in enumerate(entries()):
        fold(known, entry)
        fold_shard(shard, entry)
        if count % 97 == 0:
            assert plain(restored(shard)) == plain(known)
    assert plain(restored(shard)) == plain(known)


def test_who_only_folds_knows_what_who_tells_knows() -> None:
    teller, folder = Known(), Known()
    seen: set[str] = set()
    for count, (seq, number, entry) in enumerate(entries()):
        seen.update(flat.record["event"] for flat in flatten(teller, 0, seq, number, entry))
        fold(folder, entry)
        assert folder.clock_ms == teller.clock_ms
        if count % 29 == 0:
            assert plain(folder) == plain(teller)
    assert plain(folder) == plain(teller)
    assert {"input_resumed", "order_retired", "order_refused", "order_waits"} <= seen


@pytest.mark.parametrize("name", HISTORY)
def test_the_reference_names_every_field(name: str) -> None:
    page = (ROOT / "docs/reference/history.md").read_text(encoding="utf-8")
    for field in HISTORY[name].model_fields:
        assert f"| `{field}` |" in page
