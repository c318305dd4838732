"""What all commands have in common: how help reads, and how they end."""

import subprocess
import sys
from pathlib import Path
from typing import IO

import pytest

from tests.commands.test_read_side import inside


def _python(code: str, stdout: IO[str] | None = None) -> subprocess.CompletedProcess[str]:
    words = [sys.executable, "-c", code]
    return subprocess.run(words, stdout=stdout, stderr=subprocess.PIPE, text=True, check=False)


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no device that is always full")
def test_what_cannot_be_printed_for_want_of_room_is_one_sentence() -> None:
    code = (
        "import sys; sys.argv = ['headrace', 'version']\nfrom orchestrator.cli import main; main()"
    )
    with Path("/dev/full").open("w", encoding="utf-8") as full:
        done = _python(code, stdout=full)
    assert done.returncode == 1
    assert done.stderr == "What is printed can't be written: No space left on device.\n"


def test_who_stops_a_command_while_it_is_loaded_sees_no_traceback() -> None:
    done = _python(
        "import sys; sys.argv = ['headrace', 'version']\n"
        "from orchestrator import cli\n"
        "def load(_name): raise KeyboardInterrupt\n"
        "cli.import_module = load\n"
        "cli.main()\n"
    )
    assert done.returncode == 130
    assert done.stderr == ""


def test_help_breaks_its_lines_where_the_terminal_ends() -> None:
    shown = inside("rules", "compare", "--help").stdout
    assert "in the world that the active rules made (an open loop): what" in shown
    assert "\n   headrace rules compare --market US --version 8 " in shown
