"""By what a what-if finds what is the same in history: orders, work, plans."""

from collections.abc import Mapping
from hashlib import blake2b
from typing import Any

import orjson

from events.decided import Plain


def order_key(told: Mapping[str, Any]) -> str:
    """Of what is told of an order: `<market>/<channel>/<order id>`.

    A channel that gives an order id in two markets has two orders.
    """
    return f"{told['market_id']}/{told['channel']}/{told['order_id']}"


def work_id(market_id: str, fulfillment_id: str) -> str:
    """What a fulfillment is called here: those of two orders of one id are called alike."""
    return f"{market_id}/{fulfillment_id}"


def asked_key(event: Plain) -> str:
    """Equal for what is identically asked: the order, the node, the lines."""
    lines = sorted([[one["line_id"], one["sku"], one["quantity"]] for one in event["lines"]])
    what = [event["market_id"], event["channel"], event["order_id"], event["node_id"], lines]
    return digest_of(what)


def plan_digest(event: Plain) -> str:
    """Equal for equal plans, whatever their fulfillments are called."""
    given = sorted([[one["node_id"], _units(one["lines"])] for one in event["fulfillments"]])
    return digest_of([given, _units(event["backordered"])])


def _units(lines: list[Any]) -> list[Any]:
    return sorted([[line["line_id"], line["quantity"]] for line in lines])


def digest_of(value: object) -> str:
    """A short digest of plain data."""
    return blake2b(orjson.dumps(value), digest_size=8).hexdigest()
