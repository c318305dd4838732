"""Hostile inputs by seed: what no producer should send, each of a kind with a name.

`python -m tests.intake.hostile --count 1000000` is the long form of the test beside it.
"""

import asyncio
import resource
import secrets
import sys
import time
from argparse import ArgumentParser
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from random import Random
from typing import Final

import orjson

from events.inputs import INPUTS
from orchestrator.runtime import logs
from orchestrator.runtime.intake import INTAKE_TOPICS, Intake
from orchestrator.runtime.memory_log import MemoryLog
from orchestrator.runtime.world import SystemClock
from schemas.cloudevents import Code, emit
from schemas.ports import Appended, Partition, Record, Writer
from tests.runtime.fakes import PassingLog

TIME: Final = "2026-01-31T12:00:00Z"
ORDERS: Final = Partition("orders", 0)
LARGE_EVERY: Final = 1_000
_LARGE: Final = 1_000_000
_CHUNK: Final = 2_000
GROWS_MB: Final = 100
"""Less than this, however many there are."""
_TOPICS: Final = {"network": 1, "orders": 1, "stock": 1, "carriers": 1, "inbox": 1, "rejected": 1}
_TRIES: Final = 20  # a mutation that changes nothing that matters is made again
Headers = list[tuple[str, bytes]]
Made = tuple[bytes | None, Headers]

_ORDER: Final = orjson.dumps(
    {
        "channel": "web",
        "market_id": "us",
        "order_id": "1",
        "placed_at": TIME,
        "currency": "USD",
        "ship_to": {"country": "US", "location": {"lat": 42.4, "lon": -71.1}},
        "attributes": {"a": "b"},
        "lines": [{"line_id": "1", "sku": "A", "quantity": 2, "unit_price_minor": 1999}],
    }
)
_TEXTS: Final = (b'"web"', b'"us"', b'"1"', b'"A"', b'"b"', b'"US"')
_HUGE: Final = (
    *(b"9" * 5_000, b"-" + b"9" * 400, b"1e999", b"1E400", b"9223372036854775808"),
    *(b"1e-999", b"2.0", b"2.5", b"-0", b"0", b"-1", b"NaN", b"Infinity", b"0x10", b"007"),
)
_SPECIFIED: Final = (
    *("ce_specversion", "ce_id", "ce_source", "ce_type", "ce_time", "content-type"),
)


def _headers(chance: Random) -> Headers:
    return emit("order_placed", f"id-{chance.getrandbits(64):x}", "hostile", TIME)


def _noise(chance: Random) -> Made:
    return chance.randbytes(chance.randrange(1, 300)), _headers(chance)


def _nothing(chance: Random) -> Made:
    return chance.choice([None, b"", b" ", b"null", b"[]", b'""', b"0", b"{}"]), _headers(chance)


def _cut(chance: Random) -> Made:
    return _ORDER[: chance.randrange(len(_ORDER))], _headers(chance)


def _broken(chance: Random) -> Made:
    """Bytes that JSON never has, somewhere in it."""
    at = chance.randrange(len(_ORDER))
    wrong = chance.choice([b"\xff", b"\xc0\x80", b"\xed\xa0\x80", b"\x00", b"\x01", b"\x0b"])
    return _ORDER[:at] + wrong + _ORDER[at:], _headers(chance)


def _in_a_text(chance: Random, wrong: bytes) -> Made:
    text = chance.choice(_TEXTS)
    cut = chance.randrange(1, len(text))
    return _ORDER.replace(text, text[:cut] + wrong + text[cut:], 1), _headers(chance)


def _surrogate(chance: Random) -> Made:
    """Half of a pair, or a pair in the wrong order."""
    half = chance.choice([b"\\ud800", b"\\udfff", b"\\udc00\\ud800", b"\\uD83D"])
    return _in_a_text(chance, half)


def _nul(chance: Random) -> Made:
    return _in_a_text(chance, b"\\u0000")


def _number(chance: Random) -> Made:
    at = chance.choice([b'"quantity":2', b'"unit_price_minor":1999'])
    wrong = chance.choice(_HUGE)
    if at.startswith(b'"unit') and wrong in {b"0", b"-0"}:
        wrong = b"true"  # a gift may cost nothing
    return _ORDER.replace(at, at[: at.index(b":") + 1] + wrong), _headers(chance)


def _deep(chance: Random) -> Made:
    depth = chance.choice([20, 200, 2_000, 20_000])
    opening, closing = chance.choice([(b"[", b"]"), (b'{"a":', b"}")])
    nested = opening * depth + b"1" + closing * depth
    if chance.random() < 0.5:
        return nested, _headers(chance)
    return _ORDER.replace(b'{"a":"b"}', nested), _headers(chance)


