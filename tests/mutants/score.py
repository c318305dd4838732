"""The mutation score of modules: `python -m tests.mutants.score FILE…`; hours for all.

With `--sample` so many of their mutants are tried, drawn by `--seed`, and the score of all follows
with the interval that it lies in 95 times of 100.

mutmut makes the mutants (of function bodies: tables at module level are `test_transition_tables`')
and picks for each the tests that reach it. What runs while a module is imported can't be mutated
this way and survives. The exit status is 1 below the score that is asked for.
"""

import argparse
import json
import math
import os
import random
import subprocess
import sys
from collections import Counter
from collections.abc import Sequence
from collections.abc import Set as AbstractSet
from pathlib import Path
from typing import Final

from rich.console import Console
from rich.table import Table

from tests.mutants.trial import ROOT, copy_of_the_tree

ASKED: Final = 80
"""Per cent of the mutants that tests reach or should reach."""
_MODULES: Final = ("orchestrator/core/*.py", "orchestrator/runtime/*.py")
_TESTS: Final = ("tests/core", "tests/properties", "tests/runtime", "tests/intake", "tests/schemas")
_ALONE: Final = (  # starts a process of its own, which knows nothing of mutmut
    "tests/core/test_time.py::test_the_same_inputs_are_the_same_bytes_whatever_the_hash_seed"
)
_COPIED: Final = (
    "events",
    "projections",
    "schemas",
    "bench",
    "docs",
    "examples",
    "tools",
    "deploy",
)
_TOOL: Final = ROOT / ".cache/mutmut"  # beside the virtual environment: no test needs it
_SURVIVED, _NO_TESTS = 0, 33  # mutmut's exit codes


def main(arguments: Sequence[str]) -> int:
    """The exit status."""
    parser = argparse.ArgumentParser(prog="python -m tests.mutants.score", description=__doc__)
    parser.add_argument("files", nargs="*", metavar="FILE", default=_MODULES)
    parser.add_argument("--tests", nargs="*", metavar="PATH", default=_TESTS)
    parser.add_argument("--sample", type=int, metavar="N", help="try so many; default: all")
    parser.add_argument("--seed", type=int, default=1, help="which they are (default 1)")
    given = parser.parse_args(arguments)
    console = Console()
    with copy_of_the_tree() as copy:
        _configure(copy, given.files, given.tests)
        there: list[str] = []
        names: list[str] = []
        if given.sample is not None:
            _mutmut(copy, "-c", "from mutmut.__main__ import create_mutants as make; make(2)")
            there = sorted(name for results in _results(copy).values() for name in results)
            names = random.Random(given.seed).sample(there, min(given.sample, len(there)))
        status = _mutmut(copy, "-m", "mutmut", "run", "--max-children", "2", *names)
        found = _results(copy, set(names))
    table = Table("module", "mutants", "killed", "survived", "no test", "not tried", "score %")
    total: Counter[str] = Counter()
    for module, results in sorted(found.items()):
        counts = Counter(map(_outcome, results.values()))
        total += counts
        table.add_row(module, *_row(counts))
    table.add_row("all", *_row(total))
    console.print(table)
    if names and not total["not tried"]:  # what is tried first is quick, and so no sample
        low, high = interval(total["killed"], total.total() - total["not tried"])
        console.print(
            f"a sample of {len(names)} of {len(there)}, seed {given.seed}: the score of all is"
            f" between {low:.1%} and {high:.1%} (95 %)"
        )
    for results in found.values():
        for name, code in sorted(results.items()):
            if _outcome(code) in {"survived", "no test"}:
                console.print(f"{_outcome(code)}: {name}", highlight=False)
    if total["not tried"]:
        console.print(f"mutmut ended with {status} before it had tried all: this is no score")
    return 0 if _score(total) >= ASKED and not total["not tried"] else 1


def _configure(copy: Path, files: Sequence[str], tests: Sequence[str]) -> None:
    settings = {
        "source_paths": ["orchestrator"],
        "only_mutate": [*files],
        "also_copy": [name for name in _COPIED if (copy / name).exists()],
        "pytest_add_cli_args": ["-x", "-p", "no:cacheprovider", "--deselect", _ALONE],
        "pytest_add_cli_args_test_selection": [*tests],
    }
    with (copy / "pyproject.toml").open("a") as project:
        project.write("\n[tool.mutmut]\n")
        for name, value in settings.items():
            project.write(f"{name} = {json.dumps(value)}\n")


def _mutmut(copy: Path, *arguments: str) -> int:
    """Python's exit status in the copy; -P, so that what it mutated is imported."""
    return subprocess.run(
        [sys.executable, "-P", *arguments],
        cwd=copy,
        env={**os.environ, "PYTHONPATH": str(_TOOL)},
        check=False,
    ).returncode


def _results(copy: Path, names: AbstractSet[str] = frozenset()) -> dict[str, dict[str, int | None]]:
    """Exit codes by mutant, by module: of these mutants, or of all."""
    mutants = copy / "mutants"
    found = {
        str(path.relative_to(mutants)).removesuffix(".meta"): {
            name: code
            for name, code in json.loads(path.read_text())["exit_code_by_key"].items()
            if not names or name in names
        }
        for path in mutants.rglob("*.meta")
    }
    return {module: codes for module, codes in found.items() if codes}


def interval(killed: int, tried: int) -> tuple[float, float]:
    """Where the share of all lies 95 times of 100, by a sample's: Wilson's score interval."""
    if not tried:
        return 0.0, 1.0
    z, share = 1.96, killed / tried
    middle = share + z * z / (2 * tried)
    spread = z * math.sqrt(share * (1 - share) / tried + z * z / (4 * tried * tried))
    scale = 1 + z * z / tried
    return (middle - spread) / scale, (middle + spread) / scale


def _outcome(code: int | None) -> str:
    return {_SURVIVED: "survived", _NO_TESTS: "no test", None: "not tried"}.get(code, "killed")


def _score(counts: Counter[str]) -> int:
    return 100 * counts["killed"] // max(1, counts.total() - counts["not tried"])


def _row(counts: Counter[str]) -> list[str]:
    outcomes = ("killed", "survived", "no test", "not tried")
    return [str(counts.total()), *(str(counts[one]) for one in outcomes), str(_score(counts))]


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
