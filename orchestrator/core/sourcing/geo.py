"""Points and distances on the earth, the same bytes on every platform.

A C library's sine differs in its last bit from one platform to the next, and a metre decides ties.
So this uses + - * / and the square root alone, which IEEE 754 rounds in one way everywhere:
coordinates are integer micro-degrees, reduced exactly; sine and cosine are Maclaurin's series,
whose first term left out is below 3e-16 up to 45 degrees; the arc sine is the rational
approximation of fdlibm's `e_asin.c` (Sun Microsystems, 1993).
"""

from collections.abc import Iterable
from math import sqrt
from typing import Final

from events.decided import Plain

Vector = tuple[float, float, float]
"""A point on the unit sphere."""

DIAMETER_M: Final = 2 * 6_371_009  # mean radius, IUGG
MICRO: Final = 1_000_000  # micro-degrees of a degree
_HALF_TURN: Final = 180 * MICRO
_RIGHT_ANGLE: Final = 90 * MICRO
_PI: Final = 3.141592653589793
_RADIANS: Final = _PI / _HALF_TURN
_QUARTER: Final = 0.25  # of the squared half chord: half a radius


def _sine(x: float) -> float:
    """Of an angle of at most 45 degrees, in radians."""
    z = x * x
    tail = -1 / 39_916_800 + z * (1 / 6_227_020_800 - z * (1 / 1_307_674_368_000))
    return x + x * z * (-1 / 6 + z * (1 / 120 + z * (-1 / 5_040 + z * (1 / 362_880 + z * tail))))


def _cosine(x: float) -> float:
    """Of an angle of at most 45 degrees, in radians."""
    z = x * x
    tail = -1 / 3_628_800 + z * (
        1 / 479_001_600 - z * (1 / 87_178_291_200 - z * (1 / 20_922_789_888_000))
    )
    return 1 + z * (-1 / 2 + z * (1 / 24 + z * (-1 / 720 + z * (1 / 40_320 + z * tail))))


def sine_cosine(angle: int) -> tuple[float, float]:
    """Sine and cosine of an angle in micro-degrees."""
    quadrant, rest = divmod(angle + _RIGHT_ANGLE // 2, _RIGHT_ANGLE)
    x = (rest - _RIGHT_ANGLE // 2) * _RADIANS
    sine, cosine = _sine(x), _cosine(x)
    match quadrant % 4:
        case 0:
            return sine, cosine
        case 1:
            return cosine, -sine
        case 2:
            return -sine, -cosine
        case _:
            return -cosine, sine


def micro_degrees(degrees: float) -> int:
    """Degrees as the wire has them, to the nearest micro-degree (11 cm at the most)."""
    return round(degrees * MICRO)


def vector(latitude: int, longitude: int) -> Vector:
    """The point at these micro-degrees."""
    sine, cosine = sine_cosine(latitude)
    east, along = sine_cosine(longitude)
    return (cosine * along, cosine * east, sine)


def vector_of(location: Plain | None) -> Vector | None:
    """The point of a `location` in degrees; None without one."""
    if location is None:
        return None
    return vector(micro_degrees(location["lat"]), micro_degrees(location["lon"]))


def metres(a: Vector, b: Vector) -> int:
    """The great-circle distance, on the mean radius.

    Twice the arc sine of half the chord: exact for near points too, where a cosine says nothing.
    """
    ax, ay, az = a
    bx, by, bz = b
    x, y, z = ax - bx, ay - by, az - bz
    square = (x * x + y * y + z * z) * 0.25
    if square <= _QUARTER:
        half = sqrt(square)
        return int(DIAMETER_M * (half + half * _asin_tail(square)) + 0.5)
    rest = (1 - square) / (1 + sqrt(square)) * 0.5  # (1 - half) / 2, without cancellation
    if rest <= 0:  # the antipodes, or a rounding beyond them
        return int(DIAMETER_M * (_PI / 2) + 0.5)
    half = sqrt(rest)
    return int(DIAMETER_M * (_PI / 2 - 2 * (half + half * _asin_tail(rest))) + 0.5)


def distances(a: Vector, others: Iterable[Vector | None]) -> list[int | None]:
    """`metres` from a point to each of these; the loop of it, since it is run for every place."""
    ax, ay, az = a
    found: list[int | None] = []
    for other in others:
        if other is None:
            found.append(None)
            continue
        bx, by, bz = other
        x, y, z = ax - bx, ay - by, az - bz
        square = (x * x + y * y + z * z) * 0.25
        if square <= _QUARTER:
            half = sqrt(square)
            found.append(int(DIAMETER_M * (half + half * _asin_tail(square)) + 0.5))
        else:
            found.append(metres(a, other))
    return found


def _asin_tail(z: float) -> float:
    """(asin(x) - x) / x for x * x = z <= 1/4."""
    return (
        z
        * (
            1.66666666666666657415e-01
            + z
            * (
                -3.25565818622400915405e-01
                + z
                * (
                    2.01212532134862925881e-01
                    + z
                    * (
                        -4.00555345006794114027e-02
                        + z * (7.91534994289814532176e-04 + z * 3.47933107596021167570e-05)
                    )
                )
            )
        )
        / (
            1
            + z
            * (
                -2.40339491173441421878e00
                + z
                * (
                    2.02094576023350569471e00
                    + z * (-6.88283971605453293030e-01 + z * 7.70381505559019352791e-02)
                )
            )
        )
    )
