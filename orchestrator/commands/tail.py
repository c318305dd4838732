"""`headrace tail`: what is written to a topic, as it comes."""

from typing import Annotated, Any

import orjson
import typer

from orchestrator.commands.connection import INPUT_ERROR, load_settings, run_on_kafka
from schemas.ports import EventLog, LogError, Partition, Read
from schemas.times import rfc3339
from schemas.topics import TOPICS

_MAX_RECORDS = 500
_WAIT_MS = 500


def tail(
    topic: Annotated[str, typer.Argument(help="One of: " + ", ".join(TOPICS))],
    *,
    from_beginning: Annotated[
        bool, typer.Option("--from-beginning", help="Begin with the oldest record.")
    ] = False,
    count: Annotated[
        int | None, typer.Option("--count", "-n", min=1, help="Stop after so many records.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object a record.")] = False,
) -> None:
    """Show what is written to a topic, until Ctrl-C.

    Examples:
      headrace tail order-updates
      headrace tail rejected --from-beginning
      headrace tail fulfillment-commands --json --count 10
    """
    settings = load_settings()
    if topic not in TOPICS:
        typer.echo(f"No topic {topic!r}. There are: {', '.join(TOPICS)}.", err=True)
        raise typer.Exit(INPUT_ERROR)

    async def work(log: EventLog) -> None:
        await _follow(log, topic, from_beginning=from_beginning, count=count, as_json=as_json)

    try:
        run_on_kafka(settings, work)
    except KeyboardInterrupt:
        raise typer.Exit(0) from None


async def _follow(
    log: EventLog, topic: str, *, from_beginning: bool, count: int | None, as_json: bool
) -> None:
    topics = await log.describe()
    if topic not in topics:
        raise LogError(f"the topic {topic} is missing: run `headrace topics create`")
    at: dict[Partition, int | None] = {}
    for number in range(topics[topic].partitions):
        partition = Partition(topic, number)
        at[partition] = None if from_beginning else (await log.bounds(partition)).next
    reader = await log.reader(at)
    shown = 0
    try:
        while count is None or shown < count:
            left = _MAX_RECORDS if count is None else min(count - shown, _MAX_RECORDS)
            for partition, records in (await reader.read(left, _WAIT_MS)).items():
                for record in records:
                    typer.echo((as_object if as_json else as_line)(partition, record))
                    shown += 1
    finally:
        await reader.close()


def as_object(partition: Partition, record: Read) -> str:
    """A record as one JSON object; a value that is no JSON stands there as text."""
    return orjson.dumps(
        {
            "topic": partition.topic,
            "partition": partition.number,
            "offset": record.offset,
            "written_at": rfc3339(record.timestamp_ms),
            "key": _text(record.key),
            "headers": {name: _text(raw) for name, raw in record.headers},
            "value": _value(record.value),
        }
    ).decode()


def as_line(partition: Partition, record: Read) -> str:
    """A record for a person: when, where, what; of a rejected one the reason first."""
    headers = {name: _text(raw) or "" for name, raw in record.headers}
    said = [rfc3339(record.timestamp_ms), f"{partition.topic}/{partition.number}@{record.offset}"]
    if "headrace_reason" in headers:
        origin = "{headrace_topic}/{headrace_partition}@{headrace_offset}".format(**headers)
        said += [f"from {origin}", headers["headrace_reason"] + ":", headers["headrace_detail"]]
    if "ce_type" in headers:
        said.append(headers["ce_type"].removeprefix("headrace."))
    if record.key is not None:
        said.append(f"[{_text(record.key)}]")
    value = _value(record.value)
    said.append(value if isinstance(value, str) else orjson.dumps(value).decode())
    return " ".join(said)


def _text(raw: bytes | None) -> str | None:
    return None if raw is None else raw.decode(errors="replace")


def _value(raw: bytes | None) -> Any:  # noqa: ANN401 - JSON
    try:
        return orjson.loads(raw or b"null")
    except orjson.JSONDecodeError:
        return _text(raw)
