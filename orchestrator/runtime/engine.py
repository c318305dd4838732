"""The engine: the single writer of each shard. Reads the inbox, decides, commits to the journal.

Consumer groups only suggest who owns a shard. What makes it safe stands in the journal: an epoch
that `ShardOpened` starts, commits chained to one another, and the filter that every reader runs.
"""

import asyncio
import gc
from collections import Counter, defaultdict, deque
from collections.abc import Callable, Coroutine, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from typing import Any, Final, Generic, NoReturn, Protocol, TypeAlias, TypeVar

import orjson
import structlog

from events.decided import DecidedEvent, InputRecord
from orchestrator.runtime import metrics
from orchestrator.runtime.ahead import Ahead
from orchestrator.runtime.auditor import Audited, Auditor
from orchestrator.runtime.halting import Halt
from orchestrator.runtime.replica import Replica, in_slices
from orchestrator.runtime.snapshots import Format, Snapshots
from orchestrator.runtime.standby import Standby, StandbyConfig
from orchestrator.runtime.workers import Workers
from schemas import inbox, journal
from schemas.journal import Commit, Entry, FilterState, JournalError, Opened, Verdict
from schemas.ports import (
    Appended,
    Checkpoint,
    Clock,
    EventLog,
    Group,
    LogError,
    OutOfRange,
    Partition,
    Randomness,
    Read,
    Reader,
    Record,
    Writer,
)
from schemas.topics import endangered
from schemas.voids import Voids

_HEAD_BYTES: Final = 1_000  # a commit without its entries, generously
_READ_RECORDS: Final = 2_000
_QUEUE_BYTES: Final = 16 << 20  # read and not decided yet: then no more is read
_FOLD_RECORDS: Final = 16  # the client unpacks them in one piece
_IDLE_WAIT_MS: Final = 500
_SLICE_S: Final = 0.002  # how long the loop's other tasks wait while one shard decides
_MAX_CLOCK_SKEW_MS: Final = 5 * 60_000
_LOOK_S: Final = 0.1  # between two looks at standbys
_LOOK_IDLE_S: Final = 0.25
_COOLING_S: Final = 30.0  # after an owner that seemed dead took its shard back
_MOST_AWAY_S: Final = 300.0  # of who opens a shard and fails, again and again
_DOUBT_S: Final = 300.0  # before a clock that was refused is compared again, though nobody set it
_MAX_DOUBT_S: Final = 3_600.0
_SET_MS: Final = 60_000  # by so much at the least it was set
TELL_S: Final = 0.5  # before a standby takes an owner that halts for dead

_log = structlog.get_logger(__name__)


class State(Protocol):
    """A shard's state, as far as the engine looks into it."""

    now_ms: int  # the newest tick


S = TypeVar("S", bound=State)
_Wait: TypeAlias = Callable[[], Coroutine[Any, Any, object]]


@dataclass(frozen=True, slots=True)
class Core(Generic[S]):
    """The pure core's functions.

    `let_go` empties a state that nobody needs any more, a piece a step. `gauges` names what a shard
    holds, for metrics.
    """

    new: Callable[[int], S]
    decide: Callable[[S, InputRecord], list[DecidedEvent]]
    fold: Callable[[S, Entry], None]
    tick: Callable[[int], InputRecord]
    work_due: Callable[[S, int], bool]
    next_due_ms: Callable[[S], int | None]
    skip: Callable[[S, InputRecord, str, str], list[DecidedEvent]]
    let_go: Callable[[S], Iterator[None]]
    gauges: Callable[[S], Mapping[str, int]] = lambda _state: {}
    snapshots: Format[S] | None = None  # None: none are read or written
    audit: Callable[[S], Iterator[list[str]]] | None = None  # None: nobody looks

    def replica(self, number: int, clock: Clock, voids: Voids) -> Replica[S]:
        """A shard of which nothing was read yet."""
        return Replica(number, self.new(number), self.fold_all, clock, voids)

    def is_due(self, state: S, now_ms: int) -> bool:
        """Whether a tick has something to do; also where `work_due` fails, which halts the shard.

        Whatever it fails with, the tick is named by it.
        """
        try:
            return self.work_due(state, now_ms)
        except Exception:  # noqa: BLE001 - it is raised again where the tick is decided
            return True

    def fold_all(self, state: S, entries: Iterable[Entry]) -> None:
        """Fold entries in order."""
        for entry in entries:
            self.fold(state, entry)


@dataclass(frozen=True, slots=True)
class EngineConfig:
    """How the engine batches, pauses and trims.

    `failed_pause_s`: how long before a shard is opened again after a failure. `fenced_pause_s`: how
    long a writer keeps away that was fenced or whose clock is wrong; longer than a group takes to
    notice that a member is gone, so that two writers don't fight over a shard. Who opened it twice
    and confirmed nothing keeps away as long, and twice as long after each further time.
    """

    batch_ms: int = 40
    failed_pause_s: float = 1.0
    fenced_pause_s: float = 10.0
    trim_s: float = 60.0
    trim_margin: int = 10_000


class _FencedError(Exception):
    """Another writer took the shard over."""


class _ClockError(Exception):
    """This machine's clock is wrong: decisions would bear wrong dates.

    `again_in_s`: of one that the broker refused, when they are compared again unless it is set.
    """

    def __init__(self, what: str, again_in_s: float | None = None) -> None:
        super().__init__(what)
        self.again_in_s = again_in_s


class _DoubtError(Exception):
    """The clock was refused, which was said, and nobody has set it since."""


