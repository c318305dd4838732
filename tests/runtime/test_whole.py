"""A partition is read to its end, though retention takes from it and brokers fall silent."""

from collections.abc import Mapping
from typing import Any

import pytest

from orchestrator.runtime.memory_log import MemoryLog
from orchestrator.runtime.whole import Whole
from schemas.journal import encode_opened
from schemas.ports import Bounds, LogError, OutOfRange, Partition, Record
from schemas.voids import Voids
from tests.leaping import LoopClock
from tests.runtime.fakes import StandingLog

UPDATES = Partition("order-updates", 0)


def a_log() -> MemoryLog:
    log = MemoryLog(LoopClock(), {"order-updates": 1})
    log.write(UPDATES, [Record(None, b"%d" % number) for number in range(6)])
    return log


async def test_what_retention_took_unread_is_left_out_and_told() -> None:
    log, found = a_log(), []
    async with Whole(log, UPDATES, retained=True) as reading:
        assert reading.first == 0
        await log.trim(UPDATES, 4)
        async for reads in reading:
            found += [one.value for one in reads]
        assert reading.first == 4
    assert found == [b"4", b"5"]


async def test_where_retention_took_all_it_ends() -> None:
    log = a_log()
    async with Whole(log, UPDATES, retained=True) as reading:
        await log.trim(UPDATES, 6)
        log.write(UPDATES, [Record(None, b"new")])  # beyond the end as it was
        assert [one async for one in reading] == []


async def test_what_must_not_be_removed_is_an_error() -> None:
    log = a_log()
    async with Whole(log, UPDATES) as reading:
        await log.trim(UPDATES, 4)
        with pytest.raises(OutOfRange, match="@0 is no longer"):
            await anext(reading)


async def test_a_broker_that_stands_still_has_not_come_to_the_end() -> None:
    log = StandingLog(LoopClock(), {"order-updates": 1})
    log.write(UPDATES, [Record(None, b"%d" % number) for number in range(6)])
    log.reads = 20
    async with Whole(log, UPDATES) as reading:
        assert [one.offset for some in [some async for some in reading] for one in some] == [
            *range(6)
        ]


async def test_one_that_stays_still_is_an_error() -> None:
    log = StandingLog(LoopClock(), {"order-updates": 1})
    log.write(UPDATES, [Record(None, b"%d" % number) for number in range(6)])
    log.reads = 1_000_000
    async with Whole(log, UPDATES) as reading:
        await anext(reading)
        with pytest.raises(LogError, match="order-updates/0 can't be read on to its end, 6"):
            await anext(reading)


async def test_a_journal_whose_broker_stands_still_is_not_another_one() -> None:
    log = StandingLog(LoopClock(), {"journal": 1, "voids": 1})
    log.write(Partition("journal", 0), [Record(None, encode_opened("owner", "nonce"))])
    log.reads, log.at_once = 12, True
    assert await Voids(log).journal_id(0) == "nonce"


class MarkedLog(MemoryLog):
    """Its last offset is a transaction's marker, which is never read."""

    async def bounds(self, partition: Partition) -> Bounds:
        first, end = await super().bounds(partition)
        return Bounds(first, end + 1)

    async def reader(self, at: Mapping[Partition, int | None]) -> Any:  # noqa: ANN401 - a reader
        reader: Any = await super().reader(at)
        high_water = reader.high_water
        reader.high_water = lambda partition: high_water(partition) + 1
        return reader


def a_marked_log(partition: Partition) -> MarkedLog:
    log = MarkedLog(LoopClock(), {partition.topic: 1})
    log.write(partition, [Record(None, b"%d" % number) for number in range(6)])
    return log


async def test_an_end_that_is_never_read_is_where_the_broker_answers_with_nothing() -> None:
    async with Whole(a_marked_log(UPDATES), UPDATES) as reading:
        assert reading.end == 7
        assert [one.offset for some in [some async for some in reading] for one in some] == [
            *range(6)
        ]


@pytest.mark.parametrize("topic", ["inbox", "journal"])
async def test_where_no_offset_is_ever_left_out_an_answer_with_nothing_is_no_end(
    topic: str,
) -> None:
    partition = Partition(topic, 0)
    async with Whole(a_marked_log(partition), partition) as reading:
        await anext(reading)
        with pytest.raises(LogError, match=f"{topic}/0 can't be read on to its end, 7"):
            await anext(reading)
