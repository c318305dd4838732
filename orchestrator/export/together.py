"""Several processes that share an export, up to where the journals end now.

What an entry tells rests on what happened before it. So each of them reads and folds all commits,
which is a small part of the work, and tells every so-manieth; their files are written beside, and
this process, which does nothing else, takes them over and writes the manifest: of a shard, once all
of them have come to the same position. Whoever is killed leaves nothing that counts.
"""

import asyncio
import signal
import sys
from collections import defaultdict, deque
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import AbstractAsyncContextManager, asynccontextmanager, suppress
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any, Final, NamedTuple

import orjson
import pyarrow as pa

from orchestrator.export.directory import Directory, ExportError, Manifest, Position
from orchestrator.export.exporter import (
    BATCH_ROWS,
    Advanced,
    Alone,
    Done,
    Exporter,
    Period,
    Share,
)
from orchestrator.export.tables import Table
from orchestrator.installed import cores
from orchestrator.remembered import history_format
from orchestrator.runtime.kafka_log import KafkaSettings
from orchestrator.runtime.world import SystemClock, SystemRandomness
from schemas.journal import JournalError
from schemas.ports import EventLog, LogError

_MOST: Final = 4
"""More processes than that mostly read the same."""
_LINE_BYTES: Final = 1 << 28  # what one of them says of some thousand files

Json = dict[str, Any]
Tell = Callable[[Json], None]


def processes() -> int:
    """How many share an export where nobody says: one a core, a few at most."""
    return min(cores(), _MOST)


@dataclass(frozen=True, slots=True)
class Task:
    """What one of them is to do."""

    path: str
    beside: str
    share: tuple[int, int]
    ends: dict[int, int]
    from_ms: int | None
    until_ms: int | None
    batch_rows: int

    @staticmethod
    def of(said: Json) -> "Task":
        """What `asdict` made of it, by way of JSON."""
        ends = {int(number): end for number, end in said["ends"].items()}
        return Task(**(said | {"share": tuple(said["share"]), "ends": ends}))


Start = Callable[[Task], AbstractAsyncContextManager[AsyncIterator[Json]]]
"""Starts one of them; what it tells, until it is done. It is ended on exit."""


class Crew(NamedTuple):
    """So many processes, what starts one, and when they are."""

    number: int
    start: Start
    alone: Alone = Alone()


class Portion:
    """An export's directory, as one of several writes to it: beside, and tells of it."""

    def __init__(self, directory: Directory, beside: Path, tell: Tell) -> None:
        self.path = directory.path
        self.manifest: Manifest | None = directory.manifest
        self._directory = directory
        self._beside = beside
        self._tell = tell

    def begin(self, from_ms: int | None, begins: Mapping[int, int]) -> None:
        """It has begun."""

    def add(self, table: Table, day: str, name: str, rows: pa.Table) -> str:
        """Write rows to a file."""
        return self._directory.add(table, day, name, rows, self._beside)

    def commit(self, positions: Mapping[int, Position], files: Mapping[str, int]) -> None:
        """Tell of a shard's round."""
        ((shard, reached),) = positions.items()
        self._tell({"shard": shard, "reached": asdict(reached), "files": dict(files)})

    def put_together(self, days: Mapping[int, str]) -> None:
        """Not by one of several."""


async def take_part(task: Task, make: Callable[..., Exporter], tell: Tell) -> None:
    """Do a task. `make` makes an exporter for a place; ExportError, JournalError, LogError."""
    exporter = make(
        Portion(Directory(Path(task.path)), Path(task.beside), tell),
        period=Period(task.from_ms, task.until_ms),
        share=Share(*task.share, task.ends),
        batch_rows=task.batch_rows,
    )
    await exporter.run(lambda shard, at, _: tell({"shard": shard, "at": at}), follow=False)


