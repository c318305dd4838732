"""`headrace sql`: questions to an export."""

import csv
import sys
from collections.abc import Iterable, Sequence
from datetime import datetime, timedelta
from decimal import Decimal
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any, Final, assert_never

import orjson
import typer

from orchestrator.commands.connection import INPUT_ERROR
from orchestrator.commands.export import require_analytics

_SHOWN: Final = 1_000  # rows of a table
_WIDE: Final = 10_000  # characters, where nobody watches
_UTC: Final = orjson.OPT_UTC_Z
_BITS: Final = 63  # of the numbers that orjson writes by itself


class _Form(StrEnum):
    TABLE = "table"
    CSV = "csv"
    JSON = "json"


def sql(
    query: Annotated[
        str,
        typer.Argument(metavar="SELECT", help="In DuckDB's SQL; - reads standard input."),
    ],
    directory: Annotated[
        Path, typer.Argument(metavar="DIR", help="What `headrace export` has written.")
    ],
    *,
    as_csv: Annotated[bool, typer.Option("--csv", help="CSV, with a line of names.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object a row.")] = False,
) -> None:
    """Ask an export a question, by DuckDB. Every view of DIR/views.sql is there.

    Examples:
      headrace sql "SELECT status, count(*) FROM orders GROUP BY ALL" history
      headrace sql "SHOW ALL TABLES" history
      headrace sql "SELECT * FROM events.shipment_sent LIMIT 5" history --json
    """
    require_analytics()
    if as_csv and as_json:
        typer.echo("Choose one of --csv and --json.", err=True)
        raise typer.Exit(INPUT_ERROR)
    import duckdb  # noqa: PLC0415 - slow to load, as what follows

    from orchestrator.export.ask import ask, opened  # noqa: PLC0415
    from orchestrator.export.directory import ExportError  # noqa: PLC0415
    from orchestrator.export.views import asked_first  # noqa: PLC0415
    from orchestrator.runtime.settings import SetupError  # noqa: PLC0415

    form = _Form.CSV if as_csv else _Form.JSON if as_json else _Form.TABLE
    try:
        with opened(directory) as connection:
            names, rows = ask(connection, sys.stdin.read() if query == "-" else query)
            _show(form, names, rows)
    except ExportError as error:
        raise SetupError(str(error), error.exit_code) from error
    except duckdb.Error as error:
        said = str(error).strip()
        if isinstance(error, duckdb.CatalogException) and "Table with name" in said:
            names = ", ".join(one.name for one in asked_first())
            said += (
                f"\nThere are {names}; and tables such as events.shipment_sent: SHOW ALL TABLES."
            )
        typer.echo(said, err=True)
        raise typer.Exit(INPUT_ERROR) from None


def _show(form: _Form, names: Sequence[str], rows: Iterable[tuple[Any, ...]]) -> None:
    match form:
        case _Form.CSV:
            writer = csv.writer(sys.stdout, lineterminator="\n")
            writer.writerow(names)
            writer.writerows([_exact(value) for value in row] for row in rows)
        case _Form.JSON:
            keys = _told_apart(names)
            for row in rows:
                typer.echo(_json(dict(zip(keys, row, strict=True))))
        case _Form.TABLE:
            from rich.console import Console  # noqa: PLC0415 - slow to load
            from rich.table import Table  # noqa: PLC0415 - the same

            table = Table(*names, box=None)
            count = 0
            for count, row in enumerate(rows, 1):
                if count <= _SHOWN:
                    table.add_row(*(_text(value) for value in row))
            console = Console(width=None if sys.stdout.isatty() else _WIDE)
            console.print(table, highlight=False, markup=False)
            if count > _SHOWN:
                typer.echo(f"… and {count - _SHOWN:,} rows more: --csv and --json show all.")
        case _:
            assert_never(form)


def _told_apart(names: Sequence[str]) -> list[str]:
    """Every name once: one that is there already gets the first number that is free."""
    found: list[str] = []
    for name in names:
        one, number = name, 0
        while one in found or (number and one in names):
            number += 1
            one = f"{name}_{number}"
        found.append(one)
    return found


def _json(value: object) -> str:
    try:
        return orjson.dumps(value, default=_plain, option=_UTC).decode()
    except TypeError:  # a number beyond 64 bits, or a key that is no text
        return orjson.dumps(_spelt(value), default=_plain, option=_UTC).decode()


def _spelt(value: object) -> object:
    """What orjson takes, of what it doesn't."""
    match value:
        case dict():
            return {_exact(key): _spelt(one) for key, one in value.items()}
        case list() | tuple():
            return [_spelt(one) for one in value]
        case Decimal():
            return _spelt(_plain(value))
        case int() if value.bit_length() > _BITS:
            return orjson.Fragment(str(value))
        case _:
            return value


def _plain(value: object) -> object:
    """What JSON has no name for: an exact number as a number, the rest as text."""
    if isinstance(value, Decimal):
        return int(value) if value == value.to_integral_value() else float(value)
    if isinstance(value, timedelta):
        return value.total_seconds()
    return str(value)


def _exact(value: object) -> str:
    """For a program: times whole and with their zone, intervals in seconds."""
    if isinstance(value, datetime):
        return value.isoformat().replace("+00:00", "Z")
    if isinstance(value, timedelta):
        return str(value.total_seconds())
    return _text(value)


def _text(value: object) -> str:
    """For a person."""
    match value:
        case None:
            return ""
        case bool():
            return str(value).lower()
        case datetime():
            return value.isoformat(sep=" ", timespec="seconds").removesuffix("+00:00")
        case list() | dict():
            return _json(value)
        case _:
            return str(value)
