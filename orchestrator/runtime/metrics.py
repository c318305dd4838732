"""Every metric of the orchestrator's roles; the reference page is generated from `TABLE`."""

from contextlib import suppress
from typing import Final, Literal, NamedTuple

from prometheus_client import Counter, Gauge, Histogram

_LATENCY: Final = (
    *(0.001, 0.0025, 0.005, 0.01, 0.015, 0.025, 0.04, 0.06, 0.1, 0.15),
    *(0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 60.0),
)
_LONG: Final = (0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 120.0, 300.0, 600.0)
_SIZES: Final = (1, 2, 5, 10, 20, 50, 100, 200, 500, 1000, 2000, 5000)


class Metric(NamedTuple):
    """A row of the reference page."""

    name: str
    kind: Literal["counter", "gauge", "histogram"]
    labels: tuple[str, ...]
    what: str


TABLE: list[Metric] = []


def counter(name: str, what: str, *labels: str) -> Counter:
    """A counter, exposed as `<name>_total`."""
    TABLE.append(Metric(f"{name}_total", "counter", labels, what))
    return Counter(name, what, labels)


def gauge(name: str, what: str, *labels: str) -> Gauge:
    """A gauge."""
    TABLE.append(Metric(name, "gauge", labels, what))
    return Gauge(name, what, labels)


def histogram(
    name: str, what: str, *labels: str, buckets: tuple[float, ...] = _LATENCY
) -> Histogram:
    """A histogram, of seconds where nothing else is said."""
    TABLE.append(Metric(name, "histogram", labels, what))
    return Histogram(name, what, labels, buckets=buckets)


def forget(gauge: Gauge, *labels: str) -> None:
    """Tell it no more: another process does by now, and a sum over processes would count twice."""
    with suppress(KeyError):  # some releases of the client raise where nothing was told
        gauge.remove(*labels)


