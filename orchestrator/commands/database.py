"""What commands that talk to PostgreSQL share: the URL, failures."""

import asyncio
from collections.abc import Callable, Coroutine, Iterator
from contextlib import contextmanager
from typing import Any

from orchestrator.runtime.settings import Settings, SetupError, variable
from projections.queries import Reads, open_reads
from projections.schema import SchemaError
from schemas.journal import JournalError
from schemas.ports import DatabaseError, LogError


def postgres_url(settings: Settings) -> str:
    """The configured PostgreSQL; SetupError where there is none."""
    if not settings.postgres:
        raise SetupError(
            f"{variable('postgres')} is not set: give a libpq URL, such as"
            " postgresql://user:password@127.0.0.1/headrace."
        )
    return settings.postgres


@contextmanager
def exit_on_failure() -> Iterator[None]:
    """SetupError, in one sentence, when a server, its schema or a journal stands in the way."""
    try:
        yield
    except (DatabaseError, SchemaError, LogError, JournalError) as error:
        raise SetupError(str(error)) from error


def run_on_reads(settings: Settings, work: Callable[[Reads], Coroutine[Any, Any, None]]) -> None:
    """Run `work(reads)` on the configured read models; SetupError when it can't."""
    url = postgres_url(settings)

    async def connected() -> None:
        async with open_reads(url, settings.db_schema) as reads:
            await work(reads)

    with exit_on_failure():
        asyncio.run(connected())
