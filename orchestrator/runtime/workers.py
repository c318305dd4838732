"""Workers: a task for each shard that a group suggests to this process."""

import asyncio
from collections.abc import Callable, Iterator
from typing import Final, Generic, Protocol, TypeVar

_LEAVE_S: Final = 8.0


class Worker(Protocol):
    """Works on one shard until told to stop."""

    stop: asyncio.Event
    state: str

    async def run(self) -> None:
        """Work; on stop finish what is under way."""
        ...


W = TypeVar("W", bound=Worker)


class Workers(Generic[W]):
    """The shards of this process. `make` makes the worker of a shard's number."""

    def __init__(self, name: str, make: Callable[[int], W]) -> None:
        self._name = name
        self._make = make
        self._running: dict[int, tuple[W, asyncio.Task[None]]] = {}

    def __iter__(self) -> Iterator[W]:
        return (worker for worker, _ in self._running.values())

    def states(self) -> dict[int, str]:
        """The state of each shard: opening, open, pausing, halted, closed."""
        return {number: worker.state for number, (worker, _) in sorted(self._running.items())}

    def follow(self, assigned: set[int]) -> None:
        """Start on shards that are new to us, stop on those no longer ours.

        One that comes back while its worker still finishes waits for that. A worker's defect is
        raised.
        """
        for number, (worker, task) in list(self._running.items()):
            if task.done():
                del self._running[number]
                task.result()
            elif number not in assigned:
                worker.stop.set()
        for number in sorted(assigned - self._running.keys()):
            worker = self._make(number)
            task = asyncio.create_task(worker.run(), name=f"{self._name} {number}")
            self._running[number] = worker, task

    async def leave(self) -> None:
        """Tell all to stop, and wait for them; not for ever."""
        for worker in self:
            worker.stop.set()
        tasks = [task for _, task in self._running.values()]
        if tasks:
            await asyncio.wait(tasks, timeout=_LEAVE_S)
            for task in tasks:
                task.cancel()  # the late ones; the others are done
            await asyncio.gather(*tasks, return_exceptions=True)
