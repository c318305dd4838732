"""What every input decides in every state of an order and of its fulfillment: the whole table.

Left out: `balanced` and `availability_changed`, which follow from the counts.
"""
# ruff: noqa: E501 - a cell stays on one line

from collections.abc import Callable

import orjson
import pytest

from tests.core.story import Story

Step = Callable[[Story], object]
UNTOLD = ("balanced", "availability_changed")


def _shop(*steps: Step) -> Story:
    """Boston alone, with 2 of A; an order of 2 where a state says so."""
    shop = Story()
    shop.node("BOS")
    shop.item("A")
    shop.receive("BOS", A=2)
    for step in steps:
        step(shop)
    return shop


def _order(shop: Story) -> None:
    shop.order("1", A=2)


def _same_order(shop: Story) -> None:
    inputs = [orjson.loads(entry)["input"] for entry in shop.entries]
    placed = [one["data"] for one in inputs if one["type"] == "order_placed"]
    if placed:
        shop.send("order_placed", **placed[0])
    else:
        _order(shop)


def _accept(shop: Story) -> None:
    shop.report("accepted", "1.1", node_id="BOS")


def _reject(shop: Story) -> None:
    shop.report("rejected", "1.1", node_id="BOS", reason="other")


def _ship(shop: Story, package: str = "P1") -> None:
    shop.ship("1.1", package=package, node_id="BOS", lines=[_line(2)])


def _ship_one(shop: Story) -> None:
    shop.ship("1.1", package="P0", lines=[_line(1)])


def _line(quantity: int) -> dict[str, object]:
    return {"line_id": "1", "sku": "A", "quantity": quantity}


def _cancel(shop: Story) -> None:
    shop.cancel("1")


def _agree(shop: Story) -> None:
    shop.report("cancellation_accepted", "1.1", node_id="BOS")


def _decline(shop: Story) -> None:
    shop.report("cancellation_rejected", "1.1", node_id="BOS")


def _deliver(shop: Story) -> None:
    shop.track("TP1")


def _count_one(shop: Story) -> None:
    shop.send("stock_counted", node_id="BOS", sku="A", counted=1)


STATES: dict[str, list[Step]] = {
    "none": [],
    "waiting": [lambda shop: shop.order("1", Z=2)],
    "refused": [lambda shop: shop.order("1", A=2, currency="EUR")],
    "backordered": [
        lambda shop: shop.send("stock_counted", node_id="BOS", sku="A", counted=0),
        _order,
    ],
    "submitted": [_order],
    "accepted": [_order, _accept],
    "cancelling": [_order, _cancel],
    "declined": [_order, _cancel, _decline],
    "taken_back": [_order, _count_one],
    "partly_shipped": [_order, _ship_one],
    "shipped": [_order, _ship],
    "delivered": [_order, _ship, _deliver],
    "rejected": [_order, _reject],
    "cancelled": [_order, _cancel, _agree],
    "retired": [_order, _ship, _deliver, lambda shop: shop.at(8 * 86400)],
}

