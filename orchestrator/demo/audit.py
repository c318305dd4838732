"""Checks that everything adds up, from the journal, the public topics and the read model alone.

It shares the record formats and the journal's filter with the rest, and none of the core's rules:
it keeps books of its own. Run it when nothing is in flight; it reads up to the ends as they are
then.
"""

from collections import Counter
from collections.abc import AsyncIterator, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from hashlib import blake2b
from typing import Any, Final, NamedTuple

import cramjam
import orjson

from events.decided import INTERNAL, DecidedEvent, InputRecord, costs_of
from events.orders import OrderPlaced
from events.outputs import OUTPUTS
from orchestrator.runtime.whole import Whole
from schemas import cloudevents, journal
from schemas.ports import EventLog, Partition, Read

_PUT_OFF: Final = frozenset({"settling"})  # a part of a loss, done in entries of its own
_LATE: Final = 3  # its place among a plan's cost components
_SHOWN: Final = 5  # findings of one kind
_PUBLISHED: Final = ("fulfillment-commands", "order-updates", "exceptions")

OrderKey = tuple[str, str, str]
"""Market, channel, order id."""
Counts = tuple[int, int, int, int, int, int]
"""Units of a line: open, allocated, backordered, shipped, delivered, cancelled."""
Bin = tuple[int, int, int, int, int]
"""Units of an item at a node: on hand, reserved, quality control, damaged, held."""


class Rows(NamedTuple):
    """What the read model says."""

    orders: Mapping[OrderKey, tuple[str, Mapping[str, Counts]]]  # status, counts by line id
    stock: Mapping[tuple[str, str], Bin]  # by node id and sku


@dataclass(slots=True)
class Figures:
    """What happened, in numbers."""

    placed: int = 0  # records of orders on `orders` that were taken
    refused: int = 0
    allocated: int = 0  # orders that were given to a node at least in part
    split: int = 0  # orders whose first plan has more than one node
    late: int = 0  # orders whose first plan misses the promised day
    cost_minor: int = 0  # of the first plans, as they were weighed
    backordered: int = 0  # orders that waited for stock at least in part
    rejected_by_wms: int = 0  # fulfillments that a node rejected at least in part
    re_sourced: int = 0  # of those, the ones whose units another node got at once
    delivered: int = 0  # orders with every unit not cancelled delivered
    cancelled: int = 0  # orders cancelled whole
    waiting: int = 0  # orders with units backordered still
    in_flight: int = 0  # orders with units open, allocated or shipped
    units_received: int = 0
    units_shipped: int = 0
    units_on_hand: int = 0
    units_oversold: int = 0  # promised beyond what was there, summed over all entries
    commands: int = 0
    inputs: int = 0  # journaled, from topics
    rejected_inputs: int = 0  # records on `rejected`
    commits: int = 0
    void_records: int = 0  # journal records that the filter voids
    journal_bytes: int = 0  # of valid commits, uncompressed
    journal_bytes_compressed: int = 0  # the same, each commit by zstd
    decided_in_ms: list[int] = field(default_factory=list)
    """From an order's record on `orders` to the command that it caused, in ms."""


@dataclass(slots=True)
class Report:
    """What does not add up (nothing, if all is well), and the figures."""

    findings: list[str]
    figures: Figures


class _Findings:
    """Sentences, the first few of each kind and how many more there are."""

    def __init__(self) -> None:
        self._said: dict[str, list[str]] = {}
        self._counts: Counter[str] = Counter()

    def add(self, kind: str, sentence: str) -> None:
        self._counts[kind] += 1
        if self._counts[kind] <= _SHOWN:
            self._said.setdefault(kind, []).append(f"{kind}: {sentence}")

    def sentences(self) -> list[str]:
        more = [
            f"{kind}: and {count - _SHOWN} more"
            for kind, count in self._counts.items()
            if count > _SHOWN
        ]
        return [sentence for said in self._said.values() for sentence in said] + more


