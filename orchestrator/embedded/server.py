"""What the embedded servers share: a directory, an unprivileged account, a keeper, a log."""

import json
import os
import pwd
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from orchestrator.embedded import keeper

_LOG_TAIL_LINES = 25
_KEEPER_S = 15.0  # above the keeper's own patience with a server that does not stop
_POLL_S = 0.02
_PYTHON = ("PYTHONPATH", "PYTHONSAFEPATH")
# Below the range that systems give to outgoing connections: none of those takes the port first.
_PORTS = range(15_000, 32_000)


class ServerError(Exception):
    """An embedded server is missing, or did not come up. The message says why and what to do."""


@dataclass(frozen=True, slots=True)
class Account:
    """The account that servers run under where we are root, since PostgreSQL refuses root."""

    name: str
    uid: int
    gid: int


@dataclass(frozen=True, slots=True)
class Place:
    """Where a server keeps its data and its log, and under which account it runs (None: ours)."""

    directory: Path
    temporary: bool
    account: Account | None

    def own(self, path: Path) -> None:
        """Give a file or folder that we made to the server's account."""
        if self.account is not None:
            os.chown(path, self.account.uid, self.account.gid)

    def lend(self, path: Path) -> Path:
        """`path`, or a copy of it in the directory where the account cannot reach it."""
        path = path.resolve()
        if self.account is None or reachable(path):
            return path
        copy = self.directory / "lent" / path.name
        if path.is_dir():
            shutil.copytree(path, copy)
        else:
            copy.parent.mkdir(exist_ok=True)
            shutil.copy(path, copy)
            copy.chmod(0o755)
        for lent in (copy.parent, copy, *copy.rglob("*")):
            self.own(lent)
        return copy


def reachable(path: Path) -> bool:
    """Whether any account can read `path` and pass through the folders above it."""
    return bool(path.stat().st_mode & 0o004) and all(
        folder.stat().st_mode & 0o001 for folder in path.parents
    )


def free_port() -> int:
    """A TCP port of 127.0.0.1 that nothing listens on now."""
    start = secrets.randbelow(len(_PORTS))
    for step in range(len(_PORTS)):
        port = _PORTS[(start + step) % len(_PORTS)]
        with socket.socket() as probe:
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
            return port
    raise ServerError(f"No free TCP port from {_PORTS.start} to {_PORTS.stop - 1}.")


@contextmanager
def place(directory: Path | None, name: str) -> Iterator[Place]:
    """A place for the server `name`: `directory`, which is kept, or a temporary one.

    Raises:
        ServerError: the servers' account cannot reach `directory`.
    """
    account = _unprivileged()
    if directory is None:
        made = Path(tempfile.mkdtemp(prefix=f"headrace-{name}-"))
    else:
        made = directory.resolve()
        made.mkdir(parents=True, exist_ok=True)
    it = Place(made, directory is None, account)
    try:
        if account is not None and not all(up.stat().st_mode & 0o001 for up in made.parents):
            raise ServerError(
                f"{name} runs as {account.name}, which cannot reach {made}: give a directory whose "
                "parents everybody may pass, or run as another user than root."
            )
        it.own(made)
        yield it
    finally:
        if it.temporary:
            shutil.rmtree(made, ignore_errors=True)


@contextmanager
def kept(
    name: str,
    commands: Sequence[Sequence[str | Path]],
    where: Place,
    answers: Callable[[], bool],
    *,
    within_s: float,
    stop_signal: signal.Signals,
    environment: Mapping[str, str] | None = None,
) -> Iterator[None]:
    """Run a server, the last of `commands`, after the others prepared it; enter when it answers.

    It ends with the context, or with this process, however that ends. Its output is in
    `<directory>/<name>.log`.

    Raises:
        ServerError: a command ended, or nothing answered within `within_s` seconds; with the
            log's tail.
    """
    log = where.directory / f"{name}.log"
    plan = keeper.Plan(
        commands=[[str(word) for word in command] for command in commands],
        directory=str(where.directory),
        environment={
            "HOME": str(where.directory),
            "LC_ALL": "C.UTF-8",
            "PATH": os.environ.get("PATH", os.defpath),
            "TZ": "UTC",
            # Where our own roles are started so, they are of the packages that this process runs.
            **{name: os.environ[name] for name in _PYTHON if name in os.environ},
            **(environment or {}),
        },
        account=(where.account.uid, where.account.gid) if where.account else None,
        stop_signal=stop_signal,
        temporary=where.temporary,
    )
    with log.open("ab") as output:
        process = subprocess.Popen(
            [sys.executable, "-I", "-S", keeper.__file__, json.dumps(plan)],
            stdin=subprocess.PIPE,  # closed, by us or with us, it releases the keeper
            stdout=subprocess.DEVNULL,
            stderr=output,
            start_new_session=True,  # Ctrl-C in our terminal is ours to handle
        )
    with process:
        try:
            _await_answer(name, process, answers, log, within_s)
            yield
        except Exception as error:
            if process.poll() is not None and not isinstance(error, ServerError):
                error.add_note(f"{name} had ended.{_tail(log)}")
            raise
        finally:
            try:
                process.communicate(timeout=_KEEPER_S)
            except subprocess.TimeoutExpired:
                process.kill()


def _await_answer(
    name: str,
    process: subprocess.Popen[bytes],
    answers: Callable[[], bool],
    log: Path,
    within_s: float,
) -> None:
    deadline = time.monotonic() + within_s
    while not answers():
        time.sleep(_POLL_S)
        if process.poll() is not None:
            raise ServerError(f"{name} ended before it answered.{_tail(log)}")
        if time.monotonic() > deadline:
            raise ServerError(f"{name} did not answer within {within_s:g} s.{_tail(log)}")


def _tail(log: Path) -> str:
    lines = log.read_text(errors="replace").splitlines()[-_LOG_TAIL_LINES:]
    return "\n  ".join([" The end of its log:", *lines]) if lines else " Its log is empty."


def _unprivileged() -> Account | None:
    if os.geteuid() != 0:
        return None
    try:
        nobody = pwd.getpwnam("nobody")
    except KeyError:
        raise ServerError(
            "Embedded servers do not run as root, and there is no account `nobody`: "
            "run as another user."
        ) from None
    return Account(nobody.pw_name, nobody.pw_uid, nobody.pw_gid)
