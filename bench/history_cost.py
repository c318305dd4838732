"""What role `history` costs the whole path: full load without it and with it, in turns.

Everything is on the same cores, so this is the most that it can cost: where there is room, it
delays nobody.
"""

from typing import Final

from bench import end_to_end
from bench.report import Figure, Result, say

_WITHOUT: Final = "three"
_WITH: Final = "three-history"
_SECONDS: Final = 30.0
_AT_LEAST: Final = 0.8


def run(*, quick: bool, runs: int) -> Result:
    """Measure each so often; who goes first changes, so that a slow minute meets both."""
    measured: dict[str, list[end_to_end.Measured]] = {_WITHOUT: [], _WITH: []}
    for number in range(runs):
        for layout in sorted(measured, reverse=number % 2 == 1):
            plan = end_to_end.Plan(layout, 5 if quick else _SECONDS, pilot_s=2 if quick else 5)
            say(f"history_cost: run {number + 1} of {runs}, layout {layout}")
            measured[layout].append(end_to_end.full_load(plan))
    speeds = {layout: [one.orders_s for one in its] for layout, its in measured.items()}
    pairs = [some / all_ for some, all_ in zip(speeds[_WITH], speeds[_WITHOUT], strict=True)]
    cpu_us = [
        sum(us for roles, us in one.cpu_us.items() if "history" in roles.split(","))
        for one in measured[_WITH]
    ]
    return Result(
        "history_cost",
        [
            Figure("orders without history", "orders/s", speeds[_WITHOUT]),
            Figure("orders with it", "orders/s", speeds[_WITH]),
            Figure("with it, of those without", "times", pairs, at_least=_AT_LEAST),
            Figure("its process's CPU an order", "µs", cpu_us),
            Figure(
                "history complete after the last order",
                "s",
                [one.history_late_s for one in measured[_WITH]],
            ),
        ],
    )
