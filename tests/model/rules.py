"""What every rule of the protocol is good for: what breaks without it.

A rule that nothing breaks without is doubled by another, and the two are left out together too.
"""

from collections.abc import Callable
from enum import StrEnum
from typing import Any, Final, NamedTuple

from tests.model.explore import Explored, Model, explore
from tests.model.intake import IntakeModel, IntakeRule, IntakeSize
from tests.model.journal import JournalModel, Rule, Size
from tests.model.projector import ProjectorModel, ProjectorRule, ProjectorSize
from tests.model.snapshots import SnapshotModel, SnapshotRule

# Enough for every counterexample below.
SMALL: Final = Size(inputs=2, commits=3, openings=2)
SMALL_INTAKE: Final = IntakeSize((((0, 1), (0,)), ((0, 1),)), starts=2)
SMALL_PROJECTOR: Final = ProjectorSize(starts=2, records=4)

_MODELS: Final[dict[type[StrEnum], Callable[[frozenset[Any]], Model]]] = {
    Rule: lambda without: JournalModel(SMALL, without),
    IntakeRule: lambda without: IntakeModel(SMALL_INTAKE, without),
    ProjectorRule: lambda without: ProjectorModel(SMALL_PROJECTOR, without),
    SnapshotRule: lambda without: SnapshotModel(without=without),
}


class Finding(NamedTuple):
    """Leaving rules of one model out, and what comes of it.

    `breaks` is part of the broken invariant's sentence; None where nothing breaks, and then
    `doubled` says why.
    """

    without: frozenset[StrEnum]
    breaks: str | None
    doubled: str = ""

    def explore(self) -> Explored:
        """All states, or those up to the shortest counterexample."""
        kind = type(next(iter(self.without)))
        return explore(_MODELS[kind](self.without))

    def __str__(self) -> str:
        return "+".join(sorted(rule.name for rule in self.without))


def _breaks(breaks: str, *without: StrEnum) -> Finding:
    return Finding(frozenset(without), breaks)


def _doubled(rule: StrEnum, doubled: str) -> Finding:
    return Finding(frozenset({rule}), None, doubled)


FINDINGS: Final = (
    # The filter.
    _doubled(
        Rule.EPOCH,
        "a seq without gaps and ACKNOWLEDGED are a compare-and-swap by themselves: who was replaced"
        " either continues the journal or hears that it didn't",
    ),
    _breaks("takes commit 1 for confirmed", Rule.EPOCH, Rule.ACKNOWLEDGED),
    _doubled(
        Rule.NONCE, "an epoch is an offset, and one opening stands there (NONCES, FOLD_UP_TO)"
    ),
    _breaks("every reader halts", Rule.REPEAT),
    _breaks("has two valid contents", Rule.REPEAT, Rule.HISTORY),
    _doubled(Rule.GAP, "an alarm for writers without ONE_IN_FLIGHT; HISTORY sounds for them too"),
    _breaks("decided on another history", Rule.GAP, Rule.ONE_IN_FLIGHT),
    _breaks("commit 1 is missing", Rule.GAP, Rule.HISTORY, Rule.ONE_IN_FLIGHT),
    _doubled(Rule.HISTORY, "an alarm for writers that break POSITION, REFOLD or FOLD_AFTER"),
    _breaks("input 0 is taken twice", Rule.HISTORY, Rule.POSITION),
    _doubled(Rule.TWO_CONTENTS, "an alarm for writers that break ONE_CONTENT, NONCES or FRESH"),
    _doubled(Rule.FUTURE, "an alarm for journals that lost their end, which no writer can cause"),
    _doubled(Rule.OWN_REPEAT, "a writer reads no further than its first opening (FOLD_UP_TO)"),
    _breaks("has two valid contents", Rule.SEQ_GOES_ON),
    _breaks("a reader resumed at offset 1 halts", Rule.CHECKPOINT),
    # Opening.
    _breaks("every reader halts: two contents", Rule.NONCES),
    _breaks("every reader halts: two contents", Rule.FRESH),
    _breaks("opens on another state", Rule.FOLD_AFTER),
    _breaks("takes the epoch of n2 for its own", Rule.FOLD_UP_TO),
    _breaks("opens on another state", Rule.REFOLD),
    # Committing.
    _breaks("takes commit 1 for confirmed", Rule.ACKNOWLEDGED),
    _breaks("every reader halts: gap", Rule.ONE_IN_FLIGHT),
    _breaks("every reader halts: two contents", Rule.ONE_CONTENT),
    _breaks("every reader halts", Rule.POSITION),
    _breaks("input 0 is trimmed", Rule.TRIM_CONFIRMED),
    # Snapshots.
    _breaks("a snapshot holds commit 1, and the journal doesn't", Rule.SNAPSHOT_CONFIRMED),
    _breaks("opens on half a snapshot", Rule.SNAPSHOT_WHOLE),
    _breaks("takes the epoch of n2 for its own", Rule.SNAPSHOT_BEFORE),
    # The log.
    _breaks("every reader halts: hole", Rule.CONTIGUOUS),
    # Intake.
    _breaks("is taken twice", IntakeRule.MARK),
    _breaks("is saved as done, and shard 0 has it not", IntakeRule.MARKS),
    _breaks("is lost to shard 0: its mark hides it", IntakeRule.ONE_BATCH),
    _breaks("is saved as done, and shard 0 has it not", IntakeRule.ALL_HEARD),
    _breaks("is saved as done, and shard 0 has it not", IntakeRule.START_AGAIN),
    _breaks("part 2 is lost to shard 0: its mark hides it", IntakeRule.ONE_RECORD),
    # The projector.
    _breaks("the rows are of the commits at [1, 3], and the fold's are [1]", ProjectorRule.FILTER),
    _breaks("the checkpoint goes from 1 to 1", ProjectorRule.SWAP),
    _breaks("the checkpoint goes from 1 to 1", ProjectorRule.SWAP_FIRST),
    _breaks("the rows are of the commits at [1], and the fold's are []", ProjectorRule.TOGETHER),
    _doubled(ProjectorRule.READ_AGAIN, "SWAP: what it goes on from isn't there, so it reads again"),
    _breaks(
        "the rows are of the commits at [], and the fold's are [1]",
        ProjectorRule.READ_AGAIN,
        ProjectorRule.SWAP,
    ),
    _breaks("the rows are of the commits at []", ProjectorRule.CHECKPOINT),
    # The topic of snapshots.
    *(_breaks("no whole snapshot is left", rule) for rule in SnapshotRule),
)
