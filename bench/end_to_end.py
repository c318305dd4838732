"""The whole path on Apache Kafka and PostgreSQL, all of it on this machine's cores.

1. Everything up, network and stock in the read model.
2. A pilot of some seconds warms the servers up and says how many orders fill the run.
3. The roles are stopped and the run's orders put on `orders`; then the roles start, intake last.
   Throughput is all of these orders over the time from intake being ready to the last of them
   standing both on `fulfillment-commands` (read there, each order counted once) and in the read
   model (its checkpoint, which changes with the rows).
4. Then orders come one by one at 300/s, at random distances (open loop: nobody waits for an
   answer), with all of the above open: from handing an order to the producer to its command being
   read, and for a sample to it being readable over HTTP, half by `Headrace-Position`, half by
   asking every 5 ms. Quantiles after a warm-up.
5. The audit looks at all of it.

Kafka acknowledges from memory, as it is run everywhere: durability comes from replicas on other
machines. PostgreSQL has fsync on. CPU seconds are of the processes, by role, over step 3.
"""

import asyncio
import gc
import os
import random
import signal
import sys
import tempfile
import time
from collections import Counter
from collections.abc import AsyncIterator, Iterable, Iterator, Sequence
from contextlib import ExitStack, asynccontextmanager, contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import httpx
import psycopg
from aiokafka import AIOKafkaProducer
from prometheus_client.parser import text_string_to_metric_families

from bench import workload
from bench.baseline import DURABLE
from bench.core import resident_bytes
from bench.report import say
from orchestrator.compose import create_topics
from orchestrator.demo.audit import audit
from orchestrator.demo.meter import quantile
from orchestrator.demo.readmodel import ReadModel
from orchestrator.embedded import apache_kafka, embedded_postgres
from orchestrator.embedded.server import Place, free_port, kept
from orchestrator.runtime.kafka_log import KafkaLog, kafka_settings
from orchestrator.runtime.settings import Settings, variable
from projections import schema
from schemas.ports import Partition, Record
from tests.servers import kafka_jars

LAYOUTS: Final = {
    "three": ("engine", "projector,api", "intake,relay"),
    "three-history": ("engine", "history", "projector,api", "intake,relay"),
    "two": ("engine,relay", "intake,projector,api"),
    "one": ("intake,engine,relay,projector,api",),
    "each": ("engine", "relay", "projector", "api", "intake"),
}
"""Which roles share a process; the one with intake comes last."""
LAYOUT: Final = "three"
"""The fastest of them on two cores."""

RATE: Final = 300
OPEN: Final = 100_000
_STARTS_WITHIN_S: Final = 60.0
_SETTLES_WITHIN_S: Final = 60.0  # without any progress
_BATCH_RECORDS: Final = 500
_PILOT_RATE: Final = 1_500
_SAMPLES_A_SECOND: Final = 10
_ASK_EVERY_S: Final = 0.005
_TICKS_A_SECOND: Final = os.sysconf("SC_CLK_TCK")


@dataclass(frozen=True, slots=True)
class Plan:
    """How long, and in which processes."""

    layout: str = LAYOUT
    seconds: float = 60  # of full load
    pilot_s: float = 10
    open_orders: int = OPEN  # at the least, before latency is measured
    warm_up_s: float = 30
    latency_s: float = 30
    check: bool = True  # run the audit


@dataclass(slots=True)
class Measured:
    """One run. Times in ms, sizes in bytes."""

    orders_s: float = 0.0
    orders: int = 0
    lag_s: float = 0.0  # of the slower of both ends behind the other, at the end
    slower: str = ""
    history_late_s: float = 0.0  # after the end, where the layout has it
    cpu_us: dict[str, float] = field(default_factory=dict)  # an order, by process
    journal_full: float = 0.0  # on disk, an order
    journal_trickle: float = 0.0
    empty_engine_mb: float | None = None
    roles_mb: dict[str, float] = field(default_factory=dict)  # at the end
    open_orders: int = 0
    command_ms: dict[str, float] = field(default_factory=dict)
    readable_ms: dict[str, dict[str, float]] = field(default_factory=dict)
    stages_ms: dict[str, dict[str, float]] = field(default_factory=dict)  # the roles' own metrics
    sent_late_ms: float = 0.0  # p99: how late this program was
    findings: list[str] = field(default_factory=list)


