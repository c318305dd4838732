"""The inbox's records: canonical inputs, one total order a shard."""

import orjson

from events.decided import InputRecord

MAX_INPUT_BYTES = 180_000
"""The largest input intake takes: an order of 1,000 full lines, well below a commit's limit."""


def encode(
    *,
    type_: str,
    version: int,
    id_: str,
    source: str,
    time_ms: int,
    origin: tuple[str, int, int, int],
    data: bytes,
) -> bytes:
    """An inbox record; `data` is canonical JSON already and is taken over as it is."""
    return orjson.dumps(
        {
            "type": type_,
            "version": version,
            "id": id_,
            "source": source,
            "time_ms": time_ms,
            "origin": origin,
            "data": orjson.Fragment(data),
        }
    )


def decode(value: bytes) -> InputRecord:
    """The input of an inbox record; orjson.JSONDecodeError where it is no JSON."""
    record: InputRecord = orjson.loads(value)
    return record
