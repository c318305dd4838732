"""Sourcing alone, on one core: plans a second and how long the slowest take, beside a bare greedy.

Every decision has the whole cost model (three carrier services by distance and weight, handling,
lateness, load prices, capacities, parcel limits) and its explanation. What it plans is booked
before the next one, so that tables are mended all the time; a bin that runs low is filled up. In
the middle of every run the eastern nodes' cut-off passes.

The greedy takes for each line the cheapest node that has it all, from a dictionary, explains
nothing, and books too. Both decide the same orders, in turns; neither's booking counts. Turns are
long, since each begins with the other's memory in the caches: at 2,000 stores the greedy walks some
ten MB, and turns of 100 made a decision a fifth dearer than turns of 500.

Times are the thread's own on the processor, without what reading that clock takes: they are the
wall clock's on a quiet machine, and on another they don't count who else runs.

Each run has a process of its own, as a shard has: in one process each was dearer than the one
before it, the greedy's decisions too.

python -m bench sourcing                          all of it
python -m bench.sourcing CASE RUN ORDERS [tables] one run (case and run counted from 0), as JSON
"""

import gc
import subprocess
import sys
import time
import tracemalloc
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from itertools import accumulate
from random import Random
from statistics import fmean, median, quantiles
from typing import Final, NamedTuple

import orjson

from bench import workload
from bench.core import as_the_engine_collects
from bench.quality.geography import METROS
from bench.report import Figure, Result, say
from events.base import Fact, Location
from events.network import (
    CarrierServiceDefined,
    ItemDefined,
    MarketDefined,
    NodeAddress,
    NodeDefined,
    PlaceRow,
    PlacesDefined,
    RateBand,
    WeightBreak,
)
from events.rules import RuleSetActivated, RuleSetApproved, RuleSetProposed
from orchestrator.core.decide import decide
from orchestrator.core.shard import Node, Shard
from orchestrator.core.sourcing.calendars import DAY_MS, zone
from orchestrator.core.sourcing.geo import metres
from orchestrator.core.sourcing.plan import Leg, Request, Want
from orchestrator.core.sourcing.planner import source
from orchestrator.runtime import large_pages
from schemas.cloudevents import emit
from schemas.ports import Record
from schemas.times import iso_day

WEIGHTS_G: Final = (200, 400, 800, 1_500, 3_000)
QUANTITIES: Final = ((1, 2, 3), (0.88, 0.97, 1.0))  # with cumulated probabilities
ZIPF: Final = 0.7
PROMISED: Final = (None, None, None, None, 2, 4)  # days from now; a third of the orders have one
LOW: Final = 2  # available units at which a bin is filled up
MORE: Final = 12
CAPACITY: Final = 1_000_000  # orders a day: never full, but partly booked
BOOKED_PERCENT: Final = (0, 0, 20, 55, 75)
DAYS_BOOKED: Final = 5
A_TURN: Final = 1_000  # orders, before the other one decides
EVERY_MS: Final = 10  # an order comes
EAST: Final = "America/New_York"
CUT_OFF_MINUTE: Final = 16 * 60
MONDAY: Final = 20_780  # 2026-11-23
WORKING_DAYS: Final = 5
RULES: Final = {
    "defaults": {
        "late_per_day": {"standard": 300, "expedited": 1500},
        "load_price": {"50": 20, "70": 90, "90": 300},
    },
    "strategies": [
        {
            "name": "express",
            "when": {"service_level": ["expedited"], "order_value": {"min": 2000}},
            "fences": {"reach_promise": True},
        },
        {"name": "everything", "parcel": {"max_g": 10_000, "max_ml": 60_000}},
    ],
}


@dataclass(frozen=True, slots=True)
class Case:
    """A network, orders of so many lines, and what is expected; runs of `orders` decisions."""

    name: str
    lines: int
    nodes: int
    orders: int
    skus: int
    assortment: float = 0.9  # share of the items that a node has
    at_least: int | None = None  # decisions a second
    at_least_times: float | None = None  # the greedy's
    at_most_p99_ms: float | None = None
    at_most_bytes: int | None = None  # an explanation, on average


