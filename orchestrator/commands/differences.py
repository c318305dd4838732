"""What changed between two moments, and why: of an order, or of an item's stock."""

from collections.abc import Callable, Iterator, Mapping
from typing import Any, Final, NamedTuple

from events.decided import InputRecord, Plain
from orchestrator.core.shard import Shard
from orchestrator.past import At, Json, Until, order_then, stock_then
from projections.timeline import SENTENCES
from schemas.journal import Entry
from schemas.times import rfc3339

_STATES: Final = ("on_hand", "reserved", "quality_control", "damaged", "held")
_COUNTS: Final = ("open", "allocated", "backordered", "shipped", "delivered", "cancelled")
_UNITS: Final = ("on_hand", "reserved", "held", "available")


class Change(NamedTuple):
    """A field that is not what it was; None where there was no such thing."""

    market_id: str
    what: str
    field: str
    before: Any
    after: Any


def then(shard: Shard, what: str) -> list[Json]:
    """An order by each market that has it, or an item by node."""
    return order_then(shard, what) if "/" in what else stock_then(shard, what)


class Watched:
    """Hears of a shard's entries; keeps what stood at `since`, and what touched `what` after it.

    `what` is an order (`<channel>/<order id>`) or a sku.
    """

    def __init__(self, what: str, since: Until) -> None:
        self.before: list[Json] | None = None  # None: nothing happened after `since`
        self.before_seq = 0
        self.steps: list[Json] = []
        self.left: dict[str, Json] = {}
        """By market, an order as it was when it left memory."""
        self._what = what
        self._since = since
        self._touched = _order_events if "/" in what else _stock_events

    def visit(self, shard: Shard, at: At, entry: Entry) -> None:
        """An entry, before it is folded."""
        if self.before is None:
            if self._since.holds(at):
                return
            self.before = then(shard, self._what)
            self.before_seq = at.seq if at.entry else at.seq - 1
        if any(event["type"] == "order_retired" for event in entry["events"]) and "/" in self._what:
            self.left |= {
                one["market_id"]: one
                for one in order_then(shard, self._what)
                if not one.get("closed")
            }
        found = self._touched(shard, self._what, entry)
        if found["events"] or found.get("movements"):
            self.steps.append(
                {
                    "position": f"{at.shard}.{at.seq}.{at.entry}",
                    "at": rfc3339(at.time_ms),
                    "input": _input(entry["input"]),
                    **found,
                    "events": [
                        {
                            "id": f"{at.shard}.{at.seq}.{at.entry}.{number}",
                            "type": type_,
                            "said": said,
                            **({} if cause is None else {"input": _input(cause)}),
                        }
                        for number, type_, said, cause in found["events"]
                    ],
                }
            )

    def last(self, rows: list[Json]) -> list[Json]:
        """`rows`, but of an order that left memory since its last, and that it is closed."""
        return [
            self.left.get(row["market_id"], row) | {"closed": True} if row.get("closed") else row
            for row in rows
        ]


def _input(cause: InputRecord) -> Json:
    told: Json = {
        "type": cause["type"],
        "id": cause["id"],
        "source": cause["source"],
        "time": rfc3339(cause["time_ms"]),
    }
    if "origin" in cause:
        topic, partition, offset, *_ = cause["origin"]
        told["origin"] = f"{topic}/{partition}@{offset}"
    return told


def _events(entry: Entry) -> Iterator[tuple[int, Any, InputRecord | None]]:
    """Each event with its number, and its cause where that is not the entry's input."""
    resumed: InputRecord | None = None
    for number, event in enumerate(entry["events"]):
        if event["type"] == "input_resumed":
            resumed = event["input"]
        yield number, event, resumed


def _order_events(_: Shard, what: str, entry: Entry) -> Json:
    """What an entry decided about an order, in sentences."""
    channel, order_id = what.split("/", 1)
    return {
        "events": [
            (number, event["type"], _sentence(event), cause)
            for number, event, cause in _events(entry)
            if event.get("channel") == channel and event.get("order_id") == order_id
        ]
    }


def _sentence(event: Plain) -> str:
    say = SENTENCES.get(event["type"])
    return say(event) if say is not None else f"{_words(event['type'])}."


def _words(name: str) -> str:
    return name.replace("_", " ").capitalize()


def _stock_events(shard: Shard, what: str, entry: Entry) -> Json:
    """How an entry moved an item's stock, and the events that did it, in sentences."""
    events = []
    movements = []
    for number, event, cause in _events(entry):
        if event["type"] == "balanced":
            movements = list(_movements(shard, what, event))
        elif event["type"] in _OF_STOCK:
            said = _OF_STOCK[event["type"]](event, what)
            if said:
                events.append((number, event["type"], said, cause))
    return {"movements": movements, "events": events}


def _movements(shard: Shard, sku: str, balanced: Plain) -> Iterator[Json]:
    """By node, what the entry added to each state, and the balances after it."""
    for market_id, node_id, of_sku, *after in balanced["stock"]:
        market = shard.markets.get(market_id)
        found = None if market is None else market.bins.get(sku, {}).get(node_id)
        before = [0 if found is None else getattr(found, state) for state in _STATES]
        if of_sku == sku and after != before:
            added = {
                state: new - old
                for state, old, new in zip(_STATES, before, after, strict=True)
                if new != old
            }
            balance = dict(zip(_STATES, after, strict=True))
            yield {"node_id": node_id, "market_id": market_id, "added": added, "balance": balance}


