"""What no producer should send, through intake itself."""

import os

import pytest

from tests.intake.hostile import GROWS_MB, KINDS, LARGE_EVERY, attack

COUNT = int(os.environ.get("HEADRACE_TEST_HOSTILE", "100000"))
SEED = int(os.environ.get("HEADRACE_TEST_SEED", "1"))


async def _all_rejected(count: int) -> None:
    tally = await attack(SEED, count)
    assert tally.sent.total() == count
    assert tally.sent["large"] == count // LARGE_EVERY
    assert set(tally.sent) == {*KINDS, "large"}
    assert tally.taken == [], f"seed {SEED}"
    assert tally.rejected.total() == count
    assert len(tally.rejected) >= 8, tally.rejected
    assert tally.grown_mb < GROWS_MB, f"{tally.grown_mb:.0f} MB"


@pytest.mark.usefixtures("_quiet")
async def test_every_one_of_a_few_hostile_inputs_is_rejected_with_its_reason() -> None:
    await _all_rejected(LARGE_EVERY)


@pytest.mark.slow
@pytest.mark.usefixtures("_quiet")
async def test_every_one_of_many_hostile_inputs_is_rejected_in_bounded_memory() -> None:
    await _all_rejected(COUNT)
