"""Places: an address without a location is located by its postal code, as well as is known."""

import math
from typing import Any

import pytest

from orchestrator.core.sourcing.geo import metres, vector_of
from orchestrator.core.sourcing.places import Place, Places
from tests.core.story import Story, plain

ROWS = [
    {"postal_code": "02108", "lat": 42.3576, "lon": -71.0638, "region": "MA"},
    {"postal_code": "02110", "lat": 42.3576, "lon": -71.0514, "region": "MA"},
    {"postal_code": "10001", "lat": 40.7484, "lon": -73.9967, "region": "NY"},
    {"postal_code": "96701", "lat": 21.3908, "lon": -157.9332, "region": "HI"},
]


def chunk(
    *rows: dict[str, Any], country: str = "US", version: str = "1", part: int = 1, of: int = 1
) -> dict[str, Any]:
    return {
        "country": country,
        "version": version,
        "chunk": part,
        "chunks": of,
        "rows": list(rows),
    }


def known(*rows: dict[str, Any], country: str = "US", remembered: int = 20_000) -> Places:
    places = Places(remembered)
    assert places.take(chunk(*(rows or ROWS), country=country))
    return places


def at(place: Place, lat: float, lon: float) -> bool:
    there = vector_of({"lat": lat, "lon": lon})
    assert there is not None
    return place.vector is not None and metres(place.vector, there) <= 1


def test_an_own_location_counts_first() -> None:
    place = known().locate(
        {"country": "US", "postal_code": "10001", "location": {"lat": 1.0, "lon": 2.0}}
    )
    assert place.how == "given"
    assert at(place, 1.0, 2.0)
    assert (place.region, place.postal_code) == ("NY", "10001")


@pytest.mark.parametrize("written", ["02108", " 02108 ", "02108-1234", "021081234"])
def test_a_postal_code_counts_however_it_is_written(written: str) -> None:
    place = known().locate({"country": "US", "postal_code": written})
    assert (place.how, place.region, place.postal_code) == ("postal_code", "MA", "02108")
    assert at(place, 42.3576, -71.0638)


def test_else_the_centre_of_the_longest_known_prefix() -> None:
    place = known().locate({"country": "US", "postal_code": "02199"})
    assert (place.how, place.region) == ("prefix:021", "MA")
    assert at(place, 42.3576, -71.0576)


def test_a_prefix_over_several_regions_names_none() -> None:
    places = known(
        {"postal_code": "02108", "lat": 42.0, "lon": -71.0, "region": "MA"},
        {"postal_code": "02900", "lat": 41.0, "lon": -71.0, "region": "RI"},
    )
    place = places.locate({"country": "US", "postal_code": "02500"})
    assert (place.how, place.region) == ("prefix:02", None)


def test_else_the_region_else_the_country() -> None:
    places = known()
    by_region = places.locate({"country": "US", "region": "ma", "postal_code": "55555"})
    assert by_region.how == "region"
    assert at(by_region, 42.3576, -71.0576)
    by_country = places.locate({"country": "US", "postal_code": "55555"})
    assert by_country.how == "country"
    assert at(by_country, 36.7136, -93.511275)


def test_a_country_nobody_loaded_is_nowhere() -> None:
    place = known().locate({"country": "CA", "postal_code": "02108"})
    assert (place.how, place.vector) == ("nowhere", None)
    assert Places().locate({}).how == "nowhere"


def test_rows_of_one_code_count_as_their_centre() -> None:
    places = known(
        {"postal_code": "SW1A 1AA", "lat": 51.0, "lon": 0.0},
        {"postal_code": "sw1a1aa", "lat": 52.0, "lon": 0.2},
        country="GB",
    )
    place = places.locate({"country": "GB", "postal_code": "SW1A-1AA"})
    assert place.how == "postal_code"
    assert at(place, 51.5, 0.1)


def test_a_code_that_begins_another_is_not_its_prefix() -> None:
    places = known(
        {"postal_code": "SW1", "lat": 51.0, "lon": 0.0},
        {"postal_code": "SW11", "lat": 60.0, "lon": 10.0},
        country="GB",
    )
    assert places.locate({"country": "GB", "postal_code": "SW1"}).how == "postal_code"
    assert at(places.locate({"country": "GB", "postal_code": "SW1"}), 51.0, 0.0)
    assert places.locate({"country": "GB", "postal_code": "SW12"}).how == "prefix:SW1"


