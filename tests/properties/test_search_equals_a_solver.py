"""The exact search against HiGHS on instances that brute force can't do; and what is only found."""

import random
from itertools import product

import highspy
import pytest

from orchestrator.core.sourcing.search import (
    ANY,
    ONE,
    WHOLE,
    Contents,
    Plan,
    Problem,
    best_two,
)

Column = tuple[int, Contents, int]
"""A leg that can be: node, contents, value."""


def instance(
    chance: random.Random,
    lines: int,
    nodes: int,
    palette: tuple[int, ...],
    *,
    most: int = 3,
    plenty: float = 0,
) -> Problem:
    """Orders of some lines; costs with jumps where a second parcel is needed or a day is full."""
    modes = [chance.choice(palette) for _ in range(lines)]
    targets = [
        chance.randint(2, most) if mode == ANY else chance.choice((1, 1, 2)) for mode in modes
    ]
    plenty = plenty or chance.choice((0.25, 0.5, 0.8))
    free = [
        [chance.randint(1, t + 1) if chance.random() < plenty else 0 for t in targets]
        for _ in range(nodes)
    ]
    base = [chance.randint(600, 1100) for _ in range(nodes)]
    unit = [chance.randint(30, 240) for _ in range(nodes)]
    jump = [chance.choice((0, 0, 300, 900)) for _ in range(nodes)]
    parcel = chance.randint(2, 6)
    closed = {(n, i) for n in range(nodes) for i in range(lines) if chance.random() < 0.05}

    def value(node: int, contents: Contents) -> int | None:
        units = sum(contents)
        if any(given and (node, i) in closed for i, given in enumerate(contents)):
            return None
        return base[node] + unit[node] * units + jump[node] * ((units - 1) // parcel)

    minimum = chance.choice((0, 0, 0, 2))
    return Problem(
        targets,
        modes,
        nodes,
        lambda: free,
        value,
        floor=chance.choice((0, 630)),
        max_legs=chance.choice((None, None, 2, 3, 4)),
        leg_min=(lambda contents: sum(contents) >= minimum) if minimum else None,
        extra_leg=chance.choice((0, 100)),
    )


def columns(problem: Problem) -> list[Column]:
    """Every leg that can be."""
    found = []
    for node, row in enumerate(problem.free()):
        ways = []
        for free, target, mode in zip(row, problem.targets, problem.modes, strict=True):
            there = min(free, target)
            if mode == ANY:
                ways.append(list(range(there + 1)))
            else:
                ways.append([0, there] if there == target or (mode == ONE and there) else [0])
        for contents in product(*ways):
            worth = problem.value(node, contents) if any(contents) else None
            if worth is not None:
                found.append((node, contents, worth))
    return found


def optimum(problem: Problem) -> tuple[int, int]:
    """Units, then value, of the best plan: by HiGHS, one binary variable a column."""
    every = columns(problem)
    best = max(((sum(c), -worth) for _, c, worth in every), default=(0, 0))  # of one leg
    allowed = [c for c in every if problem.leg_min is None or problem.leg_min(c[1])]
    if not allowed:
        return best[0], -best[1]
    bounds: list[tuple[int, list[float]]] = [  # at most so many, and each column's weight in it
        (1, [float(node == n) for n, _, _ in allowed]) for node in range(problem.nodes)
    ]
    for i, mode in enumerate(problem.modes):
        bounds.append(
            (
                problem.targets[i] if mode == ANY else 1,
                [float(c[i] if mode == ANY else c[i] > 0) for _, c, _ in allowed],
            )
        )
    if problem.max_legs:
        bounds.append((problem.max_legs, [1.0] * len(allowed)))
    units = solved([-float(sum(c)) for _, c, _ in allowed], bounds)
    assert units is not None
    bounds.append((units, [-float(sum(c)) for _, c, _ in allowed]))
    worth = solved([float(w + problem.extra_leg) for _, _, w in allowed], bounds)
    assert worth is not None
    if units:
        best = max(best, (-units, problem.extra_leg - worth))
    return best[0], -best[1]


def solved(costs: list[float], bounds: list[tuple[int, list[float]]]) -> int | None:
    """The least sum of the costs of a choice of columns within all bounds."""
    model = highspy.HighsLp()
    model.num_col_ = len(costs)
    model.num_row_ = len(bounds)
    model.col_cost_ = costs
    model.col_lower_ = [0.0] * len(costs)
    model.col_upper_ = [1.0] * len(costs)
    model.integrality_ = [highspy.HighsVarType.kInteger] * len(costs)
    model.row_lower_ = [-float(highspy.kHighsInf)] * len(bounds)
    model.row_upper_ = [float(most) for most, _ in bounds]
    starts, index, values = [0], [], []
    for _, weights in bounds:
        for column, weight in enumerate(weights):
            if weight:
                index.append(column)
                values.append(weight)
        starts.append(len(index))
    model.a_matrix_.format_ = highspy.MatrixFormat.kRowwise
    model.a_matrix_.start_ = starts
    model.a_matrix_.index_ = index
    model.a_matrix_.value_ = values
    solver = highspy.Highs()  # type: ignore[no-untyped-call]
    solver.setOptionValue("output_flag", False)  # noqa: FBT003 - the library's own signature
    solver.setOptionValue("threads", 1)
    solver.setOptionValue("mip_rel_gap", 0.0)
    solver.setOptionValue("mip_abs_gap", 0.5)
    solver.passModel(model)
    solver.run()
    if solver.getModelStatus() != highspy.HighsModelStatus.kOptimal:
        return None
    return round(solver.getInfo().objective_function_value)


def check(problem: Problem, plan: Plan) -> None:
    """The plan keeps every rule and is worth what it says."""
    values = [problem.value(node, contents) for node, contents in plan.legs]
    legs = len(plan.legs)
    assert sum(v for v in values if v is not None) + problem.extra_leg * (legs - 1) == plan.value
    assert None not in values
    assert sum(sum(contents) for _, contents in plan.legs) == plan.units
    assert [node for node, _ in plan.legs] == sorted({node for node, _ in plan.legs})
    assert legs <= (problem.max_legs or legs)
    for node, contents in plan.legs:
        assert any(contents)
        assert legs == 1 or problem.leg_min is None or problem.leg_min(contents)
        for free, target, mode, units in zip(
            list(problem.free())[node], problem.targets, problem.modes, contents, strict=True
        ):
            allowed = {
                WHOLE: {0, target} if free >= target else {0},
                ONE: {0, min(free, target)},
                ANY: set(range(min(free, target) + 1)),
            }
            assert units in allowed[mode]
    for i, target in enumerate(problem.targets):
        given = [contents[i] for _, contents in plan.legs if contents[i]]
        assert sum(given) <= target
        assert problem.modes[i] == ANY or len(given) <= 1


WAYS = {
    "whole": ((5, 7), (10, 24), (WHOLE,)),
    "mixed": ((4, 5), (8, 16), (WHOLE, WHOLE, ONE, ANY)),
    "divided": ((2, 3), (8, 16), (ANY, ANY, WHOLE)),
}


@pytest.mark.parametrize(
    "way", [way if way == "divided" else pytest.param(way, marks=pytest.mark.slow) for way in WAYS]
)
def test_equals_the_optimum_of_a_solver(way: str) -> None:
    lines, nodes, palette = WAYS[way]
    for seed in range(105):
        chance = random.Random(f"{way} {seed}")
        problem = instance(chance, chance.randint(*lines), chance.randint(*nodes), palette)
        answer = best_two(problem)
        for plan in answer.best, answer.second:
            if plan:
                check(problem, plan)
        found = (answer.best.units, answer.best.value) if answer.best else (0, 0)
        assert (answer.exact, found) == (True, optimum(problem)), f"{way} {seed}"


def test_what_is_only_found_keeps_the_rules_and_its_bound_and_comes_near() -> None:
    as_good = 0
    for seed in range(20):
        chance = random.Random(seed)
        problem = instance(chance, 11, 8, (WHOLE, WHOLE, ANY), most=2, plenty=0.3)
        answer = best_two(problem)
        best = optimum(problem)
        found = answer.best
        assert found is not None
        assert answer.bound is not None or answer.exact
        check(problem, found)
        if answer.second:
            check(problem, answer.second)
            assert (-found.units, found.value) <= (-answer.second.units, answer.second.value)
        for had, value in (best, (found.units, found.value)):
            bound = answer.bound or best
            assert (-had, value) >= (-bound[0], bound[1]), f"seed {seed}"
        as_good += (found.units, found.value) == best
    assert as_good >= 15
