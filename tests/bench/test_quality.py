from collections.abc import Sequence
from dataclasses import replace
from itertools import product

import pytest

from bench.quality import instances, policies
from bench.quality.bound import hindsight
from bench.quality.headrace import Headrace
from bench.quality.instances import Instance, Order, package_costs, unit_costs
from bench.quality.policies import Policy

POLICIES = [
    policies.nearest_per_line,
    policies.nearest_complete,
    policies.fewest_splits,
    policies.myopic_exact,
]
NEW_YORK = instances.NODES.index("NYC")
DENVER = 18  # a zone without a node


@pytest.fixture(scope="module")
def few() -> Instance:
    return instances.generated(1.05, 7, count=120)


@pytest.fixture(scope="module")
def baskets() -> Instance:
    whole = instances.real(1.1, 0)
    return replace(whole, orders=whole.orders[:150])


def test_a_seed_names_one_instance() -> None:
    assert instances.generated(1.05, 3, count=50) == instances.generated(1.05, 3, count=50)
    assert instances.generated(1.05, 3, count=50) != instances.generated(1.05, 4, count=50)


def test_costs_stand_as_stated() -> None:
    zone = instances.sites()[NEW_YORK]
    assert package_costs()[zone][NEW_YORK] == 650  # $ 6.50, no mile
    assert unit_costs()[zone][NEW_YORK] == 50
    assert package_costs()[zone][-1] == 1_400
    assert unit_costs()[zone][-1] == 600
    los_angeles = instances.NODES.index("LAX")  # 2,446 miles away: the last band
    assert package_costs()[zone][los_angeles] == 1_040 + 73
    assert unit_costs()[zone][los_angeles] == 230 + 24


def test_orders_are_as_stated() -> None:
    orders = instances.generated(1.05, 0).orders
    assert len(orders) == 2_000
    assert max(len(order.lines) for order in orders) == 6
    assert all(len({sku for sku, _ in order.lines}) == len(order.lines) for order in orders)
    lines = sum(len(order.lines) for order in orders)
    assert 1.9 < lines / 2_000 < 2.0  # 1.95 expected
    assert 1.1 < sum(units for order in orders for _, units in order.lines) / lines < 1.2


def test_a_sku_is_at_four_to_eight_nodes(few: Instance) -> None:
    whole = instances.generated(5, 0)  # so much that every node of a sku gets some
    at = [sum(row[sku] > 0 for row in whole.stock) for sku in range(whole.skus)]
    assert min(at) == 4
    assert max(at) == 8
    assert few.skus == 100


@pytest.mark.slow
def test_real_baskets_are_as_stated(baskets: Instance) -> None:
    assert baskets.skus == 200
    assert max(len(order.lines) for order in baskets.orders) == 6
    assert {units for order in baskets.orders for _, units in order.lines} == {1, 2, 3}


@pytest.mark.parametrize("policy", POLICIES)
def test_no_policy_beats_the_bound(policy: Policy, few: Instance, baskets: Instance) -> None:
    for instance in (few, baskets):
        assert policies.run(instance, policy).cost >= hindsight(instance) - 1


def test_the_bound_is_what_one_line_costs_where_stock_is_plenty(few: Instance) -> None:
    singles = [Order(order.zone, order.lines[:1]) for order in few.orders]
    plenty = [[1_000] * few.skus for _ in instances.NODES]
    easy = replace(few, orders=singles, stock=plenty)
    assert hindsight(easy) == pytest.approx(policies.run(easy, policies.myopic_exact).cost)


def test_the_bound_knows_orders_that_come_later(few: Instance) -> None:
    stock = [[0] * few.skus for _ in instances.NODES]
    stock[NEW_YORK][0] = stock[NEW_YORK][1] = 1
    zone = instances.sites()[NEW_YORK]
    one, both = Order(zone, ((0, 1),)), Order(zone, ((0, 1), (1, 1)))
    instance = replace(few, orders=[one, both], stock=stock)
    cheap = 650 + 50 + 50
    assert hindsight(instance) == pytest.approx(cheap + 1_400 + 600)
    myopic = policies.run(instance, policies.myopic_exact)
    assert myopic.cost == (650 + 50) + (1_400 + 600 + 600)
    assert myopic.supplier_units == 2


