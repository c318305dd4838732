"""Cancelling: what isn't with a node is cancelled at once, of what is the node is asked.

The node answers for every unit.
"""

from collections import Counter
from collections.abc import Iterator
from typing import Any, Literal

from events.decided import AskedUnits, Line, LineUnits, Plain
from orchestrator.core.orders import (
    Cancellation,
    Fulfillment,
    Order,
    OrderLine,
    recalled,
)
from orchestrator.core.placing import fill_from_stock, withdraw
from orchestrator.core.turn import Turn, about


def request(turn: Turn) -> None:
    """`order_cancel_requested`: cancel units of an order, backordered ones first."""
    data = turn.data
    market = turn.shard.markets.get(data["market_id"])
    if market is None:
        turn.emit({"type": "input_parked", "on": f"market:{data['market_id']}"})
        return
    key = f"{data['channel']}/{data['order_id']}"
    order = market.orders.get(key)
    if order is None:
        _refuse_unknown(turn, data, market.retired.get(key))
        return
    if order.refused:
        _refuse(turn, order, list(data.get("lines") or _every(order)), "the order was refused")
        return
    now: list[LineUnits] = []
    ask: list[tuple[OrderLine, int]] = []
    gone: list[AskedUnits] = []
    for wanted in data.get("lines") or [{"line_id": line.line_id} for line in order.lines]:
        line = order.line(wanted["line_id"])
        if line is None:
            gone.append(wanted)
            continue
        asked_already = _asked_already(order, line)
        left = line.quantity - line.cancelled - asked_already
        units = wanted.get("quantity", left)
        at_once = min(units, line.open + line.backordered)
        at_node = min(units - at_once, line.allocated - asked_already)
        if at_once:
            now.append({"line_id": line.line_id, "quantity": at_once})
        if at_node:
            ask.append((line, at_node))
        if units > at_once + at_node:
            gone.append({"line_id": line.line_id, "quantity": units - at_once - at_node})
    if not (now or ask or gone):
        turn.repeat("state")
    if now:
        turn.cancelled(order, now, data["reason"], "channel")
        waits_on = [line.sku for line in order.lines if line.open]
        if order.unknown and waits_on and all(sku in turn.shard.items for sku in waits_on):
            turn.emit({"type": "work_queued", "work": ["plan", order.market_id, order.key]})
        waiting = [line for line in order.lines if line.backordered]
        if waiting and order.whole:  # what is left may fit now
            fill_from_stock(turn, order, waiting[0])
    _cancel_held(turn, order, ask, data["reason"])
    _ask_nodes(turn, order, ask, data["reason"])
    if gone:
        _refuse(turn, order, gone, "these units have left, or were never ordered")


def _every(order: Order) -> list[AskedUnits]:
    return [{"line_id": line.line_id, "quantity": line.quantity} for line in order.lines]


def _asked_already(order: Order, line: OrderLine) -> int:
    return sum(
        fulfillment.awaiting_cancellation(line.line_id, taken_back=False)
        for fulfillment in order.fulfillments
    )


def _refuse(turn: Turn, order: Order, lines: list[AskedUnits], reason: str) -> None:
    turn.cancellation_rejected(order, lines, reason)
    named = ", ".join(
        f"{line['quantity']} of line {line['line_id']}"
        if "quantity" in line
        else f"line {line['line_id']}"
        for line in lines
    )
    detail = f"cancellation of {named} of order {order.key} was refused: {reason}"
    turn.mismatch(order.market_id, detail, order)


def _refuse_unknown(turn: Turn, data: Plain, retired: bytes | None) -> None:
    reason = "the order is closed" if retired else "no such order"
    identity: Any = {field: data[field] for field in ("market_id", "channel", "order_id")}
    turn.emit(
        {
            "type": "order_cancellation_rejected",
            **identity,
            **({"status": recalled(retired)[1]} if retired else {}),
            "lines": data.get("lines") or [],
            "reason": reason,
        }
    )
    detail = f"cancellation of order {data['channel']}/{data['order_id']} was refused: {reason}"
    turn.open_exception(
        "data_mismatch",
        "medium",
        data["market_id"],
        detail,
        channel=data["channel"],
        order_id=data["order_id"],
    )


