"""Weeks of a shop with a central warehouse, a regional one and stores: what comes from outside.

Everything here is drawn from the seed before anybody decides, or by (seed, order, node): whoever
decides meets the same demand and, doing the same, the same luck. Money in cents.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from functools import cache
from math import exp
from random import Random
from typing import Final, NamedTuple
from zoneinfo import ZoneInfo

from bench.quality.geography import METROS, Metro, miles

FIRST_DAY: Final = date(2026, 11, 2)  # a Monday
WARM_UP_DAYS: Final = 7
"""Orders of the first days are served, and not counted: stock begins full."""
MEASURED_DAYS: Final = 21
DRAIN_DAYS: Final = 21
"""After the last order, until the books are closed: what has not arrived then is late."""
HOLIDAYS: Final = (date(2026, 11, 11), date(2026, 11, 26))
MARKET_ZONE: Final = ZoneInfo("America/New_York")

CENTRAL: Final = "W-CMH"
ORDERS_A_DAY: Final = 150
_PROMOTION: Final = range(16, 19)  # days of much demand
_PROMOTION_FACTOR: Final = 1.6
_BY_WEEKDAY: Final = (1.1, 1.0, 0.95, 0.95, 1.0, 0.95, 1.05)
_NOISE: Final = 0.15  # sigma of the log-normal factor on a day's demand
_LINES: Final = (0.55, 0.26, 0.13, 0.06)
_QUANTITY: Final = (0.85, 0.11, 0.04)
_EXPEDITED: Final = 0.2
PROMISED_DAYS: Final = {"standard": 6, "expedited": 3}
"""Calendar days from the day an order is placed to the day it was promised for."""

_SKUS: Final = 120
_ZIPF: Final = 0.6
_ASSORTMENT: Final = 0.65  # share of the items that a store carries
_CENTRAL_DAYS: Final = 9.5  # of all orders' demand that a warehouse is filled up to
_REGIONAL_DAYS: Final = 2.0
_SHOP_DAYS: Final = 11.0  # of its customers' demand that a store is filled up to
_STORE_ONLINE_DAYS: Final = 2.0  # and of orders' demand, for its part of the population
_WALK_INS: Final = 1.2  # units a day that customers in stores buy, over units ordered
_UNITS_A_LINE: Final = sum((n + 1) * p for n, p in enumerate(_QUANTITY))
_LINES_AN_ORDER: Final = sum((n + 1) * p for n, p in enumerate(_LINES))
UNITS_A_DAY: Final = ORDERS_A_DAY * _LINES_AN_ORDER * _UNITS_A_LINE

_MISSING: Final = {"warehouse": 0.01, "store": 0.06}
"""How likely units that the books show are not there when a line is picked."""
_DELAYED: Final = ((0.02, 3), (0.05, 2), (0.12, 1))
"""How likely a package takes so many days longer: cumulated probability, days."""


class Site(NamedTuple):
    """A node as everybody knows it."""

    node_id: str
    kind: str
    metro: Metro
    time_zone: str
    cut_off: time  # local
    working_days: tuple[int, ...]  # Monday is 0
    capacity: int  # fulfillments a day
    handling_minor: int


class Band(NamedTuple):
    """What a parcel costs up to a distance."""

    to_km: int
    base_minor: int
    per_kg_minor: int
    transit_days: int


class Service(NamedTuple):
    """A carrier's service."""

    carrier: str
    service: str
    levels: tuple[str, ...]
    bands: tuple[Band, ...]

    def band(self, km: float) -> Band:
        """The first that reaches as far; StopIteration beyond the last."""
        return next(band for band in self.bands if km <= band.to_km)


SERVICES: Final = (
    Service(
        "national",
        "ground",
        ("standard",),
        (
            Band(250, 720, 30, 1),
            Band(600, 780, 40, 2),
            Band(1_200, 860, 55, 3),
            Band(2_000, 970, 75, 4),
            Band(6_000, 1_120, 100, 5),
        ),
    ),
    Service(
        "national",
        "express",
        ("standard", "expedited"),
        (Band(500, 1_500, 120, 1), Band(6_000, 2_100, 180, 2)),
    ),
    Service(
        "regional",
        "ground",
        ("standard", "expedited"),
        (Band(250, 610, 30, 1), Band(500, 690, 40, 1), Band(800, 790, 55, 2)),
    ),
)


