"""One suite over the port Database: the simulator's store and PostgreSQL."""

import asyncio
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from typing import Any

import pytest

from projections.tables import (
    INBOUND,
    ITEMS,
    LINE_COUNTS,
    LINES,
    ORDER_PROMISED_BY,
    ORDER_REASONS,
    ORDER_STATUS,
    ORDERS,
    RULE_SET_REFUSALS,
    STOCK,
    TABLES,
    TIMELINE,
    Changes,
    Patch,
    Table,
)
from schemas.journal import FilterState
from schemas.ports import DatabaseError
from tests.contract.stores import LIMIT_S, Real, Simulated, Stores, real
from tests.servers.proxy import Loss

AT = "2026-11-22T10:00:00.250Z"
FIRST = FilterState("j1", 2, 0, "n1", 1, 5, "d1", 0)
SECOND = FilterState("j1", 3, 0, "n1", 2, 9, "d2", 0)
INT, BIG = 2**31, 2**63
MARKET = (TABLES["markets"], ["us", "{}"])
TEXTS = [
    *("a", "NULL", "null", "{}", "a,b", 'say "a"', "a\\b", "\\N", "\\.", "a\tb", "a\r\nb", " a "),
    *("\u00e9\u00df\u4e2d", "e\u0301", "\U0001f6d2", "\u202eab", "\u2028", "\ufeffa", "\x01\x7f"),
    *("''; DROP TABLE orders; --", "%s {0} $1", "x" * 2_000, "\u4e2d" * 300_000),
]


@pytest.fixture(params=["simulation", pytest.param("postgres", marks=pytest.mark.slow)])
async def stores(request: pytest.FixtureRequest) -> AsyncIterator[Stores]:
    if request.param == "simulation":
        yield Simulated()
        return
    async with real(request.getfixturevalue("postgres")) as stores:
        yield stores


@pytest.fixture
async def real_stores(postgres: str) -> AsyncIterator[Real]:
    async with real(postgres) as stores:
        yield stores


def order(order_id: str = "1", status: str = "accepted", **more: object) -> list[Any]:
    row: dict[str, object] = {
        "channel": "web",
        "order_id": order_id,
        "market_id": "us",
        "status": status,
        "reasons": None,
        "promised_by": None,
        "promise": None,
        "shard": 0,
        "recorded_at": AT,
        "data": "{}",
    }
    return list((row | more).values())


def line(**more: object) -> list[Any]:
    row: dict[str, object] = dict.fromkeys(LINES.columns, 0)
    row |= {"channel": "web", "order_id": "1", "market_id": "us", "line_id": "1", "sku": "A"}
    return list((row | {"data": None} | more).values())


def stock(on_hand: int) -> list[Any]:
    return ["A", "BOS", "us", on_hand, 0, 0, 0, 0]


def sentence(n: int, detail: str = "Accepted.") -> list[Any]:
    return ["web", "1", "us", 1, 0, n, 0, AT, "order_accepted", detail]


def put(*rows: tuple[Table, list[Any]]) -> Changes:
    changes = Changes()
    for table, row in rows:
        (changes.add if table.append else changes.put)(table, row)
    return changes


def patched(patch: Patch, key: tuple[Any, ...], *values: object) -> Changes:
    changes = Changes()
    changes.patch(patch, key, values)
    return changes


async def everything(stores: Stores) -> dict[str, object]:
    return {name: await stores.rows(name) for name in TABLES}


async def test_a_store_that_is_new_has_no_checkpoint(stores: Stores) -> None:
    assert await stores.database().checkpoint(0) is None


