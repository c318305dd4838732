"""Exports that several share: the same as one's, whoever of them ends where."""

import asyncio
from collections.abc import AsyncIterator, Callable, Iterable
from contextlib import asynccontextmanager
from dataclasses import asdict
from pathlib import Path
from typing import NoReturn

import orjson
import pytest

from orchestrator.export.directory import Directory, ExportError
from orchestrator.export.exporter import Alone, Done, Period
from orchestrator.export.together import Crew, Json, Start, Task, export, exporters, take_part
from orchestrator.runtime.memory_log import MemoryLog
from orchestrator.runtime.world import SystemClock
from schemas.journal import JournalError
from schemas.ports import Partition, Record
from schemas.times import instant_ms
from tests.core.story import Story
from tests.export.test_export import SIZE, Fragile, KilledError, content, files
from tests.export.test_export import export as export_alone
from tests.projections.test_from_the_core import journal, told

BATCH_ROWS = 8
NOTHING = Period()


@pytest.fixture(scope="module")
def story() -> Story:
    return told()


@pytest.fixture
def log(story: Story) -> MemoryLog:
    """Two shards, in which the same happened."""
    log = MemoryLog(SystemClock(), {"journal": 2})
    for number in range(2):
        log.write(
            Partition("journal", number),
            [Record(None, value) for value in journal(story.entries, SIZE + number)],
        )
    return log


def as_it_was(said: Json) -> Json:
    return said


def beside(log: MemoryLog, heard: Callable[[Json], Json] = as_it_was) -> Start:
    """Tasks instead of processes; `heard` sees what they tell before it is heard."""

    @asynccontextmanager
    async def start(task: Task) -> AsyncIterator[AsyncIterator[Json]]:
        loop = asyncio.get_running_loop()
        lines: asyncio.Queue[bytes] = asyncio.Queue()
        sent = orjson.dumps(asdict(task), option=orjson.OPT_NON_STR_KEYS)

        def tell(said: Json) -> None:
            loop.call_soon_threadsafe(lines.put_nowait, orjson.dumps(heard(said)))

        async def work() -> None:
            try:
                await take_part(Task.of(orjson.loads(sent)), exporters(log), tell)
            finally:
                loop.call_soon(lines.put_nowait, b'{"done":true}')

        async def telling() -> AsyncIterator[Json]:
            while "done" not in (said := orjson.loads(await lines.get())):
                yield said
            await working

        working = asyncio.create_task(work())
        try:
            yield telling()
        finally:
            working.cancel()
            await asyncio.gather(working, return_exceptions=True)

    return start


async def shared(
    log: MemoryLog,
    place: Directory,
    number: int = 2,
    period: Period = NOTHING,
    start: Start | None = None,
    *,
    alone: Alone = Alone(5, 0),  # noqa: B008 - never changes
    follow: bool = False,
) -> Done:
    done = Done()
    with place.locked():
        await export(
            place,
            exporters(log),
            lambda *_: None,
            crew=Crew(number, start or beside(log), alone),
            period=period,
            follow=follow,
            done=done,
            batch_rows=BATCH_ROWS,
        )
    return done


@pytest.mark.slow
@pytest.mark.parametrize("number", [2, 3])
async def test_an_export_that_several_share_is_the_same(
    log: MemoryLog, tmp_path: Path, number: int
) -> None:
    whole = await export_alone(log, Directory(tmp_path / "alone"))
    done = await shared(log, Directory(tmp_path / "shared"), number)
    assert done.rows == done.total == whole.rows
    assert content(tmp_path / "shared") == content(tmp_path / "alone")
    positions = [Directory(tmp_path / name).manifest for name in ("shared", "alone")]
    assert positions[0] is not None
    assert positions[1] is not None
    assert positions[0].shards == positions[1].shards
    assert not files(tmp_path / "shared", ".beside-*")
    assert (await shared(log, Directory(tmp_path / "shared"), number)).rows == 0


@pytest.mark.slow
async def test_all_of_them_have_work(log: MemoryLog, tmp_path: Path) -> None:
    wrote: list[list[str]] = []

    def heard(said: Json) -> Json:
        wrote.append([*said.get("files", ())])
        return said

    await shared(log, Directory(tmp_path), 2, start=beside(log, heard))
    commits = {
        int(name.rpartition("/")[2].split("-")[1].split(".")[0]) for some in wrote for name in some
    }
    assert {commit % 2 for commit in commits} == {0, 1}


@pytest.mark.slow
async def test_a_shared_export_ended_anywhere_goes_on_to_what_one_without_end_is(
    log: MemoryLog, tmp_path: Path
) -> None:
    await export_alone(log, Directory(tmp_path / "alone"))
    place, ended = tmp_path / "shared", 0
    for lives in (0, 5, *range(26, 50, 5)):  # of whoever writes the manifest
        try:
            await shared(log, Fragile(place, lives))
        except KilledError:
            ended += 1
    place = tmp_path / "others"
    for lives in range(0, 40, 7):  # of those that it has started
        left = [lives]

        def heard(said: Json, left: list[int] = left) -> Json:
            left[0] -= 1
            if left[0] < 0:
                raise KilledError
            return said

        try:
            await shared(log, Directory(place), start=beside(log, heard))
        except KilledError:
            ended += 1
    assert ended >= 9
    for name in ("shared", "others"):
        await shared(log, Directory(tmp_path / name))
        assert content(tmp_path / name) == content(tmp_path / "alone")
    assert not files(tmp_path, "*.tmp")
    assert not files(tmp_path, ".beside-*")


