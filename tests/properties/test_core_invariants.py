"""The ledger's and the orders' laws hold after every input, whatever comes in whatever order.

Random walks, seeded: a failure names its seed and step. Long walks over few orders find what short
stories don't: states that need an order, a shortage, a cancellation and a late report on one unit.
"""

from itertools import chain
from random import Random
from typing import Any

import orjson
import pytest

from events.decided import InputRecord
from orchestrator.core.auditing import audit
from orchestrator.core.config import DAY_MS, DAYS_KEPT, Config
from orchestrator.core.invariants import violations
from orchestrator.core.orders import FulfillmentLine, Order
from schemas.times import rfc3339
from tests.core.story import Story, plain

NODES = ("BOS", "CHI", "LAX")
SKUS = ("A", "B")
Lines = list[tuple[str, str | None, int]]
REASONS = ("not_in_stock", "mismatch", "damaged", "capacity", "closed", "other")
WEIGHTS = {
    "order": 8,
    "stock_received": 8,
    "stock_adjusted": 4,
    "count": 4,
    "accepted": 3,
    "rejected": 4,
    "shipped": 8,
    "cancel": 5,
    "cancellation_accepted": 3,
    "cancellation_rejected": 3,
    "track": 6,
    "wait": 3,
    "node": 1,
    "item": 1,
    "again": 2,
    "inbound": 3,
}
DAYS = ("2027-01-18", "2027-01-20", "2027-02-20")


class Chance:
    """What happens next, by a seed."""

    def __init__(self, seed: int) -> None:
        self.random = Random(seed)
        self.of = self.random.choice

    def often(self, share: float) -> bool:
        return self.random.random() < share

    def units(self) -> int:
        return self.random.randint(1, 6)

    def lines(self) -> Lines:
        """Line 9 is in no order, sku Z is defined late or never."""
        ids = self.random.sample(("1", "1", "2", "2", "9"), self.random.randint(1, 3))
        return [(one, self.of((None, None, "A", "B", "Z")), self.units()) for one in set_of(ids)]

    def some_lines(self) -> Lines | None:
        return None if self.often(0.5) else self.lines()

    def fulfillment(self) -> tuple[int, int]:
        return self.random.randint(1, 6), self.random.randint(1, 3)

    def packages(self) -> list[tuple[str, str | None, str | None, Lines | None]]:
        ids = self.random.sample(("P1", "P2", "P3", "P4"), self.random.randint(1, 3))
        numbers = ("T1", "T2", "T3", None)
        return [(one, self.of(("ups", None)), self.of(numbers), self.some_lines()) for one in ids]

    def action(self) -> tuple[Any, ...]:
        (kind,) = self.random.choices(list(WEIGHTS), list(WEIGHTS.values()))
        document = self.of((None, None, "D1", "D2"))
        match kind:
            case "order":
                skus = "AABBZ" if self.often(0.3) else "AB"
                lines = [(self.of(skus), self.units()) for _ in range(self.random.randint(1, 3))]
                split, backorder = self.often(0.7), self.often(0.7)
                number = self.random.randint(1, 12)
                more = {
                    "priority": self.random.randint(0, 1),
                    "allow_partial": self.often(0.8),
                    "deliver_by": self.of((None, *DAYS)),
                }
                return (kind, number, lines, split, backorder, more)
            case "stock_received":
                state = self.of(("available", "available", "damaged"))
                expires_on = self.of((None, *DAYS))
                at, item, units = self.of(NODES), self.of(SKUS), self.units()
                return (kind, at, item, units, state, document, expires_on)
            case "inbound":
                units, line = self.random.randint(0, 5), self.of((None, "1"))
                at, item = self.of(NODES), self.of(SKUS)
                return (kind, at, item, units, document or "D1", line, self.of(DAYS))
            case "stock_adjusted":
                delta, state = self.of((-6, -3, -1, 1, 4)), self.of(("available", "held"))
                return (kind, self.of(NODES), self.of(SKUS), delta, state, document)
            case "count":
                counted, state = self.random.randint(0, 8), self.of(("all", "available", "held"))
                ago = self.of((0, 5, 100))
                return (kind, self.of(NODES), self.of(SKUS), counted, state, ago)
            case "accepted":
                return (kind, *self.fulfillment())
            case "rejected":
                effect = self.of(("apply", "none"))
                return (kind, *self.fulfillment(), self.some_lines(), self.of(REASONS), effect)
            case "shipped":
                short = None
                if self.often(0.3):
                    short = (self.lines(), self.of(REASONS), self.of(("apply", "none")))
                return (kind, *self.fulfillment(), self.some_lines(), self.packages(), short)
            case "cancel":
                return (kind, self.random.randint(1, 12), self.some_lines())
            case "cancellation_accepted" | "cancellation_rejected":
                named = self.of((None, None, 1, 2))
                return (kind, *self.fulfillment(), self.some_lines(), named)
            case "track":
                package = (*self.fulfillment(), self.of(("P1", "P2"))) if self.often(0.3) else None
                status = self.of(("in_transit", "delivered", "delivered", "lost"))
                return (kind, self.of(("T1", "T2", "T3")), status, package)
            case "wait":
                return (kind, self.of((1, 61, 3600, 5 * 3600, 8 * 86400)))
            case "node":
                return (kind, self.of(NODES), self.often(0.6), self.often(0.8))
            case "item":
                return (kind, self.of(("A", "Z")))
            case _:
                return (kind, self.random.randint(0, 5))


