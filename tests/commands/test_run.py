"""`headrace run`: told to stop before it has begun to work."""

import asyncio

import pytest

from orchestrator import compose
from orchestrator.runtime.settings import Settings, SetupError


@pytest.mark.parametrize("roles", [["engine"], ["intake", "relay"]])
async def test_who_is_told_to_stop_while_it_connects_leaves_at_once_and_has_not_failed(
    roles: list[str],
) -> None:
    asked = asyncio.Event()
    clients: list[asyncio.StreamWriter] = []

    async def mute(reader: asyncio.StreamReader, client: asyncio.StreamWriter) -> None:
        clients.append(client)
        await reader.read(1)
        asked.set()

    async with await asyncio.start_server(mute, "127.0.0.1", 0) as server:
        host, port = server.sockets[0].getsockname()[:2]
        settings = Settings(kafka=f"{host}:{port}", http="127.0.0.1:0")
        stop = asyncio.Event()
        running = asyncio.create_task(compose.run(settings, roles, stop))
        async with asyncio.timeout(10):
            await asked.wait()
            stop.set()
            await running
        for client in clients:
            client.close()
            await client.wait_closed()


async def test_a_server_that_is_not_there_is_a_failure_still() -> None:
    settings = Settings(kafka="127.0.0.1:1", http="127.0.0.1:0")
    with pytest.raises(SetupError, match=r"HEADRACE_KAFKA=127\.0\.0\.1:1"):
        await compose.run(settings, ["engine"], asyncio.Event())
