"""What records of history add to whose figures, by lives of orders and sums made by hand."""

from collections import Counter
from collections.abc import Iterable
from typing import Any

import orjson
import pytest

from orchestrator.kpis.figures import additions
from schemas.history import Known, flatten
from schemas.journal import Entry
from tests.core.story import Story
from tests.golden.test_journal import read


def counted(story: Story) -> dict[str, Counter[str]]:
    """The sums of each scope, without the zeros."""
    return summed((seq, 0, orjson.loads(entry)) for seq, entry in enumerate(story.entries))


def summed(entries: Iterable[tuple[int, int, Entry]]) -> dict[str, Counter[str]]:
    """The same of entries with their commit's number and their own in it."""
    known, sums = Known(), dict[str, Counter[str]]()
    for seq, number, entry in entries:
        for flat in flatten(known, 0, seq, number, entry):
            for one in additions(flat.record):
                sums.setdefault(one.scope, Counter()).update(one.counts)
    return {scope: +counts for scope, counts in sums.items()}


def test_a_journal_of_the_first_release_counts_as_todays_do() -> None:
    entries = [
        (commit.seq, number, entry)
        for commit in read("journal-0.1.0")[1]
        for number, entry in enumerate(commit.entries)
    ]
    sums = summed(entries)["US"]
    told = Counter(event["type"] for _, _, entry in entries for event in entry["events"])
    assert sums["placed"] == told["order_accepted"] + sums["refused"]
    assert sums["planned"] == told["order_allocated"]
    assert sums["shipped"] == told["shipment_sent"]
    assert sums["delivered"] == told["shipment_delivered"]
    assert sums["exceptions"] == told["exception_opened"]
    assert min(sums[name] for name in ("placed", "planned", "delivered", "lead_ms")) > 0


def a_sold_unit(planned: str) -> Story:
    story = Story()
    story.service(planned)
    story.node("BOS")
    story.item("A")
    story.receive("BOS", A=5)
    story.order("7", A=2)
    return story


def test_who_carried_it_gets_the_figures_and_who_was_planned_those_of_the_plan() -> None:
    story = a_sold_unit(planned="dhl")
    story.ship("7.1")  # by ups
    story.track("TP1")
    figures = counted(story)
    planned, carried = figures["US/carrier/dhl"], figures["US/carrier/ups"]
    assert planned.keys() == {"allocated", "cost_minor", "paid_minor"}
    assert carried["shipped"] == carried["delivered"] == 1
    assert carried["units_shipped"] == carried["units_found"] == carried["units_wanted"] == 2
    assert carried["lead_ms"] == figures["US"]["lead_ms"]
    assert carried["allocated"] == 0


def test_packages_that_name_no_carrier_count_for_the_planned_one() -> None:
    story = a_sold_unit(planned="dhl")
    story.ship("7.1", packages=[{"package_id": "P1", "tracking_number": "TP1"}])
    assert counted(story)["US/carrier/dhl"]["shipped"] == 1


def test_deliveries_count_for_the_carrier_of_their_package() -> None:
    story = a_sold_unit(planned="dhl")
    story.ship(
        "7.1",
        packages=[
            {"package_id": number, "carrier": carrier, "tracking_number": number}
            for number, carrier in (("P1", "gls"), ("P2", "ups"))
        ],
    )
    story.track("P2")
    figures = counted(story)
    assert figures["US/carrier/gls"]["shipped"] == 1, "a shipment counts once"
    assert figures["US/carrier/ups"]["delivered"] == 1
    assert figures["US/carrier/gls"]["delivered"] == 0


def test_a_rejection_of_units_that_were_taken_back_before_is_none_of_the_nodes() -> None:
    story = a_sold_unit(planned="ups")
    story.send("stock_counted", node_id="BOS", sku="A", counted=1)  # one of the two is taken back
    story.report("rejected", "7.1", reason="damaged")
    assert counted(story)["US/node/BOS"]["units_wanted"] == 1


def test_every_plan_of_an_order_costs() -> None:
    story = a_sold_unit(planned="ups")
    once = counted(story)["US"]
    story.node("CHI")
    story.receive("CHI", A=5)
    story.report("rejected", "7.1", reason="damaged")
    twice = counted(story)["US"]
    assert (once["planned"], twice["planned"], twice["placed"]) == (1, 2, 1)
    assert twice["cost_minor"] > once["cost_minor"]
    for said in (once, twice):
        assert said["first_planned"] == 1, "an order is planned for the first time once"
        assert said["first_paid_minor"] == once["paid_minor"]


def a_split_order(nodes: int, attributes: int) -> Story:
    """An order of a line at each node; with many attributes it's told in parts."""
    story = Story()
    story.service("ups")
    story.rules({"split": {"cost_per_extra_leg": 7}})
    placed: dict[str, Any] = dict.fromkeys("ABCD"[:nodes], 1)
    for node, sku in zip(("BOS", "CHI", "LAX", "NYC"), placed, strict=False):
        story.node(node)
        story.item(sku)
        story.receive(node, **{sku: 1})
    large = {f"key {number}": "x" * 1_900 for number in range(attributes)}
    story.order("7", attributes=large, **placed)
    assert story.status("7") == "allocated"
    return story


@pytest.mark.parametrize(
    ("nodes", "attributes", "told"),
    [(4, 55, 2), (3, 55, 2), (3, 70, 3), (2, 70, 2)],
    ids=["two and two", "two and one", "one by one", "one and one"],
)
def test_a_plan_told_in_parts_is_counted_once(nodes: int, attributes: int, told: int) -> None:
    plans, figures = [], []
    for number_of in (0, attributes):
        story = a_split_order(nodes, number_of)
        plans.append(sum(b'"order_allocated"' in entry for entry in story.entries))
        figures.append(counted(story))
    assert plans == [1, told], "the second is of an order whose nodes are told in several entries"
    at_once, in_parts = figures
    assert at_once["US"]["first_planned"] == at_once["US"]["split"] == 1
    assert at_once["US"]["first_paid_minor"] == at_once["US"]["paid_minor"] > 0
    assert at_once["US"]["cost_minor"] == at_once["US"]["paid_minor"] + (nodes - 1) * 7
    assert in_parts == at_once


def test_an_order_that_waits_is_first_planned_when_it_gets_a_source() -> None:
    story = a_sold_unit(planned="ups")
    story.order("8", A=9)
    assert counted(story)["US"]["first_planned"] == 2
    story.order("9", A=1)
    waits = counted(story)["US"]
    assert (waits["planned"], waits["allocated"], waits["first_planned"]) == (3, 2, 2)
    story.receive("BOS", A=20)
    filled = counted(story)["US"]
    assert filled["allocated"] > 3, "what waited of the second order is planned again"
    assert filled["first_planned"] == 3
