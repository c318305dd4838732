"""One suite over every EventLog and its groups: memory, the simulator's, Apache Kafka, Tansu."""

import asyncio
import gc
import time
from collections.abc import AsyncIterator, Callable

import pytest

from orchestrator.runtime.kafka_log import KafkaLog, KafkaSettings
from orchestrator.runtime.memory_log import MemoryLog
from orchestrator.runtime.whole import Whole
from orchestrator.runtime.world import SystemClock
from schemas.ports import (
    MAX_METADATA_BYTES,
    Checkpoint,
    EventLog,
    Group,
    LogError,
    OutOfRange,
    Partition,
    Read,
    Reader,
    Record,
    Refused,
)
from schemas.topics import TOPIC_DEFAULTS, TOPICS
from tests import servers
from tests.contract.real_time import RealTime
from tests.simulation.broker import Broker, SimLog
from tests.simulation.world import SimHost

INBOX = Partition("inbox", 0)
OTHER = Partition("inbox", 1)
SHARDS = 4
TOPICS_HERE = {"inbox": SHARDS, "availability": 1}
_SERVERS = [pytest.param(name, marks=pytest.mark.slow) for name in ("kafka", "tansu")]


@pytest.fixture(params=["memory", "simulation", *_SERVERS])
async def log(request: pytest.FixtureRequest, prefix: str) -> AsyncIterator[EventLog]:
    if request.param == "memory":
        yield MemoryLog(SystemClock(), TOPICS_HERE)
        return
    if request.param == "simulation":
        yield SimLog(Broker(RealTime(), TOPICS_HERE), SimHost("host", 1))
        return
    address: str = request.getfixturevalue(request.param)
    wait_ms = 10 if request.param == "tansu" else 500
    kafka = await KafkaLog.open(
        KafkaSettings(address, prefix, fetch_wait_ms=wait_ms, pace_ms=50, request_timeout_s=10)
    )
    for name, partitions in TOPICS_HERE.items():
        topic = TOPICS[name]
        assert await kafka.create(topic, partitions, TOPIC_DEFAULTS | topic.config, 1)
    yield kafka
    await kafka.close()


def _records(*values: str) -> list[Record]:
    return [Record(None, value.encode()) for value in values]


async def _append(log: EventLog, to: Partition, *values: str) -> int:
    writer = await log.writer()
    try:
        return (await writer.append(to, _records(*values))).base_offset
    finally:
        await writer.close()


async def _read(reader: Reader, count: int, partition: Partition = INBOX) -> list[Read]:
    """`count` records of a partition, within 10 s."""
    read: list[Read] = []
    deadline = time.monotonic() + 10
    while len(read) < count:
        assert time.monotonic() < deadline, f"read {len(read)} of {count}"
        read += (await reader.read(100, 200)).get(partition, [])
    return read


async def _read_on(reader: Reader, seconds: float) -> None:
    async with asyncio.timeout(seconds):
        while True:
            await reader.read(1, 200)


async def _until(
    group: Group, wanted: Callable[[frozenset[Partition]], bool]
) -> frozenset[Partition]:
    deadline = time.monotonic() + 30
    while not wanted(assigned := await group.changes(0.2)):
        assert time.monotonic() < deadline, assigned
    return assigned


async def test_reads_what_was_appended_in_order_with_offsets_and_headers(log: EventLog) -> None:
    writer = await log.writer()
    first = await writer.append(INBOX, _records("a", "b"))
    second = await writer.append(INBOX, [Record(b"k", b"c", [("h", b"1"), ("h", b"2")])])
    reader = await log.reader({INBOX: None})
    read = await _read(reader, 3)
    assert [(one.offset, one.value) for one in read] == [(0, b"a"), (1, b"b"), (2, b"c")]
    assert (first.base_offset, second.base_offset) == (0, 2)
    assert (read[2].key, list(read[2].headers)) == (b"k", [("h", b"1"), ("h", b"2")])
    await reader.close()
    await writer.close()


async def test_a_records_time_is_when_the_log_took_it(log: EventLog) -> None:
    before = SystemClock().now_ms()
    await _append(log, INBOX, "a")
    reader = await log.reader({INBOX: None})
    (read,) = await _read(reader, 1)
    assert before - 5_000 < read.timestamp_ms < SystemClock().now_ms() + 5_000
    await reader.close()


async def test_a_reader_starts_where_it_is_told(log: EventLog) -> None:
    await _append(log, INBOX, "a", "b", "c", "d")
    reader = await log.reader({INBOX: 2})
    assert [one.offset for one in await _read(reader, 2)] == [2, 3]
    await reader.close()


