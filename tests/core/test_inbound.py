"""What is announced: absolute by document line, drawn down by receipts."""

from typing import Any

from schemas.times import instant_ms
from tests.core.story import Event, Story

SOON, LATER = "2027-01-20T10:00:00Z", "2027-01-30T10:00:00Z"


def shop() -> Story:
    story = Story()
    story.node("BOS")
    story.node("CHI")
    story.item("A")
    return story


def announce(
    story: Story,
    units: int,
    document: str = "PO-1",
    at: str = "BOS",
    document_line: str | None = None,
    expected_at: str = SOON,
) -> list[Event]:
    return story.send(
        "inbound_announced",
        node_id=at,
        sku="A",
        quantity=units,
        document=document,
        document_line=document_line,
        expected_at=expected_at,
    )


def inbound(story: Story, at: str = "BOS") -> list[tuple[int, int]]:
    return story.shard.inbound(story.shard.nodes[at], "A")


def test_the_newest_word_on_a_document_line_holds() -> None:
    story = shop()
    announce(story, 5)
    announce(story, 7, expected_at=LATER)
    announce(story, 2, document_line="2")
    assert inbound(story) == [(instant_ms(SOON), 2), (instant_ms(LATER), 7)]
    (balanced,) = announce(story, 0)[-1:]
    assert balanced["inbound"] == [["BOS", "A", "PO-1", None, 0, 0]]
    assert inbound(story) == [(instant_ms(SOON), 2)]


def test_the_same_again_changes_nothing() -> None:
    story = shop()
    announce(story, 5)
    assert [event["type"] for event in announce(story, 5)] == ["input_repeated"]
    assert [event["type"] for event in announce(story, 0, "PO-9")] == ["input_repeated"]


def test_a_day_is_expected_by_its_end_in_the_markets_zone() -> None:
    story = shop()
    announce(story, 5, expected_at="2027-01-20")
    assert inbound(story) == [(instant_ms("2027-01-21T04:59:59Z"), 5)]


def test_a_receipt_draws_its_document_down() -> None:
    story = shop()
    announce(story, 5)
    announce(story, 5, "PO-2")
    receipt: dict[str, Any] = {"node_id": "BOS", "sku": "A", "document": "PO-1"}
    story.send("stock_received", quantity=3, document_line="a", **receipt)
    assert inbound(story) == [(instant_ms(SOON), 2), (instant_ms(SOON), 5)]
    story.send("stock_received", quantity=3, document_line="b", **receipt)
    assert inbound(story) == [(instant_ms(SOON), 5)], "more came than was announced"


def test_a_receipt_of_one_line_leaves_the_others() -> None:
    story = shop()
    announce(story, 5, document_line="1")
    announce(story, 5, document_line="2", expected_at=LATER)
    story.send(
        "stock_received", node_id="BOS", sku="A", quantity=4, document="PO-1", document_line="2"
    )
    assert inbound(story) == [(instant_ms(SOON), 5), (instant_ms(LATER), 1)]


def test_who_waits_hears_when_what_is_announced_covers_them() -> None:
    story = shop()
    announce(story, 3)
    announce(story, 3, at="CHI", expected_at=LATER)

    def expected(order_id: str, units: int, priority: int = 0) -> str | None:
        story.order(order_id, A=units, priority=priority)
        found: str | None = story.told("order_allocated")[-1]["backordered"][0].get("expected_at")
        return found

    assert expected("1", 2) == "2027-01-20T10:00:00.000Z"
    assert expected("2", 2) == "2027-01-30T10:00:00.000Z", "1 of the first 3, 1 of the next"
    assert expected("3", 3) is None, "nobody announced so many"
    assert expected("4", 1, priority=1) == "2027-01-20T10:00:00.000Z", "it goes first"
