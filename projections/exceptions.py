"""Exceptions: what doesn't add up, until it does again."""

from events.decided import InputRecord, Plain
from projections.at import At
from projections.tables import EXCEPTION_RESOLVED, EXCEPTIONS, Changes


def opened(changes: Changes, at: At, _: InputRecord, event: Plain) -> None:
    """`exception_opened`: somebody should look at it."""
    changes.put(
        EXCEPTIONS,
        [
            event["exception_id"],
            "open",
            None,
            None,
            at.time,
            event["market_id"],
            event["kind"],
            event["severity"],
            event.get("channel"),
            event.get("order_id"),
            event.get("sku"),
            event.get("node_id"),
            event["detail"],
            event.get("rule_set"),
        ],
    )


def resolved(changes: Changes, at: At, _: InputRecord, event: Plain) -> None:
    """`exception_resolved`: it is done with."""
    changes.patch(
        EXCEPTION_RESOLVED, (event["exception_id"],), ("resolved", at.time, event["detail"])
    )


ON = {"exception_opened": opened, "exception_resolved": resolved}
