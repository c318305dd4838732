"""What a plan takes of its nodes' days, and gives back."""

from schemas.times import instant_ms
from tests.core.story import Story


def shop() -> Story:
    story = Story()
    story.node("BOS")
    story.item("A", "B")
    story.receive("BOS", A=10, B=10)
    return story


def booked(story: Story, at: str = "BOS") -> list[list[int]]:
    return list(story.shard.nodes[at].booked.values())


def test_a_fulfillment_takes_its_units_and_one_order_of_its_ship_day() -> None:
    story = shop()
    story.order("1", A=2, B=1)
    story.order("2", A=3)
    assert booked(story) == [[2, 6]]
    (row,) = story.told("balanced")[0]["capacity"]
    assert row[0] == "BOS"
    assert row[2:] == [2, 6]


def test_shipping_keeps_the_capacity_it_took() -> None:
    story = shop()
    story.order("1", A=2)
    story.ship("1.1")
    assert booked(story) == [[1, 2]]


def test_a_rejection_gives_the_units_back_and_the_order_with_the_last() -> None:
    story = shop()
    story.order("1", A=2, B=1)
    lines = [{"line_id": "1", "quantity": 2}]
    story.report("rejected", "1.1", reason="capacity", lines=lines, stock_effect="none")
    assert booked(story) == [[1, 1]]
    story.report("rejected", "1.1", reason="capacity")
    assert booked(story) == []


def test_an_accepted_cancellation_gives_the_day_back() -> None:
    story = shop()
    story.order("1", A=2)
    story.cancel("1")
    assert booked(story) == [[1, 2]], "the node may ship it still"
    story.report("cancellation_accepted", "1.1")
    assert booked(story) == []


def test_what_is_taken_back_gives_the_day_back_once() -> None:
    story = shop()
    story.order("1", A=4)
    story.send("stock_counted", node_id="BOS", sku="A", counted=1)
    assert booked(story) == [[1, 1]]
    story.report("cancellation_accepted", "1.1")
    assert booked(story) == [[1, 1]]


def test_days_that_are_over_are_forgotten() -> None:
    story = shop()
    story.order("1", A=1)
    story.at(10 * 86_400)
    story.order("2", A=2)
    assert booked(story) == [[1, 2]]
    story.cancel("1")
    story.report("cancellation_accepted", "1.1")
    assert booked(story) == [[1, 2]], "nothing is left of that day to give back"


def test_nodes_are_told_when_to_ship_and_what_not_to_ship_before() -> None:
    story = shop()
    (told,) = [
        event
        for event in story.order("1", A=1, ship_not_before="2027-01-20", deliver_by="2027-01-25")
        if event["type"] == "fulfillment_requested"
    ]
    assert told["ship_not_before"] == "2027-01-20T05:00:00.000Z", "New York's midnight"
    assert told["deliver_by"] == "2027-01-26T04:59:59.000Z", "the end of that day"
    assert instant_ms(told["ship_by"]) > story.now_ms
    (plan,) = story.told("order_allocated")[0]["fulfillments"]
    assert plan["ship_by"] == told["ship_by"]
    assert plan["deliver_by"] == told["deliver_by"]


def test_what_must_not_leave_before_a_days_cut_off_leaves_the_next_day() -> None:
    story = shop()
    (told,) = [
        event
        for event in story.order("1", A=1, ship_not_before="2027-01-20T22:00:00Z")
        if event["type"] == "fulfillment_requested"
    ]
    assert told["ship_by"] == "2027-01-21T21:00:00.000Z"


def test_the_node_used_last_is_known() -> None:
    story = shop()
    story.node("CHI")
    story.receive("CHI", A=5)
    story.order("1", A=1, to="BOS")
    story.order("2", A=1, to="CHI")
    nodes = story.shard.nodes
    assert (nodes["BOS"].last_used, nodes["CHI"].last_used) == (1, 2)
    story.order("3", A=1, to="BOS")
    assert nodes["BOS"].last_used == 3
