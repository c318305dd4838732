"""Evolve: what each event does to a shard, one function an event; nothing here decides."""

from bisect import bisect_left, insort
from collections import deque
from collections.abc import Callable, Mapping
from heapq import heappop
from typing import Any

from events import decided
from events.decided import InputRecord
from events.rules import Body
from orchestrator.core.config import (
    DAY_MS,
    DAYS_KEPT,
    DEDUPE_IDS,
    DEDUPE_WINDOW_MS,
    ORIGINS_KEPT,
    PROMISE_GRACE_MS,
)
from orchestrator.core.ledger import SHIPPED
from orchestrator.core.orders import (
    UNSUBMITTED,
    Cancellation,
    Fulfillment,
    FulfillmentLine,
    Order,
    OrderLine,
    PoolCount,
    Shipment,
    content_digest,
    remembered,
)
from orchestrator.core.shard import Contradiction, Market, Node, Shard
from orchestrator.core.sourcing.calendars import day_number
from orchestrator.core.sourcing.rates import Service, lane_key
from orchestrator.core.sourcing.strategies import DEFAULT, RuleSet, RuleVersion
from schemas.inbox import TopicMadeAnew
from schemas.times import instant_ms


def begin(shard: Shard, record: InputRecord) -> decided.InputRepeated | None:
    """Take an input in: its origin's mark, its id, the clock. Returns how it is a repeat, if so."""
    shard.touched_orders.clear()
    shard.touched_stock.clear()
    shard.touched_skus.clear()
    shard.touched_days.clear()
    shard.touched_pools.clear()
    shard.touched_lots.clear()
    shard.touched_inbound.clear()
    shard.touched_waiting.clear()
    shard.freed_skus.clear()
    shard.freed_nodes.clear()
    shard.touched_networks.clear()
    origin = record.get("origin")
    if origin is None:  # a tick, made by the shard's own writer
        shard.now_ms = record["time_ms"]
        return None
    key = f"{record['source']}\0{record['id']}"
    if origin[0] != "inbox":  # a person's order is taken ahead of what it helps over
        source = (origin[0], origin[1])
        if origin[2] <= shard.marks.get(source, -1):
            return {"type": "input_repeated", "by": "origin"}
        shard.marks[source] = origin[2]
        newest = shard.origins.get(source)
        if newest is None:
            newest = shard.origins[source] = deque(maxlen=ORIGINS_KEPT)
        newest.append((origin[2], key))
    oldest = shard.now_ms - DEDUPE_WINDOW_MS
    while shard.id_order and shard.ids[shard.id_order[0]] < oldest:
        del shard.ids[shard.id_order.popleft()]
    if key in shard.ids:
        return {"type": "input_repeated", "by": "id"}
    if len(shard.ids) >= DEDUPE_IDS:
        del shard.ids[shard.id_order.popleft()]
        shard.ids_dropped += 1
    shard.ids[key] = shard.now_ms
    shard.ids_taken += 1
    shard.id_order.append(key)
    return None


def check_origin(shard: Shard, record: InputRecord) -> None:
    """TopicMadeAnew where a record stands at an offset at which another one stood before.

    One that is older than what is remembered of its origin must be known by its id. One between
    those that are remembered was rejected once, and is a repeat. A fold doesn't ask: what is
    journaled was decided.
    """
    origin = record.get("origin")
    if origin is None or origin[2] > shard.marks.get((origin[0], origin[1]), -1):
        return
    key = f"{record['source']}\0{record['id']}"
    newest = shard.origins.get((origin[0], origin[1]))
    for offset, known in reversed(newest or ()):
        if offset == origin[2] and known != key:
            raise TopicMadeAnew(origin[0], f"another record, {known!r}, stood there before")
        if offset <= origin[2]:
            return
    if key not in shard.ids:
        raise TopicMadeAnew(
            origin[0],
            "newer ones were taken before it, and its id is unknown (or intake's offsets were set"
            " back: set them forward again, accept nothing, and skip what came of it with `headrace"
            " shard skip`)",
        )


def evolve(shard: Shard, cause: InputRecord, event: decided.DecidedEvent) -> None:
    """Apply one event; Contradiction when the state machine doesn't allow it."""
    apply = EVOLVE.get(event["type"])
    if apply is None:
        message = (
            f"the journal holds an event of the unknown type {event['type']!r}: upgrade Headrace"
        )
        raise Contradiction(message)
    apply(shard, cause, event)


# lookups that must succeed


def order_of(shard: Shard, event: Mapping[str, Any]) -> Order:
    """The order that an event names; Contradiction where there is none."""
    try:
        return shard.markets[event["market_id"]].orders[f"{event['channel']}/{event['order_id']}"]
    except KeyError:
        message = (
            f"{event['type']} concerns an order that isn't there:"
            f" {event['channel']}/{event['order_id']}"
        )
        raise Contradiction(message) from None


def fulfillment_of(order: Order, fulfillment_id: str) -> Fulfillment:
    """The order's fulfillment with this id; Contradiction where there is none."""
    number = int(fulfillment_id.rpartition(".")[2])
    if 0 < number <= len(order.fulfillments):
        return order.fulfillments[number - 1]
    message = f"fulfillment {fulfillment_id} isn't there"
    raise Contradiction(message)


def _line_at(order: Order, line_id: str) -> tuple[int, OrderLine]:
    """A line and its place in the order."""
    for index, line in enumerate(order.lines):
        if line.line_id == line_id:
            return index, line
    message = f"order {order.key} has no line {line_id}"
    raise Contradiction(message)


def _fulfillment_line_of(fulfillment: Fulfillment, line_id: str) -> FulfillmentLine:
    line = fulfillment.line(line_id)
    if line is None:
        message = f"fulfillment {fulfillment.fulfillment_id} has no line {line_id}"
        raise Contradiction(message)
    return line


