"""`?at=`: what was true then, by position and by time, and what is said where nothing was."""

import asyncio
import re
from datetime import UTC, datetime, timedelta
from typing import Any

import httpx
import pytest

from orchestrator.runtime.world import SystemClock
from projections.api import create_app, models
from projections.queries import Reads
from schemas.times import rfc3339
from tests.api.conftest import Intake, Writing
from tests.projections import journals as given

HEADER = "Headrace-Position"
T1, T2 = given.NOW_MS - 3_000, given.NOW_MS - 1_000


def timed() -> list[bytes]:
    """Three commits: master data and 5 mugs at T1; an order at T2; its shipment, no tick."""
    return given.journal(
        [
            [
                given.tick(T1),
                given.market(),
                given.node("BOS"),
                given.item("MUG"),
                given.received("BOS", "MUG", 5, 0, 0, 0, 0),
            ],
            [given.tick(T2), given.accepted()],
            [given.shipped(), given.node("BOS", active=False)],
        ]
    )


VALUES = timed()


async def written(writing: Writing, keeping: Writing, seq: int = 3) -> None:
    await writing.up_to(0, VALUES, seq)
    await keeping.up_to(0, VALUES, seq)


async def ask(api: httpx.AsyncClient, path: str, at: str, **more: str) -> httpx.Response:
    return await api.get(path, params={"at": at, **more})


def units(answer: httpx.Response) -> tuple[int, int]:
    (node,) = answer.json()["nodes"]
    return node["on_hand"], node["reserved"]


async def test_by_position_each_commit_is_answered_as_it_was(
    api: httpx.AsyncClient, writing: Writing, keeping: Writing
) -> None:
    await written(writing, keeping)
    found = [units(await ask(api, "/stock/MUG", f"0:{seq}")) for seq in (1, 2, 3)]
    assert found == [(5, 0), (5, 2), (3, 0)]
    placed = await ask(api, "/orders/web/1", "0:2")
    models.OrderDetail.model_validate(placed.json())
    assert placed.json()["status"] == "partly_allocated"
    assert placed.json()["fulfillments"][0]["status"] == "open"
    assert placed.json()["fulfillments"][0]["packages"] == []
    assert placed.json()["ship_to"] == given.SHIP_TO
    assert {one["event"] for one in placed.json()["timeline"]} == {
        *("order_accepted", "fulfillment_requested", "order_allocated"),
    }
    shipped = await ask(api, "/orders/web/1", "0:3")
    assert shipped.json()["status"] == "partly_shipped"
    assert shipped.json()["fulfillments"][0]["packages"][0]["tracking_number"] == "1Z"
    assert shipped.json() == (await api.get("/orders/web/1")).json()
    nodes = [(await ask(api, "/nodes", f"0:{seq}")).json()["items"] for seq in (0, 2, 3)]
    assert [[one["active"] for one in items] for items in nodes] == [[], [True], [False]]
    assert nodes[1][0]["time_zone"] == "America/New_York"


@pytest.mark.parametrize(
    ("time_ms", "position", "stock"),
    [(T1, "0:1", (5, 0)), (T2 - 1, "0:1", (5, 0)), (T2, "0:3", (3, 0)), (T2 + 5, "0:3", (3, 0))],
)
async def test_by_time_it_is_the_last_commit_whose_tick_is_not_later(
    api: httpx.AsyncClient,
    writing: Writing,
    keeping: Writing,
    time_ms: int,
    position: str,
    stock: tuple[int, int],
) -> None:
    await written(writing, keeping)
    answer = await ask(api, "/stock/MUG", rfc3339(time_ms))
    assert units(answer) == stock
    assert answer.headers[HEADER] == position
    again = await ask(api, "/stock/MUG", position)
    assert (again.json(), again.headers[HEADER]) == (answer.json(), position)


