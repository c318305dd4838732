"""`headrace run`: the roles, until told to stop."""

import os
from typing import TYPE_CHECKING, Annotated, NoReturn

import typer

from orchestrator.commands.connection import INPUT_ERROR, load_settings

if TYPE_CHECKING:
    from orchestrator.compose import Roles

_ALL = "intake,engine,standby,relay,history,projector,past,api"
_MORE = ("kpis", "shadow")  # the first with the extra of its name
_STOP_S = 8.5  # servers that hang keep nobody longer: what isn't committed is done again anyway


def run(
    roles: Annotated[
        str,
        typer.Option(
            "--roles", help="Which, separated by commas; kpis is another.", show_default=True
        ),
    ] = _ALL,
) -> None:
    """Run roles against the configured Kafka and PostgreSQL, until SIGTERM or Ctrl-C.

    Two or more processes share the shards; any role may run in any number of them.

    Examples:
      headrace run
      headrace run --roles engine
      headrace run --roles intake,relay
      headrace run --roles kpis
      headrace run --roles shadow
    """
    settings = load_settings()
    wanted = [role.strip() for role in roles.split(",") if role.strip()]
    unknown = sorted(set(wanted) - {*_ALL.split(","), *_MORE})
    if unknown or not wanted:
        typer.echo(
            f"--roles: {unknown or 'nothing'}: choose from {','.join([_ALL, *_MORE])}", err=True
        )
        raise typer.Exit(INPUT_ERROR)

    import asyncio  # noqa: PLC0415 - slow to load, as what follows
    import signal  # noqa: PLC0415

    from orchestrator import compose  # noqa: PLC0415
    from orchestrator.commands.database import exit_on_failure  # noqa: PLC0415
    from orchestrator.runtime import logs  # noqa: PLC0415

    logs.configure(settings.log, settings.log_level)

    here = compose.Roles()

    async def main() -> None:
        stop = asyncio.Event()
        loop = asyncio.get_running_loop()

        def leave() -> None:
            if not stop.is_set():
                loop.call_later(_STOP_S, end_as_it_is, here)
            stop.set()

        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, leave)
        await compose.run(settings, wanted, stop, here=here)

    with exit_on_failure():
        asyncio.run(main())


def end_as_it_is(here: "Roles") -> NoReturn:
    """End the process at once, with the exit code that it would end with: 1 where shards halt."""
    import structlog  # noqa: PLC0415 - slow to load

    structlog.get_logger().warning("ends as it is: a server kept it from stopping in time")
    failure = here.failure()
    if failure is not None:
        typer.echo(str(failure), err=True)
    os._exit(0 if failure is None else failure.exit_code)
