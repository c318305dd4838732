"""The core of an earlier release, in a process of its own, since it has our packages' names.

`python old_core.py core-0.1.0.zip` answers a line with a line: `["fold", entry]`, `["decide",
input]`, `["work", now_ms]` (whether a tick then has work), `["counts"]`, `["restore", rows]` (its
shard is then what these rows of a snapshot say, where it has snapshots).
"""

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import orjson


class OldCore:
    """A shard of a release whose core was kept as an archive."""

    def __init__(self, archive: Path) -> None:
        command = [sys.executable, "-P", __file__, str(archive.resolve())]
        self._process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        at: TracebackType | None,
    ) -> None:
        self._process.communicate()

    def ask(self, *question: object) -> Any:  # noqa: ANN401 - JSON
        """Its answer; ValueError with what it says where it halts."""
        to, answers = self._process.stdin, self._process.stdout
        assert to is not None
        assert answers is not None
        to.write(orjson.dumps(question) + b"\n")
        to.flush()
        answer = orjson.loads(answers.readline())
        if "halts" in answer:
            raise ValueError(answer["halts"])
        return answer["says"]


def main() -> None:
    """Answer until nobody asks any more."""
    sys.path.insert(0, sys.argv[1])
    from orchestrator.core import decide as core  # noqa: PLC0415 - the archive's
    from orchestrator.core.config import Config  # noqa: PLC0415 - the archive's
    from orchestrator.core.shard import Shard  # noqa: PLC0415 - the archive's

    if not str(core.__file__).startswith(sys.argv[1]):
        raise SystemExit(f"{core.__file__} is not of {sys.argv[1]}")
    shard = Shard(0, Config(slice_orders=2, tracking_waits=3))

    def restore(rows: list[Any]) -> None:
        nonlocal shard
        from orchestrator.core.snapshot import Restoring  # noqa: PLC0415 - the archive's

        restoring = Restoring(Shard(0))
        for row in rows:
            restoring.take(row)
        shard = restoring.finish()

    def decide(cause: Any) -> object:  # noqa: ANN401 - an input record
        return {"input": cause, "events": list(core.decide(shard, cause))}

    answers: dict[str, Callable[..., object]] = {
        "fold": lambda entry: core.fold(shard, entry),
        "decide": decide,
        "work": lambda now_ms: core.work_due(shard, now_ms),
        "counts": lambda: counts(shard),
        "restore": restore,
    }
    for line in sys.stdin.buffer:
        question, *given = orjson.loads(line)
        try:
            answer = {"says": answers[question](*given)}
        except Exception as error:  # noqa: BLE001 - whatever it says
            answer = {"halts": str(error)}
        sys.stdout.buffer.write(orjson.dumps(answer) + b"\n")
        sys.stdout.buffer.flush()


def counts(shard: Any) -> dict[str, Any]:  # noqa: ANN401 - of either release
    """Orders and stock of its markets, which both releases have by the same names."""
    names = ("open", "allocated", "backordered", "shipped", "delivered", "cancelled")
    states = ("on_hand", "reserved", "quality_control", "damaged", "held")
    return {
        market_id: {
            "orders": {
                key: [
                    order.status(),
                    [[line.line_id, *(getattr(line, n) for n in names)] for line in order.lines],
                ]
                for key, order in sorted(market.orders.items())
            },
            "stock": [
                [node_id, sku, *(getattr(found, n) for n in states)]
                for sku, shelf in sorted(market.bins.items())
                for node_id, found in sorted(shelf.items())
            ],
            "retired": sorted(market.retired),
        }
        for market_id, market in sorted(shard.markets.items())
    }


if __name__ == "__main__":
    main()
