"""The follower over a memory log: what it folds, how old it says it is, and how it fails."""

import asyncio
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from typing import Any, Self

import pytest

from orchestrator.runtime.follower import Follower, Sight
from orchestrator.runtime.memory_log import MemoryLog, MemoryReader
from schemas.journal import Entry, FilterState, encode_commit, encode_entry, encode_opened, step
from schemas.journal import decode as decode_journal
from schemas.ports import (
    EventLog,
    LogError,
    NotCaughtUp,
    NotKnown,
    Partition,
    Planned,
    Read,
    Reader,
    Record,
    Seen,
    Writer,
)
from schemas.voids import VOIDS
from tests.runtime.fakes import PassingLog, until

JOURNALS = (Partition("journal", 0), Partition("journal", 1))


class Clock:
    """A clock that stands still until it is set."""

    def __init__(self) -> None:
        self.time_ms = 1_000_000

    def now_ms(self) -> int:
        return self.time_ms

    def monotonic(self) -> float:
        return self.time_ms / 1000

    async def sleep(self, seconds: float) -> None:
        await asyncio.sleep(seconds)


class Tally:
    """State of the fake core: ids of inputs."""

    def __init__(self, number: int) -> None:
        self.number = number
        self.seen: list[str] = []


def _follow(state: Tally, entries: Iterable[Entry]) -> None:
    for entry in entries:
        if entry["input"]["id"] == "poison":
            raise ZeroDivisionError("a defect")
        state.seen.append(entry["input"]["id"])


def _promise(
    state: Tally, question: Mapping[str, Any], now_ms: int
) -> Generator[bool | None, None, dict[str, Any]]:
    """`slices` are plans; the parts of one plan are `parts`, while it supposes that it was seen."""
    for work in question.get("slices", ()):
        work()
        yield True
    if "parts" in question:
        state.seen.append("supposed")
        try:
            for work in question["parts"]:
                work()
                yield None
        finally:
            state.seen.remove("supposed")
        yield True
    return {"seen": list(state.seen), "asked": question["n"], "now_ms": now_ms}


def _availability(states: Sequence[Tally], sku: str, channel: str, _now: int) -> dict[str, Any]:
    return {"seen": [state.seen for state in states], "asked": [sku, channel]}


SIGHT: Sight[Tally] = Sight(
    new=Tally,
    follow=_follow,
    markets=lambda state: [f"m{state.number}"] if state.seen else [],
    promise=_promise,
    availability=_availability,
)


class Book:
    """Writes a journal as an engine would."""

    def __init__(self, log: MemoryLog, journal: Partition = JOURNALS[0]) -> None:
        self.log = log
        self.journal = journal
        self.state = FilterState()
        self._put(encode_opened("one", "n1"))

    def _put(self, value: bytes) -> None:
        offset = self.log.write(self.journal, [Record(None, value)]).base_offset
        self.state, _ = step(self.state, offset, decode_journal(value, offset))

    def commit(self, *ids: str, nonce: str = "n1", seq: int | None = None) -> None:
        entries = [encode_entry({"id": one}, []) for one in ids]  # type: ignore[typeddict-item]  # no more is asked
        self._put(
            encode_commit(
                epoch=0,
                nonce=nonce,
                seq=seq or self.state.seq + 1,
                inbox_from=self.state.inbox_next,
                inbox_next=self.state.inbox_next + len(ids),
                prev=self.state.digest,
                now_ms=0,
                entries=entries,
            )
        )

    def contradict(self) -> None:
        """A commit that leaves one out."""
        value = encode_commit(
            epoch=0,
            nonce="n1",
            seq=self.state.seq + 2,
            inbox_from=0,
            inbox_next=0,
            prev="",
            now_ms=0,
            entries=[],
        )
        self.log.write(self.journal, [Record(None, value)])


class Following:
    """A follower that runs while the `async with` lasts."""

    def __init__(self, log: EventLog, clock: Clock, lag_s: float = 2.0) -> None:
        self.follower = Follower(log=log, clock=clock, shards=2, sight=SIGHT, lag_s=lag_s)
        self._stop = asyncio.Event()
        self._task: asyncio.Task[None] | None = None

    async def __aenter__(self) -> Self:
        self._task = asyncio.create_task(self.follower.run(self._stop))
        return self

    async def __aexit__(self, *_: object) -> None:
        self._stop.set()
        assert self._task is not None
        await self._task

    async def ask(self, market: str = "m0") -> Any:  # noqa: ANN401 - JSON
        return await self.follower.promise({"market_id": market, "n": 7})

    async def answers(
        self, market: str = "m0", such: Callable[[Planned], bool] = lambda _: True
    ) -> None:
        """Wait until a question is answered so."""
        async with asyncio.timeout(10):
            while True:
                with suppress(NotCaughtUp):
                    if such(await self.ask(market)):
                        return
                await asyncio.sleep(0.005)

    async def refuses(self, market: str = "m0") -> str:
        """Wait until a question is refused; the reason."""
        async with asyncio.timeout(10):
            while True:
                try:
                    await self.ask(market)
                except NotCaughtUp as error:
                    return str(error)
                await asyncio.sleep(0.005)


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def log(clock: Clock) -> MemoryLog:
    return MemoryLog(clock, {"journal": 2})


