"""The live figures as the API has them: the topic `kpis`, followed into memory."""

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import suppress
from typing import Any, Final, NamedTuple

import orjson
import structlog

from schemas.ports import Clock, EventLog, LogError, Partition, Read

KPIS: Final = Partition("kpis", 0)
DIMENSIONS: Final = {"channel": "channel", "node_id": "node", "carrier": "carrier"}
"""The field that names a member, and the dimension that it is of."""
_READ_RECORDS: Final = 1_000
_IDLE_WAIT_MS: Final = 200
_PAUSE_S: Final = 1.0
_PROGRESS: Final = b"progress"
_NAMED: Final = 20
_NEEDED: Final = ("market_id", "window", "window_end")

Json = dict[str, Any]
_log = structlog.get_logger(__name__)


class Asked(NamedTuple):
    """Which figures are asked for; None: of any."""

    market_id: str | None = None
    channel: str | None = None
    node_id: str | None = None
    carrier: str | None = None
    window: str | None = None
    by: str | None = None

    def covers(self, said: Mapping[str, Any]) -> bool:
        """Whether it asks for this window."""
        if self.by is not None and self.by != dimension_of(said):
            return False
        return all(
            wanted is None or said.get(field) == wanted
            for field, wanted in self._asdict().items()
            if field != "by"
        )


def dimension_of(said: Mapping[str, Any]) -> str:
    """Of what kind a window is: market, channel, node or carrier."""
    return next((of for field, of in DIMENSIONS.items() if said.get(field)), "market")


class LiveFigures:
    """Every latest window, and whoever waits for the next ones."""

    def __init__(self, log: EventLog, clock: Clock) -> None:
        self._log = log
        self._clock = clock
        self._windows: dict[bytes, Json] = {}
        self._waiting: set[asyncio.Queue[Json]] = set()
        self.complete_until: str | None = None
        self.whole = False  # whether the topic was read to its end

    async def run(self, stop: asyncio.Event) -> None:
        """Follow until told to stop; after a failure of the log from the beginning."""
        while not stop.is_set():
            try:
                await self._follow(stop)
            except LogError as error:
                _log.warning("live figures are read anew in a moment", what=str(error))
                with suppress(TimeoutError):
                    async with asyncio.timeout(_PAUSE_S):
                        await stop.wait()

    async def _follow(self, stop: asyncio.Event) -> None:
        reader = await self._log.reader({KPIS: None})
        at = 0
        try:
            while not stop.is_set():
                read = (await reader.read(_READ_RECORDS, _IDLE_WAIT_MS)).get(KPIS, [])
                for one in read:
                    at = one.offset + 1
                    self._take_or_pass_over(one)
                end = reader.high_water(KPIS)
                self.whole = self.whole or (end is not None and at >= end)
        finally:
            await reader.close()

    def _take_or_pass_over(self, one: Read) -> None:
        """Take a record; what can't be read must not end the role."""
        key = one.key or b""
        if one.value is None:
            self._windows.pop(key, None)
            return
        try:
            self._take(key, orjson.loads(one.value))
        except (LookupError, TypeError, ValueError) as error:
            _log.warning("passed over", topic=KPIS.topic, offset=one.offset, what=repr(error))

    def _take(self, key: bytes, said: Json) -> None:
        """Keep it, if it is later than what is there: one that was overtaken may write too."""
        if key == _PROGRESS:
            self.complete_until = max(self.complete_until or "", said["complete_until"])
            return
        for field in _NEEDED:
            if not isinstance(said[field], str):
                raise TypeError(f"{field} must be a string, was {said[field]!r}")
        known = self._windows.get(key)
        if known is None or known["window_end"] < said["window_end"]:
            self._windows[key] = said
            for waiting in self._waiting:
                if waiting.full():
                    waiting.get_nowait()  # who reads too slowly misses the oldest
                waiting.put_nowait(said)

    def latest(self, asked: Asked) -> list[Json]:
        """The latest windows that are asked for, by key."""
        found = sorted(self._windows.items())
        return [said for _, said in found if asked.covers(said)]

    def hint(self, asked: Asked) -> str | None:
        """What there is, where nothing is that is asked for; None where something is."""
        if any(asked.covers(said) for said in self._windows.values()):
            return None
        for field, wanted in asked._asdict().items():
            there = sorted({said.get(field) or "" for said in self._windows.values()} - {""})
            if field != "by" and wanted is not None and wanted not in there:
                more = f" and {len(there) - _NAMED} more" if len(there) > _NAMED else ""
                names = ", ".join(there[:_NAMED]) or "none"
                return f"there are no figures of {field} {wanted}; there are: {names}{more}"
        if not self._windows:
            return "there are no figures yet: does role kpis run, and role history?"
        return "each figure is of one market, or of one channel, node or carrier of it: ask for one"

    async def follow(self, asked: Asked, beat_s: float) -> AsyncIterator[Json | None]:
        """The latest windows, then each new one; None after `beat_s` without any."""
        queue: asyncio.Queue[Json] = asyncio.Queue(maxsize=10_000)
        self._waiting.add(queue)
        try:
            for said in self.latest(asked):
                yield said
            due = self._clock.monotonic() + beat_s
            while True:
                said_now: Json | None = None
                with suppress(TimeoutError):
                    async with asyncio.timeout(max(0.0, due - self._clock.monotonic())):
                        said_now = await queue.get()
                if said_now is None:
                    yield None
                elif asked.covers(said_now):
                    yield said_now
                else:
                    continue
                due = self._clock.monotonic() + beat_s
        finally:
            self._waiting.discard(queue)
