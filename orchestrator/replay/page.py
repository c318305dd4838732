"""The report as one page of HTML that needs nothing else: no network, no script."""

from collections.abc import Iterator, Sequence
from html import escape
from typing import Any, Final

from events.decided import PAID
from orchestrator.replay import charts
from orchestrator.replay.charts import Flow, Point
from orchestrator.replay.compare import sources_of
from orchestrator.replay.outcome import COSTS
from schemas.money import difference, major, money, signed

Json = dict[str, Any]
_FLOWS: Final = 20
_NODES: Final = 8  # of whose load there is a chart: those whose load changes most
_COST_NAMES: Final = tuple(name.replace("_", " ") for name in COSTS)
_STYLE: Final = """
:root { color-scheme: light; }
body { font: 15px/1.5 system-ui, sans-serif; color: #212529; background: #f8f9fa; margin: 0; }
main { max-width: 1040px; margin: 0 auto; padding: 24px 20px 60px; }
h1 { font-size: 26px; margin: 8px 0 2px; } h2 { font-size: 19px; margin: 36px 0 8px; }
h3 { font-size: 15px; margin: 18px 0 6px; }
p.lead { color: #495057; margin: 0 0 8px; }
section { background: #fff; border: 1px solid #dee2e6; border-radius: 8px; padding: 4px 20px 16px;
  margin-top: 18px; overflow-x: auto; }
section h2 { margin-top: 14px; }
table { border-collapse: collapse; width: 100%; font-size: 14px; }
th, td { text-align: right; padding: 5px 10px; border-bottom: 1px solid #e9ecef; }
th:first-child, td:first-child { text-align: left; }
td:not(:first-child) { white-space: nowrap; }
thead th { border-bottom: 2px solid #adb5bd; }
td small { color: #868e96; display: block; }
.better { color: #2b8a3e; } .worse { color: #c92a2a; }
.warn { background: #fff3bf; border-left: 4px solid #f08c00; padding: 8px 14px; margin: 12px 0; }
svg { max-width: 100%; height: auto; font: 12px system-ui, sans-serif; }
svg .grid { stroke: #e9ecef; } svg .tick { fill: #495057; } svg .title { fill: #495057; }
svg .name { fill: #212529; font-weight: 600; }
.small { display: flex; flex-wrap: wrap; gap: 8px; }
details { border-bottom: 1px solid #e9ecef; padding: 6px 0; } summary { cursor: pointer; }
.sides { display: grid; grid-template-columns: 1fr 1fr; gap: 18px; font-size: 13px; }
.sides > div { background: #f8f9fa; padding: 6px 12px; border-radius: 6px; }
dl { margin: 0; } dt { font-weight: 600; } dd { margin: 0 0 4px; }
.key { display: inline-block; width: 11px; height: 11px; border-radius: 50%; margin-right: 6px; }
@media (max-width: 700px) { .sides { grid-template-columns: 1fr; } }
"""


def page(report: Json) -> str:
    """The whole page."""
    return "\n".join(_page(report))


def _shards(count: int) -> str:
    return "one shard" if count == 1 else f"{count} shards"


def _page(report: Json) -> Iterator[str]:
    period = report["period"]
    title = f"What if: {period['from']} to {period['until']}"
    yield (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width">'
        '<meta http-equiv="Content-Security-Policy" content="default-src \'none\';'
        " style-src 'unsafe-inline'\">"
        f"<title>{escape(title)}</title><style>{_STYLE}</style></head><body><main>"
    )
    yield f"<h1>{escape(title)}</h1>"
    yield (
        f'<p class="lead">{report["baseline"]["orders"]:,} orders of {_shards(period["shards"])},'
        f" decided again by Headrace {escape(report['release'])}; until"
        f" {period['drained_until']} for what goes on. Seed {report['seed']}.</p>"
    )
    yield _drift(report["drift"])
    for sentence in cut_short(report):
        yield f'<p class="warn">{escape(sentence)}</p>'
    runs = [report["baseline"], *report["variants"]]
    yield f"<section><h2>What it comes to</h2>{_table(runs)}</section>"
    yield from _charts(runs)
    for number, variant in enumerate(report["variants"], 1):
        yield from _variant(variant, number)
    yield f"<section><h2>How much it rests on</h2>{_rests(runs)}</section>"
    yield "</main></body></html>\n"


