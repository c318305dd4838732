"""Another world: what comes from outside stays, what is answered follows what is asked."""

from pathlib import Path
from typing import Any

import orjson
import pytest

from orchestrator.past import order_then
from orchestrator.replay.changes import ChangeError, Changes, Opened, Rules, Stock
from orchestrator.replay.outcome import COSTS
from orchestrator.replay.period import Span
from schemas.times import rfc3339
from tests.core.story import Story
from tests.replay.worlds import FOREVER, of, replayed

HOUR = 3_600
CLOSE_BOS = Changes(closed=["BOS"])
MORE = Changes(stock=[Stock("MUG", "BOS", 10)])


@pytest.fixture
def shop() -> Story:
    """Five mugs in Boston, fifty in Chicago; an order that came before."""
    story = Story()
    for node_id in ("BOS", "CHI"):
        story.node(node_id)
    story.item("MUG", "CUP")
    story.receive("BOS", MUG=5)
    story.receive("CHI", MUG=50, CUP=50)
    story.at(HOUR)
    return story


def serve(story: Story, fulfillment: str, package: str, hours: float = 2) -> None:
    """Accepted, shipped and delivered, so many hours in between."""
    story.at(hours * HOUR)
    story.report("accepted", fulfillment)
    story.at(hours * HOUR)
    story.ship(fulfillment, package, shipped_at=_time(story))
    story.at(24 * HOUR)
    story.send(
        "tracking_updated",
        carrier="ups",
        tracking_number=f"T{package}",
        status="delivered",
        at=_time(story),
    )


def _time(story: Story) -> str:
    return rfc3339(story.now_ms)


def test_what_is_asked_alike_is_answered_as_it_was_and_the_rest_is_drawn(
    shop: Story, tmp_path: Path
) -> None:
    shop.order("1", MUG=2)
    serve(shop, "1.1", "A")
    shop.order("2", CUP=1)
    serve(shop, "2.1", "B")
    run = replayed(of(shop, tmp_path), CLOSE_BOS)
    assert run.orders["web/1"].units == {"CHI": 2}
    assert run.orders["web/1"].drawn
    assert not run.orders["web/2"].drawn
    assert run.outcome.answers == {"drawn": 1, "in place": 3}
    assert run.outcome.dropped["answers to work that is not asked here"] == 3
    assert run.orders["web/1"].closed
    assert run.orders["web/2"].closed


def test_what_is_asked_alike_at_another_time_is_answered_after_the_same_delay(
    shop: Story, tmp_path: Path
) -> None:
    shop.order("1", MUG=5)
    serve(shop, "1.1", "A")
    shop.node("CHI", active=False)
    shop.order("2", MUG=3)  # waits until mugs come
    asked_ms = shop.now_ms
    shop.at(10 * HOUR)
    shop.receive("BOS", MUG=3)
    serve(shop, "2.1", "B")
    delivered_ms = shop.now_ms
    period = of(shop, tmp_path)
    was = replayed(period)
    assert was.orders["web/2"].delivered_ms == delivered_ms
    run = replayed(period, MORE, name="more")
    row = run.orders["web/2"]
    assert row.units == {"BOS": 3}
    assert not row.drawn
    assert run.outcome.answers["at their delay"] == 3
    assert row.decisions[0].at_ms == asked_ms
    assert row.delivered_ms == delivered_ms - 10 * HOUR * 1000


def test_drawn_answers_are_alike_in_all_variants_and_follow_the_seed(
    shop: Story, tmp_path: Path
) -> None:
    for number in range(1, 9):
        shop.order(str(number), MUG=1)
        node = shop.fulfillment(f"{number}.1").node_id
        serve(shop, f"{number}.1", f"P{number}", hours=0.5 * number + (node == "CHI"))
    period = of(shop, tmp_path)

    def arrivals(changes: Changes, seed: int, name: str) -> dict[str, int | None]:
        run = replayed(period, changes, seed=seed, name=name)
        return {key: row.delivered_ms for key, row in run.orders.items() if row.drawn}

    one = arrivals(CLOSE_BOS, 1, "one")
    other = arrivals(Changes(closed=["BOS"], stock=[Stock("CUP", "CHI", 5)]), 1, "other")
    assert one == other
    assert len(one) > 2
    assert any(arrivals(CLOSE_BOS, seed, f"s{seed}") != one for seed in (2, 3, 4))


