"""The projector: journal records through the filter into the read models."""

import asyncio
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Final, NamedTuple

import structlog

from projections.fold import READ_MODELS, Model
from projections.metrics import OF, PLACED_TO_READABLE, Metrics
from projections.tables import Changes
from schemas.journal import Commit, FilterState, JournalError, Opened, Verdict
from schemas.ports import (
    Clock,
    Database,
    DatabaseError,
    EventLog,
    Group,
    LogError,
    MembershipEnded,
    OutOfRange,
    Partition,
    Read,
    Reader,
)
from schemas.voids import Void, Voids, take

PROJECTOR_TOPICS: Final = ("journal",)
"""What the group's members share out among them."""

MAX_ROWS: Final = 2_000  # of a transaction: some 20 ms of folding, then others get their turn
MAX_RECORDS: Final = 200
_WAIT_MS: Final = 200  # a stop is noticed after it
_ENTRIES_A_TURN: Final = 8  # folded before the write under way may go on: less than 1 ms
_ASSIGNMENT_S: Final = 0.5
_RETRY_S: Final = 1.0

_log = structlog.get_logger()


class Batch(NamedTuple):
    """What one transaction writes, and the filter state that it leads to."""

    state: FilterState
    changes: Changes
    placed_ms: list[int]  # when the broker took the orders in it


def batches(
    shard: int,
    state: FilterState,
    records: list[Read],
    void: Sequence[Void] = (),
    model: Model = READ_MODELS,
) -> Iterator[Batch | None]:
    """Journal records as transactions of about MAX_ROWS; JournalError where they contradict.

    In between, None now and then: others may have their turn.
    """
    changes = Changes(model.tables)
    placed_ms: list[int] = []
    for record in records:
        state, content, verdict = take(void, shard, state, record, folds=True)
        match content:
            case Opened():
                changes.owner = content.owner
            case Commit() if verdict is Verdict.VALID:
                for step_number, _ in enumerate(model.project(changes, shard, content)):
                    if step_number % _ENTRIES_A_TURN == 0:
                        yield None
                placed_ms += [
                    entry["input"]["origin"][3]
                    for entry in content.entries
                    if entry["input"]["type"] == "order_placed"
                ]
            case _:
                pass  # void
        if len(changes) >= MAX_ROWS:
            yield Batch(state, changes, placed_ms)
            changes, placed_ms = Changes(model.tables), []
    yield Batch(state, changes, placed_ms)


