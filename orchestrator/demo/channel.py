"""The sales channels: they send baskets as orders at a steady rate, and cancel a few."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from datetime import UTC, datetime
from functools import partial
from itertools import islice
from random import Random
from typing import Final

from events.orders import CancelledLine, OrderCancelRequested, OrderLine, OrderPlaced
from events.stock import StockReceived
from orchestrator.demo.baskets import Basket, Baskets
from orchestrator.demo.network import CURRENCY, Network
from orchestrator.demo.outbox import Outbox
from orchestrator.demo.partners import Agenda
from orchestrator.demo.supply import Stocking, Supply
from schemas.ports import Clock

_FIRST_BATCH: Final = 50
_BATCH: Final = 200  # orders whose stock is sent together, one batch ahead
_CANCELLED: Final = 0.03
_CANCELLED_WHOLE: Final = 0.5  # of those; of the others one line is
_CANCEL_AFTER_S: Final = (0.3, 8.0)
_LATE_AFTER_S: Final = (4.0, 12.0)  # when deliveries arrive that orders wait for
_STOCKED_WITHIN_S: Final = 30.0
_CHANNELS: Final = ("web", "app")
_TICK_S: Final = 0.02


class Channel:
    """Sends what comes from outside and is no partner's: network, items, stock, orders."""

    def __init__(
        self, outbox: Outbox, clock: Clock, baskets: Baskets, network: Network, seed: int
    ) -> None:
        """Nothing sent yet."""
        self._outbox = outbox
        self._clock = clock
        self._network = network
        self._stocking = Stocking(network, seed)
        self._baskets = baskets.stream(seed)
        self._chance = Random(seed)  # noqa: S311  (a repeatable demo is wanted)
        self._agenda = Agenda(clock)
        self._batches = 0
        self.pairs: set[tuple[str, str]] = set()
        """Node and item of everything stocked so far."""
        self.placed = 0
        self.cancellations = 0
        self.items = 0
        self.done = asyncio.Event()
        """All orders are sent, and what follows them."""

    async def define_network(self) -> None:
        """Markets, nodes and the carrier; returns when they are acknowledged."""
        for fact in self._network.facts():
            self._outbox.put(fact, fact.record_key())
        await self._outbox.flush()

    async def run(
        self, orders: int | None, rate: float, stocked: Callable[[], Awaitable[int]]
    ) -> None:
        """Send so many orders (None: without end) at `rate` a second, stock ahead of them.

        `stocked` tells how many pairs of node and item the read model has.
        """
        batch = self._next(orders, _FIRST_BATCH)
        await self._stock(batch)
        await self._await_stock(stocked)
        start, sent = self._clock.monotonic(), 0
        while batch:
            left = None if orders is None else orders - self.placed - len(batch)
            following = self._next(left, _BATCH)
            supplied = asyncio.create_task(self._stock(following))
            for basket in batch:
                while sent / rate > self._clock.monotonic() - start:
                    self._agenda.do_what_is_due()
                    await self._clock.sleep(_TICK_S)
                self._place(basket)
                sent += 1
            await supplied
            batch = following
        while self._agenda.waiting:
            self._agenda.do_what_is_due()
            await self._clock.sleep(_TICK_S)
        await self._outbox.flush()
        self.done.set()

    def _next(self, left: int | None, at_most: int) -> list[Basket]:
        return list(islice(self._baskets, at_most if left is None else min(left, at_most)))

    async def _stock(self, baskets: Sequence[Basket]) -> None:
        """Send items and stock that these baskets need, and plan what arrives later."""
        self._batches += 1
        supply: Supply = self._stocking.supply(baskets)
        for item in supply.items:
            self._outbox.put(item, item.record_key())
        for receipt in supply.receipts:
            self._receive(receipt)
        self.items += len(supply.items)
        for late in supply.later:
            after_s = self._chance.uniform(*_LATE_AFTER_S)
            self._agenda.after(after_s, partial(self._receive, late))
        await self._outbox.flush()

    def _receive(self, receipt: StockReceived) -> None:
        self.pairs.add((receipt.node_id, receipt.sku))
        name = f"{receipt.node_id}:{receipt.document}:{receipt.document_line}"
        self._outbox.put(receipt, name)

    async def _await_stock(self, stocked: Callable[[], Awaitable[int]]) -> None:
        """The first orders come once the shelves are full: else they would all wait for stock."""
        deadline = self._clock.monotonic() + _STOCKED_WITHIN_S
        while await stocked() < len(self.pairs) and self._clock.monotonic() < deadline:
            await self._clock.sleep(_TICK_S)

    def _place(self, basket: Basket) -> None:
        now = datetime.fromtimestamp(self._clock.now_ms() / 1000, UTC)
        store = self._network.stores[basket.store_id]
        order = OrderPlaced(
            channel=_CHANNELS[basket.household_id % len(_CHANNELS)],
            market_id=store.market_id,
            order_id=basket.basket_id,
            placed_at=basket.placed_at(now),
            currency=CURRENCY,
            customer_id=f"household-{basket.household_id}",
            ship_to=self._network.home_of(basket.household_id, basket.store_id),
            attributes={"store": store.node_id},
            lines=[
                OrderLine(
                    line_id=str(number),
                    sku=line.item.sku,
                    name=line.item.name,
                    quantity=line.quantity,
                    unit_price_minor=line.unit_price_minor,
                    total_minor=line.total_minor,
                )
                for number, line in enumerate(basket.lines, 1)
            ],
        )
        self._outbox.put(order, f"order:{order.order_id}")
        self.placed += 1
        if self._chance.random() < _CANCELLED:
            after_s = self._chance.uniform(*_CANCEL_AFTER_S)
            whole = self._chance.random() < _CANCELLED_WHOLE
            part = None if whole else self._chance.choice(order.lines)
            self._agenda.after(after_s, lambda: self._cancel(order, part))

    def _cancel(self, order: OrderPlaced, part: OrderLine | None) -> None:
        self.cancellations += 1
        self._outbox.put(
            OrderCancelRequested(
                channel=order.channel,
                market_id=order.market_id,
                order_id=order.order_id,
                reason="the customer changed their mind",
                lines=None if part is None else [CancelledLine(line_id=part.line_id)],
            ),
            f"cancel:{order.order_id}",
        )