def _shape(chance: Random) -> Made:
    """A field that is missing, unknown, or of another kind."""
    order = orjson.loads(_ORDER)
    name = chance.choice(["channel", "market_id", "order_id", "placed_at", "currency", "lines"])
    match chance.randrange(4):
        case 0:
            del order[name]
        case 1:
            order[f"{name}{chance.getrandbits(16):x}"] = 1
        case 2:
            order[name] = chance.choice([1, True, {}, [{}], [[]], 1.5, ["a", None]])
        case _:
            order["lines"] = [order["lines"][0] | {"line_id": str(n % 7)} for n in range(200)]
    return orjson.dumps(order), _headers(chance)


def _headed(chance: Random) -> Made:
    """Headers that no CloudEvent has; the value would do."""
    headers = dict(_headers(chance))
    name = chance.choice(_SPECIFIED[:-1])
    match chance.randrange(4):
        case 0:
            del headers[name]
        case 1:
            headers[name] = chance.randbytes(8) + b"\xff"
        case 2:
            headers[name] = chance.choice([b"", b"\x00", b"a\nb", b"\x7f", "é".encode() * 300])
        case _:
            headers["content-type"] = chance.choice(
                [
                    *(b"text/plain", b"application/cloudevents-batch+json", b"application/xml"),
                    *(b"application/cloudevents+json", b"\xff\xfe"),
                ]
            )
    return _ORDER, list(headers.items())


def _typed(chance: Random) -> Made:
    """A type that is none, is of another topic, another version, or what Headrace says."""
    others = [name for name, model in INPUTS.items() if model.TOPIC != "orders"]
    wrong = chance.choice(
        [
            *(f"headrace.{chance.choice(others)}.v1", "headrace.order_placed.v2", "order_placed"),
            *("headrace.order_placed.v01", "headrace.order_allocated.v1", "headrace.kjsdf.v1"),
            *("headrace." + "a" * 5_000 + ".v1", "headrace.order_placed.v1 ", "\u202eheadrace"),
        ]
    )
    headers = dict(_headers(chance)) | {"ce_type": wrong.encode()}
    return _ORDER, list(headers.items())


def _structured(chance: Random) -> Made:
    """Structured mode, wrong in the envelope or in what it holds."""
    event: dict[str, object] = {
        "specversion": "1.0",
        "id": f"{chance.getrandbits(64):x}",
        "source": "hostile",
        "type": "headrace.order_placed.v1",
        "time": TIME,
    }
    wrong: list[dict[str, object]] = [
        {**event, "data_base64": "!!!"},
        {**event, "data": None},
        {**event, "data": [], "data_base64": "e30="},
        {**event, "data": {}, "id": 7},
        {**event, "data": {}, "datacontenttype": "text/xml"},
        {**event, "data": {}, "time": "yesterday"},
        {**event, "data": {}, "specversion": 1.0},
        {**event, "data": {}, "type": ["headrace.order_placed.v1"]},
        {**event, "data": {}, "id": "\u0000"},
        event,
    ]
    return orjson.dumps(chance.choice(wrong)), [("content-type", b"application/cloudevents+json")]


def _elsewhere(chance: Random) -> Made:
    """Valid, of a market that nobody defined."""
    order = orjson.loads(_ORDER) | {"market_id": f"m{chance.getrandbits(32):x}"}
    return orjson.dumps(order), _headers(chance)


