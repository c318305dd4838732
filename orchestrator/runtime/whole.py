"""Reads partitions from end to end, for what looks at a log as it stands."""

from typing import Final, Self

from schemas.ports import EventLog, LogError, OutOfRange, Partition, Read, Reader

_READ_RECORDS: Final = 2_000
_WAIT_MS: Final = 250
_NOTHING: Final = 2
_SILENCES: Final = 120
"""Reads without a record, 30 s: a partition whose broker stands still is not at its end."""


class Rest:
    """Whether anything is left before the end of a partition, though nothing more is read there.

    A transaction's marker takes the last offset and is never read. That a broker answers with
    nothing, twice, tells it from one that doesn't answer.
    """

    def __init__(self, reader: Reader, partition: Partition, end: int) -> None:
        self._reader = reader
        self._partition = partition
        self._end = end
        self._answered_ms = reader.fetched_ms(partition)
        self._nothing = 0

    def is_nothing(self) -> bool:
        """After a read without a record."""
        answered_ms = self._reader.fetched_ms(self._partition)
        if answered_ms != self._answered_ms:
            self._answered_ms = answered_ms
            self._nothing += (self._reader.high_water(self._partition) or 0) >= self._end
        return self._nothing >= _NOTHING


class Whole:
    """What a partition holds from `at` on, up to its end as of now, in order, some at a time.

    `async with` it, and iterate. An iterator, no generator: whoever stops half-way, or is
    cancelled, closes its reader at once. LogError where the broker says nothing for half a minute.

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
        silences, rest = 0, None
        while self._reader is not None and self._at < self.end:
            rest = rest or Rest(self._reader, self._partition, self.end)
            try:
                read = await self._reader.read(_READ_RECORDS, _WAIT_MS)
            except OutOfRange:
                first = (await self._log.bounds(self._partition)).first
                if not self._retained or first <= self._at:
                    raise
                await self._reader.close()
                self.first = self._at = first
                self._reader, rest = await self._log.reader({self._partition: first}), None
                continue
            if found := read.get(self._partition):
                self._at = found[-1].offset + 1
                return [one for one in found if one.offset < self.end]
            if rest.is_nothing():
                break
            silences += 1
            if silences == _SILENCES:
                at = f"{self._partition.topic}/{self._partition.number}@{self._at}"
                raise LogError(f"{at} can't be read on, its end is {self.end}")
        raise StopAsyncIteration
