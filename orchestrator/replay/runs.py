"""Runs of variants side by side, each in a process of its own."""

import gc
import signal
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from dataclasses import dataclass
from multiprocessing import get_context
from pathlib import Path
from time import monotonic, process_time
from typing import Any, Final

import orjson

from orchestrator.core.config import Config
from orchestrator.core.shard import Shard, let_go
from orchestrator.installed import cores
from orchestrator.replay.changes import Changes
from orchestrator.replay.loop import Loop
from orchestrator.replay.outcome import Outcome, there
from orchestrator.replay.period import Period, Rows, load_index
from orchestrator.runtime.large_pages import Kept

BASELINE: Final = "as it was"
_POLL_S: Final = 0.25


@dataclass(frozen=True, slots=True)
class Variant:
    """A name and what it changes."""

    name: str
    changes: Changes


@dataclass(frozen=True, slots=True)
class Task:
    """One variant of one shard's period."""

    variant: Variant
    period: Period
    config: dict[str, Any]  # as `fields_of` gives it
    seed: int
    folder: str  # where its outcome goes


def fields_of(config: Config) -> dict[str, Any]:
    """What a process is sent in place of it: one that is frozen and compiled can't be unpickled."""
    return {name: getattr(config, name) for name in Config.__dataclass_fields__}


_done: Any = None
"""Entries done of each task; shared with the process that shows it."""
_before: tuple[Shard, Loop] | None = None
"""What this process's newest run has made: most processes end before they need its memory."""


def _share(done: Any) -> None:  # noqa: ANN401 - multiprocessing's array
    global _done  # noqa: PLW0603 - how a pool's processes get what can't be sent to them
    _done = done
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # who started the runs stops them
    gc.disable()  # a run makes no cycles, and looking for them took a tenth of it


def run_task(task: Task, number: int = 0) -> None:
    """Replay a task in this process; ChangeError, UndecidableError.

    All that the run has made stays in memory until another begins here.
    """
    global _before  # noqa: PLW0603 - what outlives the call
    if _before is not None:
        deque(let_go(_before[0]), maxlen=0)
        _before = None
    _before = _run_task(task, number)


def _run_task(task: Task, number: int) -> tuple[Shard, Loop]:
    began, began_s = process_time(), monotonic()
    shard = task.period.start(Config(**task.config))
    waiting = there(shard)
    outcome = Outcome(Path(task.folder), waiting)
    loop = Loop(
        shard,
        Rows(task.period),
        load_index(task.period),
        task.period.span,
        task.variant.changes,
        task.seed,
        outcome,
    )

    large = Kept()

    def done(entries: int) -> None:
        if _done is not None:
            _done[number] = entries

    def advanced(entries: int) -> None:
        large.look()
        done(entries)

    try:
        loop.run(advanced)
    finally:
        outcome.close()
    outcome.finish(
        {
            "compared": loop.compared,
            "differing": loop.differing,
            "differences": [one._asdict() for one in loop.differences],
            "plans_differ": len(loop.plans_differ),
            "cpu_seconds": round(process_time() - began, 3),
            "seconds": round(monotonic() - began_s, 3),
            "peak_memory_mb": _peak_memory_mb(),
        }
    )
    done(task.period.entries)
    return shard, loop


def _peak_memory_mb() -> float | None:
    """Of this process; None where the system doesn't tell (`getrusage` tells its parent's too)."""
    try:
        status = Path("/proc/self/status").read_text(encoding="ascii")
    except OSError:
        return None
    line = next(line for line in status.splitlines() if line.startswith("VmHWM:"))
    return round(int(line.split()[1]) * 1024 / 1e6, 1)


def run_all(
    tasks: Sequence[Task], advanced: Callable[[int, int, int], None], workers: int | None = None
) -> float:
    """Run all tasks, as many at a time as there are cores; seconds that took.

    `advanced` hears of a task's number, the entries done, and of how many. ChangeError,
    UndecidableError. When all are done, on Ctrl-C, or when one fails, their processes are stopped
    as they are: to free what a run has made takes a twentieth of it.
    """
    began = monotonic()
    context = get_context("spawn")
    done = context.Array("q", max(1, len(tasks)), lock=False)
    pool = ProcessPoolExecutor(
        min(len(tasks), workers or cores()) or 1,
        mp_context=context,
        initializer=_share,
        initargs=(done,),
    )
    try:
        left: set[Future[None]] = {
            pool.submit(run_task, task, number) for number, task in enumerate(tasks)
        }
        while left:
            ended, left = wait(left, _POLL_S, FIRST_COMPLETED)
            for one in ended:
                one.result()
            for number, task in enumerate(tasks):
                advanced(number, done[number], task.period.entries)
    finally:
        processes = list((pool._processes or {}).values())  # noqa: SLF001 - to stop them at once
        pool.shutdown(wait=False, cancel_futures=True)
        for process in processes:
            process.terminate()
    return monotonic() - began


def read_run(folder: str) -> dict[str, Any]:
    """What a run came to."""
    told: dict[str, Any] = orjson.loads(Path(folder, "run").read_bytes())
    return told