def _check(order: Order, line: OrderLine) -> None:
    counts = (
        line.open,
        line.allocated,
        line.backordered,
        line.shipped,
        line.delivered,
        line.cancelled,
    )
    if min(counts) < 0:
        message = f"line {line.line_id} of order {order.key} has a count below 0: {counts}"
        raise Contradiction(message)


# master data


def _master_data_kept(shard: Shard, cause: InputRecord, _: decided.MasterDataKept) -> None:
    data = cause["data"]
    match cause["type"]:
        case "market_defined":
            known = shard.markets.get(data["market_id"])
            if known is None:
                shard.markets[data["market_id"]] = Market(data)
                _unpark(shard, f"market:{data['market_id']}")
            else:
                _market_kept(shard, known, data)
        case "node_defined":
            _node_kept(shard, data)
        case "item_defined":
            if shard.items.get(data["sku"], data) != data:
                for market in shard.markets.values():
                    market.network_version += 1
                    shard.freed_skus[(market.market_id, data["sku"])] = None
            shard.items[data["sku"]] = data
            for order in shard.unknown_skus.pop(data["sku"], ()):
                wanted = [line.sku for line in order.lines if line.open]
                if order.unknown is not None and all(sku in shard.items for sku in wanted):
                    shard.work.append(["plan", order.market_id, order.key])
        case "carrier_service_defined":
            market = shard.markets[data["market_id"]]
            service = Service(data)
            market.services[service.key] = service
            _network_changed(shard, market)
        case "places_defined":
            if shard.places.take(data):
                _places_known(shard, data["country"])
        case other:
            message = f"{other} is not master data"
            raise Contradiction(message)


def _market_kept(shard: Shard, market: Market, data: decided.Plain) -> None:
    moved = market.time_zone != data["time_zone"]
    market.define(data)
    if moved:
        for node in market.node_list:
            node.define(node.defined, market.time_zone, shard.places)
        if market.rules is not DEFAULT:  # its days are the market's
            market.rules = RuleSet(market.rules.version, market.rules.body, market.time_zone)
        _network_changed(shard, market)


def _places_known(shard: Shard, country: str) -> None:
    """Orders to that country, and its nodes without a location of their own, lie elsewhere now."""
    for market in shard.markets.values():
        for node in market.node_list:
            if node.country == country:
                node.define(node.defined, market.time_zone, shard.places)
        _network_changed(shard, market)


def _network_changed(shard: Shard, market: Market) -> None:
    """What planning tabled no longer holds; what waits may find a source now.

    That it is looked at again is an event of its own: journals of the first release have none.
    """
    market.network_version += 1
    shard.touched_networks[market.market_id] = True


def _lane_suspended(shard: Shard, _: InputRecord, event: decided.LaneSuspended) -> None:
    market = shard.markets[event["market_id"]]
    until_ms = event.get("until_ms")
    key = lane_key(event)
    market.suspensions[key] = until_ms
    market.network_version += 1
    shard.touched_networks.setdefault(market.market_id, False)
    if until_ms is not None:
        shard.set_timer(until_ms, "lane", market.market_id, *key)


def _lane_restored(shard: Shard, _: InputRecord, event: decided.LaneRestored) -> None:
    market = shard.markets[event["market_id"]]
    key = lane_key(event)
    if key not in market.suspensions:
        message = f"lane {key} isn't suspended"
        raise Contradiction(message)
    del market.suspensions[key]
    _network_changed(shard, market)


def _node_kept(shard: Shard, data: decided.Plain) -> None:
    market = shard.markets[data["market_id"]]
    shard.freed_nodes[data["node_id"]] = None
    node = shard.nodes.get(data["node_id"])
    if node is None:
        node = Node(data, market.time_zone, shard.places)
        shard.nodes[node.node_id] = market.nodes[node.node_id] = node
        market.sort_nodes()
        _unpark(shard, f"node:{data['node_id']}")
        return
    offered, opened = node.offers, node.opened
    node.define(data, market.time_zone, shard.places)
    market.sort_nodes()
    if node.offers != offered:
        sign = 1 if node.offers else -1
        for sku in _stocked(market, node):
            there = sign * market.bins[sku][node.node_id].available
            market.available[sku] = market.available.get(sku, 0) + there
    if node.opened != opened:
        _fill_from(shard, market, node)
    elif node.offers == offered:
        _network_changed(shard, market)


def _stocked(market: Market, node: Node) -> list[str]:
    """The items that a node has, or had."""
    return [sku for sku, by_node in market.bins.items() if node.node_id in by_node]


def _fill_from(shard: Shard, market: Market, node: Node) -> None:
    """What a node has goes to who waits; its availability is told."""
    shard.work.extend(["fill", market.market_id, sku, None] for sku in _stocked(market, node))


def _unpark(shard: Shard, on: str) -> None:
    shard.work.extend(["resume", on] for _ in shard.parked.get(on, ()))


# inputs that wait, work, timers


def _input_parked(shard: Shard, cause: InputRecord, event: decided.InputParked) -> None:
    until_ms = event.get("until_ms", 0)
    shard.parked.setdefault(event["on"], deque()).append((cause, until_ms))
    if until_ms:
        shard.parked_tracking += 1
        shard.set_timer(until_ms, "tracking", event["on"])


def _take_parked(shard: Shard, on: str) -> None:
    waiting = shard.parked.get(on)
    if not waiting:
        message = f"nothing is parked on {on}"
        raise Contradiction(message)
    waiting.popleft()
    if not waiting:
        del shard.parked[on]
    if on.startswith("tracking:"):
        shard.parked_tracking -= 1


