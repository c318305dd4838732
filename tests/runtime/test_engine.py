"""The engine over a memory log and a small core: what it commits, and what it never does."""

import asyncio
import random
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace

import orjson
import pytest
from prometheus_client import REGISTRY
from structlog.testing import capture_logs

from events.decided import DecidedEvent, InputRecord
from orchestrator.runtime.engine import Core, Doubt, EngineConfig, ShardWriter
from orchestrator.runtime.memory_log import MemoryLog, MemoryReader
from orchestrator.runtime.metrics import TABLE
from schemas.journal import MAX_COMMIT_BYTES, encode_opened
from schemas.ports import (
    Appended,
    Bounds,
    LogError,
    Partition,
    Read,
    Record,
    TopicDescription,
    Writer,
)
from tests.runtime.fakes import (
    CORE,
    INBOX,
    JOURNAL,
    Careless,
    FaultyLog,
    PassingLog,
    Running,
    Seeded,
    SteppedClock,
    Tally,
    engine,
    give,
    happened,
    metric,
    owners,
    until,
)


def a_log(shards: int = 1) -> MemoryLog:
    return MemoryLog(SteppedClock(), {"inbox": shards, "journal": shards})


async def test_decides_every_input_once_in_inbox_order() -> None:
    log = a_log()
    give(log, "a", "b", "c")
    async with Running(await engine(log)):
        await until(lambda: happened(log)[1].inbox_next == 3)
        give(log, "d")
        await until(lambda: happened(log)[1].inbox_next == 4)
    assert happened(log)[0] == ["a", "b", "c", "d"]


def counted() -> dict[str, float]:
    """What this process says that it has committed."""
    return {
        "placed": metric("headrace_inputs_total", type="order_placed", outcome="applied"),
        "called off": metric(
            "headrace_inputs_total", type="order_cancel_requested", outcome="applied"
        ),
        "parked": metric("headrace_inputs_total", type="order_cancel_requested", outcome="parked"),
        "events": metric("headrace_decided_events_total", type="availability_changed"),
        "timed": metric("headrace_placed_to_journal_seconds_count"),
        "commits": metric("headrace_batch_inputs_count", shard="0"),
        "inputs": metric("headrace_batch_inputs_sum", shard="0"),
        "bytes": metric("headrace_commit_bytes_total", shard="0"),
    }


async def test_counts_what_is_in_its_confirmed_commits() -> None:
    before, log = counted(), a_log()
    give(log, "a", type_="order_placed")
    give(log, "b", "c")
    give(log, "d", work=1)
    async with Running(await engine(log)):
        await until(lambda: happened(log)[1].inbox_next == 4)
    commits = [one.value or b"" for one in log.held(JOURNAL).records if one.value][1:]
    assert {name: value - before[name] for name, value in counted().items()} == {
        "placed": 1,
        "called off": 2,
        "parked": 1,
        "events": 3,
        "timed": 1,
        "commits": len(commits),
        "inputs": 4,
        "bytes": sum(map(len, commits)),
    }


async def test_the_same_seed_gives_the_same_journal_bytes() -> None:
    journals = []
    for _ in range(2):
        log = a_log()
        give(log, *(str(n) for n in range(50)))
        async with Running(await engine(log, seed=7)):
            await until(lambda log=log: happened(log)[1].inbox_next == 50)  # type: ignore[misc]
        journals.append([(one.offset, one.value) for one in log.held(JOURNAL).records])
    assert journals[0] == journals[1]


async def test_what_was_decided_is_never_decided_again_after_a_restart() -> None:
    log = a_log()
    give(log, "a", "b")
    async with Running(await engine(log, seed=1)):
        await until(lambda: happened(log)[1].inbox_next == 2)
    give(log, "c")
    async with Running(await engine(log, seed=2)):
        await until(lambda: happened(log)[1].inbox_next == 3)
    assert happened(log)[0] == ["a", "b", "c"]
    assert happened(log)[1].seq == 2


