"""What `headrace explain` says is so: each sentence is held to the state that it is about.

Small markets with every kind of rule switched on at random, a few large ones; the truth is worked
out from stock, master data and rules alone.
"""

import re
from collections import Counter
from random import Random
from typing import Any, NamedTuple

import orjson
import pytest

from events.decided import Decision, NodeRow
from orchestrator.commands.telling import Telling
from orchestrator.core.promising import promise
from orchestrator.core.sourcing.counterfactual import counterfactual
from projections.explained import explained
from tests.core.story import Story, at_once
from tests.properties.test_explained_day import the_same

HERE = (42.0, -71.0)
KM = 1 / 111.19
"""A degree of latitude, the other way round."""
NEAR_KM, FAR_KM = 500, 1_500
"""Up to there parcels take two days, up to there five; beyond, where rates have a hole, none go."""
SKUS = ("A", "B", "COLD")
FAILS = {  # what a node is said to be that fails a fence
    "inactive": "inactive",
    "outside the nodes that the strategy allows": "nodes",
    "without a capability that an item requires": "requires",
    "farther than the strategy allows": "max_km",
    "too late for the promise": "reach_promise",
    "without a rate for this to there": "no_rate",
    "suppressed for the item, which it rejected lately": "suppressed",
}
LIMITS = "(?: \\([^)]*\\))?"


class World(NamedTuple):
    """A market, and what was said of it."""

    story: Story
    nodes: dict[str, dict[str, Any]]
    away_km: dict[str, int]
    hole: bool
    strategy: dict[str, Any]
    defaults: dict[str, Any]
    said: Counter[str]

    def free(self, node_id: str, sku: str) -> int:
        node = self.story.shard.nodes[node_id]
        available = self.story.shard.stock(node, sku).available
        return max(0, available - (1 if "safety_stock" in self.defaults else 0))

    def promisable(self, sku: str) -> int:
        """Units that the channel may have in all."""
        free = sum(self.free(one, sku) for one, node in self.nodes.items() if node["active"])
        kept: int = self.defaults.get("thresholds", {}).get("web", 0)
        for pool in self.defaults.get("pools", []):
            kept += pool["units"] if sku in pool["sku"] else 0
        return free - kept

    def fails(self, node_id: str, sku: str, order: dict[str, Any]) -> set[str]:
        """The fences that keep a unit of an item from leaving a node for the customer."""
        node, away_km = self.nodes[node_id], self.away_km[node_id]
        fences = self.strategy.get("fences", {})
        failing = set()
        if not node["active"]:
            failing.add("inactive")
        if node_id == fences.get("nodes", {}).get("not", {}).get("node"):
            failing.add("nodes")
        if away_km > fences.get("max_km", away_km):
            failing.add("max_km")
        if sku == "COLD" and not node["capabilities"]:
            failing.add("requires")
        if self.story.shard.nodes[node_id].suppresses(sku, self.story.now_ms):
            failing.add("suppressed")
        if self.hole and away_km > FAR_KM:
            failing.add("no_rate")
        elif fences.get("reach_promise") and "deliver_by" in order:
            day = [at for at, of in self.story.shard.nodes[node_id].booked.items() if of[0]]
            full = len(day) >= 1 and "capacity_orders_per_day" in node
            if away_km > NEAR_KM or full:
                failing.add("reach_promise")
        return failing


def a_world(luck: Random, nodes: int) -> World:
    story = Story()
    of: dict[str, dict[str, Any]] = {}
    away_km = {}
    for number in range(nodes):
        node_id = f"N{number:02}"
        away_km[node_id] = luck.choice([0, 10, 100, 400, 800, 1_200, 2_000, 2_000])
        of[node_id] = {
            "location": {"lat": HERE[0] - KM * away_km[node_id], "lon": HERE[1]},
            "active": luck.random() < 0.9,
            "capabilities": luck.choice([[], ["cold"]]),
            "handling_cost_minor": luck.choice([0, 50, 100]),
        }
        if luck.random() < 0.2:
            of[node_id]["capacity_orders_per_day"] = 1
        story.node(node_id, **of[node_id])
    hole = luck.random() < 0.5
    rates = [(NEAR_KM, 100, 2), (FAR_KM, 900, 5), (6_000, 2_000, 5)][: 2 if hole else 3]
    story.service(
        rates=[{"to_km": km, "base_minor": minor, "transit_days": n} for km, minor, n in rates]
    )
    story.item("A", "B")
    story.send("item_defined", sku="COLD", name="COLD", requires=["cold"])
    for node_id in of:
        for sku in SKUS:
            if units := luck.choice([0, 0, 1, 1, 2]):
                story.receive(node_id, **{sku: units})
    strategy, defaults = some_rules(luck, list(of))
    story.rules(strategy, **defaults)
    return World(story, of, away_km, hole, strategy, defaults, Counter())


