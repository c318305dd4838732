"""Tables: what planning looks up instead of walking the state.

They are made from the state when first asked for, mended as it changes, and dropped when the
network changes; no decision depends on whether they were there. Sets of nodes are integers: bit i
is the node with index i.
"""

from array import array
from collections import OrderedDict
from collections.abc import Iterator, Sequence
from itertools import chain
from typing import Final, NamedTuple, cast

from events.decided import DecisionRow, Plain
from orchestrator.core.ledger import Bin
from orchestrator.core.shard import Market, Node, Shelf
from orchestrator.core.sourcing.availability import floor, may_limit
from orchestrator.core.sourcing.calendars import MINUTE_MS
from orchestrator.core.sourcing.geo import distances
from orchestrator.core.sourcing.objectives import FAR_M, Objective
from orchestrator.core.sourcing.parcels import Content, Parcel
from orchestrator.core.sourcing.places import Place
from orchestrator.core.sourcing.rates import Lane, Scale, Service
from orchestrator.core.sourcing.strategies import Strategy

TABLE_BYTES: Final = 48_000_000
"""What a market's price tables and the units that stay at nodes may take.

The prices used longest ago give way; those units may take half, then all of them are found anew.
"""
_FLOOR_BYTES: Final = 40  # of an item at a node: an entry of a dict
TIGHT_UNITS: Final = 64
"""A day with room for fewer is looked at closely."""
SPARSE: Final = 8
"""Fewer than one node of so many: they are looked up one by one."""
_RARE: Final = 32  # the same, of nodes that are looked at in order until one is too dear
_BY_UNITS: Final = (1, 2, 3)
_MOST: Final = _BY_UNITS[-1]
_PRICES_KEPT: Final = 1_000  # of a zone: what explanations show
_RANKINGS_KEPT: Final = 2_000  # of a zone
_SEEN_KEPT: Final = 50_000
_STRATEGIES_KEPT: Final = 500
_STEPS_KEPT: Final = 100_000
HEAD: Final = 12
"""Nodes at the head of a ranking that are kept at hand."""
_SCHEDULES_KEPT: Final = 16
_HEAVIEST: Final = 1 << 60  # stands for whatever is beyond a scale's last step


_WORD: Final = 1 << 62
_PLACES: Final = tuple([[i for i in range(8) if byte >> i & 1] for byte in range(256)])


def nodes_in(bits: int) -> list[int]:
    """The indexes of a set of nodes, lowest first."""
    found: list[int] = []
    if bits < _WORD:
        while bits:
            low = bits & -bits
            found.append(low.bit_length() - 1)
            bits ^= low
        return found
    at = 0
    for byte in as_bytes(bits):  # a large integer is made anew by everything that is done to it
        if byte:
            found += [at + place for place in _PLACES[byte]]
        at += 8
    return found


def as_bytes(bits: int) -> bytes:
    """A set of nodes, eight a byte, for who asks for many of them one by one."""
    return bits.to_bytes(bits.bit_length() + 7 >> 3, "little")


