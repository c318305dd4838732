"""Intake: from the public input topics to the shards' inboxes, or to `rejected` with the reason."""

import asyncio
from collections import defaultdict
from collections.abc import Mapping, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from hashlib import blake2b
from typing import Final

import orjson
import structlog

from events.base import Fact
from events.network import MarketDefined, NodeDefined
from orchestrator.runtime.batches import Acknowledged, batches, size_of
from orchestrator.runtime.metrics import READER_LAG, REJECTED, TAKEN, forget
from orchestrator.runtime.replica import Slices
from orchestrator.runtime.taken import Taken, taken
from orchestrator.runtime.whole import Whole
from schemas import inbox
from schemas.cloudevents import Accepted, Code, Rejected, UnknownFields, read
from schemas.journal import JournalError
from schemas.ports import (
    Checkpoint,
    Clock,
    EventLog,
    Group,
    LogError,
    MembershipEnded,
    OutOfRange,
    Partition,
    Read,
    Reader,
    Record,
    TopicDescription,
    Writer,
)
from schemas.silence import Silence
from schemas.topics import TOPICS, endangered

INTAKE_TOPICS: Final = ("network", "orders", "stock", "carriers")
"""What the group's members share out among them."""
NETWORK: Final = Partition("network", 0)
LEFT_OUT: Final = "headrace_left_out"
"""The header of a rejection that is too large to be kept whole: how many bytes it takes."""

_MAX_RECORDS = 500  # of one cycle: some 15 ms of decoding before others get their turn
_IDLE_WAIT_MS = 200  # a new assignment or a stop is noticed after it
_BUSY_WAIT_MS = 20  # while a partition waits for master data, or positions for being saved
_SAVE_EVERY_S = 0.02  # positions of less than this are saved together
_RETRY_S = 1.0
_BATCH_HEAD_BYTES = 1_024  # around one record, and what compression may add to what it can't shrink
_HEADER_HEAD_BYTES = 10  # the lengths before a header's name and value
_READ_AGAIN = 2 * _MAX_RECORDS  # more than one cycle takes; shards remember as many of each origin
_TOLD_SHARDS = 150  # as many offsets of 19 digits fit into MAX_METADATA_BYTES
_PLACES_UNKNOWN = frozenset({Code.UNKNOWN_MARKET, Code.UNKNOWN_NODE})

_log = structlog.get_logger()


class IntakeError(Exception):
    """Intake can't go on without a person. The message says what to do."""


def shard_of(market_id: str, shards: int) -> int:
    """Where a market lives whose definition names no shard. It never changes."""
    digest = blake2b(market_id.encode(), digest_size=8).digest()
    return int.from_bytes(digest, "big") % shards


