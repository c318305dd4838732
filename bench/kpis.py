"""Live figures: records a second that one worker of role `kpis` counts, on Apache Kafka.

Whole lives of orders are decided, journaled and published as `history`; then the role's Faust
application counts them from the beginning. Its first seconds, in which it joins its group, don't
count.
"""

import asyncio
import time
from typing import Any, Final

from bench import workload
from bench.history import publish, write
from bench.recovery import Book
from bench.report import Figure, Result, say
from orchestrator.compose import create_topics
from orchestrator.kpis.application import Kpis
from orchestrator.kpis.worker import Worker
from orchestrator.runtime.kafka_log import KafkaLog, KafkaSettings
from orchestrator.runtime.settings import Settings
from orchestrator.runtime.world import SystemClock
from tests import servers

_ORDERS: Final = 8_000
_PARTITIONS: Final = 4
_WARM: Final = 5_000  # records


async def published(log: KafkaLog, orders: int) -> int:
    """Journal the lives of so many orders, and publish them; records of history."""
    writer = await log.writer()
    book = Book(writer)
    await write(book, workload.Inbox(), orders)
    await writer.close()
    await publish(log, book)
    return book.events


def counted(kpis: Kpis) -> int:
    """How far a role's worker is, over all partitions."""
    worker: Worker | None = kpis._worker  # noqa: SLF001 - there is no other way to look at it
    return sum(one.next for one in worker.counting.values()) if worker else 0


async def measure(servers_at: str, prefix: str, orders: int) -> dict[str, Any]:
    """One run on topics of its own."""
    log = await KafkaLog.open(KafkaSettings(servers_at, prefix))
    settings = Settings(
        kafka=servers_at, prefix=prefix, shards=1, partitions=_PARTITIONS, replication=1
    )
    await create_topics(log, settings)
    records = await published(log, orders)
    kpis = Kpis(log=log, clock=SystemClock(), rules=[], partitions=_PARTITIONS, hours_back=None)
    stop = asyncio.Event()
    running = asyncio.create_task(kpis.run(stop))
    while (first := counted(kpis)) < _WARM:  # noqa: ASYNC110 - looks at it from outside
        await asyncio.sleep(0.01)
    began, cpu = time.perf_counter(), time.process_time()
    while (last := counted(kpis)) < records:  # noqa: ASYNC110 - the same
        await asyncio.sleep(0.01)
    seconds, cpu_s = time.perf_counter() - began, time.process_time() - cpu
    stop.set()
    await running
    await log.close()
    return {"records_s": (last - first) / seconds, "cpu_us": cpu_s / (last - first) * 1e6}


def run(*, quick: bool, runs: int) -> Result:
    """Measure it so often."""
    its: list[dict[str, float]] = []
    with servers.run(servers.choose()) as servers_at:
        for number in range(runs):
            orders = _ORDERS // 10 if quick else _ORDERS
            its.append(asyncio.run(measure(servers_at, f"k{number}-", orders)))
            say(f"kpis: {its[-1]}")
    of = {name: [one[name] for one in its] for name in its[0]}
    return Result(
        "kpis",
        [
            Figure("history counted by one worker", "records/s", of["records_s"], at_least=6_000),
            Figure("its CPU a record", "µs", of["cpu_us"]),
        ],
    )
