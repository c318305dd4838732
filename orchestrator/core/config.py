"""What the core may be told.

Only `decide` reads it: what it decided stands in the events, so a refold needs no settings.
"""

from dataclasses import dataclass

MINUTE_MS = 60_000
HOUR_MS = 60 * MINUTE_MS
DAY_MS = 24 * HOUR_MS

DEDUPE_WINDOW_MS = DAY_MS
DEDUPE_IDS = 2_000_000
"""Ids of one shard kept for deduplication at the most; part of the fold, hence not a setting."""
ORIGINS_KEPT = 1_000
"""Records remembered of each origin, so that a topic made anew is told; part of the fold."""

PROMISE_GRACE_MS = 6 * HOUR_MS
"""How long after a promise news of a delivery in time may still come; part of the fold."""
DAYS_KEPT = 2
"""How many days a node's booked days are remembered beyond their end; part of the fold as well."""


@dataclass(frozen=True, slots=True)
class Config:
    """Time limits in milliseconds, thresholds in units."""

    order_wait_ms: int = MINUTE_MS  # how long an order waits for master data
    suppression_ms: int = 4 * HOUR_MS  # how long a node that rejected an item isn't asked for it
    tracking_wait_ms: int = 7 * DAY_MS  # how long a tracking update waits for its shipment
    tracking_waits: int = 100_000  # tracking updates that wait, at the most
    retire_after_ms: int = DAY_MS  # how long a closed order stays in memory
    availability_thresholds: tuple[int, ...] = (0, 5, 20)  # crossing one publishes availability
    slice_orders: int = 50  # orders planned again in one entry, at the most
    improve_every_ms: int = 1_000  # how long what may improve held plans is gathered
    improve_skus: int = 5_000  # items whose held orders are called for in one entry, at the most
    improve_orders: int = 200  # held orders planned anew in one entry, at the most
