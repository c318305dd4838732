"""Times on the wire."""

import pytest

from schemas.times import instant_ms, rfc3339


@pytest.mark.parametrize(
    ("time_ms", "text"),
    [
        (0, "1970-01-01T00:00:00.000Z"),
        (1_795_341_600_250, "2026-11-22T10:00:00.250Z"),
        (1_795_341_600_999, "2026-11-22T10:00:00.999Z"),
        (-1, "1969-12-31T23:59:59.999Z"),
        (-62_135_596_800_000, "0001-01-01T00:00:00.000Z"),
        (253_402_300_799_999, "9999-12-31T23:59:59.999Z"),
    ],
)
def test_a_time_comes_back_as_it_was(time_ms: int, text: str) -> None:
    assert rfc3339(time_ms) == text
    assert instant_ms(text) == time_ms


def test_what_lies_outside_the_years_that_can_be_written_is_told_as_their_end() -> None:
    assert rfc3339(253_402_318_800_000) == "9999-12-31T23:59:59.999Z"
    assert rfc3339(-62_135_596_800_001) == "0001-01-01T00:00:00.000Z"


def test_what_is_finer_than_a_millisecond_is_cut_off_and_offsets_count() -> None:
    assert instant_ms("2026-11-22T11:00:00.250999+01:00") == 1_795_341_600_250
