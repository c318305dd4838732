"""Small networks with everything switched on at random, fed to a real shard as inputs."""

import itertools
import random
from datetime import timedelta
from typing import Any

import orjson

from events.decided import InputRecord
from events.inputs import INPUTS
from orchestrator.core.decide import decide, tick, work_due
from orchestrator.core.shard import Shard
from orchestrator.core.sourcing.plan import Request, Want
from schemas.times import rfc3339
from tests.properties.brute_force import Plain, World, local

ZONES = ("America/New_York", "Europe/Berlin", "Asia/Kathmandu", "UTC")
LEVELS = ("standard", "expedited")
CHANNELS = ("web", "phone", "marketplace")
CAPABILITIES = ("cold", "hazmat")
CATEGORIES = ("food", "toys")
GROUPS = ("stores", "hubs")
REGIONS = ("MA", "IL", "CA")
POSTAL = ("02108", "02139", "60601")
WEEK = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")
STARTS_MS = (
    1_800_000_000_000,  # 2027-01-15
    1_805_000_000_000,  # 2027-03-14, when clocks go forward in New York
    1_824_999_000_000,  # 2027-10-31, when they go back in Berlin
)
DAY_MS = 86_400_000


def covers(lane: Plain, other: Plain) -> bool:
    """Whether restoring a lane restores the other too: it is a part of it."""
    return all(
        str(other.get(name, "")).startswith(value)
        if name == "destination_prefix"
        else other.get(name) == value
        for name, value in lane.items()
    )


