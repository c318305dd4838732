"""The record of a decision: the table it was chosen from, small enough to keep with every plan."""

from functools import lru_cache
from typing import Final

from events.decided import (
    COMPONENTS,
    Choice,
    Decision,
    DecisionRow,
    DecisionSet,
    Rest,
    Split,
    Value,
)
from orchestrator.core.sourcing.calendars import iso_day
from orchestrator.core.sourcing.question import Amounts, Evaluated, Question
from orchestrator.core.sourcing.search import Answer, Plan
from orchestrator.core.sourcing.tables import nodes_in

NAMED_NODES: Final = 64
"""Up to so many nodes are named one by one; of more, only their number is told."""
BARRED: Final = 10
"""Nodes shown that a fence or a shortage keeps from being cheaper, at the most."""
SINGLE_LINES: Final = 10
"""Of orders with more lines than the search solves exactly, no line is shown alone."""
CELLS: Final = 20_000
"""Lines times sets that are shown, at the most."""
_COSTS: Final = len(COMPONENTS)

_day = lru_cache(maxsize=512)(iso_day)


def explain(
    question: Question, answer: Answer, why: list[str], passed_over: list[list[str]]
) -> Decision:
    """Why the plan is what it is."""
    record = _Record(question)
    best, second = answer.best, answer.second
    lines = question.lines
    full = tuple([line.asked for line in lines])
    if any(full):
        record.add(full)
    for plan in (best, second):
        if plan is not None:
            for index, amounts in plan.legs:
                record.add(amounts, index)
    if 1 < len(lines) <= SINGLE_LINES:
        for i, line in enumerate(lines):
            if not line.asked:
                continue
            if line.asked == line.target:
                record.add(question.whole(1 << i).amounts)
            else:
                record.add(tuple([line.asked if i == j else 0 for j in range(len(lines))]))
    record.fill()
    strategy = question.strategy
    data = question.request.data
    decision: Decision = {
        "v": 2,
        "trigger": question.request.trigger,
        "at": question.now_ms,
        "rule_set": question.market.rules.version,
        "strategy": strategy.name,
        "why": why,
        "passed_over": passed_over,
        "price_version": 0,
        "currency": question.market.currency,
        "objective": question.objective.names,
        "place": _place(question),
        "promise": data.get("deliver_by"),
        "service_level": question.terms.service_level,
        "split": _split(question),
        "method": "exact" if answer.exact else "best_found",
        "lines": [
            [line.want.line_id, line.want.sku, line.want.units, line.asked, line.atp]
            for line in lines
        ],
        "sets": record.sets,
        "chosen": record.choice(best),
        "runner_up": record.choice(second),
        "rest": record.rest(),
        "decided_by": _decided_by(question, best, second),
    }
    if answer.bound is not None:
        decision["bound"] = [answer.bound[0], question.objective.unpacked(answer.bound[1])]
    if strategy.leg_min_value_minor is not None:
        decision["worth"] = [line.worth_minor for line in lines]
    return decision


