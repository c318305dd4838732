"""The views of an export say what the shard's state says."""

import asyncio
import re
from collections import Counter, defaultdict
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import duckdb
import pytest

from orchestrator.core.orders import Order
from orchestrator.export.ask import ask, opened
from orchestrator.export.directory import Directory
from orchestrator.export.exporter import Period
from orchestrator.export.views import asked_first
from orchestrator.runtime.memory_log import MemoryLog
from orchestrator.runtime.world import SystemClock
from schemas.ports import Partition, Record
from tests.core.story import Story
from tests.export.exporting import ALL
from tests.export.test_export import export
from tests.kpis.exact import Exact
from tests.kpis.test_figures import a_split_order, counted
from tests.projections.test_from_the_core import journal, told
from tests.replay.test_closed_loop import HOUR, serve

DOCS = Path(__file__).parents[2] / "docs"


def a_story() -> Story:
    story = told()
    story.service("ups", "ground")
    story.receive("BOS", MUG=100)
    story.order("80", MUG=3, to="BOS", line={"unit_price_minor": 250})
    story.order("81", MUG=1, to="LAX")
    story.report("accepted", "80.1")
    story.order("90", MUG=1, market_id="CA", currency="CAD")  # before its market
    story.send("market_defined", market_id="CA", currency="CAD", time_zone="America/Toronto")
    return story


def a_late_story() -> Story:
    """Of order 1 a half arrives, 2 is late, 3 in time; a fulfillment of 4 goes in two packages."""
    story = Story()
    for node, sku in (("BOS", "MUG"), ("CHI", "CUP")):
        story.node(node)
        story.item(sku)
        story.receive(node, **{sku: 5})
    story.service()
    story.at(HOUR)
    story.order("1", MUG=1, CUP=1)
    story.order("2", MUG=1)
    story.order("3", MUG=1)
    story.order("4", CUP=2)
    serve(story, "3.1", "C")
    serve(story, "1.1", "A")
    for package in ("D", "E"):
        lines = [{"line_id": "1", "quantity": 1}]
        story.report("accepted", "4.1")
        story.ship("4.1", package, lines=lines)
    story.track("TD")
    story.at(20 * 24 * HOUR)  # the promises pass
    serve(story, "2.1", "B")
    return story


@pytest.fixture(scope="module")
def story() -> Story:
    return a_story()


def exported(story: Story, place: Path, period: Period = ALL) -> Path:
    log = MemoryLog(SystemClock(), {"journal": 1})
    values = journal(story.entries, 3)
    log.write(Partition("journal", 0), [Record(None, value) for value in values])
    asyncio.run(export(log, Directory(place), period))
    return place


def test_a_promise_settled_in_a_period_counts_in_it(
    late: duckdb.DuckDBPyConnection, tmp_path: Path
) -> None:
    (kept,) = rows(late, "FROM promises WHERE outcome = 'kept'")
    period = Period(int(kept["known_at"].timestamp() * 1000))  # after it was placed
    with opened(exported(a_late_story(), tmp_path, period)) as connection:
        assert not rows(connection, "FROM orders WHERE order_id = '3'")
        (found,) = rows(connection, "FROM promises WHERE outcome = 'kept'")
        assert found == kept
        assert len(rows(connection, "FROM promises")) == len(rows(late, "FROM promises"))


