"""Moments that options name: times of Headrace's clock, and commits."""

import re
from datetime import date
from typing import Final

import typer

from events.base import TIME
from orchestrator.commands.connection import INPUT_ERROR
from orchestrator.past import Until
from orchestrator.runtime.settings import Settings
from schemas.times import instant_ms

_POSITION: Final = re.compile(r"(\d{1,6}):(\d{1,18})")


def time_ms(text: str) -> int:
    """Milliseconds since 1970 of a time, or of a date's first moment in UTC; ValueError."""
    if TIME.fullmatch(text):
        return instant_ms(text.upper())
    return instant_ms(f"{date.fromisoformat(text).isoformat()}T00:00:00Z")


def moment(option: str, text: str, settings: Settings) -> tuple[list[int], Until]:
    """The shards to look at, and how far; exits where the text says neither a time nor a commit."""
    position = _POSITION.fullmatch(text)
    if position is not None:
        shard, seq = map(int, position.groups())
        if shard >= settings.shards:
            typer.echo(f"{option}: there are the shards 0 to {settings.shards - 1}", err=True)
            raise typer.Exit(INPUT_ERROR)
        return [shard], Until(seq=seq)
    try:
        return list(range(settings.shards)), Until(time_ms=time_ms(text))
    except (ValueError, OverflowError):
        typer.echo(
            f"{option}: must be a time such as 2026-01-31T12:00:00Z, a date, or a commit such as"
            f' 3:1042, was "{text}"',
            err=True,
        )
        raise typer.Exit(INPUT_ERROR) from None