def _input_resumed(shard: Shard, _: InputRecord, event: decided.InputResumed) -> None:
    _take_parked(shard, event["on"])


def _input_expired(shard: Shard, _: InputRecord, event: decided.InputExpired) -> None:
    _take_parked(shard, event["on"])


def _input_repeated(_: Shard, __: InputRecord, ___: decided.InputRepeated) -> None:
    """A repeat changes nothing."""


def _input_skipped(_: Shard, __: InputRecord, ___: decided.InputSkipped) -> None:
    """It was marked as seen, and nothing comes of it."""


def _topic_renewed(shard: Shard, _: InputRecord, event: decided.TopicRenewed) -> None:
    for source in [one for one in shard.marks if one[0] == event["topic"]]:
        del shard.marks[source]
        shard.origins.pop(source, None)


def _work_queued(shard: Shard, _: InputRecord, event: decided.WorkQueued) -> None:
    shard.work.append(event["work"])
    match event["work"]:
        case ["refill", market_id]:
            shard.markets[market_id].refill_queued = True
        case _:
            pass


def _work_done(shard: Shard, _: InputRecord, event: decided.WorkDone) -> None:
    if not shard.work or shard.work.popleft() != event["work"]:
        message = f"the work done wasn't the oldest queued: {event['work']}"
        raise Contradiction(message)
    match event["work"]:
        case ["fill", market_id, sku, _]:
            shard.touched_skus[(market_id, sku)] = None
        case ["refill", market_id]:
            market = shard.markets[market_id]
            market.refill_queued = False
            shard.work.extend(["fill", market_id, sku, None] for sku in market.waiting)
        case ["offered", node_id]:
            node = shard.nodes[node_id]
            _fill_from(shard, shard.markets[node.market_id], node)
        case _:
            pass  # what else was done, events of its own tell


def _timer_fired(shard: Shard, _: InputRecord, event: decided.TimerFired) -> None:
    due_ms, number, kind, key = heappop(shard.timers) if shard.timers else (0, 0, "", ())
    if [due_ms, number, kind, *key] != event["timer"]:
        message = f"the timer that fired wasn't the earliest: {event['timer']}"
        raise Contradiction(message)


# orders


def _take(shard: Shard, cause: InputRecord) -> Order:
    data = cause["data"]
    shard.orders_taken += 1
    shard.orders_open += 1
    order = Order(shard.orders_taken, content_digest(data), data)
    shard.markets[order.market_id].orders[order.key] = order
    return order


def _order_waits(shard: Shard, cause: InputRecord, event: decided.OrderWaits) -> None:
    order = _take(shard, cause)
    order.unknown = event["unknown"]
    for sku in order.unknown:
        shard.unknown_skus.setdefault(sku, []).append(order)
    shard.set_timer(event["until_ms"], "order", order.market_id, order.key)
    shard.touched_orders[order] = None


def _order_accepted(shard: Shard, cause: InputRecord, event: decided.OrderAccepted) -> None:
    known = shard.markets[event["market_id"]].orders.get(f"{event['channel']}/{event['order_id']}")
    order = known or _take(shard, cause)
    _wait_no_more(shard, order)
    shard.touched_orders[order] = None


def _wait_no_more(shard: Shard, order: Order) -> None:
    for sku in order.unknown or ():
        waiting = shard.unknown_skus.get(sku, [])
        if order in waiting:
            waiting.remove(order)
            if not waiting:
                del shard.unknown_skus[sku]
    order.unknown = None


def _order_refused(shard: Shard, cause: InputRecord, event: decided.OrderRefused) -> None:
    if event["conflict"]:
        return
    known = shard.markets[event["market_id"]].orders.get(f"{event['channel']}/{event['order_id']}")
    order = known or _take(shard, cause)
    _wait_no_more(shard, order)
    order.refused = True
    shard.touched_orders[order] = None


def _set_backordered(shard: Shard, order: Order, index: int, units: int) -> None:
    """Set a line's backordered units; a line with some waits in the queue, at its order's place."""
    market = shard.markets[order.market_id]
    line = order.lines[index]
    place = (-order.priority, order.number, index)
    if units and not line.backordered:
        insort(market.waiting.setdefault(line.sku, []), (*place, order))
    elif line.backordered and not units:
        queue = market.waiting[line.sku]
        del queue[bisect_left(queue, place)]
        if not queue:
            del market.waiting[line.sku]
    waiting = market.backordered.get(line.sku, 0) + units - line.backordered
    if waiting:
        market.backordered[line.sku] = waiting
    else:
        market.backordered.pop(line.sku, None)
    shard.touched_waiting[(order.market_id, line.sku)] = None
    line.backordered = units
    if not units and not any(one.backordered for one in order.lines):
        order.patience_ms = 0  # a later wait has a patience of its own


def _fulfillment_requested(
    shard: Shard, _: InputRecord, event: decided.FulfillmentRequested
) -> None:
    order = order_of(shard, event)
    known = [one for one in order.fulfillments if one.fulfillment_id == event["fulfillment_id"]]
    if not known:
        _give(shard, order, event)
        return
    if known[0].request_status != UNSUBMITTED:
        message = f"fulfillment {event['fulfillment_id']} was requested before"
        raise Contradiction(message)
    known[0].request_status = "submitted"
    shard.markets[order.market_id].use(shard.nodes[event["node_id"]])
    _hold_changed(shard, order)
    shard.touched_orders[order] = None


def _fulfillment_planned(shard: Shard, _: InputRecord, event: decided.FulfillmentPlanned) -> None:
    order = order_of(shard, event)
    fulfillment = _give(shard, order, event)
    fulfillment.request_status = UNSUBMITTED
    fulfillment.release_ms = event["release_ms"]
    _hold_changed(shard, order)
    named = (order.market_id, order.key, fulfillment.fulfillment_id)
    shard.set_timer(fulfillment.release_ms, "release", *named)


