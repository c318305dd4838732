"""`headrace state`: what was true then, at any commit and any moment."""

import asyncio
import json
from collections.abc import Mapping

import pytest

from events.decided import InputRecord
from orchestrator.commands.unread import read_each
from orchestrator.compose import a_core
from orchestrator.core.decide import fold
from orchestrator.core.shard import Shard
from orchestrator.past import Until, order_then, past, stock_then, summary_then
from orchestrator.runtime.kafka_log import KafkaLog, KafkaSettings
from orchestrator.runtime.memory_log import MemoryLog, MemoryReader
from orchestrator.runtime.settings import Settings
from orchestrator.runtime.snapshots import Snapshots
from orchestrator.runtime.world import SystemClock, SystemRandomness
from schemas.journal import Commit, Entry, FilterState, JournalError, decode, step
from schemas.ports import Partition, Record
from tests.commands.test_read_side import headrace, inside
from tests.core.story import Story, plain
from tests.projections.test_from_the_core import journal, told

JOURNAL = Partition("journal", 0)


@pytest.fixture(scope="module")
def story() -> Story:
    return told()


@pytest.fixture
def log(story: Story) -> MemoryLog:
    log = MemoryLog(SystemClock(), {"journal": 1})
    log.write(JOURNAL, [Record(None, value) for value in journal(story.entries, 3)])
    return log


def folded(entries: list[Entry]) -> Shard:
    shard = Shard(0)
    for entry in entries:
        fold(shard, entry)
    return shard


def parsed(story: Story) -> list[Entry]:
    return [json.loads(entry) for entry in story.entries]


async def test_after_any_commit_the_state_is_the_fold_up_to_it(
    story: Story, log: MemoryLog
) -> None:
    entries = parsed(story)
    for seq in (0, 1, 7, 20, 10_000):
        found = await past(log, 0, Until(seq=seq))
        assert plain(found.shard) == plain(folded(entries[: 3 * seq]))
        assert found.seq == min(seq, -(-len(entries) // 3))


def is_tick(cause: InputRecord) -> bool:
    return "origin" not in cause


async def test_at_any_moment_all_that_happened_by_then_is_in_and_nothing_else(
    story: Story, log: MemoryLog
) -> None:
    entries = parsed(story)
    ticks = sorted({one["input"]["time_ms"] for one in entries if is_tick(one["input"])})
    assert len(ticks) > 1
    for moment in (0, *ticks, *(tick - 1 for tick in ticks), ticks[-1] + 10**9):
        count = next(
            (
                number
                for number, one in enumerate(entries)
                if is_tick(one["input"]) and one["input"]["time_ms"] > moment
            ),
            len(entries),
        )
        found = await past(log, 0, Until(time_ms=moment))
        assert plain(found.shard) == plain(folded(entries[:count])), moment


async def test_an_order_an_item_and_all_of_it_then(story: Story, log: MemoryLog) -> None:
    market = story.shard.markets["US"]
    now = await past(log, 0, Until(seq=10_000))
    (order,) = order_then(now.shard, "web/2")
    assert order["status"] == story.the_order("2").status()
    assert [line["quantity"] for line in order["lines"]] == [6, 3]
    assert [one["node_id"] for one in order["fulfillments"]] == [
        one.node_id for one in story.the_order("2").fulfillments
    ]
    assert order_then(now.shard, "web/none") == []
    rows = {one["node_id"]: one for one in stock_then(now.shard, "MUG")}
    assert rows["LAX"]["on_hand"] == market.bins["MUG"]["LAX"].on_hand
    summary = summary_then(now.shard)
    assert sum(summary["orders"].values()) == len(market.orders) + len(market.retired)
    before = await past(log, 0, Until(seq=1))
    assert order_then(before.shard, "web/2") == []
    assert summary_then(before.shard)["units"] == {}


async def test_an_order_that_left_memory_is_told_by_its_status() -> None:
    story = told()
    story.at(40 * 86_400)
    log = MemoryLog(SystemClock(), {"journal": 1})
    log.write(JOURNAL, [Record(None, value) for value in journal(story.entries, 3)])
    now = await past(log, 0, Until(seq=10_000))
    assert story.shard.markets["US"].retired
    key = next(iter(story.shard.markets["US"].retired))
    (order,) = order_then(now.shard, key)
    assert order["closed"] is True
    assert order["status"] in {"refused", "cancelled", "delivered"}


async def test_a_journal_that_contradicts_itself_is_said(log: MemoryLog) -> None:
    records = log.held(JOURNAL).records
    records[5] = records[5]._replace(value=b"{}")
    with pytest.raises(JournalError, match="offset 5"):
        await past(log, 0, Until(seq=10))


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("MUG", "--at", "yesterday"), "--at: must be a time such as"),
        (("MUG", "--at", "9:1"), "--at: there are the shards 0 to 3"),
        (("--at", "0:1"), "Name an order or a sku"),
        (("MUG", "--summary", "--at", "0:1"), "Name an order or a sku"),
    ],
)
def test_wrong_usage_is_said(words: tuple[str, ...], said: str) -> None:
    done = inside("state", *words, kafka="127.0.0.1:1")
    assert done.returncode == 2
    assert done.stderr.startswith(said)