CASES: Final = (
    Case(
        "3 lines, 40 nodes",
        3,
        40,
        20_000,
        500,
        at_least=20_000,
        at_least_times=0.4,
        at_most_bytes=1_500,
    ),
    Case("5 lines, 30 nodes", 5, 30, 20_000, 500, at_most_p99_ms=0.4),
    Case(
        "3 lines, 2,000 stores at 90 %",
        3,
        2_000,
        10_000,
        200,
        at_least=7_000,
        at_least_times=12,
        at_most_bytes=2_000,
    ),
    Case(
        "3 lines, 2,000 stores at 2 %",
        3,
        2_000,
        10_000,
        200,
        0.02,
        at_least=3_500,
        at_most_bytes=2_000,
    ),
    Case("10 lines, 40 nodes", 10, 40, 1_000, 500, at_most_p99_ms=12),
)


class Order(NamedTuple):
    """An order as the planner is asked for it, and its destination as the greedy has it."""

    request: Request
    to: str


class World:
    """A shard with the case's network and stock, and the greedy's own view of both."""

    def __init__(self, case: Case) -> None:
        self.case = case
        self.inbox = workload.Inbox()
        self.shard = Shard(0)
        random = Random(case.name)
        self.skus = [f"S{number:03d}" for number in range(case.skus)]
        self._popularity = list(accumulate((rank + 1) ** -ZIPF for rank in range(case.skus)))
        for number, fact in enumerate(_network(case, self.skus, random)):
            headers = emit(fact.TYPE, f"master-{number}", "bench", workload.PLACED_AT)
            value = fact.model_dump_json(exclude_defaults=True).encode()
            record = Record(fact.record_key().encode(), value, headers)
            decide(self.shard, self.inbox.take(fact.TOPIC, record))
        self.market = self.shard.markets[workload.MARKET]
        if len(self.market.node_list) != case.nodes or self.market.rules.version != "1":
            raise AssertionError("the core refused some of the network")
        self.greedy_stock: dict[str, dict[str, int]] = {}
        for sku in self.skus:
            self._stock(sku, random)
        for node in self.market.node_list:
            orders = random.choice(BOOKED_PERCENT) * CAPACITY // 100
            for day in range(MONDAY, MONDAY + DAYS_BOOKED):
                node.booked[day] = [orders, orders]
        places = {code: self.shard.places.locate(_to(code)) for code in _codes()}
        self.costs = {
            (code, node.node_id): metres(place.vector, node.vector)
            for code, place in places.items()
            for node in self.market.node_list
            if place.vector is not None and node.vector is not None
        }

    def _stock(self, sku: str, random: Random) -> None:
        case = self.case
        nodes = random.sample(self.market.node_list, max(1, round(case.nodes * case.assortment)))
        known = self.greedy_stock[sku] = {}
        for node in sorted(nodes, key=lambda one: one.index):
            units = random.randint(LOW, MORE)
            known[node.node_id] = units
            self._receive(node, sku, units)

    def _receive(self, node: Node, sku: str, units: int) -> None:
        there = self.shard.bin(node, sku)
        there.on_hand += units
        there.available += units

    def orders(self, name: str, count: int, from_ms: int) -> list[Order]:
        """So many orders, one every `EVERY_MS`."""
        random = Random(f"{self.case.name}/{name}")
        codes = _codes()
        return [
            self._order(f"{name}-{i}", random, random.choice(codes), from_ms + i * EVERY_MS)
            for i in range(count)
        ]

    def _order(self, order_id: str, random: Random, code: str, now_ms: int) -> Order:
        skus: dict[str, None] = {}
        while len(skus) < self.case.lines:
            skus[random.choices(self.skus, cum_weights=self._popularity)[0]] = None
        lines = [
            {
                "line_id": str(number),
                "sku": sku,
                "quantity": random.choices(QUANTITIES[0], cum_weights=QUANTITIES[1])[0],
                "unit_price_minor": 1999,
            }
            for number, sku in enumerate(skus, 1)
        ]
        placed = {
            "channel": workload.CHANNEL,
            "market_id": workload.MARKET,
            "order_id": order_id,
            "placed_at": workload.PLACED_AT,
            "currency": "USD",
            "ship_to": _to(code) | {"name": "Test Buyer", "address_lines": ["1 Main St"]},
            "lines": lines,
        }
        promised = random.choice(PROMISED)
        if promised is not None:
            placed["deliver_by"] = iso_day(zone(EAST).day_of(now_ms) + promised)
        headers = emit("order_placed", order_id, "bench", workload.PLACED_AT)
        record = Record(order_id.encode(), orjson.dumps(placed), headers)
        data = self.inbox.take("orders", record)["data"]
        wants = [Want(line["line_id"], line["sku"], line["quantity"]) for line in data["lines"]]
        return Order(Request(data, wants, now_ms, "order_placed"), code)

    def book(self, order: Order, legs: Sequence[Leg]) -> None:
        """Reserve and book a plan as `evolve` does, and fill up what runs low."""
        shard, market = self.shard, self.market
        for leg in legs:
            node = market.nodes[leg.node_id]
            for want, units in zip(order.request.wants, leg.units, strict=True):
                if units:
                    there = shard.bin(node, want.sku)
                    there.reserve(units)
                    if there.available <= LOW:
                        self._receive(node, want.sku, MORE)
            market.use(node)
            booked = node.booked.setdefault(leg.ship_day, [0, 0])
            booked[0] += 1
            booked[1] += sum(leg.units)
            market.booked_changes.add(node.node_id)

    def greedy(self, order: Order) -> list[str | None]:
        """For each line the cheapest node that has all of it."""
        costs, code = self.costs, order.to
        chosen = []
        for _, sku, units in order.request.wants:
            best, least = None, 1 << 60
            for node_id, there in self.greedy_stock[sku].items():
                if there >= units and (cost := costs[code, node_id]) < least:
                    best, least = node_id, cost
            chosen.append(best)
        return chosen

    def book_greedy(self, order: Order, chosen: Sequence[str | None]) -> None:
        """Take the units, and fill up what runs low."""
        for (_, sku, units), node_id in zip(order.request.wants, chosen, strict=True):
            if node_id is not None:
                stock = self.greedy_stock[sku]
                left = stock[node_id] - units
                stock[node_id] = left if left > LOW else left + MORE


