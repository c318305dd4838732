"""Shadows: what a rule set that decides nothing would have decided, beside what was decided.

An open loop: each order is planned in the world as the active rules have made it. Nothing follows
from a shadow's plan, so it can't say what its rules would have led to; a what-if can.
"""

from typing import Any

import orjson

from events.decided import COMPONENTS, Decision, InputRecord, Plain, costs_of
from events.rules import Body
from orchestrator.core.orders import PoolCount
from orchestrator.core.shard import Market, Shard
from orchestrator.core.sourcing.plan import Outcome, Request, Want
from orchestrator.core.sourcing.planner import source
from orchestrator.core.sourcing.strategies import RuleSet
from schemas.journal import Entry

COSTS = (*COMPONENTS, "split")
ORDER = ("market_id", "channel", "order_id")


class Shadows:
    """A shard's shadow rule sets, compiled, over a state that only folds: it never decides itself.

    So all that planning keeps of a market is made by its shadow.
    """

    def __init__(self) -> None:
        self._compiled: dict[str, RuleSet] = {}  # by market

    def beside(self, shard: Shard, entry: Entry) -> list[Plain]:
        """What shadows decide of the orders that the entry accepts; before it is folded.

        Each with the places `n` of the event that accepts the order and of the plan beside it
        (`beside`; None where nothing was planned). Leaves the state as it is.
        """
        found: list[Plain] = []
        cause: InputRecord = entry["input"]
        now_ms = shard.now_ms if "origin" in cause else max(shard.now_ms, cause["time_ms"])
        events: Any = entry["events"]
        for n, event in enumerate(events):
            if event["type"] == "input_resumed":
                cause = event["input"]
            elif event["type"] == "order_accepted":
                market = shard.markets[event["market_id"]]
                rules = self._rules(market)
                request = rules and _request(market, event, cause, now_ms)
                if rules is not None and request:
                    decided = _decided(_source(shard, market, rules, request), request, market)
                    found.append(_beside(events, n, decided, rules.version))
        return found

    def _rules(self, market: Market) -> RuleSet | None:
        """The shadow of a market, if it has one."""
        known = self._compiled.get(market.market_id)
        for version, one in market.rule_versions.items():
            if one.status == "shadow":
                if known is None or (known.version, known.time_zone) != (version, market.time_zone):
                    known = RuleSet(version, Body.model_validate(one.body), market.time_zone)
                    self._compiled[market.market_id] = known
                    market.tables = None  # they were made by another
                return known
        return None


def _request(market: Market, event: Any, cause: InputRecord, now_ms: int) -> Request | None:  # noqa: ANN401 - an order_accepted
    """What the order wants as it is accepted; None where nothing is left of it."""
    order = market.orders.get(f"{event['channel']}/{event['order_id']}")
    if order is None:
        data: Plain = cause["data"]
        wants = [Want(line["line_id"], line["sku"], line["quantity"]) for line in data["lines"]]
    else:  # it waited for what nobody had defined
        data = orjson.loads(order.raw)
        wants = [Want(line.line_id, line.sku, line.open) for line in order.lines if line.open]
    return Request(data, wants, now_ms, cause["type"]) if wants else None


def _source(shard: Shard, market: Market, rules: RuleSet, request: Request) -> Outcome:
    """The best plan by other rules than the market's; its pools count as they would, activated."""
    active, taken = market.rules, market.pool_taken
    market.rules = rules
    market.pool_taken = {
        pool.pool_id: taken.get(pool.pool_id) or PoolCount(pool.pool_id) for pool in rules.pools
    }
    try:
        return source(shard, market, request)
    finally:
        market.rules, market.pool_taken = active, taken


def _decided(outcome: Outcome, request: Request, market: Market) -> Plain:
    """A shadow's plan, as plans are told."""
    wants, legs = request.wants, outcome.legs
    lacking = [want.units - sum(leg.units[i] for leg in legs) for i, want in enumerate(wants)]
    return {
        "currency": market.currency,
        "fulfillments": [
            {
                "node_id": leg.node_id,
                "lines": [
                    {"line_id": want.line_id, "quantity": units}
                    for want, units in zip(wants, leg.units, strict=True)
                    if units
                ],
            }
            for leg in legs
        ],
        "backordered": [
            {"line_id": want.line_id, "quantity": units}
            for want, units in zip(wants, lacking, strict=True)
            if units
        ],
        "costs_minor": _costs(outcome.decision),
        "decision": orjson.dumps(outcome.decision).decode(),
    }


def _beside(events: Any, accepted: int, decided: Plain, version: str) -> Plain:  # noqa: ANN401 - decided events
    """A shadow's plan, with what was decided: the first plan that the order got."""
    of = [events[accepted][name] for name in ORDER]
    told: Plain = {"n": accepted, **dict(zip(ORDER, of, strict=True)), "rule_set": version}
    for n in range(accepted + 1, len(events)):
        event = events[n]
        if event["type"] == "order_allocated" and of == [event[name] for name in ORDER]:
            decision: Decision = orjson.loads(event["decision"])
            active: Plain = {
                "n": n,
                "rule_set": decision["rule_set"],
                "fulfillments": [
                    {"node_id": one["node_id"], "lines": _units(one["lines"])}
                    for one in event["fulfillments"]
                ],
                "backordered": _units(event["backordered"]),
                "costs_minor": _costs(decision),
            }
            return {**told, "same": _plan(active) == _plan(decided), **decided, "active": active}
    return {**told, "same": False, **decided}


def _units(lines: Any) -> list[Plain]:  # noqa: ANN401 - lines of an event
    return [{"line_id": one["line_id"], "quantity": one["quantity"]} for one in lines]


def _plan(told: Plain) -> list[list[tuple[str, str, int]]]:
    """What is compared: node, line, units of what ships, and of what waits."""
    ships = [
        (one["node_id"], line["line_id"], line["quantity"])
        for one in told["fulfillments"]
        for line in one["lines"]
    ]
    waits = [("", line["line_id"], line["quantity"]) for line in told["backordered"]]
    return [sorted(ships), sorted(waits)]


def _costs(decision: Decision) -> dict[str, int]:
    """By component, without those that are 0."""
    chosen = decision["chosen"]
    costs = [] if chosen is None else costs_of(decision, chosen)
    return {name: minor for name, minor in zip(COSTS, costs, strict=False) if minor}
