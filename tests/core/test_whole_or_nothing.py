"""What has to come at once, and for how long an order waits."""

from typing import Any

import pytest

from tests.core.story import Story


def shop(**strategy: object) -> Story:
    story = Story()
    story.node("BOS")
    story.node("CHI")
    story.item("A", "B")
    if strategy:
        story.rules(strategy)
    return story


def test_without_partial_shipping_everything_waits_until_all_is_there() -> None:
    story = shop()
    story.receive("BOS", A=1)
    story.order("1", A=2, B=1, allow_partial=False)
    assert story.counts("1") == {"backordered": 2}
    assert story.counts("1", "2") == {"backordered": 1}
    story.receive("CHI", A=1)
    assert story.status("1") == "backordered"
    story.receive("CHI", B=1)
    assert story.plan("1") == {"BOS": {"A": 1}, "CHI": {"A": 1, "B": 1}}


def test_what_may_not_wait_is_cancelled_and_the_rest_goes() -> None:
    story = shop()
    story.receive("BOS", A=2)
    lines = [
        {"line_id": "1", "sku": "A", "quantity": 2},
        {"line_id": "2", "sku": "B", "quantity": 1, "allow_backorder": False},
    ]
    story.order("1", allow_partial=False, lines=lines)
    assert story.counts("1", "2") == {"cancelled": 1}
    assert story.counts("1") == {"allocated": 2}


def both_lines(**second: object) -> list[dict[str, object]]:
    """A line that may not wait, and another."""
    first = {"line_id": "1", "sku": "A", "quantity": 2, "allow_backorder": False}
    return [first, {"line_id": "2", "sku": "B", "quantity": 1, **second}]


def test_a_line_in_stock_that_may_not_wait_waits_for_the_rest_of_its_order() -> None:
    story = shop()
    story.receive("BOS", A=2)
    story.order("1", allow_partial=False, lines=both_lines())
    assert story.told("order_cancelled") == []
    assert (story.counts("1"), story.counts("1", "2")) == ({"backordered": 2}, {"backordered": 1})
    story.receive("CHI", B=1)
    assert story.plan("1") == {"BOS": {"A": 2}, "CHI": {"B": 1}}


def test_a_line_that_is_gone_when_the_rest_comes_is_cancelled_where_it_may_not_wait() -> None:
    story = shop()
    story.receive("BOS", A=2)
    story.order("1", allow_partial=False, lines=both_lines())
    story.order("2", A=2)
    assert story.counts("2") == {"allocated": 2}, "nothing is kept for who waits"
    story.receive("CHI", B=1)
    assert (story.counts("1"), story.plan("1")) == ({"cancelled": 2}, {"CHI": {"B": 1}})
    (told,) = story.told("order_cancelled")
    assert told["reason"] == "no_stock"


def test_of_a_line_that_may_not_wait_only_what_no_node_has_is_cancelled() -> None:
    story = shop()
    story.receive("BOS", A=1)
    story.receive("CHI", B=1)
    story.order("1", allow_partial=False, lines=both_lines())
    assert story.counts("1") == {"cancelled": 1, "allocated": 1}
    assert story.plan("1") == {"BOS": {"A": 1}, "CHI": {"B": 1}}


def test_lines_that_may_not_wait_are_cancelled_where_no_node_has_the_order_in_one_piece() -> None:
    story = shop()
    story.receive("BOS", A=2)
    story.receive("CHI", B=1)
    story.order("1", allow_split=False, lines=both_lines(allow_backorder=False))
    assert story.status("1") == "cancelled"


def test_rules_that_cancel_what_has_no_source_cancel_an_order_that_goes_whole() -> None:
    story = shop(unsourced="cancel")
    story.receive("BOS", A=2)
    story.order("1", A=2, B=1, allow_partial=False)
    assert story.status("1") == "cancelled"


def test_what_a_fill_leaves_over_is_cancelled_where_the_rules_no_longer_let_it_wait() -> None:
    story = shop()
    story.order("1", A=3)
    story.rules({"unsourced": "cancel"})
    assert story.counts("1") == {"backordered": 3}
    story.receive("BOS", A=1)
    assert story.counts("1") == {"allocated": 1, "cancelled": 2}


