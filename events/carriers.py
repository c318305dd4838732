"""What carriers say of shipments."""

from typing import ClassVar, Literal

from events.base import (
    Fact,
    Id,
    Instant,
    OptionalFulfillmentId,
    OptionalId,
    OptionalInstantOrDay,
    OptionalText,
)

TrackingStatus = Literal[
    "unknown",
    "pre_transit",
    "in_transit",
    "out_for_delivery",
    "attempted",
    "available_for_pickup",
    "delivered",
    "return_to_sender",
    "lost",
    "damaged",
    "failure",
    "cancelled",
    "error",
]


class TrackingUpdated(Fact):
    """Where a package is. One that arrives before its shipment waits for it."""

    TYPE: ClassVar[str] = "tracking_updated"
    TOPIC: ClassVar[str] = "carriers"

    carrier: Id
    tracking_number: Id
    status: TrackingStatus
    carrier_status: OptionalText = None
    at: Instant
    estimated_delivery_at: OptionalInstantOrDay = None
    fulfillment_id: OptionalFulfillmentId = None
    package_id: OptionalId = None
    market_id: OptionalId = None

    def record_key(self) -> str:
        """The tracking number: one package's updates keep their order."""
        return self.tracking_number
