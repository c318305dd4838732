"""A cold start on a backlog: roles catch up at full speed, within their memory and their turns.

First the roles that carry orders through; then, on the journal that these wrote, those that follow.
Of five records one is an order, the others move stock. The long form (`make soak`) has 2,000,000
records, one role that follows at a time, a database that stands still for a while, and a broker
that stands still every other half second.
"""

import asyncio
import os
import signal
import time
import urllib.request
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import orjson
import psycopg
import pytest
import structlog
from prometheus_client.parser import text_string_to_metric_families
from prometheus_client.samples import Sample

from orchestrator.compose import create_topics
from orchestrator.runtime.batches import batches
from orchestrator.runtime.kafka_log import KafkaLog, KafkaSettings
from orchestrator.runtime.settings import Settings
from projections import schema
from schemas.cloudevents import emit
from schemas.ports import Partition, Record
from tests.kafka.roles import Process, Processes
from tests.kafka.test_whole_path import SCHEMA
from tests.servers.killable import Cluster, Server

pytestmark = pytest.mark.slow

RECORDS: Final = int(os.environ.get("HEADRACE_TEST_BACKLOG", "40000"))
MOVEMENTS_AN_ORDER: Final = 4
ORDERS: Final = RECORDS // (1 + MOVEMENTS_AN_ORDER)
ROLES: Final = ("intake", "engine", "relay", "projector")
FOLLOWING: Final = (
    (("standby",), ("history",), ("shadow",), ("past",), ("api",))
    if "HEADRACE_TEST_LONG" in os.environ
    else (("history,standby", "shadow,past,api"),)  # each process costs a start
)
"""Processes side by side, one round after the other: of some, each holds all orders in memory."""
BEYOND_MB: Final = 400
FOLDING: Final = frozenset({"engine", "standby", "shadow"})
"""They hold what an engine holds that has just opened the shards."""
HISTORY_BYTES: Final = 800  # of what a history holds of an open order; other roles hold nothing
BLOCKED_S: Final = 0.2
SHARDS: Final = 2
AT_THE_END: Final = 4  # looks, half a second apart

_log = structlog.get_logger()


@dataclass
class Grown:
    """A process's memory, from when it was ready on, in MB."""

    process: Process
    first: float
    peak: float = 0.0

    def look(self) -> None:
        """Look at it now."""
        self.peak = max(self.peak, resident_mb(self.process))


def resident_mb(process: Process) -> float:
    status = Path(f"/proc/{process.running.pid}/status").read_text()
    (line,) = (one for one in status.splitlines() if one.startswith("VmRSS"))
    return int(line.split()[1]) / 1024


def master_data() -> Iterator[tuple[str, str, bytes, bytes]]:
    """Topic, type, key and value: a market a shard, with one node and stock for everybody."""
    yield "network", "item_defined", b"i", orjson.dumps({"sku": "MUG", "name": "Mug"})
    for shard in range(SHARDS):
        market_id, node_id = f"m{shard}", f"n{shard}"
        of = {"market_id": market_id, "currency": "USD", "time_zone": "UTC", "shard": shard}
        yield "network", "market_defined", market_id.encode(), orjson.dumps(of)
        node = {"node_id": node_id, "market_id": market_id, "name": "N", "kind": "warehouse"}
        node |= {"address": {"country": "US"}}  # type: ignore[dict-item]  # JSON
        yield "network", "node_defined", node_id.encode(), orjson.dumps(node)
        stock = {"node_id": node_id, "sku": "MUG", "quantity": ORDERS}
        yield "stock", "stock_received", node_id.encode(), orjson.dumps(stock)


def order(number: int) -> bytes:
    return (
        b'{"channel":"web","market_id":"m%d","order_id":"%d","placed_at":"2026-01-01T00:00:00Z",'
        b'"currency":"USD","ship_to":{"country":"US"},'
        b'"lines":[{"line_id":"1","sku":"MUG","quantity":1}]}' % (number % SHARDS, number)
    )


def movement(number: int) -> tuple[bytes, bytes]:
    """Key and value."""
    node_id = b"n%d" % (number % SHARDS)
    value = b'{"node_id":"%b","sku":"MUG","delta":1,"reason":"found"}' % node_id
    return node_id, value


