"""The stock ledger: units of an item at a node, by state, and the promises that reserve them."""

from orchestrator.core.config import DAY_MS, HOUR_MS
from orchestrator.core.orders import FulfillmentLine, Order

MOVEMENTS_KEPT_MS = 2 * DAY_MS
"""How late a count may be told for the movements since to be applied again."""
MOVEMENTS_KEPT = 200
"""The number of an item's movements at a node that are remembered, at the most."""
_SLACK, _SLACK_MS = 50, HOUR_MS  # so that forgetting costs little

HELD_STATES = ("quality_control", "damaged", "held")


class Bin:
    """One item at one node.

    Law: on_hand = available + reserved + quality_control + damaged + held, each at least 0.
    `available` is kept, not computed; negative only within an entry, until promises are taken back.
    """

    __slots__ = (
        "available",
        "counted",
        "damaged",
        "forgotten_ms",
        "held",
        "movements",
        "on_hand",
        "promises",
        "quality_control",
        "reserved",
    )

    def __init__(self) -> None:
        self.available = 0
        self.on_hand = 0
        self.reserved = 0
        self.quality_control = 0
        self.damaged = 0
        self.held = 0
        self.promises: dict[FulfillmentLine, Order] = {}  # with reserved units, oldest first
        self.forgotten_ms = 0  # when the newest movement happened that is no longer remembered
        self.counted: dict[str, int] | None = None  # state -> when it was last counted
        self.movements: list[tuple[int, int, int, int, int]] | None = None  # (time_ms, *delta)

    @property
    def set_aside(self) -> int:
        """Units in held states."""
        return self.quality_control + self.damaged + self.held

    def reserve(self, units: int) -> None:
        """Promise units; a negative number frees them."""
        self.reserved += units
        self.available -= units

    def move(self, time_ms: int, delta: list[int], now_ms: int) -> None:
        """Apply a physical movement [on_hand, quality_control, damaged, held] of `time_ms`."""
        on_hand, quality_control, damaged, held = delta
        self.on_hand += on_hand
        self.quality_control += quality_control
        self.damaged += damaged
        self.held += held
        self.available += on_hand - quality_control - damaged - held
        if self.movements is None:
            self.movements = []
        elif (
            len(self.movements) > MOVEMENTS_KEPT + _SLACK
            or self.movements[0][0] < now_ms - MOVEMENTS_KEPT_MS - _SLACK_MS
        ):
            oldest_ms = now_ms - MOVEMENTS_KEPT_MS
            kept = [one for one in self.movements[-MOVEMENTS_KEPT:] if one[0] >= oldest_ms]
            gone = self.movements[: -len(kept)] if kept else self.movements
            self.forgotten_ms = max(self.forgotten_ms, *(one[0] for one in gone), 0)
            self.movements = kept
        self.movements.append((time_ms, on_hand, quality_control, damaged, held))

    def moved_after(self, time_ms: int) -> list[int]:
        """The sum of the movements [on_hand, quality_control, damaged, held] after this moment."""
        total = [0, 0, 0, 0]
        for moved_ms, *delta in self.movements or ():
            if moved_ms > time_ms:
                total = [a + b for a, b in zip(total, delta, strict=True)]
        return total

    def counted_after(self, state: str, time_ms: int) -> bool:
        """Whether a newer count of this state, or of all, is known."""
        counted = self.counted or {}
        return max(counted.get(state, 0), counted.get("all", 0)) > time_ms