@contextmanager
def new_servers() -> Iterator[tuple[Settings, Path]]:
    """Kafka and PostgreSQL of this run's own, and their folder."""
    with (
        tempfile.TemporaryDirectory(prefix="headrace-bench-") as made,
        ExitStack() as stack,
    ):
        home = Path(made)
        home.chmod(0o755)  # the servers' account passes through
        bootstrap = stack.enter_context(apache_kafka(kafka_jars(), home / "kafka", heap_mb=512))
        settings = Settings(
            kafka=bootstrap,
            postgres=stack.enter_context(embedded_postgres(settings=DURABLE)),
            log_level="warning",
            http=f"127.0.0.1:{free_port()}",
        )
        yield settings, home


def run(plan: Plan) -> Measured:
    """Run it once on new servers."""
    with new_servers() as (settings, home):
        return asyncio.run(Run(plan, settings, home).all())


def full_load(plan: Plan) -> Measured:
    """Steps 1 to 3 alone, on new servers."""
    with new_servers() as (settings, home):
        return asyncio.run(Run(plan, settings, home).full_load())


class Run:
    """One run's servers, roles and books; `bench.promise` goes another way over the same steps."""

    def __init__(self, plan: Plan, settings: Settings, home: Path) -> None:
        self.plan = plan
        self.settings = settings
        self.home = home
        self.measured = Measured()
        self.inbox_records = 0  # that the read model must have handled
        self.orders = 0  # sent so far
        self.log: KafkaLog
        self.partitions: dict[str, int] = {}
        self.rows: psycopg.AsyncConnection

    @asynccontextmanager
    async def set_up(self) -> AsyncIterator[None]:
        """Connect to both servers; make the topics and the read models' tables."""
        settings = self.settings
        async with AsyncLog(settings) as self.log:
            await create_topics(self.log, settings)
            self.partitions = {
                name: topic.partitions for name, topic in (await self.log.describe()).items()
            }
            connect = psycopg.AsyncConnection.connect
            async with (
                await connect(settings.postgres or "", autocommit=True) as admin,
                await connect(
                    settings.postgres or "",
                    autocommit=True,
                    options=schema.options(settings.db_schema),
                ) as self.rows,
            ):
                await schema.migrate_all(admin, settings.db_schema)
                yield

    async def all(self) -> Measured:
        """Everything, in order."""
        async with self.set_up():
            await self._load()
            with self.roles() as processes:
                await self._latency(processes)
                self.measured.roles_mb = _roles_mb()
            if self.plan.check:
                await self._audit()
        return self.measured

    async def full_load(self) -> Measured:
        """Throughput, without latency and audit."""
        async with self.set_up():
            await self._load()
        return self.measured

    # --- steps

    async def _load(self) -> None:
        """Network and stock, the pilot, full load."""
        with self.roles():
            found = _roles_mb().get("engine")
            self.measured.empty_engine_mb = found
            await self.master_data()
            pilot = round(self.plan.pilot_s * _PILOT_RATE)
            await self._append(workload.orders("pilot", pilot))
            self.inbox_records += pilot
            began = time.perf_counter()
            await self.handled(began)
            took = time.perf_counter() - began
        count = round(self.plan.seconds * pilot / took * 1.05)
        say(f"pilot: {pilot / took:,.0f} orders/s; {count:,} orders are put on `orders`")
        await self._append(workload.orders("full", count))
        self.inbox_records += count
        await self._throughput(count)

    async def _throughput(self, count: int) -> None:
        bytes_before = self._journal_bytes()
        commands = Commands(self.log, self.partitions)
        async with commands.reading():
            commands.expect(count)
            with self.roles():
                cpu_before = cpu_seconds()
                began = time.perf_counter()
                handled = asyncio.create_task(self.handled(began))
                await asyncio.gather(commands.complete.wait(), handled)
                cpu = cpu_seconds()
                self.measured.history_late_s = await self._history_late()
                cpu["history"] = cpu_seconds()["history"]  # its own, until it has caught up
        cpu.subtract(cpu_before)
        ends = {"commands": commands.complete_at - began, "read model": handled.result() - began}
        slower, took = max(ends.items(), key=lambda end: end[1])
        it = self.measured
        it.orders, it.orders_s, it.slower = count, count / took, slower
        it.lag_s = took - min(ends.values())
        it.cpu_us = {who: round(s / count * 1e6, 1) for who, s in cpu.most_common() if s > 0}
        it.journal_full = (self._journal_bytes() - bytes_before) / count
        say(
            f"full load: {it.orders_s:,.0f} orders/s over {took:.0f} s ({slower} last by "
            f"{it.lag_s:.1f} s), {it.journal_full:.0f} journal bytes an order; CPU µs an order: "
            + ", ".join(f"{who} {us:.0f}" for who, us in it.cpu_us.items())
        )

    async def _latency(self, processes: dict[str, str]) -> None:
        """At a steady rate, with many orders open."""
        http = next(http for roles, http in processes.items() if "api" in roles.split(","))
        missing = self.plan.open_orders - self.orders
        if missing > 0:
            await self._append(workload.orders("fill", missing))
            self.inbox_records += missing
            await self.handled(time.perf_counter())
        self.measured.open_orders = self.orders
        say(f"latency: {RATE} orders/s with {self.orders:,} open")
        commands = Commands(self.log, self.partitions)
        gc.collect()
        gc.freeze()
        gc.disable()
        try:
            async with commands.reading(), httpx.AsyncClient() as client:
                warm, measured = (
                    round(seconds * RATE) for seconds in (self.plan.warm_up_s, self.plan.latency_s)
                )
                load = Load(self.settings, self.partitions, commands, client, http)
                async with load.producing():
                    await load.send(workload.orders("warm", warm))
                    bytes_before, load.measures = self._journal_bytes(), True
                    stages_before = _stage_buckets(processes.values())
                    await load.send(workload.orders("slow", measured))
        finally:
            gc.enable()
            gc.unfreeze()
        it = self.measured
        it.journal_trickle = (self._journal_bytes() - bytes_before) / measured
        it.command_ms = _quantiles(load.command_ms)
        it.readable_ms = {how: _quantiles(times) for how, times in load.readable_ms.items()}
        it.stages_ms = _stages(stages_before, _stage_buckets(processes.values()))
        it.sent_late_ms = quantile([round(ms) for ms in load.late_ms], 0.99) or 0
        self.orders += warm + measured
        self.inbox_records += warm + measured
        await self.handled(time.perf_counter())
        say(
            f"latency: placed → command p50 {it.command_ms['p50']:.1f} p99 "
            f"{it.command_ms['p99']:.1f} ms; readable "
            + ", ".join(
                f"{how} p50 {q['p50']:.0f} p99 {q['p99']:.0f} ms"
                for how, q in it.readable_ms.items()
            )
            + f"; {it.journal_trickle:.0f} journal bytes an order; by the roles' metrics "
            + ", ".join(
                f"{stage} p50 ≤ {q['p50']:g} p99 ≤ {q['p99']:g}"
                for stage, q in it.stages_ms.items()
            )
        )

    async def _audit(self) -> None:
        read_model = await ReadModel.open(self.settings.postgres or "", self.settings.db_schema)
        try:
            report = await audit(self.log, await read_model.rows())
        finally:
            await read_model.close()
        figures = report.figures
        if figures.placed != self.orders or figures.allocated != self.orders:
            report.findings.append(
                f"{self.orders} orders were sent, {figures.placed} are there, "
                f"{figures.allocated} allocated"
            )
        self.measured.findings = report.findings
        say(f"audit: {report.findings or 'everything adds up'}")

    # --- what they need

    @contextmanager
    def roles(self) -> Iterator[dict[str, str]]:
        """The roles in their processes, ready; where each process serves HTTP."""
        shards = str(self.settings.shards)
        with ExitStack() as stack:
            processes: dict[str, str] = {}
            for roles in LAYOUTS[self.plan.layout]:
                http = f"127.0.0.1:{free_port()}"
                environment = {
                    variable(name): str(getattr(self.settings, name))
                    for name in ("kafka", "postgres", "log_level", "pace_ms")
                } | {variable("http"): http, variable("shards"): shards}
                place = Place(
                    Path(tempfile.mkdtemp(prefix="headrace-roles-")), temporary=True, account=None
                )
                stack.enter_context(
                    kept(
                        roles,
                        [[sys.executable, "-m", "orchestrator.cli", "run", "--roles", roles]],
                        place,
                        lambda http=http: _ready(http, self.settings.shards),  # type: ignore[misc]
                        within_s=_STARTS_WITHIN_S,
                        stop_signal=signal.SIGTERM,
                        environment=environment,
                    )
                )
                processes[roles] = f"http://{http}"
            yield processes

    async def master_data(self) -> None:
        """Send the network and its stock; return when they are in the read model."""
        records = list(workload.master_data())
        for topic in ("network", "stock"):
            await self.append_to(topic, [record for to, record in records if to == topic])
        everywhere = (self.settings.shards - 1) * workload.SKUS  # items go to every shard
        self.inbox_records += len(records) + everywhere
        await self.handled(time.perf_counter())

    async def _append(self, orders: Iterable[workload.Order]) -> None:
        records = [order.record() for order in orders]
        self.orders += len(records)
        await self.append_to("orders", records)

    async def append_to(self, topic: str, records: Sequence[Record]) -> None:
        """Append to a topic, each record to its key's partition."""
        targets: dict[int, list[Record]] = {}
        for record in records:
            number = workload.partition_of(record, self.partitions[topic])
            targets.setdefault(number, []).append(record)
        writer = await self.log.writer()

        async def fill(number: int, its: list[Record]) -> None:
            for first in range(0, len(its), _BATCH_RECORDS):
                await writer.append(Partition(topic, number), its[first : first + _BATCH_RECORDS])

        try:
            await asyncio.gather(*(fill(number, its) for number, its in targets.items()))
        finally:
            await writer.close()

    async def handled(self, since: float) -> float:
        """Wait until the read model has handled all inbox records; when that was."""
        seen, seen_at = -1, since
        while True:
            found = await self.rows.execute("SELECT coalesce(sum(inbox_next), 0) FROM shards")
            row = await found.fetchone()
            now, reached = time.perf_counter(), int(row[0]) if row else 0
            if reached >= self.inbox_records:
                return now
            if reached != seen:
                seen, seen_at = reached, now
            elif now - seen_at > _SETTLES_WITHIN_S:
                raise RuntimeError(
                    f"the read model stands at {reached} of {self.inbox_records} inputs"
                )
            await asyncio.sleep(0.1)

    async def _history_late(self) -> float:
        """Seconds until role `history`, where it runs, has published all that there is."""
        if not any("history" in roles.split(",") for roles in LAYOUTS[self.plan.layout]):
            return 0.0
        began = time.perf_counter()
        journals = [Partition("journal", number) for number in range(self.settings.shards)]
        async with asyncio.timeout(_SETTLES_WITHIN_S):
            while True:
                saved = await self.log.saved("history", journals)
                ends = {one: (await self.log.bounds(one)).next for one in journals}
                if all(one in saved and saved[one].offset >= ends[one] for one in journals):
                    return time.perf_counter() - began
                await asyncio.sleep(0.1)

    def _journal_bytes(self) -> int:
        """Bytes of the journal's segments on Kafka's disk."""
        segments = (self.home / "kafka" / "data").glob("journal-*/*.log")
        return sum(segment.stat().st_size for segment in segments)