CARRIERS: Final = ("national", "regional")


@dataclass(frozen=True, slots=True)
class Order:
    """Lines of different items, to somewhere, promised for a day."""

    order_id: str
    placed_ms: int
    lat: float
    lon: float
    level: str
    placed: date
    lines: tuple[tuple[str, int], ...]
    measured: bool

    @property
    def deliver_by(self) -> date:
        """The last day that is on time."""
        return self.placed + timedelta(days=PROMISED_DAYS[self.level])


class Scenario:
    """All that a seed says.

    `room` scales capacities, `supply` what nodes are filled up to; `carriers` are those there are.
    """

    def __init__(
        self,
        seed: int,
        *,
        room: float = 1.0,
        supply: float = 1.0,
        carriers: Sequence[str] = CARRIERS,
        days: int = MEASURED_DAYS,
    ) -> None:
        self.seed = seed
        self.services = [service for service in SERVICES if service.carrier in carriers]
        self.days = WARM_UP_DAYS + days
        random = Random(f"outcomes {seed}")
        self.sites = {site.node_id: site for site in _sites(room)}
        weights = [(rank + 1) ** -_ZIPF for rank in range(_SKUS)]
        self.skus = [f"I{rank:03d}" for rank in range(_SKUS)]
        self.weight_g = {sku: round(200 + 2_800 * random.random() ** 2) for sku in self.skus}
        share = {sku: w / sum(weights) for sku, w in zip(self.skus, weights, strict=True)}
        self.walk_ins: dict[tuple[str, str], float] = {}
        """Units a day that customers in a store want, by node and sku."""
        self.full: dict[tuple[str, str], int] = {}
        """What a node is filled up to, by node and sku."""
        self._stock(random, share, supply)
        self.orders = list(self._orders(random, weights))

    def _stock(self, random: Random, share: Mapping[str, float], supply: float) -> None:
        stores = [site for site in self.sites.values() if site.kind == "store"]
        people = sum(site.metro.population for site in stores)
        for site in self.sites.values():
            part = site.metro.population / people
            for sku in self.skus:
                online = UNITS_A_DAY * share[sku]
                if site.kind == "warehouse":
                    days = _CENTRAL_DAYS if site.node_id == CENTRAL else _REGIONAL_DAYS
                    self.full[site.node_id, sku] = round(supply * online * days)
                elif random.random() < _ASSORTMENT:
                    shop = online * _WALK_INS * part
                    self.walk_ins[site.node_id, sku] = shop
                    self.full[site.node_id, sku] = round(
                        supply * (_SHOP_DAYS * shop + _STORE_ONLINE_DAYS * online * part) + 1
                    )

    def _orders(self, random: Random, weights: Sequence[float]) -> Iterator[Order]:
        populations = [metro.population for metro in METROS]
        number = 0
        for day in range(self.days):
            factor = _BY_WEEKDAY[day % 7] * exp(random.gauss(0, _NOISE))
            if day in _PROMOTION:
                factor *= _PROMOTION_FACTOR
            midnight = at(FIRST_DAY + timedelta(days=day), time(), MARKET_ZONE)
            minutes = sorted(
                random.triangular(0, 1_440, 900) for _ in range(round(ORDERS_A_DAY * factor))
            )
            for minute in minutes:
                number += 1
                metro = random.choices(METROS, populations)[0]
                level = "expedited" if random.random() < _EXPEDITED else "standard"
                skus: dict[str, int] = {}
                for _ in range(_one_of(random, _LINES)):
                    skus[random.choices(self.skus, weights)[0]] = _one_of(random, _QUANTITY)
                placed = FIRST_DAY + timedelta(days=day)
                yield Order(
                    f"{number:06d}",
                    midnight + round(60_000 * minute),
                    round(metro.lat + random.uniform(-0.4, 0.4), 4),
                    round(metro.lon + random.uniform(-0.4, 0.4), 4),
                    level,
                    placed,
                    tuple(skus.items()),
                    measured=day >= WARM_UP_DAYS,
                )

    # --- luck, the same whoever asks ---

    def missing(self, order_id: str, site: Site, sku: str) -> bool:
        """Whether a node doesn't find units that its books show."""
        return self._luck("missing", order_id, site.node_id, sku) < _MISSING[site.kind]

    def delay_days(self, order_id: str, node_id: str) -> int:
        """How much longer a package takes."""
        luck = self._luck("delay", order_id, node_id)
        return next((days for chance, days in _DELAYED if luck < chance), 0)

    def wanted_in_store(self, node_id: str, sku: str, day: date) -> int:
        """Units that customers in a store want on a day (Poisson, by inversion)."""
        mean = self.walk_ins.get((node_id, sku), 0.0)
        luck = self._luck("walk-in", node_id, sku, day.isoformat())
        units, term = 0, exp(-mean)
        while luck > term and units < 50:
            luck -= term
            units += 1
            term *= mean / units
        return units

    def lead_days(self, node_id: str, sku: str, day: date) -> int:
        """How long a replenishment takes that is ordered on a day."""
        luck = self._luck("lead", node_id, sku, day.isoformat())
        usual = 3 if self.sites[node_id].kind == "warehouse" else 2
        return usual + (0 if luck < 0.6 else 1 if luck < 0.85 else 3)

    def _luck(self, *about: str) -> float:
        return Random(" ".join((str(self.seed), *about))).random()

    # --- the calendar ---

    def works(self, site: Site, day: date) -> bool:
        """Whether a node ships on a day."""
        return day.weekday() in site.working_days and day not in HOLIDAYS

    def all_days(self) -> Iterator[date]:
        """Every day until the books are closed."""
        return (FIRST_DAY + timedelta(days=n) for n in range(self.days + DRAIN_DAYS))


