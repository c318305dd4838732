"""What would have changed a decision really would have."""

import itertools
from collections.abc import Iterator
from dataclasses import replace
from random import Random
from typing import Any

import orjson
import pytest

from events.decided import Decision, NodeRow
from orchestrator.core.sourcing.counterfactual import Change, Table, counterfactual
from orchestrator.core.sourcing.search import WHOLE, Plan, Problem, best_two
from tests.core import decisions as given
from tests.core.story import Story

PARTS = [range(first, first + 1_000) for first in range(0, 3_000, 1_000)]
by_parts = pytest.mark.parametrize(
    "seeds",
    [PARTS[0], *(pytest.param(part, marks=pytest.mark.slow) for part in PARTS[1:])],
    ids=str,
)


def outcome(decision: Decision) -> tuple[int, list[int]]:
    """What the chosen plan is compared by, at first: units left out, value."""
    chosen = decision["chosen"]
    wanted = sum(line[2] for line in decision["lines"])
    if chosen is None:
        return wanted, []
    return wanted - chosen["units"], measured(chosen["value"])


def measured(value: int | list[int]) -> list[int]:
    return list(value) if isinstance(value, list) else [value]


def better(one: tuple[int, list[int]], other: tuple[int, list[int]], on: given.Instance) -> bool:
    """By what is recorded: of unrated plans that is the money, but legs and distance count too."""
    return one < other or (not on.rated and one == other)


def said(decision: Decision, change: Change) -> tuple[int, list[int]]:
    wanted = sum(line[2] for line in decision["lines"])
    return wanted - change["plan"]["units"], measured(change["plan"]["value"])


@by_parts
def test_a_lifted_fence_gains_at_least_what_is_said(seeds: range) -> None:
    asked = 0
    for seed in seeds:
        market = given.instance(Random(seed))
        decision = given.decided(market)
        change = counterfactual(decision)["lift_fence"]
        if change is None:
            continue
        asked += 1
        after = given.decided(given.without_fence(market, change["node_id"], change["fence"]))
        before = outcome(decision)
        assert outcome(after) <= said(decision, change), seed
        assert decision["chosen"] is None or better(said(decision, change), before, market), seed
        assert change["by"] > 0 or change["more_units"] > 0, seed
    assert asked > 100


@by_parts
def test_more_stock_gains_at_least_what_is_said(seeds: range) -> None:
    asked = 0
    for seed in seeds:
        market = given.instance(Random(seed))
        decision = given.decided(market)
        change = counterfactual(decision)["add_stock"]
        if change is None or market.ranked:  # more on hand is another value there
            continue
        asked += 1
        stocked = given.with_stock(market, change["node_id"], change["sku"], change["lacking"])
        if "fence" in change:
            stocked = given.without_fence(stocked, change["node_id"], change["fence"])
        assert outcome(given.decided(stocked)) <= said(decision, change), seed
        before = outcome(decision)
        assert decision["chosen"] is None or better(said(decision, change), before, market), seed
    assert asked > 34


@by_parts
def test_a_dearer_leg_changes_the_plan_and_a_cent_less_does_not(seeds: range) -> None:
    asked = exact = 0
    for seed in seeds:
        market = given.instance(Random(seed))
        decision = given.decided(market)
        change = counterfactual(decision)["dearer"]
        if change is None or change["criterion"] in {"on_hand", "fewest_legs"}:
            continue
        asked += 1
        alter = given.farther if change["criterion"] == "distance" else given.dearer
        node_id, by = change["node_id"], change["by"]
        assert plan_of(given.decided(alter(market, node_id, by))) != plan_of(decision), seed
        runner_up = decision["runner_up"]
        if by and runner_up and node_id not in [leg[1] for leg in runner_up["legs"]]:
            exact += 1
            assert plan_of(given.decided(alter(market, node_id, by - 1))) == plan_of(decision), seed
    assert asked > 167
    assert exact > 134


def test_the_greatest_gain_that_the_table_holds_is_told() -> None:
    """Every way to put rows together, one a node, finds nothing better than what is said."""
    gained = 0
    for seed in range(800):
        market = replace(given.instance(Random(seed)), rated=True)
        decision = given.decided(market)
        change = counterfactual(decision)["lift_fence"]
        best = min(lifted_outcomes(decision), default=None)
        before = outcome(decision)
        if best is None or (decision["chosen"] is not None and best >= before):
            assert change is None, seed
        else:
            assert change is not None, seed
            assert said(decision, change) == best, seed
            gained += 1
    assert gained > 100


def lifted_outcomes(decision: Decision) -> Iterator[tuple[int, list[int]]]:
    """What each plan compares by that the table holds, one node let off its only fence."""
    rows = [(units, row) for units, *of in decision["sets"] for row in of]
    failing = [
        (row[0], told.fences)
        for _, row in rows
        if len((told := NodeRow(*row)).fences) == 1 and not told.short
    ]
    for node_id, fences in failing:
        usable = [
            (units, row)
            for units, row in rows
            if given.is_live(row)
            or (row[0] == node_id and NodeRow(*row).fences == fences and not NodeRow(*row).short)
        ]
        yield from outcomes(decision, usable)


