"""Columns of values as they stand in events; what is packed there gets named fields.

A shape turns the values of one field, of all rows at once, into a column: no object is made a row.
"""

from collections.abc import Callable, Sequence
from itertools import accumulate, chain, zip_longest
from typing import Any, Final, NamedTuple

import orjson
import pyarrow as pa

from events.decided import COMPONENTS, Choice, Decision, NodeRow, costs_of

Json = dict[str, Any]
Values = Sequence[Any]
"""Of a field, a row each; None where a row has none."""

INT: Final = pa.int64()
TEXT: Final = pa.string()
TIME: Final = pa.timestamp("us", tz="UTC")
DAY: Final = pa.date32()


class Shape(NamedTuple):
    """The type of a column, and what makes it; TypeError or pa.ArrowInvalid where values don't fit.

    `array` gets values of which at least one is not None.
    """

    type: pa.DataType
    array: Callable[[Values], pa.Array]

    def column(self, values: Values) -> pa.Array:
        """The values as a column."""
        if not values or (values[0] is None and values.count(None) == len(values)):
            return pa.nulls(len(values), self.type)
        return self.array(values)


def plain(type_: pa.DataType) -> Shape:
    """What stands in events as it stands in a column; times, days and such as text or number."""

    def array(values: Values) -> pa.Array:
        if type_ in {TIME, DAY}:
            return pa.array(values, TEXT).cast(type_)
        return pa.array(values, type_)

    return Shape(type_, array)


def as_text(text: Callable[[Any], str]) -> Shape:
    """What only a function makes a text of."""
    return Shape(TEXT, lambda values: pa.array([v if v is None else text(v) for v in values], TEXT))


def list_of(element: Shape) -> Shape:
    """Lists of values."""

    def array(values: Values) -> pa.Array:
        missing = None
        if None in values:
            missing = pa.array([value is None for value in values])
            values = [() if value is None else value for value in values]
        ends = accumulate(map(len, values), initial=0)
        elements = list(chain.from_iterable(values))
        return pa.ListArray.from_arrays(
            pa.array(list(ends), pa.int32()), element.column(elements), mask=missing
        )

    return Shape(pa.list_(element.type), array)


def structs(shapes: dict[str, Shape], columns: Callable[[Values], Sequence[Values]]) -> Shape:
    """Structs of what `columns` makes of the values: a sequence a field."""
    type_ = pa.struct([(name, shape.type) for name, shape in shapes.items()])

    def array(values: Values) -> pa.Array:
        missing = pa.array([value is None for value in values]) if None in values else None
        arrays = [
            shape.column(column)
            for shape, column in zip(shapes.values(), columns(values), strict=True)
        ]
        return pa.StructArray.from_arrays(arrays, fields=list(type_), mask=missing)

    return Shape(type_, array)


def objects(**shapes: Shape) -> Shape:
    """Structs of JSON objects."""
    names = tuple(shapes)

    def columns(values: Values) -> Sequence[Values]:
        there = [{} if value is None else value for value in values]
        return [[one.get(name) for one in there] for name in names]

    return structs(shapes, columns)


def rows(**shapes: Shape) -> Shape:
    """Structs of values in the order of the fields; a row may be shorter."""
    size = len(shapes)

    def columns(values: Values) -> Sequence[Values]:
        there = [() if value is None else value for value in values]
        found: list[Values] = list(zip_longest(*there))
        empty = [None] * len(values)
        return [*found[:size], *([empty] * (size - len(found)))]

    return structs(shapes, columns)


_NUMBER: Final = plain(INT)
_WORD: Final = plain(TEXT)
_WORDS: Final = list_of(_WORD)
_NUMBERS: Final = list_of(_NUMBER)


# --- decisions


def _day_of_number(values: Values) -> pa.Array:
    return pa.array(values, pa.int32()).cast(DAY).cast(TEXT)


_DAY_NUMBER: Final = Shape(TEXT, _day_of_number)
"""A day as text of its number since 1970."""
_MINOR: Final = {f"{name}_minor": _NUMBER for name in COMPONENTS}
_PLAN: Final = rows(
    nodes=_WORDS,
    units=_NUMBER,
    value=_NUMBERS,
    cost_minor=_NUMBER,
    **_MINOR,
    split_minor=_NUMBER,
    distance_m=_NUMBER,
)
_UNITS: Final = list_of(rows(line_id=_WORD, units=_NUMBER))


class _Set(NamedTuple):
    """Rows of a decision, as they are recorded (`NodeRow`), for the same units of its lines."""

    units: Sequence[tuple[str, int]]  # line id, units
    lines: Sequence[str]  # ids of all the decision's
    rows: Sequence[Sequence[Any]]


