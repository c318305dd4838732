"""What the planner must find, where a way of doing it fast once missed it."""

from typing import Any

import orjson
import pytest

from events.decided import NodeRow
from tests.core.story import Story


def decision(shop: Story) -> dict[str, Any]:
    found: dict[str, Any] = orjson.loads(shop.told("order_allocated")[-1]["decision"])
    return found


def test_a_part_of_a_line_that_another_node_has_whole_may_give_the_most_units(shop: Story) -> None:
    shop.rules({"split": {"quantity": "never", "max_legs": 1}})
    shop.receive("BOS", A=3)
    shop.receive("CHI", A=2, B=2)
    shop.order("1", A=3, B=3)
    assert shop.plan("1") == {"CHI": {"A": 2, "B": 2}}


def test_the_runner_up_may_give_a_part_where_lines_are_not_divided(shop: Story) -> None:
    shop.rules({"split": {"quantity": "never"}})
    shop.receive("BOS", A=3)
    shop.receive("CHI", A=2)
    shop.order("1", A=3)
    assert shop.plan("1") == {"BOS": {"A": 3}}
    assert decision(shop)["runner_up"]["units"] == 2


def test_an_item_that_nobody_ever_had_ranks_nowhere_and_waits(shop: Story) -> None:
    shop.rules({"objective": ["on_hand", "days_of_supply"]})
    shop.order("1", A=1)
    assert shop.counts("1") == {"backordered": 1}


def test_who_has_no_data_of_an_item_ranks_last_however_long_the_rest_would_last(
    shop: Story,
) -> None:
    shop.receive("BOS", A=100, B=4)
    shop.receive("CHI", A=4, B=4)
    sold: dict[str, dict[str, Any]] = {"BOS": {"A": 1}, "CHI": {"A": 1, "B": 1}}
    for order_id, (node_id, units) in zip("12", sold.items(), strict=True):
        shop.rules({"fences": {"nodes": {"node": node_id}}})
        shop.order(order_id, **units)
        shop.ship(f"{order_id}.1", package=order_id)
    for order_id, ranking in (("3", "days_of_supply"), ("4", {"days_of_supply": "asc"})):
        shop.rules({"objective": [ranking]})
        shop.order(order_id, A=1, B=1, allow_split=False)
        assert shop.plan(order_id) == {"CHI": {"A": 1, "B": 1}}, "BOS sold none of B"


def test_who_never_had_an_item_lacks_what_must_stay_there_too(shop: Story) -> None:
    shop.rules({}, safety_stock=[{"units": 2}])
    shop.order("1", A=1)
    rows = [NodeRow(*row) for row in decision(shop)["sets"][0][1:]]
    assert [row.short for row in rows] == [[[0, 3]]] * 3


def test_a_node_whose_day_with_room_is_too_late_keeps_no_line_together(shop: Story) -> None:
    shop.node("BOS", capacity_orders_per_day=1)
    shop.service()
    shop.rules({"fences": {"reach_promise": True}})
    shop.receive("BOS", A=9)
    shop.receive("CHI", A=2)
    shop.receive("LAX", A=1)
    shop.order("1", A=1)
    assert shop.plan("1") == {"BOS": {"A": 1}}
    shop.order("2", A=3, deliver_by="2027-01-17")
    assert shop.plan("2") == {"CHI": {"A": 2}, "LAX": {"A": 1}}


def test_safety_stock_follows_an_item_into_its_new_category(shop: Story) -> None:
    shop.rules({}, safety_stock=[{"category": "fresh", "units": 2}])
    shop.receive("BOS", A=2)
    shop.receive("LAX", A=3)
    shop.order("1", A=1)
    assert shop.plan("1") == {"BOS": {"A": 1}}
    shop.send("item_defined", sku="A", name="A", category="fresh")
    shop.order("2", A=1)
    assert shop.plan("2") == {"LAX": {"A": 1}}


def test_a_line_that_the_channel_may_not_promise_is_no_row_of_the_table(shop: Story) -> None:
    shop.rules({}, thresholds={"web": 2})
    shop.receive("BOS", A=2, B=3)
    shop.order("1", A=1, B=1)
    assert [one[0] for one in decision(shop)["sets"]] == [[0, 1]]


def test_a_region_that_only_the_postal_code_tells_meets_conditions() -> None:
    shop = Story()
    shop.node("BOS")
    shop.item("A")
    rows = [{"postal_code": "99501", "lat": 61.2, "lon": -149.9, "region": "AK"}]
    shop.send("places_defined", country="US", version="1", chunk=1, chunks=1, rows=rows)
    shop.rules({"name": "mainland", "when": {"not": {"region": ["AK"]}}}, {"name": "afar"})
    shop.receive("BOS", A=1)
    shop.order("1", A=1, ship_to={"country": "US", "postal_code": "99501"})
    told = orjson.loads(shop.told("order_allocated")[-1]["decision"])
    assert told["strategy"] == "afar"


@pytest.mark.parametrize(
    "split", [{"max_legs": 1}, {"leg_min": {"units": 2}}, {"quantity": "never"}], ids=str
)
def test_rules_of_dividing_bind_one_plan_and_the_order_where_the_rest_is_cancelled(
    split: dict[str, Any],
) -> None:
    for unsourced in ("backorder", "cancel"):
        story = Story()
        story.node("BOS")
        story.node("CHI")
        story.item("A")
        story.rules({"split": split, "unsourced": unsourced})
        story.receive("BOS", A=2)
        story.receive("CHI", A=1)
        story.order("1", A=3)
        assert story.plan("1") == {"BOS": {"A": 2}}
        story.node("CHI", handling_cost_minor=7)
        story.at(1)
        rest = {} if unsourced == "cancel" else {"CHI": {"A": 1}}
        assert story.plan("1") == {"BOS": {"A": 2}, **rest}


@pytest.mark.parametrize(
    "line", [{"total_minor": 3_000}, {"unit_price_minor": 3_000}, {"total_minor": 2_999}], ids=str
)
def test_a_leg_is_worth_what_its_lines_are_worth_by_conditions_too(line: dict[str, int]) -> None:
    story = Story()
    for node_id in ("BOS", "CHI"):
        story.node(node_id)
    story.item("A", "B")
    story.rules({"split": {"leg_min": {"value": 3_000}}})
    story.receive("BOS", A=1)
    story.receive("CHI", B=1)
    story.order("1", A=1, B=1, line=line)
    whole = 3_000 in line.values()
    assert len(story.plan("1")) == (2 if whole else 1)


def test_units_of_one_item_are_worth_what_all_its_lines_are_by_their_units() -> None:
    story = Story()
    for node_id in ("BOS", "CHI"):
        story.node(node_id)
    story.item("A")
    story.rules({"split": {"leg_min": {"value": 1_000}}})
    story.receive("BOS", A=1)
    story.receive("CHI", A=1)
    lines = [
        {"line_id": str(n), "sku": "A", "quantity": 1, "unit_price_minor": minor}
        for n, minor in enumerate((0, 1_999))
    ]
    story.order("1", lines=lines)
    assert story.plan("1") == {"BOS": {"A": 1}, "CHI": {"A": 1}}
