"""Promising: what an order placed now would get, by the planner that would source it.

Nothing is reserved and nothing changes: what planning is to suppose (units that are announced,
units that an earlier part of the answer takes) is put into the books for one plan and taken out
again before anybody else looks.
"""

from collections.abc import Generator, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from typing import Any, Final, NamedTuple

from events.decided import COMPONENTS, NodeRow, Plain, costs_of
from orchestrator.core.ledger import HELD_STATES
from orchestrator.core.shard import Market, Shard, Shelf
from orchestrator.core.sourcing import availability as steps
from orchestrator.core.sourcing.calendars import LAST_START_MS, moment_of, zone
from orchestrator.core.sourcing.plan import Leg, Outcome, Request, Want
from orchestrator.core.sourcing.planner import source_in_steps
from schemas.ports import NotAnswerable, NotKnown
from schemas.times import instant_ms, iso_day, rfc3339

TRIGGER: Final = "promise"
EVERYDAY: Final = "standard"
"""The service level of a market whose services name none."""
TOTALS: Final = ("on_hand", "reserved", "held", "available", "incoming")
DRAFT_WORK: Final = 50_000
"""How long a plan of more than 10 lines is improved (some 30 ms); an order's is ten times as long.

Nothing else about its shard is answered meanwhile.
"""
MAX_PLANNED: Final = 200
"""Lines times service levels, at the most."""
SETTLED: Final = True
"""What `promise` yields between two plans."""
MOMENTS: Final = 6
"""Of those at which something announced arrives, so many are planned for, at the most."""
MAX_LINES: Final = 10
"""Beyond it planning takes too long to ask again what would be earlier."""
_NAMES: Final = (*COMPONENTS, "split")
_ASKED: Final = (
    "ship_to",
    "carrier",
    "service",
    "ship_not_before",
    "ship_by",
    "deliver_by",
    "allow_split",
    "allow_partial",
    "priority",
    "attributes",
)

Units = list[tuple[str, str, int]]
"""Node id, sku and units, which may be negative."""


class _Part(NamedTuple):
    """Legs planned together, and what they were asked for."""

    source: str  # now, inbound
    wants: Sequence[Want]
    outcome: Outcome


class _Plan(NamedTuple):
    """What a question gets, from stock and what is announced."""

    parts: list[_Part]
    missing: list[Want]

    @property
    def legs(self) -> list[tuple[_Part, Leg]]:
        return [(part, leg) for part in self.parts for leg in part.outcome.legs]

    @property
    def deliver_by_ms(self) -> int | None:
        """When the last leg is there; None where nothing says it of one, or where there is none."""
        ends = [leg.deliver_by_ms for _, leg in self.legs]
        known = [one for one in ends if one is not None]
        return max(known) if known and len(known) == len(ends) else None

    @property
    def components(self) -> list[int]:
        sums = [0] * len(_NAMES)
        for part in self.parts:
            decision = part.outcome.decision
            if decision["chosen"] is not None:
                costs = costs_of(decision, decision["chosen"])
                sums = [a + b for a, b in zip(sums, costs, strict=True)]
        return sums

    @property
    def cost_minor(self) -> int:
        return sum(self.components)

    def arrives_ms(self) -> int | None:
        """When everything is there; None where something is missing, or nothing says it."""
        return None if self.missing else self.deliver_by_ms


