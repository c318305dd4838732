"""A PostgreSQL process that is stopped and answers nothing: no bound is outlived, nothing hangs."""

import asyncio
import os
import signal
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import psycopg
import pytest
from psycopg import sql

from projections import schema
from projections.postgres import Postgres
from schemas.ports import DatabaseError
from tests.projections import journals as given
from tests.projections.conftest import SCHEMA
from tests.projections.test_postgres import batch

BOUND_S = 1.0
SOON_S = 1.0
"""What a busy machine may take for a few turns of the loop; the client alone would take 5 or 10."""


@pytest.fixture
async def bounded(postgres: str, admin: psycopg.AsyncConnection) -> AsyncIterator[Postgres]:
    assert await schema.version(admin, SCHEMA)
    store = Postgres(postgres, SCHEMA, bound_s=BOUND_S)
    yield store
    await store.close()


@asynccontextmanager
async def stopped(admin: psycopg.AsyncConnection) -> AsyncIterator[None]:
    """The process that serves the projector's connection stands still meanwhile."""
    pid = await backend(admin)
    assert pid is not None
    os.kill(pid, signal.SIGSTOP)
    try:
        yield
    finally:
        os.kill(pid, signal.SIGCONT)


async def backend(admin: psycopg.AsyncConnection) -> int | None:
    found = await admin.execute(
        "SELECT pid FROM pg_stat_activity WHERE application_name = 'headrace projector 0'"
    )
    row = await found.fetchone()
    return None if row is None else int(row[0])


async def waits_for_a_lock(admin: psycopg.AsyncConnection) -> None:
    async with asyncio.timeout(BOUND_S):
        while True:
            found = await admin.execute(
                "SELECT 1 FROM pg_stat_activity WHERE application_name = 'headrace projector 0'"
                " AND wait_event_type = 'Lock'"
            )
            if await found.fetchone():
                return
            await asyncio.sleep(0.01)


async def gone(admin: psycopg.AsyncConnection) -> None:
    async with asyncio.timeout(10):
        while await backend(admin) is not None:
            await asyncio.sleep(0.05)


def tasks() -> set[str]:
    current = asyncio.current_task()
    return {one.get_name() for one in asyncio.all_tasks() if one is not current}


async def test_a_stopped_backend_costs_no_more_than_the_bound_and_is_left_behind(
    bounded: Postgres, admin: psycopg.AsyncConnection
) -> None:
    first = batch(given.journal(given.day())[:3])
    assert await bounded.apply(0, None, first.state, first.changes)
    second = batch(given.journal(given.day()), first.state)
    before = tasks()
    async with stopped(admin):
        began = time.monotonic()
        with pytest.raises(DatabaseError, match="did not answer within 1 s"):
            await bounded.apply(0, first.state, second.state, second.changes)
        assert time.monotonic() - began < BOUND_S + SOON_S
        assert tasks() == before
        assert await bounded.checkpoint(0) == first.state  # on a connection of its own
        assert await bounded.apply(0, first.state, second.state, second.changes)
    assert await bounded.checkpoint(0) == second.state


async def test_a_backend_that_is_stopped_in_its_transaction_commits_nothing_when_it_goes_on(
    bounded: Postgres, postgres: str, admin: psycopg.AsyncConnection
) -> None:
    first = batch(given.journal(given.day())[:3])
    assert await bounded.apply(0, None, first.state, first.changes)
    second = batch(given.journal(given.day()), first.state)
    async with await psycopg.AsyncConnection.connect(postgres) as holder:
        table = sql.Identifier(SCHEMA, "shards")
        await holder.execute(sql.SQL("SELECT 1 FROM {} FOR UPDATE").format(table))
        writing = asyncio.create_task(
            bounded.apply(0, first.state, second.state, second.changes), name="writing"
        )
        await waits_for_a_lock(admin)
        async with stopped(admin):
            with pytest.raises(DatabaseError, match="did not answer"):
                await writing
            await holder.rollback()
        await gone(admin)
    assert await bounded.checkpoint(0) == first.state


async def test_who_is_told_to_stop_does_not_wait_for_a_stopped_backend(
    bounded: Postgres, admin: psycopg.AsyncConnection
) -> None:
    first = batch(given.journal(given.day())[:3])
    assert await bounded.apply(0, None, first.state, first.changes)
    before = tasks()
    async with stopped(admin):
        reading = asyncio.create_task(bounded.checkpoint(0))
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(BOUND_S / 4):
                await asyncio.shield(reading)
        began = time.monotonic()
        reading.cancel()
        with pytest.raises(asyncio.CancelledError):
            await reading
        assert time.monotonic() - began < SOON_S
        assert tasks() == before
