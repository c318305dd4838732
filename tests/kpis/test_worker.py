"""The worker, handed records as Faust may: repeated, skipped, lost; and begun anew."""

import subprocess
import sys
from collections.abc import Awaitable, Callable
from pathlib import Path

import orjson
import pytest

from orchestrator import compose
from orchestrator.kpis.alerts import parse
from orchestrator.kpis.worker import ALERTS, KPIS, PARTS, Worker
from orchestrator.runtime import metrics
from orchestrator.runtime.memory_log import MemoryLog, MemoryWriter
from orchestrator.runtime.settings import Settings, SetupError
from orchestrator.runtime.world import SystemClock
from schemas.ports import Bounds, Partition, Record
from tests.kpis.test_windows import SHARDS, START, accepted, watermark

HISTORY = Partition("history", 0)
MINUTE_MS = 60_000
RULES = parse("alerts: [{rule: busy, figure: placed, by: market, window: minute, above: 1}]", "")


@pytest.fixture
def log() -> MemoryLog:
    return MemoryLog(SystemClock(), {"history": 1, "kpi-parts": 1, "kpis": 1, "alerts": 1})


class Standing(SystemClock):
    """It stands still until it is put on."""

    def __init__(self) -> None:
        super().__init__()
        self.now_s = 100.0

    def monotonic(self) -> float:
        return self.now_s

    def now_ms(self) -> int:
        return START + round(1_000 * self.now_s)


def a_worker(log: MemoryLog) -> Worker:
    return Worker(log=log, clock=SystemClock(), rules=RULES, partitions=1)


def happen(log: MemoryLog, minute: int, orders: int) -> None:
    """Orders of a minute, and the watermarks that close it."""
    at_ms = START + minute * MINUTE_MS
    records = [accepted(0, 100 * minute + number, at_ms) for number in range(orders)]
    records += [watermark(shard, at_ms + MINUTE_MS) for shard in range(SHARDS)]
    log.write(HISTORY, [Record(b"", orjson.dumps(one)) for one in records])


async def hand_over(worker: Worker, log: MemoryLog, first: int = 0) -> None:
    """What stands in the topics from these offsets on; parts from where the worker wants them."""
    for one in log.held(HISTORY).records[first:]:
        await worker.take_history(0, one.offset, one.value)
    for one in log.held(PARTS).records[worker.next(PARTS) :]:
        await worker.take_parts(one.offset, one.value)


def told(log: MemoryLog) -> dict[str, int]:
    """Orders by key and end of the published windows."""
    return {
        f"{(one.key or b'').decode()}@{said['window_end']}": said["counts"]["placed"]
        for one in log.held(KPIS).records
        for said in [orjson.loads(one.value or b"")]
        if one.key != b"progress"
    }


async def test_what_closes_is_published_and_judged(log: MemoryLog) -> None:
    happen(log, 0, orders=3)
    worker = a_worker(log)
    await worker.assign([HISTORY, PARTS])
    await hand_over(worker, log)
    end = "2026-11-22T10:01:00.000Z"
    assert told(log) == {
        f"{window}/{scope}@{end}": 3 for window in ("minute", "hour") for scope in _SCOPES
    }
    (alert,) = log.held(ALERTS).records
    assert alert.key == b"busy/m0"
    await worker.close()


_SCOPES = ("m0", "m0/channel/web")


async def test_a_record_that_is_not_the_next_is_passed_over_and_the_stream_is_sought(
    log: MemoryLog,
) -> None:
    happen(log, 0, orders=2)
    worker = a_worker(log)
    await worker.assign([HISTORY, PARTS])
    assert set(worker.astray()) == {HISTORY, PARTS}, "Faust begins where it likes"
    worker.sought(HISTORY)
    worker.sought(PARTS)
    records = log.held(HISTORY).records
    await worker.take_history(0, 2, records[2].value)
    assert worker.next(HISTORY) == 0
    assert worker.streams[HISTORY].astray
    for one in records[:2]:
        await worker.take_history(0, one.offset, one.value)
    await worker.take_history(0, 0, records[0].value)  # an old one is no reason to seek
    assert not worker.streams[HISTORY].astray
    assert worker.next(HISTORY) == 2
    await worker.close()


