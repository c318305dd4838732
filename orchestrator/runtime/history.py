"""The history: turns every valid entry into flat records on the topic `history`.

It reads the journal beside the relay, with a checkpoint of its own, so that it delays no command.
"""

from abc import abstractmethod
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator
from typing import Any, Final, Generic, TypeVar
from zlib import crc32

import orjson

from orchestrator.runtime import metrics
from orchestrator.runtime.publisher import (
    IDLE_WAIT_MS,
    SAVE_EVERY_S,
    Outgoing,
    Ports,
    Publishers,
    ShardPublisher,
)
from orchestrator.runtime.replica import Slices, in_slices
from orchestrator.runtime.snapshots import Format, Snapshots
from schemas.history import Flat, Known, flatten, fold, let_go
from schemas.journal import Commit, Entry, FilterState, JournalError, Verdict
from schemas.ports import (
    Clock,
    EventLog,
    LogError,
    OutOfRange,
    Partition,
    Randomness,
    Read,
    Reader,
    Record,
    Writer,
)
from schemas.times import rfc3339
from schemas.voids import Voids

S = TypeVar("S")

WATERMARK_S: Final = 10.0
_FLUSH_BYTES: Final = 4_000_000  # of values, in memory before they are sent

_HEADERS: Final = (
    ("ce_specversion", b"1.0"),
    ("ce_type", b"headrace.history_recorded.v1"),
    ("content-type", b"application/json"),
)
_WATERMARK: Final = (
    ("ce_specversion", b"1.0"),
    ("ce_type", b"headrace.history_watermark.v1"),
    ("content-type", b"application/json"),
)


def record_of(flat: Flat, source: bytes) -> Record:
    """A record of history as a CloudEvent in binary mode."""
    said = flat.record
    headers = (
        *_HEADERS,
        ("ce_id", said["position"].encode()),
        ("ce_source", source),
        ("ce_time", said["happened_at"].encode()),
    )
    return Record(flat.key.encode(), orjson.dumps(said), headers)


def source_of(shard: int) -> bytes:
    """The `ce_source` of a shard's history: not that of its outputs, whose ids it repeats."""
    return b"headrace/%d/history" % shard


async def known_at(
    kept: FilterState,
    number: int,
    log: EventLog,
    clock: Clock,
    randomness: Randomness,
    form: Format[S],
    new: Callable[[], S],
    voids: Voids,
) -> tuple[S, FilterState]:
    """What is known at a shard's newest snapshot up to `kept`, and where that is.

    `voids` are read: a snapshot of what never happened is passed over. What the journal has from
    there up to `kept` is to be folded. Nothing, and the journal's beginning, where there is no
    snapshot that this release can restore; LogError.
    """
    if not kept.next or "snapshots" not in await log.describe():
        return new(), FilterState()
    snapshots = Snapshots(number, log=log, clock=clock, randomness=randomness, form=form)
    async for found in snapshots.manifests():
        if found.filter.journal_id == kept.journal_id and found.filter.next <= kept.next:
            try:
                voids.begin(number, found.filter, folds=False)
                snapshots.check(found)
                return await snapshots.restore(found), found.filter
            except Exception as error:  # torn, void, or of another release: the one before may do
                if isinstance(error, LogError) and not isinstance(error, OutOfRange):
                    raise
    return new(), FilterState()