def set_of(ids: list[str]) -> list[str]:
    return list(dict.fromkeys(ids))


def as_lines(lines: Lines | None, **more: str) -> list[dict[str, Any]] | None:
    if lines is None:
        return None
    return [
        {"line_id": line_id, "sku": sku, "quantity": quantity, **more}
        for line_id, sku, quantity in lines
    ]


def perform(story: Story, action: tuple[Any, ...]) -> None:
    match action:
        case ("order", number, lines, allow_split, allow_backorder, more):
            numbered = [
                {
                    "line_id": str(n),
                    "sku": item,
                    "quantity": quantity,
                    "allow_backorder": allow_backorder,
                }
                for n, (item, quantity) in enumerate(lines, 1)
            ]
            story.order(str(number), allow_split=allow_split, lines=numbered, **more)
        case ("inbound", at, item, quantity, document, line, day):
            story.send(
                "inbound_announced",
                node_id=at,
                sku=item,
                quantity=quantity,
                document=document,
                document_line=line,
                expected_at=day,
            )
        case ("stock_received", at, item, quantity, state, document, expires_on):
            story.send(
                "stock_received",
                node_id=at,
                sku=item,
                quantity=quantity,
                state=state,
                document=document,
                expires_on=expires_on,
            )
        case ("stock_adjusted", at, item, delta, state, document):
            story.send(
                "stock_adjusted",
                node_id=at,
                sku=item,
                delta=delta,
                reason="audit",
                state=state,
                document=document,
            )
        case ("count", at, item, counted, state, seconds_ago):
            counted_at = rfc3339(story.now_ms - seconds_ago * 1000)
            story.send(
                "stock_counted",
                node_id=at,
                sku=item,
                counted=counted,
                state=state,
                counted_at=counted_at,
            )
        case ("cancel", number, lines):
            asked = lines and [
                {"line_id": line_id, "quantity": quantity} for line_id, _, quantity in lines
            ]
            story.cancel(str(number), lines=asked)
        case ("track", number, status, None):
            story.track(number, status)
        case ("track", number, status, (order, n, package_id)):
            story.track(number, status, fulfillment_id=f"web.{order}.{n}", package_id=package_id)
        case ("wait", seconds):
            story.at(seconds)
        case ("node", at, active, ships):
            story.node(at, active=active, ships=ships)
        case ("item", item):
            story.item(item)
        case ("again", back):
            _again(story, back)
        case (report, number, n, *rest):
            _report(story, report, number, n, rest)
        case _:
            pytest.fail(f"no such action: {action}")


