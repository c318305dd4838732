"""Who takes a shard over, and how soon, when its owner is killed or stopped: on Apache Kafka."""

import asyncio
import os
import signal
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import suppress
from pathlib import Path

import orjson
import pytest

from orchestrator.compose import create_topics
from orchestrator.runtime.kafka_log import KafkaLog, KafkaSettings
from orchestrator.runtime.settings import Settings
from schemas import inbox
from schemas.journal import Commit, FilterState, Verdict, decode, step
from schemas.ports import Partition, Read, Record, Writer
from tests.kafka.roles import Process, Processes
from tests.kafka.storm import SHARDS

INBOX, JOURNAL = Partition("inbox", 0), Partition("journal", 0)
EVERY_S = 0.02  # between two inputs
MARKET = orjson.dumps({"market_id": "m", "currency": "USD", "time_zone": "UTC"})


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


class Feed:
    """Writes inputs into a shard's inbox, without a break."""

    def __init__(self, log: KafkaLog) -> None:
        self.sent = 0
        self._log = log
        self._task = asyncio.create_task(self._run())

    async def _run(self) -> None:
        writer = await self._log.writer()
        try:
            await self._send(writer)
        finally:
            await writer.close()

    async def _send(self, writer: Writer) -> None:
        while True:
            value = inbox.encode(
                type_="market_defined",
                version=1,
                id_=str(self.sent),
                source="test",
                time_ms=0,
                origin=("network", 0, self.sent, 0),
                data=MARKET,
            )
            await writer.append(INBOX, [Record(None, value)])
            self.sent += 1
            await asyncio.sleep(EVERY_S)

    async def end(self) -> None:
        await ended(self._task)


async def ended(task: asyncio.Task[None]) -> None:
    task.cancel()
    with suppress(asyncio.CancelledError):
        await task


class Book:
    """The journal as it is read, with the broker's times of valid commits."""

    def __init__(self) -> None:
        self.filter = FilterState()
        self.commits: list[tuple[int, int]] = []  # epoch, broker's time
        self.inputs: list[str] = []

    async def follow(self, log: KafkaLog) -> None:
        reader = await log.reader({JOURNAL: None})
        try:
            while True:
                for read in (await reader.read(100, 100)).get(JOURNAL, ()):
                    self._take(read)
        finally:
            await reader.close()

    def _take(self, read: Read) -> None:
        record = decode(read.value, read.offset)
        self.filter, verdict = step(self.filter, read.offset, record)
        if isinstance(record, Commit) and verdict is Verdict.VALID:
            self.commits.append((record.epoch, read.timestamp_ms))
            ids = [entry["input"]["id"] for entry in record.entries]
            self.inputs += [one for one in ids if one]


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
        epoch = book.commits[-1][0]
        killed_ms = time.time() * 1000
        owner.running.send_signal(how)
        async with asyncio.timeout(30):
            while book.commits[-1][0] == epoch:
                await asyncio.sleep(0.02)
        taken_ms = next(at_ms for one, at_ms in book.commits if one > epoch) - killed_ms
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
