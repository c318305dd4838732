"""The windowing: repeats, restarts and lagging partitions change nothing of a closed window."""

from collections.abc import Iterable
from typing import Any, Final

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from orchestrator.kpis.figures import COUNTS, add, none
from orchestrator.kpis.windows import (
    MINUTE_MS,
    Closed,
    Counting,
    Figures,
    Merging,
    Message,
    Minute,
    Progress,
)
from schemas.times import instant_ms, rfc3339

START: Final = 1_795_341_600_000
SHARDS: Final = 2
PARTITIONS: Final = 2
PLACED: Final = COUNTS.index("placed")
START_: Final = Closed(0, 0)
Json = dict[str, Any]


def accepted(shard: int, seq: int, at_ms: int, channel: str = "web") -> Json:
    return {
        "kind": "event",
        "event": "order_accepted",
        "shard": shard,
        "seq": seq,
        "entry": 0,
        "n": 0,
        "recorded_at": rfc3339(at_ms),
        "market_id": f"m{shard}",
        "channel": channel,
        "data": {},
    }


def watermark(shard: int, until_ms: int) -> Json:
    return {
        "kind": "watermark",
        "shard": shard,
        "shards": SHARDS,
        "seq": 0,
        "complete_until": rfc3339(until_ms),
    }


@st.composite
def partitions_of_history(draw: st.DrawFn) -> list[list[Json]]:
    """What stands in each partition: both shards' records in order, repeats, and watermarks."""
    partitions: list[list[Json]] = [[] for _ in range(PARTITIONS)]
    minutes = draw(st.integers(3, 75))
    step = draw(st.sampled_from([1, 1, 20]))
    marks: list[tuple[int, int]] = []
    written: list[list[list[Json]]] = [[[] for _ in range(SHARDS)] for _ in range(PARTITIONS)]
    for seq in range(draw(st.integers(1, 12))):
        for shard in range(SHARDS):
            at_ms = START + (seq * step % minutes) * MINUTE_MS + draw(st.integers(0, 59_999))
            at_ms = max([at_ms, *(ms for one, ms in marks if one == shard)])
            number = draw(st.integers(0, PARTITIONS - 1))
            record = accepted(shard, seq + 1, at_ms, draw(st.sampled_from(["web", "store"])))
            partitions[number].append(record)
            written[number][shard].append(record)
            marks.append((shard, at_ms))
            if draw(st.booleans()):
                for one in partitions:
                    one.append(watermark(shard, at_ms))
            if draw(st.integers(0, 3)) == 0:  # published again from some point on
                again = written[number][shard]
                partitions[number] += again[draw(st.integers(0, len(again) - 1)) :]
    for after in (70, 71):  # after a restart every shard's watermark has to come once more
        for shard in range(SHARDS):
            for one in partitions:
                one.append(watermark(shard, START + (minutes + after) * MINUTE_MS))
    return partitions


def counted(
    number: int, records: list[Json], start: Closed, begin: Counting | None = None
) -> list[Message]:
    counting = begin or Counting(number, PARTITIONS, start)
    messages = []
    for record in records[counting.next :]:
        messages += counting.take(record)
    return messages


def merged(messages: Iterable[Message]) -> list[Minute]:
    merging = Merging(None)
    return [minute for message in messages for minute in merging.take(message)]


def told(minutes: Iterable[Minute]) -> dict[int, list[Figures]]:
    """Figures by the end of the minute; that two of one end are equal."""
    found: dict[int, list[Figures]] = {}
    for one in minutes:
        assert found.setdefault(one.end_ms, one.figures) == one.figures
    return {end: figures for end, figures in found.items() if figures}


def by_hand(partitions: list[list[Json]]) -> dict[tuple[int, str], int]:
    """Orders by minute and scope, each position once."""
    once = {
        (record["shard"], record["seq"]): record
        for records in partitions
        for record in records
        if record["kind"] == "event"
    }
    found: dict[tuple[int, str], int] = {}
    for record in once.values():
        minute = instant_ms(record["recorded_at"]) // MINUTE_MS * MINUTE_MS
        for scope in (record["market_id"], f"{record['market_id']}/channel/{record['channel']}"):
            found[minute, scope] = found.get((minute, scope), 0) + 1
    return found


@given(partitions_of_history())
def test_every_order_counts_once_in_its_minute_and_in_the_hour_after(
    partitions: list[list[Json]],
) -> None:
    messages = [one for n, records in enumerate(partitions) for one in counted(n, records, START_)]
    figures = told(merged(messages))
    hand = by_hand(partitions)
    minutes = {
        (end - MINUTE_MS, one.scope): one.minute[PLACED]
        for end, all_ in figures.items()
        for one in all_
        if one.minute[PLACED]
    }
    assert minutes == hand
    for end, all_ in figures.items():
        for one in all_:
            assert one.hour is not None
            assert one.hour[PLACED] == sum(
                number
                for (minute, scope), number in hand.items()
                if scope == one.scope and end - 60 * MINUTE_MS <= minute < end
            )


@settings(max_examples=60)
@given(partitions_of_history(), st.data())
def test_any_restart_of_counting_gives_the_same_closed_windows(
    partitions: list[list[Json]], data: st.DataObject
) -> None:
    """From any point that a closing record named, its own messages repeated or not."""
    whole = {n: counted(n, records, START_) for n, records in enumerate(partitions)}
    straight = told(merged(one for messages in whole.values() for one in messages))
    again = []
    for number, records in enumerate(partitions):
        closings = [place for place, one in enumerate(whole[number]) if one["kind"] == "closed"]
        at = data.draw(st.sampled_from(closings))
        closed = whole[number][at]
        known = data.draw(st.integers(at + 1, len(whole[number])))  # what stood there by then
        start = Closed(closed["until"], closed["resume"])
        again += [*whole[number][:known], *counted(number, records, start)]
    assert told(merged(again)) == straight


