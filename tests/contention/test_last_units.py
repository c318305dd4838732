"""Nobody gets a unit that another was promised, and none is left lying beside one who waits."""

import os
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context

import pytest

from tests.contention.last_units import Rush, Tally

ATTEMPTS = int(os.environ.get("HEADRACE_TEST_ATTEMPTS", "100000"))
SEED = int(os.environ.get("HEADRACE_TEST_SEED", "1"))
_RUSHES = [(SEED + n, ATTEMPTS // 4) for n in range(4)]


def _rush(seed: int, attempts: int) -> Tally:
    try:
        tally = Rush(seed).run(attempts)
    except AssertionError as error:
        error.add_note(f"python -m tests.contention.last_units --seed {seed} --attempts {attempts}")
        raise
    assert tally.attempts == attempts
    assert tally.waited > attempts // 10, "units were to be short"
    for what in ("shipped", "rejected", "stopped"):
        assert tally.requested[what], f"none was {what}"
    assert tally.counts
    return tally


def test_the_last_units_go_once_each_in_a_short_rush() -> None:
    _rush(SEED, 2_000)


@pytest.mark.slow
def test_the_last_units_go_once_each_in_long_rushes() -> None:
    with ProcessPoolExecutor(mp_context=get_context("spawn")) as processes:
        for tally in processes.map(_rush, *zip(*_RUSHES, strict=True)):
            assert tally.requested["requested"]
