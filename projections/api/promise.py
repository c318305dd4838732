"""`POST /promise`: what an order placed now would be promised, of each service level."""

from collections.abc import Awaitable, Callable
from http import HTTPStatus
from typing import Annotated, Any, Literal, Self

import orjson
from fastapi import FastAPI, Request, Response
from pydantic import ConfigDict, Field, model_validator

from events.base import (
    MAX_LINES,
    Attributes,
    Channel,
    Currency,
    Instant,
    LineId,
    MarketId,
    Model,
    Money,
    OptionalId,
    OptionalInstantOrDay,
    Quantity,
    Sku,
    Word,
)
from events.orders import Address
from projections.api import examples
from projections.api.models import Shape
from projections.api.positions import HEADER
from projections.api.problems import MEDIA_TYPE, ProblemDetails, ProblemError
from schemas.ports import NotAnswerable, NotCaughtUp, NotKnown, Planned, Planning

_PATH = "/promise"


class QuestionLine(Model):
    """Units of an item. Without a `line_id` a line is called by its place, from 1."""

    line_id: LineId | None = None
    sku: Sku
    quantity: Quantity
    unit_price_minor: Money | None = None
    total_minor: Money | None = None
    attributes: Attributes = Field(default={})


class Question(Model):
    """An order that somebody thinks of placing; fields mean what they mean in `order_placed`."""

    model_config = ConfigDict(
        defer_build=False,  # FastAPI makes a model of it, which doesn't know the names above
        json_schema_extra={"examples": [examples.QUESTION]},
    )

    market_id: MarketId
    channel: Channel
    lines: Annotated[list[QuestionLine], Field(min_length=1, max_length=MAX_LINES)]
    ship_to: Address
    service_levels: list[Word] = Field(
        default=[],
        max_length=20,
        description="without any: all that the market's services list",
    )
    currency: Annotated[Currency | None, Field(description="the market's, where it is given")] = (
        None
    )
    placed_at: Annotated[
        Instant | None, Field(description="when the order would come: now, or a later moment")
    ] = None
    carrier: OptionalId = None
    service: OptionalId = None
    ship_not_before: OptionalInstantOrDay = None
    ship_by: OptionalInstantOrDay = None
    deliver_by: OptionalInstantOrDay = None
    allow_split: bool = True
    allow_partial: bool = True
    priority: Annotated[int, Field(ge=-1_000_000, le=1_000_000)] = 0
    attributes: Attributes = Field(default={})

    @model_validator(mode="after")
    def _lines_are_distinct(self) -> Self:
        ids = [one.line_id or str(place) for place, one in enumerate(self.lines, 1)]
        twice = sorted({one for one in ids if ids.count(one) > 1}) if len(ids) > 1 else []
        if twice:
            message = (
                f"lines: line_id {', '.join(twice)} stands on more than one: give each its own"
            )
            raise ValueError(message)
        return self

    def plain(self) -> dict[str, Any]:
        """As the planner takes it: canonical JSON, every line with its id."""
        question: dict[str, Any] = orjson.loads(self.model_dump_json(exclude_defaults=True))
        for place, line in enumerate(question["lines"], 1):
            line.setdefault("line_id", str(place))
        return question


class PromisedLine(Shape):
    """Units of a line."""

    line_id: str
    sku: str
    quantity: int


class PromisedLeg(Shape):
    """What one node would ship on one day."""

    node_id: str
    source: Literal["now", "inbound"]
    ship_date: str
    ship_by: str
    delivery_date: str | None
    deliver_by: str | None
    carrier: str | None
    service: str | None
    cost_minor: int
    lines: list[PromisedLine]


class Earlier(Shape):
    """Something that would make the delivery earlier, and by then."""

    how: Literal["order_by", "deliver_by", "one_node", "without_lines", "stock", "service_level"]
    detail: str
    delivery_date: str
    cost_minor: int


class ServicePromise(Shape):
    """What one service level would promise."""

    service_level: str
    possible: bool = Field(description="whether every unit has a source")
    source: Literal["now", "inbound", "none"]
    delivery_date: str | None = Field(description="the last day of arrival; null: nothing says it")
    deliver_by: str | None
    ship_by: str | None = Field(description="when the last leg leaves its node")
    order_by: str | None = Field(description="placed later than this, a leg leaves later")
    days_late: int = Field(description="behind the question's `deliver_by`")
    cost_minor: int = Field(description="what the plan costs, as sourcing weighs it")
    cost: dict[str, int] = Field(description="the same, by component")
    currency: str
    strategy: str
    legs: list[PromisedLeg]
    missing: list[PromisedLine]
    because: str | None = Field(description="why they are missing, as a sentence")
    earlier: list[Earlier]


class Promise(Shape):
    """An answer for every service level asked; nothing is reserved by it."""

    model_config = ConfigDict(extra="allow", json_schema_extra={"examples": [examples.PROMISE]})

    market_id: str
    channel: str
    placed_at: str
    rule_set: str
    promises: list[ServicePromise]


def asks_planning(request: Request) -> bool:
    """Whether planning answers this request, not the read models."""
    path: str = request.scope["path"]
    return path == _PATH or (path.startswith("/stock/") and "channel" in request.query_params)


def add_promise(app: FastAPI, planning: Planning | None) -> None:
    """Add `POST /promise`."""

    @app.post(
        _PATH,
        tags=["promise"],
        response_model=Promise,
        responses={
            200: {"description": "As of the position in the header."},
            404: {
                "description": "Not Found",
                "content": {MEDIA_TYPE: {"schema": ProblemDetails.model_json_schema()}},
            },
        },
    )
    async def promise(question: Question) -> Response:
        """When it would be there, what that costs, and from where: by service level."""
        plain = question.plain()
        return await answer_planned(planning, lambda planner: planner.promise(plain))


async def answer_planned(
    planning: Planning | None, ask: Callable[[Planning], Awaitable[Planned]]
) -> Response:
    """An answer of planning as a response; ProblemError: 404, 422, 503 too old or switched off."""
    if planning is None:
        raise ProblemError(
            HTTPStatus.SERVICE_UNAVAILABLE,
            "promises are switched off here: HEADRACE_PROMISE is false",
        )
    try:
        body, position = await ask(planning)
    except NotKnown as error:
        raise ProblemError(HTTPStatus.NOT_FOUND, str(error)) from None
    except NotAnswerable as error:
        raise ProblemError(HTTPStatus.UNPROCESSABLE_ENTITY, str(error)) from None
    except NotCaughtUp as error:
        raise ProblemError(
            HTTPStatus.SERVICE_UNAVAILABLE, str(error), {"Retry-After": "1"}
        ) from None
    return Response(orjson.dumps(body), media_type="application/json", headers={HEADER: position})
