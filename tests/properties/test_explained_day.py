"""A simulated day of the real core: every explanation adds up, and what it says would change does.

Orders come in one after the other, and nodes reject some; the decision of each is taken at its
word: the change is made to a copy of the whole state, and the same order is planned there.
"""
# ruff: noqa: ANN401 - fields of events are any JSON

import copy
import os
from collections import Counter
from itertools import zip_longest
from random import Random
from typing import Any, NamedTuple

import orjson
import pytest

from events.decided import Choice, Decision, NodeRow, costs_of
from orchestrator.core.decide import fold
from orchestrator.core.shard import Shard
from orchestrator.core.sourcing.counterfactual import Table, counterfactual
from orchestrator.core.sourcing.plan import Outcome, Request, Want
from orchestrator.core.sourcing.planner import source
from tests.core.decisions import is_live
from tests.core.story import Story

SEEDS = [int(seed) for seed in os.environ.get("HEADRACE_TEST_SEEDS", "0 1 2").split()]
ORDERS = 90
SKUS = ("A", "B", "C", "D", "E", "COLD", "GLASS", "MILK")
REQUIRES = {"COLD": ["cold"], "GLASS": ["care"]}
TOWNS = {
    "02108": (42.36, -71.06, "MA"),
    "10001": (40.75, -73.99, "NY"),
    "19103": (39.95, -75.17, "PA"),
    "30303": (33.75, -84.39, "GA"),
    "33131": (25.77, -80.19, "FL"),
    "48226": (42.33, -83.05, "MI"),
    "60604": (41.88, -87.63, "IL"),
    "75201": (32.79, -96.80, "TX"),
    "80202": (39.75, -104.99, "CO"),
    "90013": (34.05, -118.24, "CA"),
    "97204": (45.52, -122.68, "OR"),
    "98104": (47.61, -122.33, "WA"),
}
BODY: dict[str, Any] = {
    "defaults": {
        "safety_stock": [{"nodes": {"kind": "store"}, "units": 1}],
        "late_per_day": {"standard": 300, "expedited": 1500},
        "load_price": {"50": 20, "70": 90, "90": 300},
    },
    "strategies": [
        {
            "name": "cold",
            "when": {"category": "cold"},
            "fences": {"capability": "cold", "max_km": 2500},
        },
        {"name": "fresh", "when": {"sku": "MILK"}, "fences": {"min_shelf_days": 5}},
        {
            "name": "prompt",
            "when": {"service_level": "expedited", "channel": "web"},
            "fences": {"reach_promise": True},
        },
        {
            "name": "phone",
            "when": {"channel": "phone"},
            "fences": {"nodes": {"kind": "warehouse"}, "cross_border": False},
            "split": {"max_legs": 2, "cost_per_extra_leg": 100, "leg_min": {"value": 1500}},
        },
        {
            "name": "near",
            "when": {"region": ["TX", "CO"]},
            "objective": ["distance", "fewest_legs"],
            "split": {"quantity": "always"},
        },
        {
            "name": "whole",
            "when": {"region": ["GA"]},
            "split": {"quantity": "never"},
        },
        {"name": "everything", "fences": {"max_km": 3500}},
    ],
}


class Day(NamedTuple):
    """A story, and what its nodes are defined as."""

    story: Story
    nodes: dict[str, dict[str, Any]]


def given_a_day(luck: Random) -> Day:
    story = Story(market="us")
    rows = [
        {"postal_code": code, "lat": lat, "lon": lon, "region": region}
        for code, (lat, lon, region) in TOWNS.items()
    ]
    story.send("places_defined", country="US", version="1", chunk=1, chunks=1, rows=rows)
    nodes = {}
    for number, (lat, lon, _) in enumerate(luck.sample(list(TOWNS.values()), 10)):
        kind = luck.choice(["warehouse", "warehouse", "store"])
        node: dict[str, Any] = {
            "node_id": f"N{number}",
            "market_id": "us",
            "kind": kind,
            "name": f"N{number}",
            "address": {"country": "CA" if number == 9 else "US"},
            "location": {"lat": round(lat + luck.uniform(-1, 1), 4), "lon": lon},
            "handling_cost_minor": luck.randint(50, 400),
            "unit_cost_minor": luck.randint(0, 60),
            "capabilities": luck.choice([[], ["cold"], ["care"], ["care", "cold"]]),
            "active": number != 7,
            "ships": number != 8,
        }
        if number % 2:
            node["capacity_orders_per_day"] = luck.randint(3, 8)
        nodes[node["node_id"]] = node
        story.send("node_defined", **node)
    for sku in SKUS:
        more: dict[str, Any] = {"category": "cold"} if sku == "COLD" else {}
        if sku in REQUIRES:
            more["requires"] = REQUIRES[sku]
        story.send(
            "item_defined",
            sku=sku,
            name=sku,
            weight_g=luck.randint(100, 6_000),
            value_minor=luck.randint(300, 4_000),
            currency="USD",
            **more,
        )
        for node_id in nodes:
            units = luck.choice([0, 1, 2, 8, 40])
            if units and sku == "MILK":
                expires_on = luck.choice(["2027-01-19", "2027-02-01"])
                lot: dict[str, Any] = {"lot": "L", "expires_on": expires_on}
                story.send("stock_received", node_id=node_id, sku=sku, quantity=units, **lot)
            elif units:
                story.receive(node_id, **{sku: units})
    for service, levels, base, days in (
        ("ground", ["standard"], 500, 2),
        ("air", ["standard", "expedited"], 1_400, 1),
    ):
        story.send(
            "carrier_service_defined",
            market_id="us",
            carrier="ups",
            service=service,
            service_levels=levels,
            rates=[
                {
                    "to_km": km,
                    "base_minor": base + 100 * step,
                    "per_kg_minor": 30 + 15 * step,
                    "transit_days": days + step // 2,
                }
                for step, km in enumerate((300, 800, 1_600, 2_500, 6_000))
            ],
        )
    activate(story, 7, BODY)
    return Day(story, nodes)