class Doubt:
    """Of this machine's clock, since a shard's broker refused it: until it is set, or for a while.

    Whoever opened the shard by it meanwhile would fence who works, and be refused again. It may be
    the broker's that was wrong: so they are compared again at last, after twice as long each time.
    """

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._ahead_ms = 0.0
        self._until_s: float | None = None
        self._wait_s = 0.0

    def begin(self, ahead_ms: float) -> float:
        """It was refused when it was so far ahead of the monotonic one; how many seconds it stands.

        Longer after each that ended in another.
        """
        self._ahead_ms = ahead_ms
        self._wait_s = min(2 * self._wait_s or _DOUBT_S, _MAX_DOUBT_S)
        self._until_s = self._clock.monotonic() + self._wait_s
        return self._wait_s

    def end(self) -> None:
        """The clock was compared, and is right."""
        self._until_s, self._wait_s = None, 0.0

    def stands(self) -> bool:
        """Whether the shard is not to be opened by it."""
        if self._until_s is None:
            return False
        now_s = self._clock.monotonic()
        set_by_ms = self._clock.now_ms() - now_s * 1000 - self._ahead_ms
        return now_s < self._until_s and abs(set_by_ms) < _SET_MS


class _UnsafeError(Exception):
    """A topic that its broker may shorten, thin out or lose."""


class PoisonError(Exception):
    """An input that can't be decided. The shard halts; nothing is skipped by itself.

    `names`: its coordinates, by any of which a person may order it to be skipped; of a tick they
    are known once what came before it is committed. `renewable`: an input topic that was made anew,
    where that is the reason.
    """

    def __init__(self, what: str, names: list[str], renewable: str | None = None) -> None:
        super().__init__(what)
        self.names = names
        self.renewable = renewable
        self.after = 0  # the inbox offset behind which orders about it stand

    def helped_by(self, order: InputRecord) -> bool:
        """Whether a person's order says how to go on."""
        if order["type"] == inbox.SKIP_ORDERED:
            return order["data"].get("input") in self.names
        renews = order["type"] == inbox.RENEWAL_ORDERED and self.renewable is not None
        return renews and order["data"].get("topic") == self.renewable


class _Sent:
    """A commit on its way; once acknowledged, how long that took and when it was."""

    def __init__(self, batch: "_Batch", record: Commit, size: int) -> None:
        self.batch = batch
        self.record = record
        self.size = size
        self.seconds = 0.0
        self.at_ms = 0
        self.answer: asyncio.Task[Appended]


class _Batch:
    """Entries that go into one commit, and what they say to metrics."""

    def __init__(self, inbox_next: int) -> None:
        self.inbox_next = inbox_next
        self.entries: list[bytes] = []
        self.size = _HEAD_BYTES
        self.inputs: Counter[tuple[str, str]] = Counter()
        self.decided: Counter[str] = Counter()
        self.placed_at_ms: list[int] = []
        self.halts: PoisonError | None = None

    def count(self, cause: InputRecord, events: list[DecidedEvent]) -> None:
        outcome = "applied"
        for event in events:
            kind = event["type"]
            self.decided[kind] += 1
            outcome = _OUTCOMES.get(kind, outcome)
        origin = cause.get("origin")
        if origin is not None:
            self.inputs[cause["type"], outcome] += 1
            if cause["type"] == "order_placed":
                self.placed_at_ms.append(origin[3])


_OUTCOMES: Final = {
    "input_repeated": "repeated",
    "input_parked": "parked",
    "input_expired": "expired",
    "order_refused": "refused",
    "exception_opened": "exception",
}


class _Pending:
    """An entry that was decided but did not fit into the batch any more: it begins the next one."""

    def __init__(
        self, encoded: bytes, after: int | None, cause: InputRecord, events: list[Any]
    ) -> None:
        self.encoded = encoded
        self.after = after  # the inbox offset after it; None for a tick
        self.cause = cause
        self.events = events


