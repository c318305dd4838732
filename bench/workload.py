"""What every bench works on: 40 nodes, 500 SKUs each at 20 of them, orders of two lines.

The same in each run. Stock never runs out, so that an order costs the same from first to last.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from random import Random
from typing import Final, NamedTuple
from zlib import crc32

from events.base import Fact, Location
from events.decided import InputRecord
from events.network import ItemDefined, MarketDefined, NodeAddress, NodeDefined
from events.stock import StockReceived
from schemas import inbox
from schemas.cloudevents import Accepted, emit, read
from schemas.ports import Record

MARKET: Final = "US"
CHANNEL: Final = "web"
NODES: Final = 40
SKUS: Final = 500
STOCKED_AT: Final = 20  # nodes that have an item
UNITS: Final = 500_000  # of an item at each
PLACED_AT: Final = "2026-11-22T10:00:00Z"


class Place(NamedTuple):
    """A point, in degrees."""

    lat: float
    lon: float


@dataclass(frozen=True, slots=True)
class Order:
    """Two lines of different items, to somewhere in the United States."""

    order_id: str
    to: Place
    lines: tuple[tuple[str, int], tuple[str, int]]  # SKU and quantity

    def value(self) -> bytes:
        """The data of its `order_placed`."""
        (sku_1, quantity_1), (sku_2, quantity_2) = self.lines
        return (
            f'{{"channel":"{CHANNEL}","market_id":"{MARKET}","order_id":"{self.order_id}",'
            f'"placed_at":"{PLACED_AT}","currency":"USD","customer_id":"C-{self.order_id}",'
            f'"ship_to":{self.ship_to()},'
            f'"lines":[{{"line_id":"1","sku":"{sku_1}","quantity":{quantity_1},'
            f'"unit_price_minor":1999}},{{"line_id":"2","sku":"{sku_2}",'
            f'"quantity":{quantity_2},"unit_price_minor":999}}]}}'
        ).encode()

    def ship_to(self) -> str:
        """The address, as JSON."""
        return (
            f'{{"name":"Test Buyer","address_lines":["{self.order_id} Main St"],'
            '"city":"Cambridge","region":"MA","postal_code":"02139","country":"US",'
            f'"location":{{"lat":{self.to.lat},"lon":{self.to.lon}}}}}'
        )

    def record(self) -> Record:
        """Its record on `orders`."""
        headers = emit("order_placed", self.order_id, "bench", PLACED_AT)
        return Record(self.order_id.encode(), self.value(), headers)


@cache
def nodes() -> dict[str, Place]:
    """Where the nodes are."""
    random = Random(1)
    return {f"N{number:02d}": somewhere(random) for number in range(NODES)}


@cache
def stocked() -> dict[str, list[str]]:
    """The nodes that have each item."""
    random = Random(2)
    return {f"S{number:03d}": random.sample(list(nodes()), STOCKED_AT) for number in range(SKUS)}


def somewhere(random: Random) -> Place:
    """A point in or near the contiguous United States."""
    return Place(round(random.uniform(30, 45), 4), round(random.uniform(-120, -70), 4))


def orders(name: str, count: int) -> Iterator[Order]:
    """So many orders; another name gives others."""
    random = Random(name)
    skus = list(stocked())
    for number in range(count):
        one, other = random.sample(skus, 2)
        lines = ((one, random.randint(1, 3)), (other, 1))
        yield Order(f"{name}-{number:07d}", somewhere(random), lines)


def network() -> Iterator[Fact]:
    """The market, its nodes and the items."""
    yield MarketDefined(market_id=MARKET, currency="USD", time_zone="UTC")
    for node_id, place in nodes().items():
        yield NodeDefined(
            node_id=node_id,
            market_id=MARKET,
            kind="warehouse",
            name=node_id,
            address=NodeAddress(country="US"),
            location=Location(lat=place.lat, lon=place.lon),
        )
    for sku in stocked():
        yield ItemDefined(sku=sku, name=sku)


def stock() -> Iterator[Fact]:
    """What is received before the first order."""
    for sku, at in stocked().items():
        for node_id in at:
            yield StockReceived(node_id=node_id, sku=sku, quantity=UNITS)


def master_data() -> Iterator[tuple[str, Record]]:
    """Everything before the first order: topic and record."""
    for number, fact in enumerate([*network(), *stock()]):
        value = fact.model_dump_json(exclude_defaults=True).encode()
        headers = emit(fact.TYPE, f"master-{number}", "bench", PLACED_AT)
        yield fact.TOPIC, Record(fact.record_key().encode(), value, headers)


def partition_of(record: Record, partitions: int) -> int:
    """The partition that keeps a key's records in order."""
    return crc32(record.key or b"") % partitions


class Inbox:
    """Records as intake would put them into a shard's inbox, and as the engine reads them there."""

    def __init__(self, start_ms: int = 1_795_341_600_000) -> None:
        self._offset = 0
        self.now_ms = start_ms

    def take(self, topic: str, record: Record) -> InputRecord:
        """The engine's view of a public record; a millisecond passes."""
        accepted = read(topic, record.value, record.headers, unknown_fields="refuse")
        if not isinstance(accepted, Accepted):
            raise TypeError(f"intake would reject the bench's own {topic}: {accepted}")
        self._offset += 1
        self.now_ms += 1
        return inbox.decode(
            inbox.encode(
                type_=accepted.type,
                version=accepted.version,
                id_=accepted.id,
                source=accepted.source,
                time_ms=accepted.time_ms,
                origin=(topic, 0, self._offset, self.now_ms),
                data=accepted.data,
            )
        )
