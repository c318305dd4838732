"""Policies that see one order at a time, and what each costs.

A policy gives every line a node that has all its units; lines stay whole.
"""

from collections.abc import Callable, Sequence
from typing import NamedTuple, Protocol

from bench.quality.instances import Instance, Order, distances, package_costs, unit_costs

Stock = Sequence[Sequence[int]]
"""Units by node and sku, as they are when an order comes."""

Weight = tuple[float, ...]
"""What a plan is judged by: sums over its legs, compared in order."""


class Spent(NamedTuple):
    """What serving all orders took. Money in cents."""

    cost: int
    packages: int
    split_orders: int
    supplier_units: int


class Policy(Protocol):
    """A node for each line of an order, given the stock as it is."""

    def __call__(self, instance: Instance, stock: Stock, order: Order) -> Sequence[int]:
        """The nodes, in the order of the lines."""


class Ledger:
    """The stock that is left and what was spent; counts for every policy in the same way."""

    def __init__(self, instance: Instance) -> None:
        self._instance = instance
        self.stock = [list(row) for row in instance.stock]
        self._cost = self._packages = self._split_orders = self._supplier_units = 0

    def ship(self, order: Order, nodes: Sequence[int]) -> int:
        """Take what each line's node ships; what it costs, in cents."""
        packages = set(nodes)
        cost = sum(package_costs()[order.zone][node] for node in packages)
        for node, (sku, units) in zip(nodes, order.lines, strict=True):
            cost += units * unit_costs()[order.zone][node]
            if node == self._instance.supplier:
                self._supplier_units += units
            elif self.stock[node][sku] < units:
                raise AssertionError(f"node {node} has not {units} of sku {sku}")
            else:
                self.stock[node][sku] -= units
        self._cost += cost
        self._packages += len(packages)
        self._split_orders += len(packages) > 1
        return cost

    def spent(self) -> Spent:
        """All of it so far."""
        return Spent(self._cost, self._packages, self._split_orders, self._supplier_units)


def run(instance: Instance, policy: Policy) -> Spent:
    """Serve the orders as they come."""
    ledger = Ledger(instance)
    for order in instance.orders:
        ledger.ship(order, policy(instance, ledger.stock, order))
    return ledger.spent()


def nearest_per_line(instance: Instance, stock: Stock, order: Order) -> Sequence[int]:
    """Each line from the nearest node that has it, else from the supplier."""
    ranked = _by_distance(instance, order)
    return [
        next((node for node in ranked if stock[node][sku] >= units), instance.supplier)
        for sku, units in order.lines
    ]


def nearest_complete(instance: Instance, stock: Stock, order: Order) -> Sequence[int]:
    """The nearest node that has the whole order, else each line from the nearest."""
    for node in _by_distance(instance, order):
        if all(stock[node][sku] >= units for sku, units in order.lines):
            return [node] * len(order.lines)
    return nearest_per_line(instance, stock, order)


def fewest_splits(instance: Instance, stock: Stock, order: Order) -> Sequence[int]:
    """The fewest packages, then the smallest summed distance; a line from the nearer of them.

    The supplier ships only where a line is at no node; what saves a package then ships along.
    """
    miles = (*distances()[order.zone], 0.0)
    here = range(instance.supplier)
    needed = any(all(stock[n][sku] < units for n in here) for sku, units in order.lines)
    return _best(
        instance,
        stock,
        order,
        lambda node: (1, node == instance.supplier, miles[node]),
        lambda node, units: (0, 0, 0, units * miles[node]),
        supplier=needed,
    )


def myopic_exact(instance: Instance, stock: Stock, order: Order) -> Sequence[int]:
    """The cheapest plan for this order alone; ties by fewest packages, then by nodes."""
    packages, units_at = package_costs()[order.zone], unit_costs()[order.zone]
    return _best(
        instance,
        stock,
        order,
        lambda node: (packages[node], 1),
        lambda node, units: (units * units_at[node], 0),
        supplier=True,
    )


def _by_distance(instance: Instance, order: Order) -> list[int]:
    return sorted(range(instance.supplier), key=distances()[order.zone].__getitem__)


def _best(
    instance: Instance,
    stock: Stock,
    order: Order,
    package: Callable[[int], Weight],
    line: Callable[[int, int], Weight],
    *,
    supplier: bool,
) -> Sequence[int]:
    """The least weight over all ways to give lines to nodes: node by node over sets of lines.

    Among equals the smallest list of nodes, then of the units that each ships of every line.
    """
    full = (1 << len(order.lines)) - 1
    best: dict[int, tuple[Weight, tuple[int, ...], tuple[tuple[int, ...], ...]]] = {0: ((), (), ())}
    for node in range(instance.supplier + supplier):
        can = full
        if node != instance.supplier:
            has = stock[node]
            can = sum(1 << i for i, (sku, units) in enumerate(order.lines) if has[sku] >= units)
        weights = [line(node, units) for _, units in order.lines]
        before = list(best.items())
        taken = can
        while taken:
            weight = package(node)
            for i, more in enumerate(weights):
                if taken >> i & 1:
                    weight = _sum(weight, more)
            contents = tuple(n if taken >> i & 1 else 0 for i, (_, n) in enumerate(order.lines))
            for covered, (so_far, nodes, shipped) in before:
                if covered & taken:
                    continue
                plan = (_sum(so_far, weight), (*nodes, node), (*shipped, contents))
                if (covered | taken) not in best or plan < best[covered | taken]:
                    best[covered | taken] = plan
            taken = (taken - 1) & can
    _, nodes, shipped = best[full]
    return [
        next(node for node, contents in zip(nodes, shipped, strict=True) if contents[i])
        for i in range(len(order.lines))
    ]


def _sum(one: Weight, other: Weight) -> Weight:
    """By position; what one of them lacks counts as 0."""
    longer, shorter = (one, other) if len(one) >= len(other) else (other, one)
    return tuple(a + b for a, b in zip(longer, (*shorter, *(0,) * len(longer)), strict=False))
