"""Real servers for the tests, started when the first test asks and gone with the run.

- `kafka`: bootstrap address of the Kafka that HEADRACE_TEST_KAFKA chooses (real | tansu | auto);
  the report's header says which.
- `tansu`: bootstrap address of the stand-in that the demo uses.
- `broker`: bootstrap address; the test runs on both.
- `prefix`: a prefix of topic names of one's own.
- `postgres`: libpq URL of a new database.
- `no_collections`: no server: cycles stay in memory.
"""

import gc
import logging
import os
import secrets
from collections import Counter, defaultdict
from collections.abc import Generator, Iterator
from itertools import chain

import psycopg
import pytest
import structlog
from psycopg import sql
from xdist.remote import Producer
from xdist.scheduler import LoadScopeScheduling

from orchestrator.embedded import ServerError, embedded_kafka, embedded_postgres
from tests import servers

_SERVER_FIXTURES = {"kafka", "tansu", "broker", "postgres_server"}
_SERVER_FOLDERS = {
    *("acceptance", "api", "commands", "contract", "demo", "docs"),
    *("embedded", "export", "projections"),
}
_TOGETHER = {"kafka", "compiled"}  # each by itself: one has a cluster, the other is made first
_STEPS_BACK = 5  # of niceness: what only computes, beside what has servers and time limits
_CHOICE = pytest.StashKey[servers.Choice]()
_CPU_S = pytest.StashKey[float]()


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


class _ServersApart(LoadScopeScheduling):  # type: ignore[misc]  # xdist ships no types
    """Tests with servers run in two processes: each starts its own once."""

    def _split_scope(self, nodeid: str) -> str:
        folder = _folder(nodeid)
        if folder in _SERVER_FOLDERS:
            return "servers"
        return folder if folder in _TOGETHER else nodeid


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Producer) -> LoadScopeScheduling:
    """What `--numprocesses` runs where."""
    return _ServersApart(config, log)


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_setup(item: pytest.Item) -> None:
    """In one of several processes, what has no servers leaves the cores to those that have."""
    alone = item.config.getoption("--quick") or "PYTEST_XDIST_WORKER" not in os.environ
    with_servers = _folder(item.nodeid) in _SERVER_FOLDERS | {"kafka"}
    if not alone and not with_servers and os.nice(0) < _STEPS_BACK:
        os.nice(_STEPS_BACK)
    item.stash[_CPU_S] = _cpu_s()


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item,
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """What the cores did for it, too: that of servers and of processes that still run is not in."""
    report = yield
    before, item.stash[_CPU_S] = item.stash.get(_CPU_S, _cpu_s()), _cpu_s()
    report.user_properties.append(("cpu_s", item.stash[_CPU_S] - before))
    return report


def _cpu_s() -> float:
    """Of this process, and of those that it started and saw end."""
    return sum(os.times()[:4])


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """How the minutes of a run in several processes were spent."""
    if not terminalreporter.config.getoption("numprocesses", None):
        return
    seconds, cpu_s = defaultdict[str, float](float), defaultdict[str, float](float)
    tests = Counter[str]()
    for report in chain.from_iterable(terminalreporter.stats.values()):
        if isinstance(report, pytest.TestReport):
            folder = _folder(report.nodeid)
            seconds[folder] += report.duration
            for name, value in report.user_properties:
                if name == "cpu_s" and isinstance(value, float):
                    cpu_s[folder] += value
            tests[folder] += report.when == "call"
    terminalreporter.section("seconds by folder, in all processes")
    terminalreporter.write_line("seconds  of a core  tests")
    for folder in sorted(seconds, key=seconds.__getitem__, reverse=True):
        line = f"{seconds[folder]:7.0f} {cpu_s[folder]:10.0f} {tests[folder]:6}  tests/{folder}"
        terminalreporter.write_line(line)


def _folder(nodeid: str) -> str:
    return nodeid.split("/")[1]


def _is_heavy(item: pytest.Item) -> bool:
    fixtures = set(item.fixturenames) if isinstance(item, pytest.Function) else set()
    return bool(fixtures & _SERVER_FIXTURES) or item.get_closest_marker("slow") is not None


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
    with servers.run(pytestconfig.stash[_CHOICE], servers.SHORT_LIVED) as bootstrap:
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
def no_collections() -> Iterator[None]:
    """Only reference counts free anything, as in processes that hold a shard."""
    gc.collect()
    gc.disable()
    yield
    gc.enable()


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
