"""Answers as rows change: more shards, more markets, a schema that goes away."""

from collections.abc import Awaitable, Callable
from typing import Any

import httpx
import psycopg

from projections.api import models
from tests.api.conftest import SCHEMA, Writing
from tests.projections import journals as given

Get = Callable[..., Awaitable[Any]]
VALUES = given.journal(given.day())


async def test_an_order_id_used_in_two_markets_is_told_apart(get: Get, writing: Writing) -> None:
    await writing.up_to(0, VALUES, len(given.day()))
    cause, _ = given.accepted()
    eu = {**given.OF, "market_id": "eu", "status": "accepted"}
    order = given.told(
        "order_placed", {**cause["data"], "market_id": "eu"}, {"type": "order_accepted", **eu}
    )
    await writing.up_to(1, given.journal([[order]]), 1)
    assert (await get("/orders/web/1", market_id="eu"))["status"] == "accepted"
    assert (await get("/orders/web/1", market_id="us"))["status"] == "partly_delivered"
    assert [o["market_id"] for o in (await get("/orders", market_id="eu"))["items"]] == ["eu"]
    await get("/orders/web/1", 404, market_id="mars")


async def test_stock_adds_up(get: Get, writing: Writing) -> None:
    await writing.up_to(0, VALUES, len(given.day()))
    other = given.told(
        "stock_received", {}, given.balanced(stock=[["eu", "PAR", "MUG", 10, 1, 1, 2, 3]])
    )
    on_its_way = [given.announced(4), given.announced(7, "2"), given.announced(0)]
    await writing.up_to(1, given.journal([[other], on_its_way]), 2)
    stock = await get("/stock/MUG")
    assert stock["nodes"] == [
        {
            "node_id": "BOS",
            "market_id": "us",
            "on_hand": 3,
            "reserved": 0,
            "held": 0,
            "available": 3,
            "incoming": 7,
            "states": {"quality_control": 0, "damaged": 0, "held": 0},
        },
        {
            "node_id": "PAR",
            "market_id": "eu",
            "on_hand": 10,
            "reserved": 1,
            "held": 6,
            "available": 3,
            "incoming": 0,
            "states": {"quality_control": 1, "damaged": 2, "held": 3},
        },
    ]
    assert stock["total"] == {
        "on_hand": 13,
        "reserved": 1,
        "held": 6,
        "available": 6,
        "incoming": 7,
    }
    models.Stock.model_validate(stock)


async def test_an_unreachable_database_is_503(api: httpx.AsyncClient, url: str) -> None:
    async with await psycopg.AsyncConnection.connect(url, autocommit=True) as admin:
        await admin.execute(f"ALTER SCHEMA {SCHEMA} RENAME TO elsewhere".encode())
        answer = await api.get("/nodes")
        await admin.execute(f"ALTER SCHEMA elsewhere RENAME TO {SCHEMA}".encode())
    assert answer.status_code == 503
    assert answer.headers["content-type"] == "application/problem+json"
