"""The past: what it costs to keep, and how long `?at=` takes with a million events of it.

Whole lives of orders (placed, accepted, shipped, delivered) are decided and journaled in memory.
Read models and past are written into PostgreSQL, as the roles write them; then orders, stock and
nodes are asked over the API, at moments at random, half of them times and half positions.
"""

import asyncio
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from random import Random
from statistics import quantiles
from typing import Final

import httpx
import psycopg

from bench import workload
from bench.history import write
from bench.recovery import Book
from bench.report import Figure, Result, say
from orchestrator.embedded import embedded_postgres
from orchestrator.runtime.memory_log import MemoryLog
from orchestrator.runtime.world import SystemClock
from projections import schema
from projections.api import create_app
from projections.as_of import AsOf
from projections.fold import READ_MODELS, Model
from projections.past import PAST
from projections.postgres import Postgres
from projections.projector import MAX_RECORDS, batches
from projections.queries import open_reads
from schemas.journal import FilterState
from schemas.ports import Read
from schemas.times import rfc3339
from tests.kafka.watching import JOURNAL

_ORDERS: Final = 60_000  # a million inputs and decided events
_SCHEMA: Final = "bench_past"
_QUESTIONS: Final = 2_000  # of each kind
_AT_ONCE: Final = 4
_TARGET_MS: Final = 200


@dataclass(frozen=True, slots=True)
class Journaled:
    """A journal in memory, and what it holds."""

    reads: list[Read]
    order_ids: list[str]
    events: int
    begin_ms: int
    end_ms: int


async def journaled(orders: int) -> Journaled:
    """So many orders' lives."""
    log = MemoryLog(SystemClock(), {"journal": 1})
    writer = await log.writer()
    book, inbox = Book(writer), workload.Inbox()
    begin_ms = inbox.now_ms
    await write(book, inbox, orders)
    await writer.close()
    ids = [f"history-{number:07d}" for number in range(orders)]
    return Journaled(log.held(JOURNAL).records, ids, book.events, begin_ms, inbox.now_ms)


async def kept(url: str, model: Model, reads: list[Read]) -> tuple[float, float, int]:
    """Write a model from the journal: seconds, the client's CPU seconds, rows."""
    name = schema.named(_SCHEMA, model.kind)
    store = Postgres(url, name)
    state, before, rows = FilterState(), None, 0
    began, cpu = time.perf_counter(), time.process_time()
    for first in range(0, len(reads), MAX_RECORDS):
        for batch in batches(0, state, reads[first : first + MAX_RECORDS], model=model):
            if batch is not None and batch.state != state:
                if not await store.apply(0, before, batch.state, batch.changes):
                    raise SystemExit("somebody else writes to this schema")
                before = state = batch.state
                rows += len(batch.changes)
    took = time.perf_counter() - began, time.process_time() - cpu, rows
    await store.close()
    return took


@asynccontextmanager
async def asking(url: str) -> AsyncIterator[httpx.AsyncClient]:
    """The API over what was written."""
    async with open_reads(url, _SCHEMA) as reads:
        app = create_app(reads, SystemClock(), as_of=AsOf(reads, _SCHEMA))
        transport = httpx.ASGITransport(app=app)
        async with httpx.AsyncClient(transport=transport, base_url="http://bench") as client:
            yield client


def questions(kind: str, it: Journaled, luck: Random) -> Iterator[tuple[str, str]]:
    """Paths and moments; only of what was there by then in most cases."""
    commits = it.reads[-1].offset
    for number in range(_QUESTIONS):
        at = (
            rfc3339(luck.randint(it.begin_ms, it.end_ms))
            if number % 2
            else f"0:{luck.randint(1, commits)}"
        )
        if kind == "an order":
            yield f"/orders/{workload.CHANNEL}/{luck.choice(it.order_ids)}", at
        elif kind == "an item's stock":
            yield f"/stock/{luck.choice(list(workload.stocked()))}", at
        else:
            yield "/nodes?limit=500", at


async def asked(client: httpx.AsyncClient, given: list[tuple[str, str]]) -> list[float]:
    """Milliseconds of each answer, so many at once."""
    took: list[float] = []
    waiting = iter(given)

    async def ask() -> None:
        for path, at in waiting:
            began = time.perf_counter()
            answer = await client.get(f"{path}{'&' if '?' in path else '?'}at={at}")
            took.append((time.perf_counter() - began) * 1e3)
            if answer.status_code not in {200, 404}:
                raise SystemExit(f"{path} at {at}: {answer.status_code} {answer.text}")

    await asyncio.gather(*(ask() for _ in range(_AT_ONCE)))
    return took


async def _run(url: str, orders: int) -> dict[str, float]:
    it = await journaled(orders)
    async with await psycopg.AsyncConnection.connect(url, autocommit=True) as admin:
        await schema.migrate_all(admin, _SCHEMA)
        _, live_cpu, _ = await kept(url, READ_MODELS, it.reads)
        seconds, cpu, rows = await kept(url, PAST, it.reads)
        await admin.execute("ANALYZE")
        found = await admin.execute(
            "SELECT sum(pg_total_relation_size(oid)) FROM pg_class"
            " WHERE relnamespace = %s::regnamespace AND relkind = 'r'",
            (schema.named(_SCHEMA, "past"),),
        )
        row = await found.fetchone()
    measured = {
        "events": float(it.events),
        "rows_s": rows / seconds,
        "orders_s": orders / seconds,
        "cpu_us_an_order": cpu / orders * 1e6,
        "read_models_cpu_us_an_order": live_cpu / orders * 1e6,
        "bytes_an_order": float(row[0] if row else 0) / orders,
    }
    async with asking(url) as client:
        for kind in ("an order", "an item's stock", "the nodes"):
            await asked(client, list(questions(kind, it, Random(0)))[:50])  # statements prepared
            took = await asked(client, list(questions(kind, it, Random(1))))
            hundredths = quantiles(took, n=100)
            measured |= {f"{kind}, p50": hundredths[49], f"{kind}, p99": hundredths[98]}
    return measured


def run(*, quick: bool, runs: int) -> Result:
    """Measure it so often."""
    its: list[dict[str, float]] = []
    for _ in range(runs):
        with embedded_postgres(settings={"fsync": "on", "full_page_writes": "on"}) as url:
            its.append(asyncio.run(_run(url, _ORDERS // 20 if quick else _ORDERS)))
        say(f"past: {its[-1]}")
    of = {name: [one[name] for one in its] for name in its[0]}
    events = f"of {of['events'][0]:,.0f} events, {_AT_ONCE} at once"
    return Result(
        "past",
        [
            Figure("past kept", "orders/s", of["orders_s"]),
            Figure("its CPU an order", "µs", of["cpu_us_an_order"], note="without PostgreSQL's"),
            Figure("the read models' beside it", "µs", of["read_models_cpu_us_an_order"]),
            Figure("its size", "bytes/order", of["bytes_an_order"]),
            *(
                Figure(
                    f"{kind} then, {part}", "ms", of[f"{kind}, {part}"], at_most=most, note=events
                )
                for kind in ("an order", "an item's stock", "the nodes")
                for part, most in (("p50", None), ("p99", _TARGET_MS))
            ),
        ],
    )
