"""`headrace diff`: what changed between two moments, and why."""

from collections.abc import Iterable
from functools import partial
from itertools import groupby
from typing import Annotated, Any, Final, NamedTuple

import orjson
import typer
from rich.console import Console

from orchestrator.commands.bars import bars
from orchestrator.commands.connection import INPUT_ERROR, load_settings, run_on_kafka
from orchestrator.commands.database import exit_on_failure
from orchestrator.commands.differences import Watched, changes, then
from orchestrator.commands.moments import moment
from orchestrator.commands.unread import Unread, exit_on_unread, read_each
from orchestrator.compose import a_core, check_topics, collect_rarely
from orchestrator.past import Until, past
from orchestrator.runtime.settings import Settings
from schemas.ports import EventLog

_CHECK_FAILED: Final = 1
_NOW: Final = 10**18
"""A commit that no journal gets to."""

Json = dict[str, Any]


class Between(NamedTuple):
    """Which shards, from when, until when."""

    shards: list[int]
    since: Until
    until: Until


def diff(
    what: Annotated[
        str,
        typer.Argument(metavar="ORDER|SKU", help="CHANNEL/ORDER_ID, such as web/4711, or a sku."),
    ],
    *,
    since: Annotated[
        str, typer.Option("--from", metavar="TIME|SHARD:SEQ", help="A moment, or a commit.")
    ],
    until: Annotated[
        str | None,
        typer.Option(
            "--to", metavar="TIME|SHARD:SEQ", help="A later one of the same kind; without it, now."
        ),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object.")] = False,
) -> None:
    """Say what changed about an order or an item's stock between two moments, and why.

    The journals are folded until the later moment. Shown are the fields that differ, then every
    input in between that touched it, with its position and with what was decided from it; of an
    item each movement by node. The moments are of Headrace's own clock, as journaled. Shards that
    can't be read are named, with exit code 3; the others answer.

    Examples:
      headrace diff web/4711 --from 2026-01-31T12:00:00Z --to 2026-01-31T18:00:00Z
      headrace diff MUG --from 3:1042 --to 3:1100
      headrace diff MUG --from 2026-01-31T00:00:00Z --json
    """
    settings = load_settings()
    between = _between(since, until, settings)
    told: Json = {"what": what, "positions": [], "before": [], "after": [], "because": []}
    unread: list[Unread] = []

    async def work(log: EventLog) -> None:
        check_topics(await log.describe(), settings)
        collect_rarely()
        with bars() as advanced:

            async def read(shard: int) -> None:
                here = partial(advanced, f"shard {shard}")
                await compare(log, settings, shard, what, between, told, here)

            unread.extend(await read_each(between.shards, read))

    with exit_on_failure():
        run_on_kafka(settings, work)
    told["changed"] = [one._asdict() for one in changes(what, told["before"], told["after"])]
    told["unread"] = [one._asdict() for one in unread]
    if as_json:
        typer.echo(orjson.dumps(told).decode())
    else:
        show(Console(), told)
    nothing = not told["before"] and not told["after"]
    if nothing:
        typer.echo(f"There was nothing of {what} at either moment.", err=True)
    exit_on_unread(unread)
    if nothing:
        raise typer.Exit(_CHECK_FAILED)


def _between(since: str, until: str | None, settings: Settings) -> Between:
    """What is asked for; exits where the two moments don't fit."""
    shards, begin = moment("--from", since, settings)
    if until is None:
        return Between(shards, begin, Until(seq=_NOW))
    others, end = moment("--to", until, settings)
    if (begin.seq is None) is not (end.seq is None) or others != shards:
        typer.echo("--to: give two times, or two commits of one shard", err=True)
        raise typer.Exit(INPUT_ERROR)
    if (begin.seq or 0, begin.time_ms or 0) > (end.seq or 0, end.time_ms or 0):
        typer.echo("--to: is before --from", err=True)
        raise typer.Exit(INPUT_ERROR)
    return Between(shards, begin, end)


async def compare(
    log: EventLog,
    settings: Settings,
    shard: int,
    what: str,
    between: Between,
    told: Json,
    advanced: Any = lambda *_: None,  # noqa: ANN401 - as `past` takes it
) -> None:
    """Add what a shard knows to `told`."""
    watched = Watched(what, between.since)
    found = await past(
        log,
        shard,
        between.until,
        advanced,
        a_core(settings).snapshots,
        since=between.since,
        visit=watched.visit,
    )
    after = watched.last(then(found.shard, what))
    before = after if watched.before is None else watched.before
    before_seq = found.seq if watched.before is None else watched.before_seq
    told["positions"].append({"shard": shard, "from": before_seq, "to": found.seq})
    told["before"] += before
    told["after"] += after
    told["because"] += watched.steps


def show(console: Console, told: Json) -> None:
    """Print it for a person."""

    def say(text: str, style: str | None = None) -> None:
        console.print(text, style=style, highlight=False, markup=False, soft_wrap=True)

    at = ", ".join(
        f"{one['shard']}:{one['from']} to {one['shard']}:{one['to']}" for one in told["positions"]
    )
    say(f"{told['what']} from {at}")
    for line in _changed(told["changed"]):
        say(f"  {line}")
    if not told["changed"]:
        say("  Nothing differs.")
    gone = {one["market_id"] for one in told["before"] if one.get("closed")}
    for one in told["after"]:
        if one.get("closed") and one["market_id"] in gone:
            say(f"  In {one['market_id']} it had left memory before, and nothing about it changes.")
        elif one.get("closed"):
            say(f"  In {one['market_id']} it has left memory by then; its last is told.")
    if told["because"]:
        say("Because", "bold")
    for step in told["because"]:
        say(f"{step['at']} {step['position']}: {_cause(step['input'])}")
        for event in step["events"]:
            resumed = f" (from {_cause(event['input'])})" if "input" in event else ""
            say(f"  {event['said']}{resumed}")
        for one in step.get("movements", ()):
            added = ", ".join(f"{_spaced(name)} {by:+d}" for name, by in one["added"].items())
            left = ", ".join(f"{_spaced(name)} {of}" for name, of in one["balance"].items() if of)
            say(f"  {one['node_id']}: {added}; then {left or 'nothing'}")


def _changed(found: Iterable[Json]) -> Iterable[str]:
    """A line for everything that changed: `line 1: allocated 2 → 0, shipped 0 → 2`.

    Of what is new, what there is of it: `line 1 (new): quantity 2, open 2`.
    """
    for (_, what), group in groupby(found, key=lambda one: (one["market_id"], one["what"])):
        fields = list(group)
        new = all(one["before"] is None for one in fields)
        yield f"{what}{' (new)' if new else ''}: " + ", ".join(
            f"{_spaced(one['field'])} {one['after']}"
            if new
            else f"{_spaced(one['field'])} {_value(one['before'])} → {_value(one['after'])}"
            for one in fields
            if one["after"] or not new
        )


def _value(value: Any) -> str:  # noqa: ANN401 - JSON
    return "—" if value is None else str(value)


def _spaced(name: str) -> str:
    return name.replace("_", " ")


def _cause(cause: Json) -> str:
    if "origin" not in cause:
        return "time passed"
    return f"{cause['type']} {cause['id']} of {cause['source']} ({cause['origin']})"
