"""A day of the past: the same one every time, whole, as roles would have written it."""

from collections.abc import Mapping
from datetime import UTC, datetime

import orjson
import pytest

from orchestrator.demo import days
from orchestrator.runtime.memory_log import MemoryLog
from orchestrator.runtime.taken import taken
from schemas import journal
from schemas.cloudevents import Accepted, read
from schemas.journal import Commit
from schemas.ports import Partition

pytestmark = pytest.mark.slow

FIRST_MS = int(datetime(2025, 10, 25, tzinfo=UTC).timestamp() * 1000)
DAY_MS = 86_400_000
ORDERS = 25
INPUTS: Mapping[str, int] = {"orders": 3, "stock": 3, "carriers": 2, "network": 1}


def a_day(now_ms: int = FIRST_MS + 20 * DAY_MS) -> MemoryLog:
    return days.day(FIRST_MS, now_ms, ORDERS, 1, INPUTS, lambda _: None)


def commits(log: MemoryLog, shard: int) -> list[Commit]:
    held = log.held(Partition("journal", shard)).records
    records = [journal.decode(one.value, one.offset) for one in held]
    return [one for one in records if isinstance(one, Commit)]


def test_a_day_is_the_same_every_time_to_the_byte() -> None:
    one, other = a_day(), a_day()
    for shard in range(days.SHARDS):
        journals = [log.held(Partition("journal", shard)).records for log in (one, other)]
        assert journals[0] == journals[1] != []


def test_its_orders_are_placed_in_the_course_of_it_and_settle_in_the_weeks_after() -> None:
    placed, ticks = [], []
    for commit in (one for shard in range(days.SHARDS) for one in commits(a_day(), shard)):
        for entry in commit.entries:
            if entry["input"]["type"] == "order_placed":
                placed.append(entry["input"]["time_ms"])
            elif entry["input"]["type"] == "clock_ticked":
                ticks.append(entry["input"]["time_ms"])
    assert len(placed) == ORDERS
    assert min(placed) >= FIRST_MS
    assert max(placed) < FIRST_MS + DAY_MS
    assert FIRST_MS + DAY_MS < max(ticks) <= FIRST_MS + 16 * DAY_MS


def test_a_day_that_has_just_passed_has_no_future() -> None:
    now_ms = FIRST_MS + 2 * DAY_MS
    log = a_day(now_ms)
    for shard in range(days.SHARDS):
        for commit in commits(log, shard):
            assert all(entry["input"].get("time_ms", 0) <= now_ms for entry in commit.entries)


async def test_poured_it_stands_as_intake_and_engine_would_have_written_it() -> None:
    made = a_day()
    topics = {name: one.partitions for name, one in (await made.describe()).items()}
    log = MemoryLog(days.VirtualClock(0), topics)
    await days.pour(made, log)
    for topic in INPUTS:
        for number in range(topics[topic]):
            partition = Partition(topic, number)
            held = log.held(partition).records
            for one in held:
                event = read(topic, one.value, one.headers)
                assert isinstance(event, Accepted), event
            saved = await log.saved("intake", [partition])
            assert (saved[partition].offset if held else 0) == len(held)
    newest = await taken(log, days.SHARDS)
    assert (
        newest[Partition("network", 0)].offset
        == topics["network"] * len(log.held(Partition("network", 0)).records) - 1
    )
    for shard in range(days.SHARDS):
        inbox = [
            orjson.loads(one.value or b"") for one in log.held(Partition("inbox", shard)).records
        ]
        decided = [
            entry["input"]
            for commit in commits(log, shard)
            for entry in commit.entries
            if "origin" in entry["input"]
        ]
        assert decided == inbox != []
        assert commits(log, shard)[-1].inbox_next == len(inbox)
