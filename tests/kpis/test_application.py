"""What of Faust is gone round: coroutines that are begun before a task is made of them."""

import asyncio

import pytest

from orchestrator.kpis.application import Begun


async def test_what_is_begun_goes_on_where_it_waits() -> None:
    steps = [asyncio.get_running_loop().create_future() for _ in range(2)]

    async def adds() -> int:
        await asyncio.sleep(0)
        return int(await steps[0]) + int(await steps[1])

    coroutine = adds()
    going_on = asyncio.ensure_future(Begun(coroutine, coroutine.send(None)))
    for step in steps:
        await asyncio.sleep(0)
        step.set_result(2)
    assert await going_on == 4


async def test_what_is_begun_can_be_ended_and_fail() -> None:
    ended: list[str] = []

    async def waits(for_what: asyncio.Future[None]) -> None:
        try:
            await for_what
        except BaseException as error:
            ended.append(type(error).__name__)
            raise

    for error in (asyncio.CancelledError(), ValueError()):
        future = asyncio.get_running_loop().create_future()
        coroutine = waits(future)
        going_on = asyncio.ensure_future(Begun(coroutine, coroutine.send(None)))
        await asyncio.sleep(0)
        if isinstance(error, ValueError):
            future.set_exception(error)
        else:
            going_on.cancel()
        with pytest.raises(type(error)):
            await going_on
    assert ended == ["CancelledError", "ValueError"]
