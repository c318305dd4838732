"""`at` on requests: which moment is meant, and waiting until it is read."""

import asyncio
import re
from collections.abc import Callable, Mapping
from http import HTTPStatus
from typing import Final

from events.base import TIME
from projections.api.positions import Ends, Positions
from projections.api.problems import ProblemError, no_shard
from projections.as_of import AsOf, Bound, Moment, Recorded
from projections.queries import Answer, Page
from schemas.ports import Clock, LogError
from schemas.times import instant_ms, rfc3339

_POLL_S: Final = 0.02
_SETTLED_MS: Final = 5_000
"""So long after its time a commit may still arrive: what is asked of later is looked up anew."""
_COMMITS: Final = re.compile(r"\d{1,6}:\d{1,18}(,\d{1,6}:\d{1,18})*")


class Past:
    """Answers with `at`, each with the sentence for where there was no such thing.

    `read_models`: how far they are, since what never changes about an order stands there. `ends`:
    where the journals end now, LogError where nobody can say; without it what is kept of the past
    is taken to be as far as they. `wait_s` bounds every wait.

    Every answer raises ProblemError: 400 where `at` makes no sense, 503 where none is kept,
    504 where it was not reached in time.
    """

    def __init__(
        self,
        past: AsOf | None,
        read_models: Positions,
        clock: Clock,
        ends: Ends | None,
        wait_s: float,
    ) -> None:
        self._past = past
        self._read_models = read_models
        self._clock = clock
        self._ends = ends
        self._wait_s = wait_s
        self._known: Mapping[int, int] = {}
        self._known_ms = 0

    async def order(
        self, channel: str, order_id: str, market_id: str | None, at: str
    ) -> tuple[Answer, str]:
        """An order as it was."""
        past, moment = await self._find(at)
        await self._read_models.reach(moment.position)
        answer = await past.order(channel, order_id, market_id, moment)
        return answer, f"there was no order {channel}/{order_id} at {at}"

    async def stock(self, sku: str, at: str) -> tuple[Answer, str]:
        """An item's stock as it was."""
        past, moment = await self._find(at)
        answer = await past.stock(sku, moment)
        return answer, f"the item {sku} was neither defined nor stocked anywhere at {at}"

    async def nodes(self, page: Page, at: str) -> Answer:
        """Nodes as they were defined."""
        past, moment = await self._find(at)
        return await past.nodes(page, moment)

    async def _find(self, at: str) -> tuple[AsOf, Moment]:
        if self._past is None or not await self._past.recorded():
            raise ProblemError(
                HTTPStatus.SERVICE_UNAVAILABLE,
                "the past is not kept here: role `past` keeps it",
                {"Retry-After": "1"},
            )
        return self._past, await self._moment(self._past, at)

    async def _moment(self, past: AsOf, at: str) -> Moment:
        if _COMMITS.fullmatch(at):
            return await self._after_commits(past, at)
        text = at.replace(" ", "+")  # what a plus sign in a query comes as
        try:
            if TIME.fullmatch(text):
                return await self._at_time(past, instant_ms(text.upper()))
        except (ValueError, OverflowError):
            pass  # no such day or hour
        raise ProblemError(
            HTTPStatus.BAD_REQUEST,
            "at: must be a time such as 2026-01-31T12:00:00Z, or commits such as 3:1042 or"
            f' 0:17,3:1042, was "{at}"',
        )

    async def _after_commits(self, past: AsOf, at: str) -> Moment:
        commits = [one.split(":") for one in at.split(",")]
        seqs = {int(shard): int(seq) for shard, seq in commits}
        if len(seqs) < len(commits):
            raise ProblemError(HTTPStatus.BAD_REQUEST, f'at: "{at}" names a shard twice')
        ends = await self._shards()
        unknown = sorted(seqs.keys() - ends.keys())
        if ends and unknown:
            raise no_shard("at", ends, unknown[0])

        def reached(found: list[Recorded]) -> bool:
            read = {one.shard: one.seq for one in found}
            return all(read.get(shard, -1) >= seq for shard, seq in seqs.items())

        await self._read(past, at, None, reached)
        return Moment(tuple(Bound(shard, seq + 1) for shard, seq in sorted(seqs.items())))

    async def _at_time(self, past: AsOf, time_ms: int) -> Moment:
        """Each shard's last commit whose tick is not later."""
        now_ms = self._clock.now_ms()
        time = rfc3339(time_ms)
        if time_ms > now_ms:
            raise ProblemError(
                HTTPStatus.BAD_REQUEST,
                f"at: {time} lies in the future: it is {rfc3339(now_ms)}",
            )
        if self._ends is not None and time_ms > self._known_ms - _SETTLED_MS:
            await self._look(self._ends)
        found = await self._read(past, time, time, self._complete)
        return Moment(tuple(one.later or Bound(one.shard, one.seq + 1) for one in found))

    async def _read(
        self, past: AsOf, at: str, time: str | None, reached: Callable[[list[Recorded]], bool]
    ) -> list[Recorded]:
        """How far the past is read, once that is far enough; ProblemError when not in time."""
        try:
            async with asyncio.timeout(self._wait_s):
                while not reached(found := await past.recorded(time)):
                    await self._clock.sleep(_POLL_S)
        except TimeoutError:
            raise ProblemError(
                HTTPStatus.GATEWAY_TIMEOUT,
                f"the past was not read up to {at} within {self._wait_s:g} s: try again, or ask for"
                " a moment before",
                {"Retry-After": "1"},
            ) from None
        return found

    async def _shards(self) -> Mapping[int, int]:
        """The shards that are known; none where nobody can say."""
        if self._ends is None or self._known:
            return self._known
        try:
            return await self._look(self._ends)
        except LogError:
            return {}

    async def _look(self, ends: Ends) -> Mapping[int, int]:
        now_ms = self._clock.now_ms()
        self._known = await ends()
        self._known_ms = now_ms
        return self._known

    def _complete(self, found: list[Recorded]) -> bool:
        """Whether every shard's past knows of something later, or all that there is."""
        read = {one.shard: one.journal_next for one in found}
        open_ended = self._known.keys() - {one.shard for one in found if one.later is not None}
        return all(read.get(shard, 0) >= self._known[shard] for shard in open_ended)
