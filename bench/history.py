"""History: records a second onto the topic, and into Parquet files, from Apache Kafka.

Whole lives of orders (placed, accepted, shipped, delivered) are decided and journaled. Then a
role `history` alone publishes the journal from its beginning; `headrace export`'s exporter writes
it as Parquet files; and DuckDB groups ten million rows of them (the files of one table, repeated).
"""

import asyncio
import resource
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import orjson
import pyarrow.parquet as pq

from bench import workload
from bench.core import as_the_engine_collects, resident_bytes
from bench.recovery import Book
from bench.report import Figure, Result, say
from events.carriers import TrackingUpdated
from events.fulfillment import FulfillmentAccepted, FulfillmentShipped
from orchestrator.compose import create_topics
from orchestrator.core.shard import Shard
from orchestrator.export import together
from orchestrator.export.ask import ask, opened
from orchestrator.export.directory import Directory
from orchestrator.export.exporter import Done, Period
from orchestrator.export.together import processes
from orchestrator.remembered import history_format
from orchestrator.runtime.history import History
from orchestrator.runtime.kafka_log import KafkaLog, KafkaSettings
from orchestrator.runtime.publisher import Ports
from orchestrator.runtime.settings import Settings
from orchestrator.runtime.world import SystemClock, SystemRandomness
from schemas.cloudevents import emit
from schemas.ports import Record
from tests import servers
from tests.kafka.watching import JOURNAL

_ORDERS: Final = 40_000
_GROUPED: Final = 10_000_000


def reports(order_id: str, node_id: str) -> Iterator[tuple[str, Record]]:
    """What a node and a carrier say of an order's first fulfillment: topic and record."""
    work: dict[str, Any] = {"node_id": node_id, "fulfillment_id": f"web.{order_id}.1"}
    number = f"T{order_id}"
    package = {"package_id": "1", "carrier": "ups", "tracking_number": number}
    shipped = {**work, "shipped_at": "2026-11-23T10:00:00Z", "packages": [package]}
    arrived = {"carrier": "ups", "tracking_number": number, "market_id": workload.MARKET}
    arrived |= {"status": "delivered", "at": "2026-11-25T10:00:00Z"}
    for model, said in (
        (FulfillmentAccepted, work),
        (FulfillmentShipped, shipped),
        (TrackingUpdated, arrived),
    ):
        model.model_validate_json(orjson.dumps(said))
        headers = emit(model.TYPE, f"{model.TYPE}-{order_id}", "bench", workload.PLACED_AT)
        yield model.TOPIC, Record(b"", orjson.dumps(said), headers)


def node_of(shard: Shard, order_id: str) -> list[str]:
    """The nodes that the order's fulfillments are at."""
    order = shard.markets[workload.MARKET].orders[f"{workload.CHANNEL}/{order_id}"]
    return [one.node_id for one in order.fulfillments]


async def write(book: Book, inbox: workload.Inbox, orders: int) -> None:
    """Journal so many orders' lives."""
    await book.open()
    for topic, record in workload.master_data():
        await book.take(inbox.take(topic, record))
    await book.commit()
    pending = []
    for order in workload.orders("history", orders):
        await book.take(inbox.take("orders", order.record()))
        pending.append(order.order_id)
        if len(pending) == 300:
            await book.commit()
            for order_id in pending:
                nodes = node_of(book.shard, order_id)
                if len(nodes) == 1:
                    for topic, record in reports(order_id, nodes[0]):
                        await book.take(inbox.take(topic, record))
            pending = []
    await book.commit()


async def publish(log: KafkaLog, book: Book) -> tuple[float, float]:
    """Have a role `history` publish all of the book's journal; seconds, and of the processor."""
    stop = asyncio.Event()
    history = History(
        Ports(log, await log.group("history", ["journal"]), SystemClock(), SystemRandomness()),
        history_format(),
        late_s=30,
    )
    began, cpu = time.perf_counter(), time.process_time()
    running = asyncio.create_task(history.run(stop))
    while True:
        kept = (await log.saved("history", [JOURNAL])).get(JOURNAL)
        if kept is not None and kept.offset >= book.filter.next:
            break
        await asyncio.sleep(0.02)
    took = time.perf_counter() - began, time.process_time() - cpu
    stop.set()
    await running
    return took


