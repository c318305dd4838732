"""The state of one shard: everything that one decision needs, and nothing else."""

from collections import deque
from collections.abc import Iterator
from heapq import heappush
from typing import Any, ClassVar, Final

from events.decided import InputRecord, Plain
from orchestrator.core.config import Config
from orchestrator.core.ledger import Bin
from orchestrator.core.orders import Fulfillment, Order, PoolCount
from orchestrator.core.sourcing.calendars import calendar_of
from orchestrator.core.sourcing.places import Place, Places
from orchestrator.core.sourcing.rates import LaneKey, Service
from orchestrator.core.sourcing.strategies import DEFAULT, RuleVersion

_PIECE: Final = 1_000  # entries that are let go at once

Timer = tuple[int, int, str, tuple[str | None, ...]]
"""When it is due (ms), its number, its kind, its key: sorts by when it fires."""


class Contradiction(Exception):
    """The journal contradicts the state machine.

    The shard halts: nothing is skipped, nothing guessed.
    """


class Changes:
    """What changed of late, so that tables made from the state are mended, not made anew."""

    __slots__ = ("count", "recent")

    KEPT = 64

    def __init__(self) -> None:
        self.count = 0
        self.recent: list[str] = []  # node ids, the newest last

    def add(self, node_id: str) -> None:
        """Note a change of this node's."""
        self.count += 1
        self.recent.append(node_id)
        if len(self.recent) >= self.KEPT:
            del self.recent[: self.KEPT // 2]

    def since(self, count: int) -> list[str] | None:
        """The nodes that changed since then, in order; None where too many did."""
        missed = self.count - count
        if missed > len(self.recent):
            return None
        return self.recent[len(self.recent) - missed :]


Inbound = dict[tuple[str, str, str | None], tuple[int, int]]
"""Node id, document, document line -> units, when they are expected (ms)."""


class Shelf(dict[str, Bin]):
    """The bins of one item, by node id."""

    __slots__ = ("changes",)

    def __init__(self) -> None:
        super().__init__()
        self.changes = Changes()


class Node:
    """A place that stock ships from."""

    __slots__ = (
        "active",
        "booked",
        "calendar",
        "capabilities",
        "capacity_orders",
        "capacity_units",
        "closed_until_ms",
        "country",
        "defined",
        "groups",
        "handling_cost_minor",
        "index",
        "kind",
        "last_used",
        "lifted",
        "market_id",
        "node_id",
        "offers",
        "pickup",
        "region",
        "sends",
        "ships",
        "suppressed",
        "unit_cost_minor",
        "vector",
    )
    DERIVED: ClassVar = frozenset({"calendar"})

    def __init__(self, data: Plain, market_zone: str, places: Places) -> None:
        self.node_id: str = data["node_id"]
        self.market_id: str = data["market_id"]
        self.suppressed: dict[str, int] = {}  # sku -> until_ms
        self.closed_until_ms = 0  # every item is suppressed until then, but those lifted since
        self.lifted: dict[str, None] = {}
        self.index = 0  # its place in the market's `node_list`
        self.booked: dict[int, list[int]] = {}  # ship day -> [fulfillments, units]
        self.last_used = 0  # the greater, the later it was given work: see Market.use
        self.define(data, market_zone, places)

    def define(self, data: Plain, market_zone: str, places: Places) -> None:
        """Take over a `node_defined`: fences, costs, hours and place.

        Again when the market's zone changes or new places are known.
        """
        self.defined = data
        self.active: bool = data.get("active", True)
        self.ships: bool = data.get("ships", True)
        self.pickup: bool = data.get("pickup", False)
        self.kind: str = data["kind"]
        self.groups: frozenset[str] = frozenset(data.get("groups", ()))
        self.capabilities: frozenset[str] = frozenset(data.get("capabilities", ()))
        self.country: str = data["address"]["country"]
        # what a day takes; None: without limit
        self.capacity_orders: int | None = data.get("capacity_orders_per_day")
        self.capacity_units: int | None = data.get("capacity_units_per_day")
        self.handling_cost_minor: int = data.get("handling_cost_minor", 0)  # a leg
        self.unit_cost_minor: int = data.get("unit_cost_minor", 0)
        self.calendar = calendar_of(data, market_zone)
        roomless = 0 in (self.capacity_orders, self.capacity_units)
        self.sends = self.ships and not roomless and bool(self.calendar.working)  # on some day
        self.offers = self.active and self.sends  # no fence removes it from every plan
        place = places.locate({**data["address"], "location": data.get("location")})
        self.vector = place.vector
        self.region: str | None = place.region

    @property
    def opened(self) -> bool:
        """Whether it is active and ships, whatever its days take."""
        return self.active and self.ships

    def suppresses(self, sku: str, now_ms: int) -> bool:
        """Whether the node isn't asked for this item now."""
        if self.suppressed and self.suppressed.get(sku, 0) > now_ms:
            return True
        return self.closed_until_ms > now_ms and sku not in self.lifted


class Market:
    """A fulfillment network: what decides together."""

    __slots__ = (
        "available",
        "backordered",
        "bins",
        "booked_changes",
        "currency",
        "defined",
        "fulfillments_planned",
        "held",
        "improvable",
        "inbound",
        "market_id",
        "network_version",
        "node_list",
        "nodes",
        "orders",
        "pool_taken",
        "promises",
        "published",
        "refill_queued",
        "retired",
        "rule_versions",
        "rules",
        "rules_scheduled",
        "services",
        "suppression_version",
        "suspensions",
        "tables",
        "time_zone",
        "waiting",
    )
    DERIVED: ClassVar = frozenset({"tables", "booked_changes"})
    """What is made from the rest: no part of the state."""

    def __init__(self, data: Plain) -> None:
        self.market_id: str = data["market_id"]
        self.define(data)
        self.rules = DEFAULT  # the active rule set
        self.rule_versions: dict[str, RuleVersion] = {}
        self.rules_scheduled: tuple[str, int] | None = None  # version, from_ms
        self.pool_taken: dict[str, PoolCount] = {}  # of the active rules' pools, by id
        self.nodes: dict[str, Node] = {}
        self.node_list: list[Node] = []  # by node id; a node's `index` is its place here
        # bumped when a node, service, lane, place or rule set changes: what caches of planning
        # rest on, apart from stock and load
        self.network_version = 0
        self.suppression_version = 0  # bumped when a node's suppressions change
        self.booked_changes = Changes()  # nodes whose booked days changed
        self.tables: object = None  # what planning made of all this, for speed
        self.bins: dict[str, Shelf] = {}  # sku -> node id -> bin
        self.inbound: dict[str, Inbound] = {}  # sku -> what is announced
        self.fulfillments_planned = 0
        self.held: dict[str, dict[int, Order]] = {}  # sku -> order number -> order that holds some
        # skus whose held orders may have a better plan now -> the order after which to look
        self.improvable: dict[str, int] = {}
        # promised by (ms) -> orders whose promise is neither kept nor broken yet
        self.promises: dict[int, dict[Order, None]] = {}
        self.available: dict[str, int] = {}  # sku -> units at nodes that offer some
        self.published: dict[str, int] = {}  # sku -> availability as last published
        self.orders: dict[str, Order] = {}  # "<channel>/<order id>"
        self.retired: dict[str, bytes] = {}  # the same key -> what is remembered of the order
        self.services: dict[str, Service] = {}  # "<carrier>/<service>"
        # lanes that take nothing -> until_ms; None: until they are restored
        self.suspensions: dict[LaneKey, int | None] = {}
        # sku -> backordered lines (-priority, order number, line index, order), first served first
        self.backordered: dict[str, int] = {}  # sku -> units that wait in all
        self.waiting: dict[str, list[tuple[int, int, int, Order]]] = {}
        self.refill_queued = False  # whether all that waits is to be planned again

    def define(self, data: Plain) -> None:
        """Take over a `market_defined`."""
        self.defined = data
        self.currency: str = data["currency"]
        self.time_zone: str = data["time_zone"]

    def suspensions_to(self, place: Place) -> list[LaneKey]:
        """What is suspended now of the lanes to a place; with many nodes, ask for it once."""
        return [key for key in self.suspensions if key.reaches(place.postal_code or "")]

    def use(self, node: Node) -> None:
        """Note that a node was given a fulfillment, or asked for one that was held."""
        self.fulfillments_planned += 1
        node.last_used = self.fulfillments_planned

    def sort_nodes(self) -> None:
        """Number the nodes by their ids; call when one was defined."""
        self.node_list = sorted(self.nodes.values(), key=lambda node: node.node_id)
        for index, node in enumerate(self.node_list):
            node.index = index
        self.network_version += 1


class Shard:
    """State of a shard, changed by `evolve` only."""

    __slots__ = (
        "config",
        "documents",
        "exceptions",
        "exceptions_opened",
        "freed_nodes",
        "freed_skus",
        "id_order",
        "ids",
        "ids_dropped",
        "ids_taken",
        "items",
        "markets",
        "marks",
        "nodes",
        "now_ms",
        "number",
        "orders_open",
        "orders_taken",
        "origins",
        "packages_sent",
        "parked",
        "parked_tracking",
        "places",
        "timers",
        "timers_set",
        "touched_days",
        "touched_inbound",
        "touched_lots",
        "touched_networks",
        "touched_orders",
        "touched_pools",
        "touched_skus",
        "touched_stock",
        "touched_waiting",
        "tracking",
        "unknown_skus",
        "work",
    )

    def __init__(self, number: int, config: Config | None = None) -> None:
        self.number = number
        self.config = config or Config()
        self.now_ms = 0  # the newest tick
        self.markets: dict[str, Market] = {}
        self.nodes: dict[str, Node] = {}
        self.items: dict[str, Plain] = {}
        self.places = Places()

        # inputs seen
        self.marks: dict[tuple[str, int], int] = {}  # origin topic, partition -> offset
        # the same -> the last of them (offset, "<source>\0<id>"), by which a topic that was made
        # anew under its name is told
        self.origins: dict[tuple[str, int], deque[tuple[int, str]]] = {}
        self.ids: dict[str, int] = {}  # "<source>\0<id>" -> tick
        self.id_order: deque[str] = deque()
        self.ids_taken = 0  # ids ever seen: the oldest is number `ids_taken - len(ids)`
        self.ids_dropped = 0  # ids that fell out before the window ended
        self.documents: dict[str, None] = {}

        # inputs and orders that wait; `parked`: on what -> in order, with until_ms (0: for ever)
        self.parked: dict[str, deque[tuple[InputRecord, int]]] = {}
        self.parked_tracking = 0
        self.unknown_skus: dict[str, list[Order]] = {}
        self.work: deque[list[Any]] = deque()
        self.timers: list[Timer] = []  # a heap
        self.timers_set = 0

        # counters, so that ids are stable, and what is open
        self.orders_taken = 0
        self.orders_open = 0
        self.exceptions_opened = 0
        self.exceptions: dict[tuple[str, ...], str] = {}  # what it is about -> exception id
        # "<market>/<carrier>/<tracking number>" -> newest package: order, fulfillment, id, place
        self.tracking: dict[str, tuple[Order, Fulfillment, str, int]] = {}
        self.packages_sent = 0

        # what the entry being folded has touched
        self.touched_orders: dict[Order, None] = {}
        self.touched_stock: dict[tuple[str, str], None] = {}  # (node id, sku)
        self.touched_skus: dict[tuple[str, str], None] = {}  # (market id, sku)
        self.touched_days: dict[tuple[str, int], None] = {}  # (node id, ship day)
        self.touched_pools: dict[tuple[str, str], None] = {}  # (market id, pool id)
        self.touched_lots: dict[tuple[str, str], None] = {}  # (node id, sku)
        # (node id, sku, document, document line)
        self.touched_waiting: dict[tuple[str, str], None] = {}  # (market id, sku)
        self.touched_inbound: dict[tuple[str, str, str, str | None], None] = {}
        # market id -> whether what waits may find a source now, beside what is held another
        self.touched_networks: dict[str, bool] = {}
        self.freed_nodes: dict[str, None] = {}  # ids of those that take more by now, or less
        # (market id, sku): those that units may have come free of, or that other nodes may ship
        self.freed_skus: dict[tuple[str, str], None] = {}

    def stock(self, node: Node, sku: str) -> Bin:
        """The bin of an item at a node, to look at; an empty one where there is none."""
        shelf = self.markets[node.market_id].bins.get(sku)
        return (shelf.get(node.node_id) if shelf else None) or Bin()

    def bin(self, node: Node, sku: str) -> Bin:
        """The bin of an item at a node, to change; made where there is none."""
        bins = self.markets[node.market_id].bins
        shelf = bins.get(sku)
        if shelf is None:
            shelf = bins[sku] = Shelf()
        found = shelf.get(node.node_id)
        if found is None:
            found = shelf[node.node_id] = Bin()
        shelf.changes.add(node.node_id)
        return found

    def inbound(self, node: Node, sku: str) -> list[tuple[int, int]]:
        """What is announced of an item at a node, soonest first: when (ms), units."""
        announced = self.markets[node.market_id].inbound.get(sku, {})
        return sorted(
            (expected_ms, units)
            for (node_id, _, _), (units, expected_ms) in announced.items()
            if node_id == node.node_id
        )

    def set_timer(self, due_ms: int, kind: str, *key: str | None) -> None:
        """Let a tick at `due_ms` or later fire this; of those due together, in the order set."""
        self.timers_set += 1
        heappush(self.timers, (due_ms, self.timers_set, kind, key))


def let_go(shard: Shard) -> Iterator[None]:
    """Empty a shard that nobody needs any more, a piece a step: a large one at once is a pause.

    What planning made of a market refers back to it, and nobody looks for such cycles.
    """
    held: list[dict[Any, Any]] = []
    for market in shard.markets.values():
        market.tables = None
        held += market.bins.values()
        held += [market.bins, market.held, market.promises, market.waiting]
        held += [market.orders, market.retired]
    held += [shard.tracking, shard.exceptions, shard.documents, shard.ids]
    for known in held:
        while known:
            for _ in range(min(_PIECE, len(known))):
                known.popitem()
            yield
    while shard.id_order:
        for _ in range(min(_PIECE, len(shard.id_order))):
            shard.id_order.popleft()
        yield
