"""Recovery on Apache Kafka: opening, snapshots, refold, verification, the past, takeover.

1. Orders are decided until the journal has a million events; 100,000 of them stay open, the others
   are cancelled, which their nodes accept, and retired. A snapshot is taken 100,000 events before.
2. Processes of their own open the shard without a snapshot, as after a release that folds
   otherwise, and run `headrace state` and `headrace verify`, in the first run also with PostgreSQL
   rebuilt and all commands published.
3. Ids and business keys are filled up to 2,000,000 and 1,000,000 with such as nobody sends. A
   standby's snapshot is written, then some more is decided, then another snapshot, which writes
   only what is new; beside it a task in the same event loop notes how long it was kept waiting.
4. 100,000 events come after that. A process of its own opens the shard, without a snapshot on
   another one. Its owner is killed, with a standby beside it and with another engine beside it.

python -m bench.recovery open SERVERS PREFIX     that process: prints what it took, as JSON
python -m bench.recovery refold SERVERS PREFIX   the same, reading no snapshot
"""

import asyncio
import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Final

from prometheus_client import REGISTRY

from bench import workload
from bench.core import A_COMMIT, as_the_engine_collects, order_inputs, resident_bytes
from bench.report import Figure, Result, say
from events.decided import InputRecord
from orchestrator.compose import a_core, collect_rarely, create_topics
from orchestrator.core.config import DEDUPE_IDS, Config
from orchestrator.core.decide import decide, fold, tick, work_due
from orchestrator.core.shard import Shard
from orchestrator.embedded import embedded_postgres
from orchestrator.runtime.engine import Core, EngineConfig, ShardWriter
from orchestrator.runtime.kafka_log import KafkaLog, KafkaSettings
from orchestrator.runtime.settings import Settings
from orchestrator.runtime.snapshots import Snapshots
from orchestrator.runtime.standby import StandbyConfig
from orchestrator.runtime.whole import Whole
from orchestrator.runtime.world import SystemClock, SystemRandomness
from schemas import journal
from schemas.journal import FilterState
from schemas.ports import Record, Writer
from tests import servers
from tests.kafka.roles import Process, Processes
from tests.kafka.watching import JOURNAL, Feed, ended
from tests.kafka.watching import Book as Watched

_EVENTS: Final = 1_000_000
_OPEN: Final = 100_000
_KEYS: Final = 1_000_000
_TAIL: Final = StandbyConfig(1).snapshot_events
_AGO_MS: Final = 900_000  # what is decided here is of the last quarter of an hour
_FED_S: Final = 12  # beyond the time that an owner has for its first commit


