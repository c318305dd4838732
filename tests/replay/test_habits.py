"""What answers are drawn from that history hasn't: how long others took, or wait already."""

from itertools import pairwise
from random import Random

import pytest

from orchestrator.replay.habits import NEVER_MS, Draws, Habits, Sample


def test_a_long_sample_is_thinned_out_evenly() -> None:
    sample = Sample()
    for number in range(100_000):
        sample.add(number, [])
    times = [after_ms for after_ms, _ in sample.waits]
    assert 2_000 <= len(times) <= 4_000
    assert len({b - a for a, b in pairwise(times)}) == 1
    assert times[0] == 0
    assert times[-1] > 95_000


def test_answers_are_drawn_from_the_nearest_work_there_was() -> None:
    habits = Habits()
    habits.looked("BOS", 10, [0.0, ""])
    habits.looked("CHI", 20, [1.0, "other"])
    habits.shipped("BOS", 0, 100, [])
    habits.shipped("BOS", 2, 300, [])
    habits.shipped("CHI", 1, 200, [])
    habits.arrived(2, 1_000, [])
    habits.arrived(5, 5_000, [])
    draws = Draws(habits.told())

    def draw(node_id: str, ahead: int, transit: int) -> tuple[int, int, int]:
        found = draws.draw(Random(1), node_id, ahead, transit)
        assert found is not None
        return found.look.after_ms, found.ship_after_ms, found.arrive_after_ms

    assert draw("BOS", 2, 5) == (10, 300, 5_000)
    assert draw("BOS", 1, 2) == (10, 200, 1_000)  # as CHI did for as many days ahead
    assert draw("CHI", 0, 2)[:2] == (20, 100)
    assert Draws(Habits().told()).draw(Random(1), "BOS", 0, 0) is None


def test_all_that_was_answered_is_drawn_alike_where_nobody_waits() -> None:
    sample = Sample()
    for after_ms in (7, 5, 5, 9):
        sample.add(after_ms, [])
    assert sample.told() == [[5, 5, 7, 9], [], 0, 9]


def test_who_waits_counts_as_long_as_he_has_waited() -> None:
    """Weeks in remission of 21 patients (Freireich et al., Blood 21, 1963), of whom 12 still are.

    The product-limit estimate of them stands in many textbooks.
    """
    sample = Sample()
    for weeks in (6, 6, 6, 7, 10, 13, 16, 22, 23):
        sample.add(weeks, [])
    for weeks in (6, 9, 10, 11, 17, 19, 20, 25, 32, 32, 34, 35):
        sample.add(weeks, None)
    times, _, later, longest = sample.told()
    assert (len(times) + later, longest) == (21, 35)
    estimate = {6: 0.857, 7: 0.807, 10: 0.753, 13: 0.690, 16: 0.627, 22: 0.538, 23: 0.448}
    for weeks, left in estimate.items():
        assert sum(one > weeks for one in times) + later == pytest.approx(21 * left, abs=0.51)


def test_a_young_history_draws_as_slowly_as_an_old_one() -> None:
    luck = Random(7)
    young, old, quick = Habits(), Habits(), []
    hour = 3_600_000
    for _ in range(1_500):
        takes = int(luck.uniform(0, 10 * hour))
        old.shipped("BOS", 0, takes, [])
        since = int(luck.uniform(0, 8 * hour))  # before history ends
        young.shipped("BOS", 0, min(takes, since), [] if takes <= since else None)
        quick += [takes] if takes <= since else []
    for habits in (young, old):
        habits.looked("BOS", 0, [0.0, ""])

    def until(habits: Habits, ms: int) -> float:
        draws, chance = Draws(habits.told()), Random(1)
        drawn = [draws.draw(chance, "BOS", 0, 0) for _ in range(4_000)]
        return sum(one is not None and one.ship_after_ms <= ms for one in drawn) / 4_000

    for hours in (1, 2, 4, 6):
        assert until(old, hours * hour) == pytest.approx(hours / 10, abs=0.03)
        assert until(young, hours * hour) == pytest.approx(hours / 10, abs=0.06)
    assert sum(ms <= 2 * hour for ms in quick) / len(quick) > 0.4, "of those answered half are"


def test_what_one_node_does_not_tell_is_drawn_from_what_others_did_after_as_long() -> None:
    habits = Habits()
    for ms in (10, 20, 300, 400):
        habits.looked("BOS", 5, [0.0, ""])
        habits.shipped("BOS", 0, ms, [])
    habits.looked("CHI", 5, [0.0, ""])
    habits.shipped("CHI", 0, 100, None)
    draws, chance = Draws(habits.told()), Random(1)
    drawn = [draws.draw(chance, "CHI", 0, 0) for _ in range(200)]
    assert {one.ship_after_ms for one in drawn if one} == {300, 400}
    assert {one.arrive_after_ms for one in drawn if one} == {NEVER_MS}


def test_requests_to_stop_that_nobody_answers_are_not_answered_at_once() -> None:
    habits = Habits()
    habits.looked("BOS", 5, [0.0, ""])
    assert Draws(habits.told()).draw_cancellation(Random(1)) == (5, True)
    habits.stopped(100, None)
    assert Draws(habits.told()).draw_cancellation(Random(1)) == (NEVER_MS, True)
    habits.stopped(30, [False])
    draws, chance = Draws(habits.told()), Random(1)
    drawn = {draws.draw_cancellation(chance) for _ in range(100)}
    assert drawn == {(30, False), (NEVER_MS, True)}
