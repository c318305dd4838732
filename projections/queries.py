"""What the read models are asked: one statement a question, answered with its position."""

from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import Any, NamedTuple, TypeAlias

import orjson
import psycopg
import psycopg_pool
from psycopg.types.json import set_json_loads

from events.network import NodeDefined
from projections import schema
from projections.failures import why
from schemas.ports import DatabaseError

Json: TypeAlias = dict[str, Any]

_STATEMENT_S = 10
_CONNECT_S = 5
_ROWS = 8  # connections

NODE_DEFAULTS: Json = {
    name: field.default
    for name, field in NodeDefined.model_fields.items()
    if not field.is_required()
}

_POSITION = "(SELECT string_agg(shard || ':' || seq, ',' ORDER BY shard) FROM shards) AS position"
OF = "channel = o.channel AND order_id = o.order_id AND market_id = o.market_id"
ID = "shard || '.' || seq || '.' || entry || '.' || n"

_ORDER = f"""
SELECT {_POSITION}, o.market_id, o.status, o.reasons, o.promised_by, o.promise, o.data,
 o.recorded_at,
 (SELECT json_agg(json_build_array(line_id, sku, quantity, open, allocated, backordered, shipped,
   delivered, cancelled, data) ORDER BY n) FROM lines WHERE {OF}) AS lines,
 (SELECT json_agg(json_build_array(fulfillment_id, node_id, status, request_status, requested_at,
   ship_by, deliver_by, carrier, service, lines) ORDER BY length(fulfillment_id), fulfillment_id)
   FROM fulfillments WHERE {OF}) AS fulfillments,
 (SELECT json_agg(json_build_array(fulfillment_id, status, status_at, estimated_delivery_at,
   shipped_at, data) ORDER BY seq, entry, n, package_id) FROM packages WHERE {OF}) AS packages,
 (SELECT json_agg(json_build_object('at', at, 'event', event, 'detail', detail, 'position', {ID})
   ORDER BY seq, entry, n) FROM timeline WHERE {OF}) AS timeline
FROM orders AS o
WHERE channel = %(channel)s AND order_id = %(order_id)s
 AND (%(market_id)s::text IS NULL OR market_id = %(market_id)s)
ORDER BY recorded_at, market_id LIMIT 1
"""  # noqa: S608 - constants

_DECISIONS = f"""
SELECT {_POSITION}, (SELECT json_agg(page) FROM (
  SELECT seq, entry, n, {ID} AS position, at, data FROM decisions WHERE {OF}
   AND (%(after)s::json IS NULL OR (seq, entry, n) >
        ((%(after)s::json->>0)::bigint, (%(after)s::json->>1)::integer,
         (%(after)s::json->>2)::integer))
  ORDER BY seq, entry, n LIMIT %(limit)s) AS page) AS items
FROM orders AS o
WHERE channel = %(channel)s AND order_id = %(order_id)s
 AND (%(market_id)s::text IS NULL OR market_id = %(market_id)s)
ORDER BY recorded_at, market_id LIMIT 1
"""  # noqa: S608 - constants

_STOCK_COLUMNS = (
    "'on_hand', on_hand, 'reserved', reserved, 'held', quality_control + damaged + held,"
    " 'available', on_hand - reserved - quality_control - damaged - held, 'incoming',"
    " (SELECT coalesce(sum(units), 0)::bigint FROM inbound AS i"
    "  WHERE i.sku = stock.sku AND i.node_id = stock.node_id),"
    " 'states', json_build_object('quality_control', quality_control, 'damaged', damaged,"
    " 'held', held)"
)

_STOCK = f"""
SELECT {_POSITION}, EXISTS (SELECT FROM items WHERE sku = %(sku)s) AS defined,
 (SELECT json_agg(json_build_object('node_id', node_id, 'market_id', market_id, {_STOCK_COLUMNS})
   ORDER BY node_id) FROM stock WHERE sku = %(sku)s) AS nodes
"""  # noqa: S608 - constants

_NODES = f"""
SELECT {_POSITION}, (SELECT json_agg(json_build_array(page.data, page.time_zone)) FROM (
  SELECT nodes.data, markets.data->>'time_zone' AS time_zone
  FROM nodes LEFT JOIN markets USING (market_id)
  WHERE %(after)s::json IS NULL OR node_id > %(after)s::json->>0
  ORDER BY node_id LIMIT %(limit)s) AS page) AS items
"""  # noqa: S608 - constants

