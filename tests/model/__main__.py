"""Explore the models: `python -m tests.model` tells what breaks without each rule and how.

`--full` looks at every state of the full size instead.
"""

import argparse
import resource
import sys
import time
from collections.abc import Sequence
from typing import Final

from rich.console import Console
from rich.progress import Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

from tests.model.explore import Explored, Model, explore
from tests.model.intake import IntakeModel, IntakeSize
from tests.model.journal import JournalModel, Size
from tests.model.projector import ProjectorModel, ProjectorSize
from tests.model.rules import FINDINGS

FULL: Final[dict[str, Model]] = {
    "journal: 3 openings, 3 inputs, 4 commits": JournalModel(Size(inputs=3, commits=4, openings=3)),
    "journal: 3 openings, 2 inputs, 3 commits, some of them ticks": JournalModel(
        Size(inputs=2, commits=3, openings=3, ticks=True)
    ),
    "intake: 4 starts, 2 origins": IntakeModel(IntakeSize((((0, 1), (0, 1)), ((0, 1),)), starts=4)),
    "projector: 3 starts": ProjectorModel(ProjectorSize(starts=3)),
}


def main(arguments: Sequence[str]) -> int:
    """The exit status: 1 where the protocol is broken."""
    parser = argparse.ArgumentParser(prog="python -m tests.model", description=__doc__)
    parser.add_argument("--full", action="store_true", help="every state of the full size: minutes")
    full: bool = parser.parse_args(arguments).full
    console = Console()
    if not full:
        for finding in FINDINGS:
            console.rule(f"without {finding}", align="left")
            console.print(str(finding.explore()), finding.doubled, soft_wrap=True, highlight=False)
        return 0
    total, sound = 0, True
    for name, model in FULL.items():
        began = time.monotonic()
        found = _explore(console, name, model)
        seconds = time.monotonic() - began
        console.print(f"{name}: {found} ({seconds:.0f} s)", soft_wrap=True, highlight=False)
        total += found.states
        sound = sound and found.broken is None
    peak_mb = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024
    console.print(f"{total:,} states in all, {peak_mb:,} MB at most")
    return 0 if sound else 1


def _explore(console: Console, name: str, model: Model) -> Explored:
    columns = (SpinnerColumn(), TextColumn("{task.description}"), TimeElapsedColumn())
    with Progress(*columns, console=console, transient=True) as progress:
        task = progress.add_task(name)
        return explore(
            model,
            lambda states, depth: progress.update(
                task, description=f"{name}: {states:,} states, {depth} steps deep"
            ),
        )


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
