"""`headrace explain`: why an order is planned as it is."""

from typing import Annotated, Any

import orjson
import typer
from rich.console import Console
from rich.table import Table

from orchestrator.commands.connection import INPUT_ERROR, load_settings
from orchestrator.commands.database import run_on_reads
from projections.queries import Page, Reads

_CHECK_FAILED = 1
_DECISIONS = 500
_SHOWN = 20  # candidates of a decision


def explain(
    order: Annotated[str, typer.Argument(help="CHANNEL/ORDER_ID, such as web/4711.")],
    *,
    market: Annotated[
        str | None,
        typer.Option("--market", help="Needed where the channel used the id in two markets."),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object.")] = False,
) -> None:
    """Explain every decision on an order: who could have shipped it, and why it is as it is.

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
        items = decisions.body["items"]
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
        console.print(f"  {reason['code']}: {reason['detail']}", markup=False)
    for decision in decisions:
        console.print()
        _show_decision(console, decision)
    if not decisions:
        console.print("Nothing was planned for it.")


def _show_decision(console: Console, decision: dict[str, Any]) -> None:
    console.print(
        f"{decision['at']} after {decision['trigger']} ({decision['position']},"
        f" rules {decision['rule_set']}, prices {decision['price_version']},"
        f" {decision['method']})",
        highlight=False,
        markup=False,
    )
    lines = decision["lines"]
    table = Table("node", "distance")
    for line_id, sku, units in lines:
        table.add_column(f"line {line_id}: {units} of {sku}", justify="right")
    chosen = set((decision["chosen"] or {}).get("nodes", ()))
    for node_id, distance_m, offered in decision["candidates"][:_SHOWN]:
        style = "bold green" if node_id in chosen else None
        table.add_row(node_id, _distance(distance_m), *map(str, offered), style=style)
    if decision["candidates"]:
        console.print(table)
    if len(decision["candidates"]) > _SHOWN:
        console.print(f"  and {len(decision['candidates']) - _SHOWN} more candidates (--json)")
    for fence, nodes in decision["removed"].items():
        if nodes:
            console.print(f"  {fence.replace('_', ' ')}: {', '.join(nodes)}", markup=False)
    console.print(f"  chosen: {_choice(decision['chosen'])}", markup=False)
    console.print(f"  decided by: {decision['decided_by'].replace('_', ' ')}", markup=False)
    console.print(f"  runner-up: {_choice(decision['runner_up'])}", markup=False)
    if decision["counterfactual"]:
        console.print(f"  otherwise: {decision['counterfactual']}", markup=False)
    for line in decision["backordered"]:
        console.print(f"  backordered: {line['quantity']} of line {line['line_id']}", markup=False)


def _distance(metres: int | None) -> str:
    return "unknown" if metres is None else f"{metres / 1000:,.0f} km"


def _choice(choice: dict[str, Any] | None) -> str:
    if choice is None:
        return "none"
    nodes = ", ".join(choice["nodes"]) or "no node"
    return f"{nodes} with {choice['units']} units, {_distance(choice['distance_m'])}"