_NODE_STOCK = f"""
SELECT {_POSITION}, EXISTS (SELECT FROM nodes WHERE node_id = %(node_id)s) AS defined,
 (SELECT json_agg(page.item) FROM (
  SELECT json_build_object('sku', sku, {_STOCK_COLUMNS}) AS item FROM stock
  WHERE node_id = %(node_id)s AND (%(after)s::json IS NULL OR sku > %(after)s::json->>0)
  ORDER BY sku LIMIT %(limit)s) AS page) AS items
"""  # noqa: S608 - constants

_RULE_SETS = f"""
SELECT {_POSITION}, (SELECT json_agg(page) FROM (
  SELECT * FROM (
    SELECT market_id, version, status, proposed_at AS at, approved_at, approval, active_from,
     activation, superseded_at, proposed_at,
     json_build_object('author', data->'author', 'note', data->'note') AS data
    FROM rule_sets
   UNION ALL
    SELECT market_id, version, 'refused', max(at), NULL, NULL, NULL, NULL, NULL, NULL, NULL
    FROM rule_set_refusals AS r
    WHERE NOT EXISTS (SELECT FROM rule_sets WHERE market_id = r.market_id AND version = r.version)
    GROUP BY market_id, version) AS every
  WHERE (%(market_id)s::text IS NULL OR market_id = %(market_id)s)
   AND (%(after)s::json IS NULL OR (at, market_id, version) <
        ((%(after)s::json->>0)::timestamptz, %(after)s::json->>1, %(after)s::json->>2))
  ORDER BY at DESC, market_id DESC, version DESC LIMIT %(limit)s) AS page) AS items
"""  # noqa: S608 - constants

_ORDERS_BY_STATE = """
SELECT market_id, channel, status, count(*) AS orders FROM orders
GROUP BY market_id, channel, status ORDER BY market_id, channel, status
"""

_WORK_BY_STATE = """
SELECT market_id, node_id, carrier, status, count(*) AS fulfillments FROM fulfillments
GROUP BY market_id, node_id, carrier, status ORDER BY market_id, node_id, carrier, status
"""

_RULE_SET = f"""
SELECT {_POSITION},
 (SELECT row_to_json(r) FROM rule_sets AS r
  WHERE market_id = %(market_id)s AND version = %(version)s) AS known,
 (SELECT json_agg(json_build_object('at', at, 'data', data) ORDER BY seq DESC, entry DESC, n DESC)
  FROM (SELECT * FROM rule_set_refusals
   WHERE market_id = %(market_id)s AND version = %(version)s
   ORDER BY seq DESC, entry DESC, n DESC LIMIT 20) AS newest) AS refusals
"""  # noqa: S608 - constants

_SHARDS = "SELECT shard, owner, epoch, seq, next, inbox_next FROM shards ORDER BY shard"

_STATUS = f"""
SELECT {_POSITION},
 (SELECT json_object_agg(status, orders) FROM
   (SELECT status, count(*) AS orders FROM orders GROUP BY status) AS s) AS orders,
 (SELECT json_object_agg(kind, exceptions) FROM
   (SELECT kind, count(*) AS exceptions FROM exceptions WHERE status = 'open' GROUP BY kind) AS e)
   AS exceptions,
 (SELECT coalesce(sum(on_hand), 0) FROM stock)::bigint AS on_hand,
 (SELECT coalesce(sum(reserved), 0) FROM stock)::bigint AS reserved
"""  # noqa: S608 - constants


class Answer(NamedTuple):
    """`body` is JSON or None (no such thing), true at `position` (`<shard>:<seq>,…`)."""

    body: Any
    position: str


class PageError(Exception):
    """A page was asked for after a sort key that no answer gave."""


class Page(NamedTuple):
    """How many, and after which sort key (None: from the start)."""

    limit: int
    after: Sequence[Any] | None

    def next(self, keys: Sequence[Sequence[Any]]) -> Sequence[Any] | None:
        """The sort key that the next page begins after, given this page's; None at the end."""
        return keys[-1] if len(keys) == self.limit else None


class ShardPosition(NamedTuple):
    """How far a shard's read models are."""

    shard: int
    owner: str | None
    epoch: int
    seq: int
    journal_next: int
    inbox_next: int


