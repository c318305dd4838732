"""The broker with its bad days: the memory log behind the ports EventLog and Group."""

import asyncio
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Final

from orchestrator.runtime.memory_log import (
    MemoryGroup,
    MemoryLog,
    MemoryReader,
    MemoryWriter,
    _Members,
)
from schemas.ports import (
    Appended,
    Bounds,
    Checkpoint,
    Fenced,
    Group,
    LogError,
    OutOfRange,
    Partition,
    Read,
    Reader,
    Record,
    Refused,
    TopicDescription,
    TransactionalWriter,
    Unknown,
    Writer,
)
from tests.simulation.plan import Fault, Meeting
from tests.simulation.world import SimClock, SimHost, World, called_by

_REQUEST_S: Final = 4.0
"""How long clients try before they give up."""
_LATE_S: Final = 8.0
"""How much later a batch may land that was on its way."""
_APPENDS: Final = (
    Fault.APPEND_REFUSED,
    Fault.APPEND_LOST,
    Fault.APPEND_UNANSWERED,
    Fault.APPEND_LATE,
    Fault.APPEND_TWICE,
    Fault.APPEND_TWICE_LATE,
    Fault.APPEND_SLOW,
)
_COMMITS: Final = (Fault.SAVE_FAILED, Fault.SAVE_UNANSWERED, Fault.APPEND_LATE)
_SAVES: Final = (Fault.SAVE_FAILED, Fault.SAVE_UNANSWERED, Fault.SAVE_SLOW)


class Broker(MemoryLog):
    """What all hosts share: the log itself, and who looks at what lands in it."""

    def __init__(self, world: World, topics: Mapping[str, int]) -> None:
        super().__init__(SimClock(world, SimHost("broker", 0)), topics)
        self.world = world
        self.transactional: dict[str, SimTransactionalWriter] = {}
        """Who has each name now; everybody who had it before is fenced."""
        self.landed: list[Callable[[Partition, int, Sequence[Record], SimHost | None], None]] = []
        self.trimmed: Callable[[Partition, int], None] = lambda _partition, _before: None
        self.stored: Callable[[str, Mapping[Partition, Checkpoint], SimHost], None] = (
            lambda _group, _checkpoints, _by: None
        )

    def expire(self, group: str) -> list[Partition]:
        """Forget a group's checkpoints; whose."""
        members = self._groups.get(group)
        if members is None:
            return []
        gone, members.checkpoints = list(members.checkpoints), {}
        return gone

    def keep(self, group: str, checkpoints: Mapping[Partition, Checkpoint], by: SimHost) -> None:
        """Store checkpoints that come with a transaction, whoever is a member."""
        self._groups.setdefault(group, _Members()).checkpoints.update(checkpoints)
        self.stored(group, checkpoints, by)

    def tear(self, partition: Partition) -> None:
        """Lose some of a topic: its beginning, or what one record held."""
        held, chance = self.held(partition), self.world.chance
        if not held.records:
            return
        index = chance.randrange(len(held.records))
        if chance.random() < 0.5:
            del held.records[:index]
            held.first += index
        else:
            record = held.records[index]
            held.records[index] = record._replace(value=chance.choice((None, b"", b"[[")))

    def land(self, to: Partition, records: Sequence[Record], by: SimHost | None) -> Appended:
        """Append, and tell who looks."""
        appended = self.write(to, records)
        for told in self.landed:
            told(to, appended.base_offset, records, by)
        return appended


