"""The read model as the demo sees it: PostgreSQL's rows, nothing of Headrace's insides."""

from typing import Final, NamedTuple

import psycopg

from orchestrator.demo.audit import Bin, Counts, OrderKey, Rows
from projections.schema import options

_CONNECT_S: Final = 10


class Totals(NamedTuple):
    """What the live view shows."""

    orders: dict[str, int]  # by status
    backordered: int  # units
    on_hand: int
    reserved: int
    held: int
    stocked: int  # pairs of node and item
    exceptions: dict[str, int]  # open ones by kind
    in_flight: int  # orders, not refused, with units open, allocated or shipped

    @property
    def taken(self) -> int:
        """Orders in the read model."""
        return sum(self.orders.values())


class ReadModel:
    """A connection of its own; `psycopg.Error` when the server is gone."""

    def __init__(self, connection: psycopg.AsyncConnection) -> None:
        """Use `open`."""
        self._connection = connection

    @staticmethod
    async def open(url: str, schema: str) -> "ReadModel":
        """Connect."""
        return ReadModel(
            await psycopg.AsyncConnection.connect(
                url, autocommit=True, options=options(schema), connect_timeout=_CONNECT_S
            )
        )

    async def close(self) -> None:
        """Disconnect."""
        await self._connection.close()

    async def stocked(self) -> int:
        """Pairs of node and item that were ever stocked."""
        found = await self._connection.execute("SELECT count(*) FROM stock")
        return int((await found.fetchone() or (0,))[0])

    async def seen(self) -> int:
        """Records of the journals that are taken in."""
        found = await self._connection.execute("SELECT coalesce(sum(next), 0)::bigint FROM shards")
        return int((await found.fetchone() or (0,))[0])

    async def totals(self) -> Totals:
        """Everything summed up, by the database."""
        orders = await self._connection.execute("SELECT status, count(*) FROM orders GROUP BY 1")
        by_status: dict[str, int] = dict(await orders.fetchall())
        waiting = await self._connection.execute(
            "SELECT coalesce(sum(backordered), 0) FROM lines WHERE backordered > 0"
        )
        (backordered,) = await waiting.fetchone() or (0,)
        stock = await self._connection.execute(
            "SELECT coalesce(sum(on_hand), 0)::bigint, coalesce(sum(reserved), 0)::bigint,"
            " coalesce(sum(quality_control + damaged + held), 0)::bigint, count(*) FROM stock"
        )
        on_hand, reserved, held, stocked = await stock.fetchone() or (0, 0, 0, 0)
        exceptions = await self._connection.execute(
            "SELECT kind, count(*) FROM exceptions WHERE status = 'open' GROUP BY 1"
        )
        in_flight = await self._connection.execute(
            "SELECT count(DISTINCT (channel, order_id, market_id)) FROM lines"
            " JOIN orders USING (channel, order_id, market_id)"
            " WHERE open + allocated + shipped > 0 AND orders.status <> 'refused'"
        )
        return Totals(
            by_status,
            backordered,
            on_hand,
            reserved,
            held,
            stocked,
            dict(await exceptions.fetchall()),
            (await in_flight.fetchone() or (0,))[0],
        )

    async def rows(self) -> Rows:
        """All of it, for the audit."""
        statuses = await self._connection.execute(
            "SELECT market_id, channel, order_id, status FROM orders"
        )
        orders: dict[OrderKey, tuple[str, dict[str, Counts]]] = {
            (market_id, channel, order_id): (status, {})
            async for market_id, channel, order_id, status in statuses
        }
        lines = await self._connection.execute(
            "SELECT market_id, channel, order_id, line_id, open, allocated, backordered, shipped,"
            " delivered, cancelled FROM lines"
        )
        async for market_id, channel, order_id, line_id, *counts in lines:
            _, by_line = orders.setdefault((market_id, channel, order_id), ("no such order", {}))
            by_line[line_id] = tuple(counts)
        bins = await self._connection.execute(
            "SELECT node_id, sku, on_hand, reserved, quality_control, damaged, held FROM stock"
        )
        stock: dict[tuple[str, str], Bin] = {
            (node_id, sku): tuple(units) async for node_id, sku, *units in bins
        }
        return Rows(orders, stock)
