"""The sales channels: they send baskets as orders at a steady rate, and cancel a few."""

from collections.abc import Awaitable, Callable, Sequence
from datetime import UTC, date, datetime, timedelta
from functools import partial
from itertools import islice
from math import ceil
from random import Random
from typing import Final

from events.network import ItemDefined
from events.orders import CancelledLine, OrderCancelRequested, OrderLine, OrderPlaced
from events.stock import StockReceived
from orchestrator.demo.baskets import Basket, Baskets
from orchestrator.demo.network import CURRENCY, Network
from orchestrator.demo.outbox import Outbox
from orchestrator.demo.partners import Agenda
from orchestrator.demo.supply import Stocking, Supply
from schemas.ports import Clock

_FIRST_BATCH: Final = 50
_BATCH: Final = 200  # orders whose stock is sent while the batch before them is placed
_STOCKED_BY: Final = 0.8  # of that batch
_CANCELLED: Final = 0.03
_CANCELLED_WHOLE: Final = 0.5  # of those; of the others one line is
_CANCEL_AFTER_S: Final = (0.1, 3.0)
_LATE_AFTER_S: Final = (4.0, 12.0)  # when deliveries arrive that orders wait for
_STOCKED_WITHIN_S: Final = 30.0
_PROMISED: Final = 0.25  # orders with a day of delivery
_PROMISED_DAYS: Final = (1, 5)
_CHANNELS: Final = ("web", "app")
_TICK_S: Final = 0.02


class Channel:
    """Sends what comes from outside and is no partner's: network, items, stock, orders."""

    def __init__(
        self,
        outbox: Outbox,
        clock: Clock,
        baskets: Baskets,
        network: Network,
        *,
        seed: int,
        pace: float,
    ) -> None:
        """Nothing sent yet. `pace` makes what follows an order later (sooner below 1)."""
        self._pace = pace
        self._outbox = outbox
        self._clock = clock
        self._network = network
        self._stocking = Stocking(network, seed)
        self._baskets = baskets.stream(seed)
        self._chance = Random(seed)  # noqa: S311  (a repeatable demo is wanted)
        self._agenda = Agenda(clock)
        self.pairs: set[tuple[str, str]] = set()
        """Node and item of everything stocked so far."""
        self.placed = 0
        self.cancellations = 0
        self.items = 0

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
        self._release(self._supply(batch))
        await self._await_stock(stocked)
        start, sent = self._clock.monotonic(), 0
        while batch:
            left = None if orders is None else orders - self.placed - len(batch)
            following = self._next(left, _BATCH)
            supply = self._supply(following)
            # The next batch's stock comes bit by bit, so that no order queues behind a heap of it.
            step = ceil(len(supply) / (len(batch) * _STOCKED_BY))
            for number, basket in enumerate(batch):
                while sent / rate > self._clock.monotonic() - start:
                    self._agenda.do_what_is_due()
                    await self._clock.sleep(_TICK_S)
                self._place(basket)
                self._release(supply[number * step : (number + 1) * step])
                sent += 1
            await self._outbox.flush()
            batch = following
        while self._agenda.waiting:
            self._agenda.do_what_is_due()
            await self._clock.sleep(_TICK_S)
        await self._outbox.flush()

    def _next(self, left: int | None, at_most: int) -> list[Basket]:
        return list(islice(self._baskets, at_most if left is None else min(left, at_most)))

    def _supply(self, baskets: Sequence[Basket]) -> list[ItemDefined | StockReceived]:
        """Items and stock that these baskets need; plans what arrives later."""
        supply: Supply = self._stocking.supply(baskets)
        for late in supply.later:
            after_s = self._chance.uniform(*_LATE_AFTER_S) * self._pace
            self._agenda.after(after_s, partial(self._receive, late))
        return [*supply.items, *supply.receipts]

    def _release(self, facts: Sequence[ItemDefined | StockReceived]) -> None:
        for fact in facts:
            if isinstance(fact, ItemDefined):
                self.items += 1
                self._outbox.put(fact, fact.record_key())
            else:
                self._receive(fact)

    def _receive(self, receipt: StockReceived) -> None:
        self.pairs.add((receipt.node_id, receipt.sku))
        name = f"{receipt.node_id}:{receipt.document}:{receipt.document_line}"
        self._outbox.put(receipt, name)

    async def _await_stock(self, stocked: Callable[[], Awaitable[int]]) -> None:
        """The first orders come once the shelves are full: else they would all wait for stock.

        Raises:
            TimeoutError: the stock does not get into the read model.
        """
        deadline = self._clock.monotonic() + _STOCKED_WITHIN_S
        while (there := await stocked()) < len(self.pairs):
            if self._clock.monotonic() > deadline:
                raise TimeoutError(
                    f"{_STOCKED_WITHIN_S:g} s after it was sent, the read model has stock of "
                    f"{there} of {len(self.pairs)} items at nodes: look at `headrace tail rejected`"
                )
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
            deliver_by=self._deliver_by(now),
            attributes={"store": store.node_id},
            lines=basket.order_lines(),
        )
        self._outbox.put(order, f"order:{order.order_id}")
        self.placed += 1
        if self._chance.random() < _CANCELLED:
            after_s = self._chance.uniform(*_CANCEL_AFTER_S) * self._pace
            whole = self._chance.random() < _CANCELLED_WHOLE
            part = None if whole else self._chance.choice(order.lines)
            self._agenda.after(after_s, lambda: self._cancel(order, part))

    def _deliver_by(self, now: datetime) -> date | None:
        if self._chance.random() >= _PROMISED:
            return None
        days = self._chance.randint(*_PROMISED_DAYS)
        return (now + timedelta(days=days)).date()

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