def _cancel_held(turn: Turn, order: Order, ask: list[tuple[OrderLine, int]], reason: str) -> None:
    """What no node was asked for yet is cancelled at once, of the newest fulfillments first."""
    for fulfillment in reversed(list(order.held())):
        lines: list[Line] = []
        for i, (line, units) in enumerate(ask):
            held = fulfillment.line(line.line_id)
            if held is not None and units and held.reserved:
                taken = min(units, held.reserved)
                lines.append(held.units(taken))
                ask[i] = (line, units - taken)
        if lines:
            withdraw(turn, order, fulfillment, lines, "cancelled")
            turn.cancelled(order, _cancel_units(lines), reason, "channel")


def _ask_nodes(turn: Turn, order: Order, ask: list[tuple[OrderLine, int]], reason: str) -> None:
    """Ask the newest fulfillments first; one request a fulfillment."""
    for fulfillment in reversed(order.fulfillments):
        lines: list[Line] = []
        for i, (line, units) in enumerate(ask):
            held = fulfillment.line(line.line_id)
            if held is None or not units:
                continue
            free = held.reserved - fulfillment.awaiting_cancellation(line.line_id, taken_back=False)
            taken = min(units, free)
            if taken > 0:
                lines.append(held.units(taken))
                ask[i] = (line, units - taken)
        if lines:
            ask_node(turn, order, fulfillment, lines, reason, taken_back=False)


def ask_node(
    turn: Turn,
    order: Order,
    fulfillment: Fulfillment,
    lines: list[Line],
    reason: str,
    *,
    taken_back: bool,
) -> None:
    """Ask a node to stop; `taken_back` units are no longer its, whatever it answers."""
    turn.emit(
        {
            "type": "fulfillment_cancellation_requested",
            **about(order),
            "fulfillment_id": fulfillment.fulfillment_id,
            "node_id": fulfillment.node_id,
            "cancellation_id": f"{fulfillment.fulfillment_id}.c{fulfillment.asked_to_cancel + 1}",
            "lines": lines,
            "taken_back": taken_back,
            "reason": reason,
        }
    )
    turn.fulfillment_is(order, fulfillment, "cancellation_requested")


def accepted(turn: Turn, order: Order, fulfillment: Fulfillment) -> None:
    """`fulfillment_cancellation_accepted`: the units are free, and cancelled for the customer."""
    answered = False
    for pending, lines, how in _answers(turn, order, fulfillment, "accepted"):
        answered = True
        _answer(turn, order, fulfillment, pending, lines, "accepted", how)
        _release_cancelled(turn, order, fulfillment, pending, lines)
    if answered:
        turn.fulfillment_is(order, fulfillment, answered_with(fulfillment, "accepted"))


def rejected(turn: Turn, order: Order, fulfillment: Fulfillment) -> None:
    """`fulfillment_cancellation_rejected`: too late, the units will ship.

    As many as were rejected or shipped meanwhile are those: of the others it isn't said yet.
    """
    answered = False
    reason = turn.data.get("reason") or "the node can't stop it any more"
    for pending, lines, _ in _answers(turn, order, fulfillment, "rejected"):
        answered = True
        before = awaiting(fulfillment)
        _answer(turn, order, fulfillment, pending, lines, "rejected")
        stay = _no_longer(fulfillment, before)
        if stay:
            turn.cancellation_rejected(order, stay, reason)
    if answered:
        turn.fulfillment_is(order, fulfillment, answered_with(fulfillment, "rejected"))


def answered_with(fulfillment: Fulfillment, answer: Literal["accepted", "rejected"]) -> str:
    """The request status of a fulfillment after an answer."""
    return "cancellation_requested" if fulfillment.awaits_answer else f"cancellation_{answer}"


Awaiting = dict[tuple[str, bool], int]
"""Units that wait for an answer to a cancellation, by line id and whether they were taken back."""


def awaiting(fulfillment: Fulfillment) -> Awaiting:
    """What waits for the node's answer to a cancellation."""
    return {
        (line_id, pending.taken_back): fulfillment.awaiting_cancellation(
            line_id, taken_back=pending.taken_back
        )
        for pending in fulfillment.cancellations
        for line_id in pending.lines
    }