class _Order:
    """An order as the audit counts it, by line id."""

    __slots__ = (
        "allocated",
        "backordered_once",
        "cancelled",
        "delivered",
        "nodes",
        "quantity",
        "refused",
        "row",
        "sent",
        "times_taken",
    )

    def __init__(self, quantity: dict[str, int]) -> None:
        self.quantity = quantity
        self.allocated: Counter[str] = Counter()
        self.sent: Counter[str] = Counter()  # shipped, whether delivered since or not
        self.delivered: Counter[str] = Counter()
        self.cancelled: Counter[str] = Counter()
        self.refused = False
        self.times_taken = 0
        self.nodes = 0  # of the first plan
        self.backordered_once = False
        self.row: tuple[str, dict[str, Counts]] | None = None  # as last journaled


async def audit(log: EventLog, rows: Rows | None = None) -> Report:
    """Check the whole log, and the read model where its rows are given.

    What must hold: every record of an input topic is journaled exactly once or stands in
    `rejected`; every order that was taken is there once and its lines' counts add up; every
    movement of stock has its cause's size; at no entry are more units promised than there are;
    every output is published, and one id has one content; the read model says the same.
    """
    topics = await log.describe()
    ledger = _Ledger(topics["journal"].partitions)
    async for partition, read in _whole(log, "journal", topics["journal"].partitions):
        ledger.read(partition.number, read)
    ledger.close()
    await _audit_inputs(log, ledger, {name: topic.partitions for name, topic in topics.items()})
    for topic in _PUBLISHED:
        await _audit_outputs(log, ledger, topic, topics[topic].partitions)
    if rows is not None:
        _audit_rows(ledger, rows)
    return Report(ledger.findings.sentences(), ledger.figures)


async def _whole(
    log: EventLog, topic: str, partitions: int
) -> AsyncIterator[tuple[Partition, Read]]:
    """Every record of a topic up to its ends as of now, in order within a partition."""
    for number in range(partitions):
        partition = Partition(topic, number)
        async with Whole(log, partition) as reading:
            async for reads in reading:
                for read in reads:
                    yield partition, read


