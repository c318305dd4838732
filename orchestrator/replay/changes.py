"""What a variant changes: rules, nodes, capacity, stock, rates, demand."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from random import Random
from typing import Any, NamedTuple

from orchestrator.core.shard import Shard
from orchestrator.core.sourcing.rule_checks import Defined, Known, told
from orchestrator.core.sourcing.rule_checks import check as check_rules
from orchestrator.replay.period import Period

Json = dict[str, Any]
AUTHOR, APPROVER = "what-if", "what-if, approving"


class ChangeError(Exception):
    """A change that can't be made; the message says what to do."""


class Rules(NamedTuple):
    """A rule set that decides instead of a market's own."""

    market_id: str
    version: str
    body: Json
    file: str = ""  # where it is written
    lines: Mapping[str, int] = {}  # path -> line


class Opened(NamedTuple):
    """A node that history doesn't have, and what it stocks."""

    node: Json  # as in node_defined
    stock: dict[str, int]


class Stock(NamedTuple):
    """Units more or fewer at a node when the period begins."""

    sku: str
    node_id: str
    delta: int


@dataclass(frozen=True, slots=True)
class Changes:
    """Everything that a variant changes; nothing: the world as it was."""

    rules: Sequence[Rules] = ()
    closed: Sequence[str] = ()  # node ids
    opened: Sequence[Opened] = ()
    capacity: Mapping[str, int] = field(default_factory=dict)  # node id -> orders a day
    stock: Sequence[Stock] = ()
    rates: Sequence[Json] = ()  # as in carrier_service_defined
    demand_percent: int = 100

    def __bool__(self) -> bool:
        """Whether anything is changed."""
        return bool(
            self.rules
            or self.closed
            or self.opened
            or self.capacity
            or self.stock
            or self.rates
            or self.demand_percent != 100  # noqa: PLR2004 - as it was
        )

    def touches(self, period: Period) -> bool:
        """Whether anything is changed in the period's shard: markets share no stock or order."""
        markets = [
            *(one.market_id for one in self.rules),
            *(one.node["market_id"] for one in self.opened),
            *(one["market_id"] for one in self.rates),
        ]
        nodes = [*self.closed, *self.capacity, *(one.node_id for one in self.stock)]
        return (
            self.demand_percent != 100  # noqa: PLR2004 - as it was
            or any(one in period.markets for one in markets)
            or any(one in period.nodes for one in nodes)
        )

    def told(self) -> list[str]:
        """What is changed, a phrase each."""
        said = [f"rule set {one.version} in {one.market_id}" for one in self.rules]
        said += [f"{node_id} closed" for node_id in self.closed]
        said += [f"{one.node['node_id']} opened" for one in self.opened]
        said += [f"{node_id} takes {units:,} orders a day" for node_id, units in self._capacity()]
        said += [f"{one.delta:+,} of {one.sku} at {one.node_id}" for one in self.stock]
        said += [f"rates of {one['carrier']}/{one['service']}" for one in self.rates]
        if self.demand_percent != 100:  # noqa: PLR2004 - as it was
            said.append(f"demand ×{self.demand_percent / 100:g}")
        return said

    def _capacity(self) -> Iterator[tuple[str, int]]:
        yield from self.capacity.items()

    def inputs(self, shard: Shard) -> list[tuple[str, Json]]:
        """The inputs that make the changes to a shard as it stands; ChangeError."""
        made: list[tuple[str, Json]] = [
            ("node_defined", opened.node)
            for opened in self.opened
            if opened.node["market_id"] in shard.markets
        ]
        made += [
            ("node_defined", self._node(node.defined))
            for node_id, node in shard.nodes.items()
            if node_id in self.closed or node_id in self.capacity
        ]
        made += [
            ("carrier_service_defined", one)
            for one in self.rates
            if one["market_id"] in shard.markets
        ]
        stock = [
            *self.stock,
            *(
                Stock(sku, one.node["node_id"], units)
                for one in self.opened
                if one.node["market_id"] in shard.markets
                for sku, units in one.stock.items()
            ),
        ]
        new = {one.node["node_id"] for one in self.opened}
        for sku, node_id, delta in stock:
            if node_id not in shard.nodes and node_id not in new:
                continue
            if sku not in shard.items:
                raise ChangeError(
                    f"stock of {sku} at {node_id}: there was no such item when the period began"
                )
            if node_id in shard.nodes or delta < 0:
                data = {"node_id": node_id, "sku": sku, "delta": delta, "reason": "what if"}
                made.append(("stock_adjusted", data))
            else:
                data = {"node_id": node_id, "sku": sku, "quantity": delta}
                made.append(("stock_received", data))
        for rules in self.rules:
            if rules.market_id in shard.markets:
                made += _rules(shard, rules)
        return made

    def _node(self, defined: Json) -> Json:
        node_id = defined["node_id"]
        changed = dict(defined)
        if node_id in self.closed:
            changed["active"] = False
        if node_id in self.capacity:
            changed["capacity_orders_per_day"] = self.capacity[node_id]
        return changed

    def instead(self, type_: str, data: Json) -> Json | None:
        """What stands in place of an input of history's: itself, another, or nothing."""
        match type_:
            case "node_defined":
                if any(one.node["node_id"] == data["node_id"] for one in self.opened):
                    return None
                node_id = data["node_id"]
                known = node_id in self.closed or node_id in self.capacity
                return self._node(data) if known else data
            case "carrier_service_defined":
                ours = {(one["market_id"], one["carrier"], one["service"]) for one in self.rates}
                theirs = (data["market_id"], data["carrier"], data["service"])
                return None if theirs in ours else data
            case "rule_set_activated":
                decided = {one.market_id for one in self.rules}
                return None if data["market_id"] in decided else data
            case _:
                return data

    def copies(self, seed: int, key: str) -> int:
        """How often an order is placed: once as it was, more or less often by demand."""
        whole, rest = divmod(self.demand_percent, 100)
        if not rest:
            return whole
        chance = Random(f"{seed}/demand/{key}")  # noqa: S311 - repeatable
        return whole + (chance.random() * 100 < rest)


