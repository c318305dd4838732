"""The FastAPI application: it reads, and promises; nothing that is asked here changes anything."""

import binascii
from base64 import urlsafe_b64decode, urlsafe_b64encode
from collections.abc import Awaitable, Callable, Mapping, Sequence
from http import HTTPStatus
from typing import Annotated, Any, Literal, TypeAlias

import orjson
from fastapi import Depends, FastAPI, Header, Path, Query, Request, Response
from fastapi_offline import FastAPIOffline

from events.base import Channel
from events.outputs import OrderStatus
from projections.api import models, problems
from projections.api.kpis import ByState, Kept, add_kpis
from projections.api.past import Past
from projections.api.positions import HEADER, Ends, IntakeProgress, Positions
from projections.api.problems import ProblemError
from projections.api.promise import add_promise, answer_planned, asks_planning
from projections.as_of import AsOf
from projections.explained import WhatIf, explained
from projections.kpis import LiveFigures
from projections.queries import Answer, Page, Reads
from schemas.ports import Clock, Planning

Halts: TypeAlias = Callable[[], Awaitable[Mapping[int, tuple[str, Sequence[str]]]]]

_ABOUT = """
What became of orders, stock, nodes and exceptions, and what an order placed now would be promised.
Nothing asked here changes anything; events are written to Kafka.

**Read your own writes.** Answers carry `Headrace-Position: <shard>:<seq>[,…]`. A request with that
header, or with `<topic>/<partition>@<offset>` as `headrace send --json` prints it, is answered once
the read model has got there; when it has not within the bound, with 504.

**What was true then**: an order, an item's stock and the nodes are answered with `?at=`, a time or
a position.

**Lists** page by `limit` and `after`, which is the `next` of the page before.
**Errors** are problem details (RFC 9457).
"""
_PAGE_PARTS = {
    "orders": 4,
    "decisions": 3,
    "nodes": 1,
    "node_stock": 1,
    "exceptions": 2,
    "rule_sets": 3,
}

ChannelPath = Annotated[str, Path(description="the sales channel", examples=["web"])]
OrderPath = Annotated[str, Path(description="the channel's id of the order", examples=["4711"])]
MarketQuery = Annotated[
    str | None,
    Query(description="needed where the channel used the order id in two markets"),
]
AtQuery = Annotated[
    str | None,
    Query(
        description="what was true then: at a time (RFC 3339), or after commits"
        " (`<shard>:<seq>[,…]`: of what these shards hold)",
        examples=["2026-01-31T12:00:00Z", "0:17,2:1042"],
    ),
]
Limit = Annotated[int, Query(ge=1, le=500, description="items on a page")]
After = Annotated[str | None, Query(description="the `next` of the page before")]


