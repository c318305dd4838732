"""The ports EventLog and Group in memory: the behavior of Kafka that the roles rely on."""

import asyncio
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress

from schemas.ports import (
    MAX_BATCH_BYTES,
    MAX_METADATA_BYTES,
    Appended,
    Bounds,
    Checkpoint,
    Clock,
    LogError,
    OutOfRange,
    Partition,
    Read,
    Record,
    Refused,
    TopicDescription,
    Unknown,
)
from schemas.topics import TOPIC_DEFAULTS, TOPICS
from schemas.voids import VOIDS

_RECORD_OVERHEAD_BYTES = 32


def _wake(waiting: asyncio.Future[None]) -> None:
    if not waiting.done():
        waiting.set_result(None)


class _Held:
    """What a partition holds, and who waits for more."""

    def __init__(self) -> None:
        self.first = 0
        self.records: list[Read] = []
        self.waiting: list[asyncio.Future[None]] = []

    @property
    def next(self) -> int:
        return self.first + len(self.records)


class MemoryLog:
    """A log of these topics (name → partitions) that lives as long as the object.

    Void lists it always has, as every log that was set up.
    """

    def __init__(self, clock: Clock, topics: Mapping[str, int]) -> None:
        self._clock = clock
        self._topics = {VOIDS.topic: 1, **topics}
        self._held = {
            Partition(topic, number): _Held()
            for topic, partitions in self._topics.items()
            for number in range(partitions)
        }
        self._groups: dict[str, _Members] = {}

    def held(self, partition: Partition) -> _Held:
        """A partition's records; LogError when there is no such partition."""
        if partition not in self._held:
            raise LogError(f"no partition {partition.number} of topic {partition.topic!r}")
        return self._held[partition]

    def now_ms(self) -> int:
        """The log's clock."""
        return self._clock.now_ms()

    def write(self, to: Partition, records: Sequence[Record]) -> Appended:
        """Put records at the end of a partition, now."""
        held = self.held(to)
        base, now_ms = held.next, self._clock.now_ms()
        held.records += [
            Read(base + n, now_ms, record.key, record.value, record.headers)
            for n, record in enumerate(records)
        ]
        waiting, held.waiting = held.waiting, []
        for grown in waiting:
            _wake(grown)
        return Appended(base, now_ms)

    async def writer(self) -> "MemoryWriter":
        """A writer of its own."""
        return MemoryWriter(self)

    async def reader(self, at: Mapping[Partition, int | None]) -> "MemoryReader":
        """A reader of these partitions; None: from the first offset held."""
        return MemoryReader(self, at)

    async def bounds(self, partition: Partition) -> Bounds:
        """The first offset that can be read and the next that will be written."""
        held = self.held(partition)
        return Bounds(held.first, held.next)

    async def trim(self, partition: Partition, before: int) -> None:
        """Delete the records below this offset; LogError beyond the end."""
        held = self.held(partition)
        if before > held.next:
            raise LogError(f"{partition} ends at {held.next}, can't trim to {before}")
        if before > held.first:
            del held.records[: before - held.first]
            held.first = before

    async def describe(self) -> dict[str, TopicDescription]:
        """The topics with the catalogue's settings."""
        return {
            name: TopicDescription(
                partitions, 1, TOPIC_DEFAULTS | (TOPICS[name].config if name in TOPICS else {})
            )
            for name, partitions in self._topics.items()
        }

    async def saved(
        self, group: str, partitions: Iterable[Partition]
    ) -> dict[Partition, Checkpoint]:
        """A group's newest checkpoints, without joining it."""
        kept = self._groups[group].checkpoints if group in self._groups else {}
        return {one: kept[one] for one in partitions if one in kept}

    async def group(self, name: str, topics: Sequence[str]) -> "MemoryGroup":
        """Join a group."""
        members = self._groups.setdefault(name, _Members())
        wanted = [partition for partition in self._held if partition.topic in topics]
        return MemoryGroup(members, wanted)

    async def close(self) -> None:
        """Nothing to close."""


