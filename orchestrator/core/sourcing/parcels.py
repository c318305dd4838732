"""Parcels: a leg's contents, cut to what a parcel may hold.

First-fit decreasing, a unit at a time: units by weight, then volume (the heavier first), sku, line
id; each into the first parcel that has room for it and holds nothing it must stay apart from. A
unit over a limit is a parcel of its own. Equal units fill a parcel at one go and equal parcels are
counted, which comes to the same: ten thousand units cost what ten do.
"""

from collections.abc import Sequence
from typing import Final, NamedTuple

NOTHING: Final[frozenset[str]] = frozenset()
_NO_LIMIT: Final = 1 << 61


class Content(NamedTuple):
    """Units of a line in a leg; weight and volume are one unit's."""

    weight_g: int
    volume_ml: int
    sku: str
    line_id: str
    units: int
    tags: frozenset[str] = NOTHING  # category and required capabilities: what `apart` names
    requires: frozenset[str] = NOTHING  # the item's required capabilities


class Limits(NamedTuple):
    """What a parcel may hold: of a strategy."""

    max_g: int | None = None
    max_ml: int | None = None
    apart: tuple[tuple[str, str], ...] = ()  # categories or capabilities that never share one


class Parcel(NamedTuple):
    """A parcel, or `copies` equal ones; weight, volume and units are those of one."""

    weight_g: int
    volume_ml: int
    units: int
    requires: frozenset[str]
    copies: int = 1


class Box:
    """A parcel, or `copies` equal ones, while they are filled."""

    __slots__ = ("copies", "full", "requires", "tags", "units", "volume_ml", "weight_g")

    def __init__(self, one: Content, units: int, copies: int, *, full: bool = False) -> None:
        weight_g, volume_ml, _, _, _, self.tags, self.requires = one
        self.weight_g = weight_g * units
        self.volume_ml = volume_ml * units
        self.units = units
        self.copies = copies
        self.full = full

    def with_units(self, one: Content, units: int, copies: int) -> "Box":
        """`copies` of these, each with so many units more."""
        box = Box(one, units, copies)
        box.weight_g += self.weight_g
        box.volume_ml += self.volume_ml
        box.units += self.units
        box.tags |= self.tags
        box.requires |= self.requires
        return box


def cut(contents: Sequence[Content], limits: Limits) -> list[Parcel]:
    """The parcels of a leg's contents (at least one line), in the order they were begun."""
    max_g = _NO_LIMIT if limits.max_g is None else limits.max_g
    max_ml = _NO_LIMIT if limits.max_ml is None else limits.max_ml
    weight_g = volume_ml = units = 0
    requires = NOTHING
    for one_g, one_ml, _, _, number, _, required in contents:
        weight_g += one_g * number
        volume_ml += one_ml * number
        units += number
        if required:
            requires |= required
    if (
        weight_g <= max_g
        and volume_ml <= max_ml
        and not (limits.apart and _clash(contents, limits))
    ):
        return [Parcel(weight_g, volume_ml, units, requires)]
    return [
        Parcel(box.weight_g, box.volume_ml, box.units, box.requires, box.copies)
        for box in boxes(sorted(contents, key=decreasing), limits)
    ]


def decreasing(one: Content) -> tuple[int, int, str, str]:
    """What units are sorted by before they are put into parcels."""
    weight_g, volume_ml, sku, line_id, _, _, _ = one
    return -weight_g, -volume_ml, sku, line_id


def boxes(ordered: Sequence[Content], limits: Limits) -> list[Box]:
    """The same of contents in that order, where one parcel may not hold all."""
    max_g = _NO_LIMIT if limits.max_g is None else limits.max_g
    max_ml = _NO_LIMIT if limits.max_ml is None else limits.max_ml
    lightest_g = ordered[-1].weight_g
    apart = bool(limits.apart)
    begun: list[Box] = []
    for one in ordered:
        one_g, one_ml, _, _, left, tags, requires = one
        if one_g > max_g or one_ml > max_ml:
            begun.append(Box(one, 1, left, full=True))
            continue
        foes = _foes(tags, limits) if apart else NOTHING
        at = 0
        while left and at < len(begun):
            box = begun[at]
            at += 1
            if box.full or (apart and not foes.isdisjoint(box.tags)):
                continue
            room = _room(one_g, one_ml, max_g - box.weight_g, max_ml - box.volume_ml)
            if not room:
                continue
            whole = min(left // room, box.copies)
            rest = 0 if whole == box.copies else left - whole * room
            left -= whole * room + rest
            if box.copies == 1:
                units = whole * room + rest
                box.weight_g += one_g * units
                box.volume_ml += one_ml * units
                box.units += units
                if apart:
                    box.tags |= tags
                if requires:
                    box.requires |= requires
                box.full = max_g - box.weight_g < lightest_g
                continue
            made = [box.with_units(one, room, whole)] if whole else []
            if rest:
                made.append(box.with_units(one, rest, 1))
            for filled in made:
                filled.full = max_g - filled.weight_g < lightest_g
            if untouched := box.copies - whole - bool(rest):
                box.copies = untouched
                made.append(box)
            begun[at - 1 : at] = made
            at += len(made) - 1
        if left:
            room = _room(one_g, one_ml, max_g, max_ml)
            whole, rest = divmod(left, room)
            if whole:
                begun.append(Box(one, room, whole, full=max_g - one_g * room < lightest_g))
            if rest:
                begun.append(Box(one, rest, 1, full=max_g - one_g * rest < lightest_g))
    return begun


def _room(one_g: int, one_ml: int, left_g: int, left_ml: int) -> int:
    """How many more units fit."""
    by_weight = left_g // one_g if one_g else _NO_LIMIT
    by_volume = left_ml // one_ml if one_ml else _NO_LIMIT
    return min(by_weight, by_volume)


def _clash(contents: Sequence[Content], limits: Limits) -> bool:
    """Whether contents of two lines may not share a parcel."""
    return any(
        not _foes(one.tags, limits).isdisjoint(other.tags)
        for i, one in enumerate(contents)
        for other in contents[:i]
    )


def _foes(tags: frozenset[str], limits: Limits) -> frozenset[str]:
    """What may not share a parcel with these."""
    return frozenset(foe for a, b in limits.apart for own, foe in ((a, b), (b, a)) if own in tags)
