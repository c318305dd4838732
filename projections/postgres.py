"""PostgreSQL behind the port Database: rows and checkpoint in one transaction, set by set."""

import asyncio
import os
import socket
from collections.abc import Awaitable, Callable, Iterable, Sequence
from contextlib import suppress
from typing import Any, TypeVar

import orjson
import psycopg

from projections import schema
from projections.failures import why
from projections.tables import PAST_TABLES, PATCHES, TABLES, Changes, Patch, Row, Table
from schemas.journal import FilterState
from schemas.ports import DatabaseError

_CONNECT_S = 10
_APPLY_S = 60.0  # a bound, not a target: a batch takes milliseconds

T = TypeVar("T")


class Postgres:
    """The read model's store. One connection a shard, dropped after any failure, and with it.

    Every piece of work is bounded by `bound_s`, whatever the server does: where it outlives that,
    or is cancelled, its connection is cut off, since the client by itself would first wait for the
    server to cancel. What was sent may still be committed: the outcome is unknown.

    Commits don't wait for the disk (`synchronous_commit` off): after a crash the checkpoint is as
    old as the rows, and the journal has the rest.
    """

    def __init__(self, url: str, schema_name: str, *, bound_s: float = _APPLY_S) -> None:
        self._url = url
        self._bound_s = bound_s
        self._options = schema.options(
            schema_name,
            synchronous_commit="off",
            statement_timeout=f"{int(bound_s * 1000)}",
            idle_in_transaction_session_timeout=f"{int(bound_s * 1000)}",
        )
        self._connections: dict[int, psycopg.AsyncConnection] = {}

    async def checkpoint(self, shard: int) -> FilterState | None:
        """The stored filter state of a shard, None where it has none."""

        async def read(connection: psycopg.AsyncConnection) -> FilterState | None:
            found = await connection.execute(
                "SELECT filter::text FROM shards WHERE shard = %s", (shard,)
            )
            row = await found.fetchone()
            return FilterState.from_json(row[0]) if row else None

        return await self._bounded(shard, "reading the checkpoint", read)

    async def apply(
        self, shard: int, expected: FilterState | None, new: FilterState, changes: Changes
    ) -> bool:
        """Write changes and checkpoint in one transaction if the stored checkpoint is `expected`.

        False, and nothing written, when it is not.

        Raises:
            DatabaseError: it failed, or whether it was committed is unknown: read the checkpoint.
        """

        async def write(connection: psycopg.AsyncConnection) -> bool:
            moved = False
            async with connection.transaction():
                moved = await _advance(connection, shard, expected, new, changes.owner)
                if not moved:
                    raise psycopg.Rollback
                await _write(connection, changes)
            return moved

        return await self._bounded(shard, f"writing up to commit {new.seq}", write)

    async def let_go(self, shard: int) -> None:
        """Close a shard's connection: a server has only so many."""
        await self._drop(shard)

    async def close(self) -> None:
        """Close the connections."""
        for shard in list(self._connections):
            await self._drop(shard)

    async def _bounded(
        self, shard: int, what: str, work: Callable[[psycopg.AsyncConnection], Awaitable[T]]
    ) -> T:
        """Do one piece of work on the shard's connection, which is dropped unless it went well.

        The work is a task of its own: only so can its connection be cut off before the client is
        told that it is over.
        """
        task = asyncio.create_task(self._work(shard, work), name=f"{what} of shard {shard}")
        went_well = False
        try:
            await asyncio.wait([task], timeout=self._bound_s)
            if not task.done():
                message = f"it did not answer within {self._bound_s:g} s"
                raise TimeoutError(message)
            result = task.result()
            went_well = True
        except (psycopg.Error, OSError, orjson.JSONEncodeError) as error:
            raise DatabaseError(
                f"PostgreSQL failed while {what} of shard {shard}: {why(error)}"
            ) from error
        else:
            return result
        finally:
            if not went_well:
                await self._give_up(shard, task)

    async def _work(self, shard: int, work: Callable[[psycopg.AsyncConnection], Awaitable[T]]) -> T:
        return await work(await self._connection(shard))

    async def _give_up(self, shard: int, task: asyncio.Task[Any]) -> None:
        connection = self._connections.get(shard)
        if not task.done() and connection is not None:
            _cut_off(connection)
        elif not task.done():
            task.cancel()  # it is still connecting
        await asyncio.gather(task, return_exceptions=True)
        await self._drop(shard)

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


def _cut_off(connection: psycopg.AsyncConnection) -> None:
    """End what a connection waits for, at once: as if the server had hung up."""
    with suppress(OSError, psycopg.Error), socket.socket(fileno=os.dup(connection.fileno())) as one:
        one.shutdown(socket.SHUT_RDWR)


async def _write(connection: psycopg.AsyncConnection, changes: Changes) -> None:
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
    """A PostgreSQL array literal: JSON's but for the brackets, where nothing is escaped."""
    text = orjson.dumps(values).decode()
    if "\\" not in text:
        return f"{{{text[1:-1]}}}"
    return "{" + ",".join(map(_element, values)) + "}"


def _element(value: str | int | None) -> str:
    if value is None:
        return "NULL"
    if isinstance(value, str):
        escaped = value.replace("\\", "\\\\").replace('"', '\\"')
        return f'"{escaped}"'
    return str(value)


def _copied(rows: list[Row]) -> bytes:
    """Rows in COPY's text format: ids, numbers, JSON, one-line sentences.

    None of these holds a tab, a line break or NULL.
    """
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
        f"INSERT INTO {table.name} ({', '.join(names)}) SELECT * FROM "  # noqa: S608 - names of our own
        f"{_unnested(table.columns)}"
        f" ON CONFLICT ({', '.join(key)}) DO UPDATE SET {rest}"
    )


def _patch_statement(patch: Patch) -> str:
    table = TABLES[patch.table]
    names = list(table.columns)
    key, changed = names[: table.key], names[patch.start : patch.end]
    columns = {name: table.columns[name] for name in (*key, *changed)}
    sets = ", ".join(f"{name} = new.{name}" for name in changed)
    same = " AND ".join(f"old.{name} = new.{name}" for name in key)
    return (
        f"UPDATE {table.name} AS old SET {sets} FROM "  # noqa: S608 - names of our own
        f"{_unnested(columns)} WHERE {same}"
    )


def _add_statement(table: Table) -> str:
    return f"COPY {table.name} ({', '.join(table.columns)}) FROM STDIN"


_PUT = {name: _put_statement(table) for name, table in TABLES.items() if not table.append}
_PATCH = {patch: _patch_statement(patch) for patch in PATCHES}
_ADD = {
    name: _add_statement(table) for name, table in (TABLES | PAST_TABLES).items() if table.append
}
