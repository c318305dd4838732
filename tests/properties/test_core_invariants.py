"""The ledger's and the orders' laws hold after every input, whatever comes in whatever order."""

from typing import Any

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from orchestrator.core.config import Config
from orchestrator.core.orders import FulfillmentLine, Order
from tests.core.story import Story, plain

NODES = ("BOS", "CHI", "LAX")
SKUS = ("A", "B")
units = st.integers(1, 6)
node = st.sampled_from(NODES)
sku = st.sampled_from(SKUS)
order_no = st.integers(1, 6)

step = st.one_of(
    st.tuples(
        st.just("order"),
        order_no,
        st.dictionaries(sku, units, min_size=1),
        st.booleans(),
        st.booleans(),
        st.integers(0, 1),
    ),
    st.tuples(st.just("receive"), node, sku, units, st.sampled_from(("available", "damaged"))),
    st.tuples(st.just("adjust"), node, sku, st.integers(-6, 6).filter(bool)),
    st.tuples(
        st.just("count"),
        node,
        sku,
        st.integers(0, 8),
        st.sampled_from(("all", "available", "held")),
    ),
    st.tuples(st.just("accept"), order_no, st.integers(1, 3)),
    st.tuples(
        st.just("reject"),
        order_no,
        st.integers(1, 3),
        st.sampled_from(("not_in_stock", "mismatch", "damaged", "capacity", "closed", "other")),
        st.one_of(st.none(), units),
        st.sampled_from(("apply", "none")),
    ),
    st.tuples(
        st.just("ship"), order_no, st.integers(1, 3), st.one_of(st.none(), units), st.integers(0, 5)
    ),
    st.tuples(st.just("cancel"), order_no, st.one_of(st.none(), units)),
    st.tuples(
        st.just("cancellation_accepted"), order_no, st.integers(1, 3), st.one_of(st.none(), units)
    ),
    st.tuples(
        st.just("cancellation_rejected"), order_no, st.integers(1, 3), st.one_of(st.none(), units)
    ),
    st.tuples(st.just("track"), st.integers(0, 5)),
    st.tuples(st.just("wait"), st.sampled_from((1, 3600, 5 * 3600, 8 * 86400))),
    st.tuples(st.just("node"), node, st.booleans()),
)


def perform(story: Story, action: tuple[Any, ...]) -> None:
    match action:
        case ("order", number, lines, allow_split, allow_backorder, priority):
            story.order(
                str(number),
                allow_split=allow_split,
                priority=priority,
                line={"allow_backorder": allow_backorder},
                **lines,
            )
        case ("receive", at, item, quantity, state):
            story.send("stock_received", node_id=at, sku=item, quantity=quantity, state=state)
        case ("adjust", at, item, delta):
            story.send("stock_adjusted", node_id=at, sku=item, delta=delta, reason="audit")
        case ("count", at, item, counted, state):
            story.send("stock_counted", node_id=at, sku=item, counted=counted, state=state)
        case ("cancel", number, quantity):
            lines = None if quantity is None else [{"line_id": "1", "quantity": quantity}]
            story.cancel(str(number), lines=lines)
        case ("track", number):
            story.track(f"TP{number}")
        case ("wait", seconds):
            story.at(seconds)
        case ("node", at, active):
            story.node(at, active=active)
        case (report, number, n, *rest):
            order = story.shard.markets["US"].orders.get(f"web/{number}")
            if order is None or len(order.fulfillments) < n:
                return
            quantity = rest[0] if rest else None
            data: dict[str, Any] = {}
            if report == "reject":
                data = {"reason": rest[0], "stock_effect": rest[2]}
                quantity = rest[1]
            if quantity is not None:
                data["lines"] = [{"line_id": "1", "quantity": quantity}]
            if report == "ship":
                story.ship(f"{number}.{n}", package=f"P{rest[1]}", **data)
            else:
                word = {"accept": "accepted", "reject": "rejected"}.get(report, report)
                story.report(word, f"{number}.{n}", **data)


def check(story: Story) -> None:
    """The laws, from the state alone, by other words than the core's."""
    market = story.shard.markets["US"]
    reserved: dict[tuple[str, str], int] = {}
    allocated: dict[tuple[str, str], int] = {}
    waiting = {(o.number, i) for queue in market.waiting.values() for _, _, i, o in queue}
    for order in market.orders.values():
        for fulfillment in order.fulfillments:
            for line in fulfillment.lines:
                where = (fulfillment.node_id, line.sku)
                reserved[where] = reserved.get(where, 0) + line.reserved
                of = (order.key, line.line_id)
                allocated[of] = allocated.get(of, 0) + line.reserved
                assert 0 <= line.reserved <= line.outstanding
                pending = fulfillment.awaiting_cancellation(line.line_id, taken_back=False)
                assert pending <= line.reserved, "waits for an answer on units the node has not"
        for index, order_line in enumerate(order.lines):
            assert order_line.allocated == allocated.get((order.key, order_line.line_id), 0)
            assert bool(order_line.backordered) == ((order.number, index) in waiting)
            if not order.refused and order.unknown is None:
                assert order_line.open == 0, "nothing stays undecided"
    for item, by_node in market.bins.items():
        total = 0
        for at, stock in by_node.items():
            assert stock.on_hand == stock.available + stock.reserved + stock.set_aside
            assert min(stock.available, stock.reserved, stock.set_aside) >= 0
            assert stock.reserved == reserved.get((at, item), 0), "a reservation leaks"
            held: list[FulfillmentLine] = list(stock.promises)
            assert sum(line.reserved for line in held) == stock.reserved
            if market.nodes[at].offers:
                total += stock.available
                if stock.available and not market.nodes[at].suppresses(item, story.now_ms):
                    first: list[Order] = [
                        o for *_, o in market.waiting.get(item, ()) if o.allow_split
                    ]
                    assert not first, "units lie idle while a line waits"
        assert market.available.get(item, 0) == total
        assert (market.published.get(item, 0) > 0) == (total > 0)


@settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.lists(step, min_size=5, max_size=45))
def test_the_books_balance_whatever_comes(actions: list[tuple[Any, ...]]) -> None:
    story = Story(Config(slice_orders=2))
    for at in NODES:
        story.node(at)
    story.item(*SKUS)
    for at in NODES[:2]:
        story.receive(at, A=4, B=3)
    for action in actions:
        perform(story, action)
        check(story)
    assert plain(story.shard) == plain(story.twin), "the fold of the journal is the state"
