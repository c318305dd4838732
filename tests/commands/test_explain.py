"""`headrace explain` in words: every way that a decision can have gone reads as a sentence."""
# ruff: noqa: ANN401 - fields of any kind

import io
from dataclasses import replace
from random import Random
from typing import Any

import orjson
import pytest
from rich.console import Console

from events.decided import Decision
from orchestrator.commands.explain import show
from orchestrator.core.sourcing.counterfactual import counterfactual
from projections.explained import explained
from schemas.money import amount, money
from tests.core import decisions as given
from tests.core.story import Story
from tests.projections.journals import DECISION

ORDER = {"channel": "web", "order_id": "1", "market_id": "us", "status": "allocated"}
BESIDE = {"at": "2026-11-22T10:00:00Z", "position": "0.3.1.2", "fulfillments": []}


def told(decision: Decision, width: int = 200, **beside: list[dict[str, Any]]) -> str:
    """What is printed where nobody looks at a terminal."""
    item = {**orjson.loads(orjson.dumps(decision)), **BESIDE, "backordered": [], **beside}
    out = io.StringIO()
    console = Console(file=out, width=width)
    show(console, ORDER, [explained(item, counterfactual)])
    return out.getvalue()


def market(**more: Any) -> given.Instance:
    """N0 is near and cheap, N1 far and dear, N2 farther and dearer; one line, two units."""
    one = given.Instance(
        wants=[2],
        free=[[2], [2], [2]],
        fences=[[], [], []],
        fixed=[500, 700, 900],
        unit=[[10], [10], [10]],
        metres=[4_000, 300_000, 1_000_000],
        wiggle=[[0, 0, 0]] * 3,
    )
    return replace(one, **more)


def test_says_what_was_asked_where_to_and_by_which_rules() -> None:
    text = told(given.decided(market()))
    assert "1. 2026-11-22T10:00:00Z, when the order was placed (0.3.1.2)" in text
    assert "Asked      2 of A (line 1), standard." in text
    assert "To US 02108, located by the postal code." in text
    assert "Version 7, strategy everything, since channel is web." in text
    assert "Not vip: channel is not phone." in text
    assert "Most units first, then the least cost, fewest legs, node ids." in text


def test_a_day_that_headrace_promised_by_itself_is_not_told_as_asked_for() -> None:
    day = "2026-11-26T04:59:59Z"
    asked = given.decided(market())
    asked["promise"] = day
    text = told(asked)
    assert f"Asked      2 of A (line 1), standard, by {day}." in text
    assert "Promised" not in text
    text = told({**asked, "own_promise": True})
    assert "Asked      2 of A (line 1), standard." in text
    assert f"Promised   by {day}: the order itself asks for no day." in text


def test_says_what_was_chosen_what_is_next_and_by_how_much() -> None:
    text = told(given.decided(market()))
    assert "N0 ships 2 of A over 4 km on 2026-11-23, to arrive on 2026-11-25, for 5.20 USD." in text
    assert "5.20 USD in all. Chosen since it costs least." in text
    assert "Next best  N1 with 2 of A: 2.00 USD dearer." in text
    assert "Were N0 2.01 USD dearer: N1 would ship 2 of A." in text


def test_a_fenced_cheaper_node_is_told_with_all_that_bars_it() -> None:
    text = told(given.decided(market(fences=[["max_km", "nodes"], [], []])))
    assert (
        "N0 would ship 2 of A over 4 km on 2026-11-23, to arrive on 2026-11-25, for 5.20 USD, but"
        " it is farther than the strategy allows and outside the nodes that the strategy allows."
    ) in text
    assert "Were N0 not" not in text  # of two fences none alone would do


def test_the_only_fence_of_a_cheaper_node_is_what_would_have_changed_it() -> None:
    text = told(given.decided(market(fences=[["max_km"], [], []])))
    assert (
        "Were N0 not farther than the strategy allows: N0 would ship 2 of A, saving 2.00 USD."
        in text
    )


def test_a_cheaper_node_that_lacks_a_unit_is_told_with_it() -> None:
    text = told(given.decided(market(free=[[1], [2], [2]])))
    assert "but it is short of 1 of A." in text
    assert "With 1 more of A at N0: N0 would ship 2 of A, saving 2.00 USD." in text


def test_nodes_that_have_nothing_of_it_are_not_told_one_by_one() -> None:
    text = told(given.decided(market(free=[[0], [2], [2]])))
    assert "N0: without free units." in text
    assert "short of" not in text


