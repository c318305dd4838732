"""Reads partitions from end to end, for what looks at a log as it stands."""

from typing import Final, Self

from schemas.ports import EventLog, OutOfRange, Partition, Read, Reader
from schemas.silence import Silence

_READ_RECORDS: Final = 2_000
_WAIT_MS: Final = 250


class Whole:
    """What a partition holds from `at` on, up to its end as of now, in order, some at a time.

    `async with` it, and iterate. An iterator, no generator: whoever stops half-way, or is
    cancelled, closes its reader at once. LogError where the broker gives nothing for half a minute.

    `retained`: retention may remove records while it reads. It goes on then where the partition
    begins; `first` is from where on nothing was left out. OutOfRange otherwise.
    """

    def __init__(
        self, log: EventLog, partition: Partition, at: int = 0, *, retained: bool = False
    ) -> None:
        self.first = self.end = 0
        self._retained = retained
        self._log = log
        self._partition = partition
        self._at = at
        self._reader: Reader | None = None

    async def __aenter__(self) -> Self:
        self.first, self.end = await self._log.bounds(self._partition)
        self._at = max(self.first, self._at)
        if self._at < self.end:
            self._reader = await self._log.reader({self._partition: self._at})
        return self

    async def __aexit__(self, *_: object) -> None:
        if self._reader is not None:
            await self._reader.close()

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> list[Read]:
        silence = None
        while self._reader is not None and self._at < self.end:
            silence = silence or Silence(self._reader, self._partition, self.end)
            try:
                read = await self._reader.read(_READ_RECORDS, _WAIT_MS)
            except OutOfRange:
                first = (await self._log.bounds(self._partition)).first
                if not self._retained or first <= self._at:
                    raise
                await self._reader.close()
                self.first = self._at = first
                self._reader, silence = await self._log.reader({self._partition: first}), None
                continue
            if found := read.get(self._partition):
                self._at = found[-1].offset + 1
                return [one for one in found if one.offset < self.end]
            if silence.is_the_end():
                break
        raise StopAsyncIteration
