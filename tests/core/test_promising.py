"""Promising: what a question gets is what the order would get, and what else would bring it."""

import sys
from typing import Any

import orjson
import pytest

from orchestrator import installed
from orchestrator.core.following import follow
from orchestrator.core.promising import MOMENTS, availability, promise
from orchestrator.core.shard import Shard
from schemas.ports import NotAnswerable, NotKnown
from tests.core.story import PLACES, Story, at_once

MONDAY_3_AM = 1_800_000_000_000 + 3 * 86_400_000  # in New York, 2027-01-18


@pytest.fixture
def story() -> Story:
    """Boston is near and Chicago far; ground takes a day or four, air always one."""
    story = Story()
    story.at((MONDAY_3_AM - story.now_ms) / 1000)
    story.item("A", "B")
    for node_id in ("BOS", "CHI"):
        story.node(node_id)
    for service, levels, near, far in (
        ("ground", ["standard"], (500, 1), (900, 4)),
        ("air", ["expedited"], (2900, 1), (2900, 1)),
    ):
        bands = zip((500, 9000), (near, far), strict=True)
        rates = [
            {"to_km": to_km, "base_minor": minor, "per_kg_minor": 0, "transit_days": days}
            for to_km, (minor, days) in bands
        ]
        story.send(
            "carrier_service_defined",
            market_id="US",
            carrier="ups",
            service=service,
            service_levels=levels,
            rates=rates,
        )
    return story


def ask(story: Story, units: dict[str, int], **more: Any) -> Any:  # noqa: ANN401 - JSON
    lat, lon = PLACES["BOS"]
    question = {
        "market_id": "US",
        "channel": "web",
        "lines": [
            {"line_id": str(n), "sku": sku, "quantity": quantity}
            for n, (sku, quantity) in enumerate(units.items(), 1)
        ],
        "ship_to": {"country": "US", "location": {"lat": lat, "lon": lon}},
        **more,
    }
    return at_once(promise(story.shard, question, story.now_ms))


def promised(story: Story, units: dict[str, int], level: str = "standard", **more: Any) -> Any:  # noqa: ANN401 - JSON
    """What one level promises; others are asked only where `more` says so."""
    answer = ask(story, units, **{"service_levels": [level], **more})
    return next(one for one in answer["promises"] if one["service_level"] == level)


def summary(one: dict[str, Any]) -> tuple[Any, ...]:
    where = {leg["node_id"]: leg["source"] for leg in one["legs"]}
    return one["possible"], one["source"], one["delivery_date"], one["cost_minor"], where


def earlier(one: dict[str, Any]) -> dict[str, tuple[str, str, int]]:
    return {
        change["how"]: (change["detail"], change["delivery_date"], change["cost_minor"])
        for change in one["earlier"]
    }


def test_every_level_that_services_list_is_promised(story: Story) -> None:
    story.receive("BOS", A=3)
    answer = ask(story, {"A": 2})
    assert [(one["service_level"], summary(one)) for one in answer["promises"]] == [
        ("expedited", (True, "now", "2027-01-19", 2900, {"BOS": "now"})),
        ("standard", (True, "now", "2027-01-19", 500, {"BOS": "now"})),
    ]
    (leg,) = answer["promises"][1]["legs"]
    assert leg == {
        "node_id": "BOS",
        "source": "now",
        "ship_date": "2027-01-18",
        "ship_by": "2027-01-18T21:00:00.000Z",
        "delivery_date": "2027-01-19",
        "deliver_by": "2027-01-20T04:59:59.000Z",
        "carrier": "ups",
        "service": "ground",
        "cost_minor": 500,
        "lines": [{"line_id": "1", "sku": "A", "quantity": 2}],
    }
    assert answer["promises"][1]["order_by"] == "2027-01-18T21:00:00.000Z"
    assert answer["rule_set"] == "default-1"


def test_a_market_without_services_promises_no_date() -> None:
    story = Story()
    story.item("A")
    story.node("BOS")
    story.receive("BOS", A=3)
    (one,) = ask(story, {"A": 2})["promises"]
    assert one["service_level"] == "standard"
    assert summary(one) == (True, "now", None, 0, {"BOS": "now"})
    assert one["earlier"] == []


@pytest.mark.parametrize("nodes", [1, 3, 4, 5, 16, 64, 65])
def test_why_what_nobody_has_is_missing_is_said_however_many_nodes_there_are(nodes: int) -> None:
    story = Story()
    story.item("A")
    for number in range(nodes):
        story.node(f"N{number:02}")
    for defaults in ({}, {"thresholds": {"web": 5}}):
        story.rules({}, **defaults)
        (one,) = ask(story, {"A": 1})["promises"]
        assert one["because"].startswith("they are neither in stock"), one


