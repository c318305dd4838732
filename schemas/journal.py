"""The journal's records and the filter that every reader runs over them.

One Kafka record is either `ShardOpened`, which starts an epoch, or a commit: a batch of entries,
each an input and the events decided from it, chained to the commit before. A commit is valid when
`step` says so, and only then did it happen.
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from enum import Enum
from hashlib import blake2b
from typing import Any, NamedTuple, TypedDict

import orjson

from events.decided import EVENT_TYPES, DecidedEvent, InputRecord

GENESIS_DIGEST = ""
MAX_COMMIT_BYTES = 800_000
"""Uncompressed, since the client checks its request limit before compression."""


class JournalError(Exception):
    """A journal that contradicts itself. The shard halts: nothing is skipped, nothing guessed."""


class NewerRecord(JournalError):
    """A later release wrote it: an upgrade reads it, so nobody may pass it over."""


class Entry(TypedDict):
    """An input and what was decided from it."""

    input: InputRecord
    events: list[DecidedEvent]


class Opened(NamedTuple):
    """A writer opened the shard; its epoch is the record's offset."""

    owner: str
    nonce: str


class Commit(NamedTuple):
    """A batch of entries; inbox offsets [inbox_from, inbox_next) are handled by it."""

    epoch: int
    nonce: str
    seq: int
    inbox_from: int
    inbox_next: int
    prev: str
    digest: str
    now_ms: int  # the shard's clock after it
    entries: list[Entry]


class Verdict(Enum):
    """Whether a record happened (VALID) or is passed over (VOID)."""

    VALID = "valid"
    VOID = "void"


@dataclass(frozen=True, slots=True)
class FilterState:
    """All that a reader needs to go on: every checkpoint holds the whole of it."""

    journal_id: str = ""  # the nonce of the journal's first record
    next: int = 0  # the offset expected next
    epoch: int = -1
    nonce: str = ""
    seq: int = 0
    inbox_next: int = 0
    digest: str = GENESIS_DIGEST
    last_epoch: int = -1  # the epoch that seq was written in

    def to_json(self) -> str:
        """As checkpoints hold it."""
        return orjson.dumps(self).decode()

    @staticmethod
    def from_json(text: str | bytes) -> "FilterState":
        """What `to_json` wrote; TypeError where a field is one that this release doesn't know."""
        return FilterState(**orjson.loads(text))


def digest_of(value: bytes) -> str:
    """The content hash of a record (128 bits, hex)."""
    return blake2b(value, digest_size=16).hexdigest()


def encode_opened(owner: str, nonce: str) -> bytes:
    """A `ShardOpened` record; `nonce` tells this opening from every other."""
    return orjson.dumps({"kind": "opened", "version": 1, "owner": owner, "nonce": nonce})


def encode_commit(
    *,
    epoch: int,
    nonce: str,
    seq: int,
    inbox_from: int,
    inbox_next: int,
    prev: str,
    now_ms: int,
    entries: list[bytes],
) -> bytes:
    """A commit of entries that `encode_entry` made: their bytes decided when the batch was full."""
    head = orjson.dumps(
        {
            "kind": "commit",
            "version": 1,
            "epoch": epoch,
            "nonce": nonce,
            "seq": seq,
            "inbox_from": inbox_from,
            "inbox_next": inbox_next,
            "prev": prev,
            "now_ms": now_ms,
        }
    )
    return head[:-1] + b',"entries":[' + b",".join(entries) + b"]}"


def encode_entry(cause: InputRecord, events: list[DecidedEvent]) -> bytes:
    """An entry, as `encode_commit` takes it."""
    return orjson.dumps({"input": cause, "events": events})


