"""Given entries, then rows: no database."""

from collections import deque
from itertools import chain
from typing import Any

import pytest

from events import decided
from projections.fold import HANDLERS, project
from projections.tables import (
    DECISIONS,
    EXCEPTION_RESOLVED,
    EXCEPTIONS,
    FULFILLMENT_STATUS,
    FULFILLMENTS,
    INBOUND,
    ITEMS,
    LINE_COUNTS,
    LINES,
    NODES,
    ORDER_PROMISE,
    ORDER_REASONS,
    ORDER_STATUS,
    ORDERS,
    PACKAGE_STATUS,
    PACKAGES,
    STOCK,
    TIMELINE,
    Changes,
    Table,
)
from tests.projections import journals as given

ORDER = ("web", "1", "us")


def changes_of(*entries: given.Told) -> Changes:
    changes = Changes()
    deque(project(changes, 0, given.decoded(entries)), maxlen=0)
    return changes


def row(changes: Changes, table: Table, *key: object) -> dict[str, Any]:
    return dict(zip(table.columns, changes.puts[table.name][key], strict=True))


def test_an_accepted_order_is_one_row_with_the_state_its_entry_closes_with() -> None:
    changes = changes_of(given.accepted())
    order = row(changes, ORDERS, *ORDER)
    assert order["status"] == "partly_allocated"
    assert order["recorded_at"] == "2026-11-22T10:00:00.001Z"
    assert "lines" not in order["data"]
    line = row(changes, LINES, *ORDER, "1")
    assert (line["open"], line["allocated"], line["backordered"]) == (0, 2, 1)
    assert (line["quantity"], line["sku"], line["data"]) == (3, "MUG", '{"unit_price_minor":1999}')
    assert not any(changes.patches.values())


def test_a_two_line_order_is_about_ten_rows() -> None:
    assert len(changes_of(given.accepted())) == 8  # one line and one bin less than with two lines


def test_a_later_entry_patches_what_an_earlier_batch_wrote() -> None:
    changes = changes_of(given.shipped())
    assert not changes.puts[ORDERS.name]
    assert changes.patches[ORDER_STATUS] == {ORDER: ("partly_shipped",)}
    assert changes.patches[LINE_COUNTS] == {(*ORDER, "1"): [0, 0, 1, 2, 0, 0]}
    assert changes.patches[FULFILLMENT_STATUS] == {(*ORDER, "web.1.1"): ("shipped", "accepted")}


def test_the_last_state_wins_within_a_batch() -> None:
    changes = changes_of(
        given.received("BOS", "MUG", 5, 0, 0, 0, 0), given.received("BOS", "MUG", 7, 0, 0, 0, 0)
    )
    assert row(changes, STOCK, "MUG", "BOS")["on_hand"] == 7
    assert len(changes) == 1


def test_a_whole_life_in_one_batch_is_one_row_a_key() -> None:
    changes = changes_of(given.accepted(), given.shipped(), given.delivered())
    assert row(changes, ORDERS, *ORDER)["status"] == "partly_delivered"
    assert row(changes, LINES, *ORDER, "1")["delivered"] == 2
    assert row(changes, FULFILLMENTS, *ORDER, "web.1.1")["status"] == "shipped"
    package = row(changes, PACKAGES, *ORDER, "web.1.1", "P1")
    assert package["status"] == "delivered"
    assert package["status_at"] == "2026-11-25T15:00:00Z"
    assert package["estimated_delivery_at"] == "2026-11-25T08:00:00Z"
    assert not any(changes.patches.values())


def test_tracking_of_an_earlier_package_is_a_patch() -> None:
    patches = changes_of(given.delivered()).patches[PACKAGE_STATUS]
    assert patches == {(*ORDER, "web.1.1", "P1"): ("delivered", "2026-11-25T15:00:00Z")}


def test_an_order_that_waited_goes_on_without_being_written_anew() -> None:
    changes = changes_of(
        given.tick(
            given.NOW_MS + 60_000, {"type": "order_accepted", **given.OF, "status": "accepted"}
        )
    )
    assert not changes.puts[ORDERS.name]
    assert changes.adds[TIMELINE.name][0][7] == "2026-11-22T10:01:00.000Z"


def test_a_parked_order_is_taken_from_the_input_that_is_resumed() -> None:
    cause, _ = given.accepted()
    changes = changes_of(
        given.tick(
            given.NOW_MS,
            {"type": "input_resumed", "on": "market:us", "input": cause},
            {"type": "order_accepted", **given.OF, "status": "accepted"},
        )
    )
    assert row(changes, ORDERS, *ORDER)["status"] == "accepted"
    assert row(changes, LINES, *ORDER, "1")["open"] == 3