async def test_a_time_may_have_an_offset(
    api: httpx.AsyncClient, writing: Writing, keeping: Writing
) -> None:
    await written(writing, keeping)
    east = datetime.fromtimestamp(T1 / 1000, UTC) + timedelta(hours=2)
    answer = await ask(api, "/stock/MUG", f"{east:%Y-%m-%dT%H:%M:%S}+02:00")
    assert answer.headers[HEADER] == "0:1"
    unquoted = await api.get(f"/stock/MUG?at={east:%Y-%m-%dT%H:%M:%S}+02:00")
    assert unquoted.json() == answer.json()


async def test_before_anything_there_was_nothing(
    api: httpx.AsyncClient, writing: Writing, keeping: Writing
) -> None:
    await written(writing, keeping)
    for at in ("0:0", rfc3339(T1 - 1)):
        for path, words in (
            ("/orders/web/1", f"there was no order web/1 at {at}"),
            ("/stock/MUG", f"the item MUG was neither defined nor stocked anywhere at {at}"),
        ):
            answer = await ask(api, path, at)
            assert (answer.status_code, answer.json()["detail"]) == (404, words)
            assert answer.headers[HEADER] == "0:0"
        assert (await ask(api, "/nodes", at)).json()["items"] == []
    assert (await ask(api, "/orders/web/9", "0:3")).status_code == 404
    assert (await ask(api, "/orders/web/1", "0:1")).status_code == 404


async def test_a_shard_that_a_position_does_not_name_is_left_out(
    api: httpx.AsyncClient, writing: Writing, keeping: Writing
) -> None:
    await written(writing, keeping)
    received = ["eu", "PAR", "MUG", 7, 0, 0, 0, 0]
    taken_in = given.told("stock_received", {}, given.balanced(stock=[received]))
    other = given.journal([[given.tick(T1), taken_in]])
    await keeping.up_to(2, other, 1)
    assert [
        (await ask(api, "/stock/MUG", at)).json()["total"]["on_hand"]
        for at in ("0:1", "2:1", "0:1,2:1", "2:0,0:3", rfc3339(T1))
    ] == [5, 7, 12, 3, 12]


async def test_nodes_then_page_as_they_do_now(
    api: httpx.AsyncClient, keeping: Writing, writing: Writing
) -> None:
    values = given.journal([[given.market(), *(given.node(f"N{n}") for n in range(5))]])
    await writing.up_to(0, values, 1)
    await keeping.up_to(0, values, 1)
    found: list[str] = []
    after: dict[str, str] = {}
    while True:
        page = (await ask(api, "/nodes", "0:1", limit="2", **after)).json()
        found += [one["node_id"] for one in page["items"]]
        if page["next"] is None:
            break
        after = {"after": page["next"]}
    assert found == ["N0", "N1", "N2", "N3", "N4"]


@pytest.mark.parametrize(
    "at",
    ["yesterday", "0", "0:", "0:1;1:2", "-1:1", "2026-01-31", "2026-13-01T00:00:00Z", "", "0:1,"],
)
async def test_what_is_no_moment_is_400(
    api: httpx.AsyncClient, writing: Writing, keeping: Writing, at: str
) -> None:
    await written(writing, keeping)
    answer = await ask(api, "/nodes", at)
    assert answer.status_code == 400
    assert answer.headers["content-type"] == "application/problem+json"
    assert answer.json()["detail"].startswith("at: must be a time such as")


async def test_what_can_not_be_known_is_400(
    api: httpx.AsyncClient, writing: Writing, keeping: Writing, intake: Intake
) -> None:
    await written(writing, keeping)
    intake.journal_ends = {0: 4, 1: 0}
    soon = rfc3339(SystemClock().now_ms() + 3_600_000)
    details = {
        soon: "lies in the future",
        "7:1": "there are the shards 0 to 1, no 7",
        "0:1,0:2": "names a shard twice",
    }
    for at, words in details.items():
        answer = await ask(api, "/stock/MUG", at)
        assert answer.status_code == 400
        assert words in answer.json()["detail"]
    answer = await ask(api, "/stock/MUG", "0:1", channel="web")
    assert answer.status_code == 400
    assert "known only of now" in answer.json()["detail"]


