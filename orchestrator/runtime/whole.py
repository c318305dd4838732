"""Reads partitions from end to end, for what looks at a log as it stands."""

from collections.abc import AsyncIterator
from typing import Final

from schemas.ports import EventLog, Partition, Read

_READ_RECORDS: Final = 2_000
_WAIT_MS: Final = 250
_QUIET_READS: Final = 3


async def whole(log: EventLog, partition: Partition, at: int = 0) -> AsyncIterator[list[Read]]:
    """What a partition holds from `at` on, up to its end as of now, in order, some at a time.

    It ends when nothing more comes: a transaction's marker takes the last offset and is never read.
    """
    first, end = await log.bounds(partition)
    at = max(first, at)
    if at >= end:
        return
    reader = await log.reader({partition: at})
    quiet = 0
    try:
        while at < end and quiet < _QUIET_READS:
            found = (await reader.read(_READ_RECORDS, _WAIT_MS)).get(partition, [])
            if found:
                at, quiet = found[-1].offset + 1, 0
                yield [read for read in found if read.offset < end]
            elif (reader.high_water(partition) or 0) >= end:
                quiet += 1
    finally:
        await reader.close()
