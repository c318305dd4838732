"""One run of the demo: servers, roles, partners, orders, audit."""

import asyncio
import os
import secrets
import signal
import socket
import sys
import urllib.request
from collections.abc import Coroutine, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import AsyncExitStack, ExitStack, contextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from shlex import quote
from tempfile import mkdtemp
from typing import Any, Final
from urllib.error import URLError

import psycopg
from rich.console import Console
from rich.progress import Progress

from orchestrator.compose import connected, create_topics
from orchestrator.demo import days
from orchestrator.demo.audit import Report, audit
from orchestrator.demo.baskets import Baskets
from orchestrator.demo.channel import Channel
from orchestrator.demo.meter import Meter
from orchestrator.demo.network import MARKETS, Network
from orchestrator.demo.outbox import Outbox
from orchestrator.demo.partners import Carrier, Pace, Warehouses
from orchestrator.demo.readmodel import ReadModel, Totals
from orchestrator.demo.view import Frame, View, summary
from orchestrator.embedded import embedded_kafka, embedded_postgres
from orchestrator.embedded.server import Place, ServerError, free_port, kept
from orchestrator.runtime.intake import INTAKE_TOPICS
from orchestrator.runtime.kafka_log import KafkaLog, kafka_settings
from orchestrator.runtime.settings import Settings, SetupError, variable
from orchestrator.runtime.world import SystemClock
from projections import schema
from schemas.ports import LogError, Partition

_ROLES_WITHIN_S: Final = 40.0
_SETTLED_AFTER_S: Final = 3.0  # without any change
_SETTLES_WITHIN_S: Final = 180.0  # without any progress
_POLL_S: Final = 0.5
DAY_ORDERS: Final = 300
"""Of a day that has passed, where no number is given."""
_POLL_REST: Final = 15  # times as long as looking took
_LIVE_FAILURES: Final = 3
_TANSU_FETCH_WAIT_MS: Final = 10


@dataclass(frozen=True, slots=True)
class Options:
    """What to run. `orders` None: without end."""

    orders: int | None
    rate: float
    leave: bool
    seed: int
    pace: float
    day_ms: int | None = None
    """Where the orders' day begins, in ms since 1970, if it is one that has passed."""


class DemoError(Exception):
    """The demo can't go on. The message says why and what to do."""


FAILURES: Final = (
    *(DemoError, ServerError, SetupError, LogError, schema.SchemaError),
    *(psycopg.Error, OSError),
)
"""What `run` may raise where a server fails or is missing."""


def run(options: Options, settings: Settings, console: Console) -> int:
    """Run the demo; the exit code: 0 done or stopped as asked, 1 something does not add up.

    Raises:
        one of FAILURES: a server is missing or fails; the message says which and what to do.
    """
    with _terminated_is_interrupted(), ExitStack() as stack:
        loading = stack.enter_context(ThreadPoolExecutor(1)).submit(_load)
        try:
            settings = _with_servers(settings, stack, console)
            asyncio.run(_set_up(settings))
            if options.day_ms is not None:
                asyncio.run(_pour_day(options, settings, console))
            log_file = stack.enter_context(_roles(settings))
            baskets, network = loading.result()
            return asyncio.run(_drive(options, settings, console, baskets, network, log_file))
        except KeyboardInterrupt:
            console.print("stopped")
            return 1 if options.leave else 0


def _load() -> tuple[Baskets, Network]:
    baskets = Baskets()
    return baskets, Network(baskets.stores)


