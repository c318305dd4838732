"""A shard that is fed without a break, its journal being watched: for what asks who decides."""

import asyncio
import time
from collections.abc import Callable
from contextlib import suppress
from typing import Final

import orjson

from orchestrator.runtime.kafka_log import KafkaLog
from schemas import inbox
from schemas.journal import Commit, FilterState, Verdict, decode, step
from schemas.ports import Partition, Read, Record, Writer

INBOX: Final = Partition("inbox", 0)
JOURNAL: Final = Partition("journal", 0)
EVERY_S: Final = 0.02  # between two inputs
_MARKET: Final = orjson.dumps({"market_id": "m", "currency": "USD", "time_zone": "UTC"})


class Feed:
    """Writes inputs into a shard's inbox, without a break."""

    def __init__(self, log: KafkaLog) -> None:
        self.sent = 0
        self._over = False
        self._log = log
        self._task = asyncio.create_task(self._run())

    async def _run(self) -> None:
        writer = await self._log.writer()
        try:
            await self._send(writer)
        finally:
            await writer.close()

    async def _send(self, writer: Writer) -> None:
        while not self._over:
            value = inbox.encode(
                type_="market_defined",
                version=1,
                id_=str(self.sent),
                source="test",
                time_ms=0,
                origin=("network", 1, self.sent, 0),  # one of which nothing came yet
                data=_MARKET,
            )
            await writer.append(INBOX, [Record(None, value)])
            self.sent += 1
            await asyncio.sleep(EVERY_S)

    async def end(self) -> None:
        """Stop behind the input that is on its way: it counts."""
        self._over = True
        await self._task


async def ended(task: asyncio.Task[None]) -> None:
    task.cancel()
    with suppress(asyncio.CancelledError):
        await task


class Book:
    """The journal as it is read, with the broker's times of valid commits."""

    def __init__(self, after: FilterState | None = None) -> None:
        self.filter = after or FilterState()
        self.commits: list[tuple[int, int]] = []  # epoch, broker's time
        self.inputs: list[str] = []

    async def follow(self, log: KafkaLog) -> None:
        reader = await log.reader({JOURNAL: self.filter.next or None})
        try:
            while True:
                for read in (await reader.read(100, 100)).get(JOURNAL, ()):
                    self._take(read)
        finally:
            await reader.close()

    async def decided_again_ms(self, lose: Callable[[], None]) -> float:
        """Lose the shard's owner: how long until another's first commit, by the broker's clock."""
        epoch, lost_ms = self.commits[-1][0], time.time() * 1000
        lose()
        async with asyncio.timeout(60):
            while self.commits[-1][0] == epoch:
                await asyncio.sleep(0.02)
        return next(at_ms for one, at_ms in self.commits if one > epoch) - lost_ms

    def _take(self, read: Read) -> None:
        record = decode(read.value, read.offset)
        self.filter, verdict = step(self.filter, read.offset, record)
        if isinstance(record, Commit) and verdict is Verdict.VALID:
            self.commits.append((record.epoch, read.timestamp_ms))
            ids = [entry["input"]["id"] for entry in record.entries]
            self.inputs += [one for one in ids if one]
