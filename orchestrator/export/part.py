"""One of the processes that share an export: `python -m orchestrator.export.part`.

Its standard input has what to do, a line of JSON, and is closed when nobody waits for it any more:
then it ends at once. On its standard output it tells, a line of JSON each, what it has written.
"""

import asyncio
import os
import sys
from functools import partial
from threading import Lock, Thread
from typing import Any

import orjson

from orchestrator.compose import collect_rarely
from orchestrator.export.directory import ExportError
from orchestrator.export.exporter import Exporter
from orchestrator.export.together import Json, Task, failed, take_part
from orchestrator.remembered import history_format
from orchestrator.runtime.kafka_log import KafkaLog, KafkaSettings
from orchestrator.runtime.world import SystemClock, SystemRandomness
from schemas.journal import JournalError
from schemas.ports import LogError

_telling = Lock()  # its writer's thread tells, too


def _tell(said: Json) -> None:
    with _telling:
        sys.stdout.buffer.write(orjson.dumps(said) + b"\n")
        sys.stdout.buffer.flush()


def _end_with_whoever_waits() -> None:
    sys.stdin.buffer.read()
    os._exit(1)


async def _work(task: Task, kafka: dict[str, Any]) -> None:
    log = await KafkaLog.open(KafkaSettings(**kafka))
    try:
        make = partial(
            Exporter,
            log=log,
            clock=SystemClock(),
            randomness=SystemRandomness(),
            form=history_format(),
        )
        await take_part(task, make, _tell)
    finally:
        await log.close()


def main() -> None:
    """Do what standard input says."""
    given = orjson.loads(sys.stdin.buffer.readline())
    Thread(target=_end_with_whoever_waits, daemon=True).start()
    collect_rarely()
    try:
        asyncio.run(_work(Task.of(given["task"]), given["kafka"]))
    except (ExportError, JournalError, LogError) as error:
        _tell(failed(error))
    else:
        _tell({"done": True})


if __name__ == "__main__":
    main()
