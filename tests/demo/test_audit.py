"""The audit finds nothing in honest books, and each kind of lie in cooked ones.

The books are made by the core itself: inputs on the public topics, one commit an input, outputs as
the relay words them.
"""

import asyncio
from collections import defaultdict
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any, Final

import orjson
import pytest

from events.base import Fact, Location
from events.carriers import TrackingUpdated
from events.fulfillment import FulfillmentRejected, FulfillmentShipped
from events.network import ItemDefined, MarketDefined, NodeAddress, NodeDefined
from events.orders import Address, OrderCancelRequested, OrderLine, OrderPlaced
from events.stock import StockAdjusted, StockReceived
from orchestrator.core.decide import decide, tick
from orchestrator.core.shard import Shard
from orchestrator.demo.audit import Bin, Counts, OrderKey, Report, Rows, audit, status_of
from orchestrator.runtime.memory_log import MemoryLog
from orchestrator.runtime.publisher import Outgoing
from orchestrator.runtime.relay import publish
from orchestrator.runtime.world import SystemClock
from schemas import journal
from schemas.cloudevents import Accepted, emit, read
from schemas.ports import Partition, Record

NOW: Final = 1_767_225_600_000
AT: Final = "2026-01-01T00:00:00Z"
PARTITIONS: Final = {
    **dict.fromkeys(("orders", "stock", "carriers", "network", "inbox", "journal"), 1),
    **dict.fromkeys(("fulfillment-commands", "order-updates", "exceptions", "availability"), 1),
    "rejected": 1,
}

Entries = list[tuple[Any, list[Any]]]


class Shop:
    """One shard, by hand."""

    def __init__(self) -> None:
        self.log = MemoryLog(SystemClock(), PARTITIONS)
        self.shard = Shard(0)
        self.entries: Entries = []
        self.sent = 0

    def say(self, *facts: Fact) -> None:
        """Put facts on their topics, and decide them."""
        for fact in facts:
            self.sent += 1
            headers = emit(fact.TYPE, f"e{self.sent}", "test", AT)
            record = Record(None, fact.model_dump_json(exclude_defaults=True).encode(), headers)
            at = self.log.write(Partition(fact.TOPIC, 0), [record])
            accepted = read(fact.TOPIC, record.value, headers)
            assert isinstance(accepted, Accepted), accepted
            self._decide(
                {
                    "type": accepted.type,
                    "version": 1,
                    "id": accepted.id,
                    "source": accepted.source,
                    "time_ms": accepted.time_ms,
                    "origin": [fact.TOPIC, 0, at.base_offset, NOW],
                    "data": orjson.loads(accepted.data),
                }
            )
        while self.shard.work:
            self._decide(tick(NOW))

    def _decide(self, record: Any) -> None:  # noqa: ANN401  (JSON)
        self.entries.append((record, orjson.loads(orjson.dumps(decide(self.shard, record)))))

    def publish(self) -> None:
        """Write the journal, one commit an entry, and what the relay makes of it."""
        state = journal.FilterState()
        to = Partition("journal", 0)
        opened = journal.encode_opened("test", "n")
        self.log.write(to, [Record(None, opened)])
        state, _ = journal.step(state, 0, journal.decode(opened, 0))
        for number, (record, events) in enumerate(self.entries, 1):
            value = journal.encode_commit(
                epoch=0,
                nonce="n",
                seq=number,
                inbox_from=number - 1,
                inbox_next=number,
                prev=state.digest,
                now_ms=NOW,
                entries=[journal.encode_entry(record, events)],
            )
            self.log.write(to, [Record(None, value)])
            commit = journal.decode(value, number)
            assert isinstance(commit, journal.Commit)
            state, _ = journal.step(state, number, commit)
            outgoing: Outgoing = defaultdict(list)
            publish(commit, 0, PARTITIONS, outgoing)
            for partition, records in outgoing.items():
                self.log.write(partition, records)

    def rows(self) -> Rows:
        """What a right read model holds."""
        orders: dict[OrderKey, tuple[str, dict[str, Counts]]] = {}
        stock: dict[tuple[str, str], Bin] = {}
        for _, events in self.entries:
            for event in events:
                if event["type"] == "balanced":
                    for market, channel, order, status, lines in event["orders"]:
                        counts: dict[str, Counts] = {row[0]: tuple(row[1:]) for row in lines}
                        orders[market, channel, order] = (status, counts)
                    for _, node, sku, *units in event["stock"]:
                        stock[node, sku] = tuple(units)
        return Rows(orders, stock)

    def audited(self, rows: Rows | None = None) -> Report:
        """Publish everything and audit it."""
        self.publish()
        return asyncio.run(audit(self.log, self.rows() if rows is None else rows))

    def event(self, kind: str) -> Any:  # noqa: ANN401  (JSON)
        """The first decided event of a kind, to be cooked."""
        return next(e for _, events in self.entries for e in events if e["type"] == kind)


