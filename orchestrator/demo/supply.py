"""What the nodes stock: what was sold there, with gaps that make orders split and wait.

Supply is made for one batch of baskets at a time, so that only items that the chosen orders use are
defined.
"""

from collections import Counter
from collections.abc import Sequence
from random import Random
from typing import Final, NamedTuple

from events.network import ItemDefined
from events.stock import StockReceived
from orchestrator.demo.baskets import Basket, Item
from orchestrator.demo.network import CURRENCY, Network

# Shares of the (store, item) pairs of a batch of baskets.
UNIT_G: Final = 350
"""What a unit weighs: the baskets' data doesn't say."""
_NOWHERE: Final = 0.01  # nobody has it: backordered
_ARRIVES_LATER: Final = 0.7  # of those, the store receives it some seconds later
_AT_THE_WAREHOUSE: Final = 0.02  # only the region's warehouse has it: the order is split
_SPARE: Final = (
    0.5  # the warehouse has as much again, so that what a node rejects is found elsewhere
)


class Supply(NamedTuple):
    """What is sent ahead of a batch of orders, and what arrives after it."""

    items: list[ItemDefined]
    receipts: list[StockReceived]
    later: list[StockReceived]


class Stocking:
    """Makes the supply of one batch of baskets after the other, repeatably by seed."""

    def __init__(self, network: Network, seed: int) -> None:
        """Nothing is defined or stocked yet."""
        self._network = network
        self._chance = Random(seed)  # noqa: S311  (a repeatable demo is wanted)
        self._defined: set[str] = set()
        self._batch = 0

    def supply(self, baskets: Sequence[Basket]) -> Supply:
        """Define the items that are new with these baskets, and stock what they ask for."""
        self._batch += 1
        items: list[ItemDefined] = []
        sold: Counter[tuple[int, str]] = Counter()
        for basket in baskets:
            for line in basket.lines:
                sold[basket.store_id, line.item.sku] += line.quantity
                if line.item.sku not in self._defined:
                    self._defined.add(line.item.sku)
                    items.append(_defined(line.item, line.unit_price_minor))
        receipts: list[StockReceived] = []
        later: list[StockReceived] = []
        for (store_id, sku), units in sold.items():
            store = self._network.stores[store_id].node_id
            warehouse = self._network.nearest_warehouse[store].node_id
            draw = self._chance.random()
            spare = self._chance.random()
            if draw < _NOWHERE:
                if spare < _ARRIVES_LATER:
                    later.append(self._received(store, sku, units, "late"))
            elif draw < _NOWHERE + _AT_THE_WAREHOUSE:
                receipts.append(self._received(warehouse, sku, units, store))
            else:
                receipts.append(self._received(store, sku, units, "first"))
                if spare < _SPARE:
                    receipts.append(self._received(warehouse, sku, units, store))
        return Supply(items, receipts, later)

    def _received(self, node_id: str, sku: str, units: int, what: str) -> StockReceived:
        """One line of a delivery note; the note's name keeps deliveries of the same item apart."""
        return StockReceived(
            node_id=node_id,
            sku=sku,
            quantity=units,
            document=f"delivery-{self._batch}-{what}",
            document_line=sku,
        )


def _defined(item: Item, price_minor: int) -> ItemDefined:
    return ItemDefined(
        sku=item.sku,
        name=item.name,
        category=item.category,
        weight_g=UNIT_G,
        value_minor=price_minor,
        currency=CURRENCY,
    )
