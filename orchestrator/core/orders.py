"""Orders by line, and the fulfillments that carry them out: state and what follows from it.

Texts that many of them share are interned: each comes out of an input or entry of its own.
"""

from collections.abc import Iterator, Mapping
from hashlib import blake2b
from sys import intern
from typing import Final, Literal

import orjson

from events.decided import Line as LineDict
from events.decided import Plain

DIGEST_BYTES: Final = 16

UNSUBMITTED: Final = "unsubmitted"
"""The request status of a fulfillment that its node has not been asked for yet."""


class OrderLine:
    """Units of one item; the counts are disjoint and add up to `quantity`, the rest being open."""

    __slots__ = (
        "allocated",
        "allow_backorder",
        "backordered",
        "cancelled",
        "delivered",
        "line_id",
        "quantity",
        "shipped",
        "sku",
    )

    def __init__(self, line_id: str, sku: str, quantity: int, *, allow_backorder: bool) -> None:
        self.line_id = intern(line_id)
        self.sku = intern(sku)
        self.quantity = quantity
        self.allow_backorder = allow_backorder
        self.allocated = 0
        self.backordered = 0
        self.shipped = 0
        self.delivered = 0
        self.cancelled = 0

    @property
    def open(self) -> int:
        """Units that nothing is decided about."""
        return (
            self.quantity
            - self.allocated
            - self.backordered
            - self.shipped
            - self.delivered
            - self.cancelled
        )


class PoolCount:
    """What a channel took of its pool for as long as the rules have had the pool."""

    __slots__ = ("pool_id", "taken")

    def __init__(self, pool_id: str) -> None:
        self.pool_id = pool_id
        self.taken = 0  # units


class FulfillmentLine:
    """Units of an order line that one node was asked for."""

    __slots__ = (
        "asked",
        "cancelled",
        "drew_on",
        "line_id",
        "rejected",
        "reserved",
        "shipped",
        "sku",
    )

    def __init__(self, line_id: str, sku: str, asked: int, drew_on: tuple[PoolCount, ...]) -> None:
        self.line_id = line_id
        self.sku = sku
        self.asked = asked
        self.reserved = asked
        self.drew_on = drew_on  # each with all that was asked: what is released goes back to these
        self.shipped = 0
        self.rejected = 0
        self.cancelled = 0

    @property
    def outstanding(self) -> int:
        """Units without a final answer; those beyond `reserved` were taken back."""
        return max(0, self.asked - self.shipped - self.rejected - self.cancelled)

    def units(self, quantity: int) -> LineDict:
        """So many units of this line, as events say it."""
        return {"line_id": self.line_id, "sku": self.sku, "quantity": quantity}


class Cancellation:
    """Units that a node was asked to cancel and hasn't said itself what becomes of them.

    Those that it said it was too late for it may stop yet, as long as it has them.
    """

    __slots__ = ("cancellation_id", "lines", "reason", "refused", "taken_back")

    def __init__(
        self, cancellation_id: str, lines: dict[str, int], reason: str, *, taken_back: bool
    ) -> None:
        self.cancellation_id = cancellation_id
        self.lines = lines  # line id -> units
        self.refused: dict[str, int] = {}  # line id -> units it was too late for
        self.reason = reason
        self.taken_back = taken_back


class Shipment:
    """What left together: packages by id, and units without a package.

    A package holds units by line, None where they are unknown.
    """

    __slots__ = ("delivered", "loose", "packages", "tracking")

    def __init__(
        self,
        packages: dict[str, dict[str, int] | None],
        loose: dict[str, int],
        tracking: dict[str, str],
    ) -> None:
        self.packages = packages
        self.loose = loose  # line id -> units
        self.tracking = tracking  # package id -> "<market>/<carrier>/<tracking number>"
        self.delivered: dict[str, None] = {}  # package ids


