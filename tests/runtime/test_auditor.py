"""The auditor beside an engine: it says what it finds, takes its turns, and decides nothing."""

from collections.abc import Iterator
from dataclasses import replace

from structlog.testing import capture_logs

from orchestrator.runtime.auditor import Audited, Auditor
from orchestrator.runtime.memory_log import MemoryLog
from tests.runtime.fakes import (
    CORE,
    Running,
    SteppedClock,
    Tally,
    engine,
    give,
    happened,
    metric,
    until,
)


class CountedClock(SteppedClock):
    """A clock by which every look at it takes a millisecond, and that notes rests."""

    def __init__(self) -> None:
        super().__init__()
        self.rested: list[float] = []
        self._at = 0.0

    def monotonic(self) -> float:
        self._at += 0.001
        return self._at

    async def sleep(self, seconds: float) -> None:
        self.rested.append(seconds)


def _leaks(state: Tally) -> Iterator[list[str]]:
    yield []
    yield [f"{one} leaks" for one in state.seen if one.startswith("leak")]


def findings() -> float:
    return metric("headrace_audit_findings_total", shard="0")


async def test_what_does_not_add_up_is_logged_counted_and_told_and_decisions_go_on() -> None:
    log = MemoryLog(SteppedClock(), {"inbox": 1, "journal": 1})
    give(log, "a", "leak 1", "leak 2")
    async with Running(await engine(log)):
        await until(lambda: happened(log)[1].inbox_next == 3)
    before = findings()
    auditing = replace(CORE, audit=_leaks)
    with capture_logs() as said:
        async with Running(await engine(log, seed=2, core=auditing)) as running:
            await told_and_decided(log, running)
    assert findings() - before == 2
    found = [one["what"] for one in said if one["event"] == "the audit found"]
    assert found == ["leak 1 leaks", "leak 2 leaks"]


async def told_and_decided(log: MemoryLog, running: Running) -> None:
    await until(lambda: running.role.audited() != {})
    assert running.role.audited() == {0: Audited(1, 2, "leak 1 leaks")}
    give(log, "b")
    await until(lambda: happened(log)[1].inbox_next == 4)


async def test_a_defect_of_the_auditor_stops_nothing() -> None:
    def broken(_state: Tally) -> Iterator[list[str]]:
        yield []
        raise ZeroDivisionError("the auditor's")

    log = MemoryLog(SteppedClock(), {"inbox": 1, "journal": 1})
    with capture_logs() as said:
        async with Running(await engine(log, core=replace(CORE, audit=broken))) as running:
            await until(lambda: "the auditor failed" in [one["event"] for one in said])
            give(log, "a")
            await until(lambda: happened(log)[1].inbox_next == 1)
            assert running.role.states() == {0: "open"}


async def test_it_rests_after_every_slice_so_that_decisions_wait_for_one_at_the_most() -> None:
    clock = CountedClock()
    pieces = 40
    auditor: Auditor[None] = Auditor(0, clock, lambda _state: iter([[]] * pieces))
    await auditor.look(None)
    assert auditor.audited == Audited(1, 0)
    assert len(clock.rested) >= pieces // 3
    assert min(clock.rested) >= 0.1
