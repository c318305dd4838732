"""What commands that talk to Kafka share: settings, connection, exit codes, a progress bar."""

import asyncio
import sys
from collections.abc import Callable, Coroutine, Iterator
from contextlib import contextmanager
from typing import Any

import typer
from pydantic import ValidationError

from orchestrator.runtime.settings import Settings, variable
from schemas.ports import LogError

INPUT_ERROR = 2
SERVER_ERROR = 3


def load_settings() -> Settings:
    """The settings of the environment; exits with 2 and a sentence each where they are wrong."""
    try:
        return Settings()
    except ValidationError as error:
        for problem in error.errors(include_url=False):
            name = variable(str(problem["loc"][0]))
            typer.echo(f"{name}: {problem['msg']}, was {problem['input']!r}", err=True)
        raise typer.Exit(INPUT_ERROR) from None


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
