"""Intake as an executable model: origin partitions, processes that bring them to shards, the fold.

Every process takes itself for the owner of every origin partition: a group that only suggests can't
be worse. What is on its way lands now, later, never or twice, heard of or not, as in the journal's
model; who gives up begins again at the saved offsets. An inbox is what `evolve.begin`, the fold's
own first step, made of it: marks, and what it took.

The relay is the same loop: its origin is the journal, its targets are public topics, and ids do for
consumers what marks do for shards.
"""

from collections.abc import Iterator
from enum import StrEnum
from itertools import product
from typing import Final, NamedTuple

from events.decided import InputRecord
from orchestrator.core.evolve import begin
from orchestrator.core.shard import Shard
from tests.model.explore import Interned, Step


class IntakeRule(StrEnum):
    """What may be left out."""

    MARK = "what isn't above its origin's mark is a repeat"
    MARKS = "every origin partition has a mark of its own"
    ONE_BATCH = "nothing is sent behind an unacknowledged batch of a partition"
    ALL_HEARD = "offsets are saved only of what every target acknowledged"
    START_AGAIN = "after a failure intake begins again at its saved offsets"
    ONE_RECORD = "an origin has at most one inbox record a shard"


class IntakeSize(NamedTuple):
    """How much may happen. `origins`: for every origin partition, the shards of each record."""

    origins: tuple[tuple[tuple[int, ...], ...], ...]
    starts: int
    repeats: int = 1


class _Record(NamedTuple):
    origin: int
    offset: int
    part: int = 0


class _Batch(NamedTuple):
    shard: int
    records: tuple[_Record, ...]


class _Inbox(NamedTuple):
    """By origin partition: the mark, and how many of the records that are for it were taken."""

    marks: tuple[int, ...]
    taken: tuple[int, ...]


class _Process(NamedTuple):
    """`heard`: the offsets below which all targets acknowledged; empty before the first start.

    `sent`: what it awaits, by cycle: the offsets after it, the batches that are left.
    """

    heard: tuple[int, ...] = ()
    sent: tuple[tuple[tuple[int, ...], tuple[int, ...]], ...] = ()
    deaf: bool = False  # what it awaits landed, and it will never know


class _Outside(NamedTuple):
    saved: tuple[int, ...]
    starts: int
    repeats: int


_BITS: Final = 20
_MASK: Final = (1 << _BITS) - 1
_SHARDS: Final = 2


