"""What libraries say again and again is written now and then, and nothing else is held back."""

import logging
import subprocess
import sys

import pytest

from orchestrator.runtime.logs import Repeats
from tests.runtime.test_engine import SetClock

FAILED = "Unable connect to node with id %s"


def said(repeats: Repeats, message: str, *args: object, name: str = "aiokafka.conn") -> str | None:
    record = logging.LogRecord(name, logging.WARNING, "conn.py", 7, message, args, None)
    return record.getMessage() if repeats.filter(record) else None


def test_a_librarys_warning_is_written_once_in_10_s_with_how_many_were_held_back() -> None:
    clock = SetClock()
    repeats = Repeats(clock)
    assert said(repeats, FAILED, 1) == "Unable connect to node with id 1"
    for node in range(7):
        assert said(repeats, FAILED, node) is None
    assert said(repeats, "Something else") == "Something else"
    clock.now += 10_001
    assert said(repeats, FAILED, 2) == "Unable connect to node with id 2 (7 more of these in 10 s)"
    clock.now += 10_001
    assert said(repeats, FAILED, 3) == "Unable connect to node with id 3"


def test_what_headrace_says_is_never_held_back() -> None:
    repeats = Repeats(SetClock())
    for _ in range(3):
        assert said(repeats, "halted", name="orchestrator.runtime.engine") == "halted"


A_COMMAND = """
import sys, orchestrator.cli as begun
begun.application = lambda _: lambda: None
sys.argv = ["headrace", "state"]
"""
A_PART = """
import io, sys, orchestrator.export.part as begun
begun._end_with_whoever_waits = lambda: None
begun.Task.of = begun.asyncio.run = lambda _: None
begun._work = lambda *_: None
sys.stdin = io.TextIOWrapper(io.BytesIO(b'{"task": {}, "kafka": {}}'))
"""


@pytest.mark.slow
@pytest.mark.parametrize(
    "begin", [A_COMMAND, A_PART], ids=["a command", "a process that shares an export"]
)
def test_what_a_command_logs_stands_on_standard_error(begin: str) -> None:
    code = (
        f"{begin}\n"
        "begun.main()\n"
        "import structlog\n"
        "structlog.get_logger('orchestrator.runtime.snapshots').warning('passes over a snapshot')\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], input="", capture_output=True, text=True, check=False
    )
    assert "passes over a snapshot" not in done.stdout, done.stderr
    assert "passes over a snapshot" in done.stderr


def test_commands_that_write_no_logs_load_nothing_that_logs() -> None:
    code = (
        "import sys, orchestrator.runtime.kafka_log\n"
        "from importlib import import_module\n"
        "from orchestrator.cli import _SILENT\n"
        "for name in _SILENT:\n"
        "    import_module(f'orchestrator.commands.{name}')\n"
        "assert 'structlog' not in sys.modules\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
