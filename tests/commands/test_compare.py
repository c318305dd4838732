"""`headrace rules compare`: a shadow's decisions summed up, each position once."""

from typing import Any

import orjson
import pytest

from orchestrator.commands import compare
from orchestrator.commands.compare import Compared, read_shadow
from orchestrator.runtime.memory_log import MemoryLog
from orchestrator.runtime.world import SystemClock
from schemas.ports import LogError, Partition, Record

HEADERS = (("ce_type", b"headrace.shadow_decided.v1"),)


def legs(*nodes: str) -> list[dict[str, Any]]:
    return [{"node_id": one, "lines": [{"line_id": "1", "quantity": 1}]} for one in nodes]


def decided(
    order_id: str, was: list[str], now: list[str], paid: int, *, version: str = "8", waits: int = 0
) -> dict[str, Any]:
    """An active plan that costs 10.00, and a shadow's."""
    waiting = [{"line_id": "2", "quantity": waits}] if waits else []
    return {
        "position": f"shadow/0.{order_id}.0.0",
        "recorded_at": "2026-01-31T12:00:00Z",
        "market_id": "us",
        "channel": "web",
        "order_id": order_id,
        "rule_set": version,
        "same": was == now,
        "currency": "USD",
        "fulfillments": legs(*now),
        "backordered": waiting,
        "costs_minor": {"transport": paid - 100, "handling": 100, "late": 5_000},
        "active": {
            "position": f"0.{order_id}.0.2",
            "fulfillments": legs(*was),
            "backordered": [],
            "costs_minor": {"transport": 1_000},
        },
    }


def history(*told: dict[str, Any]) -> MemoryLog:
    log = MemoryLog(SystemClock(), {"history": 2})
    for number, one in enumerate(told):
        record = Record(b"", orjson.dumps(one), HEADERS)
        log.write(Partition("history", number % 2), [record])
    log.write(Partition("history", 0), [Record(b"", b"{}", (("ce_type", b"another"),))])
    return log


async def test_what_differs_is_counted_and_priced_and_repeats_are_not() -> None:
    split = decided("1", ["BOS", "CHI"], ["BOS"], 700, waits=2)
    log = history(
        split,
        decided("2", ["BOS"], ["BOS"], 1_000),
        decided("3", ["BOS"], ["CHI"], 1_100),
        split,
        decided("4", ["BOS"], ["CHI"], 1, version="7"),
    )
    compared = Compared("us", "8")
    seen: list[tuple[str, int, int]] = []
    await read_shadow(log, compared, lambda *one: seen.append(one))
    assert seen, "a bar was to be told"
    assert all(name.startswith("History ") and at == end > 0 for name, at, end in seen)
    told = compared.as_json(show=1)
    assert (told["orders"], told["decided_otherwise"]) == (3, 2)
    assert told["active"] == {
        "paid_minor": 3_000,
        "packages": 4,
        "split_orders": 1,
        "orders_that_wait": 0,
        "units_that_wait": 0,
    }
    assert told["shadow"] == {
        "paid_minor": 2_800,
        "packages": 3,
        "split_orders": 0,
        "orders_that_wait": 1,
        "units_that_wait": 2,
    }
    (flip,) = told["flips"]
    assert (flip["order"], flip["paid_difference_minor"]) == ("web/1", -300)
    assert (flip["active_position"], flip["position"]) == ("0.1.0.2", "shadow/0.1.0.0")


async def test_a_log_without_history_is_said() -> None:
    with pytest.raises(LogError, match="headrace topics create"):
        await read_shadow(MemoryLog(SystemClock(), {}), Compared("us", "8"), lambda *_: None)


def test_it_is_shown_as_a_table_with_the_orders_that_differ_most(
    capsys: pytest.CaptureFixture[str],
) -> None:
    compared = Compared("us", "8")
    compared.take(decided("1", ["BOS", "CHI"], [], 0, waits=3))
    compare._show(compared.as_json(show=10))
    said = capsys.readouterr().out
    assert "would have decided 1 of 1 orders otherwise (100.0%)" in said
    assert "web/1: BOS + CHI → waits, -10.00 USD" in said
    assert "10.00 USD" in said
