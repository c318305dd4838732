"""Live figures over HTTP: the latest windows, filtered, and a stream of those that come."""

import asyncio
import socket
from collections.abc import AsyncIterator
from contextlib import suppress
from typing import Any

import httpx
import orjson
import pytest

from orchestrator.kpis.figures import COUNTS, none
from orchestrator.kpis.worker import KPIS, window_event
from orchestrator.runtime import server
from orchestrator.runtime.memory_log import MemoryLog
from orchestrator.runtime.world import SystemClock
from projections.api import create_app
from projections.api.kpis import KEPT_S, Kept
from projections.kpis import LiveFigures
from projections.queries import Page, ShardPosition, open_reads
from schemas.ports import Record
from tests.api.conftest import SCHEMA, Writing
from tests.projections import journals as given

END_MS = 1_795_341_660_000


class Fake:
    """Reads that know how many orders are in which state."""

    counted = 0

    async def shards(self) -> list[ShardPosition]:
        return [ShardPosition(0, None, 1, 7, 8, 0)]

    async def by_state(self) -> dict[str, list[dict[str, Any]]]:
        self.counted += 1
        await asyncio.sleep(0)
        orders = {"channel": "web", "status": "shipped", "orders": 3}
        work = {"node_id": "BOS", "carrier": "ups", "status": "open", "fulfillments": 2}
        return {
            "orders_by_state": [{"market_id": market, **orders} for market in ("us", "eu")],
            "fulfillments_by_state": [{"market_id": "us", **work}],
        }


def window(scope: str, kind: str, end_ms: int = END_MS, placed: int = 1) -> Record:
    counts = none()
    counts[COUNTS.index("placed")] = placed
    said = window_event(scope, kind, end_ms, counts)
    return Record(f"{kind}/{scope}".encode(), orjson.dumps(said))


@pytest.fixture
def log() -> MemoryLog:
    log = MemoryLog(SystemClock(), {"kpis": 1})
    scopes = ("us", "us/channel/web", "us/node/BOS", "us/carrier/ups", "eu")
    log.write(KPIS, [window(scope, kind) for scope in scopes for kind in ("minute", "hour")])
    progress = {"complete_until": "2026-11-22T10:01:00.000Z"}
    log.write(KPIS, [Record(b"progress", orjson.dumps(progress))])
    return log


@pytest.fixture
def reads() -> Fake:
    return Fake()


@pytest.fixture
async def served(log: MemoryLog, reads: Any) -> AsyncIterator[str]:  # noqa: ANN401 - a fake
    """The address of a server whose figures were read."""
    stop = asyncio.Event()
    figures = LiveFigures(log, SystemClock())
    app = create_app(reads, SystemClock(), figures=figures)
    listening = socket.create_server(("127.0.0.1", 0))
    tasks = [
        asyncio.create_task(figures.run(stop)),
        asyncio.create_task(server.serve(app, listening, stop)),
    ]
    async with asyncio.timeout(10):
        while not figures.whole:
            await asyncio.sleep(0.01)
    yield f"http://127.0.0.1:{listening.getsockname()[1]}"
    stop.set()
    await asyncio.gather(*tasks)
    listening.close()


async def asked(served: str, query: str) -> dict[str, Any]:
    async with httpx.AsyncClient(base_url=served) as client:
        answer = await client.get(f"/kpis?{query}")
        assert answer.status_code == 200, answer.text
        body: dict[str, Any] = answer.json()
        return body


async def test_the_latest_windows_are_answered_with_orders_by_state(served: str) -> None:
    body = await asked(served, "")
    assert len(body["items"]) == 10
    assert body["complete_until"] == "2026-11-22T10:01:00.000Z"
    assert {one["market_id"] for one in body["orders_by_state"]} == {"us", "eu"}


@pytest.mark.parametrize(
    ("query", "windows"),
    [
        ("market_id=us", 8),
        ("market_id=eu", 2),
        ("market_id=us&window=hour", 4),
        ("by=market", 4),
        ("by=node&window=minute", 1),
        ("node_id=BOS", 2),
        ("channel=web", 2),
        ("carrier=ups&window=hour", 1),
        ("carrier=dhl", 0),
    ],
)
async def test_figures_are_chosen_by_market_member_dimension_and_window(
    served: str, query: str, windows: int
) -> None:
    assert len((await asked(served, query))["items"]) == windows


async def test_what_may_be_asked_for_is_named_where_it_is_something_else(served: str) -> None:
    async with httpx.AsyncClient(base_url=served) as client:
        for path in ("/kpis", "/kpis/stream"):
            answer = await client.get(f"{path}?by=planet")
            assert answer.status_code == 422
            assert answer.json()["detail"] == (
                'by: must be one of "market", "channel", "node", "carrier", was "planet"'
            )


@pytest.mark.parametrize(
    ("query", "hint"),
    [
        ("market_id=us", None),
        ("market_id=fr", "there are no figures of market_id fr; there are: eu, us"),
        ("carrier=dhl", "there are no figures of carrier dhl; there are: ups"),
        ("channel=web&node_id=BOS", "each figure is of one market, or of one channel, node or"),
        ("market_id=eu&by=node", "each figure is of one market, or of one channel, node or"),
    ],
)
async def test_what_there_is_is_told_where_nothing_is_that_is_asked_for(
    served: str, query: str, hint: str | None
) -> None:
    said = (await asked(served, query)).get("hint")
    if hint is None:
        assert said is None
    else:
        assert str(said).startswith(hint)


async def test_states_are_those_of_the_market_that_is_asked_for(served: str) -> None:
    (state,) = (await asked(served, "market_id=eu"))["orders_by_state"]
    assert state == {"market_id": "eu", "channel": "web", "status": "shipped", "orders": 3}


