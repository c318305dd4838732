"""Snapshots of a shard on the topic `snapshots`: written in chunks, the manifest last.

A chunk is a JSON array of rows; what is in them is the core's business. A manifest names its chunks
by offset and checksum, so that a reader needs no other record of the topic. Segments that a writer
has written before and that are full are named again, not written again. Nobody but their writer
removes chunks; what a writer that is gone has left, the topic's retention takes.
"""

import ast
import gc
from collections import deque
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Iterator, Sequence
from collections.abc import Set as AbstractSet
from contextlib import aclosing, suppress
from dataclasses import asdict, dataclass, field
from functools import cache, partial
from hashlib import blake2b
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Final, Generic, NamedTuple, Protocol, TypeVar
from zlib import crc32

import orjson
import structlog

from orchestrator.runtime import metrics
from orchestrator.runtime.ahead import Ahead
from orchestrator.runtime.replica import Slices
from schemas.journal import FilterState, JournalError
from schemas.ports import (
    Clock,
    EventLog,
    LogError,
    OutOfRange,
    Partition,
    Randomness,
    Read,
    Reader,
    Record,
    Writer,
)
from schemas.silence import NoAnswerError, Silence
from schemas.voids import Voids

VERSION: Final = 1
REWRITE_S: Final = 86_400.0
"""After so long a writer writes everything again: retention takes what is older than a week."""
OLD_MS: Final = 2 * 86_400_000
"""Nor may the newest snapshot grow older than that, however little happens meanwhile."""
_CHUNK_BYTES: Final = 400_000  # about; a row larger than that is a chunk of its own
_MANIFEST: Final = b".manifest"
_WINDOW: Final = 16  # records looked through for manifests, from the end on; then more
_CANDIDATES: Final = 10  # manifests tried before the journal is refolded from its beginning
_READ_RECORDS: Final = 8  # the client unpacks them in one piece
_WAIT_MS: Final = 500
_READS: Final = 20  # without an answer, 10 s: a journal is folded from its beginning sooner
_SKIPPED_OVER: Final = 8  # records not asked for that are read rather than sought past
_KEPT: Final = 2  # of one's own snapshots: the newest and the one before
_TOMBSTONES: Final = 1_000  # removed in one batch

_log = structlog.get_logger(__name__)

S = TypeVar("S")
S_co = TypeVar("S_co", covariant=True)


class Segment(Protocol):
    """Entries of a log that only grows at its end; a full one never changes again."""

    @property
    def log(self) -> str:
        """Which log."""

    @property
    def number(self) -> int:
        """Its place in the log."""

    @property
    def row(self) -> bytes | None:
        """What it holds; None where that is known."""

    @property
    def full(self) -> bool:
        """Whether it never changes again."""


class Restoring(Protocol[S_co]):
    """A state in the making."""

    def take(self, row: Any) -> None:  # noqa: ANN401 - JSON
        """Take in the next row."""

    def finish(self) -> S_co:
        """The state, when all rows are in."""


@dataclass(frozen=True, slots=True)
class Format(Generic[S]):
    """The pure core's functions for writing a state and restoring it.

    `fingerprint` is that of the code that folds: what other code has folded isn't restored.
    """

    fingerprint: str
    rows: Callable[[S], Iterator[bytes]]
    segments: Callable[[S, AbstractSet[tuple[str, int]]], Iterator[Segment]]
    restoring: Callable[[int], Restoring[S]]


class Found(NamedTuple):
    """A manifest, where it stands on the topic, and since when, by the broker's clock."""

    offset: int
    at_ms: int
    manifest: dict[str, Any]

    @property
    def filter(self) -> FilterState:
        """The position that it was taken at."""
        return FilterState(**self.manifest["filter"])


class _Unusable(Exception):
    """This snapshot can't be restored; the one before may do."""


class _Chunk(NamedTuple):
    """Where a chunk stands on the topic, and the checksum of its bytes."""

    offset: int
    checksum: str


@dataclass(slots=True)
class _Own:
    """What this process has on the topic."""

    history: tuple[str, int]  # which journal, and how often a person said what of it is void
    since_s: float
    keys: dict[int, bytes] = field(default_factory=dict)  # of every record, by offset
    full: dict[tuple[str, int], _Chunk] = field(default_factory=dict)
    snapshots: list[set[int]] = field(default_factory=list)  # their records, the newest last