@settings(max_examples=60)
@given(partitions_of_history(), st.data())
def test_any_restart_of_merging_goes_on_from_its_progress(
    partitions: list[list[Json]], data: st.DataObject
) -> None:
    per_partition = [counted(n, records, START_) for n, records in enumerate(partitions)]
    messages: list[Message] = []
    while any(per_partition):
        number = data.draw(st.sampled_from([n for n, one in enumerate(per_partition) if one]))
        messages.append(per_partition[number].pop(0))
    straight = merged(messages)
    if not straight:
        return
    stopped = data.draw(st.sampled_from(straight))
    resumed = Merging(stopped.progress)
    later = [minute for one in messages[resumed.next :] for minute in resumed.take(one)]
    expected = {end: one for end, one in told(straight).items() if end > stopped.end_ms}
    assert told(later) == expected
    assert [one.end_ms for one in later] == sorted({one.end_ms for one in later})


def test_a_minute_closes_only_when_every_shard_has_passed_its_end_in_every_partition() -> None:
    records = [accepted(0, 1, START), watermark(0, START + 3 * MINUTE_MS)]
    late = [watermark(1, START + MINUTE_MS - 1), watermark(1, START + MINUTE_MS)]
    counting = Counting(0, 2, START_)
    early = [message for one in [*records, late[0]] for message in counting.take(one)]
    assert [(one["kind"], one["until"]) for one in early] == [("closed", START)]
    closing = counting.take(late[1])
    assert [one["kind"] for one in closing] == ["part", "closed"]
    merging = Merging(None)
    assert [minute for one in [*early, *closing] for minute in merging.take(one)] == []
    other = Counting(1, 2, START_)
    marks = [watermark(shard, START + 2 * MINUTE_MS) for shard in range(SHARDS)]
    rest = [message for one in marks for message in other.take(one)]
    (minute,) = [minute for one in rest for minute in merging.take(one)]
    assert minute.end_ms == START + MINUTE_MS
    assert [one.scope for one in minute.figures] == ["m0", "m0/channel/web"]


def test_hours_of_which_parts_were_deleted_are_not_told_and_all_later_ones_are() -> None:
    """Whatever of the hour before is gone, and wherever it is begun anew after that."""
    minutes = 90
    counting, messages = Counting(0, 1, START_), list[Message]()
    for minute in range(minutes):
        at_ms = START + minute * MINUTE_MS
        messages += counting.take(accepted(0, minute + 1, at_ms))
        for shard in range(SHARDS):
            messages += counting.take(watermark(shard, at_ms + MINUTE_MS))
    straight = merged(messages)
    stopped = straight[19]
    held = stopped.progress.held_from(30)
    merging = Merging(held)
    later = [one for message in messages[30:] for one in merging.take(message)]
    assert [one.end_ms for one in later] == [one.end_ms for one in straight[20:]]
    whole_ms = stopped.end_ms + 60 * MINUTE_MS
    for one, known in zip(later, straight[20:], strict=True):
        assert [two.minute for two in one.figures] == [two.minute for two in known.figures]
        hours = [two.hour for two in known.figures]
        assert [two.hour for two in one.figures] == (
            hours if one.end_ms >= whole_ms else [None] * len(hours)
        )
    for between in later[:-1:7]:
        again = Merging(between.progress)
        rest = [one for message in messages[again.next :] for one in again.take(message)]
        assert told(rest) == {
            one.end_ms: one.figures for one in later if one.end_ms > between.end_ms
        }


def test_parts_that_are_all_there_leave_the_hours_alone() -> None:
    progress = Progress(START, 5, 7, {0: START_})
    assert progress.held_from(5) == progress


def test_what_comes_too_late_changes_nothing_and_is_counted() -> None:
    counting = Counting(0, 1, START_)
    for shard in range(SHARDS):
        counting.take(watermark(shard, START + 5 * MINUTE_MS))
    assert counting.take(accepted(0, 1, START)) == []
    assert counting.passed_over == {"repeat": 0, "closed": 1}
    counting.take(accepted(0, 1, START))
    assert counting.passed_over == {"repeat": 1, "closed": 1}


def test_what_shadows_decide_is_no_event_and_hides_none() -> None:
    counting = Counting(0, 1, START_)
    ahead = {**accepted(0, 9, START), "kind": "shadow", "position": "shadow/0.9.0.0"}
    assert counting.take(ahead) == []
    counting.take(accepted(0, 1, START))
    assert counting.passed_over == {"repeat": 0, "closed": 0}


def test_a_message_of_another_release_is_refused() -> None:
    with pytest.raises(ValueError, match="form 2"):
        list(Merging(None).take({"v": 2, "kind": "part"}))


def test_quiet_times_are_told_as_progress_alone() -> None:
    counting, merging = Counting(0, 1, START_), Merging(None)
    found: list[Minute] = []
    for after in (1, 200):
        for shard in range(SHARDS):
            for message in counting.take(watermark(shard, START + after * MINUTE_MS)):
                found += merging.take(message)
    assert [(one.end_ms - START) // MINUTE_MS for one in found] == [1, 200]
    assert all(one.figures == [] for one in found)


def test_counts_are_added_by_name() -> None:
    counts = none()
    add(counts, {"placed": 2, "exceptions": 1})
    assert dict(zip(COUNTS, counts, strict=True))["placed"] == 2
