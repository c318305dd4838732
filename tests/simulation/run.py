"""One run: build the world of a plan, let it go wrong, let it settle, look at everything."""

import asyncio
import gc
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import partial
from hashlib import blake2b
from typing import Any, Final

import orjson
import structlog

from events.decided import DecidedEvent, InputRecord
from orchestrator.core import decide as core
from orchestrator.core import snapshot
from orchestrator.core.config import Config
from orchestrator.core.shadowing import Shadows
from orchestrator.core.shard import Shard, let_go
from orchestrator.remembered import history_format
from orchestrator.runtime.engine import Core, Engine
from orchestrator.runtime.history import History
from orchestrator.runtime.intake import INTAKE_TOPICS, Intake
from orchestrator.runtime.publisher import Ports
from orchestrator.runtime.relay import Relay
from orchestrator.runtime.shadow import Beside, Shadow, decided_beside
from orchestrator.runtime.snapshots import Format
from orchestrator.runtime.standby import StandbyConfig
from projections.past import PAST
from projections.projector import PROJECTOR_TOPICS, Projector
from projections.tables import PAST_TABLES
from schemas.journal import Commit, Entry, FilterState
from schemas.ports import LogError, Partition, Record
from schemas.topics import TOPICS
from schemas.voids import VOIDS, Void
from tests.simulation.books import OrderKey, Units
from tests.simulation.broker import Broker, SimGroup, SimLog
from tests.simulation.database import SimDatabase, Store
from tests.simulation.loop import HOST
from tests.simulation.oracle import Oracle
from tests.simulation.partners import IN_VAIN, POISON, Partners
from tests.simulation.plan import Fault, Plan
from tests.simulation.world import (
    EPOCH_MS,
    SESSION_S,
    SimClock,
    SimHost,
    SimRandomness,
    Violation,
    World,
)

ROLES: Final = ("intake", "engine", "relay", "projector")
_SETTLE_S: Final = 3_600.0
_STOP_S: Final = 10.0
_WATCH_S: Final = 0.5
_FENCE_S: Final = 3.0
_FLOORS: Final = {"commits": 5, "fences": 1, "takeovers": 1, "backorders": 1, "races": 1}
"""What every run must have seen, else it showed nothing."""
CONFIG: Final = Config(order_wait_ms=5_000, suppression_ms=8_000)


def _decide(shard: Shard, cause: InputRecord) -> list[DecidedEvent]:
    """As the core decides, apart from what has a defect."""
    if POISON in cause["data"].get("attributes", ()):
        raise ZeroDivisionError("a defect")
    return core.decide(shard, cause)


def _skip(shard: Shard, cause: InputRecord, reason: str, by: str) -> list[DecidedEvent]:
    """As the core skips, apart from what an order is of no help with."""
    if reason == IN_VAIN:
        raise ZeroDivisionError("the skip as well")
    return core.skip(shard, cause, reason, by)


_FORM: Final = Format(
    fingerprint="simulated",
    rows=snapshot.rows,
    segments=snapshot.segments,
    restoring=lambda number: snapshot.Restoring(Shard(number, CONFIG)),
)
_CORE: Final = Core(
    new=lambda number: Shard(number, CONFIG),
    decide=_decide,
    skip=_skip,
    fold=core.fold,
    tick=core.tick,
    work_due=core.work_due,
    next_due_ms=core.next_due_ms,
    let_go=let_go,
    snapshots=_FORM,
)
_ELSEWHERE: Final = Void(
    shard=99,  # of nobody here
    first=0,
    until=1,
    lost=False,
    digest="",
    state=FilterState(),
    what="a record of another shard",
    reason="so that the list is not empty",
    by="somebody",
    at_ms=EPOCH_MS,
)
_TOPICS_OF: Final = {
    "intake": INTAKE_TOPICS,
    "engine": ("inbox",),
    "relay": ("journal",),
    "projector": PROJECTOR_TOPICS,
    "history": ("journal",),
    "past": PROJECTOR_TOPICS,
    "shadow": ("journal",),
}
_SAVING: Final = ("intake", "relay", "history", "shadow")
_BESIDE: Final = Beside(
    new=_CORE.new,
    fold=_CORE.fold,
    now_ms=lambda shard: shard.now_ms,
    shadows=lambda: Shadows().beside,
    form=_FORM,
    let_go=let_go,
)
_JUMPS_MS: Final = (-3_600_000, -2_000, 500, 90_000, 400_000, 2 * 86_400_000)
_LATE_S: Final = 60.0  # longer than a host is frozen and an append on its way
_REMEMBERED: Final = replace(history_format(), fingerprint="simulated")


