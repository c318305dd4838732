"""Cancelling: at once where no node has it, else the node is asked and answers for every unit."""

from typing import Any

import pytest

from tests.core.story import Story


def one(quantity: int, line_id: str = "1") -> dict[str, Any]:
    return {"line_id": line_id, "quantity": quantity}


def asked_to_cancel(shop: Story) -> list[tuple[str, int]]:
    return [
        (event["cancellation_id"], event["lines"][0]["quantity"])
        for event in shop.told("fulfillment_cancellation_requested")
    ]


@pytest.fixture
def split(shop: Story) -> Story:
    """An order of 6: 2 at Boston, then 2 at Chicago, 2 wait."""
    shop.receive("BOS", A=2)
    shop.order("1", A=6)
    shop.receive("CHI", A=2)
    return shop


def test_what_waits_is_cancelled_first_then_the_newest_request_is_asked(split: Story) -> None:
    split.cancel("1", lines=[one(5)])
    (cancelled,) = split.told("order_cancelled")
    assert cancelled["lines"] == [one(2)]
    assert cancelled["by"] == "channel"
    assert asked_to_cancel(split) == [("web.1.2.c1", 2), ("web.1.1.c1", 1)]
    assert split.counts("1") == {"allocated": 4, "cancelled": 2}
    assert split.stock("CHI", "A") == (2, 2, 0), "allocated until the node answers"


def test_the_nodes_acceptance_frees_and_cancels(split: Story) -> None:
    split.cancel("1", lines=[one(5)])
    split.report("cancellation_accepted", "1.2")
    assert split.statuses("1.2") == ("cancelled", "cancellation_accepted")
    assert split.stock("CHI", "A") == (2, 0, 2)
    assert split.counts("1") == {"allocated": 2, "cancelled": 4}
    assert split.statuses("1.1") == ("open", "cancellation_requested")
    split.report("cancellation_accepted", "1.1", cancellation_id="web.1.1.c1", lines=[one(1)])
    assert split.statuses("1.1") == ("open", "cancellation_accepted")
    split.ship("1.1")
    assert split.statuses("1.1") == ("shipped", "cancellation_accepted")
    assert split.status("1") == "shipped"


def test_the_nodes_refusal_leaves_the_units_where_they_are(split: Story) -> None:
    split.cancel("1", lines=[one(4)])
    split.report("cancellation_rejected", "1.2", reason="on the truck")
    (told,) = split.told("order_cancellation_rejected")
    assert (told["lines"], told["reason"]) == ([one(2)], "on the truck")
    assert split.counts("1") == {"allocated": 4, "cancelled": 2}
    assert split.statuses("1.2") == ("open", "cancellation_rejected")
    split.cancel("1", lines=[one(1)])
    assert asked_to_cancel(split) == [("web.1.2.c2", 1)], "a new request may be made"


def test_a_part_of_the_answer_leaves_the_rest_pending(split: Story) -> None:
    split.cancel("1")
    split.report("cancellation_accepted", "1.2", lines=[one(1)])
    assert split.statuses("1.2") == ("open", "cancellation_requested")
    split.report("cancellation_rejected", "1.2")
    assert split.statuses("1.2") == ("open", "cancellation_rejected")
    assert split.counts("1") == {"allocated": 3, "cancelled": 3}


def test_the_same_cancellation_again_changes_nothing(split: Story) -> None:
    split.cancel("1")
    split.cancel("1")
    assert [event["type"] for event in split.events] == ["input_repeated"]
    for number in ("1.1", "1.2"):
        split.report("cancellation_accepted", number)
    assert split.status("1") == "cancelled"
    split.cancel("1")
    assert [event["type"] for event in split.events] == ["input_repeated"]


def test_units_that_left_are_refused_and_the_rest_is_cancelled(split: Story) -> None:
    split.ship("1.1")
    split.cancel("1")
    (refused,) = split.told("order_cancellation_rejected")
    assert refused["lines"] == [one(2)]
    assert asked_to_cancel(split) == [("web.1.2.c1", 2)]
    assert split.exceptions() == ["data_mismatch"]
    assert split.counts("1") == {"allocated": 2, "shipped": 2, "cancelled": 2}


@pytest.mark.parametrize("order_id", ["9", "refused"])
def test_an_order_that_isnt_there_or_was_refused_cant_be_cancelled(
    shop: Story, order_id: str
) -> None:
    shop.order("refused", A=1, currency="EUR")
    shop.cancel(order_id)
    assert shop.told("order_cancellation_rejected")
    assert shop.exceptions() == ["data_mismatch"]


