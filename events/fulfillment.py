"""What a node's WMS says of the work it was given: accepted, rejected, shipped, cancelled."""

from typing import Annotated, ClassVar, Literal, Self

from pydantic import Field, model_validator

from events.base import (
    MAX_LINES,
    Attributes,
    Currency,
    Day,
    FulfillmentId,
    Id,
    Instant,
    LineId,
    Model,
    Money,
    OptionalId,
    OptionalText,
    Quantity,
)
from events.stock import NodeFact

RejectionReason = Literal["not_in_stock", "mismatch", "damaged", "capacity", "closed", "other"]
StockEffect = Literal["apply", "none"]


class FulfillmentFact(NodeFact):
    """A report on one fulfillment."""

    fulfillment_id: FulfillmentId


class ReportedLine(Model):
    """Units of a line; `sku` is the one asked for unless another was picked."""

    line_id: LineId
    sku: OptionalId = None
    quantity: Quantity


class ShippedLine(ReportedLine):
    """Units that left, with what identifies them."""

    lot: OptionalId = None
    expires_on: Day | None = None
    serials: Annotated[list[Id], Field(max_length=10_000)] = []


class ShortLine(ReportedLine):
    """Units that the node can't ship."""

    reason: RejectionReason
    stock_effect: StockEffect = "apply"


Dimension = Annotated[int, Field(ge=0, le=1_000_000)]
"""Millimetres."""


class Package(Model):
    """What one label stands on."""

    package_id: Id
    carrier: OptionalId = None
    service: OptionalId = None
    tracking_number: OptionalId = None
    tracking_url: OptionalText = None
    sscc: OptionalText = None
    weight_g: Annotated[int | None, Field(ge=0, le=1_000_000_000)] = None
    length_mm: Dimension | None = None
    width_mm: Dimension | None = None
    height_mm: Dimension | None = None
    cost_minor: Money | None = None
    currency: Currency | None = None
    lines: Annotated[list[ShippedLine] | None, Field(min_length=1, max_length=MAX_LINES)] = None
    attributes: Attributes = {}


class FulfillmentAccepted(FulfillmentFact):
    """The node will do it."""

    TYPE: ClassVar[str] = "fulfillment_accepted"


class FulfillmentRejected(FulfillmentFact):
    """The node won't do it, or not these lines.

    The reason moves the stock unless `stock_effect` is none. With `lines`, another event id means
    other units.
    """

    TYPE: ClassVar[str] = "fulfillment_rejected"

    reason: RejectionReason
    lines: Annotated[list[ReportedLine] | None, Field(min_length=1, max_length=MAX_LINES)] = None
    stock_effect: StockEffect = "apply"
    note: OptionalText = None


class FulfillmentShipped(FulfillmentFact):
    """Packages left the node. A package id again is a repeat, for ever.

    Without `lines` the packages' lines count; without those, all that was still to ship.
    """

    TYPE: ClassVar[str] = "fulfillment_shipped"

    shipped_at: Instant
    bill_of_lading: OptionalText = None
    lines: Annotated[list[ShippedLine] | None, Field(min_length=1, max_length=MAX_LINES)] = None
    short: Annotated[list[ShortLine], Field(max_length=MAX_LINES)] = []
    packages: Annotated[list[Package], Field(min_length=1, max_length=MAX_LINES)]

    @model_validator(mode="after")
    def _packages_are_distinct(self) -> Self:
        seen: set[str] = set()
        for package in self.packages:
            if package.package_id in seen:
                message = f'package_id "{package.package_id}" stands twice: put its lines together'
                raise ValueError(message)
            seen.add(package.package_id)
        if sum(len(package.lines or ()) for package in self.packages) > MAX_LINES:
            message = f"the packages have more than {MAX_LINES} lines: report them in parts"
            raise ValueError(message)
        return self


class FulfillmentCancellationAnswer(FulfillmentFact):
    """The node's answer to a cancellation request; without lines: to all that was asked."""

    cancellation_id: OptionalText = None
    lines: Annotated[list[ReportedLine] | None, Field(min_length=1, max_length=MAX_LINES)] = None
    reason: OptionalText = None


class FulfillmentCancellationAccepted(FulfillmentCancellationAnswer):
    """The node stopped; the units are free again. With `lines`, another event id means others."""

    TYPE: ClassVar[str] = "fulfillment_cancellation_accepted"


class FulfillmentCancellationRejected(FulfillmentCancellationAnswer):
    """Too late: the units will ship. With `lines`, another event id means others."""

    TYPE: ClassVar[str] = "fulfillment_cancellation_rejected"