@contextmanager
def _terminated_is_interrupted() -> Iterator[None]:
    """While nothing runs that could be asked to stop, SIGTERM ends things as Ctrl-C does."""

    def interrupt(_signal: int, _frame: object) -> None:
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGTERM, interrupt)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def _with_servers(settings: Settings, stack: ExitStack, console: Console) -> Settings:
    """Start what is not configured; on configured servers everything gets names of its own."""
    own = secrets.token_hex(3)
    given: dict[str, Any] = {"shards": len(MARKETS)}
    if settings.kafka:
        given["prefix"] = f"{settings.prefix}demo-{own}-"
        console.print(
            f"Kafka: {settings.kafka}, topics {given['prefix']}*, which stay there", highlight=False
        )
    else:
        given["kafka"] = stack.enter_context(embedded_kafka())
        given["kafka_fetch_wait_ms"] = _TANSU_FETCH_WAIT_MS
        given["replication"] = 1
        console.print(f"Kafka: embedded (Tansu, in memory) at {given['kafka']}", highlight=False)
    if settings.postgres:
        given["db_schema"] = f"demo_{own}"
        console.print(
            f"PostgreSQL: as configured, schema {given['db_schema']}, which stays there",
            highlight=False,
        )
    else:
        given["postgres"] = stack.enter_context(embedded_postgres())
        console.print("PostgreSQL: embedded, temporary", highlight=False)
    given["http"] = _free_address(settings.http, console)
    console.print("To ask it from another terminal, paste there:", highlight=False)
    for name, value in given.items():
        line = f"export {variable(name)}={quote(str(value))}"
        console.print(line, highlight=False, markup=False, soft_wrap=True)
    return settings.model_copy(update=given)


def _free_address(http: str, console: Console) -> str:
    """Where to serve HTTP: as configured, or on another port where that is taken (or 0)."""
    host, _, port = http.rpartition(":")
    if int(port) == 0:
        return f"{host}:{free_port()}"
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, int(port)))
        except OSError:
            other = free_port()
            console.print(f"port {port} is busy: HTTP is on {other}", highlight=False)
            return f"{host}:{other}"
    return http


async def _set_up(settings: Settings) -> None:
    """Topics and tables."""
    log = await KafkaLog.open(kafka_settings(settings))
    try:
        await create_topics(log, settings)
    finally:
        await log.close()
    connection = await psycopg.AsyncConnection.connect(settings.postgres or "", autocommit=True)
    async with connection:
        await schema.migrate_all(connection, settings.db_schema)


async def _pour_day(options: Options, settings: Settings, console: Console) -> None:
    """Let the day happen on a clock of its own, and bring it to Kafka before any role runs."""
    assert options.day_ms is not None  # noqa: S101 - asked for
    orders = options.orders or DAY_ORDERS
    day = f"{datetime.fromtimestamp(options.day_ms / 1_000, UTC):%A, %Y-%m-%d}"
    async with connected(settings) as log:
        partitions = {name: topic.partitions for name, topic in (await log.describe()).items()}
        inputs = {name: partitions[name] for name in INTAKE_TOPICS}
        with Progress(console=console, disable=not console.is_terminal) as bar:
            task = bar.add_task(day, total=orders)
            made = days.day(
                options.day_ms,
                SystemClock().now_ms(),
                orders,
                options.seed,
                inputs,
                lambda done: bar.update(task, completed=done),
            )
            bar.update(task, completed=orders)
        console.print(f"{day}: {orders:,} orders were placed", highlight=False)
        await days.pour(made, log)


@contextmanager
def _roles(settings: Settings) -> Iterator[Path]:
    """All roles in a process of their own, so that the screen takes no time from them.

    Gives the file with their log. The process ends with the context, or with this process.
    """
    place = Place(Path(mkdtemp(prefix="headrace-roles-")), temporary=True, account=None)
    given = {name: value for name, value in os.environ.items() if name.startswith("HEADRACE_")}
    for name in settings.model_fields_set:
        value = getattr(settings, name)
        if isinstance(value, int | str):
            given[variable(name)] = str(value)
    command = [sys.executable, "-m", "orchestrator.cli", "run"]
    with kept(
        "headrace",
        [command],
        place,
        lambda: _ready(settings.http),
        within_s=_ROLES_WITHIN_S,
        stop_signal=signal.SIGTERM,
        environment=given,
    ):
        yield place.directory / "headrace.log"


