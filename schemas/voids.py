"""Void lists: what of a journal doesn't count by a person's word, since it can't be read on.

A journal that contradicts itself halts its readers: a record that nobody of ours wrote, records
that are gone from its beginning, an end that was lost. A person may then say where all readers go
on. That is kept outside the journal, on a topic of its own, and read by all of them at start: so
they pass over the same, whatever release they are of.
"""

from collections.abc import Iterable, Sequence
from dataclasses import asdict
from typing import Any, Final, NamedTuple, Protocol

import orjson

from schemas.journal import (
    Commit,
    FilterState,
    JournalError,
    Opened,
    Verdict,
    decode,
    digest_of,
    step,
)
from schemas.ports import Clock, EventLog, LogError, Partition, Read, Record
from schemas.silence import Silence

VOIDS: Final = Partition("voids", 0)
VERSION: Final = 1
_READ_RECORDS: Final = 100
_WAIT_MS: Final = 250
_SILENCES: Final = 10  # reads that bring nothing before the list can't be read on
_LOOK_S: Final = 1.0


class Stop(Protocol):
    """Tells whether to stop."""

    def is_set(self) -> bool:
        """Whether it is time to."""
        ...


class Tell(Protocol):
    """Tells people something, as a logger does."""

    def __call__(self, event: str, /, *, shard: int, what: str) -> object:
        """Of a shard."""
        ...


class Void(NamedTuple):
    """A person's word on a journal: who has read up to `first` goes on with `state`.

    Offsets [first, until) are void or gone. Where they are gone, commits that happened may be among
    them (`lost`): who folds must begin with a snapshot. Where `until` is `first` the journal has
    lost its end there: what was read beyond it never happened, and `state.seq` lies above all that
    was seen of it, so that no id is given twice. `strayed`: digests of the commits that checkpoints
    then stood at that never happened; none where not the journal but the inbox lost something.
    """

    shard: int
    first: int
    until: int
    lost: bool
    digest: str  # of the record at `first`; "" where it is gone
    state: FilterState
    what: str  # was found
    reason: str
    by: str
    at_ms: int
    strayed: tuple[str, ...] = ()

    @property
    def end_lost(self) -> bool:
        """Whether the journal lost its end here."""
        return self.until == self.first

    @property
    def inbox_lost(self) -> bool:
        """Whether it is the inbox that lacks records: readers go on at `state.inbox_next` of it."""
        return self.end_lost and not self.strayed

    def refutes(self, state: FilterState) -> bool:
        """Whether a reader of this journal has read what never happened."""
        beyond = state.next > self.first and state.seq < self.state.seq
        return self.end_lost and (beyond or (state.seq > 0 and state.digest in self.strayed))

    def record(self) -> Record:
        """As the topic holds it."""
        value = {"version": VERSION, **self._asdict(), "state": asdict(self.state)}
        return Record(str(self.shard).encode(), orjson.dumps(value))


class Foreign(NamedTuple):
    """A person's word that a record of the void list is none: something else wrote there."""

    foreign: int  # its offset
    digest: str
    reason: str
    by: str
    at_ms: int

    def record(self) -> Record:
        """As the topic holds it."""
        return Record(b"foreign", orjson.dumps({"version": VERSION, **self._asdict()}))


class ForeignError(JournalError):
    """A record of the void list that no release can have written."""


def word_of(read: Read) -> Void | Foreign:
    """What a record of the void list says; JournalError where this release can't read it.

    Whatever a release writes there, it is a JSON object with a version. Anything else is foreign,
    and still no reader may pass over it by itself: what stood there before it was mangled may have
    been a word by which others go.
    """
    try:
        told: Any = orjson.loads(read.value or b"")
    except ValueError:
        told = None
    if not isinstance(told, dict) or type(told.get("version")) is not int:
        raise ForeignError(
            f"the void list can't be read at voids/0@{read.offset}: no release writes what stands"
            " there. Find out who did, and what was there before; where it is none of Headrace's,"
            f" `headrace shard foreign voids/0@{read.offset}` leads over it"
        )
    try:
        if told.pop("version") == VERSION:
            if "foreign" in told:
                return Foreign(**told)
            state, strayed = FilterState(**told["state"]), tuple(told["strayed"])
            return Void(**{**told, "state": state, "strayed": strayed})
    except (LookupError, TypeError):
        pass
    raise JournalError(
        f"a newer release wrote the void list at voids/0@{read.offset}: upgrade Headrace"
    )


