"""The simulated world: hosts that crash and freeze, time, chance, and what watches."""

import asyncio
import random
import sys
from collections import Counter
from collections.abc import Awaitable, Callable, Coroutine, Generator
from contextvars import Context
from pathlib import Path
from types import FrameType
from typing import Any, Final, NoReturn

from tests.simulation.loop import HOST, Host, SimLoop
from tests.simulation.plan import Fault, Plan

EPOCH_MS: Final = 1_772_442_000_000
"""Where virtual time begins: Monday, 2026-03-02, 9:00 UTC."""
SESSION_S: Final = 6.0
"""How long a group takes to notice that a member is gone."""
_STEPS: Final = 3_000_000
_STOPS_AT: Final = 2
_ROOT: Final = f"{Path(__file__).parents[2]}/"
_ROLES: Final = tuple(
    f"{_ROOT}{one}" for one in ("orchestrator/", "projections/", "schemas/voids.py")
)
_FAKE: Final = "memory_log.py"  # stands beside the roles


class Violation(AssertionError):
    """A promise is broken. `kind` names it."""

    def __init__(self, kind: str, what: str) -> None:
        super().__init__(f"{kind}: {what}")
        self.kind = kind


class _Turn:
    """What `asyncio.sleep(0)` does, for less."""

    def __await__(self) -> Generator[None, None, None]:
        yield


_TURN: Final = _Turn()


class SimHost(Host):
    """A process with some roles."""

    def __init__(self, name: str, number: int) -> None:
        super().__init__()
        self.name = name
        self.number = number
        self.skew_ms = 0
        self.answers = 0
        """Of the call that it is told to stop after."""
        self.tasks: list[asyncio.Task[Any]] = []
        """Those of a process that is gone: kept, so that nothing of them is ever run."""
        self.thawed_at = 0.0


