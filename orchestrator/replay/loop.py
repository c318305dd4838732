"""The closed loop: a period's inputs through today's core, in another world.

What comes from outside keeps its tick. What nodes and carriers answer follows what they are asked:
verbatim where history asked the same, drawn from history's habits elsewhere. Differences that were
found on shelves are physical: they come at their tick as differences, whatever the books say here.
"""

from collections import Counter
from collections.abc import Callable, Iterable
from heapq import heappop, heappush
from itertools import count
from random import Random
from typing import Any, Final, NamedTuple

from events.decided import DecidedEvent, Decision, InputRecord, Plain
from orchestrator.core import decide as core
from orchestrator.core.config import HOUR_MS
from orchestrator.core.handshake import parse
from orchestrator.core.ledger import Bin
from orchestrator.core.orders import Fulfillment, Order
from orchestrator.core.shard import Shard
from orchestrator.core.stock import count_delta, counted_ms
from orchestrator.replay.changes import Changes
from orchestrator.replay.keys import asked_key, digest_of, order_key, plan_digest, work_id
from orchestrator.replay.outcome import Outcome
from orchestrator.replay.period import (
    ANSWERS,
    Asked,
    Index,
    Row,
    Rows,
    Span,
    days_between,
    days_of,
)
from schemas.times import instant_ms, rfc3339

SOURCE: Final = "headrace-whatif"
_DIFFERENCES_KEPT: Final = 20
_COPIES_WITHIN_MS: Final = HOUR_MS
_STATES: Final = ("available", "quality_control", "damaged", "held")
_PROGRESS_EVERY: Final = 500


class Difference(NamedTuple):
    """An entry that today's code decides otherwise than history did."""

    position: str
    input: str
    order: str  # its key, where it is about one


class UndecidableError(Exception):
    """An input can't be decided in a variant's world."""


class Work:
    """A fulfillment that a node was asked for here."""

    __slots__ = ("asked", "drawn", "in_step", "left", "now_ms", "ship_ms", "work_id")

    def __init__(
        self, work_id: str, now_ms: int, asked: Asked | None, *, in_step: bool = False
    ) -> None:
        self.work_id = work_id
        self.now_ms = now_ms  # when it was asked for
        self.asked = asked  # identically, in history
        self.in_step = in_step  # at the same tick by the same id: answers stand where they stood
        self.drawn = asked is None
        self.left = 0 if asked is None else len(asked.answers)
        self.ship_ms = 0  # when it is to ship, where that is drawn

    @property
    def fulfillment_id(self) -> str:
        """What its node and its order call it."""
        return self.work_id.partition("/")[2]