@pytest.mark.slow
async def test_who_is_told_to_stop_stops_though_all_that_the_others_told_waits_already(
    log: MemoryLog, tmp_path: Path
) -> None:
    """As Ctrl-C does: it cancels at the next await that has to wait."""
    whole = await export_alone(log, Directory(tmp_path / "alone"))
    started = beside(log)

    @asynccontextmanager
    async def start(task: Task) -> AsyncIterator[AsyncIterator[Json]]:
        async with started(task) as telling:
            told = [said async for said in telling]

            async def at_once() -> AsyncIterator[Json]:
                for said in told:
                    yield said

            yield at_once()

    class Stopped(Directory):
        def adopt(self, beside: Path, names: Iterable[str]) -> None:
            super().adopt(beside, names)
            asyncio.get_running_loop().call_soon(exporting.cancel)

    place = Stopped(tmp_path / "stopped")
    exporting = asyncio.create_task(shared(log, place, start=start))
    with pytest.raises(asyncio.CancelledError):
        await exporting
    assert 0 < content_rows(tmp_path / "stopped") < whole.rows
    await shared(log, Directory(tmp_path / "stopped"))
    assert content(tmp_path / "stopped") == content(tmp_path / "alone")


@pytest.mark.slow
async def test_what_others_left_beside_is_removed(log: MemoryLog, tmp_path: Path) -> None:
    left = tmp_path / ".beside-1" / "events"
    with Directory(tmp_path).locked():
        left.mkdir(parents=True)
    (left / "some.parquet").write_bytes(b"")
    await shared(log, Directory(tmp_path))
    assert not left.exists()


@pytest.mark.slow
async def test_a_shared_export_ends_where_its_period_does(log: MemoryLog, tmp_path: Path) -> None:
    await export_alone(log, Directory(tmp_path / "all"))
    moments = sorted({row[7] for rows in content(tmp_path / "all").values() for row in rows})
    first, last = (moments[len(moments) * part // 4] for part in (1, 3))
    period = Period(*(instant_ms(one.isoformat()) for one in (first, last)))
    await export_alone(log, Directory(tmp_path / "alone"), period)
    await shared(log, Directory(tmp_path / "shared"), 2, period)
    assert content(tmp_path / "shared") == content(tmp_path / "alone") != {}
    await export_alone(log, Directory(tmp_path / "alone"))
    await shared(log, Directory(tmp_path / "shared"), 3)
    assert content(tmp_path / "shared") == content(tmp_path / "alone")


@pytest.mark.slow
async def test_a_little_is_exported_by_one(log: MemoryLog, tmp_path: Path) -> None:
    def nobody(_: Task) -> NoReturn:
        raise AssertionError

    done = await shared(log, Directory(tmp_path), start=nobody, alone=Alone(5, 1_000))
    assert done.rows > BATCH_ROWS


@pytest.mark.slow
async def test_after_the_others_one_follows(log: MemoryLog, story: Story, tmp_path: Path) -> None:
    await export_alone(log, Directory(tmp_path / "alone"))
    until_ms = story.now_ms + 3_600_000
    period = Period(None, until_ms)
    following = asyncio.create_task(
        shared(log, Directory(tmp_path / "shared"), 2, period, follow=True)
    )
    async with asyncio.timeout(60):
        while not following.done() and content_rows(tmp_path / "shared") < content_rows(
            tmp_path / "alone"
        ):
            await asyncio.sleep(0.05)
    following.cancel()
    await asyncio.gather(following, return_exceptions=True)
    assert content(tmp_path / "shared") == content(tmp_path / "alone")


def content_rows(path: Path) -> int:
    manifest = Directory(path).manifest
    return manifest.rows if manifest is not None else 0


@pytest.mark.slow
async def test_what_stops_one_of_them_is_said(log: MemoryLog, tmp_path: Path) -> None:
    log.write(Partition("journal", 1), [Record(None, b"{}")])
    with pytest.raises(JournalError, match="is not a journal record"):
        await shared(log, Directory(tmp_path))
    manifest = Directory(tmp_path).manifest
    assert manifest is not None
    assert manifest.rows > 0  # of before


async def test_processes_that_read_other_journals_are_noticed(
    log: MemoryLog, tmp_path: Path
) -> None:
    count = 0

    def heard(said: Json) -> Json:
        nonlocal count
        if "reached" in said:
            count += 1
            said["reached"]["filter"]["digest"] += str(count)
        return said

    with pytest.raises(ExportError, match="have not read the same journal"):
        await shared(log, Directory(tmp_path), start=beside(log, heard))
