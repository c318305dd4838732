"""Outages that are waited out: a full disk, a read-only one, a topic that refuses writes."""

import asyncio
import os
import subprocess
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from random import Random

import psycopg
import pytest

from orchestrator.compose import config_of, create_topics
from orchestrator.demo.outbox import Outbox
from orchestrator.demo.readmodel import ReadModel
from orchestrator.embedded import ServerError
from orchestrator.runtime.kafka_log import KafkaLog, KafkaSettings
from orchestrator.runtime.settings import Settings
from orchestrator.runtime.world import SystemClock
from projections import schema
from schemas.ports import LogError
from schemas.topics import TOPICS
from tests.kafka.roles import Process, Processes
from tests.kafka.storm import SCHEMA, an_order, network
from tests.servers.killable import (
    Cluster,
    Server,
    killable_postgres,
    killed_at_the_end,
    passable_directory,
    processes_in,
)

pytestmark = [pytest.mark.slow, pytest.mark.real_kafka("is a cluster of its own")]
LONG = pytest.mark.skipif(
    "HEADRACE_TEST_LONG" not in os.environ,
    reason="all of them take three minutes: make soak, or HEADRACE_TEST_LONG=1",
)

READY, NOT_READY = 200, 503
DISK_MB = 120
TIMEOUT_S = 5.0  # of requests: above a failover on this cluster, and roles say soon that they wait
ROLES = "intake,engine,relay,projector"


class Shop:
    """Headrace in one process, orders for it, and what it says."""

    def __init__(self, process: Process, channel: Outbox, database: str) -> None:
        self.process = process
        self._channel = channel
        self._database = database
        self._chance = Random(1)
        self.ordered = 0

    async def order(self, count: int) -> None:
        """Without waiting for the acknowledgement: its topic may have to wait."""
        for _ in range(count):
            order = an_order(self._chance, str(self.ordered), markets=1)
            self._channel.put(order, order.order_id)
            self.ordered += 1

    async def waits(self, role: str, within_s: float) -> None:
        """Not ready, since this role waits."""
        async with asyncio.timeout(within_s):
            while True:
                status, said = await self.process.health()
                told = said["roles"][role] if status == NOT_READY else {}
                if {told.get("state", "open"), *told.get("shards", {}).values()} != {"open"}:
                    return
                await asyncio.sleep(0.1)

    async def goes_on_by_itself(self) -> None:
        """Ready, and everything is readable."""
        async with asyncio.timeout(90):
            while (await self.process.health())[0] != READY:
                await asyncio.sleep(0.1)
        model = await ReadModel.open(self._database, SCHEMA)
        async with asyncio.timeout(60):
            while (await model.totals()).taken < self.ordered:
                await asyncio.sleep(0.1)
        await model.close()
        assert self.process.running.poll() is None


@asynccontextmanager
async def shop(
    cluster: Cluster, prefix: str, database: str, at: Path, *, strict: str | None = None
) -> AsyncIterator[Shop]:
    """`strict`: a topic that is written only while all three replicas are there."""
    async with await psycopg.AsyncConnection.connect(database, autocommit=True) as connection:
        await schema.migrate_all(connection, SCHEMA)
    log = await KafkaLog.open(KafkaSettings(cluster.bootstrap, prefix, request_timeout_s=TIMEOUT_S))
    if strict is not None:
        config = config_of(TOPICS[strict], 3) | {"min.insync.replicas": "3"}
        assert await log.create(TOPICS[strict], 1, config, 3)
    settings = Settings(kafka=cluster.bootstrap, prefix=prefix, shards=1, partitions=1)
    await create_topics(log, settings)
    started = Processes(
        at,
        cluster.bootstrap,
        prefix,
        database,
        shards="1",
        partitions="1",
        kafka_request_timeout_seconds=str(TIMEOUT_S),
    )
    partitions = {name: one.partitions for name, one in (await log.describe()).items()}
    channel = Outbox(log, partitions, SystemClock(), "channel")
    sending = asyncio.create_task(_lasting(channel))
    try:
        for fact, event_id in network(Random(1), markets=1):
            channel.put(fact, event_id)
        await channel.flush()
        one = Shop(started.start(ROLES), channel, database)
        await one.order(50)
        await one.goes_on_by_itself()
        yield one
        await one.process.stop()
    finally:
        sending.cancel()
        started.end()
        await log.close()


