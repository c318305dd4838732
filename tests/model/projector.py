"""The projector as an executable model: processes that follow a journal, and their store.

The journal stands; `schemas.journal.step` says what of it happened. A process loads the checkpoint,
folds on from it and sends transactions, one after the other is answered. A transaction that was
sent may take effect now, later or never, heard of or not, and the store may crash and lose what it
committed last (`synchronous_commit` is off). Of what a transaction does, only two moments matter to
others: its compare-and-swap, which locks the row until it ends, and its commit.
"""

from collections.abc import Iterator
from enum import StrEnum
from typing import NamedTuple

from schemas import journal
from schemas.journal import Commit, FilterState, JournalError, Opened, Verdict
from tests.model.explore import Interned, Step


class ProjectorRule(StrEnum):
    """What may be left out."""

    FILTER = "only what the filter calls valid is written"
    SWAP = "a transaction writes only if the checkpoint is the one it began from"
    SWAP_FIRST = "the compare-and-swap is the first statement, and locks the row"
    TOGETHER = "rows and checkpoint change in one transaction"
    READ_AGAIN = "after an unknown outcome the checkpoint is read again"
    CHECKPOINT = "the checkpoint is the whole filter state"


class ProjectorSize(NamedTuple):
    """How much may happen, over the first so many of `journal_of`'s records."""

    starts: int
    records: int = 7
    losses: int = 1


Journaled = Opened | Commit


class _Store(NamedTuple):
    """What is committed: the checkpoint, as an offset into the journal, and commits with rows."""

    at: int = 0
    rows: tuple[int, ...] = ()


class _Transaction(NamedTuple):
    expected: int
    new: int
    rows: tuple[int, ...]
    swapped: bool = False


class _Process(NamedTuple):
    """`at`: the offset up to which it takes itself to have written; -1: it has not started."""

    at: int = -1
    sent: _Transaction | None = None


class _State(NamedTuple):
    stores: tuple[_Store, ...]  # the newest last; those before are what a crash may go back to
    running: tuple[_Transaction, ...]
    first: _Process
    second: _Process
    starts: int
    losses: int


def journal_of() -> tuple[Journaled, ...]:
    """Two epochs, a commit of the first that came late, one that came twice."""
    first, second = Opened("", "n1"), Opened("", "n2")
    one = _commit(0, "n1", 1, "")
    late = _commit(0, "n1", 2, one.digest)
    two = _commit(2, "n2", 2, one.digest)
    three = _commit(2, "n2", 3, two.digest)
    return first, one, second, late, two, two, three


def _commit(epoch: int, nonce: str, seq: int, prev: str) -> Commit:
    value = journal.encode_commit(
        epoch=epoch,
        nonce=nonce,
        seq=seq,
        inbox_from=seq - 1,
        inbox_next=seq,
        prev=prev,
        now_ms=0,
        entries=[],
    )
    record = journal.decode(value, 0)
    assert isinstance(record, Commit)
    return record


