"""Held fulfillments: Headrace's own until the node is asked."""

from collections.abc import Callable
from typing import Any

import orjson
import pytest

from orchestrator.core.config import Config
from schemas.times import instant_ms
from tests.core.story import Event, Story, plain


def shop(replan_saving: int = 0) -> Story:
    story = Story()
    for node_id in ("BOS", "CHI", "LAX"):
        story.node(node_id)
    story.item("A", "B")
    near, far = (
        {"to_km": km, "base_minor": km, "per_kg_minor": 0, "transit_days": 2} for km in (500, 6000)
    )
    story.service(rates=[near, far])
    story.rules({"hold": 60, "replan_saving": replan_saving})
    return story


def requested(events: list[Event]) -> list[tuple[str, str]]:
    return [
        (event["fulfillment_id"], event["node_id"])
        for event in events
        if event["type"] == "fulfillment_requested"
    ]


def test_a_held_fulfillment_reserves_and_is_requested_when_its_time_comes() -> None:
    story = shop()
    story.receive("BOS", A=5)
    placed = story.order("1", A=2, gift_message="Hello")
    assert requested(placed) == []
    assert story.statuses("1.1") == ("open", "unsubmitted")
    assert story.stock("BOS", "A") == (5, 2, 3)
    assert story.counts("1") == {"allocated": 2}
    (plan,) = story.told("order_allocated")[0]["fulfillments"]
    assert story.at(59 * 60) == []
    released = story.at(60)
    assert requested(released) == [("web.1.1", "BOS")]
    (told,) = (event for event in released if event["type"] == "fulfillment_requested")
    assert told["gift_message"] == "Hello"
    assert told["ship_by"] == plan["ship_by"]
    assert told["lines"] == [{"line_id": "1", "sku": "A", "quantity": 2}]
    assert story.statuses("1.1") == ("open", "submitted")
    story.ship("1.1")
    assert story.status("1") == "shipped"


def test_nothing_is_held_beyond_the_last_moment_that_ships_the_same_day() -> None:
    story = Story()
    story.node("BOS", processing_minutes=30)
    story.item("A")
    story.rules({"hold": 10_000})
    story.receive("BOS", A=5)
    planned = next(one for one in story.order("1", A=1) if one["type"] == "fulfillment_planned")
    node = story.shard.nodes["BOS"]
    ship_by_ms = story.fulfillment("1.1").ship_by_ms
    assert ship_by_ms is not None
    assert planned["release_ms"] == ship_by_ms - node.calendar.processing_ms
    assert node.calendar.processing_ms == 30 * 60_000


def test_what_no_node_was_asked_for_is_cancelled_without_a_command() -> None:
    story = shop()
    story.receive("BOS", A=5)
    story.order("1", A=3)
    lines = [{"line_id": "1", "quantity": 1}]
    story.cancel("1", lines=lines)
    assert story.counts("1") == {"allocated": 2, "cancelled": 1}
    assert story.told("fulfillment_cancellation_requested") == []
    released = story.at(3600)
    assert story.told("fulfillment_requested")[0]["lines"][0]["quantity"] == 2
    assert requested(released) == [("web.1.1", "BOS")]
    story.ship("1.1")
    assert story.statuses("1.1") == ("shipped", "accepted")


def test_a_held_order_that_is_cancelled_whole_never_reaches_a_node() -> None:
    story = shop()
    story.receive("BOS", A=5)
    story.order("1", A=3)
    story.cancel("1")
    assert story.status("1") == "cancelled"
    assert story.statuses("1.1") == ("cancelled", "unsubmitted")
    assert story.stock("BOS", "A") == (5, 0, 5)
    assert story.shard.nodes["BOS"].booked == {}
    assert requested(story.at(3600)) == []


