"""Rule sets: which strategy decides, what is refused, and how a version becomes the active one."""
# ruff: noqa: ANN401, E501 - the fields of events are any JSON; a row stays on one line

import timeit
from copy import deepcopy
from pathlib import Path
from random import Random
from typing import Any

import orjson
import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as some

from events.rules import Body
from orchestrator.core.sourcing.parcels import Limits
from orchestrator.core.sourcing.rule_checks import Defined, Known, check
from orchestrator.core.sourcing.strategies import DEFAULT, DEFAULT_BODY, Facts, RuleSet
from tests.core.story import Story

EXAMPLE = Path(__file__).with_name("example_rules.yaml")
ITEMS: dict[str, dict[str, Any]] = {
    "A1": {
        "sku": "A1",
        "category": "fresh",
        "weight_g": 500,
        "attributes": {"temperature": "cold"},
    },
    "B2": {"sku": "B2", "category": "toys", "weight_g": 100, "value_minor": 700},
    "C3": {"sku": "C3"},
}


def example() -> dict[str, Any]:
    """The issue's example, as JSON."""
    read = yaml.safe_load(EXAMPLE.read_text(encoding="utf-8"))
    body: dict[str, Any] = orjson.loads(orjson.dumps(read, option=orjson.OPT_NON_STR_KEYS))
    return body


def order(**more: Any) -> dict[str, Any]:
    return {
        "channel": "web",
        "placed_at": "2026-11-22T10:00:00Z",
        "ship_to": {"country": "US", "region": "MA", "postal_code": "02108-1234"},
        "lines": [
            {"line_id": "1", "sku": "A1", "quantity": 2, "unit_price_minor": 900},
            {"line_id": "2", "sku": "B2", "quantity": 1},
        ],
        **more,
    }


def rules(*strategies: dict[str, Any], **defaults: Any) -> RuleSet:
    body, problems = check({"defaults": defaults, "strategies": list(strategies)}, None)
    assert body is not None, problems
    return RuleSet("1", body, "America/New_York")


def chosen(when: dict[str, Any], **more: Any) -> bool:
    """Whether a strategy with these conditions decides the order."""
    strategy, _, _ = rules({"name": "it", "when": when}).choose(Facts(order(**more), ITEMS))
    return strategy.name == "it"


def problems(raw: dict[str, Any], known: Known | None = None) -> dict[str, str]:
    return {one["path"]: one["detail"] for one in check(raw, known)[1]}


# which strategy decides


HOLDS: list[dict[str, Any]] = [
    {"channel": "web"},
    {"channel": ["phone", "web"]},
    {"service_level": "standard"},
    {"country": "US"},
    {"region": "ma"},
    {"postal_prefix": ["90", "021"]},
    {"postal_prefix": "02-108 12"},
    {"sku": "B2"},
    {"category": ["toys", "books"]},
    {"attribute": {"temperature": "cold"}},
    {"attribute": {"gift": ["yes"]}},
    {"attribute": {"engraved": "Ada"}},
    {"order_value": {"min": 2500, "max": 2500}},
    {"weight_g": {"max": 1100}},
    {"weight_g": {"min": 1100}},
    {"priority": {"min": 0, "max": 0}},
    {"quantity": {"min": 3, "max": 3}},
    {"placed": {"from": "2026-11-22", "until": "2026-11-22"}},
]
FAILS: list[dict[str, Any]] = [
    {"channel": "phone"},
    {"service_level": ["express"]},
    {"country": "CA"},
    {"region": "NY"},
    {"postal_prefix": "0210812345"},
    {"sku": "C3"},
    {"category": "books"},
    {"attribute": {"temperature": "warm"}},
    {"attribute": {"temperature": "cold", "gift": "no"}},
    {"order_value": {"min": 2501}},
    {"order_value": {"max": 2499}},
    {"weight_g": {"max": 1099}},
    {"priority": {"min": 1}},
    {"quantity": {"max": 2}},
    {"placed": {"from": "2026-11-23"}},
    {"placed": {"until": "2026-11-21"}},
]
MORE: dict[str, Any] = {"attributes": {"gift": "yes"}}


def _engraved() -> dict[str, Any]:
    placed = order(**MORE)
    placed["lines"][0]["attributes"] = {"engraved": "Ada"}
    return placed


@pytest.mark.parametrize("when", HOLDS, ids=str)
def test_a_condition_that_holds_decides_and_one_under_not_does_not(when: dict[str, Any]) -> None:
    assert chosen(when, **_engraved())
    assert not chosen({"not": when}, **_engraved())


@pytest.mark.parametrize("when", FAILS, ids=str)
def test_a_condition_that_fails_passes_over_and_one_under_not_does_not(
    when: dict[str, Any],
) -> None:
    assert not chosen(when, **_engraved())
    assert chosen({"not": when}, **_engraved()) == (len(when.get("attribute", ())) < 2)


def test_every_condition_must_hold_and_none_under_not() -> None:
    both = {"channel": "web", "country": "US"}
    assert chosen(both)
    assert not chosen({**both, "country": "CA"})
    assert not chosen({**both, "not": {"sku": "ZZ", "category": "fresh"}})


def test_a_day_is_the_markets() -> None:
    late = "2026-11-23T04:59:59.999Z"  # still the 22nd in New York
    assert chosen({"placed": {"until": "2026-11-22"}}, placed_at=late)
    assert not chosen({"placed": {"until": "2026-11-22"}}, placed_at="2026-11-23T05:00:00Z")


