"""What a bench says: figures beside their targets, and the machine they were measured on."""

import json
import os
import platform
import statistics
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from rich.console import Console
from rich.table import Table

from orchestrator import installed

RESULTS: Final = Path(__file__).with_name("results")
"""One file a bench, not committed but for `latest.json`: a release's figures."""

console: Final = Console(
    highlight=False, soft_wrap=True, width=None if sys.stdout.isatty() else 150
)


@dataclass(frozen=True, slots=True)
class Figure:
    """One thing that was measured, once or in several runs. Without a target it only informs."""

    name: str
    unit: str
    values: Sequence[float]
    at_least: float | None = None
    at_most: float | None = None
    note: str = ""

    @property
    def median(self) -> float:
        """The median of the runs."""
        return statistics.median(self.values)

    @property
    def ok(self) -> bool | None:
        """Whether the median meets the target; None without one."""
        if self.at_least is not None:
            return self.median >= self.at_least
        if self.at_most is not None:
            return self.median <= self.at_most
        return None

    @property
    def target(self) -> str:
        """For a person."""
        if self.at_least is not None:
            return f"≥ {shown(self.at_least)}"
        return "" if self.at_most is None else f"≤ {shown(self.at_most)}"

    def as_json(self) -> dict[str, Any]:
        """For a file."""
        return {
            "figure": self.name,
            "unit": self.unit,
            "median": self.median,
            "values": list(self.values),
            "at_least": self.at_least,
            "at_most": self.at_most,
            "ok": self.ok,
            "note": self.note,
        }


@dataclass(slots=True)
class Result:
    """What one bench found: figures, and details that explain them."""

    bench: str
    figures: list[Figure] = field(default_factory=list)
    details: dict[str, Any] = field(default_factory=dict)


def say(text: str) -> None:
    """Progress, with the time."""
    console.print(f"[dim]{time.strftime('%H:%M:%S')}[/dim] {text}")


def shown(value: float) -> str:
    """A number as a person reads it."""
    return f"{value:,.0f}" if abs(value) >= 100 else f"{value:.3g}"


def machine() -> dict[str, str]:
    """What the figures were measured on."""
    cpu = next(
        (
            line.partition(":")[2].strip()
            for line in _lines("/proc/cpuinfo")
            if line.startswith("model name")
        ),
        platform.processor(),
    )
    memory = next(
        (int(line.split()[1]) for line in _lines("/proc/meminfo") if line.startswith("MemTotal")), 0
    )
    return {
        "cpu": cpu or platform.machine(),
        "cores": str(len(os.sched_getaffinity(0))),
        "memory": f"{memory / 1_048_576:.1f} GiB",
        "kernel": platform.release(),
        "python": platform.python_version(),
        "headrace": installed.release(),
        "core": installed.core(),
        "fdatasync": f"{_fdatasync_us():.0f} µs",
        "load": " ".join(f"{load:.2f}" for load in os.getloadavg()),
    }


def _fdatasync_us() -> float:
    """What a small durable write takes where temporary servers keep their data; the median."""
    times = []
    with tempfile.TemporaryFile() as file:
        for _ in range(100):
            began = time.perf_counter()
            os.pwrite(file.fileno(), b"x" * 8_192, 0)
            os.fdatasync(file.fileno())
            times.append((time.perf_counter() - began) * 1e6)
    return statistics.median(times)


def _lines(path: str) -> list[str]:
    try:
        return Path(path).read_text(encoding="utf-8").splitlines()
    except OSError:
        return []


def print_table(results: Sequence[Result]) -> None:
    """All figures; misses stand out."""
    table = Table(title="Headrace: speed and size")
    for name in ("bench", "figure"):
        table.add_column(name)
    for name in ("target", "median", "runs"):
        table.add_column(name, justify="right")
    for name in ("unit", "", "note"):
        table.add_column(name)
    for result in results:
        for figure in result.figures:
            verdict = {True: "[green]ok[/]", False: "[bold red]MISSED[/]", None: ""}[figure.ok]
            spread = (
                f"{shown(min(figure.values))}…{shown(max(figure.values))}"
                if len(figure.values) > 1
                else ""
            )
            table.add_row(
                result.bench,
                figure.name,
                figure.target,
                shown(figure.median),
                spread,
                figure.unit,
                verdict,
                figure.note,
            )
    console.print(table)


def write(name: str, content: dict[str, Any]) -> Path:
    """Write `results/<name>.json`."""
    RESULTS.mkdir(exist_ok=True)
    path = RESULTS / f"{name}.json"
    path.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")
    return path
