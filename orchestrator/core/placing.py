"""Placing and planning: an order comes in, is refused or accepted, and gets its plan."""

from typing import Any

import orjson

from events.decided import LineUnits, Plain, Reason
from orchestrator.core.orders import Order, OrderLine, content_digest
from orchestrator.core.shard import Market
from orchestrator.core.sourcing.geo import vector_of
from orchestrator.core.sourcing.planner import Leg, Want, source
from orchestrator.core.turn import Turn, about
from schemas.times import rfc3339

PASSED_ON = (
    "service_level",
    "carrier",
    "service",
    "ship_to",
    "contact",
    "order_number",
    "po_number",
    "shipping_method",
    "delivery_requirements",
    "gift_message",
    "packing_note",
    "attributes",
)
"""Fields of an order that its nodes get as they are."""
LEGS_BYTES = 250_000
"""Of what the nodes of one order are told in one entry, at the most (one node at the least)."""
LEG_BYTES = 1_000
LINE_PASSED_ON = ("name", "unit_price_minor", "gift_message", "attributes")


def place(turn: Turn) -> None:
    """`order_placed`: the same again is a no-op, another content is refused, a new one is taken."""
    data = turn.data
    market = turn.shard.markets.get(data["market_id"])
    if market is None:
        turn.emit({"type": "input_parked", "on": f"market:{data['market_id']}"})
        return
    identity: Any = {field: data[field] for field in ("market_id", "channel", "order_id")}
    key = f"{data['channel']}/{data['order_id']}"
    order = market.orders.get(key)
    known = (order.digest, order.status()) if order else market.retired.get(key)
    if known is not None:
        digest, status = known
        if digest == content_digest(data):
            turn.repeat("order")
        else:
            _refuse_conflict(turn, identity, status)
        return
    if data["currency"] != market.currency:
        detail = (
            f"the order is in {data['currency']}, its market {market.market_id} in"
            f" {market.currency}: send it in the market's currency"
        )
        _refuse(turn, identity, [{"code": "currency", "detail": detail}])
        return
    skus = dict.fromkeys(line["sku"] for line in data["lines"])
    unknown = [sku for sku in skus if sku not in turn.shard.items]
    if unknown:
        until_ms = turn.now_ms + turn.shard.config.order_wait_ms
        turn.emit({"type": "order_waits", **identity, "unknown": unknown, "until_ms": until_ms})
        return
    accept(turn, market, identity, key)


def accept(turn: Turn, market: Market, identity: Plain, key: str) -> None:
    """Accept an order that is new, or that waited, and plan it."""
    turn.tell({"type": "order_accepted", **identity})
    order = market.orders[key]
    plan(turn, order, order.lines)


def refuse_unknown(turn: Turn, order: Order) -> None:
    """The master data an order waited for didn't come."""
    reasons: list[Reason] = [
        {
            "code": "unknown_sku",
            "line_id": line.line_id,
            "detail": f"no item_defined for sku {line.sku} came in time:"
            " define it, then place a new order",
        }
        for line in order.lines
        if line.sku not in turn.shard.items
    ]
    _refuse(turn, about(order), reasons)


def _refuse(turn: Turn, identity: Plain, reasons: list[Reason]) -> None:
    turn.tell({"type": "order_refused", **identity, "reasons": reasons, "conflict": False})


def _refuse_conflict(turn: Turn, identity: Plain, status: str) -> None:
    detail = (
        f"order {identity['channel']}/{identity['order_id']} was sent again with other content;"
        " the first one stands"
    )
    turn.emit(
        {
            "type": "order_refused",
            **identity,
            "status": status,
            "reasons": [{"code": "other_content", "detail": detail}],
            "conflict": True,
        }
    )
    turn.open_exception(
        "data_mismatch",
        "medium",
        identity["market_id"],
        detail,
        channel=identity["channel"],
        order_id=identity["order_id"],
    )


def plan(turn: Turn, order: Order, lines: list[OrderLine]) -> None:
    """Source what is open or backordered of these lines.

    The rest waits, or is cancelled where it may not.
    """
    data = orjson.loads(order.raw)
    wanted = lines
    while True:
        legs, shortage = _source(turn, order, wanted, data, explain_failure=True)
        no_stock = [(line, units) for line, units in shortage if not line.allow_backorder and units]
        if no_stock:
            units_cancelled: list[LineUnits] = [
                {"line_id": line.line_id, "quantity": units} for line, units in no_stock
            ]
            turn.cancelled(order, units_cancelled, "no_stock", "system")
        retry = no_stock and not legs and not order.allow_split
        wanted = [line for line in wanted if line.open or line.backordered]
        if not (retry and wanted):
            break