def passed(
    voids: Iterable[Void], state: FilterState, read: Read | None, *, folds: bool
) -> FilterState:
    """Where a reader goes on: behind what is void at its place.

    `read`: the record that it reads next, where it knows it. JournalError where it read what never
    happened, and where it `folds` and lacks commits that are lost.
    """
    for void in voids:
        if not _of_this_journal(void, state, read):
            continue
        if void.end_lost:
            here = state.next == void.first and state.seq < void.state.seq
            if void.refutes(state):
                raise JournalError(
                    f"what was read up to offset {state.next} never happened: the journal of shard"
                    f" {void.shard} lost its end at {void.first}, as {void.by} found"
                )
        else:
            here = void.first <= state.next < void.until
        if not here:
            continue
        if void.lost and folds:
            raise JournalError(
                f"the journal of shard {void.shard} lacks its records up to offset {void.until},"
                f" so only a snapshot from behind them can be begun with: keep one, or restore the"
                " topic from a replica"
            )
        if not void.lost and state.digest != void.state.digest:
            raise JournalError(
                f"what was read up to offset {state.next} is another history than the one that"
                f" {void.by} looked at"
            )
        state = void.state
    return state


def _of_this_journal(void: Void, state: FilterState, read: Read | None) -> bool:
    """Not of one that had the same name before."""
    if state.next:
        return state.journal_id == void.state.journal_id
    if read is None:
        return False
    if void.lost:
        return read.offset >= void.until
    return digest_of(read.value or b"") == void.digest


def take(
    voids: Sequence[Void], shard: int, state: FilterState, read: Read, *, folds: bool
) -> tuple[FilterState, Opened | Commit | None, Verdict]:
    """A record through the filter; None for one that is void by a person's word. JournalError.

    `folds`: the reader makes something of every commit, and can't do without any.
    """
    if voids:
        state = passed(voids, state, read, folds=folds)
        if read.offset < state.next:
            return state, None, Verdict.VOID
    if read.offset and not state.next:
        _begun(voids, shard, read)  # says that the beginning is gone
    record = decode(read.value, read.offset)
    after, verdict = step(state, read.offset, record)
    return after, record, verdict


def _begun(voids: Sequence[Void], shard: int, read: Read) -> str:
    """The id of the journal whose first record held this is; JournalError where it can't be."""
    for void in voids:
        begins = not void.first and _of_this_journal(void, FilterState(), read)
        if begins and read.offset <= void.state.next:
            return void.state.journal_id
    if read.offset:
        raise JournalError(
            f"the journal of shard {shard} begins at offset {read.offset}: its first records are"
            " gone, so something deletes from it. Set its retention.ms and retention.bytes to -1"
            " and restore the topic from a replica; where that can't be done,"
            f" `headrace shard void {shard}` says how to go on"
        )
    record = decode(read.value, read.offset)
    return record.nonce if isinstance(record, Opened) else ""


class _Unread(NamedTuple):
    """A record of the list that this release can't read."""

    digest: str
    what: str
    foreign: bool