def _again(story: Story, back: int) -> None:
    """An input of before, as another record with the same id."""
    record: InputRecord = orjson.loads(story.entries[-1 - back % len(story.entries)])["input"]
    if "origin" in record:
        record["origin"][2] = next(story.offsets[record["origin"][0]])
        story.take(record)


def _report(story: Story, report: str, number: int, n: int, rest: list[Any]) -> None:
    order = story.shard.markets["US"].orders.get(f"web/{number}")
    known = order is not None and n <= len(order.fulfillments)
    data: dict[str, Any] = {} if known else {"node_id": "BOS"}
    if rest:
        data["lines"] = as_lines(rest[0])
    match (report, *rest):
        case ("rejected", _, reason, effect):
            data |= {"reason": reason, "stock_effect": effect}
        case ("shipped", _, held, short):
            data["packages"] = [
                {
                    "package_id": package_id,
                    "carrier": carrier,
                    "tracking_number": tracking_number,
                    "lines": as_lines(contents),
                }
                for package_id, carrier, tracking_number, contents in held
            ]
            data["shipped_at"] = "2026-11-23T10:00:00Z"
            if short:
                lines, reason, effect = short
                data["short"] = as_lines(lines, reason=reason, stock_effect=effect)
        case (_, _, cancellation):
            if cancellation:
                data["cancellation_id"] = f"web.{number}.{n}.c{cancellation}"
        case _:
            """accepted says no more"""
    story.report(report, f"{number}.{n}", **data)


def check(story: Story) -> None:
    """The laws, from the state alone, by other words than the core's."""
    market = story.shard.markets["US"]
    reserved: dict[tuple[str, str], int] = {}
    allocated: dict[tuple[str, str], int] = {}
    waiting = {(o.number, i) for queue in market.waiting.values() for _, _, i, o in queue}
    for order in market.orders.values():
        for fulfillment in order.fulfillments:
            for line in fulfillment.lines:
                where = (fulfillment.node_id, line.sku)
                reserved[where] = reserved.get(where, 0) + line.reserved
                of = (order.key, line.line_id)
                allocated[of] = allocated.get(of, 0) + line.reserved
                assert 0 <= line.reserved <= line.outstanding
                taken_back = line.outstanding - line.reserved
                asked = sum(
                    pending.lines.get(line.line_id, 0)
                    for pending in fulfillment.cancellations
                    if pending.taken_back
                )
                assert asked <= taken_back or not line.reserved, "asks back more than was taken"
        for index, order_line in enumerate(order.lines):
            assert order_line.allocated == allocated.get((order.key, order_line.line_id), 0)
            assert bool(order_line.backordered) == ((order.number, index) in waiting)
            if not order.refused and order.unknown is None:
                assert order_line.open == 0, "nothing stays undecided"
            lines_left = [order_line.shipped, order_line.delivered]
            assert sum(lines_left) <= sum(
                line.shipped
                for fulfillment in order.fulfillments
                for line in fulfillment.lines
                if line.line_id == order_line.line_id
            ), "more reached the customer than left"
    for item, by_node in market.bins.items():
        total = 0
        for at, stock in by_node.items():
            assert stock.on_hand == stock.available + stock.reserved + stock.set_aside
            assert min(stock.available, stock.reserved, stock.set_aside) >= 0
            assert stock.reserved == reserved.get((at, item), 0), "a reservation leaks"
            held: list[FulfillmentLine] = list(stock.promises)
            assert sum(line.reserved for line in held) == stock.reserved
            if market.nodes[at].offers:
                total += stock.available
                if stock.available and not market.nodes[at].suppresses(item, story.now_ms):
                    first: list[Order] = [
                        o for *_, o in market.waiting.get(item, ()) if not o.whole
                    ]
                    assert not first, "units lie idle while a line waits"
        assert market.available.get(item, 0) == total
        assert (market.published.get(item, 0) > 0) == (total > 0)
    check_days(story)
    check_plans(story)
    assert list(violations(story.shard)) == []
    assert [*chain.from_iterable(audit(story.shard))] == []


