"""Fixed scenarios, each run once for every place that it may crash at and every way a call ends."""

from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from typing import Final

from orchestrator.runtime.engine import EngineConfig
from tests.simulation.plan import Fault, Oddity, Plan
from tests.simulation.run import Run

_POLLS: Final = ("before read", "before changes")
_OF_A_POLL: Final = 2
"""Crashes at a place where nothing has happened since the last time."""

_ALIKE: Final = {Fault.APPEND_REFUSED, Fault.APPEND_SLOW, Fault.APPEND_TWICE_LATE}
"""Ends of a call that others of a sweep stand for."""

_MOVING: Final = {Fault.REBALANCED: 3, Fault.STOPPED: 6}
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
        replace(_scenario("zombie", 1099), rates={Fault.DEAF: 2, Fault.FROZEN: 2}),
        replace(_scenario("moving", 707), patience=1.0, rates=_MOVING),
        replace(_scenario("races", 1153), rates={Fault.POISONED: 1}, oddities=_RACES),
    )
}


def variations(plan: Plan) -> Iterator[Plan]:
    """The scenario once for every resume point and for every outcome of each call."""
    run = Run(plan)
    seen = run.world.seen = []
    run.go()
    polls = Counter[tuple[str, str, str]]()
    for index, site in enumerate(seen):
        if site[2] in _POLLS:
            polls[site] += 1
            if polls[site] > _OF_A_POLL:
                continue
        yield replace(plan, crash_at=index)
    for index, faults in enumerate(run.world.might):
        for fault in faults:
            if fault in _ALIKE:
                continue
            yield replace(plan, strike_at=(index, fault))