def test_a_line_that_was_never_ordered_cant_be_cancelled(split: Story) -> None:
    split.cancel("1", lines=[one(1, "9")])
    assert split.told("order_cancellation_rejected")[0]["lines"] == [one(1, "9")]
    assert split.counts("1") == {"allocated": 4, "backordered": 2}


def test_shipping_overtakes_a_cancellation(split: Story) -> None:
    split.cancel("1")
    split.ship("1.2")
    assert split.told("order_cancellation_rejected")[0]["lines"] == [one(2)]
    assert split.statuses("1.2") == ("shipped", "cancellation_rejected")
    split.report("cancellation_rejected", "1.2")
    assert [event["type"] for event in split.events] == ["input_repeated"], "as it said already"
    split.report("cancellation_accepted", "1.2")
    assert split.exceptions() == ["data_mismatch"], "that contradicts what left"
    assert split.counts("1") == {"allocated": 2, "shipped": 2, "cancelled": 2}


def test_a_shipment_of_the_rest_leaves_the_cancellation_pending(split: Story) -> None:
    split.cancel("1", lines=[one(3)])
    split.ship("1.2", lines=[one(1)])
    assert split.statuses("1.2") == ("in_progress", "cancellation_requested")
    split.report("cancellation_accepted", "1.2")
    assert split.statuses("1.2") == ("shipped", "cancellation_accepted")
    assert split.counts("1") == {"allocated": 2, "shipped": 1, "cancelled": 3}


@pytest.mark.parametrize("kind", ["cancellation_accepted", "cancellation_rejected"])
def test_an_answer_to_no_question_is_a_mismatch(split: Story, kind: str) -> None:
    split.report(kind, "1.1")
    assert [event["type"] for event in split.events if event["type"] != "balanced"] == [
        "exception_opened"
    ]
    assert split.counts("1") == {"allocated": 4, "backordered": 2}
    split.cancel("1")
    split.report(kind, "1.1", cancellation_id="web.1.1.c7")
    assert split.statuses("1.1") == ("open", "cancellation_requested")


def test_an_answer_beyond_what_was_asked_counts_as_far_as_it_goes(split: Story) -> None:
    split.cancel("1", lines=[one(3)])
    split.report("cancellation_accepted", "1.2", lines=[one(2)])
    assert split.exceptions() == ["data_mismatch"]
    assert split.counts("1") == {"allocated": 3, "cancelled": 3}


def test_an_answer_again_is_a_repeat(split: Story) -> None:
    split.cancel("1")
    split.report("cancellation_accepted", "1.2")
    split.report("cancellation_accepted", "1.2")
    assert [event["type"] for event in split.events] == ["input_repeated"]


@pytest.mark.parametrize("about", [{}, {"cancellation_id": "web.1.1.c1"}])
@pytest.mark.parametrize("answer", ["accepted", "rejected"])
def test_an_answer_again_that_can_not_be_anew_is_a_repeat(
    shop: Story, about: dict[str, str], answer: str
) -> None:
    shop.receive("BOS", A=3)
    shop.order("1", A=3)
    shop.cancel("1")
    for _ in range(2):
        shop.report(f"cancellation_{answer}", "1.1", lines=[one(3)], **about)
    assert [event["type"] for event in shop.events] == ["input_repeated"]
    assert not shop.exceptions()


def test_too_late_again_for_more_than_waits_leaves_the_rest_its_answer(shop: Story) -> None:
    shop.receive("BOS", A=3)
    shop.order("1", A=3)
    shop.cancel("1")
    for _ in range(2):
        shop.report("cancellation_rejected", "1.1", lines=[one(2)])
    assert [event["type"] for event in shop.events] == ["input_repeated"]
    assert shop.statuses("1.1") == ("open", "cancellation_requested")
    shop.report("cancellation_accepted", "1.1", lines=[one(1)])
    assert shop.counts("1") == {"allocated": 2, "cancelled": 1}
    assert not shop.exceptions()


@pytest.fixture
def late_twice(shop: Story) -> Story:
    """Too late for one unit of three, which is said again under a new id; two can be stopped."""
    shop.receive("BOS", A=3)
    shop.order("1", A=3)
    shop.cancel("1")
    for _ in range(2):
        shop.report("cancellation_rejected", "1.1", lines=[one(1)])
        assert shop.told("order_cancellation_rejected"), "it may be about another unit"
    return shop