def overtaken(turn: Turn, order: Order, fulfillment: Fulfillment, before: Awaiting) -> str | None:
    """Units left that were to be cancelled: that answers their request.

    `before`: what waited for an answer until then. Returns the request status that follows, or
    None.
    """
    answers = _went(fulfillment, before)
    for pending, lines in answers:
        _answer(turn, order, fulfillment, pending, lines, "rejected", "inferred")
        if not pending.taken_back:
            turn.cancellation_rejected(order, _units(lines), "the units have been shipped")
    return answered_with(fulfillment, "rejected") if answers else None


def cancel_beyond(
    turn: Turn,
    order: Order,
    fulfillment: Fulfillment,
    before: Awaiting,
    *,
    still_asked: bool = False,
) -> int:
    """Units that are to be cancelled and are no longer with the node: the customer need not wait.

    What it still has it answers for, even where it rejects others of the same line. `before`: what
    waited for an answer until then. `still_asked`: the books took these units back, and its answer
    on them is still to come, to the request that it has. Returns how many they are.
    """
    beyond = 0
    how: Literal["still_asked", "inferred"] = "still_asked" if still_asked else "inferred"
    for pending, lines in _went(fulfillment, before):
        _answer(turn, order, fulfillment, pending, lines, "accepted", how)
        if not pending.taken_back:
            turn.cancelled(order, _cancel_units(lines), pending.reason, "channel")
        beyond += sum(line["quantity"] for line in lines)
    return beyond


def _no_longer(fulfillment: Fulfillment, before: Awaiting) -> list[AskedUnits]:
    """Units of the customer that waited for an answer before, and don't now."""
    now = awaiting(fulfillment)
    return [
        {"line_id": line_id, "quantity": units - now.get((line_id, taken_back), 0)}
        for (line_id, taken_back), units in before.items()
        if not taken_back and units > now.get((line_id, taken_back), 0)
    ]


def _went(fulfillment: Fulfillment, before: Awaiting) -> list[tuple[Cancellation, list[Line]]]:
    """Units that waited for an answer before and don't now, as if of the newest requests."""
    left, went = awaiting(fulfillment), dict(before)
    for key, units in left.items():
        went[key] -= units
    found = []
    for pending in fulfillment.cancellations:
        lines: list[Line] = []
        for line_id, units in pending.lines.items():
            key, line = (line_id, pending.taken_back), fulfillment.line(line_id)
            still = min(units, left[key])
            left[key] -= still
            gone = min(units - still, went[key])
            if line is not None and gone > 0:
                went[key] -= gone
                lines.append(line.units(gone))
        if lines:
            found.append((pending, lines))
    return found


def _answers(
    turn: Turn, order: Order, fulfillment: Fulfillment, answer: str
) -> Iterator[tuple[Cancellation, list[Line], Literal["said", "after_all"]]]:
    """What the node's answer is about, by request; none where it repeats or contradicts.

    Each is to be taken in before the next. It may have stopped what it still has, by whichever
    request, also what it said it was too late for; that it can't stop what it no longer has is no
    news.
    """
    data = turn.data
    wanted: Counter[str] = Counter()
    for line in data.get("lines") or ():
        wanted[line["line_id"]] += line["quantity"]
    named, found = bool(wanted), False
    known = fulfillment.request_status == f"cancellation_{answer}"
    about = [
        pending
        for pending in fulfillment.cancellations
        if data.get("cancellation_id") in (None, pending.cancellation_id)
    ]
    if named and _said_before(fulfillment, about, wanted, answer):
        turn.repeat("state")
        return
    stopped = {line.line_id: line.cancelled for line in fulfillment.lines}
    for pending in about:
        lines: list[Line] = []
        for line_id, asked in pending.lines.items():
            held = fulfillment.line(line_id)
            units = min(asked, wanted[line_id]) if named else asked
            if held is None or not units:
                continue
            if answer == "accepted":
                there = held.outstanding - (held.reserved if pending.taken_back else 0)
                units = min(units, there)
            elif not held.outstanding:
                known = True
                wanted[line_id] -= units
                continue
            wanted[line_id] -= units
            if units:
                lines.append(held.units(units))
        if lines:
            found = True
            yield pending, lines, "said"
    if answer == "accepted" and (named or not found):
        for pending in about:
            lines = _after_all(fulfillment, pending, wanted, stopped, named=named)
            if lines:
                found = True
                yield pending, lines, "after_all"
    beyond = named and any(wanted.values())
    if beyond or not (found or known):
        detail = (
            f"{fulfillment.node_id} {answer} a cancellation of {fulfillment.fulfillment_id} that"
            f" {'goes beyond what was asked' if found else 'was not asked, or has its answer'}"
        )
        if answer == "accepted":
            detail += _still_there(fulfillment, wanted if named else None)
        turn.mismatch(order.market_id, detail, order, node_id=fulfillment.node_id)
    elif not found:
        turn.repeat("state")


