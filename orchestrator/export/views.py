"""Views over an export, as SQL for DuckDB: the tables, and what people ask for first."""

import re
from collections.abc import Iterator
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


def views() -> str:
    """`views.sql`: run it in the export's directory, or with that as DuckDB's file_search_path."""
    return "".join(_statements()) + "\n" + _SQL.read_text(encoding="utf-8")


def _statements() -> Iterator[str]:
    yield "-- Written by `headrace export`, anew each time: don't edit.\n"
    yield "-- Run it in this directory: duckdb -init views.sql\n\n"
    for folder in KINDS.values():
        yield f"CREATE SCHEMA IF NOT EXISTS {folder};\n"
    for table in tables().values():
        name = f"{KINDS[table.kind]}.{table.event}"
        files = f"'{KINDS[table.kind]}/{table.event}/*/*.parquet'"
        options = "union_by_name = true, hive_partitioning = true, hive_types = {'day': DATE}"
        yield f"CREATE OR REPLACE VIEW {name} AS FROM read_parquet({files}, {options});\n"
