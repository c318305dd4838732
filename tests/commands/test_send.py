"""`headrace send`: what it checks, how it names events, in which order they arrive."""

from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path

import orjson
import pytest
from aiokafka.partitioner import DefaultPartitioner
from typer import Typer
from typer.testing import CliRunner

from orchestrator.commands.send import BadLine, Event, Sent, deliver, parse, partition_of, send
from orchestrator.commands.tail import as_line, as_object
from orchestrator.runtime.memory_log import MemoryLog
from orchestrator.runtime.settings import SetupError
from orchestrator.runtime.world import SystemClock
from schemas.cloudevents import Accepted, read
from schemas.ports import LogError, Partition, Read, Refused

NOW = datetime(2026, 1, 31, 12, tzinfo=UTC)
ITEM = {"type": "item_defined", "data": {"sku": "A", "name": "a"}}
RECEIVED = {"type": "stock_received", "data": {"node_id": "B", "sku": "A", "quantity": 1}}


def lines(*given: object) -> bytes:
    return b"".join(orjson.dumps(one) + b"\n" for one in given)


def events(text: bytes, *, new_ids: bool = False) -> list[Event]:
    found = list(parse(text, new_ids=new_ids, now=NOW))
    assert all(isinstance(one, Event) for one in found), found
    return [one for one in found if isinstance(one, Event)]


def app() -> Typer:
    made = Typer()
    made.command()(send)
    return made


def test_what_is_absent_is_filled_in_and_intake_takes_it() -> None:
    (event,) = events(lines(ITEM))
    assert event.record.key == b"item_defined:A"
    taken = read(event.topic, event.record.value, event.record.headers)
    assert isinstance(taken, Accepted)
    assert (taken.source, taken.time_ms) == ("headrace-send", 1_769_860_800_000)


def test_what_is_given_is_kept() -> None:
    given = {
        "specversion": "1.0",
        "type": "headrace.item_defined.v1",
        "id": "mine",
        "source": "erp",
        "time": "2026-01-01T00:00:00Z",
        "traceparent": "00-1",
        "data": ITEM["data"],
    }
    (event,) = events(lines(given), new_ids=True)
    headers = dict(event.record.headers)
    assert (headers["ce_id"], headers["ce_source"]) == (b"mine", b"erp")
    assert headers["ce_traceparent"] == b"00-1"
    assert not event.derived_id


def test_ids_come_from_the_content_unless_new_ones_are_wanted() -> None:
    text = lines(ITEM, ITEM)
    ids = [event.id for event in events(text)]
    assert len(set(ids)) == 2
    assert ids == [event.id for event in events(text)]
    new = events(text, new_ids=True)
    assert not set(ids) & {event.id for event in new}
    assert not any(event.derived_id for event in new)  # nobody is told that a repeat is harmless
    assert not set(ids) & {event.id for event in events(lines(ITEM, ITEM, RECEIVED))}


@pytest.mark.parametrize(
    ("line", "said"),
    [
        (b"{", "is not JSON"),
        (b"[]", 'must be a JSON object with "type" and "data"'),
        (b'{"data":{}}', "type: is missing"),
        (b'{"type":"item_defined"}', "data: is missing"),
        (b'{"type":"item_defined","data":{},"Tiem":"x"}', "'Tiem': is not an attribute"),
        (b'{"type":1,"data":{}}', "type: must be a text"),
        (b'{"type":"order_plced","data":{}}', 'ce_type: "headrace.order_plced.v1" is not an'),
        (b'{"type":"order_placed.v2","data":{}}', "ce_type: this release reads order_placed"),
        (b'{"type":"order_amended","data":{}}', "ce_type: order_amended is not supported"),
        (b'{"type":"item_defined","data":{"sku":"A"}}', "name: is missing"),
        (b'{"type":"item_defined","id":"","data":{"sku":"A","name":"a"}}', "ce_id: must be"),
    ],
)
def test_a_bad_line_is_named_by_its_number(line: bytes, said: str) -> None:
    good, bad = parse(b"\n" + lines(ITEM) + line + b"\n", new_ids=False, now=NOW)
    assert isinstance(good, Event)
    assert isinstance(bad, BadLine)
    assert bad.line == 3
    assert bad.detail.startswith(said)


