"""Standbys over a memory log: they take over from dead owners, and disturb no living one."""

import asyncio
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from functools import partial

import orjson
import pytest

from orchestrator.runtime import engine
from orchestrator.runtime.engine import Core, Engine, EngineConfig, ShardWriter
from orchestrator.runtime.memory_log import MemoryLog, MemoryReader, MemoryWriter
from orchestrator.runtime.snapshots import Format, Snapshots
from orchestrator.runtime.standby import StandbyConfig
from schemas import inbox
from schemas.journal import Commit, FilterState, Opened, Verdict, encode_opened
from schemas.ports import (
    Appended,
    Checkpoint,
    Clock,
    EventLog,
    Group,
    LogError,
    Partition,
    Read,
    Record,
    Writer,
)
from schemas.voids import Voids
from tests.leaping import LoopClock
from tests.runtime.fakes import (
    CORE,
    JOURNAL,
    PassingLog,
    Running,
    Seeded,
    Tally,
    a_standby,
    give,
    happened,
    metric,
    owners,
    until,
)

SNAPSHOTS = Partition("snapshots", 0)
SUSPECT_S = 0.2
AHEAD_MS = 20 * 60_000


class Again:
    """A tally in the making."""

    def __init__(self, number: int) -> None:
        self.tally = Tally(number)

    def take(self, row: list[object]) -> None:
        for name, value in zip(("now_ms", "seen", "owed"), row, strict=True):
            setattr(self.tally, name, value)

    def finish(self) -> Tally:
        return self.tally


FORM: Format[Tally] = Format(
    fingerprint="ours",
    rows=lambda tally: iter([orjson.dumps([tally.now_ms, tally.seen, tally.owed])]),
    segments=lambda _tally, _known: iter(()),
    restoring=Again,
)


class Stalling(MemoryLog):
    """A log on which the first writer's appends hang while it is told to.

    It counts how often readers look at the journal's end, and how often a standby asks whether the
    owner halts.
    """

    def __init__(self) -> None:
        super().__init__(LoopClock(), {"inbox": 1, "journal": 1, "snapshots": 1})
        self.going = asyncio.Event()
        self.going.set()
        self.writers = self.looks = self.asked = 0

    async def reader(self, at: Mapping[Partition, int | None]) -> MemoryReader:
        return _CountedReader(self, at)

    async def saved(
        self, group: str, partitions: Iterable[Partition]
    ) -> dict[Partition, Checkpoint]:
        self.asked += 1
        return await super().saved(group, partitions)

    async def writer(self) -> MemoryWriter:
        self.writers += 1
        return _StallingWriter(self) if self.writers == 1 else MemoryWriter(self)


class _CountedReader(MemoryReader):
    def __init__(self, log: Stalling, at: Mapping[Partition, int | None]) -> None:
        super().__init__(log, at)
        self._counting = log

    def high_water(self, partition: Partition) -> int | None:
        self._counting.looks += partition == JOURNAL
        return super().high_water(partition)


class _StallingWriter(MemoryWriter):
    def __init__(self, log: Stalling) -> None:
        super().__init__(log)
        self._stalling = log

    async def append(self, to: Partition, records: Sequence[Record]) -> Appended:
        await self._stalling.going.wait()
        return await super().append(to, records)


def an_engine(
    log: EventLog,
    owner: str,
    group: Group | None,
    *,
    snapshot_events: int = 1_000,
    suspect_s: float = SUSPECT_S,
    clock: Clock | None = None,
    core: Core[Tally] = CORE,
    config: EngineConfig = EngineConfig(failed_pause_s=0.01, fenced_pause_s=0.3),  # noqa: B008 - frozen
) -> Engine[Tally]:
    """An owner where it has a group; without one it only stands by."""
    return Engine(
        log=log,
        group=group,
        clock=clock or LoopClock(),
        randomness=Seeded(hash_of(owner)),
        core=replace(core, snapshots=FORM),
        owner=owner,
        config=config,
        standby=StandbyConfig(1, suspect_s=suspect_s, snapshot_events=snapshot_events),
    )


def hash_of(owner: str) -> int:
    return sum(owner.encode())


async def the_owner(log: MemoryLog) -> Engine[Tally]:
    return an_engine(log, "owner", await log.group("engine", ["inbox"]))


