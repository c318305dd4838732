"""The planner against every plan there is: on small networks none is better, and it says so."""

from datetime import date
from math import prod
from typing import Any

import orjson
import pytest

from events.decided import Choice, Decision, NodeRow, costs_of
from orchestrator.core.sourcing.plan import Outcome, Request
from orchestrator.core.sourcing.planner import source
from schemas.times import iso_day
from tests.properties.brute_force import Found, Leg, Plan, Problem, solve
from tests.properties.small_worlds import Play

EPOCH = date(1970, 1, 1).toordinal()
USUAL = [0, 1, [], [], None]
NEEDED = len(NodeRow._fields) - len(USUAL)
"""A row's fields that have no default; the others have these."""
WORLDS = 500
REQUESTS = 24
"""Of each world, with a change of it before each."""
WAYS = 4_000
"""Instances with more ways to share are left out: there are enough others."""


def small(problem: Problem) -> bool:
    return prod(len(problem.shares(i)) for i in range(len(problem.skus))) <= WAYS


def legs_of(outcome: Outcome, request: Request, skus: list[str]) -> list[tuple[str, Any]]:
    """The legs as (node, units by item)."""
    found = []
    for leg in outcome.legs:
        units = dict.fromkeys(skus, 0)
        for want, count in zip(request.wants, leg.units, strict=True):
            units[want.sku] += count
        found.append((leg.node_id, tuple(units.values())))
    return found


def shown_leg(leg: Leg) -> list[Any]:
    """What a row says of a leg after its value."""
    components = list(leg.components)
    while components and not components[-1]:
        components.pop()
    return [
        components,
        leg.metres,
        leg.ship_day.toordinal() - EPOCH,
        leg.deliver_day and (leg.deliver_day - leg.ship_day).days,
        leg.service,
        leg.days_late,
        leg.parcels,
    ]


def leg_of(problem: Problem, one: tuple[str, Any]) -> Leg:
    leg = problem.leg(*one)
    assert leg is not None
    return leg


def check_plan(decision: Decision, choice: Choice | None, plan: Plan | None, found: Found) -> None:
    """A plan as the decision shows it: its legs, what they cost, and what it comes to."""
    if plan is None:
        assert choice is None
        return
    assert choice is not None
    problem = found.problem
    extra = problem.split.get("cost_per_extra_leg", 0) * (len(plan.legs) - 1)
    legs = [leg_of(problem, one) for one in plan.legs]
    by_place = [list(column) for column in zip(*(leg.components for leg in legs), strict=True)]
    assert choice["units"] == plan.units
    assert costs_of(decision, choice) == [*map(sum, by_place), extra]
    if problem.strategy.get("objective", ["cost"]) == ["cost"]:
        assert choice["value"] == plan.value[0]
    named = []
    for place, node_id in choice["legs"]:
        amounts, *rows = decision["sets"][place]
        (row,) = [one for one in rows if one[0] == node_id]
        told = NodeRow(*row)
        assert not told.short
        assert not told.fences
        assert list(told[2:9]) == shown_leg(leg_of(problem, (node_id, tuple(amounts))))
        named.append((node_id, tuple(amounts)))
    assert named == plan.legs


def check_rows(found: Found, decision: Decision) -> None:
    """Who is shown as barred is barred, by all that bars it."""
    problem = found.problem
    targets = [line[3] for line in decision["lines"]]
    for amounts, *rows in decision["sets"]:
        assert any(amounts)
        for row in rows:
            told = NodeRow(*row)
            node_id = told.node_id
            leg = leg_of(problem, (node_id, tuple(amounts)))
            assert list(told[2:9]) == shown_leg(leg)
            assert len(row) <= NEEDED or row[-1] != USUAL[len(row) - NEEDED - 1], "takes room"
            expected = problem.node_fences(node_id)
            lacking = []
            for i, (sku, units) in enumerate(zip(problem.skus, amounts, strict=True)):
                if not units:
                    continue
                expected += problem.item_fences(node_id, sku)
                free = problem.free(node_id, sku)
                if free < units <= problem.free(node_id, sku, fresh=False):
                    expected.append("min_shelf_days")
                elif free < units:
                    lacking.append([i, units - problem.above(node_id, sku)])
            if not problem.in_time(leg):
                expected.append("reach_promise")
            assert sorted(told.fences) == sorted(dict.fromkeys(expected))
            assert list(told.short) == lacking
            if problem.split.get("quantity") == "never" and not (expected or lacking):
                for sku, units, target in zip(problem.skus, amounts, targets, strict=True):
                    assert units in {0, target, problem.free(node_id, sku)}, "a part of a part"


