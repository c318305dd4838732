"""A period of a shard's journal as files: the state at its start, what happened, who answered what.

Variants are replayed from these, side by side in processes of their own: the journal is read once,
and no process holds more of it than an index of what nodes were asked.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from mmap import ACCESS_READ, mmap
from pathlib import Path
from typing import Any, BinaryIO, Final, NamedTuple, TypeVar

import orjson

from events.decided import InputRecord, Plain
from orchestrator.core import decide as core
from orchestrator.core import snapshot
from orchestrator.core.config import DAY_MS, Config
from orchestrator.core.shard import Shard
from orchestrator.core.sourcing.calendars import day_number
from orchestrator.past import Until, nearest
from orchestrator.replay.habits import Answer, Draws, Habits
from orchestrator.replay.keys import asked_key, digest_of, order_key, plan_digest, work_id
from orchestrator.runtime.snapshots import Format
from orchestrator.runtime.whole import Whole
from schemas.journal import Commit, Entry, JournalError, Verdict
from schemas.ports import EventLog, Partition
from schemas.times import instant_ms
from schemas.voids import Voids

DRAIN_DAYS: Final = 14
"""How long after a period its orders may still go on; what isn't closed then is censored."""
ANSWERS: Final = frozenset(
    {
        "fulfillment_accepted",
        "fulfillment_rejected",
        "fulfillment_shipped",
        "fulfillment_cancellation_accepted",
        "fulfillment_cancellation_rejected",
    }
)
FOUND_BY: Final = frozenset({"stock_counted", "fulfillment_rejected", "fulfillment_shipped"})
"""Inputs that say how the shelf differs from the books."""
_BUFFER_BYTES: Final = 1 << 18
_NO_FINDING: Final = frozenset({"settling", "shipped"})

T = TypeVar("T")
Advanced = Callable[[int, int], None]


class Span(NamedTuple):
    """From when (ms since 1970, included) to when (excluded) orders are taken."""

    from_ms: int
    until_ms: int
    known_ms: int | None = None  # until when (excluded) there is history, where that is known

    @property
    def end_ms(self) -> int:
        """Until when they may go on: nobody knows what history will answer after its end."""
        drained_ms = self.until_ms + DRAIN_DAYS * DAY_MS
        return drained_ms if self.known_ms is None else min(drained_ms, self.known_ms)

    @property
    def cut_short(self) -> bool:
        """Whether history ends before its orders were followed as long as they may be."""
        return self.end_ms < self.until_ms + DRAIN_DAYS * DAY_MS


class Row(NamedTuple):
    """An entry of the journal, apart from most of what was decided from it."""

    position: str  # <seq>.<entry>
    now_ms: int  # the shard's clock
    digest: str  # of what was decided, as it was journaled
    input: InputRecord
    did: list[Any] | None  # of a tick: ["fired", due_ms, kind, *key] or ["work", …]
    found: list[list[Any]]  # [node id, sku, delta]: differences from the books
    skipped: list[str] | None  # reason, by: a person had it passed over
    plans: list[list[str]]  # [`order_key`, digest of its plan]
    repeated: bool
    asked: int  # place of the work that it answers among all that was asked; -1: unknown by then


class Asked:
    """Work that a node was asked for in history, and the answers to it."""

    __slots__ = (
        *("answers", "asked_ms", "cancellations", "closed", "key", "numbers", "place", "work_id"),
    )

    def __init__(self, work_id: str, key: str, asked_ms: int, place: int) -> None:
        self.work_id = work_id
        self.key = key  # `asked_key`
        self.asked_ms = asked_ms
        self.place = place  # among all that was asked
        self.answers: list[list[int]] = []  # [ms after the request, place in the file]
        self.numbers: list[str] = []  # of packages
        self.closed = False
        self.cancellations: list[list[Any]] = []  # [id, ms after the request, digest of its lines]


def tracked(data: Mapping[str, Any], works: Mapping[str, T], markets: Iterable[str]) -> T | None:
    """Of works by their ids, that which a tracking update names; it may leave out its market."""
    if "fulfillment_id" not in data:
        return None
    said = [data["market_id"]] if "market_id" in data else markets
    found = (works.get(work_id(market_id, data["fulfillment_id"])) for market_id in said)
    return next((one for one in found if one is not None), None)


