"""What is said of master data that can't be right: each problem with its place."""

from typing import Any

import orjson
import pytest

from events.inputs import INPUTS
from schemas.cloudevents import Accepted, Code, Rejected, emit, read

BAND = {"to_km": 500, "base_minor": 600, "transit_days": 2}
ZONE = {"destination_prefix": "021", "base_minor": 300, "transit_days": 1}
ROW = {"postal_code": "02108", "lat": 42.4, "lon": -71.1}


def taken(type_: str, data: dict[str, Any]) -> Accepted | Rejected:
    headers = emit(type_, "1", "test", "2026-01-31T12:00:00Z")
    return read(INPUTS[type_].TOPIC, orjson.dumps(data), headers)


def service(**changes: object) -> dict[str, Any]:
    return {
        "market_id": "US",
        "carrier": "ups",
        "service": "ground",
        "service_levels": ["standard"],
        "rates": [BAND],
        **changes,
    }


def places(**changes: object) -> dict[str, Any]:
    return {"country": "US", "version": "1", "chunk": 1, "chunks": 1, "rows": [ROW], **changes}


WRONG: list[tuple[str, dict[str, Any], str]] = [
    (
        "carrier_service_defined",
        service(rates=[]),
        "rates or zones are needed: a service without them goes nowhere",
    ),
    (
        "carrier_service_defined",
        service(rates=[BAND, {**BAND, "to_km": 500}]),
        "rates[1].to_km must be above the one before (500), was 500",
    ),
    (
        "carrier_service_defined",
        service(
            rates=[
                {
                    "to_km": 9,
                    "transit_days": 1,
                    "weight_breaks": [
                        {"to_g": 500, "base_minor": 1},
                        {"to_g": 100, "base_minor": 1},
                    ],
                }
            ]
        ),
        "rates[0]: weight_breaks[1].to_g must be above the one before (500), was 100",
    ),
    (
        "carrier_service_defined",
        service(rates=[{**BAND, "weight_breaks": [{"to_g": 500, "base_minor": 1}]}]),
        "rates[0]: each of weight_breaks has its own base_minor: leave this one out",
    ),
    (
        "carrier_service_defined",
        service(rates=[{**BAND, "base_minor": -1}]),
        "rates[0].base_minor: must be a whole number from 0 to 1000000000000, was -1",
    ),
    (
        "carrier_service_defined",
        service(zones=[ZONE, {**ZONE, "base_minor": 5, "destination_prefix": "02 1"}]),
        "zones[1] matches what zones[0] does: it never applies",
    ),
    (
        "carrier_service_defined",
        service(zones=[{**ZONE, "destination_prefix": "-"}]),
        "zones[0].destination_prefix: must be",
    ),
    (
        "carrier_service_defined",
        service(surcharges={"oversize_minor": 5}),
        "surcharges: oversize_minor needs oversize_over_g or oversize_over_ml",
    ),
    ("carrier_service_defined", service(pickup_days=[]), "pickup_days: must be"),
    ("carrier_service_defined", service(pickup_days=["monday"]), "pickup_days[0]: must be"),
    (
        "places_defined",
        places(chunk=3, chunks=2),
        "chunk 3 of 2: chunks count from 1 to chunks",
    ),
    ("places_defined", places(chunk=0), "chunk: must be"),
    ("places_defined", places(rows=[]), "rows: must be"),
    ("places_defined", places(rows=[ROW] * 1001), "rows: must be"),
    ("places_defined", places(rows=[{**ROW, "lat": 91.0}]), "rows[0].lat: must be"),
    ("places_defined", places(rows=[{**ROW, "lat": "42.4"}]), "rows[0].lat: must be"),
    (
        "node_defined",
        {
            "node_id": "BOS",
            "market_id": "US",
            "kind": "store",
            "name": "Boston",
            "address": {"country": "US"},
            "capacity_orders_per_day": -1,
        },
        "capacity_orders_per_day: must be",
    ),
    (
        "lane_suspended",
        {"market_id": "US", "carrier": "ups", "reason": "storm", "until": "soon"},
        "until: must be",
    ),
]


@pytest.mark.parametrize(("type_", "data", "says"), WRONG, ids=[says for _, _, says in WRONG])
def test_what_cant_be_right_is_refused_with_its_place(
    type_: str, data: dict[str, Any], says: str
) -> None:
    outcome = taken(type_, data)
    assert isinstance(outcome, Rejected)
    assert outcome.code is Code.INVALID_DATA
    assert outcome.detail.startswith(says)


@pytest.mark.parametrize(
    "data",
    [
        service(),
        service(rates=[], zones=[ZONE]),
        service(
            zones=[ZONE, {**ZONE, "destination_country": "CA"}, {**ZONE, "origin_region": "MA"}]
        ),
        service(zones=[{"base_minor": 1, "transit_days": 1, "destination_country": ""}]),
    ],
)
def test_what_can_be_is_taken(data: dict[str, Any]) -> None:
    outcome = taken("carrier_service_defined", data)
    assert isinstance(outcome, Accepted), outcome


def test_a_full_chunk_fits_a_record() -> None:
    row = {"postal_code": "AB12 3CD", "lat": -12.345678, "lon": -123.456789, "region": "Somewhere"}
    outcome = taken(
        "places_defined", places(rows=[{**row, "city": "A town of some length"}] * 1000)
    )
    assert isinstance(outcome, Accepted), outcome
