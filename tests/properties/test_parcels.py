"""Parcels against first-fit decreasing as the textbook has it: one unit after the other."""

from hypothesis import given
from hypothesis import strategies as st

from orchestrator.core.sourcing.parcels import Content, Limits, Parcel, cut

TAGS = st.frozensets(st.sampled_from(["hazmat", "food", "cold"]), max_size=2)
CONTENTS = st.lists(
    st.builds(
        Content,
        weight_g=st.integers(0, 12),
        volume_ml=st.integers(0, 12),
        sku=st.sampled_from("AB"),
        line_id=st.just("1"),
        units=st.integers(1, 7),
        tags=TAGS,
        requires=TAGS,
    ),
    min_size=1,
    max_size=5,
).map(lambda lines: [one._replace(line_id=str(n)) for n, one in enumerate(lines)])
LIMITS = st.builds(
    Limits,
    max_g=st.none() | st.integers(1, 20),
    max_ml=st.none() | st.integers(1, 20),
    apart=st.sampled_from([(), (("hazmat", "food"),), (("cold", "hazmat"), ("food", "cold"))]),
)


def one_by_one(contents: list[Content], limits: Limits) -> list[list[Content]]:
    parcels: list[list[Content]] = []
    units = [one._replace(units=1) for one in contents for _ in range(one.units)]
    for unit in sorted(units, key=lambda c: (-c.weight_g, -c.volume_ml, c.sku, c.line_id)):
        for parcel in parcels:
            if may_share(parcel, unit, limits):
                parcel.append(unit)
                break
        else:
            parcels.append([unit])
    return parcels


def may_share(parcel: list[Content], unit: Content, limits: Limits) -> bool:
    if limits.max_g is not None and sum(c.weight_g for c in parcel) + unit.weight_g > limits.max_g:
        return False
    volume = sum(c.volume_ml for c in parcel) + unit.volume_ml
    if limits.max_ml is not None and volume > limits.max_ml:
        return False
    return all(same_line(c, unit) or not apart(c, unit, limits) for c in parcel)


def same_line(one: Content, other: Content) -> bool:
    return one.line_id == other.line_id


def apart(one: Content, other: Content, limits: Limits) -> bool:
    return any(
        (a in one.tags and b in other.tags) or (b in one.tags and a in other.tags)
        for a, b in limits.apart
    )


def weighed(parcel: list[Content]) -> Parcel:
    requires: frozenset[str] = frozenset().union(*(c.requires for c in parcel))
    return Parcel(
        sum(c.weight_g for c in parcel), sum(c.volume_ml for c in parcel), len(parcel), requires
    )


@given(CONTENTS, LIMITS)
def test_parcels_are_those_of_a_unit_at_a_time(contents: list[Content], limits: Limits) -> None:
    found = [
        parcel._replace(copies=1) for parcel in cut(contents, limits) for _ in range(parcel.copies)
    ]
    assert sorted(found, key=repr) == sorted(map(weighed, one_by_one(contents, limits)), key=repr)


@given(CONTENTS, LIMITS)
def test_the_order_of_lines_changes_nothing(contents: list[Content], limits: Limits) -> None:
    assert cut(contents, limits) == cut(contents[::-1], limits)


def box(weight_g: int, units: int, sku: str = "A", *tags: str) -> Content:
    return Content(weight_g, 0, sku, sku, units, frozenset(tags))


def test_what_fits_goes_in_one_parcel() -> None:
    assert cut([box(900, 2), box(100, 2, "B")], Limits(max_g=2000)) == [
        Parcel(2000, 0, 4, frozenset())
    ]


def test_a_unit_over_a_limit_is_a_parcel_of_its_own() -> None:
    found = cut([box(30_000, 2), box(500, 1, "B")], Limits(max_g=20_000))
    assert found == [Parcel(30_000, 0, 1, frozenset(), 2), Parcel(500, 0, 1, frozenset())]


def test_what_must_stay_apart_does() -> None:
    found = cut(
        [box(500, 1, "A", "hazmat"), box(400, 1, "B", "food")], Limits(apart=(("hazmat", "food"),))
    )
    assert [parcel.units for parcel in found] == [1, 1]


def test_a_million_units_are_counted_not_listed() -> None:
    found = cut([box(7_000, 1_000_000), box(3_000, 1_000_000, "B")], Limits(max_g=20_000))
    assert sum(parcel.units * parcel.copies for parcel in found) == 2_000_000
    assert len(found) < 10