class World:
    """Time, chance and hosts of one run; what is wrong ends it."""

    def __init__(self, plan: Plan) -> None:
        self.plan = plan
        self.loop = SimLoop(
            random.Random(f"{plan.seed}/schedule"), steps=_STEPS, shuffled=plan.shuffled
        )
        self.chance = random.Random(f"{plan.seed}/faults")
        self.fired: Counter[str] = Counter()
        self.sites: Counter[tuple[str, str, str]] = Counter()
        """Where hosts crashed: role, file and line of the await, before or after the effect."""
        self.calm = False
        self.gone_until = 0.0
        """Until when the broker can't be reached, or couldn't."""
        self.silent_until = 0.0
        """Until when it answers no fetch."""
        self.violation: Violation | None = None
        self.hosts: list[SimHost] = []
        self.crashed: Callable[[SimHost], None] = lambda _host: None
        self.stops: Callable[[SimHost], None] = lambda _host: None
        """Tells a process to stop."""
        self._rates = dict(plan.rates)
        self._crash_rate = plan.rates.get(Fault.CRASHED)
        self._swept = bool(plan.scenario)
        self._suspensions = 0
        self._choices = 0
        self.seen: list[tuple[str, str, str]] | None = None
        """Where every suspension was, in order, if that is wanted."""
        self.might: list[tuple[tuple[str, str], tuple[Fault, ...]]] = []
        """What might have struck each call, and where it was made, in order."""
        self.context = Context()

    # --- time and chance

    def now_ms(self) -> int:
        """The broker's clock, and everybody's whose clock is right."""
        return EPOCH_MS + int(self.loop.time() * 1000)

    def at(self, delay_s: float, do: Callable[..., object], *args: object) -> None:
        """Let something happen, whoever is gone by then."""
        self.loop.call_later(delay_s, do, *args, context=self.context)

    def may(self, fault: Fault) -> bool:
        """Whether it can go wrong at all."""
        return fault in self._rates and not self.calm

    def strikes(self, fault: Fault) -> bool:
        """Whether something goes wrong now."""
        rate = self._rates.get(fault)
        if rate is None or self.calm or self.chance.random() >= rate:
            return False
        self.fired[fault] += 1
        return True

    def strikes_one_of(self, faults: tuple[Fault, ...]) -> Fault | None:
        """Which of these goes wrong now, if any: one call's outcome."""
        self._choices += 1
        if self.seen is not None:
            self.might.append((_site(), faults))
        at, fault = self.plan.strike_at or (-1, None)
        if fault is not None and self._choices == at + 1:
            self.fired[fault] += 1
            return fault
        return next((fault for fault in faults if self.strikes(fault)), None)

    def fail(self, kind: str, what: str) -> None:
        """End the run: a promise is broken."""
        if self.violation is None:
            self.violation = Violation(kind, f"{what} (at {self.loop.time():.3f} s)")
            self.loop.stop()

    # --- hosts

    def start(self, host: SimHost, main: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        """Run a process."""
        self.hosts.append(host)
        context = Context()
        context.run(HOST.set, host)
        return self.loop.create_task(main, name=host.name, context=context)

    def crash(self, host: SimHost) -> None:
        """The process is gone: nothing of it runs any more."""
        host.gone = True
        self.hosts.remove(host)
        host.tasks = self.loop.tasks_of(host)
        self.crashed(host)

    def freeze(self, host: SimHost, seconds: float) -> None:
        """Stop a process, and let it go on later."""
        if host.frozen is None:
            host.frozen = []
            self.at(seconds, self.thaw, host)

    def thaw(self, host: SimHost) -> None:
        """Let a frozen process go on."""
        host.thawed_at = self.loop.time()
        self.loop.thaw(host)

    def awaits(self, host: SimHost) -> list[str]:
        """Where, in role code, a host's tasks wait."""
        found = []
        for task in self.loop.tasks_of(host):
            at = task.get_name()
            coro: Any = task.get_coro()
            while coro is not None:
                frame = getattr(coro, "cr_frame", None)
                if frame is not None:
                    name = frame.f_code.co_filename.removeprefix(_ROOT)
                    at += f" {name.rpartition('/')[2]}:{frame.f_lineno}"
                coro = getattr(coro, "cr_await", None)
            found.append(at)
        return sorted(found)

    def suspend(self, host: SimHost, phase: str, what: str) -> Awaitable[None]:
        """A port's call before or after its effect: others run, the process may crash here."""
        if self._crash_rate and not self.calm and self.chance.random() < self._crash_rate:
            return self.die(host, phase, what)
        if self._swept:
            if self.seen is not None:
                self.seen.append((*_site(), f"{phase} {what}"))
            if phase == "after" and what == self.plan.stops_after and not self.calm:
                host.answers += 1
                if host.answers == _STOPS_AT:
                    self.stops(host)
            self._suspensions += 1
            if self._suspensions - 1 == self.plan.crash_at:
                return self.die(host, phase, what)
        return _TURN

    def spare(self) -> None:
        """Nobody crashes any more by chance."""
        self._crash_rate = None

    async def die(self, host: SimHost, phase: str, what: str) -> NoReturn:
        """Crash the calling process where it stands."""
        self.fired[Fault.CRASHED] += 1
        self.sites[(*_site(), f"{phase} {what}")] += 1
        self.crash(host)
        await self.loop.create_future()
        raise AssertionError


def _site() -> tuple[str, str]:
    """File and line, in role code, of the await that a port's call is made at."""
    frame: FrameType | None = sys._getframe(2)
    while frame is not None:
        path = frame.f_code.co_filename
        if path.startswith(_ROLES) and not path.endswith(_FAKE):
            return path.removeprefix(_ROOT), str(frame.f_lineno)
        frame = frame.f_back
    return "a task of its own", ""


def called_by(file: str, name: str = "") -> bool:
    """Whether a port's call is made, at last, by role code of this file, or of this name there."""
    frame: FrameType | None = sys._getframe(2)
    while frame is not None:
        code = frame.f_code
        if code.co_filename == f"{_ROOT}{file}" and name in {"", code.co_name}:
            return True
        frame = frame.f_back
    return False


class SimClock:
    """A process's clock."""

    def __init__(self, world: World, host: SimHost) -> None:
        self._world = world
        self._host = host

    def now_ms(self) -> int:
        """Milliseconds since 1970 UTC, as this machine believes."""
        return self._world.now_ms() + self._host.skew_ms

    def monotonic(self) -> float:
        """Seconds; looking at it takes time, as does what is computed in between."""
        self._world.loop.passes(self._world.plan.thinking_s)
        return self._world.loop.time()

    async def sleep(self, seconds: float) -> None:
        """Wait in virtual time."""
        await asyncio.sleep(seconds)


class SimRandomness:
    """A process's chance."""

    def __init__(self, world: World, host: SimHost) -> None:
        self._chance = random.Random(f"{world.plan.seed}/host {host.number}")

    def bits(self, n: int) -> int:
        """`n` random bits as an integer."""
        return self._chance.getrandbits(n)