class MemoryWriter:
    """Appends at once; tests that want a broker's bad days wrap it."""

    def __init__(self, log: MemoryLog) -> None:
        self._log = log
        self._busy: set[Partition] = set()
        self._dead = False

    async def append(self, to: Partition, records: Sequence[Record]) -> Appended:
        """Append as one batch."""
        if self._dead:
            raise Refused(f"{to}: this writer failed before; close it and ask for another")
        if to in self._busy:
            raise RuntimeError(f"{to}: a second append before the first was acknowledged")
        size = sum(_size(record) for record in records)
        limit = (
            int(TOPICS[to.topic].config.get("max.message.bytes", MAX_BATCH_BYTES))
            if to.topic in TOPICS
            else MAX_BATCH_BYTES
        )
        if size > limit:
            self._dead = True
            raise Refused(f"{to}: {size} bytes don't fit into one batch: split them")
        self._busy.add(to)
        try:
            return await self._deliver(to, records)
        except BaseException as error:
            self._dead = True
            if isinstance(error, LogError) and not isinstance(error, Refused | Unknown):
                raise Refused(str(error)) from error
            raise
        finally:
            self._busy.discard(to)

    async def _deliver(self, to: Partition, records: Sequence[Record]) -> Appended:
        await asyncio.sleep(0)
        return self._log.write(to, records)

    async def close(self) -> None:
        """No more appends."""
        self._dead = True


def _size(record: Record) -> int:
    headers = sum(len(name) + len(value) for name, value in record.headers)
    return len(record.key or b"") + len(record.value or b"") + headers + _RECORD_OVERHEAD_BYTES


class MemoryReader:
    """Reads partitions in turn."""

    def __init__(self, log: MemoryLog, at: Mapping[Partition, int | None]) -> None:
        self._log = log
        self._at: dict[Partition, int] = {}
        self._order: list[Partition] | None = None  # of those that are read; None: to be found
        self._paused: set[Partition] = set()
        self._high_water: dict[Partition, int] = {}
        self._fetched_ms: dict[Partition, int] = {}
        for partition, offset in at.items():
            self.add(partition, offset)

    async def read(self, max_records: int, wait_ms: int) -> dict[Partition, list[Read]]:
        """What is there, waiting up to `wait_ms` for the first record."""
        await asyncio.sleep(0)
        read = self.take(max_records)
        if read or wait_ms <= 0:
            return read
        await self._growth(wait_ms / 1000)
        return self.take(max_records)

    async def _growth(self, wait_s: float) -> None:
        """Wait until one of the partitions grows, or that long."""
        loop = asyncio.get_running_loop()
        grown = loop.create_future()
        timer = loop.call_later(wait_s, _wake, grown)
        held = [self._log.held(one) for one in self._turns()]
        for one in held:
            one.waiting.append(grown)
        try:
            await grown
        finally:
            timer.cancel()
            for one in held:
                if grown in one.waiting:
                    one.waiting.remove(grown)

    def take(self, max_records: int) -> dict[Partition, list[Read]]:
        """What is there now, at most `max_records`; OutOfRange."""
        read: dict[Partition, list[Read]] = {}
        now_ms = self._log.now_ms()
        turns = self._turns()
        for turn, partition in enumerate(turns, 1):
            held, at = self._log.held(partition), self._at[partition]
            end = held.next
            if not held.first <= at <= end:
                raise OutOfRange(f"{partition}@{at} is no longer, or not yet, in the log")
            self._high_water[partition] = end
            self._fetched_ms[partition] = now_ms
            if at < end:
                at -= held.first
                records = read[partition] = held.records[at : at + max_records]
                max_records -= len(records)
                self._at[partition] = records[-1].offset + 1
            if not max_records:
                self._order = turns[turn:] + turns[:turn]
                break
        return read

    def _turns(self) -> list[Partition]:
        if self._order is None:
            self._order = sorted(self._at.keys() - self._paused)
        return self._order

    def add(self, partition: Partition, at: int | None) -> None:
        """Read this partition too."""
        self._order = None
        self._at[partition] = self._log.held(partition).first if at is None else at

    def remove(self, partition: Partition) -> None:
        """No longer read this partition."""
        self._order = None
        self._at.pop(partition, None)
        self._paused.discard(partition)

    def gather(self) -> None:
        """To read costs nothing here."""

    def pause(self, partitions: Iterable[Partition]) -> None:
        """Hold these back until `resume`."""
        self._order = None
        self._paused.update(partitions)

    def resume(self, partitions: Iterable[Partition]) -> None:
        """Go on with these."""
        self._order = None
        self._paused.difference_update(partitions)

    def high_water(self, partition: Partition) -> int | None:
        """The next offset to be written as of the newest read."""
        return self._high_water.get(partition)

    def fetched_ms(self, partition: Partition) -> int | None:
        """When the newest read looked at the partition."""
        return self._fetched_ms.get(partition)

    async def close(self) -> None:
        """Nothing to close."""


