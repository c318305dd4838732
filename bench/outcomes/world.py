"""The physics: nodes with their stock and their days, carriers, customers in stores, suppliers.

A `System` decides which node is asked for what; everything else happens here, to all alike.
"""

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from datetime import date, time, timedelta
from heapq import heappop, heappush
from itertools import count
from statistics import median
from typing import Any, NamedTuple, Protocol
from zoneinfo import ZoneInfo

from bench.outcomes.scenario import (
    FIRST_DAY,
    MARKET_ZONE,
    SERVICES,
    Order,
    Scenario,
    Site,
    at,
    cut_off_ms,
    km,
)

_PICKED_AFTER_MS = 60_000
"""After the cut-off a node works: what isn't found then can't ship from elsewhere that day."""
_SERVICES = {(one.carrier, one.service): one for one in SERVICES}


class Task(NamedTuple):
    """What a node is asked to ship: units by line number of an order."""

    task_id: str
    order: Order
    node_id: str
    lines: tuple[tuple[int, int], ...]
    carrier: str
    service: str
    ship_by_ms: int


class System(Protocol):
    """Who decides. Each call says what happened, and is answered with what nodes shall ship."""

    def until(self, now_ms: int) -> Sequence[Task]:
        """Time passes."""

    def morning(self) -> Sequence[Task]:
        """A day's work begins, at six in the market."""

    def place(self, order: Order) -> Sequence[Task]:
        """An order comes in."""

    def received(self, node_id: str, sku: str, units: int) -> Sequence[Task]:
        """Units arrived at a node."""

    def sold(self, node_id: str, sku: str, units: int) -> Sequence[Task]:
        """Customers in a store took units."""

    def missing(self, task: Task, lines: Sequence[tuple[int, int]]) -> Sequence[Task]:
        """A node hasn't found units of these lines, though its books showed them."""

    def shipped(self, task: Task, lines: Sequence[tuple[int, int]]) -> Sequence[Task]:
        """A node has shipped these lines."""


@dataclass(slots=True)
class Kept:
    """What became of an order."""

    waiting: int  # units not yet arrived
    arrived: date = FIRST_DAY  # the last of them
    packages: int = 0
    cost_minor: int = 0
    short_lines: int = 0  # lines that nobody was asked to ship at once, or not all of them


class Measures(NamedTuple):
    """What a run came to."""

    orders: int
    on_time: float
    on_time_expedited: float
    stockouts: float
    split: float
    cost_minor: float
    lead_days: float
    undelivered: float
    missing_lines: float
    walk_ins_lost: float


@dataclass(slots=True)
class _Node:
    site: Site
    on_hand: dict[str, int] = field(default_factory=lambda: defaultdict(int))
    reserved: dict[str, int] = field(default_factory=lambda: defaultdict(int))
    coming: dict[str, int] = field(default_factory=lambda: defaultdict(int))
    queue: list[tuple[int, Task]] = field(default_factory=list)  # when it was asked


