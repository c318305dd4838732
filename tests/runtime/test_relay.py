"""The relay over a memory log: what it publishes, and that nothing is left out."""

import asyncio
from collections.abc import Callable, Mapping, Sequence
from typing import Self

import orjson
from prometheus_client import REGISTRY
from structlog.testing import capture_logs

from events.outputs import OUTPUTS
from orchestrator.runtime.memory_log import MemoryLog, MemoryReader
from orchestrator.runtime.publisher import Ports
from orchestrator.runtime.relay import Relay
from orchestrator.runtime.world import SystemRandomness
from schemas.journal import FilterState, encode_commit, encode_entry, encode_opened, step
from schemas.journal import decode as decode_journal
from schemas.ports import Appended, Checkpoint, Clock, Partition, Read, Record, Unknown, Writer
from tests.runtime.fakes import JOURNAL, LosesOne, SteppedClock, metric, until

TOPICS = {
    "journal": 1,
    "fulfillment-commands": 4,
    "order-updates": 4,
    "availability": 4,
    "exceptions": 1,
}


class Book:
    """Writes a journal as an engine would."""

    def __init__(self, log: MemoryLog) -> None:
        self.log = log
        self.state = FilterState()
        self._put(encode_opened("one", "n1"))

    def _put(self, value: bytes) -> None:
        offset = self.log.write(JOURNAL, [Record(None, value)]).base_offset
        self.state, _ = step(self.state, offset, decode_journal(value, offset))

    def commit(self, *events: Mapping[str, object], nonce: str = "n1") -> None:
        """One input, `in-<seq>`, with these events."""
        seq = self.state.seq + 1
        cause = {"type": "order_placed", "id": f"in-{seq}", "origin": ["orders", 0, seq, 0]}
        self._put(
            encode_commit(
                epoch=0,
                nonce=nonce,
                seq=seq,
                inbox_from=self.state.inbox_next,
                inbox_next=self.state.inbox_next + 1,
                prev=self.state.digest,
                now_ms=1_700_000_000_000,
                entries=[encode_entry(cause, list(events))],  # type: ignore[arg-type]  # plain dicts
            )
        )


def accepted(order_id: str) -> Mapping[str, object]:
    about = {"market_id": "m", "channel": "web", "order_id": order_id}
    return {"type": "order_accepted", **about, "status": "accepted"}


def available(sku: str, units: int) -> Mapping[str, object]:
    as_of = "2026-01-01T00:00:00Z"
    return {
        "type": "availability_changed",
        "market_id": "m",
        "sku": sku,
        "available": units,
        "as_of": as_of,
    }


def a_log() -> MemoryLog:
    return MemoryLog(SteppedClock(), TOPICS)


def published(log: MemoryLog, topic: str) -> list[Read]:
    return [
        one for number in range(TOPICS[topic]) for one in log.held(Partition(topic, number)).records
    ]


def ids(log: MemoryLog, topic: str = "order-updates") -> list[str]:
    return sorted(dict(one.headers)["ce_id"].decode() for one in published(log, topic))


class Relaying:
    """A relay that runs while the `async with` lasts."""

    def __init__(
        self, log: MemoryLog, takeover_s: float = 60.0, clock: Clock | None = None
    ) -> None:
        self._log = log
        self._clock = clock or SteppedClock()
        self._takeover_s = takeover_s
        self._stop = asyncio.Event()
        self._task: asyncio.Task[None] | None = None
        self.role: Relay | None = None

    async def __aenter__(self) -> Self:
        group = await self._log.group("relay", ["journal"])
        ports = Ports(self._log, group, self._clock, SystemRandomness())
        self.role = Relay(ports, takeover_s=self._takeover_s)
        self._task = asyncio.create_task(self.role.run(self._stop))
        return self

    async def __aexit__(self, *_: object) -> None:
        self._stop.set()
        assert self._task is not None
        await self._task


