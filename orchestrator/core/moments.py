"""Times and days as inputs name them."""

from orchestrator.core.sourcing.calendars import day_number, zone
from schemas.times import instant_ms

_DAY_CHARACTERS = len("2026-11-22")


def moment_ms(text: str, time_zone: str) -> int:
    """A time, or a day's end in the market's time zone, as milliseconds since 1970."""
    if len(text) > _DAY_CHARACTERS:
        return instant_ms(text)
    return zone(time_zone).end_ms(day_number(text))


def start_ms(text: str, time_zone: str) -> int:
    """A time, or a day's start in the market's time zone: what `ship_not_before` means."""
    if len(text) > _DAY_CHARACTERS:
        return instant_ms(text)
    return zone(time_zone).start_ms(day_number(text))
