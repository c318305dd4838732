"""Decide: from an input and the state to events.

The one entry into the core, with `fold` for recovery.
"""

from collections.abc import Callable
from typing import Any

from events.decided import DecidedEvent, InputRecord, Plain
from orchestrator.core import (
    backorders,
    cancelling,
    handshake,
    improving,
    lanes,
    placing,
    rules,
    stock,
    tracking,
)
from orchestrator.core.evolve import balances, begin, check_origin, evolve
from orchestrator.core.orders import Order
from orchestrator.core.shard import Contradiction, Market, Shard
from orchestrator.core.turn import Turn, about
from schemas.inbox import RENEWAL_ORDERED, SKIP_ORDERED
from schemas.journal import Entry
from schemas.times import rfc3339


def decide(shard: Shard, record: InputRecord) -> list[DecidedEvent]:
    """Decide one input: the events to journal with it, which the shard has taken in already."""
    return decided(shard, record).events


def decided(shard: Shard, record: InputRecord) -> Turn:
    """The same, with its plans' explanations for who looks at them at once."""
    if record["version"] != 1 or record["type"] not in DECIDE:
        message = (
            f"{record['type']} in version {record['version']} is unknown to this release: a newer"
            " one took it in, upgrade Headrace"
        )
        raise ValueError(message)
    check_origin(shard, record)
    turn = Turn(shard, record)
    repeat = begin(shard, record)
    if repeat is not None:
        turn.emit(repeat)
        return turn
    DECIDE[record["type"]](turn)
    _finish(turn)
    return turn


def skip(shard: Shard, record: InputRecord, reason: str, by: str) -> list[DecidedEvent]:
    """Pass over an input that can't be decided, by a person's order; as `decide` else.

    Of a tick, the timer or piece of work that it came to is done with. Of a repeat, who
    had it passed over is told as well: its order may stand far behind it.
    """
    turn = Turn(shard, record)
    repeat = begin(shard, record)
    if repeat is not None:
        turn.emit(repeat)
    if record["type"] == "clock_ticked":
        _reached(turn)
    turn.emit({"type": "input_skipped", "reason": reason, "by": by})
    return turn.events


def fold(shard: Shard, entry: Entry) -> None:
    """Take in an entry as it was decided; Contradiction when it doesn't fit."""
    cause = entry["input"]
    begin(shard, cause)
    for event in entry["events"]:
        if event["type"] == "input_resumed":
            cause = event["input"]
        evolve(shard, cause, event)


def tick(now_ms: int) -> InputRecord:
    """The input by which a shard's own writer tells it the time."""
    return {
        "type": "clock_ticked",
        "version": 1,
        "id": "",
        "source": "",
        "time_ms": now_ms,
        "data": {},
    }


def next_due_ms(shard: Shard) -> int | None:
    """When the next timer is due."""
    return shard.timers[0][0] if shard.timers else None


def work_due(shard: Shard, now_ms: int) -> bool:
    """Whether a tick at this time has work to do.

    Each does one piece, so that no entry grows without bound.
    """
    return bool(shard.work) or (bool(shard.timers) and shard.timers[0][0] <= now_ms)


def _clock_ticked(turn: Turn) -> None:
    """One piece of queued work, else the earliest timer that is due."""
    reached = _reached(turn)
    if reached is not None:
        do, arguments = reached
        do(turn, *arguments)


def _reached(turn: Turn) -> tuple[Callable[..., None], tuple[Any, ...]] | None:
    """Take the piece of queued work, or the timer, that a tick comes to off its queue."""
    shard = turn.shard
    if shard.work:
        work = list(shard.work[0])
        turn.emit({"type": "work_done", "work": work})
        return _work, (work,)
    if shard.timers and shard.timers[0][0] <= shard.now_ms:
        due_ms, number, kind, key = shard.timers[0]
        turn.emit({"type": "timer_fired", "timer": [due_ms, number, kind, *key]})
        return _timer, (kind, key)
    return None


def _timer(turn: Turn, kind: str, key: tuple[Any, ...]) -> None:
    TIMERS[kind](turn, *key)


