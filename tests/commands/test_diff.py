"""`headrace diff`: what changed between two moments, with every cause."""

import asyncio
import json
from io import StringIO
from typing import Any

import pytest
from rich.console import Console

from orchestrator.commands.diff import Between, compare, show
from orchestrator.commands.differences import changes, then
from orchestrator.past import Until, past
from orchestrator.runtime.memory_log import MemoryLog
from orchestrator.runtime.settings import Settings
from orchestrator.runtime.world import SystemClock
from schemas.ports import Partition, Record
from schemas.times import instant_ms
from tests.commands.test_read_side import headrace, inside
from tests.commands.test_state import _write
from tests.core.story import Story
from tests.projections.test_from_the_core import journal, told
from tests.projections.test_past import a_simulated_day
from tests.replay.test_closed_loop import HOUR, serve

JOURNAL = Partition("journal", 0)
A_COMMIT = 3


def a_log(entries: list[bytes]) -> MemoryLog:
    log = MemoryLog(SystemClock(), {"journal": 1})
    log.write(JOURNAL, [Record(None, value) for value in journal(entries, A_COMMIT)])
    return log


async def diff(log: MemoryLog, what: str, since: Until, until: Until) -> dict[str, Any]:
    found: dict[str, Any] = {
        "what": what,
        "positions": [],
        "before": [],
        "after": [],
        "because": [],
    }
    await compare(log, Settings(shards=1), 0, what, Between([0], since, until), found)
    found["changed"] = [one._asdict() for one in changes(what, found["before"], found["after"])]
    parsed: dict[str, Any] = json.loads(json.dumps(found))
    return parsed


def shown(found: dict[str, Any]) -> list[str]:
    out = StringIO()
    show(Console(file=out, width=200), found)
    return out.getvalue().splitlines()


@pytest.mark.parametrize(("since", "until"), [(0, 10_000), (8, 20), (12, 13), (15, 15), (20, 10)])
async def test_the_movements_of_an_item_are_what_it_differs_by(since: int, until: int) -> None:
    log = a_log(a_simulated_day(3))
    shard = (await past(log, 0, Until(seq=10_000))).shard
    until = max(since, until)
    moved = 0
    for sku in shard.markets["us"].bins:
        found = await diff(log, sku, Until(seq=since), Until(seq=until))
        for seq, side in ((since, "before"), (until, "after")):
            assert found[side] == then((await past(log, 0, Until(seq=seq))).shard, sku)
        books = {one["node_id"]: one for one in found["before"]}
        on_hand = {node_id: one["on_hand"] for node_id, one in books.items()}
        reserved = {node_id: one["reserved"] for node_id, one in books.items()}
        for step in found["because"]:
            assert since < int(step["position"].split(".")[1]) <= until
            assert step["events"] or step["movements"]
            for one in step["movements"]:
                node_id, added = one["node_id"], one["added"]
                on_hand[node_id] = on_hand.get(node_id, 0) + added.get("on_hand", 0)
                reserved[node_id] = reserved.get(node_id, 0) + added.get("reserved", 0)
                assert one["balance"]["on_hand"] == on_hand[node_id]
                moved += 1
        after = found["after"]
        assert {one["node_id"]: one["on_hand"] for one in after} == on_hand
        assert {one["node_id"]: one["reserved"] for one in after} == reserved
        assert bool(found["changed"]) is (found["before"] != after)
    assert bool(moved) is (until > since)


async def test_every_movement_has_a_cause_in_words() -> None:
    log = a_log(a_simulated_day(4))
    found = await diff(log, "A", Until(seq=0), Until(seq=10_000))
    moved = [step for step in found["because"] if step["movements"]]
    assert len(moved) > 10
    for step in moved:
        assert step["events"], step


async def test_an_orders_way_is_told_with_inputs_and_positions() -> None:
    log = a_log(told().entries)
    found = await diff(log, "web/1", Until(seq=0), Until(seq=10_000))
    assert found["before"] == []
    (after,) = found["after"]
    assert after["status"] == "delivered"
    causes = [step["input"]["type"] for step in found["because"]]
    assert causes[0] == "order_placed"
    assert {"fulfillment_accepted", "fulfillment_shipped", "tracking_updated"} <= set(causes)
    placed = found["because"][0]
    assert placed["input"]["origin"].startswith("orders/0@")
    assert [event["id"].rpartition(".")[0] for event in placed["events"]] == [
        placed["position"] for _ in placed["events"]
    ]
    lines = shown(found)
    assert lines[0].startswith("web/1 from 0:0 to 0:")
    assert "  web/1 (new): status delivered" in lines
    assert "  line 1 (new): quantity 2, delivered 2" in lines
    assert (
        "  fulfillment web.1.1 (new): node id BOS, status shipped, request status accepted" in lines
    )
    assert any(line.endswith("(web.1.1).") and "is asked to ship" in line for line in lines)


