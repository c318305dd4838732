"""PostgreSQL behind the port Database: rows and checkpoint in one transaction, set by set, never row by row."""

import asyncio
from collections.abc import Iterable, Sequence
from typing import Any

import orjson
import psycopg

from projections import schema
from projections.tables import PATCHES, TABLES, Changes, Key, Patch, Row, Table
from schemas.journal import FilterState
from schemas.ports import DatabaseError

_CONNECT_S = 10
_APPLY_S = 60.0  # a bound, not a target: a batch takes milliseconds


class Postgres:
    """The read model's store. One connection a shard, opened when needed, dropped after any failure.

    Commits don't wait for the disk (`synchronous_commit` off): after a crash the checkpoint is as old as the rows, and
    the journal has the rest.
    """

    def __init__(self, url: str, schema_name: str) -> None:
        self._url = url
        self._options = schema.options(
            schema_name,
            synchronous_commit="off",
            statement_timeout=f"{int(_APPLY_S * 1000)}",
            idle_in_transaction_session_timeout=f"{int(_APPLY_S * 1000)}",
        )
        self._connections: dict[int, psycopg.AsyncConnection] = {}

    async def checkpoint(self, shard: int) -> FilterState | None:
        """The stored filter state of a shard, None where it has none; DatabaseError when it can't be read."""
        return await self._bounded(shard, self._checkpoint(shard), "reading the checkpoint")

    async def apply(
        self, shard: int, expected: FilterState | None, new: FilterState, changes: Changes
    ) -> bool:
        """Write changes and checkpoint in one transaction if the stored checkpoint is `expected`.

        False, and nothing written, when it is not. DatabaseError when the outcome is unknown or the write failed:
        read the checkpoint again.
        """
        return await self._bounded(
            shard, self._apply(shard, expected, new, changes), f"writing commit {new.seq}"
        )

    async def close(self) -> None:
        """Close the connections."""
        connections = list(self._connections.values())
        self._connections.clear()
        for connection in connections:
            await connection.close()

    async def _bounded(self, shard: int, work: Any, what: str) -> Any:
        whole = False
        try:
            async with asyncio.timeout(_APPLY_S):
                result = await work
            whole = True
        except (psycopg.Error, OSError, TimeoutError) as error:
            raise DatabaseError(
                f"PostgreSQL failed while {what} of shard {shard}: {str(error).strip() or type(error).__name__}"
            ) from error
        finally:
            if not whole:
                await self._drop(shard)
        return result

    async def _drop(self, shard: int) -> None:
        connection = self._connections.pop(shard, None)
        if connection is not None:
            await connection.close()

    async def _connection(self, shard: int) -> psycopg.AsyncConnection:
        connection = self._connections.get(shard)
        if connection is None:
            connection = await psycopg.AsyncConnection.connect(
                self._url,
                autocommit=True,
                options=self._options,
                connect_timeout=_CONNECT_S,
                application_name=f"headrace projector {shard}",
                prepare_threshold=1,
            )
            self._connections[shard] = connection
        return connection

    async def _checkpoint(self, shard: int) -> FilterState | None:
        connection = await self._connection(shard)
        found = await connection.execute(
            "SELECT filter::text FROM shards WHERE shard = %s", (shard,)
        )
        row = await found.fetchone()
        return FilterState.from_json(row[0]) if row else None

    async def _apply(
        self, shard: int, expected: FilterState | None, new: FilterState, changes: Changes
    ) -> bool:
        connection = await self._connection(shard)
        async with connection.transaction() as transaction:
            if not await _advance(connection, shard, expected, new, changes.owner):
                raise psycopg.Rollback(transaction)
            for name, puts in changes.puts.items():
                if puts:
                    await connection.execute(_PUT[name], _columns(puts.values()))
            for patch, patches in changes.patches.items():
                if patches:
                    rows = [(*key, *values) for key, values in patches.items()]
                    await connection.execute(_PATCH[patch], _columns(rows))
            for name, added in changes.adds.items():
                if added:
                    async with connection.cursor().copy(_ADD[name]) as copy:
                        await copy.write(_copied(added))
            return True
        return False


