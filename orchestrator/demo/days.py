"""Days of a shop in virtual time, as journals: real baskets, the demo's partners, the real core.

What the demo does against the clock happens here as fast as the core decides: its channel's orders,
its warehouses and its carrier, counts of shelves. The journals are written as the engine writes
them, and stand in a log in memory, with what came in where that is wanted: `pour` brings it all to
a broker, so that a day that has passed can be asked about.
"""

from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from heapq import heappop, heappush
from itertools import count, islice
from random import Random
from typing import Any, Final
from zlib import crc32

import orjson

from events.base import Fact
from events.decided import InputRecord
from events.network import MarketDefined
from events.orders import CancelledLine, OrderCancelRequested, OrderPlaced
from events.stock import StockCounted
from orchestrator.core import decide as core
from orchestrator.core.shard import Shard
from orchestrator.demo.baskets import Basket, Baskets
from orchestrator.demo.network import CURRENCY, MARKETS, Network
from orchestrator.demo.outbox import Outbox
from orchestrator.demo.partners import Carrier, Pace, Warehouses
from orchestrator.demo.supply import Stocking
from orchestrator.runtime.batches import batches
from orchestrator.runtime.intake import INTAKE_TOPICS
from orchestrator.runtime.memory_log import MemoryLog
from orchestrator.runtime.relay import publish
from schemas import journal
from schemas.cloudevents import emit
from schemas.journal import MAX_COMMIT_BYTES, Commit, FilterState
from schemas.ports import Checkpoint, EventLog, Partition, Read, Record
from schemas.times import rfc3339
from schemas.topics import TOPICS

START_MS: Final = 1_795_345_200_000  # 2026-11-22T11:00:00Z
SHARDS: Final = len(MARKETS)
SOURCE: Final = "demo/day"
_LEAD_MS: Final = 600_000  # network and stock come before the first order
_STEP_MS: Final = 20_000  # a commit takes in what came in the meantime
_BATCH: Final = 200  # orders whose stock is sent ahead of them
_PACE: Final = Pace(
    accept=(300.0, 1_800.0),
    ship=(3_600.0, 6 * 3_600.0),
    hand_over=(1_800.0, 7_200.0),
    deliver=(12 * 3_600.0, 60 * 3_600.0),
)
_CANCELLED: Final = 0.03
_CANCELLED_WHOLE: Final = 0.5  # of those; of the others one line is
_PROMISED: Final = 0.5
_COUNTED: Final = 0.02  # of the orders' first items, some hours later
_SETTLE_DAYS: Final = 14.0
_DAY_LINES: Final = 12  # an analyst's day has no baskets of a hundred
_JOINED_WITHIN_S: Final = 10.0
_SUPPLY_LATE_S: Final = (3_600.0, 24 * 3_600.0)


class VirtualClock:
    """Time that passes when it is told to."""

    def __init__(self, now_ms: int) -> None:
        self.ms = now_ms

    def now_ms(self) -> int:
        """Milliseconds since 1970 UTC."""
        return self.ms

    def monotonic(self) -> float:
        """Seconds."""
        return self.ms / 1_000

    async def sleep(self, seconds: float) -> None:
        """Let it pass."""
        self.ms += round(1_000 * seconds)


class _Collected(Outbox):
    """What partners send, for the next commit."""

    def __init__(self) -> None:
        self.facts: list[tuple[Fact, str]] = []

    def put(self, fact: Fact, event_id: str) -> None:
        """An event that happened now."""
        self.facts.append((fact, event_id))


class _Writer:
    """One shard: decides, and writes its journal."""

    def __init__(self, number: int, log: MemoryLog) -> None:
        self.number = number
        self.shard = Shard(number)
        self.log = log
        self.state = FilterState()
        self.inbox = 0
        self.append(journal.encode_opened(SOURCE, f"nonce-{number}"))

    def append(self, value: bytes) -> Commit | None:
        """Write a record; the commit that it is."""
        appended = self.log.write(Partition("journal", self.number), [Record(None, value)])
        record = journal.decode(value, appended.base_offset)
        self.state, _ = journal.step(self.state, appended.base_offset, record)
        return record if isinstance(record, Commit) else None

    def commit(self, now_ms: int, inputs: list[InputRecord]) -> list[Commit]:
        """Decide what came in, with the work that is due, as the engine does."""
        shard = self.shard
        entries: list[bytes] = []
        made: list[Commit] = []
        size = 0

        def take(record: InputRecord) -> None:
            nonlocal size
            encoded = journal.encode_entry(record, core.decide(shard, record))
            if size + len(encoded) > MAX_COMMIT_BYTES - 10_000:
                made.append(self._written(entries, shard.now_ms))
                entries.clear()
                size = 0
            entries.append(encoded)
            size += len(encoded) + 1

        if not inputs and not core.work_due(shard, now_ms):
            return []
        take(core.tick(now_ms))
        for record in [*inputs, None]:
            while core.work_due(shard, shard.now_ms):
                take(core.tick(shard.now_ms))
            if record is not None:
                self.inbox += 1
                take(record)
        made.append(self._written(entries, shard.now_ms))
        return made

    def _written(self, entries: list[bytes], now_ms: int) -> Commit:
        state = self.state
        value = journal.encode_commit(
            epoch=state.epoch,
            nonce=state.nonce,
            seq=state.seq + 1,
            inbox_from=state.inbox_next,
            inbox_next=self.inbox,
            prev=state.digest,
            now_ms=now_ms,
            entries=entries,
        )
        commit = self.append(value)
        if commit is None:
            raise AssertionError("a commit was written as no commit")
        return commit