async def fill(log: KafkaLog) -> None:
    """Write master data, then the backlog."""
    writer = await log.writer()
    at = "2026-01-01T00:00:00Z"
    partitions = {name: one.partitions for name, one in (await log.describe()).items()}

    async def write(topic: str, number: int, records: list[Record]) -> None:
        for part in batches(records):
            await writer.append(Partition(topic, number % partitions[topic]), part)

    try:
        for n, (topic, type_, key, value) in enumerate(master_data()):
            headers = emit(type_, f"m{n}", "test", at)
            await writer.append(Partition(topic, 0), [Record(key, value, headers)])
        for chunk, first in enumerate(range(0, ORDERS, 1_000)):
            numbers = range(first, min(first + 1_000, ORDERS))
            placed = [
                Record(b"%d" % one, order(one), emit("order_placed", f"o{one}", "test", at))
                for one in numbers
            ]
            await write("orders", chunk, placed)
            moved = [
                Record(*movement(one), emit("stock_adjusted", f"s{one}.{n}", "test", at))
                for one in numbers
                for n in range(MOVEMENTS_AN_ORDER)
            ]
            await write("stock", chunk, moved)
    finally:
        await writer.close()


def metrics(process: Process) -> list[Sample]:
    with urllib.request.urlopen(f"http://{process.http}/metrics", timeout=10) as answer:
        families = text_string_to_metric_families(answer.read().decode())
        return [sample for family in families for sample in family.samples]


def blocked(process: Process) -> int:
    """How often its loop was blocked for too long."""
    counts = {
        float(sample.labels["le"]): sample.value
        for sample in metrics(process)
        if sample.name == "headrace_loop_blocked_seconds_bucket"
    }
    return int(counts[float("inf")] - counts[BLOCKED_S])


def behind(process: Process) -> int | None:
    """Records of journals still to be followed; None where it has not read in every one yet."""
    lags = [
        sample.value
        for sample in metrics(process)
        if sample.name == "headrace_past_lag_records"
        or (
            sample.name == "headrace_reader_lag_records" and sample.labels.get("topic") == "journal"
        )
    ]
    return int(sum(lags)) if len(lags) == SHARDS * len(process.roles.split(",")) else None


@asynccontextmanager
async def processes(at: Path, kafka: str, prefix: str, database: str) -> AsyncIterator[Processes]:
    async with await psycopg.AsyncConnection.connect(database, autocommit=True) as connection:
        await schema.migrate_all(connection, SCHEMA)
    log = await KafkaLog.open(KafkaSettings(kafka, prefix))
    await create_topics(log, Settings(kafka=kafka, prefix=prefix, shards=SHARDS))
    await fill(log)
    await log.close()
    started = Processes(at, kafka, prefix, database, shards=str(SHARDS))
    try:
        yield started
    finally:
        started.end()


async def within_turns(
    running: list[Process], done: Callable[[], Awaitable[bool]], within_s: float
) -> list[Grown]:
    """Wait until they have done it; how they grew meanwhile, and that none blocked its loop."""
    grown: list[Grown] = []
    began = time.monotonic()
    async with asyncio.timeout(within_s):
        while True:
            await asyncio.sleep(0.5)
            if not grown:
                answers = [await one.health() for one in running]
                if all(status for status, _ in answers):
                    grown = [Grown(one, resident_mb(one)) for one in running]
            for one in grown:
                one.look()
            if grown and await done():
                break
    seconds = time.monotonic() - began
    for one in grown:
        counted = blocked(one.process)
        _log.warning(
            "caught up",
            role=one.process.roles,
            first_mb=round(one.first),
            peak_mb=round(one.peak),
            blocked=counted,
            records_a_second=round(RECORDS / seconds),
        )
        assert counted == 0, one.process.roles
    return grown


async def folded_mb(started: Processes) -> float:
    """What an engine takes that has opened the shards and done nothing else; it goes on running."""
    engine = started.start("engine")
    async with asyncio.timeout(60 + RECORDS / 5_000):
        while len(engine.opened()) < SHARDS:
            await asyncio.sleep(0.2)
    folded = resident_mb(engine)
    _log.warning("opened", mb=round(folded))
    return folded