def create_app(  # noqa: PLR0913 - every port it may be given
    reads: Reads,
    clock: Clock,
    *,
    intake_progress: IntakeProgress | None = None,
    inbox_ends: Ends | None = None,
    journal_ends: Ends | None = None,
    halts: Halts | None = None,
    planning: Planning | None = None,
    what_if: WhatIf | None = None,
    as_of: AsOf | None = None,
    ends_now: Ends | None = None,
    figures: LiveFigures | None = None,
    by_state: ByState | None = None,
    wait_s: float = 15.0,
) -> FastAPI:
    """The API over open reads. It has no state of its own and nothing to start or stop.

    `journal_ends` and `halts` (why a shard halts, and the coordinates of the input it halts at) are
    empty where nothing is known. Without `planning` nothing is promised. `what_if` says what would
    have changed a decision; without it nobody says so. Without `as_of` no `at` is answered;
    `ends_now`: where the journals end at this moment, LogError where that is not known. Without
    `figures` no live figures are answered; `by_state` stands in for that of `reads`.
    `wait_s` bounds the wait for a position: above the time that intake gives an unknown market.
    """
    waits = (clock, intake_progress, inbox_ends, wait_s)
    positions = Positions("the read model has", reads.shards, *waits)
    past = Past(as_of, positions, clock, ends_now, wait_s)
    planned = positions if planning is None else Positions("promises have", planning.seen, *waits)

    async def reached(
        request: Request,
        position: Annotated[
            str | None,
            Header(
                alias=HEADER,
                description="wait until what answers has got there",
                examples=["2:1042", "orders/3@77120"],
            ),
        ] = None,
    ) -> None:
        _check_at(request)
        if position:
            await (planned if asks_planning(request) else positions).reach(position)

    app = FastAPIOffline(
        title="Headrace",
        version="1",
        summary="Order orchestration: what was decided, and why.",
        description=_ABOUT,
        dependencies=[Depends(reached)],
        responses=_failures(400, 422, 500, 503, 504),
    )
    problems.install(app)
    add_promise(app, planning)

    async def states() -> Mapping[str, list[dict[str, Any]]]:
        return await (by_state or reads.by_state)()

    add_kpis(app, figures, Kept(states, clock))

    @app.get("/orders/{channel}/{order_id}", tags=["orders"], **_answers(models.OrderDetail, 404))
    async def order(
        channel: ChannelPath,
        order_id: OrderPath,
        market_id: MarketQuery = None,
        at: AtQuery = None,
    ) -> Response:
        """An order: lines, fulfillments with their packages, and what happened, in order."""
        if at is not None:
            return _found(*await past.order(channel, order_id, market_id, at))
        return _found(
            await reads.order(channel, order_id, market_id),
            f"there is no order {channel}/{order_id}",
        )

    @app.get("/orders", tags=["orders"], **_answers(models.OrderList))
    async def orders(
        *,
        status: OrderStatus | None = None,
        channel: str | None = None,
        market_id: str | None = None,
        sku: Annotated[str | None, Query(description="orders with a line of this item")] = None,
        node_id: Annotated[
            str | None, Query(description="orders that this node was asked to ship from")
        ] = None,
        limit: Limit = 50,
        after: After = None,
    ) -> Response:
        """Orders, newest first."""
        filters = {
            "status": status,
            "channel": channel,
            "market_id": market_id,
            "sku": sku,
            "node_id": node_id,
        }
        return _paged(await reads.orders(filters, _page("orders", limit, after)))

    @app.get(
        "/orders/{channel}/{order_id}/decisions",
        tags=["orders"],
        **_answers(models.DecisionList, 404),
    )
    async def decisions(
        *,
        channel: ChannelPath,
        order_id: OrderPath,
        market_id: MarketQuery = None,
        limit: Limit = 50,
        after: After = None,
    ) -> Response:
        """Why the order is planned as it is: every decision with what it was chosen from."""
        page = _page("decisions", limit, after)
        answer = await reads.decisions(channel, order_id, market_id, page)
        if answer.body is not None:
            answer.body["items"] = [explained(one, what_if) for one in answer.body["items"]]
        return _paged(answer, f"there is no order {channel}/{order_id}")

    @app.get("/stock/{sku}", tags=["stock"], **_answers(models.Stock, 404))
    async def stock(
        sku: Annotated[str, Path(examples=["MUG-BLUE"])],
        channel: Annotated[
            Channel | None,
            Query(description="show what this channel may promise, step by step"),
        ] = None,
        at: AtQuery = None,
    ) -> Response:
        """An item's units at every node that holds or held some."""
        if at is not None and channel is not None:
            raise ProblemError(
                HTTPStatus.BAD_REQUEST, "at: what a channel may promise is known only of now"
            )
        if at is not None:
            return _found(*await past.stock(sku, at))
        if channel is not None:
            return await answer_planned(
                planning, lambda planner: planner.availability(sku, channel)
            )
        return _found(
            await reads.stock(sku), f"the item {sku} is neither defined nor stocked anywhere"
        )

    @app.get("/nodes", tags=["stock"], **_answers(models.NodeList))
    async def nodes(limit: Limit = 50, after: After = None, at: AtQuery = None) -> Response:
        """The nodes, by id, as they are or were defined."""
        page = _page("nodes", limit, after)
        if at is not None:
            return _paged(await past.nodes(page, at))
        return _paged(await reads.nodes(page))

    @app.get("/nodes/{node_id}/stock", tags=["stock"], **_answers(models.NodeStock, 404))
    async def node_stock(
        node_id: Annotated[str, Path(examples=["BOS"])], limit: Limit = 50, after: After = None
    ) -> Response:
        """A node's units, by item."""
        answer = await reads.node_stock(node_id, _page("node_stock", limit, after))
        return _paged(answer, f"there is no node {node_id}")

    _add_operations(app, reads, journal_ends, halts)
    return app


