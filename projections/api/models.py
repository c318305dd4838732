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
    requested_at: str | None = Field(description="null while the request is held back")
    ship_by: str | None = Field(description="the cut-off of the day on which it is to leave")
    deliver_by: str | None
    carrier: str | None = None
    service: str | None = None
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

    promised_by: str | None = Field(None, description="as told once all of it had a source")
    promise: Literal["open", "kept", "broken"] | None = None
    reasons: list[ReasonShape] | None = Field(None, description="of a refused order")
    lines: list[OrderLineShape]
    fulfillments: list[FulfillmentShape]
    timeline: list[TimelineEntry]


class OrderList(Shape):
    """A page of orders, newest first."""

    model_config = ConfigDict(extra="allow", json_schema_extra={"examples": [examples.ORDERS]})

    items: list[OrderSummary]
    next: str | None = Field(description="`after` of the next page; null at the end")


class SomeUnits(Shape):
    """Units of an order line."""

    line_id: str
    sku: str
    units: int


class DecidedLine(Shape):
    """A line as it was planned."""

    line_id: str
    sku: str
    wanted: int
    target: int = Field(description="units planned for: what is wanted, or all that is promisable")
    promisable: int | None = Field(description="of the item to the channel; null: not limited")


class RowShape(Shape):
    """A node as a source of one set of units. It may ship them without `fences` and `short`."""

    node_id: str
    value: int | list[int] = Field(
        description="what plans compare by: minor units, or the ranked criteria; less is better"
    )
    cost_minor: int
    costs: dict[str, int] = Field(
        description="minor units: transport, handling, per_unit, late, load, price"
    )
    distance_m: int | None
    ship_day: str | None = Field(description="in the node's time zone")
    full_day: str | None = Field(None, description="the first day without room for it, if any")
    deliver_day: str | None
    days_late: int
    service: str | None = Field(description="`carrier/service`; null: by several, or unrated")
    parcels: int
    fences: list[str] = Field(description="all that it fails")
    short: list[SomeUnits] = Field(description="units that it lacks")


class SetShape(Shape):
    """Units that could go together, and the nodes that were weighed for them."""

    lines: list[SomeUnits]
    nodes: list[RowShape] = Field(
        description="those that may ship it by value, then barred ones that would be cheaper"
    )


class PlannedLeg(RowShape):
    """A node's part of a plan."""

    lines: list[SomeUnits]


class PlanShape(Shape):
    """A plan that was weighed."""

    nodes: list[str] = Field(description="of the legs, in their order")
    legs: list[PlannedLeg]
    units: int
    value: int | list[int]
    cost_minor: int
    costs: dict[str, int] = Field(description="the legs' summed, and `split`")


class RestShape(Shape):
    """The nodes without a row: which, or of more than 64 in the market how many."""

    fences: dict[str, list[str] | int]
    short: list[str] | int = Field(description="have no free unit of what was planned")
    few: list[str] | int = Field(
        description="have some, but not all units of any set that was weighed"
    )
    dearer: int = Field(
        description="may ship something; no plan with one of them is better than the runner-up"
    )


class KeptUnits(Shape):
    """Why units that a plan leaves out stay where they are."""

    code: str = Field(
        description="the fence that their nodes fail; or `split`: only how the order may be"
        " divided, `channel`: the channel may have no more, `kept`: what is there stays there"
    )
    nodes: int = Field(description="how many")
    named: list[str] = Field(description="the first of them")


class LeftOutShape(Shape):
    """Units of an item that the plan leaves out: they wait, or are cancelled."""

    lines: list[str] = Field(description="ids of the order's lines of the item")
    sku: str
    units: int
    because: list[KeptUnits] = Field(description="empty: no node has a free one")


class UnusedShape(Shape):
    """A carrier service that a leg of the plan could not go by."""

    service: str = Field(description="`<carrier>/<service>`")
    because: str = Field(
        description="`no_rate` to there, `lane_suspended`, `too_heavy`, or `excluded`: it takes"
        " nothing that requires what the items do"
    )
    node_id: str = Field(description="where the leg leaves from, the first of several")


class ChangeShape(Shape):
    """A change that would have changed the plan: what it takes, and what comes of it."""

    node_id: str
    fence: str | None = Field(None, description="the only one it fails, lifted")
    sku: str | None = Field(None, description="the item it lacks")
    lacking: int | None = Field(None, description="units of it")
    criterion: str = Field(description="what `by` counts in: `cost` in minor units")
    by: int = Field(description="what it saves; of `dearer` the least that changes the plan")
    more_units: int = Field(description="units that could be shipped beside")
    plan: dict[str, Any] = Field(description="the plan that would result: legs, units, value")