class Together:
    """One sharing of an export that has begun; its directory is locked."""

    def __init__(
        self,
        directory: Directory,
        *,
        crew: Crew,
        ends: Mapping[int, int],
        period: Period,
        done: Done,
        batch_rows: int,
    ) -> None:
        """`done` is added to."""
        self._directory = directory
        self._start = crew.start
        self._number = crew.number
        self._ends = dict(ends)
        self._period = period
        self._done = done
        self._batch_rows = batch_rows
        self._at: dict[int, dict[int, int]] = defaultdict(dict)  # by shard, then process
        self._rounds: dict[int, list[deque[Json]]] = {
            shard: [deque() for _ in range(crew.number)] for shard in ends
        }

    async def run(self, advanced: Advanced) -> None:
        """Export up to the ends; ExportError, JournalError, LogError."""
        with self._directory.beside() as beside:
            tasks = [
                asyncio.create_task(self._follow(number, beside, advanced))
                for number in range(self._number)
            ]
            try:
                await asyncio.gather(*tasks)
            finally:
                for task in tasks:
                    task.cancel()
                await asyncio.gather(*tasks, return_exceptions=True)
        if any(any(rounds) for rounds in self._rounds.values()):
            raise ExportError(_OTHERS)

    async def _follow(self, number: int, beside: Path, advanced: Advanced) -> None:
        """One of them, from its start to its end."""
        task = Task(
            path=str(self._directory.path),
            beside=str(beside),
            share=(number, self._number),
            ends=self._ends,
            from_ms=self._period.from_ms,
            until_ms=self._period.until_ms,
            batch_rows=self._batch_rows,
        )
        async with self._start(task) as telling:
            async for said in telling:
                if "failed" in said:
                    raise _failure(said)
                shard = said["shard"]
                if "at" in said:
                    self._at[shard][number] = said["at"]
                    if len(self._at[shard]) == self._number:
                        advanced(shard, min(self._at[shard].values()), self._ends[shard])
                else:
                    self._rounds[shard][number].append(said)
                    self._commit(shard, beside)
                    await asyncio.sleep(0)  # what they told waits here: so would a Ctrl-C

    def _commit(self, shard: int, beside: Path) -> None:
        """Take over the rounds that all of them have written."""
        rounds = self._rounds[shard]
        while all(rounds):
            wrote = [one.popleft() for one in rounds]
            reached = Position.of(wrote[0]["reached"])
            if any(Position.of(one["reached"]) != reached for one in wrote):
                raise ExportError(_OTHERS)
            files: dict[str, int] = {}
            for one in wrote:
                files |= one["files"]
            self._directory.adopt(beside, files)
            self._directory.commit({shard: reached}, files)
            self._done.rows += sum(files.values())
            self._done.files += len(files)
            self._done.total = self._directory.manifest.rows if self._directory.manifest else 0


_OTHERS: Final = (
    "The processes of the export have not read the same journal. What was exported before is whole:"
    " run it again to go on."
)


async def export(
    directory: Directory,
    make: Callable[..., Exporter],
    advanced: Advanced,
    *,
    crew: Crew,
    period: Period,
    follow: bool,
    done: Done,
    batch_rows: int = BATCH_ROWS,
) -> None:
    """Export what is not there yet, by several processes where there is much.

    `make` makes an exporter for a place; `done` is added to. ExportError, JournalError, LogError.
    """

    def alone() -> Exporter:
        exporter = make(directory, period=period, batch_rows=batch_rows)
        exporter.done = done
        return exporter

    first = alone()
    await first.run(advanced, follow=follow, alone=crew.alone if crew.number > 1 else None)
    if first.more:
        sharing = Together(
            directory, crew=crew, ends=first.ends, period=period, done=done, batch_rows=batch_rows
        )
        await sharing.run(advanced)
        if follow:
            await alone().run(advanced, follow=True)


# --- processes


def exporters(log: EventLog) -> Callable[..., Exporter]:
    """What makes a process's exporters of this log's journals."""
    return partial(
        Exporter,
        log=log,
        clock=SystemClock(),
        randomness=SystemRandomness(),
        form=history_format(),
    )


def a_process(kafka: KafkaSettings) -> Start:
    """Starts a process for a task; it ends with this one, however that ends."""

    @asynccontextmanager
    async def start(task: Task) -> AsyncIterator[AsyncIterator[Json]]:
        said = orjson.dumps(
            {"task": asdict(task), "kafka": asdict(kafka)}, option=orjson.OPT_NON_STR_KEYS
        )
        running = await asyncio.create_subprocess_exec(
            sys.executable,
            "-P",
            *("-m", "orchestrator.export.part"),
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            limit=_LINE_BYTES,
            start_new_session=True,  # Ctrl-C is for whoever started it
        )
        try:
            assert running.stdin is not None  # noqa: S101 - asked for
            with suppress(ConnectionError):  # it is dead, which is said of it below
                running.stdin.write(said + b"\n")
                await running.stdin.drain()
            yield _told(running)
        finally:
            with suppress(ProcessLookupError):
                running.kill()
            await running.wait()

    return start


async def _told(running: asyncio.subprocess.Process) -> AsyncIterator[Json]:
    """What it tells; ExportError where it ends before it is done."""
    assert running.stdout is not None  # noqa: S101 - asked for
    async for line in running.stdout:
        said: Json = orjson.loads(line)
        if "done" in said:
            return
        yield said
    code = await running.wait()
    how = f"was killed ({signal.Signals(-code).name})" if code < 0 else f"ended ({code})"
    raise ExportError(
        f"A process of the export {how} before it was done. What was exported before is whole: run"
        " it again to go on, with a smaller --processes where memory ran out."
    )


def failed(error: ExportError | JournalError | LogError) -> Json:
    """How a process tells of an error."""
    if isinstance(error, ExportError):
        return {"failed": "export", "what": str(error), "exit_code": error.exit_code}
    return {"failed": "journal" if isinstance(error, JournalError) else "log", "what": str(error)}


def _failure(said: Json) -> ExportError | JournalError | LogError:
    match said["failed"]:
        case "export":
            return ExportError(said["what"], said["exit_code"])
        case "journal":
            return JournalError(said["what"])
        case _:
            return LogError(said["what"])
