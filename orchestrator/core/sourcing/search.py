"""The exact search: which node ships which units of which lines, apart from money and places.

`best_two(problem)` returns the best and the second-best plan. A *plan* is a set of legs, at most
one a node; a *leg* is (node, contents); *contents* are the units per line, a tuple. Plans compare
by most units, least value, fewest legs, sorted node indexes, then contents in the order of nodes.

What a `Problem` says:

- `targets[i]` >= 1, units of line i; `modes[i]`: WHOLE (one node gives the whole target or none of
  it), ONE (at most one node gives the line: min(free, target) units), ANY (divided at will);
- nodes are 0 .. `nodes` - 1, in the order of node ids; `free()` goes through rows of free units,
  one a node, 0 where fenced or where no leg may hold any; asked only where the two `cheapest`
  functions don't answer alone;
- `value(node, contents)`: an integer >= 0, any function of the contents; None: this leg can't be.
  Ranked criteria come as one integer, each scaled past the largest sum of the next;
- `floor`: no leg is worth less. The better it is, the fewer sets of lines are asked for;
- `cheapest(mask, count)`: the `count` least (value, node), sorted, of the nodes that have the whole
  targets of all lines in `mask` (bit i = line i), without those whose value is None. Fewer than
  `count`: there are no more. More is fine;
- `cheapest_of(contents, count)`: the same for units of divided lines. A node qualifies for a ONE
  line only with exactly min(free, target) == contents[i]. Both may be None: then nodes are scanned;
- `max_legs`; `leg_min(contents)`, which every leg of a plan of two legs or more must satisfy;
  `extra_leg`, added to the value for every leg beyond the first; `one_leg`: one leg with everything
  or no plan; `all_or_nothing`: all targets or no plan;
- `draft_work`: where not all plans can be looked at, how long one is improved.

Method: partitions of the lines (of unit vectors, where lines are divided) into legs. A dynamic
program over what is left, with the legs left, gives each partition's least value when nodes may
stand twice: a lower bound. A depth-first search takes the parts in the bound's order, each at its
cheapest unused nodes, and stops at what can't be the second best any more. In a best plan of k legs
each stands at one of the k cheapest nodes for its contents, in a second best at one of k + 1, since
it could move to a free one otherwise; so the lists stay short.
"""

from collections.abc import Callable, Container, Generator, Iterable, Iterator, Sequence
from contextlib import suppress
from functools import cache
from heapq import heapify, heappop, heapreplace
from itertools import chain, islice, product
from math import prod
from operator import add, itemgetter, neg
from typing import Final

WHOLE: Final = 0
ONE: Final = 1
ANY: Final = 2

Contents = tuple[int, ...]
Offer = tuple[int, int]
"""Value, node."""

EXACT_LINES = 10
EXACT_TRANSITIONS = 50_000
"""Pairs of what is left and what a leg takes, up to which divided lines are searched by parts."""
NODE_PAIRS = 100_000
"""The same, with what each node really has: up to here plans are built node by node."""
SEARCH_LOOKS = 500_000
"""Parts and nodes that a search looks at before it gives up (about 100 ms)."""
QUICK_LOOKS = 10_000
"""Of them, before it is asked whether plans are better built node by node."""
LOOKS_A_PAIR = 10
"""Of them, for each pair of those: about as many as take the same time."""
DRAFT_STARTS = 3
DRAFT_POOL = 40
DRAFT_NODES = 10
DRAFT_COVERS = 2_000
"""Legs tried at the most where greedy plans of as many legs as may be leave something out."""
DRAFT_VALUES = 1_000
"""Values asked for by the moves that improve plans, and by each greedy to choose well, about."""
DRAFT_WORK = 500_000
"""Lines looked at, once for each leg, by the moves that it tries: some 150 ms, unless told less."""
DRAFT_REFUSED = 64
"""Legs in a row that can't be, after which no more is looked for that goes along with one."""
DRAFT_GREEDY = 10
"""Times that work in all such legs of a greedy plan, after which it is content with less."""
_BOUNDLESS = 1 << 4096
FEW: Final = 3
"""Whole lines of which all partitions are listed."""
_TWO = 2
_Getter = Callable[[dict[int, int]], tuple[int, ...]]
_Key = tuple[int, tuple[int, ...], tuple[Contents, ...]]
"""Cost (value and legs), nodes, contents: what plans of as many units compare by."""
_Way = tuple[int, int, tuple[int, ...], tuple[Contents, ...]]
"""Units below 0, cost, nodes, contents: what ways to a state compare by."""
_Try = tuple[int, int, int, int, bool]
"""What a plan costs with a leg, its node and part, what is left, whether of the same line."""
_DraftKey = tuple[int, int, int, tuple[int, ...], tuple[Contents, ...]]
"""Units below 0, value, legs, nodes, contents: what all plans compare by."""
_Move = tuple[dict[int, Contents], list[int]]
"""The legs after it, and what they leave of each line."""


class Plan:
    """Units in all, value with every extra leg in it, and the legs in the order of nodes."""

    __slots__ = ("legs", "units", "value")

    def __init__(self, units: int, value: int, legs: tuple[tuple[int, Contents], ...]) -> None:
        self.units = units
        self.value = value
        self.legs = legs

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Plan):
            return NotImplemented
        return (self.units, self.value, self.legs) == (other.units, other.value, other.legs)

    def __hash__(self) -> int:
        return hash((self.units, self.value, self.legs))

    def __repr__(self) -> str:
        return f"Plan({self.units}, {self.value}, {self.legs})"


class Answer:
    """The best plan and the next one; None where there is none.

    Not `exact`: the best that was found, and a bound (units, value): no plan has more units, none
    of as many units is worth less.
    """

    __slots__ = ("best", "bound", "exact", "second")

    def __init__(
        self,
        best: Plan | None,
        second: Plan | None,
        *,
        exact: bool,
        bound: tuple[int, int] | None,
    ) -> None:
        self.best = best
        self.second = second
        self.exact = exact
        self.bound = bound

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Answer):
            return NotImplemented
        return (self.best, self.second, self.exact, self.bound) == (
            other.best,
            other.second,
            other.exact,
            other.bound,
        )

    def __hash__(self) -> int:
        return hash((self.best, self.second, self.exact, self.bound))

    def __repr__(self) -> str:
        return f"Answer({self.best}, {self.second}, exact={self.exact}, bound={self.bound})"


