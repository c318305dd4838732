"""Times: milliseconds since 1970 UTC inside, RFC 3339 in UTC outside. Days by number."""

from datetime import UTC, date, datetime, timedelta
from functools import lru_cache

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_NAIVE = _EPOCH.replace(tzinfo=None)  # texts have no "+00:00"
_FIRST_DAY = _EPOCH.toordinal()
_MILLISECOND = timedelta(milliseconds=1)
_FIRST_MS = (datetime.min.replace(tzinfo=UTC) - _EPOCH) // _MILLISECOND
_LAST_MS = (datetime.max.replace(tzinfo=UTC) - _EPOCH) // _MILLISECOND


@lru_cache(maxsize=256)  # much bears the time of one tick
def rfc3339(time_ms: int) -> str:
    """Milliseconds since 1970 as RFC 3339 in UTC: `2026-11-22T10:00:00.250Z`.

    What lies outside the years 1 to 9999, such as the end of 9999-12-31 in New York, is told as
    their end.
    """
    if not _FIRST_MS <= time_ms <= _LAST_MS:
        time_ms = _FIRST_MS if time_ms < 0 else _LAST_MS
    minute, ms = divmod(time_ms, 60_000)
    s, ms = divmod(ms, 1_000)
    return f"{_minute(minute)}:{s:02d}.{ms:03d}Z"


def beside(first_ms: int, last_ms: int, from_ms: int | None, until_ms: int | None) -> str:
    """Where history lies beside a period in which nothing was: the end of a sentence.

    `first_ms`, `last_ms`: of what was read of it, which ends soon after the period.
    """
    if until_ms is not None and first_ms >= until_ms:
        return f": history begins at {rfc3339(first_ms)}"
    if from_ms is not None and last_ms < from_ms:
        return f": history ends at {rfc3339(last_ms)}"
    return ""


@lru_cache(maxsize=1024)  # what is told of one tick, and cut-offs, lie in few minutes
def _minute(minute: int) -> str:
    """A minute since 1970 as `2026-11-22T10:00`."""
    moment = _NAIVE + timedelta(minutes=minute)
    return moment.isoformat(timespec="minutes")  # strftime writes the year 1 as "1"


@lru_cache(maxsize=1024)
def iso_day(day: int) -> str:
    """A day since 1970 as `2026-11-22`."""
    return date.fromordinal(day + _FIRST_DAY).isoformat()


@lru_cache(maxsize=1024)  # days' cut-offs and ends come again and again
def instant_ms(text: str) -> int:
    """RFC 3339 as milliseconds since 1970 (what is finer is cut off)."""
    return (datetime.fromisoformat(text) - _EPOCH) // _MILLISECOND