async def _write(kafka: str, prefix: str, values: list[bytes], to: Partition = JOURNAL) -> None:
    log = await KafkaLog.open(KafkaSettings(kafka, prefix))
    writer = await log.writer()
    await writer.append(to, [Record(None, value) for value in values])
    await writer.close()
    await log.close()


def test_is_asked_on_a_real_broker(kafka: str, prefix: str, story: Story) -> None:
    servers = {"kafka": kafka, "prefix": prefix, "shards": "1", "replication": "1"}
    assert headrace("topics", "create", **servers).returncode == 0
    asyncio.run(_write(kafka, prefix, journal(story.entries, 3)))
    shown = headrace("state", "web/2", "--at", "0:9999", **servers)
    assert shown.returncode == 0, shown.stderr
    assert f"web/2 in US: {story.the_order('2').status()}" in shown.stdout
    asked = headrace("state", "MUG", "--at", "2099-01-01T00:00:00Z", "--json", **servers)
    rows = {one["node_id"]: one for one in json.loads(asked.stdout)["found"]}
    assert rows["LAX"]["on_hand"] == story.shard.markets["US"].bins["MUG"]["LAX"].on_hand
    whole = headrace("state", "--summary", "--at", "0:9999", **servers)
    assert "units_backordered" in whole.stdout
    nothing = headrace("state", "web/2", "--at", "0:0", **servers)
    assert (nothing.returncode, nothing.stderr) == (1, "There was nothing of web/2 then.\n")


async def test_where_no_shard_can_be_read_the_first_one_s_reason_is_told(log: MemoryLog) -> None:
    async def read(shard: int) -> None:
        await past(log, 0, Until(seq=5 + 5 * shard))

    assert await read_each(range(2), read) == []
    records = log.held(JOURNAL).records
    records[8] = records[8]._replace(value=b"{}")
    (unread,) = await read_each(range(2), read)
    assert (unread.shard, "offset 8" in unread.why) == (1, True)
    records[3] = records[3]._replace(value=b"{}")
    with pytest.raises(JournalError, match="offset 3"):
        await read_each(range(2), read)


