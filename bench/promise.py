"""`POST /promise` on Apache Kafka and PostgreSQL, beside orders that keep coming.

1. Everything up as in `end_to_end`; two carrier services more, so that there are dates to promise.
2. Orders come at 300/s at random distances, and from another process questions at 200/s, each of
   two lines and both service levels: open loop, a question's time counts from when it was due.
3. After a warm-up: quantiles of the questions' times; from the role's own metric, how long after
   the broker took a commit promises knew of it; and CPU an order, by process.
"""

import argparse
import asyncio
import gc
import json
import random
import sys
import time
from collections import Counter
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any, Final
from urllib.parse import urlsplit

import httpx
import orjson
from prometheus_client.parser import text_string_to_metric_families

from bench import workload
from bench.end_to_end import RATE, Commands, Load, Plan, Run, cpu_seconds, new_servers
from bench.report import Figure, Result, say
from events.network import CarrierServiceDefined, RateBand
from schemas.cloudevents import emit
from schemas.ports import Record

QUESTIONS: Final = 200
"""A second."""
_CONNECTIONS: Final = 16
_LAG: Final = "headrace_follower_lag_seconds"


@dataclass(slots=True)
class Measured:
    """One run; times in ms."""

    asked_ms: list[float] = field(default_factory=list)
    refused: int = 0
    lag_ms: float = 0.0  # median
    command_ms: list[float] = field(default_factory=list)  # of the orders beside, from being placed
    cpu_us: dict[str, float] = field(default_factory=dict)  # an order, by process


def run(*, warm_up_s: float, seconds: float) -> Measured:
    """Run it once on new servers."""
    with new_servers() as (settings, home):
        plan = Plan(open_orders=0, warm_up_s=warm_up_s, latency_s=seconds)
        return asyncio.run(_Promising(plan, settings, home).measure())


def result(*, quick: bool, runs: int) -> Result:
    """Several runs beside their targets."""
    warm_up_s, seconds = (5.0, 10.0) if quick else (20.0, 40.0)
    its = [run(warm_up_s=warm_up_s, seconds=seconds) for _ in range(runs)]
    note = f"{QUESTIONS}/s beside {RATE} orders/s, two service levels each"
    figures = [
        Figure("promise, p50", "ms", [_at(one.asked_ms, 0.5) for one in its], note=note),
        Figure("promise, p99", "ms", [_at(one.asked_ms, 0.99) for one in its], at_most=20),
        Figure("promises refused", "", [float(one.refused) for one in its], at_most=0),
        Figure("commit → known to promises, median", "ms", [one.lag_ms for one in its], at_most=50),
        Figure("placed → command beside, p50", "ms", [_at(one.command_ms, 0.5) for one in its]),
        Figure("placed → command beside, p99", "ms", [_at(one.command_ms, 0.99) for one in its]),
    ]
    return Result("promise", figures, {"cpu_us": [one.cpu_us for one in its]})


def _at(times_ms: list[float], share: float) -> float:
    ranked = sorted(times_ms)
    return ranked[min(len(ranked) - 1, int(share * len(ranked)))]


class _Promising(Run):
    """The servers, the roles and the load of `end_to_end`, with questions beside it."""

    async def measure(self) -> Measured:
        async with self.set_up():
            with self.roles() as processes:
                await self.master_data()
                await self._services()
                return await self._ask(processes)

    async def _services(self) -> None:
        records = [_service(*one) for one in (("ground", "standard", 3), ("air", "expedited", 1))]
        await self.append_to("network", records)
        self.inbox_records += len(records)
        await self.handled(time.perf_counter())

    async def _ask(self, processes: dict[str, str]) -> Measured:
        http = next(http for roles, http in processes.items() if "api" in roles.split(","))
        commands = Commands(self.log, self.partitions)
        warm, measured = (
            round(seconds * RATE) for seconds in (self.plan.warm_up_s, self.plan.latency_s)
        )
        gc.collect()
        gc.freeze()
        gc.disable()
        async with commands.reading():
            load = Load(self.settings, self.partitions, commands)
            async with load.producing():
                await load.send(workload.orders("warm-up", RATE))
                warming = asyncio.create_task(_questions(http, self.plan.warm_up_s))
                await load.send(workload.orders("warm", warm))
                await warming
                lag_before, cpu_before = _lag(http), cpu_seconds()
                asking = asyncio.create_task(_questions(http, self.plan.latency_s))
                load.measures = True
                await load.send(workload.orders("slow", measured))
                asked_ms, refused = await asking
                cpu = cpu_seconds()
        cpu.subtract(cpu_before)
        found = Measured(
            asked_ms,
            refused,
            _median_ms(_lag(http) - lag_before),
            load.command_ms,
            {who: round(s / measured * 1e6, 1) for who, s in cpu.most_common() if s > 0},
        )
        say(
            f"promise: p50 {_at(asked_ms, 0.5):.1f} p99 {_at(asked_ms, 0.99):.1f} ms of "
            f"{len(asked_ms):,}, {refused} refused; known {found.lag_ms:.0f} ms after the "
            f"commit; placed → command p50 {_at(found.command_ms, 0.5):.1f} p99 "
            f"{_at(found.command_ms, 0.99):.1f} ms; CPU µs an order: "
            + ", ".join(f"{who} {us:.0f}" for who, us in found.cpu_us.items())
        )
        return found