@pytest.mark.parametrize("about", [{}, {"cancellation_id": "web.1.1.c1"}])
def test_a_node_may_stop_what_it_said_it_was_too_late_for(
    late_twice: Story, about: dict[str, str]
) -> None:
    late_twice.report("cancellation_accepted", "1.1", lines=[one(2)], **about)
    assert [event["lines"] for event in late_twice.told("order_cancelled")] == [[one(1)]] * 2
    late_twice.ship("1.1", lines=[one(1)])
    assert not late_twice.exceptions()
    assert late_twice.counts("1") == {"shipped": 1, "cancelled": 2}
    assert late_twice.statuses("1.1") == ("shipped", "cancellation_accepted")


def test_a_node_may_stop_all_that_it_was_too_late_for(split: Story) -> None:
    split.cancel("1")
    for answer in ("rejected", "accepted"):
        split.report(f"cancellation_{answer}", "1.2", cancellation_id="web.1.2.c1")
    assert split.statuses("1.2") == ("cancelled", "cancellation_accepted")
    assert split.counts("1") == {"allocated": 2, "cancelled": 4}
    split.report("cancellation_accepted", "1.2", cancellation_id="web.1.2.c1")
    assert [event["type"] for event in split.events] == ["input_repeated"]


def test_what_was_taken_back_may_be_stopped_when_it_was_too_late(shop: Story) -> None:
    shop.receive("BOS", A=2)
    shop.order("1", A=2)
    shop.send("stock_counted", node_id="BOS", sku="A", counted=1)
    for answer in ("rejected", "accepted"):
        shop.report(f"cancellation_{answer}", "1.1", lines=[one(1)])
    assert shop.exceptions() == ["stock_discrepancy"]
    assert shop.counts("1") == {"allocated": 1, "backordered": 1}
    assert shop.fulfillment("1.1").outstanding == 1


@pytest.fixture
def unclear(late_twice: Story) -> Story:
    """One was stopped, and then one: the same again, as far as anybody can tell."""
    for _ in range(2):
        late_twice.report("cancellation_accepted", "1.1", lines=[one(1)])
    late_twice.ship("1.1", lines=[one(1)])
    return late_twice


def test_what_may_be_stopped_or_not_is_told_with_what_ends_it(unclear: Story) -> None:
    assert unclear.counts("1") == {"allocated": 1, "shipped": 1, "cancelled": 1}
    (key,) = unclear.shard.exceptions
    assert key[-1].endswith(
        "; it has 1 of line 1 still to ship: if it won't, reject or cancel that again"
    )


def test_what_may_be_stopped_or_not_ends_when_it_is_cancelled_again(unclear: Story) -> None:
    unclear.cancel("1", lines=[one(1)])
    assert asked_to_cancel(unclear) == [("web.1.1.c2", 1)]
    unclear.report("cancellation_accepted", "1.1", cancellation_id="web.1.1.c2")
    assert unclear.counts("1") == {"shipped": 1, "cancelled": 2}
    assert unclear.statuses("1.1") == ("shipped", "cancellation_accepted")


def test_what_may_be_stopped_or_not_ends_when_it_is_rejected(unclear: Story) -> None:
    unclear.receive("CHI", A=1)
    unclear.report("rejected", "1.1", reason="other", lines=[one(1)])
    assert unclear.plan("1") == {"BOS": {"A": 1}, "CHI": {"A": 1}}
    assert unclear.fulfillment("1.1").outstanding == 0


def test_units_rejected_while_they_are_to_be_cancelled_are_cancelled(split: Story) -> None:
    split.cancel("1", lines=[one(3)])
    split.receive("LAX", A=9)
    split.report("rejected", "1.2", reason="capacity")
    assert split.counts("1") == {"allocated": 3, "cancelled": 3}
    assert split.plan("1") == {"BOS": {"A": 2}, "LAX": {"A": 1}}


@pytest.mark.parametrize(
    ("answer", "counts"),
    [
        ("accepted", {"backordered": 3, "cancelled": 1}),
        ("rejected", {"allocated": 1, "backordered": 3}),
    ],
)
def test_a_rejection_of_other_units_leaves_the_node_its_answer(
    shop: Story, answer: str, counts: dict[str, int]
) -> None:
    shop.receive("BOS", A=4)
    shop.order("1", A=4)
    shop.cancel("1", lines=[one(1)])
    shop.report("rejected", "1.1", reason="damaged", lines=[one(3)])
    assert shop.counts("1") == {"allocated": 1, "backordered": 3}
    shop.report(f"cancellation_{answer}", "1.1", cancellation_id="web.1.1.c1", lines=[one(1)])
    assert not shop.exceptions()
    assert shop.counts("1") == counts


