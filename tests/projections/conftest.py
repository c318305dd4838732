from collections.abc import AsyncIterator

import psycopg
import pytest
from psycopg import sql

from projections import schema
from projections.postgres import Postgres

SCHEMA = "readmodels"


@pytest.fixture
async def admin(postgres: str) -> AsyncIterator[psycopg.AsyncConnection]:
    """A connection to a new database with an empty, migrated schema on its search path."""
    async with await psycopg.AsyncConnection.connect(
        postgres, autocommit=True, options=schema.options(SCHEMA)
    ) as connection:
        await schema.migrate_all(connection, SCHEMA)
        yield connection


@pytest.fixture
async def database(postgres: str, admin: psycopg.AsyncConnection) -> AsyncIterator[Postgres]:
    assert await schema.version(admin, SCHEMA)
    store = Postgres(postgres, SCHEMA)
    yield store
    await store.close()


async def rows(connection: psycopg.AsyncConnection, table: str) -> list[tuple[object, ...]]:
    """All rows of a table, as text in the order of their keys."""
    name = sql.Identifier(table)
    found = await connection.execute(
        sql.SQL("SELECT t.*::text FROM {name} AS t ORDER BY t.*::text").format(name=name)
    )
    return await found.fetchall()
