"""The network that sourcing is measured on; and that what is decided there is the same anywhere."""

from dataclasses import replace
from hashlib import sha256

import orjson
import pytest

from bench.sourcing import CASES, EAST, EVERY_MS, World, cut_off_ms, decide_all
from orchestrator.core.sourcing.calendars import zone
from orchestrator.core.sourcing.planner import source

DECIDED = "e9a10756bae315bd9709c292ffbefc10239bea5373318556b5cf39cdfaa408c6"
"""SHA-256 of decisions, as written on x86-64 under Linux."""


@pytest.fixture
def world() -> World:
    return World(replace(CASES[0], nodes=8, skus=6))


def test_the_greedy_takes_the_cheapest_node_that_has_a_line(world: World) -> None:
    for order in world.orders("some", 50, cut_off_ms(0)):
        chosen = world.greedy(order)
        for (_, sku, units), node_id in zip(order.request.wants, chosen, strict=True):
            having = [one for one, there in world.greedy_stock[sku].items() if there >= units]
            assert node_id == min(having, key=lambda one: world.costs[order.to, one])
        world.book_greedy(order, chosen)


def test_plans_are_booked_and_bins_filled_up(world: World) -> None:
    market = world.market
    before = sum(orders for node in market.node_list for orders, _ in node.booked.values())
    run = decide_all(world, world.orders("some", 100, cut_off_ms(0)))
    bins = [there for shelf in market.bins.values() for there in shelf.values()]
    assert sum(there.reserved for there in bins) >= 300  # at least a unit of each line
    assert min(there.available for there in bins) > 0
    assert all(there.on_hand == there.available + there.reserved for there in bins)
    after = sum(orders for node in market.node_list for orders, _ in node.booked.values())
    assert after - before == run.legs


def test_a_cut_off_passes_in_the_middle_of_a_run(world: World) -> None:
    orders = 100
    some = world.orders("some", orders, cut_off_ms(0) - orders // 2 * EVERY_MS)
    before, after = some[orders // 2 - 1].request.now_ms, some[orders // 2 + 1].request.now_ms
    moved = [
        node.calendar.zone.name
        for node in world.market.node_list
        if node.calendar.first_ship_day(before) != node.calendar.first_ship_day(after)
    ]
    assert EAST in moved


def test_what_is_decided_is_the_same_bytes_on_every_platform() -> None:
    """Rates, days, distances, parcels, splits: whoever changes what is recorded changes this."""
    digest = sha256()
    for case in (CASES[0], CASES[1], CASES[4]):
        world = World(replace(case, skus=40, assortment=0.5))
        for order in world.orders("anywhere", 40, cut_off_ms(0) - 20 * EVERY_MS):
            outcome = source(world.shard, world.market, order.request)
            world.book(order, outcome.legs)
            digest.update(orjson.dumps(outcome.decision))
    assert digest.hexdigest() == DECIDED


def test_every_run_is_on_a_working_day(world: World) -> None:
    (node, *_) = [one for one in world.market.node_list if one.calendar.zone.name == EAST]
    for run in range(8):
        day = zone(EAST).day_of(cut_off_ms(run))
        assert node.calendar.working_day(day) == day