def order(order_id: str, **units: int) -> OrderPlaced:
    return OrderPlaced(
        channel="web",
        market_id="us",
        order_id=order_id,
        placed_at=datetime(2026, 1, 1, tzinfo=UTC),
        currency="USD",
        ship_to=Address(country="US", location=Location(lat=42.0, lon=-71.0)),
        lines=[
            OrderLine(line_id=sku.lower(), sku=sku, quantity=units) for sku, units in units.items()
        ],
    )


def shipped(fulfillment_id: str, package: str = "P1") -> FulfillmentShipped:
    return FulfillmentShipped.model_validate_json(
        orjson.dumps(
            {
                "node_id": "BOS",
                "fulfillment_id": fulfillment_id,
                "shipped_at": AT,
                "packages": [
                    {"package_id": package, "carrier": "c", "tracking_number": fulfillment_id}
                ],
            }
        )
    )


def delivered(number: str) -> TrackingUpdated:
    return TrackingUpdated.model_validate_json(
        orjson.dumps(
            {
                "carrier": "c",
                "tracking_number": number,
                "status": "delivered",
                "at": AT,
                "market_id": "us",
            }
        )
    )


@pytest.fixture
def shop() -> Shop:
    """Two nodes; orders that are split, rejected, re-sourced, cancelled, backordered, delivered."""
    shop = Shop()
    shop.say(
        MarketDefined(market_id="us", currency="USD", time_zone="America/New_York"),
        *(
            NodeDefined(
                node_id=node,
                market_id="us",
                kind="warehouse",
                name=node,
                address=NodeAddress(country="US"),
                location=Location(lat=lat, lon=-71.0),
            )
            for node, lat in (("BOS", 42.0), ("NYC", 40.0))
        ),
        *(ItemDefined(sku=sku, name=sku) for sku in ("A", "B", "C")),
        StockReceived(node_id="BOS", sku="A", quantity=10),
        StockReceived(node_id="NYC", sku="B", quantity=10),
        order("1", A=2, B=3),
        shipped("web.1.1"),
        delivered("web.1.1"),
        StockReceived(node_id="NYC", sku="A", quantity=3),
        order("2", A=4),
        FulfillmentRejected(node_id="BOS", fulfillment_id="web.2.1", reason="not_in_stock"),
        order("3", C=5),
        StockReceived(node_id="BOS", sku="C", quantity=2),
        OrderCancelRequested(channel="web", market_id="us", order_id="3", reason="no"),
        StockAdjusted(node_id="NYC", sku="B", delta=-9, reason="broken"),
        order("4", A=9, C=1),
        shipped("web.1.1"),
    )
    return shop


def test_finds_nothing_in_honest_books(shop: Shop) -> None:
    report = shop.audited()

    assert report.findings == []
    figures = report.figures
    assert figures.placed == 4
    assert figures.split == 1
    assert figures.backordered >= 3
    assert figures.rejected_by_wms == 1
    assert figures.re_sourced == 1
    assert figures.units_oversold == 0
    assert figures.units_shipped == 2
    assert figures.inputs == shop.sent
    assert len(figures.decided_in_ms) > 0
    assert figures.journal_bytes > figures.journal_bytes_compressed > 0


def cook_stock(shop: Shop) -> None:
    shop.event("stock_moved")["delta"][0] -= 1


def cook_promise(shop: Shop) -> None:
    """Promise more than there is, and balance it."""
    for _, events in shop.entries:
        if events[0]["type"] == "stock_moved" and events[0]["delta"][0] == 10:
            events[0]["delta"][0] = 1
    for _, events in shop.entries:
        for event in events:
            if event["type"] == "balanced":
                for row in event["stock"]:
                    row[3] -= 9


