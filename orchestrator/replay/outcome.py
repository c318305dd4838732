"""What became of a period's orders in one run: noted as it is decided, written as rows."""

from collections import Counter
from pathlib import Path
from typing import Any, Final, NamedTuple

import cramjam
import orjson

from events.decided import (
    COMPONENTS,
    Decision,
    InputRecord,
    NodeRow,
    Plain,
    row_of,
    split_cost,
)
from orchestrator.core.shard import Shard
from orchestrator.replay.keys import digest_of, order_key, plan_digest, work_id
from schemas.times import instant_ms

COSTS: Final = (*COMPONENTS, "split")


class Told(NamedTuple):
    """A decision on an order: which plan, of what, and where its explanation stands."""

    digest: str
    trigger: str
    at_ms: int
    place: int
    size: int


class OrderRow(NamedTuple):
    """An order as a run left it. Times in ms since 1970, money in minor units."""

    key: str  # <channel>/<order id>
    market_id: str
    copy: bool  # of --demand
    placed_ms: int
    decisions: list[Told]
    costs: list[int]  # by COSTS, of what has left
    packages: int
    units: dict[str, int]  # node id -> units that left
    promised_ms: int | None
    delivered_ms: int | None  # all that wasn't cancelled
    lines: int
    short_lines: int  # that were not sourced whole at once
    backordered: int  # units of them that waited
    cancelled: int  # units, for want of stock
    refused: bool
    closed: bool
    drawn: bool  # rests on drawn answers


class _Order:
    __slots__ = tuple(name for name in OrderRow._fields if name != "key")

    def __init__(self, market_id: str, placed_ms: int, *, copy: bool) -> None:
        self.market_id = market_id
        self.copy = copy
        self.placed_ms = placed_ms
        self.decisions: list[Told] = []
        self.costs = [0] * len(COSTS)
        self.packages = 0
        self.units: dict[str, int] = {}
        self.promised_ms: int | None = None
        self.delivered_ms: int | None = None
        self.lines = 0
        self.short_lines = 0
        self.backordered = 0
        self.cancelled = 0
        self.refused = False
        self.closed = False
        self.drawn = False


def there(shard: Shard) -> frozenset[str]:
    """The orders of a shard as it stands, by `order_key`."""
    return frozenset(
        f"{market_id}/{key}" for market_id, market in shard.markets.items() for key in market.orders
    )


