"""The inputs of this release, and the names of the contract that are not built yet."""

from events.base import Fact
from events.carriers import LaneRestored, LaneSuspended, TrackingUpdated
from events.fulfillment import (
    FulfillmentAccepted,
    FulfillmentCancellationAccepted,
    FulfillmentCancellationRejected,
    FulfillmentRejected,
    FulfillmentShipped,
)
from events.network import (
    CarrierServiceDefined,
    ItemDefined,
    MarketDefined,
    NodeDefined,
    PlacesDefined,
)
from events.orders import OrderCancelRequested, OrderPlaced
from events.rules import RuleSetActivated, RuleSetApproved, RuleSetProposed
from events.stock import InboundAnnounced, StockAdjusted, StockCounted, StockReceived

INPUTS: dict[str, type[Fact]] = {
    model.TYPE: model
    for model in (
        MarketDefined,
        NodeDefined,
        ItemDefined,
        CarrierServiceDefined,
        PlacesDefined,
        RuleSetProposed,
        RuleSetApproved,
        RuleSetActivated,
        OrderPlaced,
        OrderCancelRequested,
        StockReceived,
        StockAdjusted,
        StockCounted,
        InboundAnnounced,
        FulfillmentAccepted,
        FulfillmentRejected,
        FulfillmentShipped,
        FulfillmentCancellationAccepted,
        FulfillmentCancellationRejected,
        TrackingUpdated,
        LaneSuspended,
        LaneRestored,
    )
}

NOT_BUILT = frozenset(
    {
        "order_amended",
        "order_hold_placed",
        "order_hold_released",
        "payment_authorized",
        "payment_declined",
        "return_requested",
        "stock_state_moved",
        "transfer_sent",
        "transfer_received",
        "stock_snapshot",
        "fulfillment_picked",
        "fulfillment_packed",
        "fulfillment_ready_for_pickup",
        "fulfillment_collected",
        "shipment_booked",
    }
)
"""Inputs of the contract that later releases take; refused as `not_supported`."""
