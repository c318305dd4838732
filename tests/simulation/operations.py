"""Operations: who changes master data while orders flow, rightly and wrongly.

Near the end everything is made well again, so that what waits then waits for stock alone.
"""

import random
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final, Protocol

from schemas.times import rfc3339
from tests.simulation.oracle import Moves
from tests.simulation.plan import Change

Plain = dict[str, Any]
NOWHERE: Final[frozenset[int]] = frozenset()
_CARRIERS: Final = ("acme", "zoom")
_COST: Final[Plain] = {"name": "all", "objective": "cost"}
_RULES: Final[Sequence[Plain]] = (
    {"strategies": [_COST]},
    {"strategies": [{"name": "few", "objective": ["fewest_legs", "on_hand"]}]},
    {"strategies": [{**_COST, "split": {"max_legs": 1}}], "defaults": {"late_per_day": 500}},
    {"strategies": [_COST], "defaults": {"safety_stock": [{"units": 1}]}},
    {"strategies": [_COST], "defaults": {"thresholds": {"phone": 2}}},
    {
        "strategies": [
            {
                "name": "small",
                "when": {"quantity": {"max": 3}},
                "objective": "cost",
                "else": "rest",
            },
            {"name": "rest", "objective": ["on_hand"], "unsourced": "backorder"},
        ]
    },
)
_HELD: Final[Plain] = {"strategies": [{**_COST, "hold": 1}]}
_BAD: Final[Sequence[Plain]] = (
    {"strategies": [{"name": "s", "objektive": "cost"}]},
    {"strategies": [{**_COST, "else": "nobody"}]},
    {"strategies": "all"},
)


class Sends(Protocol):
    """How an event is sent, once and in its order."""

    def __call__(
        self,
        type_: str,
        data: Plain,
        shards: frozenset[int],
        *,
        source: str,
        unsure: bool = False,
        moves: Moves | None = None,
    ) -> None:
        """`shards` must take it in; `unsure`: it may be rejected, since master data came late."""
        ...