def test_shards_that_can_not_be_read_are_named_and_the_others_answer(
    kafka: str, prefix: str, story: Story
) -> None:
    servers = {"kafka": kafka, "prefix": prefix, "shards": "2", "replication": "1"}
    assert headrace("topics", "create", **servers).returncode == 0
    asyncio.run(_write(kafka, prefix, journal(story.entries, 3)))
    asyncio.run(_write(kafka, prefix, [b"no journal"], JOURNAL._replace(number=1)))
    said = "Nothing of shard 1 is in this, it can't be read: journal record at offset 0 is not"
    at, since = ("--at", "2099-01-01T00:00:00Z"), ("--from", "2020-01-01T00:00:00Z")
    for words in (("state", "web/2", *at), ("diff", "web/2", *since)):
        shown = headrace(*words, **servers)
        assert (shown.returncode, "allocated" in shown.stdout) == (3, True), shown.stderr
        assert shown.stderr.startswith(said)
        told = json.loads(headrace(*words, "--json", **servers).stdout)
        assert [one["shard"] for one in told["positions"]] == [0]
        assert [one["shard"] for one in told["unread"]] == [1]
    nothing = headrace("state", "web/9", *at, **servers)
    assert nothing.stderr.startswith(f"There was nothing of web/9 then.\n{said}")
    assert nothing.returncode == 3
    whole = headrace("state", "web/2", "--at", "0:9999", **servers)
    assert whole.returncode == 0, "shard 1 isn't asked"
    alone = headrace("diff", "web/2", "--from", "1:0", **servers)
    assert (alone.returncode, alone.stdout) == (3, "")


async def test_a_snapshot_made_while_the_clock_stood_still_is_not_from_before() -> None:
    form = a_core(Settings()).snapshots
    assert form is not None
    story = Story()
    story.node("BOS")
    story.item("MUG")
    before_ms = story.now_ms
    story.at(3600)
    for _ in range(30):  # the machine's clock was set back: commits without a tick
        story.receive("BOS", MUG=1)
    log, state = Counting(), FilterState()
    for offset, value in enumerate(journal(story.entries, 1)):
        log.write(JOURNAL, [Record(None, value)])
        state, _ = step(state, offset, decode(value, offset))
    snapshots = Snapshots(0, log=log, clock=SystemClock(), randomness=SystemRandomness(), form=form)
    await snapshots.write(story.shard, state)
    found = await past(log, 0, Until(time_ms=before_ms), form=form)
    assert stock_then(found.shard, "MUG") == []
    now = await past(log, 0, Until(time_ms=story.now_ms), form=form)
    assert [one["on_hand"] for one in stock_then(now.shard, "MUG")] == [30]


class Counting(MemoryLog):
    """Tells from which journal offsets on it was read."""

    def __init__(self) -> None:
        super().__init__(SystemClock(), {"journal": 1, "snapshots": 1})
        self.begun: list[int] = []

    async def reader(self, at: Mapping[Partition, int | None]) -> MemoryReader:
        self.begun += [offset or 0 for one, offset in at.items() if one == JOURNAL]
        return await super().reader(at)


async def test_the_nearest_snapshot_before_then_is_begun_from(story: Story) -> None:
    form = a_core(Settings()).snapshots
    assert form is not None
    log, entries, values = Counting(), parsed(story), journal(story.entries, 3)
    snapshots = Snapshots(0, log=log, clock=SystemClock(), randomness=SystemRandomness(), form=form)
    state, ticks = FilterState(), dict[int, int]()
    for offset, value in enumerate(values):
        log.write(JOURNAL, [Record(None, value)])
        record = decode(value, offset)
        state, _ = step(state, offset, record)
        if isinstance(record, Commit):
            causes = [one["input"] for one in entries[: 3 * record.seq]]
            ticks[record.seq] = max(one["time_ms"] for one in causes if is_tick(one))
            if record.seq in {5, 12}:
                await snapshots.write(folded(entries[: 3 * record.seq]), state)
    for seq, begins in ((4, 0), (5, 6), (8, 6), (12, 13), (10_000, 13)):
        log.begun.clear()
        found = await past(log, 0, Until(seq=seq), form=form)
        assert max(log.begun, default=begins) == begins, seq
        assert summary_then(found.shard) == summary_then(folded(entries[: 3 * seq]))
    later = await past(log, 0, Until(time_ms=ticks[12]), form=form)
    plainly = await past(log, 0, Until(time_ms=ticks[12]))
    assert later.seq == plainly.seq
    assert summary_then(later.shard) == summary_then(plainly.shard)
    early = await past(log, 0, Until(time_ms=ticks[5] - 1), form=form)
    assert early.seq == (await past(log, 0, Until(time_ms=ticks[5] - 1))).seq
