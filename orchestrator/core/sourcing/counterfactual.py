"""What would have changed a decision, found on the table that was recorded with it.

Three questions: (a) a barred node without the only fence that it fails, (b) that, and the units of
one item that it lacks, (c) a node of the plan dearer by x. A plan is put together from the recorded
rows in the planner's own order: most units, least value, fewest legs, node ids. Few sets of units
are recorded, so that the rows themselves are gone through, where the planner's search
(`search.best_two`) would ask for every set; both find the same (a property test). Nodes and sets
that were not recorded might do better still: what is said here is enough, and sure to change the
result.
"""

from collections.abc import Iterable, Sequence
from typing import Any, Final, NamedTuple, TypeAlias

from typing_extensions import (  # noqa: UP035 - as in events.decided
    NotRequired,
    TypedDict,
)

from events.decided import Decision, NodeRow, Value

FOUND_NOTHING: Final = "found nothing"
"""Why a strategy was passed over that was asked; of others it is the condition that fails."""
MAX_STEPS = 20_000
"""Rows looked at for one plan, at the most: some 20 ms. Beyond, the best plan found stands."""
MANY_LEGS = 10
"""A plan of more is put together anew without each of its nodes in as many rows altogether."""


class Resulting(TypedDict):
    """The plan that would result, as `Choice`."""

    legs: list[tuple[int, str]]
    units: int
    value: Value


class Change(TypedDict):
    """One change that would have changed the plan.

    `by` counts in `criterion` ("cost" in minor units): what it saves; of `dearer`, the smallest
    difference that changes the plan. It is 0 where the plan gains units (`more_units`) instead.
    """

    node_id: str
    fence: NotRequired[str]
    sku: NotRequired[str]
    lacking: NotRequired[int]  # units of the sku
    criterion: str
    by: int
    more_units: int
    plan: Resulting


class Counterfactual(TypedDict):
    """The greatest gain of (a), of (b), and the smallest difference of (c); None: there is none."""

    lift_fence: Change | None
    add_stock: Change | None
    dearer: Change | None


_FAR_M: Final = 10**9
"""Of a node without a location: beyond any sum of distances."""

Measure: TypeAlias = tuple[int, ...]
"""A value as what it compares by."""


class _Offer(NamedTuple):
    """A row that may be a leg."""

    place: int  # of its set
    node_id: str
    units: Sequence[int]  # per line
    measure: Measure


class _Plan(NamedTuple):
    """Compares as plans do: the less, the better."""

    missing: int  # units of all targets that it leaves out
    measure: Measure
    legs: int
    node_ids: list[str]
    offers: list[tuple[int, str]]


def counterfactual(decision: Decision) -> Counterfactual:
    """What would have changed this decision."""
    return Table(decision).answers()


def criteria_of(decision: Decision) -> list[str]:
    """What its plans compare by, in order.

    Without any carrier service, which every rated row shows the delivery of, legs cost the same
    money nearly everywhere: then fewest legs decide, then the distance.
    """
    rated = any(
        NodeRow(*row).delivery_days is not None for _, *rows in decision["sets"] for row in rows
    )
    if rated or decision["objective"] != ["cost"]:
        return decision["objective"]
    return ["cost", "fewest_legs", "distance"]


