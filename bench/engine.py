"""The real core for simulations in virtual time: told facts, it answers with what it decided."""

from itertools import count
from typing import Any, Final

import orjson

from events.decided import InputRecord
from events.inputs import INPUTS
from orchestrator.core.decide import decide, next_due_ms, tick, work_due
from orchestrator.core.shard import Shard

Event = dict[str, Any]


class Engine:
    """One shard. Each input passes the real model, as intake would have it; timers fire in time."""

    def __init__(self, start_ms: int) -> None:
        self.shard: Final = Shard(0)
        self.now_ms = start_ms
        self._offset = count()
        self._take(tick(start_ms))

    def send(self, type_: str, **data: object) -> list[Event]:
        """An input now, and all the work that follows from it at once."""
        model = INPUTS[type_].model_validate_json(orjson.dumps(data))
        offset = next(self._offset)
        record: InputRecord = {
            "type": type_,
            "version": 1,
            "id": str(offset),
            "source": "bench",
            "time_ms": self.now_ms,
            "origin": [model.TOPIC, 0, offset, self.now_ms],
            "data": orjson.loads(model.model_dump_json(exclude_defaults=True)),
        }
        return self._take(record)

    def until(self, now_ms: int) -> list[Event]:
        """Let time pass; every timer fires when it is due."""
        events: list[Event] = []
        while (due := next_due_ms(self.shard)) is not None and due <= now_ms:
            self.now_ms = max(self.now_ms, due)
            events += self._take(tick(self.now_ms))
        self.now_ms = now_ms
        return events + self._take(tick(now_ms))

    def _take(self, record: InputRecord) -> list[Event]:
        events: list[Any] = list(decide(self.shard, record))
        while work_due(self.shard, self.now_ms):
            events += decide(self.shard, tick(self.now_ms))
        return events