def _drift(drift: Json) -> str:
    compared = f"{drift['entries_compared']:,}"
    if drift["equals_history"]:
        return (
            f"<p>The unchanged world equals history byte for byte: {compared} inputs were decided"
            " again as they were.</p>"
        )
    rows = "".join(
        f"<tr><td>{escape(one['position'])}</td><td>{escape(one['input'])}</td>"
        f"<td>{escape(one['order'])}</td></tr>"
        for one in drift["first_differences"]
    )
    return (
        '<section><h2>Code drift</h2><div class="warn">Today\'s code or settings decide'
        f" {drift['entries_differing']:,} of {compared} inputs otherwise than history did, or in"
        f" consequence of such; {drift['orders_planned_otherwise']:,} orders are planned otherwise."
        " So the baseline is what today's code makes of the unchanged world, and no longer history."
        "</div><table><thead><tr><th>First: commit.entry</th><th>Input</th><th>Order</th></tr>"
        f"</thead><tbody>{rows}</tbody></table></section>"
    )


def cut_short(report: Json) -> Iterator[str]:
    """A sentence where history ends while orders of the period are under way."""
    runs = [report["baseline"], *report["variants"]]
    under_way = max(run["censored"] for run in runs)
    if report["period"]["cut_short"] and under_way:
        orders = "one order is" if under_way == 1 else f"up to {under_way:,} orders are"
        yield (
            f"History ends at {report['period']['drained_until']}: {orders} still under way then,"
            " and count in no run as late before their promises are due."
        )


class _Row:
    """A measure: how it reads, and whether less is better."""

    def __init__(
        self, title: str, path: tuple[str, ...], unit: str = "", less: int = 0, digits: int = 0
    ) -> None:
        self.title = title
        self.path = path
        self.unit = unit
        self.less = less  # 1: less is better, -1: more is, 0: neither
        self.digits = digits

    def value(self, run: Json) -> float | None:
        """None where there is none."""
        found: Any = run
        for step in self.path:
            found = found.get(step) if found else None
        if found is None:
            return None
        return float(found * 100 if self.unit == "%" else found)

    def shown(self, run: Json, baseline: Json | None) -> str:
        """A cell, with how it differs from the baseline."""
        value = self.value(run)
        if value is None:
            return "<td>—</td>"
        said = f"{value:,.{self.digits}f}{self.unit}"
        before = self.value(baseline) if baseline is not None else None
        if before is None:
            return f"<td>{said}</td>"
        more = round(value, self.digits) - round(before, self.digits)  # of what the page shows
        if round(more, self.digits) == 0:
            return f"<td>{said}</td>"
        class_ = "better" if more * self.less < 0 else "worse" if more * self.less > 0 else ""
        return f'<td>{said}<small class="{class_}">{more:+,.{self.digits}f}</small></td>'


ROWS: Final = (
    _Row("Orders", ("orders",)),
    _Row("Delivered", ("delivered",), less=-1),
    _Row("Still open at the end (censored)", ("censored",), less=1),
    _Row("Orders decided otherwise", ("flipped_orders",)),
    _Row("Packages an order", ("packages_per_order",), less=1, digits=3),
    _Row("Orders shipped from several nodes", ("split_rate",), "%", 1, 2),
    _Row("Promises kept", ("on_time_rate",), "%", -1, 2),
    _Row("The baseline's promises that break", ("baseline_promises_broken",), less=1),
    _Row("Days late a promise, on average", ("late_days",), less=1, digits=3),
    _Row("Lead time, mean hours", ("lead_time_hours", "mean"), less=1, digits=1),
    _Row("Lead time, 95% within hours", ("lead_time_hours", "p95"), less=1, digits=1),
    _Row("Orders that had to wait for stock", ("backordered_orders",), less=1),
    _Row("Lines that found too little stock", ("stockout_rate",), "%", 1, 2),
    _Row("Units cancelled for want of stock", ("units_cancelled_for_want_of_stock",), less=1),
)
"""Measures as tables show them; money stands before them."""


