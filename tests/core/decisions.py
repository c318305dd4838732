"""Small markets planned by trying everything, and their decisions as they are recorded.

It shares nothing with the planner, so that what reads decisions is tested on its own.
"""

import itertools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from random import Random
from typing import Any

from events.decided import Choice, Decision, DecisionRow, NodeRow, Split, Value

FENCES = ("max_km", "nodes", "capability")
Contents = tuple[int, ...]
Plan = tuple[tuple[int, Contents], ...]
"""Legs: (node, units per line)."""


@dataclass(frozen=True)
class Instance:
    """A market that has to ship some lines: everything by (node, line)."""

    wants: list[int]
    free: list[list[int]]
    fences: list[list[str]]
    fixed: list[int]  # of a leg
    unit: list[list[int]]
    metres: list[int]
    quantity: Any = "when_short"
    max_legs: int | None = None
    leg_min_units: int | None = None
    extra_leg: int = 0
    one_leg: bool = False
    all_or_nothing: bool = False
    ranked: bool = False
    rated: bool = True
    wiggle: list[list[int]] = field(default_factory=list)  # makes values non-additive

    def node(self, number: int) -> str:
        return f"N{number}"

    def target(self, line: int) -> int:
        return min(self.wants[line], sum(free[line] for free in self.free))

    def money(self, node: int, contents: Contents) -> int:
        units = sum(map(int.__mul__, self.unit[node], contents))
        return self.fixed[node] + units + self.wiggle[node][sum(contents) % 3]

    def value(self, node: int, contents: Contents) -> tuple[int, ...]:
        if self.ranked:
            return self.metres[node], -sum(contents) * self.free[node][0]
        money = self.money(node, contents)
        return (money,) if self.rated else (money, 1, self.metres[node])


def instance(luck: Random) -> Instance:
    nodes, lines = luck.choice([(3, 1), (4, 1), (4, 2), (5, 2), (4, 3)])
    most = 3 if lines < 3 else 2

    def table(low: int, high: int) -> list[list[int]]:
        return [[luck.randint(low, high) for _ in range(lines)] for _ in range(nodes)]

    return Instance(
        wants=[luck.randint(1, most) for _ in range(lines)],
        free=[[luck.choice([0, 1, most, most]) for _ in range(lines)] for _ in range(nodes)],
        fences=[sorted(luck.sample(FENCES, luck.choice([0, 0, 0, 1, 1, 2]))) for _ in range(nodes)],
        fixed=[luck.randint(0, 9) * 10 for _ in range(nodes)],
        unit=table(1, 30),
        metres=[luck.randint(1, 5) * 1000 for _ in range(nodes)],
        quantity=luck.choice(["when_short", "never", "always"]),
        max_legs=luck.choice([None, None, 1, 2]),
        leg_min_units=luck.choice([None, None, None, 2]),
        extra_leg=luck.choice([0, 0, 25]),
        one_leg=luck.random() < 0.1,
        all_or_nothing=luck.random() < 0.1,
        ranked=luck.random() < 0.25,
        rated=luck.random() < 0.75,
        wiggle=[[luck.randint(0, 5) for _ in range(3)] for _ in range(nodes)],
    )


def plans(given: Instance) -> Iterator[tuple[Any, Plan]]:
    """Every plan with at least one leg, with what it is compared by."""
    lines = range(len(given.wants))
    targets = [given.target(line) for line in lines]
    open_nodes = [n for n, fences in enumerate(given.fences) if not fences]
    whole = [
        given.quantity == "when_short" and any(given.free[n][i] >= targets[i] for n in open_nodes)
        for i in lines
    ]

    def offers(node: int, left: Sequence[int]) -> Iterator[Contents]:
        choices = []
        for i in lines:
            units = min(given.free[node][i], targets[i])
            if given.quantity == "never":
                choices.append([0, units] if units and left[i] == targets[i] else [0])
            elif whole[i]:
                choices.append([0, targets[i]] if 0 < targets[i] <= units <= left[i] else [0])
            else:
                choices.append(list(range(min(units, left[i]) + 1)))
        yield from itertools.product(*choices)

    def go_on(at: int, left: list[int], legs: Plan) -> Iterator[Plan]:
        if at == len(open_nodes):
            if legs:
                yield legs
            return
        node = open_nodes[at]
        for contents in offers(node, left):
            if not any(contents):
                yield from go_on(at + 1, left, legs)
            elif given.max_legs is None or len(legs) < given.max_legs:
                rest = [a - b for a, b in zip(left, contents, strict=True)]
                yield from go_on(at + 1, rest, (*legs, (node, contents)))

    for plan in go_on(0, targets, ()):
        units = sum(sum(contents) for _, contents in plan)
        if given.one_leg and len(plan) > 1:
            continue
        if (given.one_leg or given.all_or_nothing) and units < sum(given.wants):
            continue
        least = given.leg_min_units
        if least and len(plan) > 1 and any(sum(contents) < least for _, contents in plan):
            continue
        yield (-units, measure(given, plan), len(plan), [n for n, _ in plan], plan), plan


