"""What intake accepts goes through decide, PostgreSQL and HTTP, and is read back equal."""

import asyncio
import os
from collections.abc import Iterator
from typing import Any, Final
from urllib.parse import quote

import httpx
import orjson
import psycopg
import pytest
from hypothesis import HealthCheck, assume, event, given, settings
from hypothesis import strategies as st
from psycopg import sql

from orchestrator.core.decide import decide, tick, work_due
from orchestrator.core.invariants import violations
from orchestrator.core.shard import Shard
from orchestrator.core.sourcing.counterfactual import counterfactual
from orchestrator.runtime.intake import INTAKE_TOPICS, Intake
from orchestrator.runtime.memory_log import MemoryLog
from orchestrator.runtime.world import SystemClock
from projections import schema as tables
from projections.api import create_app
from projections.postgres import Postgres
from projections.projector import batches
from projections.queries import open_reads
from projections.tables import TABLES
from schemas import inbox
from schemas.cloudevents import emit
from schemas.journal import FilterState, decode, encode_commit, encode_entry, encode_opened
from schemas.ports import Partition, Read, Record
from tests.intake.accepted import Json, inputs, said, schema

SCHEMA: Final = "accepted"
EXAMPLES: Final = int(os.environ.get("HEADRACE_TEST_ACCEPTED", "100"))
_TOPICS: Final = {"network": 1, "orders": 1, "stock": 1, "carriers": 1, "inbox": 1, "rejected": 1}
_INBOX: Final = Partition("inbox", 0)
_REJECTED: Final = Partition("rejected", 0)


class Server:
    """A loop, a PostgreSQL schema, and HTTP in front of it."""

    def __init__(self, runner: asyncio.Runner, admin: psycopg.Connection, url: str) -> None:
        self.runner = runner
        self.admin = admin
        self.url = url

    def fill(self, values: list[bytes]) -> None:
        """The tables hold what follows from this journal, and nothing else."""
        names = sql.SQL(", ").join(map(sql.Identifier, [*TABLES, "shards"]))
        self.admin.execute(sql.SQL("TRUNCATE {}").format(names))
        self.runner.run(self._write(values))

    async def _write(self, values: list[bytes]) -> None:
        reads = [Read(offset, 0, None, value, ()) for offset, value in enumerate(values)]
        store = Postgres(self.url, SCHEMA)
        state: FilterState | None = None
        for batch in filter(None, batches(0, FilterState(), reads)):
            assert await store.apply(0, state, batch.state, batch.changes)
            state = batch.state
        await store.close()

    def get(self, *paths: str) -> list[Any]:
        """What HTTP answers."""
        return self.runner.run(self._get(paths))

    async def _get(self, paths: tuple[str, ...]) -> list[Any]:
        async with open_reads(self.url, SCHEMA) as reads:
            app = create_app(
                reads,
                SystemClock(),
                intake_progress=_nothing,
                inbox_ends=_nothing,
                journal_ends=_nothing,
                what_if=counterfactual,
                wait_s=1,
            )
            transport = httpx.ASGITransport(app=app)
            async with httpx.AsyncClient(transport=transport, base_url="http://headrace") as client:
                answers = [await client.get(path) for path in paths]
        for path, answer in zip(paths, answers, strict=True):
            assert answer.status_code == 200, (path, answer.text)
        return [answer.json() for answer in answers]


async def _nothing(*_: object) -> Any:  # noqa: ANN401 - nobody asks
    await asyncio.sleep(0)
    return {}


@pytest.fixture(scope="module")
def server(postgres_server: str) -> Iterator[Server]:
    name = "accepted"
    with psycopg.connect(postgres_server, autocommit=True) as owner:
        owner.execute(f"CREATE DATABASE {name}".encode())
        url = f"{postgres_server.rpartition('/')[0]}/{name}"
        with asyncio.Runner() as runner:
            runner.run(_migrate(url))
            options = tables.options(SCHEMA)
            with psycopg.connect(url, autocommit=True, options=options) as admin:
                yield Server(runner, admin, url)
        owner.execute(f"DROP DATABASE {name} WITH (FORCE)".encode())


async def _migrate(url: str) -> None:
    async with await psycopg.AsyncConnection.connect(url, autocommit=True) as admin:
        await tables.migrate(admin, SCHEMA)


Sent = tuple[str, str, Json]
"""Topic, type, data."""