class Holders:
    """Which nodes have units of an item free, above what stays there; mended as bins change."""

    __slots__ = (
        "_at_least",
        "_changes",
        "_fresh_from",
        "_item",
        "_keeps",
        "_kept",
        "_market",
        "_nodes",
        "_other",
        "_seen",
        "_shelf",
        "_strategy",
    )

    def __init__(
        self,
        shelf: Shelf,
        market: Market,
        item: Plain,
        strategy: Strategy,
        fresh_from: int | None,
    ) -> None:
        """`fresh_from`: the day that units must live to, if any."""
        self._shelf = shelf
        self._changes = shelf.changes
        self._market = market
        self._nodes = market.nodes
        self._item = item
        self._strategy = strategy
        self._keeps = market.rules.keeps(strategy)
        self._kept: dict[str, int] = {}  # node id -> units that stay there, where any do
        self._fresh_from = fresh_from
        self._other: dict[int, int] = {}  # by units above those kept
        self._at_least = [0] * (len(_BY_UNITS) + 1)
        self._fill()

    def _fill(self) -> None:
        self._seen = self._changes.count
        self._other.clear()
        found = [0] * len(self._at_least)
        for node_id, there in self._shelf.items():
            node = self._nodes[node_id]
            free = self._free(node, there)
            for units in _BY_UNITS:
                if free >= units:
                    found[units] |= 1 << node.index
        self._at_least = found

    @property
    def bytes(self) -> int:
        """What it takes beside sets of nodes."""
        return _FLOOR_BYTES * len(self._kept)

    def _free(self, node: Node, there: Bin) -> int:
        free = there.available
        if self._fresh_from is not None:
            free = min(free, there.fresh(self._fresh_from))
        return free - self._floor(node)

    def _floor(self, node: Node) -> int:
        if not self._keeps:
            return 0
        kept = self._kept.get(node.node_id)
        if kept is None:
            kept = self._kept[node.node_id] = floor(self._market, node, self._item, self._strategy)
        return kept

    def free(self, node: Node) -> int:
        """Units that an order may get at a node."""
        there = self._shelf.get(node.node_id)
        return 0 if there is None else max(0, self._free(node, there))

    def lacking(self, node: Node, units: int) -> int:
        """Units that a node needs beside what it has, above those kept there, to have so many."""
        there = self._shelf.get(node.node_id)
        kept = self._floor(node)
        if there is None:
            return units + kept
        if self._fresh_from is None:
            return units + kept - there.available
        return units - self._free(node, there)

    def free_of_any_age(self, node: Node) -> int:
        """The same, however long the units will live."""
        there = self._shelf.get(node.node_id)
        return 0 if there is None else max(0, there.available - self._floor(node))

    def bits(self, units: int) -> int:
        """The nodes that have at least so many units free."""
        if self._changes.count != self._seen:
            missed = self._changes.since(self._seen)
            if missed is None:
                self._fill()
            else:
                self._mend(missed)
        if units < len(self._at_least):
            return self._at_least[units]
        found = self._other.get(units)
        if found is None:
            found = 0
            for node_id, there in self._shelf.items():
                if there.available >= units:
                    node = self._nodes[node_id]
                    if self._free(node, there) >= units:
                        found |= 1 << node.index
            self._other[units] = found
        return found

    def _mend(self, changed: Sequence[str]) -> None:
        self._seen = self._changes.count
        self._other.clear()
        at_least = self._at_least
        for node_id in changed:
            node = self._nodes[node_id]
            there = self._shelf.get(node_id)  # None: it was there on a supposition only
            free = 0 if there is None else self._free(node, there)
            bit = 1 << node.index
            if free >= _MOST and at_least[_MOST] & bit:
                continue
            for units in _BY_UNITS:
                if free >= units:
                    at_least[units] |= bit
                else:
                    at_least[units] &= ~bit


class Schedule:
    """The first day each node can ship, for requests of a while, and how full that day is."""

    __slots__ = (
        "_from_ms",
        "_market",
        "_seen",
        "_until_ms",
        "first",
        "limited",
        "loads",
        "number",
        "tight",
    )

    def __init__(self, market: Market, number: int, now_ms: int, not_before_ms: int | None) -> None:
        self.number = number
        self._market = market
        self._from_ms = now_ms
        self._until_ms: int | None = None  # from then on another node's day may be another
        self.first: list[int | None] = []  # None for a node that never ships
        self.limited = 0  # nodes whose days have limits
        self.tight = 0  # those whose first day may be too full
        for node in market.node_list:
            calendar = node.calendar
            self.first.append(calendar.first_ship_day(now_ms, not_before_ms))
            changes_ms = calendar.changes_ms(now_ms)
            if changes_ms is not None and not (self._until_ms and self._until_ms <= changes_ms):
                self._until_ms = changes_ms
            if node.capacity_orders is not None or node.capacity_units is not None:
                self.limited |= 1 << node.index
        self.loads = [0] * len(market.node_list)  # load prices of the first days
        self._seen = market.booked_changes.count
        for index in nodes_in(self.limited):
            self._look(market.node_list[index])

    def holds(self, now_ms: int) -> bool:
        """Whether the days are those of requests of this moment."""
        return self._from_ms <= now_ms and (self._until_ms is None or now_ms < self._until_ms)

    def refresh(self) -> None:
        """Look again at the days that were booked since."""
        booked = self._market.booked_changes
        if self._seen != booked.count:
            missed = booked.since(self._seen)
            self._seen = booked.count
            if missed is None:
                missed = [self._market.node_list[index].node_id for index in nodes_in(self.limited)]
            for node_id in missed:
                self._look(self._market.nodes[node_id])

    def _look(self, node: Node) -> None:
        day = self.first[node.index]
        bit = 1 << node.index
        if day is None or not self.limited & bit:
            return
        if has_room(node, day, TIGHT_UNITS):
            self.tight &= ~bit
        else:
            self.tight |= bit
        self.loads[node.index] = self._market.rules.load_price(load_percent(node, day))