def outcomes(
    decision: Decision, usable: list[tuple[list[int], list[Any]]]
) -> Iterator[tuple[int, list[int]]]:
    split = decision["split"]
    targets = [line[3] for line in decision["lines"]]
    wanted = [line[2] for line in decision["lines"]]
    alone = [units for units, _ in usable if sum(map(bool, units)) == 1]
    of_node: dict[str, list[Any]] = {}
    for one in usable:
        of_node.setdefault(one[1][0], []).append(one)
    for picked in itertools.product(*([None, *of] for of in of_node.values())):
        legs = [one for one in picked if one is not None]
        by_line = list(zip(*(units for units, _ in legs), strict=True))
        divided = [[units for units in of if units] for of in by_line]
        limit = 1 if split.get("one_leg") else split.get("max_legs") or len(legs)
        units = sum(map(sum, by_line))
        least = split.get("leg_min_units") or 0
        whole = split.get("one_leg") or split.get("all_or_nothing")
        if (
            not legs
            or len(legs) > limit
            or any(sum(of) > target for of, target in zip(by_line, targets, strict=True))
            or (whole and units < sum(wanted))
            or (len(legs) > 1 and any(sum(of) < least for of, _ in legs))
            or (split["quantity"] == "never" and any(len(of) > 1 for of in divided))
        ):
            continue
        if split["quantity"] == "when_short" and any(
            0 < of[n] < target and any(one[n] == target for one in alone)
            for of, _ in legs
            for n, target in enumerate(targets)
        ):
            continue
        total = [sum(of) for of in zip(*(measured(row[1]) for _, row in legs), strict=True)]
        if decision["objective"] == ["cost"]:
            total[0] += split.get("extra_leg", 0) * (len(legs) - 1)
        yield sum(wanted) - units, total


def plan_of(decision: Decision) -> list[tuple[str, list[int]]]:
    chosen = decision["chosen"]
    assert chosen is not None
    return [(node_id, decision["sets"][place][0]) for place, node_id in chosen["legs"]]


def test_without_any_barred_node_no_fence_is_blamed() -> None:
    for seed in range(300):
        market = given.instance(Random(seed))
        open_to_all = replace(market, fences=[[] for _ in market.fences])
        assert counterfactual(given.decided(open_to_all))["lift_fence"] is None


def test_a_node_that_must_ship_may_cost_anything() -> None:
    market = replace(
        given.instance(Random(1)),
        wants=[1],
        free=[[1], [0], [0]],
        fences=[[], [], []],
        one_leg=False,
        leg_min_units=None,
        max_legs=None,
    )
    assert counterfactual(given.decided(market))["dearer"] is None


@pytest.mark.parametrize("seed", range(5))
def test_the_same_decision_is_answered_the_same(seed: int) -> None:
    decision = given.decided(given.instance(Random(seed)))
    assert counterfactual(decision) == counterfactual(decision)


class Passes(list[int]):
    """Units that count how often somebody goes through them."""

    seen = 0

    def __iter__(self) -> Iterator[int]:
        Passes.seen += 1
        return super().__iter__()


def test_a_plan_of_very_many_legs_is_answered_as_fast_as_others() -> None:
    """Each of its nodes was left out once, for twenty thousand rows of some hundred legs each."""
    shop = Story()
    shop.item("A")
    for n in range(120):
        shop.node(f"N{n}")
        shop.receive(f"N{n}", A=1)
    shop.order("1", A=100)
    decision: Decision = orjson.loads(shop.told("order_allocated")[0]["decision"])
    assert decision["chosen"] is not None
    assert len(decision["chosen"]["legs"]) == 100
    for row in decision["sets"]:
        row[0] = Passes(row[0])
    Passes.seen = 0
    counterfactual(decision)
    assert Passes.seen < 40_000


def test_rows_are_put_together_as_the_search_does_it() -> None:
    """On recorded tables without divided lines, the planner's own search finds the same plans."""
    compared = 0
    for seed in range(1_500):
        market = replace(given.instance(Random(seed)), ranked=False, rated=True)
        decision = given.decided(market)
        table = Table(decision)
        sets = [units for units, *_ in decision["sets"]]
        divided = any(
            0 < n < target for units in sets for n, target in zip(units, table.targets, strict=True)
        )
        partial = table.targets != market.wants and (market.one_leg or market.all_or_nothing)
        if not table.live or divided or partial or min(table.targets) == 0:
            continue  # the last two are nothing that the search is asked
        found = searched(market, table)
        best = table.best(table.live, using=None, bound=None)
        if found is None:
            assert best is None, seed
            continue
        assert best is not None, seed
        assert sum(table.targets) - best.missing == found.units, seed
        assert best.measure == (found.value,), seed
        assert best.node_ids == [market.node(node) for node, _ in found.legs], seed
        compared += 1
    assert compared > 300


def searched(market: given.Instance, table: Table) -> Plan | None:
    """The best plan of the table's rows, by the planner's search."""
    worth = {(offer.node_id, tuple(offer.units)): offer.measure[0] for offer in table.live}
    answer = best_two(
        Problem(
            table.targets,
            [WHOLE] * len(table.targets),
            len(market.free),
            lambda: [table.targets] * len(market.free),
            lambda node, units: worth.get((market.node(node), tuple(units))),
            max_legs=market.max_legs,
            leg_min=lambda units: sum(units) >= (market.leg_min_units or 0),
            extra_leg=market.extra_leg,
            one_leg=market.one_leg,
            all_or_nothing=market.all_or_nothing,
        )
    )
    assert answer.exact
    return answer.best