@dataclass(slots=True)
class Period:
    """Where the files are, and what is in them."""

    folder: str
    shard: int
    span: Span
    orders: int = 0  # taken in the period
    entries: int = 0  # of the period and its drain
    first_ms: int | None = None  # the shard's clock at the first and the last entry read
    last_ms: int | None = None
    bytes: int = 0
    seq: int = 0  # the newest commit of the start state
    nodes: dict[str, dict[str, Any]] = field(default_factory=dict)  # as defined at the start
    markets: dict[str, str] = field(default_factory=dict)  # currency of each

    @property
    def at(self) -> Path:
        """Its folder."""
        return Path(self.folder)

    def start(self, config: Config) -> Shard:
        """The state at its start."""
        restoring = snapshot.Restoring(Shard(self.shard, config))
        with (self.at / "state").open("rb") as rows:
            for row in rows:
                restoring.take(orjson.loads(row))
        return restoring.finish()


class Rows:
    """The entries of a period, in order or by their place."""

    def __init__(self, period: Period) -> None:
        self._path = period.at / "entries"
        with self._path.open("rb") as file:
            self._mapped = mmap(file.fileno(), 0, access=ACCESS_READ) if period.bytes else None

    def __iter__(self) -> Iterator[Row]:
        with self._path.open("rb", _BUFFER_BYTES) as file:
            for line in file:
                yield Row(*orjson.loads(line))

    def at(self, place: int) -> Row:
        """The entry that begins there."""
        assert self._mapped is not None  # noqa: S101 - there are entries
        return Row(*orjson.loads(self._mapped[place : self._mapped.find(b"\n", place)]))


class Index(NamedTuple):
    """What was asked in history, and by what it is found."""

    asked: list[Asked]
    by_key: dict[str, list[Asked]]
    by_id: dict[str, Asked]  # `work_id`
    by_number: dict[str, Asked]  # of packages
    documents: dict[str, str]  # of transfers and returns -> what they are of
    draws: Draws


def load_index(period: Period) -> Index:
    """Read the index of a period."""
    head, *rows = (period.at / "asked").read_bytes().splitlines()
    told = orjson.loads(head)
    index = Index([], {}, {}, {}, told["documents"], Draws(told["habits"]))
    for place, row in enumerate(rows):
        key, work, asked_ms, answers, numbers, closed, cancellations = orjson.loads(row)
        asked = Asked(work, key, asked_ms, place)
        index.asked.append(asked)
        asked.answers, asked.numbers, asked.closed = answers, numbers, closed
        asked.cancellations = cancellations
        index.by_key.setdefault(key, []).append(asked)
        index.by_id[work] = asked
        for number in numbers:
            index.by_number[number] = asked
    return index


async def read_period(
    log: EventLog,
    number: int,
    span: Span,
    folder: Path,
    form: Format[Shard],
    voids: Voids,
    advanced: Advanced = lambda *_: None,
) -> Period:
    """Read a shard's journal from the nearest snapshot on, and write a period of it to files.

    `voids` are read already. A span that begins with time itself (0) begins with the shard's first
    order.
    JournalError where the journal can't be read, LogError, OSError where the disk is full.
    """
    period = _empty(folder, number, span)
    partition = Partition("journal", number)
    end = (await log.bounds(partition)).next
    start = Until(time_ms=span.from_ms - 1) if span.from_ms else Until(seq=0)
    shard, state = await nearest(log, number, start, form, voids)
    if state.next:
        period.first_ms = shard.now_ms
    writing: _Writing | None = None
    with (folder / "entries").open("wb") as file:
        async with Whole(log, partition, state.next) as reading:
            async for reads in reading:
                for read in reads:
                    state, record, verdict = voids.take(number, state, read, folds=True)
                    if not isinstance(record, Commit) or verdict is not Verdict.VALID:
                        continue
                    for place, entry in enumerate(record.entries):
                        cause = entry["input"]
                        ticks = "origin" not in cause and cause["type"] == "clock_ticked"
                        if ticks:
                            if period.first_ms is None:
                                period.first_ms = cause["time_ms"]
                            period.last_ms = cause["time_ms"]
                        if writing is None and _begins(cause, span, ticks=ticks):
                            writing = _begin(period, shard, file)
                        if writing is None:
                            period.seq = record.seq
                            _fold(shard, entry, record.seq, place)
                        elif not (ticks and cause["time_ms"] >= span.end_ms):
                            writing.take(f"{record.seq}.{place}", entry)
                        else:
                            writing.finish()
                            return period
                advanced(state.next, end)
    if writing is None:
        with (folder / "entries").open("wb") as file:
            writing = _begin(period, shard, file)
    if period.last_ms is not None:
        period.span = period.span._replace(known_ms=period.last_ms + 1)
    writing.finish()
    return period


