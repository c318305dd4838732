"""One request under one strategy: what each line may get and from where, what legs are worth.

Fences look at one (node, line) each and come first; availability caps what a line may get; then the
exact search finds the two best plans, all from `tables`.
"""

from bisect import insort
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from typing import Final

from events.decided import DecisionRow, Value
from orchestrator.core.shard import Market, Node, Shard
from orchestrator.core.sourcing import availability
from orchestrator.core.sourcing.calendars import Zone as Days
from orchestrator.core.sourcing.calendars import day_told, start_of, zone
from orchestrator.core.sourcing.parcels import (
    NOTHING,
    Box,
    Content,
    Limits,
    Parcel,
    boxes,
    decreasing,
)
from orchestrator.core.sourcing.places import Place
from orchestrator.core.sourcing.plan import Leg, Request, Want
from orchestrator.core.sourcing.search import (
    ANY,
    FEW,
    ONE,
    WHOLE,
    Answer,
    Offer,
    Plan,
    Problem,
    Steps,
    answer_of,
    at_once,
    begun,
    few,
    one_leg_each,
    one_leg_is_best,
)
from orchestrator.core.sourcing.strategies import Strategy, line_value_minor
from orchestrator.core.sourcing.tables import (
    SPARSE,
    TIGHT_UNITS,
    WIDE,
    Contents,
    Holders,
    Priced,
    Ranking,
    Reach,
    Shown,
    Stocked,
    Tables,
    Zone,
    as_bytes,
    has_room,
    load_percent,
    nodes_in,
    set_of,
    tables_of,
)

DAYS_AHEAD: Final = 400
"""How far ahead a day with room is looked for."""

_UNITS_BITS: Final = 40
"""More bits than an order's units have."""
_TWO: Final = 2
Amounts = tuple[int, ...]
"""Units of each line in a leg."""


class Line:
    """A wanted item: what the order may get of it, and who may ship it."""

    __slots__ = (
        "_cut_as",
        "able",
        "alone",
        "asked",
        "atp",
        "holders",
        "members",
        "mode",
        "open",
        "sku",
        "stocked",
        "suppressed",
        "target",
        "units",
        "volume_ml",
        "want",
        "weight_g",
        "worth_minor",
    )

    def __init__(self, want: Want, members: list[int], stocked: Stocked) -> None:
        self.want = want
        self.members = members  # places of the request's wants: those of one item are one line
        self.stocked = stocked
        self.holders = stocked.holders
        _, self.sku, units = want
        self.worth_minor = 0  # a unit, where legs must have a least value
        self.atp: int | None = None  # what the channel may promise, where that is limited
        self.weight_g, self.volume_ml = stocked.weight_g, stocked.volume_ml  # a unit
        self.units = units
        self.asked = units  # the target, did no fence take units away
        self.target = units
        self.alone: Ranking | None = None  # where nodes have all of it
        self.mode = WHOLE
        self.suppressed = 0  # nodes that are not asked for it now
        self.open = 0  # nodes that no fence keeps from shipping it
        self.able = 0  # those of them that have all of it
        self._cut_as: Content | None = None

    @property
    def cut_as(self) -> Content:
        """Its units, as parcels are cut of them."""
        found = self._cut_as
        if found is None or found.units != self.target:
            found = self.stocked.content._replace(units=self.target, line_id=self.want.line_id)
            self._cut_as = found
        return found

    def stays_fresh(self, node: Node, units: int) -> bool:
        """Whether so many available units at a node surely live as long as they must."""
        return self.holders is None or self.holders.stays_fresh(node, units)


class Whole:
    """Lines at their targets, as one leg would have them."""

    __slots__ = (
        "able",
        "known_amounts",
        "mask",
        "offers",
        "offers_asked",
        "ranking",
        "there",
        "units",
        "volume_ml",
        "weight_g",
    )

    def __init__(self, mask: int, able: int, weight_g: int, volume_ml: int, units: int) -> None:
        self.mask = mask  # bit i: line i
        self.known_amounts: Amounts | None = None  # once they are asked for
        self.able = able  # nodes that may ship all of it
        self.weight_g = weight_g
        self.volume_ml = volume_ml
        self.units = units
        self.ranking: Ranking | None = None
        self.there = b""  # those of `able` that have a price, where bytes are quicker
        self.offers: list[Offer] = []  # the cheapest, as far as they were asked for
        self.offers_asked = 0


class Evaluated:
    """A leg as it would be."""

    __slots__ = ("full_day", "load_minor", "minor", "priced", "value")

    def __init__(self, value: int, priced: Priced, load_minor: int, full_day: int | None) -> None:
        self.value = value
        self.priced = priced
        self.load_minor = load_minor
        self.minor = priced.minor + load_minor  # what it costs
        self.full_day = full_day  # its first day, where that had no room


