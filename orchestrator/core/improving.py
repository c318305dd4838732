"""Improving held plans: until a node is asked, what changed may make another plan the better one.

A held order is planned anew as if its held units were free, and the rest of the state as it is.
Nothing is decided where that isn't better, than keeping what is held is worth by now, by more than
the strategy's `replan_saving`. What can't be kept goes by another plan whatever that costs.
"""

from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, Final

import orjson

from events.decided import Line, Plain, Value
from orchestrator.core.config import MINUTE_MS
from orchestrator.core.orders import Fulfillment, Order
from orchestrator.core.placing import carry_out, lacks, request_of, told_service, withdraw
from orchestrator.core.shard import Market, Shard
from orchestrator.core.sourcing.plan import Outcome, Request, Want
from orchestrator.core.sourcing.planner import asked, source
from orchestrator.core.sourcing.question import Amounts, Question
from orchestrator.core.sourcing.strategies import Strategy
from orchestrator.core.sourcing.tables import Priced, load_percent
from orchestrator.core.turn import Turn, about
from schemas.times import iso_day

IMPROVED_BYTES = 3_000
LATE_MS: Final = MINUTE_MS
"""How long after its day's cut-off a node is still asked: deciding takes a moment."""
_Beside = dict[tuple[str, str], int]
"""Units of held legs that may stay together, by node and item."""


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
        call_for(turn, market, skus)


def call_for(turn: Turn, market: Market, skus: Iterable[str]) -> None:
    """Have those looked at that hold some of these items: of the first of them, then of all.

    `improve_skus` in an entry: it must stay small.
    """
    rows = [[sku, 0] for sku in skus if sku in market.held and market.improvable.get(sku) != 0]
    if not rows:
        return
    config = turn.shard.config
    event: Any = {
        "type": "improvement_due",
        "market_id": market.market_id,
        "skus": rows[: config.improve_skus],
        "done": [],
    }
    if not market.improvable:
        event["due_ms"] = turn.now_ms + config.improve_every_ms
    turn.emit(event)
    if len(rows) > config.improve_skus:
        turn.emit({"type": "work_queued", "work": ["improve", market.market_id]})


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


def look_again(turn: Turn, market: Market, order: Order, fulfillment: Fulfillment) -> None:
    """Before a node is asked: look at what changed since, or at another day where its own is over.

    The latter where the shard stood still.
    """
    if _is_over(fulfillment, turn.now_ms) or any(
        market.improvable.get(line.sku, order.number) < order.number for line in fulfillment.lines
    ):
        _improve(turn, market, order)


def _is_over(fulfillment: Fulfillment, now_ms: int) -> bool:
    """Whether the day is over that it was planned for."""
    return fulfillment.ship_by_ms is not None and fulfillment.ship_by_ms + LATE_MS < now_ms


def _improve(turn: Turn, market: Market, order: Order) -> None:
    held = list(order.held())
    data = orjson.loads(order.raw)
    request = _request(turn, order, held, data)
    strategies = dict.fromkeys([order.held_by[one.fulfillment_id][0] for one in held])
    with _as_if_free(turn.shard, market, held):
        outcome = source(turn.shard, market, request)
        if _parts(held) == _legs(request, outcome):
            return
        value: Value | None = None
        worth = 0
        comparable = list(strategies) == [outcome.strategy.name]  # else they weigh other things
        if comparable:
            value, worth = _kept(turn.shard, market, request, outcome.strategy, held)
        barred = [] if value is not None else _barred(turn.shard, market, request, held)
    if comparable and _better(order, held, request, value, worth, outcome):
        _replace(turn, order, held, request, data, value, outcome)
    elif barred:
        _move(turn, market, order, barred, data)


def _move(
    turn: Turn, market: Market, order: Order, barred: Sequence[Fulfillment], data: Plain
) -> None:
    """Have all that can't be any more go from elsewhere, else what others have of each part.

    The rest stays. By parts, since a plan for all that gives less may rest on units that stay.
    """
    request = _request(turn, order, barred, data)
    with _as_if_free(turn.shard, market, barred):
        outcome = source(turn.shard, market, request)
    if len(barred) == 1 or _gives_all(request, outcome):
        if outcome.legs:
            _replace(turn, order, barred, request, data, None, outcome)
    else:
        for one in barred:
            _move(turn, market, order, [one], data)


def _request(turn: Turn, order: Order, held: Sequence[Fulfillment], data: Plain) -> Request:
    """To have planned anew what these hold."""
    units: dict[str, int] = {}
    for fulfillment in held:
        for part in fulfillment.lines:
            units[part.line_id] = units.get(part.line_id, 0) + part.reserved
    wants = [
        Want(line.line_id, line.sku, units[line.line_id])
        for line in order.lines
        if units.get(line.line_id)
    ]
    return request_of(turn, order, wants, data)


