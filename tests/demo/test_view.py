"""What the demo prints: a screen on a terminal, plain lines without one."""

from io import StringIO

from rich.console import Console

from orchestrator.demo.audit import Figures, Report
from orchestrator.demo.readmodel import Totals
from orchestrator.demo.view import Frame, View, summary

LINKS = {"API docs": "http://127.0.0.1:8080/docs"}
TOTALS = Totals(
    {"delivered": 7, "partly_delivered": 2, "backordered": 1},
    backordered=5,
    on_hand=1_234,
    reserved=20,
    held=3,
    stocked=99,
    exceptions={"stock_discrepancy": 2},
    in_flight=4,
)


def frame(at_s: float, placed: int) -> Frame:
    return Frame(at_s, "orders are coming in", 100, placed, 40, 88, TOTALS, [4, 5, 60])


def shown(*, terminal: bool, width: int = 120) -> str:
    out = StringIO()
    console = Console(file=out, force_terminal=terminal, width=width, height=24, color_system=None)
    with View(console, LINKS) as view:
        for second in range(5):
            view.show(frame(second, second * 10))
    return out.getvalue()


def test_without_a_terminal_there_is_a_plain_line_every_other_second() -> None:
    lines = shown(terminal=False).splitlines()

    assert lines[0] == "API docs: http://127.0.0.1:8080/docs"
    assert [line.split()[0] for line in lines[1:]] == ["0", "2", "4"]
    for part in ("placed 40", "partly delivered 2", "on hand 1,234", "p50 5 ms, p99 60 ms"):
        assert part in lines[-1]
    assert "\x1b" not in "".join(lines)


def test_a_terminal_shows_orders_rates_latency_stock_exceptions_and_where_to_look() -> None:
    last = shown(terminal=True).split("Headrace demo")[-1]

    for part in (
        "orders are coming in",
        "40 of 100  (10/s)",
        "delivered",
        "p50 5 ms, p99 60 ms",
        "1,234 units",
        "40 nodes, 88 items",
        "2 stock_discrepancy",
        "http://127.0.0.1:8080/docs",
        "Ctrl-C",
    ):
        assert part in last


def test_a_narrow_terminal_cuts_no_number_and_fits() -> None:
    last = shown(terminal=True, width=80).split("Headrace demo")[-1]

    assert "partly delivered       2" in last
    assert "1,234 units" in last
    assert last.count("\n") <= 20


def test_the_summary_says_what_the_run_came_to() -> None:
    figures = Figures(
        placed=10,
        allocated=9,
        split=3,
        late=1,
        cost_minor=7_200,
        units_oversold=0,
        journal_bytes_compressed=9_000,
    )
    said = "\n".join(summary(Report([], figures)))

    for word in ("placed", "allocated", "split", "backordered", "rejected", "re-sourced"):
        assert word in said
    assert "3  33.3%" in said
    assert "8.00 USD" in said
    assert "journal bytes an order              900" in said
    assert "units oversold                        0" in said
