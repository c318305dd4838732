"""Times: milliseconds since 1970 UTC inside, RFC 3339 in UTC outside."""

from datetime import UTC, datetime, timedelta
from functools import lru_cache

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MILLISECOND = timedelta(milliseconds=1)


@lru_cache(maxsize=256)  # much bears the time of one tick
def rfc3339(time_ms: int) -> str:
    """Milliseconds since 1970 as RFC 3339 in UTC: `2026-11-22T10:00:00.250Z`."""
    moment = datetime.fromtimestamp(time_ms // 1000, UTC).strftime("%Y-%m-%dT%H:%M:%S")
    return f"{moment}.{time_ms % 1000:03d}Z"


@lru_cache(maxsize=1024)  # days' cut-offs and ends come again and again
def instant_ms(text: str) -> int:
    """RFC 3339 as milliseconds since 1970 (what is finer is cut off)."""
    return (datetime.fromisoformat(text) - _EPOCH) // _MILLISECOND
