"""What is packed in events, as structs of named fields: decisions, balances, rows."""

from collections.abc import Callable, Sequence
from typing import Any, Final, NamedTuple

import orjson
import pyarrow as pa

from events.decided import COMPONENTS, Choice, Decision, NodeRow, costs_of
from orchestrator.core.sourcing.calendars import iso_day

Json = dict[str, Any]

INT: Final = pa.int64()
TEXT: Final = pa.string()
TEXTS: Final = pa.list_(TEXT)
TIME: Final = pa.timestamp("us", tz="UTC")


class Shape(NamedTuple):
    """The type of a field, and what makes a value of it of the one in the event."""

    type: pa.DataType
    of: Callable[[Any], Any]


def _structs(**fields: pa.DataType) -> Shape:
    """Rows of values as structs; a row may be shorter."""
    names = tuple(fields)
    return Shape(
        pa.list_(pa.struct(list(fields.items()))),
        lambda rows: [dict(zip(names, row, strict=False)) for row in rows],
    )


# --- decisions

_PLAN: Final = pa.struct(
    [
        ("nodes", TEXTS),
        ("units", INT),
        ("value", pa.list_(INT)),
        ("cost_minor", INT),
        *((f"{name}_minor", INT) for name in (*COMPONENTS, "split")),
        ("distance_m", INT),
    ]
)
_UNITS: Final = pa.list_(pa.struct([("line_id", TEXT), ("units", INT)]))
_CANDIDATE: Final = pa.struct(
    [
        ("for_lines", _UNITS),
        ("node_id", TEXT),
        ("value", pa.list_(INT)),
        ("cost_minor", INT),
        *((f"{name}_minor", INT) for name in COMPONENTS),
        ("distance_m", INT),
        ("ship_day", TEXT),
        ("deliver_day", TEXT),
        ("days_late", INT),
        ("service", TEXT),
        ("parcels", INT),
        ("fences", TEXTS),
        ("short", _UNITS),
    ]
)
DECISION: Final = pa.struct(
    [
        ("v", INT),
        ("trigger", TEXT),
        ("rule_set", TEXT),
        ("strategy", TEXT),
        ("why", TEXTS),
        ("passed_over", pa.list_(pa.struct([("strategy", TEXT), ("because", TEXT)]))),
        ("price_version", INT),
        ("currency", TEXT),
        ("objective", TEXTS),
        ("located_by", TEXT),
        ("promise", TIME),
        ("service_level", TEXT),
        ("method", TEXT),
        (
            "lines",
            pa.list_(
                pa.struct(
                    [
                        ("line_id", TEXT),
                        ("sku", TEXT),
                        ("wanted", INT),
                        ("target", INT),
                        ("promisable", INT),
                    ]
                )
            ),
        ),
        ("candidates", pa.list_(_CANDIDATE)),
        ("chosen", _PLAN),
        ("runner_up", _PLAN),
        ("fences", pa.list_(pa.struct([("fence", TEXT), ("nodes", INT)]))),
        ("decided_by", TEXT),
    ]
)


def decision(text: str) -> Json:
    """A recorded decision, of any release, as one struct. Nodes without a row are counted."""
    said = orjson.loads(text)
    return _v2(said) if said.get("v") == 2 else _v1(said)  # noqa: PLR2004 - the format of today


_MINOR: Final = tuple(f"{name}_minor" for name in COMPONENTS)


def _value(value: int | list[int]) -> list[int]:
    return value if isinstance(value, list) else [value]


def _v2(said: Decision) -> Json:
    lines = said["lines"]
    candidates = []
    for units, *rows in said["sets"]:
        of = [
            {"line_id": line[0], "units": taken}
            for line, taken in zip(lines, units, strict=True)
            if taken
        ]
        candidates += [_candidate(row, of, lines) for row in rows]
    return {
        "v": 2,
        "trigger": said["trigger"],
        "rule_set": said["rule_set"],
        "strategy": said["strategy"],
        "why": said["why"],
        "passed_over": [
            {"strategy": name, "because": because} for name, because in said["passed_over"]
        ],
        "price_version": said["price_version"],
        "currency": said["currency"],
        "objective": said["objective"],
        "located_by": said["place"][0],
        "promise": said["promise"],
        "service_level": said["service_level"],
        "method": said["method"],
        "lines": [
            dict(zip(("line_id", "sku", "wanted", "target", "promisable"), line, strict=True))
            for line in lines
        ],
        "candidates": candidates,
        "chosen": _plan(said, said["chosen"]),
        "runner_up": _plan(said, said["runner_up"]),
        "fences": [
            {"fence": fence, "nodes": _count(packed)}
            for fence, packed in said["rest"]["fences"].items()
        ],
        "decided_by": said["decided_by"],
    }


def _count(packed: str | int) -> int:
    return packed if isinstance(packed, int) else int(packed or "0", 16).bit_count()


def _candidate(row: Sequence[Any], of: list[Json], lines: Sequence[Sequence[Any]]) -> Json:
    read = NodeRow(*row)
    after = read.delivery_days
    told: Json = {
        "for_lines": of,
        "node_id": read.node_id,
        "cost_minor": sum(read.costs),
        "distance_m": read.metres,
        "ship_day": iso_day(read.ship_day),
        "deliver_day": None if after is None else iso_day(read.ship_day + after),
        "days_late": read.days_late,
        "service": read.service,
        "parcels": read.parcels,
    }
    if isinstance(read.value, list):  # else it is the cost
        told["value"] = read.value
    if read.fences:
        told["fences"] = read.fences
    if read.short:
        told["short"] = [
            {"line_id": lines[place][0], "units": units} for place, units in read.short
        ]
    told |= dict.fromkeys(_MINOR, 0)
    told |= zip(_MINOR, read.costs, strict=False)
    return told