def test_cancelling_takes_what_waits_then_what_is_held_then_asks() -> None:
    story = shop()
    story.receive("BOS", A=2)
    story.order("1", A=6)
    story.at(3600)
    story.receive("BOS", A=3)
    assert story.statuses("1.1") == ("open", "submitted")
    assert story.statuses("1.2") == ("open", "unsubmitted")
    assert story.counts("1") == {"allocated": 5, "backordered": 1}
    story.cancel("1", lines=[{"line_id": "1", "quantity": 5}])
    assert story.counts("1") == {"allocated": 2, "cancelled": 4}
    assert story.statuses("1.2") == ("cancelled", "unsubmitted")
    (asked,) = story.told("fulfillment_cancellation_requested")
    assert asked["fulfillment_id"] == "web.1.1"
    assert asked["lines"] == [{"line_id": "1", "sku": "A", "quantity": 1}]


def test_held_units_that_a_count_takes_back_need_no_answer() -> None:
    story = shop()
    story.receive("BOS", A=3)
    story.order("1", A=3)
    story.send("stock_counted", node_id="BOS", sku="A", counted=1)
    assert story.told("fulfillment_cancellation_requested") == []
    assert story.counts("1") == {"allocated": 1, "backordered": 2}
    assert requested(story.at(3600)) == [("web.1.1", "BOS")]


@pytest.mark.parametrize("report", ["accepted", "cancellation_accepted", "rejected"])
def test_an_answer_on_what_was_not_asked_is_a_mismatch(report: str) -> None:
    story = shop()
    story.receive("BOS", A=3)
    story.order("1", A=3)
    story.report(report, "1.1", **({"reason": "other"} if report == "rejected" else {}))
    assert story.exceptions() == ["data_mismatch"]
    assert story.statuses("1.1") == ("open", "unsubmitted")


def test_what_left_before_the_node_was_asked_left_all_the_same() -> None:
    story = shop()
    story.receive("BOS", A=3)
    story.order("1", A=3)
    shipped = story.ship("1.1", lines=[{"line_id": "1", "quantity": 1}])
    assert requested(shipped) == [("web.1.1", "BOS")], "it is asked for the rest"
    assert story.counts("1") == {"allocated": 2, "shipped": 1}
    assert story.statuses("1.1") == ("in_progress", "accepted")
    assert requested(story.at(3600)) == []


# improving what is held


def improved(events: list[Event]) -> list[str]:
    return [event["type"] for event in events if event["type"] == "order_improved"]


def test_a_better_plan_replaces_a_held_one_without_a_command() -> None:
    story = shop()
    story.receive("LAX", A=5)
    story.order("1", A=2, to="BOS")
    story.receive("BOS", A=2)
    assert story.plan("1") == {"LAX": {"A": 2}}, "what may improve plans is gathered for a second"
    events = story.at(1)
    (better,) = story.told("order_improved")
    assert better["replaced"] == ["web.1.1"]
    assert better["before"][0] > better["after"][0]
    before, after = (orjson.loads(better[which][1]) for which in ("before", "after"))
    assert before != after
    assert story.told("order_allocated")[0]["decision"] == better["after"][1]
    assert story.plan("1") == {"BOS": {"A": 2}}
    assert story.statuses("1.1") == ("cancelled", "unsubmitted")
    assert story.statuses("1.2") == ("open", "unsubmitted")
    assert [e["type"] for e in events if "cancellation" in e["type"]] == []
    assert story.stock("LAX", "A") == (5, 0, 5)
    assert story.shard.nodes["LAX"].booked == {}
    assert requested(story.at(3600)) == [("web.1.2", "BOS")]


def test_where_no_carrier_is_known_a_nearer_plan_of_the_same_cost_replaces_a_held_one() -> None:
    story = Story()
    for node_id in ("BOS", "LAX"):
        story.node(node_id)
    story.item("A", "B")
    story.rules({"hold": 60})
    story.receive("LAX", A=5, B=5)
    story.order("1", A=2, B=1, to="BOS")
    story.receive("BOS", A=2)
    assert improved(story.at(1)) == [], "two legs are no better than one that is farther"
    story.receive("BOS", B=1)
    assert improved(story.at(2)) == ["order_improved"]
    assert story.plan("1") == {"BOS": {"A": 2, "B": 1}}
    assert improved(story.at(3)) == []


