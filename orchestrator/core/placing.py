"""Placing and planning: an order comes in, is refused or accepted, and gets its plan."""

from bisect import bisect_left
from collections.abc import Mapping
from typing import Any, Final, Literal, NamedTuple

import orjson

from events.decided import Line, LineUnits, Plain, Reason, WaitingUnits
from orchestrator.core.config import DAY_MS
from orchestrator.core.orders import (
    UNSUBMITTED,
    Fulfillment,
    Order,
    OrderLine,
    content_digest,
    recalled,
    remembered,
)
from orchestrator.core.shard import Market
from orchestrator.core.sourcing.calendars import end_of, moment_of, start_of
from orchestrator.core.sourcing.plan import Leg, Outcome, Request, Want
from orchestrator.core.sourcing.planner import source
from orchestrator.core.sourcing.strategies import Strategy
from orchestrator.core.turn import Turn, about
from schemas.times import iso_day, rfc3339

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
AHEAD = 1_000
"""Lines that wait before another, at the most, for it to be told when it is expected."""
DIVISIBLE: Final[Plain] = {"allow_split": True, "allow_partial": True}
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
    kept = remembered(order) if order else market.retired.get(key)
    if kept is not None:
        digest, status = recalled(kept)
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
    accept(turn, market, identity, key, data)


def accept(
    turn: Turn, market: Market, identity: Plain, key: str, data: Plain | None = None
) -> None:
    """Accept an order that is new (`data`: as it was placed), or that waited, and plan it."""
    turn.tell({"type": "order_accepted", **identity})
    order = market.orders[key]
    plan(turn, order, order.lines, data)


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


class Sourced(NamedTuple):
    """What came of asking for sources: the legs, and the units that no node has and can't wait."""

    legs: list[Leg]
    gone: list[tuple[OrderLine, int]]


def plan(turn: Turn, order: Order, lines: list[OrderLine], data: Plain | None = None) -> None:
    """Source what is open or backordered of these lines.

    The rest waits, or is cancelled where it may not. `data`: the order as placed, if at hand.
    What is held of an order that goes in one piece is planned with it: its node knows of nothing.
    """
    if data is None:
        data = orjson.loads(order.raw)
    if not order.allow_split:
        for fulfillment in list(order.held()):
            units = [one.units(one.reserved) for one in fulfillment.lines if one.reserved]
            withdraw(turn, order, fulfillment, units, "replanned")
    _source_all(turn, order, lines, data, explain_failure=True)


def _source_all(
    turn: Turn, order: Order, lines: list[OrderLine], data: Plain, *, explain_failure: bool
) -> None:
    """The same, and what may not wait is cancelled; then what is left may fit as a whole."""
    while True:
        legs, gone = _source(turn, order, lines, data, explain_failure=explain_failure)
        if not gone:
            return
        units_cancelled: list[LineUnits] = [
            {"line_id": line.line_id, "quantity": units} for line, units in gone
        ]
        turn.cancelled(order, units_cancelled, "no_stock", "system")
        if legs or not order.whole:
            return


def replan(turn: Turn, order: Order) -> None:
    """Plan what is open of an order, now or, where the entry is full, at a tick."""
    if turn.full:
        turn.emit({"type": "work_queued", "work": ["plan", order.market_id, order.key]})
    else:
        plan(turn, order, order.lines)


def fill_from_stock(turn: Turn, order: Order, line: OrderLine) -> None:
    """Give units that came free to a line that waits, and to the others of its order.

    All of them where the order takes all, else those that nobody waits for before them: so they
    share legs, and take nothing out of turn.
    """
    lines = [one for one in order.lines if one.backordered]
    if not order.whole:
        market = turn.market_of(order)
        lines = [one for one in lines if one is line or _is_next(market, order, one)]
    _source_all(turn, order, lines, orjson.loads(order.raw), explain_failure=False)


def _is_next(market: Market, order: Order, line: OrderLine) -> bool:
    """Whether there may be units for a line that waits, and nobody's turn is before its order's."""
    queue = market.waiting.get(line.sku, [])
    return market.available.get(line.sku, 0) > 0 and bool(queue) and queue[0][3] is order


def ask(turn: Turn, order: Order, lines: list[OrderLine], data: Plain) -> Outcome | None:
    """The best plan for what is open or backordered of these lines; None where nothing is."""
    wants = [Want(line.line_id, line.sku, line.open + line.backordered) for line in lines]
    if not wants:
        return None
    return source(turn.shard, turn.market_of(order), request_of(turn, order, wants, data))


