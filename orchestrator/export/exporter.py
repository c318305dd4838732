"""The exporter: journals, through the filter, into the tables of an export."""

import asyncio
import gc
from collections.abc import AsyncIterator, Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final, NamedTuple, NoReturn, Protocol

import pyarrow as pa

from events.decided import InputRecord
from orchestrator.core.sourcing.calendars import DAY_MS
from orchestrator.export.directory import ExportError, Manifest, Position
from orchestrator.export.tables import Row, Table, tables
from orchestrator.runtime.history import known_at
from orchestrator.runtime.snapshots import Format
from schemas.history import INPUT, Known, fold, tell
from schemas.journal import Commit, Entry, FilterState, JournalError, Verdict
from schemas.ports import Clock, EventLog, Partition, Randomness, Read, Reader
from schemas.times import beside, iso_day, rfc3339
from schemas.voids import Void, Voids

BATCH_ROWS: Final = 250_000
"""Rows in memory before files are written: each table's of a day and a shard are one file."""
_OBJECT_ROWS: Final = 20_000
"""Of those, how many are Python's objects at a time; the others are columns already."""
_YOUNG: Final = 500_000  # objects; more than are alive at a time
FOLLOW_S: Final = 600.0
"""How old what is not written yet gets while following: each time is a file a type and shard."""
_LATE_MS: Final = 60_000
"""How long after its time a commit may still land in the journal, and how far clocks differ."""
_READ_RECORDS: Final = 500
_UNKNOWN_MS: Final = -1
_WAIT_MS: Final = 500

Advanced = Callable[[int, int, int], None]
"""Told of a shard, or of a partition of `history`, the offset that was reached, and its end."""


class Place(Protocol):
    """Where an export is written, as `Directory` has it."""

    @property
    def path(self) -> Path:
        """For a person."""

    @property
    def manifest(self) -> Manifest | None:
        """What is there."""

    def begin(self, from_ms: int | None, begins: Mapping[int, int]) -> object:
        """Make it ready. `begins`: as in a manifest."""

    def add(self, table: Table, day: str, name: str, rows: pa.Table) -> str:
        """Write rows to a file; its path."""

    def commit(self, positions: Mapping[int, Position], files: Mapping[str, int]) -> None:
        """From here on these files count, and these are the positions."""

    def put_together(self, days: Mapping[int, str]) -> None:
        """Put many small files together. `days`: of each shard the first that is not over."""


class Share(NamedTuple):
    """Which commits are exported here, where several share an export: each `of`th, from one on.

    All of them read and fold all commits up to `ends` of the shards, and come to the ends of rounds
    at the same ones.
    """

    number: int
    of: int
    ends: Mapping[int, int]


class Alone(NamedTuple):
    """Rows that one writes first, and how many are to be left then, by the look of these.

    Where there are fewer, starting others takes longer than they save.
    """

    rows: int = 20_000
    left: int = 150_000


@dataclass(frozen=True, slots=True)
class Period:
    """By the shards' clocks: from a moment on, up to before another. None: from or to the end."""

    from_ms: int | None = None
    until_ms: int | None = None

    @property
    def begin(self) -> str:
        """For a person."""
        return "the beginning" if self.from_ms is None else rfc3339(self.from_ms)

    def __str__(self) -> str:
        last = "now" if self.until_ms is None else rfc3339(self.until_ms)
        return f"between {self.begin} and {last}"


@dataclass(slots=True)
class Done:
    """What an export came to."""

    rows: int = 0  # written by it
    total: int = 0  # there now
    files: int = 0
    first_ms: int | None = None  # what the journals hold
    last_ms: int | None = None
    begins: dict[int, int] = field(default_factory=dict)
    """By shard whose journal lost its beginning: the commit after which it is exported."""


_Key = tuple[str, str]
"""Of a table: its kind and type."""
_Columns = dict[int, dict[_Key, list[pa.Table]]]
"""What waits to be written: by day, then by table."""


@dataclass(slots=True)
class _Shard:
    number: int
    kept: Position
    known: Known
    filter: FilterState
    end: int
    reached: Position = field(init=False)
    rows: dict[int, dict[_Key, list[Row]]] = field(default_factory=dict)
    """What waits to become columns: by day, then by table."""
    columns: _Columns = field(default_factory=dict)
    waiting: int = 0  # rows, in both
    first: str = ""  # the positions of the rows that wait
    last: str = ""
    round_rows: int = 0  # of all who share the export
    over: bool = False  # the period's end, or the journal's

    def __post_init__(self) -> None:
        self.reached = self.kept

    @property
    def name(self) -> str:
        """Of the files of what waits."""
        return f"{self.number}-{self.first}-{self.last}"


