"""Verification: whether journals, and what was made of them, are what they say they are.

A journal is read from end to end through the same filter and fold as ever; readers' checkpoints
must lie on it, and what was published must follow from it. `projections.comparison` does the same
for PostgreSQL.
"""

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from hashlib import blake2b
from typing import Any, Final, NamedTuple

import orjson

from events.outputs import OUTPUTS
from orchestrator.core import decide as core
from orchestrator.core import snapshot
from orchestrator.core.config import Config
from orchestrator.core.invariants import violations
from orchestrator.core.shard import Shard
from orchestrator.runtime.publisher import Outgoing
from orchestrator.runtime.relay import publish
from orchestrator.runtime.snapshots import Found, Snapshots
from orchestrator.runtime.whole import Whole
from schemas.journal import Commit, Entry, FilterState, JournalError, Opened, Verdict
from schemas.ports import EventLog, LogError, Partition, Read, Record
from schemas.voids import Voids

_SHOWN: Final = 20
"""Findings of one check, at the most; the rest is counted."""
_COMPACTED: Final = "availability"

Advanced = Callable[[str, int, int], None]
"""Hears of progress: what is read, how far, of how much."""


class Finding(NamedTuple):
    """Something that is not as it must be: which check, where, what in a sentence."""

    check: str
    where: str
    what: str


class Findings:
    """The first findings of each check in the order found, and how many there are."""

    def __init__(self) -> None:
        self.counts: Counter[str] = Counter()
        self._first: list[Finding] = []

    def add(self, check: str, where: str, what: str) -> None:
        """Take a finding down."""
        self.counts[check] += 1
        if self.counts[check] <= _SHOWN:
            self._first.append(Finding(check, where, what))

    def shown(self) -> Iterator[Finding]:
        """The first of each check, then how many more."""
        yield from self._first
        for check, count in self.counts.items():
            if count > _SHOWN:
                yield Finding(check, "", f"and {count - _SHOWN} more")


class Kept(NamedTuple):
    """A reader's checkpoint: whose, and the filter state it holds."""

    whose: str  # PostgreSQL, the relay
    state: FilterState


@dataclass(slots=True)
class Verified:
    """What a shard's journal holds."""

    shard: int
    end: FilterState
    records: int = 0
    commits: int = 0
    void: int = 0
    inputs: int = 0
    events: int = 0
    recomputed: int = 0  # inputs decided again
    snapshots: int = 0  # compared with the fold
    snapshots_passed_over: int = 0  # torn, or of another release
    begin: FilterState = field(default_factory=FilterState)  # where it was begun from


@dataclass(slots=True)
class Published:
    """What must have been published, by event id; built while journals are read."""

    partitions: Mapping[str, int]  # of each public topic
    expected: dict[str, tuple[str, int, bytes]] = field(default_factory=dict)
    """Topic, partition, digest of key, value and headers."""
    newest: dict[tuple[str, bytes], str] = field(default_factory=dict)
    """By topic and key of the compacted topics: the id of what was said last."""
    never: dict[int, list[range]] = field(default_factory=dict)
    """By shard: the numbers of commits that a journal lost, as a person found."""

    def expect(self, commit: Commit, shard: int) -> None:
        """Add a valid commit's events."""
        outgoing: Outgoing = _Records()
        publish(commit, shard, self.partitions, outgoing)
        for to, records in outgoing.items():
            for record in records:
                id_ = _event_id(record.headers)
                self.expected[id_] = (to.topic, to.number, _digest(record))
                if to.topic == _COMPACTED:
                    self.newest[to.topic, record.key or b""] = id_


class _Records(dict[Partition, list[Record]]):
    def __missing__(self, to: Partition) -> list[Record]:
        return self.setdefault(to, [])


def _event_id(headers: Iterable[tuple[str, bytes]]) -> str:
    return next((raw.decode(errors="replace") for name, raw in headers if name == "ce_id"), "")


def _digest(record: Record | Read) -> bytes:
    """Of all that consumers see of a record."""
    seen = (record.key, record.value, [tuple(one) for one in record.headers])
    return blake2b(repr(seen).encode(), digest_size=12).digest()