def cook_line(shop: Shop) -> None:
    for _, events in shop.entries:
        for event in events:
            if event["type"] == "balanced" and event["orders"]:
                event["orders"][0][4][0][1] += 1
                return


def cook_status(shop: Shop) -> None:
    for _, events in shop.entries:
        for event in events:
            if event["type"] == "balanced" and event["orders"]:
                event["orders"][0][3] = "delivered"
                return


def lose_input(shop: Shop) -> None:
    """An order on the topic that nobody took in."""
    shop.log.write(
        Partition("orders", 0),
        [
            Record(
                None,
                order("9", A=1).model_dump_json(exclude_defaults=True).encode(),
                emit("order_placed", "e99", "test", AT),
            )
        ],
    )


def take_input_twice(shop: Shop) -> None:
    cause, events = next(one for one in shop.entries if one[1][0]["type"] == "master_data_kept")
    shop.entries.append((cause, events))


def ship_unreserved(shop: Shop) -> None:
    shop.event("shipment_sent")["moved"][0][2] += 1


@pytest.mark.parametrize(
    ("cook", "kind"),
    [
        (cook_stock, "movements"),
        (cook_stock, "books"),
        (cook_promise, "oversold"),
        (cook_line, "lines"),
        (cook_status, "status"),
        (lose_input, "inputs"),
        (lose_input, "orders"),
        (take_input_twice, "inputs"),
        (ship_unreserved, "fulfillments"),
    ],
)
def test_finds_what_does_not_add_up(shop: Shop, cook: Callable[[Shop], None], kind: str) -> None:
    cook(shop)

    report = shop.audited()

    assert [finding for finding in report.findings if finding.startswith(f"{kind}:")]
    if kind == "oversold":
        assert report.figures.units_oversold > 0


def test_finds_an_output_that_is_missing_altered_or_invented(shop: Shop) -> None:
    shop.publish()
    commands = shop.log.held(Partition("fulfillment-commands", 0)).records
    first = commands.pop(0)
    altered = orjson.loads(commands[0].value or b"")
    altered["node_id"] = "LAX"
    commands[0] = commands[0]._replace(value=orjson.dumps(altered))
    invented = emit("fulfillment_requested", "0.99.0.0", "headrace/0", AT)
    commands.append(first._replace(offset=len(commands), headers=invented))
    for offset, record in enumerate(commands):
        commands[offset] = record._replace(offset=offset)

    findings = asyncio.run(audit(shop.log, shop.rows())).findings

    assert len([one for one in findings if one.startswith("outputs:")]) == 3


def test_takes_an_output_published_twice_for_one(shop: Shop) -> None:
    shop.publish()
    to = Partition("fulfillment-commands", 0)
    again = shop.log.held(to).records[0]
    shop.log.write(to, [Record(again.key, again.value, again.headers)])

    assert asyncio.run(audit(shop.log)).findings == []


def test_finds_a_read_model_that_differs(shop: Shop) -> None:
    rows = shop.rows()
    orders, stock = dict(rows.orders), dict(rows.stock)
    del orders[("us", "web", "1")]
    stock["NYC", "B"] = (99, 0, 0, 0, 0)

    findings = shop.audited(Rows(orders, stock)).findings

    assert len([one for one in findings if one.startswith("read model:")]) == 2


@pytest.mark.parametrize(
    ("counts", "status"),
    [
        ((0, 0, 0, 0, 0, 2), "cancelled"),
        ((0, 0, 0, 0, 2, 1), "delivered"),
        ((1, 0, 0, 0, 1, 0), "partly_delivered"),
        ((0, 0, 0, 2, 0, 0), "shipped"),
        ((0, 1, 0, 1, 0, 0), "partly_shipped"),
        ((0, 3, 0, 0, 0, 0), "allocated"),
        ((0, 1, 1, 0, 0, 0), "partly_allocated"),
        ((0, 0, 2, 0, 0, 0), "backordered"),
        ((1, 0, 2, 0, 0, 0), "accepted"),
    ],
)
def test_an_orders_status_follows_the_contracts_table(counts: Counts, status: str) -> None:
    assert status_of([counts], refused=False) == status
    assert status_of([counts], refused=True) == "refused"
