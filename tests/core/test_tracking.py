"""Tracking: a carrier's word on packages."""

from typing import Any

import pytest

from orchestrator.core.config import Config
from tests.core.story import Story


def package(name: str, number: str | None = None, units: int | None = None) -> dict[str, Any]:
    lines = units and [{"line_id": "1", "quantity": units}]
    return {
        "package_id": name,
        "carrier": "ups",
        "tracking_number": number or f"T{name}",
        "lines": lines or None,
    }


@pytest.fixture
def sent(shop: Story) -> Story:
    """Three units in two packages, of 2 and 1."""
    shop.receive("BOS", A=9)
    shop.order("1", A=3)
    shop.ship("1.1", packages=[package("P1", units=2), package("P2", units=1)])
    return shop


def test_a_package_delivers_what_it_holds(sent: Story) -> None:
    sent.track("TP2")
    assert sent.status("1") == "partly_delivered"
    assert sent.counts("1") == {"shipped": 2, "delivered": 1}
    sent.track("TP1")
    assert sent.status("1") == "delivered"


def test_without_contents_units_arrive_with_the_last_package(shop: Story) -> None:
    shop.receive("BOS", A=3)
    shop.order("1", A=3)
    shop.ship("1.1", packages=[package("P1"), package("P2")])
    shop.track("TP2")
    assert shop.counts("1") == {"shipped": 3}
    assert shop.told("shipment_delivered")[0]["lines"] == []
    shop.track("TP1")
    assert shop.counts("1") == {"delivered": 3}


def test_units_outside_the_named_contents_arrive_with_the_last_package(shop: Story) -> None:
    shop.receive("BOS", A=3)
    shop.order("1", A=3)
    packages = [package("P1", units=1), package("P2")]
    shop.ship("1.1", packages=packages, lines=[{"line_id": "1", "quantity": 3}])
    shop.track("TP1")
    assert shop.counts("1") == {"shipped": 2, "delivered": 1}
    shop.track("TP2")
    assert shop.counts("1") == {"delivered": 3}


@pytest.mark.parametrize("status", ["in_transit", "out_for_delivery", "lost", "failure"])
def test_other_statuses_are_kept_and_move_nothing(sent: Story, status: str) -> None:
    sent.track("TP1", status, carrier_status="X1")
    (tracked,) = sent.told("package_tracked")
    assert (tracked["package_id"], tracked["status"]) == ("P1", status)
    assert tracked["carrier_status"] == "X1"
    assert sent.counts("1") == {"shipped": 3}


def test_what_comes_after_delivery_changes_nothing(sent: Story) -> None:
    sent.track("TP1")
    for status in ("delivered", "in_transit"):
        sent.track("TP1", status)
        assert [event["type"] for event in sent.events] == ["input_repeated"]


def test_an_update_before_its_shipment_waits_for_it(shop: Story) -> None:
    shop.receive("BOS", A=1)
    shop.order("1", A=1)
    shop.track("TP1", "in_transit")
    shop.track("TP1")
    assert [event["type"] for event in shop.events] == ["input_parked"]
    shop.ship("1.1")
    assert len(shop.told("input_resumed")) == 2
    assert shop.counts("1") == {"delivered": 1}


def test_an_update_finds_a_shipment_that_names_no_carrier(shop: Story) -> None:
    shop.receive("BOS", A=2)
    for order_id in ("1", "2"):
        shop.order(order_id, A=1)
    unnamed = {"package_id": "P1", "tracking_number": "T1"}
    shop.track("T1")
    shop.ship("1.1", packages=[unnamed])
    assert shop.counts("1") == {"delivered": 1}
    shop.ship("2.1", packages=[{**unnamed, "carrier": "dhl"}])
    shop.track("T1")
    assert shop.counts("2") == {"shipped": 1}, "another carrier's number is another number"


def test_an_update_waits_seven_days_at_the_most(shop: Story) -> None:
    shop.receive("BOS", A=1)
    shop.order("1", A=1)
    shop.track("TP1")
    shop.at(7 * 86400)
    assert shop.told("input_expired")
    shop.ship("1.1")
    assert shop.counts("1") == {"shipped": 1}


def test_where_too_many_wait_the_oldest_gives_way() -> None:
    shop = Story(Config(tracking_waits=2))
    for number in ("T1", "T2", "T3"):
        shop.track(number)
    assert [event["on"] for event in shop.told("input_expired")] == ["tracking:T1"]
    assert list(shop.shard.parked) == ["tracking:T2", "tracking:T3"]


def test_a_number_used_again_means_its_newest_shipment(shop: Story) -> None:
    shop.receive("BOS", A=2)
    for order_id in ("1", "2"):
        shop.order(order_id, A=1)
        shop.ship(f"{order_id}.1", packages=[package("P1", number="T1")])
    shop.track("T1")
    assert shop.counts("1") == {"shipped": 1}
    assert shop.counts("2") == {"delivered": 1}


def test_packages_of_one_shipment_under_one_number_arrive_together(shop: Story) -> None:
    shop.receive("BOS", A=2)
    shop.order("1", A=2)
    shop.track("T1")
    shop.ship("1.1", packages=[package(name, number="T1", units=1) for name in ("P1", "P2")])
    assert shop.told("shipment_delivered")[0]["packages"] == ["P1", "P2"]
    assert shop.counts("1") == {"delivered": 2}


def test_an_update_may_name_the_package_itself(sent: Story) -> None:
    sent.track("other", fulfillment_id="web.1.1", package_id="P2")
    assert sent.counts("1") == {"shipped": 2, "delivered": 1}


def test_an_update_with_or_without_its_market_finds_the_package(sent: Story) -> None:
    sent.track("TP1", market_id="US")
    sent.track("TP2")
    assert sent.counts("1") == {"delivered": 3}


def test_an_update_with_a_market_means_that_markets_package(shop: Story) -> None:
    shop.send("market_defined", market_id="EU", currency="USD", time_zone="UTC")
    shop.node("BER", market_id="EU")
    shop.receive("BOS", A=1)
    shop.receive("BER", A=1)
    shop.order("us", A=1)
    shop.order("eu", A=1, market_id="EU")
    shop.ship("us.1")
    packages = [{"package_id": "P1", "carrier": "ups", "tracking_number": "TP1"}]
    shop.send(
        "fulfillment_shipped",
        node_id="BER",
        fulfillment_id="web.eu.1",
        shipped_at="2026-11-23T10:00:00Z",
        packages=packages,
    )
    shop.track("TP1", market_id="US")
    assert shop.status("us") == "delivered"
    eu = shop.shard.markets["EU"].orders["web/eu"]
    assert eu.status() == "shipped"
    shop.track("TP1")
    assert eu.status() == "delivered", "without a market: the newest"


def test_an_early_update_by_its_ids_finds_a_package_without_a_number(shop: Story) -> None:
    shop.receive("BOS", A=1)
    shop.order("1", A=1)
    shop.track("T9", fulfillment_id="web.1.1", package_id="P1")
    shop.ship("1.1", packages=[{"package_id": "P1"}])
    assert shop.status("1") == "delivered"
