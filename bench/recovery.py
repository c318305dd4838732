"""Opening a shard and taking its snapshots, on Apache Kafka: how long, and what decisions wait.

1. Orders are decided until the journal has a million events; 100,000 of them stay open, the others
   are cancelled and retired. Ids and business keys are filled up to 2,000,000 and 1,000,000 with
   such as nobody sends.
2. A standby's snapshot is written, then more is decided, then another snapshot, which writes only
   what is new; beside it a task in the same event loop notes how long it was kept waiting.
3. The last 100,000 events come after that. A process of its own opens the shard.

python -m bench.recovery open SERVERS PREFIX   that process: prints what it took, as JSON
"""

import asyncio
import gc
import json
import subprocess
import sys
import time
from collections.abc import Iterator
from typing import Final

from prometheus_client import REGISTRY

from bench import workload
from bench.core import A_COMMIT, as_the_engine_collects, order_inputs, resident_bytes
from bench.report import Figure, Result, say
from events.decided import InputRecord
from orchestrator.compose import a_core, create_topics
from orchestrator.core.config import DEDUPE_IDS, Config
from orchestrator.core.decide import decide, tick, work_due
from orchestrator.core.shard import Shard
from orchestrator.runtime.engine import Core, EngineConfig, ShardWriter
from orchestrator.runtime.kafka_log import KafkaLog, KafkaSettings
from orchestrator.runtime.settings import Settings
from orchestrator.runtime.snapshots import Snapshots
from orchestrator.runtime.standby import StandbyConfig
from orchestrator.runtime.world import SystemClock, SystemRandomness
from schemas import journal
from schemas.journal import FilterState
from schemas.ports import Partition, Record, Writer
from tests import servers

_EVENTS: Final = 1_000_000
_OPEN: Final = 100_000
_KEYS: Final = 1_000_000
_TAIL: Final = StandbyConfig(1).snapshot_events
JOURNAL: Final = Partition("journal", 0)


class Book:
    """Decides inputs and appends what comes of them, as the shard's writer would."""

    def __init__(self, writer: Writer) -> None:
        self.shard = Shard(0, Config(retire_after_ms=1))
        self.filter = FilterState()
        self.events = 0
        self._writer = writer
        self._inputs: list[InputRecord] = []

    async def open(self) -> None:
        """Begin the journal."""
        await self._append(journal.encode_opened("bench", "nonce"))

    async def take(self, one: InputRecord) -> None:
        """Decide it with the next batch."""
        self._inputs.append(one)
        if len(self._inputs) == A_COMMIT:
            await self.commit()

    async def commit(self) -> None:
        """Decide what was taken, with a tick before it and what work follows."""
        inputs, self._inputs = self._inputs, []
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

    def fill_up(self, ids: int, keys: int) -> None:
        """Ids and business keys, older than what there is, as if they had been seen."""
        shard = self.shard
        newer = list(shard.ids.items())
        older = [f"bench\0old-{n:09d}" for n in range(ids - len(newer))]
        shard.ids = dict.fromkeys(older, shard.now_ms) | dict(newer)
        shard.id_order.extendleft(reversed(older))
        shard.ids_taken += len(older)
        retired = shard.markets[workload.MARKET].retired
        for n in range(keys - len(retired)):
            retired[f"{workload.CHANNEL}/old-{n:09d}"] = n.to_bytes(16) + b"delivered"


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


def inputs(inbox: workload.Inbox, open_orders: int) -> Iterator[InputRecord]:
    """Orders of which the first so many stay open, the others are cancelled at once."""
    for number, order in enumerate(order_inputs(inbox, "recovery", 10 * _EVENTS)):
        yield order
        if number >= open_orders:
            yield cancelled(inbox, order)


class Waits:
    """How long a task of the loop was kept waiting, at the most.

    `longest_cpu_ms` leaves out what other processes took of the processor.
    """

    def __init__(self) -> None:
        self.longest_ms = self.longest_cpu_ms = 0.0
        self._task = asyncio.create_task(self._run())

    async def _run(self) -> None:
        before, cpu_before = time.perf_counter(), time.thread_time()
        while True:
            await asyncio.sleep(0)
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


