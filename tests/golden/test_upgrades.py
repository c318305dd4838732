"""Releases that follow one another on one journal, both ways.

`core-0.1.0.zip` is the core of release 0.1.0 as it was, `core-0.2.0a1.zip` the one that wrote the
snapshots of `stories-0.2.0a1`: their fingerprint is of its source. `stories-….json.gz` were kept by
`freeze`: journals that hold every event that the core of then could decide, and snapshots at their
ends.
"""

import gzip
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from random import Random
from typing import Any, NamedTuple

import orjson
import pytest

from events.decided import EVENT_TYPES
from events.inputs import INPUTS
from orchestrator.compose import a_core
from orchestrator.core.decide import decide, fold, tick, work_due
from orchestrator.core.following import follow
from orchestrator.core.invariants import violations
from orchestrator.core.shard import Shard
from orchestrator.runtime.memory_log import MemoryLog
from orchestrator.runtime.publisher import Outgoing
from orchestrator.runtime.relay import publish
from orchestrator.runtime.settings import Settings
from orchestrator.runtime.snapshots import Snapshots
from projections.fold import project
from projections.tables import Changes
from schemas.journal import Commit, Entry, FilterState, Verdict, decode, encode_entry, step
from schemas.ports import Partition, Record
from schemas.topics import TOPICS
from tests.core.story import plain
from tests.golden.old_core import OldCore, counts
from tests.golden.test_journal import folded, read
from tests.runtime.fakes import Seeded, SteppedClock

AT = Path("tests/golden")
FIRST = AT / "core-0.1.0.zip"
OF_SNAPSHOTS = AT / "core-0.2.0a1.zip"
SINCE: dict[str, set[str]] = {"stories-0.2.0a1": set()}
"""Event types that came after a freeze."""


class Kept(NamedTuple):
    freeze: str
    story: str
    journal: list[bytes]
    snapshot: list[Record]
    expected: dict[str, Any]


def kept() -> Iterator[Kept]:
    for freeze in sorted(SINCE):
        for one in orjson.loads(gzip.decompress((AT / f"{freeze}.json.gz").read_bytes())):
            journal = [value.encode() for value in one["journal"]]
            records = [Record(key.encode(), value.encode()) for key, value in one["snapshot"]]
            yield Kept(freeze, one["story"], journal, records, one["expected"])


KEPT = list(kept())
EVERY_STORY = pytest.mark.parametrize("story", KEPT, ids=lambda one: one.story.rpartition("::")[2])


def filtered(journal: list[bytes]) -> tuple[FilterState, list[Commit], int]:
    """The filter's end, the valid commits, how many were void."""
    state, commits, void = FilterState(), list[Commit](), 0
    for offset, value in enumerate(journal):
        record = decode(value, offset)
        state, verdict = step(state, offset, record)
        if isinstance(record, Commit) and verdict is Verdict.VALID:
            commits.append(record)
        else:
            void += isinstance(record, Commit)
    return state, commits, void


def shard_of(commits: list[Commit]) -> Shard:
    shard = Shard(0)
    for commit in commits:
        for entry in commit.entries:
            fold(shard, entry)
    return shard


def as_json(value: object) -> Any:  # noqa: ANN401 - JSON
    return orjson.loads(orjson.dumps(value))


def test_every_freeze_is_read_and_holds_every_event_of_its_time() -> None:
    assert {path.name.removesuffix(".json.gz") for path in AT.glob("stories-*")} == set(SINCE)
    for freeze, since in SINCE.items():
        there = {
            event["type"]
            for one in KEPT
            if one.freeze == freeze
            for commit in filtered(one.journal)[1]
            for entry in commit.entries
            for event in entry["events"]
        }
        assert there == EVENT_TYPES - since


@EVERY_STORY
def test_a_kept_journal_comes_to_the_state_that_it_had(story: Kept) -> None:
    _, commits, void = filtered(story.journal)
    assert void == 1
    shard = shard_of(commits)
    assert as_json(counts(shard)) == story.expected
    assert list(violations(shard)) == []


@EVERY_STORY
def test_a_kept_journal_is_published_projected_and_followed(story: Kept) -> None:
    _, commits, _ = filtered(story.journal)
    changes, followed = Changes(), Shard(0)
    outgoing: Outgoing = defaultdict(list)
    for commit in commits:
        publish(commit, 0, dict.fromkeys(TOPICS, 4), outgoing)
        for _ in project(changes, 0, commit):
            pass
        follow(followed, commit.entries)
    markets = story.expected.values()
    statuses = {key: row[0] for market in markets for key, row in market["orders"].items()}
    found = {f"{row[0]}/{row[1]}": row[3] for row in changes.puts["orders"].values()}
    assert found.items() >= statuses.items()


