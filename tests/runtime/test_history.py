"""The history over a memory log: everything, once by position, complete as its watermarks say."""

import asyncio
from collections.abc import Sequence
from typing import Any, Self

import orjson
import pytest

from events.history import HISTORY
from orchestrator.core import decide as core
from orchestrator.core import snapshot
from orchestrator.core.shard import Shard
from orchestrator.remembered import history_format
from orchestrator.runtime.history import WATERMARK_S, History
from orchestrator.runtime.memory_log import MemoryLog
from orchestrator.runtime.publisher import Ports
from orchestrator.runtime.snapshots import Format, Snapshots
from orchestrator.verification import Kept
from orchestrator.voiding import found_void
from schemas.history import Known, KnownOrder, flatten, let_go
from schemas.journal import FilterState, encode_commit, encode_opened, step
from schemas.journal import decode as decode_journal
from schemas.ports import Checkpoint, Partition, Record
from schemas.voids import VOIDS, Voids
from tests.core.story import Story
from tests.runtime.fakes import JOURNAL, LosesOne, Seeded, SteppedClock, metric, until

TOPICS = {"journal": 1, "snapshots": 1, "history": 3}
LATE_S = 30.0


class SetClock(SteppedClock):
    """Seconds go on as they are told to."""

    def __init__(self) -> None:
        super().__init__(1_800_000_000_000)
        self.seconds = 0.0

    def now_ms(self) -> int:
        return self._now_ms + int(self.seconds * 1000)

    def monotonic(self) -> float:
        return self.seconds


class Book:
    """Writes a story's entries as an engine would, some to a commit."""

    def __init__(self, log: MemoryLog) -> None:
        self.log = log
        self.state = FilterState()
        self.written = 0
        self.now_ms = 0
        self.open("n1")

    def open(self, nonce: str) -> None:
        self._put(encode_opened("one", nonce))

    def _put(self, value: bytes) -> None:
        offset = self.log.write(JOURNAL, [Record(None, value)]).base_offset
        self.state, _ = step(self.state, offset, decode_journal(value, offset))

    def commit(self, entries: Sequence[bytes], nonce: str = "n1") -> None:
        self._put(
            encode_commit(
                epoch=self.state.epoch,
                nonce=nonce,
                seq=self.state.seq + 1,
                inbox_from=self.state.inbox_next,
                inbox_next=self.state.inbox_next,
                prev=self.state.digest,
                now_ms=self.now_ms,
                entries=[*entries],
            )
        )

    def tell(self, story: Story, size: int = 3) -> None:
        """What the story told since."""
        entries = story.entries[self.written :]
        for first in range(0, len(entries), size):
            self.commit(entries[first : first + size])
        self.written = len(story.entries)


class Publishing:
    """A history that runs while the `async with` lasts."""

    def __init__(self, log: MemoryLog, clock: SetClock) -> None:
        self._log = log
        self._clock = clock
        self._stop = asyncio.Event()
        self._task: asyncio.Task[None] | None = None
        self.role: History | None = None

    async def __aenter__(self) -> Self:
        self.role = History(
            Ports(
                self._log,
                await self._log.group("history", ["journal"]),
                self._clock,
                Seeded(1),
            ),
            history_format(),
            late_s=LATE_S,
        )
        self._task = asyncio.create_task(self.role.run(self._stop))
        return self

    async def __aexit__(self, *_: object) -> None:
        self._stop.set()
        assert self._task is not None
        await self._task

    def states(self) -> dict[int, str]:
        return {} if self.role is None else self.role.states()


def values(log: MemoryLog, kind: str = "") -> list[dict[str, Any]]:
    """What is published, partition by partition; without watermarks where no kind is named."""
    found = [
        orjson.loads(one.value or b"")
        for number in range(TOPICS["history"])
        for one in log.held(Partition("history", number)).records
    ]
    return [one for one in found if (one["kind"] == kind if kind else one["kind"] != "watermark")]


