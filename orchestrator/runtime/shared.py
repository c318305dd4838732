"""Shared answers: many who ask the same thing within a while cost the broker one question."""

import asyncio
from collections.abc import Callable, Coroutine, Hashable
from typing import Any, Generic, TypeVar

from schemas.ports import Clock

K = TypeVar("K", bound=Hashable)
V = TypeVar("V")


class Shared(Generic[K, V]):
    """`ask`, of which an answer (or error) serves all who ask within `for_s` of its question."""

    def __init__(
        self, ask: Callable[[K], Coroutine[Any, Any, V]], clock: Clock, for_s: float
    ) -> None:
        self._ask = ask
        self._clock = clock
        self._for_s = for_s
        self._asked: dict[K, tuple[float, asyncio.Task[V]]] = {}

    async def __call__(self, about: K) -> V:
        """The answer, at most `for_s` old or as old as its question; who gives up stops nobody."""
        now = self._clock.monotonic()
        self._asked = {
            one: (until, answer)
            for one, (until, answer) in self._asked.items()
            if now < until or not answer.done()
        }
        if about not in self._asked:
            self._asked[about] = now + self._for_s, asyncio.create_task(self._ask(about))
        return await asyncio.shield(self._asked[about][1])
