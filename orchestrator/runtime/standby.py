"""The standby: follows a shard that another process decides, ready to take it over.

It folds what happened, as opening does, takes snapshots of it, and watches whether the shard's
owner works: where something is due and the journal stands still, the owner is taken for dead. That
may be wrong. Then the owner is fenced, which costs it a pause and nobody a decision.
"""

import asyncio
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Final, Generic, TypeVar

import structlog

from orchestrator.runtime import metrics
from orchestrator.runtime.halting import halts
from orchestrator.runtime.replica import Replica, in_slices
from orchestrator.runtime.snapshots import OLD_MS, Snapshots
from schemas.journal import JournalError, Opened
from schemas.ports import Clock, EventLog, LogError, OutOfRange, Partition, Randomness, Read, Reader
from schemas.voids import Voids

_READ_RECORDS: Final = 16  # the client unpacks them in one piece
_WAIT_MS: Final = 100  # how often it looks whether the owner works
_QUIET_S: Final = 0.3  # without a record, before it looks into the inbox
_FAILED_PAUSE_S: Final = 1.0
_JITTER_S: Final = 0.25  # so that of several standbys one is first
_OPENING_S: Final = 10.0  # what an owner may take from its ShardOpened to its first commit
_OVERDUE_MS: Final = 5_000  # clocks of two machines differ: a timer is surely due so long after it
_FRESH_MS: Final = 1_500  # an older answer of the broker says nothing about the owner
_ASK_S: Final = 0.5  # for the owner's last word: a takeover waits no longer for it
_ASK_AGAIN_S: Final = 1.0
_LOOK_S: Final = 3_600.0  # between two looks at how old the newest snapshot is
_GAP_S: Final = 1.0  # between two looks: it was this process that stood still

_log = structlog.get_logger(__name__)

S = TypeVar("S")


@dataclass(frozen=True, slots=True)
class StandbyConfig:
    """When a standby takes over, and when it takes snapshots.

    `shards`: how many there are. `suspect_s`: how long a journal may stand still while something is
    due. `snapshot_events`: inputs and decided events between two snapshots. `held_bytes`: how much
    of the journal is read on, and kept in memory, while one is written.
    """

    shards: int
    suspect_s: float = 1.0
    snapshot_events: int = 100_000
    held_bytes: int = 64 << 20