def request_of(turn: Turn, order: Order, wants: list[Want], data: Plain) -> Request:
    """To have an order planned, or planned anew: then to be late for its promise costs money.

    It bars nobody: a day that nobody asked for must not keep an order from what is there. An order
    that asks when to ship is planned by that.
    """
    promised = order.promised_ms
    if promised is None or not data.keys().isdisjoint(("deliver_by", "ship_by")):
        return Request(data, wants, turn.now_ms, turn.cause["type"])
    data = {**data, "deliver_by": rfc3339(promised)}
    return Request(data, wants, turn.now_ms, turn.cause["type"], promised=True)


def _source(
    turn: Turn, order: Order, lines: list[OrderLine], data: Plain, *, explain_failure: bool
) -> Sourced:
    """Plan these lines and carry the plan out."""
    lines = [line for line in lines if line.open or line.backordered]
    outcome = ask(turn, order, lines, data)
    if outcome is None:
        return Sourced([], [])
    legs, strategy = outcome.legs, outcome.strategy
    lacking = lacks(lines, outcome)
    gone = unsourced(lines, lacking, strategy)
    if not (legs or explain_failure) and (not order.whole or strategy.unsourced == "cancel"):
        return Sourced([], [])  # it has waited, and waits on
    if gone and goes_whole(order, outcome):
        parts = ask(turn, order, lines, {**data, **DIVISIBLE})
        if parts is not None:
            gone = of_their_own(gone, lacks(lines, parts))
    if legs or explain_failure:
        waiting = lacking if not gone else {one: lacking[one] - gone.get(one, 0) for one in lacking}
        carry_out(turn, order, lines, data, outcome, waiting)
    return Sourced(legs, [(line, gone[line.line_id]) for line in lines if line.line_id in gone])


def lacks(lines: list[OrderLine], outcome: Outcome) -> dict[str, int]:
    """Units by line that a plan leaves out."""
    return {
        line.line_id: line.open + line.backordered - sum([leg.units[i] for leg in outcome.legs])
        for i, line in enumerate(lines)
    }


def unsourced(
    lines: list[OrderLine], lacking: Mapping[str, int], strategy: Strategy
) -> dict[str, int]:
    """Those of them that don't wait for stock, but are cancelled."""
    if strategy.unsourced == "cancel":
        return {one: units for one, units in lacking.items() if units}
    return {
        line.line_id: lacking[line.line_id]
        for line in lines
        if not line.allow_backorder and lacking[line.line_id]
    }


def goes_whole(order: Order, outcome: Outcome) -> bool:
    """Whether an order gets nothing, since it goes in one piece or not at all, and may wait."""
    return not outcome.legs and order.whole and outcome.strategy.unsourced != "cancel"


def of_their_own(gone: dict[str, int], lacking: Mapping[str, int]) -> dict[str, int]:
    """What of such an order is cancelled: a line that nodes have waits for those that lack.

    `lacking`: what it would lack if it were `DIVISIBLE`; nothing, where no node alone has it all.
    """
    if not any(lacking.values()):
        return gone
    return {line_id: lacking[line_id] for line_id in gone if lacking[line_id]}


def withdraw(
    turn: Turn,
    order: Order,
    fulfillment: Fulfillment,
    lines: list[Line],
    why: Literal["cancelled", "taken_back", "improved", "replanned"],
) -> None:
    """Take units off a fulfillment that its node doesn't know of: no one has to answer."""
    turn.emit(
        {
            "type": "units_released",
            **about(order),
            "fulfillment_id": fulfillment.fulfillment_id,
            "node_id": fulfillment.node_id,
            "why": why,
            "lines": lines,
            "closed": lines,
        }
    )
    turn.fulfillment_is(order, fulfillment, UNSUBMITTED)


