"""`make quality`: what sourcing's decisions cost above the least possible in hindsight.

make quality                        all instances and policies, about 2 minutes
make quality ARGS="--seeds 0"       one seed

Every policy serves the same orders from the same stock, one at a time. The bound knows all orders
before and may divide lines (a linear program), so that no policy can reach it. Written to
`bench/results/quality.json`, which is committed: the same code
writes the same file.
"""

import argparse
from collections.abc import Callable
from dataclasses import dataclass, field
from statistics import mean
from typing import Final

from rich.table import Table

from bench import report
from bench.quality import instances, policies
from bench.quality.bound import hindsight
from bench.quality.headrace import Headrace
from bench.quality.instances import Instance
from bench.quality.policies import Policy, Spent
from bench.report import say

SEEDS: Final = (0, 1, 2, 3)
STREAMS: Final[dict[str, tuple[Callable[[float, int], Instance], float]]] = {
    "generated": (instances.generated, 1.05),
    "real baskets": (instances.real, 1.1),
}
"""With their κ: units of stock over expected demand."""
POLICIES: Final[dict[str, Callable[[Instance], Policy]]] = {
    "nearest per line": lambda _: policies.nearest_per_line,
    "nearest complete": lambda _: policies.nearest_complete,
    "fewest splits": lambda _: policies.fewest_splits,
    "myopic exact": lambda _: policies.myopic_exact,
    "Headrace": Headrace,
}
"""The last should cost no more than the one before, which is written apart from the core."""
STATED: Final = {
    ("generated", "nearest per line"): 33.0,
    ("generated", "nearest complete"): 22.5,
    ("generated", "fewest splits"): 14.6,
    ("generated", "myopic exact"): 14.0,
    ("real baskets", "nearest per line"): 34.9,
    ("real baskets", "nearest complete"): 29.1,
    ("real baskets", "fewest splits"): 16.1,
    ("real baskets", "myopic exact"): 14.6,
}
"""Percent above the bound that prototypes of these policies came to, on instances of this kind."""
WITHIN: Final = 1.5


@dataclass(slots=True)
class Row:
    """A policy on one kind of stream, over the seeds."""

    stream: str
    policy: str
    orders: int = 0
    gaps: list[float] = field(default_factory=list)  # percent above the bound, by seed
    spent: list[Spent] = field(default_factory=list)

    @property
    def gap(self) -> float:
        """The mean."""
        return mean(self.gaps)

    def per_order(self, figure: str) -> float:
        """The mean of a figure of `Spent`, an order."""
        return float(sum(getattr(one, figure) for one in self.spent)) / self.orders

    def as_json(self) -> dict[str, object]:
        """For a file."""
        return {
            "stream": self.stream,
            "policy": self.policy,
            "above_bound_percent": round(self.gap, 2),
            "by_seed": [round(gap, 2) for gap in self.gaps],
            "stated_percent": STATED.get((self.stream, self.policy)),
            "cost_minor_per_order": round(self.per_order("cost"), 1),
            "packages_per_order": round(self.per_order("packages"), 4),
            "split_orders": round(self.per_order("split_orders"), 4),
            "supplier_units_per_order": round(self.per_order("supplier_units"), 4),
        }


def main() -> None:
    """Serve every stream by every policy, print the table, write the results."""
    arguments = argparse.ArgumentParser(
        prog="python -m bench.quality",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    arguments.add_argument("--seeds", type=int, nargs="+", default=SEEDS, help="default 0 1 2 3")
    given = arguments.parse_args()
    rows = measure(given.seeds)
    report.console.print(table(rows, given.seeds))
    content: dict[str, object] = {
        "seeds": list(given.seeds),
        "kappa": {name: kappa for name, (_, kappa) in STREAMS.items()},
        "rows": [row.as_json() for row in rows],
    }
    say(f"written: bench/results/{report.write('quality', content).name}")


def measure(seeds: list[int]) -> list[Row]:
    """All policies on all streams."""
    rows = [Row(stream, policy) for stream in STREAMS for policy in POLICIES]
    for stream, (make, kappa) in STREAMS.items():
        for seed in seeds:
            instance = make(kappa, seed)
            bound = hindsight(instance)
            say(f"quality: {stream}, seed {seed}: at least $ {bound / 100:,.0f}")
            for row in rows:
                if row.stream == stream:
                    spent = policies.run(instance, POLICIES[row.policy](instance))
                    row.gaps.append(100 * (spent.cost / bound - 1))
                    row.spent.append(spent)
                    row.orders += len(instance.orders)
    return rows


def table(rows: list[Row], seeds: list[int]) -> Table:
    """For a person."""
    made = Table(title=f"Headrace: cost above the hindsight bound, seeds {list(seeds)}")
    for name in ("stream", "policy"):
        made.add_column(name)
    for name in ("above bound", "by seed", "stated", "$ an order", "packages", "split", "supplier"):
        made.add_column(name, justify="right")
    for row in rows:
        stated = STATED.get((row.stream, row.policy))
        off = stated is not None and abs(row.gap - stated) > WITHIN
        made.add_row(
            row.stream,
            row.policy,
            f"{row.gap:.1f} %",
            f"{min(row.gaps):.1f}…{max(row.gaps):.1f}",
            "" if stated is None else f"{stated} %" + (" [bold red]OFF[/]" if off else ""),
            f"{row.per_order('cost') / 100:.2f}",
            f"{row.per_order('packages'):.3f}",
            f"{100 * row.per_order('split_orders'):.1f} %",
            f"{row.per_order('supplier_units'):.3f}",
            end_section=row.policy == list(POLICIES)[-1],
        )
    return made


if __name__ == "__main__":
    main()
