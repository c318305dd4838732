"""With transactions a consumer of what is committed sees nothing twice, whoever is killed when."""

import asyncio
import itertools
import signal
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from aiokafka import AIOKafkaConsumer, TopicPartition

from orchestrator.compose import create_topics
from orchestrator.runtime.kafka_log import KafkaLog, KafkaSettings
from orchestrator.runtime.settings import Settings
from schemas.journal import FilterState, decode, encode_commit, encode_entry, encode_opened, step
from schemas.ports import Checkpoint, LogError, Partition, Record
from tests.kafka.roles import Processes

pytestmark = [pytest.mark.slow, pytest.mark.real_kafka("Tansu has no transactions")]

JOURNAL = Partition("journal", 0)
EVENTS = 5  # of each commit
COMMITS = 8_000  # a relay publishes some thousand events between two looks
KILLS = 5
_CHUNK = 500
"""Commits a batch of the journal."""


@pytest.fixture
async def log(kafka: str, prefix: str) -> AsyncIterator[KafkaLog]:
    opened = await KafkaLog.open(KafkaSettings(kafka, prefix))
    await create_topics(opened, Settings(kafka=kafka, prefix=prefix, shards=1, partitions=2))
    yield opened
    await opened.close()


@pytest.fixture
def processes(kafka: str, prefix: str, tmp_path: Path) -> Iterator[Processes]:
    made = Processes(
        tmp_path,
        kafka,
        prefix,
        "postgresql://127.0.0.1/none",
        relay_transactions="true",
        shards="1",
        partitions="2",
    )
    yield made
    made.end()


def journal(commits: int) -> Iterator[bytes]:
    """A journal of orders that are accepted."""
    state = FilterState()
    value = encode_opened("one", "n1")
    for seq in range(1, commits + 2):
        yield value
        offset = state.next
        state, _ = step(state, offset, decode(value, offset))
        events = [
            {
                "type": "order_accepted",
                "market_id": "m",
                "channel": "web",
                "order_id": f"{seq}-{n}",
                "status": "accepted",
            }
            for n in range(EVENTS)
        ]
        cause = {"type": "order_placed", "id": f"in-{seq}", "origin": ["orders", 0, seq, 0]}
        value = encode_commit(
            epoch=0,
            nonce="n1",
            seq=seq,
            inbox_from=state.inbox_next,
            inbox_next=state.inbox_next + 1,
            prev=state.digest,
            now_ms=1_700_000_000_000,
            entries=[encode_entry(cause, events)],  # type: ignore[arg-type]  # plain dicts
        )


async def write_journal(log: KafkaLog, commits: int) -> list[str]:
    """Write it; the ids of what follows from it."""
    values = journal(commits)
    writer = await log.writer()
    while chunk := list(itertools.islice(values, _CHUNK)):
        await writer.append(JOURNAL, [Record(None, value) for value in chunk])
    await writer.close()
    return [f"0.{seq}.0.{n}" for seq in range(1, commits + 1) for n in range(EVENTS)]


async def saved(log: KafkaLog) -> dict[Partition, Checkpoint]:
    """The checkpoint that the next relay finds.

    It asks for its writer first: until then what was just committed may not be seen yet, since the
    broker answers before it has told the group's coordinator. A new cluster has none at first.
    """
    await (await log.transactional("relay-0")).close()
    async with asyncio.timeout(30):
        while True:
            try:
                return await log.saved("relay", [JOURNAL])
            except LogError:
                await asyncio.sleep(0.1)


class Updates:
    """What a consumer of order updates sees, by partition."""

    def __init__(self, consumer: AIOKafkaConsumer) -> None:
        self._consumer = consumer
        self.ids: dict[int, list[str]] = {0: [], 1: []}

    def __len__(self) -> int:
        return sum(map(len, self.ids.values()))

    async def more(self, wait_ms: int = 50) -> bool:
        """Read what is there; whether anything was."""
        read = await self._consumer.getmany(timeout_ms=wait_ms)
        for tp, records in read.items():
            self.ids[tp.partition] += [dict(one.headers)["ce_id"].decode() for one in records]
        return bool(read)

    async def reach(self, count: int, within_s: float = 60) -> None:
        """Read until there are so many."""
        async with asyncio.timeout(within_s):
            while len(self) < count:
                await self.more()

    def check(self, expected: list[str]) -> None:
        """Each of them once, in the order of their partition."""
        assert sorted(itertools.chain(*self.ids.values())) == sorted(expected)
        place = {one: n for n, one in enumerate(expected)}
        for ids in self.ids.values():
            assert ids == sorted(ids, key=place.__getitem__)


@asynccontextmanager
async def updates(kafka: str, prefix: str, isolation: str) -> AsyncIterator[Updates]:
    consumer = AIOKafkaConsumer(
        bootstrap_servers=kafka,
        isolation_level=isolation,
        enable_auto_commit=False,
        auto_offset_reset="none",
    )
    await consumer.start()
    try:
        partitions = [TopicPartition(f"{prefix}order-updates", n) for n in (0, 1)]
        consumer.assign(partitions)
        for one in partitions:
            consumer.seek(one, 0)
        yield Updates(consumer)
    finally:
        await consumer.stop()


async def test_relays_killed_in_the_middle_publish_nothing_twice_and_leave_nothing_out(
    kafka: str, prefix: str, log: KafkaLog, processes: Processes
) -> None:
    expected = await write_journal(log, COMMITS)
    async with (
        updates(kafka, prefix, "read_committed") as committed,
        updates(kafka, prefix, "read_uncommitted") as landed,
    ):
        kills = 0
        while kills < KILLS or len(landed) == len(committed):  # until one met an open transaction
            relay = processes.start("relay")
            await landed.reach(len(landed) + 1 + 100 * kills)  # early: most is still to be done
            relay.kill()
            kills += 1
            while await landed.more(300) or await committed.more(300):
                pass
            assert len(landed) < len(expected) + kills * 5_000, "the journal was too short"
        relay = processes.start("relay")
        await committed.reach(len(expected))
        while await committed.more(1_000):
            pass
        await relay.stop()
        committed.check(expected)
        while await landed.more(1_000):
            pass
        assert len(landed) > len(committed), "no kill met an open transaction"
    (kept,) = (await saved(log)).values()
    assert FilterState.from_json(kept.metadata).seq == COMMITS


async def test_a_relay_that_was_stopped_and_replaced_adds_nothing_when_it_goes_on(
    kafka: str, prefix: str, log: KafkaLog, processes: Processes
) -> None:
    expected = await write_journal(log, COMMITS)
    async with (
        updates(kafka, prefix, "read_committed") as committed,
        updates(kafka, prefix, "read_uncommitted") as landed,
    ):
        zombie = processes.start("relay")
        await landed.reach(len(expected) // 4)
        zombie.running.send_signal(signal.SIGSTOP)
        processes.start("relay")
        await committed.reach(len(expected))
        zombie.running.send_signal(signal.SIGCONT)
        async with asyncio.timeout(30):
            while not any("transactional id" in str(line.get("what")) for line in zombie.lines()):
                await committed.more(200)
        while await committed.more(1_000):
            pass
        committed.check(expected)
