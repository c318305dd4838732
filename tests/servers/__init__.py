"""Which Kafka the tests run on, and how it gets here. The benches use it too."""

import fcntl
import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Literal, assert_never

from orchestrator.embedded import ServerError, apache_kafka, embedded_kafka
from orchestrator.embedded.kafka import answers
from orchestrator.embedded.server import free_port

KAFKA_VERSION: Final = "4.3.0"
_CACHE: Final = Path(__file__).resolve().parents[2] / ".cache" / "kafka"
_POM: Final = Path(__file__).with_name("pom.xml")
_CONNECT_POM: Final = Path(__file__).with_name("connect-pom.xml")
SHORT_LIVED: Final = ("-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1")
"""Java's options where it lives for minutes: less to start, and less to compile in them."""


@dataclass(frozen=True, slots=True)
class Choice:
    """The Kafka that the tests run on."""

    kind: Literal["jars", "container", "tansu"]
    why: str

    @property
    def real(self) -> bool:
        """Whether it is Apache Kafka."""
        return self.kind != "tansu"

    def __str__(self) -> str:
        match self.kind:
            case "jars":
                return f"Apache Kafka {KAFKA_VERSION} from its jars"
            case "container":
                return f"Apache Kafka {KAFKA_VERSION} in a container ({self.why})"
            case "tansu":
                return f"Tansu, a stand-in for Apache Kafka ({self.why})"
            case _:
                assert_never(self.kind)


def choose() -> Choice:
    """Choose by HEADRACE_TEST_KAFKA: real, tansu, or auto (default: real where it can be had).

    Raises:
        ServerError: `real` is wanted and can't be had, or the setting is none of the three.
    """
    wish = os.environ.get("HEADRACE_TEST_KAFKA", "auto")
    if wish not in {"real", "tansu", "auto"}:
        raise ServerError(f"HEADRACE_TEST_KAFKA is real, tansu or auto, not {wish!r}.")
    if wish == "tansu":
        return Choice("tansu", "HEADRACE_TEST_KAFKA=tansu")
    missing = [
        name
        for name, there in {
            "Java": shutil.which("java"),
            "Maven": _jars().is_dir() or shutil.which("mvn"),
        }.items()
        if not there
    ]
    if not missing:
        return Choice("jars", "")
    why = f"no {' and no '.join(missing)} here"
    if _docker_answers():
        return Choice("container", why)
    why += ", and no Docker engine answers"
    if wish == "real":
        raise ServerError(f"HEADRACE_TEST_KAFKA=real, but {why}: run tools/install-test-servers.")
    return Choice("tansu", why)


@contextmanager
def run(choice: Choice, java_options: Sequence[str] = ()) -> Iterator[str]:
    """Run the chosen Kafka; its bootstrap address. `java_options`: where it is from its jars."""
    match choice.kind:
        case "jars":
            with apache_kafka(kafka_jars(), java_options=java_options) as bootstrap:
                yield bootstrap
        case "container":
            with _container() as bootstrap:
                yield bootstrap
        case "tansu":
            with embedded_kafka() as bootstrap:
                yield bootstrap
        case _:
            assert_never(choice.kind)


def kafka_jars() -> Path:
    """The folder of Apache Kafka's jars, brought by Maven the first time (44 MB, about 10 s).

    Raises:
        ServerError: Maven is missing or failed; with what it said.
    """
    return _brought(_jars(), _POM)


def connect_jars() -> Path:
    """The folder of Kafka Connect's jars with its file connector, brought the same way (33 MB)."""
    return _brought(_CACHE / f"{KAFKA_VERSION}-connect", _CONNECT_POM)


def _brought(jars: Path, pom: Path) -> Path:
    if jars.is_dir():
        return jars
    maven = shutil.which("mvn")
    if maven is None:
        raise ServerError("Apache Kafka's jars come by Maven, and there is no `mvn` on PATH.")
    _CACHE.mkdir(parents=True, exist_ok=True)
    with (
        tempfile.TemporaryDirectory(dir=_CACHE) as making,
        (_CACHE / "lock").open("w") as one_at_a_time,
    ):
        fcntl.flock(one_at_a_time, fcntl.LOCK_EX)
        if jars.is_dir():  # another process brought them
            return jars
        made = Path(making) / "jars"
        done = subprocess.run(
            [
                maven,
                "--batch-mode",
                "--quiet",
                *("--file", pom),
                f"-Dkafka.version={KAFKA_VERSION}",
                "dependency:copy-dependencies",
                "-DincludeScope=runtime",
                f"-DoutputDirectory={made}",
            ],
            capture_output=True,
            text=True,
            check=False,
        )
        if done.returncode != 0:
            raise ServerError(f"Maven brought no Kafka: {(done.stdout + done.stderr)[-2000:]}")
        try:
            made.replace(jars)
        except OSError:  # the broker beside was quicker: a cluster's are started at once
            if not jars.is_dir():
                raise
    return jars


def _jars() -> Path:
    return _CACHE / KAFKA_VERSION


def _docker_answers() -> bool:
    import docker  # noqa: PLC0415  (0.2 s that most runs need not spend)

    try:
        docker.from_env().ping()
    except docker.errors.DockerException:
        return False
    return True


@contextmanager
def _container() -> Iterator[str]:
    from testcontainers.core.container import DockerContainer  # noqa: PLC0415  (asks for Docker)
    from testcontainers.core.wait_strategies import LogMessageWaitStrategy  # noqa: PLC0415

    port = free_port()  # known before the start, since the broker has to tell it to clients
    settings = {
        "KAFKA_NODE_ID": "1",
        "KAFKA_PROCESS_ROLES": "broker,controller",
        "KAFKA_CONTROLLER_QUORUM_VOTERS": "1@localhost:9093",
        "KAFKA_CONTROLLER_LISTENER_NAMES": "CONTROLLER",
        "KAFKA_LISTENERS": "PLAINTEXT://:9092,CONTROLLER://:9093",
        "KAFKA_ADVERTISED_LISTENERS": f"PLAINTEXT://127.0.0.1:{port}",
        "KAFKA_LISTENER_SECURITY_PROTOCOL_MAP": "CONTROLLER:PLAINTEXT,PLAINTEXT:PLAINTEXT",
        "KAFKA_AUTO_CREATE_TOPICS_ENABLE": "false",
        "KAFKA_GROUP_INITIAL_REBALANCE_DELAY_MS": "0",
        "KAFKA_OFFSETS_TOPIC_REPLICATION_FACTOR": "1",
        "KAFKA_TRANSACTION_STATE_LOG_MIN_ISR": "1",
        "KAFKA_TRANSACTION_STATE_LOG_REPLICATION_FACTOR": "1",
    }
    container = DockerContainer(f"apache/kafka:{KAFKA_VERSION}").with_bind_ports(9092, port)
    container = container.waiting_for(LogMessageWaitStrategy("Kafka Server started"))
    for name, value in settings.items():
        container = container.with_env(name, value)
    with container:
        if not answers(port):
            raise ServerError(f"Kafka's container started, and nothing answers on port {port}.")
        yield f"127.0.0.1:{port}"
