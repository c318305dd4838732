"""Master data: markets, nodes, items, carrier services.

A later event of the same id replaces the earlier.
"""

from collections.abc import Sequence
from typing import Annotated, ClassVar, Literal, Self

from pydantic import BeforeValidator, Field, StringConstraints, model_validator

from events.base import (
    AddressLines,
    Attributes,
    Country,
    Currency,
    Day,
    Fact,
    Id,
    Latitude,
    Location,
    Longitude,
    MarketId,
    Model,
    Money,
    NodeId,
    OptionalId,
    OptionalPostalPrefix,
    OptionalText,
    Sku,
    Text,
    TimeZone,
    Word,
    absent_when_empty,
    postal_key,
)

WorkingDay = Literal["mon", "tue", "wed", "thu", "fri", "sat", "sun"]
Weekdays = Annotated[list[WorkingDay], Field(max_length=7)]
DailyCapacity = Annotated[int | None, Field(ge=0, le=1_000_000_000)]
Weight = Annotated[int, Field(ge=0, le=1_000_000_000)]
"""Grams."""
Volume = Annotated[int, Field(ge=0, le=1_000_000_000)]
"""Millilitres."""


class MarketDefined(Fact):
    """A fulfillment network: nodes, stock and rules that decide together.

    Its shard never changes.
    """

    TYPE: ClassVar[str] = "market_defined"
    TOPIC: ClassVar[str] = "network"

    market_id: MarketId
    currency: Currency
    time_zone: TimeZone
    shard: Annotated[int | None, Field(ge=0)] = None
    attributes: Attributes = {}

    def record_key(self) -> str:
        """`market_defined:<market_id>`."""
        return f"{self.TYPE}:{self.market_id}"


class NodeAddress(Model):
    """Where a node stands."""

    country: Country
    region: OptionalText = None
    city: OptionalText = None
    postal_code: OptionalText = None
    address_lines: AddressLines = []


class NodeDefined(Fact):
    """A place that stock ships from. Its market never changes; `active` and `ships` fence it."""

    TYPE: ClassVar[str] = "node_defined"
    TOPIC: ClassVar[str] = "network"

    node_id: NodeId
    market_id: MarketId
    kind: Literal["warehouse", "store", "supplier", "third_party", "cross_dock"]
    name: Text
    address: NodeAddress
    location: Location | None = None
    active: bool = True
    ships: bool = True
    pickup: bool = False
    time_zone: TimeZone | None = None
    cut_off: Annotated[str, StringConstraints(pattern=r"^([01][0-9]|2[0-3]):[0-5][0-9]$")] = "16:00"
    working_days: Weekdays = ["mon", "tue", "wed", "thu", "fri"]
    holidays: Annotated[list[Day], Field(max_length=1000)] = []
    processing_minutes: Annotated[int, Field(ge=0, le=525_600)] = 0
    capacity_orders_per_day: DailyCapacity = None
    capacity_units_per_day: DailyCapacity = None
    handling_cost_minor: Money = 0
    unit_cost_minor: Annotated[int, Field(ge=0, le=1_000_000_000)] = 0
    groups: Annotated[list[Word], Field(max_length=100)] = []
    capabilities: Annotated[list[Word], Field(max_length=100)] = []
    attributes: Attributes = {}

    def record_key(self) -> str:
        """`node_defined:<node_id>`."""
        return f"{self.TYPE}:{self.node_id}"


class ItemDefined(Fact):
    """Something that can be ordered and stocked. Goes to every shard."""

    TYPE: ClassVar[str] = "item_defined"
    TOPIC: ClassVar[str] = "network"
    NOT_BUILT: ClassVar[dict[str, object]] = {"components": []}

    sku: Sku
    name: Text
    uom: Word = "EA"
    category: OptionalText = None
    weight_g: Weight = 0
    volume_ml: Volume = 0
    value_minor: Money | None = None
    currency: Currency | None = None
    attributes: Attributes = {}
    requires: Annotated[list[Word], Field(max_length=100)] = []
    substitutes: Annotated[list[Sku], Field(max_length=100)] = []
    shelf_life_days: Annotated[int | None, Field(ge=0, le=100_000)] = None

    def record_key(self) -> str:
        """`item_defined:<sku>`."""
        return f"{self.TYPE}:{self.sku}"


class WeightBreak(Model):
    """What a parcel of up to this weight costs, before anything by kilogram or unit."""

    to_g: Annotated[int, Field(ge=1, le=1_000_000_000)]
    base_minor: Money


class _Price(Model):
    """What a parcel costs, in the market's minor units, and how long it takes.

    `weight_breaks` give the base in place of `base_minor`; a weight beyond the last one isn't
    taken. `per_kg_minor` counts every kilogram begun, `per_unit_minor` every unit in the parcel.
    `transit_days` are calendar days from the pickup.
    """

    base_minor: Money = 0
    weight_breaks: Annotated[list[WeightBreak], Field(max_length=1000)] = []
    per_kg_minor: Money = 0
    per_unit_minor: Money = 0
    transit_days: Annotated[int, Field(ge=0, le=365)]

    @model_validator(mode="after")
    def _bases(self) -> Self:
        _ascending("weight_breaks", "to_g", [one.to_g for one in self.weight_breaks])
        if self.weight_breaks and self.base_minor:
            message = "each of weight_breaks has its own base_minor: leave this one out"
            raise ValueError(message)
        return self