class Outcome:
    """The orders of one run, and what it came to in all."""

    def __init__(self, folder: Path, background: frozenset[str]) -> None:
        """`background`: orders that were there before the period (`there`): they aren't counted."""
        folder.mkdir(parents=True, exist_ok=True)
        self._folder = folder
        self._background = background
        self._decisions = (folder / "decisions").open("wb")
        self._written = 0
        self._costs: dict[str, list[int]] = {}  # `work_id` -> planned cost, until it ships
        self._new: dict[str, str] = {}  # not allocated yet: node -> `work_id`
        self.orders: dict[str, _Order] = {}  # by `order_key`
        self.open = 0  # orders of the period that are not closed
        self.load: dict[tuple[str, str], list[int]] = {}  # node, day -> fulfillments, units
        self.short_skus: Counter[str] = Counter()
        self.exceptions: Counter[str] = Counter()
        self.answers: Counter[str] = Counter()
        self.dropped: Counter[str] = Counter()
        self.promises: Counter[str] = Counter()

    def note(
        self,
        cause: InputRecord,
        events: list[Any],
        explained: list[Decision],
        now_ms: int,
        *,
        copy: bool,
    ) -> None:
        """Take down what an entry decided; `explained`: of each `order_allocated`, in order."""
        self._new.clear()
        plans = 0
        known = ""
        order: _Order | None = None
        for event in events:
            kind = event["type"]
            if kind not in _NOTED:
                if kind == "exception_opened":
                    self.exceptions[event["kind"]] += 1
                continue
            key = order_key(event)
            if kind in _TAKEN:
                self._taken(key, event, cause, now_ms, copy=copy)
                known = ""
            if key != known:
                order, known = self.orders.get(key), key
            plans += kind == "order_allocated"
            if order is None:
                continue
            match kind:
                case "order_allocated":
                    self._allocated(order, event, explained[plans - 1], cause, now_ms)
                case "fulfillment_planned" | "fulfillment_requested":
                    self._given(event)
                case "shipment_sent":
                    self._sent(order, event)
                case "shipment_delivered":
                    at_ms = instant_ms(event["delivered_at"])
                    order.delivered_ms = max(at_ms, order.delivered_ms or 0)
                case "promise_kept" | "promise_broken":
                    self.promises[kind] += 1
                case "order_cancelled" if event["by"] == "system":
                    order.cancelled += sum(line["quantity"] for line in event["lines"])
                case "order_closed":
                    self._closed(order)
                case _:
                    pass

    def _taken(
        self, key: str, event: Plain, cause: InputRecord, now_ms: int, *, copy: bool
    ) -> None:
        refused = event["type"] == "order_refused"
        if key not in self.orders:
            if key in self._background or (refused and event["conflict"]):
                return
            order = self.orders[key] = _Order(event["market_id"], now_ms, copy=copy)
            order.lines = len(cause["data"].get("lines", ()))
            self.open += 1
        if refused and not event["conflict"]:
            self.orders[key].refused = True

    def _closed(self, order: _Order) -> None:
        if not order.closed:
            order.closed = True
            self.open -= 1

    def _given(self, event: Plain) -> None:
        self._new[event["node_id"]] = work_id(event["market_id"], event["fulfillment_id"])
        if event["type"] == "fulfillment_requested":
            day = event.get("ship_day") or event["requested_at"][:10]
            load = self.load.setdefault((event["node_id"], day), [0, 0])
            load[0] += 1
            load[1] += sum(line["quantity"] for line in event["lines"])

    def _allocated(
        self, order: _Order, event: Plain, decision: Decision, cause: InputRecord, now_ms: int
    ) -> None:
        text: str = event["decision"]
        beside = orjson.dumps(event["backordered"])
        packed = bytes(cramjam.lz4.compress_block(text.encode() + b"\n" + beside))
        self._decisions.write(packed)
        told = Told(plan_digest(event), cause["type"], now_ms, self._written, len(packed))
        self._written += len(packed)
        if not order.decisions and event["backordered"]:
            order.short_lines = len(event["backordered"])
            order.backordered = sum(line["quantity"] for line in event["backordered"])
            self._short(event, decision)
        order.decisions.append(told)
        if order.promised_ms is None and "promised_by" in event:
            order.promised_ms = instant_ms(event["promised_by"])
        if self._new:
            self._cost(decision)

    def _short(self, event: Plain, decision: Decision) -> None:
        skus = {line_id: sku for line_id, sku, *_ in decision["lines"]}
        for line in event["backordered"]:
            self.short_skus[skus.get(line["line_id"], "")] += 1

    def _cost(self, decision: Decision) -> None:
        """What the new fulfillments are to cost.

        Of a plan that one entry can't hold, the rest is planned again by a later one: each part
        but the last has as many legs after the first as it has.
        """
        chosen, new = decision["chosen"], self._new
        if chosen is None:
            return
        legs = chosen["legs"]
        last: list[int] | None = None
        for place, node_id in legs:
            work = new.get(node_id)
            if work is not None:
                costs = row_of(decision, place, node_id)[_ROW_COSTS]
                last = self._costs[work] = [*costs, *[0] * (len(COSTS) - len(costs))]
        if last is not None:
            last[-1] = split_cost(decision, min(len(legs), len(new) + 1))
        new.clear()

    def _sent(self, order: _Order, event: Plain) -> None:
        order.packages += len(event["packages"])
        planned = self._costs.pop(work_id(order.market_id, event["fulfillment_id"]), None)
        if planned is not None:
            order.costs = [a + b for a, b in zip(order.costs, planned, strict=True)]
        units = sum(line["quantity"] for line in event["lines"])
        order.units[event["node_id"]] = order.units.get(event["node_id"], 0) + units

    def rests_on_drawn(self, key: str) -> None:
        """An answer to an order's work was drawn."""
        order = self.orders.get(key)
        if order is not None:
            order.drawn = True

    def finish(self, more: dict[str, Any]) -> None:
        """Write the orders, and what the run came to."""
        self._decisions.close()
        with (self._folder / "orders").open("wb") as file:
            for key, order in self.orders.items():
                values = [getattr(order, name) for name in OrderRow._fields[1:]]
                values[_DECISIONS] = [tuple(told) for told in order.decisions]
                file.write(orjson.dumps([key.partition("/")[2], *values]) + b"\n")
        told = {
            "load": [[*key, *load] for key, load in sorted(self.load.items())],
            "short_skus": dict(self.short_skus),
            "exceptions": dict(self.exceptions),
            "answers": dict(self.answers),
            "dropped": dict(self.dropped),
            "promises": dict(self.promises),
            **more,
        }
        (self._folder / "run").write_bytes(orjson.dumps(told))

    def close(self) -> None:
        """Close what a run that failed left open."""
        self._decisions.close()


_ROW_COSTS: Final = NodeRow._fields.index("costs")
_DECISIONS: Final = OrderRow._fields.index("decisions") - 1
_TAKEN: Final = frozenset({"order_accepted", "order_waits", "order_refused"})
_NOTED: Final = _TAKEN | {
    "order_allocated",
    "fulfillment_planned",
    "fulfillment_requested",
    "shipment_sent",
    "shipment_delivered",
    "promise_kept",
    "promise_broken",
    "order_cancelled",
    "order_closed",
}


def read_orders(folder: Path) -> Any:  # noqa: ANN401 - an iterator of OrderRow
    """The orders of a run, in the order in which they were placed."""
    with (folder / "orders").open("rb") as file:
        for line in file:
            row = orjson.loads(line)
            row[_DECISIONS + 1] = [Told(*told) for told in row[_DECISIONS + 1]]
            yield OrderRow(*row)


def read_decision(folder: Path, told: Told) -> Any:  # noqa: ANN401 - a Decision
    """A recorded explanation, with what waits after it."""
    with (folder / "decisions").open("rb") as file:
        file.seek(told.place)
        lines = bytes(cramjam.lz4.decompress_block(file.read(told.size))).split(b"\n")
    decision, backordered = map(orjson.loads, lines)
    return {**decision, "backordered": backordered}


def order_digest(row: OrderRow) -> str:
    """Equal where an order's plans were equal, one after the other."""
    return digest_of([told.digest for told in row.decisions])
