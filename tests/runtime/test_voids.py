"""Journals that can't be read on: what is found, and that every role goes on by a person's word."""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, MutableMapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import Any

import orjson
import pytest
import structlog
from structlog.testing import capture_logs

from orchestrator.runtime.engine import Core, Engine, EngineConfig, ShardWriter
from orchestrator.runtime.memory_log import MemoryLog
from orchestrator.runtime.publisher import Ports
from orchestrator.runtime.relay import Relay
from orchestrator.runtime.snapshots import Format, Snapshots
from orchestrator.runtime.standby import Standby, StandbyConfig
from orchestrator.runtime.world import SystemRandomness
from orchestrator.verification import Kept
from orchestrator.voiding import SEQ_AHEAD, NotVoidable, found_void
from schemas.journal import (
    Commit,
    FilterState,
    JournalError,
    Opened,
    Verdict,
    decode,
    digest_of,
    encode_commit,
    encode_opened,
)
from schemas.ports import Bounds, Checkpoint, Partition, Read, Record
from schemas.voids import VOIDS, Foreign, Void, Voids
from tests.leaping import LoopClock
from tests.runtime.fakes import (
    CORE,
    INBOX,
    JOURNAL,
    Running,
    Seeded,
    Tally,
    a_standby,
    give,
    until,
)

TOPICS = {
    "inbox": 1,
    "journal": 1,
    "snapshots": 1,
    "fulfillment-commands": 1,
    "order-updates": 1,
    "availability": 1,
    "exceptions": 1,
}


class _Again:
    def __init__(self, number: int) -> None:
        self.state = Tally(number)

    def take(self, row: Any) -> None:  # noqa: ANN401 - JSON
        self.state.now_ms, self.state.seen = row

    def finish(self) -> Tally:
        return self.state


FORM: Format[Tally] = Format(
    fingerprint="ours",
    rows=lambda state: iter([orjson.dumps([state.now_ms, state.seen])]),
    segments=lambda _state, _known: iter(()),
    restoring=_Again,
)
SNAPPING: Core[Tally] = replace(CORE, snapshots=FORM)


def a_log() -> MemoryLog:
    return MemoryLog(LoopClock(), TOPICS)


async def an_engine(log: MemoryLog, seed: int = 1, standby: StandbyConfig | None = None) -> Running:
    role = Engine(
        log=log,
        group=await log.group("engine", ["inbox"]),
        clock=LoopClock(),
        randomness=Seeded(seed),
        core=SNAPPING,
        owner=f"engine {seed}",
        config=EngineConfig(failed_pause_s=0.01, fenced_pause_s=0.05),
        standby=standby,
    )
    return Running(role)


@asynccontextmanager
async def relaying(log: MemoryLog) -> AsyncIterator[Relay]:
    stop, group = asyncio.Event(), await log.group("relay", ["journal"])
    role = Relay(Ports(log, group, LoopClock(), SystemRandomness()), takeover_s=60)
    running = asyncio.create_task(role.run(stop))
    try:
        yield role
    finally:
        stop.set()
        await running


def store(log: MemoryLog, seed: int = 9) -> Snapshots[Tally]:
    return Snapshots(0, log=log, clock=LoopClock(), randomness=Seeded(seed), form=FORM)


async def found(log: MemoryLog, *kept: FilterState) -> Void | None:
    voids = Voids(log)
    await voids.read()
    return await found_void(log, 0, voids, store(log), [Kept("the relay", one) for one in kept])


async def say(log: MemoryLog, *kept: FilterState) -> Void:
    """Find what would have to be void, and say so."""
    void = await found(log, *kept)
    assert void is not None
    log.write(VOIDS, [void._replace(reason="a test", by="ada").record()])
    return void


async def happened(log: MemoryLog) -> tuple[list[str], FilterState]:
    """Ids of the inputs that happened, as a reader from the beginning sees them."""
    voids = Voids(log)
    await voids.read()
    lost = voids.lost(0)
    state, ids = lost.state if lost is not None else FilterState(), list[str]()
    for read in log.held(JOURNAL).records:
        if read.offset >= state.next:
            state, record, verdict = voids.take(0, state, read, folds=False)
            if isinstance(record, Commit) and verdict is Verdict.VALID:
                ids += [one["input"]["id"] for one in record.entries if one["input"]["id"]]
    return ids, state


def skus(log: MemoryLog) -> list[str]:
    """What was published, in order."""
    return [
        orjson.loads(one.value or b"")["sku"]
        for one in log.held(Partition("availability", 0)).records
    ]


