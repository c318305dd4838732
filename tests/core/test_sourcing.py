"""Sourcing where no carrier is known: most units, fewest legs, nearest first; and why."""

from typing import Any

import orjson

from events.decided import NodeRow
from tests.core.story import PLACES, Story

Decision = dict[str, Any]


def decision(shop: Story) -> Decision:
    found: Decision = orjson.loads(shop.told("order_allocated")[-1]["decision"])
    return found


def nodes_of(shop: Story, choice: str) -> list[str]:
    return [node_id for _, node_id in decision(shop)[choice]["legs"]]


def row_of(shop: Story, node_id: str) -> NodeRow:
    """The node as a source of all units."""
    for row in decision(shop)["sets"][0][1:]:
        if row[0] == node_id:
            return NodeRow(*row)
    raise AssertionError(node_id)


def kept_out(shop: Story, fence: str) -> list[str]:
    """The nodes that a fence keeps from shipping all of it."""
    told = decision(shop)
    bits = int(told["rest"]["fences"].get(fence, "0"), 16)
    named = [one for i, one in enumerate(told["rest"]["nodes"]) if bits >> i & 1]
    rows = [NodeRow(*row) for row in told["sets"][0][1:]]
    return sorted({*named, *(row.node_id for row in rows if fence in row.fences)})


def test_the_nearest_node_that_has_everything_ships(shop: Story) -> None:
    for node_id in ("LAX", "CHI", "BOS"):
        shop.receive(node_id, A=5)
    shop.order("1", to="CHI", A=2)
    assert shop.plan("1") == {"CHI": {"A": 2}}


def test_more_units_go_before_fewer_nodes(shop: Story) -> None:
    shop.receive("BOS", A=2)
    shop.receive("LAX", A=1)
    shop.order("1", A=3)
    assert shop.plan("1") == {"BOS": {"A": 2}, "LAX": {"A": 1}}


def test_fewer_nodes_go_before_a_shorter_way(shop: Story) -> None:
    shop.receive("BOS", A=1)
    shop.receive("CHI", B=1)
    shop.receive("LAX", A=1, B=1)
    shop.order("1", A=1, B=1)
    assert shop.plan("1") == {"LAX": {"A": 1, "B": 1}}


def test_the_summed_distance_chooses_among_as_many_nodes(shop: Story) -> None:
    shop.node("NYC")
    shop.receive("BOS", A=1)
    shop.receive("LAX", A=1, B=1)
    shop.receive("NYC", B=1)
    shop.receive("CHI", B=1)
    shop.order("1", A=2, B=1)
    assert shop.plan("1") == {"BOS": {"A": 1}, "LAX": {"A": 1, "B": 1}}
    shop.order("2", B=1)
    assert shop.plan("2") == {"NYC": {"B": 1}}


def test_equal_distances_end_in_the_node_id(shop: Story) -> None:
    for node_id in ("Y", "X"):
        shop.node(node_id)
        shop.receive(node_id, A=1)
    shop.order("1", A=1)
    assert shop.plan("1") == {"X": {"A": 1}}
    assert decision(shop)["decided_by"] == "node_id"


def test_a_node_without_a_location_ranks_last(shop: Story) -> None:
    shop.node("ANY", located=False)
    shop.receive("ANY", A=1)
    shop.receive("LAX", A=1)
    shop.order("1", A=1)
    assert shop.plan("1") == {"LAX": {"A": 1}}
    shop.order("2", A=1)
    assert shop.plan("2") == {"ANY": {"A": 1}}
    assert nodes_of(shop, "chosen") == ["ANY"]
    assert row_of(shop, "ANY").metres is None


def test_an_order_without_a_location_goes_by_node_id(shop: Story) -> None:
    for node_id in ("LAX", "CHI"):
        shop.receive(node_id, A=1)
    shop.order("1", to=None, A=1)
    assert shop.plan("1") == {"CHI": {"A": 1}}


def test_a_line_stays_whole_at_the_nearest_node_that_has_all_of_it(shop: Story) -> None:
    shop.receive("BOS", A=3, B=1)
    shop.receive("CHI", A=3, B=2)
    shop.receive("LAX", A=3)
    shop.order("1", A=3, B=3)
    assert shop.plan("1") == {"BOS": {"A": 3, "B": 1}, "CHI": {"B": 2}}


def test_an_order_that_must_not_split_waits_for_one_node(shop: Story) -> None:
    shop.receive("BOS", A=1)
    shop.receive("CHI", B=1)
    shop.order("1", A=1, B=1, allow_split=False)
    assert shop.status("1") == "backordered"
    assert decision(shop)["decided_by"] == "ship_complete"
    shop.receive("CHI", A=1)
    assert shop.plan("1") == {"CHI": {"A": 1, "B": 1}}
    assert shop.stock("BOS", "A") == (1, 0, 1)


def test_what_no_node_has_is_cancelled_where_it_may_not_wait(shop: Story) -> None:
    shop.receive("BOS", A=1)
    shop.order("1", line={"allow_backorder": False}, A=3)
    assert shop.counts("1") == {"allocated": 1, "cancelled": 2}
    (cancelled,) = shop.told("order_cancelled")
    assert (cancelled["reason"], cancelled["by"]) == ("no_stock", "system")
    shop.order("2", line={"allow_backorder": False}, B=1)
    assert shop.status("2") == "cancelled"