async def test_checkpoint_and_rows_are_read_back_as_they_were_written(stores: Stores) -> None:
    changes = put((ORDERS, order(promised_by=AT, reasons="[]")), (TIMELINE, sentence(0)))
    assert await stores.database().apply(0, None, FIRST, changes)
    other = stores.database()
    assert await other.checkpoint(0) == FIRST
    assert await other.checkpoint(1) is None
    moment = datetime(2026, 11, 22, 10, 0, 0, 250_000, UTC)
    assert await stores.rows("orders") == {
        ("web", "1", "us"): [
            *("web", "1", "us", "accepted", "[]", moment, None, 0, moment, "{}"),
        ]
    }
    assert list(await stores.rows("timeline")) == [("web", "1", "us", 1, 0, 0)]


@pytest.mark.parametrize(
    "expected",
    [
        None,
        SECOND,
        FilterState("j2", 2, 0, "n1", 1, 5, "d1", 0),
        FilterState("j1", 1, 0, "n1", 1, 5, "d1", 0),
        FilterState("j1", 2, 0, "n1", 0, 5, "d1", 0),
    ],
    ids=["none", "a later one", "of another journal", "an earlier record", "an earlier commit"],
)
async def test_who_expects_another_checkpoint_writes_nothing(
    stores: Stores, expected: FilterState | None
) -> None:
    database = stores.database()
    assert await database.apply(0, None, FIRST, put((ORDERS, order())))
    before = await everything(stores)
    late = put((ORDERS, order(status="shipped")), (TIMELINE, sentence(0)), (STOCK, stock(5)))
    assert await database.apply(0, expected, SECOND, late) is False
    assert await everything(stores) == before
    assert await database.checkpoint(0) == FIRST
    assert await database.apply(0, FIRST, SECOND, late)


async def test_who_expects_one_where_there_is_none_writes_nothing(stores: Stores) -> None:
    database = stores.database()
    assert await database.apply(0, FIRST, SECOND, put((ORDERS, order()))) is False
    assert await database.checkpoint(0) is None
    assert await stores.rows("orders") == {}


@pytest.mark.parametrize("there", [None, FIRST], ids=["the first", "a later one"])
async def test_of_many_at_once_one_moves_the_checkpoint(
    stores: Stores, there: FilterState | None
) -> None:
    if there is not None:
        assert await stores.database().apply(0, None, there, Changes())
    new = FilterState("j1", 3, 0, "n1", 2, 9, "d2", 0)
    moved = await asyncio.gather(
        *(
            stores.database().apply(0, there, new, put((ITEMS, ["A", n, "a", "{}"])))
            for n in range(5)
        )
    )
    assert sorted(moved) == [False] * 4 + [True]
    assert list(await stores.rows("items")) == [("A", moved.index(True))]


async def test_shards_have_checkpoints_of_their_own(stores: Stores) -> None:
    database = stores.database()
    assert await database.apply(0, None, FIRST, Changes())
    assert await database.apply(1, None, SECOND, Changes())
    assert (await database.checkpoint(0), await database.checkpoint(1)) == (FIRST, SECOND)


async def test_a_row_put_again_is_replaced_and_a_patch_changes_only_what_stands(
    stores: Stores,
) -> None:
    database = stores.database()
    rows = ((ORDERS, order()), (LINES, line(open=3)), (STOCK, stock(5)))
    assert await database.apply(0, None, FIRST, put(*rows))
    changes = put((STOCK, stock(7)))
    changes.patch(ORDER_STATUS, ("web", "1", "us"), ["shipped"])
    changes.patch(ORDER_STATUS, ("web", "nobody's", "us"), ["shipped"])
    changes.patch(LINE_COUNTS, ("web", "1", "us", "1"), [0, 0, 0, 3, 0, 0])
    assert await database.apply(0, FIRST, SECOND, changes)
    assert {key[1]: row[3] for key, row in (await stores.rows("orders")).items()} == {
        "1": "shipped"
    }
    ((_, row),) = (await stores.rows("lines")).items()
    assert row[4:10] == [0, 0, 0, 3, 0, 0]
    ((_, row),) = (await stores.rows("stock")).items()
    assert row[3] == 7


