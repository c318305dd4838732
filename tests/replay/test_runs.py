"""Runs in processes of their own: what they leave behind."""

import gc
from multiprocessing import active_children
from pathlib import Path

import pytest

from orchestrator.core.config import Config
from orchestrator.core.orders import Order
from orchestrator.core.shard import Market
from orchestrator.core.sourcing.tables import Tables
from orchestrator.replay.changes import Changes
from orchestrator.replay.runs import BASELINE, Task, Variant, fields_of, read_run, run_all, run_task
from tests.core.story import Story
from tests.replay.worlds import of

ORDERS = 5


@pytest.fixture
def tasks(tmp_path: Path) -> list[Task]:
    story = Story()
    for node_id in ("BOS", "CHI"):
        story.node(node_id)
    story.item("MUG")
    story.receive("CHI", MUG=50)
    for number in range(ORDERS):
        story.order(f"{number}", MUG=2)
    period, config = of(story, tmp_path), fields_of(Config())
    changes = {BASELINE: Changes(), "closed": Changes(closed=["BOS"])}
    return [
        Task(Variant(name, one), period, config, 1, str(tmp_path / name))
        for name, one in changes.items()
    ]


@pytest.mark.usefixtures("no_collections")
def test_a_process_keeps_the_newest_run_in_memory_and_none_before_it(tasks: list[Task]) -> None:
    def alive() -> list[int]:
        kinds = [type(one) for one in gc.get_objects()]
        return [kinds.count(kind) for kind in (Order, Market, Tables)]

    run_task(tasks[0])
    once = alive()
    assert once[0] >= ORDERS
    run_task(tasks[1])
    assert alive() == once


def test_processes_end_when_all_is_done(tasks: list[Task]) -> None:
    heard: dict[int, int] = {}

    def advanced(number: int, entries: int, of_all: int) -> None:
        assert entries <= of_all
        heard[number] = entries

    run_all(tasks, advanced, workers=1)
    assert heard == {number: one.period.entries for number, one in enumerate(tasks)}
    assert [read_run(one.folder)["differing"] for one in tasks] == [0, 0]
    for one in active_children():
        one.join(30)
    assert active_children() == []