def test_a_count_comes_as_the_difference_that_it_found(shop: Story, tmp_path: Path) -> None:
    shop.order("1", MUG=2)
    serve(shop, "1.1", "A")
    shop.send("stock_counted", node_id="BOS", sku="MUG", counted=2)  # one of three is missing
    period = of(shop, tmp_path)
    assert replayed(period).stock("BOS", "MUG") == (2, 0, 2)
    more = replayed(period, MORE, name="more")
    assert more.stock("BOS", "MUG") == (12, 0, 12)
    closed = replayed(period, CLOSE_BOS, name="closed")
    assert closed.stock("BOS", "MUG") == (4, 0, 4)
    assert closed.outcome.dropped["counts and short picks taken as differences"] == 1


def test_units_that_a_node_did_not_find_are_missing_here_too_and_no_more(
    shop: Story, tmp_path: Path
) -> None:
    shop.order("1", MUG=2)
    shop.at(HOUR)
    shop.report("rejected", "1.1", reason="not_in_stock")  # none of the five is there
    assert shop.stock("BOS", "MUG") == (0, 0, 0)
    period = of(shop, tmp_path)
    more = replayed(period, MORE, name="more")
    assert more.stock("BOS", "MUG") == (10, 0, 10)
    assert more.orders["web/1"].decisions[-1].trigger == "fulfillment_rejected"
    closed = replayed(period, CLOSE_BOS, name="closed")
    assert closed.stock("BOS", "MUG") == (0, 0, 0)


def test_a_short_pick_comes_as_its_difference(shop: Story, tmp_path: Path) -> None:
    shop.order("1", MUG=4)
    shop.at(HOUR)
    lines = [{"line_id": "1", "quantity": 3}]
    short = [{"line_id": "1", "quantity": 1, "reason": "not_in_stock"}]
    shop.ship("1.1", "A", lines=lines, short=short)
    assert shop.stock("BOS", "MUG") == (0, 0, 0)
    period = of(shop, tmp_path)
    assert replayed(period).loop.differing == 0
    more = replayed(period, MORE, name="more")
    assert more.stock("BOS", "MUG") == (10, 0, 10)
    closed = replayed(period, CLOSE_BOS, name="closed")  # two of five were never there
    assert closed.stock("BOS", "MUG") == (3, 0, 3)


def test_work_that_was_open_at_the_start_keeps_its_answers(shop: Story, tmp_path: Path) -> None:
    shop.order("1", MUG=2)
    shop.at(HOUR)
    from_ms = shop.now_ms + 1
    shop.at(HOUR)
    serve(shop, "1.1", "A")
    shop.order("2", MUG=1)
    run = replayed(of(shop, tmp_path, Span(from_ms, FOREVER)), CLOSE_BOS)
    (known,) = order_then(run.shard, "web/1")
    assert known["status"] == "delivered"
    assert run.stock("BOS", "MUG") == (3, 0, 3)
    assert set(run.orders) == {"web/2"}
    assert run.orders["web/2"].decisions[0].trigger == "order_placed"


def test_returns_of_what_was_not_sent_here_are_left_out_and_counted(
    shop: Story, tmp_path: Path
) -> None:
    shop.order("1", MUG=2)
    serve(shop, "1.1", "A")
    back: dict[str, Any] = {"node_id": "BOS", "sku": "MUG", "document": "web.1.1", "quantity": 2}
    shop.send("inbound_announced", **back, expected_at=_time(shop), kind="return")
    shop.send("stock_received", **back)
    shop.send("stock_received", node_id="BOS", sku="MUG", quantity=1, document="delivery")
    period = of(shop, tmp_path)
    assert replayed(period).stock("BOS", "MUG") == (6, 0, 6)
    closed = replayed(period, CLOSE_BOS, name="closed")
    assert closed.stock("BOS", "MUG") == (6, 0, 6)
    assert closed.outcome.dropped["receipts of transfers and returns not caused here"] == 1


def test_a_cancellation_that_history_lacks_is_answered_too(shop: Story, tmp_path: Path) -> None:
    shop.order("1", MUG=2)
    shop.at(60)
    shop.cancel("1")
    shop.at(60)
    shop.report("cancellation_accepted", "1.1", cancellation_id="web.1.1.c1")
    shop.order("2", MUG=1)
    serve(shop, "2.1", "B")
    period = of(shop, tmp_path)
    assert replayed(period).loop.differing == 0
    run = replayed(period, CLOSE_BOS, name="closed")
    assert run.orders["web/1"].closed
    assert run.orders["web/1"].units == {}
    assert run.stock("CHI", "MUG")[1:] == (0, run.stock("CHI", "MUG")[0])


