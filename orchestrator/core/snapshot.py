"""Snapshots: a shard's state as rows of JSON, and back.

`FIELDS` says of every field of every class of the state what becomes of it; a test holds that it
leaves none out. Orders are referred to by their numbers. What only grows at its end (ids seen,
business keys) is cut into segments of `SEGMENT` entries: a full one never changes again, so that a
snapshot need write only those that no snapshot has yet.
"""

from array import array
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping
from collections.abc import Set as AbstractSet
from itertools import chain, groupby, islice, repeat
from operator import attrgetter
from sys import intern
from typing import Any, Final, NamedTuple, TypeVar

import orjson

from events.rules import Body
from orchestrator.core.config import ORIGINS_KEPT
from orchestrator.core.ledger import Bin
from orchestrator.core.orders import (
    DIGEST_BYTES,
    Cancellation,
    Fulfillment,
    FulfillmentLine,
    Order,
    OrderLine,
    PoolCount,
    Shipment,
)
from orchestrator.core.shard import Market, Node, Shard, Shelf
from orchestrator.core.sourcing.places import Places, Table
from orchestrator.core.sourcing.rates import LaneKey, Service
from orchestrator.core.sourcing.strategies import DEFAULT, RuleSet, RuleVersion

SEGMENT: Final = 8_192
"""Entries of a segment. Part of the format: segments of another length are others."""
_PIECE: Final = 1_000  # entries of a long mapping in one row

Row = list[Any]
T = TypeVar("T")


class Fields(NamedTuple):
    """What becomes of a class's fields: written as they are, written by code, or made anew."""

    plain: tuple[str, ...]
    written: tuple[str, ...] = ()
    made: tuple[str, ...] = ()  # from others, or of no meaning between two entries


FIELDS: Final[dict[type, Fields]] = {
    OrderLine: Fields(
        (
            *("line_id", "sku", "quantity", "allow_backorder", "allocated", "backordered"),
            *("shipped", "delivered", "cancelled"),
        )
    ),
    FulfillmentLine: Fields(
        ("line_id", "sku", "asked", "reserved", "shipped", "rejected", "cancelled"), ("drew_on",)
    ),
    PoolCount: Fields(("pool_id", "taken")),
    Cancellation: Fields(("cancellation_id", "lines", "refused", "reason", "taken_back")),
    Shipment: Fields(("packages", "loose", "tracking", "delivered")),
    Fulfillment: Fields(
        (
            *("fulfillment_id", "node_id", "status", "request_status", "asked_to_cancel"),
            *("ship_day", "ship_by_ms", "deliver_by_ms", "carrier", "service", "booked"),
            "release_ms",
        ),
        ("lines", "cancellations", "shipments"),
    ),
    Order: Fields(
        (
            *("market_id", "channel", "order_id", "number", "priority", "allow_split"),
            *("allow_partial", "refused", "closing", "unknown", "promised_ms", "told_ms"),
            *("delivered_ms", "promise_counted", "patience_ms"),
        ),
        ("digest", "raw", "lines", "fulfillments", "held_by"),
    ),
    Bin: Fields(
        (
            *("available", "on_hand", "reserved", "quality_control", "damaged", "held"),
            *("forgotten_ms", "counted", "sold", "sold_day"),
        ),
        ("movements", "lots", "promises"),
    ),
    RuleVersion: Fields(("author", "body", "status"), ("content",)),
    Node: Fields(
        ("suppressed", "closed_until_ms", "lifted", "index", "last_used"),
        ("defined", "booked"),
        (
            *("active", "calendar", "capabilities", "capacity_orders", "capacity_units"),
            *("country", "groups", "handling_cost_minor", "kind", "market_id", "node_id"),
            *("offers", "pickup", "region", "sends", "ships", "unit_cost_minor", "vector"),
        ),
    ),
    Market: Fields(
        (
            *("defined", "network_version", "suppression_version", "fulfillments_planned"),
            "refill_queued",
        ),
        (
            *("available", "backordered", "bins", "held", "improvable", "inbound", "nodes"),
            *("orders", "pool_taken", "promises", "published", "retired", "rule_versions"),
            *("rules", "rules_scheduled", "services", "suspensions", "waiting"),
        ),
        ("booked_changes", "currency", "market_id", "node_list", "tables", "time_zone"),
    ),
    Shard: Fields(
        (
            *("now_ms", "ids_taken", "ids_dropped", "parked_tracking", "timers_set"),
            *("orders_taken", "orders_open", "exceptions_opened", "packages_sent"),
        ),
        (
            *("documents", "exceptions", "id_order", "ids", "items", "markets", "marks"),
            *("nodes", "origins", "parked", "places", "timers", "tracking", "unknown_skus", "work"),
        ),
        (
            *("config", "number", "freed_nodes", "freed_skus", "touched_days"),
            *(
                "touched_inbound",
                "touched_lots",
                "touched_networks",
                "touched_orders",
                "touched_pools",
            ),
            *("touched_skus", "touched_stock", "touched_waiting"),
        ),
    ),
    Places: Fields((), ("tables", "_coming"), ("_memory",)),
    Table: Fields(
        ("version", "_codes", "_regions"), ("_centres", "_latitudes", "_longitudes", "_rows")
    ),
}