def test_the_first_that_holds_decides_and_says_why_and_why_not_the_others() -> None:
    found = rules(
        {"name": "vip", "when": {"channel": "phone", "priority": {"min": 5}}},
        {"name": "dear", "when": {"order_value": {"min": 2000}, "not": {"region": ["AK", "HI"]}}},
        {"name": "rest"},
    )
    strategy, why, passed_over = found.choose(Facts(order(), ITEMS))
    assert strategy.name == "dear"
    assert why == ["order_value is at least 2000", "region is not AK or HI"]
    assert passed_over == [["vip", "channel is not phone"]]


def test_where_no_conditions_hold_the_last_resort_decides() -> None:
    found = rules({"name": "vip", "when": {"channel": "phone"}})
    strategy, why, passed_over = found.choose(Facts(order(), ITEMS))
    assert (strategy.name, strategy.objective, why) == ("default", None, [])
    assert passed_over == [["vip", "channel is not phone"]]


def test_a_lines_worth_is_its_total_else_its_price_else_its_items_value() -> None:
    placed = order(lines=[{"line_id": "1", "sku": "B2", "quantity": 2}])
    assert Facts(placed, ITEMS).value_minor == 1400
    placed["lines"][0]["unit_price_minor"] = 500
    assert Facts(placed, ITEMS).value_minor == 1000
    placed["lines"][0]["total_minor"] = 900
    assert Facts(placed, ITEMS).value_minor == 900


def test_an_order_of_unknown_items_can_still_be_looked_at() -> None:
    assert not chosen({"category": "toys", "weight_g": {"min": 1}}, lines=order()["lines"][:0])


# what a rule set says of nodes, stock and money


class Place:
    def __init__(self, node_id: str, kind: str = "store", *groups: str, **more: Any) -> None:
        self.node_id = node_id
        self.kind = kind
        self.groups = frozenset(groups)
        self.capabilities = frozenset(more.get("capabilities", ()))
        self.country = more.get("country", "US")
        self.region = more.get("region")


def test_the_example_is_compiled_as_it_reads() -> None:
    found = RuleSet("7", Body.model_validate(example()), "America/New_York")
    express, everything = found.strategies["cold-express"], found.strategies["everything"]
    assert express.else_ is everything
    assert (express.objective, express.max_legs, express.extra_leg_minor) == (None, 2, 100)
    assert (express.leg_min_value_minor, express.leg_min_units) == (1500, None)
    assert express.parcel == Limits(20000, 60000, (("hazmat", "food"),))
    assert (express.unsourced, express.unsourced_days) == ("backorder", 14)
    fences = express.fences
    assert (fences.max_m, fences.reach_promise, fences.min_shelf_days) == (800_000, True, 5)
    assert fences.cross_border
    shop = Place("S1", "store", "stores", capabilities=["cold"])
    assert fences.barred(shop) == []
    assert fences.keep(shop) == 2
    assert fences.keep(Place("W1", "warehouse")) == 0
    assert fences.barred(Place("S12", "store", "stores")) == ["nodes", "capability"]
    assert fences.barred(Place("X", "supplier", capabilities=["cold"])) == ["nodes"]
    assert everything.objective == [
        ("distance", False, []),
        ("fewest_legs", False, []),
        ("on_hand", True, []),
    ]
    assert everything.quantity == "never"
    assert found.safety_stock(shop, ITEMS["A1"]) == 2
    assert found.safety_stock(shop, ITEMS["B2"]) == 0
    assert found.safety_stock(Place("W1", "warehouse"), ITEMS["A1"]) == 0
    assert (found.threshold("marketplace", ITEMS["C3"]), found.threshold("web", ITEMS["C3"])) == (
        5,
        0,
    )
    assert [found.late_per_day(level) for level in ("standard", "expedited", "other")] == [
        300,
        1500,
        500,
    ]
    assert [found.load_price(percent) for percent in (0, 49, 50, 69, 70, 90, 100)] == [
        0, 0, 20, 20, 90, 300, 300,
    ]  # fmt: skip
    (pool,) = found.pools
    assert (pool.pool_id, pool.channel, pool.units, "A1" in pool.skus) == ("xmas", "web", 500, True)
    assert (pool.from_ms, pool.until_ms) == (1_796_101_200_000, 1_798_174_800_000)  # midnights EST


def test_of_thresholds_and_safety_stocks_the_largest_counts() -> None:
    found = rules(
        safety_stock=[{"units": 1}, {"sku": "A1", "units": 4}, {"category": "fresh", "units": 2}],
        thresholds={"web": [{"units": 1}, {"sku": ["A1"], "units": 3}]},
    )
    assert found.safety_stock(Place("S"), ITEMS["A1"]) == 4
    assert found.safety_stock(Place("S"), ITEMS["C3"]) == 1
    assert (found.threshold("web", ITEMS["A1"]), found.threshold("web", ITEMS["B2"])) == (3, 1)


def test_an_entry_of_items_and_categories_is_about_those_that_are_both() -> None:
    entry = {"sku": ["A1", "C3"], "category": ["fresh", "frozen"], "units": 2}
    found = rules(safety_stock=[entry], thresholds={"web": [entry]})
    fresh, dry = ({"sku": "A1", "category": category} for category in ("fresh", "dry"))
    assert [found.safety_stock(Place("S"), item) for item in (fresh, dry)] == [2, 0]
    assert [found.threshold("web", item) for item in (fresh, dry)] == [2, 0]
    assert found.threshold("web", {"sku": "A1"}) == 0


