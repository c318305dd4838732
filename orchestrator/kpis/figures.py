"""What a record of history adds to which figures. Pure; the glossary has the same in words.

A *scope* is what figures are told of: `us` (a market), or `us/channel/web`, `us/node/BOS`,
`us/carrier/acme`.
"""

from collections.abc import Callable, Iterator, Sequence
from typing import Any, Final, NamedTuple, get_args

import orjson

from events.decided import PAID, rows_of, split_cost
from events.kpis import Dimension, KpiCounts, KpiRates
from schemas.times import instant_ms

COUNTS: Final = tuple(KpiCounts.model_fields)
RATES: Final = tuple(KpiRates.model_fields)
DIMENSIONS: Final[tuple[str, ...]] = get_args(Dimension)
MEMBER_FIELDS: Final = {"channel": "channel", "node": "node_id", "carrier": "carrier"}
"""The field of a published window that names the member of a dimension."""

DENOMINATORS: Final = {
    "lead_time_s": ("delivered",),
    "on_time_rate": ("due",),
    "fill_rate": ("units_wanted",),
    "backorder_rate": ("planned",),
    "split_rate": ("allocated",),
    "cost_per_plan_minor": ("allocated",),
    "cost_per_order_minor": ("first_planned",),
    "promises_kept_rate": ("promises_kept", "promises_broken"),
}
"""What a rate is divided by: where it is 0 there is no such rate."""
OF_ORDERS: Final = frozenset(
    {
        *("placed", "placed_per_minute", "refused", "planned", "backordered", "backorder_rate"),
        *("promises_kept", "promises_broken", "promises_kept_rate"),
        *("first_planned", "first_paid_minor", "cost_per_order_minor"),
    }
)
"""What is counted by market and channel alone: no one node or carrier has it."""
_NUMERATORS: Final = {
    "lead_time_s": "lead_ms",
    "on_time_rate": "on_time",
    "fill_rate": "units_found",
    "backorder_rate": "backordered",
    "split_rate": "split",
    "cost_per_plan_minor": "cost_minor",
    "cost_per_order_minor": "first_paid_minor",
    "promises_kept_rate": "promises_kept",
}
_PLACE: Final = {name: place for place, name in enumerate(COUNTS)}
_DIGITS: Final = 6

Json = dict[str, Any]
Counts = list[int]
"""By `COUNTS`."""


class Addition(NamedTuple):
    """What is added to a scope's counts."""

    scope: str
    counts: dict[str, int]


def additions(record: Json) -> Iterator[Addition]:
    """What a record of history (`history_recorded`) adds; most add nothing."""
    if record["kind"] != "event" or "market_id" not in record:
        return
    count = _COUNTED.get(record["event"])
    if count is not None:
        yield from count(record, record["data"])


def add(to: Counts, counts: dict[str, int]) -> None:
    """Add named counts in place."""
    for name, number in counts.items():
        to[_PLACE[name]] += number


def none() -> Counts:
    """Counts of a window in which nothing happened."""
    return [0] * len(COUNTS)


def rates(counts: Counts, minutes: int) -> dict[str, float]:
    """The rates of a window of so many minutes; those without a denominator are left out."""
    said = dict(zip(COUNTS, counts, strict=True))
    found = {
        f"{name}_per_minute": round(said[name] / minutes, _DIGITS)
        for name in ("placed", "allocated", "shipped")
    }
    for rate, names in DENOMINATORS.items():
        below = sum(said[name] for name in names)
        if below:
            scale = 1000 if rate == "lead_time_s" else 1
            found[rate] = round(said[_NUMERATORS[rate]] / scale / below, _DIGITS)
    return found


def about(scope: str) -> Json:
    """The fields that name a scope in what is published."""
    market_id, *rest = scope.split("/")
    return {"market_id": market_id} | ({MEMBER_FIELDS[rest[0]]: rest[1]} if rest else {})


def dimension_of(scope: str) -> str:
    """Of what kind a scope is: market, channel, node or carrier."""
    return scope.split("/")[1] if "/" in scope else "market"


def _everywhere(record: Json, counts: dict[str, int]) -> Iterator[Addition]:
    """To the market, and to what else the record names."""
    market_id = record["market_id"]
    yield Addition(market_id, counts)
    for dimension, field in MEMBER_FIELDS.items():
        if field in record:
            yield Addition(f"{market_id}/{dimension}/{record[field]}", counts)


def _accepted(record: Json, _data: Json) -> Iterator[Addition]:
    return _everywhere(record, {"placed": 1})


def _refused(record: Json, data: Json) -> Iterator[Addition]:
    if not data["conflict"]:
        yield from _everywhere(record, {"placed": 1, "refused": 1})


class _Leg(NamedTuple):
    node_id: str
    carrier: str | None
    costs: Sequence[int]  # by COMPONENTS
    units: int