@pytest.mark.parametrize("again", [(0,), (1, 1)], ids=["as stands", "twice at once"])
async def test_what_is_only_added_is_added_once_or_nothing_is_written(
    stores: Stores, again: tuple[int, ...]
) -> None:
    database = stores.database()
    assert await database.apply(0, None, FIRST, put((TIMELINE, sentence(0))))
    before = await everything(stores)
    refusal = ["us", "7", 1, 0, 0, AT, "{}"]
    changes = put(
        (ORDERS, order()),
        (RULE_SET_REFUSALS, refusal),
        *((TIMELINE, sentence(n, "Again.")) for n in again),
    )
    with pytest.raises(DatabaseError):
        await database.apply(0, FIRST, SECOND, changes)
    assert await everything(stores) == before
    assert await database.checkpoint(0) == FIRST


@pytest.mark.parametrize("text", TEXTS, ids=lambda text: ascii(text)[:20])
async def test_texts_of_any_kind_arrive_as_they_were(stores: Stores, text: str) -> None:
    database = stores.database()
    rows = ((ITEMS, ["A", 0, text, "{}"]), (ORDERS, order(text[:64])))
    assert await database.apply(0, None, FIRST, put(*rows))
    key = ("web", text[:64], "us")
    assert await database.apply(0, FIRST, SECOND, patched(ORDER_STATUS, key, text[:64]))
    assert [row[2] for row in (await stores.rows("items")).values()] == [text]
    assert {k: row[3] for k, row in (await stores.rows("orders")).items()} == {key: text[:64]}


@pytest.mark.parametrize("text", ["\\", "a\\b", '"', "\u00e9\U0001f6d2", "x" * 100_000])
async def test_sentences_of_one_line_arrive_as_they_were(stores: Stores, text: str) -> None:
    assert await stores.database().apply(0, None, FIRST, put((TIMELINE, sentence(0, text))))
    assert [row[9] for row in (await stores.rows("timeline")).values()] == [text]


@pytest.mark.parametrize(
    "row",
    [
        (LINES, line(quantity=INT - 1, open=-INT)),
        (STOCK, stock(BIG - 1)),
        (STOCK, stock(-BIG)),
        (ORDERS, order(data='{"a": [1e300, "\\u0000", "\\ud83d\\uded2"]}')),
        (ORDERS, order(promised_by="0001-01-01T00:00:00Z", recorded_at="9999-12-31T23:59:59Z")),
        (INBOUND, ["A", "BOS", "PO", "", 1, None]),
    ],
    ids=["integers", "a large number", "a small one", "JSON", "times", "nothing"],
)
async def test_what_just_fits_a_column_is_kept(
    stores: Stores, row: tuple[Table, list[Any]]
) -> None:
    assert await stores.database().apply(0, None, FIRST, put(row))
    ((_, kept),) = (await stores.rows(row[0].name)).items()
    for name, given, found in zip(row[0].columns, row[1], kept, strict=True):
        if row[0].columns[name] != "timestamptz":
            assert found == given, name


@pytest.mark.parametrize(
    "row",
    [
        (ORDERS, order(status="a\0b")),
        (ORDERS, order("a\0b")),
        (LINES, line(quantity=INT)),
        (LINES, line(quantity=-INT - 1)),
        (LINES, line(quantity="many")),
        (STOCK, stock(BIG)),
        (STOCK, stock(2**70)),
        (ORDERS, order(promised_by="soon")),
        (ORDERS, order(data="{")),
        (ITEMS, ["A", None, "a", "{}"]),
        (TIMELINE, sentence(0, "a\0b")),
        (TIMELINE, ["web", "1", "us", BIG, 0, 0, 0, AT, "order_accepted", ""]),
        (TIMELINE, ["web", "1", "us", 1, None, 0, 0, AT, "order_accepted", ""]),
    ],
    ids=lambda row: f"{row[0].name}{ascii(row[1])[:60]}",
)
async def test_what_does_not_fit_a_column_is_refused_and_nothing_is_written(
    stores: Stores, row: tuple[Table, list[Any]]
) -> None:
    database = stores.database()
    assert await database.apply(0, None, FIRST, Changes())
    with pytest.raises(DatabaseError):
        await database.apply(0, FIRST, SECOND, put(MARKET, row))
    assert await everything(stores) == {name: {} for name in TABLES}
    assert await database.checkpoint(0) == FIRST
    assert await database.apply(0, FIRST, SECOND, Changes())


