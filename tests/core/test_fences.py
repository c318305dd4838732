"""Each fence and each rule of availability, by a story that goes another way without it."""

from typing import Any

import orjson
import pytest

from events.decided import NodeRow, rows_of
from orchestrator.core.sourcing.counterfactual import counterfactual
from orchestrator.core.sourcing.question import DAYS_AHEAD
from schemas.times import iso_day
from tests.core.story import Story


def decision(shop: Story) -> dict[str, Any]:
    found: dict[str, Any] = orjson.loads(shop.told("order_allocated")[-1]["decision"])
    return found


def kept_out(shop: Story) -> dict[str, list[str]]:
    """Barred nodes of the full set, by id, with their fences."""
    rows = [NodeRow(*row) for row in decision(shop)["sets"][0][1:]]
    return {row.node_id: list(row.fences) for row in rows if row.fences or row.short}


def stocked(shop: Story, units: int = 9) -> Story:
    for node_id in ("BOS", "CHI", "LAX"):
        shop.receive(node_id, A=units)
    return shop


# fences: BOS is the nearest, CHI the next


def test_a_node_that_is_not_active_or_does_not_ship_is_passed_over(shop: Story) -> None:
    stocked(shop).node("BOS", active=False)
    shop.node("CHI", ships=False)
    shop.order("1", A=1)
    assert shop.plan("1") == {"LAX": {"A": 1}}
    assert kept_out(shop) == {"BOS": ["inactive"], "CHI": ["does_not_ship"]}


@pytest.mark.parametrize("capacity", ["capacity_orders_per_day", "capacity_units_per_day"])
def test_a_node_that_takes_nothing_a_day_ships_nothing(shop: Story, capacity: str) -> None:
    none: Any = {capacity: 0}
    shop.node("LAX", **none)
    shop.receive("BOS", A=3)
    shop.receive("CHI", A=2)
    shop.receive("LAX", A=5)
    shop.order("1", A=5)
    assert shop.plan("1") == {"BOS": {"A": 3}, "CHI": {"A": 2}}
    assert decision(shop)["rest"]["fences"] == {"does_not_ship": "1"}


def test_a_node_whose_days_are_all_taken_keeps_no_line_in_one_piece(shop: Story) -> None:
    shop.node("LAX", capacity_orders_per_day=1)
    shop.receive("LAX", A=5, B=DAYS_AHEAD)
    for number in range(DAYS_AHEAD):
        shop.order(f"b{number}", B=1)
    shop.receive("BOS", A=3)
    shop.receive("CHI", A=2)
    shop.order("1", A=5)
    assert shop.plan("1") == {"BOS": {"A": 3}, "CHI": {"A": 2}}


def test_a_node_named_out_is_out_though_its_group_is_in(shop: Story) -> None:
    stocked(shop)
    for node_id in ("BOS", "LAX"):
        shop.node(node_id, groups=["coast"])
    shop.rules({"fences": {"nodes": {"group": "coast", "not": {"node": "BOS"}}}})
    shop.order("1", A=1)
    assert shop.plan("1") == {"LAX": {"A": 1}}
    assert kept_out(shop) == {"BOS": ["nodes"], "CHI": ["nodes"]}


def test_a_strategys_capability_is_what_its_nodes_must_have(shop: Story) -> None:
    stocked(shop).node("LAX", capabilities=["cold"])
    shop.rules({"fences": {"capability": ["cold"]}})
    shop.order("1", A=1)
    assert shop.plan("1") == {"LAX": {"A": 1}}
    assert kept_out(shop)["BOS"] == ["capability"]


def test_what_an_item_requires_its_node_must_have(shop: Story) -> None:
    stocked(shop).node("LAX", capabilities=["cold"])
    shop.send("item_defined", sku="A", name="A", requires=["cold"])
    shop.order("1", A=1)
    assert shop.plan("1") == {"LAX": {"A": 1}}
    assert kept_out(shop)["BOS"] == ["requires"]


