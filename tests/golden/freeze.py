"""Keeps what today's core writes, for the releases that come: `python -m tests.golden.freeze NAME`.

The stories of `tests/core` are told, and as few of them kept as together hold every event type with
every set of fields: the journal of each, a snapshot at its end, and what its state was then.
"""

import asyncio
import gzip
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, Final

import orjson
import pytest

from orchestrator.compose import a_core
from orchestrator.core.decide import skip, tick
from orchestrator.core.shard import Shard
from orchestrator.runtime.memory_log import MemoryLog
from orchestrator.runtime.settings import Settings
from orchestrator.runtime.snapshots import Snapshots
from schemas.journal import (
    Commit,
    FilterState,
    decode,
    encode_commit,
    encode_entry,
    encode_opened,
    step,
)
from schemas.ports import Partition, Record
from tests.core.story import Story
from tests.golden.old_core import counts
from tests.runtime.fakes import Seeded, SteppedClock

AT: Final = Path("tests/golden")
JOURNAL: Final = Partition("journal", 0)
SNAPSHOTS: Final = Partition("snapshots", 0)
_ENTRIES: Final = 3  # of a commit
_MOST: Final = 150  # entries of a story


class _Told:
    """A pytest plugin: the stories of a run, by the test that told them."""

    def __init__(self) -> None:
        self.stories: dict[str, list[Story]] = {}
        self._now: list[Story] = []

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_protocol(self, item: pytest.Item) -> Iterator[None]:
        began, self._now = Story.__init__, []

        def init(story: Story, *given: Any, **more: Any) -> None:  # noqa: ANN401 - as it is told
            self._now.append(story)
            began(story, *given, **more)

        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(Story, "__init__", init)
            yield
        self.stories[item.nodeid] = self._now


def journal_of(entries: Iterable[bytes]) -> list[bytes]:
    """Entries as commits of two epochs; a stale writer's commit stands in the second."""
    state, values = FilterState(), list[bytes]()

    def put(value: bytes) -> None:
        nonlocal state
        state, _ = step(state, len(values), decode(value, len(values)))
        values.append(value)

    def commit(some: Iterable[bytes], epoch: int, nonce: str) -> bytes:
        return encode_commit(
            epoch=epoch,
            nonce=nonce,
            seq=state.seq + 1,
            inbox_from=state.inbox_next,
            inbox_next=state.inbox_next + 1,
            prev=state.digest,
            now_ms=1_800_000_000_000,
            entries=list(some),
        )

    put(encode_opened("one", "n1"))
    parts = _parts(list(entries))
    half = len(parts) // 2
    for part in parts[:half]:
        put(commit(part, state.epoch, "n1"))
    stale = state.epoch
    put(encode_opened("two", "n2"))
    if parts[half:]:
        put(commit(parts[half], stale, "n1"))
    for part in parts[half:]:
        put(commit(part, state.epoch, "n2"))
    return values


def _parts(entries: list[bytes]) -> list[list[bytes]]:
    return [entries[n : n + _ENTRIES] for n in range(0, len(entries), _ENTRIES)]


def _shapes(entries: Iterable[bytes]) -> set[tuple[str, ...]]:
    return {
        (event["type"], *sorted(event))
        for entry in entries
        for event in orjson.loads(entry)["events"]
    }


async def snapshot_of(values: list[bytes], shard: Shard) -> list[Record]:
    """The records of a snapshot of what a journal comes to."""
    log = MemoryLog(SteppedClock(), {"journal": 1, "snapshots": 1})
    log.write(JOURNAL, [Record(None, value) for value in values])
    state = FilterState()
    for offset, value in enumerate(values):
        state, _ = step(state, offset, decode(value, offset))
    form = a_core(Settings()).snapshots
    assert form is not None
    store = Snapshots(0, log=log, clock=SteppedClock(), randomness=Seeded(1), form=form)
    await store.write(shard, state)
    return [Record(one.key, one.value) for one in log.held(SNAPSHOTS).records]


def _skipped() -> Story:
    """An input that a person had passed over, which no story tells."""
    story = Story()
    cause = tick(story.now_ms + 1)
    events = skip(story.shard, cause, "it can't be decided", "Ada")
    story.entries.append(encode_entry(cause, events))
    return story


def main() -> None:
    """Tell, choose, keep."""
    (name,) = sys.argv[1:]
    told = _Told()
    options = ["-q", "-p", "no:cacheprovider", "-W", "ignore::pytest.PytestAssertRewriteWarning"]
    if pytest.main([*options, "tests/core"], plugins=[told]) != 0:
        raise SystemExit("tests/core fails")
    told.stories["skipped"] = [_skipped()]
    stories = {
        f"{test}#{n}": story
        for test, some in told.stories.items()
        for n, story in enumerate(some)
        if len(story.entries) <= _MOST
    }
    shapes = {test: _shapes(story.entries) for test, story in stories.items()}
    missing = set().union(*shapes.values())
    kept: list[dict[str, Any]] = []
    while missing:
        test = max(shapes, key=lambda one: (len(shapes[one] & missing), -len(stories[one].entries)))
        missing -= shapes[test]
        story = stories[test]
        values = journal_of(story.entries)
        records = asyncio.run(snapshot_of(values, story.shard))
        kept.append(
            {
                "story": test,
                "journal": [value.decode() for value in values],
                "snapshot": [[(r.key or b"").decode(), (r.value or b"").decode()] for r in records],
                "expected": counts(story.shard),
            }
        )
    events = sum(
        len(entry["events"])
        for one in kept
        for n, value in enumerate(one["journal"])
        if isinstance(record := decode(value.encode(), n), Commit)
        for entry in record.entries
    )
    at = AT / f"stories-{name}.json.gz"
    at.write_bytes(gzip.compress(orjson.dumps(kept), 9, mtime=0))
    sys.stdout.write(
        f"{at}: {len(kept)} of {len(stories)} stories, {events} events, {at.stat().st_size} bytes\n"
    )


if __name__ == "__main__":
    main()
