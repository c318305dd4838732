"""Splits what one append can't take, and remembers what was taken of one that failed."""

from collections.abc import Iterable, Iterator, Sequence
from hashlib import blake2b
from typing import Final

from schemas.ports import MAX_BATCH_BYTES, Partition, Record

_RECORD_OVERHEAD_BYTES: Final = 64
_MOST_REMEMBERED: Final = 100_000


def size_of(record: Record) -> int:
    """About how many bytes a record takes, uncompressed."""
    headers = sum(len(name) + len(raw) for name, raw in record.headers)
    return len(record.key or b"") + len(record.value or b"") + headers + _RECORD_OVERHEAD_BYTES


def batches(records: Iterable[Record]) -> Iterator[list[Record]]:
    """Batches of at most MAX_BATCH_BYTES, in order; a larger record stands alone."""
    batch: list[Record] = []
    size = 0
    for record in records:
        more = size_of(record)
        if batch and size + more > MAX_BATCH_BYTES:
            yield batch
            batch, size = [], 0
        batch.append(record)
        size += more
    if batch:
        yield batch


class Acknowledged:
    """What targets acknowledged while another failed: they don't get it again at each attempt.

    By content, in which a record's origin and time are: what stands at the same place of a topic
    that was made anew is another record.
    """

    def __init__(self) -> None:
        self._digests: set[bytes] = set()

    def lacking(self, to: Partition, records: Sequence[Record]) -> Sequence[Record]:
        """Of these, in order, what the target may not have yet."""
        if not self._digests:
            return records
        return [one for one in records if _digest(to, one) not in self._digests]

    def remember(self, taken: Iterable[tuple[Partition, Sequence[Record]]]) -> None:
        """Each of these batches was acknowledged, and not all beside it."""
        if len(self._digests) > _MOST_REMEMBERED:
            self._digests.clear()
        self._digests |= {_digest(to, one) for to, records in taken for one in records}

    def forget(self, whole: Iterable[tuple[Partition, Sequence[Record]]]) -> None:
        """All of this was acknowledged; what is sent again now is meant to be."""
        if self._digests:
            self._digests -= {_digest(to, one) for to, records in whole for one in records}


def _digest(to: Partition, record: Record) -> bytes:
    named = repr((to, record.key, [*record.headers])).encode()
    return blake2b(named + b"\0" + (record.value or b""), digest_size=16).digest()
