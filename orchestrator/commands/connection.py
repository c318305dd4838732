"""What commands that talk to Kafka share: settings, connection, exit codes, a progress bar."""

import asyncio
import sys
from collections.abc import Callable, Coroutine, Iterator
from contextlib import contextmanager
from typing import Any

import typer
from pydantic import ValidationError

from orchestrator.runtime.settings import Settings, SetupError, variable
from schemas.ports import LogError

INPUT_ERROR = 2
SERVER_ERROR = 3


def load_settings() -> Settings:
    """The settings of the environment; exits with 2 and a sentence each where they are wrong."""
    try:
        settings = Settings()
    except ValidationError as error:
        for problem in error.errors(include_url=False):
            name = variable(str(problem["loc"][0]))
            message = problem["msg"].removeprefix("Value error, ")
            typer.echo(f"{name}: {message}, was {problem['input']!r}", err=True)
        raise typer.Exit(INPUT_ERROR) from None
    if settings.postgres:
        _check_url(settings.postgres)
    return settings


def _check_url(url: str) -> None:
    import psycopg  # noqa: PLC0415 - slow to load
    from psycopg.conninfo import conninfo_to_dict  # noqa: PLC0415 - the same

    try:
        conninfo_to_dict(url)
    except psycopg.ProgrammingError:  # its words may hold the password
        raise SetupError(
            f"{variable('postgres')} is not a libpq URL, such as"
            " postgresql://user:password@127.0.0.1/headrace.",
            INPUT_ERROR,
        ) from None


def run_on_kafka(settings: Settings, work: Callable[[Any], Coroutine[Any, Any, None]]) -> None:
    """Run `work(log)` on the configured Kafka; SetupError or exit code 3 when it can't."""
    from orchestrator.runtime.kafka_log import KafkaLog, kafka_settings  # noqa: PLC0415 - slow to load

    kafka = kafka_settings(settings)

    async def connected() -> None:
        log = await KafkaLog.open(kafka)
        try:
            await work(log)
        finally:
            await log.close()

    try:
        asyncio.run(connected())
    except LogError as error:
        typer.echo(str(error), err=True)
        raise typer.Exit(SERVER_ERROR) from None


@contextmanager
def reading_bar(what: str) -> Iterator[Callable[[int, int], None]]:
    """A progress bar on a terminal; call what it gives with how far, and of how much."""
    from rich.console import Console  # noqa: PLC0415 - most runs need none
    from rich.progress import Progress  # noqa: PLC0415 - the same

    with Progress(console=Console(stderr=True), disable=not sys.stderr.isatty()) as bar:
        task = bar.add_task(what, total=None)
        yield lambda at, end: bar.update(task, completed=at, total=max(at, end))


@contextmanager
def progress(what: str, total: int, *, at_least: int) -> Iterator[Callable[[int], None]]:
    """A progress bar on a terminal, where there are so many; call what it gives with each step."""
    if total < at_least or not sys.stderr.isatty():
        yield lambda _: None
        return
    from rich.console import Console  # noqa: PLC0415 - most runs need none
    from rich.progress import Progress  # noqa: PLC0415 - the same

    with Progress(console=Console(stderr=True)) as bar:
        task = bar.add_task(what, total=total)
        yield lambda steps: bar.advance(task, steps)