def _add_operations(
    app: FastAPI, reads: Reads, journal_ends: Ends | None, halts: Halts | None
) -> None:
    @app.get("/exceptions", tags=["operations"], **_answers(models.ExceptionList))
    async def exceptions(
        *,
        status: Literal["open", "resolved"] | None = None,
        kind: str | None = None,
        limit: Limit = 50,
        after: After = None,
    ) -> Response:
        """What doesn't add up, newest first."""
        page = _page("exceptions", limit, after)
        return _paged(await reads.exceptions({"status": status, "kind": kind}, page))

    @app.get("/rule-sets", tags=["operations"], **_answers(models.RuleSetList))
    async def rule_sets(
        *, market_id: str | None = None, limit: Limit = 50, after: After = None
    ) -> Response:
        """Versions of the markets' rules, the latest proposed first, without their bodies."""
        return _paged(await reads.rule_sets(market_id, _page("rule_sets", limit, after)))

    @app.get(
        "/rule-sets/{market_id}/{version}",
        tags=["operations"],
        **_answers(models.RuleSetDetail, 404),
    )
    async def rule_set(
        market_id: Annotated[str, Path(examples=["us"])],
        version: Annotated[str, Path(examples=["7"])],
    ) -> Response:
        """A version of a market's rules with its body, and what was refused about it."""
        return _found(
            await reads.rule_set(market_id, version),
            f"there is no rule set {version} of the market {market_id}",
        )

    @app.get("/shards", tags=["operations"], **_answers(models.ShardList))
    async def shards() -> Response:
        """How far each shard's read models are, who owns the shard, and why it halts if it does."""
        found = await reads.shards()
        ends = {} if journal_ends is None else await journal_ends()
        halted = {} if halts is None else await halts()
        items = [
            {
                **one._asdict(),
                "halted": _halted(halted.get(one.shard)),
                "lag": max(0, ends[one.shard] - one.journal_next) if one.shard in ends else None,
            }
            for one in found
        ]
        position = ",".join(f"{one.shard}:{one.seq}" for one in found)
        return _json({"items": items}, position)


def _check_at(request: Request) -> None:
    """What tells only of now is not asked of then: its answer would look like one of then."""
    if "at" in request.query_params and all(
        one.alias != "at" for one in request.scope["route"].dependant.query_params
    ):
        raise ProblemError(
            HTTPStatus.BAD_REQUEST,
            "at: this is known only of now; an order, an item's stock (`GET /stock/{sku}`) and"
            " `GET /nodes` are answered as of then",
        )


def _answers(model: type[models.Shape], *failures: int) -> dict[str, Any]:
    """How a route documents its answers; bodies don't go through the models."""
    described = {
        "description": "As of the position in the header.",
        "headers": {
            HEADER: {
                "description": "the position that the answer is true at",
                "schema": {"type": "string", "examples": ["0:17,1:4,2:1042,3:0"]},
            }
        },
    }
    return {
        "response_model": model,
        "responses": {200: described, **_failures(*failures)},
    }


def _failures(*statuses: int) -> dict[int | str, dict[str, Any]]:
    return {
        status: {
            "description": HTTPStatus(status).phrase,
            "content": {
                problems.MEDIA_TYPE: {"schema": problems.ProblemDetails.model_json_schema()}
            },
        }
        for status in statuses
    }


def _halted(halt: tuple[str, Sequence[str]] | None) -> dict[str, Any] | None:
    return None if halt is None else {"what": halt[0], "input": list(halt[1])}


def _json(body: object, position: str) -> Response:
    return Response(
        orjson.dumps(body),
        media_type="application/json",
        headers={HEADER: position} if position else {},
    )


def _found(answer: Answer, missing: str) -> Response:
    if answer.body is None:
        headers = {HEADER: answer.position} if answer.position else None
        raise ProblemError(HTTPStatus.NOT_FOUND, missing, headers)
    return _json(answer.body, answer.position)


def _paged(answer: Answer, missing: str = "") -> Response:
    if answer.body is not None:
        answer.body["next"] = _opaque(answer.body["next"])
    return _found(answer, missing)


def _opaque(key: Sequence[Any] | None) -> str | None:
    return None if key is None else urlsafe_b64encode(orjson.dumps(key)).decode().rstrip("=")


def _page(of: str, limit: int, after: str | None) -> Page:
    if after is None:
        return Page(limit, None)
    try:
        key = orjson.loads(urlsafe_b64decode(after + "=" * (-len(after) % 4)))
    except (ValueError, binascii.Error):
        key = None
    kinds: type = int if of == "decisions" else str
    if (
        not isinstance(key, list)
        or len(key) != _PAGE_PARTS[of]
        or not all(isinstance(part, kinds) for part in key)
    ):
        raise ProblemError(
            HTTPStatus.BAD_REQUEST, f'after: "{after}" is not the `next` of an answer of this list'
        )
    return Page(limit, key)
