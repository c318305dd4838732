"""Tables: what planning looks up instead of walking the state.

They are made from the state when first asked for, mended as it changes, and dropped when the
network changes; no decision depends on whether they were there. Sets of nodes are integers: bit i
is the node with index i.
"""

from collections import OrderedDict
from collections.abc import Iterable, Iterator, Sequence
from typing import Final, NamedTuple, cast

from events.decided import Decision, DecisionRow, Plain
from orchestrator.core.ledger import Bin
from orchestrator.core.shard import Market, Node, Shelf
from orchestrator.core.sourcing.availability import floor, may_limit
from orchestrator.core.sourcing.calendars import MINUTE_MS
from orchestrator.core.sourcing.geo import distances
from orchestrator.core.sourcing.objectives import FAR_M, Objective
from orchestrator.core.sourcing.parcels import Content, Limits, Parcel
from orchestrator.core.sourcing.places import Place
from orchestrator.core.sourcing.rates import Lane, Scale, Service, suspended
from orchestrator.core.sourcing.strategies import Strategy

TABLE_BYTES: Final = 48_000_000
"""What a market's price tables and the units that stay at nodes may take.

The prices used longest ago give way; those units may take half, then all of them are found anew.
"""
_FLOOR_BYTES: Final = 40  # of an item at a node: an entry of a dict
_LEVELS: Final = 3
"""Quantities that are usual: for each there is a set of the nodes with as many units."""
TIGHT_UNITS: Final = 64
"""A day with room for fewer is looked at closely."""
SPARSE: Final = 8
"""Fewer than one node of so many: they are looked up one by one."""
_PRICES_KEPT: Final = 1_000  # of a zone: what explanations show
_RANKINGS_KEPT: Final = 2_000  # of a zone
_SEEN_KEPT: Final = 50_000
_STRATEGIES_KEPT: Final = 500
_STEPS_KEPT: Final = 100_000
_TERMS_KEPT: Final = 1_000
_SHOWN_KEPT: Final = 50  # of a ranking, behind its head
_SHOWN_KEPT_WIDE: Final = 6  # the same, where it is seldom the same ones that are asked for again
HEAD: Final = 8
"""Nodes at the head of a ranking that are kept at hand."""
WIDE_HEAD: Final = 40
"""The same, of more than `WIDE` nodes: many of them cost the same."""
WIDE: Final = 62
"""Sets of more nodes than this are slow integers."""
MOST_MINOR: Final = 10**13
"""Transport, and lateness, of a leg count no higher: an order's sums stay within 64 bits."""
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
    for byte in as_bytes(
        bits, bits.bit_length()
    ):  # a large integer is made anew by everything that is done to it
        if byte:
            for place in _PLACES[byte]:
                found.append(at + place)  # noqa: PERF401 - a list for each byte costs more
        at += 8
    return found


def as_bytes(bits: int, nodes: int) -> bytes:
    """A set of so many nodes, eight a byte, for who asks for many of them one by one."""
    return bits.to_bytes(nodes + 7 >> 3, "little")


def set_of(indexes: Sequence[int]) -> int:
    """The nodes with these indexes."""
    bits = 0
    for index in indexes:
        if index >= WIDE:
            return _large_set(indexes)
        bits |= 1 << index
    return bits


def _large_set(indexes: Sequence[int]) -> int:
    there = bytearray((max(indexes, default=0) >> 3) + 1)
    for index in indexes:
        there[index >> 3] |= 1 << (index & 7)
    return int.from_bytes(there, "little")


