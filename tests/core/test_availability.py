"""Availability is told where a market's units cross a threshold, not on every unit."""

from typing import Any

import pytest

from orchestrator.core.config import Config
from orchestrator.core.invariants import violations
from orchestrator.core.promising import availability
from tests.core.story import Story, plain


def told(shop: Story) -> list[int]:
    return [event["available"] for event in shop.told("availability_changed")]


@pytest.mark.parametrize(
    ("before", "after", "is_told"),
    [
        (0, 1, True),
        (1, 5, False),
        (5, 6, True),
        (6, 20, False),
        (20, 21, True),
        (21, 100, False),
        (100, 21, False),
        (21, 20, True),
        (20, 6, False),
        (6, 5, True),
        (5, 1, False),
        (1, 0, True),
        (100, 0, True),
        (0, 100, True),
    ],
)
def test_crossing_0_5_or_20_is_told(shop: Story, before: int, after: int, *, is_told: bool) -> None:
    if before:
        shop.receive("BOS", A=before)
    shop.send("stock_counted", node_id="BOS", sku="A", counted=after)
    assert told(shop) == ([after] if is_told else [])


def test_units_at_all_nodes_count_together(shop: Story) -> None:
    shop.receive("BOS", A=5)
    shop.receive("CHI", A=1)
    assert told(shop) == [6]
    shop.order("1", A=6)
    assert told(shop) == [0]


def test_units_at_a_node_that_offers_nothing_dont_count(shop: Story) -> None:
    shop.receive("BOS", A=1)
    shop.node("BOS", active=False)
    assert told(shop) == [0]
    shop.node("BOS", ships=False)
    assert told(shop) == []
    shop.node("BOS")
    assert told(shop) == [1]


NEVER_SHIPS = pytest.mark.parametrize(
    "never",
    [{"capacity_orders_per_day": 0}, {"capacity_units_per_day": 0}, {"working_days": []}],
    ids=["no orders", "no units", "no day"],
)


@NEVER_SHIPS
def test_units_at_a_node_that_ships_on_no_day_dont_count(
    shop: Story, never: dict[str, Any]
) -> None:
    shop.receive("BOS", A=1)
    shop.node("BOS", **never)
    assert told(shop) == [0]
    shop.receive("BOS", A=1)
    assert told(shop) == []
    shop.node("BOS")
    assert told(shop) == [2]
    shop.node("BOS", active=False)
    assert told(shop) == [0]
    shop.node("BOS", **never)
    assert told(shop) == []
    assert list(violations(shop.shard)) == []
    assert plain(shop.shard) == plain(shop.twin)


@NEVER_SHIPS
def test_what_a_node_has_goes_to_who_waits_once_it_ships(
    shop: Story, never: dict[str, Any]
) -> None:
    shop.node("BOS", **never)
    shop.receive("BOS", A=1, B=1)
    shop.order("1", A=1)
    assert shop.counts("1") == {"backordered": 1}
    shop.node("BOS")
    assert shop.counts("1") == {"allocated": 1}


@NEVER_SHIPS
def test_a_threshold_is_kept_by_nodes_that_ship(shop: Story, never: dict[str, Any]) -> None:
    shop.node("CHI", **never)
    shop.rules({}, thresholds={"web": 5})
    shop.receive("BOS", A=5)
    shop.receive("CHI", A=5)
    shop.order("1", A=1)
    assert shop.counts("1") == {"backordered": 1}
    shown = availability([shop.shard], "A", "web", shop.now_ms)
    assert [(row["node_id"], row["offers"], row["free"]) for row in shown["nodes"]] == [
        ("BOS", True, 5),
        ("CHI", False, 0),
    ]
    assert [(row["free"], row["atp"]) for row in shown["markets"]] == [(5, 0)]


def test_held_units_dont_count(shop: Story) -> None:
    shop.send("stock_received", node_id="BOS", sku="A", quantity=9, state="damaged")
    assert told(shop) == []


def test_units_that_go_straight_to_who_waits_are_not_told(shop: Story) -> None:
    shop.order("1", A=3)
    shop.receive("BOS", A=3)
    assert told(shop) == []


def test_thresholds_are_a_setting() -> None:
    shop = Story(Config(availability_thresholds=(0, 2)))
    shop.node("BOS")
    shop.receive("BOS", A=2)
    assert told(shop) == [2]
    shop.receive("BOS", A=1)
    assert told(shop) == [3]
    shop.receive("BOS", A=100)
    assert told(shop) == []
