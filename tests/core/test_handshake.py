"""The handshake: what a node says of the work it was given."""

from typing import Any

import pytest

from tests.core.story import Story


@pytest.fixture
def asked(shop: Story) -> Story:
    """Boston has 5 of A and was asked for 3 of them; Chicago has 5."""
    shop.receive("BOS", A=5)
    shop.receive("CHI", A=5)
    shop.order("1", A=3)
    return shop


def one(quantity: int, line_id: str = "1", **more: Any) -> dict[str, Any]:  # noqa: ANN401 - JSON
    return {"line_id": line_id, "quantity": quantity, **more}


def damaged(shop: Story) -> int:
    return shop.shard.stock(shop.shard.nodes["BOS"], "A").damaged


def test_a_node_accepts_once(asked: Story) -> None:
    assert asked.statuses("1.1") == ("open", "submitted")
    asked.report("accepted", "1.1")
    assert asked.statuses("1.1") == ("in_progress", "accepted")
    asked.report("accepted", "1.1")
    assert [event["type"] for event in asked.events] == ["input_repeated"]


@pytest.mark.parametrize("effect", ["apply", "none"])
@pytest.mark.parametrize(
    ("reason", "stock"),
    [
        ("not_in_stock", (1, 1, 0)),
        ("mismatch", (2, 1, 1)),
        ("damaged", (5, 1, 1)),
        ("capacity", (5, 1, 4)),
        ("closed", (5, 1, 4)),
        ("other", (5, 1, 4)),
    ],
)
def test_a_rejection_moves_stock_by_its_reason_and_sources_elsewhere(
    asked: Story, reason: str, stock: tuple[int, int, int], effect: str
) -> None:
    asked.order("2", A=1)
    asked.report("rejected", "1.1", reason=reason, stock_effect=effect)
    assert asked.stock("BOS", "A") == (stock if effect == "apply" else (5, 1, 4))
    assert damaged(asked) == (3 if (reason, effect) == ("damaged", "apply") else 0)
    assert asked.statuses("1.1") == ("incomplete", "rejected")
    assert asked.plan("1") == {"CHI": {"A": 3}}
    assert asked.counts("2") == {"allocated": 1}, "another's promise stands"


def test_a_rejection_of_some_lines_leaves_the_others(shop: Story) -> None:
    shop.receive("BOS", A=2, B=2)
    shop.order("1", A=2, B=2)
    shop.report("accepted", "1.1")
    shop.report("rejected", "1.1", reason="damaged", lines=[one(1), one(2, "2")])
    assert shop.statuses("1.1") == ("in_progress", "accepted")
    assert shop.counts("1") == {"allocated": 1, "backordered": 1}
    assert shop.counts("1", "2") == {"backordered": 2}
    shop.report("rejected", "1.1", reason="damaged")
    assert shop.statuses("1.1") == ("incomplete", "rejected")


def test_a_rejected_item_is_not_asked_of_the_node_for_four_hours(asked: Story) -> None:
    asked.report("rejected", "1.1", reason="capacity")
    asked.at(4 * 3600 - 1)
    asked.order("2", A=1)
    assert asked.plan("2") == {"CHI": {"A": 1}}
    asked.at(1)
    asked.order("3", A=1)
    assert asked.plan("3") == {"BOS": {"A": 1}}


@pytest.mark.parametrize(
    ("kind", "fields", "lifted"),
    [
        ("stock_received", {"quantity": 1}, True),
        ("stock_adjusted", {"delta": 1, "reason": "found"}, True),
        ("stock_adjusted", {"delta": -1, "reason": "lost"}, False),
        ("stock_counted", {"counted": 4}, True),
    ],
)
@pytest.mark.parametrize("reason", ["capacity", "closed"])
def test_word_of_the_item_ends_its_suppression(
    asked: Story, reason: str, kind: str, fields: dict[str, Any], *, lifted: bool
) -> None:
    asked.report("rejected", "1.1", reason=reason)
    asked.send(kind, node_id="BOS", sku="A", **fields)
    asked.order("2", A=1)
    assert asked.plan("2") == ({"BOS": {"A": 1}} if lifted else {"CHI": {"A": 1}})


