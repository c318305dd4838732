"""Two of role `kpis` are killed while orders come in: every closed window is exact all the same."""

import asyncio
import os
from collections import defaultdict
from collections.abc import AsyncIterator, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any, Final

import orjson
import pytest

from orchestrator.compose import create_topics
from orchestrator.export.directory import Directory
from orchestrator.kpis.figures import COUNTS
from orchestrator.kpis.worker import ALERTS, KPIS
from orchestrator.remembered import history_format
from orchestrator.runtime.history import History
from orchestrator.runtime.kafka_log import KafkaLog, KafkaSettings
from orchestrator.runtime.publisher import Ports
from orchestrator.runtime.settings import Settings
from orchestrator.runtime.whole import Whole
from orchestrator.runtime.world import SystemClock, SystemRandomness
from schemas.times import instant_ms
from tests.export.exporting import export
from tests.kafka.roles import Process, Processes
from tests.kpis.exact import Counts, Exact, rates
from tests.kpis.shop import MARKET, MINUTES, Shop

pytestmark = [pytest.mark.slow, pytest.mark.real_kafka("its groups notice who is gone")]

LONG: Final = bool(os.environ.get("HEADRACE_TEST_LONG"))
ORDERS: Final = 20_000 if LONG else 400
WAIT_S: Final = 1_200 if LONG else 150
PARTITIONS: Final = 3
_ALERTS: Final = """
alerts:
  - {rule: waiting, figure: backorder_rate, by: market, window: minute, above: 0.2, until: 0.1}
  - {rule: late, figure: on_time_rate, by: node, below: 0.6, until: 0.65, at_least: 5}
"""


class Hasty(SystemClock):
    """Watermarks come a hundred times as often."""

    def monotonic(self) -> float:
        return 100 * super().monotonic()


class Publishing:
    """The role `history`, in this process; `again` loses what it knew of its progress lately."""

    def __init__(self, log: KafkaLog) -> None:
        self._log = log
        self._task: asyncio.Task[None] | None = None

    async def start(self) -> None:
        history = History(
            Ports(
                self._log,
                await self._log.group("history", ["journal"]),
                Hasty(),
                SystemRandomness(),
            ),
            history_format(),
            late_s=30,
        )
        self._task = asyncio.create_task(history.run(asyncio.Event()))
        await asyncio.sleep(0)  # it begins: cancelled before, it would stay in its group for ever

    async def end(self) -> None:
        if self._task is not None:
            self._task.cancel()
            with suppress(asyncio.CancelledError):
                await self._task

    async def again(self) -> None:
        await self.end()
        await self.start()


@pytest.fixture
async def log(kafka: str, prefix: str) -> AsyncIterator[KafkaLog]:
    log = await KafkaLog.open(KafkaSettings(kafka, prefix))
    settings = Settings(kafka=kafka, prefix=prefix, shards=1, partitions=PARTITIONS, replication=1)
    await create_topics(log, settings)
    yield log
    await log.close()


@pytest.fixture
def processes(kafka: str, prefix: str, tmp_path: Path) -> Iterator[Processes]:
    alerts = tmp_path / "alerts.yaml"
    alerts.write_text(_ALERTS)
    started = Processes(
        tmp_path,
        kafka,
        prefix,
        "",
        shards="1",
        partitions=str(PARTITIONS),
        kpis_alerts=str(alerts),
        kpis_hours_back="all",  # the orders' days are of the shop's own clock
    )
    yield started
    started.end()


class Published:
    """What stands on `kpis`, read on and on."""

    def __init__(self, log: KafkaLog) -> None:
        self._log = log
        self._next = 0
        self.complete_ms = 0
        self.repeats = 0
        self.windows: dict[tuple[str, str, int], dict[str, Any]] = {}

    async def look(self) -> None:
        async with Whole(self._log, KPIS, self._next) as whole:
            async for read in whole:
                for one in read:
                    self._next = one.offset + 1
                    self._take((one.key or b"").decode(), orjson.loads(one.value or b""))

    def _take(self, key: str, said: dict[str, Any]) -> None:
        if key == "progress":
            self.complete_ms = max(self.complete_ms, instant_ms(said["complete_until"]))
            return
        window, _, scope = key.partition("/")
        place = window, scope, instant_ms(said["window_end"])
        self.repeats += place in self.windows
        assert self.windows.setdefault(place, said) == said, "one window has one content for ever"

    async def until(self, complete_ms: int, running: Process) -> None:
        """Look until all that ends by then is there."""
        async with asyncio.timeout(WAIT_S):
            while self.complete_ms < complete_ms:
                assert running.running.poll() is None, running.said.read_text()[-3000:]
                await asyncio.sleep(0.1)
                await self.look()


