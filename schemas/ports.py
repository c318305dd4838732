"""The ports: what touches the world goes through them, so that the roles run unchanged over fakes.

They stand here, below both top packages, because projections use the same log, group and clock as
the orchestrator.
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple, Protocol

from schemas.journal import FilterState

MAX_BATCH_BYTES = 900_000
"""Keys, values and headers of one `append`, uncompressed: below what brokers take by default.

The caller splits.
"""

MAX_METADATA_BYTES = 4_096
"""Of a checkpoint's metadata: what brokers take by default (`offset.metadata.max.bytes`)."""


class Partition(NamedTuple):
    """A topic's partition; the topic is named without the configured prefix."""

    topic: str
    number: int


class Record(NamedTuple):
    """A record to append."""

    key: bytes | None
    value: bytes | None
    headers: Sequence[tuple[str, bytes]] = ()


class Read(NamedTuple):
    """A record as it was read; `timestamp_ms` is when the broker took it."""

    offset: int
    timestamp_ms: int
    key: bytes | None
    value: bytes | None
    headers: Sequence[tuple[str, bytes]]


class Appended(NamedTuple):
    """A confirmed append: the offset of its first record, and the broker's time of it.

    The time is -1 where the broker doesn't say it with the acknowledgement.
    """

    base_offset: int
    timestamp_ms: int


class Bounds(NamedTuple):
    """The first offset that can be read and the next that will be written."""

    first: int
    next: int


class LogError(Exception):
    """The log can't do what was asked. The message says what to do."""


class Refused(LogError):
    """The broker refused the append: nothing of it is in the log."""


class Unknown(LogError):
    """The append's outcome is unknown: it may be in the log, or land later.

    A time-out, a lost connection or a cancellation came between.
    """


class Fenced(LogError):
    """Another process writes under this name now: nothing more of this one counts."""


class MembershipEnded(LogError):
    """This member of a group is one no more, for ever: the process ends, to be started anew."""


class OutOfRange(LogError):
    """A reader's position lies outside what the log still holds."""


class Writer(Protocol):
    """A producer of one owner.

    After Refused or Unknown it is dead: close it and ask for another.
    """

    async def append(self, to: Partition, records: Sequence[Record]) -> Appended:
        """Append the records as one batch, contiguously, and await all replicas' acknowledgement.

        One batch at a time a partition: a second call for the same partition before the first is
        answered is an error.
        """
        ...

    async def close(self) -> None:
        """Drop it. What is in flight may still land; nothing else is sent."""
        ...


class TransactionalWriter(Writer, Protocol):
    """A writer whose appends count together, with a group's checkpoints, or not at all.

    So they do for who reads only what is committed. After any LogError it is dead; what became of
    its transaction the group's checkpoints tell, once another writer of its name is there.
    """

    async def begin(self) -> None:
        """What is appended from now on belongs together; Fenced, LogError."""
        ...

    async def commit(self, group: str, checkpoints: "Mapping[Partition, Checkpoint]") -> None:
        """Let what was appended since `begin` count, and store the checkpoints; Fenced, LogError.

        Anything but a return means that the outcome is unknown, or, Fenced, that it is void.
        """
        ...


class Transactions(Protocol):
    """Where transactional writers come from."""

    async def transactional(self, name: str) -> TransactionalWriter:
        """The one writer of this name.

        On return everyone who had it before is fenced, and what they had not committed is void.
        """
        ...


class Reader(Protocol):
    """Reads partitions from given offsets on, in order, without gaps that it doesn't tell of."""

    async def read(self, max_records: int, wait_ms: int) -> dict[Partition, list[Read]]:
        """What is there, at most `max_records` in all, waiting up to `wait_ms` for the first.

        OutOfRange halts.
        """
        ...

    def add(self, partition: Partition, at: int | None) -> None:
        """Read this partition too, from offset `at` (None: from the first that is held)."""
        ...

    def remove(self, partition: Partition) -> None:
        """No longer read this partition."""
        ...

    def gather(self) -> None:
        """Let what comes soon after a read that took all there was come together, in one read.

        Who needs nothing at once is spared a read for each record; the first one after a while
        comes at once nevertheless. How soon is the log's to say; it may say never.
        """
        ...

    def pause(self, partitions: Iterable[Partition]) -> None:
        """Hold these back until `resume`."""
        ...

    def resume(self, partitions: Iterable[Partition]) -> None:
        """Go on with these."""
        ...

    def high_water(self, partition: Partition) -> int | None:
        """The next offset to be written as of the newest fetch, None before the first answer."""
        ...

    def fetched_ms(self, partition: Partition) -> int | None:
        """When the newest fetch was answered, by this machine's clock; None before the first."""
        ...

    async def close(self) -> None:
        """Read no more."""
        ...


class TopicDescription(NamedTuple):
    """A topic as the broker has it."""

    partitions: int
    replication: int
    config: Mapping[str, str]


