"""A publisher: what one shard's journal becomes on public topics, from a checkpoint of its own on.

A checkpoint is the whole filter state, kept as the metadata of the group's offset. What is
published twice has the same id both times, so consumers may drop the second.
"""

import asyncio
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from typing import Final, NamedTuple

import structlog
from prometheus_client import Counter

from orchestrator.runtime import metrics
from orchestrator.runtime.batches import Acknowledged, batches
from orchestrator.runtime.workers import Workers
from schemas.journal import FilterState, JournalError
from schemas.ports import (
    Checkpoint,
    Clock,
    EventLog,
    Fenced,
    Group,
    LogError,
    OutOfRange,
    Partition,
    Randomness,
    Reader,
    Record,
    Writer,
)
from schemas.voids import Voids

IDLE_WAIT_MS: Final = 500
SAVE_EVERY_S: Final = 0.25
_FAILED_PAUSE_S: Final = 1.0
_FENCED_PAUSE_S: Final = 10.0
_OPENED: Final = 1  # a journal that was opened, and holds nothing else

Outgoing = dict[Partition, list[Record]]

_log = structlog.get_logger(__name__)


class Ports(NamedTuple):
    """What a publisher has of the world; its checkpoints are in the group."""

    log: EventLog
    group: Group
    clock: Clock
    randomness: Randomness


