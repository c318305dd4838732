"""What must hold, at every append, save, transaction and trim.

It shares the record formats with the roles and none of their rules: its filter, its books and its
counts are its own, and it starts from what the partners sent.
"""

from collections import Counter, defaultdict, deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, NamedTuple

import orjson
from prometheus_client import REGISTRY

from events.decided import INTERNAL, InputRecord
from events.outputs import OUTPUTS
from projections.fold import project
from projections.tables import FULFILLMENTS, Changes
from schemas.journal import Commit, FilterState, Opened, decode, happened
from schemas.ports import Checkpoint, Partition, Record
from tests.simulation.beside import History, Past, Shadow
from tests.simulation.books import Books
from tests.simulation.database import Store, Tables
from tests.simulation.world import SimHost, World

INPUTS: Final = ("network", "orders", "stock", "carriers")
_FENCED_S: Final = 30.0
_AHEAD_MS: Final = 2 * 5 * 60_000
"""A writer's clock may be so far off twice: when it opens, and by what is set forward later."""
_PUBLISHED: Final = frozenset(model.TOPIC for model in OUTPUTS.values())
_UNMOVED: Final = frozenset({"input_repeated", "input_parked", "input_resumed"})
_STATUS: Final = list(FULFILLMENTS.columns).index("status")
_AT_WORK: Final = ("open", "in_progress")
_SHADOW_TYPE: Final = b"headrace.shadow_decided.v1"

Origin = tuple[str, int, int]
"""Topic, partition, offset."""


class Moves(NamedTuple):
    """What an event means for a warehouse's shelves, by sku, however often it is told."""

    node_id: str
    units: Mapping[str, int]
    sure: bool = True  # else what the book makes of it depends on what it held


class Sent(NamedTuple):
    """An input as a partner sent it: which shards must take it in, none if it must be rejected."""

    type: str
    source: str
    id: str
    data: Any
    shards: frozenset[int]
    unsure: bool = False  # depends on whether master data comes in time: taken in or rejected
    moves: Moves | None = None


@dataclass
class _Epoch:
    offset: int
    nonce: str
    owner: str
    seq: int = 0
    """Of the newest commit that landed of it; what lands again is no news to its writer."""
    stale_at: float | None = None
    """When its writer could first know that another one began: a commit of its was void."""


@dataclass
class _Shard:
    """A journal as it happened, by a filter of the oracle's own, and its inbox."""

    next: int = 0
    epochs: list[_Epoch] = field(default_factory=list)
    seq: int = 0
    inbox_next: int = 0
    digest: str = ""
    commits: list[Commit] = field(default_factory=list)
    inbox: list[InputRecord] = field(default_factory=list)
    taken: dict[Origin, None] = field(default_factory=dict)
    ids: dict[tuple[str, str], Origin] = field(default_factory=dict)
    documents: dict[tuple[Any, ...], None] = field(default_factory=dict)
    reference: int = 0
    """How many commits the reference tables hold."""


def _unreadable(inbox: Partition, offset: int) -> InputRecord:
    """What is journaled for what is no input, once a person has it skipped; at some time."""
    data = {"input": f"inbox/{inbox.number}@{offset}"}
    return InputRecord(type="unreadable", version=1, id="", source="", time_ms=0, data=data)


def _begun_anew(shard: int) -> float:
    """How often relays have said that they publish a shard's journal from its beginning."""
    of = {"role": "relay", "shard": str(shard)}
    return REGISTRY.get_sample_value("headrace_published_anew_total", of) or 0.0