def expected(story: Story, size: int = 3) -> dict[str, dict[str, Any]]:
    known = Known()
    records = {}
    for place, entry in enumerate(story.entries):
        at = place // size + 1, place % size
        for _, record in flatten(known, 0, *at, orjson.loads(entry)):
            records[record["position"]] = orjson.loads(orjson.dumps(record))
    return records


def a_story() -> Story:
    story = Story()
    story.node("BOS")
    story.item("A")
    story.receive("BOS", A=5)
    for number in range(12):
        story.order(str(number), A=1)
    return story


@pytest.fixture
def clock() -> SetClock:
    return SetClock()


async def test_publishes_everything_flat_as_cloud_events(clock: SetClock) -> None:
    log, story = MemoryLog(clock, TOPICS), a_story()
    Book(log).tell(story)
    wanted = expected(story)
    before = metric("headrace_published_total", topic="history")
    async with Publishing(log, clock):
        await until(lambda: len(values(log)) == len(wanted))
    assert {one["position"]: one for one in values(log)} == wanted
    assert metric("headrace_published_total", topic="history") == before + len(wanted)
    for number in range(TOPICS["history"]):
        for one in log.held(Partition("history", number)).records:
            headers = dict(one.headers)
            name = headers["ce_type"].decode().split(".")[1]
            HISTORY[name].model_validate_json(one.value or b"")
            assert headers["ce_source"] == b"headrace/0/history"
            if name == "history_recorded":
                assert headers["ce_id"].decode() == orjson.loads(one.value or b"")["position"]


async def test_a_key_keeps_its_order_in_one_partition(clock: SetClock) -> None:
    log, story = MemoryLog(clock, TOPICS), a_story()
    Book(log).tell(story)
    count = len(expected(story))
    async with Publishing(log, clock):
        await until(lambda: len(values(log)) == count)
    places: dict[bytes, set[int]] = {}
    for number in range(TOPICS["history"]):
        last: dict[bytes, tuple[int, int, int]] = {}
        for read in log.held(Partition("history", number)).records:
            value = orjson.loads(read.value or b"")
            if value["kind"] != "watermark":
                key, at = read.key or b"", (value["seq"], value["entry"], value["n"])
                assert at > last.get(key, (-1, -1, -1))
                last[key] = at
                places.setdefault(key, set()).add(number)
    assert all(len(numbers) == 1 for numbers in places.values())
    assert len({number for numbers in places.values() for number in numbers}) > 1


async def test_what_the_filter_voids_is_no_history(clock: SetClock) -> None:
    log, story = MemoryLog(clock, TOPICS), a_story()
    book = Book(log)
    book.commit(story.entries[:3], nonce="stale")
    book.tell(story)
    wanted = expected(story)
    async with Publishing(log, clock):
        await until(lambda: len(values(log)) == len(wanted))
    assert {one["position"] for one in values(log)} == wanted.keys()


@pytest.mark.parametrize("snapshot_there", [True, False])
async def test_a_restart_goes_on_with_the_same_content(
    clock: SetClock, *, snapshot_there: bool
) -> None:
    log, story = MemoryLog(clock, TOPICS), a_story()
    book = Book(log)
    if snapshot_there:
        await snapshots(log, clock).write(folded(story), book.state)  # of an empty journal: no use
        book.tell(story)
        await snapshots(log, clock).write(folded(story), book.state)
    else:
        book.tell(story)
    before = len(expected(story))
    async with Publishing(log, clock):
        await until(lambda: len(values(log)) == before)
    story.report("accepted", "0.1")
    story.ship("0.1")
    story.track("TP1")
    book.tell(story)
    wanted = expected_after(story, before)
    async with Publishing(log, clock):
        await until(lambda: len(values(log)) == before + len(wanted))
    last = values(log)
    delivered = [one for one in last if one["event"] == "shipment_delivered"]
    assert [one["placed_at"] for one in delivered] == ["2026-11-22T10:00:00Z"]
    assert [one["node_id"] for one in delivered] == ["BOS"]


