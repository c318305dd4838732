"""`headrace version`."""

from importlib.metadata import version as installed

import typer


def version() -> None:
    """Say which release this is.

    Example:
      headrace version
    """
    typer.echo(installed("headrace"))
