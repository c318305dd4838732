"""Halted shards: what they say and to whom, and the orders by which they go on."""

import asyncio
import json
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import orjson
import pytest

from events.decided import DecidedEvent, InputRecord
from orchestrator.runtime.engine import TELL_S, Core, EngineConfig, ShardWriter
from orchestrator.runtime.halting import Halt, halts
from orchestrator.runtime.memory_log import MemoryLog
from schemas import inbox
from schemas.inbox import RENEWAL_ORDERED, SKIP_ORDERED, TopicMadeAnew
from schemas.journal import Commit, decode
from schemas.ports import Checkpoint, Partition, Reader, Record, Writer
from tests.runtime.fakes import (
    CORE,
    INBOX,
    JOURNAL,
    FaultyLog,
    Running,
    Seeded,
    SteppedClock,
    Tally,
    engine,
    give,
    happened,
    until,
)

WHO = {"reason": "defect 7", "by": "ada"}
AN_INPUT = {
    "type": "order_cancel_requested",
    "version": 1,
    "id": "x",
    "source": "test",
    "time_ms": 0,
    "origin": ["orders", 0, 1, 0],
    "data": {},
}


def a_log(shards: int = 1) -> MemoryLog:
    return MemoryLog(SteppedClock(), {"inbox": shards, "journal": shards})


def order(log: MemoryLog, type_: str, id_: str = "o1", **data: str) -> None:
    value = inbox.encode_order(type_, id_, 0, {**data, **WHO})
    log.write(INBOX, [Record(None, value)])


def entries(log: MemoryLog) -> list[tuple[InputRecord, list[Any]]]:
    """All that is journaled but ticks, each with its events."""
    commits = [decode(one.value, one.offset) for one in log.held(JOURNAL).records]
    return [
        (entry["input"], list(entry["events"]))
        for commit in commits
        if isinstance(commit, Commit)
        for entry in commit.entries
        if entry["input"]["type"] != "clock_ticked" or entry["events"]
    ]


async def halted(running: Running) -> Halt:
    await until(lambda: running.role.states().get(0) == "halted")
    return running.role.halts()[0]


async def test_a_halt_says_what_it_is_and_names_the_input_by_both_its_coordinates() -> None:
    log = a_log()
    give(log, "a")
    give(log, "bad", poison=True)
    async with Running(await engine(log)) as running:
        halt = await halted(running)
    assert halt.input == ["inbox/0@1", "orders/0@1"]
    assert "order_cancel_requested 'bad' of 'test'" in halt.what
    assert "ZeroDivisionError" in halt.what


async def test_every_process_can_see_which_shard_halts_until_it_goes_on() -> None:
    log = a_log(shards=2)
    give(log, "bad", poison=True)
    async with Running(await engine(log)) as running:
        await told(log, {0: await halted(running)})
    order(log, SKIP_ORDERED, input="inbox/0@0")
    async with Running(await engine(log, seed=2)):
        await told(log, {})


async def told(log: MemoryLog, expected: dict[int, Halt]) -> None:
    async with asyncio.timeout(10):
        while await halts(log, range(2)) != expected:
            await asyncio.sleep(0.01)


class StandingClock(SteppedClock):
    """It is always the same millisecond."""

    def now_ms(self) -> int:
        return self._now_ms


class Counting(SteppedClock):
    """Counts the sleeps of who tells of halts."""

    rounds = 0

    async def sleep(self, seconds: float) -> None:
        await super().sleep(seconds)
        self.rounds += seconds == TELL_S


async def test_a_halt_is_told_again_when_another_process_had_the_shard_in_between() -> None:
    log, clock = a_log(), Counting()
    give(log, "bad", poison=True)
    async with Running(await engine(log, clock=clock)) as running:
        halt = await halted(running)
        await told(log, {0: halt})
        (ours,) = log._groups["engine"].members
        other = await log.group("engine", ["inbox"])
        ours.give(INBOX, other)
        await until(lambda: running.role.states() == {})
        rounds = clock.rounds
        await until(lambda: clock.rounds > rounds + 1)
        await other.changes(0)
        await other.save({INBOX: Checkpoint(0, "")})  # it decided, with a release of its own
        other.give(INBOX, ours)
        await told(log, {0: halt})


