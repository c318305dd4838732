"""The unchanged world, decided again, is history byte for byte; where it isn't, that is said."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import orjson
import pytest

from orchestrator.core.config import Config
from orchestrator.demo import days
from orchestrator.replay.changes import Changes
from orchestrator.replay.period import Rows, Span
from orchestrator.runtime.memory_log import MemoryLog
from orchestrator.runtime.world import SystemClock
from schemas.ports import Partition, Record
from tests.core.story import Story
from tests.golden.test_journal import lines
from tests.projections.test_from_the_core import told
from tests.replay.worlds import FOREVER, a_log, a_period, of, replayed

ORDERS = 160
HOUR_MS = 3_600_000


@pytest.fixture(scope="module")
def baskets() -> MemoryLog:
    return days.make(days.Shop(ORDERS, days=1.0))


@pytest.mark.slow
@pytest.mark.parametrize("hours", [0, 3, 11, 30])
def test_real_baskets_are_decided_as_they_were_from_any_moment_on(
    baskets: MemoryLog, tmp_path: Path, hours: int
) -> None:
    from_ms = days.START_MS + hours * HOUR_MS if hours else 0
    orders = 0
    for shard in range(days.SHARDS):
        period = a_period(baskets, tmp_path, Span(from_ms, FOREVER), shard)
        run = replayed(period, name=f"run-{shard}")
        assert run.loop.compared == period.entries > 50
        assert (run.loop.differing, run.loop.in_step) == (0, True)
        assert set(run.outcome.answers) <= {"in place"}
        assert not run.outcome.dropped
        orders += len(run.orders)
    assert orders == ORDERS or hours


@pytest.mark.slow
def test_orders_beyond_the_period_are_left_out_and_those_in_it_go_on(
    baskets: MemoryLog, tmp_path: Path
) -> None:
    until_ms = days.START_MS + 12 * HOUR_MS
    period = a_period(baskets, tmp_path, Span(days.START_MS + HOUR_MS, until_ms))
    run = replayed(period)
    assert run.loop.differing == 0
    assert run.loop.compared < period.entries
    assert 0 < len(run.orders) == period.orders < ORDERS // 2
    assert run.outcome.dropped["orders placed after the period"] > 10
    assert max(row.placed_ms for row in run.orders.values()) < until_ms
    done = [row for row in run.orders.values() if row.closed]
    assert len(done) > 0.9 * len(run.orders)
    assert max(row.delivered_ms or 0 for row in done) > until_ms


def test_a_story_with_everything_in_it_is_decided_as_it_was(tmp_path: Path) -> None:
    story = told()
    for seconds in (60, 20 * 3600, 40 * 86_400):
        story.at(seconds)
    period = of(story, tmp_path)
    run = replayed(period)
    assert run.loop.compared == period.entries > 30
    assert run.loop.differing == 0


def test_the_first_releases_journal_is_decided_again_and_its_drift_told(tmp_path: Path) -> None:
    log = MemoryLog(SystemClock(), {"journal": 1})
    log.write(Partition("journal", 0), [Record(None, one) for one in lines("journal-0.1.0")])
    period = a_period(log, tmp_path)
    unchanged = replayed(period)
    assert period.entries >= unchanged.loop.compared > unchanged.loop.differing > 0
    placed = [one for one in unchanged.loop.differences if one.input == "order_placed"]
    assert placed  # by the nearest node then, by money now: with other words at the least
    closed = replayed(period, Changes(closed=["BOS"]), name="closed")
    assert closed.orders.keys() == unchanged.orders.keys() != set()
    assert closed.outcome.answers["drawn"] > unchanged.outcome.answers["drawn"]


def test_what_history_holds_byte_for_byte_is_compared(tmp_path: Path) -> None:
    story = _shop()
    story.order("1", MUG=2)
    story.report("accepted", "1.1")
    altered = [one.replace(b'"decided_by":', b'"decided_by" :') for one in story.entries]
    altered[-1] = altered[-1].replace(b'"in_progress"', b'"open"')
    run = replayed(a_period(a_log(altered), tmp_path))
    assert run.loop.differing == 1
    (found,) = run.loop.differences
    assert found.input == "fulfillment_accepted"
    assert not run.loop.in_step


def test_other_settings_than_historys_show_as_drift(tmp_path: Path) -> None:
    story = _shop()
    story.order("1", MUG=2)
    story.report("rejected", "1.1", reason="other", stock_effect="none")
    period = of(story, tmp_path)
    assert replayed(period).loop.differing == 0
    other = replace(Config(), suppression_ms=1)
    run = replayed(period, config=other, name="other")
    assert run.loop.differing > 0
    assert run.loop.differences[0].input == "fulfillment_rejected"
    assert not run.loop.plans_differ


def test_orders_that_todays_code_plans_otherwise_are_counted(tmp_path: Path) -> None:
    story = _shop()
    story.order("1", MUG=2)
    story.order("2", MUG=2)
    altered = [
        one.replace(b'"node_id":"BOS"', b'"node_id":"CHI"') if b'"web.2.1"' in one else one
        for one in story.entries
    ]
    run = replayed(a_period(a_log(altered), tmp_path))
    assert run.loop.differing == 1
    assert list(run.loop.plans_differ) == ["US/web/2"]


def test_an_input_that_a_person_had_skipped_is_skipped_again(tmp_path: Path) -> None:
    from orchestrator.core.decide import skip  # noqa: PLC0415 - only here

    story = _shop()
    story.order("1", MUG=2)
    record = orjson.loads(story.entries[-1])["input"]
    record |= {"id": "poison", "origin": ["orders", 0, 99, story.now_ms]}
    record["data"]["order_id"] = "2"
    events = skip(story.shard, record, "can't be decided", "Grace")
    story.entries.append(orjson.dumps({"input": record, "events": events}))
    run = replayed(of(story, tmp_path))
    assert run.loop.differing == 0
    assert "web/2" not in run.orders


@pytest.mark.parametrize("seconds", [0, 60])
def test_what_was_tracked_before_a_node_was_asked_stays_where_it_was(
    tmp_path: Path, seconds: int
) -> None:
    story = _shop()
    story.order("0", MUG=1)
    story.track("TP1", "in_transit")
    story.track("TP1", "in_transit", fulfillment_id="web.1.1")
    if seconds:
        story.at(seconds)
    story.order("1", MUG=2)
    story.at(60)
    story.ship("1.1", "P1")
    story.track("TP1")
    run = replayed(of(story, tmp_path))
    assert (run.loop.differing, run.loop.in_step) == (0, True)
    assert run.orders["web/1"].delivered_ms
    assert not run.outcome.dropped


def test_a_receipt_named_as_later_work_is_stays_where_it_was(tmp_path: Path) -> None:
    story = _shop()
    story.order("0", MUG=1)
    returned: dict[str, Any] = {
        "node_id": "BOS",
        "sku": "MUG",
        "quantity": 3,
        "document": "web.1.1",
    }
    story.send("inbound_announced", kind="return", expected_at="2027-01-20T00:00:00Z", **returned)
    story.send("stock_received", **returned)
    story.at(60)
    story.order("1", MUG=2)
    run = replayed(of(story, tmp_path))
    assert (run.loop.differing, run.loop.in_step) == (0, True)


def test_rows_are_read_by_their_place(tmp_path: Path) -> None:
    story = _shop()
    story.order("1", MUG=2)
    rows = Rows(of(story, tmp_path))
    first, *_ = rows
    assert rows.at(0) == first
    assert first.input["type"] == "order_placed"


def _shop() -> Story:
    story = Story()
    for node_id in ("BOS", "CHI"):
        story.node(node_id)
    story.item("MUG")
    story.receive("BOS", MUG=5)
    story.receive("CHI", MUG=50)
    return story
