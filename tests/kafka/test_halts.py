"""Halts on real servers: who says so, and what leads on, as `when-a-shard-halts.md` has it."""

import asyncio
import json
import os
import re
import signal
import subprocess
import sys
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from random import Random

import pytest
from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.admin.config_resource import ConfigResource, ConfigResourceType

from events.base import Fact
from events.network import MarketDefined
from orchestrator.compose import create_topics
from orchestrator.core.config import ORIGINS_KEPT
from orchestrator.runtime.halting import Halt, halts
from orchestrator.runtime.intake import INTAKE_TOPICS
from orchestrator.runtime.kafka_log import KafkaLog, KafkaSettings
from orchestrator.runtime.settings import Settings
from orchestrator.runtime.whole import Whole
from schemas import journal
from schemas.cloudevents import emit
from schemas.ports import Checkpoint, Partition, Record
from schemas.topics import TOPIC_DEFAULTS, TOPICS
from schemas.voids import VOIDS
from tests.docs.pages import commands
from tests.kafka.storm import an_order

pytestmark = pytest.mark.slow

PAGE = "docs/how-to/when-a-shard-halts.md"
UNREADABLE = "A journal that can't be read on"
STOP_S = 10  # a clean stop takes no longer, in the middle of anything
ORDERS = Partition("orders", 0)
FORGOTTEN = 3
_PLACE = re.compile(r"[a-z]+/\d+@\d+")


@pytest.fixture
async def log(kafka: str, prefix: str) -> AsyncIterator[KafkaLog]:
    log = await KafkaLog.open(KafkaSettings(kafka, prefix))
    await create_topics(log, Settings(kafka=kafka, prefix=prefix, shards=2))
    yield log
    await log.close()


@pytest.fixture
def environment(kafka: str, prefix: str) -> Mapping[str, str]:
    return environment_of(kafka, prefix)


def environment_of(kafka: str, prefix: str) -> Mapping[str, str]:
    """Settings of the roles."""
    servers = {"KAFKA": kafka, "PREFIX": prefix, "SHARDS": "2", "HTTP": "127.0.0.1:0"}
    return {**os.environ, **{f"HEADRACE_{name}": text for name, text in servers.items()}}


@pytest.fixture
def engine(
    log: KafkaLog,  # noqa: ARG001 - an engine without topics ends at once
    environment: Mapping[str, str],
    tmp_path: Path,
) -> Iterator["subprocess.Popen[bytes]"]:
    with started(environment, tmp_path / "said") as process:
        yield process


@contextmanager
def started(
    environment: Mapping[str, str], said: Path, role: str = "engine"
) -> Iterator["subprocess.Popen[bytes]"]:
    """A role in a process of its own."""
    command = [sys.executable, "-m", "orchestrator.cli", "run", "--roles", role]
    with said.open("wb") as out:
        process = subprocess.Popen(command, env=environment, stderr=out)
    try:
        yield process
    finally:
        if process.poll() is None:
            process.kill()
            process.wait()
        sys.stderr.write(said.read_text())  # pytest shows it where the test fails


async def write(log: KafkaLog, value: bytes) -> None:
    writer = await log.writer()
    await writer.append(Partition("inbox", 0), [Record(None, value)])
    await writer.close()


async def halted(log: KafkaLog, name: str) -> Halt:
    async with asyncio.timeout(60):
        while True:
            halt = (await halts(log, range(2))).get(0)
            if halt is not None and name in halt.input:
                return halt
            await asyncio.sleep(0.2)


async def skip(environment: Mapping[str, str], name: str) -> subprocess.CompletedProcess[str]:
    (words,) = on_the_page("Skip an input", name)
    return await headrace(environment, *words)


def on_the_page(heading: str, place: str = "") -> list[list[str]]:
    """What the page says to type, with this place, and shard 0, where it has its own."""
    return [
        [place if _PLACE.fullmatch(word) else "0" if word == "3" else word for word in words]
        for words in commands(PAGE, heading)
    ]


