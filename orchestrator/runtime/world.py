"""The adapters behind the ports Clock and Randomness: the machine's own."""

import asyncio
import secrets
import time
from collections.abc import Callable
from typing import Final

_WATCH_S: Final = 0.05


class SystemClock:
    """The machine's clock."""

    def now_ms(self) -> int:
        """Milliseconds since 1970 UTC."""
        return time.time_ns() // 1_000_000

    def monotonic(self) -> float:
        """Seconds, for durations."""
        return time.monotonic()

    async def sleep(self, seconds: float) -> None:
        """Let others run for so long."""
        await asyncio.sleep(seconds)


async def watch_loop(tell: Callable[[float], None]) -> None:
    """Tell, again and again, how long this process kept its loop from whoever was due.

    Time that the machine gave to other processes is not counted. Until cancelled.
    """
    while True:
        began, used = time.monotonic(), time.process_time()
        await asyncio.sleep(_WATCH_S)
        late = time.monotonic() - began - _WATCH_S
        tell(max(0.0, min(late, time.process_time() - used)))


class SystemRandomness:
    """The operating system's source of chance."""

    def bits(self, n: int) -> int:
        """`n` random bits as an integer."""
        return secrets.randbits(n)