def test_where_a_saving_is_asked_for_nearness_alone_replaces_nothing() -> None:
    story = Story()
    for node_id in ("BOS", "LAX"):
        story.node(node_id)
    story.item("A")
    story.rules({"hold": 60, "replan_saving": 1})
    story.receive("LAX", A=5)
    story.order("1", A=2, to="BOS")
    story.receive("BOS", A=2)
    assert improved(story.at(1)) == []
    assert story.plan("1") == {"LAX": {"A": 2}}


def test_a_plan_that_a_node_was_asked_for_stays() -> None:
    story = shop()
    story.receive("LAX", A=5)
    story.order("1", A=2, to="BOS")
    story.at(3600)
    story.receive("BOS", A=2)
    assert improved(story.at(1)) == []


def test_what_saves_too_little_changes_nothing() -> None:
    story = shop(replan_saving=10**9)
    story.receive("LAX", A=5)
    story.order("1", A=2, to="BOS")
    story.receive("BOS", A=2)
    assert [event["type"] for event in story.at(1)] == ["timer_fired", "improvement_due"]
    assert story.plan("1") == {"LAX": {"A": 2}}


def test_looking_for_a_better_plan_leaves_no_trace() -> None:
    story = shop()
    later = {"id": "later", "sku": ["A"], "channel": "web", "units": 9, "from": "2028-01-01"}
    story.rules({"hold": 60, "replan_saving": 10**9}, pools=[later])
    story.receive("LAX", A=5)
    story.order("1", A=2, to="BOS")
    story.receive("BOS", A=2)
    story.at(1)
    assert plain(story.shard) == plain(story.twin), "what was journaled is all that happened"
    assert story.stock("LAX", "A") == (5, 2, 3)


def test_a_node_that_opens_may_improve_what_is_held() -> None:
    story = shop()
    story.receive("LAX", A=5)
    story.node("BOS", active=False)
    story.receive("BOS", A=2)
    story.order("1", A=2, to="BOS")
    story.node("BOS")
    story.at(1)
    assert story.plan("1") == {"BOS": {"A": 2}}


def test_at_most_so_many_are_looked_at_in_an_entry() -> None:
    story = shop()
    object.__setattr__(story.shard.config, "improve_orders", 1)
    story.receive("LAX", A=9)
    for number in range(3):
        story.order(str(number), A=2, to="BOS")
    story.receive("BOS", A=4)
    story.at(1)
    assert [story.plan(str(number)) for number in range(3)] == [
        {"BOS": {"A": 2}},
        {"BOS": {"A": 2}},
        {"LAX": {"A": 2}},
    ], "first come, first improved"
    assert story.shard.markets["US"].improvable == {}
    entries = [orjson.loads(entry)["events"] for entry in story.entries]
    assert max(sum(e["type"] == "order_improved" for e in events) for events in entries) == 1


def test_what_was_held_and_is_done_is_no_longer_looked_at() -> None:
    story = shop()
    story.receive("BOS", A=5, B=5)
    story.order("1", A=1, B=1)
    story.order("2", A=1)
    story.cancel("2")
    assert {sku: list(held) for sku, held in story.shard.markets["US"].held.items()} == {
        "A": [1],
        "B": [1],
    }
    story.at(3600)
    assert story.shard.markets["US"].held == {}


def test_what_is_left_of_a_held_plan_is_improved_as_it_stands() -> None:
    story = shop()
    story.receive("LAX", A=5)
    story.order("1", A=2, to="BOS")
    story.cancel("1", lines=[{"line_id": "1", "quantity": 1}])
    story.receive("BOS", A=2)
    assert improved(story.at(1)) == ["order_improved"]
    assert story.plan("1") == {"BOS": {"A": 1}}
    assert story.counts("1") == {"allocated": 1, "cancelled": 1}


def test_what_several_decisions_of_a_strategy_hold_is_improved_together() -> None:
    story = shop()
    story.receive("LAX", A=1)
    story.order("1", A=2, to="BOS")
    story.receive("CHI", A=1)
    assert story.plan("1") == {"CHI": {"A": 1}, "LAX": {"A": 1}}
    assert len(story.the_order("1").held_by) == 2
    story.receive("BOS", A=2)
    story.at(1)
    assert story.told("order_improved")[0]["replaced"] == ["web.1.1", "web.1.2"]
    assert story.plan("1") == {"BOS": {"A": 2}}
    assert list(story.the_order("1").held_by) == ["web.1.3"]


