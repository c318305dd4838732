"""The past: at every moment it answers what the read models, and the core, said then."""

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from random import Random
from typing import Any

import orjson
import psycopg
import pytest

from orchestrator.core.decide import fold
from orchestrator.core.shard import Shard
from orchestrator.past import order_then, stock_then
from orchestrator.runtime.memory_log import MemoryLog
from orchestrator.runtime.world import SystemClock
from projections import schema
from projections.as_of import AsOf, Bound, Moment
from projections.past import PAST
from projections.postgres import Postgres
from projections.projector import PROJECTOR_TOPICS, Projector, batches
from projections.queries import Page, Reads, open_reads
from projections.rebuild import rebuild
from schemas.journal import FilterState
from schemas.ports import Read
from schemas.times import rfc3339
from tests.projections import journals as given
from tests.projections.conftest import SCHEMA, rows
from tests.projections.test_from_the_core import journal, told
from tests.properties.test_explained_day import an_order, given_a_day

DEADLINE_S = 20
KEPT = schema.named(SCHEMA, "past")
ALL = Page(500, None)
COUNTS = ("open", "allocated", "backordered", "shipped", "delivered", "cancelled")


@pytest.fixture
async def store(postgres: str, admin: psycopg.AsyncConnection) -> AsyncIterator[Postgres]:
    assert await schema.version(admin, KEPT)
    store = Postgres(postgres, KEPT)
    yield store
    await store.close()


@pytest.fixture
async def kept(
    postgres: str, admin: psycopg.AsyncConnection
) -> AsyncIterator[psycopg.AsyncConnection]:
    """A connection whose search path is the past."""
    assert await schema.version(admin, KEPT)
    async with await psycopg.AsyncConnection.connect(
        postgres, autocommit=True, options=schema.options(KEPT)
    ) as connection:
        yield connection


async def dump(kept: psycopg.AsyncConnection) -> dict[str, list[Any]]:
    return {name: await rows(kept, name) for name in (*PAST.tables, "shards")}


class Hand:
    """Writes read models and past as the projectors would, so many records at a time."""

    def __init__(self, live: Postgres, store: Postgres, values: list[bytes]) -> None:
        self.reads = [Read(offset, 0, None, value, ()) for offset, value in enumerate(values)]
        self._live = live
        self._past = store
        self._states: dict[str, FilterState] = {}

    async def live(self, end: int) -> None:
        """Read models up to a journal offset."""
        before = self._states.get("live")
        state = before or FilterState()
        for batch in batches(0, state, self.reads[state.next : end]):
            if batch is not None and batch.state != state:
                assert await self._live.apply(0, before, batch.state, batch.changes)
                self._states["live"] = before = state = batch.state

    async def past(self, end: int) -> None:
        """The past up to a journal offset."""
        before = self._states.get("past")
        state = before or FilterState()
        for batch in batches(0, state, self.reads[state.next : end], model=PAST):
            if batch is not None and batch.state != state:
                assert await self._past.apply(0, before, batch.state, batch.changes)
                self._states["past"] = before = state = batch.state


def after(seq: int) -> Moment:
    return Moment((Bound(0, seq + 1),))


async def read_models(reads: Reads, orders: list[str], skus: list[str]) -> dict[str, Any]:
    return {
        "orders": [(await reads.order("web", one, None)).body for one in orders],
        "stock": [(await reads.stock(sku)).body for sku in skus],
        "nodes": (await reads.nodes(ALL)).body,
    }


async def as_of(past: AsOf, moment: Moment, orders: list[str], skus: list[str]) -> dict[str, Any]:
    return {
        "orders": [(await past.order("web", one, None, moment)).body for one in orders],
        "stock": [(await past.stock(sku, moment)).body for sku in skus],
        "nodes": (await past.nodes(ALL, moment)).body,
    }