@dataclass(frozen=True, slots=True)
class Shop:
    """What to make."""

    orders: int
    days: float = 2.0
    max_lines: int | None = 7
    seed: int = 7
    settle_days: float = 5.0  # after the last order
    start_ms: int = START_MS  # ten minutes before the first order


def make(
    shop: Shop,
    said: Callable[[int], None] = lambda _: None,
    inputs: Mapping[str, int] | None = None,
) -> MemoryLog:
    """The journals of such days; `said` hears how many orders were placed.

    `inputs`: partitions of the topics that inputs come from. With them inputs and inboxes are in
    the log too, else the journals alone.
    """
    return _Days(shop, inputs).run(said)


def day(
    first_ms: int,
    now_ms: int,
    orders: int,
    seed: int,
    inputs: Mapping[str, int],
    said: Callable[[int], None],
) -> MemoryLog:
    """The day that begins at `first_ms`, and what came of its orders in the days after it."""
    left = (now_ms - first_ms) / 86_400_000 - 1
    shop = Shop(
        orders, 1.0, _DAY_LINES, seed, min(_SETTLE_DAYS, left), first_ms - _LEAD_MS + _STEP_MS
    )
    return make(shop, said, inputs)


async def pour(made: MemoryLog, log: EventLog) -> None:
    """Bring all that a made log holds to the same topics of another, which are empty; LogError.

    Intake is told that it has taken all of it in.
    """
    writer = await log.writer()
    taken: dict[Partition, Checkpoint] = {}
    try:
        for topic, description in (await made.describe()).items():
            for number in range(description.partitions):
                partition = Partition(topic, number)
                held = made.held(partition).records
                for batch in batches(Record(one.key, one.value, one.headers) for one in held):
                    await writer.append(partition, batch)
                if topic in INTAKE_TOPICS and held:
                    taken[partition] = Checkpoint(len(held), "")
    finally:
        await writer.close()
    group = await log.group("intake", INTAKE_TOPICS)
    try:
        await group.changes(_JOINED_WITHIN_S)
        await group.save(taken)
    finally:
        await group.close()


