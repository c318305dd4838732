"""The composition root: makes the ports, hands them to the roles, runs them until told to stop."""

import asyncio
import gc
import os
import socket
from collections.abc import AsyncIterator, Callable, Coroutine, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from itertools import cycle
from typing import TYPE_CHECKING, Any, Final, TypeAlias

import psycopg
import structlog
from starlette.applications import Starlette

from orchestrator import installed
from orchestrator.core import decide as core
from orchestrator.core import evolve, snapshot
from orchestrator.core.auditing import audit
from orchestrator.core.config import Config
from orchestrator.core.following import follow
from orchestrator.core.promising import availability, promise
from orchestrator.core.shadowing import Shadows
from orchestrator.core.shard import Shard, let_go
from orchestrator.core.sourcing.counterfactual import counterfactual
from orchestrator.remembered import history_format
from orchestrator.runtime import metrics, server
from orchestrator.runtime.auditor import Audited
from orchestrator.runtime.engine import Core, Engine, EngineConfig
from orchestrator.runtime.follower import Follower, Sight
from orchestrator.runtime.halting import Halt, halts
from orchestrator.runtime.history import History
from orchestrator.runtime.intake import INTAKE_TOPICS, Intake, IntakeError
from orchestrator.runtime.kafka_log import SESSION_TIMEOUT_MS, KafkaLog, kafka_settings
from orchestrator.runtime.large_pages import keep_large
from orchestrator.runtime.publisher import Ports, Publishers
from orchestrator.runtime.relay import Relay
from orchestrator.runtime.settings import Settings, SetupError, variable
from orchestrator.runtime.shadow import Beside, Shadow
from orchestrator.runtime.shared import Shared
from orchestrator.runtime.snapshots import Format, fingerprint
from orchestrator.runtime.standby import StandbyConfig
from orchestrator.runtime.world import SystemClock, SystemRandomness, watch_loop
from projections import schema
from projections.failures import why
from projections.fold import READ_MODELS
from projections.kpis import LiveFigures
from projections.past import PAST
from projections.postgres import Postgres
from projections.projector import PROJECTOR_TOPICS, Projector
from schemas.ports import EventLog, Group, LogError, Partition, Planning, TopicDescription
from schemas.topics import TOPIC_DEFAULTS, TOPICS, Topic

if TYPE_CHECKING:
    from orchestrator.kpis.application import Kpis

ROLES: Final = ("intake", "engine", "standby", "relay", "history", "projector", "past", "api")
"""What `headrace run` runs where nothing is said. `shadow` is asked for: it folds it all again."""
_HOLD_SHARDS: Final = frozenset({"engine", "standby", "history", "api", "shadow"})
_SHARED: Final = {
    "intake": INTAKE_TOPICS,
    "engine": ("inbox",),
    "relay": ("journal",),
    "history": ("journal",),
    "shadow": ("journal",),
    "projector": PROJECTOR_TOPICS,
    "past": PROJECTOR_TOPICS,
}
"""What the members of each role's group share out among them."""
_WRITES: Final = {"projector": READ_MODELS, "past": PAST}
_NEED_POSTGRES: Final = frozenset({*_WRITES, "api"})
_STOP_S: Final = 10.0
_CONNECT_S: Final = 10
_POLL_S: Final = 0.1
_COLLECT_S: Final = 0.1

Start: TypeAlias = Callable[[asyncio.Event], Coroutine[Any, Any, None]]

_log = structlog.get_logger(__name__)


def partitions_of(topic: Topic, settings: Settings) -> int:
    """How many partitions a topic is created with."""
    match topic.partitions:
        case "shards":
            return settings.shards
        case "public":
            return settings.partitions
        case "one":
            return 1


def config_of(topic: Topic, replication: int) -> dict[str, str]:
    """The settings a topic is created with; of three replicas two must have a record."""
    durable = {"min.insync.replicas": "2", "unclean.leader.election.enable": "false"}
    return TOPIC_DEFAULTS | topic.config | (durable if replication > 2 else {})  # noqa: PLR2004 - a majority is two


