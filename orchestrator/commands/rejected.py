"""`headrace rejected`: what intake could not take, and giving it to intake again."""

import re
from collections import Counter, defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Annotated, Final, NamedTuple

import orjson
import typer
from rich.console import Console
from rich.table import Table

from events.base import TIME
from orchestrator.commands.connection import INPUT_ERROR, load_settings, progress, run_on_kafka
from orchestrator.commands.tail import as_object
from orchestrator.runtime.batches import batches
from orchestrator.runtime.intake import LEFT_OUT
from orchestrator.runtime.whole import Whole
from schemas.cloudevents import Code, UnknownFields, read
from schemas.cloudevents import Rejected as StillRejected
from schemas.ports import EventLog, LogError, Partition, Read, Record
from schemas.times import instant_ms, rfc3339

app = typer.Typer(help="What intake could not take.", no_args_is_help=True)

REPLAY_OF: Final = "headrace_replay_of"
"""The header of a record that was sent again: where it first stood."""
_REASONS: Final = frozenset(
    f"headrace_{name}" for name in ("reason", "detail", "topic", "partition", "offset")
)
_AT: Final = re.compile(r"(?P<topic>[^/@]+)/(?P<number>\d+)@(?P<offset>\d+)")
_LONG: Final = 5_000  # from so many records on a progress bar is worth it


class Origin(NamedTuple):
    """Where a record stands: `<topic>/<number>@<offset>`."""

    partition: Partition
    offset: int

    def __str__(self) -> str:
        """As headers and people write it."""
        return f"{self.partition.topic}/{self.partition.number}@{self.offset}"


@dataclass(frozen=True, slots=True)
class Wanted:
    """Which rejected records: of these codes and types (all, where none is named), written when."""

    codes: frozenset[str] = frozenset()
    types: frozenset[str] = frozenset()
    since_ms: int | None = None
    until_ms: int | None = None

    def has(self, rejected: "Rejection") -> bool:
        """Whether a record is one of them."""
        at_ms = rejected.read.timestamp_ms
        return (
            (not self.codes or rejected.code in self.codes)
            and (not self.types or rejected.type in self.types)
            and (self.since_ms is None or at_ms >= self.since_ms)
            and (self.until_ms is None or at_ms < self.until_ms)
        )


class Rejection(NamedTuple):
    """A record of `rejected`."""

    at: Partition
    read: Read
    code: str
    type: str  # such as "order_placed"; "" where it says none
    origin: Origin
    root: Origin  # where it first stood, when it was sent again; else the origin

    def again(self) -> Record:
        """The record as it was, to be sent again."""
        kept = [
            (name, raw) for name, raw in self.read.headers if name not in {*_REASONS, REPLAY_OF}
        ]
        kept.append((REPLAY_OF, str(self.root).encode()))
        return Record(self.read.key, self.read.value, kept)


@dataclass(slots=True)
class Replay:
    """What a replay comes to."""

    send: dict[Partition, list[Record]] = field(default_factory=lambda: defaultdict(list))
    replayed: int = 0  # sent by an earlier replay, and not rejected again
    still_invalid: Counter[str] = field(default_factory=Counter)  # by code
    untold: int = 0  # the topic no longer reaches back to where it would stand, if it was sent

    @property
    def count(self) -> int:
        """How many are to be sent."""
        return sum(map(len, self.send.values()))


def _origin_of(text: str) -> Origin | None:
    found = _AT.fullmatch(text)
    if found is None:
        return None
    return Origin(Partition(found["topic"], int(found["number"])), int(found["offset"]))


def rejection(at: Partition, record: Read) -> Rejection | None:
    """What a record of `rejected` says; None where somebody else wrote it."""
    said = {name: (raw or b"").decode(errors="replace") for name, raw in record.headers}
    where = "{headrace_topic}/{headrace_partition}@{headrace_offset}".format_map(
        defaultdict(str, said)
    )
    origin = _origin_of(where)
    if origin is None or "headrace_reason" not in said:
        return None
    type_ = said.get("ce_type", "")
    if not type_:
        try:
            document = orjson.loads(record.value or b"")
        except orjson.JSONDecodeError:
            document = None
        type_ = str(document.get("type", "")) if isinstance(document, dict) else ""
    name = type_.removeprefix("headrace.").rpartition(".v")[0] or type_
    root = _origin_of(said.get(REPLAY_OF, ""))
    if root is None or root.partition != origin.partition:  # a producer's own invention
        root = origin
    return Rejection(at, record, said["headrace_reason"], name, origin, root)


