"""The demo's network: ten warehouses in real metro areas, thirty stores in towns around them.

Two markets, east and west, each on a shard of its own: more than one shard works, and no order
needs stock of both. Towns, coordinates and time zones come from the `zipcodes` package; which town
a store stands in and every street line are invented, the same ones in every run.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from math import cos, radians
from random import Random
from typing import Final, Literal, NamedTuple

import zipcodes

from events.base import Fact, Location
from events.network import (
    CarrierServiceDefined,
    MarketDefined,
    NodeAddress,
    NodeDefined,
    PlaceRow,
    PlacesDefined,
    RateBand,
)
from events.orders import Address
from events.rules import RuleSetActivated, RuleSetApproved, RuleSetProposed

CURRENCY: Final = "USD"
CARRIER: Final = "parcel-post"
SERVICE: Final = "ground"
MARKETS: Final = {"us-east": "America/New_York", "us-west": "America/Los_Angeles"}
"""Market ids with their time zones; the place in the list is the shard."""

_WAREHOUSES: Final = {  # a code, the market, a zip code of its logistics district
    "EWR": ("us-east", "07114"),
    "CLT": ("us-east", "28214"),
    "ATL": ("us-east", "30336"),
    "JAX": ("us-east", "32218"),
    "CMH": ("us-east", "43217"),
    "MDW": ("us-west", "60436"),
    "DFW": ("us-west", "75241"),
    "DEN": ("us-west", "80216"),
    "ONT": ("us-west", "91761"),
    "SEA": ("us-west", "98032"),
}
_REGION_KM: Final = 120.0  # stores around a warehouse
_TRADE_KM: Final = 50.0  # customers around a store
_KM_PER_DEGREE: Final = 111.2
_STREETS: Final = (
    *("Maple", "Oak", "Mill", "Church", "Park", "Lake", "Hill", "River", "Cedar", "Main"),
    *("Spring", "Orchard", "School", "Bridge", "Meadow", "Prospect", "Union", "Walnut"),
)
_HANDLING_MINOR: Final = {"warehouse": 120, "store": 200}
_ORDERS_PER_DAY: Final = {"warehouse": 2_000, "store": 150}
_ROWS_PER_CHUNK: Final = 1_000
_VERSION: Final = "1"
_RULES: Final = {
    "defaults": {
        "late_per_day": {"standard": 400},
        "load_price": {"70": 60, "90": 200},  # a full store is dearer than a quiet one
    },
    "strategies": [
        {"name": "everything", "split": {"max_legs": 3, "cost_per_extra_leg": 100}},
    ],
}
_KINDS: Final = ("St", "Ave", "Rd", "Ln", "Dr")


class Town(NamedTuple):
    """A town by one of its zip codes, in degrees."""

    zip_code: str
    city: str
    state: str
    time_zone: str
    lat: float
    lon: float


@dataclass(frozen=True, slots=True)
class Node:
    """A place that ships, with the towns it serves."""

    node_id: str
    market_id: str
    kind: Literal["warehouse", "store"]
    name: str
    street: str
    town: Town

    def defined(self) -> NodeDefined:
        """Its master data."""
        return NodeDefined(
            node_id=self.node_id,
            market_id=self.market_id,
            kind=self.kind,
            name=self.name,
            address=NodeAddress(
                country="US",
                region=self.town.state,
                city=self.town.city,
                postal_code=self.town.zip_code,
                address_lines=[self.street],
            ),
            location=Location(lat=self.town.lat, lon=self.town.lon),
            pickup=self.kind == "store",
            time_zone=self.town.time_zone,
            handling_cost_minor=_HANDLING_MINOR[self.kind],
            capacity_orders_per_day=_ORDERS_PER_DAY[self.kind],
        )


class Network:
    """Markets, nodes and the towns around the stores."""

    def __init__(self, stores: Sequence[int]) -> None:
        """Place `stores` (ids, the biggest first) around the warehouses in turn."""
        towns = _usable_towns()
        by_zip = {town.zip_code: town for town in towns}
        self.stores: dict[int, Node] = {}
        self.warehouses: dict[str, Node] = {}
        """By code."""
        self.nearest_warehouse: dict[str, Node] = {}
        """By the node id of a store."""
        self._customers: dict[int, list[Town]] = {}
        for code, (market_id, zip_code) in _WAREHOUSES.items():
            town = by_zip[zip_code]
            self.warehouses[code] = Node(
                f"DC-{code}",
                market_id,
                "warehouse",
                f"{town.city} distribution center",
                _street(Random(code)),  # noqa: S311  (invented, the same in every run)
                town,
            )
        around = {code: _within(towns, at.town, _REGION_KM) for code, at in self.warehouses.items()}
        codes = list(_WAREHOUSES)
        for rank, store_id in enumerate(stores):
            warehouse = self.warehouses[codes[rank % len(codes)]]
            chance = Random(store_id)  # noqa: S311  (invented, the same in every run)
            town = chance.choice(around[codes[rank % len(codes)]])
            node = Node(
                f"ST-{store_id}",
                warehouse.market_id,
                "store",
                f"{town.city} store {store_id}",
                _street(chance),
                town,
            )
            self.stores[store_id] = node
            self.nearest_warehouse[node.node_id] = warehouse
            self._customers[store_id] = _within(towns, town, _TRADE_KM)

    @property
    def nodes(self) -> list[Node]:
        """All of them, warehouses first."""
        return [*self.warehouses.values(), *self.stores.values()]

    def facts(self) -> list[Fact]:
        """Markets, nodes, the carrier, places and rules, in the order they are to be sent."""
        return [
            *(
                MarketDefined(market_id=market_id, currency=CURRENCY, time_zone=zone, shard=shard)
                for shard, (market_id, zone) in enumerate(MARKETS.items())
            ),
            *(node.defined() for node in self.nodes),
            *(service for market_id in MARKETS for service in _carrier_services(market_id)),
            *self._places(),
            *(fact for market_id in MARKETS for fact in _rules(market_id)),
        ]

    def _places(self) -> list[PlacesDefined]:
        """Where the postal codes are that orders go to."""
        towns = {town.zip_code: town for around in self._customers.values() for town in around}
        rows = [
            PlaceRow(
                postal_code=zip_code,
                lat=town.lat,
                lon=town.lon,
                region=town.state,
                city=town.city,
            )
            for zip_code, town in sorted(towns.items())
        ]
        chunks = [rows[at : at + _ROWS_PER_CHUNK] for at in range(0, len(rows), _ROWS_PER_CHUNK)]
        return [
            PlacesDefined(
                country="US", version=_VERSION, chunk=number, chunks=len(chunks), rows=chunk
            )
            for number, chunk in enumerate(chunks, 1)
        ]

    def home_of(self, household_id: int, store_id: int) -> Address:
        """Where a household that buys here lives: always the same real town, invented street.

        Without coordinates, as shops have it: its postal code says where that is.
        """
        chance = Random(household_id * 100_003 + store_id)  # noqa: S311  (invented, repeatable)
        town = chance.choice(self._customers[store_id])
        return Address(
            name=f"Household {household_id}",
            address_lines=[_street(chance)],
            city=town.city,
            region=town.state,
            postal_code=town.zip_code,
            country="US",
            residential=True,
        )


def _usable_towns() -> list[Town]:
    """Towns with ordinary zip codes; rows without usable coordinates are left out."""
    towns = []
    rows = zipcodes.filter_by(  # type: ignore[no-untyped-call]
        active=True, zip_code_type="STANDARD", country="US"
    )
    for row in rows:
        try:
            lat, lon = float(row["lat"]), float(row["long"])
        except (TypeError, ValueError):
            continue
        if (lat or lon) and row["city"] and row["timezone"]:
            towns.append(
                Town(row["zip_code"], row["city"], row["state"], row["timezone"], lat, lon)
            )
    return towns


def _within(towns: list[Town], center: Town, km: float) -> list[Town]:
    """Towns in the square of `km` around a town, itself among them."""
    lat_span = km / _KM_PER_DEGREE
    lon_span = lat_span / cos(radians(center.lat))
    return [
        town
        for town in towns
        if abs(town.lat - center.lat) <= lat_span and abs(town.lon - center.lon) <= lon_span
    ]


def _street(chance: Random) -> str:
    return f"{chance.randint(1, 2400)} {chance.choice(_STREETS)} {chance.choice(_KINDS)}"


def _carrier_services(market_id: str) -> list[CarrierServiceDefined]:
    """A cheap one, and a fast one for what is promised."""
    ground = [
        RateBand(to_km=250, base_minor=650, per_kg_minor=40, transit_days=1),
        RateBand(to_km=1_000, base_minor=800, per_kg_minor=70, transit_days=3),
        RateBand(to_km=6_000, base_minor=1_100, per_kg_minor=130, transit_days=5),
    ]
    express = [RateBand(to_km=6_000, base_minor=1_900, per_kg_minor=250, transit_days=1)]
    return [
        CarrierServiceDefined(
            market_id=market_id,
            carrier=CARRIER,
            service=service,
            service_levels=["standard"],
            rates=rates,
            pickup_days=["mon", "tue", "wed", "thu", "fri"],
        )
        for service, rates in ((SERVICE, ground), ("express", express))
    ]


def _rules(market_id: str) -> list[Fact]:
    """A rule set by one person, approved by another."""
    return [
        RuleSetProposed(
            market_id=market_id,
            version=_VERSION,
            author="planner",
            note="the demo's",
            body=_RULES,
        ),
        RuleSetApproved(market_id=market_id, version=_VERSION, approver="head of operations"),
        RuleSetActivated(market_id=market_id, version=_VERSION),
    ]
