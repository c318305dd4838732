"""The reference page of an export's tables and views, from the schemas of the events."""

from collections.abc import Iterator, Mapping
from pathlib import Path
from tempfile import TemporaryDirectory

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq

from orchestrator.export.tables import ENVELOPE, KINDS, Table, tables
from orchestrator.export.views import asked_first, views

_HEAD = """\
What [`headrace export`](../how-to/analyse-history.md) writes: a table for each type of input and of
decided event, in folders `inputs/<type>/day=<day>/` and `events/<type>/day=<day>/`, and with
`--shadows` one in `shadows/`. In SQL they are `inputs.<type>`, `events.<type>` and
`shadows.shadow_decided`. `day` is that of `recorded_at`, in UTC.

Times have the time zone UTC; a `date` is a day in the node's. Columns that end in `_minor` are
money in minor units of the row's currency. What has no one type, such as attributes, is JSON as a
text.

`manifest.json` says which files count (`files`, with their rows) and how far each shard is exported
(`shards`; `history`, where shadows are). `begins` has, by shard whose journal had lost its
beginning, the commit after which it is exported. A file that it doesn't name is of an export that
is under way, or left from a crash and removed by the next; `headrace sql` leaves it out.

## Views

In an export of a period they know what happened in it: `orders`, `lines` and `fulfillments` have
what was placed and asked for then, `promises` what was promised or settled then; "now" is its end.
A plan that is too large to be told at once has several rows in `decisions`, each with what its own
nodes get and cost: `nodes_later` of all but the last, which is the one to count plans by (`WHERE
nodes_later IS NULL`).
"""


def page() -> str:
    """The page below its title."""
    return _HEAD + "".join(_body())


def _body() -> Iterator[str]:
    columns = _columns_of_views()
    for view in asked_first():
        yield f"\n### {view.name}\n\n{view.what}\n\n| Column | Type |\n|---|---|\n"
        for name, type_ in columns[view.name].items():
            yield f"| `{name}` | {type_} |\n"
    yield "\n## Every table\n\nWhat the columns mean: [history](history.md).\n\n"
    yield "| Column | Type |\n|---|---|\n"
    for name, type_ in ENVELOPE.items():
        yield f"| `{name}` | {_type(type_)} |\n"
    yield "| `day` | date |\n"
    for kind, folder in KINDS.items():
        yield f"\n## {folder.capitalize()}\n"
        for table in tables().values():
            if table.kind == kind:
                yield from _section(table, folder)


def _columns_of_views() -> Mapping[str, Mapping[str, str]]:
    """Types by column, as DuckDB says them of an export in which nothing happened."""
    with TemporaryDirectory() as folder, duckdb.connect() as connection:
        files = {}
        for table in tables().values():
            file = Path(folder) / table.folder / "day=1970-01-01" / "empty.parquet"
            file.parent.mkdir(parents=True)
            pq.write_table(table.schema.empty_table(), file)
            files[table.folder] = [file]
        connection.execute(views(files))
        return {
            view.name: {
                name: _said(type_)
                for name, type_, *_ in connection.execute(f"DESCRIBE {view.name}").fetchall()
            }
            for view in asked_first()
        }


def _said(type_: str) -> str:
    """A type of DuckDB's as `_type` says it."""
    for name, word in (("VARCHAR", "text"), ("TIMESTAMP WITH TIME ZONE", "timestamptz"), ('"', "")):
        type_ = type_.replace(name, word)
    return type_.lower()


def _section(table: Table, folder: str) -> Iterator[str]:
    yield f"\n### {folder}.{table.event}\n\n{table.what.replace('<', '&lt;')}\n\n"
    if table.columns:
        yield "| Column | Type |\n|---|---|\n"
        for column in table.columns:
            yield f"| `{column.name}` | {_type(column.type)} |\n"
    else:
        yield "No columns of its own.\n"


def _type(type_: pa.DataType) -> str:
    """A type in DuckDB's words."""
    if pa.types.is_list(type_):
        return f"{_type(type_.value_type)}[]"
    if pa.types.is_struct(type_):
        fields = ", ".join(f"{one.name} {_type(one.type)}" for one in type_)
        return f"struct({fields})"
    if pa.types.is_timestamp(type_):
        return "timestamptz"
    return _NAMES[str(type_)]


_NAMES = {
    "string": "text",
    "int64": "bigint",
    "int32": "integer",
    "double": "double",
    "bool": "boolean",
    "date32[day]": "date",
}