def test_units_taken_back_while_they_are_to_be_cancelled_are_cancelled(split: Story) -> None:
    split.cancel("1", lines=[one(4)])
    split.send("stock_counted", node_id="CHI", sku="A", counted=1)
    assert split.counts("1") == {"allocated": 3, "cancelled": 3}
    split.report("cancellation_accepted", "1.2")
    assert split.counts("1") == {"allocated": 2, "cancelled": 4}
    assert split.statuses("1.2") == ("cancelled", "cancellation_accepted")


@pytest.fixture
def overlapped(shop: Story) -> Story:
    """5 units at Boston, which was asked to stop 3; then a count finds 1: 4 are taken back."""
    shop.receive("BOS", A=5)
    shop.order("1", A=5)
    shop.cancel("1", lines=[one(3)])
    shop.send("stock_counted", node_id="BOS", sku="A", counted=1)
    return shop


def test_no_unit_is_to_be_stopped_by_two_requests(overlapped: Story) -> None:
    assert asked_to_cancel(overlapped) == [("web.1.1.c2", 2)], "3 of the 5 it was asked for before"
    assert overlapped.counts("1") == {"allocated": 1, "backordered": 2, "cancelled": 2}


@pytest.mark.parametrize("said", [{1: {}, 2: {}}, {1: {"lines": [one(3)]}, 2: {"lines": [one(2)]}}])
@pytest.mark.parametrize("first", [1, 2])
def test_a_node_that_stops_all_it_was_asked_to_has_nothing_left_to_do(
    overlapped: Story, first: int, said: dict[int, dict[str, Any]]
) -> None:
    for number in (first, 3 - first):
        about = {"cancellation_id": f"web.1.1.c{number}", **said[number]}
        overlapped.report("cancellation_accepted", "1.1", **about)
        assert not overlapped.told("exception_opened")
    assert overlapped.statuses("1.1") == ("cancelled", "cancellation_accepted")
    assert overlapped.counts("1") == {"allocated": 1, "backordered": 1, "cancelled": 3}


def test_a_node_that_stops_some_and_ships_the_rest_has_nothing_left_to_do(
    overlapped: Story,
) -> None:
    about = {"cancellation_id": "web.1.1.c1"}
    overlapped.report("cancellation_accepted", "1.1", **about, lines=[one(1)])
    overlapped.report("cancellation_rejected", "1.1", **about, lines=[one(2)])
    assert overlapped.fulfillment("1.1").outstanding == 4
    overlapped.report("cancellation_accepted", "1.1", cancellation_id="web.1.1.c2")
    assert overlapped.statuses("1.1") == ("open", "cancellation_accepted")
    overlapped.ship("1.1", lines=[one(2)])
    assert overlapped.statuses("1.1") == ("shipped", "cancellation_accepted")
    assert not overlapped.told("order_cancellation_rejected")


def test_a_cancellation_whose_units_are_all_gone_is_still_the_nodes_to_answer(
    shop: Story,
) -> None:
    shop.receive("BOS", A=2)
    shop.order("1", A=2)
    shop.cancel("1")
    shop.send("stock_counted", node_id="BOS", sku="A", counted=0)
    assert shop.counts("1") == {"cancelled": 2}
    assert not asked_to_cancel(shop)
    assert shop.statuses("1.1") == ("open", "cancellation_requested")
    shop.report("cancellation_accepted", "1.1", cancellation_id="web.1.1.c1", lines=[one(2)])
    assert shop.statuses("1.1") == ("cancelled", "cancellation_accepted")
    assert shop.exceptions() == ["stock_discrepancy"]


def test_what_was_to_be_stopped_and_is_gone_may_ship_all_the_same(shop: Story) -> None:
    shop.receive("BOS", A=2)
    shop.order("1", A=2)
    shop.cancel("1")
    shop.send("stock_counted", node_id="BOS", sku="A", counted=1)
    shop.ship("1.1", lines=[one(2)])
    assert not shop.fulfillment("1.1").awaits_answer
    assert shop.fulfillment("1.1").outstanding == 0


