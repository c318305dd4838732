"""A broker that hangs: it takes connections and answers nothing. Nobody waits for it for long."""

import asyncio
import os
import signal
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import orjson
import pytest
import structlog

from orchestrator.compose import create_topics
from orchestrator.runtime.intake import INTAKE_TOPICS
from orchestrator.runtime.kafka_log import KafkaLog, KafkaSettings
from orchestrator.runtime.settings import Settings
from schemas.cloudevents import emit
from schemas.ports import Checkpoint, LogError, Partition, Record, Unknown
from tests.kafka.roles import Processes
from tests.servers.killable import Cluster, Server

pytestmark = [
    pytest.mark.slow,
    pytest.mark.real_kafka("is a cluster of its own"),
    pytest.mark.skipif(
        "HEADRACE_TEST_LONG" not in os.environ,
        reason="takes two minutes: make soak, or HEADRACE_TEST_LONG=1",
    ),
]

_log = structlog.get_logger()

TIMEOUT_S = 15.0
CLOSE_S = 6.0
"""Stopping, cutting off, and what a busy machine takes besides."""


@pytest.fixture
async def log(cluster: Cluster, prefix: str) -> AsyncIterator[KafkaLog]:
    log = await KafkaLog.open(KafkaSettings(cluster.bootstrap, prefix, request_timeout_s=TIMEOUT_S))
    await create_topics(
        log, Settings(kafka=cluster.bootstrap, prefix=prefix, shards=1, partitions=3)
    )
    places = [("network", 0), ("inbox", 0), *(("orders", number) for number in range(3))]
    async with asyncio.timeout(90):  # the broker that the test before had hang may be behind still
        for topic, number in places:
            while await cluster.in_sync(f"{prefix}{topic}", number) < len(cluster.brokers):
                await asyncio.sleep(0.2)
    yield log
    await log.close()


@asynccontextmanager
async def hanging(broker: Server) -> AsyncIterator[None]:
    broker.signal(signal.SIGSTOP)
    try:
        yield
    finally:
        broker.signal(signal.SIGCONT)


def tasks() -> set[asyncio.Task[object]]:
    return asyncio.all_tasks() - {asyncio.current_task()}


async def test_a_writer_a_reader_and_a_group_come_through_while_one_broker_of_three_hangs(
    cluster: Cluster, log: KafkaLog, prefix: str
) -> None:
    """Each attempt is bounded, and a few of them do: the one that hangs is not asked for ever."""
    orders = [Partition("orders", number) for number in range(3)]
    group = await log.group("intake", INTAKE_TOPICS)
    writer = await log.writer()
    for one in orders:
        await writer.append(one, [Record(None, b"before")])
    broker = await cluster.leader(f"{prefix}orders", 0)
    async with hanging(broker):
        began = time.monotonic()
        through: dict[str, float] = {}

        async def attempt() -> None:
            fresh = await log.writer()
            try:
                for one in orders:
                    await fresh.append(one, [Record(None, b"meanwhile")])
            finally:
                await fresh.close()
            through.setdefault("written", time.monotonic() - began)
            reader = await log.reader(dict.fromkeys(orders, None))
            seen = 0
            try:
                while seen < 2 * len(orders):
                    seen += sum(map(len, (await reader.read(100, 500)).values()))
            finally:
                await reader.close()
            through.setdefault("read", time.monotonic() - began)
            await group.changes(0)
            await group.save({one: Checkpoint(1, "") for one in orders})

        async with asyncio.timeout(75):
            while True:
                try:
                    await attempt()
                    break
                except LogError as error:
                    _log.warning("begins anew", after_s=time.monotonic() - began, what=str(error))
        _log.warning("through", saved=time.monotonic() - began, **through)
        closing = time.monotonic()
        await writer.close()
        await group.close()
        assert time.monotonic() - closing < 2 * CLOSE_S


