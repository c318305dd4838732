"""Following: planning sees of a shard what the engine that decides it does."""

from random import Random
from typing import Any

import orjson
import pytest

from orchestrator.core.following import follow
from orchestrator.core.shard import Shard
from tests.core.story import Story, plain

STATES = (
    *("on_hand", "reserved", "quality_control", "damaged", "held", "available"),
    *("lots", "sold", "sold_day"),
)
RULES = {
    "defaults": {"pools": [{"id": "P", "sku": ["A"], "channel": "web", "units": 9}]},
    "strategies": [{"name": "held", "hold": 30}],
}
GROUND: dict[str, Any] = {"carrier": "ups", "service": "ground"}


def planned_with(shard: Shard) -> dict[str, Any]:
    """What planning looks at."""
    return {
        "now_ms": shard.now_ms,
        "items": shard.items,
        "nodes": plain(shard.nodes),
        "places": plain(shard.places),
        "markets": {
            market.market_id: {
                "currency": market.currency,
                "services": plain(market.services),
                "suspensions": market.suspensions,
                "stock": {
                    (sku, node_id): stands
                    for sku, shelf in market.bins.items()
                    for node_id, stock in shelf.items()
                    if any(stands := [getattr(stock, state) for state in STATES])
                },
                "available": {sku: units for sku, units in market.available.items() if units},
                "rules": market.rules,
                "pools": {one: count.taken for one, count in market.pool_taken.items()},
                "inbound": market.inbound,
                "backordered": market.backordered,
                "planned": market.fulfillments_planned,
            }
            for market in shard.markets.values()
        },
    }


def followed(story: Story) -> Shard:
    """A shard that followed all that was journaled."""
    shard = Shard(0)
    follow(shard, map(orjson.loads, story.entries))
    return shard


def some_day(story: Story, chance: Random) -> None:
    """Orders, shortages, cancellations, rejections, pauses, counts, in whatever order."""
    skus, nodes = ("A", "B"), ("BOS", "CHI", "LAX")
    story.item(*skus)
    for node_id in nodes:
        story.node(node_id, capacity_orders_per_day=2)
    rates = [{"to_km": 9000, "base_minor": 500, "per_kg_minor": 0, "transit_days": 1}]
    lane: dict[str, Any] = {"market_id": "US", "carrier": "ups"}
    story.send(
        "carrier_service_defined",
        **GROUND,
        market_id="US",
        service_levels=["standard"],
        rates=rates,
    )
    rule_set: dict[str, Any] = {"market_id": "US", "version": 1}
    for number in range(80):
        sku, node_id = chance.choice(skus), chance.choice(nodes)
        asked = [
            one for order in story.shard.markets["US"].orders.values() for one in order.fulfillments
        ]
        one = chance.choice(asked) if asked else None
        told: dict[str, Any] = {}
        if one is not None:
            told = {"fulfillment_id": one.fulfillment_id, "node_id": one.node_id}
        match chance.randrange(14):
            case 0 | 1 | 2 | 3:
                units: dict[str, Any] = {sku: chance.randint(1, 6)}
                story.order(f"{number}", to=chance.choice(nodes), **units)
            case 4 | 5:
                more: dict[str, Any] = chance.choice(
                    ({}, {}, {"state": "damaged"}, {"expires_on": "2027-03-01"})
                )
                story.send(
                    "stock_received",
                    node_id=node_id,
                    sku=sku,
                    quantity=chance.randint(1, 9),
                    document=chance.choice((None, f"PO{number}")),
                    **more,
                )
            case 6:
                story.send("stock_counted", node_id=node_id, sku=sku, counted=chance.randint(0, 9))
            case 7 if one is not None:
                reason = chance.choice(("not_in_stock", "damaged", "closed", "capacity"))
                story.send("fulfillment_rejected", reason=reason, **told)
            case 8 if one is not None:
                shipped: dict[str, Any] = {
                    "shipped_at": "2027-01-16T10:00:00Z",
                    "packages": [{"package_id": "P"}],
                }
                story.send("fulfillment_shipped", **shipped, **told)
            case 9:
                active, capacity = chance.random() < 0.7, chance.randint(1, 4)
                story.node(node_id, active=active, capacity_orders_per_day=capacity)
            case 10:
                story.send(
                    "inbound_announced",
                    node_id=node_id,
                    sku=sku,
                    quantity=chance.randint(0, 5),
                    document=f"PO{chance.randrange(80)}",
                    expected_at="2027-02-01T10:00:00Z",
                )
            case 11:
                if chance.random() < 0.5:
                    story.send("lane_suspended", **lane, origin_node_id=node_id, reason="snow")
                else:
                    story.send("lane_restored", **lane, origin_node_id=node_id)
            case 12 if number > 20:
                story.send("rule_set_proposed", **rule_set, author="Ann", body=RULES)
                story.send("rule_set_approved", **rule_set, approver="Bob")
                story.send("rule_set_activated", **rule_set)
            case _:
                story.at(chance.choice((60, 3600, 26 * 3600)))


@pytest.mark.parametrize("seed", range(20))
def test_a_followed_shard_looks_to_planning_as_the_decided_one(seed: int) -> None:
    story = Story()
    some_day(story, Random(seed))
    assert planned_with(followed(story)) == planned_with(story.shard)


def test_what_only_deciding_would_act_on_is_not_kept() -> None:
    story = Story()
    story.item("A")
    story.node("BOS")
    story.receive("BOS", A=3)
    story.order("1", A=2)
    story.report("rejected", "1.1", reason="capacity")
    assert story.shard.timers
    shard = followed(story)
    assert shard.nodes["BOS"].suppressed
    assert not shard.timers
    assert not shard.work
    assert not any(market.orders for market in shard.markets.values())


def test_a_node_that_was_awaited_is_known_with_what_it_reported_meanwhile() -> None:
    story = Story()
    story.item("A")
    story.receive("BOS", A=3)
    story.node("BOS")
    assert story.stock("BOS", "A") == (3, 0, 3)
    assert planned_with(followed(story)) == planned_with(story.shard)


def test_what_carriers_suspend_and_where_places_are_is_followed() -> None:
    story = Story()
    story.node("BOS", located=False, address={"country": "US", "postal_code": "02108"})
    row = {"postal_code": "02108", "lat": 42.4, "lon": -71.1}
    story.send("places_defined", country="US", version="1", chunk=1, chunks=1, rows=[row])
    lane: dict[str, Any] = {"market_id": story.market_id, "carrier": "ups"}
    story.send(
        "lane_suspended", **lane, service="air", reason="storm", until="2027-01-16T00:00:00Z"
    )
    story.send("lane_suspended", **lane, destination_prefix="02", reason="storm")
    assert len(followed(story).markets[story.market_id].suspensions) == 2
    story.send("lane_restored", **lane, destination_prefix="02")
    assert planned_with(followed(story)) == planned_with(story.shard)
    story.at(86_400)
    assert followed(story).markets[story.market_id].suspensions == {}
    assert followed(story).nodes["BOS"].vector is not None
