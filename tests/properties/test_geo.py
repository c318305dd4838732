"""Distances without a platform's sine, held against the platform's sine."""

import math

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from orchestrator.core.sourcing.geo import (
    DIAMETER_M,
    Vector,
    metres,
    micro_degrees,
    sine_cosine,
    vector,
)

LATITUDES = st.integers(-90_000_000, 90_000_000)
LONGITUDES = st.integers(-180_000_000, 180_000_000)
POINTS = st.builds(vector, LATITUDES, LONGITUDES)


@given(st.integers(-720_000_000, 720_000_000))
@example(45_000_000)
@example(-45_000_001)
@example(180_000_000)
def test_sine_and_cosine_are_the_librarys_to_a_billionth_of_a_millionth(angle: int) -> None:
    sine, cosine = sine_cosine(angle)
    radians = math.radians(angle / 1_000_000)
    # the angle in radians is itself rounded: by up to 2e-15 at a turn and a half
    assert abs(sine - math.sin(radians)) < 3e-15
    assert abs(cosine - math.cos(radians)) < 3e-15


@given(POINTS, POINTS)
def test_a_distance_is_the_great_circles_to_the_metre(a: Vector, b: Vector) -> None:
    half = min(1.0, math.dist(a, b) / 2)
    assert abs(metres(a, b) - DIAMETER_M * math.asin(half)) <= 0.5 + 1e-3 + (half > 0.9999)


@given(LATITUDES, LONGITUDES, st.integers(-200, 200), st.integers(-200, 200))
def test_so_is_a_short_one(lat: int, lon: int, north: int, east: int) -> None:
    there = (max(-90_000_000, min(90_000_000, lat + north)), lon + east)
    metre = DIAMETER_M / 2 * math.radians(1e-6)
    flat = math.hypot(there[0] - lat, east * math.cos(math.radians(lat / 1e6))) * metre
    assert abs(metres(vector(lat, lon), vector(*there)) - flat) <= 0.51


@given(POINTS, POINTS)
def test_there_is_as_far_as_back_and_here_is_nowhere_else(a: Vector, b: Vector) -> None:
    assert metres(a, b) == metres(b, a) >= 0
    assert metres(a, a) == 0


@pytest.mark.parametrize(
    ("latitude", "longitude"), [(0, 0), (90_000_000, 0), (42_360_000, -71_060_000)]
)
def test_the_antipodes_are_half_the_way_round(latitude: int, longitude: int) -> None:
    away = vector(-latitude, longitude + 180_000_000)
    assert metres(vector(latitude, longitude), away) == 20_015_115


def test_known_distances() -> None:
    """By the haversine formula."""
    boston, chicago = vector(42_360_000, -71_060_000), vector(41_880_000, -87_630_000)
    sydney = vector(-33_870_000, 151_210_000)
    assert metres(boston, chicago) == 1_365_540
    assert metres(boston, sydney) == 16_239_900


def test_a_degree_has_a_million_parts() -> None:
    assert micro_degrees(-71.0600004) == -71_060_000
    assert micro_degrees(-71.0600006) == -71_060_001
    assert micro_degrees(42.36) == 42_360_000