async def decided(log: MemoryLog, *ids: str, seed: int = 1) -> FilterState:
    """Let an engine decide inputs, and stop; where its journal then stands."""
    give(log, *ids)
    async with await an_engine(log, seed):
        await reached(log, log.held(INBOX).next)
    return (await happened(log))[1]


async def reached(log: MemoryLog, inbox_next: int) -> FilterState:
    """Where the journal stands once so much of the inbox is handled."""
    async with asyncio.timeout(10):
        while (state := (await happened(log))[1]).inbox_next < inbox_next:
            await asyncio.sleep(0.005)
    return state


async def relayed(log: MemoryLog, state: FilterState) -> None:
    """The relay has got so far."""
    group = await log.group("relay", ["journal"])
    await group.changes(0)
    await group.save({JOURNAL: Checkpoint(state.next, state.to_json())})
    await group.close()


async def test_a_sound_journal_has_nothing_void() -> None:
    log = a_log()
    state = await decided(log, "a", "b")
    assert await found(log, state) is None


async def test_a_foreign_record_halts_every_role_until_a_person_says_that_it_is_void() -> None:
    log = a_log()
    await decided(log, "a")
    log.write(JOURNAL, [Record(b"k", b"hello")])
    give(log, "b")
    running = await an_engine(log, 2)
    async with relaying(log) as relay, running:
        await until(lambda: running.role.states().get(0) == "halted")
        await until(lambda: relay.states().get(0) == "halted")
        assert "is not a journal record" in running.role.halts()[0].what
        void = await say(log)
        assert (void.until - void.first, void.lost) == (1, False)
        await until(lambda: running.role.states().get(0) == "open")
        await until(lambda: relay.states().get(0) == "open")
        await until(lambda: skus(log) == ["a", "b"])
    assert (await happened(log))[0] == ["a", "b"]
    assert await found(log) is None


async def test_a_standby_goes_on_as_well_and_takes_over_behind_the_void() -> None:
    log = a_log()
    state = await decided(log, "a")
    log.write(JOURNAL, [Record(None, b"{}")])
    role = Engine(
        log=log,
        group=None,
        clock=LoopClock(),
        randomness=Seeded(3),
        core=SNAPPING,
        owner="standby",
        standby=StandbyConfig(1, suspect_s=0.2),
    )
    async with Running(role):
        await until(lambda: role.standing().get(0) == "halted")
        await say(log)
        await until(lambda: role.standing().get(0) == "standby")
        give(log, "b")
        await until(lambda: role.states().get(0) == "open", within_s=30)
    assert (await happened(log))[0] == ["a", "b"]
    assert state.seq < (await happened(log))[1].seq


async def test_commits_decided_on_another_history_are_void_together_and_decided_anew() -> None:
    log = a_log()
    state = await decided(log, "a")
    give(log, "b", "c")
    for seq in (state.seq + 2, state.seq + 3):
        foreign = encode_commit(
            epoch=state.epoch,
            nonce=state.nonce,
            seq=seq,
            inbox_from=1,
            inbox_next=2,
            prev="other",
            now_ms=0,
            entries=[],
        )
        log.write(JOURNAL, [Record(None, foreign)])
    void = await found(log)
    assert void is not None
    assert "gap in the journal" in void.what
    assert (void.first, void.until) == (state.next, state.next + 2)
    assert void.state == replace(state, next=state.next + 2)
    await say(log)
    await decided(log, seed=2)
    assert (await happened(log))[0] == ["a", "b", "c"]


async def test_a_journal_whose_beginning_is_gone_is_refused_though_a_snapshot_would_do() -> None:
    log = a_log()
    state = await decided(log, "a", "b")
    await snapshot(log, state, "a", "b")
    await log.trim(JOURNAL, 1)
    running = await an_engine(log, 2)
    async with running:
        await until(lambda: running.role.states().get(0) == "halted")
        assert "begins at offset 1" in running.role.halts()[0].what
        assert "headrace shard void 0" in running.role.halts()[0].what


NEWER = Record(b"0", b'{"version":2}')