def replan(turn: Turn, order: Order) -> None:
    """Plan what is open of an order, now or, where the entry is full, at a tick."""
    if turn.full:
        turn.emit({"type": "work_queued", "work": ["plan", order.market_id, order.key]})
    else:
        plan(turn, order, order.lines)


def fill_from_stock(turn: Turn, order: Order, line: OrderLine) -> None:
    """Give units that came free to a line that waits (to all its order where it ships complete)."""
    lines = [line] if order.allow_split else [one for one in order.lines if one.backordered]
    _source(turn, order, lines, orjson.loads(order.raw), explain_failure=False)


def _source(
    turn: Turn, order: Order, lines: list[OrderLine], data: Plain, *, explain_failure: bool
) -> tuple[list[Leg], list[tuple[OrderLine, int]]]:
    """Plan these lines, carry the plan out and tell it.

    Returns the legs and what each line lacks.
    """
    lines = [line for line in lines if line.open or line.backordered]
    wants = [Want(line.line_id, line.sku, line.open + line.backordered) for line in lines]
    if not wants:
        return [], []
    market = turn.market_of(order)
    legs, decision = source(
        market,
        turn.now_ms,
        vector_of(data["ship_to"].get("location")),
        wants,
        ship_complete=not order.allow_split,
        trigger=turn.cause["type"],
    )
    if not legs and not explain_failure:
        return [], []
    passed_on = {field: data[field] for field in PASSED_ON if field in data}
    at_once = legs
    if len(legs) > 1:  # each node gets all of it: as many as an entry can hold
        at_once = legs[: max(1, LEGS_BYTES // len(orjson.dumps(passed_on)))]
    for leg in at_once:
        _request(turn, order, leg, lines, data, passed_on)
    shortage = [
        (line, want.units - sum(leg.units[i] for leg in legs))
        for i, (line, want) in enumerate(zip(lines, wants, strict=True))
    ]
    planned = {line.line_id for line in lines}
    backordered: list[LineUnits] = [
        {"line_id": line.line_id, "quantity": line.backordered}
        for line in order.lines
        if line.backordered and line.line_id not in planned
    ]
    backordered += [
        {"line_id": line.line_id, "quantity": units}
        for line, units in shortage
        if units and line.allow_backorder
    ]
    explanation = orjson.dumps(decision).decode()
    turn.tell(
        {
            "type": "order_allocated",
            **about(order),
            "fulfillments": [
                {
                    "fulfillment_id": fulfillment.fulfillment_id,
                    "node_id": fulfillment.node_id,
                    "lines": held,
                }
                for fulfillment, held in order.planned()
            ],
            "backordered": backordered,
            "decision": explanation,
        }
    )
    turn.weight += 3 * len(order.raw) + len(explanation) + LEG_BYTES * len(at_once)
    if len(at_once) < len(legs):
        turn.emit({"type": "work_queued", "work": ["plan", order.market_id, order.key]})
    return legs, shortage


def _request(
    turn: Turn, order: Order, leg: Leg, lines: list[OrderLine], data: Plain, passed_on: Plain
) -> None:
    asked = []
    placed = {line["line_id"]: line for line in data["lines"]}
    for line, units in zip(lines, leg.units, strict=True):
        if units:
            passed = placed[line.line_id]
            asked.append(
                {
                    "line_id": line.line_id,
                    "sku": line.sku,
                    "quantity": units,
                    **{field: passed[field] for field in LINE_PASSED_ON if field in passed},
                }
            )
    event: Any = {
        "type": "fulfillment_requested",
        **about(order),
        "fulfillment_id": f"{order.channel}.{order.order_id}.{len(order.fulfillments) + 1}",
        "node_id": leg.node_id,
        "requested_at": rfc3339(turn.now_ms),
        "method": "ship",
        "service_level": "standard",
        "currency": data["currency"],
        **passed_on,
        "lines": asked,
    }
    turn.emit(event)