def promise(
    shard: Shard, question: Mapping[str, Any], now_ms: int
) -> Generator[bool | None, None, Plain]:
    """The answer for each service level asked, or that the market's services list.

    It yields `SETTLED` after each plan, so that others may run: all is as it was then, and what
    changes in between counts from the next plan on. It yields None inside a plan, each time after
    little work: others may run who neither change the shard nor look at it.

    NotKnown names all skus that nobody defined; NotAnswerable: the currency isn't the market's, or
    there is too much to plan.
    """
    market = shard.markets[question["market_id"]]
    lines = question["lines"]
    unknown = [sku for sku in dict.fromkeys(one["sku"] for one in lines) if sku not in shard.items]
    if unknown:
        raise NotKnown(f"there is no item {', '.join(unknown)}")
    if question.get("currency", market.currency) != market.currency:
        raise NotAnswerable(
            f"currency: the market {market.market_id} reckons in {market.currency}, not in"
            f" {question['currency']}"
        )
    if "placed_at" in question:
        now_ms = max(now_ms, instant_ms(question["placed_at"]))
        if now_ms > LAST_START_MS:
            raise NotAnswerable("placed_at: beyond all calendars: ask for a year before 9988")
    asking = _Asking(shard, market, question, now_ms)
    levels = list(dict.fromkeys(question.get("service_levels") or _levels(market)))
    if len(lines) * len(levels) > MAX_PLANNED:
        raise NotAnswerable(
            f"lines: {len(lines)} of them for {len(levels)} service levels are more than one"
            f" question may ask, {MAX_PLANNED} lines in all: ask about fewer lines, or name fewer"
            " service_levels"
        )
    plans: dict[str, _Plan] = {}
    for level in levels:
        plans[level] = yield from asking.plan({"service_level": level})
        yield SETTLED
    promises = []
    for level in levels:
        told = yield from asking.told(level, plans)
        promises.append(told)
    return {
        "market_id": market.market_id,
        "channel": question["channel"],
        "placed_at": rfc3339(now_ms),
        "rule_set": next(iter(plans.values())).parts[0].outcome.decision["rule_set"],
        "promises": promises,
    }


def _levels(market: Market) -> list[str]:
    """What the market's active services list, by name."""
    listed = {
        level: None
        for service in market.services.values()
        if service.active
        for level in service.data["service_levels"]
    }
    return sorted(listed) or [EVERYDAY]


def availability(shards: Sequence[Shard], sku: str, channel: str, now_ms: int) -> Plain:
    """What a channel may promise of an item in each market, step by step; NotKnown."""
    nodes: list[Plain] = []
    markets: list[Plain] = []
    known = False
    for shard in shards:
        item = shard.items.get(sku)
        if item is None:
            continue
        known = True
        for market in shard.markets.values():
            found = steps.steps(market, item, channel, now_ms)
            rows = found.pop("nodes")
            for row in rows:
                node = market.nodes[row["node_id"]]
                stock = shard.stock(node, sku)
                nodes.append(
                    {
                        "market_id": market.market_id,
                        **row,
                        "available": stock.available,
                        "incoming": sum(units for _, units in shard.inbound(node, sku)),
                        "states": {state: getattr(stock, state) for state in HELD_STATES},
                    }
                )
            if rows:
                markets.append({"market_id": market.market_id, **found})
    if not known:
        raise NotKnown(f"the item {sku} is not defined")
    nodes.sort(key=lambda row: row["node_id"])
    return {
        "sku": sku,
        "channel": channel,
        "nodes": nodes,
        "total": {unit: sum(row[unit] for row in nodes) for unit in TOTALS},
        "markets": markets,
    }


_Change = tuple[str, str, _Plan]
"""What would be earlier: its kind, in words, the plan."""
_Changes = Generator[_Change | None, None, None]
"""None after each small part of planning one."""