class ShardWriter(Generic[S]):
    """One shard in this process, from suggestion to withdrawal."""

    def __init__(  # noqa: PLR0913 - its ports and settings, by name
        self,
        number: int,
        *,
        log: EventLog,
        clock: Clock,
        randomness: Randomness,
        core: Core[S],
        owner: str,
        config: EngineConfig,
        voids: Voids | None = None,
        snapshots: Snapshots[S] | None = None,
        standby: Standby[S] | None = None,
        doubt: Doubt | None = None,
    ) -> None:
        self.number = number
        self.stop = asyncio.Event()
        self.state = "closed"
        self.halt: Halt | None = None
        self.confirmed = FilterState()
        self.inbox_next = 0
        """As far as the inbox was handled when that was last known here; stays when it halts."""
        self._order: InputRecord | None = None  # a person's, not carried out yet
        self._order_after = 0  # the inbox offset at which the shard halted then
        self._tried: tuple[list[str], int] = ([], 0)
        """What the shard halted at when an order was found, and the inbox offset behind that."""
        self._log = log
        self._clock = clock
        self._randomness = randomness
        self._core = core
        self._owner = owner
        self._config = config
        self._voids = voids or Voids(log)
        self._snapshots = snapshots
        self._standby = standby  # that followed the shard here until now
        self._doubt = doubt or Doubt(clock)
        self._auditor = Auditor(number, clock, core.audit) if core.audit else None
        self._auditing: asyncio.Task[None] | None = None
        self._journal = Partition("journal", number)
        self._inbox = Partition("inbox", number)
        self._shard: S = core.new(number)
        self._writer: Writer | None = None
        self._reader: Reader | None = None
        self._reading: asyncio.Task[dict[Partition, list[Read]]] | None = None
        self._queue: deque[Read] = deque()
        self._queue_bytes = 0
        self._pending: _Pending | None = None
        self._read_next = 0  # the inbox offset that the reader gives next
        self._in_vain = 0  # ShardOpened in a row, each of which fenced who worked, and no commit
        self._opened_s = 0.0  # when the last of them was acknowledged
        self._clock_ahead_ms = 0.0  # of the monotonic one, when it was compared with the broker's
        self._label = str(number)

    async def run(self) -> None:
        """Open the shard and work until told to stop.

        1. Open: append ShardOpened, restore the newest snapshot, fold the journal up to it.
        2. Read, decide, commit; over and over.
        3. Anything but confirmed commits: forget everything, keep away for a while, go to 1.
           A journal that contradicts itself, or an input that can't be decided: halt. A person's
           order leads on from the latter, a person's word on what is void from the former. Topics
           that are set wrong halt it until they are set right.
        """
        while not self.stop.is_set():
            pause_s = self._config.failed_pause_s
            halt: Halt | None = None
            poison: PoisonError | None = None
            lead_on: _Wait = self.stop.wait  # from a defect nothing does
            try:
                await self._open()
                self.halt = None
                await self._work_or_give_way()
                why = "stop"
            except _FencedError as error:
                why, pause_s = "fenced", self._away_s(self._config.fenced_pause_s)
                _log.warning("fenced", shard=self.number, what=str(error), again_in_s=pause_s)
            except _ClockError as error:
                why, pause_s = "clock", self._config.fenced_pause_s
                again_s = error.again_in_s or pause_s
                _log.error("wrong clock", shard=self.number, what=str(error), again_in_s=again_s)
            except _DoubtError:
                why = ""  # it was told when the doubt began
            except PoisonError as error:
                why, poison, halt = "halted", error, Halt(str(error), error.names)
                lead_on = partial(self._await_order, error)
                _log.error("halted", shard=self.number, what=str(error), input=error.names)
            except (_UnsafeError, JournalError, OutOfRange) as error:
                why, halt = "halted", Halt(str(error), [])
                unsafe = isinstance(error, _UnsafeError)
                lead_on = self._await_safety if unsafe else self._await_word
                _log.error("halted", shard=self.number, what=str(error))
            except LogError as error:
                why, pause_s = "unknown", self._away_s(self._config.failed_pause_s)
                _log.warning("reopens", shard=self.number, what=str(error), again_in_s=pause_s)
            except Exception as error:  # noqa: BLE001 - one shard's defect must not take the others down
                why, halt = "halted", Halt(f"a defect: {error!r}", [])
                _log.exception("halted by a defect", shard=self.number)
            finally:
                await self._close()
            self._left(why, poison)
            if halt is not None:
                self.halt = halt
                self._enter("halted")
                await lead_on()
            elif why != "stop":
                self._enter("pausing")
                await self._pause(pause_s)
        if self._standby is not None and (warm := await self._standby.hand_over()) is not None:
            await in_slices(self._core.let_go(warm.state), self._clock)  # it was never opened
        self._enter("closed")

    def _left(self, why: str, poison: PoisonError | None) -> None:
        if why:
            metrics.REOPENED.labels(self._label, why).inc()
        if poison is None:
            self._tried = ([], 0)  # what came of an order may be lost
        if why == "halted":
            self._in_vain = 0  # by what it has read

    def _away_s(self, least_s: float) -> float:
        """How long who failed leaves the shard to others: longer, the more often in vain."""
        if self._clock.monotonic() - self._opened_s > _MOST_AWAY_S:
            self._in_vain = 0  # it could work, and had nothing to do
        if self._in_vain <= 1:  # which may be chance
            return least_s
        longer_s = self._config.fenced_pause_s * 2.0 ** min(self._in_vain - 2, 10)
        return max(least_s, min(longer_s, _MOST_AWAY_S))

    async def _pause(self, seconds: float) -> None:
        with suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self.stop.wait()

    async def _await_order(self, poison: PoisonError) -> None:
        """Look behind the input that the shard halts at for a person's order; until the stop.

        An order that didn't help is not tried again. A halt tells that what came before it is
        confirmed, so an order was carried out where the shard halts at the same once more.
        """
        names, tried = self._tried
        at = max(poison.after, tried) if names == poison.names else poison.after
        self._order = None  # it may be about another input
        while not self.stop.is_set() and self._order is None:
            try:
                reader = await self._log.reader({self._inbox: at})
                try:
                    while not self.stop.is_set() and self._order is None:
                        read = await reader.read(_READ_RECORDS, _IDLE_WAIT_MS)
                        for one in read.get(self._inbox, ()):
                            at = one.offset + 1
                            order = self._order_in(one)
                            if order is not None and poison.helped_by(order):
                                self._order, self._order_after = order, poison.after
                                self._tried = (poison.names, at)
                                break
                finally:
                    await reader.close()
            except OutOfRange:
                # The inbox is trimmed behind what is decided: somebody else has led the shard on.
                await self._pause(self._config.failed_pause_s)
                return
            except LogError as error:
                _log.warning("can't look for orders", shard=self.number, what=str(error))
                await self._pause(self._config.failed_pause_s)
        if self._order is not None:
            _log.warning("goes on by order", shard=self.number, order=self._order["data"])
            await self._pause(self._config.failed_pause_s)

    async def _await_word(self) -> None:
        """Wait until a person says that more is void; until the stop."""
        await self._voids.more(self.number, self.stop, self._clock, _log.error)

    async def _await_safety(self) -> None:
        """Look now and then whether topics are set right, and tell what isn't; until the stop."""
        while not self.stop.is_set():
            await self._pause(self._config.fenced_pause_s)
            try:
                await self._check_topics()
            except _UnsafeError as error:
                halt = Halt(str(error), [])
                if halt != self.halt:
                    self.halt = halt
                    _log.error("halted", shard=self.number, what=halt.what)
            except LogError as error:
                _log.warning("can't look at topics", shard=self.number, what=str(error))
            else:
                return

    def _order_in(self, read: Read) -> InputRecord | None:
        """A person's order, where an inbox record is one."""
        if inbox.ORDERS_SOURCE.encode() not in (read.value or b""):
            return None
        try:
            record = self._input(read)
        except ValueError:
            return None
        signed = all(isinstance(record["data"].get(one), str) for one in ("reason", "by"))
        return record if signed and record["source"] == inbox.ORDERS_SOURCE else None

    def _input(self, read: Read) -> InputRecord:
        """The input of an inbox record; ValueError where it can't be read."""
        record = inbox.decode(read.value or b"")
        if "origin" not in record:
            record["origin"] = ["inbox", self.number, read.offset, read.timestamp_ms]
        return record

    def _enter(self, state: str) -> None:
        metrics.SHARD_STATE.labels(self._label, self.state).set(0)
        metrics.SHARD_STATE.labels(self._label, state).set(1)
        self.state = state

    async def _close(self) -> None:
        """Forget everything that isn't in the journal, and tell nothing of it any more."""
        self._enter("closed")
        told = (metrics.SHARD_EPOCH, metrics.SHARD_SEQ, metrics.AUDIT_OPEN_FINDINGS)
        for gauge in (*told, *_GAUGES.values()):
            metrics.forget(gauge, self._label)
        metrics.forget(metrics.READER_LAG, "engine", "inbox", self._label)
        writer, reader = self._writer, self._reader
        for beside in (self._reading, self._auditing):
            if beside is not None:
                await _drop(beside)
        self._writer = self._reader = self._reading = self._pending = self._auditing = None
        self._queue.clear()
        self._queue_bytes = 0
        before, self._shard = self._shard, self._core.new(self.number)
        self.confirmed = FilterState()
        for port in (writer, reader):
            if port is not None:
                with suppress(LogError):
                    await port.close()
        await in_slices(self._core.let_go(before), self._clock)

    # --- opening

    async def _open(self) -> None:
        """Start an epoch, then fold what happened before it, from the newest snapshot on.

        The clock is compared with the broker's at once, since a fold may take minutes; by the
        record itself again, since not every broker says its time when it acknowledges. One that was
        refused opens nothing until it is set: each ShardOpened fences who works.
        """
        if self._doubt.stands():
            raise _DoubtError
        self._enter("opening")
        await self._voids.once()
        await self._check_topics()
        began = self._clock.monotonic()
        standby, self._standby = self._standby, None
        warm = await standby.hand_over() if standby else None
        if warm is not None:
            self._shard = warm.state  # which is let go, whatever comes of the opening
        self._writer = await self._log.writer()
        self._check_wanted()  # an epoch of who is to leave would only fence who comes
        nonce = f"{self._randomness.bits(128):032x}"
        clock_ms = self._clock.now_ms()
        self._clock_ahead_ms = clock_ms - self._clock.monotonic() * 1000
        opened = await self._writer.append(
            self._journal, [Record(None, journal.encode_opened(self._owner, nonce))]
        )
        self._in_vain, self._opened_s = self._in_vain + 1, self._clock.monotonic()
        if opened.timestamp_ms > 0:
            self._check_clock(clock_ms, opened.timestamp_ms)
        if warm is not None:
            _check_whole(warm.filter, opened.base_offset)
        replica = warm or await self._restored(opened.base_offset)
        self._shard = replica.state
        events = await self._fold(replica, nonce, clock_ms)
        self._read_next = self.confirmed.inbox_next
        self.inbox_next = self.confirmed.inbox_next
        if self.inbox_next > self._order_after:
            self._order = None  # another process led on; its names may come to mean others
        self._reader = await self._log.reader({self._inbox: self._read_next})
        gc.freeze()  # what was folded lives long: collections need not walk it
        if self._auditor is not None:
            looking = self._auditor.run(self._shard)
            self._auditing = asyncio.create_task(looking, name="audit")
        self._enter("open")
        metrics.SHARD_EPOCH.labels(self._label).set(self.confirmed.epoch)
        metrics.SHARD_SEQ.labels(self._label).set(self.confirmed.seq)
        metrics.RECOVERED_EVENTS.labels(self._label).inc(events)
        _log.info(
            "open",
            shard=self.number,
            epoch=self.confirmed.epoch,
            seq=self.confirmed.seq,
            inbox_next=self.confirmed.inbox_next,
            folded=events,
            seconds=round(self._clock.monotonic() - began, 3),
        )

    async def _check_topics(self) -> None:
        """Refuse a journal that its broker may shorten, thin out or lose; inbox and voids too."""
        topics = await self._log.describe()
        if "journal" not in topics:
            raise LogError("the topic journal is missing: run `headrace topics create`")
        if what := endangered(topics, "journal", "inbox", "voids"):
            raise _UnsafeError(what)

    async def _fold(self, replica: Replica[S], nonce: str, clock_ms: int) -> int:
        """Fold on, up to our own ShardOpened; the number of events folded."""
        before = replica.events
        reader = await self._log.reader({self._journal: replica.filter.next or None})
        ahead = Ahead(partial(self._read_journal, reader))
        try:
            while True:
                self._check_wanted()
                found = await ahead.next()
                if found:
                    ahead.begin()
                for read in found:
                    record, _ = await replica.take(read)
                    if isinstance(record, Opened) and record.nonce == nonce:
                        self._check_clock(clock_ms, read.timestamp_ms)
                        self._doubt.end()
                        self.confirmed = replica.filter
                        return replica.events - before
                    gc.freeze()  # what was folded lives long: collections need not walk it
        finally:
            await ahead.end()
            await reader.close()

    async def _read_journal(self, reader: Reader) -> Sequence[Read]:
        return (await reader.read(_FOLD_RECORDS, _IDLE_WAIT_MS)).get(self._journal, ())

    def _check_wanted(self) -> None:
        if self.stop.is_set():
            raise LogError("told to stop while opening")

    async def _restored(self, opened_at: int) -> Replica[S]:
        replica = self._core.replica(self.number, self._clock, self._voids)
        if self._snapshots is not None:
            found = await self._snapshots.load(opened_at)
            if found is not None:
                replica.state, replica.filter = found
        return replica

    def _check_clock(self, clock_ms: int, broker_ms: int) -> None:
        skew_ms = clock_ms - broker_ms
        if abs(skew_ms) > _MAX_CLOCK_SKEW_MS:
            raise _ClockError(
                f"this machine's clock is {skew_ms / 1000:+.0f} s from the broker's: correct it, "
                "since decisions are dated by it",
                self._doubt.begin(self._clock_ahead_ms),
            )

    def _now_ms(self) -> int:
        """The time of a decision; a clock that was set forward meanwhile is compared anew.

        What is journaled under a wrong date can't be taken back: time never goes back there.
        """
        now_ms = self._clock.now_ms()
        ahead_ms = now_ms - self._clock.monotonic() * 1000 - self._clock_ahead_ms
        if ahead_ms > _MAX_CLOCK_SKEW_MS:
            raise _ClockError(
                f"this machine's clock was set {ahead_ms / 1000:+.0f} s forward: it has to be "
                "compared with the broker's again, since decisions are dated by it"
            )
        return now_ms

    # --- working

    async def _work_or_give_way(self) -> None:
        """Work; where the inbox is trimmed beyond us, tell who took over from what is lost."""
        try:
            await self._work()
        except OutOfRange as error:
            if await self._overtaken():
                raise _FencedError(f"another writer trimmed behind itself: {error}") from error
            raise

    async def _overtaken(self) -> bool:
        """Whether somebody has opened the shard after us."""
        at, end = self.confirmed.next, (await self._log.bounds(self._journal)).next
        reader = await self._log.reader({self._journal: at})
        try:
            while at < end:
                batch = await reader.read(_FOLD_RECORDS, _IDLE_WAIT_MS)
                for read in batch.get(self._journal, ()):
                    if isinstance(journal.decode(read.value, read.offset), Opened):
                        return True
                    at = read.offset + 1
        finally:
            await reader.close()
        return False

    async def _work(self) -> None:
        """Read, decide, commit.

        1. Take what the inbox has; wait for it only when nothing else is due, and no longer than
           until the commit on its way is answered.
        2. Decide it into a batch, while the commit before is on its way.
        3. Await that commit: it must stand where the journal's end was known to be.
        4. Send the new one, chained to it.
        """
        sent: _Sent | None = None
        batch: _Batch | None = None
        try:
            while not self.stop.is_set():
                await self._read(sent)
                batch = await self._decide()
                if batch is not None or (sent is not None and sent.answer.done()):
                    if sent is not None:
                        await self._confirm(sent)
                        sent = None
                    if batch is not None and batch.entries:
                        sent = await self._send(batch)
                    if batch is not None and batch.halts is not None:
                        break
            if sent is not None:
                await self._confirm(sent)
                sent = None
            if batch is not None and batch.halts is not None:
                poison = batch.halts
                poison.after = self.confirmed.inbox_next
                poison.names = poison.names or [self._tick_name()]  # known only now
                raise poison
        finally:
            if sent is not None:
                await _drop(sent.answer)

    async def _read(self, sent: _Sent | None) -> None:
        """Fill the queue from the inbox, waiting until something is there, due or answered.

        A read that has found nothing when the commit is answered goes on: the next call takes it.
        """
        if len(self._queue) >= _READ_RECORDS or self._queue_bytes >= _QUEUE_BYTES:
            return
        assert self._reader is not None  # noqa: S101 - open
        wait_ms = 0 if self._queue or self._pending else self._wait_ms()
        if self._reading is None and (sent is None or not wait_ms):
            found = await self._reader.read(_READ_RECORDS, wait_ms)
        else:
            if self._reading is None:
                read_on = self._reader.read(_READ_RECORDS, wait_ms)
                self._reading = asyncio.create_task(read_on, name="read")
            waits: set[asyncio.Task[Any]] = {self._reading}
            if sent is not None:
                waits.add(sent.answer)
            await asyncio.wait(waits, timeout=wait_ms / 1000, return_when=asyncio.FIRST_COMPLETED)
            if not self._reading.done():
                return
            ended, self._reading = self._reading, None
            found = ended.result()
        read = found.get(self._inbox, ())
        for record in read:
            if record.offset != self._read_next:
                raise OutOfRange(
                    f"hole in the inbox of shard {self.number}: expected offset {self._read_next}, "
                    f"read {record.offset}"
                )
            self._read_next += 1
        self._queue.extend(read)
        self._queue_bytes += sum(len(record.value or b"") for record in read)
        high_water = self._reader.high_water(self._inbox)
        if high_water is not None:
            lag = max(0, high_water - self._read_next) + len(self._queue)
            metrics.READER_LAG.labels("engine", "inbox", self._label).set(lag)

    def _wait_ms(self) -> int:
        now_ms = self._clock.now_ms()
        if self._core.is_due(self._shard, now_ms):
            return 0
        due_ms = self._core.next_due_ms(self._shard)
        return _IDLE_WAIT_MS if due_ms is None else max(1, min(_IDLE_WAIT_MS, due_ms - now_ms))

    async def _decide(self) -> _Batch | None:
        """Decide what is queued into a batch; None when there is nothing to say.

        1. An entry that did not fit into the batch before comes first, at that batch's time.
        2. Else the tick, when time went on.
        3. Work that is due, a piece a tick, before the next input: who waits longer goes first.
        4. Inputs, in order, until the batch is full or its time is over.
        """
        shard, clock = self._shard, self._clock
        now_ms = max(shard.now_ms, self._now_ms())
        if not self._queue and self._pending is None and not self._core.is_due(shard, now_ms):
            return None
        after = self._queue[0].offset if self._queue else self._read_next
        batch, began = _Batch(after), clock.monotonic()
        await self._fill(batch, now_ms, began)
        metrics.DECIDE_SECONDS.labels(self._label).observe(clock.monotonic() - began)
        return batch

    async def _fill(self, batch: _Batch, now_ms: int, began: float) -> None:
        core, shard, clock = self._core, self._shard, self._clock
        end = began + self._config.batch_ms / 1000
        slice_end = began + _SLICE_S
        if self._pending is not None:
            pending, self._pending = self._pending, None
            self._put(batch, pending)
        elif now_ms > shard.now_ms and not self._add(batch, core.tick(now_ms), None):
            return
        if self._order is not None and self._order["type"] == inbox.RENEWAL_ORDERED:
            order, self._order = self._order, None
            if not self._add(batch, order, None):
                return
        while True:
            try:
                due = core.work_due(shard, shard.now_ms)
            except Exception as error:  # noqa: BLE001 - whatever it is, the shard halts with it
                due = not batch.entries and self._to_skip([self._tick_name()])
                if not due:
                    what = f"what is due can't be told: {error!r}"
                    self._halt(batch, PoisonError(what, []), error)
                    return
            if due:
                if not self._add(batch, core.tick(shard.now_ms), None):
                    return
            elif self._queue:
                read = self._queue.popleft()
                self._queue_bytes -= len(read.value or b"")
                if not self._take(batch, read):
                    return
            else:
                return
            if (now := clock.monotonic()) > slice_end:
                if now > end:
                    return
                await asyncio.sleep(0)
                slice_end = clock.monotonic() + _SLICE_S

    def _take(self, batch: _Batch, read: Read) -> bool:
        """Decide one inbox record into the batch; False when the batch is closed."""
        try:
            record = self._input(read)
        except ValueError as error:
            names = [self._inbox_name(read.offset)]
            record = _unreadable(self._shard.now_ms, names)
            if not self._to_skip(names):
                what = f"inbox record {read.offset} can't be read: {error!r}"
                return self._halt(batch, PoisonError(what, names), error)
        return self._add(batch, record, read.offset)

    def _add(self, batch: _Batch, cause: InputRecord, offset: int | None) -> bool:
        try:
            kept, order = cause, self._order_to_skip(batch, cause, offset)
            if order is None:
                events = self._core.decide(self._shard, cause)
            else:
                kept = self._as_skipped(cause, offset, order)
                events = self._core.skip(self._shard, kept, order["reason"], order["by"])
            encoded = journal.encode_entry(kept, events)
        except Exception as error:  # noqa: BLE001 - whatever it is, the shard halts with it
            what = f"{_where(cause, offset)} can't be decided: {error!r}"
            renewable = error.topic if isinstance(error, inbox.TopicMadeAnew) else None
            return self._halt(
                batch, PoisonError(what, self._names(cause, offset), renewable), error
            )
        after = None if offset is None else offset + 1
        if len(encoded) + _HEAD_BYTES > journal.MAX_COMMIT_BYTES:
            what = f"{_where(cause, offset)} makes an entry of {len(encoded)} bytes, more than a"
            what += " commit may hold"
            return self._halt(batch, PoisonError(what, self._names(cause, offset)), None)
        pending = _Pending(encoded, after, kept, events)
        if batch.size + len(encoded) + 1 > journal.MAX_COMMIT_BYTES:
            self._pending = pending
            return False
        self._put(batch, pending)
        return True

    @staticmethod
    def _put(batch: _Batch, entry: _Pending) -> None:
        batch.entries.append(entry.encoded)
        batch.size += len(entry.encoded) + 1
        if entry.after is not None:
            batch.inbox_next = entry.after
        batch.count(entry.cause, entry.events)

    def _order_to_skip(
        self, batch: _Batch, cause: InputRecord, offset: int | None
    ) -> dict[str, Any] | None:
        """A person's order to skip the input, which is carried out with that; else None."""
        if self._order is None:
            return None
        if offset is not None:
            names = self._names(cause, offset)
        elif batch.entries or not self._core.is_due(self._shard, cause["time_ms"]):
            return None  # the tick that can't be decided comes first
        else:
            names = [self._tick_name()]
        if not self._to_skip(names):
            return None
        order, self._order = self._order["data"], None
        return order

    def _as_skipped(
        self, cause: InputRecord, offset: int | None, order: dict[str, Any]
    ) -> InputRecord:
        """The input as it is journaled; of one that no commit can hold only its coordinates."""
        if offset is None:
            return cause
        events: Any = [{"type": "input_skipped", "reason": order["reason"], "by": order["by"]}]
        with suppress(orjson.JSONEncodeError):  # nested deeper than can be written
            size = len(journal.encode_entry(cause, events))
            if size + _HEAD_BYTES <= journal.MAX_COMMIT_BYTES:
                return cause
        return _unreadable(self._shard.now_ms, self._names(cause, offset))

    def _to_skip(self, names: list[str]) -> bool:
        order = self._order
        return (
            order is not None
            and order["type"] == inbox.SKIP_ORDERED
            and order["data"]["input"] in names
        )

    def _names(self, cause: InputRecord, offset: int | None) -> list[str]:
        """An input's coordinates; none of a tick."""
        if offset is None:
            return []
        names = [self._inbox_name(offset)]
        if "origin" in cause:
            topic, number, at, _ = cause["origin"]
            names.append(f"{topic}/{number}@{at}")
        return names

    def _inbox_name(self, offset: int) -> str:
        return f"inbox/{self.number}@{offset}"

    def _tick_name(self) -> str:
        """What a tick is called: by the commit that it would follow."""
        return f"tick/{self.number}@{self.confirmed.seq}"

    @staticmethod
    def _halt(batch: _Batch, poison: PoisonError, error: Exception | None) -> bool:
        """Close the batch before a poison input: what was decided before it is committed."""
        batch.halts = poison
        poison.__cause__ = error
        return False

    async def _send(self, batch: _Batch) -> _Sent:
        assert self._writer is not None  # noqa: S101 - open
        state = self.confirmed
        value = journal.encode_commit(
            epoch=state.epoch,
            nonce=state.nonce,
            seq=state.seq + 1,
            inbox_from=state.inbox_next,
            inbox_next=batch.inbox_next,
            prev=state.digest,
            now_ms=self._shard.now_ms,
            entries=batch.entries,
        )
        record = Commit(
            state.epoch,
            state.nonce,
            state.seq + 1,
            state.inbox_next,
            batch.inbox_next,
            state.digest,
            journal.digest_of(value),
            self._shard.now_ms,
            [],
        )
        sent = _Sent(batch, record, len(value))
        sent.answer = asyncio.create_task(self._append(self._writer, value, sent), name="commit")
        for _ in range(
            4
        ):  # lets the client put it on the wire before the next batch takes the loop
            await asyncio.sleep(0)
        return sent

    async def _append(self, writer: Writer, value: bytes, sent: _Sent) -> Appended:
        began = self._clock.monotonic()
        appended = await writer.append(self._journal, [Record(None, value)])
        sent.seconds = self._clock.monotonic() - began
        sent.at_ms = self._clock.now_ms()  # confirmed only when the batch after it is decided
        return appended

    async def _confirm(self, sent: _Sent) -> None:
        """Only what was appended where the journal was known to end has happened."""
        appended = await sent.answer
        if appended.base_offset != self.confirmed.next:
            self._fenced(appended.base_offset)
        state, verdict = journal.step(self.confirmed, appended.base_offset, sent.record)
        if verdict is not Verdict.VALID:
            self._fenced(appended.base_offset)
        self.confirmed = state
        self._in_vain = 0
        self.inbox_next = state.inbox_next
        batch, label = sent.batch, self._label
        metrics.COMMIT_SECONDS.labels(label).observe(sent.seconds)
        metrics.COMMIT_BYTES.labels(label).inc(sent.size)
        metrics.BATCH_INPUTS.labels(label).observe(batch.inputs.total())
        metrics.SHARD_SEQ.labels(label).set(state.seq)
        for (kind, outcome), count in batch.inputs.items():
            metrics.INPUTS.labels(kind, outcome).inc(count)
        for kind, count in batch.decided.items():
            metrics.DECISIONS.labels(kind).inc(count)
        for placed_at_ms in batch.placed_at_ms:
            metrics.PLACED_TO_JOURNAL.observe(max(0, sent.at_ms - placed_at_ms) / 1000)

    def _fenced(self, offset: int) -> NoReturn:
        raise _FencedError(
            f"commit {self.confirmed.seq + 1} of epoch {self.confirmed.epoch} landed at offset "
            f"{offset} instead of {self.confirmed.next}: another writer was there"
        )

    @property
    def audited(self) -> Audited | None:
        """What the auditor says of the shard, once it has looked; None where none does."""
        return self._auditor.audited if self._auditor is not None else None

    def observe(self) -> None:
        """Tell what the shard holds."""
        if self.state == "open":
            for name, value in self._core.gauges(self._shard).items():
                _GAUGES[name].labels(self._label).set(value)

    async def trim(self) -> None:
        """Trim the inbox behind what is confirmed; LogError where the broker can't."""
        before = self.confirmed.inbox_next - self._config.trim_margin
        if self.state == "open" and before > 0:
            first, _ = await self._log.bounds(self._inbox)
            if first < before:
                await self._log.trim(self._inbox, before)


