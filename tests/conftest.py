"""Real servers for the tests, started when the first test asks and gone with the run.

- `kafka`: bootstrap address of the Kafka that HEADRACE_TEST_KAFKA chooses (real | tansu | auto);
  the report's header says which.
- `tansu`: bootstrap address of the stand-in that the demo uses.
- `broker`: bootstrap address; the test runs on both.
- `prefix`: a prefix of topic names of one's own.
- `postgres`: libpq URL of a new database.
"""

import logging
import secrets
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest
import structlog
from psycopg import sql

from orchestrator.embedded import ServerError, embedded_kafka, embedded_postgres
from tests import servers

_SERVER_FIXTURES = {"kafka", "tansu", "broker", "postgres_server"}
_SERVER_FOLDERS = {"acceptance", "commands", "demo", "docs", "embedded", "kafka"}
"""Their tests start servers of their own, or share what others of the folder started."""
_TESTS = Path(__file__).parent
_CHOICE = pytest.StashKey[servers.Choice]()


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--quick", action="store_true", help="leave out tests that need a server or are marked slow"
    )


def pytest_configure(config: pytest.Config) -> None:
    try:
        config.stash[_CHOICE] = servers.choose()
    except ServerError as error:
        raise pytest.UsageError(str(error)) from error


def pytest_report_header(config: pytest.Config) -> str:
    return f"kafka: {config.stash[_CHOICE]}"


@pytest.hookimpl(tryfirst=True)  # xdist reads the groups in a hook of its own
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    choice = config.stash[_CHOICE]
    if config.getoption("--quick"):
        heavy = [item for item in items if _is_heavy(item)]
        config.hook.pytest_deselected(items=heavy)
        items[:] = [item for item in items if item not in heavy]
    for item in items:
        needs = item.get_closest_marker("real_kafka")
        if needs is not None and not choice.real:
            (reason,) = needs.args
            item.add_marker(pytest.mark.skip(reason=f"needs Apache Kafka: {reason}"))
        folder = item.path.relative_to(_TESTS).parts[0]
        # a group runs in one process: servers are started once, and don't compete with each other
        if folder in _SERVER_FOLDERS or _asks_for_a_server(item):
            item.add_marker(pytest.mark.xdist_group("servers"))
        elif folder == "compiled":
            item.add_marker(pytest.mark.xdist_group("compiled"))


def _is_heavy(item: pytest.Item) -> bool:
    return _asks_for_a_server(item) or item.get_closest_marker("slow") is not None


def _asks_for_a_server(item: pytest.Item) -> bool:
    fixtures = set(item.fixturenames) if isinstance(item, pytest.Function) else set()
    return bool(fixtures & _SERVER_FIXTURES)


@pytest.fixture(autouse=True)
def _logs_as_they_were() -> Iterator[None]:
    """What a test had written elsewhere, as `headrace run` has it, is no matter of the next one."""
    handlers = [*logging.root.handlers]
    yield
    logging.root.handlers = handlers
    structlog.reset_defaults()


@pytest.fixture(scope="session")
def kafka(pytestconfig: pytest.Config) -> Iterator[str]:
    """Bootstrap address of the chosen Kafka."""
    with servers.run(pytestconfig.stash[_CHOICE]) as bootstrap:
        yield bootstrap


@pytest.fixture(scope="session")
def tansu() -> Iterator[str]:
    """Bootstrap address of a Tansu broker."""
    with embedded_kafka() as bootstrap:
        yield bootstrap


@pytest.fixture(params=["kafka", "tansu"])
def broker(request: pytest.FixtureRequest) -> str:
    """Bootstrap address: the test runs on the chosen Kafka and on Tansu."""
    chosen: str = request.param
    bootstrap: str = request.getfixturevalue(chosen)
    return bootstrap


@pytest.fixture
def prefix() -> str:
    """A prefix of topic names that no other test has."""
    return f"t{secrets.token_hex(4)}-"


@pytest.fixture(scope="session")
def postgres_server() -> Iterator[str]:
    """libpq URL of a PostgreSQL server's superuser."""
    with embedded_postgres() as url:
        yield url


@pytest.fixture
def postgres(postgres_server: str) -> Iterator[str]:
    """libpq URL of a new, empty database."""
    name = f"t{secrets.token_hex(4)}"
    with psycopg.connect(postgres_server, autocommit=True) as admin:
        admin.execute(sql.SQL("CREATE DATABASE {}").format(sql.Identifier(name)))
        yield f"{postgres_server.rpartition('/')[0]}/{name}"
        admin.execute(sql.SQL("DROP DATABASE {} WITH (FORCE)").format(sql.Identifier(name)))
