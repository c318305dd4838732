"""A rule set in shadow: begun, ended, refused; and that nothing is decided otherwise for it."""

from copy import deepcopy
from random import Random
from typing import Any

import orjson
import pytest

from orchestrator.core.decide import decide, fold
from orchestrator.core.shadowing import Shadows
from orchestrator.core.shard import Shard
from tests.core.story import Story, plain
from tests.core.test_following import some_day
from tests.properties.test_snapshots import restored, snapshot_of

ONE_PARCEL = {"strategies": [{"name": "one", "split": {"max_legs": 1}}]}
NEAREST = {"strategies": [{"name": "near", "objective": ["distance"]}]}
OF: dict[str, Any] = {"market_id": "US"}
LARGE = {f"key {number}": "x" * 1_900 for number in range(70)}
"""So much to pass on that nodes are asked in an entry each."""
BODIES: list[dict[str, Any]] = [
    {"strategies": [{"name": "waits"}]},
    {"strategies": [{"name": "held", "hold": 30, "unsourced": {"cancel_after_days": 3}}]},
    {"strategies": [{"name": "none waits", "unsourced": "cancel"}]},
    {
        "defaults": {"pools": [{"id": "P", "sku": ["A"], "channel": "web", "units": 9}]},
        "strategies": [
            {"name": "one", "split": {"max_legs": 1}, "else": "any", "unsourced": "cancel"},
            {"name": "any", "objective": ["distance"], "split": {"quantity": "always"}},
        ],
    },
]


def shop() -> Story:
    story = Story()
    for node_id in ("BOS", "CHI"):
        story.node(node_id)
    story.item("TEA", "MUG")
    story.receive("BOS", TEA=50)
    story.receive("CHI", TEA=50, MUG=50)
    for version, body in (("one", ONE_PARCEL), ("near", NEAREST)):
        story.send("rule_set_proposed", **OF, version=version, author="Ada", body=body)
        story.send("rule_set_approved", **OF, version=version, approver="Grace")
    return story


def shade(story: Story, version: str = "one", mode: str = "shadow", from_: str = "") -> list[Any]:
    more: dict[str, Any] = {"from": from_} if from_ else {}
    return story.send("rule_set_activated", **OF, version=version, mode=mode, **more)


def statuses(story: Story) -> dict[str, str]:
    return {name: one.status for name, one in story.shard.markets["US"].rule_versions.items()}


def beside(story: Story) -> list[dict[str, Any]]:
    """What shadows decide of all that a story told."""
    shard, shadows, found = Shard(0), Shadows(), []
    for encoded in story.entries:
        entry = orjson.loads(encoded)
        before = plain(shard)
        told = shadows.beside(shard, entry)
        assert plain(shard) == before, "a shadow leaves the state as it is"
        found += told
        fold(shard, entry)
    return found


def a_day_of_many_shapes(story: Story, chance: Random) -> None:
    """Orders of which much is short: in one piece, in several entries, for items still to come."""
    story.item("A", "B")
    for node_id in ("BOS", "CHI", "LAX"):
        story.node(node_id)
        story.receive(node_id, A=3, B=3)
    for number in range(60):
        match chance.randrange(8):
            case 0 | 1 | 2 | 3 | 4:
                lines = [
                    {
                        "line_id": str(n),
                        "sku": chance.choice("AABBD"),
                        "quantity": chance.randint(1, 5),
                        "allow_backorder": chance.random() < 0.5,
                    }
                    for n in range(chance.randint(1, 4))
                ]
                story.order(
                    str(number),
                    to=chance.choice(("BOS", "LAX", "NYC")),
                    lines=lines,
                    allow_split=chance.random() < 0.8,
                    allow_partial=chance.random() < 0.8,
                    attributes=chance.choice(({}, {}, {}, LARGE)),
                )
            case 5:
                story.receive(chance.choice(("BOS", "CHI", "LAX")), A=3, B=2)
            case 6 if number > 30:
                story.item("D")
            case _:
                story.at(chance.choice((60, 3600)))