def test_a_closed_node_is_asked_for_nothing(asked: Story) -> None:
    asked.receive("BOS", B=1)
    asked.report("rejected", "1.1", reason="closed")
    asked.order("2", B=1)
    assert asked.counts("2") == {"backordered": 1}
    asked.at(4 * 3600)
    assert asked.plan("2") == {"BOS": {"B": 1}}


def test_other_items_of_a_node_that_rejected_one_are_asked_for(asked: Story) -> None:
    asked.receive("BOS", B=1)
    asked.report("rejected", "1.1", reason="capacity")
    asked.order("2", B=1)
    assert asked.plan("2") == {"BOS": {"B": 1}}


def test_a_newer_rejection_outlives_the_timer_of_an_older_one(asked: Story) -> None:
    asked.report("rejected", "1.1", reason="capacity")
    asked.at(2 * 3600)
    asked.receive("BOS", A=1)
    asked.order("2", A=1)
    asked.report("rejected", "2.1", reason="capacity")
    asked.at(3 * 3600)
    asked.order("3", A=1)
    assert asked.plan("3") == {"CHI": {"A": 1}}


def test_rejecting_more_than_is_left_is_a_mismatch_and_the_rest_counts(asked: Story) -> None:
    asked.report("rejected", "1.1", reason="capacity", lines=[one(5), one(1, "9")])
    assert asked.exceptions() == ["data_mismatch", "data_mismatch"]
    assert asked.plan("1") == {"CHI": {"A": 3}}


def test_a_rejection_again_is_a_repeat_and_after_shipping_a_mismatch(asked: Story) -> None:
    asked.report("rejected", "1.1", reason="other")
    asked.report("rejected", "1.1", reason="other")
    assert [event["type"] for event in asked.events] == ["input_repeated"]
    asked.ship("1.2")
    asked.report("rejected", "1.2", reason="other")
    assert asked.exceptions() == ["data_mismatch"]
    assert asked.status("1") == "shipped"


def test_what_a_node_rejects_again_and_has_no_more_is_a_repeat(shop: Story) -> None:
    shop.receive("BOS", A=3, B=2)
    shop.order("1", A=3, B=2)
    for _ in range(2):
        shop.report("rejected", "1.1", reason="capacity", lines=[one(3)])
    assert [event["type"] for event in shop.events] == ["input_repeated"]
    shop.report("rejected", "1.1", reason="capacity", lines=[one(2), one(1)])
    assert [event["type"] for event in shop.events] == ["input_repeated"]
    assert not shop.exceptions()
    shop.report("rejected", "1.1", reason="capacity", lines=[one(4)])
    assert shop.exceptions() == ["data_mismatch"], "it never had so many"
    assert shop.plan("1") == {"BOS": {"B": 2}}


def test_a_part_rejected_again_under_a_new_id_is_another_part(asked: Story) -> None:
    for _ in range(2):
        asked.report("rejected", "1.1", reason="capacity", lines=[one(1)])
    assert asked.plan("1") == {"BOS": {"A": 1}, "CHI": {"A": 2}}
    asked.report("rejected", "1.1", id_="same", reason="capacity", lines=[one(1)])
    asked.report("rejected", "1.1", id_="same", reason="capacity", lines=[one(1)])
    assert [event["type"] for event in asked.events] == ["input_repeated"], "so give it its own"


def test_shipping_implies_acceptance(asked: Story) -> None:
    asked.ship("1.1")
    assert asked.statuses("1.1") == ("shipped", "accepted")
    assert asked.exceptions() == []
    assert asked.counts("1") == {"shipped": 3}
    assert asked.stock("BOS", "A") == (2, 0, 2)


def test_a_partial_shipment_leaves_the_rest_to_do(asked: Story) -> None:
    asked.ship("1.1", lines=[one(1)])
    assert asked.statuses("1.1") == ("in_progress", "accepted")
    assert asked.status("1") == "partly_shipped"
    asked.ship("1.1", package="P2")
    assert asked.statuses("1.1") == ("shipped", "accepted")
    assert asked.counts("1") == {"shipped": 3}


