"""`python -m tests.simulation SEED` runs a seed again; with --soak, many seeds; or the sweeps."""

import argparse
import sys
import time
from collections.abc import Iterator
from dataclasses import replace
from itertools import count, islice
from typing import Final

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table

from tests.simulation.campaign import Failure, Total, attempt, campaign, replay, shrink
from tests.simulation.plan import Change, Fault, Oddity, Plan, a_plan
from tests.simulation.sweep import SCENARIOS, variations

_SHOWN: Final = 20
_BY_NAME: Final = {one.name.lower(): one for one in (*Fault, *Oddity, *Change)}


def main() -> int:
    """Run what is asked for; 1 when a promise is broken."""
    parser = argparse.ArgumentParser(prog="python -m tests.simulation", description=__doc__)
    parser.add_argument("seed", type=int, help="the seed to run, or the first of a soak")
    parser.add_argument("--orders", type=int, help="fewer orders than the seed has")
    parser.add_argument(
        "--without", action="append", default=[], choices=sorted(_BY_NAME), metavar="FAULT"
    )
    parser.add_argument("--shrink", action="store_true", help="look for a shorter run that fails")
    parser.add_argument("--soak", action="store_true", help="run many seeds from this one on")
    parser.add_argument("--sweeps", action="store_true", help="run every sweep")
    parser.add_argument(
        "--sites", action="store_true", help="of a soak or the sweeps: list where hosts crashed"
    )
    parser.add_argument("--runs", type=int, help="of a soak: how many")
    parser.add_argument("--minutes", type=float, help="of a soak: for how long")
    parser.add_argument(
        "--events",
        type=int,
        help="of a soak: until so many inputs and decided events are journaled",
    )
    parser.add_argument("--scenario", choices=sorted(SCENARIOS), help="of the sweeps")
    parser.add_argument("--crash-at", type=int, help="of a sweep: the suspension to crash at")
    parser.add_argument("--strike-at", metavar="N:FAULT", help="of a sweep: the call that fails")
    given = parser.parse_args()
    console = Console(markup=False)  # what failed is told as it is
    if given.sweeps:
        plans = [plan for scenario in SCENARIOS.values() for plan in variations(scenario)]
        return _told(console, _many(console, iter(plans), runs=len(plans)), [], given.sites)
    if given.soak:
        bounds = {"runs": given.runs, "minutes": given.minutes, "events": given.events}
        total = _many(console, map(a_plan, count(given.seed)), **bounds)
        return _told(console, total, total.silent(), given.sites)
    without = [_BY_NAME[name] for name in given.without]
    plan = a_plan(given.seed, orders=given.orders, without=without)
    if given.scenario:
        at, _, fault = (given.strike_at or "").partition(":")
        strike_at = (int(at), Fault[fault.upper()]) if fault else None
        plan = replace(SCENARIOS[given.scenario], crash_at=given.crash_at, strike_at=strike_at)
    outcome = attempt(plan)
    if isinstance(outcome, Failure):
        console.print(outcome.what, style="red", highlight=False)
        if given.shrink:
            smallest, outcome = shrink(plan, outcome)
            console.print(outcome.what, highlight=False)
            command = replay(plan, *_options(plan, smallest))
            console.print(command, highlight=False, soft_wrap=True)
        return 1
    console.print(f"seed {plan.seed} holds: digest {outcome.digest}", highlight=False)
    console.print({**outcome.count, **{str(one): n for one, n in outcome.fired.items()}})
    return 0


def _options(plan: Plan, smallest: Plan) -> Iterator[str]:
    yield f"--orders {smallest.orders}"
    kept = {*smallest.rates, *smallest.oddities, *smallest.changes}
    for name, one in _BY_NAME.items():
        if one in {*plan.rates, *plan.oddities, *plan.changes} and one not in kept:
            yield f"--without {name}"


def _many(
    console: Console,
    plans: Iterator[Plan],
    *,
    runs: int | None = None,
    minutes: float | None = None,
    events: int | None = None,
) -> Total:
    """Many runs, by number, time or what happened in them: whichever comes first."""
    total, began = Total(), time.monotonic()
    until = began + minutes * 60 if minutes else None

    def while_time_is_left() -> Iterator[Plan]:
        for plan in islice(plans, runs):
            if until is not None and time.monotonic() > until:
                return
            if events is not None and total.count["events"] >= events:
                return
            yield plan

    columns = (BarColumn(), TextColumn("{task.description}"), TimeElapsedColumn())
    with Progress(*columns, console=console) as progress:
        task = progress.add_task("", total=runs or events or (minutes or 0) * 60 or None)
        try:
            for one in campaign(while_time_is_left()):
                total.add(one)
                happened, crashes = total.count["events"], total.fired[Fault.CRASHED]
                done = total.runs if runs else happened if events else time.monotonic() - began
                said = f"{total.runs:,} runs, {happened:,} events, {crashes:,} crashes"
                progress.update(
                    task, completed=done, description=f"{said}, {len(total.failures)} failed"
                )
                if isinstance(one, Failure) and len(total.failures) <= _SHOWN:
                    console.print(f"{one}", style="red", highlight=False, soft_wrap=True)
        except KeyboardInterrupt:
            console.print("stopped; this is of the runs until now")
    return total


def _told(console: Console, total: Total, silent: list[str], sites: bool) -> int:  # noqa: FBT001 - one word or the other
    """Say what struck, by kind, and where if that is wanted; 1 when something failed."""
    table = Table("what", "times")
    for name, number in sorted((total.count + total.fired).items()):
        table.add_row(str(name), f"{number:,}")
    table.add_row("sites of crashes", f"{len(total.sites):,}")
    console.print(table)
    if sites:
        console.print(_table_of(total))
    for name in silent:
        console.print(f"never struck: {name}", style="red")
    return 1 if total.failures or silent else 0


def _table_of(total: Total) -> Table:
    """Where hosts crashed: at which await of which role's, and on which side of the effect."""
    table = Table("await in role code", "before the effect", "after it", "call")
    by_await: dict[tuple[str, int, str], dict[str, int]] = {}
    for (path, line, what), times in total.sites.items():
        phase, _, call = what.partition(" ")
        by_await.setdefault((path, int(line or 0), call), {})[phase] = times
    for (path, number, call), hit in sorted(by_await.items()):
        where = f"{path}:{number}" if number else path
        table.add_row(where, f"{hit.get('before', 0):,}", f"{hit.get('after', 0):,}", call)
    return table


if __name__ == "__main__":
    sys.exit(main())