def rate(story: Story, *, near: int, far: int) -> None:
    bands = [(500, near), (6000, far)]
    story.service(
        rates=[
            {"to_km": km, "base_minor": minor, "per_kg_minor": 0, "transit_days": 2}
            for km, minor in bands
        ]
    )


def test_an_improvement_saves_what_keeping_the_plan_would_cost_now() -> None:
    story = shop(replan_saving=300)
    rate(story, near=500, far=600)
    story.receive("LAX", A=5)
    story.order("1", A=2, to="BOS")
    rate(story, near=500, far=900)
    story.receive("BOS", A=2)
    story.at(1)
    (better,) = story.told("order_improved")
    assert (better["before"][0], better["after"][0]) == (900, 500)


def test_what_became_cheap_to_keep_is_kept() -> None:
    story = shop(replan_saving=300)
    rate(story, near=500, far=6000)
    story.receive("LAX", A=5)
    story.order("1", A=2, to="BOS")
    rate(story, near=500, far=800)
    story.receive("BOS", A=2)
    assert improved(story.at(1)) == []


def test_two_fulfillments_at_a_node_become_one_where_that_is_cheaper() -> None:
    story = shop()
    story.receive("BOS", A=1)
    story.order("1", A=2, to="BOS")
    story.receive("BOS", A=1)
    assert [one.node_id for one in story.the_order("1").held()] == ["BOS", "BOS"]
    story.receive("BOS", A=1)
    story.at(1)
    (better,) = story.told("order_improved")
    assert (better["before"][0], better["after"][0]) == (1000, 500)
    assert [one.fulfillment_id for one in story.the_order("1").held()] == ["web.1.3"]


def test_keeping_a_plan_costs_what_its_own_day_costs() -> None:
    story = Story()
    story.node("BOS", capacity_units_per_day=10)
    story.node("CHI", capacity_units_per_day=10, handling_cost_minor=1)
    story.item("A")
    story.service()
    story.rules({"hold": 60}, load_price={"50": 40})
    story.receive("BOS", A=9)
    story.order("1", A=2, to="BOS")
    story.order("2", A=6, to="BOS")
    assert [story.plan(one) for one in "12"] == [{"BOS": {"A": 2}}, {"BOS": {"A": 6}}]
    story.receive("CHI", A=9)
    story.at(1)
    (better,) = story.told("order_improved")
    assert (better["before"][0], better["after"][0]) == (540, 501)
    assert story.plan("1") == {"CHI": {"A": 2}}


def test_what_no_service_takes_any_more_gives_way_to_what_one_does() -> None:
    story = shop(replan_saving=10**9)
    story.receive("LAX", A=5)
    story.order("1", A=2, to="BOS")
    story.send(
        "lane_suspended", market_id="US", carrier="ups", origin_node_id="LAX", reason="strike"
    )
    story.receive("BOS", A=2)
    story.at(1)
    (better,) = story.told("order_improved")
    assert better["before"][0] is None
    assert story.plan("1") == {"BOS": {"A": 2}}


def test_ranked_plans_compare_by_their_criteria_as_they_stand() -> None:
    story = shop()
    story.rules({"hold": 60, "objective": ["fewest_legs", "distance"]})
    story.receive("LAX", A=1)
    story.receive("CHI", A=1)
    story.order("1", A=2, to="BOS")
    story.receive("BOS", A=1)
    story.at(1)
    (better,) = story.told("order_improved")
    (legs, metres), (still_legs, fewer_metres) = better["before"][0], better["after"][0]
    assert legs == still_legs == 2
    assert metres > fewer_metres
    assert story.plan("1") == {"BOS": {"A": 1}, "CHI": {"A": 1}}