def test_what_a_shipment_holds_is_its_lines_else_its_packages_else_all(shop: Story) -> None:
    shop.receive("BOS", A=9)
    for order_id in ("1", "2", "3"):
        shop.order(order_id, A=3)
    packed = [{"package_id": "P1", "lines": [one(1)]}, {"package_id": "P2", "lines": [one(1)]}]
    shop.ship("1.1", packages=packed, lines=[one(3)])
    shop.ship("2.1", packages=packed)
    shop.ship("3.1")
    assert [shop.counts(order_id).get("shipped") for order_id in "123"] == [3, 2, 3]


def test_a_package_is_shipped_once(asked: Story) -> None:
    asked.ship("1.1", packages=[{"package_id": "P1", "lines": [one(1)]}])
    asked.ship("1.1", packages=[{"package_id": "P1", "lines": [one(1)]}])
    assert [event["type"] for event in asked.events] == ["input_repeated"]
    both = [{"package_id": name, "lines": [one(1)]} for name in ("P1", "P2")]
    asked.ship("1.1", packages=both)
    assert asked.counts("1") == {"allocated": 1, "shipped": 2}
    assert asked.stock("BOS", "A") == (3, 1, 2)


def test_another_item_picked_counts_on_the_ordered_line(asked: Story) -> None:
    asked.receive("BOS", B=3)
    asked.ship("1.1", lines=[one(1, sku="A"), one(2, sku="B")])
    assert asked.counts("1") == {"shipped": 3}
    assert asked.stock("BOS", "A") == (4, 0, 4)
    assert asked.stock("BOS", "B") == (1, 0, 1)


def test_short_units_are_sourced_elsewhere(asked: Story) -> None:
    asked.ship("1.1", short=[one(1, reason="not_in_stock")])
    assert asked.statuses("1.1") == ("incomplete", "accepted")
    assert asked.counts("1") == {"allocated": 1, "shipped": 2}
    assert asked.plan("1") == {"BOS": {"A": 2}, "CHI": {"A": 1}}
    assert asked.stock("BOS", "A") == (0, 0, 0)


def test_more_than_asked_leaves_the_shelf_and_takes_promises_back(asked: Story) -> None:
    asked.order("2", A=2)
    asked.ship("1.1", lines=[one(4)])
    assert asked.counts("1") == {"shipped": 3}
    assert asked.stock("BOS", "A") == (1, 1, 0)
    assert asked.plan("2") == {"BOS": {"A": 1}, "CHI": {"A": 1}}
    assert sorted(asked.exceptions()) == ["data_mismatch", "stock_discrepancy"]


def test_more_than_asked_reaches_the_customer_where_the_line_still_waited(shop: Story) -> None:
    shop.receive("BOS", A=1)
    shop.order("1", A=3)
    shop.ship("1.1", lines=[one(2)])
    assert shop.counts("1") == {"shipped": 2, "backordered": 1}
    assert shop.stock("BOS", "A") == (0, 0, 0)
    assert sorted(shop.exceptions()) == ["data_mismatch", "stock_discrepancy"]


def test_units_taken_back_that_left_all_the_same_were_asked_for(shop: Story) -> None:
    shop.receive("BOS", A=2)
    shop.order("1", A=2)
    shop.send("stock_counted", node_id="BOS", sku="A", counted=1)
    shop.ship("1.1", lines=[one(2)])
    assert shop.counts("1") == {"shipped": 2}
    assert shop.exceptions() == ["stock_discrepancy"]
    assert shop.statuses("1.1") == ("shipped", "cancellation_rejected")


def test_what_left_after_its_cancellation_leaves_the_order_as_it_was(shop: Story) -> None:
    shop.receive("BOS", A=2)
    shop.order("1", A=2)
    shop.cancel("1")
    shop.report("cancellation_accepted", "1.1")
    shop.ship("1.1", lines=[one(2)])
    assert shop.stock("BOS", "A") == (0, 0, 0)
    assert shop.status("1") == "cancelled"
    assert shop.statuses("1.1") == ("cancelled", "cancellation_accepted")
    assert shop.exceptions() == ["data_mismatch"]