class Routes:
    """Market → shard and node → market: a fold of `network`.

    The first valid definition fixes them for ever. A node that is defined before its market counts
    if the market follows within `wait_ms` of it.
    """

    def __init__(self, shards: int, wait_ms: int, unknown_fields: UnknownFields) -> None:
        self.next = 0
        """The offset of `network` up to which this is the fold."""
        self._shards = shards
        self._wait_ms = wait_ms
        self._unknown_fields = unknown_fields
        self._markets: dict[str, int] = {}
        self._nodes: dict[str, str] = {}
        self._early: dict[str, list[tuple[str, int]]] = {}

    def learn(self, record: Read) -> None:
        """Take the next record of `network`."""
        self.next = record.offset + 1
        event = read(
            NETWORK.topic, record.value, record.headers, unknown_fields=self._unknown_fields
        )
        if not isinstance(event, Accepted):
            return
        fact = event.model
        if isinstance(fact, NodeDefined):
            if fact.market_id in self._markets:
                self._nodes.setdefault(fact.node_id, fact.market_id)
            else:
                early = self._early.setdefault(fact.market_id, [])
                early.append((fact.node_id, record.timestamp_ms))
        elif isinstance(fact, MarketDefined) and fact.market_id not in self._markets:
            shard = shard_of(fact.market_id, self._shards) if fact.shard is None else fact.shard
            if shard < self._shards:
                self._markets[fact.market_id] = shard
                for node_id, at_ms in self._early.pop(fact.market_id, ()):
                    if record.timestamp_ms <= at_ms + self._wait_ms:
                        self._nodes.setdefault(node_id, fact.market_id)

    def place(self, fact: Fact) -> Sequence[int] | Rejected:
        """The shards that an input concerns, or why none; an unknown place may become known."""
        if isinstance(fact, MarketDefined):
            return self._place_market(fact)
        if isinstance(fact, NodeDefined):
            return self._place_node(fact)
        market_id: str | None = getattr(fact, "market_id", None)
        if market_id is None:
            node_id: str | None = getattr(fact, "node_id", None)
            if node_id is None:
                return range(self._shards)  # items, and tracking that names no market
            market_id = self._nodes.get(node_id)
            if market_id is None:
                return Rejected(
                    Code.UNKNOWN_NODE,
                    f'node_id: no node "{node_id}" is defined: send its node_defined, then this'
                    " again with a new id",
                )
        shard = self._markets.get(market_id)
        return _unknown_market(market_id) if shard is None else (shard,)

    def _place_node(self, fact: NodeDefined) -> Sequence[int] | Rejected:
        home = self._nodes.get(fact.node_id)
        if home is None:
            return _unknown_market(fact.market_id)
        if home != fact.market_id:
            return Rejected(
                Code.INVALID_DATA,
                f'market_id: node "{fact.node_id}" belongs to market "{home}" for ever, was'
                f' "{fact.market_id}": define another node',
            )
        return (self._markets[home],)

    def _place_market(self, fact: MarketDefined) -> Sequence[int] | Rejected:
        if fact.shard is not None and fact.shard >= self._shards:
            return Rejected(
                Code.INVALID_DATA,
                f"shard: must be below {self._shards}, the number of shards, was {fact.shard}",
            )
        home = self._markets.get(fact.market_id)
        if home is None:
            return _unknown_market(fact.market_id)
        if fact.shard not in {None, home}:
            return Rejected(
                Code.INVALID_DATA,
                f'shard: market "{fact.market_id}" lives on shard {home} for ever, was'
                f" {fact.shard}: leave it out, or define another market",
            )
        return (home,)


def _unknown_market(market_id: str) -> Rejected:
    return Rejected(
        Code.UNKNOWN_MARKET,
        f'market_id: no market "{market_id}" is defined: send its market_defined, then this again'
        " with a new id",
    )