_GAUGES: Final = {
    "open_orders": metrics.ORDERS_OPEN,
    "backordered_lines": metrics.BACKORDERS,
    "open_exceptions": metrics.EXCEPTIONS_OPEN,
    "dedupe_ids_dropped": metrics.DEDUPE_DROPPED,
}


async def _drop(task: asyncio.Task[Any]) -> None:
    """Cancel it, and let nobody hear of it."""
    task.cancel()
    await asyncio.wait([task])
    if not task.cancelled():
        task.exception()


def _check_whole(followed: FilterState, end: int) -> None:
    """What was followed before our ShardOpened stands before it; JournalError."""
    if followed.next > end:
        raise JournalError(
            f"a standby had read the journal's record at offset {followed.next - 1}, but its end"
            f" was {end}: it has lost records that were confirmed"
        )


def _unreadable(now_ms: int, names: list[str]) -> InputRecord:
    """Stands in the journal for a skipped inbox record that can't be read, or not be held there."""
    return {
        "type": "unreadable",
        "version": 1,
        "id": "",
        "source": "",
        "time_ms": now_ms,
        "data": {"input": names[-1]},
    }


def _where(cause: InputRecord, offset: int | None) -> str:
    if offset is None:
        return f"a tick ({cause['type']})"
    origin = cause.get("origin")
    if origin is None:
        return f"inbox record {offset}"
    return (
        f"{cause['type']} {cause['id']!r} of {cause['source']!r} "
        f"({origin[0]}/{origin[1]}@{origin[2]}, inbox offset {offset})"
    )


