"""Stories about the core: given / when / then, with every event checked on the way.

Each input passes the real models; each decided event is held to its type, each published one to
its published shape; a twin shard folds the JSON of every entry and must end up the same.
"""
# ruff: noqa: ANN401 - the fields of events are any JSON

import itertools
from collections import deque
from collections.abc import Generator
from typing import Any, TypeVar

import orjson
from pydantic import TypeAdapter

from events.decided import INTERNAL, DecidedEvent, Decision, DecisionV1, InputRecord
from events.inputs import INPUTS
from events.outputs import OUTPUTS
from orchestrator.core.config import Config
from orchestrator.core.decide import decide, fold, tick, work_due
from orchestrator.core.orders import Fulfillment, Order
from orchestrator.core.shard import Shard

DECIDED: TypeAdapter[DecidedEvent] = TypeAdapter(DecidedEvent)
WHY: TypeAdapter[Decision | DecisionV1] = TypeAdapter(Decision | DecisionV1)
PLACES = {
    "BOS": (42.36, -71.06),
    "CHI": (41.88, -87.63),
    "LAX": (34.05, -118.24),
    "NYC": (40.71, -74.01),
}
Event = dict[str, Any]
T = TypeVar("T")


def at_once(slices: Generator[object, None, T]) -> T:
    """What work in slices comes to, with nobody else running in between."""
    while True:
        try:
            next(slices)
        except StopIteration as answered:
            found: T = answered.value
            return found