def _codes() -> list[str]:
    """The destinations' postal codes, in the order of `METROS`."""
    return [f"{10_000 + 2_000 * number}" for number in range(len(METROS))]


def _to(code: str) -> dict[str, object]:
    return {"country": "US", "postal_code": code}


def _network(case: Case, skus: Sequence[str], random: Random) -> Iterator[Fact]:
    """Master data and rules, the market first."""
    of = workload.MARKET
    yield MarketDefined(market_id=of, currency="USD", time_zone=EAST)
    rows = [
        PlaceRow(postal_code=code, lat=metro.lat, lon=metro.lon)
        for code, metro in zip(_codes(), METROS, strict=True)
    ]
    yield PlacesDefined(country="US", version="1", chunk=1, chunks=1, rows=rows)
    for number in range(case.nodes):
        # around the cities, the largest have the most
        (metro,) = random.choices(METROS, weights=[one.population for one in METROS])
        lon = metro.lon + random.uniform(-0.8, 0.8)
        yield NodeDefined(
            node_id=f"N{number:04d}",
            market_id=of,
            kind="store",
            name=f"Store {number}",
            address=NodeAddress(country="US"),
            location=Location(lat=round(metro.lat + random.uniform(-0.8, 0.8), 4), lon=lon),
            time_zone=_time_zone(lon),
            processing_minutes=random.choice((0, 0, 60)),
            capacity_orders_per_day=CAPACITY,
            capacity_units_per_day=2 * CAPACITY,
            handling_cost_minor=random.randrange(100, 400, 25),
        )
    for number, sku in enumerate(skus):
        weight_g = WEIGHTS_G[number % len(WEIGHTS_G)]
        yield ItemDefined(sku=sku, name=sku, weight_g=weight_g, volume_ml=2 * weight_g)
    yield from _services()
    yield RuleSetProposed(market_id=of, version="1", author="Ada", body=RULES)
    yield RuleSetApproved(market_id=of, version="1", approver="Ben")
    yield RuleSetActivated(market_id=of, version="1")


def _time_zone(lon: float) -> str:
    for west, name in ((-85, EAST), (-100, "America/Chicago"), (-114, "America/Denver")):
        if lon > west:
            return name
    return "America/Los_Angeles"


