"""What shadows decided comes from `history` into an export: each once, whatever is repeated."""

from pathlib import Path
from typing import Any

import orjson
import pytest

from orchestrator.export.ask import ask, opened
from orchestrator.export.directory import Directory
from orchestrator.export.exporter import Period
from orchestrator.export.shadows import Shadows
from orchestrator.runtime.memory_log import MemoryLog
from orchestrator.runtime.world import SystemClock
from schemas.ports import Partition, Record
from schemas.times import instant_ms
from tests.export.exporting import export
from tests.projections.test_from_the_core import journal, told

GOLDEN = Path(__file__).parents[2] / "schemas" / "golden" / "shadow_decided.v1.json"
HEADERS = [("ce_type", b"headrace.shadow_decided.v1")]
DAY = "2026-01-{day:02}T12:00:00.000Z"
COUNT = "SELECT count(*), count(DISTINCT position) FROM shadow_decisions"


@pytest.fixture(scope="module")
def entries() -> list[bytes]:
    return told().entries


@pytest.fixture
def log(entries: list[bytes]) -> MemoryLog:
    log = MemoryLog(SystemClock(), {"journal": 1, "history": 2})
    log.write(Partition("journal", 0), [Record(None, value) for value in journal(entries, 3)])
    return log


@pytest.fixture(scope="module")
def decision(entries: list[bytes]) -> str:
    events = [event for entry in entries for event in orjson.loads(entry)["events"]]
    return str(next(one["decision"] for one in events if one["type"] == "order_allocated"))


def decided(decision: str, seq: int, day: int, shard: int = 0, **more: object) -> Record:
    said = orjson.loads(GOLDEN.read_bytes())["data"]
    said |= {"shard": shard, "seq": seq, "recorded_at": DAY.format(day=day), "decision": decision}
    said |= {"position": f"shadow/{shard}.{seq}.3.0", "order_id": f"{shard}-{seq}", **more}
    return Record(said["order_id"].encode(), orjson.dumps(said), HEADERS)


async def shadows(log: MemoryLog, place: Directory, period: Period | None = None) -> int:
    with place.locked():
        reading = Shadows(place, log=log, period=period or Period(), batch_rows=3)
        return await reading.run(lambda *_: None)


def asked(place: Directory, query: str) -> list[tuple[Any, ...]]:
    with opened(place.path) as connection:
        return list(ask(connection, query)[1])


async def test_each_decision_is_there_once_beside_the_active_one(
    log: MemoryLog, tmp_path: Path, decision: str
) -> None:
    place = Directory(tmp_path / "history")
    await export(log, place)
    assert asked(place, COUNT) == [(0, 0)]
    records = [decided(decision, seq, 1 + seq // 4) for seq in range(1, 9)]
    log.write(Partition("history", 0), [Record(b"", b'{"kind": "event"}'), *records[:5]])
    log.write(Partition("history", 0), records[2:])  # again from some point on
    log.write(Partition("history", 1), [decided(decision, 4, 2, shard=1, same=True, active=None)])
    assert await shadows(log, place) == 9
    assert asked(place, COUNT) == [(9, 9)]
    assert await shadows(log, place) == 0, "nothing new"
    log.write(Partition("history", 0), [*records[6:], decided(decision, 9, 3)])
    assert await shadows(log, Directory(tmp_path / "history")) == 1
    (row,) = asked(
        place,
        "SELECT rule_set, active_rule_set, same, nodes, active_nodes, units_waiting, paid_minor,"
        " active_paid_minor, position, accepted_position"
        " FROM shadow_decisions WHERE order_id = '0-9'",
    )
    assert row == ("8", "7", False, ["BOS"], ["CHI"], 1, 810, 1010, "shadow/0.9.3.0", "0.9.3.0")
    (lone,) = asked(place, "SELECT same, active_nodes FROM shadow_decisions WHERE order_id = '1-4'")
    assert lone == (True, None)
    (explained,) = asked(place, "SELECT any_value(decision.v) FROM shadows.shadow_decided")
    assert explained == (2,)


async def test_a_period_leaves_what_lies_behind_it_for_another_run(
    log: MemoryLog, tmp_path: Path, decision: str
) -> None:
    place = Directory(tmp_path / "history")
    await export(log, place)
    records = [decided(decision, seq, seq) for seq in range(1, 6)]
    records.insert(3, decided(decision, 7, 1, shard=1))  # a shard that is behind
    log.write(Partition("history", 0), records)
    until = Period(until_ms=instant_ms(DAY.format(day=3)))
    assert await shadows(log, place, until) == 3
    assert await shadows(log, place) == 3
    assert asked(place, COUNT) == [(6, 6)]


async def test_what_a_crash_left_is_written_again(
    log: MemoryLog, tmp_path: Path, decision: str
) -> None:
    place = Directory(tmp_path / "history")
    await export(log, place)
    log.write(Partition("history", 0), [decided(decision, seq, 1) for seq in range(1, 3)])
    kept = (place.path / "manifest.json").read_bytes()
    assert await shadows(log, place) == 2
    (place.path / "manifest.json").write_bytes(kept)  # it ended before the manifest was replaced
    place = Directory(tmp_path / "history")
    await export(log, place)
    assert asked(place, COUNT) == [(0, 0)], "what no manifest names is removed"
    assert await shadows(log, place) == 2
    assert asked(place, COUNT) == [(2, 2)]
