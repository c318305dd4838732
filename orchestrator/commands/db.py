"""`headrace db migrate`: the schemas of the read models and of the past."""

import asyncio

import psycopg
import typer

from orchestrator.commands.connection import load_settings
from orchestrator.commands.database import exit_on_failure, postgres_url
from projections import schema
from projections.failures import why
from schemas.ports import DatabaseError

app = typer.Typer(help="The schemas in PostgreSQL.", no_args_is_help=True)

_CONNECT_S = 10


@app.callback()
def _group() -> None:
    """The schemas in PostgreSQL."""


@app.command()
def migrate() -> None:
    """Create the schemas of read models and past, or bring them to this release's versions.

    Safe to run again and by several at once.

    Example:
      headrace db migrate
    """
    settings = load_settings()
    url = postgres_url(settings)
    with exit_on_failure():
        asyncio.run(_migrate(url, settings.db_schema))


async def _migrate(url: str, name: str) -> None:
    try:
        async with await psycopg.AsyncConnection.connect(
            url, autocommit=True, connect_timeout=_CONNECT_S
        ) as connection:
            steps = await schema.migrate_all(
                connection, name, lambda of, step: typer.echo(f"{of}: {step.name}")
            )
    except (psycopg.Error, OSError) as error:
        raise DatabaseError(
            f"PostgreSQL can't migrate: {why(error)}: check HEADRACE_POSTGRES"
        ) from error
    for kind, taken in steps.items():
        version = schema.migrations(kind)[-1].version
        said = "is now" if taken else "was already"
        typer.echo(f'the schema "{schema.named(name, kind)}" {said} at version {version}')
