"""Projector: rows a second into PostgreSQL, from encoded commits of two-line orders.

Decode, filter, fold, write. Rows are those written: each key once a transaction.
Target: 35,000 rows/s, client and server on this machine.
"""

import argparse
import asyncio
import json
import os
import platform
import statistics
import time
from collections import deque
from collections.abc import Iterator
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import orjson
import psycopg

from events.decided import InputRecord
from orchestrator.embedded import embedded_postgres
from projections import schema
from projections.fold import project
from projections.postgres import Postgres
from projections.tables import Changes
from schemas.journal import (
    Commit,
    FilterState,
    Verdict,
    decode,
    digest_of,
    encode_commit,
    encode_entry,
    encode_opened,
    step,
)

NODES, SKUS = 40, 500
TARGET_ROWS_S = 35_000
NOW_MS = 1_795_341_600_000


def placed(shard: int, number: int) -> tuple[InputRecord, list[Any]]:
    """An order of two lines, accepted and allocated at one node, with all 40 candidates."""
    market, order_id = f"M{shard}", f"{shard}-{number:08d}"
    node = f"NODE-{number * 7 % NODES:02d}"
    skus = [f"SKU-{number * 13 % SKUS:04d}", f"SKU-{(number * 13 + 1 + number % 7) % SKUS:04d}"]
    of: dict[str, Any] = {"market_id": market, "channel": "web", "order_id": order_id}
    lines = [{"line_id": str(n + 1), "sku": sku, "quantity": n + 1} for n, sku in enumerate(skus)]
    ship_to = {
        "name": "Test Buyer",
        "address_lines": ["1 Main St"],
        "city": "Cambridge",
        "region": "MA",
        "postal_code": "02139",
        "country": "US",
        "location": {"lat": 42.37, "lon": -71.11},
    }
    cause: InputRecord = {
        "type": "order_placed",
        "version": 1,
        "id": order_id,
        "source": "bench",
        "time_ms": NOW_MS,
        "origin": ["orders", shard, number, NOW_MS],
        "data": {
            **of,
            "placed_at": "2026-11-22T10:00:00Z",
            "currency": "USD",
            "ship_to": ship_to,
            "lines": [{**line, "unit_price_minor": 1999} for line in lines],
        },
    }
    part: dict[str, Any] = {"fulfillment_id": f"web.{order_id}.1", "node_id": node, "lines": lines}
    counts = [["1", 0, 1, 0, 0, 0, 0], ["2", 0, 2, 0, 0, 0, 0]]
    events: list[Any] = [
        {"type": "order_accepted", **of, "status": "accepted"},
        {
            "type": "fulfillment_requested",
            **of,
            **part,
            "requested_at": "2026-11-22T10:00:00Z",
            "method": "ship",
            "service_level": "standard",
            "currency": "USD",
            "ship_to": ship_to,
        },
        {
            "type": "order_allocated",
            **of,
            "status": "allocated",
            "fulfillments": [part],
            "backordered": [],
            "decision": orjson.dumps(
                {
                    "trigger": "order_placed",
                    "rule_set": "default",
                    "price_version": 0,
                    "method": "exact",
                    "lines": [[line["line_id"], line["sku"], line["quantity"]] for line in lines],
                    "candidates": [
                        [f"NODE-{n:02d}", 100_000 + n * 7_919, [1, 2]] for n in range(NODES)
                    ],
                    "removed": {"no_stock": []},
                    "chosen": {"nodes": [node], "units": 3, "distance_m": 100_000},
                    "runner_up": {"nodes": ["NODE-01"], "units": 3, "distance_m": 107_919},
                    "decided_by": "distance",
                    "counterfactual": "NODE-01, had it been 7.9 km nearer",
                }
            ).decode(),
        },
        {
            "type": "balanced",
            "orders": [[market, "web", order_id, "allocated", counts]],
            "stock": [
                [market, f"{node}.{shard}", sku, 10_000, number % 100, 0, 0, 0] for sku in skus
            ],
        },
    ]
    return cause, events


