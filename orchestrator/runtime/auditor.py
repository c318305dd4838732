"""The auditor: looks through an open shard's state again and again, and decides nothing.

It lives with the engine: the state that it looks at is the one that decisions are made from. It
takes its turns between them, slice by slice, and rests in between.
"""

from collections.abc import Callable, Iterator
from typing import Final, Generic, NamedTuple, TypeVar

import structlog

from orchestrator.runtime import metrics
from schemas.ports import Clock

_SLICE_S: Final = 0.002  # what decisions may wait for it
_REST_S: Final = 0.1  # after each: some 2 % of a processor
_BETWEEN_S: Final = 60.0  # two looks at the same
_SHOWN: Final = 20  # findings of one look that are logged

_log = structlog.get_logger(__name__)

S = TypeVar("S")


class Audited(NamedTuple):
    """How often a shard was looked through, and what the newest whole look found."""

    looks: int
    findings: int
    first: str = ""  # of the findings


class Auditor(Generic[S]):
    """One shard's auditor. `audit` yields what it found after each small piece of work."""

    def __init__(
        self, number: int, clock: Clock, audit: Callable[[S], Iterator[list[str]]]
    ) -> None:
        self._clock = clock
        self._audit = audit
        self._number = number
        self._label = str(number)
        self.audited = Audited(0, 0)

    async def run(self, state: S) -> None:
        """Look through a state until cancelled."""
        while True:
            try:
                await self.look(state)
            except Exception:  # noqa: BLE001 - a defect of the auditor's own is no reason to stop
                _log.exception("the auditor failed", shard=self._number)
            await self._clock.sleep(_BETWEEN_S)

    async def look(self, state: S) -> None:
        """Look through a state once; what is found is logged and counted."""
        began = slice_began = self._clock.monotonic()
        findings = 0
        first = ""
        for found in self._audit(state):
            for what in found:
                findings += 1
                first = first or what
                metrics.AUDIT_FINDINGS.labels(self._label).inc()
                if findings <= _SHOWN:
                    _log.error("the audit found", shard=self._number, what=what)
            if self._clock.monotonic() - slice_began >= _SLICE_S:
                await self._clock.sleep(_REST_S)
                slice_began = self._clock.monotonic()
        self.audited = Audited(self.audited.looks + 1, findings, first)
        metrics.AUDITS.labels(self._label).inc()
        metrics.AUDIT_OPEN_FINDINGS.labels(self._label).set(findings)
        metrics.AUDIT_SECONDS.labels(self._label).observe(self._clock.monotonic() - began)
