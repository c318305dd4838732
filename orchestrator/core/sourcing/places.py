"""Places: where an order goes and where a node stands, from a location or a postal code.

A country's table comes in chunks and holds as soon as its last one is in; until then the version
before does. What it says: own location, else the postal code, else the longest prefix of it that
the table knows (the centre of its rows), else the region's centre, else the country's.
"""

from array import array
from bisect import bisect_left
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar, Final

from events.base import postal_key
from events.decided import Plain
from orchestrator.core.sourcing.geo import Vector, micro_degrees, vector

_KEPT: Final = 20_000  # places remembered in each of two generations: bounded, used ones stay
_LAST: Final = "\U0010ffff"  # beyond every character of a postal code
_TURN: Final = 360_000_000  # micro-degrees

Row = tuple[str, int, int, str]
"""Postal code as compared, latitude and longitude in micro-degrees, region or nothing."""


class Place:
    """A destination, or where a node stands.

    Equal ones are, as a rule, one object, so that what is known of one can be kept by it.
    `vector` is None where nothing says where it is; `how`: given, postal_code, `prefix:<p>`,
    region, country, nowhere.
    """

    __slots__ = ("country", "how", "postal_code", "region", "residential", "vector")

    def __init__(
        self,
        vector: Vector | None,
        how: str,
        *,
        country: str | None = None,
        region: str | None = None,
        postal_code: str | None = None,
        residential: bool = False,
    ) -> None:
        self.vector = vector
        self.how = how
        self.country = country
        self.region = region  # as given, else of the postal code
        self.postal_code = postal_code  # as compared
        self.residential = residential


class Table:
    """The places of one country, packed: some 80 bytes a row."""

    __slots__ = ("_centres", "_codes", "_latitudes", "_longitudes", "_regions", "_rows", "version")

    def __init__(self, version: str, rows: Iterable[Row]) -> None:
        """Rows in any order; several of one code count as their centre."""
        self.version = version
        ordered = sorted(rows)
        names = sorted({row[3].upper() for row in ordered})
        numbers = {name: number for number, name in enumerate(names)}
        self._codes = [row[0] for row in ordered]
        self._latitudes = array("i", [row[1] for row in ordered])
        self._longitudes = array("i", [row[2] for row in ordered])
        self._regions = names
        self._rows = array("i", [numbers[row[3].upper()] for row in ordered])
        by_region: dict[str, tuple[list[int], list[int]]] = {}
        for _, latitude, longitude, region in ordered:
            latitudes, longitudes = by_region.setdefault(region.upper(), ([], []))
            latitudes.append(latitude)
            longitudes.append(longitude)
        self._centres = {region: _centre(*points) for region, points in by_region.items() if region}
        self._centres[""] = _centre(self._latitudes, self._longitudes)

    def find(self, code: str) -> tuple[str, Vector, str] | None:
        """The longest part of a code that is known, its centre and region; None if none is."""
        at = bisect_left(self._codes, code)
        near = [_shared(code, other) for other in self._codes[max(0, at - 1) : at + 1]]
        length = max(near, default=0)
        if not length:
            return None
        prefix = code[:length]
        first = bisect_left(self._codes, prefix)
        exact = length == len(code) and self._codes[first] == code
        last = bisect_left(self._codes, code + "\0" if exact else prefix + _LAST)
        numbers = self._rows[first:last]
        region = self._regions[numbers[0]] if numbers.count(numbers[0]) == len(numbers) else ""
        centre = _centre(self._latitudes[first:last], self._longitudes[first:last])
        return ("" if exact else prefix), centre, region

    def region(self, name: str) -> Vector | None:
        """The centre of a region's rows."""
        return self._centres.get(name.upper()) if name else None

    @property
    def centre(self) -> Vector:
        """The centre of all rows."""
        return self._centres[""]


def _shared(a: str, b: str) -> int:
    """How many characters two codes begin with alike."""
    length = min(len(a), len(b))
    return next((i for i in range(length) if a[i] != b[i]), length)


