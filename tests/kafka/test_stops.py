"""Stopping while the servers hang."""

import signal
import time
from pathlib import Path

import psycopg
import pytest

from orchestrator.compose import create_topics
from orchestrator.runtime.kafka_log import KafkaLog, KafkaSettings
from orchestrator.runtime.settings import Settings
from projections import schema
from schemas.ports import Partition, Record
from tests.kafka.roles import Processes
from tests.kafka.storm import SCHEMA
from tests.servers.killable import Cluster, Server

pytestmark = [pytest.mark.slow, pytest.mark.real_kafka("is a cluster of its own")]

READY = 200


async def test_all_roles_stop_in_time_though_every_server_hangs(
    cluster: Cluster, mortal_postgres: Server, prefix: str, tmp_path: Path
) -> None:
    database = mortal_postgres.address
    async with await psycopg.AsyncConnection.connect(database, autocommit=True) as connection:
        await schema.migrate_all(connection, SCHEMA)
    log = await KafkaLog.open(KafkaSettings(cluster.bootstrap, prefix))
    await create_topics(log, Settings(kafka=cluster.bootstrap, prefix=prefix, shards=1))
    roles = Processes(tmp_path, cluster.bootstrap, prefix, database, shards="1", db_schema=SCHEMA)
    process = roles.start("intake,engine,standby,relay,history,projector,past,api")
    hanging = [*cluster.brokers, mortal_postgres]
    try:
        until = time.monotonic() + 90
        while (await process.health())[0] != READY:
            assert time.monotonic() < until, process.said.read_text()[-3000:]
        writer = await log.writer()
        records = [Record(None, b"no event") for _ in range(2_000)]
        await writer.append(Partition("orders", 0), records)  # so that all have work
        await writer.close()
        for server in hanging:
            server.signal(signal.SIGSTOP)
        await process.stop()
    finally:
        for server in hanging:
            server.signal(signal.SIGCONT)
        roles.end()
        await log.close()