class EventLog(Protocol):
    """Kafka, or a memory log of the same behavior."""

    async def writer(self) -> Writer:
        """A writer for one owner; LogError when the broker can't be reached."""
        ...

    async def reader(self, at: Mapping[Partition, int | None]) -> Reader:
        """A reader of these partitions; None: from the first offset held."""
        ...

    async def bounds(self, partition: Partition) -> Bounds:
        """What the log holds of a partition now."""
        ...

    async def trim(self, partition: Partition, before: int) -> None:
        """Delete the records below this offset, where the broker can."""
        ...

    async def describe(self) -> dict[str, TopicDescription]:
        """The topics of the catalogue that the broker has, by name without the prefix."""
        ...

    async def saved(
        self, group: str, partitions: Iterable[Partition]
    ) -> "dict[Partition, Checkpoint]":
        """A group's newest checkpoints, without joining it; partitions without one are left out."""
        ...

    async def group(self, name: str, topics: Sequence[str]) -> "Group":
        """Join a group that shares out the partitions of these topics.

        Returns with the first assignment.
        """
        ...

    async def close(self) -> None:
        """Drop the log's own connections; writers, readers and groups are closed by who asked."""
        ...


class Checkpoint(NamedTuple):
    """A group's committed position; `metadata` is at most 4,000 characters."""

    offset: int
    metadata: str


class Group(Protocol):
    """A consumer group: it suggests who works on which partitions, and keeps checkpoints.

    Correctness never rests on it.
    """

    generation: int
    """Rises with every assignment that `changes` tells of, one of the same partitions too.

    Somebody else may have had them in between.
    """

    async def changes(self, timeout_s: float) -> frozenset[Partition]:
        """The partitions of this member: when they change, or after `timeout_s` as they are.

        MembershipEnded where nobody will tell it any more.
        """
        ...

    async def load(self, partitions: Iterable[Partition]) -> dict[Partition, Checkpoint]:
        """The newest checkpoints; partitions without one are left out."""
        ...

    async def save(self, checkpoints: Mapping[Partition, Checkpoint]) -> None:
        """Store checkpoints; LogError when the outcome is unknown or the member is fenced.

        It is fenced when the assignment has changed since `changes` last told it.
        """
        ...

    async def close(self) -> None:
        """Leave the group at once."""
        ...


class Clock(Protocol):
    """The time, and waiting for it."""

    def now_ms(self) -> int:
        """Milliseconds since 1970 UTC."""
        ...

    def monotonic(self) -> float:
        """Seconds, for durations."""
        ...

    async def sleep(self, seconds: float) -> None:
        """Wait, by the same time that `monotonic` tells."""
        ...


class Randomness(Protocol):
    """Where random bits come from."""

    def bits(self, n: int) -> int:
        """`n` random bits as an integer."""
        ...


class DatabaseError(Exception):
    """The store failed, or the outcome of a write is unknown: read the checkpoint again.

    The message says what failed.
    """


class Database(Protocol):
    """The read model's store: rows and checkpoint change in one transaction."""

    async def checkpoint(self, shard: int) -> FilterState | None:
        """The stored filter state of a shard, None where it has none; DatabaseError."""
        ...

    async def apply(
        self,
        shard: int,
        expected: FilterState | None,
        new: FilterState,
        changes: Any,  # noqa: ANN401 - `projections.tables.Changes`, which stands above this layer
    ) -> bool:
        """Write changes and checkpoint together if the stored one is `expected`.

        False, and nothing written, when not. DatabaseError when the outcome is unknown.
        """
        ...

    async def let_go(self, shard: int) -> None:
        """Hold nothing open for a shard that is worked on elsewhere by now."""
        ...


class Seen(NamedTuple):
    """How far somebody has taken in a shard's journal."""

    shard: int
    seq: int  # the newest commit
    inbox_next: int  # inbox offsets below it are handled


class Planned(NamedTuple):
    """An answer of planning, and the position `<shard>:<seq>` that it is true at."""

    body: dict[str, Any]
    position: str


class NotKnown(Exception):
    """A question names what nobody defined; the message names all of it."""


class NotAnswerable(Exception):
    """A question contradicts what is defined; the message says where."""


class NotCaughtUp(Exception):
    """What planning knows is too old to answer from, or nothing yet; the message says why."""


class Planning(Protocol):
    """Questions to the planner about orders that nobody placed. Nothing is reserved."""

    async def seen(self) -> Sequence[Seen]:
        """How far it has taken in each shard."""
        ...

    async def promise(self, question: Mapping[str, Any]) -> Planned:
        """What `POST /promise` answers; NotKnown, NotAnswerable, NotCaughtUp."""
        ...

    async def availability(self, sku: str, channel: str) -> Planned:
        """What a channel may promise of an item, step by step; NotKnown, NotCaughtUp."""
        ...
