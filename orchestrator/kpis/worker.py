"""What a process of role `kpis` does with the records that it is handed; without Faust.

Whoever hands them over (Faust) may repeat, skip or lose any: each stream knows the one offset that
it takes next, and says where it must be sought to when another comes.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, Final

import orjson
import structlog

from events.kpis import AlertClosed, AlertOpened, KpiProgress, KpiWindowClosed
from orchestrator.kpis.alerts import Alerts, Known, Rule, Transition
from orchestrator.kpis.figures import COUNTS, RATES, Counts, about, rates
from orchestrator.kpis.windows import (
    HOUR_MINUTES,
    MINUTE_MS,
    Closed,
    Counting,
    Figures,
    Merging,
    Message,
    Minute,
    Progress,
)
from orchestrator.runtime import metrics
from orchestrator.runtime.batches import batches
from orchestrator.runtime.whole import Whole
from schemas.cloudevents import emit
from schemas.ports import Clock, EventLog, Partition, Read, Record, Writer
from schemas.times import instant_ms, rfc3339

HISTORY: Final = "history"
PARTS: Final = Partition("kpi-parts", 0)
KPIS: Final = Partition("kpis", 0)
ALERTS: Final = Partition("alerts", 0)
_SOURCE: Final = "headrace/kpis"
_PROGRESS: Final = b"progress"
_PAUSE_S: Final = 1.0  # after a failure of the log
_PATIENCE_S: Final = 3.0  # before a seek that brought nothing is made again
_STALLED_S: Final = 5.0  # nothing comes of what is there: a seek was lost, and silence followed
_TRIES: Final = 5  # seeks, before a stream is begun anew from what is published
_HOUR_MS: Final = HOUR_MINUTES * MINUTE_MS
_COUNTED_BEFORE_MS: Final = 2 * _HOUR_MS
"""How long before the first moment told counting begins: the hour before it, and one in which
other workers may have started earlier than the one that merges."""
TOLD: Final = ("placed", "shipped", "delivered", "exceptions")
"""The counts that are metrics beside all rates."""
BY_MINUTE: Final = ("market", "channel")
"""The dimensions that have metrics by the minute: some hundred nodes are enough by the hour."""

_log = structlog.get_logger(__name__)


class Publisher:
    """Appends in order, again and again until it is acknowledged: the same records, so repeats."""

    def __init__(self, log: EventLog, clock: Clock) -> None:
        self._log = log
        self._clock = clock
        self._writer: Writer | None = None

    async def append(self, to: Partition, records: Iterable[Record]) -> None:
        """Append them; all acknowledged on return."""
        for batch in batches(records):
            while not await self._tried(to, batch):
                await self._clock.sleep(_PAUSE_S)

    async def _tried(self, to: Partition, batch: Sequence[Record]) -> bool:
        try:
            if self._writer is None:
                self._writer = await self._log.writer()
            await self._writer.append(to, batch)
        except Exception as error:  # noqa: BLE001 - told; windows must not be lost by it
            _log.warning("publishing is tried again in a moment", topic=to.topic, what=str(error))
            await self.close()
            return False
        return True

    async def close(self) -> None:
        """Drop the writer."""
        writer, self._writer = self._writer, None
        if writer is not None:
            await writer.close()


class Stream:
    """Whether what comes of a partition is what is taken next, or it has to be sought."""

    def __init__(self, partition: Partition) -> None:
        self.partition = partition
        self.astray = True  # Faust begins where it likes
        self.busy = False  # with what it was handed: more comes after it
        self._sought = -1, 0.0  # to which offset, and when
        self._waits = -1, 0.0  # for which offset, that is there, and since when
        self._tries = 0

    def due(self, to: int, now_s: float) -> bool:
        """Whether it has to be sought; a seek that was made is given time."""
        patient = self._sought[0] == to and now_s - self._sought[1] < _PATIENCE_S
        return self.astray and not patient

    def is_next(self, offset: int, next_: int) -> bool:
        """Whether what came is what is taken next; the stream is astray where more lies between."""
        self.astray = offset > next_ or (self.astray and offset != next_)
        return offset == next_

    @contextmanager
    def at_work(self) -> Iterator[None]:
        """While it is, nothing else can come."""
        self.busy = True
        try:
            yield
        finally:
            self.busy = False

    def sought(self, to: int, now_s: float) -> None:
        """It was sought, and is right until another record than the next comes."""
        self._tries = self._tries + 1 if self._sought[0] == to else 1
        self._sought = to, now_s
        self.astray = False
        metrics.KPI_SOUGHT.labels(self.partition.topic).inc()

    def observe(self, to: int, high_water: int, now_s: float) -> None:
        """Notice that what is taken next does not come, though it is there: it went astray."""
        if self.busy or high_water <= to or self._waits[0] != to:
            self._waits = to, now_s
        elif now_s - self._waits[1] > _STALLED_S:
            self._waits = to, now_s
            self.astray = True

    @property
    def hopeless(self) -> bool:
        """What it waits for doesn't come: it may have been deleted."""
        return self._tries > _TRIES


