"""One suite over who publishes in transactions: the simulator's broker and Apache Kafka."""

import asyncio
from abc import ABC, abstractmethod
from collections.abc import AsyncIterator

import pytest
from aiokafka import AIOKafkaConsumer, TopicPartition

from orchestrator.runtime.kafka_log import KafkaLog, KafkaSettings
from schemas.ports import (
    Checkpoint,
    Fenced,
    LogError,
    Partition,
    Record,
    TransactionalWriter,
)
from schemas.topics import TOPIC_DEFAULTS, TOPICS
from tests.contract.real_time import RealTime
from tests.simulation.broker import Broker, SimLog
from tests.simulation.plan import Fault
from tests.simulation.world import SimHost

UPDATES = Partition("order-updates", 0)
EXCEPTIONS = Partition("exceptions", 0)
JOURNAL = Partition("journal", 0)
TOPICS_HERE = {"order-updates": 1, "exceptions": 1, "journal": 1}
NAME = "relay-0"


class Committing(ABC):
    """A log with transactions, and what counts of it."""

    log: SimLog | KafkaLog

    async def writer(self, name: str = NAME) -> TransactionalWriter:
        """The one writer of this name from now on."""
        return await self.log.transactional(name)

    @abstractmethod
    async def committed(self, partition: Partition = UPDATES) -> list[bytes | None]:
        """What a consumer of committed records reads there, up to the end as of now."""

    async def saved(self) -> dict[Partition, Checkpoint]:
        """The checkpoint that the next writer finds.

        It asks for its own first: until then what was just committed may not be seen yet. A group's
        coordinator may not be there at first.
        """
        await (await self.writer()).close()
        async with asyncio.timeout(30):
            while True:
                try:
                    return await self.log.saved("relay", [JOURNAL])
                except LogError:
                    await asyncio.sleep(0.1)


class Simulated(Committing):
    """The simulator's broker."""

    def __init__(self) -> None:
        self.world = RealTime()
        self._broker = Broker(self.world, TOPICS_HERE)
        self.log = SimLog(self._broker, SimHost("one", 1))

    async def committed(self, partition: Partition = UPDATES) -> list[bytes | None]:
        """What has landed: what isn't committed never does."""
        return [one.value for one in self._broker.held(partition).records]


class Real(Committing):
    """Apache Kafka."""

    def __init__(self, log: KafkaLog) -> None:
        self.log = log
        self._settings = log.settings

    async def committed(self, partition: Partition = UPDATES) -> list[bytes | None]:
        """What a consumer of its own reads before a marker that is written for it."""
        end = await self.writer("end")
        await end.begin()
        await end.append(partition, [Record(None, b"end")])
        await end.commit("others", {JOURNAL: Checkpoint(0, "")})
        await end.close()
        settings = self._settings
        consumer = AIOKafkaConsumer(
            bootstrap_servers=settings.servers,
            isolation_level="read_committed",
            enable_auto_commit=False,
            auto_offset_reset="none",
        )
        await consumer.start()
        values: list[bytes | None] = []
        try:
            tp = TopicPartition(settings.prefix + partition.topic, partition.number)
            consumer.assign([tp])
            consumer.seek(tp, 0)
            at = (await self.log.bounds(partition)).next
            async with asyncio.timeout(30):
                while b"end" not in values or await consumer.position(tp) < at:
                    read = await consumer.getmany(tp, timeout_ms=100)
                    values += [one.value for one in read.get(tp, ())]
        finally:
            await consumer.stop()
        return [one for one in values if one != b"end"]


@pytest.fixture(
    params=[
        "simulation",
        pytest.param(
            "kafka", marks=[pytest.mark.slow, pytest.mark.real_kafka("Tansu has no transactions")]
        ),
    ]
)
async def committing(request: pytest.FixtureRequest, prefix: str) -> AsyncIterator[Committing]:
    if request.param == "simulation":
        yield Simulated()
        return
    log = await KafkaLog.open(KafkaSettings(request.getfixturevalue("kafka"), prefix))
    for name, partitions in TOPICS_HERE.items():
        topic = TOPICS[name]
        assert await log.create(topic, partitions, TOPIC_DEFAULTS | topic.config, 1)
    yield Real(log)
    await log.close()


async def appended(writer: TransactionalWriter, value: bytes, to: Partition = UPDATES) -> None:
    await writer.append(to, [Record(b"k", value)])