async def test_an_empty_read_returns_after_the_wait_and_knows_the_end(log: EventLog) -> None:
    await _append(log, INBOX, "a", "b")
    reader = await log.reader({INBOX: 2})
    deadline = time.monotonic() + 10
    while reader.high_water(INBOX) is None:
        assert time.monotonic() < deadline
        assert await reader.read(10, 100) == {}
    assert reader.high_water(INBOX) == 2
    await reader.close()


async def test_a_waiting_reader_wakes_when_a_record_arrives(log: EventLog) -> None:
    reader = await log.reader({INBOX: None})
    await reader.read(1, 300)
    waiting = asyncio.create_task(reader.read(1, 9_000))
    started = time.monotonic()
    await _append(log, INBOX, "a")
    assert [one.value for one in (await waiting)[INBOX]] == [b"a"]
    assert time.monotonic() - started < 5
    await reader.close()


async def test_at_most_so_many_records_and_the_rest_next_time(log: EventLog) -> None:
    await _append(log, INBOX, *"abcde")
    reader = await log.reader({INBOX: None})
    read: list[int] = []
    deadline = time.monotonic() + 10
    while len(read) < 5:
        assert time.monotonic() < deadline
        some = (await reader.read(2, 200)).get(INBOX, [])
        assert len(some) <= 2
        read += [one.offset for one in some]
    assert read == [0, 1, 2, 3, 4]
    await reader.close()


async def test_partitions_are_added_removed_paused_and_resumed_without_losing_the_place(
    log: EventLog,
) -> None:
    await _append(log, INBOX, "a", "b")
    await _append(log, OTHER, "x")
    reader = await log.reader({INBOX: None})
    await _read(reader, 2)
    reader.add(OTHER, None)
    reader.pause([INBOX])
    await _append(log, INBOX, "c")
    assert [one.value for one in await _read(reader, 1, OTHER)] == [b"x"]
    assert await reader.read(10, 300) == {}
    reader.resume([INBOX])
    reader.remove(OTHER)
    await _append(log, OTHER, "y")
    assert [one.value for one in await _read(reader, 1)] == [b"c"]
    assert await reader.read(10, 300) == {}
    await reader.close()


async def test_a_reader_that_gathers_reads_everything_in_order(log: EventLog) -> None:
    reader = await log.reader({INBOX: None})
    reader.gather()

    async def trickle() -> None:
        for number in range(20):
            await _append(log, INBOX, str(number))

    trickling = asyncio.create_task(trickle())
    await _append(log, OTHER, "x")
    read: dict[Partition, list[bytes | None]] = {INBOX: []}
    async with asyncio.timeout(20):
        while len(read[INBOX]) < 20 or not read[OTHER]:
            for partition, some in (await reader.read(100, 200)).items():
                read[partition] += [one.value for one in some]
            if len(read[INBOX]) >= 5 and OTHER not in read:
                read[OTHER] = []
                reader.add(OTHER, 0)  # while it may rest
    assert read == {INBOX: [b"%d" % number for number in range(20)], OTHER: [b"x"]}
    await trickling
    await reader.close()


async def test_reading_beyond_the_end_halts(log: EventLog) -> None:
    await _append(log, INBOX, "a")
    reader = await log.reader({INBOX: 7})
    with pytest.raises(OutOfRange, match="7"):  # where the broker doesn't say so itself, later
        await _read_on(reader, 30)
    await reader.close()


@pytest.mark.parametrize("log", _SERVERS, indirect=True)
async def test_whoever_asks_for_bounds_again_and_again_leaves_nothing_behind(
    log: EventLog,
) -> None:
    def clients() -> int:
        return sum(str(type(one)).startswith("<class 'aiokafka.") for one in gc.get_objects())

    async def ask(times: int) -> None:
        for _ in range(times):
            both = await asyncio.gather(log.bounds(INBOX), log.bounds(OTHER))
            assert [one.next for one in both] == [2, 0]

    await _append(log, INBOX, "a")
    assert await log.bounds(INBOX) == (0, 1)
    await _append(log, INBOX, "b")
    await ask(1)
    gc.collect()
    gc.disable()  # as good as in processes that hold a shard
    try:
        before = clients()
        await ask(5)
        assert clients() - before < 100, "a consumer is some 20"
    finally:
        gc.enable()


async def test_bounds_tell_the_first_and_the_next_offset(log: EventLog) -> None:
    assert await log.bounds(INBOX) == (0, 0)
    await _append(log, INBOX, *"abc")
    assert await log.bounds(INBOX) == (0, 3)