class Holders:
    """Which nodes have units of an item free, above what stays there; mended as bins change."""

    __slots__ = (
        "_changes",
        "_fresh_from",
        "_item",
        "_keeps",
        "_kept",
        "_level",
        "_market",
        "_nodes",
        "_one",
        "_other",
        "_seen",
        "_shelf",
        "_strategy",
        "_three",
        "_two",
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
        self._one = self._two = self._three = 0  # nodes with at least so many units
        self._level = bytearray()  # by index: free units, as far as those sets tell them apart
        self._fill()

    def _fill(self) -> None:
        self._seen = self._changes.count
        self._other.clear()
        self._level = bytearray(len(self._nodes))
        found: list[list[int]] = [[], [], []]
        for node_id, there in self._shelf.items():
            node = self._nodes[node_id]
            level = min(max(self._free(node, there), 0), _LEVELS)
            self._level[node.index] = level
            for units in range(level):
                found[units].append(node.index)
        self._one, self._two, self._three = [set_of(indexes) for indexes in found]

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

    def stays_fresh(self, node: Node, units: int) -> bool:
        """Whether so many available units, kept there or not, surely live as long as they must."""
        there = self._shelf.get(node.node_id)
        return there is None or self._fresh_from is None or there.fresh(self._fresh_from) >= units

    def bits(self, units: int) -> int:
        """The nodes that have at least so many units free."""
        if self._changes.count != self._seen:
            self._mend()
        if units == 1:
            return self._one
        if units == 2:  # noqa: PLR2004 - as it says
            return self._two
        if units == 3:  # noqa: PLR2004
            return self._three
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

    def _mend(self) -> None:
        changes, last = self._changes, ""
        at = len(changes.recent) - (changes.count - self._seen)
        if at < 0:  # more than are remembered
            self._fill()
            return
        self._seen = changes.count
        if self._other:
            self._other.clear()
        recent = changes.recent
        while at < len(recent):
            node_id = recent[at]
            at += 1
            if node_id == last:
                continue
            last = node_id
            node = self._nodes[node_id]
            there = self._shelf.get(node_id)  # None: it was there on a supposition only
            free = 0 if there is None else self._free(node, there)
            was, now = self._level[node.index], min(max(free, 0), _LEVELS)
            if was != now:
                self._level[node.index] = now
                bit = 1 << node.index
                self._one = self._one | bit if now >= 1 else self._one & ~bit
                self._two = self._two | bit if now >= 2 else self._two & ~bit  # noqa: PLR2004
                self._three = self._three | bit if now >= _LEVELS else self._three & ~bit


class Schedule:
    """The first day each node can ship, for requests of a while, and how full that day is."""

    __slots__ = (
        "_from_ms",
        "_market",
        "_seen",
        "_until_ms",
        "day_bits",
        "day_of",
        "days",
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
        self.days: list[int] = []  # the first days there are; below 0 for never
        self.day_of: list[int] = []  # by index: a place in these
        self.day_bits: list[int] = []  # the nodes of each
        self._find_days()
        self.loads = [0] * len(market.node_list)  # load prices of the first days
        self._seen = market.booked_changes.count
        for index in nodes_in(self.limited):
            self._look(market.node_list[index])

    def _find_days(self) -> None:
        indexes: dict[int, list[int]] = {}
        places: dict[int, int] = {}
        for index, first in enumerate(self.first):
            day = -1 if first is None else first
            place = places.setdefault(day, len(places))
            self.day_of.append(place)
            indexes.setdefault(day, []).append(index)
        self.days = list(indexes)
        self.day_bits = [set_of(some) for some in indexes.values()]

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
        if not has_room(node, day, TIGHT_UNITS):
            self.tight |= bit
        elif self.tight:
            self.tight &= ~bit
        self.loads[node.index] = self._market.rules.load_price(load_percent(node, day))


def has_room(node: Node, day: int, units: int) -> bool:
    """Whether a leg of so many units fits on a node's day; one above a whole day needs it empty."""
    there = node.booked.get(day)
    orders, booked = (0, 0) if there is None else (there[0], there[1])
    if node.capacity_orders is not None and orders >= node.capacity_orders:
        return False
    limit = node.capacity_units
    return limit is None or booked + units <= limit or (units > limit > 0 and not orders)


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

    def __init__(
        self,
        transport: int,
        late: int,
        ship_day: int,
        deliver_day: int | None,
        days_late: int,
        service: Service | None,
        parcels: int,
    ) -> None:
        """`service`: the one for all its parcels. What the node itself costs comes on top."""
        self.transport = transport
        self.handling = self.per_unit = 0  # the node's
        self.late = late
        self.minor = transport + late  # all of it
        self.ship_day = ship_day
        self.deliver_day = deliver_day
        self.days_late = days_late
        self.service = service
        self.parcels = parcels


class Contents(NamedTuple):
    """What prices ask of a leg's units: parcels by their price classes."""

    units: int  # 0 where no price asks
    parcels: tuple[Parcel, ...]


class Shown:
    """A node as explanations show it for certain contents, on a day and at its load."""

    __slots__ = ("day", "load_minor", "priced", "row")

    def __init__(self, day: int, load_minor: int, priced: Priced, row: DecisionRow) -> None:
        self.day = day
        self.load_minor = load_minor
        self.priced = priced
        self.row = row


class Ranking:
    """Nodes by what a leg of certain contents is worth there, before the day's load.

    Nodes that cost the same whatever they ship are one group: a value stands for all of it.
    """

    __slots__ = (
        "_minors",
        "_near",
        "_order",
        "_others",
        "_shown",
        "_values",
        "able",
        "contents",
        "goes_on",
        "groups",
        "head",
        "unused",
        "worths",
    )

    def __init__(
        self,
        contents: Contents,
        groups: "Groups",
        minors: list[int],
        values: list[int] | None,
        able: int,
        *,
        near: bool = False,
    ) -> None:
        """`minors`: what transport and lateness cost, by cell; `values`: by node, if it is apart.

        -1 where there is no price. `near`: values as `Objective.nearest_of` says them.
        """
        self.contents = contents
        self.groups = groups
        self._minors = minors
        self._values = values
        self._near = near
        self._order: list[int] = []  # the groups with a price, least first, once they are asked for
        self.able = able  # nodes that have a price, in time where they must be
        # the first nodes once more, as they are asked for most: indexes, what a leg is worth there,
        # and how they were shown last (plain lists: the collector walks no object for each)
        self.head: list[int] = []
        self.worths: list[int] = []
        self.goes_on = False  # whether there are more behind it
        if values is None:
            self._find_head()
        else:
            room = WIDE_HEAD if groups.nodes > WIDE else HEAD
            self.head = self.order[:room]
            self.worths = [self.value_of(index) for index in self.head]
            self.goes_on = len(self.head) == room
        self._shown: list[Shown | None] = [None] * len(self.head)
        self._others: dict[int, Shown] = {}  # by index: those that stand behind
        self.unused: dict[int, list[tuple[str, str]]] = {}  # by index: as `Zone.unused` says

    def _find_head(self) -> None:
        """Merge the cells, of which each has its groups in order."""
        groups, units, minors = self.groups, self.contents.units, self._minors
        room = WIDE_HEAD if groups.nodes > WIDE else HEAD
        cells = groups.cells_for(units)
        places = [0] * len(cells)
        least_of: list[int] = []  # by cell: what its next group is worth; -1 at its end
        for at, cell in enumerate(cells):
            minor = minors[at]
            least_of.append(minor + groups.minor(cell[0], units) if cell and minor >= 0 else -1)
        while room:
            value = -1
            for least in least_of:
                if least >= 0 and (value < 0 or least < value):
                    value = least
            if value < 0:
                return
            found: list[int] = []
            for at, cell in enumerate(cells):
                while least_of[at] == value:
                    place = places[at]
                    found += groups.members(cell[place])
                    places[at] = place = place + 1
                    goes_on = place < len(cell)
                    least_of[at] = minors[at] + groups.minor(cell[place], units) if goes_on else -1
            found.sort()
            for index in found[:room]:
                self.head.append(index)
                self.worths.append(value)
                room -= 1
        self.goes_on = True

    @property
    def order(self) -> list[int]:
        """The groups with a price, least first."""
        if not self._order:
            values = self._values
            if values is None:
                values = [self.worth(group) for group in range(self.groups.count)]
            order = [group for group in self.groups.filled if values[group] >= 0]
            order.sort(key=values.__getitem__)
            self._order = order
        return self._order

    def worth(self, group: int) -> int:
        """What a leg is worth at the nodes of a group; -1 where there is no price."""
        if self._values is not None:
            return self.value_of(group)  # each node is one
        minor = self._minors[self.groups.cell(group)]
        return minor if minor < 0 else minor + self.groups.minor(group, self.contents.units)

    def tier(self, at: int) -> tuple[list[int], int]:
        """The nodes worth what the group at a place of the order is, and the next tier's place."""
        order = self.order
        value, first = self.worth(order[at]), at
        at += 1
        while at < len(order) and self.worth(order[at]) == value:
            at += 1
        found = self.groups.members(order[first])
        if at > first + 1:
            found = found.copy()
            for other in range(first + 1, at):
                found += self.groups.members(order[other])
            found.sort()
        return found, at

    def value_of(self, index: int) -> int:
        """What a leg is worth at a node; -1 where there is no price."""
        if self._values is not None:
            value = self._values[index]
            return Objective.of_near(value) if self._near and value >= 0 else value
        groups = self.groups
        cell = groups.way_of[index]
        if groups.days > 1:
            cell = cell * groups.days + groups.day_of[index]
        minor = self._minors[cell]
        if minor < 0:
            return -1
        minor += groups.handling[index]
        units = self.contents.units
        return minor + units * groups.per_unit[index] if units else minor

    def values_of(self, indexes: list[int]) -> list[int]:
        """The same of some nodes, in their order."""
        if self._values is not None:
            return [self.value_of(index) for index in indexes]
        groups, units, minors = self.groups, self.contents.units, self._minors
        way_of, day_of, days = groups.way_of, groups.day_of, groups.days
        handling, per_unit = groups.handling, groups.per_unit
        found: list[int] = []
        for index in indexes:
            cell = way_of[index]
            if days > 1:
                cell = cell * days + day_of[index]
            minor = minors[cell]
            if minor >= 0:
                minor += handling[index]
                if units:
                    minor += units * per_unit[index]
            found.append(minor)
        return found

    def after_head(self, bits: int, limit: int | None) -> Iterable[int]:
        """The nodes of a set that don't stand at the head, least first: value * nodes + index each.

        At least those worth less than `limit`.
        """
        if not self.goes_on:
            return ()
        nodes = self.groups.nodes
        bits ^= bits & set_of(self.head)
        if bits.bit_count() * SPARSE >= nodes:
            return self._walk(as_bytes(bits, nodes))
        found: list[int] = []
        indexes = nodes_in(bits)
        values = self.values_of(indexes)
        for at, index in enumerate(indexes):
            value = values[at]
            if value >= 0 and (limit is None or value < limit):
                found.append(value * nodes + index)
        found.sort()
        return found

    def _walk(self, there: bytes) -> Iterator[int]:
        at, nodes = 0, self.groups.nodes
        while at < len(self.order):
            value = self.worth(self.order[at])
            tier, at = self.tier(at)
            for index in tier:
                if there[index >> 3] >> (index & 7) & 1:
                    yield value * nodes + index

    def shown(self, index: int) -> Shown | None:
        """A node as it was shown last."""
        for place, other in enumerate(self.head):
            if other == index:
                return self._shown[place]
        return self._others.get(index)

    def show(self, index: int, shown: Shown) -> None:
        """Keep how a node is shown."""
        if index in self.head:
            self._shown[self.head.index(index)] = shown
            return
        if len(self._others) >= (_SHOWN_KEPT_WIDE if self.groups.nodes > WIDE else _SHOWN_KEPT):
            self._others.clear()
        self._others[index] = shown


class Stocked:
    """An item as planning under one strategy sees it."""

    __slots__ = (
        "_limited",
        "capable",
        "content",
        "holders",
        "item",
        "requires",
        "volume_ml",
        "weight_g",
    )

    def __init__(
        self, item: Plain, content: Content, requires: Sequence[str], capable: int
    ) -> None:
        self.item = item
        self.content = content  # one unit
        self.weight_g, self.volume_ml = content.weight_g, content.volume_ml
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


class Terms:
    """What decides prices to a place beside nodes, contents and days; equal ones are one object."""

    __slots__ = (
        "carrier",
        "late_per_day",
        "parcel",
        "refuses",
        "service",
        "service_level",
        "services",
        "strategy",
        "told",
    )

    def __init__(
        self,
        strategy: Strategy,
        service_level: str,
        carrier: str | None,
        service: str | None,
        market: Market,
    ) -> None:
        self.strategy = strategy
        self.service_level = service_level
        self.carrier = carrier  # asked for by the order
        self.service = service
        self.late_per_day = market.rules.late_per_day(service_level)
        active = [one for one in market.services.values() if one.active]
        named = [one for one in active if one.carrier == carrier and service in (None, one.service)]
        self.services = named or [one for one in active if service_level in one.levels]
        self.parcel = _carried(strategy.parcel, self.services)
        # whether one of them takes no parcel above some weight, or without some capability
        self.refuses = any(one.excluded for one in self.services) or any(
            lane.heaviest_g is not None for one in self.services for lane in one.lanes()
        )
        self.told: Decision | None = None  # a decision on these terms, to be copied


def _carried(limits: Limits, services: Sequence[Service]) -> Limits:
    """What a parcel may hold and some service takes: what is heavier goes in several."""
    most = [lane.heaviest_g for service in services for lane in service.lanes()]
    heaviest_g = max([one for one in most if one is not None], default=None)
    if heaviest_g is None or None in most:
        return limits
    if limits.max_g is not None and limits.max_g <= heaviest_g:
        return limits
    return limits._replace(max_g=heaviest_g)


Way = tuple[tuple[Service, Lane], ...]
"""The services that go from a node to a place, each with what it charges."""


class Kind:
    """Nodes whose legs cost the same, whatever they ship, if it leaves on the same day."""

    __slots__ = ("bits", "handling_minor", "unit_minor", "way")

    def __init__(self, way: int, handling_minor: int, unit_minor: int, bits: int) -> None:
        self.way = way
        self.handling_minor = handling_minor
        self.unit_minor = unit_minor
        self.bits = bits


class Reach:
    """One place on certain terms, on whatever day: distances, lanes, fences."""

    __slots__ = (
        "away",
        "bars",
        "by_place",
        "bytes",
        "floor",
        "kinds",
        "metres",
        "objective",
        "open",
        "place_told",
        "rated",
        "stopped",
        "terms",
        "way_bits",
        "way_of",
        "ways",
    )

    def __init__(self, tables: "Tables", place: Place, terms: Terms) -> None:
        market = tables.market
        nodes = market.node_list
        self.terms = terms
        self.place_told = _told(place)
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
        self.bars = dict(tables.bars(terms.strategy))  # fence -> nodes that it bars
        self.ways: list[Way] = [()]
        # by index; 0 where there is no service, or the node never ships
        self.way_of: list[int] = [0] * len(nodes)
        self.stopped: dict[int, list[str]] = {}  # by index: the services suspended from there
        if self.rated:
            self._find_ways(market, place)
        self._fence(nodes, place)
        self.open = tables.everyone
        for bits in self.bars.values():
            self.open &= ~bits
        self.objective = tables.objective(terms.strategy)
        # whether places alone tell the nodes' prices apart
        self.by_place = not self.rated or terms.strategy.objective is not None
        self.way_bits: list[int] = []  # the nodes that can ship each way
        self.kinds: list[Kind] = []  # where they don't
        self.floor = 0  # what no leg is worth less than
        if self.rated:
            self._find_kinds(nodes)
        else:
            self.way_bits.append(tables.everyone & ~tables.never)
        self.bytes = 1_000 + 120 * len(nodes)

    def _bar(self, code: str, index: int) -> None:
        self.bars[code] = self.bars.get(code, 0) | 1 << index

    def _find_ways(self, market: Market, place: Place) -> None:
        named = self.terms.services
        suspensions = market.suspensions_to(place)
        numbers: dict[tuple[int, ...], int] = {(): 0}
        way_of: list[int] = []
        for node in market.node_list:
            way: list[tuple[Service, Lane]] = []
            stopped: list[str] = []
            for service in named:
                lane = service.lane(node, place)
                if lane is None:
                    continue
                if suspended(suspensions, service, node, place):
                    stopped.append(service.key)
                else:
                    way.append((service, lane))
            if stopped:
                self.stopped[node.index] = stopped
            if not way:
                self._bar("lane_suspended" if stopped else "no_rate", node.index)
            key = tuple([id(lane) for _, lane in way]) if node.calendar.working else ()
            number = numbers.get(key)
            if number is None:
                number = numbers[key] = len(self.ways)
                self.ways.append(tuple(way))
            way_of.append(number)
        self.way_of = way_of

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

    def _find_kinds(self, nodes: Sequence[Node]) -> None:
        """Number the nodes by what tells their prices apart."""
        by_way: list[list[int]] = [[] for _ in self.ways]
        least_of = [min([lane.least_minor for _, lane in way], default=0) for way in self.ways]
        members: dict[tuple[int, int, int], list[int]] = {}  # handling, unit, way
        for node, way in zip(nodes, self.way_of, strict=True):
            if way:
                by_way[way].append(node.index)
                key = (node.handling_cost_minor, node.unit_cost_minor, way)
                members.setdefault(key, []).append(node.index)
        self.way_bits = [set_of(some) for some in by_way]
        least: list[int] = []
        for (handling, unit, way), indexes in sorted(members.items()):
            self.kinds.append(Kind(way, handling, unit, set_of(indexes)))
            minor = handling + unit + least_of[way]
            for index in indexes if self.by_place else indexes[:1]:
                value = self.objective.of_place(nodes[index], self.away[index], minor, 1)
                least.append(value)
        self.floor = min(least, default=0)


def _told(place: Place) -> list[str]:
    """A place as explanations name it: how it was found, and by what."""
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


class Groups:
    """Nodes that cost the same whatever they ship: of one kind and, where days matter, one day.

    Where places alone tell prices apart, each node is a group. A cell is a way and a day: what
    carriers charge and lateness costs is the same in all of it.
    """

    __slots__ = (
        "_apart",
        "_cells",
        "_day_bits",
        "_kinds",
        "_members",
        "day_of",
        "days",
        "filled",
        "handling",
        "nodes",
        "per_unit",
        "way_of",
    )

    def __init__(self, reach: Reach, tables: "Tables", schedule: Schedule | None) -> None:
        """`schedule`: None where days don't matter."""
        self.handling, self.per_unit = tables.handling, tables.per_unit
        self.nodes = len(self.handling)
        self._apart = reach.by_place
        self._kinds = reach.kinds
        self.way_of = reach.way_of
        self._members: dict[int, list[int]] = {}
        self.days = 1
        self.day_of: list[int] = []
        self._day_bits: list[int] = []
        if schedule is not None:
            self.days = len(schedule.days)
            self.day_of, self._day_bits = schedule.day_of, schedule.day_bits
        self._cells: list[list[int]] = []  # the groups of each, the cheapest first
        self.filled: list[int] = []  # the groups that have nodes
        if self._apart:
            self.filled += range(self.nodes)
            return
        self._cells += [[] for _ in range(len(reach.ways) * self.days)]
        for place, kind in enumerate(self._kinds):  # by what handling costs
            for day in range(self.days):
                if self.days == 1 or kind.bits & self._day_bits[day]:
                    self.filled.append(place * self.days + day)
                    self._cells[kind.way * self.days + day].append(place * self.days + day)

    @property
    def count(self) -> int:
        """How many numbers groups have; some have no node."""
        return len(self._kinds) * self.days

    def cells_for(self, units: int) -> list[list[int]]:
        """The groups of each cell in order of what they cost beside transport."""
        if not units:
            return self._cells
        return [sorted(cell, key=lambda group: self.minor(group, units)) for cell in self._cells]

    def minor(self, group: int, units: int) -> int:
        """What a group costs beside transport and lateness."""
        kind = self._kinds[group if self.days == 1 else group // self.days]
        return kind.handling_minor + kind.unit_minor * units

    def cell(self, group: int) -> int:
        """The cell of a group."""
        if self.days == 1:
            return self._kinds[group].way
        return self._kinds[group // self.days].way * self.days + group % self.days

    def members(self, group: int) -> list[int]:
        """The nodes of a group, in order."""
        if self._apart:
            return [group]
        found = self._members.get(group)
        if found is None:
            if self.days == 1:
                bits = self._kinds[group].bits
            else:
                kind, day = divmod(group, self.days)
                bits = self._kinds[kind].bits & self._day_bits[day]
            found = self._members[group] = nodes_in(bits)
        return found


class Zone:
    """A place on certain terms and dates: prices, and rankings, made when asked for.

    It refers to no tables: those that a network's change has replaced are gone with who uses them.
    """

    __slots__ = (
        "_by_distance",
        "_dates",
        "_nodes",
        "_prices",
        "_rankings",
        "_schedule",
        "bytes",
        "groups",
        "kept",
        "plain",
        "reach",
        "several",
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
        self._nodes = tables.market.node_list
        self._dates = dates
        self._schedule = schedule if dates.matter else None
        self.reach = reach
        self.groups = Groups(reach, tables, self._schedule)
        # the nearest rank first, whatever they ship and whenever
        self._by_distance = not reach.rated and reach.objective.cost and not dates.matter
        self._rankings: dict[Contents, Ranking] = {}
        # the same by weight step (and units), of one parcel that asks nothing of its carrier
        self.plain: dict[int, Ranking] = {}
        # and of several such parcels, by the steps, units and number of each
        self.several: dict[tuple[int, ...], Ranking] = {}
        self._prices: dict[tuple[int, Contents, int], Priced | None] = {}
        self.bytes = 1_500

    def price(self, index: int, contents: Contents, day: int) -> Priced | None:
        """What a leg costs that leaves a node on a day; None where no service takes it."""
        key = (index, contents, day)
        found = self._prices.get(key)
        if found is None and key not in self._prices:
            if len(self._prices) >= _PRICES_KEPT:
                self._prices.clear()
            found = self._prices[key] = self.priced(index, contents, day)
        return found

    def priced(self, index: int, contents: Contents, day: int) -> Priced | None:
        """The same, worked out."""
        reach, node = self.reach, self._nodes[index]
        found = self._shipped(reach.ways[reach.way_of[index]], contents, day)
        if found is not None:
            found.handling = node.handling_cost_minor
            found.per_unit = node.unit_cost_minor * contents.units
            found.minor += found.handling + found.per_unit
        return found

    def _shipped(self, way: Way, contents: Contents, day: int) -> Priced | None:
        """What it costs beside the node: by the cheapest services in time, else the earliest.

        In time for the promise, that is: leaving late is mended by no service. None where no
        service takes one of the parcels.
        """
        reach, dates = self.reach, self._dates
        promise_day, ship_by_day = dates.promise_day, dates.ship_by_day
        ship_late = 0 if ship_by_day is None else max(0, day - ship_by_day)
        transport = parcels = 0
        deliver_day: int | None = None
        one: Service | None = None
        several = False
        for parcel in contents.parcels if reach.rated else ():
            weight_g, volume_ml, units, requires, copies = parcel
            parcels += copies
            best: Service | None = None
            best_minor = best_day = best_late = 0
            for service, lane in way:
                if requires and not service.excluded.isdisjoint(requires):
                    continue
                charge = lane.charge(weight_g, units, volume_ml)
                if charge is None:
                    continue
                arrival = lane.arrival_day(day)
                late = 0
                if promise_day is not None and arrival > promise_day:
                    late = arrival - promise_day
                # in time before late; then the cheapest, of what is late the earliest first
                if best is None or (late > 0) != (best_late > 0):
                    better = best is None or late <= 0
                elif late > 0 and arrival != best_day:
                    better = arrival < best_day
                elif charge != best_minor:
                    better = charge < best_minor
                else:
                    better = (arrival, service.key) < (best_day, best.key)
                if better:
                    best, best_minor, best_day, best_late = service, charge, arrival, late
            if best is None:
                return None
            transport += best_minor * copies
            if deliver_day is None or best_day > deliver_day:
                deliver_day = best_day
            several |= one is not None and one is not best
            one = best
        if not reach.rated:
            parcels = sum([parcel.copies for parcel in contents.parcels])
        days_late = ship_late
        if deliver_day is not None and promise_day is not None:
            days_late = max(days_late, deliver_day - promise_day)
        return Priced(
            min(transport, MOST_MINOR),
            min(days_late * reach.terms.late_per_day, MOST_MINOR),
            day,
            deliver_day,
            days_late,
            None if several else one,
            parcels,
        )

    def takes(self, index: int, contents: Contents, key: str) -> bool:
        """Whether the service `<carrier>/<service>` takes all of it from a node."""
        for service, lane in self.reach.ways[self.reach.way_of[index]]:
            if service.key == key:
                return not _refusal(service, lane, contents.parcels)
        return False

    def unused(self, index: int, ranking: Ranking) -> Sequence[tuple[str, str]]:
        """The services of the terms that don't take what is ranked from a node, and why."""
        reach = self.reach
        terms = reach.terms
        way = reach.ways[reach.way_of[index]]
        if not terms.refuses and len(way) == len(terms.services):
            return ()
        found = ranking.unused.get(index)
        if found is None:
            lanes = {service.key: lane for service, lane in way}
            stopped = reach.stopped.get(index, [])
            found = []
            for service in terms.services:
                lane = lanes.get(service.key)
                if lane is None:
                    why = "lane_suspended" if service.key in stopped else "no_rate"
                else:
                    why = _refusal(service, lane, ranking.contents.parcels)
                if why:
                    found.append((service.key, why))
            if len(ranking.unused) >= _SHOWN_KEPT:
                ranking.unused.clear()
            ranking.unused[index] = found
        return found

    def known(self, contents: Contents) -> "Ranking | None":
        """The ranking of these contents where there is one already."""
        return self._rankings.get(contents)

    def ranking(self, contents: Contents, tables: "Tables") -> "Ranking":
        """The nodes by what a leg of these contents is worth, each on its first day.

        `tables`: those that gave this zone.
        """
        found = self._rankings.get(contents)
        if found is None:
            if len(self._rankings) >= _RANKINGS_KEPT:
                self._rankings.clear()
                self.plain.clear()
                self.several.clear()
            found = self._rankings[contents] = self._rank(contents, tables)
        return found

    def _rank(self, contents: Contents, tables: "Tables") -> "Ranking":
        if self._by_distance:
            made = self._rank_places(contents, tables)
        else:
            made = self._rank_groups(contents)
        if self.kept:
            nodes = len(self._nodes)
            size = 3_000 + (10_000 if nodes > WIDE else 0)
            size += 50 * nodes if self.reach.by_place else 0
            self.bytes += size
            tables.grow(size)
        return made

    def _rank_places(self, contents: Contents, tables: "Tables") -> "Ranking":
        values = Objective.nearest_of(
            tables.handling,
            tables.per_unit if contents.units else None,
            contents.units,
            self.reach.away,
        )
        if tables.never:
            for index in nodes_in(tables.never):
                values[index] = -1
        able = tables.everyone & ~tables.never
        return Ranking(contents, self.groups, [], values, able, near=True)

    def _rank_groups(self, contents: Contents) -> "Ranking":
        reach, units, schedule = self.reach, contents.units, self._schedule
        days = [0] if schedule is None else schedule.days
        must = reach.terms.strategy.fences.reach_promise
        shipments: list[Priced | None] = []  # by way, then day
        able = 0
        for way, bits in zip(reach.ways, reach.way_bits, strict=True):
            for i, day in enumerate(days):
                shipment = self._shipped(way, contents, day) if bits and day >= 0 else None
                if shipment is not None and not (must and shipment.days_late):
                    able |= bits if schedule is None else bits & schedule.day_bits[i]
                shipments.append(shipment)
        if not reach.by_place:  # money is all that counts
            minors = [-1 if one is None else one.transport + one.late for one in shipments]
            return Ranking(contents, self.groups, minors, None, able)
        values: list[int] = []
        for node, way_number in zip(self._nodes, reach.way_of, strict=True):
            at = 0 if schedule is None else schedule.day_of[node.index]
            shipment = shipments[way_number * len(days) + at]
            if shipment is None or not node.calendar.working:
                values.append(-1)
                continue
            minor = shipment.transport + shipment.late + node.handling_cost_minor
            minor += node.unit_cost_minor * units
            away = reach.away[node.index]
            values.append(reach.objective.of_place(node, away, minor, units))
        return Ranking(contents, self.groups, [], values, able)


def _refusal(service: Service, lane: Lane, parcels: Sequence[Parcel]) -> str:
    """Why a service takes not all of some parcels; nothing where it does."""
    for parcel in parcels:
        if not service.excluded.isdisjoint(parcel.requires):
            return "excluded"
    for parcel in parcels:
        if lane.charge(parcel.weight_g, parcel.units, parcel.volume_ml) is None:
            return "too_heavy"
    return ""


class Dates(NamedTuple):
    """The days an order asks for: until the first it is in time; None: whenever."""

    promise_day: int | None
    ship_by_day: int | None

    @property
    def matter(self) -> bool:
        """Whether a price depends on the day."""
        return self.promise_day is not None or self.ship_by_day is not None


_ZoneKey = tuple[Terms, Place, int | None, int | None, int]
"""The terms, the place, the days asked for, and the schedule where these are any."""


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
        "_terms",
        "_zones",
        "all_located",
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
        self._terms: dict[tuple[str, bool, str, str | None, str | None], Terms] = {}
        self._reaches: OrderedDict[tuple[Terms, Place], Reach] = OrderedDict()
        self._zones: OrderedDict[_ZoneKey, Zone] = OrderedDict()
        self._bytes = 0
        self._floor_bytes = 0  # of these, what holders take
        nodes = market.node_list
        self.everyone = (1 << len(nodes)) - 1
        self.vectors = [node.vector for node in nodes]
        self.located = any(vector is not None for vector in self.vectors)
        self.all_located = all(vector is not None for vector in self.vectors)
        never = [node.index for node in nodes if not node.calendar.working]
        self.never = set_of(never)
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
                if not node.sends:
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

    def terms(
        self, strategy: Strategy, level: str, carrier: str | None, service: str | None
    ) -> Terms:
        """The terms of a strategy, a service level and what an order asks of carriers."""
        key = (strategy.name, strategy.fences.reach_promise, level, carrier, service)
        found = self._terms.get(key)
        if found is None:
            if len(self._terms) >= _TERMS_KEPT:
                self._terms.clear()
            found = self._terms[key] = Terms(strategy, level, carrier, service, self.market)
        return found

    def zone(
        self,
        place: Place,
        terms: Terms,
        promise_day: int | None,
        ship_by_day: int | None,
        schedule: Schedule,
    ) -> Zone:
        """The place on these terms and dates; those used longest ago give way."""
        dated = promise_day is not None or ship_by_day is not None
        key = (terms, place, promise_day, ship_by_day, schedule.number if dated else 0)
        found = self._zones.get(key)
        if found is not None:
            self._zones.move_to_end(key)
            return found
        dates = Dates(promise_day, ship_by_day)
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