def _services() -> Iterator[Fact]:
    """Slow and cheap, fast and dear, and one that only goes near, by weight."""
    kms = (250, 500, 1_000, 1_600, 2_400, 6_000)

    def service(carrier: str, name: str, rates: list[RateBand]) -> CarrierServiceDefined:
        return CarrierServiceDefined(
            market_id=workload.MARKET,
            carrier=carrier,
            service=name,
            service_levels=["standard"],
            rates=rates,
            pickup_days=["mon", "tue", "wed", "thu", "fri"],
        )

    yield service(
        "brown",
        "ground",
        [
            RateBand(
                to_km=km, base_minor=650 + 70 * i, per_kg_minor=40 + 15 * i, transit_days=1 + i
            )
            for i, km in enumerate(kms)
        ],
    )
    yield service(
        "purple",
        "two-day",
        [
            RateBand(to_km=km, base_minor=1_100 + 150 * i, per_kg_minor=90 + 30 * i, transit_days=2)
            for i, km in enumerate(kms)
        ],
    )
    breaks = [
        WeightBreak(to_g=to_g, base_minor=base)
        for to_g, base in ((1_000, 560), (3_000, 640), (8_000, 830), (20_000, 1_300))
    ]
    yield service("metro", "local", [RateBand(to_km=300, weight_breaks=breaks, transit_days=2)])