async def test_what_a_shard_handled_before_it_halted_stays_told() -> None:
    log = a_log()
    give(log, "a", "b")
    give(log, "bad", poison=True)
    async with Running(await engine(log)) as running:
        halt = await halted(running)
        async with asyncio.timeout(10):
            while await halts(log, range(1)) != {0: halt}:
                await asyncio.sleep(0.01)
        assert (await log.saved("engine", [INBOX]))[INBOX].offset == 2


@pytest.mark.parametrize("name", ["inbox/0@1", "orders/0@1"])
async def test_an_ordered_skip_is_journaled_with_the_input_and_who_ordered_it(name: str) -> None:
    log = a_log()
    give(log, "a")
    give(log, "bad", poison=True)
    give(log, "c")
    async with Running(await engine(log)) as running:
        await halted(running)
        order(log, SKIP_ORDERED, input=name)
        await until(lambda: happened(log)[1].inbox_next == 4)
        assert running.role.halts() == {}
    assert happened(log)[0] == ["a", "bad", "c", "o1"]
    (skipped,) = [events for cause, events in entries(log) if cause["id"] == "bad"]
    assert skipped == [{"type": "input_skipped", **WHO}]


async def test_an_order_given_while_no_engine_ran_is_found_behind_the_input() -> None:
    log = a_log()
    give(log, "bad", poison=True)
    give(log, *map(str, range(3_000)))
    order(log, SKIP_ORDERED, input="inbox/0@0")
    async with Running(await engine(log)):
        await until(lambda: happened(log)[1].inbox_next == 3_002)


async def test_nothing_is_skipped_by_an_order_about_another_input() -> None:
    log = a_log()
    give(log, "bad", poison=True)
    order(log, SKIP_ORDERED, input="inbox/0@5")
    order(log, RENEWAL_ORDERED, topic="orders")
    async with Running(await engine(log)) as running:
        await halted(running)
        with pytest.raises(TimeoutError):
            await until(lambda: running.role.states().get(0) != "halted", within_s=0.3)
    assert happened(log)[0] == []


async def test_an_order_about_an_input_that_can_be_decided_after_all_changes_nothing() -> None:
    log = a_log()
    give(log, "a")
    order(log, SKIP_ORDERED, input="inbox/0@0")
    async with Running(await engine(log)):
        await until(lambda: happened(log)[1].inbox_next == 2)
    assert [events[0]["type"] for _, events in entries(log)] == [
        "availability_changed",
        "input_repeated",
    ]


def _mended(state: Tally, cause: InputRecord) -> list[DecidedEvent]:
    """As a release decides that has no defect."""
    return CORE.decide(state, {**cause, "data": {}})


async def test_a_fixed_release_goes_on_without_an_order() -> None:
    log = a_log()
    give(log, "bad", poison=True)
    give(log, "b")
    async with Running(await engine(log)) as running:
        await halted(running)
    async with Running(await engine(log, seed=2, core=replace(CORE, decide=_mended))):
        await until(lambda: happened(log)[1].inbox_next == 2)
    assert happened(log)[0] == ["bad", "b"]


class SlowLog(FaultyLog):
    """A log that gives a shard that halts no reader of its inbox before it is told to."""

    def __init__(self, log: MemoryLog) -> None:
        super().__init__(log, [])
        self.asked = asyncio.Event()
        self.may = asyncio.Event()

    async def reader(self, at: Mapping[Partition, int | None]) -> Reader:
        if at.get(INBOX) == 1:  # behind the input that it halts at
            self.asked.set()
            await self.may.wait()
        return await super().reader(at)


def writer(
    log: MemoryLog | FaultyLog, seed: int, core: Core[Tally], pause_s: float = 0.01
) -> ShardWriter[Tally]:
    return ShardWriter(
        0,
        log=log,
        clock=SteppedClock(),
        randomness=Seeded(seed),
        core=core,
        owner=str(seed),
        config=EngineConfig(failed_pause_s=pause_s, trim_margin=0),
    )


