"""The record of a decision: the table it was chosen from, small enough to keep with every plan."""

from collections.abc import Generator
from typing import Any, Final

from events.decided import (
    Choice,
    Decision,
    DecisionRow,
    DecisionSet,
    NodeRow,
    Rest,
    Split,
    Value,
)
from orchestrator.core.sourcing.question import Amounts, Evaluated, Line, Question, Whole
from orchestrator.core.sourcing.search import Answer, Offer, Plan
from orchestrator.core.sourcing.strategies import Strategy
from orchestrator.core.sourcing.tables import WIDE, Holders, Ranking, as_bytes, nodes_in, set_of

NAMED_NODES: Final = 64
"""Up to so many nodes are named one by one; of more, only their number is told."""
BARRED: Final = 10
"""Nodes shown that a fence or a shortage keeps from being cheaper, at the most."""
SINGLE_LINES: Final = 10
"""Of orders with more lines than the search solves exactly, no line is shown alone."""
NAMED: Final = 6
"""Nodes named that have units which a plan leaves out, at the most, by what keeps these there."""
UNUSED: Final = 5
"""Carrier services that are told not to go, at the most."""
CELLS: Final = 20_000
"""Lines times sets that are shown, at the most."""
_SHORT: Final = NodeRow._fields.index("short")
_FENCES: Final = NodeRow._fields.index("fences")
_FULL_DAY: Final = NodeRow._fields.index("full_day")
_USUAL: Final[list[Any]] = [None, None, None, None, None, None, None, 0, 1, [], []]
"""What a row ends with where it says no more."""


def explain(
    question: Question, answer: Answer, why: list[str], passed_over: list[list[str]]
) -> Decision:
    """Why the plan is what it is."""
    record = _recording(question, answer)
    record.fill()
    return _told(record, question, answer, why, passed_over)


def explain_in_steps(
    question: Question, answer: Answer, why: list[str], passed_over: list[list[str]]
) -> Generator[None, None, Decision]:
    """The same, giving way after each set of units that it shows."""
    record = _recording(question, answer)
    yield from record.fill_in_steps()
    return _told(record, question, answer, why, passed_over)


def _recording(question: Question, answer: Answer) -> "_Record":
    """A record of which it is known what it is to show."""
    record = _Record(question)
    lines = question.lines
    full = tuple([line.asked for line in lines])
    if any(full):
        record.add(full)
    for plan in (answer.best, answer.second):
        if plan is not None:
            for index, amounts in plan.legs:
                record.add(amounts, index)
    if 1 < len(lines) <= SINGLE_LINES:
        for i, line in enumerate(lines):
            if not line.asked:
                continue
            if line.asked == line.target:
                whole = question.whole(1 << i)
                record.add(question.amounts_of(whole), whole=whole)
            else:
                record.add(tuple([line.asked if i == j else 0 for j in range(len(lines))]))
    return record


def _told(
    record: "_Record",
    question: Question,
    answer: Answer,
    why: list[str],
    passed_over: list[list[str]],
) -> Decision:
    best, second = answer.best, answer.second
    lines = question.lines
    told: list[list[str | int | None]] = []
    wanted = 0
    for line in lines:
        line_id, sku, units = line.want
        told.append([line_id, sku, units, line.asked, line.atp])
        wanted += units
    decision = _form(question).copy()  # a dictionary that grows field by field moves thrice
    decision["trigger"] = question.request.trigger
    decision["at"] = question.now_ms
    decision["rule_set"] = question.market.rules.version
    decision["why"] = why
    decision["passed_over"] = passed_over
    decision["currency"] = question.market.currency
    decision["place"] = question.reach.place_told
    decision["promise"] = question.request.data.get("deliver_by")
    if question.request.promised:
        decision["own_promise"] = True
    if question.one_leg or question.all_or_nothing:
        split = decision["split"] = decision["split"].copy()
        if question.one_leg:
            split["one_leg"] = True
        if question.all_or_nothing:
            split["all_or_nothing"] = True
    if not answer.exact:
        decision["method"] = "best_found"
    decision["lines"] = told
    decision["sets"] = record.sets
    decision["chosen"] = record.choice(best)
    decision["runner_up"] = record.choice(second)
    decision["rest"] = record.rest()
    decision["decided_by"] = _decided_by(question, best, second)
    if best is not None and question.reach.rated:
        unused = record.unused(best)
        if unused:
            decision["unused"] = unused
    if answer.bound is not None:
        decision["bound"] = [answer.bound[0], question.objective.unpacked(answer.bound[1])]
    if question.strategy.leg_min_value_minor is not None:
        decision["worth"] = [line.worth_minor for line in lines]
    if best is None or best.units < wanted:
        decision["left_out"] = _left_out(question, best)
    return decision


