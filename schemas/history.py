"""History: every input taken and every event decided, flat, one record each.

A record says what happened with all that is wanted beside it (market, channel, order, node, when
the order was placed, what was promised), so that nobody has to join. What no input or event says
itself comes from `Known`, a small fold of the journal.
"""

from collections.abc import Iterator, Mapping
from typing import Any, Final, NamedTuple

from events.decided import InputRecord
from schemas.journal import Entry
from schemas.times import rfc3339

INPUT: Final = -1
"""The `n` of the input itself: before the events that were decided from it, which count from 0."""

_TAKES: Final = frozenset({"order_waits", "order_accepted", "order_refused"})
_ASKS: Final = frozenset({"fulfillment_requested", "fulfillment_planned"})
_TRACKED: Final = frozenset({"shipment_delivered", "package_tracked"})
_FOLDED: Final = _TAKES | _ASKS | {"order_allocated", "order_retired", "master_data_kept"}
"""What `Known` takes something of."""

Json = dict[str, Any]


class Work(NamedTuple):
    """A fulfillment, as far as its events don't say it again."""

    fulfillment_id: str
    node_id: str
    carrier: str | None


class KnownOrder:
    """An order, as far as its later events don't say it again. Times are RFC 3339 in UTC."""

    __slots__ = ("placed_at", "promised_by", "work")

    def __init__(self, placed_at: str) -> None:
        self.placed_at = placed_at
        self.promised_by: str | None = None  # as first told
        self.work: list[Work] = []

    def ask(self, work: Work) -> None:
        """The node is to do this; what is asked again replaces it."""
        self.work = [one for one in self.work if one.fulfillment_id != work.fulfillment_id]
        self.work.append(work)


class Known:
    """What a shard's entries so far make known: a fold, like the engine's but far smaller.

    Orders leave it when they leave the engine's memory (`order_retired`).
    """

    __slots__ = ("clock_ms", "markets", "orders")

    def __init__(self) -> None:
        self.clock_ms = 0  # of the newest tick
        self.markets: dict[str, str] = {}  # of nodes
        self.orders: dict[str, KnownOrder] = {}  # by `<market>/<channel>/<order id>`


def let_go(known: Known) -> Iterator[None]:
    """Empty what nobody needs any more, an order a step: all at once is a pause."""
    while known.orders:
        known.orders.popitem()
        yield


class Flat(NamedTuple):
    """A record of history, and its key."""

    key: str
    record: Json


class About(NamedTuple):
    """What an input or an event is about; "" where it doesn't apply."""

    market_id: str = ""
    channel: str = ""
    order_id: str = ""
    node_id: str = ""
    sku: str = ""
    fulfillment_id: str = ""
    carrier: str = ""


class Told(NamedTuple):
    """An input or an event of an entry, with what a record says beside it. Times are RFC 3339."""

    n: int
    type: str
    data: Json  # an event's has its type too
    about: About
    placed_at: str | None
    promised_by: str | None
    cause: InputRecord
    cause_n: int


def tell(known: Known, entry: Entry) -> Iterator[Told]:
    """An entry's input, then its events; folds it in. `known.clock_ms` is theirs from the first."""
    cause, cause_n = entry["input"], INPUT
    if "origin" not in cause:
        known.clock_ms = max(known.clock_ms, cause["time_ms"])
    about = _of_input(known, cause, entry)
    order = known.orders.get(_order_key(about)) if about.order_id else None
    placed_at, promised_by = _promise(order, about, cause)
    yield Told(INPUT, cause["type"], cause["data"], about, placed_at, promised_by, cause, cause_n)
    for n, event in enumerate(entry["events"]):
        kind = event["type"]
        fields: Json = event  # type: ignore[assignment]  # a typed dict of this type's fields
        if event["type"] == "input_resumed":
            cause, cause_n = event["input"], n
            about = _of_input(known, cause, entry)
        of_event = _of_event(known, about, kind, fields)
        order = _fold(known, of_event, cause, kind, fields)
        placed_at, promised_by = _promise(order, of_event, cause)
        yield Told(n, kind, fields, of_event, placed_at, promised_by, cause, cause_n)


def flatten(known: Known, shard: int, seq: int, number: int, entry: Entry) -> Iterator[Flat]:
    """The records of an entry of a valid commit: its input, then its events; folds it in."""
    position = f"{shard}.{seq}.{number}."
    for n, kind, said, about, placed_at, promised_by, cause, cause_n in tell(known, entry):
        recorded_at = rfc3339(known.clock_ms)
        record: Json = {
            "position": f"{position}{n}",
            "shard": shard,
            "seq": seq,
            "entry": number,
            "n": n,
            "kind": "event",
            "event": kind,
            "version": 1,
            "happened_at": recorded_at,
            "recorded_at": recorded_at,
        }
        for name, value in zip(About._fields, about, strict=True):
            if value:
                record[name] = value
        if placed_at is not None:
            record["placed_at"] = placed_at
        if promised_by is not None:
            record["promised_by"] = promised_by
        record["cause"] = cause["type"]
        record["cause_position"] = f"{position}{cause_n}"
        if cause["id"]:  # a tick has none
            record["cause_id"] = cause["id"]
            record["cause_source"] = cause["source"]
        if n == INPUT:
            record["kind"] = "input"
            record["version"] = cause["version"]
            record["happened_at"] = rfc3339(cause["time_ms"])
            if "origin" in cause:
                record["origin"] = origin_of(cause)
            record["data"] = said
        else:
            data = record["data"] = said.copy()
            del data["type"]
        yield Flat(_key(shard, about), record)


