"""Times at the ends of the calendar, as systems write "never" and "unknown"."""

from typing import Any

import pytest

from schemas.times import instant_ms
from tests.core.story import Story


@pytest.mark.parametrize("field", ["ship_by", "deliver_by", "ship_not_before"])
@pytest.mark.parametrize(
    "told",
    [
        *("0001-01-01", "9999-12-31", "0001-01-01T00:00:00Z", "9999-12-31T23:59:59.999Z"),
        *("9988-12-30", "9989-03-01"),
    ],
)
def test_an_order_for_a_day_at_the_end_of_time_is_decided_like_any_other(
    field: str, told: str
) -> None:
    story = Story()
    story.node("BOS", address={"country": "US"}, time_zone="America/New_York")
    story.item("MUG")
    story.receive("BOS", MUG=1)
    when: dict[str, Any] = {field: told}
    story.order("1", MUG=1, **when)
    story.order("2", MUG=1, **when)
    story.at(3_600)
    first, second = (story.the_order(one).lines[0] for one in ("1", "2"))
    assert (first.allocated, second.backordered) == (1, 1)


def test_what_was_announced_for_the_end_of_time_arrives_then() -> None:
    story = Story()
    story.node("BOS")
    story.item("MUG")
    announced: dict[str, Any] = {"node_id": "BOS", "sku": "MUG", "document": "P", "quantity": 1}
    story.send("inbound_announced", expected_at="9999-12-31", **announced)
    (told,) = [one for one in story.order("1", MUG=1) if one["type"] == "order_allocated"]
    assert instant_ms(told["backordered"][0]["expected_at"]) > instant_ms("9999-12-31T00:00:00Z")
