"""The journal of each release, as it was written then, through today's readers.

`journal-0.1.0.jsonl.gz` was written by release 0.1.0: a random walk that decided every event type
it had, in several epochs, with stale writers' commits between; `.expected.json` is what its own
state was at the end.
"""

import gzip
from collections import defaultdict
from pathlib import Path
from random import Random
from typing import Any

import orjson
import pytest

from events.decided import EVENT_TYPES
from orchestrator.core.config import Config
from orchestrator.core.decide import decide, fold, tick, work_due
from orchestrator.core.following import follow
from orchestrator.core.invariants import violations
from orchestrator.core.shard import Shard
from orchestrator.runtime.publisher import Outgoing
from orchestrator.runtime.relay import publish
from projections.fold import project
from projections.tables import Changes
from schemas.journal import Commit, FilterState, JournalError, Verdict, decode, encode_entry, step
from schemas.topics import TOPICS
from tests.core.story import plain

RELEASES = sorted(
    path.name.removesuffix(".jsonl.gz") for path in Path("tests/golden").glob("journal-*.gz")
)


def lines(release: str) -> list[bytes]:
    """Its journal's records, as they were written."""
    return gzip.decompress(Path(f"tests/golden/{release}.jsonl.gz").read_bytes()).splitlines()


def read(release: str) -> tuple[FilterState, list[Commit], int]:
    """The filter's end, the valid commits, how many were void."""
    state, commits, void = FilterState(), list[Commit](), 0
    for offset, value in enumerate(lines(release)):
        record = decode(value, offset)
        state, verdict = step(state, offset, record)
        if isinstance(record, Commit):
            if verdict is Verdict.VALID:
                commits.append(record)
            else:
                void += 1
    return state, commits, void


def folded(commits: list[Commit]) -> Shard:
    shard = Shard(0, Config(slice_orders=2, tracking_waits=3))
    for commit in commits:
        for entry in commit.entries:
            fold(shard, entry)
    return shard


@pytest.mark.parametrize("release", RELEASES)
def test_its_filter_and_fold_come_to_the_state_that_the_release_had(release: str) -> None:
    expected = orjson.loads(Path(f"tests/golden/{release}.expected.json").read_bytes())
    state, commits, void = read(release)
    assert (state.seq, void > 0) == (expected["commits"], True)
    assert sum(len(commit.entries) for commit in commits) == expected["entries"]
    shard = folded(commits)
    assert list(violations(shard)) == []
    market = shard.markets["US"]
    names = ("open", "allocated", "backordered", "shipped", "delivered", "cancelled")
    orders = {
        key: [
            order.status(),
            [[line.line_id, *(getattr(line, name) for name in names)] for line in order.lines],
        ]
        for key, order in market.orders.items()
    }
    assert orders == expected["orders"]
    states = ("on_hand", "reserved", "quality_control", "damaged", "held")
    stock = [
        [node_id, sku, *(getattr(found, name) for name in states)]
        for sku, shelf in sorted(market.bins.items())
        for node_id, found in sorted(shelf.items())
    ]
    assert stock == expected["stock"]
    assert sorted(market.retired) == expected["retired"]


@pytest.mark.parametrize("release", RELEASES)
def test_its_journal_holds_every_event_type_that_the_release_had(release: str) -> None:
    _, commits, _ = read(release)
    there = {event["type"] for one in commits for entry in one.entries for event in entry["events"]}
    since = {
        *("fulfillment_planned", "order_improved", "improvement_due", "order_promise_changed"),
        *("promise_kept", "promise_broken", "inbound_changed", "lane_suspended", "lane_restored"),
        *("rule_set_changed", "rule_set_refused", "input_skipped", "topic_renewed"),
    }
    assert there == EVENT_TYPES - since


@pytest.mark.parametrize("release", RELEASES)
def test_it_is_published_projected_and_followed(release: str) -> None:
    _, commits, _ = read(release)
    changes, followed = Changes(), Shard(0)
    outgoing: Outgoing = defaultdict(list)
    for commit in commits:
        publish(commit, 0, dict.fromkeys(TOPICS, 4), outgoing)
        for _ in project(changes, 0, commit):
            pass
        follow(followed, commit.entries)
    market = folded(commits).markets["US"]
    statuses = {tuple(row[:2]): row[3] for row in changes.puts["orders"].values()}
    for key, order in market.orders.items():
        assert statuses[tuple(key.split("/"))] == order.status()
    assert sum(map(len, outgoing.values())) > 100
    for sku, shelf in market.bins.items():
        for node_id, found in shelf.items():
            assert followed.markets["US"].bins[sku][node_id].on_hand == found.on_hand


@pytest.mark.parametrize("release", RELEASES)
@pytest.mark.parametrize("seed", range(5))
def test_todays_release_goes_on_where_it_ended(release: str, seed: int) -> None:
    """Its inputs come again as new ones, in another order: what is decided folds to the same."""
    _, commits, _ = read(release)
    shard, twin = folded(commits), folded(commits)
    inputs: list[Any] = [
        entry["input"] for one in commits for entry in one.entries if "origin" in entry["input"]
    ]
    Random(seed).shuffle(inputs)
    for number, cause in enumerate(inputs):
        cause["id"] = f"again-{number}"
        cause["origin"][2] = 1_000_000 + number
        causes = [tick(shard.now_ms + 60_000), cause]
        while causes:
            one = causes.pop(0)
            entry = orjson.loads(encode_entry(one, decide(shard, one)))
            fold(twin, entry)
            if not causes and work_due(shard, shard.now_ms):
                causes.append(tick(shard.now_ms))
    assert plain(shard) == plain(twin)
    assert list(violations(shard)) == []


def test_an_event_of_a_later_release_halts_every_reader_with_a_sentence() -> None:
    value = orjson.dumps(
        {
            "kind": "commit",
            "version": 1,
            "entries": [{"input": {"version": 1}, "events": [{"type": "order_teleported"}]}],
        }
    )
    with pytest.raises(JournalError, match=r"offset 7 .*'order_teleported': .* upgrade Headrace"):
        decode(value, 7)


def test_a_record_of_a_later_format_halts_every_reader_with_a_sentence() -> None:
    with pytest.raises(JournalError, match=r"offset 7 has version 2; .* upgrade Headrace"):
        decode(b'{"kind": "commit", "version": 2}', 7)


@pytest.mark.parametrize("more", [{"version": 2}, {"type": "order_teleported"}])
def test_an_input_that_a_later_release_took_in_halts_the_shard_with_a_sentence(
    more: dict[str, Any],
) -> None:
    record: Any = {
        "type": "item_defined",
        "version": 1,
        "id": "1",
        "source": "s",
        "time_ms": 0,
        "origin": ["network", 0, 0, 0],
        "data": {"sku": "A", "name": "A"},
    }
    assert decide(Shard(0), record)
    record.update(more)
    with pytest.raises(ValueError, match="upgrade Headrace"):
        decide(Shard(0), record)