def test_lines_of_one_item_share_its_units(shop: Story) -> None:
    lines = [{"line_id": str(n), "sku": "A", "quantity": 2} for n in (1, 2, 3)]
    shop.receive("BOS", A=3)
    shop.receive("CHI", A=2)
    shop.order("1", lines=lines)
    assert shop.counts("1", "1") == {"allocated": 2}
    assert shop.counts("1", "2") == {"allocated": 2}
    assert shop.counts("1", "3") == {"allocated": 1, "backordered": 1}
    assert shop.plan("1") == {"BOS": {"A": 3}, "CHI": {"A": 2}}
    assert decision(shop)["lines"] == [["1", "A", 6, 6, None]]


def test_lines_of_one_item_that_must_not_split_need_one_node_with_their_sum(shop: Story) -> None:
    lines = [{"line_id": str(n), "sku": "A", "quantity": 2} for n in (1, 2)]
    shop.receive("BOS", A=3)
    shop.order("1", lines=lines, allow_split=False)
    assert shop.status("1") == "backordered"
    shop.receive("BOS", A=1)
    assert shop.plan("1") == {"BOS": {"A": 4}}


def test_a_line_over_many_nodes_is_divided_exactly(shop: Story) -> None:
    shop.node("NYC")
    for node_id in ("BOS", "CHI", "LAX", "NYC"):
        shop.receive(node_id, A=2)
    shop.order("1", A=5)
    assert decision(shop)["method"] == "exact"
    assert shop.plan("1") == {"BOS": {"A": 2}, "NYC": {"A": 2}, "CHI": {"A": 1}}


def test_the_explanation_names_fences_the_runner_up_and_what_decided(shop: Story) -> None:
    shop.node("NYC", active=False)
    shop.node("OFF", ships=False)
    for node_id in ("BOS", "CHI", "NYC", "OFF"):
        shop.receive(node_id, A=5)
    shop.order("1", A=2)
    told = decision(shop)
    assert (told["trigger"], told["rule_set"]) == ("order_placed", "default-1")
    assert told["lines"] == [["1", "A", 2, 2, None]]
    assert (nodes_of(shop, "chosen"), nodes_of(shop, "runner_up")) == (["BOS"], ["CHI"])
    assert row_of(shop, "BOS").metres == 0
    assert 1_362_000 < (row_of(shop, "CHI").metres or 0) < 1_372_000, "Boston to Chicago"
    assert kept_out(shop, "inactive") == ["NYC"]
    assert kept_out(shop, "does_not_ship") == ["OFF"]
    assert told["decided_by"] == "value"
    assert told["chosen"]["units"] == 2


def test_a_node_that_rejected_the_item_is_removed_as_suppressed(shop: Story) -> None:
    shop.receive("BOS", A=5)
    shop.receive("CHI", A=5)
    shop.order("1", A=1)
    shop.report("rejected", "1.1", reason="capacity")
    assert kept_out(shop, "suppressed") == ["BOS"]
    assert decision(shop)["trigger"] == "fulfillment_rejected"


def test_a_plan_that_fails_shows_what_each_node_lacks(shop: Story) -> None:
    shop.receive("BOS", A=1)
    shop.order("1", A=2, allow_split=False)
    assert decision(shop)["chosen"] is None
    assert decision(shop)["decided_by"] == "ship_complete"
    assert row_of(shop, "BOS").short == [[0, 1]]
    assert not row_of(shop, "BOS").fences


def test_where_no_node_has_any_there_is_no_candidate(shop: Story) -> None:
    shop.order("1", A=2)
    assert decision(shop)["chosen"] is None
    assert decision(shop)["decided_by"] == "no_candidate"


def test_the_way_around_the_world_is_measured(shop: Story) -> None:
    shop.node("FAR", location={"lat": -PLACES["BOS"][0], "lon": PLACES["BOS"][1] + 180})
    shop.receive("FAR", A=1)
    shop.order("1", A=1)
    assert abs((row_of(shop, "FAR").metres or 0) - 20_015_000) < 1_000


def test_a_bulk_order_gets_all_the_units_that_lie_one_by_one_at_many_nodes() -> None:
    shop = Story()
    shop.item("A")
    for number in range(60):
        shop.node(f"N{number}")
        shop.receive(f"N{number}", A=1)
    shop.order("1", A=40)
    assert decision(shop)["method"] == "exact"
    assert shop.counts("1") == {"allocated": 40}
    shop.order("2", A=20, allow_partial=False)
    assert shop.counts("2") == {"allocated": 20}


def test_a_plan_too_large_for_the_search_is_the_best_found_and_says_so() -> None:
    shop = Story()
    shop.item("A", "B")
    for number in range(60):
        shop.node(f"N{number}")
        shop.receive(f"N{number}", A=1, B=1)
    shop.order("1", A=40, B=40)
    assert decision(shop)["method"] == "best_found"
    assert decision(shop)["bound"][0] == 80
    assert shop.status("1") == "allocated"


def test_four_legs_among_hundreds_of_nodes_are_found_exactly() -> None:
    shop = Story()
    skus = ("A", "B", "C", "D")
    shop.item(*skus)
    for sku in skus:
        for number in range(120):
            shop.node(f"{sku}{number}")
            shop.receive(f"{sku}{number}", **{sku: 1})
    shop.order("1", A=1, B=1, C=1, D=1)
    assert decision(shop)["method"] == "exact"
    assert len(shop.plan("1")) == 4