def test_no_node_ships_beyond_max_km(shop: Story) -> None:
    shop.receive("LAX", A=9)
    shop.rules({"fences": {"max_km": 4_000}})
    shop.order("1", to="BOS", A=1)
    assert shop.plan("1") == {}
    assert kept_out(shop)["LAX"] == ["max_km"]
    shop.order("2", to="CHI", A=1)
    assert shop.plan("2") == {"LAX": {"A": 1}}


def test_a_border_is_crossed_unless_the_rules_forbid_it(shop: Story) -> None:
    stocked(shop).node("BOS", address={"country": "CA"})
    shop.order("1", A=1)
    assert shop.plan("1") == {"BOS": {"A": 1}}
    shop.rules({"fences": {"cross_border": False}})
    shop.order("2", A=1)
    assert shop.plan("2") == {"CHI": {"A": 1}}
    assert kept_out(shop) == {"BOS": ["cross_border"]}


def test_who_cannot_reach_the_promise_is_out_where_it_must_be_kept(shop: Story) -> None:
    stocked(shop).node("BOS", holidays=["2027-01-15"])
    bands = [{"to_km": 20_000, "base_minor": 1, "per_kg_minor": 0, "transit_days": 2}]
    shop.service(rates=bands)
    shop.node("CHI", handling_cost_minor=10_000)
    shop.node("LAX", handling_cost_minor=20_000)
    shop.order("1", A=1, deliver_by="2027-01-17")
    assert shop.plan("1") == {"BOS": {"A": 1}}, "late is cheaper"
    shop.rules({"fences": {"reach_promise": True}})
    shop.order("2", A=1, deliver_by="2027-01-17")
    assert shop.plan("2") == {"CHI": {"A": 1}}
    assert kept_out(shop) == {"BOS": ["reach_promise"]}


def to_30_kg(shop: Story) -> None:
    breaks = [{"to_g": 30_000, "base_minor": 500}]
    rates = [{"to_km": 100_000, "weight_breaks": breaks, "transit_days": 2}]
    shop.service(rates=rates)


def test_what_no_service_takes_is_told_as_without_a_rate(shop: Story) -> None:
    shop.send("item_defined", sku="A", name="A", weight_g=50_000)
    to_30_kg(shop)
    shop.receive("BOS", A=5)
    shop.order("1", A=1)
    assert shop.counts("1") == {"backordered": 1}
    rest = decision(shop)["rest"]
    assert (rest["nodes"], rest["dearer"]) == (["BOS", "CHI", "LAX"], 0)
    assert (rest["fences"], rest["short"]) == ({"no_rate": "1"}, "6")


def test_a_service_that_excludes_what_an_item_requires_is_no_rate(shop: Story) -> None:
    shop.node("LAX", capabilities=["hazmat"])
    shop.send("item_defined", sku="A", name="A", requires=["hazmat"])
    shop.service(excluded_capabilities=["hazmat"])
    shop.receive("LAX", A=5)
    shop.order("1", A=1)
    assert decision(shop)["rest"]["fences"] == {"requires": "3", "no_rate": "4"}
    assert decision(shop)["rest"]["dearer"] == 0


def test_what_no_service_takes_by_itself_is_looked_for_in_no_leg_of_a_large_order(
    shop: Story,
) -> None:
    skus = [f"A{n}" for n in range(12)]
    shop.item(*skus)
    shop.send("item_defined", sku="A3", name="A3", requires=["hazmat"])
    shop.service(excluded_capabilities=["hazmat"])
    for node_id in ("BOS", "CHI", "LAX"):
        shop.node(node_id, capabilities=["hazmat"])
        shop.receive(node_id, **dict.fromkeys(skus, 5))
    lines: dict[str, Any] = dict.fromkeys(skus, 2)
    shop.order("1", **lines)
    assert [shop.counts("1", line) for line in ("3", "4")] == [{"allocated": 2}, {"backordered": 2}]
    why = decision(shop)
    assert (why["method"], why["bound"][0]) == ("best_found", 22)
    assert why["left_out"] == [[3, 2, ["4"], [["no_rate", 3, []]]]]