async def rejections(
    log: EventLog, advanced: Callable[[int], None] = lambda _: None
) -> list[Rejection]:
    """All of `rejected` up to its end as of now, in order; one that stands there twice, once."""
    topics = await log.describe()
    if "rejected" not in topics:
        raise LogError("the topic rejected is missing: run `headrace topics create`")
    found: dict[Origin, Rejection] = {}
    for number in range(topics["rejected"].partitions):
        partition = Partition("rejected", number)
        async with Whole(log, partition, retained=True) as reading:
            async for reads in reading:
                for one in (rejection(partition, record) for record in reads):
                    if one is not None:
                        found.setdefault(one.origin, one)
                advanced(len(reads))
    return sorted(found.values(), key=lambda one: (one.read.timestamp_ms, one.origin))


async def _sent_again(
    log: EventLog, chosen: Sequence[Rejection], advanced: Callable[[int], None]
) -> tuple[Mapping[Origin, Origin], Mapping[Partition, int]]:
    """By where a record first stood: where it was sent the last time; and from where that is known.

    What `rejected` says of it is known, and what the input topics still hold.
    """
    newest: dict[Origin, Origin] = {}
    first: dict[Partition, int] = {}
    for _, _, _, _, origin, root in chosen:
        newest[root] = max(origin, newest.get(root, origin))
        first[root.partition] = min(root.offset, first.get(root.partition, root.offset))
    for partition, offset in sorted(first.items()):
        async with Whole(log, partition, offset, retained=True) as reading:
            async for reads in reading:
                for record in reads:
                    for name, raw in record.headers:
                        sent = (
                            _origin_of(raw.decode(errors="replace")) if name == REPLAY_OF else None
                        )
                        if sent is not None:
                            newest[sent] = Origin(partition, record.offset)
                advanced(len(reads))
        first[partition] = reading.first
    return newest, first


async def plan(
    log: EventLog,
    found: Sequence[Rejection],
    wanted: Wanted,
    unknown_fields: UnknownFields = "refuse",
    advanced: Callable[[int], None] = lambda _: None,
    *,
    untold_too: bool = False,
) -> Replay:
    """What of these is to be sent again, in which order.

    1. Of a record that was sent again before, only the newest attempt counts: where that was not
       rejected (yet), nothing is to be done.
    2. Where retention has taken what came behind a record, nobody knows whether it was sent again:
       it is left out, but for `untold_too`.
    3. What today's reader refuses by its content would be rejected again: it is left out, and so is
       what `rejected` could not take whole.
    """
    replay = Replay()
    chosen = [one for one in found if wanted.has(one)]
    newest, known_from = await _sent_again(log, chosen, advanced)
    for one in chosen:
        if newest[one.root] != one.origin:
            replay.replayed += one.root == one.origin
            continue
        if any(name == LEFT_OUT for name, _ in one.read.headers):
            replay.still_invalid[Code.TOO_LARGE] += 1
            continue
        again = one.again()
        event = read(
            one.origin.partition.topic, again.value, again.headers, unknown_fields=unknown_fields
        )
        if isinstance(event, StillRejected):
            replay.still_invalid[event.code] += 1
        elif known_from[one.origin.partition] > one.origin.offset + 1 and not untold_too:
            replay.untold += 1
        else:
            replay.send[one.origin.partition].append(again)
    return replay


async def send(
    log: EventLog, replay: Replay, advanced: Callable[[int], None] = lambda _: None
) -> None:
    """Send it to where it came from, master data first; LogError when not all is acknowledged."""
    writer = await log.writer()
    try:
        for to in sorted(replay.send, key=lambda one: (one.topic != "network", one)):
            for batch in batches(replay.send[to]):
                await writer.append(to, batch)
                advanced(len(batch))
    finally:
        await writer.close()


_Codes = Annotated[
    list[Code] | None, typer.Option("--code", help="Only of this reason; may be repeated.")
]
_Types = Annotated[
    list[str] | None,
    typer.Option("--type", help="Only this event, such as order_placed; may be repeated."),
]
_Since = Annotated[
    str | None, typer.Option("--since", metavar="TIME", help="Rejected then or later (RFC 3339).")
]
_Until = Annotated[str | None, typer.Option("--until", metavar="TIME", help="Rejected before.")]


def _wanted(
    codes: list[Code] | None, types: list[str] | None, since: str | None, until: str | None
) -> Wanted:
    return Wanted(
        frozenset(codes or ()),
        frozenset(types or ()),
        _moment("--since", since),
        _moment("--until", until),
    )


def _moment(option: str, text: str | None) -> int | None:
    if text is None:
        return None
    try:
        if TIME.fullmatch(text):
            return instant_ms(text.upper())
    except (ValueError, OverflowError):
        pass  # no such day or hour
    typer.echo(f'{option}: must be a time such as 2026-01-31T12:00:00Z, was "{text}"', err=True)
    raise typer.Exit(INPUT_ERROR)


