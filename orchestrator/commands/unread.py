"""Questions to all shards are answered by those that can be read; the others are named."""

from collections.abc import Awaitable, Callable, Iterable, Sequence
from typing import NamedTuple

import typer

from orchestrator.commands.connection import SERVER_ERROR
from schemas.journal import JournalError
from schemas.ports import LogError


class Unread(NamedTuple):
    """A shard whose journal can't be read, and why."""

    shard: int
    why: str


async def read_each(shards: Iterable[int], read: Callable[[int], Awaitable[None]]) -> list[Unread]:
    """Read one shard after the other; which can't be. JournalError, LogError where none can."""
    unread: list[Unread] = []
    first: JournalError | LogError | None = None
    some = False
    for shard in shards:
        try:
            await read(shard)
            some = True
        except (JournalError, LogError) as error:
            first = first or error
            unread.append(Unread(shard, str(error)))
    if first is not None and not some:
        raise first
    return unread


def exit_on_unread(unread: Sequence[Unread]) -> None:
    """Where there are any, say that the answer holds nothing of them, and exit with 3."""
    for shard, why in unread:
        typer.echo(f"Nothing of shard {shard} is in this, it can't be read: {why}", err=True)
    if unread:
        raise typer.Exit(SERVER_ERROR)
