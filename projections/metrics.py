"""Every metric of the roles projector and past; the reference page is generated from `TABLE`."""

from collections.abc import Iterator
from typing import Final, NamedTuple, TypeAlias

from prometheus_client import Counter, Gauge, Histogram

from projections.schema import Kind

_SECONDS: Final = (0.002, 0.005, 0.01, 0.02, 0.04, 0.06, 0.1, 0.15, 0.25, 0.5, 1.0, 2.5, 10.0, 60.0)

_Said: TypeAlias = tuple[str, str, tuple[str, ...], str]


def _table(role: str, rows: str, write: str, common: str) -> Iterator[_Said]:
    """The metrics of a role by the beginnings of their names, in the order of `Metrics`."""
    yield f"{rows}_rows_total", "counter", ("shard",), f"Rows that the {role} wrote."
    yield f"{write}_write_seconds", "histogram", ("shard",), f"Time of a transaction of the {role}."
    yield (
        f"{common}_lag_records",
        "gauge",
        ("shard",),
        f"Journal records still to be taken in by the {role}, as of the newest fetch.",
    )
    yield (
        f"{common}_reloads_total",
        "counter",
        ("shard", "why"),
        f"How often the {role} went back to its checkpoint, by why: raced, failed.",
    )
    yield (
        f"{common}_halted",
        "gauge",
        ("shard",),
        f"1 where the {role} can't go on by the journal: see the log.",
    )


_PROJECTOR: Final = tuple(
    _table("projector", "headrace_projected", "headrace_project", "headrace_projection")
)
_PAST_ROLE: Final = tuple(_table("past", *("headrace_past",) * 3))
_PLACED: Final = (
    "headrace_placed_to_readable_seconds",
    "histogram",
    (),
    "From the broker taking an order to its row being committed.",
)
TABLE: Final = (*_PROJECTOR, _PLACED, *_PAST_ROLE)


class Metrics(NamedTuple):
    """Of one role."""

    rows: Counter
    write_seconds: Histogram
    lag: Gauge
    reloads: Counter
    halted: Gauge


def _metrics(said: tuple[_Said, ...]) -> Metrics:
    (rows, write_seconds, lag, reloads, halted) = [
        (name.removesuffix("_total"), what, labels) for name, _, labels, what in said
    ]
    return Metrics(
        Counter(*rows),
        Histogram(*write_seconds, buckets=_SECONDS),
        Gauge(*lag),
        Counter(*reloads),
        Gauge(*halted),
    )


OF: Final[dict[Kind, Metrics]] = {
    "read models": _metrics(_PROJECTOR),
    "past": _metrics(_PAST_ROLE),
}
"""By what the role writes."""

PLACED_TO_READABLE = Histogram(_PLACED[0], _PLACED[3], _PLACED[2], buckets=_SECONDS)