def test_myopic_exact_finds_what_trying_everything_finds(few: Instance) -> None:
    ledger = policies.Ledger(few)
    for order in few.orders:
        nodes = policies.myopic_exact(few, ledger.stock, order)
        if len(order.lines) <= 3:
            every = product(range(few.supplier + 1), repeat=len(order.lines))
            assert _cost(order, nodes) == min(
                _cost(order, plan)
                for plan in every
                if all(
                    node == few.supplier or ledger.stock[node][sku] >= units
                    for node, (sku, units) in zip(plan, order.lines, strict=True)
                )
            )
        assert ledger.ship(order, nodes) == _cost(order, nodes)


@pytest.mark.parametrize("policy", POLICIES)
def test_costs_add_up(policy: Policy, few: Instance) -> None:
    ledger = policies.Ledger(few)
    total = sum(ledger.ship(order, policy(few, ledger.stock, order)) for order in few.orders)
    spent = ledger.spent()
    assert spent == policies.run(few, policy)
    assert spent.cost == total
    ordered = sum(units for order in few.orders for _, units in order.lines)
    left = sum(map(sum, ledger.stock))
    assert sum(map(sum, few.stock)) - left + spent.supplier_units == ordered


def test_fewest_splits_takes_one_package_before_two_near_ones(few: Instance) -> None:
    stock = [[0] * few.skus for _ in instances.NODES]
    stock[instances.NODES.index("LAX")][0] = 1
    stock[instances.NODES.index("DFW")][1] = 1
    atlanta = instances.NODES.index("ATL")
    stock[atlanta][0] = stock[atlanta][1] = 1
    instance = replace(few, stock=stock)
    order = Order(DENVER, ((0, 1), (1, 1)))
    assert policies.fewest_splits(instance, stock, order) == [atlanta, atlanta]
    assert policies.nearest_per_line(instance, stock, order) != [atlanta, atlanta]


def test_the_supplier_ships_along_what_saves_a_package(few: Instance) -> None:
    stock = [[0] * few.skus for _ in instances.NODES]
    stock[NEW_YORK][0] = 5
    instance = replace(few, stock=stock)
    supplied = [instance.supplier]
    assert policies.fewest_splits(instance, stock, Order(DENVER, ((0, 1),))) == [NEW_YORK]
    both = Order(DENVER, ((0, 1), (1, 1)))
    assert policies.fewest_splits(instance, stock, both) == supplied * 2
    assert policies.nearest_complete(instance, stock, both) == [NEW_YORK, *supplied]


def test_headrace_decides_as_the_exact_policy_does_to_the_cent(
    few: Instance, baskets: Instance
) -> None:
    for instance in (few, baskets):
        headrace, ledger = Headrace(instance), policies.Ledger(instance)
        for order in instance.orders:
            exact = policies.myopic_exact(instance, ledger.stock, order)
            assert headrace(instance, ledger.stock, order) == exact
            assert headrace.costs[-1] == ledger.ship(order, exact)
        shard = headrace.engine.shard
        for node_id, row in zip(instances.NODES, ledger.stock, strict=True):
            node = shard.nodes[node_id]
            assert [shard.stock(node, str(sku)).available for sku in range(len(row))] == row


def test_nothing_is_shipped_twice(few: Instance) -> None:
    empty = replace(few, stock=[[0] * few.skus for _ in instances.NODES])
    with pytest.raises(AssertionError, match="has not 2 of sku 0"):
        policies.Ledger(empty).ship(Order(0, ((0, 2),)), [NEW_YORK])


def _cost(order: Order, nodes: Sequence[int]) -> int:
    packages = sum(package_costs()[order.zone][node] for node in set(nodes))
    return packages + sum(
        units * unit_costs()[order.zone][node]
        for node, (_, units) in zip(nodes, order.lines, strict=True)
    )