@pytest.fixture(scope="module")
def connection(
    story: Story, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[duckdb.DuckDBPyConnection]:
    with opened(exported(story, tmp_path_factory.mktemp("export"))) as connection:
        yield connection


@pytest.fixture(scope="module")
def late(tmp_path_factory: pytest.TempPathFactory) -> Iterator[duckdb.DuckDBPyConnection]:
    with opened(exported(a_late_story(), tmp_path_factory.mktemp("late"))) as connection:
        yield connection


def rows(connection: duckdb.DuckDBPyConnection, query: str) -> list[dict[str, Any]]:
    names, found = ask(connection, query)
    return [dict(zip(names, row, strict=True)) for row in found]


def orders(story: Story) -> dict[str, Order]:
    return {order.order_id: order for order in story.shard.markets["US"].orders.values()}


def test_every_view_answers(connection: duckdb.DuckDBPyConnection) -> None:
    for view in asked_first():
        assert rows(connection, f"SELECT * FROM {view.name}") is not None  # noqa: S608 - of our own
    assert {view.name for view in asked_first()} >= {
        *("orders", "lines", "fulfillments", "decisions", "stock_movements", "exceptions"),
        "promises",
    }


def test_orders_have_the_status_that_they_have(
    connection: duckdb.DuckDBPyConnection, story: Story
) -> None:
    found = {one["order_id"]: one for one in rows(connection, "FROM orders")}
    for order_id, order in orders(story).items():
        assert found[order_id]["status"] == order.status(), order_id
        assert found[order_id]["lines"] == len(order.lines)
    assert len(found) >= len(orders(story))
    assert (found["80"]["value_minor"], found["81"]["value_minor"]) == (750, None)


def test_an_order_that_came_before_its_market_is_in_every_view(
    connection: duckdb.DuckDBPyConnection, story: Story
) -> None:
    (order,) = story.shard.markets["CA"].orders.values()
    (found,) = rows(connection, "FROM orders WHERE market_id = 'CA'")
    assert (found["order_id"], found["status"], found["units"]) == ("90", order.status(), 1)
    (line,) = rows(connection, "FROM lines WHERE market_id = 'CA'")
    assert (line["order_id"], line["sku"], line["quantity"]) == ("90", "MUG", 1)
    keys = "SELECT DISTINCT market_id, order_id FROM"
    states = rows(connection, f"{keys} order_states ORDER BY ALL")
    assert (
        rows(
            connection,
            f"{keys} orders SEMI JOIN order_states USING (market_id, order_id) ORDER BY ALL",
        )
        == states
    )
    assert {"market_id": "CA", "order_id": "90"} in states


def test_an_order_is_delivered_once_nothing_more_is_to_come(
    late: duckdb.DuckDBPyConnection,
) -> None:
    found = {one["order_id"]: one for one in rows(late, "FROM orders")}
    assert [found[order]["status"] for order in "1234"] == [
        *("partly_delivered", "delivered", "delivered", "partly_delivered")
    ]
    for order in "23":
        one = found[order]
        assert one["delivered_at"] == one["last_delivery_at"]
        assert one["delivered_at"] - one["placed_at"] == one["lead_time"]
    for order in "14":
        one = found[order]
        assert one["last_delivery_at"]
        assert (one["delivered_at"], one["lead_time"]) == (None, None)


def test_a_fulfillment_is_delivered_with_its_last_package(
    late: duckdb.DuckDBPyConnection,
) -> None:
    found = {one["fulfillment_id"]: one for one in rows(late, "FROM fulfillments")}
    assert found["web.2.1"]["delivered_at"] == found["web.2.1"]["last_delivery_at"] is not None
    half = found["web.4.1"]
    assert (half["status"], half["packages"], half["delivered_at"]) == ("shipped", 2, None)
    assert half["last_delivery_at"]


def test_a_broken_promise_says_when_its_order_came(late: duckdb.DuckDBPyConnection) -> None:
    found = {one["order_id"]: one for one in rows(late, "FROM promises")}
    assert [found[order]["outcome"] for order in "1234"] == ["broken", "broken", "kept", "broken"]
    assert (found["1"]["delivered_at"], found["4"]["delivered_at"]) == (None, None)
    assert found["2"]["delivered_at"] > found["2"]["promised_by"]
    (kept,) = rows(late, "FROM events.promise_kept")
    assert found["3"]["delivered_at"] == kept["delivered_at"] <= found["3"]["promised_by"]


def test_lines_count_their_units_as_the_state_does(
    connection: duckdb.DuckDBPyConnection, story: Story
) -> None:
    found = {(one["order_id"], one["line_id"]): one for one in rows(connection, "FROM lines")}
    counts = ("allocated", "backordered", "shipped", "delivered", "cancelled")
    for order_id, order in orders(story).items():
        for line in order.lines:
            one = found[order_id, line.line_id]
            assert (one["sku"], one["quantity"]) == (line.sku, line.quantity)
            if one["open"] is not None:  # of an order that nothing was decided for there is none
                assert [one[name] for name in counts] == [getattr(line, name) for name in counts]


def test_fulfillments_have_the_statuses_that_they_have(
    connection: duckdb.DuckDBPyConnection, story: Story
) -> None:
    found = {one["fulfillment_id"]: one for one in rows(connection, "FROM fulfillments")}
    checked = 0
    for order in orders(story).values():
        for work in order.fulfillments:
            one = found[work.fulfillment_id]
            assert (one["status"], one["request_status"], one["node_id"]) == (
                work.status,
                work.request_status,
                work.node_id,
            )
            checked += 1
    assert checked == len(found)
    assert any(one["units_shipped"] for one in found.values())


def test_movements_add_up_to_what_is_there(
    connection: duckdb.DuckDBPyConnection, story: Story
) -> None:
    query = "SELECT node_id, sku, sum(on_hand) AS units FROM stock_movements GROUP BY ALL"
    found = {(one["node_id"], one["sku"]): one["units"] for one in rows(connection, query)}
    for sku, shelf in story.shard.markets["US"].bins.items():
        for node_id, stock in shelf.items():
            assert found.get((node_id, sku), 0) == stock.on_hand


def test_what_the_pages_ask_is_answered(connection: duckdb.DuckDBPyConnection) -> None:
    text = "".join(page.read_text("utf-8") for page in sorted(DOCS.rglob("*.md")))
    asked = re.findall(r'headrace sql "([^"]+)" history', text)
    assert len(asked) == text.count('headrace sql "') > 8
    for question in asked:
        assert rows(connection, question) is not None


def test_decisions_have_what_their_nodes_cost(connection: duckdb.DuckDBPyConnection) -> None:
    found = rows(connection, "FROM decisions WHERE legs > 0")
    assert {one["order_id"] for one in found} >= {"80", "81"}
    parts = ("transport", "handling", "per_unit", "late", "load", "price", "split")
    for one in found:
        assert one["cost_minor"] == sum(one[f"{name}_minor"] for name in parts)
        assert one["paid_minor"] == sum(one[f"{name}_minor"] for name in parts[:3])
    chosen = rows(connection, "FROM candidates WHERE chosen AND order_id = '81'")
    assert [one["node_id"] for one in chosen][:1] == next(
        one["nodes"] for one in found if one["order_id"] == "81"
    )
    assert any(one["transport_minor"] for one in found)


def test_a_plan_told_in_parts_costs_each_node_once(tmp_path: Path) -> None:
    totals = """SELECT sum(cost_minor), sum(paid_minor), sum(split_minor), sum(units), sum(legs),
        count(*) FILTER (nodes_later IS NULL), list_sort(flatten(list(nodes))) FROM decisions"""
    found, told = [], []
    for attributes in (0, 70):
        story = a_split_order(3, attributes)
        place = exported(story, tmp_path / f"{attributes}")
        with opened(place) as connection:
            found.append(rows(connection, totals))
            told.append(rows(connection, "SELECT legs, len(nodes_later) AS later FROM decisions"))
        counts: dict[str, Counter[str]] = defaultdict(Counter)
        for scope, minutes in Exact(place).minutes.items():
            for one in minutes.values():
                counts[scope].update(one)
        figures = counted(story)
        for scope in figures:
            if "/node/" in scope or "/carrier/" in scope:  # what legs cost has no SQL
                del figures[scope]["cost_minor"], figures[scope]["paid_minor"]
        assert {scope: +of for scope, of in counts.items()} == figures
    assert found[0] == found[1]
    assert {(one["legs"], one["later"]) for one in told[1]} == {(1, 2), (1, 1), (1, None)}


def test_exceptions_are_open_until_they_are_resolved(
    connection: duckdb.DuckDBPyConnection, story: Story
) -> None:
    found = rows(connection, "FROM exceptions")
    assert sum(one["status"] == "open" for one in found) == len(story.shard.exceptions)


def test_promises_are_told_by_order(connection: duckdb.DuckDBPyConnection, story: Story) -> None:
    found = {one["order_id"]: one for one in rows(connection, "FROM promises")}
    promised = {one.order_id for one in orders(story).values() if one.promised_ms is not None}
    assert found.keys() == promised
    assert promised