def test_what_was_used_last_moves_no_held_order() -> None:
    story = shop()
    story.rules({"hold": 600, "objective": ["last_used", "distance"]})
    for node_id in ("BOS", "CHI", "LAX"):
        story.receive(node_id, A=5)
    story.order("1", A=1, to="BOS")
    for _ in range(3):
        story.receive("LAX", A=1)
        assert improved(story.at(60)) == []
    assert story.plan("1") == {"BOS": {"A": 1}}


@pytest.mark.parametrize(("saving", "better"), [(5_499, ["order_improved"]), (5_500, [])])
def test_a_ranked_plan_saves_what_is_asked_for_where_money_is_ranked(
    saving: int, better: list[str]
) -> None:
    story = shop()
    story.rules({"hold": 60, "objective": ["distance", "cost"], "replan_saving": saving})
    story.receive("CHI", A=2)  # for 6000; Boston takes 500
    story.order("1", A=2, to="BOS")
    story.receive("BOS", A=2)
    assert improved(story.at(1)) == better


def test_what_a_closed_node_holds_goes_to_one_that_is_open() -> None:
    story = shop()
    story.receive("BOS", A=2)
    story.receive("CHI", A=2)
    story.order("1", A=2, to="BOS")
    assert story.plan("1") == {"BOS": {"A": 2}}
    story.node("BOS", active=False)
    story.at(1)
    assert story.plan("1") == {"CHI": {"A": 2}}
    story.node("CHI", active=False)
    story.at(1)
    assert story.plan("1") == {"CHI": {"A": 2}}, "where nobody else has it, it stays"


def test_values_of_different_strategies_are_not_compared() -> None:
    story = shop()
    story.receive("LAX", A=5)
    story.order("1", A=2, to="BOS")
    story.rules({"name": "other", "hold": 60})
    story.receive("BOS", A=2)
    assert improved(story.at(1)) == []


def test_the_same_plan_at_a_lower_price_is_no_other_plan() -> None:
    story = shop()
    story.receive("BOS", A=5)
    story.order("1", A=2, to="BOS")
    story.service(rates=[{"to_km": 6000, "base_minor": 1, "per_kg_minor": 0, "transit_days": 2}])
    story.receive("BOS", A=2)
    assert improved(story.at(1)) == []


# what can't be any more


def far_is_slow(config: Config | None = None) -> Story:
    """As usual: what is farther away arrives later. Promised is what arrives in two days."""
    story = Story(config)
    for node_id in ("BOS", "CHI"):
        story.node(node_id)
    story.item("A", "B")
    story.service(
        rates=[
            {"to_km": 500, "base_minor": 100, "transit_days": 2},
            {"to_km": 6000, "base_minor": 900, "transit_days": 5},
        ]
    )
    story.rules({"hold": 60})
    return story


def close(story: Story) -> None:
    story.node("BOS", active=False)


def full(story: Story) -> None:
    story.node("BOS", capacity_orders_per_day=0)


def fence_out(story: Story) -> None:
    story.rules({"hold": 60, "fences": {"nodes": {"not": {"node": "BOS"}}}})


def fence_out_by_another(story: Story) -> None:
    story.rules({"name": "other", "hold": 60, "fences": {"nodes": {"node": "CHI"}}})


def suspend(story: Story) -> None:
    story.send(
        "lane_suspended", market_id="US", carrier="ups", origin_node_id="BOS", reason="strike"
    )


def require_cold(story: Story) -> None:
    story.node("CHI", capabilities=["cold"])
    story.send("item_defined", sku="A", name="A", requires=["cold"])


@pytest.mark.parametrize(
    "bar",
    [close, full, fence_out, fence_out_by_another, suspend, require_cold],
)
def test_what_a_fence_bars_goes_to_a_node_that_is_later_too(bar: Callable[[Story], None]) -> None:
    story = far_is_slow()
    story.receive("BOS", A=2)
    story.receive("CHI", A=2)
    story.order("1", A=2)
    promised_ms = story.the_order("1").promised_ms
    assert story.plan("1") == {"BOS": {"A": 2}}
    bar(story)
    story.at(1)
    assert story.plan("1") == {"CHI": {"A": 2}}
    assert story.told("order_improved")[0]["before"][0] is None
    assert len(story.told("order_promise_changed")) == 1
    assert story.the_order("1").promised_ms == promised_ms
    assert requested(story.at(3600)) == [("web.1.2", "CHI")]


