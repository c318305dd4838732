"""What history has to know of a shard, read from the engine's snapshots of it."""

from collections.abc import Iterator
from collections.abc import Set as AbstractSet
from typing import Any, Final, NoReturn

import orjson

from orchestrator.core import evolve, snapshot
from orchestrator.core.orders import Fulfillment, Order
from orchestrator.core.shard import Shard
from orchestrator.runtime.snapshots import Format, Segment, fingerprint
from schemas.history import Known, KnownOrder, Work
from schemas.times import rfc3339

Row = list[Any]

_NOW: Final = snapshot.FIELDS[Shard].plain.index("now_ms")
_ORDER: Final = snapshot.FIELDS[Order].plain.index
_FULFILLMENT: Final = snapshot.FIELDS[Fulfillment].plain.index
_MARKET, _CHANNEL, _ID = _ORDER("market_id"), _ORDER("channel"), _ORDER("order_id")
_PROMISED: Final = _ORDER("promised_ms")
_WORK, _NODE = _FULFILLMENT("fulfillment_id"), _FULFILLMENT("node_id")
_CARRIER: Final = _FULFILLMENT("carrier")


class _Restoring:
    """Takes the few rows that matter; the others are the engine's business."""

    def __init__(self) -> None:
        self._known = Known()

    def take(self, row: Row) -> None:
        """Take in the next row."""
        known = self._known
        match row:
            case ["shard", values, *_]:
                known.clock_ms = values[_NOW]
            case ["node", data, *_]:
                known.markets[data["node_id"]] = data["market_id"]
            case ["order", values, _, raw, _, fulfillments, *_]:
                order = KnownOrder(orjson.loads(raw)["placed_at"])
                promised_ms = values[_PROMISED]
                order.promised_by = None if promised_ms is None else rfc3339(promised_ms)
                order.work = [
                    Work(one[_WORK], one[_NODE], one[_CARRIER]) for one, *_ in fulfillments
                ]
                known.orders[f"{values[_MARKET]}/{values[_CHANNEL]}/{values[_ID]}"] = order
            case _:
                pass

    def finish(self) -> Known:
        """What is known, when all rows are in."""
        return self._known


def _none(_: object) -> NoReturn:
    raise NotImplementedError("history reads snapshots and writes none")


def _no_segments(_: Known, __: AbstractSet[tuple[str, int]]) -> Iterator[Segment]:
    raise NotImplementedError("history reads snapshots and writes none")


def history_format() -> Format[Known]:
    """How the engine's snapshots are read by the history."""
    return Format(
        fingerprint=fingerprint(evolve.__name__, snapshot.__name__),
        rows=_none,
        segments=_no_segments,
        restoring=lambda _number: _Restoring(),
    )
