"""Stock: what arrives, vanishes or is counted moves the books.

Promises that no longer fit are taken back.
"""

from typing import Any

from events.decided import Plain
from orchestrator.core.cancelling import ask_node, awaiting, cancel_beyond
from orchestrator.core.evolve import exception_key
from orchestrator.core.ledger import HELD_STATES, Bin
from orchestrator.core.orders import UNSUBMITTED, FulfillmentLine, Order
from orchestrator.core.placing import replan, withdraw
from orchestrator.core.shard import Node
from orchestrator.core.sourcing.calendars import day_number, moment_of
from orchestrator.core.turn import Turn, about
from schemas.times import instant_ms

SETTLING = "settling"
"""The reason of movements that put off a part of a loss, and make up for it."""
TAKEN_BACK_BYTES, LINE_BYTES = 1_000, 50
STATES = ("on_hand", *HELD_STATES)
"""The order of a movement's delta."""


def node_of(turn: Turn) -> Node | None:
    """The node that reports; where the shard doesn't know it yet, the report waits."""
    node = turn.shard.nodes.get(turn.data["node_id"])
    if node is None:
        turn.emit({"type": "input_parked", "on": f"node:{turn.data['node_id']}"})
    return node


def move(
    turn: Turn,
    node: Node,
    sku: str,
    delta: list[int],
    reason: str,
    *,
    shortfall: int = 0,
    document: str | None = None,
    lots: list[list[int]] | None = None,
) -> None:
    """Journal a physical movement [on_hand, quality_control, damaged, held].

    One that moves nothing is left out. It happened when its cause did. Units leave by the lots that
    are given, the rest of them first expired first out.
    """
    if not any(delta) and not shortfall and document is None:
        return
    event: Any = {
        "type": "stock_moved",
        "node_id": node.node_id,
        "sku": sku,
        "delta": delta,
        "reason": reason,
        "time_ms": min(turn.cause["time_ms"], turn.now_ms),  # a source's clock may be ahead
    }
    if document is not None:
        event["document"] = document
    if shortfall:
        event["shortfall"] = shortfall
    of_lots = _of_lots(turn.shard.stock(node, sku), delta[0], reason, lots or [])
    if of_lots:
        event["lots"] = of_lots
    turn.emit(event)


def _of_lots(stock: Bin, units: int, reason: str, named: list[list[int]]) -> list[list[int]]:
    """What a movement of on hand does to the lots: [day they expire, units more or fewer]."""
    if units > 0:
        return named
    if not stock.lots:
        return []
    there = dict(stock.lots)
    changes: dict[int, int] = {}
    for day, left in named:  # the report says which units left
        off = min(left, there.get(day, 0), -units + sum(changes.values()))
        changes[day] = changes.get(day, 0) - off
        there[day] = there.get(day, 0) - off
    rest = -units + sum(changes.values())
    if reason == SETTLING:  # the units left the lots when the loss was told
        rest = stock.dated + sum(changes.values()) - (stock.on_hand + units)
    for day, units_there in sorted(there.items()):
        off = min(max(rest, 0), units_there)
        changes[day] = changes.get(day, 0) - off
        rest -= off
    return [[day, off] for day, off in sorted(changes.items()) if off]


def _delta(state: str, units: int) -> list[int]:
    return [units, *(units if held == state else 0 for held in HELD_STATES)]


def _document(turn: Turn, node: Node) -> str | None:
    """The business key of a movement with a document, or None."""
    data = turn.data
    if "document" not in data:
        return None
    line = data.get("document_line") or data["sku"]
    return f"{node.node_id}/{turn.cause['type']}/{data['document']}/{line}"


def _new_movement(turn: Turn) -> tuple[Node, str | None] | None:
    """The node, and the movement's business key; None where the report waits or is a repeat."""
    node = node_of(turn)
    if node is None:
        return None
    document = _document(turn, node)
    if document in turn.shard.documents:
        turn.repeat("document")
        return None
    return node, document


def received(turn: Turn) -> None:
    """`stock_received`: units can be promised at once, unless they arrive in a held state."""
    new = _new_movement(turn)
    if new is None:
        return
    node, document = new
    data = turn.data
    delta = _delta(data.get("state", "available"), data["quantity"])
    lots = [[day_number(data["expires_on"]), data["quantity"]]] if "expires_on" in data else None
    move(turn, node, data["sku"], delta, "received", document=document, lots=lots)
    _draw_down(turn, node)
    lift(turn, node, data["sku"])