def test_what_a_node_that_closes_itself_holds_goes_to_another() -> None:
    story = far_is_slow()
    story.receive("BOS", A=2, B=1)
    story.receive("CHI", A=2)
    story.rules({"name": "at-once", "when": {"sku": "B"}}, {"name": "s1", "hold": 60})
    story.order("1", A=2)
    story.order("2", B=1)
    story.report("rejected", "2.1", reason="closed")
    story.at(1)
    assert story.plan("1") == {"CHI": {"A": 2}}


def test_what_ages_while_it_is_held_gives_way_to_what_is_fresh() -> None:
    story = far_is_slow()
    story.node("BOS", working_days=["mon"])
    story.rules({"hold": 10_000, "fences": {"min_shelf_days": 5}})
    lot: dict[str, Any] = {"sku": "A", "quantity": 1, "lot": "L"}
    story.send("stock_received", node_id="BOS", expires_on="2027-01-21", **lot)
    story.send("stock_received", node_id="CHI", expires_on="2027-03-01", **lot)
    story.order("1", A=1)
    assert story.plan("1") == {"BOS": {"A": 1}}
    story.at(2 * 86_400)
    story.receive("CHI", A=1)
    story.at(1)
    assert story.plan("1") == {"CHI": {"A": 1}}


def test_of_two_parts_at_a_node_one_goes_elsewhere_where_enough_is_fresh_for_one_alone() -> None:
    story = far_is_slow()
    story.node("BOS", working_days=["mon"])
    story.rules({"hold": 10_000, "fences": {"min_shelf_days": 5}})
    lot: dict[str, Any] = {"sku": "A", "quantity": 1}
    story.send("stock_received", node_id="BOS", lot="L1", expires_on="2027-01-21", **lot)
    story.order("1", A=2)
    story.send("stock_received", node_id="BOS", lot="L2", expires_on="2027-03-01", **lot)
    assert story.plan("1") == {"BOS": {"A": 2}}
    story.at(2 * 86_400)
    story.send("stock_received", node_id="CHI", lot="L3", expires_on="2027-03-01", **lot)
    story.at(1)
    assert story.plan("1") == {"BOS": {"A": 1}, "CHI": {"A": 1}}


def test_what_the_strategy_of_a_closed_node_leaves_to_the_next_goes_by_that() -> None:
    story = far_is_slow()
    story.rules(
        {"name": "near", "hold": 60, "fences": {"nodes": {"node": "BOS"}}, "else": "any"},
        {"name": "any"},
    )
    story.receive("BOS", A=1)
    story.receive("CHI", A=1)
    story.order("1", A=1)
    close(story)
    assert requested(story.at(1)) == [("web.1.2", "CHI")], "which holds nothing"


def test_what_one_strategy_left_to_another_is_not_barred_by_the_first() -> None:
    story = far_is_slow()
    story.rules(
        {"name": "near", "hold": 60, "fences": {"nodes": {"node": "BOS"}}, "else": "any"},
        {"name": "any", "hold": 60},
    )
    story.receive("CHI", A=2)
    story.order("1", A=2)
    story.receive("BOS", A=1)
    story.at(1)
    assert story.plan("1") == {"CHI": {"A": 2}}


def test_of_what_a_closed_node_holds_goes_what_others_have_and_the_rest_stays() -> None:
    story = far_is_slow()
    story.receive("BOS", A=1, B=2)
    story.receive("CHI", A=1, B=1)
    story.order("1", A=1, B=2)
    close(story)
    story.at(1)
    assert story.plan("1") == {"BOS": {"B": 1}, "CHI": {"A": 1, "B": 1}}
    assert story.told("order_improved")[0]["replaced"] == ["web.1.1"]
    assert story.told("order_allocated")[0]["backordered"] == []
    assert requested(story.at(3600)) == [("web.1.1", "BOS"), ("web.1.2", "CHI")]
    assert plain(story.shard) == plain(story.twin)


