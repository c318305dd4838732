"""Many channels after few units, through the core; books are kept beside it, by commands alone.

`python -m tests.contention.last_units --attempts 1000000` is the long form of the test beside it.
"""

import itertools
import secrets
import sys
import time
from argparse import ArgumentParser
from collections import Counter, deque
from collections.abc import Callable
from dataclasses import dataclass, field
from random import Random
from typing import Any, Final

from events.decided import InputRecord
from orchestrator.core.config import Config
from orchestrator.core.decide import decide, next_due_ms, tick, work_due
from orchestrator.core.shard import Shard

CHANNELS: Final = 20
NODES: Final = ("N1", "N2", "N3", "N4")
SKUS: Final = ("A", "B", "C")
_START_MS: Final = 1_800_000_000_000
_STEP_MS: Final = 5
_PATIENT: Final = 50  # orders that wait, at the most; above it the oldest are cancelled
_SUPPRESSION_MS: Final = 500
_QUIET: Final = 3  # suppressions without anything to do: it is over
_REACTIONS: Final = (1, 400)  # ms that a warehouse takes, from and to
Place = tuple[str, str]
"""Node and item."""


@dataclass(slots=True)
class Tally:
    """What happened."""

    attempts: int = 0
    requested: Counter[str] = field(default_factory=Counter)  # units, by what became of them
    cancelled: int = 0  # orders that a channel asked to cancel
    counts: int = 0
    waited: int = 0  # orders that found nothing at first
    seconds: float = 0.0

    def __str__(self) -> str:
        units = ", ".join(f"{count:,} {what}" for what, count in sorted(self.requested.items()))
        return (
            f"{self.attempts:,} attempts at {self.attempts / self.seconds:,.0f}/s, "
            f"{self.waited:,} found nothing at first, {self.cancelled:,} cancellations asked for, "
            f"{self.counts:,} counts; units {units}"
        )


