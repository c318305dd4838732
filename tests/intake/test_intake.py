"""Intake over the memory log: what reaches which inbox, what is rejected, what bad days do."""

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import Any

import orjson
import pytest
from structlog.testing import capture_logs

from events.decided import InputRecord
from events.inputs import INPUTS
from orchestrator.runtime.intake import INTAKE_TOPICS, Intake, IntakeError, shard_of, told
from orchestrator.runtime.memory_log import MemoryGroup, MemoryLog, MemoryWriter, _Members
from orchestrator.runtime.world import SystemClock
from schemas import inbox
from schemas.cloudevents import UnknownFields, emit
from schemas.ports import (
    MAX_BATCH_BYTES,
    MAX_METADATA_BYTES,
    Appended,
    Checkpoint,
    MembershipEnded,
    Partition,
    Record,
    Unknown,
    Writer,
)
from tests.runtime.fakes import Careless, Ending, PassingLog, metric

SHARDS = 4
ORDERS = Partition("orders", 0)
TIME = "2026-01-31T12:00:00Z"
TOPICS = {
    "network": 1,
    "orders": 2,
    "stock": 2,
    "carriers": 2,
    "inbox": SHARDS,
    "rejected": 2,
    "journal": SHARDS,
}
DEADLINE_S = 5.0


class SettableClock:
    """A clock that stands until it is set; sleeping gives way to others."""

    def __init__(self) -> None:
        self.ms = 1_000_000

    def now_ms(self) -> int:
        return self.ms

    def monotonic(self) -> float:
        return self.ms / 1000

    async def sleep(self, seconds: float) -> None:
        self.ms += round(seconds * 1000)
        await asyncio.sleep(0)


class BadDays(PassingLog):
    """A log whose next appends to a topic have an unknown outcome, landed or not."""

    def __init__(self, log: MemoryLog) -> None:
        super().__init__(log)
        self.landed_then_lost: list[str] = []
        self.lost: list[str] = []
        self.lost_after: dict[str, int] = {}  # so many appends to a topic are taken, one is lost
        self.down: set[Partition] = set()  # take nothing
        self.tried: list[Partition] = []
        self.writers = 0

    async def writer(self) -> Writer:
        self.writers += 1
        return _BadWriter(self, await self.log.writer())


class _BadWriter:
    def __init__(self, days: BadDays, writer: MemoryWriter) -> None:
        self._days = days
        self._writer = writer

    async def append(self, to: Partition, records: Sequence[Record]) -> Appended:
        self._days.tried.append(to)
        if to in self._days.down:
            raise Unknown(f"{to}: no leader")
        if to.topic in self._days.lost_after:
            self._days.lost_after[to.topic] -= 1
            if self._days.lost_after[to.topic] < 0:
                del self._days.lost_after[to.topic]
                raise Unknown(f"{to}: no answer")
        if to.topic in self._days.lost:
            self._days.lost.remove(to.topic)
            raise Unknown(f"{to}: no answer")
        appended = await self._writer.append(to, records)
        if to.topic in self._days.landed_then_lost:
            self._days.landed_then_lost.remove(to.topic)
            raise Unknown(f"{to}: no answer, but it landed")
        return appended

    async def close(self) -> None:
        await self._writer.close()


