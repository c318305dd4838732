"""An event loop with virtual time, whose every choice comes from a seed.

Time passes only when nothing is ready. What belongs to a host that is gone is never run again, not
even its `finally`; what belongs to a frozen one is kept until it thaws.
"""

import asyncio
import heapq
import random
from asyncio import events
from collections.abc import AsyncGenerator, Callable, Coroutine
from contextlib import suppress
from contextvars import Context, ContextVar, copy_context
from typing import Any, Final, NoReturn, TypeVar
from weakref import ref

T = TypeVar("T")

_MASK: Final = (1 << 64) - 1
_AWAITS: Final = 50  # awaits in `finally` blocks that a coroutine may still come by


class SimulationError(Exception):
    """The simulation itself can't go on: a deadlock, too many steps, a thread."""


class Host:
    """What a simulated process is to the loop."""

    def __init__(self) -> None:
        self.gone = False
        self.frozen: list[_Handle] | None = None


HOST: ContextVar[Host] = ContextVar("host")
"""Whose code runs; unset in the world's own."""


class HostedTask(asyncio.Task[T]):
    """A host's task with a number, so that sets of tasks have the same order in every run."""

    def __init__(
        self,
        number: int,
        coro: Coroutine[Any, Any, T],
        *,
        loop: asyncio.AbstractEventLoop,
        name: str | None,
        context: Context | None,
    ) -> None:
        self.number = number
        self.host = HOST.get(None) if context is None else context.get(HOST)
        super().__init__(coro, loop=loop, name=name, context=context)

    def __hash__(self) -> int:
        return self.number


class _Handle(asyncio.TimerHandle):
    """What asyncio's own handles do, for less: there are thousands in a run."""

    __slots__ = ("args", "callback", "context", "host")

    def __init__(
        self, callback: Callable[..., object], args: tuple[Any, ...], context: Context | None
    ) -> None:
        self.callback: Callable[..., object] | None = callback
        self.args = args
        self.context = copy_context() if context is None else context
        self.host = self.context.get(HOST)

    def cancel(self) -> None:
        """Never run it."""
        self.callback = None

    def cancelled(self) -> bool:
        """Whether it is never run."""
        return self.callback is None


