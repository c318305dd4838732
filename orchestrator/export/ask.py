"""Questions to an export, by DuckDB."""

from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Final

import duckdb

from orchestrator.export.directory import Directory, ExportError
from orchestrator.export.views import views

_FETCH: Final = 10_000

Row = tuple[Any, ...]


@contextmanager
def opened(directory: Path) -> Iterator[duckdb.DuckDBPyConnection]:
    """A connection with the views of an export; ExportError where there is none, or not all of it.

    The views are this release's, whichever wrote the files, and over what the manifest names now:
    what an export adds meanwhile doesn't count, nor does what one left that was killed.
    """
    place = Directory(directory)
    with (
        place.reading(),
        TemporaryDirectory() as beside,
        closing(duckdb.connect()) as connection,
    ):
        if place.manifest is None:
            raise ExportError(f"{directory} holds no export: write one with `headrace export`.", 2)
        connection.execute("SET TimeZone = 'UTC'")
        connection.execute(views(place.files(Path(beside))))
        yield connection


def ask(connection: duckdb.DuckDBPyConnection, query: str) -> tuple[Sequence[str], Iterator[Row]]:
    """The names of the columns of a query's answer, and its rows; duckdb.Error, ExportError."""
    if not connection.extract_statements(query):
        raise ExportError(
            "Nothing is asked: give a question such as SELECT count(*) FROM orders.", 2
        )
    answer = connection.execute(query)
    return [column[0] for column in answer.description or ()], _rows(answer)


def _rows(answer: duckdb.DuckDBPyConnection) -> Iterator[Row]:
    while some := answer.fetchmany(_FETCH):
        yield from some
