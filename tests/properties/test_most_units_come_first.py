"""Problems too large to look at all their plans: none ships less than a plain greedy would."""

import random
from collections.abc import Callable, Sequence
from contextlib import suppress

import pytest

from orchestrator.core.sourcing.search import (
    _LOOKS_A_STEP,
    ANY,
    ONE,
    WHOLE,
    Contents,
    Offer,
    Problem,
    _node_by_node,
    _Search,
    _TooLongError,
    best_two,
)
from tests.properties.test_search_equals_a_solver import check

Rows = list[list[int]]
MODES = ((WHOLE,), (ANY,), (ANY,), (WHOLE, ANY), (ONE,), (WHOLE, ONE, ANY))


def problem_of(
    targets: Sequence[int],
    modes: Sequence[int],
    free: Rows,
    value: Callable[[int, Contents], int | None],
    *,
    max_legs: int | None = None,
    least: int = 0,
) -> Problem:
    """What nodes have decides; offers are looked up as a planner's tables would have them."""

    def cheapest_of(contents: Contents, count: int) -> list[Offer]:
        able = [
            (worth, node)
            for node, row in enumerate(free)
            if all(
                row[i] == units if modes[i] == ONE and units < targets[i] else row[i] >= units
                for i, units in enumerate(contents)
                if units
            )
            and (worth := value(node, contents)) is not None
        ]
        return sorted(able)[:count]

    return Problem(
        targets,
        modes,
        len(free),
        lambda: free,
        value,
        cheapest_of=cheapest_of,
        max_legs=max_legs,
        leg_min=(lambda contents: sum(contents) >= least) if least else None,
    )


