"""The baseline: what shop platforms do, PostgreSQL transactions that lock the stock rows.

An order is one transaction: lock and read stock of its items (`SELECT … FOR UPDATE`, in the order
of the primary key, so that no two deadlock), take the nearest node that has both, count the units
as reserved, insert order, lines, allocations, commit. fsync on. Nobody reads the tables meanwhile.

Two platforms are measured. The *plain* one sends what platforms' ORMs send: a statement a row,
11 an order, nothing prepared. The *tuned* one is as fast as platforms could go: prepared
statements, one a table. For both, nodes' positions are cached in the client, there is a process a
connection, and orders come from memory. Two ways to lock are tried: `all` locks every node's row
of both items (as Saleor does); `chosen` reads without locks, chooses, then locks two rows and looks
again. The best over several connection counts counts. The tables have the indexes that answer what
Headrace's read model answers, and foreign keys; `--bare` leaves both out.
"""

import argparse
import json
import multiprocessing
import signal
import statistics
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from math import cos, radians, sin
from multiprocessing.queues import Queue
from multiprocessing.synchronize import Barrier
from typing import Final, Literal

import psycopg

from bench import workload
from bench.report import say
from orchestrator.embedded import embedded_postgres

Locking = Literal["all", "chosen"]
Stock = dict[tuple[str, str], int]  # SKU and node: units that can be promised

DURABLE: Final = {
    "fsync": "on",
    "full_page_writes": "on",
    "synchronous_commit": "on",
    "shared_buffers": "512MB",
    "max_wal_size": "4GB",
}
"""PostgreSQL's settings in every bench, the same for Headrace and for the baseline."""

CONNECTIONS: Final = (1, 2, 4, 8, 16)
_PREPARED_ORDERS: Final = 4_000  # a worker's supply before it begins again with new ids
_JOIN_S: Final = 30

_TABLES: Final = """
CREATE TABLE stock (
    sku text COLLATE "C", node_id text COLLATE "C", on_hand integer NOT NULL,
    reserved integer NOT NULL DEFAULT 0, PRIMARY KEY (sku, node_id)
) WITH (fillfactor = 70);
CREATE TABLE orders (
    channel text COLLATE "C", order_id text COLLATE "C", market_id text NOT NULL,
    customer_id text NOT NULL, status text NOT NULL, placed_at timestamptz NOT NULL,
    currency text NOT NULL, ship_to json NOT NULL, PRIMARY KEY (channel, order_id)
);
CREATE TABLE lines (
    channel text COLLATE "C", order_id text COLLATE "C", line_id text COLLATE "C",
    sku text NOT NULL, quantity integer NOT NULL, unit_price_minor bigint NOT NULL,
    PRIMARY KEY (channel, order_id, line_id)
);
CREATE TABLE allocations (
    channel text COLLATE "C", order_id text COLLATE "C", line_id text COLLATE "C",
    node_id text COLLATE "C", quantity integer NOT NULL, status text NOT NULL,
    PRIMARY KEY (channel, order_id, line_id, node_id)
);
"""
_RELATIONS: Final = """
CREATE INDEX ON stock (node_id, sku);
CREATE INDEX ON orders (placed_at, channel, order_id);
CREATE INDEX ON orders (status, placed_at);
CREATE INDEX ON lines (sku);
CREATE INDEX ON allocations (node_id);
ALTER TABLE lines ADD FOREIGN KEY (channel, order_id) REFERENCES orders;
ALTER TABLE allocations ADD FOREIGN KEY (channel, order_id, line_id) REFERENCES lines;
"""
_READ: Final = (
    "SELECT sku, node_id, on_hand - reserved FROM stock"
    " WHERE sku IN (%s, %s) AND on_hand > reserved"
)
_LOCK_ALL: Final = (
    "SELECT sku, node_id, on_hand - reserved FROM stock WHERE sku IN (%s, %s)"
    " ORDER BY sku, node_id FOR UPDATE"
)
_LOCK_ITEM: Final = (
    "SELECT sku, node_id, on_hand - reserved FROM stock WHERE sku = %s ORDER BY node_id FOR UPDATE"
)
_LOCK_CHOSEN: Final = (
    "SELECT sku, node_id, on_hand - reserved FROM stock"
    " WHERE (sku, node_id) IN ((%s, %s), (%s, %s)) ORDER BY sku, node_id FOR UPDATE"
)
_RESERVE: Final = (
    "UPDATE stock SET reserved = reserved + taken.units"
    " FROM (VALUES (%s, %s, %s::integer), (%s, %s, %s::integer)) AS taken (sku, node_id, units)"
    " WHERE stock.sku = taken.sku AND stock.node_id = taken.node_id"
)
_RESERVE_ROW: Final = "UPDATE stock SET reserved = reserved + %s WHERE sku = %s AND node_id = %s"
_LINE: Final = "INSERT INTO lines VALUES (%s, %s, %s, %s, %s, %s)"
_ALLOCATION: Final = "INSERT INTO allocations VALUES (%s, %s, %s, %s, %s, 'requested')"
_ORDER: Final = "INSERT INTO orders VALUES (%s, %s, %s, %s, 'allocated', %s, 'USD', %s)"
_LINES: Final = "INSERT INTO lines VALUES (%s, %s, '1', %s, %s, 1999), (%s, %s, '2', %s, %s, 999)"
_ALLOCATIONS: Final = (
    "INSERT INTO allocations VALUES (%s, %s, '1', %s, %s, 'requested'),"
    " (%s, %s, '2', %s, %s, 'requested')"
)


