"""`headrace state`: what was true then."""

from functools import partial
from typing import Annotated, Any, Final

import orjson
import typer
from rich.console import Console
from rich.table import Table

from orchestrator.commands.bars import bars
from orchestrator.commands.connection import INPUT_ERROR, load_settings, run_on_kafka
from orchestrator.commands.database import exit_on_failure
from orchestrator.commands.moments import moment
from orchestrator.commands.unread import Unread, exit_on_unread, read_each
from orchestrator.compose import a_core, check_topics, collect_rarely
from orchestrator.past import Past, order_then, past, stock_then, summary_then
from schemas.ports import EventLog
from schemas.times import rfc3339

_CHECK_FAILED: Final = 1


def state(
    what: Annotated[
        str | None,
        typer.Argument(metavar="ORDER|SKU", help="CHANNEL/ORDER_ID, such as web/4711, or a sku."),
    ] = None,
    *,
    at: Annotated[
        str, typer.Option("--at", metavar="TIME|SHARD:SEQ", help="A moment, or a commit.")
    ],
    summary: Annotated[
        bool, typer.Option("--summary", help="What the shards held in all, instead.")
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object.")] = False,
) -> None:
    """Say what was true at a moment, or after a commit, by folding the journals until then.

    The moment is one of Headrace's own clock, as journaled: what happened by then is in. Shards
    that can't be read are named, with exit code 3; the others answer.

    Examples:
      headrace state web/4711 --at 2026-01-31T12:00:00Z
      headrace state MUG --at 3:1042
      headrace state --summary --at 2026-01-31T00:00:00Z --json
    """
    settings = load_settings()
    if (what is None) is not summary:
        typer.echo("Name an order or a sku, or give --summary.", err=True)
        raise typer.Exit(INPUT_ERROR)
    shards, until = moment("--at", at, settings)
    found: list[Past] = []
    unread: list[Unread] = []

    async def work(log: EventLog) -> None:
        check_topics(await log.describe(), settings)
        collect_rarely()
        with bars() as advanced:

            async def read(shard: int) -> None:
                told = partial(advanced, f"shard {shard}")
                found.append(await past(log, shard, until, told, a_core(settings).snapshots))

            unread.extend(await read_each(shards, read))

    with exit_on_failure():
        run_on_kafka(settings, work)
    told = _told(found, what) | {"unread": [one._asdict() for one in unread]}
    if as_json:
        typer.echo(orjson.dumps(told).decode())
    else:
        _show(told, what)
    nothing = what is not None and not told["found"]
    if nothing:
        typer.echo(f"There was nothing of {what} then.", err=True)
    exit_on_unread(unread)
    if nothing:
        raise typer.Exit(_CHECK_FAILED)


def _told(found: list[Past], what: str | None) -> dict[str, Any]:
    positions = [
        {"shard": one.shard.number, "seq": one.seq, "clock": rfc3339(one.shard.now_ms)}
        for one in found
    ]
    if what is None:
        return {
            "positions": positions,
            "shards": [{"shard": one.shard.number, **summary_then(one.shard)} for one in found],
        }
    then = order_then if "/" in what else stock_then
    return {
        "positions": positions,
        "found": [row for one in found for row in then(one.shard, what)],
    }


def _show(told: dict[str, Any], what: str | None) -> None:
    console = Console()
    at = ", ".join(f"{one['shard']}:{one['seq']} ({one['clock']})" for one in told["positions"])
    console.print(f"As of {at}", highlight=False)
    if what is None:
        _rows(console, [_flat(one) for one in told["shards"]])
    elif "/" in what:
        for order in told["found"]:
            title = f"{what} in {order['market_id']}: {order['status']}"
            console.print(title, style="bold", highlight=False, markup=False)
            if order.get("closed"):
                console.print("It was closed, and its lines had left memory.")
            _rows(console, order.get("lines", []))
            _rows(console, [_flat(one) for one in order.get("fulfillments", [])])
    else:
        _rows(console, told["found"])


def _flat(row: dict[str, Any]) -> dict[str, str]:
    """Cells of text, one a field."""
    return {name: _cell(value) for name, value in row.items()}


def _cell(value: Any) -> str:  # noqa: ANN401 - JSON
    match value:
        case dict():
            return ", ".join(f"{name} {count}" for name, count in value.items()) or "—"
        case [dict(), *_]:
            return ", ".join(f"{one['quantity']} {one['sku']}" for one in value)
        case list():
            return ", ".join(value)
        case _:
            return str(value)


def _rows(console: Console, rows: list[dict[str, Any]]) -> None:
    if rows:
        table = Table(*rows[0], box=None)
        for row in rows:
            table.add_row(*map(str, row.values()))
        console.print(table, highlight=False, markup=False)
