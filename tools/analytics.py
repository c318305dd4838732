"""The reference page of an export's tables and views, from the schemas of the events."""

from collections.abc import Iterator

import pyarrow as pa

from orchestrator.export.tables import ENVELOPE, KINDS, Table, tables
from orchestrator.export.views import asked_first

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

| View | What |
|---|---|
"""


def page() -> str:
    """The page below its title."""
    return _HEAD + "".join(_body())


def _body() -> Iterator[str]:
    for view in asked_first():
        yield f"| `{view.name}` | {view.what} |\n"
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
