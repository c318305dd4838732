"""Rule sets, compiled: which strategy decides an order, and what it lets pass.

A body becomes closures over small `Facts`, about 0.1 us a condition; what an explanation says of
them is worded once, at compile time. What is handed out (lists of sentences) is shared: it must
not be changed.
"""

from collections.abc import Callable, Iterable, Mapping
from datetime import date
from hashlib import blake2b
from typing import Final, Protocol, TypeAlias

import orjson
from pydantic import ValidationError

from events.decided import Plain
from events.rules import (
    Body,
    Conditions,
    Criterion,
    DaySpan,
    Fences,
    NodeFields,
    NodeMatch,
    Pool,
    SafetyStock,
    Threshold,
)
from events.rules import Strategy as Written
from orchestrator.core.sourcing.calendars import zone
from orchestrator.core.sourcing.parcels import Limits
from schemas.times import instant_ms

LATE_PER_DAY_MINOR: Final = 500
"""Where a rule set says nothing: what a day of lateness costs."""
DEFAULT_VERSION: Final = "default-1"
DEFAULT_BODY: Final[Plain] = {
    "defaults": {"late_per_day": {"default": LATE_PER_DAY_MINOR}},
    "strategies": [{"name": "default", "objective": "cost", "split": {"quantity": "when_short"}}],
}
"""What decides where a market has activated nothing."""
LAST_RESORT: Final = "default"
"""The strategy that decides where the conditions of none hold; only one without any is named so."""

_EPOCH_DAY: Final = date(1970, 1, 1).toordinal()
_MINUTE_MS = 60_000
_KM_M = 1_000
_NONE: Final[Plain] = {}


class Site(Protocol):
    """What a rule set asks of a node."""

    node_id: str
    kind: str
    groups: frozenset[str]
    capabilities: frozenset[str]
    country: str
    region: str | None


def postal(code: str) -> str:
    """A postal code or prefix as it is compared: without spaces or hyphens, in capitals."""
    return code.replace(" ", "").replace("-", "").upper()


def line_value_minor(line: Plain, item: Plain, currency: str) -> int:
    """What an order line is worth: its total, else units by unit price or item's value.

    An item's value in another currency than the order's is none: nobody converts it.
    """
    total: int | None = line.get("total_minor")
    if total is not None:
        return total
    price: int | None = line.get("unit_price_minor")
    if price is None:
        same = item.get("currency", currency) == currency
        price = (item.get("value_minor") or 0) if same else 0
    return price * int(line["quantity"])


class Facts:
    """What conditions ask of an order; sums and attributes are found when first asked for.

    `data` is the order as placed (canonical JSON), `items` are the shard's, by sku.
    """

    __slots__ = (
        "_attributes",
        "_categories",
        "_items",
        "_placed_ms",
        "_postal_code",
        "_quantity",
        "_skus",
        "_value_minor",
        "_weight_g",
        "channel",
        "country",
        "data",
        "lines",
        "priority",
        "region",
        "service_level",
    )

    def __init__(self, data: Plain, items: Mapping[str, Plain]) -> None:
        self.data = data
        self._items = items
        self.lines: list[Plain] = data["lines"]
        self.channel: str = data["channel"]
        self.service_level: str = data.get("service_level", "standard")
        self.priority: int = data.get("priority", 0)
        ship_to = data.get("ship_to", _NONE)
        self.country: str = ship_to.get("country", "")
        region: str = ship_to.get("region", "")
        self.region = region.casefold() if region else ""
        self._postal_code: str = ship_to.get("postal_code", "")
        self._skus: list[str] | None = None
        self._categories: list[str] | None = None
        self._attributes: list[dict[str, str]] | None = None
        self._value_minor: int | None = None
        self._weight_g: int | None = None
        self._quantity: int | None = None
        self._placed_ms: int | None = None

    @property
    def postal_code(self) -> str:
        """As it is compared."""
        return postal(self._postal_code)

    @property
    def skus(self) -> list[str]:
        """Of every line."""
        if self._skus is None:
            self._skus = [line["sku"] for line in self.lines]
        return self._skus

    @property
    def categories(self) -> list[str]:
        """Of every line's item that has one."""
        if self._categories is None:
            of = [self._items.get(sku, _NONE).get("category") for sku in self.skus]
            self._categories = [category for category in of if category is not None]
        return self._categories

    @property
    def attributes(self) -> list[dict[str, str]]:
        """The order's, each line's and each item's, where there are any."""
        if self._attributes is None:
            where = [self.data, *self.lines, *(self._items.get(sku, _NONE) for sku in self.skus)]
            self._attributes = [one["attributes"] for one in where if one.get("attributes")]
        return self._attributes

    @property
    def value_minor(self) -> int:
        """What all lines are worth."""
        if self._value_minor is None:
            items, currency = self._items, self.data.get("currency", "")
            self._value_minor = sum(
                line_value_minor(line, items.get(line["sku"], _NONE), currency)
                for line in self.lines
            )
        return self._value_minor

    @property
    def weight_g(self) -> int:
        """What all units weigh."""
        if self._weight_g is None:
            self._weight_g = sum(
                self._items.get(line["sku"], _NONE).get("weight_g", 0) * line["quantity"]
                for line in self.lines
            )
        return self._weight_g

    @property
    def quantity(self) -> int:
        """All units."""
        if self._quantity is None:
            self._quantity = sum(line["quantity"] for line in self.lines)
        return self._quantity

    @property
    def placed_ms(self) -> int:
        """When the customer placed it."""
        if self._placed_ms is None:
            placed_at = self.data.get("placed_at")
            self._placed_ms = instant_ms(placed_at) if placed_at else 0
        return self._placed_ms


