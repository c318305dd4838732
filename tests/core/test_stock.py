"""The ledger: what arrives, vanishes or is counted, and what it does to promises."""

from typing import Any

import pytest

from schemas.journal import MAX_COMMIT_BYTES
from schemas.times import rfc3339
from tests.core.story import Story


def adjust(
    shop: Story, delta: int, *, state: str = "available", document: str | None = None
) -> None:
    shop.send(
        "stock_adjusted",
        node_id="BOS",
        sku="A",
        delta=delta,
        reason="audit",
        state=state,
        document=document,
        document_line=document and "1",
    )


def count(shop: Story, counted: int, *, ago_s: int = 0, state: str = "all") -> None:
    counted_at = rfc3339(shop.now_ms - ago_s * 1000)
    shop.send(
        "stock_counted",
        node_id="BOS",
        sku="A",
        counted=counted,
        counted_at=counted_at,
        state=state,
    )


def held(shop: Story) -> tuple[int, int, int]:
    """Quality control, damaged, held."""
    found = shop.shard.stock(shop.shard.nodes["BOS"], "A")
    return found.quality_control, found.damaged, found.held


@pytest.mark.parametrize(
    ("state", "available", "apart"),
    [
        ("available", 3, (0, 0, 0)),
        ("quality_control", 0, (3, 0, 0)),
        ("damaged", 0, (0, 3, 0)),
        ("held", 0, (0, 0, 3)),
    ],
)
def test_a_receipt_counts_in_the_state_it_arrives_in(
    shop: Story, state: str, available: int, apart: tuple[int, int, int]
) -> None:
    shop.send("stock_received", node_id="BOS", sku="A", quantity=3, state=state)
    assert shop.stock("BOS", "A") == (3, 0, available)
    assert held(shop) == apart


def test_stock_of_an_item_not_defined_yet_is_taken_in(shop: Story) -> None:
    shop.receive("BOS", Z=2)
    assert shop.stock("BOS", "Z") == (2, 0, 2)


def test_an_adjustment_stops_at_nothing_and_records_what_is_beyond(shop: Story) -> None:
    shop.receive("BOS", A=3)
    adjust(shop, -5)
    assert shop.stock("BOS", "A") == (0, 0, 0)
    assert shop.told("stock_moved")[0]["shortfall"] == 2
    assert shop.exceptions() == ["stock_discrepancy"]


@pytest.mark.parametrize("state", ["quality_control", "damaged", "held"])
def test_a_held_state_is_adjusted_by_itself(shop: Story, state: str) -> None:
    shop.receive("BOS", A=3)
    adjust(shop, 2, state=state)
    assert shop.stock("BOS", "A") == (5, 0, 3)
    adjust(shop, -4, state=state)
    assert shop.stock("BOS", "A") == (3, 0, 3), "of the held units there were only two"
    assert held(shop) == (0, 0, 0)


def test_a_document_line_moves_stock_once_for_ever(shop: Story) -> None:
    def receive(line: str | None, node_id: str = "BOS") -> None:
        shop.send(
            "stock_received",
            node_id=node_id,
            sku="A",
            quantity=2,
            document="PO",
            document_line=line,
        )

    receive("1")
    shop.at(30 * 86400)
    receive("1")
    assert shop.told("input_repeated")[0]["by"] == "document"
    assert shop.stock("BOS", "A") == (2, 0, 2)
    receive("2")
    receive(None)
    receive("1", node_id="CHI")
    adjust(shop, -1, document="PO")
    assert shop.stock("BOS", "A") == (5, 0, 5), "another line, node or kind is another movement"
    assert shop.stock("CHI", "A") == (2, 0, 2)


def test_a_count_says_what_is_there_with_reserved_and_held_units(shop: Story) -> None:
    shop.receive("BOS", A=5)
    shop.send("stock_received", node_id="BOS", sku="A", quantity=2, state="damaged")
    shop.order("1", A=2)
    count(shop, 9)
    assert shop.stock("BOS", "A") == (9, 2, 5)


