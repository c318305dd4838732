"""Garbage collection in processes that hold a shard."""

import asyncio
import gc
import time
from collections.abc import Iterator

import pytest

from orchestrator.compose import collect_often, collect_rarely

MADE = 20_000


@pytest.fixture
def thresholds() -> Iterator[None]:
    before = gc.get_threshold()
    collect_rarely()
    yield
    gc.set_threshold(*before)


@pytest.mark.usefixtures("thresholds")
async def test_what_is_young_is_walked_soon_though_as_much_is_freed_as_is_made() -> None:
    held: list[list[object]] = [[] for _ in range(MADE)]
    gc.collect()
    for number in range(MADE):
        held[number] = []
    assert len(gc.get_objects(0)) > MADE // 2, "else Python counts otherwise, and this isn't needed"
    collecting = asyncio.create_task(collect_often())
    until = time.monotonic() + 30
    try:
        while len(gc.get_objects(0)) + len(gc.get_objects(1)) > MADE // 2:
            assert time.monotonic() < until
            await asyncio.sleep(0.02)
    finally:
        collecting.cancel()
