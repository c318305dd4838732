"""Sends the demo's events to the public topics, in order within a key, until acknowledged."""

import asyncio
from collections import deque
from collections.abc import Mapping
from typing import Final
from zlib import crc32

from events.base import Fact
from schemas.cloudevents import emit
from schemas.ports import Clock, EventLog, LogError, Partition, Record, Writer
from schemas.times import rfc3339

_BATCH_RECORDS: Final = 200  # below a batch's size limit even for orders of 160 lines


class Outbox:
    """Queues of events by partition. One batch a partition is on its way; the rest waits behind it.

    A batch whose outcome is unknown is sent again: its events keep their ids, so taking them twice
    changes nothing.
    """

    def __init__(
        self, log: EventLog, partitions: Mapping[str, int], clock: Clock, source: str
    ) -> None:
        """`partitions` by topic; `source` is the events' `ce_source`."""
        self._log = log
        self._partitions = partitions
        self._clock = clock
        self._source = source
        self._queues: dict[Partition, deque[Record]] = {}
        self._awake = asyncio.Event()
        self._empty = asyncio.Event()
        self._empty.set()

    def put(self, fact: Fact, event_id: str) -> None:
        """Queue an event that happened now."""
        key = fact.record_key().encode()
        to = Partition(fact.TOPIC, crc32(key) % self._partitions[fact.TOPIC])
        happened = rfc3339(self._clock.now_ms())
        value = fact.model_dump_json(exclude_defaults=True).encode()
        record = Record(key, value, emit(fact.TYPE, event_id, self._source, happened))
        self._queues.setdefault(to, deque()).append(record)
        self._empty.clear()
        self._awake.set()

    async def flush(self) -> None:
        """Wait until everything queued is acknowledged."""
        await self._empty.wait()

    async def run(self) -> None:
        """Send until cancelled; LogError when a batch fails twice."""
        writer = await self._log.writer()
        try:
            while True:
                await self._awake.wait()
                self._awake.clear()
                while waiting := {to: queue for to, queue in self._queues.items() if queue}:
                    batches = {
                        to: [queue[n] for n in range(min(len(queue), _BATCH_RECORDS))]
                        for to, queue in waiting.items()
                    }
                    try:
                        await self._append(writer, batches)
                    except LogError:
                        await writer.close()
                        writer = await self._log.writer()
                        await self._append(writer, batches)
                    for to, batch in batches.items():
                        for _ in batch:
                            self._queues[to].popleft()
                self._empty.set()
        finally:
            await writer.close()

    async def _append(self, writer: Writer, batches: Mapping[Partition, list[Record]]) -> None:
        answers = await asyncio.gather(
            *(writer.append(to, batch) for to, batch in batches.items()), return_exceptions=True
        )
        for answer in answers:
            if isinstance(answer, BaseException):
                raise answer
