"""A simulated WMS for every node and a simulated carrier, which know the public topics alone.

The warehouses read `fulfillment-commands` and report on `stock`; the carrier hears of packages from
`order-updates` and reports on `carriers`. What they do with one fulfillment depends on the seed and
its id alone.
"""

from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from hashlib import blake2b
from heapq import heappop, heappush
from random import Random
from typing import Any, Final, NamedTuple

import orjson

from events.carriers import TrackingStatus, TrackingUpdated
from events.fulfillment import (
    FulfillmentAccepted,
    FulfillmentCancellationAccepted,
    FulfillmentCancellationRejected,
    FulfillmentRejected,
    FulfillmentShipped,
    Package,
    RejectionReason,
    ReportedLine,
    ShippedLine,
)
from orchestrator.demo.network import CARRIER, SERVICE
from orchestrator.demo.outbox import Outbox
from orchestrator.demo.supply import UNIT_G
from schemas.ports import Clock, EventLog, Partition, Read

_REJECTED: Final = 0.05  # of the fulfillments, some lines or all of it
_REASONS: Final[tuple[RejectionReason, ...]] = (
    *("not_in_stock", "not_in_stock", "damaged", "mismatch"),
    *("other",),  # refuses the whole fulfillment, without a word on stock
)
_TWO_PACKAGES: Final = 0.15  # of the fulfillments with more than one line
_IDS_KEPT: Final = 500_000
_READ_RECORDS: Final = 500
_READ_WAIT_MS: Final = 100


class Pace(NamedTuple):
    """How long partners take, in seconds, from and to."""

    accept: tuple[float, float] = (0.2, 1.0)
    ship: tuple[float, float] = (1.0, 4.0)  # after accepting
    hand_over: tuple[float, float] = (0.5, 1.5)  # from shipped to in transit
    deliver: tuple[float, float] = (2.0, 6.0)  # from in transit to the door

    def times(self, factor: float) -> "Pace":
        """Slower by this factor (faster below 1)."""
        return Pace(*((low * factor, high * factor) for low, high in self))


class Agenda:
    """What is to be done when."""

    def __init__(self, clock: Clock) -> None:
        """Nothing to do yet."""
        self._clock = clock
        self._due: list[tuple[float, int, Callable[[], None]]] = []
        self._added = 0

    @property
    def waiting(self) -> int:
        """How much is still to be done."""
        return len(self._due)

    def after(self, seconds: float, do: Callable[[], None]) -> None:
        """Do this so many seconds from now."""
        self._added += 1
        heappush(self._due, (self._clock.monotonic() + seconds, self._added, do))

    def do_what_is_due(self) -> None:
        """In the order it fell due."""
        now = self._clock.monotonic()
        while self._due and self._due[0][0] <= now:
            heappop(self._due)[2]()


class Seen:
    """The newest event ids, so that a repeat is known."""

    def __init__(self) -> None:
        """Nothing seen yet."""
        self._ids: dict[str, None] = {}

    def again(self, event_id: str) -> bool:
        """Whether this id was seen before; it has been from now on."""
        if event_id in self._ids:
            return True
        self._ids[event_id] = None
        if len(self._ids) > _IDS_KEPT:
            del self._ids[next(iter(self._ids))]
        return False


class Job:
    """A fulfillment as the node works on it."""

    __slots__ = ("fulfillment_id", "left", "node_id")

    def __init__(self, fulfillment_id: str, node_id: str, left: dict[str, tuple[str, int]]) -> None:
        self.fulfillment_id = fulfillment_id
        self.node_id = node_id
        self.left = left  # line id -> sku, units still to ship


