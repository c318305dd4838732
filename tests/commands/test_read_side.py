"""`headrace db migrate`, `explain`, and what `status` and `rebuild` say without servers."""

import asyncio
import json
import os
import subprocess
import sys
from pathlib import Path
from urllib.parse import urlsplit

import psycopg
import pytest
from typer.testing import CliRunner

from orchestrator import cli, compose
from orchestrator.runtime.kafka_log import KafkaLog, KafkaSettings
from orchestrator.runtime.settings import Settings, SetupError
from projections import schema
from projections.postgres import Postgres
from projections.projector import batches
from schemas.journal import FilterState
from schemas.ports import Read
from tests.projections import journals as given
from tests.servers.proxy import Loss, Proxy

HEADRACE = Path(sys.executable).with_name("headrace")


def headrace(*words: str, **settings: str) -> subprocess.CompletedProcess[str]:
    kept = {name: value for name, value in os.environ.items() if not name.startswith("HEADRACE_")}
    environment = {**kept, **{f"HEADRACE_{name.upper()}": v for name, v in settings.items()}}
    return subprocess.run(
        [HEADRACE, *words],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
        env={**environment, "COLUMNS": "160"},
    )


def inside(*words: str, **settings: str) -> subprocess.CompletedProcess[str]:
    """The same in this process: where nothing is asked of a server, starting one takes longest."""
    unset = {name: None for name in os.environ if name.startswith("HEADRACE_")}
    given = {f"HEADRACE_{name.upper()}": value for name, value in settings.items()}
    environment = {**unset, **given, "COLUMNS": "160"}
    done = CliRunner().invoke(cli.application([*words]), [*words], env=environment)
    if isinstance(done.exception, SetupError):
        code, said = done.exception.exit_code, f"{done.exception}\n"
        return subprocess.CompletedProcess(words, code, done.stdout, done.stderr + said)
    if done.exception is not None and not isinstance(done.exception, SystemExit):
        raise done.exception
    return subprocess.CompletedProcess(words, done.exit_code, done.stdout, done.stderr)


async def _write_the_day(url: str) -> None:
    store = Postgres(url, "headrace")
    reads = [Read(n, 0, None, value, ()) for n, value in enumerate(given.journal(given.day()))]
    (batch,) = filter(None, batches(0, FilterState(), reads))
    assert await store.apply(0, None, batch.state, batch.changes)
    await store.close()


@pytest.fixture
def the_day(postgres: str) -> str:
    assert headrace("db", "migrate", postgres=postgres).returncode == 0
    asyncio.run(_write_the_day(postgres))
    return postgres


def test_migrating_again_says_that_nothing_was_to_do(postgres: str) -> None:
    first = headrace("db", "migrate", postgres=postgres, db_schema="mine")
    assert (first.returncode, first.stderr) == (0, "")
    assert 'the schema "mine_past" is now at version 1' in first.stdout
    again = headrace("db", "migrate", postgres=postgres, db_schema="mine")
    assert again.stdout == (
        'the schema "mine" was already at version 3\n'
        'the schema "mine_past" was already at version 1\n'
    )


@pytest.mark.parametrize(
    "words", [("db", "migrate"), ("explain", "web/1"), ("status",), ("rebuild",)]
)
def test_without_postgresql_the_setting_is_named(words: tuple[str, ...]) -> None:
    done = headrace(*words)
    assert done.returncode == 3
    assert done.stderr.startswith("HEADRACE_POSTGRES is not set")
    assert "Traceback" not in done.stderr


def test_an_unreachable_server_is_one_sentence() -> None:
    done = headrace("explain", "web/1", postgres="postgresql://x:y@127.0.0.1:1/none")
    assert done.returncode == 3
    assert "can't be reached" in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize(
    "line", ["run", "db migrate", "rebuild", "verify", "status", "explain w/1"]
)
async def test_a_server_that_ends_as_soon_as_it_is_asked_is_one_sentence(
    line: str, tansu: str, prefix: str, postgres: str
) -> None:
    settings = Settings(kafka=tansu, prefix=prefix, shards=1, partitions=1)
    async with await psycopg.AsyncConnection.connect(postgres, autocommit=True) as admin:
        await schema.migrate_all(admin, settings.db_schema)
    log = await KafkaLog.open(KafkaSettings(tansu, prefix))
    await compose.create_topics(log, settings)
    await log.close()
    port = urlsplit(postgres).port
    assert port is not None
    async with Proxy(port).running() as proxy:
        proxy.lose(b"to_regclass", Loss.UNASKED)  # the connection stands by then
        done = await asyncio.to_thread(
            headrace,
            *line.split(),
            kafka=tansu,
            prefix=prefix,
            shards="1",
            partitions="1",
            http="127.0.0.1:0",
            postgres=postgres.replace(f":{port}/", f":{proxy.port}/"),
        )
        assert proxy.lost.is_set()
    assert done.returncode == 3
    assert "PostgreSQL" in done.stderr.splitlines()[-1]
    assert "Traceback" not in done.stderr


