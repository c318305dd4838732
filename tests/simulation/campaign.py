"""Many runs on all cores, what they add up to, and the shortest run that fails."""

import gc
import multiprocessing
import os
import signal
from collections import Counter
from collections.abc import Iterable, Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from dataclasses import dataclass, field
from itertools import islice
from typing import Final, NamedTuple

from tests.simulation.loop import SimulationError
from tests.simulation.plan import Change, Fault, Meeting, Oddity, Plan, a_plan
from tests.simulation.run import Outcome, simulate
from tests.simulation.world import Violation

_CHUNK: Final = 20
"""Runs that a worker is given at a time."""


class Failure(NamedTuple):
    """A run that broke a promise."""

    plan: Plan
    kind: str
    what: str

    def __str__(self) -> str:
        """What is wrong, and how to see it again."""
        return f"{self.what}\n  replay: {replay(self.plan)}"


def replay(plan: Plan, *options: str) -> str:
    """The command that runs a plan again."""
    said = ["python -m tests.simulation", str(plan.seed), *options]
    if plan.scenario:
        said.append(f"--scenario {plan.scenario}")
    if plan.crash_at is not None:
        said.append(f"--crash-at {plan.crash_at}")
    if plan.strike_at is not None:
        said.append(f"--strike-at {plan.strike_at[0]}:{plan.strike_at[1].name.lower()}")
    return " ".join(said)


@dataclass
class Total:
    """What many runs add up to."""

    runs: int = 0
    cpu_s: float = 0.0
    virtual_s: float = 0.0
    count: Counter[str] = field(default_factory=Counter)
    fired: Counter[str] = field(default_factory=Counter)
    sites: Counter[tuple[str, str, str]] = field(default_factory=Counter)
    failures: list[Failure] = field(default_factory=list)

    def add(self, one: Outcome | Failure) -> None:
        """Take in a run."""
        self.runs += 1
        if isinstance(one, Failure):
            self.failures.append(one)
            return
        self.cpu_s += one.cpu_s
        self.virtual_s += one.virtual_s
        self.count.update(one.count)
        self.fired.update(one.fired)
        self.sites.update(one.sites)

    def silent(self) -> list[str]:
        """Faults that never struck or met, changes that were never made."""
        return [one for one in (*Fault, *Oddity, *Change, *Meeting) if not self.fired[one]]


def attempt(plan: Plan) -> Outcome | Failure:
    """Run a plan."""
    try:
        return simulate(plan)
    except Violation as error:
        return Failure(plan, error.kind, str(error))
    except SimulationError as error:
        return Failure(plan, "simulation", str(error))
    except Exception as error:  # noqa: BLE001 - whatever it is, it has a seed
        return Failure(plan, "defect", repr(error))


def _chunk(plans: list[Plan]) -> list[Outcome | Failure]:
    outcomes = [attempt(plan) for plan in plans]
    gc.collect()
    return outcomes


def campaign(plans: Iterable[Plan], workers: int | None = None) -> Iterator[Outcome | Failure]:
    """Run plans on all cores; outcomes as they come."""
    workers = workers or len(os.sched_getaffinity(0))
    rest = iter(plans)
    context = multiprocessing.get_context("spawn")
    ignoring = (signal.SIGINT, signal.SIG_IGN)  # a Ctrl-C is for who asked for the runs
    with ProcessPoolExecutor(workers, context, signal.signal, ignoring) as pool:
        running: set[Future[list[Outcome | Failure]]] = set()
        try:
            while True:
                while len(running) < 2 * workers and (chunk := list(islice(rest, _CHUNK))):
                    running.add(pool.submit(_chunk, chunk))
                if not running:
                    return
                done, running = wait(running, return_when=FIRST_COMPLETED)
                for one in done:
                    yield from one.result()
        finally:
            pool.shutdown(wait=True, cancel_futures=True)


def shrink(plan: Plan, failure: Failure) -> tuple[Plan, Failure]:
    """A smaller plan that fails in the same way: fewer orders, fewer kinds of faults."""
    orders, without = plan.orders, set[Fault | Oddity | Change]()
    smallest = plan, failure

    def fails(orders: int, without: set[Fault | Oddity | Change]) -> bool:
        nonlocal smallest
        smaller = a_plan(plan.seed, orders=orders, without=without)
        outcome = attempt(smaller)
        if isinstance(outcome, Failure) and outcome.kind == failure.kind:
            smallest = smaller, outcome
            return True
        return False

    kinds: list[Fault | Oddity | Change] = [
        *plan.rates,
        *plan.oddities,
        *dict.fromkeys(plan.changes),
    ]
    for one in kinds:
        if fails(orders, without | {one}):
            without.add(one)
    while orders > 1 and fails(orders // 2, without):
        orders //= 2
    while orders > 1 and fails(orders - 1, without):
        orders -= 1
    return smallest
