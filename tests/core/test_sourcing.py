"""Sourcing: most units, fewest nodes, smallest summed distance, node ids; and why."""

from typing import Any

import orjson

from tests.core.story import PLACES, Story

Decision = dict[str, Any]


def decision(shop: Story) -> Decision:
    found: Decision = orjson.loads(shop.told("order_allocated")[-1]["decision"])
    return found


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
    assert decision(shop)["chosen"] == {"nodes": ["ANY"], "units": 1, "distance_m": None}


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
    assert decision(shop)["lines"] == [["1", "A", 2], ["2", "A", 2], ["3", "A", 2]]
    assert [row[2] for row in decision(shop)["candidates"]] == [[2, 1, 0], [2, 0, 0]]


def test_lines_of_one_item_that_must_not_split_need_one_node_with_their_sum(shop: Story) -> None:
    lines = [{"line_id": str(n), "sku": "A", "quantity": 2} for n in (1, 2)]
    shop.receive("BOS", A=3)
    shop.order("1", lines=lines, allow_split=False)
    assert shop.status("1") == "backordered"
    shop.receive("BOS", A=1)
    assert shop.plan("1") == {"BOS": {"A": 4}}


def test_beyond_three_nodes_the_choice_is_greedy_and_says_so(shop: Story) -> None:
    shop.node("NYC")
    for node_id in ("BOS", "CHI", "LAX", "NYC"):
        shop.receive(node_id, A=1)
    shop.order("1", A=3)
    assert decision(shop)["method"] == "exact"
    shop.receive("BOS", A=1)
    shop.receive("CHI", A=1)
    shop.receive("NYC", A=1)
    shop.order("2", A=5)
    assert decision(shop)["method"] == "greedy"
    assert shop.counts("2") == {"allocated": 4, "backordered": 1}


def test_the_explanation_names_candidates_fences_runner_up_and_what_would_change_it(
    shop: Story,
) -> None:
    shop.node("NYC", active=False)
    shop.node("OFF", ships=False)
    for node_id in ("BOS", "CHI", "NYC", "OFF"):
        shop.receive(node_id, A=5)
    shop.order("1", A=2)
    told = decision(shop)
    assert told["trigger"] == "order_placed"
    assert told["lines"] == [["1", "A", 2]]
    first, second = told["candidates"][:2]
    assert [first[0], second[0]] == ["BOS", "CHI"]
    assert first[1] == 0
    assert abs(second[1] - 1_367_000) < 5_000, "Boston to Chicago, in metres"
    assert told["removed"]["inactive"] == ["NYC"]
    assert told["removed"]["does_not_ship"] == ["OFF"]
    assert told["removed"]["no_stock"] == ["LAX"]
    assert told["chosen"] == {"nodes": ["BOS"], "units": 2, "distance_m": 0}
    assert told["runner_up"]["nodes"] == ["CHI"]
    assert told["decided_by"] == "distance"
    assert told["counterfactual"] == f"CHI would ship if nearer by more than {second[1]} m"


def test_a_node_that_rejected_the_item_is_removed_as_suppressed(shop: Story) -> None:
    shop.receive("BOS", A=5)
    shop.receive("CHI", A=5)
    shop.order("1", A=1)
    shop.report("rejected", "1.1", reason="capacity")
    assert decision(shop)["removed"]["suppressed"] == ["BOS"]
    assert decision(shop)["trigger"] == "fulfillment_rejected"


def test_a_plan_that_fails_says_what_would_make_it_succeed(shop: Story) -> None:
    shop.order("1", A=2)
    assert decision(shop)["chosen"] is None
    assert decision(shop)["decided_by"] == "no_candidate"
    assert decision(shop)["counterfactual"] == "a node with 2 more of A would ship"


def test_the_way_around_the_world_is_measured(shop: Story) -> None:
    shop.node("FAR", location={"lat": -PLACES["BOS"][0], "lon": PLACES["BOS"][1] + 180})
    shop.receive("FAR", A=1)
    shop.order("1", A=1)
    assert abs(decision(shop)["chosen"]["distance_m"] - 20_015_000) < 1_000


def test_what_no_three_nodes_hold_is_not_searched_for() -> None:
    shop = Story()
    shop.item("A")
    for number in range(120):
        shop.node(f"N{number}")
        shop.receive(f"N{number}", A=1)
    shop.order("1", A=100)
    assert decision(shop)["method"] == "greedy"
    assert shop.status("1") == "allocated"


def test_a_search_that_takes_too_long_gives_way_to_greedy() -> None:
    shop = Story()
    skus = ("A", "B", "C", "D")
    shop.item(*skus)
    for sku in skus:
        for number in range(120):
            shop.node(f"{sku}{number}")
            shop.receive(f"{sku}{number}", **{sku: 1})
    shop.order("1", A=1, B=1, C=1, D=1)
    assert decision(shop)["method"] == "greedy"
    assert shop.status("1") == "allocated"
    assert len(shop.plan("1")) == 4
