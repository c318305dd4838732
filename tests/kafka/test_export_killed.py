"""`headrace export` and `headrace sql` on Apache Kafka; SIGKILL in the middle, again and again."""

import asyncio
import json
import os
import signal
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path
from random import Random
from typing import Any

import pytest

from bench import workload
from bench.history import write
from bench.recovery import Book
from orchestrator.compose import create_topics
from orchestrator.runtime.kafka_log import KafkaLog, KafkaSettings
from orchestrator.runtime.settings import Settings
from tests.export.test_export import content

pytestmark = [pytest.mark.slow, pytest.mark.real_kafka("its journal fills several fetches")]

KILLS = 10
START_S = 120.0
ORDERS = 1_500


def headrace(environment: dict[str, str], *arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "orchestrator.cli", *arguments]
    return subprocess.run(command, env=environment, capture_output=True, text=True, check=False)


async def journaled(kafka: str, prefix: str) -> int:
    """A journal of whole lives of orders; how many events it has."""
    log = await KafkaLog.open(KafkaSettings(kafka, prefix))
    await create_topics(log, Settings(kafka=kafka, prefix=prefix, shards=1, replication=1))
    writer = await log.writer()
    book = Book(writer)
    await write(book, workload.Inbox(), ORDERS)
    await writer.close()
    await log.close()
    return book.events


def killed(environment: dict[str, str], place: Path, later_s: float) -> bool:
    """Kill it so much later than it had written more; whether it had not ended before."""
    before = manifest_rows(place)
    command = [sys.executable, "-c", _SMALL_BATCHES, "export", str(place), "--processes", "1"]
    running = subprocess.Popen(command, env=environment, stdout=subprocess.DEVNULL)
    try:
        deadline = time.monotonic() + START_S
        while running.poll() is None and manifest_rows(place) == before:
            assert time.monotonic() < deadline, f"it wrote nothing within {START_S} s"
            with suppress(subprocess.TimeoutExpired):
                running.wait(0.005)
        with suppress(subprocess.TimeoutExpired):
            running.wait(later_s)
    finally:
        running.kill()
        running.wait()
    return running.returncode == -signal.SIGKILL


_SMALL_BATCHES = (  # whoever starts tests in the background has them ignore Ctrl-C
    "import signal\n"
    "signal.signal(signal.SIGINT, signal.default_int_handler)\n"
    "import orchestrator.export.together as t\n"
    "t.export.__kwdefaults__['batch_rows'] = 400\n"
    "t.Crew.__new__.__defaults__ = (t.Alone(400, 400),)\n"
    "from orchestrator.cli import main\n"
    "main()\n"
)


async def test_an_export_killed_ten_times_equals_one_that_was_not(
    kafka: str, prefix: str, tmp_path: Path
) -> None:
    events = await journaled(kafka, prefix)
    environment = {**os.environ, "HEADRACE_KAFKA": kafka, "HEADRACE_PREFIX": prefix}
    environment["HEADRACE_SHARDS"] = "1"
    random = Random(7)
    seen = []
    for kills in range(KILLS):
        later_s = random.uniform(0, 0.1)
        was_killed = await asyncio.to_thread(killed, environment, tmp_path / "killed", later_s)
        assert was_killed, (
            f"it ended after {kills} kills: the journal is too short for this machine"
        )
        seen.append(manifest_rows(tmp_path / "killed"))
    assert sorted(set(seen)) == seen, "it went on where it was killed"
    whole = await asyncio.to_thread(
        headrace, environment, "export", str(tmp_path / "whole"), "--json"
    )
    assert whole.returncode == 0, whole.stderr
    assert json.loads(whole.stdout)["rows"] == events
    rest = await asyncio.to_thread(
        headrace, environment, "export", str(tmp_path / "killed"), "--json"
    )
    assert rest.returncode == 0, rest.stderr
    assert json.loads(rest.stdout)["rows_in_all"] == events
    assert content(tmp_path / "killed") == content(tmp_path / "whole")
    asked = "SELECT status, count(*) AS orders FROM orders GROUP BY ALL"
    answers = [
        await asyncio.to_thread(headrace, environment, "sql", asked, str(tmp_path / name), "--json")
        for name in ("killed", "whole")
    ]
    assert answers[0].stdout == answers[1].stdout
    assert sum(json.loads(line)["orders"] for line in answers[0].stdout.splitlines()) == ORDERS


def sharing(environment: dict[str, str], place: Path) -> subprocess.Popen[str]:
    """An export by two processes that have written some of it, and have more to do."""
    before = manifest_rows(place)
    command = [sys.executable, "-c", _SMALL_BATCHES, "export", str(place), "--processes", "2"]
    running = subprocess.Popen(command, env=environment, stderr=subprocess.PIPE, text=True)
    deadline = time.monotonic() + START_S
    while manifest_rows(place) < before + 2_000:
        assert running.poll() is None, f"it ended: {running.communicate()}"
        assert time.monotonic() < deadline, f"it wrote nothing within {START_S} s"
        time.sleep(0.005)
    return running


def parts_of(pid: int) -> list[int]:
    children = Path(f"/proc/{pid}/task/{pid}/children").read_text(encoding="ascii")
    return [int(one) for one in children.split()]


def gone(pids: list[int]) -> bool:
    def lives(pid: int) -> bool:
        with suppress(OSError):
            return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
        return False

    deadline = time.monotonic() + 30
    while any(map(lives, pids)):
        if time.monotonic() > deadline:
            return False
        time.sleep(0.01)
    return True


async def test_whoever_of_a_shared_export_is_killed_nothing_is_lost_or_there_twice(
    kafka: str, prefix: str, tmp_path: Path
) -> None:
    events = await journaled(kafka, prefix)
    environment = {**os.environ, "HEADRACE_KAFKA": kafka, "HEADRACE_PREFIX": prefix}
    environment["HEADRACE_SHARDS"] = "1"

    def ended(name: str, sign: signal.Signals, *, part: bool = False) -> tuple[int, str]:
        running = sharing(environment, tmp_path / name)
        parts = parts_of(running.pid)
        assert len(parts) == 2
        os.kill(parts[1] if part else running.pid, sign)
        _, said = running.communicate(timeout=START_S)
        assert gone(parts), "whoever was started ends as well"
        assert manifest_rows(tmp_path / name) < events
        return running.returncode, said

    code, said = await asyncio.to_thread(ended, "lacking", signal.SIGKILL, part=True)
    assert code == 1
    assert "A process of the export was killed (SIGKILL) before it was done." in said
    assert "Traceback" not in said
    code, _ = await asyncio.to_thread(ended, "killed", signal.SIGKILL)
    assert code == -signal.SIGKILL
    code, said = await asyncio.to_thread(ended, "stopped", signal.SIGINT)
    place = tmp_path / "stopped"
    assert (code, said) == (130, f"Stopped. Run it again to go on in {place}.\n")
    for name, number in (("lacking", 2), ("killed", 2), ("stopped", 2), ("whole", 1)):
        arguments = ("export", str(tmp_path / name), "--json", "--processes", str(number))
        done = await asyncio.to_thread(headrace, environment, *arguments)
        assert done.returncode == 0, done.stderr
        assert json.loads(done.stdout)["rows_in_all"] == events
    for name in ("lacking", "killed", "stopped"):
        assert content(tmp_path / name) == content(tmp_path / "whole")
        assert not [*(tmp_path / name).glob(".beside-*")]


def manifest_rows(place: Path) -> int:
    try:
        said: dict[str, Any] = json.loads((place / "manifest.json").read_text())
    except FileNotFoundError:
        return 0
    return sum(said["files"].values())