def event(type_: str, id_: str, **data: object) -> Record:
    headers = emit(type_, id_, "test", "2026-03-02T09:00:00Z")
    return Record(id_.encode(), orjson.dumps({"market_id": "m", **data}), headers)


async def sent(log: KafkaLog, name: str) -> set[str]:
    """Cancellations in every partition of `orders`, however often; their ids."""
    ids = {f"{name}-{number}-{n}" for number in range(3) for n in range(5)}
    for id_ in sorted(ids):
        one = event("order_cancel_requested", id_, channel="web", order_id="1", reason="a test")
        while True:
            writer = await log.writer()
            try:
                await writer.append(Partition("orders", int(id_.split("-")[1])), [one])
                break
            except LogError as error:
                _log.warning("sends it again", id=id_, what=str(error))
            finally:
                await writer.close()
    return ids


async def test_intake_brings_in_all_while_one_broker_of_three_hangs_and_stops_in_time(
    cluster: Cluster, log: KafkaLog, prefix: str, tmp_path: Path
) -> None:
    inbox = Partition("inbox", 0)
    processes = Processes(tmp_path, cluster.bootstrap, prefix, "", shards="1", partitions="3")
    queued: list[dict[str, Any]] = []

    async def all_are_queued(ids: set[str], within_s: float) -> None:
        async with asyncio.timeout(within_s):
            while not ids <= {one["id"] for one in queued}:
                try:
                    reader = await log.reader({inbox: len(queued) or None})
                    try:
                        found = (await reader.read(500, 500)).get(inbox, ())
                        queued.extend(orjson.loads(one.value or b"") for one in found)
                    finally:
                        await reader.close()
                except LogError as error:
                    _log.warning("reads on", what=str(error))

    market = {"currency": "USD", "time_zone": "UTC", "shard": 0}
    writer = await log.writer()
    await writer.append(Partition("network", 0), [event("market_defined", "m", **market)])
    await writer.close()
    try:
        intake = processes.start("intake")
        await all_are_queued(await sent(log, "before"), 60)
        async with hanging(await cluster.leader(f"{prefix}inbox", 0)):
            began = time.monotonic()
            await all_are_queued(await sent(log, "meanwhile"), 120)
            _log.warning("through", after_s=time.monotonic() - began)
        async with hanging(await cluster.leader(f"{prefix}orders", 0)):
            await asyncio.sleep(1)  # the hang is what is waited for: no session has ended yet
            began = time.monotonic()
            await intake.stop()
            _log.warning("stopped", after_s=time.monotonic() - began)
    finally:
        processes.end()
    newest: dict[int, int] = {}
    for topic, number, offset, _ in (one["origin"] for one in queued):
        if topic == "orders":  # in order; what comes again is a repeat of what was there
            assert offset <= newest.get(number, -1) + 1
            newest[number] = max(offset, newest.get(number, -1))


async def test_what_is_closed_while_its_broker_hangs_leaves_nothing_behind(
    cluster: Cluster, log: KafkaLog, prefix: str
) -> None:
    one = Partition("orders", 0)
    before = tasks()
    group = await log.group("intake", INTAKE_TOPICS)
    writer = await log.writer()
    await writer.append(one, [Record(None, b"before")])
    reader = await log.reader({one: None})
    await reader.read(1, 500)
    broker = await cluster.leader(f"{prefix}orders", 0)
    async with hanging(broker):
        sending = asyncio.create_task(writer.append(one, [Record(None, b"x" * 100_000)]))
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(1):
                await asyncio.shield(sending)
        for port in (writer, reader, group):
            began = time.monotonic()
            await port.close()
            assert time.monotonic() - began < CLOSE_S, port
        with pytest.raises(Unknown):
            async with asyncio.timeout(CLOSE_S):
                await sending
        until = time.monotonic() + CLOSE_S
        while (left := tasks() - before) and time.monotonic() < until:
            await asyncio.sleep(0.05)
        assert not left, [repr(one.get_coro()) for one in left]
