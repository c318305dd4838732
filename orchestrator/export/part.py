"""One of the processes that share an export: `python -m orchestrator.export.part`.

Its standard input has what to do, a line of JSON, and is closed when nobody waits for it any more:
then it ends at once. On its standard output it tells, a line of JSON each, what it has written.
"""

import asyncio
import os
import sys
from threading import Lock, Thread
from typing import Any

import orjson

from orchestrator.export.directory import ExportError
from orchestrator.export.together import Json, Task, exporters, failed, take_part
from orchestrator.runtime import logs
from orchestrator.runtime.kafka_log import KafkaLog, KafkaSettings
from schemas.journal import JournalError
from schemas.ports import LogError

_telling = Lock()  # its writer's thread tells, too


def _tell(said: Json) -> None:
    with _telling:
        sys.stdout.buffer.write(orjson.dumps(said) + b"\n")
        sys.stdout.buffer.flush()


def _end_with_whoever_waits() -> None:
    os.read(0, 1)  # no lock is held in it, which an end by itself would trip over
    os._exit(1)


class _WithoutPandas:
    """Arrow would load it with its first array, in case one is made of it: most of a second."""

    @staticmethod
    def find_spec(name: str, *_: object) -> None:
        """No spec: others are asked; nobody is about this one."""
        if name == "pandas":
            raise ModuleNotFoundError(name=name)


async def _work(task: Task, kafka: dict[str, Any]) -> None:
    log = await KafkaLog.open(KafkaSettings(**kafka))
    try:
        await take_part(task, exporters(log), _tell)
    finally:
        await log.close()


def main() -> None:
    """Do what standard input says."""
    sys.meta_path.insert(0, _WithoutPandas())
    logs.configure("console", "warning")  # standard output is for what it tells
    given = orjson.loads(sys.stdin.buffer.readline())
    Thread(target=_end_with_whoever_waits, daemon=True).start()
    try:
        asyncio.run(_work(Task.of(given["task"]), given["kafka"]))
    except (ExportError, JournalError, LogError) as error:
        _tell(failed(error))
    else:
        _tell({"done": True})


if __name__ == "__main__":
    main()
