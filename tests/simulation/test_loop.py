"""The simulation's loop ends with a sentence what would never end, or not be the same run again."""

import asyncio
import random
from collections.abc import Callable, Coroutine

import pytest

from tests.simulation.loop import SimLoop, SimulationError


async def _waits_for_nobody() -> None:
    await asyncio.get_running_loop().create_future()


async def _spins() -> None:
    while True:
        await asyncio.sleep(0)


async def _asks_an_executor() -> None:
    await asyncio.get_running_loop().run_in_executor(None, int)


async def _starts_a_thread() -> None:
    await asyncio.to_thread(int)


async def _is_called_by_a_thread() -> None:
    asyncio.get_running_loop().call_soon_threadsafe(int)


@pytest.mark.parametrize(
    ("does", "said"),
    [
        (_waits_for_nobody, "deadlock"),
        (_spins, "too many steps"),
        (_asks_an_executor, "an executor"),
        (_starts_a_thread, "an executor"),
        (_is_called_by_a_thread, "a thread"),
    ],
)
def test_what_a_run_may_not_do_ends_it(
    does: Callable[[], Coroutine[None, None, None]], said: str
) -> None:
    loop = SimLoop(random.Random(1), steps=1_000)
    try:
        with pytest.raises(SimulationError, match=said):
            loop.run_until_complete(does())
    finally:
        loop.discard()


def test_time_passes_at_once_where_nothing_else_is_to_do() -> None:
    loop = SimLoop(random.Random(1), steps=1_000)
    try:
        loop.run_until_complete(asyncio.sleep(3_600))
        assert loop.time() == 3_600
    finally:
        loop.discard()