class _Ledger:
    """The audit's own books over the journals of all shards."""

    def __init__(self, shards: int) -> None:
        self.findings = _Findings()
        self.figures = Figures()
        self.shards = shards
        self.filters = [journal.FilterState() for _ in range(shards)]
        self.orders: dict[OrderKey, _Order] = {}
        self.stock: dict[tuple[str, str], list[int]] = {}
        self.taken: dict[tuple[str, int, int], list[int]] = {}  # origin -> shards, once each time
        self.outputs: dict[str, tuple[str, DecidedEvent]] = {}  # event id -> topic, event
        self.caused_at_once: dict[str, int] = {}  # id of an order's first command -> placed ms
        # units that fulfillments hold, by line id: by (market, fulfillment), and the same by order
        self._holds: dict[tuple[str, str], Counter[str]] = {}
        self._holds_of: dict[OrderKey, list[Counter[str]]] = {}

    def read(self, shard: int, read: Read) -> None:
        """One record of a shard's journal."""
        record = journal.decode(read.value, read.offset)
        self.filters[shard], verdict = journal.step(self.filters[shard], read.offset, record)
        if verdict is journal.Verdict.VOID or isinstance(record, journal.Opened):
            self.figures.void_records += not isinstance(record, journal.Opened)
            return
        value = read.value or b""
        self.figures.commits += 1
        self.figures.journal_bytes += len(value)
        self.figures.journal_bytes_compressed += len(cramjam.zstd.compress(value))
        events = journal.happened(record)
        by_entry: dict[int, list[journal.Happened]] = {n: [] for n in range(len(record.entries))}
        for one in events:
            by_entry[one.entry].append(one)
        for number, entry in enumerate(record.entries):
            where = f"shard {shard}, commit {record.seq}, entry {number}"
            self._entry(shard, record.seq, where, entry["input"], by_entry[number])

    def _entry(
        self, shard: int, seq: int, where: str, cause: InputRecord, events: list[journal.Happened]
    ) -> None:
        kinds = [one.event["type"] for one in events]
        origin = cause.get("origin")
        if origin is not None and origin[0] != "inbox":  # there a person's orders stand
            self.figures.inputs += 1
            repeated_origin = any(
                one.event["type"] == "input_repeated" and one.event["by"] == "origin"
                for one in events
            )
            if not repeated_origin:
                self.taken.setdefault((origin[0], origin[1], origin[2]), []).append(shard)
        moved = 0  # units on hand, with those that a report took beyond what was there
        touched: set[tuple[str, str]] = set()
        commanded = False
        for one in events:
            event, by = one.event, one.cause
            output = OUTPUTS.get(event["type"])
            if output is not None and output.TOPIC in _PUBLISHED:
                event_id = f"{shard}.{seq}.{one.entry}.{one.n}"
                self.outputs[event_id] = (output.TOPIC, event)
                if event["type"] == "fulfillment_requested":
                    self.figures.commands += 1
                    if by["type"] == "order_placed" and by is cause and not commanded and origin:
                        self.caused_at_once[event_id] = origin[3]
                        commanded = True
            match event["type"]:
                case "stock_moved":
                    bin_ = self._bin(event["node_id"], event["sku"])
                    for place, delta in zip((0, 2, 3, 4), event["delta"], strict=True):
                        bin_[place] += delta
                    shipping = cause["type"] == "fulfillment_shipped"
                    if event["reason"] not in _PUT_OFF and (
                        not shipping or event["reason"] == "shipped"
                    ):
                        moved += event["delta"][0] - event.get("shortfall", 0)
                    touched.add((event["node_id"], event["sku"]))
                case "balanced":
                    self._balanced(where, event, touched)
                case _:
                    self._of_order(where, by, event, touched)
        self._causes(where, cause, kinds, events, moved)
        for changed in touched:
            self._check_bin(where, changed)
        if kinds and "balanced" not in kinds and touched:
            self.findings.add("books", f"{where} moves units and is not balanced")
        self._wms_rejection(cause, kinds, events)

    def _bin(self, node_id: str, sku: str) -> list[int]:
        return self.stock.setdefault((node_id, sku), [0, 0, 0, 0, 0])

    def _of_order(  # noqa: C901  (one case an event)
        self,
        where: str,
        cause: InputRecord,
        event: Any,  # noqa: ANN401  (one of the decided events, told apart by its type)
        touched: set[tuple[str, str]],
    ) -> None:
        """What an event does to an order's units and to the promises that stand for them."""
        if "order_id" not in event or event["type"] in {"exception_opened", "exception_resolved"}:
            return
        key = (event["market_id"], event["channel"], event["order_id"])
        order = self.orders.get(key)
        taken = cause["type"] == "order_placed" and (
            event["type"] == "order_waits"
            or (event["type"] == "order_accepted" and (order is None or order.row is None))
            or (event["type"] == "order_refused" and not event["conflict"] and order is None)
        )
        if taken:
            lines = {line["line_id"]: line["quantity"] for line in cause["data"]["lines"]}
            order = order or self.orders.setdefault(key, _Order(lines))
            order.times_taken += 1
        if order is None:
            if not event.get("conflict"):
                self.findings.add("orders", f"{where} concerns an order never taken: {key}")
            return
        fulfillment = (event["market_id"], event.get("fulfillment_id", ""))
        match event["type"]:
            case "order_refused":
                order.refused = order.refused or not event["conflict"]
            case "fulfillment_requested":
                if fulfillment in self._holds:
                    self.findings.add("fulfillments", f"{where} asks for {fulfillment[1]} twice")
                holds = Counter({line["line_id"]: line["quantity"] for line in event["lines"]})
                self._holds[fulfillment] = holds
                self._holds_of.setdefault(key, []).append(holds)
                for line in event["lines"]:
                    order.allocated[line["line_id"]] += line["quantity"]
                    self._bin(event["node_id"], line["sku"])[1] += line["quantity"]
                    touched.add((event["node_id"], line["sku"]))
            case "order_allocated":
                order.backordered_once = order.backordered_once or bool(event["backordered"])
                if not order.nodes:
                    order.nodes = len({one["node_id"] for one in event["fulfillments"]})
                    self._weigh(event["decision"])
            case "units_released":
                for line in event["lines"]:
                    self._release(where, event, fulfillment, order, line, touched)
            case "shipment_sent":
                for line_id, sku, off, counted, *_ in event["moved"]:
                    line = {"line_id": line_id, "sku": sku, "quantity": off}
                    self._release(where, event, fulfillment, order, line, touched)
                    order.sent[line_id] += counted
                self.figures.units_shipped += sum(line["quantity"] for line in event["lines"])
            case "shipment_delivered":
                for line in event["lines"]:
                    order.delivered[line["line_id"]] += line["quantity"]
            case "order_cancelled":
                for line in event["lines"]:
                    order.cancelled[line["line_id"]] += line["quantity"]
            case _:
                pass  # moves no units

    def _weigh(self, decision: str) -> None:
        """What the first plan costs, as its explanation says."""
        told = orjson.loads(decision)
        if told["chosen"] is not None:
            components = costs_of(told, told["chosen"])
            self.figures.cost_minor += sum(components)
            self.figures.late += components[_LATE] > 0

    def _release(
        self,
        where: str,
        event: Mapping[str, Any],
        fulfillment: tuple[str, str],
        order: _Order,
        line: Mapping[str, Any],
        touched: set[tuple[str, str]],
    ) -> None:
        line_id, units = line["line_id"], line["quantity"]
        holds = self._holds.setdefault(fulfillment, Counter())
        holds[line_id] -= units
        order.allocated[line_id] -= units
        self._bin(event["node_id"], line["sku"])[1] -= units
        touched.add((event["node_id"], line["sku"]))
        if holds[line_id] < 0:
            self.findings.add(
                "fulfillments", f"{where} frees more of {fulfillment[1]}/{line_id} than it holds"
            )

    def _balanced(self, where: str, event: Any, touched: set[tuple[str, str]]) -> None:  # noqa: ANN401
        for market_id, channel, order_id, status, rows in event["orders"]:
            key = (market_id, channel, order_id)
            order = self.orders.get(key)
            if order is None:
                self.findings.add("orders", f"{where} balances an order never taken: {key}")
                continue
            counts: dict[str, Counts] = {row[0]: tuple(row[1:]) for row in rows}
            order.row = (status, counts)
            self._check_order(where, key, order)
        for row in event["stock"]:
            place = (row[1], row[2])
            touched.add(place)
            if self._bin(*place) != row[3:]:
                self.findings.add(
                    "books",
                    f"{where} has {row[3:]} of {place}, its events make {self._bin(*place)}",
                )

    def _check_order(self, where: str, key: OrderKey, order: _Order) -> None:
        if order.row is None:
            return
        status, counts = order.row
        for line_id, quantity in order.quantity.items():
            row = counts.get(line_id)
            if row is None or sum(row) != quantity or min(row) < 0:
                self.findings.add(
                    "lines", f"{where}: {key} line {line_id} of {quantity} is counted as {row}"
                )
                continue
            mine = (
                order.allocated[line_id],
                order.sent[line_id],
                order.delivered[line_id],
                order.cancelled[line_id],
            )
            if (row[1], row[3] + row[4], row[4], row[5]) != mine:
                self.findings.add(
                    "lines",
                    f"{where}: {key} line {line_id} is counted as {row}; by its events it has "
                    f"{mine} allocated, sent, delivered, cancelled",
                )
        if status != (expected := status_of(counts.values(), refused=order.refused)):
            self.findings.add("status", f"{where}: {key} is {status}, its units say {expected}")

    def _check_bin(self, where: str, place: tuple[str, str]) -> None:
        """At an entry's end nothing is below 0, and promised and held units are there."""
        on_hand, reserved, *held = self.stock[place]
        beyond = reserved + sum(held) - on_hand
        if beyond > 0:
            self.figures.units_oversold += beyond
            self.findings.add("oversold", f"{where}: {beyond} units of {place} beyond {on_hand}")
        if min(on_hand, reserved, *held) < 0:
            self.findings.add("books", f"{where}: {place} has {self.stock[place]}")

    def _causes(
        self,
        where: str,
        cause: InputRecord,
        kinds: Sequence[str],
        events: list[journal.Happened],
        moved: int,
    ) -> None:
        """A receipt, an adjustment and a shipment move what they say, no more and no less."""
        passed = {"input_repeated", "input_skipped", "input_parked", "input_resumed"}
        if not kinds or passed & set(kinds):
            return
        data = cause["data"]
        match cause["type"]:
            case "stock_received":
                expected = data["quantity"]
                self.figures.units_received += expected
            case "stock_adjusted":
                expected = data["delta"]
            case "fulfillment_shipped" if "shipment_sent" in kinds:
                expected = -sum(
                    line["quantity"]
                    for one in events
                    if one.event["type"] == "shipment_sent"
                    for line in one.event["lines"]
                )
            case _:
                return
        if moved != expected:
            self.findings.add(
                "movements", f"{where}: {cause['type']} of {expected} units moved {moved}"
            )

    def _wms_rejection(
        self, cause: InputRecord, kinds: Sequence[str], events: list[journal.Happened]
    ) -> None:
        if cause["type"] != "fulfillment_rejected" or "units_released" not in kinds:
            return
        order = (cause["data"]["fulfillment_id"]).rpartition(".")[0]
        self.figures.rejected_by_wms += 1
        self.figures.re_sourced += any(
            one.event["type"] == "fulfillment_requested"
            and one.event["fulfillment_id"].rpartition(".")[0] == order
            for one in events
        )

    def close(self) -> None:
        """What the books say at the end."""
        figures = self.figures
        for key, order in self.orders.items():
            self._check_order("at the end", key, order)
            held: Counter[str] = sum(self._holds_of.get(key, []), Counter())
            if +held != +order.allocated:
                self.findings.add(
                    "fulfillments", f"{key} has {order.allocated} allocated, is promised {held}"
                )
            if order.times_taken != 1:
                self.findings.add("orders", f"{key} was taken {order.times_taken} times")
            figures.placed += 1
            figures.refused += order.refused
            figures.allocated += order.nodes > 0
            figures.split += order.nodes > 1
            figures.backordered += order.backordered_once
            status, counts = order.row or ("", {})
            figures.delivered += status == "delivered"
            figures.cancelled += status == "cancelled"
            figures.waiting += any(row[2] for row in counts.values())
            figures.in_flight += not order.refused and any(
                row[0] or row[1] or row[3] for row in counts.values()
            )
        figures.units_on_hand = sum(bin_[0] for bin_ in self.stock.values())


