"""`headrace send`: events from a file to their topics."""

import asyncio
import re
import secrets
import sys
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Sequence
from datetime import UTC, datetime
from hashlib import blake2b
from itertools import groupby
from pathlib import Path
from typing import Annotated, Final, NamedTuple

import orjson
import typer

from events.inputs import INPUTS
from orchestrator.commands.connection import INPUT_ERROR, load_settings, progress, run_on_kafka
from orchestrator.runtime.batches import batches
from orchestrator.runtime.settings import Settings
from schemas.cloudevents import Rejected, UnknownFields, emit, read
from schemas.ports import EventLog, LogError, Partition, Record, Writer

SOURCE: Final = "headrace-send"
_VERSION = re.compile(r"\.v[0-9]+$", re.ASCII)
_EXTENSION = re.compile(r"[a-z0-9]{1,20}", re.ASCII)
_ATTRIBUTES = frozenset({"specversion", "id", "source", "type", "time", "datacontenttype", "data"})
_ROUND_LINES = 2_000  # between two steps of the progress bar
_SHOWN_BAD_LINES = 20
_LONG_LINES = 5_000  # from here on a progress bar is worth it


class Event(NamedTuple):
    """A line that may be sent."""

    line: int
    type: str
    id: str
    topic: str
    record: Record
    derived_id: bool  # the same input again makes the same one


class BadLine(NamedTuple):
    """A line that may not, and why."""

    line: int
    detail: str


class Sent(NamedTuple):
    """An acknowledged event."""

    event: Event
    partition: Partition
    offset: int

    @property
    def position(self) -> str:
        """`<topic>/<partition>@<offset>`, as the HTTP header Headrace-Position takes it."""
        return f"{self.partition.topic}/{self.partition.number}@{self.offset}"


def parse(
    text: bytes, *, new_ids: bool, now: datetime, unknown_fields: UnknownFields = "refuse"
) -> Iterator[Event | BadLine]:
    """Check every line as intake would.

    Absent ids are made of the whole text and the line's number, with `new_ids` of chance beside.
    """
    salt = secrets.token_bytes(16) if new_ids else b""
    whole = blake2b(text, digest_size=12, key=salt).hexdigest()
    time = now.isoformat(timespec="milliseconds").replace("+00:00", "Z")
    for number, line in enumerate(text.splitlines(), 1):
        if line.strip():
            one = _parse_line(number, line, f"{whole}-{number}", time, unknown_fields)
            yield one._replace(derived_id=False) if new_ids and isinstance(one, Event) else one


def _parse_line(
    number: int, line: bytes, own_id: str, time: str, unknown_fields: UnknownFields
) -> Event | BadLine:
    try:
        given = orjson.loads(line)
    except orjson.JSONDecodeError as error:
        return BadLine(number, f"is not JSON: {error}")
    if not isinstance(given, dict):
        return BadLine(number, 'must be a JSON object with "type" and "data"')
    for name in ("type", "data"):
        if name not in given:
            return BadLine(number, f"{name}: is missing")
    for name, value in given.items():
        if name not in _ATTRIBUTES and not (
            _EXTENSION.fullmatch(name) and isinstance(value, str | int)
        ):
            return BadLine(
                number, f"{name[:60]!r}: is not an attribute of a CloudEvent: put it into data"
            )
        if name in _ATTRIBUTES - {"data"} and not isinstance(value, str):
            return BadLine(number, f"{name}: must be a text, was {value!r:.60}")
    type_ = given["type"].removeprefix("headrace.")
    match = _VERSION.search(type_)
    name = type_[: match.start()] if match else type_
    version = int(match[0][2:]) if match else 1
    derived = "id" not in given
    id_ = own_id if derived else given["id"]
    headers = emit(
        name,
        id_,
        given.get("source", SOURCE),
        given.get("time", time),
        version=version,
        extensions={
            attribute: value if isinstance(value, str) else str(value).lower()
            for attribute, value in given.items()
            if attribute not in _ATTRIBUTES
        },
    )
    if "specversion" in given:
        headers[0] = ("ce_specversion", given["specversion"].encode())
    topic = INPUTS[name].TOPIC if name in INPUTS else ""
    data = orjson.dumps(given["data"])
    event = read(topic, data, headers, unknown_fields=unknown_fields)
    if isinstance(event, Rejected):
        return BadLine(number, f"{event.detail} ({event.code})")
    record = Record(event.model.record_key().encode(), data, headers)
    return Event(number, name, id_, topic, record, derived)


def partition_of(key: bytes, partitions: int) -> int:
    """The partition that Kafka's own default partitioner gives a key."""
    from aiokafka.partitioner import murmur2  # noqa: PLC0415 - a dry run needs no client

    hashed: int = murmur2(key)
    return (hashed & 0x7FFFFFFF) % partitions


async def deliver(
    log: EventLog, events: Sequence[Event], acknowledged: Callable[[Sequence[Sent]], None]
) -> None:
    """Send in the file's order: a topic's run is acknowledged before the next topic's goes.

    Within a run, partitions go side by side, since order is promised within a key only. LogError
    when not all of it is acknowledged.
    """
    topics = await log.describe()
    for topic in dict.fromkeys(event.topic for event in events):
        if topic not in topics:
            raise LogError(f"the topic {topic} is missing: run `headrace topics create`")
    writer = await log.writer()
    try:
        for topic, run in groupby(events, key=lambda event: event.topic):
            rest = list(run)
            while rest:
                now, rest = rest[:_ROUND_LINES], rest[_ROUND_LINES:]
                targets: dict[Partition, list[Event]] = defaultdict(list)
                for event in now:
                    number = partition_of(event.record.key or b"", topics[topic].partitions)
                    targets[Partition(topic, number)].append(event)
                outcomes = await asyncio.gather(
                    *(_deliver_to(writer, to, some, acknowledged) for to, some in targets.items()),
                    return_exceptions=True,
                )
                for outcome in outcomes:
                    if outcome is not None:
                        raise outcome
    finally:
        await writer.close()