class _Days:
    def __init__(self, shop: Shop, inputs: Mapping[str, int] | None) -> None:
        self.shop = shop
        self.inputs = inputs
        self.clock = VirtualClock(shop.start_ms)
        topics = {} if inputs is None else {**inputs, "inbox": SHARDS}
        self.log = MemoryLog(self.clock, {"journal": SHARDS, **topics})
        self.writers = [_Writer(number, self.log) for number in range(SHARDS)]
        self.outbox = _Collected()
        self.warehouses = Warehouses(self.outbox, self.clock, shop.seed, _PACE)
        self.carrier = Carrier(self.outbox, self.clock, shop.seed, _PACE)
        self.baskets = Baskets()
        self.network = Network(self.baskets.stores)
        self.markets = {
            fact.market_id: fact.shard or 0
            for fact in self.network.facts()
            if isinstance(fact, MarketDefined)
        }
        self.nodes = {one.node_id: self.markets[one.market_id] for one in self.network.nodes}
        self.chance = Random(shop.seed)  # noqa: S311  (a repeatable day is wanted)
        self.agenda: list[tuple[int, int, Callable[[], None]]] = []
        self.number = count()
        self.offsets: dict[Partition, int] = defaultdict(int)
        self.ids = count()

    def run(self, said: Callable[[int], None]) -> MemoryLog:
        shop, clock = self.shop, self.clock
        for fact in self.network.facts():
            self.outbox.put(fact, fact.record_key())
        self._step()
        every_ms = shop.days * 86_400_000 / shop.orders
        batches = self._batches()
        for number, basket in enumerate(batches):
            placed_ms = shop.start_ms + _LEAD_MS + round(number * every_ms)
            while clock.ms + _STEP_MS < placed_ms:
                clock.ms += _STEP_MS
                self._step()
            self._place(basket)
            if number % 1_000 == 0:
                said(number)
        clock.ms += _STEP_MS
        self._step()
        end_ms = clock.ms + round(shop.settle_days * 86_400_000)
        while clock.ms < end_ms:
            clock.ms += 15 * _STEP_MS
            self._step()
        return self.log

    def _batches(self) -> Iterator[Basket]:
        """Baskets, each batch's stock sent before its first order."""
        stocking = Stocking(self.network, self.shop.seed)
        most = self.shop.max_lines
        stream = (
            one
            for one in self.baskets.stream(self.shop.seed)
            if most is None or len(one.lines) <= most
        )
        left = self.shop.orders
        while left:
            some = list(islice(stream, min(left, _BATCH)))
            supply = stocking.supply(some)
            for fact in (*supply.items, *supply.receipts):
                self.outbox.put(fact, f"supply-{next(self.ids)}")
            for late in supply.later:
                self._after(self.chance.uniform(*_SUPPLY_LATE_S), late)
            yield from some
            left -= len(some)

    def _after(self, seconds: float, fact: Fact) -> None:
        due_ms = self.clock.ms + round(seconds * 1_000)
        put: Callable[[], None] = lambda: self.outbox.put(fact, f"late-{next(self.ids)}")  # noqa: E731
        heappush(self.agenda, (due_ms, next(self.number), put))

    def _place(self, basket: Basket) -> None:
        now = datetime.fromtimestamp(self.clock.ms / 1_000, UTC)
        store = self.network.stores[basket.store_id]
        promised = self.chance.random() < _PROMISED
        order = OrderPlaced(
            channel="web",
            market_id=store.market_id,
            order_id=basket.basket_id,
            placed_at=now,
            currency=CURRENCY,
            ship_to=self.network.home_of(basket.household_id, basket.store_id),
            deliver_by=(now + timedelta(days=self.chance.randint(2, 5))).date()
            if promised
            else None,
            lines=basket.order_lines(),
        )
        self.outbox.put(order, f"order-{basket.basket_id}")
        if self.chance.random() < _CANCELLED:
            part = None if self.chance.random() < _CANCELLED_WHOLE else [CancelledLine(line_id="1")]
            cancel = OrderCancelRequested(
                channel="web",
                market_id=store.market_id,
                order_id=basket.basket_id,
                reason="changed their mind",
                lines=part,
            )
            self._after(self.chance.uniform(30, 7_200), cancel)
        if self.chance.random() < _COUNTED:
            self._count(store.node_id, basket.lines[0].item.sku)

    def _count(self, node_id: str, sku: str) -> None:
        """Some hours later somebody counts, and may find a unit more or fewer."""
        shard = self.writers[self.nodes[node_id]].shard
        off = self.chance.choice((-1, 0, 0, 1))

        def counted() -> None:
            there = shard.stock(shard.nodes[node_id], sku).on_hand
            fact = StockCounted(node_id=node_id, sku=sku, counted=max(0, there + off))
            self.outbox.put(fact, f"count-{next(self.ids)}")

        due_ms = self.clock.ms + round(self.chance.uniform(3_600, 86_400) * 1_000)
        heappush(self.agenda, (due_ms, next(self.number), counted))

    def _step(self) -> None:
        """What happened since: into commits, and on to the partners."""
        while self.agenda and self.agenda[0][0] <= self.clock.ms:
            heappop(self.agenda)[2]()
        self.warehouses._agenda.do_what_is_due()  # noqa: SLF001 - its loop is here
        self.carrier._agenda.do_what_is_due()  # noqa: SLF001 - the same
        facts, self.outbox.facts = self.outbox.facts, []
        inputs: dict[int, list[InputRecord]] = {number: [] for number in range(SHARDS)}
        for fact, id_ in facts:
            record = self._input(fact, id_)
            for number in self._shards(fact):
                inputs[number].append(record)
                if self.inputs is not None:
                    self.log.write(Partition("inbox", number), [Record(None, orjson.dumps(record))])
        for number, writer in enumerate(self.writers):
            for commit in writer.commit(self.clock.ms, inputs[number]):
                self._publish(number, commit)

    def _shards(self, fact: Fact) -> list[int]:
        market_id = getattr(fact, "market_id", None)
        if market_id is not None:
            return [self.markets[market_id]]
        node_id = getattr(fact, "node_id", None)
        return [self.nodes[node_id]] if node_id is not None else list(range(SHARDS))

    def _input(self, fact: Fact, id_: str) -> InputRecord:
        """As intake takes it in."""
        key = fact.record_key().encode()
        number = crc32(key) % (self.inputs or {}).get(fact.TOPIC, 1)
        origin = Partition(fact.TOPIC, number)
        offset = self.offsets[origin]
        self.offsets[origin] += 1
        value = fact.model_dump_json(exclude_defaults=True).encode()
        if self.inputs is not None:
            headers = emit(fact.TYPE, id_, SOURCE, rfc3339(self.clock.ms))
            self.log.write(origin, [Record(key, value, headers)])
        return {
            "type": fact.TYPE,
            "version": 1,
            "id": id_,
            "source": SOURCE,
            "time_ms": self.clock.ms,
            "origin": [fact.TOPIC, number, offset, self.clock.ms],
            "data": orjson.loads(value),
        }

    def _publish(self, number: int, commit: Commit) -> None:
        outgoing: dict[Partition, list[Record]] = defaultdict(list)
        publish(commit, number, dict.fromkeys(TOPICS, 1), outgoing)
        takers: dict[str, Callable[[Read], Any]] = {
            "fulfillment-commands": self.warehouses.take,
            "order-updates": self.carrier.take,
        }
        for to, records in outgoing.items():
            take = takers.get(to.topic)
            if take is None:
                continue
            for record in records:
                take(Read(0, self.clock.ms, record.key, record.value, record.headers))