def has_room(node: Node, day: int, units: int) -> bool:
    """Whether a leg of so many units fits on a node's day; one above a whole day needs it empty."""
    orders, booked = node.booked.get(day, (0, 0))
    if node.capacity_orders is not None and orders >= node.capacity_orders:
        return False
    limit = node.capacity_units
    return limit is None or booked + units <= limit or (units > limit and not orders)


def load_percent(node: Node, day: int) -> int:
    """How much of a node's day is booked: the fuller of orders and units, in whole percent."""
    booked = node.booked.get(day)
    if booked is None:
        return 0
    percent = 0
    if node.capacity_orders:
        percent = booked[0] * 100 // node.capacity_orders
    if node.capacity_units:
        percent = max(percent, booked[1] * 100 // node.capacity_units)
    return percent


class Priced:
    """What a leg costs on a day, without the day's load; money in minor units."""

    __slots__ = (
        "days_late",
        "deliver_day",
        "handling",
        "late",
        "minor",
        "parcels",
        "per_unit",
        "service",
        "ship_day",
        "transport",
    )

    def __init__(  # noqa: PLR0913, PLR0917 - a record
        self,
        transport: int,
        handling: int,
        per_unit: int,
        late: int,
        ship_day: int,
        deliver_day: int | None,
        days_late: int,
        service: Service | None,
        parcels: int,
    ) -> None:
        """`service`: the one for all its parcels."""
        self.transport = transport
        self.handling = handling
        self.per_unit = per_unit
        self.late = late
        self.minor = transport + handling + per_unit + late
        self.ship_day = ship_day
        self.deliver_day = deliver_day
        self.days_late = days_late
        self.service = service
        self.parcels = parcels


class Contents(NamedTuple):
    """What prices ask of a leg's units: parcels by their price classes."""

    units: int  # 0 where no price asks
    parcels: tuple[Parcel, ...]


class Ranking:
    """Nodes by what a leg of certain contents is worth there, before the day's load.

    Nodes that cost the same whatever they ship are one group: a value stands for all of it.
    """

    __slots__ = (
        "_order",
        "_tiers",
        "able",
        "contents",
        "group_of",
        "head",
        "prices",
        "rows",
        "values",
    )

    def __init__(
        self,
        contents: Contents,
        values: list[int],
        group_of: Sequence[int],
        tiers: list[tuple[int, list[list[int]]]],
        order: list[int] | None,
        able: int,
    ) -> None:
        """Nodes come in tiers (value, the nodes of each group), or each by itself in order."""
        self.contents = contents
        self.values = values  # by group; -1 where there is no price
        self.group_of = group_of  # by index
        self._tiers = tiers
        self._order = order
        self.able = able  # nodes that have a price, in time where they must be
        # the first nodes once more, as they are asked for most: value, index, set of one
        self.head: list[tuple[int, int, int]] = []
        for at in range(self.tiers):
            value = self.value_of_tier(at)
            room = HEAD - len(self.head)
            self.head += [(value, index, 1 << index) for index in self.tier(at)[:room]]
            if len(self.head) == HEAD:
                break
        # by index: a ship day, a load price, and the node as explanations show it then
        self.rows: dict[int, tuple[int, int, DecisionRow]] = {}
        self.prices: dict[int, Priced] = {}  # by index: those asked for last

    def remember(self, index: int, priced: Priced) -> None:
        """Keep what a leg costs at a node, among the few that are asked for again."""
        if len(self.prices) >= HEAD:
            self.prices.clear()
        self.prices[index] = priced

    def after_head(self, bits: int) -> Iterator[tuple[int, int]]:
        """Value and index of the nodes of a set that don't stand at the head, least first."""
        if len(self.head) < HEAD:
            return
        for _, _, bit in self.head:
            bits &= ~bit
        if bits.bit_count() * _RARE >= len(self.group_of):
            there = as_bytes(bits)
            beyond = 8 * len(there)
            for at in range(self.tiers):
                for index in self.tier(at):
                    if index < beyond and there[index >> 3] >> (index & 7) & 1:
                        yield self.value_of_tier(at), index
            return
        values, group_of = self.values, self.group_of
        found = [(values[group_of[index]], index) for index in nodes_in(bits)]
        yield from sorted([one for one in found if one[0] >= 0])

    @property
    def tiers(self) -> int:
        """How many values there are; the least is tier 0."""
        return len(self._tiers if self._order is None else self._order)

    def value_of_tier(self, at: int) -> int:
        """What nodes of a tier are worth."""
        return self._tiers[at][0] if self._order is None else self.values[self._order[at]]

    def tier(self, at: int) -> list[int]:
        """The nodes of a tier."""
        if self._order is not None:
            return [self._order[at]]
        groups = self._tiers[at][1]
        if len(groups) > 1:
            groups[:] = [sorted(chain(*groups))]
        return groups[0]


class Stocked:
    """An item as planning under one strategy sees it."""

    __slots__ = ("_limited", "capable", "content", "holders", "item", "requires")

    def __init__(
        self, item: Plain, content: Content, requires: Sequence[str], capable: int
    ) -> None:
        self.item = item
        self.content = content  # one unit
        self.requires = requires  # capabilities, in the item's order
        self.capable = capable  # nodes that have them
        self.holders: Holders | None = None  # None until somebody has some
        self._limited: dict[str, bool] = {}

    def limited(self, market: Market, channel: str) -> bool:
        """Whether something of it may be kept from the channel, now or later."""
        found = self._limited.get(channel)
        if found is None:
            found = self._limited[channel] = may_limit(market, self.item, channel)
        return found


class Terms(NamedTuple):
    """What decides prices to a place beside nodes, contents and days."""

    strategy: Strategy
    service_level: str
    carrier: str | None  # asked for by the order
    service: str | None
    late_per_day: int


class Reach:
    """One place on certain terms, on whatever day: distances, lanes, fences."""

    __slots__ = (
        "away",
        "bars",
        "by_place",
        "bytes",
        "class_of",
        "floor",
        "lanes",
        "metres",
        "objective",
        "open",
        "rated",
        "terms",
    )

    def __init__(self, tables: "Tables", place: Place, terms: Terms) -> None:
        market = tables.market
        nodes = market.node_list
        self.terms = terms
        self.rated = bool(market.services)
        here = place.vector
        self.metres: list[int | None] = (
            [None] * len(nodes) if here is None else distances(here, tables.vectors)
        )
        # what ranks last; where nothing has a distance, none has one to lose by
        far = 0 if here is None or not tables.located else FAR_M
        self.away: list[int] = (
            cast("list[int]", self.metres)
            if tables.all_located and here is not None
            else [far if one is None else one for one in self.metres]
        )
        self.lanes: list[list[tuple[Service, Lane]]] = []
        self.bars = dict(tables.bars(terms.strategy))  # fence -> nodes that it bars
        if self.rated:
            self._find_lanes(market, place)
        self._fence(nodes, place)
        self.open = tables.everyone
        for bits in self.bars.values():
            self.open &= ~bits
        self.objective = tables.objective(terms.strategy)
        # whether places alone tell the nodes' prices apart
        self.by_place = not self.rated or terms.strategy.objective is not None
        self.class_of: Sequence[int] = tables.classes
        self.floor = 0  # what no leg is worth less than
        if self.rated:
            self._classify(nodes)
        self.bytes = 400 + 250 * len(nodes)

    def _bar(self, code: str, index: int) -> None:
        self.bars[code] = self.bars.get(code, 0) | 1 << index

    def _find_lanes(self, market: Market, place: Place) -> None:
        terms = self.terms
        services = [one for one in market.services.values() if one.active]
        named = [
            one
            for one in services
            if one.carrier == terms.carrier and terms.service in (None, one.service)
        ]
        if not named:
            named = [one for one in services if terms.service_level in one.levels]
        for node in market.node_list:
            lanes = []
            stopped = False
            for service in named:
                lane = service.lane(node, place)
                if lane is None:
                    continue
                if market.suspends(service, node, place):
                    stopped = True
                else:
                    lanes.append((service, lane))
            if not lanes:
                self._bar("lane_suspended" if stopped else "no_rate", node.index)
            self.lanes.append(lanes)

    def _fence(self, nodes: Sequence[Node], place: Place) -> None:
        """What depends on the place."""
        fences = self.terms.strategy.fences
        if fences.max_m is not None:
            for index, away in enumerate(self.metres):
                if away is not None and away > fences.max_m:
                    self._bar("max_km", index)
        if not fences.cross_border and place.country is not None:
            for node in nodes:
                if node.country != place.country:
                    self._bar("cross_border", node.index)

    def _classify(self, nodes: Sequence[Node]) -> None:
        """Number the nodes by what tells their prices apart; -1 where there is none."""
        classes: dict[tuple[object, ...], int] = {}
        class_of = []
        least: list[int] = []
        for node, lanes in zip(nodes, self.lanes, strict=True):
            if not node.calendar.working or not lanes:
                class_of.append(-1)
                continue
            key = (
                tuple([id(lane) for _, lane in lanes]),
                node.handling_cost_minor,
                node.unit_cost_minor,
                node.index if self.by_place else -1,
            )
            number = classes.setdefault(key, len(classes))
            if number == len(least):
                minor = node.handling_cost_minor + node.unit_cost_minor
                minor += min([lane.least_minor for _, lane in lanes])
                away = self.away[node.index]
                least.append(self.objective.of_place(node, away, minor, 1))
            class_of.append(number)
        self.class_of = class_of
        self.floor = min(least, default=0)


class Group(NamedTuple):
    """Nodes that cost the same, whatever they ship."""

    node: int  # the index of one of them
    day: int  # their first ship day, where days matter
    indexes: list[int]


class Zone:
    """A place on certain terms and dates: prices, and rankings, made when asked for."""

    __slots__ = (
        "_bits",
        "_by_distance",
        "_dates",
        "_nodes",
        "_prices",
        "_rankings",
        "_tables",
        "bytes",
        "group_of",
        "groups",
        "kept",
        "plain",
        "reach",
    )

    def __init__(
        self,
        tables: "Tables",
        reach: Reach,
        dates: "Dates",
        schedule: Schedule,
        *,
        kept: bool,
    ) -> None:
        self.kept = kept
        self._tables = tables
        self._nodes = tables.market.node_list
        self._dates = dates
        self.reach = reach
        self.groups: list[Group] = []
        self.group_of: Sequence[int] = tables.each  # by index
        self._bits: list[int] = []
        # the nearest rank first, whatever they ship and whenever
        self._by_distance = not reach.rated and reach.objective.cost and not dates.matter
        if not self._by_distance:
            self._find_groups(schedule)
        self._rankings: dict[Contents, Ranking] = {}
        # the same by weight step (and units), of one parcel that asks nothing of its carrier
        self.plain: dict[int, Ranking] = {}
        self._prices: dict[tuple[int, Contents, int], Priced | None] = {}
        self.bytes = 400 + 20 * len(self._nodes) + 300 * len(self.groups)

    def _find_groups(self, schedule: Schedule) -> None:
        numbers: dict[tuple[int, int], int] = {}
        group_of = array("I")
        matter = self._dates.matter
        for index, of_class in enumerate(self.reach.class_of):
            first = schedule.first[index]
            unpriced = of_class < 0 or first is None
            day = 0 if first is None or not matter else first
            key = (-1, 0) if unpriced else (of_class, day)
            number = numbers.setdefault(key, len(numbers))
            if number == len(self.groups):
                self.groups.append(Group(-1 if unpriced else index, day, []))
            self.groups[number].indexes.append(index)
            group_of.append(number)
        self.group_of = group_of
        self._bits = [_set_of(group.indexes) for group in self.groups]

    def price(self, index: int, contents: Contents, day: int) -> Priced | None:
        """What a leg costs that leaves a node on a day; None where no service takes it."""
        key = (index, contents, day)
        try:
            return self._prices[key]
        except KeyError:
            if len(self._prices) >= _PRICES_KEPT:
                self._prices.clear()
            found = self._prices[key] = self.priced(index, contents, day)
            return found

    def priced(self, index: int, contents: Contents, day: int) -> Priced | None:
        """The same, worked out."""
        node = self._nodes[index]
        if self._by_distance:
            parcels = contents.parcels[0].copies
            if len(contents.parcels) > 1:
                parcels = sum([parcel.copies for parcel in contents.parcels])
            handling, per_unit = node.handling_cost_minor, node.unit_cost_minor * contents.units
            return Priced(0, handling, per_unit, 0, day, None, 0, None, parcels)
        reach, (promise_day, ship_by_day) = self.reach, self._dates
        ship_late = 0 if ship_by_day is None else max(0, day - ship_by_day)
        transport = parcels = 0
        days_late = ship_late
        deliver_day: int | None = None
        used: dict[str, Service] = {}
        for parcel in contents.parcels:
            parcels += parcel.copies
            if not reach.rated:
                continue
            best: _Offer | None = None
            for service, lane in reach.lanes[index]:
                if parcel.requires and not service.excluded.isdisjoint(parcel.requires):
                    continue
                charge = lane.charge(parcel.weight_g, parcel.units, parcel.volume_ml)
                if charge is None:
                    continue
                arrival = lane.arrival_day(day)
                late = ship_late
                if promise_day is not None and arrival - promise_day > late:
                    late = arrival - promise_day
                offer = (late > 0, arrival if late else 0, charge, arrival, service.key, service)
                if best is None or offer < best:
                    best = offer
            if best is None:
                return None
            _, _, charge, arrival, name, service = best
            transport += charge * parcel.copies
            deliver_day = arrival if deliver_day is None else max(deliver_day, arrival)
            used[name] = service
        if deliver_day is not None and promise_day is not None:
            days_late = max(days_late, deliver_day - promise_day)
        return Priced(
            transport,
            node.handling_cost_minor,
            node.unit_cost_minor * contents.units,
            days_late * reach.terms.late_per_day,
            day,
            deliver_day,
            days_late,
            next(iter(used.values())) if len(used) == 1 else None,
            parcels,
        )

    def known(self, contents: Contents) -> "Ranking | None":
        """The ranking of these contents where there is one already."""
        return self._rankings.get(contents)

    def ranking(self, contents: Contents) -> "Ranking":
        """The nodes by what a leg of these contents is worth, each on its first day."""
        found = self._rankings.get(contents)
        if found is None:
            if len(self._rankings) >= _RANKINGS_KEPT:
                self._rankings.clear()
                self.plain.clear()
            found = self._rankings[contents] = self._rank(contents)
        return found

    def _rank(self, contents: Contents) -> "Ranking":
        made = self._rank_places(contents) if self._by_distance else self._rank_groups(contents)
        if self.kept:
            size = 6_000 + 150 * len(made.values)
            self.bytes += size
            self._tables.grow(size)
        return made

    def _rank_places(self, contents: Contents) -> "Ranking":
        tables = self._tables
        values = self.reach.objective.of_places(
            tables.handling,
            tables.per_unit if contents.units else None,
            contents.units,
            self.reach.away,
        )
        order = sorted(range(len(values)), key=values.__getitem__)
        if tables.never:
            order = [index for index in order if not tables.never >> index & 1]
        return Ranking(contents, values, self.group_of, [], order, tables.everyone & ~tables.never)

    def _rank_groups(self, contents: Contents) -> "Ranking":
        values = []
        able = 0
        reach = self.reach
        must = reach.terms.strategy.fences.reach_promise
        of_place = reach.objective.of_place
        for group, bits in zip(self.groups, self._bits, strict=True):
            value = -1
            if group.node >= 0:
                priced = self.priced(group.node, contents, group.day)
                if priced is not None:
                    node, away = self._nodes[group.node], reach.away[group.node]
                    value = of_place(node, away, priced.minor, contents.units)
                    if not (must and priced.days_late):
                        able |= bits
            values.append(value)
        tiers: dict[int, list[list[int]]] = {}
        for value, group in zip(values, self.groups, strict=True):
            if value >= 0:
                tiers.setdefault(value, []).append(group.indexes)
        return Ranking(contents, values, self.group_of, sorted(tiers.items()), None, able)


class Dates(NamedTuple):
    """The days an order asks for: until the first it is in time; None: whenever."""

    promise_day: int | None
    ship_by_day: int | None

    @property
    def matter(self) -> bool:
        """Whether a price depends on the day."""
        return self.promise_day is not None or self.ship_by_day is not None


def _set_of(indexes: Sequence[int]) -> int:
    bits = 0
    for index in indexes:
        bits |= 1 << index
    return bits


_Offer = tuple[bool, int, int, int, str, Service]
"""Whether it is late, when it arrives if so, what it costs, when it arrives, by what."""


class Tables:
    """All that planning keeps of one market, for one version of its network."""

    __slots__ = (
        "_bars",
        "_bytes",
        "_floor_bytes",
        "_limit",
        "_objectives",
        "_reaches",
        "_requires",
        "_schedules",
        "_schedules_made",
        "_seen",
        "_steps",
        "_stocked",
        "_suppressed",
        "_suppression",
        "_zones",
        "all_located",
        "classes",
        "each",
        "everyone",
        "handling",
        "located",
        "market",
        "never",
        "per_unit",
        "scale",
        "units_matter",
        "vectors",
        "version",
        "volume_matters",
    )

    def __init__(self, market: Market, limit: int = TABLE_BYTES) -> None:
        self.market = market
        self._limit = limit
        self.version = market.network_version
        services = [one for one in market.services.values() if one.active]
        self.scale = Scale(services)
        lanes = [lane for service in services for lane in service.lanes()]
        self.volume_matters = any(lane.oversize_over_ml is not None for lane in lanes)
        self.units_matter = any(lane.per_unit_minor for lane in lanes) or any(
            node.unit_cost_minor for node in market.node_list
        )
        # (strategy, day that units must live to) -> sku -> item
        self._stocked: dict[tuple[str, int | None], dict[str, Stocked]] = {}
        self._steps: dict[int, int] = {}
        self._requires: dict[str, int] = {}
        self._schedules: dict[int | None, Schedule] = {}
        self._schedules_made = 0
        self._objectives: dict[str, Objective] = {}
        self._seen: dict[Place, None] = {}  # places asked for once
        self._reaches: OrderedDict[tuple[Terms, Place], Reach] = OrderedDict()
        self._zones: OrderedDict[tuple[Terms, Place, Dates, int], Zone] = OrderedDict()
        self._bytes = 0
        self._floor_bytes = 0  # of these, what holders take
        nodes = market.node_list
        self.everyone = (1 << len(nodes)) - 1
        self.vectors = [node.vector for node in nodes]
        self.located = any(vector is not None for vector in self.vectors)
        self.all_located = all(vector is not None for vector in self.vectors)
        self.each = range(len(nodes))
        # where places alone tell prices apart: each node by itself, -1 for those that never ship
        self.classes = [node.index if node.calendar.working else -1 for node in nodes]
        self.never = _set_of([node.index for node in nodes if not node.calendar.working])
        self.handling = [node.handling_cost_minor for node in nodes]
        self.per_unit = [node.unit_cost_minor for node in nodes]
        self._bars: dict[str, dict[str, int]] = {}
        self._suppression = -1
        self._suppressed: list[Node] = []

    def assortment(self, strategy: Strategy, fresh_from: int | None) -> "dict[str, Stocked]":
        """The items by sku that a strategy has asked for; `fresh_from`: see `Holders`."""
        by_sku = self._stocked.get((strategy.name, fresh_from))
        if by_sku is None:
            if len(self._stocked) >= _STRATEGIES_KEPT:
                self._stocked.clear()
            for key in [one for one in self._stocked if one[0] == strategy.name]:
                del self._stocked[key]  # of a day gone by
            by_sku = self._stocked[strategy.name, fresh_from] = {}
        return by_sku

    def stocked(self, strategy: Strategy, item: Plain, fresh_from: int | None) -> Stocked:
        """An item under a strategy, and who has it."""
        assortment = self.assortment(strategy, fresh_from)
        sku: str = item["sku"]
        found = assortment.get(sku)
        if found is None:
            requires = item.get("requires") or ()
            labels = frozenset(requires)
            category = item.get("category")
            content = Content(
                item.get("weight_g", 0),
                item.get("volume_ml", 0),
                sku,
                "",
                1,
                labels if category is None else labels | {category},
                labels,
            )
            found = assortment[sku] = Stocked(item, content, requires, self.capable(requires))
        if found.holders is None:
            shelf = self.market.bins.get(sku)
            if shelf is not None:
                found.holders = Holders(shelf, self.market, item, strategy, fresh_from)
                self._floor_bytes += found.holders.bytes
                self.grow(found.holders.bytes)
        return found

    def bars(self, strategy: Strategy) -> dict[str, int]:
        """Fences of the strategy that look at a node alone, each with the nodes that it bars."""
        found = self._bars.get(strategy.name)
        if found is None:
            found = self._bars[strategy.name] = {}
            for node in self.market.node_list:
                codes = strategy.fences.barred(node)
                if not node.active:
                    codes.append("inactive")
                if not node.ships or not node.calendar.working:
                    codes.append("does_not_ship")
                for code in codes:
                    found[code] = found.get(code, 0) | 1 << node.index
        return found

    def capable(self, requires: Sequence[str]) -> int:
        """The nodes that have all these capabilities."""
        capable = -1
        for capability in requires:
            bits = self._requires.get(capability)
            if bits is None:
                bits = 0
                for node in self.market.node_list:
                    if capability in node.capabilities:
                        bits |= 1 << node.index
                self._requires[capability] = bits
            capable &= bits
        return capable

    def suppressed(self, sku: str, now_ms: int) -> int:
        """The nodes that are not asked for the item now."""
        if self._suppression != self.market.suppression_version:
            self._suppression = self.market.suppression_version
            self._suppressed = [
                node for node in self.market.node_list if node.suppressed or node.closed_until_ms
            ]
        bits = 0
        for node in self._suppressed:
            if node.suppresses(sku, now_ms):
                bits |= 1 << node.index
        return bits

    def schedule(self, now_ms: int, not_before_ms: int | None) -> Schedule:
        """The nodes' first days, of now; what may leave already has one in common."""
        if not_before_ms is not None:
            # Cut-offs are whole minutes: up to the next one, nothing differs.
            not_before_ms = -(-not_before_ms // MINUTE_MS) * MINUTE_MS
            if not_before_ms <= now_ms:
                not_before_ms = None
        found = self._schedules.get(not_before_ms)
        if found is None or not found.holds(now_ms):
            if len(self._schedules) >= _SCHEDULES_KEPT:
                self._schedules.clear()
            self._schedules_made += 1
            found = Schedule(self.market, self._schedules_made, now_ms, not_before_ms)
            self._schedules[not_before_ms] = found
        else:
            found.refresh()
        return found

    def step_g(self, weight_g: int) -> int:
        """The heaviest weight that costs what this one does."""
        found = self._steps.get(weight_g)
        if found is None:
            if len(self._steps) >= _STEPS_KEPT:
                self._steps.clear()
            found = self.scale.step_g(weight_g)
            self._steps[weight_g] = found = _HEAVIEST if found < 0 else found
        return found

    def objective(self, strategy: Strategy) -> Objective:
        """How the strategy's legs compare."""
        found = self._objectives.get(strategy.name)
        if found is None:
            found = self._objectives[strategy.name] = Objective(self.market, strategy.objective)
        return found

    def zone(self, place: Place, terms: Terms, dates: Dates, schedule: Schedule) -> Zone:
        """The place on these terms and dates; those used longest ago give way."""
        key = (terms, place, dates, schedule.number if dates.matter else 0)
        found = self._zones.get(key)
        if found is not None:
            self._zones.move_to_end(key)
            return found
        reach = self._reaches.get((terms, place))
        if reach is not None:
            self._reaches.move_to_end((terms, place))
        else:
            reach = Reach(self, place, terms)
            if place not in self._seen:  # most exact places come once: they aren't worth keeping
                if len(self._seen) >= _SEEN_KEPT:
                    self._seen.clear()
                self._seen[place] = None
                return Zone(self, reach, dates, schedule, kept=False)
            self._reaches[terms, place] = reach
            self.grow(reach.bytes)
        found = self._zones[key] = Zone(self, reach, dates, schedule, kept=True)
        self.grow(found.bytes)
        return found

    def grow(self, size: int) -> None:
        """Note that tables take so many bytes more, and let old ones go where it is too much."""
        self._bytes += size
        if self._floor_bytes > self._limit // 2:
            self._stocked.clear()
            self._bytes -= self._floor_bytes
            self._floor_bytes = 0
        while self._bytes > self._limit and len(self._zones) > 1:
            self._bytes -= self._zones.popitem(last=False)[1].bytes
            if len(self._reaches) > len(self._zones):
                self._bytes -= self._reaches.popitem(last=False)[1].bytes


def tables_of(market: Market) -> Tables:
    """The market's tables, made anew where its network has changed."""
    found = cast("Tables | None", market.tables)
    if found is None or found.version != market.network_version:
        found = Tables(market)
        market.tables = found
    return found
