"""The port Database in memory, and one with bad days."""

import asyncio
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import datetime
from typing import Any, Final

import orjson

from projections.tables import TABLES, Changes, Key, Row, Table
from schemas.journal import FilterState
from schemas.ports import DatabaseError
from tests.simulation.plan import Fault
from tests.simulation.world import SimHost, World

_APPLIES: Final = (Fault.DATABASE_FAILED, Fault.DATABASE_LATE, Fault.DATABASE_UNANSWERED)


class Tables:
    """Rows by table and key, changed as PostgreSQL changes them."""

    def __init__(self, tables: Mapping[str, Table] = TABLES) -> None:
        self._tables = tables
        self.rows: dict[str, dict[Key, Row]] = {name: {} for name in tables}

    def write(self, changes: Changes) -> None:
        """One transaction; DatabaseError, and nothing written, where PostgreSQL refuses it.

        It does where a row that is only ever added stands already, and what no column takes.
        """
        self._refuse_misfits(changes)
        keyed = {
            name: [(tuple(row[: self._tables[name].key]), row) for row in added]
            for name, added in changes.adds.items()
        }
        for name, pairs in keyed.items():
            keys = {key for key, _ in pairs}
            if len(keys) < len(pairs) or not keys.isdisjoint(self.rows[name]):
                raise DatabaseError(f"duplicate key in {name}")
        for name, pairs in keyed.items():
            self.rows[name].update(pairs)
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
                (name, tuple(row[: self._tables[name].key]))
                for name, added in changes.adds.items()
                for row in added
            ),
        ]

    def _refuse_misfits(self, changes: Changes) -> None:
        """DatabaseError where a value doesn't fit its column."""
        for name, puts in changes.puts.items():
            _refuse(self._tables[name], 0, puts.values())
        for patch, patches in changes.patches.items():
            table = self._tables[patch.table]
            _refuse(table, 0, patches)
            _refuse(table, patch.start, patches.values())
        for name, added in changes.adds.items():
            _refuse(self._tables[name], 0, added)


def _refuse(table: Table, start: int, rows: Iterable[Sequence[Any]]) -> None:
    if not rows:
        return
    columns = list(table.columns.items())[start:]
    kinds = [_FITS[kind] for _, kind in columns]
    required = len(kinds) if table.append else table.key - start
    for row in rows:
        for n, (value, fits) in enumerate(zip(row, kinds, strict=False)):
            if not (n >= required if value is None else fits(value)):
                column, kind = columns[n]
                raise DatabaseError(f"{table.name}.{column}, {kind}, can't hold {value!r:.100}")


def _is_text(value: Any) -> bool:  # noqa: ANN401 - whatever the fold made
    return isinstance(value, str) and "\0" not in value


def _is_integer(bits: int) -> Callable[[Any], bool]:
    least, beyond = -(1 << (bits - 1)), 1 << (bits - 1)
    return lambda value: type(value) is int and least <= value < beyond


def _is_time(value: Any) -> bool:  # noqa: ANN401 - whatever the fold made
    try:
        return datetime.fromisoformat(value).tzinfo is not None
    except (TypeError, ValueError):
        return False


def _is_json(value: Any) -> bool:  # noqa: ANN401 - whatever the fold made
    try:
        orjson.loads(value)
    except orjson.JSONDecodeError:
        return False
    return isinstance(value, str)


_FITS: Final[dict[str, Callable[[Any], bool]]] = {
    "text": _is_text,
    "integer": _is_integer(32),
    "bigint": _is_integer(64),
    "timestamptz": _is_time,
    "json": _is_json,
}


class Store:
    """What all hosts share: tables and checkpoints."""

    def __init__(self, world: World, tables: Mapping[str, Table] = TABLES) -> None:
        self.world = world
        self.tables = Tables(tables)
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

    async def let_go(self, shard: int) -> None:
        """Nothing is held."""

    def _late(
        self, shard: int, expected: FilterState | None, new: FilterState, changes: Changes
    ) -> None:
        self._store.apply(shard, expected, new, changes)
