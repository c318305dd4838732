"""Every state that a model can reach, breadth first, so that what breaks breaks by fewest steps."""

from collections.abc import Callable, Hashable, Iterable
from dataclasses import dataclass
from typing import Generic, NamedTuple, Protocol, TypeVar

T = TypeVar("T", bound=Hashable)


class Step(NamedTuple):
    """One thing that may happen next."""

    what: tuple[object, ...]  # words, joined only when a trace is told
    state: int
    broken: str | None = None  # the invariant that doesn't hold after it


class Model(Protocol):
    """States are integers: small ids of parts, packed, so that millions of them find room."""

    def start(self) -> int:
        """The first state."""
        ...

    def steps(self, state: int) -> Iterable[Step]:
        """All that may happen in it."""
        ...


class Interned(Generic[T]):
    """Small integers for values that occur often; equal values have one number."""

    def __init__(self, bits: int) -> None:
        self.values: list[T] = []
        self._ids: dict[T, int] = {}
        self._limit = 1 << bits

    def __call__(self, value: T) -> int:
        """The value's number."""
        number = self._ids.get(value)
        if number is None:
            number = self._ids[value] = len(self.values)
            self.values.append(value)
            if number >= self._limit:
                raise OverflowError(f"more than {self._limit} values: give them more bits")
        return number


@dataclass(frozen=True, slots=True)
class Explored:
    """What was looked at; `trace` tells the shortest way to a broken invariant, one step a line."""

    states: int
    depth: int  # steps from the first state to the farthest
    broken: str | None = None
    trace: tuple[str, ...] = ()

    def __str__(self) -> str:
        if self.broken is None:
            return f"{self.states:,} states, {self.depth} steps deep: sound"
        lines = [f"{number:>3}. {line}" for number, line in enumerate(self.trace, 1)]
        return "\n".join([*lines, f"     broken: {self.broken}"])


def explore(model: Model, progress: Callable[[int, int], None] | None = None) -> Explored:
    """Look at every reachable state, up to the first that breaks an invariant.

    `progress` is told, now and then, the number of states and the depth.
    """
    first = model.start()
    came_from: dict[int, int] = {first: first}
    level, depth = [first], 0
    while level:
        following: list[int] = []
        for state in level:
            for what, after, broken in model.steps(state):
                if broken is not None:
                    trace = [*_way_to(model, state, came_from), _told(what)]
                    return Explored(len(came_from), depth + 1, broken, tuple(trace))
                if after not in came_from:
                    came_from[after] = state
                    following.append(after)
            if progress is not None and not len(came_from) & 0xFFF:
                progress(len(came_from), depth)
        level = following
        depth += bool(following)
    return Explored(len(came_from), depth)


def _way_to(model: Model, state: int, came_from: dict[int, int]) -> list[str]:
    told = []
    while (before := came_from[state]) != state:
        told.append(_told(next(one.what for one in model.steps(before) if one.state == state)))
        state = before
    return told[::-1]


def _told(what: tuple[object, ...]) -> str:
    return " ".join(map(str, what))
