"""Channels, warehouses and carriers that behave, and some that don't.

They know the public topics alone. What they send is told to the oracle.
"""

import random
from collections.abc import Callable, Sequence
from typing import Any, Final
from zlib import crc32

import orjson

from events.inputs import INPUTS
from schemas import inbox
from schemas.cloudevents import emit
from schemas.ports import Partition, Record
from schemas.times import rfc3339
from tests.simulation.broker import Broker
from tests.simulation.operations import NOWHERE, Operations
from tests.simulation.oracle import Moves, Oracle, Sent
from tests.simulation.plan import Change, Fault, Oddity
from tests.simulation.world import SimHost, World

_SKUS: Final = ("TEA", "MUG", "POT", "JAR")
_UNKNOWN_SKU: Final = "NEW"
_REASONS: Final = ("not_in_stock", "mismatch", "damaged", "capacity", "closed", "other")
POISON: Final = "poison"
IN_VAIN: Final = "in vain"
"""The reason of an order to skip that is of no help."""
_STRANGE: Final = (b"[]", b"7", b'{"hello":"world"}', b'{"type":"order_placed","data":{}}')
"""JSON that is no input."""
"""An attribute of orders that the core fails on."""
_BIG: Final = 40

Plain = dict[str, Any]
_TOO_MUCH: Final[Plain] = {"line_id": "0", "sku": _SKUS[0], "quantity": _BIG}
"""The line of an order that has to wait for stock in every run."""