def standing(engine: Engine[Tally]) -> Callable[[], bool]:
    return lambda: engine.standing() == {0: "standby"}


async def opened_by_the_owner(log: MemoryLog) -> None:
    give(log, "first")
    await until(lambda: happened(log)[1].inbox_next == 1)


async def test_a_standby_takes_over_what_a_dead_owner_leaves_undone() -> None:
    log = Stalling()
    async with Running(an_engine(log, "standby", None)) as standby:
        async with Running(await the_owner(log)):
            await opened_by_the_owner(log)
            await until(standing(standby.role))
        give(log, "a", "b")
        await until(lambda: happened(log)[1].inbox_next == 3)
        assert standby.role.states() == {0: "open"}
    assert owners(log) == ["owner", "standby"]
    assert happened(log)[0] == ["first", "a", "b"]


async def test_an_owner_that_works_or_has_nothing_to_do_keeps_its_shard() -> None:
    log = Stalling()
    async with (
        Running(an_engine(log, "standby", None)) as standby,
        Running(await the_owner(log)),
    ):
        await opened_by_the_owner(log)
        await until(standing(standby.role))
        for n, pause_s in enumerate([0.05] * 20 + [0.5, 1.0, 1.5]):
            await asyncio.sleep(pause_s)
            give(log, str(n))
        await until(lambda: happened(log)[1].inbox_next == 24)
    assert owners(log) == ["owner"]


async def test_a_shard_that_halts_is_not_taken_over_until_its_owner_is_helped_on() -> None:
    log = Stalling()
    give(log, "first")
    give(log, "bad", poison=True)
    async with Running(an_engine(log, "standby", None, suspect_s=1.0)) as standby:
        async with Running(await the_owner(log)) as owner:
            await until(lambda: owner.role.states() == {0: "halted"})
            await until(standing(standby.role))
            await until(lambda: log.asked >= 2, within_s=30)  # the first answer sufficed
            assert standby.role.states() == {}
        assert owners(log) == ["owner"]
        data = {"input": "inbox/0@1", "reason": "a defect", "by": "ada"}
        value = inbox.encode_order(inbox.SKIP_ORDERED, "o1", 0, data)
        log.write(Partition("inbox", 0), [Record(None, value)])
        group = await log.group("engine", ["inbox"])
        async with Running(an_engine(log, "again", group, suspect_s=1.0)):
            await until(lambda: happened(log)[1].inbox_next == 3)
            await until(lambda: not told_to_halt(log))
        give(log, "b")
        await until(lambda: happened(log)[1].inbox_next == 4)
    assert owners(log)[-1] == "standby"
    assert "standby" not in owners(log)[:-1]


async def test_where_what_is_due_can_not_be_told_the_owner_halts_and_the_standby_stands_by() -> (
    None
):
    def fails(_state: Tally, _now_ms: int) -> bool:
        raise ZeroDivisionError("a defect")

    log = Stalling()
    give(log, "first")
    core = replace(CORE, work_due=fails)
    group = await log.group("engine", ["inbox"])
    async with (
        Running(an_engine(log, "standby", None, core=core)) as standby,
        Running(an_engine(log, "owner", group, core=core)) as owner,
    ):
        await until(lambda: owner.role.states() == {0: "halted"})
        await until(standing(standby.role))
        await until(lambda: log.asked >= 2, within_s=30)  # the first answer sufficed
        assert standing(standby.role)()
    assert owners(log) == ["owner"]


def told_to_halt(log: MemoryLog) -> bool:
    kept = log._groups["engine"].checkpoints.values()
    return any("halted" in one.metadata for one in kept)


async def test_an_owner_wrongly_suspected_loses_nothing_and_comes_back() -> None:
    log = Stalling()
    async with (
        Running(an_engine(log, "standby", None)) as standby,
        Running(await the_owner(log)) as owner,
    ):
        await opened_by_the_owner(log)
        await until(standing(standby.role))
        log.going.clear()
        give(log, "a", "b")
        await until(lambda: happened(log)[1].inbox_next == 3)
        log.going.set()
        await until(lambda: owner.role.states() == {0: "pausing"})
        await until(lambda: owner.role.states() == {0: "open"})
        give(log, "c")
        await until(lambda: happened(log)[1].inbox_next == 4)
        await until(standing(standby.role))
    ids, _, void = happened(log)
    assert ids == ["first", "a", "b", "c"]
    assert void >= 1
    assert owners(log) == ["owner", "standby", "owner"]