async def verify_journal(  # noqa: PLR0913 - each is a check of its own
    log: EventLog,
    shard: int,
    config: Config,
    findings: Findings,
    *,
    kept: Iterable[Kept] = (),
    published: Published | None = None,
    recompute: bool = False,
    snapshots: Snapshots[Shard] | None = None,
    begin: Found | None = None,
    voids: Voids | None = None,
    advanced: Advanced = lambda *_: None,
) -> Verified:
    """Read a shard's journal from end to end.

    1. The chain: every record through the filter; it says where a journal contradicts itself.
    2. The fold: every entry into the state, which checks its books; at the end the whole state's
       invariants.
    3. `kept`: each checkpoint is the filter's state at its position.
    4. `snapshots`: each that this release can restore equals the fold at its position.
    5. `begin`: the snapshot to begin from, instead of the journal's beginning.
    6. `recompute`: every input is decided again by today's code; a decision that differs is listed
       and the journal's is taken.

    What is void by a person's word (`voids`, read here where not given) is passed over.
    """
    partition = Partition("journal", shard)
    name = f"journal/{shard}"
    first, end = await log.bounds(partition)
    if voids is None:
        voids = Voids(log)
        await voids.read()
    reading = _Reading(shard, config, findings, published, voids, recompute=recompute)
    if snapshots is not None and begin is not None:
        await reading.begin(snapshots, begin)
    at = reading.done.end.next
    waiting: dict[int, list[Kept]] = {}
    for one in kept:
        if one.state.next >= at:
            waiting.setdefault(one.state.next, []).append(one)
    found: dict[int, list[Found]] = {}
    if snapshots is not None:
        async for manifest in snapshots.manifests():
            found.setdefault(manifest.filter.next, []).append(manifest)
    reading.compare(waiting.pop(at, ()))
    if first > at:
        findings.add(
            "journal",
            f"{name}@0",
            f"its first {first} records are gone: something deletes from the journal. Set its"
            " retention.ms and retention.bytes to -1, and restore the topic from a replica; where"
            f" that can't be done, `headrace shard void {shard}` says how to go on",
        )
    else:
        async with Whole(log, partition, at) as records:
            async for reads in records:
                for read in reads:
                    if not reading.take(read):
                        return reading.done
                    reading.compare(waiting.pop(read.offset + 1, ()))
                    for manifest in found.pop(read.offset + 1, ()):
                        await reading.compare_snapshot(snapshots, manifest)
                advanced(name, reading.done.end.next, end)
    reading.finish()
    for beyond in (one for ones in waiting.values() for one in ones):
        _beyond(findings, name, reading.done.end, beyond)
    return reading.done


def _beyond(findings: Findings, name: str, end: FilterState, kept: Kept) -> None:
    """A checkpoint past the journal's end."""
    if end.journal_id and kept.state.journal_id != end.journal_id:
        _other_journal(findings, name, kept)
        return
    findings.add(
        "checkpoint",
        f"{name}@{kept.state.next}",
        f"{kept.whose} stands behind the end of the journal, which is {end.next}: the journal lost"
        " its tail, or was made anew",
    )


def _other_journal(findings: Findings, name: str, kept: Kept) -> None:
    findings.add(
        "checkpoint",
        f"{name}@{kept.state.next}",
        f"{kept.whose} is of another journal ({kept.state.journal_id}): the topic was made anew"
        " under its old name, or the checkpoint comes from elsewhere",
    )


