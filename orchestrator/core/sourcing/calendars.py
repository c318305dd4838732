"""Days and moments: when a node can ship, and when a promised day ends.

A day is an integer, days since 1970-01-01, of one zone; a moment is milliseconds since 1970 UTC.
Local times are read as RFC 5545 does: one that a clock change skips lies as far behind the change
as it would have without it, of one that comes twice the first counts.
"""

from collections.abc import Iterable
from datetime import UTC, date, datetime, timedelta
from functools import lru_cache
from typing import Final

from events.decided import Plain
from events.zones import time_zone
from schemas.times import instant_ms

DAY_MS: Final = 86_400_000
MINUTE_MS: Final = 60_000
WEEK: Final = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")
LAST_DAY: Final = 2_929_000
"""In the year 9989: no node ships beyond it, so that no day plus transit leaves the calendar."""

_EPOCH: Final = date(1970, 1, 1).toordinal()
_FIRST_DAY: Final = -719_000  # in the year 1; offsets of what lies outside are those of the ends
_LAST_START_DAY: Final = LAST_DAY - 366  # nodes have a working day after it
LAST_START_MS: Final = _LAST_START_DAY * DAY_MS
"""The last moment that planning is asked for."""
_KEPT_DAYS: Final = 1_000  # of a zone's cut-offs, or of a node's days; emptied when full
_THURSDAY: Final = 3  # 1970-01-01
_DATE_CHARACTERS: Final = len("2026-11-22")


def weekday(day: int) -> int:
    """0 for Monday to 6 for Sunday."""
    return (day + _THURSDAY) % 7


@lru_cache(maxsize=1024)
def day_number(text: str) -> int:
    """`2026-11-22` as a day."""
    return date.fromisoformat(text).toordinal() - _EPOCH