async def test_what_is_valid_is_folded_and_the_answer_says_up_to_where(
    log: MemoryLog, clock: Clock
) -> None:
    book = Book(log)
    Book(log, JOURNALS[1])
    book.commit("a", "b")
    book.commit("void", nonce="a zombie's")
    async with Following(log, clock) as following:
        await following.answers()
        assert await following.ask() == (
            {"seen": ["a", "b"], "asked": 7, "now_ms": clock.time_ms},
            "0:1",
        )
        book.commit(*map(str, range(100)))
        await following.answers(such=lambda told: told.position == "0:2")
        assert len((await following.ask()).body["seen"]) == 102
        assert await following.follower.seen() == [Seen(0, 2, 102), Seen(1, 0, 0)]
        body, position = await following.follower.availability("A", "web")
        assert (len(body["seen"]), body["asked"], position) == (2, ["A", "web"], "0:2")


async def test_a_market_that_no_shard_knows_is_not_known_once_all_shards_are_read(
    log: MemoryLog, clock: Clock
) -> None:
    Book(log).commit("a")
    Book(log, JOURNALS[1])
    async with Following(log, clock) as following:
        await following.answers()
        await until(lambda: all(one.whole_ms for one in following.follower._shards))
        with pytest.raises(NotKnown, match="no market m1"):
            await following.ask("m1")


async def test_nothing_is_answered_before_the_journal_was_read_to_its_end(
    log: MemoryLog, clock: Clock
) -> None:
    Book(log).commit("a")
    following = Following(log, clock)
    for ask in (following.ask, lambda: following.follower.availability("A", "web")):
        with pytest.raises(NotCaughtUp, match="still being read"):
            await ask()


async def test_others_run_between_the_slices_of_an_answer(log: MemoryLog, clock: Clock) -> None:
    book = Book(log)
    Book(log, JOURNALS[1])
    book.commit("a")

    def two_ms() -> None:
        clock.time_ms += 2

    async with Following(log, clock) as following:
        await following.answers()
        book.commit("b")
        question = {"market_id": "m0", "n": 7, "slices": [two_ms] * 1_000}
        body, position = await following.follower.promise(question)
        assert body["seen"] == ["a", "b"], "the fold went on meanwhile"
        assert position == "0:1", "what was known when it began"


async def test_nobody_folds_into_a_shard_or_looks_at_it_while_a_plan_of_it_gives_way(
    log: MemoryLog, clock: Clock
) -> None:
    book, other = Book(log), Book(log, JOURNALS[1])
    book.commit("a")
    other.commit("c")
    seen: list[tuple[str, ...]] = []
    turns = 0

    async def watch() -> None:
        nonlocal turns
        while True:
            await asyncio.sleep(0)
            turns += 1

    async with Following(log, clock, lag_s=1_000_000) as following:  # its clock runs fast
        await following.answers()
        await following.answers("m1")
        one = following.follower._shards[0]
        state, came = one.state, asyncio.Event()

        def part() -> None:
            clock.time_ms += 1
            seen.append(tuple(state.seen))

        def parts() -> Iterator[Callable[[], None]]:
            while not came.is_set():
                yield part
            for _ in range(1_000):
                yield part

        watching = asyncio.create_task(watch())
        question = {"market_id": "m0", "n": 7, "parts": parts()}
        planning = asyncio.create_task(following.follower.promise(question))
        await until(lambda: len(seen) > 10)
        book.commit("b")
        other.commit("d")
        async with asyncio.timeout(10):  # at every turn: the plan's clock runs meanwhile
            while not (one.still._waiters or "b" in state.seen):
                await asyncio.sleep(0)
        came.set()
        again = asyncio.create_task(following.ask())
        looking = asyncio.create_task(following.follower.availability("A", "web"))
        await following.answers("m1")
        body, position = await planning
        watching.cancel()
        assert (set(seen), position) == ({("a", "supposed")}, "0:1")
        assert turns > 400, "whoever doesn't need the shard ran after every other part"
        assert "supposed" not in [*body["seen"], *(await again).body["seen"]]
        assert "supposed" not in (await looking).body["seen"][0]
        await following.answers(such=lambda told: told.body["seen"] == ["a", "b"])