class Fulfillment:
    """The unit of work that one node gets."""

    __slots__ = (
        "asked_to_cancel",
        "booked",
        "cancellations",
        "carrier",
        "deliver_by_ms",
        "fulfillment_id",
        "lines",
        "node_id",
        "release_ms",
        "request_status",
        "service",
        "ship_by_ms",
        "ship_day",
        "shipments",
        "status",
    )

    def __init__(self, fulfillment_id: str, node_id: str, lines: list[FulfillmentLine]) -> None:
        self.fulfillment_id = fulfillment_id
        self.node_id = node_id
        self.lines = lines
        self.status = "open"
        self.request_status = "submitted"
        self.cancellations: list[Cancellation] = []
        self.asked_to_cancel = 0  # cancellations requested so far: the next one's number
        self.shipments: list[Shipment] = []
        self.ship_day: int | None = None  # at the node; None in journals of the first release
        self.ship_by_ms: int | None = None
        self.deliver_by_ms: int | None = None
        self.carrier: str | None = None
        self.service: str | None = None
        self.booked = 0  # units that it takes of its ship day
        self.release_ms = 0  # until when its request is held back; 0: it never was

    def line(self, line_id: str) -> FulfillmentLine | None:
        """The line with this id, if the node was asked for it."""
        for line in self.lines:
            if line.line_id == line_id:
                return line
        return None

    @property
    def outstanding(self) -> int:
        """Units of all lines without a final answer."""
        return sum(line.outstanding for line in self.lines)

    def awaiting_cancellation(self, line_id: str, *, taken_back: bool) -> int:
        """Units of a line that wait for the node's answer to a cancellation.

        Where it was asked for more than it still has, the others were rejected or shipped
        meanwhile. Of which request they were is known when it has answered them all.
        """
        line = self.line(line_id)
        if line is None:
            return 0
        asked = sum(
            pending.lines.get(line_id, 0)
            for pending in self.cancellations
            if pending.taken_back == taken_back
        )
        return min(asked, line.outstanding - line.reserved if taken_back else line.reserved)

    @property
    def awaits_answer(self) -> bool:
        """Whether any units wait for the node's answer to a cancellation."""
        return any(
            self.awaiting_cancellation(line_id, taken_back=pending.taken_back)
            for pending in self.cancellations
            for line_id in pending.lines
        )

    def ended_before(self, lines: Mapping[str, int], how: Literal["rejected", "cancelled"]) -> bool:
        """Whether nothing is left of these lines, and as many of each ended so."""
        for line_id, units in lines.items():
            line = self.line(line_id)
            if line is None or line.outstanding:
                return False
            if units > (line.rejected if how == "rejected" else line.cancelled):
                return False
        return True

    def package(self, package_id: str) -> Shipment | None:
        """The shipment that this package left with."""
        for shipment in self.shipments:
            if package_id in shipment.packages:
                return shipment
        return None

    def work_status(self) -> str:
        """The status that follows from the lines' counts."""
        if self.outstanding:
            started = self.status == "in_progress" or any(line.shipped for line in self.lines)
            return "in_progress" if started else "open"
        if any(line.rejected for line in self.lines):
            return "incomplete"
        return "shipped" if any(line.shipped for line in self.lines) else "cancelled"


