"""`headrace export` and `headrace sql`: what they say, and their exit codes."""

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from orchestrator import cli
from orchestrator.export.directory import Directory
from orchestrator.runtime.memory_log import MemoryLog
from orchestrator.runtime.settings import SetupError
from orchestrator.runtime.world import SystemClock
from schemas.ports import Partition, Record
from tests.export.test_export import export
from tests.projections.test_from_the_core import journal, told


def headrace(*arguments: str) -> tuple[int, str, str]:
    """Exit code, standard output, standard error."""
    done = CliRunner().invoke(cli.application([*arguments]), [*arguments])
    if isinstance(done.exception, SetupError):
        return done.exception.exit_code, done.stdout, str(done.exception)
    return done.exit_code, done.stdout, done.stderr


@pytest.fixture
async def history(tmp_path: Path) -> Path:
    log = MemoryLog(SystemClock(), {"journal": 1})
    values = journal(told().entries, 3)
    log.write(Partition("journal", 0), [Record(None, value) for value in values])
    await export(log, Directory(tmp_path / "history"))
    return tmp_path / "history"


def test_an_answer_is_a_table_csv_or_json(history: Path) -> None:
    query = "SELECT order_id, placed_at, lines FROM orders WHERE order_id = '1'"
    code, said, _ = headrace("sql", query, str(history))
    assert code == 0
    assert "order_id" in said
    assert "2026-11-22 10:00:00" in said
    assert headrace("sql", query, str(history), "--csv") == (
        0,
        "order_id,placed_at,lines\n1,2026-11-22 10:00:00,2\n",
        "",
    )
    _, said, _ = headrace("sql", query, str(history), "--json")
    assert json.loads(said) == {"order_id": "1", "placed_at": "2026-11-22T10:00:00Z", "lines": 2}


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (("sql", "SELEKT 1", "{history}"), "SELEKT"),
        (("sql", "SELECT * FROM nowhere", "{history}"), "nowhere"),
        (("sql", "SELECT * FROM order", "{history}"), "order"),
        (
            ("sql", "SELECT * FROM fulfilments", "{history}"),
            "candidates, stock_movements, exceptions, promises",
        ),
        (("sql", "SELECT 1", "{history}", "--csv", "--json"), "Choose one of --csv and --json"),
        (("sql", "SELECT 1", "{history}/inputs"), "holds no export"),
        (("export", "{history}", "--from", "noon"), "--from: must be a time such as"),
    ],
)
def test_what_is_wrong_is_said_in_a_sentence(
    history: Path, arguments: tuple[str, ...], says: str
) -> None:
    code, _, said = headrace(*(one.format(history=history) for one in arguments))
    assert code == 2
    assert says in said