class World:
    """A log with intake's topics, and hands to write and look."""

    def __init__(self) -> None:
        self.clock = SettableClock()
        self.log = MemoryLog(self.clock, TOPICS)
        self.days = BadDays(self.log)
        self.sent = 0

    def write(
        self,
        topic: str,
        value: bytes | None,
        headers: Sequence[tuple[str, bytes]],
        *,
        key: bytes | None = b"k",
        partition: int = 0,
    ) -> int:
        record = Record(key, value, headers)
        return self.log.write(Partition(topic, partition), [record]).base_offset

    def send(self, type_: str, data: Mapping[str, object], *, partition: int = 0) -> int:
        self.sent += 1
        headers = emit(type_, f"id-{self.sent}", "test", TIME)
        topic = INPUTS[type_].TOPIC
        return self.write(topic, orjson.dumps(data), headers, partition=partition)

    def market(self, market_id: str, **more: object) -> int:
        data = {"market_id": market_id, "currency": "USD", "time_zone": "UTC", **more}
        return self.send("market_defined", data)

    def node(self, node_id: str, market_id: str) -> int:
        data = {"node_id": node_id, "market_id": market_id, "kind": "warehouse", "name": node_id}
        return self.send("node_defined", {**data, "address": {"country": "US"}})

    def order(self, order_id: str, market_id: str, *, partition: int = 0, **more: object) -> int:
        return self.send(
            "order_placed",
            {
                "channel": "web",
                "market_id": market_id,
                "order_id": order_id,
                "placed_at": TIME,
                "currency": "USD",
                "ship_to": {"country": "US"},
                "lines": [{"line_id": "1", "sku": "A", "quantity": 1}],
                **more,
            },
            partition=partition,
        )

    def received(self, node_id: str, *, partition: int = 0) -> int:
        data = {"node_id": node_id, "sku": "A", "quantity": 1}
        return self.send("stock_received", data, partition=partition)

    def inbox(self, shard: int) -> list[InputRecord]:
        records = self.log.held(Partition("inbox", shard)).records
        return [inbox.decode(record.value or b"") for record in records]

    def taken(self) -> list[tuple[int, str]]:
        return [(shard, one["type"]) for shard in range(SHARDS) for one in self.inbox(shard)]

    def origins(self) -> list[tuple[Any, ...]]:
        """(shard, topic, partition, offset) of everything in the inboxes, in each shard's order."""
        return [(shard, *one["origin"][:3]) for shard in range(SHARDS) for one in self.inbox(shard)]

    def rejected(self) -> list[dict[str, str]]:
        return [
            {name: raw.decode(errors="replace") for name, raw in record.headers}
            for number in range(TOPICS["rejected"])
            for record in self.log.held(Partition("rejected", number)).records
        ]

    def reasons(self) -> list[str]:
        return [headers["headrace_reason"] for headers in self.rejected()]

    async def checkpoints(self) -> dict[Partition, Checkpoint]:
        every = [
            Partition(topic, number) for topic in INTAKE_TOPICS for number in range(TOPICS[topic])
        ]
        return await self.log.saved("intake", every)

    @asynccontextmanager
    async def intake(
        self, *, unknown_fields: UnknownFields = "refuse"
    ) -> AsyncIterator[tuple[MemoryGroup, asyncio.Task[None]]]:
        group = await self.log.group("intake", INTAKE_TOPICS)
        role = Intake(self.days, group, self.clock, shards=SHARDS, unknown_fields=unknown_fields)
        stop = asyncio.Event()
        task = asyncio.create_task(role.run(stop))
        try:
            yield group, task
            stop.set()
            await task
        finally:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)
            await group.close()

    async def run_until(self, done: Callable[[], bool]) -> None:
        async with self.intake():
            await until(done)


async def until(done: Callable[[], bool]) -> None:
    async with asyncio.timeout(DEADLINE_S):
        while not done():
            await asyncio.sleep(0.002)


@pytest.fixture
def world() -> World:
    return World()


async def test_each_input_goes_to_the_shards_it_concerns(world: World) -> None:
    world.market("us", shard=1)
    world.market("eu", shard=3)
    world.node("BOS", "us")
    world.node("BER", "eu")
    world.send("item_defined", {"sku": "A", "name": "a"})
    world.order("1", "us")
    world.received("BER")
    tracked = {"carrier": "c", "tracking_number": "1", "status": "lost", "at": TIME}
    world.send("tracking_updated", tracked)
    world.send("tracking_updated", {**tracked, "market_id": "us"})
    row = {"postal_code": "02108", "lat": 42.4, "lon": -71.1}
    places = {"country": "US", "version": "1", "chunk": 1, "chunks": 1, "rows": [row]}
    world.send("places_defined", places)
    world.send("lane_suspended", {"market_id": "us", "carrier": "c", "reason": "storm"})
    await world.run_until(lambda: len(world.taken()) == 20)
    assert sorted(world.taken()) == sorted(
        [
            (1, "market_defined"),
            (3, "market_defined"),
            (1, "node_defined"),
            (3, "node_defined"),
            *((shard, "item_defined") for shard in range(SHARDS)),
            (1, "order_placed"),
            (3, "stock_received"),
            *((shard, "tracking_updated") for shard in range(SHARDS)),
            (1, "tracking_updated"),
            *((shard, "places_defined") for shard in range(SHARDS)),
            (1, "lane_suspended"),
        ]
    )
    assert world.reasons() == []


