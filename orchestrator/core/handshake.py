"""The handshake with a node's WMS: accepted, rejected, shipped, and its answers to cancellations.

Physical facts are never refused: what left moves stock, even where it contradicts the state; then a
person is told.
"""

from collections import Counter
from collections.abc import Callable, Sequence
from typing import Any

from events.decided import Plain
from orchestrator.core import cancelling
from orchestrator.core.evolve import package_key
from orchestrator.core.ledger import SHIPPED
from orchestrator.core.orders import UNSUBMITTED, Fulfillment, FulfillmentLine, Order
from orchestrator.core.placing import release, replan
from orchestrator.core.shard import Market, Node
from orchestrator.core.sourcing.calendars import day_number
from orchestrator.core.stock import move, node_of, settle, shrink
from orchestrator.core.turn import Turn, about

REJECTED_BYTES = 700
"""About what a rejected line adds to an entry."""


def answered(decide: Callable[[Turn, Order, Fulfillment], None]) -> Callable[[Turn], None]:
    """A decision on a report about a fulfillment: finds it; what concerns none is a mismatch."""

    def decide_report(turn: Turn) -> None:
        node = node_of(turn)
        if node is None:
            return
        found = parse(turn.shard.markets[node.market_id], turn.data["fulfillment_id"])
        if found is None or found[1].node_id != node.node_id or _not_asked(turn, found[1]):
            _unknown(turn, node, found)
        else:
            decide(turn, *found)

    return decide_report


def _not_asked(turn: Turn, fulfillment: Fulfillment) -> bool:
    """Whether its node doesn't know of it. What left did, whoever asked for it."""
    unsubmitted = fulfillment.request_status == UNSUBMITTED
    return unsubmitted and turn.cause["type"] != "fulfillment_shipped"


def parse(market: Market, fulfillment_id: str) -> tuple[Order, Fulfillment] | None:
    """The fulfillment with this id, `<channel>.<order_id>.<n>`."""
    channel, _, rest = fulfillment_id.partition(".")
    order_id, _, _ = rest.rpartition(".")
    order = market.orders.get(f"{channel}/{order_id}")
    for fulfillment in order.fulfillments if order else ():
        if order and fulfillment.fulfillment_id == fulfillment_id:
            return order, fulfillment
    return None


def _unknown(turn: Turn, node: Node, found: tuple[Order, Fulfillment] | None) -> None:
    """A report on work that this node doesn't have: what left is off the shelf all the same.

    `found` is the work where another node has it; a package leaves once, for ever.
    """
    data = turn.data
    order, fulfillment = found or (None, None)
    if turn.cause["type"] == "fulfillment_shipped":
        keys = {
            package["package_id"]: package_key(
                node.market_id, data["fulfillment_id"], package["package_id"]
            )
            for package in data["packages"]
        }
        seen = turn.shard.documents
        new = [package for package in data["packages"] if keys[package["package_id"]] not in seen]
        if not new:
            turn.repeat("package")
            return
        partly_known = len(new) < len(data["packages"])
        reported = _reported({**data, "packages": new}, by_package=partly_known)
        for line in reported or ():
            held = fulfillment.line(line["line_id"]) if fulfillment else None
            sku = line.get("sku") or (held.sku if held else None)
            if sku is not None:
                _leave(turn, node, {**line, "sku": sku})
        known = [keys[package["package_id"]] for package in new]
        turn.emit({"type": "packages_known", "documents": known})
    detail = (
        f"{turn.cause['type']} for {data['fulfillment_id']},"
        f" which {node.node_id} was never asked for"
    )
    turn.mismatch(node.market_id, detail, order, node_id=node.node_id)


def accept(turn: Turn, order: Order, fulfillment: Fulfillment) -> None:
    """`fulfillment_accepted`: the node will do it."""
    if fulfillment.status in ("incomplete", "cancelled"):
        detail = (
            f"{fulfillment.node_id} accepted {fulfillment.fulfillment_id},"
            f" which is {fulfillment.status}"
        )
        turn.mismatch(order.market_id, detail, order, node_id=fulfillment.node_id)
    elif fulfillment.status == "open":
        submitted = fulfillment.request_status == "submitted"
        turn.emit(
            {
                "type": "fulfillment_changed",
                **about(order),
                "fulfillment_id": fulfillment.fulfillment_id,
                "status": "in_progress",
                "request_status": "accepted" if submitted else fulfillment.request_status,
            }
        )
    else:
        turn.repeat("state")