class Reads:
    """The questions. DatabaseError where PostgreSQL can't answer, PageError at a forged page."""

    def __init__(self, pool: "psycopg_pool.AsyncConnectionPool[psycopg.AsyncConnection]") -> None:
        self._pool = pool

    async def order(self, channel: str, order_id: str, market_id: str | None) -> Answer:
        """An order with all that came of it; of two markets' orders the first taken."""
        of = {"channel": channel, "order_id": order_id, "market_id": market_id}
        rows = await self.rows(_ORDER, of)
        return await self._one(rows, lambda row: order_body(channel, order_id, row))

    async def orders(self, filters: Mapping[str, str | None], page: Page) -> Answer:
        """Orders, newest first. Filters: status, channel, market_id, sku, node_id."""
        conditions = [
            f"o.{name} = %({name})s"
            for name in ("status", "channel", "market_id")
            if filters.get(name) is not None
        ]
        if filters.get("sku") is not None:
            conditions.append(f"EXISTS (SELECT FROM lines WHERE {OF} AND sku = %(sku)s)")
        if filters.get("node_id") is not None:
            conditions.append(
                f"EXISTS (SELECT FROM fulfillments WHERE {OF} AND node_id = %(node_id)s)"
            )
        if page.after is not None:
            conditions.append(
                "(o.recorded_at, o.channel, o.order_id, o.market_id) <"
                " (%(a0)s::timestamptz, %(a1)s, %(a2)s, %(a3)s)"
            )
        where = f"WHERE {' AND '.join(conditions)}" if conditions else ""
        after = {f"a{n}": part for n, part in enumerate(page.after or ())}
        rows = await self.rows(
            f"""
            SELECT {_POSITION}, (SELECT json_agg(page) FROM (
              SELECT order_id, channel, market_id, status, recorded_at, data
              FROM orders AS o {where}
              ORDER BY recorded_at DESC, channel DESC, order_id DESC, market_id DESC LIMIT %(limit)s
            ) AS page) AS items
            """,  # noqa: S608 - constants
            {**filters, **after, "limit": page.limit},
        )
        found = rows[0]["items"] or []
        keys = [
            (row["recorded_at"], row["channel"], row["order_id"], row["market_id"]) for row in found
        ]
        return Answer(
            {"items": [_summary(row) for row in found], "next": page.next(keys)}, _at(rows)
        )

    async def decisions(
        self, channel: str, order_id: str, market_id: str | None, page: Page
    ) -> Answer:
        """An order's decisions as they were recorded, oldest first."""
        of = {"channel": channel, "order_id": order_id, "market_id": market_id}
        rows = await self.rows(_DECISIONS, {**of, **page_given(page)})

        def body(row: Json) -> Json:
            found = row["items"] or []
            keys = [(one["seq"], one["entry"], one["n"]) for one in found]
            return {"items": [_decision(one) for one in found], "next": page.next(keys)}

        return await self._one(rows, body)

    async def stock(self, sku: str) -> Answer:
        """An item's stock by node; None where the item is neither defined nor stocked."""
        rows = await self.rows(_STOCK, {"sku": sku})
        return Answer(stock_body(sku, rows[0]), _at(rows))

    async def nodes(self, page: Page) -> Answer:
        """Nodes by id."""
        rows = await self.rows(_NODES, page_given(page))
        items = [
            NODE_DEFAULTS | {"time_zone": time_zone} | data
            for data, time_zone in rows[0]["items"] or []
        ]
        following = page.next([(item["node_id"],) for item in items])
        return Answer({"items": items, "next": following}, _at(rows))

    async def node_stock(self, node_id: str, page: Page) -> Answer:
        """A node's stock by item; None where the node is unknown."""
        rows = await self.rows(_NODE_STOCK, {"node_id": node_id, **page_given(page)})
        items = rows[0]["items"] or []
        if not items and not rows[0]["defined"]:
            return Answer(None, _at(rows))
        following = page.next([(item["sku"],) for item in items])
        return Answer({"items": items, "next": following}, _at(rows))

    async def exceptions(self, filters: Mapping[str, str | None], page: Page) -> Answer:
        """Exceptions, newest first. Filters: status, kind."""
        conditions = [
            f"{name} = %({name})s" for name in ("status", "kind") if filters.get(name) is not None
        ]
        if page.after is not None:
            conditions.append("(opened_at, exception_id) < (%(a0)s::timestamptz, %(a1)s)")
        where = f"WHERE {' AND '.join(conditions)}" if conditions else ""
        after = {f"a{n}": part for n, part in enumerate(page.after or ())}
        rows = await self.rows(
            f"""
            SELECT {_POSITION}, (SELECT json_agg(page) FROM (SELECT * FROM exceptions {where}
              ORDER BY opened_at DESC, exception_id DESC LIMIT %(limit)s) AS page) AS items
            """,  # noqa: S608 - constants
            {**filters, **after, "limit": page.limit},
        )
        found = rows[0]["items"] or []
        following = page.next([(row["opened_at"], row["exception_id"]) for row in found])
        items = [{name: value for name, value in row.items() if value is not None} for row in found]
        for item in items:
            item["opened_at"] = _utc(item["opened_at"])
            if "resolved_at" in item:
                item["resolved_at"] = _utc(item["resolved_at"])
        return Answer({"items": items, "next": following}, _at(rows))

    async def rule_sets(self, market_id: str | None, page: Page) -> Answer:
        """Versions of rules, without their bodies, the latest proposed first."""
        rows = await self.rows(_RULE_SETS, {"market_id": market_id, **page_given(page)})
        found = rows[0]["items"] or []
        following = page.next([(row["at"], row["market_id"], row["version"]) for row in found])
        return Answer({"items": [_rule_set(row) for row in found], "next": following}, _at(rows))

    async def rule_set(self, market_id: str, version: str) -> Answer:
        """A version with its body, and what was refused about it, newest first."""
        rows = await self.rows(_RULE_SET, {"market_id": market_id, "version": version})
        known, refusals = rows[0]["known"], rows[0]["refusals"] or []
        if known is None and not refusals:
            return Answer(None, _at(rows))
        body = _rule_set(known or {"market_id": market_id, "version": version, "status": "refused"})
        body["refusals"] = [{"at": _utc(one["at"]), **one["data"]} for one in refusals]
        return Answer(body, _at(rows))

    async def by_state(self) -> dict[str, list[Json]]:
        """Orders of each market, channel and status; fulfillments by node, carrier and status."""
        return {
            "orders_by_state": await self.rows(_ORDERS_BY_STATE, {}),
            "fulfillments_by_state": await self.rows(_WORK_BY_STATE, {}),
        }

    async def shards(self) -> list[ShardPosition]:
        """How far each shard's read models are."""
        return [ShardPosition(*row.values()) for row in await self.rows(_SHARDS, {})]

    async def status(self) -> Answer:
        """Orders by status, open exceptions by kind, units on hand and reserved."""
        rows = await self.rows(_STATUS, {})
        row = rows[0]
        body = {
            "orders": row["orders"] or {},
            "exceptions": row["exceptions"] or {},
            "stock": {"on_hand": row["on_hand"], "reserved": row["reserved"]},
        }
        return Answer(body, _at(rows))

    async def _one(self, rows: list[Json], body: Any) -> Answer:  # noqa: ANN401 - a row's reader
        if rows:
            return Answer(body(rows[0]), _at(rows))
        return Answer(None, _at(await self.rows(f"SELECT {_POSITION}", {})))

    async def rows(self, statement: str, given: Mapping[str, Any]) -> list[Json]:
        """What a statement finds; DatabaseError, PageError."""
        try:
            async with self._pool.connection() as connection:
                cursor = connection.cursor(row_factory=psycopg.rows.dict_row)
                await cursor.execute(statement.encode(), _askable(given))
                return await cursor.fetchall()
        except psycopg.DataError as error:  # nothing else that is given can be wrong
            raise PageError("is not the `next` of an answer of this list") from error
        except (psycopg.Error, psycopg_pool.PoolTimeout, OSError) as error:
            raise DatabaseError(f"PostgreSQL could not answer: {why(error)}") from error