class _Record:
    """Sets of units, and the nodes shown for each."""

    def __init__(self, question: Question) -> None:
        self._question = question
        self._used: dict[Amounts, list[int]] = {}  # with the nodes that plans use
        self._rows: dict[tuple[Amounts, int], DecisionRow] = {}
        self._shown = 0  # nodes that have a row
        self._budget = BARRED
        self.sets: list[DecisionSet] = []
        self._places: dict[Amounts, int] = {}

    def add(self, amounts: Amounts, index: int | None = None) -> None:
        """Show these units, and this node for them; each once."""
        used = self._used.get(amounts)
        if used is None:
            if index is None and (len(self._used) + 1) * len(amounts) > CELLS:
                return
            used = self._used[amounts] = []
        if index is not None and index not in used:
            used.append(index)

    def fill(self) -> None:
        """Make the rows."""
        for amounts, used in self._used.items():
            self._places[amounts] = len(self.sets)
            self.sets.append([list(amounts), *self._rows_of(amounts, used)])

    def _rows_of(self, amounts: Amounts, used: list[int]) -> list[DecisionRow]:
        question = self._question
        offers = question.offers(amounts, 2)
        shown = offers
        if used:
            others = [
                (value, index)
                for index in used
                if all(index != other for _, other in offers)
                and (value := question.value(index, amounts)) is not None
            ]
            if others:
                shown = sorted(offers + others)
        rows = [self._open_row(amounts, index) for _, index in shown]
        if self._budget:
            self._bar(amounts, offers, rows)
        return rows

    def _bar(
        self, amounts: Amounts, offers: list[tuple[int, int]], rows: list[DecisionRow]
    ) -> None:
        """Add what would be cheaper than the second, were it not kept out."""
        question = self._question
        limit = offers[1][0] if len(offers) > 1 else None
        ranking = question.ranking_for(amounts)
        able = question.qualified(amounts) & ranking.able
        for value, index, bit in ranking.head:
            if limit is not None and value >= limit:
                return
            if not able & bit and self._add_barred(amounts, index, limit, rows):
                return
        values = ranking.values
        for index in ranking.order[len(ranking.head) :]:
            if limit is not None and values[index] >= limit:
                return
            if not able >> index & 1 and self._add_barred(amounts, index, limit, rows):
                return

    def _add_barred(
        self, amounts: Amounts, index: int, limit: int | None, rows: list[DecisionRow]
    ) -> bool:
        """Show it where it would be cheaper; whether it was the last that may be shown."""
        question = self._question
        leg = question.evaluate(index, amounts)
        if leg is not None and (limit is None or leg.value < limit):
            fences, short = question.kept_out(index, amounts, leg)
            lines = sum(map(bool, amounts))
            if lines > 1 and sum(lack >= amounts[i] for i, lack in short) == lines:
                return False  # it has nothing of this, and no one item would change that
            rows.append(self._row(amounts, index, leg, fences, short))
            self._budget -= 1
        return not self._budget

    def _open_row(self, amounts: Amounts, index: int) -> DecisionRow:
        """A node that may ship it; remembered where neither load nor stock has a say."""
        question = self._question
        day = question.schedule.first[index]
        easy = (
            day is not None
            and question.strategy.objective is None
            and not question.schedule.limited >> index & 1
        )
        if not easy or day is None:
            leg = question.evaluate(index, amounts)
            if leg is None:
                message = f"{question.nodes[index].node_id} was offered and can't ship"
                raise AssertionError(message)
            return self._row(amounts, index, leg, [], [])
        known = question.ranking_for(amounts).rows
        row = known.get((index, day))
        if row is None:
            leg = question.evaluate(index, amounts)
            if leg is None:
                message = f"{question.nodes[index].node_id} was offered and can't ship"
                raise AssertionError(message)
            row = known[index, day] = self._row(amounts, index, leg, [], [])
            return row
        self._shown |= 1 << index
        self._rows[amounts, index] = row
        return row

    def _row(
        self,
        amounts: Amounts,
        index: int,
        leg: Evaluated,
        fences: list[str],
        short: list[list[int]],
    ) -> DecisionRow:
        question, priced = self._question, leg.priced
        node = question.nodes[index]
        self._shown |= 1 << index
        value: Value = leg.minor
        if question.strategy.objective is not None:
            value = question.objective.shown(
                node,
                question.zone.away[index],
                leg.minor,
                question.of_lines(amounts),
                question.now_ms,
            )
        components = [priced.transport, priced.handling, priced.per_unit, priced.late]
        components += [leg.load_minor]  # and a price of the unit there, once there are such
        while components and not components[-1]:
            components.pop()
        row: DecisionRow = [
            node.node_id,
            value,
            components,
            question.zone.metres[index],
            _day(priced.ship_day),
            None if priced.deliver_day is None else _day(priced.deliver_day),
            priced.days_late,
            None if priced.service is None else priced.service.key,
            priced.parcels,
            fences,
            short,
        ]
        if leg.full_day is not None:
            row.append(_day(leg.full_day))
        self._rows[amounts, index] = row
        return row

    def choice(self, plan: Plan | None) -> Choice | None:
        """A plan as rows of the table, and what it comes to."""
        if plan is None:
            return None
        question = self._question
        legs: list[tuple[int, str]] = []
        total: Value | None = None
        components = [0] * _COSTS
        for index, amounts in plan.legs:
            row = self._rows[amounts, index]
            legs.append((self._places[amounts], row[0]))
            for i, minor in enumerate(row[2]):
                components[i] += minor
            if total is None:
                total = row[1]
            elif isinstance(total, int):
                total += row[1]
            else:
                total = [a + b for a, b in zip(total, row[1], strict=True)]
        extra = question.strategy.extra_leg_minor * (len(legs) - 1)
        if extra and total is not None:
            total = question.objective.with_extra(total, extra)
        return {
            "legs": legs,
            "units": plan.units,
            "value": 0 if total is None else total,
            "components": [*components, extra],
        }

    def rest(self) -> Rest:
        """The nodes without a row, by what kept them out."""
        question = self._question
        left = ((1 << len(question.nodes)) - 1) & ~self._shown
        has_some = 0
        suppressed = incapable = left
        for line in question.lines:
            if line.holders is not None:
                has_some |= line.holders.bits(1)
            suppressed &= line.suppressed
            incapable &= ~line.stocked.capable
        told = {code: bits & left for code, bits in question.zone.bars.items() if bits & left}
        if suppressed:
            told["suppressed"] = suppressed
        if incapable:
            told["requires"] = incapable
        short = left & ~has_some
        dearer = left & has_some & question.zone.open & ~suppressed & ~incapable
        if len(question.nodes) > NAMED_NODES:
            return {
                "nodes": [],
                "fences": {code: bits.bit_count() for code, bits in told.items()},
                "short": short.bit_count(),
                "dearer": dearer.bit_count(),
            }
        kept_out = short
        for bits in told.values():
            kept_out |= bits
        indexes = list(nodes_in(kept_out))
        return {
            "nodes": [question.nodes[index].node_id for index in indexes],
            "fences": {code: _bitmap(bits, indexes) for code, bits in told.items()},
            "short": _bitmap(short, indexes),
            "dearer": dearer.bit_count(),
        }


