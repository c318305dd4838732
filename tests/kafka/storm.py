"""Roles, brokers and PostgreSQL killed and paused in turn under load; then everything counted.

A seed decides who is next, and when. `python -m tests.kafka.storm --kills 100` is the long form.
"""

import asyncio
import itertools
import logging
import secrets
import signal
import sys
import time
from argparse import ArgumentParser
from collections import Counter
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from contextlib import AsyncExitStack, suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from random import Random
from typing import Any, Final

import psycopg

from events.base import Fact, Location
from events.network import ItemDefined, MarketDefined, NodeAddress, NodeDefined
from events.orders import Address, OrderCancelRequested, OrderLine, OrderPlaced
from events.stock import StockReceived
from orchestrator.compose import create_topics
from orchestrator.demo.audit import Figures, audit
from orchestrator.demo.outbox import Outbox
from orchestrator.demo.partners import Agenda, Pace, Warehouses
from orchestrator.demo.readmodel import ReadModel
from orchestrator.runtime.kafka_log import KafkaLog, KafkaSettings
from orchestrator.runtime.settings import Settings
from orchestrator.runtime.world import SystemClock
from projections import schema
from schemas.ports import LogError
from tests.kafka.roles import Process, Processes
from tests.servers.killable import (
    Cluster,
    Server,
    killable_postgres,
    killed_at_the_end,
    passable_directory,
)

SHARDS: Final = 4
SCHEMA: Final = "headrace"
SKUS: Final = [f"A{number}" for number in range(40)]
PLACES: Final = ((42.4, -71.1), (41.9, -87.6), (34.1, -118.2), (40.7, -74.0), (33.7, -84.4))
PACE: Final = Pace(accept=(0.05, 0.3), ship=(0.1, 1.0))
ROLES: Final = ("engine", "engine", "intake", "relay", "projector")
VICTIMS: Final = ("broker", "PostgreSQL", "engine", "intake", "relay", "projector")
PAUSED: Final = ("leader", "follower", "role")
_CANCELLED: Final = 0.2  # of the orders, within the time in which they ship
_SUPPLIED: Final = 0.9  # of what is ordered: some lines wait for stock
_STILL_S: Final = 120  # without any change, after the storm: it will not come to rest
_TICK_S: Final = 0.05
GAP_S: Final = (5.0, 10.0)
SHORT_GAP_S: Final = (4.0, 6.0)
_SOON_S: Final = 1.0  # while what was killed before still starts
_SOON: Final = 0.3  # of the kills
_DOWN_S: Final = (0.2, 3.0)
_PAUSE_S: Final = (4.0, 9.0)  # a broker's session ends after 3 s, a role's after 6
_SERVER_DOWN: Final = 3  # the exit status of a role that found no server: what runs it tries again


@dataclass(slots=True)
class Outcome:
    """What was done to it, and what it did."""

    seed: int
    kills: Counter[str] = field(default_factory=Counter)
    pauses: Counter[str] = field(default_factory=Counter)
    ended: Counter[int] = field(default_factory=Counter)  # by themselves, by exit status
    orders: int = 0
    cancels: int = 0
    load_s: float = 0.0
    settled_s: float = 0.0  # from the last order to the last line's rest
    figures: Figures = field(default_factory=Figures)

    def __str__(self) -> str:
        rate = self.orders / self.load_s if self.load_s else 0
        return (
            f"seed {self.seed}: {self.kills.total()} kills ({_told(self.kills)}), "
            f"{self.pauses.total()} pauses ({_told(self.pauses)}), "
            f"{self.orders:,} orders at {rate:.0f}/s, {self.cancels:,} cancellations asked for, "
            f"settled {self.settled_s:.0f} s after the last; "
            f"ended by themselves: {dict(self.ended)}; {self.figures.cancelled:,} cancelled whole, "
            f"{self.figures.backordered:,} waited for stock, {self.figures.commits:,} commits, "
            f"{self.figures.void_records:,} void, {self.figures.units_oversold} units oversold"
        )


def _told(counts: Counter[str]) -> str:
    return ", ".join(f"{count} {name}" for name, count in sorted(counts.items()))


