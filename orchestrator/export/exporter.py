"""The exporter: journals, through the filter, into the tables of an export."""

import asyncio
import gc
from collections import defaultdict
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Final, NoReturn

import pyarrow as pa

from events.decided import InputRecord
from orchestrator.core.sourcing.calendars import DAY_MS
from orchestrator.export.directory import Directory, ExportError, Position
from orchestrator.export.tables import Row, tables
from orchestrator.runtime.history import known_at
from orchestrator.runtime.snapshots import Format
from schemas.history import INPUT, Known, fold, tell
from schemas.journal import Commit, Entry, FilterState, JournalError, Verdict
from schemas.ports import Clock, EventLog, Partition, Randomness, Read, Reader
from schemas.times import iso_day, rfc3339
from schemas.voids import Voids

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
_WAIT_MS: Final = 500

Advanced = Callable[[int, int, int], None]
"""Told of a shard, or of a partition of `history`, the offset that was reached, and its end."""


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


@dataclass(slots=True)
class _Shard:
    number: int
    kept: Position
    known: Known
    filter: FilterState
    end: int
    reached: Position = field(init=False)
    first: str = ""  # the positions of the rows that wait
    last: str = ""
    over: bool = False  # the period's end, or the journal's

    def __post_init__(self) -> None:
        self.reached = self.kept


_Rows = dict[tuple[int, int], dict[tuple[str, str], list[Row]]]
"""What waits to become columns: by shard and day, then by table."""
_Columns = dict[tuple[int, int], dict[tuple[str, str], list[pa.Table]]]
"""What waits to be written, alike."""


