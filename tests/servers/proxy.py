"""A link between clients and a server that loses what a test tells it to lose."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from enum import Enum


class Loss(Enum):
    """What becomes of a request and its answer."""

    UNASKED = "the request is lost, and the link is cut"
    UNANSWERED = "the server answers, and the link is cut before the client hears of it"
    HELD = "the client's link is cut, the request reaches the server at `release`"


class Proxy:
    """A server behind another port.

    `deaf` and `mute` lose all requests, or all answers, while they are set.
    """

    def __init__(self, server_port: int) -> None:
        self.port = 0
        self.deaf = False
        self.mute = False
        self.lost = asyncio.Event()
        """What `lose` asked for has happened."""
        self._server_port = server_port
        self._lose: tuple[bytes, Loss] | None = None
        self._released = asyncio.Event()

    def lose(self, request: bytes, loss: Loss) -> None:
        """Lose the next piece of a request that holds these bytes."""
        self.lost.clear()
        self._released.clear()
        self._lose = (request, loss)

    def release(self) -> None:
        """Pass on what is held."""
        self._released.set()

    @asynccontextmanager
    async def running(self) -> AsyncIterator["Proxy"]:
        """Listen on a free port until the end."""
        links = set[asyncio.Task[None]]()

        async def accept(client: asyncio.StreamReader, to_client: asyncio.StreamWriter) -> None:
            task = asyncio.current_task()
            assert task is not None
            links.add(task)
            with suppress(OSError, asyncio.CancelledError):
                await self._link(client, to_client)

        listening = await asyncio.start_server(accept, "127.0.0.1", self.port)
        self.port = listening.sockets[0].getsockname()[1]
        try:
            yield self
        finally:
            listening.close()
            for task in links:
                task.cancel()
            await asyncio.gather(*links)

    async def _link(self, client: asyncio.StreamReader, to_client: asyncio.StreamWriter) -> None:
        server, to_server = await asyncio.open_connection("127.0.0.1", self._server_port)
        cut = asyncio.Event()
        asked = asyncio.create_task(self._ask(client, to_client, to_server, cut))
        answered = asyncio.create_task(self._answer(server, to_client, cut))
        try:
            await asyncio.wait([asked, answered], return_when=asyncio.FIRST_COMPLETED)
        finally:
            for way in (asked, answered):
                way.cancel()
            await asyncio.gather(asked, answered, return_exceptions=True)
            for writer in (to_client, to_server):
                writer.transport.abort()

    async def _ask(
        self,
        client: asyncio.StreamReader,
        to_client: asyncio.StreamWriter,
        to_server: asyncio.StreamWriter,
        cut: asyncio.Event,
    ) -> None:
        while piece := await client.read(65_536):
            loss = None
            if self._lose is not None and self._lose[0] in piece:
                (_, loss), self._lose = self._lose, None
                self.lost.set()
                if loss is Loss.UNASKED:
                    return
                cut.set()
                if loss is Loss.HELD:
                    to_client.transport.abort()
                    await self._released.wait()
            if not self.deaf:
                to_server.write(piece)
                await to_server.drain()
            if loss is not None:
                await asyncio.Event().wait()  # the answer ends the link

    async def _answer(
        self, server: asyncio.StreamReader, to_client: asyncio.StreamWriter, cut: asyncio.Event
    ) -> None:
        while piece := await server.read(65_536):
            if cut.is_set():
                return
            if not self.mute:
                to_client.write(piece)
                await to_client.drain()
