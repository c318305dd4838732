"""What the oracle sees of the roles beside the decisions: the history, the past, the shadow.

All are folds of the journal that went through crashes, snapshots and takeovers; here they are
folded once, without any.
"""

from collections import Counter, defaultdict, deque
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

import orjson

from projections.fold import project
from projections.past import CHANGING, Then, record
from projections.tables import (
    ORDER_CHANGES,
    ORDERS,
    PAST_TABLES,
    STOCK,
    STOCK_BALANCES,
    TABLES,
    Changes,
    Key,
)
from schemas.history import Known, flatten
from schemas.journal import Commit, FilterState
from schemas.ports import Record
from schemas.times import instant_ms
from tests.simulation.database import Store, Tables
from tests.simulation.plan import Fault
from tests.simulation.world import World

Json = dict[str, Any]
_SINCE: Final = 3
"""Columns of the past behind a key: sequence number, entry, shard."""


class History:
    """Each position has one content, and is there before a watermark or a checkpoint says so."""

    def __init__(self, world: World) -> None:
        self._world = world
        shards = range(world.plan.shards)
        self._known = [Known() for _ in shards]
        self._wanted: dict[str, tuple[bytes, Json]] = {}
        self._there: dict[str, bytes | None] = {}
        self._due = [deque[tuple[int, str]]() for _ in shards]
        self._complete_ms = [0 for _ in shards]
        self._clocks_are_right = Fault.CLOCK_JUMPED not in world.plan.rates
        self.count = 0

    def committed(self, shard: int, commit: Commit) -> None:
        """What a valid commit must become. It is not of a time that was told to be complete."""
        known = self._known[shard]
        for number, entry in enumerate(commit.entries):
            for key, said in flatten(known, shard, commit.seq, number, entry):
                value = orjson.loads(orjson.dumps(said))  # its own: the fold goes on
                self._wanted[said["position"]] = (key.encode(), value)
                self._due[shard].append((commit.seq, said["position"]))
        late_ms = self._complete_ms[shard] - known.clock_ms
        if late_ms > 0 and self._clocks_are_right:
            self._world.fail(
                "history", f"commit {commit.seq} of shard {shard} is {late_ms} ms late"
            )

    def landed(self, record: Record) -> None:
        """A record of history, or a watermark."""
        said = orjson.loads(record.value or b"")
        if said["kind"] == "watermark":
            shard, seq = said["shard"], said["seq"]
            if (missing := self.missing(shard, seq)) is not None:
                self._world.fail("history", f"a watermark at {shard}.{seq} without {missing}")
            told_ms = instant_ms(said["complete_until"])
            self._complete_ms[shard] = max(self._complete_ms[shard], told_ms)
            return
        position = said["position"]
        if self._wanted.get(position) != (record.key, said):
            wanted = self._wanted.get(position)
            self._world.fail("history", f"{position} is {said}, not {wanted}")
        if self._there.setdefault(position, record.value) != record.value:
            self._world.fail("history", f"{position} has two contents")
        self.count += 1

    def missing(self, shard: int, seq: int) -> str | None:
        """The first position up to a commit that is not there."""
        return _first_missing(self._due[shard], self._there, seq)


class Shadow:
    """What shadows decide has one content a position, there before a checkpoint says so."""

    def __init__(self, world: World, decides: Callable[[int, Commit], Sequence[Record]]) -> None:
        """`decides`: what is decided beside a shard's next commit."""
        self._world = world
        self._decides = decides
        self._wanted: dict[str, Record] = {}
        self._there: dict[str, None] = {}
        self._due = [deque[tuple[int, str]]() for _ in range(world.plan.shards)]
        self.count = 0

    def committed(self, shard: int, commit: Commit) -> None:
        """A valid commit, beside which something may be decided."""
        for one in self._decides(shard, commit):
            position = dict(one.headers)["ce_id"].decode()
            self._wanted[position] = one
            self._due[shard].append((commit.seq, position))

    def landed(self, record: Record) -> None:
        """What a shadow decided, as the role tells it."""
        position = dict(record.headers)["ce_id"].decode()
        wanted = self._wanted.get(position)
        if wanted is None or (wanted.key, wanted.value) != (record.key, record.value):
            self._world.fail("shadow", f"{position} is {record}, not {wanted}")
        self._there[position] = None
        self.count += 1

    def missing(self, shard: int, seq: int) -> str | None:
        """The first position up to a commit that is not there."""
        return _first_missing(self._due[shard], self._there, seq)