def activate(story: Story, version: int, body: dict[str, Any]) -> None:
    of: dict[str, Any] = {"market_id": "us", "version": version}
    story.send("rule_set_proposed", **of, author="ana", body=body)
    story.send("rule_set_approved", **of, approver="ben")
    story.send("rule_set_activated", **of)


def an_order(luck: Random, number: int) -> dict[str, Any]:
    code = luck.choice(list(TOWNS))
    more: dict[str, Any] = {}
    if luck.random() < 0.4:
        more["deliver_by"] = f"2027-01-{luck.randint(16, 22)}"
    if luck.random() < 0.1:
        more["allow_split"] = False
    elif luck.random() < 0.1:
        more["allow_partial"] = False
    lines = [
        {
            "line_id": str(n),
            "sku": sku,
            "quantity": luck.choice([1, 1, 2, 3]),
            "allow_backorder": False,  # who waits would take what a change frees
            "unit_price_minor": luck.randint(300, 4_000),
        }
        for n, sku in enumerate(luck.sample(SKUS, luck.choice([1, 1, 2, 3])), 1)
    ]
    return {
        "market_id": "us",
        "channel": luck.choice(["web", "web", "phone"]),
        "order_id": str(number),
        "placed_at": "2027-01-15T07:00:00Z",
        "currency": "USD",
        "service_level": luck.choice(["standard", "standard", "expedited"]),
        "ship_to": {"country": "US", "postal_code": code, "region": TOWNS[code][2]},
        "lines": lines,
        **more,
    }


def planned(story: Story, data: dict[str, Any]) -> Outcome:
    """What the core would do with this order now. It changes nothing."""
    market = story.shard.markets["us"]
    wants = [Want(line["line_id"], line["sku"], line["quantity"]) for line in data["lines"]]
    return source(story.shard, market, Request(data, wants, story.now_ms, "order_placed"))


def as_read(decision: Decision) -> Decision:
    """As readers get it: through JSON."""
    read: Decision = orjson.loads(orjson.dumps(decision))
    return read


@pytest.mark.parametrize(
    "seed", [SEEDS[0], *(pytest.param(seed, marks=pytest.mark.slow) for seed in SEEDS[1:])]
)
def test_every_explanation_of_a_day_adds_up_and_what_it_says_would_change_does(seed: int) -> None:
    luck = Random(seed)
    day = given_a_day(luck)
    asked: Counter[str] = Counter()
    for number in range(ORDERS):
        story = day.story
        story.at(luck.choice([60, 600]))
        placed = an_order(luck, number)
        decision = as_read(planned(story, placed).decision)
        adds_up(decision)
        is_the_best_of_its_table(decision)
        asked.update(taken_at_its_word(day, placed, decision))
        story.send("order_placed", **placed)
        for event in story.told("order_allocated"):
            journaled = orjson.loads(event["decision"])
            adds_up(journaled)
            is_the_best_of_its_table(journaled)
            if journaled["lines"] == decision["lines"]:  # else some of them were cancelled first
                assert journaled == decision
                asked["the journaled one"] += 1
        requested = story.told("fulfillment_requested")
        if requested and luck.random() < 0.2:
            of = {name: requested[0][name] for name in ("fulfillment_id", "node_id")}
            story.send("fulfillment_rejected", **of, reason="not_in_stock", stock_effect="none")
            for event in story.told("order_allocated"):
                adds_up(orjson.loads(event["decision"]))
                is_the_best_of_its_table(orjson.loads(event["decision"]))
    assert asked["the journaled one"] > ORDERS // 2, asked
    assert asked["dearer"] > 20, asked
    assert asked["exact"] > 10, asked
    assert asked["lift_fence"] > 5, asked
    assert asked["add_stock"] > 5, asked
    assert asked["fence suppressed"] > 5, asked
    assert asked["fence requires"] > 5, asked
    assert asked["fence min_shelf_days"] > 5, asked
    assert {one for one in asked if one.startswith("not tried: ")} <= NOT_TRIED, asked