def announced(turn: Turn) -> None:
    """`inbound_announced`: units are on their way; the newest word on a document line holds."""
    node = node_of(turn)
    if node is None:
        return
    data = turn.data
    market = turn.shard.markets[node.market_id]
    line = (node.node_id, data["document"], data.get("document_line"))
    expected_ms = moment_of(data["expected_at"], market.time_zone)
    units = data["quantity"]
    known = market.inbound.get(data["sku"], {}).get(line)
    if known == (units, expected_ms) or not (known or units):
        turn.repeat("state")
    else:
        _inbound(turn, data["sku"], line, units, expected_ms)


def _draw_down(turn: Turn, node: Node) -> None:
    """A receipt that names a document is what was announced under it.

    One that names no line takes from the document's lines as they were announced.
    """
    data = turn.data
    sku, units, received_line = data["sku"], data["quantity"], data.get("document_line")
    inbound = turn.shard.markets[node.market_id].inbound.get(sku)
    if "document" not in data or not inbound:
        return
    for line, (there, expected_ms) in list(inbound.items()):
        node_id, document, announced_line = line
        fits = received_line is None or announced_line in (None, received_line)
        if (node_id, document) == (node.node_id, data["document"]) and fits and units:
            off = min(units, there)
            units -= off
            _inbound(turn, sku, line, there - off, expected_ms)


def _inbound(
    turn: Turn, sku: str, line: tuple[str, str, str | None], units: int, expected_ms: int
) -> None:
    node_id, document, document_line = line
    turn.emit(
        {
            "type": "inbound_changed",
            "node_id": node_id,
            "sku": sku,
            "document": document,
            "document_line": document_line,
            "units": units,
            "expected_ms": expected_ms,
        }
    )


def adjusted(turn: Turn) -> None:
    """`stock_adjusted`: units appeared or vanished; the floor is 0, the shortfall is recorded."""
    new = _new_movement(turn)
    if new is None:
        return
    node, document = new
    data = turn.data
    sku, state = data["sku"], data.get("state", "available")
    stock = turn.shard.stock(node, sku)
    there = stock.on_hand - stock.set_aside if state == "available" else getattr(stock, state)
    units = max(data["delta"], -there)
    shortfall = units - data["delta"]
    move(
        turn,
        node,
        sku,
        _delta(state, units),
        data["reason"],
        shortfall=shortfall,
        document=document,
    )
    if data["delta"] > 0:
        lift(turn, node, sku)
    settle(turn, node, sku, f"adjusted by {data['delta']}", shortfall)


def counted(turn: Turn) -> None:
    """`stock_counted`: the shelf is right.

    What happened after the count but arrived before it is applied again.
    """
    node = node_of(turn)
    if node is None:
        return
    data = turn.data
    sku, state = data["sku"], data.get("state", "all")
    stock = turn.shard.stock(node, sku)
    at_ms = counted_ms(data, turn.cause["time_ms"], turn.now_ms)
    if stock.counted_after(state, at_ms):
        turn.repeat("state")  # a newer count stands
        return
    if stock.forgotten_ms > at_ms:
        detail = (
            f"a count of {sku} at {node.node_id} is of a moment before movements that are no longer"
            " remembered: count again"
        )
        turn.mismatch(node.market_id, detail, None, node_id=node.node_id, sku=sku)
        return
    delta = count_delta(stock, state, data["counted"], at_ms)
    event: Any = {
        "type": "stock_moved",
        "node_id": node.node_id,
        "sku": sku,
        "delta": delta,
        "reason": "counted",
        "time_ms": at_ms,
        "counted": state,
    }
    of_lots = _of_lots(stock, delta[0], "counted", [])
    if of_lots:
        event["lots"] = of_lots
    turn.emit(event)
    lift(turn, node, sku)
    if not settle(turn, node, sku, f"counted {data['counted']}", 0):
        _resolve(turn, node, sku)


def count_delta(stock: Bin, state: str, counted: int, counted_ms: int) -> list[int]:
    """What a count says that the books don't: what moved after it is applied again."""
    later = stock.moved_after(counted_ms)
    if state == "all":
        units = max(0, counted + later[0])
        return [units - stock.on_hand, *shrink(stock, units)]
    if state == "available":
        units = max(0, counted + later[0] - sum(later[1:]))
        return [units - (stock.on_hand - stock.set_aside), 0, 0, 0]
    units = max(0, counted + later[STATES.index(state)])
    return _delta(state, units - getattr(stock, state))


