"""A period that is asked about before its orders are through: no run knows what comes later."""

from pathlib import Path
from typing import Any

import pytest

from orchestrator.core.config import DAY_MS
from orchestrator.replay.changes import Changes
from orchestrator.replay.compare import Compared
from orchestrator.replay.period import DRAIN_DAYS, Period, Span
from tests.core.story import Story
from tests.replay.test_closed_loop import serve
from tests.replay.worlds import of, replayed

HOUR = 3_600


@pytest.fixture
def shop() -> Story:
    """Three orders delivered, which answers are drawn from; then twenty accepted, two hours ago."""
    story = Story()
    for node_id in ("BOS", "CHI"):
        story.node(node_id)
    story.item("MUG")
    story.receive("BOS", MUG=500)
    story.receive("CHI", MUG=500)
    story.service()
    story.at(HOUR)
    for number in range(3):
        story.order(f"old-{number}", MUG=1)
        serve(story, f"old-{number}.1", f"P{number}")
    for number in range(20):
        story.order(f"new-{number}", MUG=1)
        story.at(60)
        story.report("accepted", f"new-{number}.1")
    story.at(2 * HOUR)
    return story


def measured(period: Period, changes: Changes | None = None) -> dict[str, Any]:
    """What a variant comes to beside the baseline."""
    folder = Path(period.folder).parent
    replayed(period, name="baseline")
    replayed(period, changes, name="variant")
    compared = Compared("variant", [], {"US": "USD"})
    compared.add(folder / "baseline", folder / "variant", period.span.end_ms)
    return compared.as_json(5)


def test_what_is_under_way_when_history_ends_is_so_in_every_run(
    shop: Story, tmp_path: Path
) -> None:
    period = of(shop, tmp_path, Span(0, shop.now_ms + 1))
    assert period.span.end_ms == shop.now_ms + 1
    assert period.span.cut_short
    was = measured(period)
    closed = measured(period, Changes(closed=["BOS"]))
    assert closed["flipped_orders"] == 23
    names = ["orders", "delivered", "censored", "packages", "promised", "baseline_promises"]
    assert [was[name] for name in names] == [23, 3, 20, 3, 1, 1]  # one of the old is due
    assert [closed[name] for name in names] == [23, 3, 20, 3, 1, 1]
    assert (was["baseline_promises_broken"], closed["baseline_promises_broken"]) == (0, 0)
    assert (was["on_time_rate"], closed["on_time_rate"]) == (1.0, 1.0)
    assert (was["late_days"], closed["late_days"]) == (0.0, 0.0)


def test_slow_answers_that_history_does_not_know_yet_are_not_drawn_as_quick_ones(
    tmp_path: Path,
) -> None:
    shop = Story()
    for node_id in ("BOS", "CHI"):
        shop.node(node_id)
        shop.receive(node_id, MUG=500)
    shop.item("MUG")
    shop.at(HOUR)
    for number in range(40):  # every second one is shipped within ten minutes; none of the others
        shop.order(str(number), MUG=1)
        shop.at(600)
        if number % 2:
            shop.ship(f"{number}.1", package=f"P{number}")
    run = replayed(of(shop, tmp_path), Changes(closed=["BOS"]))
    assert all(row.drawn for row in run.orders.values())
    packages = sum(row.packages for row in run.orders.values())
    assert 12 <= packages <= 28, "as many as in history, give or take luck"


def test_a_promise_of_the_last_hours_may_have_been_kept_though_nobody_said_so_yet(
    shop: Story, tmp_path: Path
) -> None:
    promised_ms = replayed(of(shop, tmp_path)).orders["web/new-0"].promised_ms
    assert promised_ms is not None
    shop.at((promised_ms - shop.now_ms) / 1000 + 5 * HOUR)
    was = measured(of(shop, tmp_path / "early"))
    shop.at(2 * HOUR)
    then = measured(of(shop, tmp_path / "late"))
    assert was["baseline_promises_broken"] == 0
    assert then["baseline_promises_broken"] >= 1


def test_a_promise_that_passed_before_history_ended_is_broken(shop: Story, tmp_path: Path) -> None:
    shop.at(10 * 86_400)
    period = of(shop, tmp_path, Span(0, shop.now_ms - 10 * DAY_MS))
    assert period.span.cut_short
    was = measured(period)
    assert (was["baseline_promises"], was["baseline_promises_broken"]) == (23, 20)
    assert was["censored"] == 20


def test_history_that_goes_on_beyond_the_drain_cuts_nothing_short(
    shop: Story, tmp_path: Path
) -> None:
    until_ms = shop.now_ms
    shop.at(20 * 86_400)
    period = of(shop, tmp_path, Span(0, until_ms))
    assert period.span.end_ms == until_ms + DRAIN_DAYS * DAY_MS
    assert not period.span.cut_short


def test_copies_are_placed_though_history_ends_within_the_hour(shop: Story, tmp_path: Path) -> None:
    shop.order("last", MUG=1)
    period = of(shop, tmp_path, Span(0, shop.now_ms + DAY_MS))
    run = replayed(period, Changes(demand_percent=200))
    assert len(run.orders) == 2 * 24