async def create_topics(log: KafkaLog, settings: Settings) -> list[str]:
    """Create the topics that are missing; their names."""
    replication = min(settings.replication, await log.brokers())
    created = []
    for topic in TOPICS.values():
        partitions = partitions_of(topic, settings)
        if await log.create(topic, partitions, config_of(topic, replication), replication):
            created.append(topic.name)
    async with asyncio.timeout(settings.kafka_request_timeout_seconds):
        while TOPICS.keys() - (await log.describe()).keys():  # noqa: ASYNC110 - brokers are late
            await asyncio.sleep(_POLL_S)
    return created


def check_topics(found: Mapping[str, TopicDescription], settings: Settings) -> None:
    """SetupError where a topic is missing, or has other partitions than configured."""
    missing = [settings.prefix + name for name in TOPICS if name not in found]
    if missing:
        raise SetupError(
            f"Kafka at {settings.kafka} lacks the topics {', '.join(missing)}: "
            "run `headrace topics create`."
        )
    for name, topic in TOPICS.items():
        wanted = partitions_of(topic, settings)
        if found[name].partitions != wanted:
            setting = variable("shards" if topic.partitions == "shards" else "partitions")
            fix = (
                "it must have one, so that it has one order: create it anew"
                if topic.partitions == "one"
                else f"set {setting}={found[name].partitions}, which was fixed when the "
                "topics were created"
            )
            raise SetupError(
                f"The topic {settings.prefix}{name} has {found[name].partitions} partitions, "
                f"not {wanted}: {fix}."
            )


async def check_database(settings: Settings) -> str:
    """The URL of a database with this release's schema; SetupError when there is none."""
    if not settings.postgres:
        raise SetupError(
            f"{variable('postgres')} is not set: give a libpq URL, such as "
            "postgresql://user:password@127.0.0.1/headrace, or leave out the roles "
            "projector, past and api."
        )
    try:
        async with await psycopg.AsyncConnection.connect(
            settings.postgres, autocommit=True, connect_timeout=_CONNECT_S
        ) as connection:
            for model in _WRITES.values():
                name = schema.named(settings.db_schema, model.kind)
                await schema.check(connection, name, model.kind)
    except schema.SchemaError as error:
        raise SetupError(f"PostgreSQL: {error}.") from error
    except psycopg.Error as error:  # while it connects, or as soon as it is asked
        raise SetupError(
            f"PostgreSQL can't be reached ({variable('postgres')}): {why(error)}"
        ) from error
    return settings.postgres


def config_of_core(settings: Settings) -> Config:
    """The core's share of the settings."""
    return Config(
        order_wait_ms=settings.order_wait_seconds * 1000,
        suppression_ms=settings.suppression_seconds * 1000,
        tracking_wait_ms=settings.tracking_wait_seconds * 1000,
        tracking_waits=settings.tracking_waits,
        retire_after_ms=settings.retire_seconds * 1000,
        availability_thresholds=settings.availability_thresholds,
    )


def a_core(settings: Settings) -> Core[Shard]:
    """The pure core with its settings."""
    config = config_of_core(settings)
    return Core(
        new=lambda number: Shard(number, config),
        decide=core.decide,
        fold=core.fold,
        tick=core.tick,
        work_due=core.work_due,
        next_due_ms=core.next_due_ms,
        skip=core.skip,
        let_go=let_go,
        gauges=_gauges,
        audit=audit,
        snapshots=Format(
            fingerprint=fingerprint(evolve.__name__, snapshot.__name__),
            rows=snapshot.rows,
            segments=snapshot.segments,
            restoring=lambda number: snapshot.Restoring(Shard(number, config)),
        ),
    )