def _bitmap(bits: int, indexes: list[int]) -> str:
    """Hex; bit i says whether `bits` has the i-th of the indexes."""
    packed = 0
    for place, index in enumerate(indexes):
        if bits >> index & 1:
            packed |= 1 << place
    return f"{packed:x}"


def _split(question: Question) -> Split:
    strategy = question.strategy
    split: Split = {"quantity": strategy.quantity}
    if strategy.max_legs is not None:
        split["max_legs"] = strategy.max_legs
    if strategy.leg_min_value_minor is not None:
        split["leg_min_value"] = strategy.leg_min_value_minor
    if strategy.leg_min_units is not None:
        split["leg_min_units"] = strategy.leg_min_units
    if strategy.extra_leg_minor:
        split["extra_leg"] = strategy.extra_leg_minor
    if question.one_leg:
        split["one_leg"] = True
    if question.all_or_nothing:
        split["all_or_nothing"] = True
    return split


def _place(question: Question) -> list[str]:
    place = question.place
    how, _, prefix = place.how.partition(":")
    match how:
        case "postal_code":
            code = place.postal_code
        case "prefix":
            code = prefix
        case "region":
            code = place.region
        case _:
            code = None
    return [one for one in (how, place.country, code) if one]


def _decided_by(question: Question, best: Plan | None, second: Plan | None) -> str:
    """The first aim in which the chosen plan beats the next."""
    if best is None:
        some = any(line.holders is not None and line.holders.bits(1) for line in question.lines)
        if some and question.one_leg:
            return "ship_complete"
        return "all_or_nothing" if some and question.all_or_nothing else "no_candidate"
    if second is None:
        return "only_candidate"
    if best.units != second.units:
        return "most_units"
    if best.value != second.value:
        return "value"
    return "fewest_legs" if len(best.legs) < len(second.legs) else "node_id"