def _candidates(decisions: Values) -> pa.Array:
    """Lists of candidates: of each decision its sets' rows."""
    sets: list[_Set] = list(chain.from_iterable(one or () for one in decisions))
    ends = accumulate((sum(len(one.rows) for one in some or ()) for some in decisions), initial=0)
    place_of_set = [place for place, one in enumerate(sets) for _ in one.rows]
    columns = [
        _UNITS.column([one.units for one in sets]).take(pa.array(place_of_set, INT)),
        *(
            shape.column(column)
            for shape, column in zip(_OF_ROWS.values(), _columns_of(sets), strict=True)
        ),
    ]
    return pa.ListArray.from_arrays(
        pa.array(list(ends), pa.int32()),
        pa.StructArray.from_arrays(columns, fields=list(_CANDIDATE)),
        mask=pa.array([one is None for one in decisions]),
    )


def _columns_of(sets: Sequence[_Set]) -> Sequence[Values]:
    """By `_OF_ROWS`."""
    rows_ = chain.from_iterable(one.rows for one in sets)
    columns = list(zip_longest(*rows_, (None,) * _RAW, fillvalue=_DEFAULT))
    nodes, value, costs, metres, ship_day, after, service, *rest = [
        column[:-1] for column in columns[:_RAW]
    ]
    late, parcels, _, fences = (
        [default if one is _DEFAULT else one for one in column]
        for column, default in zip(rest, (0, 1, None, None), strict=True)
    )
    return [
        nodes,
        [one if isinstance(one, list) else None for one in value],  # else it is the cost
        [None if None in one else sum(one) for one in costs],
        *(column[:-1] for column in zip_longest(*costs, _ZEROS, fillvalue=0)),
        metres,
        ship_day,
        [None if days is None else day + days for day, days in zip(ship_day, after, strict=True)],
        late,
        service,
        parcels,
        [one or None for one in fences],
        [
            [(one.lines[place], units) for place, units in row[_SHORT]]
            if len(row) > _SHORT and row[_SHORT]
            else None
            for one in sets
            for row in one.rows
        ],
    ]


_RAW: Final = NodeRow._fields.index("full_day")
_SHORT: Final = NodeRow._fields.index("short")
_DEFAULT: Final = object()
_ZEROS: Final = (0,) * len(COMPONENTS)
_OF_ROWS: Final = {
    "node_id": _WORD,
    "value": _NUMBERS,
    "cost_minor": _NUMBER,
    **_MINOR,
    "distance_m": _NUMBER,
    "ship_day": _DAY_NUMBER,
    "deliver_day": _DAY_NUMBER,
    "days_late": _NUMBER,
    "service": _WORD,
    "parcels": _NUMBER,
    "fences": _WORDS,
    "short": _UNITS,
}
_CANDIDATE: Final = pa.struct(
    [("for_lines", _UNITS.type), *((name, shape.type) for name, shape in _OF_ROWS.items())]
)
_DECISIONS: Final = rows(
    v=_NUMBER,
    trigger=_WORD,
    rule_set=_WORD,
    strategy=_WORD,
    why=_WORDS,
    passed_over=list_of(rows(strategy=_WORD, because=_WORD)),
    price_version=_NUMBER,
    currency=_WORD,
    objective=_WORDS,
    located_by=_WORD,
    promise=_WORD,  # as the order asks: a day or a time
    service_level=_WORD,
    method=_WORD,
    lines=list_of(
        rows(line_id=_WORD, sku=_WORD, wanted=_NUMBER, target=_NUMBER, promisable=_NUMBER)
    ),
    candidates=Shape(pa.list_(_CANDIDATE), _candidates),
    chosen=_PLAN,
    runner_up=_PLAN,
    fences=list_of(rows(fence=_WORD, nodes=_NUMBER)),
    decided_by=_WORD,
)


def _decision(text: str) -> Values:
    """A recorded one, of any release, as `_DECISIONS` has it. Nodes without a row are counted."""
    said = orjson.loads(text)
    return _v2(said) if said.get("v") == 2 else _v1(said)  # noqa: PLR2004 - the format of today


DECISION: Final = Shape(
    _DECISIONS.type,
    lambda texts: _DECISIONS.array([None if one is None else _decision(one) for one in texts]),
)


def _value(value: int | list[int]) -> list[int]:
    return value if isinstance(value, list) else [value]


def _v2(said: Decision) -> Values:
    lines = said["lines"]
    names = [line[0] for line in lines]
    candidates = [
        _Set([one for one in zip(names, units, strict=True) if one[1]], names, ranked)
        for units, *ranked in said["sets"]
    ]
    return (
        2,
        said["trigger"],
        said["rule_set"],
        said["strategy"],
        said["why"],
        said["passed_over"],
        said["price_version"],
        said["currency"],
        said["objective"],
        said["place"][0],
        said["promise"],
        said["service_level"],
        said["method"],
        lines,
        candidates,
        _plan(said, said["chosen"]),
        _plan(said, said["runner_up"]),
        [(fence, _count(packed)) for fence, packed in said["rest"]["fences"].items()],
        said["decided_by"],
    )


def _count(packed: str | int) -> int:
    return packed if isinstance(packed, int) else int(packed or "0", 16).bit_count()


def _plan(said: Decision, plan: Choice | None) -> Values | None:
    if plan is None:
        return None
    costs = costs_of(said, plan)
    nodes = [node_id for _, node_id in plan["legs"]]
    return nodes, plan["units"], _value(plan["value"]), sum(costs), *costs


