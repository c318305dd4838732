"""How nodes and carriers answered in a period: what answers are drawn from that history hasn't."""

from bisect import bisect_right
from collections.abc import Mapping, Sequence
from random import Random
from typing import Any, Final, NamedTuple

NEVER_MS: Final = 10**15
"""Longer than anything is followed."""
_KEPT: Final = 2_000  # of a sample; the rest is thinned out evenly

Answer = Sequence[Any] | None
"""What was answered, beside when; None: nothing so far."""


class Look(NamedTuple):
    """A node's first answer: after how long (ms), and what share of the lines it rejects, why."""

    after_ms: int
    share: float
    reason: str


class Draw(NamedTuple):
    """How a node will answer; NEVER_MS: later than anybody was seen to wait."""

    look: Look
    ship_after_ms: int  # after the request
    arrive_after_ms: int  # after the shipment


class Sample:
    """Waits for answers from all over a period, evenly thinned out where there are too many."""

    __slots__ = ("_seen", "_stride", "waits")

    def __init__(self) -> None:
        self.waits: list[tuple[int, Answer]] = []  # ms, and what ended them
        self._seen = 0
        self._stride = 1

    def add(self, after_ms: int, answer: Answer) -> None:
        """Take a wait in, or leave it out."""
        if self._seen % self._stride == 0:
            self.waits.append((after_ms, answer))
            if len(self.waits) >= 2 * _KEPT:
                del self.waits[1::2]
                self._stride *= 2
        self._seen += 1

    def told(self) -> list[Any]:
        """What to draw from: ms, each as likely; what was answered; how many later than which ms.

        Where history ends, the quick answers to its last questions are known, and the slow ones
        aren't. So who waits counts among those who may be answered for as long as he has waited:
        the product-limit estimate (Kaplan & Meier, JASA 53, 1958, pages 457-481), here as its
        quantiles. What comes later than the longest wait isn't known.
        """
        waits = sorted(self.waits, key=lambda wait: (wait[0], wait[1] is None))
        count, longest_ms = len(waits), waits[-1][0] if waits else 0
        times: list[int] = []
        answers: list[Answer] = []
        left = 1.0
        for place, (after_ms, answer) in enumerate(waits):
            if answer is not None:
                left -= left / (count - place)
                while len(times) + 0.5 <= (1 - left) * count:
                    times.append(after_ms)
                    answers.append(answer)
        return [times, answers if any(answers) else [], count - len(times), longest_ms]


class Habits:
    """Samples of answers, by node and by how far ahead the work was planned."""

    def __init__(self) -> None:
        self._samples: dict[str, dict[str, Sample]] = {
            name: {} for name in ("looks", "ships", "arrivals", "cancellations")
        }

    def looked(self, node_id: str, after_ms: int, answer: Answer) -> None:
        """A node accepted or rejected: [share, reason], as in a Look."""
        self._add("looks", [node_id, ""], after_ms, answer)

    def shipped(self, node_id: str, days_ahead: int, after_ms: int, answer: Answer) -> None:
        """A node shipped what it was asked for so many days ahead: []."""
        self._add("ships", _ship_keys(node_id, days_ahead), after_ms, answer)

    def arrived(self, transit_days: int, after_ms: int, answer: Answer) -> None:
        """A package arrived that was planned to take so many days: []."""
        self._add("arrivals", [str(transit_days), ""], after_ms, answer)

    def stopped(self, after_ms: int, answer: Answer) -> None:
        """A node answered a request to stop: [whether it can]."""
        self._add("cancellations", [""], after_ms, answer)

    def _add(self, name: str, keys: Sequence[str], after_ms: int, answer: Answer) -> None:
        for key in keys:
            self._samples[name].setdefault(key, Sample()).add(after_ms, answer)

    def told(self) -> dict[str, dict[str, list[Any]]]:
        """For a file, and for `Draws`."""
        return {
            name: {key: one.told() for key, one in samples.items()}
            for name, samples in self._samples.items()
        }


class Draws:
    """Answers as they were in a period.

    What is asked of a node for a later day ships later, and what goes farther arrives later; so
    times are drawn from work of the same node with as many days ahead, else of any node with as
    many, else from all that node's, else from all. What is later than a sample tells is drawn from
    what the next one says of so long a wait.
    """

    def __init__(self, told: dict[str, dict[str, list[Any]]]) -> None:
        """`told` by `Habits`."""
        self._told = told

    def draw(self, chance: Random, node_id: str, days_ahead: int, transit_days: int) -> Draw | None:
        """How this node would answer; None where it wouldn't within the time that is known.

        Who is slow to look is slow to ship: one number says both.
        """
        node, carrier = chance.random(), chance.random()
        look = _choice(node, self._told["looks"], [node_id, ""])
        ship = _choice(node, self._told["ships"], _ship_keys(node_id, days_ahead))
        arrival = _choice(carrier, self._told["arrivals"], [str(transit_days), ""])
        if look is None:
            return None
        ship_ms, arrive_ms = (NEVER_MS if one is None else one[0] for one in (ship, arrival))
        return Draw(Look(look[0], *look[1]), max(look[0], ship_ms), arrive_ms)

    def draw_cancellation(self, chance: Random) -> tuple[int, bool]:
        """After how long (ms) a node answers a request to stop, and whether it can."""
        drawn = chance.random()
        if "" in self._told["cancellations"]:
            answer = _choice(drawn, self._told["cancellations"], [""])
            return (answer[0], answer[1][0]) if answer else (NEVER_MS, True)
        look = _choice(drawn, self._told["looks"], [""])
        return (look[0] if look else 0), True


def _ship_keys(node_id: str, days_ahead: int) -> list[str]:
    return [f"{node_id}/{days_ahead}", f"/{days_ahead}", node_id, ""]


def _choice(
    drawn: float, samples: Mapping[str, list[Any]], keys: Sequence[str]
) -> tuple[int, Any] | None:
    """After how long what is answered, by the first sample that tells; `drawn`: from 0 to 1.

    None where it comes later than anybody was seen to wait.
    """
    waited_ms = -1
    for key in keys:
        times, answers, later, longest_ms = samples.get(key, ([], [], 0, 0))
        begin = bisect_right(times, waited_ms)
        count = len(times) - begin
        at = drawn * (count + later)
        if at < count:
            place = begin + int(at)
            return times[place], answers[place] if answers else []
        if later:
            drawn, waited_ms = (at - count) / later, max(waited_ms, longest_ms)
    return None