class Oracle:
    """Watches a run; what is wrong ends it."""

    def __init__(
        self,
        world: World,
        store: Store,
        same_state: Callable[[int, Sequence[bytes], Sequence[Commit]], bool],
        past: Store,
        decides_beside: Callable[[int, Commit], Sequence[Record]],
    ) -> None:
        """`same_state`: whether a snapshot's chunks are what these commits make of a shard.

        `decides_beside`: what shadows decide beside a shard's next commit.
        """
        self._once_only = world.plan.transactions
        self._forgotten: dict[int, float] = {}  # shard -> how often relays had begun anew
        self._history = History(world) if "history" in world.plan.beside else None
        self._past = Past(world, past) if "past" in world.plan.beside else None
        beside = "shadow" in world.plan.beside
        self._shadow = Shadow(world, decides_beside) if beside else None
        self._world = world
        self._same_state = same_state
        self._chunks: dict[tuple[int, int], bytes] = {}
        self._store = store
        self.shards = [_Shard() for _ in range(world.plan.shards)]
        self.books = Books(world.fail)
        self.sent: dict[Origin, Sent] = {}
        self.foreign: set[Origin] = set()
        """What was written to inboxes and is no input."""
        self.count: Counter[str] = Counter()
        """What happened, for the floors that every run must reach."""
        self._in_inbox: defaultdict[Origin, set[int]] = defaultdict(set)
        self._rejected: set[Origin] = set()
        self._done: Counter[Partition] = Counter()  # records that are where they belong, in a row
        self._ends: Counter[Partition] = Counter()  # how many records partners sent
        self._outputs: dict[str, tuple[str, Any]] = {}  # id -> topic, event: as decided
        self._due = [deque[str]() for _ in self.shards]  # ids to be published, as decided
        self._published: dict[str, tuple[bytes | None, Any]] = {}
        self._order: dict[tuple[Partition, str], tuple[int, int, int]] = {}
        self._saved: dict[tuple[str, Partition], tuple[int, SimHost]] = {}
        self._reference = Tables()

    def told(self, origin: Origin, sent: Sent) -> None:
        """A partner has sent something."""
        self.sent[origin] = sent
        self._ends[Partition(*origin[:2])] += 1

    def ordered(self, origin: Origin, sent: Sent) -> None:
        """A person orders something, in a shard's inbox."""
        self.sent[origin] = sent

    def strange(self, origin: Origin) -> None:
        """What is to land there is no input."""
        self.foreign.add(origin)

    # --- what lands in the log

    def landed(
        self, to: Partition, base: int, records: Sequence[Record], by: SimHost | None
    ) -> None:
        """Records were appended."""
        match to.topic:
            case "journal":
                for number, record in enumerate(records):
                    self._journaled(to.number, base + number, record.value or b"", by)
            case "inbox":
                for number, record in enumerate(records):
                    at = base + number
                    if (*to, at) in self.foreign:
                        self.shards[to.number].inbox.append(_unreadable(to, at))
                        continue
                    queued = orjson.loads(record.value or b"")
                    if "origin" not in queued:  # a person's order
                        queued["origin"] = [*to, at, self._world.now_ms()]
                    self._queued(to.number, queued)
            case "rejected":
                for record in records:
                    self._refused(record)
            case "history":
                for record in records:
                    shadow = dict(record.headers)["ce_type"] == _SHADOW_TYPE
                    role = self._shadow if shadow else self._history
                    if role is not None:
                        role.landed(record)
            case "snapshots":
                for number, record in enumerate(records):
                    self._snapshot(to.number, base + number, record)
            case _:
                for record in records if to.topic in _PUBLISHED else ():
                    self._publish(to, record)

    def _queued(self, shard: int, record: InputRecord) -> None:
        topic, partition, offset, _ = record["origin"]
        origin = (topic, partition, offset)
        sent = self.sent.get(origin)
        if sent is None or (sent.type, sent.source, sent.id) != (
            record["type"],
            record["source"],
            record["id"],
        ):
            self._world.fail("inputs", f"the inbox of shard {shard} has {record}, sent was {sent}")
        elif shard not in sent.shards:
            self._world.fail("inputs", f"{origin} ({sent}) is in the inbox of shard {shard}")
        if origin in self._rejected:
            self._world.fail("inputs", f"{origin} is in `rejected` and in an inbox")
        self._in_inbox[origin].add(shard)
        self.shards[shard].inbox.append(record)

    def _refused(self, record: Record) -> None:
        headers = dict(record.headers)
        origin = (
            headers["headrace_topic"].decode(),
            int(headers["headrace_partition"]),
            int(headers["headrace_offset"]),
        )
        sent = self.sent.get(origin)
        if sent is None or (sent.shards and not sent.unsure):
            reason = headers["headrace_detail"].decode()
            self._world.fail("inputs", f"{origin} ({sent}) was rejected: {reason}")
        if origin in self._in_inbox:
            self._world.fail("inputs", f"{origin} is in an inbox and in `rejected`")
        self._rejected.add(origin)
        self.count["rejected"] += 1

    # --- the journal

    def _journaled(self, number: int, offset: int, value: bytes, by: SimHost | None) -> None:
        shard, record = self.shards[number], decode(value, offset)
        if offset != shard.next:
            self._world.fail("journal", f"journal/{number} goes from {shard.next} to {offset}")
        shard.next += 1
        if isinstance(record, Opened):
            if shard.epochs:
                self.count["takeovers"] += shard.epochs[-1].owner != record.owner
            shard.epochs.append(_Epoch(offset, record.nonce, record.owner))
            return
        epoch = shard.epochs[-1]
        if (record.epoch, record.nonce) != (epoch.offset, epoch.nonce):
            self._stale(number, record, by)
            return
        epoch.seq = max(epoch.seq, record.seq)
        if record.seq <= shard.seq:
            self.count["repeats"] += 1
            if shard.commits[record.seq - 1].digest != record.digest:
                self._world.fail("journal", f"shard {number} has two contents for {record.seq}")
            return
        if (record.seq, record.prev, record.inbox_from) != (
            shard.seq + 1,
            shard.digest,
            shard.inbox_next,
        ):
            self._world.fail("journal", f"commit {record.seq} of shard {number} isn't the next")
            return
        ahead_ms = record.now_ms - self._world.now_ms()
        if ahead_ms > _AHEAD_MS:
            self._world.fail(
                "journal", f"commit {record.seq} of shard {number}: {ahead_ms} ms ahead"
            )
        shard.seq, shard.inbox_next, shard.digest = record.seq, record.inbox_next, record.digest
        shard.commits.append(record)
        self.count["commits"] += 1
        self._commit(number, shard, record)

    def _stale(self, number: int, record: Commit, by: SimHost | None) -> None:
        """A writer of an older epoch: once it can know that, it must stop soon."""
        shard, now = self.shards[number], self._world.loop.time()
        epoch = next((one for one in shard.epochs[:-1] if one.nonce == record.nonce), None)
        if epoch is None:
            self._world.fail("journal", f"shard {number}: a commit of no epoch: {record[:7]}")
            return
        if record.seq <= epoch.seq:
            self.count["late repeats"] += 1
            return
        epoch.seq = record.seq
        self.count["fences"] += 1
        if epoch.stale_at is None:
            epoch.stale_at = now
        woke_at = max(epoch.stale_at, by.thawed_at if by else 0.0, self._world.gone_until)
        if now > woke_at + _FENCED_S:
            self._world.fail("fence", f"{epoch.owner} still writes to journal/{number}")

    def _commit(self, number: int, shard: _Shard, commit: Commit) -> None:
        """What is valid: each inbox record it covers once, in order, and the books add up."""
        by_entry = defaultdict(list)
        for one in happened(commit):
            by_entry[one.entry].append(one)
            model = OUTPUTS.get(one.event["type"])
            if model is not None:
                id_ = f"{number}.{commit.seq}.{one.entry}.{one.n}"
                self._outputs[id_] = (model.TOPIC, one.event)
                self._due[number].append(id_)
        for beside in (self._history, self._shadow):
            if beside is not None:
                beside.committed(number, commit)
        due = iter(shard.inbox[commit.inbox_from : commit.inbox_next])
        for index, entry in enumerate(commit.entries):
            where = f"shard {number}, commit {commit.seq}, entry {index}"
            cause, events = entry["input"], by_entry[index]
            self.count["events"] += 1 + len(events)
            repeat = next((e["by"] for e in entry["events"] if e["type"] == "input_repeated"), None)
            if cause["type"] == "unreadable":
                expected = next(due, None)
                if {**cause, "time_ms": 0} != expected or [
                    one["type"] for one in entry["events"]
                ] != ["input_skipped"]:
                    self._world.fail("inputs", f"{where} is {entry}, not {expected}")
                    return
            if "origin" in cause:
                expected = next(due, None)
                if cause != expected:
                    self._world.fail("inputs", f"{where} is {cause}, not {expected}")
                    return
                self._once(where, shard, cause, repeat)
            moved = self.books.entry(where, events)
            kinds: set[str] = {one["type"] for one in entry["events"]}
            if not kinds & _UNMOVED:
                self._moved(where, shard, cause, kinds, moved)
            elif repeat is not None and moved:
                self._world.fail("books", f"{where}: a repeat moves {moved} units")
        if (left := next(due, None)) is not None:
            self._world.fail("inputs", f"commit {commit.seq} of shard {number} passes over {left}")

    def _once(self, where: str, shard: _Shard, cause: InputRecord, repeat: str | None) -> None:
        origin: Any = tuple(cause["origin"][:3])
        key = (cause["source"], cause["id"])
        known = origin in shard.taken
        if known != (repeat == "origin"):
            what = "is taken twice" if known else "is passed over as a repeat"
            self._world.fail("inputs", f"{where}: {origin} {what}")
        if known:
            self.count["repeated origins"] += 1
            return
        shard.taken[origin] = None
        self.count["inputs"] += 1
        first = shard.ids.setdefault(key, origin)
        if (first != origin) != (repeat == "id"):
            self._world.fail("inputs", f"{where}: {key} at {origin} was first at {first}: {repeat}")

    def _moved(
        self, where: str, shard: _Shard, cause: InputRecord, kinds: set[str], moved: int
    ) -> None:
        """What arrives, is adjusted or leaves moves as many units as its report says."""
        data = cause["data"]
        match cause["type"]:
            case "stock_received" | "stock_adjusted":
                expected = data.get("quantity") or data["delta"]
                if "document" in data:
                    line = data.get("document_line") or data["sku"]
                    key = (data["node_id"], cause["type"], data["document"], line)
                    if key in shard.documents:
                        expected = 0
                    shard.documents[key] = None
            case "fulfillment_shipped" if "shipment_sent" in kinds and not data.get("short"):
                named = data.get("lines") or [
                    line for package in data["packages"] for line in package.get("lines", ())
                ]
                if not named:
                    return
                expected = -sum(line["quantity"] for line in named)
            case _:
                return
        if moved != expected:
            self._world.fail("books", f"{where}: {cause['type']} {data} moved {moved} units")

    # --- what leaves

    def _publish(self, to: Partition, record: Record) -> None:
        headers = dict(record.headers)
        id_ = headers["ce_id"].decode()
        decided = self._outputs.get(id_)
        if decided is None or decided[0] != to.topic:
            self._world.fail("outputs", f"{id_} on {to.topic} is of no valid commit")
            return
        content = (record.value, record.headers)
        before = self._published.get(id_)
        if before is not None:
            self.count["published again"] += 1
            if self._once_only and not self._said_that_it_begins(int(id_.partition(".")[0])):
                self._world.fail("outputs", f"{id_} is committed twice")
            if before != content:
                self._world.fail("outputs", f"{id_} has two contents: {before} and {content}")
            return
        self._published[id_] = content
        event: Any = decided[1]
        hidden = {"type"} | INTERNAL.get(event["type"], frozenset())
        told = orjson.loads(record.value or b"")
        told.pop("position", None)
        if told != {name: value for name, value in event.items() if name not in hidden}:
            self._world.fail("outputs", f"{id_} is told as {told}, decided was {event}")
        shard, *place = map(int, id_.split("."))
        last = self._order.get((to, str(shard)), (0, 0, 0))
        if tuple(place) < last:
            self._world.fail("outputs", f"{id_} comes on {to} after {last} of its shard")
        self._order[to, str(shard)] = (place[0], place[1], place[2])

    def _snapshot(self, number: int, offset: int, record: Record) -> None:
        """A whole snapshot is the fold at its position, and that position is confirmed."""
        self._chunks[number, offset] = record.value or b""
        if record.value is None or not (record.key or b"").endswith(b".manifest"):
            return
        manifest = orjson.loads(record.value)
        state, shard = FilterState(**manifest["filter"]), self.shards[number]
        if state.seq > shard.seq or (
            state.seq and shard.commits[state.seq - 1].digest != state.digest
        ):
            self._world.fail("snapshots", f"one of shard {number} is at {state}")
            return
        chunks = [self._chunks[number, at] for at, _ in manifest["chunks"]]
        if not self._same_state(number, chunks, shard.commits[: state.seq]):
            self._world.fail("snapshots", f"one of shard {number} isn't the fold at {state.seq}")
        self.count["snapshots"] += 1

    # --- what is trimmed, saved, written

    def trimmed(self, partition: Partition, before: int) -> None:
        """The log is cut below `before`."""
        if partition.topic != "inbox":
            self._world.fail("trim", f"{partition} is trimmed")
        elif before > self.shards[partition.number].inbox_next:
            confirmed = self.shards[partition.number].inbox_next
            self._world.fail("trim", f"{partition} is trimmed to {before}, beyond {confirmed}")
        self.count["trims"] += 1

    def expired(self, group: str, partition: Partition) -> None:
        """A group's checkpoint is gone, which is no fault of anybody's."""
        self._saved.pop((group, partition), None)
        if group == "relay":
            self._forgotten.setdefault(partition.number, _begun_anew(partition.number))

    def _said_that_it_begins(self, shard: int) -> bool:
        """Whether a relay said, since the broker forgot where it was, that all comes again."""
        return shard in self._forgotten and _begun_anew(shard) > self._forgotten[shard]

    def stored(self, group: str, checkpoints: Mapping[Partition, Checkpoint], by: SimHost) -> None:
        """A group's checkpoints were stored.

        They only rise; but who had a partition before another one had it, and did not hear of that,
        goes on where it was: what it does again are repeats.
        """
        for partition, kept in checkpoints.items():
            last, who = self._saved.get((group, partition), (0, by))
            if kept.offset < last and who is by:
                self._world.fail("checkpoints", f"{group} goes back at {partition} to {kept}")
            self.count["checkpoints raced"] += kept.offset < last
            self._saved[group, partition] = kept.offset, by
            if group == "intake":
                self._brought(partition)
                if kept.offset > self._done[partition]:
                    origin = (*partition, self._done[partition])
                    self._world.fail(
                        "checkpoints",
                        f"intake is done with {partition} up to {kept.offset}, but {origin} "
                        f"({self.sent.get(origin)}) is nowhere",
                    )
            elif group in {"relay", "history", "shadow"}:
                state = FilterState.from_json(kept.metadata)
                commits = self.shards[partition.number].commits
                if state.seq > len(commits) or (
                    state.seq and commits[state.seq - 1].digest != state.digest
                ):
                    self._world.fail("checkpoints", f"{group} of {partition} is at {state}")
                missing = self._missing(group, partition.number, state.seq)
                if missing is not None:
                    self._world.fail("checkpoints", f"{group} is beyond {missing}, unpublished")

    def _brought(self, partition: Partition) -> None:
        """Go on to the first record of an input topic that is neither queued nor rejected."""
        while True:
            origin = (partition.topic, partition.number, self._done[partition])
            sent = self.sent.get(origin)
            if sent is None:
                return
            if origin not in self._rejected and self._in_inbox.get(origin, set()) != sent.shards:
                return
            if not sent.shards and origin not in self._rejected:
                return
            self._done[partition] += 1

    def _missing(self, group: str, shard: int, seq: int) -> str | None:
        if group == "relay":
            return self._unpublished(shard, seq)
        by = self._history if group == "history" else self._shadow
        return by.missing(shard, seq) if by is not None else None

    def _unpublished(self, shard: int, seq: int) -> str | None:
        due = self._due[shard]
        while due and due[0] in self._published:
            due.popleft()
        return due[0] if due and int(due[0].split(".")[1]) <= seq else None

    def written(
        self, number: int, old: FilterState | None, new: FilterState, changes: Changes
    ) -> None:
        """A transaction of the read models committed: they are the fold at its position."""
        shard = self.shards[number]
        if old is not None and (new.seq < old.seq or new.next <= old.next):
            self._world.fail("checkpoints", f"the read models of {number}: {old} to {new}")
        if new.seq > shard.seq or (new.seq and shard.commits[new.seq - 1].digest != new.digest):
            self._world.fail("checkpoints", f"the read models of shard {number} are at {new}")
            return
        mine = Changes()
        for commit in shard.commits[shard.reference : new.seq]:
            for _ in project(mine, number, commit):
                pass
        shard.reference = new.seq
        self._reference.write(mine)
        self._compare(self._reference.touched(mine))
        self._compare(self._reference.touched(changes))
        self.count["transactions"] += 1

    def written_past(
        self, number: int, old: FilterState | None, new: FilterState, changes: Changes
    ) -> None:
        """A transaction of the past committed."""
        if self._past is not None:
            self._past.written(number, old, new, changes, self.shards[number].commits)

    def _compare(self, rows: list[tuple[str, Any]]) -> None:
        for table, key in rows:
            mine = self._reference.rows[table].get(key)
            theirs = self._store.tables.rows[table].get(key)
            if mine != theirs:
                self._world.fail("read models", f"{table} {key} is {theirs}, not {mine}")

    # --- the end

    def unsettled(self) -> str | None:
        """What is still to come, or None when all that was sent has found its end."""
        for partition, end in self._ends.items():
            self._brought(partition)
            if self._done[partition] < end:
                origin = (*partition, self._done[partition])
                return f"{origin} ({self.sent[origin]}) is neither queued nor rejected"
        for number, shard in enumerate(self.shards):
            if shard.inbox_next < len(shard.inbox):
                return f"shard {number} is at {shard.inbox_next} of {len(shard.inbox)} inputs"
            written = self._store.checkpoints.get(number)
            if shard.seq and (written is None or written.seq < shard.seq):
                return f"the read models of shard {number} are at {written}, not at {shard.seq}"
            if (id_ := self._unpublished(number, shard.seq)) is not None:
                return f"{id_} is not published"
            for group in ("history", "shadow"):
                if (position := self._missing(group, number, shard.seq)) is not None:
                    return f"{position} is not in the history"
            if self._past is not None and (left := self._past.unsettled(number, shard.seq)):
                return left
        for key, order in self.books.orders.items():
            if order.unsettled():
                return f"{key} is {order.status}: {order.counts}"
        for work, row in self._reference.rows[FULFILLMENTS.name].items():
            if row[_STATUS] in _AT_WORK:
                return f"{work} is {row[_STATUS]} for ever: it has no answer for some unit"
        return None

    def free(self, node_id: str, sku: str) -> int:
        """Units that are there and not promised."""
        on_hand, reserved, *held = self.books.bins[node_id, sku]
        return max(0, on_hand - reserved - sum(held))

    def close(self) -> None:
        """What must hold at the end of it all."""
        for shard in self.shards:
            for origin in shard.taken:
                if origin not in self.sent:
                    self._world.fail("inputs", f"the journal has {origin}, which nobody sent")
        self._compare_shelves()
        if self._past is not None:
            self._past.close()
        self.count["records of history"] = self._history.count if self._history else 0
        self.count["decided in shadow"] = self._shadow.count if self._shadow else 0
        self.count["transactions of the past"] = self._past.count if self._past else 0
        for name, rows in self._reference.rows.items():
            if rows != self._store.tables.rows[name]:
                self._world.fail("read models", f"{name} is not the fold of the journal")

    def _compare_shelves(self) -> None:
        """The book has what stands on the shelves, where only receipts and shipments moved it."""
        taken = {origin for shard in self.shards for origin in shard.taken}
        acts = {  # one may be sent while all stop: it waits for the next start
            id(sent.moves): sent.moves
            for origin, sent in self.sent.items()
            if sent.moves is not None and origin in taken
        }
        shelves, unsure = Counter[tuple[str, str]](), set[tuple[str, str]]()
        for moves in acts.values():
            for sku, units in moves.units.items():
                shelves[moves.node_id, sku] += units
                if not moves.sure:
                    unsure.add((moves.node_id, sku))
        for shelf, units in shelves.items():
            if shelf not in unsure:
                self.count["shelves compared"] += 1
                if self.books.bins[shelf][0] != units:
                    there = self.books.bins[shelf]
                    self._world.fail(
                        "shelves", f"{shelf} holds {units} units, the book has {there}"
                    )
