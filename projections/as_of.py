"""What the past is asked: what was true at a moment, in the shapes of the read models' answers.

What never changes about an order comes from the read models, which must have got there too.
"""

from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from typing import Any, Final, NamedTuple

from projections import schema
from projections.past import Then
from projections.queries import (
    ID,
    NODE_DEFAULTS,
    OF,
    Answer,
    Json,
    Page,
    Reads,
    order_body,
    page_given,
    stock_body,
)


class Bound(NamedTuple):
    """What a shard had done by a moment: all that stands before this entry."""

    shard: int
    seq: int
    entry: int = 0

    @property
    def last_seq(self) -> int:
        """The newest commit that is in it, if only in part."""
        return self.seq if self.entry else self.seq - 1


class Moment(NamedTuple):
    """A moment of some shards. What others held is not known to it."""

    bounds: tuple[Bound, ...]

    @property
    def position(self) -> str:
        """As `Headrace-Position` says it."""
        return ",".join(f"{one.shard}:{one.last_seq}" for one in self.bounds)


class Recorded(NamedTuple):
    """How far a shard's past is. `later`: where what came after a given time begins."""

    shard: int
    seq: int
    journal_next: int
    inbox_next: int
    later: Bound | None


class AsOf:
    """The questions. DatabaseError where PostgreSQL can't answer."""

    def __init__(self, reads: Reads, schema_name: str) -> None:
        self._reads = reads
        self._statements = _statements(schema.named(schema_name, "past"))

    async def recorded(self, time: str | None = None) -> list[Recorded]:
        """How far each shard's past is, and what of it came after `time` (RFC 3339)."""
        rows = await self._reads.rows(self._statements["recorded"], {"time": time})
        return [
            Recorded(
                row["shard"],
                row["seq"],
                row["next"],
                row["inbox_next"],
                Bound(row["shard"], *row["later"]) if row["later"] else None,
            )
            for row in rows
        ]

    async def order(
        self, channel: str, order_id: str, market_id: str | None, moment: Moment
    ) -> Answer:
        """An order as it was; of two markets' orders the first taken. None where there was none."""
        of = {"channel": channel, "order_id": order_id, "market_id": market_id}
        rows = await self._reads.rows(self._statements["order"], of | _bounds(moment))
        if not rows:
            return Answer(None, moment.position)
        return Answer(order_body(channel, order_id, _rows_then(rows[0])), moment.position)

    async def stock(self, sku: str, moment: Moment) -> Answer:
        """An item's stock by node; None where it was neither defined nor stocked."""
        rows = await self._reads.rows(self._statements["stock"], {"sku": sku} | _bounds(moment))
        return Answer(stock_body(sku, rows[0]), moment.position)

    async def nodes(self, page: Page, moment: Moment) -> Answer:
        """Nodes by id, as they were defined."""
        rows = await self._reads.rows(self._statements["nodes"], page_given(page) | _bounds(moment))
        items = [
            NODE_DEFAULTS | {"time_zone": time_zone} | data
            for data, time_zone in rows[0]["items"] or []
        ]
        following = page.next([(item["node_id"],) for item in items])
        return Answer({"items": items, "next": following}, moment.position)


def _bounds(moment: Moment) -> Json:
    columns = zip(*moment.bounds, strict=True) if moment.bounds else ((), (), ())
    return dict(zip(("shards", "seqs", "entries"), map(list, columns), strict=True))


def _rows_then(row: Json) -> Json:
    """The rows of the read models as they stood, for `order_body`."""
    then = Then(row["changes"])
    order = then.rows["orders"][()]
    return {
        **row,
        "status": order["status"],
        "reasons": row["reasons"] if order["status"] == "refused" else None,
        "promised_by": _moment(order["promised_by"]),
        "promise": order["promise"],
        "lines": list(_lines(then, row["lines"] or ())),
        "fulfillments": [
            (
                one["fulfillment_id"],
                one["node_id"],
                one["status"],
                one["request_status"],
                *(_time(one[name]) for name in ("requested_at", "ship_by", "deliver_by")),
                *(one[name] for name in ("carrier", "service", "lines")),
            )
            for (fulfillment_id,), one in sorted(
                then.rows["fulfillments"].items(), key=lambda item: (len(item[0][0]), item[0])
            )
        ],
        "packages": list(_packages(then, row["packages"] or ())),
    }


def _lines(then: Then, written: Sequence[Sequence[Any]]) -> Iterator[Sequence[Any]]:
    for line_id, sku, quantity, data in written:
        counts = then.rows["lines"].get((line_id,))
        if counts is not None:
            names = ("open", "allocated", "backordered", "shipped", "delivered", "cancelled")
            yield (line_id, sku, quantity, *(counts[name] for name in names), data)


def _packages(then: Then, written: Sequence[Sequence[Any]]) -> Iterator[Sequence[Any]]:
    for fulfillment_id, package_id, shipped_at, data in written:
        one = then.rows["packages"].get((fulfillment_id, package_id))
        if one is not None:
            yield (
                fulfillment_id,
                one["status"],
                _time(one["status_at"]),
                one["estimated_delivery_at"],
                shipped_at,
                data,
            )


def _moment(time: str | None) -> datetime | None:
    return None if time is None else datetime.fromisoformat(time).astimezone(UTC)


def _time(time: str | None) -> str | None:
    """RFC 3339 as PostgreSQL says it in JSON."""
    moment = _moment(time)
    if moment is None:
        return None
    fraction = f".{moment.microsecond:06d}".rstrip("0") if moment.microsecond else ""
    return f"{moment:%Y-%m-%dT%H:%M:%S}{fraction}+00:00"


