"""The audit finds each way of not adding up, in a state that goes on changing meanwhile."""

from collections.abc import Callable
from itertools import chain

import pytest

from orchestrator.core.auditing import audit
from orchestrator.core.ledger import Bin
from orchestrator.core.orders import Order
from orchestrator.core.shard import Market
from tests.core.story import Story


@pytest.fixture
def story() -> Story:
    """An order with five of A from Boston, one that waits for seven, and one that is closed."""
    story = Story()
    story.node("BOS")
    story.node("CHI")
    story.item("A", "B")
    story.receive("BOS", A=5, B=2)
    story.receive("CHI", B=2)
    story.order("1", A=5)
    story.order("2", A=7)
    story.order("3", B=1)
    story.cancel("3")
    return story


def found(story: Story) -> list[str]:
    return [*chain.from_iterable(audit(story.shard))]


def parts(story: Story) -> tuple[Market, Bin, Order]:
    market = story.shard.markets["US"]
    return market, market.bins["A"]["BOS"], market.orders["web/1"]


def leak_in_the_count(_market: Market, stock: Bin, _order: Order) -> None:
    stock.reserve(1)
    stock.on_hand += 1
    stock.available += 1


def lost_promise(market: Market, stock: Bin, order: Order) -> None:
    held = order.fulfillments[0].lines[0]
    stock.reserve(-held.reserved)
    del stock.promises[held]
    market.available["A"] = stock.available


def forgotten_order(market: Market, _stock: Bin, order: Order) -> None:
    del market.orders[order.key]


def moved_work(_market: Market, _stock: Bin, order: Order) -> None:
    order.fulfillments[0].node_id = "CHI"


def wrong_sum(market: Market, _stock: Bin, _order: Order) -> None:
    market.available["B"] = 9


def lost_sum(market: Market, _stock: Bin, _order: Order) -> None:
    del market.available["B"]


def lost_wait(market: Market, _stock: Bin, _order: Order) -> None:
    del market.backordered["A"]


def units_from_nowhere(_market: Market, stock: Bin, _order: Order) -> None:
    stock.on_hand += 1


def oversold(market: Market, stock: Bin, _order: Order) -> None:
    stock.available -= 1
    stock.damaged += 1
    market.available["A"] = stock.available


def wrong_waiting(market: Market, _stock: Bin, _order: Order) -> None:
    market.backordered["A"] = 8


def lost_queue(market: Market, _stock: Bin, _order: Order) -> None:
    del market.waiting["A"], market.backordered["A"]


def miscounted_line(_market: Market, _stock: Bin, order: Order) -> None:
    order.lines[0].allocated += 1


@pytest.mark.parametrize(
    ("leak", "says"),
    [
        (leak_in_the_count, "A at BOS: 6 are reserved, fulfillments hold 5"),
        (lost_promise, "US/web/1: web.1.1 holds 5 of A that BOS does not reserve"),
        (forgotten_order, "A at BOS: 5 are reserved for web/1, which asks for none"),
        (moved_work, "A at BOS: 5 are reserved for web/1, which asks for none"),
        (wrong_sum, "B: 9 are available, nodes have 3"),
        (lost_sum, "B: 0 are available, nodes have 3"),
        (lost_wait, "A: 0 wait, lines in the queue want 7"),
        (units_from_nowhere, "A at BOS: 6 on hand are not 0 + 5 + 0 + 0 + 0"),
        (oversold, "A at BOS: a count is below 0: (-1, 5, 0, 1, 0)"),
        (wrong_waiting, "A: 8 wait, lines in the queue want 7"),
        (lost_queue, "US/web/2: A is waited for in no queue"),
        (miscounted_line, "US/web/1 line 1: 6 are allocated, nodes hold 5"),
    ],
)
def test_every_leak_is_found(
    story: Story, leak: Callable[[Market, Bin, Order], None], says: str
) -> None:
    assert found(story) == []
    leak(*parts(story))
    assert says in found(story)


def test_a_lost_order_is_missed_in_the_count(story: Story) -> None:
    story.shard.orders_open += 1
    assert found(story) == ["3 orders are open, not 4"]


def test_nothing_is_found_in_a_state_that_changes_between_pieces() -> None:
    """Whatever happens between two of them."""
    whole = 0
    while True:
        story = Story()
        story.node("BOS")
        story.item("A")
        story.receive("BOS", A=50)
        for number in range(4):
            story.order(str(number), A=1)
        looking = audit(story.shard)
        pieces = 0
        for piece, some in enumerate(looking):
            assert some == []
            pieces += 1
            if piece == whole:
                story.order("new", A=3)
                story.cancel("0")
                story.node("CHI")
                story.receive("CHI", A=5)
                story.report("rejected", "1.1", reason="damaged")
        if pieces <= whole:
            break
        whole += 1
    assert whole == pieces > 5
