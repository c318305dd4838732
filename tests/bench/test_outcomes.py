from collections import Counter
from collections.abc import Sequence
from datetime import UTC, date, datetime, time, timedelta
from zoneinfo import ZoneInfo

import pytest

from bench.outcomes.headrace import Headrace
from bench.outcomes.legacy import Legacy
from bench.outcomes.scenario import CENTRAL, HOLIDAYS, Order, Scenario, at, cut_off_ms, km
from bench.outcomes.world import Measures, System, Task, World

MONDAY = date(2026, 11, 2)
SITES = Scenario(0, days=1).sites


class Watched:
    """A system, and a record of what nodes shipped when."""

    def __init__(self, system: System) -> None:
        self.system = system
        self.tasks: list[Task] = []
        self.days: Counter[tuple[str, date]] = Counter()
        self.units: Counter[str] = Counter()
        self.shipped_at: dict[str, int] = {}
        self.now_ms = 0

    def until(self, now_ms: int) -> Sequence[Task]:
        self.now_ms = now_ms
        return self._noted(self.system.until(now_ms))

    def morning(self) -> Sequence[Task]:
        return self._noted(self.system.morning())

    def place(self, order: Order) -> Sequence[Task]:
        return self._noted(self.system.place(order))

    def received(self, node_id: str, sku: str, units: int) -> Sequence[Task]:
        self.units["received"] += units
        return self._noted(self.system.received(node_id, sku, units))

    def sold(self, node_id: str, sku: str, units: int) -> Sequence[Task]:
        self.units["sold"] += units
        return self._noted(self.system.sold(node_id, sku, units))

    def missing(self, task: Task, lines: Sequence[tuple[int, int]]) -> Sequence[Task]:
        self.units["missing"] += sum(units for _, units in lines)
        return self._noted(self.system.missing(task, lines))

    def shipped(self, task: Task, lines: Sequence[tuple[int, int]]) -> Sequence[Task]:
        self.shipped_at[task.task_id] = self.now_ms
        self.units["shipped"] += sum(units for _, units in lines)
        zone = ZoneInfo(SITES[task.node_id].time_zone)
        local = datetime.fromtimestamp(self.now_ms / 1_000, UTC).astimezone(zone)
        self.days[task.node_id, local.date()] += 1
        return self._noted(self.system.shipped(task, lines))

    def _noted(self, tasks: Sequence[Task]) -> Sequence[Task]:
        self.tasks += tasks
        return tasks


@pytest.fixture(scope="module")
def scenario() -> Scenario:
    return Scenario(3, days=2)


@pytest.fixture(scope="module")
def run(scenario: Scenario) -> tuple[World, Watched, Measures]:
    watched = Watched(Legacy(scenario, len(scenario.sites)))
    world = World(scenario, watched)
    return world, watched, world.run()


@pytest.mark.slow
def test_a_seed_names_one_run(scenario: Scenario, run: tuple[World, Watched, Measures]) -> None:
    again = Scenario(3, days=2)
    assert again.orders == scenario.orders
    assert World(again, Legacy(again, len(again.sites))).run() == run[2]
    other = Scenario(4, days=2)
    assert World(other, Legacy(other, len(other.sites))).run() != run[2]


def test_demand_is_the_same_whatever_room_and_supply_there_is(scenario: Scenario) -> None:
    other = Scenario(3, room=0.5, supply=2, days=2)
    assert other.orders == scenario.orders
    assert other.walk_ins == scenario.walk_ins
    assert other.sites[CENTRAL].capacity == scenario.sites[CENTRAL].capacity / 2


def test_luck_is_the_same_whoever_asks(scenario: Scenario) -> None:
    site = scenario.sites["S-NYC"]
    again = Scenario(3, room=2, days=1)
    many = [scenario.missing(f"{n:06d}", site, "I001") for n in range(1_000)]
    assert many == [again.missing(f"{n:06d}", site, "I001") for n in range(1_000)]
    assert 30 < sum(many) < 100  # 6 % expected
    late = sum(scenario.delay_days(f"{n:06d}", "S-NYC") > 0 for n in range(1_000))
    assert 80 < late < 160  # 12 % expected


def test_every_unit_arrives_once(scenario: Scenario, run: tuple[World, Watched, Measures]) -> None:
    world, watched, measures = run
    assert measures.undelivered == 0
    assert all(kept.waiting == 0 for kept in world.orders.values())
    ordered = sum(units for order in scenario.orders for _, units in order.lines)
    assert watched.units["shipped"] == ordered
    assert measures.orders == sum(order.measured for order in scenario.orders) > 200


def test_no_unit_is_lost_or_made(scenario: Scenario, run: tuple[World, Watched, Measures]) -> None:
    world, watched, _ = run
    left = sum(sum(node.on_hand.values()) for node in world.nodes.values())
    gone = sum(watched.units[why] for why in ("shipped", "missing", "sold"))
    assert sum(scenario.full.values()) + watched.units["received"] - gone == left
    assert not any(any(node.reserved.values()) for node in world.nodes.values())
    assert min(watched.units.values()) > 0


def test_costs_add_up(scenario: Scenario, run: tuple[World, Watched, Measures]) -> None:
    world, watched, measures = run
    assert sum(kept.packages for kept in world.orders.values()) == sum(watched.days.values())
    measured = [world.orders[order.order_id] for order in scenario.orders if order.measured]
    assert measures.cost_minor == sum(kept.cost_minor for kept in measured) / len(measured)
    assert min(kept.cost_minor for kept in measured) >= 610 + 120