@pytest.mark.parametrize("of", ["the synthetic day", "the core"])
async def test_after_any_commit_it_answers_what_the_read_models_answered(
    of: str, postgres: str, database: Postgres, store: Postgres
) -> None:
    values = given.journal(given.day()) if of == "the synthetic day" else journal(told().entries, 3)
    orders = ["1", "2", "3", "4", "5", "6", "none"]
    skus = ["MUG", "CUP", "LATE", "NONE"]
    hand = Hand(database, store, values)
    async with open_reads(postgres, SCHEMA) as reads:
        past = AsOf(reads, SCHEMA)
        answered = []
        for end in range(2, len(values) + 1):
            await hand.live(end)
            answered.append(await read_models(reads, orders, skus))
        await hand.past(len(values))
        assert answered[0] != answered[-1]
        for seq, then in enumerate(answered, 1):
            assert await as_of(past, after(seq), orders, skus) == then, seq


def a_simulated_day(seed: int) -> list[bytes]:
    """Entries of a day: orders come, are shipped, rejected, cancelled, delivered; time passes."""
    luck = Random(seed)
    story = given_a_day(luck).story
    for number in range(40):
        order = an_order(luck, number) | {"channel": "web"}
        for line in order["lines"]:
            line["allow_backorder"] = True
        story.send("order_placed", **order)
        if luck.random() < 0.5:
            story.at(luck.randint(1, 900))
        placed = list(story.shard.markets["us"].orders.values())
        one = luck.choice(placed)
        if luck.random() < 0.2:
            story.send(
                "order_cancel_requested",
                channel="web",
                market_id="us",
                order_id=one.order_id,
                reason="changed mind",
            )
        for fulfillment in one.fulfillments[:1]:
            fulfillment_id = fulfillment.fulfillment_id
            if fulfillment.request_status != "submitted":
                continue
            if luck.random() < 0.3:
                story.send(
                    "fulfillment_rejected",
                    node_id=fulfillment.node_id,
                    fulfillment_id=fulfillment_id,
                    reason=luck.choice(["not_in_stock", "capacity", "damaged"]),
                )
            else:
                story.send(
                    "fulfillment_shipped",
                    node_id=fulfillment.node_id,
                    fulfillment_id=fulfillment_id,
                    shipped_at=rfc3339(story.now_ms),
                    packages=[
                        {"package_id": "P", "carrier": "ups", "tracking_number": fulfillment_id}
                    ],
                )
                story.track(fulfillment_id)
    return story.entries


def folded(entries: list[bytes]) -> Iterator[Shard]:
    """The core's state before the first entry, and after each."""
    shard = Shard(0)
    yield shard
    for entry in entries:
        fold(shard, orjson.loads(entry))
        yield shard


async def _agrees(past: AsOf, moment: Moment, shard: Shard) -> int:
    """What the past says of a moment is what `headrace state` says of it; what was compared."""
    compared = 0
    for market in shard.markets.values():
        for key in list(market.orders):
            channel, _, order_id = key.partition("/")
            (then,) = order_then(shard, key)
            body = (await past.order(channel, order_id, None, moment)).body
            assert body["status"] == then["status"]
            assert [[one[name] for name in COUNTS] for one in body["lines"]] == [
                [one[name] for name in COUNTS] for one in then["lines"]
            ]
            names = ("fulfillment_id", "node_id", "status", "request_status", "lines")
            assert [[one[name] for name in names] for one in body["fulfillments"]] == [
                [one[name] for name in names] for one in then["fulfillments"]
            ]
            compared += 1
        for sku in market.bins:
            body = (await past.stock(sku, moment)).body
            of_node = ("node_id", "market_id", "on_hand", "reserved", "held", "available")
            assert [[one[name] for name in of_node] for one in body["nodes"]] == [
                [one[name] for name in of_node] for one in stock_then(shard, sku)
            ]
            compared += 1
    return compared


