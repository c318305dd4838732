"""The simulator's world in real time, so that its ports can be held to what real servers do."""

import asyncio
from dataclasses import replace
from random import Random
from typing import cast

from orchestrator.runtime.world import SystemClock
from tests.simulation.loop import SimLoop
from tests.simulation.plan import Fault, a_plan
from tests.simulation.world import World


class RealTime(World):
    """The simulator's world without its loop and without faults but those that are asked for."""

    def __init__(self) -> None:
        super().__init__(replace(a_plan(1), rates={}))
        self.loop.close()
        self.loop = cast("SimLoop", asyncio.get_running_loop())
        self.chance = _Soon()
        self.clock = SystemClock()

    def now_ms(self) -> int:
        """The system's time."""
        return self.clock.now_ms()

    def strike_next(self, fault: Fault) -> None:
        """The next call that something may happen to meets this."""
        self.plan = replace(self.plan, strike_at=(self._choices, fault))


class _Soon(Random):
    """What takes a while takes not long."""

    def random(self) -> float:
        return 0.05