def _first_missing(
    due: deque[tuple[int, str]], there: Mapping[str, object], seq: int
) -> str | None:
    while due and due[0][1] in there:
        due.popleft()
    return due[0][1] if due and due[0][0] <= seq else None


class Past:
    """The rows are those of the fold at their position, and say what the read models say there."""

    def __init__(self, world: World, store: Store) -> None:
        self._world = world
        self._store = store
        self._rows = Tables(PAST_TABLES)
        self._now = Tables()
        self._seq = Counter[int]()
        self._said = defaultdict[Key, list[Json]](list)
        self.count = 0

    def written(
        self,
        shard: int,
        old: FilterState | None,
        new: FilterState,
        changes: Changes,
        commits: Sequence[Commit],
    ) -> None:
        """A transaction of the past committed."""
        if old is not None and new.next <= old.next:
            self._world.fail("past", f"the past of {shard} goes from {old} to {new}")
        if new.seq > len(commits) or (new.seq and commits[new.seq - 1].digest != new.digest):
            self._world.fail("past", f"the past of shard {shard} is at {new}")
            return
        mine, now = Changes(PAST_TABLES), Changes()
        for commit in commits[self._seq[shard] : new.seq]:
            for _ in record(mine, shard, commit):
                pass
            for _ in project(now, shard, commit):
                pass
        self._seq[shard] = new.seq
        self._rows.write(mine)
        self._now.write(now)
        for table, key in self._rows.touched(mine) + self._rows.touched(changes):
            theirs = self._store.tables.rows[table].get(key)
            if theirs != self._rows.rows[table].get(key):
                self._world.fail("past", f"{table} {key} is {theirs}")
        orders: dict[Key, None] = {}
        for row in mine.adds[ORDER_CHANGES.name]:
            order = tuple(row[: ORDERS.key])
            orders[order] = None
            self._said[order].append(orjson.loads(row[-1]))
        for order in orders:
            self._agrees(order)
        newest = {tuple(row[: STOCK.key]): row for row in mine.adds[STOCK_BALANCES.name]}
        for key, row in newest.items():
            there = self._now.rows[STOCK.name][key]
            if row[STOCK.key + _SINCE :] != there[STOCK.key :]:
                self._world.fail("past", f"stock {key} was {row}, not {there}")
        self.count += 1

    def _agrees(self, order: Key) -> None:
        """All changes of an order, one over the other, are its rows as they stand now."""
        then = Then(self._said[order]).rows
        for name, columns in CHANGING.items():
            table = TABLES[name]
            for key, row in self._now.rows[name].items():
                if key[: ORDERS.key] == order:
                    named = dict(zip(table.columns, row, strict=True))
                    mine = {column: _plain(named[column]) for column in columns}
                    told = then[name].get(key[ORDERS.key :], {})
                    theirs = {column: told.get(column) for column in columns}
                    if mine != theirs:
                        self._world.fail("past", f"{name} {key} was {theirs}, not {mine}")

    def unsettled(self, shard: int, seq: int) -> str | None:
        """How far it is where it isn't at the end, or None."""
        kept = self._store.checkpoints.get(shard)
        if seq and (kept is None or kept.seq < seq):
            return f"the past of shard {shard} is at {kept}, not at {seq}"
        return None

    def close(self) -> None:
        """It has every row, and no other."""
        for name, rows in self._rows.rows.items():
            if rows != self._store.tables.rows[name]:
                self._world.fail("past", f"{name} is not the fold of the journal")


def _plain(value: Any) -> Any:  # noqa: ANN401 - a column's
    if isinstance(value, str) and value[:1] == "[":
        return orjson.loads(value)
    return value