INPUTS = counter(
    "headrace_inputs",
    "Inputs in confirmed commits, by type and outcome: applied, repeated, parked, expired, "
    "refused, exception.",
    "type",
    "outcome",
)
DECISIONS = counter(
    "headrace_decided_events", "Decided events in confirmed commits, by type.", "type"
)
TAKEN = counter("headrace_intake_taken", "Records that intake put into an inbox, by type.", "type")
REJECTED = counter("headrace_rejected", "Records that intake rejected, by reason.", "reason")
DECIDE_SECONDS = histogram(
    "headrace_decide_seconds",
    "Time to decide and encode one batch.",
    "shard",
    buckets=_LATENCY,
)
BATCH_INPUTS = histogram(
    "headrace_batch_inputs", "Inputs of one commit, ticks left out.", "shard", buckets=_SIZES
)
COMMIT_BYTES = counter(
    "headrace_commit_bytes", "Bytes of confirmed commits, before compression.", "shard"
)
COMMIT_SECONDS = histogram(
    "headrace_commit_seconds",
    "Time from sending a commit to its acknowledgement.",
    "shard",
    buckets=_LATENCY,
)
SHARD_STATE = gauge(
    "headrace_shard_state",
    "1 for the state that a shard is in, in this process: closed, opening, open, pausing, halted.",
    "shard",
    "state",
)
SHARD_EPOCH = gauge("headrace_shard_epoch", "The epoch this process opened a shard with.", "shard")
SHARD_SEQ = gauge("headrace_shard_seq", "The newest confirmed commit of a shard.", "shard")
REOPENED = counter(
    "headrace_shard_closed",
    "How often a shard was left, by why: stop, fenced, clock, unknown, halted.",
    "shard",
    "why",
)
RECOVERED_EVENTS = counter(
    "headrace_recovered_events", "Inputs and decided events folded while opening.", "shard"
)
SNAPSHOT_SEQ = gauge(
    "headrace_snapshot_seq", "The commit at which this process last wrote a snapshot.", "shard"
)
SNAPSHOT_SECONDS = histogram(
    "headrace_snapshot_seconds", "Time to write a snapshot, in slices between other work.", "shard"
)
SNAPSHOT_BYTES = counter(
    "headrace_snapshot_bytes", "Bytes written for snapshots, before compression.", "shard"
)
SNAPSHOT_LOAD_SECONDS = histogram(
    "headrace_snapshot_load_seconds", "Time to find a snapshot and restore it.", "shard"
)
SNAPSHOTS_SKIPPED = counter(
    "headrace_snapshots_skipped",
    "Snapshots that were torn, corrupt or made by other code, and passed over.",
    "shard",
)
TAKEOVERS = counter(
    "headrace_takeovers",
    "How often a standby took a shard over because its journal stood still.",
    "shard",
)
AUDITS = counter("headrace_audits", "How often a shard's state was looked through.", "shard")
AUDIT_FINDINGS = counter(
    "headrace_audit_findings", "What did not add up, each time it was found.", "shard"
)
AUDIT_OPEN_FINDINGS = gauge(
    "headrace_audit_open_findings", "What did not add up at the newest look through.", "shard"
)
AUDIT_SECONDS = histogram(
    "headrace_audit_seconds",
    "Time to look a shard's state through, in slices between decisions.",
    "shard",
    buckets=_LONG,
)
LOOP_BLOCKED = histogram(
    "headrace_loop_blocked_seconds",
    "How long a process kept its own event loop from whoever was due, looked at 20 times a second,"
    " by the processor time that it used: what only waits (a disk, a name server, a lock) is not"
    " seen.",
    buckets=(0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 5.0),
)
READER_LAG = gauge(
    "headrace_reader_lag_records",
    "Records that a role has still to read, as of its newest fetch.",
    "role",
    "topic",
    "partition",
)
FOLLOWER_LAG = histogram(
    "headrace_follower_lag_seconds",
    "From the broker taking a commit to promises knowing of it.",
    buckets=_LATENCY,
)
PLACED_TO_JOURNAL = histogram(
    "headrace_placed_to_journal_seconds",
    "From the broker taking an order to its confirmed commit.",
    buckets=_LATENCY,
)
PLACED_TO_COMMAND = histogram(
    "headrace_placed_to_command_seconds",
    "From the broker taking an order to it taking the node's command.",
    buckets=_LATENCY,
)
PUBLISHED = counter(
    "headrace_published", "Events that relay, history and shadow published, by topic.", "topic"
)
PUBLISHER_HALTED = gauge(
    "headrace_publisher_halted",
    "1 where relay, history or shadow can't go on with a shard: see the log.",
    "role",
    "shard",
)
PUBLISHED_ANEW = counter(
    "headrace_published_anew",
    "How often relay, history or shadow found no offset saved, and published a journal that was not"
    " new from its beginning.",
    "role",
    "shard",
)
RELAY_RESTARTS = counter(
    "headrace_relay_restarts", "How often the relay went back to its checkpoint.", "shard"
)
HISTORY_RESTARTS = counter(
    "headrace_history_restarts", "How often the history went back to its checkpoint.", "shard"
)
SHADOW_RESTARTS = counter(
    "headrace_shadow_restarts", "How often the shadow went back to its checkpoint.", "shard"
)
HISTORY_COMPLETE = gauge(
    "headrace_history_complete_until_seconds",
    "Up to when history is complete, as its newest watermark says: seconds since 1970 UTC.",
    "shard",
)
KPI_RECORDS = counter(
    "headrace_kpi_records", "Records of history that role kpis counted.", "partition"
)
KPI_PASSED_OVER = counter(
    "headrace_kpi_passed_over",
    "Records of history that role kpis passed over, by why: repeat, closed (of a closed minute), "
    "failed (a defect, or not of this release).",
    "why",
)
KPI_SOUGHT = counter(
    "headrace_kpi_sought",
    "How often role kpis sought to where a partition is counted on, by topic.",
    "topic",
)
KPI_RESTARTS = counter("headrace_kpi_restarts", "How often role kpis began anew after a failure.")
KPI_COMPLETE = gauge(
    "headrace_kpi_complete_until_seconds",
    "Up to when live figures are published: seconds since 1970 UTC.",
)
KPI = gauge(
    "headrace_kpi",
    "Live figures of the newest closed windows (see the glossary). `dimension` is market, channel, "
    "node or carrier, `member` its id; `window` is minute or hour.",
    "window",
    "market_id",
    "dimension",
    "member",
    "figure",
)
ALERTS_OPEN = gauge(
    "headrace_alerts_open", "Alerts on live figures that are open, by rule.", "rule"
)
ORDERS_OPEN = gauge("headrace_open_orders", "Orders that are not closed.", "shard")
BACKORDERS = gauge("headrace_backordered_lines", "Order lines that wait for stock.", "shard")
EXCEPTIONS_OPEN = gauge("headrace_open_exceptions", "Exceptions that are not resolved.", "shard")
DEDUPE_DROPPED = gauge(
    "headrace_dedupe_ids_dropped",
    "Ids that left the deduplication window early, because too many came.",
    "shard",
)


def reference(*more: tuple[str, str, tuple[str, ...], str]) -> str:
    """The table of all metrics, in Markdown, with rows of packages that don't know this one."""
    rows = ["| Metric | Kind | Labels | Meaning |", "|---|---|---|---|"]
    for name, kind, labels, what in sorted([*TABLE, *more]):
        named = ", ".join(f"`{label}`" for label in labels) or "—"
        rows.append(f"| `{name}` | {kind} | {named} | {what} |")
    return "\n".join(rows) + "\n"