class RateBand(_Price):
    """What a service costs up to a distance."""

    to_km: Annotated[int, Field(ge=1, le=100_000)]


class RateZone(_Price):
    """What a service costs from an origin to a destination; what is left out stands for any."""

    origin_region: OptionalText = None
    origin_node_id: OptionalId = None
    destination_country: Annotated[Country | None, BeforeValidator(absent_when_empty)] = None
    destination_prefix: OptionalPostalPrefix = None

    def matches(self) -> tuple[str, ...]:
        """What it matches, as compared."""
        country = self.destination_country or ""
        prefix = postal_key(self.destination_prefix or "", country)
        return (self.origin_region or "").upper(), self.origin_node_id or "", country, prefix


class Surcharges(Model):
    """What a parcel costs more: to a home; above a weight or a volume."""

    residential_minor: Money = 0
    oversize_minor: Money = 0
    oversize_over_g: Annotated[int | None, Field(ge=0, le=1_000_000_000)] = None
    oversize_over_ml: Annotated[int | None, Field(ge=0, le=1_000_000_000)] = None

    @model_validator(mode="after")
    def _measured(self) -> Self:
        if self.oversize_minor and self.oversize_over_g is None and self.oversize_over_ml is None:
            message = "oversize_minor needs oversize_over_g or oversize_over_ml: what is oversize?"
            raise ValueError(message)
        return self


class CarrierServiceDefined(Fact):
    """A carrier's service with its rates.

    The first of `zones` that matches applies, else the first of `rates` whose `to_km` covers the
    distance; a destination that neither covers isn't served.
    """

    TYPE: ClassVar[str] = "carrier_service_defined"
    TOPIC: ClassVar[str] = "network"

    market_id: MarketId
    carrier: Id
    service: Id
    service_levels: Annotated[list[Word], Field(min_length=1, max_length=100)]
    rates: Annotated[list[RateBand], Field(max_length=1000)] = []
    zones: Annotated[list[RateZone], Field(max_length=10_000)] = []
    surcharges: Surcharges = Surcharges()
    pickup_days: Annotated[list[WorkingDay], Field(min_length=1, max_length=7)] = [
        "mon",
        "tue",
        "wed",
        "thu",
        "fri",
        "sat",
        "sun",
    ]
    active: bool = True
    excluded_capabilities: Annotated[list[Word], Field(max_length=100)] = []

    def record_key(self) -> str:
        """`carrier_service_defined:<market_id>/<carrier>/<service>`."""
        return f"{self.TYPE}:{self.market_id}/{self.carrier}/{self.service}"

    @model_validator(mode="after")
    def _rated(self) -> Self:
        if not self.rates and not self.zones:
            message = "rates or zones are needed: a service without them goes nowhere"
            raise ValueError(message)
        _ascending("rates", "to_km", [band.to_km for band in self.rates])
        seen: dict[tuple[str, ...], int] = {}
        for number, zone in enumerate(self.zones):
            first = seen.setdefault(zone.matches(), number)
            if first != number:
                message = f"zones[{number}] matches what zones[{first}] does: it never applies"
                raise ValueError(message)
        return self


class PlaceRow(Model):
    """Where a postal code is."""

    postal_code: Annotated[Text, StringConstraints(max_length=32)]
    lat: Latitude
    lon: Longitude
    region: OptionalText = None
    city: OptionalText = None


class PlacesDefined(Fact):
    """A part of a country's postal codes. Goes to every shard.

    A version holds, in place of the one before, once all of its `chunks` are in.
    """

    TYPE: ClassVar[str] = "places_defined"
    TOPIC: ClassVar[str] = "network"

    country: Country
    version: Id
    chunk: Annotated[int, Field(ge=1, le=10_000)]
    chunks: Annotated[int, Field(ge=1, le=10_000)]
    rows: Annotated[list[PlaceRow], Field(min_length=1, max_length=1000)]

    def record_key(self) -> str:
        """`places_defined:<country>/<version>/<chunk>`."""
        return f"{self.TYPE}:{self.country}/{self.version}/{self.chunk}"

    @model_validator(mode="after")
    def _within(self) -> Self:
        if self.chunk > self.chunks:
            message = f"chunk {self.chunk} of {self.chunks}: chunks count from 1 to chunks"
            raise ValueError(message)
        return self


def _ascending(name: str, field: str, values: Sequence[int]) -> None:
    for number in range(1, len(values)):
        if values[number] <= values[number - 1]:
            message = (
                f"{name}[{number}].{field} must be above the one before"
                f" ({values[number - 1]}), was {values[number]}"
            )
            raise ValueError(message)