class Snapshots(Generic[S]):
    """The snapshots of one shard, as one process reads and writes them."""

    def __init__(
        self,
        number: int,
        *,
        log: EventLog,
        clock: Clock,
        randomness: Randomness,
        form: Format[S],
        voids: Voids | None = None,
    ) -> None:
        """Without `voids` it reads the void lists itself."""
        self.number = number
        self._voids = voids or Voids(log)
        self._log = log
        self._clock = clock
        self._form = form
        self._partition = Partition("snapshots", number)
        self._name = f"{randomness.bits(64):016x}"  # two writers at one position share no key
        self._count = 0
        self._newest = -1  # the offset of the newest record that this process wrote
        self._own = _Own(("", 0), 0.0)

    # --- reading

    async def load(self, before: int | None = None) -> tuple[S, FilterState] | None:
        """The newest whole snapshot, at or before our own ShardOpened at offset `before`.

        None where there is none, or the broker says nothing of their topic for long. What is torn,
        corrupt or made by other code is passed over with a warning, for the one before.
        JournalError where the journal's beginning is gone, or a snapshot shows that it has lost its
        end; LogError.
        """
        try:
            return await self._load(before)
        except NoAnswerError as error:
            await self._voids.once()
            if error.partition != self._partition or self._voids.lost(self.number):
                raise  # what is lost of a journal stands in snapshots alone
            _log.warning("goes without a snapshot", shard=self.number, what=str(error))
            return None

    async def _load(self, before: int | None) -> tuple[S, FilterState] | None:
        began = self._clock.monotonic()
        journal_id: str | None = None
        tried = 0
        async for found in self.manifests():
            if tried == _CANDIDATES:
                break
            tried += 1
            filter_state = found.filter
            try:
                if journal_id is None:
                    await self._voids.once()
                    journal_id = await self._voids.journal_id(self.number)
                self.check(found)
                if filter_state.journal_id != journal_id:
                    raise _Unusable("it is of another journal")  # noqa: TRY301 - one way to pass over
                self._check_happened(filter_state)
                if before is not None and filter_state.next > before:
                    _check_whole(filter_state, before)
                    continue
                state = await self.restore(found)
            except JournalError:
                raise
            except Exception as error:  # the one before may do, or the journal from its beginning
                if isinstance(error, LogError) and not isinstance(error, OutOfRange):
                    raise
                self._pass_over(found.offset, error)
                continue
            seconds = self._clock.monotonic() - began
            metrics.SNAPSHOT_LOAD_SECONDS.labels(str(self.number)).observe(seconds)
            _log.info(
                "restored", shard=self.number, seq=filter_state.seq, seconds=round(seconds, 3)
            )
            return state, filter_state
        return None

    async def newest(self) -> Found | None:
        """The newest snapshot of this code, whole or not; LogError."""
        async for found in self.manifests():
            with suppress(_Unusable):
                self.check(found)
                return found
        return None

    def _pass_over(self, offset: int, why: Exception) -> None:
        metrics.SNAPSHOTS_SKIPPED.labels(str(self.number)).inc()
        _log.warning("passes over a snapshot", shard=self.number, offset=offset, what=repr(why))

    def check(self, found: Found) -> None:
        """_Unusable where this release can't restore it."""
        version = found.manifest["version"]
        if version != VERSION:
            raise _Unusable(f"it has version {version}, this release reads {VERSION}")
        if found.manifest["fingerprint"] != self._form.fingerprint:
            raise _Unusable("it was made by another release, which may fold otherwise")

    async def manifests(self) -> AsyncIterator[Found]:
        """Every manifest on the topic, the newest first; LogError."""
        first, end = await self._log.bounds(self._partition)
        window = _WINDOW
        while end > first:
            start = max(first, end - window)
            try:
                records = [one async for one in self._range(start, end)]
            except OutOfRange:  # retention took it since we looked
                first = max(start + 1, (await self._log.bounds(self._partition)).first)
                continue
            for read in reversed(records):
                if read.value is not None and (read.key or b"").endswith(_MANIFEST):
                    try:
                        manifest = orjson.loads(read.value)
                        found = Found(read.offset, read.timestamp_ms, manifest)
                        found.filter  # noqa: B018 - that it has one
                    except (ValueError, LookupError, TypeError) as error:
                        self._pass_over(read.offset, error)
                    else:
                        yield found
            end, window = start, window * 8

    async def _range(self, start: int, end: int) -> AsyncIterator[Read]:
        """The records from `start` to before `end`; compaction may have left gaps."""
        reader = await self._log.reader({self._partition: start})
        silence, at = Silence(reader, self._partition, end, _READS), start
        try:
            while at < end:
                found = (await reader.read(_READ_RECORDS, _WAIT_MS)).get(self._partition, ())
                for read in found:
                    if read.offset < end:
                        yield read
                    at = read.offset + 1
                if found:
                    silence.broken()
                elif silence.is_the_end():
                    return
        finally:
            await reader.close()

    def _check_happened(self, filter_state: FilterState) -> None:
        """_Unusable where it holds what never happened, by a void list."""
        try:
            self._voids.begin(self.number, filter_state, folds=False)
        except JournalError as error:
            raise _Unusable(str(error)) from error

    async def restore(self, found: Found) -> S:
        """The state that a snapshot holds; _Unusable or what its rows raise, LogError."""
        slices = Slices(self._clock)
        restoring = self._form.restoring(self.number)
        chunks = [_Chunk(*one) for one in found.manifest["chunks"]]
        async with aclosing(self._chunks(chunks)) as values:
            async for value in values:
                for row in _rows(value):
                    restoring.take(row)
                    gc.freeze()  # it lives long: no collection need walk it, nor begin for it
                    await slices.between()
        return restoring.finish()

    async def _chunks(self, chunks: Sequence[_Chunk]) -> AsyncGenerator[bytes, None]:
        """The bytes of chunks, in the order of the topic; _Unusable where one isn't whole.

        While some are taken in the next are read.
        """
        wanted = deque(chunks)
        reader = await self._log.reader({self._partition: wanted[0].offset})
        ahead = Ahead(partial(self._read_chunks, reader))
        try:
            silence = Silence(reader, self._partition, chunks[-1].offset + 1, _READS)
            while wanted:
                found = await ahead.next()
                if found:
                    silence.broken()
                elif silence.is_the_end():
                    raise _Unusable(f"the chunk at offset {wanted[0].offset} is gone")
                here = list(_found(wanted, found))
                if found and wanted:
                    if wanted[0].offset - found[-1].offset > _SKIPPED_OVER:
                        reader.remove(self._partition)
                        reader.add(self._partition, wanted[0].offset)
                    ahead.begin()
                for chunk, read in here:
                    yield _content(chunk, read)
        finally:
            await ahead.end()
            await reader.close()

    async def _read_chunks(self, reader: Reader) -> Sequence[Read]:
        return (await reader.read(_READ_RECORDS, _WAIT_MS)).get(self._partition, ())

    # --- writing

    async def write(self, state: S, filter_state: FilterState) -> None:
        """Write a snapshot of a state at a confirmed position; the state must not change meanwhile.

        1. Chunks of rows, then the segments that aren't on the topic yet, each acknowledged.
        2. The manifest.
        3. When that is acknowledged: remove what one's own older snapshots held, but for the one
           before.
        LogError when any of it fails: then there may be chunks without a manifest, which count for
        nothing.
        """
        now_s = self._clock.monotonic()
        own = self._own
        history = filter_state.journal_id, len(self._voids.of(self.number))
        if own.history != history or now_s - own.since_s > REWRITE_S:
            own = self._own = _Own(history, now_s, own.keys, {}, own.snapshots)
        writer = await self._log.writer()
        try:
            chunks = [one async for one in self._write_chunks(writer, state, filter_state)]
            manifest = {
                "version": VERSION,
                "fingerprint": self._form.fingerprint,
                "filter": asdict(filter_state),
                "chunks": [[*chunk] for chunk in sorted(chunks)],
            }
            value = orjson.dumps(manifest)
            at = (await self._append(writer, filter_state, value, _MANIFEST)).offset
            own.snapshots = [*own.snapshots, {at, *(chunk.offset for chunk in chunks)}][-_KEPT:]
            await self._remove(writer)
        finally:
            with suppress(LogError):
                await writer.close()
        label = str(self.number)
        metrics.SNAPSHOT_SECONDS.labels(label).observe(self._clock.monotonic() - now_s)
        metrics.SNAPSHOT_SEQ.labels(label).set(filter_state.seq)
        _log.info(
            "snapshot",
            shard=self.number,
            seq=filter_state.seq,
            chunks=len(chunks),
            seconds=round(self._clock.monotonic() - now_s, 3),
        )

    async def _write_chunks(
        self, writer: Writer, state: S, filter_state: FilterState
    ) -> AsyncIterator[_Chunk]:
        slices = Slices(self._clock)
        rows: list[bytes] = []
        size = 0
        for row in self._form.rows(state):
            if rows and size + len(row) > _CHUNK_BYTES:
                yield await self._append(writer, filter_state, _array(rows))
                rows, size = [], 0
            rows.append(row)
            size += len(row) + 1
            await slices.between()
        yield await self._append(writer, filter_state, _array(rows))
        full = self._own.full
        held: dict[tuple[str, int], _Chunk] = {}
        for segment in self._form.segments(state, full.keys()):
            await slices.between()
            which = segment.log, segment.number
            chunk = (
                full[which]
                if segment.row is None
                else await self._append(writer, filter_state, _array([segment.row]))
            )
            if segment.full:
                held[which] = chunk
            yield chunk
        self._own.full = held

    async def _append(
        self, writer: Writer, at: FilterState, value: bytes, suffix: bytes = b""
    ) -> _Chunk:
        self._count += 1
        key = f"{self.number}/{at.epoch}.{at.seq}/{self._name}.{self._count}".encode() + suffix
        appended = await writer.append(self._partition, [Record(key, value)])
        if appended.base_offset <= self._newest:
            self._own, self._newest = _Own(("", 0), 0.0), -1
            raise LogError("the topic snapshots was made anew: what was written before is gone")
        self._newest = appended.base_offset
        self._own.keys[appended.base_offset] = key
        metrics.SNAPSHOT_BYTES.labels(str(self.number)).inc(len(value))
        return _Chunk(appended.base_offset, checksum(value))

    async def _remove(self, writer: Writer) -> None:
        own = self._own
        needed = set().union(*own.snapshots)
        gone = [offset for offset in own.keys if offset not in needed]
        for first in range(0, len(gone), _TOMBSTONES):
            some = gone[first : first + _TOMBSTONES]
            await writer.append(self._partition, [Record(own.keys[one], None) for one in some])
            for one in some:
                del own.keys[one]