def _planned(record: Json, data: Json) -> Iterator[Addition]:
    """A plan; of one that is told in parts, the legs that are told here.

    Where an order is large, an entry tells some of its nodes, and the others are planned anew at a
    tick. So a leg counts where its node is told, and the plan with the last of them. A last one
    that is left alone looks like a plan that isn't split: that it is counts with those before it.
    """
    decision = orjson.loads(data["decision"])
    legs = _legs(decision)
    told = {one["node_id"] for one in data["fulfillments"]}
    given = [leg for leg in legs if leg.node_id in told]
    left = [leg for leg in legs if leg.node_id not in told]
    later = sum(leg.units for leg in left)
    whole = 0 if left else 1
    split = 1 if len(legs) > 1 else 0
    alone = left if len(left) == 1 else []
    cost_minor = sum(sum(leg.costs) for leg in given)
    if given and decision.get("split"):  # the one leg that costs no split is among the last told
        cost_minor += split_cost(decision, len(given) + 1 - whole)
    chosen = decision["chosen"]
    counts = {
        "planned": whole,
        "allocated": whole if legs else 0,
        "split": split if whole or alone else 0,
        "backordered": whole if data["backordered"] else 0,
        "units_wanted": sum(line[2] for line in decision["lines"]) - later,
        "units_found": (chosen["units"] if chosen else 0) - later,
        "cost_minor": cost_minor,
        "paid_minor": sum(_paid(leg) for leg in given),
    }
    if legs and _first(data["fulfillments"], given):
        counts |= {"first_planned": 1, "first_paid_minor": sum(map(_paid, legs))}
    yield from _everywhere(record, counts)
    for leg in given:
        costs = {"cost_minor": sum(leg.costs), "paid_minor": _paid(leg)}
        yield from _of(record, leg, {"allocated": 1, "split": split, **costs})
    for leg in alone:
        yield from _of(record, leg, {"split": 1})


def _of(record: Json, leg: _Leg, counts: dict[str, int]) -> Iterator[Addition]:
    """To who is to carry a leg out."""
    market_id = record["market_id"]
    yield Addition(f"{market_id}/node/{leg.node_id}", counts)
    if leg.carrier is not None:
        yield Addition(f"{market_id}/carrier/{leg.carrier}", counts)


def _paid(leg: _Leg) -> int:
    """Minor units of what a leg costs that somebody gets."""
    return sum(leg.costs[:PAID])


def _first(fulfillments: Sequence[Json], legs: Sequence[_Leg]) -> bool:
    """Whether an order's work is all of this plan, and begins with the first it ever had."""
    return len(fulfillments) == len({leg.node_id for leg in legs}) and any(
        one["fulfillment_id"].endswith(".1") for one in fulfillments
    )


def _legs(decision: Any) -> Sequence[_Leg]:  # noqa: ANN401 - of any release
    """The legs of the chosen plan."""
    chosen = decision["chosen"]
    if not chosen:
        return ()
    if "nodes" in chosen:  # of the first release, which knew no money
        return [_Leg(node_id, None, (), 0) for node_id in chosen["nodes"]]
    return [
        _Leg(
            row.node_id,
            row.service.partition("/")[0] if row.service else None,
            row.costs,
            sum(decision["sets"][place][0]),
        )
        for row, (place, _) in zip(rows_of(decision, chosen), chosen["legs"], strict=True)
    ]


def _shipped(record: Json, data: Json) -> Iterator[Addition]:
    units = sum(line["quantity"] for line in data["lines"])
    counts = {"shipped": 1, "units_shipped": units}
    for one in _everywhere(record, counts):
        if dimension_of(one.scope) in {"node", "carrier"}:
            yield Addition(one.scope, counts | {"units_wanted": units, "units_found": units})
        else:
            yield one


def _released(record: Json, data: Json) -> Iterator[Addition]:
    if data["why"] == "rejected":
        units = sum(line["quantity"] for line in data["lines"])
        for one in _everywhere(record, {"units_wanted": units}):
            if dimension_of(one.scope) in {"node", "carrier"}:
                yield one


def _delivered(record: Json, data: Json) -> Iterator[Addition]:
    delivered_ms = instant_ms(data["delivered_at"])
    counts = {"delivered": 1, "lead_ms": delivered_ms - instant_ms(record["placed_at"])}
    if "promised_by" in record:
        on_time = delivered_ms <= instant_ms(record["promised_by"])
        counts |= {"due": 1, "on_time": 1 if on_time else 0}
    return _everywhere(record, counts)


def _kept(record: Json, _data: Json) -> Iterator[Addition]:
    return _everywhere(record, {"promises_kept": 1})


def _broken(record: Json, _data: Json) -> Iterator[Addition]:
    return _everywhere(record, {"promises_broken": 1})


def _exception(record: Json, _data: Json) -> Iterator[Addition]:
    return _everywhere(record, {"exceptions": 1})


_COUNTED: Final[dict[str, Callable[[Json, Json], Iterator[Addition]]]] = {
    "order_accepted": _accepted,
    "order_refused": _refused,
    "order_allocated": _planned,
    "shipment_sent": _shipped,
    "units_released": _released,
    "shipment_delivered": _delivered,
    "promise_kept": _kept,
    "promise_broken": _broken,
    "exception_opened": _exception,
}
