"""A turn: one input being decided.

What is emitted is applied at once, so that decisions see their own effects.
"""

from typing import Any, Literal

from events.decided import AskedUnits, DecidedEvent, Decision, InputRecord, LineUnits, Plain
from orchestrator.core.evolve import evolve, exception_key, order_of
from orchestrator.core.orders import Fulfillment, Order
from orchestrator.core.shard import Market, Shard

ENTRY_BYTES = 200_000
"""Beyond about this size an entry takes on nothing more. One order's largest share comes on top."""


class Turn:
    """The shard, the cause, and what has been decided so far."""

    __slots__ = ("cause", "events", "explained", "shard", "weight")

    def __init__(self, shard: Shard, cause: InputRecord) -> None:
        self.shard = shard
        self.cause = cause
        self.events: list[DecidedEvent] = []
        self.explained: list[Decision] = []  # as each `order_allocated` holds it, in order
        self.weight = 0  # about how many bytes the entry has: what fans out adds to it

    def emit(self, event: Any) -> None:
        """Apply an event and journal it; tests hold each to its shape in `events.decided`."""
        evolve(self.shard, self.cause, event)
        self.events.append(event)

    def tell(self, event: Any, order: Order | None = None) -> None:
        """Emit an order update; its `status` is the order's (if at hand) after it."""
        evolve(self.shard, self.cause, event)
        event["status"] = (order or order_of(self.shard, event)).status()
        self.events.append(event)

    @property
    def full(self) -> bool:
        """Whether the entry is large enough: what else follows is queued for a tick."""
        return self.weight > ENTRY_BYTES

    @property
    def data(self) -> Plain:
        """What the cause says."""
        return self.cause["data"]

    @property
    def now_ms(self) -> int:
        """The shard's clock: milliseconds since 1970 UTC."""
        return self.shard.now_ms

    def market_of(self, order: Order) -> Market:
        """The market that carries the order out."""
        return self.shard.markets[order.market_id]

    def repeat(self, by: Literal["origin", "id", "order", "document", "package", "state"]) -> None:
        """The cause changes nothing; `by` says what shows that it is known."""
        self.emit({"type": "input_repeated", "by": by})

    def cancelled(
        self,
        order: Order,
        lines: list[LineUnits],
        reason: str,
        by: Literal["customer", "channel", "operator", "system"],
    ) -> None:
        """Cancel units that no node holds: open ones first, then backordered ones."""
        self.tell(
            {
                "type": "order_cancelled",
                **about(order),
                "lines": lines,
                "reason": reason,
                "by": by,
            }
        )

    def cancellation_rejected(self, order: Order, lines: list[AskedUnits], reason: str) -> None:
        """Tell that these units can't be cancelled any more."""
        self.tell(
            {
                "type": "order_cancellation_rejected",
                **about(order),
                "lines": lines,
                "reason": reason,
            }
        )

    def fulfillment_is(self, order: Order, fulfillment: Fulfillment, request_status: str) -> None:
        """Tell the fulfillment's statuses where they differ from what they were."""
        status = fulfillment.work_status()
        if (status, request_status) != (fulfillment.status, fulfillment.request_status):
            self.emit(
                {
                    "type": "fulfillment_changed",
                    **about(order),
                    "fulfillment_id": fulfillment.fulfillment_id,
                    "status": status,
                    "request_status": request_status,
                }
            )

    def open_exception(
        self, kind: str, severity: str, market_id: str, detail: str, **about_what: str
    ) -> None:
        """Open an exception unless one about the same is open."""
        key = exception_key({"kind": kind, "market_id": market_id, "detail": detail, **about_what})
        if key in self.shard.exceptions:
            return
        event: Any = {
            "type": "exception_opened",
            "exception_id": f"{self.shard.number}-{self.shard.exceptions_opened + 1}",
            "market_id": market_id,
            "kind": kind,
            "severity": severity,
            "detail": detail,
            **about_what,
        }
        self.emit(event)

    def mismatch(self, market_id: str, detail: str, order: Order | None, **about_what: str) -> None:
        """An input contradicts the state; the state stands and a person is told."""
        if order is not None:
            about_what = {"channel": order.channel, "order_id": order.order_id, **about_what}
        self.open_exception("data_mismatch", "medium", market_id, detail, **about_what)


def about(order: Order) -> Any:
    """What every event of an order carries."""
    return {"market_id": order.market_id, "channel": order.channel, "order_id": order.order_id}
