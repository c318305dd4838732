"""What every process serves: metrics and health. Role `api` serves the rest beside it."""

import asyncio
import socket
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import uvicorn
from prometheus_client import CONTENT_TYPE_LATEST, generate_latest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.types import ASGIApp

Health = Callable[[], tuple[bool, dict[str, Any]]]
"""Whether the process is ready, and what to say of its roles."""


def bind(address: str) -> socket.socket:
    """A socket that listens on `host:port`; OSError where it can't."""
    host, _, port = address.rpartition(":")
    listening = socket.create_server(
        (host.strip("[]"), int(port)),
        family=socket.AF_INET6 if ":" in host else socket.AF_INET,
        backlog=128,
    )
    # Connections inherit it. asyncio sets it only where it knows the protocol; without it an
    # answer's second packet waits 40 ms for the client's acknowledgement of the first.
    listening.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return listening


def add_probes(app: Starlette, health: Health) -> None:
    """Add `/metrics`, `/health/live` and `/health/ready` to an application."""

    async def metrics(_request: Request) -> Response:
        return Response(generate_latest(), media_type=CONTENT_TYPE_LATEST)

    async def live(_request: Request) -> Response:
        return JSONResponse({"status": "live"})

    async def ready(_request: Request) -> Response:
        is_ready, roles = health()
        return JSONResponse(
            {"status": "ready" if is_ready else "not_ready", "roles": roles},
            status_code=200 if is_ready else 503,
        )

    for path, endpoint in (("/metrics", metrics), ("/health/live", live), ("/health/ready", ready)):
        app.add_route(path, endpoint, include_in_schema=False)


class _Server(uvicorn.Server):
    """Leaves signals to whoever runs it."""

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Capture none."""
        yield


async def serve(app: ASGIApp, listening: socket.socket, stop: asyncio.Event) -> None:
    """Serve until told to stop; then let requests under way end within 2 s."""
    server = _Server(
        uvicorn.Config(
            app, log_config=None, access_log=False, timeout_graceful_shutdown=2, lifespan="on"
        )
    )
    serving = asyncio.create_task(server.serve(sockets=[listening]), name="http")
    stopping = asyncio.create_task(stop.wait())
    try:
        await asyncio.wait({serving, stopping}, return_when=asyncio.FIRST_COMPLETED)
    finally:
        stopping.cancel()
        server.should_exit = True
        await serving
