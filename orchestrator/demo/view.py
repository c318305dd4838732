"""What the demo shows: a live screen on a terminal, plain lines without one."""

from collections import deque
from typing import Final, NamedTuple, Self

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.panel import Panel
from rich.table import Table
from rich.text import Text

from orchestrator.demo.audit import Report
from orchestrator.demo.meter import quantile
from orchestrator.demo.network import CURRENCY
from orchestrator.demo.readmodel import Totals

_STATUSES: Final = (
    *("accepted", "backordered", "partly_allocated", "allocated", "partly_shipped", "shipped"),
    *("partly_delivered", "delivered", "cancelled", "refused"),
)
_STYLES: Final = {"delivered": "green", "backordered": "yellow", "refused": "red"}
_BAR: Final = 16
_COUNT: Final = 7  # characters
_RATE_OVER_S: Final = 5.0
_LINE_EVERY_S: Final = 2.0


class Frame(NamedTuple):
    """One moment of the demo."""

    at_s: float
    doing: str
    wanted: int | None  # orders to send in all; None: without end
    placed: int
    nodes: int
    items: int
    totals: Totals | None
    latencies_ms: list[int]  # of the newest orders


class View:
    """Shows frames. `links` are lines on where to look further."""

    def __init__(self, console: Console, links: dict[str, str]) -> None:
        """A live screen where the console is a terminal."""
        self._console = console
        self._links = links
        self._past: deque[tuple[float, int, int]] = deque()
        self._said_at_s = -_LINE_EVERY_S
        self._live: Live | None = None
        self._closed = False
        if console.is_terminal:
            self._live = Live(console=console, auto_refresh=False)
        else:
            for name, where in links.items():
                self.say(f"{name}: {where}")

    def __enter__(self) -> Self:
        """Take over the screen."""
        if self._live:
            self._live.start()
        return self

    def __exit__(self, *_: object) -> None:
        """Give it back."""
        self.close()

    def close(self) -> None:
        """The last frame stays; from now on there are only lines."""
        if self._live:
            self._live.stop()
            self._live = None
        self._closed = True

    def say(self, sentence: str) -> None:
        """One line for good."""
        self._console.print(sentence, highlight=False, soft_wrap=True)

    def show(self, frame: Frame) -> None:
        """The newest state of things."""
        delivered = frame.totals.orders.get("delivered", 0) if frame.totals else 0
        self._past.append((frame.at_s, frame.placed, delivered))
        while self._past[0][0] < frame.at_s - _RATE_OVER_S:
            self._past.popleft()
        if self._live:
            self._live.update(self._screen(frame), refresh=True)
        elif self._closed:
            pass
        elif frame.at_s - self._said_at_s >= _LINE_EVERY_S:
            self._said_at_s = frame.at_s
            self.say(self._line(frame))

    def _rates(self) -> tuple[float, float]:
        """Orders placed and delivered a second, lately."""
        (then, placed_then, delivered_then), (now, placed, delivered) = (
            self._past[0],
            self._past[-1],
        )
        seconds = max(now - then, 0.1)
        return (placed - placed_then) / seconds, (delivered - delivered_then) / seconds

    def _line(self, frame: Frame) -> str:
        parts = [f"{frame.at_s:5.0f} s  {frame.doing}", f"placed {frame.placed:,}"]
        if frame.totals:
            parts += [
                f"{status.replace('_', ' ')} {frame.totals.orders[status]:,}"
                for status in _STATUSES
                if status in frame.totals.orders
            ]
            parts.append(f"on hand {frame.totals.on_hand:,} units")
            parts.append(f"exceptions {sum(frame.totals.exceptions.values()):,}")
        parts.append(f"placed to command {_latency(frame.latencies_ms)}")
        return " | ".join(parts)

    def _screen(self, frame: Frame) -> RenderableType:
        placed_rate, delivered_rate = self._rates()
        wanted = "" if frame.wanted is None else f" of {frame.wanted:,}"
        orders = Table.grid(padding=(0, 1))
        orders.add_column(no_wrap=True, min_width=max(map(len, _STATUSES)))
        orders.add_column(no_wrap=True, min_width=_COUNT, justify="right")
        orders.add_column(no_wrap=True)
        totals = frame.totals
        if totals:
            most = max(totals.orders.values(), default=1)
            for status in _STATUSES:
                count = totals.orders.get(status, 0)
                bar = "█" * round(_BAR * count / most)
                orders.add_row(
                    status.replace("_", " "),
                    f"{count:,}",
                    Text(bar, _STYLES.get(status, "cyan")),
                )
        facts = Table.grid(padding=(0, 1))
        facts.add_column(no_wrap=True, min_width=16)
        facts.add_column()
        facts.add_row("orders placed", f"{frame.placed:,}{wanted}  ({placed_rate:.0f}/s)")
        if totals:
            facts.add_row("orders read", f"{totals.taken:,}")
            facts.add_row("delivered", f"{delivered_rate:.0f} orders/s")
            facts.add_row("in flight", f"{totals.in_flight:,} orders")
        facts.add_row("placed → command", _latency(frame.latencies_ms))
        facts.add_row("network", f"{frame.nodes} nodes, {frame.items:,} items")
        if totals:
            facts.add_row("stock on hand", f"{totals.on_hand:,} units")
            facts.add_row("  reserved, held", f"{totals.reserved:,}, {totals.held:,}")
            facts.add_row("units backordered", f"{totals.backordered:,}")
            kinds = ", ".join(f"{count} {kind}" for kind, count in totals.exceptions.items())
            facts.add_row("open exceptions", kinds or "none")
        columns = Table.grid(padding=(0, 2))
        columns.add_row(orders, facts)
        links = [Text(f"{name}: {where}") for name, where in self._links.items()]
        return Panel(
            Group(columns, Text(), *links),
            title=f"Headrace demo: {frame.doing}",
            subtitle=f"{frame.at_s:.0f} s, Ctrl-C stops",
            expand=False,
        )


def _latency(latencies_ms: list[int]) -> str:
    p50, p99 = quantile(latencies_ms, 0.5), quantile(latencies_ms, 0.99)
    return "not yet measured" if p50 is None else f"p50 {p50} ms, p99 {p99} ms"


def summary(report: Report) -> list[str]:
    """The run in numbers, one line each."""
    figures = report.figures
    orders, allocated = max(figures.placed, 1), max(figures.allocated, 1)
    return [
        f"placed                        {figures.placed:>9,} orders",
        f"allocated                     {figures.allocated:>9,}",
        f"  split over nodes            {figures.split:>9,}  {figures.split / allocated:.1%}",
        f"  planned late                {figures.late:>9,}",
        f"  cost of a plan              {figures.cost_minor / allocated / 100:>9.2f} {CURRENCY}",
        f"backordered at some time      {figures.backordered:>9,}",
        f"  still waiting for stock     {figures.waiting:>9,}",
        f"rejected by a WMS             {figures.rejected_by_wms:>9,} fulfillments",
        f"  re-sourced at once          {figures.re_sourced:>9,}",
        f"delivered in full             {figures.delivered:>9,} orders",
        f"cancelled in full             {figures.cancelled:>9,}",
        f"refused                       {figures.refused:>9,}",
        f"units shipped                 {figures.units_shipped:>9,}",
        f"units oversold                {figures.units_oversold:>9,}",
        f"placed → command              {_latency(list(figures.decided_in_ms)):>9}",
        f"journal bytes an order        {figures.journal_bytes_compressed // orders:>9,}",
        f"  uncompressed                {figures.journal_bytes // orders:>9,}",
    ]