def status_of(lines: Iterable[Counts], *, refused: bool) -> str:
    """An order's status by the contract's table, from its lines' counts."""
    if refused:
        return "refused"
    open_, allocated, backordered, shipped, delivered, _ = (
        sum(column) for column in zip(*lines, strict=True)
    )
    left = open_ + allocated + backordered + shipped + delivered
    if not left:
        return "cancelled"
    for units, all_of_it, some_of_it in (
        (delivered, "delivered", "partly_delivered"),
        (shipped, "shipped", "partly_shipped"),
        (allocated, "allocated", "partly_allocated"),
    ):
        if units:
            return all_of_it if units == left else some_of_it
    return "backordered" if backordered == left else "accepted"


async def _audit_inputs(log: EventLog, ledger: _Ledger, partitions: Mapping[str, int]) -> None:
    """Every record of the input topics was taken exactly once where it belongs, or was rejected."""
    rejected: set[tuple[str, int, int]] = set()
    async for _, read in _whole(log, "rejected", partitions["rejected"]):
        headers = dict(read.headers)
        rejected.add(
            (
                headers["headrace_topic"].decode(),
                int(headers["headrace_partition"]),
                int(headers["headrace_offset"]),
            )
        )
    ledger.figures.rejected_inputs = len(rejected)
    placed: set[OrderKey] = set()
    seen: set[tuple[str, int, int]] = set()
    for topic in ("network", "orders", "stock", "carriers"):
        async for partition, read in _whole(log, topic, partitions[topic]):
            origin = (topic, partition.number, read.offset)
            seen.add(origin)
            shards = ledger.taken.get(origin, [])
            if origin in rejected:
                if shards:
                    ledger.findings.add("inputs", f"{origin} is both rejected and journaled")
                continue
            accepted = cloudevents.read(topic, read.value, read.headers)
            if isinstance(accepted, cloudevents.Rejected):
                ledger.findings.add("inputs", f"{origin} can't be read and is not in `rejected`")
                continue
            everywhere = accepted.type in {"item_defined", "places_defined"} or (
                accepted.type == "tracking_updated"
                and getattr(accepted.model, "market_id", None) is None
            )
            wanted = ledger.shards if everywhere else 1
            if len(shards) != wanted or len(set(shards)) != wanted:
                ledger.findings.add(
                    "inputs",
                    f"{accepted.type} at {origin} is journaled by shards {shards}, "
                    f"{wanted} of them should have it once",
                )
            if isinstance(accepted.model, OrderPlaced):
                order = accepted.model
                placed.add((order.market_id, order.channel, order.order_id))
    for origin in sorted(ledger.taken.keys() - seen):
        ledger.findings.add("inputs", f"the journal has {origin}, which is not on its topic")
    for key in sorted(placed - ledger.orders.keys()):
        ledger.findings.add("orders", f"{key} was sent and is not in the journal")
    for key in sorted(ledger.orders.keys() - placed):
        ledger.findings.add("orders", f"{key} is in the journal and was not sent")