async def test_behind_a_lost_end_it_goes_on_where_the_journal_does(clock: SetClock) -> None:
    log, story = MemoryLog(clock, TOPICS), a_story()
    book = Book(log)
    book.tell(story)
    count = len(expected(story))
    async with Publishing(log, clock):
        await until(lambda: len(values(log)) == count)
    del log.held(JOURNAL).records[-1:]  # which the history has published
    read = [Kept("the history", book.state)]
    void = await found_void(log, 0, Voids(log), snapshots(log, clock), read)
    assert void is not None
    assert void.end_lost
    log.write(VOIDS, [void._replace(reason="a test", by="ada").record()])
    book.state = void.state
    book.open("n2")
    book.commit(story.entries[-1:], nonce="n2")
    async with Publishing(log, clock) as publishing:
        await until(lambda: len(values(log)) > count or publishing.states() == {0: "halted"})
    new = [one for one in values(log) if one["seq"] > void.state.seq]
    assert {one["seq"] for one in new} == {book.state.seq}
    assert len(new) == len(values(log)) - count


def expected_after(story: Story, before: int) -> list[dict[str, Any]]:
    return [*expected(story).values()][before:]


def folded(story: Story) -> Shard:
    shard = Shard(0)
    for entry in story.entries:
        core.fold(shard, orjson.loads(entry))
    return shard


def snapshots(log: MemoryLog, clock: SetClock) -> Snapshots[Shard]:
    form = Format(
        fingerprint=history_format().fingerprint,
        rows=snapshot.rows,
        segments=snapshot.segments,
        restoring=lambda number: snapshot.Restoring(Shard(number)),
    )
    return Snapshots(0, log=log, clock=clock, randomness=Seeded(2), form=form)


async def test_repeats_after_a_lost_acknowledgement_can_be_dropped_by_position(
    clock: SetClock,
) -> None:
    log, story = LosesOne(clock, TOPICS, "history", nth=3), a_story()
    Book(log).tell(story)
    wanted = expected(story)
    async with Publishing(log, clock):
        await until(lambda: 0 < log.lost == len(values(log)) - len(wanted))
    assert all(one == wanted[one["position"]] for one in values(log))
    kept: list[str] = []
    for number in range(TOPICS["history"]):
        highest = (-1, -1, -2)
        for read in log.held(Partition("history", number)).records:
            value = orjson.loads(read.value or b"")
            if value["kind"] == "watermark":
                continue
            at = value["seq"], value["entry"], value["n"]
            if at > highest:
                highest = at
                kept.append(value["position"])
    assert sorted(kept) == sorted(wanted)


def test_what_history_knew_is_let_go_an_order_a_step() -> None:
    known = Known()
    known.orders = {str(number): KnownOrder("") for number in range(3)}
    assert [len(known.orders) for _ in let_go(known)] == [2, 1, 0]


async def test_every_partition_says_every_ten_seconds_how_far_it_is_complete(
    clock: SetClock,
) -> None:
    log, story = MemoryLog(clock, TOPICS), a_story()
    book = Book(log)
    book.tell(story)
    partitions = TOPICS["history"]
    async with Publishing(log, clock):
        await until(lambda: len(values(log, "watermark")) == partitions)
        first = values(log, "watermark")
        assert {one["seq"] for one in first} == {book.state.seq}
        assert {one["shards"] for one in first} == {1}
        assert {one["complete_until"] for one in first} == {"2027-01-15T08:00:00.000Z"}
        clock.seconds = WATERMARK_S - 0.1
        await asyncio.sleep(0)
        clock.seconds = WATERMARK_S + LATE_S  # nothing happens, and time goes on
        await until(lambda: len(values(log, "watermark")) == 2 * partitions)
    assert {one["complete_until"] for one in values(log, "watermark")} == {
        "2027-01-15T08:00:00.000Z",
        "2027-01-15T08:00:10.000Z",
    }