def take_a_mug_back(shop: Story) -> None:
    """Four are asked for in Boston; a count takes one back, which Chicago ships."""
    shop.order("1", MUG=4)
    shop.at(HOUR)
    shop.send("stock_counted", node_id="BOS", sku="MUG", counted=3)  # takes a mug back
    shop.at(HOUR)
    shop.report("cancellation_accepted", "1.1", cancellation_id="web.1.1.c1")
    serve(shop, "1.1", "A")
    serve(shop, "1.2", "B")


def test_history_that_stopped_a_node_does_not_stop_what_is_not_cancelled_here(
    shop: Story, tmp_path: Path
) -> None:
    take_a_mug_back(shop)
    period = of(shop, tmp_path)
    assert replayed(period).orders["web/1"].units == {"BOS": 3, "CHI": 1}
    run = replayed(period, MORE, name="more")
    assert run.orders["web/1"].units == {"BOS": 4}
    assert run.orders["web/1"].closed
    assert run.stock("BOS", "MUG") == (9, 0, 9)


def test_what_is_left_of_work_planned_ahead_is_drawn_from_work_planned_as_far_ahead(
    tmp_path: Path,
) -> None:
    shop = Story()
    shop.node("BOS", capacity_orders_per_day=1)
    shop.node("CHI")
    shop.item("MUG")
    shop.receive("BOS", MUG=9)
    shop.receive("CHI", MUG=50)
    shop.at(HOUR)
    for number in (1, 2):  # a day's work is shipped within two hours
        shop.order(str(number), MUG=1)
        serve(shop, f"{number}.1", f"P{number}", hours=1)
    shop.at(2 * 24 * HOUR)
    shop.order("3", MUG=1)
    shop.order("4", MUG=4)
    assert shop.fulfillment("4.1").ship_day == (shop.fulfillment("3.1").ship_day or 0) + 1
    shop.at(60)
    shop.send("stock_counted", node_id="BOS", sku="MUG", counted=3)  # takes a mug back
    shop.at(60)
    shop.report("cancellation_accepted", "4.1", cancellation_id="web.4.1.c1")
    serve(shop, "4.1", "A", hours=13)
    shop.at(7 * 24 * HOUR)
    run = replayed(of(shop, tmp_path), MORE)
    row = run.orders["web/4"]
    assert row.drawn
    assert row.units == {"BOS": 4}
    assert row.delivered_ms == row.placed_ms + (26 + 24) * HOUR * 1000 + 120_000


def test_a_change_that_matters_to_no_order_leaves_every_order_as_it_was(
    shop: Story, tmp_path: Path
) -> None:
    take_a_mug_back(shop)
    shop.receive("BOS", MUG=5)
    shop.order("2", MUG=2)
    shop.order("3", MUG=1)
    shop.cancel("3")
    shop.report("rejected", "2.1", reason="damaged")
    shop.report("cancellation_accepted", "3.1", cancellation_id="web.3.1.c1")
    serve(shop, "2.2", "C")
    period = of(shop, tmp_path)
    was = replayed(period)
    run = replayed(period, Changes(stock=[Stock("CUP", "BOS", 7)]), name="other")
    assert was.loop.differing == 0
    assert run.orders == was.orders
    assert run.outcome.answers == was.outcome.answers == {"in place": 12}
    assert not run.outcome.dropped
    assert run.stock("BOS", "MUG") == was.stock("BOS", "MUG")


def test_demand_places_some_orders_twice_and_the_same_ones_again(
    shop: Story, tmp_path: Path
) -> None:
    for number in range(1, 21):
        shop.order(str(number), CUP=1)
        shop.at(60)
        serve(shop, f"{number}.1", f"P{number}", hours=0.1)
    period = of(shop, tmp_path)
    busy = replayed(period, Changes(demand_percent=150), name="busy")
    copies = [key for key, row in busy.orders.items() if row.copy]
    assert len(busy.orders) == 20 + len(copies)
    assert 4 <= len(copies) <= 16
    assert all(key.endswith("~1") for key in copies)
    again = replayed(period, Changes(demand_percent=150), name="again")
    assert again.orders == busy.orders
    calm = replayed(period, Changes(demand_percent=50), name="calm")
    assert 4 <= len(calm.orders) <= 16
    assert set(calm.orders) < {f"web/{number}" for number in range(1, 21)}


