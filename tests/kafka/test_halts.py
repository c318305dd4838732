"""Halts on real servers: who says so, and what leads on."""

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

import pytest
from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.admin.config_resource import ConfigResource, ConfigResourceType

from orchestrator.compose import create_topics
from orchestrator.runtime.halting import Halt, halts
from orchestrator.runtime.kafka_log import KafkaLog, KafkaSettings
from orchestrator.runtime.settings import Settings
from schemas.ports import Partition, Record
from schemas.topics import TOPIC_DEFAULTS, TOPICS
from schemas.voids import VOIDS

pytestmark = pytest.mark.slow


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
def started(environment: Mapping[str, str], said: Path) -> Iterator["subprocess.Popen[bytes]"]:
    """An engine in a process of its own."""
    command = [sys.executable, "-m", "orchestrator.cli", "run", "--roles", "engine"]
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
    return await headrace(
        environment, "shard", "skip", "0", "--input", name, "--reason", "defect 7", "--by", "ada"
    )


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
    sound = await headrace(environment, "shard", "void", "0")
    assert (sound.returncode, sound.stderr) == (
        1,
        "The journal of shard 0 can be read to its end, and so can its inbox.\n",
    )
    writer = await log.writer()
    place = (await writer.append(journal, [Record(None, b"a test client"), Record(None, b"!")]))[0]
    await writer.close()
    await write(log, b"no JSON")
    await until_there(lambda: "is not a journal record" in said(tmp_path))
    told = await headrace(environment, "shard", "void", "0")
    assert told.returncode == 1
    assert f"journal/0@{place}: journal record at offset {place} is not a journal record" in (
        told.stdout
    )
    assert f"2 records from offset {place} on are passed over" in told.stdout
    who = ("--reason", "a test client", "--by", "ada")
    wrong = await headrace(environment, "shard", "void", "0", "--at", "journal/0@99", *who)
    assert wrong.returncode == 1
    assert f"can't be read on at journal/0@{place}, not journal/0@99" in wrong.stderr
    done = await headrace(environment, "shard", "void", "0", "--at", f"journal/0@{place}", *who)
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
        who = ("--reason", "a test client", "--by", "ada")
        wrong = await headrace(environment, "shard", "foreign", f"voids/0@{at + 1}", *who)
        assert wrong.returncode == 1
        assert f"voids/0@{at + 1} is no record that" in wrong.stderr
        nowhere = await headrace(environment, "shard", "foreign", "voids/1@0", *who)
        assert nowhere.returncode == 2
        done = await headrace(environment, "shard", "foreign", f"voids/0@{at}", *who)
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
        assert await asyncio.to_thread(process.wait, 12) == 1


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
        assert await asyncio.to_thread(process.wait, 12) == 0


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
    assert await asyncio.to_thread(engine.wait, 12) == 0
    await log.trim(Partition("journal", 0), 1)
    told = await headrace(environment, "shard", "void", "0")
    assert told.returncode == 1
    assert "begins at offset 1, and there is no snapshot from behind that" in told.stderr
    with started(environment, tmp_path / "again"):
        await until_there(lambda: "begins at offset 1: its first" in said(tmp_path, "again"))


async def test_a_shard_whose_inbox_lacks_records_goes_on_behind_them_by_a_persons_word(
    log: KafkaLog, environment: Mapping[str, str], engine: "subprocess.Popen[bytes]", tmp_path: Path
) -> None:
    await until_there(lambda: opened(tmp_path) == 1)
    engine.send_signal(signal.SIGTERM)
    assert await asyncio.to_thread(engine.wait, 12) == 0
    for _ in range(3):
        await write(log, b"no JSON")
    await log.trim(Partition("inbox", 0), 2)
    told = await headrace(environment, "shard", "void", "0", "--json")
    assert told.returncode == 1
    found = json.loads(told.stdout)
    assert "has nothing before offset 2: what stood between is gone" in found["what"]
    assert "goes on at inbox/0@2" in found["then"]
    who = ("--reason", "a retention", "--by", "ada")
    done = await headrace(environment, "shard", "void", "0", "--at", found["at"], *who)
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
    assert await asyncio.to_thread(engine.wait, 12) == 1
    said = (tmp_path / "said").read_text()
    assert said.splitlines()[-1].startswith("shard 0 halted: inbox record 2 can't be read")


async def test_a_new_life_of_a_topic_is_accepted_by_the_command(
    log: KafkaLog, environment: Mapping[str, str]
) -> None:
    words = ["topics", "accept", "orders", "--reason", "restored", "--by", "ada"]
    done = await asyncio.to_thread(
        subprocess.run,
        [sys.executable, "-m", "orchestrator.cli", *words],
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert [(await log.bounds(Partition("inbox", shard))).next for shard in range(2)] == [1, 1]
    saved = await log.saved("intake", [Partition("orders", number) for number in range(4)])
    assert {kept.offset for kept in saved.values()} == {0}
    assert len(saved) == 4
