"""What the runtime's tests share: a small core, a clock, seeded chance, a log with bad days."""

import asyncio
import random
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from itertools import count
from typing import Any, Self

import orjson
from prometheus_client import REGISTRY

from events.decided import DecidedEvent, InputRecord
from orchestrator.core.decide import tick
from orchestrator.runtime.engine import Core, Engine, EngineConfig
from orchestrator.runtime.memory_log import MemoryLog, MemoryWriter
from orchestrator.runtime.replica import Replica
from orchestrator.runtime.snapshots import Snapshots
from orchestrator.runtime.standby import Standby, StandbyConfig
from schemas import inbox
from schemas.journal import Commit, Entry, FilterState, Opened, Verdict, decode, step
from schemas.ports import (
    Appended,
    Bounds,
    Checkpoint,
    Clock,
    EventLog,
    Group,
    MembershipEnded,
    Partition,
    Read,
    Reader,
    Record,
    TopicDescription,
    Unknown,
    Writer,
)
from schemas.voids import Voids

INBOX = Partition("inbox", 0)
JOURNAL = Partition("journal", 0)


class Tally:
    """State of the fake core: inputs in order, and work that is owed."""

    def __init__(self, number: int) -> None:
        self.number = number
        self.now_ms = 0
        self.seen: list[str] = []
        self.marks: dict[tuple[str, int], int] = {}
        self.owed = 0


def _evolve(state: Tally, event: DecidedEvent) -> None:
    if event["type"] == "input_parked":
        state.owed += 1
    elif event["type"] == "work_done":
        state.owed -= 1


def _decide(state: Tally, cause: InputRecord) -> list[DecidedEvent]:
    if cause["data"].get("poison"):
        raise ZeroDivisionError("a defect")
    _begin(state, cause)
    events: list[DecidedEvent] = []
    if cause["source"] == inbox.ORDERS_SOURCE:
        events.append({"type": "input_repeated", "by": "state"})
    elif cause["type"] == "clock_ticked":
        if state.owed:
            events.append({"type": "work_done", "work": ["piece"]})
    elif "work" in cause["data"]:
        events += [{"type": "input_parked", "on": "piece", "until_ms": 0}] * cause["data"]["work"]
    else:
        events.append(
            {
                "type": "availability_changed",
                "market_id": "m",
                "sku": cause["id"],
                "available": len(state.seen),
                "as_of": "x" * cause["data"].get("bytes", 0),
            }
        )
    for event in events:
        _evolve(state, event)
    return events


def _begin(state: Tally, cause: InputRecord) -> None:
    if cause["type"] == "clock_ticked":
        state.now_ms = cause["time_ms"]
    elif cause["source"] != inbox.ORDERS_SOURCE:
        state.seen.append(cause["id"])


def _fold(state: Tally, entry: Entry) -> None:
    _begin(state, entry["input"])
    for event in entry["events"]:
        _evolve(state, event)


def _skip(state: Tally, cause: InputRecord, reason: str, by: str) -> list[DecidedEvent]:
    _begin(state, cause)
    events: list[DecidedEvent] = []
    if cause["type"] == "clock_ticked":
        events.append({"type": "work_done", "work": ["piece"]})
        state.owed -= 1
    return [*events, {"type": "input_skipped", "reason": reason, "by": by}]


def _let_go(state: Tally) -> Iterator[None]:
    while state.seen:
        state.seen.pop()
        yield


CORE: Core[Tally] = Core(
    new=Tally,
    decide=_decide,
    fold=_fold,
    tick=tick,
    work_due=lambda state, _now_ms: state.owed > 0,
    next_due_ms=lambda _state: None,
    skip=_skip,
    let_go=_let_go,
)


class SteppedClock:
    """A clock that goes on by a millisecond each time it is asked for the time of day."""

    def __init__(self, now_ms: int = 1_000_000) -> None:
        self._now_ms = now_ms
        self._asked = count()

    def now_ms(self) -> int:
        return self._now_ms + next(self._asked)

    def monotonic(self) -> float:
        return 0.0

    async def sleep(self, seconds: float) -> None:
        await asyncio.sleep(seconds)


class Seeded:
    """Chance from a seed."""

    def __init__(self, seed: int) -> None:
        self._random = random.Random(seed)

    def bits(self, n: int) -> int:
        return self._random.getrandbits(n)


