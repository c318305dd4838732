"""Questions to an export, by DuckDB."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

import duckdb

from orchestrator.export.directory import Directory, ExportError
from orchestrator.export.views import views

_FETCH: Final = 10_000

Row = tuple[Any, ...]


@contextmanager
def opened(directory: Path) -> Iterator[duckdb.DuckDBPyConnection]:
    """A connection with the views of an export; ExportError where there is none.

    The views are this release's, whichever wrote the files.
    """
    if Directory(directory).manifest is None:
        raise ExportError(f"{directory} holds no export: write one with `headrace export`.", 2)
    connection = duckdb.connect()
    try:
        place = str(directory.resolve()).replace("'", "''")
        connection.execute(f"SET file_search_path = '{place}'; SET TimeZone = 'UTC'")
        connection.execute(views())
        yield connection
    finally:
        connection.close()


def ask(connection: duckdb.DuckDBPyConnection, query: str) -> tuple[Sequence[str], Iterator[Row]]:
    """The names of the columns of a query's answer, and its rows; duckdb.Error."""
    answer = connection.execute(query)
    return [column[0] for column in answer.description or ()], _rows(answer)


def _rows(answer: duckdb.DuckDBPyConnection) -> Iterator[Row]:
    while some := answer.fetchmany(_FETCH):
        yield from some
