"""Markets, nodes and items as last defined."""

import orjson

from events.decided import InputRecord, Plain
from projections.at import At
from projections.tables import ITEMS, MARKETS, NODES, Changes


def kept(changes: Changes, at: At, cause: InputRecord, _: Plain) -> None:
    """`master_data_kept`: the cause holds from now on. Carrier services are not shown yet."""
    data = cause["data"]
    text = orjson.dumps(data).decode()
    match cause["type"]:
        case "market_defined":
            changes.put(MARKETS, [data["market_id"], text])
        case "node_defined":
            changes.put(NODES, [data["node_id"], data["market_id"], text])
        case "item_defined":
            changes.put(ITEMS, [data["sku"], at.shard, data["name"], text])
        case _:
            pass


ON = {"master_data_kept": kept}
