"""Placing: an order is taken once, waits for what it needs, or is refused with the reason."""

from typing import Any

from orchestrator.core.config import Config
from tests.core.story import Story

LINES: list[dict[str, Any]] = [
    {"line_id": "1", "sku": "A", "quantity": 1},
    {"line_id": "2", "sku": "B", "quantity": 2},
]


def test_the_same_order_again_changes_nothing(shop: Story) -> None:
    shop.receive("BOS", A=5)
    shop.order("1", A=2)
    shop.order("1", A=2)
    assert [event["type"] for event in shop.events] == ["input_repeated"]
    assert shop.events[0]["by"] == "order"


def test_the_order_of_the_lines_and_spelt_out_defaults_are_the_same_content(shop: Story) -> None:
    shop.order("1", lines=LINES, attributes={"a": "1", "b": "2"})
    shop.order(
        "1",
        lines=LINES[::-1],
        attributes={"b": "2", "a": "1"},
        priority=0,
        service_level="standard",
        allow_split=True,
        contact=None,
        gift_message="",
        placed_at="2026-11-22T05:00:00-05:00",
    )
    assert shop.told("input_repeated")[0]["by"] == "order"


def test_other_content_is_refused_and_the_first_order_stands(shop: Story) -> None:
    shop.receive("BOS", A=5)
    shop.order("1", A=2)
    shop.order("1", A=3)
    (refused,) = shop.told("order_refused")
    assert (refused["reasons"][0]["code"], refused["status"]) == ("other_content", "allocated")
    assert shop.exceptions() == ["data_mismatch"]
    assert shop.counts("1") == {"allocated": 2}
    shop.order("1", A=4)
    assert len(shop.exceptions()) == 1, "the same sentence is one exception"
    shop.order("1", A=2)
    assert shop.told("input_repeated"), "the first order is still the first order"


def test_one_id_in_two_channels_is_two_orders(shop: Story) -> None:
    shop.receive("BOS", A=5)
    shop.order("1", A=1)
    shop.order("1", A=2, channel="pos")
    assert [
        fulfillment["fulfillment_id"] for fulfillment in shop.told("fulfillment_requested")
    ] == ["pos.1.1"]


def test_another_currency_than_the_markets_is_refused(shop: Story) -> None:
    shop.receive("BOS", A=5)
    shop.order("1", A=1, currency="EUR")
    (refused,) = shop.told("order_refused")
    assert refused["reasons"][0]["code"] == "currency"
    assert shop.status("1") == "refused"
    assert shop.stock("BOS", "A") == (5, 0, 5)


def test_a_refused_order_stays_refused_whatever_comes_under_its_id(shop: Story) -> None:
    shop.order("1", A=1, currency="EUR")
    shop.order("1", A=1, currency="EUR")
    assert shop.told("input_repeated")
    shop.order("1", A=1)
    assert shop.told("order_refused")[0]["reasons"][0]["code"] == "other_content"
    assert shop.status("1") == "refused"


def test_an_order_of_an_unknown_item_waits_open_and_goes_on_when_it_comes(shop: Story) -> None:
    shop.receive("BOS", A=1, Z=1)
    shop.order("1", A=1, Z=1)
    assert shop.status("1") == "accepted"
    assert [shop.counts("1", line) for line in "12"] == [{"open": 1}, {"open": 1}]
    shop.at(59)
    shop.item("Z")
    assert [event["status"] for event in shop.told("order_accepted")] == ["accepted"]
    assert shop.plan("1") == {"BOS": {"A": 1, "Z": 1}}
    shop.at(100)
    assert shop.status("1") == "allocated"


def test_an_order_of_two_unknown_items_waits_for_both(shop: Story) -> None:
    shop.order("1", Y=1, Z=1)
    shop.item("Z")
    assert shop.counts("1") == {"open": 1}
    shop.item("Y")
    assert shop.counts("1") == {"backordered": 1}


