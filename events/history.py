"""What stands on the topic `history`: everything that happened, one record each, and watermarks.

These models are the published shape; `schemas/history.py` makes plain data of the same shape, and
tests hold the two together.
"""

from typing import Any, ClassVar, Literal

from events.base import (
    Channel,
    FulfillmentId,
    Instant,
    LineId,
    MarketId,
    Model,
    NodeId,
    OrderId,
    Output,
    Sku,
    Text,
    Word,
)

Shard = int
Position = str
"""`<shard>.<seq>.<entry>.<n>`."""


class HistoryRecorded(Output):
    """An input that was taken (`kind` input) or an event that was decided (`kind` event).

    `position` is `<shard>.<seq>.<entry>.<n>`: the n-th event of an entry of a commit of a shard;
    the entry's input itself has the n -1. It is `ce_id` too: the same position again is a repeat.
    `data` is the input's, or the decided event's fields; `event` says which of them to expect.
    """

    TYPE: ClassVar[str] = "history_recorded"
    TOPIC: ClassVar[str] = "history"
    KEY: ClassVar[tuple[str, ...]] = ()

    position: Position
    shard: Shard
    seq: int
    entry: int
    n: int
    kind: Literal["input", "event"]
    event: Word
    version: int
    happened_at: Instant
    recorded_at: Instant
    market_id: MarketId | None = None
    channel: Channel | None = None
    order_id: OrderId | None = None
    node_id: NodeId | None = None
    sku: Sku | None = None
    fulfillment_id: FulfillmentId | None = None
    carrier: Word | None = None
    placed_at: Instant | None = None
    promised_by: Instant | None = None
    cause: Word
    cause_position: Position
    cause_id: Text | None = None
    cause_source: Text | None = None
    origin: Text | None = None
    data: dict[str, Any]


class HistoryWatermark(Output):
    """How far a partition is complete, of one shard; a partition holds the records of all shards.

    Every record of the shard up to commit `seq`, and every one with a `recorded_at` before
    `complete_until`, stands before this in its partition. It is kept going while nothing happens.
    """

    TYPE: ClassVar[str] = "history_watermark"
    TOPIC: ClassVar[str] = "history"
    KEY: ClassVar[tuple[str, ...]] = ()

    kind: Literal["watermark"]
    shard: Shard
    shards: int
    seq: int
    complete_until: Instant


class PlacedLine(Model):
    """Units of an order line."""

    line_id: LineId
    quantity: int


class PlacedAt(Model):
    """What one node is to ship."""

    node_id: NodeId
    lines: list[PlacedLine]


class ActivePlan(Model):
    """What the active rules decided of the same order in the same moment; costs by their prices."""

    position: Position
    rule_set: Word
    fulfillments: list[PlacedAt]
    backordered: list[PlacedLine]
    costs_minor: dict[str, int]


class ShadowDecided(Output):
    """What the rule set in shadow would have decided of an order as it was accepted.

    Nothing of it is carried out, and the next order meets the world as the active rules left it.
    `position`, which is `ce_id` too, is `shadow/` and the position of the `order_accepted` beside
    it; the same position again is a repeat, with the same bytes. `same`: whether as many units of
    each line ship from the same nodes, and wait; what neither ships nor waits would be cancelled.
    Plans are whole, also where nodes are asked in several entries. `costs_minor` by component,
    those of 0 left out: `transport`, `handling`, `per_unit` are paid; `late`, `load`, `price`,
    `split` are prices of the rules that decided. `decision` is the explanation, as in
    `order_allocated`.
    """

    TYPE: ClassVar[str] = "shadow_decided"
    TOPIC: ClassVar[str] = "history"
    KEY: ClassVar[tuple[str, ...]] = ("order_id",)

    kind: Literal["shadow"]
    position: str
    shard: Shard
    seq: int
    entry: int
    n: int
    recorded_at: Instant
    market_id: MarketId
    channel: Channel
    order_id: OrderId
    rule_set: Word
    same: bool
    currency: str
    fulfillments: list[PlacedAt]
    backordered: list[PlacedLine]
    costs_minor: dict[str, int]
    decision: str
    active: ActivePlan | None = None


HISTORY: dict[str, type[Output]] = {
    model.TYPE: model for model in (HistoryRecorded, HistoryWatermark, ShadowDecided)
}
