"""The mutation score of modules: `python -m tests.mutants.score FILE…`; a day for all.

With `--sample` so many of their mutants are tried, drawn by `--seed`, and the score of all follows
with the interval that it lies in 95 times of 100.

mutmut makes the mutants, of function bodies: tables at module level are `test_transition_tables`'.
Each is put into a copy of the tree and tried by the tests of its package, those of its module
first. What they pass gets a second trial by some runs of the simulator, which the table tells
apart. A mutant that can't be imported, or never ends, is killed as well. The exit status is 1 below
the score that is asked for.
"""

import argparse
import json
import math
import os
import random
import subprocess
import sys
from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Final, NamedTuple

from rich.console import Console
from rich.progress import track
from rich.table import Table

from tests.mutants.sabotage import Edit, Mutant
from tests.mutants.trial import ROOT, Outcome, Trial, copy_of_the_tree, try_all
from tests.simulation.kills import noticed

ASKED: Final = 80
"""Per cent of the mutants that are noticed, or should be."""
_MODULES: Final = ("orchestrator/core/*.py", "orchestrator/runtime/*.py")
_TESTS: Final = {
    "orchestrator/core": ("tests/core", "tests/properties", "tests/golden"),
    "orchestrator/runtime": ("tests/runtime", "tests/intake"),
    "orchestrator/runtime/kafka_log.py": (
        "tests/runtime/test_kafka_reader.py",
        "tests/runtime/test_groups.py",
        "tests/contract/test_event_log.py",
    ),
}
"""By what a path begins with, the longest."""
_TOOL: Final = ROOT / ".cache/mutmut"  # beside the virtual environment: no test needs it
_TIMEOUT_S: Final = 600.0  # what runs longer never ends; all tests of a package take a minute
_RUNS_S: Final = 60.0  # of the simulator, at the most

_MAKE: Final = """
import json
from pathlib import Path
from mutmut.__main__ import create_mutants
create_mutants(1)
print()
metas = [json.loads(one.read_text()) for one in Path("mutants").rglob("*.meta")]
print(json.dumps(sorted(name for one in metas for name in one["exit_code_by_key"])))
"""
_APPLY: Final = """
import json, sys
from libcst import ClassDef, FunctionDef, parse_module
from mutmut.mutation.diff_apply import find_mutant, get_diff_for_mutant, read_functions_from_index
from mutmut.utils.format_utils import orig_function_and_class_names_from_key as names_of
found = []
for name in json.load(sys.stdin):
    path = find_mutant(name).path
    function, of = names_of(name)
    module = parse_module(path.read_text())
    body = module.body
    if of is not None:  # mutmut's own way takes the first function of that name, of any class
        body = next(one for one in body if isinstance(one, ClassDef) and one.name.value == of)
        body = body.body.body
    old = next(one for one in body if isinstance(one, FunctionDef) and one.name.value == function)
    _, new = read_functions_from_index(name, path)
    new = old.with_changes(params=new.params, body=new.body)
    diff = get_diff_for_mutant(name, path=path)
    found.append([name, str(path), module.deep_replace(old, new).code, diff])
print()
print(json.dumps(found))
"""


class Made(NamedTuple):
    """A mutant as mutmut makes it: the text of its file, and what is changed there."""

    name: str
    path: str
    text: str
    diff: str