def refusal(*, conflict: bool) -> dict[str, Any]:
    return {
        "type": "order_refused",
        **given.OF,
        "status": "refused",
        "reasons": [{"code": "currency", "detail": "no"}],
        "conflict": conflict,
    }


def test_a_refused_order_is_a_row_with_its_reasons() -> None:
    changes = changes_of(given.told("order_placed", given.placing(), refusal(conflict=False)))
    order = row(changes, ORDERS, *ORDER)
    assert order["status"] == "refused"
    assert order["reasons"] == '[{"code":"currency","detail":"no"}]'


def test_an_order_that_waited_in_vain_becomes_refused() -> None:
    changes = changes_of(given.tick(given.NOW_MS, refusal(conflict=False)))
    assert changes.patches[ORDER_STATUS] == {ORDER: ("refused",)}
    assert list(changes.patches[ORDER_REASONS]) == [ORDER]


def test_a_conflict_only_adds_to_the_timeline() -> None:
    changes = changes_of(given.told("order_placed", given.placing(), refusal(conflict=True)))
    assert len(changes) == 1
    (entry,) = changes.adds[TIMELINE.name]
    assert entry[-1] == "Sent again with other content, refused: no"


def test_master_data_is_replaced_by_its_newest_definition() -> None:
    changes = changes_of(given.node("BOS"), given.node("BOS", active=False), given.item("MUG"))
    assert '"active":false' in row(changes, NODES, "BOS")["data"]
    assert row(changes, ITEMS, "MUG", 0)["shard"] == 0


def test_an_exception_reopened_in_the_batch_that_resolved_it_is_open() -> None:
    changes = changes_of(given.exception(1, "exception_resolved"), given.exception(1))
    assert row(changes, EXCEPTIONS, "0-1")["status"] == "open"
    assert not changes.patches[EXCEPTION_RESOLVED]


def test_every_decision_is_kept_with_its_plan() -> None:
    (decision,) = changes_of(given.accepted()).adds[DECISIONS.name]
    assert decision[3:7] == [1, 0, 2, 0]  # seq, entry, n, shard
    assert '"sets":[[[2],["BOS",870,' in decision[-1]
    assert '"fulfillments":[{"fulfillment_id":"web.1.1"' in decision[-1]


def test_every_event_of_an_order_has_a_readable_sentence() -> None:
    sentences = [entry[-1] for entry in changes_of(*chain(*given.day())).adds[TIMELINE.name]]
    assert sentences[:3] == [
        "Accepted.",
        "BOS is asked to ship 2 of line 1 (web.1.1).",
        "Planned from BOS; backordered: 1 of line 1; promised by 2026-11-26T04:59:59Z.",
    ]
    assert "Refused: EUR isn't the market's currency USD" in sentences
    assert "BOS shipped 2 of line 1 in P1 at 2026-11-23T15:00:00Z." in sentences
    assert "Package P1 is in transit since 2026-11-24T08:00:00Z." in sentences
    assert all("\n" not in sentence and "\t" not in sentence for sentence in sentences)


HELD = {
    **given.OF,
    "type": "fulfillment_planned",
    "fulfillment_id": "web.1.1",
    "node_id": "BOS",
    "ship_day": "2026-11-23",
    "ship_by": "2026-11-23T21:00:00Z",
    "release_ms": 1_795_341_600_000,
    "lines": [{"line_id": "1", "sku": "MUG", "quantity": 2}],
}


def test_a_held_fulfillment_stands_before_its_node_is_asked() -> None:
    held = given.told("order_placed", given.placing(), HELD)
    changes = changes_of(held)
    fulfillment = row(changes, FULFILLMENTS, *ORDER, "web.1.1")
    assert fulfillment["request_status"] == "unsubmitted"
    assert fulfillment["requested_at"] is None
    assert fulfillment["ship_by"] == "2026-11-23T21:00:00Z"
    (noted,) = changes.adds[TIMELINE.name]
    assert noted[-1] == (
        "2 of line 1 held at BOS (web.1.1), to be asked by 2026-11-22T10:00:00.000Z."
    )
    asked = row(changes_of(held, given.accepted()), FULFILLMENTS, *ORDER, "web.1.1")
    assert asked["request_status"] == "submitted"
    assert asked["requested_at"] == "2026-11-22T10:00:00Z"


