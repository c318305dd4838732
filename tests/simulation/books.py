"""The oracle's own books: stock, orders and rules, counted from the journal's movements.

Nothing here knows the core's rules; what the journal says stands after each entry is compared.
"""

from collections import Counter, defaultdict
from collections.abc import Callable, Iterable
from typing import Any

import orjson

from events.decided import InputRecord
from schemas.journal import Happened

OrderKey = tuple[str, str, str]
"""Market, channel, order id."""
Bin = tuple[str, str]
"""Node id, sku."""
_PLACES = (0, 2, 3, 4)  # of a movement's delta in a bin
_OPEN, _ALLOCATED, _BACKORDERED, _SHIPPED, _DELIVERED, _CANCELLED = range(6)


class Units:
    """An order's units by line, as its events make them."""

    def __init__(self, lines: Iterable[dict[str, Any]]) -> None:
        lines = list(lines)
        self.quantity: dict[str, int] = {line["line_id"]: line["quantity"] for line in lines}
        self.sku: dict[str, str] = {line["line_id"]: line["sku"] for line in lines}
        self.allocated: Counter[str] = Counter()
        self.sent: Counter[str] = Counter()
        self.delivered: Counter[str] = Counter()
        self.cancelled: Counter[str] = Counter()
        self.refused = False
        self.status = ""
        self.counts: dict[str, list[int]] = {}
        """By line: open, allocated, backordered, shipped, delivered, cancelled."""

    def unsettled(self) -> bool:
        """Whether units are on their way, or nothing is decided of them yet."""
        return not self.refused and any(
            row[_OPEN] or row[_ALLOCATED] or row[_SHIPPED] for row in self.counts.values()
        )

    def waiting(self) -> Counter[str]:
        """Backordered units, by sku."""
        units = Counter[str]()
        for line, row in self.counts.items():
            units[self.sku[line]] += row[_BACKORDERED]
        return +units