_BOUND: Final = (
    "bound AS (SELECT * FROM unnest(%(shards)s::integer[], %(seqs)s::bigint[],"
    " %(entries)s::integer[]) AS b (shard, seq, entry))"
)


def _then(table: str) -> str:
    """The condition that a row stood by the bound of its shard."""
    return f"({table}.seq, {table}.entry) < (bound.seq, bound.entry)"


def _statements(past: str) -> dict[str, str]:
    """The statements; `past` is the schema's full name, checked when it was connected to.

    They go from one node to the next by the index, and from there to its newest row before the
    bound, however many rows there are.
    """
    recorded = f"""
SELECT s.shard, s.seq, s.next, s.inbox_next,
 (SELECT json_build_array(t.seq, t.entry) FROM {past}.ticks AS t
  WHERE t.shard = s.shard AND t.at > %(time)s::timestamptz
  ORDER BY t.at, t.seq, t.entry LIMIT 1) AS later
FROM {past}.shards AS s ORDER BY s.shard
"""  # noqa: S608 - names of our own, as in what follows
    order = f"""
WITH {_BOUND}
SELECT o.market_id, o.data, o.recorded_at, o.reasons, c.changes,
 (SELECT json_agg(json_build_array(line_id, sku, quantity, data) ORDER BY n)
   FROM lines WHERE {OF}) AS lines,
 (SELECT json_agg(json_build_array(fulfillment_id, package_id, shipped_at, data)
   ORDER BY seq, entry, n, package_id) FROM packages WHERE {OF}) AS packages,
 (SELECT json_agg(json_build_object('at', at, 'event', event, 'detail', detail, 'position', {ID})
   ORDER BY seq, entry, n) FROM timeline
  WHERE {OF} AND {_then("timeline")}) AS timeline
FROM orders AS o JOIN bound USING (shard), LATERAL (
  SELECT json_agg(h.changes ORDER BY h.seq, h.entry) AS changes
  FROM {past}.order_changes AS h WHERE {OF} AND {_then("h")}) AS c
WHERE o.channel = %(channel)s AND o.order_id = %(order_id)s
 AND (%(market_id)s::text IS NULL OR o.market_id = %(market_id)s) AND c.changes IS NOT NULL
ORDER BY o.recorded_at, o.market_id LIMIT 1
"""  # noqa: S608
    stock = f"""
WITH RECURSIVE {_BOUND}, node AS (
  (SELECT node_id, shard FROM {past}.stock_balances
   WHERE sku = %(sku)s ORDER BY node_id LIMIT 1)
  UNION ALL
  SELECT following.* FROM node, LATERAL (
    SELECT node_id, shard FROM {past}.stock_balances
    WHERE sku = %(sku)s AND node_id > node.node_id ORDER BY node_id LIMIT 1) AS following
), incoming AS (
  SELECT node_id, sum(units)::bigint AS units FROM (
    SELECT DISTINCT ON (i.node_id, i.document, i.document_line) i.node_id, i.units
    FROM {past}.inbound_balances AS i JOIN bound USING (shard)
    WHERE i.sku = %(sku)s AND {_then("i")}
    ORDER BY i.node_id, i.document, i.document_line, i.seq DESC, i.entry DESC) AS newest
  GROUP BY node_id
)
SELECT
 EXISTS (SELECT FROM {past}.items_defined AS d JOIN bound USING (shard)
  WHERE d.sku = %(sku)s AND {_then("d")}) AS defined,
 (SELECT json_agg(json_build_object('node_id', node_id, 'market_id', market_id,
   'on_hand', on_hand, 'reserved', reserved, 'held', quality_control + damaged + held,
   'available', on_hand - reserved - quality_control - damaged - held,
   'incoming', coalesce((SELECT units FROM incoming WHERE incoming.node_id = node.node_id), 0),
   'states', json_build_object('quality_control', quality_control, 'damaged', damaged,
    'held', held)) ORDER BY node_id)
  FROM node JOIN bound USING (shard), LATERAL (
    SELECT market_id, on_hand, reserved, quality_control, damaged, held
    FROM {past}.stock_balances AS s
    WHERE s.sku = %(sku)s AND s.node_id = node.node_id AND {_then("s")}
    ORDER BY s.seq DESC, s.entry DESC LIMIT 1) AS newest) AS nodes
"""  # noqa: S608
    nodes = f"""
WITH {_BOUND}
SELECT (SELECT json_agg(json_build_array(page.data, page.time_zone)) FROM (
  SELECT newest.data, (SELECT m.data->>'time_zone' FROM {past}.market_versions AS m
    WHERE m.market_id = newest.market_id AND (m.seq, m.entry) < (newest.b_seq, newest.b_entry)
    ORDER BY m.seq DESC, m.entry DESC LIMIT 1) AS time_zone
  FROM (
    SELECT DISTINCT ON (v.node_id) v.node_id, v.market_id, v.data,
     bound.seq AS b_seq, bound.entry AS b_entry
    FROM {past}.node_versions AS v JOIN bound USING (shard)
    WHERE {_then("v")} AND (%(after)s::json IS NULL OR v.node_id > %(after)s::json->>0)
    ORDER BY v.node_id, v.seq DESC, v.entry DESC LIMIT %(limit)s) AS newest
  ORDER BY newest.node_id) AS page) AS items
"""  # noqa: S608
    return {"recorded": recorded, "order": order, "stock": stock, "nodes": nodes}