def test_a_count_below_the_held_units_takes_damaged_ones_last(shop: Story) -> None:
    for state in ("quality_control", "damaged", "held"):
        shop.send("stock_received", node_id="BOS", sku="A", quantity=2, state=state)
    count(shop, 3)
    assert held(shop) == (1, 2, 0)


@pytest.mark.parametrize(
    ("state", "on_hand", "available", "apart"),
    [
        ("available", 7, 3, (1, 1, 1)),
        ("quality_control", 10, 3, (4, 1, 1)),
        ("damaged", 10, 3, (1, 4, 1)),
        ("held", 10, 3, (1, 1, 4)),
    ],
)
def test_a_count_of_one_state_leaves_the_others(
    shop: Story, state: str, on_hand: int, available: int, apart: tuple[int, int, int]
) -> None:
    shop.receive("BOS", A=4)
    for one in ("quality_control", "damaged", "held"):
        shop.send("stock_received", node_id="BOS", sku="A", quantity=1, state=one)
    shop.order("1", A=1)
    count(shop, 4, state=state)
    assert shop.stock("BOS", "A") == (on_hand, 1, available)
    assert held(shop) == apart


def test_what_moved_after_a_count_is_applied_again(shop: Story) -> None:
    shop.receive("BOS", A=10)
    shop.at(100)
    shop.receive("BOS", A=5)
    shop.order("1", A=4)
    shop.ship("1.1")
    count(shop, 8, ago_s=50)
    assert shop.stock("BOS", "A") == (9, 0, 9), "8 then, 5 came and 4 left since"


def test_a_late_count_corrects_the_moment_it_was_made_at(shop: Story) -> None:
    shop.receive("BOS", A=10)
    shop.at(100)
    shop.receive("BOS", A=5)
    shop.at(100)
    count(shop, 8, ago_s=150)
    assert shop.stock("BOS", "A") == (13, 0, 13)
    count(shop, 13, ago_s=50)
    assert shop.stock("BOS", "A") == (13, 0, 13), "it saw the loss that the first one found"


def test_a_count_without_a_time_was_made_when_it_happened_at_the_source(shop: Story) -> None:
    made_ms = shop.now_ms + 10_000
    shop.at(60)
    shop.receive("BOS", A=5)
    shop.send("stock_counted", node_id="BOS", sku="A", counted=2, time_ms=made_ms)
    assert shop.stock("BOS", "A") == (7, 0, 7)


def test_the_newest_promises_are_taken_back_first_by_the_unit(shop: Story) -> None:
    shop.receive("BOS", A=6)
    for order_id in ("1", "2", "3"):
        shop.order(order_id, A=2)
    count(shop, 3)
    assert shop.counts("1") == {"allocated": 2}
    assert shop.counts("2") == {"allocated": 1, "backordered": 1}
    assert shop.counts("3") == {"backordered": 2}
    assert shop.stock("BOS", "A") == (3, 3, 0)
    asked = shop.told("fulfillment_cancellation_requested")
    assert [(one["fulfillment_id"], one["lines"][0]["quantity"]) for one in asked] == [
        ("web.3.1", 2),
        ("web.2.1", 1),
    ]
    assert shop.exceptions() == ["stock_discrepancy"]


def test_units_taken_back_are_sourced_again_in_the_order_of_the_queue(shop: Story) -> None:
    shop.receive("BOS", A=3)
    for order_id in ("1", "2", "3"):
        shop.order(order_id, A=1)
    shop.receive("CHI", A=1)
    count(shop, 1)
    assert shop.plan("2") == {"CHI": {"A": 1}}
    assert shop.counts("3") == {"backordered": 1}


def test_taking_back_from_many_orders_is_sliced_over_ticks() -> None:
    shop = Story()
    shop.node("BOS")
    shop.item("A")
    shop.receive("BOS", A=500)
    for number in range(500):
        shop.order(str(number), A=1)
    count(shop, 10)
    assert len(shop.told("work_done")) > 3
    assert [shop.counts(str(n)) for n in range(500)] == [{"allocated": 1}] * 10 + [
        {"backordered": 1}
    ] * 490, "newest promises first"
    assert shop.stock("BOS", "A") == (10, 10, 0)
    assert shop.exceptions() == ["stock_discrepancy"]
    assert max(map(len, shop.entries)) < MAX_COMMIT_BYTES / 2