class Asked(dict[str, Any]):
    """An item that counts how often it is asked for something."""

    times = 0

    def __getitem__(self, key: str) -> Any:
        self.times += 1
        return super().__getitem__(key)

    def get(self, key: str, default: Any = None) -> Any:
        self.times += 1
        return super().get(key, default)


def test_safety_stock_of_an_item_is_found_among_any_number_of_entries() -> None:
    """An ERP's list has one for each item; going through it made each order dearer."""
    asked = []
    for entries in (1, 1_000):
        found = rules(
            safety_stock=[{"sku": f"K{n}", "units": n + 1} for n in range(entries)],
            thresholds={"web": [{"sku": f"K{n}", "units": n + 1} for n in range(entries)]},
        )
        item = Asked(sku="K0")
        assert (found.safety_stock(Place("S"), item), found.threshold("web", item)) == (1, 1)
        asked.append(item.times)
    assert asked[0] == asked[1]


def test_out_wins_over_in() -> None:
    fence = {"nodes": {"group": "shops", "not": {"node": "S2", "region": "ak"}}}
    (found,) = rules({"name": "it", "fences": fence}).strategies.values()
    inside = [Place("S1", "store", "shops"), Place("S2", "store", "shops"), Place("S3", "store")]
    inside.append(Place("S4", "store", "shops", region="AK"))
    assert [place.node_id for place in inside if not found.fences.barred(place)] == ["S1"]


def test_the_built_in_rule_set_is_right_and_fences_nothing() -> None:
    assert check(DEFAULT_BODY, Known(frozenset(), frozenset()))[1] == []
    strategy, _, _ = DEFAULT.choose(Facts(order(), ITEMS))
    assert (strategy.name, strategy.objective, strategy.quantity) == ("default", None, "when_short")
    assert strategy.fences.barred(Place("A", "supplier", country="JP")) == []
    assert strategy.fences.cross_border
    assert DEFAULT.late_per_day("any") == 500


def test_choosing_costs_a_few_microseconds() -> None:
    when = example()["strategies"][0]["when"]
    found = rules(
        {"name": "a", "when": {**when, "channel": "phone"}},
        {"name": "b", "when": {**when, "channel": "shop"}},
        {"name": "c", "when": {**when, "service_level": "standard"}},
    )
    facts = Facts(order(), ITEMS)
    assert found.choose(facts)[0].name == "c"
    seconds = min(timeit.repeat(lambda: found.choose(facts), number=2_000, repeat=5)) / 2_000
    assert seconds < 20e-6  # 2 us on an idle core; the limit leaves room for a busy one


# what is refused


def test_the_example_is_right() -> None:
    known = Known(frozenset({"S12"}), frozenset({"stores"}))
    assert check(example(), known)[1] == []


WRONG: list[tuple[str, Any, str, str]] = [
    ("strategies[0].hodl", 3, "strategies[0].hodl", 'did you mean "hold"'),
    ("strategies[0].when.order_value", {"min": 5, "max": 1}, "strategies[0].when.order_value", "can't hold"),
    ("strategies[0].when.order_value", {}, "strategies[0].when.order_value", "asks for nothing"),
    ("strategies[0].when.not.service_level", "expedited", "strategies[0].when.not.service_level", "both required and excluded"),
    ("strategies[0].when.not.order_value", {"min": 100}, "strategies[0].when.not.order_value", "excludes all"),
    ("strategies[0].when.not.attribute", {"temperature": ["cold"]}, "strategies[0].when.not.attribute.temperature[0]", "both required and excluded"),
    ("strategies[0].when.channel", [], "strategies[0].when.channel", "is empty"),
    ("strategies[0].when.country", [False], "strategies[0].when.country[0]", "put it in quotes"),
    ("strategies[0].when.postal_prefix", 17, "strategies[0].when.postal_prefix", "put it in quotes"),
    ("strategies[0].when.placed", {"from": "2026-12-02", "until": "2026-12-01"}, "strategies[0].when.placed", "never comes"),
    ("strategies[0].fences.max_km", -1, "strategies[0].fences.max_km", "from 1 to"),
    ("strategies[0].fences.reach_promise", "yes", "strategies[0].fences.reach_promise", "write true or false"),
    ("strategies[0].fences.nodes.node", "S13", "strategies[0].fences.nodes.node", 'no node "S13"'),
    ("strategies[0].fences.nodes.not.group", ["shops"], "strategies[0].fences.nodes.not.group[0]", 'group "shops"'),
    ("strategies[0].fences.nodes.not.kind", ["store", "warehouse"], "strategies[0].fences.nodes.not.kind", "no node is left"),
    ("strategies[0].fences.keep.group", "shops", "strategies[0].fences.keep.group", 'group "shops"'),
    ("strategies[0].split.cost_per_extra_leg", -1, "strategies[0].split.cost_per_extra_leg", "was -1"),
    ("strategies[0].split.leg_min", {}, "strategies[0].split.leg_min", "asks for nothing"),
    ("strategies[0].unsourced", ["cancel", "backorder"], "strategies[0].unsourced", "alone"),
    ("strategies[0].parcel.apart", [["a", "a"]], "strategies[0].parcel.apart[0]", "from itself"),
    ("strategies[0].else", "nobody", "strategies[0].else", "no strategy"),
    ("strategies[0].else", "cold-express", "strategies[0].else", "leads back"),
    ("strategies[0].name", "everything", "strategies[1].name", "stands twice"),
    ("strategies[0].name", "default", "strategies[0].name", "no conditions hold"),
    ("strategies[1].objective", ["nearest"], "strategies[1].objective[0]", "must be one of distance"),
    ("strategies[1].objective", ["distance", "distance"], "strategies[1].objective[1]", "twice"),
    ("strategies[1].objective", ["sequence"], "strategies[1].objective[0]", "{sequence: [A, B]}"),
    ("strategies[1].objective", [{"sequence": ["S13"]}], "strategies[1].objective[0].sequence[0]", 'no node "S13"'),
    ("strategies[1].objective", [{"on_hand": "up"}], "strategies[1].objective[0]", '"asc" or "desc"'),
    ("defaults.late_per_day.standard", -5, "defaults.late_per_day.standard", "was -5"),
    ("defaults.load_price", {"101": 5}, "defaults.load_price.101", "percentage"),
    ("defaults.safety_stock[0].units", -5, "defaults.safety_stock[0].units", "was -5"),
    ("defaults.safety_stock[0].nodes.group", "shops", "defaults.safety_stock[0].nodes.group", 'group "shops"'),
    ("defaults.pools[0].until", "2026-11-01", "defaults.pools[0]", "never comes"),
    ("rules", {}, "rules", "not a field"),
]  # fmt: skip