def _hold_changed(shard: Shard, order: Order) -> None:
    """Keep the index of held units, and where the plans came from that still are held."""
    index = shard.markets[order.market_id].held
    held_now = list(order.held())
    order.held_by = {
        one.fulfillment_id: order.held_by[one.fulfillment_id]
        for one in held_now
        if one.fulfillment_id in order.held_by
    }
    held = {line.sku for one in held_now for line in one.lines if line.reserved}
    for line in order.lines:
        orders = index.get(line.sku)
        if line.sku in held:
            index.setdefault(line.sku, {})[order.number] = order
        elif orders is not None:
            orders.pop(order.number, None)
            if not orders:
                del index[line.sku]


def _give(
    shard: Shard, order: Order, event: decided.FulfillmentRequested | decided.FulfillmentPlanned
) -> Fulfillment:
    """Reserve a leg's units at its node, and book its ship day."""
    market = shard.markets[order.market_id]
    node = shard.nodes[event["node_id"]]
    lines = []
    for asked in event["lines"]:
        units = asked["quantity"]
        index, line = _line_at(order, asked["line_id"])
        from_open = min(units, line.open)
        if units > from_open:
            _set_backordered(shard, order, index, line.backordered - (units - from_open))
        line.allocated += units
        _check(order, line)
        drew_on = _draw_on_pools(shard, market, order, line.sku, units)
        fulfillment_line = FulfillmentLine(line.line_id, line.sku, units, drew_on)
        lines.append(fulfillment_line)
        stock = shard.bin(node, line.sku)
        stock.reserve(units)
        stock.promises[fulfillment_line] = order
        if node.offers:
            market.available[line.sku] = market.available.get(line.sku, 0) - units
        shard.touched_stock[(node.node_id, line.sku)] = None
        shard.touched_skus[(market.market_id, line.sku)] = None
    fulfillment = Fulfillment(event["fulfillment_id"], node.node_id, lines)
    order.fulfillments.append(fulfillment)
    market.use(node)
    if "ship_day" in event:  # not in journals of the first release
        fulfillment.ship_day = day_number(event["ship_day"])
        fulfillment.ship_by_ms = instant_ms(event["ship_by"])
        fulfillment.booked = sum([line.asked for line in lines])
        _book(shard, node, fulfillment.ship_day, 1, fulfillment.booked)
    if "deliver_by" in event:
        fulfillment.deliver_by_ms = instant_ms(event["deliver_by"])
    fulfillment.carrier = event.get("carrier")
    fulfillment.service = event.get("service")
    if fulfillment_of(order, event["fulfillment_id"]) is not fulfillment:
        message = f"fulfillment {event['fulfillment_id']} is not the order's next"
        raise Contradiction(message)
    shard.touched_orders[order] = None
    return fulfillment


def _draw_on_pools(
    shard: Shard, market: Market, order: Order, sku: str, units: int
) -> tuple[PoolCount, ...]:
    """Count what a channel takes of its pools since they began. Returns those that it took from."""
    if not market.rules.pools:
        return ()
    drew_on = tuple(
        market.pool_taken[pool.pool_id]
        for pool in market.rules.pools
        if pool.channel == order.channel and sku in pool.skus and pool.from_ms <= shard.now_ms
    )
    for pool in drew_on:
        pool.taken += units
        shard.touched_pools[(market.market_id, pool.pool_id)] = None
    return drew_on


def _order_allocated(shard: Shard, _: InputRecord, event: decided.OrderAllocated) -> None:
    order = order_of(shard, event)
    market = shard.markets[order.market_id]
    backordered = {line["line_id"]: line["quantity"] for line in event["backordered"]}
    for index, line in enumerate(order.lines):
        units = backordered.get(line.line_id, 0)
        if units != line.backordered:
            _set_backordered(shard, order, index, units)
            _check(order, line)
    if "held" in event:
        for fulfillment in order.held():
            came_from = (event["held"], event["decision"])
            order.held_by.setdefault(fulfillment.fulfillment_id, came_from)
    if "cancel_ms" in event:
        order.patience_ms = event["cancel_ms"]
        shard.set_timer(event["cancel_ms"], "unsourced", order.market_id, order.key)
    if "promised_by" in event:
        order.promised_ms = instant_ms(event["promised_by"])
        order.told_ms = max(
            order.promised_ms, *(part.deliver_by_ms or 0 for part in order.fulfillments), 0
        )
        awaiting = market.promises.get(order.promised_ms)
        if awaiting is None:
            awaiting = market.promises[order.promised_ms] = {}
            due_ms = order.promised_ms + PROMISE_GRACE_MS
            shard.set_timer(due_ms, "promises", order.market_id, str(order.promised_ms))
        awaiting[order] = None
    shard.touched_orders[order] = None


def _order_promise_changed(
    shard: Shard, _: InputRecord, event: decided.OrderPromiseChanged
) -> None:
    order_of(shard, event).told_ms = instant_ms(event["deliver_by"])


def _order_improved(_: Shard, __: InputRecord, ___: decided.OrderImproved) -> None:
    """What it means for the order stands in the events around it."""


def _improvement_due(shard: Shard, _: InputRecord, event: decided.ImprovementDue) -> None:
    improvable = shard.markets[event["market_id"]].improvable
    for sku in event["done"]:
        del improvable[sku]
    for sku, after in event["skus"]:
        improvable[sku] = after
    if "due_ms" in event:
        shard.set_timer(event["due_ms"], "improve", event["market_id"])


def _promise_counted(
    shard: Shard, _: InputRecord, event: decided.PromiseKept | decided.PromiseBroken
) -> None:
    order = order_of(shard, event)
    order.promise_counted = True
    _await_no_more(shard, order)