class Worker:
    """Counts some partitions of `history`; one worker also merges what all of them count.

    `partitions`: those that `history` has. `hours_back`: from how many hours ago on figures are
    told where none ever were; None: from the beginning.
    """

    def __init__(
        self,
        *,
        log: EventLog,
        clock: Clock,
        rules: Sequence[Rule],
        partitions: int,
        hours_back: int | None = None,
    ) -> None:
        self.counting: dict[int, Counting] = {}
        self.merging: Merging | None = None
        self.streams: dict[Partition, Stream] = {}
        self._log = log
        self._clock = clock
        self._rules = rules
        self._partitions = partitions
        self._hours_back = hours_back
        self._alerts = Alerts(rules, {})
        self._counted, self._merged = Publisher(log, clock), Publisher(log, clock)

    async def close(self) -> None:
        """Drop the writers."""
        await self._counted.close()
        await self._merged.close()
        self._leave_merging()
        for number in self.counting:
            metrics.forget(metrics.READER_LAG, "kpis", HISTORY, str(number))

    # --- who works on what

    async def assign(self, assigned: Iterable[Partition]) -> None:
        """Work on these partitions from now on; LogError.

        What is new begins where the newest progress on `kpis` says; what is kept stays as it is.
        Where there is none, the one that merges says first from when on figures are told, so that
        whoever starts later begins there too.
        """
        wanted = set(assigned)
        for gone in [one for one in self.streams if one not in wanted]:
            self._leave(gone)
        new = sorted(wanted - self.streams.keys())
        if not new:
            return
        told_from_ms = self._first_told_ms()
        progress = await self._progress()
        for one in new:
            if one == PARTS:
                known, first = await self._known(), (await self._log.bounds(one)).first
                if progress is None and told_from_ms:
                    progress = Progress(told_from_ms, first, first, {})
                    await self._merged.append(KPIS, [_progress_record(progress)])
                self._alerts = Alerts(self._rules, known)
                self.merging = Merging(None if progress is None else progress.held_from(first))
                self.merging.next = max(self.merging.next, first)
            else:
                from_ms = told_from_ms if progress is None else progress.until_ms
                start = Closed(max(0, from_ms - _COUNTED_BEFORE_MS), 0)
                if progress is not None:
                    start = progress.partitions.get(one.number, start)
                first = (await self._log.bounds(one)).first
                start = Closed(start.until_ms, max(start.offset, first))
                self.counting[one.number] = Counting(one.number, self._partitions, start)
            self.streams[one] = Stream(one)
            _log.info(
                "counts on" if one != PARTS else "merges on",
                at=self.next(one),
                of=f"{one.topic}/{one.number}",
            )

    def _first_told_ms(self) -> int:
        """The first moment told, by the clock, where nothing was told before; 0: all are."""
        if self._hours_back is None:
            return 0
        first_ms = self._clock.now_ms() - self._hours_back * _HOUR_MS
        return first_ms - first_ms % MINUTE_MS

    def _leave(self, partition: Partition) -> None:
        del self.streams[partition]
        if partition == PARTS:
            self._leave_merging()
        else:
            del self.counting[partition.number]
            metrics.forget(metrics.READER_LAG, "kpis", HISTORY, str(partition.number))

    def _leave_merging(self) -> None:
        self.merging = None
        metrics.KPI.clear()
        metrics.ALERTS_OPEN.clear()

    def rebalanced(self) -> None:
        """Where the streams go on is anybody's guess."""
        for stream in self.streams.values():
            stream.astray = True

    def next(self, partition: Partition) -> int:
        """The offset that a stream of this worker takes next."""
        if partition == PARTS:
            return self.merging.next if self.merging else 0
        return self.counting[partition.number].next

    def astray(self) -> list[Partition]:
        """The partitions that have to be sought now."""
        for hopeless in [one.partition for one in self.streams.values() if one.hopeless]:
            _log.warning(
                "begins anew: what comes next is not there",
                of=f"{hopeless.topic}/{hopeless.number}",
            )
            self._leave(hopeless)
        now_s = self._clock.monotonic()
        return [one for one, stream in self.streams.items() if stream.due(self.next(one), now_s)]

    def sought(self, partition: Partition) -> None:
        """It was sought to its next offset."""
        self.streams[partition].sought(self.next(partition), self._clock.monotonic())

    def observe(self, high_waters: Mapping[Partition, int | None]) -> None:
        """Say how far behind the ends of its partitions it is, and what it passed over.

        A stream that stands still though there is more goes astray.
        """
        now_s = self._clock.monotonic()
        for partition, stream in self.streams.items():
            high_water = high_waters.get(partition)
            if high_water is None:
                continue
            at = self.next(partition)
            stream.observe(at, high_water, now_s)
            if partition != PARTS:
                lag = metrics.READER_LAG.labels("kpis", HISTORY, str(partition.number))
                lag.set(max(0, high_water - at))
        for counting in self.counting.values():
            for why, records in counting.passed_over.items():
                metrics.KPI_PASSED_OVER.labels(why).inc(records)
                counting.passed_over[why] = 0

    async def _progress(self) -> Progress | None:
        """The furthest on `kpis`; one that was overtaken may have written after it."""
        newest: Progress | None = None
        async with Whole(self._log, KPIS) as whole:
            async for read in whole:
                for one in read:
                    if one.key != _PROGRESS or not one.value:
                        continue
                    try:
                        progress = _progress_of(orjson.loads(one.value))
                    except _UNREADABLE as error:
                        _unreadable(KPIS, one, error)
                        continue
                    if newest is None or progress.until_ms >= newest.until_ms:
                        newest = progress
        return newest

    async def _known(self) -> dict[str, Known]:
        """The newest of each alert by the topic; one that was overtaken may have written last."""
        newest: dict[str, Known] = {}
        async with Whole(self._log, ALERTS) as whole:
            async for read in whole:
                for one in read:
                    if one.value is None:  # somebody closed it for good
                        newest.pop((one.key or b"").decode(errors="replace"), None)
                        continue
                    try:
                        alert, known = _known_of(one)
                    except _UNREADABLE as error:
                        _unreadable(ALERTS, one, error)
                        continue
                    if alert not in newest or newest[alert].at_ms <= known.at_ms:
                        newest[alert] = known
        return newest

    # --- what it is handed

    async def take_history(self, number: int, offset: int, value: bytes | None) -> None:
        """Take a record of `history`, if it is the next; publish what closes. It never raises.

        1. Another offset than the next is passed over; a later one has the stream sought.
        2. Count the record. One that fails is passed over, and counted as such.
        3. Append the parts of the minutes that it closes, the closing record last; tried until
           they are acknowledged.
        """
        counting, stream = self.counting.get(number), self.streams.get(Partition(HISTORY, number))
        if counting is None or stream is None or not stream.is_next(offset, counting.next):
            return
        try:
            messages = counting.take(orjson.loads(value or b""))
        except Exception:  # noqa: BLE001 - logged; one record must not end all figures
            _failed(counting, HISTORY, number, offset)
            return
        if messages:
            with stream.at_work():
                await self._counted.append(PARTS, map(_part_record, messages))
            _log.debug("closed", partition=number, until=rfc3339(counting.until_ms))

    async def take_parts(self, offset: int, value: bytes | None) -> None:
        """Take a message of `kpi-parts`, if it is the next; publish what closes. It never raises.

        Of every minute that closes in all partitions:

        1. Append the alerts that it opens and closes.
        2. Append the windows of all scopes, and last how far the figures are: a restart goes on
           from there, so what is appended twice is the same.
        """
        merging, stream = self.merging, self.streams.get(PARTS)
        if merging is None or stream is None or not stream.is_next(offset, merging.next):
            return
        try:
            with stream.at_work():
                for minute in merging.take(orjson.loads(value or b"")):
                    if self.merging is not merging:  # by now another worker's
                        return
                    await self._publish(minute, merging)
        except Exception:  # noqa: BLE001 - the same
            _failed(merging, PARTS.topic, 0, offset)

    async def _publish(self, minute: Minute, merging: Merging) -> None:
        end = rfc3339(minute.end_ms)
        alerts = [*self._alerts.gone(minute.end_ms)]
        alerts += self._alerts.judge(minute.end_ms, minute.figures)
        await self._merged.append(ALERTS, [_alert_record(one, end) for one in alerts])
        if self.merging is not merging:
            return
        windows = [
            _window_record(one.scope, window, minute.end_ms, counts)
            for one in minute.figures
            for window, counts in (("minute", one.minute), ("hour", one.hour))
            if counts is not None
        ]
        await self._merged.append(KPIS, [*windows, _progress_record(minute.progress)])
        if self.merging is not merging:
            return
        metrics.KPI_COMPLETE.set(minute.end_ms / 1000)
        if minute.figures or alerts:
            self._observe(minute.figures)

    def _observe(self, figures: Iterable[Figures]) -> None:
        for one in figures:
            market_id, *member = one.scope.split("/")
            dimension = member[0] if member else "market"
            labels = market_id, dimension, member[1] if member else market_id
            for window, minutes, counts in (
                ("minute", 1, one.minute),
                ("hour", HOUR_MINUTES, one.hour),
            ):
                if counts is None or (window == "minute" and dimension not in BY_MINUTE):
                    continue
                said = dict(zip(COUNTS, counts, strict=True))
                told = {name: said[name] for name in TOLD} | rates(counts, minutes)
                for name in (*TOLD, *RATES):
                    if name in told:
                        metrics.KPI.labels(window, *labels, name).set(told[name])
                    else:
                        metrics.forget(metrics.KPI, window, *labels, name)
        open_now = [alert.partition("/")[0] for alert in self._alerts.open()]
        for rule in self._rules:
            metrics.ALERTS_OPEN.labels(rule.rule).set(open_now.count(rule.rule))


