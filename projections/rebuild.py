"""Rebuilding read models or past from the journals, while the old ones serve."""

import asyncio
from collections.abc import Callable
from typing import Final

import psycopg
from psycopg import sql

from projections import schema
from projections.failures import why
from projections.fold import READ_MODELS, Model
from projections.postgres import Postgres
from projections.projector import MAX_RECORDS, batches
from projections.schema import SchemaError
from schemas.journal import FilterState
from schemas.ports import DatabaseError, EventLog, Partition
from schemas.voids import Voids

_LOCK: Final = 0x68656165  # one rebuild at a time a database
_WAIT_MS: Final = 1_000
_CONNECT_S: Final = 10
_DROP_LOCK_MS: Final = 500  # below PostgreSQL's deadlock_timeout: we give way, not the readers
_DROP_ATTEMPTS: Final = 20


async def rebuild(
    log: EventLog,
    url: str,
    schema_name: str,
    shards: int,
    advanced: Callable[[int, int, int], None] = lambda *_: None,
    model: Model = READ_MODELS,
) -> int:
    """Build all that a model writes anew and put it in place; how many rows were written.

    `schema_name` is the configured one.

    1. An empty shadow schema `<schema>_rebuild`; what an earlier, broken rebuild left goes.
    2. Every shard's journal from beginning to end, through the same filter and fold as ever.
    3. One transaction renames: it waits for the projectors' transactions under way, and holds back
       new ones until it is done. They then find another checkpoint, reload it and go on from there.
    4. The old schema is dropped.

    `advanced(shard, next offset, end)` hears of the progress.

    Raises:
        SchemaError: another rebuild is running.
        DatabaseError: PostgreSQL failed; the old read models stand.
        LogError: the journal can't be read; the old read models stand.
        JournalError: a journal contradicts itself; the old read models stand.
    """
    live = schema.named(schema.checked_name(schema_name), model.kind)
    shadow = f"{live}_rebuild"
    try:
        async with await psycopg.AsyncConnection.connect(
            url, autocommit=True, connect_timeout=_CONNECT_S
        ) as admin:
            await lock(admin)
            await drop(admin, shadow)
            await schema.migrate(admin, shadow, model.kind)
            database = Postgres(url, shadow)
            try:
                async with asyncio.TaskGroup() as tasks:
                    built = [
                        tasks.create_task(build(log, database, shard, advanced, model))
                        for shard in range(shards)
                    ]
            except BaseExceptionGroup as failures:
                raise first_of(failures) from None
            finally:
                await database.close()
            await _swap(admin, shadow, live)
            return sum(task.result() for task in built)
    except (psycopg.Error, OSError) as error:
        raise DatabaseError(f"PostgreSQL failed while rebuilding: {why(error)}") from error


def first_of(failures: BaseExceptionGroup[BaseException]) -> BaseException:
    """The first failure of tasks that failed together."""
    first = failures.exceptions[0]
    return first_of(first) if isinstance(first, BaseExceptionGroup) else first


async def lock(admin: psycopg.AsyncConnection) -> None:
    """Keep others from building beside it, for as long as the connection lasts; SchemaError."""
    found = await admin.execute("SELECT pg_try_advisory_lock(%s)", (_LOCK,))
    if await found.fetchone() != (True,):
        raise SchemaError(
            "another `headrace rebuild` or `headrace verify` is running on this database: wait for"
            " its end"
        )


async def build(
    log: EventLog,
    database: Postgres,
    shard: int,
    advanced: Callable[[int, int, int], None],
    model: Model,
    *,
    until: int | None = None,
) -> int:
    """Write a shard's rows from its journal, up to an offset or its end; how many rows."""
    journal = Partition("journal", shard)
    end = (await log.bounds(journal)).next if until is None else until
    reader = await log.reader({journal: None})
    state, confirmed, rows = FilterState(), None, 0
    voids = Voids(log)
    await voids.read()
    try:
        while state.next < end:
            records = (await reader.read(MAX_RECORDS, _WAIT_MS)).get(journal, [])
            if until is None:
                end = max(end, reader.high_water(journal) or 0)
            known = [one for one in records if one.offset < end]
            for batch in batches(shard, state, known, voids.of(shard), model):
                if batch is None or batch.state == state:
                    continue
                if not await database.apply(shard, confirmed, batch.state, batch.changes):
                    raise DatabaseError("somebody else writes to the shadow schema")
                confirmed = state = batch.state
                rows += len(batch.changes)
            advanced(shard, state.next, end)
    finally:
        await reader.close()
    return rows


async def _swap(admin: psycopg.AsyncConnection, shadow: str, live: str) -> None:
    old = f"{live}_old"
    await drop(admin, old)
    names = {
        "live": sql.Identifier(live),
        "old": sql.Identifier(old),
        "shadow": sql.Identifier(shadow),
        "shards": sql.Identifier(live, "shards"),
    }
    async with admin.transaction():
        # Every writer's first statement needs this table: none is half-way when the names change.
        if await schema.version(admin, live):
            await admin.execute(
                sql.SQL("LOCK TABLE {shards} IN ACCESS EXCLUSIVE MODE").format(**names)
            )
            await admin.execute(sql.SQL("ALTER SCHEMA {live} RENAME TO {old}").format(**names))
        await admin.execute(sql.SQL("ALTER SCHEMA {shadow} RENAME TO {live}").format(**names))
    await drop(admin, old)


async def drop(admin: psycopg.AsyncConnection, name: str) -> None:
    """Drop a schema; questions that are still being answered from it come first."""
    for attempt in range(1, _DROP_ATTEMPTS + 1):
        try:
            async with admin.transaction():
                await admin.execute(f"SET LOCAL lock_timeout = {_DROP_LOCK_MS}".encode())
                await admin.execute(
                    sql.SQL("DROP SCHEMA IF EXISTS {} CASCADE").format(sql.Identifier(name))
                )
        except psycopg.errors.LockNotAvailable:
            if attempt == _DROP_ATTEMPTS:
                raise
        else:
            return