def _form(question: Question) -> Decision:
    """What decisions on the question's terms say alike, and all their fields in order."""
    terms = question.terms
    if terms.told is None:
        terms.told = {
            "v": 2,
            "trigger": "",
            "at": 0,
            "rule_set": "",
            "strategy": question.strategy.name,
            "why": [],
            "passed_over": [],
            "price_version": 0,
            "currency": "",
            "objective": question.objective.names,
            "place": [],
            "promise": None,
            "service_level": terms.service_level,
            "split": _split(question.strategy),
            "method": "exact",
            "lines": [],
            "sets": [],
            "chosen": None,
            "runner_up": None,
            "rest": {"nodes": [], "fences": {}, "short": "0", "dearer": 0},
            "decided_by": "",
        }
    return terms.told


class _Set:
    """Units that are shown: where in the record, and the nodes that plans use with their rows."""

    __slots__ = ("offers", "place", "rows", "used", "whole")

    def __init__(self, whole: Whole | None) -> None:
        self.place = 0
        self.whole = whole  # where they are lines at their targets, and that is known
        self.offers: list[Offer] | None = None  # of others, where they are asked for already
        self.used: list[int] | None = None
        self.rows: list[DecisionRow] | None = None  # of those used

    def row_of(self, index: int) -> DecisionRow:
        """The row of a node that a plan uses."""
        if self.used is None or self.rows is None:
            message = "a leg was not among what is shown"
            raise AssertionError(message)
        return self.rows[self.used.index(index)]