LEAVES_NOBODY: list[tuple[dict[str, Any], str, str]] = [
    ({"nodes": {"not": {"kind": ["warehouse", "store"]}}}, ".nodes", "leaves no node"),
    ({"nodes": {"not": {"node": ["S1", "S2"]}}}, ".nodes", "leaves no node"),
    ({"nodes": {"node": "S1", "not": {"group": "shops"}}}, ".nodes", "leaves no node"),
    ({"nodes": {"region": "Massachusettz"}}, ".nodes", "leaves no node"),
    ({"capability": ["coldd"]}, ".capability", 'no node of the market has "coldd"'),
    ({"nodes": {"node": "S1"}, "capability": "cold"}, "", "passes both nodes and capability"),
]


@pytest.mark.parametrize(("fences", "where", "detail"), LEAVES_NOBODY, ids=str)
def test_fences_that_no_node_of_the_market_passes_are_refused(
    fences: dict[str, Any], where: str, detail: str
) -> None:
    sites = [
        Defined("S1", "store", frozenset({"shops"}), frozenset(), "US", "MA"),
        Defined("S2", "warehouse", frozenset(), frozenset({"cold"}), "US", "NY"),
    ]
    body = {"strategies": [{"name": "a", "fences": fences}]}
    found = problems(body, Known.of(sites, fences=True))
    assert list(found) == [f"strategies[0].fences{where}"]
    assert detail in found[f"strategies[0].fences{where}"]


def test_a_node_without_a_region_may_be_in_any_that_a_fence_names() -> None:
    address = {"country": "US", "postal_code": "02108"}  # which says the region
    site = Defined.of({"node_id": "S1", "kind": "store", "address": address})
    known = Known.of([site], fences=True)
    massachusetts = {"region": ["MA"]}
    for nodes in (massachusetts, {"not": {"region": ["NY"]}}):
        body = {"strategies": [{"name": "a", "fences": {"nodes": nodes}}]}
        assert problems(body, known) == {}
    body = {"strategies": [{"name": "a", "fences": {"nodes": {**massachusetts, "country": "CA"}}}]}
    assert list(problems(body, known)) == ["strategies[0].fences.nodes"]


def test_a_rule_set_may_be_proposed_before_the_nodes_that_it_is_for() -> None:
    story = Story()
    story.node("BOS")
    story.rules({"name": "stores", "fences": {"nodes": {"kind": "store"}}})


def test_an_empty_list_of_an_attribute_is_told_once() -> None:
    body = {"strategies": [{"name": "a", "when": {"attribute": {"temperature": []}}}]}
    assert list(problems(body)) == ["strategies[0].when.attribute.temperature"]


def test_an_items_value_in_another_currency_is_not_taken_for_the_orders() -> None:
    lines = [{"line_id": "1", "sku": "A1", "quantity": 2}]
    for currency, value_minor in (("USD", 2_000), ("JPY", 0)):
        item = {"sku": "A1", "value_minor": 1_000, "currency": "USD"}
        facts = Facts(order(currency=currency, lines=lines), {"A1": item})
        assert facts.value_minor == value_minor


def put(body: dict[str, Any], path: str, value: object) -> dict[str, Any]:
    steps = path.replace("[", ".[").split(".")
    at: Any = body
    for step in steps[:-1]:
        at = at[int(step[1:-1])] if step.startswith("[") else at.setdefault(step, {})
    at[steps[-1]] = value
    return body


KNOWN = Known(frozenset({"S12"}), frozenset({"stores"}))


@pytest.mark.parametrize(("path", "value", "where", "detail"), WRONG, ids=lambda one: str(one)[:40])
def test_what_is_wrong_is_named_with_its_path(
    path: str, value: object, where: str, detail: str
) -> None:
    found = problems(put(example(), path, value), KNOWN)
    assert detail in found[where]
    assert len(found) == 1, found


def test_everything_wrong_is_said_at_once_even_where_parts_do_not_parse() -> None:
    body = example()
    for path, value, _, _ in WRONG[:1] + WRONG[4:5] + WRONG[10:13]:
        put(body, path, value)
    put(body, "defaults.pools[0].until", "2026-11-01")
    put(body, "defaults.pools[0].sku", [])
    body["defaults"]["pools"].append({"id": "xmas", "sku": "A", "channel": "WEB", "units": 0})
    assert list(problems(body, KNOWN)) == [
        "defaults.pools[0].sku",
        "defaults.pools[1].channel",
        "defaults.pools[1].units",
        "strategies[0].fences.max_km",
        "strategies[0].fences.reach_promise",
        "strategies[0].hodl",
        "defaults.pools[0]",
        "defaults.pools[1].id",
        "strategies[0].when.not.order_value",
        "strategies[0].fences.nodes.node",
    ]