def main(arguments: Sequence[str]) -> int:
    """The exit status."""
    parser = argparse.ArgumentParser(prog="python -m tests.mutants.score", description=__doc__)
    parser.add_argument("files", nargs="*", metavar="FILE", default=_MODULES)
    parser.add_argument("--sample", type=int, metavar="N", help="try so many; default: all")
    parser.add_argument("--seed", type=int, default=1, help="which they are (default 1)")
    parser.add_argument("--runs", type=int, default=20, help="of the simulator (default 20)")
    parser.add_argument("--workers", type=int, choices=(1, 2), default=2)
    given = parser.parse_args(arguments)
    console = Console()
    there, made = _made(given.files, given.sample, given.seed)
    mutants = {_mutant(one): one for one in made}
    outcomes: dict[str, Counter[str]] = {}
    trials = try_all([*mutants], given.workers, _TIMEOUT_S)
    with copy_of_the_tree() as copy:
        for trial in track(trials, "mutants", total=len(made), console=console, transient=True):
            one = mutants[trial.mutant]
            outcome = _outcome(copy, trial, given.runs)
            outcomes.setdefault(one.path, Counter())[outcome] += 1
            console.print(f"{outcome}: {one.name}", highlight=False, markup=False)
            if outcome == "survived":
                console.print(one.diff, highlight=False, markup=False)
    total = sum(outcomes.values(), Counter[str]())
    table = Table("module", "mutants", *_OUTCOMES, "score %")
    for module, counts in sorted(outcomes.items()):
        table.add_row(module, *_row(counts))
    table.add_row("all", *_row(total))
    console.print(table)
    if given.sample is not None:
        low, high = interval(total.total() - total["survived"], total.total())
        console.print(
            f"a sample of {len(made)} of {there}, seed {given.seed}: the score of all is between"
            f" {low:.1%} and {high:.1%} (95 %)"
        )
    return 0 if _score(total) >= ASKED else 1


def _made(files: Sequence[str], size: int | None, seed: int) -> tuple[int, list[Made]]:
    """How many mutants there are, and those to be tried."""
    with copy_of_the_tree() as copy:
        with (copy / "pyproject.toml").open("a") as project:
            project.write("\n[tool.mutmut]\n")
            for name, value in {"source_paths": ["orchestrator"], "only_mutate": [*files]}.items():
                project.write(f"{name} = {json.dumps(value)}\n")
        names: list[str] = json.loads(_mutmut(copy, _MAKE))
        chosen = names if size is None else random.Random(seed).sample(names, min(size, len(names)))
        return len(names), [Made(*one) for one in json.loads(_mutmut(copy, _APPLY, chosen))]


def _mutmut(copy: Path, program: str, given: object = None) -> str:
    """The last line that a program with mutmut at hand prints."""
    done = subprocess.run(
        [sys.executable, "-c", program],
        cwd=copy,
        env={**os.environ, "PYTHONPATH": str(_TOOL)},
        input=json.dumps(given),
        stdout=subprocess.PIPE,
        text=True,
        check=True,
    )
    return done.stdout.splitlines()[-1]


def _mutant(made: Made) -> Mutant:
    prefix = max((one for one in _TESTS if made.path.startswith(one)), key=len)
    nearest = f"{_TESTS[prefix][0]}/test_{Path(made.path).name}"
    first = [nearest] if (ROOT / nearest).exists() else []
    edit = Edit(made.path, (ROOT / made.path).read_text(), made.text)
    return Mutant(made.name, (edit,), (*first, *_TESTS[prefix]))


_OUTCOMES: Final = ("killed by tests", "never ended", "by the simulator", "survived")


def _outcome(copy: Path, trial: Trial, runs: int) -> str:
    by_tests, never_ended, by_runs, survived = _OUTCOMES
    if trial.outcome is not Outcome.SURVIVED:
        return never_ended if trial.outcome is Outcome.TIMED_OUT else by_tests
    _, kinds = noticed(copy, trial.mutant, runs, _RUNS_S, at_once=True)
    return by_runs if kinds else survived


def interval(killed: int, tried: int) -> tuple[float, float]:
    """Where the share of all lies 95 times of 100, by a sample's: Wilson's score interval."""
    if not tried:
        return 0.0, 1.0
    z, share = 1.96, killed / tried
    middle = share + z * z / (2 * tried)
    spread = z * math.sqrt(share * (1 - share) / tried + z * z / (4 * tried * tried))
    scale = 1 + z * z / tried
    return (middle - spread) / scale, (middle + spread) / scale


def _score(counts: Counter[str]) -> int:
    return 100 * (counts.total() - counts["survived"]) // max(1, counts.total())


def _row(counts: Counter[str]) -> Iterable[str]:
    return [str(counts.total()), *(str(counts[one]) for one in _OUTCOMES), str(_score(counts))]


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
