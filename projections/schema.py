"""The database schemas: their names, their versions, their migrations.

There are two kinds: the read models stand in the schema of the configured name, the past in one
beside it. Each has versions and migrations of its own.
"""

import functools
import re
from collections.abc import Callable
from importlib.resources import files
from typing import Literal, NamedTuple, TypeAlias

import psycopg
from psycopg import sql

Kind: TypeAlias = Literal["read models", "past"]

_SUFFIX: dict[Kind, str] = {"read models": "", "past": "_past"}
_FOLDER: dict[Kind, str] = {"read models": "migrations", "past": "migrations/past"}
_NAME = re.compile(r"[a-z_][a-z0-9_]{0,62}")
_LOCK = 0x68656164  # "head": one migration at a time a database


class SchemaError(Exception):
    """The schema is not what this release works with. The message says what to do."""


class Migration(NamedTuple):
    """One step of the schema's history. A released one is never edited."""

    version: int
    name: str
    text: str


def named(schema: str, kind: Kind) -> str:
    """The full name of the schema of this kind, by the configured name."""
    return f"{schema}{_SUFFIX[kind]}"


def migrations(kind: Kind = "read models") -> list[Migration]:
    """What this release knows, oldest first."""
    return sorted(
        Migration(int(file.name.partition("_")[0]), file.name, file.read_text(encoding="utf-8"))
        for file in files("projections").joinpath(_FOLDER[kind]).iterdir()
        if file.name.endswith(".sql")
    )


def checked_name(schema: str) -> str:
    """The name; SchemaError where it needs quoting or is longer than PostgreSQL takes."""
    if not _NAME.fullmatch(schema):
        raise SchemaError(
            f'"{schema}" is no schema name for Headrace: use up to 63 of a-z, 0-9 and _, '
            "not beginning with a digit"
        )
    return schema


def options(schema: str, **more: str) -> str:
    """Libpq `options` of a connection that works in the schema."""
    given = {"search_path": checked_name(schema), "timezone": "UTC", **more}
    return " ".join(f"-c {name}={value}" for name, value in given.items())


async def version(connection: psycopg.AsyncConnection, schema: str) -> int:
    """The version that the schema stands at; 0 where nothing was migrated yet."""
    found = await connection.execute("SELECT to_regclass(%s)", (f"{schema}.schema_version",))
    if (await found.fetchone()) == (None,):
        return 0
    name = sql.Identifier(schema, "schema_version")
    newest = await connection.execute(sql.SQL("SELECT max(version) FROM {}").format(name))
    row = await newest.fetchone()
    return int(row[0] or 0) if row else 0


async def check(
    connection: psycopg.AsyncConnection, schema: str, kind: Kind = "read models"
) -> None:
    """SchemaError unless the schema (by its full name) stands at this release's version."""
    have, want = await version(connection, schema), migrations(kind)[-1].version
    if have < want:
        state = f"is at version {have}" if have else "is not set up"
        raise SchemaError(
            f'the schema "{schema}" {state}, this release works with version {want}: '
            "run `headrace db migrate`"
        )
    if have > want:
        raise SchemaError(
            f'the schema "{schema}" is at version {have}, newer than the {want} of this release: '
            "upgrade Headrace"
        )


async def migrate_all(
    connection: psycopg.AsyncConnection,
    schema: str,
    done: Callable[[str, Migration], None] = lambda *_: None,
) -> dict[Kind, int]:
    """Bring the schemas of both kinds, by the configured name, to this release's versions.

    How many steps each took, as `migrate` says; `done` hears of each with the schema's full name.
    """
    steps: dict[Kind, int] = {}
    for kind in _SUFFIX:
        name = named(schema, kind)
        steps[kind] = await migrate(connection, name, kind, functools.partial(done, name))
    return steps


async def migrate(
    connection: psycopg.AsyncConnection,
    schema: str,
    kind: Kind = "read models",
    done: Callable[[Migration], None] = lambda _: None,
) -> int:
    """Bring a schema, by its full name, to this release's version; how many steps it took.

    A step is a transaction.

    The connection is in autocommit. `done` hears of each step.

    Raises:
        SchemaError: the schema is newer than this release.
    """
    checked_name(schema)
    name = sql.Identifier(schema)
    known = migrations(kind)
    await connection.execute("SELECT pg_advisory_lock(%s)", (_LOCK,))
    try:
        have = await version(connection, schema)
        if have > known[-1].version:
            await check(connection, schema, kind)
        steps = [step for step in known if step.version > have]
        for step in steps:
            async with connection.transaction():
                await connection.execute(sql.SQL("CREATE SCHEMA IF NOT EXISTS {}").format(name))
                await connection.execute(sql.SQL("SET LOCAL search_path TO {}").format(name))
                await connection.execute(
                    "CREATE TABLE IF NOT EXISTS schema_version (version integer PRIMARY KEY,"
                    " name text NOT NULL, applied_at timestamptz NOT NULL DEFAULT now())"
                )
                await connection.execute(step.text.encode())
                await connection.execute(
                    "INSERT INTO schema_version (version, name) VALUES (%s, %s)",
                    (step.version, step.name),
                )
            done(step)
    finally:
        await connection.execute("SELECT pg_advisory_unlock(%s)", (_LOCK,))
    return len(steps)
