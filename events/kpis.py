"""What stands on the topics `kpis` and `alerts`: live figures by window, and what crossed a line.

Every rate is a ratio of sums over its window, never an average of averages.
"""

from typing import ClassVar, Literal

from pydantic import Field

from events.base import Channel, Instant, MarketId, Model, NodeId, Output, Text, Word

Window = Literal["minute", "hour"]
Dimension = Literal["market", "channel", "node", "carrier"]
Severity = Literal["low", "medium", "high"]


class KpiCounts(Model):
    """What happened in a window, in whole numbers. Sums over windows are sums of these."""

    placed: int = Field(description="orders taken or refused, each once")
    refused: int = Field(description="of those, orders refused")
    planned: int = Field(description="plans decided, also those that found no unit")
    allocated: int = Field(description="plans with a leg; of a node or carrier: legs")
    split: int = Field(description="of those, in plans of more than one leg")
    backordered: int = Field(description="plans after which units of the order wait for stock")
    units_wanted: int = Field(description="units that a plan was made for; of a node: answered")
    units_found: int = Field(description="of those, units with a source; of a node: shipped")
    cost_minor: int = Field(description="what the plans cost, in the market's minor units")
    paid_minor: int = Field(description="of that, transport, handling and per unit, which are paid")
    first_planned: int = Field(description="orders that got a source for the first time")
    first_paid_minor: int = Field(description="what is paid of what these plans cost")
    shipped: int = Field(description="shipments that left")
    units_shipped: int = Field(description="their units, as the node told them")
    delivered: int = Field(description="deliveries")
    lead_ms: int = Field(description="milliseconds from placing to delivery, over deliveries")
    due: int = Field(description="deliveries of orders with a promise")
    on_time: int = Field(description="of those, delivered by what was promised")
    promises_kept: int = Field(description="orders whose promise was kept")
    promises_broken: int = Field(description="orders whose promise was broken")
    exceptions: int = Field(description="exceptions opened")


class KpiRates(Model):
    """Ratios of the counts; absent where the denominator is 0."""

    placed_per_minute: float = Field(description="placed / the window's minutes")
    allocated_per_minute: float = Field(description="allocated / the window's minutes")
    shipped_per_minute: float = Field(description="shipped / the window's minutes")
    lead_time_s: float | None = Field(None, description="lead_ms / 1000 / delivered")
    on_time_rate: float | None = Field(None, description="on_time / due")
    fill_rate: float | None = Field(None, description="units_found / units_wanted")
    backorder_rate: float | None = Field(None, description="backordered / planned")
    split_rate: float | None = Field(None, description="split / allocated")
    cost_per_plan_minor: float | None = Field(None, description="cost_minor / allocated")
    cost_per_order_minor: float | None = Field(None, description="first_paid_minor / first_planned")
    promises_kept_rate: float | None = Field(
        None, description="promises_kept / (promises_kept + promises_broken)"
    )


class KpiOutput(Output):
    """What every one is about: a market; or a channel, a node or a carrier of it."""

    market_id: MarketId
    channel: Channel | None = None
    node_id: NodeId | None = None
    carrier: Word | None = None


class KpiWindowClosed(KpiOutput):
    """The figures of a closed window. Nothing that comes later changes it.

    `minute`: from `window_start` to `window_end`. `hour`: the 60 minutes before `window_end`, told
    anew every minute. The window is that of the shards' clocks (`recorded_at` of history). The same
    key again with a later `window_end` replaces it; keep the latest.
    """

    TYPE: ClassVar[str] = "kpi_window_closed"
    TOPIC: ClassVar[str] = "kpis"
    KEY: ClassVar[tuple[str, ...]] = ()

    window: Window
    window_start: Instant
    window_end: Instant
    counts: KpiCounts
    rates: KpiRates


class PartitionProgress(Model):
    """How far a partition of `history` is counted."""

    partition: int
    closed_until: Instant
    first_offset: int = Field(description="the first offset of its open windows")


class KpiProgress(Output):
    """How far the figures are: every window that ends by `complete_until` stands before this.

    After a restart the open windows are counted anew from `partitions[].first_offset` of `history`,
    and merged anew from `parts_offset` of `kpi-parts`; `partitions` is as of `parts_next` there.
    """

    TYPE: ClassVar[str] = "kpi_progress"
    TOPIC: ClassVar[str] = "kpis"
    KEY: ClassVar[tuple[str, ...]] = ()

    complete_until: Instant
    parts_offset: int
    parts_next: int
    partitions: list[PartitionProgress]
    hours_from: Instant | None = Field(
        None, description="hours that end before it are not told: a part of them is not known"
    )


class AlertOutput(KpiOutput):
    """What an alert is about: the rule of the file, the figure, and when it opened."""

    TOPIC: ClassVar[str] = "alerts"
    KEY: ClassVar[tuple[str, ...]] = ("alert",)

    alert: Text = Field(description="the rule and whom it is about, such as late/us/node/BOS")
    rule: Word
    severity: Severity
    figure: Word
    window: Window
    opened_at: Instant = Field(description="the end of the window that opened it")


class AlertOpened(AlertOutput):
    """A figure crossed a rule's line."""

    TYPE: ClassVar[str] = "alert_opened"

    value: float
    detail: Text


class AlertClosed(AlertOutput):
    """It is back beyond the line at which the rule lets go, or the rule is gone."""

    TYPE: ClassVar[str] = "alert_closed"

    value: float | None = None
    reason: Literal["recovered", "rule_gone"]
    closed_at: Instant
    detail: Text


KPIS: dict[str, type[Output]] = {
    model.TYPE: model for model in (KpiWindowClosed, KpiProgress, AlertOpened, AlertClosed)
}
