"""`headrace shard`: the ways on from a shard that halts."""

import asyncio
import re
import secrets
from collections.abc import Mapping
from contextlib import suppress
from time import monotonic, time_ns
from typing import Annotated, Final

import orjson
import typer

from orchestrator.commands.connection import INPUT_ERROR, load_settings, reading_bar, run_on_kafka
from orchestrator.commands.database import exit_on_failure
from orchestrator.compose import a_core, check_topics, collect_rarely
from orchestrator.runtime.halting import Halt, halts
from orchestrator.runtime.settings import Settings, SetupError
from orchestrator.runtime.snapshots import Snapshots
from orchestrator.runtime.world import SystemClock, SystemRandomness
from orchestrator.verification import Kept
from orchestrator.voiding import NotVoidable, found_void
from projections.postgres import Postgres
from schemas.inbox import SKIP_ORDERED, encode_order
from schemas.journal import FilterState, JournalError
from schemas.ports import EventLog, Partition, Record
from schemas.voids import VOIDS, Foreign, Void, Voids

app = typer.Typer(help="Shards that halt.", no_args_is_help=True)

_CHECK_FAILED: Final = 1
_COORDINATES: Final = re.compile(r"[a-z_]+/\d+@\d+")
_OF_VOIDS: Final = re.compile(r"voids/0@(\d+)")
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
    _check_texts({"--reason": reason, "--by": by})
    if not _COORDINATES.fullmatch(input_):
        typer.echo(
            f'--input: must be coordinates such as inbox/{shard}@1042, was "{input_}"', err=True
        )
        raise typer.Exit(INPUT_ERROR)
    _check_shard(shard, settings)

    async def work(log: EventLog) -> None:
        check_topics(await log.describe(), settings)
        await _skip(log, settings, shard, input_, reason, by)

    run_on_kafka(settings, work)


@app.command()
def void(
    shard: Annotated[int, typer.Argument(min=0, help="The shard whose journal can't be read on.")],
    *,
    at: Annotated[
        str | None,
        typer.Option(
            "--at",
            metavar="COORDINATES",
            help="The place, as this command says it without --at: such as journal/3@1042.",
        ),
    ] = None,
    reason: Annotated[
        str | None, typer.Option("--reason", metavar="TEXT", help="Why, for the audit.")
    ] = None,
    by: Annotated[str | None, typer.Option("--by", metavar="NAME", help="Who says so.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object.")] = False,
) -> None:
    """Say what of a shard's journal is void, where its readers can't read on.

    Or that its inbox lacks records. Without --at it reads both and says where that is, what is
    wrong there, and what would become of it; exit code 1 then. With it, that is written to the void
    list (topic `voids`), with the reason and the name, and every reader goes on behind that place.
    It can't be taken back. Try to restore the topic from a replica first.

    Examples:
      headrace shard void 3
      headrace shard void 3 --at journal/3@1042 --reason "written by a test client" --by ada
    """
    settings = load_settings()
    _check_shard(shard, settings)
    if at is not None:
        _check_texts({"--reason": reason or "", "--by": by or ""})
        if not _COORDINATES.fullmatch(at):
            typer.echo(
                f'--at: must be coordinates such as journal/{shard}@1042, was "{at}"', err=True
            )
            raise typer.Exit(INPUT_ERROR)

    async def work(log: EventLog) -> None:
        check_topics(await log.describe(), settings)
        collect_rarely()
        await _void(log, settings, shard, at, reason or "", by or "", as_json=as_json)

    with exit_on_failure():
        run_on_kafka(settings, work)


@app.command()
def foreign(
    at: Annotated[
        str,
        typer.Argument(
            metavar="COORDINATES", help="The record, as shards say it: such as voids/0@7."
        ),
    ],
    *,
    reason: Annotated[str, typer.Option("--reason", metavar="TEXT", help="Why, for the audit.")],
    by: Annotated[str, typer.Option("--by", metavar="NAME", help="Who says so.")],
) -> None:
    """Say that a record of the void list (topic `voids`) is none of Headrace's.

    What no release can have written there halts every shard that starts. Find out first who wrote
    it: where a tool mangled the topic, restore it from a replica, since a word that is missed leads
    readers another way than those before. Of what a newer release wrote nobody can say so: upgrade.
    It is written to the topic, with the reason and the name, and can't be taken back.

    Examples:
      headrace shard foreign voids/0@7 --reason "a test client, nothing else" --by ada
    """
    settings = load_settings()
    _check_texts({"--reason": reason, "--by": by})
    found = _OF_VOIDS.fullmatch(at)
    if found is None:
        typer.echo(f'must be coordinates such as voids/0@7, was "{at}"', err=True)
        raise typer.Exit(INPUT_ERROR)

    async def work(log: EventLog) -> None:
        check_topics(await log.describe(), settings)
        await _foreign(log, int(found[1]), reason, by)

    run_on_kafka(settings, work)