def test_an_item_that_never_comes_refuses_the_order(shop: Story) -> None:
    shop.receive("BOS", A=1)
    shop.order("1", A=1, Z=1)
    shop.at(59.9)
    assert shop.status("1") == "accepted"
    shop.at(0.1)
    (refused,) = shop.told("order_refused")
    assert [(one["code"], one["line_id"]) for one in refused["reasons"]] == [("unknown_sku", "2")]
    assert shop.status("1") == "refused"
    shop.item("Z")
    assert shop.status("1") == "refused"
    assert shop.stock("BOS", "A") == (1, 0, 1)


def test_the_wait_is_a_setting() -> None:
    shop = Story(Config(order_wait_ms=5_000))
    shop.order("1", Z=1)
    shop.at(5)
    assert shop.status("1") == "refused"


def test_a_waiting_order_whose_unknown_line_is_cancelled_goes_on(shop: Story) -> None:
    shop.receive("BOS", A=1)
    shop.order("1", A=1, Z=1)
    shop.cancel("1", lines=[{"line_id": "2"}])
    assert shop.counts("1") == {"allocated": 1}
    assert shop.counts("1", "2") == {"cancelled": 1}
    shop.at(61)
    assert shop.status("1") == "allocated"


def test_a_waiting_order_can_be_cancelled_as_a_whole(shop: Story) -> None:
    shop.order("1", Z=1)
    shop.cancel("1")
    assert shop.status("1") == "cancelled"
    shop.item("Z")
    shop.at(61)
    assert shop.status("1") == "cancelled"


def test_an_order_of_a_market_not_known_yet_waits_for_it(shop: Story) -> None:
    shop.order("1", A=1, market_id="EU", currency="EUR")
    assert [event["type"] for event in shop.events] == ["input_parked"]
    shop.order("1", A=1, market_id="EU", currency="EUR")
    shop.send("market_defined", market_id="EU", currency="EUR", time_zone="Europe/Berlin")
    assert len(shop.told("input_resumed")) == 2
    assert len(shop.told("order_accepted")) == 1, "the second was the same order"
    assert shop.shard.markets["EU"].orders["web/1"].status() == "backordered"


def test_a_node_of_a_market_not_known_yet_waits_and_so_does_its_stock(shop: Story) -> None:
    shop.node("BER", market_id="EU")
    shop.receive("BER", A=1)
    shop.send("market_defined", market_id="EU", currency="EUR", time_zone="Europe/Berlin")
    assert len(shop.told("input_resumed")) == 2
    assert shop.stock("BER", "A") == (1, 0, 1)


def test_one_markets_stock_serves_no_other(shop: Story) -> None:
    shop.send("market_defined", market_id="EU", currency="USD", time_zone="Europe/Berlin")
    shop.receive("BOS", A=5)
    shop.order("1", A=1, market_id="EU")
    assert shop.shard.markets["EU"].orders["web/1"].status() == "backordered"


def test_what_is_only_passed_on_reaches_the_node(shop: Story) -> None:
    shop.receive("BOS", A=1)
    passed: dict[str, Any] = {
        "service_level": "express",
        "carrier": "ups",
        "service": "ground",
        "contact": {"phone": "1"},
        "order_number": "N1",
        "po_number": "PO1",
        "shipping_method": "Fast",
        "delivery_requirements": ["signature"],
        "gift_message": "hello",
        "packing_note": "fragile",
        "attributes": {"a": "b"},
    }
    line = {"name": "Item", "unit_price_minor": 5, "gift_message": "x", "attributes": {"c": "d"}}
    shop.order("1", line=line, A=1, **passed)
    (requested,) = shop.told("fulfillment_requested")
    assert {key: requested[key] for key in passed} == passed
    assert requested["lines"] == [{"line_id": "1", "sku": "A", "quantity": 1, **line}]
    assert requested["ship_to"]["name"] == "Ada"