def some_rules(luck: Random, nodes: list[str]) -> tuple[dict[str, Any], dict[str, Any]]:
    split: dict[str, Any] = {"quantity": luck.choice(["when_short", "when_short", "never"])}
    if luck.random() < 0.4:
        split["max_legs"] = luck.choice([1, 2])
    if luck.random() < 0.2:
        split["leg_min"] = {"units": 2}
    fences: dict[str, Any] = {}
    if luck.random() < 0.3:
        fences["max_km"] = luck.choice([300, 1_000])
    if luck.random() < 0.3:
        fences["nodes"] = {"not": {"node": luck.choice(nodes)}}
    if luck.random() < 0.3:
        fences["reach_promise"] = True
    strategy: dict[str, Any] = {"split": split, "fences": fences}
    if luck.random() < 0.3:
        strategy["objective"] = luck.choice([["distance", "cost"], ["on_hand", "distance"]])
    if luck.random() < 0.3:
        strategy["unsourced"] = "cancel"
    defaults: dict[str, Any] = {}
    if luck.random() < 0.2:
        defaults["safety_stock"] = [{"units": 1}]
    if luck.random() < 0.2:
        defaults["thresholds"] = {"web": luck.choice([1, 3])}
    if luck.random() < 0.2:
        defaults["pools"] = [
            {
                "id": "app",
                "sku": [luck.choice(SKUS)],
                "channel": "app",
                "units": luck.choice([1, 9]),
            }
        ]
    return strategy, defaults


def an_order(luck: Random, number: int) -> dict[str, Any]:
    lines = [
        {"line_id": str(n), "sku": sku, "quantity": luck.choice([1, 1, 2, 3])}
        for n, sku in enumerate(luck.choices(SKUS, k=luck.choice([1, 1, 2, 3])), 1)
    ]
    lines[0]["allow_backorder"] = luck.random() < 0.8
    order: dict[str, Any] = {
        "market_id": "US",
        "channel": "web",
        "order_id": str(number),
        "placed_at": "2026-11-22T10:00:00Z",
        "currency": "USD",
        "ship_to": {"country": "US", "location": {"lat": HERE[0], "lon": HERE[1]}},
        "lines": lines,
    }
    if luck.random() < 0.4:
        order["deliver_by"] = "2027-01-17"
    if luck.random() < 0.1:
        order["allow_split"] = False
    elif luck.random() < 0.1:
        order["allow_partial"] = False
    return order


@pytest.mark.parametrize(("seeds", "nodes"), [(range(100), 0), (range(1_000, 1_006), 70)])
def test_every_sentence_of_an_explanation_is_true(seeds: range, nodes: int) -> None:
    said: Counter[str] = Counter()
    for seed in seeds:
        luck = Random(seed)
        world = a_world(luck, nodes or luck.choice([3, 5, 16, 20]))
        for number in range(6):
            order = an_order(luck, number)
            before = the_same(world.story)
            events = world.story.send("order_placed", **order)
            told = next((one for one in events if one["type"] == "order_allocated"), None)
            if told is None:
                continue
            then = world._replace(story=before)
            try:
                Truth(then, order, told).holds()
                a_promise_says_why_units_are_missing(then, order)
            except AssertionError as problem:
                problem.add_note(f"seed {seed}, order {number}: {order}")
                raise
            requested = world.story.told("fulfillment_requested")
            if requested and luck.random() < 0.2:
                of = requested[0]
                lines = [
                    {key: line[key] for key in ("line_id", "sku", "quantity")}
                    for line in of["lines"]
                ]
                world.story.send(
                    "fulfillment_rejected",
                    fulfillment_id=of["fulfillment_id"],
                    node_id=of["node_id"],
                    reason="other",
                    lines=lines,
                )
        said += world.said
    if not nodes:
        kinds = ("short", "few", "dearer", "fence", "stock", "split", "channel", "cancelled")
        assert all(
            said[kind] > 5 for kind in (*kinds, "lies", "carrier", "kept", "nearer", "promise")
        ), said


def a_promise_says_why_units_are_missing(world: World, order: dict[str, Any]) -> None:
    for level in ("standard", "overnight"):
        question = {**order, "service_levels": [level]}
        story = world.story
        (one,) = at_once(promise(story.shard, question, story.now_ms))["promises"]
        given = Counter(
            {
                (leg["node_id"], line["sku"]): line["quantity"]
                for leg in one["legs"]
                for line in leg["lines"]
            }
        )
        kept, limited = set(), True
        for sku in {line["sku"] for line in one["missing"]}:
            units = sum(line["quantity"] for line in order["lines"] if line["sku"] == sku)
            left = [n for n in world.nodes if world.free(n, sku) > given[n, sku]]
            limited = limited and (not left or world.promisable(sku) < units)
            for node_id in left:
                kept |= world.fails(node_id, sku, order) or {"split"}
        why: str | None = one["because"]
        if why is None:
            assert not one["missing"]
        elif why.startswith("no carrier service takes"):
            assert level == "overnight" or "no_rate" in kept
        elif why.startswith("they are neither in stock"):
            whole = not (order.get("allow_split", True) and order.get("allow_partial", True))
            assert limited or whole, (why, kept)
        else:
            world.said["promise"] += 1
            assert why.startswith("no node that the rules allow"), why
            assert kept or "safety_stock" in world.defaults


