"""Every row of every transition table counts: dropped, redirected or silenced, it is noticed.

Line mutants don't reach tables at module level. So shards live through random days, and each row
is sabotaged in turn where a journaled entry used it: what is decided, folded or followed there must
come out otherwise.
"""

from collections.abc import Callable, Iterator, Mapping
from functools import cache
from itertools import islice
from typing import Any, Final, NamedTuple

import orjson
import pytest

from events.decided import InputRecord
from orchestrator.core.config import Config
from orchestrator.core.decide import DECIDE, TIMERS, decide, fold, skip
from orchestrator.core.evolve import EVOLVE
from orchestrator.core.following import BALANCES, FOLLOW, follow
from orchestrator.core.shard import Contradiction, Shard
from schemas.inbox import ORDERS_SOURCE, RENEWAL_ORDERED, SKIP_ORDERED
from schemas.journal import Entry, encode_entry
from tests.core.story import Story, plain
from tests.core.test_following import planned_with
from tests.properties.test_core_invariants import NODES, SKUS, Chance, perform
from tests.properties.test_snapshots import places_of

Table = dict[str, Callable[..., None]]

DAYS: Final = 24
USES: Final = 40  # of a row that are tried, at the most


class Use(NamedTuple):
    """Where a day's entry uses a row."""

    day: int
    entry: int


def _day(seed: int) -> Story:
    """A random day; every second one has rules that hold plans, two of three know places."""
    chance, story = Chance(seed), Story(Config(slice_orders=2, tracking_waits=3, improve_orders=2))
    for at in NODES:
        story.node(at)
    story.item(*SKUS)
    story.service()
    pools = {"pools": [{"id": "all", "sku": ["A"], "channel": "web", "units": 9}]}
    if seed % 2:
        story.rules({"hold": 30, "unsourced": [{"cancel_after_days": 3}]}, **pools)
    if seed % 3:
        places_of(story)
        story.send("lane_suspended", market_id="US", carrier="dhl", reason="strike")
    for at in NODES[:2]:
        story.receive(at, A=4, B=3)
    for _ in range(80):
        perform(story, chance.action())
    return story


def _rare_day() -> Story:
    """What random days hardly meet."""
    story = Story()
    story.node("BOS")
    story.item("A")
    story.receive("BOS", A=10)
    story.order("1", A=1, deliver_by="2027-01-20")
    story.ship("1.1")
    story.track("TP1")
    lane: dict[str, Any] = {"market_id": "US", "carrier": "ups"}
    story.send("lane_suspended", **lane, reason="storm", until="2027-01-16T00:00:00Z")
    story.send("lane_suspended", **lane, service="air", reason="storm")
    story.send("lane_restored", **lane, service="air")
    story.send("rule_set_approved", market_id="US", version=9, approver="Grace")
    story.rules({})
    version: dict[str, Any] = {"market_id": "US", "version": 2}
    body = {"strategies": [{"name": "later"}]}
    story.send("rule_set_proposed", author="Ada", body=body, **version)
    story.send("rule_set_approved", approver="Grace", **version)
    version["from"] = "2027-01-16T00:00:00Z"
    story.send("rule_set_activated", **version)
    story.order("2", X=1)
    story.at(2 * 86_400)
    story.rule_sets = 2
    pool = {"id": "p", "sku": "A", "channel": "app", "units": 9, "until": "2027-01-18"}
    story.rules({}, pools=[pool])
    story.order("3", A=1)
    story.at(5 * 86_400)
    _orders(story)
    return story


def _orders(story: Story) -> None:
    """What persons order, and what comes of it."""
    who = {"reason": "restored", "by": "ada"}
    for number, type_ in enumerate((SKIP_ORDERED, RENEWAL_ORDERED)):
        story.take(
            {
                "type": type_,
                "version": 1,
                "id": f"o{number}",
                "source": ORDERS_SOURCE,
                "time_ms": 0,
                "origin": ["inbox", 0, number, 0],
                "data": {"input": "inbox/0@7", "topic": "stock", **who},
            }
        )
    poison: InputRecord = {
        "type": "item_defined",
        "version": 1,
        "id": "poison",
        "source": "story",
        "time_ms": 0,
        "origin": ["network", 0, next(story.offsets["network"]), 0],
        "data": {"sku": "P", "name": "P"},
    }
    events = skip(story.shard, poison, who["reason"], who["by"])
    story.entries.append(encode_entry(poison, events))


@cache
def days() -> list[list[bytes]]:
    """The entries of every day."""
    return [_rare_day().entries, *(_day(seed).entries for seed in range(DAYS))]