def carry_out(
    turn: Turn,
    order: Order,
    lines: list[OrderLine],
    data: Plain,
    outcome: Outcome,
    waiting: Mapping[str, int],
    release_ms: int = 0,
) -> None:
    """Reserve, book, ask the nodes or hold, and tell the plan and what waits: units by line.

    `release_ms`: when what the plan replaces was to be released; 0: it replaces nothing.
    """
    legs = outcome.legs
    passed_on = _passed_on(turn, order, data)
    at_once = legs
    if len(legs) > 1:  # each node gets all of it: as many as an entry can hold
        at_once = legs[: max(1, LEGS_BYTES // len(orjson.dumps(passed_on)))]
    until_ms = turn.now_ms + outcome.strategy.hold_ms
    if release_ms:
        until_ms = min(until_ms, release_ms)
    held = [_give(turn, order, leg, lines, data, passed_on, until_ms) for leg in at_once]
    whole = bool(legs) and len(at_once) == len(legs)
    _tell_plan(turn, order, data, outcome, waiting, held=any(held), whole=whole)
    turn.weight += 3 * len(order.raw) + LEG_BYTES * len(at_once)
    if len(at_once) < len(legs):
        turn.emit({"type": "work_queued", "work": ["plan", order.market_id, order.key]})


def _tell_plan(
    turn: Turn,
    order: Order,
    data: Plain,
    outcome: Outcome,
    waiting: Mapping[str, int],
    *,
    held: bool,
    whole: bool,
) -> None:
    """`order_allocated`, and what waits; the order's promise, once everything has a source."""
    explanation = orjson.dumps(outcome.decision).decode()
    latest_ms: int | None = None
    fulfillments: list[Plain] = []
    for fulfillment, planned in order.planned():
        deliver_by_ms = fulfillment.deliver_by_ms
        if deliver_by_ms is not None and (latest_ms is None or deliver_by_ms > latest_ms):
            latest_ms = deliver_by_ms
        told: Plain = {"fulfillment_id": fulfillment.fulfillment_id, "node_id": fulfillment.node_id}
        if fulfillment.ship_by_ms is not None:
            told["ship_by"] = rfc3339(fulfillment.ship_by_ms)
        if deliver_by_ms is not None:
            told["deliver_by"] = rfc3339(deliver_by_ms)
        told["lines"] = planned
        fulfillments.append(told)
    event: Any = {
        "type": "order_allocated",
        **about(order),
        "fulfillments": fulfillments,
        "backordered": [],
        "decision": explanation,
    }
    for index, line in enumerate(order.lines):
        units = waiting.get(line.line_id, line.backordered)
        if units:
            event["backordered"].append(_waiting(turn, order, index, units))
    if whole and not event["backordered"] and order.promised_ms is None:
        promised_ms = latest_ms
        if "deliver_by" in data:
            promised_ms = end_of(data["deliver_by"], turn.market_of(order).time_zone)
        if promised_ms is not None:
            event["promised_by"] = rfc3339(promised_ms)
    if event["backordered"] and not order.patience_ms:
        days = outcome.strategy.unsourced_days
        if days is not None:
            event["cancel_ms"] = turn.now_ms + days * DAY_MS
    if held:
        event["held"] = outcome.strategy.name
    turn.tell(event, order)
    turn.explained.append(outcome.decision)
    turn.weight += len(explanation)
    if latest_ms is not None and order.promised_ms is not None and latest_ms > order.told_ms:
        turn.tell(
            {
                "type": "order_promise_changed",
                **about(order),
                "promised_by": rfc3339(order.promised_ms),
                "deliver_by": rfc3339(latest_ms),
            }
        )


def _days(fulfillment: Fulfillment) -> Plain:
    days = {"ship_by": fulfillment.ship_by_ms, "deliver_by": fulfillment.deliver_by_ms}
    return {name: rfc3339(at_ms) for name, at_ms in days.items() if at_ms is not None}


def _waiting(turn: Turn, order: Order, index: int, units: int) -> WaitingUnits:
    """Units that wait, and when what is announced covers them and all that wait before them."""
    line = order.lines[index]
    event: WaitingUnits = {"line_id": line.line_id, "quantity": units}
    market = turn.market_of(order)
    if line.sku not in market.inbound:
        return event
    queue = market.waiting.get(line.sku, [])
    ahead = bisect_left(queue, (-order.priority, order.number, index))
    if ahead > AHEAD:
        return event
    needed = units + sum(other.lines[i].backordered for _, _, i, other in queue[:ahead])
    coming = sorted((at_ms, there) for there, at_ms in market.inbound[line.sku].values())
    for expected_ms, there in coming:
        needed -= there
        if needed <= 0:
            event["expected_at"] = rfc3339(expected_ms)
            break
    return event


def _passed_on(turn: Turn, order: Order, data: Plain) -> Plain:
    passed_on = {field: data[field] for field in PASSED_ON if field in data}
    if "ship_not_before" in data:
        zone = turn.market_of(order).time_zone
        passed_on["ship_not_before"] = rfc3339(start_of(data["ship_not_before"], zone))
    return passed_on


def _give(
    turn: Turn,
    order: Order,
    leg: Leg,
    lines: list[OrderLine],
    data: Plain,
    passed_on: Plain,
    until_ms: int,
) -> bool:
    """Give a node its leg: ask it now, or hold the request back. Returns whether it is held."""
    asked = [
        {"line_id": line.line_id, "sku": line.sku, "quantity": units}
        for line, units in zip(lines, leg.units, strict=True)
        if units
    ]
    given: Plain = {"ship_day": iso_day(leg.ship_day), "ship_by": rfc3339(leg.ship_by_ms)}
    if leg.deliver_by_ms is not None:
        given["deliver_by"] = rfc3339(leg.deliver_by_ms)
    elif "deliver_by" in data:
        given["deliver_by"] = rfc3339(
            moment_of(data["deliver_by"], turn.market_of(order).time_zone)
        )
    carrier, service = told_service(leg, passed_on)
    if carrier is not None:
        given["carrier"] = carrier
    if service is not None:
        given["service"] = service
    identity = about(order)
    identity["fulfillment_id"] = f"{order.channel}.{order.order_id}.{len(order.fulfillments) + 1}"
    identity["node_id"] = leg.node_id
    if until_ms > turn.now_ms:
        processing_ms = turn.shard.nodes[leg.node_id].calendar.processing_ms
        release_ms = min(until_ms, leg.ship_by_ms - processing_ms)
        if release_ms > turn.now_ms:
            planned: Any = {
                "type": "fulfillment_planned",
                **identity,
                **given,
                "release_ms": release_ms,
                "lines": asked,
            }
            turn.emit(planned)
            return True
    _request(turn, identity, given, data, passed_on, asked)
    return False


def told_service(leg: Leg, data: Plain) -> tuple[str | None, str | None]:
    """The carrier and the service that a node is told: the leg's, unless the order asks for others.

    One carrier's name beside another's service would be neither.
    """
    carrier, service = leg.carrier, leg.service
    if data.get("carrier", carrier) != carrier or data.get("service", service) != service:
        return data.get("carrier"), data.get("service")
    return carrier, service


def release(turn: Turn, order: Order, fulfillment: Fulfillment) -> None:
    """Ask the node for what was held back, as much of it as is still wanted."""
    data = orjson.loads(order.raw)
    given = _days(fulfillment)
    if fulfillment.ship_day is not None:
        given["ship_day"] = iso_day(fulfillment.ship_day)
    by = {"carrier": fulfillment.carrier, "service": fulfillment.service}
    given |= {name: chosen for name, chosen in by.items() if chosen is not None}
    identity = {
        **about(order),
        "fulfillment_id": fulfillment.fulfillment_id,
        "node_id": fulfillment.node_id,
    }
    asked = [line.units(line.reserved) for line in fulfillment.lines if line.reserved]
    _request(turn, identity, given, data, _passed_on(turn, order, data), asked)


def _request(
    turn: Turn, identity: Plain, given: Plain, data: Plain, passed_on: Plain, asked: list[Any]
) -> None:
    placed = {line["line_id"]: line for line in data["lines"]}
    lines: list[Plain] = []
    for units in asked:
        told: Plain = units.copy()
        line = placed[units["line_id"]]
        for field in LINE_PASSED_ON:
            if field in line:
                told[field] = line[field]
        lines.append(told)
    event: Any = {
        "type": "fulfillment_requested",
        **identity,
        "requested_at": rfc3339(turn.now_ms),
        "method": "ship",
        "service_level": "standard",
        "currency": data["currency"],
        **passed_on,
        **given,
        "lines": lines,
    }
    turn.emit(event)


def out_of_patience(turn: Turn, order: Order) -> None:
    """What still waits after as long as the strategy lets it is cancelled."""
    waiting: list[LineUnits] = [
        {"line_id": line.line_id, "quantity": line.backordered}
        for line in order.lines
        if line.backordered
    ]
    if waiting:
        turn.cancelled(order, waiting, "unsourced", "system")
