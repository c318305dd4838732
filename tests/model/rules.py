"""What every rule of the protocol is good for: what breaks without it.

A rule that nothing breaks without is doubled by another, and the two are left out together too.
"""

from typing import Final, NamedTuple

from tests.model.explore import Explored, explore
from tests.model.journal import JournalModel, Rule, Size

SMALL: Final = Size(inputs=2, commits=3, openings=2)
"""Enough for every counterexample below."""


class Finding(NamedTuple):
    """Leaving rules out, and what comes of it.

    `breaks` is part of the broken invariant's sentence; None where nothing breaks, and then
    `doubled` says why.
    """

    without: frozenset[Rule]
    breaks: str | None
    doubled: str = ""

    def explore(self, size: Size = SMALL) -> Explored:
        """All states, or those up to the shortest counterexample."""
        return explore(JournalModel(size, self.without))

    def __str__(self) -> str:
        return " + ".join(sorted(rule.name for rule in self.without))


def _breaks(breaks: str, *without: Rule) -> Finding:
    return Finding(frozenset(without), breaks)


def _doubled(rule: Rule, doubled: str) -> Finding:
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
    _breaks("a reader resumed at offset 1 disagrees", Rule.CHECKPOINT),
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
)