class _Ahead(LoopClock):
    """A clock that is wrong."""

    def now_ms(self) -> int:
        return super().now_ms() + AHEAD_MS


class _AheadReader(MemoryReader):
    """Tells by a wrong clock when it was answered, as a client does."""

    def fetched_ms(self, partition: Partition) -> int | None:
        at_ms = super().fetched_ms(partition)
        return None if at_ms is None else at_ms + AHEAD_MS


class _ReadAhead(PassingLog):
    async def reader(self, at: Mapping[Partition, int | None]) -> MemoryReader:
        return _AheadReader(self.log, at)

    async def writer(self) -> MemoryWriter:
        return await self.log.writer()


async def test_a_standby_whose_clock_was_refused_takes_nothing_over_any_more(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(engine, "_COOLING_S", 0.01)
    log = Stalling()
    due_ms = LoopClock().now_ms() + AHEAD_MS // 2
    core = replace(CORE, work_due=lambda state, now_ms: state.owed > 0 or now_ms >= due_ms)
    wrong = an_engine(_ReadAhead(log), "wrong", None, clock=_Ahead(), core=core)
    suspecting = 0

    def suspects() -> bool:
        nonlocal suspecting
        suspecting += any(one.suspects for one in wrong._standing)
        return suspecting > 50

    before = metric("headrace_takeovers_total", shard="0")
    async with Running(wrong), Running(await the_owner(log)):
        await opened_by_the_owner(log)
        await until(lambda: "wrong" in owners(log))
        give(log, "a")
        await until(lambda: happened(log)[1].inbox_next == 2)
        await until(suspects)
        taken = metric("headrace_takeovers_total", shard="0")
    assert owners(log) == ["owner", "wrong", "owner"]
    assert taken == before + 1


async def test_an_owner_that_is_opening_is_given_time() -> None:
    log = Stalling()
    log.write(JOURNAL, [Record(None, encode_opened("slow", "n1"))])
    give(log, "a")
    async with Running(an_engine(log, "standby", None)) as standby:
        await until(standing(standby.role))
        await asyncio.sleep(5 * SUSPECT_S)
        assert owners(log) == ["slow"]


class Barred(PassingLog):
    """A log of which the inbox can't be read any more once that is so; who tries waits for that."""

    fails_after_s: float | None = None

    async def reader(self, at: Mapping[Partition, int | None]) -> MemoryReader:
        return _BarredReader(self, at)

    async def writer(self) -> MemoryWriter:
        return await self.log.writer()


class _BarredReader(MemoryReader):
    def __init__(self, barred: Barred, at: Mapping[Partition, int | None]) -> None:
        super().__init__(barred.log, at)
        self._barred = barred
        self._of_inbox = any(one.topic == "inbox" for one in at)

    async def read(self, max_records: int, wait_ms: int) -> dict[Partition, list[Read]]:
        if self._of_inbox and self._barred.fails_after_s is not None:
            await asyncio.sleep(self._barred.fails_after_s)
            raise LogError("the inbox can't be read")
        return await super().read(max_records, wait_ms)


@pytest.mark.parametrize("fails_after_s", [0.0, pytest.param(15.0, marks=pytest.mark.slow)])
async def test_an_owner_that_opens_and_can_not_work_leaves_the_shard_to_its_standby(
    fails_after_s: float,
) -> None:
    log, minutes = Stalling(), 8
    barred = Barred(log)
    group = await log.group("engine", ["inbox"])
    in_earnest = EngineConfig()
    async with (
        Running(an_engine(log, "standby", None, suspect_s=1.0, config=in_earnest)) as standby,
        Running(an_engine(barred, "owner", group, config=in_earnest)) as owner,
    ):
        await opened_by_the_owner(log)
        await until(standing(standby.role))
        barred.fails_after_s = fails_after_s
        handled: list[int] = []
        for minute in range(minutes):
            for tenth in range(10):
                give(log, f"{minute}.{tenth}")
                await asyncio.sleep(6)
            handled.append(happened(log)[1].inbox_next)
        assert handled[2] > 1, "it has had it for a while, early on"
        assert handled[-1] - handled[-5] >= 35, "of 40 in the last four minutes"
        opened = owners(log).count("owner")
        barred.fails_after_s = None
        await until(lambda: owner.role.states() == {0: "open"}, within_s=301)
        give(log, "last")
        await until(lambda: happened(log)[1].inbox_next == 10 * minutes + 2)
    assert opened <= 8, "after 0, 1, 10, 20, 40, 80, 160 s"
    assert owners(log)[-1] == "owner"


class Silent(Stalling):
    """A log whose broker may cease to answer readers: they learn nothing new of any end."""

    silent = False

    async def reader(self, at: Mapping[Partition, int | None]) -> MemoryReader:
        return _SilentReader(self, at)


class _SilentReader(_CountedReader):
    def __init__(self, log: Silent, at: Mapping[Partition, int | None]) -> None:
        super().__init__(log, at)
        self._silent = log

    def fetched_ms(self, partition: Partition) -> int | None:
        fetched_ms = super().fetched_ms(partition)
        return None if fetched_ms is None else fetched_ms - 60_000 * self._silent.silent


async def suspects_nobody(log: Stalling, clock: LoopClock, ails: Callable[[bool], None]) -> None:
    """A standby takes a dead owner's shard over when what ailed it is over, and not before."""
    async with Running(an_engine(log, "standby", None, clock=clock)) as standby:
        async with Running(await the_owner(log)):
            await opened_by_the_owner(log)
            await until(standing(standby.role))
            ails(True)  # noqa: FBT003 - the one thing to say
        give(log, "a")
        enough = log.looks + 20  # one each tenth of a second: long enough to suspect whom it may
        await until(lambda: log.looks >= enough, within_s=30)
        assert "standby" not in owners(log)
        ails(False)  # noqa: FBT003 - the same
        await until(lambda: happened(log)[1].inbox_next == 2)
    assert owners(log) == ["owner", "standby"]


async def test_who_has_old_answers_of_the_broker_alone_suspects_nobody() -> None:
    log = Silent()
    await suspects_nobody(log, LoopClock(), partial(setattr, log, "silent"))


class Stopped(LoopClock):
    """A clock that goes on by two seconds whenever it is looked at: this process stands still."""

    ahead_s = 0.0
    stopped = False

    def monotonic(self) -> float:
        self.ahead_s += 2 * self.stopped
        return super().monotonic() + self.ahead_s


async def test_who_stood_still_itself_suspects_nobody_for_it() -> None:
    clock = Stopped()
    await suspects_nobody(Stalling(), clock, partial(setattr, clock, "stopped"))


async def test_a_shard_opens_from_the_snapshot_that_a_standby_took() -> None:
    def folded() -> float:
        return metric("headrace_recovered_events_total", shard="0")

    log = Stalling()
    written = log.held(SNAPSHOTS)
    async with (
        Running(an_engine(log, "standby", None, snapshot_events=20)) as standby,
        Running(await the_owner(log)),
    ):
        await opened_by_the_owner(log)
        await until(standing(standby.role))
        give(log, *(str(n) for n in range(50)))
        await until(lambda: happened(log)[1].inbox_next == 51)
        await until(lambda: any((one.key or b"").endswith(b".manifest") for one in written.records))
        taken = orjson.loads(written.records[1].value or b"")
    before = folded()
    async with Running(await the_owner(log)) as again:
        await until(lambda: again.role.states() == {0: "open"})
        give(log, "x")
        await until(lambda: happened(log)[1].inbox_next == 52)
    entries = 2 * 51  # at least: each an input and an event
    assert taken["filter"]["inbox_next"] > 1
    assert folded() - before < entries
    assert happened(log)[0] == ["first", *(str(n) for n in range(50)), "x"]


class Counting(MemoryLog):
    """A log that counts the bytes of the journal that it gives."""

    def __init__(self) -> None:
        super().__init__(LoopClock(), dict.fromkeys(("inbox", "journal", "voids", "snapshots"), 1))
        self.given = 0

    async def reader(self, at: Mapping[Partition, int | None]) -> "CountingReader":
        return CountingReader(self, at)


class CountingReader(MemoryReader):
    def __init__(self, log: Counting, at: Mapping[Partition, int | None]) -> None:
        super().__init__(log, at)
        self._counting = log

    async def read(self, max_records: int, wait_ms: int) -> dict[Partition, list[Read]]:
        read = await super().read(max_records, wait_ms)
        self._counting.given += sum(len(one.value or b"") for one in read.get(JOURNAL, ()))
        return read


class Slow(Snapshots[Tally]):
    """Snapshots of which none is written before it is told to."""

    def __init__(self, log: MemoryLog) -> None:
        super().__init__(0, log=log, clock=LoopClock(), randomness=Seeded(1), form=FORM)
        self.began = asyncio.Event()
        self.may = asyncio.Event()

    async def load(self, before: int | None = None) -> None:
        """There is none."""

    async def newest(self) -> None:
        """There is none."""

    async def write(self, *_: object) -> None:
        self.began.set()
        await self.may.wait()


async def test_a_standby_reads_no_more_than_so_much_while_a_snapshot_is_written() -> None:
    log = Counting()
    async with Running(await the_owner(log)):
        for first in range(0, 2_000, 20):
            give(log, *(str(first + n) for n in range(20)), pad="x" * 2_000)
            await until(lambda end=first + 20: happened(log)[1].inbox_next == end)  # type: ignore[misc]
    journal = log.held(JOURNAL)
    largest, held_bytes = max(len(one.value or b"") for one in journal.records), 500_000
    log.given = 0
    clock, voids, snapshots = LoopClock(), Voids(log), Slow(log)
    replica = CORE.replica(0, clock, voids)
    standby = a_standby(
        replica,
        log,
        clock,
        voids,
        config=StandbyConfig(1, snapshot_events=50, held_bytes=held_bytes),
        snapshots=snapshots,
    )
    running = asyncio.create_task(standby.run())
    async with asyncio.timeout(10):
        await snapshots.began.wait()
    most = log.given + held_bytes + 16 * largest
    assert most < sum(len(one.value or b"") for one in journal.records)
    with pytest.raises(TimeoutError):
        await until(lambda: log.given > most, within_s=0.5)
    snapshots.may.set()
    await until(lambda: replica.filter.next == journal.next)
    standby.stop.set()
    await running


class Leaping(LoopClock):
    """A clock, and a log's, that leaps ahead."""

    ahead_s = 0.0

    def now_ms(self) -> int:
        return super().now_ms() + round(self.ahead_s * 1000)

    def monotonic(self) -> float:
        return super().monotonic() + self.ahead_s


class Heavy(Voids):
    """Void lists, and a machine on which every record takes 3 ms to look through."""

    def __init__(self, log: MemoryLog, clock: Leaping, notes: asyncio.Event) -> None:
        super().__init__(log)
        self._clock = clock
        self._notes = notes
        self._turn = 0
        self.turns: list[int] = []  # of others, before each record from the event on

    def take(
        self, shard: int, state: FilterState, read: Read, *, folds: bool
    ) -> tuple[FilterState, Opened | Commit | None, Verdict]:
        self._clock.ahead_s += 0.003
        if self._notes.is_set():
            self.turns.append(self._turn)
        return super().take(shard, state, read, folds=folds)

    async def others(self) -> None:
        while True:
            self._turn += 1
            await asyncio.sleep(0)


async def test_others_have_their_turn_while_records_are_looked_through_beside_a_snapshot() -> None:
    topics = dict.fromkeys(("inbox", "journal", "voids", "snapshots"), 1)
    log, clock = MemoryLog(LoopClock(), topics), Leaping()
    async with Running(await the_owner(log)):
        for number in range(60):
            give(log, str(number))
            await until(lambda end=number + 1: happened(log)[1].inbox_next == end)  # type: ignore[misc]
    snapshots = Slow(log)
    voids = Heavy(log, clock, snapshots.began)
    standby = a_standby(
        CORE.replica(0, clock, voids),
        log,
        clock,
        voids,
        config=StandbyConfig(1, snapshot_events=10),
        snapshots=snapshots,
    )
    running = asyncio.create_task(standby.run())
    others = asyncio.create_task(voids.others())
    await until(lambda: len(voids.turns) >= 32)
    assert len({*voids.turns}) == len(voids.turns)
    snapshots.may.set()
    standby.stop.set()
    await running
    others.cancel()


async def test_a_snapshot_is_written_anew_before_retention_takes_it_however_little_happened() -> (
    None
):
    clock = Leaping()
    log = MemoryLog(clock, dict.fromkeys(("inbox", "journal", "voids", "snapshots"), 1))
    async with Running(await the_owner(log)):
        give(log, "a")
        await until(lambda: happened(log)[1].inbox_next == 1)
    voids = Voids(log)
    snapshots = Snapshots(0, log=log, clock=clock, randomness=Seeded(1), form=FORM)
    replica = CORE.replica(0, clock, voids)
    standby = a_standby(
        replica,
        log,
        clock,
        voids,
        config=StandbyConfig(1, snapshot_events=1_000),
        snapshots=snapshots,
        seed=2,
    )
    written = log.held(SNAPSHOTS)

    def manifests() -> int:
        return sum((one.key or b"").endswith(b".manifest") for one in written.records)

    running = asyncio.create_task(standby.run())
    await until(lambda: replica.filter.next == log.held(JOURNAL).next)
    clock.ahead_s += 3 * 86_400  # there is none yet: so little is folded at once
    await snapshots.write(replica.state, replica.filter)
    assert manifests() == 1
    clock.ahead_s += 2 * 86_400 + 3_600
    await until(lambda: manifests() == 2)
    assert log.held(JOURNAL).next == replica.filter.next, "nothing happened"
    standby.stop.set()
    await running


async def test_what_the_group_gives_is_opened_from_what_was_followed_here(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    log = Stalling()
    first = Running(await the_owner(log))
    async with first:
        await until(lambda: first.role.states() == {0: "open"})
        group = await log.group("engine", ["inbox"])  # has nothing while the first is there
        async with Running(an_engine(log, "second", group)) as second:
            await opened_by_the_owner(log)
            give(log, *(str(n) for n in range(30)))
            await until(lambda: happened(log)[1].inbox_next == 31)
            await until(standing(second.role))
            read: list[int | None] = []
            reader = MemoryLog.reader

            async def noting(self: MemoryLog, at: dict[Partition, int | None]) -> object:
                read.extend(offset for one, offset in at.items() if one == JOURNAL)
                return await reader(self, at)

            await asyncio.sleep(0.2)  # it has folded what there is
            monkeypatch.setattr(Stalling, "reader", noting)
            end = log.held(JOURNAL).next
            first.stop.set()
            await until(lambda: second.role.states() == {0: "open"})
            assert read == [end]
            give(log, "x")
            await until(lambda: happened(log)[1].inbox_next == 32)


@pytest.mark.parametrize("end", ["halted", "no writer", "told to leave"])
async def test_what_was_followed_and_is_not_opened_is_let_go(end: str) -> None:
    log, held = Stalling(), list[list[str]]()

    def let_go(state: Tally) -> Iterator[None]:
        held.append([*state.seen])
        yield from CORE.let_go(state)

    async with Running(await the_owner(log)):
        await opened_by_the_owner(log)
    if end == "halted":
        log.write(JOURNAL, [Record(None, b"{}")])
    clock, voids = LoopClock(), Voids(log)
    replica = CORE.replica(0, clock, voids)
    standby = a_standby(replica, log, clock, voids, config=StandbyConfig(1), let_go=let_go, seed=2)
    following = asyncio.create_task(standby.run())
    await until(lambda: replica.state.seen == ["first"])
    await until(lambda: standby.state == ("halted" if end == "halted" else "standby"))
    standby.stop.set()
    await following
    if end != "halted":
        writer = ShardWriter(
            0,
            log=NoWriter(log),
            clock=clock,
            randomness=Seeded(3),
            core=replace(CORE, let_go=let_go),
            owner="taking over",
            config=EngineConfig(failed_pause_s=0.01),
            standby=standby,
        )
        if end == "told to leave":
            writer.stop.set()
        running = asyncio.create_task(writer.run())
        await until(lambda: ["first"] in held)
        writer.stop.set()
        await running
    assert held.count(["first"]) == 1
    assert replica.state.seen == []


class NoWriter(PassingLog):
    """A log that has no writer for anybody."""

    async def writer(self) -> Writer:
        raise LogError("no writer")
