"""The tables of an export: one for each type of input and of decided event, with typed columns.

They follow from the schemas of the events, so that a new field is a new column. Rows gather as the
entries of commits say them (`schemas/history.py`), and become columns all at once.
"""

from collections.abc import Sequence
from functools import cache
from typing import Any, Final, NamedTuple, get_args

import pyarrow as pa
import pyarrow.compute as pc
from pydantic import TypeAdapter

from events.decided import DecidedEvent
from events.history import ShadowDecided
from events.inputs import INPUTS
from events.outputs import OUTPUTS
from orchestrator.export.shapes import (
    DAY,
    INT,
    JSON,
    SHAPES,
    TEXT,
    TIME,
    Shape,
    list_of,
    objects,
    plain,
)
from schemas.history import Told, origin_of
from schemas.inbox import RENEWAL_ORDERED, SKIP_ORDERED
from schemas.words import Schema, resolved, schema_of

KINDS: Final = {"input": "inputs", "event": "events", "shadow": "shadows"}
"""The folder, and the schema of SQL, of each kind of record."""

_COUNT: Final = pa.int32()
ENVELOPE: Final[dict[str, pa.DataType]] = {
    "position": TEXT,
    "shard": _COUNT,
    "seq": INT,
    "entry": _COUNT,
    "n": _COUNT,
    "version": _COUNT,
    "happened_at": TIME,
    "recorded_at": TIME,
    "market_id": TEXT,
    "channel": TEXT,
    "order_id": TEXT,
    "node_id": TEXT,
    "sku": TEXT,
    "fulfillment_id": TEXT,
    "carrier": TEXT,
    "placed_at": TIME,
    "promised_by": TIME,
    "cause": TEXT,
    "cause_position": TEXT,
    "cause_id": TEXT,
    "cause_source": TEXT,
    "origin": TEXT,
}
"""What every table has."""

_TIMES: Final = frozenset(
    {
        *("requested_at", "ship_by", "deliver_by", "ship_not_before", "expected_at", "at"),
        *("delivered_at", "shipped_at", "as_of"),
    }
)
"""Texts of decided events that are times: their types say `str`, as the fold takes plain data.

What may be a day as well, as it was told (`estimated_delivery_at`), stays text.
"""
_RENAMED: Final = {
    "at": "reported_at",
    "by": "by_what",
    "from": "valid_from",
    "on": "waits_for",
    "until": "valid_until",
    "version": "rule_version",
}
"""Columns that SQL or the envelope has another meaning for."""
_OF_OUR_OWN: Final = {
    "clock_ticked": ("The shard's own writer told it the time.",),
    "unreadable": ("Stands for an input that no commit could hold, or no input; skipped.", "input"),
    SKIP_ORDERED: ("A person's order to skip an input.", "input", "reason", "by"),
    RENEWAL_ORDERED: ("A person's word that a topic was made anew.", "topic", "reason", "by"),
}
"""Inputs that come on no public topic: what they are, and their fields."""
_MS: Final = pa.timestamp("ms", tz="UTC")

Row = tuple[int, int, int, Told]
"""What a table takes in: commit, entry, the shard's clock (ms), and what is told of it."""


class Column(NamedTuple):
    """A column, and the field of `data` that it comes from."""

    name: str
    field: str
    type: pa.DataType
    shape: Shape


class Table(NamedTuple):
    """A type of input or decided event."""

    kind: str
    event: str
    what: str
    columns: Sequence[Column]  # beside the envelope's

    @property
    def folder(self) -> str:
        """Where its files are, below the export's directory."""
        return f"{KINDS[self.kind]}/{self.event}"

    @property
    def schema(self) -> pa.Schema:
        """Of its Parquet files."""
        return pa.schema(
            [*ENVELOPE.items(), *((column.name, column.type) for column in self.columns)]
        )

    def take(self, shard: int, rows: Sequence[Row]) -> pa.Table:
        """Rows of a shard as a table; TypeError or pa.ArrowInvalid where one doesn't fit."""
        seq, entry, clock_ms, told = zip(*rows, strict=True)
        n, _, data, *of = zip(*told, strict=True)
        at = [pa.repeat(pa.scalar(shard, _COUNT), len(rows)), pa.array(seq, INT)]
        at.append(pa.array(entry, _COUNT))
        arrays = _envelope(at, pa.array(n, _COUNT), clock_ms, of, inputs=self.kind == "input")
        if self.kind == "shadow":  # a position of its own, beside the order's acceptance
            arrays[0] = pc.binary_join_element_wise("shadow", arrays[0], "/")
        for column in self.columns:
            array = column.shape.column([one.get(column.field) for one in data])
            arrays.append(array if array.type == column.type else array.cast(column.type))
        return pa.Table.from_arrays(arrays, schema=self.schema)


