"""An event loop that waits for nobody: where only timers are due, its time leaps to the next one.

What the machine takes to compute passes as ever, and deadlines still end what never comes. While a
thread works nothing leaps. A folder whose tests have no servers has it by its conftest.py; clocks
there are `LoopClock`.
"""

import asyncio
import selectors
import time
from collections.abc import Callable
from concurrent.futures import Executor
from typing import Final, TypeAlias, TypeVar, TypeVarTuple

from orchestrator.runtime.world import SystemClock

Loops: TypeAlias = dict[str, Callable[[], asyncio.AbstractEventLoop]]

_T = TypeVar("_T")
_Ts = TypeVarTuple("_Ts")

_EPOCH_MS: Final = 1_800_000_000_000


class _Selector(selectors.DefaultSelector):
    def __init__(self) -> None:
        super().__init__()
        self.leapt_s = 0.0
        self.threads = 0  # that work for the loop

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        if timeout is None or timeout <= 0 or self.threads:
            return super().select(timeout)
        found = super().select(0)
        if not found:
            self.leapt_s += timeout
        return found


class LeapingLoop(asyncio.SelectorEventLoop):
    """The machine's own loop but for the time that it would sleep."""

    def __init__(self) -> None:
        self._leaping = _Selector()
        super().__init__(self._leaping)

    def time(self) -> float:
        """Seconds, those that nobody waited for included."""
        return super().time() + self._leaping.leapt_s

    def run_in_executor(
        self, executor: Executor | None, func: Callable[[*_Ts], _T], *args: *_Ts
    ) -> asyncio.Future[_T]:
        """A thread's answer, for which time passes as it does."""
        self._leaping.threads += 1
        working = super().run_in_executor(executor, func, *args)
        working.add_done_callback(self._came_back)
        return working

    def _came_back(self, _: object) -> None:
        self._leaping.threads -= 1


def leaping(*, unless: bool = False) -> Loops:
    """What `pytest_asyncio_loop_factories` gives for tests with such a loop."""
    return {"plain": asyncio.new_event_loop} if unless else {"leaping": LeapingLoop}


class LoopClock(SystemClock):
    """A clock that goes by the running loop; by the machine where none runs."""

    def now_ms(self) -> int:
        """Milliseconds since 1970 UTC, of a day to come."""
        return _EPOCH_MS + int(_seconds() * 1000)

    def monotonic(self) -> float:
        """Seconds, for durations."""
        return _seconds()


def _seconds() -> float:
    loop = asyncio._get_running_loop()
    return time.monotonic() if loop is None else loop.time()