async def test_an_inbox_record_says_where_it_came_from(world: World) -> None:
    world.market("us", shard=0)
    offset = world.order("1", "us", partition=1, priority=0)
    await world.run_until(lambda: len(world.taken()) == 2)
    record = world.inbox(0)[-1]
    assert record["origin"] == ["orders", 1, offset, world.clock.ms]
    assert (record["id"], record["source"], record["version"]) == ("id-2", "test", 1)
    assert "priority" not in record["data"], "canonical data leaves defaults out"


async def test_a_market_without_a_shard_has_a_home_that_never_changes(world: World) -> None:
    assert [shard_of(market, 4) for market in ("us", "eu", "jp")] == [
        shard_of(market, 4) for market in ("us", "eu", "jp")
    ]
    world.market("us")
    world.order("1", "us")
    await world.run_until(lambda: len(world.taken()) == 2)
    home = shard_of("us", SHARDS)
    assert world.taken() == [(home, "market_defined"), (home, "order_placed")]


async def test_routing_never_changes(world: World) -> None:
    world.market("us", shard=1)
    world.market("us", shard=2)
    world.market("us", shard=1, attributes={"a": "b"})
    world.market("us")
    world.market("eu", shard=SHARDS)
    world.market("eu", shard=0)
    world.node("BOS", "us")
    world.node("BOS", "eu")
    await world.run_until(lambda: len(world.taken()) + len(world.rejected()) == 8)
    assert world.taken() == [
        (0, "market_defined"),
        *[(1, "market_defined")] * 3,
        (1, "node_defined"),
    ]
    assert [(r["headrace_reason"], r["headrace_detail"][:22]) for r in world.rejected()] == [
        ("invalid_data", 'shard: market "us" liv'),
        ("invalid_data", "shard: must be below 4"),
        ("invalid_data", 'market_id: node "BOS" '),
    ]


async def test_a_rejected_record_is_kept_as_it_was_with_the_reason(world: World) -> None:
    headers = [("trace", b"\xff\x00"), *emit("order_placed", "x", "shop", TIME)]
    world.write("orders", b'{"channel":"web"}', headers, key=b"7", partition=1)
    before = metric("headrace_rejected_total", reason="invalid_data")
    with capture_logs() as logs:
        await world.run_until(lambda: len(world.rejected()) == 1)
    assert metric("headrace_rejected_total", reason="invalid_data") == before + 1
    (told_of,) = [one for one in logs if one["event"] == "rejected"]
    assert (told_of["reason"], told_of["at"]) == ("invalid_data", "orders/1@0")
    (record,) = world.log.held(Partition("rejected", 1)).records
    assert (record.key, record.value) == (b"7", b'{"channel":"web"}')
    assert list(record.headers[: len(headers)]) == headers
    said = dict(record.headers[len(headers) :])
    assert said.pop("headrace_detail").startswith(b"market_id: is missing")
    assert said == {
        "headrace_reason": b"invalid_data",
        "headrace_topic": b"orders",
        "headrace_partition": b"1",
        "headrace_offset": b"0",
    }


@pytest.mark.parametrize(
    ("key", "value", "headers"),
    [
        (b"7", b"x" * 2_200_000, []),
        (b"k" * 2_200_000, b"{", []),
        (b"7", b"{", [("trace", b"t" * 2_200_000)]),
    ],
)
async def test_of_a_record_that_rejected_can_not_take_the_reason_and_the_place_are_kept(
    world: World, key: bytes, value: bytes, headers: list[tuple[str, bytes]]
) -> None:
    kept = len(value) > 1  # what tells who sent it
    world.market("us", shard=0)
    world.write("orders", value, [*headers, *emit("order_placed", "x", "shop", TIME)], key=key)
    world.order("1", "us")
    await world.run_until(lambda: len(world.taken()) == 2)
    (record,) = world.log.held(Partition("rejected", 0)).records
    said = dict(record.headers)
    assert record.key == (key if kept else None)
    assert record.value is None
    assert int(said.pop("headrace_left_out")) > 2_200_000
    assert said["headrace_reason"] == (b"too_large" if kept else b"not_json")
    assert (said["headrace_topic"], said["headrace_offset"]) == (b"orders", b"0")
    assert ("ce_id" in said) is kept
    assert world.days.writers == 1, "nothing was refused"


