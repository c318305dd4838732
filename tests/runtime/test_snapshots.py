"""Snapshots over a memory log: what is whole is restored, what isn't is passed over."""

import asyncio
from collections.abc import Callable, Iterator, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import replace
from typing import Any, NamedTuple

import orjson
import pytest

from orchestrator.runtime.memory_log import MemoryLog, MemoryWriter
from orchestrator.runtime.snapshots import REWRITE_S, Format, Snapshots, checksum, fingerprint
from schemas.journal import FilterState, JournalError, encode_opened
from schemas.ports import Appended, Bounds, LogError, Partition, Read, Record, Refused, Unknown
from schemas.voids import VOIDS, Void, Voids
from tests.runtime.fakes import JOURNAL, PassingLog, Seeded, StandingLog, SteppedClock, metric

SNAPSHOTS = Partition("snapshots", 0)
SEGMENT = 4
State = list[str]


class Part(NamedTuple):
    log: str
    number: int
    row: bytes | None
    full: bool


class Again:
    """A state in the making."""

    def __init__(self, _number: int) -> None:
        self.state: State = []
        self.length = -1

    def take(self, row: Any) -> None:  # noqa: ANN401 - JSON
        if isinstance(row, int):
            self.length = row
        else:
            self.state += row

    def finish(self) -> State:
        assert len(self.state) == self.length
        return self.state


