"""One request under one strategy: what each line may get and from where, what legs are worth.

Fences look at one (node, line) each and come first; availability caps what a line may get; then the
exact search finds the two best plans, all from `tables`.
"""

from bisect import insort
from collections.abc import Sequence
from typing import Final, NamedTuple

from events.decided import Plain
from orchestrator.core.shard import Market, Node, Shard
from orchestrator.core.sourcing import availability
from orchestrator.core.sourcing.calendars import day_number, zone
from orchestrator.core.sourcing.parcels import NOTHING, Content, Limits, Parcel, cut
from orchestrator.core.sourcing.places import Place
from orchestrator.core.sourcing.plan import Leg, Request, Want
from orchestrator.core.sourcing.search import (
    ANY,
    ONE,
    WHOLE,
    Answer,
    Offer,
    Plan,
    Problem,
    best_two,
)
from orchestrator.core.sourcing.strategies import Strategy
from orchestrator.core.sourcing.tables import (
    TIGHT_UNITS,
    Contents,
    Holders,
    Priced,
    Terms,
    has_room,
    load_percent,
    nodes_in,
    tables_of,
)
from schemas.times import instant_ms

DAYS_AHEAD: Final = 400
"""How far ahead a day with room is looked for."""
_DAY_TEXT: Final = len("2026-11-22")
_HEAVIEST: Final = 1 << 60  # stands for whatever is beyond a scale's last step
_SPARSE: Final = 8  # fewer than one node of so many: they are looked up one by one

Amounts = tuple[int, ...]
"""Units of each line in a leg."""


class Line:
    """A wanted item: what the order may get of it, and who may ship it."""

    __slots__ = (
        "able",
        "asked",
        "atp",
        "content",
        "holders",
        "mode",
        "open",
        "requires",
        "suppressed",
        "target",
        "want",
        "worth_minor",
    )

    def __init__(self, want: Want, content: Content, requires: Sequence[str]) -> None:
        self.want = want
        self.content = content
        self.requires = requires  # capabilities, in the item's order
        self.worth_minor = 0  # a unit, where legs must have a least value
        self.holders: Holders | None = None
        self.atp: int | None = None  # what the channel may promise, where that is limited
        self.target = want.units
        self.asked = want.units  # the target, did no fence take units away
        self.mode = WHOLE
        self.suppressed = 0  # nodes that are not asked for it now
        self.open = 0  # nodes that no fence keeps from shipping it
        self.able = 0  # those of them that have all of it


class Evaluated(NamedTuple):
    """A leg as it would be."""

    value: int
    priced: Priced
    load_minor: int
    full_day: int | None  # its first day, where that had no room

    @property
    def minor(self) -> int:
        """What it costs."""
        return self.priced.minor + self.load_minor


