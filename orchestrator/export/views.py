"""Views over an export, as SQL for DuckDB: the tables, and what people ask for first."""

import re
from collections.abc import Iterator, Mapping, Sequence
from glob import escape
from pathlib import Path
from typing import Final, NamedTuple

from orchestrator.export.tables import KINDS, tables

_SQL: Final = Path(__file__).with_suffix(".sql")
_VIEW: Final = re.compile(r"-- (?P<what>.+)\nCREATE OR REPLACE VIEW (?P<name>\w+) AS")


class View(NamedTuple):
    """A view of `views.sql`."""

    name: str
    what: str


def asked_first() -> list[View]:
    """The views that put tables together."""
    found = _VIEW.finditer(_SQL.read_text(encoding="utf-8"))
    return [View(one["name"], one["what"]) for one in found]


def views(files: Mapping[str, Sequence[Path]] | None = None) -> str:
    """`views.sql`, to be run in the export's directory: the tables are all files that are there.

    With `files` of each table (`<folder>/<type>`): those, and it is run anywhere.
    """
    return "".join(_statements(files)) + "\n" + _SQL.read_text(encoding="utf-8")


def _statements(files: Mapping[str, Sequence[Path]] | None) -> Iterator[str]:
    yield "-- Written by `headrace export`, anew each time: don't edit.\n"
    yield "-- Run it in this directory: duckdb -init views.sql\n\n"
    for folder in KINDS.values():
        yield f"CREATE SCHEMA IF NOT EXISTS {folder};\n"
    options = "union_by_name = true, hive_partitioning = true, hive_types = {'day': DATE}"
    for table in tables().values():
        name = table.folder.replace("/", ".")
        some = [f"{table.folder}/*/*.parquet"]
        if files is not None:
            some = [escape(str(one)) for one in files[table.folder]]
        said = ", ".join("'" + one.replace("'", "''") + "'" for one in some)
        yield f"CREATE OR REPLACE VIEW {name} AS FROM read_parquet([{said}], {options});\n"
