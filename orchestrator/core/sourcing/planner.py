"""Sourcing: which nodes ship which units, and why.

The rule of this release, in this order: most units, fewest nodes, smallest summed great-circle
distance, node ids. Exact up to three nodes, greedy beyond; the explanation says which. A node
without a location ranks last; an order without one: by node id.
"""

from collections.abc import Iterator, Sequence
from contextlib import suppress
from heapq import nlargest
from math import asin, dist
from operator import ge
from typing import NamedTuple

from events.decided import ChoiceV1 as Choice
from events.decided import DecisionV1 as Decision
from orchestrator.core.ledger import Bin
from orchestrator.core.shard import Market
from orchestrator.core.sourcing.geo import Vector

RULE_SET = "nearest-complete-1"
DIAMETER_M = 2 * 6_371_009  # mean radius, IUGG
_HALF = 0.5 - 1e-13  # keeps the antipodes within asin's domain; less than 2 um off
EXACT_NODES = 3
MAX_STEPS = 200_000
"""Nodes looked at in a search, at the most (about 50 ms): beyond it is greedy."""
MAX_CELLS = 20_000
"""Offers that an explanation shows, at the most: nodes times lines; the best ranked ones."""
_NOWHERE: dict[str, Bin] = {}


class Want(NamedTuple):
    """Units of an order line that need a source."""

    line_id: str
    sku: str
    units: int


class Leg(NamedTuple):
    """A node's part: units for each wanted line, in the wants' order."""

    node_id: str
    units: list[int]


Candidate = tuple[int, str, list[int]]
"""Distance in metres (or UNLOCATED), node id, units it offers per wanted line: sorts by rank."""
UNLOCATED = 10**9
"""Beyond any sum of real distances: what has no location ranks last, and sets of it by node id."""


class _TooManyError(Exception):
    """The search would take too long."""


class _Set(NamedTuple):
    """Nodes that ship together; sets of one size compare by their cost."""

    metres: int  # summed
    node_ids: list[str]  # sorted
    members: list[int]  # places in the candidates' ranking