@pytest.fixture
def two_requests(shop: Story) -> Story:
    """2 units at Boston, which was asked for one, then for the other.

    Of which request a unit was that goes otherwise meanwhile, it alone knows.
    """
    shop.receive("BOS", A=2)
    shop.order("1", A=2)
    for _ in range(2):
        shop.cancel("1", lines=[one(1)])
    return shop


def went(shop: Story, how: str, package: str = "P1") -> list[list[dict[str, Any]]]:
    """A unit is rejected or shipped; what the customer is told of it."""
    if how == "rejected":
        shop.report("rejected", "1.1", reason="capacity", lines=[one(1)])
        return [event["lines"] for event in shop.told("order_cancelled")]
    shop.ship("1.1", package, lines=[one(1)])
    return [event["lines"] for event in shop.told("order_cancellation_rejected")]


@pytest.mark.parametrize(
    ("how", "counts", "status"),
    [
        ("rejected", {"cancelled": 2}, "incomplete"),
        ("shipped", {"shipped": 1, "cancelled": 1}, "shipped"),
    ],
)
@pytest.mark.parametrize("stopped", [1, 2])
@pytest.mark.parametrize("last", ["accepted", "rejected"])
def test_a_node_may_stop_by_any_request_what_it_still_has(
    two_requests: Story, how: str, counts: dict[str, int], status: str, stopped: int, last: str
) -> None:
    shop = two_requests
    assert went(shop, how) == [[one(1)]]
    assert shop.statuses("1.1")[1] == "cancellation_requested"
    answers = [("accepted", stopped), ("rejected", 3 - stopped)]
    for answer, number in answers if last == "rejected" else answers[::-1]:
        about = {"cancellation_id": f"web.1.1.c{number}", "lines": [one(1)]}
        shop.report(f"cancellation_{answer}", "1.1", **about)
        assert not shop.told("order_cancellation_rejected"), "that was another unit"
    assert not shop.exceptions()
    assert shop.counts("1") == counts
    assert shop.statuses("1.1") == (status, "cancellation_accepted")


@pytest.mark.parametrize(("how", "status"), [("rejected", "incomplete"), ("shipped", "shipped")])
def test_too_late_is_said_once_for_each_unit_that_stays(
    two_requests: Story, how: str, status: str
) -> None:
    shop = two_requests
    went(shop, how)
    told = []
    for number in (2, 1):
        about = {"cancellation_id": f"web.1.1.c{number}", "lines": [one(1)]}
        shop.report("cancellation_rejected", "1.1", **about)
        told += [event["lines"] for event in shop.told("order_cancellation_rejected")]
    assert told == [[one(1)]]
    assert shop.statuses("1.1")[1] == "cancellation_rejected"
    shop.ship("1.1", "P2")
    assert not shop.told("order_cancellation_rejected")
    assert not shop.exceptions()
    assert shop.statuses("1.1") == (status, "cancellation_rejected")


@pytest.mark.parametrize("how", ["rejected", "shipped"])
def test_each_unit_that_goes_otherwise_is_told_once(shop: Story, how: str) -> None:
    shop.receive("BOS", A=3)
    shop.order("1", A=3)
    for _ in range(3):
        shop.cancel("1", lines=[one(1)])
    assert went(shop, how) == [[one(1)]]
    last = [event["cancellation_id"] for event in shop.told("cancellation_answered")]
    assert went(shop, how, "P2") == [[one(1)]]
    last += [event["cancellation_id"] for event in shop.told("cancellation_answered")]
    assert last == ["web.1.1.c3", "web.1.1.c2"]


@pytest.mark.parametrize("first", ["accepted", "rejected"])
def test_of_one_request_too_a_part_may_have_gone_otherwise(shop: Story, first: str) -> None:
    shop.receive("BOS", A=2)
    shop.order("1", A=2)
    shop.cancel("1")
    shop.report("rejected", "1.1", reason="capacity", lines=[one(1)])
    for answer in (first, "accepted" if first == "rejected" else "rejected"):
        shop.report(f"cancellation_{answer}", "1.1", lines=[one(1)])
    assert not shop.exceptions()
    assert shop.counts("1") == {"cancelled": 2}
    assert shop.fulfillment("1.1").outstanding == 0


