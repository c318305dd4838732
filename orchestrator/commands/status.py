"""`headrace status`: shards, lags, orders, exceptions."""

from typing import Annotated, Any

import orjson
import typer
from rich.console import Console
from rich.table import Table

from orchestrator.commands.connection import load_settings, run_on_kafka
from orchestrator.commands.database import exit_on_failure, postgres_url
from orchestrator.runtime.settings import Settings
from projections.queries import open_reads
from schemas.ports import EventLog, Partition


def status(
    *,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object.")] = False,
) -> None:
    """Show how far each shard is, orders by status and open exceptions.

    Lags are records still to be handled: of the inbox by the engine, of the journal by the
    projector.

    Examples:
      headrace status
      headrace status --json
    """
    settings = load_settings()
    url = postgres_url(settings)

    async def work(log: EventLog) -> None:
        found = await _collect(log, url, settings)
        if as_json:
            typer.echo(orjson.dumps(found).decode())
        else:
            _show(found)

    with exit_on_failure():
        run_on_kafka(settings, work)


async def _collect(log: EventLog, url: str, settings: Settings) -> dict[str, Any]:
    async with open_reads(url, settings.db_schema) as reads:
        known = {one.shard: one for one in await reads.shards()}
        answer = await reads.status()
    shards = []
    for shard in range(settings.shards):
        at = known.get(shard)
        journal = (await log.bounds(Partition("journal", shard))).next
        inbox = (await log.bounds(Partition("inbox", shard))).next
        shards.append(
            {
                "shard": shard,
                "owner": at.owner if at else None,
                "epoch": at.epoch if at else None,
                "seq": at.seq if at else 0,
                "inbox_lag": inbox - (at.inbox_next if at else 0),
                "journal_lag": journal - (at.journal_next if at else 0),
            }
        )
    return {"shards": shards, **answer.body}


def _show(found: dict[str, Any]) -> None:
    console = Console()
    shards = Table("shard", "owner", "epoch", "commits", "inbox lag", "journal lag", title="Shards")
    for one in found["shards"]:
        shards.add_row(*("—" if value is None else str(value) for value in one.values()))
    orders = Table("status", "orders", title="Orders")
    for name, count in sorted(found["orders"].items()):
        orders.add_row(name, f"{count:,}")
    exceptions = Table("kind", "open", title="Exceptions")
    for name, count in sorted(found["exceptions"].items()):
        exceptions.add_row(name, f"{count:,}")
    console.print(shards, orders, exceptions)
    stock = found["stock"]
    console.print(f"On hand {stock['on_hand']:,} units, reserved {stock['reserved']:,}.")
