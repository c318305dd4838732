"""Charts as SVG that stands within a page: no script, nothing to load."""

from collections.abc import Mapping, Sequence
from html import escape
from typing import Final, NamedTuple

COLORS: Final = ("#5b6470", "#0b7285", "#d9480f", "#5f3dc4", "#2b8a3e", "#a61e4d", "#1864ab")
"""Of the baseline, then of each variant; in turn where there are more."""
PARTS: Final = ("#0b7285", "#3bc9db", "#c5f6fa", "#d9480f", "#ffa94d", "#ffe066", "#868e96")
_WIDTH: Final = 720
_STEPS: Final = (1, 2, 2.5, 5, 10)
_APART: Final = 14.0  # bands of a node from the next: their names need a line each


class Point(NamedTuple):
    """A dot with its name."""

    name: str
    x: float
    y: float


class Flow(NamedTuple):
    """Units that went from one to another."""

    from_: str
    to: str
    units: int


def color(number: int) -> str:
    """Of the baseline (0) or of a variant."""
    return COLORS[0] if number == 0 else COLORS[1 + (number - 1) % (len(COLORS) - 1)]


def scatter(points: Sequence[Point], x_title: str, y_title: str) -> str:
    """Dots with their names, the first being what the others are compared with."""
    height, left, right, top, bottom = 300, 70, 150, 16, 46
    x_from, x_to, x_ticks = _axis([one.x for one in points])
    y_from, y_to, y_ticks = _axis([one.y for one in points])

    def x_of(value: float) -> float:
        return left + (value - x_from) / (x_to - x_from) * (_WIDTH - left - right)

    def y_of(value: float) -> float:
        return height - bottom - (value - y_from) / (y_to - y_from) * (height - top - bottom)

    parts = [
        *(
            _line(x_of(tick), top, x_of(tick), height - bottom, "grid")
            + _text(x_of(tick), height - bottom + 18, _number(tick), "middle")
            for tick in x_ticks
        ),
        *(
            _line(left, y_of(tick), _WIDTH - right, y_of(tick), "grid")
            + _text(left - 8, y_of(tick) + 4, _number(tick), "end")
            for tick in y_ticks
        ),
        _text((left + _WIDTH - right) / 2, height - 6, x_title, "middle", "title"),
        (
            f'<text transform="translate(16 {(top + height - bottom) / 2}) rotate(-90)"'
            f' text-anchor="middle" class="title">{escape(y_title)}</text>'
        ),
    ]
    for number, one in enumerate(points):
        x, y = x_of(one.x), y_of(one.y)
        parts.append(
            f'<circle cx="{x:.1f}" cy="{y:.1f}" r="7" fill="{color(number)}">'
            f"<title>{escape(one.name)}: {_number(one.x)}, {_number(one.y)}</title></circle>"
        )
        parts.append(_text(x + 12, y + 4 + 14 * _above(points, number), one.name, "start", "name"))
    return _svg(height, parts, f"{y_title} against {x_title}")


def _above(points: Sequence[Point], number: int) -> int:
    """How many names to move down past those of equal dots before."""
    here = points[number]
    return sum((one.x, one.y) == (here.x, here.y) for one in points[:number])


def stacked(rows: Mapping[str, Sequence[float]], parts: Sequence[str], unit: str) -> str:
    """A bar a row, in parts, with a legend."""
    left, bar, gap, top = 170, 22, 12, 30
    height = top + len(rows) * (bar + gap) + 28
    _, most, ticks = _axis([0.0, *(sum(values) for values in rows.values())], from_zero=True)
    scale = (_WIDTH - left - 70) / most
    drawn: list[str] = []
    x = float(left)
    for number, name in enumerate(parts):
        if not any(values[number] for values in rows.values()):
            continue
        drawn.append(
            f'<rect x="{x:.0f}" y="4" width="11" height="11" fill="{PARTS[number]}"/>'
            + _text(x + 16, 14, name, "start")
        )
        x += 28 + 7.2 * len(name)
    for tick in ticks:
        drawn.append(_line(left + tick * scale, top - 6, left + tick * scale, height - 24, "grid"))
        drawn.append(_text(left + tick * scale, height - 8, _number(tick), "middle"))
    for place, (name, values) in enumerate(rows.items()):
        y = top + place * (bar + gap)
        drawn.append(_text(left - 10, y + 15, _short(name, 20), "end", "name"))
        x = float(left)
        for number, value in enumerate(values):
            if value > 0:
                drawn.append(
                    f'<rect x="{x:.1f}" y="{y}" width="{value * scale:.1f}" height="{bar}"'
                    f' fill="{PARTS[number]}"><title>{escape(parts[number])}:'
                    f" {_number(value)} {escape(unit)}</title></rect>"
                )
                x += value * scale
        drawn.append(_text(x + 6, y + 15, _number(sum(values)), "start"))
    return _svg(height, drawn, f"By component, {unit}")