class SimLog:
    """The log as one host reaches it."""

    def __init__(self, broker: Broker, host: SimHost) -> None:
        self.broker = broker
        self.world = broker.world
        self.host = host
        self.groups: list[SimGroup] = []

    async def call(self, what: str) -> None:
        """What comes before the effect of every call."""
        await self.world.suspend(self.host, "before", what)
        await self.reach(what)

    async def answer(self, what: str) -> None:
        """What comes after the effect of every call."""
        await self.world.suspend(self.host, "after", what)

    async def reach(self, what: str) -> None:
        """LogError when the broker is gone for longer than a client tries."""
        world = self.world
        gone_s = world.gone_until - world.loop.time()
        if gone_s > 0:
            await asyncio.sleep(min(gone_s, _REQUEST_S))
            if world.gone_until > world.loop.time():
                raise LogError(f"the broker is gone: {what}")

    async def writer(self) -> Writer:
        """A writer of its own."""
        await self.call("writer")
        writer = SimWriter(self)
        await self.answer("writer")
        return writer

    async def transactional(self, name: str) -> TransactionalWriter:
        """The one writer of this name."""
        await self.call("transactional")
        writer = self.broker.transactional[name] = SimTransactionalWriter(self, name)
        await self.answer("transactional")
        return writer

    async def reader(self, at: Mapping[Partition, int | None]) -> Reader:
        """A reader of these partitions."""
        await self.call("reader")
        reader = SimReader(self, at)
        await self.answer("reader")
        return reader

    async def bounds(self, partition: Partition) -> Bounds:
        """What the log holds of a partition."""
        await self.call("bounds")
        found = await self.broker.bounds(partition)
        await self.answer("bounds")
        return found

    async def trim(self, partition: Partition, before: int) -> None:
        """Delete the records below this offset."""
        await self.call("trim")
        self.broker.trimmed(partition, before)
        await self.broker.trim(partition, before)
        await self.answer("trim")

    async def describe(self) -> dict[str, TopicDescription]:
        """The topics."""
        await self.call("describe")
        found = await self.broker.describe()
        await self.answer("describe")
        return found

    async def saved(
        self, group: str, partitions: Iterable[Partition]
    ) -> dict[Partition, Checkpoint]:
        """A group's checkpoints."""
        await self.call("saved")
        found = await self.broker.saved(group, partitions)
        await self.answer("saved")
        return found

    async def group(self, name: str, topics: Sequence[str]) -> Group:
        """Join a group."""
        await self.call("join")
        group = SimGroup(self, name, await self.broker.group(name, topics))
        self.groups.append(group)
        await self.answer("join")
        return group

    async def close(self) -> None:
        """Nothing to close."""


class SimWriter(MemoryWriter):
    """Appends that may fail, land late, twice, or unheard of."""

    def __init__(self, log: SimLog) -> None:
        super().__init__(log.broker)
        self._sim = log

    async def _deliver(self, to: Partition, records: Sequence[Record]) -> Appended:
        sim, world = self._sim, self._sim.world
        broker, host, chance = sim.broker, sim.host, world.chance
        await world.suspend(host, "before", f"append {to.topic}")
        if world.gone_until > world.loop.time():
            await asyncio.sleep(_REQUEST_S * chance.random())
            raise Refused("the broker is gone: nothing was sent")
        match world.strikes_one_of(_APPENDS):
            case Fault.APPEND_REFUSED:
                raise Refused("the broker refuses it")
            case Fault.APPEND_LOST:
                await asyncio.sleep(_REQUEST_S * chance.random())
                raise Unknown("no answer")
            case Fault.APPEND_UNANSWERED:
                broker.land(to, records, host)
                await asyncio.sleep(_REQUEST_S * chance.random())
                raise Unknown("no answer")
            case Fault.APPEND_LATE:
                world.at(_LATE_S * chance.random(), broker.land, to, records, host)
                await asyncio.sleep(_REQUEST_S * chance.random())
                raise Unknown("no answer")
            case Fault.APPEND_TWICE:
                broker.land(to, records, host)
                await asyncio.sleep(chance.random() * 0.1)
                appended = broker.land(to, records, host)
            case Fault.APPEND_TWICE_LATE:
                appended = broker.land(to, records, host)
                world.at(_LATE_S * chance.random() ** 3, broker.land, to, records, host)
            case Fault.APPEND_SLOW:
                world.at(1.0 * chance.random(), self._arrive, to, records, arrived := _future())
                appended = await arrived
            case _:
                appended = broker.land(to, records, host)
        await world.suspend(host, "after", f"append {to.topic}")
        return appended

    def _arrive(
        self, to: Partition, records: Sequence[Record], arrived: asyncio.Future[Appended]
    ) -> None:
        appended = self._sim.broker.land(to, records, self._sim.host)
        if not arrived.done():
            arrived.set_result(appended)

    async def close(self) -> None:
        """No more appends."""
        await super().close()
        await asyncio.sleep(0)


