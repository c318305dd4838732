"""The relay: turns what happened, by the journal, into public CloudEvents."""

import asyncio
from collections import defaultdict
from collections.abc import Mapping
from typing import Any, Final
from zlib import crc32

import orjson

from events.decided import INTERNAL
from events.outputs import OUTPUTS
from orchestrator.runtime import metrics
from orchestrator.runtime.publisher import (
    IDLE_WAIT_MS,
    SAVE_EVERY_S,
    Outgoing,
    Ports,
    Publishers,
    ShardPublisher,
)
from schemas import journal
from schemas.journal import Commit, FilterState, Verdict
from schemas.ports import (
    LogError,
    Partition,
    Reader,
    Record,
    TransactionalWriter,
    Transactions,
    Writer,
)
from schemas.times import rfc3339

_READ_RECORDS: Final = 200

_TOPIC: Final = {name: model.TOPIC for name, model in OUTPUTS.items()}
_KEY: Final = {name: model.KEY for name, model in OUTPUTS.items()}
_TYPE: Final = {name: f"headrace.{name}.v1".encode() for name in OUTPUTS}
_HIDDEN: Final = {name: frozenset({"type"}) | INTERNAL.get(name, frozenset()) for name in OUTPUTS}
_CONTENT_TYPE: Final = ("content-type", b"application/json")
_SPEC: Final = ("ce_specversion", b"1.0")
_COMPACTED: Final = "availability"


def publish(commit: Commit, shard: int, partitions: Mapping[str, int], into: Outgoing) -> list[int]:
    """Add a valid commit's public events to `into`.

    `partitions` says how many each public topic has; a key has one partition, for ever. Returns
    when the broker took each order that is sent to a node for the first time.
    """
    time = ("ce_time", rfc3339(commit.now_ms).encode())
    source = ("ce_source", f"headrace/{shard}".encode())
    position = f"{shard}.{commit.seq}"
    placed_at_ms: list[int] = []
    for number, n, cause, event in journal.happened(commit):
        kind = event["type"]
        hidden = _HIDDEN.get(kind)
        if hidden is None:
            continue
        fields: dict[str, Any] = {k: v for k, v in event.items() if k not in hidden}
        topic = _TOPIC[kind]
        key = "/".join([fields.get(field) or "" for field in _KEY[kind]]).encode()
        headers = [
            _SPEC,
            ("ce_id", f"{position}.{number}.{n}".encode()),
            source,
            ("ce_type", _TYPE[kind]),
            time,
            _CONTENT_TYPE,
        ]
        if cause["id"]:  # a tick has none
            headers.append(("ce_causationid", cause["id"].encode()))
        if "order_id" in fields:
            headers.append(("ce_correlationid", fields["order_id"].encode()))
        if topic == _COMPACTED:
            fields["position"] = position
        to = Partition(topic, crc32(key) % partitions[topic])
        into[to].append(Record(key, orjson.dumps(fields), headers))
        if kind == "fulfillment_requested" and cause["type"] == "order_placed":
            placed_at_ms.append(cause["origin"][3])
    return placed_at_ms


