"""The backorder queue: whatever brings or frees units fills it, in its order."""

from collections.abc import Callable
from typing import Any

import pytest

from orchestrator.core.config import Config
from tests.core.story import Story


def test_the_higher_priority_goes_first_then_who_came_first(shop: Story) -> None:
    shop.order("1", A=1)
    shop.order("2", A=1)
    shop.order("3", A=1, priority=1)
    shop.order("4", A=1, priority=1)
    shop.receive("BOS", A=3)
    assert [shop.status(one) for one in "1234"] == [
        "allocated",
        "backordered",
        "allocated",
        "allocated",
    ]


def test_a_line_is_filled_in_parts(shop: Story) -> None:
    shop.order("1", A=3)
    shop.receive("BOS", A=1)
    assert shop.counts("1") == {"allocated": 1, "backordered": 2}
    shop.receive("CHI", A=9)
    assert shop.plan("1") == {"BOS": {"A": 1}, "CHI": {"A": 2}}


def test_lines_that_waited_behind_the_same_fence_are_planned_as_one(shop: Story) -> None:
    shop.rules({"fences": {"nodes": {"node": ["LAX"]}}})
    shop.receive("BOS", A=1)
    shop.receive("CHI", A=1, B=1)
    shop.order("1", A=1, B=1)
    assert shop.plan("1") == {}
    shop.rules({"split": {"max_legs": 1}})
    shop.at(1)
    assert shop.plan("1") == {"CHI": {"A": 1, "B": 1}}


def test_a_line_that_goes_along_with_another_takes_nothing_out_of_turn(shop: Story) -> None:
    shop.rules({"fences": {"nodes": {"node": ["LAX"]}}})
    shop.receive("CHI", A=1, B=1)
    shop.order("late", A=1, B=1)
    shop.order("first", B=1, priority=1)
    shop.rules({})
    shop.at(1)
    assert shop.plan("first") == {"CHI": {"B": 1}}
    assert shop.plan("late") == {"CHI": {"A": 1}}


def test_what_waits_for_a_pools_units_gets_them_when_the_pool_ends(shop: Story) -> None:
    pool = {"id": "p", "sku": "A", "channel": "app", "units": 5}
    shop.rules(
        {}, pools=[{**pool, "until": "2027-01-16"}, {**pool, "id": "q", "until": "2027-01-20"}]
    )
    shop.receive("BOS", A=10)
    shop.order("1", A=5)
    shop.order("2", A=5)
    assert shop.counts("1") == {"backordered": 5}
    shop.at(2 * 86_400)  # the pool p ended
    assert shop.counts("1") == {"allocated": 5}
    assert shop.counts("2") == {"backordered": 5}
    shop.at(4 * 86_400)
    assert shop.counts("2") == {"allocated": 5}


@pytest.mark.parametrize(
    "mistaken",
    [{"requires": ["cold"]}, {"weight_g": 50_000}, {"category": "fresh"}],
    ids=["requires", "weight", "category"],
)
def test_an_item_that_is_corrected_goes_to_who_waits_for_it_in_their_order(
    shop: Story, mistaken: dict[str, Any]
) -> None:
    shop.service(
        rates=[
            {
                "to_km": 9_000,
                "weight_breaks": [{"to_g": 30_000, "base_minor": 500}],
                "transit_days": 2,
            }
        ]
    )
    shop.rules({}, safety_stock=[{"category": "fresh", "units": 9}])
    shop.send("item_defined", sku="C", name="C", **mistaken)
    shop.receive("BOS", C=2)
    shop.order("1", C=2)
    shop.order("2", C=1)
    assert (shop.status("1"), shop.status("2")) == ("backordered", "backordered")
    shop.send("item_defined", sku="C", name="C", weight_g=500, category="dry")
    assert (shop.status("1"), shop.status("2")) == ("allocated", "backordered")