async def test_a_seek_that_is_lost_before_silence_is_made_again(log: MemoryLog) -> None:
    clock = Standing()
    worker = Worker(log=log, clock=clock, rules=RULES, partitions=1)
    await worker.assign([HISTORY])
    assert worker.astray() == [HISTORY]
    worker.sought(HISTORY)
    happen(log, 0, orders=1)
    there = {HISTORY: log.held(HISTORY).records[-1].offset + 1}
    for _ in range(2):
        worker.observe(there)
        assert worker.astray() == []
        clock.now_s += 6
        worker.observe(there)
        assert worker.astray() == [HISTORY]
        worker.sought(HISTORY)
    for one in log.held(HISTORY).records:
        await worker.take_history(0, one.offset, one.value)
    worker.observe(there)
    clock.now_s += 6
    worker.observe(there)
    assert worker.astray() == []


async def test_one_that_is_begun_anew_goes_on_from_the_progress_and_opens_no_alert_twice(
    log: MemoryLog,
) -> None:
    happen(log, 0, orders=2)
    happen(log, 1, orders=2)
    one = a_worker(log)
    await one.assign([HISTORY, PARTS])
    await hand_over(one, log)
    before = told(log)
    await one.close()
    happen(log, 2, orders=2)
    two = a_worker(log)
    await two.assign([HISTORY, PARTS])
    assert two.next(HISTORY) == 8
    await hand_over(two, log, first=3)
    after = told(log)
    assert {key: after[key] for key in before} == before
    assert after["hour/m0@2026-11-22T10:03:00.000Z"] == 6
    assert len(log.held(ALERTS).records) == 1
    await two.close()