@pytest.mark.parametrize("full", [False, True])
def test_what_no_node_brings_in_time_is_looked_for_in_no_leg_of_a_large_order(
    shop: Story, *, full: bool
) -> None:
    skus = [f"A{n}" for n in range(12)]
    shop.item(*skus)
    shop.service()
    for node_id in ("BOS", "CHI", "LAX"):
        shop.node(node_id, capacity_units_per_day=3)
        shop.receive(node_id, **dict.fromkeys(skus, 9))
    shop.rules({"fences": {"reach_promise": True}})
    by = "2027-01-16"
    if full:
        by = "2027-01-17"
        for n in range(3):
            shop.order(f"full{n}", A0=3, deliver_by=by)
    lines: dict[str, Any] = dict.fromkeys(skus, 2)
    shop.order("1", **lines, deliver_by=by)
    assert shop.plan("1") == {}
    assert decision(shop)["bound"][0] == 0
    assert {tuple(map(str, why)) for *_, [why] in decision(shop)["left_out"]} == {
        ("reach_promise", "3", "[]")
    }


def test_the_nearest_node_is_not_called_dearer_where_no_service_takes_it_from_there(
    shop: Story,
) -> None:
    shop.send("item_defined", sku="A", name="A", weight_g=50_000)
    zones: list[dict[str, Any]] = [
        {"origin_node_id": "BOS", "weight_breaks": [{"to_g": 30_000, "base_minor": 300}]},
        {"origin_node_id": "CHI", "base_minor": 5_000},
        {"origin_node_id": "LAX", "base_minor": 9_000},
    ]
    shop.service(rates=[], zones=[{**zone, "transit_days": 2} for zone in zones])
    for node_id in ("BOS", "CHI", "LAX"):
        shop.receive(node_id, A=5)
    shop.order("1", A=1)
    assert shop.plan("1") == {"CHI": {"A": 1}}
    rest = decision(shop)["rest"]
    assert (rest["nodes"], rest["fences"], rest["dearer"]) == (["BOS"], {"no_rate": "1"}, 0)


def test_what_is_too_heavy_for_every_service_goes_in_several_parcels(shop: Story) -> None:
    shop.send("item_defined", sku="A", name="A", weight_g=20_000)
    to_30_kg(shop)
    shop.receive("BOS", A=5)
    shop.order("1", A=3)
    assert shop.plan("1") == {"BOS": {"A": 3}}
    row = NodeRow(*decision(shop)["sets"][0][1])
    assert (row.parcels, row.value) == (3, 1_500)
    shop.service(service="freight")  # takes any weight
    shop.order("2", A=2)
    row = NodeRow(*decision(shop)["sets"][0][1])
    assert (row.parcels, row.service) == (1, "ups/freight")


def test_a_suspended_lane_bars_its_node_until_it_is_restored(shop: Story) -> None:
    stocked(shop).service()
    lane: dict[str, Any] = {"market_id": "US", "carrier": "ups", "origin_node_id": "BOS"}
    shop.send("lane_suspended", reason="storm", **lane)
    shop.order("1", A=1)
    assert shop.plan("1") == {"CHI": {"A": 1}}
    told = decision(shop)["rest"]
    assert list(told["fences"]) == ["lane_suspended"]
    assert told["nodes"] == ["BOS"]
    shop.send("lane_restored", **lane)
    shop.order("2", A=1)
    assert shop.plan("2") == {"BOS": {"A": 1}}


def test_a_hole_in_the_rates_bars_its_node(shop: Story) -> None:
    stocked(shop).service(zones=[{"origin_node_id": "LAX", "transit_days": 1}], rates=[])
    shop.order("1", A=1)
    assert shop.plan("1") == {"LAX": {"A": 1}}
    told = decision(shop)["rest"]
    assert list(told["fences"]) == ["no_rate"]
    assert told["nodes"] == ["BOS", "CHI"]