def test_the_end_of_a_pool_that_no_longer_holds_wakes_nobody(shop: Story) -> None:
    pool = {"id": "p", "sku": "A", "channel": "app", "units": 5, "until": "2027-01-16"}
    shop.rules({}, pools=[pool])
    shop.order("1", A=5)
    shop.rules({})
    shop.at(2 * 86_400)
    assert not [one for one in shop.events if one["type"] == "work_queued"]


def adjusted(shop: Story) -> None:
    shop.send("stock_adjusted", node_id="CHI", sku="A", delta=2, reason="found")


def counted(shop: Story) -> None:
    shop.send("stock_counted", node_id="CHI", sku="A", counted=2)


def cancelled(shop: Story) -> None:
    shop.cancel("0")
    shop.report("cancellation_accepted", "0.1")


def reactivated(shop: Story) -> None:
    shop.node("LAX")


def suppression_over(shop: Story) -> None:
    shop.report("rejected", "0.1", reason="capacity")
    assert shop.counts("1") == {"backordered": 2}, "the node isn't asked for a time"
    shop.cancel("0")
    shop.at(4 * 3600)


def freed_where_it_was_closed(shop: Story) -> None:
    shop.report("rejected", "0.1", reason="closed")
    shop.cancel("0")
    shop.at(4 * 3600)


@pytest.mark.parametrize(
    "bring",
    [adjusted, counted, cancelled, reactivated, suppression_over, freed_where_it_was_closed],
)
def test_whatever_brings_or_frees_units_fills_the_queue(
    shop: Story, bring: Callable[[Story], None]
) -> None:
    shop.receive("BOS", A=2)
    shop.order("0", A=2)
    shop.node("LAX", active=False)
    shop.receive("LAX", A=2)
    shop.order("1", A=2)
    assert shop.counts("1") == {"backordered": 2}
    bring(shop)
    assert shop.counts("1") == {"allocated": 2}


def test_units_that_a_rejection_frees_elsewhere_go_to_who_waits(shop: Story) -> None:
    shop.receive("BOS", A=2)
    shop.order("0", A=1, B=1)
    shop.receive("BOS", B=1)
    shop.order("1", A=3)
    shop.report("rejected", "0.1", reason="not_in_stock", stock_effect="none")
    shop.receive("BOS", A=1)
    assert shop.counts("0") == {"allocated": 1}, "it came before"
    assert shop.counts("1") == {"allocated": 2, "backordered": 1}


def test_what_must_ship_whole_is_passed_over_and_keeps_its_place(shop: Story) -> None:
    shop.order("1", A=3, allow_split=False)
    shop.order("2", A=1)
    shop.order("3", A=2)
    shop.receive("BOS", A=2)
    assert shop.counts("1") == {"backordered": 3}
    assert shop.counts("2") == {"allocated": 1}
    assert shop.counts("3") == {"allocated": 1, "backordered": 1}
    shop.receive("CHI", A=4)
    assert shop.plan("1") == {"CHI": {"A": 3}}
    assert shop.counts("3") == {"allocated": 2}


def test_a_long_queue_is_filled_in_slices_over_ticks() -> None:
    shop = Story(Config(slice_orders=2))
    shop.node("BOS")
    shop.item("A")
    for number in range(7):
        shop.order(str(number), A=1)
    shop.receive("BOS", A=6)
    assert [shop.status(str(number)) for number in range(7)] == ["allocated"] * 6 + ["backordered"]
    assert len(shop.told("work_done")) == 2


def test_an_order_that_comes_later_takes_what_nobody_waiting_can_use(shop: Story) -> None:
    shop.order("1", A=3, allow_split=False)
    shop.receive("BOS", A=2)
    shop.order("2", A=1)
    assert shop.counts("2") == {"allocated": 1}


def test_units_of_a_held_state_fill_nothing(shop: Story) -> None:
    shop.order("1", A=1)
    shop.send("stock_received", node_id="BOS", sku="A", quantity=1, state="quality_control")
    assert shop.counts("1") == {"backordered": 1}
