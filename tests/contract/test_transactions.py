"""One suite over who publishes in transactions: the simulator's broker and Apache Kafka."""

from collections.abc import AsyncIterator

import pytest

from orchestrator.runtime.kafka_log import KafkaLog, KafkaSettings
from schemas.ports import Checkpoint, Fenced, LogError, Partition, Record, TransactionalWriter
from schemas.topics import TOPIC_DEFAULTS, TOPICS
from tests.contract.committing import (
    EXCEPTIONS,
    JOURNAL,
    TOPICS_HERE,
    UPDATES,
    Committing,
    Real,
    Simulated,
)
from tests.contract.real_time import RealTime
from tests.simulation.broker import Broker


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
        yield Simulated(Broker(RealTime(), TOPICS_HERE))
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