async def measure(servers_at: str, prefix: str, scale: float) -> dict[str, float]:
    """Fill the journal, write two snapshots, open; what each took."""
    events, open_orders = int(_EVENTS * scale), int(_OPEN * scale)
    log = await KafkaLog.open(KafkaSettings(servers_at, prefix))
    await create_topics(log, Settings(kafka=servers_at, prefix=prefix, shards=1, replication=1))
    writer = await log.writer()
    inbox = workload.Inbox()
    book = Book(writer)
    await book.open()
    for topic, record in workload.master_data():
        await book.take(inbox.take(topic, record))
    source = inputs(inbox, open_orders)
    tail = int(_TAIL * scale)
    while book.events < events - 2 * tail:
        await book.take(next(source))
    await book.commit()
    book.fill_up(int(DEDUPE_IDS * scale), int(_KEYS * scale))
    say(f"recovery: {book.events:,} events, {book.shard.orders_open:,} orders open")
    as_the_engine_collects()
    form = the_core().snapshots
    assert form is not None  # noqa: S101 - the core has one
    snapshots = Snapshots(0, log=log, clock=SystemClock(), randomness=SystemRandomness(), form=form)
    found: dict[str, float] = {}
    for name, until in (("first", events - tail), ("second", events)):
        before = _written()
        waits, began = Waits(), time.perf_counter()
        await snapshots.write(book.shard, book.filter)
        found[f"{name}_s"] = time.perf_counter() - began
        found |= waits.end(name)
        found[f"{name}_mb"] = (_written() - before) / 1e6
        while book.events < until:
            await book.take(next(source))
        await book.commit()
    await writer.close()
    await log.close()
    child = await asyncio.to_thread(
        subprocess.run,
        [sys.executable, "-m", "bench.recovery", "open", servers_at, prefix],
        check=True,
        capture_output=True,
        text=True,
    )
    opening: dict[str, float] = json.loads(child.stdout.splitlines()[-1])
    return found | opening


def _written() -> float:
    return REGISTRY.get_sample_value("headrace_snapshot_bytes_total", {"shard": "0"}) or 0.0


async def opened(servers_at: str, prefix: str) -> dict[str, float]:
    """Open the shard here, as the engine does."""
    gc.set_threshold(10_000, 50, 10_000)  # as the composition root
    core, clock, randomness = the_core(), SystemClock(), SystemRandomness()
    assert core.snapshots is not None  # noqa: S101 - the core has one
    log = await KafkaLog.open(KafkaSettings(servers_at, prefix))
    writer = ShardWriter(
        0,
        log=log,
        clock=clock,
        randomness=randomness,
        core=core,
        owner="bench",
        config=EngineConfig(),
        snapshots=Snapshots(0, log=log, clock=clock, randomness=randomness, form=core.snapshots),
    )
    waits, began, cpu = Waits(), time.perf_counter(), time.process_time()
    running = asyncio.create_task(writer.run())
    while writer.state != "open":  # noqa: ASYNC110 - it has no event
        await asyncio.sleep(0.001)
    seconds, cpu_s = time.perf_counter() - began, time.process_time() - cpu
    folded = REGISTRY.get_sample_value("headrace_recovered_events_total", {"shard": "0"}) or 0.0
    found = waits.end("open")
    memory_mb = resident_bytes() / 1e6
    writer.stop.set()
    await running
    await log.close()
    return found | {
        "open_s": seconds,
        "open_cpu_s": cpu_s,
        "folded": folded,
        "memory_mb": memory_mb,
    }


def run(*, quick: bool, runs: int) -> Result:
    """Measure it so often."""
    its: list[dict[str, float]] = []
    with servers.run(servers.choose()) as servers_at:
        for number in range(runs):
            its.append(asyncio.run(measure(servers_at, f"r{number}-", 0.05 if quick else 1.0)))
            say(f"recovery: {its[-1]}")
    of = {name: [one[name] for one in its] for name in its[0]}
    pauses = [max(one["first_pause_ms"], one["second_pause_ms"]) for one in its]
    note = f"{of['folded'][0]:,.0f} events after the snapshot; {of['memory_mb'][0]:,.0f} MB then"
    return Result(
        "recovery",
        [
            Figure("open a shard of 1,000,000 events", "s", of["open_s"], at_most=5, note=note),
            Figure("its own CPU of that", "s", of["open_cpu_s"]),
            Figure("longest pause while opening", "ms", of["open_pause_ms"]),
            Figure("the same, of its own CPU", "ms", of["open_pause_cpu_ms"]),
            Figure("longest pause while writing a snapshot", "ms", pauses, at_most=20),
            Figure("write the first snapshot", "s", of["first_s"]),
            Figure("its size before compression", "MB", of["first_mb"]),
            Figure("write the next", "s", of["second_s"]),
            Figure("its size before compression, next", "MB", of["second_mb"]),
        ],
    )


def main() -> None:
    """Open a shard that is there, and say what it took."""
    if sys.argv[1:2] != ["open"] or len(sys.argv) != 4:
        raise SystemExit(__doc__)
    print(json.dumps(asyncio.run(opened(*sys.argv[2:]))))


if __name__ == "__main__":
    main()
