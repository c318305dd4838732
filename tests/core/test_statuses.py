"""CONTRACT's tables of statuses, cell by cell."""

from itertools import product

import pytest

from orchestrator.core.orders import Fulfillment, FulfillmentLine, Order
from tests.core.story import Story

COUNTS = ("open", "allocated", "backordered", "shipped", "delivered", "cancelled")


def by_contract(units: dict[str, int]) -> str:
    """The table as CONTRACT.md words it, from the units not cancelled."""
    quantity = sum(units[name] for name in COUNTS if name != "cancelled")
    if quantity == 0:
        return "cancelled"
    if units["delivered"]:
        return "delivered" if units["delivered"] == quantity else "partly_delivered"
    if units["shipped"]:
        return "shipped" if units["shipped"] == quantity else "partly_shipped"
    if units["allocated"]:
        return "allocated" if units["allocated"] == quantity else "partly_allocated"
    return "backordered" if units["backordered"] == quantity else "accepted"


@pytest.mark.parametrize("present", list(product((0, 2), repeat=len(COUNTS)))[1:])
def test_an_orders_status_follows_from_its_units(present: tuple[int, ...]) -> None:
    units = dict(zip(COUNTS, present, strict=True))
    lines = [
        {"line_id": name, "sku": "A", "quantity": quantity}
        for name, quantity in units.items()
        if quantity
    ]
    order = Order(1, b"", {"market_id": "M", "channel": "web", "order_id": "1", "lines": lines})
    for line in order.lines:
        if line.line_id != "open":
            setattr(line, line.line_id, line.quantity)
    assert order.status() == by_contract(units)
    order.refused = True
    assert order.status() == "refused"


@pytest.mark.parametrize(
    ("before", "shipped", "rejected", "cancelled", "status"),
    [
        ("open", 0, 0, 0, "open"),
        ("in_progress", 0, 0, 0, "in_progress"),
        ("open", 1, 0, 0, "in_progress"),
        ("open", 0, 1, 0, "open"),
        ("open", 0, 0, 1, "open"),
        ("in_progress", 1, 1, 1, "incomplete"),
        ("in_progress", 3, 0, 0, "shipped"),
        ("in_progress", 4, 0, 0, "shipped"),
        ("in_progress", 2, 0, 1, "shipped"),
        ("in_progress", 2, 1, 0, "incomplete"),
        ("open", 0, 3, 0, "incomplete"),
        ("open", 0, 2, 1, "incomplete"),
        ("open", 0, 0, 3, "cancelled"),
    ],
)
def test_a_fulfillments_status_follows_from_its_units(
    before: str, shipped: int, rejected: int, cancelled: int, status: str
) -> None:
    line = FulfillmentLine("1", "A", 3, ())
    line.shipped, line.rejected, line.cancelled = shipped, rejected, cancelled
    fulfillment = Fulfillment("web.1.1", "BOS", [line])
    fulfillment.status = before
    assert fulfillment.work_status() == status


def test_a_status_stands_on_every_update(shop: Story) -> None:
    shop.receive("BOS", A=2)
    statuses = [event["status"] for event in shop.order("1", A=2) if "status" in event]
    assert statuses == ["accepted", "allocated"]
    assert [event["status"] for event in shop.ship("1.1") if event["type"] == "shipment_sent"] == [
        "shipped"
    ]
    assert shop.track("TP1")[0]["status"] == "delivered"
