"""A shard restored from a snapshot is the shard: the same state, and the same decisions ever after.

The random walks are those of the core's invariants; a snapshot is taken somewhere on the way.
"""

import gc
from collections.abc import Sequence
from random import Random
from typing import Any

import orjson
import pytest

from events.decided import InputRecord
from orchestrator.core import snapshot
from orchestrator.core.config import Config
from orchestrator.core.decide import decide
from orchestrator.core.shard import Shard
from orchestrator.core.snapshot import FIELDS, Restoring
from schemas.journal import encode_entry
from tests.core.story import Event, Story, plain
from tests.properties.test_core_invariants import NODES, SKUS, Chance, perform

SEGMENT = 16  # entries: few, so that walks fill some
TRANSIENT = [name for name in FIELDS[Shard].made if name.startswith(("touched_", "freed_"))]


def between_entries(shard: Shard) -> Shard:
    """The shard without what doesn't count: what the entry before has touched, which the next one
    forgets first, and lines' pools that the rules have no longer.
    """
    for name in TRANSIENT:
        getattr(shard, name).clear()
    for market in shard.markets.values():
        for order in market.orders.values():
            for line in (line for one in order.fulfillments for line in one.lines):
                kept = [one for one in line.drew_on if market.pool_taken.get(one.pool_id) is one]
                line.drew_on = tuple(kept)
    return shard


def snapshot_of(shard: Shard, full: dict[tuple[str, int], bytes]) -> list[bytes]:
    """Its rows; full segments are taken from `full` where it has them, and put there."""
    held = snapshot.logs(shard)
    rows = list(snapshot.rows(shard))
    for one in snapshot.segments(shard, full.keys(), SEGMENT):
        row = full[one.log, one.number] if one.row is None else one.row
        assert held[one.log][0] < (one.number + 1) * SEGMENT
        if one.full:
            full[one.log, one.number] = row
        rows.append(row)
    return rows


def restored(rows: list[bytes], config: Config) -> Shard:
    restoring = Restoring(Shard(0, config))
    for row in rows:
        restoring.take(orjson.loads(row))
    return restoring.finish()


class Twice(Story):
    """A story that a restored shard lives through as well; now and then it is restored anew."""

    def __init__(self, config: Config, luck: Random) -> None:
        self.config = config
        self.luck = luck
        self.other: Shard | None = None
        self.full: dict[tuple[str, int], bytes] = {}
        self.kinds: set[str] = set()  # of rows
        super().__init__(config)

    def _decide(self, record: InputRecord) -> list[Event]:
        events = super()._decide(record)
        if self.other is not None:
            again: Any = orjson.loads(orjson.dumps(record))
            assert encode_entry(again, decide(self.other, again)) == self.entries[-1]
        if self.luck.random() < 0.2:
            rows = snapshot_of(self.shard, self.full)
            self.kinds |= {orjson.loads(row)[0] for row in rows}
            self.other = restored(rows, self.config)
            assert plain(self.other) == plain(between_entries(self.shard))
        return events


def walk(seed: int) -> set[str]:
    """The kinds of rows that it met."""
    chance, luck = Chance(seed), Random(f"snapshot {seed}")
    story = Twice(Config(slice_orders=2, tracking_waits=3, improve_orders=2), luck)
    for at in NODES:
        story.node(at)
    story.item(*SKUS)
    story.service()
    pools = {"pools": [{"id": "all", "sku": ["A"], "channel": "web", "units": 9}]}
    if seed % 2:
        story.rules({"hold": 30, "unsourced": [{"cancel_after_days": 3}]}, **pools)
    if seed % 3:
        places_of(story)
        story.send("lane_suspended", market_id="US", carrier="dhl", reason="strike")
    for at in NODES[:2]:
        story.receive(at, A=4, B=3)
    for step in range(80):
        action = chance.action()
        try:
            perform(story, action)
            if seed % 2 and luck.random() < 0.02:  # the rules lose their pool, or have it again
                story.rules({}, **luck.choice([{}, pools]))
        except Exception as error:
            error.add_note(f"seed {seed}, step {step}: {action}")
            raise
    return story.kinds


@pytest.mark.parametrize(
    "seed", [*range(20), *(pytest.param(seed, marks=pytest.mark.slow) for seed in range(20, 60))]
)
def test_a_restored_shard_is_the_shard_and_decides_the_same(seed: int) -> None:
    walk(seed)


def test_the_walks_meet_every_kind_of_row() -> None:
    assert set().union(*(walk(seed) for seed in range(12))) == snapshot.RESTORE.keys()


def places_of(story: Story) -> None:
    """A whole table of one country, and a part of another's."""
    rows = [
        {"postal_code": f"0{n}139", "lat": 42.0 + n, "lon": -71.0, "region": "ma"} for n in range(5)
    ]
    for country, chunks in (("US", 1), ("CA", 2)):
        story.send(
            "places_defined", country=country, version="v1", chunk=1, chunks=chunks, rows=rows
        )


def fields_of(kind: type) -> list[str]:
    """By its slots, or as the compiler noted them."""
    names: Sequence[str] = getattr(kind, "__slots__", ()) or getattr(kind, "__mypyc_attrs__", ())
    return [name for name in names if not name.startswith("__")]


def test_what_a_snapshot_says_of_each_class_is_all_that_it_has() -> None:
    """A field that is new to the state must be told what becomes of it."""
    for kind, fields in FIELDS.items():
        said = [*fields.plain, *fields.written, *fields.made]
        assert sorted(said) == sorted(fields_of(kind)), kind


def test_every_class_of_the_state_is_one_that_snapshots_know() -> None:
    """Found by walking through a state, not by a list that would be forgotten as well."""
    chance = Chance(7)
    story = Story()
    for at in NODES:
        story.node(at)
    story.item(*SKUS)
    story.service()
    places_of(story)
    for _ in range(300):
        perform(story, chance.action())
    found: set[type] = set()
    seen: set[int] = set()
    todo: list[Any] = [story.shard]
    made = {"tables", "calendar", "config", "booked_changes", "changes", "_memory"}
    while todo:
        one = todo.pop()
        if id(one) in seen or isinstance(one, type):
            continue
        seen.add(id(one))
        if type(one).__module__.startswith("orchestrator."):
            found.add(type(one))
            if type(one).__name__ not in {"Service", "RuleSet"}:  # made from what defined them
                names = [n for n in fields_of(type(one)) if n not in made]
                todo += [getattr(one, name) for name in names]
        if isinstance(one, dict | list | tuple) or type(one).__name__ == "deque":
            todo += gc.get_referents(one)
    elsewhere = {"Service", "RuleSet", "Shelf", "Changes", "_Coming", "LaneKey"}
    assert {kind.__name__ for kind in found} - elsewhere <= {kind.__name__ for kind in FIELDS}


def longest(row: object) -> int:
    """The length of the longest list in it."""
    inner = row if isinstance(row, list) else [*row.values()] if isinstance(row, dict) else []
    return max([len(inner), *map(longest, inner)])


def test_rows_stay_small_however_many_orders_reserve_an_item_at_a_node() -> None:
    """Whoever takes or restores a snapshot lets others run between two rows."""
    story, orders = Story(), 1_100
    story.node("BOS")
    story.item("A")
    story.receive("BOS", A=orders)
    for number in range(orders):
        story.order(f"o{number}", A=1)
    rows = list(snapshot.rows(story.shard))
    assert len(story.shard.markets["US"].bins["A"]["BOS"].promises) == orders
    assert max(longest(orjson.loads(row)) for row in rows) <= 1_000