@pytest.mark.parametrize("fault", ["lost", "landed", "late"])
@pytest.mark.parametrize("append", range(4))
async def test_an_append_of_unknown_outcome_loses_nothing_and_repeats_nothing(
    fault: str, append: int
) -> None:
    log = a_log()
    faulty = FaultyLog(log, ["ok"] * append + [fault])
    async with Running(await engine(faulty)):
        for number in range(1, 6):
            give(log, str(number))
            await until(lambda n=number: happened(log)[1].inbox_next == n)  # type: ignore[misc]
    assert happened(log)[0] == ["1", "2", "3", "4", "5"]


@pytest.mark.parametrize("seed", range(6))
async def test_a_run_of_bad_luck_loses_nothing_and_repeats_nothing(
    seed: int,
) -> None:
    chance = random.Random(seed)
    log = a_log()
    plans = chance.choices(["ok", "lost", "landed", "late"], [6, 1, 1, 1], k=60)
    faulty = FaultyLog(log, plans)
    async with (
        Running(await engine(faulty, owner="one", seed=seed)),
        Running(await engine(faulty, owner="two", seed=seed + 1_000)),
    ):
        for number in range(40):
            give(log, str(number))
            await asyncio.sleep(chance.choice([0, 0, 0.002]))
        await until(lambda: happened(log)[1].inbox_next == 40, within_s=20)
    assert happened(log)[0] == [str(n) for n in range(40)], f"seed {seed}"


async def test_a_stale_writers_commit_is_void_and_it_takes_over_only_after_a_pause() -> None:
    log = a_log()
    give(log, "a")
    async with Running(
        await engine(log, config=EngineConfig(failed_pause_s=0.01, fenced_pause_s=0.3))
    ) as one:
        await until(lambda: happened(log)[1].inbox_next == 1)
        log.write(JOURNAL, [Record(None, encode_opened("two", "n2"))])
        give(log, "b")
        await until(lambda: one.role.states() == {0: "pausing"})
        fenced_at = asyncio.get_running_loop().time()
        assert happened(log)[0] == ["a"]
        assert happened(log)[2] == 1
        await until(lambda: happened(log)[1].inbox_next == 2)
        assert asyncio.get_running_loop().time() - fenced_at > 0.25
    assert happened(log)[0] == ["a", "b"]
    assert owners(log) == ["one", "two", "one"]


async def test_who_commits_between_failures_is_never_away_for_longer() -> None:
    log = a_log()
    faulty = FaultyLog(log, ["ok", "ok", "lost"] * 6)  # it opens, commits, and fails
    config = EngineConfig(failed_pause_s=0.01, fenced_pause_s=60.0)
    async with Running(await engine(faulty, config=config)):
        for number in range(1, 10):
            give(log, str(number))
            await until(lambda n=number: happened(log)[1].inbox_next == n)  # type: ignore[misc]
    assert len(owners(log)) > 6
    assert happened(log)[0] == [*map(str, range(1, 10))]


class _SlowToDescribe(PassingLog):
    """A log that describes its topics when it is told to."""

    def __init__(self, log: MemoryLog) -> None:
        super().__init__(log)
        self.asked = asyncio.Event()
        self.answers = asyncio.Event()

    async def describe(self) -> dict[str, TopicDescription]:
        self.asked.set()
        await self.answers.wait()
        return await super().describe()

    async def writer(self) -> Writer:
        return await self.log.writer()


async def test_a_writer_told_to_leave_while_it_opens_fences_nobody() -> None:
    log = _SlowToDescribe(a_log())
    writer = ShardWriter(
        0,
        log=log,
        clock=SteppedClock(),
        randomness=Seeded(1),
        core=CORE,
        owner="one",
        config=EngineConfig(),
    )
    task = asyncio.create_task(writer.run())
    await log.asked.wait()
    writer.stop.set()
    log.answers.set()
    await task
    assert owners(log.log) == []


async def test_two_engines_share_the_shards_and_one_takes_over_what_the_other_leaves() -> None:
    log = a_log(shards=4)
    first = Running(await engine(log, owner="one", seed=1))
    async with Running(await engine(log, owner="two", seed=2)) as two:
        async with first:
            await until(lambda: len(first.role.states()) == 2 and len(two.role.states()) == 2)
            for number in range(4):
                give(log, "a", to=Partition("inbox", number))
        await until(lambda: list(two.role.states().values()) == ["open"] * 4)
        for number in range(4):
            give(log, "b", to=Partition("inbox", number))
        for number in range(4):
            journal = Partition("journal", number)
            await until(lambda j=journal: happened(log, j)[1].inbox_next == 2)  # type: ignore[misc]
            assert happened(log, journal)[0] == ["a", "b"]


