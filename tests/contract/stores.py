"""The stores that the port Database is held to: the simulator's, and PostgreSQL behind a proxy."""

import asyncio
from abc import ABC, abstractmethod
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import datetime
from typing import Any, LiteralString
from urllib.parse import urlsplit

import psycopg
from psycopg import sql

from projections import schema
from projections.postgres import Postgres
from projections.tables import TABLES, Key
from schemas.ports import Database
from tests.contract.real_time import RealTime
from tests.servers.proxy import Loss, Proxy
from tests.simulation.database import SimDatabase, Store
from tests.simulation.plan import Fault
from tests.simulation.world import SimHost

LIMIT_S = 2.0
"""After which a call is given up."""
Stored = dict[Key, list[object]]


class Stores(ABC):
    """One store, reached by several processes, and its bad days."""

    @abstractmethod
    def database(self) -> Database:
        """The store as a process of its own reaches it, over a link that can lose things."""

    @abstractmethod
    async def rows(self, table: str) -> Stored:
        """A table's rows by key: texts and numbers, times as datetimes, JSON as text."""

    @abstractmethod
    def lose(self, loss: Loss) -> None:
        """The next COMMIT over a process's link goes lost like this."""

    @abstractmethod
    async def landed(self) -> None:
        """Let a commit that was held land."""


class Simulated(Stores):
    """The simulator's store."""

    def __init__(self) -> None:
        self._world = RealTime()
        self._store = Store(self._world)

    def database(self) -> Database:
        """As a host of its own reaches it."""
        return SimDatabase(self._store, SimHost("projector", 1))

    async def rows(self, table: str) -> Stored:
        """What its table holds."""
        return {key: _comparable(table, row) for key, row in self._store.tables.rows[table].items()}

    def lose(self, loss: Loss) -> None:
        """The fault that stands for it."""
        self._world.strike_next(
            {
                Loss.UNASKED: Fault.DATABASE_FAILED,
                Loss.UNANSWERED: Fault.DATABASE_UNANSWERED,
                Loss.HELD: Fault.DATABASE_LATE,
            }[loss]
        )

    async def landed(self) -> None:
        """It lands by itself, a while after its asker gave up."""
        await asyncio.sleep(5 * self._world.chance.random())


class Real(Stores):
    """PostgreSQL."""

    def __init__(self, url: str, admin: psycopg.AsyncConnection, proxy: Proxy) -> None:
        self.admin = admin
        self._proxy = proxy
        at = urlsplit(url)
        self._url = url.replace(f":{at.port}/", f":{proxy.port}/")
        self._made: list[Postgres] = []

    def database(self) -> Database:
        """Over the proxy."""
        self._made.append(Postgres(self._url, "contract", bound_s=LIMIT_S))
        return self._made[-1]

    async def rows(self, table: str) -> Stored:
        """What its table holds."""
        columns = sql.SQL(", ").join(
            sql.SQL("{}::text").format(sql.Identifier(name)) for name in TABLES[table].columns
        )
        found = await self.admin.execute(
            sql.SQL("SELECT {} FROM {}").format(columns, sql.Identifier(table))
        )
        rows = [
            [
                int(value) if value is not None and kind in {"integer", "bigint"} else value
                for value, kind in zip(row, TABLES[table].columns.values(), strict=True)
            ]
            for row in await found.fetchall()
        ]
        return {tuple(row[: TABLES[table].key]): _comparable(table, row) for row in rows}

    def lose(self, loss: Loss) -> None:
        """In the proxy."""
        self._proxy.lose(b"COMMIT\x00", loss)

    async def landed(self) -> None:
        """The proxy lets it through; it has landed when nobody is within a transaction."""
        async with asyncio.timeout(10):
            await self._proxy.lost.wait()
            self._proxy.release()
            while await self._any("state <> 'idle'"):
                await asyncio.sleep(0.01)

    async def blocked(self) -> bool:
        """Whether a process waits for what another holds."""
        return await self._any("wait_event_type = 'Lock'")

    async def _any(self, which: LiteralString) -> bool:
        found = await self.admin.execute(
            "SELECT FROM pg_stat_activity"
            f" WHERE application_name LIKE 'headrace projector %' AND {which}"
        )
        return bool(await found.fetchall())

    async def close(self) -> None:
        """Close the processes' connections."""
        for made in self._made:
            await made.close()


@asynccontextmanager
async def real(url: str) -> AsyncIterator[Real]:
    """A migrated schema in a new database, behind a proxy."""
    port = urlsplit(url).port
    assert port is not None
    async with (
        Proxy(port).running() as proxy,
        await psycopg.AsyncConnection.connect(
            url, autocommit=True, options=schema.options("contract")
        ) as admin,
    ):
        await schema.migrate(admin, "contract")
        stores = Real(url, admin, proxy)
        yield stores
        await stores.close()


def _comparable(table: str, row: list[Any]) -> list[object]:
    return [
        datetime.fromisoformat(value) if kind == "timestamptz" and value is not None else value
        for value, kind in zip(row, TABLES[table].columns.values(), strict=True)
    ]
