"""Every scenario of this folder, on `headrace run` over real Kafka and PostgreSQL.

A scenario knows CONTRACT.md alone: `headrace send` in, HTTP out (run.py says how it is written).
"""

import os
import secrets
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import psycopg
import pytest
from psycopg import sql

HERE = Path(__file__).parent
SCENARIOS = sorted(path.name for path in HERE.glob("*.json"))
HEADRACE = (sys.executable, "-m", "orchestrator.cli")
AT_ONCE = 3
WITHIN_S = 60  # a step's expectations come true, on a machine that does other things too
START_S = 60
STOP_S = 20


@pytest.fixture(scope="module")
def environment(kafka: str, postgres_server: str) -> Iterator[dict[str, str]]:
    """Settings of a Headrace of our own, where an order waits 10 s for its items."""
    name = f"t{secrets.token_hex(4)}"
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    with psycopg.connect(postgres_server, autocommit=True) as admin:
        admin.execute(sql.SQL("CREATE DATABASE {}").format(sql.Identifier(name)))
        yield {
            **os.environ,
            "HEADRACE_KAFKA": kafka,
            "HEADRACE_POSTGRES": f"{postgres_server.rpartition('/')[0]}/{name}",
            "HEADRACE_PREFIX": f"{name}-",
            "HEADRACE_HTTP": f"127.0.0.1:{port}",
            "HEADRACE_ORDER_WAIT_SECONDS": "10",
            "HEADRACE_NETWORK_WAIT_SECONDS": "3",
        }
        admin.execute(sql.SQL("DROP DATABASE {} WITH (FORCE)").format(sql.Identifier(name)))


@pytest.fixture(scope="module")
def running(
    environment: dict[str, str], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[dict[str, str]]:
    """`headrace run` with all its roles, started as a person would; stopped, it says goodbye."""
    for setup in (("topics", "create"), ("db", "migrate")):
        subprocess.run([*HEADRACE, *setup], env=environment, check=True, timeout=START_S)
    said = tmp_path_factory.mktemp("headrace") / "log"
    with (
        said.open("wb") as log,
        subprocess.Popen([*HEADRACE, "run"], env=environment, stderr=log) as process,
    ):
        try:
            _wait_until_ready(environment["HEADRACE_HTTP"], process, said)
            yield environment
            process.send_signal(signal.SIGTERM)
            assert process.wait(STOP_S) == 0, said.read_text()[-3000:]
        finally:
            if process.poll() is None:
                process.kill()
    lines = said.read_text().splitlines()
    errors = [line for line in lines if "[error" in line and "[aiokafka." not in line]
    assert not errors, "\n".join(errors)


def _wait_until_ready(http: str, process: subprocess.Popen[bytes], said: Path) -> None:
    deadline = time.monotonic() + START_S
    while True:
        assert process.poll() is None, said.read_text()[-3000:]
        try:
            with urllib.request.urlopen(f"http://{http}/health/ready", timeout=5):
                return
        except (urllib.error.URLError, OSError):
            assert time.monotonic() < deadline, said.read_text()[-3000:]
            time.sleep(0.1)


@pytest.fixture(scope="module")
def outcomes(
    running: dict[str, str], request: pytest.FixtureRequest
) -> dict[str, subprocess.CompletedProcess[str]]:
    """How the chosen scenarios went, a few at a time: each has ids of its own."""
    chosen = [
        str(item.callspec.params["scenario"])
        for item in request.session.items
        if isinstance(item, pytest.Function) and item.originalname == test_it_holds.__name__
    ]

    def run(scenario: str) -> subprocess.CompletedProcess[str]:
        http, headrace = f"http://{running['HEADRACE_HTTP']}", " ".join(HEADRACE)
        options = ["--http", http, "--headrace", headrace, "--timeout", f"{WITHIN_S}"]
        command = [sys.executable, "run.py", *options, scenario]
        return subprocess.run(
            command,
            cwd=HERE,
            env={**running, "PYTHONPATH": str(HERE.parents[1])},
            capture_output=True,
            text=True,
            timeout=10 * WITHIN_S,
            check=False,
        )

    with ThreadPoolExecutor(AT_ONCE) as pool:
        return dict(zip(chosen, pool.map(run, chosen), strict=True))


@pytest.mark.parametrize("scenario", SCENARIOS)
def test_it_holds(scenario: str, outcomes: dict[str, subprocess.CompletedProcess[str]]) -> None:
    outcome = outcomes[scenario]
    assert outcome.returncode == 0, outcome.stdout + outcome.stderr