class _Reading:
    """A journal being verified."""

    def __init__(
        self,
        shard: int,
        config: Config,
        findings: Findings,
        published: Published | None,
        voids: Voids,
        *,
        recompute: bool,
    ) -> None:
        self._voids = voids
        self.done = Verified(shard, FilterState())
        self._findings = findings
        self._published = published
        self._folded: Shard | None = Shard(shard, config)
        self._deciding: Shard | None = Shard(shard, config) if recompute else None
        self._strayed = False  # a decision differed: what decides must be made anew

    def take(self, read: Read) -> bool:
        """Take the next record; False where the journal can't be read on."""
        done = self.done
        where = f"journal/{done.shard}@{read.offset}"
        try:
            before = done.end.seq
            done.end, record, verdict = self._voids.take(done.shard, done.end, read, folds=True)
        except JournalError as error:
            self._findings.add("journal", where, str(error))
            return False
        done.records += 1
        happened = isinstance(record, Commit) and verdict is Verdict.VALID
        never = range(before + 1, done.end.seq + (not happened))
        if never and self._published is not None:
            self._published.never.setdefault(done.shard, []).append(never)
        if isinstance(record, Commit) and happened:
            self._commit(record)
        elif not isinstance(record, Opened):
            done.void += 1
        return True

    def _commit(self, commit: Commit) -> None:
        self.done.commits += 1
        if self._published is not None:
            self._published.expect(commit, self.done.shard)
        for number, entry in enumerate(commit.entries):
            self.done.inputs += 1
            self.done.events += len(entry["events"])
            where = f"{self.done.shard}.{commit.seq}.{number}"
            self._recompute(where, entry)
            self._fold(where, entry)

    def _fold(self, where: str, entry: Entry) -> None:
        if self._folded is None:
            return
        try:
            core.fold(self._folded, entry)
        except Exception as error:  # noqa: BLE001 - whatever it is, that is the finding
            self._findings.add("fold", where, f"contradicts the state before it: {error!r}")
            self._folded = self._deciding = None
            return
        if self._strayed:
            self._deciding, self._strayed = _copied(self._folded), False

    def _recompute(self, where: str, entry: Entry) -> None:
        """Decide an input again; what differs from the journal is told."""
        ordered = any(event["type"] == "input_skipped" for event in entry["events"])
        if self._deciding is None or ordered:
            self._strayed = self._deciding is not None
            return
        self.done.recomputed += 1
        cause: Any = entry["input"]
        try:
            again: list[Any] = core.decide(self._deciding, cause)
        except Exception as error:  # noqa: BLE001 - whatever it is, that is the difference
            what = f"today's code can't decide it: {error!r}"
        else:
            if orjson.dumps(again) == orjson.dumps(entry["events"]):
                return
            what = _difference(entry["events"], orjson.loads(orjson.dumps(again)))
        said = f"{cause['type']} {cause['id']!r} of {cause['source']!r}: {what}"
        self._findings.add("recompute", where, said)
        self._strayed = True

    def compare(self, kept: Iterable[Kept]) -> None:
        """Checkpoints at the position reached."""
        name, end = f"journal/{self.done.shard}", self.done.end
        for one in kept:
            if one.state == end:
                continue
            if one.state.journal_id != end.journal_id:
                _other_journal(self._findings, name, one)
                continue
            differs = ", ".join(
                f"{field} {getattr(one.state, field)!r} instead of {getattr(end, field)!r}"
                for field in ("epoch", "nonce", "seq", "inbox_next", "digest", "last_epoch")
                if getattr(one.state, field) != getattr(end, field)
            )
            self._findings.add(
                "checkpoint",
                f"{name}@{end.next}",
                f"{one.whose} followed another history: {differs}. The journal lost its tail and"
                " was written on, or the checkpoint is no longer its own",
            )

    async def begin(self, snapshots: Snapshots[Shard], found: Found) -> None:
        """Begin with what a snapshot holds."""
        self._folded = await snapshots.restore(found)
        self.done.end = self.done.begin = found.filter
        if self._deciding is not None:
            self._deciding = await snapshots.restore(found)

    async def compare_snapshot(self, snapshots: Snapshots[Shard] | None, found: Found) -> None:
        """A snapshot holds the fold at its position, where this release can restore it at all."""
        if self._folded is None or snapshots is None:
            return
        if found.filter.journal_id != self.done.end.journal_id:
            self.done.snapshots_passed_over += 1
            return
        try:
            snapshots.check(found)
            restored = await snapshots.restore(found)
        except LogError:
            raise
        except Exception:  # noqa: BLE001 - torn, or of another release: whoever opens passes it over
            self.done.snapshots_passed_over += 1
            return
        self.done.snapshots += 1
        if found.filter != self.done.end or _written(restored) != _written(self._folded):
            self._findings.add(
                "snapshot",
                f"snapshots/{self.done.shard}@{found.offset}",
                f"differs from the fold at commit {self.done.end.seq}: delete it, so that shards"
                " open from the one before, and report it",
            )

    def finish(self) -> None:
        """At the end: the whole state."""
        if self._folded is not None:
            where = f"{self.done.shard}:{self.done.end.seq}"
            for sentence in violations(self._folded):
                self._findings.add("invariant", where, sentence)


def _written(shard: Shard) -> bytes:
    """The digest of all that a snapshot would hold of it."""
    digest = blake2b(digest_size=16)
    for row in snapshot.rows(shard):
        digest.update(row)
    for segment in snapshot.segments(shard, frozenset()):
        digest.update(segment.row or b"")
    return digest.digest()


def _copied(shard: Shard) -> Shard:
    """The same state once more, by way of a snapshot's rows."""
    restoring = snapshot.Restoring(Shard(shard.number, shard.config))
    for row in snapshot.rows(shard):
        restoring.take(orjson.loads(row))
    for segment in snapshot.segments(shard, frozenset()):
        restoring.take(orjson.loads(segment.row or b"null"))
    return restoring.finish()


