"""Three brokers, of which some are killed."""

import asyncio
from collections.abc import AsyncIterator

import psycopg
import pytest

from orchestrator.compose import create_topics
from orchestrator.runtime.kafka_log import KafkaLog, KafkaSettings
from orchestrator.runtime.settings import Settings
from schemas.ports import Partition, Record
from tests.servers.killable import Cluster, Server

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