class _Record:
    """Sets of units, and the nodes shown for each."""

    def __init__(self, question: Question) -> None:
        self._question = question
        self._nodes = len(question.nodes)
        self._sets: dict[Amounts, _Set] = {}
        self._shown: list[int] = []  # nodes that have a row
        self._rankings: list[Ranking] = []  # of the sets
        self._able = 0  # nodes that may ship one of the sets
        self._budget = BARRED
        self.sets: list[DecisionSet] = []

    def add(self, amounts: Amounts, index: int = -1, whole: Whole | None = None) -> None:
        """Show these units, and this node for them; each once. `whole`: the same, if at hand."""
        found = self._sets.get(amounts)
        if found is None:
            if index < 0 and (len(self._sets) + 1) * len(amounts) > CELLS:
                return
            found = self._sets[amounts] = _Set(whole)
        if index >= 0:
            if found.used is None:
                found.used = [index]
            elif index not in found.used:
                found.used.append(index)

    def fill(self) -> None:
        """Make the rows."""
        for amounts, shown in self._sets.items():
            self._fill(amounts, shown)

    def fill_in_steps(self) -> Generator[None, None, None]:
        """The same, giving way after each set; of a large one its price and who has it first."""
        question = self._question
        for amounts, shown in self._sets.items():
            if len(amounts) > SINGLE_LINES:
                whole = shown.whole = shown.whole or question.known_whole(amounts)
                if whole is not None:
                    question.ranking_of(whole)
                    yield
                    question.offers_for(whole, 2)  # which remembers them
                else:
                    question.zone.ranking(question.contents(amounts), question.tables)
                    yield
                    shown.offers = question.offers(amounts, 2)
                yield
            self._fill(amounts, shown)
            yield

    def _fill(self, amounts: Amounts, shown: _Set) -> None:
        shown.place = len(self.sets)
        told: DecisionSet = [list(amounts)]
        told += self._rows_of(amounts, shown)
        self.sets.append(told)

    def _rows_of(self, amounts: Amounts, shown_as: "_Set") -> list[DecisionRow]:
        question = self._question
        used, whole = shown_as.used, shown_as.whole
        if whole is None:
            whole = question.known_whole(amounts)
        if whole is None:
            offers, units = shown_as.offers, sum(amounts)
            if offers is None:
                offers = question.offers(amounts, 2)
            ranking = question.zone.ranking(question.contents(amounts), question.tables)
            able = question.qualified(amounts)
            there = as_bytes(able & ranking.able, self._nodes) if self._nodes > WIDE else b""
        else:
            offers, able, units = question.offers_for(whole, 2)[:2], whole.able, whole.units
            ranking, there = question.ranking_of(whole), whole.there
            if not there and self._nodes > WIDE:  # nobody is able
                there = bytes(self._nodes + 7 >> 3)
        self._rankings.append(ranking)
        closely = question.closely(units)
        if question.strategy.fences.reach_promise:  # where its first days are full
            late = question.too_late(able & ranking.able & closely, amounts)
            if late:
                able &= ~late
                there = as_bytes(able & ranking.able, self._nodes) if self._nodes > WIDE else b""
        self._able |= able & ranking.able
        shown = offers
        if used is not None:
            others = [
                (value, index)
                for index in used
                if all(index != other for _, other in offers)
                and (value := question.value(index, amounts)) is not None
            ]
            if others:
                shown = sorted(offers + others)
        rows: list[DecisionRow] = []
        for _, index in shown:
            known = question.shown(ranking, index, closely)
            if known is not None:
                row = known.row
            else:
                leg = question.evaluate(index, amounts)
                if leg is None:
                    message = f"{question.nodes[index].node_id} was offered and can't ship"
                    raise AssertionError(message)
                row = self._row(amounts, index, leg)
            self._shown.append(index)
            rows.append(row)
        if used is not None:
            indexes = [index for _, index in shown]
            shown_as.rows = [rows[indexes.index(index)] for index in used]
        if self._budget:
            self._bar(amounts, offers, ranking, able & ranking.able, closely, rows, there)
        return rows

    def _bar(
        self,
        amounts: Amounts,
        offers: list[tuple[int, int]],
        ranking: Ranking,
        able: int,
        closely: int,
        rows: list[DecisionRow],
        there: bytes,
    ) -> None:
        """Add what would be cheaper than the second, were it not kept out."""
        limit = offers[1][0] if len(offers) > 1 else None
        barred = -1  # not looked for yet: mostly nobody is that is so cheap
        kept_from = b""  # the same, where bytes are quicker
        parts: list[tuple[int, Line, int]] = []
        worths = ranking.worths
        for place, index in enumerate(ranking.head):
            worth = worths[place]
            if limit is not None and worth >= limit:
                return
            if there[index >> 3] >> (index & 7) & 1 if there else able >> index & 1:
                continue
            if barred < 0:
                parts, barred = self._kept_from(amounts, able)
                if there:
                    kept_from = as_bytes(barred, self._nodes)
            if kept_from[index >> 3] >> (index & 7) & 1 if there else barred >> index & 1:
                row = self._barred(ranking, amounts, parts, closely, worth, index, limit)
                if row is not None:
                    rows.append(row)
                    if not self._budget:
                        return
        if barred < 0:
            parts, barred = self._kept_from(amounts, able)
        for one in ranking.after_head(barred, limit):
            value, index = one // self._nodes, one % self._nodes
            if limit is not None and value >= limit:
                return
            row = self._barred(ranking, amounts, parts, closely, value, index, limit)
            if row is not None:
                rows.append(row)
                if not self._budget:
                    return

    def _kept_from(self, amounts: Amounts, able: int) -> tuple[list[tuple[int, Line, int]], int]:
        """The lines of a set: place, line, units; and the nodes that may be shown as barred."""
        question = self._question
        parts: list[tuple[int, Line, int]] = []
        for i, line in enumerate(question.lines):
            units = amounts[i]
            if units:
                parts.append((i, line, units))
        barred = question.tables.everyone ^ able  # they are some of all
        if len(parts) > 1:  # who has nothing of this says little: no one item would change that
            barred &= question.with_any(parts)
        return parts, barred

    def _barred(
        self,
        ranking: Ranking,
        amounts: Amounts,
        parts: list[tuple[int, Line, int]],
        closely: int,
        value: int,
        index: int,
        limit: int | None,
    ) -> DecisionRow | None:
        """A node that is kept out of a leg, where it would be cheaper."""
        question = self._question
        known = question.shown(ranking, index, closely)
        if known is not None:
            row, value_now = known.row, question.today(index, amounts, value)
            days_late = known.priced.days_late
        else:
            leg = question.evaluate(index, amounts)
            if leg is None:
                return None
            row, value_now = self._row(amounts, index, leg), leg.value
            days_late = leg.priced.days_late
        if limit is not None and value_now >= limit:
            return None
        fences, short = question.kept_out(index, parts, days_late=days_late)
        if not fences and not short:  # it has more of a line that goes in one piece
            return None
        self._shown.append(index)
        self._budget -= 1
        barred = row + _USUAL[len(row) :]
        barred[_SHORT], barred[_FENCES] = short, fences
        if not fences and len(barred) == _FULL_DAY:
            barred.pop()
        return barred

    def _row(self, amounts: Amounts, index: int, leg: Evaluated) -> DecisionRow:
        question = self._question
        value: Value = leg.minor
        if question.strategy.objective is not None:
            value = question.objective.shown(
                question.nodes[index],
                question.reach.away[index],
                leg.minor,
                question.of_lines(amounts),
                question.now_ms,
            )
        row = question.row_of(index, leg.priced, leg.load_minor, value)
        if leg.full_day is not None:
            row += _USUAL[len(row) :]
            row.append(leg.full_day)
        return row

    def choice(self, plan: Plan | None) -> Choice | None:
        """A plan as rows of the table, and what it comes to."""
        if plan is None:
            return None
        question = self._question
        if len(plan.legs) == 1:
            index, amounts = plan.legs[0]
            shown = self._sets[amounts]
            row = shown.row_of(index)
            return {"legs": [(shown.place, row[0])], "units": plan.units, "value": row[1]}
        legs: list[tuple[int, str]] = []
        total: Value | None = None
        for index, amounts in plan.legs:
            shown = self._sets[amounts]
            row = shown.row_of(index)
            legs.append((shown.place, row[0]))
            if total is None:
                total = row[1]
            elif isinstance(total, int):
                total += row[1]
            else:
                total = [a + b for a, b in zip(total, row[1], strict=True)]
        extra = question.strategy.extra_leg_minor * (len(legs) - 1)
        if extra and total is not None:
            total = question.objective.with_extra(total, extra)
        return {"legs": legs, "units": plan.units, "value": 0 if total is None else total}

    def unused(self, plan: Plan) -> list[list[str]]:
        """Services that a plan's legs could not go by: their key, why, the first such node."""
        question = self._question
        found: dict[str, list[str]] = {}
        for index, amounts in plan.legs:
            ranking = self._rankings[self._sets[amounts].place]
            for key, why in question.zone.unused(index, ranking):
                if key not in found:
                    found[key] = [key, why, question.nodes[index].node_id]
        return list(found.values())[:UNUSED]

    def _tell_apart(self, bits: int, told: dict[str, int]) -> int:
        """What keeps open nodes, which have some units, from every set that is shown.

        Into `told` by fence; returned: those with too few units for any of the sets.
        """
        question = self._question
        suppressed = incapable = free = whole = late = unpriced = 0
        for line in question.lines:
            if line.asked and line.holders is not None:
                there = bits & line.holders.bits(1)
                suppressed |= there & line.suppressed
                incapable |= there & ~line.stocked.capable
                free |= there & line.open
        for (amounts, _), ranking in zip(self._sets.items(), self._rankings, strict=True):
            there = bits
            ready = bits  # and no fence keeps a line from them
            for line, units in zip(question.lines, amounts, strict=True):
                if units:
                    there &= 0 if line.holders is None else line.holders.bits(units)
                    ready &= there & line.open
            whole |= there
            for index in nodes_in(ready & ~ranking.able):
                if ranking.value_of(index) >= 0:
                    late |= 1 << index
                else:
                    unpriced |= 1 << index
            if question.strategy.fences.reach_promise:
                closely = question.closely(sum(amounts))
                late |= question.too_late(ready & ranking.able & closely, amounts)
        unpriced &= ~late
        for code, nodes in (
            ("suppressed", suppressed),
            ("requires", incapable),
            ("no_rate", unpriced),
            ("reach_promise", late),
        ):
            if nodes:
                told[code] = told.get(code, 0) | nodes
        return bits & free & ~whole

    def rest(self) -> Rest:
        """The nodes without a row, by what kept them out."""
        question = self._question
        left = question.tables.everyone ^ set_of(self._shown)
        has_some = few = 0
        suppressed = incapable = left
        for line in question.lines:
            if line.asked and line.holders is not None:
                has_some |= line.holders.bits(1)
            suppressed &= line.suppressed
            incapable &= ~line.stocked.capable
        told = {code: bits & left for code, bits in question.reach.bars.items() if bits & left}
        if suppressed:
            told["suppressed"] = suppressed
        if incapable:
            told["requires"] = incapable
        dearer = left & has_some
        short = left ^ dearer
        dearer &= question.reach.open
        if suppressed or incapable:
            dearer &= ~(suppressed | incapable)
        unable = dearer & ~self._able
        if unable:
            few = self._tell_apart(unable, told)
            dearer &= ~few
            for code in ("suppressed", "requires", "no_rate", "reach_promise"):
                dearer &= ~told.get(code, 0)
        if len(question.nodes) > NAMED_NODES:
            counted: Rest = {
                "nodes": [],
                "fences": {code: bits.bit_count() for code, bits in told.items()},
                "short": short.bit_count(),
                "dearer": dearer.bit_count(),
            }
            if few:
                counted["few"] = few.bit_count()
            return counted
        kept_out = short | few
        for bits in told.values():
            kept_out |= bits
        if not kept_out:  # the most frequent case
            return {"nodes": [], "fences": {}, "short": "0", "dearer": dearer.bit_count()}
        indexes = nodes_in(kept_out)
        named: Rest = {
            "nodes": [question.nodes[index].node_id for index in indexes],
            "fences": {code: _bitmap(bits, indexes) for code, bits in told.items()},
            "short": _bitmap(short, indexes),
            "dearer": dearer.bit_count(),
        }
        if few:
            named["few"] = _bitmap(few, indexes)
        return named


