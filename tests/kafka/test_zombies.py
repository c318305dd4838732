"""Two engines that both believe they own a shard, on real servers."""

import asyncio
import itertools
import signal
from collections.abc import AsyncIterator
from pathlib import Path
from random import Random

import psycopg
import pytest

from orchestrator.compose import create_topics
from orchestrator.demo.audit import audit
from orchestrator.demo.outbox import Outbox
from orchestrator.demo.readmodel import ReadModel
from orchestrator.runtime.kafka_log import KafkaLog, KafkaSettings
from orchestrator.runtime.settings import Settings
from orchestrator.runtime.whole import Whole
from orchestrator.runtime.world import SystemClock
from projections import schema
from schemas import journal
from schemas.journal import Commit, FilterState, Verdict
from schemas.ports import Partition
from tests.kafka.roles import Process, Processes
from tests.kafka.storm import SCHEMA, SHARDS, an_order, network

TICK_S = 0.02
PAUSES = 6  # by then a zombie had a commit to send


@pytest.fixture
async def log(kafka: str, prefix: str) -> AsyncIterator[KafkaLog]:
    log = await KafkaLog.open(KafkaSettings(kafka, prefix))
    await create_topics(log, Settings(kafka=kafka, prefix=prefix, shards=SHARDS))
    yield log
    await log.close()


@pytest.fixture
async def processes(
    kafka: str, prefix: str, postgres: str, tmp_path: Path
) -> AsyncIterator[Processes]:
    async with await psycopg.AsyncConnection.connect(postgres, autocommit=True) as connection:
        await schema.migrate_all(connection, SCHEMA)
    started = Processes(tmp_path, kafka, prefix, postgres, shards=str(SHARDS))
    yield started
    started.end()


async def void_commits(log: KafkaLog) -> int:
    """Commits in the journals that the filter voids."""
    void = 0
    for number in range(SHARDS):
        state = FilterState()
        async with Whole(log, Partition("journal", number)) as reading:
            async for reads in reading:
                for read in reads:
                    record = journal.decode(read.value, read.offset)
                    state, verdict = journal.step(state, read.offset, record)
                    void += isinstance(record, Commit) and verdict is Verdict.VOID
    return void


async def opened(process: Process, shards: int, within_s: float = 90) -> None:
    async with asyncio.timeout(within_s):
        while len(process.opened()) < shards:
            await asyncio.sleep(0.05)


@pytest.mark.slow
@pytest.mark.real_kafka("takes over when a member's session ends")
async def test_what_a_zombie_commits_is_void_for_every_reader(
    log: KafkaLog, postgres: str, processes: Processes
) -> None:
    engines = [processes.start("engine"), processes.start("engine")]
    others = processes.start("intake,relay,projector")
    for engine in engines:
        await opened(engine, 2)
    partitions = {name: one.partitions for name, one in (await log.describe()).items()}
    channel = Outbox(log, partitions, SystemClock(), "channel")
    sending = asyncio.create_task(channel.run())
    chance = Random(1)
    for fact, event_id in network(chance):
        channel.put(fact, event_id)
    await channel.flush()
    numbers = itertools.count()
    over = asyncio.Event()

    async def load() -> None:
        while not over.is_set():
            for number in itertools.islice(numbers, 4):
                order = an_order(chance, str(number))
                channel.put(order, order.order_id)
            await asyncio.sleep(TICK_S)

    loading = asyncio.create_task(load())
    void = 0
    for number in range(PAUSES):
        zombie, heir = engines[number % 2], engines[1 - number % 2]
        before = heir.opened_times()
        await asyncio.sleep(2)
        zombie.running.send_signal(signal.SIGSTOP)
        async with asyncio.timeout(60):
            while heir.opened_times() < before + 2:  # the other's two, beside its own
                await asyncio.sleep(0.1)
        zombie.running.send_signal(signal.SIGCONT)
        await asyncio.sleep(8)  # it joins again, and is given shards
        void = await void_commits(log)
        if void:
            break
    over.set()
    await loading
    await channel.flush()
    sending.cancel()
    orders = next(numbers)
    model = await ReadModel.open(postgres, SCHEMA)
    async with asyncio.timeout(120):
        while (await model.totals()).taken < orders:
            await asyncio.sleep(0.2)
    assert void, "no zombie had a commit to send"
    verified = await processes.verify()
    assert sum(shard["void"] for shard in verified["shards"]) >= void
    report = await audit(log, await model.rows())
    await model.close()
    assert report.findings == []
    assert report.figures.placed == orders
    assert report.figures.void_records >= void
    for process in (*engines, others):
        await process.stop()