def _work(turn: Turn, work: list[Any]) -> None:
    match work:
        case ["plan", market_id, key]:
            order = turn.shard.markets[market_id].orders.get(key)
            if order is None or order.refused:
                return
            if order.unknown is None:
                placing.plan(turn, order, order.lines)
            elif any(line.open for line in order.lines):
                placing.accept(turn, turn.shard.markets[market_id], about(order), key)
        case ["fill", market_id, sku, after]:
            market = turn.shard.markets[market_id]
            backorders.fill(turn, market, sku, after)
        case ["refill", _] | ["offered", _]:
            pass  # queues a fill of each item that waits, or that the node has
        case ["improve", market_id]:
            market = turn.shard.markets[market_id]
            improving.call_for(turn, market, market.held)
        case ["settle", node_id, sku, units, what]:
            stock.settle_rest(turn, turn.shard.nodes[node_id], sku, units, what)
        case ["promises", market_id, promised_ms]:
            _promises_due(turn, market_id, promised_ms)
        case ["resume", on]:
            waiting = turn.shard.parked.get(on)
            if not waiting:  # it gave way to others, or a second shipment called for it as well
                return
            record, _ = waiting[0]
            turn.emit({"type": "input_resumed", "on": on, "input": record})
            turn.cause = record
            DECIDE[record["type"]](turn)
        case _:
            message = f"unknown work: {work}"
            raise Contradiction(message)


def _order_waited(turn: Turn, market_id: str, key: str) -> None:
    order = turn.shard.markets[market_id].orders.get(key)
    if order is not None and order.unknown is not None and any(line.open for line in order.lines):
        placing.refuse_unknown(turn, order)


def _suppression_over(turn: Turn, node_id: str, sku: str | None) -> None:
    node = turn.shard.nodes[node_id]
    until_ms = node.closed_until_ms if sku is None else node.suppressed.get(sku, 0)
    if 0 < until_ms <= turn.now_ms:
        event: Any = {"type": "suppression_lifted", "node_id": node_id}
        if sku is not None:
            event["sku"] = sku
        turn.emit(event)


def _tracking_waited(turn: Turn, on: str) -> None:
    waiting = turn.shard.parked.get(on)
    if waiting and 0 < waiting[0][1] <= turn.now_ms:
        turn.emit({"type": "input_expired", "on": on})


def _retire(turn: Turn, market_id: str, key: str) -> None:
    order = turn.shard.markets[market_id].orders[key]
    turn.emit({"type": "order_retired", **about(order)})


def _release(turn: Turn, market_id: str, key: str, fulfillment_id: str) -> None:
    """A fulfillment's request is held back no longer."""
    market = turn.shard.markets[market_id]
    order = market.orders.get(key)
    if order is None:
        return
    for fulfillment in list(order.held()):
        if fulfillment.fulfillment_id == fulfillment_id:
            improving.look_again(turn, market, order, fulfillment)
            if fulfillment.outstanding:  # no other plan has taken its place
                placing.release(turn, order, fulfillment)


def _patience_over(turn: Turn, market_id: str, key: str) -> None:
    order = turn.shard.markets[market_id].orders.get(key)
    if order is not None and 0 < order.patience_ms <= turn.now_ms:
        placing.out_of_patience(turn, order)


def _promises_due(turn: Turn, market_id: str, promised_ms: str) -> None:
    """What was promised by then and isn't all there by now is late, whatever comes."""
    market = turn.shard.markets[market_id]
    awaiting = list(market.promises.get(int(promised_ms), ()))
    for order in awaiting[: turn.shard.config.improve_orders]:
        promise: Any = {
            "type": "promise_broken",
            **about(order),
            "promised_by": rfc3339(int(promised_ms)),
        }
        turn.emit(promise)
    if len(awaiting) > turn.shard.config.improve_orders:
        turn.emit({"type": "work_queued", "work": ["promises", market_id, promised_ms]})


def _promise_settled(turn: Turn, order: Order) -> None:
    """All of the order that will ever arrive is there: in time, or not."""
    if order.promised_ms is None or order.promise_counted or not order.delivered_ms:
        return
    kept = order.delivered_ms <= order.promised_ms
    promise: Any = {
        "type": "promise_kept" if kept else "promise_broken",
        **about(order),
        "promised_by": rfc3339(order.promised_ms),
        "delivered_at": rfc3339(order.delivered_ms),
    }
    turn.emit(promise)


def _holds(shard: Shard, type_: str, data: Plain) -> bool:
    """Whether master data is what holds already."""
    match type_:
        case "market_defined":
            known = shard.markets.get(data["market_id"])
            return known is not None and known.defined == data
        case "node_defined":
            node = shard.nodes.get(data["node_id"])
            return node is not None and node.defined == data
        case "item_defined":
            return shard.items.get(data["sku"]) == data
        case "carrier_service_defined":
            market = shard.markets.get(data["market_id"])
            service = (
                market.services.get(f"{data['carrier']}/{data['service']}") if market else None
            )
            return service is not None and service.data == data
        case _:
            return shard.places.knows(data["country"], data["version"])


def _skip_ordered(turn: Turn) -> None:
    """What it was given for lies behind: it was taken ahead of its turn, or isn't needed."""
    turn.repeat("state")