def test_a_market_has_one_shadow_until_it_is_ended_or_activated() -> None:
    story = shop()
    shade(story)
    assert statuses(story) == {"one": "shadow", "near": "approved"}
    shade(story)
    assert [event["type"] for event in story.events] == ["input_repeated"]
    shade(story, "near")
    assert statuses(story) == {"one": "approved", "near": "shadow"}
    shade(story, "near", "shadow_ended")
    assert statuses(story) == {"one": "approved", "near": "approved"}
    shade(story, "near", "shadow_ended")
    assert [event["type"] for event in story.events] == ["input_repeated"]
    shade(story)
    story.send("rule_set_activated", **OF, version="one")
    assert statuses(story) == {"one": "active", "near": "approved"}
    assert story.shard.markets["US"].rules.version == "one"


def test_a_shadows_pool_of_another_season_counts_anew() -> None:
    story = shop()
    pool = {"id": "x", "sku": ["MUG"], "channel": "shop", "units": 40}
    story.rules({}, pools=[{**pool, "until": "2027-01-20"}])
    story.order("of the pool", MUG=30, channel="shop")
    assert story.pools() == {"x": 30}
    story.at(31 * 86_400)
    body = {
        "defaults": {"pools": [{**pool, "units": 15, "from": "2027-02-01"}]},
        "strategies": [{"name": "all"}],
    }
    story.send("rule_set_proposed", **OF, version="next", author="Ada", body=body)
    story.send("rule_set_approved", **OF, version="next", approver="Grace")
    shade(story, "next")
    story.order("1", MUG=7)
    (told,) = beside(story)
    assert told["backordered"] == [{"line_id": "1", "quantity": 2}], "15 of 20 are the shop's"
    story.send("rule_set_activated", **OF, version="next")
    assert story.pools() == {"x": 0}


@pytest.mark.parametrize(
    ("version", "from_", "path", "detail"),
    [
        ("none", "", "version", "is not known"),
        ("raw", "", "version", "is not approved"),
        ("one", "2028-01-01", "from", "begins and ends at once"),
        ("now", "", "mode", "now is active: it needs no shadow"),
        ("later", "", "mode", "later is scheduled: it needs no shadow"),
    ],
)
def test_what_cannot_run_in_shadow_is_refused(
    version: str, from_: str, path: str, detail: str
) -> None:
    story = shop()
    for name in ("raw", "now", "later"):
        body = {"strategies": [{"name": name}]}
        story.send("rule_set_proposed", **OF, version=name, author="Ada", body=body)
        if name != "raw":
            story.send("rule_set_approved", **OF, version=name, approver="Grace")
    story.send("rule_set_activated", **OF, version="now")
    scheduled: dict[str, Any] = {**OF, "version": "later", "from": "2028-01-01"}
    story.send("rule_set_activated", **scheduled)
    shade(story, version, from_=from_)
    (refused,) = story.told("rule_set_refused")
    (problem,) = refused["problems"]
    assert (problem["path"], detail in problem["detail"]) == (path, True), problem
    assert "shadow" not in statuses(story).values()


def test_a_shadow_says_what_it_would_have_decided_and_what_was() -> None:
    story = shop()
    story.order("1", TEA=1)
    shade(story)
    story.order("2", TEA=1)
    story.order("3", TEA=1, MUG=1)
    shade(story, mode="shadow_ended")
    story.order("4", TEA=1, MUG=1)
    same, other = beside(story)
    assert (same["order_id"], same["same"], same["rule_set"]) == ("2", True, "one")
    assert other["order_id"] == "3"
    assert [leg["node_id"] for leg in other["active"]["fulfillments"]] == ["CHI"]
    assert other["active"]["rule_set"] == "default-1"
    assert orjson.loads(other["decision"])["strategy"] == "one"


def test_an_order_that_waited_for_an_item_is_decided_beside_when_it_is_accepted() -> None:
    story = shop()
    shade(story, "near")
    story.order("1", TEA=1, CUP=2)
    assert beside(story) == []
    story.item("CUP")
    (told,) = beside(story)
    assert told["order_id"] == "1"
    assert told["backordered"] == [{"line_id": "2", "quantity": 2}]