def _v1(said: Json) -> Values:
    """The upcaster of the first release's: it ranked by nodes and distance, not by money."""
    names = [line[0] for line in said["lines"]]
    cost = (None,) * len(COMPONENTS)

    def plan(choice: Json | None) -> Values | None:
        if choice is None:
            return None
        return choice["nodes"], choice["units"], None, None, *cost, None, choice["distance_m"]

    told = {
        "v": 1,
        "trigger": said["trigger"],
        "rule_set": said["rule_set"],
        "price_version": said["price_version"],
        "method": said["method"],
        "lines": [(line_id, sku, units, units) for line_id, sku, units in said["lines"]],
        "candidates": [
            _Set(
                [one for one in zip(names, offered, strict=True) if one[1]],
                names,
                [(node_id, None, cost, metres, *(None,) * 7)],
            )
            for node_id, metres, offered in said["candidates"]
        ],
        "chosen": plan(said["chosen"]),
        "runner_up": plan(said["runner_up"]),
        "fences": [(fence, len(nodes)) for fence, nodes in said["removed"].items()],
        "decided_by": said["decided_by"],
    }
    return [told.get(field.name) for field in _DECISIONS.type]


_PAIR: Final = rows(value=_NUMBERS, decision=DECISION)


def _weighed(pairs: Values) -> pa.Array:
    return _PAIR.array(
        [pair and (None if pair[0] is None else _value(pair[0]), pair[1]) for pair in pairs]
    )


_WEIGHED: Final = Shape(_PAIR.type, _weighed)


# --- rows

_LOTS: Final = list_of(rows(day=_NUMBER, units=_NUMBER))
_COUNTS: Final = ("open", "allocated", "backordered", "shipped", "delivered", "cancelled")
_STATES: Final = ("on_hand", "quality_control", "damaged", "held")
JSON: Final = as_text(lambda value: orjson.dumps(value).decode())
"""What has no one type is JSON as a text."""

_PLACED: Final = list_of(objects(line_id=_WORD, quantity=_NUMBER))
_COSTS: Final = objects(**dict.fromkeys((*COMPONENTS, "split"), _NUMBER))

SHAPES: Final[dict[tuple[str, str], Shape]] = {
    ("order_allocated", "decision"): DECISION,
    ("order_improved", "before"): _WEIGHED,
    ("order_improved", "after"): _WEIGHED,
    ("balanced", "orders"): list_of(
        rows(
            market_id=_WORD,
            channel=_WORD,
            order_id=_WORD,
            status=_WORD,
            lines=list_of(rows(line_id=_WORD, **dict.fromkeys(_COUNTS, _NUMBER))),
        )
    ),
    ("balanced", "stock"): list_of(
        rows(
            market_id=_WORD,
            node_id=_WORD,
            sku=_WORD,
            on_hand=_NUMBER,
            reserved=_NUMBER,
            quality_control=_NUMBER,
            damaged=_NUMBER,
            held=_NUMBER,
        )
    ),
    ("balanced", "capacity"): list_of(
        rows(node_id=_WORD, day=_NUMBER, orders=_NUMBER, units=_NUMBER)
    ),
    ("balanced", "inbound"): list_of(
        rows(
            node_id=_WORD,
            sku=_WORD,
            document=_WORD,
            document_line=_WORD,
            units=_NUMBER,
            expected_ms=_NUMBER,
        )
    ),
    ("balanced", "pools"): list_of(rows(market_id=_WORD, pool_id=_WORD, taken=_NUMBER)),
    ("balanced", "waiting"): list_of(rows(market_id=_WORD, sku=_WORD, units=_NUMBER)),
    ("balanced", "lots"): list_of(rows(node_id=_WORD, sku=_WORD, lots=_LOTS)),
    ("stock_moved", "delta"): rows(**dict.fromkeys(_STATES, _NUMBER)),
    ("stock_moved", "lots"): _LOTS,
    ("shipment_sent", "moved"): list_of(
        rows(
            line_id=_WORD,
            sku=_WORD,
            off_reservation=_NUMBER,
            counted_as_shipped=_NUMBER,
            units_left=_NUMBER,
        )
    ),
    ("improvement_due", "skus"): list_of(rows(sku=_WORD, after_order=_NUMBER)),
    ("shadow_decided", "decision"): DECISION,
    ("shadow_decided", "costs_minor"): _COSTS,
    ("shadow_decided", "active"): objects(
        position=_WORD,
        rule_set=_WORD,
        fulfillments=list_of(objects(node_id=_WORD, lines=_PLACED)),
        backordered=_PLACED,
        costs_minor=_COSTS,
    ),
    ("input_resumed", "input"): JSON,  # as a whole: later events of the entry rest on its parts
    ("work_queued", "work"): JSON,
    ("work_done", "work"): JSON,
    ("timer_fired", "timer"): JSON,
}
"""By event and field. What stands in none of them has the type that its schema says."""