def _left_out(question: Question, plan: Plan | None) -> list[list[Any]]:
    """What a plan leaves out, by line: units, the ids that they have, and why: `Decision`."""
    legs = () if plan is None else plan.legs
    wants = question.request.wants
    found: list[list[Any]] = []
    for i, line in enumerate(question.lines):
        given = sum([amounts[i] for _, amounts in legs])
        if given < line.units:
            ids = [wants[member].line_id for member in line.members]
            why: list[list[Any]] = []
            if line.asked < line.units:
                why.append(["channel", 0, []])
            if given < line.asked and line.holders is not None:
                why += _kept(question, line, line.holders, [(n, of[i]) for n, of in legs])
            found.append([i, line.units - given, ids, why])
    return found


def _kept(
    question: Question, line: Line, holders: Holders, taken: list[tuple[int, int]]
) -> list[list[Any]]:
    """Why units of a line stay at nodes: what keeps them there, how many nodes, and the first.

    `taken`: nodes of the plan, and the units that they give.
    """
    nodes = question.nodes
    there = holders.bits(1)
    given = 0
    for index, units in taken:
        given += units
        if units and units >= holders.free(nodes[index]):
            there &= ~(1 << index)
    if not there:
        stays = question.market.available.get(line.sku, 0) > given
        return [["kept", 0, []]] if stays else []
    barred = {
        **question.reach.bars,
        "requires": ~line.stocked.capable,
        "suppressed": line.suppressed,
    }
    told = {code: bits & there for code, bits in barred.items() if bits & there}
    ready = there & line.open
    if ready:
        able, late = question.alone_from(line)
        for code, bits in (
            ("no_rate", ready & ~(able | late)),
            ("reach_promise", ready & late),
            ("split", ready & able),
        ):
            if bits:
                told[code] = told.get(code, 0) | bits
    few = len(question.lines) <= SINGLE_LINES
    why: list[list[Any]] = []
    for code, bits in told.items():
        named = nodes_in(bits)
        first = [nodes[index].node_id for index in named[:NAMED]] if few else []
        why.append([code, len(named), first])
    return why


def _bitmap(bits: int, indexes: list[int]) -> str:
    """Hex; bit i says whether `bits` has the i-th of the indexes."""
    packed = 0
    for place, index in enumerate(indexes):
        if bits >> index & 1:
            packed |= 1 << place
    return f"{packed:x}"


def _split(strategy: Strategy) -> Split:
    """How a strategy's orders may be divided."""
    split: Split = {"quantity": strategy.quantity}
    if strategy.max_legs is not None:
        split["max_legs"] = strategy.max_legs
    if strategy.leg_min_value_minor is not None:
        split["leg_min_value"] = strategy.leg_min_value_minor
    if strategy.leg_min_units is not None:
        split["leg_min_units"] = strategy.leg_min_units
    if strategy.extra_leg_minor:
        split["extra_leg"] = strategy.extra_leg_minor
    return split


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