def _failed(stream: Counting | Merging, topic: str, number: int, offset: int) -> None:
    """Pass over a record that can't be taken: it must not end all figures."""
    stream.next = offset + 1
    metrics.KPI_PASSED_OVER.labels("failed").inc()
    _log.exception("passed over", topic=topic, partition=number, offset=offset)


# --- records


def _part_record(message: Message) -> Record:
    key = f"{message['kind']}/{message['partition']}"
    if message["kind"] == "part":
        key += f"/{message['minute']}/{message['part']}"
    return Record(key.encode(), orjson.dumps(message))


def window_event(scope: str, window: str, end_ms: int, counts: Counts) -> dict[str, Any]:
    """The fields of a `kpi_window_closed`."""
    minutes = HOUR_MINUTES if window == "hour" else 1
    return {
        **about(scope),
        "window": window,
        "window_start": rfc3339(end_ms - minutes * MINUTE_MS),
        "window_end": rfc3339(end_ms),
        "counts": dict(zip(COUNTS, counts, strict=True)),
        "rates": rates(counts, minutes),
    }


def _window_record(scope: str, window: str, end_ms: int, counts: Counts) -> Record:
    said = window_event(scope, window, end_ms, counts)
    key, end = f"{window}/{scope}", said["window_end"]
    headers = emit(KpiWindowClosed.TYPE, f"{key}@{end}", _SOURCE, end)
    return Record(key.encode(), orjson.dumps(said), headers)