def _quantity(lines: list[Plain], sku: str) -> int:
    return sum(line["quantity"] for line in lines if line["sku"] == sku)


def _asked(event: Plain, sku: str) -> str | int:
    units = _quantity(event["lines"], sku)
    verb = "is asked to ship" if event["type"] == "fulfillment_requested" else "is to ship"
    return units and f"{event['node_id']} {verb} {units} for {_work(event)}."


def _work(event: Plain) -> str:
    return f"{event['channel']}/{event['order_id']} ({event['fulfillment_id']})"


def _stopped(event: Plain, sku: str) -> str | int:
    units = _quantity(event["lines"], sku)
    taken = ", and they are taken back" if event["taken_back"] else ""
    return units and f"{event['node_id']} is asked to stop {units} of {_work(event)}{taken}."


def _released(event: Plain, sku: str) -> str | int:
    units = _quantity(event["lines"], sku)
    return units and (
        f"{units} at {event['node_id']} are free again: {event['why'].replace('_', ' ')}"
        f" of {_work(event)}."
    )


def _sent(event: Plain, sku: str) -> str | int:
    units = sum(row[4] for row in event["moved"] if row[1] == sku)
    return units and f"{event['node_id']} shipped {units} for {_work(event)}."


def _moved(event: Plain, sku: str) -> str:
    if event["sku"] != sku:
        return ""
    states = ("on hand", "quality control", "damaged", "held")
    delta = ", ".join(
        f"{units:+d} {state}" for units, state in zip(event["delta"], states, strict=True) if units
    )
    named = "/".join(event.get("document", "").split("/")[2:])  # after the node and the kind
    document = f", document {named}" if named else ""
    short = f", {event['shortfall']} more than there were" if event.get("shortfall") else ""
    return f"{event['node_id']}: {delta or 'nothing moved'} ({event['reason']}{document}{short})."


def _inbound(event: Plain, sku: str) -> str:
    if event["sku"] != sku:
        return ""
    if not event["units"]:
        return f"{event['node_id']} awaits no more of document {event['document']}."
    return (
        f"{event['node_id']} awaits {event['units']} by {rfc3339(event['expected_ms'])}"
        f" (document {event['document']})."
    )


def _suppressed(event: Plain, sku: str) -> str:
    if event.get("sku", sku) != sku:
        return ""
    return f"{event['node_id']} does not offer it until {rfc3339(event['until_ms'])}."


def _lifted(event: Plain, sku: str) -> str:
    return "" if event.get("sku", sku) != sku else f"{event['node_id']} offers it again."


_OF_STOCK: Final[Mapping[str, Callable[[Plain, str], Any]]] = {
    "fulfillment_requested": _asked,
    "fulfillment_planned": _asked,
    "fulfillment_cancellation_requested": _stopped,
    "units_released": _released,
    "shipment_sent": _sent,
    "stock_moved": _moved,
    "inbound_changed": _inbound,
    "item_suppressed": _suppressed,
    "suppression_lifted": _lifted,
}


def changes(what: str, before: list[Json], after: list[Json]) -> list[Change]:
    """The fields that differ."""
    if "/" not in what:
        return list(
            _differing(_by(before, "node_id"), _by(after, "node_id"), _UNITS, lambda node: node)
        )
    found: list[Change] = []
    of, now = _by(before, "market_id"), _by(after, "market_id")
    for market_id in sorted(of.keys() | now.keys()):
        old, new = of.get(market_id, {}), now.get(market_id, {})
        known = all("lines" in one for one in (old, new) if one)  # else it has left memory before
        said = ("status", "promised_by") if known else ("status",)
        some = {what: old} if old else {}, {what: new} if new else {}
        found += _differing(*some, said, str)
        if not known:
            continue
        for part, key, fields in (
            ("lines", "line_id", ("quantity", *_COUNTS)),
            ("fulfillments", "fulfillment_id", ("node_id", "status", "request_status")),
        ):
            name = part.removesuffix("s")
            found += (
                change._replace(market_id=market_id)
                for change in _differing(
                    _by(old.get(part, []), key),
                    _by(new.get(part, []), key),
                    fields,
                    lambda id_, name=name: f"{name} {id_}",  # type: ignore[misc]  # mypy infers no default's type
                )
            )
    return found


def _by(rows: list[Json], key: str) -> dict[str, Json]:
    return {row[key]: row for row in rows}


def _differing(
    before: Mapping[str, Json],
    after: Mapping[str, Json],
    fields: tuple[str, ...],
    name: Callable[[str], str],
) -> Iterator[Change]:
    for key in [*before, *(one for one in after if one not in before)]:
        old, new = before.get(key, {}), after.get(key, {})
        market_id = (old or new).get("market_id", "")
        for field in fields:
            if old.get(field) != new.get(field):
                yield Change(market_id, name(key), field, old.get(field), new.get(field))
