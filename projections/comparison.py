"""Comparing read models and past with a rebuild from the journals, table by table.

The rebuild goes into a schema of its own beside the live one and is dropped afterwards.
"""

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from typing import Any, Final, NamedTuple

import psycopg
from psycopg import sql

from projections import schema
from projections.failures import why
from projections.fold import READ_MODELS, Model
from projections.postgres import Postgres
from projections.rebuild import build, drop, first_of, lock
from projections.tables import Table
from schemas.journal import FilterState
from schemas.ports import DatabaseError, EventLog

_CONNECT_S: Final = 10
_SHOWN_KEYS: Final = 3
_ROWS: Final = 5_000


class Sum(NamedTuple):
    """A table's rows, whatever their order: how many, and the sum of their checksums."""

    rows: int
    checksum: int


class Compared(NamedTuple):
    """A table as it is, and as the journals make it. `differing`: some keys, where it differs."""

    table: str
    live: Sum
    rebuilt: Sum
    differing: tuple[str, ...]


class ReadModels:
    """Read models or past as they stood at one moment. `checkpoints` by shard."""

    def __init__(
        self,
        connection: psycopg.AsyncConnection,
        url: str,
        model: Model,
        schema_name: str,
        checkpoints: Mapping[int, FilterState],
    ) -> None:
        self.checkpoints = checkpoints
        self._connection = connection
        self._url = url
        self.model = model
        self._schema = schema_name

    async def compare(
        self, log: EventLog, advanced: Callable[[int, int, int], None] = lambda *_: None
    ) -> list[Compared]:
        """Rebuild every shard up to its checkpoint, and compare the tables.

        Raises:
            SchemaError: a rebuild or another comparison is running.
            DatabaseError: PostgreSQL failed.
            LogError, JournalError: a journal can't be read up to its checkpoint.
        """
        shadow = f"{self._schema}_verify"
        tables = self.model.tables.values()
        try:
            async with await psycopg.AsyncConnection.connect(
                self._url,
                autocommit=True,
                options=schema.options(shadow),
                connect_timeout=_CONNECT_S,
            ) as admin:
                await lock(admin)
                await drop(admin, shadow)
                await schema.migrate(admin, shadow, self.model.kind)
                try:
                    await self._rebuild(log, shadow, advanced)
                    return [await self._compare(admin, shadow, table) for table in tables]
                finally:
                    await drop(admin, shadow)
        except (psycopg.Error, OSError) as error:
            raise DatabaseError(f"PostgreSQL failed while comparing: {why(error)}") from error

    async def _rebuild(
        self, log: EventLog, shadow: str, advanced: Callable[[int, int, int], None]
    ) -> None:
        database = Postgres(self._url, shadow)
        try:
            async with asyncio.TaskGroup() as tasks:
                for shard, state in self.checkpoints.items():
                    tasks.create_task(
                        build(log, database, shard, advanced, self.model, until=state.next)
                    )
        except BaseExceptionGroup as failures:
            raise first_of(failures) from None
        finally:
            await database.close()

    async def _compare(self, admin: psycopg.AsyncConnection, shadow: str, table: Table) -> Compared:
        live = await _sum(self._connection, self._schema, table)
        rebuilt = await _sum(admin, shadow, table)
        differing: tuple[str, ...] = ()
        if live != rebuilt:
            async with admin.transaction():
                differing = await _differing(
                    _hashes(self._connection, self._schema, table), _hashes(admin, shadow, table)
                )
        return Compared(table.name, live, rebuilt, differing)


@asynccontextmanager
async def read_models(
    url: str, schema_name: str, model: Model = READ_MODELS
) -> AsyncIterator[ReadModels]:
    """What a model writes as it stands now, for as long as the block lasts, however it goes on.

    `schema_name` is the configured one.

    Raises:
        DatabaseError: PostgreSQL can't be reached, or has no such schema.
    """
    full_name = schema.named(schema_name, model.kind)
    try:
        async with (
            await psycopg.AsyncConnection.connect(
                url, options=schema.options(full_name), connect_timeout=_CONNECT_S
            ) as connection,
            connection.transaction(),
        ):
            await connection.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ, READ ONLY")
            await schema.check(connection, full_name, model.kind)
            found = await connection.execute("SELECT shard, filter::text FROM shards")
            checkpoints = {shard: FilterState.from_json(text) async for shard, text in found}
            yield ReadModels(connection, url, model, full_name, checkpoints)
    except (psycopg.Error, OSError) as error:
        raise DatabaseError(f"PostgreSQL failed while comparing: {why(error)}") from error


async def _sum(connection: psycopg.AsyncConnection, schema_name: str, table: Table) -> Sum:
    found = await connection.execute(
        sql.SQL(
            "SELECT count(*), coalesce(sum(hashtextextended(row::text, 0)::numeric), 0)::text"
            " FROM {} AS row"
        ).format(sql.Identifier(schema_name, table.name))
    )
    row = await found.fetchone()
    assert row is not None  # noqa: S101 - an aggregate has one
    return Sum(row[0], int(row[1]))


async def _hashes(
    connection: psycopg.AsyncConnection, schema_name: str, table: Table
) -> AsyncIterator[tuple[tuple[Any, ...], int]]:
    """Each row's key and checksum, by key."""
    key = sql.SQL(", ").join(map(sql.Identifier, list(table.columns)[: table.key]))
    async with connection.cursor(name="hashes") as cursor:
        cursor.itersize = _ROWS
        await cursor.execute(
            sql.SQL(
                "SELECT {key}, hashtextextended(t::text, 0) FROM {t} AS t ORDER BY {key}"
            ).format(key=key, t=sql.Identifier(schema_name, table.name))
        )
        async for *parts, checksum in cursor:
            yield tuple(parts), checksum


async def _differing(
    live: AsyncIterator[tuple[tuple[Any, ...], int]],
    rebuilt: AsyncIterator[tuple[tuple[Any, ...], int]],
) -> tuple[str, ...]:
    """The first keys that only one of them has, or whose rows differ."""
    found: list[str] = []
    one, other = await anext(live, None), await anext(rebuilt, None)
    while (one is not None or other is not None) and len(found) < _SHOWN_KEYS:
        if other is None or (one is not None and one[0] < other[0]):
            assert one is not None  # noqa: S101 - else the loop had ended
            found.append(f"{_said(one[0])} should not be there")
            one = await anext(live, None)
        elif one is None or other[0] < one[0]:
            found.append(f"{_said(other[0])} is missing")
            other = await anext(rebuilt, None)
        else:
            if one[1] != other[1]:
                found.append(f"{_said(one[0])} differs")
            one, other = await anext(live, None), await anext(rebuilt, None)
    return tuple(found)


def _said(key: tuple[Any, ...]) -> str:
    return "/".join(map(str, key))
