"""`headrace export`: history as Parquet files."""

from importlib.util import find_spec
from pathlib import Path
from typing import Annotated

import orjson
import typer

from orchestrator.commands.bars import bars
from orchestrator.commands.connection import INPUT_ERROR, load_settings, run_on_kafka
from orchestrator.commands.moments import time_ms
from schemas.ports import EventLog

_NEEDED = ("pyarrow", "duckdb")


def require_analytics() -> None:
    """Exit with 2 where the extra `analytics` is not installed."""
    missing = [name for name in _NEEDED if find_spec(name) is None]
    if missing:
        typer.echo(
            f"Not installed: {' and '.join(missing)}. Run pip install 'headrace[analytics]'.",
            err=True,
        )
        raise typer.Exit(INPUT_ERROR)


def export(
    directory: Annotated[
        Path, typer.Argument(metavar="DIR", help="New, empty, or of an export before.")
    ],
    *,
    from_: Annotated[
        str | None,
        typer.Option("--from", metavar="TIME", help="Only what happened then or later."),
    ] = None,
    until: Annotated[
        str | None, typer.Option("--until", metavar="TIME", help="Only what happened before.")
    ] = None,
    follow: Annotated[
        bool, typer.Option("--follow", help="Go on with what happens, until Ctrl-C.")
    ] = False,
    shadows: Annotated[
        bool,
        typer.Option("--shadows", help="What rule sets in shadow decided, too, from `history`."),
    ] = False,
    processes: Annotated[
        int | None,
        typer.Option(
            min=1,
            max=64,
            help="How many share the work where there is much. Default: one a core, 4 at most.",
        ),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object at the end.")] = False,
) -> None:
    """Export what happened, from the journals, as Parquet files: a table for each type of event.

    Running it again goes on where it ended; so does running it after a crash. Times are those of
    Headrace's own clock, as journaled. DIR/views.sql has views for DuckDB; see `headrace sql`.

    Examples:
      headrace export history
      headrace export saturday --from 2026-01-31 --until 2026-02-01T00:00:00Z
      headrace export history --follow
      headrace export history --shadows
    """
    if shadows and follow:
        typer.echo("--shadows: not with --follow: run it again without.", err=True)
        raise typer.Exit(INPUT_ERROR)
    settings = load_settings()
    require_analytics()
    from orchestrator.compose import check_topics, collect_rarely  # noqa: PLC0415 - slow to load, as what follows
    from orchestrator.export import together  # noqa: PLC0415
    from orchestrator.export.directory import Directory, ExportError  # noqa: PLC0415
    from orchestrator.export.exporter import Done, Period  # noqa: PLC0415
    from orchestrator.export.shadows import Shadows  # noqa: PLC0415
    from orchestrator.runtime.kafka_log import kafka_settings  # noqa: PLC0415
    from orchestrator.runtime.settings import SetupError  # noqa: PLC0415
    from schemas.journal import JournalError  # noqa: PLC0415

    period = Period(_moment("--from", from_), _moment("--until", until))
    done = Done()

    async def work(log: EventLog) -> None:
        check_topics(await log.describe(), settings)
        collect_rarely()
        place = Directory(directory)
        with place.locked(), bars() as advanced:
            await together.export(
                place,
                together.exporters(log),
                lambda shard, at, end: advanced(f"shard {shard}", at, end),
                crew=together.Crew(
                    processes or together.processes(),
                    together.a_process(kafka_settings(settings)),
                ),
                period=period,
                follow=follow,
                done=done,
            )
            if shadows:
                heard = Shadows(place, log=log, period=period)
                done.rows += await heard.run(
                    lambda number, at, end: advanced(f"history {number}", at, end)
                )
                done.total = place.manifest.rows if place.manifest else 0

    try:
        run_on_kafka(settings, work)
    except ExportError as error:
        raise SetupError(str(error), error.exit_code) from error
    except JournalError as error:
        raise SetupError(str(error), 1) from error
    except KeyboardInterrupt:
        if not follow:
            typer.echo(f"Stopped. Run it again to go on in {directory}.", err=True)
            raise typer.Exit(130) from None
    for shard, seq in sorted(done.begins.items()):
        typer.echo(
            f"The journal of shard {shard} has lost its beginning: what is exported of it"
            f" came after commit {seq}.",
            err=True,
        )
    said = {"directory": str(directory), "rows": done.rows, "files": done.files}
    if as_json:
        typer.echo(orjson.dumps(said | {"rows_in_all": done.total}).decode())
    else:
        typer.echo(
            f"{done.rows:,} rows in {done.files:,} files"
            + (f"; {done.total:,} rows in all." if done.total != done.rows else ".")
        )


def _moment(option: str, text: str | None) -> int | None:
    """Milliseconds since 1970 of a time, or of a day's beginning in UTC; exits where it is none."""
    if text is None:
        return None
    try:
        return time_ms(text)
    except (ValueError, OverflowError):
        typer.echo(
            f'{option}: must be a time such as 2026-01-31T12:00:00Z, or a day, was "{text}"',
            err=True,
        )
        raise typer.Exit(INPUT_ERROR) from None