class Warehouses:
    """The WMS of every node. Answers a command once, however often it arrives."""

    def __init__(self, outbox: Outbox, clock: Clock, seed: int, pace: Pace) -> None:
        """No work yet."""
        self._outbox = outbox
        self._clock = clock
        self._seed = seed
        self._pace = pace
        self._agenda = Agenda(clock)
        self._seen = Seen()
        self._jobs: dict[str, Job] = {}  # until shipped or cancelled

    async def run(self, log: EventLog, partitions: Mapping[str, int]) -> None:
        """Work until cancelled."""
        await _follow(log, partitions, "fulfillment-commands", self.take, self._agenda)

    def take(self, record: Read) -> None:
        """A command."""
        headers = dict(record.headers)
        command_id = headers["ce_id"].decode()
        if self._seen.again(command_id):
            return
        command = orjson.loads(record.value or b"")
        match headers["ce_type"]:
            case b"headrace.fulfillment_requested.v1":
                self._requested(command)
            case b"headrace.fulfillment_cancellation_requested.v1":
                self._cancel(command)
            case _:
                pass  # a later release's command

    def _requested(self, command: dict[str, Any]) -> None:
        job = Job(
            command["fulfillment_id"],
            command["node_id"],
            {line["line_id"]: (line["sku"], line["quantity"]) for line in command["lines"]},
        )
        self._jobs[job.fulfillment_id] = job
        chance = Random(f"{self._seed}/{job.fulfillment_id}")  # noqa: S311  (repeatable)
        self._agenda.after(chance.uniform(*self._pace.accept), lambda: self._look(job, chance))

    def _look(self, job: Job, chance: Random) -> None:
        """Accept what is there, reject what is not."""
        if not job.left:
            return  # cancelled before anybody looked
        if chance.random() < _REJECTED:
            reason = chance.choice(_REASONS)
            refused = list(job.left) if reason == "other" else [chance.choice(list(job.left))]
            self._outbox.put(
                FulfillmentRejected(
                    node_id=job.node_id,
                    fulfillment_id=job.fulfillment_id,
                    reason=reason,
                    lines=[
                        ReportedLine(line_id=line_id, quantity=job.left.pop(line_id)[1])
                        for line_id in refused
                    ],
                    stock_effect="none" if reason == "other" else "apply",
                ),
                f"{job.fulfillment_id}:rejected",
            )
        if job.left:
            self._outbox.put(
                FulfillmentAccepted(node_id=job.node_id, fulfillment_id=job.fulfillment_id),
                f"{job.fulfillment_id}:accepted",
            )
            self._agenda.after(chance.uniform(*self._pace.ship), lambda: self._ship(job, chance))
        else:
            del self._jobs[job.fulfillment_id]

    def _ship(self, job: Job, chance: Random) -> None:
        if not job.left:
            return
        lines = [
            ShippedLine(line_id=line_id, sku=sku, quantity=units)
            for line_id, (sku, units) in job.left.items()
        ]
        cut = len(lines)
        if cut > 1 and chance.random() < _TWO_PACKAGES:
            cut = chance.randrange(1, cut)
        contents = [part for part in (lines[:cut], lines[cut:]) if part]
        self._outbox.put(
            FulfillmentShipped(
                node_id=job.node_id,
                fulfillment_id=job.fulfillment_id,
                shipped_at=_now(self._clock),
                packages=[
                    Package(
                        package_id=f"P{number}",
                        carrier=CARRIER,
                        service=SERVICE,
                        tracking_number=_tracking_number(job.fulfillment_id, number),
                        weight_g=UNIT_G * sum(line.quantity for line in part),
                        lines=part,
                    )
                    for number, part in enumerate(contents, 1)
                ],
            ),
            f"{job.fulfillment_id}:shipped",
        )
        del self._jobs[job.fulfillment_id]

    def _cancel(self, command: dict[str, Any]) -> None:
        """Stop what has not left; every unit gets one answer."""
        job = self._jobs.get(command["fulfillment_id"])
        stopped: list[ReportedLine] = []
        too_late: list[ReportedLine] = []
        for line in command["lines"]:
            line_id, asked = line["line_id"], line["quantity"]
            sku, left = job.left.get(line_id, ("", 0)) if job else ("", 0)
            stop = min(asked, left)
            if job and stop:
                job.left[line_id] = (sku, left - stop)
                if stop == left:
                    del job.left[line_id]
                stopped.append(ReportedLine(line_id=line_id, quantity=stop))
            if asked > stop:
                too_late.append(ReportedLine(line_id=line_id, quantity=asked - stop))
        if job and not job.left:
            del self._jobs[job.fulfillment_id]
        for model, lines, word in (
            (FulfillmentCancellationAccepted, stopped, "accepted"),
            (FulfillmentCancellationRejected, too_late, "rejected"),
        ):
            if lines:
                self._outbox.put(
                    model(
                        node_id=command["node_id"],
                        fulfillment_id=command["fulfillment_id"],
                        cancellation_id=command["cancellation_id"],
                        lines=lines,
                        reason=None if model is FulfillmentCancellationAccepted else "has left",
                    ),
                    f"{command['fulfillment_id']}:{command['cancellation_id']}:{word}",
                )


class Carrier:
    """Brings every package to the door; reports each once, however often it hears of it."""

    def __init__(self, outbox: Outbox, clock: Clock, seed: int, pace: Pace) -> None:
        """Nothing on the road yet."""
        self._outbox = outbox
        self._clock = clock
        self._seed = seed
        self._pace = pace
        self._agenda = Agenda(clock)
        self._seen = Seen()

    async def run(self, log: EventLog, partitions: Mapping[str, int]) -> None:
        """Work until cancelled."""
        await _follow(log, partitions, "order-updates", self.take, self._agenda)

    def take(self, record: Read) -> None:
        """An order update; only packages that left matter here."""
        headers = dict(record.headers)
        event_id = headers["ce_id"].decode()
        if headers["ce_type"] != b"headrace.shipment_sent.v1" or self._seen.again(event_id):
            return
        sent = orjson.loads(record.value or b"")
        for package in sent["packages"]:
            number, market_id = package["tracking_number"], sent["market_id"]
            chance = Random(f"{self._seed}/{number}")  # noqa: S311  (repeatable)
            picked_up = chance.uniform(*self._pace.hand_over)
            delivered = picked_up + chance.uniform(*self._pace.deliver)
            self._report(picked_up, number, market_id, "in_transit")
            self._report(delivered, number, market_id, "delivered")

    def _report(self, after_s: float, number: str, market_id: str, status: TrackingStatus) -> None:
        self._agenda.after(
            after_s,
            lambda: self._outbox.put(
                TrackingUpdated(
                    carrier=CARRIER,
                    tracking_number=number,
                    status=status,
                    at=_now(self._clock),
                    market_id=market_id,
                ),
                f"{number}:{status}",
            ),
        )


async def _follow(
    log: EventLog,
    partitions: Mapping[str, int],
    topic: str,
    take: Callable[[Read], None],
    agenda: Agenda,
) -> None:
    """Read a topic from its beginning, and do in between what falls due."""
    reader = await log.reader({Partition(topic, n): None for n in range(partitions[topic])})
    try:
        while True:
            for records in (await reader.read(_READ_RECORDS, _READ_WAIT_MS)).values():
                for record in records:
                    take(record)
            agenda.do_what_is_due()
    finally:
        await reader.close()


def _tracking_number(fulfillment_id: str, package: int) -> str:
    digest = blake2b(f"{fulfillment_id}/{package}".encode(), digest_size=7).hexdigest()
    return f"PP{digest.upper()}"


def _now(clock: Clock) -> datetime:
    return datetime.fromtimestamp(clock.now_ms() / 1000, UTC)
