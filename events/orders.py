"""What channels write: orders placed, cancellations asked for."""

from typing import Annotated, ClassVar, Self

from pydantic import Field, model_validator

from events.base import (
    MAX_LINES,
    AddressLines,
    Attributes,
    Channel,
    Country,
    Currency,
    Fact,
    Instant,
    LineId,
    Location,
    MarketId,
    Model,
    Money,
    OptionalId,
    OptionalInstantOrDay,
    OptionalText,
    OrderId,
    Quantity,
    Sku,
    Text,
    Word,
)


class Address(Model):
    """Where an order goes."""

    name: OptionalText = None
    company: OptionalText = None
    address_lines: AddressLines = []
    city: OptionalText = None
    region: OptionalText = None
    postal_code: OptionalText = None
    country: Country
    location: Location | None = None
    residential: bool | None = None
    phone: OptionalText = None
    email: OptionalText = None
    instructions: OptionalText = None
    pickup_point_id: OptionalId = None


class Contact(Model):
    """Whom the carrier or the node may call."""

    name: OptionalText = None
    phone: OptionalText = None
    email: OptionalText = None


class LinkedOrder(Model):
    """Another order that this one belongs with."""

    relation: Word
    channel: Channel
    order_id: OrderId


class OrderLine(Model):
    """One item of an order."""

    line_id: LineId
    sku: Sku
    name: OptionalText = None
    quantity: Quantity
    unit_price_minor: Money | None = None
    total_minor: Money | None = None
    allow_backorder: bool = True
    gift_message: OptionalText = None
    attributes: Attributes = {}


class ChannelFact(Fact):
    """What every event of an order carries: together they are its identity for ever."""

    TOPIC: ClassVar[str] = "orders"

    channel: Channel
    market_id: MarketId
    order_id: OrderId

    def record_key(self) -> str:
        """The order id: one order's events keep their order."""
        return self.order_id


def _each_once(ids: list[str], what: str) -> None:
    seen: set[str] = set()
    for one in ids:
        if one in seen:
            message = f'{what} "{one}" stands twice: each line needs an id of its own'
            raise ValueError(message)
        seen.add(one)


class OrderPlaced(ChannelFact):
    """A customer's order. The same again is a no-op; the same id with other content is refused."""

    TYPE: ClassVar[str] = "order_placed"
    NOT_BUILT: ClassVar[dict[str, object]] = {
        "exchange_rate": None,
        "revision": 0,
        "deliver_not_before": None,
        "holds": [],
        "lines[].method": "ship",
        "lines[].pickup_node_id": None,
        "lines[].allow_substitution": False,
        "lines[].deliver_by": None,
    }

    placed_at: Instant
    currency: Currency
    order_number: OptionalText = None
    po_number: OptionalText = None
    customer_id: OptionalId = None
    ship_to: Address
    contact: Contact | None = None
    service_level: Word = "standard"
    shipping_method: OptionalText = None
    carrier: OptionalId = None
    service: OptionalId = None
    ship_not_before: OptionalInstantOrDay = None
    ship_by: OptionalInstantOrDay = None
    deliver_by: OptionalInstantOrDay = None
    priority: Annotated[int, Field(ge=-1_000_000, le=1_000_000)] = 0
    allow_split: bool = True
    allow_partial: bool = True
    delivery_requirements: Annotated[list[Word], Field(max_length=20)] = []
    gift_message: OptionalText = None
    packing_note: OptionalText = None
    linked_orders: Annotated[list[LinkedOrder], Field(max_length=100)] = []
    attributes: Attributes = {}
    lines: Annotated[list[OrderLine], Field(min_length=1, max_length=MAX_LINES)]

    @model_validator(mode="after")
    def _lines_are_distinct(self) -> Self:
        if len(self.lines) > 1:
            _each_once([line.line_id for line in self.lines], "line_id")
        return self


class CancelledLine(Model):
    """Units of a line; without a quantity, all that is left of it."""

    line_id: LineId
    quantity: Quantity | None = None


class OrderCancelRequested(ChannelFact):
    """A channel asks to cancel an order, or some units of it. Without lines: everything."""

    TYPE: ClassVar[str] = "order_cancel_requested"

    reason: Text
    lines: Annotated[list[CancelledLine] | None, Field(min_length=1, max_length=MAX_LINES)] = None

    @model_validator(mode="after")
    def _lines_are_distinct(self) -> Self:
        _each_once([line.line_id for line in self.lines or []], "line_id")
        return self