@asynccontextmanager
async def open_reads(url: str, schema_name: str) -> AsyncIterator[Reads]:
    """The questions over a pool of connections that only read.

    Raises:
        DatabaseError: PostgreSQL can't be reached.
        SchemaError: the schema is not the one of this release.
    """

    async def configure(connection: psycopg.AsyncConnection) -> None:
        set_json_loads(orjson.loads, connection)

    pool = psycopg_pool.AsyncConnectionPool(
        url,
        kwargs={
            "autocommit": True,
            "connect_timeout": _CONNECT_S,
            "application_name": "headrace api",
            "options": schema.options(
                schema_name,
                default_transaction_read_only="on",
                statement_timeout=str(_STATEMENT_S * 1000),
            ),
        },
        min_size=1,
        max_size=_ROWS,
        timeout=_CONNECT_S,
        configure=configure,
        open=False,
    )
    try:
        async with await psycopg.AsyncConnection.connect(
            url, autocommit=True, connect_timeout=_CONNECT_S
        ) as connection:
            await schema.check(connection, schema_name)
        await pool.open(wait=True, timeout=_CONNECT_S)
    except (psycopg.Error, psycopg_pool.PoolTimeout, OSError) as error:
        raise DatabaseError(
            f"PostgreSQL can't be reached: {why(error)}: check HEADRACE_POSTGRES"
        ) from error
    try:
        yield Reads(pool)
    finally:
        await pool.close()


