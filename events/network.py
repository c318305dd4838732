"""Master data: markets, nodes, items, carrier services.

A later event of the same id replaces the earlier.
"""

from typing import Annotated, ClassVar, Literal

from pydantic import Field, StringConstraints

from events.base import (
    AddressLines,
    Attributes,
    Country,
    Currency,
    Day,
    Fact,
    Id,
    Location,
    MarketId,
    Model,
    Money,
    NodeId,
    OptionalText,
    Sku,
    Text,
    TimeZone,
    Word,
)

WorkingDay = Literal["mon", "tue", "wed", "thu", "fri", "sat", "sun"]


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
    NOT_BUILT: ClassVar[dict[str, object]] = {
        "capacity_orders_per_day": None,
        "capacity_units_per_day": None,
    }

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
    working_days: Annotated[list[WorkingDay], Field(max_length=7)] = [
        "mon",
        "tue",
        "wed",
        "thu",
        "fri",
    ]
    holidays: Annotated[list[Day], Field(max_length=1000)] = []
    processing_minutes: Annotated[int, Field(ge=0, le=525_600)] = 0
    handling_cost_minor: Money = 0
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
    NOT_BUILT: ClassVar[dict[str, object]] = {"components": [], "requires": []}

    sku: Sku
    name: Text
    uom: Word = "EA"
    category: OptionalText = None
    weight_g: Annotated[int, Field(ge=0, le=1_000_000_000)] = 0
    volume_ml: Annotated[int, Field(ge=0, le=1_000_000_000)] = 0
    value_minor: Money | None = None
    currency: Currency | None = None
    attributes: Attributes = {}
    substitutes: Annotated[list[Sku], Field(max_length=100)] = []
    shelf_life_days: Annotated[int | None, Field(ge=0, le=100_000)] = None

    def record_key(self) -> str:
        """`item_defined:<sku>`."""
        return f"{self.TYPE}:{self.sku}"


class RateBand(Model):
    """What a service costs up to a distance, in the market's minor units."""

    to_km: Annotated[int, Field(ge=1, le=100_000)]
    base_minor: Money
    per_kg_minor: Money
    transit_days: Annotated[int, Field(ge=0, le=365)]


class CarrierServiceDefined(Fact):
    """A carrier's service with its rates.

    The first band whose `to_km` covers the distance applies.
    """

    TYPE: ClassVar[str] = "carrier_service_defined"
    TOPIC: ClassVar[str] = "network"

    market_id: MarketId
    carrier: Id
    service: Id
    service_levels: Annotated[list[Word], Field(min_length=1, max_length=100)]
    rates: Annotated[list[RateBand], Field(min_length=1, max_length=1000)]
    active: bool = True
    excluded_capabilities: Annotated[list[Word], Field(max_length=100)] = []

    def record_key(self) -> str:
        """`carrier_service_defined:<market_id>/<carrier>/<service>`."""
        return f"{self.TYPE}:{self.market_id}/{self.carrier}/{self.service}"