def _renewal_ordered(turn: Turn) -> None:
    data = turn.data
    event: Any = {"type": "topic_renewed", **{one: data[one] for one in ("topic", "reason", "by")}}
    turn.emit(event)


def _keep(turn: Turn) -> None:
    """Master data holds from now on; of a market not known yet it waits.

    Sent again as it stands it is a repeat: what planning rests on doesn't change.
    """
    if _holds(turn.shard, turn.cause["type"], turn.data):
        turn.repeat("state")
        return
    market_id = turn.data.get("market_id")
    unknown = market_id is not None and market_id not in turn.shard.markets
    if unknown and turn.cause["type"] != "market_defined":
        turn.emit({"type": "input_parked", "on": f"market:{market_id}"})
    elif turn.cause["type"] == "node_defined":
        _keep_node(turn)
    else:
        turn.emit({"type": "master_data_kept"})


def _keep_node(turn: Turn) -> None:
    """The same of a node; where it ships by now, or no longer, its items are looked at.

    That its days may take something is an event of its own: older journals don't look.
    """
    node = turn.shard.nodes.get(turn.data["node_id"])
    offered, opened = (node.offers, node.opened) if node is not None else (False, False)
    turn.emit({"type": "master_data_kept"})
    if node is not None and node.offers != offered and node.opened == opened:
        turn.emit({"type": "work_queued", "work": ["offered", node.node_id]})


def _finish(turn: Turn) -> None:
    """What follows from every entry.

    Units that came free are given out, availability is told, the books are closed.
    """
    shard = turn.shard
    for market_id, sku in list(shard.freed_skus):
        market = shard.markets[market_id]
        if sku in market.waiting:
            backorders.fill(turn, market, sku)
    for market_id, opened in shard.touched_networks.items():
        if opened:
            backorders.queue_refill(turn, shard.markets[market_id])
    if shard.freed_skus or shard.freed_nodes or shard.touched_networks:
        improving.schedule(turn)
    for market_id, sku in shard.touched_skus:
        _availability(turn, shard.markets[market_id], sku)
    for order in list(shard.touched_orders):
        if order.closed and not order.closing:
            _promise_settled(turn, order)
            retire_ms = turn.now_ms + shard.config.retire_after_ms
            turn.emit({"type": "order_closed", **about(order), "retire_ms": retire_ms})
    if shard.touched_orders or shard.touched_stock:
        turn.events.append(balances(shard))  # it changes nothing, and a fold checks it


def _availability(turn: Turn, market: Market, sku: str) -> None:
    """Tell a market's availability where it crossed a threshold since it was last told."""
    available = market.available.get(sku, 0)
    thresholds = turn.shard.config.availability_thresholds
    told = market.published.get(sku, 0)
    if any((told <= limit) != (available <= limit) for limit in thresholds):
        turn.emit(
            {
                "type": "availability_changed",
                "market_id": market.market_id,
                "sku": sku,
                "available": available,
                "as_of": rfc3339(turn.now_ms),
            }
        )


DECIDE: dict[str, Callable[[Turn], None]] = {
    "clock_ticked": _clock_ticked,
    SKIP_ORDERED: _skip_ordered,
    RENEWAL_ORDERED: _renewal_ordered,
    "market_defined": _keep,
    "node_defined": _keep,
    "item_defined": _keep,
    "carrier_service_defined": _keep,
    "places_defined": _keep,
    "lane_suspended": lanes.suspend,
    "lane_restored": lanes.restore,
    "rule_set_proposed": rules.propose,
    "rule_set_approved": rules.approve,
    "rule_set_activated": rules.activate,
    "order_placed": placing.place,
    "order_cancel_requested": cancelling.request,
    "stock_received": stock.received,
    "stock_adjusted": stock.adjusted,
    "stock_counted": stock.counted,
    "inbound_announced": stock.announced,
    "fulfillment_accepted": handshake.answered(handshake.accept),
    "fulfillment_rejected": handshake.answered(handshake.reject),
    "fulfillment_shipped": handshake.answered(handshake.ship),
    "fulfillment_cancellation_accepted": handshake.answered(cancelling.accepted),
    "fulfillment_cancellation_rejected": handshake.answered(cancelling.rejected),
    "tracking_updated": tracking.update,
}

TIMERS: dict[str, Callable[..., None]] = {
    "order": _order_waited,
    "release": _release,
    "unsourced": _patience_over,
    "promises": _promises_due,
    "improve": improving.improve,
    "suppression": _suppression_over,
    "tracking": _tracking_waited,
    "retire": _retire,
    "lane": lanes.over,
    "rules": rules.due,
    "pools": rules.pools_end,
}