def _ready(http: str) -> bool:
    try:
        with urllib.request.urlopen(f"http://{http}/health/ready", timeout=1) as answer:
            return bool(answer.status == 200)  # noqa: PLR2004
    except (URLError, OSError):
        return False


class _Run:
    """The demo's own tasks, and how it goes."""

    def __init__(
        self,
        options: Options,
        settings: Settings,
        baskets: Baskets,
        network: Network,
        log: KafkaLog,
        read_model: ReadModel,
        partitions: dict[str, int],
    ) -> None:
        self.options = options
        self.http = settings.http
        self.network = network
        self.clock = SystemClock()
        self.log = log
        self.read_model = read_model
        self.partitions = partitions
        self.meter = Meter()
        pace = Pace().times(options.pace)
        self.channel_out, self.partners_out = (
            Outbox(log, partitions, self.clock, f"demo/{who}") for who in ("channel", "partners")
        )
        self.channel = Channel(
            self.channel_out, self.clock, baskets, network, seed=options.seed, pace=options.pace
        )
        self.warehouses = Warehouses(self.partners_out, self.clock, options.seed, pace)
        self.carrier = Carrier(self.partners_out, self.clock, options.seed, pace)
        self.totals: Totals | None = None
        self.past = (options.orders or DAY_ORDERS) if options.day_ms is not None else None
        self.doing = "sending the network and stock"
        self.started = self.clock.monotonic()

    @property
    def placed(self) -> int:
        """Orders placed so far."""
        return self.channel.placed if self.past is None else self.past

    def services(self) -> list[Coroutine[Any, Any, None]]:
        """What runs beside, until the end."""
        if self.past is not None:  # who took part in a day that has passed is gone
            return [self._roles_live()]
        return [
            self.channel_out.run(),
            self.partners_out.run(),
            self.warehouses.run(self.log, self.partitions),
            self.carrier.run(self.log, self.partitions),
            self.meter.run(self.log, self.partitions),
            self._roles_live(),
        ]

    async def _roles_live(self) -> None:
        """DemoError once the roles' process no longer listens."""
        host, _, port = self.http.rpartition(":")
        failures = 0
        while failures < _LIVE_FAILURES:
            await self.clock.sleep(1)
            try:
                _, writer = await asyncio.open_connection(host, int(port))
            except OSError:
                failures += 1
            else:
                failures = 0
                writer.close()
        raise DemoError("Headrace's roles have ended.")

    async def orders(self) -> None:
        """Send everything and wait until it is settled."""
        if self.past is not None:
            self.doing = "the roles take in what happened"
            await self._settled()
            return
        await self.channel.define_network()
        sending = asyncio.create_task(
            self.channel.run(self.options.orders, self.options.rate, self.read_model.stocked)
        )
        try:
            while not self.channel.placed and not sending.done():
                await self.clock.sleep(_POLL_S)
            self.doing = "orders are coming in"
            await sending
        finally:
            sending.cancel()
        self.doing = "waiting until everything is settled"
        await self._settled()

    async def _settled(self) -> None:
        """Every order delivered, cancelled or waiting for stock, and nothing changes any more."""
        seen, since = self.totals, self.clock.monotonic()
        while True:
            await self.clock.sleep(_POLL_S)
            self.totals = await self.read_model.totals()
            still_s = self.clock.monotonic() - since
            if self.totals != seen:
                seen, since = self.totals, self.clock.monotonic()
            elif still_s > _SETTLES_WITHIN_S:
                raise DemoError(
                    f"nothing has changed for {still_s:.0f} s and the run is not settled: {seen}"
                )
            elif (
                still_s > _SETTLED_AFTER_S
                and self.totals.taken >= self.placed
                and (self.past is not None or not self.totals.in_flight)
                and await self.read_model.seen() >= await self._written()
            ):
                return

    async def _written(self) -> int:
        """Records in the journals."""
        ends = [
            await self.log.bounds(Partition("journal", shard))
            for shard in range(self.partitions["journal"])
        ]
        return sum(end.next for end in ends)

    async def watch(self, view: View) -> None:
        """Look at the read model and show what is there, until cancelled."""
        while True:
            asked = self.clock.monotonic()
            self.totals = await self.read_model.totals()
            took_s = self.clock.monotonic() - asked
            view.show(self.frame())
            # Tables grow in a long run: looking at them stays a small part of the work.
            await self.clock.sleep(max(_POLL_S, took_s * _POLL_REST))

    def frame(self) -> Frame:
        """How it goes now."""
        return Frame(
            self.clock.monotonic() - self.started,
            self.doing,
            self.options.orders,
            self.placed,
            len(self.network.nodes),
            self.channel.items,
            self.totals,
            list(self.meter.recent),
        )