def test_a_centre_across_the_date_line_is_on_it() -> None:
    places = known(
        {"postal_code": "1", "lat": -17.0, "lon": 179.0, "region": "F"},
        {"postal_code": "2", "lat": -17.0, "lon": -179.0, "region": "F"},
        country="FJ",
    )
    assert at(places.locate({"country": "FJ", "region": "F"}), -17.0, 180.0)


def test_equal_destinations_are_one_place() -> None:
    places = known()
    first = places.locate({"country": "US", "postal_code": "02108", "name": "Ada"})
    assert places.locate({"country": "US", "postal_code": "02108", "city": "Boston"}) is first
    assert places.locate({"country": "US", "postal_code": "02108-9999", "region": ""}) is first
    assert (
        places.locate({"country": "US", "postal_code": "02108", "residential": True}) is not first
    )


def test_memory_is_bounded_and_what_is_used_stays() -> None:
    places = known(remembered=10)
    used = places.locate({"country": "US", "postal_code": "02108"})
    for number in range(200):
        places.locate({"country": "US", "postal_code": f"5{number:04}"})
        assert places.locate({"country": "US", "postal_code": "02108"}) is used
    assert len(places._memory.young) + len(places._memory.old) <= 20


def test_a_version_holds_once_all_its_chunks_are_in() -> None:
    places = known()
    assert not places.take(chunk(ROWS[2], version="2", part=2, of=2))
    assert not places.take(chunk(ROWS[2], version="2", part=2, of=2))
    assert places.locate({"country": "US", "postal_code": "02108"}).how == "postal_code"
    assert places.take(chunk(ROWS[3], version="2", part=1, of=2))
    assert places.locate({"country": "US", "postal_code": "02108"}).how == "country"
    assert places.locate({"country": "US", "postal_code": "96701"}).how == "postal_code"


def test_a_chunk_of_the_version_that_holds_changes_nothing() -> None:
    places = known()
    assert not places.take(chunk(version="1", *ROWS[:1]))  # noqa: B026
    assert places.locate({"country": "US", "postal_code": "10001"}).how == "postal_code"


def test_chunks_of_two_versions_never_mix() -> None:
    places = Places()
    assert not places.take(chunk(ROWS[0], version="1", part=1, of=2))
    assert not places.take(chunk(ROWS[1], version="2", part=2, of=2))
    assert not places.take(chunk(ROWS[2], version="1", part=2, of=2))
    assert places.take(chunk(ROWS[0], version="1", part=1, of=2))


def test_the_whole_of_a_country_is_located_alike_in_any_order_of_rows() -> None:
    forth, back = known(*ROWS), known(*ROWS[::-1])
    for code in ("02108", "02", "021", "9", "7"):
        one, other = (p.locate({"country": "US", "postal_code": code}) for p in (forth, back))
        assert (one.vector, one.how, one.region) == (other.vector, other.how, other.region)


# in the shard


def test_a_node_without_a_location_stands_at_its_postal_code_once_it_is_known() -> None:
    shop = Story()
    address = {"country": "US", "postal_code": "02108"}
    shop.node("BOS", located=False, address=address)
    shop.node("OWN", address=address, location={"lat": 1.0, "lon": 2.0})
    nodes = shop.shard.nodes
    version = shop.shard.markets["US"].network_version
    assert nodes["BOS"].vector is None
    own = nodes["OWN"].vector
    shop.send("places_defined", **chunk(*ROWS))
    assert nodes["BOS"].vector == vector_of({"lat": 42.3576, "lon": -71.0638})
    assert nodes["BOS"].region == "MA"
    assert nodes["OWN"].vector == own
    assert shop.shard.markets["US"].network_version > version


def test_places_are_part_of_the_state_and_what_was_located_is_not() -> None:
    shop = Story()
    shop.send("places_defined", **chunk(*ROWS))
    shop.shard.places.locate({"country": "US", "postal_code": "02108"})
    assert plain(shop.shard) == plain(shop.twin)


def test_a_distance_to_a_located_order_is_one_of_this_earth() -> None:
    place = known().locate({"country": "US", "postal_code": "96701"})
    assert place.vector is not None
    assert math.isclose(math.hypot(*place.vector), 1.0)