class Rush:
    """One shard, its warehouses, and books of what they have and what they were asked for."""

    def __init__(self, seed: int) -> None:
        """Nodes and items, and a few units of each."""
        self.tally = Tally()
        self._chance = Random(seed)
        self._shard = Shard(0, Config(suppression_ms=_SUPPRESSION_MS))
        self._now_ms = _START_MS
        self._offsets: Counter[str] = Counter()
        self._have: Counter[Place] = Counter()  # units on the shelf
        self._asked: Counter[Place] = Counter()  # of those, to be shipped
        self._jobs: dict[str, tuple[str, dict[str, tuple[str, int]]]] = {}
        self._due: list[tuple[int, str]] = []
        self._stops: list[tuple[int, dict[str, Any]]] = []
        self._recent: deque[tuple[str, str]] = deque(maxlen=50)
        self._waiting: deque[tuple[str, str]] = deque()
        self._inputs = itertools.count()
        market = {"market_id": "us", "currency": "USD", "time_zone": "UTC"}
        self._take("network", "market_defined", market)
        for sku in SKUS:
            self._take("network", "item_defined", {"sku": sku, "name": sku})
        for n, node in enumerate(NODES):
            place = {"address": {"country": "US"}, "location": {"lat": 40 + n, "lon": -100}}
            data = {"node_id": node, "market_id": "us", "kind": "store", "name": node, **place}
            self._take("network", "node_defined", data)

    def run(self, attempts: int, tell: Callable[[int], None] = lambda _: None) -> Tally:
        """So many orders; then everything comes to rest. AssertionError where books disagree."""
        began = time.perf_counter()
        for number in range(attempts):
            self._pass(_STEP_MS)
            self._attempt(number)
            self._disturb()
            if number % 10_000 == 0:
                tell(number)
        quiet = 0
        while quiet < _QUIET:  # a node that rejected is asked again a while after it
            self._pass(_SUPPRESSION_MS)
            quiet = 0 if self._due or self._stops else quiet + 1
        self.tally.seconds = time.perf_counter() - began
        self._check_end()
        return self.tally

    def _attempt(self, number: int) -> None:
        chance = self._chance
        channel = f"c{chance.randrange(CHANNELS)}"
        skus = chance.sample(SKUS, chance.choice((1, 1, 2)))
        order = {
            "channel": channel,
            "market_id": "us",
            "order_id": str(number),
            "placed_at": "2026-01-01T00:00:00Z",
            "currency": "USD",
            "ship_to": {"country": "US", "location": {"lat": chance.randint(38, 45), "lon": -100}},
            "lines": [
                {"line_id": sku, "sku": sku, "quantity": chance.choice((1, 1, 1, 2))}
                for sku in skus
            ],
        }
        self.tally.attempts += 1
        key = (channel, str(number))
        events = self._take("orders", "order_placed", order)
        self._recent.append(key)
        if not any(event["type"] == "fulfillment_requested" for event in events):
            self.tally.waited += 1
            self._waiting.append(key)
            if len(self._waiting) > _PATIENT:
                self._cancel(self._waiting.popleft())

    def _disturb(self) -> None:
        """A cancellation, a receipt, a count, now and then."""
        chance = self._chance
        if chance.random() < 0.2:
            self._cancel(chance.choice(self._recent))
        if chance.random() < 0.5:
            place = (chance.choice(NODES), chance.choice(SKUS))
            units = chance.randint(1, 3)
            self._have[place] += units
            self._stock("stock_received", place, quantity=units)
        if chance.random() < 0.05:
            place = (chance.choice(NODES), chance.choice(SKUS))
            counted = chance.randint(self._asked[place], self._have[place] + 2)
            self._have[place] = counted
            self.tally.counts += 1
            self._stock("stock_counted", place, counted=counted)

    def _stock(self, type_: str, place: Place, **units: int) -> None:
        self._take("stock", type_, {"node_id": place[0], "sku": place[1], **units})

    def _cancel(self, key: tuple[str, str]) -> None:
        self.tally.cancelled += 1
        data = {"channel": key[0], "market_id": "us", "order_id": key[1], "reason": "mind"}
        self._take("orders", "order_cancel_requested", data)

    def _pass(self, ms: int) -> None:
        """Let time pass: timers fire, and warehouses react to what they were asked long ago."""
        self._now_ms += ms
        due_ms = next_due_ms(self._shard)
        if due_ms is not None and due_ms <= self._now_ms:
            self._decide(tick(self._now_ms))
            self._work()
        ready = [fulfillment for at, fulfillment in self._due if at <= self._now_ms]
        self._due = [(at, fulfillment) for at, fulfillment in self._due if at > self._now_ms]
        stops = [event for at, event in self._stops if at <= self._now_ms]
        self._stops = [(at, event) for at, event in self._stops if at > self._now_ms]
        for event in stops:
            self._answer(event)
        for fulfillment in ready:
            self._react(fulfillment)

    def _react(self, fulfillment: str) -> None:
        """Ship what is left of it, or reject it whole."""
        node, left = self._jobs.pop(fulfillment, ("", {}))
        if not left:
            return
        of = {"node_id": node, "fulfillment_id": fulfillment}
        rejected = self._chance.random() < 0.1
        for sku, units in left.values():
            self._asked[node, sku] -= units
            self._have[node, sku] -= 0 if rejected else units
            self.tally.requested["rejected" if rejected else "shipped"] += units
        if rejected:
            lines = [{"line_id": line, "quantity": units} for line, (_, units) in left.items()]
            why = {"reason": "other", "stock_effect": "none", "lines": lines}
            self._take("stock", "fulfillment_rejected", {**of, **why})
            return
        shipped = [
            {"line_id": line, "sku": sku, "quantity": units} for line, (sku, units) in left.items()
        ]
        package = {
            "package_id": "P1",
            "carrier": "post",
            "tracking_number": fulfillment,
            "lines": shipped,
        }
        data = {**of, "shipped_at": "2026-01-01T00:00:00Z", "packages": [package]}
        self._take("stock", "fulfillment_shipped", data)

    def _take(self, topic: str, type_: str, data: dict[str, Any]) -> list[dict[str, Any]]:
        offset = self._offsets[topic]
        self._offsets[topic] += 1
        record: InputRecord = {
            "type": type_,
            "version": 1,
            "id": str(next(self._inputs)),
            "source": "rush",
            "time_ms": self._now_ms,
            "origin": [topic, 0, offset, self._now_ms],
            "data": data,
        }
        if self._now_ms > self._shard.now_ms:
            self._decide(tick(self._now_ms))
        return self._decide(record) + self._work()

    def _work(self) -> list[dict[str, Any]]:
        events = []
        while work_due(self._shard, self._now_ms):
            events += self._decide(tick(self._now_ms))
        return events

    def _decide(self, record: InputRecord) -> list[dict[str, Any]]:
        events = [dict(event) for event in decide(self._shard, record)]
        for event in events:
            match event["type"]:
                case "fulfillment_requested":
                    self._requested(event)
                case "fulfillment_cancellation_requested":
                    self._stop(event)
                case "order_refused" | "input_expired":
                    raise AssertionError(f"{record} led to {event}")
                case _:
                    pass
        return events

    def _requested(self, event: dict[str, Any]) -> None:
        """A command: what it asks for must be there, beside what was asked for before."""
        node = event["node_id"]
        left = {line["line_id"]: (line["sku"], line["quantity"]) for line in event["lines"]}
        for sku, units in left.values():
            self._asked[node, sku] += units
            self.tally.requested["requested"] += units
            assert self._asked[node, sku] <= self._have[node, sku], (
                f"oversold: {event['fulfillment_id']} asks {node} for {units} of {sku}, "
                f"which has {self._have[node, sku]} and is to ship {self._asked[node, sku]}"
            )
        self._jobs[event["fulfillment_id"]] = node, left
        at = self._now_ms + self._chance.randint(*_REACTIONS)
        self._due.append((at, event["fulfillment_id"]))

    def _stop(self, event: dict[str, Any]) -> None:
        """A cancellation, answered a little later: it may have shipped by then."""
        self._stops.append((self._now_ms + self._chance.randint(*_REACTIONS) // 4, event))

    def _answer(self, event: dict[str, Any]) -> None:
        if event["fulfillment_id"] not in self._jobs:
            return  # it was shipped or rejected, which is the answer
        node, left = self._jobs[event["fulfillment_id"]]
        stopped, late = [], []
        for line in event["lines"]:
            line_id, units = line["line_id"], line["quantity"]
            sku, there = left.get(line_id, ("", 0))
            stop = min(units, there)
            if stop:
                left[line_id] = sku, there - stop
                if stop == there:
                    del left[line_id]
                self._asked[node, sku] -= stop
                self.tally.requested["stopped"] += stop
                stopped.append({"line_id": line_id, "quantity": stop})
            if units > stop:
                late.append({"line_id": line_id, "quantity": units - stop})
        for word, lines in (("accepted", stopped), ("rejected", late)):
            if lines:
                of = {name: event[name] for name in ("node_id", "fulfillment_id")}
                answer = {**of, "cancellation_id": event["cancellation_id"], "lines": lines}
                self._take("stock", f"fulfillment_cancellation_{word}", answer)

    def _check_end(self) -> None:
        """Nobody waits beside a free unit, and everything asked for was answered."""
        assert not any(self._asked.values()), self._asked
        for market in self._shard.markets.values():
            for sku, waiting in market.waiting.items():
                free = sum(self._have[node, sku] - self._asked[node, sku] for node in NODES)
                assert not waiting or not free, f"{len(waiting)} wait beside {free} of {sku}"


def main() -> None:
    """The long form."""
    parser = ArgumentParser(prog="python -m tests.contention.last_units", description=__doc__)
    parser.add_argument("--attempts", type=int, default=1_000_000)
    parser.add_argument("--seed", type=int, default=None, help="default: by chance")
    given = parser.parse_args()
    seed = secrets.randbelow(1_000_000) if given.seed is None else given.seed
    sys.stderr.write(f"--seed {seed}\n")

    def tell(number: int) -> None:
        sys.stderr.write(f"\r{number:,}")

    tally = Rush(seed).run(given.attempts, tell)
    sys.stdout.write(f"\n{tally}\n")


if __name__ == "__main__":
    main()
