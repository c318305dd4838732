"""The compiled core is the interpreted one: it passes the same tests and writes the same bytes."""

import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest

from orchestrator import installed

ROOT = Path(__file__).parents[2]

pytestmark = pytest.mark.slow


@pytest.fixture(scope="session")
def compiled() -> Path:
    """The folder of the packages with their core compiled, made where it is not there yet."""
    made = subprocess.run(
        [sys.executable, "tools/compiled.py"],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        text=True,
        check=True,
        timeout=900,
    )
    return Path(made.stdout.strip())


def running(arguments: Sequence[str], *packages: Path) -> subprocess.CompletedProcess[bytes]:
    """Python with these packages first, and then the tests and benches."""
    path = os.pathsep.join(str(one) for one in (*packages, ROOT))
    return subprocess.run(
        [sys.executable, *arguments],
        cwd=ROOT,
        env=os.environ | {"PYTHONPATH": path, "PYTHONSAFEPATH": "1"},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        check=False,
        timeout=900,
    )


def test_every_module_of_the_core_is_a_compiled_one(compiled: Path) -> None:
    names = [
        str(path.relative_to(ROOT)).removesuffix(".py").replace("/", ".")
        for path in sorted((ROOT / "orchestrator" / "core").rglob("*.py"))
        if path.name != "__init__.py"
    ]
    names += [f"orchestrator.replay.{name}" for name in ("keys", "loop", "outcome")]
    code = (
        "import importlib, sys; [print(importlib.import_module(n).__file__) for n in sys.argv[1:]]"
    )
    said = running(["-c", code, *names], compiled)
    assert said.returncode == 0, said.stdout.decode()
    files = said.stdout.decode().splitlines()
    assert len(files) == len(names) > 30
    assert [file for file in files if not file.startswith(f"{compiled}/")] == []
    assert [file for file in files if not file.endswith(".so")] == []


def test_stories_laws_and_released_events_hold_for_the_compiled_core(compiled: Path) -> None:
    ran = running(
        [
            *("-m", "pytest", "-q", "-x", "-p", "no:cacheprovider", "-m", "not slow"),
            *("-o", f"pythonpath={compiled} {ROOT}"),
            *("tests/core", "tests/golden", "tests/properties/test_core_invariants.py"),
            "tests/properties/test_plans_are_exact.py",
            "tests/properties/test_snapshots.py",
            "tests/properties/test_promises_change_nothing.py",
            "tests/bench/test_sourcing.py",
            *("tests/replay/test_closed_loop.py", "tests/replay/test_unchanged.py"),
        ],
        compiled,
    )
    assert ran.returncode == 0, ran.stdout.decode()[-5_000:]


def test_both_write_the_same_journal(compiled: Path) -> None:
    code = (
        "import sys; from bench import core, workload\n"
        "inbox = workload.Inbox()\n"
        "shard = core.new_shard(inbox)\n"
        "_, commits = core.decide_all(shard, list(core.order_inputs(inbox, 'same', 2000)))\n"
        "print('orchestrator.core.decide:', sys.modules['orchestrator.core.decide'].__file__)\n"
        "sys.stdout.flush()\n"
        "sys.stdout.buffer.write(b'\\n'.join(entry for commit in commits for entry in commit))\n"
    )
    written = []
    for packages in ([compiled], []):
        ran = running(["-c", code], *packages)
        assert ran.returncode == 0, ran.stdout.decode()[-2_000:]
        module, _, entries = ran.stdout.partition(b"\n")
        assert module.endswith(b".so") is bool(packages)
        written.append(entries)
    assert len(written[0]) > 1_000_000
    assert written[0] == written[1]


def test_the_tests_themselves_run_on_the_source() -> None:
    assert installed.core() == "interpreted"


def test_a_what_if_runs_on_it_in_processes_and_equals_history(compiled: Path) -> None:
    said = running(["-m", "bench.whatif", "200"], compiled)
    assert said.returncode == 0, said.stdout.decode()
    assert "whatif: compiled core" in said.stdout.decode()