async def test_a_poison_input_halts_its_shard_after_committing_what_came_before() -> None:
    log = a_log(shards=2)
    give(log, "a")
    give(log, "bad", poison=True)
    give(log, "c")
    async with Running(await engine(log)) as running:
        await until(lambda: running.role.states().get(0) == "halted")
        give(log, "x", to=Partition("inbox", 1))
        await until(lambda: happened(log, Partition("journal", 1))[0] == ["x"])
        assert running.role.states() == {0: "halted", 1: "open"}
    assert happened(log)[0] == ["a"]
    assert happened(log)[1].inbox_next == 1


async def test_the_error_of_a_poison_input_names_where_it_came_from(
    capsys: pytest.CaptureFixture[str],
) -> None:
    log = a_log()
    give(log, "bad", poison=True)
    async with Running(await engine(log)) as running:
        await until(lambda: running.role.states().get(0) == "halted")
    assert (
        "'bad' of 'test' (orders/0@0, inbox offset 0) can't be decided" in capsys.readouterr().out
    )


async def test_an_entry_larger_than_a_commit_halts_the_shard() -> None:
    log = a_log()
    give(log, "a")
    give(log, "huge", bytes=MAX_COMMIT_BYTES)
    async with Running(await engine(log)) as running:
        await until(lambda: running.role.states().get(0) == "halted")
    assert happened(log)[0] == ["a"]


async def test_commits_stay_below_their_limit_and_nothing_is_left_out_at_the_border() -> None:
    log = a_log()
    ids = [str(n) for n in range(30)]
    give(log, *ids, bytes=100_000)
    async with Running(await engine(log)):
        await until(lambda: happened(log)[1].inbox_next == 30)
    assert happened(log)[0] == ids
    assert max(len(one.value or b"") for one in log.held(JOURNAL).records) <= MAX_COMMIT_BYTES
    assert happened(log)[1].seq < 30


async def test_work_that_waits_is_done_before_the_next_input() -> None:
    log = a_log()
    give(log, "w", work=3)
    give(log, "late")
    async with Running(await engine(log)):
        await until(lambda: happened(log)[1].inbox_next == 2)
    book = b"".join(one.value or b"" for one in log.held(JOURNAL).records)
    assert book.count(b"work_done", 0, book.index(b'"late"')) == 3


async def test_work_is_done_a_piece_a_tick_without_any_input() -> None:
    log = a_log()
    give(log, "w", work=5)
    async with Running(await engine(log)):
        await until(lambda: happened(log)[1].inbox_next == 1)
        await until(
            lambda: (
                sum((one.value or b"").count(b"work_done") for one in log.held(JOURNAL).records)
                == 5
            )
        )


async def test_time_never_goes_back_in_the_journal() -> None:
    log = a_log()
    give(log, "a")
    async with Running(await engine(log, clock=SteppedClock(1_000_500))):
        await until(lambda: happened(log)[1].inbox_next == 1)
    give(log, "b")
    async with Running(await engine(log, seed=2, clock=SteppedClock(1_000_000))):
        await until(lambda: happened(log)[1].inbox_next == 2)
    ticks = [
        entry["input"]["time_ms"]
        for read in log.held(JOURNAL).records
        for entry in orjson.loads(read.value or b"").get("entries", [])
        if entry["input"]["type"] == "clock_ticked"
    ]
    assert ticks == sorted(ticks)


class Settable(SteppedClock):
    """A clock that somebody sets."""

    ahead_ms = 0

    def now_ms(self) -> int:
        return super().now_ms() + self.ahead_ms


class Passing(SteppedClock):
    """A clock that goes on as it is told, `by_ms` from where it was."""

    passed_s, by_ms = 0.0, 0

    def now_ms(self) -> int:
        return 1_000_000 + round(self.passed_s * 1000) + self.by_ms

    def monotonic(self) -> float:
        return self.passed_s


