"""Stock by node and item, as `balanced` states it."""

from events.decided import InputRecord, Plain
from projections.at import At
from projections.tables import STOCK, Changes


def balanced(changes: Changes, _: At, __: InputRecord, event: Plain) -> None:
    """`balanced`: units as they stand now."""
    for market_id, node_id, sku, *units in event["stock"]:
        changes.put(STOCK, [sku, node_id, market_id, *units])


ON = {"balanced": balanced}