_TAKE: Final[dict[type, Callable[[Any], tuple[Any, ...]]]] = {
    kind: attrgetter(*fields.plain) for kind, fields in FIELDS.items() if fields.plain
}
_COUNTS: Final = ("available", "backordered", "published", "improvable")


def _set(known: T, values: Iterable[Any]) -> T:
    """Set the plain fields."""
    for name, value in zip(FIELDS[type(known)].plain, values, strict=True):
        setattr(known, name, value)
    return known


def _pieces(entries: Iterable[T]) -> Iterator[list[T]]:
    rest = iter(entries)
    while piece := list(islice(rest, _PIECE)):
        yield piece


# --- writing


def rows(shard: Shard) -> Iterator[bytes]:
    """The state but its segments, as rows in the order that `Restoring` takes them in.

    Each row is small; the shard must not change until the last is taken.
    """
    yield from map(orjson.dumps, _shard_rows(shard))
    for market in shard.markets.values():
        yield from map(orjson.dumps, _market_rows(market))
    for node in shard.nodes.values():
        yield orjson.dumps(
            ["node", node.defined, _TAKE[Node](node), [[*day] for day in node.booked.items()]]
        )
    lines: dict[FulfillmentLine, int] = {}  # those with reserved units -> their places among them
    for market in shard.markets.values():
        for order in market.orders.values():
            yield orjson.dumps(_order_row(order, market.pool_taken))
            for fulfillment in order.fulfillments:
                for line in fulfillment.lines:
                    if line.reserved:
                        lines[line] = len(lines)
    for market in shard.markets.values():
        yield from map(orjson.dumps, _index_rows(market, lines))
    yield from map(orjson.dumps, _waiting_rows(shard))


def _shard_rows(shard: Shard) -> Iterator[Row]:
    yield ["shard", _TAKE[Shard](shard), len(shard.ids)]
    for piece in _pieces(shard.marks.items()):
        yield ["marks", [[*source, offset] for source, offset in piece]]
    for source, newest in shard.origins.items():
        yield ["origins", *source, list(newest)]
    for country, table in shard.places.tables.items():
        version, codes, regions = _TAKE[Table](table)
        yield ["table", country, version, regions, list(table._centres.items())]  # noqa: SLF001 - a snapshot holds all there is
        columns = zip(codes, table._latitudes, table._longitudes, table._rows, strict=True)  # noqa: SLF001
        for rows_of_it in _pieces(columns):
            yield ["places", country, *(list(column) for column in zip(*rows_of_it, strict=True))]
    for country, version, chunks, chunk, found in shard.places.coming():
        for some in list(_pieces(found)) or [[]]:
            yield ["coming", country, version, chunks, chunk, some]
    for item in shard.items.values():
        yield ["item", item]


def _market_rows(market: Market) -> Iterator[Row]:
    rules = None if market.rules is DEFAULT else market.rules.version
    yield ["market", _TAKE[Market](market), rules, market.rules_scheduled]
    for version, known in market.rule_versions.items():
        content = known.content.hex()
        yield ["rules", market.market_id, version, _TAKE[RuleVersion](known), content]
    for service in market.services.values():
        yield ["service", market.market_id, service.data]
    for key, until_ms in market.suspensions.items():
        yield ["suspension", market.market_id, [*key], until_ms]
    for name in _COUNTS:
        for piece in _pieces(getattr(market, name).items()):
            yield ["counts", market.market_id, name, piece]
    yield ["pools", market.market_id, [_TAKE[PoolCount](one) for one in market.pool_taken.values()]]
    for sku, announced in market.inbound.items():
        for piece in _pieces(announced.items()):
            yield ["inbound", market.market_id, sku, [[*key, *value] for key, value in piece]]


