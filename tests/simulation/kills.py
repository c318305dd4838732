"""How often the simulator notices each mutant: `python -m tests.simulation.kills [NAME…]`.

Runs are counted until there are enough of them or the time is over, since a run in which nothing
settles is a long one.
"""

import argparse
import json
import os
import subprocess
import sys
from pathlib import Path

from rich.box import MARKDOWN
from rich.console import Console
from rich.progress import track
from rich.table import Table

from tests.mutants.sabotage import MUTANTS, Mutant
from tests.mutants.trial import applied_all, copy_of_the_tree

_WIDE = 400
_LOST = 4
"""How many times as long as it may take a run takes that never ends."""
_ELSEWHERE = {"projections/postgres.py", "orchestrator/core/auditing.py", "schemas/voids.py"}
"""What the simulator doesn't run, or has no part to play for."""

_RUN = """
import json, sys, time
from collections import Counter
from tests.simulation.campaign import Failure, attempt
from tests.simulation.plan import a_plan
kinds, runs, until = Counter(), 0, time.monotonic() + float(sys.argv[2])
at_once = sys.argv[3] == "True"
while runs < int(sys.argv[1]) and time.monotonic() < until and not (at_once and kinds):
    outcome = attempt(a_plan(runs))
    runs += 1
    if isinstance(outcome, Failure):
        kinds[outcome.kind] += 1
print(json.dumps([runs, kinds]))
"""


def noticed(
    copy: Path, mutant: Mutant, runs: int, seconds: float, *, at_once: bool = False
) -> tuple[int, dict[str, int]]:
    """How many runs there were, and which promises were broken how often.

    `at_once`: the first run that notices it is the last.
    """
    whole = {path: path.read_text() for path in {copy / edit.file for edit in mutant.edits}}
    try:
        for path, text in applied_all(copy, mutant).items():
            path.write_text(text)
        done = subprocess.run(
            [sys.executable, "-c", _RUN, str(runs), str(seconds), str(at_once)],
            cwd=copy,
            env={**os.environ, "PYTHONPATH": str(copy), "PYTHONDONTWRITEBYTECODE": "1"},
            check=False,
            capture_output=True,
            text=True,
            timeout=_LOST * seconds,
        )
    except subprocess.TimeoutExpired:
        return 0, {"never ended": 1}
    finally:
        for path, text in whole.items():
            path.write_text(text)
    if done.returncode:
        return 0, {"crashed": 1}
    counted: tuple[int, dict[str, int]] = json.loads(done.stdout)
    return counted


def main() -> None:
    """Print a row for each mutant."""
    parser = argparse.ArgumentParser(prog="python -m tests.simulation.kills", description=__doc__)
    parser.add_argument("names", nargs="*", metavar="NAME", help="part of a mutant's name")
    parser.add_argument("--runs", type=int, default=200)
    parser.add_argument("--seconds", type=float, default=60.0)
    parser.add_argument("--markdown", action="store_true", help="print the table as Markdown")
    given = parser.parse_args()
    names: list[str] = given.names
    chosen = [
        one
        for one in MUTANTS
        if {edit.file for edit in one.edits}.isdisjoint(_ELSEWHERE)
        and (not names or any(name in one.name for name in names))
    ]
    table, console = Table("mutant", "killed", "of", "by", "directed test"), Console()
    if given.markdown:
        table.box = MARKDOWN
    with copy_of_the_tree() as copy:
        for mutant in track(chosen, "mutants", console=console, transient=True):
            runs, kinds = noticed(copy, mutant, given.runs, given.seconds)
            broken = ", ".join(f"{kind} {count}" for kind, count in sorted(kinds.items()))
            test = mutant.checks[0].rpartition("::")[2].rpartition("/")[2]
            table.add_row(mutant.name, str(sum(kinds.values())), str(runs), broken, f"`{test}`")
    if given.markdown:
        console.width = _WIDE
    console.print(table)


if __name__ == "__main__":
    main()
