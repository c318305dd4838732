"""Read-your-writes: the header `Headrace-Position` on requests."""

import asyncio
import re
from collections.abc import Awaitable, Callable, Mapping, Sequence
from http import HTTPStatus
from typing import NamedTuple, Protocol, TypeAlias

import orjson

from projections.api.problems import ProblemError, no_shard
from schemas.ports import Clock

HEADER = "Headrace-Position"

IntakeProgress: TypeAlias = Callable[[str, int], Awaitable[tuple[int, str] | None]]
"""Topic and partition to intake's saved offset and its metadata, None where nothing is saved.

The metadata is JSON: `{"inbox": {"<shard>": <the inbox offset after the last appended>}}`; empty
where the broker keeps none. LookupError: intake does not read this partition, with a sentence.
"""

Ends: TypeAlias = Callable[[], Awaitable[Mapping[int, int]]]
"""Shard to the offset that the next record of its inbox, or of its journal, will have."""


class Reached(Protocol):
    """How far a shard's journal is taken in."""

    @property
    def shard(self) -> int:
        """Its number."""
        ...

    @property
    def seq(self) -> int:
        """The newest commit."""
        ...

    @property
    def inbox_next(self) -> int:
        """Inbox offsets below it are handled."""
        ...


Progress: TypeAlias = Callable[[], Awaitable[Sequence[Reached]]]
"""Every shard that is known, as of now."""

_POLL_S = 0.01
_SHARD = re.compile(r"(\d{1,6}):(\d{1,18})")
_WRITTEN = re.compile(r"([A-Za-z0-9._-]{1,249})/(\d{1,6})@(\d{1,18})")


class Seen(NamedTuple):
    """The shard's commit `seq` is in the read model."""

    shard: int
    seq: int


class Written(NamedTuple):
    """What stands at this offset of a public topic is in the read model, or was rejected."""

    topic: str
    partition: int
    offset: int


def parse(header: str) -> list[Seen | Written]:
    """The positions a request asks for; ProblemError (400) where one is of neither form."""
    wanted: list[Seen | Written] = []
    for part in header.split(","):
        text = part.strip()
        if found := _SHARD.fullmatch(text):
            wanted.append(Seen(int(found[1]), int(found[2])))
        elif found := _WRITTEN.fullmatch(text):
            wanted.append(Written(found[1], int(found[2]), int(found[3])))
        else:
            raise ProblemError(
                HTTPStatus.BAD_REQUEST,
                f'{HEADER}: "{text}" is neither "<shard>:<seq>" nor "<topic>/<partition>@<offset>"',
            )
    return wanted


class Positions:
    """Waits until `who` (the read models, say) have reached a position, at most `wait_s`."""

    def __init__(
        self,
        who: str,
        progress: Progress,
        clock: Clock,
        intake_progress: IntakeProgress | None,
        inbox_ends: Ends | None,
        wait_s: float,
    ) -> None:
        self._who = who
        self._progress = progress
        self._clock = clock
        self._intake_progress = intake_progress
        self._inbox_ends = inbox_ends
        self._wait_s = wait_s
        self._reading = asyncio.Lock()
        self._read_at = float("-inf")
        self._shards: dict[int, Reached] = {}

    async def reach(self, header: str) -> None:
        """Return once all is reached; ProblemError: 400 no position, 504 not in time."""
        wanted = parse(header)
        try:
            async with asyncio.timeout(self._wait_s):
                for one in wanted:
                    await (self._seen(one) if isinstance(one, Seen) else self._written(one))
        except TimeoutError:
            raise ProblemError(
                HTTPStatus.GATEWAY_TIMEOUT,
                f"{self._who} not reached {header} within {self._wait_s:g} s: try again, or"
                " without the header for what is there now",
                {"Retry-After": "1"},
            ) from None

    async def _seen(self, wanted: Seen) -> None:
        shard = (await self._now()).get(wanted.shard)
        if shard is None:
            await self._must_exist(wanted.shard)
        while shard is None or shard.seq < wanted.seq:
            await self._clock.sleep(_POLL_S)
            shard = (await self._now()).get(wanted.shard)

    async def _must_exist(self, shard: int) -> None:
        """It may have committed nothing yet; where there is no such shard it never will."""
        ends = {} if self._inbox_ends is None else await self._inbox_ends()
        if ends and shard not in ends:
            raise no_shard(HEADER, ends, shard)

    async def _written(self, wanted: Written) -> None:
        if self._intake_progress is None or self._inbox_ends is None:
            raise ProblemError(
                HTTPStatus.BAD_REQUEST,
                f'{HEADER}: this server does not follow intake: use "<shard>:<seq>"',
            )
        while True:
            try:
                saved = await self._intake_progress(wanted.topic, wanted.partition)
            except LookupError as error:
                raise ProblemError(HTTPStatus.BAD_REQUEST, f"{HEADER}: {error.args[0]}") from error
            if saved is not None and saved[0] > wanted.offset:
                break
            await self._clock.sleep(_POLL_S)
        for shard, inbox_next in (await self._appended(saved[1], self._inbox_ends)).items():
            while True:
                reached = (await self._now()).get(shard)
                if (reached.inbox_next if reached else 0) >= inbox_next:
                    break
                await self._clock.sleep(_POLL_S)

    @staticmethod
    async def _appended(metadata: str, inbox_ends: Ends) -> Mapping[int, int]:
        """How far the inboxes were when intake had taken the record, or later."""
        if not metadata:
            return await inbox_ends()
        inbox: dict[str, int] = orjson.loads(metadata)["inbox"]
        return {int(shard): inbox_next for shard, inbox_next in inbox.items()}

    async def _now(self) -> dict[int, Reached]:
        """The positions, no older than this call; those who wait together share a query."""
        asked = self._clock.monotonic()
        async with self._reading:
            if self._read_at <= asked:
                began = self._clock.monotonic()
                self._shards = {one.shard: one for one in await self._progress()}
                self._read_at = began
        return self._shards