def journal(shard: int, orders: int, a_commit: int) -> Iterator[bytes]:
    """A shard's journal: opened, then commits of so many orders."""
    yield encode_opened("bench", "nonce")
    prev, done = "", 0
    for seq in range(1, orders // a_commit + 1):
        entries = [encode_entry(*placed(shard, done + n)) for n in range(a_commit)]
        value = encode_commit(
            epoch=0,
            nonce="nonce",
            seq=seq,
            inbox_from=done,
            inbox_next=done + a_commit,
            prev=prev,
            now_ms=NOW_MS + seq,
            entries=entries,
        )
        done += a_commit
        prev = digest_of(value)
        yield value


async def write(database: Postgres, shard: int, values: list[bytes], a_batch: int) -> int:
    """Project a journal, so many commits a transaction; the rows written."""
    state, confirmed, rows = FilterState(), None, 0
    changes = Changes()
    for offset, value in enumerate(values):
        record = decode(value, offset)
        state, verdict = step(state, offset, record)
        if isinstance(record, Commit) and verdict is Verdict.VALID:
            deque(project(changes, shard, record), maxlen=0)
        if offset % a_batch == 0 or offset == len(values) - 1:
            rows += len(changes)
            if not await database.apply(shard, confirmed, state, changes):
                raise SystemExit("somebody else writes to this schema")
            confirmed, changes = state, Changes()
    return rows


async def run(
    url: str, shards: int, orders: int, a_commit: int, a_batch: int
) -> tuple[float, float]:
    """Rows and orders a second into a new schema, all shards at once."""
    async with await psycopg.AsyncConnection.connect(url, autocommit=True) as admin:
        await admin.execute("DROP SCHEMA IF EXISTS bench_projector CASCADE")
        await schema.migrate(admin, "bench_projector")
    journals = [list(journal(shard, orders // shards, a_commit)) for shard in range(shards)]
    database = Postgres(url, "bench_projector")
    began, cpu = time.perf_counter(), time.process_time()
    rows = await asyncio.gather(
        *(write(database, shard, values, a_batch) for shard, values in enumerate(journals))
    )
    took, cpu = time.perf_counter() - began, time.process_time() - cpu
    await database.close()
    print(
        f"{sum(rows):,} rows of {orders:,} orders in {took:.2f} s: {sum(rows) / took:,.0f} rows/s,"
        f" client {cpu / orders * 1e6:.0f} us CPU an order",
        flush=True,
    )
    return sum(rows) / took, orders / took


def main() -> None:
    """Run it."""
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("--orders", type=int, default=20_000)
    arguments.add_argument("--shards", type=int, default=4)
    arguments.add_argument("--commit", type=int, default=20, help="orders a commit")
    arguments.add_argument("--batch", type=int, default=10, help="commits a transaction")
    arguments.add_argument("--runs", type=int, default=5)
    arguments.add_argument("--url", help="libpq URL; without it a temporary PostgreSQL is started")
    arguments.add_argument("--json", type=Path, help="write the result there")
    given = arguments.parse_args()
    server = (
        nullcontext(given.url)
        if given.url
        else embedded_postgres(settings={"fsync": "on", "full_page_writes": "on"})
    )
    with server as url:
        results = [
            asyncio.run(run(url, given.shards, given.orders, given.commit, given.batch))
            for _ in range(given.runs)
        ]
    result = {
        "bench": "projector",
        "machine": f"{platform.machine()}, {os.cpu_count()} cores",
        "python": platform.python_version(),
        "rows_s": round(statistics.median(rows for rows, _ in results)),
        "orders_s": round(statistics.median(orders for _, orders in results)),
        "target_rows_s": TARGET_ROWS_S,
        "runs": [round(rows) for rows, _ in results],
    }
    print(json.dumps(result))
    if given.json:
        given.json.write_text(json.dumps(result, indent=1) + "\n")


if __name__ == "__main__":
    main()