async def headrace(environment: Mapping[str, str], *words: str) -> subprocess.CompletedProcess[str]:
    return await asyncio.to_thread(
        subprocess.run,
        [sys.executable, "-m", "orchestrator.cli", *words],
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.mark.usefixtures("engine")
async def test_a_foreign_record_in_a_journal_is_passed_over_by_a_persons_word_alone(
    log: KafkaLog, environment: Mapping[str, str], tmp_path: Path
) -> None:
    journal = Partition("journal", 0)
    await until_there(lambda: opened(tmp_path) == 1)
    look, _ = on_the_page(UNREADABLE)
    sound = await headrace(environment, *look)
    assert (sound.returncode, sound.stderr) == (
        1,
        "The journal of shard 0 can be read to its end, and so can its inbox.\n",
    )
    writer = await log.writer()
    place = (await writer.append(journal, [Record(None, b"a test client"), Record(None, b"!")]))[0]
    await writer.close()
    await write(log, b"no JSON")
    await until_there(lambda: "is not a journal record" in said(tmp_path))
    told = await headrace(environment, *look)
    assert told.returncode == 1
    assert f"journal/0@{place}: journal record at offset {place} is not a journal record" in (
        told.stdout
    )
    assert f"2 records from offset {place} on are passed over" in told.stdout
    _, elsewhere = on_the_page(UNREADABLE, "journal/0@99")
    wrong = await headrace(environment, *elsewhere)
    assert wrong.returncode == 1
    assert f"can't be read on at journal/0@{place}, not journal/0@99" in wrong.stderr
    _, say = on_the_page(UNREADABLE, f"journal/0@{place}")
    done = await headrace(environment, *say)
    assert done.returncode == 0, done.stderr
    await until_there(lambda: "inbox record 0 can" in said(tmp_path))  # it reads on
    async with asyncio.timeout(60):
        assert (await skip(environment, "inbox/0@0")).returncode == 0
    verified = await headrace(environment, "verify", "--wait", "0", "--json")
    checks = [one["check"] for one in json.loads(verified.stdout)["findings"]]
    assert set(checks) <= {"behind"}  # nobody relays here


async def test_a_foreign_record_of_the_void_list_is_passed_over_by_a_persons_word_alone(
    log: KafkaLog, environment: Mapping[str, str], tmp_path: Path
) -> None:
    writer = await log.writer()
    at = (await writer.append(VOIDS, [Record(None, b"a test client")])).base_offset
    await writer.close()
    with started(environment, tmp_path / "said"):
        await until_there(lambda: f"headrace shard foreign voids/0@{at}" in said(tmp_path))
        heading = "A void list that somebody else wrote to"
        (elsewhere,) = on_the_page(heading, f"voids/0@{at + 1}")
        wrong = await headrace(environment, *elsewhere)
        assert wrong.returncode == 1
        assert f"voids/0@{at + 1} is no record that" in wrong.stderr
        (no_list,) = on_the_page(heading, "voids/1@0")
        assert (await headrace(environment, *no_list)).returncode == 2
        (say,) = on_the_page(heading, f"voids/0@{at}")
        done = await headrace(environment, *say)
        assert done.returncode == 0, done.stderr
        await until_there(lambda: opened(tmp_path) == 1)


async def test_a_journal_that_its_broker_would_thin_out_is_refused(
    kafka: str, prefix: str, tmp_path: Path
) -> None:
    await topics_with_a_journal(kafka, prefix, {"cleanup.policy": "compact,delete"})
    with started(environment_of(kafka, prefix), tmp_path / "said") as process:
        await until_there(lambda: said(tmp_path).count("halted") == 2)
        assert "the topic journal has cleanup.policy=compact,delete" in said(tmp_path)
        assert "set it to delete" in said(tmp_path)
        process.send_signal(signal.SIGTERM)
        assert await asyncio.to_thread(process.wait, STOP_S) == 1


@pytest.mark.real_kafka("topics are set otherwise")
async def test_a_shard_whose_journal_would_be_shortened_goes_on_by_itself_once_that_is_set_right(
    kafka: str, prefix: str, tmp_path: Path
) -> None:
    await topics_with_a_journal(kafka, prefix, {"retention.ms": "86400000"})
    with started(environment_of(kafka, prefix), tmp_path / "said") as process:
        await until_there(lambda: said(tmp_path).count("halted") == 2)
        assert "the topic journal has retention.ms=86400000" in said(tmp_path)
        assert "set it to -1" in said(tmp_path)
        assert opened(tmp_path) == 0
        await set_topic(kafka, f"{prefix}journal", TOPIC_DEFAULTS | TOPICS["journal"].config)
        await until_there(lambda: opened(tmp_path) == 1)
        process.send_signal(signal.SIGTERM)
        assert await asyncio.to_thread(process.wait, STOP_S) == 0


async def topics_with_a_journal(kafka: str, prefix: str, config: Mapping[str, str]) -> None:
    """All topics, of which the journal is not set as it should be."""
    log = await KafkaLog.open(KafkaSettings(kafka, prefix))
    right = TOPIC_DEFAULTS | TOPICS["journal"].config
    assert await log.create(TOPICS["journal"], 2, {**right, **config}, 1)
    await create_topics(log, Settings(kafka=kafka, prefix=prefix, shards=2))
    await log.close()


async def set_topic(kafka: str, name: str, config: Mapping[str, str]) -> None:
    """Give a topic these settings, and of all others the broker's defaults."""
    admin = AIOKafkaAdminClient(bootstrap_servers=kafka)
    await admin.start()
    topic = ConfigResource(ConfigResourceType.TOPIC, name, dict(config))
    (answer,) = await admin.alter_configs([topic])
    await admin.close()
    assert [one[0] for one in answer.resources] == [0], answer


async def test_a_journal_whose_beginning_was_deleted_is_refused_with_what_leads_on(
    log: KafkaLog, environment: Mapping[str, str], engine: "subprocess.Popen[bytes]", tmp_path: Path
) -> None:
    await until_there(lambda: opened(tmp_path) == 1)
    engine.send_signal(signal.SIGTERM)
    assert await asyncio.to_thread(engine.wait, STOP_S) == 0
    await log.trim(Partition("journal", 0), 1)
    look, _ = on_the_page(UNREADABLE)
    told = await headrace(environment, *look)
    assert told.returncode == 1
    assert "begins at offset 1, and there is no snapshot from behind that" in told.stderr
    with started(environment, tmp_path / "again"):
        await until_there(lambda: "begins at offset 1: its first" in said(tmp_path, "again"))


async def test_a_shard_whose_inbox_lacks_records_goes_on_behind_them_by_a_persons_word(
    log: KafkaLog, environment: Mapping[str, str], engine: "subprocess.Popen[bytes]", tmp_path: Path
) -> None:
    await until_there(lambda: opened(tmp_path) == 1)
    engine.send_signal(signal.SIGTERM)
    assert await asyncio.to_thread(engine.wait, STOP_S) == 0
    for _ in range(3):
        await write(log, b"no JSON")
    await log.trim(Partition("inbox", 0), 2)
    (look,) = on_the_page("An inbox that lacks records")
    told = await headrace(environment, *look, "--json")
    assert told.returncode == 1
    found = json.loads(told.stdout)
    assert "has nothing before offset 2: what stood between is gone" in found["what"]
    assert "goes on at inbox/0@2" in found["then"]
    _, say = on_the_page(UNREADABLE, found["at"])
    done = await headrace(environment, *say)
    assert done.returncode == 0, done.stderr
    with started(environment, tmp_path / "again"):
        await until_there(lambda: "inbox record 2 can" in said(tmp_path, "again"))


def said(at: Path, name: str = "said") -> str:
    return (at / name).read_text()


def opened(at: Path) -> int:
    """How often shard 0 was opened."""
    return len(re.findall(r"\bopen\b.*shard\S*=\S*0", re.sub(r"\x1b\[\d+m", "", said(at))))


async def until_there(true: Callable[[], bool]) -> None:
    async with asyncio.timeout(60):
        while not true():
            await asyncio.sleep(0.2)


async def test_a_halted_shard_is_led_on_by_the_command_and_its_process_exits_with_1(
    log: KafkaLog, environment: Mapping[str, str], engine: "subprocess.Popen[bytes]", tmp_path: Path
) -> None:
    async with asyncio.timeout(60):
        while (await log.bounds(Partition("journal", 0))).next == 0:
            await asyncio.sleep(0.2)
    nothing = await skip(environment, "inbox/0@0")
    assert nothing.returncode == 1
    assert "does not halt" in nothing.stderr
    await write(log, b"no JSON")
    assert "can't be read" in (await halted(log, "inbox/0@0")).what
    wrong = await skip(environment, "inbox/0@7")
    assert wrong.returncode == 1
    assert "halts at inbox/0@0, not at inbox/0@7" in wrong.stderr
    done = await skip(environment, "inbox/0@0")
    assert (done.returncode, done.stdout) == (
        0,
        "Shard 0 passed over inbox/0@0 and goes on.\n",
    ), done.stderr
    await write(log, b"no JSON either")
    await halted(log, "inbox/0@2")
    engine.send_signal(signal.SIGTERM)
    assert await asyncio.to_thread(engine.wait, STOP_S) == 1
    said = (tmp_path / "said").read_text()
    assert said.splitlines()[-1].startswith("shard 0 halted: inbox record 2 can't be read")


async def test_a_new_life_of_a_topic_is_accepted_by_the_command(
    log: KafkaLog, environment: Mapping[str, str]
) -> None:
    (words,) = on_the_page("A topic that was made anew")
    done = await headrace(environment, *words)
    assert done.returncode == 0, done.stderr
    assert [(await log.bounds(Partition("inbox", shard))).next for shard in range(2)] == [1, 1]
    saved = await log.saved("intake", [Partition("orders", number) for number in range(4)])
    assert {kept.offset for kept in saved.values()} == {0}
    assert len(saved) == 4


@pytest.mark.real_kafka("sets the offsets of a group")
@pytest.mark.usefixtures("engine")
async def test_where_offsets_of_intake_were_set_back_no_order_counts_twice_and_the_shard_goes_on(
    log: KafkaLog, environment: Mapping[str, str], tmp_path: Path
) -> None:
    """As the page has it. That the shard never saw the first orders stands for a day gone by."""
    end = FORGOTTEN + ORIGINS_KEPT
    market = MarketDefined(market_id="m0", currency="USD", time_zone="UTC", shard=0)
    await send(log, Partition("network", 0), {"m0": market})
    chance = Random(1)
    orders = [an_order(chance, str(number), markets=1) for number in range(end + 1)]
    await send(log, ORDERS, {one.order_id: one for one in orders[:end]})
    await set_offset(log, FORGOTTEN)
    with started(environment, tmp_path / "intake", "intake") as intake:
        await taken_until(log, end)
        await stop(intake)
    await set_offset(log, 0)
    with started(environment, tmp_path / "again", "intake") as intake:
        assert "offsets were set back" in (await halted(log, "orders/0@0")).what
        await taken_until(log, end)
        await stop(intake)
    await set_offset(log, end)
    for number in range(FORGOTTEN):
        halt = await halted(log, f"orders/0@{number}")
        done = await skip(environment, halt.input[0])
        assert done.returncode == 0, done.stderr
    with started(environment, tmp_path / "at last", "intake") as intake:
        await send(log, ORDERS, {orders[end].order_id: orders[end]})
        async with asyncio.timeout(60):
            while str(end) not in (decided := await decided_anew(log)):
                await asyncio.sleep(0.5)
        await stop(intake)
    assert decided == [str(number) for number in range(FORGOTTEN, end + 1)]


async def send(log: KafkaLog, to: Partition, facts: Mapping[str, Fact]) -> None:
    """Append events, by their ids, as a channel does."""
    records = [
        Record(
            fact.record_key().encode(),
            fact.model_dump_json(exclude_defaults=True).encode(),
            emit(fact.TYPE, id_, "channel", "2026-01-31T12:00:00Z"),
        )
        for id_, fact in facts.items()
    ]
    writer = await log.writer()
    for first in range(0, len(records), 200):
        await writer.append(to, records[first : first + 200])
    await writer.close()


async def set_offset(log: KafkaLog, offset: int) -> None:
    """Where an intake that is stopped goes on in the orders."""
    group = await log.group("intake", INTAKE_TOPICS)
    async with asyncio.timeout(60):
        while ORDERS not in await group.changes(1):
            pass
    await group.save({ORDERS: Checkpoint(offset, "")})
    await group.close()


async def taken_until(log: KafkaLog, end: int) -> None:
    async with asyncio.timeout(60):
        while (await log.saved("intake", [ORDERS]))[ORDERS].offset < end:
            await asyncio.sleep(0.2)


async def stop(process: "subprocess.Popen[bytes]") -> None:
    process.send_signal(signal.SIGTERM)
    assert await asyncio.to_thread(process.wait, STOP_S) == 0


async def decided_anew(log: KafkaLog) -> list[str]:
    """Ids of the orders that shard 0 took for new ones, in turn, up to now."""
    found = list[str]()
    async with Whole(log, Partition("journal", 0)) as reading:
        async for reads in reading:
            for read in reads:
                record = journal.decode(read.value, read.offset)
                for entry in record.entries if isinstance(record, journal.Commit) else ():
                    cause, events = entry["input"], {one["type"] for one in entry["events"]}
                    passed = {"input_repeated", "input_skipped"} & events
                    if cause["type"] == "order_placed" and not passed:
                        found.append(cause["id"])
    return found