Holds: TypeAlias = Callable[[Facts], bool]
_Test: TypeAlias = tuple[Holds, str, str]
"""A condition: what it asks, how it reads where it holds, and where it doesn't."""


# conditions


def _any_of(values: Iterable[str]) -> str:
    return " or ".join(values)


def _tests(conditions: Conditions, time_zone: str) -> list[_Test]:
    """The conditions one by one, in the order of the model's fields."""
    made: list[_Test] = []
    if conditions.channel is not None:
        made.append(_is("channel", conditions.channel, _channel_in))
    if conditions.service_level is not None:
        made.append(_is("service_level", conditions.service_level, _service_level_in))
    if conditions.country is not None:
        made.append(_is("country", conditions.country, _country_in))
    if conditions.region is not None:
        made.append(_is("region", conditions.region, _region_in))
    if conditions.postal_prefix is not None:
        prefixes = tuple(map(postal, conditions.postal_prefix))
        said = _any_of(conditions.postal_prefix)
        made.append(
            (
                lambda facts: facts.postal_code.startswith(prefixes),
                f"postal_code begins with {said}",
                f"postal_code does not begin with {said}",
            )
        )
    if conditions.sku is not None:
        skus = frozenset(conditions.sku)
        said = _any_of(conditions.sku)
        made.append(
            (
                lambda facts: not skus.isdisjoint(facts.skus),
                f"a line has sku {said}",
                f"no line has sku {said}",
            )
        )
    if conditions.category is not None:
        categories = frozenset(conditions.category)
        said = _any_of(conditions.category)
        made.append(
            (
                lambda facts: not categories.isdisjoint(facts.categories),
                f"a line has category {said}",
                f"no line has category {said}",
            )
        )
    for name, values in (conditions.attribute or {}).items():
        made.append(_attribute(name, values))
    if (value := conditions.order_value) is not None:
        made.append(_within("order_value", value.min, value.max, _value_within))
    if (weight := conditions.weight_g) is not None:
        made.append(_within("weight_g", weight.min, weight.max, _weight_within))
    if (priority := conditions.priority) is not None:
        made.append(_within("priority", priority.min, priority.max, _priority_within))
    if (quantity := conditions.quantity) is not None:
        made.append(_within("quantity", quantity.min, quantity.max, _quantity_within))
    if conditions.placed is not None:
        made.append(_placed(conditions.placed, time_zone))
    return made


def _is(name: str, values: list[str], make: Callable[[frozenset[str]], Holds]) -> _Test:
    said = _any_of(values)
    return make(frozenset(values)), f"{name} is {said}", f"{name} is not {said}"


def _channel_in(values: frozenset[str]) -> Holds:
    return lambda facts: facts.channel in values


def _service_level_in(values: frozenset[str]) -> Holds:
    return lambda facts: facts.service_level in values


def _country_in(values: frozenset[str]) -> Holds:
    return lambda facts: facts.country in values


def _region_in(values: frozenset[str]) -> Holds:
    folded = frozenset([value.casefold() for value in values])
    return lambda facts: facts.region in folded


def _attribute(name: str, values: list[str]) -> _Test:
    wanted = frozenset(values)
    said = _any_of(values)

    def holds(facts: Facts) -> bool:
        return any(given.get(name) in wanted for given in facts.attributes)

    return holds, f"attribute {name} is {said}", f"attribute {name} is not {said}"


Within: TypeAlias = Callable[[int, int], Holds]
FAR = 10**30


