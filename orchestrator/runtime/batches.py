"""Splits what one append can't take."""

from collections.abc import Iterable, Iterator

from schemas.ports import MAX_BATCH_BYTES, Record

_RECORD_OVERHEAD_BYTES = 64


def batches(records: Iterable[Record]) -> Iterator[list[Record]]:
    """Batches of at most MAX_BATCH_BYTES, in order; a larger record stands alone."""
    batch: list[Record] = []
    size = 0
    for record in records:
        headers = sum(len(name) + len(raw) for name, raw in record.headers)
        more = len(record.key or b"") + len(record.value or b"") + headers + _RECORD_OVERHEAD_BYTES
        if batch and size + more > MAX_BATCH_BYTES:
            yield batch
            batch, size = [], 0
        batch.append(record)
        size += more
    if batch:
        yield batch
