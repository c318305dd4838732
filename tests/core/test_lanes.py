"""Lanes: what a carrier suspends is left out of plans until it is restored or its time is over."""

from events.decided import Plain
from orchestrator.core.sourcing.places import Place
from orchestrator.core.sourcing.rates import suspended
from tests.core.story import Story, plain

RATES = [{"to_km": 20_000, "base_minor": 500, "transit_days": 2}]


def shop_with_ups() -> Story:
    shop = Story()
    shop.node("BOS")
    shop.send(
        "carrier_service_defined",
        market_id="US",
        carrier="ups",
        service="ground",
        service_levels=["standard"],
        rates=RATES,
    )
    return shop


def suspend(shop: Story, **named: object) -> list[str]:
    told: Plain = {"market_id": "US", "carrier": "ups", "reason": "storm", **named}
    return [event["type"] for event in shop.send("lane_suspended", **told)]


def restore(shop: Story, **named: object) -> list[str]:
    told: Plain = {"market_id": "US", "carrier": "ups", **named}
    return [event["type"] for event in shop.send("lane_restored", **told)]


def takes(shop: Story, postal_code: str = "02108") -> bool:
    market = shop.shard.markets["US"]
    place = Place(None, "nowhere", country="US", postal_code=postal_code)
    suspensions = market.suspensions_to(place)
    return not suspended(suspensions, market.services["ups/ground"], shop.shard.nodes["BOS"], place)


def test_of_many_suspended_lanes_a_place_is_asked_for_those_that_lead_there() -> None:
    shop = shop_with_ups()
    for prefix in range(100, 200):
        suspend(shop, destination_prefix=str(prefix))
    suspend(shop, destination_prefix="02")
    suspend(shop, service="ground", origin_node_id="CHI")
    place = Place(None, "nowhere", country="US", postal_code="02108")
    found = shop.shard.markets["US"].suspensions_to(place)
    assert [key.destination_prefix for key in found] == ["02", None]


def test_a_suspended_lane_takes_nothing_until_it_is_restored() -> None:
    shop = shop_with_ups()
    version = shop.shard.markets["US"].network_version
    assert suspend(shop, destination_prefix="021") == ["lane_suspended"]
    assert not takes(shop)
    assert takes(shop, "10001")
    assert shop.shard.markets["US"].network_version > version
    shop.at(30 * 86_400)
    assert not takes(shop)
    assert restore(shop, destination_prefix="021") == ["lane_restored"]
    assert takes(shop)
    assert plain(shop.shard) == plain(shop.twin)


def test_a_suspension_ends_by_itself_when_its_time_is_over() -> None:
    shop = shop_with_ups()
    suspend(shop, until="2027-01-16T00:00:00Z")
    shop.at(3600)
    assert not takes(shop)
    types = [event["type"] for event in shop.at(2 * 86_400)]
    assert types == ["timer_fired", "lane_restored"]
    assert takes(shop)


def test_a_date_is_suspended_to_its_end_in_the_markets_zone() -> None:
    shop = shop_with_ups()  # it is 2027-01-15T08:00:00Z, 3:00 in New York
    suspend(shop, until="2027-01-15")
    shop.at(20.9 * 3600)
    assert not takes(shop)
    shop.at(0.2 * 3600)
    assert takes(shop)


def test_a_later_word_prolongs_a_suspension() -> None:
    shop = shop_with_ups()
    suspend(shop, until="2027-01-15T09:00:00Z")
    suspend(shop, until="2027-01-15T10:00:00Z")
    shop.at(1.5 * 3600)
    assert not takes(shop)
    shop.at(3600)
    assert takes(shop)


def test_the_same_suspension_again_is_a_repeat() -> None:
    shop = shop_with_ups()
    suspend(shop)
    assert suspend(shop, reason="still a storm") == ["input_repeated"]


def test_restoring_a_carrier_ends_all_its_suspensions() -> None:
    shop = shop_with_ups()
    suspend(shop, service="ground", destination_prefix="02")
    suspend(shop, origin_node_id="BOS")
    suspend(shop, carrier="dhl")
    assert restore(shop) == ["lane_restored", "lane_restored"]
    assert takes(shop)
    assert len(shop.shard.markets["US"].suspensions) == 1


def test_a_part_of_a_suspension_cannot_be_restored_and_a_person_is_told() -> None:
    shop = shop_with_ups()
    suspend(shop, destination_prefix="02")
    assert restore(shop, destination_prefix="021") == ["exception_opened"]
    assert "restore what was suspended" in shop.events[0]["detail"]
    assert not takes(shop)


def test_restoring_what_is_not_suspended_is_a_repeat() -> None:
    assert restore(shop_with_ups()) == ["input_repeated"]


def test_a_suspension_of_a_market_not_known_yet_waits_for_it() -> None:
    shop = Story()
    suspend(shop, market_id="EU")
    shop.send("market_defined", market_id="EU", currency="EUR", time_zone="Europe/Berlin")
    assert len(shop.shard.markets["EU"].suspensions) == 1


def test_what_waits_is_planned_again_when_the_network_changes() -> None:
    shop = shop_with_ups()
    shop.item("A", "B")
    shop.order("1", A=1, B=1)
    market = shop.shard.markets["US"]
    assert list(market.waiting) == ["A", "B"]
    suspend(shop)
    types = restore(shop)
    assert types == ["lane_restored", "work_queued", "work_done", "work_done", "work_done"]
    assert not market.refill_queued
