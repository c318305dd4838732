"""One read ahead of who takes in what was read, so that neither waits for the other."""

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any, Generic, TypeVar

T = TypeVar("T")


class Ahead(Generic[T]):
    """Reads, one after the other, of which the next may begin before it is asked for."""

    def __init__(self, read: Callable[[], Coroutine[Any, Any, T]]) -> None:
        self._read = read
        self._reading: asyncio.Task[T] | None = None

    def begin(self) -> None:
        """Let the next read begin: it goes on whenever who takes in lets others run."""
        if self._reading is None:
            self._reading = asyncio.create_task(self._read(), name="read ahead")

    async def next(self) -> T:
        """What the next read gives, whether it was begun or not, and whatever it raises."""
        if self._reading is None:
            return await self._read()
        try:
            return await self._reading
        finally:
            self._reading = None

    async def end(self) -> None:
        """Give up what was begun."""
        reading, self._reading = self._reading, None
        if reading is not None:
            reading.cancel()
            await asyncio.wait([reading])
            if not reading.cancelled():
                reading.exception()  # nobody hears of it
