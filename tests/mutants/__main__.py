"""Try the mutants and print what became of each: `python -m tests.mutants [NAME…]`.

The exit status is 1 where one was not killed.
"""

import argparse
import sys
from collections.abc import Sequence

from rich.console import Console
from rich.progress import track
from rich.table import Table

from tests.mutants.sabotage import MUTANTS
from tests.mutants.trial import Outcome, Trial, try_all


def main(arguments: Sequence[str]) -> int:
    """The exit status."""
    parser = argparse.ArgumentParser(prog="python -m tests.mutants", description=__doc__)
    parser.add_argument("names", nargs="*", metavar="NAME", help="part of a mutant's name")
    parser.add_argument("--workers", type=int, choices=(1, 2), default=2)
    given = parser.parse_args(arguments)
    names: list[str] = given.names
    chosen = [one for one in MUTANTS if not names or any(name in one.name for name in names)]
    console = Console()
    trials: list[Trial] = []
    running = try_all(chosen, given.workers)
    trials.extend(track(running, "mutants", total=len(chosen), console=console, transient=True))
    table = Table("mutant", "outcome", "s", "check")
    for mutant, outcome, seconds, _ in trials:
        check = ", ".join(one.rpartition("::")[2] for one in mutant.checks)
        table.add_row(mutant.name, outcome, f"{seconds:.0f}", check)
    console.print(table)
    left = [trial for trial in trials if trial.outcome is not Outcome.KILLED]
    for trial in left:
        console.print(f"\n{trial.mutant.name}: {trial.outcome}\n{trial.says}", highlight=False)
    console.print(f"{len(trials) - len(left)} of {len(trials)} killed")
    return 1 if left else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