@pytest.mark.parametrize(
    "seed", [0, 1, *(pytest.param(seed, marks=pytest.mark.slow) for seed in range(2, 6))]
)
def test_what_is_decided_is_equal_to_the_byte_with_and_without_a_shadow(seed: int) -> None:
    stories = []
    for shaded in (False, True):
        story = Story()
        of: dict[str, Any] = {**OF, "version": "beside"}
        story.send("rule_set_proposed", **of, author="Ada", body=ONE_PARCEL)
        story.send("rule_set_approved", **of, approver="Grace")
        mode = "shadow" if shaded else "shadow_ended"
        story.send("rule_set_activated", **of, mode=mode)
        first = len(story.entries)
        some_day(story, Random(seed))
        stories.append((story, story.entries[first:]))
    assert stories[0][1] == stories[1][1]
    assert beside(stories[0][0]) == []
    assert len(beside(stories[1][0])) > 5


@pytest.mark.parametrize("seed", range(4))
def test_a_shadow_decides_what_it_would_were_it_activated_that_moment(seed: int) -> None:
    story = Story()
    of: dict[str, Any] = {**OF, "version": "beside"}
    body = {**ONE_PARCEL, "defaults": {"late_per_day": {"default": 7}, "load_price": {"10": 900}}}
    story.send("rule_set_proposed", **of, author="Ada", body=body)
    story.send("rule_set_approved", **of, approver="Grace")
    story.send("rule_set_activated", **of, mode="shadow")
    some_day(story, Random(seed))
    shard, shadows, compared = Shard(0), Shadows(), 0
    for encoded in story.entries:
        entry = orjson.loads(encoded)
        for told in shadows.beside(shard, entry):
            if entry["input"]["type"] != "order_placed":
                continue
            twin = restored(snapshot_of(shard, {}), shard.config)
            activated: Any = deepcopy(entry["input"])
            activated |= {"type": "rule_set_activated", "data": of, "id": "activated"}
            activated["origin"][0] = "elsewhere"
            decide(twin, activated)
            assert twin.markets["US"].rules.version == "beside"
            events: Any = decide(twin, entry["input"])
            (plan,) = [one for one in events if one["type"] == "order_allocated"]
            assert plan["decision"] == told["decision"]
            compared += 1
        fold(shard, entry)
    assert compared > 5


def by_node(fulfillments: list[dict[str, Any]]) -> list[tuple[str, dict[str, int]]]:
    return [
        (one["node_id"], {line["line_id"]: line["quantity"] for line in one["lines"]})
        for one in fulfillments
    ]


def shapes_of(entry: dict[str, Any], told: dict[str, Any]) -> set[str]:
    """What is special about an order that was accepted."""
    types = {event["type"] for event in entry["events"]}
    shapes = types & {"order_cancelled", "fulfillment_planned"}
    if told["backordered"]:
        shapes.add("waits")
    if entry["input"]["type"] == "clock_ticked":
        shapes.add("waited for an item")
    return shapes


def test_rules_equal_to_the_active_ones_decide_every_order_the_same() -> None:
    seen: set[str] = set()
    for seed in range(8):
        story = Story()
        for version in ("active", "shadow"):
            of: dict[str, Any] = {**OF, "version": version}
            body = BODIES[seed % len(BODIES)]
            story.send("rule_set_proposed", **of, author="Ada", body=body)
            story.send("rule_set_approved", **of, approver="Grace")
            story.send("rule_set_activated", **of, mode=version)
        a_day_of_many_shapes(story, Random(seed))
        shard, shadows, compared = Shard(0), Shadows(), 0
        for encoded in story.entries:
            entry: Any = orjson.loads(encoded)
            for told in shadows.beside(shard, entry):
                events, active, shapes = entry["events"], told["active"], shapes_of(entry, told)
                event = events[active["n"]]
                assert told["same"], (seed, told)
                for name in ("fulfillments", "backordered", "costs_minor"):
                    assert told[name] == active[name], (seed, name)
                planned, asked = by_node(active["fulfillments"]), by_node(event["fulfillments"])
                assert planned[: len(asked)] == asked
                if planned != asked:
                    work = ["plan", "US", f"web/{told['order_id']}"]
                    assert {"type": "work_queued", "work": work} in events
                    shapes.add("several entries")
                assert orjson.loads(event["decision"]) == {
                    **orjson.loads(told["decision"]),
                    "rule_set": "active",
                }
                seen |= shapes
                compared += 1
            fold(shard, entry)
        assert compared > 15, seed
    assert len(seen) == 5, seen
