"""The audit of a shard that goes on deciding: in pieces, each true of one moment.

`invariants.violations` needs the whole state to stand still. What is looked at here at once is one
bin, one item or one order, together with what it refers to: so the state may change between two
pieces, and what is found is wrong all the same.
"""

from collections.abc import Iterator
from itertools import islice
from typing import Final

from orchestrator.core.invariants import of_bin, of_order
from orchestrator.core.ledger import Bin
from orchestrator.core.orders import FulfillmentLine, Order
from orchestrator.core.shard import Market, Shard

_SOME: Final = 200
"""Promises of a bin looked at in one piece, and names copied: less than 1 ms."""


def audit(shard: Shard) -> Iterator[list[str]]:
    """Look through the whole state once; after each piece what was found in it, mostly nothing.

    Reservations are held against open fulfillments both ways, waiting lines against their queues,
    sums against their parts. The state may change while the iterator is held, not while it runs.
    """
    for market_id in list(shard.markets):
        market = shard.markets[market_id]
        for sku in list(market.bins):
            yield from _item(market, sku)
        yield []
        for key in list(market.orders):
            order = market.orders.get(key)
            if order is not None:
                yield [*of_order(market, order), *_held(market, order)]
    yield []
    yield [*_open(shard)]


def _item(market: Market, sku: str) -> Iterator[list[str]]:
    """An item's sums, then its bins, one by one."""
    yield [*_sums(market, sku)]
    for node_id in list(market.bins[sku]):
        stock = market.bins[sku][node_id]
        where = f"{sku} at {node_id}"
        held = sum(line.reserved for line in stock.promises)
        found = [*of_bin(where, stock)]
        if stock.reserved != held:
            found.append(f"{where}: {stock.reserved} are reserved, fulfillments hold {held}")
        yield found
        promises = iter(list(stock.promises.items()))
        while some := list(islice(promises, _SOME)):
            yield [
                f"{where}: {line.reserved} are reserved for {order.key}, which asks for none"
                for line, order in some
                if line in stock.promises and not _asked(market, node_id, line, order)
            ]


def _sums(market: Market, sku: str) -> Iterator[str]:
    offered = sum(
        stock.available
        for node_id, stock in market.bins[sku].items()
        if market.nodes[node_id].offers
    )
    if market.available.get(sku, 0) != offered:
        yield f"{sku}: {market.available.get(sku, 0)} are available, nodes have {offered}"
    queue = market.waiting.get(sku, ())
    waiting = sum(order.lines[index].backordered for _, _, index, order in queue)
    if market.backordered.get(sku, 0) != waiting:
        yield f"{sku}: {market.backordered.get(sku, 0)} wait, lines in the queue want {waiting}"


def _asked(market: Market, node_id: str, line: FulfillmentLine, order: Order) -> bool:
    """Whether the line is of an order that is still there, and of this node's."""
    return market.orders.get(order.key) is order and any(
        line is one
        for fulfillment in order.fulfillments
        if fulfillment.node_id == node_id
        for one in fulfillment.lines
    )


def _held(market: Market, order: Order) -> Iterator[str]:
    """What an order's nodes hold for it stands among their promises; what waits, in the queue."""
    for fulfillment in order.fulfillments:
        for line in fulfillment.lines:
            if line.reserved and not _promised(market, fulfillment.node_id, line):
                yield (
                    f"{market.market_id}/{order.key}: {fulfillment.fulfillment_id} holds"
                    f" {line.reserved} of {line.sku} that {fulfillment.node_id} does not reserve"
                )
    for wanted in order.lines:
        if wanted.backordered and wanted.sku not in market.waiting:
            yield f"{market.market_id}/{order.key}: {wanted.sku} is waited for in no queue"


def _promised(market: Market, node_id: str, line: FulfillmentLine) -> bool:
    shelf = market.bins.get(line.sku)
    stock: Bin | None = None if shelf is None else shelf.get(node_id)
    return stock is not None and line in stock.promises


def _open(shard: Shard) -> Iterator[str]:
    """The number of open orders, counted at once: some ms of 100,000."""
    count = sum(
        not order.closing for market in shard.markets.values() for order in market.orders.values()
    )
    if count != shard.orders_open:
        yield f"{count} orders are open, not {shard.orders_open}"