def test_a_split_is_told_leg_by_leg_and_summed() -> None:
    text = told(given.decided(market(free=[[1], [1], [0]], extra_leg=100)))
    assert "N0 ships 1 of A" in text
    assert "N1 ships 1 of A" in text
    assert "13.20 USD in all, 1.00 USD of it for shipping in parts." in text


def test_a_full_day_and_lateness_are_told() -> None:
    decision = given.decided(market())
    chosen = decision["sets"][0][1]
    chosen[4:] = [20_781, 3, None, 2, 1, [], [], 20_780]
    text = told(decision)
    assert "on 2026-11-24, to arrive on 2026-11-27, 2 days late" in text
    assert "(it is full from 2026-11-23 until then)" in text
    assert "2 days late; full on 11-23" in text


def test_a_nearer_node_that_costs_more_is_told_with_what_costs_most() -> None:
    text = told(given.decided(market(fixed=[800, 700, 900])))
    assert "N0 is nearer, but would ship 2 of A over 4 km" in text
    assert "1.00 USD more for transport." in text


def test_where_nothing_ships_it_is_said_why() -> None:
    text = told(given.decided(market(free=[[0], [1], [0]], wants=[2], one_leg=True)))
    assert "Plan       None: no node can ship any of it." in text
    assert "Next best" not in text


def allocated(story: Story) -> str:
    """The newest `order_allocated`, told."""
    (event,) = story.told("order_allocated")
    return told(orjson.loads(event["decision"]), backordered=event["backordered"])


@pytest.mark.parametrize("others", [0, 70])
def test_what_no_service_takes_is_said_to_wait_for_one_and_not_for_stock(others: int) -> None:
    story = Story()
    for node_id in ("BOS", "CHI", *(f"N{number}" for number in range(others))):
        story.node(node_id)
    story.item("A")
    story.service()
    story.receive("BOS", A=5)
    story.order("1", A=2, service_level="overnight")
    text = allocated(story)
    assert (
        "2 of line 1 wait for a carrier service that takes overnight to there from BOS, where"
        " units are." in text
    )
    assert "wait for stock" not in text
    assert "┃" not in text, "no table without a row"
    story.order("2", A=9)
    assert "4 of line 1 wait for stock." in allocated(story)


def test_a_parcel_that_no_service_takes_is_not_called_dear() -> None:
    story = Story()
    story.node("BOS")
    story.send("item_defined", sku="A", name="Anvil", weight_g=90_000)
    breaks = [{"to_g": 30_000, "base_minor": 500}]
    story.service(rates=[{"to_km": 6000, "weight_breaks": breaks, "transit_days": 2}])
    story.receive("BOS", A=5)
    story.order("1", A=1)
    text = allocated(story)
    assert "1 of line 1 wait for a carrier service that takes standard to there from BOS" in text
    assert "BOS: without a rate for this to there." in text
    assert "dearer" not in text


def two_nodes() -> Story:
    """BOS, where orders go, and CHI, where everything costs more."""
    story = Story()
    story.node("BOS")
    story.node("CHI")
    story.item("A", "B")
    story.service(
        rates=[
            {"to_km": 500, "base_minor": 100, "transit_days": 2},
            {"to_km": 6_000, "base_minor": 900, "transit_days": 2},
        ]
    )
    return story


def test_stores_that_lack_a_unit_are_not_called_dear() -> None:
    story = two_nodes()
    for number in range(20):
        story.node(f"S{number:02}", location={"lat": 42.36, "lon": -71.06})
        story.receive(f"S{number:02}", A=1)
    story.receive("CHI", A=5)
    story.order("1", A=2)
    text = " ".join(allocated(story).split())
    few = "with some of the units, but too few for any part that was weighed."
    assert f"S09, S10, S11, S12, S13, S14 and 5 more: {few}" in text
    assert "no better than" not in text


def test_what_a_pool_keeps_from_the_channel_is_not_said_to_lack_a_service() -> None:
    story = two_nodes()
    story.rules({}, pools=[{"id": "app", "sku": ["A"], "channel": "app", "units": 5}])
    story.receive("BOS", A=5)
    story.order("1", A=2)
    text = allocated(story)
    assert "2 of line 1 wait: the channel may have no more of it." in text
    assert "BOS and CHI: without units that the channel may have." in text


def test_a_leg_of_the_plan_is_not_told_among_the_nodes_that_could_have_been() -> None:
    story = two_nodes()
    for node_id in ("BOS", "CHI"):
        story.receive(node_id, A=1)
    story.order("1", A=2)
    text = allocated(story)
    assert "BOS ships 1 of A" in text
    assert "is nearer" not in text


