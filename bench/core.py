"""The core alone, on one core and without servers: decisions a second, refold, memory, bytes.

python -m bench core          all of it
python -m bench.core memory   only the memory of this process, as JSON
"""

import gc
import json
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from itertools import islice
from pathlib import Path
from typing import Final

from aiokafka.codec import zstd_encode

from bench import workload
from bench.report import Figure, Result, say
from events.decided import InputRecord
from orchestrator import compose
from orchestrator.core.decide import decide, fold, tick
from orchestrator.core.shard import Shard
from orchestrator.runtime import large_pages
from schemas import journal
from schemas.journal import FilterState, Verdict

A_COMMIT: Final = 100  # entries, about what 40 ms of full load make
_OPEN: Final = 100_000


def new_shard(inbox: workload.Inbox) -> Shard:
    """A shard with network and stock, and no order yet."""
    shard = Shard(0)
    for topic, record in workload.master_data():
        decide(shard, inbox.take(topic, record))
    return shard


def order_inputs(inbox: workload.Inbox, name: str, count: int) -> Iterator[InputRecord]:
    """Orders as the engine reads them from the inbox."""
    for order in workload.orders(name, count):
        yield inbox.take("orders", order.record())


def decide_all(shard: Shard, inputs: Sequence[InputRecord]) -> tuple[float, list[list[bytes]]]:
    """Decide as the engine does, a tick a commit: seconds, and the entries of each commit."""
    commits = []
    began = time.perf_counter()
    for first in range(0, len(inputs), A_COMMIT):
        now = tick(inputs[first]["origin"][3])
        entries = [journal.encode_entry(now, decide(shard, now))]
        for one in inputs[first : first + A_COMMIT]:
            entries.append(journal.encode_entry(one, decide(shard, one)))  # noqa: PERF401 - as the engine
        commits.append(entries)
    return time.perf_counter() - began, commits


def as_the_engine_collects() -> None:
    """Set the garbage collector, and take large pages, as a process with an opened shard does."""
    compose.collect_rarely()
    gc.collect()
    gc.freeze()
    large_pages.collapse()


def speed(orders: int, runs: int) -> tuple[list[float], list[list[bytes]]]:
    """Orders a second of each run, and the commits of the last."""
    inbox = workload.Inbox()
    shard = new_shard(inbox)
    rates: list[float] = []
    commits: list[list[bytes]] = []
    for run in range(runs + 1):
        inputs = list(order_inputs(inbox, f"speed{run}", orders))
        as_the_engine_collects()
        seconds, commits = decide_all(shard, inputs)
        if run:  # the first warms up
            rates.append(orders / seconds)
            say(f"core: {rates[-1]:,.0f} orders/s decided and encoded")
    return rates, commits


def chained(commits: Sequence[list[bytes]]) -> list[bytes]:
    """A journal of these commits."""
    values = [journal.encode_opened("bench", "nonce")]
    prev, done = "", 0
    for seq, entries in enumerate(commits, 1):
        values.append(
            journal.encode_commit(
                epoch=0,
                nonce="nonce",
                seq=seq,
                inbox_from=done,
                inbox_next=done + len(entries),
                prev=prev,
                now_ms=0,
                entries=entries,
            )
        )
        done += len(entries)
        prev = journal.digest_of(values[-1])
    return values


def refold(orders: int, runs: int) -> list[float]:
    """Events a second of each run: decode, filter, fold; an event is an input or a decided one."""
    inbox = workload.Inbox()
    deciding = Shard(0)
    master = [inbox.take(topic, record) for topic, record in workload.master_data()]
    _, before = decide_all(deciding, master)
    _, commits = decide_all(deciding, list(order_inputs(inbox, "refold", orders)))
    del deciding
    values = chained([*before, *commits])
    rates = []
    for _ in range(runs):
        as_the_engine_collects()
        shard, state, events = Shard(0), FilterState(), 0
        began = time.perf_counter()
        for offset, value in enumerate(values):
            record = journal.decode(value, offset)
            state, verdict = journal.step(state, offset, record)
            if isinstance(record, journal.Commit) and verdict is Verdict.VALID:
                for entry in record.entries:
                    fold(shard, entry)
                    events += 1 + len(entry["events"])
        rates.append(events / (time.perf_counter() - began))
        say(f"core: {rates[-1]:,.0f} events/s refolded")
        if shard.markets[workload.MARKET].orders.keys() != {
            f"{workload.CHANNEL}/refold-{n:07d}" for n in range(orders)
        }:
            raise AssertionError("the refold has other orders than were decided")
    return rates