async def test_what_is_known_only_of_now_is_not_answered_as_of_then(
    api: httpx.AsyncClient, writing: Writing, keeping: Writing
) -> None:
    await written(writing, keeping)
    paths: dict[str, Any] = (await api.get("/openapi.json")).json()["paths"]
    asked = 0
    for path, methods in paths.items():
        for method, said in methods.items():
            if "at" in {one["name"] for one in said.get("parameters", ())}:
                continue
            where = re.sub(r"\{\w+\}", "1", path)
            answer = await api.request(method.upper(), where, params={"at": "0:1"})
            assert (answer.status_code, path) == (400, path)
            assert answer.json()["detail"].startswith("at: this is known only of now; an order")
            asked += 1
    assert asked > 7


@pytest.mark.parametrize("path", ["/orders/web/1", "/stock/MUG", "/nodes"])
async def test_a_position_is_waited_for_and_not_for_ever(
    api: httpx.AsyncClient, writing: Writing, keeping: Writing, intake: Intake, path: str
) -> None:
    intake.journal_ends = {0: 4}
    await written(writing, keeping, 2)
    late = await ask(api, path, "0:3")
    assert late.status_code == 504
    assert "the past was not read up to 0:3 within" in late.json()["detail"]
    asked = asyncio.create_task(ask(api, path, "0:3"))
    await writing.up_to(0, VALUES, 3)
    assert not asked.done()
    await keeping.up_to(0, VALUES, 3)
    assert (await asked).status_code == 200


async def test_a_time_is_waited_for_until_all_journals_are_read_so_far(
    api: httpx.AsyncClient, writing: Writing, keeping: Writing, intake: Intake
) -> None:
    intake.journal_ends = {0: 4}
    await written(writing, keeping, 2)
    late = await ask(api, "/stock/MUG", rfc3339(T2))
    assert late.status_code == 504
    assert f"the past was not read up to {rfc3339(T2)} within" in late.json()["detail"]
    early = await ask(api, "/stock/MUG", rfc3339(T2 - 1))  # a later tick is known: it is complete
    assert early.headers[HEADER] == "0:1"
    asked = asyncio.create_task(ask(api, "/stock/MUG", rfc3339(T2)))
    await asyncio.sleep(0)
    await written(writing, keeping, 3)
    assert units(await asked) == (3, 0)
    intake.journal_ends = {0: 4, 1: 1}  # a shard whose past was never begun
    assert (await ask(api, "/stock/MUG", rfc3339(SystemClock().now_ms()))).status_code == 504


async def test_an_order_waits_for_what_stands_only_in_the_read_models(
    api: httpx.AsyncClient, writing: Writing, keeping: Writing
) -> None:
    await keeping.up_to(0, VALUES, 2)
    await writing.up_to(0, VALUES, 1)
    late = await ask(api, "/orders/web/1", "0:2")
    assert late.status_code == 504
    assert "the read model has not reached 0:2 within" in late.json()["detail"]
    await writing.up_to(0, VALUES, 2)
    assert (await ask(api, "/orders/web/1", "0:2")).status_code == 200


async def test_without_a_past_it_is_said_who_keeps_it(
    api: httpx.AsyncClient, writing: Writing, reads: Reads
) -> None:
    await writing.up_to(0, VALUES, 3)
    none = await ask(api, "/stock/MUG", "0:1")
    assert none.status_code == 503
    assert "role `past` keeps it" in none.json()["detail"]
    app = create_app(reads, SystemClock())
    transport = httpx.ASGITransport(app=app)
    async with httpx.AsyncClient(transport=transport, base_url="http://headrace") as client:
        assert (await ask(client, "/stock/MUG", "0:1")).status_code == 503


async def test_the_document_says_what_at_is(api: httpx.AsyncClient) -> None:
    paths: dict[str, Any] = (await api.get("/openapi.json")).json()["paths"]
    for path in ("/orders/{channel}/{order_id}", "/stock/{sku}", "/nodes"):
        names = [one["name"] for one in paths[path]["get"]["parameters"]]
        assert "at" in names
