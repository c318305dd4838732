"""Calls that some Kafka-compatible brokers answer wrongly, or that lose records, stand nowhere."""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
FOLDERS = ["orchestrator", "projections", "schemas", "events", "bench", "tests"]
BANNED_CALLS = {
    "end_offsets": "wrong on Tansu for batches of several records: fetch, then ask highwater",
    "offsets_for_times": "wrong on Tansu for batches of several records: use the journal's index",
    "seek_to_end": "wrong on Tansu for batches of several records: read to the high-water mark",
}
BANNED_SETTINGS: dict[str, set[object]] = {
    "auto_offset_reset": {"earliest", "latest"},  # jump over deleted records in silence
    "enable_auto_commit": {True},  # commits what nobody has handled yet
}


def findings(source: str) -> Iterator[str]:
    for node in ast.walk(ast.parse(source)):
        match node:
            case ast.Attribute(attr=name) if name in BANNED_CALLS:
                yield f"{node.lineno}: {name}: {BANNED_CALLS[name]}"
            case ast.keyword(arg=str(name), value=ast.Constant(value=value)) if (
                value in BANNED_SETTINGS.get(name, set())
            ):
                yield f"{node.lineno}: {name}={value!r}"
            case ast.Call(func=ast.Name(id="AIOKafkaConsumer"), keywords=keywords):
                given = {keyword.arg for keyword in keywords}
                if None not in given:  # else they come from a mapping, which we can't see
                    for name in sorted(BANNED_SETTINGS.keys() - given):
                        yield f"{node.lineno}: {name} is left to its default"
            case ast.keyword(arg="timestamp_ms"):
                yield f"{node.lineno}: timestamp_ms: brokers delete old times, refuse future ones"
            case _:
                pass


@pytest.mark.parametrize("folder", FOLDERS)
def test_nothing_asks_kafka_for_what_it_answers_wrongly(folder: str) -> None:
    found = [
        f"{path.relative_to(ROOT)}:{finding}"
        for path in sorted((ROOT / folder).rglob("*.py"))
        for finding in findings(path.read_text())
    ]
    assert found == []


@pytest.mark.parametrize(
    "source",
    [
        "await consumer.end_offsets([partition])",
        "await consumer.seek_to_end()",
        "consumer.offsets_for_times",
        "AIOKafkaConsumer(auto_offset_reset='latest', enable_auto_commit=False)",
        "AIOKafkaConsumer(auto_offset_reset='none', enable_auto_commit=True)",
        "AIOKafkaConsumer('topic', auto_offset_reset='none')",
        "producer.send('topic', b'', timestamp_ms=1)",
    ],
)
def test_the_lint_sees(source: str) -> None:
    assert list(findings(source))


def test_the_lint_lets_pass_what_is_right() -> None:
    assert not list(
        findings("AIOKafkaConsumer(enable_auto_commit=False, auto_offset_reset='none', **more)")
    )