def test_what_is_held_of_an_order_that_goes_in_one_piece_moves_with_the_rest() -> None:
    story = shop(hold=600)
    for node_id in ("BOS", "CHI"):
        story.receive(node_id, A=2, B=2)
    story.order("1", A=1, B=1, allow_split=False)
    assert story.plan("1") == {"BOS": {"A": 1, "B": 1}}
    story.send("stock_counted", node_id="BOS", sku="B", counted=0)
    assert story.plan("1") == {"CHI": {"A": 1, "B": 1}}
    assert [
        (event["why"], [line["sku"] for line in event["lines"]])
        for event in story.told("units_released")
    ] == [("taken_back", ["B"]), ("replanned", ["A"])], "nobody lost what moves with the rest"
    story.send("stock_counted", node_id="CHI", sku="A", counted=0)
    assert (story.plan("1"), story.status("1")) == ({}, "backordered")


def test_what_a_node_was_asked_for_stays_with_it_when_it_rejects_a_line() -> None:
    story = shop()
    for node_id in ("BOS", "CHI"):
        story.receive(node_id, A=2, B=2)
    story.order("1", A=1, B=1, allow_split=False)
    lines = [{"line_id": "2", "quantity": 1}]
    story.report("rejected", "1.1", reason="damaged", lines=lines)
    assert story.plan("1") == {"BOS": {"A": 1}, "CHI": {"B": 1}}


def test_cancelling_a_part_lets_the_rest_go() -> None:
    story = shop()
    story.receive("BOS", A=2)
    story.order("1", A=2, B=1, allow_partial=False)
    story.cancel("1", lines=[{"line_id": "2"}])
    assert story.counts("1") == {"allocated": 2}


def test_a_strategy_may_cancel_what_it_finds_no_source_for() -> None:
    story = shop(unsourced="cancel")
    story.receive("BOS", A=2)
    story.order("1", A=3)
    assert story.counts("1") == {"allocated": 2, "cancelled": 1}
    (told,) = story.told("order_cancelled")
    assert (told["reason"], told["by"]) == ("no_stock", "system")
    assert story.told("order_allocated")[0]["backordered"] == []


def test_a_strategy_may_cancel_what_has_waited_too_long() -> None:
    story = shop(unsourced=["backorder", {"cancel_after_days": 2}])
    story.receive("BOS", A=1)
    story.order("1", A=3)
    story.receive("BOS", A=1)
    story.at(2 * 86_400 - 1)
    assert story.counts("1") == {"allocated": 2, "backordered": 1}
    story.at(1)
    assert story.counts("1") == {"allocated": 2, "cancelled": 1}
    assert story.told("order_cancelled")[0]["reason"] == "unsourced"


def test_what_has_found_a_source_by_then_stays() -> None:
    story = shop(unsourced=["backorder", {"cancel_after_days": 2}])
    story.order("1", A=1)
    story.receive("BOS", A=1)
    story.at(2 * 86_400)
    assert story.counts("1") == {"allocated": 1}


def test_a_pool_counts_what_its_channel_takes_and_gives_back() -> None:
    story = shop()
    story.rules(
        {},
        pools=[
            {"id": "x", "sku": ["A"], "channel": "web", "units": 9, "from": "2027-01-01"},
            {"id": "y", "sku": ["A"], "channel": "web", "units": 9, "from": "2028-01-01"},
            {"id": "z", "sku": ["A"], "channel": "shop", "units": 9},
        ],
    )
    story.receive("BOS", A=12)  # 9 of them are the shop's
    story.order("1", A=3)
    assert story.pools() == {"x": 3, "y": 0, "z": 0}
    assert story.told("balanced")[0]["pools"] == [["US", "x", 3]]
    story.cancel("1")
    story.report("cancellation_accepted", "1.1")
    assert story.pools() == {"x": 0, "y": 0, "z": 0}


def test_a_pool_is_given_back_only_what_was_taken_from_it() -> None:
    story = shop()
    pool = {"id": "x", "sku": ["A"], "channel": "web", "units": 9, "from": "2027-01-16"}
    story.rules({}, pools=[pool])
    story.receive("BOS", A=12)
    story.order("before", A=3)
    story.at(2 * 86_400)
    story.order("since", A=4)
    assert story.pools() == {"x": 4}
    story.cancel("before")
    story.report("cancellation_accepted", "before.1")
    assert story.pools() == {"x": 4}
    story.cancel("since", lines=[{"line_id": "1", "quantity": 1}])
    story.report("cancellation_accepted", "since.1")
    assert story.pools() == {"x": 3}