class Problem:
    """What is asked; the module's docstring says what each part means."""

    __slots__ = (
        "all_or_nothing",
        "cheapest",
        "cheapest_of",
        "draft_work",
        "extra_leg",
        "floor",
        "free",
        "leg_min",
        "max_legs",
        "modes",
        "nodes",
        "one_leg",
        "targets",
        "value",
    )

    def __init__(  # noqa: PLR0913 - made once a decision, where a builder would cost microseconds
        self,
        targets: Sequence[int],
        modes: Sequence[int],
        nodes: int,
        free: Callable[[], Iterable[Sequence[int]]],
        value: Callable[[int, Contents], int | None],
        *,
        cheapest: Callable[[int, int], Sequence[Offer]] | None = None,
        cheapest_of: Callable[[Contents, int], Sequence[Offer]] | None = None,
        floor: int = 0,
        max_legs: int | None = None,
        leg_min: Callable[[Contents], bool] | None = None,
        extra_leg: int = 0,
        one_leg: bool = False,
        all_or_nothing: bool = False,
        draft_work: int = DRAFT_WORK,
    ) -> None:
        self.targets = targets
        self.modes = modes
        self.nodes = nodes
        self.free = free
        self.value = value
        self.cheapest = cheapest
        self.cheapest_of = cheapest_of
        self.floor = floor
        self.max_legs = max_legs
        self.leg_min = leg_min
        self.extra_leg = extra_leg
        self.one_leg = one_leg
        self.all_or_nothing = all_or_nothing
        self.draft_work = draft_work


class _TooLongError(Exception):
    """The depth-first search would take too long."""


Steps = Generator[None, None, Answer]
"""Work that gives way after each small part of it, and comes to an answer."""
_PRICED_A_STEP: Final = 32
"""Sets of lines whose cheapest nodes are found before others may run."""
_LOOKS_A_STEP: Final = 2_000
"""Parts and nodes looked at before others may run."""


def at_once(found: Answer | Steps) -> Answer:
    """The answer, with nobody else running in between."""
    if isinstance(found, Answer):
        return found
    while True:
        try:
            next(found)
        except StopIteration as answered:
            answer: Answer = answered.value
            return answer


def best_two(problem: Problem) -> Answer:
    """The best plan and the second best, which differs from it in some leg."""
    return at_once(begun(problem))


def begun(problem: Problem) -> Answer | Steps:
    """The same; as steps where it takes more than a few looks at tables."""
    targets, cheapest, max_legs = problem.targets, problem.cheapest, problem.max_legs
    contents = tuple(targets)
    if cheapest is None:
        offers = _offers(problem, contents, _TWO)
    else:
        offers = cheapest((1 << len(targets)) - 1, _TWO)
    if len(offers) > 1:
        settled = problem.one_leg or max_legs == 1
        settled = settled or one_leg_is_best(offers, problem.floor, problem.extra_leg)
    else:
        settled = problem.one_leg or (max_legs == 1 and problem.all_or_nothing)
    if settled:
        return one_leg_each(contents, offers)
    if len(targets) > EXACT_LINES:
        return _best_found(problem, None)
    by_unit = [units > 1 for units in targets]
    for i, mode in enumerate(problem.modes):
        if mode == WHOLE:
            by_unit[i] = False
    # Whether a plan of all units gives every line whole.
    whole = not any(by_unit) or not any(map(_is_divided, targets, problem.modes))
    if whole and len(targets) <= FEW and cheapest is not None and problem.leg_min is None:
        plans = few(targets, problem.floor, problem.extra_leg, max_legs, cheapest, offers)
        if len(plans) == _TWO or problem.all_or_nothing:
            return answer_of(plans)
    return _searched(problem, by_unit, whole=whole)


def _searched(problem: Problem, by_unit: Sequence[bool], *, whole: bool) -> Steps:
    """By partitions; where that takes too long, node by node, or the best that is found."""
    search: _Search | None = None
    pairs = -1
    with suppress(_TooLongError):
        if whole:
            search = _Search(problem, [False] * len(by_unit))
            yield from search.run(only_all=any(by_unit))
            if len(search.best) == _TWO or problem.all_or_nothing or not any(by_unit):
                return answer_of(search.plans())
        if _transitions(problem) <= EXACT_TRANSITIONS:
            search = _Search(problem, by_unit)
            for _ in search.run(only_all=False):
                yield
                if pairs < 0 and search.looks > QUICK_LOOKS:
                    pairs = yield from _pairs(problem)
                    if pairs <= NODE_PAIRS:
                        search.most_looks = min(SEARCH_LOOKS, LOOKS_A_PAIR * pairs)
            return answer_of(search.plans())
    if pairs < 0:
        pairs = yield from _pairs(problem)
    if pairs <= NODE_PAIRS:
        return (yield from _node_by_node(problem))
    return (yield from _best_found(problem, search))


def one_leg_is_best(offers: Sequence[Offer], floor: int, extra_leg: int) -> bool:
    """Whether no two legs are worth less than the second of these, which have everything."""
    return len(offers) > 1 and 2 * floor + extra_leg >= offers[1][0]  # fewer legs are better


def one_leg_each(contents: Contents, offers: Sequence[Offer]) -> Answer:
    """The first two offers for everything as plans."""
    units = sum(contents)
    plans: list[Plan | None] = [None, None]
    for i in range(min(_TWO, len(offers))):
        value, node = offers[i]
        plans[i] = Plan(units, value, ((node, contents),))
    return Answer(plans[0], plans[1], exact=True, bound=None)


_GROUPINGS: Final[tuple[tuple[tuple[int, ...], ...], ...]] = (
    (),
    (),
    ((1, 2),),
    ((1, 6), (2, 5), (4, 3), (1, 2, 4)),
)
"""The ways to part up to three lines, by how many they are: sets of lines as bits."""
_FewKey = tuple[int, tuple[int, ...], tuple[int, ...]]
"""Cost (the value, shifted by two bits, and the legs), nodes, mirrored sets of lines."""
_MIRRORED = (0, 4, 2, 6, 1, 5, 3, 7)
"""Sets of lines with the first line as the highest bit: they sort as their contents do."""