class ShardPublisher(ABC):
    """One shard's publisher in this process.

    It has one unacknowledged batch a target partition and nothing queued behind it. Another shard's
    may be on its way to the same partition meanwhile: from a producer and a checkpoint of its own,
    so that after a failure neither sends, nor hides, what the other lost. No market, and so no node
    or order, is in two shards, so nothing between the two has an order to keep; waiting for one
    another's acknowledgements would only make commands later.
    """

    role: str
    restarts: Counter

    def __init__(self, number: int, ports: Ports) -> None:
        self.stop = asyncio.Event()
        self.state = "closed"
        self.number = number
        self._log, self._group, self._clock, self._randomness = ports
        self._voids = Voids(self._log)
        self._acknowledged = Acknowledged()
        self._journal = Partition("journal", number)
        self._label = str(number)

    async def run(self) -> None:
        """Publish until told to stop; after any failure begin again at the checkpoint.

        Where the journal contradicts itself: halt, until a person says what of it is void. At a
        defect of our own: halt, and leave the other shards and roles of this process alone.
        """
        halted = metrics.PUBLISHER_HALTED.labels(self.role, self._label)
        while not self.stop.is_set():
            halted.set(0)
            try:
                await self._publish()
            except (JournalError, OutOfRange) as error:
                self.state = "halted"
                halted.set(1)
                _log.error(f"{self.role} halted", shard=self.number, what=str(error))
                await self._voids.more(self.number, self.stop, self._clock, _log.error)
            except LogError as error:
                self.state = "pausing"
                self.restarts.labels(self._label).inc()
                _log.warning(f"{self.role} starts again", shard=self.number, what=str(error))
                # Whoever fenced us was told that the shard is theirs: we shall be told too.
                pause_s = _FENCED_PAUSE_S if isinstance(error, Fenced) else _FAILED_PAUSE_S
                with suppress(TimeoutError):
                    async with asyncio.timeout(pause_s):
                        await self.stop.wait()
            except Exception:  # noqa: BLE001 - one shard's defect must not take the others down
                self.state = "halted"
                halted.set(1)
                _log.exception(f"{self.role} halted by a defect", shard=self.number)
                await self.stop.wait()
        metrics.forget(metrics.PUBLISHER_HALTED, self.role, self._label)
        self.state = "closed"

    @abstractmethod
    async def _publish(self) -> None:
        """Publish from the checkpoint on until told to stop; JournalError, LogError."""

    async def _partitions(self, topics: Sequence[str]) -> dict[str, int]:
        """How many partitions every topic has; LogError where one of these is missing."""
        partitions = {name: one.partitions for name, one in (await self._log.describe()).items()}
        missing = sorted(set(topics) - partitions.keys())
        if missing:
            raise LogError(
                f"topics are missing: {', '.join(missing)}: run `headrace topics create`"
            )
        return partitions

    async def _checkpoint(self) -> tuple[FilterState, int]:
        """The filter state to go on from, and the first offset that is not published yet.

        A broker that keeps offsets without metadata makes the filter start over, publishing nothing
        below the offset.
        """
        await self._voids.once()
        kept = (await self._group.load([self._journal])).get(self._journal)
        if kept is None:
            await self._tell_that_it_begins()
            return FilterState(), 0
        if not kept.metadata:
            return FilterState(), kept.offset
        state = FilterState.from_json(kept.metadata)
        if await self._voids.journal_id(self.number) != state.journal_id:
            raise JournalError(
                f"the checkpoint of {self.role} is of another journal than journal/{self.number}:"
                " the topic was made anew; delete the consumer group to publish it from its"
                " beginning"
            )
        state = self._went_on(state)
        return state, state.next

    async def _tell_that_it_begins(self) -> None:
        """Say so where the journal held something before: consumers may have had it already."""
        end = (await self._log.bounds(self._journal)).next
        if end > _OPENED:
            metrics.PUBLISHED_ANEW.labels(self.role, self._label).inc()
            _log.warning(
                "no offset is saved: a journal is published from its beginning. What is new here"
                " has to; where offsets expired, consumers see again, with the ce_id that it had,"
                " what was published before",
                role=self.role,
                shard=self.number,
                records=end,
            )

    def _went_on(self, state: FilterState) -> FilterState:
        """Where to go on after a checkpoint; behind the place where the journal lost its end."""
        for void in self._voids.of(self.number):
            if void.refutes(state) and void.state.journal_id == state.journal_id:
                _log.warning(
                    "some of what was published never happened: the journal lost its end",
                    shard=self.number,
                    role=self.role,
                    from_seq=void.state.seq,
                    to_seq=state.seq,
                )
                state = void.state
        return self._voids.begin(self.number, state, folds=False)

    async def _append(
        self, writer: Writer, outgoing: Mapping[Partition, list[Record]], *, counts: bool = True
    ) -> None:
        """Append to every target at once, one batch at a time each; all acknowledged on return.

        `counts`: what is acknowledged does so by itself, so that after a failure elsewhere it need
        not be sent again.
        """
        taken: list[tuple[Partition, Sequence[Record]]] = []
        tasks = [
            asyncio.create_task(self._append_to(writer, to, records, taken))
            for to, records in outgoing.items()
        ]
        if not tasks:
            return
        try:
            await asyncio.gather(*tasks)
        except LogError:
            if counts:
                self._acknowledged.remember(taken)
            raise
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
        self._acknowledged.forget(outgoing.items())

    async def _append_to(
        self,
        writer: Writer,
        to: Partition,
        records: list[Record],
        taken: list[tuple[Partition, Sequence[Record]]],
    ) -> None:
        for part in batches(self._acknowledged.lacking(to, records)):
            self._check_awake()
            await writer.append(to, part)
            taken.append((to, part))

    @abstractmethod
    def _check_awake(self) -> None:
        """LogError where what is to be published may be another process's to publish by now."""

    async def _save(self, state: FilterState) -> None:
        await self._group.save(self._checkpoints(state))

    def _checkpoints(self, state: FilterState) -> dict[Partition, Checkpoint]:
        return {self._journal: Checkpoint(state.next, state.to_json())}

    def _observe(
        self, reader: Reader, state: FilterState, outgoing: Mapping[Partition, list[Record]]
    ) -> None:
        high_water = reader.high_water(self._journal)
        if high_water is not None:
            lag = max(0, high_water - state.next)
            metrics.READER_LAG.labels(self.role, "journal", self._label).set(lag)
        for to, records in outgoing.items():
            metrics.PUBLISHED.labels(to.topic).inc(len(records))


class Publishers:
    """A role: a publisher for each shard that the group suggests."""

    def __init__(self, name: str, group: Group, make: Callable[[int], ShardPublisher]) -> None:
        self._group = group
        self._shards: Workers[ShardPublisher] = Workers(name, make)

    def states(self) -> dict[int, str]:
        """The state of each shard published here."""
        return self._shards.states()

    async def run(self, stop: asyncio.Event) -> None:
        """Follow the group until told to stop; then save and leave."""
        try:
            while not stop.is_set():
                self._shards.follow({one.number for one in await self._group.changes(0.25)})
        finally:
            await self._shards.leave()
            await self._group.close()
