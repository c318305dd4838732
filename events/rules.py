"""Rule sets: how a market's orders are sourced, as people write it, and the three facts about it.

A version never changes: it is proposed, approved by somebody else, then activated.
"""

from typing import Annotated, Any, ClassVar, Final, Literal, TypeVar

from pydantic import AfterValidator, BeforeValidator, ConfigDict, Field, StringConstraints
from pydantic_core import PydanticCustomError

from events.base import (
    MAX_QUANTITY,
    Channel,
    Country,
    Day,
    Fact,
    Id,
    MarketId,
    Model,
    Money,
    NodeId,
    OptionalInstantOrDay,
    OptionalText,
    Quantity,
    Sku,
    Text,
    Word,
)

T = TypeVar("T")
MAX_ENTRIES = 10_000
"""Of one list, at the most."""


def _listed(value: object) -> object:
    return value if isinstance(value, list) else [value]


Some = Annotated[list[T], BeforeValidator(_listed), Field(min_length=1, max_length=MAX_ENTRIES)]
"""One value, or a list of them."""
NodeKind = Literal["warehouse", "store", "supplier", "third_party", "cross_dock"]
PostalPrefix = Annotated[str, StringConstraints(min_length=1, max_length=16, pattern=r"^[^\x00]*$")]
Priority = Annotated[int, Field(ge=-1_000_000, le=1_000_000)]
Grams = Annotated[int, Field(ge=0, le=1_000_000_000_000)]
Units = Annotated[int, Field(ge=0, le=MAX_QUANTITY)]


class _Written(Model):
    """A part of a rule set: fields are named as people write them."""

    model_config = ConfigDict(serialize_by_alias=True)


# conditions


class MoneySpan(_Written):
    """Money in minor units, both ends included; one of them may be open."""

    min: Money | None = None
    max: Money | None = None


class WeightSpan(_Written):
    """Grams, both ends included; one of them may be open."""

    min: Grams | None = None
    max: Grams | None = None


class PrioritySpan(_Written):
    """Priorities, both ends included; one of them may be open."""

    min: Priority | None = None
    max: Priority | None = None


class UnitsSpan(_Written):
    """Units, both ends included; one of them may be open."""

    min: Annotated[int, Field(ge=0)] | None = None
    max: Annotated[int, Field(ge=0)] | None = None


class DaySpan(_Written):
    """Days of the market's time zone, both included; one of them may be open."""

    from_: Annotated[Day | None, Field(alias="from")] = None
    until: Day | None = None


class Conditions(_Written):
    """What an order must be like: each field that is given must hold, by any of its values."""

    channel: Some[Channel] | None = None
    service_level: Some[Word] | None = None
    country: Some[Country] | None = None  # of the destination, as the two below
    region: Some[Text] | None = None
    postal_prefix: Some[PostalPrefix] | None = None
    sku: Some[Sku] | None = None  # of any line, as the two below
    category: Some[Text] | None = None
    attribute: dict[Text, Some[Text]] | None = None  # of the order, a line or its item
    order_value: MoneySpan | None = None
    weight_g: WeightSpan | None = None
    priority: PrioritySpan | None = None
    quantity: UnitsSpan | None = None  # all units of the order
    placed: DaySpan | None = None


class When(Conditions):
    """Conditions, and under `not` those of which none may hold."""

    not_: Annotated[Conditions | None, Field(alias="not")] = None


# nodes and fences


class NodeFields(_Written):
    """What a node must be like: each field that is given must hold, by any of its values."""

    kind: Some[NodeKind] | None = None
    group: Some[Word] | None = None
    node: Some[NodeId] | None = None
    region: Some[Text] | None = None
    country: Some[Country] | None = None


class NodeMatch(NodeFields):
    """Nodes in, and under `not` nodes out: a node that any field there names is out."""

    not_: Annotated[NodeFields | None, Field(alias="not")] = None


class Keep(NodeMatch):
    """Units of every item that stay at these nodes (without a field: at all)."""

    units: Units


class Fences(_Written):
    """What bars a node from a plan, however good it is otherwise."""

    nodes: NodeMatch | None = None
    capability: Some[Word] | None = None  # the node has all of them
    max_km: Annotated[int, Field(ge=1, le=100_000)] | None = None
    cross_border: bool = True  # whether a node may ship to another country
    reach_promise: bool = False  # whether a leg must arrive by the day that the order asks for
    min_shelf_days: Annotated[int, Field(ge=0, le=100_000)] | None = None
    keep: Some[Keep] | None = None


