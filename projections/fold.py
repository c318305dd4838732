"""Journal entries to row changes, through every read model: pure, and the only way to rows."""

from collections.abc import Callable, Iterator
from typing import Any, TypeAlias

from events.decided import InputRecord
from projections import (
    decisions,
    exceptions,
    fulfillments,
    network,
    orders,
    rule_sets,
    stock,
    timeline,
)
from projections.at import At
from projections.tables import Changes
from schemas.journal import Commit, happened
from schemas.times import rfc3339

Handler: TypeAlias = Callable[[Changes, At, InputRecord, Any], None]

HANDLERS: dict[str, tuple[Handler, ...]] = {}
for _on in (
    orders.ON,
    fulfillments.ON,
    stock.ON,
    network.ON,
    decisions.ON,
    exceptions.ON,
    rule_sets.ON,
    timeline.ON,
):
    for _type, _handler in _on.items():
        HANDLERS[_type] = (*HANDLERS.get(_type, ()), _handler)


def project(changes: Changes, shard: int, commit: Commit) -> Iterator[None]:
    """Add a valid commit to the changes, an entry a step.

    Events that no read model shows change nothing.
    """
    time = rfc3339(commit.now_ms)
    entry = -1
    for number, n, cause, event in happened(commit):
        if number != entry:
            yield
            entry = number
            first = commit.entries[entry]["input"]
            if "origin" not in first:  # a tick, made by the shard's own writer
                time = rfc3339(first["time_ms"])
        handlers = HANDLERS.get(event["type"])
        if handlers is not None:
            at = At(shard, commit.seq, number, n, time)
            for handle in handlers:
                handle(changes, at, cause, event)
