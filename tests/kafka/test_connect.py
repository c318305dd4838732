"""History in another tool, by configuration alone: the example's Kafka Connect sink, for real."""

import asyncio
import os
import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import orjson
import pytest

from orchestrator.compose import create_topics
from orchestrator.embedded.server import free_port
from orchestrator.remembered import history_format
from orchestrator.runtime.history import History
from orchestrator.runtime.kafka_log import KafkaLog, KafkaSettings
from orchestrator.runtime.publisher import Ports
from orchestrator.runtime.settings import Settings
from orchestrator.runtime.world import SystemClock, SystemRandomness
from schemas.history import Known, flatten
from schemas.ports import Partition, Record
from tests import servers
from tests.projections.test_from_the_core import journal, told

ROOT = Path(__file__).parents[2]
EXAMPLES = ROOT / "examples" / "connect"
WITHIN_S = 90.0

pytestmark = [pytest.mark.slow, pytest.mark.real_kafka("Connect asks what only Kafka answers")]


def test_the_page_shows_the_examples() -> None:
    page = (ROOT / "docs/how-to/read-history-with-other-tools.md").read_text(encoding="utf-8")
    shown = re.findall(r"^```properties\n(.*?)^```$", page, re.MULTILINE | re.DOTALL)
    files = [EXAMPLES / "worker.properties", EXAMPLES / "history-to-file.properties"]
    assert shown == [
        "".join(line for line in file.read_text().splitlines(keepends=True) if line[0] != "#")
        for file in files
    ]


@pytest.fixture
def connect(kafka: str, prefix: str, tmp_path: Path) -> Iterator[Path]:
    """A worker with the example's sink; the file that it writes."""
    changed = {
        "bootstrap.servers=127.0.0.1:9092": f"bootstrap.servers={kafka}",
        "listeners=http://127.0.0.1:8083": f"listeners=http://127.0.0.1:{free_port()}",
        "topics=history": f"topics={prefix}history",
        "name=headrace-history": f"name={prefix}history",
    }
    for name in ("worker.properties", "history-to-file.properties"):
        text = (EXAMPLES / name).read_text()
        for was, now in changed.items():
            text = text.replace(was, now)
        (tmp_path / name).write_text(text)
    java = shutil.which("java")
    assert java is not None
    command = [java, "-Xmx256m", "-XX:+UseSerialGC", "-cp", f"{servers.connect_jars()}/*"]
    command += ["org.apache.kafka.connect.cli.ConnectStandalone"]
    command += ["worker.properties", "history-to-file.properties"]
    with (tmp_path / "connect.log").open("wb") as said:
        running = subprocess.Popen(command, cwd=tmp_path, stdout=said, stderr=said, env=os.environ)
        try:
            yield tmp_path / "history.jsonl"
        finally:
            running.terminate()
            try:
                running.wait(20)
            except subprocess.TimeoutExpired:
                running.kill()


async def test_a_sink_by_configuration_has_everything_that_happened(
    kafka: str, prefix: str, connect: Path
) -> None:
    story = told()
    known = Known()
    wanted = {
        record["position"]: orjson.loads(orjson.dumps(record))
        for place, entry in enumerate(story.entries)
        for _, record in flatten(known, 0, place // 3 + 1, place % 3, orjson.loads(entry))
    }
    log = await KafkaLog.open(KafkaSettings(kafka, prefix))
    await create_topics(log, Settings(kafka=kafka, prefix=prefix, shards=1, replication=1))
    writer = await log.writer()
    for value in journal(story.entries, 3):
        await writer.append(Partition("journal", 0), [Record(None, value)])
    await writer.close()
    history = History(
        Ports(log, await log.group("history", ["journal"]), SystemClock(), SystemRandomness()),
        history_format(),
        late_s=30,
    )
    stop = asyncio.Event()
    running = asyncio.create_task(history.run(stop))
    found: dict[str, Any] = {}
    try:
        async with asyncio.timeout(WITHIN_S):
            while found.keys() != wanted.keys():
                await asyncio.sleep(0.2)
                found = await asyncio.to_thread(lines, connect)
    finally:
        stop.set()
        await running
        await log.close()
    assert found == wanted


def lines(file: Path) -> dict[str, Any]:
    """What the sink has written so far, by position; a line that it is at is left out."""
    if not file.exists():
        return {}
    whole = file.read_bytes().rpartition(b"\n")[0].splitlines()
    records = [orjson.loads(line) for line in whole]
    return {one["position"]: one for one in records if one["kind"] != "watermark"}