class Voids:
    """The void lists, as one process has read them. `read` them before any journal."""

    def __init__(self, log: EventLog) -> None:
        self._log = log
        self._next: int | None = None  # on the topic
        self._lists: dict[int, list[Void]] = {}
        self._unread: dict[int, _Unread] = {}
        """Records that this release can't read, by offset."""
        self._behind: list[Void] = []  # such a record: they don't count before that is known
        self._whole = False  # whether all was read once
        self._failed: dict[int, int] = {}  # how much was void when a shard could not be read on

    def of(self, shard: int) -> Sequence[Void]:
        """A shard's, in the order in which they were given."""
        return self._lists.get(shard, ())

    def hold(self, shard: int, offset: int) -> bool:
        """Whether what stands there is void."""
        return any(one.first <= offset < one.until for one in self.of(shard))

    def lost(self, shard: int) -> "Void | None":
        """The newest word that commits of a shard are lost; None where there is none."""
        return next((one for one in reversed(self.of(shard)) if one.lost), None)

    async def once(self) -> None:
        """Read them unless that was done before; LogError, JournalError."""
        if not self._whole:
            await self.read()

    async def read(self) -> None:
        """Read on to the end; LogError, JournalError where something there can't be read."""
        await self._read_on()
        for unread in self._unread.values():
            raise JournalError(unread.what)
        self._whole = True

    def foreign(self, offset: int) -> str | None:
        """The digest of a record that was read, and that no release can have written; else None."""
        unread = self._unread.get(offset)
        return unread.digest if unread is not None and unread.foreign else None

    def _take(self, read: Read) -> None:
        try:
            told = word_of(read)
        except JournalError as error:
            foreign = isinstance(error, ForeignError)
            digest = digest_of(read.value or b"")
            self._unread[read.offset] = _Unread(digest, str(error), foreign)
            return
        if isinstance(told, Void):
            self._behind.append(told)
        elif told.digest == self.foreign(told.foreign):
            del self._unread[told.foreign]
        if not self._unread:
            for void in self._behind:
                self._lists.setdefault(void.shard, []).append(void)
            self._behind.clear()

    async def _read_on(self) -> None:
        at = self._next or 0
        _, end = await self._log.bounds(VOIDS)
        if at < end:
            reader = await self._log.reader({VOIDS: at or None})
            try:
                for _ in range(_SILENCES):
                    while found := (await reader.read(_READ_RECORDS, _WAIT_MS)).get(VOIDS):
                        for one in found:
                            self._take(one)
                            self._next = at = one.offset + 1
                        if at >= end:
                            return
            finally:
                await reader.close()
            raise LogError(f"the void list can't be read on at {at}, its end is {end}")
        self._next = at

    async def more(self, shard: int, stop: Stop, clock: Clock, tell: Tell) -> None:
        """Wait until more is void in a shard, or for the stop, which is noticed within a second.

        `tell`: what is told, once, of a list that this release can't read: it waits on.
        """
        known, told = self._failed.pop(shard, len(self.of(shard))), ""
        whole = self._whole  # else that is what the shard waits for
        while not stop.is_set():
            try:
                await self.read()
                if not whole or len(self.of(shard)) > known:
                    return
            except LogError:
                pass  # it is asked again
            except JournalError as error:
                if str(error) != told:
                    told = str(error)
                    tell("a halted shard waits", shard=shard, what=told)
            await clock.sleep(_LOOK_S)

    def begin(self, shard: int, state: FilterState, *, folds: bool) -> FilterState:
        """Where who has read so far reads on; JournalError."""
        return passed(self.of(shard), state, None, folds=folds)

    def take(
        self, shard: int, state: FilterState, read: Read, *, folds: bool
    ) -> tuple[FilterState, Opened | Commit | None, Verdict]:
        """A record through the filter, as `take` says."""
        try:
            return take(self.of(shard), shard, state, read, folds=folds)
        except JournalError:
            self._failed[shard] = len(self.of(shard))
            raise

    async def journal_id(self, shard: int) -> str:
        """The nonce of a journal's first record, "" where it is empty or begins with no opening.

        JournalError where its beginning is gone, and nobody accepted that; LogError.
        """
        partition = Partition("journal", shard)
        first, end = await self._log.bounds(partition)
        if first == end:
            return ""
        reader = await self._log.reader({partition: None})
        silence = Silence(reader, partition, end)
        try:
            while True:
                for read in (await reader.read(1, _WAIT_MS)).get(partition, ()):
                    return _begun(self.of(shard), shard, read)
                if silence.is_the_end():
                    return ""
        finally:
            await reader.close()
