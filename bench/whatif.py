"""`headrace whatif` over real baskets: seconds a variant on one core, and two on two cores.

python -m bench whatif               10,000 baskets of up to 7 lines, scaled to 100,000
python -m bench.whatif 100000        as many as that
python -m bench.whatif 100000 all    baskets of any size
"""

import asyncio
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Final

from bench import report
from bench.report import Figure, Result, say
from orchestrator import installed
from orchestrator.replay.changes import Changes
from orchestrator.replay.period import Period
from orchestrator.replay.runs import BASELINE, Task, Variant, fields_of, read_run, run_all

_A_DAY: Final = 25_000
_PER: Final = 100_000
_MOST_LINES: Final = 7
_UNCHANGED: Final = Variant(BASELINE, Changes())
_CLOSED: Final = Variant("closed", Changes(closed=["DC-EWR", "DC-ONT"]))


def run(*, quick: bool, runs: int) -> Result:
    """Up to seven lines a basket, as `make bench` does it."""
    return measure(1_000 if quick else 10_000, _MOST_LINES, runs)


def measure(orders: int, max_lines: int | None, runs: int) -> Result:
    """Make a past, read it, replay it."""
    # The processes of runs load this module again: of the command's they load none of these either.
    from rich.progress import Progress  # noqa: PLC0415

    from orchestrator.commands.whatif import read_periods  # noqa: PLC0415
    from orchestrator.compose import collect_rarely, config_of_core  # noqa: PLC0415
    from orchestrator.demo import days  # noqa: PLC0415
    from orchestrator.runtime.settings import Settings  # noqa: PLC0415

    settings = Settings(shards=days.SHARDS)
    config = fields_of(config_of_core(settings))
    scale = _PER / orders
    collect_rarely()
    began = time.perf_counter()
    log = days.make(days.Shop(orders, days=max(0.5, orders / _A_DAY), max_lines=max_lines))
    say(f"whatif: a past of {orders:,} orders, made in {time.perf_counter() - began:.0f} s")
    with TemporaryDirectory(prefix="bench-whatif-") as name, Progress(disable=True) as bar:
        folder = Path(name)
        began = time.perf_counter()
        periods = asyncio.run(read_periods(log, settings, (0, None), folder, bar))
        read_s = time.perf_counter() - began
        del log
        entries = sum(one.entries for one in periods)
        say(f"whatif: {entries:,} entries read in {read_s:.1f} s")
        alone: list[float] = []
        cpu: list[float] = []
        pairs: list[float] = []
        memory = 0.0
        for number in range(runs):
            once = _tasks([_CLOSED], periods, folder / f"a{number}", config)
            alone.append(_scaled(run_all(once, lambda *_: None, workers=1), once, scale))
            told = [read_run(task.folder) for task in once]
            cpu.append(sum(one["cpu_seconds"] for one in told))
            memory = max(memory, *(one["peak_memory_mb"] or 0 for one in told))
            both = _tasks([_UNCHANGED, _CLOSED], periods, folder / f"b{number}", config)
            pairs.append(_scaled(run_all(both, lambda *_: None, workers=2), both, scale))
            differing = sum(read_run(one.folder)["differing"] for one in both)
            if differing:
                raise AssertionError(f"the unchanged world differs in {differing} entries")
            say(f"whatif: {alone[-1]:.1f} s of 100,000, {pairs[-1]:.1f} s two on two cores")
    most = 60 if max_lines else 300
    size = f"{orders:,} baskets{f' of up to {max_lines} lines' if max_lines else ''}"
    return Result(
        "whatif",
        [
            Figure(
                "a variant on one core, of 100,000 orders",
                "s",
                alone,
                at_most=most,
                note=f"{size}; {entries / orders:.1f} entries an order",
            ),
            Figure("the same, CPU", "s", [one * scale for one in cpu]),
            Figure(
                "two variants on two cores, of 100,000 orders",
                "s",
                pairs,
                at_most=most,
                note="the unchanged one equal to history byte for byte",
            ),
            Figure("reading the journal once, of 100,000 orders", "s", [read_s * scale]),
            Figure("memory of a run", "MB", [memory], note=f"of {orders:,} orders"),
        ],
    )


def _scaled(seconds: float, tasks: Sequence[Task], scale: float) -> float:
    """What runs that took so long together would take with `scale` times the orders.

    That their processes start, and load what they need, is counted once.
    """
    of: dict[str, float] = {}
    for task in tasks:
        taken: float = read_run(task.folder)["seconds"]
        of[task.variant.name] = of.get(task.variant.name, 0) + taken
    return seconds + max(of.values()) * (scale - 1)


def _tasks(
    variants: Sequence[Variant], periods: Sequence[Period], folder: Path, config: dict[str, Any]
) -> list[Task]:
    return [
        Task(variant, period, config, 1, str(folder / f"{number}-{period.shard}"))
        for number, variant in enumerate(variants)
        for period in periods
    ]


def main() -> None:
    """Measure so many, once, and print the table."""
    orders = int(sys.argv[1]) if sys.argv[1:] else 10_000
    say(f"whatif: {installed.core()} core")
    report.print_table([measure(orders, None if sys.argv[2:] == ["all"] else _MOST_LINES, 1)])


if __name__ == "__main__":
    main()
