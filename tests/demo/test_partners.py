"""The partners, over the memory log: what they say follows from what the public topics say."""

import asyncio
from collections import Counter, deque
from collections.abc import Mapping, Sequence

import orjson
import pytest

from events.base import Fact
from events.carriers import TrackingUpdated
from events.fulfillment import (
    FulfillmentAccepted,
    FulfillmentCancellationAccepted,
    FulfillmentCancellationRejected,
    FulfillmentRejected,
    FulfillmentShipped,
)
from events.stock import StockReceived
from orchestrator.demo.meter import Meter, quantile
from orchestrator.demo.outbox import Outbox
from orchestrator.demo.partners import Carrier, Pace, Warehouses
from orchestrator.runtime.memory_log import MemoryLog
from schemas.cloudevents import Accepted, emit, read
from schemas.ports import Appended, Partition, Read, Record, Unknown, Writer

TOPICS = {"orders": 2, "stock": 2, "carriers": 2, "fulfillment-commands": 2, "order-updates": 2}
AT_ONCE = Pace((0, 0), (0, 0), (0, 0), (0, 0))


class HandClock:
    """Time that stands still until it is moved."""

    def __init__(self) -> None:
        self.seconds = 0.0

    def now_ms(self) -> int:
        return 1_767_225_600_000 + int(self.seconds * 1000)

    def monotonic(self) -> float:
        return self.seconds

    async def sleep(self, seconds: float) -> None:
        self.seconds += seconds
        await asyncio.sleep(0)


class Said(Outbox):
    """Keeps what is put instead of sending it."""

    def __init__(self) -> None:
        self.facts: list[Fact] = []
        self.ids: list[str] = []

    def put(self, fact: Fact, event_id: str) -> None:
        self.facts.append(fact)
        self.ids.append(event_id)


def command(kind: str, number: int = 1, **data: object) -> Read:
    body = {
        "market_id": "us",
        "channel": "web",
        "order_id": "1",
        "fulfillment_id": f"web.1.{number}",
        "node_id": "BOS",
        **data,
    }
    headers = emit(kind, f"0.{number}.0.{kind}", "headrace/0", "2026-01-01T00:00:00Z")
    return Read(0, 0, b"BOS", orjson.dumps(body), headers)


def requested(number: int, **units: int) -> Read:
    lines = [{"line_id": line, "sku": line, "quantity": n} for line, n in units.items()]
    return command("fulfillment_requested", number, lines=lines)


def cancel(number: int, **units: int) -> Read:
    lines = [{"line_id": line, "sku": line, "quantity": n} for line, n in units.items()]
    return command("fulfillment_cancellation_requested", number, cancellation_id="c1", lines=lines)


def warehouses(clock: HandClock, pace: Pace = AT_ONCE) -> tuple[Warehouses, Said]:
    said = Said()
    return Warehouses(said, clock, 1, pace), said


def work(partner: Warehouses | Carrier, clock: HandClock, seconds: int = 60) -> None:
    for _ in range(seconds):
        clock.seconds += 1
        partner._agenda.do_what_is_due()


def test_every_unit_asked_for_is_shipped_or_rejected_once() -> None:
    clock = HandClock()
    wms, said = warehouses(clock)
    for number in range(1, 401):
        wms.take(requested(number, A=2, B=3))
    work(wms, clock)

    answered: Counter[str] = Counter()
    for fact in said.facts:
        match fact:
            case FulfillmentRejected(lines=lines) if lines:
                answered[fact.fulfillment_id] += sum(line.quantity for line in lines)
            case FulfillmentShipped(packages=packages):
                answered[fact.fulfillment_id] += sum(
                    line.quantity for package in packages for line in package.lines or []
                )
            case _:
                pass
    assert answered == {f"web.1.{number}": 5 for number in range(1, 401)}
    rejections = [fact.reason for fact in said.facts if isinstance(fact, FulfillmentRejected)]
    assert 5 < len(rejections) < 50
    assert len(set(rejections)) >= 3
    assert len(set(said.ids)) == len(said.ids)


def test_a_command_that_arrives_twice_is_carried_out_once() -> None:
    clock = HandClock()
    wms, said = warehouses(clock)
    wms.take(requested(1, A=2))
    wms.take(requested(1, A=2))
    work(wms, clock)

    assert [type(fact) for fact in said.facts] == [FulfillmentAccepted, FulfillmentShipped]


def test_what_has_not_left_can_be_cancelled() -> None:
    clock = HandClock()
    wms, said = warehouses(clock, Pace(accept=(10, 10)))
    wms.take(requested(1, A=2, B=3))
    wms.take(cancel(1, A=2))
    work(wms, clock)

    stopped = said.facts[0]
    assert isinstance(stopped, FulfillmentCancellationAccepted)
    assert [(line.line_id, line.quantity) for line in stopped.lines or []] == [("A", 2)]
    sent = said.facts[-1]
    assert isinstance(sent, FulfillmentShipped)
    assert [line.line_id for package in sent.packages for line in package.lines or []] == ["B"]


