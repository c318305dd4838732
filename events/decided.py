"""Decided events: what the core makes of an input, as plain data.

They are typed dicts, not models, since the fold of a journal builds no models (a million events in
seconds). `type` is the tag. Those named like an output are published: the relay drops the
`INTERNAL` fields and adds what only it knows (`position`).
Times in `*_ms` are milliseconds since 1970 UTC; times without it are RFC 3339 in UTC.
"""

from collections.abc import Sequence
from typing import Any, Literal, NamedTuple, TypeAlias, get_args

from typing_extensions import (  # noqa: UP035 - pydantic reads no typing.TypedDict before 3.12
    NotRequired,
    TypedDict,
)

Plain: TypeAlias = dict[str, Any]
"""Canonical JSON of an input event or a part of it, validated by intake."""


class InputRecord(TypedDict):
    """An input as it stands in the inbox and in the journal."""

    type: str
    version: int
    id: str
    source: str
    time_ms: int  # ce_time: when it happened, at the source
    origin: NotRequired[list[Any]]  # [topic, partition, offset, appended_at_ms]; a tick has none
    data: Plain


class Line(TypedDict):
    """Units of an order line, with its item."""

    line_id: str
    sku: str
    quantity: int


class LineUnits(TypedDict):
    """Units of an order line."""

    line_id: str
    quantity: int


class AskedUnits(TypedDict):
    """A line that a request named, and the units it concerns where they are known."""

    line_id: str
    quantity: NotRequired[int]


class _OfOrder(TypedDict):
    market_id: str
    channel: str
    order_id: str


class MasterDataKept(TypedDict):
    """The cause (a network event) holds from now on."""

    type: Literal["master_data_kept"]


class InputParked(TypedDict):
    """The cause waits until what it refers to is known.

    `on` is `market:<id>`, `node:<id>` or `tracking:<number>`; a tracking update waits
    until `until_ms`.
    """

    type: Literal["input_parked"]
    on: str
    until_ms: NotRequired[int]


class InputResumed(TypedDict):
    """A parked input is taken up.

    What follows in the entry is decided from it: readers use it as the cause.
    """

    type: Literal["input_resumed"]
    on: str
    input: InputRecord


class InputExpired(TypedDict):
    """The parked input that waited longest on this waited in vain."""

    type: Literal["input_expired"]
    on: str


class InputRepeated(TypedDict):
    """The cause is known already and changes nothing."""

    type: Literal["input_repeated"]
    by: Literal["origin", "id", "order", "document", "package", "state"]


class InputSkipped(TypedDict):
    """The cause can't be decided, and a person had it passed over. Nothing else comes of it.

    A tick's timer or piece of work is done with (an event before this one says which).
    """

    type: Literal["input_skipped"]
    reason: str
    by: str


class TopicRenewed(TypedDict):
    """A person said that an input topic was made anew: its offsets begin again."""

    type: Literal["topic_renewed"]
    topic: str
    reason: str
    by: str


class OrderWaits(_OfOrder):
    """The order is taken from the cause and waits for master data; every unit is open."""

    type: Literal["order_waits"]
    unknown: list[str]  # skus
    until_ms: int


class OrderAccepted(_OfOrder):
    """The order is taken from the cause (or, when it waited, goes on)."""

    type: Literal["order_accepted"]
    status: str


class Reason(TypedDict):
    """Why an order is refused, and where."""

    code: str
    line_id: NotRequired[str]
    detail: str


class OrderRefused(_OfOrder):
    """The order is closed as refused; with `conflict`, one with this id stands and is untouched."""

    type: Literal["order_refused"]
    status: str
    reasons: list[Reason]
    conflict: bool


class FulfillmentRequested(_OfOrder):
    """Reserves the units of `lines` at the node for the order, and asks the node to ship them."""

    type: Literal["fulfillment_requested"]
    fulfillment_id: str
    node_id: str
    requested_at: str
    method: Literal["ship"]
    service_level: str
    currency: str
    lines: list[Plain]  # Line with name, unit_price_minor, gift_message, attributes where given
    carrier: NotRequired[str]
    service: NotRequired[str]
    ship_to: NotRequired[Plain]
    contact: NotRequired[Plain]
    order_number: NotRequired[str]
    po_number: NotRequired[str]
    shipping_method: NotRequired[str]
    delivery_requirements: NotRequired[list[str]]
    gift_message: NotRequired[str]
    packing_note: NotRequired[str]
    attributes: NotRequired[dict[str, str]]
    # the local day whose capacity it takes ("2026-11-23"), its cut-off, and when all has arrived
    ship_day: NotRequired[str]
    ship_by: NotRequired[str]
    deliver_by: NotRequired[str]
    ship_not_before: NotRequired[str]