class _Beside:
    """What is decided beside commits, each folded once."""

    def __init__(self) -> None:
        self._folded: dict[int, tuple[Shard, Callable[[Shard, Entry], Sequence[Any]]]] = {}

    def decides(self, number: int, commit: Commit) -> list[Record]:
        """What shadows decide of a shard's next commit."""
        if number not in self._folded:
            self._folded[number] = Shard(number, CONFIG), Shadows().beside
        shard, shadows = self._folded[number]
        found: list[Record] = []
        for place, shared in enumerate(commit.entries):
            entry = orjson.loads(orjson.dumps(shared))  # its own: a state keeps parts of it
            at = number, commit.seq, place
            found += decided_beside(_BESIDE, shadows, shard, at, entry)
            core.fold(shard, entry)
        return found


class _Refold:
    """Shards as their commits make them, up to where they were last compared."""

    def __init__(self) -> None:
        self._folded: dict[int, tuple[Shard, int]] = {}

    def same(self, number: int, chunks: Sequence[bytes], commits: Sequence[Commit]) -> bool:
        """Whether what a snapshot holds is what these commits make of a shard."""
        restoring = snapshot.Restoring(Shard(number, CONFIG))
        for chunk in chunks:
            for row in orjson.loads(chunk):
                restoring.take(row)
        folded, seq = self._folded.get(number, (Shard(number, CONFIG), 0))
        if seq > len(commits):
            folded, seq = Shard(number, CONFIG), 0
        for commit in commits[seq:]:
            for entry in commit.entries:
                core.fold(folded, entry)
        self._folded[number] = folded, len(commits)
        return _written(restoring.finish()) == _written(folded)


def _written(shard: Shard) -> list[bytes | None]:
    segments = snapshot.segments(shard, frozenset())
    return [*snapshot.rows(shard), *(one.row for one in segments)]


@dataclass(frozen=True)
class Outcome:
    """What a run came to."""

    seed: int
    digest: str
    fired: Counter[str]
    sites: Counter[tuple[str, str, str]]
    count: Counter[str]
    virtual_s: float
    cpu_s: float