# objective, split, parcels, what to do with the rest

CRITERIA: Final = {
    "distance": "asc",
    "fewest_legs": "asc",
    "on_hand": "desc",
    "days_of_supply": "desc",
    "sequence": "asc",
    "last_used": "asc",
    "cost": "asc",
}
"""What plans may be ranked by, and the direction where none is given."""
_LEAST: Final = frozenset({"distance", "fewest_legs", "cost"})
CriterionName = Literal[
    "distance", "fewest_legs", "on_hand", "days_of_supply", "sequence", "last_used", "cost"
]


def _criterion(value: object) -> object:
    """`on_hand`, `{on_hand: desc}` or `{sequence: [A, B]}` as the model has it."""
    named = "one of " + ", ".join(CRITERIA)
    name, order = value, None
    if isinstance(value, dict) and len(value) == 1:
        name, order = next(iter(value.items()))
    if not isinstance(name, str) or name not in CRITERIA:
        raise PydanticCustomError("criterion", "must be " + named + ", or {name: asc|desc}")
    if name == "sequence":
        if not isinstance(order, list):
            raise PydanticCustomError("criterion", "must say the nodes: {sequence: [A, B]}")
        return {"by": name, "order": "asc", "nodes": order}
    if order is not None and order not in ("asc", "desc"):
        raise PydanticCustomError("criterion", 'must be "asc" or "desc"')
    if order == "desc" and name in _LEAST:
        raise PydanticCustomError("criterion", "can only prefer less: leave out the direction")
    return {"by": name, "order": order or CRITERIA[name]}


class Criterion(_Written):
    """One criterion of a ranking; `nodes` in order of preference for `sequence`."""

    by: CriterionName
    order: Literal["asc", "desc"]
    nodes: Some[NodeId] | None = None


class LegMinimum(_Written):
    """What each leg must have, where a plan has two or more."""

    value: Money | None = None
    units: Quantity | None = None


class Split(_Written):
    """How an order may be divided over nodes."""

    quantity: Literal["when_short", "never", "always"] = "when_short"
    max_legs: Annotated[int, Field(ge=1, le=1_000)] | None = None
    leg_min: LegMinimum | None = None
    cost_per_extra_leg: Money = 0


class ParcelLimits(_Written):
    """What one parcel takes; `apart` pairs categories or capabilities that don't share one.

    What is too heavy for every service goes in several, whatever is said here.
    """

    max_g: Annotated[int, Field(ge=1, le=1_000_000_000)] | None = None
    max_ml: Annotated[int, Field(ge=1, le=1_000_000_000)] | None = None
    apart: (
        Annotated[
            list[Annotated[list[Text], Field(min_length=2, max_length=2)]],
            Field(min_length=1, max_length=100),
        ]
        | None
    ) = None


def _unsourced(value: object) -> object:
    if isinstance(value, str) and value in {"backorder", "cancel"}:
        return {"then": value}
    if isinstance(value, dict) and list(value) == ["cancel_after_days"]:
        return {"then": "backorder", **value}
    raise PydanticCustomError(
        "unsourced", 'must be "backorder", "cancel" or {cancel_after_days: days}'
    )


class Unsourced(_Written):
    """What becomes of units that no node has."""

    then: Literal["backorder", "cancel"]
    cancel_after_days: Annotated[int, Field(ge=1, le=3_650)] | None = None


class Strategy(_Written):
    """How orders that meet `when` are sourced."""

    name: Word
    when: When | None = None
    fences: Fences = Fences()
    objective: Annotated[
        list[Annotated[Criterion, BeforeValidator(_criterion)]],
        BeforeValidator(_listed),
        Field(min_length=1, max_length=len(CRITERIA)),
    ] = [Criterion(by="cost", order="asc")]
    split: Split = Split()
    parcel: ParcelLimits = ParcelLimits()
    unsourced: Some[Annotated[Unsourced, BeforeValidator(_unsourced)]] = [
        Unsourced(then="backorder")
    ]
    else_: Annotated[Word | None, Field(alias="else")] = None  # asked next where this finds none
    hold: Annotated[int, Field(ge=0, le=525_600)] = 0  # minutes
    replan_saving: Money = 0


