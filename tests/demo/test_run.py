"""The whole demo as a user starts it: a process of its own, from servers to audit."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psycopg
import pytest

pytestmark = pytest.mark.slow

COMMAND = [sys.executable, "-m", "orchestrator.cli", "demo", "--rate", "60", "--pace", "0.2"]


@contextmanager
def started(*arguments: str, **environment: str) -> Iterator[subprocess.Popen[str]]:
    """The demo, without the servers that this environment may have configured."""
    inherited = {name: value for name, value in os.environ.items() if "HEADRACE_" not in name}
    with subprocess.Popen(
        [*COMMAND, *arguments],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        env={**inherited, "HEADRACE_HTTP": "127.0.0.1:0", **environment},
    ) as demo:
        try:
            yield demo
        finally:
            demo.kill()


def lines_until(demo: subprocess.Popen[str], text: str) -> list[str]:
    """What it prints up to a line with this text."""
    assert demo.stdout is not None
    said: list[str] = []
    for line in demo.stdout:
        said.append(line)
        if text in line:
            return said
    pytest.fail(f"never said {text!r}:\n{''.join(said)}")


def descendants(pid: int) -> set[int]:
    """All processes below this one."""
    parents: dict[int, int] = {}
    for status in Path("/proc").glob("[0-9]*/stat"):
        try:
            text = status.read_text()
        except OSError:
            continue
        parents[int(status.parent.name)] = int(text.rpartition(")")[2].split()[1])
    found = {pid}
    while more := {child for child, parent in parents.items() if parent in found} - found:
        found |= more
    return found - {pid}


def await_gone(pids: set[int], within_s: float = 20) -> None:
    def alive() -> list[str]:
        return [
            path.read_text().replace("\0", " ")[:80]
            for path in (Path(f"/proc/{pid}/cmdline") for pid in pids)
            if path.exists() and path.read_text()
        ]

    deadline = time.monotonic() + within_s
    while left := alive():
        assert time.monotonic() < deadline, f"still there: {left}"
        time.sleep(0.05)


def test_runs_to_the_end_audits_itself_and_leaves_no_process() -> None:
    with started("--orders", "60", "--exit") as demo:
        said = lines_until(demo, "placed 60")
        below = descendants(demo.pid)
        said += lines_until(demo, "everything adds up")
        assert demo.wait(20) == 0

    text = "".join(said)
    assert len(below) >= 6  # three servers with their keepers
    await_gone(below)
    for word in ("split over nodes", "re-sourced", "units oversold                        0"):
        assert word in text
    assert "60 orders" in text


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
def test_stopped_in_the_middle_it_leaves_no_process(number: signal.Signals) -> None:
    with started() as demo:
        lines_until(demo, "allocated")
        below = descendants(demo.pid)
        demo.send_signal(number)
        assert demo.wait(20) == (-number if number == signal.SIGKILL else 0)

    assert len(below) >= 6
    await_gone(below)


@pytest.mark.parametrize("seconds", [0.3, 1.0, 2.0])
def test_stopped_while_it_starts_it_leaves_no_process(seconds: float) -> None:
    with started() as demo:
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            assert demo.poll() is None
            time.sleep(0.02)
        below = descendants(demo.pid)
        demo.send_signal(signal.SIGTERM)
        demo.wait(20)

    await_gone(below)


def test_uses_configured_servers_under_names_of_its_own(kafka: str, postgres: str) -> None:
    with started(
        "--orders", "40", "--exit", HEADRACE_KAFKA=kafka, HEADRACE_POSTGRES=postgres
    ) as demo:
        said = "".join(lines_until(demo, "adds up"))
        assert demo.wait(20) == 0

    assert f"Kafka: {kafka}, topics demo-" in said
    with psycopg.connect(postgres) as connection:
        schemas = connection.execute(
            "SELECT nspname FROM pg_namespace WHERE nspname ~ 'demo|headrace' ORDER BY nspname"
        ).fetchall()
    (read_models,), (past,) = schemas
    assert read_models.startswith("demo_")
    assert past == f"{read_models}_past"


@pytest.mark.parametrize(
    ("arguments", "environment", "code", "said"),
    [
        (("--exit",), {}, 2, "--exit needs --orders"),
        (("--orders", "0"), {}, 2, "--orders"),
        (
            ("--day", "yesterday"),
            {},
            2,
            '--day: must be a date such as 2026-10-24, was "yesterday"',
        ),
        (("--day", "2999-01-05"), {}, 2, "--day: must be a day after 2000 that has passed"),
        ((), {"HEADRACE_POSTGRES": "postgresql://127.0.0.1:1/none"}, 3, "127.0.0.1"),
        ((), {"HEADRACE_KAFKA": "127.0.0.1:1"}, 3, "127.0.0.1:1"),
    ],
)
def test_says_in_a_sentence_why_it_cannot_start(
    arguments: tuple[str, ...], environment: dict[str, str], code: int, said: str
) -> None:
    with started(*arguments, **environment) as demo:
        assert demo.stdout is not None
        text = demo.stdout.read()
        assert demo.wait(20) == code

    assert said in text
    assert "Traceback" not in text