async def _deliver_to(
    writer: Writer,
    to: Partition,
    events: Sequence[Event],
    acknowledged: Callable[[Sequence[Sent]], None],
) -> None:
    done = 0
    for batch in batches(event.record for event in events):
        appended = await writer.append(to, batch)
        some = events[done : done + len(batch)]
        done += len(batch)
        acknowledged([Sent(event, to, appended.base_offset + n) for n, event in enumerate(some)])


def send(
    file: Annotated[
        str, typer.Argument(metavar="FILE", help="A file of JSON lines, or - for standard input.")
    ],
    *,
    new_ids: Annotated[
        bool, typer.Option("--new-ids", help="Make new ids, so that the same file counts again.")
    ] = False,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Check every line, send nothing.")
    ] = False,
    skip_invalid: Annotated[
        bool, typer.Option("--skip-invalid", help="Leave out lines that are not valid.")
    ] = False,
    as_json: Annotated[
        bool, typer.Option("--json", help="One JSON object an event, with its position.")
    ] = False,
) -> None:
    """Send events to their topics, and wait for the acknowledgements.

    Each line is a JSON object with `type` and `data`, such as
    {"type": "order_cancel_requested", "data": {...}}. What a CloudEvent has beside is filled in
    when absent: specversion, id, source, time. Every line is checked before anything is sent.

    Examples:
      headrace send examples/01-network.jsonl
      headrace send --dry-run examples/03-order.jsonl
      echo '{"type": ..., "data": {...}}' | headrace send --json -
    """
    settings = load_settings()
    text = _read_file(file)
    events: list[Event] = []
    bad: list[BadLine] = []
    for line in parse(
        text, new_ids=new_ids, now=datetime.now(UTC), unknown_fields=settings.unknown_fields
    ):
        (events if isinstance(line, Event) else bad).append(line)  # type: ignore[arg-type]  # sorted by class
    _tell_bad_lines(bad)
    if bad and not skip_invalid:
        typer.echo(
            "Nothing was sent: mend the lines, or leave them out with --skip-invalid.", err=True
        )
        raise typer.Exit(INPUT_ERROR)
    sent = _send(settings, events, new_ids=new_ids) if events and not dry_run else []
    if as_json:
        _print_json(events, sent)
    _summarise(events, bad, dry_run=dry_run, to_stderr=as_json)


def _read_file(file: str) -> bytes:
    try:
        return sys.stdin.buffer.read() if file == "-" else Path(file).read_bytes()
    except OSError as error:
        typer.echo(f"{file}: can't be read: {error.strerror}", err=True)
        raise typer.Exit(INPUT_ERROR) from None


def _send(settings: Settings, events: Sequence[Event], *, new_ids: bool) -> list[Sent]:
    sent: list[Sent] = []
    again = (
        "Sent again with --new-ids, what arrived counts twice."
        if new_ids
        else "Send the same again: what arrived is then ignored."
    )

    async def work(log: EventLog) -> None:
        with progress("Sending", len(events), at_least=_LONG_LINES) as advance:

            def acknowledged(some: Sequence[Sent]) -> None:
                sent.extend(some)
                advance(len(some))

            try:
                await deliver(log, events, acknowledged)
            except LogError as error:
                raise LogError(
                    f"{error}\n{len(sent)} of {len(events)} events are acknowledged. {again}"
                ) from error

    run_on_kafka(settings, work)
    return sent


def _tell_bad_lines(bad: Sequence[BadLine]) -> None:
    for one in bad[:_SHOWN_BAD_LINES]:
        typer.echo(f"line {one.line}: {one.detail}", err=True)
    if len(bad) > _SHOWN_BAD_LINES:
        typer.echo(f"... and {len(bad) - _SHOWN_BAD_LINES} more lines", err=True)


def _print_json(events: Sequence[Event], sent: Sequence[Sent]) -> None:
    positions = {one.event.line: one.position for one in sent}
    for event in events:
        shown = {"line": event.line, "type": event.type, "id": event.id, "topic": event.topic}
        if event.line in positions:
            shown["position"] = positions[event.line]
        typer.echo(orjson.dumps(shown).decode())


def _summarise(
    events: Sequence[Event], bad: Sequence[BadLine], *, dry_run: bool, to_stderr: bool
) -> None:
    counts = Counter(event.topic for event in events)
    where = ", ".join(f"{count} to {topic}" for topic, count in counts.items())
    plural = "" if len(events) == 1 else "s"
    said = "valid, nothing was sent" if dry_run else "sent"
    typer.echo(
        f"{len(events)} event{plural} {said}" + (f" ({where})" if where else "") + ".",
        err=to_stderr,
    )
    if bad:
        typer.echo(f"{len(bad)} not valid, left out.", err=to_stderr)
    if not dry_run and any(event.derived_id for event in events):
        typer.echo(
            "Their ids are made from the content: sending the same again changes nothing"
            " (--new-ids makes it count again).",
            err=to_stderr,
        )