class Loop:
    """One run of a shard's period under a variant's changes."""

    def __init__(
        self,
        shard: Shard,
        rows: Rows,
        index: Index,
        span: Span,
        changes: Changes,
        seed: int,
        outcome: Outcome,
    ) -> None:
        self._shard = shard
        self._rows = rows
        self._index = index
        self._span = span
        self._changes = changes
        self._seed = seed
        self._outcome = outcome
        self._agenda: list[tuple[int, int, Callable[[], None]]] = []
        self._number = count(1)
        self._origin = count()
        self._works: dict[str, Work] = {}  # by `work_id` here: those that history lacks
        self._met: list[Work | None] = [None] * len(index.asked)  # of what history asked
        self._asked_twice: Counter[str] = Counter()
        self._left_out: set[str] = set()  # orders that are not in this run, by `order_key`
        self._copies: dict[str, list[tuple[str, int]]] = {}  # the same -> ids of copies, ms later
        self._now_ms = 0  # history's clock
        self._unchanged = not changes
        self.in_step = self._unchanged  # every entry so far is byte for byte history's
        self.compared = 0
        self.differing = 0
        self.differences: list[Difference] = []
        self.plans_differ: dict[str, None] = {}  # orders planned otherwise than in history

    # --- time

    def run(self, advanced: Callable[[int], None] = lambda _: None) -> None:
        """Replay.

        1. Apply the changes, at the moment the period begins.
        2. Take history's entries in order; before each, what falls due here.
        3. After the last, what still falls due, until every order is closed or the drain is over.
        """
        changes = self._changes.inputs(self._shard)
        if changes:
            self._tick(max(self._shard.now_ms, self._span.from_ms))
            for type_, data in changes:
                self._settle()
                self._take(self._record(type_, data))
            self._settle()
        for number, row in enumerate(self._rows):
            if number % _PROGRESS_EVERY == 0:
                advanced(number)
            self._now_ms = row.now_ms
            if row.now_ms >= self._span.until_ms and not (self._outcome.open or self._agenda):
                break
            if "origin" not in row.input and row.input["type"] == "clock_ticked":
                self._until(row.now_ms, row)
                self._history_ticks(row)
            else:
                self._settle()
                self._history_says(row)
        self._now_ms = self._span.end_ms
        self._until(self._span.end_ms, None)
        self._agenda.clear()  # what it holds, holds this

    def _until(self, now_ms: int, row: Row | None) -> None:
        """Do what falls due here before then, but what history's next entry does as well."""
        shard = self._shard
        while True:
            follows = row is not None and self._follows(row)
            if shard.work and not follows:
                self._tick(shard.now_ms)
                continue
            own = self._agenda[0][0] if self._agenda else None
            timer = core.next_due_ms(shard)
            if own is not None and own < now_ms and (timer is None or own <= timer or follows):
                _, _, do = heappop(self._agenda)
                self._tick(max(own, shard.now_ms))
                self._settle()
                do()
            elif timer is not None and timer < now_ms and not follows:
                if row is None and not (self._outcome.open or self._agenda):
                    return
                self._tick(max(timer, shard.now_ms))
            else:
                return

    def _follows(self, row: Row) -> bool:
        """Whether what is due next here is what this tick of history's did."""
        shard = self._shard
        if row.did is None:
            return False
        what, *details = row.did
        if shard.work:
            return what == "work" and details == list(shard.work[0])
        if what != "fired" or not shard.timers:
            return False
        due_ms, _, kind, key = shard.timers[0]
        return details == [due_ms, kind, *key]

    def _settle(self) -> None:
        """Do all that is due at this tick, as the engine does before it takes an input."""
        while core.work_due(self._shard, self._shard.now_ms):
            self._tick(self._shard.now_ms)

    def _tick(self, now_ms: int) -> None:
        self._take(core.tick(now_ms))

    def _at(self, due_ms: int, do: Callable[[], None]) -> None:
        if due_ms < self._span.end_ms:
            heappush(self._agenda, (due_ms, next(self._number), do))

    # --- deciding

    def _take(self, record: InputRecord, row: Row | None = None, *, copy: bool = False) -> None:
        """Decide an input here, and see what follows from it; `row`: as it stands in history."""
        shard = self._shard
        try:
            events: list[DecidedEvent]
            explained: list[Decision] = []
            if row is not None and row.skipped is not None:
                events = core.skip(shard, record, *row.skipped)
            else:
                turn = core.decided(shard, record)
                events, explained = turn.events, turn.explained
        except Exception as error:
            where = f" (entry {row.position} of history)" if row is not None else ""
            raise UndecidableError(
                f"shard {shard.number}: {record['type']} {record['id']!r}{where} can't be decided"
                f" here: {error!r}"
            ) from error
        if self._unchanged and row is not None:
            self._compare(row, events)
        self._outcome.note(record, events, explained, shard.now_ms, copy=copy)
        told: Any
        for told in events:
            kind = told["type"]
            if kind == "fulfillment_requested":
                self._requested(told)
            elif kind == "fulfillment_cancellation_requested":
                self._cancellation_requested(told)

    def _compare(self, row: Row, events: list[DecidedEvent]) -> None:
        if self._now_ms >= self._span.until_ms:
            return
        self.compared += 1
        if digest_of(events) == row.digest:
            return
        self._differs(row)
        decided: list[Any] = list(events)
        here = {
            order_key(told): plan_digest(told)
            for told in decided
            if told["type"] == "order_allocated"
        }
        there = dict(row.plans)
        self.plans_differ.update(
            (key, None) for key in [*there, *here] if there.get(key) != here.get(key)
        )

    def _differs(self, row: Row) -> None:
        self.in_step = False
        self.differing += 1
        if len(self.differences) < _DIFFERENCES_KEPT:
            data = row.input["data"]
            key = f"{data['channel']}/{data['order_id']}" if "order_id" in data else ""
            self.differences.append(Difference(row.position, row.input["type"], key))

    def _record(self, type_: str, data: Any, time_ms: int | None = None) -> InputRecord:  # noqa: ANN401 - JSON
        """An input that history doesn't have."""
        number = next(self._origin)
        now_ms = self._shard.now_ms
        return {
            "type": type_,
            "version": 1,
            "id": str(number),
            "source": SOURCE,
            "time_ms": now_ms if time_ms is None else time_ms,
            "origin": ["what-if", 0, number, now_ms],
            "data": data,
        }

    def _history_ticks(self, row: Row) -> None:
        shard = self._shard
        if row.now_ms > shard.now_ms or core.work_due(shard, row.now_ms):
            self._take(row.input, row)
        elif self._unchanged and self._now_ms < self._span.until_ms:
            self.compared += 1
            self._differs(row)

    # --- what history says

    def _history_says(self, row: Row) -> None:
        record = row.input
        type_, data = record["type"], record["data"]
        if row.repeated and not self.in_step:
            return  # what it repeats may be left out here, or not have come
        if row.skipped is not None or row.repeated:
            self._take(record, row)
        elif row.asked >= 0:
            self._answered(row, self._index.asked[row.asked])
        elif type_ == "order_placed":
            self._placed(row)
        elif type_ == "order_cancel_requested":
            self._cancelled(row)
        elif type_ in ANSWERS:  # to work that was open before, or to none
            self._report(row, record)
        elif type_ == "tracking_updated":
            self._answered(row, self._index.by_number.get(data["tracking_number"]))
        elif type_ == "stock_counted":
            if self._counts_the_same(row):
                self._take(record, row)
            else:
                self._find(row.found)
        elif type_ == "stock_received" and self._not_caused(data):
            self._outcome.dropped["receipts of transfers and returns not caused here"] += 1
        else:
            changed = self._changes.instead(type_, data)
            if changed is None:
                self._outcome.dropped[f"{type_} that the variant replaces"] += 1
            elif changed is data:
                self._take(record, row)
            else:
                self._take({**record, "data": changed})

    def _placed(self, row: Row) -> None:
        data = row.input["data"]
        key = order_key(data)
        times = self._changes.copies(self._seed, f"{data['channel']}/{data['order_id']}")
        if row.now_ms >= self._span.until_ms:
            self._outcome.dropped["orders placed after the period"] += 1
            times = 0
        elif not times:
            self._outcome.dropped["orders less, by --demand"] += 1
        if not times:
            self._left_out.add(key)
            self.in_step = False
            return
        self._take(row.input, row)
        if times > 1 and key not in self._copies:
            self._copies[key] = [self._copy(row, number) for number in range(1, times)]

    def _copy(self, row: Row, number: int) -> tuple[str, int]:
        """The same order once more, at some time within the hour."""
        data = row.input["data"]
        chance = Random(f"{self._seed}/copy/{data['channel']}/{data['order_id']}/{number}")  # noqa: S311 - repeatable
        latest = max(0, min(self._span.until_ms, self._span.end_ms) - 1 - row.now_ms)
        after_ms = min(latest, 1 + int(chance.random() * _COPIES_WITHIN_MS))
        id_ = f"{data['order_id']}~{number}"

        def place() -> None:
            self._take(self._record("order_placed", {**data, "order_id": id_}), copy=True)

        self._at(row.now_ms + after_ms, place)
        return id_, after_ms

    def _cancelled(self, row: Row) -> None:
        data = row.input["data"]
        key = order_key(data)
        if key in self._left_out:
            self._outcome.dropped["cancellations of orders that are not here"] += 1
            return
        self._take(row.input, row)
        for id_, after_ms in self._copies.get(key, ()):
            copied = {**data, "order_id": id_}

            def cancel(copied: dict[str, Any] = copied) -> None:
                self._take(self._record("order_cancel_requested", copied))

            self._at(row.now_ms + after_ms, cancel)

    def _not_caused(self, data: dict[str, Any]) -> bool:
        """Whether a receipt is of a transfer or return that goes back to work not done here."""
        document = data.get("document")
        if self.in_step or f"{data['node_id']}/{document}" not in self._index.documents:
            return False
        work_or_order = self._work_at(data["node_id"], document or "")
        asked = self._index.by_id.get(work_or_order) or self._index.by_number.get(document or "")
        if asked is not None:
            work = self._met[asked.place]
            return work is None or work.drawn
        return work_or_order in self._left_out

    def _work_at(self, node_id: str, fulfillment_id: str) -> str:
        """The `work_id` of what a node calls so."""
        node = self._shard.nodes.get(node_id)
        return work_id(node.market_id if node else "", fulfillment_id)

    # --- differences found on shelves

    def _counts_the_same(self, row: Row) -> bool:
        """Whether a count finds here what it found in history."""
        data = row.input["data"]
        node = self._shard.nodes.get(data["node_id"])
        if self.in_step or node is None:
            return True
        stock = self._shard.stock(node, data["sku"])
        at_ms = counted_ms(data, row.input["time_ms"], self._shard.now_ms)
        delta = count_delta(stock, data.get("state", "all"), data["counted"], at_ms)
        return [one[2] for one in row.found] == [delta]

    def _find(self, found: Iterable[list[Any]]) -> None:
        """Units that turned up or were missing do so here as well, as many as there."""
        for node_id, sku, (on_hand, *held) in found:
            units = [on_hand - sum(held), *held]
            for state, delta in sorted(zip(_STATES, units, strict=True), key=lambda one: one[1]):
                if not delta:
                    continue
                self._outcome.dropped["counts and short picks taken as differences"] += 1
                found_data = {
                    "node_id": node_id,
                    "sku": sku,
                    "delta": delta,
                    "reason": "found in history",
                    "state": state,
                }
                self._take(self._record("stock_adjusted", found_data))

    def _rejects_the_same(self, row: Row, data: dict[str, Any]) -> bool:
        """Whether a report's short units correct the books here as they did in history."""
        if self.in_step:
            return True
        node = self._shard.nodes.get(data["node_id"])
        work = node and parse(self._shard.markets[node.market_id], data["fulfillment_id"])
        if not node or not work:
            return not row.found
        predicted: dict[str, list[int]] = {}
        units_of = {line.line_id: line for line in work[1].lines}
        for line_id, units, reason, effect in _short(row.input["type"], data, work[1]):
            line = units_of.get(line_id)
            if line is None or effect != "apply":
                continue
            before = predicted.setdefault(line.sku, [0, 0, 0])
            _correct(before, self._shard.stock(node, line.sku), units, reason)
        found: dict[str, list[int]] = {}
        for _, sku, delta in row.found:
            known = found.setdefault(sku, [0, 0])
            known[0] += delta[0]
            known[1] += delta[2]
        return {sku: one[:2] for sku, one in predicted.items() if any(one[:2])} == found

    # --- what nodes and carriers answer

    def _answered(self, row: Row, asked: Asked | None) -> None:
        """An answer at its place in history."""
        if asked is None or self._comes_before(row, asked):  # as above, of a package
            self._report(row, row.input)
            return
        work = self._met[asked.place]
        if work is not None and work.in_step and self._still_fits(work, row):
            work.left -= 1
            self._outcome.answers["in place"] += 1
            self._report(row, row.input)
            self._rest(work)
            return
        if work is None:
            self._outcome.dropped["answers to work that is not asked here"] += 1
        if row.found:
            self._find(row.found)

    def _comes_before(self, row: Row, asked: Asked) -> bool:
        """Whether history had this before it asked for the work: it can be no answer to it."""
        return row.now_ms < asked.asked_ms or (self.in_step and self._met[asked.place] is None)

    def _report(self, row: Row, record: InputRecord) -> None:
        """A report; what it says of the shelf is what it said in history."""
        data = record["data"]
        type_ = record["type"]
        rejects = type_ == "fulfillment_rejected" or (
            type_ == "fulfillment_shipped" and (row.found or data.get("short"))
        )
        if not rejects or self._rejects_the_same(row, data):
            self._take(record, row if record is row.input else None)
            return
        if type_ == "fulfillment_rejected":
            data = {**data, "stock_effect": "none"}
        else:
            data = {**data, "short": [{**one, "stock_effect": "none"} for one in data["short"]]}
        self._take({**record, "data": data})
        self._find(row.found)

    def _still_fits(self, work: Work, row: Row) -> bool:
        """Whether history's answer fits what happened to the work here; draws the rest else."""
        type_, data = row.input["type"], row.input["data"]
        ships = type_ == "fulfillment_shipped"
        cancels = type_.startswith("fulfillment_cancellation")
        if self.in_step or not (ships or cancels or work.drawn):
            return True
        found = self._fulfillment(work.work_id)
        if found is None:
            return True
        if work.drawn:
            return False
        if ships and not _can_ship(data, found[1]):
            self._draw_rest(work)
            return False
        if cancels and not found[1].awaits_answer:
            if type_.endswith("accepted"):
                self._draw_rest(work)
            return False
        return True

    def _rest(self, work: Work) -> None:
        """Work that history finished, and that has units left here, is finished all the same."""
        if work.left > 0 or work.drawn or self.in_step or not (work.asked and work.asked.closed):
            return
        found = self._fulfillment(work.work_id)
        if found is not None and found[1].outstanding:
            self._draw_rest(work)

    def _requested(self, event: Plain) -> None:
        """A node is asked: its answers are history's, or drawn."""
        now_ms = self._shard.now_ms
        here = work_id(event["market_id"], event["fulfillment_id"])
        asked = self._index.by_id.get(here)
        if (
            asked is None
            or self._met[asked.place]
            or not (self.in_step or asked.key == asked_key(event))
        ):
            candidates = self._index.by_key.get(asked_key(event), ())
            free = [one for one in candidates if not self._met[one.place]]
            asked = min(free, key=lambda one: abs(one.asked_ms - now_ms), default=None)
        elif asked.asked_ms == now_ms:
            self._met[asked.place] = Work(asked.work_id, now_ms, asked, in_step=True)
            return
        work = self._works[here] = Work(here, now_ms, asked)
        if asked is None:
            self._draw(work, event)
            return
        self._met[asked.place] = work
        for after_ms, place in asked.answers:
            self._at(now_ms + after_ms, lambda place=place: self._verbatim(work, place))  # type: ignore[misc]  # mypy infers no default's type

    def _verbatim(self, work: Work, place: int) -> None:
        """History's answer, as long after the request as it came there."""
        row = self._rows.at(place)
        work.left -= 1
        asked = work.asked
        assert asked is not None  # noqa: S101 - it has answers
        if work.drawn:
            return
        cancels = row.input["type"].startswith("fulfillment_cancellation")
        if cancels or not self._still_fits(work, row):
            self._rest(work)  # cancellations are answered when they are asked for
            return
        self._outcome.answers["at their delay"] += 1
        later_ms = self._shard.now_ms - row.now_ms
        data = {**row.input["data"]}
        if "fulfillment_id" in data:
            data["fulfillment_id"] = work.fulfillment_id
        for name in ("at", "shipped_at"):
            if name in data:
                data[name] = rfc3339(instant_ms(data[name]) + later_ms)
        time_ms = row.input["time_ms"] + later_ms
        # what it found was found at its own tick, as a difference
        self._report(row._replace(found=[]), self._record(row.input["type"], data, time_ms))
        self._rest(work)

    # --- drawn answers

    def _chance(self, what: str) -> Random:
        """Variants draw alike for the same order and node, the same time over."""
        self._asked_twice[what] += 1
        return Random(f"{self._seed}/{what}/{self._asked_twice[what]}")  # noqa: S311 - repeatable

    def _draw(self, work: Work, event: Plain) -> None:
        node_id = event["node_id"]
        chance = self._chance(f"{event['channel']}/{event['order_id']}/{node_id}")
        now_ms = self._shard.now_ms
        ahead, transit = days_of(event, now_ms)
        draw = self._index.draws.draw(chance, node_id, ahead, transit)
        self._outcome.rests_on_drawn(order_key(event))
        if draw is None:
            self._outcome.answers["drawn: none by the end"] += 1
            return
        self._outcome.answers["drawn"] += 1
        lines = [line["line_id"] for line in event["lines"]]
        rejected = min(len(lines), round(draw.look.share * len(lines)) or bool(draw.look.share))
        short = chance.sample(lines, rejected)

        def look() -> None:
            self._drawn_look(work, short, draw.look.reason)

        def ship() -> None:
            self._drawn_ship(work, draw.arrive_after_ms)

        work.ship_ms = now_ms + draw.ship_after_ms
        self._at(now_ms + draw.look.after_ms, look)
        self._at(work.ship_ms, ship)

    def _drawn_look(self, work: Work, short: list[str], reason: str) -> None:
        found = self._fulfillment(work.work_id)
        if found is None or not found[1].outstanding:
            return
        data: dict[str, Any] = {
            "node_id": found[1].node_id,
            "fulfillment_id": work.fulfillment_id,
        }
        lines = [
            {"line_id": line.line_id, "quantity": units}
            for line, units in _to_ship(found[1])
            if line.line_id in short
        ]
        if lines:  # the shelf is what history found it to be
            rejection = {"reason": reason, "lines": lines, "stock_effect": "none"}
            self._take(self._record("fulfillment_rejected", {**data, **rejection}))
            found = self._fulfillment(work.work_id)
        if found is not None and found[1].outstanding:
            self._take(self._record("fulfillment_accepted", data))

    def _drawn_ship(self, work: Work, arrive_after_ms: int) -> None:
        found = self._fulfillment(work.work_id)
        lines = list(_to_ship(found[1])) if found else []
        if found is None or not lines:
            return
        order, fulfillment = found
        package = f"W{len(fulfillment.shipments) + 1}"
        package_data: dict[str, Any] = {"package_id": package}
        if fulfillment.carrier is not None:
            package_data["carrier"] = fulfillment.carrier
        if fulfillment.service is not None:
            package_data["service"] = fulfillment.service
        data = {
            "node_id": fulfillment.node_id,
            "fulfillment_id": work.fulfillment_id,
            "shipped_at": rfc3339(self._shard.now_ms),
            "lines": [{"line_id": one.line_id, "quantity": units} for one, units in lines],
            "packages": [package_data],
        }
        self._take(self._record("fulfillment_shipped", data))
        market_id = order.market_id

        def arrive() -> None:
            tracked = {
                "carrier": fulfillment.carrier or "",
                "tracking_number": f"{work.fulfillment_id}.{package}",
                "status": "delivered",
                "at": rfc3339(self._shard.now_ms),
                "fulfillment_id": work.fulfillment_id,
                "package_id": package,
                "market_id": market_id,
            }
            self._take(self._record("tracking_updated", tracked))

        self._at(self._shard.now_ms + arrive_after_ms, arrive)

    def _draw_rest(self, work: Work) -> None:
        """History's answers no longer fit: what is left to do is drawn from here on."""
        found = self._fulfillment(work.work_id)
        if work.drawn or found is None:
            return
        work.drawn = True
        order, fulfillment = found
        chance = self._chance(f"{order.key}/{fulfillment.node_id}")
        self._outcome.rests_on_drawn(f"{order.market_id}/{order.key}")
        ahead, transit = days_between(
            work.now_ms, fulfillment.ship_day, fulfillment.ship_by_ms, fulfillment.deliver_by_ms
        )
        draw = self._index.draws.draw(chance, fulfillment.node_id, ahead, transit)
        if draw is None:
            return
        self._outcome.answers["drawn for a rest"] += 1
        work.ship_ms = max(self._shard.now_ms, work.now_ms + draw.ship_after_ms)
        self._at(work.ship_ms, lambda: self._drawn_ship(work, draw.arrive_after_ms))

    def _cancellation_requested(self, event: Plain) -> None:
        """A node is asked to stop: as in history, or it answers as nodes did there."""
        here = work_id(event["market_id"], event["fulfillment_id"])
        asked = self._index.by_id.get(here)
        work = self._works.get(here) or (asked and self._met[asked.place])
        if not work or work.work_id != here:  # it was open before: it keeps the answers it had
            return
        after_ms = self._shard.now_ms - work.now_ms
        if work.asked is not None and not work.drawn:
            same = [event["cancellation_id"], after_ms, digest_of(event["lines"])]
            if work.in_step and same in work.asked.cancellations:
                return
            self._draw_rest(work)
        about = f"{event['channel']}/{event['order_id']}/{event['node_id']}"
        chance = self._chance(f"{about}/cancel")
        answer_ms, accepted = self._index.draws.draw_cancellation(chance)
        self._outcome.answers["drawn"] += 1
        self._outcome.rests_on_drawn(order_key(event))

        def answer() -> None:
            found = self._fulfillment(here)
            if found is not None and _awaits(found[1], event["cancellation_id"]):
                data = {
                    "node_id": event["node_id"],
                    "fulfillment_id": event["fulfillment_id"],
                    "cancellation_id": event["cancellation_id"],
                }
                said = "accepted" if accepted else "rejected"
                self._take(self._record(f"fulfillment_cancellation_{said}", data))

        due_ms = self._shard.now_ms + answer_ms
        if self._shard.now_ms < work.ship_ms <= due_ms:
            due_ms = work.ship_ms - 1  # a node that hasn't shipped yet knows of the request
        self._at(due_ms, answer)

    def _fulfillment(self, work: str) -> tuple[Order, Fulfillment] | None:
        """By its `work_id`."""
        market_id, _, fulfillment_id = work.partition("/")
        return parse(self._shard.markets[market_id], fulfillment_id)


