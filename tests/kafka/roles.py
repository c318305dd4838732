"""Headrace's roles in processes of their own, for tests that kill them."""

import asyncio
import json
import os
import signal
import subprocess
import sys
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any

from orchestrator.embedded.server import free_port


class Process:
    """`headrace run` in a process of its own."""

    def __init__(self, roles: str, environment: dict[str, str], said: Path) -> None:
        self.roles = roles
        self.said = said
        self.http = f"127.0.0.1:{free_port()}"
        command = [sys.executable, "-m", "orchestrator.cli", "run", "--roles", roles]
        with said.open("wb") as out:
            self.running = subprocess.Popen(
                command, env={**environment, "HEADRACE_HTTP": self.http}, stderr=out
            )

    def opened(self) -> set[int]:
        """The shards that its engine says it opened."""
        return {line["shard"] for line in self.lines() if line["event"] == "open"}

    def opened_times(self) -> int:
        """How often it opened any shard."""
        return sum(line["event"] == "open" for line in self.lines())

    def lines(self) -> list[dict[str, Any]]:
        """What it said."""
        lines = self.said.read_text().splitlines()
        return [json.loads(line) for line in lines if line.startswith("{")]

    async def health(self) -> tuple[int, dict[str, Any]]:
        """The status of `/health/ready`, and what it says; 0 where nobody answers."""
        return await asyncio.to_thread(self._health)

    def _health(self) -> tuple[int, dict[str, Any]]:
        try:
            with urllib.request.urlopen(f"http://{self.http}/health/ready", timeout=2) as answer:
                return answer.status, json.loads(answer.read())
        except urllib.error.HTTPError as error:
            return error.code, json.loads(error.read())
        except OSError:
            return 0, {}

    def kill(self) -> None:
        self.running.send_signal(signal.SIGKILL)
        self.running.wait()

    async def stop(self) -> None:
        self.running.send_signal(signal.SIGTERM)
        assert await asyncio.to_thread(self.running.wait, 10) == 0, self.said.read_text()[-2000:]


class Processes:
    """Starts roles against the test's servers; what is left at the end is killed."""

    def __init__(self, at: Path, kafka: str, prefix: str, database: str, **more: str) -> None:
        """`more`: settings by name, without HEADRACE_."""
        self._at = at
        self._environment = {
            **os.environ,
            "HEADRACE_KAFKA": kafka,
            "HEADRACE_POSTGRES": database,
            "HEADRACE_PREFIX": prefix,
            "HEADRACE_LOG": "json",
            **{f"HEADRACE_{name.upper()}": value for name, value in more.items()},
        }
        self._started: list[Process] = []

    def start(self, roles: str) -> Process:
        said = self._at / f"{len(self._started)}-{roles.replace(',', '-')}.log"
        self._started.append(Process(roles, self._environment, said))
        return self._started[-1]

    async def verify(self, *options: str) -> dict[str, Any]:
        """What `headrace verify --json` says; that it found nothing."""
        command = [sys.executable, "-m", "orchestrator.cli", "verify", "--json", *options]
        done = await asyncio.to_thread(
            subprocess.run, command, env=self._environment, capture_output=True, check=False
        )
        assert done.returncode == 0, (done.stdout + done.stderr)[-3000:].decode()
        told: dict[str, Any] = json.loads(done.stdout)
        return told

    def end(self) -> None:
        for process in self._started:
            if process.running.poll() is None:
                process.kill()
