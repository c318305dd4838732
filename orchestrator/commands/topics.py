"""`headrace topics`: create and describe the topics of the catalogue."""

from typing import Annotated

import orjson
import typer

from orchestrator.commands.connection import INPUT_ERROR, load_settings, run_on_kafka
from orchestrator.runtime.settings import SetupError
from schemas.topics import TOPICS

app = typer.Typer(help="The topics on Kafka.", no_args_is_help=True)


@app.command()
def create() -> None:
    """Create the topics that are missing. What is there stays as it is.

    Examples:
      HEADRACE_KAFKA=127.0.0.1:9092 headrace topics create
      HEADRACE_SHARDS=16 headrace topics create
    """
    settings = load_settings()

    async def work(log: "KafkaLog") -> None:
        created = await create_topics(log, settings)
        check_topics(await log.describe(), settings)
        there = len(TOPICS) - len(created)
        typer.echo(f"Created {len(created)} topics; {there} were there already.")

    from orchestrator.compose import check_topics, create_topics  # noqa: PLC0415 - slow to load
    from orchestrator.runtime.kafka_log import KafkaLog  # noqa: PLC0415 - the same

    run_on_kafka(settings, work)


@app.command()
def accept(
    topic: Annotated[str, typer.Argument(help="An input topic that was made anew.")],
    *,
    reason: Annotated[str, typer.Option("--reason", metavar="TEXT", help="Why, for the audit.")],
    by: Annotated[str, typer.Option("--by", metavar="NAME", help="Who says so.")],
) -> None:
    """Accept the new life of an input topic that was deleted and created again.

    Its offsets begin again, so intake and shards halt rather than take its records for old ones.
    Stop intake first. Every shard journals the reason and the name, and forgets how far it had
    taken the topic; intake begins at the topic's first record.

    Example:
      headrace topics accept orders --reason "restored after the outage of May 4" --by ada
    """
    from orchestrator.commands.shard import order  # noqa: PLC0415 - slow to load
    from orchestrator.compose import check_topics  # noqa: PLC0415 - the same
    from orchestrator.runtime.intake import INTAKE_TOPICS  # noqa: PLC0415 - the same
    from schemas.inbox import RENEWAL_ORDERED  # noqa: PLC0415 - the same
    from schemas.ports import Checkpoint, Partition  # noqa: PLC0415 - the same

    settings = load_settings()
    if topic not in INTAKE_TOPICS:
        typer.echo(f"{topic} is no input topic: there are {', '.join(INTAKE_TOPICS)}.", err=True)
        raise typer.Exit(INPUT_ERROR)

    async def work(log: "KafkaLog") -> None:
        found = await log.describe()
        check_topics(found, settings)
        partitions = {Partition(topic, number) for number in range(found[topic].partitions)}
        group = await log.group("intake", INTAKE_TOPICS)
        try:
            if not partitions <= await group.changes(0):
                raise SetupError("Intake runs: stop it first, and start it again afterwards.", 1)
            firsts = {one: (await log.bounds(one)).first for one in sorted(partitions)}
            shards = list(range(settings.shards))
            await order(log, shards, RENEWAL_ORDERED, {"topic": topic, "reason": reason, "by": by})
            await group.save({one: Checkpoint(first, "") for one, first in firsts.items()})
        finally:
            await group.close()
        typer.echo(f"The new life of {topic} is accepted: start intake again.")

    from orchestrator.runtime.kafka_log import KafkaLog  # noqa: PLC0415 - slow to load

    run_on_kafka(settings, work)


@app.command()
def describe(
    *, as_json: Annotated[bool, typer.Option("--json", help="One JSON object.")] = False
) -> None:
    """Show the topics: partitions, replicas, what they are for.

    Examples:
      headrace topics describe
      headrace topics describe --json
    """
    settings = load_settings()

    async def work(log: "KafkaLog") -> None:
        found = await log.describe()
        if as_json:
            shown = {name: one._asdict() for name, one in found.items()}
            typer.echo(orjson.dumps(shown, option=orjson.OPT_INDENT_2).decode())
            return
        for name, topic in TOPICS.items():
            one = found.get(name)
            size = f"{one.partitions} x {one.replication}" if one else "missing"
            typer.echo(f"{settings.prefix + name:<28} {size:<8} {topic.role:<9} {topic.what}")

    from orchestrator.runtime.kafka_log import KafkaLog  # noqa: PLC0415 - slow to load

    run_on_kafka(settings, work)
