from collections import Counter
from datetime import UTC, datetime, timedelta
from itertools import islice

import pytest

from events.network import PlacesDefined
from orchestrator.demo.baskets import STORES, Basket, Baskets
from orchestrator.demo.network import MARKETS, Network
from orchestrator.demo.supply import Stocking


@pytest.mark.slow
def test_every_basket_is_whole_and_of_a_big_store(baskets: Baskets) -> None:
    some = list(islice(baskets.stream(1), 500))

    assert len(baskets.stores) == STORES
    assert len({basket.basket_id for basket in some}) == 500
    for basket in some:
        assert basket.store_id in baskets.stores
        assert basket.lines
        assert len({line.item.sku for line in basket.lines}) == len(basket.lines)


def test_lines_have_units_and_prices_in_cents_and_no_gasoline(baskets: Baskets) -> None:
    lines = [line for basket in islice(baskets.stream(2), 2_000) for line in basket.lines]

    assert min(line.quantity for line in lines) >= 1
    assert max(line.quantity for line in lines) < 100
    assert not [line for line in lines if "GASOLINE" in line.item.name.upper()]
    for line in lines:
        assert abs(line.unit_price_minor * line.quantity - line.total_minor) <= line.quantity / 2


def test_the_same_seed_gives_the_same_baskets_and_another_others(baskets: Baskets) -> None:
    first, again, other = (
        [basket.basket_id for basket in islice(baskets.stream(seed), 50)] for seed in (1, 1, 2)
    )

    assert first == again
    assert first != other


@pytest.mark.slow
def test_a_second_round_through_the_data_has_order_ids_of_its_own(baskets: Baskets) -> None:
    all_of_it = Counter(basket.basket_id for basket in islice(baskets.stream(1), 70_000))

    assert max(all_of_it.values()) == 1
    assert any(basket_id.endswith("-2") for basket_id in all_of_it)


def test_a_purchase_is_moved_to_the_newest_such_time_of_day() -> None:
    basket = Basket("1", 1, 1, datetime(2017, 6, 1, 17, 30), ())  # noqa: DTZ001  (as in the data)

    evening = datetime(2026, 3, 2, 20, 0, tzinfo=UTC)
    morning = datetime(2026, 3, 2, 9, 0, tzinfo=UTC)
    assert basket.placed_at(evening) == evening - timedelta(hours=2, minutes=30)
    assert basket.placed_at(morning) == datetime(2026, 3, 1, 17, 30, tzinfo=UTC)


def test_the_network_has_ten_warehouses_and_thirty_stores_in_two_markets(network: Network) -> None:
    kinds = Counter((node.market_id, node.kind) for node in network.nodes)

    assert kinds == {
        (market, kind): n for market in MARKETS for kind, n in (("warehouse", 5), ("store", 15))
    }
    assert len({node.node_id for node in network.nodes}) == 40
    assert {node.town.state for node in network.stores.values()} > {"NJ", "TX", "CA"}


def test_a_household_always_lives_at_the_same_place_near_its_store(
    baskets: Baskets, network: Network
) -> None:
    store_id = baskets.stores[0]
    store = network.stores[store_id].town
    home = network.home_of(900, store_id)

    assert home == network.home_of(900, store_id)
    assert home != network.home_of(901, store_id)
    assert home.location is None, "its postal code says where it is"
    (place,) = [
        row
        for fact in network.facts()
        if isinstance(fact, PlacesDefined)
        for row in fact.rows
        if row.postal_code == home.postal_code
    ]
    assert abs(place.lat - store.lat) < 0.5
    assert home.address_lines


def test_stock_covers_most_of_what_is_sold_but_not_all(baskets: Baskets, network: Network) -> None:
    some = list(islice(baskets.stream(1), 300))
    supply = Stocking(network, seed=1).supply(some)

    wanted = Counter((basket.store_id, line.item.sku) for basket in some for line in basket.lines)
    at_the_store = {
        (one.node_id, one.sku) for one in supply.receipts if one.node_id.startswith("ST-")
    }
    assert 0.9 < len(at_the_store) / len(wanted) < 1
    assert 0 < len(supply.later) < 0.05 * len(wanted)


def test_only_items_of_the_chosen_orders_are_defined_and_each_once(
    baskets: Baskets, network: Network
) -> None:
    some = list(islice(baskets.stream(1), 300))
    stocking = Stocking(network, seed=1)
    defined = [
        item.sku for part in (some[:100], some[100:]) for item in stocking.supply(part).items
    ]

    assert len(defined) == len(set(defined))
    assert set(defined) == {line.item.sku for basket in some for line in basket.lines}


def test_no_two_deliveries_have_the_same_document_line(baskets: Baskets, network: Network) -> None:
    stocking = Stocking(network, seed=1)
    stream = baskets.stream(1)
    notes = [
        (one.node_id, one.document, one.document_line)
        for _ in range(3)
        for supply in [stocking.supply(list(islice(stream, 100)))]
        for one in (*supply.receipts, *supply.later)
    ]

    assert len(notes) == len(set(notes))
