"""What warehouses say of their stock. Physical facts: they are never refused."""

from typing import Annotated, ClassVar, Literal

from pydantic import AfterValidator, Field

from events.base import (
    MAX_QUANTITY,
    CountedQuantity,
    Day,
    Fact,
    Id,
    Instant,
    InstantOrDay,
    NodeId,
    OptionalId,
    Quantity,
    Sku,
    Text,
)


def _not_zero(delta: int) -> int:
    if delta == 0:
        message = "an adjustment by 0 units says nothing: leave it out"
        raise ValueError(message)
    return delta


StockState = Literal["available", "quality_control", "damaged", "held"]


class NodeFact(Fact):
    """What every report of a node carries."""

    TOPIC: ClassVar[str] = "stock"

    node_id: NodeId

    def record_key(self) -> str:
        """The node id: one node's reports keep their order."""
        return self.node_id


class StockReceived(NodeFact):
    """Units arrived. A document line received again is a repeat, for ever."""

    TYPE: ClassVar[str] = "stock_received"

    sku: Sku
    quantity: Quantity
    state: StockState = "available"
    document: OptionalId = None
    document_line: OptionalId = None
    lot: OptionalId = None
    expires_on: Day | None = None


class StockAdjusted(NodeFact):
    """Units appeared or vanished, for a reason."""

    TYPE: ClassVar[str] = "stock_adjusted"
    NOT_BUILT: ClassVar[dict[str, object]] = {"lot": None}

    sku: Sku
    delta: Annotated[
        int,
        Field(ge=-MAX_QUANTITY, le=MAX_QUANTITY, json_schema_extra={"not": {"const": 0}}),
        AfterValidator(_not_zero),
    ]
    reason: Text
    state: StockState = "available"
    document: OptionalId = None
    document_line: OptionalId = None


class StockCounted(NodeFact):
    """What stands on the shelf: physical units, picked but not yet shipped ones included.

    Movements that happened after `counted_at` but arrived before the count are applied again.
    """

    TYPE: ClassVar[str] = "stock_counted"
    NOT_BUILT: ClassVar[dict[str, object]] = {"lot": None}

    sku: Sku
    counted: CountedQuantity
    state: Literal["all", "available", "quality_control", "damaged", "held"] = "all"
    counted_at: Instant | None = None


class InboundAnnounced(NodeFact):
    """Units are on their way to the node.

    Absolute: a document line announced again replaces what it said before; 0 units close it.
    Receipts that name the document draw it down.
    """

    TYPE: ClassVar[str] = "inbound_announced"

    sku: Sku
    quantity: CountedQuantity
    document: Id
    document_line: OptionalId = None
    expected_at: InstantOrDay
    kind: Literal["purchase", "transfer", "return", "production"] = "purchase"