@dataclass(frozen=True, slots=True)
class Way:
    """How the baseline is run."""

    locking: Locking
    connections: int
    tuned: bool
    bare: bool = False  # without indexes and foreign keys

    def __str__(self) -> str:
        kind = "tuned" if self.tuned else "plain"
        bare = ", bare tables" if self.bare else ""
        return f"{kind}, {self.connections} connections, locks {self.locking}{bare}"


def _vector(place: workload.Place) -> tuple[float, float, float]:
    lat, lon = radians(place.lat), radians(place.lon)
    return cos(lat) * cos(lon), cos(lat) * sin(lon), sin(lat)


class Platform:
    """One connection of the shop platform."""

    def __init__(self, connection: psycopg.Connection, way: Way) -> None:
        self._connection = connection
        self._locking = way.locking
        self.place = self._tuned if way.tuned else self._plain
        self._nodes = {node_id: _vector(place) for node_id, place in workload.nodes().items()}

    def _plain(self, order: workload.Order, ship_to: str) -> None:
        """Take one order in one transaction, a statement a row."""
        run = self._connection.execute
        (sku_1, _), (sku_2, _) = order.lines
        with self._connection.transaction():
            while True:
                if self._locking == "all":
                    rows = [
                        row for sku in sorted((sku_1, sku_2)) for row in run(_LOCK_ITEM, (sku,))
                    ]
                    nodes = self._choose(order, rows)
                    break
                nodes = self._choose(order, run(_READ, (sku_1, sku_2)))
                wanted = zip(order.lines, nodes, strict=True)
                locked = self._stock(run(_LOCK_CHOSEN, (sku_1, nodes[0], sku_2, nodes[1])))
                if all(locked[sku, node] >= units for (sku, units), node in wanted):
                    break
            key = (workload.CHANNEL, order.order_id)
            run(_ORDER, (*key, workload.MARKET, "C1", workload.PLACED_AT, ship_to))
            for number, (sku, units) in enumerate(order.lines, 1):
                run(_LINE, (*key, str(number), sku, units, 1999))
            for number, ((sku, units), node) in enumerate(zip(order.lines, nodes, strict=True), 1):
                run(_RESERVE_ROW, (units, sku, node))
                run(_ALLOCATION, (*key, str(number), node, units))

    def _tuned(self, order: workload.Order, ship_to: str) -> None:
        """Take one order in one transaction, a statement a table."""
        (sku_1, units_1), (sku_2, units_2) = order.lines
        run = self._connection.execute
        with self._connection.transaction():
            if self._locking == "all":
                node_1, node_2 = self._choose(order, run(_LOCK_ALL, (sku_1, sku_2)))
            else:
                while True:
                    node_1, node_2 = self._choose(order, run(_READ, (sku_1, sku_2)))
                    locked = self._stock(run(_LOCK_CHOSEN, (sku_1, node_1, sku_2, node_2)))
                    if locked[sku_1, node_1] >= units_1 and locked[sku_2, node_2] >= units_2:
                        break
            run(_RESERVE, (sku_1, node_1, units_1, sku_2, node_2, units_2))
            key = (workload.CHANNEL, order.order_id)
            run(_ORDER, (*key, workload.MARKET, "C1", workload.PLACED_AT, ship_to))
            run(_LINES, (*key, sku_1, units_1, *key, sku_2, units_2))
            run(_ALLOCATIONS, (*key, node_1, units_1, *key, node_2, units_2))

    @staticmethod
    def _stock(rows: Iterable[tuple[str, str, int]]) -> Stock:
        return {(sku, node_id): units for sku, node_id, units in rows}

    def _choose(
        self, order: workload.Order, rows: Iterable[tuple[str, str, int]]
    ) -> tuple[str, str]:
        """The nearest node that has both lines, else the nearest of each."""
        (sku_1, units_1), (sku_2, units_2) = order.lines
        stock = self._stock(rows)
        for_1 = [n for (sku, n), units in stock.items() if sku == sku_1 and units >= units_1]
        for_2 = [n for (sku, n), units in stock.items() if sku == sku_2 and units >= units_2]
        x, y, z = _vector(order.to)
        nodes = self._nodes

        def nearness(node_id: str) -> float:
            a, b, c = nodes[node_id]
            return a * x + b * y + c * z

        both = set(for_1) & set(for_2)
        if both:
            node = max(both, key=nearness)
            return node, node
        return max(for_1, key=nearness), max(for_2, key=nearness)