class PassingLog:
    """A log that hands everything on to another; what may fail is overridden."""

    def __init__(self, log: MemoryLog) -> None:
        self.log = log

    async def reader(self, at: Mapping[Partition, int | None]) -> Reader:
        return await self.log.reader(at)

    async def bounds(self, partition: Partition) -> Bounds:
        return await self.log.bounds(partition)

    async def trim(self, partition: Partition, before: int) -> None:
        await self.log.trim(partition, before)

    async def describe(self) -> dict[str, TopicDescription]:
        return await self.log.describe()

    async def saved(
        self, group: str, partitions: Iterable[Partition]
    ) -> dict[Partition, Checkpoint]:
        return await self.log.saved(group, partitions)

    async def group(self, name: str, topics: Sequence[str]) -> Group:
        return await self.log.group(name, topics)

    async def close(self) -> None:
        await self.log.close()


class Ending:
    """A membership of a group that ends when it is told so."""

    def __init__(self, group: Group) -> None:
        self.ended = False
        self.generation = group.generation
        self._group = group

    async def changes(self, timeout_s: float) -> frozenset[Partition]:
        if self.ended:
            raise MembershipEnded("told so")
        found = await self._group.changes(min(timeout_s, 0.01))
        self.generation = self._group.generation
        return found

    async def load(self, partitions: Iterable[Partition]) -> dict[Partition, Checkpoint]:
        return await self._group.load(partitions)

    async def save(self, checkpoints: Mapping[Partition, Checkpoint]) -> None:
        await self._group.save(checkpoints)

    async def close(self) -> None:
        await self._group.close()


class FaultyLog(PassingLog):
    """A memory log whose journal appends fail as told, each `ok`, `lost`, `landed` or `late`.

    `lost`: Unknown, nothing landed. `landed`: Unknown, though it landed. `late`: Unknown, and it
    lands in front of the next append but one.
    """

    def __init__(self, log: MemoryLog, plans: Sequence[str]) -> None:
        super().__init__(log)
        self.plans = deque(plans)
        self._late: deque[tuple[int, Partition, Sequence[Record]]] = deque()
        self._appends = 0

    async def before_append(self, to: Partition, records: Sequence[Record]) -> None:
        """Land what is late, and fail when it is time to."""
        self._appends += 1
        while self._late and self._late[0][0] <= self._appends:
            _, late_to, late = self._late.popleft()
            self.log.write(late_to, late)
        plan = self.plans.popleft() if self.plans else "ok"
        if plan == "landed":
            self.log.write(to, records)
        elif plan == "late":
            self._late.append((self._appends + 2, to, records))
        if plan != "ok":
            raise Unknown(f"planned: {plan}")

    async def writer(self) -> Writer:
        return _FaultyWriter(self, await self.log.writer())


class _FaultyWriter:
    def __init__(self, faults: FaultyLog, writer: MemoryWriter) -> None:
        self._faults = faults
        self._writer = writer

    async def append(self, to: Partition, records: Sequence[Record]) -> Appended:
        if to == JOURNAL:
            await self._faults.before_append(to, records)
        return await self._writer.append(to, records)

    async def close(self) -> None:
        await self._writer.close()


class LosesOne(MemoryLog):
    """The `nth` append to a topic lands, and its acknowledgement is lost."""

    def __init__(
        self, clock: Clock, topics: Mapping[str, int], topic: str, *, nth: int = 1
    ) -> None:
        super().__init__(clock, topics)
        self.lost = 0
        """Records of it."""
        self._topic, self._nth = topic, nth
        self._appends = 0

    async def writer(self) -> Writer:  # type: ignore[override]  # any writer will do
        return _LosingWriter(self, await super().writer())

    def appended(self, to: Partition, records: Sequence[Record]) -> None:
        """Unknown where it is the one."""
        self._appends += to.topic == self._topic
        if self._appends == self._nth and not self.lost:
            self.lost = len(records)
            raise Unknown("lost")


class _LosingWriter:
    def __init__(self, log: LosesOne, writer: Writer) -> None:
        self._log = log
        self._writer = writer

    async def append(self, to: Partition, records: Sequence[Record]) -> Appended:
        appended = await self._writer.append(to, records)
        self._log.appended(to, records)
        return appended

    async def close(self) -> None:
        await self._writer.close()


def metric(name: str, **labels: str) -> float:
    """What this process says by now of a metric."""
    return REGISTRY.get_sample_value(name, labels) or 0.0


def give(
    log: MemoryLog,
    *ids: str,
    to: Partition = INBOX,
    type_: str = "order_cancel_requested",
    **data: object,
) -> None:
    """Put inputs into an inbox."""
    for id_ in ids:
        origin = ("orders", 0, log.held(to).next, 0)
        value = inbox.encode(
            type_=type_,
            version=1,
            id_=id_,
            source="test",
            time_ms=0,
            origin=origin,
            data=orjson.dumps(data),
        )
        log.write(to, [Record(None, value)])


