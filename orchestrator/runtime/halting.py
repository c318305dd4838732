"""Halted shards, as their owners tell of them with the offsets of the engines' group."""

from collections.abc import Iterable
from typing import Final, NamedTuple

import orjson

from schemas.ports import EventLog, Partition

_METADATA_BYTES: Final = 1_500  # of the 4,096 that brokers take, since it is escaped


class Halt(NamedTuple):
    """Why a shard halts, and the coordinates of the input that it halts at, if it is one."""

    what: str
    input: list[str]

    def to_metadata(self) -> str:
        """As the group's offsets keep it: what is long is cut."""
        what = self.what.encode()[:_METADATA_BYTES].decode(errors="ignore")
        return orjson.dumps({"halted": what, "input": self.input}).decode()

    @staticmethod
    def from_metadata(text: str) -> "Halt | None":
        """What `to_metadata` wrote; None where the shard does not halt."""
        said = orjson.loads(text) if text else {}
        return Halt(said["halted"], said["input"]) if "halted" in said else None


async def halts(log: EventLog, shards: Iterable[int]) -> dict[int, Halt]:
    """Those of these shards that halt, whichever process has them, about a second ago; LogError."""
    saved = await log.saved("engine", [Partition("inbox", number) for number in shards])
    found = {one.number: Halt.from_metadata(kept.metadata) for one, kept in saved.items()}
    return {number: halt for number, halt in sorted(found.items()) if halt is not None}
