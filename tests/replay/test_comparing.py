"""What variants come to beside the baseline; charts."""

from itertools import pairwise
from pathlib import Path
from typing import Any
from xml.etree import ElementTree as ET

from orchestrator.installed import cores
from orchestrator.replay import charts, page
from orchestrator.replay.charts import Flow, Point
from orchestrator.replay.compare import Compared, pairs, sources_of
from orchestrator.replay.outcome import COSTS, OrderRow, Outcome

DAY_MS = 86_400_000


def an_order(  # a row as a run leaves it
    key: str,
    *,
    units: dict[str, int] | None = None,
    delivered: int | None = 3,
    copy: bool = False,
    short: int = 0,
) -> OrderRow:
    return OrderRow(
        key=key,
        market_id="US",
        copy=copy,
        placed_ms=0,
        decisions=[],
        costs=[700, 100, 0, 0, 0, 0, 50],
        packages=2,
        units=units or {"BOS": 2},
        promised_ms=2 * DAY_MS,
        delivered_ms=None if delivered is None else delivered * DAY_MS,
        lines=2,
        short_lines=short,
        backordered=short,
        cancelled=0,
        refused=False,
        closed=delivered is not None,
        drawn=False,
    )


def a_run(folder: Path, *rows: OrderRow) -> Path:
    outcome = Outcome(folder, frozenset())
    for row in rows:
        outcome.orders[f"US/{row.key}"] = row  # type: ignore[assignment]  # has the same fields
    outcome.finish({"cpu_seconds": 0.0})
    return folder


def test_orders_pair_up_though_a_variant_lacks_some_and_copies_others(tmp_path: Path) -> None:
    was = a_run(tmp_path / "was", *(an_order(key) for key in "abcd"))
    now = a_run(
        tmp_path / "now", an_order("b"), an_order("b~1", copy=True), an_order("d"), an_order("e")
    )
    found = [(pair.was and pair.was.key, pair.now and pair.now.key) for pair in pairs(was, now)]
    assert found == [
        ("a", None),
        ("b", "b"),
        (None, "b~1"),
        ("c", None),
        ("d", "d"),
        (None, "e"),
    ]


def test_flips_are_told_by_nodes_else_by_units_else_by_lines() -> None:
    def side(*legs: tuple[str, dict[str, int]], waiting: int = 0) -> dict[str, Any]:
        told = [{"node_id": node_id, "lines": lines} for node_id, lines in legs]
        return {"nodes": [node_id for node_id, _ in legs], "legs": told, "waiting": waiting}

    one, other = side(("BOS", {"1": 2})), side(("CHI", {"1": 2}))
    assert sources_of(one, other) == ("BOS", "CHI")
    assert sources_of(one, None) == ("BOS", "nothing more")
    assert sources_of(side(waiting=2), one) == ("waits", "BOS")
    fewer = side(("BOS", {"1": 1}), waiting=1)
    assert sources_of(one, fewer) == ("BOS (2)", "BOS (1) + waits (1)")
    swapped = side(("BOS", {"1": 1}), ("CHI", {"2": 1})), side(("BOS", {"2": 1}), ("CHI", {"1": 1}))
    assert sources_of(*swapped) == (
        "BOS (1 of line 1) + CHI (1 of line 2)",
        "BOS (1 of line 2) + CHI (1 of line 1)",
    )


def test_promises_are_measured_against_what_the_baseline_told(tmp_path: Path) -> None:
    was = a_run(tmp_path / "was", *(an_order(key, delivered=1) for key in "abc"))
    now = a_run(
        tmp_path / "now",
        an_order("a", units={"CHI": 1, "BOS": 1})._replace(promised_ms=9 * DAY_MS),
        an_order("b", delivered=None, short=1),
        an_order("c", delivered=2),
    )
    compared = Compared("v", [], {"US": "USD"})
    compared.add(was, now, end_ms=12 * DAY_MS)
    told = compared.as_json(5)
    assert told["baseline_promises"] == 3
    assert told["baseline_promises_broken"] == 2
    assert told["late_days"] == round((1 + 10) / 3, 4)
    assert (told["promised"], told["on_time_rate"]) == (3, round(2 / 3, 4))
    assert told["cost_per_order_minor"] == {"USD": 800}
    assert told["costs_minor"]["USD"]["split"] == 150
    assert (told["split_orders"], told["censored"], told["delivered"]) == (1, 1, 2)
    assert told["stockout_rate"] == round(1 / 6, 4)
    assert told["lead_time_hours"] == {"mean": 60.0, "median": 72.0, "p95": 72.0}
    assert told["flows"] == [{"from": "BOS", "to": "CHI", "units": 1}]