# what holds for every strategy


class SafetyStock(_Written):
    """Units of these items that no order gets at these nodes."""

    nodes: NodeMatch | None = None
    sku: Some[Sku] | None = None
    category: Some[Text] | None = None
    units: Units


class Threshold(_Written):
    """Units of these items that a channel leaves to the others, over all nodes."""

    sku: Some[Sku] | None = None
    category: Some[Text] | None = None
    units: Units


class Pool(_Written):
    """Units that only one channel may take."""

    id: Id
    sku: Some[Sku]
    channel: Channel
    units: Quantity
    from_: Annotated[Day | None, Field(alias="from")] = None
    until: Day | None = None


def _thresholds(value: object) -> object:
    """A bare number holds for every item."""
    return {"units": value} if isinstance(value, int) else value


class Defaults(_Written):
    """What holds whichever strategy decides."""

    safety_stock: Some[SafetyStock] | None = None
    thresholds: dict[Channel, Some[Annotated[Threshold, BeforeValidator(_thresholds)]]] = {}
    pools: Some[Pool] | None = None
    late_per_day: dict[Word, Money] = {}  # by service level; `default` for those not named
    load_price: dict[Text, Money] = {}  # from % of a node's day booked


class Body(_Written, defer_build=False):
    """A rule set: the first strategy whose conditions hold decides."""

    defaults: Defaults = Defaults()
    strategies: Annotated[list[Strategy], Field(max_length=200)] = []


# the facts


def _version(value: object) -> object:
    if isinstance(value, int) and not isinstance(value, bool):
        if not 1 <= value <= MAX_VERSION:
            raise PydanticCustomError("version", "not a version")
        return str(value)
    return value


def _storable(value: Any) -> Any:  # noqa: ANN401 - any JSON
    """Only what every part of Headrace can keep; what it means is the core's to check."""
    match value:
        case str():
            if "\0" in value:
                message = "holds NUL, which no text of a rule set may"
                raise ValueError(message)
        case dict():
            for key, one in value.items():
                _storable(key)
                _storable(one)
        case list():
            for one in value:
                _storable(one)
        case bool() | None:
            pass
        case int() | float():
            if not -(2**53) <= value <= 2**53:  # neither NaN nor what others would round
                message = f"holds the number {value!r:.40}, which is too large"
                raise ValueError(message)
        case _:
            message = "holds what is not JSON"
            raise ValueError(message)
    return value


MAX_VERSION = 1_000_000_000
Version = Annotated[
    Id,
    BeforeValidator(
        _version, json_schema_input_type=Annotated[int, Field(ge=1, le=MAX_VERSION)] | Id
    ),
]
"""A positive whole number or an id; `7` and `"7"` are one version."""


class RuleSetFact(Fact):
    """What every fact about a rule set carries."""

    TOPIC: ClassVar[str] = "network"
    model_config = ConfigDict(serialize_by_alias=True)

    market_id: MarketId
    version: Version

    def record_key(self) -> str:
        """`<event>:<market_id>/<version>`."""
        return f"{self.TYPE}:{self.market_id}/{self.version}"


class RuleSetProposed(RuleSetFact):
    """A version of a market's rules. The same again is a no-op; other content is refused."""

    TYPE: ClassVar[str] = "rule_set_proposed"

    author: Text
    note: OptionalText = None
    body: Annotated[dict[str, Any], AfterValidator(_storable)]


class RuleSetApproved(RuleSetFact):
    """Another person than the author agrees to a version."""

    TYPE: ClassVar[str] = "rule_set_approved"

    author: OptionalText = None
    approver: Text
    note: OptionalText = None


class RuleSetActivated(RuleSetFact):
    """An approved version decides: at once, or from a time or the beginning of a day.

    With `mode` shadow it decides nothing: role `shadow` tells beside each order what it would have
    decided, from now on, until it is activated, another runs in shadow, or `mode` is shadow_ended.
    """

    TYPE: ClassVar[str] = "rule_set_activated"

    mode: Literal["active", "shadow", "shadow_ended"] = "active"
    from_: Annotated[OptionalInstantOrDay, Field(alias="from")] = None
    activated_by: OptionalText = None
    author: OptionalText = None
    note: OptionalText = None
