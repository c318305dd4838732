"""All roles on real servers: what was sent is seen at its position."""

import asyncio
from collections.abc import AsyncIterator
from datetime import UTC, datetime

import httpx
import orjson
import psycopg
import pytest

from orchestrator import compose
from orchestrator.commands.send import Event, deliver, parse
from orchestrator.runtime import server
from orchestrator.runtime.kafka_log import KafkaLog, KafkaSettings
from orchestrator.runtime.settings import Settings
from projections import schema
from tests.docs.pages import ROOT

HEADER = "Headrace-Position"
ORDERS = 20


@pytest.fixture
def settings(broker: str, prefix: str, postgres: str) -> Settings:
    return Settings(
        kafka=broker,
        prefix=prefix,
        postgres=postgres,
        shards=2,
        replication=1,
        kafka_fetch_wait_ms=10,
    )


@pytest.fixture
async def log(settings: Settings) -> AsyncIterator[KafkaLog]:
    log = await KafkaLog.open(KafkaSettings(settings.kafka or "", settings.prefix))
    await compose.create_topics(log, settings)
    yield log
    await log.close()


@pytest.fixture
async def api(
    log: KafkaLog,  # noqa: ARG001 - made the topics
    settings: Settings,
) -> AsyncIterator[httpx.AsyncClient]:
    url = settings.postgres or ""
    async with await psycopg.AsyncConnection.connect(url, autocommit=True) as connection:
        await schema.migrate_all(connection, settings.db_schema)
    stop, listening = asyncio.Event(), server.bind("127.0.0.1:0")
    host, port = listening.getsockname()
    running = asyncio.create_task(compose.run(settings, compose.ROLES, stop, listening=listening))
    async with httpx.AsyncClient(base_url=f"http://{host}:{port}", timeout=30) as client:
        async with asyncio.timeout(30):
            while (await client.get("/health/ready")).status_code != 200:
                await asyncio.sleep(0.05)
        yield client
    stop.set()
    await running


async def sent(log: KafkaLog, text: bytes) -> list[str]:
    """The positions of these lines."""
    positions: list[str] = []
    lines = list(parse(text, new_ids=False, now=datetime.now(UTC)))
    events = [line for line in lines if isinstance(line, Event)]
    assert len(events) == len(lines)
    await deliver(log, events, lambda some: positions.extend(one.position for one in some))
    return positions


async def test_an_order_is_found_at_the_position_of_its_acknowledgement(
    log: KafkaLog, api: httpx.AsyncClient
) -> None:
    for file in ("01-network", "02-stock"):
        await sent(log, (ROOT / f"examples/{file}.jsonl").read_bytes())
    order = orjson.loads((ROOT / "examples/03-order.jsonl").read_bytes())
    for number in range(ORDERS):
        order["data"]["order_id"] = f"mine-{number}"
        (position,) = await sent(log, orjson.dumps(order))
        answer = await api.get(f"/orders/web/mine-{number}", headers={HEADER: position})
        assert answer.status_code == 200, (number, answer.text)


async def test_a_position_of_no_input_is_refused_at_once(api: httpx.AsyncClient) -> None:
    for position in ("orders/4@0", "network/1@0", "inbox/0@0", "none/0@0"):
        answer = await api.get("/nodes", headers={HEADER: position})
        assert answer.status_code == 400, position
