"""The forty largest metropolitan areas of the United States, and how far apart they are.

Populations: Census 2020, metropolitan statistical areas. Coordinates: the principal city, to a
hundredth of a degree (about a kilometre; the cheapest distance band is 240 km wide).
"""

from math import asin, cos, radians, sin, sqrt
from typing import Final, NamedTuple

_RADIUS_MILES: Final = 6_371.009 / 1.609_344  # the mean radius


class Metro(NamedTuple):
    """A metropolitan area; degrees."""

    code: str
    name: str
    population: int
    lat: float
    lon: float


METROS: Final = (
    Metro("NYC", "New York", 20_140_470, 40.71, -74.01),
    Metro("LAX", "Los Angeles", 13_200_998, 34.05, -118.24),
    Metro("CHI", "Chicago", 9_618_502, 41.88, -87.63),
    Metro("DFW", "Dallas", 7_637_387, 32.78, -96.80),
    Metro("HOU", "Houston", 7_122_240, 29.76, -95.37),
    Metro("WAS", "Washington", 6_385_162, 38.91, -77.04),
    Metro("PHL", "Philadelphia", 6_245_051, 39.95, -75.17),
    Metro("MIA", "Miami", 6_138_333, 25.76, -80.19),
    Metro("ATL", "Atlanta", 6_089_815, 33.75, -84.39),
    Metro("BOS", "Boston", 4_941_632, 42.36, -71.06),
    Metro("PHX", "Phoenix", 4_845_832, 33.45, -112.07),
    Metro("SFO", "San Francisco", 4_749_008, 37.77, -122.42),
    Metro("RIV", "Riverside", 4_599_839, 33.95, -117.40),
    Metro("DET", "Detroit", 4_392_041, 42.33, -83.05),
    Metro("SEA", "Seattle", 4_018_762, 47.61, -122.33),
    Metro("MSP", "Minneapolis", 3_690_261, 44.98, -93.27),
    Metro("SAN", "San Diego", 3_298_634, 32.72, -117.16),
    Metro("TPA", "Tampa", 3_175_275, 27.95, -82.46),
    Metro("DEN", "Denver", 2_963_821, 39.74, -104.99),
    Metro("BAL", "Baltimore", 2_844_510, 39.29, -76.61),
    Metro("STL", "St. Louis", 2_820_253, 38.63, -90.20),
    Metro("ORL", "Orlando", 2_673_376, 28.54, -81.38),
    Metro("CLT", "Charlotte", 2_660_329, 35.23, -80.84),
    Metro("SAT", "San Antonio", 2_558_143, 29.42, -98.49),
    Metro("PDX", "Portland", 2_512_859, 45.52, -122.68),
    Metro("SAC", "Sacramento", 2_397_382, 38.58, -121.49),
    Metro("PIT", "Pittsburgh", 2_370_930, 40.44, -80.00),
    Metro("AUS", "Austin", 2_283_371, 30.27, -97.74),
    Metro("LAS", "Las Vegas", 2_265_461, 36.17, -115.14),
    Metro("CIN", "Cincinnati", 2_256_884, 39.10, -84.51),
    Metro("KCI", "Kansas City", 2_192_035, 39.10, -94.58),
    Metro("CMH", "Columbus", 2_138_926, 39.96, -83.00),
    Metro("IND", "Indianapolis", 2_111_040, 39.77, -86.16),
    Metro("CLE", "Cleveland", 2_088_251, 41.50, -81.69),
    Metro("SJC", "San Jose", 2_000_468, 37.34, -121.89),
    Metro("BNA", "Nashville", 1_989_519, 36.16, -86.78),
    Metro("ORF", "Virginia Beach", 1_799_674, 36.85, -75.98),
    Metro("PVD", "Providence", 1_676_579, 41.82, -71.41),
    Metro("JAX", "Jacksonville", 1_605_848, 30.33, -81.66),
    Metro("MKE", "Milwaukee", 1_574_731, 43.04, -87.91),
)


def miles(one: Metro, other: Metro) -> float:
    """Great-circle distance, by the haversine formula."""
    lat, other_lat = radians(one.lat), radians(other.lat)
    half_lat, half_lon = (other_lat - lat) / 2, radians(other.lon - one.lon) / 2
    chord = sin(half_lat) ** 2 + cos(lat) * cos(other_lat) * sin(half_lon) ** 2
    return 2 * _RADIUS_MILES * asin(sqrt(chord))