def _replace(
    turn: Turn,
    order: Order,
    held: Sequence[Fulfillment],
    request: Request,
    data: Plain,
    value: Value | None,
    outcome: Outcome,
) -> None:
    """Have a plan take the place of as much as it gives of what is held, held no longer than that.

    `value`: what keeping would be worth; None where it can't be kept.
    """
    release_ms = min(one.release_ms for one in held)
    before = order.held_by[held[-1].fulfillment_id][1]
    given = {
        want.line_id: sum(leg.units[i] for leg in outcome.legs)
        for i, want in enumerate(request.wants)
    }
    replaced: list[str] = []
    for fulfillment in held:
        gives: list[Line] = []
        for part in fulfillment.lines:
            units = min(part.reserved, given.get(part.line_id, 0))
            if units:
                given[part.line_id] -= units
                gives.append(part.units(units))
        if gives:
            withdraw(turn, order, fulfillment, gives, "improved")
            replaced.append(fulfillment.fulfillment_id)
    turn.emit(
        {
            "type": "order_improved",
            **about(order),
            "replaced": replaced,
            "before": [value, before],
            "after": [outcome.value, orjson.dumps(outcome.decision).decode()],
        }
    )
    turn.weight += IMPROVED_BYTES + 2 * len(before)
    wanted = {want.line_id for want in request.wants}
    lines = [line for line in order.lines if line.line_id in wanted]
    carry_out(turn, order, lines, data, outcome, lacks(lines, outcome), release_ms)


def _barred(
    shard: Shard, market: Market, request: Request, held: Sequence[Fulfillment]
) -> list[Fulfillment]:
    """What none of the strategies that are asked for the order lets go as it was planned.

    What one passes over another may have planned, hence all of them.
    """
    place, strategies = asked(shard, market, request)
    left = list(held)
    beside: _Beside = {}
    for strategy in strategies:
        question = Question(shard, market, request, strategy, place)
        left = [one for one in left if _as_planned(shard, question, one, beside) is None]
    return left


def _as_planned(
    shard: Shard, question: Question, fulfillment: Fulfillment, beside: _Beside
) -> tuple[Amounts, Priced] | None:
    """A held leg at today's price, on its day; None where it can't be any more.

    A fence bars its node, its service takes it no longer, or its day is over. What can be is put
    beside: of two legs at a node both stay only where enough is fresh for both.
    """
    node, day = shard.nodes[fulfillment.node_id], fulfillment.ship_day
    index = node.index
    if day is None or _is_over(fulfillment, question.now_ms):
        return None
    units = {line.line_id: line.reserved for line in fulfillment.lines}
    amounts = question.amounts_by_line(units)
    for line, count in zip(question.lines, amounts, strict=True):
        together = count + beside.get((node.node_id, line.sku), 0)
        if count and not (line.open >> index & 1 and line.stays_fresh(node, together)):
            return None
    contents = question.contents(amounts)
    priced = question.zone.price(index, contents, day)
    if priced is None or (priced.days_late and question.strategy.fences.reach_promise):
        return None
    carrier, service, data = fulfillment.carrier, fulfillment.service, question.request.data
    # else by several services, by any, or by what the order asks for
    bound = None not in (carrier, service) and not ("carrier" in data and "service" in data)
    if bound and not question.zone.takes(index, contents, f"{carrier}/{service}"):
        return None
    for line, count in zip(question.lines, amounts, strict=True):
        key = (node.node_id, line.sku)
        beside[key] = beside.get(key, 0) + count
    return amounts, priced


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
    beside: _Beside = {}
    for fulfillment in held:
        node, day = shard.nodes[fulfillment.node_id], fulfillment.ship_day
        found = _as_planned(shard, question, fulfillment, beside)
        if day is None or found is None:
            return None, 0
        amounts, priced = found
        load = 0
        if question.schedule.limited >> node.index & 1:
            load = market.rules.load_price(load_percent(node, day))
        away_m, of_lines = question.reach.away[node.index], question.of_lines(amounts)
        units = question.contents(amounts).units
        values.append(objective.shown(node, away_m, priced.minor + load, of_lines, request.now_ms))
        worth += objective.of_place(node, away_m, priced.minor, units)
        worth += objective.of_today(node, away_m, load, of_lines, request.now_ms)
    return objective.of_plan(values, strategy.extra_leg_minor * (len(values) - 1)), worth


def _gives_all(request: Request, outcome: Outcome) -> bool:
    given = sum([sum(leg.units) for leg in outcome.legs])
    return given >= sum([want.units for want in request.wants])


def _better(
    order: Order,
    held: Sequence[Fulfillment],
    request: Request,
    value: Value | None,
    worth: int,
    outcome: Outcome,
) -> bool:
    """Whether a plan gives as much, saves enough, and keeps the promise (or is as late at most).

    Where nobody says when it arrives, it leaves no later. `value` and `worth`: what keeping is
    worth; None where it can't be kept.
    """
    if not _gives_all(request, outcome):
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
    leaves_ms = max((one.ship_by_ms or 0 for one in held), default=0)
    for leg in outcome.legs:
        arrives_ms = leg.deliver_by_ms
        if leg.ship_by_ms > leaves_ms if arrives_ms is None else arrives_ms > promised_ms:
            return False
    return saves


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
            [one.carrier or "", one.service or ""],
        ]
        for one in held
    )


def _legs(request: Request, outcome: Outcome) -> list[Any]:
    """The same of a plan."""
    return sorted(
        [
            leg.node_id,
            sorted(
                (want.line_id, units)
                for want, units in zip(request.wants, leg.units, strict=True)
                if units
            ),
            iso_day(leg.ship_day),
            [one or "" for one in told_service(leg, request.data)],
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