class Run:
    """A world, and who lives in it."""

    def __init__(self, plan: Plan) -> None:
        self.plan = plan
        self.world = world = World(plan)
        counts = {"shards": plan.shards, "public": plan.partitions, "one": 1}
        self.broker = Broker(world, {t.name: counts[t.partitions] for t in TOPICS.values()})
        if plan.voided:
            self.broker.write(VOIDS, [_ELSEWHERE.record()])
        self.store = Store(world)
        self.past = Store(world, PAST_TABLES)
        self.oracle = Oracle(world, self.store, _Refold().same, self.past, _Beside().decides)
        self.partners = Partners(world, self.broker, self.oracle)
        self.broker.landed = [self.oracle.landed, self.partners.landed]
        self.broker.trimmed = self.oracle.trimmed
        self.broker.stored = self.oracle.stored
        self.store.written = self.oracle.written
        self.past.written = self.oracle.written_past
        self.roles = (*ROLES, *plan.beside)
        world.crashed = self._crashed
        world.stops = lambda host: self._stops[host].set()
        self._roles_of: dict[str, tuple[str, ...]] = {}
        self._logs: dict[SimHost, SimLog] = {}
        self._stops: dict[SimHost, asyncio.Event] = {}
        self._started = 0
        self._over = False

    # --- hosts

    def _start(self, roles: tuple[str, ...]) -> None:
        if self._over:
            return
        self._started += 1
        host = SimHost(f"{'+'.join(roles)} {self._started}", self._started)
        self._roles_of[host.name] = roles
        self._stops[host] = asyncio.Event()
        task = self.world.start(host, self._main(host, roles))
        task.add_done_callback(partial(self._ended, host), context=self.world.context)

    async def _main(self, host: SimHost, roles: tuple[str, ...]) -> None:
        """A process: join the groups, run the roles until told to stop or one fails."""
        log = self._logs[host] = SimLog(self.broker, host)
        stop = self._stops[host]
        clock, tasks = SimClock(self.world, host), []
        for role in roles:
            group = await log.group(role, _TOPICS_OF[role])
            ports = Ports(log, group, clock, SimRandomness(self.world, host))
            match role:
                case "intake":
                    run = Intake(log, group, clock, self.plan.shards, wait_s=2.0).run
                case "engine":
                    run = Engine(
                        log=log,
                        group=group,
                        clock=clock,
                        randomness=SimRandomness(self.world, host),
                        core=_CORE,
                        owner=host.name,
                        config=self.plan.engine,
                        standby=self._standby(),
                    ).run
                case "relay":
                    transactions = log if self.plan.transactions else None
                    run = Relay(ports, takeover_s=14.0, transactions=transactions).run
                case "history":
                    run = History(ports, _REMEMBERED, late_s=_LATE_S).run
                case "shadow":
                    run = Shadow(ports, _BESIDE).run
                case "past":
                    database = SimDatabase(self.past, host)
                    run = Projector(log, group, database, clock, model=PAST).run
                case _:
                    database = SimDatabase(self.store, host)
                    run = Projector(log, group, database, clock).run
            tasks.append(asyncio.create_task(run(stop), name=role))
        _done, rest = await asyncio.wait(tasks, return_when=asyncio.FIRST_EXCEPTION)
        if rest:
            stop.set()
            await asyncio.wait(rest)
        for task in tasks:
            await task
        for group in log.groups:
            await group.close()

    def _standby(self) -> StandbyConfig | None:
        events = self.plan.snapshot_events
        return None if events is None else StandbyConfig(self.plan.shards, 1.0, events)

    def _ended(self, host: SimHost, task: asyncio.Task[None]) -> None:
        if host not in self.world.hosts:
            return
        error = task.exception()
        if error is not None and not isinstance(error, LogError):
            self.world.fail("defect", f"{host.name} ended: {error!r}")
        if error is None and not self._stops[host].is_set():
            self.world.fail("defect", f"{host.name} ended by itself")
        self.world.hosts.remove(host)
        self._crashed(host)

    def _crashed(self, host: SimHost) -> None:
        """The groups notice after a while; a new process takes its place."""
        world = self.world
        log = self._logs.get(host)
        if log is not None:
            world.at(SESSION_S, self._expel, log)
        if not self._over:
            delay_s = 0.2 if world.calm else world.chance.choice((0.1, 1.0, 4.0))
            world.at(delay_s, self._start, self._roles_of[host.name])

    def _expel_if_frozen(self, host: SimHost, log: SimLog) -> None:
        if host.frozen is not None:
            self._expel(log)

    @staticmethod
    def _expel(log: SimLog) -> None:
        for group in log.groups:
            group.expel()

    # --- what goes wrong by itself

    def _schedule(self) -> None:
        """Faults that strike at a moment, not at a call; one fence and one takeover at least."""
        world, chance, plan = self.world, self.world.chance, self.plan
        moments: dict[Fault, Callable[[], object]] = {
            Fault.OFFSETS_EXPIRED: self._expire,
            Fault.REBALANCED: self._rebalance,
            Fault.BROKER_GONE: self._broker_gone,
            Fault.BROKER_SILENT: self._broker_silent,
            Fault.STOPPED: self._tell_to_stop,
            Fault.FROZEN: self._freeze,
            Fault.DEAF: self._deafen,
            Fault.CLOCK_JUMPED: self._jump,
            Fault.POISONED: self.partners.poison,
            Fault.FOREIGN: self.partners.strange,
        }
        for fault, do in moments.items():
            times = plan.rates.get(fault, 0.0)
            for _ in range(int(times) + (chance.random() < times % 1)):
                world.at(chance.uniform(0.5, plan.calm_s), self._strike, fault, do)
        if not plan.scenario:
            world.at(plan.span_s / 2, self._until_fenced)

    def _until_fenced(self) -> None:
        """Let two engines believe in one shard until a commit of one is void."""
        if not self.world.calm and not self._fenced():
            self._deafen()
            self.partners.receive_everywhere()
            self.world.at(_FENCE_S, self._until_fenced)

    def _fenced(self) -> bool:
        return bool(self.oracle.count["fences"] and self.oracle.count["takeovers"])

    def _strike(self, fault: Fault, do: Callable[[], object]) -> None:
        if not self.world.calm:
            self.world.fired[fault] += 1
            do()

    def _any(self) -> SimHost | None:
        return self.world.chance.choice(self.world.hosts) if self.world.hosts else None

    def _groups(self, name: str) -> list[SimGroup]:
        return [
            group
            for host in self.world.hosts
            if host in self._logs
            for group in self._logs[host].groups
            if group.name == name
        ]

    def _expire(self) -> None:
        name = self.world.chance.choice([one for one in self.roles if one in _SAVING])
        for partition in self.broker.expire(name):
            self.oracle.expired(name, partition)

    def _rebalance(self, name: str | None = None) -> SimGroup | None:
        """A partition goes to another member; who had it, or None."""
        chance = self.world.chance
        groups = self._groups(name or chance.choice(self.roles))
        having = [one for one in groups if one.member.assigned]
        if len(groups) < 2 or not having:
            return None
        giver = chance.choice(having)
        taker = chance.choice([one for one in groups if one is not giver])
        giver.member.give(chance.choice(sorted(giver.member.assigned)), taker.member)
        return giver

    def _broker_gone(self) -> None:
        until = self.world.loop.time() + self.world.chance.choice((1.0, 10.0, 150.0))
        self.world.gone_until = max(self.world.gone_until, until)

    def _broker_silent(self) -> None:
        self.world.silent_until = self.world.loop.time() + self.world.chance.choice((1.0, 5.0))

    def _tell_to_stop(self) -> None:
        host = self._any()
        if host is not None:
            self._stops[host].set()

    def _freeze(self) -> None:
        host = self._any()
        if host is not None and host.frozen is None:
            seconds = self.world.chance.choice((0.5, 8.0, 20.0))
            self.world.freeze(host, seconds)
            if seconds > SESSION_S and host in self._logs:
                log = self._logs[host]
                self.world.at(SESSION_S, self._expel_if_frozen, host, log)
                self.world.at(seconds + 0.1, self._rejoin, host)

    def _rejoin(self, host: SimHost) -> None:
        if host in self.world.hosts and host in self._logs and not self._stops[host].is_set():
            for group in self._logs[host].groups:
                group.rejoin()

    def _deafen(self) -> None:
        """An engine that doesn't hear that a shard was given to another: both go on."""
        giver = self._rebalance("engine")
        if giver is not None:
            giver.deaf_until = self.world.loop.time() + 5

    def _jump(self) -> None:
        host = self._any()
        if host is not None:
            host.skew_ms = self.world.chance.choice(_JUMPS_MS)
            self.world.at(self.world.chance.uniform(1.0, 10.0), self._correct, host)

    @staticmethod
    def _correct(host: SimHost) -> None:
        host.skew_ms = 0

    # --- the run

    async def _play(self) -> None:
        world, plan = self.world, self.plan
        roles = [self.roles] if plan.together else [(role,) for role in self.roles]
        for _ in range(plan.hosts):
            for some in roles:
                self._start(some)
        self.partners.begin()
        self._schedule()
        await asyncio.sleep(plan.calm_s)
        world.spare()  # a fence may still be wanted, which takes two that live long enough
        while not self._fenced() and not plan.scenario:
            await asyncio.sleep(_WATCH_S)
            if world.loop.time() > plan.calm_s + _SETTLE_S:
                world.fail("vacuity", "no writer was ever fenced")
        self._calm()
        deadline = world.loop.time() + _SETTLE_S
        while (left := self._unsettled() or self._unshown()) is not None:
            await asyncio.sleep(_WATCH_S)
            if world.loop.time() > deadline:
                world.fail("settling", left)
        self.oracle.close()
        await self._stop()
        self.oracle.close()

    def _calm(self) -> None:
        """Nothing goes wrong from now on."""
        world = self.world
        world.calm = True
        world.gone_until = min(world.gone_until, world.loop.time())
        world.silent_until = world.gone_until
        for host in world.hosts:
            host.skew_ms = 0
            world.thaw(host)
            self._rejoin(host)

    def _unsettled(self) -> str | None:
        if self.partners.pending:
            return f"partners have {self.partners.pending} things to do"
        left = self.oracle.unsettled()
        if left is not None:
            return left
        for key in sorted(self.partners.terms):
            order = self.oracle.books.orders.get(key)
            if order is not None and (there := self._there(key, order)):
                return f"{key} waits for {there}, which is there"
        return None

    def _unshown(self) -> str | None:
        """What the run hasn't had yet though every run must; it is seen to."""
        if self.plan.scenario:
            return None
        if not self.oracle.books.backorders:
            self.partners.order_too_much()
            return "nothing ever waited"
        if not self.partners.raced:
            self.partners.order_what_is_there()
            return "nothing was cancelled while it shipped"
        if self.oracle.count["commits"] < _FLOORS["commits"]:
            self.partners.receive_everywhere()
            return "little was committed"
        return None

    def _there(self, key: OrderKey, order: Units) -> str:
        """What an order waits for though its nodes have it, as the order may be divided; or ""."""
        waiting = order.waiting()
        free, nodes = self.oracle.free, self.partners.markets[key[0]]
        match self.partners.terms[key]:
            case "whole":  # all that it wants, from one node or several
                if all(sum(free(node, sku) for node in nodes) >= n for sku, n in waiting.items()):
                    return ", ".join(waiting)
            case "together":  # all that it wants, from one node
                if any(all(free(node, sku) >= n for sku, n in waiting.items()) for node in nodes):
                    return ", ".join(waiting)
            case _:  # any unit
                return next((sku for sku in waiting if any(free(one, sku) for one in nodes)), "")
        return ""

    async def _stop(self) -> None:
        """Tell all hosts to stop, and see them end."""
        self._over = True
        for host in self.world.hosts:
            self._stops[host].set()
        until = self.world.loop.time() + _STOP_S
        while self.world.hosts:
            await asyncio.sleep(_WATCH_S)
            if self.world.loop.time() > until:
                at = [site for host in self.world.hosts for site in self.world.awaits(host)]
                self.world.fail("stop", f"after {_STOP_S} s hosts still wait at {at}")

    def go(self) -> Outcome:
        """Run it; Violation when a promise is broken."""
        began, loop = time.process_time(), self.world.loop
        with _heard(self._heard):
            try:
                loop.run_until_complete(self._play())
            except RuntimeError:  # stopped before the end
                if self.world.violation is None:
                    raise
            finally:
                loop.discard()
        if self.world.violation is not None:
            raise self.world.violation
        if loop.errors:
            raise Violation("defect", repr(loop.errors))
        journal = blake2b(digest_size=8)
        for number in range(self.plan.shards):
            for one in self.broker.held(Partition("journal", number)).records:
                journal.update(one.value or b"")
        count = self.oracle.count
        count["backorders"] = self.oracle.books.backorders
        count["decided by activated rules"] = self.oracle.books.decided_by_rules
        count["races"] = self.partners.raced
        count["sent"] = len(self.oracle.sent)
        for what, least in _FLOORS.items() if not self.plan.scenario else ():
            if count[what] < least:
                raise Violation("vacuity", f"{count[what]} {what}, at least {least} were wanted")
        return Outcome(
            self.plan.seed,
            f"{loop.digest:016x}{journal.hexdigest()}",
            self.world.fired,
            self.world.sites,
            count,
            loop.time(),
            time.process_time() - began,
        )

    def _heard(self, event: dict[str, Any]) -> None:
        """A role logged an error."""
        if event["event"] == "wrong clock" or HOST.get(None) is None:
            return
        if not self.partners.helps(event.get("shard", 0), event.get("input", ())):
            self.world.fail("halt", f"{event}")


@contextmanager
def _heard(hear: Callable[[dict[str, Any]], None]) -> Iterator[None]:
    """Let errors that roles log be heard, and nothing be written."""

    def processor(_: object, __: str, event: Any) -> Any:  # noqa: ANN401 - structlog's own
        hear(event)
        raise structlog.DropEvent

    structlog.configure(
        processors=[structlog.processors.format_exc_info, processor],
        wrapper_class=structlog.make_filtering_bound_logger("error"),
    )
    try:
        yield
    finally:
        structlog.reset_defaults()


def simulate(plan: Plan) -> Outcome:
    """Run a plan; Violation when a promise is broken, SimulationError when it can't go on."""
    collects = gc.isenabled()
    gc.disable()
    try:
        return Run(plan).go()
    finally:
        gc.unfreeze()  # engines freeze what they folded
        if collects:
            gc.enable()