@pytest.mark.parametrize("seed", [1, 2])
async def test_at_any_commit_and_any_moment_it_is_what_headrace_state_says(
    seed: int, postgres: str, database: Postgres, store: Postgres
) -> None:
    entries, a_commit = a_simulated_day(seed), 4
    values = journal(entries, a_commit)
    hand = Hand(database, store, values)
    await hand.live(len(values))
    await hand.past(len(values))
    ticks = [
        (number, cause["time_ms"])
        for number, entry in enumerate(entries)
        if "origin" not in (cause := orjson.loads(entry)["input"])
    ]
    begins = {number: time_ms for number, time_ms in ticks if time_ms > 0}
    async with open_reads(postgres, SCHEMA) as reads:
        past = AsOf(reads, SCHEMA)
        compared = 0
        for number, shard in enumerate(folded(entries)):
            if number % a_commit == 0 and number // a_commit % 3 == 0:
                compared += await _agrees(past, after(number // a_commit), shard)
            later = begins.get(number)
            if later is not None and shard.now_ms < later:
                (found,) = await past.recorded(rfc3339(later - 1))
                assert found.later == Bound(0, number // a_commit + 1, number % a_commit)
                compared += await _agrees(past, Moment((found.later,)), shard)
        (found,) = await past.recorded(rfc3339(ticks[-1][1]))
        assert found.later is None
    assert compared > 300


async def test_a_rebuild_equals_any_batching(
    postgres: str, database: Postgres, store: Postgres, kept: psycopg.AsyncConnection
) -> None:
    values = given.journal(given.day())
    hand = Hand(database, store, values)
    for end in range(1, len(values) + 1):
        await hand.past(end)
    one_by_one = await dump(kept)
    assert all(one_by_one.values())
    log = MemoryLog(SystemClock(), {"journal": 1})
    given.write(log, 0, values)
    await rebuild(log, postgres, SCHEMA, 1, model=PAST)
    assert await dump(kept) == one_by_one
    await rebuild(log, postgres, SCHEMA, 1)
    assert await dump(kept) == one_by_one  # the read models' rebuild leaves it alone


@asynccontextmanager
async def keeping(log: MemoryLog, store: Postgres) -> AsyncIterator[None]:
    stop = asyncio.Event()
    group = await log.group("past", PROJECTOR_TOPICS)
    role = Projector(log, group, store, SystemClock(), pace_s=0.001, model=PAST)
    running = asyncio.create_task(role.run(stop))
    try:
        yield
    finally:
        stop.set()
        async with asyncio.timeout(DEADLINE_S):
            await running
        await group.close()


async def test_switched_on_later_it_catches_up_from_the_journals_beginning(
    postgres: str, database: Postgres, store: Postgres, kept: psycopg.AsyncConnection
) -> None:
    values = journal(told().entries, 3)
    log = MemoryLog(SystemClock(), {"journal": 1})
    given.write(log, 0, values)
    await Hand(database, store, values).live(len(values))
    reader = Postgres(postgres, KEPT)
    async with keeping(log, store), asyncio.timeout(DEADLINE_S):
        while (state := await reader.checkpoint(0)) is None or state.next < len(values):
            await asyncio.sleep(0.005)
    await reader.close()
    caught_up = await dump(kept)
    await rebuild(log, postgres, SCHEMA, 1, model=PAST)
    assert await dump(kept) == caught_up


async def test_two_keepers_of_one_shard_write_each_row_once(
    postgres: str, store: Postgres, kept: psycopg.AsyncConnection
) -> None:
    values = journal(told().entries, 3)
    logs = [
        MemoryLog(SystemClock(), {"journal": 1}) for _ in range(2)
    ]  # each believes that the shard is its own
    other, reader = Postgres(postgres, KEPT), Postgres(postgres, KEPT)
    async with keeping(logs[0], store), keeping(logs[1], other):
        for value in values:
            for log in logs:
                given.write(log, 0, [value])
            await asyncio.sleep(0)
        async with asyncio.timeout(DEADLINE_S):
            while (state := await reader.checkpoint(0)) is None or state.next < len(values):
                await asyncio.sleep(0.005)
    await other.close()
    await reader.close()
    both = await dump(kept)
    await rebuild(logs[0], postgres, SCHEMA, 1, model=PAST)
    assert {name: rows_ for name, rows_ in (await dump(kept)).items() if name != "shards"} == {
        name: rows_ for name, rows_ in both.items() if name != "shards"
    }


async def test_no_word_on_a_person_stands_in_it(
    database: Postgres, store: Postgres, kept: psycopg.AsyncConnection
) -> None:
    values = given.journal(given.day())
    assert any(b"Cambridge" in value for value in values)
    await Hand(database, store, values).past(len(values))
    written = repr(await dump(kept))
    assert "web" in written
    for word in ("ship_to", "Ann", "Cambridge", "tracking_number", "unit_price_minor"):
        assert word not in written
