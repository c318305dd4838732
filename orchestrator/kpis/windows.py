"""The windowing, pure: counting a partition of history by minute, and merging the partitions.

Windows go by `recorded_at`. A minute of a partition closes when a watermark of every shard there
has passed its end; a minute as a whole when it is closed in every partition. What is counted
follows from the records alone: any repeat, and any start where `Closed` says, gives the same.

`kpi-parts` carries what one makes and the other takes:
`{"v": 1, "kind": "part", "partition", "minute", "part", "counts": {scope: [by COUNTS]}}` and, after
all parts of the minutes before it, `{"v": 1, "kind": "closed", "partition", "partitions", "until",
"resume"}`; times in milliseconds since 1970.
"""

from collections.abc import Iterator, Mapping
from typing import Any, Final, NamedTuple, Self

from orchestrator.kpis.figures import COUNTS, Counts, add, additions, none
from schemas.times import instant_ms

MINUTE_MS: Final = 60_000
HOUR_MINUTES: Final = 60
_HOUR_MS: Final = HOUR_MINUTES * MINUTE_MS
_SCOPES_A_PART: Final = 2_000  # some 200 KB
_FORM: Final = 1
_NUMBERS: Final = {
    "part": ("partition", "minute", "part"),
    "closed": ("partition", "partitions", "until", "resume"),
}
"""The fields of a message of `kpi-parts` that are whole numbers."""

Json = dict[str, Any]
Message = dict[str, Any]
"""What stands on `kpi-parts`."""


class Closed(NamedTuple):
    """Where a partition of history can be counted on from.

    Minutes before `until_ms` are closed; the records of all others stand at `offset` or after.
    """

    until_ms: int
    offset: int


class _Open:
    """A minute that is not closed."""

    __slots__ = ("counts", "first_offset")

    def __init__(self, first_offset: int) -> None:
        self.first_offset = first_offset
        self.counts: dict[str, Counts] = {}


class Counting:
    """One partition of `history`, counted by minute.

    It takes the records of the partition one after the other, from `next` on.
    """

    __slots__ = (
        "_complete",
        "_open",
        "_partition",
        "_partitions",
        "_seen",
        "next",
        "passed_over",
        "until_ms",
    )

    def __init__(self, partition: int, partitions: int, start: Closed) -> None:
        self.next = start.offset
        self.until_ms = start.until_ms
        self.passed_over = {"repeat": 0, "closed": 0}
        self._partition = partition
        self._partitions = partitions
        self._seen: dict[int, tuple[int, int, int]] = {}  # the highest position, by shard
        self._complete: dict[int, int] = {}  # by shard
        self._open: dict[int, _Open] = {}

    def skip(self) -> None:
        """Pass over the record at `next`, which nobody can read."""
        self.next += 1

    def take(self, record: Json) -> list[Message]:
        """Take the record at `next`; what closes with it."""
        offset = self.next
        self.next = offset + 1
        if record["kind"] == "watermark":
            return self._mark(record)
        if record["kind"] == "shadow":  # beside what happened, under positions of its own
            return []
        shard, position = record["shard"], (record["seq"], record["entry"], record["n"])
        if position <= self._seen.get(shard, (-1, -1, -1)):
            self.passed_over["repeat"] += 1
            return []
        self._seen[shard] = position
        recorded_ms = instant_ms(record["recorded_at"])
        minute = recorded_ms - recorded_ms % MINUTE_MS
        if minute < self.until_ms:  # a repeat of what was counted before the start; or too late
            self.passed_over["closed"] += 1
            return []
        adding = list(additions(record))  # all of it, or nothing
        if adding:
            window = self._open.get(minute)
            if window is None:
                window = self._open[minute] = _Open(offset)
            for scope, counts in adding:
                add(window.counts.setdefault(scope, none()), counts)
        return []

    def _mark(self, mark: Json) -> list[Message]:
        shard = mark["shard"]
        until_ms = instant_ms(mark["complete_until"])
        self._complete[shard] = max(until_ms, self._complete.get(shard, 0))
        if len(self._complete) < mark["shards"]:
            return []
        complete_ms = min(self._complete.values())
        until_ms = complete_ms - complete_ms % MINUTE_MS
        if until_ms <= self.until_ms:
            return []
        self.until_ms = until_ms
        messages = [
            message
            for minute in sorted(self._open)
            if minute < until_ms
            for message in self._parts(minute, self._open.pop(minute).counts)
        ]
        resume = min((one.first_offset for one in self._open.values()), default=self.next)
        closed = {
            "v": _FORM,
            "kind": "closed",
            "partition": self._partition,
            "partitions": self._partitions,
            "until": until_ms,
            "resume": resume,
        }
        return [*messages, closed]

    def _parts(self, minute: int, counts: dict[str, Counts]) -> Iterator[Message]:
        scopes = sorted(counts)
        for part, first in enumerate(range(0, len(scopes), _SCOPES_A_PART)):
            some = scopes[first : first + _SCOPES_A_PART]
            yield {
                "v": _FORM,
                "kind": "part",
                "partition": self._partition,
                "minute": minute,
                "part": part,
                "counts": {scope: counts[scope] for scope in some},
            }


