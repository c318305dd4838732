"""One question for all who ask the same."""

import asyncio

import pytest

from orchestrator.runtime.shared import Shared
from schemas.ports import LogError


class StillClock:
    seconds = 0.0

    def now_ms(self) -> int:
        return int(self.seconds * 1000)

    def monotonic(self) -> float:
        return self.seconds

    async def sleep(self, seconds: float) -> None:
        await asyncio.sleep(seconds)


class Broker:
    def __init__(self) -> None:
        self.asked: list[str] = []
        self.answers = asyncio.Event()

    async def ask(self, about: str) -> int:
        self.asked.append(about)
        await self.answers.wait()
        if about == "bad":
            raise LogError("no")
        return len(self.asked)


async def test_who_asks_the_same_meanwhile_or_soon_after_shares_the_answer() -> None:
    broker, clock = Broker(), StillClock()
    shared = Shared(broker.ask, clock, 1.0)
    asking = [asyncio.create_task(shared("a")) for _ in range(5)]
    await asyncio.sleep(0)
    broker.answers.set()
    assert await asyncio.gather(*asking) == [1] * 5
    clock.seconds = 0.9
    assert await shared("a") == 1
    assert await shared("b") == 2
    clock.seconds = 1.0
    assert await shared("a") == 3
    assert broker.asked == ["a", "b", "a"]


async def test_one_who_gives_up_does_not_stop_the_question_for_the_others() -> None:
    broker = Broker()
    shared = Shared(broker.ask, StillClock(), 1.0)
    first, second = (asyncio.create_task(shared("a")) for _ in range(2))
    await asyncio.sleep(0)
    first.cancel()
    broker.answers.set()
    assert await second == 1


async def test_an_error_is_shared_for_the_same_while_and_then_asked_anew() -> None:
    broker, clock = Broker(), StillClock()
    broker.answers.set()
    shared = Shared(broker.ask, clock, 1.0)
    for at_s in (0.0, 0.5, 1.5):
        clock.seconds = at_s
        with pytest.raises(LogError):
            await shared("bad")
    assert broker.asked == ["bad", "bad"]
