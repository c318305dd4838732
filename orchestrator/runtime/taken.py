"""Where intake was, as the inboxes and journals tell: for when its own offsets are lost."""

from typing import NamedTuple

from events.decided import InputRecord
from orchestrator.runtime.whole import Whole
from schemas import inbox, journal
from schemas.journal import Commit
from schemas.ports import EventLog, OutOfRange, Partition
from schemas.voids import Voids


class Taken(NamedTuple):
    """The newest record of an input partition that an inbox or journal has."""

    offset: int
    source: str
    id: str


async def taken(log: EventLog, shards: int) -> dict[Partition, Taken]:
    """By input partition, of the life that its topic has now; LogError, JournalError.

    Reads every inbox and journal from end to end; the inbox first, since what is trimmed from it
    meanwhile stands in the journal by then.
    """
    newest: dict[Partition, Taken] = {}
    voids = Voids(log)
    await voids.read()
    for shard in range(shards):
        queued = await _queued(log, shard)
        here = _Newest()
        async with Whole(log, Partition("journal", shard)) as reading:
            async for reads in reading:
                for read in reads:
                    if voids.hold(shard, read.offset):
                        continue
                    record = journal.decode(read.value, read.offset)
                    if isinstance(record, Commit):  # a void one tells as well what its inbox held
                        for entry in record.entries:
                            here.note(entry["input"])
        for topic in queued.renewed:
            here.forget(topic)
        for found in (here.of, queued.of):
            for partition, one in found.items():
                newest[partition] = max(one, newest.get(partition, one))
    return newest


async def _queued(log: EventLog, shard: int) -> "_Newest":
    """What an inbox has; begun anew where it is trimmed meanwhile."""
    while True:
        here = _Newest()
        try:
            async with Whole(log, Partition("inbox", shard)) as reading:
                async for reads in reading:
                    for read in reads:
                        try:
                            cause = inbox.decode(read.value or b"")
                        except ValueError:
                            continue  # its shard halts at it
                        here.note(cause)
        except OutOfRange:
            continue
        return here


class _Newest:
    """The newest records of inputs in what one partition tells, in order."""

    def __init__(self) -> None:
        self.of: dict[Partition, Taken] = {}
        self.renewed: set[str] = set()

    def note(self, cause: InputRecord) -> None:
        if cause["type"] == inbox.RENEWAL_ORDERED:
            self.renewed.add(cause["data"]["topic"])
            self.forget(cause["data"]["topic"])
        elif "origin" in cause:
            topic, number, offset, _ = cause["origin"]
            partition = Partition(topic, number)
            if partition not in self.of or offset > self.of[partition].offset:
                self.of[partition] = Taken(offset, cause["source"], cause["id"])

    def forget(self, topic: str) -> None:
        for partition in [one for one in self.of if one.topic == topic]:
            del self.of[partition]
