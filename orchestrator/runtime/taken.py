"""Where intake was, as the inboxes and journals tell: for when its own offsets are lost."""

from typing import NamedTuple

from events.decided import InputRecord
from orchestrator.runtime.whole import Whole
from schemas import inbox, journal
from schemas.journal import Commit
from schemas.ports import EventLog, Partition


class Taken(NamedTuple):
    """The newest record of an input partition that an inbox or journal has."""

    offset: int
    source: str
    id: str


async def taken(log: EventLog, shards: int) -> dict[Partition, Taken]:
    """By input partition, of the life that its topic has now; LogError, JournalError.

    Reads every journal and inbox from end to end.
    """
    newest: dict[Partition, Taken] = {}
    for shard in range(shards):
        here: dict[Partition, Taken] = {}
        async with Whole(log, Partition("journal", shard)) as reading:
            async for reads in reading:
                for read in reads:
                    record = journal.decode(read.value, read.offset)
                    if isinstance(record, Commit):  # a void one tells as well what its inbox held
                        for entry in record.entries:
                            _note(here, entry["input"])
        async with Whole(log, Partition("inbox", shard)) as reading:
            async for reads in reading:
                for read in reads:
                    try:
                        cause = inbox.decode(read.value or b"")
                    except ValueError:
                        continue  # its shard halts at it
                    _note(here, cause)
        for partition, one in here.items():
            newest[partition] = max(one, newest.get(partition, one))
    return newest


def _note(here: dict[Partition, Taken], cause: InputRecord) -> None:
    if cause["type"] == inbox.RENEWAL_ORDERED:
        for partition in [one for one in here if one.topic == cause["data"]["topic"]]:
            del here[partition]
    elif "origin" in cause:
        topic, number, offset, _ = cause["origin"]
        partition = Partition(topic, number)
        if partition not in here or offset > here[partition].offset:
            here[partition] = Taken(offset, cause["source"], cause["id"])