def _envelope(
    at: Sequence[pa.Array],
    n: pa.Array,
    clock_ms: Sequence[int],
    of: Sequence[Sequence[Any]],
    *,
    inputs: bool,
) -> list[pa.Array]:
    """The arrays of ENVELOPE; `at`: shard, commit and entry, `of`: from `Told.about` on."""
    about, placed_at, promised_by, causes, cause_n = of
    size = len(clock_ms)
    recorded_at = _moments(clock_ms)
    before = pc.binary_join_element_wise(*(one.cast(TEXT) for one in at), ".")

    def position(last: pa.Array) -> pa.Array:
        return pc.binary_join_element_wise(before, last.cast(TEXT), ".")

    if inputs:
        version = pa.array([one["version"] for one in causes], _COUNT)
        happened_at = _moments([one["time_ms"] for one in causes])
        origin = pa.array([origin_of(one) if "origin" in one else None for one in causes], TEXT)
    else:
        version, happened_at = pa.repeat(pa.scalar(1, _COUNT), size), recorded_at
        origin = pa.nulls(size, TEXT)
    return [
        position(n),
        *at,
        n,
        version,
        happened_at,
        recorded_at,
        *map(_said, zip(*about, strict=True)),
        *(plain(TIME).column(one) for one in (placed_at, promised_by)),
        pa.array([one["type"] for one in causes], TEXT),
        position(pa.array(cause_n, _COUNT)),
        *(_said([one[name] for one in causes]) for name in ("id", "source")),
        origin,
    ]


def _moments(ms: Sequence[int]) -> pa.Array:
    return pa.array(ms, _MS).cast(TIME)


def _said(texts: Sequence[str]) -> pa.Array:
    """Texts of which "" says nothing."""
    if not any(texts):
        return pa.nulls(len(texts), TEXT)
    found = pa.array(texts, TEXT)
    return pc.if_else(pc.equal(found, ""), pa.scalar(None, TEXT), found)


@cache
def tables() -> dict[tuple[str, str], Table]:
    """Every table, by kind and type."""
    found = {}
    for name, model in INPUTS.items():
        root = schema_of(model)
        fields = {field: (one, root) for field, one in root.get("properties", {}).items()}
        found["input", name] = _table("input", name, model.__doc__ or "", fields)
    for name, (what, *texts) in _OF_OUR_OWN.items():
        text: Schema = {"type": "string"}
        found["input", name] = _table("input", name, what, {one: (text, {}) for one in texts})
    for event in get_args(DecidedEvent):
        root = TypeAdapter(event).json_schema()
        name = root["properties"].pop("type")["const"]
        fields = {field: (one, root) for field, one in root["properties"].items()}
        if name in OUTPUTS:  # says more of the same: parts that are plain data in the journal
            output = schema_of(OUTPUTS[name])
            fields |= {
                field: (one, output)
                for field, one in output["properties"].items()
                if field in fields and (name, field) not in SHAPES
            }
        found["event", name] = _table("event", name, event.__doc__ or "", fields)
    root = schema_of(ShadowDecided)
    fields = {field: (one, root) for field, one in root["properties"].items() if field != "kind"}
    found["shadow", ShadowDecided.TYPE] = _table(
        "shadow", ShadowDecided.TYPE, ShadowDecided.__doc__ or "", fields
    )
    return found


def _table(kind: str, event: str, what: str, fields: dict[str, tuple[Schema, Schema]]) -> Table:
    columns = []
    for field, (schema, root) in fields.items():
        if field in ENVELOPE and field != "version":
            continue
        shape = SHAPES.get((event, field)) if kind != "input" else None
        columns.append(_column(field, shape or _shape(schema, root, field, times=kind == "event")))
    sentence = " ".join(what.partition("\n\n")[0].split())
    return Table(kind, event, sentence, columns)


def _column(field: str, shape: Shape) -> Column:
    name = _RENAMED.get(field, field)
    if name.endswith("_ms") and shape.type in (INT, pa.list_(INT)):
        type_ = _MS if shape.type == INT else pa.list_(_MS)
        return Column(f"{name[:-3]}_at", field, type_, shape)
    if shape.type == TEXT and name.endswith("_day"):
        return Column(name, field, DAY, shape)
    return Column(name, field, shape.type, shape)


_PLAIN: Final = {"integer": INT, "number": pa.float64(), "boolean": pa.bool_()}


def _shape(schema: Schema, root: Schema, name: str, *, times: bool) -> Shape:
    choices = [one for one in schema.get("anyOf", ()) if one.get("type") != "null"]
    if len(choices) > 1:
        texts = all(resolved(one, root).get("type") == "string" for one in choices)
        return plain(TEXT) if texts else JSON
    schema = resolved(schema, root)
    match schema.get("type"):
        case "string":
            time = schema.get("format") == "date-time" or (times and name in _TIMES)
            return plain(TIME if time else TEXT)
        case "array" if "items" in schema:
            return list_of(_shape(schema["items"], root, name, times=times))
        case "object" if "properties" in schema:
            fields = schema["properties"].items()
            return objects(
                **{field: _shape(one, root, field, times=times) for field, one in fields}
            )
        case kind if kind in _PLAIN:
            return plain(_PLAIN[kind])
        case _:
            return JSON