def _rules(shard: Shard, rules: Rules) -> list[tuple[str, Json]]:
    """Proposed, approved by another, activated: under a name that is free."""
    version = rules.version
    while version in shard.markets[rules.market_id].rule_versions or version == "default-1":
        version += "~"
    about = {"market_id": rules.market_id, "version": version}
    return [
        ("rule_set_proposed", {**about, "author": AUTHOR, "body": rules.body}),
        ("rule_set_approved", {**about, "approver": APPROVER}),
        ("rule_set_activated", about),
    ]


def check(changes: Changes, periods: Sequence[Period]) -> None:
    """ChangeError where a variant changes what isn't there, or to what can't be."""
    nodes = {node_id: one for period in periods for node_id, one in period.nodes.items()}
    markets = {market_id for period in periods for market_id in period.markets}
    for opened in changes.opened:
        node_id = opened.node["node_id"]
        if node_id in nodes:
            raise ChangeError(f"--open: {node_id} was there when the period began")
        _in(markets, "--open", opened.node["market_id"])
    for option, node_id in [
        *(("--close", one) for one in changes.closed),
        *(("--capacity", one) for one in changes.capacity),
        *(("--stock", one.node_id) for one in changes.stock),
    ]:
        if node_id not in nodes:
            like = _like(node_id, nodes)
            raise ChangeError(f"{option}: nobody knew a node {node_id} when the period began{like}")
    for rate in changes.rates:
        _in(markets, "--rates", rate["market_id"])
    known = [*nodes.values(), *(one.node for one in changes.opened)]
    for rules in changes.rules:
        _in(markets, "--rules", rules.market_id)
        theirs = [Defined.of(one) for one in known if one["market_id"] == rules.market_id]
        _, problems = check_rules(rules.body, Known.of(theirs))
        if problems:
            said = "; ".join(told(one, rules.file, rules.lines) for one in problems)
            raise ChangeError(f"--rules: {said}")


def _in(markets: set[str], option: str, market_id: str) -> None:
    if market_id not in markets:
        there = ", ".join(sorted(markets)) or "none"
        raise ChangeError(f"{option}: there was no market {market_id} then (there were: {there})")


def _like(node_id: str, nodes: Mapping[str, object]) -> str:
    """Ids that a misspelt one may have meant."""
    wanted = node_id.casefold()
    like = sorted(one for one in nodes if wanted in one.casefold() or one.casefold() in wanted)
    if not like and len(nodes) <= 10:  # noqa: PLR2004 - as many as a sentence can name
        like = sorted(nodes)
    return f" (there were: {', '.join(like[:10])})" if like else ""