async def _advance(
    connection: psycopg.AsyncConnection,
    shard: int,
    expected: FilterState | None,
    new: FilterState,
    owner: str | None,
) -> bool:
    """The compare-and-swap of the checkpoint: whether it was `expected`."""
    values = (
        new.journal_id,
        new.seq,
        new.next,
        new.epoch,
        new.inbox_next,
        new.to_json(),
        owner,
        shard,
    )
    if expected is None:
        done = await connection.execute(
            "INSERT INTO shards (journal_id, seq, next, epoch, inbox_next, filter, owner, shard)"
            " VALUES (%s, %s, %s, %s, %s, %s, %s, %s) ON CONFLICT DO NOTHING",
            values,
        )
    else:
        done = await connection.execute(
            "UPDATE shards SET journal_id = %s, seq = %s, next = %s, epoch = %s, inbox_next = %s,"
            " filter = %s, owner = coalesce(%s, owner)"
            " WHERE shard = %s AND journal_id = %s AND seq = %s AND next = %s",
            (*values, expected.journal_id, expected.seq, expected.next),
        )
    return done.rowcount == 1


def _columns(rows: Iterable[Sequence[Any]]) -> list[str]:
    """Rows as one PostgreSQL array literal a column."""
    return [_array(column) for column in zip(*rows, strict=True)]


def _array(values: Sequence[Any]) -> str:
    """A PostgreSQL array literal: JSON's is the same but for the brackets, as long as nothing is escaped."""
    text = orjson.dumps(values).decode()
    if "\\" not in text:
        return f"{{{text[1:-1]}}}"
    return "{" + ",".join(map(_element, values)) + "}"


def _element(value: Any) -> str:
    if value is None:
        return "NULL"
    if isinstance(value, str):
        escaped = value.replace("\\", "\\\\").replace('"', '\\"')
        return f'"{escaped}"'
    return str(value)


def _copied(rows: list[Row]) -> bytes:
    """Rows in COPY's text format. Values hold no tab, no line break (ids, numbers, JSON, one-line sentences), no NULL."""
    text = "\n".join(["\t".join(map(str, row)) for row in rows])
    return (text.replace("\\", "\\\\") + "\n").encode()


def _unnested(columns: dict[str, str]) -> str:
    arrays = ", ".join(f"%s::{kind}[]" for kind in columns.values())
    return f"unnest({arrays}) AS new ({', '.join(columns)})"


def _put_statement(table: Table) -> str:
    names = list(table.columns)
    key = names[: table.key]
    rest = ", ".join(f"{name} = excluded.{name}" for name in names[table.key :])
    return (
        f"INSERT INTO {table.name} ({', '.join(names)}) SELECT * FROM {_unnested(table.columns)}"
        f" ON CONFLICT ({', '.join(key)}) DO UPDATE SET {rest}"
    )


def _patch_statement(patch: Patch) -> str:
    table = TABLES[patch.table]
    names = list(table.columns)
    key, changed = names[: table.key], names[patch.start : patch.end]
    columns = {name: table.columns[name] for name in (*key, *changed)}
    sets = ", ".join(f"{name} = new.{name}" for name in changed)
    same = " AND ".join(f"old.{name} = new.{name}" for name in key)
    return f"UPDATE {table.name} AS old SET {sets} FROM {_unnested(columns)} WHERE {same}"


def _add_statement(table: Table) -> str:
    return f"COPY {table.name} ({', '.join(table.columns)}) FROM STDIN"


_PUT = {name: _put_statement(table) for name, table in TABLES.items() if not table.append}
_PATCH = {patch: _patch_statement(patch) for patch in PATCHES}
_ADD = {name: _add_statement(table) for name, table in TABLES.items() if table.append}
