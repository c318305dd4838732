"""`headrace rules compare`: what a rule set in shadow would have decided otherwise."""

from collections import Counter
from typing import Annotated, Any, Final

import orjson
import typer
from rich.console import Console
from rich.table import Table

from events.decided import COMPONENTS, PAID
from orchestrator.commands.bars import Advanced, bars
from orchestrator.commands.connection import load_settings, run_on_kafka
from orchestrator.runtime.whole import Whole
from schemas.money import difference, money
from schemas.ports import EventLog, LogError, Partition

Json = dict[str, Any]

_TYPE: Final = b"headrace.shadow_decided.v1"
_PAID: Final = COMPONENTS[:PAID]
_SHOWN: Final = 10


class Compared:
    """Decisions of one shadow, beside the active ones; each position counts once."""

    def __init__(self, market_id: str, version: str) -> None:
        self.market_id = market_id
        self.version = version
        self.currency = ""
        self.orders = 0
        self._positions: set[str] = set()
        self._sides = {"active": Counter[str](), "shadow": Counter[str]()}
        self._flips: list[Json] = []

    def take(self, told: Json) -> None:
        """A `shadow_decided`."""
        of = (told["market_id"], told["rule_set"])
        if of != (self.market_id, self.version) or told["position"] in self._positions:
            return
        self._positions.add(told["position"])
        active = told.get("active")
        if active is None:
            return
        self.orders += 1
        self.currency = told["currency"]
        for name, side in (("active", active), ("shadow", told)):
            counts = self._sides[name]
            counts["paid_minor"] += _paid(side)
            counts["packages"] += len(side["fulfillments"])
            counts["split_orders"] += len(side["fulfillments"]) > 1
            counts["orders_that_wait"] += bool(side["backordered"])
            counts["units_that_wait"] += sum(one["quantity"] for one in side["backordered"])
        if not told["same"]:
            self._flips.append(told)

    def as_json(self, show: int) -> Json:
        """Money in minor units; flips whose paid costs differ most first."""
        told = [
            {
                "order": f"{one['channel']}/{one['order_id']}",
                "position": one["position"],
                "active_position": one["active"]["position"],
                "decided_at": one["recorded_at"],
                "active": [leg["node_id"] for leg in one["active"]["fulfillments"]],
                "shadow": [leg["node_id"] for leg in one["fulfillments"]],
                "paid_difference_minor": _paid(one) - _paid(one["active"]),
            }
            for one in self._flips
        ]
        told.sort(key=lambda one: (-abs(one["paid_difference_minor"]), one["position"]))
        counted = ("paid_minor", "packages", "split_orders", "orders_that_wait", "units_that_wait")
        return {
            "market_id": self.market_id,
            "version": self.version,
            "currency": self.currency,
            "orders": self.orders,
            "decided_otherwise": len(self._flips),
            "decided_otherwise_rate": len(self._flips) / self.orders if self.orders else None,
            **{name: {one: counts[one] for one in counted} for name, counts in self._sides.items()},
            "flips": told[:show],
        }


def _paid(side: Json) -> int:
    return sum(side["costs_minor"].get(name, 0) for name in _PAID)


async def read_shadow(log: EventLog, compared: Compared, advanced: Advanced) -> None:
    """All of the topic `history` up to its end; LogError."""
    topics = await log.describe()
    if "history" not in topics:
        raise LogError("the topic history is missing: run `headrace topics create`")
    for number in range(topics["history"].partitions):
        async with Whole(log, Partition("history", number)) as reading:
            async for reads in reading:
                advanced(f"History {number}", reads[-1].offset + 1, reading.end)
                for read in reads:
                    if dict(read.headers).get("ce_type") == _TYPE:
                        compared.take(orjson.loads(read.value or b"{}"))


def compare(
    *,
    market: Annotated[str, typer.Option("--market", help="The market.")],
    version: Annotated[str, typer.Option("--version", help="The version that ran in shadow.")],
    show: Annotated[int, typer.Option("--show", min=0, help="How many orders to show.")] = _SHOWN,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object.")] = False,
) -> None:
    """Say how many orders a shadow would have decided otherwise, and what that would have cost.

    Each order is compared as it was accepted, in the world that the active rules made (an open
    loop): what would have followed from other decisions, only `headrace whatif` can say.

    Examples:
      headrace rules compare --market US --version 8
      headrace rules compare --market US --version 8 --show 100 --json
    """
    compared = Compared(market, version)

    async def work(log: EventLog) -> None:
        with bars() as advanced:
            await read_shadow(log, compared, advanced)

    run_on_kafka(load_settings(), work)
    told = compared.as_json(show)
    if as_json:
        typer.echo(orjson.dumps(told).decode())
        return
    if not compared.orders:
        typer.echo(
            f"Nothing was decided in shadow by version {version} of {market}. It has to be begun"
            f" (`headrace rules shadow --market {market} --version {version}`), role shadow has to"
            " run (`headrace run --roles shadow`), and orders have to come."
        )
        return
    _show(told)


def _show(told: Json) -> None:
    console = Console()
    count, otherwise = told["orders"], told["decided_otherwise"]
    console.print(
        f"Version {told['version']} of {told['market_id']} would have decided {otherwise:,} of"
        f" {count:,} orders otherwise ({otherwise / count:.1%}).",
        highlight=False,
    )
    table = Table("", "active", "shadow", box=None)
    for column in table.columns[1:]:
        column.justify = "right"
    active, shadow = told["active"], told["shadow"]
    for name in ("paid_minor", "packages", "split_orders", "orders_that_wait", "units_that_wait"):
        if name == "paid_minor":
            table.add_row(
                "Transport, handling, per unit",
                money(active[name], told["currency"]),
                money(shadow[name], told["currency"]),
            )
        else:
            words = name.replace("_", " ").capitalize()
            table.add_row(words, f"{active[name]:,}", f"{shadow[name]:,}")
    console.print(table, highlight=False)
    for one in told["flips"]:
        was, now = (" + ".join(one[side]) or "waits" for side in ("active", "shadow"))
        cost = difference(one["paid_difference_minor"], told["currency"])
        console.print(f"{one['order']}: {was} → {now}, {cost}", highlight=False, markup=False)
