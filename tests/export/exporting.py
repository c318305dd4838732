"""An export, made in this process."""

from orchestrator.export.directory import Directory
from orchestrator.export.exporter import BATCH_ROWS, Done, Exporter, Period
from orchestrator.remembered import history_format
from orchestrator.runtime.world import SystemClock, SystemRandomness
from schemas.ports import EventLog

ALL = Period()


def an_exporter(
    log: EventLog, place: Directory, period: Period = ALL, *, batch_rows: int = BATCH_ROWS
) -> Exporter:
    """An exporter that has not begun."""
    return Exporter(
        place,
        log=log,
        clock=SystemClock(),
        randomness=SystemRandomness(),
        form=history_format(),
        period=period,
        batch_rows=batch_rows,
    )


async def export(
    log: EventLog, place: Directory, period: Period = ALL, *, batch_rows: int = BATCH_ROWS
) -> Done:
    """Export what the journals have now."""
    with place.locked():
        made = an_exporter(log, place, period, batch_rows=batch_rows)
        return await made.run(lambda *_: None, follow=False)