class _Asking:
    """A question to one market at one moment."""

    def __init__(
        self, shard: Shard, market: Market, question: Mapping[str, Any], now_ms: int
    ) -> None:
        self.shard = shard
        self.market = market
        self.now_ms = now_ms
        self.zone = zone(market.time_zone)
        self.wants = [
            Want(one["line_id"], one["sku"], one["quantity"]) for one in question["lines"]
        ]
        self.data: Plain = {
            "market_id": market.market_id,
            "channel": question["channel"],
            "order_id": TRIGGER,
            "placed_at": rfc3339(now_ms),
            "currency": market.currency,
            "lines": question["lines"],
            **{field: question[field] for field in _ASKED if field in question},
        }
        self.divisible = question.get("allow_split", True) and question.get("allow_partial", True)

    # --- planning

    def plan(
        self,
        change: Plain,
        *,
        wants: Sequence[Want] | None = None,
        now_ms: int | None = None,
        more: Units | None = None,
    ) -> Generator[None, None, _Plan]:
        """From stock what stock has, the rest from what is announced, once it all is there.

        `change` replaces fields of the order, `more` is supposed to be in stock.
        """
        data = {**self.data, **change}
        wants = self.wants if wants is None else wants
        now_ms = self.now_ms if now_ms is None else now_ms
        with supposed(self.shard, more or []):
            outcome = yield from self._source(data, wants, now_ms)
            first = _Part("now", wants, outcome)
            short = _short(first)
            if not short:
                return _Plan([first], [])
            best = _Plan([first], short)
            whole = not (self.divisible and data.get("allow_split", True))
            taken = [] if whole else [(node, sku, -units) for node, sku, units in _taken(first)]
            asked = wants if whole else short
            for at_ms, there in self._announced(short, whole=whole):
                with supposed(self.shard, [*taken, *there]):
                    outcome = yield from self._source(data, asked, max(now_ms, at_ms))
                second = _Part("inbound", asked, outcome)
                if second.outcome.legs:
                    alone = whole or not first.outcome.legs
                    found = _Plan([second] if alone else [first, second], _short(second))
                    if not best.legs or _missing(found) < _missing(best):
                        best = found
                if not best.missing:
                    break
        return best

    def _source(
        self, data: Plain, wants: Sequence[Want], now_ms: int
    ) -> Generator[None, None, Outcome]:
        request = Request(data, wants, now_ms, TRIGGER, DRAFT_WORK)
        return source_in_steps(self.shard, self.market, request)

    def _announced(self, short: Sequence[Want], *, whole: bool) -> list[tuple[int, Units]]:
        """Moments, and what is announced of the skus up to each.

        From the first by which as many units are announced as are short (any, of an order that
        goes whole); where these won't do, since they stay or stand elsewhere, later ones may: a
        few of them, the last included. Orders that wait get theirs first, so the earliest units
        are as good as gone.
        """
        needed: dict[str, int] = {}
        for want in short:
            needed[want.sku] = needed.get(want.sku, 0) + want.units
        coming: list[tuple[int, str, str, int]] = []
        first_ms = 0
        for sku, units in needed.items():
            promised = self.market.backordered.get(sku, 0)
            left = units
            for expected_ms, node_id, announced in self._inbound(sku):
                gone = min(promised, announced)
                promised -= gone
                if announced > gone:
                    coming.append((expected_ms, node_id, sku, announced - gone))
                    if left > 0 and not whole:
                        first_ms = max(first_ms, expected_ms)
                    left -= announced - gone
        moments = sorted({row[0]: None for row in coming})
        moments = [at_ms for at_ms in moments if at_ms >= first_ms]
        if len(moments) > MOMENTS:
            moments = [*moments[: MOMENTS - 1], moments[-1]]
        return [
            (at_ms, [(node_id, sku, units) for ms, node_id, sku, units in coming if ms <= at_ms])
            for at_ms in moments
        ]

    def _inbound(self, sku: str) -> list[tuple[int, str, int]]:
        """When how much is expected where, the earliest first.

        Who follows has a bin where something is announced; of an item without any nothing can be
        supposed. What lies beyond all calendars (9999-12-31, for "nobody knows") doesn't come.
        """
        rows = [
            (expected_ms, node_id, units)
            for (node_id, _, _), (units, expected_ms) in self.market.inbound.get(sku, {}).items()
            if self.market.nodes[node_id].offers and expected_ms <= LAST_START_MS
        ]
        return sorted(rows) if sku in self.market.bins else []

    # --- telling

    def told(self, level: str, plans: Mapping[str, _Plan]) -> Generator[bool | None, None, Plain]:
        """A service level's promise."""
        plan = plans[level]
        earlier: list[Plain] = []
        if len(self.wants) <= MAX_LINES:
            earlier = yield from self._earlier(level, plans)
        legs = plan.legs
        deliver_by_ms = plan.deliver_by_ms
        last = plan.parts[-1]
        order_by = [
            self.shard.nodes[leg.node_id].calendar.latest_request_ms(leg.ship_day)
            for part, leg in legs
            if part.source == "now"
        ]
        components = plan.components
        return {
            "service_level": level,
            "possible": not plan.missing,
            "source": last.source if legs else "none",
            "delivery_date": self._date(deliver_by_ms),
            "deliver_by": _time(deliver_by_ms),
            "ship_by": _time(max((leg.ship_by_ms for _, leg in legs), default=None)),
            "order_by": _time(min(order_by, default=None)),
            "days_late": self._days_late(deliver_by_ms),
            "cost_minor": sum(components),
            "cost": dict(zip(_NAMES, components, strict=True)),
            "currency": self.market.currency,
            "strategy": last.outcome.strategy.name,
            "legs": [self._leg(part, leg) for part, leg in legs],
            "missing": [_line(want, want.units) for want in plan.missing],
            "because": _because(plan, level),
            "earlier": earlier,
        }

    def _leg(self, part: _Part, leg: Leg) -> Plain:
        return {
            "node_id": leg.node_id,
            "source": part.source,
            "ship_date": iso_day(leg.ship_day),
            "ship_by": rfc3339(leg.ship_by_ms),
            "delivery_date": self._date(leg.deliver_by_ms),
            "deliver_by": _time(leg.deliver_by_ms),
            "carrier": leg.carrier,
            "service": leg.service,
            "cost_minor": leg.cost_minor,
            "lines": [
                _line(want, units)
                for want, units in zip(part.wants, leg.units, strict=True)
                if units
            ],
        }

    def _date(self, moment_ms: int | None) -> str | None:
        return None if moment_ms is None else iso_day(self.zone.day_of(moment_ms))

    def _days_late(self, deliver_by_ms: int | None) -> int:
        wished = self.data.get("deliver_by")
        if deliver_by_ms is None or wished is None:
            return 0
        wished_ms = moment_of(wished, self.market.time_zone)
        return max(0, self.zone.day_of(deliver_by_ms) - self.zone.day_of(wished_ms))

    # --- what would make it earlier

    def _earlier(
        self, level: str, plans: Mapping[str, _Plan]
    ) -> Generator[bool | None, None, list[Plain]]:
        """What would bring it earlier, each planned again as said; the earliest first."""
        plan = plans[level]
        here = plan.arrives_ms()
        if here is None and not plan.missing:
            return []  # nothing says when anything arrives
        service: Plain = {"service_level": level}
        ways: list[_Changes] = [
            self._by_ordering_earlier(plan, service),
            self._by_paying(plan, service),
            self._by_one_node(plan, service),
            self._by_leaving_out(plan, service),
            self._by_stock(plan, service),
            _by_service_level(level, plans),
        ]
        better = []
        for way in ways:
            with closing(way):  # what it supposes is taken back, whoever gives up waiting
                for found in way:
                    if found is None:  # inside a plan
                        yield None
                        continue
                    how, detail, change = found
                    arrives_ms = change.arrives_ms()
                    if arrives_ms is not None and (
                        here is None or self.zone.day_of(arrives_ms) < self.zone.day_of(here)
                    ):
                        better.append((arrives_ms, change.cost_minor, how, detail))
                    yield SETTLED
        return [
            {
                "how": how,
                "detail": detail,
                "delivery_date": self._date(arrives_ms),
                "cost_minor": cost_minor,
            }
            for arrives_ms, cost_minor, how, detail in sorted(better)
        ]

    def _by_ordering_earlier(self, plan: _Plan, service: Plain) -> _Changes:
        """A cut-off that passed today."""
        for part, leg in plan.legs:
            calendar = self.shard.nodes[leg.node_id].calendar
            today = calendar.zone.day_of(self.now_ms)
            if part.source != "now" or calendar.working_day(today) != today:
                continue
            until_ms = calendar.latest_request_ms(today)
            if until_ms < self.now_ms and leg.ship_day > today:
                detail = f"had it been ordered by {rfc3339(until_ms)}, in time for {leg.node_id}"
                change = yield from self.plan(service, now_ms=until_ms)
                yield "order_by", detail, change
                return

    def _by_paying(self, plan: _Plan, service: Plain) -> _Changes:
        """What the same service level does when it must be there a day earlier."""
        if plan.deliver_by_ms is None or plan.missing:
            return
        day = self.zone.day_of(plan.deliver_by_ms) - 1
        sooner = yield from self.plan({**service, "deliver_by": iso_day(day)})
        more = _kept(sooner) - _kept(plan)
        yield "deliver_by", f"when asked for by {iso_day(day)}, for {more} more", sooner

    def _by_one_node(self, plan: _Plan, service: Plain) -> _Changes:
        if len(plan.legs) > 1 and self.data.get("allow_split", True):
            whole = yield from self.plan({**service, "allow_split": False})
            if whole.legs:
                yield "one_node", f"without the split, all from {whole.legs[0][1].node_id}", whole

    def _by_leaving_out(self, plan: _Plan, service: Plain) -> _Changes:
        """The lines that arrive last, or not at all."""
        last_ms = plan.deliver_by_ms
        late = {want.line_id for want in plan.missing}
        if not late:
            late = {
                want.line_id
                for part, leg in plan.legs
                if leg.deliver_by_ms == last_ms
                for want, units in zip(part.wants, leg.units, strict=True)
                if units
            }
        rest = [want for want in self.wants if want.line_id not in late]
        if rest and len(rest) < len(self.wants):
            left_out = [want.sku for want in self.wants if want.line_id in late]
            lines = [one for one in self.data["lines"] if one["line_id"] not in late]
            without = yield from self.plan({**service, "lines": lines}, wants=rest)
            yield "without_lines", f"without {' and '.join(dict.fromkeys(left_out))}", without

    def _by_stock(self, plan: _Plan, service: Plain) -> _Changes:
        """Units that a node lacks which would be there earlier."""
        part = plan.parts[0]
        more = self._lacking(part, plan)
        if more:
            named = " and ".join(f"{units} more of {sku}" for _, sku, units in more)
            detail = f"with {named} at {more[0][0]}"
            change = yield from self.plan(service, more=more)
            yield "stock", detail, change

    def _lacking(self, part: _Part, plan: _Plan) -> Units:
        """What the cheapest node lacks that no fence bars and that would be earlier."""
        here = plan.arrives_ms()
        today = None if here is None else self.zone.day_of(here)
        missing: dict[str, int] = {}
        for want in _short(part):
            missing[want.sku] = missing.get(want.sku, 0) + want.units
        decision = part.outcome.decision
        rows: list[Any] = []
        for contents in decision["sets"]:
            for row in [NodeRow(*one) for one in contents[1:]]:
                if row.delivery_days is not None and not row.fences:
                    day = row.ship_day + row.delivery_days
                    if today is None or day < today:
                        rows.append((day, row.value, row.node_id, contents[0], row.short))
        for _, _, node_id, units, lacks in sorted(rows):
            short = {decision["lines"][line][1]: lack for line, lack in lacks}
            for (_, sku, wanted, *_), shown in zip(decision["lines"], units, strict=True):
                if sku in missing:  # the row may be about fewer units than are wanted
                    beyond = wanted - max(shown, wanted - missing[sku])
                    if beyond:
                        short[sku] = short.get(sku, 0) + beyond
            if short and all(sku in self.market.bins for sku in short):
                return [(node_id, sku, units) for sku, units in short.items()]
        return []


