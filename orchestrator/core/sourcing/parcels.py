"""Parcels: a leg's contents, cut to what a parcel may hold.

First-fit decreasing, a unit at a time: units by weight, then volume (the heavier first), sku, line
id; each into the first parcel that has room for it and holds nothing it must stay apart from. A
unit over a limit is a parcel of its own. Equal units fill a parcel at one go and equal parcels are
counted, which comes to the same: ten thousand units cost what ten do.
"""

from collections.abc import Sequence
from typing import Final, NamedTuple

NOTHING: Final[frozenset[str]] = frozenset()
_NO_LIMIT: Final = 1 << 62


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


class _Box:
    """A parcel, or `copies` equal ones, while they are filled."""

    __slots__ = ("copies", "full", "requires", "tags", "units", "volume_ml", "weight_g")

    def __init__(self, one: Content, units: int, copies: int, *, full: bool = False) -> None:
        self.weight_g = one.weight_g * units
        self.volume_ml = one.volume_ml * units
        self.units = units
        self.tags = one.tags
        self.requires = one.requires
        self.copies = copies
        self.full = full

    def with_units(self, one: Content, units: int, copies: int) -> "_Box":
        """`copies` of these, each with so many units more."""
        box = _Box(one, units, copies)
        box.weight_g += self.weight_g
        box.volume_ml += self.volume_ml
        box.units += self.units
        box.tags |= self.tags
        box.requires |= self.requires
        return box

    def parcel(self) -> Parcel:
        return Parcel(self.weight_g, self.volume_ml, self.units, self.requires, self.copies)


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
    ordered = sorted(contents, key=lambda one: (-one.weight_g, -one.volume_ml, *one[2:4]))
    lightest_g = ordered[-1].weight_g
    boxes: list[_Box] = []
    for one in ordered:
        if one.weight_g > max_g or one.volume_ml > max_ml:
            boxes.append(_Box(one, 1, one.units, full=True))
            continue
        foes = _foes(one.tags, limits)
        filled: list[_Box] = []
        left = one.units
        for box in boxes:
            room = 0
            if left and not box.full and foes.isdisjoint(box.tags):
                room = _room(one, max_g - box.weight_g, max_ml - box.volume_ml)
            if not room:
                filled.append(box)
                continue
            whole, rest = divmod(left, room)
            whole = min(whole, box.copies)
            rest = rest if whole < box.copies else 0
            left -= whole * room + rest
            if whole:
                filled.append(box.with_units(one, room, whole))
            if rest:
                filled.append(box.with_units(one, rest, 1))
            if untouched := box.copies - whole - bool(rest):
                box.copies = untouched
                filled.append(box)
        if left:
            room = _room(one, max_g, max_ml)
            whole, rest = divmod(left, room)
            filled += [_Box(one, room, whole)] if whole else []
            filled += [_Box(one, rest, 1)] if rest else []
        for box in filled:
            box.full = box.full or max_g - box.weight_g < lightest_g
        boxes = filled
    return [box.parcel() for box in boxes]


def _room(one: Content, left_g: int, left_ml: int) -> int:
    """How many more units fit."""
    by_weight = left_g // one.weight_g if one.weight_g else _NO_LIMIT
    by_volume = left_ml // one.volume_ml if one.volume_ml else _NO_LIMIT
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
