"""The journal as an executable model: processes that open it, commit to it, and snapshot it.

What readers make of a record is decided by `schemas.journal.step` itself, over records that the
code encoded and decoded. Around it stand plain states: the log, what is on its way to it, and what
each process knows. Anything on its way may land now, later or never, with or without its sender
hearing of it, or twice; a process may crash at any moment and open the shard anew; a writer that
was replaced doesn't know it. So fewer steps do for more:

- *Nothing is dropped*: what never lands is what stays on its way.
- *Landing and its acknowledgement are one step.* Between them others may write, which changes
  neither what the acknowledgement says nor what its receiver may do meanwhile: only give up.
- *To crash is to open anew*, from any state; who never opens again is as good as gone.
- *Folding is one step.* What it reads was written before and never changes.
- Processes are alike, so that they stand in one order.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Final, NamedTuple

from schemas import journal
from schemas.journal import Commit, FilterState, JournalError, Opened, Verdict
from tests.model.explore import Interned, Step


class Rule(StrEnum):
    """What may be left out, to see what it is good for."""

    EPOCH = "a record of another epoch or nonce than the newest is void"
    NONCE = "a record of another nonce than the newest is void"
    REPEAT = "a seq that was seen is void"
    GAP = "a seq that skips one halts"
    HISTORY = "another prev or inbox_from than the newest commit left halts"
    TWO_CONTENTS = "a second content for the newest seq of an epoch halts"
    FUTURE = "a record of an epoch that nobody was seen to open halts"
    OWN_REPEAT = "any later ShardOpened ends the epoch, even a repeat of one's own"
    SEQ_GOES_ON = "seq goes on across epochs"
    CHECKPOINT = "a checkpoint is the whole filter state"
    NONCES = "an opening is told from others by its nonce"
    FRESH = "every attempt to open has a nonce of its own"
    FOLD_AFTER = "the journal is folded after the opening is appended, up to it"
    FOLD_UP_TO = "the fold ends at one's own opening"
    REFOLD = "who opens anew forgets what it knew"
    ACKNOWLEDGED = "a commit is confirmed only at the offset expected next"
    ONE_IN_FLIGHT = "nothing is sent behind an unconfirmed commit"
    ONE_CONTENT = "after an unknown outcome nothing else is sent for that seq"
    POSITION = "the inbox position is part of the commit"
    TRIM_CONFIRMED = "the inbox is trimmed behind confirmed commits only"
    SNAPSHOT_CONFIRMED = "snapshots are of confirmed state only"
    SNAPSHOT_WHOLE = "a snapshot without its manifest is no snapshot"
    SNAPSHOT_BEFORE = "a snapshot beyond one's own opening is not for it"
    CONTIGUOUS = "nothing but records takes offsets: no transactions, no compaction"


class Size(NamedTuple):
    """How much may happen."""

    inputs: int
    commits: int
    openings: int
    repeats: int = 1
    snapshots: int = 1
    ticks: bool = False  # commits may take no input, so that all can follow all


Journaled = Opened | Commit


class _Log:
    """A journal: the one before with a record more, what readers make of it, and what is true."""

    __slots__ = ("before", "broken", "commits", "filter", "length", "record", "taken")

    def __init__(self, before: "_Log | None", record: Journaled | None) -> None:
        self.before = before
        self.record = record
        self.length: int = before.length + 1 if before else 0
        self.filter: FilterState = before.filter if before else FilterState()
        self.commits: tuple[Commit, ...] = before.commits if before else ()  # that happened
        self.taken: int = before.taken if before else 0  # inputs
        self.broken: str | None = None

    def up_to(self, length: int) -> "_Log":
        log = self
        while log.length > length:
            assert log.before is not None
            log = log.before
        return log

    def opening(self, nonce: str) -> "_Log | None":
        """The journal up to and including the first opening of this nonce."""
        found, log = None, self
        while log.before is not None:
            if isinstance(log.record, Opened) and log.record.nonce == nonce:
                found = log
            log = log.before
        return found


class _Slot(NamedTuple):
    """What a process knows. `state`: what it takes for confirmed, once it is open."""

    nonce: str = ""
    open: bool = False
    state: FilterState | None = None
    sent: tuple[int, ...] = ()  # what it awaits
    snapping: bool = False  # between a snapshot's chunk and its manifest
    name: str = ""  # only where it matters which process it is


class _Stored(NamedTuple):
    """What stands outside the log."""

    snapshot: FilterState | None = None
    whole: bool = False
    position: int = 0  # in the inbox; only where commits don't hold it


class _Left(NamedTuple):
    commits: int
    openings: int
    repeats: int
    snapshots: int


_ALONE: Final = frozenset({Rule.REFOLD, Rule.FRESH})  # without these, processes differ for good

_FILTER_RULES: Final = frozenset(
    {
        Rule.EPOCH,
        Rule.NONCE,
        Rule.REPEAT,
        Rule.GAP,
        Rule.HISTORY,
        Rule.TWO_CONTENTS,
        Rule.FUTURE,
        Rule.OWN_REPEAT,
        Rule.SEQ_GOES_ON,
    }
)


def filter_without(
    without: frozenset[Rule], state: FilterState, offset: int, record: Journaled
) -> tuple[FilterState, Verdict]:
    """`schemas.journal.step` less some of its checks: each is shown what it wants to see."""
    if not without & _FILTER_RULES:
        return journal.step(state, offset, record)
    if isinstance(record, Opened):
        after, verdict = journal.step(state, offset, record)
        if Rule.OWN_REPEAT in without and record.nonce == state.nonce:
            after = replace(after, epoch=state.epoch)
        if Rule.SEQ_GOES_ON in without:
            after = replace(after, seq=0)
        return after, verdict
    shown = state
    if Rule.EPOCH in without:
        shown = replace(shown, epoch=record.epoch, nonce=record.nonce)
    if Rule.NONCE in without:
        shown = replace(shown, nonce=record.nonce)
    if Rule.REPEAT in without and record.seq <= shown.seq:
        shown = replace(shown, seq=record.seq - 1)
    if Rule.GAP in without and record.seq > shown.seq:
        shown = replace(shown, seq=record.seq - 1)
    if Rule.HISTORY in without and record.seq == shown.seq + 1:
        shown = replace(shown, digest=record.prev, inbox_next=record.inbox_from)
    if Rule.TWO_CONTENTS in without and record.seq == shown.seq:
        record = record._replace(digest=shown.digest)
    if Rule.FUTURE in without and record.epoch > shown.epoch:
        record = record._replace(epoch=-2)
    after, verdict = journal.step(shown, offset, record)
    if verdict is Verdict.VOID:
        return replace(state, next=offset + 1), verdict
    return replace(after, epoch=state.epoch, nonce=state.nonce), verdict


def _whole(state: FilterState) -> FilterState:
    return FilterState.from_json(state.to_json())


def _position_only(state: FilterState) -> FilterState:
    return replace(state, epoch=-1, nonce="")


@dataclass(frozen=True, slots=True)
class _Fields:
    """Where the parts of a packed state stand."""

    log: int = 30
    flight: int = 24
    slot: int = 20
    left: int = 10
    stored: int = 16


_BITS: Final = _Fields()
_SLOT_MASK: Final = (1 << _BITS.slot) - 1
_LEFT_MASK: Final = (1 << _BITS.left) - 1
_STORED_MASK: Final = (1 << _BITS.stored) - 1
_FLIGHT_MASK: Final = (1 << _BITS.flight) - 1


class JournalModel:
    """Two processes and a journal, by all rules but those in `without`.

    `checkpoint`: what a reader that stops keeps, as it reads it back.
    """

    def __init__(
        self,
        size: Size,
        without: frozenset[Rule] = frozenset(),
        checkpoint: Callable[[FilterState], FilterState] = _whole,
    ) -> None:
        self._size = size
        self._without = without
        self._checkpoint = _position_only if Rule.CHECKPOINT in without else checkpoint
        self._records: Interned[Journaled] = Interned(20)
        self._logs = [_Log(None, None)]
        self._landed: dict[tuple[int, int | None], int] = {}
        self._flights: Interned[tuple[int, ...]] = Interned(_BITS.flight)
        self._slots: Interned[_Slot] = Interned(_BITS.slot)
        self._lefts: Interned[_Left] = Interned(_BITS.left)
        self._stored: Interned[_Stored] = Interned(_BITS.stored)
        self._opened: dict[tuple[int, int, int], tuple[int, str | None] | None] = {}
        self._answered: dict[tuple[int, int], tuple[int, str | None]] = {}

    def start(self) -> int:
        """Nobody there, nothing written."""
        size = self._size
        names = ("A", "B") if self._without & _ALONE else ("", "")
        first, second = (self._slots(_Slot(name=name)) for name in names)
        left = _Left(size.commits, size.openings, size.repeats, size.snapshots)
        return self._pack(
            0, self._flights(()), first, second, self._lefts(left), self._stored(_Stored())
        )

    def steps(self, state: int) -> Iterator[Step]:
        """What processes may do, and what may land."""
        stored = state & _STORED_MASK
        left = (state := state >> _BITS.stored) & _LEFT_MASK
        second = (state := state >> _BITS.left) & _SLOT_MASK
        first = (state := state >> _BITS.slot) & _SLOT_MASK
        flight = (state := state >> _BITS.slot) & _FLIGHT_MASK
        log = state >> _BITS.flight
        yield from self._acts(log, flight, first, second, left, stored)
        if first != second:
            yield from self._acts(log, flight, second, first, left, stored)
        yield from self._lands(log, flight, first, second, left, stored)

    def _pack(self, log: int, flight: int, first: int, second: int, left: int, stored: int) -> int:
        if first > second:
            first, second = second, first
        packed = log << _BITS.flight | flight
        packed = (packed << _BITS.slot | first) << _BITS.slot | second
        return (packed << _BITS.left | left) << _BITS.stored | stored

    # --- a process

    def _acts(
        self, log: int, flight: int, number: int, other: int, left_id: int, stored_id: int
    ) -> Iterator[Step]:
        slot, left = self._slots.values[number], self._lefts.values[left_id]
        if left.openings:
            yield self._opens(log, flight, number, other, left_id, stored_id)
        if slot.nonce and not slot.open:
            found = self._finds_itself(log, number, stored_id)
            if found is not None:
                after, broken = found
                folds = (slot.nonce, "folds the journal and is open")
                yield self._step(folds, log, flight, after, other, left_id, stored_id, broken)
        if slot.open:
            assert slot.state is not None
            if left.commits:
                yield from self._sends(log, flight, number, other, left_id, stored_id)
            if left.snapshots or slot.snapping:
                yield from self._snaps(log, flight, number, other, left_id, stored_id)
            stored = self._stored.values[stored_id]
            if Rule.POSITION in self._without and stored.position != slot.state.inbox_next:
                position = self._stored(stored._replace(position=slot.state.inbox_next))
                what = (slot.nonce, "saves its inbox position", slot.state.inbox_next)
                yield self._step(what, log, flight, number, other, left_id, position)

    def _step(
        self,
        what: tuple[object, ...],
        log: int,
        flight: int,
        slot: int,
        other: int,
        left: int,
        stored: int,
        broken: str | None = None,
    ) -> Step:
        """A step, with processes that can do nothing any more made alike."""
        if not self._without & _ALONE:
            slot, other = self._settled(slot, left), self._settled(other, left)
        return Step(what, self._pack(log, flight, slot, other, left, stored), broken)

    def _settled(self, number: int, left_id: int) -> int:
        slot, left = self._slots.values[number], self._lefts.values[left_id]
        if not slot.open or slot.sent or slot.snapping or left.snapshots or slot.state is None:
            return number
        if left.commits and (self._size.ticks or slot.state.inbox_next < self._size.inputs):
            return number
        return self._slots(_Slot(name=slot.name))

    def _opens(
        self, log: int, flight: int, number: int, other: int, left_id: int, stored: int
    ) -> Step:
        slot, left = self._slots.values[number], self._lefts.values[left_id]
        nonce = f"n{self._size.openings - left.openings + 1}"
        if Rule.NONCES in self._without:
            nonce = "n"
        elif Rule.FRESH in self._without:
            nonce = f"n{slot.name}"
        known = None
        if Rule.FOLD_AFTER in self._without:
            known = self._logs[log].filter
        elif Rule.REFOLD in self._without:
            known = slot.state
        record = self._records(Opened("", nonce))
        after = self._slots(_Slot(nonce, state=known, name=slot.name))
        left_id = self._lefts(left._replace(openings=left.openings - 1))
        if slot.nonce:
            what: tuple[object, ...] = (slot.nonce, "gives up; its process opens as", nonce)
        else:
            what = ("a process opens as", nonce)
        return self._step(what, log, self._with(flight, record), after, other, left_id, stored)

    def _finds_itself(self, log: int, number: int, stored_id: int) -> tuple[int, str | None] | None:
        """The process once it has folded the journal up to its own opening; None: not there yet."""
        key = (log, number, stored_id)
        if key not in self._opened:
            self._opened[key] = self._fold(self._logs[log], number, self._stored.values[stored_id])
        return self._opened[key]

    def _fold(self, log: _Log, number: int, stored: _Stored) -> tuple[int, str | None] | None:
        slot = self._slots.values[number]
        own = log.opening(slot.nonce)
        if own is None:
            return None
        state = own.filter
        if Rule.FOLD_UP_TO in self._without:
            state = log.filter
        if slot.state is not None:  # it did not fold, or before it opened
            state, _ = journal.step(
                replace(slot.state, next=own.length - 1), own.length - 1, Opened("", slot.nonce)
            )
        broken = None
        snapshot = stored.snapshot
        if snapshot is not None and (stored.whole or Rule.SNAPSHOT_WHOLE in self._without):
            if snapshot.next <= own.length:
                state = self._fold_on(snapshot, own)
                if not stored.whole:
                    broken = f"{slot.nonce} opens on half a snapshot"
            elif Rule.SNAPSHOT_BEFORE in self._without:
                state = snapshot
        if Rule.POSITION in self._without:
            state = replace(state, inbox_next=stored.position)
        elif state != log.up_to(state.next).filter:
            broken = f"{slot.nonce} opens on another state than the journal's"
        if state.nonce != slot.nonce:
            broken = f"{slot.nonce} takes the epoch of {state.nonce} for its own"
        return self._slots(slot._replace(open=True, state=state)), broken

    def _fold_on(self, state: FilterState, log: _Log) -> FilterState:
        records = []
        rest = log
        while rest.length > state.next and rest.before is not None:
            records.append(rest.record)
            rest = rest.before
        state = self._checkpoint(state)
        for record in reversed(records):
            assert record is not None
            state, _ = filter_without(self._without, state, state.next, record)
        return state

    def _expected(self, slot: _Slot) -> FilterState:
        """What the process will know if all that it sent is confirmed where it expects it."""
        assert slot.state is not None
        state = slot.state
        for number in slot.sent:
            state, _ = filter_without(
                self._without, state, state.next, self._records.values[number]
            )
        return state

    def _sends(
        self, log: int, flight: int, number: int, other: int, left_id: int, stored: int
    ) -> Iterator[Step]:
        slot, left = self._slots.values[number], self._lefts.values[left_id]
        assert slot.state is not None
        base, kept = slot.state, slot.sent
        if slot.sent:
            if Rule.ONE_CONTENT in self._without:
                kept = ()
            elif Rule.ONE_IN_FLIGHT in self._without and len(slot.sent) == 1:
                base = self._expected(slot)
            else:
                return
        left_id = self._lefts(left._replace(commits=left.commits - 1))
        least = base.inbox_next + (not self._size.ticks)
        for inbox_next in range(least, self._size.inputs + 1):
            record = self._commit(base, inbox_next)
            if record in slot.sent:
                continue
            after = self._slots(slot._replace(sent=(*kept, record)))
            what = (slot.nonce, "sends", _named(self._records.values[record]))
            broken = None
            if Rule.TRIM_CONFIRMED in self._without and inbox_next > self._logs[log].taken:
                broken = f"input {inbox_next - 1} is trimmed, and no valid commit holds it"
            yield self._step(
                what, log, self._with(flight, record), after, other, left_id, stored, broken
            )

    def _commit(self, base: FilterState, inbox_next: int) -> int:
        value = journal.encode_commit(
            epoch=base.epoch,
            nonce=base.nonce,
            seq=base.seq + 1,
            inbox_from=base.inbox_next,
            inbox_next=inbox_next,
            prev=base.digest,
            now_ms=0,
            entries=[],
        )
        record = journal.decode(value, 0)
        assert isinstance(record, Commit)
        return self._records(record._replace(entries=()))  # type: ignore[arg-type]  # hashable

    def _snaps(
        self, log: int, flight: int, number: int, other: int, left_id: int, stored_id: int
    ) -> Iterator[Step]:
        slot, left = self._slots.values[number], self._lefts.values[left_id]
        stored = self._stored.values[stored_id]
        assert slot.state is not None
        if slot.snapping:
            after = self._slots(slot._replace(snapping=False))
            whole = self._stored(stored._replace(whole=True))
            what: tuple[object, ...] = (slot.nonce, "writes the snapshot's manifest")
            yield self._step(what, log, flight, after, other, left_id, whole)
        elif slot.state.seq or slot.sent:
            taken, broken = slot.state, None
            if Rule.SNAPSHOT_CONFIRMED in self._without:
                taken = self._expected(slot)
                journaled = self._logs[log]
                if taken.next > journaled.length or taken != journaled.up_to(taken.next).filter:
                    broken = f"a snapshot holds commit {taken.seq}, and the journal doesn't"
            if not taken.seq:
                return
            after = self._slots(slot._replace(snapping=True))
            left_id = self._lefts(left._replace(snapshots=left.snapshots - 1))
            half = self._stored(stored._replace(snapshot=taken, whole=False))
            what = (slot.nonce, "writes the chunks of a snapshot at commit", taken.seq)
            yield self._step(what, log, flight, after, other, left_id, half, broken)

    # --- the log

    def _with(self, flight: int, record: int) -> int:
        return self._flights(tuple(sorted((*self._flights.values[flight], record))))

    def _lands(
        self, log: int, flight: int, first: int, second: int, left_id: int, stored: int
    ) -> Iterator[Step]:
        records, left = self._flights.values[flight], self._lefts.values[left_id]
        if Rule.CONTIGUOUS in self._without and self._logs[log].record is not None:
            yield self._step(
                ("a transaction's marker takes an offset",),
                *(self._append(log, None), flight, first, second, left_id, stored),
            )
        again = self._lefts(left._replace(repeats=left.repeats - 1)) if left.repeats else 0
        for index, record in enumerate(records):
            if index and records[index - 1] == record:
                continue
            landed = self._append(log, record)
            broken = self._logs[landed].broken
            name = _named(self._records.values[record])
            less = self._flights((*records[:index], *records[index + 1 :]))
            ways = [(less, left_id, "lands")]
            if left.repeats:
                ways.append((flight, again, "lands, and will land again"))
            for after, left_after, how in ways:
                at = (name, how, "at", self._logs[log].length)
                stays = after == flight or records.count(record) > 1
                silent = [
                    one if stays or record not in self._slots.values[one].sent else self._lost(one)
                    for one in (first, second)
                ]
                yield self._step(
                    at, landed, after, silent[0], silent[1], left_after, stored, broken
                )
                for one, other in ((first, silent[1]), (second, silent[0])):
                    if self._slots.values[one].sent[:1] == (record,):
                        knows, wrong = self._answer(one, landed)
                        heard = (*at, "and its writer hears of it")
                        yield self._step(
                            heard, landed, after, knows, other, left_after, stored, broken or wrong
                        )

    def _append(self, log: int, record: int | None) -> int:
        key = (log, record)
        landed = self._landed.get(key)
        if landed is None:
            landed = self._landed[key] = len(self._logs)
            before = self._logs[log]
            if record is None:
                self._logs.append(_Log(before, None))
            else:
                self._logs.append(self._read(before, self._records.values[record]))
        return landed

    def _read(self, before: _Log, record: Journaled) -> _Log:
        """The log with one record more, as every reader takes it, and whether that is right."""
        log = _Log(before, record)
        offset = before.length
        try:
            log.filter, verdict = filter_without(self._without, before.filter, offset, record)
        except JournalError as error:
            log.broken = f"every reader halts: {error}"
            return log
        if offset:
            try:
                resumed = filter_without(
                    self._without, self._checkpoint(before.filter), offset, record
                )
            except JournalError as error:
                log.broken = f"a reader resumed at offset {offset} halts: {error}"
                return log
            if resumed[1] is not verdict or (
                self._checkpoint is _whole and resumed[0] != log.filter
            ):
                log.broken = f"a reader resumed at offset {offset} disagrees with the others"
        if isinstance(record, Commit) and verdict is Verdict.VALID:
            log.broken = log.broken or _wrong(before, record)
            log.commits = (*before.commits, record)
            log.taken = record.inbox_next
        return log

    def _answer(self, number: int, log: int) -> tuple[int, str | None]:
        """What a writer makes of hearing where the first that it awaits landed: at the end."""
        key = (number, log)
        if key not in self._answered:
            self._answered[key] = self._confirm(number, self._logs[log])
        return self._answered[key]

    def _confirm(self, number: int, log: _Log) -> tuple[int, str | None]:
        slot = self._slots.values[number]
        offset, record = log.length - 1, self._records.values[slot.sent[0]]
        assert slot.state is not None
        state = slot.state
        if Rule.ACKNOWLEDGED in self._without:
            state = replace(state, next=offset)
        if offset != state.next:
            return self._lost(number), None
        try:
            state, verdict = filter_without(self._without, state, offset, record)
        except JournalError:
            return self._lost(number), None
        if verdict is Verdict.VOID:
            return self._lost(number), None
        broken = None
        if Rule.POSITION not in self._without and state != log.filter:
            broken = (
                f"{slot.nonce} takes commit {state.seq} for confirmed, and readers pass it over"
            )
        return self._slots(slot._replace(state=state, sent=slot.sent[1:])), broken

    def _lost(self, number: int) -> int:
        """The process after it was fenced, or can hear no more: it may only open anew."""
        slot = self._slots.values[number]
        state = slot.state if Rule.REFOLD in self._without else None
        return self._slots(_Slot(name=slot.name, state=state))


def _wrong(before: _Log, commit: Commit) -> str | None:
    """What the laws say against a commit that readers take."""
    seen = len(before.commits)
    if commit.seq <= seen:
        return f"commit {commit.seq} has two valid contents"
    if commit.seq > seen + 1:
        return f"commit {seen + 1} is missing"
    if commit.inbox_from < before.taken:
        return f"input {commit.inbox_from} is taken twice"
    if commit.inbox_from > before.taken:
        return f"input {before.taken} is lost"
    if commit.prev != (before.commits[-1].digest if seen else journal.GENESIS_DIGEST):
        return f"commit {commit.seq} was decided on another history than the journal's"
    return None


def _named(record: Journaled) -> str:
    match record:
        case Opened():
            return f"opening {record.nonce}"
        case Commit():
            return (
                f"commit {record.seq} of {record.nonce}"
                f" (epoch {record.epoch}, inputs [{record.inbox_from}, {record.inbox_next}))"
            )
