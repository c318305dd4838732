"""The promise of an order: told once, kept or broken once."""

from orchestrator.core.config import PROMISE_GRACE_MS
from schemas.times import instant_ms
from tests.core.story import Story

IN_TIME, LATE = "2027-01-19T10:00:00Z", "2027-01-21T10:00:00Z"
PROMISED = "2027-01-20"


def shop() -> Story:
    story = Story()
    story.node("BOS")
    story.item("A")
    story.receive("BOS", A=10)
    return story


def deliver(story: Story, at: str, order_id: str = "1") -> None:
    story.ship(f"{order_id}.1", f"P{order_id}")
    story.send(
        "tracking_updated",
        carrier="ups",
        tracking_number=f"TP{order_id}",
        status="delivered",
        at=at,
    )


def counted(story: Story) -> list[str]:
    return [event["type"] for event in story.events if event["type"].startswith("promise_")]


def pass_the_day(story: Story) -> None:
    story.at(30 * 86_400)


def test_of_a_time_of_day_the_day_counts_in_the_plan_and_in_the_promise() -> None:
    story = shop()
    story.service()
    story.rules({"fences": {"reach_promise": True}})
    story.order("1", A=1, deliver_by="2027-01-17T10:00:00-05:00")
    told = story.told("order_allocated")[0]
    assert told["promised_by"] == "2027-01-18T04:59:59.000Z"
    assert told["fulfillments"][0]["deliver_by"] == told["promised_by"]
    deliver(story, "2027-01-17T20:00:00-05:00")
    assert counted(story) == ["promise_kept"]


def test_what_is_asked_for_is_promised_once_all_of_it_has_a_source() -> None:
    story = shop()
    story.order("1", A=12, deliver_by=PROMISED)
    assert "promised_by" not in story.told("order_allocated")[0], "two units wait"
    story.receive("BOS", A=2)
    assert story.told("order_allocated")[0]["promised_by"] == "2027-01-21T04:59:59.000Z"


def test_what_is_cancelled_for_lack_of_stock_holds_up_no_promise() -> None:
    story = shop()
    story.order("1", A=12, deliver_by=PROMISED, line={"allow_backorder": False})
    assert story.counts("1") == {"allocated": 10, "cancelled": 2}
    assert story.the_order("1").promised_ms is not None


def test_nothing_is_promised_while_everything_waits() -> None:
    story = shop()
    story.order("1", A=12, deliver_by=PROMISED, allow_split=False)
    assert "promised_by" not in story.told("order_allocated")[0]


def test_a_promise_is_kept_by_when_it_arrived_not_by_when_that_was_heard_of() -> None:
    story = shop()
    story.order("1", A=1, deliver_by=PROMISED)
    deliver(story, IN_TIME)
    assert counted(story) == ["promise_kept"]
    pass_the_day(story)
    assert counted(story) == []


def test_a_promise_is_broken_by_a_late_delivery() -> None:
    story = shop()
    story.order("1", A=1, deliver_by=PROMISED)
    deliver(story, LATE)
    assert counted(story) == ["promise_broken"]
    assert story.told("promise_broken")[0]["delivered_at"] == "2027-01-21T10:00:00.000Z"


def test_a_promise_is_broken_once_the_day_has_passed() -> None:
    story = shop()
    story.order("1", A=1, deliver_by=PROMISED)
    story.order("2", A=1, deliver_by=PROMISED)
    deliver(story, IN_TIME, "2")
    pass_the_day(story)
    assert [event["order_id"] for event in story.told("promise_broken")] == ["1"]
    deliver(story, IN_TIME)
    assert counted(story) == [], "counted once"


def test_news_of_a_delivery_in_time_may_come_a_little_late() -> None:
    story = shop()
    story.order("1", A=1, deliver_by="2027-01-15")
    left_ms = instant_ms("2027-01-16T04:59:59Z") - story.now_ms
    story.at((left_ms + PROMISE_GRACE_MS) // 1000 - 1)
    assert counted(story) == []
    story.at(1)
    assert counted(story) == ["promise_broken"]


def test_a_cancelled_order_breaks_no_promise() -> None:
    story = shop()
    story.order("1", A=1, deliver_by=PROMISED)
    story.cancel("1")
    story.report("cancellation_accepted", "1.1")
    pass_the_day(story)
    assert counted(story) == []
    assert story.shard.markets["US"].promises == {}


def test_more_promises_than_an_entry_holds_are_counted_in_several() -> None:
    story = shop()
    for n in range(3):
        story.order(str(n), A=1, deliver_by=PROMISED)
    object.__setattr__(story.shard.config, "improve_orders", 1)
    pass_the_day(story)
    assert counted(story) == ["promise_broken"] * 3
