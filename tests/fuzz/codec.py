"""The codec under a coverage-guided fuzzer: `make fuzz`, e.g. `make fuzz ARGS=-max_total_time=600`.

Whatever bytes come, the codec takes them or refuses them with a code and a sentence; what it takes
it writes in one form, which it takes again as the same. The golden samples are where it begins.
"""

import sys
import tempfile
from pathlib import Path
from typing import Final

import atheris
import orjson

with atheris.instrument_imports(include=["events", "schemas"]):
    from events.inputs import INPUTS
    from schemas.cloudevents import Accepted, Code, Rejected, emit, read

_TOPICS: Final = ("orders", "stock", "carriers", "network")
_TYPES: Final = sorted(INPUTS)
_SENTENCE: Final = 3_000
_TIME: Final = "2026-01-31T12:00:00Z"
_ROOT: Final = Path(__file__).parents[2]


def attack(raw: bytes) -> None:
    """One record made of fuzzed bytes: the first say what kind of one."""
    kind, chosen, value = raw[:1], raw[1:2], raw[2:]
    if not chosen:
        return
    type_ = _TYPES[chosen[0] % len(_TYPES)]
    topic = INPUTS[type_].TOPIC if kind[0] & 1 else _TOPICS[chosen[0] % len(_TOPICS)]
    headers: list[tuple[str, bytes]] = emit(type_, "id", "fuzz", _TIME)
    if kind[0] & 2:
        headers = [("content-type", b"application/cloudevents+json")]
    elif kind[0] & 4:
        named, _, value = value.partition(b"\n\n")
        pairs = [line.partition(b":") for line in named.split(b"\n")]
        headers = [(name.decode("latin-1"), said) for name, _, said in pairs]
    for unknown in ("refuse", "ignore"):
        match read(topic, value, headers, unknown_fields=unknown):
            case Rejected(code, detail):
                assert code in Code
                assert 0 < len(detail.encode()) < _SENTENCE * 4
            case Accepted() as taken:
                _check(topic, taken)


def _check(topic: str, taken: Accepted) -> None:
    """It is taken again as the same, and holds nothing that a store refuses."""
    assert b"\\u0000" not in taken.data
    orjson.loads(taken.data)
    again = read(topic, taken.data, emit(taken.type, "id", "fuzz", _TIME))
    assert isinstance(again, Accepted), again
    assert again.data == taken.data


def main() -> None:
    """Fuzz from the golden samples on; arguments go to libFuzzer."""
    with tempfile.TemporaryDirectory() as corpus:
        for sample in (_ROOT / "schemas" / "golden").glob("*.json"):
            name = sample.name.partition(".")[0]
            if name in INPUTS:
                chosen = bytes([_TYPES.index(name)])
                whole = orjson.loads(sample.read_bytes())
                (Path(corpus) / f"{name}-data").write_bytes(
                    b"\x01" + chosen + orjson.dumps(whole["data"])
                )
                event = {
                    "specversion": "1.0",
                    "id": "1",
                    "source": "s",
                    "time": _TIME,
                    "type": f"headrace.{name}.v1",
                    "data": whole["data"],
                }
                (Path(corpus) / f"{name}-event").write_bytes(b"\x03" + chosen + orjson.dumps(event))
        atheris.Setup([sys.argv[0], *sys.argv[1:], corpus], attack)
        atheris.Fuzz()


if __name__ == "__main__":
    main()
