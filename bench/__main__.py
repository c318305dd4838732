"""`make bench`: speed and size beside their targets, on real Kafka and PostgreSQL.

make bench                              everything, about 25 minutes; keep the machine quiet
make bench ARGS="--quick"               everything shortly, a few minutes: that it works
make bench ARGS="--only core,baseline"  some of it
make bench ARGS="--interpreted"         the core as it is written, instead of compiled

A miss is marked, and is no failure: how fast a machine is, is no test. Results are written to
`bench/results/<bench>.json`; a whole run also writes `latest.json`, the one that is committed.
"""

import argparse
import asyncio
import os
import signal
import statistics
import subprocess
import sys
import time
from pathlib import Path
from typing import Any, Final, NoReturn

import psycopg

from bench import (
    baseline,
    core,
    end_to_end,
    history,
    history_cost,
    kpis,
    past,
    projector,
    promise,
    recovery,
    report,
    sourcing,
    whatif,
)
from bench.end_to_end import Measured
from bench.report import Figure, Result, say
from orchestrator import installed
from orchestrator.embedded import embedded_postgres
from tests.servers import KAFKA_VERSION

BENCHES: Final = (
    *("core", "sourcing", "projector", "baseline", "end_to_end", "promise", "recovery"),
    *("history", "history_cost", "whatif", "past", "kpis"),
)
_ALONE: Final = {
    "recovery": recovery,
    "history": history,
    "history_cost": history_cost,
    "whatif": whatif,
    "past": past,
    "kpis": kpis,
}
_HEADRACE_TO_BASELINE: Final = 2.5
_ROOT: Final = Path(__file__).parents[1]


def main() -> None:
    """Run what is asked for, print the table, write the results."""
    given = _arguments()
    if not given.interpreted and installed.core() == "interpreted":
        _again_with_the_core_compiled()
    for number in (signal.SIGINT, signal.SIGTERM):  # also where a shell has us ignore Ctrl-C
        signal.signal(number, signal.default_int_handler)
    about = report.machine() | _servers()
    report.console.print(" · ".join(f"{name} {value}" for name, value in about.items()))
    results: list[Result] = []
    try:
        if "core" in given.only:
            results.append(core.run(quick=given.quick, runs=given.runs))
        if "sourcing" in given.only:
            results.append(sourcing.run(quick=given.quick, runs=given.runs))
        if "projector" in given.only:
            results.append(_projector(quick=given.quick, runs=given.runs))
        if {"baseline", "end_to_end"} & set(given.only):
            results += _side_by_side(given)
        if "promise" in given.only:
            results.append(promise.result(quick=given.quick, runs=given.runs))
        for name, bench in _ALONE.items():
            if name in given.only:
                results.append(bench.run(quick=given.quick, runs=given.runs))
    except KeyboardInterrupt:
        say("stopped")
    if not results:
        return
    report.print_table(results)
    if given.quick:
        report.console.print("--quick: too short to judge by.")
    stamp = {"at": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()), "quick": given.quick}
    stamp |= {"layout": given.layout, "machine": about}
    written = [(one.bench, [one]) for one in results]
    if len(results) == len(BENCHES) and not given.quick:
        written.append(("latest", results))
    for name, some in written:
        content: dict[str, Any] = dict(stamp)
        content["figures"] = [
            {"bench": one.bench} | figure.as_json() for one in some for figure in one.figures
        ]
        content["details"] = {one.bench: one.details for one in some}
        say(f"written: bench/results/{report.write(name, content).name}")


