"""The shadow: decides each order a second time, by the rule set that runs in shadow, if any.

It folds the journal as a standby does, and puts what the shadow would have decided beside what was
decided, on the topic `history`, under positions of its own. Nothing is carried out, and no role
reads it: engines know of a shadow only that there is one.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, Generic, TypeVar

import orjson

from orchestrator.runtime import metrics
from orchestrator.runtime.history import HistoryPublisher
from orchestrator.runtime.publisher import Ports, Publishers
from orchestrator.runtime.snapshots import Format
from schemas.journal import Entry, JournalError
from schemas.ports import Read, Record
from schemas.times import rfc3339

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
    shadows would have decided of the orders that the entry accepts. `let_go` empties a state that
    nobody needs any more, a piece a step.
    """

    new: Callable[[int], S]
    fold: Callable[[S, Entry], None]
    now_ms: Callable[[S], int]
    shadows: Callable[[], Callable[[S, Entry], Sequence[Mapping[str, Any]]]]
    form: Format[S]
    let_go: Callable[[S], Iterator[None]]


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


class ShardShadow(HistoryPublisher[S]):
    """One shard, followed and decided beside, in this process.

    It publishes as `ShardHistory` does: before an entry is folded, what shadows would have decided.
    """

    role = "shadow"
    restarts = metrics.SHADOW_RESTARTS
    read_records = 16
    _shadows: Callable[[S, Entry], Sequence[Mapping[str, Any]]]  # from when it begins to publish

    def __init__(self, number: int, ports: Ports, beside: Beside[S]) -> None:
        super().__init__(number, ports, beside.form, lambda: beside.new(number), beside.let_go)
        self._core = beside

    async def _publish(self) -> None:
        self._shadows = self._core.shadows()
        await super()._publish()

    def _records(self, read: Read, seq: int, number: int, entry: Entry) -> list[Record]:
        place = self.number, seq, number
        decided = decided_beside(self._core, self._shadows, self._known, place, entry)
        self._fold(read, number, entry)
        return decided

    def _fold(self, read: Read, number: int, entry: Entry) -> None:
        try:
            self._core.fold(self._known, entry)
        except Exception as error:
            raise JournalError(
                f"entry {number} of the commit at offset {read.offset} contradicts the state"
                f" before it: {error!r}"
            ) from error


class Shadow(Publishers):
    """The role: a ShardShadow for each shard that the group suggests."""

    def __init__(self, ports: Ports, beside: Beside[S]) -> None:
        super().__init__("shadow", ports.group, lambda number: ShardShadow(number, ports, beside))
