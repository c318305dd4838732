"""Keeps one server process for as long as whoever started this program lives.

Run as a program by `orchestrator.embedded.server`, standard library only. It

1. runs the plan's commands one after the other; the last is the server, the others prepare it;
2. ends at once where one of them ends by itself (a preparation: badly);
3. else goes on until its standard input is closed or its parent is gone, by a clean stop, a crash
   or SIGKILL;
4. then stops the server, kills what is left of its process group, and removes the plan's directory
   where it is a temporary one.

The commands' output goes to this program's standard error, the server's log.
"""

import contextlib
import ctypes
import json
import os
import select
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable
from typing import TypedDict

_PR_SET_PDEATHSIG = 1
_PARENT_CHECK_S = 1.0
_GRACE_S = 10.0


class Plan(TypedDict):
    """What to run, where, as whom, and how it ends."""

    commands: list[list[str]]
    directory: str  # the working directory
    environment: dict[str, str]
    account: tuple[int, int] | None  # user and group id; None: our own
    stop_signal: int
    temporary: bool  # remove the directory when released


def main() -> int:
    """Keep the server of the plan in the argument (JSON); 1 where it ended by itself, else 0."""
    plan: Plan = json.loads(sys.argv[1])
    parent = os.getppid()
    woken, wake = os.pipe()
    os.set_blocking(wake, False)
    signal.signal(signal.SIGCHLD, lambda _signal, _frame: None)
    signal.set_wakeup_fd(wake, warn_on_full_buffer=False)
    die_with_us = _death_signal()
    for command in plan["commands"]:
        status = _run(command, plan, die_with_us, woken, parent)
        if status is None:
            if plan["temporary"]:
                shutil.rmtree(plan["directory"], ignore_errors=True)
            return 0
        if status != 0:
            break
    return 1


def _run(
    command: list[str],
    plan: Plan,
    die_with_us: Callable[[], None] | None,
    woken: int,
    parent: int,
) -> int | None:
    """Run `command`: its exit status, or None where we are released before, and it is stopped."""
    user, group = plan["account"] or (None, None)
    with subprocess.Popen(
        command,
        cwd=plan["directory"],
        env=plan["environment"],
        stdin=subprocess.DEVNULL,
        stdout=sys.stderr,
        stderr=sys.stderr,
        user=user,
        group=group,
        extra_groups=None if group is None else [],
        start_new_session=True,
        preexec_fn=die_with_us,  # noqa: PLW1509  (this program has one thread)
    ) as child:
        while child.poll() is None:
            ready, _, _ = select.select([sys.stdin, woken], [], [], _PARENT_CHECK_S)
            if woken in ready:
                os.read(woken, 512)
            if sys.stdin in ready or os.getppid() != parent:
                _stop(child, plan["stop_signal"])
                return None
        return child.returncode


def _death_signal() -> Callable[[], None] | None:
    """What makes a child die with this program even where this program is killed hard (Linux)."""
    if sys.platform != "linux":
        return None
    prctl = ctypes.CDLL(None).prctl
    return lambda: prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)


def _stop(child: subprocess.Popen[bytes], stop_signal: int) -> None:
    child.send_signal(stop_signal)
    with contextlib.suppress(subprocess.TimeoutExpired):
        child.wait(_GRACE_S)
    with contextlib.suppress(ProcessLookupError):
        os.killpg(child.pid, signal.SIGKILL)


if __name__ == "__main__":
    sys.exit(main())