class IntakeModel:
    """Two processes and two shards, by all rules but those in `without`."""

    def __init__(self, size: IntakeSize, without: frozenset[IntakeRule] = frozenset()) -> None:
        self._size = size
        self._without = without
        parts = 2 if IntakeRule.ONE_RECORD in without else 1
        self._due = [
            [
                [
                    _Record(number, offset, part)
                    for offset, shards in enumerate(origin)
                    if shard in shards
                    for part in range(parts)
                ]
                for number, origin in enumerate(size.origins)
            ]
            for shard in range(_SHARDS)
        ]
        self._batches: Interned[_Batch] = Interned(_BITS)
        self._flights: Interned[tuple[int, ...]] = Interned(_BITS)
        self._inboxes: Interned[_Inbox] = Interned(_BITS)
        self._processes: Interned[_Process] = Interned(_BITS)
        self._outside: Interned[_Outside] = Interned(_BITS)
        self._told: dict[tuple[int, ...], int] = {}
        self._landed: dict[tuple[int, int], tuple[int, str | None]] = {}

    def start(self) -> int:
        """Nobody has started, nothing arrived."""
        none = (0,) * len(self._size.origins)
        inbox = self._inboxes(_Inbox((-1,) * len(none), none))
        idle = self._processes(_Process())
        outside = self._outside(_Outside(none, self._size.starts, self._size.repeats))
        return self._pack((inbox, inbox), self._flights(()), idle, idle, outside)

    def steps(self, state: int) -> Iterator[Step]:
        """What processes may do, and what may land."""
        outside = state & _MASK
        second = (state := state >> _BITS) & _MASK
        first = (state := state >> _BITS) & _MASK
        flight = (state := state >> _BITS) & _MASK
        inboxes = ((state >> 2 * _BITS), (state >> _BITS) & _MASK)
        yield from self._acts(inboxes, flight, first, second, outside)
        if first != second:
            yield from self._acts(inboxes, flight, second, first, outside)
        yield from self._lands(inboxes, flight, first, second, outside)

    def _pack(
        self, inboxes: tuple[int, ...], flight: int, first: int, second: int, outside: int
    ) -> int:
        if first > second:
            first, second = second, first
        if IntakeRule.MARK not in self._without:
            flight = self._telling(inboxes, flight, first, second)
        packed = 0
        for part in (*inboxes, flight, first, second, outside):
            packed = packed << _BITS | part
        return packed

    def _telling(self, inboxes: tuple[int, ...], flight: int, first: int, second: int) -> int:
        """What is on its way, but for what nobody awaits and whose records are all repeats."""
        key = (*inboxes, flight, first, second)
        if key not in self._told:
            self._told[key] = self._flights(
                tuple(
                    batch
                    for batch in self._flights.values[flight]
                    if self._awaits(first, batch)
                    or self._awaits(second, batch)
                    or self._land(inboxes[self._batches.values[batch].shard], batch)[0]
                    != inboxes[self._batches.values[batch].shard]
                )
            )
        return self._told[key]

    def _acts(
        self, inboxes: tuple[int, ...], flight: int, number: int, other: int, outside_id: int
    ) -> Iterator[Step]:
        process, outside = self._processes.values[number], self._outside.values[outside_id]
        if outside.starts:
            after = self._processes(_Process(outside.saved))
            fewer = self._outside(outside._replace(starts=outside.starts - 1))
            what: tuple[object, ...] = ("a process starts at the saved offsets", outside.saved)
            yield Step(what, self._pack(inboxes, flight, after, other, fewer))
        if not process.heard:
            return
        if not process.deaf and len(process.sent) <= (IntakeRule.ONE_BATCH in self._without):
            yield from self._takes(inboxes, flight, process, other, outside_id)
        if process.sent and IntakeRule.START_AGAIN in self._without:
            after = self._processes(_Process(process.sent[-1][0]))
            what = ("it gives up waiting, and goes on from", process.sent[-1][0])
            yield Step(what, self._pack(inboxes, flight, after, other, outside_id))
        reached = process.heard
        if process.sent and IntakeRule.ALL_HEARD in self._without:
            reached = process.sent[-1][0]
        if reached != outside.saved:
            saved = self._outside(outside._replace(saved=reached))
            what = ("a process saves the offsets", reached)
            yield Step(
                what,
                self._pack(inboxes, flight, number, other, saved),
                self._missing(inboxes, reached),
            )

    def _takes(
        self,
        inboxes: tuple[int, ...],
        flight: int,
        process: _Process,
        other: int,
        outside: int,
    ) -> Iterator[Step]:
        at = process.sent[-1][0] if process.sent else process.heard
        ends = [
            range(position, len(origin) + 1)
            for position, origin in zip(at, self._size.origins, strict=True)
        ]
        for reached in product(*ends):
            if reached == at:
                continue
            batches = tuple(
                self._batches(_Batch(shard, records))
                for shard in range(_SHARDS)
                if (records := self._between(shard, at, reached))
            )
            after = self._processes(_Process(process.heard, (*process.sent, (reached, batches))))
            sent = self._flights(tuple(sorted((*self._flights.values[flight], *batches))))
            names = "; ".join(_named(self._batches.values[one]) for one in batches)
            yield Step(("a process sends", names), self._pack(inboxes, sent, after, other, outside))

    def _between(
        self, shard: int, at: tuple[int, ...], reached: tuple[int, ...]
    ) -> tuple[_Record, ...]:
        return tuple(
            record
            for origin, due in enumerate(self._due[shard])
            for record in due
            if at[origin] <= record.offset < reached[origin]
        )

    def _missing(self, inboxes: tuple[int, ...], reached: tuple[int, ...]) -> str | None:
        """A record below the saved offsets that one of its shards never took."""
        for shard, number in enumerate(inboxes):
            for due, taken in zip(
                self._due[shard], self._inboxes.values[number].taken, strict=True
            ):
                for record in due[taken:]:
                    if record.offset < reached[record.origin]:
                        return f"{_record(record)} is saved as done, and shard {shard} has it not"
        return None

    def _lands(
        self,
        inboxes: tuple[int, ...],
        flight: int,
        first: int,
        second: int,
        outside_id: int,
    ) -> Iterator[Step]:
        batches, outside = self._flights.values[flight], self._outside.values[outside_id]
        for index, batch in enumerate(batches):
            if index and batches[index - 1] == batch:
                continue
            shard = self._batches.values[batch].shard
            inbox, broken = self._land(inboxes[shard], batch)
            arrived = (inbox, inboxes[1]) if shard == 0 else (inboxes[0], inbox)
            name = _named(self._batches.values[batch])
            less = self._flights((*batches[:index], *batches[index + 1 :]))
            ways = [(less, outside_id, "lands")]
            if outside.repeats:
                again = self._outside(outside._replace(repeats=outside.repeats - 1))
                ways.append((flight, again, "lands, and will land again"))
            for after, out, how in ways:
                deaf = [
                    one
                    if batch in self._flights.values[after] or not self._awaits(one, batch)
                    else self._lost(one)
                    for one in (first, second)
                ]
                yield Step((name, how), self._pack(arrived, after, deaf[0], deaf[1], out), broken)
                for one, rest in ((first, deaf[1]), (second, deaf[0])):
                    if self._awaits(one, batch):
                        yield Step(
                            (name, how, "and its sender hears of it"),
                            self._pack(arrived, after, self._hears(one, batch), rest, out),
                            broken,
                        )

    def _land(self, inbox: int, batch: int) -> tuple[int, str | None]:
        key = (inbox, batch)
        if key not in self._landed:
            state, broken = self._inboxes.values[inbox], None
            shard = self._batches.values[batch].shard
            for record in self._batches.values[batch].records:
                state, wrong = self._take(state, shard, record)
                broken = broken or wrong
            self._landed[key] = (self._inboxes(state), broken)
        return self._landed[key]

    def _take(self, inbox: _Inbox, number: int, record: _Record) -> tuple[_Inbox, str | None]:
        """The inbox's fold after a record, and what is wrong with it if it took that."""
        shard = Shard(number)  # without ids: a repeat that comes after the window
        for origin, mark in enumerate(inbox.marks):
            if IntakeRule.MARK not in self._without and mark >= 0:
                shard.marks["origin", self._mark_of(origin)] = mark
        one = self._mark_of(record.origin)
        cause: InputRecord = {
            "type": "order_placed",
            "version": 1,
            "id": "",
            "source": "",
            "time_ms": 0,
            "origin": ["origin", one, record.offset, 0],
            "data": {},
        }
        if begin(shard, cause) is not None:
            return inbox, None
        marks, taken = list(inbox.marks), list(inbox.taken)
        marks[one] = shard.marks["origin", one]
        due = self._due[number][record.origin]
        expected = taken[record.origin]
        place = due.index(record)
        taken[record.origin] = place + 1
        after = _Inbox(tuple(marks), tuple(taken))
        if place > expected:
            return after, f"{_record(due[expected])} is lost to shard {number}: its mark hides it"
        if place < expected:
            return after, f"{_record(record)} is taken twice by shard {number}"
        return after, None

    def _mark_of(self, origin: int) -> int:
        return 0 if IntakeRule.MARKS in self._without else origin

    def _awaits(self, number: int, batch: int) -> bool:
        return any(batch in batches for _, batches in self._processes.values[number].sent)

    def _hears(self, number: int, batch: int) -> int:
        process = self._processes.values[number]
        sent = [
            (reached, tuple(one for one in batches if one != batch))
            for reached, batches in process.sent
        ]
        heard = process.heard
        while sent and not sent[0][1]:
            heard = sent.pop(0)[0]
        return self._processes(_Process(heard, tuple(sent)))

    def _lost(self, number: int) -> int:
        """Who waits in vain may save what it heard of, and start again."""
        if self._without & {IntakeRule.START_AGAIN, IntakeRule.ALL_HEARD, IntakeRule.ONE_BATCH}:
            return number  # these do more
        return self._processes(_Process(self._processes.values[number].heard, deaf=True))


def _record(record: _Record) -> str:
    part = f" part {record.part + 1}" if record.part else ""
    return f"record {record.offset} of origin {record.origin}{part}"


def _named(batch: _Batch) -> str:
    records = ", ".join(f"{one.origin}@{one.offset}" for one in batch.records)
    return f"[{records}] for shard {batch.shard}"
