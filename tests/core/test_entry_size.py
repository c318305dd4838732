"""No input that intake takes makes an entry that a commit can't hold."""

from typing import Any

import pytest

from schemas.inbox import MAX_INPUT_BYTES
from schemas.journal import MAX_COMMIT_BYTES
from tests.core.story import Story

ROOM = MAX_COMMIT_BYTES - 1_000
NODES = [f"N{number:02}" for number in range(40)]
MANY = [f"SKU-{number:04}" for number in range(1_000)]


def network(skus: list[str], nodes: list[str], units: int = 5) -> Story:
    shop = Story()
    for node_id in NODES:
        shop.node(node_id)
    shop.item(*skus)
    for n, sku in enumerate(skus):
        for node_id in nodes:
            if units or n % 2:
                quantity = units or 1
                shop.send("stock_received", node_id=node_id, sku=sku, quantity=quantity)
    return shop


def place(
    shop: Story,
    order_id: str,
    lines: list[dict[str, Any]],
    attributes: dict[str, str] | None = None,
) -> None:
    shop.order(order_id, lines=lines, attributes=attributes or {})
    assert len(shop.the_order(order_id).raw) < MAX_INPUT_BYTES


def lines_of(skus: list[str], quantity: int = 1) -> list[dict[str, Any]]:
    return [
        {
            "line_id": str(number),
            "sku": sku,
            "quantity": quantity,
            "name": "a name of some length",
            "unit_price_minor": 12_345,
            "attributes": {"color": "ultramarine"},
        }
        for number, sku in enumerate(skus)
    ]


def largest(shop: Story) -> int:
    return max(map(len, shop.entries))


@pytest.mark.slow
def test_an_order_of_a_thousand_lines_that_is_rejected_and_sourced_again() -> None:
    shop = network(MANY, NODES)
    place(shop, "1", lines_of(MANY))
    shop.report("rejected", "1.1", reason="not_in_stock")
    assert shop.status("1") == "allocated"
    assert largest(shop) < ROOM


def test_an_order_of_a_thousand_lines_that_is_shipped_line_by_line() -> None:
    shop = network(MANY, NODES[:1])
    place(shop, "1", lines_of(MANY))
    packed = [{"line_id": str(number), "quantity": 1, "lot": "L1"} for number in range(1_000)]
    packages = [{"package_id": "P1", "lines": packed}]
    shop.report("shipped", "1.1", shipped_at="2026-11-23T10:00:00Z", packages=packages)
    assert shop.status("1") == "shipped"
    assert largest(shop) < ROOM


def test_an_order_that_says_much_to_each_of_many_nodes() -> None:
    shop = Story()
    skus = MANY[:20]
    shop.item(*skus)
    for node_id, sku in zip(NODES, skus, strict=False):
        shop.node(node_id)
        shop.send("stock_received", node_id=node_id, sku=sku, quantity=1)
    attributes = {f"key {number}": "x" * 1_900 for number in range(80)}
    place(shop, "1", lines_of(skus), attributes=attributes)
    assert shop.status("1") == "allocated"
    assert len(shop.the_order("1").fulfillments) == 20
    assert largest(shop) < ROOM


@pytest.mark.parametrize("length", [1, pytest.param(400, marks=pytest.mark.slow)])
def test_a_receipt_for_many_orders_that_wait(length: int) -> None:
    shop = network(MANY[:length], NODES[:1], units=0)
    orders = 300 if length == 1 else 60
    for number in range(orders):
        place(shop, str(number), lines_of(MANY[:length]))
    shop.send("stock_received", node_id="N05", sku=MANY[0], quantity=orders)
    left = [shop.counts(str(number), "0") for number in range(orders)]
    assert left == [{"allocated": 1}] * orders
    assert largest(shop) < ROOM
