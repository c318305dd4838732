"""Where a journal can't be read on, and how its readers would go on by a person's word."""

from collections.abc import Callable, Iterable
from dataclasses import replace
from typing import Any, Final, TypeAlias

from orchestrator.runtime.snapshots import Snapshots
from orchestrator.runtime.whole import Whole
from orchestrator.verification import Kept
from schemas import inbox
from schemas.journal import (
    Commit,
    Entry,
    FilterState,
    JournalError,
    NewerRecord,
    Verdict,
    digest_of,
)
from schemas.ports import EventLog, LogError, OutOfRange, Partition, Read
from schemas.voids import Void, Voids

SEQ_AHEAD: Final = 100_000
"""How far numbers of commits go on beyond the highest that is known to have been lost."""


_Origins: TypeAlias = dict[tuple[str, int], int]
"""An offset of each topic and partition."""


class NotVoidable(Exception):
    """No word leads on here. The message says what does."""


def a_void(
    shard: int,
    first: int,
    until: int,
    state: FilterState,
    what: str,
    *,
    lost: bool = False,
    digest: str = "",
) -> Void:
    """One that nobody has given his word for yet."""
    return Void(shard, first, until, lost, digest, state, what, reason="", by="", at_ms=0)


async def found_void(
    log: EventLog,
    shard: int,
    voids: Voids,
    snapshots: Snapshots[Any],
    kept: Iterable[Kept],
    advanced: Callable[[int, int], None] = lambda *_: None,
) -> Void | None:
    """What would have to be void for the journal to be read on; None where it can be.

    1. Its beginning is gone: begin with the oldest snapshot from behind the gap.
    2. A record contradicts what stands before it: it, and those right behind it that do as well.
    3. A snapshot, or a reader (`kept`: their checkpoints), is beyond its end or of another history
       than is there now: the journal lost its end. Go on where it ends, with numbers above all that
       was seen, so that no id means two things.
    4. The inbox lacks what is to be decided next: go on with what it has.

    NotVoidable, LogError.
    """
    partition = Partition("journal", shard)
    first, end = await log.bounds(partition)
    lost = voids.lost(shard)
    state = FilterState() if lost is None else lost.state
    if first > state.next:
        return await _beginning(shard, first, snapshots)
    seen = _Seen(shard, voids, kept)
    async for manifest in snapshots.manifests():
        seen.add(Kept(f"the snapshot at {manifest.offset}", manifest.filter))
    void: Void | None = None
    happened = state  # up to the newest commit
    newest: _Origins = {}
    async with Whole(log, partition, state.next) as reading:
        async for reads in reading:
            for read in reads:
                try:
                    state, record, verdict = voids.take(shard, state, read, folds=False)
                except NewerRecord as error:
                    raise NotVoidable(str(error)) from error
                except JournalError as error:
                    void = _extended(void, shard, state, read, str(error))
                    state = void.state
                    continue
                if void is not None:
                    return void
                if verdict is Verdict.VALID or not read.offset:
                    happened = state
                if verdict is Verdict.VALID and isinstance(record, Commit):
                    newest.update(filter(None, map(_origin, record.entries)))
                seen.compare(state)
            advanced(state.next, end)
    void = void or _end(shard, happened, seen.strayed(state))
    return void or await _inbox(log, shard, state, newest)


async def _beginning(shard: int, first: int, snapshots: Snapshots[Any]) -> Void:
    found = [one async for one in snapshots.manifests() if one.filter.next >= first]
    for one in reversed(found):
        try:
            snapshots.check(one)
            await snapshots.restore(one)
        except Exception as error:  # torn, or of another release: the next one may do
            if isinstance(error, LogError) and not isinstance(error, OutOfRange):
                raise
            continue
        what = f"the journal begins at offset {first}: the records before it are gone"
        return a_void(shard, 0, first, one.filter, what, lost=True)
    raise NotVoidable(
        f"the journal of shard {shard} begins at offset {first}, and there is no snapshot from"
        " behind that which this release can restore: what the shard held is known to nobody."
        " Restore the topic from a replica"
    )