def _table(runs: Sequence[Json]) -> str:
    head = "".join(
        f'<th><span class="key" style="background:{charts.color(n)}"></span>'
        f"{escape(run['name'])}</th>"
        for n, run in enumerate(runs)
    )
    body = []
    for currency in currencies(runs):
        row = _Row("Cost an order", ("cost_per_order_minor", currency), less=1)
        cells = []
        for run in runs:
            value, before = row.value(run), row.value(runs[0])
            if value is None:
                cells.append("<td>—</td>")
                continue
            less = round(value) - round(before) if before is not None else 0
            class_ = "better" if less < 0 else "worse"
            said = signed(less, currency)
            against = f'<small class="{class_}">{said}</small>' if less else ""
            cells.append(f"<td>{escape(money(round(value), currency))}{against}</td>")
        body.append(f"<tr><td>{escape(row.title)}</td>{''.join(cells)}</tr>")
    for row in ROWS:
        cells = [
            row.shown(run, runs[0] if number and row.path != ("flipped_orders",) else None)
            for number, run in enumerate(runs)
        ]
        body.append(f"<tr><td>{escape(row.title)}</td>{''.join(cells)}</tr>")
    changes = "".join(
        f"<p><b>{escape(run['name'])}</b>: {escape(', '.join(run['changes']) or 'nothing')}.</p>"
        for run in runs[1:]
    )
    return (
        f"{changes}<table><thead><tr><th></th>{head}</tr></thead><tbody>{''.join(body)}</tbody>"
        "</table><p><small>Cost: transport, handling and per unit, as planned, of what left."
        " </small></p>"
    )


def currencies(runs: Sequence[Json]) -> list[str]:
    """Those in which anything was paid."""
    return sorted({currency for run in runs for currency in run["cost_per_order_minor"]})


def _charts(runs: Sequence[Json]) -> Iterator[str]:
    all_ = currencies(runs)
    for currency in all_:
        points = [
            Point(
                run["name"],
                major(run["cost_per_order_minor"][currency], currency),
                run["baseline_promises_broken"] / run["baseline_promises"] * 100,
            )
            for run in runs
            if run["baseline_promises"] and run["cost_per_order_minor"].get(currency)
        ]
        if points:
            broken = "the baseline's promises that break, %"
            chart = charts.scatter(
                points,
                f"cost an order, {currency}",
                broken if len(all_) == 1 else f"{broken}, of all markets",
            )
            yield f"<section><h2>Cost against lateness</h2>{chart}</section>"
        rows = {
            run["name"]: [major(run["costs_minor"][currency][name], currency) for name in COSTS]
            for run in runs
            if currency in run["costs_minor"]
        }
        yield (
            f"<section><h2>Cost by component, {currency}</h2>"
            f"{charts.stacked(rows, _COST_NAMES, currency)}"
            f"<p><small>{', '.join(_COST_NAMES[:PAID])} are paid; the others are what rules charge"
            " for lateness, full days and splits.</small></p></section>"
        )
    yield from _load(runs)


def _load(runs: Sequence[Json]) -> Iterator[str]:
    def changed(node_id: str) -> int:
        days: list[dict[str, int]] = [run["load"].get(node_id, {}).get("days", {}) for run in runs]
        return (
            max(
                (
                    sum(abs(one.get(day, 0) - days[0].get(day, 0)) for day in {*one, *days[0]})
                    for one in days[1:]
                ),
                default=0,
            )
            or -1
        )

    def total(node_id: str) -> int:
        units: int = runs[0]["load"].get(node_id, {}).get("fulfillments", 0)
        return units

    nodes = sorted({node_id for run in runs for node_id in run["load"]})
    shown = sorted(nodes, key=lambda node_id: (-changed(node_id), -total(node_id), node_id))
    small = []
    for node_id in shown[:_NODES]:
        lines = {run["name"]: run["load"].get(node_id, {}).get("days", {}) for run in runs}
        all_days = sorted({day for line in lines.values() for day in line})
        if all_days:
            small.append(charts.days(node_id, lines, all_days))
    if small:
        yield (
            "<section><h2>Load by day</h2><p>Fulfillments by ship day, at the nodes where most"
            " changes. The baseline is grey and dashed; the other colors are those of the first"
            f' table.</p><div class="small">{"".join(small)}</div>'
            f"{_loads(runs, shown)}</section>"
        )


