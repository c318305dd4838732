"""Variants beside the baseline: what each came to, and which orders were decided otherwise."""

from array import array
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, NamedTuple

from events.decided import PAID, costs_of
from orchestrator.core.config import DAY_MS, HOUR_MS, PROMISE_GRACE_MS
from orchestrator.replay.outcome import (
    COSTS,
    OrderRow,
    Told,
    order_digest,
    read_decision,
    read_orders,
)
from orchestrator.replay.runs import read_run

Json = dict[str, Any]
_FLOWS: Final = 40  # pairs of nodes told
_P95: Final = 0.95


class Flip(NamedTuple):
    """An order that a variant decided otherwise, and the first decision that differs."""

    key: str
    market_id: str
    folders: tuple[str, str]  # where the explanations of baseline and variant stand
    was: Told | None
    now: Told | None
    cost_minor: int  # what it costs more (less: negative), of what is paid


@dataclass(slots=True)
class Measured:
    """What a run came to."""

    orders: int = 0
    copies: int = 0
    refused: int = 0
    closed: int = 0
    shipped: int = 0  # of which something left
    delivered: int = 0  # closed, with something that arrived
    packages: int = 0
    split: int = 0  # that left from several nodes
    lines: int = 0
    short_lines: int = 0
    backordered_orders: int = 0
    backordered_units: int = 0
    cancelled_units: int = 0
    drawn: int = 0
    promised: int = 0
    kept: int = 0
    first_promised: int = 0  # as the baseline promised
    first_kept: int = 0
    late_ms: int = 0  # summed, against the baseline's promises
    costs: dict[str, list[int]] = field(default_factory=dict)  # currency -> by COSTS
    shipped_in: Counter[str] = field(default_factory=Counter)  # currency -> orders
    lead_ms: "array[int]" = field(default_factory=lambda: array("q"))

    def add(self, row: OrderRow, currency: str, promised_ms: int | None, end_ms: int) -> None:
        """An order; `promised_ms`: what the baseline promised, `end_ms`: when the run ended."""
        self.orders += 1
        self.copies += row.copy
        self.refused += row.refused
        self.closed += row.closed
        self.packages += row.packages
        self.split += len(row.units) > 1
        self.lines += row.lines
        self.short_lines += row.short_lines
        self.backordered_orders += row.short_lines > 0
        self.backordered_units += row.backordered
        self.cancelled_units += row.cancelled
        self.drawn += row.drawn
        done_ms = row.delivered_ms if row.closed else None
        if row.units:
            self.shipped += 1
            self.shipped_in[currency] += 1
            known = self.costs.setdefault(currency, [0] * len(COSTS))
            for n, minor in enumerate(row.costs):
                known[n] += minor
        if done_ms is not None:
            self.delivered += 1
            self.lead_ms.append(done_ms - row.placed_ms)
        wanted = done_ms is not None or not row.closed  # nothing was cancelled altogether
        if row.promised_ms is not None and wanted and _due(row.promised_ms, end_ms):
            self.promised += 1
            self.kept += done_ms is not None and done_ms <= row.promised_ms
        if promised_ms is not None and wanted and _due(promised_ms, end_ms):
            self.first_promised += 1
            late_ms = (end_ms if done_ms is None else done_ms) - promised_ms
            self.first_kept += late_ms <= 0
            self.late_ms += max(0, late_ms)

    def as_json(self) -> Json:
        """Counts, shares and means; money in minor units."""
        lead = sorted(self.lead_ms)
        return {
            "orders": self.orders,
            "orders_by_demand": self.copies,
            "refused": self.refused,
            "delivered": self.delivered,
            "censored": self.orders - self.closed,
            "packages": self.packages,
            "packages_per_order": _share(self.packages, self.shipped),
            "split_orders": self.split,
            "split_rate": _share(self.split, self.shipped),
            "cost_per_order_minor": {
                currency: _share(sum(costs[:PAID]), self.shipped_in[currency])
                for currency, costs in sorted(self.costs.items())
            },
            "costs_minor": {
                currency: dict(zip(COSTS, costs, strict=True))
                for currency, costs in sorted(self.costs.items())
            },
            "promised": self.promised,
            "on_time_rate": _share(self.kept, self.promised),
            "baseline_promises": self.first_promised,
            "baseline_promises_broken": self.first_promised - self.first_kept,
            "late_days": _share(self.late_ms / DAY_MS, self.first_promised),
            "lead_time_hours": {
                "mean": _share(sum(lead) / HOUR_MS, len(lead)),
                "median": _quantile(lead, 0.5),
                "p95": _quantile(lead, _P95),
            },
            "backordered_orders": self.backordered_orders,
            "backordered_units": self.backordered_units,
            "stockout_lines": self.short_lines,
            "stockout_rate": _share(self.short_lines, self.lines),
            "units_cancelled_for_want_of_stock": self.cancelled_units,
        }


