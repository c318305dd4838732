"""The words that events are made of: ids, quantities, money, times, addresses."""

import re
from abc import abstractmethod
from collections.abc import Callable
from datetime import UTC, date, datetime
from typing import Annotated, ClassVar, Final

from pydantic import (
    AfterValidator,
    AwareDatetime,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    StringConstraints,
    ValidationError,
    WrapValidator,
)
from pydantic_core import PydanticCustomError

from events.zones import time_zone

MAX_QUANTITY = 1_000_000
MAX_MONEY_MINOR = 1_000_000_000_000
MAX_LINES = 1_000

TIME: Final = re.compile(
    r"\d{4}-\d\d-\d\d[Tt ]\d\d:\d\d:\d\d(\.\d{1,9})?([Zz]|[+-]\d\d:\d\d)", re.ASCII
)
"""RFC 3339, which asks for seconds and an offset."""
_DAY = re.compile(r"\d{4}-\d\d-\d\d", re.ASCII)
_ZIP_DIGITS = 5  # what follows tells the side of a street
_NO_CONTROL = r"\x00-\x1f\x7f-\x9f"
_ID = rf"^[^{_NO_CONTROL}/ ](?:[^{_NO_CONTROL}/]*[^{_NO_CONTROL}/ ])?$"


def absent_when_empty(value: object) -> object:
    """An empty text means that there is none."""
    return None if value == "" else value


def postal_key(code: str, country: str | None) -> str:
    """A postal code as it is compared: capitals, no spaces or hyphens, no ZIP+4."""
    bare = code.upper().replace(" ", "").replace("-", "")
    if country == "US" and bare.isdecimal():
        return bare[:_ZIP_DIGITS]
    return bare


def _drop_empty(value: object) -> object:
    return [text for text in value if text != ""] if isinstance(value, list) else value


def _instant(value: object) -> object:
    """Texts as RFC 3339 has them; pydantic itself would take numbers and leave out seconds."""
    if not isinstance(value, str):
        return value
    try:
        if TIME.fullmatch(value):
            return datetime.fromisoformat(value.upper())
    except ValueError:
        pass  # no such day or hour
    raise PydanticCustomError("time_form", "not a time as RFC 3339 has it")


def _day(value: object) -> object:
    if not isinstance(value, str):
        return value
    try:
        if _DAY.fullmatch(value):
            return date.fromisoformat(value)
    except ValueError:
        pass  # no such day
    raise PydanticCustomError("time_form", "not a date as RFC 3339 has it")


def _one_error(value: object, handler: Callable[[object], datetime | date]) -> datetime | date:
    """Say what is wrong once, not for each choice."""
    try:
        return handler(value)
    except ValidationError:
        raise PydanticCustomError("time_form", "neither a time nor a date") from None


def _to_utc(value: datetime) -> datetime:
    try:
        return value.astimezone(UTC)
    except OverflowError:
        message = "the time lies outside the years 1 to 9999 in UTC"
        raise ValueError(message) from None


def _known_zone(name: str) -> str:
    time_zone(name)
    return name


Id = Annotated[str, StringConstraints(min_length=1, max_length=64, pattern=_ID)]
"""1-64 printable characters, no `/`, no space at the ends."""
MarketId = Id
NodeId = Id
Sku = Id
OrderId = Id
LineId = Id
Word = Id
"""A short name from an open list, such as a service level."""
FulfillmentId = Annotated[str, StringConstraints(min_length=1, max_length=110, pattern=_ID)]
"""`<channel>.<order_id>.<n>`."""
Channel = Annotated[str, StringConstraints(pattern=r"^[a-z0-9_-]{1,32}$")]
Text = Annotated[str, StringConstraints(min_length=1, max_length=2000, pattern=r"^[^\x00]*$")]
OptionalText = Annotated[Text | None, BeforeValidator(absent_when_empty)]
"""Free text; an empty string means absent."""
OptionalId = Annotated[Id | None, BeforeValidator(absent_when_empty)]
OptionalFulfillmentId = Annotated[FulfillmentId | None, BeforeValidator(absent_when_empty)]
Quantity = Annotated[int, Field(ge=1, le=MAX_QUANTITY)]
"""Base units of the item."""
CountedQuantity = Annotated[int, Field(ge=0, le=MAX_QUANTITY)]
Money = Annotated[int, Field(ge=0, le=MAX_MONEY_MINOR)]
"""Minor units of a currency (ISO 4217 exponent)."""
Currency = Annotated[str, StringConstraints(pattern=r"^[A-Z]{3}$")]
Country = Annotated[str, StringConstraints(pattern=r"^[A-Z]{2}$")]
PostalPrefix = Annotated[
    str,
    StringConstraints(min_length=1, max_length=16, pattern=r"^[A-Za-z0-9](?:[A-Za-z0-9 -]*)$"),
]
"""The beginning of a postal code; case, spaces and hyphens don't count."""
OptionalPostalPrefix = Annotated[PostalPrefix | None, BeforeValidator(absent_when_empty)]
Instant = Annotated[AwareDatetime, BeforeValidator(_instant), AfterValidator(_to_utc)]
"""RFC 3339 with an offset, kept in UTC."""
Day = Annotated[date, BeforeValidator(_day)]
InstantOrDay = Annotated[Instant | Day, WrapValidator(_one_error)]
"""A day is kept as it is: it stands for its end, in the market's time zone."""
OptionalInstantOrDay = Annotated[InstantOrDay | None, BeforeValidator(absent_when_empty)]
TimeZone = Annotated[str, StringConstraints(max_length=64), AfterValidator(_known_zone)]
Attributes = Annotated[
    dict[
        Annotated[str, StringConstraints(min_length=1, max_length=64, pattern=r"^[^\x00]*$")],
        Annotated[str, StringConstraints(max_length=2000, pattern=r"^[^\x00]*$")],
    ],
    Field(max_length=100),
]
"""What Headrace doesn't know: kept, and echoed to the node."""
AddressLines = Annotated[list[Text], BeforeValidator(_drop_empty), Field(max_length=10)]


class Model(BaseModel):
    """A frozen, strict value: no coercion, no unknown field.

    Its validator is made when it is first wanted: most are parts of others, and what is published
    is never validated by who publishes it. A process starts a third sooner for it.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, defer_build=True)


class Fact(Model, defer_build=False):
    """An input event: something that happened outside. Subclasses state where it is written.

    `TOPIC` is the public topic; `NOT_BUILT` maps the fields of the contract that this release
    refuses (dotted, `[]` for each element of a list) to the default that may still be sent.
    """

    TYPE: ClassVar[str]
    TOPIC: ClassVar[str]
    NOT_BUILT: ClassVar[dict[str, object]] = {}

    @abstractmethod
    def record_key(self) -> str:
        """The Kafka key that keeps this subject's events in order."""


class Output(Model):
    """A published event.

    `TOPIC` is the public topic; `KEY` names the fields its record key is made of.
    """

    TYPE: ClassVar[str]
    TOPIC: ClassVar[str]
    KEY: ClassVar[tuple[str, ...]]


Latitude = Annotated[float, Field(ge=-90, le=90, allow_inf_nan=False)]
Longitude = Annotated[float, Field(ge=-180, le=180, allow_inf_nan=False)]


class Location(Model):
    """A point on the earth, in degrees."""

    lat: Latitude
    lon: Longitude