async def test_the_largest_record_that_rejected_takes_is_kept_whole(world: World) -> None:
    world.market("us", shard=0)
    for size in range(2_095_600, 2_096_100, 50):
        world.write("orders", b"x" * size, [("a", b"")] * 3)
    await world.run_until(lambda: len(world.rejected()) == 10)
    left_out = ["headrace_left_out" in one for one in world.rejected()]
    assert left_out == sorted(left_out), "from one size on"
    assert set(left_out) == {False, True}
    assert world.days.writers == 1, "nothing was refused"


async def test_bad_records_leave_the_rest_of_the_batch_alone(world: World) -> None:
    world.market("us", shard=0)
    good = emit("order_placed", "g", "shop", TIME)
    bad: list[tuple[str, bytes | None, list[tuple[str, bytes]]]] = [
        ("not_json", b"{", good),
        ("not_json", None, good),
        ("not_cloudevents", b"{}", []),
        ("unknown_type", b"{}", emit("order_lost", "1", "s", TIME)),
        ("unknown_version", b"{}", emit("order_placed", "1", "s", TIME, version=2)),
        ("wrong_topic", b"{}", emit("stock_received", "1", "s", TIME)),
        ("not_supported", b"{}", emit("order_amended", "1", "s", TIME)),
        ("invalid_data", b"{}", good),
        ("too_large", b" " * 400_000, good),
    ]
    for number, (_, value, headers) in enumerate(bad):
        world.order(f"before-{number}", "us")
        world.write("orders", value, headers)
    world.order("last", "us")
    await world.run_until(lambda: len(world.taken()) == 2 + len(bad))
    assert world.reasons() == [code for code, _, _ in bad]
    assert [(r["headrace_topic"], r["headrace_offset"]) for r in world.rejected()] == [
        ("orders", str(2 * number + 1)) for number in range(len(bad))
    ]
    orders = [one["data"]["order_id"] for one in world.inbox(0)[1:]]
    assert orders == [f"before-{number}" for number in range(len(bad))] + ["last"]


async def test_who_waits_for_its_market_holds_up_its_own_partition_alone(world: World) -> None:
    world.market("us", shard=0)
    async with world.intake():
        await until(lambda: len(world.taken()) == 1)
        world.order("1", "new", partition=0)
        world.order("2", "us", partition=0)
        world.order("3", "us", partition=1)
        world.received("B", partition=0)
        await until(lambda: len(world.taken()) == 2)
        assert world.inbox(0)[-1]["data"]["order_id"] == "3"
        world.market("new", shard=0)
        world.node("B", "new")
        await until(lambda: len(world.taken()) == 7)
    orders = [one["data"].get("order_id") for one in world.inbox(0)]
    assert orders.index("1") < orders.index("2"), "order within a partition is kept"
    assert world.reasons() == []


async def test_who_waited_in_vain_is_rejected_after_the_wait_and_not_before(world: World) -> None:
    world.market("us", shard=0)
    world.order("1", "nowhere", partition=0)
    world.received("nobody", partition=1)
    world.node("X", "nowhere")
    world.order("2", "us", partition=0)
    async with world.intake():
        await until(lambda: len(world.taken()) == 1)
        world.clock.ms += 9_900
        world.order("3", "us", partition=1)  # once it is through, the others were looked at too
        await until(lambda: len(world.taken()) == 2)
        assert world.reasons() == []
        world.clock.ms += 200
        await until(lambda: len(world.rejected()) == 3)
        await until(lambda: len(world.taken()) == 3)
    assert sorted(world.reasons()) == ["unknown_market", "unknown_market", "unknown_node"]
    details = sorted(headers["headrace_detail"] for headers in world.rejected())
    assert details[0].startswith('market_id: no market "nowhere" is defined: send its')
    assert details[2].startswith('node_id: no node "nobody" is defined: send its')