class Order:
    """An order with its plan."""

    __slots__ = (
        "allow_partial",
        "allow_split",
        "channel",
        "closing",
        "delivered_ms",
        "digest",
        "fulfillments",
        "held_by",
        "lines",
        "market_id",
        "number",
        "order_id",
        "patience_ms",
        "priority",
        "promise_counted",
        "promised_ms",
        "raw",
        "refused",
        "told_ms",
        "unknown",
    )

    def __init__(
        self,
        number: int,
        digest: bytes,
        data: Plain,
        raw: bytes = b"",
        lines: list[OrderLine] | None = None,
    ) -> None:
        """An order as it was placed; `raw` and `lines` are made from that where they aren't given.

        Both at once, or neither.
        """
        self.market_id = intern(data["market_id"])
        self.channel = intern(data["channel"])
        self.order_id: str = data["order_id"]
        self.number = number  # place among the shard's orders: first come, first served
        self.priority: int = data.get("priority", 0)
        self.allow_split: bool = data.get("allow_split", True)
        self.allow_partial: bool = data.get("allow_partial", True)
        self.digest = digest
        # What later commands to nodes repeat; copied, since orjson leaves its buffer's size to it.
        self.raw = raw or bytes(memoryview(orjson.dumps(data)))
        self.lines = (
            [
                OrderLine(
                    line["line_id"],
                    line["sku"],
                    line["quantity"],
                    allow_backorder=line.get("allow_backorder", True),
                )
                for line in data["lines"]
            ]
            if lines is None
            else lines
        )
        self.fulfillments: list[Fulfillment] = []
        self.refused = False
        self.closing = False  # closed, and to be retired
        self.unknown: list[str] | None = None  # skus it waits for
        self.promised_ms: int | None = None  # when all of it is to have arrived, as first told
        self.told_ms = 0  # the latest such moment it was told
        self.delivered_ms = 0  # when the newest of its packages arrived
        self.promise_counted = False  # as kept or broken
        self.patience_ms = 0  # when what has waited since is cancelled; 0: not known
        # id of a held fulfillment -> the strategy that planned it, and its explanation
        self.held_by: dict[str, tuple[str, str]] = {}

    @property
    def key(self) -> str:
        """`<channel>/<order id>`: the order within its market."""
        return f"{self.channel}/{self.order_id}"

    def line(self, line_id: str) -> OrderLine | None:
        """The line with this id, if the order has it."""
        for line in self.lines:
            if line.line_id == line_id:
                return line
        return None

    def held(self) -> Iterator[Fulfillment]:
        """Fulfillments whose request is held back."""
        for fulfillment in self.fulfillments:
            if fulfillment.request_status == UNSUBMITTED and fulfillment.outstanding:
                yield fulfillment

    @property
    def whole(self) -> bool:
        """Whether it takes all that it asks for at once, or nothing."""
        return not (self.allow_split and self.allow_partial)

    @property
    def closed(self) -> bool:
        """Nothing can happen to it any more, apart from returns."""
        return self.refused or all(
            line.delivered + line.cancelled == line.quantity for line in self.lines
        )

    def status(self) -> str:
        """The order's status by CONTRACT's table, from the units not cancelled."""
        if self.refused:
            return "refused"
        quantity = allocated = backordered = shipped = delivered = 0
        for line in self.lines:
            quantity += line.quantity - line.cancelled
            allocated += line.allocated
            backordered += line.backordered
            shipped += line.shipped
            delivered += line.delivered
        if not quantity:
            return "cancelled"
        for count, whole, part in (
            (delivered, "delivered", "partly_delivered"),
            (shipped, "shipped", "partly_shipped"),
            (allocated, "allocated", "partly_allocated"),
        ):
            if count:
                return whole if count == quantity else part
        return "backordered" if backordered == quantity else "accepted"

    def planned(self) -> Iterator[tuple[Fulfillment, list[LineDict]]]:
        """The current plan: every fulfillment with the units it has shipped or still holds."""
        for fulfillment in self.fulfillments:
            lines = [
                line.units(line.shipped + line.reserved)
                for line in fulfillment.lines
                if line.shipped + line.reserved
            ]
            if lines:
                yield fulfillment, lines


def remembered(order: Order) -> bytes:
    """What is kept of an order for ever: the digest of its content and its status, as one object.

    Of these there are millions.
    """
    return order.digest + order.status().encode()


def recalled(kept: bytes) -> tuple[bytes, str]:
    """The digest and the status of what `remembered` made."""
    return kept[:DIGEST_BYTES], kept[DIGEST_BYTES:].decode()


def content_digest(data: Plain) -> bytes:
    """Equal for equal content, whatever the order of lines.

    `data` holds only what differs from the defaults.
    """
    lines = sorted(data["lines"], key=lambda line: str(line["line_id"]))
    content = orjson.dumps({**data, "lines": lines}, option=orjson.OPT_SORT_KEYS)
    return blake2b(content, digest_size=DIGEST_BYTES).digest()
