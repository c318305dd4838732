"""Time arrives on ticks: timers, retirement, determinism."""

import subprocess
import sys
from pathlib import Path

from orchestrator.core.config import DAY_MS, Config
from orchestrator.core.decide import next_due_ms
from tests.core.story import Story, plain

ROOT = Path(__file__).parents[2]


def test_timers_fire_in_the_order_they_are_due_each_in_an_entry_of_its_own(shop: Story) -> None:
    shop.order("1", Z=1)
    shop.at(10)
    shop.order("2", Z=1)
    before = len(shop.entries)
    shop.at(3600)
    assert [event["order_id"] for event in shop.told("order_refused")] == ["1", "2"]
    assert len(shop.entries) - before == 2, "one entry a timer"


def test_the_next_timer_is_known_to_who_waits_for_it(shop: Story) -> None:
    assert next_due_ms(shop.shard) is None
    shop.order("1", Z=1)
    assert next_due_ms(shop.shard) == shop.now_ms + 60_000
    shop.at(60)
    assert next_due_ms(shop.shard) == shop.now_ms + DAY_MS, "the refused order retires"


def test_a_closed_order_leaves_memory_and_its_key_stays() -> None:
    shop = Story(Config(retire_after_ms=1_000))
    shop.node("BOS")
    shop.item("A")
    shop.receive("BOS", A=2)
    shop.order("1", A=2)
    shop.ship("1.1")
    shop.track("TP1")
    assert shop.told("order_closed")
    shop.at(1)
    market = shop.shard.markets["US"]
    assert market.orders == {}
    assert list(market.retired) == ["web/1"]
    assert shop.shard.tracking == {}
    shop.cancel("1")
    assert shop.told("order_cancellation_rejected")[0]["reason"] == "the order is closed"
    shop.track("TP1")
    assert [event["type"] for event in shop.events] == ["input_parked"]


def test_an_order_is_closed_once(shop: Story) -> None:
    shop.order("1", A=1)
    shop.cancel("1")
    assert len(shop.told("order_closed")) == 1
    shop.cancel("1")
    assert not shop.told("order_closed")
    shop.at(8 * 86400)
    assert shop.shard.markets["US"].orders == {}


def test_a_tick_with_nothing_due_decides_nothing(shop: Story) -> None:
    assert shop.at(60) == []


def tell() -> Story:
    """A story that meets every kind of decision."""
    shop = Story(Config(slice_orders=2))
    for node_id in ("BOS", "CHI", "LAX", "NYC"):
        shop.node(node_id)
    shop.item("A", "B", "C")
    for node_id in ("BOS", "CHI", "LAX"):
        shop.receive(node_id, A=3, B=2, C=1)
    for number in range(9):
        shop.order(str(number), A=1 + number % 3, B=1, C=number % 2 + 1, priority=number % 2)
    shop.report("accepted", "0.1")
    shop.report("rejected", "1.1", reason="closed")
    shop.ship("0.1")
    shop.cancel("2")
    shop.send("stock_counted", node_id="BOS", sku="A", counted=0)
    shop.node("CHI", active=False)
    shop.receive("NYC", A=20, B=20, C=20)
    shop.track("TP1")
    shop.order("z", Z=1)
    shop.at(9 * 86400)
    return shop


def test_the_same_inputs_are_the_same_bytes_whatever_the_hash_seed() -> None:
    code = (
        "from tests.core.test_time import tell; import sys;"
        "sys.stdout.buffer.write(b'\\n'.join(tell().entries))"
    )
    written = [
        subprocess.run(
            [sys.executable, "-c", code],
            cwd=ROOT,
            env={"PYTHONHASHSEED": seed, "PYTHONPATH": str(ROOT)},
            capture_output=True,
            check=True,
            timeout=60,
        ).stdout
        for seed in ("1", "2")
    ]
    assert written[0] == written[1] == b"\n".join(tell().entries)
    assert len(written[0]) > 10_000


def test_the_fold_of_the_entries_is_the_state() -> None:
    shop = tell()
    assert plain(shop.shard) == plain(shop.twin)
