"""The answers' shapes, as the OpenAPI document shows them."""

from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from events.outputs import FulfillmentStatus, OrderStatus, RequestStatus
from projections.api import examples


class Shape(BaseModel):
    """An answer or a part of one; later releases add fields."""

    model_config = ConfigDict(extra="allow")


class OrderLineShape(Shape):
    """An ordered line. The six counts are disjoint units that add up to `quantity`."""

    line_id: str
    sku: str
    quantity: int
    open: int = Field(description="nothing is decided yet")
    allocated: int = Field(description="reserved at a node until it leaves")
    backordered: int
    shipped: int = Field(description="on its way")
    delivered: int
    cancelled: int


class FulfillmentLineShape(Shape):
    """Units that a node was asked for."""

    line_id: str
    sku: str
    quantity: int


class PackageShape(Shape):
    """A package that left, as the node reported it, with what the carrier says of it."""

    package_id: str
    carrier: str | None = None
    tracking_number: str | None = None
    status: str = Field(description="the newest tracking status")
    status_at: str | None = None
    shipped_at: str


class FulfillmentShape(Shape):
    """The work that one node got."""

    fulfillment_id: str
    node_id: str
    status: FulfillmentStatus
    request_status: RequestStatus
    requested_at: str
    ship_by: str | None
    deliver_by: str | None
    lines: list[FulfillmentLineShape]
    packages: list[PackageShape]


class TimelineEntry(Shape):
    """Something that happened to the order, by Headrace's clock."""

    at: str
    event: str
    detail: str
    position: str = Field(description="`<shard>.<seq>.<entry>.<n>`, the id of the event")


class ReasonShape(Shape):
    """Why an order was refused."""

    code: str
    line_id: str | None = None
    detail: str


class OrderSummary(Shape):
    """An order in a list."""

    order_id: str
    channel: str
    market_id: str
    status: OrderStatus
    on_hold: bool
    placed_at: str
    recorded_at: str = Field(description="when Headrace took it, by its own clock")
    currency: str
    order_number: str | None = None
    customer_id: str | None = None


class OrderDetail(OrderSummary):
    """An order with all that came of it."""

    model_config = ConfigDict(extra="allow", json_schema_extra={"examples": [examples.ORDER]})

    reasons: list[ReasonShape] | None = Field(None, description="of a refused order")
    lines: list[OrderLineShape]
    fulfillments: list[FulfillmentShape]
    timeline: list[TimelineEntry]


class OrderList(Shape):
    """A page of orders, newest first."""

    model_config = ConfigDict(extra="allow", json_schema_extra={"examples": [examples.ORDERS]})

    items: list[OrderSummary]
    next: str | None = Field(description="`after` of the next page; null at the end")


class DecisionShape(Shape):
    """Why a plan is what it is."""

    at: str
    position: str
    trigger: str = Field(description="the type of the input that made Headrace decide")
    rule_set: str
    price_version: int
    method: Literal["exact", "greedy"]
    lines: list[list[Any]] = Field(description="`[line_id, sku, units asked]`")
    candidates: list[list[Any]] = Field(
        description="`[node_id, distance_m or null, [units offered per line]]`, best first"
    )
    removed: dict[str, list[str]] = Field(description="fence to the nodes that it removed")
    chosen: dict[str, Any] | None
    runner_up: dict[str, Any] | None
    decided_by: str
    counterfactual: str | None = Field(description="what would have changed the outcome")
    fulfillments: list[dict[str, Any]]
    backordered: list[dict[str, Any]]


class DecisionList(Shape):
    """A page of an order's decisions, oldest first."""

    model_config = ConfigDict(extra="allow", json_schema_extra={"examples": [examples.DECISIONS]})

    items: list[DecisionShape]
    next: str | None


class Units(Shape):
    """on_hand = available + reserved + held."""

    on_hand: int
    reserved: int
    held: int = Field(description="in quality control, damaged or held: the sum of `states`")
    available: int
    incoming: int


class NodeUnits(Units):
    """An item's stock at a node."""

    node_id: str
    market_id: str
    states: dict[str, int]


class SkuUnits(Units):
    """A node's stock of an item."""

    sku: str
    states: dict[str, int]


class Stock(Shape):
    """An item's stock; the totals are the sums over the nodes."""

    model_config = ConfigDict(extra="allow", json_schema_extra={"examples": [examples.STOCK]})

    sku: str
    nodes: list[NodeUnits]
    total: Units


class NodeStock(Shape):
    """A page of a node's stock, by item."""

    items: list[SkuUnits]
    next: str | None


class NodeShape(Shape):
    """A place that stock ships from, as last defined."""

    node_id: str
    market_id: str
    kind: str
    name: str
    active: bool
    ships: bool


class NodeList(Shape):
    """A page of nodes, by id."""

    model_config = ConfigDict(extra="allow", json_schema_extra={"examples": [examples.NODES]})

    items: list[NodeShape]
    next: str | None


class ExceptionShape(Shape):
    """Something that doesn't add up."""

    exception_id: str
    kind: str
    severity: str
    status: Literal["open", "resolved"]
    market_id: str
    channel: str | None = None
    order_id: str | None = None
    sku: str | None = None
    node_id: str | None = None
    detail: str
    opened_at: str
    resolved_at: str | None = None
    resolution: str | None = None


class ExceptionList(Shape):
    """A page of exceptions, newest first."""

    model_config = ConfigDict(extra="allow", json_schema_extra={"examples": [examples.EXCEPTIONS]})

    items: list[ExceptionShape]
    next: str | None


class ShardShape(Shape):
    """How far a shard's read models are."""

    shard: int
    owner: str | None = Field(description="who opened the shard last")
    epoch: int
    seq: int = Field(description="the newest commit in the read models")
    journal_next: int = Field(description="the journal offset they read next")
    inbox_next: int = Field(description="inbox offsets below it are handled")
    lag: int | None = Field(description="journal records still to come; null when not known")


class ShardList(Shape):
    """All shards."""

    model_config = ConfigDict(extra="allow", json_schema_extra={"examples": [examples.SHARDS]})

    items: list[ShardShape]
