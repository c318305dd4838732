"""Sourcing: which nodes ship which units, and why.

The rule of this release, in this order: most units, fewest nodes, smallest summed great-circle distance, node ids. Exact up to
three nodes, greedy beyond; the explanation says which. A node without a location ranks last; an order without one: by node id.
"""

from collections.abc import Iterator, Sequence
from math import asin, sqrt
from typing import NamedTuple

from events.decided import Choice, Decision
from orchestrator.core.shard import Market, Node, Vector

RULE_SET = "nearest-complete-1"
EARTH_RADIUS_M = 6_371_009  # mean radius, IUGG
EXACT_NODES = 3


class Want(NamedTuple):
    """Units of an order line that need a source."""

    line_id: str
    sku: str
    units: int


class Leg(NamedTuple):
    """A node's part: units for each wanted line, in the wants' order."""

    node_id: str
    units: list[int]


class _Candidate(NamedTuple):
    node_id: str
    distance_m: int | None
    offer: list[int]  # units it could ship, per wanted line


Cost = tuple[int, int, list[str]]  # nodes without a distance, summed metres, node ids


class _Set(NamedTuple):
    cost: Cost
    members: list[int]  # places in the candidates' ranking


def distance_m(a: Vector | None, b: Vector | None) -> int | None:
    """Great-circle distance in metres (from the chord between two unit vectors); None where a location is missing."""
    if a is None or b is None:
        return None
    dx, dy, dz = a[0] - b[0], a[1] - b[1], a[2] - b[2]
    return round(2 * EARTH_RADIUS_M * asin(min(1.0, sqrt(dx * dx + dy * dy + dz * dz) / 2)))


def source(  # noqa: PLR0913 - everything a plan depends on
    market: Market,
    now_ms: int,
    destination: Vector | None,
    wants: Sequence[Want],
    *,
    ship_complete: bool,
    trigger: str,
) -> tuple[list[Leg], Decision]:
    """The best plan and its explanation. `ship_complete`: one node with everything, or no plan. Legs are by node id."""
    candidates, removed = _candidates(market, now_ms, destination, wants)
    target = [
        min(want.units, sum(candidate.offer[i] for candidate in candidates))
        for i, want in enumerate(wants)
    ]
    located = destination is not None
    chosen: _Set | None = None
    runner_up: _Set | None = None
    method = "exact"
    if ship_complete:
        if target == [want.units for want in wants]:
            chosen, runner_up = _best_two(candidates, target, 1, located=located)
    elif any(target):
        for count in range(1, EXACT_NODES + 1):
            chosen, runner_up = _best_two(candidates, target, count, located=located)
            if chosen:
                break
        else:
            method = "greedy"
            chosen = _greedy(candidates, target, located=located)
    legs = _divide(candidates, target, chosen.members) if chosen else []
    decision: Decision = {
        "trigger": trigger,
        "rule_set": RULE_SET,
        "price_version": 0,
        "method": "exact" if method == "exact" else "greedy",
        "lines": [list(want) for want in wants],
        "candidates": [list(candidate) for candidate in candidates],
        "removed": removed,
        "chosen": _choice(candidates, chosen, sum(target)),
        "runner_up": _choice(candidates, runner_up, sum(target)),
        "decided_by": _decided_by(candidates, chosen, runner_up, ship_complete=ship_complete),
        "counterfactual": _counterfactual(candidates, wants, target, chosen, runner_up),
    }
    return legs, decision


def _candidates(
    market: Market, now_ms: int, destination: Vector | None, wants: Sequence[Want]
) -> tuple[list[_Candidate], dict[str, list[str]]]:
    """Nodes that could ship something, best rank first; and what removed each of the others."""
    bins = [market.bins.get(want.sku, {}) for want in wants]
    found: list[_Candidate] = []
    removed: dict[str, list[str]] = {}
    for node_id, node in market.nodes.items():
        fence = _node_fence(node)
        if fence is None:
            fence = "no_stock"
            offer = []
            for want, by_node in zip(wants, bins, strict=True):
                units = 0
                stock = by_node.get(node_id)
                if stock is not None and (there := stock.available) > 0:
                    if node.suppresses(want.sku, now_ms):
                        fence = "suppressed"
                    else:
                        units = min(there, want.units)
                offer.append(units)
            if any(offer):
                found.append(_Candidate(node_id, distance_m(destination, node.vector), offer))
                continue
        removed.setdefault(fence, []).append(node_id)
    found.sort(key=_rank)
    return found, removed


def _node_fence(node: Node) -> str | None:
    if not node.active:
        return "inactive"
    return None if node.ships else "does_not_ship"


def _rank(candidate: _Candidate) -> tuple[bool, int, str]:
    return (candidate.distance_m is None, candidate.distance_m or 0, candidate.node_id)


def _cost(candidates: Sequence[_Candidate], members: Sequence[int], *, located: bool) -> Cost:
    ids = sorted(candidates[i].node_id for i in members)
    if not located:
        return (0, 0, ids)
    distances = [candidates[i].distance_m for i in members]
    return (distances.count(None), sum(d for d in distances if d is not None), ids)


