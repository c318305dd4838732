"""Plans with rates and room: what is promised, how a promise moves, what improves with room."""

from typing import Any

import orjson
import pytest

from schemas.times import instant_ms, iso_day
from tests.core.story import Story, plain


def shop(hold: int = 0) -> Story:
    """A store in Boston that takes one order a day, a warehouse in Chicago; two days' transit."""
    story = Story()
    story.node("BOS", capacity_orders_per_day=1)
    story.node("CHI")
    story.item("A")
    near, far = (
        {"to_km": km, "base_minor": km, "per_kg_minor": 0, "transit_days": days}
        for km, days in ((500, 2), (6000, 5))
    )
    story.service(rates=[near, far])
    if hold:
        story.rules({"hold": hold})
    return story


def days(story: Story) -> dict[str, str]:
    """Ship day by order."""
    return {
        order.order_id: iso_day(order.fulfillments[-1].ship_day or 0)
        for order in story.shard.markets["US"].orders.values()
    }


def why(story: Story) -> dict[str, Any]:
    found: dict[str, Any] = orjson.loads(story.told("order_allocated")[0]["decision"])
    return found


def test_the_first_plans_latest_delivery_is_the_promise() -> None:
    story = shop()
    story.receive("BOS", A=1)
    story.order("1", A=1)
    (told,) = story.told("order_allocated")
    (part,) = told["fulfillments"]
    assert told["promised_by"] == part["deliver_by"]
    (asked,) = story.told("fulfillment_requested")
    assert (asked["carrier"], asked["service"]) == ("ups", "ground")
    assert asked["deliver_by"] == part["deliver_by"]


def test_the_service_that_an_order_names_is_passed_on() -> None:
    story = shop()
    story.service("dhl", "express")
    story.receive("BOS", A=1)
    story.order("1", A=1, carrier="dhl", service="express")
    (asked,) = story.told("fulfillment_requested")
    assert (asked["carrier"], asked["service"]) == ("dhl", "express")


def test_a_carrier_that_the_market_does_not_know_is_passed_on_without_the_rated_service() -> None:
    story = shop()
    story.receive("BOS", A=1)
    story.order("1", A=1, carrier="dhl")
    (asked,) = story.told("fulfillment_requested")
    assert (asked["carrier"], asked.get("service")) == ("dhl", None)


def test_an_order_that_names_a_carrier_gets_the_service_that_was_chosen_of_it() -> None:
    story = shop()
    story.service("dhl", "express")
    story.receive("BOS", A=1)
    story.order("1", A=1, carrier="dhl")
    (asked,) = story.told("fulfillment_requested")
    assert (asked["carrier"], asked["service"]) == ("dhl", "express")


def test_a_later_plan_is_told_where_it_is_later_than_what_was_told() -> None:
    story = shop()
    story.receive("BOS", A=1)
    story.receive("CHI", A=1)
    story.order("1", A=1)
    promised_by = story.told("order_allocated")[0]["promised_by"]
    story.report("rejected", "1.1", reason="not_in_stock")
    (changed,) = story.told("order_promise_changed")
    assert changed["promised_by"] == promised_by
    assert instant_ms(changed["deliver_by"]) > instant_ms(promised_by)
    story.receive("BOS", A=1)
    story.report("rejected", "1.2", reason="not_in_stock")
    assert story.told("order_promise_changed") == [], "sooner than what was told since"
    assert story.the_order("1").promised_ms == instant_ms(promised_by)


def test_what_is_sourced_again_keeps_the_promise_where_that_is_worth_its_price() -> None:
    story = shop()
    near, far = (
        {"to_km": km, "base_minor": minor, "transit_days": days}
        for km, minor, days in ((500, 100, 2), (6000, 900, 5))
    )
    story.service(rates=[near, far])
    story.service("ups", "air", rates=[{**far, "base_minor": 1000, "transit_days": 2}])
    story.receive("BOS", A=1)
    story.receive("CHI", A=1)
    story.order("1", A=1)
    promised_by = story.told("order_allocated")[0]["promised_by"]
    assert "own_promise" not in why(story)
    story.report("rejected", "1.1", reason="not_in_stock")
    (asked,) = story.told("fulfillment_requested")
    assert (asked["node_id"], asked["service"]) == ("CHI", "air"), "three days late cost more"
    assert asked["deliver_by"] == promised_by
    assert story.told("order_promise_changed") == []
    assert (why(story)["promise"], why(story)["own_promise"]) == (promised_by, True)


@pytest.mark.parametrize("seconds", [3_600, 4 * 86_400])  # within the promised days, and after
def test_a_day_that_nobody_asked_for_keeps_no_order_from_what_is_there(seconds: int) -> None:
    story = shop()
    story.rules({"fences": {"reach_promise": True}, "unsourced": "cancel"})
    story.receive("BOS", A=1)
    story.order("1", A=1, line={"allow_backorder": False})
    story.at(seconds)
    story.receive("CHI", A=50)
    story.report("rejected", "1.1", reason="damaged")
    assert story.plan("1") == {"CHI": {"A": 1}}
    assert story.told("order_promise_changed") != []