async def _rejected_records(log: EventLog) -> int:
    """About how many `rejected` holds."""
    partitions = (await log.describe()).get("rejected")
    numbers = range(partitions.partitions if partitions else 0)
    bounds = [await log.bounds(Partition("rejected", number)) for number in numbers]
    return sum(one.next - one.first for one in bounds)


@app.command("list")
def list_(
    *,
    code: _Codes = None,
    type_: _Types = None,
    since: _Since = None,
    until: _Until = None,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object a record.")] = False,
) -> None:
    """List what intake could not take, oldest first, with the reason and where it stands.

    Examples:
      headrace rejected list
      headrace rejected list --code unknown_market --type order_placed
      headrace rejected list --since 2026-01-31T00:00:00Z --json
    """
    settings = load_settings()
    wanted = _wanted(code, type_, since, until)

    async def work(log: EventLog) -> None:
        total = await _rejected_records(log)
        with progress("Reading rejected", total, at_least=_LONG) as advanced:
            found = [one for one in await rejections(log, advanced) if wanted.has(one)]
        if as_json:
            for one in found:
                typer.echo(as_object(one.at, one.read))
        else:
            _show(found)

    run_on_kafka(settings, work)


def _show(found: Sequence[Rejection]) -> None:
    shown = Table("rejected at", "record", "event", "reason", "detail", box=None)
    for one in found:
        headers = dict(one.read.headers)
        detail = headers.get("headrace_detail", b"").decode(errors="replace")
        at = rfc3339(one.read.timestamp_ms)
        shown.add_row(at, str(one.origin), one.type or "—", one.code, detail)
    console = Console()
    if found:
        console.print(shown, markup=False)
    console.print(_counted(len(found), Counter(one.code for one in found), "rejected"))


def _counted(total: int, codes: Mapping[str, int], what: str) -> str:
    by_code = ", ".join(f"{count} {name}" for name, count in sorted(codes.items()))
    return f"{total} {what}" + (f" ({by_code})." if by_code else ".")


@app.command()
def replay(
    *,
    code: _Codes = None,
    type_: _Types = None,
    since: _Since = None,
    until: _Until = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Say what would be sent, send nothing.")
    ] = False,
    again: Annotated[
        bool,
        typer.Option(
            "--again", help="Also what nobody can tell of any more whether it was sent again."
        ),
    ] = False,
) -> None:
    """Send rejected records again, unchanged, to where they came from.

    What today's release would refuse by its content is left out, and what was sent again before:
    so doing it twice changes nothing. It is for what was rejected for a missing market or node
    that is defined by now, and for what an upgrade has learned to read.

    Whether a record was sent again is looked for in its own topic. Where retention has removed what
    came behind it there, it is left out as well, and counted; --again sends it all the same. What
    was sent more than a day ago and has no key of its own (an order id, a document) counts twice.

    Examples:
      headrace rejected replay --code unknown_market --dry-run
      headrace rejected replay --code unknown_market
      headrace rejected replay --type order_placed --since 2026-01-31T00:00:00Z
    """
    settings = load_settings()
    wanted = _wanted(code, type_, since, until)

    async def work(log: EventLog) -> None:
        total = await _rejected_records(log)
        with progress("Reading rejected", total, at_least=_LONG) as advanced:
            found = await rejections(log, advanced)
        planned = await plan(log, found, wanted, settings.unknown_fields, untold_too=again)
        if not dry_run:
            with progress("Sending", planned.count, at_least=_LONG) as advanced:
                await send(log, planned, advanced)
        _tell(planned, dry_run=dry_run)

    run_on_kafka(settings, work)


def _tell(planned: Replay, *, dry_run: bool) -> None:
    said = "would be sent again" if dry_run else "sent again"
    topics: Counter[str] = Counter()
    for to, records in planned.send.items():
        topics[to.topic] += len(records)
    where = ", ".join(f"{count} to {topic}" for topic, count in sorted(topics.items()))
    typer.echo(f"{planned.count} {said}" + (f" ({where})." if where else "."))
    if planned.replayed:
        typer.echo(f"{planned.replayed} had been sent again before.")
    if planned.still_invalid:
        total = planned.still_invalid.total()
        typer.echo(_counted(total, planned.still_invalid, "would be rejected again, left out"))
    if planned.untold:
        typer.echo(
            f"{planned.untold} left out: their topics no longer hold what came behind them, so"
            " nobody can tell whether they were sent again before. If they were not: --again."
        )