def test_an_order_that_is_left_out_stays_out_though_history_has_it_twice(
    shop: Story, tmp_path: Path
) -> None:
    for number in range(1, 21):
        shop.order(str(number), CUP=1)
        shop.order(str(number), CUP=1)
    run = replayed(of(shop, tmp_path), Changes(demand_percent=50))
    assert 4 <= len(run.orders) <= 16
    assert len(run.orders) + run.outcome.dropped["orders less, by --demand"] == 20


def test_what_intake_read_again_is_left_out_with_what_it_repeats(
    shop: Story, tmp_path: Path
) -> None:
    """Its offset is before the newest that was taken, so it would pass for a new topic's."""
    for number, node_id in enumerate(("BOS", "CHI"), 1):
        shop.order(str(number), to=node_id, MUG=1)
        shop.ship(f"{number}.1", f"P{number}")
    shop.track("TP1")
    delivered = orjson.loads(shop.entries[-1])["input"]
    shop.track("TP2")
    assert [one["type"] for one in shop.take(delivered)] == ["input_repeated"]
    run = replayed(of(shop, tmp_path), CLOSE_BOS)
    assert run.orders["web/2"].delivered_ms
    assert run.orders["web/1"].drawn


def test_other_rules_decide_all_along_whatever_history_activated(
    shop: Story, tmp_path: Path
) -> None:
    shop.order("1", to="CHI", MUG=1)
    shop.at(HOUR)
    shop.rules({"fences": {"nodes": {"node": ["CHI"]}}})
    shop.order("2", to="BOS", MUG=1)
    body = {"strategies": [{"name": "boston", "fences": {"nodes": {"node": ["BOS"]}}}]}
    run = replayed(of(shop, tmp_path), Changes(rules=[Rules("US", "1", body)]))
    market = run.shard.markets["US"]
    plans = {one.order_id: one.fulfillments[0].node_id for one in market.orders.values()}
    assert plans == {"1": "BOS", "2": "BOS"}
    assert run.outcome.dropped["rule_set_activated that the variant replaces"] == 1


def test_a_node_stays_closed_when_history_defines_it_anew(shop: Story, tmp_path: Path) -> None:
    shop.order("1", CUP=1)
    shop.node("BOS", handling_cost_minor=5)
    shop.order("2", MUG=1)
    run = replayed(of(shop, tmp_path), CLOSE_BOS)
    assert run.shard.nodes["BOS"].handling_cost_minor == 5
    assert not run.shard.nodes["BOS"].active
    assert run.shard.markets["US"].orders["web/2"].fulfillments[0].node_id == "CHI"


def test_a_new_node_ships_what_it_is_given(shop: Story, tmp_path: Path) -> None:
    shop.order("1", to="NYC", CUP=1)
    serve(shop, "1.1", "A")
    node = {
        "node_id": "NYC",
        "market_id": "US",
        "kind": "store",
        "name": "New York",
        "address": {"country": "US"},
        "location": {"lat": 40.71, "lon": -74.01},
    }
    changes = Changes(opened=[Opened(node, {"CUP": 3})])
    run = replayed(of(shop, tmp_path), changes)
    assert run.orders["web/1"].units == {"NYC": 1}
    assert run.stock("NYC", "CUP") == (2, 0, 2)


def test_capacity_moves_work_to_other_days(shop: Story, tmp_path: Path) -> None:
    for number in range(1, 5):
        shop.order(str(number), CUP=1)
    run = replayed(of(shop, tmp_path), Changes(capacity={"CHI": 1}))
    days = [load for (node_id, _), load in run.outcome.load.items() if node_id == "CHI"]
    assert [load[0] for load in days] == [1, 1, 1, 1]


def test_an_item_that_nobody_defined_is_no_change(shop: Story, tmp_path: Path) -> None:
    shop.order("1", CUP=1)
    with pytest.raises(ChangeError, match="stock of TEA at BOS"):
        replayed(of(shop, tmp_path), Changes(stock=[Stock("TEA", "BOS", 1)]))


def test_what_does_not_close_is_censored(shop: Story, tmp_path: Path) -> None:
    shop.order("1", CUP=1)
    shop.at(30 * 86_400)
    until_ms = shop.now_ms - 29 * 86_400_000
    run = replayed(of(shop, tmp_path, Span(0, until_ms)))
    assert not run.orders["web/1"].closed
    assert run.shard.now_ms < run.loop._span.end_ms


