"""Migrations: versions that are too old, too new, and in between."""

import asyncio

import psycopg
import pytest

from projections import schema
from projections.schema import SchemaError


async def connect(url: str) -> psycopg.AsyncConnection:
    return await psycopg.AsyncConnection.connect(url, autocommit=True)


async def test_migrating_twice_changes_nothing(postgres: str) -> None:
    async with await connect(postgres) as admin:
        assert await schema.migrate(admin, "one") == len(schema.migrations())
        assert await schema.migrate(admin, "one") == 0
        await schema.check(admin, "one")


async def test_two_that_migrate_at_once_take_turns(postgres: str) -> None:
    async with await connect(postgres) as one, await connect(postgres) as other:
        steps = await asyncio.gather(schema.migrate(one, "both"), schema.migrate(other, "both"))
        assert sorted(steps) == [0, len(schema.migrations())]


async def test_a_schema_that_is_not_set_up_says_how(postgres: str) -> None:
    async with await connect(postgres) as admin:
        with pytest.raises(SchemaError, match=r"is not set up.*headrace db migrate"):
            await schema.check(admin, "nowhere")


async def test_an_older_schema_asks_to_be_migrated(postgres: str) -> None:
    async with await connect(postgres) as admin:
        await schema.migrate(admin, "old")
        await admin.execute("DELETE FROM old.schema_version WHERE version > 1")
        await admin.execute("UPDATE old.schema_version SET version = -1")
        with pytest.raises(SchemaError, match=r"at version -1.*headrace db migrate"):
            await schema.check(admin, "old")


async def test_a_newer_schema_asks_for_a_newer_release(postgres: str) -> None:
    async with await connect(postgres) as admin:
        await schema.migrate(admin, "new")
        await admin.execute("INSERT INTO new.schema_version (version, name) VALUES (999, 'x')")
        with pytest.raises(SchemaError, match="upgrade Headrace"):
            await schema.check(admin, "new")
        with pytest.raises(SchemaError, match="upgrade Headrace"):
            await schema.migrate(admin, "new")


async def test_schemas_stand_side_by_side(postgres: str) -> None:
    async with await connect(postgres) as admin:
        await schema.migrate(admin, "a")
        await schema.migrate(admin, "b")
        await admin.execute("DROP SCHEMA a CASCADE")
        await schema.check(admin, "b")


@pytest.mark.parametrize("name", ["", "Upper", "1st", "a-b", 'a"b', "a" * 64])
def test_names_that_need_quoting_are_refused(name: str) -> None:
    with pytest.raises(SchemaError, match="no schema name"):
        schema.options(name)
