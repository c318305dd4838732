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
        self._records = [
            ConsumerRecord("journal", 0, offset, 0, 0, None, b"x", None, 0, 1, ())
            for offset in offsets
        ]

    def assign(self, _partitions: list[TopicPartition]) -> None: ...

    def pause(self, *_partitions: TopicPartition) -> None: ...

    def seek(self, _partition: TopicPartition, _offset: int) -> None: ...

    def highwater(self, _partition: TopicPartition) -> int:
        return self.end

    async def getmany(
        self, *_partitions: TopicPartition, timeout_ms: int, max_records: int
    ) -> dict[TopicPartition, list[ConsumerRecord]]:
        del timeout_ms
        given, self._records = self._records[:max_records], self._records[max_records:]
        return {TP: given} if given else {}


def reader(consumer: Consumer, patience_s: float) -> KafkaReader:
    settings = KafkaSettings("nowhere:1", request_timeout_s=patience_s)
    return KafkaReader(consumer, settings, {JOURNAL: 45})


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
