"""Offsets that are gone and topics that were made anew: nothing is skipped, nothing is silent."""

import asyncio
from collections.abc import Callable, Mapping

import pytest

from orchestrator.runtime.intake import IntakeError
from orchestrator.runtime.memory_log import MemoryLog
from orchestrator.runtime.taken import Taken, taken
from schemas import inbox, journal
from schemas.ports import Checkpoint, Partition, Reader, Record, Writer
from schemas.voids import VOIDS, Void
from tests.intake.test_intake import SHARDS, World
from tests.runtime.fakes import PassingLog

ORDERS = Partition("orders", 0)


@pytest.fixture
def world() -> World:
    return World()


def lose_offsets(world: World, *topics: str) -> None:
    """What a broker does to a group that was away for a week."""
    kept = world.log._groups["intake"].checkpoints
    for partition in [one for one in kept if not topics or one.topic in topics]:
        del kept[partition]


def orders_taken(world: World) -> list[int]:
    return [one["origin"][2] for one in world.inbox(1) if one["type"] == "order_placed"]


async def some_orders(world: World, count: int = 3) -> None:
    world.market("us", shard=1)
    for number in range(count):
        world.order(str(number), "us")
    await world.run_until(lambda: len(orders_taken(world)) == count)


async def halts(world: World) -> str:
    with pytest.raises(IntakeError) as caught:
        async with world.intake() as (_, task), asyncio.timeout(5):
            await asyncio.wait([task])
    return str(caught.value)


async def test_each_partition_has_an_offset_saved_as_soon_as_intake_has_it(world: World) -> None:
    async with world.intake():
        async with asyncio.timeout(5):
            while len(kept := await world.checkpoints()) < 7:
                await asyncio.sleep(0.002)
    assert {one.offset for one in kept.values()} == {0}


async def test_expired_offsets_are_found_from_inboxes_and_told(
    world: World, capsys: pytest.CaptureFixture[str]
) -> None:
    await some_orders(world, 1_200)
    capsys.readouterr()
    lose_offsets(world)
    world.order("new", "us")
    await world.run_until(lambda: orders_taken(world)[-1] == 1_200)
    assert orders_taken(world)[1_200:] == list(range(200, 1_201)), "a little before is read again"
    assert "no offset is saved" in capsys.readouterr().out


async def test_what_was_written_since_and_trimmed_before_intake_came_back_halts_it(
    world: World,
) -> None:
    await some_orders(world)
    lose_offsets(world)
    for number in range(5):
        world.order(f"new{number}", "us")
    await world.log.trim(ORDERS, 5)
    assert "Records may be gone" in await halts(world)
    assert orders_taken(world) == [0, 1, 2]


async def test_what_was_trimmed_but_taken_in_before_is_not_missed(world: World) -> None:
    await some_orders(world)
    lose_offsets(world)
    await world.log.trim(ORDERS, 3)
    world.order("new", "us")
    await world.run_until(lambda: orders_taken(world) == [0, 1, 2, 3])


def make_anew(world: World) -> None:
    """Kafka forgets the offsets of a topic that is deleted."""
    held = world.log.held(ORDERS)
    held.first, held.records = 0, []
    lose_offsets(world, "orders")


@pytest.mark.parametrize("orders", [1, 3, 5])
async def test_a_topic_made_anew_halts_intake_with_the_command_that_accepts_it(
    world: World, orders: int
) -> None:
    await some_orders(world)
    make_anew(world)
    for number in range(orders):
        world.order(f"new{number}", "us")
    assert "headrace topics accept orders" in await halts(world)
    assert orders_taken(world) == [0, 1, 2]


async def test_a_new_life_that_was_accepted_is_taken_from_its_beginning(world: World) -> None:
    await some_orders(world)
    make_anew(world)
    for number in range(5):
        world.order(f"new{number}", "us")
    data = {"topic": "orders", "reason": "restored", "by": "ada"}
    for shard in range(SHARDS):
        order = inbox.encode_order(inbox.RENEWAL_ORDERED, "r", 0, data)
        world.log.write(Partition("inbox", shard), [Record(None, order)])
    world.log._groups["intake"].checkpoints[ORDERS] = Checkpoint(0, "")
    await world.run_until(lambda: orders_taken(world) == [0, 1, 2, 0, 1, 2, 3, 4])
    lose_offsets(world)
    world.order("last", "us")
    await world.run_until(lambda: orders_taken(world)[-1] == 5)


class Meanwhile(PassingLog):
    """A log in which something happens as soon as its partition is opened for reading, once."""

    def __init__(self, log: MemoryLog, opened: Partition, happens: Callable[[], None]) -> None:
        super().__init__(log)
        self._opened = opened
        self._happens = happens
        self._happened = False

    async def reader(self, at: Mapping[Partition, int | None]) -> Reader:
        if self._opened in at and not self._happened:
            self._happened = True
            self._happens()
        return await super().reader(at)

    async def writer(self) -> Writer:
        return await self.log.writer()


def commit(world: World, shard: int, first: int, end: int) -> None:
    """What an engine does: these inputs of its inbox are in the journal, and trimmed."""
    inputs = world.inbox(shard)[first:end]
    value = journal.encode_commit(
        epoch=0,
        nonce="n",
        seq=1,
        inbox_from=first,
        inbox_next=end,
        prev="",
        now_ms=0,
        entries=[journal.encode_entry(one, []) for one in inputs],
    )
    world.log.write(Partition("journal", shard), [Record(None, value)])
    held = world.log.held(Partition("inbox", shard))
    del held.records[: end - held.first]
    held.first = end


@pytest.mark.parametrize("opened", ["journal", "inbox"])
async def test_an_inbox_that_is_trimmed_while_offsets_are_looked_for_hides_nothing(
    world: World, opened: str
) -> None:
    await some_orders(world)
    newest = Taken(2, "test", world.inbox(1)[-1]["id"])
    world.log.write(Partition("journal", 1), [Record(None, journal.encode_opened("engine", "n"))])
    end = world.log.held(Partition("inbox", 1)).next
    log = Meanwhile(world.log, Partition(opened, 1), lambda: commit(world, 1, 0, end))
    assert (await taken(log, SHARDS))[ORDERS] == newest


async def test_a_topic_that_is_trimmed_while_it_is_looked_at_halts_nothing(world: World) -> None:
    await some_orders(world)
    lose_offsets(world, "orders")
    world.order("new", "us")

    def retention() -> None:
        held = world.log.held(ORDERS)
        del held.records[:3]
        held.first = 3

    world.days.log = Meanwhile(world.log, ORDERS, retention)  # type: ignore[assignment]
    await world.run_until(lambda: orders_taken(world) == [0, 1, 2, 3])


async def test_what_is_void_in_a_journal_is_passed_over_there_and_in_no_other(
    world: World,
) -> None:
    await some_orders(world)
    foreign = [Record(None, journal.encode_opened("engine", "n")), Record(None, b"hello")]
    world.log.write(Partition("journal", 1), foreign)
    with pytest.raises(journal.JournalError, match="not a journal record"):
        await taken(world.log, SHARDS)
    went_on = journal.FilterState("n", 2, 0, "n")
    void = Void(1, 1, 2, False, "", went_on, "", "a test", "ada", 0)  # noqa: FBT003 - as they stand
    world.log.write(VOIDS, [void.record()])
    assert (await taken(world.log, SHARDS))[ORDERS].offset == 2
    world.log.write(Partition("journal", 0), foreign)
    with pytest.raises(journal.JournalError, match="not a journal record"):
        await taken(world.log, SHARDS)
