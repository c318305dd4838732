"""Availability: what a channel may promise of an item, step by step."""

from typing import Any

from events.decided import Plain
from orchestrator.core.shard import Market, Node
from orchestrator.core.sourcing.strategies import PoolRule, Strategy


def promisable(
    market: Market, item: Plain, channel: str, strategy: Strategy | None, now_ms: int
) -> int | None:
    """Units of an item that a channel may take in all; None where nothing is kept from it.

    What is free at the nodes that offer, less the channel's threshold, less what remains in other
    channels' pools; never below 0.
    """
    kept = market.rules.threshold(channel, item) + sum(
        remaining(market, pool) for pool in others_pools(market, item, channel, now_ms)
    )
    if not kept:
        return None
    shelf = market.bins.get(item["sku"])
    total = (
        0
        if shelf is None
        else sum(
            max(0, there.available - floor(market, market.nodes[node_id], item, strategy))
            for node_id, there in shelf.items()
            if market.nodes[node_id].offers
        )
    )
    return max(0, total - kept)


def may_limit(market: Market, item: Plain, channel: str) -> bool:
    """Whether the rules keep anything of an item from a channel, at any time."""
    return market.rules.threshold(channel, item) > 0 or any(
        pool.channel != channel and item["sku"] in pool.skus for pool in market.rules.pools
    )


def floor(market: Market, node: Node, item: Plain, strategy: Strategy | None) -> int:
    """Units that stay at a node: its safety stock, or what the strategy keeps if more."""
    safety = market.rules.safety_stock(node, item)
    return safety if strategy is None else max(safety, strategy.fences.keep(node))


def others_pools(market: Market, item: Plain, channel: str, now_ms: int) -> list[PoolRule]:
    """Pools of other channels that hold the item now."""
    return [
        pool
        for pool in market.rules.pools
        if pool.channel != channel
        and item["sku"] in pool.skus
        and pool.from_ms <= now_ms < pool.until_ms
    ]


def remaining(market: Market, pool: PoolRule) -> int:
    """Units of a pool that its own channel hasn't taken yet."""
    return max(0, pool.units - market.pool_taken[pool.pool_id].taken)


def steps(market: Market, item: Plain, channel: str, now_ms: int) -> dict[str, Any]:
    """How a channel's availability of an item comes about, as people read it."""
    nodes: list[dict[str, Any]] = []
    for node_id, there in sorted((market.bins.get(item["sku"]) or {}).items()):
        node = market.nodes[node_id]
        safety = market.rules.safety_stock(node, item)
        nodes.append(
            {
                "node_id": node_id,
                "on_hand": there.on_hand,
                "reserved": there.reserved,
                "held": there.set_aside,
                "safety_stock": safety,
                "offers": node.offers,
                "free": max(0, there.available - safety) if node.offers else 0,
            }
        )
    free = sum(row["free"] for row in nodes)
    threshold = market.rules.threshold(channel, item)
    pools: list[dict[str, Any]] = [
        {"pool_id": pool.pool_id, "channel": pool.channel, "remaining": remaining(market, pool)}
        for pool in others_pools(market, item, channel, now_ms)
    ]
    kept = threshold + sum(pool["remaining"] for pool in pools)
    return {
        "nodes": nodes,
        "free": free,
        "threshold": threshold,
        "pools": pools,
        "atp": max(0, free - kept),
    }