def test_what_nobody_has_is_missing(story: Story) -> None:
    story.receive("BOS", A=3)
    one = promised(story, {"A": 5})
    assert summary(one)[:2] == (False, "now")
    assert one["missing"] == [{"line_id": "1", "sku": "A", "quantity": 2}]
    assert one["because"].startswith("they are neither in stock")
    none = promised(story, {"B": 1})
    assert summary(none) == (False, "none", None, 0, {})
    assert none["ship_by"] is none["order_by"] is None


@pytest.mark.parametrize("others", [0, 70])
def test_what_no_service_takes_is_said_to_lack_a_service_and_not_stock(
    story: Story, others: int
) -> None:
    for number in range(others):  # more nodes than are told one by one
        story.node(f"N{number}")
    story.receive("BOS", A=3)
    one = promised(story, {"A": 2}, "overnight")
    assert not one["possible"]
    assert one["because"] == "no carrier service takes overnight to there from where the units are"
    assert promised(story, {"A": 2})["because"] is None
    assert promised(story, {"B": 2}, "overnight")["because"].startswith("they are neither in stock")


def test_all_unknown_items_are_named(story: Story) -> None:
    with pytest.raises(NotKnown, match="no item Y, Z"):
        ask(story, {"Y": 1, "A": 1, "Z": 1})


def test_a_question_in_another_currency_is_not_answered(story: Story) -> None:
    story.receive("BOS", A=3)
    assert ask(story, {"A": 1}, currency="USD")
    with pytest.raises(NotAnswerable, match="reckons in USD, not in EUR"):
        ask(story, {"A": 1}, currency="EUR")


def test_a_question_asks_so_many_lines_at_the_most_over_its_service_levels(story: Story) -> None:
    """Those that the market's services list count where none is named."""
    skus = [f"A{n}" for n in range(101)]
    story.item(*skus)
    lines = dict.fromkeys(skus, 1)
    assert ask(story, lines, service_levels=["standard"])
    del lines["A100"]
    assert ask(story, lines)
    lines["A100"] = 1
    for levels in ({}, {"service_levels": ["standard", "expedited"]}):
        with pytest.raises(NotAnswerable, match=r"101 of them for 2 service levels .* 200 lines"):
            ask(story, lines, **levels)


def test_each_plan_of_an_answer_is_a_slice(story: Story) -> None:
    story.receive("CHI", A=3)
    question = {
        "market_id": "US",
        "channel": "web",
        "lines": [{"line_id": "1", "sku": "A", "quantity": 1}],
        "ship_to": {"country": "US"},
        "service_levels": ["standard", "expedited"],
    }
    slices = list(filter(None, promise(story.shard, question, story.now_ms)))
    assert len(slices) >= 4, "one of each level, and what would make each earlier"


def test_a_plan_of_200_lines_gives_way_after_little_work(story: Story) -> None:
    """Counted in calls of the core as it is written: some thousand take less than 2 ms."""
    skus = [f"A{n}" for n in range(200)]
    story.item(*skus)
    for n in range(12):
        story.node(f"N{n:02d}", location={"lat": 30.0 + n, "lon": -80.0 - n})
        story.receive(f"N{n:02d}", **{sku: 9 for i, sku in enumerate(skus) if (i + n) % 5})
    calls = 0

    def called(_frame: object, event: str, _what: object) -> None:
        nonlocal calls
        calls += event == "call"

    question = {
        "market_id": "US",
        "channel": "web",
        "lines": [
            {"line_id": str(n), "sku": sku, "quantity": 1 + n % 3} for n, sku in enumerate(skus)
        ],
        "ship_to": {"country": "US"},
        "service_levels": ["standard"],
    }
    parts = []
    try:
        for _ in promise(story.shard, question, story.now_ms):
            sys.setprofile(None)
            parts.append(calls)
            calls = 0
            sys.setprofile(called)
    finally:
        sys.setprofile(None)
    parts.append(calls)
    assert len(parts) > 400
    if installed.core() == "compiled":
        pytest.skip("what a compiled function calls is seen by no profiler")
    assert 1_000 < max(parts) < 3_000


