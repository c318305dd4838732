"""Rates: what a carrier's service charges, where it doesn't go, and when it arrives."""

from typing import NamedTuple

import pytest
from hypothesis import given
from hypothesis import strategies as st

from events.decided import Plain
from orchestrator.core.sourcing.calendars import day_number
from orchestrator.core.sourcing.geo import Vector, metres, vector
from orchestrator.core.sourcing.places import Place
from orchestrator.core.sourcing.rates import Lane, Scale, Service, lane_key, suspended

BOSTON = vector(42_360_000, -71_060_000)
NOWHERE = Place(None, "nowhere", country="US")


def band(to_km: int, base_minor: int = 0, **more: object) -> Plain:
    return {"to_km": to_km, "base_minor": base_minor, "transit_days": 1, **more}


def service(*bands: Plain, **more: object) -> Service:
    return Service(
        {
            "carrier": "ups",
            "service": "ground",
            "service_levels": ["standard"],
            "rates": list(bands),
            **more,
        }
    )


class Node(NamedTuple):
    node_id: str = "BOS"
    region: str | None = "MA"
    vector: Vector | None = BOSTON


HERE = Node()


def east(km: int) -> Place:
    """A place so many kilometres from Boston, about, and a bit less."""
    return Place(vector(42_360_000, -71_060_000 + km * 12_000), "given", country="US")


def to(postal_code: str, country: str = "US", *, home: bool = False) -> Place:
    return Place(None, "nowhere", country=country, postal_code=postal_code, residential=home)


def lane(of: Service, place: Place, origin: Node = HERE) -> Lane:
    found = of.lane(origin, place)
    assert found is not None
    return found


def base(of: Service, place: Place, origin: Node = HERE) -> int:
    return lane(of, place, origin).base_minor


def test_the_first_band_that_reaches_applies() -> None:
    ground = service(band(100, 500), band(1000, 900))
    assert [base(ground, east(km)) for km in (1, 99, 102, 900)] == [500, 500, 900, 900]


def test_beyond_the_last_band_is_a_hole() -> None:
    assert service(band(100, 500)).lane(Node(), east(200)) is None


def test_a_band_reaches_its_last_metre() -> None:
    ground = service(band(100, 500), band(200, 600))
    there = Place(vector(42_360_000, -69_844_000), "given")
    assert 99_900 < _metres(there) <= 100_000
    assert base(ground, there) == 500


def _metres(place: Place) -> int:
    assert place.vector is not None
    return metres(BOSTON, place.vector)


def test_a_distance_nobody_knows_counts_as_the_farthest() -> None:
    ground = service(band(100, 500), band(1000, 900))
    assert base(ground, NOWHERE) == 900
    assert base(ground, east(10), Node(vector=None)) == 900


def test_zones_are_asked_before_bands() -> None:
    ground = service(
        band(1000, 900), zones=[{"destination_prefix": "021", "base_minor": 300, "transit_days": 1}]
    )
    assert base(ground, to("02108")) == 300
    assert base(ground, to("10001")) == 900


def test_the_first_zone_that_matches_applies() -> None:
    zones: list[Plain] = [
        {"origin_node_id": "BOS", "destination_country": "US", "destination_prefix": "021"},
        {"origin_region": "ma", "destination_country": "US"},
        {"destination_prefix": "0"},
        {"destination_country": "CA", "destination_prefix": "h2x 1"},
        {"destination_country": "CA"},
    ]
    for number, zone in enumerate(zones):
        zone.update(base_minor=number, transit_days=1)
    ground = service(zones=zones)
    assert base(ground, to("02108")) == 0
    assert base(ground, to("90210")) == 1
    assert base(ground, to("02108"), Node("WOR")) == 1
    assert base(ground, to("02108"), Node("NYC", "NY")) == 2
    assert base(ground, to("H2X1Y4", "CA")) == 3
    assert base(ground, to("M5V", "CA")) == 4
    assert ground.lane(Node("NYC", "NY"), to("90210")) is None
    assert ground.lane(Node("NYC", None), to("")) is None


def test_every_kilogram_begun_is_paid() -> None:
    priced = lane(service(band(1000, 500, per_kg_minor=100)), east(1))
    assert [priced.charge(grams, 1) for grams in (0, 1, 1000, 1001)] == [500, 600, 600, 700]