def reject(turn: Turn, order: Order, fulfillment: Fulfillment) -> None:
    """`fulfillment_rejected`: the stock moves by the reason, the rest is sourced elsewhere."""
    data = turn.data
    lines = data.get("lines")
    if not fulfillment.outstanding and not lines and fulfillment.request_status == "rejected":
        turn.repeat("state")
        return
    reported = lines or [
        {"line_id": line.line_id, "quantity": line.outstanding}
        for line in fulfillment.lines
        if line.outstanding
    ]
    if not reported:
        detail = (
            f"{fulfillment.node_id} rejected {fulfillment.fulfillment_id},"
            f" which is {fulfillment.status}: nothing of it was left to do"
        )
        turn.mismatch(order.market_id, detail, order, node_id=fulfillment.node_id)
        return
    units = Counter[str]()
    for line in reported:
        units[line["line_id"]] += line["quantity"]
    if fulfillment.ended_before(units, "rejected"):  # told under a new id
        turn.repeat("state")
        return
    effect = data.get("stock_effect", "apply")
    _reject_lines(turn, order, fulfillment, [(line, data["reason"], effect) for line in reported])


def _reject_lines(
    turn: Turn,
    order: Order,
    fulfillment: Fulfillment,
    reported: list[tuple[Plain, str, str]],
) -> None:
    """Units the node won't ship, each with its reason and stock effect."""
    node = turn.shard.nodes[fulfillment.node_id]
    skus: dict[str, None] = {}
    for line, reason, effect in reported:
        held = fulfillment.line(line["line_id"])
        units = min(line["quantity"], held.outstanding) if held else 0
        if units < line["quantity"]:
            detail = (
                f"{node.node_id} rejected {line['quantity']} of line {line['line_id']} of"
                f" {fulfillment.fulfillment_id}, which has {units} left to ship"
            )
            turn.mismatch(order.market_id, detail, order, node_id=node.node_id)
        if held is None or not units:
            continue
        freed = min(units, held.reserved)
        before = cancelling.awaiting(fulfillment)
        turn.emit(
            {
                "type": "units_released",
                **about(order),
                "fulfillment_id": fulfillment.fulfillment_id,
                "node_id": node.node_id,
                "why": "rejected",
                "lines": [held.units(freed)] if freed else [],
                "closed": [held.units(units)],
            }
        )
        cancelling.cancel_beyond(turn, order, fulfillment, before)
        if effect == "apply":
            _correct(turn, node, held, units, reason)
        _suppress(turn, node, held.sku, reason)
        skus[held.sku] = None
        turn.weight += REJECTED_BYTES
    if not skus:
        return
    nothing_shipped = not fulfillment.outstanding and not any(
        line.shipped for line in fulfillment.lines
    )
    status = "rejected" if nothing_shipped else fulfillment.request_status
    if status == "cancellation_requested":
        status = cancelling.answered_with(fulfillment, "accepted")
    turn.fulfillment_is(order, fulfillment, status)
    for sku in skus:
        settle(turn, node, sku, f"rejection of {fulfillment.fulfillment_id}", 0)
    replan(turn, order)


def _correct(turn: Turn, node: Node, held: FulfillmentLine, units: int, reason: str) -> None:
    """What a rejection says of the stock."""
    stock = turn.shard.stock(node, held.sku)
    match reason:
        case "not_in_stock":
            move(turn, node, held.sku, [-max(0, stock.available), 0, 0, 0], reason)
        case "mismatch":
            lost = min(units, stock.on_hand - stock.set_aside)
            move(turn, node, held.sku, [-lost, 0, 0, 0], reason)
        case "damaged":
            damaged = min(units, max(0, stock.available))
            move(turn, node, held.sku, [0, 0, damaged, 0], reason)
        case _:
            """capacity, closed, other: the units are available again"""


def _suppress(turn: Turn, node: Node, sku: str, reason: str) -> None:
    until_ms = turn.now_ms + turn.shard.config.suppression_ms
    if reason != "closed":
        turn.emit(
            {"type": "item_suppressed", "node_id": node.node_id, "sku": sku, "until_ms": until_ms}
        )
    elif node.closed_until_ms != until_ms or sku in node.lifted:
        turn.emit({"type": "item_suppressed", "node_id": node.node_id, "until_ms": until_ms})


