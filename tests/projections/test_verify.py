"""`headrace verify`: sound logs and read models pass, and each way of being wrong is found."""

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping
from typing import Any

import orjson
import psycopg
import pytest

from orchestrator.commands.verify import Report, verify_all
from orchestrator.compose import a_core, partitions_of
from orchestrator.core.decide import fold
from orchestrator.core.invariants import violations
from orchestrator.core.shard import Shard
from orchestrator.runtime.memory_log import MemoryLog, MemoryReader
from orchestrator.runtime.publisher import Ports
from orchestrator.runtime.relay import Relay
from orchestrator.runtime.settings import Settings, SetupError
from orchestrator.runtime.snapshots import Snapshots
from orchestrator.runtime.world import SystemClock, SystemRandomness
from projections.past import PAST
from projections.postgres import Postgres
from schemas.journal import (
    Commit,
    FilterState,
    decode,
    digest_of,
    encode_opened,
    step,
)
from schemas.ports import Checkpoint, Partition, Read, Record
from schemas.topics import TOPICS
from tests.core.story import Story
from tests.projections.conftest import SCHEMA
from tests.projections.test_from_the_core import journal, told, write
from tests.runtime.fakes import until

JOURNAL = Partition("journal", 0)


@pytest.fixture(scope="module")
def story() -> Story:
    return told()


class Trimmed(MemoryReader):
    """Reads record by record of topics from which retention takes two with each."""

    def take(self, max_records: int) -> dict[Partition, list[Read]]:
        if not any(one.topic in RETAINED for one in self._at):
            return super().take(max_records)
        found = super().take(1)
        for partition in found:
            held = self._log.held(partition)
            held.first += len(held.records[:2])
            del held.records[:2]
        return found


RETAINED = {"order-updates", "fulfillment-commands", "exceptions"}


class RetainingLog(MemoryLog):
    """Retention takes from it while it is read, once told to."""

    retains = False

    async def reader(self, at: Mapping[Partition, int | None]) -> MemoryReader:
        return Trimmed(self, at) if self.retains else await super().reader(at)


class World:
    """A log, a relay's outputs and read models, all made from one journal."""

    def __init__(
        self, story: Story, settings: Settings, database: Postgres, past: Postgres
    ) -> None:
        self.values = journal(story.entries, 3)
        self.settings = settings
        self.database = database
        self.past = past
        self.log = self.a_log()

    def a_log(self) -> RetainingLog:
        numbers = {name: partitions_of(one, self.settings) for name, one in TOPICS.items()}
        log = RetainingLog(SystemClock(), numbers)
        log.write(JOURNAL, [Record(None, value) for value in self.values])
        return log

    async def make(self) -> None:
        """Publish and project all of it."""
        await self.relay()
        await write(self.database, self.values, 2)
        await write(self.past, self.values, 3, PAST)

    async def relay(self) -> None:
        stop, group = asyncio.Event(), await self.log.group("relay", ["journal"])
        ports = Ports(self.log, group, SystemClock(), SystemRandomness())
        role = Relay(ports, takeover_s=60)
        running = asyncio.create_task(role.run(stop))
        await until(lambda: role.states() == {0: "open"})
        stop.set()  # it ends what it has read
        await running
        saved = await self.log.saved("relay", [JOURNAL])
        assert saved[JOURNAL].offset == len(self.values)

    async def verified(self, *, recompute: bool = False, begin: str | None = None) -> Report:
        report = Report()
        await verify_all(
            self.log, self.settings, report, begin=begin, recompute=recompute, wait_s=0
        )
        return report

    async def snapshot(self, commits: int, *, with_what_follows: bool = False) -> None:
        """Write a snapshot after so many commits; or one that is wrong."""
        form = a_core(self.settings).snapshots
        assert form is not None
        shard, state = Shard(0), FilterState()
        for offset, value in enumerate(self.values):
            record = decode(value, offset)
            if offset > commits and not with_what_follows:
                break
            if offset <= commits:
                state, _ = step(state, offset, record)
            for entry in record.entries if isinstance(record, Commit) else ():
                fold(shard, entry)
        await Snapshots(
            0, log=self.log, clock=SystemClock(), randomness=SystemRandomness(), form=form
        ).write(shard, state)

    async def found(self, *, recompute: bool = False) -> list[str]:
        return [
            f"{one.check}: {one.where}: {one.what}"
            for one in (await self.verified(recompute=recompute)).findings.shown()
        ]

    def held(self, topic: str) -> int:
        """How many records a topic has."""
        numbers = range(partitions_of(TOPICS[topic], self.settings))
        return sum(len(self.log.held(Partition(topic, number)).records) for number in numbers)

    def change_journal(self, change: Callable[[dict[str, Any]], None], seq: int) -> None:
        """Write a commit otherwise, and chain what follows to it."""
        commits = [orjson.loads(value) for value in self.values]
        change(commits[seq])
        prev = ""
        for number, commit in enumerate(commits[1:], 1):
            commit["prev"] = prev
            self.values[number] = orjson.dumps(commit)
            prev = digest_of(self.values[number])
        self.log = self.a_log()