def test_what_another_node_holds_stays_where_the_closed_nodes_part_goes_only_in_part() -> None:
    story = far_is_slow()
    story.node("LAX")
    story.receive("BOS", A=2)
    story.receive("LAX", B=1)
    story.order("1", A=2, B=1)
    assert story.plan("1") == {"BOS": {"A": 2}, "LAX": {"B": 1}}
    close(story)
    story.receive("CHI", A=1)
    story.at(1)
    assert story.plan("1") == {"BOS": {"A": 1}, "LAX": {"B": 1}, "CHI": {"A": 1}}
    assert [one.fulfillment_id for one in story.the_order("1").held()] == [
        "web.1.1",
        "web.1.2",
        "web.1.3",
    ]


def test_what_several_strategies_hold_leaves_a_closed_node_as_well() -> None:
    story = far_is_slow()
    story.receive("BOS", A=1)
    story.order("1", A=2)
    story.rules({"name": "other", "hold": 60})
    story.receive("BOS", A=1)
    assert [by for by, _ in story.the_order("1").held_by.values()] == ["s1", "other"]
    story.receive("CHI", A=2)
    story.at(1)
    assert story.plan("1") == {"BOS": {"A": 2}}
    close(story)
    story.at(1)
    assert story.plan("1") == {"CHI": {"A": 2}}


def test_what_is_barred_goes_in_one_piece_or_stays() -> None:
    story = far_is_slow()
    story.receive("BOS", A=1, B=1)
    story.receive("CHI", A=1)
    story.order("1", A=1, B=1, allow_split=False)
    close(story)
    story.at(1)
    assert story.plan("1") == {"BOS": {"A": 1, "B": 1}}
    story.receive("CHI", B=1)
    story.at(1)
    assert story.plan("1") == {"CHI": {"A": 1, "B": 1}}


def test_what_closes_just_before_the_release_is_seen_before_it() -> None:
    story = far_is_slow()
    story.receive("BOS", A=1)
    story.receive("CHI", A=1)
    story.order("1", A=1)
    story.at(3599.5)
    close(story)
    assert requested(story.at(0.6)) == [("web.1.2", "CHI")]


def test_what_nobody_else_has_is_asked_of_the_closed_node_which_may_reject_it() -> None:
    story = far_is_slow()
    story.receive("BOS", A=1)
    story.order("1", A=1)
    close(story)
    assert requested(story.at(3600)) == [("web.1.1", "BOS")]
    story.report("rejected", "1.1", reason="closed")
    assert story.counts("1") == {"backordered": 1}


def discontinue(story: Story) -> None:
    story.service(active=False)


@pytest.mark.parametrize("stop", [suspend, discontinue])
def test_a_carrier_that_takes_nothing_gives_way_to_another_at_the_same_node(
    stop: Callable[[Story], None],
) -> None:
    story = far_is_slow()
    story.service("dhl", "x", rates=[{"to_km": 6000, "base_minor": 950, "transit_days": 2}])
    story.receive("BOS", A=1)
    story.order("1", A=1)
    assert story.fulfillment("1.1").carrier == "ups"
    stop(story)
    story.at(1)
    (asked,) = (one for one in story.at(3600) if one["type"] == "fulfillment_requested")
    assert (asked["node_id"], asked["carrier"], asked["service"]) == ("BOS", "dhl", "x")


def test_what_the_order_asks_of_carriers_is_no_reason_to_plan_it_again() -> None:
    story = far_is_slow()
    story.receive("BOS", A=1)
    story.order("1", A=1, carrier="fedex", service="2day")
    close(story)
    story.receive("CHI", A=1)
    story.at(1)
    assert story.plan("1") == {"CHI": {"A": 1}}
    story.receive("CHI", A=1)
    assert improved(story.at(1)) == []