def _await_no_more(shard: Shard, order: Order) -> None:
    """Nothing more can come of the order's promise."""
    if order.promised_ms is not None:
        promises = shard.markets[order.market_id].promises
        awaiting = promises.get(order.promised_ms, {})
        if awaiting.pop(order, 0) is None and not awaiting:
            del promises[order.promised_ms]


def _order_cancelled(shard: Shard, _: InputRecord, event: decided.OrderCancelled) -> None:
    order = order_of(shard, event)
    for cancelled in event["lines"]:
        index, line = _line_at(order, cancelled["line_id"])
        from_open = min(cancelled["quantity"], line.open)
        from_waiting = cancelled["quantity"] - from_open
        if from_waiting:
            _set_backordered(shard, order, index, line.backordered - from_waiting)
        line.cancelled += cancelled["quantity"]
        _check(order, line)
    shard.touched_orders[order] = None


def _order_closed(shard: Shard, _: InputRecord, event: decided.OrderClosed) -> None:
    order = order_of(shard, event)
    order.closing = True
    _wait_no_more(shard, order)
    _await_no_more(shard, order)
    shard.orders_open -= 1
    shard.set_timer(event["retire_ms"], "retire", order.market_id, order.key)


def package_key(market_id: str, fulfillment_id: str, package_id: str) -> str:
    """The business key of a package whose order isn't in memory: it leaves once, for ever."""
    return f"{market_id}/{fulfillment_id}/{package_id}"


def _order_retired(shard: Shard, _: InputRecord, event: decided.OrderRetired) -> None:
    order = order_of(shard, event)
    market = shard.markets[order.market_id]
    del market.orders[order.key]
    market.retired[order.key] = remembered(order)
    for fulfillment in order.fulfillments:
        for shipment in fulfillment.shipments:
            for package_id in shipment.packages:
                known = package_key(order.market_id, fulfillment.fulfillment_id, package_id)
                shard.documents[known] = None
            for key in shipment.tracking.values():
                if key in shard.tracking and shard.tracking[key][0] is order:
                    del shard.tracking[key]


# fulfillments


def forget_days(node: Node, now_ms: int) -> None:
    """Forget what was booked of days that are over, wherever the node is."""
    over = now_ms // DAY_MS - DAYS_KEPT
    for day in [known for known in node.booked if known < over]:
        del node.booked[day]


def _book(shard: Shard, node: Node, day: int, orders: int, units: int) -> None:
    """Take capacity of a node's day, or give it back; days that are over are forgotten."""
    booked = node.booked.get(day)
    if booked is None:
        if units < 0:
            return  # a day that is over
        forget_days(node, shard.now_ms)
        booked = node.booked[day] = [0, 0]
    booked[0] += orders
    booked[1] += units
    if min(booked) < 0:
        message = f"{node.node_id} gives back more of day {day} than was booked"
        raise Contradiction(message)
    if booked == [0, 0]:
        del node.booked[day]
    shard.touched_days[(node.node_id, day)] = None
    if units < 0:
        shard.freed_nodes[node.node_id] = None
    shard.markets[node.market_id].booked_changes.add(node.node_id)


def _free_capacity(shard: Shard, fulfillment: Fulfillment, units: int) -> None:
    """Units won't be worked on: the day has room for them, and with the last for an order."""
    if fulfillment.ship_day is None or not units:
        return
    fulfillment.booked -= units
    orders = 0 if fulfillment.booked else -1
    node = shard.nodes[fulfillment.node_id]
    _book(shard, node, fulfillment.ship_day, orders, -units)


def _unreserve(shard: Shard, fulfillment: Fulfillment, line: FulfillmentLine, units: int) -> None:
    node = shard.nodes[fulfillment.node_id]
    market = shard.markets[node.market_id]
    stock = shard.bin(node, line.sku)
    line.reserved -= units
    stock.reserve(-units)
    if line.reserved < 0 or stock.reserved < 0:
        message = f"fulfillment {fulfillment.fulfillment_id} releases more than it reserves"
        raise Contradiction(message)
    if not line.reserved:
        stock.promises.pop(line, None)
    if node.offers:
        market.available[line.sku] = market.available.get(line.sku, 0) + units
    shard.touched_stock[(node.node_id, line.sku)] = None
    shard.touched_skus[(market.market_id, line.sku)] = None
    shard.freed_skus[(market.market_id, line.sku)] = None


def _units_released(shard: Shard, _: InputRecord, event: decided.UnitsReleased) -> None:
    order = order_of(shard, event)
    fulfillment = fulfillment_of(order, event["fulfillment_id"])
    market = shard.markets[order.market_id]
    for released in event["lines"]:
        fulfillment_line = _fulfillment_line_of(fulfillment, released["line_id"])
        _unreserve(shard, fulfillment, fulfillment_line, released["quantity"])
        for pool in fulfillment_line.drew_on:
            pool.taken -= released["quantity"]
            if market.pool_taken.get(pool.pool_id) is pool:  # else the rules have had it no longer
                shard.touched_pools[(market.market_id, pool.pool_id)] = None
        line = _line_at(order, released["line_id"])[1]
        line.allocated -= released["quantity"]
        _check(order, line)
    _free_capacity(shard, fulfillment, sum(line["quantity"] for line in event["lines"]))
    for closed in event["closed"]:
        fulfillment_line = _fulfillment_line_of(fulfillment, closed["line_id"])
        if event["why"] == "rejected":
            fulfillment_line.rejected += closed["quantity"]
        else:
            fulfillment_line.cancelled += closed["quantity"]
    if fulfillment.request_status == UNSUBMITTED:
        _hold_changed(shard, order)
    shard.touched_orders[order] = None