class _Members:
    """A group: its members in the order they joined, and its checkpoints."""

    def __init__(self) -> None:
        self.members: list[MemoryGroup] = []
        self.checkpoints: dict[Partition, Checkpoint] = {}

    def share_out(self) -> None:
        """Deal the partitions out; who has one keeps it up to a fair share."""
        wanted = sorted({one for member in self.members for one in member.wanted})
        if not self.members:
            return
        low, extra = divmod(len(wanted), len(self.members))
        shares: list[set[Partition]] = []
        for member in self.members:
            keep = sorted(member.assigned)[: low + (extra > 0)]
            extra -= len(keep) > low
            shares.append(set(keep))
        free = [one for one in wanted if not any(one in share for share in shares)]
        for one in free:
            min(shares, key=len).add(one)
        for member, share in zip(self.members, shares, strict=True):
            if member.assigned != share:
                member.assigned = frozenset(share)
                member.changed.set()


class MemoryGroup:
    """A membership of a group."""

    def __init__(self, group: _Members, wanted: Iterable[Partition]) -> None:
        self._group = group
        self.wanted = frozenset(wanted)
        self.assigned: frozenset[Partition] = frozenset()
        self.changed = asyncio.Event()
        self.generation = 0
        group.members.append(self)
        group.share_out()

    async def changes(self, timeout_s: float) -> frozenset[Partition]:
        """The partitions assigned to this member, when they change or after `timeout_s`."""
        with suppress(TimeoutError):
            async with asyncio.timeout(timeout_s):
                await self.changed.wait()
        self.generation += self.changed.is_set()
        self.changed.clear()
        return self.assigned

    async def load(self, partitions: Iterable[Partition]) -> dict[Partition, Checkpoint]:
        """The newest checkpoints; partitions without one are left out."""
        kept = self._group.checkpoints
        return {one: kept[one] for one in partitions if one in kept}

    async def save(self, checkpoints: Mapping[Partition, Checkpoint]) -> None:
        """Store checkpoints; LogError when a partition is, or was meanwhile, another member's."""
        if self.changed.is_set():
            raise LogError("the group's assignment has changed since: begin anew")
        lost = sorted(checkpoints.keys() - self.assigned)
        if lost:
            raise LogError(f"{lost[0]} is not assigned to this member of the group")
        for partition, kept in checkpoints.items():
            if len(kept.metadata.encode()) > MAX_METADATA_BYTES:
                raise LogError(
                    f"{partition}: the metadata has more than {MAX_METADATA_BYTES} bytes"
                )
        self._group.checkpoints.update(checkpoints)

    async def close(self) -> None:
        """Leave the group at once."""
        self.expel()

    def expel(self) -> None:
        """The group no longer counts on this member; it hears of it as of any change."""
        if self in self._group.members:
            self._group.members.remove(self)
            self.assigned = frozenset()
            self.changed.set()
            self._group.share_out()

    def rejoin(self) -> None:
        """The group counts on it again."""
        if self not in self._group.members:
            self._group.members.append(self)
            self._group.share_out()

    def give(self, partition: Partition, to: "MemoryGroup") -> None:
        """Another member gets one of this one's partitions."""
        self.assigned -= {partition}
        to.assigned |= {partition}
        self.changed.set()
        to.changed.set()
