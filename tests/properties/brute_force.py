"""Sourcing as the documents word it, by trying every plan: what the planner is held against.

Written from what was asked for, not from the planner: it reads the network's facts as they were
sent, and of the shard only what is counted (stock, lots, booked days, suppressions, pools, uses).
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, time, timedelta
from itertools import product
from math import asin, cos, radians, sin, sqrt
from typing import Any, NamedTuple

from events.zones import time_zone
from orchestrator.core.shard import Market, Shard
from orchestrator.core.sourcing.plan import Request

Plain = dict[str, Any]
Contents = tuple[int, ...]
WEEK = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")
EPOCH = date(1970, 1, 1)
UNKNOWN_M = 10**9  # what counts as the distance of what has no location: beyond any other
LATE_MINOR = 500
PLAIN_STRATEGY: Plain = {"name": "default"}


@dataclass
class World:
    """A shard with one market, and the facts that it was told."""

    shard: Shard
    market: Plain
    nodes: dict[str, Plain] = field(default_factory=dict)
    items: dict[str, Plain] = field(default_factory=dict)
    services: dict[str, Plain] = field(default_factory=dict)
    lanes: list[Plain] = field(default_factory=list)  # suspended
    body: Plain | None = None  # of the active rule set

    @property
    def state(self) -> Market:
        return self.shard.markets[self.market["market_id"]]


class Leg(NamedTuple):
    """A leg as it would be, whether or not anything bars it."""

    components: list[int]  # transport, handling, per unit, late, load, price
    metres: int | None
    ship_day: date
    deliver_day: date | None
    days_late: int
    service: str | None
    parcels: int
    ship_by_ms: int
    deliver_by_ms: int | None

    @property
    def minor(self) -> int:
        return sum(self.components)


class Plan(NamedTuple):
    """What plans compare by, then the legs: node id, units by item."""

    units: int
    value: tuple[int, ...]
    legs: list[tuple[str, Contents]]


class Found(NamedTuple):
    """The answer of all strategies asked, the last one's problem with it."""

    best: Plan | None
    second: Plan | None
    problem: "Problem"