async def counting(running: Process) -> None:
    """Wait until it has partitions: else its kill ends nothing."""
    async with asyncio.timeout(WAIT_S):
        while "counts on" not in running.said.read_text():
            assert running.running.poll() is None, running.said.read_text()[-3000:]
            await asyncio.sleep(0.1)


async def test_two_share_partitions_and_are_killed_and_every_closed_window_equals_sql(
    log: KafkaLog, processes: Processes, tmp_path: Path
) -> None:
    writer = await log.writer()
    shop = Shop(writer, ORDERS, seed=6)
    await shop.open()
    published, history = Published(log), Publishing(log)
    await history.start()
    one, other = processes.start("kpis"), processes.start("kpis")
    for each in (one, other):
        await counting(each)
    selling = asyncio.create_task(shop.sell())
    await published.until(shop.start_ms + MINUTES // 4 * 60_000, other)
    one.kill()  # the other takes over what it had
    await history.again()
    await published.until(shop.start_ms + MINUTES // 2 * 60_000, other)
    other.kill()
    await history.again()
    running = processes.start("kpis")
    await selling
    await shop.later(minutes=90)
    end_ms = shop.inbox.now_ms - shop.inbox.now_ms % 60_000
    await published.until(end_ms, running)
    await running.stop()
    await history.end()
    await writer.close()

    await export(log, Directory(tmp_path / "export"))
    exact = Exact(tmp_path / "export")
    expected = {
        (window, scope, end): counts for window, scope, end, counts in exact.windows(end_ms)
    }
    assert published.windows.keys() == expected.keys()
    seen: dict[str, int] = defaultdict(int)
    for place, counts in expected.items():
        window, scope, _ = place
        said = published.windows[place]
        told = {name: number for name, number in said["counts"].items() if number}
        wanted = rates(counts, 60 if window == "hour" else 1)
        if "/node/" in scope or "/carrier/" in scope:  # what legs cost: see below
            told.pop("cost_minor", None)
            told.pop("paid_minor", None)
            del wanted["cost_per_plan_minor"]
        assert told == {name: number for name, number in counts.items() if number}, place
        for name, rate in wanted.items():
            assert said["rates"].get(name) == (
                None if rate is None else pytest.approx(rate, abs=1e-6)
            ), place
        for name, number in told.items():
            seen[name] += number
    assert set(COUNTS) - seen.keys() == set(), "everything was to happen"
    assert legs_cost(published) == exact.legs_cost
    crossed = expected_alerts(expected)
    assert len(crossed) > 2, "lines were to be crossed"
    assert await alerts(log) == crossed


def legs_cost(published: Published) -> dict[int, int]:
    """What the legs at all nodes cost, by minute."""
    cost: dict[int, int] = defaultdict(int)
    for (window, scope, end), said in published.windows.items():
        if window == "minute" and "/node/" in scope and said["counts"]["allocated"]:
            cost[end - 60_000] += said["counts"]["cost_minor"]
    return dict(cost)


def expected_alerts(windows: dict[tuple[str, str, int], Counts]) -> set[tuple[str, str, int]]:
    """Type, alert and when, by the windows that SQL gave and the two rules above."""
    opened: set[str] = set()
    crossed = set()
    for (window, scope, end), counts in sorted(windows.items(), key=lambda one: one[0][2]):
        of = rates(counts, 1)
        if window == "minute" and scope == MARKET:
            alert, value = f"waiting/{scope}", of["backorder_rate"]
            beyond, back = (value or 0) > 0.2, (value or 0) <= 0.1
        elif window == "hour" and "/node/" in scope and counts.get("due", 0) >= 5:
            alert, value = f"late/{scope}", of["on_time_rate"]
            beyond, back = (value or 0) < 0.6, (value or 0) >= 0.65
        else:
            continue
        if value is not None and alert not in opened and beyond:
            opened.add(alert)
            crossed.add(("alert_opened", alert, end))
        elif value is not None and alert in opened and back:
            opened.remove(alert)
            crossed.add(("alert_closed", alert, end))
    return crossed


async def alerts(log: KafkaLog) -> set[tuple[str, str, int]]:
    """What stands on `alerts`, repeats once."""
    found = set()
    async with Whole(log, ALERTS) as whole:
        async for read in whole:
            for one in read:
                said = orjson.loads(one.value or b"")
                type_ = dict(one.headers)["ce_type"].decode().split(".")[1]
                at = said["opened_at"] if type_ == "alert_opened" else said["closed_at"]
                found.add((type_, said["alert"], instant_ms(at)))
    return found
