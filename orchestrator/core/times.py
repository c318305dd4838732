"""Times: milliseconds since 1970 UTC inside, RFC 3339 in UTC outside."""

from datetime import UTC, datetime


def rfc3339(time_ms: int) -> str:
    """Milliseconds since 1970 as RFC 3339 in UTC."""
    return (
        datetime.fromtimestamp(time_ms / 1000, UTC)
        .isoformat(timespec="milliseconds")
        .replace("+00:00", "Z")
    )


def instant_ms(text: str) -> int:
    """RFC 3339 as milliseconds since 1970 (what is finer is cut off)."""
    moment = datetime.fromisoformat(text)
    return int(moment.timestamp()) * 1000 + moment.microsecond // 1000
