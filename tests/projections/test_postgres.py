"""The writer on a real PostgreSQL: rows and checkpoint change together or not at all."""

import psycopg
import pytest

from projections.postgres import Postgres
from projections.projector import Batch, batches
from projections.tables import TABLES, Changes
from schemas.journal import FilterState
from schemas.ports import DatabaseError, Read
from tests.projections import journals as given
from tests.projections.conftest import SCHEMA, rows


def reads(values: list[bytes], first: int = 0) -> list[Read]:
    return [Read(first + n, given.NOW_MS, None, value, ()) for n, value in enumerate(values)]


def batch(values: list[bytes], state: FilterState | None = None) -> Batch:
    state = state or FilterState()
    (only,) = filter(None, batches(0, state, reads(values, state.next)))
    return only


async def test_what_was_written_can_be_read_and_the_checkpoint_is_whole(
    database: Postgres, admin: psycopg.AsyncConnection
) -> None:
    assert await database.checkpoint(0) is None
    all_of_it = batch(given.journal(given.day()))
    assert await database.apply(0, None, all_of_it.state, all_of_it.changes)
    assert await database.checkpoint(0) == all_of_it.state
    assert await rows(admin, "orders")


async def test_text_of_any_kind_arrives_as_it_was(
    database: Postgres, admin: psycopg.AsyncConnection
) -> None:
    all_of_it = batch(given.journal(given.day()))
    await database.apply(0, None, all_of_it.state, all_of_it.changes)
    name = await (await admin.execute("SELECT name FROM items WHERE sku = 'MUG'")).fetchone()
    assert name == ("MUG\twith\na\\tab",)
    detail = await (
        await admin.execute("SELECT detail FROM exceptions WHERE exception_id = '0-2'")
    ).fetchone()
    assert detail == ('A "quoted" \\ detail\nof two lines',)


async def test_one_batch_or_a_batch_a_commit_make_the_same_tables(
    database: Postgres, admin: psycopg.AsyncConnection
) -> None:
    values = given.journal(given.day())
    at_once = batch(values)
    await database.apply(0, None, at_once.state, at_once.changes)
    whole = {name: await rows(admin, name) for name in (*TABLES, "shards")}
    for name in (*TABLES, "shards"):
        await admin.execute(f"TRUNCATE {name}".encode())
    confirmed, state = None, FilterState()
    for value in values:
        step = batch([value], state)
        assert await database.apply(0, confirmed, step.state, step.changes)
        confirmed = state = step.state
    assert {name: await rows(admin, name) for name in (*TABLES, "shards")} == whole
    assert all(whole[name] for name in whole)


async def test_who_loses_the_compare_and_swap_writes_nothing(
    database: Postgres, postgres: str, admin: psycopg.AsyncConnection
) -> None:
    values = given.journal(given.day())
    opened = batch(values[:1])
    assert await database.apply(0, None, opened.state, opened.changes)
    first = batch(values[1:3], opened.state)
    assert await database.apply(0, opened.state, first.state, first.changes)
    before = {name: await rows(admin, name) for name in (*TABLES, "shards")}
    zombie = Postgres(postgres, SCHEMA)
    late = batch(values[1:5], opened.state)
    assert not await zombie.apply(0, opened.state, late.state, late.changes)
    assert not await zombie.apply(0, None, late.state, late.changes)
    await zombie.close()
    assert {name: await rows(admin, name) for name in (*TABLES, "shards")} == before


async def test_a_journal_made_anew_does_not_pass_for_the_old_one(database: Postgres) -> None:
    old = batch(given.journal(given.day()[:1]))
    await database.apply(0, None, old.state, old.changes)
    new = batch(given.journal(given.day()[:1], nonce="n1"))
    assert new.state.seq == old.state.seq
    assert not await database.apply(0, new.state, new.state, new.changes)


async def test_a_failure_in_the_middle_leaves_rows_and_checkpoint_as_they_were(
    database: Postgres, admin: psycopg.AsyncConnection
) -> None:
    values = given.journal(given.day())
    first = batch(values[:3])
    await database.apply(0, None, first.state, first.changes)
    before = {name: await rows(admin, name) for name in (*TABLES, "shards")}
    second = batch(values[3:5], first.state)
    await admin.execute("ALTER TABLE timeline RENAME TO gone")  # the last statement fails
    with pytest.raises(DatabaseError, match="commit 4 of shard 0"):
        await database.apply(0, first.state, second.state, second.changes)
    await admin.execute("ALTER TABLE gone RENAME TO timeline")
    assert {name: await rows(admin, name) for name in (*TABLES, "shards")} == before
    assert await database.checkpoint(0) == first.state
    assert await database.apply(0, first.state, second.state, second.changes)


async def test_a_lost_connection_is_an_error_and_the_next_call_connects_anew(
    database: Postgres, admin: psycopg.AsyncConnection
) -> None:
    first = batch(given.journal(given.day())[:3])
    await database.apply(0, None, first.state, first.changes)
    await admin.execute(
        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
        " WHERE application_name = 'headrace projector 0'"
    )
    with pytest.raises(DatabaseError):
        await database.apply(0, first.state, first.state, Changes())
    assert await database.checkpoint(0) == first.state


async def test_the_owner_stays_until_another_opens_the_shard(
    database: Postgres, admin: psycopg.AsyncConnection
) -> None:
    values = given.journal(given.day())
    state, confirmed = FilterState(), None
    for part in (values[:1], values[1:2]):
        step = batch(part, state)
        await database.apply(0, confirmed, step.state, step.changes)
        confirmed = state = step.state
    owner = await (await admin.execute("SELECT owner FROM shards")).fetchone()
    assert owner == ("engine-1",)