def at(day: date, clock: time, zone: ZoneInfo) -> int:
    """Milliseconds since 1970 UTC of a local time."""
    return round(datetime.combine(day, clock, zone).timestamp() * 1_000)


def rfc3339(ms: int) -> str:
    """A time as facts carry it."""
    return datetime.fromtimestamp(ms / 1_000, UTC).isoformat().replace("+00:00", "Z")


def km(site: Site, lat: float, lon: float) -> float:
    """Great-circle distance to a point."""
    return miles(site.metro, Metro("", "", 0, lat, lon)) * 1.609_344


def cut_off_ms(site: Site, day: date) -> int:
    """When a node's day closes."""
    return at(day, site.cut_off, ZoneInfo(site.time_zone))


def _one_of(random: Random, probabilities: Sequence[float]) -> int:
    return random.choices(range(1, len(probabilities) + 1), probabilities)[0]


@cache
def _time_zone(metro: Metro) -> str:
    """Good enough for these towns: Phoenix alone keeps no summer time, and it is winter."""
    if metro.lon < -114:
        return "America/Los_Angeles"
    if metro.lon < -104:
        return "America/Denver"
    eastern = metro.lon > -87 and metro.code != "BNA"
    return "America/New_York" if eastern else "America/Chicago"


_STORES: Final = (
    *("NYC", "LAX", "CHI", "DFW", "HOU", "WAS", "PHL", "MIA", "ATL", "BOS"),
    *("PHX", "SFO", "DET", "SEA", "MSP", "DEN"),
)


def _sites(room: float) -> Iterator[Site]:
    metros = {metro.code: metro for metro in METROS}
    for code, capacity in (("CMH", 250), ("LAS", 70)):
        yield Site(
            f"W-{code}",
            "warehouse",
            metros[code],
            _time_zone(metros[code]),
            time(16),
            (0, 1, 2, 3, 4),
            round(capacity * room),
            120,
        )
    for code in _STORES:
        yield Site(
            f"S-{code}",
            "store",
            metros[code],
            _time_zone(metros[code]),
            time(14),
            (0, 1, 2, 3, 4, 5),
            round(10 * room),
            260,
        )
