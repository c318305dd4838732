"""Two markets of a shard in which a channel gave the same order id: they are two orders."""

from pathlib import Path
from typing import Any

import pytest

from orchestrator.replay.changes import Changes
from orchestrator.replay.compare import Compared, pairs
from orchestrator.replay.outcome import OrderRow, read_orders
from orchestrator.replay.period import Period, Span
from schemas.times import rfc3339
from tests.core.story import Story
from tests.replay.worlds import FOREVER, Replayed, of, replayed

HOUR = 3_600


@pytest.fixture
def shop() -> Story:
    """Mugs in Boston and Chicago, and in New York, which is another market."""
    story = Story()
    story.node("BOS")
    story.node("CHI")
    story.send("market_defined", market_id="CA", currency="CAD", time_zone="America/Toronto")
    story.node("NYC", market_id="CA")
    story.item("MUG")
    for node_id in ("BOS", "CHI", "NYC"):
        story.receive(node_id, MUG=50)
    story.at(HOUR)
    return story


def in_canada(story: Story, order_id: str, mugs: int) -> None:
    story.order(order_id, MUG=mugs, market_id="CA", currency="CAD", to="NYC")


def serve(story: Story, node_id: str, package: str, mugs: int) -> None:
    """What both orders call their first fulfillment is accepted, shipped and delivered."""
    report: dict[str, Any] = {"node_id": node_id, "fulfillment_id": "web.1.1"}
    story.at(HOUR)
    story.send("fulfillment_accepted", **report)
    story.at(HOUR)
    story.send(
        "fulfillment_shipped",
        **report,
        shipped_at=rfc3339(story.now_ms),
        lines=[{"line_id": "1", "quantity": mugs}],
        packages=[{"package_id": package, "carrier": "ups", "tracking_number": f"T{package}"}],
    )
    story.at(24 * HOUR)
    story.send(
        "tracking_updated",
        carrier="ups",
        tracking_number=f"T{package}",
        status="delivered",
        at=rfc3339(story.now_ms),
    )


def both(period: Period, changes: Changes | None = None) -> tuple[Replayed, dict[str, OrderRow]]:
    run = replayed(period, changes)
    folder = Path(period.folder).parent / "run"
    return run, {f"{row.market_id}/{row.key}": row for row in read_orders(folder)}


def test_each_is_counted_and_answered_as_it_was(shop: Story, tmp_path: Path) -> None:
    shop.order("1", MUG=2)
    in_canada(shop, "1", 1)
    serve(shop, "NYC", "C", 1)
    serve(shop, "BOS", "U", 2)
    period = of(shop, tmp_path)
    assert period.orders == 2
    run, found = both(period)
    assert (run.loop.differing, run.loop.compared) == (0, period.entries)
    assert run.outcome.answers == {"in place": 6}
    assert run.outcome.open == 0
    assert {key: row.units for key, row in found.items()} == {
        "US/web/1": {"BOS": 2},
        "CA/web/1": {"NYC": 1},
    }
    assert all(row.closed and not row.drawn for row in found.values())
    assert [len(row.decisions) for row in found.values()] == [1, 1]
    us, ca = found.values()
    assert (us.delivered_ms or 0) > (ca.delivered_ms or 0) > 0


def test_a_change_in_one_market_flips_its_order_alone(shop: Story, tmp_path: Path) -> None:
    shop.order("1", MUG=2)
    in_canada(shop, "1", 1)
    serve(shop, "NYC", "C", 1)
    serve(shop, "BOS", "U", 2)
    period = of(shop, tmp_path)
    replayed(period, name="was")
    run, found = both(period, Changes(closed=["BOS"]))
    assert run.outcome.answers == {"drawn": 1, "in place": 3}
    assert (found["US/web/1"].drawn, found["CA/web/1"].drawn) == (True, False)
    assert found["US/web/1"].units == {"CHI": 2}
    paired = list(pairs(tmp_path / "was", tmp_path / "run"))
    assert [(was and was.market_id, now and now.market_id) for was, now in paired] == [
        ("US", "US"),
        ("CA", "CA"),
    ]
    compared = Compared("closed", [], {"US": "USD", "CA": "CAD"})
    compared.add(tmp_path / "was", tmp_path / "run", period.span.end_ms)
    assert [(flip.market_id, flip.key) for flip in compared.flips] == [("US", "web/1")]
    assert compared.measured.shipped_in == {"USD": 1, "CAD": 1}


def test_an_order_is_of_the_period_though_another_of_its_id_was_there_before(
    shop: Story, tmp_path: Path
) -> None:
    shop.order("1", MUG=2)
    shop.at(HOUR)
    from_ms = shop.now_ms
    in_canada(shop, "1", 1)
    shop.at(HOUR)
    _, found = both(of(shop, tmp_path, Span(from_ms, FOREVER)))
    assert list(found) == ["CA/web/1"]


def test_each_is_copied_and_its_copy_cancelled(shop: Story, tmp_path: Path) -> None:
    shop.order("1", MUG=2)
    in_canada(shop, "1", 1)
    shop.at(2 * HOUR)
    shop.send("order_cancel_requested", market_id="CA", channel="web", order_id="1", reason="late")
    shop.at(60)
    shop.send("fulfillment_cancellation_accepted", node_id="NYC", fulfillment_id="web.1.1")
    shop.at(3 * HOUR)
    run, found = both(of(shop, tmp_path), Changes(demand_percent=200))
    assert sorted(found) == ["CA/web/1", "CA/web/1~1", "US/web/1", "US/web/1~1"]
    copies = {
        market_id: market.orders["web/1~1"].status()
        for market_id, market in run.shard.markets.items()
    }
    assert copies == {"US": "allocated", "CA": "cancelled"}