def _difference(was: list[Any], now: list[Any]) -> str:
    """The first event that differs, and in which fields."""
    for number, (one, other) in enumerate(zip(was, now, strict=False)):
        if one != other:
            if one["type"] != other["type"]:
                return f"event {number} was {one['type']}, is {other['type']} today"
            fields = sorted(
                name for name in one.keys() | other.keys() if one.get(name) != other.get(name)
            )
            return f"event {number}, {one['type']}, differs in {', '.join(fields)}"
    if len(was) == len(now):
        return "the events' fields stand in another order"
    return f"{len(was)} events were journaled, today there are {len(now)}"


async def verify_published(
    log: EventLog,
    published: Published,
    begins: Mapping[int, FilterState],
    ends: Mapping[int, FilterState],
    relayed: Mapping[int, FilterState],
    findings: Findings,
    advanced: Advanced = lambda *_: None,
) -> int:
    """Compare the public topics with what follows from the journals; how many records were read.

    `begins`, `ends`: from where and how far each journal was read; `relayed`: the relay's
    checkpoints. Up to those all must be there, apart from what a topic's retention removed. Beyond
    the others nothing is known. One id may stand there twice, with one content.
    """
    seen: set[str] = set()
    lowest: dict[tuple[str, int, int, int], int] = {}  # topic, partition, shard, first -> seq
    highest: dict[tuple[str, bytes], tuple[int, ...]] = {}  # topic, key -> position
    firsts: dict[tuple[str, int], int] = {}  # topic, partition -> all from there on was read
    count = 0
    for topic in sorted({model.TOPIC for model in OUTPUTS.values()}):
        for number in range(published.partitions[topic]):
            partition = Partition(topic, number)
            async with Whole(log, partition, retained=True) as reading:
                async for reads in reading:
                    count += len(reads)
                    for read in reads:
                        id_ = _event_id(read.headers)
                        position = _position(id_)
                        if position is None or position[0] not in ends:
                            continue  # somebody else's
                        at = (topic, number, position[0], reading.first)
                        lowest[at] = min(position[1], lowest.get(at, position[1]))
                        key = (topic, read.key or b"")
                        highest[key] = max(position, highest.get(key, position))
                        _check(findings, partition, read, id_, position, published, begins, ends)
                        seen.add(id_)
                    advanced(topic, reads[-1].offset + 1, reading.end)
                firsts[topic, number] = reading.first
    for id_, (topic, number, _) in published.expected.items():
        position = _position(id_)
        if position is None or id_ in seen or topic == _COMPACTED:
            continue
        shard, seq = position[:2]
        first = firsts[topic, number]
        held = not first or seq > lowest.get((topic, number, shard, first), seq)
        if held and seq <= relayed.get(shard, FilterState()).seq:
            findings.add("published", id_, f"is missing from {topic}/{number}")
    _newest(published, relayed, highest, findings)
    return count


def _check(
    findings: Findings,
    partition: Partition,
    read: Read,
    id_: str,
    position: tuple[int, ...],
    published: Published,
    begins: Mapping[int, FilterState],
    ends: Mapping[int, FilterState],
) -> None:
    where = f"{partition.topic}/{partition.number}@{read.offset}"
    expected = published.expected.get(id_)
    if expected is None:
        lost = any(position[1] in one for one in published.never.get(position[0], ()))
        if begins[position[0]].seq < position[1] <= ends[position[0]].seq and not lost:
            findings.add("published", where, f"{id_} does not follow from the journal")
    elif expected[:2] != (partition.topic, partition.number):
        findings.add("published", where, f"{id_} belongs on {expected[0]}/{expected[1]}")
    elif expected[2] != _digest(read):
        findings.add("published", where, f"{id_} has another content than the journal gives it")


def _newest(
    published: Published,
    relayed: Mapping[int, FilterState],
    highest: Mapping[tuple[str, bytes], tuple[int, ...]],
    findings: Findings,
) -> None:
    """Of a compacted topic each key's newest event is there."""
    for (topic, key), id_ in published.newest.items():
        position = _position(id_)
        if position is None or position[1] > relayed.get(position[0], FilterState()).seq:
            continue
        if highest.get((topic, key), (-1,)) < position:
            shown = key.decode(errors="replace")
            findings.add("published", id_, f"the newest of {shown} is missing from {topic}")


def _position(id_: str) -> tuple[int, ...] | None:
    """Shard, commit, entry, event of `<shard>.<seq>.<entry>.<n>`."""
    parts = id_.split(".")
    if len(parts) == 4 and all(part.isdecimal() for part in parts):  # noqa: PLR2004 - as above
        return tuple(map(int, parts))
    return None