def _plan(said: Decision, plan: Choice | None) -> Json | None:
    if plan is None:
        return None
    costs = costs_of(said, plan)
    told: Json = {
        "nodes": [node_id for _, node_id in plan["legs"]],
        "units": plan["units"],
        "value": _value(plan["value"]),
        "cost_minor": sum(costs),
    }
    for name, cost in zip((*COMPONENTS, "split"), costs, strict=True):
        told[f"{name}_minor"] = cost
    return told


def _v1(said: Json) -> Json:
    """The upcaster of the first release's: it ranked by nodes and distance, not by money."""
    names = [line[0] for line in said["lines"]]
    return {
        "v": 1,
        "trigger": said["trigger"],
        "rule_set": said["rule_set"],
        "price_version": said["price_version"],
        "method": said["method"],
        "lines": [
            {"line_id": line_id, "sku": sku, "wanted": units, "target": units}
            for line_id, sku, units in said["lines"]
        ],
        "candidates": [
            {
                "for_lines": [
                    {"line_id": line_id, "units": units}
                    for line_id, units in zip(names, offered, strict=True)
                    if units
                ],
                "node_id": node_id,
                "distance_m": metres,
            }
            for node_id, metres, offered in said["candidates"]
        ],
        "chosen": said["chosen"],
        "runner_up": said["runner_up"],
        "fences": [
            {"fence": fence, "nodes": len(nodes)} for fence, nodes in said["removed"].items()
        ],
        "decided_by": said["decided_by"],
    }


_WEIGHED: Final = Shape(
    pa.struct([("value", pa.list_(INT)), ("decision", DECISION)]),
    lambda pair: {
        "value": None if pair[0] is None else _value(pair[0]),
        "decision": decision(pair[1]),
    },
)


# --- rows

_COUNTS: Final = (
    "line_id",
    "open",
    "allocated",
    "backordered",
    "shipped",
    "delivered",
    "cancelled",
)
_LINES: Final = _structs(line_id=TEXT, **dict.fromkeys(_COUNTS[1:], INT))
_ORDERS: Final = Shape(
    pa.list_(
        pa.struct(
            [
                ("market_id", TEXT),
                ("channel", TEXT),
                ("order_id", TEXT),
                ("status", TEXT),
                ("lines", _LINES.type),
            ]
        )
    ),
    lambda rows: [
        {
            "market_id": market_id,
            "channel": channel,
            "order_id": order_id,
            "status": status,
            "lines": _LINES.of(lines),
        }
        for market_id, channel, order_id, status, lines in rows
    ],
)
_LOTS: Final = _structs(day=INT, units=INT)
_STATES: Final = ("on_hand", "quality_control", "damaged", "held")
_DELTA: Final = Shape(
    pa.struct([(name, INT) for name in _STATES]),
    lambda delta: dict(zip(_STATES, delta, strict=True)),
)
_JSON: Final = Shape(TEXT, lambda value: orjson.dumps(value).decode())

SHAPES: Final[dict[tuple[str, str], Shape]] = {
    ("order_allocated", "decision"): Shape(DECISION, decision),
    ("order_improved", "before"): _WEIGHED,
    ("order_improved", "after"): _WEIGHED,
    ("balanced", "orders"): _ORDERS,
    ("balanced", "stock"): _structs(
        market_id=TEXT,
        node_id=TEXT,
        sku=TEXT,
        on_hand=INT,
        reserved=INT,
        quality_control=INT,
        damaged=INT,
        held=INT,
    ),
    ("balanced", "capacity"): _structs(node_id=TEXT, day=INT, orders=INT, units=INT),
    ("balanced", "inbound"): _structs(
        node_id=TEXT, sku=TEXT, document=TEXT, document_line=TEXT, units=INT, expected_ms=INT
    ),
    ("balanced", "pools"): _structs(market_id=TEXT, pool_id=TEXT, taken=INT),
    ("balanced", "waiting"): _structs(market_id=TEXT, sku=TEXT, units=INT),
    ("balanced", "lots"): Shape(
        pa.list_(pa.struct([("node_id", TEXT), ("sku", TEXT), ("lots", _LOTS.type)])),
        lambda rows: [
            {"node_id": node_id, "sku": sku, "lots": _LOTS.of(lots)} for node_id, sku, lots in rows
        ],
    ),
    ("stock_moved", "delta"): _DELTA,
    ("stock_moved", "lots"): _LOTS,
    ("shipment_sent", "moved"): _structs(
        line_id=TEXT, sku=TEXT, off_reservation=INT, counted_as_shipped=INT, units_left=INT
    ),
    ("improvement_due", "skus"): _structs(sku=TEXT, after_order=INT),
    ("input_resumed", "input"): _JSON,  # as a whole: later events of the entry rest on its parts
    ("work_queued", "work"): _JSON,
    ("work_done", "work"): _JSON,
    ("timer_fired", "timer"): _JSON,
}
"""By event and field. What stands in none of them has the type that its schema says."""