@dataclass(frozen=True, slots=True)
class Intake:
    """The role.

    Any number of instances share the work: the group says who takes which partitions, and each
    reads the whole of `network` for its routes. `wait_s`: how long after a record was written its
    unknown market or node may still become known.
    """

    log: EventLog
    group: Group
    clock: Clock
    shards: int
    wait_s: float = 10.0
    unknown_fields: UnknownFields = "refuse"
    _states: dict[str, str] = field(default_factory=dict, init=False)

    def state(self) -> str:
        """Opening, open, or pausing after a failure."""
        return self._states.get("intake", "opening")

    async def run(self, stop: asyncio.Event) -> None:
        """Work until `stop`; IntakeError when a person has to act, MembershipEnded.

        1. Read `network` to its end, so that routes are known before anything is taken in.
        2. Take records of the assigned partitions, from the group's saved offsets on.
        3. Append what is valid to the inboxes and the rest to `rejected`: one batch a partition in
           flight, all acknowledgements awaited.
        4. Only then save the offsets, with the inbox positions reached; go on at 2.

        Any failure drops the writer and begins anew at the saved offsets: the marks that shards
        keep make the repeats harmless. What a partition acknowledged while another failed is not
        brought there again by this process: where one takes nothing for an hour, the others' books
        don't fill with repeats.
        """
        routes = Routes(self.shards, round(self.wait_s * 1000), self.unknown_fields)
        reached: dict[int, int] = {}
        acknowledged = Acknowledged()
        while not stop.is_set():
            try:
                async with AsyncExitStack() as stack:
                    session = await self._open(stack, routes, reached, acknowledged)
                    while not stop.is_set():
                        await session.follow_assignment()
                        if await session.cycle():
                            self._states["intake"] = "open"
                    await session.save()
            except OutOfRange as error:
                raise IntakeError(
                    f"intake halts: {error}. Records may be gone that were never taken in: look at"
                    " the topic's retention, then set the offsets of intake's consumer group; if"
                    " the topic was made anew, accept its new life with `headrace topics accept`"
                ) from error
            except MembershipEnded:
                raise  # the group would be the same one after any pause
            except LogError as error:
                self._states["intake"] = "pausing"
                _log.warning("intake begins anew at its saved offsets", error=str(error))
                await self.clock.sleep(_RETRY_S)

    async def _open(
        self,
        stack: AsyncExitStack,
        routes: Routes,
        reached: dict[int, int],
        acknowledged: Acknowledged,
    ) -> "_Session":
        topics = await self.log.describe()
        if "rejected" not in topics:
            raise LogError("the topic rejected is missing: run `headrace topics create`")
        if what := endangered(topics, "network", "inbox"):
            raise IntakeError(f"intake halts: {what}")
        writer = await self.log.writer()
        stack.push_async_callback(writer.close)
        reader = await self.log.reader({})
        reader.gather()
        stack.push_async_callback(reader.close)
        network = await self.log.reader({NETWORK: routes.next or None})
        stack.push_async_callback(network.close)
        session = _Session(
            self, routes, reached, acknowledged, writer, reader, network, topics["rejected"]
        )
        stack.push_async_callback(session.abandon)
        await session.read_network_to_its_end()
        return session


