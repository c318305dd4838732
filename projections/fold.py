"""Journal entries to row changes: pure, and the only way to rows."""

from collections.abc import Callable, Iterator, Mapping
from typing import Any, NamedTuple, TypeAlias

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
from projections.schema import Kind
from projections.tables import TABLES, Changes, Table
from schemas.journal import Commit, happened
from schemas.times import rfc3339

Handler: TypeAlias = Callable[[Changes, At, InputRecord, Any], None]

Handlers: TypeAlias = Mapping[str, tuple[Handler, ...]]


def handlers_of(*modules: Mapping[str, Handler]) -> Handlers:
    """What handles an event of each type, of all these."""
    found: dict[str, tuple[Handler, ...]] = {}
    for on in modules:
        for type_, handler in on.items():
            found[type_] = (*found.get(type_, ()), handler)
    return found


HANDLERS = handlers_of(
    orders.ON,
    fulfillments.ON,
    stock.ON,
    network.ON,
    decisions.ON,
    exceptions.ON,
    rule_sets.ON,
    timeline.ON,
)


class Model(NamedTuple):
    """What one projector writes: the tables of a schema, and how commits change them."""

    kind: Kind
    tables: Mapping[str, Table]
    project: Callable[[Changes, int, Commit], Iterator[int]]


def project(
    changes: Changes, shard: int, commit: Commit, handlers: Handlers = HANDLERS
) -> Iterator[int]:
    """Add a valid commit to the changes, an entry a step; each is named by its number before it.

    Events that no handler is for change nothing.
    """
    time = rfc3339(commit.now_ms)
    entry = -1
    for number, n, cause, event in happened(commit):
        if number != entry:
            yield number
            entry = number
            first = commit.entries[entry]["input"]
            if "origin" not in first:  # a tick, made by the shard's own writer
                time = rfc3339(first["time_ms"])
        found = handlers.get(event["type"])
        if found is not None:
            at = At(shard, commit.seq, number, n, time)
            for handle in found:
                handle(changes, at, cause, event)


READ_MODELS = Model("read models", TABLES, project)