def _fulfillment_changed(shard: Shard, _: InputRecord, event: decided.FulfillmentChanged) -> None:
    order = order_of(shard, event)
    fulfillment = fulfillment_of(order, event["fulfillment_id"])
    was = fulfillment.request_status
    fulfillment.status = event["status"]
    fulfillment.request_status = event["request_status"]
    if was == UNSUBMITTED:
        _hold_changed(shard, order)


def _fulfillment_cancellation_requested(
    shard: Shard, _: InputRecord, event: decided.FulfillmentCancellationRequested
) -> None:
    fulfillment = fulfillment_of(order_of(shard, event), event["fulfillment_id"])
    fulfillment.asked_to_cancel += 1
    fulfillment.cancellations.append(
        Cancellation(
            event["cancellation_id"],
            {line["line_id"]: line["quantity"] for line in event["lines"]},
            event["reason"],
            taken_back=event["taken_back"],
        )
    )


def _cancellation_answered(
    shard: Shard, _: InputRecord, event: decided.CancellationAnswered
) -> None:
    fulfillment = fulfillment_of(order_of(shard, event), event["fulfillment_id"])
    if event.get("inferred"):
        return  # the request keeps the units: the node may have meant another one's
    taken_back = event.get("taken_back")
    pending = _pending(fulfillment, event["cancellation_id"], taken_back=taken_back)
    if pending is None:
        message = f"cancellation {event['cancellation_id']} isn't pending"
        raise Contradiction(message)
    asked = pending.refused if event.get("after_all") else pending.lines
    for answered in event["lines"]:
        line_id, units = answered["line_id"], answered["quantity"]
        left = asked[line_id] - units
        if left > 0:
            asked[line_id] = left
        else:
            del asked[line_id]
        if event["answer"] == "rejected":
            pending.refused[line_id] = pending.refused.get(line_id, 0) + units
    if event.get("still_asked"):
        part = _pending(fulfillment, pending.cancellation_id, taken_back=True)
        if part is None:
            part = Cancellation(pending.cancellation_id, {}, pending.reason, taken_back=True)
            fulfillment.cancellations.insert(fulfillment.cancellations.index(pending) + 1, part)
        for still in event["lines"]:
            line_id = still["line_id"]
            part.lines[line_id] = part.lines.get(line_id, 0) + still["quantity"]
    if not (pending.lines or pending.refused):
        fulfillment.cancellations.remove(pending)


def _pending(
    fulfillment: Fulfillment, cancellation_id: str, *, taken_back: bool | None
) -> Cancellation | None:
    """A request that has its answer to come; None as to `taken_back`: the first of that id."""
    for pending in fulfillment.cancellations:
        if pending.cancellation_id == cancellation_id and taken_back in (None, pending.taken_back):
            return pending
    return None


def _shipment_sent(shard: Shard, _: InputRecord, event: decided.ShipmentSent) -> None:
    order = order_of(shard, event)
    fulfillment = fulfillment_of(order, event["fulfillment_id"])
    loose: dict[str, int] = {}
    for line_id, _sku, off, counted, left in event["moved"]:
        fulfillment_line = _fulfillment_line_of(fulfillment, line_id)
        if off:
            _unreserve(shard, fulfillment, fulfillment_line, off)
        fulfillment_line.shipped += left
        index, line = _line_at(order, line_id)
        waiting = counted - off - line.open
        line.allocated -= off
        if waiting > 0:
            _set_backordered(shard, order, index, line.backordered - waiting)
        line.shipped += counted
        _check(order, line)
        loose[line_id] = loose.get(line_id, 0) + counted
    packages: dict[str, dict[str, int] | None] = {}
    tracking: dict[str, str] = {}
    for package in event["packages"]:
        contents = package.get("lines")
        packages[package["package_id"]] = None
        if contents is not None:
            held = packages[package["package_id"]] = {}
            for content in contents:
                units = min(content["quantity"], loose.get(content["line_id"], 0))
                if units:
                    held[content["line_id"]] = held.get(content["line_id"], 0) + units
                    loose[content["line_id"]] -= units
        awaited = [f"tracking:{fulfillment.fulfillment_id}/{package['package_id']}"]
        if "tracking_number" in package:
            number = package["tracking_number"]
            key = f"{order.market_id}/{package.get('carrier', '')}/{number}"
            tracking[package["package_id"]] = key
            shard.packages_sent += 1
            known = (order, fulfillment, package["package_id"], shard.packages_sent)
            shard.tracking[key] = known
            awaited.append(f"tracking:{number}")
        for on in awaited:
            shard.work.extend(["resume", on] for _ in shard.parked.get(on, ()))
    left_over = {line_id: units for line_id, units in loose.items() if units}
    fulfillment.shipments.append(Shipment(packages, left_over, tracking))
    shard.touched_orders[order] = None


def _shipment_delivered(shard: Shard, _: InputRecord, event: decided.ShipmentDelivered) -> None:
    order = order_of(shard, event)
    fulfillment = fulfillment_of(order, event["fulfillment_id"])
    for package_id in event["packages"]:
        shipment = fulfillment.package(package_id)
        if shipment is None:
            message = f"package {package_id} of {event['fulfillment_id']} isn't there"
            raise Contradiction(message)
        shipment.delivered[package_id] = None
    for delivered in event["lines"]:
        line = _line_at(order, delivered["line_id"])[1]
        line.shipped -= delivered["quantity"]
        line.delivered += delivered["quantity"]
        _check(order, line)
    order.delivered_ms = max(order.delivered_ms, instant_ms(event["delivered_at"]))
    shard.touched_orders[order] = None


def _packages_known(shard: Shard, _: InputRecord, event: decided.PackagesKnown) -> None:
    for document in event["documents"]:
        shard.documents[document] = None