def test_an_order_of_a_later_moment_is_planned_then(story: Story) -> None:
    story.receive("BOS", A=3)
    later = promised(story, {"A": 1}, placed_at="2027-01-19T22:00:00Z")
    assert later["legs"][0]["ship_date"] == "2027-01-20"
    past = promised(story, {"A": 1}, placed_at="2027-01-01T22:00:00Z")
    assert past["legs"][0]["ship_date"] == "2027-01-18"


def test_what_the_promise_asked_for_misses_is_told(story: Story) -> None:
    story.receive("CHI", A=3)
    one = promised(story, {"A": 1}, deliver_by="2027-01-20")
    assert (one["delivery_date"], one["days_late"]) == ("2027-01-22", 2)
    assert one["cost"]["late"] == 2 * 500
    assert one["cost_minor"] == sum(one["cost"].values()) == 1900


# what would bring it earlier; each claim is put to the test


def test_a_dearer_level_that_is_earlier_is_named(story: Story) -> None:
    story.receive("CHI", A=3)
    one = promised(story, {"A": 1}, service_levels=["standard", "expedited"])
    assert summary(one) == (True, "now", "2027-01-22", 900, {"CHI": "now"})
    assert earlier(one)["service_level"] == (
        "by service level expedited, for 2000 more",
        "2027-01-19",
        2900,
    )
    assert earlier(promised(story, {"A": 1}, "expedited")) == {}


def test_units_that_a_nearer_node_lacks_are_named(story: Story) -> None:
    story.receive("CHI", A=9)
    story.receive("BOS", A=1)
    one = promised(story, {"A": 4})
    assert summary(one) == (True, "now", "2027-01-22", 900, {"CHI": "now"})
    detail, date, cost_minor = earlier(one)["stock"]
    assert detail == "with 3 more of A at BOS"
    story.receive("BOS", A=3)
    assert summary(promised(story, {"A": 4})) == (True, "now", date, cost_minor, {"BOS": "now"})


def test_an_item_that_the_nearer_node_never_had_is_named(story: Story) -> None:
    story.receive("CHI", A=9)
    assert earlier(promised(story, {"A": 4}))["stock"][0] == "with 4 more of A at BOS"
    assert "BOS" not in story.shard.markets["US"].bins["A"]


def test_units_that_are_missing_everywhere_are_named(story: Story) -> None:
    story.receive("BOS", A=1)
    one = promised(story, {"A": 4})
    assert not one["possible"]
    detail, date, _ = earlier(one)["stock"]
    assert (detail, date) == ("with 3 more of A at BOS", "2027-01-19")


def test_a_cut_off_that_passed_today_is_named(story: Story) -> None:
    story.receive("BOS", A=1)
    story.at(14 * 3600)  # 17:00
    one = promised(story, {"A": 1})
    assert one["delivery_date"] == "2027-01-20"
    assert earlier(one)["order_by"] == (
        "had it been ordered by 2027-01-18T21:00:00.000Z, in time for BOS",
        "2027-01-19",
        500,
    )
    assert one["order_by"] == "2027-01-19T21:00:00.000Z"


def test_without_the_split_it_may_be_earlier(story: Story) -> None:
    story.send(
        "carrier_service_defined",
        market_id="US",
        carrier="van",
        service="whole",
        service_levels=["standard"],
        rates=[{"to_km": 9000, "base_minor": 1600, "per_kg_minor": 0, "transit_days": 1}],
    )
    story.receive("BOS", A=1)
    story.receive("CHI", A=1, B=1)
    one = promised(story, {"A": 1, "B": 1})
    assert summary(one)[2:4] == ("2027-01-22", 900)
    assert earlier(one)["deliver_by"] == (
        "when asked for by 2027-01-21, for 700 more",
        "2027-01-19",
        1600,
    )


def test_in_one_piece_it_may_be_earlier(story: Story) -> None:
    for sku in ("A", "B"):
        story.send("item_defined", sku=sku, name=sku, weight_g=1000)
    weight = {"per_kg_minor": 0, "weight_breaks": [{"to_g": 1500, "base_minor": 900}]}
    ground = [
        {"to_km": to_km, "transit_days": days, **weight} for to_km, days in ((500, 1), (9000, 4))
    ]
    story.service("ups", "ground", rates=ground)
    truck = {"to_km": 9000, "base_minor": 2500, "per_kg_minor": 0, "transit_days": 1}
    story.service("van", "truck", rates=[truck])
    story.receive("BOS", A=1)
    story.receive("CHI", A=1, B=1)
    one = promised(story, {"A": 1, "B": 1})
    assert summary(one)[2:] == ("2027-01-22", 1800, {"BOS": "now", "CHI": "now"})
    assert earlier(one)["one_node"] == (
        "without the split, all from CHI",
        "2027-01-19",
        2500,
    )