def test_a_schema_that_is_not_set_up_is_said_with_its_fix(postgres: str) -> None:
    done = headrace("explain", "web/1", postgres=postgres)
    assert done.returncode == 3
    assert "headrace db migrate" in done.stderr


def test_a_newer_schema_asks_for_an_upgrade(postgres: str) -> None:
    headrace("db", "migrate", postgres=postgres)
    with psycopg.connect(postgres, autocommit=True) as admin:
        admin.execute("INSERT INTO headrace.schema_version (version, name) VALUES (999, 'later')")
    done = headrace("db", "migrate", postgres=postgres)
    assert done.returncode == 3
    assert "upgrade Headrace" in done.stderr


def test_explains_an_order_to_a_person(the_day: str) -> None:
    done = headrace("explain", "web/1", postgres=the_day)
    assert done.returncode == 0, done.stderr
    for words in (
        "web/1 in us: partly_delivered",
        "when the order was placed (0.3.1.2)",
        "BOS ships 2 of MUG over 4 km on 2026-11-23 by ups/ground",
        "LAX would ship 2 of MUG",
        "CHI: without free units.",
        "8.70 USD in all. Chosen since it ships the most units.",
        "1 of line 1 wait: the channel may have no more of it.",
    ):
        assert words in done.stdout


def test_explains_an_order_to_a_script(the_day: str) -> None:
    done = headrace("explain", "web/1", "--json", postgres=the_day)
    told = json.loads(done.stdout)
    assert told["order"]["status"] == "partly_delivered"
    (decision,) = told["decisions"]
    assert [leg["node_id"] for leg in decision["chosen"]["legs"]] == ["BOS"]
    assert decision["counterfactual"]["add_stock"]["by"] == 60


def test_a_decision_of_the_first_release_is_explained_as_it_was_recorded(the_day: str) -> None:
    done = headrace("explain", "web/4", postgres=the_day)
    assert done.returncode == 0, done.stderr
    for words in (
        "when a node rejected units",
        "no stock: CHI",
        "chosen: BOS with 2 units, 4 km",
        "decided by: most units",
        "runner-up: none",
        "otherwise: nothing would wait with 1 more of MUG",
    ):
        assert words in done.stdout


def test_a_refused_order_is_explained_by_its_reasons(the_day: str) -> None:
    done = headrace("explain", "web/3", postgres=the_day)
    assert "currency: EUR" in done.stdout


def test_an_order_that_is_not_there(the_day: str) -> None:
    done = headrace("explain", "web/none", postgres=the_day)
    assert (done.returncode, done.stderr) == (1, "There is no order web/none.\n")


def test_an_argument_that_names_no_order() -> None:
    done = headrace("explain", "4711")
    assert done.returncode == 2
    assert "CHANNEL/ORDER_ID" in done.stderr


def test_status_and_rebuild_of_empty_shards(kafka: str, prefix: str, postgres: str) -> None:
    servers = {
        "kafka": kafka,
        "prefix": prefix,
        "postgres": postgres,
        "shards": "2",
        "replication": "1",
    }
    for words in (("topics", "create"), ("db", "migrate")):
        assert headrace(*words, **servers).returncode == 0
    rebuilt = headrace("rebuild", **servers)
    assert rebuilt.returncode == 0, rebuilt.stderr
    assert rebuilt.stdout.startswith("rebuilt 2 shards into headrace: 0 rows")
    status = headrace("status", "--json", **servers)
    told = json.loads(status.stdout)
    assert [(one["shard"], one["journal_lag"]) for one in told["shards"]] == [(0, 0), (1, 0)]
    assert told["orders"] == {}
    assert "Shards" in headrace("status", **servers).stdout
