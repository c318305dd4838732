"""What a person orders to be skipped: nothing comes of it, and it is not come to again."""

from typing import Any

import pytest

from orchestrator.core.decide import decide, next_due_ms, skip, tick, work_due
from tests.core.story import Story


@pytest.mark.parametrize(
    ("timer", "fails"),
    [((1, 0, "nonsense", ()), KeyError), ((1, 0, "release", ("a", "b")), TypeError)],
)
def test_a_timer_that_no_tick_can_decide_is_taken_off_by_a_skip(
    shop: Story, timer: tuple[int, int, str, tuple[Any, ...]], fails: type[Exception]
) -> None:
    shard = shop.shard
    shard.timers.insert(0, timer)
    now = tick(shop.now_ms)
    assert work_due(shard, shop.now_ms)
    with pytest.raises(fails):
        decide(shard, now)
    shard.timers.insert(0, timer)  # what was decided is forgotten
    fired, skipped = skip(shard, now, "defect 7", "ada")
    assert fired["type"] == "timer_fired"
    assert skipped == {"type": "input_skipped", "reason": "defect 7", "by": "ada"}
    assert next_due_ms(shard) != 1
    assert decide(shard, now) == []
