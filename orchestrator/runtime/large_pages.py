"""Large pages: what a process holds for long, in pages of 2 MB where Linux has them.

A decision reads some hundred objects that lie anywhere in hundreds of MB. In pages of 4 KB the
processor knows the addresses of few of them, and looking one up takes longer than what is done with
it. Python doesn't ask for larger pages, and where the system gives them to who asks only
(`madvise`, as most do), nobody has them. Where it is set to `never`, or isn't Linux from 6.1 on,
nothing is asked for.
"""

import asyncio
import ctypes
import mmap
import re
import sys
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Final

_PAGE: Final = 2 << 20
_COLLAPSE: Final = 25  # MADV_COLLAPSE
_EVERY_S: Final = 10.0
_GROWN: Final = 1.1
_PAUSE_S: Final = 0.05  # between pages: all at once, a role stands still for a quarter of a second
_MODE: Final = Path("/sys/kernel/mm/transparent_hugepage/enabled")
_MAPS: Final = Path("/proc/self/smaps")
_RESIDENT: Final = Path("/proc/self/statm")
_MAP: Final = re.compile(
    r"^([0-9a-f]+)-([0-9a-f]+) rw-p 0+ 00:00 0 *(?:\[heap\])?\nSize: +(\d+) kB\n"
    r"(?:(?!Rss).*\n)*Rss: +(\d+) kB\n"
    r"(?:(?!AnonHugePages).*\n)*AnonHugePages: +(\d+) kB\n",
    re.MULTILINE,
)
"""Memory that no file backs, as the kernel lists it: from, to, size, what is there, and large."""


def allowed() -> bool:
    """Whether the system gives large pages to who asks."""
    with suppress(OSError):
        return sys.platform == "linux" and "[never]" not in _MODE.read_text(encoding="ascii")
    return False


def collapse() -> int:
    """Put what is there by now into large pages; in how many bytes that succeeded."""
    return sum(collapsing())


def collapsing() -> Iterator[int]:
    """The same page by page: in how many bytes of it that succeeded.

    Only where memory is nearly full of what is there, so that the process grows by little.
    Whoever asks for memory meanwhile waits, for some ms a page.
    """
    if not allowed():
        return
    system = ctypes.CDLL(None)
    advise, resident = system.madvise, system.mincore
    advise.argtypes = (ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int)
    resident.argtypes = (ctypes.c_void_p, ctypes.c_size_t, ctypes.c_char_p)
    there = ctypes.create_string_buffer(_PAGE // mmap.PAGESIZE)
    for begin, end in _filled(_MAPS.read_text(encoding="utf-8", errors="replace")):
        first = -(-begin // _PAGE) * _PAGE
        for page in range(first, end - _PAGE + 1, _PAGE):
            # It may have been given back since, and something else may lie there.
            full = resident(page, _PAGE, there) == 0 and sum(there.raw) * 4 >= len(there) * 3
            yield _PAGE if full and advise(page, _PAGE, _COLLAPSE) == 0 else 0


def _filled(maps: str) -> Iterator[tuple[int, int]]:
    """Where three quarters are there, unlike of threads' stacks, and a tenth of it isn't large."""
    for found in _MAP.finditer(maps):
        begin, end = int(found[1], 16), int(found[2], 16)
        size, there, large = map(int, found.groups()[2:])
        if end - begin >= _PAGE and there * 4 >= size * 3 and large * 10 <= there * 9:
            yield begin, end


class Kept:
    """A process that is put into large pages again whenever it has grown by a tenth."""

    def __init__(self) -> None:
        self._before = 0

    def due(self) -> bool:
        """Whether it is time; cheap to ask."""
        with suppress(OSError):  # what the process is told of itself is kept from it
            now = int(_RESIDENT.read_text(encoding="ascii").split()[1])
            if now > self._before * _GROWN:
                self._before = now
                return True
        return False

    def look(self) -> None:
        """Do it if it is time."""
        if self.due():
            collapse()


async def keep_large() -> None:
    """Look every ten seconds, beside the loop, until cancelled."""
    kept = Kept()
    while allowed():
        if kept.due():
            pages = collapsing()
            # The kernel's work, nothing of a role's.
            while await asyncio.to_thread(next, pages, None) is not None:  # noqa: ASYNC110, TID251
                await asyncio.sleep(_PAUSE_S)
        await asyncio.sleep(_EVERY_S)