@dataclass(slots=True)
class Run:
    """Times of single decisions, in ns, in their order; and the explanations' sizes."""

    planned_ns: list[int] = field(default_factory=list)
    encoded_ns: list[int] = field(default_factory=list)
    greedy_ns: list[int] = field(default_factory=list)
    sizes: list[int] = field(default_factory=list)
    legs: int = 0
    inexact: int = 0
    tables_mb: float | None = None

    @property
    def rate(self) -> float:
        """Decisions a second."""
        return len(self.planned_ns) / sum(self.planned_ns) * 1e9

    @property
    def before_cut_off(self) -> float:
        """The same, of the first half."""
        half = self.planned_ns[: len(self.planned_ns) // 2]
        return len(half) / sum(half) * 1e9

    @property
    def encoded_rate(self) -> float:
        """Decisions a second, their explanations encoded."""
        return len(self.planned_ns) / (sum(self.planned_ns) + sum(self.encoded_ns)) * 1e9

    @property
    def greedy_rate(self) -> float:
        """The greedy's decisions a second."""
        return len(self.greedy_ns) / sum(self.greedy_ns) * 1e9

    def ms(self, percent: int) -> float:
        """A decision's time; `percent` of them took no longer."""
        return quantiles(self.planned_ns, n=100, method="inclusive")[percent - 1] / 1e6


def cut_off_ms(run: int) -> int:
    """When the eastern nodes close, on the working day of this run."""
    day = MONDAY + run + 2 * (run // WORKING_DAYS)
    return zone(EAST).moment_ms(day, CUT_OFF_MINUTE)


def decide_all(world: World, orders: Sequence[Order]) -> Run:
    """Both decide all orders, in turns."""
    run = Run()
    shard, market, now = world.shard, world.market, time.thread_time_ns
    clock = _clock_ns()
    for first in range(0, len(orders), A_TURN):
        some = orders[first : first + A_TURN]
        for order in some:
            began = now()
            outcome = source(shard, market, order.request)
            planned = now()
            explanation = orjson.dumps(outcome.decision)
            run.encoded_ns.append(now() - planned - clock)
            run.planned_ns.append(planned - began - clock)
            run.sizes.append(len(explanation))
            run.legs += len(outcome.legs)
            run.inexact += outcome.decision["method"] != "exact"
            world.book(order, outcome.legs)
        for order in some:
            began = now()
            chosen = world.greedy(order)
            run.greedy_ns.append(now() - began - clock)
            world.book_greedy(order, chosen)
    return run


def _clock_ns() -> int:
    """What a reading of the clock adds to what lies between two of them."""
    now = time.thread_time_ns
    return round(median([-now() + now() for _ in range(1_000)]))


def tables_mb(world: World, orders: Sequence[Order]) -> float:
    """What the market's tables take after these orders: what is free once they are dropped."""
    market = world.market
    market.tables = None
    gc.collect()
    tracemalloc.start()
    for order in orders:
        source(world.shard, market, order.request)
    gc.collect()
    full, _ = tracemalloc.get_traced_memory()
    market.tables = None
    gc.collect()
    left, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    return (full - left) / 1e6


def run_here(case: Case, number: int, orders: int, *, tables: bool) -> Run:
    """One run, after a warm-up at noon of its day; and, where asked for, its tables' MB."""
    world = World(case)
    noon_ms = cut_off_ms(number) - DAY_MS // 6
    from_ms = cut_off_ms(number) - orders // 2 * EVERY_MS
    warm_up = world.orders(f"warm-up{number}", orders, noon_ms)
    some = world.orders(f"run{number}", orders, from_ms)
    as_the_engine_collects()
    decide_all(world, warm_up)
    large_pages.collapse()  # the tables, too, as after some seconds
    run = decide_all(world, some)
    if tables:
        gc.unfreeze()
        run.tables_mb = tables_mb(world, some)
    return run


def measure(case: Case, runs: int, orders: int) -> list[Run]:
    """The runs of a case, each in a process of its own.

    The last measures tables too, but only where they matter more than the search, which is slow
    when memory is traced.
    """
    done: list[Run] = []
    for number in range(runs):
        command = [sys.executable, "-m", "bench.sourcing"]
        command += map(str, (CASES.index(case), number, orders))
        if number == runs - 1 and case.at_least is not None:
            command.append("tables")
        child = subprocess.run(command, check=True, stdout=subprocess.PIPE)
        run = Run(**orjson.loads(child.stdout))
        done.append(run)
        say(
            f"sourcing: {case.name}: {run.rate:,.0f} decisions/s, greedy {run.greedy_rate:,.0f},"
            f" p50 {run.ms(50):.3f} ms, p99 {run.ms(99):.3f} ms"
        )
    return done


def _figures(case: Case, runs: Sequence[Run]) -> list[Figure]:
    name = case.name
    slowest = max(max(run.planned_ns) for run in runs) / 1e6
    figures = [
        Figure(
            f"{name}: decisions",
            "1/s",
            [run.rate for run in runs],
            at_least=case.at_least,
            note=f"{max(run.before_cut_off for run in runs):,.0f} before the cut-off",
        ),
        Figure(
            f"{name}: against the greedy",
            "times",
            [run.rate / run.greedy_rate for run in runs],
            at_least=case.at_least_times,
            note=f"greedy {max(run.greedy_rate for run in runs):,.0f}/s",
        ),
        Figure(f"{name}: with its encoding", "1/s", [run.encoded_rate for run in runs]),
        Figure(f"{name}: p50", "ms", [run.ms(50) for run in runs]),
        Figure(
            f"{name}: p99",
            "ms",
            [run.ms(99) for run in runs],
            at_most=case.at_most_p99_ms,
            note=f"a cut-off passes; slowest {slowest:.1f}",
        ),
        Figure(
            f"{name}: explanation",
            "bytes",
            [fmean(run.sizes) for run in runs],
            at_most=case.at_most_bytes,
            note=f"largest {max(max(run.sizes) for run in runs):,}",
        ),
    ]
    tables = [run.tables_mb for run in runs if run.tables_mb is not None]
    if tables:
        figures.append(Figure(f"{name}: tables", "MB", tables, at_most=100))
    return figures


def run(*, quick: bool, runs: int) -> Result:
    """Measure all cases."""
    result = Result("sourcing")
    for case in CASES:
        orders = min(case.orders, 60 if case.lines * case.nodes >= 400 else 500)
        done = measure(case, runs, orders if quick else case.orders)
        result.figures += _figures(case, done)
        count = sum(len(one.planned_ns) for one in done)
        result.details[case.name] = {
            "orders": count,
            "legs_an_order": sum(one.legs for one in done) / count,
            "best_found": sum(one.inexact for one in done),
            "slowest_ms": [max(one.planned_ns) / 1e6 for one in done],
        }
    return result


def main() -> None:
    """Print one run as JSON."""
    if not sys.argv[3:] or not all(one.isdecimal() for one in sys.argv[1:4]):
        raise SystemExit(__doc__)
    case, number, orders = map(int, sys.argv[1:4])
    with suppress(KeyboardInterrupt):  # the process that waits for this one says so
        done = run_here(CASES[case], number, orders, tables="tables" in sys.argv[4:])
        sys.stdout.buffer.write(orjson.dumps(asdict(done)))


if __name__ == "__main__":
    main()
