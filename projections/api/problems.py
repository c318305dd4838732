"""Errors as RFC 9457 problem details."""

from collections.abc import Collection, Mapping, Sequence
from http import HTTPStatus
from typing import Any

import orjson
from fastapi import FastAPI, Request, Response
from fastapi.dependencies.utils import get_flat_params
from fastapi.exceptions import RequestValidationError
from pydantic import BaseModel, ConfigDict, create_model
from starlette.exceptions import HTTPException

from projections.queries import PageError
from schemas.cloudevents import sentence_of
from schemas.ports import DatabaseError, LogError

MEDIA_TYPE = "application/problem+json"


class ProblemDetails(BaseModel):
    """Why a request failed (RFC 9457)."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {
                    "type": "about:blank",
                    "title": "Not Found",
                    "status": 404,
                    "detail": "there is no order web/4711",
                    "instance": "/orders/web/4711",
                }
            ]
        }
    )

    type: str = "about:blank"
    title: str
    status: int
    detail: str
    instance: str


class ProblemError(Exception):
    """A request that can't be answered as asked."""

    def __init__(
        self, status: HTTPStatus, detail: str, headers: dict[str, str] | None = None
    ) -> None:
        super().__init__(detail)
        self.status = status
        self.detail = detail
        self.headers = headers


def no_shard(what: str, there: Collection[int], number: int) -> ProblemError:
    """That a request names a shard that there is not; `what`: the header or parameter."""
    return ProblemError(
        HTTPStatus.BAD_REQUEST, f"{what}: there are the shards 0 to {max(there)}, no {number}"
    )


def install(app: FastAPI) -> None:
    """Answer every error of the app with problem details."""

    @app.exception_handler(ProblemError)
    def _problem(request: Request, problem: ProblemError) -> Response:
        return _answer(request, problem.status, problem.detail, problem.headers)

    @app.exception_handler(HTTPException)
    def _http(request: Request, error: HTTPException) -> Response:
        return _answer(request, HTTPStatus(error.status_code), str(error.detail), error.headers)

    @app.exception_handler(RequestValidationError)
    def _invalid(request: Request, error: RequestValidationError) -> Response:
        errors = error.errors()
        if errors[0]["loc"][0] == "body":
            detail = _body(request, errors)
        else:
            detail = _parameters(request, errors)
        return _answer(request, HTTPStatus.UNPROCESSABLE_ENTITY, detail)

    @app.exception_handler(PageError)
    def _page(request: Request, error: PageError) -> Response:
        return _answer(request, HTTPStatus.BAD_REQUEST, f"after: {error}")

    @app.exception_handler(DatabaseError)
    @app.exception_handler(LogError)
    def _server(request: Request, error: DatabaseError | LogError) -> Response:
        return _answer(request, HTTPStatus.SERVICE_UNAVAILABLE, str(error), {"Retry-After": "1"})

    @app.exception_handler(Exception)  # the server logs it
    def _defect(request: Request, _: Exception) -> Response:
        detail = "a defect of Headrace: the server's log says more"
        return _answer(request, HTTPStatus.INTERNAL_SERVER_ERROR, detail)


def _body(request: Request, errors: Sequence[dict[str, Any]]) -> str:
    """What is wrong with what was sent."""
    (kind, loc, message) = (errors[0][name] for name in ("type", "loc", "msg"))
    if kind == "json_invalid":
        return f"the body is not JSON: {message}"
    if loc == ("body",) and kind != "value_error":
        return "the body must be a JSON object, sent with content-type application/json"
    model: type[BaseModel] = request.scope["route"].body_field.field_info.annotation
    told = [{**one, "loc": one["loc"][1:]} for one in errors]
    return sentence_of(model, f"the {model.__name__.lower()}", told)


def _parameters(request: Request, errors: Sequence[dict[str, Any]]) -> str:
    """What is wrong with the path or the query."""
    fields: dict[str, Any] = {
        one.alias: (one.field_info.annotation, one.field_info)
        for one in get_flat_params(request.scope["route"].dependant)
    }
    told = [{**one, "loc": one["loc"][1:]} for one in errors]
    return sentence_of(create_model("Parameters", **fields), "the address", told)


def _answer(
    request: Request, status: HTTPStatus, detail: str, headers: Mapping[str, str] | None = None
) -> Response:
    problem = ProblemDetails(
        title=status.phrase, status=status, detail=detail, instance=request.url.path
    )
    return Response(
        orjson.dumps(problem.model_dump()), status, headers=headers, media_type=MEDIA_TYPE
    )
