"""Records that input topics of a real broker take and `rejected` doesn't."""

import asyncio
import random
from collections.abc import AsyncIterator
from dataclasses import replace

import pytest
from aiokafka import AIOKafkaProducer

from orchestrator.compose import create_topics
from orchestrator.runtime.intake import INTAKE_TOPICS, Intake
from orchestrator.runtime.kafka_log import KafkaLog, KafkaSettings
from orchestrator.runtime.settings import Settings
from orchestrator.runtime.whole import Whole
from orchestrator.runtime.world import SystemClock
from schemas.ports import Partition, Read
from schemas.topics import TOPIC_DEFAULTS, TOPICS

pytestmark = [pytest.mark.slow, pytest.mark.real_kafka("Tansu holds no topic to its limits")]

ORDERS = Partition("orders", 0)
REJECTED = Partition("rejected", 0)
_MB = 1_048_576


@pytest.fixture
async def log(kafka: str, prefix: str) -> AsyncIterator[KafkaLog]:
    opened = await KafkaLog.open(KafkaSettings(kafka, prefix))
    larger = TOPIC_DEFAULTS | {"max.message.bytes": str(8 * _MB)}
    assert await opened.create(replace(TOPICS["orders"], config=larger), 1, larger, 1)
    await create_topics(opened, Settings(kafka=kafka, prefix=prefix, shards=1, partitions=1))
    yield opened
    await opened.close()


async def rejected(log: KafkaLog) -> list[Read]:
    async with Whole(log, REJECTED) as reading:
        return [record async for records in reading for record in records]


async def test_a_record_larger_than_rejected_takes_holds_up_nobody(
    kafka: str, prefix: str, log: KafkaLog
) -> None:
    noise = random.Random(1).randbytes(5 * _MB)  # which nothing makes smaller
    producer = AIOKafkaProducer(bootstrap_servers=kafka, max_request_size=8 * _MB)
    await producer.start()
    for size in (2 * _MB - 2_000, 2 * _MB, 5 * _MB):
        await producer.send_and_wait(f"{prefix}orders", noise[:size], partition=0)
    await producer.send_and_wait(f"{prefix}orders", b"{", partition=0)
    await producer.stop()
    group, stop = await log.group("intake", INTAKE_TOPICS), asyncio.Event()
    running = asyncio.create_task(Intake(log, group, SystemClock(), shards=1).run(stop))
    async with asyncio.timeout(60):
        while len(found := await rejected(log)) < 4:
            await asyncio.sleep(0.1)
    stop.set()
    await running
    await group.close()
    said = [{name: raw.decode() for name, raw in one.headers} for one in found]
    assert [one["headrace_reason"] for one in said] == ["too_large"] * 3 + ["not_json"]
    assert [one["headrace_offset"] for one in said] == ["0", "1", "2", "3"]
    assert ["headrace_left_out" in one for one in said] == [False, True, True, False]
    assert found[0].value == noise[: 2 * _MB - 2_000]
    assert [one.value for one in found[1:]] == [None, None, b"{"]