class HistoryPublisher(ShardPublisher, Generic[S]):
    """A publisher to the topic `history`: it makes records of what it knows of its shard."""

    read_records: int
    """Of the journal, at a time."""
    _known: S  # from when it begins to publish

    def __init__(
        self,
        number: int,
        ports: Ports,
        form: Format[S],
        new: Callable[[], S],
        let_go: Callable[[S], Iterator[None]],
    ) -> None:
        """`new` makes what is known before the first entry; `form` says how snapshots hold it.

        `let_go` empties what nobody needs any more, a piece a step.
        """
        super().__init__(number, ports)
        self._form = form
        self._new = new
        self._let_go = let_go
        self._slices = Slices(ports.clock)
        self._shards_there = 0
        self._partitions_there = 0
        self._waiting: Outgoing = defaultdict(list)
        self._waiting_bytes = 0

    async def _publish(self) -> None:
        """Publish from the checkpoint on.

        1. Load the checkpoint. What has to be known there comes from the newest snapshot of the
           shard that lies before it, and from the journal in between: read, and not published.
        2. Read, filter, and turn entries of valid commits into records by target partition.
        3. Append them, some megabytes at a time; await every acknowledgement.
        4. Only then save the checkpoint (a few times a second; what follows it is published again,
           as the same bytes).
        """
        self.state = "opening"
        there = await self._partitions(["history", "journal"])
        self._shards_there, self._partitions_there = there["journal"], there["history"]
        self._waiting, self._waiting_bytes = defaultdict(list), 0
        kept, publish_from = await self._checkpoint()
        self._known, state = await known_at(
            kept,
            self.number,
            self._log,
            self._clock,
            self._randomness,
            self._form,
            self._new,
            self._voids,
        )
        writer: Writer | None = None
        reader: Reader | None = None
        saved = kept
        try:
            writer = await self._log.writer()
            reader = await self._log.reader({self._journal: state.next or None})
            reader.gather()
            save_at = self._clock.monotonic()
            while not self.stop.is_set():
                read = (await reader.read(self.read_records, IDLE_WAIT_MS)).get(self._journal, ())
                for one in read:
                    if self.stop.is_set():
                        break  # a record of the journal may make thousands: the rest comes again
                    state = await self._take(writer, state, one, publish_from)
                    if state.next == kept.next:
                        self._check(state, kept, one)
                await self._flush(writer)
                high_water = reader.high_water(self._journal)
                caught_up = high_water is not None and state.next >= high_water
                if state.next > publish_from or caught_up:
                    self.state = "open"
                self._observe(reader, state, {})
                if state.next >= publish_from:
                    fetched_ms = reader.fetched_ms(self._journal) if caught_up else None
                    await self._flushed(writer, state, fetched_ms)
                now = self._clock.monotonic()
                if state.next > max(saved.next, publish_from) and (now >= save_at or not read):
                    await self._save(state)
                    saved, save_at = state, now + SAVE_EVERY_S
            if state.next > max(saved.next, publish_from):
                await self._save(state)
        finally:
            metrics.forget(metrics.READER_LAG, self.role, "journal", self._label)
            for port in (writer, reader):
                if port is not None:
                    await port.close()
            await in_slices(self._let_go(self._known), self._clock)

    async def _take(
        self, writer: Writer, state: FilterState, read: Read, publish_from: int
    ) -> FilterState:
        """Take in a record of the journal; what it publishes waits for `_flush`."""
        after, commit, verdict = self._voids.take(self.number, state, read, folds=True)
        if verdict is not Verdict.VALID or not isinstance(commit, Commit):
            return after
        for number, entry in enumerate(commit.entries):
            if read.offset < publish_from:
                self._fold(read, number, entry)
            else:
                for record in self._records(read, commit.seq, number, entry):
                    self._put(record)
            await self._slices.between()
        self._taken(read)
        if self._full:
            await self._flush(writer)
        return after

    def _check(self, state: FilterState, kept: FilterState, read: Read) -> None:
        """What was read up to the checkpoint is what it was saved of; JournalError."""
        if self._voids.begin(self.number, state, folds=True) != kept:
            raise JournalError(
                f"the checkpoint of {self.role} is of another history than"
                f" journal/{self.number} has at offset {read.offset}"
            )

    @abstractmethod
    def _fold(self, read: Read, number: int, entry: Entry) -> None:
        """Take in an entry that was published before."""

    @abstractmethod
    def _records(self, read: Read, seq: int, number: int, entry: Entry) -> Iterable[Record]:
        """The records of an entry, which is folded in."""

    def _check_awake(self) -> None:
        """Whatever stands on `history` twice has one position, and is of one content."""

    def _taken(self, read: Read) -> None:
        """A commit was taken in."""

    async def _flushed(self, writer: Writer, state: FilterState, fetched_ms: int | None) -> None:
        """All up to here is published; `fetched_ms`: when the journal's end was seen, there."""

    def _put(self, record: Record) -> None:
        """Let a record wait for `_flush`."""
        to = Partition("history", crc32(record.key or b"") % self._partitions_there)
        self._waiting[to].append(record)
        self._waiting_bytes += len(record.value or b"")

    @property
    def _full(self) -> bool:
        return self._waiting_bytes > _FLUSH_BYTES

    async def _flush(self, writer: Writer) -> None:
        """Append what waits; all acknowledged on return."""
        outgoing, self._waiting, self._waiting_bytes = self._waiting, defaultdict(list), 0
        await self._append(writer, outgoing)
        published = sum(len(records) for records in outgoing.values())
        metrics.PUBLISHED.labels("history").inc(published)