def store(story: Kept, fingerprint: str | None = None) -> Snapshots[Shard]:
    """The kept snapshot as today's code finds it."""
    log = MemoryLog(SteppedClock(), {"journal": 1, "snapshots": 1})
    log.write(Partition("journal", 0), [Record(None, value) for value in story.journal])
    log.write(Partition("snapshots", 0), story.snapshot)
    form = a_core(Settings()).snapshots
    assert form is not None
    if fingerprint is not None:
        form = replace(form, fingerprint=fingerprint)
    return Snapshots(0, log=log, clock=SteppedClock(), randomness=Seeded(1), form=form)


@EVERY_STORY
async def test_a_kept_snapshot_is_passed_over_by_code_that_may_fold_otherwise(story: Kept) -> None:
    snapshots = store(story)
    assert snapshots._form.fingerprint != (await manifest(story))["fingerprint"]
    assert await snapshots.load() is None  # the journal is read from its beginning


def test_the_release_that_wrote_kept_snapshots_goes_on_from_them_beside_todays() -> None:
    """It opens from its own snapshot, today's from the journal; they take turns for two days."""
    said = 0
    with OldCore(OF_SNAPSHOTS) as old:
        for story in KEPT:
            chunks = [orjson.loads(one.value or b"") for one in story.snapshot[:-1]]
            old.ask("restore", [row for chunk in chunks for row in chunk])
            assert old.ask("counts") == story.expected
            both = Alternating(old, filtered(story.journal)[1], old_has_them=True)
            both.agree()
            for turn in range(16):
                entry = both.decide(tick(both.new.now_ms + 10_800_000), by_old=turn % 2 == 0)
                said += len(entry["events"])
            both.agree()
    assert said > 30


async def manifest(story: Kept) -> Any:  # noqa: ANN401 - JSON
    (found,) = [one async for one in store(story).manifests()]
    return found.manifest


def lasting(shard: Shard) -> dict[str, Any]:
    """Its state without what the last entry touched, which the next one's beginning clears."""
    return {
        name: value
        for name, value in plain(shard).items()
        if not name.startswith(("touched_", "freed_"))
    }


class Alternating:
    """A shard of today's and of the first release's that share a journal."""

    def __init__(self, old: OldCore, commits: list[Commit], *, old_has_them: bool = False) -> None:
        self.old = old
        self.new = shard_of(commits) if old_has_them else folded(commits)
        for commit in commits if not old_has_them else ():
            for entry in commit.entries:
                old.ask("fold", entry)

    def agree(self) -> None:
        """Both come to the same orders and units, by their own fold."""
        assert self.old.ask("counts") == as_json(counts(self.new))
        assert list(violations(self.new)) == []

    def decide(self, cause: Any, *, by_old: bool) -> Entry:  # noqa: ANN401 - an input record
        """One of them decides, the other folds."""
        if by_old:
            entry: Entry = self.old.ask("decide", cause)
            fold(self.new, entry)
        else:
            entry = orjson.loads(encode_entry(cause, decide(self.new, cause)))
            self.old.ask("fold", entry)
        return entry


@pytest.mark.parametrize("seed", range(3))
def test_the_first_release_and_todays_take_turns_on_one_journal(seed: int) -> None:
    """What 0.1.0 could do, either does, and the other goes on from there."""
    _, commits, _ = read("journal-0.1.0")
    chance = Random(seed)
    inputs: list[Any] = [
        as_json(entry["input"])
        for one in commits
        for entry in one.entries
        if "origin" in entry["input"]
    ]
    chance.shuffle(inputs)
    turns = {True: 0, False: 0}
    with OldCore(FIRST) as old:
        both = Alternating(old, commits)
        both.agree()
        for number, cause in enumerate(inputs):
            cause["id"] = f"again-{number}"
            cause["origin"][2] = 1_000_000 + number
            causes = [tick(both.new.now_ms + 60_000), cause]
            while causes:
                by_old = chance.random() < 0.5
                turns[by_old] += len(both.decide(causes.pop(0), by_old=by_old)["events"])
                due = work_due(both.new, both.new.now_ms)
                assert old.ask("work", both.new.now_ms) == due
                if due and not causes:
                    causes.append(tick(both.new.now_ms))
        both.agree()
    assert min(turns.values()) > 300


def test_the_first_release_halts_with_a_sentence_where_todays_decided_what_it_does_not_know() -> (
    None
):
    _, commits, _ = read("journal-0.1.0")
    data = {"market_id": "US", "version": 1, "author": "Ada", "body": {"strategies": []}}
    model = INPUTS["rule_set_proposed"].model_validate_json(orjson.dumps(data))
    cause: Any = {
        "type": "rule_set_proposed",
        "version": 1,
        "id": "new",
        "source": "s",
        "time_ms": 0,
        "origin": ["network", 0, 1_000_000, 0],
        "data": orjson.loads(model.model_dump_json(exclude_defaults=True)),
    }
    with OldCore(FIRST) as old:
        both = Alternating(old, commits)
        with pytest.raises(ValueError, match=r"unknown type 'rule_set_changed': upgrade Headrace"):
            both.decide(cause, by_old=False)
