"""One read ahead: it begins when it is told to, and nothing of it is lost or left behind."""

import asyncio
from collections.abc import Callable

import pytest

from orchestrator.runtime.ahead import Ahead
from schemas.ports import LogError


class Reads:
    """Reads that end when they are let go; the second fails."""

    def __init__(self) -> None:
        self.begun = self.given_up = 0
        self.may_end = asyncio.Event()

    async def __call__(self) -> int:
        self.begun += 1
        number = self.begun
        try:
            await self.may_end.wait()
        except asyncio.CancelledError:
            self.given_up += 1
            raise
        if number == 2:
            raise LogError("the read failed")
        return number


async def others_run() -> None:
    for _ in range(3):
        await asyncio.sleep(0)


async def test_what_is_begun_goes_on_while_others_run_and_is_given_once() -> None:
    reads = Reads()
    ahead = Ahead(reads)
    ahead.begin()
    ahead.begin()
    await others_run()
    assert reads.begun == 1
    reads.may_end.set()
    await others_run()
    assert await ahead.next() == 1
    assert reads.begun == 1


async def test_a_read_that_failed_ahead_is_told_when_its_turn_comes_and_the_next_one_works() -> (
    None
):
    reads = Reads()
    reads.may_end.set()
    ahead = Ahead(reads)
    assert await ahead.next() == 1
    ahead.begin()
    await others_run()
    with pytest.raises(LogError):
        await ahead.next()
    assert await ahead.next() == 3


@pytest.mark.parametrize("begins", [Ahead.begin, lambda _: None], ids=["ahead", "when asked for"])
async def test_who_is_cancelled_while_it_waits_gives_the_read_up(
    begins: Callable[[Ahead[int]], None],
) -> None:
    reads = Reads()
    ahead = Ahead(reads)
    begins(ahead)
    waiting = asyncio.create_task(ahead.next())
    await others_run()
    waiting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiting
    assert reads.given_up == 1
    await ahead.end()


async def test_at_the_end_what_was_begun_is_given_up_and_nobody_hears_of_its_failure() -> None:
    reads = Reads()
    ahead = Ahead(reads)
    await ahead.end()
    ahead.begin()
    await others_run()
    await ahead.end()
    assert reads.given_up == 1
    reads.may_end.set()
    ahead.begin()  # it fails
    await others_run()
    await ahead.end()
    assert reads.begun == 2
