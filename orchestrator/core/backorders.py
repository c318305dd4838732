"""The backorder queue: units that come free go to who waits.

Highest priority first, then first come.
"""

from bisect import bisect_right

from orchestrator.core.placing import fill_from_stock
from orchestrator.core.shard import Market
from orchestrator.core.turn import Turn


def offered(turn: Turn, market: Market, sku: str) -> bool:
    """Whether any node offers a unit of this item now."""
    if market.available.get(sku, 0) <= 0:
        return False
    return any(
        stock.available > 0
        and market.nodes[node_id].offers
        and not market.nodes[node_id].suppresses(sku, turn.now_ms)
        for node_id, stock in market.bins.get(sku, {}).items()
    )


def queue_refill(turn: Turn, market: Market) -> None:
    """Have all that waits in a market planned again, where that isn't queued already."""
    if market.waiting and not market.refill_queued:
        turn.emit({"type": "work_queued", "work": ["refill", market.market_id]})


def fill(turn: Turn, market: Market, sku: str, after: list[int] | None = None) -> None:
    """Fill the lines that wait for `sku`, from the place `after` on.

    What must ship whole and doesn't fit yet is passed over and keeps its place. At most
    `slice_orders` are tried in one entry, and no more than it can hold.
    """
    queue = market.waiting.get(sku, [])
    start = bisect_right(queue, tuple(after), key=lambda place: place[:3]) if after else 0
    reached = after
    tried = list(queue[start : start + turn.shard.config.slice_orders])
    more = len(queue) > start + len(tried)
    for *place, order in tried:
        if turn.full:
            more = True
            break
        if not offered(turn, market, sku):
            return
        fill_from_stock(turn, order, order.lines[place[2]])
        reached = place
    if more and offered(turn, market, sku):
        turn.emit({"type": "work_queued", "work": ["fill", market.market_id, sku, reached]})
