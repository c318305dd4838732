"""A partition read from end to end, while retention takes from its beginning."""

import pytest

from orchestrator.runtime.memory_log import MemoryLog
from orchestrator.runtime.whole import Whole
from orchestrator.runtime.world import SystemClock
from schemas.ports import OutOfRange, Partition, Record

UPDATES = Partition("order-updates", 0)


def a_log() -> MemoryLog:
    log = MemoryLog(SystemClock(), {"order-updates": 1})
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
