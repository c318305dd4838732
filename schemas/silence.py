"""Whether a partition has no more, or its broker gives nothing."""

from typing import Final

from schemas.ports import LogError, Partition, Reader

_ANSWERS: Final = 2
_WITHOUT_GAPS: Final = ("inbox", "journal")  # no transactions, no compaction


class NoAnswerError(LogError):
    """A broker gives nothing of a partition, which has more."""

    def __init__(self, partition: Partition, end: int) -> None:
        at = f"{partition.topic}/{partition.number}"
        super().__init__(f"{at} can't be read on to its end, {end}: its broker gives nothing")
        self.partition = partition


class Silence:
    """Reads without a record, before what was thought to be the end.

    A transaction's marker takes the last offset and is never read, and compaction takes records
    away: a broker that answers with nothing, twice, has no more. One that doesn't answer may, and
    so may one that answers of a topic where neither is: it may wait for a disk that is far away.
    """

    def __init__(self, reader: Reader, partition: Partition, end: int, reads: int = 120) -> None:
        """`end`: the next offset that was to be written when it was last asked for.

        `reads`: after how many in vain it is not waited for any more.
        """
        self._most = reads
        self._reader = reader
        self._partition = partition
        self._end = end
        self.broken()

    def broken(self) -> None:
        """A record was read."""
        self._answered_ms = self._reader.fetched_ms(self._partition)
        self._answers = self._reads = 0

    def is_the_end(self) -> bool:
        """After a read without a record; NoAnswerError where nothing was given for too long."""
        answered_ms = self._reader.fetched_ms(self._partition)
        if answered_ms != self._answered_ms:
            self._answered_ms = answered_ms
            self._answers += (self._reader.high_water(self._partition) or 0) >= self._end
        self._reads += 1
        if self._answers >= _ANSWERS and self._partition.topic not in _WITHOUT_GAPS:
            return True
        if self._reads >= self._most:
            raise NoAnswerError(self._partition, self._end)
        return False
