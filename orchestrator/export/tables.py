"""The tables of an export: one for each type of input and of decided event, with typed columns.

They follow from the schemas of the events, so that a new field is a new column. A table's rows
arrive as records of history (`schemas/history.py`), as JSON, a line each.
"""

from collections.abc import Callable, Sequence
from functools import cache
from typing import Any, Final, NamedTuple, get_args

import orjson
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.json as pa_json
from pydantic import TypeAdapter

from events.decided import DecidedEvent
from events.inputs import INPUTS
from events.outputs import OUTPUTS
from orchestrator.export.shapes import INT, SHAPES, TEXT, TIME, Shape
from schemas.inbox import RENEWAL_ORDERED, SKIP_ORDERED
from schemas.words import Schema, resolved, schema_of

Json = dict[str, Any]
KINDS: Final = {"input": "inputs", "event": "events"}
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
        *("delivered_at", "shipped_at", "estimated_delivery_at", "as_of"),
    }
)
"""Texts of decided events that are times: their types say `str`, as the fold takes plain data."""
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
    "unreadable": ("Stands for an input that could not be read, and was skipped.",),
    SKIP_ORDERED: ("A person's order to skip an input.", "input", "reason", "by"),
    RENEWAL_ORDERED: ("A person's word that a topic was made anew.", "topic", "reason", "by"),
}
"""Inputs that come on no public topic: what they are, and their fields."""
_BLOCK_BYTES: Final = 8 * 1_048_576  # above the longest line, an entry of a commit

_MS: Final = pa.timestamp("ms", tz="UTC")
_DAY: Final = pa.date32()


class Column(NamedTuple):
    """A column, and the field of `data` that it comes from."""

    name: str
    field: str
    type: pa.DataType


class Table(NamedTuple):
    """A type of input or decided event."""

    kind: str
    event: str
    what: str
    wire: pa.Schema  # of the lines
    columns: Sequence[Column]  # beside the envelope's
    reshape: Callable[[Json], None] | None  # of `data`, in place, before it is a line

    @property
    def schema(self) -> pa.Schema:
        """Of its Parquet files."""
        return pa.schema(
            [*ENVELOPE.items(), *((column.name, column.type) for column in self.columns)]
        )

    def read(self, lines: Sequence[bytes]) -> pa.Table:
        """Records of history as a table; pa.ArrowInvalid where one doesn't fit."""
        found = pa_json.read_json(
            pa.BufferReader(b"\n".join(lines)),
            read_options=pa_json.ReadOptions(use_threads=False, block_size=_BLOCK_BYTES),
            parse_options=pa_json.ParseOptions(
                explicit_schema=self.wire, unexpected_field_behavior="ignore"
            ),
        )
        arrays = [found.column(name) for name in ENVELOPE]
        if self.columns:
            data = found.column("data")
            for column in self.columns:
                array = pc.struct_field(data, column.field)
                arrays.append(array if array.type == column.type else array.cast(column.type))
        return pa.Table.from_arrays(arrays, schema=self.schema)


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
    return found


def _table(kind: str, event: str, what: str, fields: dict[str, tuple[Schema, Schema]]) -> Table:
    wire: list[tuple[str, pa.DataType]] = []
    columns: list[Column] = []
    reshapes: list[tuple[str, Callable[[Any], Any]]] = []
    for field, (schema, root) in fields.items():
        if field in ENVELOPE and field != "version":
            continue
        shape = SHAPES.get((event, field)) if kind == "event" else None
        if shape is None:
            shape = _shape(schema, root, field, times=kind == "event")
        wire.append((field, shape.type))
        if shape.of is not _same:
            reshapes.append((field, shape.of))
        columns.append(_column(field, shape.type))
    schema = pa.schema([*ENVELOPE.items(), ("data", pa.struct(wire))] if wire else ENVELOPE.items())
    sentence = " ".join(what.partition("\n\n")[0].split())
    return Table(kind, event, sentence, schema, columns, _reshaping(reshapes))


def _column(field: str, type_: pa.DataType) -> Column:
    name = _RENAMED.get(field, field)
    if type_ == INT and name.endswith("_ms"):
        return Column(f"{name[:-3]}_at", field, _MS)
    if type_ == TEXT and name.endswith("_day"):
        return Column(name, field, _DAY)
    return Column(name, field, type_)


def _reshaping(
    reshapes: Sequence[tuple[str, Callable[[Any], Any]]],
) -> Callable[[Json], None] | None:
    if not reshapes:
        return None

    def reshape(data: Json) -> None:
        for field, of in reshapes:
            value = data.get(field)
            if value is not None:
                data[field] = of(value)

    return reshape


def _same(value: Any) -> Any:  # noqa: ANN401 - JSON
    return value


def _text(value: Any) -> str:  # noqa: ANN401 - JSON
    return orjson.dumps(value).decode()


_PLAIN: Final = {
    "integer": Shape(INT, _same),
    "number": Shape(pa.float64(), _same),
    "boolean": Shape(pa.bool_(), _same),
}
_ANY: Final = Shape(TEXT, _text)
"""What has no one type is JSON as a text."""


def _shape(schema: Schema, root: Schema, name: str, *, times: bool) -> Shape:
    choices = [one for one in schema.get("anyOf", ()) if one.get("type") != "null"]
    if len(choices) > 1:
        texts = all(resolved(one, root).get("type") == "string" for one in choices)
        return Shape(TEXT, _same) if texts else _ANY
    schema = resolved(schema, root)
    match schema.get("type"):
        case "string":
            time = schema.get("format") == "date-time" or (times and name in _TIMES)
            return Shape(TIME if time else TEXT, _same)
        case "array" if "items" in schema:
            return _list(_shape(schema["items"], root, name, times=times))
        case "object" if "properties" in schema:
            return _struct(
                {
                    field: _shape(one, root, field, times=times)
                    for field, one in schema["properties"].items()
                }
            )
        case kind:
            return _PLAIN.get(kind or "", _ANY)


def _list(element: Shape) -> Shape:
    of = element.of
    if of is _same:
        return Shape(pa.list_(element.type), _same)
    return Shape(pa.list_(element.type), lambda values: [of(value) for value in values])


def _struct(fields: dict[str, Shape]) -> Shape:
    type_ = pa.struct([(name, shape.type) for name, shape in fields.items()])
    reshape = _reshaping([(name, one.of) for name, one in fields.items() if one.of is not _same])
    if reshape is None:
        return Shape(type_, _same)

    def of(value: Json) -> Json:
        reshape(value)
        return value

    return Shape(type_, of)
