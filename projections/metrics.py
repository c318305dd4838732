"""Every metric of the projector; the reference page is generated from `TABLE`."""

from typing import Final

from prometheus_client import Counter, Gauge, Histogram

_SECONDS: Final = (0.002, 0.005, 0.01, 0.02, 0.04, 0.06, 0.1, 0.15, 0.25, 0.5, 1.0, 2.5, 10.0, 60.0)

TABLE: Final = (
    ("headrace_projected_rows_total", "counter", ("shard",), "Rows that the projector wrote."),
    ("headrace_project_write_seconds", "histogram", ("shard",), "Time of one transaction."),
    (
        "headrace_placed_to_readable_seconds",
        "histogram",
        (),
        "From the broker taking an order to its row being committed.",
    ),
    (
        "headrace_projection_lag_records",
        "gauge",
        ("shard",),
        "Journal records still to be projected, as of the newest fetch.",
    ),
    (
        "headrace_projection_reloads_total",
        "counter",
        ("shard", "why"),
        "How often the projector went back to its checkpoint, by why: raced, failed.",
    ),
    (
        "headrace_projection_halted",
        "gauge",
        ("shard",),
        "1 where the journal can't be projected on: see the log.",
    ),
)

_WHAT = {name: (what, labels) for name, _, labels, what in TABLE}

ROWS = Counter("headrace_projected_rows", *_WHAT["headrace_projected_rows_total"])
WRITE_SECONDS = Histogram(
    "headrace_project_write_seconds", *_WHAT["headrace_project_write_seconds"], buckets=_SECONDS
)
PLACED_TO_READABLE = Histogram(
    "headrace_placed_to_readable_seconds",
    *_WHAT["headrace_placed_to_readable_seconds"],
    buckets=_SECONDS,
)
LAG = Gauge("headrace_projection_lag_records", *_WHAT["headrace_projection_lag_records"])
RELOADS = Counter("headrace_projection_reloads", *_WHAT["headrace_projection_reloads_total"])
HALTED = Gauge("headrace_projection_halted", *_WHAT["headrace_projection_halted"])