async def measure(servers_at: str, prefix: str, orders: int) -> dict[str, float]:
    """One run on topics of its own."""
    log = await KafkaLog.open(KafkaSettings(servers_at, prefix))
    await create_topics(log, Settings(kafka=servers_at, prefix=prefix, shards=1, replication=1))
    writer = await log.writer()
    book = Book(writer)
    await write(book, workload.Inbox(), orders)
    await writer.close()
    as_the_engine_collects()
    before = resident_bytes()
    seconds, cpu_s = await publish(log, book)
    found = await exported(log, book.events)
    await log.close()
    return found | {
        "records_s": book.events / seconds,
        "cpu_us": cpu_s / book.events * 1e6,
        "records_an_order": book.events / orders,
        "cpu_us_an_order": cpu_s / orders * 1e6,
        "grown_bytes_an_order": (resident_bytes() - before) / orders,
    }


async def exported(log: KafkaLog, events: int) -> dict[str, float]:
    """Export the journal by one process and by as many as there are cores; group what is there."""
    found: dict[str, float] = {}
    with tempfile.TemporaryDirectory(prefix="headrace-bench-") as made:
        for name, number in (("first", 1), ("alone", 1), ("shared", processes())):
            # the first has in it what a process needs to begin
            began, cpu = time.perf_counter(), _cpu_s()
            await export(log, Directory(Path(made) / name), number)
            seconds, cpu_s = time.perf_counter() - began, _cpu_s() - cpu
            found |= {f"{name}_events_s": events / seconds, f"{name}_us": cpu_s / events * 1e6}
        rows, grouped_s = grouped(Path(made) / "alone")
    return found | {"grouped_rows": rows, "grouped_s": grouped_s, "processes": processes()}


async def export(log: KafkaLog, place: Directory, number: int) -> None:
    """As `headrace export --processes` does it."""
    with place.locked():
        await together.export(
            place,
            together.exporters(log),
            lambda *_: None,
            crew=together.Crew(number, together.a_process(log.settings)),
            period=Period(),
            follow=False,
            done=Done(),
        )


def _cpu_s() -> float:
    """Of this process, and of those that it started and that have ended."""
    return sum(
        one.ru_utime + one.ru_stime
        for one in map(resource.getrusage, (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    )


def grouped(path: Path) -> tuple[int, float]:
    """Rows, and seconds to group them by node and reason (the best of five)."""
    (first,) = [
        one for one in (path / "events/stock_moved").glob("*/0-*.parquet") if "-1." in one.name
    ][:1]
    table = pq.read_table(first, partitioning=None)
    times = -(-_GROUPED // table.num_rows)
    with pq.ParquetWriter(first, table.schema, compression="zstd") as writer:
        for _ in range(times):
            writer.write_table(table)
    with opened(path) as connection:
        query = "SELECT node_id, reason, count(*), sum(on_hand) FROM stock_movements GROUP BY ALL"
        ask(connection, "SELECT count(*) FROM stock_movements")
        seconds, rows = [], list(ask(connection, query)[1])
        for _ in range(5):
            began = time.perf_counter()
            rows = list(ask(connection, query)[1])
            seconds.append(time.perf_counter() - began)
        return sum(row[2] for row in rows), min(seconds)


def run(*, quick: bool, runs: int) -> Result:
    """Measure it so often."""
    its: list[dict[str, float]] = []
    with servers.run(servers.choose()) as servers_at:
        for number in range(runs):
            its.append(
                asyncio.run(measure(servers_at, f"h{number}-", _ORDERS // 10 if quick else _ORDERS))
            )
            say(f"history: {its[-1]}")
    of = {name: [one[name] for one in its] for name in its[0]}
    note = f"{of['records_an_order'][0]:.1f} records an order"
    return Result(
        "history",
        [
            Figure("history published", "records/s", of["records_s"], note=note),
            Figure("its CPU a record", "µs", of["cpu_us"]),
            Figure("its CPU an order", "µs", of["cpu_us_an_order"]),
            Figure(
                "exported",
                "events/s",
                of["shared_events_s"],
                at_least=80_000,
                note=f"by {of['processes'][0]:.0f} processes, with their start",
            ),
            Figure("CPU of that an event", "µs", of["shared_us"]),
            Figure("exported by one process", "events/s", of["alone_events_s"]),
            Figure("CPU of that an event, of one", "µs", of["alone_us"]),
            Figure(
                "group by over the export",
                "s",
                of["grouped_s"],
                at_most=0.5,
                note=f"{of['grouped_rows'][0]:,.0f} rows",
            ),
        ],
    )