class World:
    """One run of a scenario under one system."""

    def __init__(self, scenario: Scenario, system: System) -> None:
        self.scenario = scenario
        self._system = system
        self.nodes = {node_id: _Node(site) for node_id, site in scenario.sites.items()}
        self._agenda: list[tuple[int, int, str, Any]] = []
        self._number = count()
        self.orders: dict[str, Kept] = {}
        self.now_ms = 0
        self._missing = self._picked = self._wanted = self._lost = 0

    def run(self) -> Measures:
        """From the first day until the books are closed."""
        for (node_id, sku), units in self.scenario.full.items():
            self.nodes[node_id].on_hand[sku] = units
        for order in self.scenario.orders:
            self._plan(order.placed_ms, "order", order)
        for number, day in enumerate(self.scenario.all_days()):
            self._plan(at(day, time(6), MARKET_ZONE), "morning", None)
            for index, (node_id, node) in enumerate(self.nodes.items()):
                zone = ZoneInfo(node.site.time_zone)
                if self.scenario.works(node.site, day):
                    closed_ms = cut_off_ms(node.site, day) + _PICKED_AFTER_MS
                    self._plan(closed_ms, "close", (node_id, day))
                if node.site.kind == "store":
                    self._plan(at(day, time(20), zone), "walk_ins", (node_id, day))
                if number % 7 == index % 5:
                    self._plan(at(day, time(5), zone), "review", (node_id, day))
        while self._agenda:
            self.now_ms, _, kind, about = heappop(self._agenda)
            self._take(self._system.until(self.now_ms))
            getattr(self, f"_{kind}")(about)
        return self.measures()

    def _plan(self, at_ms: int, kind: str, about: object) -> None:
        heappush(self._agenda, (at_ms, next(self._number), kind, about))

    def _take(self, tasks: Iterable[Task]) -> None:
        for task in tasks:
            node = self.nodes[task.node_id]
            node.queue.append((self.now_ms, task))
            for line, units in task.lines:
                node.reserved[task.order.lines[line][0]] += units

    # --- what happens ---

    def _morning(self, _about: None) -> None:
        self._take(self._system.morning())

    def _order(self, order: Order) -> None:
        kept = self.orders[order.order_id] = Kept(sum(units for _, units in order.lines))
        tasks = self._system.place(order)
        asked = [0] * len(order.lines)
        for task in tasks:
            for line, units in task.lines:
                asked[line] += units
        kept.short_lines = sum(
            got < units for got, (_, units) in zip(asked, order.lines, strict=True)
        )
        self._take(tasks)

    def _close(self, about: tuple[str, date]) -> None:
        """A node's day: what came before its cut-off, urgent work first, as much as a day holds."""
        node_id, day = about
        node = self.nodes[node_id]
        cut_off = self.now_ms - _PICKED_AFTER_MS
        todo = [(asked_ms, task) for asked_ms, task in node.queue if asked_ms <= cut_off]
        todo.sort(key=lambda entry: (entry[1].ship_by_ms, entry[1].order.level != "expedited"))
        for entry in todo[: node.site.capacity]:
            node.queue.remove(entry)
            self._pick(node, entry[1], day)

    def _pick(self, node: _Node, task: Task, day: date) -> None:
        found: list[tuple[int, int]] = []
        missing: list[tuple[int, int]] = []
        for line, units in task.lines:
            sku = task.order.lines[line][0]
            gone = self.scenario.missing(task.order.order_id, node.site, sku)
            (missing if gone else found).append((line, units))
            node.on_hand[sku] -= units
            node.reserved[sku] -= units
            if node.on_hand[sku] < 0 or node.reserved[sku] < 0:
                raise AssertionError(f"{task.task_id} ships what {node.site.node_id} has not")
        self._picked += len(task.lines)
        self._missing += len(missing)
        if found:
            self._send(node.site, task, found, day)
            self._take(self._system.shipped(task, found))
        if missing:
            self._take(self._system.missing(task, missing))

    def _send(self, site: Site, task: Task, lines: Sequence[tuple[int, int]], day: date) -> None:
        order = task.order
        band = _SERVICES[task.carrier, task.service].band(km(site, order.lat, order.lon))
        grams = sum(units * self.scenario.weight_g[order.lines[line][0]] for line, units in lines)
        kept = self.orders[order.order_id]
        kept.packages += 1
        kept.cost_minor += band.base_minor + -(-grams // 1_000) * band.per_kg_minor
        kept.cost_minor += site.handling_minor
        days = band.transit_days + self.scenario.delay_days(order.order_id, site.node_id)
        kept.arrived = max(kept.arrived, day + timedelta(days=days))
        kept.waiting -= sum(units for _, units in lines)

    def _walk_ins(self, about: tuple[str, date]) -> None:
        """Customers take from the shelf what is not set aside for orders."""
        node_id, day = about
        node = self.nodes[node_id]
        for sku in self.scenario.skus:
            wanted = self.scenario.wanted_in_store(node_id, sku, day)
            taken = min(wanted, max(0, node.on_hand[sku] - node.reserved[sku]))
            self._wanted += wanted
            self._lost += wanted - taken
            if taken:
                node.on_hand[sku] -= taken
                self._take(self._system.sold(node_id, sku, taken))

    def _review(self, about: tuple[str, date]) -> None:
        """Once a week a node is filled up again."""
        node_id, day = about
        node = self.nodes[node_id]
        for sku in self.scenario.skus:
            full = self.scenario.full.get((node_id, sku), 0)
            units = full - (node.on_hand[sku] - node.reserved[sku] + node.coming[sku])
            if units > 0:
                node.coming[sku] += units
                days = self.scenario.lead_days(node_id, sku, day)
                self._plan(self.now_ms + days * 86_400_000, "arrival", (node_id, sku, units))

    def _arrival(self, about: tuple[str, str, int]) -> None:
        node_id, sku, units = about
        node = self.nodes[node_id]
        node.coming[sku] -= units
        node.on_hand[sku] += units
        self._take(self._system.received(node_id, sku, units))

    # --- what it came to ---

    def measures(self) -> Measures:
        """Of the measured orders."""
        measured = [(o, self.orders[o.order_id]) for o in self.scenario.orders if o.measured]
        on_time = {
            level: [
                not kept.waiting and kept.arrived <= order.deliver_by
                for order, kept in measured
                if order.level in level
            ]
            for level in (("standard", "expedited"), ("expedited",))
        }
        lines = sum(len(order.lines) for order, _ in measured)
        lead = [(kept.arrived - order.placed).days for order, kept in measured if not kept.waiting]
        every, expedited = on_time.values()
        return Measures(
            orders=len(measured),
            on_time=sum(every) / len(every),
            on_time_expedited=sum(expedited) / len(expedited),
            stockouts=sum(kept.short_lines for _, kept in measured) / lines,
            split=sum(kept.packages > 1 for _, kept in measured) / len(measured),
            cost_minor=sum(kept.cost_minor for _, kept in measured) / len(measured),
            lead_days=median(lead),
            undelivered=sum(bool(kept.waiting) for _, kept in measured) / len(measured),
            missing_lines=self._missing / self._picked,
            walk_ins_lost=self._lost / self._wanted,
        )
