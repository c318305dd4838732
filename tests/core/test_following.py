"""Following: planning sees of a shard what the engine that decides it does."""

from random import Random
from typing import Any

import orjson
import pytest

from orchestrator.core.following import follow
from orchestrator.core.shard import Shard
from tests.core.story import Story, plain

STATES = ("on_hand", "reserved", "quality_control", "damaged", "held", "available")


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
                "offering": [node.node_id for node in market.offering],
                "stock": {
                    (sku, node_id): [getattr(stock, state) for state in STATES]
                    for sku, shelf in market.bins.items()
                    for node_id, stock in shelf.items()
                },
                "available": {sku: units for sku, units in market.available.items() if units},
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
        story.node(node_id)
    for number in range(60):
        sku, node_id = chance.choice(skus), chance.choice(nodes)
        match chance.randrange(9):
            case 0 | 1 | 2:
                units: dict[str, Any] = {sku: chance.randint(1, 6)}
                story.order(f"{number}", to=chance.choice(nodes), **units)
            case 3 | 4:
                state = chance.choice(("available", "available", "damaged"))
                story.send(
                    "stock_received", node_id=node_id, sku=sku, quantity=chance.randint(1, 9),
                    state=state,
                )  # fmt: skip
            case 5:
                story.send("stock_counted", node_id=node_id, sku=sku, counted=chance.randint(0, 9))
            case 6:
                asked = [
                    one
                    for order in story.shard.markets[story.market_id].orders.values()
                    for one in order.fulfillments
                ]
                if asked:
                    reason = chance.choice(("not_in_stock", "damaged", "closed", "capacity"))
                    told = chance.choice(asked)
                    about: dict[str, Any] = {"fulfillment_id": told.fulfillment_id}
                    about["node_id"] = told.node_id
                    story.send("fulfillment_rejected", reason=reason, **about)
            case 7:
                story.node(node_id, active=chance.random() < 0.7)
            case _:
                story.at(chance.choice((60, 5 * 3600)))


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
