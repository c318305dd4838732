"""Two engine processes share the shards on a real broker; one is killed in the middle."""

import asyncio
import json
import os
import signal
import subprocess
import sys
from collections import Counter
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import orjson
import pytest

from orchestrator.compose import create_topics
from orchestrator.runtime.kafka_log import KafkaLog, KafkaSettings
from orchestrator.runtime.settings import Settings
from schemas import inbox
from schemas.journal import Commit, FilterState, Opened, Verdict, decode, step
from schemas.ports import Partition, Record

SHARDS = 4
ORDERS = 500  # a shard
ROUNDS = 10


@pytest.fixture
async def log(kafka: str, prefix: str) -> AsyncIterator[KafkaLog]:
    log = await KafkaLog.open(KafkaSettings(kafka, prefix))
    await create_topics(log, Settings(kafka=kafka, prefix=prefix, shards=SHARDS))
    yield log
    await log.close()


@contextmanager
def engine(kafka: str, prefix: str, said: Path) -> Iterator[subprocess.Popen[bytes]]:
    """`headrace run --roles engine` in a process of its own."""
    environment = {
        **os.environ,
        "HEADRACE_KAFKA": kafka,
        "HEADRACE_PREFIX": prefix,
        "HEADRACE_SHARDS": str(SHARDS),
        "HEADRACE_HTTP": "127.0.0.1:0",
        "HEADRACE_LOG": "json",
    }
    command = [sys.executable, "-m", "orchestrator.cli", "run", "--roles", "engine"]
    with said.open("wb") as out, subprocess.Popen(command, env=environment, stderr=out) as process:
        try:
            yield process
        finally:
            if process.poll() is None:
                process.kill()


def opened(said: Path) -> set[int]:
    """The shards that a process says it opened."""
    lines = [json.loads(line) for line in said.read_text().splitlines() if line.startswith("{")]
    return {line["shard"] for line in lines if line["event"] == "open"}


class Inputs:
    """Writes inboxes as intake would: a market, a node with stock, then orders."""

    def __init__(self, shard: int) -> None:
        self.to = Partition("inbox", shard)
        self.count = 0
        self._market = f"m{shard}"
        self._node = f"n{shard}"

    def setup(self) -> list[Record]:
        node = {"market_id": self._market, "node_id": self._node, "kind": "warehouse"}
        stock = {"node_id": self._node, "sku": "A", "quantity": 1_000}
        market = {"market_id": self._market, "currency": "EUR", "time_zone": "UTC"}
        return [
            self._record("market_defined", market),
            self._record("node_defined", {**node, "name": "N", "address": {"country": "DE"}}),
            self._record("item_defined", {"sku": "A", "name": "A"}),
            self._record("stock_received", stock),
        ]

    def orders(self, numbers: range) -> list[Record]:
        return [
            self._record(
                "order_placed",
                {
                    "channel": "web",
                    "market_id": self._market,
                    "order_id": str(number),
                    "placed_at": "2026-01-01T00:00:00Z",
                    "currency": "EUR",
                    "ship_to": {"country": "DE"},
                    "lines": [{"line_id": "1", "sku": "A", "quantity": 1}],
                },
            )
            for number in numbers
        ]

    def _record(self, type_: str, data: dict[str, Any]) -> Record:
        self.count += 1
        value = inbox.encode(
            type_=type_,
            version=1,
            id_=str(self.count),
            source="test",
            time_ms=0,
            origin=("orders", self.to.number, self.count, 0),
            data=orjson.dumps(data),
        )
        return Record(None, value)


class Story:
    """What a shard's journal says happened."""

    def __init__(self) -> None:
        self.state = FilterState()
        self.requested: Counter[str] = Counter()
        self.units = 0
        self.owners: list[str] = []

    async def read_on(self, log: KafkaLog, journal: Partition) -> None:
        """Follow the journal to where it ends now."""
        end = (await log.bounds(journal)).next
        if end == self.state.next:
            return
        reader = await log.reader({journal: self.state.next})
        try:
            while self.state.next < end:
                for read in (await reader.read(100, 500)).get(journal, ()):
                    record = decode(read.value, read.offset)
                    self.state, verdict = step(self.state, read.offset, record)
                    if isinstance(record, Opened):
                        self.owners.append(record.owner)
                    elif verdict is Verdict.VALID:
                        self._take(record)
        finally:
            await reader.close()

    def _take(self, commit: Commit) -> None:
        for entry in commit.entries:
            for event in entry["events"]:
                if event["type"] == "fulfillment_requested":
                    self.requested[event["order_id"]] += 1
                    self.units += sum(line["quantity"] for line in event["lines"])


@pytest.mark.slow
@pytest.mark.real_kafka("takes over when a member's session ends")
async def test_one_of_two_engines_is_killed_and_nothing_is_lost_or_done_twice(
    log: KafkaLog, kafka: str, prefix: str, tmp_path: Path
) -> None:
    shards = [Inputs(number) for number in range(SHARDS)]
    stories = [Story() for _ in shards]
    writer = await log.writer()
    first, second = tmp_path / "first", tmp_path / "second"
    with engine(kafka, prefix, first) as one, engine(kafka, prefix, second) as two:
        async with asyncio.timeout(60):
            while len(opened(first)) < 2 or len(opened(second)) < 2:
                await asyncio.sleep(0.05)
                assert one.poll() is two.poll() is None
        for shard in shards:
            await writer.append(shard.to, shard.setup())
        for number in range(ROUNDS):
            at = range(number * ORDERS // ROUNDS, (number + 1) * ORDERS // ROUNDS)
            for shard in shards:
                await writer.append(shard.to, shard.orders(at))
            if number == ROUNDS // 2:
                one.send_signal(signal.SIGKILL)
        async with asyncio.timeout(60):
            for shard, story in zip(shards, stories, strict=True):
                while story.state.inbox_next < shard.count:
                    await story.read_on(log, Partition("journal", shard.to.number))
                    assert two.poll() is None, second.read_text()
        two.send_signal(signal.SIGTERM)
        assert await asyncio.to_thread(two.wait, 12) == 0
    await writer.close()
    for story in stories:
        assert story.requested == {str(number): 1 for number in range(ORDERS)}
        assert story.units == ORDERS
    assert {owner for story in stories for owner in story.owners[-1:]} == {stories[0].owners[-1]}, (
        "the one that is left has every shard"
    )