def _loads(runs: Sequence[Json], nodes: Sequence[str]) -> str:
    head = "".join(f"<th>{escape(run['name'])}</th>" for run in runs)
    rows = "".join(
        f"<tr><td>{escape(node_id)}</td>"
        + "".join(
            f"<td>{run['load'].get(node_id, {}).get('fulfillments', 0):,}<small>"
            f"{run['load'].get(node_id, {}).get('units', 0):,} units</small></td>"
            for run in runs
        )
        + "</tr>"
        for node_id in sorted(nodes)
    )
    return (
        f"<details><summary>All {len(nodes)} nodes</summary><table><thead><tr><th></th>{head}</tr>"
        f"</thead><tbody>{rows}</tbody></table></details>"
    )


def _variant(variant: Json, number: int) -> Iterator[str]:
    yield f"<section><h2>{escape(variant['name'])}: what changes</h2>"
    flows = [Flow(one["from"], one["to"], one["units"]) for one in variant["flows"][:_FLOWS]]
    if flows:
        yield "<h3>Units that left from another node</h3>"
        yield charts.flows(flows, charts.color(number))
    for sentence in variant["unused"]:
        yield f'<p class="warn">{escape(sentence)}</p>'
    told = [one for one in variant["flips"] if "explanations" in one]
    most = f", the {len(told):,} whose cost differs most"
    yield (
        f"<h3>{variant['flipped_orders']:,} orders decided otherwise"
        f"{most if 0 < len(told) < variant['flipped_orders'] else ''}</h3>"
    )
    for flip in told:
        yield _flip(flip)
    if variant["dropped"]:
        rows = "".join(
            f"<tr><td>{escape(name)}</td><td>{units:,}</td></tr>"
            for name, units in sorted(variant["dropped"].items())
        )
        yield "<h3>Of history, left out or taken otherwise</h3>"
        yield f"<table><tbody>{rows}</tbody></table>"
    yield "</section>"


def _flip(flip: Json) -> str:
    was, now = sources_of(flip["was"], flip["now"])
    dearer = difference(flip["cost_difference_minor"], flip["currency"])
    sides = "".join(
        f"<div><b>{title}</b><dl>{_told(told)}</dl></div>"
        for title, told in (
            ("Baseline", flip["explanations"]["was"]),
            ("Variant", flip["explanations"]["now"]),
        )
    )
    return (
        f"<details><summary>{escape(flip['order'])}: {escape(was)} → {escape(now)},"
        f" {escape(dearer)}</summary>"
        f'<div class="sides">{sides}</div></details>'
    )


def _told(paragraphs: Sequence[Sequence[Any]] | None) -> str:
    if paragraphs is None:
        return "<dd>Nothing more was decided here.</dd>"
    return "".join(
        f"<dt>{escape(label)}</dt>" + "".join(f"<dd>{escape(one)}</dd>" for one in sentences)
        for label, sentences in paragraphs
    )


def _rests(runs: Sequence[Json]) -> str:
    names = sorted({name for run in runs for name in run["rests_on"]["answers"]})
    head = "".join(f"<th>{escape(run['name'])}</th>" for run in runs)
    rows = [
        f"<tr><td>Answers {escape(name)}</td>"
        + "".join(f"<td>{run['rests_on']['answers'].get(name, 0):,}</td>" for run in runs)
        + "</tr>"
        for name in names
    ]
    share = "".join(
        f"<td>{(run['rests_on']['orders_with_drawn_answers_rate'] or 0):.1%}</td>" for run in runs
    )
    rows.append(f"<tr><td><b>Orders that rest on drawn answers</b></td>{share}</tr>")
    return (
        "<p>Where a node was asked just what it was asked in history, it answers as it did."
        " Elsewhere its answers are drawn from how long nodes took and how often they rejected in"
        " this period: alike in all variants for the same order and node.</p>"
        f"<table><thead><tr><th></th>{head}</tr></thead><tbody>{''.join(rows)}</tbody></table>"
        "<p><small>In place: where they stood in history. At their delay: history's, as long after"
        " the request as there. Drawn for a rest: of work under way that history's answers no"
        " longer fit. None by the end: none came for as long as history is known.</small></p>"
    )
