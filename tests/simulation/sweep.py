"""Fixed scenarios, each run once for every place that it may crash at and every way a call ends."""

from collections import defaultdict
from collections.abc import Iterator
from dataclasses import replace
from typing import Final

from orchestrator.runtime.engine import EngineConfig
from tests.simulation.plan import Change, Fault, Oddity, Plan
from tests.simulation.run import Run

_POLLS: Final = ("before read", "before changes")
_OF_A_POLL: Final = 2
"""Crashes at a place where nothing has happened since the last time."""

_ALIKE: Final = {
    Fault.APPEND_REFUSED,
    Fault.APPEND_SLOW,
    Fault.APPEND_TWICE_LATE,
    Fault.SAVE_SLOW,
}
"""Ends of a call that others of a sweep stand for."""

_SLOWLY: Final = {Fault.SAVE_SLOW: 1.0}
"""A host that is told to stop has positions then that are not saved yet."""
_MOVING: Final = {Fault.REBALANCED: 3, Fault.STOPPED: 6}
_RESTORED: Final = {
    Fault.STOPPED: 4,
    Fault.REBALANCED: 3,
    Fault.OFFSETS_EXPIRED: 2,
    Fault.SNAPSHOT_TORN: 0.2,
}
"""Shards are opened from snapshots, some of them torn; intake looks for its offsets."""
_RACES: Final = {Oddity.RACED: 1.0, Oddity.SHORT: 0.3, Oddity.REPEATED: 0.2}


def _scenario(name: str, seed: int) -> Plan:
    return Plan(
        seed=seed,
        orders=2,
        shards=1,
        partitions=1,
        hosts=2,
        together=True,
        span_s=1.0,
        calm_s=1.5,
        thinking_s=0.0,
        shuffled=True,
        patience=3.0,
        engine=EngineConfig(failed_pause_s=0.2, fenced_pause_s=1.0, trim_s=0.2, trim_margin=0),
        scenario=name,
    )


SCENARIOS: Final = {
    one.scenario: one
    for one in (
        replace(_scenario("plain", 1031), together=False, shuffled=False),
        replace(_scenario("shards", 1064), shards=2),
        replace(_scenario("zombie", 11), rates={Fault.DEAF: 2, Fault.FROZEN: 2}),
        replace(_scenario("moving", 707), patience=1.0, rates=_MOVING),
        replace(
            _scenario("beside", 1),
            beside=("history", "past", "shadow"),
            changes=(Change.SHADOW,),
            transactions=True,
            snapshot_events=10,
            rates=_SLOWLY,
            stops_after="append inbox",
        ),
        replace(
            _scenario("restored", 99),
            patience=1.0,
            snapshot_events=10,
            voided=True,
            rates=_RESTORED,
        ),
        replace(_scenario("races", 1153), rates={Fault.POISONED: 1}, oddities=_RACES),
    )
}


def variations(plan: Plan, of_a_place: int | None = None) -> Iterator[Plan]:
    """The scenario once for every resume point and for every outcome of each call.

    A place is come by many times; `of_a_place` of them, spread over the run, may be enough.
    """
    run = Run(plan)
    seen = run.world.seen = []
    run.go()
    crashes = defaultdict[tuple[str, str, str], list[Plan]](list)
    ends = defaultdict[tuple[tuple[str, str], Fault], list[Plan]](list)
    for index, site in enumerate(seen):
        crashes[site].append(replace(plan, crash_at=index))
    for index, (place, faults) in enumerate(run.world.might):
        for fault in faults:
            if fault not in _ALIKE:
                ends[place, fault].append(replace(plan, strike_at=(index, fault)))
    for site, plans in crashes.items():
        yield from plans[:_OF_A_POLL] if site[2] in _POLLS else _spread(plans, of_a_place)
    for plans in ends.values():
        yield from _spread(plans, of_a_place)


def _spread(plans: list[Plan], count: int | None) -> list[Plan]:
    """The first, the last, and others between them at even distances, `count` in all."""
    if count is None or len(plans) <= count:
        return plans
    return [plans[number * (len(plans) - 1) // (count - 1)] for number in range(count)]