def _package_tracked(_: Shard, __: InputRecord, ___: decided.PackageTracked) -> None:
    """Read models show it; no decision rests on it."""


# stock


def _stock_moved(shard: Shard, cause: InputRecord, event: decided.StockMoved) -> None:
    node = shard.nodes[event["node_id"]]
    market = shard.markets[node.market_id]
    sku = event["sku"]
    stock = shard.bin(node, sku)
    before = stock.available
    stock.move(event["time_ms"], event["delta"], shard.now_ms)
    if "counted" in event:
        stock.counted = {**(stock.counted or {}), event["counted"]: event["time_ms"]}
    if min(stock.on_hand, stock.quality_control, stock.damaged, stock.held) < 0:
        message = f"stock of {sku} at {node.node_id} falls below 0"
        raise Contradiction(message)
    if node.offers:
        market.available[sku] = market.available.get(sku, 0) + stock.available - before
    if "document" in event:
        shard.documents[event["document"]] = None
    if "lots" in event:
        stock.change_lots(event["lots"])
        shard.touched_lots[(node.node_id, sku)] = None
    if event["reason"] == SHIPPED and cause["type"] == "fulfillment_shipped":
        stock.sell(-event["delta"][0], shard.now_ms)
    shard.touched_stock[(node.node_id, sku)] = None
    shard.touched_skus[(market.market_id, sku)] = None
    if stock.available > before:
        shard.freed_skus[(market.market_id, sku)] = None


def _inbound_changed(shard: Shard, _: InputRecord, event: decided.InboundChanged) -> None:
    node = shard.nodes[event["node_id"]]
    inbound = shard.markets[node.market_id].inbound
    sku = event["sku"]
    line = (node.node_id, event["document"], event["document_line"])
    announced = inbound.setdefault(sku, {})
    if event["units"]:
        announced[line] = (event["units"], event["expected_ms"])
    else:
        announced.pop(line, None)
        if not announced:
            del inbound[sku]
    shard.touched_stock[(node.node_id, sku)] = None  # so that read models know the item there
    shard.touched_inbound[(node.node_id, sku, event["document"], event["document_line"])] = None


def _item_suppressed(shard: Shard, _: InputRecord, event: decided.ItemSuppressed) -> None:
    node = shard.nodes[event["node_id"]]
    shard.markets[node.market_id].suppression_version += 1
    sku = event.get("sku")
    if sku is None:
        node.closed_until_ms = event["until_ms"]
        node.lifted = {}
        shard.freed_nodes[node.node_id] = None
    else:
        node.suppressed[sku] = event["until_ms"]
    shard.set_timer(event["until_ms"], "suppression", node.node_id, sku)


def _suppression_lifted(shard: Shard, _: InputRecord, event: decided.SuppressionLifted) -> None:
    node = shard.nodes[event["node_id"]]
    shard.markets[node.market_id].suppression_version += 1
    sku = event.get("sku")
    if sku is None:
        node.closed_until_ms = 0
        node.lifted = {}
        shard.freed_nodes[node.node_id] = None
        for stocked, by_node in shard.markets[node.market_id].bins.items():
            if node.node_id in by_node and stocked in shard.markets[node.market_id].waiting:
                shard.work.append(["fill", node.market_id, stocked, None])
    else:
        node.suppressed.pop(sku, None)
        if node.closed_until_ms:
            node.lifted[sku] = None
        shard.freed_skus[(node.market_id, sku)] = None


# rule sets


def _rule_set_changed(shard: Shard, cause: InputRecord, event: decided.RuleSetChanged) -> None:
    market = shard.markets[event["market_id"]]
    version = event["version"]
    if event["status"] == "proposed":
        market.rule_versions[version] = RuleVersion(cause["data"])
    known = market.rule_versions.get(version)
    if known is None:
        message = f"rule set {version} of market {market.market_id} isn't there"
        raise Contradiction(message)
    known.status = event["status"]
    if market.rules_scheduled is not None and market.rules_scheduled[0] == version:
        market.rules_scheduled = None
    if event["status"] == "scheduled":
        market.rules_scheduled = (version, event["from_ms"])
        shard.set_timer(event["from_ms"], "rules", market.market_id, version)
    elif event["status"] == "active":
        body = Body.model_validate(known.body)
        market.rules = RuleSet(version, body, market.time_zone)
        for pool_id in event.get("pools_anew", ()):
            del market.pool_taken[pool_id]
        market.pool_taken = {
            pool.pool_id: market.pool_taken.get(pool.pool_id) or PoolCount(pool.pool_id)
            for pool in market.rules.pools
        }
        for end_ms in event.get("pools_end_ms", ()):
            shard.set_timer(end_ms, "pools", market.market_id, version)
        _network_changed(shard, market)


def _rule_set_refused(_: Shard, __: InputRecord, ___: decided.RuleSetRefused) -> None:
    """A refusal changes nothing."""


# what is told


def _order_cancellation_rejected(
    shard: Shard, _: InputRecord, event: decided.OrderCancellationRejected
) -> None:
    """A refusal changes nothing."""


def _availability_changed(shard: Shard, _: InputRecord, event: decided.AvailabilityChanged) -> None:
    shard.markets[event["market_id"]].published[event["sku"]] = event["available"]


def exception_key(event: Mapping[str, Any]) -> tuple[str, ...]:
    """What an exception is about: one stays open for each (a data mismatch: for each sentence)."""
    about = ["kind", "market_id", "channel", "order_id", "node_id", "sku", "rule_set"]
    if event["kind"] == "data_mismatch":
        about.append("detail")
    return tuple(event.get(field, "") for field in about)


def _exception_opened(shard: Shard, _: InputRecord, event: decided.ExceptionOpened) -> None:
    shard.exceptions_opened += 1
    shard.exceptions[exception_key(event)] = event["exception_id"]