async def taken_in(sent: list[Sent]) -> tuple[list[bytes], list[str]]:
    """What intake itself makes of records: inbox records, and sentences of what it rejected."""
    log = MemoryLog(SystemClock(), _TOPICS)
    group = await log.group("intake", INTAKE_TOPICS)
    stop = asyncio.Event()
    intake = Intake(log, group, SystemClock(), shards=1, wait_s=0.001)
    running = asyncio.create_task(intake.run(stop))
    inbox_records, rejected = log.held(_INBOX).records, log.held(_REJECTED).records
    for number, (topic, type_, data) in enumerate(sent):
        headers = emit(type_, str(number), "fuzz", "2026-01-31T12:00:00Z")
        log.write(Partition(topic, 0), [Record(b"k", orjson.dumps(data), headers)])
        async with asyncio.timeout(20):
            while len(inbox_records) + len(rejected) <= number:
                if running.done():
                    running.result()
                await asyncio.sleep(0.0005)
    stop.set()
    await running
    await group.close()
    details = [dict(one.headers)["headrace_detail"].decode() for one in rejected]
    return [one.value or b"" for one in inbox_records], details


def decided(records: list[bytes]) -> list[bytes]:
    """A journal of what the core decides from inbox records."""
    shard = Shard(0)
    entries = []

    def take(cause: Any) -> None:  # noqa: ANN401 - an input record
        entries.append(encode_entry(cause, decide(shard, cause)))

    causes: list[Any] = [inbox.decode(value) for value in records]
    for cause in causes:
        take(tick(max(shard.now_ms, cause["origin"][3])))
        take(cause)
        while work_due(shard, shard.now_ms):
            take(tick(shard.now_ms))
    assert list(violations(shard)) == []
    values, state = [encode_opened("one", "n1")], FilterState()
    commit = encode_commit(
        epoch=0,
        nonce="n1",
        seq=1,
        inbox_from=0,
        inbox_next=len(records),
        prev=state.digest,
        now_ms=shard.now_ms,
        entries=entries,
    )
    decode(commit, 1)
    return [*values, commit]


@st.composite
def days(draw: st.DrawFn) -> list[Sent]:
    """A market, items, a node with stock, and an order of them."""
    market = draw(inputs("market_defined", shard=st.none()))
    in_market = st.just(market["market_id"])
    items = draw(
        st.lists(inputs("item_defined"), min_size=1, max_size=3, unique_by=lambda i: i["sku"])
    )
    skus = [item["sku"] for item in items]
    node = draw(inputs("node_defined", market_id=in_market))
    at_node = st.just(node["node_id"])
    stock = [
        draw(inputs("stock_received", node_id=at_node, sku=st.just(sku), lot=st.none()))
        for sku in skus
    ]
    documents = [
        (one["document"], one.get("document_line")) for one in stock if one.get("document")
    ]
    assume(len(documents) == len({*documents}))  # else the second is a repeat, and counts once
    currency = st.sampled_from([market["currency"], "USD", "JPY", "KWD"])
    order = draw(inputs("order_placed", market_id=in_market, currency=currency))
    for line in order["lines"]:
        line["sku"] = draw(st.sampled_from(skus))
    return [
        ("network", "market_defined", market),
        *(("network", "item_defined", item) for item in items),
        ("network", "node_defined", node),
        *(("stock", "stock_received", one) for one in stock),
        ("orders", "order_placed", order),
    ]


def in_path(id_: str) -> str:
    """An id as a segment of a path; clients take `.` and `..` for steps unless encoded."""
    return id_.replace(".", "%2e") if id_ in {".", ".."} else quote(id_, safe="")


def same(shown: Json, sent: Json, type_: str) -> None:
    """What HTTP shows of an input is what was sent, but for defaults and the form of times."""
    whole = schema(type_)
    assert said(shown, whole, whole) == said(sent, whole, whole)


@pytest.mark.slow
@pytest.mark.usefixtures("_quiet")
@settings(
    max_examples=EXAMPLES,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
)
@given(sent=days())
def test_what_intake_accepts_is_read_back_as_it_was_sent(server: Server, sent: list[Sent]) -> None:
    records, rejected = server.runner.run(taken_in(sent))
    event("rejected" if rejected else "accepted")
    assume(not rejected)
    server.fill(decided(records))
    by_type: dict[str, list[Json]] = {}
    for _, type_, data in sent:
        by_type.setdefault(type_, []).append(data)
    (order,), (node,) = by_type["order_placed"], by_type["node_defined"]
    found, nodes, *stock = server.get(
        f"/orders/{order['channel']}/{in_path(order['order_id'])}",
        "/nodes",
        *(f"/stock/{in_path(item['sku'])}" for item in by_type["item_defined"]),
    )
    same(found, order, "order_placed")
    zone = node.get("time_zone") or by_type["market_defined"][0]["time_zone"]
    same(nodes["items"][0], node | {"time_zone": zone}, "node_defined")
    for item, one, received in zip(
        by_type["item_defined"], stock, by_type["stock_received"], strict=True
    ):
        assert one["sku"] == item["sku"]
        assert one["total"]["on_hand"] == received["quantity"]