def flows(some: Sequence[Flow], color_: str) -> str:
    """Units that moved: bands from the nodes on the left to those on the right."""
    from_ = _sides([(one.from_, one.units) for one in some])
    to = _sides([(one.to, one.units) for one in some])
    height = max(60, 16 + 28 * max(len(from_), len(to)))
    total = sum(one.units for one in some)
    room = height - 16
    left, right = 130, _WIDTH - 130

    def places(side: Mapping[str, int], scale: float) -> dict[str, float]:
        found, y = {}, 8.0
        for name, units in side.items():
            found[name] = y
            y += units * scale + _APART
        return found

    drawn: list[str] = []
    scales = [(room - _APART * (len(side) - 1)) / total for side in (from_, to)]
    starts, ends = places(from_, scales[0]), places(to, scales[1])
    for side, place, scale, x, anchor in (
        (from_, starts, scales[0], left, "end"),
        (to, ends, scales[1], right, "start"),
    ):
        for name, units in side.items():
            y, size = place[name], units * scale
            drawn.append(
                f'<rect x="{x - (10 if anchor == "end" else 0)}" y="{y:.1f}" width="10"'
                f' height="{max(1.0, size):.1f}" fill="#868e96"/>'
            )
            said = f"{_short(name, 14)} {'-' if anchor == 'end' else '+'}{units:,}"
            beside = x - 16 if anchor == "end" else x + 16
            drawn.append(_text(beside, y + size / 2 + 4, said, anchor))
    for one in sorted(some, key=lambda flow: (list(from_).index(flow.from_), -flow.units)):
        y1, y2 = starts[one.from_], ends[one.to]
        s1, s2 = one.units * scales[0], one.units * scales[1]
        starts[one.from_] += s1
        ends[one.to] += s2
        middle = (left + right) / 2
        drawn.append(
            f'<path d="M{left} {y1:.1f} C{middle} {y1:.1f} {middle} {y2:.1f} {right} {y2:.1f}'
            f" L{right} {y2 + s2:.1f} C{middle} {y2 + s2:.1f} {middle} {y1 + s1:.1f}"
            f' {left} {y1 + s1:.1f} Z" fill="{color_}" opacity="0.45"><title>'
            f"{one.units:,} units from {escape(one.from_)} to {escape(one.to)}</title></path>"
        )
    return _svg(height, drawn, "Units that left from another node")


def _sides(ends: Sequence[tuple[str, int]]) -> dict[str, int]:
    units: dict[str, int] = {}
    for name, count in ends:
        units[name] = units.get(name, 0) + count
    return dict(sorted(units.items(), key=lambda one: -one[1]))


def days(title: str, lines: Mapping[str, Mapping[str, int]], all_days: Sequence[str]) -> str:
    """A small chart: a line a run over days."""
    width, height, left, bottom, top = 340, 130, 40, 22, 24
    most = max([1, *(units for line in lines.values() for units in line.values())])
    _, y_to, ticks = _axis([0, most], from_zero=True, count=3)

    def x_of(number: int) -> float:
        return left + number / max(1, len(all_days) - 1) * (width - left - 12)

    def y_of(value: float) -> float:
        return height - bottom - value / y_to * (height - top - bottom)

    parts = [_text(left, 14, title, "start", "name")]
    for tick in ticks:
        parts.append(_line(left, y_of(tick), width - 12, y_of(tick), "grid"))
        parts.append(_text(left - 6, y_of(tick) + 4, _number(tick), "end"))
    for number in sorted({0, len(all_days) - 1}):
        anchor = "start" if number == 0 else "end"
        parts.append(_text(x_of(number), height - 6, all_days[number][5:], anchor))
    for number, (name, line) in reversed([*enumerate(lines.items())]):  # the baseline on top
        dots = [(x_of(n), y_of(line.get(day, 0))) for n, day in enumerate(all_days)]
        path = " ".join(f"{x:.1f},{y:.1f}" for x, y in dots)
        if len(dots) == 1:
            parts.append(
                f'<circle cx="{dots[0][0] + 9 * number:.1f}" cy="{dots[0][1]:.1f}" r="4"'
                f' fill="{color(number)}"><title>{escape(name)}</title></circle>'
            )
            continue
        dash = ' stroke-dasharray="5 3"' if number == 0 else ""
        parts.append(
            f'<polyline points="{path}" fill="none" stroke="{color(number)}" stroke-width="2"'
            f"{dash}><title>{escape(name)}</title></polyline>"
        )
    return _svg(height, parts, f"{title}: fulfillments by ship day", width)


def _axis(
    values: Sequence[float], *, from_zero: bool = False, count: int = 5
) -> tuple[float, float, list[float]]:
    """From, to and ticks that hold the values."""
    low = 0.0 if from_zero else min(values)
    high = max(values)
    if high <= low:
        low, high = (low - abs(low) * 0.1 - 1, high + abs(high) * 0.1 + 1) if low else (0.0, 1.0)
    elif not from_zero:
        margin = (high - low) * 0.15
        low, high = low - margin if low - margin > 0 or low < 0 else 0.0, high + margin
    step = 1e-9
    rough = (high - low) / count
    while step * 10 < rough:
        step *= 10
    step = next(step * one for one in _STEPS if step * one >= rough)
    first = int(low / step) * step - (step if low < 0 else 0)
    ticks = [first + n * step for n in range(count + 3) if low <= first + n * step <= high * 1.0001]
    return low, high, ticks


def _number(value: float) -> str:
    if abs(value) >= 1_000:  # noqa: PLR2004 - as people read
        return f"{value:,.0f}"
    return f"{value:.2f}".rstrip("0").rstrip(".")


def _short(name: str, most: int) -> str:
    return name if len(name) <= most else f"{name[: most - 1]}…"


def _text(x: float, y: float, text: str, anchor: str, class_: str = "tick") -> str:
    return (
        f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}" class="{class_}">'
        f"{escape(text)}</text>"
    )


def _line(x1: float, y1: float, x2: float, y2: float, class_: str) -> str:
    return f'<line x1="{x1:.1f}" y1="{y1:.1f}" x2="{x2:.1f}" y2="{y2:.1f}" class="{class_}"/>'


def _svg(height: float, parts: Sequence[str], label: str, width: int = _WIDTH) -> str:
    inside = "\n".join(parts)
    return (
        f'<svg viewBox="0 0 {width} {height:.0f}" width="{width}" role="img"'
        f' aria-label="{escape(label)}">\n{inside}\n</svg>'
    )
