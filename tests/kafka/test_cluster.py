"""Three brokers, of which some are killed."""

import asyncio
import os
import shutil
from collections.abc import AsyncIterator
from pathlib import Path

import psycopg
import pytest

from orchestrator.compose import create_topics
from orchestrator.runtime.kafka_log import KafkaLog, KafkaSettings
from orchestrator.runtime.settings import Settings
from schemas.ports import Partition, Record
from tests.kafka.storm import PAUSED, SHORT_GAP_S, VICTIMS, Storm
from tests.servers.killable import Cluster, Server

KILLS = int(os.environ.get("HEADRACE_TEST_KILLS", "20"))
SEED = int(os.environ.get("HEADRACE_TEST_SEED", "1"))
RATE = 500 if "HEADRACE_TEST_LONG" in os.environ else 100
"""Orders a second: in `make test` others need the cores as well."""

pytestmark = [pytest.mark.slow, pytest.mark.real_kafka("is a cluster of its own")]


@pytest.fixture
async def log(cluster: Cluster, prefix: str) -> AsyncIterator[KafkaLog]:
    settings = Settings(kafka=cluster.bootstrap, prefix=prefix, shards=1, partitions=1)
    log = await KafkaLog.open(KafkaSettings(cluster.bootstrap, prefix))
    await create_topics(log, settings)
    yield log
    await log.close()


async def test_what_was_acknowledged_outlives_the_broker_that_led(
    cluster: Cluster, log: KafkaLog, prefix: str
) -> None:
    journal = Partition("journal", 0)
    writer = await log.writer()
    await writer.append(journal, [Record(None, b"before")])
    leader = await cluster.leader(f"{prefix}journal", 0)
    await asyncio.to_thread(leader.kill)
    appended = await writer.append(journal, [Record(None, b"after")])
    await asyncio.to_thread(leader.start)
    await writer.close()
    assert appended.base_offset == 1


async def test_a_broker_whose_disk_is_lost_copies_all_of_it_from_the_others(
    cluster: Cluster, log: KafkaLog, prefix: str
) -> None:
    journal, topic = Partition("journal", 0), f"{prefix}journal"
    writer = await log.writer()
    await writer.append(journal, [Record(None, b"kept")])
    lost = await cluster.leader(topic, 0)
    await asyncio.to_thread(lost.kill)
    for entry in lost.directory.iterdir():
        shutil.rmtree(entry) if entry.is_dir() else entry.unlink()
    await asyncio.to_thread(lost.start)
    async with asyncio.timeout(60):
        while await cluster.in_sync(topic, 0) < 3:
            await asyncio.sleep(0.2)
    other = await cluster.leader(topic, 0)
    assert other is not lost
    await asyncio.to_thread(other.kill)
    await writer.append(journal, [Record(None, b"new")])  # two have it: the one that was empty too
    await writer.close()
    reader = await log.reader({journal: None})
    values: list[bytes | None] = []
    async with asyncio.timeout(60):
        while len(values) < 2:
            values += [one.value for one in (await reader.read(10, 500)).get(journal, ())]
    await reader.close()
    await asyncio.to_thread(other.start)
    assert values == [b"kept", b"new"]


async def test_readers_of_a_broker_that_is_gone_are_closed_as_others_are(
    cluster: Cluster, log: KafkaLog, prefix: str
) -> None:
    inbox = Partition("inbox", 0)
    readers = [await log.reader({inbox: None}) for _ in range(5)]
    for reader in readers:
        await reader.read(1, 10)
    leader = await cluster.leader(f"{prefix}inbox", 0)
    await asyncio.to_thread(leader.kill)
    for reader in readers:
        await asyncio.sleep(0.15)  # a fetch failed by then, and waits to be tried again
        await reader.close()
    await asyncio.to_thread(leader.start)


def test_postgres_killed_with_all_its_processes_has_its_data(mortal_postgres: Server) -> None:
    with psycopg.connect(mortal_postgres.address, autocommit=True) as one:
        one.execute("SET synchronous_commit = on")
        one.execute("CREATE TABLE kept AS SELECT 1 AS n")
    address = mortal_postgres.address
    mortal_postgres.kill()
    mortal_postgres.start()
    assert mortal_postgres.address == address
    with psycopg.connect(address) as one:
        assert one.execute("SELECT n FROM kept").fetchone() == (1,)


async def test_nothing_is_lost_twice_or_oversold_while_all_are_killed_in_turn(
    cluster: Cluster, mortal_postgres: Server, tmp_path: Path
) -> None:
    storm = Storm(
        cluster, mortal_postgres, tmp_path, seed=SEED, kills=KILLS, rate=RATE, gap_s=SHORT_GAP_S
    )
    try:
        outcome = await storm.run()
    except BaseException as error:
        again = f"--short --rate {RATE} --seed {SEED} --kills {KILLS}"
        error.add_note(f"python -m tests.kafka.storm {again}")
        raise
    assert outcome.kills.total() == KILLS
    assert set(outcome.kills) == set(VICTIMS)
    assert set(outcome.pauses) == set(PAUSED)
