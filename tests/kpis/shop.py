"""Orders whose lives are journaled in virtual time: found, split, backordered, late, rejected."""

from collections.abc import Iterator
from random import Random
from typing import Any, Final

import orjson

from bench.recovery import Book
from bench.workload import Inbox
from events.inputs import INPUTS
from orchestrator.core.orders import Order
from schemas.cloudevents import emit
from schemas.ports import Record, Writer
from schemas.times import rfc3339

MARKET: Final = "US"  # as Book has it
SKUS: Final = [f"A{number}" for number in range(12)]
_PLACES: Final = [(42.4, -71.1), (41.9, -87.6), (34.1, -118.2), (40.7, -74.0), (33.7, -84.4)]
NODES: Final = [f"N{number}" for number in range(len(_PLACES))]
MINUTES: Final = 70  # so that the first ones leave the hour
_A_COMMIT: Final = 40  # orders
_DAY_MS: Final = 86_400_000


class Shop:
    """Writes the journal of shard 0, some orders at a time."""

    def __init__(self, writer: Writer, orders: int, seed: int) -> None:
        self.book = Book(writer)
        self.inbox = Inbox()
        self.start_ms = self.inbox.now_ms
        self._orders = orders
        self._chance = Random(seed)
        self._count = 0

    async def open(self) -> None:
        """The network and its first stock."""
        await self.book.open()
        market = {"market_id": MARKET, "currency": "USD", "time_zone": "UTC"}
        await self._send("market_defined", market)
        for sku in SKUS:
            await self._send("item_defined", {"sku": sku, "name": sku, "weight_g": 400})
        for node_id, (lat, lon) in zip(NODES, _PLACES, strict=True):
            node = {"node_id": node_id, "market_id": MARKET, "name": node_id, "kind": "store"}
            place = {"address": {"country": "US"}, "location": {"lat": lat, "lon": lon}}
            await self._send("node_defined", {**node, **place, "handling_cost_minor": 30})
        for carrier, bands in (
            ("ups", [(900, 400, 2), (100_000, 1_900, 4)]),
            ("dhl", [(100_000, 900, 3)]),
        ):
            rates = [
                {"to_km": km, "base_minor": minor, "per_kg_minor": 10, "transit_days": days}
                for km, minor, days in bands
            ]
            service = {"market_id": MARKET, "carrier": carrier, "service": "ground"}
            levels = {"service_levels": ["standard"]}
            await self._send("carrier_service_defined", {**service, **levels, "rates": rates})
        await self._receive(self._orders // 3)
        await self.book.commit()

    async def sell(self) -> None:
        """All orders, and what becomes of them."""
        step_ms = MINUTES * 60_000 // self._orders
        for first in range(0, self._orders, _A_COMMIT):
            numbers = range(first, min(first + _A_COMMIT, self._orders))
            for number in numbers:
                self.inbox.now_ms += step_ms
                await self._place(number)
            await self.book.commit()
            for order in self._taken(numbers):
                await self._follow(order)
            if first % (5 * _A_COMMIT) == 0:
                await self._receive(max(1, self._orders // 40))
            await self.book.commit()

    async def later(self, minutes: int) -> None:
        """Nothing happens for so long, but for a tick."""
        self.inbox.now_ms += minutes * 60_000
        await self._send(
            "market_defined", {"market_id": "other", "currency": "USD", "time_zone": "UTC"}
        )
        await self.book.commit()

    async def _send(self, type_: str, data: dict[str, Any]) -> None:
        self._count += 1
        model = INPUTS[type_]
        at = rfc3339(self.inbox.now_ms)
        headers = emit(type_, str(self._count), "shop", at)
        record = Record(b"", orjson.dumps(data), headers)
        await self.book.take(self.inbox.take(model.TOPIC, record))

    async def _receive(self, units: int) -> None:
        for node_id in NODES:
            for sku in self._chance.sample(SKUS, 6):
                received = {"node_id": node_id, "sku": sku, "quantity": units}
                await self._send("stock_received", received)

    async def _place(self, number: int) -> None:
        chance = self._chance
        lat, lon = chance.choice(_PLACES)
        placed = {
            "channel": chance.choice(["web", "store"]),
            "market_id": MARKET,
            "order_id": str(number),
            "placed_at": rfc3339(self.inbox.now_ms - chance.randrange(5_000)),
            "currency": "EUR" if number % 31 == 7 else "USD",  # refused
            "ship_to": {"country": "US", "location": {"lat": lat, "lon": lon}},
            "lines": [
                {"line_id": str(n), "sku": sku, "quantity": chance.randint(1, 4)}
                for n, sku in enumerate(chance.sample(SKUS, chance.randint(1, 3)))
            ],
        }
        await self._send("order_placed", placed)
        if number % 29 == 3:  # the same in other words is refused, and raised
            await self._send("order_placed", placed | {"customer_id": "another"})

    def _taken(self, numbers: range) -> Iterator[Order]:
        orders = self.book.shard.markets[MARKET].orders
        for number in numbers:
            for channel in ("web", "store"):
                if (order := orders.get(f"{channel}/{number}")) is not None:
                    yield order

    async def _follow(self, order: Order) -> None:
        chance = self._chance
        for one in list(order.fulfillments):
            work = {"node_id": one.node_id, "fulfillment_id": one.fulfillment_id}
            what = chance.random()
            if what < 0.1:
                rejected = {**work, "reason": "damaged", "stock_effect": "none"}
                await self._send("fulfillment_rejected", rejected)
            elif what < 0.85:
                await self._arrives(one.fulfillment_id, work)

    async def _arrives(self, fulfillment_id: str, work: dict[str, Any]) -> None:
        chance, now_ms = self._chance, self.inbox.now_ms
        carrier, number = chance.choice(["ups", "dhl"]), f"T{fulfillment_id}"
        package = {"package_id": "1", "carrier": carrier, "tracking_number": number}
        shipped = {**work, "shipped_at": rfc3339(now_ms), "packages": [package]}
        await self._send("fulfillment_shipped", shipped)
        if chance.random() < 0.9:
            arrived_ms = now_ms + chance.randint(_DAY_MS, 6 * _DAY_MS)
            tracked = {"carrier": carrier, "tracking_number": number, "market_id": MARKET}
            tracked |= {"status": "delivered", "at": rfc3339(arrived_ms)}
            await self._send("tracking_updated", tracked)