def few(
    targets: Sequence[int],
    floor: int,
    extra: int,
    max_legs: int | None,
    cheapest: Callable[[int, int], Sequence[Offer]],
    offers: Sequence[Offer],
) -> list[Plan]:
    """The best two plans with all units of at most `FEW` lines, from those of one leg on.

    What is asked is as in a `Problem`, `offers` are the cheapest two for everything.
    """
    all_lines = (_MIRRORED[(1 << len(targets)) - 1],)
    found: list[_FewKey] = [((value << 2) + 1, (node,), all_lines) for value, node in offers[:_TWO]]
    limit = found[1][0] if len(found) == _TWO else _BOUNDLESS
    most_legs = max_legs or FEW
    rows: dict[int, Sequence[Offer]] = {}
    hopeful: list[tuple[int, tuple[int, ...]]] = []
    for parts in _GROUPINGS[len(targets)]:
        legs = len(parts)
        if legs > most_legs:
            break
        least = (extra * (legs - 1) + floor * legs << 2) + legs
        for part in parts:
            row = rows.get(part)
            if row is None:
                row = rows[part] = cheapest(part, _TWO)
            if not row:
                break
            least += row[0][0] - floor << 2
            if least > limit:
                break
        else:
            hopeful.append((least, parts))
    hopeful.sort()
    for least, parts in hopeful:
        if least > limit:
            break
        found += _placed_apart(extra, cheapest, parts, rows, least, limit)
        found.sort()
        del found[_TWO:]
        if len(found) == _TWO:
            limit = found[1][0]
    units = sum(targets)
    return [
        Plan(
            units,
            cost >> 2,
            tuple(
                [
                    (node, tuple([t if lines >> 2 - i & 1 else 0 for i, t in enumerate(targets)]))
                    for node, lines in zip(nodes, sets, strict=True)
                ]
            ),
        )
        for cost, nodes, sets in found
    ]


def _placed_apart(
    extra: int,
    cheapest: Callable[[int, int], Sequence[Offer]],
    parts: tuple[int, ...],
    rows: dict[int, Sequence[Offer]],
    least: int,
    limit: int,
) -> list[_FewKey]:
    """The ways to put these parts at nodes apart, as far as they may be among the best two."""
    legs = len(parts)
    nodes = [node for part in parts for _, node in rows[part][:_TWO]]
    if len(set(nodes)) < len(nodes):
        # What has to make way moves on to the next node, and for the second best on to one more.
        for part in parts:
            row = rows[part]
            if 1 < len(row) <= legs and least + (row[1][0] - row[0][0] << 2) <= limit:
                rows[part] = cheapest(part, legs + 1)
    found: list[_FewKey] = []
    first, second = rows[parts[0]][: legs + 1], rows[parts[1]][: legs + 1]
    third = rows[parts[2]][: legs + 1] if legs == FEW else ()
    base = extra * (legs - 1)
    sets = [_MIRRORED[part] for part in parts]
    for a_value, a in first:
        for b_value, b in second:
            cost = (base + a_value + b_value << 2) + legs
            if cost > limit:
                break
            if a == b:
                continue
            if legs == _TWO:
                if a < b:
                    found.append((cost, (a, b), (sets[0], sets[1])))
                else:
                    found.append((cost, (b, a), (sets[1], sets[0])))
                continue
            for c_value, c in third:
                if cost + (c_value << 2) > limit:
                    break
                if c not in (a, b):
                    placed = sorted([(a, sets[0]), (b, sets[1]), (c, sets[2])])
                    apart, given = zip(*placed, strict=True)
                    found.append((cost + (c_value << 2), apart, given))
    return found


def _is_divided(units: int, mode: int) -> bool:
    return mode == ANY and units > 1


def answer_of(plans: Sequence[Plan]) -> Answer:
    """The best two plans as an exact answer."""
    best, second = (*plans, None, None)[:_TWO]
    return Answer(best, second, exact=True, bound=None)


def _offers(problem: Problem, contents: Contents, count: int) -> Sequence[Offer]:
    """The `count` nodes where these contents are cheapest, or all."""
    if problem.cheapest is not None:
        mask = 0
        for i, (units, target) in enumerate(zip(contents, problem.targets, strict=True)):
            if units == target:
                mask |= 1 << i
            elif units:
                break
        else:
            return problem.cheapest(mask, count)
    if problem.cheapest_of is not None:
        return problem.cheapest_of(contents, count)
    needed = [
        (i, units, problem.modes[i] == ONE and units < problem.targets[i])
        for i, units in enumerate(contents)
        if units
    ]
    offers: list[Offer] = []
    for node, free in enumerate(problem.free()):
        if all(free[i] == units if exactly else free[i] >= units for i, units, exactly in needed):
            value = problem.value(node, contents)
            if value is not None:
                offers.append((value, node))
    offers.sort()
    return offers


def _transitions(problem: Problem) -> int:
    """How many pairs of what is left and what a leg takes there are."""
    return prod(
        (units + 1) * (units + 2) // 2 if mode == ANY else 3
        for units, mode in zip(problem.targets, problem.modes, strict=True)
    )


def _pairs(problem: Problem) -> Generator[None, None, int]:
    """How many pairs of what is left and what a leg takes there are node by node, or too many."""
    targets, modes, most = problem.targets, problem.modes, problem.max_legs
    states = prod(
        units + 1 if mode == ANY else 2 for units, mode in zip(targets, modes, strict=True)
    )
    pairs = 0
    for node, row in enumerate(problem.free()):
        yield
        ways = 1
        for units, mode, free in zip(targets, modes, row, strict=True):
            more = _choices(units, mode, free)[-1]
            if mode == ANY:
                ways *= (more + 1) * (units + 1) - more * (more + 1) // 2
            else:
                ways *= 3 if more else 2
        pairs += (ways - states) * (min(most, node + 1) if most else 1)
        if pairs > NODE_PAIRS:
            break
    return pairs


@cache
def _parts(mask: int) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """The subsets of a set of lines that hold its lowest one, and what each leaves."""
    others = mask & (mask - 1)
    rests = [others]
    while rests[-1]:
        rests.append((rests[-1] - 1) & others)
    return tuple(mask ^ rest for rest in rests), tuple(rests)


@cache
def _getters(mask: int) -> tuple[_Getter, _Getter]:
    """What asks a table for those of a set of two lines or more, all at once."""
    parts, rests = _parts(mask)
    return itemgetter(*parts), itemgetter(*rests)