def test_every_unit_in_a_parcel_is_paid() -> None:
    assert lane(service(band(1000, 500, per_unit_minor=7)), east(1)).charge(0, 3) == 521


def test_a_break_sets_the_base_and_beyond_the_last_nothing_goes() -> None:
    breaks = [{"to_g": 1000, "base_minor": 400}, {"to_g": 5000, "base_minor": 900}]
    priced = lane(service(band(1000, weight_breaks=breaks)), east(1))
    assert [priced.charge(grams, 1) for grams in (0, 1000, 1001, 5000, 5001)] == [
        400,
        400,
        900,
        900,
        None,
    ]


def test_a_home_and_an_oversize_parcel_cost_more() -> None:
    ground = service(
        band(1000, 500, weight_breaks=[]),
        surcharges={
            "residential_minor": 30,
            "oversize_minor": 1000,
            "oversize_over_g": 20_000,
            "oversize_over_ml": 90_000,
        },
    )
    home = lane(ground, Place(BOSTON, "given", residential=True))
    assert home.charge(100, 1) == 530
    office = lane(ground, east(1))
    assert office.charge(20_000, 1, 90_000) == 500
    assert office.charge(20_001, 1, 90_000) == 1500
    assert office.charge(20_000, 1, 90_001) == 1500


def test_a_home_costs_more_with_breaks_too() -> None:
    breaks = [{"to_g": 1000, "base_minor": 400}]
    ground = service(band(1000, weight_breaks=breaks), surcharges={"residential_minor": 30})
    assert lane(ground, Place(BOSTON, "given", residential=True)).charge(1, 1) == 430


@pytest.mark.parametrize(
    ("ready", "arrives"),
    [("2026-11-23", "2026-11-26"), ("2026-11-24", "2026-11-27"), ("2026-11-27", "2026-12-03")],
)
def test_it_arrives_so_many_days_after_the_next_pickup(ready: str, arrives: str) -> None:
    ground = service(band(1000, transit_days=3), pickup_days=["mon", "tue"])
    assert lane(ground, east(1)).arrival_day(day_number(ready)) == day_number(arrives)


PRICES = st.fixed_dictionaries(
    {"base_minor": st.integers(0, 900), "transit_days": st.just(1), "to_km": st.just(1000)},
    optional={
        "per_kg_minor": st.integers(0, 50),
        "weight_breaks": st.lists(st.integers(1, 9000), unique=True, max_size=3).map(
            lambda edges: [{"to_g": edge, "base_minor": edge} for edge in sorted(edges)]
        ),
    },
)


@given(
    st.lists(st.tuples(PRICES, st.none() | st.integers(0, 9000)), min_size=1, max_size=3),
    st.integers(0, 12_000),
)
def test_weights_of_one_step_cost_the_same_everywhere(
    rates: list[tuple[Plain, int | None]], weight_g: int
) -> None:
    services = [
        service(
            rate,
            surcharges={} if over is None else {"oversize_minor": 5, "oversize_over_g": over},
        )
        for rate, over in rates
    ]
    scale = Scale(services)
    step = scale.step_g(weight_g)
    assert scale.step_g(step) == step
    for one in services:
        assert lane(one, east(1)).charge(weight_g, 1) == lane(one, east(1)).charge(step, 1)


@pytest.mark.parametrize(
    ("named", "takes_nothing"),
    [
        ({"carrier": "ups"}, True),
        ({"carrier": "dhl"}, False),
        ({"carrier": "ups", "service": "ground"}, True),
        ({"carrier": "ups", "service": "air"}, False),
        ({"carrier": "ups", "origin_node_id": "BOS"}, True),
        ({"carrier": "ups", "origin_node_id": "CHI"}, False),
        ({"carrier": "ups", "destination_prefix": "02 1"}, True),
        ({"carrier": "ups", "destination_prefix": "022"}, False),
        ({"carrier": "ups", "destination_prefix": "021089"}, False),
    ],
)
def test_a_suspension_bars_the_lanes_it_names(named: Plain, takes_nothing: bool) -> None:  # noqa: FBT001
    lanes = {lane_key(named): None}
    assert suspended(lanes, service(band(1)), Node(), to("02108")) is takes_nothing


def test_a_suspension_by_destination_leaves_out_who_has_no_postal_code() -> None:
    lanes = {lane_key({"carrier": "ups", "destination_prefix": "0"}): None}
    assert not suspended(lanes, service(band(1)), Node(), NOWHERE)
