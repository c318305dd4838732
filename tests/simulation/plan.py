"""What a seed stands for: how many of whom, which faults and how often."""

import random
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from enum import StrEnum

from orchestrator.runtime.engine import EngineConfig


class Fault(StrEnum):
    """What goes wrong."""

    APPEND_REFUSED = "append refused"
    APPEND_LOST = "append lost"  # of unknown outcome, and nothing landed
    APPEND_UNANSWERED = "append unanswered"  # landed, but the acknowledgement is lost
    APPEND_LATE = "append late"  # of unknown outcome, and lands when its writer is long dead
    APPEND_TWICE = "append twice"  # the client tried again: two batches, the second acknowledged
    APPEND_TWICE_LATE = "append twice late"  # the same, the second one landing later
    APPEND_SLOW = "append slow"
    READ_FAILED = "read failed"
    READ_SLOW = "read slow"
    SAVE_FAILED = "save failed"  # a checkpoint of a group: nothing is kept
    SAVE_UNANSWERED = "save unanswered"  # kept, but the answer is lost
    SAVE_SLOW = "save slow"
    SNAPSHOT_TORN = "snapshot torn"  # while it is read: retention, compaction, a bad disk
    OFFSETS_EXPIRED = "offsets expired"
    REBALANCED = "rebalanced"
    BROKER_GONE = "broker gone"  # for up to minutes
    BROKER_SILENT = "broker silent"  # for seconds no fetch is answered
    DATABASE_FAILED = "transaction failed"
    DATABASE_UNANSWERED = "commit unanswered"
    DATABASE_LATE = "commit late"  # of unknown outcome, and happens when its asker is long gone
    CRASHED = "crashed"
    STOPPED = "stopped"  # told to, in the middle of anything, and replaced
    FROZEN = "frozen"  # stopped, and goes on later as if nothing had been
    DEAF = "deaf"  # doesn't hear that its shards were given to another
    CLOCK_JUMPED = "clock jumped"
    POISONED = "poisoned"  # an input on which deciding raises: a person has it skipped
    MISHELPED = "mishelped"  # an order to skip fails as well: a person gives another
    FOREIGN = "foreign input"  # JSON in an inbox that is no input: a person has it skipped


class Oddity(StrEnum):
    """What partners do that they shouldn't, or not then."""

    REPEATED = "repeated"  # the same record again
    TOLD_AGAIN = "told again"  # the same under a new id
    CONTRADICTED = "contradicted"
    LATE = "late"
    RACED = "cancelled while shipping"
    SHORT = "rejected"
    COUNTED = "counted while cancelling"
    GARBAGE = "garbage"
    IN_PART = "rejected in part while cancelling"


class Meeting(StrEnum):
    """What several faults must come to in some run: that each of them struck doesn't say so."""

    TORN_BETWEEN = "snapshot torn between manifest and chunk"
    TRIMMED_BEYOND = "inbox trimmed beyond a slow engine"


class Change(StrEnum):
    """What operations change while orders flow."""

    RULES = "rules activated"
    HELD = "rules that hold plans activated"
    BAD_RULES = "rules refused"
    SHADOW = "rules in shadow"
    SERVICE = "carrier service changed"
    LANE = "lane suspended"
    INBOUND = "inbound announced"
    CAPACITY = "capacity set"
    NODE = "node closed"
    MOVED = "market or node moved"  # which is rejected


@dataclass(frozen=True)
class Plan:
    """One run. What is not said is drawn from the seed."""

    seed: int
    orders: int
    shards: int
    partitions: int  # of public topics
    hosts: int  # of each role
    together: bool  # whether a host has all roles
    span_s: float  # how long channels send
    calm_s: float  # what may go wrong does so until then
    thinking_s: float  # how much time passes when code looks at the clock
    shuffled: bool
    patience: float  # how many times as long as asked an idle call waits
    engine: EngineConfig
    beside: Sequence[str] = ()  # roles that decide nothing: history, past, shadow
    transactions: bool = False  # whether relays publish in them
    snapshot_events: int | None = None  # between two of them; None: nobody stands by
    rates: Mapping[Fault, float] = field(default_factory=dict)
    oddities: Mapping[Oddity, float] = field(default_factory=dict)
    changes: Sequence[Change] = ()
    voided: bool = False
    """Whether a person has said of another shard what is void, so that lists are not empty."""
    scenario: str = ""
    """Of a sweep: which one; then a run need not see a fence, a backorder, a race."""
    crash_at: int | None = None
    """The suspension of a port's call that a host crashes at, counted from 0."""
    stops_after: str = ""
    """Of a sweep: the call at whose second answer each host is told to stop."""
    strike_at: tuple[int, Fault] | None = None
    """The call that may fail, counted from 0, and how it does."""


