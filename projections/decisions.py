"""Decisions: why each plan is what it is, with what came of it."""

import orjson

from events.decided import InputRecord, Plain
from projections.at import At
from projections.tables import DECISIONS, Changes


def allocated(changes: Changes, at: At, _: InputRecord, event: Plain) -> None:
    """`order_allocated`: the decision, and the plan it made."""
    explained = {
        **event["decision"],
        "fulfillments": event["fulfillments"],
        "backordered": event["backordered"],
    }
    changes.add(
        DECISIONS,
        [
            event["channel"],
            event["order_id"],
            event["market_id"],
            at.seq,
            at.entry,
            at.n,
            at.shard,
            at.time,
            orjson.dumps(explained).decode(),
        ],
    )


ON = {"order_allocated": allocated}