def _awaits(fulfillment: Fulfillment, cancellation_id: str) -> bool:
    """Whether a node still has to answer a request, and something to answer it for."""
    asked = any(
        one.cancellation_id == cancellation_id and one.lines for one in fulfillment.cancellations
    )
    return asked and fulfillment.awaits_answer


def _to_ship(fulfillment: Fulfillment) -> Iterable[tuple[Any, int]]:
    """What a node has still to ship, apart from what it was asked to stop."""
    for line in fulfillment.lines:
        units = line.reserved - fulfillment.awaiting_cancellation(line.line_id, taken_back=False)
        if units > 0:
            yield line, units


def _can_ship(data: dict[str, Any], fulfillment: Fulfillment) -> bool:
    """Whether all that a shipment holds is still to be shipped."""
    left = {line.line_id: line.reserved for line in fulfillment.lines}
    for line in data.get("lines") or [
        line for package in data["packages"] for line in package.get("lines") or ()
    ]:
        left[line["line_id"]] = left.get(line["line_id"], 0) - line["quantity"]
    return all(units >= 0 for units in left.values())


def _short(
    type_: str, data: dict[str, Any], fulfillment: Fulfillment
) -> Iterable[tuple[str, int, str, str]]:
    """Line, units, reason, stock effect of what a report says a node won't ship."""
    outstanding = {line.line_id: line.outstanding for line in fulfillment.lines}
    if type_ == "fulfillment_shipped":
        for one in data.get("short") or ():
            units = min(one["quantity"], outstanding.get(one["line_id"], 0))
            yield one["line_id"], units, one["reason"], one.get("stock_effect", "apply")
        return
    effect = data.get("stock_effect", "apply")
    for line in data.get("lines") or [
        {"line_id": line_id, "quantity": units} for line_id, units in outstanding.items() if units
    ]:
        units = min(line["quantity"], outstanding.get(line["line_id"], 0))
        yield line["line_id"], units, data["reason"], effect


def _correct(predicted: list[int], stock: Bin, units: int, reason: str) -> None:
    """Add what a rejection would do to [on hand, damaged, units freed] of a bin."""
    predicted[2] += units
    available = stock.available + predicted[2] + predicted[0] - predicted[1]
    match reason:
        case "not_in_stock":
            predicted[0] -= max(0, available)
        case "mismatch":
            there = stock.on_hand + predicted[0] - stock.set_aside - predicted[1]
            predicted[0] -= min(units, there)
        case "damaged":
            predicted[1] += min(units, max(0, available))
        case _:
            pass
