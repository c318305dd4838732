"""The role over the memory log and a real PostgreSQL, and over a store with bad days."""

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from typing import Any

import psycopg
import pytest
from structlog.testing import capture_logs

from orchestrator.runtime.memory_log import MemoryLog
from orchestrator.runtime.world import SystemClock
from projections.fold import READ_MODELS, Model
from projections.metrics import OF
from projections.postgres import Postgres
from projections.projector import PROJECTOR_TOPICS, Batch, Projector, batches
from projections.rebuild import rebuild
from projections.tables import TABLES, Changes
from schemas.journal import Commit, FilterState, encode_opened
from schemas.ports import Database, DatabaseError, MembershipEnded, Partition
from tests.projections import journals as given
from tests.projections.conftest import SCHEMA, rows
from tests.runtime.fakes import Ending

DEADLINE_S = 20


@pytest.fixture
def log() -> MemoryLog:
    return MemoryLog(SystemClock(), {"journal": 2})


@asynccontextmanager
async def projecting(
    log: MemoryLog, database: Database, model: Model = READ_MODELS
) -> AsyncIterator[Projector]:
    stop = asyncio.Event()
    group = await log.group("projector", PROJECTOR_TOPICS)
    role = Projector(log, group, database, SystemClock(), pace_s=0.001, model=model)
    running = asyncio.create_task(role.run(stop))
    try:
        yield role
    finally:
        stop.set()
        async with asyncio.timeout(DEADLINE_S):
            await running
        await group.close()


async def until(database: Database, shard: int, seq: int) -> FilterState:
    async with asyncio.timeout(DEADLINE_S):
        while True:
            state = await database.checkpoint(shard)
            if state is not None and state.seq >= seq:
                return state
            await asyncio.sleep(0.005)


async def dump(admin: psycopg.AsyncConnection) -> dict[str, list[Any]]:
    return {name: await rows(admin, name) for name in (*TABLES, "shards")}


async def test_follows_the_journals_of_all_assigned_shards(
    log: MemoryLog, postgres: str, database: Postgres, admin: psycopg.AsyncConnection
) -> None:
    given.write(log, 0, given.journal(given.day()))
    given.write(log, 1, given.journal([[given.item("MUG")]]))
    reader = Postgres(postgres, SCHEMA)
    async with projecting(log, database):
        await until(reader, 0, len(given.day()))
        await until(reader, 1, 1)
    await reader.close()
    assert len(await rows(admin, "items")) == 3  # every shard keeps its own


async def test_two_projectors_of_one_shard_write_each_row_once(
    log: MemoryLog, postgres: str, admin: psycopg.AsyncConnection
) -> None:
    other_log = MemoryLog(SystemClock(), {"journal": 2})  # another group: both believe it is theirs
    values = given.journal(given.day())
    stores = [Postgres(postgres, SCHEMA) for _ in range(3)]
    async with projecting(log, stores[0]), projecting(other_log, stores[1]):
        for value in values:
            given.write(log, 0, [value])
            given.write(other_log, 0, [value])
            await asyncio.sleep(0)
        await until(stores[2], 0, len(given.day()))
    for store in stores:
        await store.close()
    timeline = await rows(admin, "timeline")
    assert len(timeline) == len(set(timeline)) > 0


class Overtaken:
    """A store that somebody else has written a part to just before the first write."""

    def __init__(self, store: Postgres, before: Batch) -> None:
        self.store = store
        self.before: Batch | None = before

    async def checkpoint(self, shard: int) -> FilterState | None:
        return await self.store.checkpoint(shard)

    async def apply(
        self, shard: int, expected: FilterState | None, new: FilterState, changes: Changes
    ) -> bool:
        if self.before is not None:
            assert await self.store.apply(shard, expected, self.before.state, self.before.changes)
            self.before = None
        return await self.store.apply(shard, expected, new, changes)

    async def let_go(self, shard: int) -> None:
        await self.store.let_go(shard)


async def test_who_finds_another_checkpoint_reads_it_again_and_goes_on_from_there(
    log: MemoryLog, postgres: str, database: Postgres, admin: psycopg.AsyncConnection
) -> None:
    given.write(log, 0, given.journal(given.day()))
    begun = [*batches(0, FilterState(), log.held(Partition("journal", 0)).records[:3])][-1]
    assert begun is not None
    reader = Postgres(postgres, SCHEMA)
    async with projecting(log, Overtaken(database, begun)):
        await until(reader, 0, len(given.day()))
    await reader.close()
    timeline = await rows(admin, "timeline")
    assert len(timeline) == len(set(timeline)) > 0


