"""The follower: shards as planning sees them, folded from every journal beside the API.

It answers questions about orders that nobody placed, from memory and a moment old. It belongs to no
group and keeps no checkpoint: whoever serves the API follows every shard, from the beginning on.
"""

import asyncio
from collections.abc import Callable, Generator, Iterable, Mapping, Sequence
from contextlib import closing, suppress
from dataclasses import dataclass
from typing import Any, Final, Generic, TypeVar

import structlog

from orchestrator.runtime import metrics
from orchestrator.runtime.replica import Replica
from schemas.journal import Entry, JournalError, Verdict
from schemas.ports import (
    Clock,
    EventLog,
    LogError,
    NotCaughtUp,
    NotKnown,
    OutOfRange,
    Planned,
    Read,
    Reader,
    Seen,
)
from schemas.voids import Voids

_READ_RECORDS: Final = 100
_IDLE_WAIT_MS: Final = 200  # a stop is noticed after it
_SLICE_S: Final = 0.002  # how long others wait while a promise is planned
_FAILED_PAUSE_S: Final = 1.0

_log = structlog.get_logger(__name__)

S = TypeVar("S")


@dataclass(frozen=True, slots=True)
class Sight(Generic[S]):
    """The pure core's functions for looking, not deciding.

    `promise` yields after every small part of its work: True where anybody may go on from there,
    None where the state must stay as it is and nobody else may look at it. Both raise NotKnown
    about what nobody defined.
    """

    new: Callable[[int], S]
    follow: Callable[[S, Iterable[Entry]], None]
    markets: Callable[[S], Iterable[str]]
    promise: Callable[[S, Mapping[str, Any], int], Generator[bool | None, None, dict[str, Any]]]
    availability: Callable[[Sequence[S], str, str, int], dict[str, Any]]


class _Followed(Replica[S]):
    """A shard as far as it was read, and how old that is."""

    def __init__(self, number: int, sight: Sight[S], clock: Clock, voids: Voids) -> None:
        super().__init__(number, sight.new(number), sight.follow, clock, voids)
        self.goal: tuple[int, int] | None = None  # an end of the journal, and when it was the end
        self.whole_ms: int | None = None  # when a goal that was reached was the end
        self.halted = ""  # why

    @property
    def position(self) -> str:
        return f"{self.number}:{self.filter.seq}"