def _order_row(order: Order, pools: Mapping[str, PoolCount]) -> Row:
    return [
        "order",
        _TAKE[Order](order),
        order.digest.hex(),
        order.raw.decode(),
        [_TAKE[OrderLine](line) for line in order.lines],
        [
            [
                _TAKE[Fulfillment](one),
                [[_TAKE[FulfillmentLine](line), _drew_on(line, pools)] for line in one.lines],
                [_TAKE[Cancellation](pending) for pending in one.cancellations],
                [_TAKE[Shipment](shipment) for shipment in one.shipments],
            ]
            for one in order.fulfillments
        ],
        order.held_by,
    ]


def _drew_on(line: FulfillmentLine, pools: Mapping[str, PoolCount]) -> list[str]:
    """Of the pools that the rules still have: nothing goes back to the others."""
    return [pool.pool_id for pool in line.drew_on if pools.get(pool.pool_id) is pool]


def _index_rows(market: Market, lines: dict[FulfillmentLine, int]) -> Iterator[Row]:
    """What refers to orders, and bins to `lines`, each of which one bin takes out of there."""
    of = market.market_id
    for sku, shelf in market.bins.items():
        for bins in _pieces(shelf.items()):
            yield ["bins", of, sku, [[at, *_bin_row(stock)] for at, stock in bins]]
        for at, stock in shelf.items():
            for reserved in _pieces(stock.promises):  # one may have a hundred thousand
                yield ["reserved", of, sku, at, [lines.pop(line) for line in reserved]]
    for sku, held in market.held.items():
        for orders in _pieces(held):
            yield ["held", of, sku, orders]
    for promised_ms, awaiting in market.promises.items():
        for some in _pieces(awaiting):
            yield ["promises", of, promised_ms, [order.number for order in some]]
    for sku, queue in market.waiting.items():
        for places in _pieces(queue):
            yield ["waiting", of, sku, [place[:3] for place in places]]


def _bin_row(stock: Bin) -> Row:
    return [_TAKE[Bin](stock), stock.movements, stock.lots]


def _waiting_rows(shard: Shard) -> Iterator[Row]:
    """What waits, and what is open."""
    for on, parked in shard.parked.items():
        for waits in parked:
            yield ["parked", on, *waits]
    for sku, orders in shard.unknown_skus.items():
        for some in _pieces(orders):
            yield ["unknown", sku, [order.number for order in some]]
    for work in _pieces(shard.work):
        yield ["work", work]
    for timers in _pieces(shard.timers):
        yield ["timers", timers]
    for opened in _pieces(shard.exceptions.items()):
        yield ["exceptions", opened]
    for packages in _pieces(shard.tracking.items()):
        yield ["tracking", [_package(key, *known) for key, known in packages]]


def _package(key: str, order: Order, sent: Fulfillment, package_id: str, place: int) -> Row:
    return [key, order.number, order.fulfillments.index(sent), package_id, place]


# --- segments


class Segment(NamedTuple):
    """Entries [number * SEGMENT, …) of one log: `ids`, `documents` or `retired/<market>`."""

    log: str
    number: int
    row: bytes | None  # None: known
    full: bool  # a full one never changes again


def logs(shard: Shard) -> dict[str, tuple[int, int]]:
    """What only grows at its end: the place of the first entry held, and of the next to come."""
    first = shard.ids_taken - len(shard.ids)
    held = {"ids": (first, shard.ids_taken), "documents": (0, len(shard.documents))}
    for market in shard.markets.values():
        held[f"retired/{market.market_id}"] = (0, len(market.retired))
    return held


