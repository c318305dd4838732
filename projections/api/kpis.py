"""`GET /kpis` and `GET /kpis/stream`: live figures, as they stand and as they come."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from http import HTTPStatus
from typing import Annotated, Any, TypeAlias

import orjson
from fastapi import Depends, FastAPI, Query, Request, Response
from fastapi.responses import StreamingResponse
from pydantic import ConfigDict

from events.kpis import Dimension, KpiCounts, KpiRates, Window
from projections.api import examples
from projections.api.models import Shape
from projections.api.positions import HEADER
from projections.api.problems import MEDIA_TYPE, ProblemDetails, ProblemError
from projections.kpis import Asked, LiveFigures
from schemas.ports import Clock

ByState: TypeAlias = Callable[[], Awaitable[Mapping[str, list[dict[str, Any]]]]]

BEAT_S = 15.0
"""After so long without a window a stream says that it is alive."""
KEPT_S = 5.0
"""So long what was counted of all orders is told again, unless a position is waited for."""

Market = Annotated[str | None, Query(description="of this market", examples=["us"])]
Channel = Annotated[str | None, Query(description="of this channel")]
Node = Annotated[str | None, Query(description="of this node")]
Carrier = Annotated[str | None, Query(description="of this carrier")]
Of = Annotated[Window | None, Query(description="only minutes, or only hours")]
By = Annotated[Dimension | None, Query(description="only figures of markets, channels, …")]


class Kept:
    """The counts by state, which take all rows of the read models to count: kept some seconds."""

    def __init__(self, count: ByState, clock: Clock) -> None:
        self._count = count
        self._clock = clock
        self._counting = asyncio.Lock()  # who comes meanwhile gets the same
        self._found: Mapping[str, list[dict[str, Any]]] = {}
        self._at_s: float | None = None

    async def counts(self, *, now: bool) -> Mapping[str, list[dict[str, Any]]]:
        """Of up to `KEPT_S` ago, or of `now`; DatabaseError."""
        async with self._counting:
            began_s = self._clock.monotonic()
            if now or self._at_s is None or began_s - self._at_s >= KEPT_S:
                self._found, self._at_s = await self._count(), began_s
            return self._found


def _asked(
    market_id: Market = None,
    channel: Channel = None,
    node_id: Node = None,
    carrier: Carrier = None,
    window: Of = None,
    by: By = None,
) -> Asked:
    return Asked(market_id, channel, node_id, carrier, window, by)


These = Annotated[Asked, Depends(_asked)]


class KpiWindowShape(Shape):
    """The figures of a closed window of a market, or of a channel, node or carrier of it."""

    window: Window
    window_start: str
    window_end: str
    market_id: str
    channel: str | None = None
    node_id: str | None = None
    carrier: str | None = None
    counts: KpiCounts
    rates: KpiRates


class OrdersByStateShape(Shape):
    """Orders in the read model, now."""

    market_id: str
    channel: str
    status: str
    orders: int


class FulfillmentsByStateShape(Shape):
    """Fulfillments in the read model, now."""

    market_id: str
    node_id: str
    carrier: str | None
    status: str
    fulfillments: int


class KpiList(Shape):
    """The latest closed windows."""

    model_config = ConfigDict(extra="allow", json_schema_extra={"examples": [examples.KPIS]})

    items: list[KpiWindowShape]
    hint: str | None = None
    complete_until: str | None
    orders_by_state: list[OrdersByStateShape]
    fulfillments_by_state: list[FulfillmentsByStateShape]


def add_kpis(app: FastAPI, figures: LiveFigures | None, by_state: Kept) -> None:
    """Add the routes. Without `figures` they answer 503."""
    failures: dict[int | str, dict[str, Any]] = {
        503: {
            "description": HTTPStatus.SERVICE_UNAVAILABLE.phrase,
            "content": {MEDIA_TYPE: {"schema": ProblemDetails.model_json_schema()}},
        }
    }

    @app.get("/kpis", tags=["figures"], response_model=KpiList, responses=failures)
    async def kpis(asked: These, request: Request) -> Response:
        """The latest closed windows of markets, channels, nodes and carriers; orders by state.

        And fulfillments by state, at each node and by carrier: an order may be at several. What is
        counted by state is of up to 5 s ago, or as new as the position that is asked with.
        """
        live = _ready(figures)
        body = {
            "items": live.latest(asked),
            **({"hint": hint} if (hint := live.hint(asked)) is not None else {}),
            "complete_until": live.complete_until,
        }
        for name, rows in (await by_state.counts(now=HEADER in request.headers)).items():
            body[name] = [one for one in rows if _is_of(asked, one)]
        return Response(orjson.dumps(body), media_type="application/json")

    @app.get(
        "/kpis/stream",
        tags=["figures"],
        response_class=StreamingResponse,
        responses=failures
        | {
            200: {
                "description": "Events `kpi`, one a window.",
                "content": {"text/event-stream": {}},
            }
        },
    )
    async def stream(asked: These) -> StreamingResponse:
        """The latest closed windows, then each one as it closes, as server-sent events."""
        live = _ready(figures)
        return StreamingResponse(
            _events(live, asked),
            media_type="text/event-stream",
            headers={"Cache-Control": "no-store"},
        )


def _is_of(asked: Asked, row: Mapping[str, Any]) -> bool:
    """Whether a row is of the market and members that are asked for, as far as it names such."""
    return all(
        wanted is None or row.get(field, wanted) == wanted
        for field, wanted in asked._asdict().items()
    )


def _ready(figures: LiveFigures | None) -> LiveFigures:
    if figures is None or not figures.whole:
        raise ProblemError(HTTPStatus.SERVICE_UNAVAILABLE, "live figures are not read yet")
    return figures


async def _events(figures: LiveFigures, asked: Asked) -> AsyncIterator[bytes]:
    async for said in figures.follow(asked, BEAT_S):
        if said is None:
            yield b": nothing new\n\n"
        else:
            yield b"event: kpi\nid: %b\ndata: %b\n\n" % (
                said["window_end"].encode(),
                orjson.dumps(said),
            )