class Play:
    """A world, and how it changes."""

    def __init__(self, seed: int) -> None:
        self.chance = random.Random(seed)
        chance = self.chance
        self.now_ms = chance.choice(STARTS_MS) + chance.randrange(7 * DAY_MS)
        self.offsets: dict[str, itertools.count[int]] = {}
        self.orders = itertools.count(1)
        self.versions = itertools.count(1)
        zone = chance.choice(ZONES)
        market = {"market_id": "M", "currency": "USD", "time_zone": zone}
        self.world = World(Shard(0), market)
        self.spread = chance.choice((1, 3, 500))  # few prices: ties
        self.feed(tick(self.now_ms))
        self.send("market_defined", **market)
        for node_id in sorted(chance.sample("ABCDEF", chance.choice((2, 3, 3, 4)))):
            self.define_node(node_id)
        for sku in ("a", "b", "c", "d"):
            self.define_item(sku)
        for name in ("ground", "air", "van")[: chance.choice((0, 1, 2, 2, 3, 3))]:
            self.define_service(name)
        if self.maybe(0.9):
            self.activate()
        for node_id, sku in itertools.product(self.world.nodes, self.world.items):
            if self.maybe(0.75):
                self.receive(node_id, sku)

    # telling

    def maybe(self, share: float) -> bool:
        return self.chance.random() < share

    def some(self, values: tuple[Any, ...], most: int | None = None) -> list[Any]:
        """One of them or more."""
        count = self.chance.randint(1, most or len(values))
        return sorted(self.chance.sample(values, count), key=values.index)

    def price(self) -> int:
        return self.chance.randint(0, self.spread)

    def feed(self, record: InputRecord) -> list[Any]:
        shard = self.world.shard
        events: list[Any] = list(decide(shard, record))
        while work_due(shard, self.now_ms):
            events += decide(shard, tick(self.now_ms))
        return events

    def send(self, type_: str, **data: Any) -> list[Any]:  # noqa: ANN401 - any JSON
        model = INPUTS[type_].model_validate_json(orjson.dumps(data))
        offset = next(self.offsets.setdefault(model.TOPIC, itertools.count()))
        return self.feed(
            {
                "type": type_,
                "version": 1,
                "id": f"{model.TOPIC}-{offset}",
                "source": "world",
                "time_ms": self.now_ms,
                "origin": [model.TOPIC, 0, offset, self.now_ms],
                "data": orjson.loads(model.model_dump_json(exclude_defaults=True)),
            }
        )

    # network

    def day(self, ahead: int) -> str:
        here = local(self.now_ms, self.world.market["time_zone"]).date()
        return (here + timedelta(days=ahead)).isoformat()

    def location(self) -> Plain:
        lat, lon = self.chance.uniform(25, 48), self.chance.uniform(-122, -70)
        return {"lat": round(lat, 4), "lon": round(lon, 4)}

    def define_node(self, node_id: str) -> None:
        chance, maybe = self.chance, self.maybe
        node: Plain = {
            "node_id": node_id,
            "market_id": "M",
            "kind": chance.choice(("warehouse", "store")),
            "name": node_id,
            "address": {"country": "US" if maybe(0.85) else "CA", "region": chance.choice(REGIONS)},
            "working_days": self.some(WEEK) if maybe(0.5) else list(WEEK),
            "groups": [chance.choice(GROUPS)] if maybe(0.8) else [],
            "capabilities": self.some(CAPABILITIES) if maybe(0.7) else [],
        }
        if maybe(0.9):
            node["location"] = self.location()
        if maybe(0.06):
            node[chance.choice(("active", "ships"))] = False
        if maybe(0.4):
            node["time_zone"] = chance.choice(ZONES)
        if maybe(0.6):
            node["cut_off"] = chance.choice(("00:30", "09:15", "12:00", "18:45", "23:59"))
        if maybe(0.3):
            node["holidays"] = sorted({self.day(chance.randint(0, 4)) for _ in range(2)})
        if maybe(0.3):
            node["processing_minutes"] = chance.choice((30, 600, 2_000))
        if maybe(0.3):
            node["capacity_orders_per_day"] = chance.randint(1, 4)
        if maybe(0.3):
            node["capacity_units_per_day"] = chance.randint(1, 6)
        if maybe(0.6):
            node["handling_cost_minor"] = self.price()
        if maybe(0.4):
            node["unit_cost_minor"] = self.price()
        self.world.nodes[node_id] = node
        self.send("node_defined", **node)

    def define_item(self, sku: str) -> None:
        item: Plain = {
            "sku": sku,
            "name": sku,
            "weight_g": self.chance.choice((0, 400, 1_000, 2_500)),
            "volume_ml": self.chance.choice((0, 500, 3_000)),
            "value_minor": self.chance.choice((0, 500, 2_000)),
        }
        if self.maybe(0.6):
            item["category"] = self.chance.choice(CATEGORIES)
        if self.maybe(0.25):
            item["requires"] = self.some(CAPABILITIES, 1)
        self.world.items[sku] = item
        self.send("item_defined", **item)

    def rate(self) -> Plain:
        rate: Plain = {"transit_days": self.chance.randint(0, 4)}
        if self.maybe(0.3):
            edges = sorted(self.chance.sample((800, 1_000, 2_000, 4_000, 9_000), 2))
            rate["weight_breaks"] = [{"to_g": g, "base_minor": self.price()} for g in edges]
        else:
            rate["base_minor"] = self.price()
        if self.maybe(0.4):
            rate["per_kg_minor"] = self.price()
        if self.maybe(0.3):
            rate["per_unit_minor"] = self.price()
        return rate

    def zone(self) -> Plain:
        zone = self.rate()
        if self.maybe(0.4):
            zone["origin_region"] = self.chance.choice(REGIONS)
        if self.maybe(0.3):
            zone["origin_node_id"] = self.chance.choice(list(self.world.nodes))
        if self.maybe(0.3):
            zone["destination_country"] = self.chance.choice(("US", "CA"))
        if self.maybe(0.5):
            zone["destination_prefix"] = self.chance.choice(("0", "021", "606"))
        return zone

    def define_service(self, name: str) -> None:
        chance, maybe = self.chance, self.maybe
        service: Plain = {
            "market_id": "M",
            "carrier": "dhl" if name == "air" else "ups",
            "service": name,
            "service_levels": self.some(LEVELS) if maybe(0.5) else list(LEVELS),
        }
        if maybe(0.75):
            edges = sorted(chance.sample((600, 1_500, 2_500, 20_000), chance.randint(1, 3)))
            service["rates"] = [{"to_km": km, **self.rate()} for km in edges]
        if maybe(0.4) or "rates" not in service:
            seen: dict[tuple[str, ...], Plain] = {}
            for _ in range(chance.randint(1, 3)):
                zone = self.zone()
                places = ("origin_region", "origin_node_id", "destination_country")
                key = tuple(zone.get(one, "") for one in (*places, "destination_prefix"))
                seen.setdefault(key, zone)
            service["zones"] = list(seen.values())
        if maybe(0.4):
            service["surcharges"] = {
                "residential_minor": self.price(),
                "oversize_minor": self.price(),
                "oversize_over_g": chance.choice((1_000, 3_000)),
                "oversize_over_ml": chance.choice((1_000, 4_000)),
            }
        if maybe(0.4):
            service["pickup_days"] = self.some(WEEK)
        if maybe(0.2):
            service["excluded_capabilities"] = self.some(CAPABILITIES, 1)
        if maybe(0.05):
            service["active"] = False
        self.world.services[name] = service
        self.send("carrier_service_defined", **service)

    def define_services_anew(self) -> None:
        for name in list(self.world.services)[:1]:
            self.define_service(name)

    def match(self) -> Plain:
        groups = tuple({one: None for node in self.world.nodes.values() for one in node["groups"]})
        fields: Plain = {}
        if self.maybe(0.4):
            fields["kind"] = ["warehouse", "store"]
        if self.maybe(0.3) and groups:
            fields["group"] = [self.chance.choice(groups)]
        if self.maybe(0.2):
            fields["country"] = ["US"]
        if self.maybe(0.2):
            fields["region"] = self.some(REGIONS)
        if self.maybe(0.4):
            fields["not"] = {"node": [self.chance.choice(list(self.world.nodes))]}
        return fields or {"kind": ["warehouse"]}

    # rules

    def fences(self) -> Plain:
        chance, maybe = self.chance, self.maybe
        fences: Plain = {}
        if maybe(0.25):
            fences["nodes"] = self.match()
        if maybe(0.1):
            fences["capability"] = self.some(CAPABILITIES, 1)
        if maybe(0.2):
            fences["max_km"] = chance.choice((1_000, 2_000, 4_000))
        if maybe(0.15):
            fences["cross_border"] = False
        if maybe(0.2):
            fences["reach_promise"] = True
        if maybe(0.2):
            fences["min_shelf_days"] = chance.randint(0, 5)
        if maybe(0.2):
            fences["keep"] = [{"units": chance.randint(0, 2), **self.match()}]
        return fences

    def strategy(self, name: str) -> Plain:
        chance, maybe = self.chance, self.maybe
        strategy: Plain = {"name": name, "fences": self.fences()}
        if maybe(0.35):
            criteria = chance.sample(
                [
                    "distance",
                    "fewest_legs",
                    "cost",
                    "last_used",
                    {"last_used": "desc"},
                    "on_hand",
                    {"on_hand": "asc"},
                    "days_of_supply",
                    {"days_of_supply": "asc"},
                    {"sequence": chance.sample(sorted(self.world.nodes), 2)},
                ],
                chance.randint(1, 4),
            )
            by = {one if isinstance(one, str) else next(iter(one)): one for one in criteria}
            strategy["objective"] = list(by.values())
        split: Plain = {"quantity": chance.choice(("when_short", "when_short", "never", "always"))}
        if maybe(0.25):
            split["max_legs"] = chance.randint(1, 2)
        if maybe(0.15):
            split["leg_min"] = {"value": chance.choice((500, 1_000, 2_500))}
        elif maybe(0.15):
            split["leg_min"] = {"units": 2}
        if maybe(0.3):
            split["cost_per_extra_leg"] = self.price()
        strategy["split"] = split
        parcel: Plain = {}
        if maybe(0.3):
            parcel["max_g"] = chance.choice((900, 1_500, 3_000))
        if maybe(0.2):
            parcel["max_ml"] = chance.choice((1_000, 3_500))
        if maybe(0.2):
            parcel["apart"] = [chance.choice((["food", "toys"], ["hazmat", "food"]))]
        if parcel:
            strategy["parcel"] = parcel
        return strategy

    def when(self) -> Plain:
        when = self.chance.choice(
            (
                {"channel": ["phone"]},
                {"service_level": ["expedited"], "not": {"country": ["CA"]}},
                {"quantity": {"max": 2}},
                {"order_value": {"min": 1_000}},
                {"category": ["food"], "not": {"channel": ["web"]}},
            )
        )
        return dict(when)

    def activate(self) -> None:
        chance, maybe = self.chance, self.maybe
        defaults: Plain = {}
        if maybe(0.4):
            entry: Plain = {"units": chance.randint(0, 2)}
            if maybe(0.6):
                entry["nodes"] = self.match()
            if maybe(0.4):
                entry["category"] = ["food"]
            defaults["safety_stock"] = [entry, {"units": chance.randint(0, 1), "sku": ["b"]}]
        if maybe(0.4):
            of = {"sku": self.some(("a", "b"))} if maybe(0.5) else {}
            entries = [{"units": chance.randint(0, 4), **of}]
            defaults["thresholds"] = dict.fromkeys(self.some(CHANNELS), entries)
        if maybe(0.4):
            pool: Plain = {"id": "p", "sku": self.some(("a", "b", "c")), "channel": "phone"}
            pool["units"] = chance.randint(1, 6)
            if maybe(0.4):
                pool["from"] = self.day(chance.randint(-2, 1))
            if maybe(0.4):
                pool["until"] = self.day(chance.randint(1, 2))
            defaults["pools"] = [pool]
        if maybe(0.6):
            named = {one: self.price() for one in self.some((*LEVELS, "default"))}
            defaults["late_per_day"] = named
        if maybe(0.5):
            steps = sorted(chance.sample((0, 25, 50, 75, 100), 3))
            defaults["load_price"] = {str(step): self.price() for step in steps}
        strategies = []
        if maybe(0.4):
            first = self.strategy("first")
            first["when"] = self.when()
            if maybe(0.6):
                first["else"] = "last"
            strategies.append(first)
        last = self.strategy("last")
        if maybe(0.3):
            last["else"] = "spare"
            strategies += [last, self.strategy("spare")]
        else:
            strategies.append(last)
        body = {"defaults": defaults, "strategies": strategies}
        self.world.body = body
        version = {"market_id": "M", "version": next(self.versions)}
        self.send("rule_set_proposed", author="Ada", body=body, **version)
        self.send("rule_set_approved", approver="Grace", **version)
        told = self.send("rule_set_activated", **version)
        assert self.world.state.rules.version == str(version["version"]), (body, told)

    # what changes

    def receive(self, node_id: str, sku: str) -> None:
        data: Plain = {"node_id": node_id, "sku": sku, "quantity": self.chance.randint(1, 5)}
        if self.maybe(0.3):
            data |= {"expires_on": self.day(self.chance.randint(0, 6)), "lot": "L"}
        if self.maybe(0.1):
            data["state"] = "held"
        self.send("stock_received", **data)

    def change(self) -> None:
        """Something that planning has to notice."""
        chance, world = self.chance, self.world
        node_id, sku = chance.choice(list(world.nodes)), chance.choice(list(world.items))
        match chance.choice(
            ("order",) * 6
            + ("receive",) * 5
            + (
                "count",
                "count",
                "reject",
                "reject",
                "ship",
                "cancel",
                "time",
                "time",
                "lane",
                "net",
            )
        ):
            case "order":
                self.send("order_placed", **self.order())
            case "receive":
                self.receive(node_id, sku)
            case "count":
                units = chance.randint(0, 6)
                self.send("stock_counted", node_id=node_id, sku=sku, counted=units)
            case "time":
                self.now_ms += chance.choice((60_000, 3 * 3_600_000, 13 * 3_600_000, DAY_MS))
                self.feed(tick(self.now_ms))
            case "lane":
                self.lane()
            case "net":
                chance.choice(
                    (
                        lambda: self.define_node(node_id),
                        self.activate,
                        lambda: self.define_item(sku),
                        self.define_services_anew,
                    )
                )()
            case told:
                self.report(told)

    def report(self, told: str) -> None:
        """What a node or a customer says of an order that is on its way."""
        open_ = [
            one
            for order in self.world.state.orders.values()
            for one in order.fulfillments
            if any(line.reserved for line in one.lines)
        ]
        if not open_:
            return
        one = self.chance.choice(open_)
        of = {"fulfillment_id": one.fulfillment_id, "node_id": one.node_id}
        if told == "reject":
            reason = self.chance.choice(("not_in_stock", "capacity", "other"))
            self.send("fulfillment_rejected", **of, reason=reason, stock_effect="none")
        elif told == "ship":
            package = {"package_id": "P"}
            at = rfc3339(self.now_ms)
            self.send("fulfillment_shipped", **of, shipped_at=at, packages=[package])
        else:
            self.send("fulfillment_cancellation_accepted", **of)

    def lane(self) -> None:
        lanes = self.world.lanes
        if lanes and self.maybe(0.6):
            restored = lanes.pop()
            self.world.lanes = [one for one in lanes if not covers(restored, one)]
            self.send("lane_restored", market_id="M", **restored)
            return
        lane: Plain = {"carrier": self.chance.choice(("ups", "dhl"))}
        if self.maybe(0.5):
            lane["service"] = self.chance.choice(("ground", "air"))
        if self.maybe(0.3):
            lane["origin_node_id"] = self.chance.choice(list(self.world.nodes))
        if self.maybe(0.4):
            lane["destination_prefix"] = self.chance.choice(("021", "6"))
        if lane not in lanes:
            lanes.append(lane)
            self.send("lane_suspended", market_id="M", reason="storm", **lane)

    # what is asked

    def order(self) -> Plain:
        chance, maybe = self.chance, self.maybe
        to: Plain = {"country": "US" if maybe(0.85) else "CA", "name": "Ada"}
        if maybe(0.8):
            to["postal_code"] = chance.choice(POSTAL)
        if maybe(0.85):
            to["location"] = self.location()
        if maybe(0.4):
            to["residential"] = True
        count = chance.choice((1, 2, 2, 3))
        skus = chance.sample(list(self.world.items), count)
        if count > 1 and maybe(0.08):
            skus[1] = skus[0]
        lines = [
            {"line_id": str(n), "sku": sku, "quantity": chance.choice((1, 1, 1, 2, 2, 3))}
            for n, sku in enumerate(skus, 1)
        ]
        if maybe(0.3) and len({*skus}) == count:
            lines[0]["unit_price_minor"] = chance.choice((300, 1_500))
        data: Plain = {
            "market_id": "M",
            "channel": chance.choice(CHANNELS),
            "order_id": str(next(self.orders)),
            "placed_at": rfc3339(self.now_ms),
            "currency": "USD",
            "ship_to": to,
            "lines": lines,
        }
        if maybe(0.5):
            data["service_level"] = chance.choice(LEVELS)
        for name, share in (("deliver_by", 0.5), ("ship_by", 0.15), ("ship_not_before", 0.15)):
            if maybe(share):
                ahead = chance.randint(0, 6)
                at = rfc3339(self.now_ms + ahead * DAY_MS)
                data[name] = self.day(ahead) if maybe(0.5) else at
        if maybe(0.12):
            data["allow_split"] = False
        if maybe(0.12):
            data["allow_partial"] = False
        if maybe(0.1) and self.world.services:
            service = chance.choice(list(self.world.services.values()))
            data["carrier"] = service["carrier"]
            if maybe(0.5):
                data["service"] = service["service"]
        return data

    def request(self) -> Request:
        data = self.order()
        wants = [Want(one["line_id"], one["sku"], one["quantity"]) for one in data["lines"]]
        return Request(data, wants, self.now_ms, "order_placed")
