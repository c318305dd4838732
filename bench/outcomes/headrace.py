"""Headrace in the simulated shop: the real core under a small rule set, with nothing tuned.

It is told what a shop would tell it (master data, rates, stock, orders, reports of nodes), and its
requests are what nodes work on. Of luck and of demand to come it knows no more than the legacy.
"""

from collections.abc import Sequence
from datetime import datetime
from typing import Any, Final

from bench.engine import Engine, Event
from bench.outcomes.scenario import (
    HOLIDAYS,
    MARKET_ZONE,
    Order,
    Scenario,
    Site,
    rfc3339,
)
from bench.outcomes.world import Task

MARKET: Final = "US"
RULES: Final[dict[str, Any]] = {
    "defaults": {
        "late_per_day": {"standard": 300, "expedited": 800},
        "load_price": {"60": 20, "80": 60, "95": 150},
    },
    "strategies": [{"name": "cheapest", "objective": "cost"}],
}
"""What a day late is worth to the shop, and what it is to keep room on a node's day; cents."""
STORES_KEEP: Final = [{"nodes": {"kind": "store"}, "units": 1}]
"""Safety stock for the customers who come to a store."""

_WEEK: Final = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")


class Headrace:
    """The core, and the orders whose requests it makes."""

    def __init__(self, scenario: Scenario, safety_stock: Sequence[dict[str, Any]] = ()) -> None:
        start_ms = scenario.orders[0].placed_ms - 7 * 86_400_000
        self.engine: Final = Engine(start_ms)
        self._orders: dict[str, Order] = {}
        send = self.engine.send
        send("market_defined", market_id=MARKET, currency="USD", time_zone=MARKET_ZONE.key)
        for site in scenario.sites.values():
            send("node_defined", **_node(site))
        for service in scenario.services:
            send(
                "carrier_service_defined",
                market_id=MARKET,
                carrier=service.carrier,
                service=service.service,
                service_levels=service.levels,
                rates=[band._asdict() for band in service.bands],
            )
        for sku in scenario.skus:
            send("item_defined", sku=sku, name=sku, weight_g=scenario.weight_g[sku])
        for (node_id, sku), units in scenario.full.items():
            if units:
                send("stock_received", node_id=node_id, sku=sku, quantity=units)
        body = {**RULES, "defaults": {**RULES["defaults"], "safety_stock": safety_stock}}
        version = {"market_id": MARKET, "version": "1"}
        send("rule_set_proposed", **version, author="planning", body=body)
        send("rule_set_approved", **version, approver="operations")
        send("rule_set_activated", **version)

    def until(self, now_ms: int) -> Sequence[Task]:
        """Timers fire."""
        return self._tasks(self.engine.until(now_ms))

    def morning(self) -> Sequence[Task]:
        """No list to work off: what can be done was done when it became possible."""
        return ()

    def place(self, order: Order) -> Sequence[Task]:
        """As a checkout sends it."""
        self._orders[order.order_id] = order
        return self._tasks(
            self.engine.send(
                "order_placed",
                market_id=MARKET,
                channel="web",
                order_id=order.order_id,
                placed_at=rfc3339(order.placed_ms),
                currency="USD",
                service_level=order.level,
                deliver_by=order.deliver_by.isoformat(),
                ship_to={"country": "US", "location": {"lat": order.lat, "lon": order.lon}},
                lines=[
                    {"line_id": str(line), "sku": sku, "quantity": units}
                    for line, (sku, units) in enumerate(order.lines)
                ],
            )
        )

    def received(self, node_id: str, sku: str, units: int) -> Sequence[Task]:
        """Fills what waits."""
        return self._tasks(
            self.engine.send("stock_received", node_id=node_id, sku=sku, quantity=units)
        )

    def sold(self, node_id: str, sku: str, units: int) -> Sequence[Task]:
        """A store's till."""
        return self._tasks(
            self.engine.send(
                "stock_adjusted", node_id=node_id, sku=sku, delta=-units, reason="sold"
            )
        )

    def missing(self, task: Task, lines: Sequence[tuple[int, int]]) -> Sequence[Task]:
        """The node rejects lines, and takes their units off its books."""
        return self._tasks(
            self.engine.send(
                "fulfillment_rejected",
                node_id=task.node_id,
                fulfillment_id=task.task_id,
                reason="mismatch",
                lines=_lines(lines),
            )
        )

    def shipped(self, task: Task, lines: Sequence[tuple[int, int]]) -> Sequence[Task]:
        """One package."""
        return self._tasks(
            self.engine.send(
                "fulfillment_shipped",
                node_id=task.node_id,
                fulfillment_id=task.task_id,
                shipped_at=rfc3339(self.engine.now_ms),
                lines=_lines(lines),
                packages=[{"package_id": "1", "carrier": task.carrier, "service": task.service}],
            )
        )

    def _tasks(self, events: Sequence[Event]) -> Sequence[Task]:
        return [
            Task(
                event["fulfillment_id"],
                self._orders[event["order_id"]],
                event["node_id"],
                tuple((int(line["line_id"]), line["quantity"]) for line in event["lines"]),
                event["carrier"],
                event["service"],
                _ms(event["ship_by"]),
            )
            for event in events
            if event["type"] == "fulfillment_requested"
        ]


def _node(site: Site) -> dict[str, Any]:
    return {
        "node_id": site.node_id,
        "market_id": MARKET,
        "kind": site.kind,
        "name": site.metro.name,
        "address": {"country": "US"},
        "location": {"lat": site.metro.lat, "lon": site.metro.lon},
        "time_zone": site.time_zone,
        "cut_off": site.cut_off.strftime("%H:%M"),
        "working_days": [_WEEK[day] for day in site.working_days],
        "holidays": [day.isoformat() for day in HOLIDAYS],
        "capacity_orders_per_day": site.capacity,
        "handling_cost_minor": site.handling_minor,
    }


def _lines(lines: Sequence[tuple[int, int]]) -> list[dict[str, Any]]:
    return [{"line_id": str(line), "quantity": units} for line, units in lines]


def _ms(instant: str) -> int:
    return round(datetime.fromisoformat(instant).timestamp() * 1_000)