def _segments(state: State, known: AbstractSet[tuple[str, int]]) -> Iterator[Part]:
    for number in range(-(-len(state) // SEGMENT)):
        some = state[number * SEGMENT : (number + 1) * SEGMENT]
        row = None if ("seen", number) in known else orjson.dumps(some)
        yield Part("seen", number, row, len(some) == SEGMENT)


FORM: Format[State] = Format(
    fingerprint="ours",
    rows=lambda state: iter([orjson.dumps(len(state))]),
    segments=_segments,
    restoring=Again,
)


def a_log() -> StandingLog:
    log = StandingLog(SteppedClock(), {"journal": 1, "snapshots": 1})
    log.write(JOURNAL, [Record(None, encode_opened("one", "n1"))])
    return log


def store(log: MemoryLog, seed: int = 1, form: Format[State] = FORM) -> Snapshots[State]:
    return Snapshots(0, log=log, clock=SteppedClock(), randomness=Seeded(seed), form=form)


def at(seq: int) -> FilterState:
    return FilterState("n1", seq + 1, 0, "n1", seq, seq, f"d{seq}", 0)


def state(seq: int) -> State:
    return [f"id{n}" for n in range(seq)]


END = 1_000


async def test_the_newest_whole_snapshot_is_restored_with_its_filter_state() -> None:
    log = a_log()
    one = store(log)
    assert await one.load(END) is None
    for seq in (3, 9, 10):
        await one.write(state(seq), at(seq))
        assert await store(log, 2).load(END) == (state(seq), at(seq))


async def test_a_full_segment_is_written_once_and_named_by_later_snapshots() -> None:
    log = a_log()
    one = store(log)
    await one.write(state(9), at(9))
    before = log.held(SNAPSHOTS).next
    await one.write(state(14), at(14))
    written = [orjson.loads(read.value or b"") for read in log.held(SNAPSHOTS).records[before:][:4]]
    assert written[:3] == [[14], [state(14)[8:12]], [state(14)[12:]]]
    assert written[3]["filter"]["seq"] == 14
    assert await store(log, 2).load(END) == (state(14), at(14))


class Dated(SteppedClock):
    """A clock that is set."""

    now_s = 0.0

    def monotonic(self) -> float:
        return self.now_s


async def test_after_a_day_all_is_written_anew_so_that_retention_takes_nothing_of_the_newest() -> (
    None
):
    log, clock = a_log(), Dated()
    one = Snapshots(0, log=log, clock=clock, randomness=Seeded(1), form=FORM)
    await one.write(state(9), at(9))
    clock.now_s = REWRITE_S + 1
    before = log.held(SNAPSHOTS).next
    await one.write(state(14), at(14))
    await log.trim(SNAPSHOTS, before)
    assert await store(log, 2).load(END) == (state(14), at(14))


async def test_a_topic_that_was_made_anew_is_noticed_and_written_anew() -> None:
    log = a_log()
    one = store(log)
    await one.write(state(9), at(9))
    log.held(SNAPSHOTS).records.clear()
    with pytest.raises(LogError, match="made anew"):
        await one.write(state(14), at(14))
    await one.write(state(15), at(15))
    assert await store(log, 2).load(END) == (state(15), at(15))


async def test_nothing_that_never_happened_is_named_again_behind_a_lost_end() -> None:
    log = MemoryLog(SteppedClock(), {"journal": 1, "snapshots": 1, "voids": 1})
    log.write(JOURNAL, [Record(None, encode_opened("one", "n1"))])
    voids = Voids(log)
    one = Snapshots(0, log=log, clock=SteppedClock(), randomness=Seeded(1), form=FORM, voids=voids)
    await one.write(state(9), at(9))  # whose second segment ends with ids that are lost
    void = Void(
        0,
        7,
        7,
        lost=False,
        digest="",
        state=replace(at(6), seq=100_009),
        what="",
        reason="a test",
        by="ada",
        at_ms=0,
    )
    log.write(VOIDS, [void.record()])
    await voids.read()
    since, went_on = replace(at(11), seq=100_014), [*state(6), *(f"new{n}" for n in range(5))]
    await one.write(went_on, since)
    assert await store(log, 2).load(END) == (went_on, since)


def damage(log: MemoryLog, offset: int, value: bytes | None) -> None:
    records = log.held(SNAPSHOTS).records
    records[offset] = records[offset]._replace(value=value)


def newest_manifest(log: MemoryLog) -> Read:
    return [
        read
        for read in log.held(SNAPSHOTS).records
        if read.value and (read.key or b"").endswith(b".manifest")
    ][-1]


def changed(log: MemoryLog, **fields: object) -> None:
    manifest = newest_manifest(log)
    value = orjson.dumps(orjson.loads(manifest.value or b"") | fields)
    damage(log, manifest.offset, value)


def _filter(log: MemoryLog) -> dict[str, Any]:
    found: dict[str, Any] = orjson.loads(newest_manifest(log).value or b"")["filter"]
    return found


def nonsense(log: MemoryLog) -> None:
    """A row that doesn't fit, with the checksum of what it says."""
    written = log.write(SNAPSHOTS, [Record(b"0/0.9/x.1", b"[null]")]).base_offset
    chunks = orjson.loads(newest_manifest(log).value or b"")["chunks"]
    changed(log, chunks=[*chunks, [written, checksum(b"[null]")]])


DAMAGES: dict[str, Callable[[MemoryLog], None]] = {
    "a chunk is gone": lambda log: damage(log, newest_manifest(log).offset - 1, None),
    "a row is nonsense": nonsense,
    "a chunk is another": lambda log: damage(log, newest_manifest(log).offset - 1, b"[[]]"),
    "a chunk of the same shape is another": lambda log: damage(
        log, newest_manifest(log).offset - 1, b'[["idx"]]'
    ),
    "the manifest is cut off": lambda log: damage(log, newest_manifest(log).offset, b'{"version":'),
    "the manifest says nothing": lambda log: damage(log, newest_manifest(log).offset, b"{}"),
    "a later version": lambda log: changed(log, version=2),
    "a filter state with a field that is unknown": lambda log: changed(
        log, filter={**_filter(log), "more": 1}
    ),
    "other code": lambda log: changed(log, fingerprint="theirs"),
    "another journal": lambda log: changed(log, filter={**_filter(log), "journal_id": "n0"}),
}


class Counted:
    """A reader that counts when reads begin."""

    def __init__(self, reader: Any, log: "CountingLog") -> None:  # noqa: ANN401 - a reader
        self._reader = reader
        self._log = log

    def __getattr__(self, name: str) -> Any:  # noqa: ANN401 - what the reader has
        return getattr(self._reader, name)

    async def read(self, max_records: int, wait_ms: int) -> dict[Partition, list[Read]]:
        self._log.reads += 1
        found: dict[Partition, list[Read]] = await self._reader.read(max_records, wait_ms)
        return found


class CountingLog(MemoryLog):
    """Counts the reads that its readers have begun."""

    reads = 0

    async def reader(self, at: Any) -> Any:  # noqa: ANN401 - a reader
        return Counted(await super().reader(at), self)


class Slow(SteppedClock):
    """A clock by which a slice is over each time it is asked."""

    def __init__(self) -> None:
        super().__init__()
        self._now_s = 0.0

    def monotonic(self) -> float:
        self._now_s += 1
        return self._now_s


async def test_while_some_chunks_are_taken_in_the_next_are_read() -> None:
    log = CountingLog(SteppedClock(), {"journal": 1, "snapshots": 1})
    log.write(JOURNAL, [Record(None, encode_opened("one", "n1"))])
    await store(log).write(state(100), at(100))
    begun: list[int] = []

    class Noting(Again):
        def take(self, row: Any) -> None:  # noqa: ANN401 - JSON
            begun.append(log.reads)
            super().take(row)

    form = replace(FORM, restoring=Noting)
    one = Snapshots(0, log=log, clock=Slow(), randomness=Seeded(2), form=form)
    assert await one.load(END) == (state(100), at(100))
    taken_in_whole = [row for row in range(1, len(begun)) if begun[row] > begun[row - 1]]
    assert taken_in_whole[0] < 8  # of the rows that the first read gave
    assert begun[-1] == begun[0] + 3  # and none behind the last chunk: 26 rows, eight a read


@pytest.mark.parametrize("what", DAMAGES)
async def test_what_is_not_whole_or_not_ours_is_passed_over_for_the_one_before(
    what: str,
) -> None:
    def skipped() -> float:
        return metric("headrace_snapshots_skipped_total", shard="0")

    log, before = a_log(), skipped()
    one = store(log)
    await one.write(state(5), at(5))
    await one.write(state(9), at(9))
    DAMAGES[what](log)
    assert await store(log, 2).load(END) == (state(5), at(5))
    assert skipped() == before + 1


async def test_where_none_is_whole_the_journal_is_folded_from_its_beginning() -> None:
    log = a_log()
    await store(log).write(state(5), at(5))
    DAMAGES["a chunk is gone"](log)
    assert await store(log, 2).load(END) is None


async def test_where_the_topic_gives_no_answer_the_journal_is_folded_from_its_beginning() -> None:
    log = a_log()
    await store(log).write(state(3), at(3))
    assert await store(log).load() is not None
    log.reads, log.at_once = 1_000_000, True
    assert await store(log).load() is None


async def test_where_the_journals_beginning_is_lost_the_topics_answer_is_waited_for() -> None:
    log = StandingLog(SteppedClock(), {"journal": 1, "snapshots": 1, "voids": 1})
    void = Void(0, 0, 7, True, "", at(3), "what", "why", "ada", 1)  # noqa: FBT003 - it is lost
    log.write(VOIDS, [void.record()])
    voids = Voids(log)
    await voids.read()
    one = Snapshots(0, log=log, clock=SteppedClock(), randomness=Seeded(1), form=FORM, voids=voids)
    await one.write(state(3), at(3))
    log.reads, log.at_once = 1_000_000, True
    with pytest.raises(LogError, match="its broker gives nothing"):
        await one.load()


async def test_a_manifest_is_found_behind_many_chunks_that_have_none() -> None:
    log = a_log()
    await store(log).write(state(5), at(5))
    for n in range(500):
        log.write(SNAPSHOTS, [Record(f"0/0.6/other.{n}".encode(), b"[]")])
    assert await store(log, 2).load(END) == (state(5), at(5))


class Shortening(PassingLog):
    """A log whose topic `snapshots` loses its beginning between a look at its bounds and reads."""

    def __init__(self, log: MemoryLog, before: int) -> None:
        super().__init__(log)
        self._before = before

    async def bounds(self, partition: Partition) -> Bounds:
        found = await super().bounds(partition)
        if partition == SNAPSHOTS:
            await self.log.trim(partition, self._before)
        return found

    async def writer(self) -> MemoryWriter:
        return await self.log.writer()


@pytest.mark.parametrize("records", range(11))
async def test_what_retention_takes_while_snapshots_are_looked_for_is_passed_over(
    records: int,
) -> None:
    log = a_log()
    one = store(log)
    for seq in (3, 9):
        await one.write(state(seq), at(seq))
    first = newest_manifest(log).offset - 4  # of the newest snapshot's chunks
    shortening = Shortening(log, min(records, log.held(SNAPSHOTS).next))
    form: Snapshots[State] = Snapshots(
        0, log=shortening, clock=SteppedClock(), randomness=Seeded(2), form=FORM
    )
    found = await form.load(END)
    assert found == ((state(9), at(9)) if records <= first else None)


async def test_a_snapshot_of_after_our_opening_is_not_ours_to_open_from() -> None:
    log = a_log()
    one = store(log)
    await one.write(state(5), at(5))
    later = replace(at(9), next=20, epoch=12)  # somebody opened at 12, after us
    await one.write(state(9), later)
    assert await store(log, 2).load(11) == (state(5), at(5))


async def test_a_journal_that_has_lost_its_end_is_refused() -> None:
    log = a_log()
    await store(log).write(state(9), at(9))
    with pytest.raises(JournalError, match="had a record at offset 9, but its end was 7"):
        await store(log, 2).load(7)


async def test_who_has_not_opened_takes_the_newest_whatever_it_says_of_the_journals_end() -> None:
    log = a_log()
    await store(log).write(state(9), at(9))
    assert await store(log, 2).load() == (state(9), at(9))


async def test_only_ones_own_older_snapshots_are_removed_and_the_one_before_is_kept() -> None:
    log = a_log()
    other, one = store(log, 7), store(log)
    await other.write(state(2), at(2))
    for seq in (3, 5, 9):
        await one.write(state(seq), at(seq))
    removed = {read.key for read in log.held(SNAPSHOTS).records if read.value is None}
    left = [
        read.key for read in log.held(SNAPSHOTS).records if read.value and read.key not in removed
    ]
    seqs = {(key or b"").split(b"/")[1] for key in left}
    assert seqs == {b"0.2", b"0.5", b"0.9"}
    assert {(key or b"").split(b"/")[1] for key in removed} == {b"0.3"}


async def test_two_writers_at_one_position_spoil_nothing_of_each_other() -> None:
    log = a_log()
    await asyncio.gather(store(log, 1).write(state(9), at(9)), store(log, 2).write(state(9), at(9)))
    keys = [read.key for read in log.held(SNAPSHOTS).records]
    assert len(set(keys)) == len(keys)
    assert await store(log, 3).load(END) == (state(9), at(9))


class Failing(MemoryLog):
    """Its appends fail from the nth on."""

    appends = 100

    async def writer(self) -> MemoryWriter:
        return _FailingWriter(self)


class _FailingWriter(MemoryWriter):
    def __init__(self, log: Failing) -> None:
        super().__init__(log)
        self._failing = log

    async def append(self, to: Partition, records: Sequence[Record]) -> Appended:
        self._failing.appends -= 1
        if self._failing.appends < 0:
            raise Unknown("planned")
        return await super().append(to, records)


@pytest.mark.parametrize("appends", range(7))
async def test_a_snapshot_that_failed_half_way_counts_for_nothing(appends: int) -> None:
    log = Failing(SteppedClock(), {"journal": 1, "snapshots": 1})
    log.write(JOURNAL, [Record(None, encode_opened("one", "n1"))])
    one = store(log)
    await one.write(state(5), at(5))
    await one.write(state(6), at(6))
    log.appends = appends  # of 6: rows, three segments, manifest, and what is removed
    try:
        await one.write(state(14), at(14))
        done = True
    except (Unknown, Refused):
        done = False
    assert done == (appends >= 6)
    expected = 14 if appends >= 5 else 6
    assert await store(log, 2).load(END) == (state(expected), at(expected))
    log.appends = 100
    await one.write(state(15), at(15))
    assert await store(log, 2).load(END) == (state(15), at(15))


def test_a_fingerprint_is_of_all_code_that_folding_runs_and_of_no_other() -> None:
    of = fingerprint("orchestrator.core.evolve")
    assert of == fingerprint("orchestrator.core.evolve") != fingerprint("orchestrator.core.ledger")