def test_charts_are_well_formed_whatever_they_show() -> None:
    drawn = [
        charts.scatter([Point("a < b", 0, 0)], "x", "y"),
        charts.scatter([Point("a", 1, 2), Point("b", 1, 2), Point("c", -4, 1e6)], "x", "y"),
        charts.stacked({"a & b": [1, 2, 0], "c": [0, 0, 0]}, ["x", "y", "z"], "USD"),
        charts.flows([Flow("A", "B", 3), Flow("A", "C", 1), Flow("D", "C", 100)], "#000"),
        charts.days("BOS", {"a": {"2026-11-22": 3}, "b": {}}, ["2026-11-22"]),
        charts.days("BOS", {"a": {"2026-11-22": 3}}, ["2026-11-22", "2026-11-23"]),
    ]
    for one in drawn:
        ET.fromstring(one)  # noqa: S314 - our own
        assert "nan" not in one


def test_names_beside_small_flows_have_a_line_each() -> None:
    small = [Flow("A", f"N{number}", 1) for number in range(8)]
    drawn = ET.fromstring(charts.flows([Flow("A", "B", 500), *small], "#000"))  # noqa: S314 - our own
    right = [float(one.attrib["y"]) for one in drawn.iter("text") if "+" in (one.text or "")]
    assert len(right) == 9
    assert all(after - before >= 12 for before, after in pairwise(sorted(right)))
    assert max(right) < float(drawn.attrib["viewBox"].split()[3])


def test_charts_show_money_in_its_currencys_units_as_the_table_does() -> None:
    def run(name: str) -> dict[str, Any]:
        return {
            "name": name,
            "cost_per_order_minor": {"JPY": 1_075, "KWD": 2_500, "USD": 350},
            "costs_minor": {
                "JPY": dict.fromkeys(COSTS, 1_000),
                "KWD": dict.fromkeys(COSTS, 1_000),
                "USD": dict.fromkeys(COSTS, 1_000),
            },
            "baseline_promises": 10,
            "baseline_promises_broken": 1,
            "load": {},
        }

    drawn = "".join(page._charts([run("as it was"), run("other")]))
    for said in ("other: 1,075, 10", "other: 2.5, 10", "other: 3.5, 10"):
        assert said in drawn, said
    for said in ("1,000 JPY", "1 KWD", "10 USD"):
        assert f"handling: {said}<" in drawn, said
    assert "promises that break, %, of all markets" in drawn


def test_there_is_a_core_to_run_on() -> None:
    assert cores() >= 1


def test_a_tables_differences_are_those_of_the_figures_that_it_shows() -> None:
    def run(minor: float, packages: float) -> dict[str, Any]:
        some = {"name": "a", "changes": [], "cost_per_order_minor": {"USD": minor}}
        return some | {"packages_per_order": packages}

    shown = page._table([run(1_089.6, 1.2736), run(1_084.4, 1.2704)])
    assert '10.84 USD<small class="better">-0.06</small>' in shown
    assert '1.270<small class="better">-0.004</small>' in shown


def test_only_where_some_orders_are_left_out_are_those_told_that_differ_most() -> None:
    flip: dict[str, Any] = {
        "order": "web/1",
        "cost_difference_minor": 5,
        "currency": "USD",
        "was": None,
        "now": None,
        "explanations": {"was": None, "now": None},
    }
    variant: dict[str, Any] = {"name": "a", "flows": [], "unused": [], "dropped": {}}
    for flipped, heading in (
        (1, "1 orders decided otherwise"),
        (2, "2 orders decided otherwise, the 1 whose cost differs most"),
    ):
        told = "".join(page._variant(variant | {"flipped_orders": flipped, "flips": [flip]}, 1))
        assert f"<h3>{heading}</h3>" in told


def test_the_longest_name_beside_a_bar_is_not_cut_off() -> None:
    name = "a" * 40
    picture = charts.stacked({name: [1.0]}, ["transport"], "USD")
    drawn = ET.fromstring(picture)  # noqa: S314 - drawn by the line above, by nobody else
    (said,) = (one for one in drawn.iter("text") if (one.text or "").startswith("aaa"))
    assert len(said.text or "") * 7.6 < float(said.attrib["x"]), "bold, 12 px"