def _empty(folder: Path, number: int, span: Span) -> Period:
    folder.mkdir(parents=True, exist_ok=True)
    return Period(str(folder), number, span)


def _fold(shard: Shard, entry: Entry, seq: int, place: int) -> None:
    try:
        core.fold(shard, entry)
    except Exception as error:
        raise JournalError(
            f"entry {place} of commit {seq} of shard {shard.number} contradicts the state before"
            f" it: {error!r}"
        ) from error


def _write_state(shard: Shard, folder: Path) -> None:
    with (folder / "state").open("wb") as file:
        for row in snapshot.rows(shard):
            file.write(row + b"\n")
        for segment in snapshot.segments(shard, frozenset()):
            file.write((segment.row or b"null") + b"\n")


def _begins(cause: InputRecord, span: Span, *, ticks: bool) -> bool:
    if not span.from_ms:
        return cause["type"] == "order_placed"
    return ticks and cause["time_ms"] >= span.from_ms


def _begin(period: Period, shard: Shard, file: BinaryIO) -> "_Writing":
    _write_state(shard, period.at)
    if not period.span.from_ms:
        period.span = period.span._replace(from_ms=shard.now_ms)
    period.nodes = {node_id: node.defined for node_id, node in shard.nodes.items()}
    period.markets = {market_id: one.currency for market_id, one in shard.markets.items()}
    return _Writing(period, file, shard)


class _Work:
    """What is known of a fulfillment while its answers come in."""

    __slots__ = (
        *("asked", "days_ahead", "ended_ms", "lines", "looked", "node_id", "shipped"),
        *("stopping", "transit", "under_way"),
    )

    def __init__(self, event: Plain, now_ms: int, place: int) -> None:
        here = work_id(event["market_id"], event["fulfillment_id"])
        self.asked = Asked(here, asked_key(event), now_ms, place)
        self.node_id: str = event["node_id"]
        self.days_ahead, self.transit = days_of(event, now_ms)
        self.lines = len(event["lines"])
        self.looked = False
        self.shipped: int | None = None  # when
        self.ended_ms: int | None = None
        self.stopping: dict[str, int] = {}  # requests to stop without an answer: id -> when
        self.under_way: dict[str, int] = {}  # packages that didn't arrive so far: when they left


def days_of(event: Plain, now_ms: int) -> tuple[int, int]:
    """How many days ahead a node is asked for its work, and how many the way is to take."""
    day, ship_by, deliver_by = (event.get(one) for one in ("ship_day", "ship_by", "deliver_by"))
    return days_between(
        now_ms,
        None if day is None else day_number(day),
        None if ship_by is None else instant_ms(ship_by),
        None if deliver_by is None else instant_ms(deliver_by),
    )