def test_services_that_a_leg_could_not_go_by_are_told_with_why(shop: Story) -> None:
    shop.node("BOS", capabilities=["cold"])
    shop.send("item_defined", sku="A", name="A", weight_g=2_000, requires=["cold"])
    shop.receive("BOS", A=1)
    shop.service("near", rates=[{"to_km": 5, "base_minor": 1, "transit_days": 1}])
    breaks = [{"to_g": 1_000, "base_minor": 1}]
    shop.service("light", rates=[{"to_km": 9_000, "weight_breaks": breaks, "transit_days": 1}])
    shop.service("warm", excluded_capabilities=["cold"])
    shop.service("tired")
    shop.service("other", service_levels=["overnight"])
    shop.service("any")
    shop.send("lane_suspended", market_id="US", carrier="tired", reason="strike")
    shop.order("1", to="NYC", A=1)
    why = decision(shop)
    assert why["unused"] == [
        ["near/ground", "no_rate", "BOS"],
        ["light/ground", "too_heavy", "BOS"],
        ["warm/ground", "excluded", "BOS"],
        ["tired/ground", "lane_suspended", "BOS"],
    ]
    shop.send("lane_restored", market_id="US", carrier="tired")
    shop.receive("BOS", A=1)
    shop.order("2", A=1)
    assert [one[0] for one in decision(shop)["unused"]] == ["light/ground", "warm/ground"]


def test_units_that_will_not_live_long_enough_stay(shop: Story) -> None:
    lot: dict[str, Any] = {"sku": "A", "quantity": 2, "lot": "L"}
    shop.send("stock_received", node_id="BOS", expires_on="2027-01-19", **lot)
    shop.send("stock_received", node_id="CHI", expires_on="2027-01-20", **lot)
    shop.rules({"fences": {"min_shelf_days": 5}})
    shop.order("1", A=1)
    assert shop.plan("1") == {"CHI": {"A": 1}}
    assert kept_out(shop)["BOS"] == ["min_shelf_days"]


def test_a_node_is_not_asked_again_for_what_it_did_not_have(shop: Story) -> None:
    stocked(shop).order("1", A=1)
    shop.report("rejected", "1.1", reason="not_in_stock", stock_effect="none")
    shop.order("2", A=1)
    assert shop.plan("2") == {"CHI": {"A": 1}}
    assert kept_out(shop) == {"BOS": ["suppressed"]}
    shop.at(5 * 3600)
    shop.order("3", A=1)
    assert shop.plan("3") == {"BOS": {"A": 1}}


# availability


def test_safety_stock_of_a_group_stays_at_its_nodes(shop: Story) -> None:
    stocked(shop, 2).node("BOS", groups=["stores"])
    shop.rules({}, safety_stock=[{"nodes": {"group": "stores"}, "units": 2}])
    shop.order("1", A=1)
    assert shop.plan("1") == {"CHI": {"A": 1}}


def test_a_node_keeps_the_larger_of_safety_stock_and_floor(shop: Story) -> None:
    shop.receive("BOS", A=4)
    keep = {"fences": {"keep": [{"node": "BOS", "units": 3}]}}
    shop.rules(keep, safety_stock=[{"units": 2}])
    shop.order("1", A=4)
    assert shop.plan("1") == {"BOS": {"A": 1}}


def test_a_threshold_leaves_units_to_the_other_channels(shop: Story) -> None:
    shop.receive("BOS", A=3)
    shop.rules({}, thresholds={"web": 2})
    shop.order("1", A=3)
    assert shop.plan("1") == {"BOS": {"A": 1}}
    shop.order("2", A=2, channel="phone")
    assert shop.stock("BOS", "A") == (3, 3, 0)