def _large(chance: Random) -> Made:
    """A megabyte, of one text, many lines, many names, deep, or noise."""
    match chance.randrange(5):
        case 0:
            made = _ORDER.replace(b'"b"', b'"' + b"x" * _LARGE + b'"')
        case 1:
            line = b'{"line_id":"1","sku":"A","quantity":2},'
            made = _ORDER.replace(b'"lines":[', b'"lines":[' + line * (_LARGE // len(line)))
        case 2:
            names = b",".join(b'"n%d":1' % n for n in range(_LARGE // 10))
            made = b"{" + names + b"}"
        case 3:
            made = b"[" * _LARGE
        case _:
            made = chance.randbytes(_LARGE)
    return made, _headers(chance)


KINDS: Final[dict[str, Callable[[Random], Made]]] = {
    "noise": _noise,
    "nothing": _nothing,
    "cut off": _cut,
    "broken": _broken,
    "a lone surrogate": _surrogate,
    "NUL": _nul,
    "a number": _number,
    "nested deep": _deep,
    "another shape": _shape,
    "headers": _headed,
    "a type": _typed,
    "structured": _structured,
    "no such market": _elsewhere,
}


def hostile(chance: Random) -> Iterator[tuple[str, Made]]:
    """Without end, each with the name of its kind; one in LARGE_EVERY is large."""
    kinds = list(KINDS)
    while True:
        for _ in range(LARGE_EVERY - 1):
            kind = chance.choice(kinds)
            yield kind, KINDS[kind](chance)
        yield "large", _large(chance)


@dataclass(slots=True)
class Tally:
    """What became of them."""

    sent: Counter[str] = field(default_factory=Counter)  # by kind
    rejected: Counter[str] = field(default_factory=Counter)  # by reason
    taken: list[str] = field(default_factory=list)  # kinds of those that intake took
    seconds: float = 0.0  # of intake, without the time that it took to make them
    grown_mb: float = 0.0  # the process, at the most, after the first chunk

    def __str__(self) -> str:
        rate = self.sent.total() / self.seconds
        reasons = ", ".join(f"{count:,} {reason}" for reason, count in self.rejected.most_common())
        return (
            f"{self.sent.total():,} hostile inputs, {self.sent['large']} of a megabyte: {reasons}; "
            f"{len(self.taken)} taken; {rate:,.0f}/s, {self.grown_mb:.0f} MB grown"
        )


class _Counting(PassingLog):
    """A log that counts what intake appends instead of keeping it."""

    def __init__(self, log: MemoryLog, tally: Tally) -> None:
        super().__init__(log)
        self.kinds: dict[int, str] = {}  # by offset
        self._tally = tally

    async def writer(self) -> Writer:
        return _CountingWriter(self, self._tally)


class _CountingWriter:
    def __init__(self, log: _Counting, tally: Tally) -> None:
        self._log = log
        self._tally = tally

    async def append(self, to: Partition, records: Sequence[Record]) -> Appended:
        for record in records:
            if to.topic == "rejected":
                headers = dict(record.headers)
                reason, detail = headers["headrace_reason"], headers["headrace_detail"]
                assert reason.decode() in set(Code), reason
                assert 0 < len(detail.decode()) < 2_000, detail
                self._tally.rejected[reason.decode()] += 1
                self._log.kinds.pop(int(headers["headrace_offset"]))
            else:
                offset = orjson.loads(record.value or b"")["origin"][2]
                self._tally.taken.append(self._log.kinds.pop(offset))
        return Appended(0, 0)

    async def close(self) -> None:
        """Nothing is held."""


async def attack(seed: int, count: int, tell: Callable[[str], None] = lambda _: None) -> Tally:
    """Send so many to intake itself; AssertionError where one is lost or has no reason."""
    tally = Tally()
    log = MemoryLog(SystemClock(), _TOPICS)
    counting = _Counting(log, tally)
    stop = asyncio.Event()
    group = await log.group("intake", INTAKE_TOPICS)
    intake = Intake(counting, group, SystemClock(), shards=1, wait_s=0.001)
    running = asyncio.create_task(intake.run(stop))
    market = {"market_id": "us", "currency": "USD", "time_zone": "UTC"}
    headers = emit("market_defined", "first", "test", TIME)
    log.write(Partition("network", 0), [Record(b"us", orjson.dumps(market), headers)])
    counting.kinds[0] = "the market"
    await _handled(counting, running)
    tally.taken.clear()
    made = hostile(Random(seed))
    first_mb = 0.0
    while tally.sent.total() < count:
        chunk = [next(made) for _ in range(min(_CHUNK, count - tally.sent.total()))]
        tally.sent.update(kind for kind, _ in chunk)
        began = time.perf_counter()
        records = [Record(b"k", value, named) for _, (value, named) in chunk]
        first = log.write(ORDERS, records).base_offset
        counting.kinds |= {first + n: kind for n, (kind, _) in enumerate(chunk)}
        await _handled(counting, running)
        tally.seconds += time.perf_counter() - began
        await log.trim(ORDERS, first + len(chunk))
        resident_mb = _resident_mb()
        first_mb = first_mb or resident_mb
        tally.grown_mb = max(tally.grown_mb, resident_mb - first_mb)
        tell(f"{tally.sent.total():,}")
    stop.set()
    await running
    await group.close()
    return tally


async def _handled(log: _Counting, running: asyncio.Task[None]) -> None:
    async with asyncio.timeout(120):
        while log.kinds:
            if running.done():
                running.result()
            await asyncio.sleep(0.001)


def _resident_mb() -> float:
    """Now: the most that a process ever held says nothing of one that held more before."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * resource.getpagesize() / 1_048_576


def main() -> None:
    """The long form."""
    parser = ArgumentParser(prog="python -m tests.intake.hostile", description=__doc__)
    parser.add_argument("--count", type=int, default=1_000_000)
    parser.add_argument("--seed", type=int, default=None, help="default: by chance")
    given = parser.parse_args()
    seed = secrets.randbelow(1_000_000) if given.seed is None else given.seed
    sys.stderr.write(f"--seed {seed}\n")
    logs.configure("console", "warning")

    def tell(what: str) -> None:
        sys.stderr.write(f"\r{what}")

    tally = asyncio.run(attack(seed, given.count, tell))
    sys.stdout.write(f"\n{tally}\n")
    assert not tally.taken, Counter(tally.taken)
    assert tally.grown_mb < GROWS_MB, f"{tally.grown_mb:.0f} MB"


if __name__ == "__main__":
    main()