def _within(name: str, low: int | None, high: int | None, make: Within) -> _Test:
    holds = make(-FAR if low is None else low, FAR if high is None else high)
    if high is None:
        return holds, f"{name} is at least {low}", f"{name} is below {low}"
    if low is None:
        return holds, f"{name} is at most {high}", f"{name} is above {high}"
    between = f"between {low} and {high}"
    return holds, f"{name} is {between}", f"{name} is not {between}"


def _value_within(low: int, high: int) -> Holds:
    return lambda facts: low <= facts.value_minor <= high


def _weight_within(low: int, high: int) -> Holds:
    return lambda facts: low <= facts.weight_g <= high


def _priority_within(low: int, high: int) -> Holds:
    return lambda facts: low <= facts.priority <= high


def _quantity_within(low: int, high: int) -> Holds:
    return lambda facts: low <= facts.quantity <= high


def _placed(span: DaySpan, time_zone: str) -> _Test:
    first_ms, end_ms = _span_ms(span.from_, span.until, time_zone)
    said = " ".join(
        f"{word} {day}" for word, day in (("from", span.from_), ("until", span.until)) if day
    )
    return (
        lambda facts: first_ms <= facts.placed_ms < end_ms,
        f"placed {said}",
        f"not placed {said}",
    )


def _span_ms(first: date | None, last: date | None, time_zone: str) -> tuple[int, int]:
    """From the first day's beginning to the last day's end."""
    return (
        -FAR if first is None else zone(time_zone).start_ms(first.toordinal() - _EPOCH_DAY),
        FAR if last is None else zone(time_zone).start_ms(last.toordinal() + 1 - _EPOCH_DAY),
    )


def _negated(test: _Test) -> _Test:
    holds, said, otherwise = test
    return (lambda facts: not holds(facts)), otherwise, said


# nodes

Matches: TypeAlias = Callable[[Site], bool]


def _fields_match(fields: NodeFields) -> list[Matches]:
    made: list[Matches] = []
    if fields.kind is not None:
        kinds = frozenset(fields.kind)
        made.append(lambda node: node.kind in kinds)
    if fields.group is not None:
        groups = frozenset(fields.group)
        made.append(lambda node: not groups.isdisjoint(node.groups))
    if fields.node is not None:
        nodes = frozenset(fields.node)
        made.append(lambda node: node.node_id in nodes)
    if fields.region is not None:
        regions = frozenset([region.casefold() for region in fields.region])
        made.append(lambda node: (node.region or "").casefold() in regions)
    if fields.country is not None:
        countries = frozenset(fields.country)
        made.append(lambda node: node.country in countries)
    return made


def matching(match: NodeMatch | None) -> Matches:
    """Whether a node is meant: every field holds, and none of those under `not`."""
    if match is None:
        return lambda _: True
    inside = _fields_match(match)
    outside = _fields_match(match.not_) if match.not_ is not None else []
    return lambda node: (
        all(holds(node) for holds in inside) and not any(holds(node) for holds in outside)
    )


class FenceSet:
    """A strategy's fences. `barred` looks at a node alone: table it for each network version."""

    __slots__ = (
        "_keeps",
        "_matches",
        "capability",
        "cross_border",
        "max_m",
        "min_shelf_days",
        "reach_promise",
    )

    def __init__(self, fences: Fences) -> None:
        self._matches = None if fences.nodes is None else matching(fences.nodes)
        self._keeps = [(matching(keep), keep.units) for keep in fences.keep or ()]
        self.capability = frozenset(fences.capability or ())
        self.max_m = None if fences.max_km is None else fences.max_km * _KM_M
        self.cross_border = fences.cross_border  # whether a node may ship to another country
        self.reach_promise = fences.reach_promise
        self.min_shelf_days = fences.min_shelf_days

    def barred(self, node: Site) -> list[str]:
        """The codes of the fences that keep the node out of every plan: nodes, capability."""
        codes = []
        if self._matches is not None and not self._matches(node):
            codes.append("nodes")
        if not self.capability <= node.capabilities:
            codes.append("capability")
        return codes

    @property
    def keeps(self) -> bool:
        """Whether units stay anywhere."""
        return bool(self._keeps)

    def keep(self, node: Site) -> int:
        """Units of every item that stay at the node."""
        return max((units for matches, units in self._keeps if matches(node)), default=0)


# strategies

Ranking: TypeAlias = list[tuple[str, bool, list[str]]]
"""Criteria in order: name, whether the greater is better, node ids (of `sequence`)."""


