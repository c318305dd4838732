"""`POST /promise` and `GET /stock/…?channel=`: what is asked, and how what can't be is refused."""

import asyncio
import json
from collections.abc import Mapping
from typing import Any

import httpx
import pytest

from orchestrator.runtime.world import SystemClock
from projections.api import create_app, examples
from projections.api.promise import Promise, Question
from schemas.ports import NotAnswerable, NotCaughtUp, NotKnown, Planned, Planning, Seen
from tests.api.conftest import WAIT_S

HEADER = "Headrace-Position"
QUESTION: dict[str, Any] = {
    "market_id": "us",
    "channel": "web",
    "lines": [{"sku": "A", "quantity": 2}, {"sku": "B", "quantity": 1, "line_id": "b"}],
    "ship_to": {"country": "US", "postal_code": "02139"},
}


class Fake:
    """A planner that answers what the test says."""

    def __init__(self) -> None:
        self.seq = 5
        self.asked: list[Any] = []
        self.failure: Exception | None = None

    async def seen(self) -> list[Seen]:
        await asyncio.sleep(0)
        return [Seen(2, self.seq, 0)]

    async def promise(self, question: Mapping[str, Any]) -> Planned:
        await asyncio.sleep(0)
        return self._answer(question)

    async def availability(self, sku: str, channel: str) -> Planned:
        await asyncio.sleep(0)
        return self._answer([sku, channel])

    def _answer(self, question: object) -> Planned:
        self.asked.append(question)
        if self.failure is not None:
            raise self.failure
        return Planned({"market_id": "us"}, f"2:{self.seq}")


@pytest.fixture
def fake() -> Fake:
    return Fake()


def client_of(planning: Planning | None) -> httpx.AsyncClient:
    class Nothing:
        """Read models that are nowhere yet."""

        async def shards(self) -> list[Seen]:
            await asyncio.sleep(0)
            return []

    reads: Any = Nothing()
    app = create_app(reads, SystemClock(), planning=planning, wait_s=WAIT_S)
    transport = httpx.ASGITransport(app=app, raise_app_exceptions=False)
    return httpx.AsyncClient(transport=transport, base_url="http://headrace")


@pytest.fixture
def client(fake: Fake) -> httpx.AsyncClient:
    return client_of(fake)


async def test_a_question_reaches_the_planner_as_an_order_would(
    client: httpx.AsyncClient, fake: Fake
) -> None:
    question = QUESTION | {
        "deliver_by": "2026-11-25",
        "placed_at": "2026-11-22T11:00:00+01:00",
        "allow_split": True,
        "service_levels": ["standard"],
    }
    answer = await client.post("/promise", json=question)
    assert (answer.status_code, answer.json()) == (200, {"market_id": "us"})
    assert answer.headers[HEADER] == "2:5"
    assert fake.asked == [
        {
            "market_id": "us",
            "channel": "web",
            "lines": [
                {"line_id": "1", "sku": "A", "quantity": 2},
                {"line_id": "b", "sku": "B", "quantity": 1},
            ],
            "ship_to": {"country": "US", "postal_code": "02139"},
            "service_levels": ["standard"],
            "placed_at": "2026-11-22T10:00:00Z",
            "deliver_by": "2026-11-25",
        }
    ]


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ({"lines": []}, "lines: must be a list of 1 to 1000 elements, was []"),
        (
            {"lines": [{"sku": "A", "quantity": "2"}]},
            'lines[0].quantity: must be a whole number from 1 to 1000000, was "2"',
        ),
        (
            {"ship_to": {}},
            'ship_to.country: is missing; it must be two capital letters such as "US"',
        ),
        (
            {"market": "us"},
            'market: is not a field of the question; did you mean "market_id"?',
        ),
        (
            {"deliver_by": "soon"},
            (
                'deliver_by: must be a time with its offset such as "2026-01-31T12:00:00Z" or a'
                ' date such as "2026-01-31", was "soon"'
            ),
        ),
        (
            {"lines": [{"sku": "A", "quantity": 1, "line_id": "2"}, {"sku": "A", "quantity": 1}]},
            "lines: line_id 2 stands on more than one: give each its own",
        ),
        (
            {"currency": "usd", "priority": "high"},
            (
                'currency: must be three capital letters such as "USD", was "usd"; priority: must'
                ' be a whole number from -1000000 to 1000000, was "high"'
            ),
        ),
    ],
)
async def test_what_is_not_valid_is_named(
    client: httpx.AsyncClient, fake: Fake, change: dict[str, Any], named: str
) -> None:
    answer = await client.post("/promise", json=QUESTION | change)
    assert answer.status_code == 422
    assert answer.headers["content-type"] == "application/problem+json"
    assert answer.json()["detail"] == named
    assert not fake.asked


