"""`headrace explain`: why an order is planned as it is."""

from typing import Annotated, Any

import orjson
import typer
from rich.console import Console

from orchestrator.commands.connection import INPUT_ERROR, load_settings
from orchestrator.commands.database import run_on_reads
from orchestrator.commands.telling import Telling, heading, show_v1
from orchestrator.core.sourcing.counterfactual import counterfactual
from projections.explained import explained
from projections.queries import Page, Reads

_CHECK_FAILED = 1
_DECISIONS = 500


def explain(
    order: Annotated[str, typer.Argument(help="CHANNEL/ORDER_ID, such as web/4711.")],
    *,
    market: Annotated[
        str | None,
        typer.Option("--market", help="Needed where the channel used the id in two markets."),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object.")] = False,
) -> None:
    """Explain every decision on an order: what was weighed, what was chosen, what else would do.

    Examples:
      headrace explain web/4711
      headrace explain web/4711 --json
    """
    settings = load_settings()
    channel, slash, order_id = order.partition("/")
    if not (channel and slash and order_id):
        typer.echo(f'"{order}" is not CHANNEL/ORDER_ID, such as web/4711', err=True)
        raise typer.Exit(INPUT_ERROR)

    async def work(reads: Reads) -> None:
        found = await reads.order(channel, order_id, market)
        if found.body is None:
            typer.echo(f"There is no order {order}.", err=True)
            raise typer.Exit(_CHECK_FAILED)
        of = found.body["market_id"]
        decisions = await reads.decisions(channel, order_id, of, Page(_DECISIONS, None))
        items = [explained(one, counterfactual) for one in decisions.body["items"]]
        if as_json:
            typer.echo(orjson.dumps({"order": found.body, "decisions": items}).decode())
        else:
            show(Console(), found.body, items)

    run_on_reads(settings, work)


def show(console: Console, order: dict[str, Any], decisions: list[dict[str, Any]]) -> None:
    """Print an order and its decisions for a person."""
    title = f"{order['channel']}/{order['order_id']} in {order['market_id']}: {order['status']}"
    console.print(title, style="bold", highlight=False, markup=False)
    for reason in order.get("reasons", ()):
        console.print(f"  {reason['code']}: {reason['detail']}", highlight=False, markup=False)
    for number, decision in enumerate(decisions, 1):
        console.print()
        console.print(heading(number, decision), style="bold", highlight=False, markup=False)
        if decision["v"] == 1:
            show_v1(console, decision)
        else:
            Telling(decision).show(console)
    if not decisions:
        console.print("Nothing was planned for it.")