async def test_a_word_that_this_release_can_not_read_ends_no_process() -> None:
    """Other shards go on; the halted one waits for the release that can read it."""
    log = MemoryLog(LoopClock(), {**TOPICS, "inbox": 2, "journal": 2, "snapshots": 2})
    beside, theirs = Partition("inbox", 1), Partition("journal", 1)
    log.write(JOURNAL, [Record(b"k", b"hello")])
    running = await an_engine(log)
    with capture_logs() as said:
        async with relaying(log) as relay, running:
            await until(lambda: running.role.states() == {0: "halted", 1: "open"})
            await until(lambda: relay.states().get(0) == "halted")
            log.write(VOIDS, [NEWER])
            await until(lambda: len(waits(said)) >= 2)  # engine and relay
            give(log, "b", to=beside)
            held = log.held(theirs).next
            await until(lambda: log.held(theirs).next > held)
            assert running.role.states() == {0: "halted", 1: "open"}
    assert {one["shard"] for one in waits(said)} == {0}
    assert all("upgrade Headrace" in one["what"] for one in waits(said))


def waits(said: Sequence[MutableMapping[str, Any]]) -> list[MutableMapping[str, Any]]:
    return [one for one in said if one["event"] == "a halted shard waits"]


class Impatient(LoopClock):
    """A clock that lets nobody sleep, and tells to stop after so many times."""

    def __init__(self, times: int) -> None:
        self.left = times
        self.stop = asyncio.Event()

    async def sleep(self, seconds: float) -> None:  # noqa: ARG002 - a port's
        self.left -= 1
        if not self.left:
            self.stop.set()


async def test_a_word_that_can_not_be_read_is_told_once_however_often_it_is_looked_at() -> None:
    log, clock = a_log(), Impatient(5)
    log.write(VOIDS, [NEWER])
    with capture_logs() as said:
        await Voids(log).more(0, clock.stop, clock, structlog.get_logger().error)
    assert (clock.left, len(waits(said))) == (0, 1)


async def test_who_starts_beside_a_word_that_it_can_not_read_halts_and_says_so() -> None:
    log = MemoryLog(LoopClock(), {**TOPICS, "inbox": 2, "journal": 2, "snapshots": 2})
    log.write(VOIDS, [NEWER])
    running = await an_engine(log, standby=StandbyConfig(2))
    async with relaying(log) as relay, running:
        await until(lambda: running.role.states() == {0: "halted", 1: "halted"})
        await until(lambda: relay.states() == {0: "halted", 1: "halted"})
        assert "upgrade Headrace" in running.role.halts()[0].what


class Looked(MemoryLog):
    """A log that counts who looks at the void list how often."""

    def __init__(self) -> None:
        super().__init__(LoopClock(), TOPICS)
        self.looked = Counter[object]()

    async def bounds(self, partition: Partition) -> Bounds:
        self.looked[asyncio.current_task()] += partition == VOIDS
        return await super().bounds(partition)

    def looked_twice(self) -> list[object]:
        """Tasks for which the first look led nowhere."""
        return [task for task, times in self.looked.items() if times > 1]


async def test_a_foreign_record_of_the_list_is_passed_over_by_a_persons_word_alone() -> None:
    log = Looked()
    give(log, "a")
    log.write(JOURNAL, [Record(b"k", b"hello")])
    void = await found(log)
    assert void is not None
    log.write(VOIDS, [Record(None, b"hello"), void.record()])
    digest = digest_of(b"hello")
    running = await an_engine(log)
    async with relaying(log) as relay, running:
        await until(lambda: running.role.states() == {0: "halted"})
        assert "`headrace shard foreign voids/0@0`" in running.role.halts()[0].what
        await until(lambda: relay.states() == {0: "halted"})
        for other in (Foreign(0, "other", "why", "ada", 1), Foreign(1, digest, "why", "ada", 1)):
            log.write(VOIDS, [other.record()])
        log.looked.clear()
        await until(lambda: len(log.looked_twice()) == 2, within_s=30)  # the engine, the relay
        assert running.role.states() == relay.states() == {0: "halted"}
        log.write(VOIDS, [Foreign(0, digest, "why", "ada", 1).record()])
        await until(lambda: running.role.states() == {0: "open"})
        await until(lambda: relay.states() == {0: "open"})
        await reached(log, 1)
    assert (await happened(log))[0] == ["a"]
    again = Voids(log)
    await again.once()
    assert again.of(0) == [void], "what stands behind it counts again"


async def test_of_what_a_newer_release_wrote_nobody_can_say_that_it_is_foreign() -> None:
    log = a_log()
    log.write(VOIDS, [NEWER])
    log.write(VOIDS, [Foreign(0, digest_of(NEWER.value or b""), "why", "ada", 1).record()])
    voids = Voids(log)
    with pytest.raises(JournalError, match="upgrade Headrace"):
        await voids.read()
    assert voids.foreign(0) is None