@pytest.mark.parametrize(
    ("rules", "why"),
    [
        ({"split": {"max_legs": 1}}, "CHI has units, but no plan that the rules allow (at most 1"),
        ({"split": {"leg_min": {"units": 2}}}, "CHI has units, but no plan that the rules allow"),
        ({"fences": {"max_km": 100}}, "CHI, where units are, is farther than the strategy allows."),
    ],
)
def test_what_the_rules_keep_at_a_node_is_not_said_to_wait_for_stock(
    rules: dict[str, Any], why: str
) -> None:
    story = two_nodes()
    story.rules(rules)
    story.receive("BOS", A=1)
    story.receive("CHI", B=1)
    story.order("1", A=1, B=1)
    text = allocated(story)
    assert f"1 of line 2 wait: {why}" in text


def test_what_may_not_wait_is_said_to_be_cancelled() -> None:
    story = two_nodes()
    story.rules({"unsourced": "cancel"})
    story.receive("BOS", A=1)
    story.order("1", A=2)
    assert "1 of A may not wait, and are cancelled for want of stock." in allocated(story)


def test_services_that_a_leg_could_not_go_by_are_told_with_why() -> None:
    decision = given.decided(market())
    codes = ("no_rate", "lane_suspended", "too_heavy", "excluded")
    decision["unused"] = [[f"ups/{code}", code, "N0"] for code in codes]
    text = told(decision)
    assert "ups/no_rate from N0: without a rate to there." in text
    assert "ups/lane_suspended from N0: suspended." in text
    assert "ups/too_heavy from N0: takes nothing so heavy." in text
    assert "ups/excluded from N0: takes nothing that requires what the items do." in text


def test_an_order_that_only_one_node_could_ship_has_no_otherwise() -> None:
    text = told(given.decided(market(free=[[2], [0], [0]])))
    assert "Otherwise  Nothing that was weighed would have changed it." in text


def test_a_ranked_strategy_is_told_by_its_criteria() -> None:
    text = told(given.decided(market(ranked=True)))
    assert "Most units first, then the least distance, then the most units on hand" in text
    assert "Next best  N1 with 2 of A: 296 km farther." in text
    assert "Were N0 296.0 km farther: N1 would ship 2 of A." in text


def test_of_unrated_plans_the_nearest_is_chosen_and_said_to_be() -> None:
    free = market(rated=False, fixed=[0, 0, 0], unit=[[0], [0], [0]])
    text = told(given.decided(free))
    assert "0.00 USD in all. Chosen since it is nearest." in text
    assert "Next best  N1 with 2 of A: 296 km farther." in text
    assert "Were N0 296.0 km farther: N1 would ship 2 of A." in text


def test_what_waits_is_told_with_when_it_is_expected() -> None:
    waits = [{"line_id": "1", "quantity": 1, "expected_at": "2026-12-01T00:00:00Z"}]
    text = told(DECISION, backordered=waits)
    assert (
        "1 of line 1 wait, expected 2026-12-01T00:00:00Z: the channel may have no more of it."
    ) in text
    assert "Of MUG only 2 can be promised to the channel: 2 were planned." in text


@pytest.mark.parametrize("width", [40, 60, 80, 120])
def test_fits_the_terminal_and_is_plain_where_there_is_none(width: int) -> None:
    for seed in range(15):
        text = told(given.decided(given.instance(Random(seed))), width)
        assert "\x1b" not in text
        assert max(map(len, text.splitlines())) <= max(width, 40)


def test_ids_are_printed_as_they_are() -> None:
    decision = given.decided(market())
    decision["lines"][0][1] = "[red]A[/red]"
    assert "2 of [red]A[/red]" in told(decision)


def test_every_random_decision_is_told_whole() -> None:
    for seed in range(60):
        decision = given.decided(given.instance(Random(seed)))
        text = told(decision)
        assert "None" not in text.replace("None: no node", "")
        for leg in (decision["chosen"] or {"legs": []})["legs"]:
            assert f"{leg[1]} ships" in text


@pytest.mark.parametrize(
    ("minor", "currency", "written"),
    [
        (123456, "USD", "1,234.56 USD"),
        (-5, "EUR", "-0.05 EUR"),
        (1200, "JPY", "1,200 JPY"),
        (1200, "BHD", "1.200 BHD"),
        (12, "CLF", "0.0012 CLF"),
    ],
)
def test_money_is_written_with_its_currency_s_exponent(
    minor: int, currency: str, written: str
) -> None:
    assert money(minor, currency) == written
    assert amount(minor, currency) == written[:-4]
