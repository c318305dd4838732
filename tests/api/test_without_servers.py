"""What the API does where no database is needed: fakes answer in its place."""

import asyncio
import re
from typing import Any

import httpx
import pytest

from orchestrator.runtime.world import SystemClock
from projections.api import create_app
from projections.queries import Answer, Page, ShardPosition
from schemas.ports import LogError
from tests.api.conftest import WAIT_S, Intake

HEADER = "Headrace-Position"


class Fake:
    """Reads whose shards are where the test says, and where nothing else is."""

    def __init__(self) -> None:
        self.inbox_next: dict[int, int] = {}
        self.failure: Exception | None = None

    async def shards(self) -> list[ShardPosition]:
        await asyncio.sleep(0)
        return [ShardPosition(n, None, 0, 0, 0, at) for n, at in self.inbox_next.items()]

    async def nodes(self, _page: Page) -> Answer:
        if self.failure is not None:
            raise self.failure
        return Answer({"items": [], "next": None}, "")


@pytest.fixture
def fake() -> Fake:
    return Fake()


@pytest.fixture
def client(fake: Fake, intake: Intake) -> httpx.AsyncClient:
    reads: Any = fake
    app = create_app(
        reads,
        SystemClock(),
        intake_progress=intake.progress,
        inbox_ends=intake.ends,
        wait_s=WAIT_S,
    )
    transport = httpx.ASGITransport(app=app, raise_app_exceptions=False)
    return httpx.AsyncClient(transport=transport, base_url="http://headrace")


async def test_where_the_broker_keeps_no_metadata_the_inboxes_ends_are_waited_for(
    client: httpx.AsyncClient, fake: Fake, intake: Intake
) -> None:
    intake.saved["orders", 3] = (78, "")
    intake.inbox_ends = {0: 5, 1: 0}
    fake.inbox_next = {0: 4}
    asked = asyncio.create_task(client.get("/nodes", headers={HEADER: "orders/3@77"}))
    await client.get("/nodes")
    await asyncio.sleep(WAIT_S / 4)
    assert not asked.done()
    intake.inbox_ends = {0: 9, 1: 9}  # what comes later is not waited for
    fake.inbox_next = {0: 5}
    assert (await asked).status_code == 200


@pytest.mark.parametrize("header", ["availability/0@5", "orders/4@5", "none/0@1"])
async def test_a_position_that_intake_never_reaches_is_400_at_once(
    client: httpx.AsyncClient, header: str
) -> None:
    answer = await client.get("/nodes", headers={HEADER: header})
    assert answer.status_code == 400
    assert header.partition("@")[0] in answer.json()["detail"]


@pytest.mark.parametrize("header", ["2:1", "0:0,2:1"])
async def test_a_position_of_no_shard_is_400_at_once(
    client: httpx.AsyncClient, fake: Fake, intake: Intake, header: str
) -> None:
    fake.inbox_next = {0: 5}
    intake.inbox_ends = {0: 5, 1: 0}
    answer = await client.get("/nodes", headers={HEADER: header})
    assert answer.status_code == 400
    assert answer.json()["detail"] == f"{HEADER}: there are the shards 0 to 1, no 2"


async def test_a_position_of_a_shard_that_has_committed_nothing_is_waited_for(
    client: httpx.AsyncClient, fake: Fake, intake: Intake
) -> None:
    intake.inbox_ends = {0: 5, 1: 0}
    asked = asyncio.create_task(client.get("/nodes", headers={HEADER: "1:0"}))
    await client.get("/nodes")
    assert not asked.done()
    fake.inbox_next = {1: 1}
    assert (await asked).status_code == 200


async def test_the_page_of_the_api_needs_no_other_server(client: httpx.AsyncClient) -> None:
    page = await client.get("/docs")
    assert page.status_code == 200
    wanted = re.findall(r'(?:src|href)="([^"]+)"', page.text)
    assert len(wanted) >= 3, "a script, a style, an icon"
    for one in wanted:
        assert one.startswith("/"), one
        assert (await client.get(one)).status_code == 200, one


@pytest.mark.parametrize(
    ("failure", "status"), [(LogError("Kafka can't answer"), 503), (RuntimeError("a secret"), 500)]
)
async def test_every_failure_is_problem_details(
    client: httpx.AsyncClient, fake: Fake, failure: Exception, status: int
) -> None:
    fake.failure = failure
    answer = await client.get("/nodes")
    assert answer.status_code == status
    assert answer.headers["content-type"] == "application/problem+json"
    assert answer.json()["status"] == status
    assert "secret" not in answer.text