def _gauges(shard: Shard) -> Mapping[str, int]:
    markets = shard.markets.values()
    return {
        "open_orders": shard.orders_open,
        "backordered_lines": sum(
            len(lines) for market in markets for lines in market.waiting.values()
        ),
        "open_exceptions": len(shard.exceptions),
        "dedupe_ids_dropped": shard.ids_dropped,
    }


@asynccontextmanager
async def connected(settings: Settings) -> AsyncIterator[KafkaLog]:
    """Kafka, checked to be set up; SetupError when it is not."""
    try:
        log = await KafkaLog.open(kafka_settings(settings))
    except (LogError, ValueError, OSError) as error:
        raise SetupError(f"{error} ({variable('kafka')}={settings.kafka}).") from error
    try:
        check_topics(await log.describe(), settings)
        yield log
    finally:
        await log.close()


def collect_rarely() -> None:
    """For processes that hold a shard: walking it takes long, and it breaks its cycles itself.

    What is young is walked 10,000 objects at a time, what outlived that 40,000 at a time, which is
    some 5 ms; all of it, in effect, never.
    """
    gc.set_threshold(10_000, 3, 150_000)


async def collect_often() -> None:
    """What is young ten times a second, every other time with what outlived that; until cancelled.

    Python counts what is made less what is freed. Where an old object is freed for each new one,
    it counts nothing for half a minute, and then walks 300,000 in a tenth of a second.
    """
    for generation in cycle((0, 1)):
        await asyncio.sleep(_COLLECT_S)
        gc.collect(generation)


class Roles:
    """The roles of this process, as tasks, and what they say of themselves."""

    def __init__(self) -> None:
        self.running: dict[str, asyncio.Task[None]] = {}
        self.states: dict[str, Callable[[], dict[int, str]]] = {}
        self.state: dict[str, Callable[[], str]] = {}
        """Of roles that have one as a whole: open where they work."""
        self.audited: Callable[[], dict[int, Audited]] = dict
        self.halts: Callable[[], dict[int, Halt]] = dict

    def failure(self) -> SetupError | None:
        """What who only looks at exit codes learns: which shards halt."""
        said = "; ".join(f"shard {one} halted: {halt.what}" for one, halt in self.halts().items())
        return SetupError(said, 1) if said else None

    def health(self) -> tuple[bool, dict[str, Any]]:
        """Ready when every role runs and works, and every shard that it was given is open."""
        roles: dict[str, Any] = {}
        ready = True
        for name, task in self.running.items():
            shards = self.states[name]() if name in self.states else {}
            ready = ready and not task.done() and all(one == "open" for one in shards.values())
            roles[name] = {"running": not task.done()}
            if name in self.state:
                roles[name]["state"] = self.state[name]()
                ready = ready and roles[name]["state"] == "open"
            if shards:
                roles[name]["shards"] = {str(number): state for number, state in shards.items()}
            if name in {"engine", "standby"} and (audited := self.audited()):
                roles[name]["audit"] = {
                    str(number): one._asdict() for number, one in audited.items()
                }
        return ready, roles