async def _audit_outputs(log: EventLog, ledger: _Ledger, topic: str, partitions: int) -> None:
    """Every output of the journal is published, nothing else is, and one id has one content."""
    contents: dict[str, bytes] = {}
    async for partition, read in _whole(log, topic, partitions):
        event_id = dict(read.headers)["ce_id"].decode()
        digest = blake2b(read.value or b"", digest_size=16).digest()
        if contents.setdefault(event_id, digest) != digest:
            ledger.findings.add("outputs", f"{topic} has two contents for the id {event_id}")
        expected = ledger.outputs.get(event_id)
        if expected is None or expected[0] != topic:
            ledger.findings.add(
                "outputs", f"{partition}@{read.offset} ({event_id}) is not of the journal"
            )
            continue
        event: Any = expected[1]
        hidden = INTERNAL.get(event["type"], frozenset())
        if orjson.loads(read.value or b"") != {
            name: value for name, value in event.items() if name != "type" and name not in hidden
        }:
            ledger.findings.add("outputs", f"{topic} says otherwise than the journal at {event_id}")
        placed_ms = ledger.caused_at_once.pop(event_id, None)
        if placed_ms is not None:
            ledger.figures.decided_in_ms.append(read.timestamp_ms - placed_ms)
    missing = [
        event_id
        for event_id, (to, _) in ledger.outputs.items()
        if to == topic and event_id not in contents
    ]
    for event_id in missing:
        ledger.findings.add("outputs", f"{event_id} was decided and is not on {topic}")


def _audit_rows(ledger: _Ledger, rows: Rows) -> None:
    """The read model is the fold of what the journal last balanced."""
    for key in sorted(ledger.orders.keys() | rows.orders.keys()):
        order = ledger.orders.get(key)
        mine = order.row if order else None
        if rows.orders.get(key) != mine:
            ledger.findings.add(
                "read model", f"order {key} is {rows.orders.get(key)}, the journal says {mine}"
            )
    nothing = (0, 0, 0, 0, 0)
    for place in sorted(ledger.stock.keys() | rows.stock.keys()):
        bin_ = tuple(ledger.stock.get(place, nothing))
        if rows.stock.get(place, nothing) != bin_:
            ledger.findings.add(
                "read model", f"stock {place} is {rows.stock.get(place)}, the journal says {bin_}"
            )