class Standby(Generic[S]):
    """One shard, followed until told to stop. `suspects`: its owner seems to be dead."""

    def __init__(  # noqa: PLR0913 - its ports and settings, by name
        self,
        replica: Replica[S],
        *,
        log: EventLog,
        clock: Clock,
        randomness: Randomness,
        is_due: Callable[[S, int], bool],
        let_go: Callable[[S], Iterator[None]],
        snapshots: Snapshots[S] | None,
        config: StandbyConfig,
        voids: Voids,
    ) -> None:
        self.number = replica.number
        self.stop = asyncio.Event()
        self.state = "closed"
        self.suspects = False
        self._log = log
        self._clock = clock
        self._jitter_s = _JITTER_S * randomness.bits(10) / 1024
        self._is_due = is_due
        self._let_go = let_go
        self._snapshots = snapshots
        self._config = config
        self._voids = voids
        self._replica = replica
        self._journal = replica.partition
        self._inbox = Partition("inbox", replica.number)
        self._ended = asyncio.Event()
        self._backlog: deque[Read] = deque()  # read while a snapshot was taken
        self._held_bytes = 0  # of it
        self._ahead = replica.filter  # through the backlog
        self._writing: asyncio.Task[None] | None = None
        self._snapshot_events = 0  # folded when a snapshot was last taken
        self._snapshot_next = 0  # where in the journal that was
        self._look_s = clock.monotonic() + _LOOK_S  # when to look how old the newest is
        self._watching = False
        self._looked_s = self._moved_s = self._opened_s = clock.monotonic()
        self._waiting_s: float | None = None  # since when something is known to be due
        self._ask_s = 0.0  # not before then: whether the owner halts
        self._halts = False

    async def run(self) -> None:
        """Follow until told to stop.

        1. Restore the newest snapshot.
        2. Read and fold; now and then take a snapshot; watch the owner.
        3. After a failure of the log, go on where it was. What can't be folded: halt, until a
           person says what of the journal is void.
        """
        try:
            while not self.stop.is_set():
                try:
                    await self._restore()
                    await self._follow()
                except LogError as error:
                    if isinstance(error, OutOfRange) and not self._watching:
                        self._halt(str(error))
                    else:  # the owner may have trimmed the inbox meanwhile
                        _log.warning("reads on in a moment", shard=self.number, what=str(error))
                        self._enter("pausing")
                    await self._pause()
                except JournalError as error:
                    self._halt(str(error))
                    if self._replica.broken:
                        await self.stop.wait()
                    else:
                        await self._voids.more(self.number, self.stop, self._clock, _log.error)
                except Exception:  # noqa: BLE001 - one shard's defect must not take others down
                    _log.exception("a standby halts at a defect", shard=self.number)
                    self._halt("a defect")
                    await self.stop.wait()
        finally:
            if self.state != "halted":
                self._enter("closed")
            metrics.forget(metrics.READER_LAG, "standby", "journal", str(self.number))
            self._ended.set()
            if self.state == "halted":  # else it is handed over, or the process ends
                await in_slices(self._let_go(self._replica.state), self._clock)

    async def hand_over(self) -> Replica[S] | None:
        """Stop; the shard as far as it was folded, None where it couldn't be."""
        self.stop.set()
        await self._ended.wait()
        return None if self.state == "halted" else self._replica

    def _enter(self, state: str) -> None:
        self.state = state

    def _halt(self, why: str) -> None:
        if self.state != "halted":
            _log.error("a standby halts", shard=self.number, what=why)
        self._enter("halted")

    async def _pause(self) -> None:
        with suppress(TimeoutError):
            async with asyncio.timeout(_FAILED_PAUSE_S):
                await self.stop.wait()

    async def _restore(self) -> None:
        replica = self._replica
        self._enter("opening")
        await self._voids.once()
        if self._snapshots is not None and not replica.filter.next:
            found = await self._snapshots.load()
            if found is not None:
                replica.state, replica.filter = found
                self._snapshot_next = replica.filter.next

    async def _follow(self) -> None:
        replica = self._replica
        self._backlog.clear()
        self._held_bytes = 0
        self._ahead = replica.filter
        self._watching = False
        self._moved(self._clock.monotonic())
        reader = await self._log.reader({self._journal: replica.filter.next or None})
        reader.gather()
        self._enter("standby")
        try:
            while not self.stop.is_set():
                read: Mapping[Partition, Sequence[Read]] = {}
                if self._writing is not None and self._held_bytes >= self._config.held_bytes:
                    await asyncio.wait([self._writing], timeout=_WAIT_MS / 1000)
                else:
                    read = await reader.read(_READ_RECORDS, _WAIT_MS)
                now_s = self._clock.monotonic()
                records = read.get(self._journal, ())
                if records:
                    self._moved(now_s)
                    if self._watching:
                        reader.remove(self._inbox)
                        self._watching = False
                await self._take(records)
                if self._inbox in read:
                    self._waiting_s = now_s if self._waiting_s is None else self._waiting_s
                    reader.pause([self._inbox])
                self._take_snapshot()
                dead = self._seems_dead(reader, self._clock.monotonic())
                if not (dead and self.suspects):
                    self.suspects = dead and not await self._owner_halts()
        finally:
            if self._writing is not None:
                self._writing.cancel()
                await asyncio.wait([self._writing])
                self._writing = None
            await reader.close()

    async def _take(self, records: Sequence[Read]) -> None:
        """Fold what came; while a snapshot is taken only look through it, and keep it."""
        self._backlog.extend(records)
        if self._writing is not None:
            self._held_bytes += sum(len(read.value or b"") for read in records)
            for read in records:
                self._ahead, record, _ = self._voids.take(
                    self.number, self._ahead, read, folds=True
                )
                self._saw(record)
                await self._replica.slices.between()
            return
        while self._backlog and not self.stop.is_set():
            record, _ = await self._replica.take(self._backlog.popleft())
            self._saw(record)
        self._ahead = self._replica.filter
        self._held_bytes = 0

    def _saw(self, record: object) -> None:
        if isinstance(record, Opened):
            self._opened_s = self._clock.monotonic()

    # --- snapshots

    def _take_snapshot(self) -> None:
        """Begin one where enough has happened, or the newest is old; end one that is written."""
        if self._writing is not None:
            if not self._writing.done():
                return
            ended, self._writing = self._writing, None
            ended.result()
        if self._snapshots is None:
            return
        now_s = self._clock.monotonic()
        if self._replica.events - self._snapshot_events >= self._config.snapshot_events:
            self._snapshot_events = self._replica.events
            self._writing = asyncio.create_task(self._write(self._snapshots), name="snapshot")
        elif now_s >= self._look_s:
            self._look_s = now_s + _LOOK_S
            renewing = self._write(self._snapshots, where_old=True)
            self._writing = asyncio.create_task(renewing, name="snapshot")

    async def _write(self, snapshots: Snapshots[S], *, where_old: bool = False) -> None:
        """Write one, unless another standby has of late. The fold waits meanwhile.

        `where_old`: only where there is one that the topic's retention will soon take.
        """
        before = self._snapshot_next
        try:
            newest = await snapshots.newest()
            if where_old:
                wanted = newest is not None and self._clock.now_ms() - newest.at_ms > OLD_MS
            else:
                wanted = newest is None or newest.filter.next <= before
                self._snapshot_next = self._replica.filter.next
            if wanted:
                await snapshots.write(self._replica.state, self._replica.filter)
        except LogError as error:
            _log.warning("no snapshot was taken", shard=self.number, what=str(error))
            self._snapshot_events -= self._config.snapshot_events * 9 // 10  # soon again

    # --- the owner

    def _moved(self, now_s: float) -> None:
        """The owner works, or nothing is known of it."""
        self._moved_s = now_s
        self._waiting_s = None
        self.suspects = False

    async def _owner_halts(self) -> bool:
        """Whether the owner has told that the shard halts: whoever took it over would, too."""
        now_s = self._clock.monotonic()
        if now_s >= self._ask_s:
            self._ask_s = now_s + _ASK_AGAIN_S
            self._halts = False
            with suppress(LogError, TimeoutError):  # who can't be asked says nothing
                async with asyncio.timeout(_ASK_S):
                    self._halts = bool(await halts(self._log, [self.number]))
        return self._halts

    def _seems_dead(self, reader: Reader, now_s: float) -> bool:
        """Look whether something is due that the owner doesn't do.

        The inbox is looked into only when the journal stands still, and no further than its next
        record.
        """
        looked_s, self._looked_s = self._looked_s, now_s
        end = reader.high_water(self._journal)
        fetched_ms = reader.fetched_ms(self._journal)
        now_ms = self._clock.now_ms()
        if end is not None:
            behind = max(0, end - self._replica.filter.next)
            metrics.READER_LAG.labels("standby", "journal", str(self.number)).set(behind)
        if now_s - looked_s > _GAP_S or fetched_ms is None or now_ms - fetched_ms > _FRESH_MS:
            self._moved(now_s)
            return False
        if end is None or self._ahead.next < end or now_s - self._moved_s < _QUIET_S:
            return False
        if not self._watching:
            reader.add(self._inbox, self._ahead.inbox_next)
            self._watching = True
        if self._writing is None and self._is_due(self._replica.state, now_ms - _OVERDUE_MS):
            self._waiting_s = now_s if self._waiting_s is None else self._waiting_s
        opening = self._ahead.last_epoch < self._ahead.epoch
        if self._waiting_s is None or (opening and now_s - self._opened_s < _OPENING_S):
            return False
        return now_s - self._waiting_s >= self._config.suspect_s + self._jitter_s
