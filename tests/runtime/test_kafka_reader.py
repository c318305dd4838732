"""The reader's own rules, over a consumer that answers as Kafka was seen to answer."""

import asyncio

import pytest
from aiokafka import ConsumerRecord, TopicPartition

from orchestrator.runtime.kafka_log import KafkaReader, KafkaSettings
from schemas.ports import OutOfRange, Partition

JOURNAL = Partition("journal", 0)
TP = TopicPartition("journal", 0)


class Consumer:
    """Gives its records once; `end` is the high-water mark of its newest answer."""

    def __init__(self, offsets: range, end: int) -> None:
        self.end = end
        self.paused: set[TopicPartition] = set()
        self._records: list[ConsumerRecord] = []
        self.arrive(offsets)

    def arrive(self, offsets: range, value: bytes = b"x") -> None:
        self._records += [
            ConsumerRecord("journal", 0, offset, 0, 0, None, value, None, 0, 1, ())
            for offset in offsets
        ]

    def assign(self, _partitions: list[TopicPartition]) -> None:
        self.paused.clear()

    def pause(self, *partitions: TopicPartition) -> None:
        self.paused.update(partitions)

    def resume(self, *partitions: TopicPartition) -> None:
        self.paused.difference_update(partitions)

    def seek(self, _partition: TopicPartition, _offset: int) -> None: ...

    def highwater(self, _partition: TopicPartition) -> int:
        return self.end

    async def getmany(
        self, *partitions: TopicPartition, timeout_ms: int, max_records: int
    ) -> dict[TopicPartition, list[ConsumerRecord]]:
        del timeout_ms
        assert not self.paused & {*partitions}, "the client drops what it has of a paused one"
        given, self._records = self._records[:max_records], self._records[max_records:]
        return {TP: given} if given else {}


def reader(consumer: Consumer, patience_s: float, pace_ms: int = 0) -> KafkaReader:
    settings = KafkaSettings("nowhere:1", request_timeout_s=patience_s, pace_ms=pace_ms)
    return KafkaReader(consumer, settings, {JOURNAL: 45})


def gathering(consumer: Consumer, pace_ms: int = 30) -> KafkaReader:
    one = reader(consumer, 5, pace_ms)
    one.gather()
    return one


async def offsets(one: KafkaReader, most: int = 10) -> list[int]:
    return [record.offset for record in (await one.read(most, 0)).get(JOURNAL, [])]


async def read_on(one: KafkaReader) -> None:
    async with asyncio.timeout(5):
        while True:
            await one.read(10, 0)
            await asyncio.sleep(0)


async def test_an_end_below_records_just_read_is_a_late_answer_not_a_shorter_log() -> None:
    consumer = Consumer(range(45, 47), end=46)
    one = reader(consumer, 5)
    assert len((await one.read(10, 0))[JOURNAL]) == 2
    assert await one.read(10, 0) == {}
    consumer.end = 47
    assert await one.read(10, 0) == {}


async def test_an_end_that_stays_below_what_is_read_next_is_a_shorter_log() -> None:
    one = reader(Consumer(range(0), end=44), 0.01)
    assert await one.read(10, 0) == {}
    with pytest.raises(OutOfRange, match="journal/0@45 is not yet in the log, which ends at 44"):
        await read_on(one)


async def test_what_comes_within_the_pace_is_fetched_and_read_together() -> None:
    consumer = Consumer(range(45, 46), end=46)
    one = gathering(consumer)
    began = asyncio.get_running_loop().time()
    assert await offsets(one) == [45]
    assert consumer.paused == {TP}, "the client would fetch the next record by itself"
    reading = asyncio.create_task(offsets(one))
    for offset in (46, 47):
        await asyncio.sleep(0)
        consumer.arrive(range(offset, offset + 1))
    assert await reading == [46, 47]
    assert asyncio.get_running_loop().time() - began >= 0.03


async def test_the_first_record_after_a_while_comes_at_once() -> None:
    consumer = Consumer(range(45, 46), end=46)
    one = gathering(consumer)
    assert await offsets(one) == [45]
    assert await offsets(one) == []  # nothing came within the pace
    assert consumer.paused == set(), "the broker holds a fetch until a record comes"
    consumer.arrive(range(46, 47))
    async with asyncio.timeout(0.03):
        assert await offsets(one) == [46]


async def test_a_backlog_is_read_without_a_rest() -> None:
    one = gathering(Consumer(range(45, 47), end=60), pace_ms=60_000)
    async with asyncio.timeout(5):
        assert await offsets(one) == [45, 46]
        assert await offsets(one) == []


async def test_as_many_as_were_asked_for_may_not_be_all() -> None:
    one = gathering(Consumer(range(45, 49), end=50), pace_ms=60_000)
    async with asyncio.timeout(5):
        assert await offsets(one, 2) == [45, 46]
        assert await offsets(one, 3) == [47, 48]


async def test_who_does_not_gather_reads_each_record_at_once() -> None:
    consumer = Consumer(range(45, 46), end=46)
    one = reader(consumer, 5, pace_ms=60_000)
    async with asyncio.timeout(5):
        assert await offsets(one) == [45]
        assert await offsets(one) == []
    assert consumer.paused == set()


async def test_a_partition_held_back_stays_so_after_a_rest_and_one_let_go_waits_for_it() -> None:
    consumer = Consumer(range(45, 46), end=46)
    one = gathering(consumer)
    assert await offsets(one) == [45]
    one.pause([JOURNAL])
    assert await one.read(10, 0) == {}
    assert consumer.paused == {TP}, "the rest is over"
    one.resume([JOURNAL])
    assert consumer.paused == set()
    consumer.arrive(range(46, 47))
    assert await offsets(one) == [46]
    one.pause([JOURNAL])
    one.resume([JOURNAL])
    assert consumer.paused == {TP}, "it rests"
    consumer.arrive(range(47, 48))
    assert await offsets(one) == [47]


async def test_a_rest_that_is_cancelled_goes_on() -> None:
    consumer = Consumer(range(45, 46), end=46)
    one = gathering(consumer)
    assert await offsets(one) == [45]
    reading = asyncio.create_task(offsets(one))
    await asyncio.sleep(0)
    reading.cancel()
    await asyncio.wait([reading])
    consumer.arrive(range(46, 47))
    assert await offsets(one) == [46]


async def test_few_large_records_are_read_at_once_and_many_small_ones() -> None:
    """The client unpacks them in one piece, and the loop stands still meanwhile."""
    consumer = Consumer(range(45, 261), end=281)
    one = reader(consumer, 5)
    await one.read(2_000, 0)
    assert len((await one.read(2_000, 0))[JOURNAL]) == 200
    consumer.arrive(range(261, 271), bytes(1 << 20))
    await one.read(2_000, 0)
    consumer.arrive(range(271, 281), bytes(1 << 20))
    assert len((await one.read(2_000, 0))[JOURNAL]) == 3
