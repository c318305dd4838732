"""Every input once: marks per origin, ids within a window, business keys for ever."""

import orjson
import pytest

from events.decided import InputRecord
from orchestrator.core import evolve
from orchestrator.core.config import DEDUPE_IDS, ORIGINS_KEPT
from orchestrator.core.decide import skip
from orchestrator.core.shard import Shard
from schemas.inbox import ORDERS_SOURCE, RENEWAL_ORDERED, TopicMadeAnew
from tests.core.story import Story


def last(shop: Story) -> InputRecord:
    record: InputRecord = orjson.loads(shop.entries[-1])["input"]
    return record


def again(shop: Story, *, hours: float = 0.0, source: str = "story") -> list[str]:
    """The last input once more, as a new record with its old id."""
    record = last(shop)
    if hours:
        shop.at(hours * 3600)
    record["origin"][2] = next(shop.offsets[record["origin"][0]])
    record["source"] = source
    return [event["type"] for event in shop.take(record)]


def test_a_record_at_or_below_its_origins_mark_was_handled(shop: Story) -> None:
    shop.receive("BOS", A=1)
    assert shop.take(last(shop)) == [{"type": "input_repeated", "by": "origin"}]
    assert shop.stock("BOS", "A") == (1, 0, 1)


def test_another_record_at_an_offset_that_was_taken_tells_of_a_topic_made_anew(shop: Story) -> None:
    shop.receive("BOS", A=1)
    record = last(shop)
    record["id"] = "another id"
    with pytest.raises(TopicMadeAnew, match="headrace topics accept stock"):
        shop.take(record)
    shop.take(renewal("stock"))
    assert shop.take(record)[0]["type"] == "stock_moved"
    assert shop.take(record) == [{"type": "input_repeated", "by": "origin"}]


def test_an_offset_older_than_those_remembered_must_be_known_by_its_id(shop: Story) -> None:
    shop.receive("BOS", A=1)
    old = last(shop)
    for _ in range(ORIGINS_KEPT):
        shop.receive("BOS", A=1)
    assert shop.take(old) == [{"type": "input_repeated", "by": "origin"}]
    shop.at(25 * 3600)
    shop.receive("BOS", A=1)  # forgets the ids of yesterday
    with pytest.raises(TopicMadeAnew):
        shop.take(old)
    skipped = {"type": "input_skipped", "reason": "offsets were set back", "by": "ada"}
    assert skip(shop.shard, old, "offsets were set back", "ada") == [
        {"type": "input_repeated", "by": "origin"},
        skipped,
    ]
    assert shop.stock("BOS", "A") == (ORIGINS_KEPT + 2, 0, ORIGINS_KEPT + 2)


def test_what_was_rejected_once_and_is_read_again_with_others_is_no_new_topic(shop: Story) -> None:
    shop.receive("BOS", A=1)
    next(shop.offsets["stock"])  # its node was not known then
    shop.receive("BOS", A=1)
    late = last(shop)
    late["origin"][2] -= 1
    late["id"] = "rejected"
    assert shop.take(late) == [{"type": "input_repeated", "by": "origin"}]


def renewal(topic: str, id_: str = "r1") -> InputRecord:
    """A person's word that a topic has a new life."""
    return {
        "type": RENEWAL_ORDERED,
        "version": 1,
        "id": id_,
        "source": ORDERS_SOURCE,
        "time_ms": 0,
        "origin": ["inbox", 0, 7, 0],
        "data": {"topic": topic, "reason": "restored", "by": "ada"},
    }


def test_a_renewal_that_was_taken_ahead_of_its_turn_is_a_repeat_in_its_turn(shop: Story) -> None:
    renewed = {"type": "topic_renewed", "topic": "stock", "reason": "restored", "by": "ada"}
    assert shop.take(renewal("stock")) == [renewed]
    shop.receive("BOS", A=1)
    assert shop.take(renewal("stock")) == [{"type": "input_repeated", "by": "id"}]
    assert shop.take(last_of(shop, "stock_received"))[0]["type"] == "input_repeated"


def last_of(shop: Story, type_: str) -> InputRecord:
    records: list[InputRecord] = [orjson.loads(entry)["input"] for entry in shop.entries]
    return [one for one in records if one["type"] == type_][-1]


def test_marks_are_kept_by_topic_and_partition(shop: Story) -> None:
    shop.receive("BOS", A=1)
    record = last(shop)
    record["id"] = "another id"
    record["origin"][1] = 1
    shop.take(record)
    assert shop.stock("BOS", "A") == (2, 0, 2)


def test_an_id_names_one_event_for_a_day(shop: Story) -> None:
    shop.receive("BOS", A=1)
    assert again(shop) == ["input_repeated"]
    assert shop.told("input_repeated")[0]["by"] == "id"
    shop.receive("BOS", A=1)
    assert again(shop, hours=24) == ["input_repeated"]
    shop.receive("BOS", A=1)
    assert again(shop, hours=24.01) != ["input_repeated"]
    assert shop.stock("BOS", "A") == (4, 0, 4)


def test_an_id_is_its_sources(shop: Story) -> None:
    shop.receive("BOS", A=1)
    assert again(shop, source="another") != ["input_repeated"]


@pytest.mark.slow
def test_where_too_many_ids_come_in_a_day_the_oldest_fall_out_and_are_counted(
    shop: Story,
) -> None:
    full = Shard(0)
    full.ids = dict.fromkeys(map(str, range(DEDUPE_IDS)), 0)
    full.id_order.extend(full.ids)
    shop.receive("BOS", A=1)
    assert evolve.begin(full, last(shop)) is None
    assert full.ids_dropped == 1
    assert len(full.ids) == len(full.id_order) == DEDUPE_IDS
    assert "0" not in full.ids


def test_an_order_is_known_by_its_key_for_ever(shop: Story) -> None:
    shop.receive("BOS", A=1)
    shop.order("1", A=1)
    shop.ship("1.1")
    shop.track("TP1")
    shop.at(30 * 86400)
    shop.order("1", A=1)
    assert shop.told("input_repeated")[0]["by"] == "order"
    shop.order("1", A=2)
    assert shop.told("order_refused")[0]["reasons"][0]["code"] == "other_content"
    assert shop.exceptions() == ["data_mismatch"]
