"""The tables' shapes as data, and `Changes`: what a batch of entries does to them.

`TABLES` are the read models, `PAST_TABLES` what stood in them when, in a schema of its own.

The columns' order is that of the row lists; a patch's columns stand side by side, so that a patch
of a row that the same batch puts is one slice assignment.
"""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple, TypeAlias

Key: TypeAlias = tuple[Any, ...]
Row: TypeAlias = list[Any]


class Table(NamedTuple):
    """A table: columns with their PostgreSQL types, the first `key` of them being the primary key.

    Rows of an `append` table are only ever added.
    """

    name: str
    key: int
    columns: dict[str, str]
    append: bool = False


class Patch(NamedTuple):
    """Columns `[start, end)` of rows that stand already."""

    table: str
    start: int
    end: int


_ORDER = {"channel": "text", "order_id": "text", "market_id": "text"}
_POSITION = {"seq": "bigint", "entry": "integer", "n": "integer"}

ORDERS = Table(
    "orders",
    3,
    {
        **_ORDER,
        "status": "text",
        "reasons": "json",
        "promised_by": "timestamptz",
        "promise": "text",
        "shard": "integer",
        "recorded_at": "timestamptz",
        "data": "json",
    },
)
ORDER_STATUS = Patch("orders", 3, 4)
ORDER_REASONS = Patch("orders", 4, 5)
ORDER_PROMISED_BY = Patch("orders", 5, 6)
ORDER_PROMISE = Patch("orders", 6, 7)

LINES = Table(
    "lines",
    4,
    {
        **_ORDER,
        "line_id": "text",
        "open": "integer",
        "allocated": "integer",
        "backordered": "integer",
        "shipped": "integer",
        "delivered": "integer",
        "cancelled": "integer",
        "n": "integer",
        "sku": "text",
        "quantity": "integer",
        "data": "json",
    },
)
LINE_COUNTS = Patch("lines", 4, 10)

FULFILLMENTS = Table(
    "fulfillments",
    4,
    {
        **_ORDER,
        "fulfillment_id": "text",
        "status": "text",
        "request_status": "text",
        "node_id": "text",
        "requested_at": "timestamptz",
        "ship_by": "timestamptz",
        "deliver_by": "timestamptz",
        "carrier": "text",
        "service": "text",
        **_POSITION,
        "lines": "json",
    },
)
FULFILLMENT_STATUS = Patch("fulfillments", 4, 6)

PACKAGES = Table(
    "packages",
    5,
    {
        **_ORDER,
        "fulfillment_id": "text",
        "package_id": "text",
        "status": "text",
        "status_at": "timestamptz",
        "estimated_delivery_at": "text",
        "shipped_at": "timestamptz",
        **_POSITION,
        "data": "json",
    },
)
PACKAGE_STATUS = Patch("packages", 5, 7)
PACKAGE_ESTIMATE = Patch("packages", 7, 8)

STOCK = Table(
    "stock",
    2,
    {
        "sku": "text",
        "node_id": "text",
        "market_id": "text",
        "on_hand": "bigint",
        "reserved": "bigint",
        "quality_control": "bigint",
        "damaged": "bigint",
        "held": "bigint",
    },
)
INBOUND = Table(
    "inbound",
    4,
    {
        "sku": "text",
        "node_id": "text",
        "document": "text",
        "document_line": "text",
        "units": "bigint",
        "expected_at": "timestamptz",
    },
)
MARKETS = Table("markets", 1, {"market_id": "text", "data": "json"})
NODES = Table("nodes", 1, {"node_id": "text", "market_id": "text", "data": "json"})
# Every shard keeps every item, so that no two shards' transactions write the same row.
ITEMS = Table("items", 2, {"sku": "text", "shard": "integer", "name": "text", "data": "json"})

EXCEPTIONS = Table(
    "exceptions",
    1,
    {
        "exception_id": "text",
        "status": "text",
        "resolved_at": "timestamptz",
        "resolution": "text",
        "opened_at": "timestamptz",
        "market_id": "text",
        "kind": "text",
        "severity": "text",
        "channel": "text",
        "order_id": "text",
        "sku": "text",
        "node_id": "text",
        "detail": "text",
        "rule_set": "text",
    },
)
EXCEPTION_RESOLVED = Patch("exceptions", 1, 4)

RULE_SETS = Table(
    "rule_sets",
    2,
    {
        "market_id": "text",
        "version": "text",
        "status": "text",
        "approved_at": "timestamptz",
        "approval": "json",
        "active_from": "timestamptz",
        "activation": "json",
        "superseded_at": "timestamptz",
        "proposed_at": "timestamptz",
        "data": "json",
    },
)
RULE_SET_STATUS = Patch("rule_sets", 2, 3)
RULE_SET_APPROVAL = Patch("rule_sets", 3, 5)
RULE_SET_ACTIVE = Patch("rule_sets", 5, 6)
RULE_SET_ACTIVATION = Patch("rule_sets", 6, 7)
RULE_SET_SUPERSEDED = Patch("rule_sets", 7, 8)
RULE_SET_REFUSALS = Table(
    "rule_set_refusals",
    5,
    {"market_id": "text", "version": "text", **_POSITION, "at": "timestamptz", "data": "json"},
    append=True,
)