def check_days(story: Story) -> None:
    """Each day's capacity is taken by what fulfillments still hold of it, or shipped."""
    market = story.shard.markets["US"]
    over = story.now_ms // DAY_MS - DAYS_KEPT
    taken: dict[tuple[str, int], list[int]] = {}
    for order in market.orders.values():
        for one in order.fulfillments:
            assert one.ship_day is not None
            reserved = sum(line.reserved for line in one.lines)
            assert reserved <= one.booked <= reserved + sum(line.shipped for line in one.lines)
            if one.booked:
                at = taken.setdefault((one.node_id, one.ship_day), [0, 0])
                at[0] += 1
                at[1] += one.booked
    booked = {
        (node_id, day): units
        for node_id, node in market.nodes.items()
        for day, units in node.booked.items()
    }
    for key, units in taken.items():
        assert key[1] < over or booked[key] == units
    retired = bool(market.retired)
    assert retired or not {key for key in booked if key[1] >= over} - taken.keys()


def check_plans(story: Story) -> None:
    """What is held, announced, promised and drawn on is what orders and inputs say."""
    market = story.shard.markets["US"]
    held: dict[str, set[int]] = {}
    promised: dict[int, set[str]] = {}
    for order in market.orders.values():
        for one in order.held():
            for line in one.lines:
                if line.reserved:
                    held.setdefault(line.sku, set()).add(order.number)
        if order.promised_ms is not None and not order.promise_counted and not order.closing:
            promised.setdefault(order.promised_ms, set()).add(order.key)
            assert order.told_ms >= order.promised_ms
    assert {sku: set(orders) for sku, orders in market.held.items()} == held
    found = {at: {order.key for order in orders} for at, orders in market.promises.items()}
    assert found == promised
    assert all(units > 0 for lines in market.inbound.values() for units, _ in lines.values())
    for by_node in market.bins.values():
        for stock in by_node.values():
            assert 0 <= stock.dated <= stock.on_hand
            assert all(units > 0 for _, units in stock.lots or ())
            assert 0 <= stock.fresh(story.now_ms // DAY_MS) <= stock.available
    timers = {timer[2:] for timer in story.shard.timers}
    assert not market.improvable or ("improve", ("US",)) in timers, "nobody would look"
    if not market.retired and "all" in market.pool_taken:
        lines = [
            line
            for order in market.orders.values()
            for one in order.fulfillments
            for line in one.lines
            if line.sku == "A"
        ]
        reserved = sum(line.reserved for line in lines)
        left = sum(line.shipped for line in lines)
        assert reserved <= market.pool_taken["all"].taken <= reserved + left


@pytest.mark.parametrize(
    "seed", [*range(40), *(pytest.param(seed, marks=pytest.mark.slow) for seed in range(40, 200))]
)
def test_the_books_balance_whatever_comes(seed: int) -> None:
    chance = Chance(seed)
    story = Story(Config(slice_orders=2, tracking_waits=3, improve_orders=2))
    for at in NODES:
        story.node(at)
    story.item(*SKUS)
    if seed % 2:
        pool = {"id": "all", "sku": ["A"], "channel": "web", "units": 9}
        story.rules({"hold": 30, "unsourced": [{"cancel_after_days": 3}]}, pools=[pool])
    for at in NODES[:2]:
        story.receive(at, A=4, B=3)
    for step in range(80):
        action = chance.action()
        try:
            perform(story, action)
            check(story)
        except Exception as error:
            error.add_note(f"seed {seed}, step {step}: {action}")
            raise
    assert plain(story.shard) == plain(story.twin), "the fold of the journal is the state"
