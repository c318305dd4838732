"""Improving held plans: until a node is asked, what changed may make another plan the better one.

A held order is planned anew as if its held units were free, and the rest of the state as it is.
Nothing is decided where that isn't better, than keeping what is held is worth by now, by more than
the strategy's `replan_saving`.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import orjson

from events.decided import Plain, Value
from orchestrator.core.orders import Fulfillment, Order
from orchestrator.core.placing import carry_out, lacks, withdraw
from orchestrator.core.shard import Market, Shard
from orchestrator.core.sourcing.plan import Outcome, Request, Want
from orchestrator.core.sourcing.planner import source
from orchestrator.core.sourcing.question import Question
from orchestrator.core.sourcing.strategies import Strategy
from orchestrator.core.sourcing.tables import load_percent
from orchestrator.core.turn import Turn, about
from schemas.times import iso_day, rfc3339

IMPROVED_BYTES = 3_000
SKUS = 5_000
"""Items called for in one entry, at the most: it must stay small."""


def schedule(turn: Turn) -> None:
    """Have the held orders looked at that units, a node's day or a changed network may serve."""
    shard = turn.shard
    for market in shard.markets.values():
        if not market.held:
            continue
        skus = {sku: None for market_id, sku in shard.freed_skus if market_id == market.market_id}
        if market.market_id in shard.touched_networks:
            skus |= dict.fromkeys(market.held)
        for node_id in shard.freed_nodes:
            if node_id in market.nodes:
                for sku in market.held:
                    if node_id in market.bins.get(sku, {}):
                        skus[sku] = None
        rows = [[sku, 0] for sku in skus if sku in market.held and market.improvable.get(sku) != 0]
        if rows:
            event: Any = {
                "type": "improvement_due",
                "market_id": market.market_id,
                "skus": rows[:SKUS],
                "done": [],
            }
            if not market.improvable:
                event["due_ms"] = turn.now_ms + shard.config.improve_every_ms
            turn.emit(event)


def improve(turn: Turn, market_id: str) -> None:
    """Look at the orders that are due: at most `improve_orders` of them, first come first."""
    market = turn.shard.markets[market_id]
    left = turn.shard.config.improve_orders
    due = list(market.improvable.items())
    tried: dict[Order, None] = {}
    done: list[str] = []
    rows: list[list[Any]] = []
    for sku, after in due:
        reached = after
        for number in sorted(one for one in market.held.get(sku, ()) if one > after):
            if left <= 0 or turn.full:
                rows.append([sku, reached])
                break
            reached = number
            order = market.held.get(sku, {}).get(number)
            if order is not None and order not in tried:
                tried[order] = None
                left -= 1
                _improve(turn, market, order)
        else:
            done.append(sku)
    event: Any = {"type": "improvement_due", "market_id": market_id, "skus": rows, "done": done}
    if len(done) < len(due):
        event["due_ms"] = turn.now_ms
    turn.emit(event)


def _improve(turn: Turn, market: Market, order: Order) -> None:
    held = list(order.held())
    came_from = [order.held_by[one.fulfillment_id] for one in held]
    if len({strategy for strategy, _ in came_from}) != 1:
        return  # what they weigh doesn't compare
    strategy, before = came_from[-1]
    units: dict[str, int] = {}
    for fulfillment in held:
        for part in fulfillment.lines:
            units[part.line_id] = units.get(part.line_id, 0) + part.reserved
    lines = [line for line in order.lines if units.get(line.line_id)]
    wants = [Want(line.line_id, line.sku, units[line.line_id]) for line in lines]
    data = orjson.loads(order.raw)
    with _as_if_free(turn.shard, market, held):
        request = Request(_as_promised(order, data), wants, turn.now_ms, turn.cause["type"])
        outcome = source(turn.shard, market, request)
        if outcome.strategy.name != strategy or _parts(held) == _legs(wants, outcome):
            return
        value, worth = _kept(turn.shard, market, request, outcome.strategy, held)
    if not _better(order, held, wants, value, worth, outcome):
        return
    for fulfillment in held:
        lines_held = [one.units(one.reserved) for one in fulfillment.lines if one.reserved]
        withdraw(turn, order, fulfillment, lines_held, "improved")
    turn.emit(
        {
            "type": "order_improved",
            **about(order),
            "replaced": [fulfillment.fulfillment_id for fulfillment in held],
            "before": [value, before],
            "after": [outcome.value, orjson.dumps(outcome.decision).decode()],
        }
    )
    turn.weight += IMPROVED_BYTES + 2 * len(before)
    carry_out(turn, order, lines, data, outcome, lacks(lines, outcome))


def _as_promised(order: Order, data: Plain) -> Plain:
    """The order as it is planned anew: what it was promised is what it asks for."""
    if order.promised_ms is None or "deliver_by" in data:
        return data
    return {**data, "deliver_by": rfc3339(order.promised_ms)}