def test_a_variant_touches_only_the_shards_in_which_it_changes_something(
    shop: Story, tmp_path: Path
) -> None:
    shop.order("1", CUP=1)
    period = of(shop, tmp_path)
    node = {"node_id": "NYC", "market_id": "US"}
    touching = [
        CLOSE_BOS,
        MORE,
        Changes(capacity={"CHI": 1}),
        Changes(opened=[Opened(node, {})]),
        Changes(rules=[Rules("US", "1", {})]),
        Changes(rates=[{"market_id": "US", "carrier": "ups", "service": "ground"}]),
        Changes(demand_percent=110),
    ]
    elsewhere = [
        Changes(),
        Changes(closed=["PAR"], capacity={"PAR": 1}, stock=[Stock("MUG", "PAR", 1)]),
        Changes(opened=[Opened({**node, "market_id": "FR"}, {})]),
        Changes(rules=[Rules("FR", "1", {})]),
        Changes(rates=[{"market_id": "FR", "carrier": "ups", "service": "ground"}]),
    ]
    assert [one.touches(period) for one in touching] == [True] * len(touching)
    assert [one.touches(period) for one in elsewhere] == [False] * len(elsewhere)


def test_other_rates_hold_all_along_and_cost_what_they_say(shop: Story, tmp_path: Path) -> None:
    shop.service()
    shop.at(HOUR)
    from_ms = shop.now_ms
    shop.order("1", CUP=1)
    shop.service(rates=[{"to_km": 100_000, "base_minor": 400, "transit_days": 2}])
    shop.order("2", CUP=1)
    serve(shop, "1.1", "A")
    serve(shop, "2.1", "B")
    period = of(shop, tmp_path, Span(from_ms, FOREVER))
    was = replayed(period)
    assert [row.costs[0] for row in was.orders.values()] == [500, 400]
    dear = {
        "market_id": "US",
        "carrier": "ups",
        "service": "ground",
        "service_levels": ["standard"],
        "rates": [{"to_km": 100_000, "base_minor": 900, "transit_days": 2}],
    }
    run = replayed(period, Changes(rates=[dear]), name="dear")
    assert [row.costs[0] for row in run.orders.values()] == [900, 900]
    assert run.outcome.dropped["carrier_service_defined that the variant replaces"] == 1
    assert run.outcome.answers == {"in place": 6}


def test_of_orders_that_are_filled_together_each_pays_for_its_own_plan(tmp_path: Path) -> None:
    shop = Story()
    shop.node("BOS")
    shop.service(rates=[{"to_km": 9_000, "base_minor": 7, "per_kg_minor": 100, "transit_days": 2}])
    shop.send("item_defined", sku="MUG", name="Mug", weight_g=1_000)
    shop.order("before", MUG=3)
    shop.at(HOUR)
    from_ms = shop.now_ms
    shop.order("1", MUG=1)
    shop.order("2", MUG=2)
    shop.receive("BOS", MUG=9)
    filled = [one["type"] for one in orjson.loads(shop.entries[-1])["events"]]
    assert filled.count("order_allocated") == 3
    for number in ("before.1", "1.1", "2.1"):
        serve(shop, number, f"P{number}")
    run = replayed(of(shop, tmp_path, Span(from_ms, FOREVER)))
    assert {key: row.costs[0] for key, row in run.orders.items()} == {"web/1": 107, "web/2": 207}


def test_a_plan_that_is_told_in_parts_is_paid_for_once(tmp_path: Path) -> None:
    story = Story()
    for node_id, sku in (("BOS", "A"), ("CHI", "B"), ("LAX", "C")):
        story.node(node_id, handling_cost_minor=30)
        story.item(sku)
        story.receive(node_id, **{sku: 5})
    story.rules({"split": {"cost_per_extra_leg": 100}})
    story.at(HOUR)
    heavy = {f"key {number}": "x" * 1_900 for number in range(80)}  # one leg an entry
    story.order("1", A=1, B=1, C=1)
    story.order("2", A=1, B=1, C=1, attributes=heavy)
    for number in (1, 2):
        for leg in (1, 2, 3):
            story.ship(f"{number}.{leg}", package=f"{number}{leg}")
    run = replayed(of(story, tmp_path))
    costs = {key: dict(zip(COSTS, row.costs, strict=True)) for key, row in run.orders.items()}
    assert len(run.orders["web/2"].decisions) == 3
    assert costs["web/1"] == costs["web/2"]
    assert (costs["web/2"]["handling"], costs["web/2"]["split"]) == (90, 200)