def segments(
    shard: Shard, known: AbstractSet[tuple[str, int]], length: int = SEGMENT
) -> Iterator[Segment]:
    """The segments in order, those that are `known` (log, number) without their rows.

    The shard must not change until the last is taken.
    """
    for log, (first, end) in logs(shard).items():
        entries = _entries(shard, log)
        for number in range(first // length, -(-end // length)):
            place, after = max(first, number * length), min(end, (number + 1) * length)
            some = islice(entries, after - place)
            if (log, number) in known:
                deque(some, maxlen=0)
                yield Segment(log, number, None, full=True)
            else:
                row = ["segment", log, *_columns(shard, log, list(some))]
                full = after == (number + 1) * length
                yield Segment(log, number, orjson.dumps(row), full)


def _entries(shard: Shard, log: str) -> Iterator[Any]:
    match log.partition("/"):
        case ("ids", _, _):
            return iter(shard.id_order)
        case ("documents", _, _):
            return iter(shard.documents)
        case (_, _, market_id):
            return iter(shard.markets[market_id].retired.items())


def _columns(shard: Shard, log: str, entries: list[Any]) -> Row:
    if log == "ids":
        runs = [
            (tick, len(list(same))) for tick, same in groupby(map(shard.ids.__getitem__, entries))
        ]
        return [entries, *zip(*runs, strict=True)]
    if log == "documents":
        return [entries]
    digests = b"".join([kept[:DIGEST_BYTES] for _, kept in entries])
    ends = [kept[DIGEST_BYTES:].decode() for _, kept in entries]
    statuses = list(dict.fromkeys(ends))
    which = bytes(map(statuses.index, ends))
    return [[key for key, _ in entries], digests.hex(), which.hex(), statuses]


# --- restoring


# Of these there are many, so their plain fields are set one by one, in the order of `FIELDS`. They
# are made by their constructors, since compiled classes have no other way: with what those would
# otherwise make from an input.

_BLANK: Final[dict[str, Any]] = {"market_id": "", "channel": "", "order_id": ""}


def _order(values: Row, digest: bytes, raw: bytes, lines: list[OrderLine]) -> Order:
    one = Order(0, digest, _BLANK, raw, lines)
    (
        one.market_id,
        one.channel,
        one.order_id,
        one.number,
        one.priority,
        one.allow_split,
        one.allow_partial,
        one.refused,
        one.closing,
        one.unknown,
        one.promised_ms,
        one.told_ms,
        one.delivered_ms,
        one.promise_counted,
        one.patience_ms,
    ) = values
    one.market_id = intern(one.market_id)
    one.channel = intern(one.channel)
    return one


def _order_line(values: Row) -> OrderLine:
    line_id, sku, quantity, allow_backorder, allocated, backordered, *ended = values
    one = OrderLine(line_id, sku, quantity, allow_backorder=allow_backorder)
    one.allocated = allocated
    one.backordered = backordered
    one.shipped, one.delivered, one.cancelled = ended
    return one


def _fulfillment(values: Row, lines: list[FulfillmentLine]) -> Fulfillment:
    one = Fulfillment("", "", lines)
    (
        one.fulfillment_id,
        one.node_id,
        one.status,
        one.request_status,
        one.asked_to_cancel,
        one.ship_day,
        one.ship_by_ms,
        one.deliver_by_ms,
        one.carrier,
        one.service,
        one.booked,
        one.release_ms,
    ) = values
    one.node_id = intern(one.node_id)
    one.status = intern(one.status)
    one.request_status = intern(one.request_status)
    return one


def _fulfillment_line(
    values: Row, drew_on: list[str], pools: Mapping[str, PoolCount]
) -> FulfillmentLine:
    line_id, sku, asked, reserved, shipped, rejected, cancelled = values
    pools_drawn = tuple([pools[pool_id] for pool_id in drew_on]) if drew_on else ()
    one = FulfillmentLine(intern(line_id), intern(sku), asked, pools_drawn)
    one.reserved = reserved
    one.shipped = shipped
    one.rejected = rejected
    one.cancelled = cancelled
    return one


def _bin(values: Row) -> Bin:
    one = Bin()
    (
        one.available,
        one.on_hand,
        one.reserved,
        one.quality_control,
        one.damaged,
        one.held,
        one.forgotten_ms,
        one.counted,
        one.sold,
        one.sold_day,
    ) = values
    return one


class Restoring:
    """A shard in the making: a new one, then every row, then `finish`.

    Rows of a snapshot that another release wrote may raise anything.
    """

    def __init__(self, shard: Shard) -> None:
        self.shard = shard
        self._orders: dict[int, Order] = {}
        self._lines: list[FulfillmentLine] = []  # with reserved units, as they came
        self._whose: list[Order] = []  # each of them is
        self._retired: dict[str, dict[str, bytes]] = {}
        self._ids_held = 0

    def take(self, row: Row) -> None:
        """Take in the next row, those of segments in their order."""
        kind, *said = row
        RESTORE[kind](self, *said)

    def finish(self) -> Shard:
        """The shard, when all rows are in."""
        shard = self.shard
        while len(shard.id_order) > self._ids_held:  # of the first segment, gone since
            del shard.ids[shard.id_order.popleft()]
        if len(shard.id_order) != self._ids_held or len(shard.ids) != self._ids_held:
            message = f"{len(shard.ids)} ids are there of {self._ids_held}"
            raise ValueError(message)
        for market in shard.markets.values():
            market.node_list = sorted(market.nodes.values(), key=lambda node: node.index)
        return shard

    def _shard(self, values: Row, ids_held: int) -> None:
        _set(self.shard, values)
        self._ids_held = ids_held

    def _marks(self, marks: list[Row]) -> None:
        self.shard.marks.update({(topic, number): offset for topic, number, offset in marks})

    def _origins(self, topic: str, number: int, newest: list[Row]) -> None:
        kept = ((offset, key) for offset, key in newest)
        self.shard.origins[(topic, number)] = deque(kept, maxlen=ORIGINS_KEPT)

    def _table(self, country: str, version: str, regions: list[str], centres: Row) -> None:
        table = self.shard.places.tables[country] = _set(
            Table("", [("", 0, 0, "")]), (version, [], regions)
        )
        table._centres = {region: tuple(centre) for region, centre in centres}  # noqa: SLF001
        table._latitudes, table._longitudes, table._rows = array("i"), array("i"), array("i")  # noqa: SLF001

    def _places(self, country: str, codes: Row, latitudes: Row, longitudes: Row, of: Row) -> None:
        table = self.shard.places.tables[country]
        table._codes.extend(codes)  # noqa: SLF001
        table._latitudes.extend(latitudes)  # noqa: SLF001
        table._longitudes.extend(longitudes)  # noqa: SLF001
        table._rows.extend(of)  # noqa: SLF001

    def _coming(
        self, country: str, version: str, chunks: int, chunk: int, found: list[Row]
    ) -> None:
        self.shard.places.await_more(country, version, chunks, chunk, found)

    def _item(self, data: dict[str, Any]) -> None:
        self.shard.items[data["sku"]] = data

    def _market(self, values: Row, rules: str | None, scheduled: Row | None) -> None:
        market = _set(Market(values[0]), values)
        market.rules_scheduled = (scheduled[0], scheduled[1]) if scheduled else None
        market.retired = self._retired.setdefault(market.market_id, {})
        self.shard.markets[market.market_id] = market
        self._active = rules

    def _rules(self, market_id: str, version: str, values: Row, content: str) -> None:
        market = self.shard.markets[market_id]
        known = market.rule_versions[version] = _set(
            RuleVersion({"author": "", "body": {}}), values
        )
        known.content = bytes.fromhex(content)
        if version == self._active:
            market.rules = RuleSet(version, Body.model_validate(known.body), market.time_zone)

    def _service(self, market_id: str, data: dict[str, Any]) -> None:
        service = Service(data)
        self.shard.markets[market_id].services[service.key] = service

    def _suspension(self, market_id: str, key: Row, until_ms: int | None) -> None:
        self.shard.markets[market_id].suspensions[LaneKey(*key)] = until_ms

    def _counts(self, market_id: str, name: str, counts: list[Row]) -> None:
        getattr(self.shard.markets[market_id], name).update(counts)

    def _pools(self, market_id: str, pools: list[Row]) -> None:
        taken = self.shard.markets[market_id].pool_taken
        taken.update({pool[0]: _set(PoolCount(""), pool) for pool in pools})

    def _inbound(self, market_id: str, sku: str, announced: list[Row]) -> None:
        inbound = self.shard.markets[market_id].inbound.setdefault(sku, {})
        for node_id, document, line, units, expected_ms in announced:
            inbound[(node_id, document, line)] = (units, expected_ms)

    def _node(self, data: dict[str, Any], values: Row, booked: list[Row]) -> None:
        market = self.shard.markets[data["market_id"]]
        node = _set(Node(data, market.time_zone, self.shard.places), values)
        node.booked = {day: taken for day, taken in booked}  # noqa: C416 - of pairs that are lists
        self.shard.nodes[node.node_id] = market.nodes[node.node_id] = node

    def _order(
        self,
        values: Row,
        digest: str,
        raw: str,
        lines: list[Row],
        fulfillments: list[Row],
        held_by: dict[str, Row],
    ) -> None:
        its = [_order_line(line) for line in lines]
        order = _order(values, bytes.fromhex(digest), raw.encode(), its)
        market = self.shard.markets[order.market_id]
        for held, (by, why) in held_by.items():
            order.held_by[held] = (by, why)
        for one, asked, cancellations, shipments in fulfillments:
            drawn = [_fulfillment_line(line, drew_on, market.pool_taken) for line, drew_on in asked]
            fulfillment = _fulfillment(one, drawn)
            for pending in cancellations:
                known = _set(Cancellation("", {}, "", taken_back=False), pending)
                fulfillment.cancellations.append(known)
            for sent in shipments:
                fulfillment.shipments.append(_set(Shipment({}, {}, {}), sent))
            order.fulfillments.append(fulfillment)
            for promised in drawn:
                if promised.reserved:
                    self._lines.append(promised)
                    self._whose.append(order)
        self._orders[order.number] = order
        market.orders[order.key] = order

    def _bins(self, market_id: str, sku: str, bins: list[Row]) -> None:
        market = self.shard.markets[market_id]
        shelf = market.bins.get(sku)
        if shelf is None:
            shelf = market.bins[sku] = Shelf()
        for node_id, values, movements, lots in bins:
            stock = shelf[node_id] = _bin(values)
            stock.movements = movements and [(a, b, c, d, e) for a, b, c, d, e in movements]
            stock.lots = lots and [(day, units) for day, units in lots]

    def _reserved(self, market_id: str, sku: str, node_id: str, places: list[int]) -> None:
        promises = self.shard.markets[market_id].bins[sku][node_id].promises
        for place in places:
            promises[self._lines[place]] = self._whose[place]

    def _held(self, market_id: str, sku: str, orders: list[int]) -> None:
        held = self.shard.markets[market_id].held.setdefault(sku, {})
        held.update({number: self._orders[number] for number in orders})

    def _promises(self, market_id: str, promised_ms: int, orders: list[int]) -> None:
        awaiting = self.shard.markets[market_id].promises.setdefault(promised_ms, {})
        awaiting.update({self._orders[number]: None for number in orders})

    def _waiting(self, market_id: str, sku: str, places: list[Row]) -> None:
        queue = self.shard.markets[market_id].waiting.setdefault(sku, [])
        queue.extend((first, number, line, self._orders[number]) for first, number, line in places)

    def _parked(self, on: str, record: Any, until_ms: int) -> None:  # noqa: ANN401 - as it was parked
        self.shard.parked.setdefault(on, deque()).append((record, until_ms))

    def _unknown(self, sku: str, orders: list[int]) -> None:
        waiting = self.shard.unknown_skus.setdefault(sku, [])
        waiting.extend(self._orders[number] for number in orders)

    def _work(self, work: list[Row]) -> None:
        self.shard.work.extend(work)

    def _timers(self, timers: list[Row]) -> None:
        self.shard.timers.extend((due, n, kind, tuple(key)) for due, n, kind, key in timers)

    def _exceptions(self, opened: list[Row]) -> None:
        self.shard.exceptions.update({tuple(about): known for about, known in opened})

    def _tracking(self, packages: list[Row]) -> None:
        for key, number, sent, package_id, place in packages:
            order = self._orders[number]
            known = (order, order.fulfillments[sent], package_id, place)
            self.shard.tracking[key] = known

    def _segment(self, log: str, keys: list[str], *columns: Any) -> None:  # noqa: ANN401 - by log
        match log.partition("/"):
            case ("ids", _, _):
                ticks = chain.from_iterable(map(repeat, *columns))
                self.shard.ids.update(zip(keys, ticks, strict=True))
                self.shard.id_order.extend(keys)
            case ("documents", _, _):
                self.shard.documents.update(dict.fromkeys(keys))
            case (_, _, market_id):
                packed, which, statuses = columns
                digests = bytes.fromhex(packed)
                words = [one.encode() for one in statuses]
                kept = [
                    digests[number * DIGEST_BYTES : (number + 1) * DIGEST_BYTES] + words[word]
                    for number, word in enumerate(bytes.fromhex(which))
                ]
                known = self._retired.setdefault(market_id, {})
                known.update(zip(keys, kept, strict=True))


RESTORE: Final[dict[str, Callable[..., None]]] = {
    name: getattr(Restoring, f"_{name}")
    for name in (
        *(
            "shard",
            "marks",
            "origins",
            "table",
            "places",
            "coming",
            "item",
            "market",
            "rules",
            "service",
        ),
        *("suspension", "counts", "pools", "inbound", "node", "order", "bins", "reserved", "held"),
        *(
            "promises",
            "waiting",
            "parked",
            "unknown",
            "work",
            "timers",
            "exceptions",
            "tracking",
            "segment",
        ),
    )
}