DECISIONS = Table(
    "decisions",
    6,
    {**_ORDER, **_POSITION, "shard": "integer", "at": "timestamptz", "data": "json"},
    append=True,
)
TIMELINE = Table(
    "timeline",
    6,
    {
        **_ORDER,
        **_POSITION,
        "shard": "integer",
        "at": "timestamptz",
        "event": "text",
        "detail": "text",
    },
    append=True,
)

TABLES = {
    table.name: table
    for table in (
        ORDERS,
        LINES,
        FULFILLMENTS,
        PACKAGES,
        STOCK,
        INBOUND,
        MARKETS,
        NODES,
        ITEMS,
        EXCEPTIONS,
        RULE_SETS,
        RULE_SET_REFUSALS,
        DECISIONS,
        TIMELINE,
    )
}

# Rows of the past hold from their entry on (`seq`, `entry`), until the next of the same key.
_SINCE = {"seq": "bigint", "entry": "integer"}
ORDER_CHANGES = Table(
    "order_changes",
    5,
    {**_ORDER, **_SINCE, "shard": "integer", "changes": "json"},
    append=True,
)
STOCK_BALANCES = Table(
    "stock_balances",
    4,
    {
        "sku": "text",
        "node_id": "text",
        **_SINCE,
        "shard": "integer",
        "market_id": "text",
        "on_hand": "bigint",
        "reserved": "bigint",
        "quality_control": "bigint",
        "damaged": "bigint",
        "held": "bigint",
    },
    append=True,
)
INBOUND_BALANCES = Table(
    "inbound_balances",
    6,
    {
        "sku": "text",
        "node_id": "text",
        "document": "text",
        "document_line": "text",
        **_SINCE,
        "shard": "integer",
        "units": "bigint",
    },
    append=True,
)
MARKET_VERSIONS = Table(
    "market_versions",
    3,
    {"market_id": "text", **_SINCE, "shard": "integer", "data": "json"},
    append=True,
)
NODE_VERSIONS = Table(
    "node_versions",
    3,
    {"node_id": "text", **_SINCE, "shard": "integer", "market_id": "text", "data": "json"},
    append=True,
)
ITEMS_DEFINED = Table(
    "items_defined", 4, {"sku": "text", "shard": "integer", **_SINCE}, append=True
)
TICKS = Table("ticks", 3, {"shard": "integer", **_SINCE, "at": "timestamptz"}, append=True)

PAST_TABLES = {
    table.name: table
    for table in (
        ORDER_CHANGES,
        STOCK_BALANCES,
        INBOUND_BALANCES,
        MARKET_VERSIONS,
        NODE_VERSIONS,
        ITEMS_DEFINED,
        TICKS,
    )
}
PATCHES = (
    ORDER_STATUS,
    ORDER_REASONS,
    ORDER_PROMISED_BY,
    ORDER_PROMISE,
    LINE_COUNTS,
    FULFILLMENT_STATUS,
    PACKAGE_STATUS,
    PACKAGE_ESTIMATE,
    EXCEPTION_RESOLVED,
    RULE_SET_STATUS,
    RULE_SET_APPROVAL,
    RULE_SET_ACTIVE,
    RULE_SET_ACTIVATION,
    RULE_SET_SUPERSEDED,
)
_PATCHES_OF = {name: [patch for patch in PATCHES if patch.table == name] for name in TABLES}


class Changes:
    """What one transaction writes: each key once, the last state wins.

    `puts` hold whole rows (new, or replaced), `patches` columns of rows written by earlier
    transactions, `adds` rows of append-only tables. `owner`: who opened the shard, if told.
    """

    __slots__ = ("adds", "owner", "patches", "puts")

    def __init__(self, tables: Mapping[str, Table] = TABLES) -> None:
        self.puts: dict[str, dict[Key, Row]] = {
            name: {} for name, table in tables.items() if not table.append
        }
        self.patches: dict[Patch, dict[Key, Sequence[Any]]] = {
            patch: {} for patch in PATCHES if patch.table in tables
        }
        self.adds: dict[str, list[Row]] = {
            name: [] for name, table in tables.items() if table.append
        }
        self.owner: str | None = None

    def put(self, table: Table, row: Row) -> None:
        """Write a whole row, whatever stood under its key."""
        key = tuple(row[: table.key])
        self.puts[table.name][key] = row
        for patch in _PATCHES_OF[table.name]:
            self.patches[patch].pop(key, None)

    def patch(self, patch: Patch, key: Key, values: Sequence[Any]) -> None:
        """Set a row's columns, where the row stands."""
        row = self.puts[patch.table].get(key)
        if row is None:
            self.patches[patch][key] = values
        else:
            row[patch.start : patch.end] = values

    def add(self, table: Table, row: Row) -> None:
        """Add a row of an append-only table."""
        self.adds[table.name].append(row)

    def __len__(self) -> int:
        """How many rows it writes."""
        return (
            sum(map(len, self.puts.values()))
            + sum(map(len, self.patches.values()))
            + sum(map(len, self.adds.values()))
        )
