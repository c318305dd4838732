"""`headrace rebuild`: the read models, or what is kept of the past, anew from the journals."""

import sys
from time import monotonic
from typing import Annotated

import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from orchestrator.commands.connection import load_settings, run_on_kafka
from orchestrator.commands.database import exit_on_failure, postgres_url
from projections import schema
from projections.fold import READ_MODELS
from projections.past import PAST
from projections.rebuild import rebuild as rebuild_read_models
from schemas.ports import EventLog


def rebuild(
    *,
    past: Annotated[
        bool, typer.Option("--past", help="What is kept of the past, instead of the read models.")
    ] = False,
) -> None:
    """Build the read models anew from the journals, while the old ones go on serving.

    They are built beside the old ones and put in their place at the end: if it fails, nothing has
    changed. Running projectors find the change by themselves and go on.

    Examples:
      headrace rebuild
      headrace rebuild --past
    """
    model = PAST if past else READ_MODELS
    settings = load_settings()
    url = postgres_url(settings)

    async def work(log: EventLog) -> None:
        began = monotonic()
        with Progress(
            TextColumn("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            TextColumn("journal records"),
            TimeRemainingColumn(),
            console=Console(stderr=True),
            disable=not sys.stderr.isatty(),
        ) as bar:
            tasks = [bar.add_task(f"shard {shard}", total=None) for shard in range(settings.shards)]

            def advanced(shard: int, at: int, end: int) -> None:
                bar.update(tasks[shard], completed=at, total=end)

            rows = await rebuild_read_models(
                log, url, settings.db_schema, settings.shards, advanced, model
            )
        typer.echo(
            f"rebuilt {settings.shards} shards into {schema.named(settings.db_schema, model.kind)}:"
            f" {rows:,} rows in {monotonic() - began:.1f} s"
        )

    with exit_on_failure():
        run_on_kafka(settings, work)