async def test_trimmed_records_are_gone_and_reading_them_halts(
    log: EventLog, request: pytest.FixtureRequest
) -> None:
    if "tansu" in request.node.name:
        pytest.skip("Tansu can't delete records: it drops the connection")
    await _append(log, INBOX, *"abc")
    await log.trim(INBOX, 2)
    assert await log.bounds(INBOX) == (2, 3)
    reader = await log.reader({INBOX: 0})
    with pytest.raises(OutOfRange):
        await _read(reader, 1)
    await reader.close()
    reader = await log.reader({INBOX: None})
    assert [one.value for one in await _read(reader, 1)] == [b"c"]
    await reader.close()


async def test_trimming_beyond_the_end_is_an_error(log: EventLog) -> None:
    with pytest.raises(LogError):
        await log.trim(INBOX, 5)


async def test_a_second_append_before_the_first_is_acknowledged_is_a_mistake(log: EventLog) -> None:
    writer = await log.writer()
    first = asyncio.create_task(writer.append(INBOX, _records("a")))
    await asyncio.sleep(0)
    with pytest.raises(RuntimeError, match="before the first was acknowledged"):
        await writer.append(INBOX, _records("b"))
    assert (await first).base_offset == 0
    await writer.close()


async def test_partitions_are_written_side_by_side(log: EventLog) -> None:
    writer = await log.writer()
    both = await asyncio.gather(
        writer.append(INBOX, _records("a")), writer.append(OTHER, _records("b"))
    )
    assert [one.base_offset for one in both] == [0, 0]
    await writer.close()


async def test_what_does_not_fit_is_refused_and_nothing_of_it_is_there(log: EventLog) -> None:
    writer = await log.writer()
    with pytest.raises(Refused):
        await writer.append(INBOX, _records(*(["x" * 900_000] * 5)))
    await writer.close()
    assert (await log.bounds(INBOX)).next == 0


async def test_a_closed_writer_sends_nothing(log: EventLog) -> None:
    writer = await log.writer()
    await writer.close()
    with pytest.raises(Refused):
        await writer.append(INBOX, _records("a"))
    assert (await log.bounds(INBOX)).next == 0


async def test_a_commit_of_the_largest_size_goes_through(log: EventLog) -> None:
    await _append(log, INBOX, "x" * 800_000)
    reader = await log.reader({INBOX: None})
    (read,) = await _read(reader, 1)
    assert len(read.value or b"") == 800_000
    await reader.close()


async def test_topics_are_described_without_the_prefix(log: EventLog) -> None:
    async with asyncio.timeout(10):
        while len(topics := await log.describe()) < 2:  # a broker tells of a new topic a bit later
            await asyncio.sleep(0.05)
    assert topics["inbox"].partitions == SHARDS
    assert topics["inbox"].config["cleanup.policy"] == "delete"
    assert topics["availability"].partitions == 1
    assert "orders" not in topics


async def test_a_member_alone_gets_every_partition_and_two_share_them(log: EventLog) -> None:
    one = await log.group("engine", ["inbox"])
    assert await _until(one, lambda got: len(got) == SHARDS) == {
        Partition("inbox", n) for n in range(SHARDS)
    }
    two = await log.group("engine", ["inbox"])
    first, second = await asyncio.gather(
        _until(one, lambda got: len(got) == 2), _until(two, lambda got: len(got) == 2)
    )
    assert not first & second
    await one.close()
    assert len(await _until(two, lambda got: len(got) == SHARDS)) == SHARDS
    await two.close()


async def test_the_newest_checkpoint_is_kept(log: EventLog) -> None:
    group = await log.group("relay", ["inbox"])
    await _until(group, lambda got: len(got) == SHARDS)
    assert await group.load([INBOX]) == {}
    await group.save({INBOX: Checkpoint(3, ""), OTHER: Checkpoint(1, "")})
    await group.save({INBOX: Checkpoint(4, "")})
    assert await group.load([INBOX, OTHER, Partition("inbox", 2)]) == {
        INBOX: Checkpoint(4, ""),
        OTHER: Checkpoint(1, ""),
    }
    await group.close()


async def test_a_checkpoint_keeps_its_metadata(
    log: EventLog, request: pytest.FixtureRequest
) -> None:
    if "tansu" in request.node.name:
        pytest.skip("Tansu drops the metadata of offsets; the relay then refolds its filter")
    group = await log.group("relay", ["inbox"])
    await _until(group, lambda got: len(got) == SHARDS)
    await group.save({INBOX: Checkpoint(4, '{"seq": 8}')})
    assert await group.load([INBOX]) == {INBOX: Checkpoint(4, '{"seq": 8}')}
    assert await log.saved("relay", [INBOX, OTHER]) == {INBOX: Checkpoint(4, '{"seq": 8}')}
    await group.close()