class Follower(Generic[S]):
    """Every shard, read and folded in this process; answers while it is not too far behind."""

    def __init__(
        self, *, log: EventLog, clock: Clock, shards: int, sight: Sight[S], lag_s: float
    ) -> None:
        self._log = log
        self._clock = clock
        self._sight = sight
        self._lag_s = lag_s
        self._voids = Voids(log)
        self._shards = [_Followed(number, sight, clock, self._voids) for number in range(shards)]

    async def run(self, stop: asyncio.Event) -> None:
        """Follow until told to stop; after a failure of the log go on where it was."""
        while not stop.is_set():
            try:
                await self._follow(stop)
            except (LogError, JournalError) as error:  # the latter of void lists
                halts = isinstance(error, (OutOfRange, JournalError))
                for one in self._shards if halts else ():
                    self._halt(one, str(error))
                _log.warning("the follower reads on in a moment", what=str(error))
                with suppress(TimeoutError):
                    async with asyncio.timeout(_FAILED_PAUSE_S):
                        await stop.wait()

    async def _follow(self, stop: asyncio.Event) -> None:
        """Read all journals in one loop, so that requests wait for one slice, not for each shard's.

        1. Read what is there.
        2. Every record through the filter; fold what is valid in slices, requests in between.
        3. A shard is as old as the end that it has reached. The newest end known may lie ahead for
           ever, since a fetch is under way while the last is folded: so one is aimed at until then.
        """
        live = [one for one in self._shards if not one.halted]
        if not live:
            await stop.wait()
            return
        await self._voids.once()
        reader = await self._log.reader({one.partition: one.filter.next or None for one in live})
        reader.gather()
        try:
            while not stop.is_set():
                read = await reader.read(_READ_RECORDS, _IDLE_WAIT_MS)
                for one in live:
                    for record in read.get(one.partition, ()):
                        await self._take(one, record)
                    if one.halted:
                        return  # and read the others anew
                    self._observe(one, reader)
        finally:
            await reader.close()

    async def _take(self, one: _Followed[S], read: Read) -> None:
        if one.halted:
            return
        try:
            _, verdict = await one.take(read)
        except JournalError as error:
            if error.__cause__ is not None:
                _log.exception("the follower halts at a defect", shard=one.number)
            self._halt(one, str(error))
            return
        if verdict is Verdict.VALID and one.whole_ms is not None:
            lag_ms = max(0, self._clock.now_ms() - read.timestamp_ms)
            metrics.FOLLOWER_LAG.observe(lag_ms / 1000)

    def _halt(self, one: _Followed[S], why: str) -> None:
        if not one.halted:
            one.halted = why
            _log.error("a shard is no longer followed: restart", shard=one.number, what=why)

    @staticmethod
    def _observe(one: _Followed[S], reader: Reader) -> None:
        end, fetched_ms = reader.high_water(one.partition), reader.fetched_ms(one.partition)
        if end is None or fetched_ms is None:
            return
        behind = max(0, end - one.filter.next)
        metrics.READER_LAG.labels("follower", "journal", str(one.number)).set(behind)
        if one.goal is None or not behind:
            one.goal = end, fetched_ms
        if one.filter.next >= one.goal[0]:
            one.whole_ms = one.goal[1]
            one.goal = end, fetched_ms

    # --- what it answers

    async def seen(self) -> Sequence[Seen]:
        """How far it has taken in each shard."""
        return [Seen(one.number, one.filter.seq, one.filter.inbox_next) for one in self._shards]

    async def promise(self, question: Mapping[str, Any]) -> Planned:
        """What `POST /promise` answers; NotKnown, NotAnswerable, NotCaughtUp.

        As of the position where it began, or later: others run between its slices.
        """
        market_id = question["market_id"]
        for one in self._shards:
            if market_id in self._sight.markets(one.state):
                self._check(one)
                position = one.position
                steps = self._sight.promise(one.state, question, self._clock.now_ms())
                return Planned(await self._in_slices(one, steps), position)
        for one in self._shards:
            self._check(one)
        raise NotKnown(f"there is no market {market_id}")

    async def _in_slices(
        self, one: _Followed[S], steps: Generator[bool | None, None, dict[str, Any]]
    ) -> dict[str, Any]:
        """Others run after each slice; who needs the shard only once a plan of it is whole."""
        with closing(steps):  # what was supposed is taken back
            while True:
                async with one.still:
                    settled, until = False, self._clock.monotonic() + _SLICE_S
                    while not settled:
                        settled, body = self._slice(steps, until)
                        if body is not None:
                            return body
                        if not settled:
                            await asyncio.sleep(0)
                await asyncio.sleep(0)

    def _slice(
        self, steps: Generator[bool | None, None, dict[str, Any]], until: float
    ) -> tuple[bool, dict[str, Any] | None]:
        """Go on until a slice is over, or a plan is whole after `until`.

        Returns whether a plan is whole there, and the answer, if that is it.
        """
        over = self._clock.monotonic() + _SLICE_S
        try:
            while True:
                settled = bool(next(steps))
                now = self._clock.monotonic()
                if now >= over or (settled and now >= until):
                    return settled, None
        except StopIteration as answered:
            body: dict[str, Any] = answered.value
            return True, body

    async def availability(self, sku: str, channel: str) -> Planned:
        """What a channel may promise of an item, step by step; NotKnown, NotCaughtUp."""
        while busy := [one for one in self._shards if one.still.locked()]:
            await busy[0].settled()
        for one in self._shards:
            self._check(one)
        states = [one.state for one in self._shards]
        body = self._sight.availability(states, sku, channel, self._clock.now_ms())
        return Planned(body, ",".join(one.position for one in self._shards if one.filter.seq))

    def _check(self, one: _Followed[S]) -> None:
        if one.halted:
            raise NotCaughtUp(f"shard {one.number} is no longer followed: {one.halted}")
        if one.whole_ms is None:
            raise NotCaughtUp(
                f"shard {one.number} is still being read, up to commit {one.filter.seq} so far"
            )
        lag_s = (self._clock.now_ms() - one.whole_ms) / 1000
        if lag_s > self._lag_s:
            raise NotCaughtUp(
                f"what is known of shard {one.number} is {lag_s:.1f} s old, more than"
                f" {self._lag_s:g} s"
            )