def _by_service_level(level: str, plans: Mapping[str, _Plan]) -> _Changes:
    """The cheapest of the other levels that is earlier."""
    here = plans[level].arrives_ms()
    earlier = [
        (plan.cost_minor, other)
        for other, plan in plans.items()
        if (there := plan.arrives_ms()) is not None and (here is None or there < here)
    ]
    if earlier:
        _, other = min(earlier)
        more = _kept(plans[other]) - _kept(plans[level])
        yield "service_level", f"by service level {other}, for {more} more", plans[other]


def _kept(plan: _Plan) -> int:
    """What a plan costs, lateness left out: it is a price of the choice, paid to nobody."""
    return plan.cost_minor - plan.components[_NAMES.index("late")]


def _short(part: _Part) -> list[Want]:
    """What a part's legs leave out."""
    given = [sum(units) for units in zip(*(leg.units for leg in part.outcome.legs), strict=True)]
    given = given or [0] * len(part.wants)
    return [
        want._replace(units=want.units - units)
        for want, units in zip(part.wants, given, strict=True)
        if want.units > units
    ]


def _because(plan: _Plan, level: str) -> str | None:
    """Why units are missing; None where none are."""
    if not plan.missing:
        return None
    decision = plan.parts[-1].outcome.decision
    split = decision["split"]
    kept = {why[0]: None for *_, because in decision.get("left_out", []) for why in because}
    kept.pop("channel", None)
    if "one_leg" in split or "all_or_nothing" in split:
        kept.pop("split", None)
    if decision["chosen"] is None and list(kept) == ["no_rate"]:
        return f"no carrier service takes {level} to there from where the units are"
    if kept:
        return (
            "no node that the rules allow has them for this channel, in time and whole as asked,"
            " and what is announced doesn't change that"
        )
    return "they are neither in stock, for this channel and whole as asked, nor announced"