def test_without_what_arrives_last_the_rest_is_there_earlier(story: Story) -> None:
    story.receive("BOS", A=1)
    story.receive("CHI", B=1)
    one = promised(story, {"A": 1, "B": 1})
    assert summary(one)[2:] == ("2027-01-22", 1400, {"BOS": "now", "CHI": "now"})
    assert earlier(one)["without_lines"] == ("without B", "2027-01-19", 500)


def test_of_a_large_question_nothing_earlier_is_looked_for(story: Story) -> None:
    skus = [f"S{n:02}" for n in range(11)]
    story.item(*skus)
    story.receive("CHI", **dict.fromkeys(skus, 9))
    one = promised(story, dict.fromkeys(skus, 1), service_levels=["standard", "expedited"])
    assert one["possible"]
    assert one["earlier"] == []


# a channel's stock


def test_a_channels_availability_is_shown_by_market_and_node(story: Story) -> None:
    story.receive("BOS", A=3)
    story.receive("CHI", A=4)
    story.node("LAX", ships=False)
    story.receive("LAX", A=7)
    story.order("1", A=2)
    shown = availability([story.shard], "A", "web", story.now_ms)
    assert [
        (row["node_id"], row["on_hand"], row["reserved"], row["offers"], row["free"])
        for row in shown["nodes"]
    ] == [("BOS", 3, 2, True, 1), ("CHI", 4, 0, True, 4), ("LAX", 7, 0, False, 0)]
    assert shown["total"] == {
        "on_hand": 14,
        "reserved": 2,
        "held": 0,
        "available": 12,
        "incoming": 0,
    }
    assert shown["markets"] == [
        {"market_id": "US", "free": 5, "threshold": 0, "pools": [], "atp": 5}
    ]


def test_an_item_that_nobody_defined_is_not_known(story: Story) -> None:
    with pytest.raises(NotKnown, match="Z is not defined"):
        availability([story.shard], "Z", "web", story.now_ms)


# what is on its way


def announce(story: Story, node_id: str, day: str, **units: int) -> None:
    for sku, quantity in units.items():
        story.send(
            "inbound_announced",
            node_id=node_id,
            sku=sku,
            quantity=quantity,
            document=f"PO-{day}",
            expected_at=f"2027-01-{day}T15:00:00Z",
        )


def test_what_stock_lacks_comes_from_what_is_announced(story: Story) -> None:
    story.receive("BOS", A=2)
    announce(story, "BOS", "25", A=1)
    announce(story, "BOS", "26", A=5)
    one = promised(story, {"A": 5})
    assert one["possible"]
    assert one["missing"] == []
    assert (one["source"], one["delivery_date"]) == ("inbound", "2027-01-27")
    assert [
        (leg["source"], leg["ship_date"], leg["lines"][0]["quantity"]) for leg in one["legs"]
    ] == [("now", "2027-01-18", 2), ("inbound", "2027-01-26", 3)]
    assert one["cost_minor"] == 1000
    short = promised(story, {"A": 9})
    assert [(gap["sku"], gap["quantity"]) for gap in short["missing"]] == [("A", 1)]


def test_what_must_ship_whole_waits_for_the_last_of_it(story: Story) -> None:
    story.receive("BOS", A=2)
    announce(story, "BOS", "26", A=5)
    for how in ("allow_split", "allow_partial"):
        kept_whole: dict[str, Any] = {how: False}
        one = promised(story, {"A": 5}, **kept_whole)
        assert [
            (leg["source"], leg["ship_date"], leg["lines"][0]["quantity"]) for leg in one["legs"]
        ] == [("inbound", "2027-01-26", 5)]


def test_orders_that_wait_get_what_is_announced_first(story: Story) -> None:
    story.receive("BOS", A=1)
    story.send("stock_adjusted", node_id="BOS", sku="A", delta=-1, reason="lost")
    announce(story, "BOS", "25", A=3)
    announce(story, "BOS", "27", A=3)
    assert promised(story, {"A": 2})["delivery_date"] == "2027-01-26"
    story.order("1", A=2)
    assert story.counts("1") == {"backordered": 2}
    assert promised(story, {"A": 2})["delivery_date"] == "2027-01-28"
    assert promised(story, {"A": 5})["missing"] == [{"line_id": "1", "sku": "A", "quantity": 1}]
    story.cancel("1")
    assert promised(story, {"A": 2})["delivery_date"] == "2027-01-26"


