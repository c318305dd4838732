"""The mutation score of modules: `python -m tests.mutants.score FILE…`; hours for all.

mutmut makes the mutants (of function bodies: tables at module level are `test_transition_tables`')
and picks for each the tests that reach it. What runs while a module is imported can't be mutated
this way and survives. The exit status is 1 below the score that is asked for.
"""

import argparse
import json
import os
import subprocess
import sys
from collections import Counter
from collections.abc import Sequence
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
    given = parser.parse_args(arguments)
    console = Console()
    with copy_of_the_tree() as copy:
        _configure(copy, given.files, given.tests)
        status = _run(copy)
        found = _results(copy)
    table = Table("module", "mutants", "killed", "survived", "no test", "not tried", "score %")
    total: Counter[str] = Counter()
    for module, results in sorted(found.items()):
        counts = Counter(map(_outcome, results.values()))
        total += counts
        table.add_row(module, *_row(counts))
    table.add_row("all", *_row(total))
    console.print(table)
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


def _run(copy: Path) -> int:
    """mutmut's exit status in the copy; -P, so that what it mutated is imported."""
    return subprocess.run(
        [sys.executable, "-P", "-m", "mutmut", "run", "--max-children", "2"],
        cwd=copy,
        env={**os.environ, "PYTHONPATH": str(_TOOL)},
        check=False,
    ).returncode


def _results(copy: Path) -> dict[str, dict[str, int | None]]:
    """Exit codes by mutant, by module."""
    mutants = copy / "mutants"
    return {
        str(path.relative_to(mutants)).removesuffix(".meta"): codes
        for path in mutants.rglob("*.meta")
        if (codes := json.loads(path.read_text())["exit_code_by_key"])
    }


def _outcome(code: int | None) -> str:
    return {_SURVIVED: "survived", _NO_TESTS: "no test", None: "not tried"}.get(code, "killed")


def _score(counts: Counter[str]) -> int:
    return 100 * counts["killed"] // max(1, counts.total() - counts["not tried"])


def _row(counts: Counter[str]) -> list[str]:
    outcomes = ("killed", "survived", "no test", "not tried")
    return [str(counts.total()), *(str(counts[one]) for one in outcomes), str(_score(counts))]


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
