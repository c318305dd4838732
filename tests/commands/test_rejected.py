"""`headrace rejected`, as it is called."""

import asyncio
import json

import orjson
import pytest

from orchestrator.runtime.kafka_log import KafkaLog, KafkaSettings
from schemas.cloudevents import emit
from schemas.ports import Partition, Record
from tests.commands.test_read_side import headrace, inside

ORDER = {"channel": "web", "market_id": "eu", "order_id": "1", "reason": "changed_mind"}


async def _reject(kafka: str, prefix: str) -> None:
    log = await KafkaLog.open(KafkaSettings(kafka, prefix))
    writer = await log.writer()
    headers = emit("order_cancel_requested", "1", "test", "2026-01-31T12:00:00Z")
    headers += [
        ("headrace_reason", b"unknown_market"),
        ("headrace_detail", b"no market is defined"),
        ("headrace_topic", b"orders"),
        ("headrace_partition", b"2"),
        ("headrace_offset", b"0"),
    ]
    await writer.append(Partition("orders", 2), [Record(b"1", orjson.dumps(ORDER), headers[:6])])
    await writer.append(Partition("rejected", 2), [Record(b"1", orjson.dumps(ORDER), headers)])
    await writer.close()
    await log.close()


def test_lists_and_sends_again_on_a_real_broker(kafka: str, prefix: str) -> None:
    servers = {"kafka": kafka, "prefix": prefix, "replication": "1"}
    assert headrace("topics", "create", **servers).returncode == 0
    asyncio.run(_reject(kafka, prefix))
    listed = headrace("rejected", "list", "--code", "unknown_market", **servers)
    assert listed.returncode == 0, listed.stderr
    assert "orders/2@0" in listed.stdout
    assert "1 rejected (1 unknown_market)." in listed.stdout
    told = headrace("rejected", "list", "--json", **servers)
    assert json.loads(told.stdout)["headers"]["headrace_offset"] == "0"
    dry = headrace("rejected", "replay", "--dry-run", **servers)
    assert dry.stdout == "1 would be sent again (1 to orders).\n"
    assert headrace("rejected", "replay", **servers).stdout == "1 sent again (1 to orders).\n"
    again = headrace("rejected", "replay", **servers)
    assert again.stdout == "0 sent again.\n1 had been sent again before.\n"


@pytest.mark.parametrize("option", ["--since", "--until"])
def test_a_wrong_time_is_said(option: str) -> None:
    done = inside("rejected", "list", option, "yesterday", kafka="127.0.0.1:1")
    assert done.returncode == 2
    assert done.stderr.startswith(f"{option}: must be a time such as")
