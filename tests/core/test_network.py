"""Master data as planning sees it: what is defined anew holds at once, and caches notice."""

from collections.abc import Callable

import pytest

from orchestrator.core.sourcing.tables import Tables
from tests.core.story import Story

ROW = {"postal_code": "02108", "lat": 42.4, "lon": -71.1}


def shop() -> Story:
    story = Story()
    for node_id in ("CHI", "BOS", "LAX"):
        story.node(node_id)
    return story


def define_service(story: Story) -> None:
    story.send(
        "carrier_service_defined",
        market_id="US",
        carrier="ups",
        service="ground",
        service_levels=["standard"],
        rates=[{"to_km": 500, "base_minor": 600, "transit_days": 2}],
    )


def define_places(story: Story) -> None:
    story.send("places_defined", country="US", version="1", chunk=1, chunks=1, rows=[ROW])


def move_market(story: Story) -> None:
    story.send("market_defined", market_id="US", currency="USD", time_zone="Asia/Tokyo")


def redefine_node(story: Story) -> None:
    story.node("BOS", capabilities=["cold"])


CHANGES = [define_service, define_places, move_market, redefine_node]


def test_nodes_stand_by_id_and_know_their_place() -> None:
    story = shop()
    found = story.shard.markets["US"].node_list
    assert [(node.index, node.node_id) for node in found] == [(0, "BOS"), (1, "CHI"), (2, "LAX")]


@pytest.mark.parametrize("change", [*CHANGES, lambda story: story.node("NYC")])
def test_what_planning_rests_on_has_a_new_version(change: Callable[[Story], None]) -> None:
    story = shop()
    market = story.shard.markets["US"]
    before = market.network_version
    change(story)
    assert market.network_version > before


@pytest.mark.parametrize("change", CHANGES)
def test_what_waits_is_planned_again_once(change: Callable[[Story], None]) -> None:
    story = shop()
    story.item("A")
    story.order("1", A=1)
    change(story)
    work = [event["work"] for event in story.events if event["type"] == "work_done"]
    assert work == [["refill", "US"], ["fill", "US", "A", None]]


@pytest.mark.parametrize("change", [*CHANGES, lambda story: story.item("A")])
def test_what_is_defined_again_as_it_stands_is_a_repeat(change: Callable[[Story], None]) -> None:
    story = shop()
    story.item("A")
    story.order("1", A=1)
    change(story)
    market = story.shard.markets["US"]
    before = market.network_version
    change(story)
    assert story.events == [{"type": "input_repeated", "by": "state"}]
    assert market.network_version == before


def test_nodes_keep_the_markets_hours_unless_they_have_their_own() -> None:
    story = shop()
    story.node("NYC", time_zone="America/New_York")
    move_market(story)
    nodes = story.shard.nodes
    assert nodes["BOS"].calendar.zone.name == "Asia/Tokyo"
    assert nodes["NYC"].calendar.zone.name == "America/New_York"


def test_a_node_that_is_defined_anew_is_what_it_is_now() -> None:
    story = shop()
    story.node(
        "BOS",
        cut_off="09:30",
        capacity_orders_per_day=4,
        capacity_units_per_day=9,
        unit_cost_minor=3,
        handling_cost_minor=150,
        groups=["stores"],
        pickup=True,
    )
    node = story.shard.nodes["BOS"]
    assert node.calendar.cut_off_minute == 570
    assert (node.capacity_orders, node.capacity_units) == (4, 9)
    assert (node.unit_cost_minor, node.handling_cost_minor) == (3, 150)
    assert (node.groups, node.pickup) == (frozenset({"stores"}), True)
    redefine_node(story)
    assert node.capabilities == frozenset({"cold"})
    assert (node.capacity_orders, node.capacity_units, node.groups) == (None, None, frozenset())


def test_a_service_that_is_defined_anew_charges_what_it_says_now() -> None:
    story = shop()
    define_service(story)
    story.send(
        "carrier_service_defined",
        market_id="US",
        carrier="ups",
        service="ground",
        service_levels=["expedited"],
        rates=[{"to_km": 500, "base_minor": 900, "transit_days": 2}],
        active=False,
    )
    (service,) = story.shard.markets["US"].services.values()
    assert [lane.base_minor for lane in service.lanes()] == [900, 900]
    assert (service.active, service.levels) == (False, frozenset({"expedited"}))


def test_what_stays_at_nodes_counts_among_what_tables_may_take() -> None:
    story = shop()
    story.item("A", "B", "C", "D")
    for node_id in ("CHI", "BOS", "LAX"):
        story.receive(node_id, A=1, B=1, C=1, D=1)
    market = story.shard.markets["US"]

    def kept(limit: int) -> list[str]:
        """The items that the tables still have after all were asked for."""
        (strategy,) = market.rules.strategies.values()
        tables = Tables(market, limit)
        items = [story.shard.items[sku] for sku in "ABCD"]
        made = [tables.stocked(strategy, item, None) for item in items]
        assert [one.holders is not None and one.holders.bits(1) for one in made] == [0b111] * 4
        again = [tables.stocked(strategy, item, None) for item in reversed(items)]
        return [one.item["sku"] for one in again if one in made]

    assert kept(limit=0) == ["D", "C", "B", "A"], "where nothing stays, nothing is kept of it"
    story.rules({}, safety_stock=[{"units": 0}])
    assert kept(limit=10_000) == ["D", "C", "B", "A"]
    assert kept(limit=600) == ["D"], "3 nodes of 40 bytes each: half of it is enough for two items"