class NeverRead(MemoryLog):
    async def reader(self, at: Mapping[Partition, int | None]) -> MemoryReader:
        raise AssertionError(f"read {at}")


async def test_a_wrong_clock_keeps_away_as_a_fenced_writer_does_before_it_reads_the_journal(
    capsys: pytest.CaptureFixture[str],
) -> None:
    log = NeverRead(SteppedClock(), {"inbox": 1, "journal": 1})
    give(log, "a")
    config = EngineConfig(failed_pause_s=0.01, fenced_pause_s=60.0)
    wrong = SteppedClock(9_000_000)
    async with Running(await engine(log, clock=wrong, config=config)) as running:
        await until(lambda: running.role.states().get(0) == "pausing")
    assert owners(log) == ["one"]
    said = capsys.readouterr().out
    assert "this machine's clock is +8000 s from the broker's" in said
    assert "again_in_s=300.0" in said


async def test_whose_clock_was_refused_opens_nothing_until_it_is_set(
    capsys: pytest.CaptureFixture[str],
) -> None:
    log, clock = a_log(), Settable()
    clock.ahead_ms = 86_400_000
    give(log, "a")
    config = EngineConfig(failed_pause_s=0.001, fenced_pause_s=0.001)
    states: list[str | None] = []

    def seen_often() -> bool:
        states.append(running.role.states().get(0))
        return states.count("pausing") > 100

    async with Running(await engine(log, clock=clock, config=config)) as running:
        await until(seen_often)
        assert owners(log) == ["one"]
        clock.ahead_ms = 0
        await until(lambda: happened(log)[1].inbox_next == 1)
    assert owners(log) == ["one", "one"]
    assert capsys.readouterr().out.count("wrong clock") == 1


def test_a_clock_that_nobody_sets_is_compared_again_after_longer_each_time() -> None:
    clock = Passing()
    doubt = Doubt(clock)
    assert not doubt.stands()
    for wait_s in (300.0, 600.0, 1_200.0, 2_400.0, 3_600.0, 3_600.0):
        assert doubt.begin(ahead_ms=1_000_000.0) == wait_s
        clock.passed_s += wait_s - 1
        assert doubt.stands()
        clock.passed_s += 1
        assert not doubt.stands()
    doubt.end()
    assert doubt.begin(1_000_000.0) == 300.0
    clock.by_ms = 59_999
    assert doubt.stands()
    for clock.by_ms in (-60_000, 60_000):
        assert not doubt.stands()


async def test_a_clock_that_is_set_forward_is_compared_anew_before_it_dates_anything(
    capsys: pytest.CaptureFixture[str],
) -> None:
    log, clock = a_log(), Settable()
    config = EngineConfig(fenced_pause_s=0.1)
    async with Running(await engine(log, clock=clock, config=config)) as running:
        give(log, "a")
        await until(lambda: happened(log)[1].inbox_next == 1)
        clock.ahead_ms = 300_001 + 1_000_000
        give(log, "b")
        await until(lambda: running.role.states().get(0) == "pausing")
        assert happened(log)[0] == ["a"]
        clock.ahead_ms = 0
        await until(lambda: happened(log)[1].inbox_next == 2)
    assert "this machine's clock was set +1300 s forward" in capsys.readouterr().out
    assert happened(log)[0] == ["a", "b"]


async def test_what_a_shard_held_is_let_go_when_it_closes() -> None:
    log, held = a_log(), list[list[str]]()

    def let_go(state: Tally) -> Iterator[None]:
        held.append([*state.seen])
        yield from CORE.let_go(state)

    give(log, "a", "b")
    faulty = FaultyLog(log, ["ok", "ok", "lost"])
    core = replace(CORE, let_go=let_go)
    async with Running(await engine(faulty, core=core)):
        await until(lambda: happened(log)[1].inbox_next == 2)
        give(log, "c")
        await until(lambda: happened(log)[1].inbox_next == 3)
    assert held == [["a", "b", "c"], ["a", "b", "c"]], "when it opened again, and at the end"


