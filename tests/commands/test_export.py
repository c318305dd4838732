"""`headrace export` and `headrace sql`: what they say, and their exit codes."""

import asyncio
import csv
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


@pytest.fixture(scope="module")
def history(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An export, which is only asked."""
    log = MemoryLog(SystemClock(), {"journal": 1})
    values = journal(told().entries, 3)
    log.write(Partition("journal", 0), [Record(None, value) for value in values])
    path = tmp_path_factory.mktemp("exported") / "history"
    asyncio.run(export(log, Directory(path)))
    return path


@pytest.fixture
def nothing(tmp_path: Path) -> Path:
    """An export without rows."""
    place = Directory(tmp_path / "nothing")
    place.begin(None)
    place.commit({}, {})
    return place.path


@pytest.mark.slow
def test_an_answer_is_a_table_csv_or_json(history: Path) -> None:
    query = "SELECT order_id, placed_at, lines FROM orders WHERE order_id = '1'"
    code, said, _ = headrace("sql", query, str(history))
    assert code == 0
    assert "order_id" in said
    assert "2026-11-22 10:00:00" in said
    assert headrace("sql", query, str(history), "--csv") == (
        0,
        "order_id,placed_at,lines\n1,2026-11-22T10:00:00Z,2\n",
        "",
    )
    _, said, _ = headrace("sql", query, str(history), "--json")
    assert json.loads(said) == {"order_id": "1", "placed_at": "2026-11-22T10:00:00Z", "lines": 2}


VALUES: list[tuple[str, str, object]] = [
    (
        "TIMESTAMPTZ '2026-01-31 12:00:00.987+01'",
        "2026-01-31T11:00:00.987000Z",
        "2026-01-31T11:00:00.987000Z",
    ),
    ("TIMESTAMPTZ '290000-01-01'", "290000-01-01 00:00:00+00", "290000-01-01 00:00:00+00"),
    ("DATE '2026-01-31'", "2026-01-31", "2026-01-31"),
    ("INTERVAL 36 HOUR", "129600.0", 129600.0),
    ("true", "true", True),
    ("NULL", "", None),
    (f"{2**70}::HUGEINT", str(2**70), 2**70),
    (f"[{{'a': {-(2**70)}::HUGEINT}}]", f'[{{"a":{-(2**70)}}}]', [{"a": -(2**70)}]),
    (f"{2**70}.5::DECIMAL(30, 1)", f"{2**70}.5", float(2**70)),
    ("MAP {7: true, 8: NULL}", '{"7":true,"8":null}', {"7": True, "8": None}),
    ("MAP {DATE '2026-01-31': 1.5}", '{"2026-01-31":1.5}', {"2026-01-31": 1.5}),
]


def test_every_value_has_its_text_and_its_json(nothing: Path) -> None:
    values = [value for value, _, _ in VALUES]
    query = f"SELECT {', '.join(f'{value} AS v{n}' for n, value in enumerate(values))}"
    _, said, _ = headrace("sql", query, str(nothing), "--csv")
    (row,) = csv.reader(said.splitlines()[1:])
    assert dict(zip(values, row, strict=True)) == {value: text for value, text, _ in VALUES}
    _, said, _ = headrace("sql", query, str(nothing), "--json")
    assert json.loads(said) == {f"v{n}": as_json for n, (_, _, as_json) in enumerate(VALUES)}
    code, said, _ = headrace("sql", query, str(nothing))
    assert (code, said.split()[0]) == (0, "v0")


def test_a_row_of_nothing_alone_is_a_line(nothing: Path) -> None:
    assert headrace("sql", "SELECT NULL AS v", str(nothing), "--csv") == (0, 'v\n""\n', "")


def test_columns_of_one_name_are_told_apart_in_json(nothing: Path) -> None:
    query = "SELECT 1 AS n, 2 AS n_1, 3 AS n, 4 AS n"
    _, said, _ = headrace("sql", query, str(nothing), "--json")
    assert json.loads(said) == {"n": 1, "n_1": 2, "n_2": 3, "n_3": 4}


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
        (("sql", "", "{history}"), "Nothing is asked"),
        (("sql", "/* SELECT 1 */", "{history}"), "Nothing is asked"),
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