class ProjectorModel:
    """Two processes and a store, by all rules but those in `without`."""

    def __init__(
        self, size: ProjectorSize, without: frozenset[ProjectorRule] = frozenset()
    ) -> None:
        self._size = size
        self._without = without
        self._journal = journal_of()[: size.records]
        self._filters = [FilterState()]
        self._valid: list[int] = []  # the offset of each commit that happened
        for offset, record in enumerate(self._journal):
            state, verdict = journal.step(self._filters[-1], offset, record)
            self._filters.append(state)
            if verdict is Verdict.VALID:
                self._valid.append(offset)
        self._states: Interned[_State] = Interned(40)

    def start(self) -> int:
        """Nobody has started, nothing is written."""
        none = _Process()
        return self._states(
            _State((_Store(),), (), none, none, self._size.starts, self._size.losses)
        )

    def steps(self, state: int) -> Iterator[Step]:
        """What processes and the store may do."""
        now = self._states.values[state]
        for process, other in ((now.first, now.second), (now.second, now.first)):
            yield from self._acts(now, process, other)
        for transaction in now.running:
            yield from self._runs(now, transaction)
        if now.losses and len(now.stores) > 1:
            lost = now._replace(
                stores=now.stores[:-1],
                running=tuple(one for one in now.running if not one.swapped),
                losses=now.losses - 1,
            )
            yield self._step(("the store crashes, and loses its newest commit",), lost)

    def _step(self, what: tuple[object, ...], after: _State, broken: str | None = None) -> Step:
        first, second = sorted((after.first, after.second), key=repr)
        running = sorted(one for one in after.running if self._tells(after, one))
        after = after._replace(first=first, second=second, running=tuple(running))
        return Step(what, self._states(after), broken or self._wrong(after.stores[-1]))

    def _tells(self, now: _State, one: _Transaction) -> bool:
        """Whether a transaction may still write, or somebody awaits it."""
        return (
            one.swapped
            or ProjectorRule.SWAP in self._without
            or one.expected >= now.stores[0 if now.losses else -1].at
            or one in (now.first.sent, now.second.sent)
        )

    def _wrong(self, store: _Store) -> str | None:
        expected = tuple(offset for offset in self._valid if offset < store.at)
        if store.rows != expected:
            return (
                f"the checkpoint is at {store.at}, the rows are of the commits at"
                f" {list(store.rows)}, and the fold's are {list(expected)}"
            )
        return None

    def _acts(self, now: _State, process: _Process, other: _Process) -> Iterator[Step]:
        if now.starts:
            at = now.stores[-1].at
            after = now._replace(first=_Process(at), second=other, starts=now.starts - 1)
            yield self._step(("a process loads the checkpoint", at), after)
        if process.at < 0 or process.sent is not None:
            if process.sent is not None and ProjectorRule.READ_AGAIN in self._without:
                after = now._replace(first=_Process(process.sent.new), second=other)
                yield self._step(
                    ("its transaction's outcome unknown, a process goes on from", process.sent.new),
                    after,
                )
            return
        for new in range(process.at + 1, len(self._journal) + 1):
            rows = self._fold(process.at, new)
            sent = _Transaction(process.at, new, rows)
            running = (*now.running, sent)
            after = now._replace(running=running, first=_Process(process.at, sent), second=other)
            yield self._step(("a process sends a transaction from", process.at, "to", new), after)

    def _fold(self, at: int, new: int) -> tuple[int, ...]:
        """The commits whose rows a process writes that resumed at `at`."""
        state = self._filters[at]
        if ProjectorRule.CHECKPOINT in self._without:
            state = FilterState(
                journal_id=state.journal_id,
                next=state.next,
                seq=state.seq,
                inbox_next=state.inbox_next,
                digest=state.digest,
            )
        rows: list[int] = []
        for offset in range(at, new):
            record = self._journal[offset]
            try:
                state, verdict = journal.step(state, offset, record)
            except JournalError:
                return tuple(rows)
            if verdict is Verdict.VALID or (
                ProjectorRule.FILTER in self._without and isinstance(record, Commit)
            ):
                rows.append(offset)
        return tuple(rows)

    def _runs(self, now: _State, one: _Transaction) -> Iterator[Step]:
        store = now.stores[-1]
        rest = list(now.running)
        rest.remove(one)
        gone = now._replace(running=tuple(rest))
        name = f"the transaction from {one.expected} to {one.new}"
        if not one.swapped:
            if ProjectorRule.SWAP_FIRST not in self._without and any(
                other.swapped for other in now.running
            ):
                return  # it waits for the row
            if ProjectorRule.SWAP in self._without or store.at == one.expected:
                swapped = one._replace(swapped=True)
                after = gone._replace(running=(*rest, swapped))
                yield self._step((name, "finds its checkpoint"), after)
            else:
                what = (name, "finds another checkpoint, and writes nothing")
                yield from self._ends(gone, one, what, -1)
            return
        rows = (*store.rows, *one.rows)
        if ProjectorRule.TOGETHER in self._without:
            halfway = gone._replace(stores=(*now.stores, _Store(store.at, rows)))
            yield self._step((name, "commits its rows, and the store crashes"), halfway)
        broken = None
        if one.new <= store.at:
            broken = f"the checkpoint goes from {store.at} to {one.new}"
        written = gone._replace(stores=(*now.stores, _Store(one.new, rows))[-2:])
        yield from self._ends(written, one, (name, "commits"), one.new, broken)
        yield from self._ends(gone, one, (name, "fails"), -1)

    def _ends(
        self,
        after: _State,
        one: _Transaction,
        what: tuple[object, ...],
        at: int,
        broken: str | None = None,
    ) -> Iterator[Step]:
        """Its sender hears of it or never does; -1: it has to load the checkpoint again."""
        yield self._step(what, after, broken)
        sent = one._replace(swapped=False)
        for process, other in ((after.first, after.second), (after.second, after.first)):
            if process.sent == sent:
                told = after._replace(first=_Process(at), second=other)
                yield self._step((*what, "and its sender hears of it"), told, broken)
