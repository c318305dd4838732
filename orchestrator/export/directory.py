"""The directory of an export: Parquet files that appear whole or not at all, and a manifest.

A file counts from when the manifest names it. What a crash left beside it is removed by the next
export, which goes on at the manifest's positions, so nothing is there twice and nothing is missing.
"""

import fcntl
import os
import shutil
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from tempfile import mkdtemp
from typing import Any, Final

import orjson
import pyarrow as pa
import pyarrow.parquet as pq

from orchestrator.export.tables import Table, tables
from orchestrator.export.views import views
from schemas.journal import FilterState

FORMAT: Final = "headrace-export"
VERSION: Final = 1
MANIFEST: Final = "manifest.json"
VIEWS: Final = "views.sql"
_LOCK: Final = ".lock"
_READING: Final = ".reading"
"""Locked by who reads files that the manifest named: they aren't put together then."""
_BESIDE: Final = ".beside-"
"""Begins the folder that others write to before it counts."""
_SMALL_ROWS: Final = 125_000
"""What has fewer is put together with others, to no more than twice as many."""
_MANY: Final = 8
"""So many small files of a table, a day and a shard are put together."""
_EMPTY: Final = "day=1970-01-01/empty.parquet"
"""A file without rows in every table, so that a table without any has its columns too."""


class ExportError(Exception):
    """An export can't be made, or gone on with; one sentence. `exit_code` is the command's."""

    def __init__(self, message: str, exit_code: int = 1) -> None:
        super().__init__(message)
        self.exit_code = exit_code


@dataclass(frozen=True, slots=True)
class Position:
    """How far a shard is exported: up to `filter`, and so many entries of the next commit."""

    filter: FilterState
    entries: int = 0

    @staticmethod
    def of(said: Mapping[str, Any]) -> "Position":
        """What `asdict` made of it; LookupError, TypeError."""
        return Position(FilterState(**said["filter"]), said["entries"])


@dataclass(slots=True)
class Heard:
    """How far a partition of `history` was looked through for what shadows decided."""

    next: int = 0
    seen: dict[int, tuple[int, int, int]] = field(default_factory=dict)
    """The highest position of each shard: commit, entry, event."""


@dataclass(slots=True)
class Manifest:
    """What an export holds, and where it goes on."""

    from_ms: int | None
    shards: dict[int, Position] = field(default_factory=dict)
    heard: dict[int, Heard] = field(default_factory=dict)  # by partition of `history`
    files: dict[str, int] = field(default_factory=dict)  # rows, by path
    begins: dict[int, int] = field(default_factory=dict)
    """By shard whose journal had lost its beginning: the commit after which it is exported."""

    @property
    def rows(self) -> int:
        """Of all files."""
        return sum(self.files.values())