class _Search:
    """A search by partitions. A state is what is left of each line, in one integer.

    It has a field of bits for every line: a single one where the line goes whole or not at all
    (so that the state is a set of lines), else its units.
    """

    def __init__(self, problem: Problem, by_unit: Sequence[bool]) -> None:
        self.problem = problem
        self.plain = not any(by_unit)
        self.fields: list[tuple[int, int, int, bool]] = []  # shift, mask, units of 1, divided
        width = 0
        legs = 0  # that a plan has at most
        for units, mode, counted in zip(problem.targets, problem.modes, by_unit, strict=True):
            digit = units if counted else 1
            self.fields.append((width, (1 << digit.bit_length()) - 1, units // digit, mode == ANY))
            width += digit.bit_length()
            legs += digit if mode == ANY else 1
        self.full = self._state(problem.targets)
        self.most_legs = legs
        self.max_legs = min(legs, problem.nodes, problem.max_legs or legs)
        self.bits = legs.bit_length()  # a leg's cost is its value, shifted, and 1: ties by fewest
        self.extra = problem.extra_leg
        self.rows: dict[int, Sequence[Offer]] = {}
        self.asked: dict[int, int] = {}
        self.least: dict[int, int] = {0: 0}  # of each part's costs, in a plan of two legs or more
        self.never = 0
        self.states: list[int] = []
        self.to_price = 0  # the first of them that isn't priced yet
        self.tables: list[dict[int, int]] = []
        self.bounded = False  # whether those are for as many legs as there may be
        self.tabulated: dict[int, list[dict[int, int]]] = {}  # those tables, by legs
        self.best: list[_Key] = []
        self.found: list[_Key] = []
        self.covers: list[int] = []
        self.room = _TWO
        self.limit = _BOUNDLESS
        self.used: dict[int, None] = {}  # nodes that have a leg
        self.looks = 0
        self.most_looks = SEARCH_LOOKS

    def run(self, *, only_all: bool) -> Generator[None, None, None]:
        """Fills `best`, most units first."""
        yield from self._cover([self.full])
        if only_all or self.problem.all_or_nothing or len(self.best) == _TWO:
            return
        levels: dict[int, list[int]] = {}
        for state in self._states():
            if state not in (0, self.full):
                levels.setdefault(sum(self._contents(state)), []).append(state)
        most = yield from self._most_units()
        for units in sorted(levels, reverse=True):
            if units <= most:
                yield from self._cover(levels[units])
            if len(self.best) == _TWO:
                return

    def _most_units(self) -> Generator[None, None, int]:
        """What as many nodes as there may be legs could give, each as if it were the only one."""
        targets, max_legs = self.problem.targets, self.problem.max_legs
        if max_legs is None:
            return sum(targets)
        most: list[int] = []
        for row in self.problem.free():
            yield
            most.append(sum(map(min, row, targets)))
        return sum(sorted(most, reverse=True)[:max_legs])

    def plans(self) -> list[Plan]:
        """What `best` holds, as plans."""
        return [_plan(key, self.bits, self.extra) for key in self.best]

    def bound(self) -> tuple[int, int] | None:
        """Units and value that no plan beats, where the search was given up."""
        if self.best:
            best = self.plans()[0]
            return best.units, best.value
        if self.looks <= self.most_looks:
            return None  # it ended, and found no plan of as many units
        units = sum(self._contents(self.covers[0]))
        if not self.bounded:
            return units, 0
        lowest = _BOUNDLESS
        for cover in self.covers:
            for value, _ in self._row(cover)[:1]:
                lowest = min(lowest, self._cost(value))
            parts, rests = self._parts(cover)
            for part, rest in zip(parts, rests, strict=True):
                if rest:
                    lowest = min(lowest, self.least[part] + self.tables[-1][rest])
        return units, max(0, (lowest >> self.bits) - self.extra)

    def _cover(self, covers: list[int]) -> Generator[None, None, None]:
        """Adds the best plans that give exactly what one of the states says: of as many units."""
        self.covers = covers
        self.room = _TWO - len(self.best)
        self.found = []
        self.limit = _BOUNDLESS
        for cover in covers:
            for value, node in self._row(cover)[: self.room]:
                self._submit(self._cost(value), [(node, cover)])
        singles = self.found
        # Two legs are quickly looked through, and may show that more can't be better.
        for most in (_TWO, self.max_legs):
            legs = min(most, self.max_legs, self.limit // self._cost(self.problem.floor))
            if legs > 1 and (legs > _TWO or most == _TWO):
                self.found = singles[:]
                while not self._priced():
                    yield
                self.bounded = False
                yield from self._tabulate(legs)
                self.bounded = most == self.max_legs
                for cover in covers:
                    yield
                    yield from self._extend(cover, legs)
        self.best += self.found

    def _state(self, contents: Sequence[int]) -> int:
        return sum(
            (units // one) << shift
            for units, (shift, _, one, _) in zip(contents, self.fields, strict=True)
        )

    def _contents(self, state: int) -> Contents:
        return tuple((state >> shift & mask) * one for shift, mask, one, _ in self.fields)

    def _states(self) -> list[int]:
        """All states there can be, ascending."""
        if self.plain:
            return list(range(self.full + 1))
        states = [0]
        for i, (shift, mask, one, divided) in enumerate(self.fields):
            target = self.problem.targets[i] // one
            digits: Iterable[int] = range(target + 1)
            if not divided and mask > 1:  # what single nodes give of the line
                free = [min(row[i], target) for row in self.problem.free()]
                digits = dict.fromkeys((0, target, *free))
            elif not divided:
                digits = (0, 1)
            states = [state | digit << shift for digit in sorted(digits) for state in states]
        return states

    def _parts(self, state: int) -> tuple[Sequence[int], Sequence[int]]:
        """The parts of a state with some of its lowest line, and what each leaves."""
        if self.plain:
            return _parts(state)
        parts: list[int] = []
        for shift, mask, _, divided in self.fields:
            digit = state >> shift & mask
            if digit:
                some = range(1, digit + 1) if divided else (digit,)
                taken = [units << shift for units in some]
                parts = [p | t for t in (0, *taken) for p in parts] if parts else taken
        return parts, [state - part for part in parts]

    def _row(self, part: int) -> Sequence[Offer]:
        """The first few offers for a part."""
        row = self.rows.get(part)
        return self._ask(part, _TWO) if row is None else row

    def _ask(self, part: int, count: int) -> Sequence[Offer]:
        if self.plain and self.problem.cheapest is not None:
            row = self.problem.cheapest(part, count)
        else:
            row = _offers(self.problem, self._contents(part), count)
        self.asked[part] = count
        self.rows[part] = row
        return row

    def _cost(self, value: int) -> int:
        """What a leg adds to the cost of a plan; the first leg's extra is taken off at the end."""
        return (value + self.extra << self.bits) + 1

    def _tabulate(self, legs: int) -> Generator[None, None, None]:
        """Least costs of states by the legs that are left, as if a node could stand twice."""
        tables = self.tabulated.get(legs)
        if tables is None:
            tables = [{0: 0}, self.least]
            if legs <= FEW or legs == self.problem.max_legs:
                for left in range(_TWO, legs):
                    tables.append((yield from self._table(legs - left, tables[-1])))
            else:
                tables = [(yield from self._table(1, None))] * legs
            self.tabulated[legs] = tables
        self.tables = tables

    def _looked(self, more: int) -> None:
        """Counts what was looked at; raises where that is too much."""
        self.looks += more
        if self.looks > self.most_looks:
            raise _TooLongError

    def _priced(self) -> bool:
        """Prices some more parts; whether all are priced."""
        if not self.states:
            self.states = self._states()
            self.to_price = 1
        states, first, leg_min = self.states, self.to_price, self.problem.leg_min
        if first == len(states):
            return True
        self.to_price = last = min(first + _PRICED_A_STEP, len(states))
        for at in range(first, last):
            state = states[at]
            row = self.rows.get(state)
            if row is None:
                row = self._ask(state, _TWO)
            if row and (leg_min is None or leg_min(self._contents(state))):
                self.least[state] = (row[0][0] + self.extra << self.bits) + 1
        if last < len(states):
            return False
        self.never = (max(self.least.values()) + 1) << self.bits  # more than any sum of them
        for state in states:
            self.least.setdefault(state, self.never)
        return True

    def _table(
        self, placed: int, fewer: dict[int, int] | None
    ) -> Generator[None, None, dict[int, int]]:
        """The least cost of each state with one leg more than `fewer` has, or any number.

        Of the states after some legs are `placed`: each took what was left of the lowest line.
        """
        gone = 0
        for shift, mask, _, divided in self.fields[:placed]:
            if divided:
                break
            gone |= mask << shift
        table = {0: 0}
        rest_costs = table if fewer is None else fewer
        least = self.least
        looks = 0
        for state in self.states:
            if not state or state & gone:
                continue
            if self.plain and state & (state - 1):
                of_parts, of_rests = _getters(state)
                table[state] = min(map(add, of_parts(least), of_rests(rest_costs)))
                continue
            parts, rests = self._parts(state)
            costs = map(add, map(least.__getitem__, parts), map(rest_costs.__getitem__, rests))
            table[state] = min(costs)
            looks += len(parts)
            if looks > _LOOKS_A_STEP:
                self._looked(looks)
                looks = 0
                yield
        return table

    def _extend(self, cover: int, legs: int) -> Generator[None, None, None]:
        """Places what is to be given on so many nodes at the most, each part where no leg is yet.

        Legs that divide one line are placed in ascending order, so that none comes twice.
        """
        placed: list[tuple[int, int]] = []
        used: dict[int, None] = {}
        self.used = used
        open_ = [self._tries(cover, legs, 0, None)]
        looks = self.looks
        while open_:
            found = next(open_[-1], None)
            if self.looks - looks > _LOOKS_A_STEP:
                looks = self.looks
                yield
            if found is None:
                open_.pop()
                if placed:
                    node, _ = placed.pop()
                    del used[node]
                continue
            spent, node, part, rest, again = found
            placed.append((node, part))
            if rest:
                used[node] = None
                open_.append(
                    self._tries(rest, legs - len(placed), spent, (part, node) if again else None)
                )
            else:
                self._submit(spent, placed)
                placed.pop()

    def _tries(
        self, state: int, legs: int, spent: int, last: tuple[int, int] | None
    ) -> Iterator[_Try]:
        """The ways to place the next part of what is left, the most promising first."""
        least, never, table = self.least, self.never, self.tables[legs - 1]
        room = self.limit - spent
        options: list[tuple[int, int, int, bool]] = []
        parts, rests = self._parts(state) if legs > 1 else ((state,), (0,))
        used = self.used
        self._looked(len(parts))
        for part, rest in zip(parts, rests, strict=True):
            if (rest or used) and (last is None or part >= last[0]):  # those of one leg are in
                bound = least[part] + table[rest]
                if bound <= room and bound < never:
                    again = rest != 0 and self._same_line(state, rest)
                    if not again or rest >= part:
                        options.append((bound, part, rest, again))
        options.sort()
        for bound, part, rest, again in options:
            if spent + bound > self.limit:
                return
            others = spent + bound - least[part]
            looks = 0
            for value, node in self._nodes_for(part):
                looks += 1
                cost = self._cost(value)
                if others + cost > self.limit:
                    break
                if node in used or (last is not None and part == last[0] and node < last[1]):
                    continue
                self._looked(looks)
                looks = 0
                yield spent + cost, node, part, rest, again
            self._looked(looks)

    def _same_line(self, state: int, rest: int) -> bool:
        """Whether units of the lowest line of `state` are left in `rest`."""
        if self.plain:
            return False
        lowest = next(mask << shift for shift, mask, _, _ in self.fields if state >> shift & mask)
        return rest & lowest != 0

    def _nodes_for(self, part: int) -> Iterator[Offer]:
        """Value and node, cheapest first: as many as can stand in the two best plans."""
        for place in range(self.max_legs + 1):
            row = self._row(part)  # another place in the search may have asked for more of it
            if place == len(row):
                count = self.asked[part]
                if place < count:
                    return
                row = self._ask(part, 2 * count)
                if place == len(row):
                    return
            yield row[place]

    def _submit(self, cost: int, legs: Sequence[tuple[int, int]]) -> None:
        """Keeps a plan if it is one of the best yet."""
        placed = sorted(legs)
        nodes = tuple(node for node, _ in placed)
        self.found.append((cost, nodes, tuple(self._contents(part) for _, part in placed)))
        self.found.sort()
        del self.found[self.room :]
        if len(self.found) == self.room:
            self.limit = min(self.limit, self.found[-1][0])


def _node_by_node(problem: Problem) -> Steps:
    """Node by node: the best two ways to each state, which no later node can reorder.

    A state is what is left of each line, in one integer: a field of bits for each, and above it a
    bit that taking more than is left takes away.
    """
    targets, modes, most = problem.targets, problem.modes, problem.max_legs
    bits = problem.nodes.bit_length()
    counted = most is not None and most < problem.nodes  # states differ in their legs, too
    shifts = [0]
    for units in targets:
        shifts.append(shifts[-1] + units.bit_length() + 1)
    guards = sum(1 << shift - 1 for shift in shifts[1:])
    everything = sum(units << shift for units, shift in zip(targets, shifts, strict=False)) | guards
    start: _Way = (0, 0, (), ())
    states: dict[tuple[int, int], list[_Way]] = {(0, everything): [start]}
    small: list[_Way] = []  # plans of one leg that is too small beside another
    for node, free in enumerate(problem.free()):
        offers: list[tuple[int, int, int, Contents]] = []
        for contents in product(*map(_choices, targets, modes, free)):
            value = problem.value(node, contents) if any(contents) else None
            if value is None:
                continue
            cost = (value + problem.extra_leg << bits) + 1
            if problem.leg_min is None or problem.leg_min(contents):
                taken = sum(
                    (units if mode == ANY else target if units else 0) << shift
                    for units, mode, target, shift in zip(
                        contents, modes, targets, shifts, strict=False
                    )
                )
                offers.append((taken, -sum(contents), cost, contents))
            else:
                small.append((-sum(contents), cost, (node,), (contents,)))
        for (legs, left), ways in list(states.items()) if offers else ():
            yield
            if counted and legs == most:
                continue
            for taken, given, cost, contents in offers:
                rest = left - taken
                if rest & guards != guards:
                    continue
                after = (legs + counted, rest)
                best = states.get(after, [])
                for units, spent, nodes, before in ways:
                    worth = (units + given, spent + cost)
                    if len(best) == _TWO and worth > best[1][:_TWO]:
                        break
                    longer = (*worth, (*nodes, node), (*before, contents))
                    best = sorted([*best, longer])[:_TWO]
                states[after] = best
    plans = [way for ways in states.values() for way in ways if way[0]] + small
    if problem.all_or_nothing:
        plans = [way for way in plans if -way[0] == sum(targets)]
    plans.sort()
    return answer_of(
        [
            _plan((cost, nodes, given), bits, problem.extra_leg)
            for _, cost, nodes, given in plans[:_TWO]
        ]
    )


def _choices(target: int, mode: int, free: int) -> Sequence[int]:
    """The units that a node can give of a line."""
    there = min(free, target)
    if mode == ANY:
        return range(there + 1)
    return (0, there) if there == target or (mode == ONE and there) else (0,)


def _plan(key: _Key, bits: int, extra_leg: int) -> Plan:
    cost, nodes, contents = key
    legs = tuple(zip(nodes, contents, strict=True))
    return Plan(sum(map(sum, contents)), (cost >> bits) - extra_leg, legs)


class _Draft:
    """The best plans found on the way, where looking at all of them would take too long."""

    def __init__(self, problem: Problem) -> None:
        self.problem = problem
        self.free: list[Sequence[int]] = []
        self.gifts: list[Contents] = []  # all that each node can give
        self.totals: list[int] = []  # of them, the units
        self.lines: list[Contents] = []  # the same by line
        self.peaks: list[int] = []  # of each line, the most of those, or of all where it is divided
        self.least = [0] * len(problem.targets)  # of each line, what is too little to be given
        self.order: list[int] = []  # the nodes, those with most in all first
        self.values: list[dict[Contents, int | None]] = [{} for _ in range(problem.nodes)]
        self.asked = 0  # values
        self.best: list[_DraftKey] = []
        self.pool: list[int] = []
        self._whole: list[list[int]] = []  # what each gives of a line nothing of which is placed
        self.holders: list[list[int]] = []  # of the pool, by line: who has all of it
        self._fullest: dict[tuple[int, ...], list[int]] = {}
        self._parts: dict[tuple[int, Contents], Contents] = {}  # of what can't be a leg: what can
        self.refused = 0  # lines looked at in legs that can't be, since a greedy plan was begun
        self.work = 0
        self.values_left = DRAFT_VALUES
        self.covers = min(DRAFT_COVERS, problem.draft_work // (10 * len(problem.targets)))

    def look(self) -> Generator[None, None, None]:
        """What nodes have: the ones with most in all, and those with most of each line."""
        targets = self.problem.targets
        gifts = self.gifts
        for node, free in enumerate(self.problem.free()):
            self.free.append(free)
            gifts.append(self.most(node, targets))
            self.totals.append(sum(gifts[-1]))
            yield
        self.order = sorted(range(len(gifts)), key=lambda node: (-self.totals[node], node))
        pool = dict.fromkeys(self.order[:DRAFT_POOL])
        for line, (units, mode) in enumerate(zip(targets, self.problem.modes, strict=True)):
            yield
            most = [gift[line] for gift in gifts] or [0]
            self.lines.append(tuple(most))
            self.peaks.append(min(units, sum(most)) if mode == ANY else max(most))
            for _ in range(min(_TWO, len(most))):
                node = most.index(max(most))
                pool[node] = None
                most[node] = -1
        self.pool = sorted(pool)
        for line, units in enumerate(targets):
            yield
            self.holders.append([node for node in self.pool if gifts[node][line] == units])
            self._whole.append([gifts[node][line] for node in self.pool])

    def value(self, node: int, contents: Contents) -> int | None:
        """As the problem says, asked once."""
        values = self.values[node]
        found = values.get(contents)
        if found is None and contents not in values:
            found = values[contents] = self.problem.value(node, contents)
            self.asked += 1
        return found

    def most(self, node: int, left: Sequence[int]) -> Contents:
        """All that a node can give of what is left: by stock."""
        targets, modes = self.problem.targets, self.problem.modes
        free = self.free[node]
        found = []
        for i, (units, mode) in enumerate(zip(left, modes, strict=True)):
            there = 0
            if units and free[i] and (mode == ANY or units == targets[i]):
                there = _choices(units, mode, free[i])[-1]
            found.append(there if there >= self.least[i] else 0)
        return tuple(found)

    def left(self, legs: dict[int, Contents]) -> list[int]:
        """What the legs leave of each line."""
        left = list(self.problem.targets)
        for contents in legs.values():
            for i, units in enumerate(contents):
                left[i] -= units if self.problem.modes[i] == ANY or not units else left[i]
        return left

    def gift(self, node: int, left: Sequence[int]) -> Contents:
        """All that a node can give of what is left; else, line by line, what can be a leg."""
        most = self.most(node, left)
        if not any(most) or self.value(node, most) is not None:
            return most
        found = self._parts.get((node, most))
        if found is None:
            found = self._parts[node, most] = self._part(node, most)
        return found

    def _part(self, node: int, most: Contents) -> Contents:
        """What can be a leg of what can't be one as a whole: the first lines first.

        What doesn't go along is halved, to the last line; once enough was refused, no more, but for
        what comes first.
        """
        lines = [line for line, units in enumerate(most) if units]
        found = [0] * len(most)
        spans = [(0, len(lines))]
        in_a_row = 0
        while spans:
            begin, end = spans.pop()
            for line in lines[begin:end]:
                found[line] = most[line]
            if self.value(node, tuple(found)) is not None:
                in_a_row = 0
                continue
            in_a_row += 1
            self.refused += len(most)
            for line in lines[begin:end]:
                found[line] = 0
            if end - begin == 1:
                self._divide(node, lines[begin], most[lines[begin]], found)
            elif not begin or (
                in_a_row <= DRAFT_REFUSED and self.refused <= DRAFT_GREEDY * self.problem.draft_work
            ):
                middle = (begin + end) // 2
                spans += [(middle, end), (begin, middle)]
        return tuple(found)

    def _divide(self, node: int, line: int, units: int, found: list[int]) -> None:
        """Adds of a line fewer units than these, as many as can go along."""
        can, cannot = 0, units
        while self.problem.modes[line] == ANY and can + 1 < cannot:
            found[line] = (can + cannot) // 2 if can else 1
            if self.value(node, tuple(found)) is not None:
                can = found[line]
            else:
                cannot = found[line]
        found[line] = can

    def begun(self, node: int) -> dict[int, Contents]:
        """A plan with a leg there alone; none where that is too small to be one of several."""
        gift = self.gift(node, self.problem.targets)
        if not any(gift):
            return {}
        self.key({node: gift})
        return {node: gift} if self.large_enough(gift) else {}

    def large_enough(self, contents: Contents) -> bool:
        """Whether it may be one of several legs."""
        return self.problem.leg_min is None or self.problem.leg_min(contents)

    def key(self, legs: dict[int, Contents]) -> _DraftKey | None:
        """What the plan is compared by; None where it can't be."""
        problem = self.problem
        if not legs or len(legs) > (problem.max_legs or len(legs)):
            return None
        value = problem.extra_leg * (len(legs) - 1)
        for node, contents in legs.items():
            worth = self.value(node, contents)
            if worth is None or (len(legs) > 1 and not self.large_enough(contents)):
                return None
            value += worth
        units = sum(map(sum, legs.values()))
        if problem.all_or_nothing and units < sum(problem.targets):
            return None
        nodes = tuple(sorted(legs))
        key = (-units, value, len(legs), nodes, tuple(legs[node] for node in nodes))
        best = self.best
        if (len(best) < _TWO or key < best[-1]) and key not in best:
            self.best = sorted([*best, key])[:_TWO]
        return key

    def grown(self, legs: dict[int, Contents]) -> Generator[None, None, dict[int, Contents]]:
        """These legs and, until nothing is left, the node that gives most, the cheapest of those.

        Nodes wait by what they could give when they were last looked at. That only falls, unless
        what a node could give can't be a leg.
        """
        legs, shorter = dict(legs), {}
        self.refused = 0
        left = self.left(legs)
        gains: list[int] = []  # what each node could give of what is left
        for node in range(len(self.gifts)):
            gains.append(sum(self.most(node, left)))
            yield
        rated = [-1] * len(gains)  # what nodes could give when their legs' values were asked for
        waiting = [(-gain, -1, n) for n, gain in enumerate(gains) if gain and n not in legs]
        heapify(waiting)
        enough = self.asked + DRAFT_VALUES
        most_legs = self.problem.max_legs or self.problem.nodes
        while waiting and len(legs) < most_legs:
            yield
            units, _, node = waiting[0]
            gain = gains[node]
            if rated[node] != gain and -units > gain > 0:
                heapreplace(waiting, (-gain, -1, node))
                continue
            gift = self.gift(node, left)
            if any(gift) and rated[node] != gain and self.asked < enough:
                rated[node] = gain
                heapreplace(waiting, (-sum(gift), self.value(node, gift) or 0, node))
                continue
            heappop(waiting)
            if any(gift) and not self.large_enough(gift):
                self.key({node: gift})
            elif any(gift):
                shorter = dict(legs)
                legs[node] = gift
                for line, taken in enumerate(gift):
                    if taken:
                        gains = self._less(gains, line, left[line], taken)
                        yield
                left = self.left(legs)
        for plan in legs, shorter:
            self.key(plan)
        return legs

    def _less(self, gains: list[int], line: int, left: int, taken: int) -> list[int]:
        """What nodes could give, once so many units are taken of what was left of a line."""
        there, least = self.lines[line], self.least[line]
        if self.problem.modes[line] != ANY:
            return [g - (had if had >= least else 0) for g, had in zip(gains, there, strict=True)]
        after = left - taken
        if after >= max(there):
            return gains
        return [
            gain - min(had, left) + min(had, after) for gain, had in zip(gains, there, strict=True)
        ]

    def cover(
        self, legs: dict[int, Contents], left: Sequence[int]
    ) -> Generator[None, None, dict[int, Contents] | None]:
        """These legs and more that give all that is left, if some steps find such.

        The line that the fewest nodes have decides next.
        """
        if not any(left):
            return legs
        if len(legs) == self.problem.max_legs:
            return None
        holders = min(
            [one for one, units in zip(self.holders, left, strict=True) if units], key=len
        )
        for node in holders:
            if node in legs or self.covers <= 0:
                continue
            self.covers -= 1
            yield
            gift = self.gift(node, left)
            if any(gift):
                more = {**legs, node: gift}
                found = yield from self.cover(more, self.left(more))
                if found is not None:
                    return found
        return None

    def fullest(self, left: Sequence[int], legs: Container[int] = ()) -> list[int]:
        """The nodes that could give most of what is left, of those without a leg."""
        asked = tuple(left)
        found = self._fullest.get(asked)
        if found is None:
            gifts = [0] * len(self.pool)
            problem = self.problem
            for line, (units, target) in enumerate(zip(asked, problem.targets, strict=True)):
                if units == target:
                    gifts = list(map(add, gifts, self._whole[line]))
                elif units and problem.modes[line] == ANY:
                    there = (min(self.free[node][line], units) for node in self.pool)
                    gifts = list(map(add, gifts, there))
            ranked = sorted(zip(map(neg, gifts), self.pool, strict=True))
            found = self._fullest[asked] = [node for units, node in ranked if units]
        return list(islice((node for node in found if node not in legs), DRAFT_NODES))

    def filled(self, legs: dict[int, Contents], left: list[int]) -> dict[int, Contents]:
        """The legs, each with what it can take of what is left."""
        short = [line for line, units in enumerate(left) if units]
        for node, contents in legs.items() if short else ():
            free = self.free[node]
            if not any(free[line] > contents[line] for line in short):
                continue
            wanted = [
                units + more if mode == ANY or not units else 0
                for units, more, mode in zip(contents, left, self.problem.modes, strict=True)
            ]
            more = self.most(node, wanted)
            grown = tuple(map(max, contents, more))
            if grown != contents and self.value(node, grown) is not None:
                legs[node] = grown
                left = self.left(legs)
                short = [line for line, units in enumerate(left) if units]
        return legs

    def improve(self, legs: dict[int, Contents]) -> Generator[None, None, None]:
        """Moves a line of a leg, or all of it, or puts another node in a leg's place.

        Each step is the best there is, for as long as one helps. The node that comes takes all it
        can of what is left.
        """
        at = self.key(legs)
        before = self.asked
        while at is not None and self.asked - before < self.values_left:
            moves = []
            for moved, left in self._moves(legs):
                moves.append(self.filled(moved, left))
                yield
            best: tuple[_DraftKey, dict[int, Contents]] | None = None
            for moved in moves:
                key = self.key(moved)
                if key is not None and (best is None or key < best[0]):
                    best = key, moved
                yield
            if best is None or best[0] >= at:
                break
            at, legs = best
        self.values_left -= self.asked - before

    def _moves(self, legs: dict[int, Contents]) -> Iterator[_Move]:
        """Whole legs first, then line by line, for as long as there is work left."""
        left = self.left(legs)
        for move in chain(self._moves_of_legs(legs, left), self._moves_of_lines(legs, left)):
            self.work += len(legs) * len(self.problem.targets)  # to see what it leaves
            if self.work > self.problem.draft_work:
                return
            yield move

    def _moves_of_legs(self, legs: dict[int, Contents], left: list[int]) -> Iterator[_Move]:
        for node, contents in legs.items():
            others = {n: c for n, c in legs.items() if n != node}
            without = self.left(others)
            for other in self.fullest(without, legs):
                if any(gift := self.gift(other, without)):
                    moved = {**others, other: gift}
                    yield moved, self.left(moved)
            if self.problem.cheapest_of is not None:
                for _, other in self.problem.cheapest_of(contents, len(legs) + 1):
                    if other not in legs:
                        yield {**others, other: contents}, left
                        break
            lines = tuple(i for i, units in enumerate(contents) if units)
            if len(lines) > 1:
                for moved in self._moved(legs, node, lines):
                    yield moved, left

    def _moves_of_lines(self, legs: dict[int, Contents], left: list[int]) -> Iterator[_Move]:
        for node, contents in legs.items():
            for line, units in enumerate(contents):
                if units and self.work <= self.problem.draft_work:
                    for moved in self._moved(legs, node, (line,)):
                        yield moved, left

    def _moved(
        self, legs: dict[int, Contents], node: int, lines: tuple[int, ...]
    ) -> Iterator[dict[int, Contents]]:
        """These lines of a node's leg with each of the nodes that have most of them."""
        contents = legs[node]
        self.work += len(contents)
        others = {n: c for n, c in legs.items() if n != node}
        kept, asked = list(contents), [0] * len(contents)
        for i in lines:
            asked[i], kept[i] = kept[i], 0
        staying = tuple(kept) if any(kept) else None
        for other in self.fullest(asked):
            if other == node:
                continue
            there = legs.get(other)
            given = asked if there is None else list(map(add, there, asked))
            if all(self._gives(other, i, given[i]) for i in lines):
                after = dict(others) if staying is None else {**others, node: staying}
                after[other] = tuple(given)
                yield after

    def _gives(self, node: int, line: int, units: int) -> bool:
        target, mode = self.problem.targets[line], self.problem.modes[line]
        return units in _choices(target, mode, self.free[node][line])


def _best_found(problem: Problem, given_up: _Search | None) -> Steps:
    """The best of some greedy plans, each improved step by step; and what none can be better than.

    The bound on units: what the nodes have of each line, and what the fullest `max_legs` nodes
    could give; on value: as many of the cheapest legs as that takes.
    """
    draft = _Draft(problem)
    yield from draft.look()
    targets, modes, totals, order = problem.targets, problem.modes, draft.totals, draft.order
    most_legs = problem.max_legs or problem.nodes
    units = min(sum(draft.peaks), sum(totals[node] for node in order[:most_legs]))
    plans = [
        dict(zip(nodes, contents, strict=True))
        for _, nodes, contents in ((*given_up.best, *given_up.found) if given_up else ())
    ]
    # A line that one node gives: whoever has most of it, where that leaves nothing else out.
    draft.least = [
        peak if mode == ONE else 0 for peak, mode in zip(draft.peaks, modes, strict=True)
    ]
    for node in order[:DRAFT_STARTS]:
        legs = yield from draft.grown(draft.begun(node))
        plans.append(legs)
    if any(draft.least):
        draft.least = [0] * len(targets)
        legs = yield from draft.grown(draft.begun(order[0]))
        plans.append(legs)
    keys = {key: None for plan in plans if (key := draft.key(plan)) is not None}
    for _, _, _, nodes, contents in sorted(keys):
        yield from draft.improve(dict(zip(nodes, contents, strict=True)))
    if problem.max_legs is not None and (not draft.best or -draft.best[0][0] < sum(targets)):
        covering = yield from draft.cover({}, targets)
        if covering is not None:
            yield from draft.improve(covering)
    if draft.best and -draft.best[0][0] < units:
        _, _, _, nodes, contents = draft.best[0]
        yield from draft.grown(dict(zip(nodes, contents, strict=True)))
    fewest = given = 0
    while given < units:
        given += totals[order[fewest]]
        fewest += 1
    found = [
        Plan(-least, value, tuple(zip(nodes, contents, strict=True)))
        for least, value, _, nodes, contents in draft.best
    ]
    best, second = (*found, None, None)[:_TWO]
    value = max(0, fewest * problem.floor + (fewest - 1) * problem.extra_leg)
    bound = (units, value)
    if given_up is not None and (closer := given_up.bound()) is not None:
        bound = min(bound, closer, key=lambda found: (found[0], -found[1]))
    return Answer(best, second, exact=False, bound=bound)
