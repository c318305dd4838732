"""The procedures of `docs/how-to/operate.md`, carried out as they are written, on real servers."""

import asyncio
import os
import shutil
import subprocess
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from random import Random

import psycopg
import pytest
from aiokafka.admin import AIOKafkaAdminClient

from orchestrator.demo.outbox import Outbox
from orchestrator.demo.readmodel import ReadModel
from orchestrator.runtime.kafka_log import KafkaLog, KafkaSettings
from orchestrator.runtime.world import SystemClock
from tests.docs.pages import ROOT, commands
from tests.kafka.roles import Process, Processes
from tests.kafka.storm import SCHEMA, SHARDS, an_order, network

pytestmark = [
    pytest.mark.slow,
    pytest.mark.real_kafka("moves a member's shards, and deletes topics"),
]
SNAPSHOT_EVENTS = "150"
ORDERS = 200
PAGE = "docs/how-to/operate.md"


class Shop:
    """A network, a channel that sends orders, and whoever is to decide them."""

    def __init__(self, log: KafkaLog, database: str, at: Path) -> None:
        self.log = log
        self.orders = 0
        self.database = database
        self.processes = Processes(
            at,
            log.settings.servers,
            log.settings.prefix,
            database,
            shards=str(SHARDS),
            snapshot_events=SNAPSHOT_EVENTS,
            suspect_seconds="60",
        )
        self._environment = {
            **os.environ,
            "HEADRACE_KAFKA": log.settings.servers,
            "HEADRACE_PREFIX": log.settings.prefix,
            "HEADRACE_POSTGRES": database,
            "HEADRACE_SHARDS": str(SHARDS),
        }
        self._chance = Random(1)
        self._outbox: Outbox | None = None
        self._sending: asyncio.Task[None] | None = None

    async def type(self, *words: str, **more: str) -> str:
        """Run a command to its end; what it says."""
        done = await asyncio.to_thread(
            subprocess.run,
            [sys.executable, "-m", "orchestrator.cli", *words],
            env={**self._environment, **more},
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, f"{words}: {done.stdout}{done.stderr}"[-3000:]
        return done.stdout

    async def send(self, orders: int = ORDERS) -> None:
        """Send orders, with the network before the first; wait until they are readable."""
        if self._outbox is None:
            partitions = {name: one.partitions for name, one in (await self.log.describe()).items()}
            self._outbox = Outbox(self.log, partitions, SystemClock(), "channel")
            self._sending = asyncio.create_task(self._outbox.run())
            for fact, event_id in network(self._chance):
                self._outbox.put(fact, event_id)
        for number in range(self.orders, self.orders + orders):
            order = an_order(self._chance, str(number))
            self._outbox.put(order, order.order_id)
        self.orders += orders
        await self._outbox.flush()

    async def readable(self) -> None:
        """Wait until all orders are in the read model."""
        model = await ReadModel.open(self.database, SCHEMA)
        async with asyncio.timeout(120):
            while (await model.totals()).taken < self.orders:
                await asyncio.sleep(0.2)
        await model.close()

    async def close(self) -> None:
        if self._sending is not None:
            self._sending.cancel()
        self.processes.end()


@pytest.fixture
async def shop(kafka: str, prefix: str, postgres: str, tmp_path: Path) -> AsyncIterator[Shop]:
    log = await KafkaLog.open(KafkaSettings(kafka, prefix))
    made = Shop(log, postgres, tmp_path)
    await made.type("topics", "create")
    await made.type("db", "migrate")
    yield made
    await made.close()
    await log.close()


async def said(process: Process, event: str, shards: int = SHARDS) -> None:
    """Wait until a process has said so of so many shards."""
    async with asyncio.timeout(90):
        while len({x["shard"] for x in process.lines() if x["event"] == event}) < shards:
            assert process.running.poll() is None, process.said.read_text()[-2000:]
            await asyncio.sleep(0.1)


async def ready(process: Process) -> None:
    async with asyncio.timeout(90):
        while (await process.health())[0] != 200:
            await asyncio.sleep(0.2)


async def test_postgres_and_snapshots_are_restored_from_the_journal_alone(shop: Shop) -> None:
    others = shop.processes.start("intake,relay")
    engine = shop.processes.start("engine")
    doomed = [shop.processes.start("projector"), shop.processes.start("standby")]
    await said(engine, "open")
    await shop.send()
    await shop.readable()
    await said(doomed[1], "snapshot")
    for process in doomed:
        await process.stop()
    async with await psycopg.AsyncConnection.connect(shop.database, autocommit=True) as connection:
        await connection.execute(f"DROP SCHEMA {SCHEMA} CASCADE")
    topic = f"{shop.log.settings.prefix}snapshots"
    admin = AIOKafkaAdminClient(bootstrap_servers=shop.log.settings.servers)
    await admin.start()
    await admin.delete_topics([topic])
    await admin.close()
    async with asyncio.timeout(30):
        while "snapshots" in await shop.log.describe():
            await asyncio.sleep(0.2)

    *before, verify = commands(PAGE, "Restore from the journal alone")
    for words in before:
        await shop.type(*words)
    again = [shop.processes.start("projector"), shop.processes.start("standby")]
    await shop.send()
    await said(again[1], "snapshot")
    assert '"ok": true' in await shop.type(*verify, "--json")
    await shop.readable()
    await engine.stop()
    heir = shop.processes.start("engine")
    await said(heir, "restored")
    await said(heir, "open")
    for process in (others, heir, *again):
        await process.stop()


async def test_shards_move_to_a_machine_that_has_folded_them_and_the_old_one_stops(
    shop: Shop,
) -> None:
    others = shop.processes.start("intake,relay,projector")
    old = shop.processes.start("engine,standby")
    await said(old, "open")
    await shop.send()

    ((_, _, roles),) = commands(PAGE, "Move shards to another machine")
    new = shop.processes.start(roles)
    await ready(new)
    await shop.send()
    await old.stop()
    await said(new, "open")
    await shop.send()
    await shop.readable()
    await shop.processes.verify("--wait", "60")
    for process in (others, new):
        await process.stop()


async def test_a_release_that_folds_otherwise_takes_over_from_its_own_snapshots(
    shop: Shop, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    old = [shop.processes.start(roles) for roles in ("intake,relay,projector", "engine,standby")]
    await said(old[1], "open")
    await shop.send()

    release = tmp_path / "release"
    for package in ("events", "orchestrator", "projections", "schemas"):
        shutil.copytree(ROOT / package, release / package)
    with (release / "orchestrator" / "core" / "evolve.py").open("a") as evolve:
        evolve.write("\n\nNEWS = 1\n")
    path = {"PYTHONPATH": str(release), "PYTHONSAFEPATH": "1"}
    for name, value in path.items():
        monkeypatch.setenv(name, value)
    *first, (_, _, standby), verify = commands(PAGE, "Upgrade")
    for words in first:
        await shop.type(*words, **path)
    upgraded = Shop(shop.log, shop.database, release)
    following = upgraded.processes.start(standby)
    await said(following, "snapshot")
    new = upgraded.processes.start("engine,standby")
    await ready(new)
    await shop.send()
    await old[1].stop()
    await said(new, "open")
    roles = upgraded.processes.start("intake,relay,projector")
    await ready(roles)
    await old[0].stop()
    await following.stop()
    await shop.send()
    await shop.readable()
    assert {x["event"] for x in new.lines()} >= {"restored", "open"}
    assert '"ok": true' in await shop.type(*verify, "--json", **path)
    for process in (new, roles):
        await process.stop()
    upgraded.processes.end()