class Engine(Generic[S]):
    """The role: a ShardWriter for each shard that the group suggests; a Standby for the others."""

    def __init__(
        self,
        *,
        log: EventLog,
        group: Group | None,
        clock: Clock,
        randomness: Randomness,
        core: Core[S],
        owner: str,
        config: EngineConfig | None = None,
        standby: StandbyConfig | None = None,
    ) -> None:
        """Without a group it decides only what it takes over; without `standby` it follows none."""
        self._group = group
        self._clock = clock
        voids = Voids(log)
        self._config = settled = config or EngineConfig()
        self._all = frozenset(range(standby.shards)) if standby else frozenset[int]()
        self._taken: set[int] = set()  # over from owners that seemed dead, on no group's word
        self._cooling: defaultdict[int, float] = defaultdict(
            float
        )  # shards taken back by their owners: not before then
        self._doubts: defaultdict[int, Doubt] = defaultdict(partial(Doubt, clock))
        kept: dict[int, Snapshots[S]] = {}

        def snapshots(number: int) -> Snapshots[S] | None:
            """Of a shard, for as long as the process runs: it knows what it has written."""
            if core.snapshots is not None and number not in kept:
                kept[number] = Snapshots(
                    number,
                    log=log,
                    clock=clock,
                    randomness=randomness,
                    form=core.snapshots,
                    voids=voids,
                )
            return kept.get(number)

        self._shards: Workers[ShardWriter[S]] = Workers(
            "shard",
            lambda number: ShardWriter(
                number,
                log=log,
                clock=clock,
                randomness=randomness,
                core=core,
                owner=owner,
                config=settled,
                voids=voids,
                snapshots=snapshots(number),
                standby=next((one for one in self._standing if one.number == number), None),
                doubt=self._doubts[number],
            ),
        )
        self._standing: Workers[Standby[S]] = Workers(
            "standby",
            lambda number: Standby(
                core.replica(number, clock, voids),
                log=log,
                clock=clock,
                randomness=randomness,
                is_due=core.is_due,
                let_go=core.let_go,
                snapshots=snapshots(number),
                config=standby or StandbyConfig(0),
                voids=voids,
            ),
        )

    def states(self) -> dict[int, str]:
        """The state of each shard that this process has."""
        return self._shards.states()

    def standing(self) -> dict[int, str]:
        """The state of each shard that this process stands by for."""
        return self._standing.states()

    def halts(self) -> dict[int, Halt]:
        """The shards that halt here, and why."""
        return {one.number: one.halt for one in self._shards if one.halt is not None}

    def audited(self) -> dict[int, Audited]:
        """What auditors say of the shards that are open here, once they have looked."""
        told = {one.number: one.audited for one in self._shards if one.state == "open"}
        return {number: one for number, one in sorted(told.items()) if one and one.looks}

    async def run(self, stop: asyncio.Event) -> None:
        """Follow the group until told to stop; then finish what is on its way and leave.

        1. Shards that are new to us, by the group's word or since their owner seems dead: start
           their writers. Those no longer ours: tell them to stop. Stand by for all others.
        2. Now and then: gauges.
        3. Beside it, since a broker may be slow: the inboxes trimmed behind the journal; told
           which shards halt.
        """
        observe_at = 0.0
        trimming = asyncio.create_task(self._trim(), name="trim")
        telling = asyncio.create_task(self._tell(), name="tell")
        try:
            while not stop.is_set():
                ours = self._with_taken(await self._assigned())
                self._shards.follow(ours)
                self._standing.follow(set(self._all - ours))
                for beside in (trimming, telling):
                    if beside.done():
                        beside.result()  # a defect
                now = self._clock.monotonic()
                if now >= observe_at:
                    observe_at = now + 1.0
                    for writer in self._shards:
                        writer.observe()
        finally:
            trimming.cancel()
            telling.cancel()
            await asyncio.gather(self._shards.leave(), self._standing.leave())
            if self._group is not None:
                await self._group.close()
            await _drop(trimming)
            await _drop(telling)

    async def _tell(self) -> None:
        """Keep with the group's offsets which shards halt and why: other processes show it."""
        told: dict[int, Halt | None] = {}
        while self._group is not None:
            await self._clock.sleep(TELL_S)
            here = {one.number: one for one in self._shards if one.state in {"open", "halted"}}
            told = {number: halt for number, halt in told.items() if number in here}
            for number, writer in here.items():
                halt = writer.halt
                if number in told and told[number] == halt:
                    continue
                text = "" if halt is None else halt.to_metadata()
                kept = Checkpoint(writer.inbox_next, text)
                try:
                    await self._group.save({Partition("inbox", number): kept})
                    told[number] = halt
                except LogError as error:
                    _log.debug("could not tell of a shard", shard=number, what=str(error))

    async def _assigned(self) -> set[int]:
        """The shards that the group says are ours, a moment later."""
        wait_s = _LOOK_S if self._all else _LOOK_IDLE_S
        if self._group is None:
            await self._clock.sleep(wait_s)
            return set()
        return {one.number for one in await self._group.changes(wait_s)}

    def _with_taken(self, assigned: set[int]) -> set[int]:
        """What is assigned, and what was taken over until its owner takes it back."""
        now = self._clock.monotonic()
        for writer in self._shards:
            if writer.number in self._taken and writer.state == "pausing":
                self._taken.discard(writer.number)
                self._cooling[writer.number] = now + _COOLING_S
        for one in self._standing:
            known = self._taken | assigned
            cooling = now < self._cooling[one.number] or self._doubts[one.number].stands()
            if one.suspects and one.number not in known and not cooling:
                self._taken.add(one.number)
                metrics.TAKEOVERS.labels(str(one.number)).inc()
                _log.warning("takes over: the journal stands still", shard=one.number)
        self._taken -= assigned
        return assigned | self._taken

    async def _trim(self) -> None:
        while True:
            await self._clock.sleep(self._config.trim_s)
            for writer in list(self._shards):
                try:
                    await writer.trim()
                except LogError as error:
                    _log.warning("could not trim the inbox", shard=writer.number, what=str(error))
