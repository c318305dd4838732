"""Sourcing against brute force: on small instances no plan is better."""

from itertools import combinations

from hypothesis import given, settings
from hypothesis import strategies as st

from orchestrator.core.ledger import Bin
from orchestrator.core.shard import Market, Node, Shelf
from orchestrator.core.sourcing.geo import Vector, vector_of
from orchestrator.core.sourcing.places import Places
from orchestrator.core.sourcing.planner import UNLOCATED, Want, source

SKUS = ("A", "B", "C")
NAMES = ("n1", "n2", "n3", "n4", "n5")
HOME = vector_of({"lat": 42.0, "lon": -71.0})
offers = st.lists(st.integers(0, 3), min_size=len(SKUS), max_size=len(SKUS))
nodes = st.lists(st.tuples(offers, st.none() | st.integers(-3, 3)), min_size=1, max_size=len(NAMES))
wanted = st.lists(st.tuples(st.sampled_from(SKUS), st.integers(1, 5)), min_size=1, max_size=3)


def market_of(stocked: list[tuple[list[int], int | None]]) -> Market:
    market = Market({"market_id": "M", "currency": "USD", "time_zone": "UTC"})
    for name, (units, degrees) in zip(NAMES, stocked, strict=False):
        place = {} if degrees is None else {"location": {"lat": 42.0, "lon": -71.0 + degrees}}
        defined = {"node_id": name, "market_id": "M", "kind": "store", "address": {"country": "US"}}
        market.nodes[name] = Node({**defined, **place}, "UTC", Places())
        for sku, quantity in zip(SKUS, units, strict=True):
            stock = market.bins.setdefault(sku, Shelf())[name] = Bin()
            stock.move(0, [quantity, 0, 0, 0], 0)
    market.sort_nodes()
    return market


def best_by_force(
    there: dict[str, dict[str, int]], metres: dict[str, int], asked: dict[str, int]
) -> tuple[int, int, int, tuple[str, ...]]:
    """Units missing, nodes, metres, ids: the smallest over all sets of nodes."""
    found = []
    for count in range(len(there) + 1):
        for names in combinations(sorted(there), count):
            units = sum(
                min(quantity, sum(there[name][sku] for name in names))
                for sku, quantity in asked.items()
            )
            way = sum(metres.get(name, UNLOCATED) for name in names)
            found.append((sum(asked.values()) - units, count, way, names))
    return min(found)


@settings(max_examples=300, deadline=None)
@given(nodes, wanted, st.sampled_from((HOME, None)))
def test_no_set_of_nodes_is_better(
    stocked: list[tuple[list[int], int | None]], lines: list[tuple[str, int]], to: Vector | None
) -> None:
    market = market_of(stocked)
    wants = [Want(str(n), sku, units) for n, (sku, units) in enumerate(lines, 1)]
    legs, told = source(
        market,
        0,
        to,
        wants,
        ship_complete=False,
        trigger="order_placed",
    )
    there = {name: {sku: market.bins[sku][name].available for sku in SKUS} for name in market.nodes}
    asked: dict[str, int] = {}
    for want in wants:
        asked[want.sku] = asked.get(want.sku, 0) + want.units
    metres = {row[0]: row[1] for row in told["candidates"] if row[1] is not None}
    missing, count, way, names = best_by_force(there, metres, asked)

    assert [leg.node_id for leg in legs] == sorted(leg.node_id for leg in legs)
    for leg in legs:
        assert any(leg.units)
        for sku in asked:
            taken = sum(u for u, want in zip(leg.units, wants, strict=True) if want.sku == sku)
            assert taken <= there[leg.node_id][sku], "nothing is taken that isn't there"
    for i, want in enumerate(wants):
        assert sum(leg.units[i] for leg in legs) <= want.units
    shipped = sum(sum(leg.units) for leg in legs)
    assert sum(asked.values()) - shipped == missing, "most units"
    if told["method"] == "greedy":
        assert count > 3
        return
    chosen = tuple(leg.node_id for leg in legs)
    assert len(chosen) == count, "fewest nodes"
    assert sum(metres.get(name, UNLOCATED) for name in chosen) == way, "the shortest way"
    assert chosen == names, "then node ids"


@settings(max_examples=200, deadline=None)
@given(nodes, wanted)
def test_ship_complete_takes_the_nearest_node_with_everything_or_none(
    stocked: list[tuple[list[int], int | None]], lines: list[tuple[str, int]]
) -> None:
    market = market_of(stocked)
    wants = [Want(str(n), sku, units) for n, (sku, units) in enumerate(lines, 1)]
    legs, told = source(market, 0, HOME, wants, ship_complete=True, trigger="order_placed")
    metres = {row[0]: row[1] for row in told["candidates"] if row[1] is not None}
    whole = [
        (metres.get(name, UNLOCATED), name)
        for name in market.nodes
        if all(
            market.bins[sku][name].available >= sum(w.units for w in wants if w.sku == sku)
            for sku in SKUS
        )
    ]
    assert [leg.node_id for leg in legs] == ([min(whole)[1]] if whole else [])
    if legs:
        assert legs[0].units == [want.units for want in wants]