class BadDays:
    """A store that fails now and then, before or after the commit."""

    def __init__(self, store: Postgres) -> None:
        self.store = store
        self.calls = 0

    async def checkpoint(self, shard: int) -> FilterState | None:
        return await self.store.checkpoint(shard)

    async def apply(
        self, shard: int, expected: FilterState | None, new: FilterState, changes: Changes
    ) -> bool:
        self.calls += 1
        if self.calls % 3 == 1:
            raise DatabaseError("lost before the commit")
        done = await self.store.apply(shard, expected, new, changes)
        if self.calls % 3 == 2:
            raise DatabaseError("committed, but nobody said so")
        return done

    async def let_go(self, shard: int) -> None:
        await self.store.let_go(shard)


class Impatient(SystemClock):
    """Retries at once."""

    async def sleep(self, seconds: float) -> None:
        await asyncio.sleep(min(seconds, 0.001))


async def test_failures_of_known_and_unknown_outcome_change_nothing_in_the_end(
    log: MemoryLog, postgres: str, database: Postgres, admin: psycopg.AsyncConnection
) -> None:
    values = given.journal(given.day())
    stop = asyncio.Event()
    group = await log.group("projector", PROJECTOR_TOPICS)
    bad = BadDays(database)
    role = Projector(log, group, bad, Impatient(), pace_s=0)
    running = asyncio.create_task(role.run(stop))
    reader = Postgres(postgres, SCHEMA)
    for seq, value in enumerate(values):
        given.write(log, 0, [value])
        if seq:
            await until(reader, 0, seq)
    stop.set()
    await running
    after = await dump(admin)
    assert bad.calls > len(values)
    await rebuild(log, postgres, SCHEMA, 1)
    assert await dump(admin) == after
    await reader.close()


async def test_a_journal_that_contradicts_itself_halts_its_shard_only(
    log: MemoryLog, postgres: str, database: Postgres
) -> None:
    values = given.journal(given.day())
    given.write(log, 0, [values[0], values[2]])  # a gap
    reader = Postgres(postgres, SCHEMA)
    async with projecting(log, database):
        async with asyncio.timeout(DEADLINE_S):
            while OF["read models"].halted.labels("0")._value.get() != 1:
                await asyncio.sleep(0.005)
        given.write(log, 1, values)
        await until(reader, 1, len(given.day()))
    assert await reader.checkpoint(0) is None
    await reader.close()


async def test_rebuild_equals_incremental(
    log: MemoryLog, postgres: str, database: Postgres, admin: psycopg.AsyncConnection
) -> None:
    values = given.journal(given.day())
    reader = Postgres(postgres, SCHEMA)
    async with projecting(log, database):
        for seq, value in enumerate(values):
            given.write(log, 0, [value])
            if seq:
                await until(reader, 0, seq)
        given.write(log, 0, [values[3], encode_opened("engine-2", "n1"), values[4]])  # all void
        async with asyncio.timeout(DEADLINE_S):
            while (await until(reader, 0, 1)).next < len(values) + 3:
                await asyncio.sleep(0.005)
    before = await dump(admin)
    told: list[tuple[int, int, int]] = []
    assert await rebuild(log, postgres, SCHEMA, 2, lambda *it: told.append(it)) > 0
    assert await dump(admin) == before
    assert told[-1] == (0, len(values) + 3, len(values) + 3)
    await reader.close()


async def test_projectors_and_readers_go_on_through_a_rebuild(
    log: MemoryLog, postgres: str, database: Postgres, admin: psycopg.AsyncConnection
) -> None:
    values = given.journal(given.day())
    given.write(log, 0, values[:5])
    reader = Postgres(postgres, SCHEMA)
    async with projecting(log, database):
        await until(reader, 0, 4)
        await rebuild(log, postgres, SCHEMA, 2)
        given.write(log, 0, values[5:])
        await until(reader, 0, len(given.day()))
    live = await dump(admin)
    await rebuild(log, postgres, SCHEMA, 2)
    assert await dump(admin) == live
    left = await admin.execute("SELECT nspname FROM pg_namespace WHERE nspname ~ %s", (SCHEMA,))
    assert {name for (name,) in await left.fetchall()} == {SCHEMA, f"{SCHEMA}_past"}
    await reader.close()


async def test_a_rebuild_that_fails_leaves_the_old_read_models(
    log: MemoryLog, postgres: str, database: Postgres, admin: psycopg.AsyncConnection
) -> None:
    values = given.journal(given.day())
    given.write(log, 0, values)
    reader = Postgres(postgres, SCHEMA)
    async with projecting(log, database):
        await until(reader, 0, len(given.day()))
    before = await dump(admin)
    given.write(log, 0, [b"no journal record"])
    with pytest.raises(Exception, match="not a journal record"):
        await rebuild(log, postgres, SCHEMA, 2)
    assert await dump(admin) == before
    await reader.close()


