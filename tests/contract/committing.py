"""Who publishes in transactions, and what counts of it: the simulator's broker and Apache Kafka."""

import asyncio
from abc import ABC, abstractmethod

from aiokafka import AIOKafkaConsumer, TopicPartition

from orchestrator.runtime.kafka_log import KafkaLog
from schemas.ports import Checkpoint, LogError, Partition, Record, TransactionalWriter
from tests.simulation.broker import Broker, SimLog
from tests.simulation.world import SimHost

UPDATES = Partition("order-updates", 0)
EXCEPTIONS = Partition("exceptions", 0)
JOURNAL = Partition("journal", 0)
TOPICS_HERE = {"order-updates": 1, "exceptions": 1, "journal": 1}
NAME = "relay-0"


class Committing(ABC):
    """A log with transactions, and what counts of it."""

    log: SimLog | KafkaLog

    async def writer(self, name: str = NAME) -> TransactionalWriter:
        """The one writer of this name from now on."""
        return await self.log.transactional(name)

    @abstractmethod
    async def committed(self, partition: Partition = UPDATES) -> list[bytes | None]:
        """What a consumer of committed records reads there, up to the end as of now."""

    async def saved(self) -> dict[Partition, Checkpoint]:
        """The checkpoint that the next writer finds.

        It asks for its own first: until then what was just committed may not be seen yet. A group's
        coordinator may not be there at first.
        """
        await (await self.writer()).close()
        async with asyncio.timeout(30):
            while True:
                try:
                    return await self.log.saved("relay", [JOURNAL])
                except LogError:
                    await asyncio.sleep(0.1)


class Simulated(Committing):
    """The simulator's broker."""

    def __init__(self, broker: Broker) -> None:
        self._broker = broker
        self.log = SimLog(broker, SimHost("counting", 3))

    async def committed(self, partition: Partition = UPDATES) -> list[bytes | None]:
        """What has landed: what isn't committed never does."""
        return [one.value for one in self._broker.held(partition).records]


class Real(Committing):
    """Apache Kafka."""

    def __init__(self, log: KafkaLog) -> None:
        self.log = log
        self._settings = log.settings

    async def committed(self, partition: Partition = UPDATES) -> list[bytes | None]:
        """What a consumer of its own reads before a marker that is written for it."""
        end = await self.writer("end")
        await end.begin()
        await end.append(partition, [Record(None, b"end")])
        await end.commit("others", {JOURNAL: Checkpoint(0, "")})
        await end.close()
        settings = self._settings
        consumer = AIOKafkaConsumer(
            bootstrap_servers=settings.servers,
            isolation_level="read_committed",
            enable_auto_commit=False,
            auto_offset_reset="none",
        )
        await consumer.start()
        values: list[bytes | None] = []
        try:
            tp = TopicPartition(settings.prefix + partition.topic, partition.number)
            consumer.assign([tp])
            consumer.seek(tp, 0)
            at = (await self.log.bounds(partition)).next
            async with asyncio.timeout(30):
                while b"end" not in values or await consumer.position(tp) < at:
                    read = await consumer.getmany(tp, timeout_ms=100)
                    values += [one.value for one in read.get(tp, ())]
        finally:
            await consumer.stop()
        return [one for one in values if one != b"end"]