async def test_publishes_what_happened_as_cloud_events_in_binary_mode() -> None:
    log = a_log()
    Book(log).commit(accepted("7"), {"type": "master_data_kept"}, accepted("8"))
    before = metric("headrace_published_total", topic="order-updates")
    async with Relaying(log):
        await until(lambda: len(published(log, "order-updates")) == 2)
    assert metric("headrace_published_total", topic="order-updates") == before + 2
    first = next(one for one in published(log, "order-updates") if one.key == b"7")
    assert dict(first.headers) == {
        "ce_specversion": b"1.0",
        "ce_id": b"0.1.0.0",
        "ce_source": b"headrace/0",
        "ce_type": b"headrace.order_accepted.v1",
        "ce_time": b"2023-11-14T22:13:20.000Z",
        "ce_correlationid": b"7",
        "ce_causationid": b"in-1",
        "content-type": b"application/json",
    }
    assert ids(log) == ["0.1.0.0", "0.1.0.2"]
    OUTPUTS["order_accepted"].model_validate_json(first.value or b"")


async def test_fields_of_our_own_stay_inside() -> None:
    log = a_log()
    Book(log).commit(
        {**accepted("7"), "type": "order_refused", "reasons": [], "conflict": True},
    )
    async with Relaying(log):
        await until(lambda: len(published(log, "order-updates")) == 1)
    (one,) = published(log, "order-updates")
    assert "conflict" not in orjson.loads(one.value or b"")
    assert "type" not in orjson.loads(one.value or b"")


async def test_availability_carries_its_position_and_its_whole_key() -> None:
    log = a_log()
    Book(log).commit(available("A", 5))
    async with Relaying(log):
        await until(lambda: len(published(log, "availability")) == 1)
    (one,) = published(log, "availability")
    assert one.key == b"m///A"
    OUTPUTS["availability_changed"].model_validate_json(one.value or b"")
    assert orjson.loads(one.value or b"")["position"] == "0.1"


async def test_a_key_keeps_its_order() -> None:
    log = a_log()
    book = Book(log)
    for units in range(50):
        book.commit(available("A", units))
    async with Relaying(log):
        await until(lambda: len(published(log, "availability")) == 50)
    values = [orjson.loads(one.value or b"")["available"] for one in published(log, "availability")]
    assert values == list(range(50))


async def test_after_an_hour_of_absence_it_catches_up_in_order_and_says_nothing_twice() -> None:
    """Thousands of commits that nobody published, of many keys; nobody reads what it publishes."""
    log = a_log()
    book = Book(log)
    backlog, skus = 3_600, 7
    for number in range(backlog):
        book.commit(available(f"sku{number % skus}", number), accepted(str(number)))
    async with Relaying(log):
        await until(lambda: len(published(log, "availability")) == backlog, within_s=60)
    for sku in range(skus):
        values = [orjson.loads(one.value or b"") for one in published(log, "availability")]
        units = [one["available"] for one in values if one["sku"] == f"sku{sku}"]
        assert units == list(range(sku, backlog, skus))
    saved = (await log.saved("relay", [JOURNAL]))[JOURNAL]
    assert saved.offset == log.held(JOURNAL).next
    async with Relaying(log):
        pass
    assert len(published(log, "order-updates")) == backlog


async def test_what_the_filter_voids_is_not_published() -> None:
    log = a_log()
    book = Book(log)
    book.commit(accepted("1"))
    book.commit(accepted("zombie"), nonce="stale")
    book.commit(accepted("2"))
    async with Relaying(log):
        await until(lambda: len(published(log, "order-updates")) == 2)
    assert sorted(one.key or b"" for one in published(log, "order-updates")) == [b"1", b"2"]


async def test_goes_on_at_its_checkpoint_which_is_the_whole_filter_state() -> None:
    log = a_log()
    book = Book(log)
    book.commit(accepted("1"))
    async with Relaying(log):
        await until(lambda: len(published(log, "order-updates")) == 1)
    kept = (await log.saved("relay", [JOURNAL]))[JOURNAL]
    assert FilterState.from_json(kept.metadata) == book.state
    book.commit(accepted("2"))
    async with Relaying(log):
        await until(lambda: len(published(log, "order-updates")) == 2)
    assert ids(log) == ["0.1.0.0", "0.2.0.0"]


def _begun_anew() -> float:
    return metric("headrace_published_anew_total", role="relay", shard="0")


