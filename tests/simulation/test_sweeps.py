"""Every resume point and every end of a call, one run each; and that none was left out."""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.simulation.campaign import Total, campaign
from tests.simulation.sweep import SCENARIOS, variations

ROOT = Path(__file__).parents[2]
ROLES = (
    "orchestrator/runtime/engine.py",
    "orchestrator/runtime/history.py",
    "orchestrator/runtime/intake.py",
    "orchestrator/runtime/publisher.py",
    "orchestrator/runtime/relay.py",
    "orchestrator/runtime/shadow.py",
    "orchestrator/runtime/snapshots.py",
    "orchestrator/runtime/standby.py",
    "orchestrator/runtime/whole.py",
    "projections/projector.py",
    "schemas/voids.py",
)
RETAINED = "orchestrator/runtime/whole.py"
"""What it does where retention takes what it reads, commands ask for and no role does."""
CALLS = {"append", "apply", "bounds", "changes", "checkpoint", "describe", "load", "read", "reader"}
CALLS |= {"begin", "commit", "save", "transactional", "trim", "writer"}
PORTS = {"_log", "log", "_group", "group", "database", "_reader", "reader", "_network", "writer"}
PORTS |= {"_writer", "_role", "_transactions", "transactional"}

OF_A_PLACE = 2
"""Of the times that a scenario comes by a place; `make soak` has all of them."""


def _awaits(path: str) -> Iterator[tuple[int, int, str]]:
    """First line, last line and text of each await of a port's call."""
    module = ast.parse((ROOT / path).read_text())
    handlers = [one for one in ast.walk(module) if isinstance(one, ast.ExceptHandler)]
    left_out = {id(node) for one in handlers if path == RETAINED for node in ast.walk(one)}
    for node in ast.walk(module):
        if (
            id(node) not in left_out
            and isinstance(node, ast.Await)
            and isinstance(node.value, ast.Call)
        ):
            called = node.value.func
            if isinstance(called, ast.Attribute) and called.attr in CALLS:
                owner = ast.unparse(called.value).rpartition(".")[2]
                if owner in PORTS and (owner, called.attr) != ("writer", "trim"):
                    yield node.lineno, node.end_lineno or node.lineno, ast.unparse(node)


@pytest.mark.slow
def test_no_promise_is_broken_wherever_a_host_crashes_and_however_a_call_ends() -> None:
    total = Total()
    plans = (plan for one in SCENARIOS.values() for plan in variations(one, OF_A_PLACE))
    for one in campaign(plans):
        total.add(one)
    assert not total.failures, "\n".join(map(str, total.failures[:10]))
    crashed = {(path, int(line), phase) for path, line, phase in total.sites if line}
    missed = [
        f"{path}:{first} {phase} {text}"
        for path in ROLES
        for first, last, text in _awaits(path)
        for phase in ("before", "after")
        if not any(
            path == at and first <= line <= last and what.startswith(phase)
            for at, line, what in crashed
        )
    ]
    assert not missed, "\n".join(missed)