async def test_a_rejected_node_does_not_tie_its_id_to_a_market_that_never_was(
    world: World,
) -> None:
    world.market("us", shard=0)
    world.node("B", "su")
    async with world.intake():
        await until(lambda: len(world.taken()) == 1)
        world.clock.ms += 10_001
        await until(lambda: len(world.rejected()) == 1)
        world.node("B", "us")
        world.received("B")
        await until(lambda: len(world.taken()) == 3)


class Returned(MemoryGroup):
    """A membership that hears once that its partitions were another's, and are its own again."""

    def __init__(self, log: MemoryLog, elsewhere: Callable[[], None]) -> None:
        members = log._groups.setdefault("intake", _Members())
        super().__init__(members, [ORDERS])
        self.elsewhere: Callable[[], None] | None = elsewhere
        self.due = False

    async def changes(self, timeout_s: float) -> frozenset[Partition]:
        if self.due and self.elsewhere is not None:
            self.elsewhere()
            self.elsewhere = None
            self.changed.set()
        return await super().changes(timeout_s)


async def test_what_another_member_took_in_between_is_not_taken_again(world: World) -> None:
    def elsewhere() -> None:
        for number in (1, 2):
            world.order(str(number), "us")
        world.log._groups["intake"].checkpoints[ORDERS] = Checkpoint(2, "")

    world.market("us", shard=1)
    await world.run_until(lambda: len(world.inbox(1)) == 1)
    world.order("0", "us")
    group = Returned(world.log, elsewhere)
    stop = asyncio.Event()
    role = Intake(world.days, group, world.clock, shards=SHARDS)
    task = asyncio.create_task(role.run(stop))
    await until(lambda: len(world.inbox(1)) == 2)
    group.due = True
    await until(lambda: len(world.inbox(1)) == 3)
    stop.set()
    await task
    assert world.log._groups["intake"].checkpoints[ORDERS].offset == 3
    taken = [one["origin"][2] for one in world.inbox(1) if one["type"] == "order_placed"]
    assert taken == [0, 2]


async def test_a_membership_that_has_ended_ends_the_role(world: World) -> None:
    world.market("us", shard=1)
    group = Ending(await world.log.group("intake", INTAKE_TOPICS))
    role = Intake(world.days, group, world.clock, shards=SHARDS)
    task = asyncio.create_task(role.run(asyncio.Event()))
    await until(lambda: len(world.inbox(1)) == 1)
    group.ended = True
    async with asyncio.timeout(DEADLINE_S):
        with pytest.raises(MembershipEnded, match="told so"):
            await task


async def test_network_is_read_to_its_end_before_anything_is_taken_in(world: World) -> None:
    for number in range(1_200):
        world.send("item_defined", {"sku": f"S{number}", "name": "s"})
    world.market("us", shard=2)
    world.send(  # on `carriers`, which is read before all that `network` holds
        "tracking_updated",
        {
            "market_id": "us",
            "carrier": "ups",
            "tracking_number": "T",
            "status": "delivered",
            "at": TIME,
        },
    )
    world.order("1", "us")
    world.clock.ms += 60_000  # nobody would wait for a market by now
    await world.run_until(
        lambda: {(2, "order_placed"), (2, "tracking_updated")} <= {*world.taken()}
    )
    assert world.reasons() == []


@pytest.mark.parametrize("kind", ["lost", "landed_then_lost"])
@pytest.mark.parametrize("topic", ["inbox", "rejected"])
async def test_an_append_of_unknown_outcome_is_done_again_with_a_new_writer(
    world: World, kind: str, topic: str
) -> None:
    world.market("us", shard=0)
    world.write("orders", b"{", [])
    world.order("1", "us")
    getattr(world.days, kind).append(topic)
    await world.run_until(  # what landed is seen before its writer knows: wait for the next one too
        lambda: len(world.taken()) >= 2 and bool(world.rejected()) and world.days.writers > 1
    )
    assert world.days.writers == 2
    assert {origin[1:] for origin in world.origins()} == {("network", 0, 0), ("orders", 0, 1)}
    if (kind, topic) == ("lost", "inbox"):
        assert len(world.origins()) == 2


