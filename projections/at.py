"""Where and when a decided event stands in the journal, as the read models note it."""

from typing import NamedTuple


class At(NamedTuple):
    """The event's position, and Headrace's time then (RFC 3339, UTC)."""

    shard: int
    seq: int
    entry: int
    n: int
    time: str
