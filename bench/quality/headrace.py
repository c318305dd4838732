"""Headrace as a policy: the real core, order by order, under rates that are the instance's costs.

The supplier is one more node, with more of everything than anybody orders. One carrier service has
a price for each pair of node and zone, so that what a decision says it costs is what it costs here.
"""

from collections.abc import Sequence
from typing import Any, Final

import orjson

from bench.engine import Engine
from bench.quality.geography import METROS
from bench.quality.instances import (
    NODES,
    Instance,
    Order,
    package_costs,
    sites,
    unit_costs,
)
from bench.quality.policies import Stock

MARKET: Final = "US"
SUPPLIER: Final = "supplier"  # ranks behind every code
_START_MS: Final = 1_795_341_600_000
_PLENTY: Final = 1_000_000


class Headrace:
    """Decides as the core does. It keeps its own stock, and doesn't look at what it is shown."""

    def __init__(self, instance: Instance) -> None:
        self.engine: Final = Engine(_START_MS)
        self.costs: list[int] = []
        """What each decision said that its plan costs, in cents."""
        send = self.engine.send
        send("market_defined", market_id=MARKET, currency="USD", time_zone="UTC")
        for node_id, site in zip(NODES, sites(), strict=True):
            send("node_defined", **_node(node_id, "warehouse", _point(site)))
        send("node_defined", **_node(SUPPLIER, "supplier", None))
        send(
            "carrier_service_defined",
            market_id=MARKET,
            carrier="carrier",
            service="ground",
            service_levels=["standard"],
            zones=_prices(),
        )
        for sku in range(instance.skus):
            send("item_defined", sku=str(sku), name=f"Item {sku}")
            send("stock_received", node_id=SUPPLIER, sku=str(sku), quantity=_PLENTY)
        for node_id, row in zip(NODES, instance.stock, strict=True):
            for sku, units in enumerate(row):
                if units:
                    send("stock_received", node_id=node_id, sku=str(sku), quantity=units)

    def __call__(self, instance: Instance, stock: Stock, order: Order) -> Sequence[int]:
        """Place the order; the nodes that are asked to ship it."""
        del stock
        events = self.engine.send(
            "order_placed",
            market_id=MARKET,
            channel="web",
            order_id=str(len(self.costs)),
            placed_at="2026-11-22T10:00:00Z",
            currency="USD",
            ship_to={
                "country": "US",
                "postal_code": _postal_code(order.zone),
                "location": _point(order.zone),
            },
            lines=[
                {"line_id": str(line), "sku": str(sku), "quantity": units}
                for line, (sku, units) in enumerate(order.lines)
            ],
        )
        nodes: dict[str, int] = {}
        for event in events:
            if event["type"] == "fulfillment_requested":
                for line in event["lines"]:
                    if line["quantity"] != order.lines[int(line["line_id"])][1]:
                        raise AssertionError(f"a line is divided: {event}")
                    nodes[line["line_id"]] = _place(instance, event["node_id"])
            elif event["type"] == "order_allocated":
                self.costs.append(orjson.loads(event["decision"])["chosen"]["value"])
        return [nodes[str(line)] for line in range(len(order.lines))]


def _place(instance: Instance, node_id: str) -> int:
    return instance.supplier if node_id == SUPPLIER else NODES.index(node_id)


def _point(zone: int) -> dict[str, float]:
    return {"lat": METROS[zone].lat, "lon": METROS[zone].lon}


def _postal_code(zone: int) -> str:
    """An invented one: its first three digits are the zone."""
    return f"{zone:03d}00"


def _node(node_id: str, kind: str, location: dict[str, float] | None) -> dict[str, Any]:
    made = {
        "node_id": node_id,
        "market_id": MARKET,
        "kind": kind,
        "name": node_id,
        "address": {"country": "US"},
    }
    return made if location is None else {**made, "location": location}


def _prices() -> list[dict[str, Any]]:
    """A zone matrix: what a package costs and a unit in it, by node and postal code."""
    prices = [
        {
            "origin_node_id": node_id,
            "destination_country": "US",
            "destination_prefix": _postal_code(zone)[:3],
            "base_minor": package_costs()[zone][node],
            "per_unit_minor": unit_costs()[zone][node],
            "transit_days": 1,
        }
        for node, node_id in enumerate((*NODES, SUPPLIER))
        for zone in range(len(METROS))
    ]
    return [{**price, "per_kg_minor": 0} for price in prices]
