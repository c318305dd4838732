"""Orders and their lines: the static part from the cause, status and counts from `balanced`."""

import orjson

from events.decided import InputRecord, Plain
from projections.at import At
from projections.tables import (
    LINE_COUNTS,
    LINES,
    ORDER_PROMISE,
    ORDER_PROMISED_BY,
    ORDER_REASONS,
    ORDER_STATUS,
    ORDERS,
    Changes,
)

_LINE_COLUMNS = frozenset({"line_id", "sku", "quantity"})


def taken(changes: Changes, at: At, cause: InputRecord, event: Plain) -> None:
    """`order_waits`, `order_accepted`: the order stands from here on, taken from the cause.

    An order that waited goes on by another cause (master data, a tick), and stands already.
    """
    if cause["type"] != "order_placed":
        return
    data = cause["data"]
    key = (event["channel"], event["order_id"], event["market_id"])
    shown = {name: value for name, value in data.items() if name != "lines"}
    changes.put(
        ORDERS,
        [
            *key,
            event.get("status", "accepted"),
            *(None, None, None),
            at.shard,
            at.time,
            orjson.dumps(shown).decode(),
        ],
    )
    for n, line in enumerate(data["lines"]):
        quantity = line["quantity"]
        rest = {name: value for name, value in line.items() if name not in _LINE_COLUMNS}
        changes.put(
            LINES,
            [
                *key,
                line["line_id"],
                quantity,
                *(0, 0, 0, 0, 0),
                n,
                line["sku"],
                quantity,
                orjson.dumps(rest).decode() if rest else None,
            ],
        )


def refused(changes: Changes, at: At, cause: InputRecord, event: Plain) -> None:
    """`order_refused`: found all the same, with reasons; a conflict leaves the first as it is."""
    if event["conflict"]:
        return
    taken(changes, at, cause, event)
    key = (event["channel"], event["order_id"], event["market_id"])
    changes.patch(ORDER_STATUS, key, (event["status"],))
    changes.patch(ORDER_REASONS, key, (orjson.dumps(event["reasons"]).decode(),))


def allocated(changes: Changes, _: At, __: InputRecord, event: Plain) -> None:
    """`order_allocated`: what is promised stands from the first on."""
    if "promised_by" in event:
        key = (event["channel"], event["order_id"], event["market_id"])
        changes.patch(ORDER_PROMISED_BY, key, (event["promised_by"],))


def promise_counted(changes: Changes, _: At, __: InputRecord, event: Plain) -> None:
    """`promise_kept`, `promise_broken`: what came of it."""
    key = (event["channel"], event["order_id"], event["market_id"])
    changes.patch(ORDER_PROMISE, key, (event["type"].removeprefix("promise_"),))


def balanced(changes: Changes, _: At, __: InputRecord, event: Plain) -> None:
    """`balanced`: status and counts as they stand now."""
    for market_id, channel, order_id, status, lines in event["orders"]:
        changes.patch(ORDER_STATUS, (channel, order_id, market_id), (status,))
        for line_id, *counts in lines:
            changes.patch(LINE_COUNTS, (channel, order_id, market_id, line_id), counts)


ON = {
    "order_waits": taken,
    "order_accepted": taken,
    "order_refused": refused,
    "order_allocated": allocated,
    "promise_kept": promise_counted,
    "promise_broken": promise_counted,
    "balanced": balanced,
}