async def test_a_halted_shard_that_another_led_on_goes_on_though_its_inbox_is_trimmed() -> None:
    """It looks for orders in its inbox so slowly that what it looks behind is gone by then."""
    log = a_log()
    give(log, "a")
    give(log, "bad", poison=True)
    give(log, "b")

    slow_log = SlowLog(log)
    slow = writer(slow_log, 1, CORE)
    first = asyncio.create_task(slow.run())
    async with asyncio.timeout(10):
        await slow_log.asked.wait()
    quick = writer(log, 2, replace(CORE, decide=_mended))
    second = asyncio.create_task(quick.run())
    await until(lambda: happened(log)[1].inbox_next == 3)
    await until(lambda: quick.confirmed.inbox_next == 3)
    await quick.trim()
    assert log.held(INBOX).first == 3
    quick.stop.set()
    await second
    slow_log.may.set()
    await until(lambda: slow.state == "open" or first.done())
    give(log, "c")
    await until(lambda: happened(log)[1].inbox_next == 4 or first.done())
    slow.stop.set()
    await first
    assert happened(log)[0] == ["a", "bad", "b", "c"]


async def another_leads_on(log: MemoryLog, *, to: int) -> None:
    """Another process has the shard until it has handled so much of the inbox, and goes."""
    quick = writer(log, 2, CORE)
    running = asyncio.create_task(quick.run())
    await until(lambda: happened(log)[1].inbox_next == to)
    quick.stop.set()
    await running


async def test_an_order_that_another_carried_out_leads_over_no_later_halt() -> None:
    """It halts again at another input, and opens no shard over and over."""
    log = a_log()
    give(log, "a")
    give(log, "bad", poison=True)
    order(log, SKIP_ORDERED, input="inbox/0@1")
    slow_log = SlowLog(log)
    slow = writer(slow_log, 1, CORE)
    first = asyncio.create_task(slow.run())
    async with asyncio.timeout(10):
        await slow_log.asked.wait()
    await another_leads_on(log, to=3)
    give(log, "worse", poison=True)
    slow_log.may.set()
    await until(lambda: slow.halt is not None and "inbox/0@3" in slow.halt.input)
    await stands_still(log)
    order(log, SKIP_ORDERED, id_="o2", input="inbox/0@3")
    await until(lambda: happened(log)[1].inbox_next == 5)
    slow.stop.set()
    await first
    assert happened(log)[0] == ["a", "bad", "o1", "worse", "o2"]


class Clumsy:
    """A core whose skip fails until it is mended."""

    def __init__(self) -> None:
        self.failed = 0
        self.mended = False
        self.core = replace(CORE, skip=self._skip)

    def _skip(self, state: Tally, cause: InputRecord, reason: str, by: str) -> list[DecidedEvent]:
        if not self.mended:
            self.failed += 1
            raise ZeroDivisionError("the skip as well")
        return CORE.skip(state, cause, reason, by)


async def stands_still(log: MemoryLog) -> None:
    """Nothing is appended to the journal."""
    held = log.held(JOURNAL).next
    with pytest.raises(TimeoutError):
        await until(lambda: log.held(JOURNAL).next > held, within_s=0.3)


async def test_an_order_whose_skip_fails_is_tried_once_and_the_next_one_is_heard() -> None:
    log, clumsy = a_log(), Clumsy()
    give(log, "a")
    give(log, "bad", poison=True)
    order(log, SKIP_ORDERED, input="inbox/0@1")
    async with Running(await engine(log, core=clumsy.core)) as running:
        await until(lambda: clumsy.failed == 1)
        await halted(running)
        await stands_still(log)
        order(log, SKIP_ORDERED, id_="o2", input="orders/0@1")
        await until(lambda: clumsy.failed == 2)
        await halted(running)
        clumsy.mended = True
        await stands_still(log)
        order(log, SKIP_ORDERED, id_="o3", input="inbox/0@1")
        await until(lambda: happened(log)[1].inbox_next == 5)
        assert running.role.halts() == {}
    assert happened(log)[0] == ["a", "bad", "o1", "o2", "o3"]
    assert clumsy.failed == 2


async def test_a_shard_that_orders_do_not_help_pauses_before_it_opens_again() -> None:
    log, clumsy, pause_s = a_log(), Clumsy(), 0.2
    give(log, "bad", poison=True)
    for number in range(3):
        order(log, SKIP_ORDERED, id_=f"o{number}", input="inbox/0@0")
    began = asyncio.get_running_loop().time()
    slow = writer(log, 1, clumsy.core, pause_s)
    running = asyncio.create_task(slow.run())
    await until(lambda: clumsy.failed == 3)
    assert asyncio.get_running_loop().time() - began >= 3 * pause_s
    slow.stop.set()
    await running