async def test_while_one_inbox_takes_nothing_the_others_get_each_record_once(
    world: World,
) -> None:
    world.market("us", shard=0)
    world.market("eu", shard=3)
    await world.run_until(lambda: len(world.taken()) == 2)
    down = Partition("inbox", 3)
    world.days.down.add(down)
    for number in range(20):
        world.order(f"us-{number}", "us")
    world.write("orders", b"{", [], partition=1)
    world.order("eu", "eu")
    world.order("later", "us", partition=1)
    before = len(world.rejected())
    async with world.intake():
        await until(lambda: world.days.tried.count(down) >= 5)
        assert len(world.inbox(0)) <= 22
        assert len(world.inbox(3)) == 1
        world.days.down.clear()
        await until(lambda: len(world.inbox(3)) == 2)
        await until(lambda: len(world.inbox(0)) == 22)
    assert len(world.rejected()) == before + 1
    assert len(set(world.origins())) == len(world.origins())
    assert (await world.checkpoints())[ORDERS].offset == 21


async def test_an_input_of_every_shard_reaches_the_one_that_was_away(world: World) -> None:
    """It has the same content in every inbox."""
    down = Partition("inbox", 3)
    world.days.down.add(down)
    world.send("item_defined", {"sku": "A", "name": "a"})
    async with world.intake():
        await until(lambda: world.days.tried.count(down) >= 2)
        world.days.down.clear()
        await until(lambda: len(world.inbox(3)) == 1)
    assert len(world.taken()) == SHARDS


async def test_what_is_written_anew_at_the_same_place_is_not_taken_for_acknowledged(
    world: World,
) -> None:
    """Else a topic that was made anew would not be noticed by the shards."""
    world.market("us", shard=0)
    world.market("eu", shard=3)
    await world.run_until(lambda: len(world.taken()) == 2)
    down = Partition("inbox", 3)
    world.days.down.add(down)
    world.order("first", "us")
    world.order("eu", "eu")
    async with world.intake():
        await until(lambda: world.days.tried.count(down) >= 2)
        held = world.log.held(ORDERS).records
        held[0] = held[0]._replace(value=(held[0].value or b"").replace(b"first", b"other"))
        tried = world.days.tried.count(down)
        await until(lambda: world.days.tried.count(down) >= tried + 2)  # it was read again
        world.days.down.clear()
        await until(lambda: len(world.inbox(3)) == 2)
    assert [one["data"]["order_id"] for one in world.inbox(0)[1:]] == ["first", "other"]


async def test_saved_positions_carry_the_end_of_each_inbox(world: World) -> None:
    world.market("us", shard=1)
    world.order("1", "us", partition=1)
    await world.run_until(lambda: len(world.taken()) == 2)
    saved = await world.checkpoints()
    assert saved[Partition("network", 0)].offset == 1
    assert saved[Partition("orders", 1)].offset == 1
    assert orjson.loads(saved[Partition("orders", 1)].metadata) == {"inbox": {"1": 2}}
    world.write("orders", b"{", [], partition=1)
    await world.run_until(lambda: len(world.rejected()) == 1)
    saved = await world.checkpoints()
    assert saved[Partition("orders", 1)].offset == 2
    assert orjson.loads(saved[Partition("orders", 1)].metadata) == {"inbox": {"1": 2}}, (
        "what earlier instances appended stays in it"
    )


def _network_of(saved: Mapping[Partition, Checkpoint]) -> int:
    return saved.get(Partition("network", 0), Checkpoint(0, "")).offset


async def test_positions_are_saved_with_any_number_of_shards(world: World) -> None:
    shards = 700  # whose positions a broker would not take
    world.log = MemoryLog(world.clock, {**TOPICS, "inbox": shards, "journal": shards})
    group = await world.log.group("intake", INTAKE_TOPICS)
    stop = asyncio.Event()
    role = Intake(world.log, group, SystemClock(), shards=shards)
    running = asyncio.create_task(role.run(stop))
    for sent in (1, 2):
        world.send("item_defined", {"sku": f"S{sent}", "name": "a mug"})  # for every shard
        async with asyncio.timeout(DEADLINE_S):
            while _network_of(await world.checkpoints()) < sent:
                await asyncio.sleep(0.002)
    stop.set()
    await running
    assert {len(world.inbox(shard)) for shard in range(shards)} == {2}


@pytest.mark.parametrize("shards", [1, 150, 151, 10_000])
def test_what_is_saved_fits_whatever_the_positions(shards: int) -> None:
    assert len(told(dict.fromkeys(range(shards), 2**63 - 1), shards)) <= MAX_METADATA_BYTES


