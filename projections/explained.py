"""A recorded decision as data for people and programs: fields by name, nodes by id.

What is recorded is packed for its size (`events.decided.Decision`); nothing is lost or added here.
"""

from collections.abc import Callable, Sequence
from itertools import zip_longest
from typing import Any, TypeAlias

from events.decided import COMPONENTS, Choice, Decision, NodeRow, costs_of, rows_of
from schemas.times import iso_day

Json: TypeAlias = dict[str, Any]
WhatIf: TypeAlias = Callable[[Decision], Any]
"""What would have changed a decision: `orchestrator`'s answer, since it plans."""

_UNDIVIDED: Json = {
    "max_legs": None,
    "leg_min_value": None,
    "leg_min_units": None,
    "extra_leg": 0,
    "one_leg": False,
    "all_or_nothing": False,
}


def explained(item: Json, what_if: WhatIf | None) -> Json:
    """A decision in full; one of the first release (without `v`) as it was recorded.

    `item` is the record with what is known beside it: when, where, which plan came of it.
    """
    if item.get("v") != 2:  # noqa: PLR2004 - the format of today
        return {"v": 1, **item}
    recorded: Any = item
    beside = {name: value for name, value in item.items() if name not in Decision.__annotations__}
    told = _Decision(recorded).told()
    told["counterfactual"] = None if what_if is None else _named(recorded, what_if(recorded))
    return {"at": item["at"], **beside, **told}


def _named(decision: Decision, counterfactual: Json) -> Json:
    """What would have changed it, its plans with their units by line."""
    units_of = _Decision(decision).units
    return {
        name: change
        and {
            **change,
            "plan": {
                **change["plan"],
                "legs": [
                    {"node_id": node_id, "lines": units_of(decision["sets"][place][0])}
                    for place, node_id in change["plan"]["legs"]
                ],
            },
        }
        for name, change in counterfactual.items()
    }


class _Decision:
    def __init__(self, decision: Decision) -> None:
        self.decision = decision

    def told(self) -> Json:
        decision = self.decision
        how, *where = decision["place"]
        told: Json = {
            "v": decision["v"],
            "trigger": decision["trigger"],
            "rule_set": decision["rule_set"],
            "strategy": decision["strategy"],
            "why": decision["why"],
            "passed_over": [
                {"strategy": name, "because": because} for name, because in decision["passed_over"]
            ],
            "price_version": decision["price_version"],
            "currency": decision["currency"],
            "objective": decision["objective"],
            "destination": {"located_by": how, "by": where},
            "promise": decision["promise"],
            "own_promise": decision.get("own_promise", False),
            "service_level": decision["service_level"],
            "split": {**_UNDIVIDED, **decision["split"]},
            "method": decision["method"],
            "lines": [
                {
                    "line_id": line_id,
                    "sku": sku,
                    "wanted": wanted,
                    "target": target,
                    "promisable": promisable,
                }
                for line_id, sku, wanted, target, promisable in decision["lines"]
            ],
            "sets": [
                {"lines": self.units(units), "nodes": [self._row(NodeRow(*row)) for row in rows]}
                for units, *rows in decision["sets"]
            ],
            "chosen": self._plan(decision["chosen"]),
            "runner_up": self._plan(decision["runner_up"]),
            "rest": self._rest(),
            "decided_by": decision["decided_by"],
            "left_out": [
                {
                    "lines": line_ids,
                    "sku": decision["lines"][line][1],
                    "units": units,
                    "because": [
                        {"code": code, "nodes": nodes, "named": named}
                        for code, nodes, named in because
                    ],
                }
                for line, units, line_ids, because in decision.get("left_out", [])
            ],
            "unused": [
                {"service": service, "because": because, "node_id": node_id}
                for service, because, node_id in decision.get("unused", [])
            ],
        }
        if "bound" in decision:
            units, value = decision["bound"]
            told["bound"] = {"units": units, "value": value}
        return told

    def units(self, units: Sequence[int]) -> list[Json]:
        return [
            {"line_id": line[0], "sku": line[1], "units": taken}
            for line, taken in zip(self.decision["lines"], units, strict=True)
            if taken
        ]

    def _row(self, row: NodeRow) -> Json:
        lines, after = self.decision["lines"], row.delivery_days
        told: Json = {
            "node_id": row.node_id,
            "value": row.value,
            "cost_minor": sum(row.costs),
            "costs": dict(zip_longest(COMPONENTS, row.costs, fillvalue=0)),
            "distance_m": row.metres,
            "ship_day": iso_day(row.ship_day),
            "deliver_day": None if after is None else iso_day(row.ship_day + after),
            "days_late": row.days_late,
            "service": row.service,
            "parcels": row.parcels,
            "fences": list(row.fences),
            "short": [
                {"line_id": lines[line][0], "sku": lines[line][1], "units": units}
                for line, units in row.short
            ],
        }
        if row.full_day is not None:
            told["full_day"] = iso_day(row.full_day)
        return told

    def _plan(self, plan: Choice | None) -> Json | None:
        if plan is None:
            return None
        costs = costs_of(self.decision, plan)
        return {
            "nodes": [node_id for _, node_id in plan["legs"]],
            "legs": [
                {"lines": self.units(self.decision["sets"][place][0])} | self._row(row)
                for (place, _), row in zip(plan["legs"], rows_of(self.decision, plan), strict=True)
            ],
            "units": plan["units"],
            "value": plan["value"],
            "cost_minor": sum(costs),
            "costs": dict(zip((*COMPONENTS, "split"), costs, strict=True)),
        }

    def _rest(self) -> Json:
        rest = self.decision["rest"]

        def named(packed: str | int) -> list[str] | int:
            if isinstance(packed, int):
                return packed
            bits = int(packed or "0", 16)
            return [node_id for n, node_id in enumerate(rest["nodes"]) if bits >> n & 1]

        return {
            "fences": {fence: named(packed) for fence, packed in rest["fences"].items()},
            "short": named(rest["short"]),
            "few": named(rest.get("few", "0" if isinstance(rest["short"], str) else 0)),
            "dearer": rest["dearer"],
        }
