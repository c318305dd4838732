"""A seed is one run, byte for byte, whatever ran before it and however Python was started."""

import gc
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.simulation.plan import a_plan
from tests.simulation.run import simulate

ROOT = Path(__file__).parents[2]
SEED = 77
OTHERS = 50
PRINT = f"""
import gc
from tests.simulation.plan import a_plan
from tests.simulation.run import simulate
print(simulate(a_plan({SEED})).digest)
"""


def _alone(hash_seed: str) -> str:
    environment = {**os.environ, "PYTHONHASHSEED": hash_seed, "PYTHONPATH": str(ROOT)}
    ran = subprocess.run(
        [sys.executable, "-c", PRINT], capture_output=True, text=True, check=True, env=environment
    )
    return ran.stdout.strip()


@pytest.mark.slow
def test_a_seed_is_the_same_run_alone_after_others_and_under_another_hash_seed() -> None:
    first = _alone("1")
    assert _alone("2") == first
    for seed in range(OTHERS):
        simulate(a_plan(seed))
    assert simulate(a_plan(SEED)).digest == first


@pytest.mark.parametrize("thresholds", [(1, 1, 1), (700, 10, 10)])
def test_a_seed_is_the_same_run_whenever_garbage_is_collected(
    thresholds: tuple[int, int, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    first = simulate(a_plan(SEED)).digest
    before = gc.get_threshold()
    monkeypatch.setattr(gc, "disable", lambda: None)
    gc.set_threshold(*thresholds)
    try:
        assert simulate(a_plan(SEED)).digest == first
    finally:
        gc.set_threshold(*before)


def test_another_seed_is_another_run() -> None:
    assert simulate(a_plan(SEED)).digest != simulate(a_plan(SEED + 1)).digest