async def test_an_order_to_renew_that_does_not_help_is_tried_once() -> None:
    log, renewed = a_log(), []

    def decide(state: Tally, cause: InputRecord) -> list[DecidedEvent]:
        if cause["type"] == RENEWAL_ORDERED:
            renewed.append(cause["id"])
        elif cause["id"] == "first" and "o2" not in renewed:
            raise TopicMadeAnew("orders", "another record stood there")
        return CORE.decide(state, cause)

    give(log, "a", "first")
    order(log, RENEWAL_ORDERED, topic="orders")
    async with Running(await engine(log, core=replace(CORE, decide=decide))) as running:
        await until(lambda: renewed == ["o1"])
        await halted(running)
        await stands_still(log)
        order(log, RENEWAL_ORDERED, id_="o2", topic="orders")
        await until(lambda: happened(log)[1].inbox_next == 4)
    assert renewed == ["o1", "o2", "o1", "o2"], "each once ahead, and once in its turn"


class LateWriterLog(FaultyLog):
    """A log whose writers come late, once told to."""

    def __init__(self, log: MemoryLog) -> None:
        super().__init__(log, [])
        self.late = False
        self.asked = asyncio.Event()
        self.may = asyncio.Event()

    async def writer(self) -> Writer:
        if self.late:
            self.asked.set()
            await self.may.wait()
        return await super().writer()


async def test_an_order_that_another_carried_out_skips_no_input_that_bears_the_name_later() -> None:
    """It has the order, and opens so slowly that another process carries it out meanwhile."""
    log = a_log()
    give(log, "a")
    give(log, "bad", poison=True)
    late_log = LateWriterLog(log)
    slow = writer(late_log, 1, CORE)
    first = asyncio.create_task(slow.run())
    await until(lambda: slow.state == "halted")
    late_log.late = True
    order(log, SKIP_ORDERED, input="orders/0@1")
    async with asyncio.timeout(10):
        await late_log.asked.wait()
    await another_leads_on(log, to=3)
    late_log.may.set()
    await until(lambda: slow.state == "open")
    new_life = inbox.encode(
        type_="order_cancel_requested",
        version=1,
        id_="good",
        source="test",
        time_ms=0,
        origin=("orders", 0, 1, 0),
        data=b"{}",
    )
    log.write(INBOX, [Record(None, new_life)])
    await until(lambda: happened(log)[1].inbox_next == 4)
    slow.stop.set()
    await first
    (good,) = [events for cause, events in entries(log) if cause["id"] == "good"]
    assert [one["type"] for one in good] == ["availability_changed"]


@pytest.mark.parametrize("fault", ["lost", "landed", "late"])
async def test_a_skip_is_journaled_once_whatever_becomes_of_its_commit(fault: str) -> None:
    for append in range(5):
        log = a_log()
        give(log, "bad", poison=True)
        order(log, SKIP_ORDERED, input="inbox/0@0")
        give(log, "c")
        faulty = FaultyLog(log, ["ok"] * append + [fault])
        async with Running(await engine(faulty, seed=append)):
            await until(lambda at=log: happened(at)[1].inbox_next == 3)  # type: ignore[misc]  # bound here
        assert happened(log)[0] == ["bad", "o1", "c"]


async def test_an_inbox_record_that_can_not_be_read_is_skipped_by_order() -> None:
    log = a_log()
    log.write(INBOX, [Record(None, b"no JSON")])
    give(log, "b")
    async with Running(await engine(log)) as running:
        assert (await halted(running)).input == ["inbox/0@0"]
        order(log, SKIP_ORDERED, input="inbox/0@0")
        await until(lambda: happened(log)[1].inbox_next == 3)
    assert entries(log)[0][0]["type"] == "unreadable"


NO_INPUTS = {
    "an object of another kind": {"hello": "world"},
    "a list": [],
    "a number": 1,
    "an origin without a time": {**AN_INPUT, "origin": ["orders", 0, 1]},
    "no origin": {**AN_INPUT, "origin": None},
    "a topic that no broker has": {**AN_INPUT, "origin": ["t" * 300, 0, 1, 0]},
    "a version that is text": {**AN_INPUT, "version": "1"},
    "data in a list": {**AN_INPUT, "data": []},
}