INPUTS: dict[str, Step] = {
    "order_placed, the same": _same_order,
    "order_placed, other content": lambda shop: shop.order("1", A=1),
    "order_cancel_requested": _cancel,
    "fulfillment_accepted": _accept,
    "fulfillment_rejected": _reject,
    "fulfillment_shipped": lambda shop: _ship(shop, "P9"),
    "fulfillment_cancellation_accepted": _agree,
    "fulfillment_cancellation_rejected": _decline,
    "tracking_updated, delivered": _deliver,
    "stock_received": lambda shop: shop.receive("BOS", A=2),
    "stock_adjusted to 0": lambda shop: shop.send(
        "stock_adjusted", node_id="BOS", sku="A", delta=-9, reason="fire"
    ),
    "stock_counted 0": lambda shop: shop.send("stock_counted", node_id="BOS", sku="A", counted=0),
    "item_defined": lambda shop: shop.item("Z"),
    "node_defined, inactive": lambda shop: shop.node("BOS", active=False),
    "market_defined": lambda shop: shop.send(
        "market_defined", market_id="US", currency="USD", time_zone="UTC"
    ),
    "carrier_service_defined": lambda shop: shop.send(
        "carrier_service_defined",
        market_id="US",
        carrier="ups",
        service="ground",
        service_levels=["standard"],
        rates=[{"to_km": 9, "base_minor": 1, "per_kg_minor": 1, "transit_days": 1}],
    ),
    "places_defined": lambda shop: shop.send(
        "places_defined",
        country="US",
        version="1",
        chunk=1,
        chunks=1,
        rows=[{"postal_code": "02108", "lat": 42.4, "lon": -71.1}],
    ),
    "lane_suspended": lambda shop: shop.send(
        "lane_suspended", market_id="US", carrier="ups", reason="storm"
    ),
    "lane_restored": lambda shop: shop.send("lane_restored", market_id="US", carrier="ups"),
    "clock_ticked, a minute on": lambda shop: shop.at(60),
    "clock_ticked, four hours on": lambda shop: shop.at(4 * 3600),
}
TABLE: dict[str, dict[str, str]] = {
    "order_placed, the same": {
        "none": "order_accepted fulfillment_requested order_allocated",
        "else": "input_repeated",
    },
    "order_placed, other content": {
        "none": "order_accepted fulfillment_requested order_allocated",
        "else": "order_refused exception_opened",
    },
    "order_cancel_requested": {
        "waiting": "order_cancelled order_closed",
        "backordered": "order_cancelled order_closed",
        "submitted": "fulfillment_cancellation_requested fulfillment_changed",
        "accepted": "fulfillment_cancellation_requested fulfillment_changed",
        "cancelling": "input_repeated",
        "declined": "fulfillment_cancellation_requested fulfillment_changed",
        "taken_back": "order_cancelled fulfillment_cancellation_requested",
        "partly_shipped": "fulfillment_cancellation_requested fulfillment_changed order_cancellation_rejected exception_opened",
        "rejected": "order_cancelled order_closed",
        "cancelled": "input_repeated",
        "else": "order_cancellation_rejected exception_opened",
    },
    "fulfillment_accepted": {
        "submitted": "fulfillment_changed",
        "accepted": "input_repeated",
        "cancelling": "fulfillment_changed",
        "declined": "fulfillment_changed",
        "taken_back": "fulfillment_changed",
        "partly_shipped": "input_repeated",
        "shipped": "input_repeated",
        "delivered": "input_repeated",
        "else": "exception_opened",
    },
    "fulfillment_rejected": {
        "submitted": "units_released item_suppressed fulfillment_changed order_allocated",
        "accepted": "units_released item_suppressed fulfillment_changed order_allocated",
        "cancelling": "units_released cancellation_answered order_cancelled item_suppressed fulfillment_changed order_closed",
        "declined": "units_released item_suppressed fulfillment_changed order_allocated",
        "taken_back": "units_released cancellation_answered item_suppressed fulfillment_changed order_allocated",
        "partly_shipped": "units_released item_suppressed fulfillment_changed order_allocated",
        "rejected": "input_repeated",
        "else": "exception_opened",
    },
    "fulfillment_shipped": {
        "backordered": "stock_moved exception_opened packages_known exception_opened",
        "submitted": "shipment_sent stock_moved fulfillment_changed",
        "accepted": "shipment_sent stock_moved fulfillment_changed",
        "cancelling": "shipment_sent stock_moved cancellation_answered order_cancellation_rejected fulfillment_changed",
        "declined": "shipment_sent stock_moved fulfillment_changed",
        "taken_back": "shipment_sent stock_moved cancellation_answered fulfillment_changed",
        "partly_shipped": "shipment_sent stock_moved exception_opened fulfillment_changed exception_opened",
        "shipped": "shipment_sent stock_moved exception_opened exception_opened",
        "delivered": "shipment_sent stock_moved exception_opened exception_opened",
        "rejected": "shipment_sent stock_moved exception_opened",
        "cancelled": "shipment_sent stock_moved exception_opened",
        "retired": "stock_moved exception_opened packages_known exception_opened",
        "else": "stock_moved packages_known exception_opened",
    },
    "fulfillment_cancellation_accepted": {
        "cancelling": "cancellation_answered units_released order_cancelled fulfillment_changed order_closed",
        "declined": "cancellation_answered units_released order_cancelled fulfillment_changed order_closed",
        "taken_back": "cancellation_answered units_released fulfillment_changed",
        "cancelled": "input_repeated",
        "else": "exception_opened",
    },
    "fulfillment_cancellation_rejected": {
        "cancelling": "cancellation_answered order_cancellation_rejected fulfillment_changed",
        "declined": "input_repeated",
        "taken_back": "cancellation_answered fulfillment_changed",
        "else": "exception_opened",
    },
    "tracking_updated, delivered": {
        "shipped": "shipment_delivered order_closed",
        "delivered": "input_repeated",
        "else": "input_parked",
    },
    "stock_received": {
        "backordered": "stock_moved fulfillment_requested order_allocated",
        "taken_back": "stock_moved fulfillment_requested order_allocated",
        "rejected": "stock_moved suppression_lifted fulfillment_requested order_allocated",
        "else": "stock_moved",
    },
    "stock_adjusted to 0": {
        "submitted": "stock_moved units_released fulfillment_cancellation_requested fulfillment_changed exception_opened order_allocated",
        "accepted": "stock_moved units_released fulfillment_cancellation_requested fulfillment_changed exception_opened order_allocated",
        "cancelling": "stock_moved units_released cancellation_answered order_cancelled exception_opened order_closed",
        "declined": "stock_moved units_released fulfillment_cancellation_requested fulfillment_changed exception_opened order_allocated",
        "taken_back": "stock_moved units_released fulfillment_cancellation_requested order_allocated",
        "partly_shipped": "stock_moved units_released fulfillment_cancellation_requested fulfillment_changed exception_opened order_allocated",
        "else": "stock_moved exception_opened",
    },
    "stock_counted 0": {
        "backordered": "stock_moved",
        "submitted": "stock_moved units_released fulfillment_cancellation_requested fulfillment_changed exception_opened order_allocated",
        "accepted": "stock_moved units_released fulfillment_cancellation_requested fulfillment_changed exception_opened order_allocated",
        "cancelling": "stock_moved units_released cancellation_answered order_cancelled exception_opened order_closed",
        "declined": "stock_moved units_released fulfillment_cancellation_requested fulfillment_changed exception_opened order_allocated",
        "taken_back": "stock_moved units_released fulfillment_cancellation_requested order_allocated",
        "partly_shipped": "stock_moved units_released fulfillment_cancellation_requested fulfillment_changed exception_opened order_allocated",
        "shipped": "stock_moved",
        "delivered": "stock_moved",
        "rejected": "stock_moved suppression_lifted",
        "retired": "stock_moved",
        "else": "stock_moved",
    },
    "item_defined": {
        "waiting": "master_data_kept work_done order_accepted order_allocated",
        "else": "master_data_kept",
    },
    "node_defined, inactive": {
        "else": "master_data_kept work_done",
    },
    "market_defined": {
        "backordered": "master_data_kept work_queued work_done work_done",
        "taken_back": "master_data_kept work_queued work_done work_done",
        "rejected": "master_data_kept work_queued work_done work_done",
        "else": "master_data_kept",
    },
    "carrier_service_defined": {
        "backordered": "master_data_kept work_queued work_done work_done",
        "taken_back": "master_data_kept work_queued work_done work_done",
        "rejected": "master_data_kept work_queued work_done work_done",
        "else": "master_data_kept",
    },
    "places_defined": {
        "backordered": "master_data_kept work_queued work_done work_done",
        "taken_back": "master_data_kept work_queued work_done work_done",
        "rejected": "master_data_kept work_queued work_done work_done",
        "else": "master_data_kept",
    },
    "lane_suspended": {
        "else": "lane_suspended",
    },
    "lane_restored": {
        "else": "input_repeated",
    },
    "clock_ticked, a minute on": {
        "waiting": "timer_fired order_refused order_closed",
        "else": "",
    },
    "clock_ticked, four hours on": {
        "waiting": "timer_fired order_refused order_closed",
        "rejected": "timer_fired suppression_lifted fulfillment_requested order_allocated",
        "else": "",
    },
}


def cells() -> list[tuple[str, str]]:
    return [(given, when) for when in INPUTS for given in STATES]


@pytest.mark.parametrize(("given", "when"), cells())
def test_the_cell_holds(given: str, when: str) -> None:
    shop = _shop(*STATES[given])
    INPUTS[when](shop)
    decided = [event["type"] for event in shop.events if event["type"] not in UNTOLD]
    row = TABLE[when]
    assert " ".join(decided) == row.get(given, row.get("else"))