def _best_two(
    candidates: Sequence[_Candidate], target: list[int], count: int, *, located: bool
) -> tuple[_Set | None, _Set | None]:
    """The best and the second-best set of exactly `count` nodes that together offer the target."""
    offering = [
        [i for i, candidate in enumerate(candidates) if candidate.offer[line]]
        for line in range(len(target))
    ]
    best: list[_Set] = []
    for members in _covering(candidates, offering, target, count, ()):
        found = _Set(_cost(candidates, members, located=located), sorted(members))
        if found not in best:
            best.append(found)
            best.sort(key=lambda one: one.cost)
            del best[2:]
    return (best[0] if best else None, best[1] if len(best) > 1 else None)


def _covering(
    candidates: Sequence[_Candidate],
    offering: list[list[int]],
    residual: list[int],
    count: int,
    used: tuple[int, ...],
) -> Iterator[tuple[int, ...]]:
    """The sets of `count` nodes that cover the residual (with `used`), by branching on its scarcest line.

    Some node of a covering set offers that line, so none is missed; of those that differ in the last node only, the two best
    ranked suffice, since rank is cost. One may come more than once.
    """
    scarcest = min(
        (line for line, units in enumerate(residual) if units),
        key=lambda line: len(offering[line]),
        default=None,
    )
    if scarcest is None:
        return  # fewer nodes would do
    found = 0
    for i in offering[scarcest]:
        if i in used:
            continue
        offer = candidates[i].offer
        if count > 1:
            rest = [max(0, r - o) for o, r in zip(offer, residual, strict=True)]
            yield from _covering(candidates, offering, rest, count - 1, (*used, i))
        elif all(o >= r for o, r in zip(offer, residual, strict=True)):
            yield (*used, i)
            found += 1
            if found == 2:  # noqa: PLR2004 - the best and the runner-up
                return


def _greedy(candidates: Sequence[_Candidate], target: list[int], *, located: bool) -> _Set:
    """The node that covers most of what is left, then the next, until the target is reached."""
    members: list[int] = []
    residual = target
    while any(residual):
        covers = [
            0 if i in members else sum(map(min, candidate.offer, residual))
            for i, candidate in enumerate(candidates)
        ]
        i = covers.index(max(covers))
        members.append(i)
        residual = [max(0, r - o) for o, r in zip(candidates[i].offer, residual, strict=True)]
    return _Set(_cost(candidates, members, located=located), sorted(members))


def _divide(candidates: Sequence[_Candidate], target: list[int], members: list[int]) -> list[Leg]:
    """Units by node: a line stays whole at the nearest member that has all of it, else is taken nearest first."""
    legs = {i: [0] * len(target) for i in members}
    for line, units in enumerate(target):
        whole = next((i for i in members if candidates[i].offer[line] >= units), None)
        left = units
        for i in [whole] if whole is not None else members:
            taken = min(left, candidates[i].offer[line])
            legs[i][line] = taken
            left -= taken
    made = [Leg(candidates[i].node_id, units) for i, units in legs.items() if any(units)]
    return sorted(made, key=lambda leg: leg.node_id)


def _choice(candidates: Sequence[_Candidate], chosen: _Set | None, units: int) -> Choice | None:
    if chosen is None:
        return None
    unknown, metres, ids = chosen.cost
    missing = unknown or any(candidates[i].distance_m is None for i in chosen.members)
    return {"nodes": ids, "units": units, "distance_m": None if missing else metres}


def _decided_by(
    candidates: Sequence[_Candidate],
    chosen: _Set | None,
    runner_up: _Set | None,
    *,
    ship_complete: bool,
) -> str:
    """The first criterion in which the chosen plan beats the next."""
    if chosen is None:
        return "ship_complete" if ship_complete and candidates else "no_candidate"
    if runner_up is not None:
        return "node_id" if chosen.cost[:2] == runner_up.cost[:2] else "distance"
    if len(candidates) == len(chosen.members):
        return "only_candidate"
    return "most_units" if len(chosen.members) > 1 else "fewest_nodes"


def _counterfactual(
    candidates: Sequence[_Candidate],
    wants: Sequence[Want],
    target: list[int],
    chosen: _Set | None,
    runner_up: _Set | None,
) -> str | None:
    """The smallest change seen that would have changed the outcome, as a sentence."""
    if chosen is None:
        short = [
            f"{want.units - units} more of {want.sku}"
            for want, units in zip(wants, target, strict=True)
            if units < want.units
        ]
        needs = " and ".join(short)
        return f"a node with {needs} would ship" if short else "one node with all of it would ship"
    nearest = candidates[0]
    if 0 not in chosen.members:
        short = [
            f"{units - offer} more of {want.sku}"
            for want, units, offer in zip(wants, target, nearest.offer, strict=True)
            if offer < units
        ]
        if short:
            return f"{nearest.node_id} ranks first and would ship with {' and '.join(short)}"
    if runner_up is not None and chosen.cost[0] == runner_up.cost[0]:
        metres = runner_up.cost[1] - chosen.cost[1]
        others = " and ".join(runner_up.cost[2])
        return f"{others} would ship if nearer by more than {metres} m" if metres else None
    return None