class SimLoop(asyncio.BaseEventLoop):
    """Runs one handle at a time: which of those that are ready, chance decides."""

    _ready: list[_Handle]  # any of them may be next
    _scheduled: list[tuple[float, int, _Handle]]
    _stopping: bool

    def __init__(self, chance: random.Random, *, steps: int, shuffled: bool = True) -> None:
        super().__init__()
        self._ready = []
        self._now = 0.0
        self._chance = chance
        self._shuffled = shuffled
        self._steps_left = steps
        self._tasks: list[ref[HostedTask[Any]]] = []  # asyncio's own set has those of all loops
        self._timers = 0
        self._discards = False
        self.digest = 0
        """Of the schedule so far, and of what was noted."""
        self.errors: list[BaseException | str] = []
        """What nobody took care of."""
        self.set_exception_handler(self._noted)

    def _noted(self, _: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
        self.errors.append(context.get("exception") or str(context["message"]))

    def time(self) -> float:
        """Virtual seconds since the run began."""
        return self._now

    def passes(self, seconds: float) -> None:
        """Let time pass while the running code computes."""
        self._now += seconds

    def note(self, number: int) -> None:
        """Make a number part of the digest."""
        self.digest = (self.digest * 6_364_136_223_846_793_005 + number + 1) & _MASK

    def create_task(
        self,
        coro: Any,  # noqa: ANN401 - typeshed's own type is wider than Coroutine
        *,
        name: object = None,
        context: Context | None = None,
    ) -> asyncio.Task[Any]:
        """A task with a number."""
        number = len(self._tasks) + 1
        task: HostedTask[Any] = HostedTask(
            number,
            coro,
            loop=self,
            name=str(name) if name else f"task {number}",
            context=context,
        )
        self._tasks.append(ref(task))
        return task

    def call_soon(
        self, callback: Callable[..., object], *args: object, context: Context | None = None
    ) -> asyncio.Handle:
        """Run it when its turn comes."""
        handle = _Handle(callback, args, context)
        if not self._discards:
            self._ready.append(handle)
        return handle

    def call_at(
        self,
        when: float,
        callback: Callable[..., object],
        *args: object,
        context: Context | None = None,
    ) -> asyncio.TimerHandle:
        """Run it at that time; of several at the same, the one that was asked for first."""
        handle = _Handle(callback, args, context)
        self._timers += 1
        heapq.heappush(self._scheduled, (when, self._timers, handle))
        return handle

    def call_later(
        self,
        delay: float,
        callback: Callable[..., object],
        *args: object,
        context: Context | None = None,
    ) -> asyncio.TimerHandle:
        """Run it after a while."""
        return self.call_at(self._now + delay, callback, *args, context=context)

    def call_soon_threadsafe(self, *_: object, **__: object) -> NoReturn:
        """Nothing here has threads."""
        raise SimulationError("a thread, in the simulation")

    def _asyncgen_finalizer_hook(self, generator: AsyncGenerator[Any, Any]) -> None:
        """Close a generator that was left before its end, in this thread."""
        if not self._discards:
            self.call_soon(self.create_task, generator.aclose())

    def run_in_executor(self, *_: object) -> NoReturn:
        """Nothing here has threads."""
        raise SimulationError("an executor, in the simulation")

    def _run_once(self) -> None:
        """Run handles until told to stop."""
        ready, scheduled, chance = self._ready, self._scheduled, self._chance.random
        steps, shuffled, pop = self._steps_left, self._shuffled, heapq.heappop
        while not self._stopping:
            if not ready:
                if not scheduled:
                    raise SimulationError("deadlock: nothing is ready, nothing will ever be")
                self._now = max(self._now, scheduled[0][0])
                self.note(round(self._now * 1e6))
            while scheduled and scheduled[0][0] <= self._now:
                ready.append(pop(scheduled)[2])
            count = len(ready)
            index = 0
            if count > 1 and shuffled:
                index = int(chance() * count)
                self.digest = (self.digest * 6_364_136_223_846_793_005 + index + 1) & _MASK
            handle = ready.pop(index)
            callback, host = handle.callback, handle.host
            if callback is None:
                continue
            if host is not None:
                if host.gone:
                    continue
                if host.frozen is not None:
                    host.frozen.append(handle)
                    continue
            steps -= 1
            if steps < 0:
                raise SimulationError("too many steps: does something spin?")
            try:
                handle.context.run(callback, *handle.args)
            except (SystemExit, KeyboardInterrupt):
                raise
            except BaseException as error:  # noqa: BLE001 - as asyncio does
                self.errors.append(error)
        self._steps_left = steps

    def thaw(self, host: Host) -> None:
        """Let a frozen host go on with what came meanwhile."""
        if host.frozen is not None:
            self._ready += host.frozen
            host.frozen = None

    def tasks_of(self, host: Host) -> list[asyncio.Task[Any]]:
        """What a host has under way."""
        return [task for task in self._unfinished() if task.host is host]

    def _unfinished(self) -> list[HostedTask[Any]]:
        """All tasks that are under way, the first first."""
        there = (known() for known in self._tasks)
        return [task for task in there if task is not None and not task.done()]

    def discard(self) -> None:
        """End what never ended. Its `finally` blocks run now, when nothing listens any more."""
        self._discards = True
        events._set_running_loop(self)
        try:
            while left := self._unfinished():
                for task in left:
                    task._log_destroy_pending = False  # type: ignore[attr-defined]
                    _end(task.get_coro())
                    with suppress(asyncio.InvalidStateError):
                        asyncio.Future.set_result(task, None)
        finally:
            events._set_running_loop(None)
            self.close()


def _end(coro: Any) -> None:  # noqa: ANN401 - a coroutine, or a generator of old
    for _ in range(_AWAITS):
        try:
            coro.throw(_GoneError())
        except BaseException:  # noqa: BLE001 - whatever its `finally` blocks made of it
            return
    raise SimulationError(f"{coro} doesn't end")


class _GoneError(BaseException):
    """Ends what never ended by itself."""