class FulfillmentPlanned(_OfOrder):
    """Reserves the units of `lines` at the node, which is asked for them at `release_ms`.

    Until then Headrace may plan them anew, or cancel them by itself. What asks the node is a
    `fulfillment_requested` of the same id.
    """

    type: Literal["fulfillment_planned"]
    fulfillment_id: str
    node_id: str
    ship_day: str
    ship_by: str
    deliver_by: NotRequired[str]
    carrier: NotRequired[str]
    service: NotRequired[str]
    release_ms: int
    lines: list[Line]


class PlannedFulfillment(TypedDict):
    """A part of the plan: what one node has shipped or still holds."""

    fulfillment_id: str
    node_id: str
    ship_by: NotRequired[str]
    deliver_by: NotRequired[str]
    lines: list[Line]


class WaitingUnits(LineUnits):
    """Units that wait; `expected_at`: when what is announced covers them, first come first served.

    Without it, what is announced doesn't.
    """

    expected_at: NotRequired[str]


class ChoiceV1(TypedDict):
    """A plan, as the explanation of the first release names it."""

    nodes: list[str]
    units: int
    distance_m: int | None  # summed great-circle distance; None where a location is missing


class DecisionV1(TypedDict):
    """Why a plan of the first release is what it is. Journals keep it, so readers know it."""

    trigger: str
    rule_set: str
    price_version: int
    method: Literal["exact", "greedy"]
    lines: list[list[Any]]  # [line_id, sku, units asked]
    # [node_id, distance_m or None, [units offered per line]], best rank first
    candidates: list[list[Any]]
    # fence -> node ids: inactive, does_not_ship, suppressed, no_stock
    candidates_left_out: int  # worse ranked ones, where there are too many to show
    removed: dict[str, list[str]]
    chosen: ChoiceV1 | None
    runner_up: ChoiceV1 | None
    decided_by: str
    counterfactual: str | None


Value: TypeAlias = int | list[int]
"""What plans compare by: minor units, or a ranked strategy's criteria in order. Less is better."""

COMPONENTS = ("transport", "handling", "per_unit", "late", "load", "price")
"""Of a leg's cost, in their order; a plan's end in `split`."""
PAID = 3
"""The first of them are paid (transport, handling, per unit); the rest are prices of rules."""

DecisionRow: TypeAlias = list[Any]
"""A node as a source of one set of units: a `NodeRow`, without the defaults at its end."""


class NodeRow(NamedTuple):
    """A row read: `NodeRow(*row)`. Without short lines and failing fences, it may ship the set.

    Days count from 1970-01-01, where the node is. A node that can't be costed at all (no rate, no
    working day) has no row.
    """

    node_id: str
    value: Value
    costs: Sequence[int]  # minor units by COMPONENTS, without the zeros at the end
    metres: int | None
    ship_day: int
    delivery_days: int | None  # after the ship day; None where nothing rates it
    service: str | None  # "carrier/service"; None where parcels go by several, or unrated
    days_late: int = 0
    parcels: int = 1
    short: Sequence[Sequence[int]] = ()  # [line index, units]
    fences: Sequence[str] = ()  # those that fail
    full_day: int | None = None  # the first that was too full, where one was


DecisionSet: TypeAlias = list[Any]
"""[[units per line], row, …]: rows that may ship it first, by value, node id; then barred ones."""


class Split(TypedDict):
    """How far a plan may be divided. What is not said doesn't bind."""

    quantity: Literal["when_short", "never", "always"]
    max_legs: NotRequired[int]
    leg_min_value: NotRequired[int]  # minor units; binds plans of two legs or more, as the next
    leg_min_units: NotRequired[int]
    extra_leg: NotRequired[int]  # minor units for every leg beyond the first
    one_leg: NotRequired[bool]  # one leg with everything, or nothing
    all_or_nothing: NotRequired[bool]  # all units, on any number of legs, or nothing


class Choice(TypedDict):
    """A plan of the recorded table."""

    legs: list[tuple[int, str]]  # [place in `sets`, node_id]: one row each
    units: int
    value: Value  # the sum over the legs; in money with what splitting costs on top