async def test_a_second_run_goes_on_where_the_first_stopped(world: World) -> None:
    world.market("us", shard=0)
    world.order("1", "us")
    await world.run_until(lambda: len(world.taken()) == 2)
    world.order("2", "us")
    await world.run_until(lambda: len(world.taken()) == 3)
    assert [one["data"].get("order_id") for one in world.inbox(0)] == [None, "1", "2"]


async def test_two_instances_share_the_partitions_and_lose_nothing(world: World) -> None:
    world.market("us", shard=0)
    async with world.intake() as (first, _):
        for number in range(50):
            world.order(f"a{number}", "us", partition=number % 2)
        await until(lambda: len(world.taken()) > 10)
        async with world.intake() as (second, _):
            assert not first.assigned & second.assigned
            for number in range(50):
                world.order(f"b{number}", "us", partition=number % 2)
            await until(lambda: {o[1:] for o in world.origins()} >= _all_orders(world))
    for partition in range(2):
        offsets = [one[3] for one in world.origins() if one[1:3] == ("orders", partition)]
        first_seen = list(dict.fromkeys(offsets))
        assert first_seen == sorted(first_seen), "no record overtakes another of its partition"


def _all_orders(world: World) -> set[tuple[str, int, int]]:
    return {
        ("orders", number, record.offset)
        for number in range(2)
        for record in world.log.held(Partition("orders", number)).records
    }


async def test_batches_stay_below_what_an_append_takes(world: World) -> None:
    world.market("us", shard=0)
    big = {f"a{n}": "x" * 2000 for n in range(80)}
    for number in range(12):
        world.order(str(number), "us", attributes=big)
    assert 2 * MAX_BATCH_BYTES < 12 * 160_000
    await world.run_until(lambda: len(world.taken()) == 13)
    orders = [offset for _, topic, _, offset in world.origins() if topic == "orders"]
    assert orders == [*range(12)]
    assert world.days.writers == 1, "the writer refuses larger batches, and none was refused"


async def test_nothing_is_sent_behind_a_batch_that_failed(world: World) -> None:
    """A shard would take what came too late for repeats of what it has: it marks the highest."""
    world.market("us", shard=0)
    await world.run_until(lambda: len(world.taken()) == 1)
    for number in range(15):
        world.order(str(number), "us", attributes={f"a{n}": "x" * 2000 for n in range(80)})
    world.days.lost_after["inbox"] = 1
    await world.run_until(lambda: len({*world.origins()}) == 16)
    orders = [offset for _, topic, _, offset in world.origins() if topic == "orders"]
    assert list(dict.fromkeys(orders)) == [*range(15)]
    assert world.days.writers == 3, "one append failed"


async def test_records_that_are_gone_halt_intake_with_a_sentence(world: World) -> None:
    world.market("us", shard=0)
    world.order("1", "us")
    await world.run_until(lambda: len(world.taken()) == 2)
    world.order("2", "us")
    world.order("3", "us")
    await world.log.trim(Partition("orders", 0), 2)
    with pytest.raises(IntakeError, match=r"orders.*1.*Records may be gone"):
        async with world.intake() as (_, task):
            await task


@pytest.mark.parametrize("topic", ["network", "inbox"])
@pytest.mark.parametrize(
    ("name", "value"), [("cleanup.policy", "compact"), ("retention.bytes", "1073741824")]
)
async def test_master_data_and_inboxes_that_the_broker_may_shorten_or_thin_out_are_refused(
    world: World, topic: str, name: str, value: str
) -> None:
    log = Careless(world.clock, TOPICS, topic=topic, setting=(name, value))
    group = await log.group("intake", INTAKE_TOPICS)
    with pytest.raises(IntakeError, match=rf"the topic {topic} has {name}={value}.* set it to"):
        async with asyncio.timeout(10):
            await Intake(log, group, world.clock, shards=SHARDS).run(asyncio.Event())


async def test_unknown_fields_are_dropped_where_settings_say_so(world: World) -> None:
    world.market("us", shard=0, glitter=True)
    async with world.intake(unknown_fields="ignore"):
        await until(lambda: len(world.taken()) == 1)
    assert "glitter" not in world.inbox(0)[0]["data"]