class Table:
    """A recorded decision as rows to plan with."""

    def __init__(self, decision: Decision) -> None:
        self.decision = decision
        self.targets: list[int] = [line[3] for line in decision["lines"]]
        self.split = decision["split"]
        self.criteria = criteria_of(decision)
        self.unrated = self.criteria != decision["objective"]
        names = [criterion.partition(" ")[0] for criterion in self.criteria]
        self.money = names.index("cost") if "cost" in names else None
        self.live: list[_Offer] = []
        self.barred: list[tuple[_Offer, Sequence[str], Sequence[Sequence[int]]]] = []
        for place, (units, *rows) in enumerate(decision["sets"]):
            for row in [NodeRow(*one) for one in rows]:
                offer = _Offer(place, row.node_id, units, self._measure(row))
                if row.fences or row.short:
                    self.barred.append((offer, row.fences, row.short))
                else:
                    self.live.append(offer)
        chosen = decision["chosen"]
        self.chosen: _Plan | None = None
        if chosen is not None:
            written: Any = chosen["legs"]  # lists, where they were JSON
            legs = [tuple(leg) for leg in written]
            self.chosen = self.plan([of for of in self.live if (of.place, of.node_id) in legs])

    def _measure(self, row: NodeRow) -> Measure:
        value: Value = row.value
        if isinstance(value, list):
            return tuple(value)
        if not self.unrated:
            return (value,)
        return (value, 1, _FAR_M if row.metres is None else row.metres)

    def answers(self) -> Counterfactual:
        """The three questions, answered.

        Where a strategy before this one found nothing, what lets a node ship more may let that one
        find something: only what a dearer node comes to is sure.
        """
        if any(reason == FOUND_NOTHING for _, reason in self.decision["passed_over"]):
            return {"lift_fence": None, "add_stock": None, "dearer": self._dearer()}
        return {
            "lift_fence": self._best_gain(self._without_a_fence()),
            "add_stock": self._best_gain(self._with_more_stock()),
            "dearer": self._dearer(),
        }

    def _without_a_fence(self) -> Iterable[tuple[dict[str, Any], list[_Offer]]]:
        """Each node with its only failing fence, and the offers that it bars."""
        lifted: dict[tuple[str, str], list[_Offer]] = {}
        for offer, fences, short in self.barred:
            if len(fences) == 1 and not short:
                lifted.setdefault((offer.node_id, fences[0]), []).append(offer)
        for (node_id, fence), offers in lifted.items():
            yield {"node_id": node_id, "fence": fence}, offers

    def _with_more_stock(self) -> Iterable[tuple[dict[str, Any], list[_Offer]]]:
        """Each node with units of one item that it lacks, and what it may offer with them."""
        lines = self.decision["lines"]
        lacks: list[tuple[_Offer, str | None, str | None, int]] = []
        for offer, fences, short in self.barred:
            skus = list(dict.fromkeys(lines[line][1] for line, _ in short))
            if len(fences) <= 1 and len(skus) <= 1:
                fence = fences[0] if fences else None
                lacks.append((offer, fence, skus[0] if skus else None, sum(n for _, n in short)))
        seen = set()
        for offer, fence, sku, units in lacks:
            changed = (offer.node_id, fence, sku, units)
            if sku is None or changed in seen:
                continue
            seen.add(changed)
            offers = [
                other
                for other, its_fence, its_sku, its_units in lacks
                if other.node_id == offer.node_id
                and its_fence in (None, fence)
                and (its_sku is None or (its_sku == sku and its_units <= units))
            ]
            change: dict[str, Any] = {"node_id": offer.node_id, "sku": sku, "lacking": units}
            if fence is not None:
                change["fence"] = fence
            yield change, offers

    def _best_gain(self, changes: Iterable[tuple[dict[str, Any], list[_Offer]]]) -> Change | None:
        best: tuple[_Plan, dict[str, Any]] | None = None
        bound = self.chosen
        for change, freed in changes:
            plan = self.best(self.live + freed, using=freed, bound=bound)
            if plan is not None:
                best = (plan, change)
                bound = plan
        if best is None:
            return None
        plan, change = best
        if self.chosen is None:
            return self._change(change, plan, 0, 0, sum(self.targets) - plan.missing)
        more = self.chosen.missing - plan.missing
        if more:
            return self._change(change, plan, 0, 0, more)
        at = _first_difference(self.chosen.measure, plan.measure)
        if at is None:
            return None  # only a tie falls otherwise: nothing is saved
        return self._change(change, plan, at, self.chosen.measure[at] - plan.measure[at], 0)

    def _dearer(self) -> Change | None:
        """The plan without each of its nodes; the one that is least worse."""
        chosen = self.chosen
        if chosen is None:
            return None
        found: list[tuple[Measure, int, str, _Plan, int]] = []
        steps = MAX_STEPS if chosen.legs <= MANY_LEGS else MAX_STEPS // chosen.legs
        for node_id in chosen.node_ids:
            offers = [offer for offer in self.live if offer.node_id != node_id]
            plan = self.best(offers, using=None, bound=None, steps=steps)
            if plan is None or plan.missing > chosen.missing:
                continue  # it would be kept whatever it costs
            worse = tuple(a - b for a, b in zip(plan.measure, chosen.measure, strict=True))
            at = _first_difference(plan.measure, chosen.measure)
            if at is None:
                at = len(worse) - 1
            equal_then = (plan.measure[at + 1 :], *plan[2:4]) < (
                chosen.measure[at + 1 :],
                *chosen[2:4],
            )
            found.append((worse, at, node_id, plan, worse[at] + (0 if equal_then else 1)))
        if not found:
            return None
        _, at, node_id, plan, by = min(found, key=lambda one: (one[0], one[4], one[2]))
        return self._change({"node_id": node_id}, plan, at, by, 0)

    def _change(
        self, what: dict[str, Any], plan: _Plan, at: int, by: int, more_units: int
    ) -> Change:
        measure = plan.measure
        resulting: Resulting = {
            "legs": sorted(plan.offers, key=lambda leg: leg[1]),
            "units": sum(self.targets) - plan.missing,
            "value": measure[0] if self.decision["objective"] == ["cost"] else list(measure),
        }
        change: Any = {
            **what,
            "criterion": self.criteria[at].partition(" ")[0],
            "by": by,
            "more_units": more_units,
            "plan": resulting,
        }
        answer: Change = change
        return answer

    def best(
        self,
        offers: list[_Offer],
        using: list[_Offer] | None,
        bound: _Plan | None,
        steps: int = MAX_STEPS,
    ) -> _Plan | None:
        """The best plan of these offers that beats `bound`, with one of `using` in it."""
        legal = self._legal(offers)
        search = _Search(self, legal, bound, steps)
        if using is None:
            search.extend(self.targets, [], 0)
        else:
            for first in using:
                if first in legal:
                    search.extend(self.after(self.targets, first), [first], 0)
        return search.best

    def _legal(self, offers: list[_Offer]) -> list[_Offer]:
        """Those that divide no line which some node has whole."""
        if self.split["quantity"] != "when_short":
            return offers
        whole = [False] * len(self.targets)
        for offer in offers:
            lines = [line for line, units in enumerate(offer.units) if units]
            if len(lines) == 1 and offer.units[lines[0]] == self.targets[lines[0]]:
                whole[lines[0]] = True
        return [
            offer
            for offer in offers
            if not any(
                there and 0 < units < target
                for there, units, target in zip(whole, offer.units, self.targets, strict=True)
            )
        ]

    def after(self, left: Sequence[int], offer: _Offer) -> list[int]:
        """What is left of each line once the offer is taken."""
        if self.split["quantity"] == "never":
            return [0 if taken else units for units, taken in zip(left, offer.units, strict=True)]
        return [units - taken for units, taken in zip(left, offer.units, strict=True)]

    def allowed(self, legs: Sequence[_Offer]) -> bool:
        """Whether a whole plan keeps what the strategy and the order say about splits."""
        split = self.split
        if split.get("one_leg") or split.get("all_or_nothing"):
            shipped = sum(sum(leg.units) for leg in legs)
            if shipped < sum(line[2] for line in self.decision["lines"]):
                return False
        if len(legs) < 2:  # noqa: PLR2004 - the least of a split
            return True
        return all(self._worth_a_leg(leg) for leg in legs)

    def _worth_a_leg(self, leg: _Offer) -> bool:
        least_units, least = self.split.get("leg_min_units"), self.split.get("leg_min_value")
        if least_units is not None and sum(leg.units) < least_units:
            return False
        if least is None:
            return True
        worth = self.decision.get("worth", [0] * len(leg.units))
        return sum(map(int.__mul__, leg.units, worth)) >= least

    def measured(self, legs: Sequence[_Offer]) -> Measure:
        """What these legs together compare by."""
        total = [sum(parts) for parts in zip(*(leg.measure for leg in legs), strict=True)]
        if self.money is not None:
            total[self.money] += self.split.get("extra_leg", 0) * (len(legs) - 1)
        return tuple(total)

    def plan(self, legs: Sequence[_Offer]) -> _Plan:
        """These legs as a plan that compares."""
        return _Plan(
            sum(self.targets) - sum(sum(leg.units) for leg in legs),
            self.measured(legs),
            len(legs),
            sorted(leg.node_id for leg in legs),
            [(leg.place, leg.node_id) for leg in legs],
        )