class ShardRelay(ShardPublisher):
    """One shard's relay in this process."""

    role = "relay"
    restarts = metrics.RELAY_RESTARTS

    def __init__(
        self,
        number: int,
        ports: Ports,
        takeover_s: float,
        session_s: float,
        transactions: Transactions | None,
    ) -> None:
        super().__init__(number, ports)
        self._takeover_s = takeover_s
        self._session_s = session_s
        self._transactions = transactions
        self._awake_s = 0.0  # when this process was last seen to run

    async def _publish(self) -> None:
        """Publish from the checkpoint on.

        1. Ask for a writer: a transactional one fences its predecessor, whose open transaction is
           void from then on.
        2. Load the checkpoint, and see that it is of this journal.
        3. Read, filter, and turn valid commits into records by target partition.
        4. Append one batch a target partition, await every acknowledgement.
        5. Only then save the checkpoint (a few times a second; what follows it is published again).
           A transaction holds both: what one read brought, and the checkpoint after it.
        6. Once, a producer's time-out after taking over: publish the newest availability of each
           key touched since again: a predecessor's late append may have landed on top of it. Not
           with transactions: the predecessor is fenced. Who stood still for longer than its session
           sends nothing that it had read before, since by then it could land after that.
        """
        self.state = "opening"
        partitions = await self._partitions([*_TOPIC.values()])
        transactional: TransactionalWriter | None = None
        if self._transactions is not None:
            transactional = await self._transactions.transactional(f"relay-{self.number}")
        writer: Writer = transactional or await self._log.writer()
        reader: Reader | None = None
        try:
            state, publish_from = await self._checkpoint()
            saved = state
            reader = await self._log.reader({self._journal: state.next or None})
            touched: dict[tuple[Partition, bytes], Record] | None = None if transactional else {}
            took_over = save_at = self._awake_s = self._clock.monotonic()
            while not self.stop.is_set():
                read = (await reader.read(_READ_RECORDS, IDLE_WAIT_MS)).get(self._journal, ())
                self._check_awake()
                outgoing: Outgoing = defaultdict(list)
                placed_at_ms: list[int] = []
                for one in read:
                    state, record, verdict = self._voids.take(self.number, state, one, folds=False)
                    if (
                        verdict is Verdict.VALID
                        and isinstance(record, Commit)
                        and one.offset >= publish_from
                    ):
                        placed_at_ms += publish(record, self.number, partitions, outgoing)
                        await asyncio.sleep(0)
                if transactional is not None and outgoing:
                    await self._commit(transactional, outgoing, state)
                    saved = state
                else:
                    await self._append(writer, outgoing)
                if outgoing or state.next >= (reader.high_water(self._journal) or state.next + 1):
                    self.state = "open"  # not before: a topic may refuse what is to be published
                self._observe(reader, state, outgoing)
                self._count(placed_at_ms)
                now = self._clock.monotonic()
                if touched is not None:
                    for to, records in outgoing.items():
                        if to.topic == _COMPACTED:
                            touched.update({(to, one.key or b""): one for one in records})
                    if now - took_over > self._takeover_s:
                        await self._append(writer, _again(touched))
                        touched = None
                if state.next > max(saved.next, publish_from) and (now >= save_at or not read):
                    await self._store(transactional, state)
                    saved, save_at = state, now + SAVE_EVERY_S
            if state.next > max(saved.next, publish_from):
                await self._store(transactional, state)
        finally:
            metrics.forget(metrics.READER_LAG, "relay", "journal", self._label)
            await writer.close()
            if reader is not None:
                await reader.close()

    def _check_awake(self) -> None:
        now_s = self._clock.monotonic()
        if self._transactions is None and now_s - self._awake_s > self._session_s:
            raise LogError(
                f"the relay stood still for {now_s - self._awake_s:.0f} s, longer than its group"
                " waits: the shard may be another's by now"
            )
        self._awake_s = now_s

    async def _store(self, transactional: TransactionalWriter | None, state: FilterState) -> None:
        """Save the checkpoint, by the fenced way where there is one."""
        if transactional is None:
            await self._save(state)
        else:
            await self._commit(transactional, {}, state)

    async def _commit(
        self, transactional: TransactionalWriter, outgoing: Outgoing, state: FilterState
    ) -> None:
        """One transaction: what is to be published, and the checkpoint after it."""
        await transactional.begin()
        await self._append(transactional, outgoing, counts=False)
        await transactional.commit(self.role, self._checkpoints(state))

    def _count(self, placed_at_ms: list[int]) -> None:
        now_ms = self._clock.now_ms()
        for placed_ms in placed_at_ms:
            metrics.PLACED_TO_COMMAND.observe(max(0, now_ms - placed_ms) / 1000)


def _again(touched: Mapping[tuple[Partition, bytes], Record]) -> Outgoing:
    outgoing: Outgoing = defaultdict(list)
    for (to, _key), record in touched.items():
        outgoing[to].append(record)
    return outgoing


class Relay(Publishers):
    """The role: a ShardRelay for each shard that the group suggests."""

    def __init__(
        self,
        ports: Ports,
        *,
        takeover_s: float,
        session_s: float = 6.0,
        transactions: Transactions | None = None,
    ) -> None:
        """`session_s`: after which a group takes a member for dead that isn't heard of.

        `takeover_s`: that, and what an append may take: how long after a predecessor was last heard
        of it may still publish.
        """
        super().__init__(
            "relay",
            ports.group,
            lambda number: ShardRelay(number, ports, takeover_s, session_s, transactions),
        )