def test_units_that_stay_where_they_arrive_are_waited_for_no_less(story: Story) -> None:
    story.rules({}, safety_stock=[{"units": 2}])
    story.receive("BOS", A=1)
    announce(story, "BOS", "25", A=5)
    announce(story, "BOS", "27", A=5)
    one = promised(story, {"A": 5})
    assert (one["possible"], one["delivery_date"]) == (True, "2027-01-28")


def test_units_that_arrive_where_rules_let_nobody_ship_from_are_no_source(story: Story) -> None:
    story.rules({"fences": {"nodes": {"node": "BOS"}}})
    story.receive("CHI", A=1)
    announce(story, "CHI", "19", A=50)
    announce(story, "BOS", "27", A=50)
    one = promised(story, {"A": 10})
    assert summary(one)[:3] == (True, "inbound", "2027-01-28")


def test_what_goes_in_one_piece_waits_for_the_node_that_has_it_first(story: Story) -> None:
    announce(story, "CHI", "20", A=5)
    announce(story, "BOS", "19", A=5)
    announce(story, "BOS", "21", A=5)
    story = followed_story(story)
    one = promised(story, {"A": 10}, allow_split=False)
    assert [(leg["node_id"], leg["ship_date"]) for leg in one["legs"]] == [("BOS", "2027-01-21")]


def test_stock_counts_beside_what_arrives_where_all_goes_at_once(story: Story) -> None:
    story.receive("BOS", A=1)
    announce(story, "BOS", "19", A=1)
    announce(story, "BOS", "25", A=1)
    one = promised(story, {"A": 2}, allow_partial=False)
    assert (one["possible"], one["delivery_date"]) == (True, "2027-01-20")


def test_not_more_than_a_few_moments_are_planned_for_and_the_last_is_one(story: Story) -> None:
    story.rules({}, safety_stock=[{"units": 20}])
    story.receive("BOS", A=1)
    for day in range(MOMENTS + 2):
        announce(story, "BOS", str(20 + day), A=3)
    assert promised(story, {"A": 4})["delivery_date"] == "2027-01-28"


def test_moments_before_the_last_unit_that_is_short_are_not_planned_for(story: Story) -> None:
    """There are more of them than are planned for."""
    story.receive("BOS", A=1, B=1)
    announce(story, "BOS", "20", A=1)
    for day in range(21, 28):
        announce(story, "BOS", str(day), B=1)
    announce(story, "BOS", "28", A=1)
    announce(story, "BOS", "30", B=1)
    one = promised(story, {"A": 3, "B": 2})
    assert (one["possible"], one["delivery_date"]) == (True, "2027-01-29")


def test_what_is_announced_for_a_day_beyond_all_calendars_never_comes(story: Story) -> None:
    story.receive("BOS", A=1)
    story.send(
        "inbound_announced",
        node_id="BOS",
        sku="A",
        quantity=5,
        document="PO",
        expected_at="9999-12-31",
    )
    one = promised(story, {"A": 2})
    assert (one["possible"], one["source"]) == (False, "now")


def test_an_order_of_a_day_beyond_all_calendars_is_not_answered(story: Story) -> None:
    story.receive("BOS", A=3)
    with pytest.raises(NotAnswerable, match="placed_at"):
        promised(story, {"A": 1}, placed_at="9990-01-19T22:00:00Z")
    assert promised(story, {"A": 1}, placed_at="9987-01-19T22:00:00Z")["possible"]


def test_what_the_order_would_ask_of_carriers_and_days_is_asked_for(story: Story) -> None:
    story.receive("BOS", A=3)
    (leg,) = promised(story, {"A": 1}, carrier="ups", service="air")["legs"]
    assert (leg["service"], leg["cost_minor"]) == ("air", 2900)
    (leg,) = promised(story, {"A": 1}, ship_not_before="2027-01-20")["legs"]
    assert leg["ship_date"] == "2027-01-20"
    late = promised(story, {"A": 1}, ship_by="2027-01-16")
    assert late["cost"]["late"] == 2 * 500


def test_what_is_announced_of_an_item_nobody_ever_had_counts(story: Story) -> None:
    announce(story, "BOS", "25", A=3)
    assert promised(followed_story(story), {"A": 2})["delivery_date"] == "2027-01-26"


def followed_story(story: Story) -> Story:
    """The same story as a follower knows it."""
    shard = Shard(0)
    follow(shard, map(orjson.loads, story.entries))
    story.shard = shard
    return story