class _Batch(NamedTuple):
    """What is to be written of a shard."""

    shard: int
    name: str
    columns: _Columns
    reached: Position
    day: str  # what comes later is of this one or after


class Exporter:
    """One run of an export.

    `batch_rows`: how many wait before they are written. `share`: it is one of several.
    """

    def __init__(
        self,
        directory: Place,
        *,
        log: EventLog,
        clock: Clock,
        randomness: Randomness,
        form: Format[Known],
        period: Period,
        batch_rows: int = BATCH_ROWS,
        share: Share | None = None,
    ) -> None:
        self._directory = directory
        self._log = log
        self._clock = clock
        self._randomness = randomness
        self._form = form
        self._period = period
        self._batch_rows = batch_rows
        self._alone: Alone | None = None
        self._share = share
        self._voids = Voids(log)
        self._shards: dict[int, _Shard] = {}
        self._objects = 0  # rows that wait to become columns
        self._writing: asyncio.Task[None] | None = None
        self._written_s = 0.0
        self._begun = False
        self.ends: Mapping[int, int] = {}  # of the journals, when it began
        self.more = False  # others are to go on, up to the ends
        self.done = Done()

    async def run(self, advanced: Advanced, *, follow: bool, alone: Alone | None = None) -> Done:
        """Export what is not there yet; with `follow` go on until cancelled or the period is over.

        `alone`: when it ends early, since others are there to go on.

        1. Restore what has to be known at the manifest's positions.
        2. Read and filter; what entries say gathers as rows of a table, a day and a shard, and
           some thousand at a time as columns.
        3. Once there are enough: write a file of each, then the manifest, while more is read.
        ExportError, JournalError, LogError. What is not in the manifest then is not exported.
        """
        self._alone = alone
        with _collecting_rarely():
            return await self._run(advanced, follow=follow)

    async def _run(self, advanced: Advanced, *, follow: bool) -> Done:
        self._check_period()
        await self._voids.read()
        self._shards = {one.number: one async for one in self._restored()}
        self.ends = {one.number: one.end for one in self._shards.values()}
        reader = await self._log.reader(
            {
                Partition("journal", one.number): one.filter.next or None
                for one in self._shards.values()
            }
        )
        self._written_s = self._clock.monotonic()
        try:
            await self._read(reader, advanced, follow=follow)
            for some in self._rounds():
                await self._write(some)
            await self._written()
        finally:
            await reader.close()
            if self._writing is not None:
                await asyncio.gather(self._writing, return_exceptions=True)
        if self._share is None:
            if self._directory.manifest is None:
                self._nothing()
            self.done.total = self._directory.manifest.rows
        return self.done

    async def _read(self, reader: Reader, advanced: Advanced, *, follow: bool) -> None:
        """Read until every shard is over, or others are to go on."""
        at = {Partition("journal", number) for number in self._shards}
        while True:
            for partition in sorted(at):
                one = self._shards[partition.number]
                if follow:
                    one.over = one.over or self._past(reader, partition, one)
                else:
                    one.over = one.over or one.filter.next >= one.end
                if one.over:
                    at.remove(partition)
                    reader.remove(partition)
            if not at:
                return
            for partition, reads in (await reader.read(_READ_RECORDS, _WAIT_MS)).items():
                shard = self._shards[partition.number]
                for read in reads:
                    if shard.over or (not follow and read.offset >= shard.end):
                        break
                    self._take(shard, read)
                    if self._objects >= min(_OBJECT_ROWS, self._batch_rows):
                        self._gather()
                        await asyncio.sleep(0)
                    if await self._write_due(shard):
                        return
                if follow:
                    shard.end = max(shard.end, reader.high_water(partition) or 0)
                advanced(shard.number, shard.filter.next, shard.end)
            late_s = self._clock.monotonic() - self._written_s
            if self._share is None and self._waiting and late_s > FOLLOW_S:
                await self._write([*self._shards.values()])

    async def _write_due(self, shard: _Shard) -> bool:
        """Write once enough waits: of all shards, or of one where others must do so as well.

        Whether others are to go on.
        """
        if self._share is not None:
            if shard.round_rows >= self._batch_rows * self._share.of / len(self._shards):
                await self._write([shard])
        elif self._alone is not None and (rows := self._waiting) >= self._alone.rows:
            shards = self._shards.values()
            read = sum(one.filter.next - one.kept.filter.next for one in shards)
            left = sum(self.ends[one.number] - one.filter.next for one in shards if not one.over)
            self.more = left * rows > read * self._alone.left
            self._alone = None
            return self.more
        elif self._waiting >= self._batch_rows:
            await self._write([*self._shards.values()])
        return False

    @property
    def _waiting(self) -> int:
        return sum(one.waiting for one in self._shards.values())

    def _rounds(self) -> Sequence[Sequence[_Shard]]:
        """What is written at once in the end."""
        shards = [*self._shards.values()]
        return [shards] if self._share is None else [[one] for one in shards]

    def _past(self, reader: Reader, partition: Partition, shard: _Shard) -> bool:
        """Whether the period was over when the journal's end was seen, and all before it is taken.

        A shard that has nothing to do writes no entry that would say so.
        """
        until_ms, seen_ms = self._period.until_ms, reader.fetched_ms(partition)
        if until_ms is None or seen_ms is None or seen_ms < until_ms + _LATE_MS:
            return False
        return shard.filter.next >= (reader.high_water(partition) or 0)

    def _check_period(self) -> None:
        manifest, period = self._directory.manifest, self._period
        from_ms, until_ms = period.from_ms, period.until_ms
        if from_ms is not None and until_ms is not None and from_ms >= until_ms:
            raise ExportError("--from must be before --until.", 2)
        if manifest is None:
            return
        if period.from_ms is None:
            self._period = Period(manifest.from_ms, period.until_ms)
        elif period.from_ms != manifest.from_ms:
            raise ExportError(
                f"{self._directory.path} holds what happened from"
                f" {Period(manifest.from_ms).begin} on: leave out --from to go on with it, or"
                " export to another directory.",
                2,
            )

    def _nothing(self) -> NoReturn:
        first_ms, last_ms = self.done.first_ms, self.done.last_ms
        if first_ms is None or last_ms is None:
            raise ExportError("Nothing has happened yet: the journals are empty.", 2)
        where = beside(first_ms, last_ms, self._period.from_ms, self._period.until_ms)
        raise ExportError(f"Nothing happened {self._period}{where}.", 2)

    async def _restored(self) -> AsyncIterator[_Shard]:
        topics = await self._log.describe()
        manifest = self._directory.manifest
        for number in range(topics["journal"].partitions if "journal" in topics else 0):
            partition = Partition("journal", number)
            bounds = await self._log.bounds(partition)
            end = bounds.next if self._share is None else self._share.ends[number]
            kept = manifest.shards.get(number) if manifest is not None else None
            kept = kept or Position(FilterState())
            if kept.filter.next > end:
                raise ExportError(
                    f"{self._directory.path} holds more of shard {number} than its journal: it is"
                    " of another one, or that has lost its end. Export to another directory.",
                    2,
                )
            lost = self._voids.lost(number)
            if lost is not None:
                kept = self._behind(lost, kept)
            known, state = await known_at(
                kept.filter,
                number,
                self._log,
                self._clock,
                self._randomness,
                self._form,
                Known,
                self._voids,
            )
            if lost is not None and state.next < lost.state.next:
                # no snapshot: what came of orders from before doesn't say when they were placed
                known, state = Known(), kept.filter
                known.clock_ms = _UNKNOWN_MS
            if state.next < bounds.first == bounds.next:
                raise JournalError(
                    f"the journal of shard {number} holds nothing any more of what there was up to"
                    f" offset {end}: `headrace shard void {number}` says how to go on"
                )
            yield _Shard(number, kept, known, state, end)

    def _behind(self, lost: Void, kept: Position) -> Position:
        """Where an export begins whose journal lost its beginning; or goes on."""
        if not kept.filter.next:
            kept = Position(lost.state)
            self.done.begins[lost.shard] = lost.state.seq
        elif kept.filter.next < lost.state.next:
            raise ExportError(
                f"{self._directory.path} lacks commits of shard {lost.shard} from"
                f" {kept.filter.seq + 1} to {lost.state.seq}, which its journal has lost: export to"
                " another directory, which begins behind them.",
                2,
            )
        return kept

    def _take(self, shard: _Shard, read: Read) -> None:
        """Take in a record of the journal: what is exported already, or before, is folded only."""
        kept = shard.kept
        after, record, verdict = self._voids.take(shard.number, shard.filter, read, folds=True)
        if verdict is Verdict.VALID and isinstance(record, Commit):
            new_from = kept.entries if record.seq == kept.filter.seq + 1 else 0
            from_ms, until_ms = self._period.from_ms or 0, self._period.until_ms
            if shard.known.clock_ms == _UNKNOWN_MS:
                shard.known.clock_ms = record.now_ms  # a tick stands first, if anywhere
            share = self._share
            ours = share is None or record.seq % share.of == share.number
            for number, entry in enumerate(record.entries):
                new = record.seq > kept.filter.seq and number >= new_from
                clock_ms = _clock(shard, entry["input"])
                self._span(clock_ms)
                if until_ms is not None and clock_ms >= until_ms:
                    shard.over = True
                    if new:
                        shard.reached = Position(shard.filter, number)
                    return
                new = new and clock_ms >= from_ms
                if new:
                    shard.round_rows += 1 + len(entry["events"])
                if new and ours:
                    self._put(shard, record.seq, number, entry)
                else:
                    fold(shard.known, entry)
        shard.filter = after
        if after.next == kept.filter.next and after != kept.filter:
            self._another(shard)
        if after.next > kept.filter.next and after.seq > kept.filter.seq:
            shard.reached = Position(after)

    def _span(self, clock_ms: int) -> None:
        done = self.done
        if done.first_ms is None or clock_ms < done.first_ms:
            done.first_ms = clock_ms
        if done.last_ms is None or clock_ms > done.last_ms:
            done.last_ms = clock_ms

    def _another(self, shard: _Shard) -> NoReturn:
        raise ExportError(
            f"{self._directory.path} holds the history of another journal than shard"
            f" {shard.number} has now: export to another directory.",
            2,
        )

    def _put(self, shard: _Shard, seq: int, number: int, entry: Entry) -> None:
        at = f"{seq}.{number}"
        known = shard.known
        rows: dict[_Key, list[Row]] | None = None
        for told in tell(known, entry):
            if rows is None:
                day = known.clock_ms // DAY_MS
                rows = shard.rows.get(day)
                if rows is None:
                    rows = shard.rows[day] = {key: [] for key in tables()}
            key = "input" if told.n == INPUT else "event", told.type
            try:
                some = rows[key]
            except KeyError as error:
                raise JournalError(
                    f"commit {seq} of shard {shard.number} has the unknown {key[0]} {key[1]!r}: a"
                    " newer release wrote it, upgrade Headrace"
                ) from error
            some.append((seq, number, known.clock_ms, told))
        self._objects += 1 + len(entry["events"])
        shard.waiting += 1 + len(entry["events"])
        shard.first = shard.first or at
        shard.last = at

    def _gather(self) -> None:
        """Make columns of the rows that are objects; ExportError."""
        for shard in self._shards.values():
            for day, by_table in shard.rows.items():
                columns = shard.columns.setdefault(day, {})
                for (kind, event), some in by_table.items():
                    if not some:
                        continue
                    try:
                        made = tables()[kind, event].take(shard.number, some)
                    except (pa.ArrowInvalid, TypeError) as error:
                        raise ExportError(
                            f"Not every {kind} {event} fits its table: {error}"
                        ) from error
                    columns.setdefault((kind, event), []).append(made)
                    some.clear()
        self._objects = 0

    async def _write(self, shards: Sequence[_Shard]) -> None:
        """Hand over what waits of these, to be written beside; then all before it is written."""
        self._gather()
        await self._written()
        self._written_s = self._clock.monotonic()
        if not self._waiting and self._directory.manifest is None:
            return  # nothing has happened yet, and nothing begins
        batches = []
        for one in shards:
            day = iso_day(one.known.clock_ms // DAY_MS)
            batches.append(_Batch(one.number, one.name, one.columns, one.reached, day))
            one.columns, one.waiting, one.first, one.round_rows = {}, 0, "", 0
            one.rows.clear()
        self._writing = asyncio.create_task(asyncio.to_thread(self._store, batches))

    async def _written(self) -> None:
        """What was handed over is written; ExportError."""
        if self._writing is not None:
            writing, self._writing = self._writing, None
            await writing

    def _store(self, batches: Sequence[_Batch]) -> None:
        if not self._begun:
            self._directory.begin(self._period.from_ms, self.done.begins)
            self._begun = True
        files = {}
        for batch in batches:
            for day, by_table in batch.columns.items():
                for key, some in by_table.items():
                    rows = pa.concat_tables(some)
                    some.clear()
                    name = self._directory.add(tables()[key], iso_day(day), batch.name, rows)
                    files[name] = rows.num_rows
        self._directory.commit({one.shard: one.reached for one in batches}, files)
        self.done.rows += sum(files.values())
        self.done.files += len(files)
        self._directory.put_together({one.shard: one.day for one in batches})


@contextmanager
def _collecting_rarely() -> Iterator[None]:
    """Collect as good as never: looking for cycles among the rows takes longer than making them."""
    before = gc.get_threshold()
    gc.set_threshold(_YOUNG, *before[1:])
    try:
        yield
    finally:
        gc.set_threshold(*before)


def _clock(shard: _Shard, cause: InputRecord) -> int:
    """The shard's clock at an entry: an input without an origin is a tick."""
    at_ms = shard.known.clock_ms
    return at_ms if "origin" in cause else max(at_ms, cause["time_ms"])
