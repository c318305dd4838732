"""A replica: a shard's state as far as its journal was read, through the filter."""

import asyncio
from collections.abc import Callable, Iterable, Sequence
from typing import Final, Generic, TypeVar

from schemas.journal import Commit, Entry, FilterState, JournalError, Opened, Verdict
from schemas.ports import Clock, Partition, Read
from schemas.voids import Voids

_SLICE_S: Final = 0.002  # how long the loop's other tasks wait
_ENTRIES: Final = 16  # folded between two looks at the clock: less than 1 ms

S = TypeVar("S")


class Slices:
    """Long work in slices, so that the loop's other tasks wait for one slice, not for all of it."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._began = clock.monotonic()

    async def between(self) -> None:
        """Let others run when the slice is over; call after every small piece of work."""
        if self._clock.monotonic() - self._began >= _SLICE_S:
            await asyncio.sleep(0)
            self._began = self._clock.monotonic()


async def in_slices(steps: Iterable[object], clock: Clock) -> None:
    """Do long work, a small piece a step."""
    slices = Slices(clock)
    for _ in steps:
        await slices.between()


class Replica(Generic[S]):
    """What happened in a shard, folded. `fold` takes entries of valid commits into the state.

    `voids`: what of the journal doesn't count; read before the first record is taken.
    """

    def __init__(
        self,
        number: int,
        state: S,
        fold: Callable[[S, Sequence[Entry]], None],
        clock: Clock,
        voids: Voids,
    ) -> None:
        self.number = number
        self.partition = Partition("journal", number)
        self.state = state
        self.filter = FilterState()
        self.broken = False  # an entry was folded half
        self.events = 0  # inputs and decided events folded here
        self.still = asyncio.Lock()  # held by who looks at the state over several slices
        self._fold = fold
        self._voids = voids
        self.slices = Slices(clock)

    async def settled(self) -> None:
        """Wait until the state is nobody's; it stays so until the next await."""
        while self.still.locked():
            async with self.still:
                """Who held it is done."""

    async def take(self, read: Read) -> tuple[Opened | Commit | None, Verdict]:
        """Take the next record in, in slices; None for one that doesn't count.

        JournalError where the journal contradicts itself or the state: nothing more may be taken.
        """
        after, record, verdict = self._voids.take(self.number, self.filter, read, folds=True)
        if verdict is Verdict.VALID and isinstance(record, Commit):
            for first in range(0, len(record.entries), _ENTRIES):
                await self.settled()
                entries = record.entries[first : first + _ENTRIES]
                try:
                    self._fold(self.state, entries)
                except Exception as error:
                    self.broken = True
                    message = (
                        f"an entry from {first} on of the commit at offset {read.offset}"
                        f" contradicts the state before it: {error!r}"
                    )
                    raise JournalError(message) from error
                self.events += len(entries) + sum(len(one["events"]) for one in entries)
                await self.slices.between()
        self.filter = after
        return record, verdict
