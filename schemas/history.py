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
_SUBJECT: Final = ("order_id", "sku", "node_id", "market_id")

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


class Flat(NamedTuple):
    """A record of history, and its key."""

    key: str
    record: Json


class _About(NamedTuple):
    """What a record is about; "" where it doesn't apply."""

    market_id: str = ""
    channel: str = ""
    order_id: str = ""
    node_id: str = ""
    sku: str = ""
    fulfillment_id: str = ""
    carrier: str = ""


def flatten(known: Known, shard: int, seq: int, number: int, entry: Entry) -> Iterator[Flat]:
    """The records of an entry of a valid commit: its input, then its events; folds it in."""
    cause = entry["input"]
    if "origin" not in cause:
        known.clock_ms = max(known.clock_ms, cause["time_ms"])
    recorded_at = rfc3339(known.clock_ms)
    position = f"{shard}.{seq}.{number}."
    cause_position = f"{position}{INPUT}"
    about = _of_input(known, cause, entry)
    head: Json = {
        "position": cause_position,
        "shard": shard,
        "seq": seq,
        "entry": number,
        "n": INPUT,
        "kind": "input",
        "event": cause["type"],
        "version": cause["version"],
        "happened_at": rfc3339(cause["time_ms"]),
        "recorded_at": recorded_at,
    }
    _say(head, known, about, cause)
    _blame(head, cause, cause_position)
    if "origin" in cause:
        topic, partition, offset, _ = cause["origin"]
        head["origin"] = f"{topic}/{partition}@{offset}"
    head["data"] = cause["data"]
    yield Flat(_key(shard, about), head)
    for n, event in enumerate(entry["events"]):
        kind = event["type"]
        fields: Json = event  # type: ignore[assignment]  # a typed dict of this type's fields
        if event["type"] == "input_resumed":
            cause, cause_position = event["input"], f"{position}{n}"
            about = _of_input(known, cause, entry)
        of_event = _of_event(known, about, kind, fields)
        _fold(known, of_event, cause, kind, fields)
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
        _say(record, known, of_event, cause)
        _blame(record, cause, cause_position)
        data = record["data"] = fields.copy()
        del data["type"]
        if kind == "order_retired":
            known.orders.pop(_order_key(of_event), None)
        yield Flat(_key(shard, of_event), record)


def fold(known: Known, shard: int, entry: Entry) -> None:
    """Take an entry in without making its records."""
    for _ in flatten(known, shard, 0, 0, entry):
        pass


def _order_key(about: _About) -> str:
    return f"{about.market_id}/{about.channel}/{about.order_id}"


def _key(shard: int, about: _About) -> str:
    """Order id, else sku, else node, else market, else `shard/<number>`."""
    return about.order_id or about.sku or about.node_id or about.market_id or f"shard/{shard}"


def _say(record: Json, known: Known, about: _About, cause: InputRecord) -> None:
    """Add what the record is about, and of its order when it was placed and what was promised."""
    market_id, channel, order_id, node_id, sku, fulfillment_id, carrier = about
    if market_id:
        record["market_id"] = market_id
    if channel:
        record["channel"] = channel
    if order_id:
        record["order_id"] = order_id
    if node_id:
        record["node_id"] = node_id
    if sku:
        record["sku"] = sku
    if fulfillment_id:
        record["fulfillment_id"] = fulfillment_id
    if carrier:
        record["carrier"] = carrier
    if order_id:
        order = known.orders.get(_order_key(about))
        if order is not None:
            record["placed_at"] = order.placed_at
            if order.promised_by is not None:
                record["promised_by"] = order.promised_by
        elif cause["type"] == "order_placed":
            record["placed_at"] = cause["data"]["placed_at"]


def _blame(record: Json, cause: InputRecord, position: str) -> None:
    record["cause"] = cause["type"]
    record["cause_position"] = position
    if cause["id"]:  # a tick has none
        record["cause_id"] = cause["id"]
        record["cause_source"] = cause["source"]


def _of_input(known: Known, cause: InputRecord, entry: Entry) -> _About:
    data = cause["data"]
    node_id = data.get("node_id", "")
    market_id = data.get("market_id") or known.markets.get(node_id, "")
    about = _About(
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
                return _of_event(known, about, event["type"], event)
    return about


def _of_event(known: Known, cause: _About, kind: str, event: Mapping[str, Any]) -> _About:
    """What an event is about; of what names nothing itself it is what its cause is about."""
    if kind == "balanced":
        if len(event["orders"]) != 1:
            return cause
        market_id, channel, order_id, *_ = event["orders"][0]
        return _About(market_id, channel, order_id, cause.node_id, cause.sku)
    node_id = event.get("node_id", "")
    order_id = event.get("order_id", "")
    sku = event.get("sku", "")
    market_id = event.get("market_id") or known.markets.get(node_id, "")
    if not (order_id or node_id or sku or market_id):
        return cause
    fulfillment_id = event.get("fulfillment_id", "")
    carrier = event.get("carrier", "")
    channel = event.get("channel", "")
    about = _About(market_id, channel, order_id, node_id, sku, fulfillment_id, carrier)
    if fulfillment_id:
        order = known.orders.get(_order_key(about))
        for one in order.work if order is not None else ():
            if one.fulfillment_id == fulfillment_id:
                return about._replace(
                    node_id=node_id or one.node_id, carrier=carrier or one.carrier or ""
                )
    return about


def _fold(known: Known, about: _About, cause: InputRecord, kind: str, event: Json) -> None:
    if kind in _TAKES:
        if cause["type"] == "order_placed" and not event.get("conflict"):
            placed_at = cause["data"]["placed_at"]
            known.orders.setdefault(_order_key(about), KnownOrder(placed_at))
    elif kind in _ASKS:
        order = known.orders.get(_order_key(about))
        if order is not None:
            order.ask(Work(event["fulfillment_id"], event["node_id"], event.get("carrier")))
    elif kind == "order_allocated":
        order = known.orders.get(_order_key(about))
        if order is not None and "promised_by" in event:
            order.promised_by = event["promised_by"]
    elif kind == "master_data_kept" and cause["type"] == "node_defined":
        known.markets[cause["data"]["node_id"]] = cause["data"]["market_id"]
