"""What Headrace publishes: commands to nodes, order updates, availability, exceptions.

These models are the published shape; the relay writes plain data of the same shape, and tests hold
the two together.
"""

from typing import Annotated, ClassVar, Literal

from pydantic import Field

from events.base import (
    Attributes,
    Channel,
    Currency,
    FulfillmentId,
    Id,
    Instant,
    LineId,
    MarketId,
    Model,
    Money,
    NodeId,
    OrderId,
    Output,
    Quantity,
    Sku,
    Text,
    Word,
)
from events.fulfillment import Package, ShippedLine
from events.orders import Address, Contact

OrderStatus = Literal[
    "refused",
    "accepted",
    "backordered",
    "partly_allocated",
    "allocated",
    "partly_shipped",
    "shipped",
    "partly_delivered",
    "delivered",
    "cancelled",
]
FulfillmentStatus = Literal["open", "in_progress", "shipped", "incomplete", "cancelled"]
RequestStatus = Literal[
    "unsubmitted",
    "submitted",
    "accepted",
    "rejected",
    "cancellation_requested",
    "cancellation_accepted",
    "cancellation_rejected",
]


class OrderOutput(Output):
    """What every event about an order carries."""

    TOPIC: ClassVar[str] = "order-updates"
    KEY: ClassVar[tuple[str, ...]] = ("order_id",)

    market_id: MarketId
    channel: Channel
    order_id: OrderId


class OrderUpdate(OrderOutput):
    """An order update, with the order's status after it."""

    status: OrderStatus


class PlannedLine(Model):
    """Units of an order line at a node."""

    line_id: LineId
    sku: Sku
    quantity: Quantity


class LineQuantity(Model):
    """Units of an order line."""

    line_id: LineId
    quantity: Quantity


class RequestedLine(PlannedLine):
    """A line as the node sees it."""

    name: Text | None = None
    unit_price_minor: Money | None = None
    gift_message: Text | None = None
    attributes: Attributes = {}


class FulfillmentRequested(OrderOutput):
    """A node is asked to ship these lines. `method` is always `ship` in this release."""

    TYPE: ClassVar[str] = "fulfillment_requested"
    TOPIC: ClassVar[str] = "fulfillment-commands"
    KEY: ClassVar[tuple[str, ...]] = ("node_id",)

    fulfillment_id: FulfillmentId
    node_id: NodeId
    requested_at: Instant
    method: Literal["ship"]
    service_level: Word
    carrier: Word | None = None
    service: Word | None = None
    ship_by: Instant | None = None
    deliver_by: Instant | None = None
    ship_not_before: Instant | None = None
    ship_to: Address | None = None
    contact: Contact | None = None
    order_number: Text | None = None
    po_number: Text | None = None
    shipping_method: Text | None = None
    delivery_requirements: list[Word] = []
    gift_message: Text | None = None
    packing_note: Text | None = None
    currency: Currency
    attributes: Attributes = {}
    lines: list[RequestedLine]


class FulfillmentCancellationRequested(OrderOutput):
    """A node is asked to stop. It answers, and every unit gets exactly one final answer."""

    TYPE: ClassVar[str] = "fulfillment_cancellation_requested"
    TOPIC: ClassVar[str] = "fulfillment-commands"
    KEY: ClassVar[tuple[str, ...]] = ("node_id",)

    fulfillment_id: FulfillmentId
    node_id: NodeId
    cancellation_id: Text
    lines: list[PlannedLine]


class OrderAccepted(OrderUpdate):
    """The order is known and valid; a plan follows."""

    TYPE: ClassVar[str] = "order_accepted"


class RefusalReason(Model):
    """Why an order is refused, and where."""

    code: Word
    line_id: LineId | None = None
    detail: Text


class OrderRefused(OrderUpdate):
    """The order won't be carried out; or another order with this id was sent before, and stands."""

    TYPE: ClassVar[str] = "order_refused"

    reasons: list[RefusalReason]


