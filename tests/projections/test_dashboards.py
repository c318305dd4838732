"""What Grafana asks PostgreSQL is answered by this release's schema, to somebody who only reads."""

import json
import re
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest
from psycopg import sql

from orchestrator.runtime.settings import Settings
from projections import schema

DEPLOY = Path(__file__).parents[2] / "deploy"
QUERIES = [
    one
    for path in DEPLOY.glob("grafana/dashboards/*.json")
    for dashboard in [json.loads(path.read_text())]
    for one in [
        *(
            target["rawSql"]
            for panel in dashboard["panels"]
            for target in panel.get("targets", [])
            if "rawSql" in target
        ),
        *(variable["query"] for variable in dashboard.get("templating", {}).get("list", [])),
    ]
]


@pytest.fixture
def reader(postgres: str) -> Iterator[psycopg.Connection]:
    """A connection as the role that the deployment's script makes."""
    (script,) = re.findall(
        r"<<'SQL'\n(.*)\nSQL", (DEPLOY / "postgres/reader.sh").read_text(), re.DOTALL
    )
    with psycopg.connect(postgres, autocommit=True) as admin:
        word = "of-this-test"
        admin.execute(script.replace(":'password'", f"'{word}'").encode())
        try:
            with psycopg.connect(postgres, autocommit=True, user="grafana", password=word) as one:
                yield one
        finally:
            admin.execute(sql.SQL("DROP ROLE grafana"))


@pytest.fixture
async def _migrated(postgres: str) -> None:
    async with await psycopg.AsyncConnection.connect(postgres, autocommit=True) as admin:
        await schema.migrate_all(admin, Settings().db_schema)


def test_there_are_some() -> None:
    assert len(QUERIES) >= 3


@pytest.mark.usefixtures("_migrated")
def test_every_query_of_a_dashboard_is_answered_to_a_reader_who_may_write_nothing(
    reader: psycopg.Connection,
) -> None:
    for query in QUERIES:
        reader.execute(query.replace("$market", "'us', 'eu'").encode())
    with pytest.raises(psycopg.errors.InsufficientPrivilege):
        reader.execute("DELETE FROM headrace.orders")
