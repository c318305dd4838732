"""Large pages: taken where the kernel gives them, and nothing else changes."""

import subprocess
import sys
from pathlib import Path
from typing import Final

import pytest

from orchestrator.runtime import large_pages

HELD: Final = """
import mmap, re, sys, threading
from pathlib import Path
from orchestrator.runtime import large_pages

def now(what):
    maps = Path("/proc/self/smaps_rollup").read_text()
    return int(re.search(rf"^{what}: +(\\d+) kB", maps, re.M)[1]) // 1024

waiting = threading.Event()
idle = [threading.Thread(target=waiting.wait, daemon=True) for _ in range(8)]
for one in idle:
    one.start()
held = [{"n": n} for n in range(700_000)]
half = mmap.mmap(-1, 128 << 20, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
half.write(bytes(98 << 20))
for at in range(98 << 20, 128 << 20, 16 << 10):
    half[at] = 1
before, there = now("AnonHugePages"), now("Rss")
taken = large_pages.collapse() >> 20
print(taken, now("AnonHugePages") - before, now("Rss") - there)
assert held[699_999] == {"n": 699_999}
"""
"""Holds some 160 MB, 98 of 128 in one piece and a quarter of the rest, and 8 idle threads.

It says what was taken, of that how much is there, and growth.
"""


@pytest.mark.slow
@pytest.mark.skipif(not large_pages.allowed(), reason="this system gives nobody large pages")
def test_what_is_held_lies_in_large_pages_and_takes_little_more() -> None:
    said = subprocess.run(
        [sys.executable, "-c", HELD], capture_output=True, text=True, check=True, timeout=60
    )
    taken, large, grown = map(int, said.stdout.split())
    if not taken:
        pytest.skip("this kernel is older than 6.1")
    assert taken > 180
    assert large <= taken
    assert large > taken // 2, "memory may be too scattered for all of it"
    assert grown < 16, "stacks of threads and what is not there are left alone"


def test_only_memory_that_is_there_and_not_large_is_asked_for() -> None:
    usual = (
        "Size: {size:>15} kB\nKernelPageSize:        4 kB\nMMUPageSize:           4 kB\n"
        "Rss:  {rss:>15} kB\nPss:                0 kB\n"
        "AnonHugePages: {large:>5} kB\nVmFlags: rd wr mr mw me ac\n"
    )
    maps = "".join(
        f"{head}\n{usual.format(size=size, rss=rss, large=large)}"
        for head, size, rss, large in (
            (
                "55e000000000-55e000800000 rw-p 00000000 00:00 0                  [heap]",
                8192,
                8000,
                6144,
            ),
            ("7f0000000000-7f0000800000 rw-p 00000000 00:00 0 ", 8192, 6144, 0),
            ("7f1000000000-7f1000800000 rw-p 00000000 00:00 0 ", 8192, 40, 0),
            ("7f2000000000-7f2000800000 r--p 00000000 00:00 0 ", 8192, 8192, 0),
            ("7f3000000000-7f3000800000 rw-p 00000000 fe:00 77    /lib/some.so", 8192, 8192, 0),
            ("7f5000000000-7f5000800000 rw-p 00000000 00:00 0 ", 8192, 8192, 8192),
            ("7f4000000000-7f4000100000 rw-p 00000000 00:00 0 ", 1024, 1024, 0),
        )
    )
    assert list(large_pages._filled(maps)) == [
        (0x55E000000000, 0x55E000800000),
        (0x7F0000000000, 0x7F0000800000),
    ]


def test_nothing_is_asked_for_where_the_system_says_never(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    mode = tmp_path / "enabled"
    monkeypatch.setattr(large_pages, "_MODE", mode)
    assert not large_pages.allowed(), "not told"
    mode.write_text("always madvise [never]\n", encoding="ascii")
    assert not large_pages.allowed()
    assert large_pages.collapse() == 0
    if sys.platform == "linux":
        mode.write_text("always [madvise] never\n", encoding="ascii")
        assert large_pages.allowed()


def test_it_is_done_again_once_the_process_has_grown_by_a_tenth(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    resident, done = tmp_path / "statm", list[str]()
    monkeypatch.setattr(large_pages, "_RESIDENT", resident)
    monkeypatch.setattr(large_pages, "collapse", lambda: done.append(resident.read_text()))
    kept = large_pages.Kept()
    kept.look()
    assert not done, "not told"
    for pages in ("1000", "1000", "1100", "1101", "1200", "900", "1212"):
        resident.write_text(f"5000 {pages} 300 1 0 2000 0\n", encoding="ascii")
        kept.look()
    assert [one.split()[1] for one in done] == ["1000", "1101", "1212"]