def _arguments() -> argparse.Namespace:
    arguments = argparse.ArgumentParser(
        prog="python -m bench",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    arguments.add_argument("--only", default=",".join(BENCHES), help="some of " + ",".join(BENCHES))
    arguments.add_argument("--quick", action="store_true", help="short runs of everything")
    arguments.add_argument("--runs", type=int, help="of each (default 3; with --quick 1)")
    arguments.add_argument("--seconds", type=float, help="of full load (default 60; 5)")
    arguments.add_argument(
        "--layout",
        choices=end_to_end.LAYOUTS,
        default=end_to_end.LAYOUT,
        help="which roles share a process (default %(default)s)",
    )
    arguments.add_argument(
        "--interpreted", action="store_true", help="the core as it is written, not compiled"
    )
    given = arguments.parse_args()
    if given.interpreted and installed.core() == "compiled":
        arguments.error("--interpreted: the core that PYTHONPATH names is compiled")
    given.only = given.only.split(",")
    if unknown := set(given.only) - set(BENCHES):
        arguments.error(f"--only: {', '.join(sorted(unknown))}: choose from {', '.join(BENCHES)}")
    given.runs = given.runs or (1 if given.quick else 3)
    given.seconds = given.seconds or (5 if given.quick else 60)
    return given


def _again_with_the_core_compiled() -> NoReturn:
    """Make the compiled packages and start over with them, for this process and its children."""
    made = subprocess.run(
        [sys.executable, str(_ROOT / "tools" / "compiled.py")],
        stdout=subprocess.PIPE,
        text=True,
        check=False,
    )
    if made.returncode:
        raise SystemExit(made.returncode)
    path = os.pathsep.join((made.stdout.strip(), str(_ROOT)))
    os.execve(  # noqa: S606 - ourselves
        sys.executable,
        [sys.executable, "-m", "bench", *sys.argv[1:]],
        os.environ | {"PYTHONPATH": path, "PYTHONSAFEPATH": "1"},
    )


def _servers() -> dict[str, str]:
    with embedded_postgres() as url, psycopg.connect(url) as connection:
        number = connection.info.server_version
    return {"Kafka": KAFKA_VERSION, "PostgreSQL": f"{number // 10_000}.{number % 10_000}"}


def _projector(*, quick: bool, runs: int) -> Result:
    orders = 4_000 if quick else 20_000
    with embedded_postgres(settings=baseline.DURABLE) as url:
        rates = [
            asyncio.run(projector.run(url, shards=4, orders=orders, a_commit=20, a_batch=10))
            for _ in range(runs)
        ]
    return Result(
        "projector",
        [
            Figure(
                "rows written",
                "rows/s",
                [rows for rows, _ in rates],
                at_least=projector.TARGET_ROWS_S,
            ),
            Figure("orders projected", "orders/s", [orders for _, orders in rates]),
        ],
    )


def _side_by_side(given: argparse.Namespace) -> list[Result]:
    """The baseline and the whole path in turns, so that a slow minute meets both."""
    seconds = given.seconds
    plan = end_to_end.Plan(layout=given.layout, seconds=seconds)
    if given.quick:
        plan = end_to_end.Plan(
            given.layout, seconds, pilot_s=2, open_orders=0, warm_up_s=3, latency_s=4
        )
    ways: dict[bool, baseline.Way] = {}
    rates: dict[bool, list[float]] = {False: [], True: []}  # of the plain and the tuned platform
    runs = []
    for number in range(given.runs):
        if "baseline" in given.only:
            with embedded_postgres(settings=baseline.DURABLE) as url:
                for tuned, its in rates.items():
                    if tuned not in ways:
                        say("baseline: which way is the fastest?")
                        tried = (2, 8) if given.quick else baseline.CONNECTIONS
                        search_s = 1 if given.quick else 4
                        ways[tuned] = baseline.best_way(url, search_s, tried, tuned=tuned)
                    its.append(baseline.measure(url, ways[tuned], min(seconds, 20)))
        if "end_to_end" in given.only:
            say(f"end to end: run {number + 1} of {given.runs}")
            runs.append(end_to_end.run(plan))
    results = []
    if ways:
        figures = [
            Figure("orders, locking rows", "orders/s", its, note=str(ways[tuned]))
            for tuned, its in rates.items()
        ]
        results.append(Result("baseline", figures))
    if runs:
        results.append(_end_to_end(runs, rates))
    return results


def _end_to_end(runs: list[Measured], rates: dict[bool, list[float]]) -> Result:
    """Figures of the runs; `rates` are the baselines', plain and tuned."""
    first = runs[0]
    slower = ", ".join(sorted({run.slower for run in runs}))
    figures = [
        Figure(
            "orders to commands and read model",
            "orders/s",
            [run.orders_s for run in runs],
            at_least=2_000,
            note=f"last: {slower}",
        )
    ]
    speeds = [run.orders_s for run in runs]
    for tuned, its in rates.items():
        if not its:
            continue
        pairs = [fast / slow for fast, slow in zip(speeds, its, strict=True)]
        figures.append(
            Figure(
                f"the same, against the {'tuned' if tuned else 'plain'} baseline",
                "times",
                [statistics.median(speeds) / statistics.median(its)],
                at_least=None if tuned else _HEADRACE_TO_BASELINE,
                note=f"pairs {min(pairs):.2f}…{max(pairs):.2f}",
            )
        )
    at_rate = f"{end_to_end.RATE}/s, {first.open_orders:,} open"

    def of(quantile: str) -> list[float]:
        return [run.command_ms[quantile] for run in runs]

    figures += [
        Figure("placed → command, p50", "ms", of("p50"), at_most=15, note=at_rate),
        Figure("placed → command, p99", "ms", of("p99"), at_most=60, note=at_rate),
    ]
    figures += [
        Figure(
            f"placed → readable over HTTP {how}, p99",
            "ms",
            [run.readable_ms[how]["p99"] for run in runs],
            at_most=150,
            note=f"p50 {first.readable_ms[how]['p50']:.0f}; "
            f"{first.readable_ms[how]['count']:.0f} samples a run",
        )
        for how in first.readable_ms
    ]
    figures += [
        Figure("orders sent late by, p99", "ms", [run.sent_late_ms for run in runs]),
        Figure(
            f"journal an order on disk, {end_to_end.RATE}/s",
            "bytes",
            [run.journal_trickle for run in runs],
            at_most=1_200,
        ),
        Figure(
            "journal an order on disk, full load",
            "bytes",
            [run.journal_full for run in runs],
            at_most=600,
        ),
    ]
    empty = [run.empty_engine_mb for run in runs if run.empty_engine_mb is not None]
    if empty:
        figures.append(Figure("engine's process without orders", "MB", empty, at_most=90))
    figures += [
        Figure(f"CPU an order at full load: {who}", "µs", [run.cpu_us.get(who, 0) for run in runs])
        for who in first.cpu_us
    ]
    figures.append(
        Figure("findings of the audit", "", [float(len(run.findings)) for run in runs], at_most=0)
    )
    details = {
        "runs": [
            {
                "orders": run.orders,
                "command_ms": run.command_ms,
                "readable_ms": run.readable_ms,
                "stages_ms": run.stages_ms,
                "roles_mb": run.roles_mb,
                "findings": run.findings,
            }
            for run in runs
        ]
    }
    return Result("end_to_end", figures, details)


if __name__ == "__main__":
    main()