@pytest.mark.parametrize(
    ("patch", "value"),
    [(ORDER_STATUS, "a\0b"), (ORDER_REASONS, "["), (ORDER_PROMISED_BY, "soon")],
    ids=["text", "JSON", "time"],
)
async def test_a_patch_that_does_not_fit_is_refused_as_well(
    stores: Stores, patch: Patch, value: str
) -> None:
    database = stores.database()
    assert await database.apply(0, None, FIRST, put((ORDERS, order())))
    before = await everything(stores)
    with pytest.raises(DatabaseError):
        await database.apply(0, FIRST, SECOND, patched(patch, ("web", "1", "us"), value))
    assert await everything(stores) == before


async def test_a_commit_that_nobody_heard_of_is_there_and_the_checkpoint_says_so(
    stores: Stores,
) -> None:
    database = stores.database()
    assert await database.apply(0, None, FIRST, Changes())
    stores.lose(Loss.UNANSWERED)
    with pytest.raises(DatabaseError):
        await database.apply(0, FIRST, SECOND, put((ORDERS, order())))
    assert await database.checkpoint(0) == SECOND
    assert len(await stores.rows("orders")) == 1


async def test_a_commit_that_was_never_asked_for_is_not_there_and_the_checkpoint_says_so(
    stores: Stores,
) -> None:
    database = stores.database()
    assert await database.apply(0, None, FIRST, Changes())
    stores.lose(Loss.UNASKED)
    with pytest.raises(DatabaseError):
        await database.apply(0, FIRST, SECOND, put((ORDERS, order())))
    assert await database.checkpoint(0) == FIRST
    assert await stores.rows("orders") == {}
    assert await database.apply(0, FIRST, SECOND, put((ORDERS, order())))
    assert len(await stores.rows("orders")) == 1


async def test_a_commit_that_lands_late_counts_for_whoever_comes_after(stores: Stores) -> None:
    database = stores.database()
    assert await database.apply(0, None, FIRST, Changes())
    stores.lose(Loss.HELD)
    with pytest.raises(DatabaseError):
        await database.apply(0, FIRST, SECOND, put((TIMELINE, sentence(0))))
    assert await database.checkpoint(0) == FIRST
    await stores.landed()
    assert await database.checkpoint(0) == SECOND
    assert await database.apply(0, FIRST, SECOND, put((TIMELINE, sentence(0)))) is False
    assert len(await stores.rows("timeline")) == 1


async def test_who_writes_while_a_commit_is_on_its_way_waits_for_it(real_stores: Real) -> None:
    first, second = real_stores.database(), real_stores.database()
    assert await first.apply(0, None, FIRST, Changes())
    assert await second.checkpoint(0) == FIRST
    real_stores.lose(Loss.HELD)
    with pytest.raises(DatabaseError):
        await first.apply(0, FIRST, SECOND, put((TIMELINE, sentence(0))))
    waiting = asyncio.create_task(
        second.apply(0, FIRST, SECOND, put((TIMELINE, sentence(0, "Mine."))))
    )
    async with asyncio.timeout(LIMIT_S):
        while not await real_stores.blocked():
            await asyncio.sleep(0.01)
    assert not waiting.done()
    await real_stores.landed()
    assert await waiting is False
    assert [row[9] for row in (await real_stores.rows("timeline")).values()] == ["Accepted."]
