"""`headrace topics`: create and describe the topics of the catalogue."""

from typing import Annotated

import orjson
import typer

from orchestrator.commands.connection import load_settings, run_on_kafka
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