def test_a_strategy_that_no_order_comes_to_is_refused() -> None:
    body = example()
    body["strategies"].append({"name": "late", "when": {"channel": "web"}})
    assert "can never be reached" in problems(body)["strategies[2]"]
    body["strategies"][1]["else"] = "late"
    assert problems(body) == {}
    twin = deepcopy(body["strategies"][0]) | {"name": "twin"}
    twin["when"]["service_level"] = "expedited"
    body["strategies"].insert(1, twin)
    assert "the same conditions" in problems(body)["strategies[1]"]


BETWEEN_THEM: list[list[dict[str, Any]]] = [
    [{"country": "US"}, {"not": {"country": "US"}}, {}],
    [{"not": {"country": "US"}}, {"country": ["US", "CA"]}, {}],
    [{"channel": "web"}, {"channel": "app"}, {"channel": ["app", "web"], "sku": "A"}],
    [{"region": "ny"}, {"not": {"region": ["NY"]}}, {"country": "US"}],
    [{"postal_prefix": "1"}, {"not": {"postal_prefix": "10"}}, {}],
    [{"sku": ["A", "B"]}, {"not": {"sku": "A"}}, {"priority": {"min": 1}}],
    [
        {"attribute": {"a": "x", "b": "y"}},
        {"not": {"attribute": {"a": "x"}}},
        {"attribute": {"b": "y"}},
    ],
    [{"order_value": {"max": 100}}, {"order_value": {"min": 101}}, {}],
    [
        {"order_value": {"min": 51, "max": 100}},
        {"order_value": {"max": 50}},
        {"order_value": {"min": 101}},
        {},
    ],
    [{"quantity": {"max": 2}}, {"not": {"quantity": {"max": 2}}}, {"channel": "web"}],
    [{"not": {"weight_g": {"min": 9}}}, {"weight_g": {"min": 5}}, {"weight_g": {"min": 0}}],
    [{"priority": {"max": -1}}, {"priority": {"min": 0, "max": 5}}, {"priority": {"max": 3}}],
]  # the last of each is decided by the others
APART: list[list[dict[str, Any]]] = [
    [{"country": "US"}, {"not": {"country": ["US", "CA"]}}, {}],
    [{"country": "US"}, {"not": {"country": "US"}, "channel": "web"}, {}],
    [{"country": "US", "channel": "web"}, {"not": {"country": "US"}}, {}],
    [{"sku": "A"}, {"sku": "B"}, {"sku": ["A", "B", "C"]}],
    [{"sku": "A"}, {"not": {"sku": ["A", "B"]}}, {}],
    [{"order_value": {"max": 100}}, {"order_value": {"min": 102}}, {}],
    [{"priority": {"max": -2}}, {"priority": {"min": 0}}, {"priority": {"max": 3}}],
    [{"attribute": {"a": "x"}}, {"not": {"attribute": {"b": "x"}}}, {}],
    [{"channel": "web", "country": "US"}, {"not": {"channel": "web"}, "country": "US"}, {}],
]


def named(conditions: list[dict[str, Any]]) -> dict[str, Any]:
    return {"strategies": [{"name": f"s{n}", "when": when} for n, when in enumerate(conditions)]}


@pytest.mark.parametrize("conditions", BETWEEN_THEM, ids=str)
def test_a_strategy_whose_orders_earlier_ones_decide_between_them_is_refused(
    conditions: list[dict[str, Any]],
) -> None:
    found = problems(named(conditions))
    assert list(found) == [f"strategies[{len(conditions) - 1}]"]
    assert "those before it decide all its orders between them" in "".join(found.values())
    for one in range(len(conditions) - 1):  # all of them are needed
        assert problems(named(conditions[:one] + conditions[one + 1 :])) == {}


def every_order() -> list[Facts]:
    """Orders of a few channels, countries, items, attributes, priorities and units."""
    skus = ("A1", "A2", "B2", "C3")
    return [
        Facts(
            order(
                channel=channel,
                ship_to={"country": country, "postal_code": f"{n}{n}0"},
                lines=[
                    {"line_id": str(i), "sku": skus[i], "quantity": 1 + n % 2, **given}
                    for i in range(4)
                    if has >> i & 1
                ],
                priority=n - 1,
            ),
            {},
        )
        for channel in ("web", "app")
        for country in ("US", "CA")
        for has in range(1, 16)
        for n in range(4)
        for given in ({}, {"attributes": {"a": "x"}}, {"attributes": {"a": "y", "b": "x"}})
    ]


def some_conditions(luck: Random) -> dict[str, Any]:
    spans: list[dict[str, int]] = [{"max": 0}, {"min": 1}, {"min": 0, "max": 1}, {"max": 1}]
    when: dict[str, Any] = {
        "channel": luck.choice([["web"], ["app"], ["web", "app"]]),
        "country": luck.choice([["US"], ["CA"]]),
        "postal_prefix": luck.choice([["1"], ["11", "2"]]),
        "sku": luck.sample(["A1", "A2", "B2"], luck.choice([1, 2])),
        "attribute": {luck.choice("ab"): luck.choice([["x"], ["x", "y"]])},
        "priority": luck.choice(spans),
        "quantity": luck.choice([{"max": 2}, {"min": 3}, {"min": 2, "max": 4}]),
    }
    return {name: when[name] for name in luck.sample(list(when), luck.choice([0, 1, 1, 1, 2]))}