def source(
    market: Market,
    now_ms: int,
    destination: Vector | None,
    wants: Sequence[Want],
    *,
    ship_complete: bool,
    trigger: str,
) -> tuple[list[Leg], Decision]:
    """The best plan, its legs by node id, and its explanation.

    `ship_complete`: one node with everything, or no plan.
    """
    if len({want.sku for want in wants}) < len(wants):
        return _source_pooled(
            market, now_ms, destination, wants, ship_complete=ship_complete, trigger=trigger
        )
    candidates, removed = _candidates(market, now_ms, destination, wants)
    target = _reachable(candidates, wants)
    chosen: _Set | None = None
    runner_up: _Set | None = None
    method = "exact"
    if ship_complete:
        if target == [want.units for want in wants]:
            chosen, runner_up = _best_two(candidates, target, 1)
    elif any(target):
        with suppress(_TooManyError):
            for count in range(1, EXACT_NODES + 1):
                chosen, runner_up = _best_two(candidates, target, count)
                if chosen:
                    break
        if chosen is None:
            method = "greedy"
            chosen = _greedy(candidates, target)
    legs = _divide(candidates, target, chosen.members) if chosen else []
    shown = max(1, MAX_CELLS // len(wants))
    decision: Decision = {
        "trigger": trigger,
        "rule_set": RULE_SET,
        "price_version": 0,
        "method": "exact" if method == "exact" else "greedy",
        "lines": [list(want) for want in wants],
        "candidates": [
            [node_id, None if metres == UNLOCATED else metres, offer]
            for metres, node_id, offer in candidates[:shown]
        ],
        "candidates_left_out": max(0, len(candidates) - shown),
        "removed": removed,
        "chosen": _choice(chosen, sum(target)),
        "runner_up": _choice(runner_up, sum(target)),
        "decided_by": _decided_by(candidates, chosen, runner_up, ship_complete=ship_complete),
        "counterfactual": _counterfactual(candidates, wants, target, chosen, runner_up),
    }
    return legs, decision


def _source_pooled(
    market: Market,
    now_ms: int,
    destination: Vector | None,
    wants: Sequence[Want],
    *,
    ship_complete: bool,
    trigger: str,
) -> tuple[list[Leg], Decision]:
    """Lines of one item draw on the same units: they are planned as one.

    They share what comes, first line first.
    """
    pools: dict[str, list[int]] = {}
    for i, want in enumerate(wants):
        pools.setdefault(want.sku, []).append(i)
    pooled = [
        Want(wants[members[0]].line_id, sku, sum(wants[i].units for i in members))
        for sku, members in pools.items()
    ]
    legs, decision = source(
        market, now_ms, destination, pooled, ship_complete=ship_complete, trigger=trigger
    )

    def share(units: list[int], left: list[int]) -> list[int]:
        shared = [0] * len(wants)
        for pool, members in zip(units, pools.values(), strict=True):
            rest = pool
            for i in members:
                shared[i] = min(rest, left[i])
                left[i] -= shared[i]
                rest -= shared[i]
        return shared

    asked = [want.units for want in wants]
    decision["lines"] = [list(want) for want in wants]
    decision["candidates"] = [
        [node_id, metres, share(offer, list(asked))]
        for node_id, metres, offer in decision["candidates"]
    ]
    return [Leg(leg.node_id, share(leg.units, asked)) for leg in legs], decision


def _candidates(
    market: Market, now_ms: int, destination: Vector | None, wants: Sequence[Want]
) -> tuple[list[Candidate], dict[str, list[str]]]:
    """Nodes that could ship something, best rank first; and what removed each of the others.

    Distances are great-circle metres, from the chord between unit vectors. The hottest loop of all.
    """
    offers: dict[str, list[int]] = {}
    for line, (_, sku, units) in enumerate(wants):
        for node_id, stock in market.bins.get(sku, _NOWHERE).items():
            there = stock.available
            if there > 0:
                offer = offers.get(node_id)
                if offer is None:
                    offer = offers[node_id] = [0] * len(wants)
                offer[line] = there if there < units else units  # noqa: FURB136 - half of min()
    found: list[Candidate] = []
    removed = {fence: list(node_ids) for fence, node_ids in market.fenced.items()}
    no_stock: list[str] = []
    suppressed: list[str] = []
    for node in market.offering:
        node_id = node.node_id
        offer = offers.get(node_id)
        if offer is None:
            no_stock.append(node_id)
            continue
        if node.suppressed or node.closed_until_ms:
            offer = [
                0 if node.suppresses(want.sku, now_ms) else units
                for want, units in zip(wants, offer, strict=True)
            ]
            if not any(offer):
                suppressed.append(node_id)
                continue
        if destination is None or node.vector is None:
            found.append((UNLOCATED, node_id, offer))
        else:
            half_chord = dist(node.vector, destination) * _HALF
            found.append((int(DIAMETER_M * asin(half_chord) + 0.5), node_id, offer))
    found.sort()
    if suppressed:
        removed["suppressed"] = suppressed
    if no_stock:
        removed["no_stock"] = no_stock
    return found, removed


def _set(candidates: Sequence[Candidate], members: Sequence[int]) -> _Set:
    return _Set(
        sum(candidates[i][0] for i in members),
        sorted(candidates[i][1] for i in members),
        sorted(members),
    )


def _reachable(candidates: Sequence[Candidate], wants: Sequence[Want]) -> list[int]:
    """How many units of each line all candidates together could ship."""
    if not candidates:
        return [0] * len(wants)
    by_line = zip(*(offer for _, _, offer in candidates), strict=True)
    return [min(want.units, sum(units)) for want, units in zip(wants, by_line, strict=True)]


def _best_two(
    candidates: Sequence[Candidate], target: list[int], count: int
) -> tuple[_Set | None, _Set | None]:
    """The best and the second-best set of exactly `count` nodes that together offer the target."""
    best: list[_Set] = []
    if count == 1:  # best first already, and the most frequent case
        for i, (_, _, offer) in enumerate(candidates):
            if all(map(ge, offer, target)):
                best.append(_set(candidates, [i]))
                if len(best) == 2:  # noqa: PLR2004 - the best and the runner-up
                    break
    elif _enough(candidates, target, count):
        offering = [
            [i for i, (_, _, offer) in enumerate(candidates) if offer[line]]
            for line in range(len(target))
        ]
        steps = [MAX_STEPS]
        for members in _covering(candidates, offering, target, count, (), steps):
            found = _set(candidates, members)
            if found not in best:
                best.append(found)
                best.sort()
                del best[2:]
        if steps[0] < 0:
            raise _TooManyError
    return (best[0] if best else None, best[1] if len(best) > 1 else None)


def _enough(candidates: Sequence[Candidate], target: list[int], count: int) -> bool:
    """Whether the `count` largest offers of each line reach its target: else no set covers all."""
    by_line = zip(*(offer for _, _, offer in candidates), strict=True)
    return all(
        sum(nlargest(count, offers)) >= units for offers, units in zip(by_line, target, strict=True)
    )


def _covering(
    candidates: Sequence[Candidate],
    offering: list[list[int]],
    residual: list[int],
    count: int,
    used: tuple[int, ...],
    steps: list[int],
) -> Iterator[tuple[int, ...]]:
    """The sets of `count` nodes that cover the residual (with `used`).

    Branches on its scarcest line: some node of a covering set offers it, so none is missed. Of
    those that differ in the last node only, the two best ranked suffice, since rank is cost. One
    may come more than once.
    """
    scarcest = min(
        (line for line, units in enumerate(residual) if units),
        key=lambda line: len(offering[line]),
        default=None,
    )
    if scarcest is None:
        return  # fewer nodes would do
    found = 0
    steps[0] -= len(offering[scarcest])
    if steps[0] < 0:
        return
    for i in offering[scarcest]:
        if i in used:
            continue
        offer = candidates[i][2]
        if count > 1:
            rest = [max(0, r - o) for o, r in zip(offer, residual, strict=True)]
            yield from _covering(candidates, offering, rest, count - 1, (*used, i), steps)
        elif all(map(ge, offer, residual)):
            yield (*used, i)
            found += 1
            if found == 2:  # noqa: PLR2004 - the best and the runner-up
                return


def _greedy(candidates: Sequence[Candidate], target: list[int]) -> _Set:
    """The node that covers most of what is left, then the next, until the target is reached."""
    members: list[int] = []
    residual = target
    while any(residual):
        covers = [
            0 if i in members else sum(map(min, offer, residual))
            for i, (_, _, offer) in enumerate(candidates)
        ]
        i = covers.index(max(covers))
        members.append(i)
        residual = [max(0, r - o) for o, r in zip(candidates[i][2], residual, strict=True)]
    return _set(candidates, members)


def _divide(candidates: Sequence[Candidate], target: list[int], members: list[int]) -> list[Leg]:
    """Units by node.

    A line stays whole at the nearest member that has all of it, else is taken nearest first.
    """
    legs = {i: [0] * len(target) for i in members}
    for line, units in enumerate(target):
        whole = next((i for i in members if candidates[i][2][line] >= units), None)
        left = units
        for i in [whole] if whole is not None else members:
            taken = min(left, candidates[i][2][line])
            legs[i][line] = taken
            left -= taken
    made = [Leg(candidates[i][1], units) for i, units in legs.items() if any(units)]
    return sorted(made, key=lambda leg: leg.node_id)


def _choice(chosen: _Set | None, units: int) -> Choice | None:
    if chosen is None:
        return None
    metres = chosen.metres if chosen.metres < UNLOCATED else None
    return {"nodes": chosen.node_ids, "units": units, "distance_m": metres}


def _decided_by(
    candidates: Sequence[Candidate],
    chosen: _Set | None,
    runner_up: _Set | None,
    *,
    ship_complete: bool,
) -> str:
    """The first criterion in which the chosen plan beats the next."""
    if chosen is None:
        return "ship_complete" if ship_complete and candidates else "no_candidate"
    if runner_up is not None:
        return "node_id" if chosen.metres == runner_up.metres else "distance"
    if len(candidates) == len(chosen.members):
        return "only_candidate"
    return "most_units" if len(chosen.members) > 1 else "fewest_nodes"


def _counterfactual(
    candidates: Sequence[Candidate],
    wants: Sequence[Want],
    target: list[int],
    chosen: _Set | None,
    runner_up: _Set | None,
) -> str | None:
    """The smallest change seen that would have changed the outcome, as a sentence."""
    lacking = _more(wants, [want.units for want in wants], target)
    if chosen is None:
        return f"a node with {lacking or 'all of it'} would ship"
    _, nearest, first_offer = candidates[0]
    if 0 not in chosen.members and (short := _more(wants, target, first_offer)):
        return f"{nearest} ranks first and would ship with {short}"
    if lacking:
        return f"nothing would wait with {lacking}"
    if runner_up is not None and 0 < (metres := runner_up.metres - chosen.metres) < UNLOCATED:
        return f"{' and '.join(runner_up.node_ids)} would ship if nearer by more than {metres} m"
    return None


def _more(wants: Sequence[Want], needed: Sequence[int], there: Sequence[int]) -> str:
    """What is lacking of each item, in words; empty where nothing is."""
    return " and ".join(
        f"{units - have} more of {want.sku}"
        for want, units, have in zip(wants, needed, there, strict=True)
        if have < units
    )