@pytest.mark.parametrize("sign", [1, -1])
def test_a_clock_may_be_five_minutes_off_and_no_more(sign: int) -> None:
    writer = ShardWriter(
        0,
        log=a_log(),
        clock=SteppedClock(),
        randomness=Seeded(1),
        core=CORE,
        owner="one",
        config=EngineConfig(),
    )
    writer._check_clock(1_000_000 + sign * 300_000, 1_000_000)
    with pytest.raises(Exception, match=r"this machine's clock is [+-]300 s from the broker's"):
        writer._check_clock(1_000_000 + sign * 300_001, 1_000_000)


async def test_refuses_a_wrong_clock_too_where_only_the_record_tells_the_brokers_time() -> None:
    class Untold(MemoryLog):
        def write(self, to: Partition, records: Sequence[Record]) -> Appended:
            return Appended(super().write(to, records).base_offset, -1)

    log = Untold(SteppedClock(), {"inbox": 1, "journal": 1})
    give(log, "a")
    async with Running(await engine(log, clock=SteppedClock(9_000_000))) as running:
        await until(lambda: running.role.states().get(0) == "pausing")
    assert happened(log)[0] == []


@pytest.mark.parametrize(
    ("replication", "name", "value", "fix"),
    [
        (1, "cleanup.policy", "compact", "set it to delete"),
        (1, "cleanup.policy", "compact,delete", "set it to delete"),
        (1, "retention.ms", "604800000", "set it to -1"),
        (1, "retention.bytes", "1073741824", "set it to -1"),
        (3, "unclean.leader.election.enable", "true", "set it to false"),
        (3, "min.insync.replicas", "1", "set it to 2"),
    ],
)
async def test_refuses_a_journal_that_the_broker_may_shorten_thin_out_or_lose(
    replication: int, name: str, value: str, fix: str
) -> None:
    log = Careless(
        SteppedClock(),
        {"inbox": 1, "journal": 1},
        topic="journal",
        setting=(name, value),
        replication=replication,
    )
    async with Running(await engine(log)) as running:
        await until(lambda: running.role.states().get(0) == "halted")
        what = running.role.halts()[0].what
    assert f"the topic journal has {name}={value}" in what
    assert what.endswith(fix)
    assert log.held(JOURNAL).records == []


@pytest.mark.parametrize("topic", ["inbox", "voids"])
@pytest.mark.parametrize(
    ("name", "value"), [("cleanup.policy", "compact"), ("retention.ms", "604800000")]
)
async def test_refuses_an_inbox_and_voids_that_the_broker_may_shorten_or_thin_out(
    topic: str, name: str, value: str
) -> None:
    topics = {"inbox": 1, "journal": 1, "voids": 1}
    log = Careless(SteppedClock(), topics, topic=topic, setting=(name, value))
    async with Running(await engine(log)) as running:
        await until(lambda: running.role.states().get(0) == "halted")
        assert f"the topic {topic} has {name}={value}" in running.role.halts()[0].what
    assert log.held(JOURNAL).records == []


async def test_a_shard_whose_topics_are_set_right_goes_on_by_itself() -> None:
    log = Careless(
        SteppedClock(),
        {"inbox": 1, "journal": 1},
        topic="journal",
        setting=("retention.ms", "604800000"),
    )
    give(log, "a")
    states: list[str | None] = []
    async with Running(await engine(log)) as running:
        await until(lambda: running.role.states().get(0) == "halted")
        log.settings |= {"cleanup.policy": "compact"}  # it gets worse: what is told stays true

        def worse() -> bool:
            states.append(running.role.states().get(0))
            return "cleanup.policy=compact" in running.role.halts()[0].what

        with capture_logs() as logs:
            await until(worse)
        (said,) = [one["what"] for one in logs if one["event"] == "halted"]
        assert "cleanup.policy=compact" in said
        log.settings.clear()
        await until(lambda: happened(log)[0] == ["a"])
        assert running.role.halts() == {}
    assert set(states) == {"halted"}, "nobody takes it for a shard that opens"


