"""Stories as history, and what becomes of them in another world."""

import asyncio
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from orchestrator.compose import a_core
from orchestrator.core.config import Config
from orchestrator.core.shard import Shard
from orchestrator.replay.changes import Changes
from orchestrator.replay.loop import Loop
from orchestrator.replay.outcome import OrderRow, Outcome, read_orders, there
from orchestrator.replay.period import Period, Rows, Span, load_index, read_period
from orchestrator.runtime.memory_log import MemoryLog
from orchestrator.runtime.settings import Settings
from orchestrator.runtime.world import SystemClock
from schemas.ports import EventLog, Partition, Record
from schemas.voids import Voids
from tests.core.story import Story
from tests.projections.test_from_the_core import journal

FOREVER = 4_000_000_000_000
EVER = Span(0, FOREVER)


def a_log(entries: Sequence[bytes], a_commit: int = 3) -> MemoryLog:
    """A journal of these entries."""
    log = MemoryLog(SystemClock(), {"journal": 1})
    log.write(Partition("journal", 0), [Record(None, one) for one in journal([*entries], a_commit)])
    return log


def a_period(log: EventLog, folder: Path, span: Span = EVER, shard: int = 0) -> Period:
    """What `headrace whatif` reads of a journal."""
    form = a_core(Settings()).snapshots
    assert form is not None

    async def read() -> Period:
        voids = Voids(log)
        await voids.read()
        return await read_period(log, shard, span, folder / f"period-{shard}", form, voids)

    return asyncio.run(read())


class Replayed(NamedTuple):
    """A run, and where it ended."""

    loop: Loop
    outcome: Outcome
    shard: Shard
    orders: dict[str, OrderRow]

    def stock(self, node_id: str, sku: str) -> tuple[int, int, int]:
        """On hand, reserved, available."""
        found = self.shard.stock(self.shard.nodes[node_id], sku)
        return found.on_hand, found.reserved, found.available


def replayed(
    period: Period,
    changes: Changes | None = None,
    *,
    seed: int = 1,
    config: Config | None = None,
    name: str = "run",
) -> Replayed:
    """Replay a period in this process."""
    shard = period.start(config or Config())
    folder = Path(period.folder).parent / name
    outcome = Outcome(folder, there(shard))
    loop = Loop(
        shard, Rows(period), load_index(period), period.span, changes or Changes(), seed, outcome
    )
    try:
        loop.run()
    finally:
        outcome.close()
    outcome.finish({"cpu_seconds": 0.0})
    return Replayed(loop, outcome, shard, {row.key: row for row in read_orders(folder)})


def of(story: Story, folder: Path, span: Span = EVER) -> Period:
    """A story as history."""
    return a_period(a_log(story.entries), folder, span)