async def test_metadata_has_a_limit(log: EventLog, request: pytest.FixtureRequest) -> None:
    if "tansu" in request.node.name:
        pytest.skip("Tansu drops the metadata of offsets, however long")
    group = await log.group("relay", ["inbox"])
    await _until(group, lambda got: len(got) == SHARDS)
    most = Checkpoint(4, "x" * MAX_METADATA_BYTES)
    await group.save({INBOX: most})
    with pytest.raises(LogError):
        await group.save({INBOX: Checkpoint(5, most.metadata + "x")})
    assert await group.load([INBOX]) == {INBOX: most}
    await group.close()


@pytest.mark.slow
@pytest.mark.real_kafka("what its groups rest on is made when they are first asked for")
async def test_nothing_is_saved_on_a_broker_that_never_had_a_group(prefix: str) -> None:
    with servers.run(servers.choose()) as fresh:
        kafka = await KafkaLog.open(KafkaSettings(fresh, prefix, request_timeout_s=60))
        topic = TOPICS["inbox"]
        await kafka.create(topic, SHARDS, TOPIC_DEFAULTS | topic.config, 1)
        assert await kafka.saved("nobody", [INBOX, OTHER]) == {}
        await kafka.close()


async def test_a_partition_that_ends_with_a_transactions_marker_is_read_to_its_end(
    log: EventLog, request: pytest.FixtureRequest
) -> None:
    if not isinstance(log, KafkaLog) or "tansu" in request.node.name:
        pytest.skip("no marker takes an offset there")
    await (await log.group("relay", ["inbox"])).close()  # the coordinator is there
    writer = await log.transactional("relay")
    await writer.begin()
    marked = Partition("availability", 0)
    await writer.append(marked, [Record(b"k", b"a"), Record(b"l", b"b")])
    await writer.commit("relay", {OTHER: Checkpoint(0, "")})
    await writer.close()
    async with asyncio.timeout(10):  # the marker comes after the answer to the commit
        while (await log.bounds(marked)).next < 3:
            await asyncio.sleep(0.01)
    async with asyncio.timeout(10), Whole(log, marked) as reading:
        assert [one.value for some in [some async for some in reading] for one in some] == [
            b"a",
            b"b",
        ]


async def test_a_partition_full_of_records_leaves_others_their_turn(log: EventLog) -> None:
    many = 5_000
    for to in (INBOX, OTHER):  # both are full: which of them the client has first, is chance
        for _ in range(many // 1_000):
            await _append(log, to, *(str(n) for n in range(1_000)))
    reader = await log.reader({INBOX: 0, OTHER: 0})
    given, ahead = {INBOX: 0, OTHER: 0}, 0
    async with asyncio.timeout(20):
        while sum(given.values()) < 2 * many:
            for partition, records in (await reader.read(100, 200)).items():
                given[partition] += len(records)
            if not all(given.values()):
                ahead = max(given.values())
    assert ahead < many // 2
    await reader.close()


async def test_an_assignment_is_told_by_its_number_too(log: EventLog) -> None:
    one = await log.group("relay", ["inbox"])
    await _until(one, lambda got: len(got) == SHARDS)
    before = one.generation
    await one.changes(0)
    assert one.generation == before, "nothing changed"
    two = await log.group("relay", ["inbox"])
    await _until(one, lambda got: len(got) < SHARDS)
    await two.close()
    await _until(one, lambda got: len(got) == SHARDS)
    assert one.generation > before + 1, "as before, but not all the while"
    await one.close()


async def test_a_member_cannot_save_what_is_not_its_own(log: EventLog) -> None:
    one = await log.group("relay", ["inbox"])
    two = await log.group("relay", ["inbox"])
    await asyncio.gather(
        _until(one, lambda got: len(got) == 2), _until(two, lambda got: len(got) == 2)
    )
    (foreign, *_) = await two.changes(0)
    with pytest.raises(LogError):
        await one.save({foreign: Checkpoint(1, "")})
    await one.close()
    await two.close()


async def test_a_member_that_was_not_told_of_a_change_cannot_save(log: EventLog) -> None:
    if isinstance(log, KafkaLog):
        pytest.skip("Kafka tells a member when it likes: it may know already")
    one = await log.group("relay", ["inbox"])
    mine = await _until(one, lambda got: len(got) == SHARDS)
    two = await log.group("relay", ["inbox"])
    await _until(two, lambda got: len(got) == 2)
    kept = {partition: Checkpoint(1, "") for partition in mine}
    with pytest.raises(LogError):
        await one.save(kept)
    still = await _until(one, lambda got: len(got) == 2)
    await one.save({partition: Checkpoint(1, "") for partition in still})
    await one.close()
    await two.close()