class Book:
    """Decides inputs and appends what comes of them, as the shard's writer would."""

    def __init__(self, writer: Writer) -> None:
        self.shard = Shard(0, Config(retire_after_ms=1))
        self.filter = FilterState()
        self.events = 0
        self.cancelled: list[InputRecord] = []  # what nodes are to accept
        self._writer = writer
        self._inputs: list[InputRecord] = []

    async def open(self) -> None:
        """Begin the journal; or go on with it, since others have opened it meanwhile."""
        await self._append(journal.encode_opened("bench", "nonce"))

    async def follow(self, log: KafkaLog) -> None:
        """Fold what others who opened the shard have decided since: ticks, and what was due."""
        async with Whole(log, JOURNAL, self.filter.next) as reading:
            async for reads in reading:
                for read in reads:
                    record = journal.decode(read.value, read.offset)
                    self.filter, verdict = journal.step(self.filter, read.offset, record)
                    if isinstance(record, journal.Commit) and verdict is journal.Verdict.VALID:
                        for entry in record.entries:
                            fold(self.shard, entry)

    async def take(self, one: InputRecord) -> None:
        """Decide it with the next batch."""
        self._inputs.append(one)
        if len(self._inputs) == A_COMMIT:
            await self.commit()

    async def commit(self) -> None:
        """Decide what was taken, with a tick before it and what work follows.

        Nodes accept by the next commit what they are asked to cancel by this one.
        """
        inputs, self._inputs = self._inputs, []
        cancelled, self.cancelled = self.cancelled, []
        now_ms = max([self.shard.now_ms, *(one["origin"][3] for one in inputs)])
        entries = [self._decide(tick(now_ms))]
        entries += [self._decide(one) for one in inputs]
        while work_due(self.shard, now_ms):
            entries.append(self._decide(tick(now_ms)))
        size = 0
        batch: list[bytes] = []
        for entry in [*entries, b""]:
            if batch and (not entry or size + len(entry) > journal.MAX_COMMIT_BYTES - 10_000):
                await self._commit(batch, now_ms)
                batch, size = [], 0
            batch.append(entry)
            size += len(entry) + 1
        orders = self.shard.markets[workload.MARKET].orders if cancelled else {}
        for one in cancelled:
            data = one["data"]
            self._inputs += [
                accepted(one, fulfillment.node_id, fulfillment.fulfillment_id)
                for fulfillment in orders[f"{data['channel']}/{data['order_id']}"].fulfillments
            ]

    def _decide(self, one: InputRecord) -> bytes:
        events = decide(self.shard, one)
        self.events += 1 + len(events)
        return journal.encode_entry(one, events)

    async def _commit(self, entries: list[bytes], now_ms: int) -> None:
        state = self.filter
        await self._append(
            journal.encode_commit(
                epoch=state.epoch,
                nonce=state.nonce,
                seq=state.seq + 1,
                inbox_from=state.inbox_next,
                inbox_next=state.inbox_next,
                prev=state.digest,
                now_ms=now_ms,
                entries=entries,
            )
        )

    async def _append(self, value: bytes) -> None:
        offset = (await self._writer.append(JOURNAL, [Record(None, value)])).base_offset
        self.filter, _ = journal.step(self.filter, offset, journal.decode(value, offset))

    def fill_up(self, ids: int, keys: int) -> dict[str, float]:
        """Ids and business keys, older than what there is, as if they had been seen.

        What one takes of memory, in bytes.
        """
        shard = self.shard
        before = resident_bytes()
        newer = list(shard.ids.items())
        older = [f"bench\0old-{n:09d}" for n in range(ids - len(newer))]
        began_ms = shard.now_ms - 43_200_000  # half a day ago, a commit of a hundred every 2 s
        shard.ids = {key: began_ms + n // 100 * 2_000 for n, key in enumerate(older)} | dict(newer)
        shard.id_order.extendleft(reversed(older))
        shard.ids_taken += len(older)
        filled = resident_bytes()
        retired = shard.markets[workload.MARKET].retired
        more = keys - len(retired)
        for n in range(more):
            retired[f"{workload.CHANNEL}/old-{n:09d}"] = n.to_bytes(16) + b"delivered"
        return {
            "id_bytes": (filled - before) / len(older),
            "key_bytes": (resident_bytes() - filled) / more,
        }


def cancelled(inbox: workload.Inbox, order: InputRecord) -> InputRecord:
    """The cancellation of all of an order."""
    data = {key: order["data"][key] for key in ("market_id", "channel", "order_id")} | {
        "reason": "bench"
    }
    taken: InputRecord = {
        **order,
        "type": "order_cancel_requested",
        "id": f"cancel-{order['id']}",
        "data": data,
    }
    inbox.now_ms += 1
    taken["origin"] = ["orders", 1, inbox.now_ms, inbox.now_ms]
    return taken


def accepted(cancellation: InputRecord, node_id: str, fulfillment_id: str) -> InputRecord:
    """The node's answer to a cancellation."""
    _, _, offset, at_ms = cancellation["origin"]
    return {
        **cancellation,
        "type": "fulfillment_cancellation_accepted",
        "id": f"accepted-{fulfillment_id}",
        "origin": ["stock", 1, 100 * offset + int(fulfillment_id.rpartition(".")[2]), at_ms],
        "data": {"node_id": node_id, "fulfillment_id": fulfillment_id},
    }


async def go_on(
    book: Book,
    inbox: workload.Inbox,
    orders: Iterator[InputRecord],
    to: int,
    most: int,
) -> None:
    """Take orders in until there are so many events; cancel what is beyond `most` open ones."""
    while book.events < to:
        one = next(orders)
        await book.take(one)
        if book.shard.orders_open >= most:
            cancellation = cancelled(inbox, one)
            book.cancelled.append(cancellation)
            await book.take(cancellation)
    await book.commit()


class Waits:
    """How long a task of the loop that sleeps for a millisecond was kept waiting, at the most.

    `longest_cpu_ms` leaves out what other processes took of the processor.
    """

    def __init__(self) -> None:
        self.longest_ms = self.longest_cpu_ms = 0.0
        self._task = asyncio.create_task(self._run())

    async def _run(self) -> None:
        before, cpu_before = time.perf_counter(), time.thread_time()
        while True:
            await asyncio.sleep(0.001)
            now, cpu = time.perf_counter(), time.thread_time()
            self.longest_ms = max(self.longest_ms, (now - before) * 1000)
            self.longest_cpu_ms = max(self.longest_cpu_ms, (cpu - cpu_before) * 1000)
            before, cpu_before = now, cpu

    def end(self, name: str) -> dict[str, float]:
        """The longest waits, in ms."""
        self._task.cancel()
        return {f"{name}_pause_ms": self.longest_ms, f"{name}_pause_cpu_ms": self.longest_cpu_ms}


def the_core() -> Core[Shard]:
    """The core as the engine has it."""
    return a_core(Settings())


async def measure(servers_at: str, prefix: str, scale: float, *, whole: bool) -> dict[str, float]:
    """All of it, once; what it took. `whole`: with PostgreSQL and the commands verified as well."""
    tail = int(_TAIL * scale)
    log = await KafkaLog.open(KafkaSettings(servers_at, prefix))
    environment = _environment(servers_at, prefix)
    await create_topics(log, Settings(kafka=servers_at, prefix=prefix, shards=1, replication=1))
    writer = await log.writer()
    inbox = workload.Inbox(int(time.time() * 1000) - _AGO_MS)
    book, most = Book(writer), int(_OPEN * scale)
    await book.open()
    for topic, record in workload.master_data():
        await book.take(inbox.take(topic, record))
    orders = order_inputs(inbox, "recovery", _EVENTS)
    snapshots = _snapshots(log)
    events = int(_EVENTS * scale)
    await go_on(book, inbox, orders, events - tail, most)
    await snapshots.write(book.shard, book.filter)
    snapshot_seq = book.filter.seq
    await go_on(book, inbox, orders, events, most)
    found: dict[str, float] = {
        "events": book.events,
        "open_orders": book.shard.orders_open,
        "verify_pg_s": 0.0,
    }
    say(f"recovery: {book.events:,} events, {book.shard.orders_open:,} orders open")
    found |= await asyncio.to_thread(_child, "refold", servers_at, prefix)
    found |= await asyncio.to_thread(_the_past, environment, snapshot_seq, book.filter.seq)
    found |= await asyncio.to_thread(_verified, environment, whole=whole)
    await book.follow(log)
    await book.open()
    found |= book.fill_up(int(DEDUPE_IDS * scale), int(_KEYS * scale))
    snapshots = _snapshots(log)  # who wrote before knows segments that hold other ids since
    as_the_engine_collects()
    for name, more in (("first", tail // 2), ("second", tail)):
        before = _written()
        waits, began = Waits(), time.perf_counter()
        await snapshots.write(book.shard, book.filter)
        found[f"{name}_s"] = time.perf_counter() - began
        found |= waits.end(name)
        found[f"{name}_mb"] = (_written() - before) / 1e6
        await go_on(book, inbox, orders, book.events + more, most)
    await writer.close()
    found |= await asyncio.to_thread(_child, "open", servers_at, prefix)
    if found["open_events"] > 1.4 * tail:  # from the one before it would be 1.5
        raise AssertionError(f"not the newest snapshot was opened from: {found}")
    for roles in ("standby", "engine"):
        found[f"takeover_{roles}_s"] = await _taken_over(log, book, roles)
        say(f"recovery: taken over by {roles} in {found[f'takeover_{roles}_s']:.1f} s")
    await log.close()
    return found


def _snapshots(log: KafkaLog) -> Snapshots[Shard]:
    """A writer of snapshots that has written none."""
    form = the_core().snapshots
    assert form is not None  # noqa: S101 - the core has one
    return Snapshots(0, log=log, clock=SystemClock(), randomness=SystemRandomness(), form=form)


def _written() -> float:
    return REGISTRY.get_sample_value("headrace_snapshot_bytes_total", {"shard": "0"}) or 0.0


def _environment(servers_at: str, prefix: str) -> dict[str, str]:
    """Of processes that are to find this journal, and nothing else of ours."""
    ours = {name: said for name, said in os.environ.items() if not name.startswith("HEADRACE_")}
    return ours | {
        "HEADRACE_KAFKA": servers_at,
        "HEADRACE_PREFIX": prefix,
        "HEADRACE_SHARDS": "1",
        "HEADRACE_LOG": "json",
    }


def _child(what: str, servers_at: str, prefix: str) -> dict[str, float]:
    child = subprocess.run(
        [sys.executable, "-m", "bench.recovery", what, servers_at, prefix],
        check=True,
        stdout=subprocess.PIPE,
        text=True,
    )
    found: dict[str, float] = json.loads(child.stdout.splitlines()[-1])
    return found


def _headrace(environment: dict[str, str], *arguments: str) -> tuple[float, dict[str, Any]]:
    """Run `headrace … --json`: the seconds that its user waits, and what it says."""
    command = [sys.executable, "-m", "orchestrator.cli", *arguments, "--json"]
    began = time.perf_counter()
    ended = subprocess.run(command, env=environment, stdout=subprocess.PIPE, check=False)
    return time.perf_counter() - began, json.loads(ended.stdout)


def _the_past(environment: dict[str, str], snapshot_seq: int, seq: int) -> dict[str, float]:
    """What was true then: at the end, by the snapshot, and just before the snapshot, without."""
    found: dict[str, float] = {}
    for name, at in (("state_near", seq), ("state_far", snapshot_seq - 1)):
        seconds, told = _headrace(environment, "state", "--summary", "--at", f"0:{at}")
        if told["positions"][0]["seq"] != at:
            raise AssertionError(f"asked for commit {at}, was told of {told['positions']}")
        found[f"{name}_s"] = seconds
    return found


def _verified(environment: dict[str, str], *, whole: bool) -> dict[str, float]:
    """`headrace verify`: all, from the newest snapshot, and with all that was made of it."""
    found: dict[str, float] = {}
    for name, options in (("verify", ()), ("verify_newest", ("--from", "newest"))):
        found[f"{name}_s"], told = _headrace(environment, "verify", "--wait", "0", *options)
        _only_the_relay_is_behind(told)
    if whole:
        with embedded_postgres() as url:
            there = environment | {"HEADRACE_POSTGRES": url}
            for command in (("db", "migrate"), ("rebuild",)):
                began = time.perf_counter()
                subprocess.run(
                    [sys.executable, "-m", "orchestrator.cli", *command],
                    env=there,
                    check=True,
                    stdout=sys.stderr,
                )
                found[f"{command[0]}_s"] = time.perf_counter() - began
            found["verify_pg_s"], told = _headrace(there, "verify", "--wait", "0")
            _only_the_relay_is_behind(told)
    return found


def _only_the_relay_is_behind(told: dict[str, Any]) -> None:
    """No relay runs here: that alone verification may find."""
    if set(told["counts"]) != {"behind"} or told["counts"]["behind"] > 1:
        raise AssertionError(f"verification found {told['findings']}")


async def _taken_over(log: KafkaLog, book: Book, roles: str) -> float:
    """Kill the shard's owner beside a process of these roles: seconds until that one decides."""
    with TemporaryDirectory() as place:
        kafka = log.settings
        processes = Processes(Path(place), kafka.servers, kafka.prefix, "", shards="1")
        try:
            owner = processes.start("engine")
            await _said(owner, "open")
            other = processes.start(roles)
            if roles == "standby":
                await _said(other, "restored")
            watched, feed = Watched(await _newest(log, book.filter)), Feed(log)
            following = asyncio.create_task(watched.follow(log))
            try:
                await asyncio.sleep(_FED_S)
                if not watched.inputs:
                    raise AssertionError(f"the owner decides nothing: {owner.said.read_text()}")
                return await watched.decided_again_ms(owner.kill) / 1000
            finally:
                await ended(following)
                await feed.end()
        finally:
            processes.end()


async def _said(process: Process, event: str) -> None:
    async with asyncio.timeout(120):
        while all(line["event"] != event for line in process.lines()):  # noqa: ASYNC110 - a file
            await asyncio.sleep(0.05)


async def _newest(log: KafkaLog, state: FilterState) -> FilterState:
    """The journal's end as of now, from a place in it on."""
    async with Whole(log, JOURNAL, state.next) as reading:
        async for reads in reading:
            for read in reads:
                record = journal.decode(read.value, read.offset)
                state, _ = journal.step(state, read.offset, record)
    return state


async def opened(servers_at: str, prefix: str, *, refold: bool) -> dict[str, float]:
    """Open the shard here, as the engine does; `refold`: as if there were no snapshot."""
    collect_rarely()
    core, clock, randomness = the_core(), SystemClock(), SystemRandomness()
    assert core.snapshots is not None  # noqa: S101 - the core has one
    log = await KafkaLog.open(KafkaSettings(servers_at, prefix))
    form = core.snapshots
    snapshots = Snapshots(0, log=log, clock=clock, randomness=randomness, form=form)
    writer = ShardWriter(
        0,
        log=log,
        clock=clock,
        randomness=randomness,
        core=core,
        owner="bench",
        config=EngineConfig(),
        snapshots=None if refold else snapshots,
    )
    waits, began, cpu = Waits(), time.perf_counter(), time.process_time()
    running = asyncio.create_task(writer.run())
    while writer.state != "open":  # it has no event
        if writer.state == "halted" or running.done():
            raise AssertionError("the shard can't be opened: what it says stands above")
        await asyncio.sleep(0.001)
    seconds, cpu_s = time.perf_counter() - began, time.process_time() - cpu
    folded = REGISTRY.get_sample_value("headrace_recovered_events_total", {"shard": "0"}) or 0.0
    name = "refold" if refold else "open"
    found = waits.end(name)
    memory_mb = resident_bytes() / 1e6
    writer.stop.set()
    await running
    await log.close()
    return found | {
        f"{name}_s": seconds,
        f"{name}_cpu_s": cpu_s,
        f"{name}_events": folded,
        f"{name}_mb": memory_mb,
    }


def run(*, quick: bool, runs: int) -> Result:
    """Measure it so often."""
    its: list[dict[str, float]] = []
    with servers.run(servers.choose()) as servers_at:
        for number in range(runs):
            scale = 0.05 if quick else 1.0
            one = asyncio.run(measure(servers_at, f"r{number}-", scale, whole=not number))
            its.append(one)
            say(f"recovery: {one}")
    of = {name: [one[name] for one in its if name in one] for name in its[0]}
    first = its[0]
    pauses = [max(one["first_pause_ms"], one["second_pause_ms"]) for one in its]
    own = [max(one["first_pause_cpu_ms"], one["second_pause_cpu_ms"]) for one in its]
    refold = [one["refold_events"] / one["refold_s"] for one in its]
    full = f"{first['open_events']:,.0f} events after the snapshot; {first['open_mb']:,.0f} MB then"
    of_all = f"{first['events']:,.0f} events, {first['open_orders']:,.0f} orders open"
    return Result(
        "recovery",
        [
            Figure("open a shard", "s", of["open_s"], at_most=5, note=full),
            Figure("its own CPU of that", "s", of["open_cpu_s"]),
            Figure("longest pause while opening", "ms", of["open_pause_ms"]),
            Figure("the same, of its own CPU", "ms", of["open_pause_cpu_ms"]),
            Figure("longest pause while writing a snapshot", "ms", pauses, at_most=20),
            Figure("the same, of its own CPU", "ms", own),
            Figure("write the first snapshot", "s", of["first_s"]),
            Figure("its size before compression", "MB", of["first_mb"]),
            Figure("write the next", "s", of["second_s"]),
            Figure("its size before compression, next", "MB", of["second_mb"]),
            Figure("refold without a snapshot", "events/s", refold, at_least=50_000, note=of_all),
            Figure("its own CPU of that", "s", of["refold_cpu_s"]),
            Figure("longest pause while refolding", "ms", of["refold_pause_ms"]),
            Figure("headrace state, near a snapshot", "s", of["state_near_s"], at_most=10),
            Figure("headrace state, no snapshot before", "s", of["state_far_s"], at_most=10),
            Figure("headrace verify", "s", of["verify_s"]),
            Figure("headrace verify --from newest", "s", of["verify_newest_s"]),
            Figure("headrace rebuild", "s", of["rebuild_s"]),
            Figure("headrace verify, PostgreSQL too", "s", of["verify_pg_s"]),
            Figure("a standby decides, its owner killed", "s", of["takeover_standby_s"], at_most=3),
            Figure("an engine decides, no standby", "s", of["takeover_engine_s"], at_most=10),
            Figure("memory of a business key", "bytes", of["key_bytes"], at_most=200),
            Figure("memory of an id", "bytes", of["id_bytes"]),
        ],
    )


def main() -> None:
    """Open a shard that is there, and say what it took."""
    if sys.argv[1:2] not in (["open"], ["refold"]) or len(sys.argv) != 4:
        raise SystemExit(__doc__)
    what, servers_at, prefix = sys.argv[1:]
    print(json.dumps(asyncio.run(opened(servers_at, prefix, refold=what == "refold"))))


if __name__ == "__main__":
    main()
