"""PROTOCOL.md as it is sound, and every rule of it as it is needed."""

from dataclasses import fields, replace
from typing import Any

import pytest

from schemas.journal import Commit, FilterState, JournalError, Opened, Verdict, step
from tests.model.explore import Model, explore
from tests.model.intake import IntakeModel, IntakeRule, IntakeSize
from tests.model.journal import JournalModel, Rule, Size
from tests.model.projector import ProjectorModel, ProjectorRule, ProjectorSize
from tests.model.rules import FINDINGS, SMALL, Finding
from tests.model.snapshots import SnapshotModel, SnapshotRule


@pytest.mark.slow
@pytest.mark.parametrize(
    ("model", "states"),
    [
        (JournalModel(Size(inputs=2, commits=3, openings=3)), 250_000),
        (JournalModel(Size(inputs=3, commits=3, openings=2, ticks=True)), 150_000),
        (IntakeModel(IntakeSize((((0, 1), (0,), (0, 1)),), starts=4)), 50_000),
        (IntakeModel(IntakeSize((((0, 1), (0,)), ((0, 1),)), starts=3)), 50_000),
        (ProjectorModel(ProjectorSize(starts=2)), 25_000),
        (SnapshotModel(each=3), 400),
    ],
    ids=["2-3-3", "3-3-2-ticks", "intake", "intake-of-two-origins", "projector", "snapshots"],
)
def test_nothing_lost_nothing_twice_whatever_crashes_delays_or_repeats(
    model: Model, states: int
) -> None:
    found = explore(model)
    assert found.broken is None, f"\n{found}"
    assert found.states > states  # a model that can do little shows little


@pytest.mark.parametrize("finding", FINDINGS, ids=str)
def test_each_rule_is_needed_or_doubled_by_another(finding: Finding) -> None:
    found = finding.explore()
    if finding.breaks is None:
        assert found.broken is None, f"\n{found}"
        assert finding.doubled
    else:
        assert found.broken is not None, f"sound without: {finding}"
        assert finding.breaks in found.broken, f"\n{found}"


def test_every_rule_is_left_out_once() -> None:
    alone = [rule for finding in FINDINGS if len(finding.without) == 1 for rule in finding.without]
    assert sorted(alone) == sorted([*Rule, *IntakeRule, *ProjectorRule, *SnapshotRule])


_BLANK = FilterState()


@pytest.mark.parametrize("name", sorted({one.name for one in fields(FilterState)} - {"last_epoch"}))
def test_a_checkpoint_without_one_field_misleads_who_resumes(name: str) -> None:
    def less(state: FilterState) -> FilterState:
        blank: Any = {name: getattr(_BLANK, name)}
        return replace(state, **blank)

    found = explore(JournalModel(SMALL, checkpoint=less))
    assert found.broken is not None, f"{name} isn't needed"
    assert "resumed" in found.broken, f"\n{found}"


def test_a_checkpoint_without_the_newest_commits_epoch_hides_a_second_content() -> None:
    opened, _ = step(_BLANK, 0, Opened("", "n"))
    state, _ = step(opened, 1, Commit(0, "n", 1, 0, 1, "", "one", 0, []))
    other = Commit(0, "n", 1, 0, 2, "", "another", 0, [])
    with pytest.raises(JournalError, match="two contents"):
        step(state, 2, other)
    assert step(replace(state, last_epoch=-1), 2, other)[1] is Verdict.VOID


def test_a_counterexample_reads_as_numbered_steps() -> None:
    found = explore(JournalModel(SMALL, frozenset({Rule.FOLD_UP_TO})))
    assert str(found).splitlines() == [
        "  1. a process opens as n1",
        "  2. a process opens as n2",
        "  3. opening n1 lands at 0",
        "  4. opening n2 lands at 1",
        "  5. n1 folds the journal and is open",
        "     broken: n1 takes the epoch of n2 for its own",
    ]