def test_a_pool_is_given_back_what_was_taken_from_it_whatever_it_holds_by_then() -> None:
    story = shop()
    story.item("B")
    pool = {"id": "x", "sku": ["A"], "channel": "web", "units": 9}
    story.rules({}, pools=[pool])
    story.receive("BOS", A=12)
    story.order("1", A=3)
    story.rules({}, pools=[{**pool, "sku": ["B"]}])
    assert story.pools() == {"x": 3}
    story.cancel("1")
    story.report("cancellation_accepted", "1.1")
    assert story.pools() == {"x": 0}


def test_a_pool_that_comes_back_counts_anew() -> None:
    story = shop()
    pool = {"id": "x", "sku": ["A"], "channel": "web", "units": 9}
    story.rules({}, pools=[pool])
    story.receive("BOS", A=12)
    story.order("1", A=3)
    story.rules({})
    story.rules({}, pools=[pool])
    story.order("2", A=2)
    story.cancel("1")
    story.report("cancellation_accepted", "1.1")
    assert story.pools() == {"x": 2}


def test_a_pool_counts_each_season_anew() -> None:
    story = shop()
    pool = {"id": "x", "sku": ["A"], "channel": "web", "units": 9}
    story.rules({}, pools=[{**pool, "until": "2027-01-20"}])
    story.receive("BOS", A=30)
    story.order("1", A=8)
    story.rules({}, pools=[{**pool, "until": "2027-01-21"}])
    assert story.pools() == {"x": 8}, "the same season"
    story.rules({}, pools=[{**pool, "from": "2027-02-01", "until": "2027-02-20"}])
    assert story.told("rule_set_changed")[-1]["pools_anew"] == ["x"]
    story.at(31 * 86_400)
    assert story.pools() == {"x": 0}
    story.order("2", A=2)
    story.cancel("1")
    story.report("cancellation_accepted", "1.1")
    assert story.pools() == {"x": 2}, "what last season took isn't given back to this one"


def test_a_pool_of_a_season_that_begins_with_its_version_counts_anew() -> None:
    story = shop()
    pool = {"id": "x", "sku": ["A"], "channel": "web", "units": 9}
    story.rules({}, pools=[{**pool, "until": "2027-01-20"}])
    story.receive("BOS", A=30)
    story.order("1", A=8)
    story.at(31 * 86_400)
    assert story.pools() == {"x": 8}
    story.rules({}, pools=[{**pool, "from": "2027-02-01"}])
    assert story.pools() == {"x": 0}


def test_a_later_wait_has_a_patience_of_its_own() -> None:
    story = shop(unsourced=["backorder", {"cancel_after_days": 14}])
    story.order("1", A=1)
    story.at(3 * 86_400)
    story.receive("BOS", A=1)
    story.at(10.9 * 86_400)
    story.report("rejected", "1.1", reason="not_in_stock")
    story.at(1 * 86_400)
    assert story.counts("1") == {"backordered": 1}, "it has waited for a day"
    story.at(14 * 86_400)
    assert story.counts("1") == {"cancelled": 1}


@pytest.mark.parametrize("rules", [{"max_legs": 1}, {}], ids=["one leg", "one node"])
def test_of_ten_lines_that_no_node_has_whole_one_leg_brings_what_there_is(
    rules: dict[str, int],
) -> None:
    story = Story()
    nodes = ["BOS", "CHI"] if rules else ["BOS"]
    skus = [f"S{number}" for number in range(10)]
    for node in nodes:
        story.node(node)
    story.item(*skus)
    for node in nodes:
        for sku in skus:
            story.receive(node, **{sku: 3})
    story.rules({"split": {"quantity": "never", **rules}})
    wanted: dict[str, Any] = dict.fromkeys(skus, 5)
    story.order("1", **wanted)
    assert story.counts("1") == {"allocated": 3, "backordered": 2}
