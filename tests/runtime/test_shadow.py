"""Role shadow over a memory log: each order decided beside, under positions of its own."""

import asyncio
from collections.abc import Callable, Iterator
from typing import Any, Self, TypeAlias

import orjson
import pytest
from prometheus_client import REGISTRY
from structlog.testing import capture_logs

from events.history import HISTORY
from orchestrator.compose import a_core
from orchestrator.core.shadowing import Shadows
from orchestrator.core.shard import Shard
from orchestrator.runtime.memory_log import MemoryLog
from orchestrator.runtime.publisher import Ports
from orchestrator.runtime.settings import Settings
from orchestrator.runtime.shadow import Beside, Shadow
from orchestrator.runtime.snapshots import Snapshots
from schemas.journal import Entry
from schemas.ports import Partition, Read, Record
from tests.core.story import Story
from tests.core.test_shadowing import beside, shade, shop
from tests.runtime.fakes import JOURNAL, LosesOne, Seeded, until
from tests.runtime.test_history import TOPICS, Book, SetClock

CORE = a_core(Settings())
Decides: TypeAlias = Callable[[Shard, Entry], list[Any]]


class Running:
    """Role shadow while the `async with` lasts."""

    def __init__(self, log: MemoryLog, decides: Decides | None = None) -> None:
        self._log = log
        self._decides = decides
        self.let_go: list[Shard] = []
        self._stop = asyncio.Event()
        self._task: asyncio.Task[None] | None = None
        self.role: Shadow | None = None

    async def __aenter__(self) -> Self:
        assert CORE.snapshots is not None
        self.role = Shadow(
            Ports(self._log, await self._log.group("shadow", ["journal"]), SetClock(), Seeded(1)),
            Beside(
                new=CORE.new,
                fold=CORE.fold,
                now_ms=lambda shard: shard.now_ms,
                shadows=lambda: self._decides or Shadows().beside,
                form=CORE.snapshots,
                let_go=self._let_go,
            ),
        )
        self._task = asyncio.create_task(self.role.run(self._stop))
        return self

    async def __aexit__(self, *_: object) -> None:
        self._stop.set()
        assert self._task is not None
        await self._task

    def _let_go(self, state: Shard) -> Iterator[None]:
        self.let_go.append(state)
        yield from CORE.let_go(state)

    def state(self) -> str:
        assert self.role is not None
        return self.role.states().get(0, "")


def records(log: MemoryLog) -> list[Read]:
    return [
        one
        for number in range(TOPICS["history"])
        for one in log.held(Partition("history", number)).records
    ]


def told(log: MemoryLog) -> list[dict[str, Any]]:
    return [orjson.loads(one.value or b"") for one in records(log)]


def a_day() -> Story:
    story = shop()
    shade(story)
    for number in range(6):
        story.order(str(number), TEA=1, MUG=number % 2 + 1)
    return story


async def test_orders_are_decided_beside_in_the_published_shape() -> None:
    log = MemoryLog(SetClock(), TOPICS)
    story = a_day()
    Book(log).tell(story)
    async with Running(log):
        await until(lambda: len(told(log)) == 6)
    model = HISTORY["shadow_decided"]
    decided = {one["order_id"]: one for one in beside(story)}
    for record in records(log):
        value = orjson.loads(record.value or b"")
        model.model_validate_json(record.value or b"")
        headers = dict(record.headers)
        assert headers["ce_type"] == b"headrace.shadow_decided.v1"
        assert headers["ce_id"].decode() == value["position"]
        assert headers["ce_source"] == b"headrace/0/shadow"
        assert record.key == value["order_id"].encode()
        assert value["kind"] == "shadow"
        want = decided[value["order_id"]]
        at = f"{value['shard']}.{value['seq']}.{value['entry']}"
        assert value["position"] == f"shadow/{at}.{want['n']}"
        assert value["active"]["position"] == f"{at}.{want['active']['n']}"
        assert value["decision"] == want["decision"]


async def test_nothing_is_told_and_nothing_written_without_a_shadow() -> None:
    log = MemoryLog(SetClock(), TOPICS)
    story = shop()
    story.order("1", TEA=1)
    book = Book(log)
    book.tell(story)
    async with Running(log) as running:
        await until(lambda: running.state() == "open")
        shade(story)
        story.order("2", TEA=1)
        book.tell(story)
        await until(lambda: len(told(log)) == 1)
    assert told(log)[0]["order_id"] == "2"
    assert len(log.held(JOURNAL).records) == book.state.next