def test_what_has_left_cannot_be_cancelled() -> None:
    clock = HandClock()
    wms, said = warehouses(clock)
    wms.take(requested(1, A=2))
    work(wms, clock)
    wms.take(cancel(1, A=2))

    answer = said.facts[-1]
    assert isinstance(answer, FulfillmentCancellationRejected)
    assert [(line.line_id, line.quantity) for line in answer.lines or []] == [("A", 2)]


def test_a_fulfillment_cancelled_whole_is_not_worked_on() -> None:
    clock = HandClock()
    wms, said = warehouses(clock, Pace(accept=(10, 10)))
    wms.take(requested(1, A=2))
    wms.take(cancel(1, A=2))
    work(wms, clock)

    assert [type(fact) for fact in said.facts] == [FulfillmentCancellationAccepted]


def test_the_carrier_brings_every_package_to_the_door_once() -> None:
    clock, said = HandClock(), Said()
    carrier = Carrier(said, clock, 1, Pace())
    sent = command("shipment_sent", packages=[{"package_id": "P1", "tracking_number": "PP1"}])
    carrier.take(sent)
    carrier.take(sent)
    carrier.take(command("order_accepted"))
    work(carrier, clock)

    tracked = [fact for fact in said.facts if isinstance(fact, TrackingUpdated)]
    assert [fact.status for fact in tracked] == ["in_transit", "delivered"]
    assert {fact.market_id for fact in tracked} == {"us"}


async def test_partners_talk_through_the_public_topics_alone() -> None:
    clock = HandClock()
    log = MemoryLog(clock, TOPICS)
    ask = requested(1, A=2)
    log.write(Partition("fulfillment-commands", 1), [Record(ask.key, ask.value, ask.headers)])
    outbox = Outbox(log, TOPICS, clock, "demo/partners")
    wms = Warehouses(outbox, clock, 1, AT_ONCE)
    tasks = [asyncio.create_task(outbox.run()), asyncio.create_task(wms.run(log, TOPICS))]
    try:
        async with asyncio.timeout(5):
            while sum([(await log.bounds(Partition("stock", n))).next for n in range(2)]) < 2:
                clock.seconds += 1
                await asyncio.sleep(0.01)
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    events = [
        read("stock", one.value, one.headers)
        for n in range(2)
        for one in log.held(Partition("stock", n)).records
    ]
    assert [event.type for event in events if isinstance(event, Accepted)] == [
        "fulfillment_accepted",
        "fulfillment_shipped",
    ]


class Forgetful:
    """A log whose first writer appends and then loses the answer."""

    def __init__(self, log: MemoryLog) -> None:
        self.log = log
        self.lost = deque([True])

    async def writer(self) -> Writer:
        return _Forgets(await self.log.writer(), self.lost)


class _Forgets:
    def __init__(self, writer: Writer, lost: deque[bool]) -> None:
        self._writer = writer
        self._lost = lost

    async def append(self, to: Partition, records: Sequence[Record]) -> Appended:
        answer = await self._writer.append(to, records)
        if self._lost and self._lost.popleft():
            raise Unknown("the answer got lost")
        return answer

    async def close(self) -> None:
        await self._writer.close()


async def test_a_batch_of_unknown_outcome_is_sent_again_with_the_same_ids() -> None:
    clock = HandClock()
    log = MemoryLog(clock, TOPICS)
    outbox = Outbox(Forgetful(log), TOPICS, clock, "demo")  # type: ignore[arg-type]  # writes only
    for number in range(3):
        outbox.put(StockReceived(node_id="BOS", sku="A", quantity=1), f"r{number}")
    sending = asyncio.create_task(outbox.run())
    async with asyncio.timeout(5):
        await outbox.flush()
    sending.cancel()
    await asyncio.gather(sending, return_exceptions=True)

    ids = [
        dict(one.headers)["ce_id"]
        for n in range(2)
        for one in log.held(Partition("stock", n)).records
    ]
    assert ids == [b"r0", b"r1", b"r2", b"r0", b"r1", b"r2"]


def metered(topic: str, kind: str, time_ms: int, **ids: str) -> tuple[str, Read]:
    extensions: Mapping[str, str] = {"causationid": ids["cause"]} if "cause" in ids else {}
    headers = emit(kind, ids.get("id", "x"), "s", "2026-01-01T00:00:00Z", extensions=extensions)
    return topic, Read(0, time_ms, None, b"{}", headers)


@pytest.mark.parametrize("order_first", [True, False])
def test_latency_is_from_the_orders_record_to_its_first_command(*, order_first: bool) -> None:
    meter = Meter()
    placed = metered("orders", "order_placed", 100, id="o1")
    asked = metered("fulfillment-commands", "fulfillment_requested", 112, cause="o1")
    for one in (placed, asked) if order_first else (asked, placed):
        meter.take(*one)
    meter.take(*metered("fulfillment-commands", "fulfillment_requested", 900, cause="o1"))
    meter.take(*metered("fulfillment-commands", "fulfillment_requested", 901, cause="other"))

    assert list(meter.recent) == [12]


def test_a_quantile_is_the_value_that_the_share_does_not_exceed() -> None:
    assert quantile([], 0.5) is None
    assert quantile([7], 0.99) == 7
    assert quantile(range(1, 101), 0.5) == 50
    assert quantile(range(1, 101), 0.99) == 99