class Rest(TypedDict):
    """Nodes without a row, by what kept them out. A node can have failed several fences.

    Up to 64 nodes are named, and a bitmap (hex; bit i is nodes[i]) says which; more are counted.
    """

    nodes: list[str]  # those named by a bitmap, by id; none where the market has more than 64
    fences: dict[str, str | int]
    short: str | int  # have no free unit of what was planned
    few: NotRequired[str | int]  # have some, but not all units of any set that is shown
    dearer: int  # may ship something; no plan with one of them is better than the runner-up


class Decision(TypedDict):
    """Why a plan is what it is: the table it was chosen from. Opaque to the fold.

    `sets` has each single line at its target, all lines at theirs, and each leg of the chosen and
    the runner-up plan, none twice. Its rows are the cheapest two that may ship the set, those that
    the two plans use, and the barred ones that would be cheaper than the second (10 at the most in
    a decision).
    """

    v: Literal[2]
    trigger: str  # the type of the input that made Headrace decide
    at: int  # ms since 1970 UTC
    rule_set: str
    strategy: str
    why: list[str]  # the strategy's conditions that hold, as sentences
    passed_over: list[list[str]]  # [strategy, the first condition that fails, or "found nothing"]
    price_version: int
    currency: str
    objective: list[str]  # ["cost"], or criteria such as "on_hand desc"
    # how the destination was located, then by what: given, postal_code, prefix, region, country
    # or nowhere, as ["postal_code", "US", "02108"]
    place: list[str]
    promise: str | None  # RFC 3339
    # that is what Headrace had promised by itself: the order asks for no day (unreleased: missing
    # in records from before, which say nothing of it)
    own_promise: NotRequired[Literal[True]]
    service_level: str
    split: Split
    method: Literal["exact", "best_found"]
    bound: NotRequired[list[Any]]  # [units, Value] that no plan is better than; of best_found
    lines: list[list[Any]]  # [line_id, sku, units wanted, target, units promisable or None]
    worth: NotRequired[list[int]]  # minor units of a unit of each line; with leg_min_value
    sets: list[DecisionSet]
    chosen: Choice | None
    runner_up: Choice | None
    rest: Rest
    # most_units, value, fewest_legs, node_id, only_candidate, no_candidate, ship_complete,
    # all_or_nothing
    decided_by: str
    # where the plan leaves units out: [line index, units, [its line ids], [[why, nodes, [the first
    # of them]], …]], without a why where no node has a free one. Why: the fence that its nodes
    # fail; "split", where only the rules of dividing keep it there; "channel", "kept" (without
    # nodes): the channel may have no more; what is there stays there
    left_out: NotRequired[list[list[Any]]]
    # services that legs of the chosen plan could not go by, where there are any, 5 at the most:
    # [carrier/service, why, the first such node]. Why: "no_rate" to there, "lane_suspended",
    # "too_heavy", "excluded": it takes nothing that requires what the items do
    unused: NotRequired[list[list[str]]]


def rows_of(decision: Decision, choice: Choice) -> list[NodeRow]:
    """The rows of a recorded plan's legs."""
    return [NodeRow(*row_of(decision, place, node_id)) for place, node_id in choice["legs"]]


def row_of(decision: Decision, place: int, node_id: str) -> list[Any]:
    """A node's row in a set that a decision shows, as it is recorded: see NodeRow."""
    row: list[Any] = next(row for row in decision["sets"][place][1:] if row[0] == node_id)
    return row


def costs_of(decision: Decision, choice: Choice) -> list[int]:
    """What a recorded plan costs: minor units by COMPONENTS, then those of splitting."""
    costs = [0] * len(COMPONENTS)
    for row in rows_of(decision, choice):
        for place, minor in enumerate(row.costs):
            costs[place] += minor
    return [*costs, split_cost(decision, len(choice["legs"]))]


def split_cost(decision: Decision, legs: int) -> int:
    """What a recorded decision charges for so many legs, in minor units."""
    extra: int = decision["split"].get("extra_leg", 0)
    return extra * (legs - 1)


class OrderAllocated(_OfOrder):
    """The whole current plan, after the `fulfillment_requested` that carry it out.

    Sets the backordered units.
    """

    type: Literal["order_allocated"]
    status: str
    fulfillments: list[PlannedFulfillment]
    backordered: list[WaitingUnits]
    decision: str  # a Decision as JSON: who doesn't ask why needn't parse it
    promised_by: NotRequired[str]  # once everything has a source: when all will be there
    cancel_ms: NotRequired[int]  # what waits then is cancelled
    held: NotRequired[str]  # the strategy, where it holds requests back: see order_improved


