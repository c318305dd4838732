import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from typing import Any

import httpx
import psycopg
import pytest

from orchestrator.core.sourcing.counterfactual import counterfactual
from orchestrator.runtime.world import SystemClock
from projections import schema
from projections.api import create_app
from projections.as_of import AsOf
from projections.fold import READ_MODELS, Model
from projections.past import PAST
from projections.postgres import Postgres
from projections.projector import batches
from projections.queries import Reads, open_reads
from schemas.journal import FilterState
from schemas.ports import Read
from tests.projections import journals as given

SCHEMA = "served"
WAIT_S = 0.3


class Writing:
    """The projector's hand: writes a shard's journal up to a commit."""

    def __init__(self, store: Postgres, model: Model = READ_MODELS) -> None:
        self._store = store
        self._model = model
        self._states: dict[int, FilterState] = {}

    async def up_to(self, shard: int, values: list[bytes], seq: int) -> None:
        """The commits after the last one written, up to `seq`; the first value opens the shard."""
        before = self._states.get(shard)
        state = before or FilterState()
        reads = [Read(offset, 0, None, values[offset], ()) for offset in range(state.next, seq + 1)]
        (batch,) = filter(None, batches(shard, state, reads, model=self._model))
        assert await self._store.apply(shard, before, batch.state, batch.changes)
        self._states[shard] = batch.state


async def _migrated(url: str) -> None:
    async with await psycopg.AsyncConnection.connect(url, autocommit=True) as admin:
        await schema.migrate_all(admin, SCHEMA)


@pytest.fixture
async def url(postgres: str) -> str:
    """A database of the test's own, migrated."""
    await _migrated(postgres)
    return postgres


@pytest.fixture
async def writing(url: str) -> AsyncIterator[Writing]:
    store = Postgres(url, SCHEMA)
    yield Writing(store)
    await store.close()


@pytest.fixture
async def keeping(url: str) -> AsyncIterator[Writing]:
    """What role `past` writes."""
    store = Postgres(url, f"{SCHEMA}_past")
    yield Writing(store, PAST)
    await store.close()


@pytest.fixture(scope="session")
def url_of_the_day(postgres_server: str) -> Iterator[str]:
    """A database that many tests read: the whole synthetic day on shard 0."""
    name = "the_day"

    async def write(url: str) -> None:
        await _migrated(url)
        store = Postgres(url, SCHEMA)
        await Writing(store).up_to(0, given.journal(given.day()), len(given.day()))
        await store.close()
        kept = Postgres(url, f"{SCHEMA}_past")
        await Writing(kept, PAST).up_to(0, given.journal(given.day()), len(given.day()))
        await kept.close()

    with psycopg.connect(postgres_server, autocommit=True) as admin:
        admin.execute(f"CREATE DATABASE {name}".encode())
        url = f"{postgres_server.rpartition('/')[0]}/{name}"
        asyncio.run(write(url))
        yield url
        admin.execute(f"DROP DATABASE {name} WITH (FORCE)".encode())


@pytest.fixture
async def reads(url: str) -> AsyncIterator[Reads]:
    async with open_reads(url, SCHEMA) as open_:
        yield open_


class Intake:
    """Where intake is: (topic, partition) to its saved offset and metadata."""

    def __init__(self) -> None:
        self.saved: dict[tuple[str, int], tuple[int, str]] = {}
        self.inbox_ends: dict[int, int] = {}
        self.journal_ends: dict[int, int] = {}

    async def progress(self, topic: str, partition: int) -> tuple[int, str] | None:
        await asyncio.sleep(0)
        if topic != "orders" or partition > 3:
            raise LookupError(f"{topic}/{partition} is read by nobody")
        return self.saved.get((topic, partition))

    async def ends(self) -> dict[int, int]:
        await asyncio.sleep(0)
        return self.inbox_ends

    async def ends_of_journals(self) -> dict[int, int]:
        await asyncio.sleep(0)
        return self.journal_ends


@pytest.fixture
def intake() -> Intake:
    return Intake()


async def _ends() -> dict[int, int]:
    await asyncio.sleep(0)
    return {0: 100}


@pytest.fixture
async def api(reads: Reads, intake: Intake) -> AsyncIterator[httpx.AsyncClient]:
    app = create_app(
        reads,
        SystemClock(),
        intake_progress=intake.progress,
        inbox_ends=intake.ends,
        journal_ends=_ends,
        what_if=counterfactual,
        as_of=AsOf(reads, SCHEMA),
        ends_now=intake.ends_of_journals,
        wait_s=WAIT_S,
    )
    transport = httpx.ASGITransport(app=app, raise_app_exceptions=False)
    async with httpx.AsyncClient(transport=transport, base_url="http://headrace") as client:
        yield client


Get = Callable[..., Awaitable[Any]]


@pytest.fixture
def get(api: httpx.AsyncClient) -> Get:
    async def get(path: str, status: int = 200, /, **query: str | int) -> Any:  # noqa: ANN401 - JSON
        answer = await api.get(path, params=query)
        assert answer.status_code == status, answer.text
        return answer.json()

    return get
