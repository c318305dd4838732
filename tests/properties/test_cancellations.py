"""Whatever is to be cancelled, and whenever nodes say what became of it: each unit ends once.

Random walks, seeded. The nodes are truthful: a unit that one has is shipped, rejected or stopped,
once, and is told so. Of which request a unit was that it rejected or shipped it knows, and says or
doesn't. What it says may come late, and in any order, and again under a new id where nothing
is left that it could be about.
"""

from collections import Counter
from random import Random
from typing import Any

import pytest

from orchestrator.core.invariants import violations
from tests.core.story import Event, Story

NODES = ("BOS", "CHI", "LAX")
REASONS = ("damaged", "capacity", "other")
Line = dict[str, Any]


class Job:
    """A fulfillment, as its node sees it: units by line."""

    def __init__(self, lines: list[Line]) -> None:
        self.left = Counter({line["line_id"]: line["quantity"] for line in lines})
        self.ended: dict[str, Counter[str]] = {
            how: Counter() for how in ("shipped", "rejected", "cancelled")
        }
        self.asked: dict[str, Counter[str]] = {}
        """Units to stop of which the node has still to say what became of them, by request."""
        self.packages = 0

    def unsaid(self, line_id: str) -> int:
        return sum(units[line_id] for units in self.asked.values())


class Walk:
    """Orders that are cancelled in pieces while three nodes work on them."""

    def __init__(self, seed: int) -> None:
        self.chance = Random(seed)
        self.shop = Story()
        for node_id in NODES:
            self.shop.node(node_id)
        self.shop.item("A", "B")
        for node_id in NODES:
            self.shop.receive(node_id, A=self.chance.randint(2, 8), B=self.chance.randint(1, 5))
        self.jobs: dict[str, Job] = {}
        self.asked = Counter[tuple[str, str]]()
        """Units that channels asked to cancel, by order and line."""
        self.told = Counter[tuple[str, str]]()
        """Units of which they were told that they are cancelled, or that it is too late."""
        self.told_again = 0
        for number in range(self.chance.randint(1, 3)):
            self.hear(self.shop.order(str(number), A=self.units(6), B=self.units(3)))

    def units(self, most: int) -> int:
        return self.chance.randint(1, most)

    def hear(self, events: list[Event]) -> None:
        """What nodes and channels are told."""
        for event in events:
            match event["type"]:
                case "fulfillment_requested":
                    self.jobs[event["fulfillment_id"]] = Job(event["lines"])
                case "fulfillment_cancellation_requested":
                    asked = self.jobs[event["fulfillment_id"]].asked
                    units = {line["line_id"]: line["quantity"] for line in event["lines"]}
                    asked[event["cancellation_id"]] = Counter(units)
                case "order_cancelled" | "order_cancellation_rejected":
                    for line in event["lines"]:
                        self.told[event["order_id"], line["line_id"]] += line["quantity"]
                case _:
                    """nothing that anybody outside acts by"""
        assert list(violations(self.shop.shard)) == []

    def report(self, kind: str, fulfillment_id: str, **data: Any) -> None:  # noqa: ANN401 - JSON
        number, left = fulfillment_id.removeprefix("web."), self.jobs[fulfillment_id].left
        self.hear(self.shop.report(kind, number, **data))
        ends = kind in ("rejected", "cancellation_accepted")
        if ends and not any(left[line["line_id"]] for line in data["lines"]):
            again = self.shop.report(kind, number, **data)
            assert [event["type"] for event in again] == ["input_repeated"]
            self.told_again += 1

    def step(self) -> None:
        """Something happens."""
        what = self.chance.choices(
            (self.cancel, self.lose, self.reject, self.ship, self.stop, self.too_late, self.silent),
            (5, 1, 3, 2, 4, 3, 2),
        )
        what[0]()

    def work(self) -> tuple[str, Job, str] | None:
        """A line that a node has units of."""
        found = [
            (id_, job, line_id)
            for id_, job in self.jobs.items()
            for line_id in job.left
            if job.left[line_id]
        ]
        return self.chance.choice(found) if found else None

    def request(self) -> tuple[str, Job, str, str] | None:
        """A line of a request that a node has still to say something of."""
        found = [
            (id_, job, request, line_id)
            for id_, job in self.jobs.items()
            for request, units in job.asked.items()
            for line_id in units
            if units[line_id]
        ]
        return self.chance.choice(found) if found else None

    # --- channels

    def cancel(self) -> None:
        """Some units of a line that have not left, and that nobody is asked to stop yet."""
        orders = list(self.shop.shard.markets["US"].orders.values())
        order = self.chance.choice(orders)
        line = self.chance.choice(order.lines)
        waiting = sum(
            one.awaiting_cancellation(line.line_id, taken_back=False) for one in order.fulfillments
        )
        most = line.allocated + line.backordered - waiting
        if most:
            units = self.units(min(most, 3))
            self.asked[order.order_id, line.line_id] += units
            lines = [{"line_id": line.line_id, "quantity": units}]
            self.hear(self.shop.cancel(order.order_id, lines=lines))

    # --- nodes

    def lose(self) -> None:
        """A unit breaks: it may have been promised."""
        of: Line = {"node_id": self.chance.choice(NODES), "sku": self.chance.choice("AB")}
        self.hear(self.shop.send("stock_adjusted", delta=-1, reason="broken", **of))

    def _end(self, job: Job, how: str, line_id: str, units: int) -> list[Line]:
        job.left[line_id] -= units
        job.ended[how][line_id] += units
        return [{"line_id": line_id, "quantity": units}]

    def reject(self) -> None:
        if (found := self.work()) is not None:
            id_, job, line_id = found
            lines = self._end(job, "rejected", line_id, self.units(job.left[line_id]))
            self.report("rejected", id_, lines=lines, reason=self.chance.choice(REASONS))

    def ship(self) -> None:
        if (found := self.work()) is not None:
            id_, job, line_id = found
            self._ship(id_, job, line_id, self.units(job.left[line_id]))

    def _ship(self, id_: str, job: Job, line_id: str, units: int) -> None:
        job.packages += 1
        package = {
            "package_id": f"P{job.packages}",
            "lines": self._end(job, "shipped", line_id, units),
        }
        at = "2026-11-23T10:00:00Z"
        self.report("shipped", id_, shipped_at=at, packages=[package])

    def stop(self) -> None:
        """Stop what is still there, by a request; what of it is there no more may be told, too."""
        if (found := self.request()) is not None:
            id_, job, request, line_id = found
            units = min(job.asked[request][line_id], job.left[line_id])
            if units:
                units = self.units(units)
                job.asked[request][line_id] -= units
                lines = self._end(job, "cancelled", line_id, units)
                about: Line = {"lines": lines}
                if self.chance.random() < 0.8 or len(job.asked) > 1:
                    about["cancellation_id"] = request
                self.report("cancellation_accepted", id_, **about)

    def too_late(self) -> None:
        """Units of a request stay with the node, or went otherwise."""
        if (found := self.request()) is not None:
            id_, job, request, line_id = found
            units = self.units(job.asked[request][line_id])
            job.asked[request][line_id] -= units
            lines = [{"line_id": line_id, "quantity": units}]
            self.report("cancellation_rejected", id_, cancellation_id=request, lines=lines)

    def silent(self) -> None:
        """Units of a request went otherwise, and the node has no more to say of them."""
        if (found := self.request()) is not None:
            _, job, request, line_id = found
            gone = job.unsaid(line_id) - job.left[line_id]
            units = min(gone, job.asked[request][line_id])
            if units > 0:
                job.asked[request][line_id] -= self.units(units)

    def end(self) -> None:
        """Each node ships what is left, and what comes of that."""
        while (found := self.work()) is not None:
            id_, job, line_id = found
            self._ship(id_, job, line_id, job.left[line_id])