def large(seed: int) -> tuple[Problem, int]:
    """Many nodes with few units each, or many lines; and the least units of one of several legs."""
    chance = random.Random(seed)
    lines = chance.choice((1, 1, 2, 3, 6, 11, 14, 25))
    nodes = chance.choice((15, 30, 60, 120) if lines < 25 else (15, 30))
    palette = chance.choice(MODES)
    modes = [chance.choice(palette) for _ in range(lines)]
    most = 60 // lines + 3
    targets = [chance.randint(1, most) for _ in range(lines)]
    plenty = chance.choice((0.05, 0.15, 0.4, 0.9))
    free = [
        [
            chance.randint(1, max(1, units // chance.choice((1, 2, 4, 20))))
            if chance.random() < plenty
            else 0
            for units in targets
        ]
        for _ in range(nodes)
    ]
    for i, units in enumerate(targets):
        if modes[i] == WHOLE and not any(row[i] >= units for row in free):
            modes[i] = ANY
    base = [chance.randint(500, 900) for _ in range(nodes)]
    heavy = chance.choice((None, None, None, 7))  # no service takes a leg of more

    def value(node: int, contents: Contents) -> int | None:
        units = sum(contents)
        return None if heavy and units > heavy else base[node] + units * (3 + node % 7)

    least = chance.choice((0, 0, 0, 2))
    max_legs = chance.choice((None, None, None, 4, 12))
    return problem_of(targets, modes, free, value, max_legs=max_legs, least=least), least


def gift(problem: Problem, node: int, row: Sequence[int], left: Sequence[int]) -> Contents:
    """All of a node, line by line, that is still wanted and that its leg may hold."""
    given = [0] * len(left)
    for i, (units, target, mode) in enumerate(
        zip(left, problem.targets, problem.modes, strict=True)
    ):
        there = min(units, row[i])
        if mode != ANY and (units < target or (mode == WHOLE and there < target)):
            there = 0
        for some in range(there, 0, -1) if mode == ANY else (there,) * (there > 0):
            given[i] = some
            if problem.value(node, tuple(given)) is not None:
                break
            given[i] = 0
    return tuple(given)


def plain(problem: Problem, least: int) -> int:
    """Units that a plain greedy ships: the node that gives most, then the cheapest."""
    free = list(problem.free())
    left, legs, shipped = list(problem.targets), set[int](), 0
    while len(legs) < (problem.max_legs or problem.nodes):
        gifts = [
            (-sum(contents), problem.value(node, contents) or 0, node, contents)
            for node, row in enumerate(free)
            if node not in legs and sum(contents := gift(problem, node, row, left)) >= max(least, 1)
        ]
        if not gifts:
            break
        units, _, node, contents = min(gifts)
        legs.add(node)
        shipped -= units
        for i, given in enumerate(contents):
            left[i] -= given if problem.modes[i] == ANY or not given else left[i]
    return shipped


def takes_all(problem: Problem) -> bool:
    """Whether each node may send all it has in one leg."""
    everything = [tuple(map(min, row, problem.targets)) for row in problem.free()]
    return all(problem.value(n, one) is not None for n, one in enumerate(everything) if any(one))


def reachable(problem: Problem) -> int:
    """What could be had with no limit on legs."""
    columns = zip(*problem.free(), strict=True)
    return sum(
        min(target, sum(had))
        if mode == ANY
        else max(min(one, target) if mode == ONE or one >= target else 0 for one in had)
        for target, mode, had in zip(problem.targets, problem.modes, columns, strict=True)
    )


@pytest.mark.parametrize(
    "start", [0, *(pytest.param(start, marks=pytest.mark.slow) for start in range(60, 600, 60))]
)
def test_no_plan_ships_less_than_a_plain_greedy(start: int) -> None:
    only_found = 0
    for seed in range(start, start + 60):
        problem, least = large(seed)
        answer = best_two(problem)
        only_found += not answer.exact
        shipped = answer.best.units if answer.best else 0
        assert shipped >= plain(problem, least), f"seed {seed}"
        if problem.max_legs is None and not least and takes_all(problem):
            assert shipped == reachable(problem), f"seed {seed}"
        for plan in answer.best, answer.second:
            if plan:
                check(problem, plan)
        if answer.bound and answer.best:
            assert answer.bound[0] >= shipped
    assert only_found > 10


def one_by_one(nodes: int, wanted: int, most: int) -> Problem:
    """A bulk order of an item that lies in small numbers at many nodes."""
    chance = random.Random(nodes)
    free = [[chance.randint(1, most)] for _ in range(nodes)]
    base = [chance.randint(500, 900) for _ in range(nodes)]
    return problem_of([wanted], [ANY], free, lambda node, contents: base[node] + contents[0])


@pytest.mark.parametrize(
    ("nodes", "wanted", "most"), [(40, 100, 6), (100, 60, 2), (100, 40, 1), (500, 200, 1)]
)
def test_a_line_is_divided_over_as_many_nodes_as_it_takes(
    nodes: int, wanted: int, most: int
) -> None:
    problem = one_by_one(nodes, wanted, most)
    answer = best_two(problem)
    assert answer.best is not None
    assert answer.best.units == wanted
    check(problem, answer.best)


def bulky(barred: Callable[[Contents], bool]) -> tuple[Problem, list[int]]:
    """Many lines of which each node has all; where values were asked for."""
    asked: list[int] = []

    def value(node: int, contents: Contents) -> int | None:
        asked.append(node)
        return None if barred(contents) else 500 + node

    rows = [[2] * 400] * 30
    return Problem([2] * 400, [ANY] * 400, len(rows), lambda: rows, value), asked


@pytest.mark.parametrize(
    ("barred", "units", "legs"),
    [
        (lambda _: True, 0, 0),
        (lambda contents: contents[300] > 0, 798, 1),
        (lambda contents: sum(contents) > 500, 800, 2),
        (lambda contents: any(contents[::2]) and any(contents[1::2]), 800, 2),
        (lambda contents: any(contents[:150]) and any(contents[150:]), 800, 2),
    ],
    ids=["all", "one line", "many units", "every other line", "lines that follow"],
)
def test_what_cannot_be_one_leg_is_halved_not_asked_for_line_by_line(
    barred: Callable[[Contents], bool], units: int, legs: int
) -> None:
    """A thousand lines that no node of a hundred could send took 5 s in one decision."""
    problem, asked = bulky(barred)
    best = best_two(problem).best
    assert (best.units if best else 0, len(best.legs) if best else 0) == (units, legs)
    assert len(asked) < 5_000


class Counted(dict[int, int]):
    """Least costs that count how often one is looked up."""

    seen = 0

    def __getitem__(self, part: int) -> int:
        self.seen += 1
        return super().__getitem__(part)


def test_a_search_gives_up_after_so_many_looks_and_others_run_in_between() -> None:
    """Steps into a plan were counted once: each of them looked at a hundred parts of the line."""
    search = _Search(one_by_one(100, 60, 2), [True])
    search.most_looks = 20_000
    search.least = counted = Counted({0: 0})
    steps = search.run(only_all=False)
    longest = before = 0
    while before == 0 or counted.seen > before:
        before = counted.seen
        with suppress(_TooLongError):
            next(steps, None)
        longest = max(longest, counted.seen - before)
    assert search.looks > search.most_looks
    assert counted.seen < 1.1 * search.most_looks
    assert longest < 2 * _LOOKS_A_STEP


def test_building_node_by_node_lets_others_run_after_each_state() -> None:
    problem = one_by_one(100, 40, 2)
    asked: list[int] = []
    worth = problem.value

    def value(node: int, contents: Contents) -> int | None:
        asked.append(node)
        return worth(node, contents)

    problem.value = value
    longest = before = steps = 0
    for _ in _node_by_node(problem):
        steps += 1
        longest = max(longest, len(asked) - before)
        before = len(asked)
    assert longest <= 4
    assert steps > 1_000