async def test_who_finds_no_offset_says_that_it_publishes_all_again() -> None:
    log = a_log()
    book = Book(log)
    before = _begun_anew()
    async with Relaying(log) as relaying:
        await until(lambda: relaying.role is not None and relaying.role.states() == {0: "open"})
        book.commit(accepted("7"))
        await until(lambda: ids(log) == ["0.1.0.0"])
    assert _begun_anew() == before, "what is new in a new journal was published never before"
    log._groups["relay"].checkpoints.clear()
    with capture_logs() as logs:
        async with Relaying(log):
            await until(lambda: ids(log) == ["0.1.0.0", "0.1.0.0"])
    assert _begun_anew() == before + 1
    (said,) = [one for one in logs if "from its beginning" in one["event"]]
    assert (said["log_level"], said["role"], said["shard"]) == ("warning", "relay", 0)


async def test_where_the_broker_drops_metadata_nothing_is_sent_twice() -> None:
    log = a_log()
    book = Book(log)
    book.commit(accepted("1"))
    group = await log.group("relay", ["journal"])
    await group.changes(0)
    await group.save({JOURNAL: Checkpoint(book.state.next, "")})
    await group.close()
    book.commit(accepted("2"))
    async with Relaying(log):
        await until(lambda: len(published(log, "order-updates")) == 1)
    assert ids(log) == ["0.2.0.0"]


async def test_a_checkpoint_of_another_journal_halts() -> None:
    log = a_log()
    book = Book(log)
    book.commit(accepted("1"))
    group = await log.group("relay", ["journal"])
    await group.changes(0)
    await group.save({JOURNAL: Checkpoint(2, FilterState("other", 2, 0, "n1", 1, 1).to_json())})
    await group.close()
    async with Relaying(log) as relaying:
        await until(lambda: relaying.role is not None and relaying.role.states() == {0: "halted"})
    assert ids(log) == []


async def test_a_defect_halts_the_relay_of_its_shard_and_nothing_else() -> None:
    log = MemoryLog(SteppedClock(), {**TOPICS, "journal": 2})
    book = Book(log)
    book.commit(accepted("1"))
    for one in log.held(JOURNAL).records:
        log.write(Partition("journal", 1), [Record(one.key, one.value)])
    book.commit({**accepted("2"), "order_id": 2})  # no key can be made of it
    book.commit(accepted("3"))

    def halted(shard: int) -> float | None:
        return REGISTRY.get_sample_value(
            "headrace_publisher_halted", {"role": "relay", "shard": str(shard)}
        )

    with capture_logs() as logs:
        async with Relaying(log) as relaying:
            assert relaying.role is not None
            role = relaying.role
            await until(lambda: role.states() == {0: "halted", 1: "open"})
            assert (halted(0), halted(1)) == (1, 0)
    (line,) = [one for one in logs if one["log_level"] == "error"]
    assert (line["event"], line["shard"]) == ("relay halted by a defect", 0)
    assert set(ids(log)) <= {"0.1.0.0", "1.1.0.0"}
    assert "1.1.0.0" in ids(log)
    assert (halted(0), halted(1)) == (None, None)


async def test_who_takes_over_publishes_the_newest_availability_of_each_key_again() -> None:
    log = a_log()
    book = Book(log)
    book.commit(available("A", 1))
    book.commit(available("A", 2), available("B", 9))
    async with Relaying(log, takeover_s=-1.0):  # the time is over at once
        await until(lambda: len(published(log, "availability")) == 5)
        book.commit(available("A", 3))
        await until(lambda: len(published(log, "availability")) == 6)
    a = [orjson.loads(one.value or b"") for one in published(log, "availability")]
    assert [one["available"] for one in a if one["sku"] == "A"] == [1, 2, 2, 3]
    assert [one["available"] for one in a if one["sku"] == "B"] == [9, 9]


class _Freezing(SteppedClock):
    """A clock of a process that stood still for a minute, when somebody says so."""

    frozen_s = 0.0

    def monotonic(self) -> float:
        return self.frozen_s