def _kept(
    shard: Shard, market: Market, request: Request, strategy: Strategy, held: Sequence[Fulfillment]
) -> tuple[Value | None, int]:
    """What held legs are worth now, on their days; None where one can't be any more.

    As people read it, and as plans compare.
    """
    place = shard.places.locate(request.data.get("ship_to", {}))
    question = Question(shard, market, request, strategy, place)
    values: list[Value] = []
    objective = question.objective
    worth = question.extra_leg * (len(held) - 1)
    for fulfillment in held:
        node, day = shard.nodes[fulfillment.node_id], fulfillment.ship_day
        units = {line.line_id: line.reserved for line in fulfillment.lines}
        amounts = tuple(
            sum(units.get(request.wants[i].line_id, 0) for i in line.members)
            for line in question.lines
        )
        contents = question.contents(amounts)
        priced = None if day is None else question.zone.price(node.index, contents, day)
        if day is None or priced is None or not question.reach.open >> node.index & 1:
            return None, 0
        load = 0
        if question.schedule.limited >> node.index & 1:
            load = market.rules.load_price(load_percent(node, day))
        away_m, of_lines = question.reach.away[node.index], question.of_lines(amounts)
        minor = priced.minor + load
        values.append(objective.shown(node, away_m, minor, of_lines, request.now_ms))
        worth += objective.of_place(node, away_m, priced.minor, contents.units)
        worth += objective.of_today(node, away_m, load, of_lines, request.now_ms)
    return objective.of_plan(values, strategy.extra_leg_minor * (len(values) - 1)), worth


def _better(
    order: Order,
    held: Sequence[Fulfillment],
    wants: Sequence[Want],
    value: Value | None,
    worth: int,
    outcome: Outcome,
) -> bool:
    """Whether a plan gives as much, saves enough, and keeps the promise (or is as late at most).

    `value` and `worth`: what keeping is worth; None where it can't be kept.
    """
    if sum(sum(leg.units) for leg in outcome.legs) < sum(want.units for want in wants):
        return False
    if value is None:
        saves = True
    elif isinstance(value, int) and isinstance(outcome.value, int):
        saved, least = value - outcome.value, outcome.strategy.replan_saving_minor
        # where no carrier charges anything, the nearer of two plans that cost the same is better
        saves = saved > least or (saved == least == 0 and outcome.worth < worth)
    elif isinstance(value, list) and isinstance(outcome.value, list):
        saves = _ranks_better(outcome.strategy, value, outcome.value)
    else:
        return False
    latest_ms = max((one.deliver_by_ms or 0 for one in held), default=0)
    promised_ms = max(latest_ms, order.promised_ms or 0)
    return saves and all((leg.deliver_by_ms or 0) <= promised_ms for leg in outcome.legs)


def _ranks_better(strategy: Strategy, kept: Sequence[int], other: Sequence[int]) -> bool:
    """Whether a ranked plan is the better, and saves enough where money is among what ranks.

    Which nodes were used last has no say: those that hold the order were, by that alone.
    """
    names = [name for name, *_ in strategy.objective or ()]
    least = strategy.replan_saving_minor
    if least and "cost" in names:
        at = names.index("cost")
        if kept[at] - other[at] <= least:
            return False
    says = [i for i, name in enumerate(names) if name != "last_used"]
    return [other[i] for i in says] < [kept[i] for i in says]


def _parts(held: Sequence[Fulfillment]) -> list[Any]:
    """A held plan as it compares: nodes with their units, days and services."""
    return sorted(
        [
            one.node_id,
            sorted((line.line_id, line.reserved) for line in one.lines if line.reserved),
            None if one.ship_day is None else iso_day(one.ship_day),
        ]
        for one in held
    )


def _legs(wants: Sequence[Want], outcome: Outcome) -> list[Any]:
    return sorted(
        [
            leg.node_id,
            sorted((w.line_id, units) for w, units in zip(wants, leg.units, strict=True) if units),
            iso_day(leg.ship_day),
        ]
        for leg in outcome.legs
    )


@contextmanager
def _as_if_free(shard: Shard, market: Market, held: Sequence[Fulfillment]) -> Iterator[None]:
    """The state without these reservations, bookings and draws on pools, while it is looked at."""
    _shift(shard, market, held, -1)
    try:
        yield
    finally:
        _shift(shard, market, held, 1)


def _shift(shard: Shard, market: Market, held: Sequence[Fulfillment], sign: int) -> None:
    for fulfillment in held:
        node = shard.nodes[fulfillment.node_id]
        for line in fulfillment.lines:
            shard.bin(node, line.sku).reserve(sign * line.reserved)
            if node.offers:
                market.available[line.sku] -= sign * line.reserved
            for pool in line.drew_on:
                pool.taken += sign * line.reserved
        if fulfillment.ship_day in node.booked:  # emptied days stand: they are restored
            booked = node.booked[fulfillment.ship_day]
            booked[0] += sign
            booked[1] += sign * fulfillment.booked
            market.booked_changes.add(node.node_id)