async def run(
    settings: Settings,
    roles: Sequence[str],
    stop: asyncio.Event,
    *,
    listening: socket.socket | None = None,
    here: Roles | None = None,
) -> None:
    """Run roles until told to stop; `here` tells of them meanwhile.

    1. Check what they need; SetupError where it is missing.
    2. Make the ports, start the roles and the HTTP server (on `listening`, where it is given).
       Roles `history` and `past` are left out where they are switched off.
    3. On stop, or when a role fails: let each finish its batch and leave its group, within 10 s.
       Who is told to stop before that much is there leaves at once.
    """
    here = here or Roles()
    async with AsyncExitStack() as stack:
        starting = asyncio.create_task(_start(stack, settings, roles, stop, listening, here))
        stopping = asyncio.create_task(stop.wait())
        try:
            await asyncio.wait({starting, stopping}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            stopping.cancel()
            if not starting.done():
                starting.cancel()
                await asyncio.wait([starting], timeout=_STOP_S / 2)
        if starting.cancelled() or not starting.done():
            return
        await _until_stopped(stop, starting.result())
        if (failure := here.failure()) is not None:
            raise failure


async def _start(
    stack: AsyncExitStack,
    settings: Settings,
    roles: Sequence[str],
    stop: asyncio.Event,
    listening: socket.socket | None,
    here: Roles,
) -> list[asyncio.Task[None]]:
    """What `run` starts."""
    switched = {"history": settings.history, "past": settings.past}
    roles = [role for role in roles if switched.get(role, True)]
    if not _HOLD_SHARDS.isdisjoint(roles):
        collect_rarely()
    if listening is None:
        try:
            listening = server.bind(settings.http)
        except OSError as error:
            raise SetupError(
                f"{variable('http')}={settings.http} can't be listened on: {error.strerror}: "
                "name another address.",
                2,
            ) from error
    stack.callback(listening.close)
    log = await stack.enter_async_context(connected(settings))
    database_url = await check_database(settings) if _NEED_POSTGRES & set(roles) else ""
    follower = _follower(settings, log) if "api" in roles and settings.promise else None
    starts: dict[str, Start] = {}
    app = (
        await _application(stack, settings, log, database_url, follower, starts, here)
        if "api" in roles
        else Starlette()
    )
    server.add_probes(app, here.health)
    groups = await _join(stack, log, roles)
    if "intake" in roles:
        intake = _intake(settings, log, groups["intake"])
        starts["intake"] = intake.run
        here.state["intake"] = intake.state
    if {"engine", "standby"} & set(roles):
        engine = _engine(settings, log, groups.get("engine"), standby="standby" in roles)
        name = "engine" if "engine" in roles else "standby"
        starts[name] = engine.run
        here.states[name] = engine.states
        here.audited = engine.audited
        here.halts = engine.halts
    for name, make in (
        ("relay", _relay),
        ("history", _history),
        ("shadow", _shadow),
    ):
        if name in roles:
            publishers = make(settings, log, groups)
            starts[name] = publishers.run
            here.states[name] = publishers.states
    if "kpis" in roles:
        kpis = _kpis(settings, log)
        starts["kpis"] = kpis.run
        here.states["kpis"], here.state["kpis"] = kpis.states, kpis.state
    for name in [one for one in _WRITES if one in roles]:
        model = _WRITES[name]
        database = Postgres(database_url, schema.named(settings.db_schema, model.kind))
        stack.push_async_callback(database.close)
        projector = Projector(
            log=log, group=groups[name], database=database, clock=SystemClock(), model=model
        )
        starts[name] = projector.run
        here.states[name] = projector.states
    if follower is not None:
        starts["follower"] = follower.run
    for name, start in starts.items():
        here.running[name] = asyncio.create_task(start(stop), name=name)
    serving = asyncio.create_task(server.serve(app, listening, stop), name="http")
    _keep_house(stack, roles)
    _log.info(
        "running",
        roles=list(roles),
        http=listening.getsockname()[:2],
        release=installed.release(),
        core=installed.core(),
    )
    return [serving, *here.running.values()]


def _keep_house(stack: AsyncExitStack, roles: Sequence[str]) -> None:
    """What goes on beside the roles until they end."""
    beside = [watch_loop(metrics.LOOP_BLOCKED.observe)]
    if not _HOLD_SHARDS.isdisjoint(roles):
        beside += [keep_large(), collect_often()]
    for one in beside:
        stack.callback(asyncio.create_task(one).cancel)


async def _until_stopped(stop: asyncio.Event, tasks: Sequence[asyncio.Task[None]]) -> None:
    """Wait for the stop or the first failure; then for everybody to finish, not for ever."""
    stopping = asyncio.create_task(stop.wait())
    try:
        await asyncio.wait({stopping, *tasks}, return_when=asyncio.FIRST_COMPLETED)
    finally:
        stop.set()
        stopping.cancel()
        _, late = await asyncio.wait(tasks, timeout=_STOP_S)
        for task in late:
            _log.warning("did not stop in time", role=task.get_name())
            task.cancel()
        ended = await asyncio.gather(*tasks, return_exceptions=True)
    for task, error in zip(tasks, ended, strict=True):
        if isinstance(error, asyncio.CancelledError) and task not in late:
            raise RuntimeError(f"{task.get_name()} was cancelled, and not by us") from error
        if isinstance(error, LogError):
            raise SetupError(str(error)) from error
        if isinstance(error, IntakeError):
            raise SetupError(str(error), 1) from error
        if isinstance(error, Exception):
            raise error


async def _join(stack: AsyncExitStack, log: EventLog, roles: Sequence[str]) -> dict[str, Group]:
    """Become a member of the roles' groups, all at once, since a broker may let joiners wait."""
    wanted = [role for role in roles if role in _SHARED]
    joins = [asyncio.create_task(log.group(role, _SHARED[role])) for role in wanted]
    if joins:
        await asyncio.wait(joins)
    groups = {}
    failures = []
    for role, join in zip(wanted, joins, strict=True):
        error = join.exception()
        if error is None:
            groups[role] = join.result()
            stack.push_async_callback(groups[role].close)
        else:
            failures.append(error)
    if failures:
        raise SetupError(str(failures[0])) from failures[0]
    return groups


def _intake(settings: Settings, log: EventLog, group: Group) -> Intake:
    return Intake(
        log=log,
        group=group,
        clock=SystemClock(),
        shards=settings.shards,
        wait_s=settings.network_wait_seconds,
        unknown_fields=settings.unknown_fields,
    )


def _engine(
    settings: Settings, log: EventLog, group: Group | None, *, standby: bool
) -> Engine[Shard]:
    """Decides what the group suggests; as a standby, what other processes leave undone."""
    follows = StandbyConfig(
        shards=settings.shards,
        suspect_s=settings.suspect_seconds,
        snapshot_events=settings.snapshot_events,
    )
    return Engine(
        log=log,
        group=group,
        clock=SystemClock(),
        randomness=SystemRandomness(),
        core=a_core(settings),
        owner=f"{socket.gethostname()}-{os.getpid()}",
        config=EngineConfig(
            batch_ms=settings.batch_ms,
            trim_s=settings.trim_seconds,
            trim_margin=settings.trim_margin_records,
        ),
        standby=follows if standby else None,
    )


def _ports(log: EventLog, group: Group) -> Ports:
    return Ports(log, group, SystemClock(), SystemRandomness())


def _relay(settings: Settings, log: KafkaLog, groups: Mapping[str, Group]) -> Publishers:
    session_s = SESSION_TIMEOUT_MS / 1000
    return Relay(
        _ports(log, groups["relay"]),
        takeover_s=settings.kafka_request_timeout_seconds + session_s,
        session_s=session_s,
        transactions=log if settings.relay_transactions else None,
    )


def _history(settings: Settings, log: EventLog, groups: Mapping[str, Group]) -> Publishers:
    return History(
        _ports(log, groups["history"]),
        history_format(),
        late_s=2 * settings.kafka_request_timeout_seconds,  # as long as a writer waits
    )


def _shadow(settings: Settings, log: KafkaLog, groups: Mapping[str, Group]) -> Publishers:
    core_of = a_core(settings)
    assert core_of.snapshots is not None  # noqa: S101 - the core has them
    return Shadow(
        _ports(log, groups["shadow"]),
        Beside(
            new=core_of.new,
            fold=core_of.fold,
            now_ms=lambda shard: shard.now_ms,
            shadows=lambda: Shadows().beside,
            form=core_of.snapshots,
            let_go=let_go,
        ),
    )


def _kpis(settings: Settings, log: KafkaLog) -> "Kpis":
    """Live figures; SetupError without Faust, which has a group of its own, or by a wrong file."""
    try:
        from orchestrator.kpis.application import Kpis  # noqa: PLC0415 - Faust, an extra
    except ModuleNotFoundError as error:
        raise SetupError(
            f"role kpis needs {error.name}, which is not installed: pip install 'headrace[kpis]'."
        ) from None
    from orchestrator.kpis.alerts import AlertFileError, load  # noqa: PLC0415 - only this role needs it

    try:
        rules = load(settings.kpis_alerts) if settings.kpis_alerts else []
    except AlertFileError as error:
        raise SetupError(f"{variable('kpis_alerts')}: {error}", 2) from None
    hours_back = settings.kpis_hours_back
    return Kpis(
        log=log,
        clock=SystemClock(),
        rules=rules,
        partitions=settings.partitions,
        hours_back=None if hours_back == "all" else hours_back,
    )


def _follower(settings: Settings, log: EventLog) -> Follower[Shard]:
    return Follower(
        log=log,
        clock=SystemClock(),
        shards=settings.shards,
        sight=Sight(
            new=Shard,
            follow=follow,
            markets=lambda shard: shard.markets,
            promise=promise,
            availability=availability,
        ),
        lag_s=settings.promise_lag_seconds,
    )


async def _application(
    stack: AsyncExitStack,
    settings: Settings,
    log: EventLog,
    database_url: str,
    planning: Planning | None,
    starts: dict[str, Start],
    here: Roles,
) -> Starlette:
    """The API over a pool of connections of its own; what it follows is added to `starts`."""
    from projections.api.app import create_app  # noqa: PLC0415 - only this role needs it
    from projections.as_of import AsOf  # noqa: PLC0415 - the same
    from projections.queries import open_reads  # noqa: PLC0415 - the same

    reads = await stack.enter_async_context(open_reads(database_url, settings.db_schema))

    async def progress(partition: Partition) -> tuple[int, str] | None:
        return (await log.saved("intake", [partition])).get(partition)

    async def ends(topic: str) -> Mapping[int, int]:
        bounds = await asyncio.gather(
            *(log.bounds(Partition(topic, number)) for number in range(settings.shards))
        )
        return {number: one.next for number, one in enumerate(bounds)}

    async def journal_ends(topic: str) -> Mapping[int, int]:
        try:
            return await ends(topic)
        except LogError:
            return {}

    async def halted(shards: int) -> Mapping[int, tuple[str, list[str]]]:
        try:
            found = await halts(log, range(shards))
        except LogError:
            found = {}
        return found | here.halts()  # its own it knows where the broker keeps no metadata too

    clock = SystemClock()
    figures = LiveFigures(log, clock)
    starts["figures"] = figures.run
    shared_halts = Shared(halted, clock, 1.0)
    shared_progress = Shared(progress, clock, 0.02)
    shared_ends = Shared(journal_ends, clock, 1.0)
    shared_states = Shared[None, dict[str, list[dict[str, Any]]]](
        lambda _: reads.by_state(), clock, 2.0
    )

    async def intake_progress(topic: str, number: int) -> tuple[int, str] | None:
        name = topic.removeprefix(settings.prefix)
        count = partitions_of(TOPICS[name], settings) if name in INTAKE_TOPICS else 0
        if number >= count:
            raise LookupError(_no_such_input(topic, number, count))
        return await shared_progress(Partition(name, number))

    return create_app(
        reads,
        clock,
        intake_progress=intake_progress,
        inbox_ends=lambda: ends("inbox"),
        journal_ends=lambda: shared_ends("journal"),
        halts=lambda: shared_halts(settings.shards),
        what_if=counterfactual,
        planning=planning,
        as_of=AsOf(reads, settings.db_schema),
        ends_now=lambda: ends("journal"),
        figures=figures,
        by_state=lambda: shared_states(None),
    )


def _no_such_input(topic: str, number: int, count: int) -> str:
    if count:
        return f"{topic} has the partitions 0 to {count - 1}, no {number}"
    return f"{topic} is no input topic: there are {', '.join(INTAKE_TOPICS)}"