async def _drive(
    options: Options,
    settings: Settings,
    console: Console,
    baskets: Baskets,
    network: Network,
    log_file: Path,
) -> int:
    """Run partners and orders until done, stopped or broken; the exit code."""
    stop = asyncio.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    links = {
        "API docs": f"http://{settings.http}/docs",
        "orders": f"http://{settings.http}/orders",
        "log of the roles": str(log_file),
    }
    async with AsyncExitStack() as stack:
        log = await KafkaLog.open(kafka_settings(settings))
        stack.push_async_callback(log.close)
        read_model = await ReadModel.open(settings.postgres or "", settings.db_schema)
        stack.push_async_callback(read_model.close)
        partitions = {name: topic.partitions for name, topic in (await log.describe()).items()}
        view = stack.enter_context(View(console, links))
        it = _Run(options, settings, baskets, network, log, read_model, partitions)
        stopped = asyncio.create_task(stop.wait())
        beside = [asyncio.create_task(work) for work in [*it.services(), it.watch(view)]]
        orders = asyncio.create_task(it.orders())
        stack.push_async_callback(_end, [stopped, orders, *beside])
        await _first(orders, stopped, beside, log_file)
        if stopped.done():
            view.close()
            view.say(f"stopped after {it.channel.placed:,} orders")
            return 1 if options.leave else 0
        it.doing = "auditing"
        view.show(it.frame())
        report = await audit(log, await read_model.rows())
        it.doing = "settled and audited"
        view.show(it.frame())
        view.close()
        _tell(view, report, it.placed, live=it.past is None)
        if not options.leave:
            view.say("still serving; Ctrl-C stops")
            await _first(stopped, stopped, beside, log_file)
        return 1 if report.findings else 0


async def _first(
    orders: asyncio.Task[Any],
    stopped: asyncio.Task[Any],
    beside: list[asyncio.Task[None]],
    log_file: Path,
) -> None:
    """Wait for the end; DemoError where something beside ended before."""
    await asyncio.wait([orders, stopped, *beside], return_when=asyncio.FIRST_COMPLETED)
    for task in (orders, *beside):
        if task.done() and not task.cancelled() and (error := task.exception()):
            if isinstance(error, LogError | psycopg.Error | DemoError):
                raise DemoError(f"{error}{_tail(log_file)}") from error
            raise error


async def _end(tasks: list[asyncio.Task[Any]]) -> None:
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)


def _tell(view: View, report: Report, placed: int, *, live: bool) -> None:
    if report.figures.placed != placed:
        report.findings.append(f"{placed} orders were sent, {report.figures.placed} are there")
    if not live:
        report.figures.decided_in_ms.clear()  # between then and now
    for line in summary(report):
        view.say(line)
    for finding in report.findings:
        view.say(f"AUDIT: {finding}")
    view.say("audit: everything adds up" if not report.findings else "audit: it does NOT add up")


def _tail(log_file: Path) -> str:
    with suppress(OSError):
        lines = log_file.read_text(errors="replace").splitlines()[-20:]
        if lines:
            return "\nThe end of the roles' log:\n  " + "\n  ".join(lines)
    return ""