def _found(wanted: deque[_Chunk], reads: Sequence[Read]) -> Iterator[tuple[_Chunk, Read]]:
    """The chunks that stand among these, which are wanted no more; others stand between them."""
    for read in reads:
        if wanted and read.offset >= wanted[0].offset:
            yield wanted.popleft(), read


def _content(chunk: _Chunk, read: Read) -> bytes:
    """The bytes of a chunk, of the record that was read for it; _Unusable."""
    if read.offset > chunk.offset:
        raise _Unusable(f"the chunk at offset {chunk.offset} is gone")
    if read.value is None or checksum(read.value) != chunk.checksum:
        raise _Unusable(f"the chunk at offset {chunk.offset} has other content")
    return read.value


def _rows(value: bytes) -> Any:  # noqa: ANN401 - JSON
    """A chunk's rows. They are so many lists that a collection would begin: it is kept off."""
    collects = gc.isenabled()
    gc.disable()
    try:
        rows = orjson.loads(value)
        gc.freeze()
    finally:
        if collects:
            gc.enable()
    return rows


def checksum(value: bytes) -> str:
    """Of a chunk's bytes: it tells what was torn or mangled, as of many MB a shard waits for it."""
    return f"{crc32(value):08x}"


def _check_whole(filter_state: FilterState, end: int) -> None:
    """What was folded beyond our ShardOpened is of its epoch, or of one after it."""
    if filter_state.epoch < end:
        raise JournalError(
            f"a snapshot was taken when the journal had a record at offset {filter_state.next - 1},"
            f" but its end was {end}: it has lost records that were confirmed"
        )