class Zone:
    """A time zone's days. It remembers the day it was asked for last: most questions are of one."""

    def __init__(self, name: str) -> None:
        self.name = name
        self._zone = time_zone(name)
        self._day = 0
        self._from_ms = self._until_ms = 0  # the remembered day's moments
        self._starts: dict[int, int] = {}

    def day_of(self, moment_ms: int) -> int:
        """The local day of a moment."""
        if not self._from_ms <= moment_ms < self._until_ms:
            day = (moment_ms + self._offset_ms(moment_ms)) // DAY_MS
            self._day = day
            self._from_ms, self._until_ms = self.start_ms(day), self.start_ms(day + 1)
            # where clocks change just after midnight, another day's moments lie within this one's
            if self._offset_ms(self._from_ms) != self._offset_ms(self._until_ms - 1):
                self._until_ms = 0
            return day
        return self._day

    def start_ms(self, day: int) -> int:
        """The moment a day begins."""
        found = self._starts.get(day)
        if found is None:
            if len(self._starts) >= _KEPT_DAYS:
                self._starts.clear()
            found = self._starts[day] = self.moment_ms(day, 0)
        return found

    def end_ms(self, day: int) -> int:
        """The last second of a day: what a promised date means."""
        return self.start_ms(day + 1) - 1_000

    def moment_ms(self, day: int, minute: int) -> int:
        """The moment when a local clock shows this minute of a day."""
        local = datetime(1970, 1, 1) + timedelta(  # noqa: DTZ001 - a wall clock's
            days=min(max(day, _FIRST_DAY), LAST_DAY), minutes=minute
        )
        offset = self._zone.utcoffset(local) or timedelta()
        return day * DAY_MS + minute * MINUTE_MS - offset // timedelta(milliseconds=1)

    def _offset_ms(self, moment_ms: int) -> int:
        within = min(max(moment_ms, _FIRST_DAY * DAY_MS), LAST_DAY * DAY_MS)
        local = datetime.fromtimestamp(within // 1000, UTC).astimezone(self._zone)
        return (local.utcoffset() or timedelta()) // timedelta(milliseconds=1)


@lru_cache(maxsize=1024)
def zone(name: str) -> Zone:
    """The zone of this name, one for all who ask."""
    return Zone(name)


def moment_of(told: str, zone_name: str) -> int:
    """A time (RFC 3339) as a moment; a date is that day's end in the zone."""
    if len(told) == _DATE_CHARACTERS:
        return zone(zone_name).end_ms(day_number(told))
    return instant_ms(told)


def day_told(told: str, of: Zone) -> int:
    """The day that a time or a date lies in."""
    return day_number(told) if len(told) == _DATE_CHARACTERS else of.day_of(instant_ms(told))


def end_of(told: str, zone_name: str) -> int:
    """The last second of the day that a time or a date lies in."""
    of = zone(zone_name)
    return of.end_ms(day_told(told, of))


def start_of(told: str, zone_name: str) -> int:
    """The same where a date is that day's start: `ship_not_before`, a rule set's `from`.

    What lies beyond all calendars, such as 9999-12-31 for "never", is their last year.
    """
    if len(told) == _DATE_CHARACTERS:
        return zone(zone_name).start_ms(min(day_number(told), _LAST_START_DAY))
    return min(instant_ms(told), LAST_START_MS)


class Calendar:
    """When a node ships: working days, holidays, and how late a day's requests may come.

    Nodes that keep the same hours have, as a rule, the same calendar, so what hangs on it alone
    needs looking up once for all of them.
    """

    def __init__(
        self,
        of: Zone,
        cut_off_minute: int,
        working: Iterable[int],
        holidays: Iterable[int],
        processing_minutes: int,
    ) -> None:
        """`working`: weekdays; `processing_minutes` by the clock, nights and holidays included."""
        self.zone = of
        self.cut_off_minute = cut_off_minute
        self.processing_ms = processing_minutes * MINUTE_MS
        self.working = frozenset(working)
        self.holidays = frozenset(holidays)
        self._first: int | None = None
        self._from_ms, self._until_ms = 0, -1  # between which the first ship day is `_first`
        self._cut_offs: dict[int, int] = {}

    def working_day(self, day: int) -> int | None:
        """The first working day from `day` on; None where there is none, ever."""
        if not self.working:
            return None
        while (day + _THURSDAY) % 7 not in self.working or day in self.holidays:
            day += 1
        return day if day <= LAST_DAY else None

    def next_day(self, day: int) -> int | None:
        """The first working day after `day`."""
        return self.working_day(day + 1)

    def cut_off_ms(self, day: int) -> int:
        """The moment by which a ship day's fulfillments have to leave."""
        found = self._cut_offs.get(day)
        if found is None:
            if len(self._cut_offs) >= _KEPT_DAYS:
                self._cut_offs.clear()
            found = self._cut_offs[day] = self.zone.moment_ms(day, self.cut_off_minute)
        return found

    def latest_request_ms(self, day: int) -> int:
        """The last moment at which a request still ships on that working day."""
        return self.cut_off_ms(day) - self.processing_ms

    def open_day(self, moment_ms: int) -> int | None:
        """The first working day on which something can leave at this moment or later."""
        day = self.working_day(self.zone.day_of(moment_ms))
        if day is not None and self.cut_off_ms(day) < moment_ms:
            return self.next_day(day)
        return day

    def first_ship_day(self, now_ms: int, not_before_ms: int | None = None) -> int | None:
        """The day on which what is requested now can leave; None for a node that never ships."""
        if not self._from_ms <= now_ms <= self._until_ms:
            self._find(now_ms)
        if self._first is None or not_before_ms is None:
            return self._first
        later = self.open_day(not_before_ms)
        return None if later is None else max(self._first, later)

    def changes_ms(self, now_ms: int) -> int | None:
        """The first moment with another first ship day than now; None where it never changes."""
        day = self.first_ship_day(now_ms)
        return None if day is None else self.latest_request_ms(day) + 1

    def _find(self, now_ms: int) -> None:
        day = self.working_day(self.zone.day_of(now_ms + self.processing_ms) - 1)
        since_ms = now_ms
        while day is not None and (until_ms := self.latest_request_ms(day)) < now_ms:
            since_ms = until_ms + 1
            day = self.next_day(day)
        self._first = day
        self._from_ms = since_ms
        self._until_ms = now_ms if day is None else self.latest_request_ms(day)


@lru_cache(maxsize=4096)
def _calendar(
    zone_name: str, cut_off: str, working: tuple[str, ...], holidays: tuple[str, ...], minutes: int
) -> Calendar:
    hour, minute = cut_off.split(":")
    return Calendar(
        zone(zone_name),
        int(hour) * 60 + int(minute),
        map(WEEK.index, working),
        map(day_number, holidays),
        minutes,
    )


def calendar_of(node: Plain, market_zone: str) -> Calendar:
    """The calendar of a `node_defined`, in the market's zone where it names none."""
    return _calendar(
        node.get("time_zone") or market_zone,
        node.get("cut_off", "16:00"),
        tuple(node.get("working_days", WEEK[:5])),
        tuple(node.get("holidays", ())),
        node.get("processing_minutes", 0),
    )