class ShardHistory(HistoryPublisher[Known]):
    """One shard's history in this process."""

    role = "history"
    restarts = metrics.HISTORY_RESTARTS
    read_records = 200

    def __init__(self, number: int, ports: Ports, form: Format[Known], late_s: float) -> None:
        super().__init__(number, ports, form, Known, let_go)
        self._late_ms = int(late_s * 1000)
        self._source = source_of(number)
        self._behind_ms = 0  # the broker's clock, less the tick, of the newest commit
        self._complete_ms = 0
        self._mark_at = 0.0

    async def _publish(self) -> None:
        """Publish; every 10 s, all before being acknowledged, a watermark in every partition."""
        self._mark_at = self._clock.monotonic()
        try:
            await super()._publish()
        finally:
            metrics.forget(metrics.HISTORY_COMPLETE, self._label)

    def _fold(self, read: Read, number: int, entry: Entry) -> None:  # noqa: ARG002 - as others do
        fold(self._known, entry)

    def _records(self, read: Read, seq: int, number: int, entry: Entry) -> Iterator[Record]:  # noqa: ARG002 - as others do
        for flat in flatten(self._known, self.number, seq, number, entry):
            yield record_of(flat, self._source)

    def _taken(self, read: Read) -> None:
        self._behind_ms = read.timestamp_ms - self._known.clock_ms

    async def _flushed(self, writer: Writer, state: FilterState, fetched_ms: int | None) -> None:
        now = self._clock.monotonic()
        if now >= self._mark_at:
            await self._mark(writer, state, fetched_ms)
            self._mark_at = now + WATERMARK_S

    async def _mark(self, writer: Writer, state: FilterState, fetched_ms: int | None) -> None:
        """Say in every partition how far it is complete.

        No later commit has an earlier tick than the newest. While nothing happens the moment goes
        on with the clock (`fetched_ms`: when the journal's end was seen last), less what an append
        that is on its way may take, and less what the newest one was behind the broker's clock.
        """
        complete_ms = self._known.clock_ms
        if fetched_ms is not None:
            complete_ms = max(complete_ms, fetched_ms - self._late_ms - max(0, self._behind_ms))
        self._complete_ms = complete_ms = max(self._complete_ms, complete_ms)
        if not complete_ms:
            return  # nothing is known yet
        until = rfc3339(complete_ms)
        value: dict[str, Any] = {
            "kind": "watermark",
            "shard": self.number,
            "shards": self._shards_there,
            "seq": state.seq,
            "complete_until": until,
        }
        headers = (
            *_WATERMARK,
            ("ce_id", f"{self.number}.{state.seq}.{complete_ms}".encode()),
            ("ce_source", self._source),
            ("ce_time", until.encode()),
        )
        record = Record(b"watermark/%d" % self.number, orjson.dumps(value), headers)
        numbers = range(self._partitions_there)
        await self._append(writer, {Partition("history", one): [record] for one in numbers})
        metrics.HISTORY_COMPLETE.labels(self._label).set(complete_ms / 1000)


class History(Publishers):
    """The role: a ShardHistory for each shard that the group suggests.

    `late_s`: how long after it was decided a commit may still land in the journal.
    """

    def __init__(self, ports: Ports, form: Format[Known], *, late_s: float) -> None:
        super().__init__(
            "history", ports.group, lambda number: ShardHistory(number, ports, form, late_s)
        )
