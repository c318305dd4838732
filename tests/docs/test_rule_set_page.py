"""How to write a rule set, word by word, on real servers."""

import asyncio
import shutil
import threading
import time
import urllib.request
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from datetime import UTC, datetime
from itertools import groupby
from pathlib import Path
from typing import Any

import orjson
import pytest
from aiokafka import AIOKafkaProducer

from orchestrator.commands.rule_file import parse
from orchestrator.commands.send import Event
from orchestrator.commands.send import parse as parse_events
from orchestrator.core.sourcing.rule_checks import check as check_body
from orchestrator.core.sourcing.strategies import DEFAULT_BODY
from orchestrator.embedded.server import free_port
from tests.docs.pages import NAMES, ROOT, samples
from tests.docs.test_tutorial import WITHIN_S, answers, check, run, serving, shell

PAGE = NAMES["docs/how-to/write-a-rule-set.md"]
REFERENCE = NAMES["docs/reference/rule-sets.md"]
SEVERAL = 5
EVERY_S = 0.05
FLOWING = """\
{"type": "item_defined", "data": {"sku": "PEN", "name": "Pen"}}
{"type": "stock_received", "data": {"node_id": "BOS", "sku": "PEN", "quantity": 9000}}"""
ORDER: dict[str, Any] = {
    "channel": "web",
    "market_id": "us",
    "placed_at": "2026-01-31T12:00:00Z",
    "currency": "USD",
    "ship_to": {"country": "US", "location": {"lat": 40.7, "lon": -74.01}},
    "lines": [{"line_id": "1", "sku": "PEN", "quantity": 1}],
}


@contextmanager
def orders_flow(environment: dict[str, str]) -> Iterator[list[str]]:
    """An order every so often for as long as it takes; the ids of those acknowledged."""
    sent: list[str] = []
    over = threading.Event()

    async def flow() -> None:
        kafka, prefix = environment["HEADRACE_KAFKA"], environment["HEADRACE_PREFIX"]
        producer = AIOKafkaProducer(bootstrap_servers=kafka, acks="all")
        await producer.start()
        try:
            while not over.is_set():
                data = {**ORDER, "order_id": f"flow-{len(sent)}"}
                line = orjson.dumps({"type": "order_placed", "data": data})
                (event,) = parse_events(line, new_ids=True, now=datetime.now(UTC))
                assert isinstance(event, Event), event
                key, value, headers = event.record[:3]
                await producer.send_and_wait(f"{prefix}orders", value, key, headers=headers)
                sent.append(data["order_id"])
                await asyncio.sleep(EVERY_S)
        finally:
            await producer.stop()

    with ThreadPoolExecutor(1) as threads:
        flowing = threads.submit(asyncio.run, flow())
        try:
            yield sent
        finally:
            over.set()
            flowing.result(WITHIN_S)


def several_more(sent: list[str]) -> None:
    """Some more orders come in."""
    enough, deadline = len(sent) + SEVERAL, time.monotonic() + WITHIN_S
    while len(sent) < enough:
        assert time.monotonic() < deadline, "no orders flow"
        time.sleep(EVERY_S)


def first_decision(http: str, order_id: str) -> tuple[list[int], str]:
    """Where an order was decided first, and by which version."""
    url = f"http://{http}/orders/web/{order_id}/decisions"
    deadline = time.monotonic() + WITHIN_S
    while not answers(url):
        assert time.monotonic() < deadline, f"{order_id} was never decided"
        time.sleep(EVERY_S)
    with urllib.request.urlopen(url, timeout=5) as answer:
        first = orjson.loads(answer.read())["items"][0]
    return list(map(int, first["position"].split("."))), first["rule_set"]


def test_the_page_shows_the_file_that_it_uses() -> None:
    (shown,) = [one for one in samples(PAGE) if one.language == "yaml"]
    assert shown.body == (ROOT / "examples/rules.yaml").read_text(encoding="utf-8")


def test_the_reference_shows_rule_sets_that_are_right() -> None:
    example, built_in = [parse(one.body, one.page).body for one in samples(REFERENCE)]
    assert check_body(example, None)[1] == []
    assert built_in == DEFAULT_BODY


@pytest.mark.skipif(shutil.which("curl") is None, reason="the page uses curl")
def test_the_page_shows_what_happens(
    kafka: str, postgres: str, prefix: str, tmp_path: Path
) -> None:
    environment = shell(kafka, postgres, prefix)
    http = environment["HEADRACE_HTTP"]
    steps = [
        one._replace(body=one.body.replace("127.0.0.1:8080", http))
        for one in samples(PAGE)
        if one.use in {"run", "shows"}
    ]
    assert len([one for one in steps if one.use == "run"]) >= 6
    run("headrace topics create; headrace db migrate", environment)
    beside = {**environment, "HEADRACE_HTTP": f"127.0.0.1:{free_port()}"}
    with (
        serving("headrace run", environment, tmp_path / "log"),
        serving("headrace run --roles shadow", beside, tmp_path / "shadow"),
    ):
        for file in ("01-network", "02-stock"):
            run(f"headrace send examples/{file}.jsonl", environment)
        run(f"headrace send - <<'.'\n{FLOWING}\n.", environment)
        activated = next(i for i, one in enumerate(steps) if "headrace rules activate" in one.body)
        check(steps[:activated], environment)
        with orders_flow(environment) as sent:
            several_more(sent)
            check(steps[activated : activated + 2], environment)
            several_more(sent)
        check(steps[activated + 2 :], environment)
        decided = sorted(first_decision(http, one) for one in sent)
        versions = [(one, len(list(those))) for one, those in groupby(one for _, one in decided)]
        assert [one for one, _ in versions] == ["default-1", "7"], decided
        assert min(count for _, count in versions) >= SEVERAL