@pytest.fixture
async def world(story: Story, postgres: str, database: Postgres) -> AsyncIterator[World]:
    settings = Settings(postgres=postgres, db_schema=SCHEMA, shards=1, partitions=2)
    past = Postgres(postgres, f"{SCHEMA}_past")
    world = World(story, settings, database, past)
    await world.make()
    yield world
    await past.close()


async def test_a_sound_whole_has_nothing_found_and_says_what_was_compared(world: World) -> None:
    report = await world.verified(recompute=True)
    assert list(report.findings.shown()) == []
    assert report.notes == []
    (shard,) = report.shards
    assert shard.records == len(world.values)
    assert shard.inputs == shard.recomputed > 50
    assert report.tables is not None
    assert {one.table for one in report.tables if one.live.rows} >= {
        *("orders", "lines", "stock"),
        *("order_changes", "stock_balances", "node_versions", "ticks"),
    }
    assert all(one.live == one.rebuilt for one in report.tables)
    topics = ("order-updates", "fulfillment-commands", "availability", "exceptions")
    assert report.published_records == sum(map(world.held, topics)) > 20
    assert report.as_object()["ok"] is True


async def test_the_schema_it_compares_with_is_gone_afterwards(
    world: World, admin: psycopg.AsyncConnection
) -> None:
    await world.verified()
    found = await admin.execute("SELECT to_regnamespace(%s)", (f"{SCHEMA}_verify",))
    assert await found.fetchone() == (None,)


@pytest.mark.parametrize(
    ("statement", "words"),
    [
        ("UPDATE stock SET on_hand = on_hand + 1 WHERE sku = 'MUG' AND node_id = 'BOS'", "differs"),
        ("DELETE FROM lines WHERE order_id = '1' AND line_id = '1'", "web/1/US/1 is missing"),
        ("INSERT INTO markets VALUES ('ZZ', '{}')", "ZZ should not be there"),
        ("DELETE FROM readmodels_past.stock_balances WHERE seq = 4", "is missing"),
    ],
)
async def test_rows_that_no_journal_makes_are_found_with_their_keys(
    world: World, admin: psycopg.AsyncConnection, statement: str, words: str
) -> None:
    await admin.execute(statement.encode())
    (found,) = await world.found()
    assert found.startswith("past: " if "_past" in statement else "read models: ")
    assert words in found


async def test_a_past_that_nobody_keeps_is_no_finding(
    world: World, admin: psycopg.AsyncConnection
) -> None:
    await admin.execute(f"TRUNCATE {SCHEMA}_past.shards".encode())
    report = await world.verified()
    assert list(report.findings.shown()) == []
    assert report.notes == ["The past was not compared: none is kept (role `past`)."]


async def _resave(world: World, offset: int) -> None:
    """The relay's checkpoint as a broker has it that keeps no metadata."""
    relay = await world.log.group("relay", ["journal"])
    await relay.changes(0)
    await relay.save({JOURNAL: Checkpoint(offset, "")})
    await relay.close()


async def test_a_broker_that_keeps_no_metadata_is_no_finding_and_said(world: World) -> None:
    await _resave(world, len(world.values))
    report = await world.verified()
    assert list(report.findings.shown()) == []
    (note,) = report.notes
    assert note.startswith("The broker keeps no metadata with offsets")
    await _resave(world, len(world.values) - 2)
    (found,) = await world.found()
    assert "the relay has still 2 records to read" in found


