"""Whole clusters under every fault, by seed: what broke a promise prints how to see it again."""

import os
from dataclasses import replace

import pytest

from tests.simulation.campaign import Failure, Total, attempt, campaign
from tests.simulation.plan import Change, Fault, Oddity, a_plan

SEEDS = int(os.environ.get("HEADRACE_TEST_SEEDS", "2000"))
NAMED = {
    122: "an inbox trimmed by who took over while a slow engine opened halted the slow one",
    53: "a shard halted when retention took the snapshot that it looked for",
    168: "intake halted at an inbox that was trimmed while it looked for lost offsets",
    272: "intake halted at an inbox that was trimmed while others read journals for it",
    347: "a node rejected other units than it was asked to cancel, and one of them was stuck",
    28: "a node stopped a unit by another request than the book took its rejection for",
    414: "what a node stopped by another request stayed allocated there",
    1109: "a halted shard looked for an order in an inbox that was trimmed when others led it on",
    9757: "an order that another process carried out led over a later halt, for ever",
    74: "a relay halted at a broker that answered no fetch while it looked whose journal it is",
    1410: "intake halted at an inbox that was trimmed behind the journal that it had read",
}
"""Seeds that found something. When generators change they stand for other runs: what each found is
held by a directed test of the role."""
SAID_TWICE = {
    Oddity.IN_PART: 0.9,
    Oddity.LATE: 0.25,
    Oddity.TOLD_AGAIN: 0.4,
    Oddity.SHORT: 0.1,
}


def _check(total: Total) -> None:
    assert not total.failures, "\n".join(map(str, total.failures[:10]))
    assert not total.silent()


@pytest.mark.slow
def test_no_promise_is_broken_whatever_goes_wrong() -> None:
    total = Total()
    for one in campaign(a_plan(seed) for seed in range(SEEDS)):
        total.add(one)
    _check(total)


def test_no_promise_is_broken_in_a_few_runs() -> None:
    decided = 0
    for seed in range(1_000_000, 1_000_010):
        outcome = attempt(a_plan(seed))
        assert not isinstance(outcome, Failure), str(outcome)
        decided += outcome.count["decided by activated rules"]
    assert decided > 5, "rules are activated while orders flow"


@pytest.mark.parametrize("seed", NAMED, ids=list(NAMED.values()))
def test_what_was_found_once_is_not_found_again(seed: int) -> None:
    outcome = attempt(a_plan(seed))
    assert not isinstance(outcome, Failure), str(outcome)


@pytest.mark.parametrize("seed", [220, 373, 792, 823])
def test_no_unit_stays_at_a_node_that_says_twice_under_two_ids_what_it_can_not_stop(
    seed: int, request: pytest.FixtureRequest
) -> None:
    """Its command is this test: the seed by itself has other oddities."""
    drawn = a_plan(seed, without=(*Fault, *Change))
    plan = replace(drawn, oddities=SAID_TWICE, beside=(), hosts=2, shards=1, partitions=1)
    outcome = attempt(plan)
    again = f"python -m pytest '{request.node.nodeid}'"
    assert not isinstance(outcome, Failure), f"{outcome.what}\n  replay: {again}"