def unused(problem: Problem, plan: Plan) -> list[list[str]]:
    """The services that a plan's legs could not go by."""
    found: dict[str, list[str]] = {}
    for node_id, contents in plan.legs:
        parcels = problem.parcels(contents)
        items = [problem.world.items[sku] for parcel in parcels for sku in parcel]
        for service in problem.services():
            price = problem.price(service, node_id)
            why = ""
            if price is None:
                why = "no_rate"
            elif problem.suspended(service, node_id):
                why = "lane_suspended"
            elif any(problem.charge(service, price, parcel) is None for parcel in parcels):
                needs = {one for item in items for one in item.get("requires", [])}
                excludes = needs & {*service.get("excluded_capabilities", [])}
                why = "excluded" if excludes else "too_heavy"
            key = f"{service['carrier']}/{service['service']}"
            if why:
                found.setdefault(key, [key, why, node_id])
    return list(found.values())


def check(play: Play, request: Request, found: Found) -> Outcome:
    outcome = source(play.world.shard, play.world.state, request)
    problem, best, second = found.problem, found.best, found.second
    assert outcome.strategy.name == problem.strategy["name"]
    assert legs_of(outcome, request, problem.skus) == (best.legs if best else [])
    for leg, one in zip(outcome.legs, best.legs if best else [], strict=True):
        expected = leg_of(problem, one)
        assert iso_day(leg.ship_day) == expected.ship_day.isoformat()
        assert (leg.ship_by_ms, leg.deliver_by_ms) == (expected.ship_by_ms, expected.deliver_by_ms)
        assert leg.cost_minor == expected.minor
        by = None if leg.carrier is None else f"{leg.carrier}/{leg.service}"
        assert by == expected.service
    decision = orjson.loads(orjson.dumps(outcome.decision))
    assert [line[4] for line in decision["lines"]] == problem.atp
    assert decision["method"] == "exact"
    check_plan(decision, decision["chosen"], best, found)
    check_rows(found, decision)
    assert decision.get("unused", []) == (unused(problem, best) if best else [])
    if second is None:
        assert decision["runner_up"] is None
    else:
        assert decision["runner_up"]["units"] == second.units
        check_plan(decision, decision["runner_up"], second, found)
    return outcome


def play_out(seed: int) -> tuple[int, int]:
    """A world and its requests; how many were small enough, and how many found a plan."""
    play = Play(seed)
    checked = planned = 0
    for number in range(REQUESTS):
        play.change()
        request = play.request()
        found = solve(play.world, request, small)
        if found is None:
            continue
        try:
            check(play, request, found)
        except Exception as error:
            told = f"seed {seed}, request {number}: {request}, {found[:2]}, {play.world.body}"
            raise AssertionError(told) from error
        checked += 1
        planned += found.best is not None
    return checked, planned


@pytest.mark.parametrize(
    "start", [0, *(pytest.param(start, marks=pytest.mark.slow) for start in range(25, WORLDS, 25))]
)
def test_no_plan_is_better_and_the_decision_says_what_it_is(start: int) -> None:
    counted = [play_out(seed) for seed in range(start, start + 25)]
    assert sum(checked for checked, _ in counted) >= 500
    assert sum(planned for _, planned in counted) >= 250


def decisions(play: Play, requests: list[Request], *, cold: bool = False) -> list[bytes]:
    found = []
    for request in requests:
        if cold:
            play.world.state.tables = None
        found.append(orjson.dumps(source(play.world.shard, play.world.state, request).decision))
    return found


@pytest.mark.parametrize("seed", range(1_000, 1_050))
def test_a_decision_is_the_same_bytes_whatever_was_asked_before(seed: int) -> None:
    play = Play(seed)
    for _ in range(10):
        play.change()
        source(play.world.shard, play.world.state, play.request())  # tables that are mended
    requests = [play.request() for _ in range(10)]
    mended = decisions(play, requests)
    assert decisions(play, requests, cold=True) == mended, seed
    assert decisions(play, requests[::-1])[::-1] == mended, seed
    assert decisions(play, requests) == mended, seed
