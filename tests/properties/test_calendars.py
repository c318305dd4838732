"""Ship days against a calendar that tries every day, and days that clock changes bend."""

import zoneinfo
from collections.abc import Iterator
from datetime import UTC, date, datetime, timedelta
from importlib.resources import files
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from events.decided import Plain
from events.zones import NAMES, time_zone
from orchestrator.core.sourcing.calendars import (
    LAST_DAY,
    WEEK,
    Calendar,
    calendar_of,
    day_number,
    moment_of,
    zone,
)
from schemas.times import instant_ms, iso_day, rfc3339

ZONES = (
    "UTC",
    "America/New_York",
    "Europe/Berlin",
    "Australia/Lord_Howe",
    "America/St_Johns",
    "Asia/Kathmandu",
    "Pacific/Apia",
    "Africa/Cairo",
)
MOMENTS = st.integers(instant_ms("1995-01-01T00:00:00Z"), instant_ms("2040-01-01T00:00:00Z"))
NODES = st.fixed_dictionaries(
    {
        "time_zone": st.sampled_from(ZONES),
        "cut_off": st.builds("{:02}:{:02}".format, st.integers(0, 23), st.integers(0, 59)),
        "working_days": st.lists(st.sampled_from(WEEK), min_size=1, unique=True),
        "processing_minutes": st.sampled_from([0, 1, 90, 1_500, 10_000]),
    }
)


def local(ms: int, zone_name: str) -> datetime:
    return datetime.fromtimestamp(ms / 1000, UTC).astimezone(time_zone(zone_name))


@given(NODES, MOMENTS, st.lists(st.integers(0, 20), max_size=8))
def test_the_first_ship_day_is_the_first_that_can_be_reached(
    node: Plain, now_ms: int, days_off: list[int]
) -> None:
    today = local(now_ms, node["time_zone"]).date()
    node["holidays"] = sorted({(today + timedelta(days=n)).isoformat() for n in days_off})
    calendar = calendar_of(node, "UTC")
    hour, minute = map(int, node["cut_off"].split(":"))

    def reached(day: date) -> bool:
        at = datetime(
            day.year, day.month, day.day, hour, minute, tzinfo=time_zone(calendar.zone.name)
        )
        late_ms = (at.astimezone(UTC) - datetime(1970, 1, 1, tzinfo=UTC)) // timedelta(
            milliseconds=1
        )
        return (
            WEEK[day.weekday()] in node["working_days"]
            and day.isoformat() not in node["holidays"]
            and late_ms - node["processing_minutes"] * 60_000 >= now_ms
        )

    expected = next(
        day for n in range(-1, 400) if reached(day := today + timedelta(days=n))
    ).isoformat()
    found = calendar.first_ship_day(now_ms)
    assert found is not None
    assert iso_day(found) == expected


@given(NODES, MOMENTS, st.lists(st.integers(0, 3 * 86_400_000), max_size=5))
def test_what_a_calendar_remembers_changes_no_answer(
    node: Plain, now_ms: int, later: list[int]
) -> None:
    kept = calendar_of(node, "UTC")
    for step in [0, *later]:
        day = kept.first_ship_day(now_ms + step)
        fresh = Calendar(
            kept.zone, kept.cut_off_minute, kept.working, (), kept.processing_ms // 60_000
        )
        assert day == fresh.first_ship_day(now_ms + step)


@given(NODES, MOMENTS)
def test_the_first_ship_day_holds_until_the_moment_it_is_said_to_change(
    node: Plain, now_ms: int
) -> None:
    calendar = calendar_of(node, "UTC")
    day, changes_ms = calendar.first_ship_day(now_ms), calendar.changes_ms(now_ms)
    assert day is not None
    assert changes_ms is not None
    assert changes_ms > now_ms
    assert calendar.first_ship_day(changes_ms - 1) == day
    after = calendar.first_ship_day(changes_ms)
    assert after is not None
    assert after > day or node["time_zone"] == "Pacific/Apia"  # left out a day


@given(st.sampled_from(ZONES), MOMENTS)
def test_a_moments_day_is_what_the_calendar_on_the_wall_says(name: str, moment_ms: int) -> None:
    kept = zone(name)
    for ms in (moment_ms, moment_ms + 3_600_000, moment_ms):
        assert iso_day(kept.day_of(ms)) == local(ms, name).date().isoformat()


@pytest.mark.parametrize(
    ("name", "day", "begins", "ends"),
    [
        ("America/New_York", "2026-11-24", "2026-11-24T05:00:00", "2026-11-25T04:59:59"),
        ("America/New_York", "2026-03-08", "2026-03-08T05:00:00", "2026-03-09T03:59:59"),
        ("America/New_York", "2026-11-01", "2026-11-01T04:00:00", "2026-11-02T04:59:59"),
        # 0:00 comes twice
        ("Atlantic/Azores", "2026-10-25", "2026-10-25T00:00:00", "2026-10-26T00:59:59"),
        ("Africa/Cairo", "2026-04-24", "2026-04-23T22:00:00", "2026-04-24T20:59:59"),  # no 0:00
    ],
)
def test_a_day_ends_with_its_last_second(name: str, day: str, begins: str, ends: str) -> None:
    number = day_number(day)
    assert rfc3339(zone(name).start_ms(number)) == f"{begins}.000Z"
    assert rfc3339(zone(name).end_ms(number)) == f"{ends}.000Z"


def test_a_date_means_its_end_and_a_time_itself() -> None:
    assert rfc3339(moment_of("2026-11-24", "America/New_York")) == "2026-11-25T04:59:59.000Z"
    assert moment_of("2026-11-24T10:00:00Z", "America/New_York") == instant_ms(
        "2026-11-24T10:00:00Z"
    )