class Exporter:
    """One run of an export."""

    def __init__(
        self,
        directory: Directory,
        *,
        log: EventLog,
        clock: Clock,
        randomness: Randomness,
        form: Format[Known],
        period: Period,
        batch_rows: int = BATCH_ROWS,
    ) -> None:
        self._directory = directory
        self._log = log
        self._clock = clock
        self._randomness = randomness
        self._form = form
        self._period = period
        self._batch_rows = batch_rows
        self._voids = Voids(log)
        self._rows: _Rows = defaultdict(_of_tables)
        self._columns: _Columns = defaultdict(lambda: defaultdict(list))
        self._objects = 0  # rows that wait to become columns
        self._waiting = 0  # rows that wait to be written
        self._writing: asyncio.Task[None] | None = None
        self._begun = False
        self.done = Done()

    async def run(self, advanced: Advanced, *, follow: bool) -> Done:
        """Export what is not there yet; with `follow` go on until cancelled or the period is over.

        1. Restore what has to be known at the manifest's positions.
        2. Read and filter; what entries say gathers as rows of a table, a day and a shard, and
           some thousand at a time as columns.
        3. Once there are enough: write a file of each, then the manifest, while more is read.
        ExportError, JournalError, LogError. What is not in the manifest then is not exported.
        """
        with _collecting_rarely():
            return await self._run(advanced, follow=follow)

    async def _run(self, advanced: Advanced, *, follow: bool) -> Done:
        self._check_period()
        await self._voids.read()
        shards = {one.number: one async for one in self._shards()}
        at = {Partition("journal", one.number): one.filter.next or None for one in shards.values()}
        reader = await self._log.reader(at)
        written_s = self._clock.monotonic()
        try:
            while True:
                for partition in [*at]:
                    one = shards[partition.number]
                    if follow:
                        one.over = one.over or self._past(reader, partition, one)
                    else:
                        one.over = one.over or one.filter.next >= one.end
                    if one.over:
                        del at[partition]
                        reader.remove(partition)
                if not at:
                    break
                for partition, reads in (await reader.read(_READ_RECORDS, _WAIT_MS)).items():
                    shard = shards[partition.number]
                    for read in reads:
                        if shard.over or (not follow and read.offset >= shard.end):
                            break
                        self._take(shard, read)
                        if self._objects >= min(_OBJECT_ROWS, self._batch_rows):
                            self._gather()
                            await asyncio.sleep(0)
                        if self._waiting >= self._batch_rows:
                            await self._write(shards)
                            written_s = self._clock.monotonic()
                    if follow:
                        shard.end = max(shard.end, reader.high_water(partition) or 0)
                    advanced(shard.number, shard.filter.next, shard.end)
                if self._objects + self._waiting and self._clock.monotonic() - written_s > FOLLOW_S:
                    await self._write(shards)
                    written_s = self._clock.monotonic()
            await self._write(shards)
            await self._written()
        finally:
            await reader.close()
            if self._writing is not None:
                await asyncio.gather(self._writing, return_exceptions=True)
        if self._directory.manifest is None:
            self._nothing()
        self.done.total = self._directory.manifest.rows
        return self.done

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
            raise ExportError("Nothing has happened yet: the journals are empty.")
        raise ExportError(
            f"Nothing happened {self._period}: what was read of the journals happened between"
            f" {rfc3339(first_ms)} and {rfc3339(last_ms)}."
        )

    async def _shards(self) -> AsyncIterator[_Shard]:
        topics = await self._log.describe()
        manifest = self._directory.manifest
        for number in range(topics["journal"].partitions if "journal" in topics else 0):
            partition = Partition("journal", number)
            end = (await self._log.bounds(partition)).next
            kept = manifest.shards.get(number) if manifest is not None else None
            kept = kept or Position(FilterState())
            if kept.filter.next > end:
                raise ExportError(
                    f"{self._directory.path} holds more of shard {number} than its journal: it is"
                    " of another one, or that has lost its end. Export to another directory.",
                    2,
                )
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
            yield _Shard(number, kept, known, state, end)

    def _take(self, shard: _Shard, read: Read) -> None:
        """Take in a record of the journal: what is exported already, or before, is folded only."""
        kept = shard.kept
        after, record, verdict = self._voids.take(shard.number, shard.filter, read, folds=True)
        if verdict is Verdict.VALID and isinstance(record, Commit):
            new_from = kept.entries if record.seq == kept.filter.seq + 1 else 0
            from_ms, until_ms = self._period.from_ms or 0, self._period.until_ms
            for number, entry in enumerate(record.entries):
                new = record.seq > kept.filter.seq and number >= new_from
                clock_ms = _clock(shard, entry["input"])
                self._span(clock_ms)
                if until_ms is not None and clock_ms >= until_ms:
                    shard.over = True
                    if new:
                        shard.reached = Position(shard.filter, number)
                    return
                if new and clock_ms >= from_ms:
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
        rows: dict[tuple[str, str], list[Row]] | None = None
        for told in tell(known, entry):
            if rows is None:
                rows = self._rows[shard.number, known.clock_ms // DAY_MS]
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
        shard.first = shard.first or at
        shard.last = at

    def _gather(self) -> None:
        """Make columns of the rows that are objects; ExportError."""
        for at, by_table in self._rows.items():
            for (kind, event), some in by_table.items():
                if not some:
                    continue
                try:
                    made = tables()[kind, event].take(at[0], some)
                except (pa.ArrowInvalid, TypeError) as error:
                    raise ExportError(
                        f"Not every {kind} {event} fits its table: {error}"
                    ) from error
                self._columns[at][kind, event].append(made)
                some.clear()
        self._waiting += self._objects
        self._objects = 0

    async def _write(self, shards: Mapping[int, _Shard]) -> None:
        """Hand over what waits, to be written beside; then all before it is written."""
        self._gather()
        await self._written()
        if not self._waiting and self._directory.manifest is None:
            return  # nothing has happened yet, and nothing begins
        columns, self._columns, self._waiting = (
            self._columns,
            defaultdict(lambda: defaultdict(list)),
            0,
        )
        self._rows.clear()
        names = {one.number: f"{one.number}-{one.first}-{one.last}" for one in shards.values()}
        for one in shards.values():
            one.first = ""
        positions = {one.number: one.reached for one in shards.values()}
        self._writing = asyncio.create_task(
            asyncio.to_thread(self._store, columns, names, positions)
        )

    async def _written(self) -> None:
        """What was handed over is written; ExportError."""
        if self._writing is not None:
            writing, self._writing = self._writing, None
            await writing

    def _store(
        self, waiting: _Columns, names: Mapping[int, str], positions: Mapping[int, Position]
    ) -> None:
        if not self._begun:
            self._directory.begin(self._period.from_ms)
            self._begun = True
        files = {}
        for (number, day), by_table in waiting.items():
            date = iso_day(day)
            for key, some in by_table.items():
                rows = pa.concat_tables(some)
                some.clear()
                files[self._directory.add(tables()[key], date, names[number], rows)] = rows.num_rows
        self._directory.commit(positions, files)
        self.done.rows += sum(files.values())
        self.done.files += len(files)


@contextmanager
def _collecting_rarely() -> Iterator[None]:
    """Collect as good as never: looking for cycles among the rows takes longer than making them."""
    before = gc.get_threshold()
    gc.set_threshold(_YOUNG, *before[1:])
    try:
        yield
    finally:
        gc.set_threshold(*before)


def _of_tables() -> dict[tuple[str, str], list[Row]]:
    return {key: [] for key in tables()}


def _clock(shard: _Shard, cause: InputRecord) -> int:
    """The shard's clock at an entry: an input without an origin is a tick."""
    at_ms = shard.known.clock_ms
    return at_ms if "origin" in cause else max(at_ms, cause["time_ms"])