async def _foreign(log: EventLog, offset: int, reason: str, by: str) -> None:
    voids = Voids(log)
    with suppress(JournalError):
        await voids.read()
    digest = voids.foreign(offset)
    if digest is None:
        raise SetupError(
            f"voids/0@{offset} is no record that every release would have to pass over.",
            _CHECK_FAILED,
        )
    said = Foreign(offset, digest, reason, by, time_ns() // 1_000_000)
    await _say(log, said.record())
    typer.echo(
        f"voids/0@{offset} is passed over by every reader. Halted shards go on within seconds;"
        " restart what ended, and role api."
    )


async def _say(log: EventLog, word: Record) -> None:
    writer = await log.writer()
    try:
        await writer.append(VOIDS, [word])
    finally:
        await writer.close()


async def _void(
    log: EventLog,
    settings: Settings,
    shard: int,
    at: str | None,
    reason: str,
    by: str,
    *,
    as_json: bool,
) -> None:
    voids = Voids(log)
    await voids.read()
    form = a_core(settings).snapshots
    assert form is not None  # noqa: S101 - the core has one
    snapshots = Snapshots(
        shard, log=log, clock=SystemClock(), randomness=SystemRandomness(), form=form, voids=voids
    )
    kept = await _kept(log, settings, shard)
    with reading_bar(f"journal/{shard}") as advanced:
        try:
            found = await found_void(log, shard, voids, snapshots, kept, advanced)
        except NotVoidable as error:
            raise SetupError(f"{error}.", _CHECK_FAILED) from error
    if found is None:
        raise SetupError(
            f"The journal of shard {shard} can be read to its end, and so can its inbox.",
            _CHECK_FAILED,
        )
    place = f"journal/{shard}@{found.first}"
    if at is None:
        told = {"at": place, "what": found.what, "then": _consequence(found)}
        _tell(told, as_json=as_json)
        if not as_json:
            typer.echo(f"If so: headrace shard void {shard} --at {place} --reason TEXT --by NAME")
        raise typer.Exit(_CHECK_FAILED)
    if at != place:
        raise SetupError(f"It can't be read on at {place}, not {at}: {found.what}.", _CHECK_FAILED)
    if found.end_lost:
        await _check_stopped(log, settings)
    said = found._replace(reason=reason, by=by, at_ms=time_ns() // 1_000_000)
    await _say(log, said.record())
    _tell({"at": place, "what": said.what, "then": _consequence(said)}, as_json=as_json)


def _tell(told: dict[str, str], *, as_json: bool) -> None:
    if as_json:
        typer.echo(orjson.dumps(told).decode())
    else:
        typer.echo(f"{told['at']}: {told['what']}.\n{told['then']}")


def _consequence(void: Void) -> str:
    """What becomes of it, in sentences."""
    if void.inbox_lost:
        return (
            f"The shard goes on at inbox/{void.shard}@{void.state.inbox_next}. What stood before it"
            " and was not decided is lost to the shard, and stands in the input topics still: have"
            " it sent again, with new ids."
        )
    if void.end_lost:
        return (
            f"Commits go on with number {void.state.seq + 1}, so that no id is given twice. What"
            " the lost ones published can't be called back: check those orders. Inputs that they"
            " handled are decided again where the inbox still holds them. Afterwards run `headrace"
            " rebuild`, where role past runs `headrace rebuild --past` too, restart role api, and"
            " export to new directories: those there are hold what was lost, as the topics history"
            " and kpis do."
        )
    if void.lost:
        return (
            f"Readers begin with the snapshot at commit {void.state.seq}, offset {void.state.next},"
            " which must not be lost: before it expires, or a release that folds otherwise is"
            " taken, restore the topic. Read models stay as they are and can't be rebuilt; history"
            " before that commit is gone. Exports that have it go on; none can be begun."
        )
    records = void.until - void.first
    return (
        f"{records} {'record' if records == 1 else 'records'} from offset {void.first} on"
        f" {'is' if records == 1 else 'are'} passed over by every reader, as if never written;"
        f" readers go on at offset {void.until} behind commit {void.state.seq}. Inputs that stand"
        " in them are decided again. Restart role api; the others go on by themselves."
    )


async def _kept(log: EventLog, settings: Settings, shard: int) -> list[Kept]:
    """How far the relay and PostgreSQL have read."""
    kept = []
    partition = Partition("journal", shard)
    relayed = (await log.saved("relay", [partition])).get(partition)
    if relayed is not None and relayed.metadata:
        kept.append(Kept("the relay", FilterState.from_json(relayed.metadata)))
    if settings.postgres:
        database = Postgres(settings.postgres, settings.db_schema)
        try:
            state = await database.checkpoint(shard)
        finally:
            await database.close()
        if state is not None:
            kept.append(Kept("PostgreSQL", state))
    return kept


async def _check_stopped(log: EventLog, settings: Settings) -> None:
    """SetupError where an engine works: it would write between what was looked at and the word."""
    group = await log.group("engine", ("inbox",))
    try:
        ours = {one.number for one in await group.changes(0)}
        if ours != set(range(settings.shards)):
            raise SetupError(
                "Engines run: stop them and all standbys first, and start them again afterwards.",
                _CHECK_FAILED,
            )
    finally:
        await group.close()


def _check_shard(shard: int, settings: Settings) -> None:
    if shard >= settings.shards:
        typer.echo(f"There are the shards 0 to {settings.shards - 1}, no {shard}.", err=True)
        raise typer.Exit(INPUT_ERROR)


def _check_texts(texts: Mapping[str, str]) -> None:
    for option, text in texts.items():
        if not 0 < len(text.strip()) <= _MAX_TEXT:
            typer.echo(f"{option}: must be a text of 1 to {_MAX_TEXT} characters", err=True)
            raise typer.Exit(INPUT_ERROR)


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
