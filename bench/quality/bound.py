"""The hindsight bound: the least that serving all orders can cost, all of them known before."""

from collections import Counter
from typing import Final

import highspy
import numpy as np

from bench.quality.instances import Instance, Order, package_costs, unit_costs

_SOLVED: Final = highspy.HighsModelStatus.kOptimal


def hindsight(instance: Instance) -> float:
    """Cents, by linear programming (HiGHS): lines and packages may be divided.

    Columns: the part of an order's line that a node ships, and the part of a package that a node
    sends; a package covers the largest part of a line in it. Equal orders share columns. A node
    ships no more of a sku than it has.
    """
    cost: list[float] = []
    upper: list[float] = []
    rows: list[tuple[float, float, list[int], list[float]]] = []
    shipped: dict[tuple[int, int], tuple[list[int], list[float]]] = {}
    for order, count in _alike(instance).items():
        packages = package_costs()[order.zone]
        units_at = unit_costs()[order.zone]
        alone = len(order.lines) == 1
        package: dict[int, int] = {}
        for sku, units in order.lines:
            parts = []
            for node in range(instance.supplier + 1):
                if node != instance.supplier and not instance.stock[node][sku]:
                    continue
                part = len(cost)
                parts.append(part)
                cost.append(units * units_at[node] + (packages[node] if alone else 0))
                upper.append(count)
                if node != instance.supplier:
                    columns, factors = shipped.setdefault((node, sku), ([], []))
                    columns.append(part)
                    factors.append(units)
                if not alone:
                    if node not in package:
                        package[node] = len(cost)
                        cost.append(packages[node])
                        upper.append(count)
                    rows.append((0, highspy.kHighsInf, [package[node], part], [1, -1]))
            rows.append((count, count, parts, [1.0] * len(parts)))
    for (node, sku), (columns, factors) in shipped.items():
        rows.append((-highspy.kHighsInf, instance.stock[node][sku], columns, factors))
    return _solve(cost, upper, rows)


def _alike(instance: Instance) -> Counter[Order]:
    return Counter(Order(zone, tuple(sorted(lines))) for zone, lines in instance.orders)


def _solve(cost, upper, rows) -> float:
    model = highspy.HighsLp()
    model.num_col_ = len(cost)
    model.num_row_ = len(rows)
    model.col_cost_ = np.array(cost, dtype=np.float64)
    model.col_lower_ = np.zeros(len(cost))
    model.col_upper_ = np.array(upper, dtype=np.float64)
    model.row_lower_ = np.array([row[0] for row in rows], dtype=np.float64)
    model.row_upper_ = np.array([row[1] for row in rows], dtype=np.float64)
    model.a_matrix_.format_ = highspy.MatrixFormat.kRowwise
    model.a_matrix_.start_ = np.cumsum([0, *(len(row[2]) for row in rows)], dtype=np.int32)
    model.a_matrix_.index_ = np.concatenate([np.array(row[2], dtype=np.int32) for row in rows])
    model.a_matrix_.value_ = np.concatenate([np.array(row[3], dtype=np.float64) for row in rows])
    solver = highspy.Highs()
    solver.setOptionValue("output_flag", False)
    solver.passModel(model)
    solver.run()
    if solver.getModelStatus() != _SOLVED:
        raise AssertionError(f"HiGHS found no optimum: {solver.getModelStatus()}")
    return solver.getInfo().objective_function_value