def _progress_record(progress: Progress) -> Record:
    end = rfc3339(progress.until_ms)
    said: dict[str, Any] = {
        "complete_until": end,
        "parts_offset": progress.parts_offset,
        "parts_next": progress.parts_next,
        "partitions": [
            {
                "partition": number,
                "closed_until": rfc3339(closed.until_ms),
                "first_offset": closed.offset,
            }
            for number, closed in sorted(progress.partitions.items())
        ],
    }
    if progress.hours_ms:
        said["hours_from"] = rfc3339(progress.hours_ms)
    headers = emit(KpiProgress.TYPE, f"progress@{end}", _SOURCE, end)
    return Record(_PROGRESS, orjson.dumps(said), headers)


def _progress_of(said: dict[str, Any]) -> Progress:
    partitions = {
        one["partition"]: Closed(instant_ms(one["closed_until"]), one["first_offset"])
        for one in said["partitions"]
    }
    until_ms = instant_ms(said["complete_until"])
    hours_ms = instant_ms(said["hours_from"]) if "hours_from" in said else 0
    return Progress(until_ms, said["parts_offset"], said["parts_next"], partitions, hours_ms)


def _alert_record(one: Transition, end: str) -> Record:
    headers = emit(one.type, f"{one.alert}@{end}", _SOURCE, end)
    return Record(one.alert.encode(), orjson.dumps(one.fields), headers)


def _known_of(one: Read) -> tuple[str, Known]:
    """The alert that a record is about, and what it makes known of it; `_UNREADABLE`."""
    said = orjson.loads(one.value or b"")
    match _type_of(one.headers):
        case AlertOpened.TYPE:
            AlertOpened.model_validate(said)
            return said["alert"], Known(instant_ms(said["opened_at"]), said)
        case AlertClosed.TYPE:
            AlertClosed.model_validate(said)
            return said["alert"], Known(instant_ms(said["closed_at"]), None)
        case other:
            raise ValueError(f"its type is {other!r}")


def _type_of(headers: Sequence[tuple[str, bytes]]) -> str:
    """The event's type, such as `alert_opened`; "" where it says none."""
    said = dict(headers).get("ce_type", b"").decode(errors="replace")
    return said.partition(".")[2].partition(".")[0]


_UNREADABLE: Final = (LookupError, TypeError, ValueError, AttributeError)
"""What a record raises that isn't the role's."""


def _unreadable(partition: Partition, one: Read, error: Exception) -> None:
    _log.warning("passed over", topic=partition.topic, offset=one.offset, what=repr(error))
