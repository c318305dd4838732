"""Held fulfillments: Headrace's own until the node is asked."""

import orjson
import pytest

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