def test_a_day_that_was_asked_for_bars_what_is_late_also_when_it_is_sourced_again() -> None:
    story = shop()
    story.rules({"fences": {"reach_promise": True}})
    story.receive("BOS", A=1)
    story.order("1", A=1, deliver_by="2027-01-19")
    promised = story.told("order_allocated")[0]["promised_by"]
    story.receive("CHI", A=1)
    story.report("rejected", "1.1", reason="not_in_stock")
    assert story.status("1") == "backordered", f"Chicago would be later than {promised}"
    story.receive("BOS", A=1)
    assert story.plan("1") == {"BOS": {"A": 1}}


def test_a_full_day_is_left_for_the_next_and_refilled_when_it_has_room() -> None:
    story = shop()
    story.receive("BOS", A=5)
    story.order("1", A=1)
    story.order("2", A=1)
    first, second = days(story)["1"], days(story)["2"]
    assert first < second
    story.report("rejected", "1.1", reason="capacity", lines=[{"line_id": "1", "quantity": 1}])
    story.cancel("1")
    story.at(5 * 3600)
    story.order("3", A=1)
    assert days(story)["3"] == first


def test_room_on_a_day_improves_what_is_held() -> None:
    story = shop(hold=60)
    story.receive("BOS", A=5)
    story.order("1", A=1, deliver_by="2027-01-19")
    story.order("2", A=1, deliver_by="2027-01-19")
    before = days(story)
    assert before["1"] < before["2"]
    story.cancel("1")
    story.at(1)
    assert len(story.told("order_improved")) == 1, "a day less late is worth its price"
    assert days(story)["2"] == before["1"]
    assert plain(story.shard) == plain(story.twin)


def boat(story: Story) -> None:
    """Cheap, and for patient people."""
    rates = [{"to_km": 6000, "base_minor": 1, "per_kg_minor": 0, "transit_days": 30}]
    story.service("slow", "boat", rates=rates)


def test_a_cheaper_plan_is_none_where_it_comes_later_than_promised() -> None:
    story = shop(hold=60)
    story.receive("CHI", A=5)
    story.order("1", A=1)
    promised_ms = story.the_order("1").promised_ms
    boat(story)
    story.receive("BOS", A=1)
    story.at(1)
    assert len(story.told("order_improved")) == 1
    better = story.fulfillment("1.2")
    assert (better.node_id, better.service) == ("BOS", "ground"), "in time, and nearer"
    assert better.deliver_by_ms is not None
    assert promised_ms is not None
    assert better.deliver_by_ms <= promised_ms


def test_a_plan_that_would_only_come_later_changes_nothing() -> None:
    story = shop(hold=60)
    story.rules({"hold": 60}, late_per_day={"standard": 0})
    boat(story)
    only_by_boat: dict[str, Any] = {"market_id": "US", "carrier": "ups", "origin_node_id": "CHI"}
    story.send("lane_suspended", **only_by_boat, reason="strike")
    story.receive("BOS", A=1)
    story.order("1", A=1, deliver_by="2027-01-19")
    assert story.fulfillment("1.1").service == "ground"
    story.receive("CHI", A=1)
    story.at(1)
    assert story.told("order_improved") == [], "it would be cheaper"
    assert story.plan("1") == {"BOS": {"A": 1}}


def test_room_that_another_item_leaves_improves_what_is_held() -> None:
    story = shop(hold=60)
    story.item("B")
    story.receive("BOS", A=5, B=5)
    story.order("1", B=1, deliver_by="2027-01-19")
    story.order("2", A=1, deliver_by="2027-01-19")
    first = days(story)["1"]
    story.cancel("1")
    story.at(1)
    assert days(story)["2"] == first


def test_a_ship_by_that_is_missed_buys_no_faster_service() -> None:
    story = Story()
    story.node("BOS")
    story.item("A")
    story.receive("BOS", A=5)
    for service, minor, transit in (("slow", 100, 3), ("fast", 9_000, 1)):
        band = {"to_km": 100_000, "base_minor": minor, "per_kg_minor": 0, "transit_days": transit}
        story.service(service=service, rates=[band])
    today = story.now_ms // 86_400_000
    promises: list[dict[str, Any]] = [{}, {"deliver_by": iso_day(today + 30)}]
    for order_id, promise in zip("12", promises, strict=True):
        story.order(order_id, A=1, ship_by=iso_day(today - 2), **promise)
        assert story.fulfillment(f"{order_id}.1").service == "slow"
    day = story.fulfillment("1.1").ship_day or 0
    story.order("3", A=1, ship_by=iso_day(today - 2), deliver_by=iso_day(day + 1))
    assert story.fulfillment("3.1").service == "fast"