class AsyncLog:
    """A KafkaLog as a context."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._log: KafkaLog

    async def __aenter__(self) -> KafkaLog:
        """Connect."""
        self._log = await KafkaLog.open(kafka_settings(self._settings))
        return self._log

    async def __aexit__(self, *_: object) -> None:
        """Disconnect."""
        await self._log.close()


class Commands:
    """Reads `fulfillment-commands` as a WMS does, and counts orders, each once."""

    def __init__(self, log: KafkaLog, partitions: dict[str, int]) -> None:
        self._log = log
        self._partitions = partitions
        self._seen: set[bytes] = set()
        self._expected = sys.maxsize
        self.complete = asyncio.Event()
        self.complete_at = 0.0
        self.placed: dict[bytes, float] = {}  # order id -> when, for latency
        self.times_ms: list[tuple[bytes, float]] = []

    def expect(self, count: int) -> None:
        """Be complete after so many orders more."""
        self._expected = len(self._seen) + count

    @asynccontextmanager
    async def reading(self) -> AsyncIterator[None]:
        """Read beside what is done inside, from the topic's present end on."""
        at: dict[Partition, int | None] = {}
        for number in range(self._partitions["fulfillment-commands"]):
            partition = Partition("fulfillment-commands", number)
            at[partition] = (await self._log.bounds(partition)).next
        reader = await self._log.reader(at)

        async def read() -> None:
            while True:
                for records in (await reader.read(2_000, 200)).values():
                    now = time.perf_counter()
                    for record in records:
                        order_id = dict(record.headers)["ce_correlationid"]
                        if order_id in self._seen:
                            continue
                        self._seen.add(order_id)
                        placed = self.placed.pop(order_id, None)
                        if placed is not None:
                            self.times_ms.append((order_id, (now - placed) * 1000))
                    if len(self._seen) >= self._expected and not self.complete.is_set():
                        self.complete_at = now
                        self.complete.set()

        task = asyncio.create_task(read())
        try:
            yield
        finally:
            task.cancel()
            with suppress(asyncio.CancelledError):
                await task
            await reader.close()