class Progress(NamedTuple):
    """How far windows are published: all that end by `until_ms`.

    The parts of the hour before, and all later ones, stand in `kpi-parts` from `parts_offset` on;
    `partitions` is how far they were counted by what stands before `parts_next`. Hours that end
    before `hours_ms` are not told: a part of them is not known.
    """

    until_ms: int
    parts_offset: int
    parts_next: int
    partitions: Mapping[int, Closed]
    hours_ms: int = 0

    def held_from(self, first: int) -> Self:
        """The same where parts before this offset are deleted: some may be of the hour before."""
        if first <= self.parts_offset:
            return self
        hours_ms = max(self.hours_ms, self.until_ms + _HOUR_MS)
        return self._replace(parts_offset=first, hours_ms=hours_ms)


class Figures(NamedTuple):
    """The counts of a scope, of the minute that ended at `end_ms` and of the hour until then.

    There is no hour where a part of it is not known.
    """

    scope: str
    minute: Counts
    hour: Counts | None


class Minute(NamedTuple):
    """A closed minute: the figures of every scope that had any within the hour; the progress."""

    end_ms: int
    figures: list[Figures]
    progress: Progress


class _Gathered:
    """The parts of a minute so far."""

    __slots__ = ("first_offset", "parts")

    def __init__(self, first_offset: int) -> None:
        self.first_offset = first_offset
        self.parts: dict[tuple[int, int], dict[str, Counts]] = {}

    def total(self) -> dict[str, Counts]:
        """All partitions' counts added up."""
        total: dict[str, Counts] = {}
        for counts in self.parts.values():
            for scope, numbers in counts.items():
                _change(total, scope, numbers, 1)
        return total


def _check(message: Message) -> None:
    """Whether each field is what is added up later; ValueError, LookupError."""
    kind = message["kind"]
    numbers = [message[field] for field in _NUMBERS[kind]]
    if kind == "part":
        for counts in message["counts"].values():
            if len(counts) != len(COUNTS):
                raise ValueError(f"kpi-parts has {len(counts)} counts, not {len(COUNTS)}")
            numbers += counts
    elif not 0 <= message["partition"] < message["partitions"]:
        raise ValueError(f"kpi-parts has partition {message['partition']!r}: there is none")
    if not all(isinstance(number, int) for number in numbers):
        raise ValueError("kpi-parts has a number that is none")


def _change(sums: dict[str, Counts], scope: str, numbers: Counts, sign: int) -> None:
    held = sums.setdefault(scope, none())
    for place, number in enumerate(numbers):
        held[place] += sign * number


