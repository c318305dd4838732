"""How long it takes from an order's record on `orders` to its first command to a node.

Both times are the records' own, read back from the topics. Only commands that the order itself
caused are measured: one that waited for stock or was rejected waited for somebody else.
"""

from collections import deque
from collections.abc import Iterable, Mapping
from math import ceil
from typing import Final

from schemas.ports import EventLog, Partition, Read

_READ_RECORDS: Final = 1_000
_READ_WAIT_MS: Final = 250
_RECENT: Final = 2_000
_KEPT: Final = 20_000


class Meter:
    """Latencies in milliseconds."""

    def __init__(self) -> None:
        """Nothing measured yet."""
        self._placed: dict[str, int] = {}  # event id -> ms, until its command is seen
        self._commanded: dict[str, int] = {}  # the same of commands, until their order is seen
        self.recent: deque[int] = deque(maxlen=_RECENT)

    async def run(self, log: EventLog, partitions: Mapping[str, int]) -> None:
        """Measure until cancelled."""
        reader = await log.reader(
            {
                Partition(topic, number): None
                for topic in ("orders", "fulfillment-commands")
                for number in range(partitions[topic])
            }
        )
        try:
            while True:
                for partition, records in (await reader.read(_READ_RECORDS, _READ_WAIT_MS)).items():
                    for record in records:
                        self.take(partition.topic, record)
        finally:
            await reader.close()

    def take(self, topic: str, record: Read) -> None:
        """One record of either topic; of several commands of one order the first counts."""
        headers = dict(record.headers)
        if topic == "orders":
            if headers["ce_type"] == b"headrace.order_placed.v1":
                event_id = headers["ce_id"].decode()
                commanded = self._commanded.pop(event_id, None)
                if commanded is None:
                    _keep(self._placed, event_id, record.timestamp_ms)
                else:
                    self.recent.append(commanded - record.timestamp_ms)
        elif (
            headers["ce_type"] == b"headrace.fulfillment_requested.v1"
            and "ce_causationid" in headers
        ):
            event_id = headers["ce_causationid"].decode()
            placed = self._placed.pop(event_id, None)
            if placed is None:
                _keep(self._commanded, event_id, record.timestamp_ms)
            else:
                self.recent.append(record.timestamp_ms - placed)


def _keep(times: dict[str, int], event_id: str, time_ms: int) -> None:
    times.setdefault(event_id, time_ms)
    if len(times) > _KEPT:  # orders that wait for stock, second commands
        del times[next(iter(times))]


def quantile(values: Iterable[int], share: float) -> int | None:
    """The value that this share of the values does not exceed; None without values."""
    ranked = sorted(values)
    return ranked[max(0, ceil(share * len(ranked)) - 1)] if ranked else None