class Strategy:
    """How orders are sourced that it decides. `objective` None: by cost."""

    __slots__ = (
        "else_",
        "extra_leg_minor",
        "fences",
        "hold_ms",
        "leg_min_units",
        "leg_min_value_minor",
        "max_legs",
        "name",
        "objective",
        "parcel",
        "quantity",
        "replan_saving_minor",
        "undated",
        "unsourced",
        "unsourced_days",
    )

    def __init__(self, written: Written) -> None:
        split, parcel = written.split, written.parcel
        self.name = written.name
        self.fences = FenceSet(written.fences)
        self.objective = _ranking(written.objective)
        self.quantity = split.quantity  # when_short, never, always
        self.max_legs = split.max_legs
        self.leg_min_value_minor = split.leg_min.value if split.leg_min else None
        self.leg_min_units = split.leg_min.units if split.leg_min else None
        self.extra_leg_minor = split.cost_per_extra_leg
        apart = tuple([(pair[0], pair[1]) for pair in parcel.apart or ()])
        self.parcel = Limits(parcel.max_g, parcel.max_ml, apart)
        self.unsourced = written.unsourced[0].then  # backorder, cancel
        days = [one.cancel_after_days for one in written.unsourced if one.cancel_after_days]
        self.unsourced_days: int | None = days[0] if days else None  # cancels what still waits
        self.else_: Strategy | None = None  # asked next where this one finds no unit
        self.hold_ms = written.hold * _MINUTE_MS
        self.replan_saving_minor = written.replan_saving
        self.undated: Strategy | None = None  # the same where to be late bars nothing


def _strategies(written: list[Written]) -> dict[str, Strategy]:
    """By their names, each with the one that it leaves the rest to."""
    found = {one.name: Strategy(one) for one in written}
    for one in written:
        if one.else_ is not None:
            found[one.name].else_ = found[one.else_]
    return found


def _undated(written: Written) -> Written:
    """The same for an order that asks for no day."""
    fences = written.fences.model_copy(update={"reach_promise": False})
    return written.model_copy(update={"fences": fences})


def _ranking(objective: list[Criterion]) -> Ranking | None:
    if [one.by for one in objective] == ["cost"] and objective[0].order == "asc":
        return None
    return [(one.by, one.order == "desc", one.nodes or []) for one in objective]


class PoolRule:
    """Units of these items, together, that one channel has to itself; half-open in time."""

    __slots__ = ("channel", "from_ms", "pool_id", "skus", "units", "until_ms")

    def __init__(self, pool: Pool, time_zone: str) -> None:
        self.pool_id = pool.id
        self.skus = frozenset(pool.sku)
        self.channel = pool.channel
        self.units = pool.units
        self.from_ms, self.until_ms = _span_ms(pool.from_, pool.until, time_zone)


_Entry = tuple[int, Matches | None]
"""Units, and which nodes it is about."""


class _ByItem:
    """Safety stock, or a channel's thresholds, found by item: there may be an entry for each."""

    __slots__ = ("_by_category", "_by_sku", "_of_all", "count")

    def __init__(self) -> None:
        self.count = 0
        self._by_sku: dict[str, list[tuple[frozenset[str] | None, _Entry]]] = {}
        self._by_category: dict[str, list[_Entry]] = {}
        self._of_all: list[_Entry] = []

    def add(self, entry: SafetyStock | Threshold, at: Matches | None) -> None:
        self.count += 1
        units: _Entry = (entry.units, at)
        if entry.sku is not None:
            categories = None if entry.category is None else frozenset(entry.category)
            for sku in entry.sku:
                self._by_sku.setdefault(sku, []).append((categories, units))
        elif entry.category is not None:
            for category in entry.category:
                self._by_category.setdefault(category, []).append(units)
        else:
            self._of_all.append(units)

    def of(self, item: Plain) -> list[_Entry]:
        """The entries that the item falls under."""
        category: str | None = item.get("category")
        of_category = [] if category is None else self._by_category.get(category, [])
        return [
            *self._of_all,
            *of_category,
            *[
                units
                for categories, units in self._by_sku.get(item["sku"], ())
                if categories is None or category in categories
            ],
        ]


def pools_of(body: Body, time_zone: str) -> list[PoolRule]:
    """A version's pools; days are those of the time zone."""
    return [PoolRule(pool, time_zone) for pool in body.defaults.pools or ()]