def measure(given: Instance, plan: Plan) -> tuple[int, ...]:
    total = [sum(parts) for parts in zip(*(given.value(*leg) for leg in plan), strict=True)]
    if not given.ranked:
        total[0] += given.extra_leg * (len(plan) - 1)
    return tuple(total)


def decided(given: Instance) -> Decision:
    """The decision on it, recorded."""
    best = [plan for _, plan in sorted(plans(given))[:2]]
    targets = tuple(given.target(line) for line in range(len(given.wants)))
    contents: list[Contents] = []
    if any(targets):
        singles = [
            tuple(units if n == line else 0 for n in range(len(targets)))
            for line, units in enumerate(targets)
        ]
        legs = [units for plan in best for _, units in plan]
        contents = [one for one in dict.fromkeys([*singles, targets, *legs]) if any(one)]
    left = [10]
    sets = [[list(one), *_rows(given, one, best, left)] for one in contents]
    split: Split = {"quantity": given.quantity}
    if given.max_legs is not None:
        split["max_legs"] = given.max_legs
    if given.leg_min_units is not None:
        split["leg_min_units"] = given.leg_min_units
    if given.extra_leg:
        split["extra_leg"] = given.extra_leg
    if given.one_leg:
        split["one_leg"] = True
    if given.all_or_nothing:
        split["all_or_nothing"] = True
    choices = [_choice(given, plan, contents) for plan in best] + [None, None]
    return {
        "v": 2,
        "trigger": "order_placed",
        "at": 1_795_341_600_000,
        "rule_set": "7",
        "strategy": "everything",
        "why": ["channel is web"],
        "passed_over": [["vip", "channel is not phone"]],
        "price_version": 0,
        "currency": "USD",
        "objective": ["distance", "on_hand desc"] if given.ranked else ["cost"],
        "place": ["postal_code", "US", "02108"],
        "promise": None,
        "service_level": "standard",
        "split": split,
        "method": "exact",
        "lines": [
            [str(n + 1), "ABC"[n], want, targets[n], sum(free[n] for free in given.free)]
            for n, want in enumerate(given.wants)
        ],
        "sets": sets,
        "chosen": choices[0],
        "runner_up": choices[1],
        "rest": {
            "nodes": [given.node(n) for n in range(len(given.free))],
            "fences": {
                fence: f"{sum(1 << n for n, of in enumerate(given.fences) if fence in of):x}"
                for fence in FENCES
                if any(fence in of for of in given.fences)
            },
            "short": "0",
            "dearer": 0,
        },
        "decided_by": "value" if best else "no_candidate",
    }


def _rows(
    given: Instance, contents: Contents, best: Sequence[Plan], left: list[int]
) -> list[list[Any]]:
    rows: list[list[Any]] = []
    for node in range(len(given.free)):
        short = [
            [line, units - given.free[node][line]]
            for line, units in enumerate(contents)
            if units > given.free[node][line]
        ]
        measured = given.value(node, contents)
        value: Value = list(measured) if given.ranked else measured[0]
        units = given.money(node, contents) - given.fixed[node]
        costs = [given.fixed[node], 0, units, 0, 0, 0]
        after = 2 if given.rated else None
        row: DecisionRow = [given.node(node), value, costs, given.metres[node], 20_780, after, None]
        if short or given.fences[node]:
            row += [0, 1, short, given.fences[node]]
        rows.append(row)
    rows.sort(key=lambda row: (row[1], row[0]))
    live = [row for row in rows if is_live(row)]
    used = [given.node(n) for plan in best for n, units in plan if units == contents]
    shown = live[:2] + [row for row in live[2:] if row[0] in used]
    barred = [row for row in rows if not is_live(row) and (len(live) < 2 or row[1] < live[1][1])][
        : left[0]
    ]
    left[0] -= len(barred)
    return shown + barred


def _choice(given: Instance, plan: Plan, contents: Sequence[Contents]) -> Choice:
    measured = measure(given, plan)
    return {
        "legs": [(contents.index(units), given.node(node)) for node, units in plan],
        "units": sum(sum(units) for _, units in plan),
        "value": list(measured) if given.ranked else measured[0],
    }


def is_live(row: DecisionRow) -> bool:
    told = NodeRow(*row)
    return not told.fences and not told.short


def without_fence(given: Instance, node_id: str, fence: str) -> Instance:
    number = int(node_id[1:])
    fences = [
        [one for one in of if n != number or one != fence] for n, of in enumerate(given.fences)
    ]
    return replace(given, fences=fences)


def with_stock(given: Instance, node_id: str, sku: str, units: int) -> Instance:
    number, line = int(node_id[1:]), "ABC".index(sku)
    free = [list(row) for row in given.free]
    free[number][line] += units
    return replace(given, free=free)


def dearer(given: Instance, node_id: str, by: int) -> Instance:
    number = int(node_id[1:])
    fixed = [one + by if n == number else one for n, one in enumerate(given.fixed)]
    return replace(given, fixed=fixed)


def farther(given: Instance, node_id: str, by: int) -> Instance:
    number = int(node_id[1:])
    metres = [one + by if n == number else one for n, one in enumerate(given.metres)]
    return replace(given, metres=metres)
