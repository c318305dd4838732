"""`headrace shard`: the way on from a shard that halts at an input."""

import asyncio
import re
import secrets
from time import monotonic, time_ns
from typing import Annotated, Final

import typer

from orchestrator.commands.connection import INPUT_ERROR, load_settings, run_on_kafka
from orchestrator.compose import check_topics
from orchestrator.runtime.halting import Halt, halts
from orchestrator.runtime.settings import Settings
from schemas.inbox import SKIP_ORDERED, encode_order
from schemas.ports import EventLog, Partition, Record

app = typer.Typer(help="Shards that halt.", no_args_is_help=True)

_CHECK_FAILED: Final = 1
_COORDINATES: Final = re.compile(r"[a-z_]+/\d+@\d+")
_MAX_TEXT: Final = 2_000
_POLL_S: Final = 0.5
_WAIT_S: Final = 30.0


@app.callback()
def _shard() -> None:
    """Shards that halt."""


@app.command()
def skip(
    shard: Annotated[int, typer.Argument(min=0, help="The shard that halts.")],
    *,
    input_: Annotated[
        str,
        typer.Option(
            "--input",
            metavar="COORDINATES",
            help="The input it halts at, as the shard says it: such as inbox/3@1042.",
        ),
    ],
    reason: Annotated[str, typer.Option("--reason", metavar="TEXT", help="Why, for the audit.")],
    by: Annotated[str, typer.Option("--by", metavar="NAME", help="Who orders it.")],
) -> None:
    """Order a shard to pass over the input that it halts at.

    The order is journaled with the input, the reason and the name. Nothing comes of the input: if
    it is an order, nobody ships it; if it is a receipt, its units are not on hand. Try a fixed
    release first: it goes on by itself. GET /shards and the log say where a shard halts and why.

    Examples:
      headrace shard skip 3 --input inbox/3@1042 --reason "defect 77, order re-entered" --by ada
      headrace shard skip 3 --input orders/1@99 --reason "the same, by its origin" --by ada
    """
    settings = load_settings()
    for option, text in (("--reason", reason), ("--by", by)):
        if not 0 < len(text.strip()) <= _MAX_TEXT:
            typer.echo(f"{option}: must be a text of 1 to {_MAX_TEXT} characters", err=True)
            raise typer.Exit(INPUT_ERROR)
    if not _COORDINATES.fullmatch(input_):
        typer.echo(
            f'--input: must be coordinates such as inbox/{shard}@1042, was "{input_}"', err=True
        )
        raise typer.Exit(INPUT_ERROR)
    if shard >= settings.shards:
        typer.echo(f"There are the shards 0 to {settings.shards - 1}, no {shard}.", err=True)
        raise typer.Exit(INPUT_ERROR)

    async def work(log: EventLog) -> None:
        check_topics(await log.describe(), settings)
        await _skip(log, settings, shard, input_, reason, by)

    run_on_kafka(settings, work)


async def _skip(
    log: EventLog, settings: Settings, shard: int, input_: str, reason: str, by: str
) -> None:
    """Order it, if the shard halts there, and wait until the shard has gone on."""
    halt = (await halts(log, range(settings.shards))).get(shard)
    if halt is None:
        typer.echo(f"Shard {shard} does not halt: there is nothing to skip.", err=True)
        raise typer.Exit(_CHECK_FAILED)
    if input_ not in halt.input:
        at = f"at {' = '.join(halt.input)}" if halt.input else "at no input"
        typer.echo(f"Shard {shard} halts {at}, not at {input_}: {halt.what}", err=True)
        raise typer.Exit(_CHECK_FAILED)
    await order(log, [shard], SKIP_ORDERED, {"input": input_, "reason": reason, "by": by})
    if await _gone_on(log, settings, shard, halt):
        typer.echo(f"Shard {shard} passed over {input_} and goes on.")
    else:
        typer.echo(
            f"Ordered; shard {shard} has not gone on within {_WAIT_S:.0f} s: it will when an engine"
            " has it."
        )


async def order(log: EventLog, shards: list[int], type_: str, data: dict[str, str]) -> None:
    """Put a person's order into shards' inboxes; LogError when not all have it."""
    id_ = secrets.token_hex(16)
    value = encode_order(type_, id_, time_ns() // 1_000_000, data)
    writer = await log.writer()
    try:
        for shard in shards:
            await writer.append(Partition("inbox", shard), [Record(None, value)])
    finally:
        await writer.close()


async def _gone_on(log: EventLog, settings: Settings, shard: int, halt: Halt) -> bool:
    until = monotonic() + _WAIT_S
    while monotonic() < until:
        if (await halts(log, range(settings.shards))).get(shard) != halt:
            return True
        await asyncio.sleep(_POLL_S)
    return False