def test_no_order_comes_to_a_strategy_that_is_refused_for_that() -> None:
    luck, orders, refused = Random(1), every_order(), 0
    for _ in range(1_000):
        conditions = [some_conditions(luck) for _ in range(luck.choice([4, 5, 6]))]
        for when in conditions:
            if luck.random() < 0.4:
                barred = {
                    name: of for name, of in some_conditions(luck).items() if name not in when
                }
                when.update({"not": barred} if barred else {})
        found = {path for path, said in problems(named(conditions)).items() if "between" in said}
        if found:
            refused += 1
            compiled = RuleSet("1", Body.model_validate(named(conditions)), "UTC")
            asked = {compiled.choose(facts)[0].name for facts in orders}
            assert not {f"s{path[11:-1]}" for path in found} & asked, (conditions, found)
    assert refused > 10


@pytest.mark.parametrize("conditions", APART, ids=str)
def test_a_strategy_that_earlier_ones_leave_an_order_to_is_taken(
    conditions: list[dict[str, Any]],
) -> None:
    assert problems(named(conditions)) == {}


WIDER: list[tuple[dict[str, Any], dict[str, Any]]] = [
    ({"channel": ["web", "app"]}, {"channel": "web"}),
    ({"channel": "web"}, {"channel": "web", "sku": "A"}),
    ({"quantity": {"min": 1}}, {}),
    ({"order_value": {"min": 0}}, {"channel": "web"}),
    ({"priority": {"min": 2}}, {"priority": {"min": 3, "max": 5}}),
    ({"region": ["ny", "nj"]}, {"region": "NY"}),
    ({"postal_prefix": ["1", "2"]}, {"postal_prefix": ["10", "2"]}),
    ({"attribute": {"a": ["x", "y"]}}, {"attribute": {"a": "x", "b": "z"}}),
    ({"not": {"sku": "A"}}, {"not": {"sku": ["A", "B"]}}),
    ({"not": {"country": "CA"}}, {"country": "US"}),
    ({"not": {"attribute": {"a": "x"}}}, {"not": {"attribute": {"a": ["x", "y"]}}}),
    ({"not": {"weight_g": {"min": 9}}}, {"not": {"weight_g": {"min": 5}}}),
    ({"placed": {"from": "2026-01-01"}}, {"placed": {"from": "2026-02-01"}}),
]


@pytest.mark.parametrize(("wide", "narrow"), WIDER, ids=str)
def test_a_strategy_whose_orders_an_earlier_one_decides_is_refused(
    wide: dict[str, Any], narrow: dict[str, Any]
) -> None:
    def said(*conditions: dict[str, Any]) -> dict[str, str]:
        named = [{"name": f"s{n}", "when": when} for n, when in enumerate(conditions)]
        return problems({"strategies": named})

    found = said(wide, narrow)
    assert list(found) == ["strategies[1]"]
    assert 'decided by "s0" before it' in found["strategies[1]"]
    assert said(narrow, wide) == {} or narrow == {}
    assert said({**wide, "service_level": "express"}, narrow) == {}
    if wide.keys() != {"not"}:
        assert said({**wide, "not": {"category": "x"}}, narrow) == {}


@pytest.mark.parametrize(
    ("when", "path"),
    [
        ({"quantity": {"max": 0}}, "quantity"),
        ({"not": {"quantity": {"min": 0}}}, "not.quantity"),
        ({"not": {"quantity": {"min": 1}}}, "not.quantity"),
        ({"not": {"order_value": {"min": 0}}}, "not.order_value"),
        ({"postal_prefix": ["10", " "]}, "postal_prefix[1]"),
        ({"not": {"postal_prefix": "-"}}, "not.postal_prefix"),
    ],
    ids=str,
)
def test_conditions_that_no_order_meets_are_refused(when: dict[str, Any], path: str) -> None:
    found = problems({"strategies": [{"name": "a", "when": when}]})
    assert list(found) == [f"strategies[0].when.{path}"]


def test_what_holds_for_some_orders_is_taken() -> None:
    for when in (
        {"quantity": {"max": 1}},
        {"order_value": {"max": 0}},
        {"not": {"quantity": {"min": 2}}},
        {"not": {"priority": {"min": 0}}},
        {"not": {"weight_g": {"min": 1}}},
    ):
        assert problems({"strategies": [{"name": "a", "when": when}]}) == {}, when


def test_a_least_leg_with_a_wrong_value_is_told_once() -> None:
    split = {"leg_min": {"value": -1}}
    found = problems({"strategies": [{"name": "a", "split": split}]})
    assert list(found) == ["strategies[0].split.leg_min.value"]


def test_conditions_that_do_not_parse_make_no_strategy_unreachable() -> None:
    body = example()
    body["strategies"][0]["when"] = {"channel": "WEB"}
    assert list(problems(body)) == ["strategies[0].when.channel"]


def test_a_body_full_of_mistakes_is_cut() -> None:
    body = {"strategies": [{"name": str(n), "x": 1} for n in range(150)]}
    found = check(body, None)[1]
    assert len(found) == 101
    assert found[-1] == {"path": "", "detail": "and 199 more"}


JSON = some.recursive(
    some.none() | some.booleans() | some.integers(-9, 9) | some.sampled_from(["a", "cost", "US"]),
    lambda inner: (
        some.lists(inner, max_size=3)
        | some.dictionaries(some.sampled_from(["name", "units", "not", "node", "min"]), inner)
    ),
    max_leaves=6,
)