async def test_a_journal_that_is_none_halts_the_shard() -> None:
    log = a_log()
    log.write(JOURNAL, [Record(None, b"not a journal")])
    async with Running(await engine(log)) as running:
        await until(lambda: running.role.states().get(0) == "halted")


async def test_the_inbox_is_trimmed_behind_the_journal_less_a_margin() -> None:
    log = a_log()
    give(log, *"abcde")
    writer = ShardWriter(
        0,
        log=log,
        clock=SteppedClock(),
        randomness=Seeded(1),
        core=CORE,
        owner="one",
        config=EngineConfig(trim_margin=2),
    )
    running = asyncio.create_task(writer.run())
    await until(lambda: writer.confirmed.inbox_next == 5)
    await writer.trim()
    assert await log.bounds(INBOX) == (3, 5)
    writer.stop.set()
    await running


async def test_an_inbox_trimmed_beyond_the_journal_halts_the_shard() -> None:
    log = a_log()
    give(log, *"abc")
    await log.trim(INBOX, 2)
    async with Running(await engine(log)) as running:
        await until(lambda: running.role.states().get(0) == "halted")


async def test_a_hole_in_the_inbox_halts_the_shard() -> None:
    log = a_log()
    give(log, *"abc")
    moved = log.held(INBOX).records[2]
    log.held(INBOX).records[1:] = [moved]  # as if b were gone
    async with Running(await engine(log)) as running:
        await until(lambda: running.role.states().get(0) == "halted")
    assert "b" not in happened(log)[0]
    assert "c" not in happened(log)[0]