class PlannedFulfillment(Model):
    """A part of the plan."""

    fulfillment_id: FulfillmentId
    node_id: NodeId
    ship_by: Instant | None = None
    deliver_by: Instant | None = None
    lines: list[PlannedLine]


class WaitingQuantity(LineQuantity):
    """Units of an order line that wait for stock, and when announced stock covers them."""

    expected_at: Instant | None = None


class OrderAllocated(OrderUpdate):
    """The whole current plan; it replaces the one before."""

    TYPE: ClassVar[str] = "order_allocated"

    fulfillments: list[PlannedFulfillment]
    backordered: list[WaitingQuantity]
    promised_by: Instant | None = None


class OrderPromiseChanged(OrderUpdate):
    """A later plan delivers later than what was told: all will be there at `deliver_by`."""

    TYPE: ClassVar[str] = "order_promise_changed"

    promised_by: Instant
    deliver_by: Instant


class OrderCancelled(OrderUpdate):
    """Units that won't be delivered."""

    TYPE: ClassVar[str] = "order_cancelled"

    lines: list[LineQuantity]
    reason: Text
    by: Literal["customer", "channel", "operator", "system"]


class AskedLine(Model):
    """A line that a request named, and the units it concerns where they are known."""

    line_id: LineId
    quantity: Quantity | None = None


class OrderCancellationRejected(OrderOutput):
    """Units that can't be cancelled any more."""

    TYPE: ClassVar[str] = "order_cancellation_rejected"

    status: OrderStatus | None = None  # none where no such order is known
    lines: list[AskedLine]
    reason: Text


class ShipmentSent(OrderUpdate):
    """Packages left a node."""

    TYPE: ClassVar[str] = "shipment_sent"

    fulfillment_id: FulfillmentId
    node_id: NodeId
    shipped_at: Instant
    lines: list[ShippedLine]
    packages: list[Package]


class ShipmentDelivered(OrderUpdate):
    """Packages arrived."""

    TYPE: ClassVar[str] = "shipment_delivered"

    fulfillment_id: FulfillmentId
    packages: list[Word]
    lines: list[PlannedLine]
    delivered_at: Instant


class AvailabilityChanged(Output):
    """Units that can be promised in a market, published when they cross a threshold."""

    TYPE: ClassVar[str] = "availability_changed"
    TOPIC: ClassVar[str] = "availability"
    KEY: ClassVar[tuple[str, ...]] = ("market_id", "channel", "node_id", "sku")

    market_id: MarketId
    sku: Sku
    channel: Channel | None = None
    node_id: NodeId | None = None
    available: Annotated[int, Field(ge=0)]
    as_of: Instant
    position: Text


ExceptionKind = Literal["data_mismatch", "stock_discrepancy", "rule_set"]


class ExceptionOutput(Output):
    """An exception that a person may look at."""

    TOPIC: ClassVar[str] = "exceptions"
    KEY: ClassVar[tuple[str, ...]] = ("exception_id",)

    exception_id: Text
    market_id: MarketId
    channel: Channel | None = None
    order_id: OrderId | None = None
    kind: ExceptionKind
    sku: Sku | None = None
    node_id: NodeId | None = None
    rule_set: Id | None = None


class ExceptionOpened(ExceptionOutput):
    """Something doesn't add up."""

    TYPE: ClassVar[str] = "exception_opened"

    severity: Literal["low", "medium", "high"]
    detail: Text


class ExceptionResolved(ExceptionOutput):
    """It does again."""

    TYPE: ClassVar[str] = "exception_resolved"

    detail: Text


OUTPUTS: dict[str, type[Output]] = {
    model.TYPE: model
    for model in (
        FulfillmentRequested,
        FulfillmentCancellationRequested,
        OrderAccepted,
        OrderRefused,
        OrderAllocated,
        OrderPromiseChanged,
        OrderCancelled,
        OrderCancellationRejected,
        ShipmentSent,
        ShipmentDelivered,
        AvailabilityChanged,
        ExceptionOpened,
        ExceptionResolved,
    )
}
