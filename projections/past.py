"""The past: what stood in the read models after every entry of the journals. Role `past` keeps it.

It is made of the same row changes as the read models, an entry at a time, and kept instead of
written over. What never changes about an order (who ordered, where it goes, what) is left out: it
stands in the read models, and nowhere else.
"""

from collections.abc import Iterator
from typing import Any, Final, TypeAlias

import orjson

from projections import fulfillments, network, orders, stock
from projections.fold import Model, handlers_of, project
from projections.tables import (
    FULFILLMENTS,
    INBOUND,
    INBOUND_BALANCES,
    ITEMS,
    ITEMS_DEFINED,
    LINES,
    MARKET_VERSIONS,
    MARKETS,
    NODE_VERSIONS,
    NODES,
    ORDER_CHANGES,
    ORDERS,
    PACKAGES,
    PAST_TABLES,
    STOCK,
    STOCK_BALANCES,
    TICKS,
    Changes,
    Key,
)
from schemas.journal import Commit
from schemas.times import rfc3339

Json: TypeAlias = dict[str, Any]

_HANDLERS: Final = handlers_of(orders.ON, fulfillments.ON, stock.ON, network.ON)
_KEY: Final = ORDERS.key  # channel, order id, market id: the first columns of every order's table
CHANGING: Final = {
    ORDERS.name: ("status", "promised_by", "promise"),
    LINES.name: ("open", "allocated", "backordered", "shipped", "delivered", "cancelled"),
    FULFILLMENTS.name: (
        "status",
        "request_status",
        "node_id",
        "requested_at",
        "ship_by",
        "deliver_by",
        "carrier",
        "service",
        "lines",
    ),
    PACKAGES.name: ("status", "status_at", "estimated_delivery_at"),
}
"""The columns of an order's rows that are kept. The others are written once."""

_COLUMNS: Final = {
    table.name: tuple(table.columns) for table in (ORDERS, LINES, FULFILLMENTS, PACKAGES)
}
_WIDTHS: Final = {table.name: table.key for table in (ORDERS, LINES, FULFILLMENTS, PACKAGES)}
_MADE: Final = {
    table.name: table
    for table in (ORDERS, LINES, FULFILLMENTS, PACKAGES, STOCK, INBOUND, MARKETS, NODES, ITEMS)
}
"""The read models that the past is made of."""
_BY_KEY: Final = (
    (STOCK, STOCK_BALANCES),
    (MARKETS, MARKET_VERSIONS),
    (NODES, NODE_VERSIONS),
)
"""Read models whose rows are kept as they are, with their position behind the key."""


def record(changes: Changes, shard: int, commit: Commit) -> Iterator[int]:
    """Add what a valid commit leaves behind to the changes, an entry a step."""
    _ticks(changes, shard, commit)
    then = Changes(_MADE)
    before: int | None = None
    for entry in project(then, shard, commit, _HANDLERS):
        if before is not None:
            _keep(changes, shard, (commit.seq, before), then)
        before = entry
        yield entry
    if before is not None:
        _keep(changes, shard, (commit.seq, before), then)


def _ticks(changes: Changes, shard: int, commit: Commit) -> None:
    time_ms: int | None = None
    for number, entry in enumerate(commit.entries):
        cause = entry["input"]
        if "origin" not in cause and cause["time_ms"] != time_ms:
            time_ms = cause["time_ms"]
            changes.add(TICKS, [shard, commit.seq, number, rfc3339(time_ms)])


def _keep(changes: Changes, shard: int, at: tuple[int, int], then: Changes) -> None:
    """Add what an entry changed, and empty `then` for the next."""
    for table, kept in _BY_KEY:
        for row in then.puts[table.name].values():
            changes.add(kept, [*row[: table.key], *at, shard, *row[table.key :]])
    for sku, node_id, document, line, units, _ in then.puts[INBOUND.name].values():
        changes.add(INBOUND_BALANCES, [sku, node_id, document, line, *at, shard, units])
    for sku, *_ in then.puts[ITEMS.name].values():
        changes.add(ITEMS_DEFINED, [sku, shard, *at])
    for order, changed in _of_orders(then).items():
        changes.add(ORDER_CHANGES, [*order, *at, shard, orjson.dumps(changed).decode()])
    for puts in then.puts.values():
        if puts:
            puts.clear()
    for patches in then.patches.values():
        if patches:
            patches.clear()


def _of_orders(then: Changes) -> dict[Key, Json]:
    """What changed about each order: by table, rows with their keys and changed columns."""
    found: dict[Key, Json] = {}

    def changed(name: str, key: Key, values: Json) -> None:
        columns = _COLUMNS[name][_KEY : _WIDTHS[name]]
        row = dict(zip(columns, key[_KEY:], strict=True))
        kept = {column: values[column] for column in CHANGING[name] if column in values}
        if isinstance(kept.get("lines"), str):
            kept["lines"] = orjson.Fragment(kept["lines"])
        if kept:
            found.setdefault(key[:_KEY], {}).setdefault(name, []).append(row | kept)

    for name, columns in _COLUMNS.items():
        for key, values in then.puts[name].items():
            changed(name, key, dict(zip(columns, values, strict=True)))
    for patch, patches in then.patches.items():
        if patches:
            columns = _COLUMNS[patch.table][patch.start : patch.end]
            for key, given in patches.items():
                changed(patch.table, key, dict(zip(columns, given, strict=True)))
    return found


class Then:
    """An order's rows as its changes up to a moment make them: table to key to columns.

    A row stands once all its columns were said.
    """

    def __init__(self, changes: list[Json]) -> None:
        self.rows: dict[str, dict[Key, Json]] = {name: {} for name in _COLUMNS}
        for changed in changes:
            for name, rows in changed.items():
                columns = _COLUMNS[name][_KEY : _WIDTHS[name]]
                for row in rows:
                    key = tuple(row[column] for column in columns)
                    if key in self.rows[name]:
                        self.rows[name][key].update(row)
                    elif row.keys() >= set(CHANGING[name]):
                        self.rows[name][key] = row


PAST: Final = Model("past", PAST_TABLES, record)