class _Search:
    """Depth first over the lines; a branch that can't beat the best so far is left."""

    def __init__(self, table: Table, offers: list[_Offer], bound: _Plan | None, steps: int) -> None:
        self.table = table
        self.best: _Plan | None = None
        self.bound = bound
        self.slack = bound.missing if bound is not None else sum(table.targets)
        self.steps = steps
        self.max_legs = 1 if table.split.get("one_leg") else table.split.get("max_legs")
        count = len(table.targets)
        self.of_line = [
            sorted((o for o in offers if o.units[line]), key=lambda o: (o.measure, o.node_id))
            for line in range(count)
        ]
        # The least that a line's share of any offer can be: summed, what is left costs that much.
        self.shares = [
            min((o.measure[0] // sum(map(bool, o.units)) for o in of), default=0)
            for of in self.of_line
        ]
        self.bounded = all(share >= 0 for share in self.shares)

    def extend(self, left: Sequence[int], legs: list[_Offer], missing: int) -> None:
        """Every way to go on from these legs with what is left of each line."""
        while (line := next((n for n, units in enumerate(left) if units), None)) is not None:
            if (self.max_legs is None or len(legs) < self.max_legs) and not self._hopeless(
                left, legs, missing
            ):
                for offer in self.of_line[line]:
                    self.steps -= 1 + (len(legs) + len(left)) // 20  # as long as a row takes
                    if self.steps < 0:
                        return
                    if not any(leg.node_id == offer.node_id for leg in legs) and all(
                        taken <= units for taken, units in zip(offer.units, left, strict=True)
                    ):
                        self.extend(self.table.after(left, offer), [*legs, offer], missing)
            missing += left[line]  # or the line is left out
            if missing > self.slack:
                return
            left = [0 if n == line else units for n, units in enumerate(left)]
        self._found(legs)

    def _hopeless(self, left: Sequence[int], legs: list[_Offer], missing: int) -> bool:
        """Whether nothing that goes on from here beats the best so far."""
        best = self.best or self.bound
        if best is None or missing < best.missing or not self.bounded or not legs:
            return False
        # As many units are left out as may be, so each line that is left costs its share.
        shares = (share for share, units in zip(self.shares, left, strict=True) if units)
        return self.table.measured(legs)[0] + sum(shares) > best.measure[0]

    def _found(self, legs: list[_Offer]) -> None:
        if not legs or not self.table.allowed(legs):
            return
        plan = self.table.plan(legs)
        best = self.best or self.bound
        if plan.missing <= self.slack and (best is None or plan < best):
            self.best = plan
            self.slack = plan.missing


def _first_difference(one: Measure, other: Measure) -> int | None:
    return next(
        (n for n, pair in enumerate(zip(one, other, strict=True)) if pair[0] != pair[1]), None
    )
