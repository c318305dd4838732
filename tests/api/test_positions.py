"""Read-your-writes: positions on answers, waits on requests."""

import asyncio

import httpx
import pytest

from tests.api.conftest import Intake, Writing
from tests.projections import journals as given

HEADER = "Headrace-Position"
VALUES = given.journal(given.day())


async def test_answers_say_where_they_are_true(api: httpx.AsyncClient, writing: Writing) -> None:
    assert HEADER not in (await api.get("/nodes")).headers
    await writing.up_to(2, VALUES, 3)
    await writing.up_to(0, VALUES, 2)
    for path in ("/nodes", "/orders", "/orders/web/1", "/stock/MUG", "/exceptions", "/shards"):
        assert (await api.get(path)).headers[HEADER] == "0:2,2:3", path
    assert (await api.get("/orders/web/none")).headers[HEADER] == "0:2,2:3"


async def test_a_position_that_is_reached_is_answered(
    api: httpx.AsyncClient, writing: Writing
) -> None:
    await writing.up_to(0, VALUES, 3)
    answer = await api.get("/orders/web/1", headers={HEADER: "0:3"})
    assert answer.status_code == 200


@pytest.mark.parametrize("header", ["0:3", "0:2,0:3", " 0:3 , 0:1"])
async def test_a_request_waits_until_its_position_is_there(
    api: httpx.AsyncClient, writing: Writing, header: str
) -> None:
    await writing.up_to(0, VALUES, 2)
    asked = asyncio.create_task(api.get("/orders/web/1", headers={HEADER: header}))
    await api.get("/nodes")
    assert not asked.done()
    await writing.up_to(0, VALUES, 3)
    assert (await asked).status_code == 200


@pytest.mark.parametrize("header", ["0:4", "7:1", "0:3,1:1", "orders/0@5"])
async def test_a_position_that_is_not_reached_in_time_is_504(
    api: httpx.AsyncClient, writing: Writing, header: str
) -> None:
    await writing.up_to(0, VALUES, 3)
    answer = await api.get("/nodes", headers={HEADER: header})
    assert answer.status_code == 504
    assert answer.headers["content-type"] == "application/problem+json"
    assert header in answer.json()["detail"]


@pytest.mark.parametrize("header", ["x", "0", "0:", ":1", "0:1;1:2", "orders@5", "a b/0@1", "-1:1"])
async def test_a_header_that_is_no_position_is_400(api: httpx.AsyncClient, header: str) -> None:
    answer = await api.get("/nodes", headers={HEADER: header})
    assert answer.status_code == 400
    assert HEADER in answer.json()["detail"]


async def test_what_was_written_to_a_topic_is_waited_for_through_intake_and_inbox(
    api: httpx.AsyncClient, writing: Writing, intake: Intake
) -> None:
    inputs_before = sum(len(entries) for entries in given.day()[:2])
    inputs = sum(len(entries) for entries in given.day()[:3])
    await writing.up_to(0, VALUES, 2)
    intake.saved["orders", 3] = (77, f'{{"inbox":{{"0":{inputs_before}}}}}')
    asked = asyncio.create_task(api.get("/orders/web/1", headers={HEADER: "orders/3@77"}))
    await api.get("/nodes")
    assert not asked.done()  # intake has not got beyond 77
    intake.saved["orders", 3] = (78, f'{{"inbox":{{"0":{inputs}}}}}')
    await api.get("/nodes")
    assert not asked.done()  # the shard has not handled it
    await writing.up_to(0, VALUES, 3)
    assert (await asked).status_code == 200


async def test_what_intake_rejected_is_answered_too(api: httpx.AsyncClient, intake: Intake) -> None:
    intake.saved["orders", 0] = (6, '{"inbox":{}}')
    answer = await api.get("/orders/web/1", headers={HEADER: "orders/0@5"})
    assert answer.status_code == 404