async def test_the_first_start_tells_from_some_hours_ago_on_with_whole_hours(
    log: MemoryLog,
) -> None:
    clock = Standing()
    clock.now_s = 5 * 3_600
    for minute in (0, 200, 235, 245):
        happen(log, minute, orders=minute // 100 + 1)
    one = Worker(log=log, clock=clock, rules=RULES, partitions=1, hours_back=1)
    await one.assign([HISTORY, PARTS])
    await hand_over(one, log)
    assert min(key.partition("@")[2] for key in told(log)) == "2026-11-22T14:01:00.000Z"
    assert told(log)["hour/m0@2026-11-22T14:01:00.000Z"] == 6, "of minutes 200 and 235"
    assert told(log)["minute/m0@2026-11-22T14:06:00.000Z"] == 3
    (alert,) = log.held(ALERTS).records
    assert b"14:06" in (alert.value or b""), "what lies before is not judged"
    await one.close()


async def test_who_starts_before_anything_is_told_begins_where_the_first_one_said(
    log: MemoryLog,
) -> None:
    clock = Standing()
    clock.now_s = 5 * 3_600
    one = Worker(log=log, clock=clock, rules=RULES, partitions=1, hours_back=1)
    await one.assign([HISTORY, PARTS])
    await one.close()
    clock.now_s += 4 * 3_600
    happen(log, 245, orders=3)
    two = Worker(log=log, clock=clock, rules=RULES, partitions=1, hours_back=1)
    await two.assign([HISTORY, PARTS])
    await hand_over(two, log)
    assert told(log)["minute/m0@2026-11-22T14:06:00.000Z"] == 3
    await two.close()


async def test_all_of_history_is_told_where_that_is_asked_for(log: MemoryLog) -> None:
    happen(log, 0, orders=3)
    clock = Standing()
    clock.now_s = 1_000 * 3_600
    worker = Worker(log=log, clock=clock, rules=RULES, partitions=1, hours_back=None)
    await worker.assign([HISTORY, PARTS])
    await hand_over(worker, log)
    assert told(log)["minute/m0@2026-11-22T10:01:00.000Z"] == 3
    assert Settings(kpis_hours_back="all").kpis_hours_back == "all"
    assert Settings().kpis_hours_back == 24, "by default from a day ago"
    await worker.close()


async def test_a_record_that_nobody_can_read_is_passed_over(log: MemoryLog) -> None:
    log.write(HISTORY, [Record(b"", b"not json"), Record(b"", b'{"kind": "event"}')])
    happen(log, 0, orders=1)
    worker = a_worker(log)
    await worker.assign([HISTORY, PARTS])
    await hand_over(worker, log)
    assert worker.next(HISTORY) == len(log.held(HISTORY).records)
    assert told(log)["minute/m0@2026-11-22T10:01:00.000Z"] == 1
    await worker.close()


async def begun(worker: Worker) -> None:
    await worker.assign([HISTORY, PARTS])


FOREIGN = [
    Record(b"progress", b"not json"),
    Record(b"progress", b"3"),
    Record(b"progress", b'{"complete_until": 7, "partitions": []}'),
    Record(b"progress", b'{"complete_until": "2026-11-22T10:01:00.000Z", "partitions": {"a": 1}}'),
    Record(b"progress", None),
    Record(b"busy/m0", b"not json"),
    Record(b"busy/m0", b"[]", [("ce_type", b"headrace.alert_opened.v1")]),
    Record(b"busy/m0", b"{}", [("ce_type", b"headrace.alert_closed.v1")]),
    Record(b"busy/m0", b'{"alert": "busy/m0"}', [("ce_type", b"one")]),
    Record(b"busy/m0", b'{"alert": "busy/m0"}', [("ce_type", b"\xff")]),
    Record(b"busy/m0", b'{"alert": "busy/m0"}'),
    Record(None, None),
]


@pytest.mark.parametrize("foreign", FOREIGN, ids=str)
async def test_what_cannot_be_read_on_kpis_or_alerts_keeps_no_worker_from_beginning(
    log: MemoryLog, foreign: Record
) -> None:
    happen(log, 0, orders=2)
    one = a_worker(log)
    await begun(one)
    await hand_over(one, log)
    await one.close()
    for topic in (KPIS, ALERTS):
        log.write(topic, [foreign])
    two = a_worker(log)
    await begun(two)
    assert two.next(HISTORY) == len(log.held(HISTORY).records)
    happen(log, 1, orders=2)
    await hand_over(two, log, first=two.next(HISTORY))
    opened = [one for one in log.held(ALERTS).records if one.key == b"busy/m0" and one.value]
    assert len([one for one in opened if b'"value":2' in (one.value or b"")]) == 1
    await two.close()


async def test_an_alert_that_was_deleted_from_the_topic_is_closed(log: MemoryLog) -> None:
    happen(log, 0, orders=2)
    one = a_worker(log)
    await begun(one)
    await hand_over(one, log)
    await one.close()
    log.write(ALERTS, [Record(b"busy/m0", None)])
    two = a_worker(log)
    await begun(two)
    happen(log, 1, orders=2)
    await hand_over(two, log, first=two.next(HISTORY))
    assert [record.value is None for record in log.held(ALERTS).records] == [False, True, False]
    await two.close()


@pytest.mark.parametrize(
    "foreign",
    [
        None,
        b"3",
        b'{"v": 1, "kind": "word"}',
        b'{"v": 1, "kind": "closed", "partition": "0", "partitions": 1, "until": 1, "resume": 0}',
        b'{"v": 1, "kind": "closed", "partition": 0, "partitions": 9, "until": "1", "resume": 0}',
        b'{"v": 1, "kind": "closed", "partition": 1, "partitions": 1, "until": 1, "resume": 0}',
        b'{"v": 1, "kind": "part", "partition": 0, "minute": "1", "part": 1, "counts": {}}',
        (
            b'{"v": 1, "kind": "part", "partition": 0, "minute": 1795341600000, "part": 9,'
            b' "counts": {"m0": ["many"]}}'
        ),
    ],
)
async def test_what_cannot_be_read_on_kpi_parts_is_passed_over(
    log: MemoryLog, foreign: bytes | None
) -> None:
    log.write(PARTS, [Record(b"", foreign)])
    happen(log, 0, orders=2)
    worker = a_worker(log)
    await begun(worker)
    await hand_over(worker, log)
    happen(log, 1, orders=3)
    await hand_over(worker, log, first=worker.next(HISTORY))
    assert told(log)["minute/m0@2026-11-22T10:01:00.000Z"] == 2
    assert told(log)["hour/m0@2026-11-22T10:02:00.000Z"] == 5
    await worker.close()


async def test_no_hour_is_told_whose_parts_were_deleted_nor_after_another_restart(
    log: MemoryLog,
) -> None:
    for minute in range(3):
        happen(log, minute, orders=1)
    one = a_worker(log)
    await begun(one)
    await hand_over(one, log)
    await one.close()
    before = told(log)
    await log.trim(PARTS, 2)
    for minute in (3, 4):
        happen(log, minute, orders=1)
        worker = a_worker(log)
        await begun(worker)
        for record in log.held(HISTORY).records[worker.next(HISTORY) :]:
            await worker.take_history(0, record.offset, record.value)
        for record in log.held(PARTS).records:
            await worker.take_parts(record.offset, record.value)
        await worker.close()
    since = told(log).keys() - before.keys()
    assert since == {
        f"minute/{scope}@2026-11-22T10:0{minute}:00.000Z" for scope in _SCOPES for minute in (4, 5)
    }
    progress = orjson.loads(log.held(KPIS).records[-1].value or b"")
    assert progress["hours_from"] == "2026-11-22T11:03:00.000Z"


class Busy(MemoryLog):
    """A log on which something happens while it is asked or a writer is opened."""

    meanwhile: Callable[[], Awaitable[None]] | None = None

    async def bounds(self, partition: Partition) -> Bounds:
        if self.meanwhile is not None:
            await self.meanwhile()
        return await super().bounds(partition)

    async def writer(self) -> MemoryWriter:
        if self.meanwhile is not None:
            await self.meanwhile()
        return await super().writer()


@pytest.fixture
def busy() -> Busy:
    return Busy(SystemClock(), {"history": 1, "kpi-parts": 1, "kpis": 1, "alerts": 1})


async def test_a_record_that_comes_while_a_worker_begins_is_no_failure(busy: Busy) -> None:
    worker = a_worker(busy)

    async def handed() -> None:
        await worker.take_parts(0, b"{}")

    busy.meanwhile = handed
    await begun(worker)
    assert worker.next(PARTS) == 0
    await worker.close()


async def test_who_loses_the_merging_publishes_no_further_minute(busy: Busy) -> None:
    for minute in range(3):
        at_ms = START + minute * MINUTE_MS
        orders = [accepted(0, 10 * minute + number, at_ms) for number in range(2)]
        busy.write(HISTORY, [Record(b"", orjson.dumps(one)) for one in orders])
    marks = [watermark(shard, START + 3 * MINUTE_MS) for shard in range(SHARDS)]
    busy.write(HISTORY, [Record(b"", orjson.dumps(one)) for one in marks])
    worker = a_worker(busy)
    await begun(worker)
    for one in busy.held(HISTORY).records:
        await worker.take_history(0, one.offset, one.value)

    async def rebalanced() -> None:
        busy.meanwhile = None
        await worker.assign([HISTORY])

    busy.meanwhile = rebalanced  # when it publishes the first minute
    metrics.KPI_COMPLETE.set(0)
    for one in busy.held(PARTS).records:
        await worker.take_parts(one.offset, one.value)
    assert busy.held(KPIS).records == []
    assert len(busy.held(ALERTS).records) == 1, "what was on its way"
    assert metrics.KPI_COMPLETE._value.get() == 0
    await worker.close()


async def test_what_another_member_has_by_now_is_left(log: MemoryLog) -> None:
    worker = a_worker(log)
    await worker.assign([HISTORY, PARTS])
    await worker.assign([PARTS])
    happen(log, 0, orders=1)
    for one in log.held(HISTORY).records:
        await worker.take_history(0, one.offset, one.value)
    assert log.held(PARTS).records == []
    await worker.close()


@pytest.mark.slow
def test_nothing_loads_faust_but_the_role() -> None:
    program = (
        "import sys, orchestrator.cli, orchestrator.compose, orchestrator.kpis.worker\n"
        "import projections.api, projections.kpis, orchestrator.commands.run\n"
        "assert not {'faust', 'mode'} & sys.modules.keys()"
    )
    subprocess.run([sys.executable, "-c", program], check=True)


def test_a_wrong_file_of_alerts_ends_the_role_with_2_and_the_place(tmp_path: Path) -> None:
    file = tmp_path / "alerts.yaml"
    file.write_text("alerts: [{rule: a, figure: placed, by: market, above: many}]")
    nothing: dict[str, object] = {}
    with pytest.raises(SetupError, match=r"alerts\[0\]\.above: must be a valid number") as error:
        compose._kpis(Settings(kpis_alerts=str(file)), nothing)  # type: ignore[arg-type]
    assert error.value.exit_code == 2