def assert_within_memory(grown: list[Grown], folded: float) -> None:
    for one in grown:
        roles = set(one.process.roles.split(","))
        held = folded if FOLDING & roles else one.first
        held += ORDERS * HISTORY_BYTES / 2**20 if "history" in roles else 0
        assert one.peak <= held + BEYOND_MB, one.process.roles


async def carried_through(running: list[Process], database: str, within_s: float) -> list[Grown]:
    """Every order and every movement gets readable."""
    wanted = (ORDERS, SHARDS * ORDERS + MOVEMENTS_AN_ORDER * ORDERS)

    async def readable() -> bool:
        with suppress(psycopg.Error):
            async with await psycopg.AsyncConnection.connect(
                database, options=schema.options(SCHEMA), connect_timeout=5
            ) as connection:
                found = await connection.execute(
                    "SELECT (SELECT count(*) FROM orders), sum(on_hand)::bigint FROM stock"
                )
                return await found.fetchone() == wanted
        return False

    return await within_turns(running, readable, within_s)


async def followed(running: list[Process], within_s: float) -> list[Grown]:
    """Every journal is followed to its end; a reader that fetched nothing yet may think it is."""
    at_the_end = 0

    async def all_of_it() -> bool:
        nonlocal at_the_end
        lags = [await asyncio.to_thread(behind, one) for one in running]
        at_the_end = 0 if any(lag is None or lag for lag in lags) else at_the_end + 1
        return at_the_end == AT_THE_END

    return await within_turns(running, all_of_it, within_s)


async def test_a_cold_start_on_a_backlog_stays_within_memory_and_turns(
    kafka: str, prefix: str, postgres: str, tmp_path: Path
) -> None:
    async with processes(tmp_path, kafka, prefix, postgres) as started:
        carrying = [started.start(role) for role in ROLES]
        grown = await carried_through(carrying, postgres, 60 + RECORDS / 500)
        for one in carrying:
            await one.stop()
        folded = await folded_mb(started)
        for round_ in FOLLOWING:
            following = [started.start(roles) for roles in round_]
            grown += await followed(following, 60 + RECORDS / 500)
            for one in following:
                await one.stop()
    assert_within_memory(grown, folded)


@pytest.mark.real_kafka("is a cluster of its own")
@pytest.mark.skipif(
    "HEADRACE_TEST_LONG" not in os.environ,
    reason="takes a quarter of an hour: make soak, or HEADRACE_TEST_LONG=1",
)
async def test_a_slow_database_and_a_slow_broker_cost_time_and_no_memory(
    cluster: Cluster, prefix: str, mortal_postgres: Server, tmp_path: Path
) -> None:
    name = prefix.rstrip("-")
    async with await psycopg.AsyncConnection.connect(
        mortal_postgres.address, autocommit=True
    ) as admin:
        await admin.execute(f"CREATE DATABASE {name}".encode())
    database = mortal_postgres.address.rpartition("/")[0] + f"/{name}"

    async def troubles() -> None:
        leader = await cluster.leader(f"{prefix}orders", 0)
        while True:
            await asyncio.sleep(20)
            mortal_postgres.signal(signal.SIGSTOP)
            await asyncio.sleep(15)
            mortal_postgres.signal(signal.SIGCONT)
            for _ in range(20):
                leader.signal(signal.SIGSTOP)
                await asyncio.sleep(0.5)
                leader.signal(signal.SIGCONT)
                await asyncio.sleep(0.5)

    async with processes(tmp_path, cluster.bootstrap, prefix, database) as started:
        running = [started.start(role) for role in ROLES]
        troubling = asyncio.create_task(troubles())
        try:
            grown = await carried_through(running, database, 120 + RECORDS / 250)
        finally:
            troubling.cancel()
            await asyncio.gather(troubling, return_exceptions=True)
            mortal_postgres.signal(signal.SIGCONT)
            for broker in cluster.brokers:
                broker.signal(signal.SIGCONT)
        for one in running:
            await one.stop()
        assert_within_memory(grown, await folded_mb(started))