def ship(turn: Turn, order: Order, fulfillment: Fulfillment) -> None:
    """`fulfillment_shipped`: packages left. A package id known already is a repeat."""
    data = turn.data
    packages = [
        package
        for package in data["packages"]
        if fulfillment.package(package["package_id"]) is None
    ]
    if not packages:
        turn.repeat("package")
        return
    if fulfillment in list(order.held()):  # it left before the node was asked: it is, for the rest
        release(turn, order, fulfillment)
    node = turn.shard.nodes[fulfillment.node_id]
    partly_known = len(packages) < len(data["packages"])
    reported = _reported({**data, "packages": packages}, by_package=partly_known)
    if reported is None:
        reported = _all_but_short(fulfillment, data.get("short") or ())
    done = not fulfillment.outstanding
    moved, beyond = _moved(fulfillment, order, reported)
    for line in reported:
        held = fulfillment.line(line["line_id"])
        sku = line.get("sku") or (held.sku if held else None)
        line["sku"] = sku or ""
    before = cancelling.awaiting(fulfillment)
    turn.tell(
        {
            "type": "shipment_sent",
            **about(order),
            "fulfillment_id": fulfillment.fulfillment_id,
            "node_id": node.node_id,
            "shipped_at": data["shipped_at"],
            "lines": [line for line in reported if line["sku"]],
            "packages": packages,
            "moved": moved,
        }
    )
    shortfalls: dict[str, int] = {}
    for line in reported:
        if line["sku"]:
            short = _leave(turn, node, line, settle_now=False)
            shortfalls[line["sku"]] = shortfalls.get(line["sku"], 0) + short
    if beyond:
        detail = (
            f"{node.node_id} shipped more than was asked of {fulfillment.fulfillment_id}: {beyond}"
        )
        turn.mismatch(order.market_id, detail, order, node_id=node.node_id)
    overtaken = cancelling.overtaken(turn, order, fulfillment, before)
    status = overtaken or fulfillment.request_status
    if not done:
        turn.fulfillment_is(order, fulfillment, "accepted" if status == "submitted" else status)
    for sku, short in shortfalls.items():
        settle(turn, node, sku, f"shipped for {fulfillment.fulfillment_id}", short)
    if data.get("short"):
        _reject_lines(
            turn,
            order,
            fulfillment,
            [(line, line["reason"], line.get("stock_effect", "apply")) for line in data["short"]],
        )


def _all_but_short(fulfillment: Fulfillment, short: Sequence[Plain]) -> list[Plain]:
    """What a shipment holds that names no lines: all still to ship but what it says is short."""
    lines: list[Plain] = []
    for line in fulfillment.lines:
        missing = sum(one["quantity"] for one in short if one["line_id"] == line.line_id)
        if line.reserved > missing:
            lines.append({**line.units(line.reserved - missing)})
    return lines


def _reported(data: Plain, *, by_package: bool = False) -> list[Plain] | None:
    """The lines a shipment names: its own, else its packages' sum; None where it names none."""
    if "lines" in data and not by_package:
        return [dict(line) for line in data["lines"]]
    lines: dict[tuple[str | None, ...], Plain] = {}
    for package in data["packages"]:
        for line in package.get("lines", ()):
            key = (line["line_id"], line.get("sku"), line.get("expires_on"))
            if key in lines:
                lines[key]["quantity"] += line["quantity"]
            else:
                lines[key] = dict(line)
    return list(lines.values()) or None


def _moved(
    fulfillment: Fulfillment, order: Order, reported: list[Plain]
) -> tuple[list[list[Any]], str]:
    """What a shipment does to the books, and in words what goes beyond what was asked.

    Units beyond the reservation count where the line still waits for some: they reach the customer.
    Those that were taken back, and left before the node heard of it, were asked.
    """
    moved: list[list[Any]] = []
    beyond: list[str] = []
    reserved = {line.line_id: line.reserved for line in fulfillment.lines}
    outstanding = {line.line_id: line.outstanding for line in fulfillment.lines}
    waiting = {line.line_id: line.backordered + line.open for line in order.lines}
    for report in reported:
        line_id, units = report["line_id"], report["quantity"]
        held = fulfillment.line(line_id)
        if held is None:
            beyond.append(f"{units} of line {line_id}, which it was not asked for")
            continue
        off = min(units, reserved[line_id])
        extra = min(units - off, waiting[line_id])
        reserved[line_id] -= off
        waiting[line_id] -= extra
        over = units - min(off + extra, outstanding[line_id])
        outstanding[line_id] -= units - over
        if over:
            beyond.append(f"{over} of line {line_id}")
        moved.append([line_id, held.sku, off, off + extra, units])
    return moved, ", ".join(beyond)


def _leave(
    turn: Turn,
    node: Node,
    line: Plain,
    *,
    settle_now: bool = True,
) -> int:
    """Units of a reported line are off the shelf; returns how many more left than were there."""
    sku: str = line["sku"]
    units: int = line["quantity"]
    stock = turn.shard.stock(node, sku)
    left = min(units, stock.on_hand)
    delta = [-left, *shrink(stock, stock.on_hand - left)]
    lots = [[day_number(line["expires_on"]), left]] if "expires_on" in line else None
    move(turn, node, sku, delta, SHIPPED, shortfall=units - left, lots=lots)
    if settle_now:
        settle(turn, node, sku, f"shipped for {turn.data['fulfillment_id']}", units - left)
    return units - left