class SimTransactionalWriter(SimWriter):
    """Appends that land with a group's checkpoints, or not at all: so committed readers see it."""

    def __init__(self, log: SimLog, name: str) -> None:
        super().__init__(log)
        self._name = name
        self._open: list[tuple[Partition, Sequence[Record]]] = []

    async def begin(self) -> None:
        """What is appended from now on belongs together."""
        with self._deadly():
            await self._sim.call("begin")
            self._check()
            self._open = []
            await self._sim.answer("begin")

    async def _deliver(self, to: Partition, records: Sequence[Record]) -> Appended:
        sim = self._sim
        await sim.call(f"append {to.topic} in a transaction")
        self._check()
        if sim.world.strikes_one_of((Fault.APPEND_REFUSED,)):
            raise Refused("the broker refuses it")
        self._open.append((to, records))
        await sim.answer(f"append {to.topic} in a transaction")
        return Appended(-1, sim.broker.now_ms())  # known only when it is committed

    async def commit(self, group: str, checkpoints: Mapping[Partition, Checkpoint]) -> None:
        """Let it all count, and store the checkpoints."""
        sim, world = self._sim, self._sim.world
        with self._deadly():
            await sim.call("commit")
            self._check()
            fault = world.strikes_one_of(_COMMITS)
            if fault is Fault.SAVE_FAILED:
                raise LogError("the transaction is aborted")
            if fault is Fault.APPEND_LATE:
                world.at(_LATE_S * world.chance.random(), self._count, group, checkpoints)
            else:
                self._count(group, checkpoints)
            if fault is not None:
                await asyncio.sleep(_REQUEST_S * world.chance.random())
                raise Unknown("no answer: it may be committed")
            await sim.answer("commit")

    @contextmanager
    def _deadly(self) -> Iterator[None]:
        if self._dead:
            raise LogError(f"{self._name}: this writer failed before; ask for another")
        try:
            yield
        except BaseException:
            self._dead = True
            raise

    def _check(self) -> None:
        if self._sim.broker.transactional[self._name] is not self:
            raise Fenced(f"another writer is {self._name} now")

    def _count(self, group: str, checkpoints: Mapping[Partition, Checkpoint]) -> None:
        broker, host = self._sim.broker, self._sim.host
        if broker.transactional[self._name] is self:  # else it was aborted when that one came
            for to, records in self._open:
                broker.land(to, records, host)
            broker.keep(group, checkpoints, host)


def _future() -> asyncio.Future[Appended]:
    return asyncio.get_running_loop().create_future()


class SimReader(MemoryReader):
    """Reads that fail or take their time."""

    def __init__(self, log: SimLog, at: Mapping[Partition, int | None]) -> None:
        super().__init__(log.broker, at)
        self._sim = log

    async def read(self, max_records: int, wait_ms: int) -> dict[Partition, list[Read]]:
        """What is there, waiting up to `wait_ms` for the first record."""
        sim, world = self._sim, self._sim.world
        await world.suspend(sim.host, "before", "read")
        if world.gone_until > world.loop.time():
            await sim.reach("read")
        if world.silent_until > world.loop.time():
            await asyncio.sleep(wait_ms / 1000)
            return {}
        if world.strikes(Fault.READ_FAILED):
            raise LogError("the read failed")
        if world.strikes(Fault.READ_SLOW):
            await asyncio.sleep(2 * world.chance.random())
        if world.may(Fault.SNAPSHOT_TORN):
            for partition in self._at:
                if partition.topic == "snapshots" and world.strikes(Fault.SNAPSHOT_TORN):
                    sim.broker.tear(partition)
                    if called_by("orchestrator/runtime/snapshots.py", "_read_chunks"):
                        world.fired[Meeting.TORN_BETWEEN] += 1
        try:
            read = self.take(max_records)
        except OutOfRange:
            if self._works_on_an_inbox():
                world.fired[Meeting.TRIMMED_BEYOND] += 1
            raise
        if not read and wait_ms > 0:
            await self._growth(wait_ms / 1000 * world.plan.patience)
            read = self.take(max_records)
        if read:
            await world.suspend(sim.host, "after", "read")
        return read

    def _works_on_an_inbox(self) -> bool:
        """Whether an engine reads here what it decides next."""
        return (
            any(partition.topic == "inbox" for partition in self._at)
            and not called_by("orchestrator/runtime/whole.py")  # intake looks for its offsets
            and not called_by("orchestrator/runtime/engine.py", "_await_order")  # of a halted shard
        )

    def fetched_ms(self, partition: Partition) -> int | None:
        """When the newest read looked at the partition, by this machine's clock."""
        fetched_ms = super().fetched_ms(partition)
        return None if fetched_ms is None else fetched_ms + self._sim.host.skew_ms

    async def close(self) -> None:
        """Nothing to close."""
        await asyncio.sleep(0)


