"""The topic of snapshots as an executable model: keys, manifests, and who removes what.

Two processes write snapshots of one shard in turns, neither knowing of the other, and may stop at
any moment. Compaction keeps a key's newest value. What must hold: once there was a whole snapshot,
there always is one.
"""

from collections.abc import Iterator
from enum import StrEnum
from typing import NamedTuple

from tests.model.explore import Interned, Step


class SnapshotRule(StrEnum):
    """What may be left out."""

    OWN_KEYS = "every snapshot has keys of its own: epoch and seq"
    MANIFEST_LAST = "the manifest is written after the chunks"
    AFTER = "older ones are removed after the new manifest is acknowledged"
    OWN_ONLY = "one removes only one's own older ones"


class _Process(NamedTuple):
    """`wrote`: of the snapshot under way. `own`: whole ones of its own that still stand."""

    name: str
    number: int = 0
    wrote: tuple[str, ...] = ()
    own: tuple[str, ...] = ()
    removed: bool = False


class _State(NamedTuple):
    kept: frozenset[tuple[str, str, str]]  # key, part, of which snapshot
    first: _Process
    second: _Process
    was_whole: bool


class SnapshotModel:
    """Two processes that each write `each` snapshots, by all rules but those in `without`."""

    def __init__(self, each: int = 2, without: frozenset[SnapshotRule] = frozenset()) -> None:
        self._each = each
        self._without = without
        self._order = ("chunk 1", "chunk 2", "manifest")
        if SnapshotRule.MANIFEST_LAST in without:
            self._order = ("manifest", "chunk 1", "chunk 2")
        self._states: Interned[_State] = Interned(40)

    def start(self) -> int:
        """Nothing is written."""
        return self._states(_State(frozenset(), _Process("A"), _Process("B"), was_whole=False))

    def steps(self, state: int) -> Iterator[Step]:
        """Either process writes or removes something."""
        now = self._states.values[state]
        for process, kept, what in self._acts(now.first, now.kept):
            yield self._step(now._replace(kept=kept, first=process), process.name, what)
        for process, kept, what in self._acts(now.second, now.kept):
            yield self._step(now._replace(kept=kept, second=process), process.name, what)

    def _step(self, after: _State, name: str, what: str) -> Step:
        whole = _whole(after.kept)
        broken = None if whole or not after.was_whole else "no whole snapshot is left"
        after = after._replace(was_whole=whole or after.was_whole)
        return Step((name, what), self._states(after), broken)

    def _acts(
        self, process: _Process, kept: frozenset[tuple[str, str, str]]
    ) -> Iterator[tuple[_Process, frozenset[tuple[str, str, str]], str]]:
        snapshot = f"{process.name}.{process.number}"
        key = snapshot if SnapshotRule.OWN_KEYS not in self._without else "fixed"
        complete = len(process.wrote) == len(self._order)
        may_remove = complete
        if SnapshotRule.MANIFEST_LAST in self._without:
            may_remove = "manifest" in process.wrote
        elif SnapshotRule.AFTER in self._without:
            may_remove = bool(process.wrote)
        if not complete and process.number < self._each:
            part = self._order[len(process.wrote)]
            others = frozenset(one for one in kept if one[:2] != (key, part))
            after = process._replace(wrote=(*process.wrote, part))
            yield after, others | {(key, part, snapshot)}, f"writes the {part} of {snapshot}"
        if may_remove and not process.removed:
            old = process.own
            if SnapshotRule.OWN_ONLY in self._without:
                old = tuple({one[0] for one in kept} - {key})
            left = frozenset(one for one in kept if one[0] not in old or one[0] == key)
            after = process._replace(own=(), removed=True)
            yield after, left, "removes " + (", ".join(sorted(old)) or "nothing")
        if complete:
            after = _Process(process.name, process.number + 1, (), (*process.own, key))
            yield after, kept, "goes on"


def _whole(kept: frozenset[tuple[str, str, str]]) -> bool:
    """Whether there is a manifest whose chunks are of the same snapshot (by their checksums)."""
    return any(
        (key, "chunk 1", snapshot) in kept and (key, "chunk 2", snapshot) in kept
        for key, part, snapshot in kept
        if part == "manifest"
    )
