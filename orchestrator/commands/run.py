"""`headrace run`: the roles, until told to stop."""

from typing import Annotated

import typer

from orchestrator.commands.connection import INPUT_ERROR, load_settings

_ALL = "intake,engine,standby,relay,history,projector,past,api"
_MORE = ("kpis", "shadow")  # the first with the extra of its name
_STOP_S = 9.0  # servers that hang keep nobody longer: what isn't committed is done again anyway


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
    import os  # noqa: PLC0415
    import signal  # noqa: PLC0415

    import structlog  # noqa: PLC0415

    from orchestrator import compose  # noqa: PLC0415
    from orchestrator.commands.database import exit_on_failure  # noqa: PLC0415
    from orchestrator.runtime import logs  # noqa: PLC0415

    logs.configure(settings.log, settings.log_level)

    async def main() -> None:
        stop = asyncio.Event()
        loop = asyncio.get_running_loop()

        def leave() -> None:
            if not stop.is_set():
                loop.call_later(_STOP_S, end)
            stop.set()

        def end() -> None:
            structlog.get_logger().warning("ends as it is: a server kept it from stopping in time")
            os._exit(0)

        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, leave)
        await compose.run(settings, wanted, stop)

    with exit_on_failure():
        asyncio.run(main())