@settings(deadline=None)  # of a busy machine it says nothing
@given(some.lists(some.tuples(some.sampled_from([row[0] for row in WRONG]), JSON), max_size=4))
def test_whatever_stands_where_it_is_checked_and_what_passes_compiles(
    changes: list[tuple[str, object]],
) -> None:
    body = example()
    for path, value in changes:
        try:
            put(body, path, value)
        except (TypeError, AttributeError, LookupError, ValueError):
            continue  # an earlier change left no such place
    parsed, found = check(body, KNOWN)
    assert (parsed is None) == bool(found)
    if parsed is not None:
        RuleSet("1", parsed, "UTC").choose(Facts(order(), ITEMS))


def test_a_wrong_name_and_what_is_missing_below_it_are_both_said() -> None:
    for channel in ("Web", "", "[key]"):
        body = {"defaults": {"thresholds": {channel: [{"sku": "A"}, 3, {"category": "x"}]}}}
        details = [one["detail"] for one in check(body, None)[1]]
        assert sum("is missing" in detail for detail in details) == 2, details
        assert any("must be named by" in detail for detail in details), details


def places(at: Any) -> list[tuple[Any, Any]]:
    """Every place in a body: what holds it, and its name or number there."""
    steps = list(at) if isinstance(at, dict) else range(len(at)) if isinstance(at, list) else []
    return [(at, step) for step in steps] + [one for step in steps for one in places(at[step])]


NAMES = some.sampled_from(["", "Web", "[key]", "default", "units", "not", "é", "1"])
FAULTS = some.tuples(
    some.integers(0, 9_999), some.sampled_from(["value", "name", "without"]), NAMES, JSON
)


@settings(deadline=None)  # of a busy machine it says nothing
@given(some.lists(FAULTS, min_size=1, max_size=5))
def test_several_faults_anywhere_in_a_body_are_told_and_raise_nothing(
    faults: list[tuple[int, str, str, object]],
) -> None:
    body = example()
    body["defaults"]["thresholds"]["app"] = [{"sku": "A1", "units": 2}, {"units": 1}]
    for number, kind, name, value in faults:
        everywhere = places(body)
        holder: Any
        step: Any
        holder, step = everywhere[number % len(everywhere)] if everywhere else (body, "x")
        if kind == "value":
            holder[step] = deepcopy(value)
        else:
            was = holder.pop(step) if isinstance(holder, list) else holder.pop(step, None)
            if kind == "name" and isinstance(holder, dict):
                holder[name] = was
    parsed, found = check(body, KNOWN)
    assert (parsed is None) == bool(found)


# proposed, approved, activated


def shop() -> Story:
    story = Story()
    story.node("S12", groups=["stores"])
    story.node("CHI", capabilities=["cold"])
    return story


def propose(story: Story, version: int | str = 7, body: Any = None, **more: Any) -> Any:
    asked = {"author": "Ann", "body": example() if body is None else body, **more}
    return story.send("rule_set_proposed", market_id="US", version=version, **asked)


def approve(story: Story, version: int | str = 7, approver: str = "Bo") -> Any:
    return story.send("rule_set_approved", market_id="US", version=version, approver=approver)


def activate(story: Story, version: int | str = 7, **more: Any) -> Any:
    return story.send("rule_set_activated", market_id="US", version=version, **more)


def active(story: Story) -> str:
    return story.shard.markets["US"].rules.version


def statuses(story: Story) -> dict[str, str]:
    return {name: one.status for name, one in story.shard.markets["US"].rule_versions.items()}


def refusal(story: Story) -> list[dict[str, str]]:
    (refused,) = story.told("rule_set_refused")
    found: list[dict[str, str]] = refused["problems"]
    return found


def test_a_version_decides_once_it_is_approved_and_activated() -> None:
    story = shop()
    before = story.shard.markets["US"].network_version
    assert active(story) == "default-1"
    propose(story)
    approve(story)
    assert (active(story), story.shard.markets["US"].network_version) == ("default-1", before)
    activate(story)
    assert active(story) == "7"
    assert story.shard.markets["US"].network_version > before
    propose(story, 8, {"strategies": []})
    approve(story, 8)
    activate(story, 8)
    assert (active(story), statuses(story)) == ("8", {"7": "superseded", "8": "active"})
    activate(story, 7)
    assert (active(story), statuses(story)) == ("7", {"7": "active", "8": "superseded"})


def test_the_same_again_changes_nothing() -> None:
    story = shop()
    propose(story)
    same = example()
    same["strategies"][0]["when"]["service_level"] = "expedited"
    propose(story, "7", same)
    assert [event["type"] for event in story.events] == ["input_repeated"]
    for ask in (approve, activate):
        ask(story)
        assert story.told("rule_set_changed")
        ask(story)
        assert [event["type"] for event in story.events] == ["input_repeated"]
    assert story.exceptions() == []


def test_a_version_that_exists_with_other_content_is_refused() -> None:
    story = shop()
    propose(story)
    propose(story, body={"strategies": []})
    assert refusal(story)[0]["path"] == "version"
    propose(story, author="Cy")
    assert "by Ann" in refusal(story)[0]["detail"]
    assert statuses(story) == {"7": "proposed"}
    assert story.exceptions() == ["rule_set"]


def test_the_name_of_the_built_in_rule_set_is_taken() -> None:
    story = shop()
    propose(story, "default-1")
    assert "built-in" in refusal(story)[0]["detail"]


