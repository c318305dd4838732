"""A shard that nobody needs any more is gone, though collections look for no cycles."""

import gc

import pytest

from bench.core import new_shard, order_inputs
from bench.workload import Inbox
from orchestrator.core.decide import decide
from orchestrator.core.orders import Order
from orchestrator.core.shard import Market, Shard, let_go
from orchestrator.core.sourcing.tables import Tables


def a_shard(orders: int, *, one_place: bool = False, network_changes_every: int = 0) -> Shard:
    inbox = Inbox()
    shard = new_shard(inbox)
    place = None
    for number, one in enumerate(order_inputs(inbox, "letting-go", orders)):
        place = place or one["data"]["ship_to"]
        if one_place:  # tables are kept of a place that comes again
            one["data"]["ship_to"] = place
        if network_changes_every and number % network_changes_every == 0:
            changed = one.copy()
            changed["type"], changed["id"] = "node_defined", f"network-{number}"
            changed["origin"] = ["network", 1, number, inbox.now_ms]
            changed["data"] = {**shard.nodes["N00"].defined, "handling_cost_minor": number}
            decide(shard, changed)
        decide(shard, one)
    return shard


def alive(kind: type = Order) -> int:
    return sum(type(one) is kind for one in gc.get_objects())


@pytest.mark.usefixtures("no_collections")
@pytest.mark.parametrize("one_place", [False, True])
def test_nothing_is_left_of_a_shard_that_planned_and_was_let_go(*, one_place: bool) -> None:
    before, around = alive(), [alive(kind) for kind in (Market, Tables)]
    shard = a_shard(20, one_place=one_place)
    assert alive() == before + 20
    for _ in let_go(shard):
        """A piece."""
    del shard
    assert alive() == before
    assert [alive(kind) for kind in (Market, Tables)] == around


@pytest.mark.usefixtures("no_collections")
@pytest.mark.parametrize("one_place", [False, True])
def test_what_planning_made_of_a_network_is_gone_when_the_network_changes(
    *, one_place: bool
) -> None:
    before = alive(Tables)
    shard = a_shard(20, one_place=one_place, network_changes_every=5)
    assert alive(Tables) == before + 1, "the newest"
    for _ in let_go(shard):
        """A piece."""


def test_a_large_shard_is_let_go_a_piece_at_a_time() -> None:
    shard = a_shard(20)
    shard.ids = {str(n): 0 for n in range(2_500)}
    shard.id_order.extend(shard.ids)
    left = [len(shard.ids) + len(shard.id_order) for _ in let_go(shard)]
    assert max(b - a for a, b in zip(left[1:], left, strict=False)) == 1_000
    assert left[-1] == 0