async def test_a_watermark_stands_behind_all_that_it_speaks_of(clock: SetClock) -> None:
    log, story = MemoryLog(clock, TOPICS), a_story()
    Book(log).tell(story)
    async with Publishing(log, clock):
        await until(lambda: len(values(log, "watermark")) == TOPICS["history"])
    for number in range(TOPICS["history"]):
        records = log.held(Partition("history", number)).records
        complete = -1
        for value in (orjson.loads(one.value or b"") for one in records):
            if value["kind"] == "watermark":
                complete = value["seq"]
            else:
                assert value["seq"] > complete


async def test_a_checkpoint_of_another_history_halts(clock: SetClock) -> None:
    log, story = MemoryLog(clock, TOPICS), a_story()
    book = Book(log)
    book.tell(story)
    group = await log.group("history", ["journal"])
    await group.changes(0)
    other = FilterState("n1", 3, 0, "n1", 2, 0, "another", 0)
    await group.save({JOURNAL: Checkpoint(3, other.to_json())})
    await group.close()
    async with Publishing(log, clock) as publishing:
        await until(
            lambda: publishing.role is not None and publishing.role.states() == {0: "halted"}
        )
    assert values(log) == []


async def test_a_defect_halts_the_history_of_its_shard_and_nothing_else(clock: SetClock) -> None:
    log, story = MemoryLog(clock, {**TOPICS, "journal": 2}), a_story()
    book = Book(log)
    book.tell(story)
    for one in log.held(JOURNAL).records:
        log.write(Partition("journal", 1), [Record(one.key, one.value)])
    cause = orjson.loads(story.entries[-1])["input"]
    book.commit([orjson.dumps({"input": cause, "events": [{"type": "balanced"}]})])
    async with Publishing(log, clock) as publishing:
        assert publishing.role is not None
        role = publishing.role
        await until(lambda: role.states() == {0: "halted", 1: "open"})
        await until(lambda: {one["shard"] for one in values(log, "watermark")} == {1})
    assert {one["shard"] for one in values(log)} >= {1}


def a_beginning() -> Story:
    story = Story()
    story.node("BOS")
    story.item("MUG")
    story.receive("BOS", MUG=50)
    story.order("0", MUG=1)
    return story


async def behind_a_lost_end(log: MemoryLog, clock: SetClock) -> tuple[Book, Story]:
    """A journal that lost its end, and went on beyond a snapshot of what never happened."""
    story, book = a_beginning(), Book(log)
    book.tell(story)
    before = book.state
    for number in range(6):
        story.order(f"lost{number}", MUG=1)
    book.tell(story)
    since = book.state
    await snapshots(log, clock).write(folded(story), since)
    del log.held(JOURNAL).records[before.next :]
    kept = [Kept("the relay", since)]
    void = await found_void(log, 0, Voids(log), snapshots(log, clock), kept)
    assert void is not None
    log.write(VOIDS, [void._replace(by="ada", reason="lost").record()])
    again = a_beginning()
    book.state, book.written = void.state, len(again.entries)
    for number in range(30):
        again.order(f"new{number}", MUG=1)
    book.tell(again)
    assert book.state.next > since.next
    return book, again


async def test_what_never_happened_is_not_begun_with(clock: SetClock) -> None:
    log = MemoryLog(clock, {**TOPICS, "voids": 1})
    book, story = await behind_a_lost_end(log, clock)
    group = await log.group("history", ["journal"])
    await group.changes(0)
    await group.save({JOURNAL: Checkpoint(book.state.next, book.state.to_json())})
    await group.close()
    story.order("last", MUG=1)
    book.tell(story)
    async with Publishing(log, clock):
        await until(lambda: any(one["order_id"] == "last" for one in values(log, "event")))
    assert {one["order_id"] for one in values(log, "event")} <= {"last", ""}