class Story:
    """A shard with one market, told step by step."""

    def __init__(self, config: Config | None = None, *, market: str = "US") -> None:
        self.shard = Shard(0, config)
        self.twin = Shard(0, config)
        self.entries: list[bytes] = []
        self.events: list[Event] = []  # of the last step, ticks that it caused included
        self.offsets: dict[str, itertools.count[int]] = {}
        self.now_ms = 1_800_000_000_000
        self.market_id = market
        self.rule_sets = 0
        self.at(0)
        self.send("market_defined", market_id=market, currency="USD", time_zone="America/New_York")

    # --- telling ---

    def send(
        self, type_: str, *, id_: str | None = None, time_ms: int | None = None, **data: Any
    ) -> list[Event]:
        """An input as intake would hand it over."""
        model = INPUTS[type_].model_validate_json(orjson.dumps(data))
        offset = next(self.offsets.setdefault(model.TOPIC, itertools.count()))
        record: InputRecord = {
            "type": type_,
            "version": 1,
            "id": id_ or f"{model.TOPIC}-{offset}",
            "source": "story",
            "time_ms": self.now_ms if time_ms is None else time_ms,
            "origin": [model.TOPIC, 0, offset, self.now_ms],
            "data": orjson.loads(model.model_dump_json(exclude_defaults=True)),
        }
        return self.take(record)

    def take(self, record: InputRecord) -> list[Event]:
        """An inbox record, and the work that follows from it."""
        self.events = self._decide(record)
        while work_due(self.shard, self.now_ms):
            self.events += self._decide(tick(self.now_ms))
        return self.events

    def at(self, seconds: float) -> list[Event]:
        """Let time pass; timers fire on the way."""
        self.now_ms += int(seconds * 1000)
        return self.take(tick(self.now_ms))

    def _decide(self, record: InputRecord) -> list[Event]:
        events = decide(self.shard, record)
        for event in events:
            DECIDED.validate_python(event)
            if event["type"] == "order_allocated":
                WHY.validate_python(orjson.loads(event["decision"]))
            model = OUTPUTS.get(event["type"])
            if model is not None:
                published = {
                    key: value
                    for key, value in event.items()
                    if key != "type" and key not in INTERNAL.get(event["type"], ())
                }
                if event["type"] == "availability_changed":
                    published["position"] = "0.1"
                model.model_validate_json(orjson.dumps(published))
        encoded = orjson.dumps({"input": record, "events": events})
        self.entries.append(encoded)
        fold(self.twin, orjson.loads(encoded))
        return [dict(event) for event in events]

    # --- given ---

    def node(self, node_id: str, *, located: bool = True, **data: Any) -> None:
        """A warehouse; those in PLACES stand where they are called."""
        lat, lon = PLACES.get(node_id, (40.0, -100.0))
        if located:
            data.setdefault("location", {"lat": lat, "lon": lon})
        data.setdefault("address", {"country": "US"})
        data.setdefault("market_id", self.market_id)
        self.send("node_defined", node_id=node_id, kind="warehouse", name=node_id, **data)

    def item(self, *skus: str) -> None:
        for sku in skus:
            self.send("item_defined", sku=sku, name=sku)

    def service(self, carrier: str = "ups", service: str = "ground", **data: Any) -> None:
        """A carrier's service; for any distance in two days, where nothing else is said."""
        band = {"to_km": 100_000, "base_minor": 500, "per_kg_minor": 0, "transit_days": 2}
        data.setdefault("service_levels", ["standard"])
        data.setdefault("rates", [band])
        data.setdefault("market_id", self.market_id)
        self.send("carrier_service_defined", carrier=carrier, service=service, **data)

    def rules(self, *strategies: dict[str, Any], **defaults: Any) -> None:
        """A rule set that decides from now on; strategies without a name are numbered."""
        self.rule_sets += 1
        of: dict[str, Any] = {"market_id": self.market_id, "version": self.rule_sets}
        named = [{"name": f"s{n}", **one} for n, one in enumerate(strategies, 1)]
        body = {"defaults": defaults, "strategies": named}
        self.send("rule_set_proposed", author="Ada", body=body, **of)
        self.send("rule_set_approved", approver="Grace", **of)
        self.send("rule_set_activated", **of)
        assert self.shard.markets[self.market_id].rules.version == str(self.rule_sets)

    def receive(self, node_id: str, **units: int) -> None:
        """Units by sku."""
        for sku, quantity in units.items():
            self.send("stock_received", node_id=node_id, sku=sku, quantity=quantity)

    def order(
        self, order_id: str, to: str | None = "BOS", line: dict[str, Any] | None = None, **more: Any
    ) -> list[Event]:
        """An order of units by sku (upper-case keywords), one line each, numbered from 1.

        `line` goes on each line; another keyword is a field of the order.
        """
        skus = [key for key in more if key.isupper()]
        lines = [
            {"line_id": str(n), "sku": sku, "quantity": more.pop(sku), **(line or {})}
            for n, sku in enumerate(skus, 1)
        ]
        ship_to: dict[str, Any] = {"country": "US", "name": "Ada"}
        if to:
            ship_to["location"] = {"lat": PLACES[to][0], "lon": PLACES[to][1]}
        data = {
            "market_id": self.market_id,
            "channel": "web",
            "order_id": order_id,
            "placed_at": "2026-11-22T10:00:00Z",
            "currency": "USD",
            "ship_to": ship_to,
            "lines": lines,
            **more,
        }
        id_ = data.pop("id_", None)
        return self.send("order_placed", id_=id_, **data)

    def report(self, type_: str, fulfillment_id: str, **data: Any) -> list[Event]:
        """A WMS's report on `web.<fulfillment_id>`, from the node that has it."""
        full = f"web.{fulfillment_id}"
        node_id = data.pop("node_id", None) or self.fulfillment(fulfillment_id).node_id
        return self.send(f"fulfillment_{type_}", fulfillment_id=full, node_id=node_id, **data)

    def ship(self, fulfillment_id: str, package: str = "P1", **data: Any) -> list[Event]:
        """Ship with one package; without lines, all that is left."""
        packages = [{"package_id": package, "carrier": "ups", "tracking_number": f"T{package}"}]
        data = {"shipped_at": "2026-11-23T10:00:00Z", "packages": packages, **data}
        return self.report("shipped", fulfillment_id, **data)

    def track(self, number: str, status: str = "delivered", **data: Any) -> list[Event]:
        return self.send(
            "tracking_updated",
            carrier="ups",
            tracking_number=number,
            status=status,
            at="2026-11-25T10:00:00Z",
            **data,
        )

    def cancel(self, order_id: str, **data: Any) -> list[Event]:
        return self.send(
            "order_cancel_requested",
            market_id=self.market_id,
            channel="web",
            order_id=order_id,
            reason="changed my mind",
            **data,
        )

    # --- then ---

    def the_order(self, order_id: str) -> Order:
        return self.shard.markets[self.market_id].orders[f"web/{order_id}"]

    def status(self, order_id: str) -> str:
        return self.the_order(order_id).status()

    def counts(self, order_id: str, line_id: str = "1") -> dict[str, int]:
        """A line's counts that are not 0."""
        line = self.the_order(order_id).line(line_id)
        assert line is not None
        names = ("open", "allocated", "backordered", "shipped", "delivered", "cancelled")
        return {name: getattr(line, name) for name in names if getattr(line, name)}

    def fulfillment(self, fulfillment_id: str) -> Fulfillment:
        order_id, _, number = fulfillment_id.rpartition(".")
        return self.the_order(order_id).fulfillments[int(number) - 1]

    def statuses(self, fulfillment_id: str) -> tuple[str, str]:
        found = self.fulfillment(fulfillment_id)
        return found.status, found.request_status

    def plan(self, order_id: str) -> dict[str, dict[str, int]]:
        """What the order's current plan has: node -> sku -> units."""
        plan: dict[str, dict[str, int]] = {}
        for fulfillment, lines in self.the_order(order_id).planned():
            for line in lines:
                at = plan.setdefault(fulfillment.node_id, {})
                at[line["sku"]] = at.get(line["sku"], 0) + line["quantity"]
        return plan

    def stock(self, node_id: str, sku: str) -> tuple[int, int, int]:
        """On hand, reserved, available."""
        found = self.shard.stock(self.shard.nodes[node_id], sku)
        return found.on_hand, found.reserved, found.available

    def pools(self) -> dict[str, int]:
        """What was taken of each pool."""
        counts = self.shard.markets[self.market_id].pool_taken
        return {pool_id: count.taken for pool_id, count in counts.items()}

    def told(self, type_: str) -> list[Event]:
        """The last step's events of a type."""
        return [event for event in self.events if event["type"] == type_]

    def exceptions(self) -> list[str]:
        """Kinds of the exceptions that are open."""
        return [key[0] for key in self.shard.exceptions]


