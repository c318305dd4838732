"""Whether a partition has no more, or its broker says nothing."""

from typing import Final

from schemas.ports import LogError, Partition, Reader

_ANSWERS: Final = 2
_READS: Final = 120  # of a quarter of a second each


class Silence:
    """Reads without a record, before what was thought to be the end.

    A transaction's marker takes the last offset and is never read, and compaction takes records
    away: a broker that answers with nothing, twice, has no more. One that doesn't answer may.
    """

    def __init__(self, reader: Reader, partition: Partition, end: int) -> None:
        """`end`: the next offset that was to be written when it was last asked for."""
        self._reader = reader
        self._partition = partition
        self._end = end
        self.broken()

    def broken(self) -> None:
        """A record was read."""
        self._answered_ms = self._reader.fetched_ms(self._partition)
        self._answers = self._reads = 0

    def is_the_end(self) -> bool:
        """After a read without a record; LogError where the broker said nothing for too long."""
        answered_ms = self._reader.fetched_ms(self._partition)
        if answered_ms != self._answered_ms:
            self._answered_ms = answered_ms
            self._answers += (self._reader.high_water(self._partition) or 0) >= self._end
        self._reads += 1
        if self._answers < _ANSWERS and self._reads >= _READS:
            at = f"{self._partition.topic}/{self._partition.number}"
            raise LogError(
                f"{at} can't be read on to its end, {self._end}: its broker says nothing"
            )
        return self._answers >= _ANSWERS