async def test_what_was_read_ahead_is_forgotten_when_a_commit_is_lost() -> None:
    log = a_log()
    give(log, *"abcdefgh", bytes=MAX_COMMIT_BYTES // 3)  # two fit into a commit, the rest waits
    async with Running(await engine(FaultyLog(log, ["ok", "ok", "lost"]))):
        await until(lambda: happened(log)[1].inbox_next == 8)
    assert happened(log)[0] == [*"abcdefgh"]


@pytest.mark.parametrize("inputs", [0, 3])
async def test_an_inbox_trimmed_by_who_took_over_meanwhile_fences_and_does_not_halt(
    inputs: int,
) -> None:
    """A slow writer idles while another one opens, decides and trims: nothing is lost."""
    log = a_log()
    give(log, *"abc"[:inputs])
    config = EngineConfig(failed_pause_s=0.01, fenced_pause_s=0.3, trim_margin=0)

    def writer(owner: str, seed: int) -> ShardWriter[Tally]:
        return ShardWriter(
            0,
            log=log,
            clock=SteppedClock(),
            randomness=Seeded(seed),
            core=CORE,
            owner=owner,
            config=config,
        )

    slow, quick = writer("slow", 1), writer("quick", 2)
    first = asyncio.create_task(slow.run())
    await until(lambda: slow.state == "open" and slow.confirmed.inbox_next == inputs)
    held = log.held(INBOX)
    second = asyncio.create_task(quick.run())
    await until(lambda: quick.state == "open")
    slow._read_next = -1  # it is as far behind as a stopped process is
    slow._reader.add(INBOX, -1)  # type: ignore[union-attr]  # open
    give(log, "d")
    await until(lambda: quick.confirmed.inbox_next == inputs + 1)
    await quick.trim()
    assert held.first == inputs + 1
    await until(lambda: slow.state in {"pausing", "halted"})
    assert slow.state == "pausing"
    for one, task in ((quick, second), (slow, first)):
        one.stop.set()
        await task
    assert happened(log)[0] == [*"abc"[:inputs], "d"]


def gauges_told(shard: str, role: str) -> set[str]:
    """The gauges that this process tells of a shard, its state apart."""
    return {
        sample.name
        for family in REGISTRY.collect()
        for sample in family.samples
        if family.type == "gauge"
        and sample.name != "headrace_shard_state"
        and shard in {sample.labels.get("shard"), sample.labels.get("partition")}
        and sample.labels.get("role", role) == role
        and sample.name in {one.name for one in TABLE}
    }


async def test_a_shard_that_is_left_is_told_of_no_longer_so_that_no_sum_counts_it_twice() -> None:
    log = MemoryLog(SteppedClock(), {"inbox": 8, "journal": 8})
    counts = dict.fromkeys(
        ["open_orders", "backordered_lines", "open_exceptions", "dedupe_ids_dropped"], 5
    )
    writer = ShardWriter(
        7,
        log=log,
        clock=SteppedClock(),
        randomness=Seeded(1),
        core=replace(CORE, gauges=lambda _state: counts),
        owner="one",
        config=EngineConfig(),
    )
    running = asyncio.create_task(writer.run())
    give(log, "a", to=Partition("inbox", 7))
    await until(lambda: writer.confirmed.seq == 1)
    writer.observe()
    assert gauges_told("7", "engine") == {
        "headrace_open_orders",
        "headrace_backordered_lines",
        "headrace_open_exceptions",
        "headrace_dedupe_ids_dropped",
        "headrace_shard_epoch",
        "headrace_shard_seq",
        "headrace_reader_lag_records",
    }
    writer.stop.set()
    await running
    assert gauges_told("7", "engine") == set()


class Held(FaultyLog):
    """Acknowledges commits only when told to; its readers wait for a record, however long."""

    def __init__(self, log: MemoryLog) -> None:
        super().__init__(log, [])
        self.acknowledge = asyncio.Event()
        self.acknowledge.set()

    async def before_append(self, to: Partition, records: Sequence[Record]) -> None:
        await self.acknowledge.wait()
        await super().before_append(to, records)

    async def reader(self, at: Mapping[Partition, int | None]) -> MemoryReader:
        return PatientReader(self.log, at)


class PatientReader(MemoryReader):
    async def read(self, max_records: int, wait_ms: int) -> dict[Partition, list[Read]]:
        return await super().read(max_records, wait_ms and 60_000)


def a_writer(log: Held, core: Core[Tally] = CORE) -> ShardWriter[Tally]:
    return ShardWriter(
        0,
        log=log,
        clock=SteppedClock(),
        randomness=Seeded(1),
        core=core,
        owner="one",
        config=EngineConfig(),
    )


async def test_an_idle_shard_confirms_a_commit_as_soon_as_it_is_acknowledged() -> None:
    log = Held(a_log())
    writer = a_writer(log)
    running = asyncio.create_task(writer.run())
    await until(lambda: writer.state == "open")
    give(log.log, "a")
    await until(lambda: writer.confirmed.seq == 1, within_s=5)
    writer.stop.set()
    give(log.log, "b")  # wakes the reader, since it is so patient
    await running
    assert happened(log.log)[0] in (["a"], ["a", "b"])


async def test_what_arrives_while_a_commit_is_on_its_way_is_decided_meanwhile() -> None:
    log = Held(a_log())
    decided: list[str] = []

    def decide(state: Tally, cause: InputRecord) -> list[DecidedEvent]:
        decided.append(cause["id"])
        return CORE.decide(state, cause)

    writer = a_writer(log, replace(CORE, decide=decide))
    running = asyncio.create_task(writer.run())
    await until(lambda: writer.state == "open")
    log.acknowledge.clear()
    give(log.log, "a")
    await until(lambda: "a" in decided)
    give(log.log, "b")
    await until(lambda: "b" in decided)
    assert happened(log.log)[0] == []
    log.acknowledge.set()
    await until(lambda: writer.confirmed.seq == 2)
    writer.stop.set()
    give(log.log, "c")
    await running
    assert happened(log.log)[0][:2] == ["a", "b"]


async def test_the_time_to_decide_is_told_of_full_batches_too() -> None:
    def told() -> float:
        return metric("headrace_decide_seconds_count", shard="0")

    before = told()
    log = a_log()
    give(log, *(str(n) for n in range(30)), bytes=100_000)
    async with Running(await engine(log)):
        await until(lambda: happened(log)[1].inbox_next == 30)
    assert told() - before == happened(log)[1].seq


class SetClock(SteppedClock):
    """A clock that goes on only when a test says so."""

    now = 1_000_000

    def now_ms(self) -> int:
        return self.now

    def monotonic(self) -> float:
        return self.now / 1000


async def test_a_commits_time_ends_with_its_acknowledgement_not_with_the_batch_after_it() -> None:
    def told() -> float:
        return metric("headrace_commit_seconds_sum", shard="0")

    clock, log = SetClock(), Held(a_log())
    decided: list[str] = []

    def decide(state: Tally, cause: InputRecord) -> list[DecidedEvent]:
        decided.append(cause["id"])
        if cause["id"] in {"b", "c"}:
            log.acknowledge.set()
            clock.now += 60_000 if cause["id"] == "c" else 3  # the loop gets a turn after each
        return CORE.decide(state, cause)

    before = told()
    role = await engine(
        log,
        clock=clock,
        core=replace(CORE, decide=decide),
        config=EngineConfig(batch_ms=1_000_000),
    )
    async with Running(role) as running:
        await until(lambda: running.role.states() == {0: "open"})
        log.acknowledge.clear()
        give(log.log, "a")
        await until(lambda: "a" in decided)
        give(log.log, *"bbbbbbbbbb", "c")
        await until(lambda: happened(log.log)[1].inbox_next == 12)
        running.stop.set()
        give(log.log, "d")  # wakes the reader
    assert told() - before < 1


class SlowToTrim(MemoryLog):
    """Its broker takes for ever to say what it holds."""

    asked = 0

    async def bounds(self, partition: Partition) -> Bounds:
        if partition.topic == "inbox":
            self.asked += 1
            await asyncio.Event().wait()
        return await super().bounds(partition)


async def test_a_broker_that_is_slow_to_trim_delays_neither_reassignment_nor_stop() -> None:
    log = SlowToTrim(SteppedClock(), {"inbox": 2, "journal": 2})
    give(log, "a")
    config = EngineConfig(trim_s=0.01, trim_margin=0)
    async with asyncio.timeout(10), Running(await engine(log, config=config)) as one:
        await until(lambda: log.asked > 0)
        async with Running(await engine(log, owner="two", seed=2)) as two:
            await until(lambda: len(one.role.states()) == len(two.role.states()) == 1)


async def test_inboxes_are_trimmed_while_the_engine_runs_though_a_trim_failed_before() -> None:
    class Refusing(MemoryLog):
        refused = False

        async def trim(self, partition: Partition, before: int) -> None:
            if not self.refused:
                self.refused = True
                raise LogError("not now")
            await super().trim(partition, before)

    log = Refusing(SteppedClock(), {"inbox": 1, "journal": 1})
    give(log, *"abcde")
    async with Running(await engine(log, config=EngineConfig(trim_s=0.01, trim_margin=2))):
        await until(lambda: log.held(INBOX).first == 3)


class Heavy(MemoryLog):
    """A log that notes how much of what it gave of the inbox isn't decided when more is read."""

    def __init__(self) -> None:
        super().__init__(SteppedClock(), {"inbox": 1, "journal": 1})
        self.undecided = 0
        self.most = 0

    async def reader(self, at: Mapping[Partition, int | None]) -> "HeavyReader":
        return HeavyReader(self, at)


class HeavyReader(MemoryReader):
    def __init__(self, log: Heavy, at: Mapping[Partition, int | None]) -> None:
        super().__init__(log, at)
        self._heavy = log

    async def read(self, max_records: int, wait_ms: int) -> dict[Partition, list[Read]]:
        read = await super().read(max_records, wait_ms)
        if INBOX in read:
            self._heavy.most = max(self._heavy.most, self._heavy.undecided)
            self._heavy.undecided += sum(len(one.value or b"") for one in read[INBOX])
        return read


async def test_no_more_is_read_while_much_is_undecided_however_few_the_records() -> None:
    log = Heavy()
    size = 20_000

    def decide(state: Tally, cause: InputRecord) -> list[DecidedEvent]:
        if cause["type"] == "order_cancel_requested":
            log.undecided -= size
        return CORE.decide(state, cause)

    give(log, *map(str, range(2_600)), pad="x" * size)
    core, config = replace(CORE, decide=decide), EngineConfig(batch_ms=0)
    async with Running(await engine(log, core=core, config=config)):
        await until(lambda: happened(log)[1].inbox_next == 2_600, within_s=60)
    assert 0 < log.most < 17_000_000
