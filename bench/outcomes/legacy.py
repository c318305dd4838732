"""What shops do without an order management system: a rule of thumb, and a list for the morning.

Each line ships from the central warehouse, else from the nearest store; else it waits. What waits,
and what a node has not found, is looked at again the next morning, first come first served, by the
same rule. One carrier, its service by service level. Nobody looks at how busy a node is.
"""

from collections import defaultdict
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime, timedelta
from itertools import count
from typing import NamedTuple
from zoneinfo import ZoneInfo

from bench.outcomes.scenario import CENTRAL, Order, Scenario, Site, cut_off_ms, km
from bench.outcomes.world import Task

CARRIER = "national"
SERVICE = {"standard": "ground", "expedited": "express"}


class _Wish(NamedTuple):
    order: Order
    line: int
    units: int


class Legacy:
    """Keeps its own books of what is free. `stores`: how many of the nearest are asked."""

    def __init__(self, scenario: Scenario, stores: int) -> None:
        self._scenario = scenario
        self._stores = stores
        self._free: dict[tuple[str, str], int] = defaultdict(int, scenario.full)
        self._waiting: list[_Wish] = []
        self._refused: set[tuple[str, int, str]] = set()
        self._number = count(1)
        self._now_ms = 0

    def until(self, now_ms: int) -> Sequence[Task]:
        """Nothing happens by itself."""
        self._now_ms = now_ms
        return ()

    def morning(self) -> Sequence[Task]:
        """What waits is looked at again."""
        wishes, self._waiting = self._waiting, []
        by_order: dict[str, list[_Wish]] = {}
        for wish in wishes:
            by_order.setdefault(wish.order.order_id, []).append(wish)
        return [task for some in by_order.values() for task in self._assign(some)]

    def place(self, order: Order) -> Sequence[Task]:
        """Line by line."""
        wishes = [_Wish(order, line, units) for line, (_, units) in enumerate(order.lines)]
        return list(self._assign(wishes))

    def received(self, node_id: str, sku: str, units: int) -> Sequence[Task]:
        """Into the books; who waits is served in the morning."""
        self._free[node_id, sku] += units
        return ()

    def sold(self, node_id: str, sku: str, units: int) -> Sequence[Task]:
        """Out of the books."""
        self._free[node_id, sku] -= units
        return ()

    def missing(self, task: Task, lines: Sequence[tuple[int, int]]) -> Sequence[Task]:
        """On the list for the morning."""
        for line, units in lines:
            self._waiting.append(_Wish(task.order, line, units))
            self._refused.add((task.order.order_id, line, task.node_id))
        return ()

    def shipped(self, task: Task, lines: Sequence[tuple[int, int]]) -> Sequence[Task]:
        """Was taken out of the books when it was asked for."""
        del task, lines
        return ()

    def _assign(self, wishes: Sequence[_Wish]) -> Iterator[Task]:
        """One order's lines, put together by node."""
        legs: dict[str, list[_Wish]] = {}
        for wish in wishes:
            sku = wish.order.lines[wish.line][0]
            for node_id in self._candidates(wish.order):
                refused = (wish.order.order_id, wish.line, node_id) in self._refused
                if not refused and self._free[node_id, sku] >= wish.units:
                    self._free[node_id, sku] -= wish.units
                    legs.setdefault(node_id, []).append(wish)
                    break
            else:
                self._waiting.append(wish)
        for node_id, some in legs.items():
            order = some[0].order
            yield Task(
                f"{order.order_id}.{next(self._number)}",
                order,
                node_id,
                tuple((wish.line, wish.units) for wish in some),
                CARRIER,
                SERVICE[order.level],
                self._next_cut_off_ms(self._scenario.sites[node_id]),
            )

    def _candidates(self, order: Order) -> list[str]:
        others = [site for site in self._scenario.sites.values() if site.node_id != CENTRAL]
        others.sort(key=lambda site: km(site, order.lat, order.lon))
        return [CENTRAL, *(site.node_id for site in others[: self._stores])]

    def _next_cut_off_ms(self, site: Site) -> int:
        day = (
            datetime.fromtimestamp(self._now_ms / 1_000, UTC)
            .astimezone(ZoneInfo(site.time_zone))
            .date()
        )
        while not self._scenario.works(site, day) or cut_off_ms(site, day) < self._now_ms:
            day += timedelta(days=1)
        return cut_off_ms(site, day)
