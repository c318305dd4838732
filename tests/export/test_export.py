"""Exports: whatever interrupts them, nothing is there twice and nothing is missing."""

import asyncio
import os
import re
import resource
import shutil
import signal
import subprocess
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import duckdb
import orjson
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from orchestrator.export.ask import ask, opened
from orchestrator.export.directory import (
    MANIFEST,
    Directory,
    ExportError,
    Heard,
    Manifest,
    Position,
)
from orchestrator.export.exporter import Done, Period
from orchestrator.export.tables import KINDS, Table, tables
from orchestrator.export.views import asked_first
from orchestrator.runtime.memory_log import MemoryLog
from orchestrator.runtime.world import SystemClock
from orchestrator.voiding import found_void
from schemas.history import Known, flatten
from schemas.journal import JournalError
from schemas.ports import Partition, Record
from schemas.times import instant_ms
from schemas.voids import VOIDS, Voids
from tests.core.story import Story
from tests.export import exporting
from tests.projections.test_from_the_core import journal, told
from tests.runtime.test_history import (
    TOPICS,
    Book,
    SetClock,
    a_beginning,
    behind_a_lost_end,
    folded,
    snapshots,
)

JOURNAL = Partition("journal", 0)
SIZE = 3  # entries of a commit
BATCH_ROWS = 40


class KilledError(Exception):
    """Here the process would have ended."""


class Fragile(Directory):
    """Ends before or after a write, as told: after so many of them."""

    def __init__(self, path: Path, lives: int) -> None:
        super().__init__(path)
        self._lives = lives

    def _live(self) -> None:
        self._lives -= 1
        if self._lives < 0:
            raise KilledError

    def add(
        self, table: Table, day: str, name: str, rows: pa.Table, beside: Path | None = None
    ) -> str:
        self._live()
        path = super().add(table, day, name, rows, beside)
        self._live()
        return path

    def commit(
        self,
        positions: Mapping[int, Position],
        files: Mapping[str, int],
        heard: Mapping[int, Heard] | None = None,
    ) -> None:
        self._live()
        super().commit(positions, files, heard)
        self._live()


@pytest.fixture(scope="module")
def story() -> Story:
    return told()


@pytest.fixture
def log(story: Story) -> MemoryLog:
    log = MemoryLog(SystemClock(), {"journal": 1})
    log.write(JOURNAL, [Record(None, value) for value in journal(story.entries, SIZE)])
    return log


async def export(log: MemoryLog, place: Directory, period: Period = exporting.ALL) -> Done:
    return await exporting.export(log, place, period, batch_rows=BATCH_ROWS)