def test_a_line_never_asked_for_leaves_the_shelf_and_is_a_mismatch(asked: Story) -> None:
    asked.receive("BOS", B=1)
    asked.ship("1.1", lines=[one(3), one(1, "9", sku="B")])
    assert asked.counts("1") == {"shipped": 3}
    assert asked.stock("BOS", "B") == (0, 0, 0)
    assert asked.exceptions() == ["data_mismatch"]


def test_what_left_after_its_rejection_is_off_the_shelf(asked: Story) -> None:
    asked.report("rejected", "1.1", reason="capacity")
    asked.ship("1.1", lines=[one(3)])
    assert asked.stock("BOS", "A") == (2, 0, 2)
    assert asked.counts("1") == {"allocated": 3}
    assert asked.statuses("1.1") == ("incomplete", "rejected")
    assert asked.exceptions() == ["data_mismatch"]


@pytest.mark.parametrize(
    ("kind", "fields"),
    [
        ("accepted", {}),
        ("rejected", {"reason": "other"}),
        ("cancellation_accepted", {}),
        ("cancellation_rejected", {}),
    ],
)
@pytest.mark.parametrize(
    ("fulfillment_id", "node_id"),
    [("9.1", "BOS"), ("1.7", "BOS"), ("1.01", "BOS"), ("1.1", "CHI")],
)
def test_a_report_on_work_the_node_never_had_is_a_mismatch(
    asked: Story, kind: str, fields: dict[str, Any], fulfillment_id: str, node_id: str
) -> None:
    asked.report(kind, fulfillment_id, node_id=node_id, **fields)
    assert [event["type"] for event in asked.events] == ["exception_opened"]
    assert asked.told("exception_opened")[0]["kind"] == "data_mismatch"
    assert asked.statuses("1.1") == ("open", "submitted")


def test_what_left_without_a_request_is_off_the_shelf_once(asked: Story) -> None:
    for _ in range(2):
        asked.ship("9.1", node_id="BOS", lines=[one(4, sku="A")])
    assert asked.told("input_repeated")[0]["by"] == "package"
    assert asked.stock("BOS", "A") == (1, 1, 0)
    assert asked.plan("1") == {"BOS": {"A": 1}, "CHI": {"A": 2}}


def test_a_shipment_of_a_retired_order_again_is_a_repeat(asked: Story) -> None:
    asked.ship("1.1", lines=[one(3, sku="A")])
    asked.track("TP1")
    asked.at(8 * 86400)
    assert "web/1" not in asked.shard.markets["US"].orders
    asked.ship("1.1", node_id="BOS", lines=[one(3, sku="A")])
    assert asked.told("input_repeated")[0]["by"] == "package"
    assert asked.stock("BOS", "A") == (2, 0, 2)


def test_what_another_node_ships_is_off_that_nodes_shelf_and_names_the_order(shop: Story) -> None:
    shop.receive("BOS", A=1)
    shop.receive("CHI", A=5)
    shop.order("1", A=1)
    shop.ship("1.1", node_id="CHI", lines=[{"line_id": "1", "quantity": 1}])
    assert shop.stock("CHI", "A") == (4, 0, 4)
    assert shop.counts("1") == {"allocated": 1}
    (told,) = shop.told("exception_opened")
    assert (told["kind"], told["order_id"]) == ("data_mismatch", "1")


def test_packages_of_unknown_work_leave_once_however_they_are_reported(shop: Story) -> None:
    shop.receive("BOS", A=10)
    report: dict[str, Any] = {
        "node_id": "BOS",
        "fulfillment_id": "web.none.1",
        "shipped_at": "2026-11-23T10:00:00Z",
        "lines": [{"line_id": "1", "sku": "A", "quantity": 2}],
        "packages": [
            {"package_id": "P1"},
            {"package_id": "P2", "lines": [{"line_id": "1", "sku": "A", "quantity": 1}]},
        ],
    }
    shop.send("fulfillment_shipped", **report)
    shop.send("fulfillment_shipped", **report)
    assert shop.stock("BOS", "A") == (8, 0, 8)
    assert shop.told("input_repeated")