@pytest.mark.parametrize(
    ("query", "rows"),
    [("", 1), ("node_id=BOS&carrier=ups", 1), ("carrier=dhl", 0), ("market_id=eu", 0)],
)
async def test_work_by_state_is_of_the_node_and_carrier_that_are_asked_for(
    served: str, query: str, rows: int
) -> None:
    assert len((await asked(served, query))["fulfillments_by_state"]) == rows


async def test_a_window_that_was_overtaken_replaces_no_later_one(
    served: str, log: MemoryLog
) -> None:
    log.write(KPIS, [window("us", "hour", END_MS - 60_000, placed=9)])
    log.write(KPIS, [window("eu", "hour", END_MS + 60_000, placed=7)])
    async with asyncio.timeout(10):
        while (await placed(served, "eu")) != 7:
            await asyncio.sleep(0.02)
    assert await placed(served, "us") == 1


async def test_a_window_that_was_deleted_is_gone_and_what_cannot_be_read_is_passed_over(
    served: str, log: MemoryLog
) -> None:
    foreign = [None, b"3", b"not json", b"{}", b'{"window_end": 3}', b'{"window_end": "2027"}']
    log.write(KPIS, [Record(b"hour/eu", one) for one in foreign[1:]])
    log.write(KPIS, [Record(key, one) for key in (None, b"progress") for one in foreign])
    log.write(KPIS, [Record(b"minute/eu", None)])
    log.write(KPIS, [window("us", "hour", END_MS + 60_000, placed=7)])
    async with asyncio.timeout(10):
        while (await placed(served, "us")) != 7:
            await asyncio.sleep(0.02)
    assert await placed(served, "eu") == 1
    body = await asked(served, "market_id=eu")
    assert [one["window"] for one in body["items"]] == ["hour"]
    assert body["complete_until"] == "2026-11-22T10:01:00.000Z"


async def placed(served: str, market_id: str) -> int:
    (one,) = (await asked(served, f"market_id={market_id}&by=market&window=hour"))["items"]
    number: int = one["counts"]["placed"]
    return number


async def test_a_stream_gives_what_is_there_and_then_what_comes(
    served: str, log: MemoryLog
) -> None:
    lines: list[str] = []
    async with (
        httpx.AsyncClient(base_url=served, timeout=10) as client,
        client.stream("GET", "/kpis/stream?by=node") as answer,
    ):
        assert answer.headers["content-type"].startswith("text/event-stream")
        with suppress(StopAsyncIteration):
            async for line in answer.aiter_lines():
                lines.append(line)
                if line == "" and len([one for one in lines if "BOS" in one]) == 2:
                    log.write(KPIS, [window("us", "minute", END_MS + 60_000)])  # not asked for
                    log.write(KPIS, [window("us/node/LAX", "minute", END_MS + 60_000)])
                if "LAX" in line:
                    break
    events = [orjson.loads(line[6:]) for line in lines if line.startswith("data: ")]
    assert [one["node_id"] for one in events] == ["BOS", "BOS", "LAX"]
    assert lines[:2] == ["event: kpi", "id: 2026-11-22T10:01:00.000Z"]


async def test_before_the_topic_was_read_figures_are_not_answered() -> None:
    reads: Any = Fake()
    app = create_app(reads, SystemClock())
    async with httpx.AsyncClient(
        transport=httpx.ASGITransport(app=app), base_url="http://headrace"
    ) as client:
        for path in ("/kpis", "/kpis/stream"):
            answer = await client.get(path)
            assert answer.status_code == 503
            assert answer.json()["detail"] == "live figures are not read yet"


async def test_orders_by_state_are_counted_now_and_then_or_for_who_waits_for_a_position() -> None:
    now_s, counted = 7.0, 0

    class Hands(SystemClock):
        def monotonic(self) -> float:
            return now_s

    async def count() -> dict[str, list[dict[str, Any]]]:
        nonlocal counted
        counted += 1
        await asyncio.sleep(0)
        return {"orders_by_state": [{"orders": counted}]}

    kept = Kept(count, Hands())

    async def told(*, now: bool = False) -> int:
        found: int = (await kept.counts(now=now))["orders_by_state"][0]["orders"]
        return found

    assert list(await asyncio.gather(told(), told(), told())) == [1, 1, 1]
    now_s += KEPT_S - 1
    assert await told() == 1
    assert await told(now=True) == 2
    now_s += KEPT_S
    assert await told() == 3


async def test_who_asks_with_a_position_gets_counts_that_are_as_new(
    served: str, reads: Fake
) -> None:
    async with httpx.AsyncClient(base_url=served) as client:
        for headers, counted in (({}, 1), ({}, 1), ({"Headrace-Position": "0:7"}, 2)):
            answer = await client.get("/kpis", headers=headers)
            assert answer.status_code == 200, answer.text
            assert reads.counted == counted


async def test_orders_and_fulfillments_are_counted_by_state_in_the_database(
    url: str, writing: Writing
) -> None:
    await writing.up_to(0, given.journal(given.day()), len(given.day()))
    async with open_reads(url, SCHEMA) as reads:
        counted = await reads.by_state()
        listed = await reads.orders({}, Page(500, None))
        (work,) = await reads.rows("SELECT count(*) AS number FROM fulfillments", {})
    found = counted["orders_by_state"]
    places = counted["fulfillments_by_state"]
    assert work["number"] >= 3
    assert sum(one["fulfillments"] for one in places) == work["number"]
    assert len({(one["node_id"], one["status"]) for one in places}) > 1
    assert listed.body is not None
    assert found
    assert sum(one["orders"] for one in found) == len(listed.body["items"])