NOT_TRIED = {"not tried: dearer by distance", "not tried: dearer by fewest_legs"}
"""What no input brings to the metre."""


def taken_at_its_word(day: Day, data: dict[str, Any], decision: Decision) -> list[str]:
    """Make each change that an order's decision tells of, and see what comes of it."""
    told = counterfactual(decision)
    done = []
    for name, change in told.items():
        if change is None:
            continue
        changed: Any = change
        other = made_so(day, decision, changed, name)
        if other is None:
            done.append(f"not tried: {name} by {changed['criterion']}")
            continue
        after = as_read(planned(other, data).decision)
        context = (name, changed, data)
        if name == "dearer":
            assert legs_of(after) != legs_of(decision), context
            if exact(decision, changed):
                less = made_so(day, decision, {**changed, "by": changed["by"] - 1}, name)
                assert less is not None
                assert legs_of(as_read(planned(less, data).decision)) == legs_of(decision), context
                done.append("exact")
        else:
            wanted = changed["plan"]
            assert compared(after["chosen"]) <= compared(wanted), context
            assert compared(wanted) < compared(decision["chosen"]), context
            done.append(f"fence {changed.get('fence')}")
        done.append(name)
    return done


def exact(decision: Decision, change: Any) -> bool:
    """Whether the runner-up does without the node: then no other plan comes before it."""
    runner_up = decision["runner_up"]
    assert runner_up is not None
    return change["by"] > 0 and change["node_id"] not in [leg[1] for leg in runner_up["legs"]]


def compared(plan: Any) -> tuple[int, list[int]]:
    if plan is None:
        return 0, []
    value = plan["value"]
    return -plan["units"], list(value) if isinstance(value, list) else [value]


def legs_of(decision: Decision) -> list[Any]:
    chosen = decision["chosen"]
    return [] if chosen is None else [(n, decision["sets"][at][0]) for at, n in chosen["legs"]]


def made_so(day: Day, decision: Decision, change: Any, name: str) -> Story | None:
    """A copy of the day in which the change has come true; None where no input brings it."""
    other = the_same(day.story)
    node_id = change["node_id"]
    node = dict(day.nodes[node_id])
    if name == "dearer":
        if change["criterion"] != "cost":
            return None
        node["handling_cost_minor"] += change["by"]
        other.send("node_defined", **node)
        return other
    match change.get("fence"):
        case "inactive":
            other.send("node_defined", **{**node, "active": True})
        case "does_not_ship":
            other.send("node_defined", **{**node, "ships": True})
        case "capability" | "requires":
            other.send("node_defined", **{**node, "capabilities": ["care", "cold"]})
        case "nodes" | "max_km" | "cross_border" as fence:
            activate(other, 8, without(day, decision, node_id, fence))
        case "reach_promise" | "min_shelf_days" as fence:
            activate(other, 8, for_nobody(decision, fence))
        case "suppressed":
            for line in decision["lines"]:
                other.receive(node_id, **{line[1]: 1})  # who speaks of an item has it again
        case None:
            pass
        case fence:
            raise AssertionError(fence)
    if name == "add_stock":
        other.receive(node_id, **{change["sku"]: change["lacking"]})
    return other


def the_same(story: Story) -> Story:
    """Another story at the same point: its shards are folded from what was journaled."""
    other = Story(market="us")
    other.shard, other.twin = Shard(0), Shard(0)
    for entry in story.entries:
        fold(other.shard, orjson.loads(entry))
        fold(other.twin, orjson.loads(entry))
    other.offsets = copy.deepcopy(story.offsets)
    other.now_ms = story.now_ms
    return other


def for_nobody(decision: Decision, fence: str) -> dict[str, Any]:
    """The rules without the fence in the strategy that decided: others gain by that as well."""
    body: dict[str, Any] = copy.deepcopy(BODY)
    for strategy in body["strategies"]:
        if strategy["name"] == decision["strategy"]:
            del strategy["fences"][fence]
    return body