async def test_a_truncated_tail_is_found_by_the_checkpoints_beyond_it(world: World) -> None:
    history = await world.log.group("history", ["journal"])
    await history.changes(0)
    await history.save(await world.log.saved("relay", [JOURNAL]))
    await history.close()
    del world.log.held(JOURNAL).records[-2:]
    found = await world.found()
    assert [one.partition(": ")[0] for one in found if "PostgreSQL" in one] == [
        "checkpoint",  # of the read models, of the past
        "checkpoint",
    ]
    assert [one.partition(": ")[0] for one in found if "the relay" in one] == ["checkpoint"]
    assert [one.partition(": ")[0] for one in found if "the history" in one] == ["checkpoint"]
    assert all("stands behind the end of the journal" in one for one in found[:2])


async def test_a_tail_that_was_lost_and_written_on_is_found(world: World) -> None:
    records = world.log.held(JOURNAL).records
    del records[-1:]
    world.log.write(JOURNAL, [Record(None, encode_opened("engine-2", "n1"))])
    found = await world.found()
    assert [one for one in found if "followed another history" in one][:2] == found[:2]


async def test_a_journal_made_anew_under_its_name_is_found(world: World) -> None:
    world.log.held(JOURNAL).records.clear()
    world.log.write(JOURNAL, [Record(None, encode_opened("engine-1", "other"))])
    found = await world.found()
    assert sum("is of another journal (n0)" in one for one in found) == 3


async def test_an_older_backup_of_the_database_is_found(
    world: World, admin: psycopg.AsyncConnection
) -> None:
    await admin.execute("DELETE FROM shards")
    found = await world.found()
    assert [one for one in found if one.startswith("behind: journal/0@0: PostgreSQL")]


async def test_a_journal_whose_beginning_is_gone_is_found(world: World) -> None:
    await world.log.trim(JOURNAL, 3)
    found = await world.found()
    assert found[0].startswith("journal: journal/0@0: its first 3 records are gone")


async def test_a_record_that_contradicts_the_chain_is_found_with_its_offset(world: World) -> None:
    records = world.log.held(JOURNAL).records
    records[4] = records[4]._replace(value=(records[4].value or b"").replace(b"BOS", b"CHI", 1))
    found = await world.found()
    assert any("commit 5 at offset 5 was decided on another history" in one for one in found)


def _unbalanced(commit: dict[str, Any]) -> None:
    for entry in commit["entries"]:
        for event in entry["events"]:
            if event["type"] == "stock_moved":
                event["delta"][0] += 1
                return
    raise AssertionError("no stock moved")


async def test_an_entry_that_contradicts_the_state_is_found(world: World) -> None:
    seq = next(n for n, value in enumerate(world.values) if b"stock_moved" in value)
    world.change_journal(_unbalanced, seq)
    found = await world.found()
    assert any(one.startswith(f"fold: 0.{seq}.") for one in found)


def _otherwise(commit: dict[str, Any]) -> None:
    for entry in commit["entries"]:
        for event in entry["events"]:
            if event["type"] == "availability_changed":
                event["as_of"] = "2020-01-01T00:00:00.000Z"
                return
    raise AssertionError("no availability was told")


async def test_what_todays_code_would_decide_otherwise_is_listed_once_for_each_decision(
    world: World,
) -> None:
    seqs = [n for n, value in enumerate(world.values) if b"availability_changed" in value]
    for seq in seqs[:2]:
        world.change_journal(_otherwise, seq)
    assert not [one for one in await world.found() if one.startswith("recompute")]
    found = [one for one in await world.found(recompute=True) if one.startswith("recompute")]
    assert len(found) == 2, "a difference is no reason for others after it"
    assert all("availability_changed, differs in as_of" in one for one in found)


async def test_snapshots_equal_the_fold_at_their_positions(world: World) -> None:
    await world.snapshot(5)
    await world.snapshot(12)
    report = await world.verified(recompute=True)
    assert list(report.findings.shown()) == []
    assert report.shards[0].snapshots == 2


async def test_a_snapshot_that_holds_something_else_is_found(world: World) -> None:
    await world.snapshot(5, with_what_follows=True)
    (found,) = await world.found()
    assert found.startswith("snapshot: snapshots/0@")
    assert "differs from the fold at commit 5" in found


