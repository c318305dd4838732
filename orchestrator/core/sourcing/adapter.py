"""The planner of the release before, asked in the words of the next."""

from typing import cast

from events.decided import Decision
from orchestrator.core.config import DAY_MS
from orchestrator.core.shard import Market, Shard
from orchestrator.core.sourcing import planner
from orchestrator.core.sourcing.geo import vector_of
from orchestrator.core.sourcing.plan import Leg, Outcome, Request
from orchestrator.core.sourcing.strategies import Facts


def source(shard: Shard, market: Market, request: Request) -> Outcome:
    """The nearest nodes; everything leaves on the day it is asked for."""
    data = request.data
    found, decision = planner.source(
        market,
        request.now_ms,
        vector_of(data["ship_to"].get("location")),
        [planner.Want(*want) for want in request.wants],
        ship_complete=not data.get("allow_split", True),
        trigger=request.trigger,
    )
    units = sum(sum(leg.units) for leg in found)
    if not data.get("allow_partial", True) and units < sum(want.units for want in request.wants):
        found = []
    day = request.now_ms // DAY_MS
    legs = [
        Leg(leg.node_id, leg.units, day, (day + 1) * DAY_MS - 1_000, None, None, None, 0)
        for leg in found
    ]
    strategy, _, _ = market.rules.choose(Facts(data, shard.items))
    chosen = decision["chosen"]
    value = None if chosen is None else chosen["distance_m"]
    return Outcome(legs, cast("Decision", decision), strategy, value)
