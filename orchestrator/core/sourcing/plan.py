"""What is asked of sourcing, and what it answers: the shapes that placing and promising share."""

from collections.abc import Sequence
from typing import NamedTuple

from events.decided import Decision, Plain, Value
from orchestrator.core.sourcing.search import DRAFT_WORK
from orchestrator.core.sourcing.strategies import Strategy


class Want(NamedTuple):
    """Units of an order line that need a source."""

    line_id: str
    sku: str
    units: int


class Leg:
    """A node's part of a plan, by whole days.

    `ship_day` counts days since 1970-01-01 in the node's time zone, `units` stand in the wants'
    order, `cost_minor` is in the market's minor units.
    """

    __slots__ = (
        "carrier",
        "cost_minor",
        "deliver_by_ms",
        "node_id",
        "service",
        "ship_by_ms",
        "ship_day",
        "units",
    )

    def __init__(
        self,
        node_id: str,
        units: list[int],
        ship_day: int,
        ship_by_ms: int,
        deliver_by_ms: int | None,
        carrier: str | None,
        service: str | None,
        cost_minor: int,
    ) -> None:
        self.node_id = node_id
        self.units = units
        self.ship_day = ship_day
        self.ship_by_ms = ship_by_ms
        self.deliver_by_ms = deliver_by_ms  # None where nothing rates it
        self.carrier = carrier  # None where its parcels go by several services, or unrated
        self.service = service
        self.cost_minor = cost_minor


class Request:
    """What an order, or a question about one, wants sourced.

    `data` is the order as placed (canonical JSON): conditions, place and promise are read from it.
    `promised`: its `deliver_by` is what Headrace promised, and nobody asked for.
    """

    __slots__ = ("data", "draft_work", "now_ms", "promised", "trigger", "wants")

    def __init__(
        self,
        data: Plain,
        wants: Sequence[Want],
        now_ms: int,
        trigger: str,
        draft_work: int = DRAFT_WORK,
        *,
        promised: bool = False,
    ) -> None:
        self.data = data
        self.promised = promised
        self.wants = wants
        self.now_ms = now_ms
        self.trigger = trigger  # the type of the input that asks
        self.draft_work = draft_work  # how long a plan is improved that can't be solved exactly


class Outcome:
    """The best plan, legs by node id (none where nothing can ship), and its explanation."""

    __slots__ = ("decision", "legs", "strategy", "value", "worth")

    def __init__(
        self,
        legs: list[Leg],
        decision: Decision,
        strategy: Strategy,
        value: Value | None,
        worth: int,
    ) -> None:
        """`value` is the plan's as people read it, `worth` as plans of a strategy compare: less."""
        self.legs = legs
        self.decision = decision
        self.strategy = strategy
        self.value = value
        self.worth = worth