def _extended(void: Void | None, shard: int, state: FilterState, read: Read, what: str) -> Void:
    after = replace(state, next=read.offset + 1)
    if void is not None:
        return void._replace(until=after.next, state=after)
    digest = digest_of(read.value or b"")
    after = replace(after, journal_id=state.journal_id or digest)  # also where it is the first
    return a_void(shard, read.offset, after.next, after, what, digest=digest)


def _end(shard: int, state: FilterState, others: list[Kept]) -> Void | None:
    """Where the journal lost its end, by what others have seen of it."""
    if not others:
        return None
    highest = max(others, key=lambda one: one.state.seq)
    seq = max(state.seq, highest.state.seq) + SEQ_AHEAD
    what = (
        f"{highest.whose} has read commit {highest.state.seq}, up to offset {highest.state.next},"
        f" which is not what the journal holds, up to commit {state.seq} and offset {state.next}:"
        " it lost its end"
    )
    after = replace(state, seq=seq)
    void = a_void(shard, state.next, state.next, after, what)
    return void._replace(strayed=tuple(sorted({one.state.digest for one in others})))


def _origin(entry: Entry) -> tuple[tuple[str, int], int] | None:
    """Where an input was taken in from: topic and partition, offset."""
    origin = entry["input"].get("origin")
    return None if origin is None else ((origin[0], origin[1]), origin[2])


async def _inbox(log: EventLog, shard: int, state: FilterState, newest: _Origins) -> Void | None:
    """Where the inbox lacks what is to be decided next. `newest`: decided last of each origin.

    Of an inbox that was shortened or made anew what it has may have been decided: it goes on with
    the first record that was not.
    """
    partition, at = Partition("inbox", shard), state.inbox_next
    goes_on = end = (await log.bounds(partition)).next
    async with Whole(log, partition, at if at <= end else 0) as reading:
        async for reads in reading:
            found = [one.offset for one in reads if at <= end or not _decided(one, newest)]
            if found:
                goes_on = found[0]
                break
    if goes_on == at or not state.next:
        return None
    what = f"the inbox of shard {shard} was decided up to offset {at}, and "
    if at > end:
        what += f"ends at {end}: it was shortened or made anew"
    else:
        what += f"has nothing before offset {goes_on}: what stood between is gone"
    after = replace(state, seq=state.seq + 1, inbox_next=goes_on)  # else it is none of another's
    return a_void(shard, state.next, state.next, after, what)


def _decided(read: Read, newest: _Origins) -> bool:
    try:
        record = inbox.decode(read.value or b"")
    except ValueError:
        return False
    if "origin" not in record:
        return True  # a person's order, about a halt that is over
    topic, number, offset, _ = record["origin"]
    return bool(offset <= newest.get((topic, number), -1))


class _Seen:
    """What others have seen of a journal, by where they stand, compared with what is there."""

    def __init__(self, shard: int, voids: Voids, kept: Iterable[Kept]) -> None:
        self._shard = shard
        self._voids = voids
        self._waiting: dict[int, list[Kept]] = {}
        self._strayed: list[Kept] = []
        for one in kept:
            self.add(one)

    def add(self, one: Kept) -> None:
        """Unless somebody has said already that it never happened."""
        try:
            self._voids.begin(self._shard, one.state, folds=False)
        except JournalError:
            return
        self._waiting.setdefault(one.state.next, []).append(one)

    def compare(self, state: FilterState) -> None:
        """Those who stand where the journal was read to."""
        for one in self._waiting.pop(state.next, ()):
            if one.state != state and one.state.journal_id == state.journal_id:
                self._strayed.append(one)

    def strayed(self, end: FilterState) -> list[Kept]:
        """Those of another history, at the end."""
        beyond = [one for at, ones in self._waiting.items() if at > end.next for one in ones]
        return [
            *self._strayed,
            *(one for one in beyond if one.state.journal_id == end.journal_id),
        ]