class OrderPromiseChanged(_OfOrder):
    """All will be there at `deliver_by`, later than what was told before."""

    type: Literal["order_promise_changed"]
    status: str
    promised_by: str  # as first told
    deliver_by: str


class OrderImproved(_OfOrder):
    """Held units have another plan by now: it follows, and replaces these fulfillments.

    Where keeping them can't be any more, that may be a part of them: what others have.
    """

    type: Literal["order_improved"]
    replaced: list[str]  # fulfillment ids
    # [what keeping it would be worth now, or None where that can't be; the newest Decision that a
    # part of it came from, as JSON]
    before: list[Any]
    after: list[Any]  # [Value, Decision as JSON]


class ImprovementDue(TypedDict):
    """Held orders may have better plans: those with `skus` are looked at when it is due."""

    type: Literal["improvement_due"]
    market_id: str
    skus: list[list[Any]]  # [sku, order number after which to look]
    done: list[str]  # skus whose orders were looked at
    due_ms: NotRequired[int]  # sets the timer, where none is set


class PromiseKept(_OfOrder):
    """All of the order that wasn't cancelled arrived by what was first promised."""

    type: Literal["promise_kept"]
    promised_by: str
    delivered_at: str


class PromiseBroken(_OfOrder):
    """Not all of the order arrived by what was first promised."""

    type: Literal["promise_broken"]
    promised_by: str
    delivered_at: NotRequired[str]  # where all is there by now


class OrderCancelled(_OfOrder):
    """Units are cancelled: open ones first, then backordered ones."""

    type: Literal["order_cancelled"]
    status: str
    lines: list[LineUnits]
    reason: str
    by: Literal["customer", "channel", "operator", "system"]


class OrderCancellationRejected(_OfOrder):
    """Units that can't be cancelled any more."""

    type: Literal["order_cancellation_rejected"]
    status: NotRequired[str]  # of no order there is none
    lines: list[AskedUnits]
    reason: str


class FulfillmentCancellationRequested(_OfOrder):
    """The node is asked to stop.

    `taken_back`: the units are no longer reserved, whatever it answers.
    """

    type: Literal["fulfillment_cancellation_requested"]
    fulfillment_id: str
    node_id: str
    cancellation_id: str
    lines: list[Line]
    taken_back: bool
    reason: str


class FulfillmentChanged(_OfOrder):
    """The fulfillment's two statuses from now on."""

    type: Literal["fulfillment_changed"]
    fulfillment_id: str
    status: str
    request_status: str


class UnitsReleased(_OfOrder):
    """Reserved units (`lines`) of a fulfillment are free again, and open on the order's lines.

    `closed`: units that the node will not ship for certain; taken-back units stay with the node
    until it answers. `replanned`: held units of an order in one piece, planned with its rest.
    """

    type: Literal["units_released"]
    fulfillment_id: str
    node_id: str
    why: Literal["rejected", "cancelled", "taken_back", "improved", "replanned"]
    lines: list[Line]
    closed: list[Line]


class CancellationAnswered(_OfOrder):
    """The final answer on units that the node was asked to cancel: they no longer wait for one.

    `taken_back`: it is about the part of the request that was taken back. `still_asked`: these
    units are taken back now; for the customer they are cancelled, the node has still to answer.
    `inferred`: the node rejected or shipped that many; it may say yet that they were another
    request's. Journals of the first releases don't tell these apart. `after_all`: it stopped units
    that it had said it was too late for.
    """

    type: Literal["cancellation_answered"]
    fulfillment_id: str
    cancellation_id: str
    answer: Literal["accepted", "rejected"]
    lines: list[Line]
    taken_back: NotRequired[bool]
    still_asked: NotRequired[bool]
    inferred: NotRequired[bool]
    after_all: NotRequired[bool]


class ShipmentSent(_OfOrder):
    """Units left. `lines` is what the node says; `moved` what it does to the books.

    `moved` rows: [line_id, sku asked, units off the reservation, units counted as shipped on the
    order line, units that left].
    """

    type: Literal["shipment_sent"]
    status: str
    fulfillment_id: str
    node_id: str
    shipped_at: str
    lines: list[Plain]
    packages: list[Plain]
    moved: list[list[Any]]


