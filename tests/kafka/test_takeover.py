"""Who takes a shard over, and how soon, when its owner is killed or stopped: on Apache Kafka."""

import asyncio
import os
import signal
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from orchestrator.compose import create_topics
from orchestrator.runtime.kafka_log import KafkaLog, KafkaSettings
from orchestrator.runtime.settings import Settings
from tests.kafka.roles import Process, Processes
from tests.kafka.storm import SHARDS
from tests.kafka.watching import Book, Feed, ended


@pytest.fixture
async def log(kafka: str, prefix: str) -> AsyncIterator[KafkaLog]:
    log = await KafkaLog.open(KafkaSettings(kafka, prefix))
    await create_topics(log, Settings(kafka=kafka, prefix=prefix, shards=SHARDS))
    yield log
    await log.close()


@pytest.fixture
def processes(kafka: str, prefix: str, tmp_path: Path) -> Iterator[Processes]:
    started = Processes(tmp_path, kafka, prefix, "", shards=str(SHARDS))
    yield started
    started.end()


async def open_shards(process: Process) -> None:
    async with asyncio.timeout(60):
        while len(process.opened()) < SHARDS:
            await asyncio.sleep(0.05)


@pytest.mark.slow
@pytest.mark.real_kafka("takes over when a member's session ends")
@pytest.mark.parametrize(
    ("roles", "how", "within_s"),
    [
        ("standby", signal.SIGKILL, 3.0),
        ("standby", signal.SIGSTOP, 3.0),
        ("engine", signal.SIGKILL, 10.0),
    ],
    ids=["standby, killed", "standby, stopped", "no standby, killed"],
)
async def test_another_process_decides_soon_after_the_owner_is_gone(
    log: KafkaLog,
    processes: Processes,
    roles: str,
    how: signal.Signals,
    within_s: float,
) -> None:
    owner = processes.start("engine")
    await open_shards(owner)
    other = processes.start(roles)
    if roles == "engine":
        async with asyncio.timeout(60):
            while not other.opened():
                await asyncio.sleep(0.05)
        if 0 in other.opened():  # it was given the shard that is watched
            owner, other = other, owner
    book, feed = Book(), Feed(log)
    following = asyncio.create_task(book.follow(log))
    try:
        await asyncio.sleep(12)  # beyond the time that an owner has for its first commit
        assert book.commits
        taken_ms = await book.decided_again_ms(lambda: owner.running.send_signal(how))
        print(f"{roles}, {how.name}: decides again after {taken_ms:,.0f} ms")  # noqa: T201 - for -s
        if how is signal.SIGSTOP:
            os.kill(owner.running.pid, signal.SIGCONT)
            await asyncio.sleep(3)
        await feed.end()
        async with asyncio.timeout(30):
            while book.filter.inbox_next < feed.sent:
                await asyncio.sleep(0.05)
    finally:
        await ended(following)
        await feed.end()
    assert book.inputs == [str(n) for n in range(feed.sent)], "each once, in order"
    assert taken_ms <= within_s * 1000