def _centre(latitudes: Sequence[int], longitudes: Sequence[int]) -> Vector:
    """The mean of points, in whole micro-degrees; across the date line as well."""
    count = len(latitudes)
    if max(longitudes) - min(longitudes) > _TURN // 2:
        longitudes = [east + _TURN if east < 0 else east for east in longitudes]
    return vector(sum(latitudes) // count, sum(longitudes) // count)


@dataclass(slots=True)
class _Coming:
    """A version whose chunks aren't all in yet."""

    version: str
    chunks: int
    rows: dict[int, list[Row]] = field(default_factory=dict)


class _Memory:
    """Places located lately: of two generations, what is used moves to the young one."""

    def __init__(self, kept: int) -> None:
        self.kept = kept
        self.young: dict[object, Place] = {}
        self.old: dict[object, Place] = {}

    def get(self, key: object) -> Place | None:
        found = self.young.get(key)
        if found is None and (found := self.old.get(key)) is not None:
            self.put(key, found)
        return found

    def put(self, key: object, place: Place) -> None:
        if len(self.young) >= self.kept:
            self.old, self.young = self.young, {}
        self.young[key] = place


class Places:
    """What is known of places, by country; the fold of `places_defined`."""

    __slots__ = ("_coming", "_memory", "tables")
    DERIVED: ClassVar = frozenset({"_memory"})

    def __init__(self, remembered: int = _KEPT) -> None:
        self.tables: dict[str, Table] = {}
        self._coming: dict[str, _Coming] = {}
        self._memory = _Memory(remembered)

    def knows(self, country: str, version: str) -> bool:
        """Whether this version is what holds: another chunk of it says nothing new."""
        table = self.tables.get(country)
        return table is not None and table.version == version

    def take(self, data: Plain) -> bool:
        """Take a chunk in; True when it was the last one missing and the version holds now.

        Of two versions that come at once the one begun later goes on.
        """
        country, version = data["country"], data["version"]
        if self.knows(country, version):
            return False
        coming = self._coming.get(country)
        if coming is None or (coming.version, coming.chunks) != (version, data["chunks"]):
            coming = self._coming[country] = _Coming(version, data["chunks"])
        coming.rows[data["chunk"]] = [
            (
                postal_key(row["postal_code"], country),
                micro_degrees(row["lat"]),
                micro_degrees(row["lon"]),
                row.get("region") or "",
            )
            for row in data["rows"]
        ]
        if len(coming.rows) < coming.chunks:
            return False
        del self._coming[country]
        self.tables[country] = Table(
            version, (row for number in sorted(coming.rows) for row in coming.rows[number])
        )
        self._memory = _Memory(self._memory.kept)
        return True

    def coming(self) -> Iterable[tuple[str, str, int, int, list[Row]]]:
        """The chunks of versions that aren't whole: country, version, chunks, chunk, its rows."""
        for country, coming in self._coming.items():
            for chunk, rows in coming.rows.items():
                yield country, coming.version, coming.chunks, chunk, rows

    def await_more(
        self, country: str, version: str, chunks: int, chunk: int, rows: Iterable[Iterable[Any]]
    ) -> None:
        """Take in again what `coming` told, a chunk's rows at once or in pieces."""
        if country not in self._coming:
            self._coming[country] = _Coming(version, chunks)
        kept = self._coming[country].rows.setdefault(chunk, [])
        kept.extend((code, lat, lon, region) for code, lat, lon, region in rows)

    def locate(self, ship_to: Plain) -> Place:
        """Where an address is: of a `ship_to` or a node's address with its location."""
        location = ship_to.get("location")
        key = (
            ship_to.get("country"),
            ship_to.get("region"),
            ship_to.get("postal_code"),
            ship_to.get("residential"),
            None if location is None else (location["lat"], location["lon"]),
        )
        found = self._memory.get(key)
        if found is None:
            found = self._find(ship_to)
            as_compared = (
                found.country,
                found.region,
                found.postal_code,
                found.residential,
                found.vector,
                found.how,
            )
            known = self._memory.get(as_compared)
            if known is None:
                self._memory.put(as_compared, found)
            else:
                found = known  # written otherwise, and the same place
            self._memory.put(key, found)
        return found

    def _find(self, ship_to: Plain) -> Place:
        country = ship_to.get("country")
        region = ship_to.get("region")
        code = postal_key(ship_to.get("postal_code") or "", country)
        table = self.tables.get(country or "")
        found = table.find(code) if table is not None and code else None
        located: tuple[Vector | None, str]
        if location := ship_to.get("location"):
            own = vector(micro_degrees(location["lat"]), micro_degrees(location["lon"]))
            located = own, "given"
        elif table is None:
            located = None, "nowhere"
        elif found is not None:
            located = found[1], f"prefix:{found[0]}" if found[0] else "postal_code"
        elif (centre := table.region(region or "")) is not None:
            located = centre, "region"
        else:
            located = table.centre, "country"
        return Place(
            *located,
            country=country,
            region=region or (found[2] if found else None) or None,
            postal_code=code or None,
            residential=bool(ship_to.get("residential")),
        )
