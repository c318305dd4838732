"""`python -m bench.outcomes`: what customers and the till see, against a rule of thumb.

Simulated weeks of a shop with two warehouses and sixteen stores: the same demand and the same luck
for the real core and for two legacy rules (central warehouse first; then the nearest store only,
or the nearest that has it). Written to `bench/results/outcomes.json`, which is committed: the same
code writes the same file.
"""

import argparse
from collections.abc import Callable, Sequence
from statistics import mean, stdev
from typing import Final, NamedTuple

from rich.table import Table

from bench import report
from bench.outcomes.headrace import STORES_KEEP, Headrace
from bench.outcomes.legacy import Legacy
from bench.outcomes.scenario import CARRIERS, Scenario
from bench.outcomes.world import Measures, System, World
from bench.report import say

SEEDS: Final = (0, 1, 2, 3, 4)


class Setting(NamedTuple):
    """What is turned to see how much rests on it."""

    name: str
    room: float  # every node's capacity, over the usual
    supply: float  # what every node is filled up to, over the usual
    carriers: Sequence[str] = CARRIERS


SETTINGS: Final = (
    Setting("usual", 1.0, 1.0),
    Setting("capacity tight", 0.85, 1.0),
    Setting("capacity loose", 1.6, 1.0),
    Setting("stock tight", 1.0, 0.7),
    Setting("one carrier", 1.0, 1.0, CARRIERS[:1]),
)
SYSTEMS: Final[dict[str, Callable[[Scenario], System]]] = {
    "legacy, nearest store": lambda scenario: Legacy(scenario, 1),
    "legacy, any store": lambda scenario: Legacy(scenario, len(scenario.sites)),
    "Headrace": Headrace,
    "Headrace, stores keep 1": lambda scenario: Headrace(scenario, STORES_KEEP),
}
BASELINES: Final = tuple(SYSTEMS)[:2]
"""What `Headrace` is compared with."""


class Shown(NamedTuple):
    """How a measure reads."""

    title: str
    factor: float
    unit: str


COLUMNS: Final = {
    "on_time": Shown("on time", 100, " %"),
    "on_time_expedited": Shown("expedited", 100, " %"),
    "stockouts": Shown("stockouts", 100, " %"),
    "split": Shown("split", 100, " %"),
    "cost_minor": Shown("$ an order", 0.01, ""),
    "lead_days": Shown("days", 1, ""),
    "walk_ins_lost": Shown("walk-ins lost", 100, " %"),
}


def main() -> None:
    """Run every system in every setting over the seeds; print the table, write the results."""
    arguments = argparse.ArgumentParser(
        prog="python -m bench.outcomes",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    arguments.add_argument("--seeds", type=int, nargs="+", default=SEEDS, help="default 0 to 4")
    names = [setting.name for setting in SETTINGS]
    arguments.add_argument("--settings", nargs="+", choices=names, default=names)
    given = arguments.parse_args()
    rows: list[dict[str, object]] = []
    for setting in SETTINGS:
        if setting.name not in given.settings:
            continue
        found = measure(setting, given.seeds)
        report.console.print(table(setting, found))
        rows += as_json(setting, found)
    if given.settings == names:
        content = {"seeds": list(given.seeds), "rows": rows}
        say(f"written: bench/results/{report.write('outcomes', content).name}")


def measure(setting: Setting, seeds: Sequence[int]) -> dict[str, list[Measures]]:
    """Measures by system and seed."""
    found: dict[str, list[Measures]] = {}
    for seed in seeds:
        scenario = Scenario(
            seed, room=setting.room, supply=setting.supply, carriers=setting.carriers
        )
        for name, make in SYSTEMS.items():
            found.setdefault(name, []).append(World(scenario, make(scenario)).run())
        say(f"outcomes: {setting.name}, seed {seed}")
    return found


def differences(found: dict[str, list[Measures]], name: str, column: str) -> list[float]:
    """Headrace against another system, in percent of the other's, by seed."""
    pairs = zip(found[name], found["Headrace"], strict=True)
    return [
        100 * (getattr(ours, column) / theirs - 1)
        for other, ours in pairs
        if (theirs := getattr(other, column))
    ]


def table(setting: Setting, found: dict[str, list[Measures]]) -> Table:
    """For a person: means with their standard deviation over the seeds."""
    shares = f"{setting.room:.0%} of the usual capacity, {setting.supply:.0%} of the stock"
    made = Table(title=f"{setting.name}: {shares}")
    made.add_column("")
    for shown in COLUMNS.values():
        made.add_column(shown.title, justify="right")
    for name, runs in found.items():
        cells = []
        for column, shown in COLUMNS.items():
            values = [shown.factor * getattr(one, column) for one in runs]
            cells.append(f"{mean(values):.1f}{_spread(values)}{shown.unit}")
        made.add_row(name, *cells, end_section=name == list(found)[-1])
    for name in BASELINES:
        cells = []
        for column in COLUMNS:
            values = differences(found, name, column)
            cells.append(f"{mean(values):+.0f}{_spread(values, 0)} %" if values else "")
        made.add_row(f"[dim]Headrace against {name}[/dim]", *cells)
    return made


def as_json(setting: Setting, found: dict[str, list[Measures]]) -> list[dict[str, object]]:
    """For a file."""
    return [
        {
            "setting": setting.name,
            "system": name,
            "orders": sum(one.orders for one in runs),
            **{
                column: {
                    "mean": round(mean(getattr(one, column) for one in runs), 4),
                    "by_seed": [round(getattr(one, column), 4) for one in runs],
                }
                for column in Measures._fields
                if column != "orders"
            },
        }
        for name, runs in found.items()
    ]


def _spread(values: Sequence[float], digits: int = 1) -> str:
    return f" ± {stdev(values):.{digits}f}" if len(values) > 1 else ""


if __name__ == "__main__":
    main()
