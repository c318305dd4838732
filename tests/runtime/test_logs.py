"""What libraries say again and again is written now and then, and nothing else is held back."""

import logging

from orchestrator.runtime.logs import Repeats
from tests.runtime.test_engine import SetClock

FAILED = "Unable connect to node with id %s"


def said(repeats: Repeats, message: str, *args: object, name: str = "aiokafka.conn") -> str | None:
    record = logging.LogRecord(name, logging.WARNING, "conn.py", 7, message, args, None)
    return record.getMessage() if repeats.filter(record) else None


def test_a_librarys_warning_is_written_once_in_10_s_with_how_many_were_held_back() -> None:
    clock = SetClock()
    repeats = Repeats(clock)
    assert said(repeats, FAILED, 1) == "Unable connect to node with id 1"
    for node in range(7):
        assert said(repeats, FAILED, node) is None
    assert said(repeats, "Something else") == "Something else"
    clock.now += 10_001
    assert said(repeats, FAILED, 2) == "Unable connect to node with id 2 (7 more of these in 10 s)"
    clock.now += 10_001
    assert said(repeats, FAILED, 3) == "Unable connect to node with id 3"


def test_what_headrace_says_is_never_held_back() -> None:
    repeats = Repeats(SetClock())
    for _ in range(3):
        assert said(repeats, "halted", name="orchestrator.runtime.engine") == "halted"
