"""What was rejected, sent again: once, unchanged, and only what may go through now."""

import pytest

from orchestrator.commands.rejected import Replay, Wanted, plan, rejections, send
from schemas.ports import Partition, Record
from tests.intake.test_intake import World


@pytest.fixture
def world() -> World:
    return World()


async def replayed(world: World, *, untold_too: bool = False) -> Replay:
    replay = await plan(world.log, await rejections(world.log), Wanted(), untold_too=untold_too)
    await send(world.log, replay)
    return replay


async def refused_for_its_market(world: World) -> None:
    world.market("us", shard=1)
    world.order("1", "eu", partition=1)
    world.received("BER")
    world.clock.ms += 20_000  # beyond the wait for master data
    await world.run_until(lambda: len(world.rejected()) == 2)
    assert sorted(world.reasons()) == ["unknown_market", "unknown_node"]


async def defined_by_now(world: World) -> None:
    world.market("eu", shard=3)
    world.node("BER", "eu")


async def test_what_was_rejected_for_a_missing_market_goes_through_once_the_market_exists(
    world: World,
) -> None:
    await refused_for_its_market(world)
    await defined_by_now(world)
    assert (await replayed(world)).count == 2
    await world.run_until(lambda: len(world.inbox(3)) == 4)
    assert sorted(one["type"] for one in world.inbox(3)) == [
        "market_defined",
        "node_defined",
        "order_placed",
        "stock_received",
    ]
    first = world.log.held(Partition("orders", 1)).records[0]
    again = world.log.held(Partition("orders", 1)).records[1]
    assert (again.key, again.value) == (first.key, first.value)
    assert [*again.headers] == [*first.headers, ("headrace_replay_of", b"orders/1@0")]


async def test_replaying_twice_changes_nothing(world: World) -> None:
    await refused_for_its_market(world)
    await defined_by_now(world)
    await replayed(world)
    before = world.log.held(Partition("orders", 1)).next
    twice = await replayed(world)  # before intake came to the first one
    assert (twice.count, twice.replayed) == (0, 2)
    await world.run_until(lambda: len(world.inbox(3)) == 4)
    assert (await replayed(world)).count == 0
    assert world.log.held(Partition("orders", 1)).next == before


async def test_what_is_rejected_again_may_be_sent_once_more(world: World) -> None:
    await refused_for_its_market(world)
    assert (await replayed(world)).count == 2
    world.clock.ms += 20_000
    await world.run_until(lambda: len(world.rejected()) == 4)
    await defined_by_now(world)
    third = await replayed(world)
    assert (third.count, third.replayed) == (2, 2)
    await world.run_until(lambda: len(world.inbox(3)) == 4)
    assert len(world.rejected()) == 4


async def retained(world: World, first: int | None = None) -> None:
    """Retention takes what stands below `first`, or all, of the input topics."""
    for topic in ("orders", "stock"):
        for number in range(2):
            partition = Partition(topic, number)
            end = world.log.held(partition).next
            await world.log.trim(partition, end if first is None else min(first, end))


async def test_what_was_sent_again_is_not_sent_once_more_when_its_topic_forgot_it(
    world: World,
) -> None:
    """The topic rejected is quiet and keeps its records for longer than busy input topics do."""
    await refused_for_its_market(world)
    await defined_by_now(world)
    await replayed(world)
    await world.run_until(lambda: len(world.inbox(3)) == 4)
    await retained(world)
    later = await replayed(world)
    assert (later.count, later.replayed, later.untold) == (0, 0, 2)


async def test_what_nobody_can_tell_of_is_sent_to_who_insists(world: World) -> None:
    await refused_for_its_market(world)
    world.write("orders", b"{", [], partition=1)
    await retained(world)
    first = await replayed(world)
    assert (first.count, first.untold) == (1, 1), "nothing ever came behind the stock"
    insisted = await replayed(world, untold_too=True)
    assert (insisted.count, insisted.replayed, insisted.untold) == (1, 1, 0)


async def test_a_place_that_a_producer_made_up_is_none(world: World) -> None:
    made_up = [("headrace_replay_of", b"nowhere/7@0")]
    world.write("orders", b"{", made_up)
    await world.run_until(lambda: len(world.rejected()) == 1)
    assert (await replayed(world)).still_invalid == {"not_json": 1}


async def test_where_only_the_record_itself_is_gone_all_that_came_behind_it_is_known(
    world: World,
) -> None:
    await refused_for_its_market(world)
    await defined_by_now(world)
    await replayed(world)
    await retained(world, first=1)
    later = await replayed(world)
    assert (later.count, later.replayed, later.untold) == (0, 2, 0)


async def test_of_several_attempts_the_newest_alone_is_sent_to_who_insists(world: World) -> None:
    await refused_for_its_market(world)
    await replayed(world)
    world.clock.ms += 20_000
    await world.run_until(lambda: len(world.rejected()) == 4)
    for topic in ("orders", "stock"):
        for number in range(2):
            world.write(topic, b"{", [], partition=number)
    await retained(world)
    insisted = await replayed(world, untold_too=True)
    assert (insisted.count, insisted.replayed) == (2, 2)


async def test_what_rejected_could_not_take_whole_is_left_out(world: World) -> None:
    world.write("orders", b"x" * 2_200_000, [])
    await world.run_until(lambda: len(world.rejected()) == 1)
    replay = await replayed(world)
    assert (replay.count, replay.still_invalid) == (0, {"too_large": 1})


async def test_what_stands_in_rejected_twice_is_sent_once(world: World) -> None:
    await refused_for_its_market(world)
    for number in range(2):
        partition = Partition("rejected", number)
        for one in list(world.log.held(partition).records):
            world.log.write(partition, [Record(one.key, one.value, one.headers)])
    assert (await replayed(world)).count == 2


async def test_what_its_content_forbids_is_left_out(world: World) -> None:
    world.write("orders", b"no JSON", [])
    world.order("1", "eu", lines=[])
    await world.run_until(lambda: len(world.rejected()) == 2)
    replay = await replayed(world)
    assert replay.count == 0
    assert replay.still_invalid == {"not_json": 1, "invalid_data": 1}


async def test_only_what_was_asked_for_is_sent(world: World) -> None:
    await refused_for_its_market(world)
    (order,) = [one for one in await rejections(world.log) if one.type == "order_placed"]
    at_ms = order.read.timestamp_ms
    for wanted, count in (
        (Wanted(codes=frozenset({"not_json"})), 0),
        (Wanted(types=frozenset({"tracking_updated"})), 0),
        (Wanted(until_ms=at_ms), 0),
        (Wanted(since_ms=at_ms + 60_000), 0),
        (Wanted(codes=frozenset({"unknown_market"}), types=frozenset({"order_placed"})), 1),
    ):
        planned = await plan(world.log, await rejections(world.log), wanted)
        assert planned.count == count, wanted


async def test_what_others_wrote_into_rejected_is_passed_over(world: World) -> None:
    world.log.write(Partition("rejected", 0), [Record(None, b"?", [("headrace_topic", b"x")])])
    assert await rejections(world.log) == []