@pytest.mark.parametrize(
    ("kept", "said"),
    [
        (900, "A better plan was found: it replaces web.1.1."),
        (None, "What was held can't go as planned any more: another plan replaces web.1.1."),
    ],
)
def test_another_plan_is_called_better_only_where_the_old_one_could_be_kept(
    kept: int | None, said: str
) -> None:
    improved = {
        **given.OF,
        "type": "order_improved",
        "replaced": ["web.1.1"],
        "before": [kept, "{}"],
        "after": [500, "{}"],
    }
    changes = changes_of(given.told("clock_ticked", {}, improved))
    (noted,) = changes.adds[TIMELINE.name]
    assert noted[-1] == said


def test_what_came_of_a_promise_stands_with_it() -> None:
    kept = {
        **given.OF,
        "type": "promise_kept",
        "promised_by": "2026-11-26T04:59:59Z",
        "delivered_at": "2026-11-25T15:00:00Z",
    }
    order = row(changes_of(given.accepted(), given.told("tick", {}, kept)), ORDERS, *ORDER)
    assert (order["promised_by"], order["promise"]) == ("2026-11-26T04:59:59Z", "kept")
    broken = {**given.OF, "type": "promise_broken", "promised_by": "2026-11-26T04:59:59Z"}
    changes = changes_of(given.told("tick", {}, broken))
    assert changes.patches[ORDER_PROMISE] == {ORDER: ("broken",)}
    (noted,) = changes.adds[TIMELINE.name]
    assert noted[-1] == "The promise of 2026-11-26T04:59:59Z was broken: not all has arrived."


@pytest.mark.parametrize(
    ("more", "sentence"),
    [
        ({}, "The node stopped 1 of line 1 (web.1.1)."),
        ({"after_all": True}, "The node stopped 1 of line 1 after all (web.1.1)."),
        ({"inferred": True}, "1 of line 1 that the node was to stop went otherwise (web.1.1)."),
    ],
)
def test_an_answer_that_the_node_did_not_give_is_not_told_as_its(
    more: dict[str, bool], sentence: str
) -> None:
    answered = {
        **given.OF,
        "type": "cancellation_answered",
        "fulfillment_id": "web.1.1",
        "cancellation_id": "web.1.1.c1",
        "answer": "accepted",
        "lines": [{"line_id": "1", "sku": "MUG", "quantity": 1}],
        **more,
    }
    changes = changes_of(given.told("fulfillment_rejected", {}, answered))
    (noted,) = changes.adds[TIMELINE.name]
    assert noted[-1] == sentence


@pytest.mark.parametrize(
    ("why", "sentence"),
    [
        ("taken_back", "BOS had to give back 1 of line 1 (web.1.1)."),
        ("replanned", "BOS lets go of 1 of line 1, planned with the rest (web.1.1)."),
    ],
)
def test_units_that_nobody_lost_are_not_told_as_given_back(why: str, sentence: str) -> None:
    lines = [{"line_id": "1", "sku": "MUG", "quantity": 1}]
    released = {
        **given.OF,
        "type": "units_released",
        "fulfillment_id": "web.1.1",
        "node_id": "BOS",
        "why": why,
        "lines": lines,
        "closed": lines,
    }
    changes = changes_of(given.told("stock_counted", {}, released))
    (noted,) = changes.adds[TIMELINE.name]
    assert noted[-1] == sentence


def test_an_announcement_that_is_closed_has_no_units_left() -> None:
    changes = changes_of(given.announced(4), given.announced(7, "2"), given.announced(0))
    assert row(changes, INBOUND, "MUG", "BOS", "PO-1", "")["units"] == 0
    other = row(changes, INBOUND, "MUG", "BOS", "PO-1", "2")
    assert (other["units"], other["expected_at"]) == (7, "2027-01-15T08:00:00.000Z")


def test_a_sentence_of_many_lines_sums_up() -> None:
    lines = [{"line_id": str(n), "quantity": n} for n in range(1, 8)]
    cancelled = {
        "type": "order_cancelled",
        **given.OF,
        "status": "cancelled",
        "lines": lines,
        "reason": "changed\nmind",
        "by": "channel",
    }
    (entry,) = changes_of(given.told("order_cancel_requested", {}, cancelled)).adds[TIMELINE.name]
    assert entry[-1] == "Cancelled 28 units on 7 lines by the channel: changed mind."


@pytest.mark.parametrize("type_", sorted(HANDLERS))
def test_only_events_that_exist_are_handled(type_: str) -> None:
    known = {typed.__annotations__["type"].__args__[0] for typed in decided.DecidedEvent.__args__}
    assert type_ in known