async def _lasting(channel: Outbox) -> None:
    while True:
        with suppress(LogError):
            await channel.run()
        await asyncio.sleep(0.2)


@pytest.fixture
def small_disk() -> Iterator[Path]:
    """A file system of DISK_MB."""
    with passable_directory() as directory:
        disk = directory / "disk"
        disk.mkdir()
        mount = ["mount", "-t", "tmpfs", "-o", f"size={DISK_MB}m", "tmpfs", str(disk)]
        if os.geteuid() != 0 or subprocess.run(mount, capture_output=True, check=False).returncode:
            pytest.skip("only root may mount a small disk")
        try:
            yield disk
        finally:
            subprocess.run(["umount", str(disk)], check=True)


@LONG
async def test_a_full_disk_below_postgres_is_waited_out(
    cluster: Cluster, prefix: str, small_disk: Path, tmp_path: Path
) -> None:
    postgres = killable_postgres(small_disk / "postgres")
    with killed_at_the_end([postgres]):
        postgres.start()
        async with shop(cluster, prefix, postgres.address, tmp_path) as one:
            filler = small_disk / "filler"
            with suppress(OSError), filler.open("wb", buffering=0) as full:
                while True:
                    full.write(bytes(65_536))
            async with asyncio.timeout(120):
                while (await one.process.health())[0] == READY:
                    await one.order(20)
                    await asyncio.sleep(0.1)
            await one.waits("projector", 10)
            filler.unlink()
            if not processes_in(postgres.directory):  # it gives up where it can't write its log
                postgres.kill()
                postgres.start()
            await one.order(20)
            await one.goes_on_by_itself()


@LONG
async def test_a_database_whose_directory_is_read_only_is_waited_out(
    cluster: Cluster, prefix: str, mortal_postgres: Server, tmp_path: Path
) -> None:
    database = await new_database(mortal_postgres, prefix)
    data = mortal_postgres.directory / "data"
    async with shop(cluster, prefix, database, tmp_path) as one:
        mortal_postgres.kill()
        data.chmod(0o500)
        with pytest.raises(ServerError, match="Permission denied"):
            await asyncio.to_thread(mortal_postgres.start)
        await one.order(20)
        await one.waits("projector", 60)
        assert (await one.process.health())[1]["roles"]["engine"]["shards"] == {"0": "open"}
        data.chmod(0o700)
        await asyncio.to_thread(mortal_postgres.start)
        await one.goes_on_by_itself()


@pytest.mark.parametrize(
    "topic",
    ["journal", pytest.param("inbox", marks=LONG), pytest.param("order-updates", marks=LONG)],
)
async def test_a_topic_that_refuses_writes_is_waited_out(
    cluster: Cluster, prefix: str, mortal_postgres: Server, tmp_path: Path, topic: str
) -> None:
    database = await new_database(mortal_postgres, prefix)
    async with shop(cluster, prefix, database, tmp_path, strict=topic) as one:
        leader = await cluster.leader(f"{prefix}{topic}", 0)
        follower = next(broker for broker in cluster.brokers if broker is not leader)
        await asyncio.to_thread(follower.kill)
        try:
            await one.order(20)
            role = {"inbox": "intake", "journal": "engine", "order-updates": "relay"}[topic]
            await one.waits(role, 60)
        finally:
            await asyncio.to_thread(follower.start)
        await one.goes_on_by_itself()


async def new_database(server: Server, prefix: str) -> str:
    name = prefix.rstrip("-")
    admin = await psycopg.AsyncConnection.connect(server.address, autocommit=True)
    async with admin:
        await admin.execute(f"CREATE DATABASE {name}")
    return f"{server.address.rpartition('/')[0]}/{name}"
