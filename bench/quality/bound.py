"""The hindsight bound: the least that serving all orders can cost, had they all been known."""

from collections import Counter
from collections.abc import Sequence
from typing import Final, NamedTuple

import highspy
import numpy as np

from bench.quality.instances import Instance, Order, package_costs, unit_costs

_INFINITY: Final = float(highspy.kHighsInf)


class _Row(NamedTuple):
    """`at_least` <= sum of factor times column <= `at_most`."""

    at_least: float
    at_most: float
    columns: Sequence[int]
    factors: Sequence[float]


def hindsight(instance: Instance) -> float:
    """Cents, by linear programming (HiGHS): lines and packages may be divided.

    Columns: the part of an order's line that a node ships, and the part of a package that it
    sends, which is at least the part of every line in it. A node ships no more of a sku than it
    has. Equal orders share columns.
    """
    cost: list[float] = []
    most: list[int] = []
    rows: list[_Row] = []
    shipped: dict[tuple[int, int], tuple[list[int], list[float]]] = {}
    orders = Counter(Order(zone, tuple(sorted(lines))) for zone, lines in instance.orders)
    for order, count in orders.items():
        packages, units_at = package_costs()[order.zone], unit_costs()[order.zone]
        alone = len(order.lines) == 1  # its line is its package
        package: dict[int, int] = {}
        for sku, units in order.lines:
            parts = []
            for node in range(instance.supplier + 1):
                if node != instance.supplier and not instance.stock[node][sku]:
                    continue
                part = len(cost)
                parts.append(part)
                cost.append(units * units_at[node] + (packages[node] if alone else 0))
                most.append(count)
                if node != instance.supplier:
                    columns, factors = shipped.setdefault((node, sku), ([], []))
                    columns.append(part)
                    factors.append(units)
                if alone:
                    continue
                if node not in package:
                    package[node] = len(cost)
                    cost.append(packages[node])
                    most.append(count)
                rows.append(_Row(0, _INFINITY, (package[node], part), (1, -1)))
            rows.append(_Row(count, count, parts, [1] * len(parts)))
    for (node, sku), (columns, factors) in shipped.items():
        rows.append(_Row(-_INFINITY, instance.stock[node][sku], columns, factors))
    return _least(cost, most, rows)


def _least(cost: Sequence[float], most: Sequence[int], rows: Sequence[_Row]) -> float:
    """The optimum; AssertionError where HiGHS finds none."""
    model = highspy.HighsLp()
    model.num_col_ = len(cost)
    model.num_row_ = len(rows)
    model.col_cost_ = np.array(cost, dtype=np.float64)
    model.col_lower_ = np.zeros(len(cost))
    model.col_upper_ = np.array(most, dtype=np.float64)
    model.row_lower_ = np.array([row.at_least for row in rows], dtype=np.float64)
    model.row_upper_ = np.array([row.at_most for row in rows], dtype=np.float64)
    matrix = model.a_matrix_
    matrix.format_ = highspy.MatrixFormat.kRowwise
    matrix.start_ = np.cumsum([0, *(len(row.columns) for row in rows)], dtype=np.int32)
    matrix.index_ = np.array([column for row in rows for column in row.columns], dtype=np.int32)
    matrix.value_ = np.array([factor for row in rows for factor in row.factors], dtype=np.float64)
    solver = highspy.Highs()  # type: ignore[no-untyped-call]
    solver.setOptionValue("output_flag", False)  # noqa: FBT003 - the library's own signature
    solver.passModel(model)
    solver.run()
    status = solver.getModelStatus()
    if status != highspy.HighsModelStatus.kOptimal:
        raise AssertionError(f"HiGHS found no optimum: {status}")
    return float(solver.getInfo().objective_function_value)
