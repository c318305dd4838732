"""The command `headrace`: one module a command; only the one that is called is imported."""

import errno
import re
import sys
from importlib import import_module
from importlib.util import find_spec
from inspect import getdoc
from pathlib import Path

import typer

from orchestrator.runtime.settings import SetupError

COMMANDS = (
    "demo",
    "run",
    "topics",
    "db",
    "send",
    "places",
    "status",
    "tail",
    "rejected",
    "shard",
    "explain",
    "state",
    "diff",
    "export",
    "sql",
    "whatif",
    "rules",
    "rebuild",
    "verify",
    "version",
)
"""In the order that `--help` shows them."""
_SILENT = frozenset({"send", "places", "version"})
"""Those that load nothing that logs, nor what would write it, which takes a while."""


_STOPPED = 130
_FULL = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG})


def main() -> None:
    """Run the command line; exits with CONTRACT's codes."""
    _check_packages()
    try:
        if not _SILENT.issuperset(sys.argv[1:2]):
            from orchestrator.runtime import logs  # noqa: PLC0415 - slow to load

            logs.configure("console", "warning")  # to standard error: others read what is printed
        application(sys.argv[1:])()
    except SetupError as error:
        typer.echo(str(error), err=True)
        raise SystemExit(error.exit_code) from None
    except KeyboardInterrupt:  # while modules are loaded; typer has it from then on
        raise SystemExit(_STOPPED) from None
    except OSError as error:
        if error.errno not in _FULL or error.filename is not None:
            raise
        typer.echo(f"What is printed can't be written: {error.strerror}.", err=True)
        raise SystemExit(1) from None


def application(arguments: list[str]) -> typer.Typer:
    """The command line; only with the command that the arguments name, where they name one."""
    app = typer.Typer(
        name="headrace",
        help="Event-sourced order orchestration on Kafka and PostgreSQL.",
        no_args_is_help=True,
        pretty_exceptions_enable=False,
        context_settings={"help_option_names": ["-h", "--help"]},
        add_completion=False,
    )
    app.callback()(_headrace)
    for name in [arguments[0]] if arguments and arguments[0] in COMMANDS else COMMANDS:
        module = import_module(f"orchestrator.commands.{name}")
        if hasattr(module, "app"):
            app.add_typer(module.app, name=name)
            added = module.app.registered_commands
        else:
            app.command(name)(getattr(module, name))
            added = app.registered_commands[-1:]
        for command in added:
            command.help = _flowing(getdoc(command.callback) or "")
    return app


def _flowing(text: str) -> str:
    """Paragraphs as one line each, so that a terminal breaks them; what is indented stays."""
    return re.sub(r"(?<!\n)\n(?=[^\n ])", " ", text)


def _headrace() -> None:
    """Event-sourced order orchestration on Kafka and PostgreSQL."""


def _check_packages() -> None:
    """Other packages have our names too, and a folder of one's own may hide ours: say so."""
    home = Path(__file__).parents[1]
    for name in ("events", "schemas", "projections"):
        spec = find_spec(name)
        where = Path(spec.origin).parents[1] if spec and spec.origin else None
        if where != home:
            typer.echo(
                f"The package {name!r} comes from {spec.origin if spec else 'nowhere'}, not from "
                f"Headrace in {home}: start `headrace` from another folder, or uninstall what "
                "brought it.",
                err=True,
            )
            raise SystemExit(2)


if __name__ == "__main__":
    main()
