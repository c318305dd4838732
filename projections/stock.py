"""Stock by node and item, and what is announced, as `balanced` states them."""

from events.decided import InputRecord, Plain
from projections.at import At
from projections.tables import INBOUND, STOCK, Changes
from schemas.times import rfc3339


def balanced(changes: Changes, _: At, __: InputRecord, event: Plain) -> None:
    """`balanced`: units as they stand now."""
    for market_id, node_id, sku, *units in event["stock"]:
        changes.put(STOCK, [sku, node_id, market_id, *units])
    for node_id, sku, document, line, announced, expected_ms in event.get("inbound", ()):
        expected_at = rfc3339(expected_ms) if announced else None
        changes.put(INBOUND, [sku, node_id, document, line or "", announced, expected_at])


ON = {"balanced": balanced}