def test_a_count_from_the_future_passes_for_now(shop: Story) -> None:
    shop.send("stock_received", node_id="BOS", sku="A", quantity=9, time_ms=shop.now_ms + 10**10)
    shop.send("stock_counted", node_id="BOS", sku="A", counted=9, counted_at="2099-01-01T00:00:00Z")
    assert shop.stock("BOS", "A") == (9, 0, 9)
    shop.at(60)
    count(shop, 5)
    assert shop.stock("BOS", "A") == (5, 0, 5), "it does not stand for ever"


def test_a_count_of_a_moment_nobody_remembers_is_told_and_moves_nothing(shop: Story) -> None:
    before = rfc3339(shop.now_ms)
    shop.at(60)
    for _ in range(300):
        shop.receive("BOS", A=1)
    shop.send("stock_counted", node_id="BOS", sku="A", counted=1, counted_at=before)
    assert shop.stock("BOS", "A") == (300, 0, 300)
    assert shop.exceptions() == ["data_mismatch"]


def test_the_nodes_answer_on_units_taken_back_moves_nothing(shop: Story) -> None:
    shop.receive("BOS", A=2)
    shop.order("1", A=2)
    count(shop, 1)
    shop.report("cancellation_accepted", "1.1")
    assert shop.statuses("1.1") == ("open", "cancellation_accepted")
    assert shop.counts("1") == {"allocated": 1, "backordered": 1}
    shop.receive("BOS", A=1)
    assert shop.plan("1") == {"BOS": {"A": 2}}
    shop.ship("1.1")
    assert shop.statuses("1.1") == ("shipped", "cancellation_accepted")


def test_a_later_count_that_fits_settles_the_discrepancy(shop: Story) -> None:
    shop.receive("BOS", A=2)
    shop.order("1", A=2)
    count(shop, 1)
    count(shop, 0)
    assert shop.exceptions() == ["stock_discrepancy"], "one is open for the item at the node"
    shop.receive("BOS", A=5)
    assert shop.exceptions() == ["stock_discrepancy"], "a receipt says nothing of the shelf"
    count(shop, 4)
    assert shop.told("exception_resolved")
    assert shop.exceptions() == []


@pytest.mark.parametrize(
    ("kind", "fields"),
    [
        ("stock_received", {"quantity": 2}),
        ("stock_adjusted", {"delta": 2, "reason": "found"}),
        ("stock_counted", {"counted": 2}),
    ],
)
def test_stock_of_a_node_not_known_yet_waits_for_it(
    shop: Story, kind: str, fields: dict[str, Any]
) -> None:
    shop.send(kind, node_id="NYC", sku="A", **fields)
    assert [event["type"] for event in shop.events] == ["input_parked"]
    shop.node("NYC")
    assert shop.told("input_resumed")
    assert shop.stock("NYC", "A") == (2, 0, 2)


def test_a_count_of_an_earlier_moment_gives_way_to_a_newer_one(shop: Story) -> None:
    shop.receive("BOS", A=10)
    shop.at(3600)
    shop.send("stock_counted", node_id="BOS", sku="A", counted=9)
    earlier = rfc3339(shop.now_ms - 1_800_000)
    shop.send("stock_counted", node_id="BOS", sku="A", counted=7, counted_at=earlier)
    assert shop.stock("BOS", "A") == (9, 0, 9)
    assert shop.told("input_repeated")
    shop.send("stock_counted", node_id="BOS", sku="A", counted=2, state="held", counted_at=earlier)
    assert shop.stock("BOS", "A") == (9, 0, 9), "all units were counted since"


def test_a_late_count_applies_what_moved_in_the_last_two_days(shop: Story) -> None:
    at = rfc3339(shop.now_ms)
    shop.at(3600)
    shop.receive("BOS", A=4)
    shop.at(47 * 3600)
    shop.receive("BOS", A=2)
    shop.send("stock_counted", node_id="BOS", sku="A", counted=10, counted_at=at)
    assert shop.stock("BOS", "A") == (16, 0, 16)