class Partners:
    """Everybody outside."""

    def __init__(self, world: World, broker: Broker, oracle: Oracle) -> None:
        self._world = world
        self._broker = broker
        self._oracle = oracle
        self._chance = random.Random(f"{world.plan.seed}/partners")
        self._ids = 0
        self._seen: set[str] = set()
        self._queue: list[tuple[Partition, Record, Sent]] = []
        self.pending = 0
        """How much is still to be done."""
        self.markets: dict[str, list[str]] = {}
        """Nodes by market."""
        self.terms: dict[tuple[str, str, str], str] = {}
        """What orders that may wait take: any unit, nothing but the whole, the whole together."""
        self._jobs: dict[str, dict[str, tuple[str, int]]] = {}
        self._markets_of: dict[str, str] = {}
        self._nodes: dict[str, Plain] = {}  # as first defined
        self._operations = Operations(
            chance=self._chance,
            send=self.tell,
            after=self._after,
            now_ms=world.now_ms,
            changed=self._changed,
            shards_of=self._of_market,
        )
        self._wanting = {"o0"}  # orders of too much, to which it was not sent yet
        self._helped: set[str] = set()  # inputs that shards halted at
        self.raced = 0
        """Cancellations that were sent at the moment that the node shipped."""

    # --- sending

    def _odd(self, oddity: Oddity) -> bool:
        rate = self._world.plan.oddities.get(oddity)
        if rate is None or self._world.calm or self._chance.random() >= rate:
            return False
        self._world.fired[oddity] += 1
        return True

    def _after(self, delay_s: float, do: Callable[..., None], *args: object) -> None:
        self.pending += 1
        self._world.at(delay_s, self._do, do, args)

    def _do(self, do: Callable[..., None], args: Sequence[object]) -> None:
        self.pending -= 1
        do(*args)

    def _id(self) -> str:
        self._ids += 1
        return f"e{self._ids}"

    def send(
        self,
        type_: str,
        data: Plain,
        shards: frozenset[int],
        *,
        source: str,
        unsure: bool = False,
        moves: Moves | None = None,
    ) -> None:
        """Send an event, and maybe send it again."""
        sent = Sent(type_, source, self._id(), data, shards, unsure, moves)
        if self._odd(Oddity.LATE):
            self._after(self._chance.choice((0.5, 5.0)), self._send, sent)
            return
        self._send(sent)
        if self._odd(Oddity.TOLD_AGAIN):
            again = sent._replace(id=self._id())
            self._after(self._chance.random() * 3, self._send, again)

    def tell(
        self,
        type_: str,
        data: Plain,
        shards: frozenset[int],
        *,
        source: str,
        unsure: bool = False,
        moves: Moves | None = None,
    ) -> None:
        """Send an event now, once, in its order."""
        self._send(Sent(type_, source, self._id(), data, shards, unsure, moves))

    def _changed(self, change: Change) -> None:
        self._world.fired[change] += 1

    def _send(self, sent: Sent) -> None:
        model = INPUTS[sent.type]
        key = _KEYS[model.TOPIC](sent.data)
        headers = emit(sent.type, sent.id, sent.source, rfc3339(self._world.now_ms()))
        record = Record(key.encode(), orjson.dumps(sent.data), headers)
        to = self._partition(model.TOPIC, record.key or b"")
        self._put(to, record, sent)
        if self._odd(Oddity.REPEATED):
            self._after(self._chance.random() * 2, self._put, to, record, sent)

    def _partition(self, topic: str, key: bytes) -> Partition:
        count = 1 if topic == "network" else self._world.plan.partitions
        return Partition(topic, crc32(key) % count)

    def _put(self, to: Partition, record: Record, sent: Sent) -> None:
        """What can't be sent now is sent, in order, when the broker is back."""
        self._queue.append((to, record, sent))
        if len(self._queue) == 1:
            self.pending += 1
            self._flush()

    def _flush(self) -> None:
        gone_s = self._world.gone_until - self._world.loop.time()
        if gone_s > 0:
            self._world.at(min(gone_s + 0.1, 1.0), self._flush)
            return
        self.pending -= 1
        while self._queue:
            to, record, sent = self._queue.pop(0)
            offset = self._broker.held(to).next
            self._oracle.told((to.topic, to.number, offset), sent)
            self._broker.land(to, [record], None)

    def garbage(self) -> None:
        """Something that no one can read, or that says what can't be."""
        chance = self._chance
        topic = chance.choice(("orders", "stock", "carriers", "network"))
        good = emit("order_cancel_requested", self._id(), "garbage", rfc3339(self._world.now_ms()))
        data = {"channel": "web", "market_id": "M0", "order_id": "x", "reason": "why"}
        value, headers = chance.choice(
            (
                (chance.randbytes(chance.randint(0, 30)), []),
                (None, []),
                (b"{", good),
                (b'{"channel": "web"}', good),
                (b"[" * 100_000, good),
                (orjson.dumps({**data, "reason": "a\0b"}), good),
                (orjson.dumps({**data, "quantity": 1}), good),
                (orjson.dumps(data), [(name, b"headrace.nothing.v1") for name, _ in good]),
            )
        )
        key = chance.randbytes(4)
        self._put(
            self._partition(topic, key), Record(key, value, headers), Sent("", "", "", 0, NOWHERE)
        )

    # --- what can't be decided

    def poison(self) -> None:
        """An order on which the core fails, whose defect nobody knows yet."""
        order = self._an_order("poison", {"line_id": "1", "sku": _SKUS[0], "quantity": 1})
        self._place({**order, "attributes": {POISON: "yes"}})

    def strange(self) -> None:
        """Somebody else writes to an inbox what is JSON, but no input."""
        to = Partition("inbox", self._chance.randrange(self._world.plan.shards))
        self._oracle.strange((*to, self._broker.held(to).next))
        self._broker.land(to, [Record(None, self._chance.choice(_STRANGE))], None)

    def helps(self, shard: int, names: Sequence[str]) -> bool:
        """Have what a shard halts at, and can't be decided, skipped a while later; else False."""
        for name in names:
            topic, _, rest = name.partition("/")
            number, _, offset = rest.partition("@")
            origin = topic, int(number), int(offset)
            sent = self._oracle.sent.get(origin)
            poison = sent is not None and POISON in sent.data.get("attributes", ())
            if poison or origin in self._oracle.foreign:
                if names[0] not in self._helped:  # what stands in the inbox twice halts it twice
                    self._helped.add(names[0])
                    delay_s = self._chance.uniform(0.2, 3.0)
                    if self._world.strikes(Fault.MISHELPED):
                        self._after(delay_s, self._skip, shard, name, IN_VAIN)
                        delay_s += self._chance.uniform(0.0, 5.0)
                    self._after(delay_s, self._skip, shard, self._chance.choice(names))
                return True
        return False

    def _skip(self, shard: int, name: str, reason: str = "a defect") -> None:
        """What `headrace shard skip` does."""
        to, id_ = Partition("inbox", shard), self._id()
        data = {"input": name, "reason": reason, "by": "Di"}
        origin = (*to, self._broker.held(to).next)
        sent = Sent(inbox.SKIP_ORDERED, inbox.ORDERS_SOURCE, id_, data, frozenset({shard}))
        self._oracle.ordered(origin, sent)
        value = inbox.encode_order(inbox.SKIP_ORDERED, id_, self._world.now_ms(), data)
        self._broker.land(to, [Record(None, value)], None)

    # --- what they do by themselves

    def begin(self) -> None:
        """Lay out the network, stock it, and place orders while the channels are open."""
        plan, chance = self._world.plan, self._chance
        everywhere = frozenset(range(plan.shards))
        for sku in _SKUS:
            self.send("item_defined", {"sku": sku, "name": sku}, everywhere, source="erp")
        for number in range(max(plan.shards, chance.choice((1, 2)))):
            self._market(f"M{number}", frozenset({number % plan.shards}))
        for number in range(plan.orders):
            self._after(chance.uniform(0.5, plan.span_s), self._order, number)
        for _ in range(plan.orders // 2):
            self._after(chance.uniform(1.0, plan.span_s + 2), self._stock)
        for _ in range(8):
            if self._odd(Oddity.GARBAGE):
                self._after(chance.uniform(0.0, plan.span_s), self.garbage)
        self._operations.begin(plan.changes, self._nodes, _SKUS, plan.span_s)
        if chance.random() < 0.5:
            item = {"sku": _UNKNOWN_SKU, "name": "late"}
            self._after(plan.span_s / 2, self.send_item, item, everywhere)

    def send_item(self, item: Plain, everywhere: frozenset[int]) -> None:
        """An item becomes known."""
        self.send("item_defined", item, everywhere, source="erp")

    def _market(self, market_id: str, shards: frozenset[int]) -> None:
        chance = self._chance
        (shard,) = shards
        market = {"market_id": market_id, "currency": "USD", "time_zone": "UTC", "shard": shard}
        nodes = [f"{market_id}-{letter}" for letter in "ABC"[: chance.choice((1, 2, 3))]]
        self.markets[market_id] = nodes
        self.tell("market_defined", market, shards, source="erp")
        for node_id in nodes:
            self._markets_of[node_id] = market_id
            node: Plain = {"node_id": node_id, "market_id": market_id, "kind": "warehouse"}
            node |= {"name": node_id, "address": {"country": "US"}}
            self._nodes[node_id] = node
            self.tell("node_defined", node, shards, source="erp")
            for sku in _SKUS:
                if chance.random() < 0.7:
                    self._receive(node_id, sku, chance.randint(1, 9))

    def _of_market(self, market_id: str) -> frozenset[int]:
        return frozenset({int(market_id[1:]) % self._world.plan.shards})

    def _of_node(self, node_id: str) -> frozenset[int]:
        return self._of_market(self._markets_of[node_id])

    def _report(self, type_: str, node_id: str, data: Plain, moves: Moves | None = None) -> None:
        self.send(
            type_,
            {"node_id": node_id, **data},
            self._of_node(node_id),
            source=f"wms-{node_id}",
            unsure=True,
            moves=moves,
        )

    def _receive(self, node_id: str, sku: str, quantity: int) -> None:
        data = {"sku": sku, "quantity": quantity, "document": self._id()}
        self._report("stock_received", node_id, data, Moves(node_id, {sku: quantity}))

    def receive_everywhere(self) -> None:
        """Give every shard something to decide."""
        for nodes in self.markets.values():
            self._receive(nodes[0], _SKUS[-1], 1)

    def _an_order(self, name: str, line: Plain) -> Plain:
        """An order somewhere, of one line."""
        return {
            "channel": "web",
            "market_id": self._chance.choice(list(self.markets)),
            "order_id": f"{name}{self._ids}",
            "placed_at": rfc3339(self._world.now_ms()),
            "currency": "USD",
            "ship_to": {"country": "US"},
            "lines": [line],
        }

    def order_too_much(self) -> None:
        """Place an order that has to wait, until what no node has comes."""
        order = self._an_order("big", _TOO_MUCH)
        self._wanting.add(order["order_id"])
        self._place(order)

    def order_what_is_there(self) -> None:
        """Receive a unit and have it ordered: a node will ship it."""
        order = self._an_order("small", {"line_id": "0", "sku": _SKUS[-1], "quantity": 1})
        self._receive(self.markets[order["market_id"]][0], _SKUS[-1], 1)
        self._place(order)

    def _stock(self) -> None:
        """A movement of stock, mostly more of it."""
        chance = self._chance
        node_id = chance.choice(list(self._markets_of))
        sku = chance.choice(_SKUS)
        match chance.choice(("more", "more", "more", "adjusted", "counted", "damaged")):
            case "more":
                self._receive(node_id, sku, chance.randint(1, 6))
            case "adjusted":
                delta = chance.choice((-3, -1, 2))
                data = {"sku": sku, "delta": delta, "reason": "found", "document": self._id()}
                moves = Moves(node_id, {sku: delta}, sure=delta > 0)
                self._report("stock_adjusted", node_id, data, moves)
            case "counted":
                data = {"sku": sku, "counted": chance.randint(0, 9)}
                self._report("stock_counted", node_id, data, Moves(node_id, {sku: 0}, sure=False))
            case _:
                data = {"sku": sku, "quantity": 1, "state": "damaged"}
                self._report("stock_received", node_id, data, Moves(node_id, {sku: 1}, sure=False))

    # --- channels

    def _order(self, number: int) -> None:
        """Place an order; the first one has to wait for stock, for a while."""
        chance = self._chance
        market_id = chance.choice(list(self.markets))
        channel = chance.choice(("web", "phone"))
        skus = chance.sample(_SKUS, chance.randint(1, 3))
        order: Plain = {
            "channel": channel,
            "market_id": market_id,
            "order_id": f"o{number}",
            "placed_at": rfc3339(self._world.now_ms()),
            "currency": "USD",
            "ship_to": {"country": "US"},
            "priority": chance.choice((0, 0, 0, 5)),
        }
        lines: list[Plain] = [
            {"line_id": str(n), "sku": sku, "quantity": chance.randint(1, 4)}
            for n, sku in enumerate(skus)
        ]
        if chance.random() < 0.1:
            lines[0]["sku"] = _UNKNOWN_SKU
        if number == 0:
            lines = [_TOO_MUCH]
        elif chance.random() < 0.2:
            field = chance.choice(("allow_split", "allow_partial"))
            order[field] = False
            key = (market_id, channel, f"o{number}")
            self.terms[key] = "together" if field == "allow_split" else "whole"
        elif chance.random() < 0.1:
            lines[0]["allow_backorder"] = False
        else:
            self.terms[market_id, channel, f"o{number}"] = "any"
        order["lines"] = lines
        self._place(order)
        if self._odd(Oddity.TOLD_AGAIN):
            self._after(chance.random() * 4, self._place, {**order, "lines": lines[::-1]})
        if self._odd(Oddity.CONTRADICTED):
            self._after(chance.random() * 4, self._place, {**order, "priority": 9})
        if chance.random() < 0.2:
            self._after(chance.random() * 4, self._cancel, order, bool(chance.getrandbits(1)))

    def _place(self, order: Plain) -> None:
        shards = self._of_market(order["market_id"])
        self.send("order_placed", order, shards, source=order["channel"], unsure=True)

    def _cancel(self, order: Plain, all_of_it: bool) -> None:  # noqa: FBT001 - one word or the other
        data = {key: order[key] for key in ("channel", "market_id", "order_id")}
        data["reason"] = "changed my mind"
        if not all_of_it:
            data["lines"] = [{"line_id": order["lines"][0]["line_id"], "quantity": 1}]
        shards = self._of_market(order["market_id"])
        self.send("order_cancel_requested", data, shards, source=order["channel"], unsure=True)

    # --- warehouses and carriers: what they read

    def landed(
        self, to: Partition, _base: int, records: Sequence[Record], _by: SimHost | None
    ) -> None:
        """Something was published: whom it concerns takes it in, once."""
        take = _READ_BY.get(to.topic)
        if take is None:
            return
        for record in records:
            headers = dict(record.headers)
            id_ = headers["ce_id"].decode()
            if id_ not in self._seen:
                self._seen.add(id_)
                kind = headers["ce_type"].decode().split(".")[1]
                take(self, kind, orjson.loads(record.value or b""))

    def _command(self, kind: str, data: Plain) -> None:
        chance = self._chance
        if kind == "fulfillment_requested":
            self._jobs[data["fulfillment_id"]] = {
                line["line_id"]: (line["sku"], line["quantity"]) for line in data["lines"]
            }
            self._after(chance.uniform(0.05, 1.0), self._look, data)
        elif kind == "fulfillment_cancellation_requested":
            if self._odd(Oddity.COUNTED):
                self._count(data)
            if self._odd(Oddity.IN_PART):
                self._cancel({**data, "lines": data["lines"][:1]}, all_of_it=False)
                self._after(chance.uniform(0.0, 0.4), self._reject_some, data)
            self._after(chance.uniform(0.05, 0.5), self._stop, data)

    def _count(self, command: Plain) -> None:
        """Count few units of what is to be stopped, before that has its answer."""
        sku, node_id = self._chance.choice(command["lines"])["sku"], command["node_id"]
        data = {"sku": sku, "counted": self._chance.randint(0, 3)}
        self._report("stock_counted", node_id, data, Moves(node_id, {sku: 0}, sure=False))

    def _reject_some(self, command: Plain) -> None:
        """Reject some units of a line that is to be stopped, and of which more is to be by now."""
        chance, id_ = self._chance, command["fulfillment_id"]
        job = self._jobs.get(id_, {})
        lines = [line["line_id"] for line in command["lines"] if line["line_id"] in job]
        if not lines:
            return
        line_id, reason = chance.choice(lines), chance.choice(_REASONS)
        sku, left = job[line_id]
        units = chance.randint(1, left)
        if units == left:
            del job[line_id]
        else:
            job[line_id] = (sku, left - units)
        rejected = [{"line_id": line_id, "quantity": units}]
        data = {"fulfillment_id": id_, "reason": reason, "lines": rejected}
        known = reason not in ("not_in_stock", "mismatch")
        self._report(
            "fulfillment_rejected",
            command["node_id"],
            data,
            Moves(command["node_id"], {sku: 0}, sure=known),
        )

    def _look(self, command: Plain) -> None:
        """Accept, or reject some of it."""
        chance, id_, node_id = self._chance, command["fulfillment_id"], command["node_id"]
        job = self._jobs[id_]
        if not job:
            return
        about = {"fulfillment_id": id_}
        if self._odd(Oddity.SHORT):
            reason = chance.choice(_REASONS)
            lines = list(job) if reason in ("closed", "capacity") else [chance.choice(list(job))]
            skus = {job[line][0]: 0 for line in lines}
            reported = [{"line_id": line, "quantity": job.pop(line)[1]} for line in lines]
            data = {**about, "reason": reason, "lines": reported}
            known = reason not in ("not_in_stock", "mismatch")
            self._report("fulfillment_rejected", node_id, data, Moves(node_id, skus, sure=known))
            if self._odd(Oddity.CONTRADICTED):
                self._report("fulfillment_accepted", node_id, about)
        elif chance.random() < 0.8:
            self._report("fulfillment_accepted", node_id, about)
        if job:
            self._after(chance.uniform(0.1, 2.0), self._ship, command)

    def _ship(self, command: Plain) -> None:
        """Ship what is left, in one package or two."""
        chance, id_, node_id = self._chance, command["fulfillment_id"], command["node_id"]
        job = self._jobs[id_]
        if not job:
            return
        if self.raced == 0 or self._odd(Oddity.RACED):
            self.raced += 1
            order = {**command, "lines": [{"line_id": line} for line in job]}
            self._cancel(order, all_of_it=True)
        lines: list[Plain] = [
            {"line_id": line_id, "quantity": quantity} for line_id, (_, quantity) in job.items()
        ]
        skus = {line_id: sku for line_id, (sku, _) in job.items()}
        job.clear()
        contradicted = self._odd(Oddity.CONTRADICTED)
        if contradicted:
            lines[0]["quantity"] += 1
        parts = [lines[:1], lines[1:]] if len(lines) > 1 and chance.random() < 0.3 else [lines]
        for number, part in enumerate(parts):
            package = {
                "package_id": f"P{number}",
                "carrier": "acme",
                "tracking_number": f"{id_}-{number}",
                "lines": part,
            }
            data = {"shipped_at": rfc3339(self._world.now_ms()), "packages": [package]}
            left = {skus[line["line_id"]]: -line["quantity"] for line in part}
            moves = Moves(node_id, left, sure=not contradicted)
            self._report("fulfillment_shipped", node_id, {"fulfillment_id": id_, **data}, moves)
        if self._odd(Oddity.CONTRADICTED):
            data = {"fulfillment_id": id_, "reason": chance.choice(_REASONS)}
            all_of_it = {
                line["sku"]: 0 for line in command["lines"]
            }  # it may overtake what was told
            self._report(
                "fulfillment_rejected", node_id, data, Moves(node_id, all_of_it, sure=False)
            )
        if self._odd(Oddity.LATE):  # the carrier was faster than the warehouse
            self._track(f"{id_}-0", command["market_id"], "in_transit")

    def _stop(self, command: Plain) -> None:
        """Answer a cancellation: what is still here stops, what has left doesn't."""
        job = self._jobs.get(command["fulfillment_id"], {})
        stopped, too_late = [], []
        for line in command["lines"]:
            line_id, asked = line["line_id"], line["quantity"]
            sku, left = job.get(line_id, ("", 0))
            stop = min(asked, left)
            if stop:
                stopped.append({"line_id": line_id, "quantity": stop})
                if stop == left:
                    del job[line_id]
                else:
                    job[line_id] = (sku, left - stop)
            if asked > stop:
                too_late.append({"line_id": line_id, "quantity": asked - stop})
        about = {key: command[key] for key in ("fulfillment_id", "cancellation_id")}
        answers = [("accepted", stopped), ("rejected", too_late)]
        for answer, lines in answers:
            if lines:
                type_ = f"fulfillment_cancellation_{answer}"
                self._report(type_, command["node_id"], {**about, "lines": lines})
                if self._odd(Oddity.CONTRADICTED):
                    other = "accepted" if answer == "rejected" else "rejected"
                    type_ = f"fulfillment_cancellation_{other}"
                    data = {**about, "lines": lines}  # the truth is told first, and is final
                    self._after(6.0, self._report, type_, command["node_id"], data)

    def _update(self, kind: str, data: Plain) -> None:
        waits = kind == "order_allocated" and data["backordered"]
        if waits and data["order_id"] in self._wanting:  # what has to wait gets it when it waits
            self._wanting.remove(data["order_id"])
            node_id = self.markets[data["market_id"]][0]
            self._after(1.0, self._receive, node_id, _SKUS[0], _BIG)
        if kind != "shipment_sent":
            return
        for package in data["packages"]:
            number, market_id = package["tracking_number"], data["market_id"]
            first = self._chance.uniform(0.1, 1.0)
            self._after(first, self._track, number, market_id, "in_transit")
            later = first + self._chance.uniform(0.1, 2.0)
            self._after(later, self._track, number, market_id, "delivered")

    def _track(self, number: str, market_id: str, status: str) -> None:
        shards = self._of_market(market_id)
        data = {"carrier": "acme", "tracking_number": number, "status": status}
        data["at"] = rfc3339(self._world.now_ms())
        if self._chance.random() < 0.8:
            data["market_id"] = market_id
        else:
            shards = frozenset(range(self._world.plan.shards))
        self.send("tracking_updated", data, shards, source="acme", unsure=True)


_KEYS: Final[dict[str, Callable[[Plain], str]]] = {
    "network": lambda data: str(sorted(data.items())[:1]),
    "orders": lambda data: data["order_id"],
    "stock": lambda data: data["node_id"],
    "carriers": lambda data: data.get("tracking_number") or data["market_id"],
}
_READ_BY: Final[dict[str, Callable[[Partners, str, Plain], None]]] = {
    "fulfillment-commands": Partners._command,
    "order-updates": Partners._update,
}
