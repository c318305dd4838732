"""The stock ledger: units of an item at a node, by state, and the promises that reserve them."""

from orchestrator.core.orders import FulfillmentLine, Order

MOVEMENTS_KEPT = 1_000
"""Movements of one item at one node that a late count can still apply again."""

HELD_STATES = ("quality_control", "damaged", "held")


class Bin:
    """One item at one node.

    Law: on_hand = available + reserved + quality_control + damaged + held, each at least 0.
    `available` is kept, not computed; negative only within an entry, until promises are taken back.
    """

    __slots__ = (
        "available",
        "damaged",
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
        self.movements: list[tuple[int, int, int, int, int]] | None = None  # (time_ms, *delta)

    @property
    def set_aside(self) -> int:
        """Units in held states."""
        return self.quality_control + self.damaged + self.held

    def reserve(self, units: int) -> None:
        """Promise units; a negative number frees them."""
        self.reserved += units
        self.available -= units

    def move(self, time_ms: int, delta: list[int]) -> None:
        """Apply a physical movement [on_hand, quality_control, damaged, held]."""
        on_hand, quality_control, damaged, held = delta
        self.on_hand += on_hand
        self.quality_control += quality_control
        self.damaged += damaged
        self.held += held
        self.available += on_hand - quality_control - damaged - held
        if self.movements is None:
            self.movements = []
        elif len(self.movements) >= MOVEMENTS_KEPT:
            del self.movements[0]
        self.movements.append((time_ms, on_hand, quality_control, damaged, held))

    def moved_after(self, time_ms: int) -> list[int]:
        """The sum of the movements [on_hand, quality_control, damaged, held] after this moment."""
        total = [0, 0, 0, 0]
        for moved_ms, *delta in self.movements or ():
            if moved_ms > time_ms:
                total = [a + b for a, b in zip(total, delta, strict=True)]
        return total