class Books:
    """What every bin and every order holds; `wrong` hears what doesn't add up."""

    def __init__(self, wrong: Callable[[str, str], None]) -> None:
        self._wrong = wrong
        self.bins: defaultdict[Bin, list[int]] = defaultdict(lambda: [0, 0, 0, 0, 0])
        """On hand, reserved, quality control, damaged, held."""
        self.orders: dict[OrderKey, Units] = {}
        self.backorders = 0
        """How often units were put to wait."""
        self._holds: dict[tuple[str, str], Counter[str]] = {}  # by market and fulfillment: by line
        self._unasked: set[tuple[str, str]] = set()  # held fulfillments that no node was asked for
        self._touched: dict[Bin, None] = {}
        self._rules: dict[str, str] = {}  # by market: the version that was activated last
        self.decided_by_rules = 0
        """Decisions by a version that was activated amid orders."""

    def entry(self, where: str, events: list[Happened]) -> int:
        """Take in what an entry decided; how many units on hand its movements say they moved."""
        self._touched = {}
        moved, balanced = 0, False
        for one in events:
            event: Any = one.event
            kind = event["type"]
            if kind == "stock_moved":
                there = self.bins[self._touch(event["node_id"], event["sku"])]
                for place, delta in zip(_PLACES, event["delta"], strict=True):
                    there[place] += delta
                if event["reason"] != "settling":
                    moved += event["delta"][0] - event.get("shortfall", 0)
            elif kind == "balanced":
                self._balanced(where, event)
                balanced = True
            elif kind == "rule_set_changed" and event["status"] == "active":
                self._rules[event["market_id"]] = event["version"]
            elif "order_id" in event:
                self._of_order(where, one.cause, event)
        if self._touched and not balanced:
            self._wrong("books", f"{where} moves units and isn't balanced")
        for bin_ in self._touched:
            on_hand, reserved, *held = there = self.bins[bin_]
            if reserved + sum(held) > on_hand:
                self._wrong("oversold", f"{where}: {bin_} has {there}")
            if min(there) < 0:
                self._wrong("books", f"{where}: {bin_} has {there}")
        return moved

    def _touch(self, node_id: str, sku: str) -> Bin:
        self._touched[node_id, sku] = None
        return node_id, sku

    def _of_order(self, where: str, cause: InputRecord, event: Any) -> None:  # noqa: ANN401, C901 - one case an event
        kind = event["type"]
        key = (event["market_id"], event["channel"], event["order_id"])
        order = self.orders.get(key)
        if order is None:
            if kind not in {"order_waits", "order_accepted", "order_refused"}:
                if kind not in {"exception_opened", "order_cancellation_rejected"}:
                    self._wrong("orders", f"{where}: {kind} of {key}, which was never taken")
                return
            order = self.orders[key] = Units(cause["data"]["lines"])
        fulfillment = (event["market_id"], event.get("fulfillment_id", ""))
        match kind:
            case "order_refused":
                order.refused |= not event["conflict"]
            case "fulfillment_requested" if fulfillment in self._unasked:
                self._unasked.discard(fulfillment)
            case "fulfillment_requested" | "fulfillment_planned":
                if fulfillment in self._holds:
                    self._wrong("orders", f"{where}: {fulfillment} is planned twice")
                if kind == "fulfillment_planned":
                    self._unasked.add(fulfillment)
                holds = self._holds[fulfillment] = Counter()
                for line in event["lines"]:
                    holds[line["line_id"]] += line["quantity"]
                    order.allocated[line["line_id"]] += line["quantity"]
                    self.bins[self._touch(event["node_id"], line["sku"])][1] += line["quantity"]
            case "units_released":
                for line in event["lines"]:
                    self._release(where, order, fulfillment, event["node_id"], line)
            case "shipment_sent":
                for line_id, sku, off, counted, *_ in event["moved"]:
                    line = {"line_id": line_id, "sku": sku, "quantity": off}
                    self._release(where, order, fulfillment, event["node_id"], line)
                    order.sent[line_id] += counted
            case "shipment_delivered":
                for line in event["lines"]:
                    order.delivered[line["line_id"]] += line["quantity"]
            case "order_cancelled":
                for line in event["lines"]:
                    order.cancelled[line["line_id"]] += line["quantity"]
            case "order_allocated":
                self.backorders += bool(event["backordered"])
                self._decided(where, event["market_id"], event["decision"])
            case "order_improved":
                self._decided(where, event["market_id"], event["after"][1])
            case _:
                pass  # moves no units

    def _decided(self, where: str, market_id: str, decision: str) -> None:
        """A decision names the version that was active at its place in the journal."""
        named, active = orjson.loads(decision)["rule_set"], self._rules.get(market_id, "default-1")
        if named != active:
            self._wrong("rules", f"{where}: decided by {named}, while {active} was active")
        self.decided_by_rules += market_id in self._rules

    def _release(
        self,
        where: str,
        order: Units,
        fulfillment: tuple[str, str],
        node_id: str,
        line: dict[str, Any],
    ) -> None:
        line_id, units = line["line_id"], line["quantity"]
        holds = self._holds.setdefault(fulfillment, Counter())
        holds[line_id] -= units
        order.allocated[line_id] -= units
        self.bins[self._touch(node_id, line["sku"])][1] -= units
        if holds[line_id] < 0:
            self._wrong("orders", f"{where} frees more of {fulfillment}/{line_id} than it holds")

    def _balanced(self, where: str, event: Any) -> None:  # noqa: ANN401 - told apart by its type
        for market_id, channel, order_id, status, rows in event["orders"]:
            key = (market_id, channel, order_id)
            order = self.orders.get(key)
            if order is None:
                self._wrong("orders", f"{where} balances {key}, which was never taken")
                continue
            order.status = status
            order.counts = {line_id: counts for line_id, *counts in rows}
            for line_id, quantity in order.quantity.items():
                row = order.counts[line_id]
                mine = [
                    order.allocated[line_id],
                    order.sent[line_id],
                    order.delivered[line_id],
                    order.cancelled[line_id],
                ]
                told = [
                    row[_ALLOCATED],
                    row[_SHIPPED] + row[_DELIVERED],
                    row[_DELIVERED],
                    row[_CANCELLED],
                ]
                if sum(row) != quantity or min(row) < 0 or told != mine:
                    self._wrong(
                        "orders",
                        f"{where}: {key} line {line_id} of {quantity} is {row}; allocated, sent, "
                        f"delivered, cancelled are {mine}",
                    )
        for _, node_id, sku, *there in event["stock"]:
            mine = self.bins[self._touch(node_id, sku)]
            if mine != there:
                self._wrong("books", f"{where}: {node_id}/{sku} is told as {there}, has {mine}")