def days_between(
    asked_ms: int, ship_day: int | None, ship_by_ms: int | None, deliver_by_ms: int | None
) -> tuple[int, int]:
    """The same of what a fulfillment says; 0 where it doesn't."""
    ahead = 0 if ship_day is None else max(0, ship_day - asked_ms // DAY_MS)
    if ship_by_ms is None or deliver_by_ms is None:
        return ahead, 0
    return ahead, max(0, deliver_by_ms - ship_by_ms) // DAY_MS


class _Writing:
    """Writes entries, and learns who answers what and how."""

    def __init__(self, period: Period, file: BinaryIO, shard: Shard) -> None:
        self._period = period
        self._file = file
        self._markets = dict.fromkeys(shard.markets)
        self._market_of = {node_id: node.market_id for node_id, node in shard.nodes.items()}
        self._works: dict[str, _Work] = {}  # by `work_id`, as they were asked
        self._numbers: dict[str, _Work] = {}  # by tracking number
        self._early: dict[str, list[tuple[int, int]]] = {}  # tracking without a shipment yet
        self._documents: dict[str, str] = {}
        self._habits = Habits()
        self._now_ms = shard.now_ms

    def take(self, position: str, entry: Entry) -> None:
        """An entry of the period or its drain."""
        cause, period = entry["input"], self._period
        events: list[Any] = entry["events"]
        type_ = cause["type"]
        if "origin" not in cause and type_ == "clock_ticked":
            self._now_ms = cause["time_ms"]
        did, skipped, repeated = None, None, False
        found: list[list[Any]] = []
        plans: list[list[str]] = []
        place = period.bytes
        for event in events:
            match event["type"]:
                case "timer_fired":
                    due_ms, _, *kind_and_key = event["timer"]
                    did = ["fired", due_ms, *kind_and_key]
                case "work_done":
                    did = ["work", *event["work"]]
                case "input_skipped":
                    skipped = [event["reason"], event["by"]]
                case "input_repeated":
                    repeated = True
                case "stock_moved" if type_ in FOUND_BY and event["reason"] not in _NO_FINDING:
                    found.append([event["node_id"], event["sku"], event["delta"]])
                case "fulfillment_requested":
                    work = _Work(event, self._now_ms, len(self._works))
                    self._works[work.asked.work_id] = work
                case "order_allocated":
                    plans.append([order_key(event), plan_digest(event)])
                case "fulfillment_cancellation_requested":
                    self._cancellation(event)
                case "fulfillment_changed":
                    self._closed(event)
                case _:
                    pass
        answers = self._answering(cause)
        row = Row(
            position,
            self._now_ms,
            digest_of(events),
            cause,
            did,
            found,
            skipped,
            plans,
            repeated,
            -1 if answers is None else answers.asked.place,
        )
        line = orjson.dumps(tuple(row)) + b"\n"
        self._file.write(line)
        period.bytes += len(line)
        period.entries += 1
        self._learn(cause, place, answers, repeated=repeated)

    def _answering(self, cause: InputRecord) -> _Work | None:
        """The work that an input says something of, where it is asked for and known by now."""
        type_, data = cause["type"], cause["data"]
        if type_ in ANSWERS:
            market_id = self._market_of.get(data["node_id"], "")
            return self._works.get(work_id(market_id, data["fulfillment_id"]))
        if type_ == "tracking_updated":
            known = tracked(data, self._works, self._markets)
            return known or self._numbers.get(data["tracking_number"])
        return None

    def _learn(self, cause: InputRecord, place: int, work: _Work | None, *, repeated: bool) -> None:
        """What an input says of who answers what; `place`: where its entry begins in the file."""
        type_, data = cause["type"], cause["data"]
        if type_ in ANSWERS:
            if work is not None and not repeated:
                self._answer(cause, place, work)
        elif type_ == "tracking_updated":
            self._tracked(data, place, work)
        elif type_ == "inbound_announced":
            self._announced(cause)
        elif type_ == "node_defined":
            self._market_of[data["node_id"]] = data["market_id"]
            self._markets[data["market_id"]] = None
        elif type_ == "order_placed" and self._now_ms < self._period.span.until_ms:
            self._period.orders += not repeated

    def _cancellation(self, event: Plain) -> None:
        work = self._works.get(work_id(event["market_id"], event["fulfillment_id"]))
        if work is not None:
            asked = work.asked
            told = [event["cancellation_id"], self._now_ms - asked.asked_ms]
            asked.cancellations.append([*told, digest_of(event["lines"])])
            work.stopping[event["cancellation_id"]] = self._now_ms

    def _closed(self, event: Plain) -> None:
        work = self._works.get(work_id(event["market_id"], event["fulfillment_id"]))
        if work is not None:
            work.asked.closed = event["status"] in ("shipped", "incomplete", "cancelled")
            work.ended_ms = self._now_ms if work.asked.closed else None

    def _answer(self, cause: InputRecord, place: int, work: _Work) -> None:
        data = cause["data"]
        after_ms = self._now_ms - work.asked.asked_ms
        work.asked.answers.append([after_ms, place])
        match cause["type"]:
            case "fulfillment_accepted" if not work.looked:
                self._looked(work, after_ms, [0.0, ""])
            case "fulfillment_rejected" if not work.looked:
                share = len(data["lines"]) / work.lines if data.get("lines") else 1.0
                self._looked(work, after_ms, [min(1.0, share), data["reason"]])
            case "fulfillment_shipped":
                self._shipped(work, data, after_ms)
            case "fulfillment_cancellation_accepted" | "fulfillment_cancellation_rejected":
                self._answered_cancellation(work, cause)
            case _:
                pass

    def _looked(self, work: _Work, after_ms: int, answer: Answer) -> None:
        work.looked = True
        self._habits.looked(work.node_id, after_ms, answer)

    def _shipped(self, work: _Work, data: dict[str, Any], after_ms: int) -> None:
        if not work.looked:
            self._looked(work, after_ms, [0.0, ""])
        if work.shipped is None:
            work.shipped = self._now_ms
            self._habits.shipped(work.node_id, work.days_ahead, after_ms, [])
        for package in data["packages"]:
            number = package.get("tracking_number")
            if number not in self._early:
                work.under_way[number or package["package_id"]] = self._now_ms
            if number is not None:
                self._numbers[number] = work
                work.asked.numbers.append(number)
                for now_ms, place in self._early.pop(number, ()):
                    work.asked.answers.append([now_ms - work.asked.asked_ms, place])

    def _answered_cancellation(self, work: _Work, cause: InputRecord) -> None:
        wanted = cause["data"].get("cancellation_id")
        for id_, asked_after_ms, _ in work.asked.cancellations:
            if wanted in (None, id_):
                after_ms = self._now_ms - work.asked.asked_ms - asked_after_ms
                self._habits.stopped(after_ms, [cause["type"].endswith("accepted")])
                work.stopping.pop(id_, None)
                return

    def _tracked(self, data: dict[str, Any], place: int, work: _Work | None) -> None:
        if work is None:
            early = self._early.setdefault(data["tracking_number"], [])
            early.append((self._now_ms, place))
            return
        work.asked.answers.append([self._now_ms - work.asked.asked_ms, place])
        if data["status"] == "delivered":
            self._arrived(work, data)

    def _arrived(self, work: _Work, data: dict[str, Any]) -> None:
        package = data["tracking_number"]
        if package not in work.under_way:
            unknown = "package_id" not in data and package not in work.asked.numbers
            package = next(iter(work.under_way), "") if unknown else data.get("package_id", "")
        left_ms = work.under_way.pop(package, None)
        if left_ms is not None:
            self._habits.arrived(work.transit, self._now_ms - left_ms, [])

    def _announced(self, cause: InputRecord) -> None:
        data = cause["data"]
        if data.get("kind") in ("transfer", "return"):
            self._documents[f"{data['node_id']}/{data['document']}"] = data["kind"]

    def _awaited(self, work: _Work) -> None:
        """What nobody answered so far, or before it was over."""
        habits = self._habits
        until_ms = self._now_ms if work.ended_ms is None else work.ended_ms
        after_ms = until_ms - work.asked.asked_ms
        if not work.looked:
            habits.looked(work.node_id, after_ms, None)
        if work.shipped is None:
            habits.shipped(work.node_id, work.days_ahead, after_ms, None)
        for left_ms in work.under_way.values():
            habits.arrived(work.transit, self._now_ms - left_ms, None)
        for asked_ms in work.stopping.values():
            habits.stopped(max(0, until_ms - asked_ms), None)

    def finish(self) -> None:
        """Write the index."""
        for work in self._works.values():
            self._awaited(work)
        head = {"documents": self._documents, "habits": self._habits.told()}
        with (self._period.at / "asked").open("wb") as file:
            file.write(orjson.dumps(head) + b"\n")
            for work in self._works.values():
                one = work.asked
                row = [one.key, one.work_id, one.asked_ms, one.answers, one.numbers]
                file.write(orjson.dumps([*row, one.closed, one.cancellations]) + b"\n")
