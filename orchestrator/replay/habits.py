"""How nodes and carriers answered in a period: what answers are drawn from that history hasn't."""

from random import Random
from typing import Any, Final, NamedTuple, TypeVar

_KEPT: Final = 2_000  # of a sample; the rest is thinned out evenly

T = TypeVar("T")


class Sample:
    """Values from all over a period, evenly thinned out where there are too many."""

    __slots__ = ("_seen", "_stride", "values")

    def __init__(self) -> None:
        self.values: list[Any] = []
        self._seen = 0
        self._stride = 1

    def add(self, value: object) -> None:
        """Take a value in, or leave it out."""
        if self._seen % self._stride == 0:
            self.values.append(value)
            if len(self.values) >= 2 * _KEPT:
                del self.values[1::2]
                self._stride *= 2
        self._seen += 1


class Look(NamedTuple):
    """A node's first answer: after how long (ms), and what share of the lines it rejects, why."""

    after_ms: int
    share: float
    reason: str


class Draw(NamedTuple):
    """How a node will answer."""

    look: Look
    ship_after_ms: int  # after the request
    arrive_after_ms: int  # after the shipment


class Habits:
    """Samples of answers, by node and by how far ahead the work was planned.

    What is asked of a node for a later day ships later, and what goes farther arrives later; so
    times are drawn from work of the same node with as many days ahead, else of any node with as
    many, else from all that node's, else from all.
    """

    def __init__(self) -> None:
        self.looks: dict[str, Sample] = {}
        self.ships: dict[str, Sample] = {}
        self.arrivals: dict[str, Sample] = {}
        self.cancellations = Sample()  # [after ms, accepted]

    def looked(self, node_id: str, look: Look) -> None:
        """A node accepted or rejected."""
        for key in (node_id, ""):
            self.looks.setdefault(key, Sample()).add(tuple(look))

    def shipped(self, node_id: str, days_ahead: int, after_ms: int) -> None:
        """A node shipped what it was asked for so many days ahead."""
        for key in _ship_keys(node_id, days_ahead):
            self.ships.setdefault(key, Sample()).add(after_ms)

    def arrived(self, transit_days: int, after_ms: int) -> None:
        """A package arrived that was planned to take so many days."""
        for key in (str(transit_days), ""):
            self.arrivals.setdefault(key, Sample()).add(after_ms)

    def draw(self, chance: Random, node_id: str, days_ahead: int, transit_days: int) -> Draw | None:
        """How this node would answer; None where nobody ever answered."""
        look = _choice(chance, self.looks, [node_id, ""])
        ship = _choice(chance, self.ships, _ship_keys(node_id, days_ahead))
        arrival = _choice(chance, self.arrivals, [str(transit_days), ""])
        if look is None or ship is None:
            return None
        found = Look(*look)
        never = 10**15
        return Draw(found, max(found.after_ms, ship), never if arrival is None else arrival)

    def draw_cancellation(self, chance: Random) -> tuple[int, bool]:
        """After how long (ms) a node answers a request to stop, and whether it can."""
        if self.cancellations.values:
            after_ms, accepted = chance.choice(self.cancellations.values)
            return after_ms, accepted
        look = _choice(chance, self.looks, [""])
        return (look[0] if look else 0), True

    def as_json(self) -> dict[str, Any]:
        """For a file."""
        return {
            "looks": {key: one.values for key, one in self.looks.items()},
            "ships": {key: one.values for key, one in self.ships.items()},
            "arrivals": {key: one.values for key, one in self.arrivals.items()},
            "cancellations": self.cancellations.values,
        }

    @classmethod
    def from_json(cls, told: dict[str, Any]) -> "Habits":
        """What `as_json` gave."""
        habits = cls()
        for name in ("looks", "ships", "arrivals"):
            setattr(habits, name, {key: _sample(some) for key, some in told[name].items()})
        habits.cancellations = _sample(told["cancellations"])
        return habits


def _ship_keys(node_id: str, days_ahead: int) -> list[str]:
    return [f"{node_id}/{days_ahead}", f"/{days_ahead}", node_id, ""]


def _sample(values: list[Any]) -> Sample:
    sample = Sample()
    sample.values = values
    return sample


def _choice(chance: Random, samples: dict[str, Sample], keys: list[str]) -> Any:  # noqa: ANN401 - of any sample
    """One of the first sample there is; each call takes one number, whichever it is."""
    drawn = chance.random()
    for key in keys:
        sample = samples.get(key)
        if sample is not None and sample.values:
            return sample.values[int(drawn * len(sample.values))]
    return None