class Question:
    """One request under one strategy."""

    __slots__ = (
        "_amounts",
        "_contents",
        "_limits",
        "_members",
        "_plain",
        "all_or_nothing",
        "days",
        "lines",
        "market",
        "nodes",
        "now_ms",
        "objective",
        "one_leg",
        "place",
        "request",
        "schedule",
        "strategy",
        "tables",
        "terms",
        "zone",
    )

    def __init__(
        self, shard: Shard, market: Market, request: Request, strategy: Strategy, place: Place
    ) -> None:
        data = request.data
        self.market = market
        self.days = zone(market.time_zone)
        self.request = request
        self.strategy = strategy
        self.place = place
        self.now_ms = request.now_ms
        self.nodes = market.node_list
        self.tables = tables = tables_of(market)
        self.objective = tables.objective(strategy)
        self.schedule = tables.schedule(self.now_ms, self._day(data.get("ship_not_before")))
        level = data.get("service_level", "standard")
        self.terms = Terms(
            strategy,
            level,
            data.get("carrier"),
            data.get("service"),
            self._day(data.get("deliver_by")),
            self._day(data.get("ship_by")),
            market.rules.late_per_day(level),
        )
        self.zone = tables.zone(place, self.terms, self.schedule)
        self._limits = Limits(
            strategy.parcel_max_g, strategy.parcel_max_ml, tuple(strategy.parcel_apart)
        )
        self._contents: dict[Amounts, Contents] = {}
        self._amounts: dict[int, Amounts] = {}
        # whether the day's load and today's stock leave the rankings' values as they are
        self._plain = not self.schedule.limited and not self.objective.stock_says
        self.one_leg = not data.get("allow_split", True)
        self.all_or_nothing = not data.get("allow_partial", True)
        # lines of one item draw on the same units: they are planned as one
        self._members: dict[str, list[int]] = {}
        for i, want in enumerate(request.wants):
            self._members.setdefault(want.sku, []).append(i)
        placed = {line["line_id"]: line for line in data["lines"]}
        self.lines = [
            self._line(shard.items[sku], members, placed) for sku, members in self._members.items()
        ]

    def _day(self, text: str | None) -> int | None:
        """The day that a time or a date of the order means, in the market's zone."""
        if text is None:
            return None
        if len(text) == _DAY_TEXT:
            return day_number(text)
        return self.days.day_of(instant_ms(text))

    # what each line may get, and from where

    def _line(self, item: Plain, members: list[int], placed: dict[str, Plain]) -> Line:
        wants = self.request.wants
        first = wants[members[0]]
        units = first.units if len(members) == 1 else sum(wants[i].units for i in members)
        requires = item.get("requires")
        labels = frozenset(requires) if requires else NOTHING
        category = item.get("category")
        content = Content(
            item.get("weight_g", 0),
            item.get("volume_ml", 0),
            first.sku,
            first.line_id,
            units,
            labels if category is None else labels | {category},
            labels,
        )
        line = Line(Want(first.line_id, first.sku, units), content, requires or ())
        strategy, tables = self.strategy, self.tables
        if strategy.leg_min_value_minor is not None:
            worth = placed.get(first.line_id, {}).get("unit_price_minor")
            line.worth_minor = (item.get("value_minor") or 0) if worth is None else worth
        line.atp = availability.promisable(
            self.market, item, self.request.data["channel"], strategy, self.now_ms
        )
        if line.atp is not None and line.atp < units:
            line.target = line.asked = line.atp
        line.suppressed = tables.suppressed(first.sku, self.now_ms)
        line.open = self.zone.open & tables.capable(line.requires) & ~line.suppressed
        line.holders = holders = tables.holders(strategy, item, self._fresh_from())
        if holders is None:
            line.target = 0
        elif line.target:
            self._find_mode(line, holders)
        return line

    def _fresh_from(self) -> int | None:
        """The day that units must live to, if any."""
        days = self.strategy.fences.min_shelf_days
        return None if days is None else self.days.day_of(self.now_ms) + days

    def _find_mode(self, line: Line, holders: Holders) -> None:
        """How the line may be divided: only where no node has all of it, by the default."""
        line.able = holders.bits(line.target) & line.open
        if line.able and self.strategy.quantity != "always":
            alone = self.contents_of([(line.content, line.target)])
            line.able &= self.zone.ranking(alone).able
            if line.able:
                return
        if self.strategy.quantity == "never":
            line.mode = ONE
            return
        line.mode = ANY
        free = sum(holders.free(self.nodes[i]) for i in nodes_in(holders.bits(1) & line.open))
        if not (self.one_leg or self.all_or_nothing):
            line.target = min(line.target, free)
        line.able = holders.bits(line.target) & line.open if line.target else 0

    # what legs are worth

    def contents_of(self, units: Sequence[tuple[Content, int]]) -> Contents:
        """A leg's contents as prices ask: weights and units only as far as they matter."""
        weight_g = volume_ml = total = 0
        requires = NOTHING
        for content, count in units:
            weight_g += content.weight_g * count
            volume_ml += content.volume_ml * count
            total += count
            if content.requires:
                requires |= content.requires
        limits = self._limits
        if (
            (limits.max_g is None or weight_g <= limits.max_g)
            and (limits.max_ml is None or volume_ml <= limits.max_ml)
            and not limits.apart
        ):
            parcels: tuple[Parcel, ...] = (self._class(weight_g, volume_ml, total, requires, 1),)
        else:
            cut_up = cut([one._replace(units=count) for one, count in units], limits)
            parcels = tuple(map(self._class_of, cut_up))
        by_units = self.tables.units_matter or self.objective.by_units
        return Contents(total if by_units else 0, parcels)

    def _class_of(self, parcel: Parcel) -> Parcel:
        return self._class(*parcel)

    def _class(
        self, weight_g: int, volume_ml: int, units: int, requires: frozenset[str], copies: int
    ) -> Parcel:
        tables = self.tables
        step_g = tables.scale.step_g(weight_g)
        return Parcel(
            _HEAVIEST if step_g < 0 else step_g,
            volume_ml if tables.volume_matters else 0,
            units if tables.units_matter else 0,
            requires,
            copies,
        )

    def contents(self, amounts: Amounts) -> Contents:
        """What prices ask of these units of the lines."""
        found = self._contents.get(amounts)
        if found is None:
            found = self._contents[amounts] = self.contents_of(
                [
                    (line.content, units)
                    for line, units in zip(self.lines, amounts, strict=True)
                    if units
                ]
            )
        return found

    def evaluate(self, index: int, amounts: Amounts) -> Evaluated | None:
        """The leg on the first day with room for it; None where no service takes it, ever."""
        node = self.nodes[index]
        day = first = self.schedule.first[index]
        contents = self.contents(amounts)
        load = 0
        if self.schedule.limited >> index & 1 and first is not None:
            day = day_with_room(node, first, sum(amounts))
            if day is not None:
                load = self.market.rules.load_price(load_percent(node, day))
        if day is None or first is None:
            return None
        priced = self.zone.price(index, contents, day)
        if priced is None:
            return None
        objective = self.objective
        value = objective.of_place(node, self.zone.away[index], priced.minor, contents.units)
        if load or objective.stock_says:
            value += objective.of_today(node, load, self.of_lines(amounts), self.now_ms)
        return Evaluated(value, priced, load, None if day == first else first)

    def of_lines(self, amounts: Amounts) -> list[tuple[str, int]]:
        """Item and units of the lines in a leg."""
        return [
            (line.want.sku, units) for line, units in zip(self.lines, amounts, strict=True) if units
        ]

    def value(self, index: int, amounts: Amounts) -> int | None:
        """What a leg is worth; None where it can't be, or not in time where it must."""
        found = self.evaluate(index, amounts)
        if found is None or (found.priced.days_late and self.strategy.fences.reach_promise):
            return None
        return found.value

    def qualified(self, amounts: Amounts) -> int:
        """The nodes that no fence keeps from shipping all these units, and that have them."""
        bits = -1
        for line, units in zip(self.lines, amounts, strict=True):
            if units:
                if line.mode == WHOLE and units == line.target:
                    bits &= line.able
                elif line.holders is not None:
                    bits &= line.holders.bits(units) & line.open
                    if line.mode == ONE and units < line.target:
                        bits &= ~line.holders.bits(units + 1)
                else:
                    return 0
        return bits

    def kept_out(
        self, index: int, amounts: Amounts, leg: Evaluated
    ) -> tuple[list[str], list[list[int]]]:
        """All that keeps a node from a leg: fences, and [line, units short]."""
        node = self.nodes[index]
        fences = [code for code, bits in self.zone.bars.items() if bits >> index & 1]
        short = []
        incapable = suppressed = stale = False
        for i, (line, units) in enumerate(zip(self.lines, amounts, strict=True)):
            if not units:
                continue
            incapable |= not self.tables.capable(line.requires) >> index & 1
            suppressed |= bool(line.suppressed >> index & 1)
            holders = line.holders
            free = 0 if holders is None else holders.free(node)
            if free < units:
                if holders is not None and holders.free_of_any_age(node) >= units:
                    stale = True
                else:
                    short.append([i, units if holders is None else holders.lacking(node, units)])
        if incapable:
            fences.append("requires")
        if suppressed:
            fences.append("suppressed")
        if stale:
            fences.append("min_shelf_days")
        if leg.priced.days_late and self.strategy.fences.reach_promise:
            fences.append("reach_promise")
        return fences, short

    def cheapest(self, bits: int, amounts: Amounts, count: int) -> list[Offer]:
        """The least (value, node) of these nodes, sorted, `count` at the most."""
        contents = self.contents(amounts)
        few = bits.bit_count() * _SPARSE < len(self.nodes)
        ranking = self.zone.known(contents) if few else self.zone.ranking(contents)
        schedule = self.schedule
        found: list[Offer] = []
        if ranking is None:
            closely = bits
        else:
            bits &= ranking.able
            closely = bits & (schedule.tight if sum(amounts) <= TIGHT_UNITS else schedule.limited)
        for index in nodes_in(closely):
            value = self.value(index, amounts)
            if value is not None:
                found.append((value, index))
        found.sort()
        del found[count:]
        rest = bits & ~closely
        if ranking is None or not rest:
            return found
        values = ranking.values
        if few or rest.bit_count() * _SPARSE < len(self.nodes):
            for index in nodes_in(rest):
                value = values[index] if self._plain else self._today(index, amounts, values[index])
                if len(found) < count or (value, index) < found[-1]:
                    insort(found, (value, index))
                    del found[count:]
            return found
        for index in ranking.order:
            value = values[index]
            if len(found) == count and value > found[-1][0]:
                break
            if rest >> index & 1:
                if not self._plain:
                    value = self._today(index, amounts, value)
                if len(found) < count or (value, index) < found[-1]:
                    insort(found, (value, index))
                    del found[count:]
        return found

    def _today(self, index: int, amounts: Amounts, value: int) -> int:
        load = self.schedule.loads[index]
        if not load and not self.objective.stock_says:
            return value
        return value + self.objective.of_today(
            self.nodes[index], load, self.of_lines(amounts), self.now_ms
        )

    # the search

    def answer(self) -> Answer:
        """The two best plans."""
        strategy = self.strategy
        wanted = [i for i, line in enumerate(self.lines) if line.target]
        short = any(line.target < line.want.units for line in self.lines)
        if not wanted or (short and (self.one_leg or self.all_or_nothing)):
            return Answer(None, None, exact=True, bound=None)
        full = wanted if len(wanted) < len(self.lines) else None
        answer = best_two(self._problem(wanted, full))
        if strategy.quantity == "never" and self._lacks(answer, wanted):
            for i in wanted:
                self.lines[i].mode = ONE
            answer = best_two(self._problem(wanted, full))
        return answer if full is None else _widened(answer, wanted, len(self.lines))

    def _lacks(self, answer: Answer, wanted: list[int]) -> bool:
        """Whether less is planned than is wanted, where a part of a line might do more."""
        units = answer.best.units if answer.best is not None else 0
        whole = all(self.lines[i].mode == WHOLE for i in wanted)
        return whole and units < sum(self.lines[i].target for i in wanted)

    def _problem(self, wanted: list[int], full: list[int] | None) -> Problem:
        lines = [self.lines[i] for i in wanted]
        strategy = self.strategy
        widen = self._widen if full is not None else None

        def wide(amounts: Amounts) -> Amounts:
            return amounts if widen is None else widen(amounts, wanted)

        def of_mask(mask: int) -> Amounts:
            found = self._amounts.get(mask)
            if found is None:
                found = self._amounts[mask] = wide(
                    tuple(line.target if mask >> i & 1 else 0 for i, line in enumerate(lines))
                )
            return found

        def cheapest(mask: int, count: int) -> list[Offer]:
            bits = -1
            for i, line in enumerate(lines):
                if mask >> i & 1:
                    bits &= line.able
            return self.cheapest(bits, of_mask(mask), count) if bits else []

        def cheapest_of(amounts: Amounts, count: int) -> list[Offer]:
            amounts = wide(amounts)
            bits = self.qualified(amounts)
            return self.cheapest(bits, amounts, count) if bits else []

        def free() -> list[list[int]]:
            return [
                [
                    line.holders.free(node)
                    if line.holders is not None
                    and (line.able if line.mode == WHOLE else line.open) >> node.index & 1
                    else 0
                    for line in lines
                ]
                for node in self.nodes
            ]

        least_minor, least_units = strategy.leg_min_value_minor, strategy.leg_min_units

        def large_enough(amounts: Amounts) -> bool:
            if least_units is not None and sum(amounts) < least_units:
                return False
            return least_minor is None or least_minor <= sum(
                line.worth_minor * units for line, units in zip(lines, amounts, strict=True)
            )

        shift = self.objective.money_shift
        return Problem(
            [line.target for line in lines],
            [line.mode for line in lines],
            len(self.nodes),
            free,
            lambda index, amounts: self.value(index, wide(amounts)),
            cheapest=cheapest,
            cheapest_of=cheapest_of,
            max_legs=strategy.max_legs,
            leg_min=large_enough if least_minor is not None or least_units is not None else None,
            extra_leg=0 if shift is None else strategy.extra_leg_minor << shift,
            one_leg=self.one_leg,
            all_or_nothing=self.all_or_nothing,
        )

    def _widen(self, amounts: Amounts, wanted: list[int]) -> Amounts:
        """Units of the lines looked for as units of all lines."""
        wide = [0] * len(self.lines)
        for i, units in zip(wanted, amounts, strict=True):
            wide[i] = units
        return tuple(wide)

    # the plan

    def legs(self, plan: Plan | None) -> list[Leg]:
        """A plan's legs, their units by want: lines of one item share, the first line first."""
        if plan is None:
            return []
        left = [want.units for want in self.request.wants]
        made = []
        for index, amounts in plan.legs:
            units = [0] * len(left)
            for pool, members in zip(amounts, self._members.values(), strict=True):
                rest = pool
                for i in members:
                    units[i] = min(rest, left[i])
                    left[i] -= units[i]
                    rest -= units[i]
            made.append(self._leg(index, amounts, units))
        return made

    def _leg(self, index: int, amounts: Amounts, units: list[int]) -> Leg:
        node = self.nodes[index]
        found = self.evaluate(index, amounts)
        if found is None:
            message = f"a leg of {node.node_id} was chosen that can't be"
            raise AssertionError(message)
        priced = found.priced
        service = priced.service
        return Leg(
            node.node_id,
            units,
            priced.ship_day,
            node.calendar.cut_off_ms(priced.ship_day),
            None if priced.deliver_day is None else self.days.end_ms(priced.deliver_day),
            None if service is None else service.carrier,
            None if service is None else service.service,
            found.minor,
        )


def day_with_room(node: Node, day: int | None, units: int) -> int | None:
    """The first of a node's days from this one on that holds a leg of so many units."""
    for _ in range(DAYS_AHEAD):
        if day is None or has_room(node, day, units):
            return day
        day = node.calendar.next_day(day)
    return None


def _widened(answer: Answer, wanted: list[int], lines: int) -> Answer:
    """Plans of some lines as plans of all."""

    def wide(plan: Plan | None) -> Plan | None:
        if plan is None:
            return None
        legs = []
        for index, amounts in plan.legs:
            units = [0] * lines
            for i, count in zip(wanted, amounts, strict=True):
                units[i] = count
            legs.append((index, tuple(units)))
        return Plan(plan.units, plan.value, tuple(legs))

    return Answer(wide(answer.best), wide(answer.second), answer.exact, answer.bound)
