"""What `headrace explain` prints of four orders that the core really decides."""
# ruff: noqa: ANN401 - fields of events are any JSON

import io
from collections.abc import Callable
from typing import Any

import orjson
from rich.console import Console

from orchestrator.commands.explain import show
from orchestrator.core.sourcing.counterfactual import counterfactual
from projections.explained import explained
from schemas.times import rfc3339
from tests.core.story import Story

WIDTH = 100
NEW_YORK = {"country": "US", "region": "NY", "postal_code": "10001"}
BODY = {
    "defaults": {"late_per_day": {"default": 400}},
    "strategies": [
        {
            "name": "pallets",
            "when": {"quantity": {"min": 100}},
            "objective": ["fewest_legs", "distance"],
        },
        {
            "name": "parcels",
            "fences": {"nodes": {"kind": ["warehouse"]}},
            "split": {"cost_per_extra_leg": 100},
        },
    ],
}


def shop() -> Story:
    """Three warehouses and a store, two services, an active rule set, on a Friday morning."""
    story = Story(market="us")
    story.send(
        "places_defined",
        country="US",
        version="1",
        chunk=1,
        chunks=1,
        rows=[{"postal_code": "10001", "region": "NY", "lat": 40.75, "lon": -73.99}],
    )
    sites: list[tuple[str, str, str, dict[str, Any]]] = [
        ("BOS", "warehouse", "BOS", {"capacity_orders_per_day": 2}),
        ("CHI", "warehouse", "CHI", {}),
        ("LAX", "warehouse", "LAX", {}),
        ("SOHO", "store", "NYC", {}),
    ]
    for node_id, kind, where, more in sites:
        lat, lon = PLACES[where]
        story.send(
            "node_defined",
            node_id=node_id,
            market_id="us",
            kind=kind,
            name=node_id,
            address={"country": "US"},
            location={"lat": lat, "lon": lon},
            handling_cost_minor=150,
            **more,
        )
    for sku, weight_g in (("TEA", 250), ("KETTLE", 1_800)):
        story.send("item_defined", sku=sku, name=sku, weight_g=weight_g)
    story.send(
        "carrier_service_defined",
        market_id="us",
        carrier="ups",
        service="ground",
        service_levels=["standard"],
        rates=[
            {"to_km": 50, "base_minor": 420, "per_kg_minor": 20, "transit_days": 1},
            {"to_km": 500, "base_minor": 600, "per_kg_minor": 40, "transit_days": 2},
            {"to_km": 2_000, "base_minor": 750, "per_kg_minor": 60, "transit_days": 4},
            {"to_km": 6_000, "base_minor": 1650, "per_kg_minor": 150, "transit_days": 6},
        ],
        pickup_days=["mon", "tue", "wed", "thu", "fri"],
    )
    of: Any = {"market_id": "us", "version": 7}
    story.send("rule_set_proposed", **of, author="ana", note="", body=BODY)
    story.send("rule_set_approved", **of, approver="ben")
    story.send("rule_set_activated", **of)
    return story


PLACES = {
    "BOS": (42.36, -71.06),
    "CHI": (41.88, -87.63),
    "LAX": (34.05, -118.24),
    "NYC": (40.72, -74.0),
}


def order(story: Story, order_id: str, **more: Any) -> None:
    """An order to New York, of units by sku."""
    story.order(order_id, ship_to=NEW_YORK, **more)


def a_split_order() -> Story:
    story = shop()
    story.receive("BOS", TEA=40)
    story.receive("CHI", KETTLE=3)
    story.receive("LAX", TEA=40, KETTLE=3)
    order(story, "split", TEA=2, KETTLE=1)
    return story


def a_fenced_out_nearest_node() -> Story:
    story = shop()
    story.receive("SOHO", TEA=10)
    story.receive("BOS", TEA=40)
    story.receive("CHI", TEA=40)
    order(story, "fenced", TEA=2)
    return story


def a_full_day() -> Story:
    story = shop()
    story.receive("BOS", TEA=40)
    story.receive("CHI", TEA=40)
    order(story, "first", TEA=1)
    order(story, "second", TEA=1)
    order(story, "full", TEA=1)
    return story


def a_late_promise() -> Story:
    story = shop()
    story.receive("BOS", TEA=1)
    story.receive("CHI", TEA=40)
    order(story, "late", TEA=2, deliver_by="2027-01-18")
    return story


SAMPLES: dict[str, Callable[[], Story]] = {
    "split": a_split_order,
    "fenced": a_fenced_out_nearest_node,
    "full": a_full_day,
    "late": a_late_promise,
}


def told(order_id: str) -> str:
    """What `headrace explain web/<order_id>` prints, as wide as the page has it."""
    story = SAMPLES[order_id]()
    (event,) = story.told("order_allocated")
    item = {
        **orjson.loads(event["decision"]),
        "at": rfc3339(story.now_ms),
        "position": "0.14.0.3",
        "fulfillments": event["fulfillments"],
        "backordered": event["backordered"],
    }
    order = {
        "channel": "web",
        "order_id": order_id,
        "market_id": "us",
        "status": story.status(order_id),
    }
    out = io.StringIO()
    show(Console(file=out, width=WIDTH), order, [explained(item, counterfactual)])
    return out.getvalue()