class Question:
    """One request under one strategy."""

    __slots__ = (
        "_alone",
        "_by_size",
        "_by_units",
        "_contents",
        "_days_at",
        "_easy",
        "_in_money",
        "_limits",
        "_nearest",
        "_of_one",
        "_plain",
        "_wholes",
        "_wide",
        "all_or_nothing",
        "days",
        "lines",
        "market",
        "nodes",
        "now_ms",
        "objective",
        "one_leg",
        "place",
        "reach",
        "request",
        "schedule",
        "sought",
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
        self.request, self.now_ms = request, request.now_ms
        self.strategy, self.place = strategy, place
        self.nodes = market.node_list
        self._wide = len(self.nodes) > WIDE
        self.tables: Tables = tables_of(market)
        tables = self.tables
        self.objective = tables.objective(strategy)
        not_before = data.get("ship_not_before")
        self.schedule = tables.schedule(
            self.now_ms, None if not_before is None else start_of(not_before, market.time_zone)
        )
        level = data.get("service_level", "standard")
        self.terms = tables.terms(strategy, level, data.get("carrier"), data.get("service"))
        deliver_by, ship_by = data.get("deliver_by"), data.get("ship_by")
        self.zone: Zone = tables.zone(
            place,
            self.terms,
            None if deliver_by is None else day_told(deliver_by, self.days),
            None if ship_by is None else day_told(ship_by, self.days),
            self.schedule,
        )
        self.reach: Reach = self.zone.reach
        self._limits = self.terms.parcel
        self._by_units = tables.units_matter or self.objective.by_units
        self._alone: dict[Contents, tuple[int, int]] = {}
        self._of_one: dict[int, int | None] | None = None
        self._contents: dict[Amounts, Contents] = {}
        self._days_at: dict[int, tuple[int, int]] = {}  # see `_day_at`
        self._by_size: list[int] = []  # lines in the order in which parcels are filled
        self._wholes: dict[int, Whole] = {}
        # whether no more comes on top of the rankings' values than the day's load, in minor units,
        # or (where nothing has limits) the units' distance
        self._nearest = self.objective.nearest
        self._in_money = strategy.objective is None
        self._plain = not self.objective.stock_says and (
            self.objective.money_shift == 0 or (self._nearest and not self.schedule.limited)
        )
        self.one_leg = not data.get("allow_split", True)
        self.all_or_nothing = not data.get("allow_partial", True)
        fresh_from = _fresh_from(strategy, self.days, self.now_ms)
        items, assortment = shard.items, tables.assortment(strategy, fresh_from)
        # whether whatever they ship together asks nothing of its carrier but to carry its weight
        self._easy = not self._limits.apart and not tables.volume_matters
        members: dict[str, list[int]] = {}  # lines of one item draw on the same units
        for i, (_, sku, _) in enumerate(request.wants):
            of_sku = members.get(sku)
            if of_sku is None:
                members[sku] = [i]
            else:
                of_sku.append(i)
        self.lines: list[Line] = []
        self.sought: list[int] = []
        for sku, of_sku in members.items():
            stocked = assortment.get(sku)
            if stocked is None or stocked.holders is None:
                stocked = tables.stocked(strategy, items[sku], fresh_from)
            if stocked.requires:
                self._easy = False
            line = self._line(of_sku, stocked)
            if line.target:
                self.sought.append(len(self.lines))
            self.lines.append(line)

    # what each line may get, and from where

    def _line(self, members: list[int], stocked: Stocked) -> Line:
        wants = self.request.wants
        want = wants[members[0]]
        if len(members) > 1:
            want = want._replace(units=sum(wants[i].units for i in members))
        line = Line(want, members, stocked)
        strategy = self.strategy
        if strategy.leg_min_value_minor is not None:
            line.worth_minor = self._worth_minor(line)
        channel = self.request.data["channel"]
        if self.market.rules.keep_back and stocked.limited(self.market, channel):
            line.atp = availability.promisable(
                self.market, stocked.item, channel, strategy, self.now_ms
            )
            if line.atp is not None and line.atp < line.units:
                line.target = line.asked = line.atp
        line.suppressed = self.tables.suppressed(line.sku, self.now_ms)
        line.open = self.reach.open  # large integers: each `&` copies one, `~` and `-1` twice
        if stocked.requires:
            line.open &= stocked.capable
        if line.suppressed:
            line.open &= ~line.suppressed
        if line.holders is None:
            line.target = 0
        elif line.target:
            self._find_mode(line, line.holders)
        return line

    def _worth_minor(self, line: Line) -> int:
        """What a unit is worth: what the order's lines of it are, by their units, rounded up."""
        ids = {self.request.wants[i].line_id: None for i in line.members}
        placed = [one for one in self.request.data["lines"] if one["line_id"] in ids]
        units = sum(int(one["quantity"]) for one in placed)
        item, currency = line.stocked.item, self.market.currency
        worth = sum(line_value_minor(one, item, currency) for one in placed)
        return -(-worth // units) if units else 0

    def _find_mode(self, line: Line, holders: Holders) -> None:
        """How the line may be divided: only where no node has all of it, by the default."""
        line.able = holders.bits(line.target) & line.open
        if line.able and self.strategy.quantity != "always":
            alone = self._ranking_alone(line)
            line.able &= alone.able
            if self.strategy.fences.reach_promise:
                line.able &= ~self._too_late(line)
            else:
                closely = self.closely(line.target)
                if closely and not line.able & ~closely:
                    line.able &= ~self._full(line)
            if line.able:
                line.alone = alone
                return
        if self.strategy.quantity == "never":
            line.mode = ONE
            return
        line.mode = ANY
        if not (self.one_leg or self.all_or_nothing):
            free = sum(holders.free(self.nodes[i]) for i in nodes_in(holders.bits(1) & line.open))
            line.target = min(line.target, free)
        line.able = holders.bits(line.target) & line.open if line.target else 0

    def _too_late(self, line: Line) -> int:
        """Nodes that can have all of a line only on a day too late: those before it are full."""
        schedule, bits = self.schedule, 0
        for index in nodes_in(line.able & self.closely(line.target)):
            day = day_with_room(self.nodes[index], schedule.first[index], line.target)
            alone = self.contents_of([(line, line.target)])
            priced = None if day is None else self.zone.price(index, alone, day)
            if priced is None or priced.days_late:
                bits |= 1 << index
        return bits

    def _full(self, line: Line) -> int:
        """Nodes that have all of a line, and no day with room for it."""
        first = self.schedule.first
        return set_of(
            [
                index
                for index in nodes_in(line.able)
                if day_with_room(self.nodes[index], first[index], line.target) is None
            ]
        )

    def _ranking_alone(self, line: Line) -> Ranking:
        units, key = line.target, -1
        if not (line.stocked.requires or self._limits.apart or self.tables.volume_matters):
            key = self._plain_key(line.weight_g * units, line.volume_ml * units, units)
            found = self.zone.plain.get(key)
            if found is not None:
                return found
        return self._ranked(key, self.contents_of([(line, units)]))

    def _plain_key(self, weight_g: int, volume_ml: int, units: int) -> int:
        """What alone tells prices apart of a parcel that asks nothing; below 0: it is several."""
        if not _fits(self._limits, weight_g, volume_ml):
            return -1
        step_g = self.tables.step_g(weight_g)
        return step_g << _UNITS_BITS | units if self._by_units else step_g

    def _ranked(self, key: int, contents: Contents) -> Ranking:
        """The nodes by what a leg is worth, kept by its weight where that is all prices ask."""
        found = self.zone.ranking(contents, self.tables)  # may empty `plain`, hence stored after it
        if key >= 0:
            self.zone.plain[key] = found
        return found

    # what legs are worth

    def contents_of(self, units: Sequence[tuple[Line, int]]) -> Contents:
        """A leg's contents as prices ask: weights and units only as far as they matter."""
        weight_g = volume_ml = total = 0
        requires = NOTHING
        for line, count in units:
            weight_g += line.weight_g * count
            volume_ml += line.volume_ml * count
            total += count
            if line.stocked.requires:
                requires |= line.stocked.content.requires
        limits = self._limits
        if not limits.apart and _fits(limits, weight_g, volume_ml):
            parcel = self._class(weight_g, volume_ml, total, requires, 1)
            return Contents(total if self._by_units else 0, (parcel,))
        return self._contents_in(self._boxes(sorted(units, key=_decreasing)), total)

    def _contents_in(self, boxes: Sequence[Box], units: int) -> Contents:
        """The same of units that are in parcels already."""
        parcels = tuple(
            [
                self._class(box.weight_g, box.volume_ml, box.units, box.requires, box.copies)
                for box in boxes
            ]
        )
        return Contents(units if self._by_units else 0, parcels)

    def _boxes(self, units: Sequence[tuple[Line, int]]) -> list[Box]:
        """The parcels of these units; lines as they are sorted to fill them."""
        return boxes(
            [
                line.cut_as if count == line.target else line.cut_as._replace(units=count)
                for line, count in units
            ],
            self._limits,
        )

    def _class(
        self, weight_g: int, volume_ml: int, units: int, requires: frozenset[str], copies: int
    ) -> Parcel:
        tables = self.tables
        return Parcel(
            tables.step_g(weight_g),
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
                [(line, units) for line, units in zip(self.lines, amounts, strict=True) if units]
            )
        return found

    def _parts(self, amounts: Amounts) -> list[tuple[Line, int]]:
        """The lines of a leg and their units, sorted to fill parcels."""
        lines = self.lines
        if not self._by_size:
            keys = [decreasing(line.cut_as) for line in lines]
            self._by_size = sorted(range(len(lines)), key=keys.__getitem__)
        return [(lines[i], amounts[i]) for i in self._by_size if amounts[i]]

    def whole(self, mask: int) -> Whole:
        """These lines at their targets."""
        found = self._wholes.get(mask)
        if found is not None:
            return found
        rest = mask & (mask - 1)
        before = self._wholes.get(rest) if rest else None
        if before is None:
            found = self._whole_of(mask)
        else:  # and the first line
            first = 0
            while not mask >> first & 1:
                first += 1
            line = self.lines[first]
            units = line.target
            found = Whole(
                mask,
                before.able & line.able,
                before.weight_g + line.weight_g * units,
                before.volume_ml + line.volume_ml * units,
                before.units + units,
            )
        self._wholes[mask] = found
        return found

    def _whole_of(self, mask: int) -> Whole:
        amounts = [0] * len(self.lines)
        able, weight_g, volume_ml, total = -1, 0, 0, 0
        ranking: Ranking | None = None
        for i, line in enumerate(self.lines):
            if mask >> i & 1:
                units = line.target
                amounts[i] = units
                able = line.able if able < 0 else able & line.able
                weight_g += line.weight_g * units
                volume_ml += line.volume_ml * units
                total += units
                ranking = line.alone
        found = Whole(mask, able, weight_g, volume_ml, total)
        found.known_amounts = tuple(amounts)
        if not mask & (mask - 1):
            found.ranking = ranking
        return found

    def amounts_of(self, whole: Whole) -> Amounts:
        """Units of each line."""
        amounts = whole.known_amounts
        if amounts is None:
            mask = whole.mask
            amounts = tuple(
                [line.target if mask >> i & 1 else 0 for i, line in enumerate(self.lines)]
            )
            whole.known_amounts = amounts
        return amounts

    def ranking_of(self, whole: Whole) -> Ranking:
        """The nodes by what a leg of this is worth, each on its first day."""
        ranking = whole.ranking
        if ranking is None:
            if self._easy:
                ranking = self._ranked_easily(whole)
            else:
                ranking = self._ranked(-1, self.contents(self.amounts_of(whole)))
            whole.ranking = ranking
        return ranking

    def _ranked_easily(self, whole: Whole) -> Ranking:
        """The same where weights and units are all that prices ask."""
        zone, units = self.zone, whole.units
        key = self._plain_key(whole.weight_g, whole.volume_ml, units)
        if key >= 0:
            return zone.plain.get(key) or self._ranked(key, self.contents(self.amounts_of(whole)))
        amounts = self.amounts_of(whole)
        tables = self.tables
        numbers = [units if self._by_units else 0]
        filled = self._boxes(self._parts(amounts))
        for box in filled:
            step_g = tables.step_g(box.weight_g)
            numbers.append(step_g << _UNITS_BITS | box.units if tables.units_matter else step_g)
            numbers.append(box.copies)
        several = tuple(numbers)
        ranking = zone.several.get(several)
        if ranking is None:
            ranking = self._ranked(-1, self._contents_in(filled, units))
            zone.several[several] = ranking
        return ranking

    def known_whole(self, amounts: Amounts) -> Whole | None:
        """These units as lines at their targets, where they are that and were asked for as such."""
        mask = 0
        for i, line in enumerate(self.lines):
            units = amounts[i]
            if units:
                if units != line.target:
                    return None
                mask |= 1 << i
        return self._wholes.get(mask)

    def evaluate(self, index: int, amounts: Amounts) -> Evaluated | None:
        """The leg on the first day with room for it; None where no service takes it, ever."""
        node = self.nodes[index]
        first = self.schedule.first[index]
        if first is None:
            return None
        whole = self.known_whole(amounts)
        day, load = first, 0
        if self.schedule.limited >> index & 1:
            units = sum(amounts) if whole is None else whole.units
            day, load = self._day_at(index, first, units)
            if day < 0:
                return None
        contents = self.contents(amounts) if whole is None else self.ranking_of(whole).contents
        priced = self.zone.price(index, contents, day)
        if priced is None:
            return None
        objective = self.objective
        value = objective.of_place(node, self.reach.away[index], priced.minor, contents.units)
        if load or objective.stock_says or objective.nearest:
            away = self.reach.away[index]
            value += objective.of_today(node, away, load, self.of_lines(amounts), self.now_ms)
        return Evaluated(value, priced, load, None if day == first else first)

    def _day_at(self, index: int, first: int, units: int) -> tuple[int, int]:
        """A node's first day with room for so many units (-1: none), and its load's price.

        Remembered: one search asks for the same number of units in many sets of lines.
        """
        key = units * len(self.nodes) + index
        found = self._days_at.get(key)
        if found is None:
            node = self.nodes[index]
            day = day_with_room(node, first, units)
            if day is None:
                found = (-1, 0)
            else:
                found = (day, self.market.rules.load_price(load_percent(node, day)))
            self._days_at[key] = found
        return found

    def row_of(self, index: int, priced: Priced, load: int, value: Value) -> DecisionRow:
        """A node as explanations show it."""
        components = [priced.transport, priced.handling, priced.per_unit, priced.late, load]
        while components and not components[-1]:
            components.pop()
        deliver_day, service = priced.deliver_day, priced.service
        row: DecisionRow = [
            self.nodes[index].node_id,
            value,
            components,  # a price of the unit there comes last, once there are such
            self.reach.metres[index],
            priced.ship_day,
            None if deliver_day is None else deliver_day - priced.ship_day,
            None if service is None else service.key,
        ]
        if priced.days_late or priced.parcels != 1:
            row.append(priced.days_late)
            if priced.parcels != 1:
                row.append(priced.parcels)
        return row

    def of_lines(self, amounts: Amounts) -> list[tuple[str, int]]:
        """Item and units of the lines in a leg."""
        found: list[tuple[str, int]] = []
        for i, line in enumerate(self.lines):
            if amounts[i]:
                found.append((line.sku, amounts[i]))
        return found

    def value(self, index: int, amounts: Amounts) -> int | None:
        """What a leg is worth; None where it can't be, or not in time where it must."""
        found = self.evaluate(index, amounts)
        if found is None or (found.priced.days_late and self.strategy.fences.reach_promise):
            return None
        return found.value

    def too_late(self, bits: int, amounts: Amounts) -> int:
        """Those of some nodes that can ship these units only on a day too late, if on any."""
        return set_of([index for index in nodes_in(bits) if self.value(index, amounts) is None])

    def amounts_by_line(self, units: Mapping[str, int]) -> Amounts:
        """These units, by the line ids of the request, as a leg has them."""
        wants = self.request.wants
        return tuple(
            [sum([units.get(wants[i].line_id, 0) for i in line.members]) for line in self.lines]
        )

    def qualified(self, amounts: Amounts) -> int:
        """The nodes that no fence keeps from shipping all these units, and that have them."""
        whole = self.known_whole(amounts)
        if whole is not None:
            return whole.able
        bits = -1
        for line, units in zip(self.lines, amounts, strict=True):
            if not units:
                continue
            if line.holders is None:
                return 0
            if units == line.target:
                bits &= line.able
            else:
                bits &= line.holders.bits(units) & line.open
                if line.mode == ONE:
                    bits &= ~line.holders.bits(units + 1)
        return bits

    def shown(self, ranking: Ranking, index: int, closely: int) -> Shown | None:
        """A node on its first day, where that has room and stock has no say; remembered.

        `closely`: the nodes whose day may be too full.
        """
        day = self.schedule.first[index]
        if day is None or not self._in_money or (closely and closely >> index & 1):
            return None
        load = self.schedule.loads[index]
        found = ranking.shown(index)
        if found is not None and found.day == day and found.load_minor == load:
            return found
        priced = self.zone.priced(index, ranking.contents, day)
        if priced is None:
            return None
        found = Shown(day, load, priced, self.row_of(index, priced, load, priced.minor + load))
        ranking.show(index, found)
        return found

    def kept_out(
        self, index: int, parts: Sequence[tuple[int, Line, int]], *, days_late: int
    ) -> tuple[list[str], list[list[int]]]:
        """All that keeps a node from a leg so late: fences, and [line, units short].

        `parts`: place, line and units of each line in the leg.
        """
        bars, node = self.reach.bars, self.nodes[index]
        fences = [code for code, bits in bars.items() if bits >> index & 1] if bars else []
        short = []
        incapable = suppressed = stale = False
        aging = self.strategy.fences.min_shelf_days is not None
        for i, line, units in parts:
            if line.able >> index & 1 and units == line.target:
                continue
            if not line.open >> index & 1:
                incapable |= not line.stocked.capable >> index & 1
                suppressed |= bool(line.suppressed >> index & 1)
            holders = line.holders
            if holders is None:  # nobody ever had it
                item = line.stocked.item
                lacking = units + availability.floor(self.market, node, item, self.strategy)
            else:
                lacking = holders.lacking(node, units)
            if lacking > 0:
                if aging and holders is not None and holders.free_of_any_age(node) >= units:
                    stale = True
                else:
                    short.append([i, lacking])
        if incapable:
            fences.append("requires")
        if suppressed:
            fences.append("suppressed")
        if stale:
            fences.append("min_shelf_days")
        if days_late and self.strategy.fences.reach_promise:
            fences.append("reach_promise")
        return fences, short

    def with_any(self, parts: Sequence[tuple[int, Line, int]]) -> int:
        """The nodes that have a free unit of any of these lines."""
        bits = 0
        for _, line, _ in parts:
            if line.holders is not None:
                bits |= line.holders.bits(1)
        return bits

    def closely(self, units: int) -> int:
        """The nodes whose first day may lack room for so many units."""
        return self.schedule.tight if units <= TIGHT_UNITS else self.schedule.limited

    def offers(self, amounts: Amounts, count: int) -> list[Offer]:
        """The least (value, node) of the nodes that may ship this, sorted, `count` at the most."""
        whole = self.known_whole(amounts)
        if whole is not None:
            offers = self.offers_for(whole, count)
            return offers if len(offers) <= count else offers[:count]
        bits = self.qualified(amounts)
        if not bits:
            return []
        contents = self.contents(amounts)
        few = bits.bit_count() * SPARSE < len(self.nodes)
        ranking = self.zone.known(contents) if few else self.zone.ranking(contents, self.tables)
        units = sum(amounts)
        found = None
        if ranking is not None:
            found = self._at_the_head(bits & ranking.able, ranking, units, count, b"")
        return found or self._cheapest(bits, ranking, amounts, units, count)

    def offers_of_whole(self, mask: int, count: int) -> list[Offer]:
        """The same of these lines at their targets; more than `count` where more are known."""
        return self.offers_for(self._wholes.get(mask) or self.whole(mask), count)

    def offers_for(self, whole: Whole, count: int) -> list[Offer]:
        """The same."""
        if not whole.able:
            return []
        if whole.offers_asked < count:
            whole.offers_asked = count
            ranking, units = self.ranking_of(whole), whole.units
            bits = whole.able & ranking.able
            if self._wide and not whole.there:
                whole.there = as_bytes(bits, len(self.nodes))
            whole.offers = self._at_the_head(
                bits, ranking, units, count, whole.there
            ) or self._cheapest(bits, ranking, self.amounts_of(whole), units, count)
        return whole.offers

    def _cheapest(
        self, bits: int, ranking: Ranking | None, amounts: Amounts, units: int, count: int
    ) -> list[Offer]:
        """Wherever they stand."""
        closely, rest = bits, 0
        if ranking is not None:
            bits &= ranking.able
            closely = bits & self.closely(units)
            rest = bits & ~closely
        found = []
        for index in nodes_in(closely):
            close = self.value(index, amounts)
            if close is not None:
                found.append((close, index))
        found.sort()
        del found[count:]
        if ranking is not None and rest:
            self._add_ranked(found, rest, ranking, amounts, count)
        return found

    def _at_the_head(
        self, bits: int, ranking: Ranking, units: int, count: int, there: bytes
    ) -> list[Offer] | None:
        """The cheapest of some that have a price, where those at the head will do; else None.

        That is the most frequent case. `there`: the bits as bytes, if known.
        """
        if not self._plain or bits & self.closely(units):
            return None
        if self._wide and bits.bit_count() * SPARSE < len(self.nodes):  # few stand there
            return None
        if not self._nearest:
            units = 0
        if self._wide and not there:
            there = as_bytes(bits, len(self.nodes))
        if count == _TWO:
            return self._two_at_the_head(bits, ranking, units, there)
        loads, away = self.schedule.loads, self.reach.away
        found: list[Offer] = []
        worths = ranking.worths
        for place, index in enumerate(ranking.head):
            worth = worths[place]
            if len(found) == count and worth > found[-1][0]:
                return found
            if there[index >> 3] >> (index & 7) & 1 if there else bits >> index & 1:
                offer = (worth + loads[index] + units * away[index], index)
                if len(found) < count:
                    insort(found, offer)
                elif offer < found[-1]:
                    found.pop()
                    insort(found, offer)
        return None

    def _two_at_the_head(
        self, bits: int, ranking: Ranking, units: int, there: bytes
    ) -> list[Offer] | None:
        loads, away = self.schedule.loads, self.reach.away
        first = second = -1
        first_value = second_value = 0
        worths = ranking.worths
        for place, index in enumerate(ranking.head):
            least = worths[place]
            if second >= 0 and least > second_value:
                return [(first_value, first), (second_value, second)]
            if there[index >> 3] >> (index & 7) & 1 if there else bits >> index & 1:
                worth = least + loads[index]
                if units:
                    worth += units * away[index]
                if first < 0:
                    first, first_value = index, worth
                elif worth < first_value or (worth == first_value and index < first):
                    second, second_value = first, first_value
                    first, first_value = index, worth
                elif (
                    second < 0 or worth < second_value or (worth == second_value and index < second)
                ):
                    second, second_value = index, worth
        return None

    def _add_ranked(
        self, found: list[Offer], rest: int, ranking: Ranking, amounts: Amounts, count: int
    ) -> None:
        """Add those of the rest that are cheaper; nothing after a ranked value is."""
        loads, plain = self.schedule.loads, self._plain and not self._nearest
        limit = found[-1][0] if len(found) == count else -1
        if rest.bit_count() * SPARSE < len(self.nodes):
            if plain and count == _TWO and not found:
                found += _two_of(nodes_in(rest), ranking, loads)
                return
            for index in nodes_in(rest):
                value = ranking.value_of(index)
                value = value + loads[index] if plain else self.today(index, amounts, value)
                if limit < 0 or value <= limit:
                    limit = _insert(found, (value, index), count)
            return
        there = as_bytes(rest, len(self.nodes))
        at = 0
        order = ranking.order
        while at < len(order):
            least = ranking.worth(order[at])
            if 0 <= limit < least:
                return
            tier, at = ranking.tier(at)
            for index in tier:
                if there[index >> 3] >> (index & 7) & 1:
                    value = least + loads[index] if plain else self.today(index, amounts, least)
                    if limit < 0 or value <= limit:
                        limit = _insert(found, (value, index), count)

    def today(self, index: int, amounts: Amounts, value: int) -> int:
        """A ranked value with the first day's load, and what today's stock says."""
        load = self.schedule.loads[index]
        if not self.objective.stock_says:
            if self._nearest:
                if not load:
                    return value + sum(amounts) * self.reach.away[index]
            elif self._plain or not load:
                return value + load
        return value + self.objective.of_today(
            self.nodes[index],
            self.reach.away[index],
            load,
            self.of_lines(amounts),
            self.now_ms,
        )

    # the search

    def answer(self) -> Answer:
        """The two best plans."""
        return at_once(self.begun())

    def begun(self) -> Answer | Steps:
        """The same; as steps where it takes more than a few looks at tables."""
        short = False
        for line in self.lines:
            short |= line.target < line.units
        if not self.sought or (short and (self.one_leg or self.all_or_nothing)):
            return Answer(None, None, exact=True, bound=None)
        search = _Narrowed(self).begun if len(self.sought) < len(self.lines) else self._search
        found = search()
        return self._then_parts(found, search) if self.strategy.quantity == "never" else found

    def _then_parts(self, found: Answer | Steps, search: Callable[[], Answer | Steps]) -> Steps:
        """Where lines aren't divided: whole ones, else what single nodes have of them."""
        answer = found if isinstance(found, Answer) else (yield from found)
        if self._lacks(answer):
            for i in self.sought:
                self.lines[i].mode = ONE
            found = search()
            answer = found if isinstance(found, Answer) else (yield from found)
        return answer

    def _lacks(self, answer: Answer) -> bool:
        """Whether a part of a line, from one node, might do more than was found with whole ones."""
        if self.one_leg or self.all_or_nothing:
            return False
        units = answer.second.units if answer.second is not None else 0
        return any(line.target and line.mode == WHOLE for line in self.lines) and units < sum(
            line.target for line in self.lines
        )

    def free(self) -> Iterator[list[int]]:
        """Units that each node may give of each line."""
        full = set_of([index for index, day in self._days_of_one().items() if day is None])
        givers = [self._givers(line) & ~full for line in self.lines]
        for node in self.nodes:
            yield [
                line.holders.free(node) if line.holders and able >> node.index & 1 else 0
                for line, able in zip(self.lines, givers, strict=True)
            ]

    def _givers(self, line: Line) -> int:
        """The nodes that a leg with units of a line may leave from, if on any day.

        None where one by itself can't: what is more weighs more, asks for more, leaves later.
        """
        if line.mode == WHOLE or not line.target:
            return line.able
        return line.open & self.alone_from(line)[0] if self.reach.rated else line.open

    def alone_from(self, line: Line) -> tuple[int, int]:
        """The nodes whose services take a unit of a line by itself, in time where it must be.

        And those where it would be too late.
        """
        alone = self.contents_of([(line, 1)])
        found = self._alone.get(alone)
        if found is None:
            ranking = self.zone.ranking(alone, self.tables)
            able, late = ranking.able, 0
            if self.strategy.fences.reach_promise:
                for index, day in self._days_of_one().items():
                    priced = None if day is None else self.zone.price(index, alone, day)
                    if priced is None or priced.days_late:
                        able &= ~(1 << index)
                others = nodes_in(self.tables.everyone & ~able)
                late = set_of([index for index in others if ranking.value_of(index) >= 0])
            found = self._alone[alone] = able, late
        return found

    def _days_of_one(self) -> dict[int, int | None]:
        """Of the nodes whose first day may be full: the first day with room for a unit, if any."""
        if self._of_one is None:
            first = self.schedule.first
            self._of_one = {
                index: day_with_room(self.nodes[index], first[index], 1)
                for index in nodes_in(self.closely(1))
            }
        return self._of_one

    def large_enough(self, amounts: Amounts) -> bool:
        """Whether a leg is large enough to be one of several."""
        least_minor, least_units = self.strategy.leg_min_value_minor, self.strategy.leg_min_units
        if least_units is not None and sum(amounts) < least_units:
            return False
        return least_minor is None or least_minor <= sum(
            line.worth_minor * units for line, units in zip(self.lines, amounts, strict=True)
        )

    @property
    def has_leg_min(self) -> bool:
        """Whether legs must have a least size where there are several."""
        strategy = self.strategy
        return strategy.leg_min_value_minor is not None or strategy.leg_min_units is not None

    @property
    def _few(self) -> bool:
        """Whether these are few lines, none of which can be divided: the most frequent case."""
        if len(self.lines) > FEW:
            return False
        for line in self.lines:  # noqa: SIM110 - compiled, a generator costs more
            if line.mode != WHOLE:
                return False
        return True

    @property
    def extra_leg(self) -> int:
        """What every leg beyond the first is worth on top."""
        shift = self.objective.money_shift
        return 0 if shift is None else self.strategy.extra_leg_minor << shift

    def _search(self) -> Answer | Steps:
        everything = (1 << len(self.lines)) - 1
        offers = self.offers_of_whole(everything, _TWO)
        floor, extra_leg, max_legs = self.reach.floor, self.extra_leg, self.strategy.max_legs
        if one_leg_is_best(offers, floor, extra_leg):
            return one_leg_each(self.amounts_of(self._wholes[everything]), offers)
        if self._few and not (self.one_leg or max_legs == 1 or self.has_leg_min):
            targets = [line.target for line in self.lines]
            plans = few(targets, floor, extra_leg, max_legs, self.offers_of_whole, offers)
            if len(plans) == _TWO:
                return answer_of(plans)
        return begun(
            Problem(
                [line.target for line in self.lines],
                [line.mode for line in self.lines],
                len(self.nodes),
                self.free,
                self.value,
                cheapest=self.offers_of_whole,
                cheapest_of=self.offers,
                floor=self.reach.floor,
                max_legs=self.strategy.max_legs,
                leg_min=self.large_enough if self.has_leg_min else None,
                extra_leg=self.extra_leg,
                one_leg=self.one_leg,
                all_or_nothing=self.all_or_nothing,
                draft_work=self.request.draft_work,
            )
        )

    # the plan

    def legs(self, plan: Plan | None) -> list[Leg]:
        """A plan's legs, their units by want: lines of one item share, the first line first."""
        if plan is None:
            return []
        if len(self.lines) == len(self.request.wants):  # each line is one want's
            return [self._leg(index, amounts, list(amounts)) for index, amounts in plan.legs]
        left = [want.units for want in self.request.wants]
        made = []
        for index, amounts in plan.legs:
            units = [0] * len(left)
            for line, pool in zip(self.lines, amounts, strict=True):
                rest = pool
                for i in line.members:
                    units[i] = min(rest, left[i])
                    left[i] -= units[i]
                    rest -= units[i]
            made.append(self._leg(index, amounts, units))
        return made

    def _leg(self, index: int, amounts: Amounts, units: list[int]) -> Leg:
        node = self.nodes[index]
        whole = self.known_whole(amounts)
        shown = None
        if whole is not None:
            shown = self.shown(self.ranking_of(whole), index, self.closely(whole.units))
        if shown is not None:
            priced, minor = shown.priced, shown.priced.minor + shown.load_minor
        else:
            found = self.evaluate(index, amounts)
            if found is None:
                message = f"a leg of {node.node_id} was chosen that can't be"
                raise AssertionError(message)
            priced, minor = found.priced, found.minor
        service = priced.service
        return Leg(
            node.node_id,
            units,
            priced.ship_day,
            node.calendar.cut_off_ms(priced.ship_day),
            None if priced.deliver_day is None else self.days.end_ms(priced.deliver_day),
            None if service is None else service.carrier,
            None if service is None else service.service,
            minor,
        )


def look_up(
    shard: Shard, market: Market, request: Request, strategy: Strategy
) -> Generator[None, None, None]:
    """What a question asks tables first, giving way after each item."""
    fresh_from = _fresh_from(strategy, zone(market.time_zone), request.now_ms)
    tables = tables_of(market)
    for _, sku, units in request.wants:
        holders = tables.stocked(strategy, shard.items[sku], fresh_from).holders
        if holders is not None:
            holders.bits(units)
        yield


def _fresh_from(strategy: Strategy, days: Days, now_ms: int) -> int | None:
    """The day that units must live to, if any."""
    least = strategy.fences.min_shelf_days
    return None if least is None else days.day_of(now_ms) + least


class _Narrowed:
    """The search over the lines alone of which there is any, in the question's own terms."""

    def __init__(self, question: Question) -> None:
        self._question = question

    def _wide(self, amounts: Amounts) -> Amounts:
        wide = [0] * len(self._question.lines)
        for i, units in zip(self._question.sought, amounts, strict=True):
            wide[i] = units
        return tuple(wide)

    def _wide_mask(self, mask: int) -> int:
        wide = 0
        for place, i in enumerate(self._question.sought):
            if mask >> place & 1:
                wide |= 1 << i
        return wide

    def _wide_plan(self, plan: Plan | None) -> Plan | None:
        if plan is None:
            return None
        legs = tuple([(node, self._wide(units)) for node, units in plan.legs])
        return Plan(plan.units, plan.value, legs)

    def _free(self) -> Iterator[list[int]]:
        for row in self._question.free():
            yield [row[i] for i in self._question.sought]

    def begun(self) -> Answer | Steps:
        """The two best plans, or the steps to them."""
        question = self._question
        lines = [question.lines[i] for i in question.sought]
        found = begun(
            Problem(
                [line.target for line in lines],
                [line.mode for line in lines],
                len(question.nodes),
                self._free,
                lambda index, amounts: question.value(index, self._wide(amounts)),
                cheapest=lambda mask, count: question.offers_of_whole(self._wide_mask(mask), count),
                cheapest_of=lambda amounts, count: question.offers(self._wide(amounts), count),
                floor=question.reach.floor,
                max_legs=question.strategy.max_legs,
                leg_min=(lambda amounts: question.large_enough(self._wide(amounts)))
                if question.has_leg_min
                else None,
                extra_leg=question.extra_leg,
                one_leg=question.one_leg,
                all_or_nothing=question.all_or_nothing,
                draft_work=question.request.draft_work,
            )
        )
        return self._widened(found) if isinstance(found, Answer) else self._then_widened(found)

    def _then_widened(self, steps: Steps) -> Steps:
        answer = yield from steps
        return self._widened(answer)

    def _widened(self, answer: Answer) -> Answer:
        return Answer(
            self._wide_plan(answer.best),
            self._wide_plan(answer.second),
            exact=answer.exact,
            bound=answer.bound,
        )


def _two_of(indexes: list[int], ranking: Ranking, loads: list[int]) -> list[Offer]:
    """The two cheapest of some nodes, in their order, by ranked values and the day's loads."""
    first = second = -1
    first_value = second_value = 0
    values = ranking.values_of(indexes)
    for at, index in enumerate(indexes):
        worth = values[at] + loads[index]
        if first < 0:
            first, first_value = index, worth
        elif worth < first_value:
            second, second_value = first, first_value
            first, first_value = index, worth
        elif second < 0 or worth < second_value:
            second, second_value = index, worth
    if second < 0:
        return [] if first < 0 else [(first_value, first)]
    return [(first_value, first), (second_value, second)]


def _insert(found: list[Offer], offer: Offer, count: int) -> int:
    """Put an offer among the `count` least; what the last of so many is worth, else -1."""
    insort(found, offer)
    del found[count:]
    return found[-1][0] if len(found) == count else -1


def _decreasing(part: tuple[Line, int]) -> tuple[int, int, str, str]:
    """What lines are sorted by before parcels are filled."""
    return decreasing(part[0].cut_as)


def _fits(limits: Limits, weight_g: int, volume_ml: int) -> bool:
    """Whether one parcel takes it."""
    return (limits.max_g is None or weight_g <= limits.max_g) and (
        limits.max_ml is None or volume_ml <= limits.max_ml
    )


def day_with_room(node: Node, day: int | None, units: int) -> int | None:
    """The first of a node's days from this one on that holds a leg of so many units."""
    for _ in range(DAYS_AHEAD):
        if day is None or has_room(node, day, units):
            return day
        day = node.calendar.next_day(day)
    return None