async def test_a_torn_snapshot_is_no_finding_since_openers_pass_it_over(world: World) -> None:
    await world.snapshot(5)
    records = world.log.held(Partition("snapshots", 0)).records
    records[0] = records[0]._replace(value=b"[]")
    report = await world.verified()
    assert report.ok
    assert report.shards[0].snapshots_passed_over == 1


@pytest.mark.parametrize("begin", ["newest", "0.12"])
async def test_verifying_from_a_snapshot_reads_what_follows_it(world: World, begin: str) -> None:
    await world.snapshot(5)
    await world.snapshot(12)
    report = await world.verified(begin=begin, recompute=True)
    assert list(report.findings.shown()) == []
    assert report.shards[0].commits == len(world.values) - 1 - 12
    assert report.tables is None
    assert "a rebuild takes the whole journal" in report.notes[0]


async def test_a_snapshot_that_is_not_there_is_said(world: World) -> None:
    with pytest.raises(SetupError, match="--from: shard 0 has no snapshot newest"):
        await world.verified(begin="newest")


async def test_published_events_that_differ_are_missing_or_do_not_follow_are_found(
    world: World,
) -> None:
    changed = world.log.held(Partition("order-updates", 0)).records
    to = Partition("order-updates", 1)
    twice, lost = world.log.held(to).records[:2]
    changed[0] = changed[0]._replace(value=b"{}")
    id_ = dict(lost.headers)["ce_id"].decode()
    world.log.held(to).records.remove(lost)
    world.log.write(to, [Record(twice.key, twice.value, twice.headers)])  # the same again: fine
    headers = [(n, b"0.1.0.77" if n == "ce_id" else raw) for n, raw in twice.headers]
    world.log.write(to, [Record(twice.key, twice.value, headers)])
    found = [one for one in await world.found() if one.startswith("published")]
    assert len(found) == 3
    assert any("has another content than the journal gives it" in one for one in found)
    assert any("0.1.0.77 does not follow from the journal" in one for one in found)
    assert any(f"published: {id_}: is missing from order-updates" in one for one in found)


async def test_what_retention_removes_while_verifying_is_neither_missed_nor_an_error(
    world: World,
) -> None:
    before = world.held("order-updates")
    world.log.retains = True
    report = await world.verified()
    assert list(report.findings.shown()) == []
    assert world.held("order-updates") < before
    assert report.published_records > 10


async def test_what_retention_removed_from_a_public_topic_is_not_missed(world: World) -> None:
    for number in range(2):
        partition = Partition("order-updates", number)
        await world.log.trim(partition, (await world.log.bounds(partition)).next // 2)
    assert await world.found() == []


async def test_a_wrong_number_of_partitions_is_said_before_anything_is_read(world: World) -> None:
    world.settings = world.settings.model_copy(update={"shards": 2})
    with pytest.raises(SetupError, match="HEADRACE_SHARDS=1"):
        await world.verified()


def test_each_broken_law_of_a_state_is_told() -> None:
    def broken(change: Callable[[Shard], object]) -> list[str]:
        shard = told().shard
        assert list(violations(shard)) == []
        change(shard)
        return list(violations(shard))

    def market(shard: Shard) -> Any:  # noqa: ANN401 - to be broken
        return shard.markets["US"]

    def line(shard: Shard) -> Any:  # noqa: ANN401 - the same
        order = next(one for one in market(shard).orders.values() if one.fulfillments)
        return order.fulfillments[0].lines[0]

    changes: Mapping[str, Callable[[Shard], object]] = {
        "on hand are not": lambda one: setattr(market(one).bins["MUG"]["BOS"], "on_hand", 99),
        "are reserved": lambda one: market(one).bins["MUG"]["BOS"].reserve(1),
        "nodes hold": lambda one: setattr(line(one), "reserved", 50),
        "are available": lambda one: market(one).available.update(MUG=12345),
        "wait, not": lambda one: market(one).backordered.update(MUG=12345),
        "orders are open": lambda one: setattr(one, "orders_open", 77),
    }
    for words, change in changes.items():
        assert any(words in one for one in broken(change)), words