class Memory:
    """A store of checkpoints alone; away, where the test says so."""

    def __init__(self) -> None:
        self.away = False
        self._kept: dict[int, FilterState] = {}

    async def checkpoint(self, shard: int) -> FilterState | None:
        if self.away:
            raise DatabaseError("away")
        return self._kept.get(shard)

    async def apply(
        self, shard: int, expected: FilterState | None, new: FilterState, _changes: Changes
    ) -> bool:
        if self._kept.get(shard) != expected:
            return False
        self._kept[shard] = new
        return True

    async def let_go(self, shard: int) -> None:
        """Nothing is held."""


async def states(role: Projector, wanted: dict[int, str]) -> None:
    async with asyncio.timeout(DEADLINE_S):
        while role.states() != wanted:
            await asyncio.sleep(0.005)


async def test_the_role_says_which_shards_are_open_and_which_halted(log: MemoryLog) -> None:
    store = Memory()
    store.away = True
    values = given.journal(given.day())
    async with projecting(log, store) as role:
        await states(role, {0: "pausing", 1: "pausing"})
        store.away = False
        await states(role, {0: "open", 1: "open"})
        given.write(log, 0, [values[0], values[2]])  # a gap
        await states(role, {0: "halted", 1: "open"})


async def test_a_defect_halts_its_shard_and_nothing_else(log: MemoryLog) -> None:
    values = given.journal(given.day())
    for shard in (0, 1):
        given.write(log, shard, values)

    def fails_in_the_first(changes: Changes, shard: int, commit: Commit) -> Iterator[int]:
        if not shard:
            raise ZeroDivisionError("a defect")
        return READ_MODELS.project(changes, shard, commit)

    store = Memory()
    model = READ_MODELS._replace(project=fails_in_the_first)
    with capture_logs() as logs:
        async with projecting(log, store, model) as role:
            await states(role, {0: "halted", 1: "open"})
            await until(store, 1, len(given.day()))
            assert OF["read models"].halted.labels("0")._value.get() == 1
    (line,) = [one for one in logs if one["log_level"] == "error"]
    assert line["shard"] == 0
    assert await store.checkpoint(0) is None


async def test_a_shard_that_another_process_was_given_keeps_no_connection_here(
    log: MemoryLog, database: Postgres, admin: psycopg.AsyncConnection
) -> None:
    async def connected() -> list[str]:
        found = await admin.execute(
            "SELECT application_name FROM pg_stat_activity"
            " WHERE application_name ~ '^headrace projector' ORDER BY 1"
        )
        return [name for (name,) in await found.fetchall()]

    async with projecting(log, database) as role:
        await states(role, {0: "open", 1: "open"})
        assert await connected() == ["headrace projector 0", "headrace projector 1"]
        other = await log.group("projector", PROJECTOR_TOPICS)
        (theirs,) = await other.changes(0)
        async with asyncio.timeout(DEADLINE_S):
            while await connected() != [f"headrace projector {1 - theirs.number}"]:
                await asyncio.sleep(0.01)
        await states(role, {1 - theirs.number: "open"})
        await other.close()


async def test_a_membership_that_has_ended_ends_the_role_and_what_is_under_way_is_finished(
    log: MemoryLog,
) -> None:
    given.write(log, 0, given.journal(given.day()))
    store, group = Memory(), Ending(await log.group("projector", PROJECTOR_TOPICS))
    role = Projector(log, group, store, SystemClock(), pace_s=0)
    running = asyncio.create_task(role.run(asyncio.Event()))
    await until(store, 0, len(given.day()))
    group.ended = True
    async with asyncio.timeout(DEADLINE_S):
        with pytest.raises(MembershipEnded, match="told so"):
            await running


class Counting(SystemClock):
    """Tells how often somebody paused for a second, which takes no time."""

    def __init__(self) -> None:
        self.pauses = 0

    async def sleep(self, seconds: float) -> None:
        self.pauses += seconds >= 1
        await asyncio.sleep(min(seconds, 0.001))


class Contested(Memory):
    """A store in which another projector of the shard is always first."""

    async def apply(
        self, _shard: int, _expected: FilterState | None, _new: FilterState, _changes: Changes
    ) -> bool:
        return False


async def test_who_is_overtaken_pauses_before_it_begins_anew(log: MemoryLog) -> None:
    given.write(log, 0, given.journal(given.day()))
    clock, stop = Counting(), asyncio.Event()
    group = await log.group("projector", PROJECTOR_TOPICS)
    raced = OF["read models"].reloads.labels("0", "raced")._value
    before = raced.get()
    role = Projector(log, group, Contested(), clock, pace_s=0)
    running = asyncio.create_task(role.run(stop))
    async with asyncio.timeout(DEADLINE_S):
        while raced.get() < before + 5:
            await asyncio.sleep(0.001)
    assert clock.pauses >= 4
    stop.set()
    await running