class _Session:
    """From one failure to the next: a writer, readers, and what is on its way through."""

    def __init__(
        self,
        role: Intake,
        routes: Routes,
        inbox_next: dict[int, int],
        acknowledged: Acknowledged,
        writer: Writer,
        reader: Reader,
        network: Reader,
        rejected: TopicDescription,
    ) -> None:
        """`inbox_next`: for each shard the end of what was ever appended; it is added to here."""
        self._role = role
        self._routes = routes
        self._inbox_next = inbox_next
        self._acknowledged = acknowledged
        self._writer = writer
        self._reader = reader
        self._network = network
        self._rejected = rejected
        self._most_bytes = _most_bytes(rejected)
        self._assigned: frozenset[Partition] = frozenset()
        self._generation = -1
        self._position: dict[Partition, int] = {}  # the offset that is taken next
        self._held: dict[Partition, list[Read]] = {}
        self._unsaved: dict[Partition, int] = {}
        self._taken: dict[Partition, Taken] | None = None
        self._saving: asyncio.Task[None] | None = None
        self._saved_at = float("-inf")
        self._network_at_end = False  # as of after this cycle's records

    async def read_network_to_its_end(self) -> None:
        """Learn all that `network` holds at this moment."""
        end = (await self._role.log.bounds(NETWORK)).next
        silence = Silence(self._network, NETWORK, end)
        while self._routes.next < end:
            if await self._learn(_IDLE_WAIT_MS):
                silence.broken()
            elif silence.is_the_end():
                break

    async def _learn(self, wait_ms: int) -> bool:
        records = (await self._network.read(_MAX_RECORDS, wait_ms)).get(NETWORK, [])
        for record in records:
            self._routes.learn(record)
        return bool(records)

    async def follow_assignment(self) -> None:
        """Begin with partitions that are new here, let go of those that no longer are.

        What is assigned again may have been another member's in between: where that one got
        further, it is begun anew there.
        """
        group = self._role.group
        assigned = await group.changes(0)
        if (assigned, group.generation) == (self._assigned, self._generation):
            return
        generation = group.generation
        for partition in sorted(self._assigned - assigned):
            self._let_go(partition)
            forget(READER_LAG, "intake", *map(str, partition))
        saved = await group.load(sorted(assigned))
        for partition in sorted(self._assigned & assigned):
            if partition in saved and saved[partition].offset > self._position[partition]:
                self._let_go(partition)
        new = sorted(assigned - self._position.keys())
        begun = {one: Checkpoint(await self._beginning(one), "") for one in new if one not in saved}
        if begun:  # saved before anything is taken in: only then a missing offset says something
            await group.save(begun)
        saved |= begun
        for partition in new:
            checkpoint = saved[partition]
            self._reader.add(partition, checkpoint.offset)
            self._position[partition] = checkpoint.offset
            for shard, offset in _inbox_positions(checkpoint).items():
                self._inbox_next[shard] = max(offset, self._inbox_next.get(shard, 0))
        self._assigned, self._generation = assigned, generation
        _log.info("intake works on", partitions=[f"{p.topic}/{p.number}" for p in sorted(assigned)])

    def _let_go(self, partition: Partition) -> None:
        self._reader.remove(partition)
        self._position.pop(partition, None)
        self._held.pop(partition, None)
        self._unsaved.pop(partition, None)

    async def _beginning(self, partition: Partition) -> int:
        """Where to begin in a partition of which no offset is saved; IntakeError where unknown.

        1. What was never written to, and what no inbox or journal has anything of: at its first.
        2. Else the offset expired, or somebody deleted it: a little before the newest record that
           was taken, since the last ones may not have reached every shard. Repeats are told by the
           shards. It must still be the record that it was.
        """
        where = f"{partition.topic}/{partition.number}"
        first, end = await self._role.log.bounds(partition)
        if end == 0:
            return 0
        known = (await self._taken_so_far()).get(partition)
        if known is None:
            return first
        if known.offset < first - 1:
            raise IntakeError(
                f"intake halts: of {where} no offset is saved, the newest record taken in is"
                f" {known.offset}, and the topic begins at {first} by now. Records may be gone that"
                " were never taken in: look at the topic's retention, then set the offsets of"
                " intake's consumer group"
            )
        if known.offset >= first and not await self._stands(partition, known):
            raise IntakeError(
                f"intake halts: {where}@{known.offset} is not the record that was taken in, or is"
                f" not there: the topic {partition.topic} was made anew. If that is so, accept its"
                f" new life with `headrace topics accept {partition.topic} --reason TEXT --by NAME`"
            )
        begins = max(first, known.offset + 1 - _READ_AGAIN)
        _log.warning(
            "no offset is saved: intake begins a little before what it took in last",
            partition=where,
            begins=begins,
            taken=known.offset,
        )
        return begins

    async def _taken_so_far(self) -> dict[Partition, Taken]:
        if self._taken is None:
            log, shards = self._role.log, range(self._role.shards)
            inboxes = [await log.bounds(Partition("inbox", shard)) for shard in shards]
            if any(one.next for one in inboxes):
                _log.warning("offsets are missing: intake reads inboxes and journals to find them")
                try:
                    self._taken = await taken(log, self._role.shards)
                except JournalError as error:
                    raise IntakeError(f"intake halts: {error}") from error
            else:
                self._taken = {}
        return self._taken

    async def _stands(self, partition: Partition, known: Taken) -> bool:
        """Whether the record that was taken in last still stands where it stood."""
        try:
            async with Whole(self._role.log, partition, known.offset) as reading:
                async for reads in reading:
                    event = read(
                        partition.topic,
                        reads[0].value,
                        reads[0].headers,
                        unknown_fields=self._role.unknown_fields,
                    )
                    return (
                        reads[0].offset == known.offset
                        and isinstance(event, Accepted)
                        and (event.source, event.id) == (known.source, known.id)
                    )
        except OutOfRange as error:
            raise LogError(f"{partition} was trimmed while it was looked at: {error}") from error
        return False

    async def cycle(self) -> bool:
        """Take what is there, bring it where it belongs, and note how far that is.

        Whether it brought something, or nothing is left to take: intake works.
        """
        taken, waited = self._held, frozenset(self._held)
        slices = Slices(self._role.clock)
        wait_ms = _BUSY_WAIT_MS if waited or self._unsaved else _IDLE_WAIT_MS
        for partition, records in (await self._reader.read(_MAX_RECORDS, wait_ms)).items():
            taken.setdefault(partition, []).extend(records)
        await self._learn(0)
        self._network_at_end = False
        self._held = {}
        out: dict[Partition, list[Record]] = defaultdict(list)
        reached: dict[Partition, int] = {}
        for partition in sorted(taken, key=lambda one: (one != NETWORK, one)):
            records = taken[partition]  # master data first, so that shards have less to park
            for index, record in enumerate(records):
                try:
                    settled = await self._settle(partition, record, out)
                except Exception as error:
                    error.add_note(
                        f"intake was at {partition.topic}/{partition.number}@{record.offset}"
                    )
                    raise
                if not settled:
                    self._held[partition] = records[index:]
                    break
                reached[partition] = record.offset + 1
                await slices.between()  # a record may be of 1,000 lines
        self._reader.pause(self._held.keys() - waited)
        self._reader.resume(waited - self._held.keys())
        await self._append(out)
        self._unsaved |= reached
        self._position |= reached
        for partition, offset in reached.items():
            end = self._reader.high_water(partition) or offset
            READER_LAG.labels("intake", *map(str, partition)).set(max(end - offset, 0))
        await self._save_when_due()
        return bool(reached) or all(
            self._reader.high_water(one) is not None for one in self._assigned
        )

    async def _settle(
        self, origin: Partition, record: Read, out: dict[Partition, list[Record]]
    ) -> bool:
        """Add the record to what goes out; False when it has to wait for master data."""
        if origin == NETWORK and self._routes.next <= record.offset:
            return False
        event = read(
            origin.topic, record.value, record.headers, unknown_fields=self._role.unknown_fields
        )
        if isinstance(event, Accepted):
            place = self._routes.place(event.model)
            if isinstance(place, Rejected) and place.code in _PLACES_UNKNOWN:
                if self._role.clock.now_ms() < record.timestamp_ms + self._role.wait_s * 1000:
                    return False
                if not self._network_at_end:
                    await self.read_network_to_its_end()
                    self._network_at_end = True
                place = self._routes.place(event.model)
            if not isinstance(place, Rejected):
                value = _inbox_value(event, origin, record)
                for shard in place:
                    out[Partition("inbox", shard)].append(Record(None, value))
                TAKEN.labels(event.type).inc()
                return True
            event = place
        number = origin.number % self._rejected.partitions
        rejection = _rejection(origin, record, event, self._most_bytes)
        out[Partition("rejected", number)].append(rejection)
        REJECTED.labels(event.code).inc()
        _log.info(
            "rejected",
            reason=event.code,
            at=f"{origin.topic}/{origin.number}@{record.offset}",
        )
        return True

    async def _append(self, out: Mapping[Partition, Sequence[Record]]) -> None:
        """Bring everything to its partition, all partitions at once; all are awaited."""
        taken: list[tuple[Partition, Sequence[Record]]] = []
        outcomes = await asyncio.gather(
            *(self._append_to(to, records, taken) for to, records in out.items()),
            return_exceptions=True,
        )
        for outcome in outcomes:
            if outcome is not None:
                self._acknowledged.remember(taken)
                raise outcome
        self._acknowledged.forget(out.items())

    async def _append_to(
        self,
        to: Partition,
        records: Sequence[Record],
        taken: list[tuple[Partition, Sequence[Record]]],
    ) -> None:
        for batch in batches(self._acknowledged.lacking(to, records)):
            appended = await self._writer.append(to, batch)
            taken.append((to, batch))
            if to.topic == "inbox":
                self._inbox_next[to.number] = appended.base_offset + len(batch)

    async def _save_when_due(self) -> None:
        """Save the positions reached, while the next cycle goes on."""
        if self._saving is not None:
            if not self._saving.done():
                return
            saving, self._saving = self._saving, None
            await saving
        now = self._role.clock.monotonic()
        if self._unsaved and now >= self._saved_at + _SAVE_EVERY_S:
            self._saved_at = now
            self._saving = asyncio.create_task(self._role.group.save(self._checkpoints()))

    async def save(self) -> None:
        """Save what is not saved yet, and see it done."""
        if self._saving is not None:
            saving, self._saving = self._saving, None
            await saving
        if self._unsaved:
            await self._role.group.save(self._checkpoints())

    async def abandon(self) -> None:
        """Leave nothing running, and nothing told that is no longer known."""
        for partition in self._assigned:
            forget(READER_LAG, "intake", *map(str, partition))
        if self._saving is not None:
            self._saving.cancel()
            await asyncio.gather(self._saving, return_exceptions=True)

    def _checkpoints(self) -> dict[Partition, Checkpoint]:
        metadata = told(self._inbox_next, self._role.shards)
        unsaved, self._unsaved = self._unsaved, {}
        return {partition: Checkpoint(offset, metadata) for partition, offset in unsaved.items()}