def _exception_resolved(shard: Shard, _: InputRecord, event: decided.ExceptionResolved) -> None:
    if shard.exceptions.pop(exception_key(event), None) != event["exception_id"]:
        message = f"exception {event['exception_id']} isn't open"
        raise Contradiction(message)


# the check at an entry's end


def balances(shard: Shard) -> decided.Balanced:
    """What the entry touched, as it stands now."""
    balanced: decided.Balanced = {
        "type": "balanced",
        "orders": [
            [
                order.market_id,
                order.channel,
                order.order_id,
                order.status(),
                [
                    [
                        line.line_id,
                        line.open,
                        line.allocated,
                        line.backordered,
                        line.shipped,
                        line.delivered,
                        line.cancelled,
                    ]
                    for line in order.lines
                ],
            ]
            for order in shard.touched_orders
        ],
        "stock": [_stock_row(shard, node_id, sku) for node_id, sku in shard.touched_stock],
    }
    if shard.touched_days:
        balanced["capacity"] = [
            [node_id, day, *shard.nodes[node_id].booked.get(day, (0, 0))]
            for node_id, day in shard.touched_days
        ]
    if shard.touched_pools:
        balanced["pools"] = [
            [market_id, pool_id, shard.markets[market_id].pool_taken[pool_id].taken]
            for market_id, pool_id in shard.touched_pools
        ]
    if shard.touched_inbound:
        balanced["inbound"] = [_inbound_row(shard, *line) for line in shard.touched_inbound]
    if shard.touched_waiting:
        balanced["waiting"] = [
            [market_id, sku, shard.markets[market_id].backordered.get(sku, 0)]
            for market_id, sku in shard.touched_waiting
        ]
    if shard.touched_lots:
        balanced["lots"] = [_lots_row(shard, *of) for of in shard.touched_lots]
    return balanced


def _inbound_row(
    shard: Shard, node_id: str, sku: str, document: str, line: str | None
) -> list[Any]:
    announced = shard.markets[shard.nodes[node_id].market_id].inbound.get(sku, {})
    units, expected_ms = announced.get((node_id, document, line), (0, 0))
    return [node_id, sku, document, line, units, expected_ms]


def _lots_row(shard: Shard, node_id: str, sku: str) -> list[Any]:
    stock = shard.stock(shard.nodes[node_id], sku)
    if not 0 <= stock.dated <= stock.on_hand or any(units < 0 for _, units in stock.lots or ()):
        message = f"the lots of {sku} at {node_id} aren't on hand: {stock.lots}"
        raise Contradiction(message)
    return [node_id, sku, [list(lot) for lot in stock.lots or ()]]


def _stock_row(shard: Shard, node_id: str, sku: str) -> list[Any]:
    node = shard.nodes[node_id]
    stock = shard.stock(node, sku)
    if stock.available != stock.on_hand - stock.reserved - stock.set_aside or stock.reserved < 0:
        message = f"stock of {sku} at {node_id} isn't conserved"
        raise Contradiction(message)
    if stock.available < 0:
        message = (
            f"{-stock.available} unit(s) of {sku} at {node_id} are promised beyond what is there"
        )
        raise Contradiction(message)
    return [
        node.market_id,
        node_id,
        sku,
        stock.on_hand,
        stock.reserved,
        stock.quality_control,
        stock.damaged,
        stock.held,
    ]


def _balanced(shard: Shard, _: InputRecord, event: decided.Balanced) -> None:
    stands = balances(shard)
    if "waiting" not in event:  # nor in journals of the first release
        stands.pop("waiting", None)
    if stands != event:
        message = f"the books don't balance: journaled {event}, folded {stands}"
        raise Contradiction(message)


EVOLVE: dict[str, Callable[[Shard, InputRecord, Any], None]] = {
    "master_data_kept": _master_data_kept,
    "input_parked": _input_parked,
    "input_resumed": _input_resumed,
    "input_expired": _input_expired,
    "input_repeated": _input_repeated,
    "input_skipped": _input_skipped,
    "topic_renewed": _topic_renewed,
    "work_queued": _work_queued,
    "work_done": _work_done,
    "timer_fired": _timer_fired,
    "order_waits": _order_waits,
    "order_accepted": _order_accepted,
    "order_refused": _order_refused,
    "fulfillment_requested": _fulfillment_requested,
    "fulfillment_planned": _fulfillment_planned,
    "order_allocated": _order_allocated,
    "order_promise_changed": _order_promise_changed,
    "order_improved": _order_improved,
    "improvement_due": _improvement_due,
    "promise_kept": _promise_counted,
    "promise_broken": _promise_counted,
    "order_cancelled": _order_cancelled,
    "order_cancellation_rejected": _order_cancellation_rejected,
    "order_closed": _order_closed,
    "order_retired": _order_retired,
    "fulfillment_cancellation_requested": _fulfillment_cancellation_requested,
    "fulfillment_changed": _fulfillment_changed,
    "units_released": _units_released,
    "cancellation_answered": _cancellation_answered,
    "shipment_sent": _shipment_sent,
    "shipment_delivered": _shipment_delivered,
    "packages_known": _packages_known,
    "package_tracked": _package_tracked,
    "stock_moved": _stock_moved,
    "inbound_changed": _inbound_changed,
    "item_suppressed": _item_suppressed,
    "suppression_lifted": _suppression_lifted,
    "rule_set_changed": _rule_set_changed,
    "rule_set_refused": _rule_set_refused,
    "availability_changed": _availability_changed,
    "lane_suspended": _lane_suspended,
    "lane_restored": _lane_restored,
    "exception_opened": _exception_opened,
    "exception_resolved": _exception_resolved,
    "balanced": _balanced,
}