def test_a_pool_is_kept_from_other_channels_until_it_ends(shop: Story) -> None:
    shop.receive("BOS", A=5)
    pool = {"id": "p", "sku": ["A"], "channel": "phone", "units": 4, "until": "2027-01-15"}
    shop.rules({}, pools=[pool], thresholds={"phone": 1})
    now = {"allow_backorder": False}
    shop.order("1", A=5, line=now)
    assert shop.plan("1") == {"BOS": {"A": 1}}
    shop.order("2", A=4, line=now, channel="phone")
    assert shop.stock("BOS", "A") == (5, 4, 1), "its own pool is not kept from a channel"
    shop.receive("BOS", A=4)
    shop.order("3", A=5, line=now)
    assert shop.plan("3") == {"BOS": {"A": 4}}, "one unit of the pool is left"
    shop.at(86_400)
    shop.order("4", A=1)
    assert shop.plan("4") == {"BOS": {"A": 1}}


# days


def ship_day(shop: Story) -> str:
    """The chosen leg's, as recorded."""
    told = decision(shop)
    recorded: Any = told
    (row,) = rows_of(recorded, told["chosen"])
    return iso_day(row.ship_day)


def test_what_a_day_cannot_hold_goes_to_the_next_working_day(shop: Story) -> None:
    shop.node("BOS", capacity_units_per_day=3)
    shop.receive("BOS", A=20)
    shop.order("1", A=2)
    assert ship_day(shop) == "2027-01-15"
    shop.order("2", A=2)
    assert ship_day(shop) == "2027-01-18", "a Monday"
    shop.order("3", A=1)
    assert ship_day(shop) == "2027-01-15", "there is room for one"
    shop.order("4", A=4)
    assert ship_day(shop) == "2027-01-19", "more than a whole day holds: the first empty one"


def test_a_cut_off_that_passes_between_two_orders_moves_the_second(shop: Story) -> None:
    shop.receive("BOS", A=20)
    shop.at(13 * 3600 - 1)
    shop.order("1", A=1)
    assert ship_day(shop) == "2027-01-15"
    shop.at(2)
    shop.order("2", A=1)
    assert ship_day(shop) == "2027-01-18"


def test_no_node_ships_on_its_holiday(shop: Story) -> None:
    shop.node("BOS", holidays=["2027-01-15", "2027-01-18"])
    shop.receive("BOS", A=20)
    shop.order("1", A=1)
    assert ship_day(shop) == "2027-01-19"


# what a strategy does where it finds nothing


def test_the_next_strategy_is_asked_where_one_finds_nothing(shop: Story) -> None:
    stocked(shop)
    shop.rules(
        {"name": "near", "fences": {"nodes": {"kind": "store"}}, "else": "any"}, {"name": "any"}
    )
    shop.order("1", A=1)
    assert shop.plan("1") == {"BOS": {"A": 1}}
    assert decision(shop)["passed_over"] == [["near", "found nothing"]]


def test_where_a_strategy_found_nothing_no_fence_and_no_stock_is_said_to_have_changed_the_plan(
    shop: Story,
) -> None:
    """Without its fence LAX would ship 1 by the first strategy, which never asks the second."""
    near = {"name": "near", "fences": {"nodes": {"node": "LAX"}}, "else": "any"}
    shop.rules(near, {"name": "any"})
    shop.node("LAX", active=False)
    shop.receive("LAX", A=1)
    shop.receive("BOS", A=2)
    shop.order("1", A=3)
    assert shop.plan("1") == {"BOS": {"A": 2}}
    told: Any = decision(shop)
    assert any(NodeRow(*row).fences for row in told["sets"][0][1:]), "there is one to be lifted"
    assert counterfactual(told)["lift_fence"] is counterfactual(told)["add_stock"] is None
    shop.cancel("1")
    shop.node("LAX")
    shop.order("2", A=3)
    assert shop.plan("2") == {"LAX": {"A": 1}}


def test_what_no_node_has_waits_or_is_cancelled_as_the_strategy_says(shop: Story) -> None:
    shop.order("1", A=1)
    assert shop.counts("1") == {"backordered": 1}
    shop.rules({"unsourced": ["cancel"]})
    shop.order("2", A=1)
    assert shop.counts("2") == {"cancelled": 1}