def _service(service: str, level: str, days: int) -> Record:
    bands = [(500, 600), (1_500, 900), (6_000, 1_400)]
    fact = CarrierServiceDefined(
        market_id=workload.MARKET,
        carrier="bench",
        service=service,
        service_levels=[level],
        rates=[
            RateBand(
                to_km=to_km,
                base_minor=base_minor * 3 // days,
                per_kg_minor=20,
                transit_days=days + band,
            )
            for band, (to_km, base_minor) in enumerate(bands)
        ],
    )
    value = fact.model_dump_json(exclude_defaults=True).encode()
    headers = emit(fact.TYPE, f"service-{service}", "bench", workload.PLACED_AT)
    return Record(fact.record_key().encode(), value, headers)


def _lag(http: str) -> Counter[float]:
    """The follower's own histogram: commits known within so many seconds."""
    answer = httpx.get(f"{http}/metrics", follow_redirects=True, timeout=5)
    return Counter(
        {
            float(sample.labels["le"]): int(sample.value)
            for family in text_string_to_metric_families(answer.text)
            if family.name == _LAG
            for sample in family.samples
            if sample.name.endswith("_bucket")
        }
    )


def _median_ms(within: Counter[float]) -> float:
    """The median of a histogram, evenly spread within its bucket."""
    half, below_s, below = max(within.values(), default=0) / 2, 0.0, 0
    for limit_s, count in sorted(within.items()):
        if count >= half and count > below:
            return (below_s + (limit_s - below_s) * (half - below) / (count - below)) * 1000
        below_s, below = limit_s, count
    return 0.0


# --- the other process


async def _questions(http: str, seconds: float) -> tuple[list[float], int]:
    """Ask from another process: times of the answers, and how many were none."""
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "bench.promise", http, str(seconds), stdout=asyncio.subprocess.PIPE
    )
    told, _ = await process.communicate()
    found: dict[str, Any] = json.loads(told)
    return found["asked_ms"], found["refused"]


class _Asker:
    """Connections that are kept, and questions sent when they are due."""

    def __init__(self, http: str) -> None:
        at = urlsplit(http)
        self._host, self._port = at.hostname or "", at.port or 80
        self._free: asyncio.Queue[tuple[asyncio.StreamReader, asyncio.StreamWriter]] = (
            asyncio.Queue()
        )
        self.asked_ms: list[float] = []
        self.refused = 0

    async def ask(self, seconds: float) -> None:
        """So many seconds of questions."""
        for _ in range(_CONNECTIONS):
            self._free.put_nowait(await asyncio.open_connection(self._host, self._port))
        chance = random.Random(4)
        orders = workload.orders("questions", round(seconds * QUESTIONS))
        asking: list[asyncio.Task[None]] = []
        due = time.perf_counter()
        for order in orders:
            due += chance.expovariate(QUESTIONS)
            rest = due - time.perf_counter()
            if rest > 0:
                await asyncio.sleep(rest)
            asking.append(asyncio.create_task(self._one(order, due)))
        await asyncio.gather(*asking)
        while not self._free.empty():
            _, writer = self._free.get_nowait()
            writer.close()
            with suppress(OSError):
                await writer.wait_closed()

    async def _one(self, order: workload.Order, due: float) -> None:
        reader, writer = await self._free.get()
        body = orjson.dumps(
            {
                "market_id": workload.MARKET,
                "channel": workload.CHANNEL,
                "lines": [{"sku": sku, "quantity": quantity} for sku, quantity in order.lines],
                "ship_to": orjson.loads(order.ship_to()),
            }
        )
        writer.write(
            b"POST /promise HTTP/1.1\r\nHost: headrace\r\nContent-Type: application/json\r\n"
            b"Content-Length: %d\r\n\r\n" % len(body) + body
        )
        head = await reader.readuntil(b"\r\n\r\n")
        length = int(head.lower().partition(b"content-length:")[2].split(b"\r\n")[0])
        answer = await reader.readexactly(length)
        self.asked_ms.append((time.perf_counter() - due) * 1000)
        self._free.put_nowait((reader, writer))
        if not head.startswith(b"HTTP/1.1 200") or not all(
            one["possible"] for one in orjson.loads(answer)["promises"]
        ):
            self.refused += 1


def main() -> None:
    """Ask a server; print the times."""
    arguments = argparse.ArgumentParser(prog="python -m bench.promise")
    arguments.add_argument("http")
    arguments.add_argument("seconds", type=float)
    given = arguments.parse_args()
    gc.disable()
    asker = _Asker(given.http)
    asyncio.run(asker.ask(given.seconds))
    print(json.dumps({"asked_ms": asker.asked_ms, "refused": asker.refused}))


if __name__ == "__main__":
    main()
