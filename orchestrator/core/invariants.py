"""What holds of a shard's state after every entry, said by other words than the core's own.

A fold that went through has balanced every entry's books already. This looks at the whole of the
state: sums and indexes that no entry touched are checked as well.
"""

from collections import Counter
from collections.abc import Iterator

from orchestrator.core.ledger import Bin
from orchestrator.core.orders import Order
from orchestrator.core.shard import Market, Shard


def violations(shard: Shard) -> Iterator[str]:
    """A sentence for each thing that does not add up; none, if all is well."""
    for market in shard.markets.values():
        yield from _stock(market)
        waiting: Counter[str] = Counter()
        for order in market.orders.values():
            yield from of_order(market, order)
            for line in order.lines:
                waiting[line.sku] += line.backordered
        if +waiting != Counter(market.backordered):
            yield f"{market.market_id}: {dict(+waiting)} wait, not {market.backordered}"
    open_orders = sum(
        not order.closing for market in shard.markets.values() for order in market.orders.values()
    )
    if open_orders != shard.orders_open:
        yield f"{open_orders} orders are open, not {shard.orders_open}"


def _stock(market: Market) -> Iterator[str]:
    """Units are conserved, each promise is a fulfillment's, and sums are the sum of their parts."""
    promised: Counter[tuple[str, str]] = Counter()
    for order in market.orders.values():
        for fulfillment in order.fulfillments:
            for line in fulfillment.lines:
                promised[(fulfillment.node_id, line.sku)] += line.reserved
    for sku, shelf in market.bins.items():
        offered = 0
        for node_id, stock in shelf.items():
            where = f"{sku} at {node_id}"
            yield from of_bin(where, stock)
            owed = promised.pop((node_id, sku), 0)
            if not stock.reserved == owed == sum(line.reserved for line in stock.promises):
                yield f"{where}: {stock.reserved} are reserved, fulfillments hold {owed}"
            if market.nodes[node_id].offers:
                offered += stock.available
        if market.available.get(sku, 0) != offered:
            yield f"{sku}: {market.available.get(sku, 0)} are available, nodes have {offered}"
    for (node_id, sku), units in promised.items():
        if units:
            yield f"{sku} at {node_id}: fulfillments hold {units} that were never there"


def of_bin(where: str, stock: Bin) -> Iterator[str]:
    """Units on hand are in one state each, and no state has less than none."""
    held = (stock.quality_control, stock.damaged, stock.held)
    parts = (stock.available, stock.reserved, *held)
    if stock.on_hand != sum(parts):
        yield f"{where}: {stock.on_hand} on hand are not {' + '.join(map(str, parts))}"
    if min(parts) < 0:
        yield f"{where}: a count is below 0: {parts}"


def of_order(market: Market, order: Order) -> Iterator[str]:
    """A line's counts are disjoint and none is below 0; what a node holds is allocated."""
    held: Counter[str] = Counter()
    left: Counter[str] = Counter()
    for fulfillment in order.fulfillments:
        for line in fulfillment.lines:
            held[line.line_id] += line.reserved
            left[line.line_id] += line.shipped
            if not 0 <= line.reserved <= line.outstanding:
                yield (
                    f"{market.market_id}/{order.key}: {fulfillment.fulfillment_id} holds"
                    f" {line.reserved} of line {line.line_id}, {line.outstanding} are outstanding"
                )
    for one in order.lines:
        where = f"{market.market_id}/{order.key} line {one.line_id}"
        counts = (one.open, one.allocated, one.backordered, one.shipped, one.delivered)
        if min(*counts, one.cancelled) < 0:
            yield f"{where}: a count is below 0: {(*counts, one.cancelled)}"
        if one.allocated != held[one.line_id]:
            yield f"{where}: {one.allocated} are allocated, nodes hold {held[one.line_id]}"
        if one.shipped + one.delivered > left[one.line_id]:
            yield f"{where}: {one.shipped + one.delivered} went out, {left[one.line_id]} left"
