"""Following: a shard as far as planning looks at it, folded from what happened.

For promises, beside the engine and cheaper than its fold: no order, timeline or exception is kept,
nothing is checked, and stock, booked days, pools, what is announced and what waits come from each
entry's closing `balanced`, which says how things stand. What the journal says is taken as it is; an
event that planning doesn't ask about is passed over.
"""

from collections.abc import Callable, Iterable, Mapping
from typing import Any

from events.decided import InputRecord
from orchestrator.core.evolve import EVOLVE, forget_days
from orchestrator.core.ledger import SHIPPED
from orchestrator.core.shard import Shard
from schemas.journal import Entry


def follow(shard: Shard, entries: Iterable[Entry]) -> None:
    """Take entries that happened into a shard that plans and never decides."""
    for entry in entries:
        cause = entry["input"]
        if cause["type"] == "clock_ticked":
            shard.now_ms = cause["time_ms"]
        for event in entry["events"]:
            apply = FOLLOW.get(event["type"])
            if apply is not None:
                apply(shard, cause, event)
            elif event["type"] == "input_resumed":
                cause = event["input"]


def _as_decided(shard: Shard, cause: InputRecord, event: Mapping[str, Any]) -> None:
    """What the engine's own fold does with it, without what only deciding would act on."""
    EVOLVE[event["type"]](shard, cause, event)
    shard.work.clear()
    shard.timers.clear()
    shard.freed_skus.clear()
    shard.freed_nodes.clear()
    shard.touched_networks.clear()


def _stock(shard: Shard, rows: list[list[Any]]) -> None:
    for market_id, node_id, sku, on_hand, reserved, *set_aside in rows:
        node = shard.nodes[node_id]
        stock = shard.bin(node, sku)
        before = stock.available
        stock.on_hand = on_hand
        stock.reserved = reserved
        stock.quality_control, stock.damaged, stock.held = set_aside
        stock.available = on_hand - reserved - stock.set_aside
        if node.offers:
            market = shard.markets[market_id]
            market.available[sku] = market.available.get(sku, 0) + stock.available - before


def _capacity(shard: Shard, rows: list[list[Any]]) -> None:
    for node_id, day, *booked in rows:
        node = shard.nodes[node_id]
        if any(booked):
            if day not in node.booked:
                forget_days(node, shard.now_ms)
            node.booked[day] = booked
        else:
            node.booked.pop(day, None)
        shard.markets[node.market_id].booked_changes.add(node_id)


def _inbound(shard: Shard, rows: list[list[Any]]) -> None:
    for node_id, sku, document, line, units, expected_ms in rows:
        inbound = shard.markets[shard.nodes[node_id].market_id].inbound
        announced = inbound.setdefault(sku, {})
        if units:
            announced[(node_id, document, line)] = (units, expected_ms)
        else:
            announced.pop((node_id, document, line), None)
        if not announced:
            del inbound[sku]


def _pools(shard: Shard, rows: list[list[Any]]) -> None:
    for market_id, pool_id, taken in rows:
        shard.markets[market_id].pool_taken[pool_id].taken = taken


def _waiting(shard: Shard, rows: list[list[Any]]) -> None:
    for market_id, sku, units in rows:
        waiting = shard.markets[market_id].backordered
        if units:
            waiting[sku] = units
        else:
            waiting.pop(sku, None)


def _lots(shard: Shard, rows: list[list[Any]]) -> None:
    for node_id, sku, lots in rows:
        stock = shard.bin(shard.nodes[node_id], sku)
        stock.lots = [(day, units) for day, units in lots] or None


def _used(shard: Shard, _: InputRecord, event: Mapping[str, Any]) -> None:
    node = shard.nodes[event["node_id"]]
    shard.markets[node.market_id].use(node)


def _sold(shard: Shard, cause: InputRecord, event: Mapping[str, Any]) -> None:
    if event["reason"] == SHIPPED and cause["type"] == "fulfillment_shipped":
        stock = shard.bin(shard.nodes[event["node_id"]], event["sku"])
        stock.sell(-event["delta"][0], shard.now_ms)


def _balanced(shard: Shard, _: InputRecord, event: Mapping[str, Any]) -> None:
    for what, stands in BALANCES.items():
        rows = event.get(what)
        if rows:
            stands(shard, rows)


BALANCES: dict[str, Callable[[Shard, list[list[Any]]], None]] = {
    "stock": _stock,
    "capacity": _capacity,
    "inbound": _inbound,
    "pools": _pools,
    "waiting": _waiting,
    "lots": _lots,
}

FOLLOW: dict[str, Callable[[Shard, InputRecord, Any], None]] = {
    "master_data_kept": _as_decided,
    "item_suppressed": _as_decided,
    "suppression_lifted": _as_decided,
    "lane_suspended": _as_decided,
    "lane_restored": _as_decided,
    "rule_set_changed": _as_decided,
    "fulfillment_planned": _used,
    "fulfillment_requested": _used,
    "stock_moved": _sold,
    "balanced": _balanced,
}