@pytest.mark.parametrize("forgets", [False, True])
async def test_what_is_decided_again_after_a_crash_is_the_same_to_the_byte(
    forgets: bool,  # noqa: FBT001 - a parameter
) -> None:
    log = MemoryLog(SetClock(), TOPICS)
    story = a_day()
    book = Book(log)
    book.tell(story)
    async with Running(log):
        await until(lambda: len(told(log)) == 6)
    if forgets:  # the checkpoint was lost, or never saved
        log._groups["shadow"].checkpoints.clear()
    for number in range(6, 10):
        story.order(str(number), TEA=1, MUG=2)
    book.tell(story)
    again = 6 if forgets else 0
    async with Running(log):
        await until(lambda: len(told(log)) >= 10 + again)
    by_position: dict[bytes, set[bytes]] = {}
    for one in records(log):
        by_position.setdefault(dict(one.headers)["ce_id"], set()).add(one.value or b"")
    assert len(records(log)) == 10 + again
    assert len(by_position) == 10
    assert all(len(values) == 1 for values in by_position.values())


async def test_what_a_shadow_held_is_let_go_when_it_begins_anew_or_ends() -> None:
    log, story = LosesOne(SetClock(), TOPICS, "history"), a_day()
    book = Book(log)
    book.tell(story)
    async with Running(log) as running:
        await until(lambda: {one["order_id"] for one in told(log)} == set("012345"))
        await until(lambda: running.state() == "open")
        assert len(running.let_go) == 1
    assert len(running.let_go) == 2
    for shard in running.let_go:
        (market,) = shard.markets.values()
        assert (market.tables, market.orders) == (None, {})


async def test_it_goes_on_from_a_snapshot_as_from_the_beginning() -> None:
    log = MemoryLog(SetClock(), TOPICS)
    story = a_day()
    book = Book(log)
    book.tell(story)
    async with Running(log):
        await until(lambda: len(told(log)) == 6)
    await _snapshot(log, story, book)
    log.held(JOURNAL).records[1] = log.held(JOURNAL).records[1]._replace(value=b"not read again")
    story.order("6", TEA=1, MUG=2)
    book.tell(story)
    async with Running(log):
        await until(lambda: len(told(log)) == 7)
    (newest,) = [one for one in told(log) if one["order_id"] == "6"]
    assert newest["decision"] == beside(story)[-1]["decision"]


async def test_a_defect_halts_the_shadow_of_its_shard_and_nothing_else() -> None:
    log = MemoryLog(SetClock(), {**TOPICS, "journal": 2})
    Book(log).tell(a_day())
    for one in log.held(JOURNAL).records:
        log.write(Partition("journal", 1), [Record(one.key, one.value)])
    sound = Shadows()

    def decides(shard: Shard, entry: Entry) -> list[Any]:
        found = sound.beside(shard, entry) if shard.number else []
        if any(event["type"] == "order_accepted" for event in entry["events"]) and not found:
            raise ZeroDivisionError("a defect")
        return found

    def halted(shard: int) -> float | None:
        return REGISTRY.get_sample_value(
            "headrace_publisher_halted", {"role": "shadow", "shard": str(shard)}
        )

    with capture_logs() as logs:
        async with Running(log, decides) as running:
            assert running.role is not None
            role = running.role
            await until(lambda: role.states() == {0: "halted", 1: "open"})
            await until(lambda: len(told(log)) == 6)
            assert {one["shard"] for one in told(log)} == {1}
            assert (halted(0), halted(1)) == (1, 0)
    (line,) = [one for one in logs if one["log_level"] == "error"]
    assert (line["event"], line["shard"]) == ("shadow halted by a defect", 0)
    assert (halted(0), halted(1)) == (None, None)


async def _snapshot(log: MemoryLog, story: Story, book: Book) -> None:
    assert CORE.snapshots is not None
    shard: Shard = Shard(0)
    for encoded in story.entries:
        CORE.fold(shard, orjson.loads(encoded))
    snapshots = Snapshots(0, log=log, clock=SetClock(), randomness=Seeded(2), form=CORE.snapshots)
    await snapshots.write(shard, book.state)