def _missing(plan: _Plan) -> int:
    """Units that have no source."""
    return sum(want.units for want in plan.missing)


def _taken(part: _Part) -> Units:
    return [
        (leg.node_id, want.sku, units)
        for leg in part.outcome.legs
        for want, units in zip(part.wants, leg.units, strict=True)
        if units
    ]


def _line(want: Want, units: int) -> Plain:
    return {"line_id": want.line_id, "sku": want.sku, "quantity": units}


def _time(moment_ms: int | None) -> str | None:
    return None if moment_ms is None else rfc3339(moment_ms)


@contextmanager
def supposed(shard: Shard, units: Units) -> Iterator[None]:
    """Plan as if so many units more (or less) were on hand; afterwards all is as it was.

    Each item is one that the node's market has, or had, somewhere.
    """
    bins: list[tuple[Shelf, str]] = []
    totals: list[tuple[dict[str, int], str]] = []
    for node_id, sku, _ in units:
        market = shard.markets[shard.nodes[node_id].market_id]
        if node_id not in market.bins[sku]:
            bins.append((market.bins[sku], node_id))
        if sku not in market.available:
            totals.append((market.available, sku))
    _suppose(shard, units, 1)
    try:
        yield
    finally:
        _suppose(shard, units, -1)
        for shelf, node_id in bins:
            shelf.pop(node_id, None)
            shelf.changes.add(node_id)
        for available, sku in totals:
            available.pop(sku, None)


def _suppose(shard: Shard, units: Units, sign: int) -> None:
    for node_id, sku, more in units:
        node = shard.nodes[node_id]
        stock = shard.bin(node, sku)
        stock.on_hand += sign * more
        stock.available += sign * more
        if node.offers:
            available = shard.markets[node.market_id].available
            available[sku] = available.get(sku, 0) + sign * more