def _used(entry: Entry) -> Iterator[tuple[str, str]]:
    """The rows, by table, that an entry uses."""
    yield "DECIDE", entry["input"]["type"]
    for event in entry["events"]:
        yield "EVOLVE", event["type"]
        yield "FOLLOW", event["type"]
        if event["type"] == "timer_fired":
            yield "TIMERS", event["timer"][2]
        elif event["type"] == "balanced":
            yield from (("BALANCES", what) for what, rows in event.items() if rows)


@cache
def uses() -> Mapping[tuple[str, str], list[Use]]:
    """Where each row is used, the earliest in a day first."""
    found: dict[tuple[str, str], list[Use]] = {}
    for day, entries in enumerate(days()):
        for number, entry in enumerate(entries):
            for row in set(_used(orjson.loads(entry))):
                found.setdefault(row, []).append(Use(day, number))
    return {row: sorted(where, key=lambda use: use.entry) for row, where in found.items()}


def _before(use: Use, take: Callable[[Shard, Entry], None]) -> tuple[Shard, Entry]:
    """The shard as the entries before it left it, and the entry."""
    shard = Shard(0, _config(use.day))
    for entry in islice(days()[use.day], use.entry):
        take(shard, orjson.loads(entry))
    return shard, orjson.loads(days()[use.day][use.entry])


def _config(day: int) -> Config:
    return Config(slice_orders=2, tracking_waits=3, improve_orders=2) if day else Config()


def _follow(shard: Shard, entry: Entry) -> None:
    follow(shard, [entry])


def _decided(use: Use) -> Callable[[], object]:
    shard, entry = _before(use, fold)
    return lambda: orjson.dumps(decide(shard, entry["input"]))


def _folded(use: Use) -> Callable[[], object]:
    shard, entry = _before(use, fold)

    def folded() -> object:
        fold(shard, entry)
        return plain(shard)

    return folded


def _followed(use: Use) -> Callable[[], object]:
    shard, entry = _before(use, _follow)

    def followed() -> object:
        follow(shard, [entry])
        return planned_with(shard), shard.work, shard.timers

    return followed


TABLES: Final[dict[str, tuple[Table, Callable[[Use], Callable[[], object]]]]] = {
    "DECIDE": (DECIDE, _decided),
    "TIMERS": (TIMERS, _decided),
    "EVOLVE": (EVOLVE, _folded),
    "FOLLOW": (FOLLOW, _followed),
    "BALANCES": (BALANCES, _followed),
}
ROWS: Final = [(table, row) for table, (rows, _) in TABLES.items() for row in rows]


SILENT: Final = {
    "input_repeated",
    "input_skipped",
    "order_cancellation_rejected",
    "order_improved",
    "package_tracked",
    "rule_set_refused",
}
"""Events that only tell: folding them changes nothing as it is."""


SAME: Final = ({"input_resumed", "input_expired"}, {"input_repeated", "input_skipped"})
"""Rows that may stand for each other: they take what waited off its list, or only tell."""


def _nothing(*_: object) -> None:
    """Stands for a row's function."""


def _noticed(table: str, row: str, sabotage: Callable[[pytest.MonkeyPatch], None]) -> bool:
    """Whether some entry that uses the row comes out otherwise with the table sabotaged."""
    work = TABLES[table][1]
    for use in uses()[table, row][:USES]:
        expected, sabotaged = work(use)(), work(use)
        with pytest.MonkeyPatch.context() as patch:
            sabotage(patch)
            try:
                if sabotaged() != expected:
                    return True
            except Exception:  # noqa: BLE001 - whatever it raises, it is noticed
                return True
    return False


@pytest.mark.parametrize(("table", "row"), ROWS)
def test_a_row_that_is_dropped_redirected_or_silenced_is_noticed(table: str, row: str) -> None:
    rows = TABLES[table][0]
    same = next((rows_alike for rows_alike in SAME if row in rows_alike), {row})
    following = [*rows][[*rows].index(row) + 1 :]
    other = next(
        rows[one] for one in [*following, *rows] if one not in same and rows[one] is not rows[row]
    )
    assert _noticed(table, row, lambda patch: patch.delitem(rows, row)), "dropped"
    assert _noticed(table, row, lambda patch: patch.setitem(rows, row, other)), f"now {other}"
    if row not in SILENT and row != "balanced":
        assert _noticed(table, row, lambda patch: patch.setitem(rows, row, _nothing)), "silenced"


def test_books_that_do_not_balance_are_noticed_unless_that_row_is_silenced(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    shard, entry = _before(uses()["BALANCES", "stock"][0], fold)
    entry["events"][-1]["stock"][0][3] += 1  # type: ignore[typeddict-item]
    again, _ = _before(uses()["BALANCES", "stock"][0], fold)
    with pytest.raises(Contradiction, match="don't balance"):
        fold(shard, entry)
    monkeypatch.setitem(EVOLVE, "balanced", _nothing)
    fold(again, entry)
