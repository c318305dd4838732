"""Tries mutants: each is put into a copy of the tree, and its checks are run there."""

import hashlib
import os
import random
import re
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from enum import StrEnum
from pathlib import Path
from queue import SimpleQueue
from typing import Final, NamedTuple

from tests.mutants.sabotage import Edit, Mutant

ROOT: Final = Path(__file__).parents[2]
TIMEOUT_S: Final = 180.0
"""Of one mutant's checks; the slowest take 20 s on a quiet machine."""


class Outcome(StrEnum):
    """What became of a mutant."""

    KILLED = "killed"
    SURVIVED = "survived"
    TIMED_OUT = "timed out"
    CRASHED = "crashed"  # the checks could not run at all


class Trial(NamedTuple):
    """A mutant's fate; `says` is the end of what pytest said."""

    mutant: Mutant
    outcome: Outcome
    seconds: float
    says: str


class NotApplicable(Exception):
    """A mutant whose old text does not stand exactly once in its file."""


def applied(text: str, edit: Edit) -> str:
    """The file's text with the edit; NotApplicable."""
    found = text.count(edit.old)
    if found != 1:
        raise NotApplicable(f"{edit.file} holds {edit.old!r} {found} times, not once")
    return text.replace(edit.old, edit.new)


def applied_all(root: Path, mutant: Mutant) -> dict[Path, str]:
    """The texts that the mutant's files then have; NotApplicable."""
    texts: dict[Path, str] = {}
    for edit in mutant.edits:
        path = root / edit.file
        texts[path] = applied(texts.get(path) or path.read_text(), edit)
    return texts


def sample(mutants: Sequence[Mutant], commit: str, size: int) -> list[Mutant]:
    """The same few for a commit, others for the next."""
    seed = int.from_bytes(hashlib.sha256(commit.encode()).digest()[:8], "big")
    return random.Random(seed).sample(list(mutants), min(size, len(mutants)))


@contextmanager
def copy_of_the_tree() -> Iterator[Path]:
    """What git knows and what is new, elsewhere."""
    listed = subprocess.run(
        ["git", "ls-files", "-co", "--exclude-standard"],
        cwd=ROOT,
        check=True,
        capture_output=True,
        text=True,
    )
    with tempfile.TemporaryDirectory(prefix="headrace-mutants-") as name:
        copy = Path(name)
        for line in listed.stdout.splitlines():
            source, target = ROOT / line, copy / line
            if source.is_file():
                target.parent.mkdir(parents=True, exist_ok=True)
                shutil.copyfile(source, target)
        yield copy


def run_checks(root: Path, checks: Sequence[str], timeout_s: float) -> tuple[Outcome, str]:
    """Run pytest on the checks in a tree; SURVIVED when all pass."""
    command = [sys.executable, "-m", "pytest", "-q", "-x", "--tb=line", "-p", "no:cacheprovider"]
    environment = {**os.environ, "PYTHONPATH": str(root), "PYTHONDONTWRITEBYTECODE": "1"}
    try:
        done = subprocess.run(
            [*command, *checks],
            cwd=root,
            env=environment,
            check=False,
            capture_output=True,
            text=True,
            timeout=timeout_s,
        )
    except subprocess.TimeoutExpired:
        return Outcome.TIMED_OUT, f"no end within {timeout_s:.0f} s"
    says = "\n".join((done.stdout + done.stderr).strip().splitlines()[-6:])
    if done.returncode == pytest_ok:
        return Outcome.SURVIVED, says
    if done.returncode == pytest_failed and re.search(r"\b\d+ failed\b", says):
        return Outcome.KILLED, says
    return Outcome.CRASHED, says


pytest_ok, pytest_failed = 0, 1


def try_mutant(copy: Path, mutant: Mutant, timeout_s: float = TIMEOUT_S) -> Trial:
    """Sabotage the copy, run the checks, mend the copy."""
    whole = {path: path.read_text() for path in {copy / edit.file for edit in mutant.edits}}
    began = time.monotonic()
    try:
        for path, text in applied_all(copy, mutant).items():
            path.write_text(text)
        outcome, says = run_checks(copy, mutant.checks, timeout_s)
    finally:
        for path, text in whole.items():
            path.write_text(text)
    return Trial(mutant, outcome, time.monotonic() - began, says)


def try_all(
    mutants: Sequence[Mutant], workers: int, timeout_s: float = TIMEOUT_S
) -> Iterator[Trial]:
    """Every mutant's trial as it ends; RuntimeError when the checks fail without any."""
    for mutant in mutants:
        applied_all(ROOT, mutant)
    with copy_of_the_tree() as one, copy_of_the_tree() as another:
        copies = [one, another][:workers]
        checks = sorted({check for mutant in mutants for check in mutant.checks})
        outcome, says = run_checks(one, checks, timeout_s * 3)
        if outcome is not Outcome.SURVIVED:
            raise RuntimeError(f"the checks fail without any mutant:\n{says}")
        free: SimpleQueue[Path] = SimpleQueue()
        for copy in copies:
            free.put(copy)

        def tried(mutant: Mutant) -> Trial:
            copy = free.get()
            try:
                return try_mutant(copy, mutant, timeout_s)
            finally:
                free.put(copy)

        with ThreadPoolExecutor(len(copies)) as pool:
            yield from pool.map(tried, mutants)