_FIELDS: dict[type, tuple[str, ...] | None] = {}
_LEAVES = frozenset({str, int, float, bytes, bool, type(None)})


def plain(value: Any, seen: dict[int, str] | None = None, path: str = "") -> Any:
    """A state as comparable data: objects by their slots, seen ones by where they first stood."""
    kind = type(value)
    if kind in _LEAVES:
        return value
    seen = {} if seen is None else seen
    if isinstance(value, dict):
        return [
            [
                k if type(k) in _LEAVES else plain(k, seen, f"{path}/{i}"),
                v if type(v) in _LEAVES else plain(v, seen, f"{path}/{i}"),
            ]
            for i, (k, v) in enumerate(value.items())
        ]
    if isinstance(value, (list, tuple, deque)):
        return [
            v if type(v) in _LEAVES else plain(v, seen, f"{path}/{i}") for i, v in enumerate(value)
        ]
    names = _FIELDS[kind] if kind in _FIELDS else _FIELDS.setdefault(kind, _fields(kind))
    if names is None or isinstance(value, (str, bytes, int, float)):
        return value
    if id(value) in seen:
        return f"@{seen[id(value)]}"
    seen[id(value)] = path
    return {
        name: v if type(v := getattr(value, name)) in _LEAVES else plain(v, seen, f"{path}.{name}")
        for name in names
    }


def _fields(kind: type) -> tuple[str, ...] | None:
    """A class's slots that aren't made from others; None for what has none."""
    slots = getattr(kind, "__slots__", None) or getattr(kind, "__mypyc_attrs__", None)
    derived = getattr(kind, "DERIVED", ())
    return None if slots is None else tuple(name for name in slots if name not in derived)