class ShipmentDelivered(_OfOrder):
    """Packages arrived; `lines` are the units that they close."""

    type: Literal["shipment_delivered"]
    status: str
    fulfillment_id: str
    packages: list[str]
    lines: list[Line]
    delivered_at: str


class PackagesKnown(TypedDict):
    """Packages of work that no order in memory has: they have left, once for ever."""

    type: Literal["packages_known"]
    documents: list[str]  # their business keys


class PackageTracked(_OfOrder):
    """A carrier's word on a package that doesn't deliver it."""

    type: Literal["package_tracked"]
    fulfillment_id: str
    package_id: str
    status: str
    at: str
    carrier_status: NotRequired[str]
    estimated_delivery_at: NotRequired[str]


class StockMoved(TypedDict):
    """Physical units moved; reservations move with fulfillments.

    `delta` is [on_hand, quality_control, damaged, held].
    `shortfall`: units that the report took beyond what was there (on hand stops at 0).
    `time_ms`: when it happened, so that a later count of an earlier moment can apply it again.
    """

    type: Literal["stock_moved"]
    node_id: str
    sku: str
    delta: list[int]
    reason: str
    time_ms: int
    document: NotRequired[str]
    shortfall: NotRequired[int]
    counted: NotRequired[str]  # a count made it: of this state, or of all
    lots: NotRequired[list[list[int]]]  # [day they expire, units more or fewer], by day


class InboundChanged(TypedDict):
    """Units of a document line that are on their way from now on; 0: none any more."""

    type: Literal["inbound_changed"]
    node_id: str
    sku: str
    document: str
    document_line: str | None
    units: int
    expected_ms: int


class ItemSuppressed(TypedDict):
    """The node doesn't offer the item (without sku: any item) until then."""

    type: Literal["item_suppressed"]
    node_id: str
    sku: NotRequired[str]
    until_ms: int


class SuppressionLifted(TypedDict):
    """The node offers the item (without sku: every item) again."""

    type: Literal["suppression_lifted"]
    node_id: str
    sku: NotRequired[str]


class LaneSuspended(TypedDict):
    """The carrier takes nothing on these lanes: plans made from now on leave them out."""

    type: Literal["lane_suspended"]
    market_id: str
    carrier: str
    service: NotRequired[str]  # else any
    origin_node_id: NotRequired[str]  # else any
    destination_prefix: NotRequired[str]  # of postal codes; else any
    reason: str
    until_ms: NotRequired[int]  # else until it is restored


class LaneRestored(TypedDict):
    """One suspension is over, named as it was suspended."""

    type: Literal["lane_restored"]
    market_id: str
    carrier: str
    service: NotRequired[str]
    origin_node_id: NotRequired[str]
    destination_prefix: NotRequired[str]


class WorkQueued(TypedDict):
    """Work that is too much for one entry waits for a tick: a plan, or a sku's backorders."""

    type: Literal["work_queued"]
    # ["plan", market, order key], ["fill", market, sku, place after which to go on],
    # ["settle", node, sku, units lost, what took them], ["refill", market], ["offered", node],
    # ["improve", market], ["resume", what was parked on] or
    # ["promises", market, promised by (ms)]
    work: list[Any]


class WorkDone(TypedDict):
    """The oldest queued piece of work is taken up; what follows in the entry is its outcome."""

    type: Literal["work_done"]
    work: list[Any]


class TimerFired(TypedDict):
    """The earliest timer is due; what follows in the entry is its outcome."""

    type: Literal["timer_fired"]
    timer: list[Any]  # [due_ms, number, kind, *key]


class RuleProblem(TypedDict):
    """What is wrong with a rule set; `path` such as `strategies[2].fences.max_km`, "" for all."""

    path: str
    detail: str


class RuleSetChanged(TypedDict):
    """A version of a market's rules stands so from now on; proposed, approved: by the cause."""

    type: Literal["rule_set_changed"]
    market_id: str
    version: str
    status: Literal["proposed", "approved", "scheduled", "active", "superseded", "shadow"]
    from_ms: NotRequired[int]  # scheduled: when it becomes active
    pools_end_ms: NotRequired[list[int]]  # active: when its pools end, soonest first
    pools_anew: NotRequired[list[str]]  # active: its pools that don't go on with an earlier count


