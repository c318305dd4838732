"""The past: a shard's state as it stood at a moment or after a commit.

It is folded from its journal, from the nearest snapshot before on where there is one.
"""

from collections import Counter
from collections.abc import Callable
from typing import Any, Final, NamedTuple

from orchestrator.core import decide as core
from orchestrator.core.ledger import Bin
from orchestrator.core.orders import Order, recalled
from orchestrator.core.shard import Shard
from orchestrator.runtime.snapshots import Format, Snapshots
from orchestrator.runtime.whole import Whole
from orchestrator.runtime.world import SystemClock, SystemRandomness
from schemas import journal
from schemas.journal import Commit, Entry, FilterState, JournalError, Verdict
from schemas.ports import EventLog, LogError, OutOfRange, Partition
from schemas.times import rfc3339
from schemas.voids import Voids

_LOOKED_BACK: Final = 20  # records before a snapshot in which its clock is looked for

Json = dict[str, Any]


class Until(NamedTuple):
    """How far to fold: all that happened up to a moment of the shard's clock, or up to a commit."""

    time_ms: int | None = None
    seq: int | None = None

    def holds(self, at: "At") -> bool:
        """Whether an entry happened by then."""
        if self.seq is not None:
            return at.seq <= self.seq
        return at.time_ms <= (self.time_ms or 0)


class At(NamedTuple):
    """Where an entry stands, and the shard's clock then."""

    shard: int
    seq: int
    entry: int
    time_ms: int


Visit = Callable[[Shard, At, Entry], None]
"""Hears of an entry just before it is folded."""


class Past(NamedTuple):
    """A shard as it stood; `seq` is the newest commit that is in it, if only in part."""

    shard: Shard
    seq: int


async def past(
    log: EventLog,
    number: int,
    until: Until,
    advanced: Callable[[int, int], None] = lambda *_: None,
    form: Format[Shard] | None = None,
    *,
    since: Until | None = None,
    visit: Visit = lambda *_: None,
) -> Past:
    """Fold a journal until then; JournalError where it can't be read, LogError.

    Time is that of the ticks in the journal: an entry that stands behind a later one happened
    later. `form`: how snapshots are read; without it the journal is folded from its beginning.
    `visit` hears of every entry after `since` at least.
    """
    partition = Partition("journal", number)
    end = (await log.bounds(partition)).next
    voids = Voids(log)
    await voids.read()
    shard, state = await nearest(log, number, since or until, form, voids)
    async with Whole(log, partition, state.next) as reading:
        async for reads in reading:
            for read in reads:
                after, record, verdict = voids.take(number, state, read, folds=True)
                if isinstance(record, Commit) and verdict is Verdict.VALID:
                    if until.seq is not None and record.seq > until.seq:
                        return Past(shard, state.seq)
                    whole_commit, folded = _fold(shard, record, until, visit)
                    if not whole_commit:
                        return Past(shard, after.seq if folded else state.seq)
                state = after
            advanced(state.next, end)
    return Past(shard, state.seq)


async def nearest(
    log: EventLog, number: int, until: Until, form: Format[Shard] | None, voids: Voids
) -> tuple[Shard, FilterState]:
    """The newest snapshot that holds nothing later, else an empty shard."""
    if form is None or "snapshots" not in await log.describe():
        return Shard(number), FilterState()

    async def by_then(state: FilterState) -> bool:
        if until.seq is not None:
            return state.seq <= until.seq
        newest_ms = await newest_tick(log, number, state.next, voids)
        return newest_ms is not None and newest_ms <= (until.time_ms or 0)

    snapshots = Snapshots(
        number, log=log, clock=SystemClock(), randomness=SystemRandomness(), form=form
    )
    journal_id = await voids.journal_id(number)
    async for found in snapshots.manifests():
        if found.filter.journal_id == journal_id and await by_then(found.filter):
            try:
                voids.begin(number, found.filter, folds=False)
                snapshots.check(found)
                return await snapshots.restore(found), found.filter
            except Exception as error:  # torn, or of another release: the one before may do
                if isinstance(error, LogError) and not isinstance(error, OutOfRange):
                    raise
    return Shard(number), FilterState()