class RuleSet:
    """A version of a market's rules. Without slots: two of the same content are equal."""

    def __init__(self, version: str, body: Body, time_zone: str) -> None:
        """Compile a body that was checked; days are those of the time zone."""
        self.version = version
        self.body = body
        self.time_zone = time_zone
        defaults = body.defaults
        self._safety = _ByItem()
        for stays in defaults.safety_stock or ():
            self._safety.add(stays, matching(stays.nodes))
        self._thresholds: dict[str, _ByItem] = {}
        for channel, entries in defaults.thresholds.items():
            self._thresholds[channel] = _ByItem()
            for left in entries:
                self._thresholds[channel].add(left, None)
        self.pools = pools_of(body, time_zone)
        self.keep_back = bool(self._thresholds or self.pools)  # something from some channel
        self._late_minor = defaults.late_per_day
        self._late_default_minor = defaults.late_per_day.get("default", LATE_PER_DAY_MINOR)
        self.load_steps = sorted(
            (int(percent), minor) for percent, minor in defaults.load_price.items()
        )
        written = list(body.strategies)
        if all(has_conditions(one) for one in written):
            written.append(Written(name=LAST_RESORT))
        self.strategies = _strategies(written)
        for name, undated in _strategies([_undated(one) for one in written]).items():
            self.strategies[name].undated = undated
        self._choices = [(self.strategies[one.name], *_compiled(one, time_zone)) for one in written]

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, RuleSet):
            return NotImplemented
        mine = (self.version, self.time_zone, self.body)
        return mine == (other.version, other.time_zone, other.body)

    __hash__ = None  # type: ignore[assignment]  # a body holds lists

    def choose(self, facts: Facts) -> tuple[Strategy, list[str], list[list[str]]]:
        """The first strategy whose conditions hold, why, and [name, what failed] of others."""
        passed_over = []
        for strategy, tests, why in self._choices:
            for holds, failed in tests:
                if not holds(facts):
                    passed_over.append(failed)
                    break
            else:
                return strategy, why, passed_over
        message = f"no strategy of rule set {self.version} decides: the last has conditions"
        raise AssertionError(message)  # it never has: see above

    def keeps(self, strategy: Strategy) -> bool:
        """Whether units of anything stay at any node."""
        return self._safety.count > 0 or strategy.fences.keeps

    def safety_stock(self, node: Site, item: Plain) -> int:
        """Units of the item that no order gets at the node: the most that any entry asks."""
        most = 0
        for units, at in self._safety.of(item):
            if units > most and at is not None and at(node):
                most = units
        return most

    def threshold(self, channel: str, item: Plain) -> int:
        """Units of the item that the channel leaves to others: the most that any entry asks."""
        entries = self._thresholds.get(channel)
        if entries is None:
            return 0
        return max([units for units, _ in entries.of(item)], default=0)

    def late_per_day(self, service_level: str) -> int:
        """What a day of lateness costs, in minor units."""
        return self._late_minor.get(service_level, self._late_default_minor)

    def load_price(self, percent: int) -> int:
        """What a leg costs more on a day that is booked so far: the highest step reached."""
        price = 0
        for step, minor in self.load_steps:
            if step > percent:
                break
            price = minor
        return price


def has_conditions(written: Written) -> bool:
    """Whether there are orders that a strategy doesn't decide."""
    return any(
        getattr(part, name)
        for part in (written.when, written.when and written.when.not_)
        if part is not None
        for name in Conditions.model_fields
    )


def _compiled(written: Written, time_zone: str) -> tuple[list[tuple[Holds, list[str]]], list[str]]:
    """Each condition with what is said where it fails; and what is said where all hold."""
    when = written.when
    tests = [] if when is None else _tests(when, time_zone)
    if when is not None and when.not_ is not None:
        tests += [_negated(test) for test in _tests(when.not_, time_zone)]
    return (
        [(holds, [written.name, otherwise]) for holds, _, otherwise in tests],
        [said for _, said, _ in tests],
    )


class RuleVersion:
    """A version of a market's rules, and how far it is: proposed, approved, and so on."""

    __slots__ = ("author", "body", "content", "status")

    def __init__(self, data: Plain) -> None:
        """From the proposal that was taken."""
        self.author: str = data["author"]
        self.body: Plain = data["body"]
        self.content = content_of(data)
        self.status = "proposed"


def content_of(data: Plain) -> bytes:
    """A digest of a proposal: one value or a list of one, a default said or not are the same."""
    try:
        written = Body.model_validate(data["body"]).model_dump(mode="json", exclude_defaults=True)
    except ValidationError:
        written = data["body"]
    said = {"author": data["author"], "note": data.get("note"), "body": written}
    return blake2b(orjson.dumps(said, option=orjson.OPT_SORT_KEYS), digest_size=16).digest()


DEFAULT: Final = RuleSet(DEFAULT_VERSION, Body.model_validate(DEFAULT_BODY), "UTC")