@pytest.mark.parametrize("value", NO_INPUTS.values(), ids=NO_INPUTS)
async def test_json_that_is_no_input_is_skipped_by_order_and_what_came_before_is_committed(
    value: Any,  # noqa: ANN401 - JSON
) -> None:
    log = a_log()
    give(log, "a")
    log.write(INBOX, [Record(None, orjson.dumps(value))])
    give(log, "b")
    async with Running(await engine(log)) as running:
        halt = await halted(running)
        assert (halt.input, happened(log)[0]) == (["inbox/0@1"], ["a"])
        assert "inbox record 1 can't be read" in halt.what
        order(log, SKIP_ORDERED, input="inbox/0@1")
        await until(lambda: happened(log)[1].inbox_next == 4)
    assert [cause["type"] for cause, _ in entries(log)][1] == "unreadable"
    assert happened(log)[0] == ["a", "b", "o1"]


async def test_an_input_nested_too_deep_to_be_journaled_is_skipped_by_order() -> None:
    log = a_log()
    give(log, "a")
    deep = json.dumps({**AN_INPUT, "data": json.loads('{"a":' * 500 + "1" + "}" * 500)})
    log.write(INBOX, [Record(None, deep.encode())])
    give(log, "b")
    async with Running(await engine(log)) as running:
        assert (await halted(running)).input == ["inbox/0@1", "orders/0@1"]
        assert happened(log)[0] == ["a"]
        order(log, SKIP_ORDERED, input="orders/0@1")
        await until(lambda: happened(log)[1].inbox_next == 4)
    cause, events = entries(log)[1]
    assert (cause["type"], cause["data"]) == ("unreadable", {"input": "orders/0@1"})
    assert events == [{"type": "input_skipped", **WHO}]


async def test_an_order_that_lacks_what_it_is_about_or_who_gave_it_is_none() -> None:
    log = a_log()
    give(log, "bad", poison=True)
    named = {"input": "inbox/0@0"}
    for data in ({}, {**WHO}, {**named, "reason": "no name"}, {**named, "reason": "x", "by": 1}):
        for type_ in (SKIP_ORDERED, RENEWAL_ORDERED):
            log.write(INBOX, [Record(None, inbox.encode_order(type_, type_, 0, {**data}))])
    async with Running(await engine(log)) as running:
        await halted(running)
        await stands_still(log)
        order(log, SKIP_ORDERED, **named)
        await until(lambda: happened(log)[1].inbox_next == 10)
    assert entries(log)[0][1] == [{"type": "input_skipped", **WHO}]


async def test_an_entry_too_large_for_a_commit_is_skipped_by_order() -> None:
    log = a_log()
    give(log, "huge", bytes=900_000)
    give(log, "b")
    async with Running(await engine(log)) as running:
        await halted(running)
        order(log, SKIP_ORDERED, input="inbox/0@0")
        await until(lambda: happened(log)[1].inbox_next == 3)
    assert happened(log)[0] == ["huge", "b", "o1"]


async def test_an_input_that_no_commit_can_hold_is_skipped_by_order_and_told_by_coordinates() -> (
    None
):
    log = a_log()
    give(log, "huge", bulk="x" * 850_000)
    give(log, "b")
    order(log, SKIP_ORDERED, input="orders/0@0")
    async with Running(await engine(log)) as running:
        await until(lambda: happened(log)[1].inbox_next == 3)
        assert running.role.halts() == {}
    cause, events = entries(log)[0]
    assert (cause["type"], cause["data"]) == ("unreadable", {"input": "orders/0@0"})
    assert events == [{"type": "input_skipped", **WHO}]


def stuck(pieces: int) -> Core[Tally]:
    """A core that can't do its first so many pieces of work, over several lives."""
    left = [pieces]

    def decide(state: Tally, cause: InputRecord) -> list[DecidedEvent]:
        if cause["type"] == "clock_ticked" and state.owed == 3 and left:
            raise ZeroDivisionError("a piece of work")
        return CORE.decide(state, cause)

    return replace(CORE, decide=decide)