def counted_ms(data: Plain, time_ms: int, now_ms: int) -> int:
    """When a count was taken; what comes after the count must not pass for before it."""
    told = data.get("counted_at")
    return min(time_ms if told is None else instant_ms(told), now_ms)


def shrink(stock: Bin, on_hand: int) -> list[int]:
    """What the held states lose where fewer units are there: held first, damaged last."""
    excess = max(0, stock.set_aside - on_hand)
    lost = {}
    for state in ("held", "quality_control", "damaged"):
        lost[state] = min(excess, getattr(stock, state))
        excess -= lost[state]
    return [-lost[state] for state in HELD_STATES]


def lift(turn: Turn, node: Node, sku: str) -> None:
    """Word of the item at the node ends its suppression."""
    if node.suppresses(sku, turn.now_ms):
        turn.emit({"type": "suppression_lifted", "node_id": node.node_id, "sku": sku})


def settle(turn: Turn, node: Node, sku: str, what: str, shortfall: int) -> bool:
    """Restore the law where a report left less than is promised.

    Takes back the newest promises, and plans them again. Returns whether anything was wrong; then
    an exception is open.
    """
    stock = turn.shard.stock(node, sku)
    deficit = -stock.available
    if deficit <= 0 and not shortfall:
        return False
    affected: dict[Order, None] = {}
    taken = 0
    for line, order in reversed(list(stock.promises.items())):
        if taken >= deficit or turn.full:
            break
        units = min(line.reserved, deficit - taken)
        taken += units
        affected[order] = None
        _take_back(turn, order, line, units)
    detail = f"{what} at {node.node_id}, item {sku}:"
    if taken:
        detail += f" {taken} promised unit(s) of {len(affected)} order(s) were taken back"
    if shortfall:
        detail += (
            f"{' and' if taken else ''} {shortfall} unit(s) more were reported gone than were there"
        )
    turn.open_exception(
        "stock_discrepancy", "high", node.market_id, detail, node_id=node.node_id, sku=sku
    )
    if taken < deficit:  # too many for one entry: the rest of the loss waits for its own
        rest = deficit - taken
        move(turn, node, sku, [rest, 0, 0, 0], SETTLING)
        turn.emit({"type": "work_queued", "work": ["settle", node.node_id, sku, rest, what]})
    for order in sorted(affected, key=lambda order: (-order.priority, order.number)):
        replan(turn, order)
    return True


def settle_rest(turn: Turn, node: Node, sku: str, units: int, what: str) -> None:
    """Go on with a loss that took back more promises than one entry could hold."""
    there = turn.shard.stock(node, sku)
    move(turn, node, sku, [-min(units, there.on_hand - there.set_aside), 0, 0, 0], SETTLING)
    settle(turn, node, sku, what, 0)


def _take_back(turn: Turn, order: Order, held: FulfillmentLine, units: int) -> None:
    fulfillment = next(one for one in order.fulfillments if held in one.lines)
    lines = [held.units(units)]
    turn.weight += TAKEN_BACK_BYTES + LINE_BYTES * len(order.lines)
    if fulfillment.request_status == UNSUBMITTED:
        withdraw(turn, order, fulfillment, lines, "taken_back")
        return
    before = awaiting(fulfillment)
    turn.emit(
        {
            "type": "units_released",
            **about(order),
            "fulfillment_id": fulfillment.fulfillment_id,
            "node_id": fulfillment.node_id,
            "why": "taken_back",
            "lines": lines,
            "closed": [],
        }
    )
    asked_already = cancel_beyond(turn, order, fulfillment, before, still_asked=True)
    if units > asked_already:  # no unit is to be stopped by two requests: a node has it once
        lines = [held.units(units - asked_already)]
        ask_node(turn, order, fulfillment, lines, "stock_discrepancy", taken_back=True)


def _resolve(turn: Turn, node: Node, sku: str) -> None:
    about_bin: Any = {
        "kind": "stock_discrepancy",
        "market_id": node.market_id,
        "node_id": node.node_id,
        "sku": sku,
    }
    exception_id = turn.shard.exceptions.get(exception_key(about_bin))
    if exception_id is not None:
        turn.emit(
            {
                "type": "exception_resolved",
                "exception_id": exception_id,
                "detail": "a later count fits what is promised",
                **about_bin,
            }
        )