def local(ms: int, zone_name: str) -> datetime:
    return datetime.fromtimestamp(ms // 1000, UTC).astimezone(time_zone(zone_name))


def moment(day: date, at: time, zone_name: str) -> int:
    there = datetime.combine(day, at, time_zone(zone_name))
    return int(there.astimezone(UTC).timestamp()) * 1000


def day_of(text: str, zone_name: str) -> date:
    if len(text) == len("2026-11-22"):
        return date.fromisoformat(text)
    return datetime.fromisoformat(text).astimezone(time_zone(zone_name)).date()


def great_circle(a: Plain | None, b: Plain | None) -> int | None:
    """Metres between two locations, by the haversine."""
    if a is None or b is None:
        return None
    lat_a, lat_b = radians(a["lat"]), radians(b["lat"])
    east = radians(a["lon"] - b["lon"])
    half = sin((lat_a - lat_b) / 2) ** 2 + cos(lat_a) * cos(lat_b) * sin(east / 2) ** 2
    return round(2 * 6_371_009 * asin(min(1.0, sqrt(half))))


def matches(match: Plain, node: Plain) -> bool:
    """Every field given holds, and none under `not`."""

    def holds(fields: Plain) -> list[bool]:
        region = node["address"].get("region", "").casefold()
        found = []
        if "kind" in fields:
            found.append(node["kind"] in fields["kind"])
        if "group" in fields:
            found.append(any(group in fields["group"] for group in node.get("groups", [])))
        if "node" in fields:
            found.append(node["node_id"] in fields["node"])
        if "region" in fields:
            found.append(region in [one.casefold() for one in fields["region"]])
        if "country" in fields:
            found.append(node["address"]["country"] in fields["country"])
        return found

    return all(holds(match)) and not any(holds(match.get("not", {})))


def conditions(when: Plain, data: Plain, items: dict[str, Plain]) -> list[bool]:
    lines = data["lines"]
    quantity = sum(line["quantity"] for line in lines)
    worth = sum(
        line.get(
            "total_minor",
            line["quantity"]
            * line.get("unit_price_minor", items[line["sku"]].get("value_minor", 0)),
        )
        for line in lines
    )
    found = []
    if "channel" in when:
        found.append(data["channel"] in when["channel"])
    if "service_level" in when:
        found.append(data.get("service_level", "standard") in when["service_level"])
    if "country" in when:
        found.append(data["ship_to"]["country"] in when["country"])
    if "category" in when:
        found.append(any(items[one["sku"]].get("category") in when["category"] for one in lines))
    for name, value in (("quantity", quantity), ("order_value", worth)):
        if name in when:
            low, high = when[name].get("min", 0), when[name].get("max", 10**30)
            found.append(low <= value <= high)
    return found


def strategies_of(body: Plain | None) -> dict[str, Plain]:
    written = [] if body is None else list(body["strategies"])
    if all(one.get("when") for one in written):
        written.append(PLAIN_STRATEGY)
    return {one["name"]: one for one in written}


def solve(world: World, request: Request, small: Callable[["Problem"], bool]) -> Found | None:
    """The best plan and the next, by the first strategy that holds and those it passes on to.

    None where a problem is not `small`.
    """
    by_name = strategies_of(world.body)
    strategy = next(
        one
        for one in by_name.values()
        if all(
            conditions(
                {k: v for k, v in one.get("when", {}).items() if k != "not"},
                request.data,
                world.items,
            )
        )
        and not any(conditions(one.get("when", {}).get("not", {}), request.data, world.items))
    )
    while True:
        problem = Problem(world, request, strategy)
        if not small(problem):
            return None
        best, second = problem.two()
        if best is not None or "else" not in strategy:
            return Found(best, second, problem)
        strategy = by_name[strategy["else"]]


class Problem:
    """One request under one strategy."""

    def __init__(self, world: World, request: Request, strategy: Plain) -> None:
        self.world, self.strategy, self.data = world, strategy, request.data
        self.state = world.state
        self.now_ms = request.now_ms
        self.zone: str = world.market["time_zone"]
        self.defaults: Plain = (world.body or {}).get("defaults", {})
        self.fences: Plain = strategy.get("fences", {})
        self.split: Plain = strategy.get("split", {})
        self.parcel: Plain = strategy.get("parcel", {})
        self.mode = self.split.get("quantity", "when_short")
        self.node_ids = sorted(world.nodes)
        self.one_leg = not self.data.get("allow_split", True)
        self.all_or_nothing = not self.data.get("allow_partial", True)
        # lines of one item draw on the same units: they are planned as one
        self.wanted: dict[str, int] = {}
        self.asked_lines = [want.line_id for want in request.wants]
        for want in request.wants:
            self.wanted[want.sku] = self.wanted.get(want.sku, 0) + want.units
        self.skus = list(self.wanted)
        self.atp = [self.promisable(sku) for sku in self.skus]
        self.targets = [
            units if atp is None else min(units, atp)
            for units, atp in zip(self.wanted.values(), self.atp, strict=True)
        ]
        located = [self.away(node_id) for node_id in self.node_ids]
        self.nowhere = all(one is None for one in located)
        self.known: dict[tuple[str, Contents], Leg | None] = {}
        self.divided = [self.is_divided(i) for i in range(len(self.skus))]

    # availability

    def floor(self, node: Plain, sku: str) -> int:
        item = self.world.items[sku]
        safety = [
            entry["units"]
            for entry in self.defaults.get("safety_stock", [])
            if matches(entry.get("nodes", {}), node) and self.concerns(entry, item)
        ]
        kept = [
            entry["units"]
            for entry in self.fences.get("keep", [])
            if matches({k: v for k, v in entry.items() if k != "units"}, node)
        ]
        return int(max([0, *safety, *kept]))

    def concerns(self, entry: Plain, item: Plain) -> bool:
        return ("sku" not in entry or item["sku"] in entry["sku"]) and (
            "category" not in entry or item.get("category") in entry["category"]
        )

    def promisable(self, sku: str) -> int | None:
        """What the channel may take in all; None where nothing is kept from it."""
        item = self.world.items[sku]
        channel = self.data["channel"]
        entries = self.defaults.get("thresholds", {}).get(channel, [])
        kept = max((one["units"] for one in entries if self.concerns(one, item)), default=0)
        today = local(self.now_ms, self.zone).date().isoformat()
        for pool in self.defaults.get("pools", []):
            if (
                pool["channel"] != channel
                and sku in pool["sku"]
                and pool.get("from", today) <= today <= pool.get("until", today)
            ):
                kept += max(0, pool["units"] - self.state.pool_taken[pool["id"]].taken)
        if not kept:
            return None
        free = sum(
            self.free(node_id, sku, fresh=False)
            for node_id, node in self.world.nodes.items()
            if node.get("active", True) and node.get("ships", True)
        )
        return max(0, free - kept)

    def above(self, node_id: str, sku: str, *, fresh: bool = True) -> int:
        """Units at a node above those that stay there; below 0 where these aren't there."""
        floor = self.floor(self.world.nodes[node_id], sku)
        shelf = self.state.bins.get(sku)
        there = shelf and shelf.get(node_id)
        if not there:
            return -floor
        units = there.on_hand - there.reserved - there.set_aside
        days = self.fences.get("min_shelf_days")
        if fresh and days is not None:
            since = (local(self.now_ms, self.zone).date() - EPOCH).days + days
            units -= sum(count for day, count in there.lots or () if day < since)
            units = max(0, units)
        return units - floor

    def free(self, node_id: str, sku: str, *, fresh: bool = True) -> int:
        """Units at a node that an order may get."""
        return max(0, self.above(node_id, sku, fresh=fresh))

    # fences

    def away(self, node_id: str) -> int | None:
        there = self.world.nodes[node_id].get("location")
        return great_circle(there, self.data["ship_to"].get("location"))

    def node_fences(self, node_id: str) -> list[str]:
        """What keeps a node from shipping anything."""
        node = self.world.nodes[node_id]
        found = []
        if not node.get("active", True):
            found.append("inactive")
        if not node.get("ships", True):
            found.append("does_not_ship")
        if "nodes" in self.fences and not matches(self.fences["nodes"], node):
            found.append("nodes")
        has = node.get("capabilities", [])
        if any(one not in has for one in self.fences.get("capability", [])):
            found.append("capability")
        away = self.away(node_id)
        if away is not None and away > self.fences.get("max_km", 10**9) * 1000:
            found.append("max_km")
        if not self.fences.get("cross_border", True) and (
            node["address"]["country"] != self.data["ship_to"]["country"]
        ):
            found.append("cross_border")
        if self.world.services:
            able = [one for one in self.services() if self.price(one, node_id) is not None]
            free = [one for one in able if not self.suspended(one, node_id)]
            if not free:
                found.append("lane_suspended" if able else "no_rate")
        return found

    def item_fences(self, node_id: str, sku: str) -> list[str]:
        node = self.world.nodes[node_id]
        state = self.state.nodes[node_id]
        found = []
        has = node.get("capabilities", [])
        if any(one not in has for one in self.world.items[sku].get("requires", [])):
            found.append("requires")
        closed = state.closed_until_ms > self.now_ms and sku not in state.lifted
        if closed or state.suppressed.get(sku, 0) > self.now_ms:
            found.append("suppressed")
        return found

    def may_ship(self, node_id: str, sku: str) -> bool:
        return not self.node_fences(node_id) and not self.item_fences(node_id, sku)

    # carriers

    def services(self) -> list[Plain]:
        active = [one for one in self.world.services.values() if one.get("active", True)]
        carrier, service = self.data.get("carrier"), self.data.get("service")
        named = [
            one for one in active if one["carrier"] == carrier and service in (None, one["service"])
        ]
        level = self.data.get("service_level", "standard")
        return named or [one for one in active if level in one["service_levels"]]

    def suspended(self, service: Plain, node_id: str) -> bool:
        code = self.data["ship_to"].get("postal_code", "")
        return any(
            lane["carrier"] == service["carrier"]
            and lane.get("service", service["service"]) == service["service"]
            and lane.get("origin_node_id", node_id) == node_id
            and code.startswith(lane.get("destination_prefix", ""))
            for lane in self.world.lanes
        )

    def price(self, service: Plain, node_id: str) -> Plain | None:
        """The rate from a node to the destination; None for a hole."""
        node, to = self.world.nodes[node_id], self.data["ship_to"]
        for zone in service.get("zones", []):
            if (
                zone.get("origin_region", "").upper()
                in ("", node["address"].get("region", "").upper())
                and zone.get("origin_node_id") in (None, node_id)
                and zone.get("destination_country") in (None, to["country"])
                and to.get("postal_code", "").startswith(zone.get("destination_prefix", ""))
            ):
                return dict(zone)
        bands = service.get("rates", [])
        away = self.away(node_id)
        if away is None:
            return dict(bands[-1]) if bands else None
        return next((dict(band) for band in bands if away <= band["to_km"] * 1000), None)

    def charge(self, service: Plain, price: Plain, parcel: list[str]) -> int | None:
        """What a parcel costs; None where it is too heavy, or holds what the service excludes."""
        items = [self.world.items[sku] for sku in parcel]
        excluded = service.get("excluded_capabilities", [])
        if any(one in excluded for item in items for one in item.get("requires", [])):
            return None
        weight = sum(item.get("weight_g", 0) for item in items)
        volume = sum(item.get("volume_ml", 0) for item in items)
        minor = price.get("base_minor", 0)
        if price.get("weight_breaks"):
            reach = [one for one in price["weight_breaks"] if weight <= one["to_g"]]
            if not reach:
                return None
            minor = reach[0]["base_minor"]
        minor += (weight + 999) // 1000 * price.get("per_kg_minor", 0)
        minor += len(parcel) * price.get("per_unit_minor", 0)
        extra = service.get("surcharges", {})
        if self.data["ship_to"].get("residential", False):
            minor += extra.get("residential_minor", 0)
        if weight > extra.get("oversize_over_g", 10**18) or volume > extra.get(
            "oversize_over_ml", 10**18
        ):
            minor += extra.get("oversize_minor", 0)
        return int(minor)

    def parcels(self, contents: Contents) -> list[list[str]]:
        """First-fit decreasing, a unit at a time."""
        max_g, max_ml = self.parcel.get("max_g", 10**18), self.parcel.get("max_ml", 10**18)
        prices = [
            one for each in self.services() for one in each.get("rates", []) + each.get("zones", [])
        ]
        if prices:  # what nobody takes goes in several
            heaviest = [one.get("weight_breaks", [{"to_g": 10**18}])[-1]["to_g"] for one in prices]
            max_g = min(max_g, max(heaviest))
        apart = self.parcel.get("apart", [])

        def size(sku: str) -> tuple[int, int]:
            item = self.world.items[sku]
            return item.get("weight_g", 0), item.get("volume_ml", 0)

        def tags(sku: str) -> list[str]:
            item = self.world.items[sku]
            return [item.get("category", ""), *item.get("requires", [])]

        def clash(a: str, b: str) -> bool:
            return any(
                (one in tags(a) and other in tags(b)) or (one in tags(b) and other in tags(a))
                for one, other in apart
            )

        units = [sku for sku, n in zip(self.skus, contents, strict=True) for _ in range(n)]
        units.sort(key=lambda sku: (-size(sku)[0], -size(sku)[1], sku))
        boxes: list[list[str]] = []
        for sku in units:
            for box in boxes:
                fits = all(
                    sum(size(one)[k] for one in (*box, sku)) <= most
                    for k, most in ((0, max_g), (1, max_ml))
                )
                if fits and not any(clash(sku, one) for one in box if one != sku):
                    box.append(sku)
                    break
            else:
                boxes.append([sku])
        return boxes

    # legs

    def works(self, node: Plain, day: date) -> bool:
        return WEEK[day.weekday()] in node.get(
            "working_days", WEEK[:5]
        ) and day.isoformat() not in node.get("holidays", [])

    def ship_day(self, node_id: str, units: int) -> tuple[date, int]:
        """The first day that the node can still make and that has room; the cut-off (ms)."""
        node = self.world.nodes[node_id]
        zone: str = node.get("time_zone", self.zone)
        cut_off = time.fromisoformat(node.get("cut_off", "16:00"))
        day = local(self.now_ms, zone).date() - timedelta(days=2)
        not_before_ms = self.not_before_ms()
        while True:
            day += timedelta(days=1)
            last_ms = moment(day, cut_off, zone)
            if (
                self.works(node, day)
                and last_ms - node.get("processing_minutes", 0) * 60_000 >= self.now_ms
                and last_ms >= not_before_ms
                and self.has_room(node, day, units)
            ):
                return day, last_ms

    def not_before_ms(self) -> int:
        text = self.data.get("ship_not_before")
        if text is None:
            return 0
        if len(text) == len("2026-11-22"):
            return moment(date.fromisoformat(text), time(0), self.zone)
        return round(datetime.fromisoformat(text).timestamp() * 1000)

    def booked(self, node: Plain, day: date) -> tuple[int, int]:
        orders, units = self.state.nodes[node["node_id"]].booked.get((day - EPOCH).days, (0, 0))
        return orders, units

    def has_room(self, node: Plain, day: date, units: int) -> bool:
        orders, taken = self.booked(node, day)
        if orders + 1 > node.get("capacity_orders_per_day", 10**9):
            return False
        most = node.get("capacity_units_per_day", 10**9)
        return bool(taken + units <= most or (units > most and not orders and not taken))

    def load_price(self, node: Plain, day: date) -> int:
        limits = ("capacity_orders_per_day", "capacity_units_per_day")
        percents = [
            100 * taken // node[name]
            for taken, name in zip(self.booked(node, day), limits, strict=True)
            if name in node
        ]
        if not percents:  # a day without limits has no share
            return 0
        steps = {int(step): minor for step, minor in self.defaults.get("load_price", {}).items()}
        reached = [step for step in steps if step <= max(percents)]
        return steps[max(reached)] if reached else 0

    def leg(self, node_id: str, contents: Contents) -> Leg | None:
        """The leg on the first day with room for it; None where no service takes all of it."""
        key = node_id, contents
        if key not in self.known:
            self.known[key] = self._leg(node_id, contents)
        return self.known[key]

    def _leg(self, node_id: str, contents: Contents) -> Leg | None:
        node = self.world.nodes[node_id]
        units = sum(contents)
        day, ship_by_ms = self.ship_day(node_id, units)
        promise, ship_by = self.data.get("deliver_by"), self.data.get("ship_by")
        ship_late = max(0, (day - day_of(ship_by, self.zone)).days) if ship_by else 0
        parcels = self.parcels(contents)
        transport = 0
        arrivals: list[date] = []
        used = []
        for parcel in parcels if self.world.services else []:
            offers = []
            for service in self.services():
                price = self.price(service, node_id)
                if price is None or self.suspended(service, node_id):
                    continue
                minor = self.charge(service, price, parcel)
                if minor is None:
                    continue
                pickup = day
                while WEEK[pickup.weekday()] not in service.get("pickup_days", WEEK):
                    pickup += timedelta(days=1)
                arrival = pickup + timedelta(days=price["transit_days"])
                late = bool(promise and arrival > day_of(promise, self.zone))
                name = f"{service['carrier']}/{service['service']}"
                rank = (1, arrival, minor) if late else (0, EPOCH, minor, arrival)
                offers.append(((*rank, name), minor, arrival))
            if not offers:
                return None
            (*_, name), minor, arrival = min(offers)
            transport += minor
            arrivals.append(arrival)
            used.append(name)
        latest = max(arrivals, default=None)
        late_days = ship_late
        if promise and latest:
            late_days = max(late_days, (latest - day_of(promise, self.zone)).days)
        each = self.defaults.get("late_per_day", {})
        level = self.data.get("service_level", "standard")
        return Leg(
            [
                transport,
                node.get("handling_cost_minor", 0),
                node.get("unit_cost_minor", 0) * units,
                late_days * each.get(level, each.get("default", LATE_MINOR)),
                self.load_price(node, day),
                0,
            ],
            self.away(node_id),
            day,
            latest,
            late_days,
            used[0] if used and len(set(used)) == 1 else None,
            len(parcels),
            ship_by_ms,
            None
            if latest is None
            else moment(latest + timedelta(days=1), time(), self.zone) - 1000,
        )

    def in_time(self, leg: Leg | None) -> bool:
        must = bool(self.fences.get("reach_promise"))
        return leg is not None and (leg.days_late == 0 or not must)

    # plans

    def is_divided(self, i: int) -> bool:
        """By the default only where no surviving node has the whole quantity."""
        if self.mode != "when_short":
            return bool(self.mode == "always")
        alone = tuple(self.targets[i] if i == j else 0 for j in range(len(self.skus)))
        return not any(
            self.may_ship(node_id, self.skus[i])
            and self.free(node_id, self.skus[i]) >= self.targets[i]
            and self.in_time(self.leg(node_id, alone))
            for node_id in self.node_ids
        )

    def shares(self, i: int) -> list[Contents]:
        """Every way in which the nodes can share an item's units."""
        sku, target = self.skus[i], self.targets[i]
        free = [
            min(target, self.free(one, sku)) if self.may_ship(one, sku) else 0
            for one in self.node_ids
        ]
        if self.divided[i]:
            ways = product(*(range(most + 1) for most in free))
            return [way for way in ways if sum(way) <= target]
        alone = [
            tuple(units if n == k else 0 for k in range(len(free)))
            for n, units in enumerate(free)
            if units and (units == target or self.mode == "never")
        ]
        return [(0,) * len(free), *alone]

    def plans(self) -> Iterator[Plan]:
        """Every plan that may be."""
        if (self.one_leg or self.all_or_nothing) and self.targets != list(self.wanted.values()):
            return
        least = self.split.get("leg_min", {})
        max_legs = 1 if self.one_leg else self.split.get("max_legs", 10**9)
        for ways in product(*map(self.shares, range(len(self.skus)))):
            legs = [
                (n, contents) for n, contents in enumerate(zip(*ways, strict=True)) if any(contents)
            ]
            units = sum(map(sum, ways))
            if not legs or len(legs) > max_legs:
                continue
            if (self.one_leg or self.all_or_nothing) and units < sum(self.targets):
                continue
            if len(legs) > 1 and not all(
                sum(contents) >= least.get("units", 0)
                and self.worth(contents) >= least.get("value", 0)
                for _, contents in legs
            ):
                continue
            named = [(self.node_ids[n], contents) for n, contents in legs]
            if all(self.in_time(self.leg(*one)) for one in named):
                yield Plan(units, self.value(named), named)

    def worth(self, contents: Contents) -> int:
        total = 0
        for sku, units in zip(self.skus, contents, strict=True):
            value = self.world.items[sku].get("value_minor", 0)
            placed = [
                one
                for one in self.data["lines"]
                if one["sku"] == sku and one["line_id"] in self.asked_lines
            ]
            worth = sum(
                one.get("total_minor", one.get("unit_price_minor", value) * one["quantity"])
                for one in placed
            )
            total += -(-worth // sum(one["quantity"] for one in placed)) * units
        return total

    def distance(self, node_id: str) -> int:
        found = self.away(node_id)
        return found if found is not None else 0 if self.nowhere else UNKNOWN_M

    def value(self, legs: list[tuple[str, Contents]]) -> tuple[int, ...]:
        """What plans of as many units compare by, least first."""
        minor = self.split.get("cost_per_extra_leg", 0) * (len(legs) - 1)
        for one in legs:
            leg = self.leg(*one)
            minor += leg.minor if leg else 0
        objective = self.strategy.get("objective", ["cost"])
        if objective == ["cost"]:
            if self.world.services:
                return (minor,)
            away = [(self.distance(node_id), sum(contents)) for node_id, contents in legs]
            return minor, len(legs), sum(d for d, _ in away), sum(d * units for d, units in away)
        return tuple(self.criterion(one, legs, minor) for one in objective)

    def criterion(self, one: Any, legs: list[tuple[str, Contents]], minor: int) -> int:  # noqa: ANN401 - as written
        name, order = next(iter(one.items())) if isinstance(one, dict) else (one, "")
        if name == "cost":
            return minor
        if name == "fewest_legs":
            return len(legs)
        if name == "distance":
            return sum(self.distance(node_id) for node_id, _ in legs)
        if name == "sequence":
            return sum(
                sum(contents) * (order.index(node_id) if node_id in order else len(order))
                for node_id, contents in legs
            )
        descending = order == "desc" or (not order and name != "last_used")
        total = 0
        for node_id, contents in legs:
            for sku, units in zip(self.skus, contents, strict=True):
                if not units:
                    continue
                there = self.state.bins[sku][node_id]
                known: int | None
                if name == "on_hand":
                    known = there.on_hand
                elif name == "days_of_supply":
                    known = there.days_of_supply(self.now_ms)
                    known = None if known is None else min(known, 1 << 16)
                else:
                    known = self.state.nodes[node_id].last_used
                last = 10**15  # beyond any other
                total += units * (last if known is None else -known if descending else known)
        return total

    def two(self) -> tuple[Plan | None, Plan | None]:
        """The best plan and the next."""

        def key(plan: Plan) -> tuple[Any, ...]:
            ids = [node_id for node_id, _ in plan.legs]
            contents = [contents for _, contents in plan.legs]
            return -plan.units, plan.value, len(plan.legs), ids, contents

        ordered = sorted(self.plans(), key=key)
        return (*ordered[:2], None, None)[:2]  # type: ignore[return-value]