async def test_a_tick_that_can_not_be_decided_is_named_by_its_commit_and_skipped_by_order() -> None:
    log = a_log()
    give(log, "w", work=3)
    give(log, "b")
    async with Running(await engine(log, core=stuck(1))) as running:
        (name,) = (await halted(running)).input
        assert name == f"tick/0@{happened(log)[1].seq}"
        order(log, SKIP_ORDERED, input=name)
        await until(lambda: happened(log)[1].inbox_next == 3)
    works = [events for cause, events in entries(log) if cause["type"] == "clock_ticked"]
    assert [one["type"] for one in works[0]] == ["work_done", "input_skipped"]
    assert [[one["type"] for one in events] for events in works[1:]] == [["work_done"]] * 2


@pytest.mark.parametrize("clock", [SteppedClock(), StandingClock()])
async def test_what_is_due_and_can_not_be_told_is_named_as_a_tick_and_skipped_by_order(
    clock: SteppedClock,
) -> None:
    def work_due(state: Tally, _now_ms: int) -> bool:
        if state.owed == 3:
            raise ZeroDivisionError("a timer")
        return state.owed > 0

    log = a_log()
    give(log, "w", work=3)
    give(log, "b")
    core = replace(CORE, work_due=work_due)
    async with Running(await engine(log, core=core, clock=clock)) as running:
        (name,) = (await halted(running)).input
        assert name == f"tick/0@{happened(log)[1].seq}"
        assert happened(log)[1].inbox_next == 1, "what came before is committed"
        order(log, SKIP_ORDERED, input=name)
        await until(lambda: happened(log)[1].inbox_next == 3)
    works = [events for cause, events in entries(log) if cause["type"] == "clock_ticked"]
    assert [one["type"] for one in works[0]] == ["work_done", "input_skipped"]
    assert [[one["type"] for one in events] for events in works[1:]] == [["work_done"]] * 2


async def test_an_order_about_an_input_leads_over_no_tick_that_fails_before_it() -> None:
    log = a_log()
    give(log, "bad", poison=True)
    ticks_fail = False

    def decide(state: Tally, cause: InputRecord) -> list[DecidedEvent]:
        if ticks_fail and cause["type"] == "clock_ticked":
            raise ZeroDivisionError("a tick")
        return CORE.decide(state, cause)

    async with Running(await engine(log, core=replace(CORE, decide=decide))) as running:
        await halted(running)
        ticks_fail = True
        order(log, SKIP_ORDERED, input="inbox/0@0")
        await until(
            lambda: any(one.input[0][:4] == "tick" for one in running.role.halts().values())
        )
        await stands_still(log)
        ticks_fail = False
        order(log, SKIP_ORDERED, id_="o2", input=running.role.halts()[0].input[0])
        await until(lambda: happened(log)[1].inbox_next == 3)
    skipped = [events for cause, events in entries(log) if cause["id"] == "bad"]
    assert [[one["type"] for one in events] for events in skipped] == [["input_skipped"]]


async def test_a_topic_made_anew_halts_until_its_new_life_is_accepted() -> None:
    log = a_log()
    renewed = []

    def decide(state: Tally, cause: InputRecord) -> list[DecidedEvent]:
        if cause["type"] == RENEWAL_ORDERED:
            renewed.append(cause["data"])
        elif cause["id"] == "first" and not renewed:
            raise TopicMadeAnew("orders", "another record stood there")
        return CORE.decide(state, cause)

    give(log, "a", "first", "b")
    async with Running(await engine(log, core=replace(CORE, decide=decide))) as running:
        assert "headrace topics accept orders" in (await halted(running)).what
        order(log, RENEWAL_ORDERED, topic="orders")
        await until(lambda: happened(log)[1].inbox_next == 4)
    ids = [cause["id"] for cause, _ in entries(log)]
    assert ids == ["a", "o1", "first", "b", "o1"], "it comes before what it helps over"
    assert renewed[0] == {"topic": "orders", **WHO}


def test_what_is_too_long_for_a_brokers_metadata_is_cut() -> None:
    halt = Halt("ä" * 5_000, ["inbox/0@1"])
    text = halt.to_metadata()
    assert len(text.encode()) < 4_000
    known = Halt.from_metadata(text)
    assert known is not None
    assert known.input == halt.input
    assert orjson.loads(text)["halted"] in halt.what


def test_other_metadata_is_no_halt() -> None:
    assert Halt.from_metadata("") is None
    assert Halt.from_metadata("{}") is None