@pytest.mark.parametrize(
    ("day", "leaves"),
    [
        ("2026-03-07", "2026-03-07T07:30:00"),
        ("2026-03-08", "2026-03-08T07:30:00"),  # 2:30 is skipped: as far behind 2:00 as ever
        ("2026-03-09", "2026-03-09T06:30:00"),
    ],
)
def test_a_cut_off_that_a_clock_change_skips_is_as_late_as_without_it(
    day: str, leaves: str
) -> None:
    calendar = calendar_of({"cut_off": "02:30", "working_days": list(WEEK)}, "America/New_York")
    assert rfc3339(calendar.cut_off_ms(day_number(day))) == f"{leaves}.000Z"


def test_of_a_cut_off_that_comes_twice_the_first_counts() -> None:
    calendar = calendar_of({"cut_off": "01:30", "working_days": list(WEEK)}, "America/New_York")
    assert rfc3339(calendar.cut_off_ms(day_number("2026-11-01"))) == "2026-11-01T05:30:00.000Z"


def test_a_request_in_the_last_moment_ships_and_one_after_it_does_not() -> None:
    calendar = calendar_of({"processing_minutes": 30}, "America/New_York")
    last_ms = instant_ms("2026-11-24T20:30:00Z")  # a Tuesday; the cut-off is at 21:00
    assert calendar.first_ship_day(last_ms) == day_number("2026-11-24")
    assert calendar.first_ship_day(last_ms + 1) == day_number("2026-11-25")


def test_an_order_that_may_not_leave_earlier_waits_for_a_working_day() -> None:
    calendar = calendar_of({}, "UTC")
    now_ms = instant_ms("2026-11-24T10:00:00Z")
    for not_before, day in [
        ("2026-11-28T00:00:00Z", "2026-11-30"),  # a Saturday
        ("2026-11-27T16:00:00Z", "2026-11-27"),  # a Friday's cut-off
        ("2026-11-27T16:00:01Z", "2026-11-30"),
        ("2026-11-01T00:00:00Z", "2026-11-24"),
    ]:
        assert calendar.first_ship_day(now_ms, instant_ms(not_before)) == day_number(day)


def test_no_node_is_to_ship_by_a_moment_before_which_it_must_not() -> None:
    los_angeles = calendar_of({}, "America/Los_Angeles")
    now_ms = instant_ms("2026-11-24T10:00:00Z")
    new_york_midnight_ms = instant_ms("2026-11-26T05:00:00Z")  # 21:00 of the day before there
    day = los_angeles.first_ship_day(now_ms, new_york_midnight_ms)
    assert day == day_number("2026-11-26")
    assert los_angeles.cut_off_ms(day) >= new_york_midnight_ms


def test_a_node_without_working_days_never_ships() -> None:
    calendar = calendar_of({"working_days": []}, "UTC")
    assert calendar.first_ship_day(instant_ms("2026-11-24T10:00:00Z")) is None
    assert calendar.changes_ms(0) is None
    assert calendar.next_day(0) is None


def test_years_of_holidays_end() -> None:
    first = date(2026, 1, 1)
    closed = [(first + timedelta(days=n)).isoformat() for n in range(1000)]
    calendar = calendar_of({"holidays": closed, "working_days": list(WEEK)}, "UTC")
    found = calendar.first_ship_day(instant_ms("2026-01-01T00:00:00Z"))
    assert found == day_number("2026-01-01") + 1000


def test_no_day_is_beyond_what_a_date_can_say() -> None:
    calendar = calendar_of({}, "Asia/Kathmandu")
    assert calendar.first_ship_day(0, instant_ms("9999-12-31T12:00:00Z")) is None
    assert calendar.working_day(LAST_DAY + 1) is None
    assert rfc3339(moment_of("9999-12-30", "Asia/Kathmandu")).startswith("9999-12-30")


def test_nodes_of_the_same_hours_share_a_calendar() -> None:
    assert calendar_of({"cut_off": "16:00"}, "UTC") is calendar_of(
        {"time_zone": "UTC"}, "Asia/Tokyo"
    )


@pytest.fixture
def other_tables(tmp_path: Path) -> Iterator[None]:
    """A machine on which Berlin keeps Greenwich's time."""
    (tmp_path / "Europe").mkdir()
    (tmp_path / "Europe" / "Berlin").write_bytes(
        files("tzdata").joinpath("zoneinfo", "UTC").read_bytes()
    )
    zoneinfo.reset_tzpath([str(tmp_path)])
    zoneinfo.ZoneInfo.clear_cache()
    time_zone.cache_clear()
    yield
    zoneinfo.reset_tzpath()
    zoneinfo.ZoneInfo.clear_cache()
    time_zone.cache_clear()


@pytest.mark.usefixtures("other_tables")
def test_the_tables_of_the_machine_decide_nothing() -> None:
    noon = datetime(2026, 1, 1, 12, tzinfo=time_zone("Europe/Berlin"))
    assert noon.utcoffset() == timedelta(hours=1)
    assert noon.replace(tzinfo=zoneinfo.ZoneInfo("Europe/Berlin")).utcoffset() == timedelta()


@pytest.mark.parametrize("name", ["posix/UTC", "../zones", "localtime", "europe/berlin", ""])
def test_what_the_database_does_not_name_is_no_zone(name: str) -> None:
    assert name not in NAMES
    with pytest.raises(ValueError, match="not a time zone of the IANA database"):
        time_zone(name)
