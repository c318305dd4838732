"""Structured logs: lines for people on a terminal, JSON for machines."""

import logging
import sys
from typing import Final, Literal

import structlog

from orchestrator.runtime.world import SystemClock
from schemas.ports import Clock

_REPEATS_S: Final = 10.0
_LIBRARIES: Final = ("aiokafka", "psycopg")


class Repeats(logging.Filter):
    """Writes what a library says again and again once in 10 s: it warns at every retry.

    The next one says how many were held back.
    """

    def __init__(self, clock: Clock) -> None:
        super().__init__()
        self._clock = clock
        self._said: dict[tuple[str, str], tuple[float, int]] = {}  # when, and held back since

    def filter(self, record: logging.LogRecord) -> bool:
        """Whether it is written."""
        if not record.name.startswith(_LIBRARIES):
            return True
        said = record.name, str(record.msg)
        now = self._clock.monotonic()
        at, held_back = self._said.get(said, (float("-inf"), 0))
        if now - at < _REPEATS_S:
            self._said[said] = at, held_back + 1
            return False
        self._said[said] = now, 0
        if held_back:
            record.msg = f"{record.getMessage()} ({held_back} more of these in {now - at:.0f} s)"
            record.args = ()
        return True


def configure(form: Literal["console", "json"], level: str = "info") -> None:
    """Write logs to standard error, our own and (from warnings on) those of libraries."""
    renderer: structlog.typing.Processor = (
        structlog.processors.JSONRenderer()
        if form == "json"
        else structlog.dev.ConsoleRenderer(colors=sys.stderr.isatty())
    )
    shared: list[structlog.typing.Processor] = [
        structlog.stdlib.add_logger_name,
        structlog.processors.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        structlog.processors.StackInfoRenderer(),
    ]
    if form == "json":
        shared.append(structlog.processors.dict_tracebacks)
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=shared,
            processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, renderer],
        )
    )
    handler.addFilter(Repeats(SystemClock()))
    root = logging.getLogger()
    root.handlers = [handler]
    root.setLevel(logging.WARNING)
    for package in ("orchestrator", "projections"):
        logging.getLogger(package).setLevel(level.upper())
    structlog.configure(
        processors=[
            structlog.stdlib.filter_by_level,
            *shared,
            structlog.stdlib.ProcessorFormatter.wrap_for_formatter,
        ],
        wrapper_class=structlog.stdlib.BoundLogger,
        logger_factory=structlog.stdlib.LoggerFactory(),
        cache_logger_on_first_use=True,
    )