def _work(
    url: str, name: str, way: Way, seconds: float, ready: Barrier, counts: "Queue[int]"
) -> None:
    """A worker process: place orders for so long, tell how many."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent ends us
    supply = [
        (order, json.dumps(json.loads(order.ship_to())))
        for order in workload.orders(name, _PREPARED_ORDERS)
    ]
    prepare = 0 if way.tuned else None
    with psycopg.connect(url, autocommit=True, prepare_threshold=prepare) as connection:
        platform = Platform(connection, way)
        done = 0
        ready.wait()
        until = time.perf_counter() + seconds
        while time.perf_counter() < until:
            order, ship_to = supply[done % _PREPARED_ORDERS]
            fresh = workload.Order(f"{name}-{done}", order.to, order.lines)
            platform.place(fresh, ship_to)
            done += 1
        counts.put(done)


def _set_up(connection: psycopg.Connection, *, bare: bool) -> None:
    connection.execute("DROP TABLE IF EXISTS stock, orders, lines, allocations")
    connection.execute(_TABLES)
    if not bare:
        connection.execute(_RELATIONS)
    with (
        connection.cursor() as cursor,
        cursor.copy("COPY stock (sku, node_id, on_hand) FROM STDIN") as copy,
    ):
        for sku, node_ids in workload.stocked().items():
            for node_id in node_ids:
                copy.write_row((sku, node_id, workload.UNITS))
    connection.execute("VACUUM ANALYZE stock")
    connection.execute("CHECKPOINT")


def measure(url: str, way: Way, seconds: float) -> float:
    """Orders a second into empty tables; checked to add up."""
    with psycopg.connect(url, autocommit=True) as admin:
        _set_up(admin, bare=way.bare)
    spawn = multiprocessing.get_context("spawn")
    ready: Barrier = spawn.Barrier(way.connections + 1)
    counts: Queue[int] = spawn.Queue()
    workers = [
        spawn.Process(
            target=_work,
            args=(url, f"b{number}", way, seconds, ready, counts),
            daemon=True,
        )
        for number in range(way.connections)
    ]
    try:
        for worker in workers:
            worker.start()
        ready.wait(_JOIN_S)
        done = sum(counts.get(timeout=seconds + _JOIN_S) for _ in workers)
        for worker in workers:
            worker.join(_JOIN_S)
    finally:
        for worker in workers:
            worker.kill()
    with psycopg.connect(url, autocommit=True) as admin:
        row = admin.execute(
            "SELECT (SELECT count(*) FROM orders), (SELECT count(*) FROM lines),"
            " (SELECT sum(quantity) FROM allocations), (SELECT sum(reserved) FROM stock)"
        ).fetchone()
    if row is None or (row[0], row[1]) != (done, 2 * done) or row[2] != row[3]:
        raise AssertionError(f"the baseline does not add up: {done} orders, tables say {row}")
    say(f"baseline: {done / seconds:,.0f} orders/s ({way})")
    return done / seconds


def best_way(
    url: str,
    seconds: float,
    connections: Sequence[int] = CONNECTIONS,
    *,
    tuned: bool,
    bare: bool = False,
) -> Way:
    """The fastest of both ways to lock and these connection counts."""
    found: dict[Way, float] = {}
    lockings: tuple[Locking, ...] = ("all", "chosen")
    for locking in lockings:
        for count in connections:
            way = Way(locking, count, tuned, bare)
            found[way] = measure(url, way, seconds)
    return max(found, key=lambda way: found[way])


def main() -> None:
    """Find the best way, then measure it."""
    arguments = argparse.ArgumentParser(prog="python -m bench.baseline", description=__doc__)
    arguments.add_argument("--bare", action="store_true", help="no indexes, no foreign keys")
    arguments.add_argument("--seconds", type=float, default=10, help="a run (default 10)")
    given = arguments.parse_args()
    with embedded_postgres(settings=DURABLE) as url:
        for tuned in (False, True):
            way = best_way(url, given.seconds / 3, tuned=tuned, bare=given.bare)
            rates = [measure(url, way, given.seconds) for _ in range(3)]
            say(f"baseline: {statistics.median(rates):,.0f} orders/s, {way}")


if __name__ == "__main__":
    main()