async def newest_tick(log: EventLog, number: int, next_: int, voids: Voids) -> int | None:
    """The shard's clock before this journal offset; None where no commit is just before."""
    at = max(0, next_ - _LOOKED_BACK)
    newest: int | None = None
    async with Whole(log, Partition("journal", number), at) as reading:
        async for reads in reading:
            for read in reads:
                if read.offset >= next_:
                    return newest
                if voids.hold(number, read.offset):
                    continue
                record = journal.decode(read.value, read.offset)
                if isinstance(record, Commit):  # a stale writer's clock is no earlier than this
                    newest = max(newest or 0, record.now_ms)
    return newest


def _fold(shard: Shard, commit: Commit, until: Until, visit: Visit) -> tuple[bool, bool]:
    """Take in what happened by then: whether that was all of it, and whether it was any of it."""
    for number, entry in enumerate(commit.entries):
        cause = entry["input"]
        time_ms = shard.now_ms if "origin" in cause else cause["time_ms"]
        at = At(shard.number, commit.seq, number, time_ms)
        if not until.holds(at):
            return False, number > 0
        visit(shard, at, entry)
        try:
            core.fold(shard, entry)
        except Exception as error:
            raise JournalError(
                f"entry {number} of commit {commit.seq} of shard {shard.number} contradicts the"
                f" state before it: {error!r}"
            ) from error
    return True, True


def order_then(shard: Shard, key: str) -> list[Json]:
    """An order (`<channel>/<order id>`) as each market of the shard had it."""
    found: list[Json] = []
    for market in shard.markets.values():
        order = market.orders.get(key)
        if order is not None:
            found.append(_order(order))
        elif key in market.retired:
            channel, _, order_id = key.partition("/")
            _, status = recalled(market.retired[key])
            about = {"channel": channel, "order_id": order_id, "market_id": market.market_id}
            found.append({**about, "status": status, "closed": True})
    return found


def _order(order: Order) -> Json:
    return {
        "channel": order.channel,
        "order_id": order.order_id,
        "market_id": order.market_id,
        "status": order.status(),
        "promised_by": None if order.promised_ms is None else rfc3339(order.promised_ms),
        "lines": [
            {
                "line_id": line.line_id,
                "sku": line.sku,
                "quantity": line.quantity,
                "open": line.open,
                "allocated": line.allocated,
                "backordered": line.backordered,
                "shipped": line.shipped,
                "delivered": line.delivered,
                "cancelled": line.cancelled,
            }
            for line in order.lines
        ],
        "fulfillments": [
            {
                "fulfillment_id": one.fulfillment_id,
                "node_id": one.node_id,
                "status": one.status,
                "request_status": one.request_status,
                "lines": [line.units(line.asked) for line in one.lines],
            }
            for one in order.fulfillments
        ],
    }


def stock_then(shard: Shard, sku: str) -> list[Json]:
    """An item at each node of the shard that had a movement of it."""
    return [
        {"node_id": node_id, "market_id": market.market_id, **_units(stock)}
        for market in shard.markets.values()
        for node_id, stock in sorted(market.bins.get(sku, {}).items())
    ]


def _units(stock: Bin) -> dict[str, int]:
    return {
        "on_hand": stock.on_hand,
        "reserved": stock.reserved,
        "held": stock.set_aside,
        "available": stock.available,
    }


def summary_then(shard: Shard) -> Json:
    """What the shard held in all."""
    statuses: Counter[str] = Counter()
    units: Counter[str] = Counter()
    waiting = 0
    for market in shard.markets.values():
        statuses.update(order.status() for order in market.orders.values())
        statuses.update(recalled(kept)[1] for kept in market.retired.values())
        waiting += sum(market.backordered.values())
        for shelf in market.bins.values():
            for stock in shelf.values():
                units.update(_units(stock))
    return {
        "orders": dict(sorted(statuses.items())),
        "orders_open": shard.orders_open,
        "units": dict(units),
        "units_backordered": waiting,
        "exceptions_open": len(shard.exceptions),
        "markets": sorted(shard.markets),
    }