def flatness(few: int, many: int, pieces: int, a_piece: int) -> list[float]:
    """Cost of an order with many open against few: shards side by side here, in turns."""
    inbox = workload.Inbox()
    shards = {}
    for count in (few, many):
        shards[count] = new_shard(inbox)
        inputs = order_inputs(inbox, f"open{count}", count)
        while some := list(islice(inputs, 10_000)):
            decide_all(shards[count], some)
        say(f"core: {count:,} orders open")
    as_the_engine_collects()
    costs: dict[int, list[float]] = {few: [], many: []}
    for piece in range(pieces):
        for count, shard in shards.items():
            inputs_now = list(order_inputs(inbox, f"more{count}-{piece}", a_piece))
            costs[count].append(decide_all(shard, inputs_now)[0])
    ratios = [much / little for little, much in zip(costs[few], costs[many], strict=True)]
    middle = statistics.median(costs[many]) / statistics.median(costs[few])
    say(f"core: an order costs {middle:.2f} times as much with {many:,} open as with {few:,}")
    return [middle, min(ratios), max(ratios)]


def resident_bytes(pid: int | str = "self") -> int:
    """The resident memory of a process."""
    for line in Path(f"/proc/{pid}/status").read_text(encoding="utf-8").splitlines():
        if line.startswith("VmRSS:"):
            return int(line.split()[1]) * 1024
    return 0


def memory_here(orders: int) -> dict[str, float]:
    """What an engine's process takes: after its imports, with a network, and per open order."""
    compose.collect_rarely()
    imported = resident_bytes()
    inbox = workload.Inbox()
    shard = new_shard(inbox)
    gc.collect()
    empty = resident_bytes()
    for one in order_inputs(inbox, "memory", orders):
        decide(shard, one)
    gc.collect()
    return {
        "imported_mb": imported / 1e6,
        "empty_mb": empty / 1e6,
        "bytes_an_order": (resident_bytes() - empty) / orders,
    }


def memory(orders: int) -> dict[str, float]:
    """The same, of a process of its own."""
    child = subprocess.run(
        [sys.executable, "-m", "bench.core", "memory", str(orders)],
        check=True,
        capture_output=True,
        text=True,
    )
    found: dict[str, float] = json.loads(child.stdout)
    say(
        f"core: {found['bytes_an_order']:,.0f} bytes an open order, "
        f"{found['empty_mb']:.0f} MB without any"
    )
    return found


def run(*, quick: bool, runs: int) -> Result:
    """Measure all of it."""
    rates, commits = speed(2_000 if quick else 15_000, runs)
    entries = [entry for commit in commits for entry in commit[1:]]
    alone = [len(zstd_encode(chained([[entry]])[1])) for entry in entries[:500]]
    together = [
        len(zstd_encode(value)) / A_COMMIT for value in chained(commits)[1:] if len(value) > 1_000
    ]
    refolds = refold(3_000 if quick else 30_000, runs)
    held = memory(10_000 if quick else _OPEN)
    few, many = (1_000, 10_000) if quick else (10_000, 300_000)
    flat = flatness(few, many, 11 if quick else 31, 200)
    return Result(
        "core",
        [
            Figure("decide + evolve + encode", "orders/s", rates, at_least=8_000),
            Figure("refold", "events/s", refolds, at_least=50_000),
            Figure("memory of an open order", "bytes", [held["bytes_an_order"]], at_most=3_000),
            Figure(
                "memory without orders, in process",
                "MB",
                [held["empty_mb"]],
                at_most=90,
                note=f"network and stock loaded; {held['imported_mb']:.0f} after imports",
            ),
            Figure(
                f"cost of an order, {few:,} to {many:,} open",
                "times",
                flat[:1],
                at_most=1.2,
                note=f"pairs {flat[1]:.2f}…{flat[2]:.2f}",
            ),
            Figure("journal an order, batch of 1, zstd", "bytes", [statistics.median(alone)]),
            Figure(
                f"journal an order, batch of {A_COMMIT}, zstd",
                "bytes",
                [statistics.median(together)],
                note=f"{sum(map(len, entries)) / len(entries):,.0f} uncompressed",
            ),
        ],
    )


def main() -> None:
    """Print the memory of this process, with what an engine's process imports."""
    if sys.argv[1:2] != ["memory"] or not compose.ROLES:
        raise SystemExit(__doc__)
    print(json.dumps(memory_here(int(sys.argv[2]) if sys.argv[2:] else _OPEN)))


if __name__ == "__main__":
    main()