async def test_a_question_that_nobody_waits_for_any_more_lets_go_of_its_shard(
    log: MemoryLog, clock: Clock
) -> None:
    book = Book(log)
    Book(log, JOURNALS[1])
    book.commit("a")

    def part() -> None:
        clock.time_ms += 1

    async with Following(log, clock) as following:
        await following.answers()
        question = {"market_id": "m0", "n": 7, "parts": [part] * 1_000_000}
        planning = asyncio.create_task(following.follower.promise(question))
        await until(following.follower._shards[0].still.locked)
        planning.cancel()
        with suppress(asyncio.CancelledError):
            await planning
        book.commit("b")
        await following.answers(such=lambda told: told.body["seen"] == ["a", "b"])


class Hooked(PassingLog):
    """A log whose readers do something first; where that answers False they hear nothing.

    `ahead`: how many records more they say that the log has.
    """

    def __init__(self, log: MemoryLog, before: Callable[[], bool], ahead: int = 0) -> None:
        super().__init__(log)
        self.before = before
        self.ahead = ahead
        self.begun: list[Mapping[Partition, int | None]] = []

    async def writer(self) -> Writer:
        return await self.log.writer()

    async def reader(self, at: Mapping[Partition, int | None]) -> Reader:
        self.begun.append(dict(at))
        return _HookedReader(self, at)


class _HookedReader(MemoryReader):
    def __init__(self, hooked: Hooked, at: Mapping[Partition, int | None]) -> None:
        super().__init__(hooked.log, at)
        self._hooked = hooked

    async def read(self, max_records: int, wait_ms: int) -> dict[Partition, list[Read]]:
        await asyncio.sleep(0.005)
        return await super().read(max_records, min(wait_ms, 5)) if self._hooked.before() else {}

    def high_water(self, partition: Partition) -> int | None:
        known = super().high_water(partition)
        return None if known is None else known + self._hooked.ahead


async def test_what_is_too_old_is_refused_until_the_log_answers_again(
    log: MemoryLog, clock: Clock
) -> None:
    Book(log).commit("a")
    deaf = asyncio.Event()
    async with Following(Hooked(log, lambda: not deaf.is_set()), clock, lag_s=2) as following:
        await following.answers()
        deaf.set()
        await asyncio.sleep(0.05)  # the last read that was under way
        clock.time_ms += 1_900
        await following.ask()
        clock.time_ms += 200
        assert await following.refuses() == ("what is known of shard 0 is 2.1 s old, more than 2 s")
        deaf.clear()
        await following.answers()


async def test_a_journal_that_never_rests_is_still_young(log: MemoryLog, clock: Clock) -> None:
    """The newest known end always lies ahead; what counts is how old the one reached is."""
    book = Book(log)

    def write() -> bool:
        clock.time_ms += 100
        book.commit("more")
        return True

    async with Following(Hooked(log, write, ahead=1), clock, lag_s=0.5) as following:
        await following.answers()
        asked_at = clock.time_ms
        while clock.time_ms < asked_at + 2_000:
            await asyncio.sleep(0.005)
            await following.ask()


async def test_a_word_on_what_is_void_that_it_can_not_read_halts_it_and_ends_no_process(
    log: MemoryLog, clock: Clock
) -> None:
    Book(log).commit("a")
    log.write(VOIDS, [Record(b"0", b'{"version":2}')])
    async with Following(log, clock) as following:
        async with asyncio.timeout(10):
            while "upgrade Headrace" not in await following.refuses():
                await asyncio.sleep(0.005)


@pytest.mark.parametrize("how", ["contradiction", "defect"])
async def test_a_shard_that_cannot_be_read_halts_and_the_others_go_on(
    log: MemoryLog, clock: Clock, how: str
) -> None:
    broken, sound = Book(log), Book(log, JOURNALS[1])
    broken.commit("a")
    sound.commit("a")
    async with Following(log, clock) as following:
        await following.answers("m0")
        await following.answers("m1")
        if how == "contradiction":
            broken.contradict()
        else:
            broken.commit("poison")
        reason = await following.refuses("m0")
        assert reason.startswith("shard 0 is no longer followed")
        assert {"contradiction": "gap in the journal", "defect": "a defect"}[how] in reason
        sound.commit("b")
        await following.answers("m1", lambda told: told.position == "1:2")


async def test_after_a_failure_of_the_log_it_goes_on_where_it_was(
    log: MemoryLog, clock: Clock
) -> None:
    fail = asyncio.Event()

    def fail_when_told() -> bool:
        if fail.is_set():
            fail.clear()
            raise LogError("the broker went away")
        return True

    book = Book(log)
    book.commit("a")
    hooked = Hooked(log, fail_when_told)
    async with Following(hooked, clock) as following:
        await following.answers()
        fail.set()
        await until(lambda: len(hooked.begun) > 1)
        assert hooked.begun[1] == {JOURNALS[0]: 2, JOURNALS[1]: None}
        book.commit("b")
        await following.answers(such=lambda told: told.body["seen"] == ["a", "b"])