def happened(log: MemoryLog, journal: Partition = JOURNAL) -> tuple[list[str], FilterState, int]:
    """Ids of the inputs in valid commits in order; the filter state; how many commits were void."""
    state, ids, void = FilterState(), list[str](), 0
    for read in log.held(journal).records:
        record = decode(read.value, read.offset)
        state, verdict = step(state, read.offset, record)
        if isinstance(record, Commit):
            if verdict is Verdict.VALID:
                ids += [one["input"]["id"] for one in record.entries if one["input"]["id"]]
            else:
                void += 1
    return ids, state, void


def owners(log: MemoryLog, journal: Partition = JOURNAL) -> list[str]:
    """Who opened the journal, in order."""
    records = [decode(read.value, read.offset) for read in log.held(journal).records]
    return [record.owner for record in records if isinstance(record, Opened)]


async def engine(
    log: MemoryLog | FaultyLog,
    *,
    owner: str = "one",
    seed: int = 1,
    config: EngineConfig | None = None,
    core: Core[Tally] = CORE,
    clock: SteppedClock | None = None,
) -> Engine[Tally]:
    """An engine over a log."""
    return Engine(
        log=log,
        group=await log.group("engine", ["inbox"]),
        clock=clock or SteppedClock(),
        randomness=Seeded(seed),
        core=core,
        owner=owner,
        config=config or EngineConfig(failed_pause_s=0.01, fenced_pause_s=0.05),
    )


def a_standby(
    replica: Replica[Tally],
    log: EventLog,
    clock: Clock,
    voids: Voids,
    *,
    config: StandbyConfig,
    snapshots: Snapshots[Tally] | None = None,
    let_go: Callable[[Tally], Iterator[None]] = _let_go,
    seed: int = 1,
) -> Standby[Tally]:
    """A standby of a shard whose owner owes nothing."""
    return Standby(
        replica,
        log=log,
        clock=clock,
        randomness=Seeded(seed),
        is_due=lambda *_: False,
        let_go=let_go,
        snapshots=snapshots,
        config=config,
        voids=voids,
    )


class Careless(MemoryLog):
    """A log that has a topic set otherwise than it should be."""

    def __init__(
        self,
        clock: Clock,
        topics: Mapping[str, int],
        *,
        topic: str,
        setting: tuple[str, str],
        replication: int = 1,
    ) -> None:
        super().__init__(clock, topics)
        self._topic, self._replication = topic, replication
        self.settings = dict([setting])
        """Those that are wrong."""

    async def describe(self) -> dict[str, TopicDescription]:
        found = await super().describe()
        config = {**found[self._topic].config, **self.settings}
        found[self._topic] = TopicDescription(1, self._replication, config)
        return found


class Running:
    """An engine that runs while the `async with` lasts."""

    def __init__(self, role: Engine[Tally]) -> None:
        self.role = role
        self.stop = asyncio.Event()
        self._task: asyncio.Task[None] | None = None

    async def __aenter__(self) -> Self:
        self._task = asyncio.create_task(self.role.run(self.stop))
        return self

    async def __aexit__(self, *_: object) -> None:
        self.stop.set()
        assert self._task is not None
        await self._task


async def until(true: Callable[[], bool], within_s: float = 10) -> None:
    """Poll until something is true."""
    async with asyncio.timeout(within_s):
        while not true():
            await asyncio.sleep(0.005)


class Standing:
    """A reader whose broker stands still for so many reads, after some or at once."""

    def __init__(self, reader: Reader, reads: int, *, at_once: bool) -> None:
        self._reader = reader
        self._left = reads
        self._first = not at_once

    def __getattr__(self, name: str) -> Any:  # noqa: ANN401 - all else is the reader's
        return getattr(self._reader, name)

    async def read(self, max_records: int, wait_ms: int) -> dict[Partition, list[Read]]:
        if not self._first and self._left:
            self._left -= 1
            return {}
        self._first = False
        return await self._reader.read(min(max_records, 2), wait_ms)


class StandingLog(MemoryLog):
    """Its readers stand still for so many reads."""

    reads = 0
    at_once = False

    async def reader(self, at: Mapping[Partition, int | None]) -> Any:  # noqa: ANN401 - a reader
        return Standing(await super().reader(at), self.reads, at_once=self.at_once)
