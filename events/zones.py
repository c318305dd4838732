"""Time zones, from the pinned `tzdata` package alone.

A decision must not depend on the tables of the machine that makes it, nor on what another library
sets `zoneinfo`'s search path to. So names are looked up here, and nowhere else.
"""

from functools import lru_cache
from importlib.resources import files
from typing import Final
from zoneinfo import ZoneInfo

_PACKAGE: Final = files("tzdata")
NAMES: Final = frozenset(_PACKAGE.joinpath("zones").read_text("utf-8").split())
"""What the IANA database calls its zones, links among them."""


@lru_cache(maxsize=1024)
def time_zone(name: str) -> ZoneInfo:
    """The zone of this name; ValueError where the database has none."""
    if name not in NAMES:  # nor does a path get to the file system
        message = f'"{name}" is not a time zone of the IANA database, such as "Europe/Berlin"'
        raise ValueError(message)
    with _PACKAGE.joinpath("zoneinfo", *name.split("/")).open("rb") as table:
        return ZoneInfo.from_file(table, key=name)