class Directory:
    """An export's directory, while this process has it to itself."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.manifest: Manifest | None = self._read()
        self._made: set[Path] = set()

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Keep others out; ExportError where another export is at it."""
        with self._telling():
            self.path.mkdir(parents=True, exist_ok=True)
            lock = os.open(self.path / _LOCK, os.O_RDWR | os.O_CREAT | os.O_APPEND, 0o666)
        try:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError as error:
                raise ExportError(f"Another export is writing to {self.path}.") from error
            self.manifest = self._read()
            if not os.fstat(lock).st_size:
                with self._telling():  # so that it is known for ours before there is a manifest
                    os.write(lock, FORMAT.encode())
            yield
        finally:
            os.close(lock)

    def _read(self) -> Manifest | None:
        """What is there; None in an empty directory, ExportError in a foreign or newer one."""
        try:
            return self._found()
        except OSError as error:
            raise ExportError(
                f"{self.path} can't be read: {error.strerror or error}. Name another directory, or"
                " ask for the right to read it.",
                2,
            ) from error

    def _found(self) -> Manifest | None:
        file = self.path / MANIFEST
        if self.path.exists() and not self.path.is_dir():
            raise ExportError(f"{self.path} is no directory.", 2)
        if not file.exists():
            there = {one.name for one in self.path.iterdir()} if self.path.exists() else set()
            lock = self.path / _LOCK
            ours = lock.exists() and lock.read_bytes() in {b"", FORMAT.encode()}
            if there and not ours:
                raise ExportError(
                    f"{self.path} is not empty and holds no export: name an empty or a new"
                    " directory.",
                    2,
                )
            return None
        try:
            said: dict[str, Any] = orjson.loads(file.read_bytes())
            if said["format"] != FORMAT:
                raise ValueError(said["format"])  # noqa: TRY301 - said below
            version = said["version"]
            if version > VERSION:
                raise ExportError(
                    f"{file} has version {version}; this release reads {VERSION}: upgrade"
                    " Headrace, or export to another directory.",
                    2,
                )
            shards = {int(number): Position.of(one) for number, one in said["shards"].items()}
            heard = {
                int(number): Heard(
                    one["next"], {int(shard): tuple(at) for shard, at in one["seen"].items()}
                )
                for number, one in said.get("history", {}).items()
            }
            begins = {int(number): seq for number, seq in said.get("begins", {}).items()}
            return Manifest(said["from_ms"], shards, heard, said["files"], begins)
        except (ValueError, LookupError, TypeError) as error:
            raise ExportError(
                f"{file} is not the manifest of an export: name another directory.", 2
            ) from error

    def files(self, beside: Path) -> dict[str, list[Path]]:
        """What counts, by table (`<folder>/<type>`), and a file without rows that has its columns.

        Where an older release wrote that, one with today's is made `beside`, an empty directory. It
        gets a link to this one, too: a `name=` in this one's path is no partition. ExportError
        where a file is gone.
        """
        here = beside / "export"
        here.symlink_to(self.path.resolve())
        other = Directory(beside / "empty")
        found = {}
        for table in tables().values():
            said = self._has_columns(table)
            if not said:
                other._put_empty(table)
            found[table.folder] = [(here if said else other.path) / table.folder / _EMPTY]
        for name in self.manifest.files if self.manifest else ():
            if not (self.path / name).exists():
                raise ExportError(
                    f"{self.path} lacks {name}, which its manifest names: copy the whole of it, or"
                    " export to another directory."
                )
            folder, _, _ = name.partition("/day=")
            if folder in found:  # else of a newer release
                found[folder].append(here / name)
        return found

    def _has_columns(self, table: Table) -> bool:
        """Whether a file says all columns that this release's table has."""
        empty = self.path / table.folder / _EMPTY
        try:
            return bool(pq.read_schema(empty).equals(table.schema))
        except (FileNotFoundError, pa.ArrowInvalid):  # a power failure left it without content
            return False

    def _put_empty(self, table: Table) -> None:
        self._put(self.path / table.folder / _EMPTY, table.schema.empty_table(), last=False)

    def begin(self, from_ms: int | None, begins: Mapping[int, int] | None = None) -> Manifest:
        """Make it ready: remove what no manifest names, write views and empty files."""
        manifest = self.manifest or Manifest(from_ms)
        manifest.begins |= begins or {}
        with self._telling():
            for folder in self.path.glob(f"{_BESIDE}*"):
                shutil.rmtree(folder)
            for table in tables().values():
                for file in (self.path / table.folder).glob("day=*/*"):
                    name = file.relative_to(self.path).as_posix()
                    made = file.suffix in {".parquet", ".tmp"} and not name.endswith(_EMPTY)
                    if made and name not in manifest.files:
                        file.unlink()
                if not self._has_columns(table):
                    self._put_empty(table)
            self._replace(self.path / VIEWS, views().encode())
            (self.path / _READING).touch()
        self.manifest = manifest
        return manifest

    def add(
        self, table: Table, day: str, name: str, rows: pa.Table, beside: Path | None = None
    ) -> str:
        """Write rows to a file; its path below the directory. It counts once `commit` names it.

        `beside`: a folder to write to instead, from which `adopt` takes it.
        """
        path = f"{table.folder}/day={day}/{name}.parquet"
        with self._telling():
            self._put((beside or self.path) / path, rows)
        return path

    @contextmanager
    def beside(self) -> Iterator[Path]:
        """A folder that other processes write to, while this one has the directory to itself."""
        with self._telling():
            folder = Path(mkdtemp(prefix=_BESIDE, dir=self.path))
        try:
            yield folder
        finally:
            shutil.rmtree(folder, ignore_errors=True)

    def adopt(self, beside: Path, names: Iterable[str]) -> None:
        """Take over files that others wrote beside; they count once `commit` names them."""
        with self._telling():
            for name in names:
                path = self.path / name
                self._make(path.parent)
                (beside / name).replace(path)

    def commit(
        self,
        positions: Mapping[int, Position],
        files: Mapping[str, int],
        heard: Mapping[int, Heard] | None = None,
    ) -> None:
        """From here on these files count, and the export goes on at these positions."""
        manifest = self.manifest
        assert manifest is not None  # noqa: S101 - it has begun
        made = replace(
            manifest,
            shards=manifest.shards | dict(positions),
            heard=manifest.heard | dict(heard or {}),
            files=manifest.files | dict(files),
        )
        self._keep(made, files)

    def _keep(self, made: Manifest, files: Iterable[str]) -> None:
        """The manifest is this one from here on; it names these files for the first time."""
        content: dict[str, Any] = {
            "format": FORMAT,
            "version": VERSION,
            "from_ms": made.from_ms,
            "shards": {str(number): asdict(one) for number, one in sorted(made.shards.items())},
            "files": made.files,
        }
        if made.begins:
            content["begins"] = {str(number): seq for number, seq in sorted(made.begins.items())}
        if made.heard:
            content["history"] = {
                str(number): {
                    "next": one.next,
                    "seen": {str(shard): list(at) for shard, at in sorted(one.seen.items())},
                }
                for number, one in sorted(made.heard.items())
            }
        with self._telling():
            for folder in {(self.path / name).parent for name in files}:
                _sync(folder)
            self._replace(self.path / MANIFEST, orjson.dumps(content, option=orjson.OPT_INDENT_2))
        self.manifest = made

    @contextmanager
    def reading(self) -> Iterator[None]:
        """Files that the manifest names now stay there meanwhile."""
        try:
            lock = os.open(self.path / _READING, os.O_RDONLY)
        except OSError:  # an older release's; nobody puts its files together while it is so
            yield
            return
        try:
            fcntl.flock(lock, fcntl.LOCK_SH)
            self.manifest = self._read()
            yield
        finally:
            os.close(lock)

    def put_together(self, days: Mapping[int, str]) -> None:
        """Put many small files of a table, a day and a shard together, of days that are over.

        `days`: of each shard the first that is not. A crash between leaves files that no manifest
        names. Nothing is done while anybody reads, who may do so again: it is tried the next time.
        """
        small: dict[tuple[str, int], list[str]] = defaultdict(list)
        for name, rows in self.manifest.files.items() if self.manifest else ():
            folder, _, file = name.rpartition("/")
            shard, day = int(file.partition("-")[0]), folder.rpartition("=")[2]
            if day < days.get(shard, "") and rows < _SMALL_ROWS:
                small[folder, shard].append(name)
        many = [names for names in small.values() if len(names) >= _MANY]
        if not many:
            return
        with self._telling():
            lock = os.open(self.path / _READING, os.O_RDWR | os.O_CREAT, 0o666)
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            for names in many:
                self._put_together(names)
        except BlockingIOError:
            return
        finally:
            os.close(lock)

    def _put_together(self, names: Sequence[str]) -> None:
        manifest = self.manifest
        assert manifest is not None  # noqa: S101 - it names them
        gone: list[str] = []
        made: dict[str, int] = {}
        with self._telling():
            for some in self._batches(names):
                rows = pa.concat_tables(
                    [pq.ParquetFile(self.path / one).read() for one in some],
                    promote_options="default",  # files of older releases may lack columns
                )
                name = f"{some[0].removesuffix('.parquet')}+{len(some) - 1}.parquet"
                self._put(self.path / name, rows)
                made[name] = rows.num_rows
                gone += some
            files = {name: rows for name, rows in manifest.files.items() if name not in set(gone)}
            self._keep(replace(manifest, files=files | made), made)
            for one in gone:
                (self.path / one).unlink()

    def _batches(self, names: Sequence[str]) -> Iterator[list[str]]:
        """Of two or more each, and of no more rows than files have that aren't small."""
        assert self.manifest is not None  # noqa: S101 - it names them
        some: list[str] = []
        rows = 0
        for name in names:
            if rows + self.manifest.files[name] > 2 * _SMALL_ROWS:
                if len(some) > 1:
                    yield some
                some, rows = [], 0
            some.append(name)
            rows += self.manifest.files[name]
        if len(some) > 1:
            yield some

    def _put(self, path: Path, rows: pa.Table, *, last: bool = True) -> None:
        """Write a file that appears whole; it lasts a power failure once its folder is synced."""
        self._make(path.parent)
        making = path.with_suffix(".tmp")
        try:
            with making.open("wb") as file:
                pq.write_table(rows, file, compression="zstd")
                if last:
                    file.flush()
                    os.fsync(file.fileno())
            making.replace(path)
        except BaseException:
            making.unlink(missing_ok=True)
            raise

    def _make(self, folder: Path) -> None:
        if folder not in self._made:
            folder.mkdir(parents=True, exist_ok=True)
            self._made.add(folder)

    @staticmethod
    def _replace(path: Path, content: bytes) -> None:
        making = path.with_suffix(".tmp")
        try:
            with making.open("wb") as file:
                file.write(content)
                file.flush()
                os.fsync(file.fileno())
            making.replace(path)
            _sync(path.parent)
        except BaseException:
            making.unlink(missing_ok=True)
            raise

    @contextmanager
    def _telling(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            raise ExportError(
                f"{self.path} can't be written: {error.strerror or error}. What was exported before"
                " is whole: run it again to go on."
            ) from error


def _sync(folder: Path) -> None:
    """Make renames in a folder last."""
    number = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(number)
    finally:
        os.close(number)