class Load:
    """Sends orders at random times at a rate, and follows what becomes of them.

    With a client some are asked for over HTTP until they are readable.
    """

    def __init__(
        self,
        settings: Settings,
        partitions: dict[str, int],
        commands: Commands,
        client: httpx.AsyncClient | None = None,
        http: str = "",
    ) -> None:
        self.measures = False
        self.late_ms: list[float] = []
        self.readable_ms: dict[str, list[float]] = {"by position": [], "by asking again": []}
        self._partitions = partitions["orders"]
        self._commands = commands
        self._client = client
        self._http = http
        self._random = random.Random(3)
        self._producer = AIOKafkaProducer(
            **kafka_settings(settings).client(), acks="all", linger_ms=0
        )
        self._samples: set[asyncio.Task[None]] = set()
        self._measured: set[bytes] = set()
        self._sent = 0

    @asynccontextmanager
    async def producing(self) -> AsyncIterator[None]:
        """Be able to send; in the end wait for the samples."""
        await self._producer.start()
        try:
            yield
            await asyncio.gather(*self._samples)
        finally:
            for task in self._samples:
                task.cancel()
            await self._producer.stop()

    async def send(self, orders: Iterable[workload.Order]) -> None:
        """Send these, then wait until each has its command."""
        due = time.perf_counter()
        last: asyncio.Future[Any] | None = None
        for order in orders:
            due += self._random.expovariate(RATE)
            rest = due - time.perf_counter()
            if rest > 0:
                await asyncio.sleep(rest)
            record = order.record()
            number = workload.partition_of(record, self._partitions)
            now = time.perf_counter()
            key = record.key or b""
            self._commands.placed[key] = now
            if self.measures:
                self._measured.add(key)
                self.late_ms.append((now - due) * 1000)
            last = await self._producer.send(
                "orders", record.value, record.key, partition=number, headers=list(record.headers)
            )
            self._sent += 1
            if self._client is not None and self._sent % (RATE // _SAMPLES_A_SECOND) == 0:
                self._sample(self._client, order, now, last)
        async with asyncio.timeout(_SETTLES_WITHIN_S):
            if last is not None:
                await last
            while self._commands.placed:  # noqa: ASYNC110 - what waits must not cost
                await asyncio.sleep(0.01)

    def _sample(
        self,
        client: httpx.AsyncClient,
        order: workload.Order,
        placed: float,
        sent: asyncio.Future[Any],
    ) -> None:
        ways = {"by position": self._by_position, "by asking again": self._by_asking}
        how = list(ways)[self._sent // (RATE // _SAMPLES_A_SECOND) % 2]
        measures = self.measures

        async def follow() -> None:
            async with asyncio.timeout(_SETTLES_WITHIN_S):
                url = f"{self._http}/orders/{workload.CHANNEL}/{order.order_id}"
                await ways[how](client, url, sent)
            if measures:
                self.readable_ms[how].append((time.perf_counter() - placed) * 1000)

        task = asyncio.create_task(follow())
        self._samples.add(task)

    @staticmethod
    async def _by_position(client: httpx.AsyncClient, url: str, sent: asyncio.Future[Any]) -> None:
        at = await sent
        position = f"orders/{at.partition}@{at.offset}"
        answer = await client.get(url, headers={"Headrace-Position": position}, timeout=30)
        answer.raise_for_status()

    @staticmethod
    async def _by_asking(client: httpx.AsyncClient, url: str, _sent: asyncio.Future[Any]) -> None:
        while (await client.get(url, timeout=30)).status_code == httpx.codes.NOT_FOUND:  # noqa: ASYNC110 - another program
            await asyncio.sleep(_ASK_EVERY_S)

    @property
    def command_ms(self) -> list[float]:
        """Of the orders that count."""
        return [ms for order_id, ms in self._commands.times_ms if order_id in self._measured]


def _quantiles(times_ms: Sequence[float]) -> dict[str, float]:
    ranked = sorted(times_ms)
    if not ranked:
        return {"count": 0, "p50": 0.0, "p99": 0.0, "max": 0.0}
    at = [ranked[min(len(ranked) - 1, int(share * len(ranked)))] for share in (0.5, 0.99)]
    return {"count": len(ranked), "p50": at[0], "p99": at[1], "max": ranked[-1]}


_STAGES: Final = {
    "placed → journal": "headrace_placed_to_journal_seconds",
    "placed → command sent": "headrace_placed_to_command_seconds",
    "placed → row written": "headrace_placed_to_readable_seconds",
}


def _stage_buckets(processes: Iterable[str]) -> dict[str, Counter[float]]:
    """The roles' own histograms: how many orders came through a stage within so many seconds."""
    buckets: dict[str, Counter[float]] = {metric: Counter() for metric in _STAGES.values()}
    for http in processes:
        answer = httpx.get(f"{http}/metrics", follow_redirects=True, timeout=5)
        for family in text_string_to_metric_families(answer.text):
            for sample in family.samples:
                if family.name in buckets and sample.name.endswith("_bucket"):
                    buckets[family.name][float(sample.labels["le"])] += int(sample.value)
    return buckets


def _stages(
    before: dict[str, Counter[float]], after: dict[str, Counter[float]]
) -> dict[str, dict[str, float]]:
    """Quantiles between two looks at the histograms, to a bucket's width."""
    found = {}
    for stage, metric in _STAGES.items():
        counts = [(le, count - before[metric][le]) for le, count in sorted(after[metric].items())]
        total = counts[-1][1] if counts else 0
        found[stage] = {
            name: next((le * 1000 for le, count in counts if count >= share * total), 0.0)
            for name, share in (("p50", 0.5), ("p99", 0.99))
        }
    return found


def _ready(http: str, shards: int) -> bool:
    """Whether a process is ready and all shards of its roles are open."""
    try:
        answer = httpx.get(f"http://{http}/health/ready", timeout=1)
    except httpx.TransportError:
        return False
    if answer.status_code != httpx.codes.OK:
        return False
    roles: dict[str, dict[str, Any]] = answer.json().get("roles", {})
    return all(
        len(roles[name].get("shards", ())) == shards
        for name in ("engine", "relay")
        if name in roles
    )


def _processes() -> dict[int, tuple[str, float]]:
    """Our own process and all below it: what each is, and its CPU seconds."""
    parents: dict[int, int] = {}
    seconds: dict[int, float] = {}
    for stat in Path("/proc").glob("[0-9]*/stat"):
        with suppress(OSError):
            fields = stat.read_text(encoding="utf-8").rpartition(")")[2].split()
            pid = int(stat.parent.name)
            parents[pid] = int(fields[1])
            seconds[pid] = (int(fields[11]) + int(fields[12])) / _TICKS_A_SECOND
    found: dict[int, tuple[str, float]] = {}
    for pid, spent in seconds.items():
        up: int | None = pid
        while up not in {None, os.getpid()}:
            up = parents.get(up or 0)
        if up is not None:
            with suppress(OSError):
                found[pid] = (_what(pid), spent)
    return found


def _what(pid: int) -> str:
    """Which part of the bench a process is, by its command line."""
    words = Path(f"/proc/{pid}/cmdline").read_bytes().decode().split("\0")
    if pid == os.getpid():
        return "bench"
    if any(word.endswith("keeper.py") for word in words):
        return "keeper"
    if "--roles" in words:
        return words[words.index("--roles") + 1]
    if "kafka.Kafka" in words:
        return "Kafka"
    return "PostgreSQL" if "postgres" in words[0] else "other"


def cpu_seconds() -> Counter[str]:
    """CPU seconds so far, by what the processes are."""
    spent: Counter[str] = Counter()
    for what, seconds in _processes().values():
        spent[what] += seconds  # type: ignore[assignment]  # a Counter takes fractions
    return spent


def _roles_mb() -> dict[str, float]:
    """Resident memory of each process of roles."""
    return {
        what: resident_bytes(pid) / 1e6
        for pid, (what, _) in _processes().items()
        if what in {roles for layout in LAYOUTS.values() for roles in layout}
    }
