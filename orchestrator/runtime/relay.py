"""The relay: turns what happened, by the journal, into public CloudEvents.

A checkpoint is the whole filter state, kept as the metadata of the group's offset. What is
published twice has the same id both times, so consumers may drop the second.
"""

import asyncio
from collections import defaultdict
from collections.abc import Mapping
from contextlib import suppress
from typing import Any, Final
from zlib import crc32

import orjson
import structlog

from events.decided import INTERNAL
from events.outputs import OUTPUTS
from orchestrator.runtime import metrics
from orchestrator.runtime.batches import batches
from orchestrator.runtime.workers import Workers
from schemas import journal
from schemas.journal import Commit, FilterState, JournalError, Opened, Verdict
from schemas.ports import (
    Checkpoint,
    Clock,
    EventLog,
    Group,
    LogError,
    OutOfRange,
    Partition,
    Reader,
    Record,
    Writer,
)
from schemas.times import rfc3339

_READ_RECORDS: Final = 200
_IDLE_WAIT_MS: Final = 500
_SAVE_EVERY_S: Final = 0.25
_FAILED_PAUSE_S: Final = 1.0

_TOPIC: Final = {name: model.TOPIC for name, model in OUTPUTS.items()}
_KEY: Final = {name: model.KEY for name, model in OUTPUTS.items()}
_TYPE: Final = {name: f"headrace.{name}.v1".encode() for name in OUTPUTS}
_HIDDEN: Final = {name: frozenset({"type"}) | INTERNAL.get(name, frozenset()) for name in OUTPUTS}
_CONTENT_TYPE: Final = ("content-type", b"application/json")
_SPEC: Final = ("ce_specversion", b"1.0")
_COMPACTED: Final = "availability"

Outgoing = dict[Partition, list[Record]]

_log = structlog.get_logger(__name__)


def publish(commit: Commit, shard: int, partitions: Mapping[str, int], into: Outgoing) -> list[int]:
    """Add a valid commit's public events to `into`.

    `partitions` says how many each public topic has; a key has one partition, for ever. Returns
    when the broker took each order that is sent to a node for the first time.
    """
    time = ("ce_time", rfc3339(commit.now_ms).encode())
    source = ("ce_source", f"headrace/{shard}".encode())
    position = f"{shard}.{commit.seq}"
    placed_at_ms: list[int] = []
    for number, n, cause, event in journal.happened(commit):
        kind = event["type"]
        hidden = _HIDDEN.get(kind)
        if hidden is None:
            continue
        fields: dict[str, Any] = {k: v for k, v in event.items() if k not in hidden}
        topic = _TOPIC[kind]
        key = "/".join([fields.get(field) or "" for field in _KEY[kind]]).encode()
        headers = [
            _SPEC,
            ("ce_id", f"{position}.{number}.{n}".encode()),
            source,
            ("ce_type", _TYPE[kind]),
            time,
            _CONTENT_TYPE,
        ]
        if cause["id"]:  # a tick has none
            headers.append(("ce_causationid", cause["id"].encode()))
        if "order_id" in fields:
            headers.append(("ce_correlationid", fields["order_id"].encode()))
        if topic == _COMPACTED:
            fields["position"] = position
        to = Partition(topic, crc32(key) % partitions[topic])
        into[to].append(Record(key, orjson.dumps(fields), headers))
        if kind == "fulfillment_requested" and cause["type"] == "order_placed":
            placed_at_ms.append(cause["origin"][3])
    return placed_at_ms