def _due(promised_ms: int, end_ms: int) -> bool:
    """Whether every run knows if a promise is kept: deliveries are told some hours late.

    One that isn't due counts in none, though it is kept early in some: those that are late would
    be missing beside it.
    """
    return promised_ms + PROMISE_GRACE_MS < end_ms


def _share(part: float, whole: float) -> float | None:
    return round(part / whole, 4) if whole else None


def _quantile(ordered: Sequence[int], at: float) -> float | None:
    if not ordered:
        return None
    return round(ordered[min(len(ordered) - 1, int(at * len(ordered)))] / HOUR_MS, 2)


class Pair(NamedTuple):
    """An order in the baseline and in a variant; None where it isn't in one."""

    was: OrderRow | None
    now: OrderRow | None


def pairs(baseline: Path, variant: Path) -> Iterator[Pair]:
    """Orders of two runs side by side: both are in the order in which they were placed.

    A variant may lack some of the baseline's, and have copies of its own.
    """
    before = iter(read_orders(baseline))
    for now in read_orders(variant):
        if now.copy:
            yield Pair(None, now)
            continue
        for was in before:
            if (was.key, was.market_id) == (now.key, now.market_id):
                yield Pair(was, now)
                break
            yield Pair(was, None)
        else:
            yield Pair(None, now)
    for was in before:
        yield Pair(was, None)


class Compared:
    """A variant beside the baseline, over all shards."""

    def __init__(self, name: str, changes: Sequence[str], currencies: Mapping[str, str]) -> None:
        self.name = name
        self.changes = list(changes)
        self.measured = Measured()
        self.flips: list[Flip] = []
        self.flows: Counter[tuple[str, str]] = Counter()
        self.load: dict[str, dict[str, list[int]]] = {}  # node -> day -> fulfillments, units
        self.counts: dict[str, Counter[str]] = {}
        self.cpu_seconds = 0.0
        self._currencies = currencies

    def add(self, baseline: Path, variant: Path, end_ms: int) -> None:
        """A shard's runs."""
        run = read_run(str(variant))
        for node_id, day, *load in run["load"]:
            self.load.setdefault(node_id, {})[day] = load
        for name in ("short_skus", "exceptions", "answers", "dropped"):
            self.counts.setdefault(name, Counter()).update(run[name])
        self.cpu_seconds += run["cpu_seconds"]
        for was, now in pairs(baseline, variant):
            if now is not None:
                promised_ms = was.promised_ms if was else None
                currency = self._currencies.get(now.market_id, "")
                self.measured.add(now, currency, promised_ms, end_ms)
            if was is not None and now is not None:
                self._moved(was, now)
                if order_digest(was) != order_digest(now):
                    folders = (str(baseline), str(variant))
                    self.flips.append(_flip(was, now, folders))

    def _moved(self, was: OrderRow, now: OrderRow) -> None:
        """Units that left from another node."""
        more: list[list[Any]] = []
        fewer: list[list[Any]] = []
        for node_id in sorted({*was.units, *now.units}):
            units = now.units.get(node_id, 0) - was.units.get(node_id, 0)
            if units:
                (more if units > 0 else fewer).append([node_id, abs(units)])
        for from_ in fewer:
            for to in more:
                units = min(from_[1], to[1])
                if units:
                    self.flows[from_[0], to[0]] += units
                    from_[1] -= units
                    to[1] -= units

    def as_json(self, names: int) -> Json:
        """For scripts, without its flips; `names`: skus that ran out, at the most."""
        answers = self.counts.get("answers", Counter())
        drawn = sum(count for name, count in answers.items() if name.startswith("drawn"))
        return {
            "name": self.name,
            "changes": self.changes,
            **self.measured.as_json(),
            "flipped_orders": len(self.flips),
            "flows": [
                {"from": from_, "to": to, "units": units}
                for (from_, to), units in self.flows.most_common(_FLOWS)
            ],
            "load": {
                node_id: {
                    "fulfillments": sum(load[0] for load in days.values()),
                    "units": sum(load[1] for load in days.values()),
                    "days": {day: load[0] for day, load in sorted(days.items())},
                }
                for node_id, days in sorted(self.load.items())
            },
            "out_of_stock": dict(self.counts.get("short_skus", Counter()).most_common(names)),
            "exceptions": dict(self.counts.get("exceptions", Counter())),
            "rests_on": {
                "answers": dict(answers),
                "drawn_rate": _share(drawn, answers.total()),
                "orders_with_drawn_answers": self.measured.drawn,
                "orders_with_drawn_answers_rate": _share(self.measured.drawn, self.measured.orders),
            },
            "dropped": dict(self.counts.get("dropped", Counter())),
            "cpu_seconds": round(self.cpu_seconds, 2),
        }


