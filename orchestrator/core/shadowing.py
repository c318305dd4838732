"""Shadows: what a rule set that decides nothing would have decided, beside what was decided.

An open loop: each order is planned in the world as the active rules have made it. Nothing follows
from a shadow's plan, so it can't say what its rules would have led to; a what-if can.
"""

from typing import Any

import orjson

from events.decided import COMPONENTS, Decision, InputRecord, Plain, costs_of
from events.rules import Body
from orchestrator.core.orders import Order, OrderLine, PoolCount
from orchestrator.core.placing import DIVISIBLE, goes_whole, lacks, of_their_own, unsourced
from orchestrator.core.rules import counted_anew
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
                if rules is None:
                    continue
                # there already where it waited for what nobody had defined
                known = market.orders.get(f"{event['channel']}/{event['order_id']}")
                order = known or Order(0, b"", cause["data"])
                lines = [line for line in order.lines if line.open]
                if lines:
                    outcome, gone = _planned(shard, market, rules, order, lines, now_ms, cause)
                    found.append(_beside(events, n, lines, outcome, gone))
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


def _planned(
    shard: Shard,
    market: Market,
    rules: RuleSet,
    order: Order,
    lines: list[OrderLine],
    now_ms: int,
    cause: InputRecord,
) -> tuple[Outcome, dict[str, int]]:
    """The plan for what is open of these lines, and the units by line that wouldn't wait."""
    data: Plain = orjson.loads(order.raw)
    wants = [Want(line.line_id, line.sku, line.open) for line in lines]
    outcome = _source(shard, market, rules, Request(data, wants, now_ms, cause["type"]))
    gone = unsourced(lines, lacks(lines, outcome), outcome.strategy)
    if gone and goes_whole(order, outcome):
        divided = Request({**data, **DIVISIBLE}, wants, now_ms, cause["type"])
        gone = of_their_own(gone, lacks(lines, _source(shard, market, rules, divided)))
    return outcome, gone


def _source(shard: Shard, market: Market, rules: RuleSet, request: Request) -> Outcome:
    """The best plan by other rules than the market's; its pools count as they would, activated."""
    active, taken = market.rules, market.pool_taken
    anew = counted_anew(market, rules.pools, request.now_ms)
    market.rules = rules
    market.pool_taken = {
        pool.pool_id: (None if pool.pool_id in anew else taken.get(pool.pool_id))
        or PoolCount(pool.pool_id)
        for pool in rules.pools
    }
    try:
        return source(shard, market, request)
    finally:
        market.rules, market.pool_taken = active, taken


def _beside(
    events: Any,  # noqa: ANN401 - decided events
    accepted: int,
    lines: list[OrderLine],
    outcome: Outcome,
    gone: dict[str, int],
) -> Plain:
    """A shadow's plan, with what was decided: the first plan that the order got."""
    decision = outcome.decision
    ships, lacking = _shipped(decision, lines)
    decided: Plain = {
        "currency": decision["currency"],
        "fulfillments": ships,
        "backordered": [
            {"line_id": line.line_id, "quantity": units - gone.get(line.line_id, 0)}
            for line, units in zip(lines, lacking, strict=True)
            if units > gone.get(line.line_id, 0)
        ],
        "costs_minor": _costs(decision),
        "decision": orjson.dumps(decision).decode(),
    }
    of = [events[accepted][name] for name in ORDER]
    told: Plain = {
        "n": accepted,
        **dict(zip(ORDER, of, strict=True)),
        "rule_set": decision["rule_set"],
    }
    for n in range(accepted + 1, len(events)):
        event = events[n]
        if event["type"] == "order_allocated" and of == [event[name] for name in ORDER]:
            why: Decision = orjson.loads(event["decision"])
            active: Plain = {
                "n": n,
                "rule_set": why["rule_set"],
                "fulfillments": _shipped(why, lines)[0],
                "backordered": [
                    {"line_id": one["line_id"], "quantity": one["quantity"]}
                    for one in event["backordered"]
                ],
                "costs_minor": _costs(why),
            }
            same = all(active[name] == decided[name] for name in ("fulfillments", "backordered"))
            return {**told, "same": same, **decided, "active": active}
    return {**told, "same": False, **decided}


def _shipped(decision: Decision, lines: list[OrderLine]) -> tuple[list[Plain], list[int]]:
    """What ships from where by a decision on what is open of these lines, and what each lacks.

    All of it: events tell an order that goes to very many nodes in parts. Lines of one item share
    what a leg has of it, the first line first.
    """
    lacking = [line.open for line in lines]
    ships: list[Plain] = []
    chosen = decision["chosen"]
    legs: Any = chosen["legs"] if chosen else ()  # lists instead of tuples, if read from JSON
    for place, node_id in legs:
        units: list[int] = decision["sets"][place][0]
        left = {line[1]: count for line, count in zip(decision["lines"], units, strict=True)}
        told: list[Plain] = []
        for i, line in enumerate(lines):
            count = min(left[line.sku], lacking[i])
            if count:
                told.append({"line_id": line.line_id, "quantity": count})
                left[line.sku] -= count
                lacking[i] -= count
        ships.append({"node_id": node_id, "lines": told})
    return ships, lacking


def _costs(decision: Decision) -> dict[str, int]:
    """By component, without those that are 0."""
    chosen = decision["chosen"]
    costs = [] if chosen is None else costs_of(decision, chosen)
    return {name: minor for name, minor in zip(COSTS, costs, strict=False) if minor}
