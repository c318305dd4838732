"""`headrace db migrate`: the schema of the read models."""

import asyncio

import psycopg
import typer

from orchestrator.commands.connection import load_settings
from orchestrator.commands.database import exit_on_failure, postgres_url
from projections import schema
from schemas.ports import DatabaseError

app = typer.Typer(help="The read models' schema.", no_args_is_help=True)

_CONNECT_S = 10


@app.callback()
def _group() -> None:
    """The read models' schema."""


@app.command()
def migrate() -> None:
    """Create the schema of the read models, or bring it to this release's version.

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
            steps = await schema.migrate(
                connection, name, lambda step: typer.echo(f"{name}: {step.name}")
            )
    except (psycopg.Error, OSError) as error:
        raise DatabaseError(
            f"PostgreSQL can't migrate: {str(error).strip()}: check HEADRACE_POSTGRES"
        ) from error
    version = schema.migrations()[-1].version
    typer.echo(f'the schema "{name}" {"is now" if steps else "was already"} at version {version}')