class Slot:
    """A role's place, whose process is replaced when it ends."""

    def __init__(self, role: str, processes: Processes) -> None:
        self.role = role
        self.free = asyncio.Event()  # nobody kills or pauses it now
        self.free.set()
        self._processes = processes
        self.process = processes.start(role)
        self.gone: list[Process] = []

    def restart(self) -> None:
        """Another process in its place."""
        self.gone.append(self.process)
        self.process = self._processes.start(self.role)


class Storm:
    """One run. `tell` hears what happens."""

    def __init__(
        self,
        cluster: Cluster,
        postgres: Server,
        at: Path,
        *,
        seed: int,
        kills: int,
        rate: int,
        gap_s: tuple[float, float] = GAP_S,
        calm_s: float | None = None,
        tell: Callable[[str], None] = lambda _: None,
    ) -> None:
        """`rate`: orders a second; `gap_s`: between two kills, apart from those that come soon.

        `calm_s`: before the first kill; else as long as between two.
        """
        self.outcome = Outcome(seed)
        self._cluster = cluster
        self._postgres = postgres
        self._at = at
        self._kills = kills
        self._rate = rate
        self._gap_s = gap_s
        self._calm_s = gap_s[0] if calm_s is None else calm_s
        self._tell = tell
        self._prefix = f"t{secrets.token_hex(4)}-"
        self._began = time.monotonic()
        self._sent: set[str] = set()
        self._slots: list[Slot] = []
        self._down: set[str] = set()  # servers that are killed or paused now

    async def run(self) -> Outcome:
        """The storm, and the count after it; AssertionError where something is lost or twice.

        1. Set up; roles start; the network and the first stock are defined.
        2. Orders come and are cancelled, warehouses ship, all in turn are killed and paused.
        3. Everything runs again: every line comes to rest.
        4. Count: `headrace verify`, the audit, the read model.
        """
        settings = Settings(kafka=self._cluster.bootstrap, prefix=self._prefix, shards=SHARDS)
        async with AsyncExitStack() as stack:
            log = await KafkaLog.open(KafkaSettings(self._cluster.bootstrap, self._prefix))
            stack.push_async_callback(log.close)
            await create_topics(log, settings)
            database = await self._new_database()
            processes = Processes(
                self._at,
                self._cluster.bootstrap,
                self._prefix,
                database,
                shards=str(SHARDS),
                suppression_seconds="2",
            )
            stack.callback(processes.end)
            self._slots = [Slot(role, processes) for role in ROLES]
            await self._all_ready(120)
            partitions = {name: one.partitions for name, one in (await log.describe()).items()}
            await self._under_load(log, partitions, database)
            await self._count(log, database, processes)
            for slot in self._slots:
                await slot.process.stop()
        return self.outcome

    def _say(self, what: str) -> None:
        self._tell(f"{time.monotonic() - self._began:6.1f} s: {what}")

    async def _new_database(self) -> str:
        name = f"t{secrets.token_hex(4)}"
        admin = await psycopg.AsyncConnection.connect(self._postgres.address, autocommit=True)
        async with admin:
            await admin.execute(f"CREATE DATABASE {name}")
        database = f"{self._postgres.address.rpartition('/')[0]}/{name}"
        async with await psycopg.AsyncConnection.connect(database, autocommit=True) as connection:
            await schema.migrate_all(connection, SCHEMA)
        return database

    async def _all_ready(self, within_s: float) -> None:
        until = time.monotonic() + within_s
        while True:
            told = [await slot.process.health() for slot in self._slots]
            if all(status == 200 for status, _ in told):
                return
            if time.monotonic() > until:
                raise AssertionError(f"not ready within {within_s:g} s: {told}")
            await asyncio.sleep(0.2)

    async def _under_load(
        self, log: KafkaLog, partitions: Mapping[str, int], database: str
    ) -> None:
        clock = SystemClock()
        channel = Outbox(log, partitions, clock, "channel")
        answers = Outbox(log, partitions, clock, "wms")
        warehouses = Warehouses(answers, clock, self.outcome.seed, PACE)
        over = asyncio.Event()
        background = [
            asyncio.create_task(_lasting(channel.run)),
            asyncio.create_task(_lasting(answers.run)),
            asyncio.create_task(_lasting(lambda: warehouses.run(log, partitions))),
        ]
        try:
            for fact, event_id in network(Random(self.outcome.seed)):
                channel.put(fact, event_id)
            await channel.flush()
            async with asyncio.TaskGroup() as tasks:
                ordering = tasks.create_task(self._order(channel, clock, over))
                supervising = tasks.create_task(self._supervise())
                await self._kill_in_turn()
                self._say("the storm is over")
                over.set()
                await ordering
                await self._flushed(channel)
                self.outcome.load_s = time.monotonic() - self._load_began
                await self._all_ready(120)
                await self._at_rest(database, answers)
                supervising.cancel()
        finally:
            for task in background:
                task.cancel()
            ended = await asyncio.gather(*background, return_exceptions=True)
        for error in ended:
            if isinstance(error, Exception):
                raise error

    async def _flushed(self, outbox: Outbox) -> None:
        async with asyncio.timeout(120):
            await outbox.flush()

    async def _order(self, channel: Outbox, clock: SystemClock, over: asyncio.Event) -> None:
        """Orders at the wished rate, whatever becomes of them, and cancellations after them."""
        chance = Random(self.outcome.seed + 1)
        agenda = Agenda(clock)
        self._load_began = clock.monotonic()
        while not over.is_set() or agenda.waiting:
            await asyncio.sleep(_TICK_S)
            due = (clock.monotonic() - self._load_began) * self._rate
            agenda.do_what_is_due()
            while len(self._sent) < due and not over.is_set():
                order = an_order(chance, str(len(self._sent)))
                self._sent.add(order.order_id)
                channel.put(order, order.order_id)
                if chance.random() < _SUPPLIED / 10:  # ten orders' worth at once
                    receipt = _receipt(chance, f"later-{order.order_id}", 40)
                    channel.put(receipt, f"{order.order_id}-stock")
                if chance.random() < _CANCELLED:
                    self.outcome.cancels += 1
                    agenda.after(chance.uniform(0, 2), _cancelling(channel, order))
        self.outcome.orders = len(self._sent)

    async def _supervise(self) -> None:
        """Start again what ended by itself, as what runs it in earnest does."""
        while True:
            await asyncio.sleep(0.5)
            for slot in self._slots:
                status = slot.process.running.poll()
                if status is not None and slot.free.is_set():
                    self._say(f"{slot.role} ended by itself with {status}")
                    self.outcome.ended[status] += 1
                    assert status == _SERVER_DOWN, slot.process.said.read_text()[-3000:]
                    slot.restart()

    async def _kill_in_turn(self) -> None:
        chance = Random(self.outcome.seed)
        await asyncio.sleep(self._calm_s)
        async with asyncio.TaskGroup() as recoveries:
            for number, victim in enumerate(itertools.islice(_turns(chance, VICTIMS), self._kills)):
                kill = self._kill_server if victim in {"broker", "PostgreSQL"} else self._kill_role
                recoveries.create_task(kill(victim, chance))
                self.outcome.kills[victim] += 1
                if number % 3 == 2:  # a pause beside every third kill
                    paused = PAUSED[number // 3 % len(PAUSED)]
                    recoveries.create_task(self._pause(paused, chance))
                    self.outcome.pauses[paused] += 1
                soon = chance.random() < _SOON
                await asyncio.sleep(_SOON_S if soon else chance.uniform(*self._gap_s))

    async def _kill_server(self, victim: str, chance: Random) -> None:
        down_s = chance.uniform(*_DOWN_S)
        servers = [self._postgres] if victim == "PostgreSQL" else self._cluster.brokers
        server = await self._one_free(servers, chance)
        self._down.add(server.name)
        self._say(f"kill {server.name}")
        await asyncio.to_thread(server.kill)
        await asyncio.sleep(down_s)
        began = time.monotonic()
        await asyncio.to_thread(server.start)
        self._down.discard(server.name)
        self._say(f"{server.name} answers again, {time.monotonic() - began:.1f} s after its start")

    async def _one_free(self, servers: Sequence[Server], chance: Random) -> Server:
        """One of them, once all run: with two brokers of three down nothing could be decided."""
        while any(one.name in self._down for one in servers):
            await asyncio.sleep(0.1)
        return chance.choice(servers)

    async def _kill_role(self, victim: str, chance: Random) -> None:
        slot = chance.choice([slot for slot in self._slots if slot.role == victim])
        down_s = chance.uniform(*_DOWN_S)
        await slot.free.wait()
        slot.free.clear()
        self._say(f"kill {victim}")
        await asyncio.to_thread(slot.process.kill)
        await asyncio.sleep(down_s)
        slot.restart()
        slot.free.set()

    async def _pause(self, whom: str, chance: Random) -> None:
        pause_s = chance.uniform(*_PAUSE_S)
        if whom == "role":
            slot = chance.choice(self._slots)
            await slot.free.wait()
            slot.free.clear()
            self._say(f"pause {slot.role} for {pause_s:.1f} s")
            slot.process.running.send_signal(signal.SIGSTOP)
            await asyncio.sleep(pause_s)
            slot.process.running.send_signal(signal.SIGCONT)
            slot.free.set()
            return
        broker = await self._one_free(self._cluster.brokers, chance)
        number = chance.randrange(SHARDS)
        leader = await self._cluster.leader(f"{self._prefix}journal", number)
        if whom == "leader":
            broker = leader
        elif broker is leader:
            broker = next(one for one in self._cluster.brokers if one is not leader)
        self._down.add(broker.name)
        self._say(f"pause {broker.name}, {whom} of journal/{number}, for {pause_s:.1f} s")
        broker.signal(signal.SIGSTOP)
        await asyncio.sleep(pause_s)
        broker.signal(signal.SIGCONT)
        self._down.discard(broker.name)

    async def _at_rest(self, database: str, answers: Outbox) -> None:
        """Every order is readable; every line shipped or cancelled, or waits for stock."""
        began = changed = time.monotonic()
        before: tuple[int, int] | None = None
        while True:
            await self._flushed(answers)
            orders = (await _asked(database, "SELECT count(*) FROM orders"))[0][0]
            moving = (await _asked(database, "SELECT sum(open + allocated) FROM lines"))[0][0]
            if orders == len(self._sent) and not moving and not await _stranded(database):
                break
            if (orders, moving) != before:
                before, changed = (orders, moving), time.monotonic()
            if time.monotonic() > changed + _STILL_S:
                stranded = await _stranded(database)
                raise AssertionError(
                    f"{orders} of {len(self._sent)} orders readable, {moving} units still move, "
                    f"stranded beside stock: {stranded}"
                )
            await asyncio.sleep(1)
        self.outcome.settled_s = time.monotonic() - began
        self._say("everything is at rest")

    async def _count(self, log: KafkaLog, database: str, processes: Processes) -> None:
        found = [row[0] for row in await _asked(database, "SELECT order_id FROM orders")]
        assert len(found) == len(self._sent)
        assert set(found) == self._sent
        oversold = await _asked(
            database,
            "SELECT * FROM stock WHERE on_hand < reserved + quality_control + damaged + held "
            "OR least(reserved, quality_control, damaged, held) < 0",
        )
        assert not oversold, oversold
        verified = await processes.verify()
        assert verified["ok"]
        self._say(f"verified in {verified['seconds']:.0f} s")
        model = await ReadModel.open(database, SCHEMA)
        report = await audit(log, await model.rows())
        await model.close()
        assert not report.findings, report.findings
        figures = self.outcome.figures = report.figures
        assert figures.placed == len(self._sent)
        assert figures.units_oversold == 0
        assert figures.cancelled, "cancellations were to race shipments"
        assert figures.backordered, "stock was to run short"


async def _lasting(work: Callable[[], Awaitable[None]]) -> None:
    """What a partner does who doesn't give up."""
    while True:
        with suppress(LogError):
            await work()
        await asyncio.sleep(0.5)


async def _asked(database: str, query: str) -> list[tuple[Any, ...]]:
    connection = await psycopg.AsyncConnection.connect(
        database, options=f"-c search_path={SCHEMA}", connect_timeout=5
    )
    async with connection:
        return await (await connection.execute(query)).fetchall()


async def _stranded(database: str) -> list[tuple[Any, ...]]:
    """What waits although there is some: market, item, units that wait and that are there."""
    return await _asked(
        database,
        "SELECT * FROM (SELECT market_id, sku, sum(backordered) AS waiting FROM lines"
        " GROUP BY market_id, sku HAVING sum(backordered) > 0) AS lines"
        " JOIN (SELECT market_id, sku,"
        " sum(on_hand - reserved - quality_control - damaged - held) AS free"
        " FROM stock GROUP BY market_id, sku) AS stock USING (market_id, sku) WHERE free > 0",
    )


def _turns(chance: Random, of: tuple[str, ...]) -> Iterator[str]:
    while True:
        yield from chance.sample(of, len(of))


def network(chance: Random, markets: int = SHARDS) -> Iterator[tuple[Fact, str]]:
    """Markets, nodes, items and their first stock, with an event id each."""
    for number in range(markets):
        market = f"m{number}"
        yield (
            MarketDefined(market_id=market, currency="USD", time_zone="UTC", shard=number),
            market,
        )
        for n, (lat, lon) in enumerate(PLACES):
            node = NodeDefined(
                node_id=f"{market}n{n}",
                market_id=market,
                kind="warehouse",
                name="N",
                address=NodeAddress(country="US"),
                location=Location(lat=lat, lon=lon),
            )
            yield node, node.node_id
    for sku in SKUS:
        yield ItemDefined(sku=sku, name=sku), sku
    for number in range(markets * len(SKUS)):
        yield _receipt(chance, f"first-{number}", 50, markets), f"first-{number}"


def _receipt(chance: Random, document: str, quantity: int, markets: int = SHARDS) -> StockReceived:
    node = f"m{chance.randrange(markets)}n{chance.randrange(len(PLACES))}"
    sku = chance.choice(SKUS)
    return StockReceived(node_id=node, sku=sku, quantity=quantity, document=document)


def an_order(chance: Random, order_id: str, markets: int = SHARDS) -> OrderPlaced:
    """Two lines of one to three units, in any market."""
    lat, lon = chance.choice(PLACES)
    return OrderPlaced(
        channel="web",
        market_id=f"m{chance.randrange(markets)}",
        order_id=order_id,
        placed_at=datetime(2026, 1, 1, tzinfo=UTC),
        currency="USD",
        ship_to=Address(country="US", location=Location(lat=lat, lon=lon)),
        lines=[
            OrderLine(line_id=str(n), sku=sku, quantity=chance.randint(1, 3))
            for n, sku in enumerate(chance.sample(SKUS, 2))
        ],
    )


def _cancelling(channel: Outbox, order: OrderPlaced) -> Callable[[], None]:
    cancel = OrderCancelRequested(
        channel=order.channel, market_id=order.market_id, order_id=order.order_id, reason="mind"
    )
    return lambda: channel.put(cancel, f"{order.order_id}-cancel")


def main() -> None:
    """The long form, on servers of its own."""
    parser = ArgumentParser(prog="python -m tests.kafka.storm", description=__doc__)
    parser.add_argument("--kills", type=int, default=100)
    parser.add_argument("--seed", type=int, default=None, help="default: by chance")
    parser.add_argument("--rate", type=int, default=500, help="orders a second")
    parser.add_argument("--short", action="store_true", help="a kill every 5 s, not 5 to 10")
    parser.add_argument("--calm", type=float, default=None, help="seconds before the first kill")
    given = parser.parse_args()
    seed = secrets.randbelow(1_000_000) if given.seed is None else given.seed

    def tell(what: str) -> None:
        sys.stderr.write(f"{what}\n")

    tell(f"--seed {seed}")
    logging.getLogger("aiokafka").setLevel(logging.CRITICAL)  # brokers are gone on purpose
    with passable_directory() as directory:
        cluster, postgres = Cluster(directory), killable_postgres(directory / "postgres")
        with killed_at_the_end([*cluster.brokers, postgres]):
            cluster.start()
            postgres.start()
            storm = Storm(
                cluster,
                postgres,
                directory,
                seed=seed,
                kills=given.kills,
                rate=given.rate,
                gap_s=SHORT_GAP_S if given.short else GAP_S,
                calm_s=given.calm,
                tell=tell,
            )
            sys.stdout.write(f"{asyncio.run(storm.run())}\n")


if __name__ == "__main__":
    main()