class Truth:
    """A decision, and what was so when it was made."""

    def __init__(self, world: World, order: dict[str, Any], told: dict[str, Any]) -> None:
        self.world = world
        self.order = order
        self.decision: Decision = orjson.loads(told["decision"])
        self.waiting = {one["line_id"]: one["quantity"] for one in told["backordered"]}
        item: Any = {
            **self.decision,
            "at": "",
            "position": "",
            "fulfillments": [],
            "backordered": told["backordered"],
        }
        self.item = explained(item, counterfactual)
        self.given: Counter[tuple[str, str]] = Counter()  # by node and sku
        chosen = self.item["chosen"]
        for leg in chosen["legs"] if chosen else ():
            for line in leg["lines"]:
                self.given[leg["node_id"], line["sku"]] += line["units"]
        self.asked = {line["sku"]: line["target"] for line in self.item["lines"] if line["target"]}

    def holds(self) -> None:
        self.rows_are_true()
        paragraphs = dict(Telling(self.item).paragraphs())
        every_unit_is_told = Counter({line["sku"]: line["wanted"] for line in self.item["lines"]})
        for (_, sku), units in self.given.items():
            every_unit_is_told[sku] -= units
        for sentence in paragraphs["Plan"]:
            sku, units = self.plan(sentence)
            every_unit_is_told[sku] -= units
        assert not any(every_unit_is_told.values()), (every_unit_is_told, paragraphs["Plan"])
        for sentence in paragraphs.get("Why not", []):
            self.why_not(sentence)

    def left(self, node_id: str, sku: str) -> int:
        """Free units that the plan leaves at a node."""
        return self.world.free(node_id, sku) - self.given[node_id, sku]

    def fails(self, node_id: str, sku: str) -> set[str]:
        return self.world.fails(node_id, sku, self.order)

    def rows_are_true(self) -> None:
        for units, *rows in self.decision["sets"]:
            wanted = {
                line[1]: n for line, n in zip(self.decision["lines"], units, strict=True) if n
            }
            for row in [NodeRow(*one) for one in rows]:
                lacks = {self.decision["lines"][line][1]: n for line, n in row.short}
                if "safety_stock" not in self.world.defaults:
                    free = {sku: self.world.free(row.node_id, sku) for sku in wanted}
                    assert lacks == {
                        sku: n - free[sku] for sku, n in wanted.items() if n > free[sku]
                    }, row
                fences = set().union(*(self.fails(row.node_id, sku) for sku in wanted))
                assert set(row.fences) == fences, row

    # --- of the plan

    def plan(self, sentence: str) -> tuple[str, int]:
        """What a sentence says of units that aren't shipped: item and units."""
        if found := re.fullmatch(r"(\d+) of line (\d+) wait(.*)\.", sentence):
            sku = next(one["sku"] for one in self.order["lines"] if one["line_id"] == found[2])
            assert self.waiting[found[2]] == int(found[1])
            self.waits(sku, found[3])
            return sku, int(found[1])
        if found := re.fullmatch(r"(\d+) of (\w+) may not wait, and are cancelled(.*)\.", sentence):
            self.world.said["cancelled"] += 1
            self.waits(found[2], found[3])
            return found[2], int(found[1])
        assert re.match(r"\w+ ships |None: |[\d.,]+ USD in all", sentence), sentence
        return "", 0

    def waits(self, sku: str, why: str) -> None:
        world = self.world
        if why in {" for stock", " for want of stock"}:
            world.said["stock"] += 1
            assert not any(self.left(node_id, sku) for node_id in world.nodes)
            return
        if found := re.fullmatch(
            r" for a carrier service that takes standard to there from (.*), where units are", why
        ):
            world.said["carrier"] += 1
            for node_id in self.named(found[1]):
                assert self.left(node_id, sku) > 0
                assert "no_rate" in self.fails(node_id, sku)
            return
        assert why.startswith(": "), why
        for reason in why[2:].split("; "):
            self.keeps(sku, reason)

    def keeps(self, sku: str, reason: str) -> None:
        world = self.world
        every = world.nodes
        if reason == "the channel may have no more of it":
            world.said["channel"] += 1
            assert sum(self.given[one, sku] for one in every) < self.wanted(sku)
            assert world.promisable(sku) < self.wanted(sku)
        elif reason.startswith("what is there stays there"):
            world.said["kept"] += 1
            shard = world.story.shard
            there = sum(shard.stock(shard.nodes[one], sku).available for one in every)
            assert there > sum(self.given[one, sku] for one in every)
            assert not any(self.left(one, sku) for one in every)
        elif found := re.fullmatch(
            rf"(.*) ha(?:s|ve) units, but no plan that the rules allow{LIMITS} ships more", reason
        ):
            world.said["split"] += 1
            for node_id in self.named(found[1]):
                assert self.left(node_id, sku) > 0
                assert not self.fails(node_id, sku)
            chosen = self.decision["chosen"]
            assert self.undivided_units() > (chosen["units"] if chosen else 0)
        else:
            found = re.fullmatch(r"(.*), where units are, (?:is|are) (.*)", reason)
            assert found, reason
            world.said["lies"] += 1
            for node_id in self.named(found[1]):
                assert self.left(node_id, sku) > 0
                assert FAILS[found[2]] in self.fails(node_id, sku)

    def wanted(self, sku: str) -> int:
        return sum(line["quantity"] for line in self.order["lines"] if line["sku"] == sku)

    def undivided_units(self) -> int:
        """What could be shipped, were there no rule of dividing."""
        return sum(
            min(
                self.wanted(sku),
                max(0, self.world.promisable(sku)),
                sum(
                    self.world.free(node_id, sku)
                    for node_id in self.world.nodes
                    if not self.fails(node_id, sku)
                ),
            )
            for sku in {line["sku"] for line in self.order["lines"]}
        )

    # --- why not others

    def why_not(self, sentence: str) -> None:
        world, shown = self.world, self.shown()
        if found := re.fullmatch(r"(\S+) is nearer, but would ship .*", sentence):
            world.said["nearer"] += 1
            assert found[1] not in self.item["chosen"]["nodes"]
            return
        if found := re.fullmatch(r"(\S+) would ship .*, but it is .*", sentence):
            return  # a row, told
        found = re.fullmatch(r"(.*?): (.*)\.", sentence)
        assert found, sentence
        nodes, what = found[1], found[2]
        if lacking := re.fullmatch(
            r"without (free units|units that the channel may have)(.*)", what
        ):
            world.said["short"] += 1
            of = re.findall(r"\b[A-Z]+\b", lacking[2]) or list(self.asked)
            self.is_so(nodes, {n for n in world.nodes if not any(world.free(n, s) for s in of)})
        elif what == "with some of the units, but too few for any part that was weighed":
            world.said["few"] += 1
            few = {
                node_id
                for node_id in world.nodes
                if any(world.free(node_id, sku) for sku in self.asked)
                and all(world.free(node_id, sku) < units for sku, units in self.asked.items())
            }
            self.is_so(nodes, few)
        elif what == "no better than the next best for certain":
            world.said["dearer"] += 1
            assert self.decision["runner_up"] is not None
            assert self.named(nodes) == []
            assert self.count(nodes) == len(self.ready() - shown)
        elif what.startswith("in no ") and what.endswith("plan that the order and its rules allow"):
            assert self.decision["runner_up"] is None
            assert self.count(nodes) == len(self.ready() - shown)
        else:
            world.said["fence"] += 1
            fence = FAILS[what]
            skus = [line["sku"] for line in self.order["lines"]]
            self.is_so(
                nodes, {n for n in world.nodes if any(fence in self.fails(n, s) for s in skus)}
            )

    def shown(self) -> set[str]:
        return {row[0] for _, *rows in self.decision["sets"] for row in rows}

    def ready(self) -> set[str]:
        """The nodes that may ship one of the sets that are shown."""
        world = self.world
        return {
            node_id
            for units, *_ in self.decision["sets"]
            for node_id in world.nodes
            if all(
                world.free(node_id, line[1]) >= n and not self.fails(node_id, line[1])
                for line, n in zip(self.decision["lines"], units, strict=True)
                if n
            )
        }

    def is_so(self, nodes: str, truly: set[str]) -> None:
        """Of the nodes named, and of as many where they are counted."""
        named = self.named(nodes)
        assert set(named) <= truly, (nodes, truly)
        assert self.count(nodes) <= len(truly), (nodes, truly)

    def named(self, nodes: str) -> list[str]:
        return re.findall(r"\bN\d\d\b", nodes)

    def count(self, nodes: str) -> int:
        if counted := re.fullmatch(r"(\d+) nodes?", nodes):
            return int(counted[1])
        more = re.search(r"and (\d+) more", nodes)
        return len(self.named(nodes)) + (int(more[1]) if more else 0)