def _array(rows: Sequence[bytes]) -> bytes:
    return b"[" + b",".join(rows) + b"]"


@cache
def fingerprint(*modules: str) -> str:
    """A digest of these modules' code, and of all of ours that they import; not of comments.

    Of the source, which lies beside what was compiled from it.
    """
    found: dict[str, str] = {}
    todo = list(modules)
    while todo:
        name = todo.pop()
        source = _source(name)
        if name in found or source is None:
            continue
        tree = ast.parse(source.read_bytes())
        found[name] = ast.dump(tree)
        imports = (node for node in ast.walk(tree) if isinstance(node, ast.ImportFrom))
        for module, names in ((node.module or "", node.names) for node in imports):
            if module.partition(".")[0] in _OURS:
                todo += [module, *(f"{module}.{one.name}" for one in names)]
    digest = blake2b(digest_size=16)
    for name in sorted(found):
        digest.update(f"{name}\n{found[name]}\n".encode())
    return digest.hexdigest()


_OURS: Final = frozenset({"events", "orchestrator", "schemas"})


def _source(name: str) -> Path | None:
    """Where a module's source is; None where this is the name of something in a module."""
    try:
        spec = find_spec(name)
    except ModuleNotFoundError:
        return None
    if spec is None or spec.origin is None:
        return None
    origin = Path(spec.origin)
    return origin.with_name(f"{origin.name.partition('.')[0]}.py")