class ShardRelay:
    """One shard's relay in this process.

    It has one unacknowledged batch a target partition and nothing queued behind it. Another shard's
    may be on its way to the same partition meanwhile: from a producer and a checkpoint of its own,
    so that after a failure neither sends, nor hides, what the other lost. No market, and so no node
    or order, is in two shards, so nothing between the two has an order to keep; waiting for one
    another's acknowledgements would only make commands later.
    """

    def __init__(
        self, number: int, *, log: EventLog, group: Group, clock: Clock, takeover_s: float
    ) -> None:
        self.stop = asyncio.Event()
        self.state = "closed"
        self.number = number
        self._log = log
        self._group = group
        self._clock = clock
        self._takeover_s = takeover_s
        self._journal = Partition("journal", number)
        self._label = str(number)

    async def run(self) -> None:
        """Relay until told to stop; after any failure begin again at the checkpoint."""
        while not self.stop.is_set():
            pause_s = _FAILED_PAUSE_S
            try:
                await self._relay()
            except (JournalError, OutOfRange) as error:
                self.state = "halted"
                _log.error("relay halted", shard=self.number, what=str(error))
                await self.stop.wait()
            except LogError as error:
                self.state = "pausing"
                metrics.RELAY_RESTARTS.labels(self._label).inc()
                _log.warning("relay starts again", shard=self.number, what=str(error))
                with suppress(TimeoutError):
                    async with asyncio.timeout(pause_s):
                        await self.stop.wait()
        self.state = "closed"

    async def _relay(self) -> None:
        """Publish from the checkpoint on.

        1. Load the checkpoint, and see that it is of this journal.
        2. Read, filter, and turn valid commits into records by target partition.
        3. Append one batch a target partition, await every acknowledgement.
        4. Only then save the checkpoint (a few times a second; what follows it is published again).
        5. Once, a producer's time-out after taking over: publish the newest availability of each
           key touched since again: a predecessor's late append may have landed on top of it.
        """
        self.state = "opening"
        partitions = {name: one.partitions for name, one in (await self._log.describe()).items()}
        missing = sorted(set(_TOPIC.values()) - partitions.keys())
        if missing:
            raise LogError(
                f"topics are missing: {', '.join(missing)}: run `headrace topics create`"
            )
        state, publish_from = await self._checkpoint()
        writer = await self._log.writer()
        reader: Reader | None = None
        saved = state
        try:
            reader = await self._log.reader({self._journal: state.next})
            touched: dict[tuple[Partition, bytes], Record] | None = {}
            took_over = save_at = self._clock.monotonic()
            while not self.stop.is_set():
                read = (await reader.read(_READ_RECORDS, _IDLE_WAIT_MS)).get(self._journal, ())
                outgoing: Outgoing = defaultdict(list)
                placed_at_ms: list[int] = []
                for one in read:
                    record = journal.decode(one.value, one.offset)
                    state, verdict = journal.step(state, one.offset, record)
                    if (
                        verdict is Verdict.VALID
                        and isinstance(record, Commit)
                        and one.offset >= publish_from
                    ):
                        placed_at_ms += publish(record, self.number, partitions, outgoing)
                        await asyncio.sleep(0)
                await self._append(writer, outgoing)
                if outgoing or state.next >= (reader.high_water(self._journal) or state.next + 1):
                    self.state = "open"  # not before: a topic may refuse what is to be published
                self._observe(reader, state, outgoing, placed_at_ms)
                now = self._clock.monotonic()
                if touched is not None:
                    for to, records in outgoing.items():
                        if to.topic == _COMPACTED:
                            touched.update({(to, one.key or b""): one for one in records})
                    if now - took_over > self._takeover_s:
                        await self._append(writer, _again(touched))
                        touched = None
                if state.next > max(saved.next, publish_from) and (now >= save_at or not read):
                    await self._save(state)
                    saved, save_at = state, now + _SAVE_EVERY_S
            if state.next > max(saved.next, publish_from):
                await self._save(state)
        finally:
            metrics.forget(metrics.READER_LAG, "relay", "journal", self._label)
            await writer.close()
            if reader is not None:
                await reader.close()

    async def _checkpoint(self) -> tuple[FilterState, int]:
        """The filter state to go on from, and the first offset that is not published yet.

        A broker that keeps offsets without metadata makes the filter start over, publishing nothing
        below the offset.
        """
        kept = (await self._group.load([self._journal])).get(self._journal)
        if kept is None:
            return FilterState(), 0
        if not kept.metadata:
            return FilterState(), kept.offset
        state = FilterState.from_json(kept.metadata)
        reader = await self._log.reader({self._journal: 0})
        try:
            first = (await reader.read(1, _IDLE_WAIT_MS * 10)).get(self._journal)
        finally:
            await reader.close()
        if not first:
            raise LogError(f"the first record of journal/{self.number} can't be read")
        opened = journal.decode(first[0].value, 0)
        if not isinstance(opened, Opened) or opened.nonce != state.journal_id:
            raise JournalError(
                f"the relay's checkpoint is of another journal than journal/{self.number}: the "
                "topic was made anew; delete the consumer group to publish it from its beginning"
            )
        return state, state.next

    async def _append(self, writer: Writer, outgoing: Outgoing) -> None:
        """Append to every target at once, one batch at a time each; all acknowledged on return."""
        tasks = [
            asyncio.create_task(self._append_to(writer, to, records))
            for to, records in outgoing.items()
        ]
        if not tasks:
            return
        try:
            await asyncio.gather(*tasks)
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    @staticmethod
    async def _append_to(writer: Writer, to: Partition, records: list[Record]) -> None:
        for part in batches(records):
            await writer.append(to, part)

    async def _save(self, state: FilterState) -> None:
        await self._group.save({self._journal: Checkpoint(state.next, state.to_json())})

    def _observe(
        self, reader: Reader, state: FilterState, outgoing: Outgoing, placed_at_ms: list[int]
    ) -> None:
        high_water = reader.high_water(self._journal)
        if high_water is not None:
            lag = max(0, high_water - state.next)
            metrics.READER_LAG.labels("relay", "journal", self._label).set(lag)
        for to, records in outgoing.items():
            metrics.PUBLISHED.labels(to.topic).inc(len(records))
        now_ms = self._clock.now_ms()
        for placed_ms in placed_at_ms:
            metrics.PLACED_TO_COMMAND.observe(max(0, now_ms - placed_ms) / 1000)


def _again(touched: Mapping[tuple[Partition, bytes], Record]) -> Outgoing:
    outgoing: Outgoing = defaultdict(list)
    for (to, _key), record in touched.items():
        outgoing[to].append(record)
    return outgoing


class Relay:
    """The role: a ShardRelay for each shard that the group suggests."""

    def __init__(self, *, log: EventLog, group: Group, clock: Clock, takeover_s: float) -> None:
        self._group = group
        self._shards: Workers[ShardRelay] = Workers(
            "relay",
            lambda number: ShardRelay(
                number, log=log, group=group, clock=clock, takeover_s=takeover_s
            ),
        )

    def states(self) -> dict[int, str]:
        """The state of each shard relayed here."""
        return self._shards.states()

    async def run(self, stop: asyncio.Event) -> None:
        """Follow the group until told to stop; then save and leave."""
        try:
            while not stop.is_set():
                self._shards.follow({one.number for one in await self._group.changes(0.25)})
        finally:
            await self._shards.leave()
            await self._group.close()