class Operations:
    """One network's people."""

    def __init__(
        self,
        *,
        chance: random.Random,
        send: Sends,
        after: Callable[..., None],
        now_ms: Callable[[], int],
        changed: Callable[[Change], None],
        shards_of: Callable[[str], frozenset[int]],
    ) -> None:
        self._chance = chance
        self._send = send
        self._after = after
        self._now_ms = now_ms
        self._changed = changed
        self._shards_of = shards_of
        self._version = 0
        self._touched: dict[str, dict[Change, None]] = {}  # what was changed, by market
        self._nodes: Mapping[str, Plain] = {}
        self._skus: Sequence[str] = ()
        self._inbound: list[tuple[str, str, str]] = []  # node, sku, document

    def begin(
        self,
        changes: Sequence[Change],
        nodes: Mapping[str, Plain],
        skus: Sequence[str],
        end_s: float,
    ) -> None:
        """Change these, each at a moment of its own, until then; and then make it well."""
        self._nodes, self._skus = nodes, skus
        for change in changes:
            until_s = end_s / 4 if change is Change.SHADOW else end_s  # it is beside what follows
            self._after(self._chance.uniform(0.3, until_s), self._make, change)
        if changes:
            self._after(end_s + 0.1, self._make_well)

    def _make(self, change: Change) -> None:
        self._changed(change)
        node = self._chance.choice(list(self._nodes.values()))
        self._touched.setdefault(node["market_id"], {})[change] = None
        match change:
            case Change.RULES:
                self._rules(node["market_id"], self._chance.choice(_RULES))
            case Change.HELD:
                self._rules(node["market_id"], _HELD)
            case Change.BAD_RULES:
                self._bad_rules(node["market_id"])
            case Change.SHADOW:
                self._rules(node["market_id"], self._chance.choice(_RULES), shadow=True)
            case Change.SERVICE:
                self._service(node["market_id"], self._chance.choice(_CARRIERS))
            case Change.LANE:
                self._lane(node)
            case Change.INBOUND:
                self._announce(node)
            case Change.CAPACITY:
                field = self._chance.choice(("capacity_orders_per_day", "capacity_units_per_day"))
                self._define(node, {field: self._chance.randint(0, 6)})
            case Change.NODE:
                field = self._chance.choice(("active", "ships"))
                self._define(node, {field: False})
            case Change.MOVED:
                self._move(node)

    def _of(self, market_id: str, type_: str, data: Plain) -> None:
        self._send(
            type_, {"market_id": market_id, **data}, self._shards_of(market_id), source="operations"
        )

    # --- rules

    def _rules(self, market_id: str, body: Plain, *, shadow: bool = False) -> None:
        """Propose, approve, activate; sometimes the same again, or something else in its name."""
        self._version += 1
        version, chance = str(self._version), self._chance
        self._of(
            market_id, "rule_set_proposed", {"version": version, "author": "Ann", "body": body}
        )
        if chance.random() < 0.3:
            other = {"strategies": [{**_COST, "replan_saving": 1}]}
            data = {"version": version, "author": "Bo", "body": other}
            self._of(market_id, "rule_set_proposed", data)
        self._of(market_id, "rule_set_approved", {"version": version, "approver": "Cy"})
        data = {"version": version, "activated_by": "Cy"}
        if shadow:
            ended = {**data, "mode": "shadow_ended"}
            if chance.random() < 0.3:
                self._after(4.0, self._of, market_id, "rule_set_activated", ended)
            data["mode"] = "shadow"
        elif chance.random() < 0.3:
            data["from"] = rfc3339(self._now_ms() + chance.choice((-1_000, 2_000)))
        self._of(market_id, "rule_set_activated", data)

    def _bad_rules(self, market_id: str) -> None:
        """What is refused: wrong rules, approved by their author, activated without approval."""
        self._version += 1
        version = str(self._version)
        body = self._chance.choice((*_BAD, *_RULES[:1]))
        self._of(
            market_id, "rule_set_proposed", {"version": version, "author": "Ann", "body": body}
        )
        self._of(market_id, "rule_set_approved", {"version": version, "approver": "ann"})
        self._of(market_id, "rule_set_activated", {"version": version})
        self._of(market_id, "rule_set_activated", {"version": "none"})

    # --- carriers

    def _service(self, market_id: str, carrier: str, *, well: bool = False) -> None:
        chance = self._chance
        zone = {
            "destination_country": "US",
            "base_minor": chance.randint(1, 900),
            "per_unit_minor": chance.choice((0, 10)),
            "transit_days": chance.randint(0, 4),
        }
        data: Plain = {"carrier": carrier, "service": "ground", "service_levels": ["standard"]}
        data["zones"] = [zone]
        if not well and chance.random() < 0.3:
            data["active"] = False
        self._of(market_id, "carrier_service_defined", data)

    def _lane(self, node: Plain) -> None:
        chance = self._chance
        data: Plain = {"carrier": chance.choice(_CARRIERS), "reason": "storm"}
        if chance.random() < 0.5:
            data["origin_node_id"] = node["node_id"]
        if chance.random() < 0.3:
            data["until"] = rfc3339(self._now_ms() + chance.choice((-1_000, 3_000)))
        self._of(node["market_id"], "lane_suspended", data)
        if chance.random() < 0.5:
            data = {"carrier": data["carrier"]}
            self._after(1.0, self._of, node["market_id"], "lane_restored", data)

    # --- nodes

    def _define(self, node: Plain, changed: Plain) -> None:
        self._of(node["market_id"], "node_defined", {**node, **changed})

    def _move(self, node: Plain) -> None:
        """A market's shard and a node's market never change: rejected, whoever says it."""
        data = {**node, "market_id": "nowhere"}
        self._send("node_defined", data, NOWHERE, source="operations")
        shards = self._shards_of(node["market_id"])
        if shards != {0}:
            market = {"currency": "USD", "time_zone": "UTC", "shard": 0}
            data = {"market_id": node["market_id"], **market}
            self._send("market_defined", data, NOWHERE, source="operations")

    def _announce(self, node: Plain) -> None:
        """Announce units, again with other numbers, and receive some of them."""
        chance, node_id = self._chance, node["node_id"]
        sku = chance.choice(self._skus)
        document = f"in{len(self._inbound)}"
        self._inbound.append((node_id, sku, document))
        for units in chance.sample((0, 3, 8), chance.randint(1, 2)):
            self._arrives(node, sku, document, units)
        if chance.random() < 0.7:
            units = chance.randint(1, 4)
            data = {"sku": sku, "quantity": units, "document": document}
            self._stock(node, "stock_received", data, Moves(node_id, {sku: units}))

    def _arrives(self, node: Plain, sku: str, document: str, units: int) -> None:
        at = rfc3339(self._now_ms() + self._chance.choice((-60_000, 2_000, 86_400_000)))
        data = {"sku": sku, "quantity": units, "document": document, "expected_at": at}
        self._stock(node, "inbound_announced", data)

    def _stock(self, node: Plain, type_: str, data: Plain, moves: Moves | None = None) -> None:
        shards = self._shards_of(node["market_id"])
        data = {"node_id": node["node_id"], **data}
        self._send(type_, data, shards, source="operations", unsure=True, moves=moves)

    # --- the end

    def _make_well(self) -> None:
        """Nothing is fenced, suspended, full or announced any more."""
        for market_id, changes in self._touched.items():
            if changes.keys() & {Change.RULES, Change.HELD}:
                self._version += 1
                version = str(self._version)
                data: Plain = {"version": version, "author": "Ann", "body": {"strategies": [_COST]}}
                self._of(market_id, "rule_set_proposed", data)
                self._of(market_id, "rule_set_approved", {"version": version, "approver": "Cy"})
                self._of(market_id, "rule_set_activated", {"version": version})
            if Change.SERVICE in changes:
                for carrier in _CARRIERS:
                    self._service(market_id, carrier, well=True)
            if Change.LANE in changes:
                for carrier in _CARRIERS:
                    self._of(market_id, "lane_restored", {"carrier": carrier})
            for node in self._nodes.values():
                if node["market_id"] == market_id and changes.keys() & {
                    Change.CAPACITY,
                    Change.NODE,
                }:
                    self._define(node, {})
        for node_id, sku, document in self._inbound:
            self._arrives(self._nodes[node_id], sku, document, 0)