def test_a_wrong_body_is_refused_with_every_problem_and_the_active_version_stands() -> None:
    story = shop()
    propose(story)
    approve(story)
    activate(story)
    body = put(put(example(), "strategies[0].fences.max_km", -1), "strategies[1].else", "none")
    propose(story, 8, put(body, "strategies[0].fences.nodes.not.node", ["S13"]))
    assert [one["path"] for one in refusal(story)] == [
        "body.strategies[0].fences.max_km",
        "body.strategies[0].fences.nodes.not.node[0]",
        "body.strategies[1].else",
    ]
    (opened,) = story.told("exception_opened")
    assert (opened["kind"], opened["rule_set"]) == ("rule_set", "8")
    assert "max_km" in opened["detail"]
    assert "no strategy" in opened["detail"]
    assert (active(story), statuses(story)) == ("7", {"7": "active"})


def test_an_exception_is_resolved_once_the_version_is_right() -> None:
    story = shop()
    propose(story, body={"strategy": []})
    propose(story, body={"strategies": 1})
    assert story.exceptions() == ["rule_set"]
    assert len(story.told("exception_resolved")) == 1
    propose(story)
    assert story.exceptions() == []


def test_an_activation_closes_what_is_open_about_other_versions() -> None:
    story = shop()
    propose(story, 6, {"strategy": []})
    propose(story)
    approve(story)
    assert story.exceptions() == ["rule_set"]
    activate(story)
    assert story.exceptions() == []


@pytest.mark.parametrize("approver", ["Ann", "ann", " ANN", "A nn", "A\u200bnn"])
def test_nobody_approves_their_own(approver: str) -> None:
    story = shop()
    propose(story)
    approve(story, approver=approver)
    assert refusal(story)[0]["path"] == "approver"
    assert statuses(story) == {"7": "proposed"}


def test_what_is_not_approved_is_not_activated() -> None:
    story = shop()
    propose(story)
    activate(story)
    assert "not approved" in refusal(story)[0]["detail"]
    assert active(story) == "default-1"


def test_what_nobody_proposed_is_neither_approved_nor_activated() -> None:
    story = shop()
    approve(story)
    assert "not known" in refusal(story)[0]["detail"]
    activate(story)
    assert "not known" in refusal(story)[0]["detail"]


def ready(*versions: int) -> Story:
    story = shop()
    for version in versions:
        propose(story, version, {"strategies": [{"name": f"v{version}"}]})
        approve(story, version)
    return story


def test_an_activation_in_the_future_waits_for_its_time() -> None:
    story = ready(7)
    story.now_ms = 1_796_101_200_000 - 10_000  # ten seconds before December in New York
    story.at(0)
    activate(story, **{"from": "2026-12-01"})
    assert (active(story), statuses(story)) == ("default-1", {"7": "scheduled"})
    activate(story, **{"from": "2026-12-01"})
    assert [event["type"] for event in story.events] == ["input_repeated"]
    story.at(9)
    assert active(story) == "default-1"
    story.at(1)
    assert (active(story), statuses(story)) == ("7", {"7": "active"})


def test_a_later_activation_replaces_a_scheduled_one() -> None:
    story = ready(7, 8, 9)
    activate(story, 7, **{"from": "2027-06-01T00:00:00Z"})
    activate(story, 8, **{"from": "2027-05-01T00:00:00Z"})
    assert statuses(story) == {"7": "approved", "8": "scheduled", "9": "approved"}
    activate(story, 9)
    assert statuses(story) == {"7": "approved", "8": "approved", "9": "active"}
    story.at(365 * 86_400)
    assert active(story) == "9"


def test_a_schedule_may_be_moved() -> None:
    story = ready(7)
    activate(story, **{"from": "2027-05-01T00:00:00Z"})
    activate(story, **{"from": "2027-06-01T00:00:00Z"})
    story.now_ms = 1_809_129_600_000 + 86_400_000  # the 2nd of May
    story.at(0)
    assert active(story) == "default-1"
    story.at(31 * 86_400)
    assert active(story) == "7"


def test_the_active_version_is_not_scheduled() -> None:
    story = ready(7)
    activate(story)
    activate(story, **{"from": "2030-01-01"})
    assert "active already" in refusal(story)[0]["detail"]


def test_a_rule_set_waits_for_its_market() -> None:
    story = Story()
    story.send(
        "rule_set_proposed", market_id="EU", version=1, author="Ann", body={"strategies": []}
    )
    assert story.told("input_parked")
    story.send("market_defined", market_id="EU", currency="EUR", time_zone="Europe/Berlin")
    assert story.shard.markets["EU"].rule_versions["1"].status == "proposed"


def test_days_move_with_the_markets_time_zone() -> None:
    story = shop()
    propose(story)
    approve(story)
    activate(story)
    (before,) = story.shard.markets["US"].rules.pools
    story.send("market_defined", market_id="US", currency="USD", time_zone="UTC")
    (after,) = story.shard.markets["US"].rules.pools
    assert before.from_ms - after.from_ms == 5 * 3_600_000


def test_what_a_channel_took_of_a_pool_is_kept_over_versions_by_its_id() -> None:
    def pools(*ids: str) -> dict[str, Any]:
        return {
            "defaults": {
                "pools": [{"id": one, "sku": "A", "channel": "web", "units": 9} for one in ids]
            }
        }

    story = shop()
    for version, ids in enumerate((["a", "b"], ["b", "c"]), 1):
        propose(story, version, pools(*ids))
        approve(story, version)
        activate(story, version)
        if version == 1:
            assert story.pools() == {"a": 0, "b": 0}
            for shard in (story.shard, story.twin):
                shard.markets["US"].pool_taken["b"].taken = 4
    assert story.pools() == {"b": 4, "c": 0}
