"""Objectives: what legs, and so plans, compare by, as one integer.

Money is itself; where no carrier is known, the nearest nodes decide between plans that cost the
same: fewest legs, then the summed distance, then the units' distance. A ranked strategy's criteria
stand in fields of that integer, the first on top, each field wider than any sum of the next, so
that sums compare criterion by criterion. Distance and cost are summed over the legs; what stock
says is weighted by units, so that plans of as many units compare by averages, whatever their legs.
"""

from collections.abc import Sequence
from typing import Final, NamedTuple

from events.decided import Value
from orchestrator.core.ledger import Bin
from orchestrator.core.shard import Market, Node
from orchestrator.core.sourcing.strategies import Ranking

FIELD: Final = 64
"""Bits of a criterion: money of 10^12 over 1,000 legs, or 10^9 units of 2^32 each."""
TOP: Final = 1 << 32
"""Beyond any stock, day, rank or order number."""
MOST_DAYS: Final = 1 << 16
"""Of supply: more count as so many, so that no sum reaches what a node without data gets."""
FAR_M: Final = 10**9
"""Beyond any sum of distances: of what has no location."""
_AWAY_BITS: Final = 30  # more than a distance has
_AWAY: Final = (1 << _AWAY_BITS) - 1

Amounts = Sequence[tuple[str, int]]
"""Item and units of each line in a leg."""


class Criterion(NamedTuple):
    """One criterion of a ranking."""

    name: str
    descending: bool
    ranks: dict[str, int]  # node id -> place in the sequence


class Objective:
    """What a leg is worth, in two parts: what prices and places say, and what stock says today."""

    __slots__ = ("_criteria", "_market", "_rated", "money_shift", "names", "stock_says")

    def __init__(self, market: Market, ranking: Ranking | None) -> None:
        self._market = market
        self._rated = bool(market.services)
        self._criteria: list[Criterion] | None = None
        if ranking is not None:
            self._criteria = [
                Criterion(name, descending, {node: i for i, node in enumerate(nodes)})
                for name, descending, nodes in ranking
            ]
        money = [i for i, (name, *_) in enumerate(reversed(ranking or [])) if name == "cost"]
        if ranking is None:
            self.money_shift: int | None = 0 if self._rated else 3 * FIELD
        else:
            self.money_shift = money[0] * FIELD if money else None
        self.stock_says = any(
            one.name in {"on_hand", "days_of_supply", "last_used"} for one in self._criteria or ()
        )
        self.names = ["cost"]
        if ranking is not None:
            self.names = [f"{name} desc" if descending else name for name, descending, _ in ranking]

    @property
    def cost(self) -> bool:
        """Whether money is what counts."""
        return self._criteria is None

    @property
    def nearest(self) -> bool:
        """Whether distance decides between plans that cost the same."""
        return self._criteria is None and not self._rated

    @property
    def by_units(self) -> bool:
        """Whether a leg's value depends on how many units it has, beside their price."""
        return self._criteria is not None

    def of_place(self, node: Node, away_m: int, minor: int, units: int) -> int:
        """The part of a leg's value that stands until the network changes."""
        criteria = self._criteria
        if criteria is None:
            if self._rated:
                return minor
            return minor << 3 * FIELD | 1 << 2 * FIELD | away_m << FIELD
        total = 0
        for one in criteria:
            total <<= FIELD
            match one.name:
                case "distance":
                    total += away_m
                case "fewest_legs":
                    total += 1
                case "cost":
                    total += minor
                case "sequence":
                    total += units * one.ranks.get(node.node_id, len(one.ranks))
                case _:
                    """stock says: below"""
        return total

    @staticmethod
    def nearest_of(
        handling: Sequence[int],
        per_unit: Sequence[int] | None,
        units: int,
        away: Sequence[int],
    ) -> list[int]:
        """What `of_place` says of every node where no carrier is known, in small integers.

        `of_near` makes it of them; they compare alike.
        """
        if per_unit is None:
            return [
                minor << _AWAY_BITS | away_m for minor, away_m in zip(handling, away, strict=True)
            ]
        return [
            (minor + one * units) << _AWAY_BITS | away_m
            for minor, one, away_m in zip(handling, per_unit, away, strict=True)
        ]

    @staticmethod
    def of_near(small: int) -> int:
        """A leg's value of what `nearest_of` says."""
        away_m = small & _AWAY
        return small >> _AWAY_BITS << 3 * FIELD | 1 << 2 * FIELD | away_m << FIELD

    def of_today(
        self, node: Node, away_m: int, load_minor: int, amounts: Amounts, now_ms: int
    ) -> int:
        """The part of a leg's value that the day's load and today's stock decide."""
        total = load_minor << self.money_shift if load_minor and self.money_shift is not None else 0
        if self.nearest:
            total += away_m * sum([units for _, units in amounts])
        if self.stock_says:
            shift = 0
            for one in reversed(self._criteria or []):
                if one.name in {"on_hand", "days_of_supply", "last_used"}:
                    for sku, units in amounts:
                        rank = self._rank(one, node, sku, now_ms)
                        total += units * (TOP - rank if one.descending else rank) << shift
                shift += FIELD
        return total

    def _rank(self, one: Criterion, node: Node, sku: str, now_ms: int) -> int:
        """A criterion of stock; where there is no data, what ranks last."""
        if one.name == "last_used":
            return node.last_used
        shelf = self._market.bins.get(sku)  # None where nobody ever had it
        there = (shelf.get(node.node_id) if shelf else None) or Bin()
        found = there.on_hand if one.name == "on_hand" else there.days_of_supply(now_ms)
        if found is None:
            return -TOP if one.descending else TOP
        return min(found, TOP if one.name == "on_hand" else MOST_DAYS)

    def shown(self, node: Node, away_m: int, minor: int, amounts: Amounts, now_ms: int) -> Value:
        """What a leg is worth as an explanation has it: money, or each criterion in turn."""
        if self._criteria is None:
            return minor
        units = sum(one for _, one in amounts)
        values = []
        for one in self._criteria:
            match one.name:
                case "distance":
                    values.append(away_m)
                case "fewest_legs":
                    values.append(1)
                case "cost":
                    values.append(minor)
                case "sequence":
                    values.append(units * one.ranks.get(node.node_id, len(one.ranks)))
                case _:
                    sign = -1 if one.descending else 1
                    values.append(
                        sign
                        * sum(count * self._rank(one, node, sku, now_ms) for sku, count in amounts)
                    )
        return values

    def unpacked(self, value: int) -> Value:
        """A bound as an explanation has it: money, or the fields as they are."""
        if self._criteria is None:
            return value >> (self.money_shift or 0)
        fields = []
        for _ in self._criteria:
            fields.append(value & (1 << FIELD) - 1)
            value >>= FIELD
        return fields[::-1]

    def of_plan(self, legs: Sequence[Value], extra_minor: int) -> Value:
        """What legs are worth together, with what the further ones cost on top."""
        if self._criteria is None:
            total: Value = sum(one for one in legs if isinstance(one, int))
        else:
            total = [
                sum(of) for of in zip(*(one for one in legs if isinstance(one, list)), strict=True)
            ]
        return self.with_extra(total, extra_minor)

    def with_extra(self, value: Value, extra_minor: int) -> Value:
        """What a plan is worth with what its further legs cost on top."""
        if isinstance(value, int):
            return value + extra_minor
        return [
            one + (extra_minor if name.partition(" ")[0] == "cost" else 0)
            for one, name in zip(value, self.names, strict=True)
        ]
