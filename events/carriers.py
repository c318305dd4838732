"""What carriers say of shipments."""

from typing import ClassVar, Literal

from events.base import (
    Fact,
    Id,
    Instant,
    MarketId,
    OptionalFulfillmentId,
    OptionalId,
    OptionalInstantOrDay,
    OptionalPostalPrefix,
    OptionalText,
    Text,
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


class _OfLane(Fact):
    """Lanes: those of a carrier, a service, from a node, to postal codes that begin so."""

    TOPIC: ClassVar[str] = "carriers"

    market_id: MarketId
    carrier: Id
    service: OptionalId = None
    origin_node_id: OptionalId = None
    destination_prefix: OptionalPostalPrefix = None

    def record_key(self) -> str:
        """`<market_id>/<carrier>`: a restoration never overtakes its suspension."""
        return f"{self.market_id}/{self.carrier}"


class LaneSuspended(_OfLane):
    """The carrier takes nothing on these lanes, what is left out standing for any.

    Plans made from now on leave them out; work that a node was asked for already goes on.
    """

    TYPE: ClassVar[str] = "lane_suspended"

    reason: Text
    until: OptionalInstantOrDay = None


class LaneRestored(_OfLane):
    """The carrier takes parcels again: every suspension of these lanes, or of some, ends."""

    TYPE: ClassVar[str] = "lane_restored"

    reason: OptionalText = None