def _wake(waiting: asyncio.Future[None]) -> None:
    if not waiting.done():
        waiting.set_result(None)


class _Signal(asyncio.Event):
    """An event that one waits for with a future of its own."""

    def __init__(self) -> None:
        super().__init__()
        self.waiting: asyncio.Future[None] | None = None

    def set(self) -> None:
        super().set()
        if self.waiting is not None:
            _wake(self.waiting)


class SimGroup:
    """A membership that is expelled, told late, or whose checkpoints fail."""

    def __init__(self, log: SimLog, name: str, member: MemoryGroup) -> None:
        self._sim = log
        self.name = name
        self.member = member
        self.deaf_until = 0.0
        self.generation = 0
        self._signal = _Signal()
        if member.changed.is_set():
            self._signal.set()
        member.changed = self._signal
        self._told: frozenset[Partition] = frozenset()

    async def changes(self, timeout_s: float) -> frozenset[Partition]:
        """The partitions of this member, when they change or after `timeout_s`."""
        world, member = self._sim.world, self.member
        await world.suspend(self._sim.host, "before", "changes")
        deaf = self.deaf_until > world.loop.time()
        timeout_s *= world.plan.patience
        if timeout_s > 0 and (deaf or not member.changed.is_set()):
            if deaf:
                await asyncio.sleep(timeout_s)
            else:
                await self._change(timeout_s)
        if self.deaf_until <= world.loop.time():
            self.generation += member.changed.is_set()
            member.changed.clear()
            if self._told != member.assigned:
                self._told = member.assigned
                await world.suspend(self._sim.host, "after", "changes")
        return self._told

    async def _change(self, timeout_s: float) -> None:
        """Wait for a change, or that long; for less than one of asyncio's time-outs takes."""
        loop = self._sim.world.loop
        waiting = self._signal.waiting = loop.create_future()
        timer = loop.call_later(timeout_s, _wake, waiting)
        await waiting
        timer.cancel()

    async def load(self, partitions: Iterable[Partition]) -> dict[Partition, Checkpoint]:
        """The newest checkpoints."""
        await self._sim.call(f"load {self.name}")
        found = await self.member.load(partitions)
        await self._sim.answer(f"load {self.name}")
        return found

    async def save(self, checkpoints: Mapping[Partition, Checkpoint]) -> None:
        """Store checkpoints."""
        sim, world = self._sim, self._sim.world
        await sim.call(f"save {self.name}")
        fault = world.strikes_one_of(_SAVES)
        if fault is Fault.SAVE_SLOW:
            await asyncio.sleep(world.chance.random())
        if fault is Fault.SAVE_FAILED:
            await asyncio.sleep(_REQUEST_S * world.chance.random())
            raise LogError("the checkpoint was not kept")
        await self.member.save(checkpoints)
        sim.broker.stored(self.name, checkpoints, sim.host)
        if fault is Fault.SAVE_UNANSWERED:
            await asyncio.sleep(_REQUEST_S * world.chance.random())
            raise LogError("no answer: the checkpoint may be kept")
        await sim.answer(f"save {self.name}")

    async def close(self) -> None:
        """Leave the group at once."""
        await self.member.close()
        await asyncio.sleep(0)

    def expel(self) -> None:
        """The group no longer counts on this member."""
        self.member.expel()

    def rejoin(self) -> None:
        """The group counts on it again."""
        self.member.rejoin()
