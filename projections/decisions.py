"""Decisions: why each plan is what it is, with what came of it."""

import orjson

from events.decided import InputRecord, Plain
from projections.at import At
from projections.tables import DECISIONS, Changes


def allocated(changes: Changes, at: At, _: InputRecord, event: Plain) -> None:
    """`order_allocated`: the decision, and the plan it made."""
    plan = orjson.dumps(
        {"fulfillments": event["fulfillments"], "backordered": event["backordered"]}
    ).decode()
    explained = f"{event['decision'][:-1]},{plan[1:]}"  # two JSON objects as one, unparsed
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
            explained,
        ],
    )


ON = {"order_allocated": allocated}
