"""The shadow: decides each order a second time, by the rule set that runs in shadow, if any.

It folds the journal as a standby does, and puts what the shadow would have decided beside what was
decided, on the topic `history`, under positions of its own. Nothing is carried out, and no role
reads it: engines know of a shadow only that there is one.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, Generic, TypeVar

import orjson

from orchestrator.runtime import metrics
from orchestrator.runtime.history import HistoryPublisher, known_at
from orchestrator.runtime.publisher import IDLE_WAIT_MS, SAVE_EVERY_S, Publishers
from orchestrator.runtime.replica import Slices
from orchestrator.runtime.snapshots import Format
from schemas.journal import Commit, Entry, JournalError, Verdict
from schemas.ports import (
    Clock,
    EventLog,
    Group,
    Randomness,
    Read,
    Reader,
    Record,
)
from schemas.times import rfc3339

_READ_RECORDS: Final = 16
_HEADERS: Final = (
    ("ce_specversion", b"1.0"),
    ("ce_type", b"headrace.shadow_decided.v1"),
    ("content-type", b"application/json"),
)

S = TypeVar("S")


@dataclass(frozen=True, slots=True)
class Beside(Generic[S]):
    """The pure core's functions for following a shard, and deciding beside it.

    `shadows` makes what decides beside one shard: before an entry is folded, it tells what its
    shadows would have decided of the orders that the entry accepts.
    """

    new: Callable[[int], S]
    fold: Callable[[S, Entry], None]
    now_ms: Callable[[S], int]
    shadows: Callable[[], Callable[[S, Entry], Sequence[Mapping[str, Any]]]]
    form: Format[S]


def record_of(
    shard: int, seq: int, number: int, told: Mapping[str, Any], recorded_at: str
) -> Record:
    """A shadow's decision as a CloudEvent in binary mode; the same position, the same bytes."""
    said = {**told}
    n = said.pop("n")
    at = f"{shard}.{seq}.{number}"
    if "active" in said:
        said["active"] = {**said["active"]}
        said["active"]["position"] = f"{at}.{said['active'].pop('n')}"
    position = f"shadow/{at}.{n}"
    value = orjson.dumps(
        {
            "kind": "shadow",
            "position": position,
            "shard": shard,
            "seq": seq,
            "entry": number,
            "n": n,
            "recorded_at": recorded_at,
            **said,
        }
    )
    headers = (
        *_HEADERS,
        ("ce_id", position.encode()),
        ("ce_source", b"headrace/%d/shadow" % shard),
        ("ce_time", recorded_at.encode()),
    )
    return Record(said["order_id"].encode(), value, headers)


def decided_beside(
    core: Beside[S],
    shadows: Callable[[S, Entry], Sequence[Mapping[str, Any]]],
    shard: S,
    place: tuple[int, int, int],
    entry: Entry,
) -> list[Record]:
    """What an entry's shadows decide, before it is folded; at this shard, commit and entry."""
    told = shadows(shard, entry)
    ticks = "origin" not in entry["input"]
    now_ms = max(core.now_ms(shard), entry["input"]["time_ms"] if ticks else 0) if told else 0
    return [record_of(*place, one, rfc3339(now_ms)) for one in told]


class ShardShadow(HistoryPublisher, Generic[S]):
    """One shard, followed and decided beside, in this process."""

    role = "shadow"
    restarts = metrics.SHADOW_RESTARTS

    def __init__(
        self,
        number: int,
        *,
        log: EventLog,
        group: Group,
        clock: Clock,
        randomness: Randomness,
        beside: Beside[S],
    ) -> None:
        super().__init__(number, log=log, group=group, clock=clock, randomness=randomness)
        self._core = beside

    async def _publish(self) -> None:
        """Decide beside from the checkpoint on.

        1. Load the checkpoint; the state there comes from the newest snapshot of the shard that
           lies before it, and from the journal in between.
        2. Read and filter; of each entry, what shadows would have decided, then fold it.
        3. Append that to `history`, every acknowledgement awaited; only then save the checkpoint.
           What follows it is decided again after a crash: the same positions, the same bytes.
        """
        self.state = "opening"
        partitions = (await self._partitions(["history", "journal"]))["history"]
        kept, publish_from = await self._checkpoint()
        self._none_waits(partitions)
        shard, state = await known_at(
            kept,
            self.number,
            self._log,
            self._clock,
            self._randomness,
            self._core.form,
            lambda: self._core.new(self.number),
        )
        shadows = self._core.shadows()
        writer = await self._log.writer()
        reader: Reader | None = None
        saved = kept
        slices = Slices(self._clock)
        try:
            reader = await self._log.reader({self._journal: state.next or None})
            save_at = self._clock.monotonic()
            while not self.stop.is_set():
                read = (await reader.read(_READ_RECORDS, IDLE_WAIT_MS)).get(self._journal, ())
                for one in read:
                    if self.stop.is_set():
                        break
                    after, commit, verdict = self._voids.take(self.number, state, one, folds=True)
                    if verdict is Verdict.VALID and isinstance(commit, Commit):
                        for number, entry in enumerate(commit.entries):
                            if one.offset >= publish_from:
                                place = self.number, commit.seq, number
                                for record in decided_beside(
                                    self._core, shadows, shard, place, entry
                                ):
                                    self._put(record)
                            self._fold(shard, one, number, entry)
                            await slices.between()
                    state = after
                    if state.next == kept.next and state != kept:
                        raise JournalError(
                            f"the checkpoint of shadow is of another history than"
                            f" journal/{self.number} has at offset {one.offset}"
                        )
                    if self._full:
                        await self._flush(writer)
                await self._flush(writer)
                high_water = reader.high_water(self._journal)
                if state.next > publish_from or (
                    high_water is not None and state.next >= high_water
                ):
                    self.state = "open"
                self._observe(reader, state, {})
                now = self._clock.monotonic()
                if state.next > max(saved.next, publish_from) and (now >= save_at or not read):
                    await self._save(state)
                    saved, save_at = state, now + SAVE_EVERY_S
            if state.next > max(saved.next, publish_from):
                await self._save(state)
        finally:
            metrics.forget(metrics.READER_LAG, self.role, "journal", self._label)
            await writer.close()
            if reader is not None:
                await reader.close()

    def _fold(self, shard: S, read: Read, number: int, entry: Entry) -> None:
        try:
            self._core.fold(shard, entry)
        except Exception as error:
            raise JournalError(
                f"entry {number} of the commit at offset {read.offset} contradicts the state"
                f" before it: {error!r}"
            ) from error


class Shadow(Publishers):
    """The role: a ShardShadow for each shard that the group suggests."""

    def __init__(
        self,
        *,
        log: EventLog,
        group: Group,
        clock: Clock,
        randomness: Randomness,
        beside: Beside[S],
    ) -> None:
        super().__init__(
            "shadow",
            group,
            lambda number: ShardShadow(
                number, log=log, group=group, clock=clock, randomness=randomness, beside=beside
            ),
        )