@pytest.mark.parametrize(
    ("body", "said"),
    [
        (b"{", "the body is not JSON: JSON decode error"),
        (b"[]", "the body must be a JSON object, sent with content-type application/json"),
        (b"", "the body must be a JSON object, sent with content-type application/json"),
        (
            json.dumps(QUESTION | {"channel": "\ud800"}).encode(),
            (
                "channel: must be a channel: 1 to 32 of the characters a-z, 0-9, _ and -,"
                r' was "\ud800"'
            ),
        ),
    ],
)
async def test_a_body_that_is_no_question_is_said_to_be_none(
    client: httpx.AsyncClient, body: bytes, said: str
) -> None:
    headers = {"content-type": "application/json"}
    answer = await client.post("/promise", content=body, headers=headers)
    assert (answer.status_code, answer.json()["detail"]) == (422, said)


@pytest.mark.parametrize("path", ["/promise", "/stock/A?channel=web"])
@pytest.mark.parametrize(
    ("failure", "status"),
    [
        (NotKnown("there is no item A, B"), 404),
        (NotAnswerable("currency: the market us reckons in USD"), 422),
        (NotCaughtUp("shard 2 is still being read"), 503),
    ],
)
async def test_what_cannot_be_answered_says_why(
    client: httpx.AsyncClient, fake: Fake, path: str, failure: Exception, status: int
) -> None:
    fake.failure = failure
    asked = client.post(path, json=QUESTION) if path == "/promise" else client.get(path)
    answer = await asked
    assert answer.status_code == status
    assert answer.headers["content-type"] == "application/problem+json"
    assert answer.json()["detail"] == str(failure)
    assert ("retry-after" in answer.headers) == (status == 503)


async def test_switched_off_nothing_is_promised() -> None:
    async with client_of(None) as client:
        answer = await client.post("/promise", json=QUESTION)
        assert answer.status_code == 503
        assert "HEADRACE_PROMISE" in answer.json()["detail"]


async def test_a_channels_stock_is_asked_of_planning(client: httpx.AsyncClient, fake: Fake) -> None:
    answer = await client.get("/stock/A", params={"channel": "web"})
    assert answer.status_code == 200
    assert answer.headers[HEADER] == "2:5"
    assert fake.asked == [["A", "web"]]


@pytest.mark.parametrize("channel", ["Marketplace", ""])
async def test_what_is_no_channels_name_is_said_to_be_none(
    client: httpx.AsyncClient, fake: Fake, channel: str
) -> None:
    answer = await client.get("/stock/A", params={"channel": channel})
    assert answer.status_code == 422
    assert answer.json()["detail"].startswith("channel: must be")
    assert not fake.asked


@pytest.mark.parametrize("path", ["/promise", "/stock/A?channel=web"])
async def test_a_position_is_waited_for_where_the_answer_comes_from(
    client: httpx.AsyncClient, fake: Fake, path: str
) -> None:
    """The read models of this test are nowhere."""

    async def ask(position: str) -> httpx.Response:
        headers = {HEADER: position}
        if path == "/promise":
            return await client.post(path, json=QUESTION, headers=headers)
        return await client.get(path, headers=headers)

    assert (await ask("2:5")).status_code == 200
    late = await ask("2:6")
    assert late.status_code == 504
    assert "promises have not reached 2:6" in late.json()["detail"]
    asked = asyncio.create_task(ask("2:6"))
    await asyncio.sleep(0)
    fake.seq = 6
    assert (await asked).status_code == 200


def test_the_documented_example_is_a_question_and_an_answer() -> None:
    Question.model_validate(examples.QUESTION)
    Promise.model_validate(examples.PROMISE)
    for promised in examples.PROMISE["promises"]:
        assert sum(promised["cost"].values()) == promised["cost_minor"]