def test_one_bad_line_means_that_nothing_is_sent() -> None:
    done = CliRunner().invoke(app(), ["-"], input=lines(ITEM, {"type": "x", "data": {}}))
    assert done.exit_code == 2
    assert done.stderr.startswith('line 2: ce_type: "headrace.x.v1" is not an input')
    assert "Nothing was sent" in done.stderr


def test_a_dry_run_checks_and_says_where_events_would_go() -> None:
    text = lines(ITEM, RECEIVED, {"type": "x", "data": {}})
    done = CliRunner().invoke(app(), ["--dry-run", "--skip-invalid", "-"], input=text)
    assert done.exit_code == 0
    assert done.stdout.splitlines() == [
        "2 events valid, nothing was sent (1 to network, 1 to stock).",
        "1 not valid, left out.",
    ]


def test_without_a_server_it_exits_with_3(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("HEADRACE_KAFKA", raising=False)
    done = CliRunner().invoke(app(), ["-"], input=lines(ITEM))
    assert isinstance(done.exception, SetupError), "the command line exits with its code"
    assert done.exception.exit_code == 3
    assert str(done.exception).startswith("HEADRACE_KAFKA is not set")


def test_a_file_that_is_not_there_exits_with_2(tmp_path: Path) -> None:
    done = CliRunner().invoke(app(), [str(tmp_path / "none.jsonl")])
    assert done.exit_code == 2
    assert "can't be read" in done.stderr


async def test_events_arrive_in_order_and_each_has_its_position() -> None:
    log = MemoryLog(SystemClock(), {"network": 1, "stock": 4})
    wanted = events(lines(ITEM, *[RECEIVED] * 5, ITEM))
    sent: list[Sent] = []

    def acknowledged(some: Sequence[Sent]) -> None:
        sent.extend(some)

    await deliver(log, wanted, acknowledged)
    assert [one.event.line for one in sent] == [1, 2, 3, 4, 5, 6, 7]
    for one in sent:
        held = log.held(one.partition).records[one.offset]
        assert held.value == one.event.record.value
    number = partition_of(b"B", 4)
    assert sent[1].position == f"stock/{number}@0"


async def test_a_missing_topic_is_named_before_anything_is_sent() -> None:
    log = MemoryLog(SystemClock(), {"network": 1})
    with pytest.raises(LogError, match="the topic stock is missing: run `headrace topics create`"):
        await deliver(log, events(lines(ITEM, RECEIVED)), lambda _: None)
    assert not log.held(Partition("network", 0)).records


async def test_a_refusal_ends_it_with_what_was_acknowledged_so_far() -> None:
    log = MemoryLog(SystemClock(), {"network": 1, "stock": 4})
    wanted = events(lines(ITEM, RECEIVED))
    huge = wanted[1].record._replace(value=b"x" * 1_000_000)
    sent: list[Sent] = []
    with pytest.raises(Refused):
        await deliver(log, [wanted[0], wanted[1]._replace(record=huge)], sent.extend)
    assert [one.position for one in sent] == ["network/0@0"]


@pytest.mark.parametrize("key", [b"1001", b"BOS", b"item_defined:A", b""])
def test_partitions_are_those_of_kafkas_default_partitioner(key: bytes) -> None:
    assert partition_of(key, 7) == DefaultPartitioner()(key, list(range(7)), [])


@pytest.mark.parametrize("path", sorted(Path("examples").glob("*.jsonl")), ids=str)
def test_the_examples_are_valid(path: Path) -> None:
    assert events(path.read_bytes())


def test_tail_shows_a_rejected_record_with_its_reason_first() -> None:
    headers = [
        ("ce_type", b"headrace.order_placed.v1"),
        ("headrace_reason", b"not_json"),
        ("headrace_detail", b"the data is not JSON"),
        ("headrace_topic", b"orders"),
        ("headrace_partition", b"1"),
        ("headrace_offset", b"7"),
    ]
    record = Read(3, 1_769_860_800_000, b"k", b"\xff{", headers)
    assert as_line(Partition("rejected", 0), record) == (
        "2026-01-31T12:00:00.000Z rejected/0@3 from orders/1@7 not_json: the data is not JSON"
        " order_placed.v1 [k] �{"
    )
    shown = orjson.loads(as_object(Partition("rejected", 0), record))
    assert shown["headers"]["headrace_offset"] == "7"
    assert shown["value"] == "�{"