def test_a_node_ships_on_its_days_and_no_more_than_a_day_holds(
    scenario: Scenario, run: tuple[World, Watched, Measures]
) -> None:
    for (node_id, day), count in run[1].days.items():
        site = scenario.sites[node_id]
        assert count <= site.capacity
        assert day.weekday() in site.working_days
        assert day not in HOLIDAYS
    assert any(node_id != CENTRAL for node_id, _ in run[1].days)


def test_a_day_that_is_full_moves_what_is_less_urgent() -> None:
    small = Scenario(3, room=0.2, days=1)
    watched = Watched(Legacy(small, 1))
    World(small, watched).run()
    assert max(n for (node_id, _), n in watched.days.items() if node_id == CENTRAL) == 50


def test_the_legacy_asks_the_central_warehouse_first_then_the_nearest_store() -> None:
    scenario = Scenario(3, days=1)
    order = _order(scenario, "I000", 2)
    scenario.full.clear()
    scenario.full[CENTRAL, "I000"] = 2
    scenario.full["S-CHI", "I000"] = scenario.full["S-NYC", "I000"] = 2
    legacy = Legacy(scenario, len(scenario.sites))
    legacy.until(order.placed_ms)
    assert [legacy.place(order)[0].node_id for _ in range(3)] == [CENTRAL, "S-CHI", "S-NYC"]
    assert legacy.place(order) == []


def test_the_legacy_that_knows_one_store_asks_no_other() -> None:
    scenario = Scenario(3, days=1)
    order = _order(scenario, "I000", 2)
    scenario.full.clear()
    scenario.full["S-NYC", "I000"] = 2
    legacy = Legacy(scenario, 1)
    legacy.until(order.placed_ms)
    assert legacy.place(order) == []
    legacy.received(CENTRAL, "I000", 2)
    (task,) = legacy.morning()
    assert task.node_id == CENTRAL


def test_the_legacy_looks_at_refused_lines_in_the_morning_and_not_at_that_node() -> None:
    scenario = Scenario(3, days=1)
    order = _order(scenario, "I000", 1)
    scenario.full.clear()
    scenario.full[CENTRAL, "I000"] = scenario.full["S-CHI", "I000"] = 5
    legacy = Legacy(scenario, len(scenario.sites))
    legacy.until(order.placed_ms)
    (task,) = legacy.place(order)
    assert legacy.missing(task, [(0, 1)]) == ()
    (again,) = legacy.morning()
    assert (task.node_id, again.node_id) == (CENTRAL, "S-CHI")


def test_the_legacy_promises_the_next_cut_off_of_a_working_day() -> None:
    scenario = Scenario(3, days=1)
    order = _order(scenario, "I000", 1)
    scenario.full[CENTRAL, "I000"] = 5
    central = scenario.sites[CENTRAL]
    for sent, by in (
        (cut_off_ms(central, MONDAY), MONDAY),
        (cut_off_ms(central, MONDAY) + 1, MONDAY + timedelta(days=1)),
        (cut_off_ms(central, date(2026, 11, 10)) + 1, date(2026, 11, 12)),  # a holiday between
        (cut_off_ms(central, date(2026, 11, 13)) + 1, date(2026, 11, 16)),  # a weekend
    ):
        legacy = Legacy(scenario, 1)
        legacy.until(sent)
        assert legacy.place(order)[0].ship_by_ms == cut_off_ms(central, by)


@pytest.mark.slow
def test_headraces_books_are_the_worlds(scenario: Scenario) -> None:
    headrace = Headrace(scenario)
    watched = Watched(headrace)
    world = World(scenario, watched)
    measures = world.run()
    assert measures.undelivered == 0
    assert watched.units["missing"] > 0
    shard = headrace.engine.shard
    for node_id, node in world.nodes.items():
        for sku in scenario.skus:
            stock = shard.stock(shard.nodes[node_id], sku)
            assert (stock.on_hand, stock.available) == (node.on_hand[sku], node.on_hand[sku])


@pytest.mark.slow
def test_headrace_ships_on_the_day_it_planned() -> None:
    small = Scenario(3, room=0.5, days=1)
    watched = Watched(Headrace(small))
    World(small, watched).run()
    assert len(watched.shipped_at) > 1_000
    for task in watched.tasks:
        shipped_at = watched.shipped_at.get(task.task_id, 0)  # never, where nothing was found
        assert shipped_at <= task.ship_by_ms + 60_000  # nodes work right after their cut-off


def test_distances_and_times_are_as_on_a_map() -> None:
    scenario = Scenario(0, days=1)
    assert km(scenario.sites["S-NYC"], 34.05, -118.24) == pytest.approx(3_936, abs=10)
    noon = at(MONDAY, time(12), ZoneInfo("America/New_York"))
    assert datetime.fromtimestamp(noon / 1_000, UTC).hour == 17


def _order(scenario: Scenario, sku: str, units: int) -> Order:
    """To Chicago."""
    first = scenario.orders[0]
    return Order(
        "X", first.placed_ms, 41.9, -87.6, "standard", MONDAY, ((sku, units),), measured=True
    )
