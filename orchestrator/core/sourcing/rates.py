"""Rates: what a carrier's service charges for a parcel on a lane, and when it arrives.

A service prices by zones (the first that matches origin and destination) and by distance bands
(the first that reaches as far); zones are asked first. A destination that neither covers, and a
weight beyond the last break, are *holes*: the service can't be used there. A distance that nobody
knows counts as the farthest band.
"""

from bisect import bisect_left
from collections.abc import Collection, Iterable, Mapping
from typing import Any, Final, NamedTuple, Protocol

from events.base import postal_key
from events.decided import Plain
from orchestrator.core.sourcing.calendars import WEEK, weekday
from orchestrator.core.sourcing.geo import Vector, metres
from orchestrator.core.sourcing.places import Place

_KG: Final = 1_000  # grams
_M_PER_KM: Final = 1_000


class Origin(Protocol):
    """What a rate asks of the node that a parcel leaves from."""

    @property
    def node_id(self) -> str:
        """Its id."""

    @property
    def region(self) -> str | None:
        """Its address's region."""

    @property
    def vector(self) -> Vector | None:
        """Where it stands, if that is known."""


class Lane:
    """A service from one node to one place: its prices and its days.

    One object for all pairs that a rate treats alike, so that prices can be kept by it.
    A price depends on the parcel's weight (`Scale.step_g` says which weights cost alike), on its
    units where `per_unit_minor` is not 0, on its volume where `oversize_over_ml` is given; on
    nothing else.
    """

    __slots__ = (
        "_arrives",
        "_breaks_g",
        "_breaks_minor",
        "base_minor",
        "oversize_minor",
        "oversize_over_g",
        "oversize_over_ml",
        "per_kg_minor",
        "per_unit_minor",
        "transit_days",
    )

    def __init__(self, price: Plain, service: Plain, *, residential: bool) -> None:
        surcharges = service.get("surcharges", {})
        self.base_minor: int = price.get("base_minor", 0)
        self.per_kg_minor: int = price.get("per_kg_minor", 0)
        self.per_unit_minor: int = price.get("per_unit_minor", 0)
        self.transit_days: int = price["transit_days"]
        breaks = price.get("weight_breaks", ())
        self._breaks_g: list[int] = [one["to_g"] for one in breaks]
        self._breaks_minor: list[int] = [one["base_minor"] for one in breaks]
        if residential:
            extra: int = surcharges.get("residential_minor", 0)
            self.base_minor += extra
            self._breaks_minor = [base + extra for base in self._breaks_minor]
        self.oversize_minor: int = surcharges.get("oversize_minor", 0)
        self.oversize_over_g: int | None = surcharges.get("oversize_over_g")
        self.oversize_over_ml: int | None = surcharges.get("oversize_over_ml")
        pickup = [WEEK.index(name) for name in service.get("pickup_days", WEEK)]
        # by the weekday of the ship day: days until it arrives
        self._arrives: list[int] = [
            min((day - start) % 7 for day in pickup) + self.transit_days for start in range(7)
        ]

    @property
    def least_minor(self) -> int:
        """What no parcel costs less than."""
        return min(self._breaks_minor or [self.base_minor]) + self.per_unit_minor

    @property
    def heaviest_g(self) -> int | None:
        """What a parcel may weigh; None: any weight is taken."""
        return self._breaks_g[-1] if self._breaks_g else None

    def charge(self, weight_g: int, units: int, volume_ml: int = 0) -> int | None:
        """What one parcel costs, in minor units of the market; None beyond the last break."""
        if self._breaks_g:
            at = bisect_left(self._breaks_g, weight_g)
            if at == len(self._breaks_g):
                return None
            minor = self._breaks_minor[at]
        else:
            minor = self.base_minor
        if self.per_kg_minor:
            minor += -(-weight_g // _KG) * self.per_kg_minor  # every kilogram begun
        if self.per_unit_minor:
            minor += units * self.per_unit_minor
        if self.oversize_minor and (
            (self.oversize_over_g is not None and weight_g > self.oversize_over_g)
            or (self.oversize_over_ml is not None and volume_ml > self.oversize_over_ml)
        ):
            minor += self.oversize_minor
        return minor

    def edges_g(self) -> list[int]:
        """The weights above which the price changes, apart from begun kilograms."""
        oversize = [] if self.oversize_over_g is None else [self.oversize_over_g]
        return self._breaks_g + oversize

    def arrival_day(self, ship_day: int) -> int:
        """The day a parcel arrives that is ready on `ship_day`: the next pickup, plus transit."""
        return ship_day + self._arrives[weekday(ship_day)]


class LaneKey(NamedTuple):
    """What a carrier's suspension names; what is None stands for any."""

    carrier: str
    service: str | None = None
    origin_node_id: str | None = None
    destination_prefix: str | None = None  # as compared

    def covers(self, other: "LaneKey") -> bool:
        """Whether every lane of the other is one of this."""
        return (
            self.carrier == other.carrier
            and self.service in {None, other.service}
            and self.origin_node_id in {None, other.origin_node_id}
            and self.reaches(other.destination_prefix)
        )

    def reaches(self, postal_code: str | None) -> bool:
        """Whether it holds for all that begins so, as compared."""
        prefix = self.destination_prefix
        return prefix is None or (postal_code is not None and postal_code.startswith(prefix))


def lane_key(data: Mapping[str, Any]) -> LaneKey:
    """What a `lane_suspended` or `lane_restored` names."""
    prefix = data.get("destination_prefix")
    return LaneKey(
        data["carrier"],
        data.get("service"),
        data.get("origin_node_id"),
        postal_key(prefix, None) if prefix else None,
    )


def suspended(
    suspensions: Collection[LaneKey], service: "Service", node: Origin, place: Place
) -> bool:
    """Whether the carrier takes nothing on this lane now."""
    if not suspensions:
        return False
    lane = LaneKey(service.carrier, service.service, node.node_id, place.postal_code or "")
    return any(key.covers(lane) for key in suspensions)


class _Shape(NamedTuple):
    """Zones that match on the same things, found by one look-up; values: place in the list."""

    region: bool
    node: bool
    country: bool
    prefix: int  # characters
    found: dict[tuple[str, str, str, str], int]


class Service:
    """A `carrier_service_defined`, compiled."""

    __slots__ = (
        "_bands_m",
        "_lanes",
        "_shapes",
        "active",
        "carrier",
        "data",
        "excluded",
        "key",
        "levels",
        "service",
    )

    def __init__(self, data: Plain) -> None:
        self.data = data
        self.carrier: str = data["carrier"]
        self.service: str = data["service"]
        self.key = f"{self.carrier}/{self.service}"
        self.active: bool = data.get("active", True)
        self.levels: frozenset[str] = frozenset(data["service_levels"])
        self.excluded: frozenset[str] = frozenset(data.get("excluded_capabilities", ()))
        zones, bands = data.get("zones", []), data.get("rates", [])
        # of each zone, then of each band: to a business, to a home
        self._lanes = [
            tuple(Lane(price, data, residential=home) for home in (False, True))
            for price in (*zones, *bands)
        ]
        self._bands_m: list[int] = [band["to_km"] * _M_PER_KM for band in bands]
        shapes: dict[tuple[bool, bool, bool, int], _Shape] = {}
        for number, zone in enumerate(zones):
            key = zone_key(zone)
            form = (bool(key[0]), bool(key[1]), bool(key[2]), len(key[3]))
            shapes.setdefault(form, _Shape(*form, {})).found.setdefault(key, number)
        self._shapes = list(shapes.values())

    def lane(self, node: Origin, place: Place) -> Lane | None:
        """The service from a node to a place; None: a hole. Whether it is suspended isn't asked."""
        best = len(self._lanes)
        code, country = place.postal_code or "", place.country or ""
        for by_region, by_node, by_country, prefix, found in self._shapes:
            number = found.get(
                (
                    (node.region or "").upper() if by_region else "",
                    node.node_id if by_node else "",
                    country if by_country else "",
                    code[:prefix],
                )
            )
            if number is not None and number < best:
                best = number
        bands: list[int] = self._bands_m
        if best == len(self._lanes) and bands:
            first = best - len(bands)
            if node.vector is None or place.vector is None:
                best -= 1
            else:
                best = first + bisect_left(bands, metres(node.vector, place.vector))
        if best == len(self._lanes):
            return None
        return self._lanes[best][place.residential]

    def lanes(self) -> Iterable[Lane]:
        """All lanes that it can have."""
        return (lane for pair in self._lanes for lane in pair)


def zone_key(zone: Plain) -> tuple[str, str, str, str]:
    """What a zone matches, as compared: origin region, node, destination country, prefix."""
    country = zone.get("destination_country") or ""
    return (
        (zone.get("origin_region") or "").upper(),
        zone.get("origin_node_id") or "",
        country,
        postal_key(zone.get("destination_prefix") or "", country),
    )


class Scale:
    """Weights that cost the same on every lane of some services, so that prices can be tabled."""

    __slots__ = ("_beyond_g", "_by_kg", "_edges_g")

    def __init__(self, services: Iterable[Service]) -> None:
        lanes = [lane for service in services for lane in service.lanes()]
        self._edges_g = sorted(dict.fromkeys(edge for lane in lanes for edge in lane.edges_g()))
        self._by_kg = any(lane.per_kg_minor for lane in lanes)
        self._beyond_g = self._edges_g[-1] + 1 if self._edges_g else 0

    def step_g(self, weight_g: int) -> int:
        """A weight that costs what this one does, the same for all that cost alike."""
        at = bisect_left(self._edges_g, weight_g)
        if not self._by_kg:
            return self._edges_g[at] if at < len(self._edges_g) else self._beyond_g
        kilogram = -(-weight_g // _KG) * _KG
        return min(self._edges_g[at], kilogram) if at < len(self._edges_g) else kilogram