def test_a_request_whose_day_is_over_goes_for_another_day() -> None:
    story = Story()
    story.node("BOS")
    story.item("A")
    story.rules({"hold": 10_000})
    story.receive("BOS", A=1)
    story.order("1", A=1)
    held = story.fulfillment("1.1")
    assert held.ship_by_ms is not None
    story.now_ms = held.ship_by_ms + 3 * 3_600_000  # nobody was there to tell the time
    (asked,) = (one for one in story.at(0) if one["type"] == "fulfillment_requested")
    assert asked["fulfillment_id"] == "web.1.2"
    assert instant_ms(asked["ship_by"]) > story.now_ms
    assert list(story.shard.nodes["BOS"].booked) == [story.fulfillment("1.2").ship_day]


def test_what_moves_in_part_takes_no_units_that_stay() -> None:
    story = Story()
    story.node("BOS")
    story.node("CHI")
    story.item("A")
    story.rules({"hold": 10_000})
    story.receive("BOS", A=1)
    story.receive("CHI", A=1)
    story.order("1", A=2)
    ship_by_ms = story.fulfillment("1.1").ship_by_ms
    assert ship_by_ms is not None
    story.now_ms = ship_by_ms + 2 * 3_600_000
    close(story)
    assert requested(story.events) == [("web.1.3", "CHI"), ("web.1.1", "BOS")]
    assert story.plan("1") == {"BOS": {"A": 1}, "CHI": {"A": 1}}


def test_a_request_that_comes_a_moment_after_its_cut_off_goes_as_it_is() -> None:
    story = Story()
    story.node("BOS")
    story.item("A")
    story.rules({"hold": 10_000})
    story.receive("BOS", A=1)
    story.order("1", A=1)
    ship_by_ms = story.fulfillment("1.1").ship_by_ms
    assert ship_by_ms is not None
    story.now_ms = ship_by_ms + 40
    assert requested(story.at(0)) == [("web.1.1", "BOS")]


def test_all_that_a_closed_node_holds_is_looked_at_a_few_items_at_a_time() -> None:
    story = far_is_slow(Config(improve_skus=2))
    skus = [f"C{number}" for number in range(5)]
    story.item(*skus)
    for sku in skus:
        one: dict[str, Any] = {sku: 1}
        story.receive("BOS", **one)
        story.receive("CHI", **one)
        story.order(sku, **one)
    story.at(1)
    close(story)
    called = [len(one["skus"]) for one in story.told("improvement_due")]
    assert called == [2, 2, 1]
    story.at(1)
    assert [story.plan(sku) for sku in skus] == [{"CHI": {sku: 1}} for sku in skus]
    assert plain(story.shard) == plain(story.twin)


# how long it is held


def test_an_improvement_makes_no_hold_longer() -> None:
    story = Story()
    for place in range(5):
        story.node(f"N{place}", handling_cost_minor=1000 - 100 * place)
    story.item("A")
    story.rules({"hold": 60})
    story.receive("N0", A=1)
    story.order("1", A=1)
    story.at(50 * 60)
    story.receive("N1", A=1)
    assert improved(story.at(1)) == ["order_improved"]
    assert requested(story.at(10 * 60)) == [("web.1.2", "N1")]
    story.receive("N2", A=1)
    assert improved(story.at(1)) == []


def test_what_comes_later_is_held_for_a_time_of_its_own() -> None:
    story = shop(replan_saving=10**9)
    story.receive("BOS", A=1)
    story.order("1", A=2)
    story.at(50 * 60)
    story.receive("BOS", A=1)
    assert requested(story.at(10 * 60)) == [("web.1.1", "BOS")]
    assert requested(story.at(50 * 60)) == [("web.1.2", "BOS")]


def test_where_nothing_says_when_it_arrives_an_improvement_leaves_no_later() -> None:
    story = Story()
    story.node("BOS", handling_cost_minor=900)
    story.node("CHI", cut_off="09:00")
    story.item("A")
    story.rules({"hold": 10_000})
    story.receive("BOS", A=1)
    story.order("1", A=1)
    held = story.fulfillment("1.1")
    assert held.ship_by_ms is not None
    story.now_ms = held.ship_by_ms - 600_000
    story.receive("CHI", A=1)
    assert improved(story.at(1)) == []
    assert requested(story.at(600)) == [("web.1.1", "BOS")]