class Merging:
    """All partitions' minutes merged, in order, and the hours that they make.

    It takes the messages of `kpi-parts` one after the other, from `next` on. `start`: how far
    windows are published; what lies before is merged again, for the hours, and not told again.
    """

    __slots__ = (
        "_closed",
        "_gathered",
        "_hour",
        "_hours_ms",
        "_known_at",
        "_partitions",
        "_sums",
        "_told_ms",
        "_until_ms",
        "next",
    )

    def __init__(self, start: Progress | None) -> None:
        self.next = start.parts_offset if start else 0
        self._told_ms = start.until_ms if start else 0
        self._hours_ms = start.hours_ms if start else 0
        # minutes before it are done with; where nothing is known, before the first that comes
        self._until_ms = start.until_ms - _HOUR_MS if start else 0
        self._closed = dict(start.partitions) if start else {}
        self._partitions = len(self._closed)
        self._known_at = start.parts_next if start else 0  # before it nothing is to be closed
        self._gathered: dict[int, _Gathered] = {}
        self._hour: dict[
            int, tuple[int, dict[str, Counts]]
        ] = {}  # first offset and counts, by minute
        self._sums: dict[str, Counts] = {}

    def skip(self) -> None:
        """Pass over the message at `next`, which nobody can read."""
        self.next += 1

    def take(self, message: Message) -> Iterator[Minute]:
        """Take the message at `next`; the minutes that close with it.

        Nothing else may be taken before these are all asked for. ValueError or LookupError where it
        is of another release's form, or nobody's.
        """
        offset = self.next
        self.next = offset + 1
        if message["v"] != _FORM:
            raise ValueError(f"kpi-parts has a message of form {message['v']}, not {_FORM}")
        _check(message)
        if message["kind"] == "part":
            minute = message["minute"]
            if minute >= self._until_ms:
                gathered = self._gathered.setdefault(minute, _Gathered(offset))
                gathered.parts[message["partition"], message["part"]] = message["counts"]
        else:
            closed = Closed(message["until"], message["resume"])
            partition = message["partition"]
            if partition not in self._closed or self._closed[partition] < closed:
                self._closed[partition] = closed
            self._partitions = message["partitions"]
        if self.next >= self._known_at and 0 < self._partitions == len(self._closed):
            yield from self._close(min(one.until_ms for one in self._closed.values()))

    def _close(self, until_ms: int) -> Iterator[Minute]:
        while self._until_ms < until_ms:
            if self._sums or self._until_ms in self._gathered:
                yield from self._minute()
                continue
            # nothing to tell of any minute before the next in which something happened
            self._until_ms = min(until_ms, *self._gathered, until_ms)
            if self._until_ms == until_ms > self._told_ms:
                self._told_ms = until_ms
                yield Minute(until_ms, [], self._progress(until_ms))

    def _minute(self) -> Iterator[Minute]:
        """Close the minute that begins at `_until_ms`."""
        minute, end_ms = self._until_ms, self._until_ms + MINUTE_MS
        self._until_ms = end_ms
        for scope, numbers in self._hour.pop(minute - _HOUR_MS, (0, {}))[1].items():
            _change(self._sums, scope, numbers, -1)
        total: dict[str, Counts] = {}
        gathered = self._gathered.pop(minute, None)
        if gathered is not None:
            total = gathered.total()
            self._hour[minute] = gathered.first_offset, total
            for scope, numbers in total.items():
                _change(self._sums, scope, numbers, 1)
        whole = end_ms >= self._hours_ms
        figures = [
            Figures(scope, total.get(scope) or none(), [*self._sums[scope]] if whole else None)
            for scope in sorted(self._sums)
        ]
        self._forget(total)
        if end_ms > self._told_ms:
            self._told_ms = end_ms
            yield Minute(end_ms, figures, self._progress(end_ms))

    def _forget(self, total: dict[str, Counts]) -> None:
        """Scopes of which nothing is left in the hour: they were told once more, with zeros."""
        present = {scope for _, counts in self._hour.values() for scope in counts}
        for scope in [one for one in self._sums if one not in present and one not in total]:
            del self._sums[scope]

    def _progress(self, end_ms: int) -> Progress:
        needed = [first for first, _ in self._hour.values()]
        needed += [one.first_offset for one in self._gathered.values()]
        first = min(needed, default=self.next)
        hours_ms = self._hours_ms if end_ms < self._hours_ms else 0
        return Progress(end_ms, first, self.next, dict(self._closed), hours_ms)
