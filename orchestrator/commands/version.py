"""`headrace version`."""

import typer

from orchestrator import installed


def version() -> None:
    """Say which release this is, and whether its core is compiled.

    Example:
      headrace version
    """
    typer.echo(f"{installed.release()} (core {installed.core()})")
