"""Lots by the day they expire, and how fast stock goes."""

import pytest

from orchestrator.core.ledger import Bin
from orchestrator.core.sourcing.calendars import day_number
from tests.core.story import Story

DAY = day_number("2027-02-01")


def shop(**lots: int) -> Story:
    """BOS with units of A by the day of February 2027 they expire (d1=3, …)."""
    story = Story()
    story.node("BOS")
    story.item("A")
    for name, units in lots.items():
        expires_on = f"2027-02-{int(name[1:]):02}"
        story.send(
            "stock_received", node_id="BOS", sku="A", quantity=units, expires_on=expires_on, lot="L"
        )
    return story


def lots(story: Story) -> dict[int, int]:
    """Units by day of February 2027."""
    stock = story.shard.stock(story.shard.nodes["BOS"], "A")
    return {day - DAY + 1: units for day, units in stock.lots or ()}


def test_what_expires_first_leaves_first() -> None:
    story = shop(d9=3, d5=2)
    story.order("1", A=4)
    story.ship("1.1")
    assert lots(story) == {9: 1}
    assert story.told("balanced")[0]["lots"] == [["BOS", "A", [[DAY + 8, 1]]]]


def test_a_report_that_says_which_units_left_is_believed() -> None:
    story = shop(d9=3, d5=2)
    story.order("1", A=3)
    line = {"line_id": "1", "quantity": 2, "expires_on": "2027-02-09"}
    story.ship("1.1", lines=[line])
    assert lots(story) == {5: 2, 9: 1}
    other = {"line_id": "1", "quantity": 1, "expires_on": "2027-02-20"}
    story.ship("1.1", "P2", lines=[other])
    assert lots(story) == {5: 1, 9: 1}, "none of those were known: the oldest left"


def test_packages_may_hold_units_of_several_lots() -> None:
    story = shop(d9=3, d5=2)
    story.order("1", A=2)
    packages = [
        {
            "package_id": "P1",
            "lines": [
                {"line_id": "1", "quantity": 1, "expires_on": "2027-02-09"},
                {"line_id": "1", "quantity": 1, "expires_on": "2027-02-05"},
            ],
        }
    ]
    story.ship("1.1", packages=packages)
    assert lots(story) == {5: 1, 9: 2}
    assert story.counts("1") == {"shipped": 2}


def test_units_without_expiry_leave_last() -> None:
    story = shop(d5=2)
    story.receive("BOS", A=2)
    story.send("stock_adjusted", node_id="BOS", sku="A", delta=-3, reason="breakage")
    assert lots(story) == {}
    assert story.stock("BOS", "A") == (1, 0, 1)


def test_a_count_shrinks_the_oldest_first_and_adds_nothing_to_a_lot() -> None:
    story = shop(d5=2, d9=2)
    story.send("stock_counted", node_id="BOS", sku="A", counted=3)
    assert lots(story) == {5: 1, 9: 2}
    story.send("stock_counted", node_id="BOS", sku="A", counted=9)
    assert lots(story) == {5: 1, 9: 2}


def test_fresh_units_are_those_that_surely_live_so_long() -> None:
    story = shop(d5=2, d9=3)
    story.receive("BOS", A=1)
    stock = story.shard.stock(story.shard.nodes["BOS"], "A")
    assert [stock.fresh(DAY + day - 1) for day in (5, 6, 9, 10)] == [6, 4, 4, 1]
    story.order("1", A=2)
    assert [stock.fresh(DAY + day - 1) for day in (5, 6, 9, 10)] == [4, 2, 2, 0]


@pytest.mark.parametrize(("days", "expected"), [(0, 28), (1, 29), (27, 74), (400, None)])
def test_supply_lasts_as_long_as_the_remembered_rate_says(days: int, expected: int | None) -> None:
    stock = Bin()
    stock.available = 100
    assert stock.days_of_supply(0) is None
    stock.sell(100, 0)
    assert stock.days_of_supply(days * 86_400_000) == expected


def test_what_is_shipped_counts_as_sold_and_nothing_else() -> None:
    story = shop()
    story.receive("BOS", A=10)
    story.send("stock_adjusted", node_id="BOS", sku="A", delta=-1, reason="shipped")
    stock = story.shard.stock(story.shard.nodes["BOS"], "A")
    assert stock.days_of_supply(story.now_ms) is None
    story.order("1", A=1)
    story.ship("1.1")
    assert stock.days_of_supply(story.now_ms) == 8 * 28


def test_a_loss_that_takes_several_entries_shrinks_the_lots_once() -> None:
    story = shop(d5=300)
    for number in range(250):
        story.order(str(number), A=1)
    story.send("stock_counted", node_id="BOS", sku="A", counted=20)
    assert any("settling" in str(event) for event in story.events)
    assert story.stock("BOS", "A") == (20, 20, 0)
    assert lots(story) == {5: 20}