def _askable(given: Mapping[str, Any]) -> Json:
    """What is given, without NUL, which PostgreSQL refuses; no name holds what it becomes."""
    return {
        name: value.replace("\0", "\x01") if isinstance(value, str) else value
        for name, value in given.items()
    }


def _at(rows: list[Json]) -> str:
    return rows[0]["position"] or ""


def page_given(page: Page) -> Json:
    """A page as statements take it."""
    after = None if page.after is None else orjson.dumps(page.after).decode()
    return {"limit": page.limit, "after": after}


def _utc(time: str | None) -> str | None:
    return time and time.replace("+00:00", "Z")


def _summary(row: Json) -> Json:
    data = row["data"]
    return {
        "order_id": row["order_id"],
        "channel": row["channel"],
        "market_id": row["market_id"],
        "status": row["status"],
        "on_hold": False,
        "placed_at": data["placed_at"],
        "recorded_at": _utc(row["recorded_at"]),
        "currency": data["currency"],
        **{name: data[name] for name in ("order_number", "customer_id") if name in data},
    }


def _rule_set(row: Json) -> Json:
    shown = {
        **{name: row[name] for name in ("market_id", "version", "status")},
        **(row.get("data") or {}),
        "proposed_at": _utc(row.get("proposed_at")),
        "approved_at": _utc(row.get("approved_at")),
        "active_from": _utc(row.get("active_from")),
        "superseded_at": _utc(row.get("superseded_at")),
    }
    approval, activation = row.get("approval") or {}, row.get("activation") or {}
    shown |= {
        "approver": approval.get("approver"),
        "approval_note": approval.get("note"),
        "activated_by": activation.get("activated_by"),
        "activation_note": activation.get("note"),
    }
    return {name: value for name, value in shown.items() if value is not None}


def _decision(row: Json) -> Json:
    return {**row["data"], "at": _utc(row["at"]), "position": row["position"]}


def stock_body(sku: str, row: Json) -> Json | None:
    """An item's stock as it is answered; None where it is neither defined nor stocked."""
    nodes = row["nodes"] or []
    if not nodes and not row["defined"]:
        return None
    names = ("on_hand", "reserved", "held", "available", "incoming")
    total = {name: sum(node[name] for node in nodes) for name in names}
    return {"sku": sku, "nodes": nodes, "total": total}


def order_body(channel: str, order_id: str, row: Json) -> Json:
    """An order as it is answered, from its rows."""
    packages: dict[str, list[Json]] = {}
    for fulfillment_id, status, status_at, estimate, shipped_at, data in row["packages"] or ():
        shown = {**data, "status": status, "shipped_at": _utc(shipped_at)}
        if status_at:
            shown["status_at"] = _utc(status_at)
        if estimate:
            shown["estimated_delivery_at"] = estimate
        packages.setdefault(fulfillment_id, []).append(shown)
    counts = ("open", "allocated", "backordered", "shipped", "delivered", "cancelled")
    body = {
        **row["data"],
        "order_id": order_id,
        "channel": channel,
        "market_id": row["market_id"],
        "status": row["status"],
        "on_hold": False,
        "recorded_at": row["recorded_at"].isoformat().replace("+00:00", "Z"),
        "lines": [
            {
                "line_id": line_id,
                "sku": sku,
                "quantity": quantity,
                **dict(zip(counts, units, strict=True)),
                **(more or {}),
            }
            for line_id, sku, quantity, *units, more in row["lines"] or ()
        ],
        "fulfillments": [
            {
                "fulfillment_id": fulfillment_id,
                "node_id": node_id,
                "status": status,
                "request_status": request_status,
                "requested_at": _utc(requested_at),
                "ship_by": _utc(ship_by),
                "deliver_by": _utc(deliver_by),
                **({"carrier": carrier} if carrier else {}),
                **({"service": service} if service else {}),
                "lines": lines,
                "packages": packages.get(fulfillment_id, []),
            }
            for (
                fulfillment_id,
                node_id,
                status,
                request_status,
                requested_at,
                ship_by,
                deliver_by,
                carrier,
                service,
                lines,
            ) in row["fulfillments"] or ()
        ],
        "timeline": [{**entry, "at": _utc(entry["at"])} for entry in row["timeline"] or ()],
    }
    if row["promised_by"] is not None:
        body["promised_by"] = row["promised_by"].isoformat().replace("+00:00", "Z")
        body["promise"] = row["promise"] or "open"
    if row["reasons"] is not None:
        body["reasons"] = row["reasons"]
    return body
