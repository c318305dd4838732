"""The adapters behind the ports Clock and Randomness: the machine's own."""

import asyncio
import secrets
import time


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


class SystemRandomness:
    """The operating system's source of chance."""

    def bits(self, n: int) -> int:
        """`n` random bits as an integer."""
        return secrets.randbits(n)