def expected(story: Story) -> list[dict[str, Any]]:
    known = Known()
    return [
        record
        for place, entry in enumerate(story.entries)
        for _, record in flatten(known, 0, place // SIZE + 1, place % SIZE, orjson.loads(entry))
    ]


def content(path: Path) -> dict[str, list[Any]]:
    """Every table's rows, in order of their positions."""
    found = {}
    with opened(path) as connection:
        for table in tables().values():
            name = f"{KINDS[table.kind]}.{table.event}"
            query = f"SELECT * FROM {name} ORDER BY shard, seq, entry, n"  # noqa: S608 - of our own
            found[name] = list(ask(connection, query)[1])
    return {name: rows for name, rows in found.items() if rows}


def files(place: Path, pattern: str) -> list[str]:
    return sorted(one.name for one in place.rglob(pattern))


async def test_all_that_happened_is_there_once(
    log: MemoryLog, story: Story, tmp_path: Path
) -> None:
    done = await export(log, Directory(tmp_path))
    wanted = expected(story)
    assert done.rows == done.total == len(wanted)
    positions = sorted(row[0] for rows in content(tmp_path).values() for row in rows)
    assert positions == sorted(one["position"] for one in wanted)


@pytest.mark.slow
async def test_an_export_ended_anywhere_goes_on_to_what_one_without_end_is(
    log: MemoryLog, tmp_path: Path
) -> None:
    await export(log, Directory(tmp_path / "whole"))
    ended = 0
    for lives in (*range(12), *range(20, 200, 15)):
        try:
            await export(log, Fragile(tmp_path / "ended", lives))
        except KilledError:
            ended += 1
    await export(log, Directory(tmp_path / "ended"))
    assert ended >= 10
    assert content(tmp_path / "ended") == content(tmp_path / "whole")
    assert not files(tmp_path, "*.tmp")


@pytest.mark.slow
async def test_a_question_counts_what_the_manifest_names(
    log: MemoryLog, story: Story, tmp_path: Path
) -> None:
    moments = sorted({one["recorded_at"] for one in expected(story)})
    await export(log, Directory(tmp_path), Period(None, _ms(moments[len(moments) // 2])))
    before, named = content(tmp_path), files(tmp_path, "0-*.parquet")
    with pytest.raises(KilledError):
        await export(log, Fragile(tmp_path, 5))
    assert len(files(tmp_path, "0-*.parquet")) == len(named) + 3
    assert content(tmp_path) == before != {}


@pytest.mark.slow
async def test_a_question_is_answered_of_an_export_that_an_older_release_wrote(
    log: MemoryLog, tmp_path: Path
) -> None:
    place = tmp_path / "run=5" / "a, [b]'s"
    await export(log, Directory(place))
    now = content(place)
    shutil.rmtree(place / "events/promise_kept")  # of which nothing had happened
    for file in (place / "inputs/order_placed").rglob("*.parquet"):
        older = pq.ParquetFile(file).read().drop_columns(["currency"])
        pq.write_table(older, file)
    column = [one.name for one in tables()["input", "order_placed"].schema].index("currency")
    for row in now["inputs.order_placed"]:
        assert row[column] is not None
    now["inputs.order_placed"] = [
        (*row[:column], None, *row[column + 1 :]) for row in now["inputs.order_placed"]
    ]
    assert content(place) == now
    with opened(place) as connection:
        for view in asked_first():
            assert list(ask(connection, f"SELECT count(*) FROM {view.name}")[1])  # noqa: S608 - of our own


async def test_a_question_to_an_export_that_lacks_a_file_is_one_sentence(
    log: MemoryLog, tmp_path: Path
) -> None:
    await export(log, Directory(tmp_path))
    gone = next((tmp_path / "events/balanced").rglob("0-*.parquet"))
    gone.unlink()
    said = rf"lacks events/balanced/.*/{gone.name}, which its manifest names: "
    with pytest.raises(ExportError, match=said), opened(tmp_path):
        pass


async def test_what_a_crash_left_beside_the_manifest_is_removed(
    log: MemoryLog, tmp_path: Path
) -> None:
    with pytest.raises(KilledError):
        await export(log, Fragile(tmp_path, 5))
    assert not files(tmp_path, MANIFEST)
    assert len(files(tmp_path, "0-*.parquet")) == 3
    with pytest.raises(KilledError):
        await export(log, Fragile(tmp_path, 0))
    assert not files(tmp_path, "0-*.parquet")


async def test_goes_on_where_it_ended(story: Story, tmp_path: Path) -> None:
    values = list(journal(story.entries, SIZE))
    log = MemoryLog(SystemClock(), {"journal": 1})
    whole = MemoryLog(SystemClock(), {"journal": 1})
    whole.write(JOURNAL, [Record(None, value) for value in values])
    rows = 0
    for first in range(0, len(values), 7):
        log.write(JOURNAL, [Record(None, value) for value in values[first : first + 7]])
        rows += (await export(log, Directory(tmp_path / "parts"))).rows
    done = await export(whole, Directory(tmp_path / "whole"))
    assert rows == done.rows
    assert content(tmp_path / "parts") == content(tmp_path / "whole")
    assert (await export(log, Directory(tmp_path / "parts"))).rows == 0


async def test_a_period_is_what_the_shards_clock_says(
    log: MemoryLog, story: Story, tmp_path: Path
) -> None:
    wanted = expected(story)
    moments = sorted({one["recorded_at"] for one in wanted})
    first, last = moments[len(moments) // 3], moments[2 * len(moments) // 3]
    period = Period(_ms(first), _ms(last))
    await export(log, Directory(tmp_path), period)
    inside = [one for one in wanted if first <= one["recorded_at"] < last]
    assert 0 < len(inside) < len(wanted)
    positions = sorted(row[0] for rows in content(tmp_path).values() for row in rows)
    assert positions == sorted(one["position"] for one in inside)
    await export(log, Directory(tmp_path))  # without an end it goes on
    after = [one for one in wanted if first <= one["recorded_at"]]
    positions = sorted(row[0] for rows in content(tmp_path).values() for row in rows)
    assert positions == sorted(one["position"] for one in after)
    with pytest.raises(ExportError, match=r"holds what happened from .* on: leave out --from"):
        await export(log, Directory(tmp_path), Period(_ms(last)))


def _ms(text: str) -> int:
    return instant_ms(text)


async def test_a_period_without_data_is_one_sentence_and_leaves_nothing(
    log: MemoryLog, tmp_path: Path
) -> None:
    far = _ms("2099-01-01T00:00:00Z")
    with pytest.raises(
        ExportError, match=r"Nothing happened between 2099.* and now: history ends at 20[^9]"
    ) as said:
        await export(log, Directory(tmp_path), Period(far))
    assert said.value.exit_code == 2, "as a what-if has it"
    assert files(tmp_path, "*") == [".lock"]
    long_ago = Period(_ms("2001-01-01T00:00:00Z"), _ms("2001-01-02T00:00:00Z"))
    with pytest.raises(
        ExportError, match=r"Nothing happened between 2001.*: history begins at 20[^0]"
    ):
        await export(log, Directory(tmp_path), long_ago)
    with pytest.raises(ExportError, match="--from must be before --until"):
        await export(log, Directory(tmp_path), Period(far, far))


async def test_an_empty_journal_is_one_sentence(tmp_path: Path) -> None:
    log = MemoryLog(SystemClock(), {"journal": 2})
    with pytest.raises(ExportError, match="Nothing has happened yet") as said:
        await export(log, Directory(tmp_path))
    assert said.value.exit_code == 2


def test_a_foreign_directory_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "letter.txt").write_text("Dear Ada")
    (tmp_path / "events").mkdir()
    with pytest.raises(ExportError, match="is not empty and holds no export"):
        Directory(tmp_path)
    (tmp_path / "letter.txt").unlink()
    with pytest.raises(ExportError, match="is not empty and holds no export"):
        Directory(tmp_path)
    (tmp_path / "letter.txt").write_text("Dear Ada")
    (tmp_path / MANIFEST).write_text('{"format": "another", "version": 1}')
    with pytest.raises(ExportError, match="is not the manifest of an export"):
        Directory(tmp_path)
    (tmp_path / MANIFEST).write_text('{"format": "headrace-export", "version": 99}')
    with pytest.raises(ExportError, match=r"has version 99; this release reads 1: upgrade"):
        Directory(tmp_path)
    with pytest.raises(ExportError, match="is no directory"):
        Directory(tmp_path / "letter.txt")


async def test_the_history_of_another_journal_is_not_gone_on_with(
    log: MemoryLog, story: Story, tmp_path: Path
) -> None:
    await export(log, Directory(tmp_path))
    other = MemoryLog(SystemClock(), {"journal": 1})
    with pytest.raises(ExportError, match="holds more of shard 0 than its journal"):
        await export(other, Directory(tmp_path))
    values = [*journal(story.entries, SIZE + 1)]
    values += values[-1:] * 200  # repeats, which are void
    other.write(JOURNAL, [Record(None, value) for value in values])
    with pytest.raises(ExportError, match="holds the history of another journal than shard 0"):
        await export(other, Directory(tmp_path))


async def test_an_export_behind_a_lost_end_begins_with_no_snapshot_of_it(tmp_path: Path) -> None:
    clock = SetClock()
    log = MemoryLog(clock, {**TOPICS, "voids": 1})
    book, story = await behind_a_lost_end(log, clock)
    await export(log, Directory(tmp_path))
    story.order("last", MUG=1)
    book.tell(story)
    await export(log, Directory(tmp_path))
    placed = {row[10] for row in content(tmp_path)["inputs.order_placed"]}
    assert placed == {"0", "last", *(f"new{number}" for number in range(30))}


@pytest.mark.slow
async def test_an_export_begins_behind_a_lost_beginning_and_says_so(tmp_path: Path) -> None:
    clock = SetClock()
    log = MemoryLog(clock, {**TOPICS, "voids": 1})
    story, book = a_beginning(), Book(log)
    book.now_ms = story.now_ms
    story.order("old", MUG=1)
    book.tell(story)
    stopped = tmp_path / "stopped"
    await export(log, Directory(stopped))
    story.order("open", MUG=1)
    book.tell(story)
    whole = tmp_path / "whole"
    await export(log, Directory(whole))
    before = book.state
    await snapshots(log, clock).write(folded(story), before)
    await log.trim(JOURNAL, before.next)
    with pytest.raises(JournalError, match="holds nothing any more"):
        await export(log, Directory(tmp_path / "new"))
    story.order("after", MUG=1)
    book.tell(story)
    with pytest.raises(JournalError, match="its first records are gone"):
        await export(log, Directory(tmp_path / "new"))
    void = await found_void(log, 0, Voids(log), snapshots(log, clock), [])
    assert void is not None
    assert void.lost
    log.write(VOIDS, [void._replace(by="ada", reason="lost").record()])
    for name, without_snapshots in (("0", False), ("1", True)):
        story.order(f"new{name}", MUG=1)
        story.report("accepted", "open.1", id_=f"accepted {name}")
        book.tell(story)
        if without_snapshots:
            held = log.held(Partition("snapshots", 0))
            await log.trim(Partition("snapshots", 0), held.next)
        for place in (whole, tmp_path / "new"):
            await export(log, Directory(place))
    await export(log, Directory(tmp_path / "begun 1"))
    expected = {"0", "old", "open", "after", "new0", "new1"}
    assert placed(whole) == expected
    for name in ("new", "begun 1"):
        manifest = Directory(tmp_path / name).manifest
        assert manifest is not None
        assert manifest.begins == {0: before.seq}
    assert placed(tmp_path / "new") == expected - {"0", "old", "open"}
    new, begun = content(tmp_path / "new"), content(tmp_path / "begun 1")
    assert new["inputs.order_placed"] == begun["inputs.order_placed"]
    reports = new["inputs.fulfillment_accepted"]
    assert [row[10] for row in reports] == ["open", None]  # known by the snapshot, and no more
    with pytest.raises(ExportError, match=rf"lacks commits of shard 0 from \d+ to {before.seq},"):
        await export(log, Directory(stopped))


def placed(path: Path) -> set[str]:
    return {row[10] for row in content(path)["inputs.order_placed"]}


class Ends(Directory):
    """Ends before or after the manifest that names what was put together."""

    after: bool | None = None

    def _keep(self, made: Manifest, files: Iterable[str]) -> None:
        together = any("+" in name for name in files)
        if together and self.after is False:
            raise KilledError
        super()._keep(made, files)
        if together and self.after is True:
            raise KilledError


def small_files(place: Directory, table: Table, day: str, shard: int, number: int) -> None:
    """So many files of a row each."""
    made = {}
    for seq in range(number):
        row = {"position": f"{shard}.{seq}.0.-1", "shard": shard, "seq": seq, "order_id": day}
        rows = pa.Table.from_pylist([row], schema=table.schema)
        if not seq:  # of an older release
            rows = rows.drop_columns(["origin"])
        made[place.add(table, day, f"{shard}-{seq}.0-{seq}.0", rows)] = 1
    place.commit({}, made)


@pytest.mark.slow
def test_many_small_files_of_a_day_that_is_over_are_put_together(tmp_path: Path) -> None:
    place = Directory(tmp_path)
    place.begin(None)
    ticks, placed = tables()["input", "clock_ticked"], tables()["input", "order_placed"]
    small_files(place, ticks, "2026-01-01", 0, 9)
    small_files(place, ticks, "2026-01-02", 0, 9)  # is not over
    small_files(place, ticks, "2026-01-01", 1, 9)  # nor is it in this shard
    small_files(place, placed, "2026-01-01", 0, 7)  # these are few
    before = everything(tmp_path)
    assert len(before) == 3 * 9 + 7
    days = {0: "2026-01-02", 1: "2026-01-01"}
    with opened(tmp_path):  # who asks meanwhile loses nothing
        place.put_together(days)
        assert len(files(tmp_path, "[01]-*")) == len(before)
    for after in (False, True):
        ending = Ends(tmp_path)
        ending.after = after
        with pytest.raises(KilledError):
            ending.put_together(days)
        assert len(files(tmp_path, "[01]-*")) == len(before) + 1
        assert everything(tmp_path) == before
    place = Directory(tmp_path)
    place.begin(None)  # removes what the manifest doesn't name
    place.put_together(days)
    assert everything(tmp_path) == before
    there = files(tmp_path, "[01]-*")
    assert len(there) == 1 + 2 * 9 + 7
    assert "0-0.0-0.0+8.parquet" in there


def everything(path: Path) -> list[Any]:
    rows: list[Any] = []
    with opened(path) as connection:
        for name in ("inputs.clock_ticked", "inputs.order_placed"):
            rows += ask(connection, f"SELECT * FROM {name} ORDER BY ALL")[1]  # noqa: S608 - of ours
    return rows


async def test_two_exports_at_once_are_told_apart(tmp_path: Path, log: MemoryLog) -> None:
    said = pytest.raises(ExportError, match="Another export is writing")
    with Directory(tmp_path).locked(), said:
        await export(log, Directory(tmp_path))


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    disk = tmp_path / "disk"
    disk.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=600k", "tmpfs", str(disk)]
    if os.geteuid() != 0 or subprocess.run(mount, capture_output=True, check=False).returncode:
        pytest.skip("only root may mount a small disk")
    try:
        yield disk
    finally:
        subprocess.run(["umount", str(disk)], check=True)


def resize(disk: Path, size: str) -> None:
    subprocess.run(["mount", "-o", f"remount,size={size}", str(disk)], check=True)


@pytest.mark.slow
async def test_a_full_disk_is_one_sentence_and_what_is_there_stays_whole(
    log: MemoryLog, small_disk: Path, tmp_path: Path
) -> None:
    with pytest.raises(ExportError, match=r"can't be written: No space left on device\."):
        await export(log, Directory(small_disk / "export"))
    assert not files(small_disk, "*.tmp")
    resize(small_disk, "64m")
    await export(log, Directory(small_disk / "export"))
    await export(log, Directory(tmp_path / "whole"))
    assert content(small_disk / "export") == content(tmp_path / "whole")


def test_a_disk_that_is_full_at_the_first_byte_is_one_sentence(tmp_path: Path) -> None:
    place, limit = tmp_path / "export", resource.getrlimit(resource.RLIMIT_FSIZE)
    before = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (0, limit[1]))
    said: list[str] = []
    try:  # nothing else writes meanwhile
        with Directory(place).locked():
            pass
    except ExportError as error:
        said.append(str(error))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limit)
        signal.signal(signal.SIGXFSZ, before)
    assert len(said) == 1
    assert said[0].startswith(f"{place} can't be written: File too large.")
    with Directory(place).locked():
        assert files(place, "*") == [".lock"]


@pytest.mark.slow
async def test_an_empty_file_that_a_power_failure_left_is_made_again(
    log: MemoryLog, story: Story, tmp_path: Path
) -> None:
    moments = sorted({one["recorded_at"] for one in expected(story)})
    await export(log, Directory(tmp_path), Period(None, _ms(moments[len(moments) // 2])))
    empty = tmp_path / "events/order_accepted/day=1970-01-01/empty.parquet"
    empty.write_bytes(b"")
    assert content(tmp_path)  # of a folder that nothing is written to
    assert empty.read_bytes() == b""
    await export(log, Directory(tmp_path))
    assert pq.read_schema(empty).equals(tables()["event", "order_accepted"].schema)


def test_a_folder_that_may_not_be_read_is_one_sentence(tmp_path: Path) -> None:
    (tmp_path / MANIFEST).mkdir()  # root may read whatever has no rights; this it can't
    said = re.escape(f"{tmp_path} can't be read: Is a directory.")
    with pytest.raises(ExportError, match=said):
        Directory(tmp_path)


async def test_following_goes_on_until_it_is_ended(story: Story, tmp_path: Path) -> None:
    values = [Record(None, value) for value in journal(story.entries, SIZE)]
    log = MemoryLog(SystemClock(), {"journal": 1})
    log.write(JOURNAL, values[:60])
    place = Directory(tmp_path)
    with place.locked():
        exporter = exporting.an_exporter(log, place, batch_rows=BATCH_ROWS)
        following = asyncio.create_task(exporter.run(lambda *_: None, follow=True))
        async with asyncio.timeout(20):
            while exporter.done.rows == 0:
                await asyncio.sleep(0.01)
            before = exporter.done.rows
            log.write(JOURNAL, values[60:])
            while exporter.done.rows < before + 2 * BATCH_ROWS:
                await asyncio.sleep(0.01)
        following.cancel()
        await asyncio.gather(following, return_exceptions=True)
    await export(log, Directory(tmp_path))
    positions = sorted(row[0] for rows in content(tmp_path).values() for row in rows)
    assert positions == sorted(one["position"] for one in expected(story))


@pytest.mark.slow
async def test_following_until_a_moment_ends_once_it_has_passed(
    story: Story, tmp_path: Path
) -> None:
    clock = SetClock()
    log = MemoryLog(clock, {"journal": 1})
    log.write(JOURNAL, [Record(None, value) for value in journal(story.entries, SIZE)])
    place = Directory(tmp_path)
    until_ms = story.now_ms + 3_600_000  # behind all there is: nothing stands at the end or after
    with place.locked():
        exporter = exporting.an_exporter(log, place, Period(None, until_ms), batch_rows=BATCH_ROWS)
        following = asyncio.create_task(exporter.run(lambda *_: None, follow=True))
        async with asyncio.timeout(20):
            while exporter.done.rows == 0:
                await asyncio.sleep(0.01)
        clock.seconds = (until_ms - 1_800_000_000_000) / 1000 + 10  # a commit may be on its way
        assert not (await asyncio.wait([following], timeout=1.5))[0]
        clock.seconds += 120
        async with asyncio.timeout(20):
            done = await following
    assert done.total == len(expected(story))


def test_a_question_to_no_export_is_one_sentence(tmp_path: Path) -> None:
    with pytest.raises(ExportError, match="holds no export: write one"), opened(tmp_path):
        pass


async def test_views_are_read_by_duckdb_itself(log: MemoryLog, tmp_path: Path) -> None:
    await export(log, Directory(tmp_path))
    connection = duckdb.connect()
    connection.execute(f"SET file_search_path = '{tmp_path}'")
    connection.execute((tmp_path / "views.sql").read_text())
    (count,) = connection.execute("SELECT count(*) FROM orders").fetchone() or (0,)
    assert count > 0