def decode(value: bytes | None, offset: int) -> Opened | Commit:
    """A journal record; JournalError names the offset of one that this release can't read."""
    try:
        record: dict[str, Any] = orjson.loads(value or b"")
        kind, version = record["kind"], record["version"]
        if version != 1:
            message = (
                f"journal record at offset {offset} has version {version};"
                " this release reads 1: upgrade Headrace"
            )
            raise NewerRecord(message)
        if kind == "opened":
            return Opened(record["owner"], record["nonce"])
        if kind == "commit":
            _check_known(record["entries"], offset)
            return Commit(
                record["epoch"],
                record["nonce"],
                record["seq"],
                record["inbox_from"],
                record["inbox_next"],
                record["prev"],
                digest_of(value or b""),
                record["now_ms"],
                record["entries"],
            )
    except (orjson.JSONDecodeError, KeyError, TypeError) as error:
        message = f"journal record at offset {offset} is not a journal record: {error!r}"
        raise JournalError(message) from error
    message = f"journal record at offset {offset} is of the unknown kind {kind!r}"
    raise JournalError(message)


def _check_known(entries: list[Entry], offset: int) -> None:
    """JournalError where a newer release wrote what this one would pass over, or take wrongly."""
    for entry in entries:
        for event in entry["events"]:
            if event["type"] not in EVENT_TYPES:
                message = (
                    f"journal record at offset {offset} holds an event of the unknown type"
                    f" {event['type']!r}: a newer release wrote it, upgrade Headrace"
                )
                raise NewerRecord(message)


def step(state: FilterState, offset: int, record: Opened | Commit) -> tuple[FilterState, Verdict]:
    """Take one record in order; only what is VALID happened.

    This is PROTOCOL's filter, as it is model-checked. JournalError where the journal contradicts
    itself.
    """
    if offset != state.next:
        message = f"hole in the journal: expected offset {state.next}, read {offset}"
        raise JournalError(message)
    if isinstance(record, Opened):
        return (
            replace(
                state,
                journal_id=state.journal_id if offset else record.nonce,
                next=offset + 1,
                epoch=offset,
                nonce=record.nonce,
            ),
            Verdict.VOID,
        )
    if not state.journal_id:
        message = f"the journal begins at offset {offset} with a commit, not with ShardOpened"
        raise JournalError(message)
    void = replace(state, next=offset + 1)
    if (record.epoch, record.nonce) != (state.epoch, state.nonce):
        if record.epoch > state.epoch:
            message = (
                f"journal record at offset {offset} claims epoch {record.epoch}, which nobody was"
                " seen to open: what was read before it is of another history"
            )
            raise JournalError(message)
        return void, Verdict.VOID  # a stale writer
    if record.seq <= state.seq:
        same = record.seq == state.seq and state.last_epoch == record.epoch
        if same and record.digest != state.digest:
            message = (
                f"two contents for commit {record.seq} of epoch {record.epoch}"
                f" (second at offset {offset})"
            )
            raise JournalError(message)
        return void, Verdict.VOID  # a repeat
    if record.seq != state.seq + 1:
        message = f"gap in the journal at offset {offset}: commit {record.seq} follows {state.seq}"
        raise JournalError(message)
    if record.prev != state.digest or record.inbox_from != state.inbox_next:
        message = f"commit {record.seq} at offset {offset} was decided on another history"
        raise JournalError(message)
    return (
        FilterState(
            journal_id=state.journal_id,
            next=offset + 1,
            epoch=state.epoch,
            nonce=state.nonce,
            seq=record.seq,
            inbox_next=record.inbox_next,
            digest=record.digest,
            last_epoch=record.epoch,
        ),
        Verdict.VALID,
    )


class Happened(NamedTuple):
    """A decided event with what caused it."""

    entry: int
    n: int
    cause: InputRecord
    event: DecidedEvent


def happened(commit: Commit) -> Iterator[Happened]:
    """Every decided event of a commit in order, each with its cause.

    After `input_resumed` that is the resumed input.
    """
    for number, entry in enumerate(commit.entries):
        cause = entry["input"]
        for n, event in enumerate(entry["events"]):
            if event["type"] == "input_resumed":
                cause = event["input"]
            yield Happened(number, n, cause, event)