class RuleSetRefused(TypedDict):
    """What was asked of a rule set is not done; the active version is untouched."""

    type: Literal["rule_set_refused"]
    market_id: str
    version: str
    asked: Literal["proposed", "approved", "activated"]
    problems: list[RuleProblem]


class OrderClosed(_OfOrder):
    """Nothing can happen to the order any more; it stays in memory until `retire_ms`."""

    type: Literal["order_closed"]
    retire_ms: int


class OrderRetired(_OfOrder):
    """A closed order leaves memory; its key stays for ever."""

    type: Literal["order_retired"]


class AvailabilityChanged(TypedDict):
    """Units that can be promised in a market, told when they cross a threshold."""

    type: Literal["availability_changed"]
    market_id: str
    sku: str
    available: int
    as_of: str


class ExceptionOpened(TypedDict):
    """Something doesn't add up: a person may look at it."""

    type: Literal["exception_opened"]
    exception_id: str
    market_id: str
    kind: str
    severity: str
    detail: str
    channel: NotRequired[str]
    order_id: NotRequired[str]
    sku: NotRequired[str]
    node_id: NotRequired[str]
    rule_set: NotRequired[str]  # version


class ExceptionResolved(TypedDict):
    """What didn't add up does again."""

    type: Literal["exception_resolved"]
    exception_id: str
    market_id: str
    kind: str
    detail: str
    channel: NotRequired[str]
    order_id: NotRequired[str]
    sku: NotRequired[str]
    node_id: NotRequired[str]
    rule_set: NotRequired[str]  # version


class Balanced(TypedDict):
    """Closes an entry: what it touched, as it stands now.

    The fold checks it; read models take it as it is.
    `orders` rows: [market_id, channel, order_id, status, lines], a line being
    [line_id, open, allocated, backordered, shipped, delivered, cancelled].
    `stock` rows: [market_id, node_id, sku, on_hand, reserved, quality_control, damaged, held].
    Only where the entry touched some: `capacity` rows [node_id, day, orders booked, units booked],
    `inbound` rows [node_id, sku, document, document line or None, units, expected_at in ms],
    `pools` rows [market_id, pool_id, units taken], `waiting` rows [market_id, sku, units that are
    backordered in all],
    `lots` rows [node_id, sku, [[day they expire, units], …]]. Days count from 1970-01-01.
    """

    type: Literal["balanced"]
    orders: list[list[Any]]
    stock: list[list[Any]]
    capacity: NotRequired[list[list[Any]]]
    inbound: NotRequired[list[list[Any]]]
    pools: NotRequired[list[list[Any]]]
    waiting: NotRequired[list[list[Any]]]
    lots: NotRequired[list[list[Any]]]


DecidedEvent: TypeAlias = (
    MasterDataKept
    | InputParked
    | InputResumed
    | InputExpired
    | InputRepeated
    | InputSkipped
    | TopicRenewed
    | OrderWaits
    | OrderAccepted
    | OrderRefused
    | FulfillmentRequested
    | FulfillmentPlanned
    | OrderAllocated
    | OrderPromiseChanged
    | OrderImproved
    | ImprovementDue
    | PromiseKept
    | PromiseBroken
    | OrderCancelled
    | OrderCancellationRejected
    | FulfillmentCancellationRequested
    | FulfillmentChanged
    | UnitsReleased
    | CancellationAnswered
    | ShipmentSent
    | ShipmentDelivered
    | PackagesKnown
    | PackageTracked
    | StockMoved
    | InboundChanged
    | ItemSuppressed
    | SuppressionLifted
    | LaneSuspended
    | LaneRestored
    | WorkQueued
    | WorkDone
    | TimerFired
    | OrderClosed
    | OrderRetired
    | RuleSetChanged
    | RuleSetRefused
    | AvailabilityChanged
    | ExceptionOpened
    | ExceptionResolved
    | Balanced
)

EVENT_TYPES: frozenset[str] = frozenset(
    get_args(one.__annotations__["type"])[0] for one in get_args(DecidedEvent)
)
"""The tags of all that this release knows."""

INTERNAL: dict[str, frozenset[str]] = {
    "fulfillment_requested": frozenset({"ship_day"}),
    "order_refused": frozenset({"conflict"}),
    "order_allocated": frozenset({"decision", "cancel_ms", "held"}),
    "fulfillment_cancellation_requested": frozenset({"taken_back", "reason"}),
    "shipment_sent": frozenset({"moved"}),
}
"""Fields of published events that stay inside."""
