"""The port Database in memory, and one with bad days."""

import asyncio
from collections.abc import Callable
from typing import Any, Final

from projections.tables import TABLES, Changes, Key, Row
from schemas.journal import FilterState
from schemas.ports import DatabaseError
from tests.simulation.plan import Fault
from tests.simulation.world import SimHost, World

_APPLIES: Final = (Fault.DATABASE_FAILED, Fault.DATABASE_LATE, Fault.DATABASE_UNANSWERED)


class Tables:
    """Rows by table and key, changed as PostgreSQL changes them."""

    def __init__(self) -> None:
        self.rows: dict[str, dict[Key, Row]] = {name: {} for name in TABLES}

    def write(self, changes: Changes) -> None:
        """One transaction; DatabaseError where a row that is only ever added stands already."""
        for name, added in changes.adds.items():
            width = TABLES[name].key
            keys: list[Key] = [tuple(row[:width]) for row in added]
            if len({*keys}) < len(keys) or any(one in self.rows[name] for one in keys):
                raise DatabaseError(f"duplicate key in {name}")
            self.rows[name].update(zip(keys, added, strict=True))
        for name, puts in changes.puts.items():
            rows = self.rows[name]
            for key, row in puts.items():
                rows[key] = list(row)
        for patch, patches in changes.patches.items():
            rows = self.rows[patch.table]
            for key, values in patches.items():
                if key in rows:
                    rows[key][patch.start : patch.end] = values

    def touched(self, changes: Changes) -> list[tuple[str, Key]]:
        """The rows that changes concern."""
        return [
            *((name, key) for name, puts in changes.puts.items() for key in puts),
            *((patch.table, key) for patch, keys in changes.patches.items() for key in keys),
            *(
                (name, tuple(row[: TABLES[name].key]))
                for name, added in changes.adds.items()
                for row in added
            ),
        ]


class Store:
    """What all hosts share: tables and checkpoints."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.tables = Tables()
        self.checkpoints: dict[int, FilterState] = {}
        self.written: Callable[[int, FilterState | None, FilterState, Changes], None] = (
            lambda _shard, _old, _new, _changes: None
        )

    def apply(
        self, shard: int, expected: FilterState | None, new: FilterState, changes: Changes
    ) -> bool:
        """Compare and swap the checkpoint, and write the rows, at once."""
        before = self.checkpoints.get(shard)
        if _identity(before) != _identity(expected):
            return False
        self.tables.write(changes)
        self.checkpoints[shard] = new
        self.written(shard, before, new, changes)
        return True


def _identity(state: FilterState | None) -> Any:  # noqa: ANN401 - what PostgreSQL compares
    return state and (state.journal_id, state.seq, state.next)


class SimDatabase:
    """The store as one host reaches it."""

    def __init__(self, store: Store, host: SimHost) -> None:
        self._store = store
        self._world = store.world
        self._host = host

    async def checkpoint(self, shard: int) -> FilterState | None:
        """The stored filter state of a shard."""
        await self._world.suspend(self._host, "before", "checkpoint")
        if self._world.strikes(Fault.DATABASE_FAILED):
            raise DatabaseError("no connection")
        found = self._store.checkpoints.get(shard)
        await self._world.suspend(self._host, "after", "checkpoint")
        return found

    async def apply(
        self, shard: int, expected: FilterState | None, new: FilterState, changes: Changes
    ) -> bool:
        """Write changes and checkpoint in one transaction if the stored one is `expected`."""
        world, store = self._world, self._store
        await world.suspend(self._host, "before", "apply")
        fault = world.strikes_one_of(_APPLIES)
        if fault is Fault.DATABASE_FAILED:
            raise DatabaseError("the transaction failed")
        if fault is Fault.DATABASE_LATE:
            world.at(5 * world.chance.random(), self._late, shard, expected, new, changes)
            await asyncio.sleep(2 * world.chance.random())
            raise DatabaseError("no answer")
        moved = store.apply(shard, expected, new, changes)
        if fault is Fault.DATABASE_UNANSWERED:
            raise DatabaseError("no answer: it may be committed")
        await world.suspend(self._host, "after", "apply")
        return moved

    def _late(
        self, shard: int, expected: FilterState | None, new: FilterState, changes: Changes
    ) -> None:
        self._store.apply(shard, expected, new, changes)