async def test_words_behind_one_that_can_not_be_read_do_not_count_yet() -> None:
    log = a_log()
    log.write(JOURNAL, [Record(b"k", b"hello")])
    voids, void = Voids(log), await found(log)
    assert void is not None
    await voids.once()
    log.write(VOIDS, [NEWER, void.record()])
    with pytest.raises(JournalError, match="upgrade Headrace"):
        await voids.read()
    assert voids.of(0) == ()
    await voids.once()  # whoever runs goes on


async def snapshot(log: MemoryLog, at: FilterState, *seen: str) -> None:
    tally = Tally(0)
    tally.seen = list(seen)
    await store(log).write(tally, at)


async def test_with_a_snapshot_from_behind_it_a_lost_beginning_can_be_accepted() -> None:
    log = a_log()
    state = await decided(log, "a", "b")
    await relayed(log, state)
    await snapshot(log, state, "a", "b")
    await log.trim(JOURNAL, state.next)
    give(log, "c")
    running = await an_engine(log, 2)
    async with running, relaying(log) as relay:
        await until(lambda: running.role.states().get(0) == "halted")
        await until(lambda: relay.states().get(0) == "halted")
        void = await say(log)
        assert (void.first, void.until, void.lost) == (0, state.next, True)
        assert void.state == state
        await until(lambda: skus(log) == ["c"])
    assert (await happened(log))[0] == ["c"]


async def test_without_a_snapshot_from_behind_it_no_word_leads_on() -> None:
    log = a_log()
    state = await decided(log, "a", "b")
    await snapshot(log, replace(state, next=1), "a")
    await log.trim(JOURNAL, 2)
    with pytest.raises(NotVoidable, match="no snapshot from behind that which this release can"):
        await found(log)


async def test_a_snapshot_that_is_gone_later_is_missed_and_not_guessed() -> None:
    log = a_log()
    state = await decided(log, "a", "b")
    await snapshot(log, state, "a", "b")
    await log.trim(JOURNAL, 1)
    await say(log)
    log.held(Partition("snapshots", 0)).records.clear()
    running = await an_engine(log, 2)
    async with running:
        await until(lambda: running.role.states().get(0) == "halted")
        assert "only a snapshot from behind them" in running.role.halts()[0].what


async def lost_end(log: MemoryLog) -> tuple[FilterState, FilterState]:
    """A journal that lost its newest commits, which a snapshot and a reader hold: before, since."""
    give(log, "a")
    async with await an_engine(log):
        before = await reached(log, 1)
        give(log, "b", "c")
        since = await reached(log, 3)
    await snapshot(log, since, "a", "b", "c")
    del log.held(JOURNAL).records[before.next :]
    return before, since


async def test_a_lost_end_that_somebody_has_read_is_found_and_halts() -> None:
    log = a_log()
    before, since = await lost_end(log)
    running = await an_engine(log, 3)
    async with running:
        await until(lambda: running.role.states().get(0) == "halted")
        assert "it has lost records that were confirmed" in running.role.halts()[0].what
    void = await found(log, since)
    assert void is not None
    assert void.end_lost
    assert void.state.seq == since.seq + SEQ_AHEAD
    assert void.state.digest == before.digest


async def followed(log: MemoryLog) -> Standby[Tally]:
    """A standby that has read the journal to its end, and was told to stop."""
    clock, voids = LoopClock(), Voids(log)
    replica = SNAPPING.replica(0, clock, voids)
    standby = a_standby(replica, log, clock, voids, config=StandbyConfig(1), seed=2)
    following = asyncio.create_task(standby.run())
    await until(lambda: replica.filter.next == log.held(JOURNAL).next)
    standby.stop.set()
    await following
    return standby


async def test_a_standby_that_had_read_what_the_journal_lost_is_not_opened_from() -> None:
    log = a_log()
    since = await decided(log, "a", "b")
    standby = await followed(log)
    del log.held(JOURNAL).records[-1:]
    writer = ShardWriter(
        0,
        log=log,
        clock=LoopClock(),
        randomness=Seeded(3),
        core=SNAPPING,
        owner="taking over",
        config=EngineConfig(failed_pause_s=0.01, fenced_pause_s=0.05),
        standby=standby,
    )
    running = asyncio.create_task(writer.run())
    await until(lambda: writer.halt is not None and writer.state == "halted")
    assert writer.halt is not None
    assert "it has lost records that were confirmed" in writer.halt.what
    await say(log, since)
    await until(lambda: writer.state == "open")
    await reached(log, 2)
    writer.stop.set()
    await running
    assert (await happened(log))[0] == ["a", "b"]