class CounterfactualShape(Shape):
    """What would have changed the plan, by the recorded table; null: nothing of the kind."""

    lift_fence: ChangeShape | None
    add_stock: ChangeShape | None
    dearer: ChangeShape | None = Field(description="a node of the plan, had it cost more")


class DecisionShape(Shape):
    """Why a plan is what it is."""

    v: Literal[2]
    at: str
    position: str
    trigger: str = Field(description="the type of the input that made Headrace decide")
    rule_set: str
    strategy: str
    why: list[str] = Field(description="the strategy's conditions that hold")
    passed_over: list[dict[str, str]] = Field(description="`strategy`, and `because`")
    price_version: int
    currency: str
    objective: list[str] = Field(description="`cost`, or the ranked criteria in order")
    destination: dict[str, Any] = Field(description="`located_by` what kind of place, and which")
    promise: str | None = Field(description="the day that late legs are priced by")
    own_promise: bool = Field(
        description="whether Headrace had promised that by itself: the order asks for none"
    )
    service_level: str
    split: dict[str, Any]
    method: Literal["exact", "best_found"]
    bound: dict[str, Any] | None = Field(
        None, description="units and value that no plan is better than; of `best_found`"
    )
    lines: list[DecidedLine]
    sets: list[SetShape]
    chosen: PlanShape | None
    runner_up: PlanShape | None
    rest: RestShape
    decided_by: str
    left_out: list[LeftOutShape]
    unused: list[UnusedShape] = Field(
        description="services that legs of the plan could not go by, 5 at the most"
    )
    counterfactual: CounterfactualShape | None
    fulfillments: list[dict[str, Any]]
    backordered: list[dict[str, Any]]


class DecisionShapeV1(Shape):
    """Why a plan of the first release is what it is, as it was recorded then."""

    v: Literal[1]
    at: str
    position: str
    trigger: str
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
    counterfactual: str | None
    fulfillments: list[dict[str, Any]]
    backordered: list[dict[str, Any]]


class DecisionList(Shape):
    """A page of an order's decisions, oldest first."""

    model_config = ConfigDict(extra="allow", json_schema_extra={"examples": [examples.DECISIONS]})

    items: list[DecisionShape | DecisionShapeV1]
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
    rule_set: str | None = Field(default=None, description="the version that it is about")
    detail: str
    opened_at: str
    resolved_at: str | None = None
    resolution: str | None = None


class ExceptionList(Shape):
    """A page of exceptions, newest first."""

    model_config = ConfigDict(extra="allow", json_schema_extra={"examples": [examples.EXCEPTIONS]})

    items: list[ExceptionShape]
    next: str | None


class RuleProblemShape(Shape):
    """What is wrong with a rule set, and where."""

    path: str
    detail: str


class RuleSetRefusal(Shape):
    """What was asked about a rule set and not done."""

    at: str
    position: str
    asked: Literal["proposed", "approved", "activated"]
    by: str | None
    problems: list[RuleProblemShape]


class RuleSetShape(Shape):
    """A version of a market's rules, and how far it is."""

    market_id: str
    version: str
    status: Literal[
        "refused", "proposed", "approved", "scheduled", "active", "superseded", "shadow"
    ]
    author: str | None = None
    note: str | None = None
    proposed_at: str | None = None
    approver: str | None = None
    approval_note: str | None = None
    approved_at: str | None = None
    activated_by: str | None = None
    activation_note: str | None = None
    active_from: str | None = Field(default=None, description="also of one that is scheduled")
    superseded_at: str | None = None


class RuleSetDetail(RuleSetShape):
    """A version with its body; of a refused one only why."""

    model_config = ConfigDict(extra="allow", json_schema_extra={"examples": [examples.RULE_SET]})

    body: dict[str, Any] | None = None
    refusals: list[RuleSetRefusal] = Field(description="the newest 20, newest first")


class RuleSetList(Shape):
    """A page of rule sets, the latest proposed first."""

    items: list[RuleSetShape]
    next: str | None


class HaltShape(Shape):
    """Why a shard decides nothing."""

    what: str
    input: list[str] = Field(
        description="coordinates of the input it halts at, as `headrace shard skip` takes them;"
        " empty where it is no input"
    )


class ShardShape(Shape):
    """How far a shard's read models are."""

    shard: int
    owner: str | None = Field(description="who opened the shard last")
    epoch: int
    seq: int = Field(description="the newest commit in the read models")
    journal_next: int = Field(description="the journal offset they read next")
    inbox_next: int = Field(description="inbox offsets below it are handled")
    halted: HaltShape | None
    lag: int | None = Field(description="journal records still to come; null when not known")


class ShardList(Shape):
    """All shards."""

    model_config = ConfigDict(extra="allow", json_schema_extra={"examples": [examples.SHARDS]})

    items: list[ShardShape]