def _flip(was: OrderRow, now: OrderRow, folders: tuple[str, str]) -> Flip:
    """The first decision that differs; None where there is none on one side."""
    at = 0
    while (
        at < len(was.decisions)
        and at < len(now.decisions)
        and was.decisions[at].digest == now.decisions[at].digest
    ):
        at += 1
    return Flip(
        now.key,
        now.market_id,
        folders,
        was.decisions[at] if at < len(was.decisions) else None,
        now.decisions[at] if at < len(now.decisions) else None,
        sum(now.costs[:PAID]) - sum(was.costs[:PAID]),
    )


def drift(folders: Sequence[str]) -> Json:
    """Whether the unchanged variant is history, and where today's code decides otherwise."""
    runs = [read_run(folder) for folder in folders]
    differing = sum(run["differing"] for run in runs)
    return {
        "equals_history": not differing,
        "entries_compared": sum(run["compared"] for run in runs),
        "entries_differing": differing,
        "orders_planned_otherwise": sum(run["plans_differ"] for run in runs),
        "first_differences": [one for run in runs for one in run["differences"]],
    }


def summary_of(decision: Any) -> Json | None:  # noqa: ANN401 - a Decision, or None
    """A decision in short: where from, for how much, why."""
    if decision is None:
        return None
    chosen = decision["chosen"]
    legs = [
        {
            "node_id": node_id,
            "lines": {
                line[0]: units
                for line, units in zip(decision["lines"], decision["sets"][place][0], strict=True)
                if units
            },
        }
        for place, node_id in (chosen["legs"] if chosen else ())
    ]
    return {
        "trigger": decision["trigger"],
        "rule_set": decision["rule_set"],
        "strategy": decision["strategy"],
        "nodes": [leg["node_id"] for leg in legs],
        "legs": legs,
        "waiting": sum(line["quantity"] for line in decision["backordered"]),
        "units": chosen["units"] if chosen else 0,
        "cost_minor": sum(costs_of(decision, chosen)) if chosen else None,
        "decided_by": decision["decided_by"],
    }


def sources_of(was: Json | None, now: Json | None) -> tuple[str, str]:
    """Where both summaries source an order from: nodes, units where these don't differ, lines."""
    said = "", ""
    for told in (_nodes, _units, _lines):
        said = told(was), told(now)
        if said[0] != said[1]:
            break
    return said


def _nodes(side: Json | None) -> str:
    if side is None:
        return "nothing more"
    return " + ".join(side["nodes"]) or "waits"


def _units(side: Json | None) -> str:
    if side is None:
        return "nothing more"
    legs = [f"{leg['node_id']} ({sum(leg['lines'].values())})" for leg in side["legs"]]
    waiting = [f"waits ({side['waiting']})"] if side["waiting"] else []
    return " + ".join([*legs, *waiting]) or "waits"


def _lines(side: Json | None) -> str:
    if side is None:
        return "nothing more"
    said = []
    for leg in side["legs"]:
        lines = ", ".join(f"{units} of line {line_id}" for line_id, units in leg["lines"].items())
        said.append(f"{leg['node_id']} ({lines})")
    return " + ".join(said)


def decisions_of(flip: Flip) -> tuple[Json | None, Json | None]:
    """Both recorded explanations of a flip."""
    was, now = (
        None if told is None else read_decision(Path(folder), told)
        for folder, told in zip(flip.folders, (flip.was, flip.now), strict=True)
    )
    return was, now