@pytest.mark.parametrize("written_on", [False, True])
async def test_behind_a_lost_end_inputs_are_decided_anew_under_ids_never_used(
    written_on: bool,  # noqa: FBT001 - both
) -> None:
    log = a_log()
    _, since = await lost_end(log)
    await relayed(log, since)
    if written_on:
        for number in range(9):
            log.write(JOURNAL, [Record(None, encode_opened("halts", f"m{number}"))])
    void = await say(log, since)
    after = await decided(log, "d", seed=4)
    assert (await happened(log))[0] == ["a", "b", "c", "d"]
    assert after.seq > since.seq + SEQ_AHEAD
    async with relaying(log):
        await until(lambda: skus(log) == ["b", "c", "d"])
    seqs = [int(ids[0].split(b".")[1]) for ids in published_ids(log)]
    assert all(seq > void.state.seq for seq in seqs)
    assert await found(log, since) is None  # it was said already


async def test_who_had_read_what_a_journal_lost_takes_nothing_that_grew_in_its_place() -> None:
    log = a_log()
    since = await decided(log, "a", "b")
    await relayed(log, since)
    del log.held(JOURNAL).records[-1:]
    await decided(log, "c", seed=2)
    assert log.held(JOURNAL).next > since.next
    async with relaying(log) as relay:
        await until(lambda: relay.states().get(0) == "halted")
    assert skus(log) == []
    void = await found(log, since)
    assert void is not None
    assert void.end_lost


def published_ids(log: MemoryLog) -> list[list[bytes]]:
    records: list[Read] = log.held(Partition("availability", 0)).records
    return [[value for name, value in one.headers if name == "ce_id"] for one in records]


async def test_what_an_inbox_lost_is_passed_over_by_a_persons_word_and_by_every_role() -> None:
    log = a_log()
    await relayed(log, await decided(log, "a"))
    give(log, "b", "c")
    await log.trim(INBOX, 2)
    running = await an_engine(log, 2)
    async with running:
        await until(lambda: running.role.states().get(0) == "halted")
    void = await found(log)
    assert void is not None
    assert void.inbox_lost
    assert "decided up to offset 1, and has nothing before offset 2" in void.what
    await say(log)
    await decided(log, "d", seed=3)
    assert (await happened(log))[0] == ["a", "c", "d"]
    async with relaying(log):
        await until(lambda: skus(log) == ["c", "d"])
    assert await found(log) is None


async def test_an_inbox_that_was_made_anew_is_read_from_the_first_that_was_not_decided() -> None:
    log = a_log()
    await decided(log, "a", "b", "c")
    held = log.held(INBOX)
    decided_last = held.records[2].value
    new = orjson.dumps(
        {**orjson.loads(decided_last or b""), "id": "d", "origin": ["orders", 0, 3, 0]}
    )
    held.records.clear()
    log.write(INBOX, [Record(None, decided_last), Record(None, new)])
    void = await found(log)
    assert void is not None
    assert "was decided up to offset 3, and ends at 2" in void.what
    assert void.state.inbox_next == 1
    await say(log)
    await decided(log, seed=4)
    assert (await happened(log))[0] == ["a", "b", "c", "d"]


async def test_what_a_newer_release_wrote_is_not_for_voiding() -> None:
    log = a_log()
    await decided(log, "a")
    newer = encode_opened("two", "n9").replace(b'"version":1', b'"version":2')
    log.write(JOURNAL, [Record(None, newer)])
    with pytest.raises(NotVoidable, match="this release reads 1: upgrade Headrace"):
        await found(log)


async def test_every_process_that_starts_later_passes_over_the_same() -> None:
    log = a_log()
    await decided(log, "a")
    log.write(JOURNAL, [Record(None, b"1")])
    log.write(JOURNAL, [Record(None, b"2")])
    void = await say(log)
    assert void.until - void.first == 2
    for seed in (2, 3):
        await decided(log, f"after {seed}", seed=seed)
    records = [one for one in log.held(JOURNAL).records if one.offset not in range(*void[1:3])]
    opened = [decode(one.value, one.offset) for one in records]
    assert sum(isinstance(one, Opened) for one in opened) == 3
    assert (await happened(log))[0] == ["a", "after 2", "after 3"]