@pytest.mark.parametrize(
    "part", [0, *(pytest.param(part, marks=pytest.mark.slow) for part in range(1, 4))]
)
def test_each_unit_ends_once_whatever_its_node_says_when(part: int) -> None:
    several = told_again = 0
    for seed in range(part * 100, part * 100 + 100):
        walk = Walk(seed)
        for _ in range(60):
            walk.step()
        walk.end()
        where = f"seed {seed}"
        told_again += walk.told_again
        for order in walk.shop.shard.markets["US"].orders.values():
            for fulfillment in order.fulfillments:
                job = walk.jobs[fulfillment.fulfillment_id]
                several += len(job.asked) > 1
                for line in fulfillment.lines:
                    ended = {how: units[line.line_id] for how, units in job.ended.items()}
                    assert ended == {how: getattr(line, how) for how in ended}, where
                    assert (line.outstanding, line.reserved) == (0, 0), where
                assert fulfillment.status in {"shipped", "incomplete", "cancelled"}, where
                assert fulfillment.request_status != "cancellation_requested", where
            for order_line in order.lines:
                key = (order.order_id, order_line.line_id)
                assert walk.asked[key] == walk.told[key], f"{where}: {key} is told once a unit"
                assert (order_line.open, order_line.allocated) == (0, 0), where
        told = [key[-1] for key in walk.shop.shard.exceptions if key[0] == "data_mismatch"]
        # a unit that was taken back and sourced elsewhere may have left all the same
        assert [one for one in told if "shipped more than was asked" not in one] == [], where
    assert several > 50, "too few fulfillments had several requests"
    assert told_again > 200, "too little was told again"