def without(day: Day, decision: Decision, node_id: str, fence: str) -> dict[str, Any]:
    """The rules with the fence taken from this node: those that fail it are named out instead."""
    rest = decision["rest"]
    failing = [
        node
        for n, node in enumerate(rest["nodes"])
        if int(str(rest["fences"].get(fence, "0")), 16) >> n & 1
    ]
    failing += [
        row[0] for _, *rows in decision["sets"] for row in rows if fence in NodeRow(*row).fences
    ]
    body: dict[str, Any] = copy.deepcopy(BODY)
    for strategy in body["strategies"]:
        if strategy["name"] == decision["strategy"]:
            fences = strategy["fences"]
            allowed = [
                one
                for one, node in day.nodes.items()
                if one == node_id
                or (
                    one not in failing
                    and node["kind"] in fences.get("nodes", {}).get("kind", node["kind"])
                )
            ]
            fences.pop(fence, None)
            fences["nodes"] = {"node": allowed}
    return body


def adds_up(decision: Decision) -> None:
    """Rows are what their components sum to, plans what their legs do; the cheapest come first."""
    in_money = decision["objective"] == ["cost"]
    barred = 0
    for _, *rows in decision["sets"]:
        live = [row for row in rows if is_live(row)]
        values = [row[1] for row in live]
        assert values == sorted(values)
        assert rows[: len(live)] == live
        for row in rows:
            assert not in_money or sum(row[2]) == row[1], row
            assert not row[2] or row[2][-1], "zeros at the end take room"
            assert all(part >= 0 for part in row[2]), row
        for row in rows[len(live) :]:
            barred += 1
            assert len(live) < 2 or row[1] < live[1][1], row
    assert barred <= 10
    for plan in (decision["chosen"], decision["runner_up"]):
        if plan is not None:
            plan_adds_up(decision, plan)


def plan_adds_up(decision: Decision, plan: Choice) -> None:
    legs = [
        (decision["sets"][place][0], row)
        for place, node_id in plan["legs"]
        for row in decision["sets"][place][1:]
        if row[0] == node_id
    ]
    assert len(legs) == len(plan["legs"])
    assert sum(sum(units) for units, _ in legs) == plan["units"]
    parts = [sum(of) for of in zip_longest(*(row[2] for _, row in legs), [0] * 6, fillvalue=0)]
    split = decision["split"].get("extra_leg", 0) * (len(legs) - 1)
    assert costs_of(decision, plan) == [*parts, split]
    if decision["objective"] == ["cost"]:
        assert plan["value"] == sum(parts) + split
    for line, units in zip(
        decision["lines"], zip(*(units for units, _ in legs), strict=True), strict=True
    ):
        assert sum(units) <= line[3] <= line[2]


def is_the_best_of_its_table(decision: Decision) -> None:
    """No other way to put the recorded rows together is better than what was chosen."""
    table = Table(decision)
    best = table.best(table.live, using=None, bound=None)
    if table.chosen is None:
        assert best is None
    else:
        assert best is not None
        assert best[:4] == table.chosen[:4]


@pytest.mark.parametrize(
    ("nodes", "most"), [(40, 1_500), pytest.param(2_000, 2_000, marks=pytest.mark.slow)]
)
def test_explanations_stay_small(nodes: int, most: int) -> None:
    """On average, as encoded: of orders of 1-6 lines, most items being at most nodes."""
    luck = Random(7)
    story = Story(market="us")
    for number in range(nodes):
        story.send(
            "node_defined",
            node_id=f"NODE-{number:04}",
            market_id="us",
            kind="warehouse",
            name="a node",
            address={"country": "US"},
            location={"lat": luck.uniform(26, 48), "lon": luck.uniform(-123, -71)},
            handling_cost_minor=luck.randint(50, 400),
        )
    skus = [f"SKU-{number:05}" for number in range(12)]
    for sku in skus:
        story.send("item_defined", sku=sku, name=sku, weight_g=luck.randint(100, 2_000))
        for number in luck.sample(range(nodes), min(nodes * 9 // 10, 60)):
            story.receive(f"NODE-{number:04}", **{sku: 9})
    story.send(
        "carrier_service_defined",
        market_id="us",
        carrier="ups",
        service="ground",
        service_levels=["standard"],
        rates=[
            {"to_km": km, "base_minor": 400 + km // 4, "per_kg_minor": 30, "transit_days": days}
            for days, km in enumerate((300, 800, 1_600, 2_500, 6_000), 1)
        ],
    )
    sizes = []
    for number in range(200):
        count = luck.choices(range(1, 7), (51, 24, 12, 7, 4, 2))[0]
        lines = [
            {"line_id": str(n), "sku": sku, "quantity": luck.choice([1, 1, 1, 2])}
            for n, sku in enumerate(luck.sample(skus, count), 1)
        ]
        lat, lon, region = luck.choice(list(TOWNS.values()))
        data = {
            "channel": "web",
            "order_id": str(number),
            "ship_to": {"country": "US", "region": region, "location": {"lat": lat, "lon": lon}},
            "lines": lines,
        }
        sizes.append(len(orjson.dumps(planned(story, data).decision)))
    assert sum(sizes) / len(sizes) <= most, sum(sizes) / len(sizes)