def told(inbox_next: Mapping[int, int], shards: int) -> str:
    """What is saved with an offset: for each shard the end of its inbox, as far as it is known.

    Empty with more shards than a broker takes the positions of, however far they get: who asks for
    them looks at the inboxes themselves.
    """
    if shards > _TOLD_SHARDS:
        return ""
    return orjson.dumps(
        {"inbox": {str(shard): inbox_next[shard] for shard in sorted(inbox_next)}}
    ).decode()


def _inbox_positions(checkpoint: Checkpoint) -> dict[int, int]:
    if not checkpoint.metadata:
        return {}
    positions: dict[str, int] = orjson.loads(checkpoint.metadata)["inbox"]
    return {int(shard): offset for shard, offset in positions.items()}


def _inbox_value(event: Accepted, origin: Partition, record: Read) -> bytes:
    return inbox.encode(
        type_=event.type,
        version=event.version,
        id_=event.id,
        source=event.source,
        time_ms=event.time_ms,
        origin=(origin.topic, origin.number, record.offset, record.timestamp_ms),
        data=event.data,
    )


def _most_bytes(rejected: TopicDescription) -> int:
    """The largest record, uncompressed, that `rejected` is sure to take."""
    setting = "max.message.bytes"
    made_with = TOPICS["rejected"].config[setting]
    return min(int(made_with), int(rejected.config.get(setting, made_with))) - _BATCH_HEAD_BYTES


def _rejection(origin: Partition, record: Read, why: Rejected, most_bytes: int) -> Record:
    """The record as it was, with the reason; of one that `rejected` can't take, the reason alone.

    Input topics may allow larger records. Where it stands is told as well.
    """
    said = [
        ("headrace_reason", why.code.encode()),
        ("headrace_detail", why.detail.encode()),
        ("headrace_topic", origin.topic.encode()),
        ("headrace_partition", str(origin.number).encode()),
        ("headrace_offset", str(record.offset).encode()),
    ]
    headers = [(name, raw or b"") for name, raw in record.headers]
    whole = Record(record.key, record.value, headers + said)
    size = size_of(whole) + _HEADER_HEAD_BYTES * len(whole.headers)
    if size <= most_bytes:
        return whole
    said.append((LEFT_OUT, str(size).encode()))
    kept = Record(record.key, None, headers + said)
    if size_of(kept) + _HEADER_HEAD_BYTES * len(kept.headers) <= most_bytes:
        return kept
    return Record(None, None, said)
