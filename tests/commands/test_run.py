"""`headrace run`: told to stop before it has begun to work."""

import asyncio
import socket
import subprocess
import sys
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any

import httpx
import psycopg
import pytest

from orchestrator import compose
from orchestrator.runtime.kafka_log import KafkaLog, KafkaSettings
from orchestrator.runtime.settings import Settings, SetupError
from projections import schema
from schemas.ports import Partition, Record
from tests.kafka.roles import Processes


@pytest.mark.parametrize("roles", [["engine"], ["intake", "relay"]])
async def test_who_is_told_to_stop_while_it_connects_leaves_at_once_and_has_not_failed(
    roles: list[str],
) -> None:
    async with mute() as (address, asked):
        settings = Settings(kafka=address, http="127.0.0.1:0")
        stop = asyncio.Event()
        running = asyncio.create_task(compose.run(settings, roles, stop))
        async with asyncio.timeout(10):
            await asked.wait()
            stop.set()
            await running


@pytest.mark.parametrize("silent", ["kafka", pytest.param("postgres", marks=pytest.mark.slow)])
async def test_a_process_with_all_roles_ends_in_time_where_a_server_takes_connections_and_is_mute(
    silent: str, tmp_path: Path, request: pytest.FixtureRequest, prefix: str
) -> None:
    async with mute() as (address, asked):
        kafka = address
        if silent == "postgres":
            kafka = request.getfixturevalue("tansu")
            log = await KafkaLog.open(KafkaSettings(kafka, prefix))
            await compose.create_topics(log, Settings(kafka=kafka, prefix=prefix, shards=1))
            await log.close()
        database = f"postgresql://nobody@{address}/none"
        roles = Processes(tmp_path, kafka, prefix, database, shards="1")
        process = roles.start("intake,engine,standby,relay,history,projector,past,api")
        try:
            async with asyncio.timeout(60):
                await asked.wait()
            told_s = time.monotonic()
            await process.stop()
            assert time.monotonic() - told_s < 10
        finally:
            roles.end()


@asynccontextmanager
async def mute() -> AsyncIterator[tuple[str, asyncio.Event]]:
    """The address of a server that reads and never answers; set once somebody asked it."""
    asked = asyncio.Event()
    clients: list[asyncio.StreamWriter] = []

    async def hear(reader: asyncio.StreamReader, client: asyncio.StreamWriter) -> None:
        clients.append(client)
        await reader.read(1)
        asked.set()

    async with await asyncio.start_server(hear, "127.0.0.1", 0) as server:
        host, port = server.sockets[0].getsockname()[:2]
        yield f"{host}:{port}", asked
        for client in clients:
            client.close()
            await client.wait_closed()


HALTED = """
from orchestrator.commands.run import end_as_it_is
from orchestrator.compose import Roles
from orchestrator.runtime.halting import Halt

here = Roles()
if {halts}:
    here.halts = lambda: {{3: Halt("a defect", ["inbox/3@7"])}}
end_as_it_is(here)
"""


@pytest.mark.parametrize("halts", [True, False])
def test_a_process_that_ends_as_it_is_says_still_that_a_shard_halted(
    halts: bool,  # noqa: FBT001 - a parameter
) -> None:
    command = [sys.executable, "-c", HALTED.format(halts=halts)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == halts, done.stderr
    assert ("shard 3 halted: a defect" in done.stderr) == halts


async def test_history_and_the_past_can_be_switched_off_and_then_need_nothing(
    tansu: str, prefix: str
) -> None:
    settings = Settings(
        kafka=tansu, prefix=prefix, shards=1, http="127.0.0.1:0", history=False, past=False
    )
    log = await KafkaLog.open(KafkaSettings(tansu, prefix))
    await compose.create_topics(log, settings)
    await log.close()
    stop, here = asyncio.Event(), compose.Roles()
    roles = ["intake", "history", "past"]  # without a database, which the past needs
    running = asyncio.create_task(compose.run(settings, roles, stop, here=here))
    async with asyncio.timeout(60):
        while not here.running and not running.done():
            await asyncio.sleep(0.02)
    assert here.running.keys() == {"intake"}
    stop.set()
    await running


async def test_a_shard_that_halts_is_told_where_the_broker_keeps_no_metadata(
    tansu: str, prefix: str, postgres: str
) -> None:
    settings = Settings(kafka=tansu, postgres=postgres, prefix=prefix, shards=1, partitions=1)
    async with await psycopg.AsyncConnection.connect(postgres, autocommit=True) as admin:
        await schema.migrate_all(admin, settings.db_schema)
    log = await KafkaLog.open(KafkaSettings(tansu, prefix))
    await compose.create_topics(log, settings)
    writer = await log.writer()
    await writer.append(Partition("inbox", 0), [Record(None, b"no inbox record")])
    await writer.close()
    await log.close()
    stop = asyncio.Event()
    with socket.create_server(("127.0.0.1", 0)) as listening:
        address = "http://{}:{}".format(*listening.getsockname())
        roles = ["engine", "projector", "api"]
        running = asyncio.create_task(compose.run(settings, roles, stop, listening=listening))
        halted: Any = None
        async with httpx.AsyncClient(base_url=address) as client, asyncio.timeout(60):
            while halted is None:
                await asyncio.sleep(0.1)
                with suppress(httpx.TransportError):
                    for shard in (await client.get("/shards")).json().get("items", ()):
                        halted = shard["halted"]
        assert "can't be read" in halted["what"]
        stop.set()
        with pytest.raises(SetupError, match="shard 0 halted"):
            await running


async def test_a_server_that_is_not_there_is_a_failure_still() -> None:
    settings = Settings(kafka="127.0.0.1:1", http="127.0.0.1:0")
    with pytest.raises(SetupError, match=r"HEADRACE_KAFKA=127\.0\.0\.1:1"):
        await compose.run(settings, ["engine"], asyncio.Event())
