"""Servers that tests kill hard, pause, and start again on their data; a cluster of brokers."""

import asyncio
import contextlib
import os
import signal
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, ExitStack, contextmanager
from pathlib import Path
from typing import Any, Final

from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.errors import KafkaError

from orchestrator.embedded import apache_kafka, embedded_postgres
from orchestrator.embedded.kafka import Node
from orchestrator.embedded.server import free_port
from tests.servers import SHORT_LIVED, kafka_jars

_GONE_WITHIN_S: Final = 20
_UP_WITHIN_S: Final = 120  # of a machine that others use too
_CLUSTER: Final = {
    "default.replication.factor": "3",
    "min.insync.replicas": "2",
    "offsets.topic.replication.factor": "3",
    "transaction.state.log.replication.factor": "3",
    "transaction.state.log.min.isr": "2",
    "broker.session.timeout.ms": "3000",
    "broker.heartbeat.interval.ms": "500",
    "controller.quorum.fetch.timeout.ms": "1000",
    "controller.quorum.election.timeout.ms": "500",
}


def processes_in(folder: Path) -> set[int]:
    """The processes that work in `folder` or below it; the dead are left out."""
    found = set()
    for process in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            if (process / "cwd").readlink().is_relative_to(folder):
                found.add(int(process.name))
    return found


class Server:
    """A server with a directory of its own, which outlives it."""

    def __init__(
        self, name: str, directory: Path, run: Callable[[], AbstractContextManager[str]]
    ) -> None:
        """Not started yet."""
        self.name = name
        self.directory = directory
        self.address = ""
        self.up = False
        self._run = run
        self._running = ExitStack()

    def start(self) -> None:
        """Start it; on return it answers."""
        self.address = self._running.enter_context(self._run())
        self.up = True

    def signal(self, which: signal.Signals) -> None:
        """Send a signal to all its processes: PostgreSQL's are not of one process group."""
        for process in processes_in(self.directory):
            with contextlib.suppress(ProcessLookupError):
                os.kill(process, which)

    def kill(self) -> None:
        """Kill it hard, with all that it started; on return nothing of it runs."""
        self.up = False
        until = time.monotonic() + _GONE_WITHIN_S
        while processes_in(self.directory):
            if time.monotonic() > until:
                raise TimeoutError(f"{self.name} still runs after SIGKILL")
            self.signal(signal.SIGKILL)
            time.sleep(0.01)
        self._running.close()


class Cluster:
    """Three KRaft nodes, brokers and controllers, whose topics have three replicas."""

    def __init__(self, directory: Path) -> None:
        """Not started yet; `directory` must be one that any account can pass."""
        self.nodes = [Node.new(number) for number in (1, 2, 3)]
        self.brokers = [
            self._broker(node, directory / f"kafka-{node.number}") for node in self.nodes
        ]

    def _broker(self, node: Node, directory: Path) -> Server:
        return Server(
            f"broker {node.number}",
            directory,
            lambda: apache_kafka(
                kafka_jars(),
                directory,
                node=node,
                quorum=self.nodes,
                settings=_CLUSTER,
                heap_mb=256,
                java_options=SHORT_LIVED,
                within_s=_UP_WITHIN_S,
            ),
        )

    @property
    def bootstrap(self) -> str:
        """Where clients reach any of them."""
        return ",".join(node.bootstrap for node in self.nodes)

    async def leader(self, topic: str, partition: int) -> Server:
        """The broker that leads this partition."""
        number = (await self._described(topic, partition))["leader"]
        return self.brokers[[node.number for node in self.nodes].index(number)]

    async def in_sync(self, topic: str, partition: int) -> int:
        """How many brokers have all of this partition."""
        return len((await self._described(topic, partition))["isr"])

    async def _described(self, topic: str, partition: int) -> dict[str, Any]:
        """What a broker says of it, once one does: who is asked may just have been killed."""
        async with asyncio.timeout(_UP_WITHIN_S):
            while True:
                admin = AIOKafkaAdminClient(bootstrap_servers=self.bootstrap)
                try:
                    await admin.start()
                    (described,) = await admin.describe_topics([topic])
                    found: dict[str, Any]
                    (found,) = (
                        one for one in described["partitions"] if one["partition"] == partition
                    )
                except (KafkaError, ValueError):
                    await asyncio.sleep(0.1)
                else:
                    return found
                finally:
                    await admin.close()

    def start(self) -> None:
        """Start all at once, since none answers before a majority runs."""
        with ThreadPoolExecutor(len(self.brokers)) as threads:
            list(threads.map(Server.start, self.brokers))


def killable_postgres(directory: Path) -> Server:
    """PostgreSQL on one port for its whole life."""
    port = free_port()
    return Server("PostgreSQL", directory, lambda: embedded_postgres(directory, port=port))


@contextmanager
def killed_at_the_end(servers: Sequence[Server]) -> Iterator[None]:
    """Nothing of them is left, however it ends."""
    try:
        yield
    finally:
        for server in servers:
            server.kill()


@contextmanager
def passable_directory() -> Iterator[Path]:
    """A temporary directory that the servers' account can pass."""
    with tempfile.TemporaryDirectory(prefix="headrace-cluster-") as made:
        Path(made).chmod(0o755)
        yield Path(made)
