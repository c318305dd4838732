"""Journals of simulated clusters as history: fenced commits, repeats, garbage, skips, races."""

import gc
from collections.abc import Iterator
from pathlib import Path

import pytest

from orchestrator.core.auditing import audit
from orchestrator.replay.changes import Changes
from orchestrator.replay.period import Period, Span
from tests.replay.worlds import EVER, FOREVER, a_period, replayed
from tests.simulation.plan import a_plan
from tests.simulation.run import CONFIG, Run

pytestmark = pytest.mark.slow
SEEDS = (*range(6), 36, 48)
"""The last two read inputs again before which others were taken."""


def _periods(seed: int, folder: Path) -> Iterator[Period]:
    """What `headrace whatif` reads of a run's journals: all of each, and its second half."""
    run = Run(a_plan(seed))
    run.go()
    gc.unfreeze()  # engines freeze what they folded
    for shard in range(run.plan.shards):
        whole = a_period(run.broker, folder / "whole", EVER, shard)
        yield whole
        if whole.first_ms is not None and whole.last_ms is not None:
            middle = (whole.first_ms + whole.last_ms) // 2
            yield a_period(run.broker, folder / "half", Span(middle, FOREVER), shard)


@pytest.mark.parametrize("seed", SEEDS)
def test_whatever_went_wrong_the_unchanged_world_is_history_and_others_keep_their_books(
    seed: int, tmp_path: Path
) -> None:
    entries = 0
    for period in _periods(seed, tmp_path):
        unchanged = replayed(period, config=CONFIG)
        assert (unchanged.loop.differing, unchanged.loop.in_step) == (0, True)
        assert unchanged.loop.compared == period.entries
        entries += period.entries
        for node_id in sorted(period.nodes)[:2]:
            closed = replayed(period, Changes(closed=[node_id]), config=CONFIG, name=node_id)
            assert not [found for one in audit(closed.shard) for found in one]
        for percent in (50, 150):
            other = replayed(period, Changes(demand_percent=percent), config=CONFIG, name="other")
            assert not [found for one in audit(other.shard) for found in one]
    assert entries > 50
