"""The stock ledger: units of an item at a node, by state, and the promises that reserve them."""

from typing import Final

from orchestrator.core.config import DAY_MS, HOUR_MS
from orchestrator.core.orders import FulfillmentLine, Order

MOVEMENTS_KEPT_MS = 2 * DAY_MS
"""How late a count may be told for the movements since to be applied again."""
MOVEMENTS_KEPT = 200
"""The number of an item's movements at a node that are remembered, at the most."""
_SLACK, _SLACK_MS = 50, HOUR_MS  # so that forgetting costs little

SHIPPED: Final = "shipped"
"""The reason of movements by which units leave for customers."""
HELD_STATES = ("quality_control", "damaged", "held")

SALES_DAYS: Final = 28
"""The mean age of what `days_of_supply` remembers of shipments."""
_ONE: Final = 1 << 20


def _fading() -> list[int]:
    """What is left of `_ONE` after 0, 1, … days: it loses a 28th a day."""
    left = [_ONE]
    while left[-1]:
        left.append(left[-1] * (SALES_DAYS - 1) // SALES_DAYS)
    return left


_FADING: Final = _fading()


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
        "lots",
        "movements",
        "on_hand",
        "promises",
        "quality_control",
        "reserved",
        "sold",
        "sold_day",
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
        # units on hand by the day they expire, oldest first; of the others no expiry is known
        self.lots: list[tuple[int, int]] | None = None
        self.sold = 0  # units shipped, in 2^20ths, those of old days faded
        self.sold_day = 0  # the day (UTC) as of which they are

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

    def change_lots(self, changes: list[list[int]]) -> None:
        """Apply [day they expire, units more or fewer]."""
        lots = dict(self.lots or ())
        for day, units in changes:
            lots[day] = lots.get(day, 0) + units
        self.lots = [(day, lots[day]) for day in sorted(lots) if lots[day]] or None

    @property
    def dated(self) -> int:
        """Units on hand whose expiry is known."""
        return sum(units for _, units in self.lots) if self.lots else 0

    def fresh(self, min_day: int) -> int:
        """Available units that surely live at least until that day (days since 1970-01-01).

        Units that are promised or set aside count as the longest-lived: whoever ships them may
        take those. Units without a known expiry don't expire.
        """
        if not self.lots:
            return self.available
        stale = sum(units for day, units in self.lots if day < min_day)
        return max(0, self.available - stale)

    def sell(self, units: int, now_ms: int) -> None:
        """Remember a shipment, for `days_of_supply`."""
        self.sold = self._sold(now_ms) + units * _ONE
        self.sold_day = now_ms // DAY_MS

    def _sold(self, now_ms: int) -> int:
        days = max(0, now_ms // DAY_MS - self.sold_day)
        return self.sold * _FADING[days] // _ONE if days < len(_FADING) else 0

    def days_of_supply(self, now_ms: int) -> int | None:
        """How many days the available units last at the rate they have been shipped of late.

        None where nothing was. Of old shipments a 28th is forgotten each day, so what is
        remembered is what 28 days at the present rate ship.
        """
        sold = self._sold(now_ms)
        return self.available * SALES_DAYS * _ONE // sold if sold else None

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