def test_what_the_customer_and_a_count_had_stopped_may_change_places(shop: Story) -> None:
    shop.receive("BOS", A=2)
    shop.order("1", A=2)
    shop.cancel("1", lines=[one(1)])
    shop.send("stock_adjusted", node_id="BOS", sku="A", delta=-1, reason="broken")
    assert asked_to_cancel(shop) == [("web.1.1.c2", 1)]
    shop.ship("1.1", lines=[one(1)])
    shop.report("cancellation_rejected", "1.1", cancellation_id="web.1.1.c2", lines=[one(1)])
    shop.report("cancellation_accepted", "1.1", cancellation_id="web.1.1.c1", lines=[one(1)])
    assert shop.exceptions() == ["stock_discrepancy"]
    assert shop.statuses("1.1") == ("shipped", "cancellation_accepted")
    assert shop.counts("1") == {"shipped": 1, "backordered": 1}


def test_what_was_asked_for_and_went_is_stopped_of_what_was_taken_back(shop: Story) -> None:
    shop.receive("BOS", A=3)
    shop.order("1", A=3)
    shop.cancel("1", lines=[one(2)])
    shop.send("stock_adjusted", node_id="BOS", sku="A", delta=-1, reason="broken")
    shop.report("rejected", "1.1", reason="capacity", lines=[one(1)])
    shop.report("cancellation_accepted", "1.1", cancellation_id="web.1.1.c1", lines=[one(2)])
    shop.report("cancellation_rejected", "1.1", cancellation_id="web.1.1.c2", lines=[one(1)])
    assert shop.exceptions() == ["stock_discrepancy"]
    assert shop.statuses("1.1") == ("incomplete", "cancellation_accepted")
    assert shop.counts("1") == {"backordered": 1, "cancelled": 2}


def test_that_it_is_too_late_for_what_was_rejected_is_no_news(split: Story) -> None:
    split.cancel("1", lines=[one(4)])
    split.report("rejected", "1.2", reason="capacity")
    split.report("cancellation_rejected", "1.2", cancellation_id="web.1.2.c1", lines=[one(2)])
    assert [event["type"] for event in split.events] == ["input_repeated"]
    split.report("cancellation_accepted", "1.2", cancellation_id="web.1.2.c1", lines=[one(2)])
    assert split.exceptions() == ["data_mismatch"], "it can't have stopped what it has no more"


def test_more_can_not_be_stopped_than_a_node_still_has(two_requests: Story) -> None:
    two_requests.report("rejected", "1.1", reason="capacity", lines=[one(1)])
    two_requests.report("cancellation_accepted", "1.1", lines=[one(2)])
    assert two_requests.exceptions() == ["data_mismatch"]
    assert two_requests.counts("1") == {"cancelled": 2}
    assert two_requests.fulfillment("1.1").outstanding == 0


def test_a_request_that_lost_its_units_is_answered(split: Story) -> None:
    split.ship("1.2", lines=[one(1)])
    split.cancel("1", lines=[one(3)])
    assert asked_to_cancel(split) == [("web.1.2.c1", 1)]
    split.report("rejected", "1.2", reason="capacity")
    assert split.statuses("1.2") == ("incomplete", "cancellation_accepted")


def test_cancelled_units_go_to_who_waits(split: Story) -> None:
    split.order("2", A=1)
    split.cancel("1")
    split.report("cancellation_accepted", "1.2")
    assert split.plan("2") == {"CHI": {"A": 1}}


def test_what_a_cancellation_leaves_of_an_order_that_ships_complete_is_planned_at_once(
    shop: Story,
) -> None:
    shop.receive("BOS", A=1)
    shop.order("1", A=1, B=1, allow_split=False)
    assert shop.status("1") == "backordered"
    shop.cancel("1", lines=[{"line_id": "2"}])
    assert shop.counts("1", "2") == {"cancelled": 1}
    assert shop.plan("1") == {"BOS": {"A": 1}}


def test_an_answer_that_names_a_line_twice_means_both(shop: Story) -> None:
    shop.receive("BOS", A=4)
    shop.order("1", A=4)
    shop.cancel("1")
    shop.report("cancellation_accepted", "1.1", lines=[one(1), one(3)])
    assert shop.counts("1") == {"cancelled": 4}


def test_no_status_is_told_of_an_order_that_was_never_there(shop: Story) -> None:
    shop.cancel("none")
    (told,) = shop.told("order_cancellation_rejected")
    assert "status" not in told


def test_a_closed_order_that_left_memory_keeps_its_status(shop: Story) -> None:
    shop.order("1", A=1)
    shop.cancel("1")
    shop.at(8 * 86400)
    shop.cancel("1")
    (told,) = shop.told("order_cancellation_rejected")
    assert told["status"] == "cancelled"