@dataclass(frozen=True, slots=True)
class Projector:
    """The role `projector`, or with the model of the past, `past`.

    Instances share the shards; the checkpoint's compare-and-swap keeps them apart. `pace_s`:
    the least time between a shard's transactions, so that a trickle is written together.
    """

    log: EventLog
    group: Group
    database: Database
    clock: Clock
    pace_s: float = 0.03
    model: Model = READ_MODELS
    _states: dict[int, str] = field(default_factory=dict, init=False)

    @property
    def _metrics(self) -> Metrics:
        return OF[self.model.kind]

    def states(self) -> dict[int, str]:
        """Opening, open, pausing or halted, by assigned shard."""
        return dict(sorted(self._states.items()))

    async def run(self, stop: asyncio.Event) -> None:
        """Follow the assigned shards' journals until `stop`; what is under way is finished.

        So it is before MembershipEnded: others are given its shards then.
        """
        voids = Voids(self.log)
        ended: MembershipEnded | None = None
        async with asyncio.TaskGroup() as tasks:
            following: dict[int, tuple[asyncio.Event, asyncio.Task[None]]] = {}
            while not stop.is_set():
                try:
                    assigned = await self.group.changes(_ASSIGNMENT_S)
                except MembershipEnded as error:
                    ended = error
                    break
                shards = {one.number for one in assigned}
                for shard in following.keys() - shards:
                    leave, task = following.pop(shard)
                    leave.set()
                    await task
                    await self.database.let_go(shard)
                    self._states.pop(shard, None)
                for shard in sorted(shards - following.keys()):
                    leave = asyncio.Event()
                    following[shard] = (leave, tasks.create_task(self._follow(shard, leave, voids)))
            for leave, _ in following.values():
                leave.set()
        if ended is not None:
            raise ended

    async def _follow(self, shard: int, leave: asyncio.Event, voids: Voids) -> None:
        label = str(shard)
        while not leave.is_set():
            self._metrics.halted.labels(label).set(0)
            self._states[shard] = "opening"
            try:
                await self._session(shard, leave, voids)
                if not leave.is_set():  # overtaken: whoever shares the shard gets further meanwhile
                    self._states[shard] = "pausing"
                    await self.clock.sleep(_RETRY_S)
            except (JournalError, OutOfRange) as error:
                self._halt(shard)
                _log.error(
                    "what is made of a shard's journal halts: the journal contradicts itself or it."
                    " When it was put right or made anew, run `headrace rebuild`, then restart",
                    what=self.model.kind,
                    shard=shard,
                    error=str(error),
                )
                await voids.more(shard, leave, self.clock, _log.error)
            except (DatabaseError, LogError) as error:
                self._states[shard] = "pausing"
                self._metrics.reloads.labels(label, "failed").inc()
                _log.warning(
                    "a projector goes back to its checkpoint",
                    what=self.model.kind,
                    shard=shard,
                    error=str(error),
                )
                await self.clock.sleep(_RETRY_S)
            except Exception:  # noqa: BLE001 - one shard's defect must not take the others down
                self._halt(shard)
                _log.exception(
                    "what is made of a shard's journal halts at a defect: a release that mends it"
                    " goes on",
                    what=self.model.kind,
                    shard=shard,
                )
                await leave.wait()

    def _halt(self, shard: int) -> None:
        self._metrics.halted.labels(str(shard)).set(1)
        self._states[shard] = "halted"

    async def _session(self, shard: int, leave: asyncio.Event, voids: Voids) -> None:
        """From one reload to the next.

        1. Load the checkpoint: the whole filter state.
        2. Read the journal from there on, every record through the filter.
        3. Fold what is valid, while the transaction before is on its way; one at a time writes rows
           and checkpoint if that is still the one that the last left.
        4. If it is not, somebody else was here: begin again at 1, in a moment.
        """
        await voids.once()
        confirmed = await self.database.checkpoint(shard)
        state = confirmed or FilterState()
        journal = Partition("journal", shard)
        reader = await self.log.reader({journal: state.next or None})
        reader.gather()
        writing: asyncio.Task[bool] | None = None
        try:
            while not leave.is_set():
                records = (await reader.read(MAX_RECORDS, _WAIT_MS)).get(journal, [])
                began = self.clock.monotonic()
                for batch in batches(shard, state, records, voids.of(shard), self.model):
                    if batch is None:
                        await asyncio.sleep(0)
                    if batch is None or batch.state == state:
                        continue
                    if writing is not None and not await writing:
                        return
                    writing = asyncio.create_task(self._write(shard, confirmed, batch))
                    confirmed = state = batch.state
                if writing is not None and not await writing:
                    return
                if writing is not None or state.next >= (reader.high_water(journal) or 0):
                    self._states[shard] = "open"  # not before: PostgreSQL may read and not write
                writing = None
                self._measure_lag(reader, journal, state.next)
                if records:
                    rest_s = self.pace_s - (self.clock.monotonic() - began)
                    await self.clock.sleep(max(0.0, rest_s))
        finally:
            if writing is not None:
                writing.cancel()
                await asyncio.gather(writing, return_exceptions=True)
            await reader.close()

    async def _write(self, shard: int, expected: FilterState | None, batch: Batch) -> bool:
        label = str(shard)
        began = self.clock.monotonic()
        if not await self.database.apply(shard, expected, batch.state, batch.changes):
            self._metrics.reloads.labels(label, "raced").inc()
            _log.info(
                "another projector wrote this shard",
                what=self.model.kind,
                shard=shard,
                seq=batch.state.seq,
            )
            return False
        self._metrics.write_seconds.labels(label).observe(self.clock.monotonic() - began)
        self._metrics.rows.labels(label).inc(len(batch.changes))
        now_ms = self.clock.now_ms()
        for at_ms in batch.placed_ms if self.model is READ_MODELS else ():
            PLACED_TO_READABLE.observe(max(0, now_ms - at_ms) / 1000)
        return True

    def _measure_lag(self, reader: Reader, journal: Partition, at: int) -> None:
        end = reader.high_water(journal)
        if end is not None:
            self._metrics.lag.labels(str(journal.number)).set(max(0, end - at))
