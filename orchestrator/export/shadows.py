"""What rule sets in shadow decided, into an export: it stands on the topic `history` alone."""

from collections import defaultdict
from typing import Any, Final

import orjson

from events.history import ShadowDecided
from orchestrator.core.sourcing.calendars import DAY_MS
from orchestrator.export.directory import Directory, Heard
from orchestrator.export.exporter import Advanced, Period
from orchestrator.export.tables import Row, tables
from orchestrator.runtime.whole import Whole
from schemas.history import About, Told
from schemas.ports import EventLog, Partition, Read
from schemas.times import instant_ms, iso_day

_TYPE: Final = f"headrace.{ShadowDecided.TYPE}.v1".encode()
_TABLE: Final = "shadow", ShadowDecided.TYPE
_BATCH_ROWS: Final = 20_000


class Shadows:
    """One reading of `history`, from where the manifest says on; its directory is locked."""

    def __init__(
        self,
        directory: Directory,
        *,
        log: EventLog,
        period: Period,
        batch_rows: int = _BATCH_ROWS,
    ) -> None:
        self._directory = directory
        self._log = log
        self._period = period
        self._batch_rows = batch_rows
        self._rows: dict[tuple[int, int], list[Row]] = defaultdict(list)  # by shard and day
        self._over: set[int] = set()  # shards that are at the period's end
        self._from_ms = 0
        self.written = 0

    async def run(self, advanced: Advanced) -> int:
        """Write what isn't there yet; its rows. LogError, ExportError.

        `history` repeats records, with the same positions; of a shard they come in order in each
        partition. So the highest position of each shard stands in the manifest, beside the offset.
        """
        topics = await self._log.describe()
        manifest = self._directory.manifest
        assert manifest is not None  # noqa: S101 - the journals are exported
        self._from_ms = manifest.from_ms or 0
        for number in range(topics["history"].partitions if "history" in topics else 0):
            heard = manifest.heard.get(number, Heard())
            self._over.clear()
            stopped: int | None = None  # the first record that is left for another run
            first = heard.next
            async with Whole(self._log, Partition("history", number), heard.next) as reading:
                async for reads in reading:
                    for read in reads:
                        if not self._take(read, heard):
                            stopped = read.offset if stopped is None else stopped
                    heard.next = reads[-1].offset + 1
                    advanced(number, heard.next, reading.end)
                    if sum(map(len, self._rows.values())) >= self._batch_rows:
                        self._write(number, first, heard, stopped)
                        first = heard.next
            if heard.next > first:
                self._write(number, first, heard, stopped)
        return self.written

    def _take(self, read: Read, heard: Heard) -> bool:
        """Take a record in, if it is new; False where it lies behind the period."""
        if dict(read.headers).get("ce_type") != _TYPE:
            return True
        said: dict[str, Any] = orjson.loads(read.value or b"")
        shard, position = said["shard"], (said["seq"], said["entry"], said["n"])
        if position <= heard.seen.get(shard, (-1, -1, -1)):
            return True
        at_ms = instant_ms(said["recorded_at"])
        until_ms = self._period.until_ms
        if shard in self._over or (until_ms is not None and at_ms >= until_ms):
            self._over.add(shard)
            return False
        heard.seen[shard] = position
        if at_ms >= self._from_ms:
            about = About(said["market_id"], said["channel"], said["order_id"])
            cause: Any = {"type": "shadow", "id": "", "source": ""}
            n = said["n"]
            told = Told(n, ShadowDecided.TYPE, said, about, None, None, cause, n)
            self._rows[shard, at_ms // DAY_MS].append((said["seq"], said["entry"], at_ms, told))
        return True

    def _write(self, number: int, first: int, heard: Heard, stopped: int | None) -> None:
        """A file of each shard and day, then the manifest."""
        files = {}
        for (shard, day), rows in self._rows.items():
            made = tables()[_TABLE].take(shard, rows)
            name = f"{shard}-p{number}-{first}-{heard.next - 1}"
            path = self._directory.add(tables()[_TABLE], iso_day(day), name, made)
            files[path] = made.num_rows
        self._rows.clear()
        next_ = heard.next if stopped is None else stopped
        self._directory.commit({}, files, {number: Heard(next_, dict(heard.seen))})
        self.written += sum(files.values())
