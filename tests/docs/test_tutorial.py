"""The tutorial, word by word, on real servers; then what other pages show of the same orders."""

import os
import re
import shutil
import signal
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import zip_longest
from pathlib import Path

import pytest

from orchestrator.embedded.server import free_port
from tests.docs.pages import NAMES, ROOT, Sample, samples

TUTORIAL = "docs/tutorial/first-order.md"
A_DAY = "docs/tutorial/ask-a-day.md"
AFTERWARDS = [
    "docs/how-to/explain-a-decision.md",
    "docs/how-to/ask-what-was-true-then.md",
    "docs/how-to/rebuild-read-models.md",
]
WITHIN_S = 30.0
LONG_S = 120.0


def shell(kafka: str, postgres: str, prefix: str) -> dict[str, str]:
    """The environment of a reader's shell: this checkout's commands, on these servers."""
    return {
        "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
        "PYTHONPATH": str(ROOT),
        "LANG": "C.UTF-8",
        "COLUMNS": "200",
        "HEADRACE_KAFKA": kafka,
        "HEADRACE_KAFKA_FETCH_WAIT_MS": "10",
        "HEADRACE_POSTGRES": postgres,
        "HEADRACE_PREFIX": prefix,
        "HEADRACE_HTTP": f"127.0.0.1:{free_port()}",
    }


@contextmanager
def serving(command: str, environment: dict[str, str], log: Path) -> Iterator[None]:
    """The command runs, and is ready; it stops when told to."""
    with log.open("wb") as output:
        process = subprocess.Popen(
            ["bash", "-c", f"exec {command}"], env=environment, cwd=ROOT, stderr=output
        )
    try:
        ready = f"http://{environment['HEADRACE_HTTP']}/health/ready"
        deadline = time.monotonic() + WITHIN_S
        while not answers(ready):
            assert process.poll() is None, log.read_text()
            assert time.monotonic() < deadline, log.read_text()
            time.sleep(0.1)
        yield
    finally:
        process.send_signal(signal.SIGTERM)
        assert process.wait(WITHIN_S) == 0


def answers(url: str) -> bool:
    try:
        with urllib.request.urlopen(url, timeout=1) as answer:  # noqa: S310 - our own address
            return bool(answer.status == 200)
    except OSError:
        return False


def run(script: str, environment: dict[str, str], folder: Path = ROOT) -> str:
    done = subprocess.run(
        ["bash", "-euo", "pipefail", "-c", script],
        env=environment,
        cwd=folder,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        timeout=LONG_S,
        check=False,
    )
    output = done.stdout.decode()
    assert done.returncode == 0, f"{script}\n{output}"
    return output


def missing(shown: str, output: str) -> list[str]:
    """The lines that should have been shown and were not; "…" stands for anything.

    What tables have behind their last column counts for nothing.
    """
    lines = [line.rstrip() for line in output.splitlines()]
    return [
        wanted
        for wanted in map(str.rstrip, shown.splitlines())
        if not any(
            re.fullmatch(".*".join(map(re.escape, wanted.split("…"))), line) for line in lines
        )
    ]


@pytest.mark.skipif(shutil.which("curl") is None, reason="the tutorial uses curl")
def test_the_tutorial_and_what_builds_on_it_show_what_they_say(
    kafka: str, postgres: str, prefix: str, tmp_path: Path
) -> None:
    environment = shell(kafka, postgres, prefix)
    http = environment["HEADRACE_HTTP"]
    steps = [
        sample._replace(body=sample.body.replace("127.0.0.1:8080", http))
        for page in [TUTORIAL, *AFTERWARDS]
        for sample in samples(NAMES[page])
        if sample.use
    ]
    done = [sample for sample in steps if sample.use == "run"]
    assert len(done) >= 12, "the pages have lost their marks"
    serve = next(i for i, sample in enumerate(steps) if sample.use == "serve")
    check(steps[:serve], environment)
    with serving(steps[serve].body, environment, tmp_path / "log"):
        check(steps[serve + 1 :], environment)


@contextmanager
def the_demo(command: str, environment: dict[str, str], log: Path) -> Iterator[str]:
    """The demo runs, and has a day; what it said so far. What it exports is in the environment."""
    with log.open("wb") as output:
        process = subprocess.Popen(
            ["bash", "-c", f"exec {command}"],
            env=environment,
            cwd=ROOT,
            stdout=output,
            stderr=output,
        )
    try:
        deadline = time.monotonic() + LONG_S
        while "still serving" not in (said := log.read_text()):
            assert process.poll() is None, said
            assert time.monotonic() < deadline, said
            time.sleep(0.1)
        environment.update(re.findall(r"^export (\w+)=(.*)$", said, re.MULTILINE))
        yield said
    finally:
        process.send_signal(signal.SIGINT)
        assert process.wait(WITHIN_S) == 0


@pytest.mark.skipif(shutil.which("curl") is None, reason="the tutorial uses curl")
def test_the_analysts_tutorial_shows_what_it_says(
    kafka: str, postgres: str, tmp_path: Path
) -> None:
    environment = shell(kafka, postgres, "")
    steps = [sample for sample in samples(NAMES[A_DAY]) if sample.use]
    serve, shown, *steps = steps
    assert (serve.use, shown.use) == ("serve", "shows")
    assert len([step for step in steps if step.use == "run"]) >= 7, "the page has lost its marks"
    with the_demo(serve.body, environment, tmp_path / "log") as said:
        assert not missing(shown.body, said), said
        (tmp_path / "mine").mkdir()
        check(steps, environment, tmp_path / "mine")
    assert "<svg" in (tmp_path / "mine" / "report.html").read_text()


def check(steps: list[Sample], environment: dict[str, str], folder: Path = ROOT) -> None:
    """Run each step. Read models lag, so it is run again until it shows what it should."""
    for step, after in zip_longest(steps, steps[1:]):
        if step is None or step.use != "run":
            continue
        shown = after.body if after is not None and after.use == "shows" else ""
        deadline = time.monotonic() + WITHIN_S
        output = run(step.body, environment, folder)
        while missing(shown, output):
            where = f"{step.page}:{step.line}"
            assert time.monotonic() < deadline, (where, missing(shown, output), output)
            time.sleep(0.2)
            output = run(step.body, environment, folder)