async def test_what_is_appended_counts_with_the_checkpoint_once_it_is_committed(
    committing: Committing,
) -> None:
    writer = await committing.writer()
    await writer.begin()
    await appended(writer, b"a")
    await appended(writer, b"b")
    await appended(writer, b"c", EXCEPTIONS)
    await writer.commit("relay", {JOURNAL: Checkpoint(1, "one")})
    await writer.begin()
    await appended(writer, b"d")
    await writer.commit("relay", {JOURNAL: Checkpoint(2, "two")})
    await writer.close()
    assert await committing.saved() == {JOURNAL: Checkpoint(2, "two")}
    assert await committing.committed() == [b"a", b"b", b"d"]
    assert await committing.committed(EXCEPTIONS) == [b"c"]


async def test_a_checkpoint_alone_may_be_committed(committing: Committing) -> None:
    writer = await committing.writer()
    await writer.begin()
    await writer.commit("relay", {JOURNAL: Checkpoint(7, "alone")})
    await writer.close()
    assert await committing.saved() == {JOURNAL: Checkpoint(7, "alone")}
    assert await committing.committed() == []


async def test_what_is_not_committed_is_void_for_who_comes_next(committing: Committing) -> None:
    first = await committing.writer()
    await first.begin()
    await appended(first, b"first")
    await first.close()
    second = await committing.writer()
    await second.begin()
    await appended(second, b"second")
    await second.commit("relay", {JOURNAL: Checkpoint(1, "")})
    await second.close()
    assert await committing.committed() == [b"second"]


async def test_a_fenced_writer_leaves_neither_records_nor_a_checkpoint(
    committing: Committing,
) -> None:
    first = await committing.writer()
    await first.begin()
    await appended(first, b"first")
    assert await committing.saved() == {}, "who looks fences it"
    with pytest.raises(Fenced, match="another"):
        await first.commit("relay", {JOURNAL: Checkpoint(1, "first")})
    with pytest.raises(LogError, match="failed before"):
        await first.begin()
    assert await committing.saved() == {}
    second = await committing.writer()
    await second.begin()
    await appended(second, b"second")
    await second.commit("relay", {JOURNAL: Checkpoint(2, "second")})
    assert await committing.saved() == {JOURNAL: Checkpoint(2, "second")}
    assert await committing.committed() == [b"second"]
    await first.close()
    await second.close()


async def test_an_append_of_a_fenced_writer_fails_and_so_does_all_that_follows(
    committing: Committing,
) -> None:
    first = await committing.writer()
    await first.begin()
    await appended(first, b"first")
    second = await committing.writer()
    with pytest.raises(LogError):
        await appended(first, b"more")
    with pytest.raises(LogError):
        await first.commit("relay", {JOURNAL: Checkpoint(1, "first")})
    with pytest.raises(LogError):
        await first.begin()
    await first.close()
    await second.close()
    assert await committing.saved() == {}
    assert await committing.committed() == []


async def test_writers_of_other_names_are_left_alone(committing: Committing) -> None:
    one, other = await committing.writer(), await committing.writer("relay-1")
    await one.begin()
    await other.begin()
    await appended(one, b"one")
    await appended(other, b"other")
    await other.commit("others", {JOURNAL: Checkpoint(9, "other")})
    await one.commit("relay", {JOURNAL: Checkpoint(1, "one")})
    await one.close()
    await other.close()
    assert sorted(one or b"" for one in await committing.committed()) == [b"one", b"other"]
    assert await committing.saved() == {JOURNAL: Checkpoint(1, "one")}


@pytest.mark.parametrize(
    "fault", [Fault.SAVE_FAILED, Fault.SAVE_UNANSWERED, Fault.APPEND_LATE], ids=str
)
async def test_after_a_commit_of_unknown_outcome_the_simulated_writer_is_dead_as_the_real_one_is(
    fault: Fault, prefix: str
) -> None:
    del prefix
    committing = Simulated()
    writer = await committing.writer()
    await writer.begin()
    await appended(writer, b"a")
    committing.world.strike_next(fault)
    with pytest.raises(LogError):
        await writer.commit("relay", {JOURNAL: Checkpoint(1, "one")})
    for again in (writer.begin(), writer.commit("relay", {}), appended(writer, b"b")):
        with pytest.raises(LogError, match="failed before"):
            await again
    kept = await committing.saved()
    landed = await committing.committed()
    assert (kept, landed) in [({}, []), ({JOURNAL: Checkpoint(1, "one")}, [b"a"])]