async def test_between_two_moments_only_what_happened_then_is_told() -> None:
    log = a_log(told().entries)
    whole = await diff(log, "web/2", Until(seq=0), Until(seq=10_000))
    seqs = sorted({int(step["position"].split(".")[1]) for step in whole["because"]})
    cut = seqs[len(seqs) // 2]
    first = await diff(log, "web/2", Until(seq=0), Until(seq=cut))
    second = await diff(log, "web/2", Until(seq=cut), Until(seq=10_000))
    assert first["because"] + second["because"] == whole["because"]
    assert first["after"] == second["before"]
    counts = {one["field"] for one in second["changed"] if one["what"].startswith("line ")}
    assert counts
    none = await diff(log, "web/2", Until(seq=cut), Until(seq=cut))
    assert (none["changed"], none["because"]) == ([], [])
    assert "  Nothing differs." in shown(none)


async def test_times_and_commits_tell_the_same() -> None:
    log = a_log(told().entries)
    by_commit = await diff(log, "MUG", Until(seq=0), Until(seq=10_000))
    begin = instant_ms(by_commit["because"][0]["at"]) - 1
    by_time = await diff(log, "MUG", Until(time_ms=begin), Until(time_ms=begin + 10**12))
    assert by_time["because"] == by_commit["because"]
    assert by_time["after"] == by_commit["after"]


async def test_what_waited_is_told_with_the_input_it_came_from() -> None:
    log = a_log(told().entries)
    found = await diff(log, "web/4", Until(seq=0), Until(seq=10_000))
    assert len({step["input"]["type"] for step in found["because"]}) > 1
    assert found["because"][0]["events"][0]["type"] == "order_waits"


async def test_an_order_that_has_left_memory_is_told_as_it_was_then() -> None:
    story = Story()
    story.node("BOS")
    story.item("MUG")
    story.receive("BOS", MUG=5)
    story.service()
    story.at(HOUR)
    story.order("1", MUG=2)
    open_seq = -(-len(story.entries) // A_COMMIT)
    serve(story, "1.1", "A")
    closed_seq = -(-len(story.entries) // A_COMMIT)
    in_memory = await diff(a_log(story.entries), "web/1", Until(seq=open_seq), Until(seq=10_000))
    assert not any(one.get("closed") for one in in_memory["after"])
    assert {"status", "delivered", "allocated"} <= {one["field"] for one in in_memory["changed"]}
    for _ in range(3):
        story.at(2 * 86_400)  # it leaves memory
    log = a_log(story.entries)
    gone = await diff(log, "web/1", Until(seq=open_seq), Until(seq=10_000))
    assert gone["after"] == [one | {"closed": True} for one in in_memory["after"]]
    assert gone["changed"] == in_memory["changed"]
    assert "  In US it has left memory by then; its last is told." in shown(gone)
    assert not any("memory" in line for line in shown(in_memory))
    new = await diff(log, "web/1", Until(seq=0), Until(seq=10_000))
    assert "line 1 (new): quantity 2, delivered 2" in "".join(shown(new))
    after = await diff(log, "web/1", Until(seq=closed_seq), Until(seq=10_000))
    assert [one["field"] for one in after["changed"]] == []
    last = await diff(log, "web/1", Until(seq=9_999), Until(seq=10_000))
    assert (last["changed"], last["because"]) == ([], [])
    assert "  In US it had left memory before, and nothing about it changes." in shown(last)


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("MUG", "--from", "yesterday"), "--from: must be a time such as"),
        (("MUG", "--from", "9:1"), "--from: there are the shards 0 to 3"),
        (("MUG", "--from", "0:1", "--to", "1:2"), "--to: give two times, or two commits"),
        (("MUG", "--from", "0:1", "--to", "2026-01-31T12:00:00Z"), "--to: give two times, or"),
        (("MUG", "--from", "0:1", "--to", "2026-01-31"), "--to: give two times, or"),
        (("MUG", "--from", "0:5", "--to", "0:4"), "--to: is before --from"),
    ],
)
def test_wrong_usage_is_said(words: tuple[str, ...], said: str) -> None:
    done = inside("diff", *words, kafka="127.0.0.1:1")
    assert done.returncode == 2
    assert done.stderr.startswith(said)


def test_is_asked_on_a_real_broker(kafka: str, prefix: str) -> None:
    servers = {"kafka": kafka, "prefix": prefix, "shards": "1", "replication": "1"}
    assert headrace("topics", "create", **servers).returncode == 0
    asyncio.run(_write(kafka, prefix, journal(told().entries, A_COMMIT)))
    order = headrace("diff", "web/2", "--from", "0:0", **servers)
    assert order.returncode == 0, order.stderr
    assert "web/2 from 0:0 to 0:" in order.stdout
    item = headrace("diff", "MUG", "--from", "0:2", "--to", "0:9", "--json", **servers)
    assert json.loads(item.stdout)["positions"] == [{"shard": 0, "from": 2, "to": 9}]
    nothing = headrace("diff", "web/9", "--from", "0:1", **servers)
    assert nothing.returncode == 1
    assert nothing.stderr == "There was nothing of web/9 at either moment.\n"