def fold(known: Known, entry: Entry) -> None:
    """Take an entry in without telling it; what is known then is the same."""
    cause = entry["input"]
    if "origin" not in cause:
        known.clock_ms = max(known.clock_ms, cause["time_ms"])
    about: About | None = None
    for event in entry["events"]:
        kind = event["type"]
        if event["type"] == "input_resumed":
            cause, about = event["input"], None
        elif kind in _FOLDED:
            if about is None:  # nothing was folded since its cause came
                about = _of_input(known, cause, entry)
            fields: Json = event  # type: ignore[assignment]  # a typed dict of this type's fields
            _fold(known, _of_event(known, about, kind, fields), cause, kind, fields)


def origin_of(cause: InputRecord) -> str:
    """Where an input that has an origin was read: `orders/0@17`."""
    topic, partition, offset, _ = cause["origin"]
    return f"{topic}/{partition}@{offset}"


def _order_key(about: About) -> str:
    return f"{about.market_id}/{about.channel}/{about.order_id}"


def _key(shard: int, about: About) -> str:
    """Order id, else sku, else node, else market, else `shard/<number>`."""
    return about.order_id or about.sku or about.node_id or about.market_id or f"shard/{shard}"


def _promise(
    order: KnownOrder | None, about: About, cause: InputRecord
) -> tuple[str | None, str | None]:
    """When the order that it is about was placed, and what was promised."""
    if order is not None:
        return order.placed_at, order.promised_by
    if about.order_id and cause["type"] == "order_placed":
        return cause["data"]["placed_at"], None
    return None, None


def _of_input(known: Known, cause: InputRecord, entry: Entry) -> About:
    data = cause["data"]
    node_id = data.get("node_id", "")
    market_id = data.get("market_id") or known.markets.get(node_id, "")
    about = About(
        market_id,
        data.get("channel", ""),
        data.get("order_id", ""),
        node_id,
        data.get("sku", ""),
        data.get("fulfillment_id", ""),
        data.get("carrier", ""),
    )
    if about.fulfillment_id and not about.order_id:
        channel, _, rest = about.fulfillment_id.partition(".")
        about = about._replace(channel=channel, order_id=rest.rpartition(".")[0])
        if _order_key(about) not in known.orders:  # nobody was asked for this
            about = about._replace(channel="", order_id="")
    if cause["type"] == "tracking_updated" and not about.order_id:
        for event in entry["events"]:
            if "order_id" in event:
                found = _of_event(known, about, event["type"], event)
                return found._replace(carrier=about.carrier)
    return about


def _of_event(known: Known, cause: About, kind: str, event: Mapping[str, Any]) -> About:
    """What an event is about; of what names nothing itself it is what its cause is about.

    The carrier is the planned one, until packages leave: then whom the node gave them to, and who
    tells of them.
    """
    if kind == "balanced":
        if len(event["orders"]) != 1:
            return cause
        market_id, channel, order_id, *_ = event["orders"][0]
        return About(market_id, channel, order_id, cause.node_id, cause.sku)
    node_id = event.get("node_id", "")
    order_id = event.get("order_id", "")
    sku = event.get("sku", "")
    market_id = event.get("market_id") or known.markets.get(node_id, "")
    if not (order_id or node_id or sku or market_id):
        return cause
    fulfillment_id = event.get("fulfillment_id", "")
    carrier = event.get("carrier", "")
    if kind == "shipment_sent":
        carrier = next((one["carrier"] for one in event["packages"] if one.get("carrier")), "")
    elif kind in _TRACKED:
        carrier = cause.carrier
    channel = event.get("channel", "")
    if fulfillment_id:
        order = known.orders.get(f"{market_id}/{channel}/{order_id}")
        for one in order.work if order is not None else ():
            if one.fulfillment_id == fulfillment_id:
                node_id = node_id or one.node_id
                carrier = carrier or one.carrier or ""
                break
    return About(market_id, channel, order_id, node_id, sku, fulfillment_id, carrier)


def _fold(
    known: Known, about: About, cause: InputRecord, kind: str, event: Json
) -> KnownOrder | None:
    """The order that the event is about, as it is then."""
    key = _order_key(about) if about.order_id else ""
    order = known.orders.get(key)
    if kind in _TAKES:
        if order is None and cause["type"] == "order_placed" and not event.get("conflict"):
            order = known.orders[key] = KnownOrder(cause["data"]["placed_at"])
    elif kind in _ASKS:
        if order is not None:
            order.ask(Work(event["fulfillment_id"], event["node_id"], event.get("carrier")))
    elif kind == "order_allocated":
        if order is not None and "promised_by" in event:
            order.promised_by = event["promised_by"]
    elif kind == "order_retired":
        known.orders.pop(key, None)
    elif kind == "master_data_kept" and cause["type"] == "node_defined":
        known.markets[cause["data"]["node_id"]] = cause["data"]["market_id"]
    return order