def _said_before(
    fulfillment: Fulfillment, about: list[Cancellation], wanted: Counter[str], answer: str
) -> bool:
    """Whether this can't be said anew of so many units, and was said of as many before."""
    if answer == "accepted":
        return fulfillment.ended_before(wanted, "cancelled")
    anew = True
    for line_id, units in wanted.items():
        anew = anew and units <= sum(pending.lines.get(line_id, 0) for pending in about)
        if units > sum(pending.refused.get(line_id, 0) for pending in about):
            return False
    return not anew


def _after_all(
    fulfillment: Fulfillment,
    pending: Cancellation,
    wanted: Counter[str],
    stopped: dict[str, int],
    *,
    named: bool,
) -> list[Line]:
    """What the node stopped of what it had said it was too late for; taken off `wanted`.

    `stopped`: units it had stopped before. Of as many it may say so again.
    """
    lines: list[Line] = []
    for line_id, refused in pending.refused.items():
        held = fulfillment.line(line_id)
        units = min(refused, wanted[line_id]) if named else refused
        if held is None or stopped[line_id] >= units:
            continue
        there = held.outstanding - (held.reserved if pending.taken_back else 0)
        units = min(units, there)
        wanted[line_id] -= units
        if units:
            lines.append(held.units(units))
    return lines


def _still_there(fulfillment: Fulfillment, wanted: Counter[str] | None) -> str:
    """How what the node says it stopped ends all the same, where the book has it; None: all."""
    left: list[str] = []
    for line in fulfillment.lines:
        units = line.outstanding if wanted is None else min(line.outstanding, wanted[line.line_id])
        if units:
            left.append(f"{units} of line {line.line_id}")
    if not left:
        return ""
    return f"; it has {', '.join(left)} still to ship: if it won't, reject or cancel that again"


def _answer(
    turn: Turn,
    order: Order,
    fulfillment: Fulfillment,
    pending: Cancellation,
    lines: list[Line],
    answer: Literal["accepted", "rejected"],
    how: Literal["said", "inferred", "still_asked", "after_all"] = "said",
) -> None:
    event: Any = {
        "type": "cancellation_answered",
        **about(order),
        "fulfillment_id": fulfillment.fulfillment_id,
        "cancellation_id": pending.cancellation_id,
        "answer": answer,
        "lines": lines,
    }
    if how != "said":
        event[how] = True
    if pending.taken_back and how != "still_asked":
        event["taken_back"] = True
    turn.emit(event)


def _release_cancelled(
    turn: Turn, order: Order, fulfillment: Fulfillment, pending: Cancellation, lines: list[Line]
) -> None:
    """What it stopped it no longer has: of a customer's request first what is the customer's."""
    free: list[Line] = []
    for stopped in lines:
        line = fulfillment.line(stopped["line_id"])
        if line is not None and line.reserved and not pending.taken_back:
            free.append(line.units(min(stopped["quantity"], line.reserved)))
    turn.emit(
        {
            "type": "units_released",
            **about(order),
            "fulfillment_id": fulfillment.fulfillment_id,
            "node_id": fulfillment.node_id,
            "why": "cancelled",
            "lines": free,
            "closed": lines,
        }
    )
    if free:
        turn.cancelled(order, _cancel_units(free), pending.reason, "channel")


def _cancel_units(lines: list[Line]) -> list[LineUnits]:
    return [{"line_id": line["line_id"], "quantity": line["quantity"]} for line in lines]


def _units(lines: list[Line]) -> list[AskedUnits]:
    return [{"line_id": line["line_id"], "quantity": line["quantity"]} for line in lines]