class _Frozen(MemoryLog):
    """Its process stands still for a minute when it has read; another one works meanwhile."""

    def __init__(self, clock: _Freezing) -> None:
        super().__init__(clock, TOPICS)
        self.elsewhere: Callable[[], object] | None = None
        self._freezing = clock

    def has_read(self) -> None:
        if self.elsewhere is not None:
            self._freezing.frozen_s += 60
            self.elsewhere()
            self.elsewhere = None

    async def reader(self, at: Mapping[Partition, int | None]) -> MemoryReader:
        return _FrozenReader(self, at)


class _FrozenReader(MemoryReader):
    def __init__(self, log: _Frozen, at: Mapping[Partition, int | None]) -> None:
        super().__init__(log, at)
        self._frozen = log

    async def read(self, max_records: int, wait_ms: int) -> dict[Partition, list[Read]]:
        found = await super().read(max_records, wait_ms)
        if found:
            self._frozen.has_read()
        return found


async def test_who_stood_still_for_longer_than_its_session_puts_nothing_old_on_top() -> None:
    clock = _Freezing()
    log = _Frozen(clock)
    book = Book(log)
    book.commit(accepted("1"))

    def elsewhere() -> None:
        log.write(Partition("availability", 0), [Record(b"m///A", b"newer")])
        kept = Checkpoint(book.state.next, book.state.to_json())
        log._groups["relay"].checkpoints[JOURNAL] = kept

    async with Relaying(log, clock=clock):
        await until(lambda: ids(log) == ["0.1.0.0"])
        restarts = _restarts()
        log.elsewhere = elsewhere
        book.commit(available("A", 1))
        await until(lambda: _restarts() == restarts + 1)
        book.commit(accepted("3"))
        await until(lambda: ids(log)[-1] == f"0.{book.state.seq}.0.0")
    assert [one.value for one in published(log, "availability")] == [b"newer"]


def _restarts() -> float:
    return metric("headrace_relay_restarts_total", shard="0")


async def test_after_a_lost_acknowledgement_everything_is_published_again_with_the_same_ids() -> (
    None
):
    log = LosesOne(SteppedClock(), TOPICS, "order-updates")
    book = Book(log)
    book.commit(accepted("1"), available("A", 1))
    async with Relaying(log):
        await until(lambda: len(published(log, "order-updates")) == 2)
    assert ids(log) == ["0.1.0.0", "0.1.0.0"]
    assert set(ids(log, "availability")) == {"0.1.0.1"}


class _OneDown(MemoryLog):
    """Exceptions are refused while `down`."""

    down = True
    tried = 0

    async def writer(self) -> Writer:  # type: ignore[override]  # any writer will do
        return _Refusing(self, await super().writer())


class _Refusing:
    def __init__(self, log: _OneDown, writer: Writer) -> None:
        self._log = log
        self._writer = writer

    async def append(self, to: Partition, records: Sequence[Record]) -> Appended:
        if to.topic == "exceptions" and self._log.down:
            self._log.tried += 1
            await until(lambda: len(published(self._log, "order-updates")) >= _ORDERS)
            raise Unknown("no leader")
        return await self._writer.append(to, records)

    async def close(self) -> None:
        await self._writer.close()


_ORDERS = 20


async def test_while_one_topic_takes_nothing_consumers_of_the_others_hear_nothing_twice() -> None:
    log = _OneDown(SteppedClock(), TOPICS)
    book = Book(log)
    for number in range(_ORDERS):
        book.commit(accepted(str(number)))
    book.commit({"type": "exception_opened", "exception_id": "e", "kind": "data_mismatch"})
    async with Relaying(log):
        await until(lambda: log.tried >= 2, within_s=20)
        assert len(ids(log)) == _ORDERS
        log.down = False
        await until(lambda: len(published(log, "exceptions")) == 1, within_s=20)
    assert len(ids(log)) == len(set(ids(log))) == _ORDERS


async def test_the_lag_of_a_shard_that_is_left_is_told_no_longer() -> None:
    def lag() -> float | None:
        labels = {"role": "relay", "topic": "journal", "partition": "0"}
        return REGISTRY.get_sample_value("headrace_reader_lag_records", labels)

    log = a_log()
    Book(log).commit(accepted("1"))
    async with Relaying(log):
        await until(lambda: lag() == 0)
    assert lag() is None