_MOST = {  # how often it happens at the most: of calls, or (the last ten) times in a run
    Fault.APPEND_REFUSED: 0.06,
    Fault.APPEND_LOST: 0.06,
    Fault.APPEND_UNANSWERED: 0.1,
    Fault.APPEND_LATE: 0.06,
    Fault.APPEND_TWICE: 0.1,
    Fault.APPEND_TWICE_LATE: 0.1,
    Fault.APPEND_SLOW: 0.2,
    Fault.READ_FAILED: 0.01,
    Fault.READ_SLOW: 0.05,
    Fault.SAVE_FAILED: 0.1,
    Fault.SAVE_UNANSWERED: 0.1,
    Fault.SAVE_SLOW: 0.2,
    Fault.DATABASE_FAILED: 0.1,
    Fault.DATABASE_UNANSWERED: 0.1,
    Fault.DATABASE_LATE: 0.05,
    Fault.SNAPSHOT_TORN: 0.3,
    Fault.CRASHED: 0.06,
    Fault.MISHELPED: 1.0,
    Fault.OFFSETS_EXPIRED: 2,
    Fault.REBALANCED: 8,
    Fault.BROKER_GONE: 1.5,
    Fault.STOPPED: 3,
    Fault.FROZEN: 3,
    Fault.DEAF: 2,
    Fault.CLOCK_JUMPED: 3,
    Fault.POISONED: 1.5,
    Fault.FOREIGN: 1.5,
    Fault.BROKER_SILENT: 3,
}

_LATER = (Fault.MISHELPED, Fault.FOREIGN, Fault.BROKER_SILENT)
_ODD_LATER = (Oddity.IN_PART,)
"""Drawn when all else is, so that seeds stand for the runs that they stood for before."""

_HAVE = {Fault.CRASHED: 0.85}
"""In how many runs it may happen, where that is not every second one."""

_CHANGED = {  # in how many runs; those that hold plans take a virtual minute more
    **dict.fromkeys(Change, 0.25),
    Change.HELD: 0.1,
    Change.SHADOW: 0.1,  # and wherever somebody tells of it
}
_ODD = {Oddity.COUNTED: 0.8, Oddity.IN_PART: 0.8}
"""How often it happens at the most, where that is not to every third one."""


def a_plan(
    seed: int, *, orders: int | None = None, without: Iterable[Fault | Oddity | Change] = ()
) -> Plan:
    """The run that a seed stands for, or a smaller one: fewer orders, without some faults."""
    chance = random.Random(f"{seed}/plan")
    left_out = frozenset(without)
    rates = dict[Fault, float]()
    for fault in Fault:
        if fault not in _LATER:
            _draw(chance, fault, rates)
    oddities = dict[Oddity, float]()
    for oddity in Oddity:
        if oddity not in _ODD_LATER:
            _draw_odd(chance, oddity, oddities)
    changes = [
        change
        for change in Change
        if chance.random() < _CHANGED[change]
        for _ in range(chance.randint(1, 3))
    ]
    span_s = chance.choice((4.0, 8.0, 15.0))
    plan = Plan(
        seed=seed,
        orders=chance.randint(8, 14),
        shards=chance.choice((1, 2, 2, 3)),
        partitions=chance.choice((1, 2, 3)),
        hosts=chance.choice((2, 2, 3)),
        together=chance.random() < 0.3,
        span_s=span_s,
        calm_s=span_s + 4,
        thinking_s=chance.choice((0.0, 0.0, 1e-5, 5e-4)),
        shuffled=chance.random() < 0.8,
        patience=chance.choice((1.0, 3.0, 3.0, 3.0)),
        engine=EngineConfig(
            batch_ms=chance.choice((5, 40, 40)),
            failed_pause_s=chance.choice((0.2, 1.0)),
            fenced_pause_s=chance.choice((2.0, 10.0)),
            trim_s=chance.choice((0.5, 3.0, 60.0)),
            trim_margin=chance.choice((0, 0, 10)),
        ),
        snapshot_events=chance.choice((None, None, 40, 150)),
        rates=rates,
        oddities=oddities,
        changes=[one for one in changes if one not in left_out],
        transactions=chance.random() < 0.3,
        beside=[role for role in ("history", "past", "shadow") if chance.random() < 0.15],
    )
    for fault in _LATER:
        _draw(chance, fault, rates)
    for oddity in _ODD_LATER:
        _draw_odd(chance, oddity, oddities)
    for fault in [fault for fault in rates if fault in left_out]:
        del rates[fault]
    for oddity in [oddity for oddity in oddities if oddity in left_out]:
        del oddities[oddity]
    if "shadow" in plan.beside and Change.SHADOW not in left_out:
        plan = replace(plan, changes=[*plan.changes, Change.SHADOW])
    return plan if orders is None else replace(plan, orders=orders)


def _draw(chance: random.Random, fault: Fault, rates: dict[Fault, float]) -> None:
    """Whether a run has it, and how often."""
    rate = _MOST[fault] * chance.random() ** 2
    if chance.random() < _HAVE.get(fault, 0.5):
        rates[fault] = rate


def _draw_odd(chance: random.Random, oddity: Oddity, oddities: dict[Oddity, float]) -> None:
    rate = _ODD.get(oddity, 0.3) * chance.random() ** 2
    if chance.random() < 0.7:
        oddities[oddity] = rate
