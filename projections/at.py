"""Where and when a decided event stands in the journal, as the read models note it."""

from datetime import UTC, datetime
from functools import lru_cache
from typing import NamedTuple


class At(NamedTuple):
    """The event's position, and Headrace's time then (RFC 3339, UTC)."""

    shard: int
    seq: int
    entry: int
    n: int
    time: str


@lru_cache(maxsize=256)
def rfc3339(time_ms: int) -> str:
    """Milliseconds since 1970 as RFC 3339 in UTC: `2026-11-22T10:00:00.250Z`."""
    moment = datetime.fromtimestamp(time_ms // 1000, UTC).strftime("%Y-%m-%dT%H:%M:%S")
    return f"{moment}.{time_ms % 1000:03d}Z"
