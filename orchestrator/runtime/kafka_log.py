"""The ports EventLog and Group on Kafka (aiokafka): the only module that speaks to a broker.

The rules of the journal protocol for clients stand here: all replicas acknowledge, no timestamps of
one's own, no automatic commits or resets, one batch in flight a partition, every await bounded.
ListOffsets is asked for the first offset alone: some brokers answer the rest of it wrongly.
"""

import asyncio
import logging
import ssl
from collections.abc import AsyncIterator, Coroutine, Iterable, Iterator, Mapping, Sequence
from collections.abc import Set as AbstractSet
from contextlib import asynccontextmanager, contextmanager, suppress
from dataclasses import dataclass
from typing import Any, Final, Literal, TypeVar

from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, ConsumerRebalanceListener, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient, NewTopic, RecordsToDelete
from aiokafka.admin.config_resource import ConfigResource, ConfigResourceType
from aiokafka.client import AIOKafkaClient
from aiokafka.coordinator.assignors.sticky.sticky_assignor import StickyPartitionAssignor
from aiokafka.errors import (
    GroupCoordinatorNotAvailableError,
    InvalidTopicError,
    KafkaConnectionError,
    KafkaError,
    MessageSizeTooLargeError,
    OffsetOutOfRangeError,
    ProducerFenced,
    RecordListTooLargeError,
    TopicAlreadyExistsError,
    for_code,
)
from aiokafka.structs import OffsetAndMetadata

from orchestrator.runtime.settings import Settings, SetupError, variable
from schemas.ports import (
    Appended,
    Bounds,
    Checkpoint,
    Fenced,
    LogError,
    MembershipEnded,
    OutOfRange,
    Partition,
    Read,
    Record,
    Refused,
    TopicDescription,
    Unknown,
)
from schemas.topics import TOPICS, Topic

SESSION_TIMEOUT_MS: Final = 6_000
"""Below it brokers refuse to let a member join; a dead member's partitions move after it."""
HEARTBEAT_MS: Final = 500
"""A member that is gone is missed a session after its last, the others hear of it by their next."""
_ASK_S: Final = 5.0
"""What a question may take one broker: another is asked before our own bound is over."""
_JOIN_S: Final = 10.0
"""The same for a group's coordinator, which holds back joins for up to a session's time."""
_CLOSE_S: Final = 2.0
_NEVER_MS: Final = 2**31 - 1
_ANSWER_MS: Final = 10  # within which a broker is to answer who asks for a partition's bounds alone
_COORDINATOR_WAIT_S: Final = 0.1  # before a group's coordinator is asked again
_UNPACKED_BYTES: Final = 4 << 20
"""About what one read gives: the client unpacks it in one piece, which takes some 20 ms."""
_BATCH_BYTES: Final = (
    3 * 1_048_576
)  # above the largest record of any topic; the broker holds the real limits
_TRANSACTION_MS: Final = 60_000
"""After which the broker ends a transaction whose owner is gone, if no successor did before."""
_FENCED: Final = "another process writes under this transactional id now"
_SURELY_NOT_APPENDED: Final = (InvalidTopicError, MessageSizeTooLargeError, RecordListTooLargeError)

W = TypeVar("W", bound="KafkaWriter")

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class KafkaSettings:
    """How to reach the broker.

    `fetch_wait_ms`: how long it may hold back an empty answer (500; Tansu, which doesn't wake: 10).
    `pace_ms`: how long readers that gather let records come, while they keep coming.
    """

    servers: str
    prefix: str = ""
    request_timeout_s: float = 15.0
    fetch_wait_ms: int = 500
    pace_ms: int = 0
    security_protocol: Literal["PLAINTEXT", "SSL", "SASL_PLAINTEXT", "SASL_SSL"] = "PLAINTEXT"
    sasl_mechanism: Literal["PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512"] = "PLAIN"
    sasl_username: str | None = None
    sasl_password: str | None = None
    ssl_ca_file: str | None = None
    ssl_certificate_file: str | None = None
    ssl_key_file: str | None = None

    def client(self, request_s: float | None = None) -> dict[str, Any]:
        """Arguments that producers, consumers and admin clients share.

        `request_s`: how long one broker may take for one request, below `request_timeout_s`.
        """
        limit_s = min(request_s or self.request_timeout_s, self.request_timeout_s)
        context = None
        if self.security_protocol in {"SSL", "SASL_SSL"}:
            context = ssl.create_default_context(cafile=self.ssl_ca_file)
            if self.ssl_certificate_file:
                context.load_cert_chain(self.ssl_certificate_file, self.ssl_key_file)
        return {
            "bootstrap_servers": self.servers,
            "request_timeout_ms": int(limit_s * 1000),
            "security_protocol": self.security_protocol,
            "ssl_context": context,
            "sasl_mechanism": self.sasl_mechanism,
            "sasl_plain_username": self.sasl_username,
            "sasl_plain_password": self.sasl_password,
        }


def kafka_settings(settings: Settings) -> KafkaSettings:
    """How to reach Kafka; SetupError when it isn't configured, or wrongly."""
    if not settings.kafka:
        raise SetupError(
            f"{variable('kafka')} is not set: give Kafka's bootstrap servers, such as "
            "127.0.0.1:9092, or try `headrace demo`, which brings its own."
        )
    password = settings.kafka_sasl_password
    if settings.kafka_security_protocol.startswith("SASL") and not (
        settings.kafka_sasl_username and password
    ):
        raise SetupError(
            f"{variable('kafka_security_protocol')}={settings.kafka_security_protocol} needs "
            f"{variable('kafka_sasl_username')} and {variable('kafka_sasl_password')}.",
            2,
        )
    kafka = KafkaSettings(
        servers=settings.kafka,
        prefix=settings.prefix,
        request_timeout_s=settings.kafka_request_timeout_seconds,
        fetch_wait_ms=settings.kafka_fetch_wait_ms,
        pace_ms=settings.pace_ms,
        security_protocol=settings.kafka_security_protocol,
        sasl_mechanism=settings.kafka_sasl_mechanism,
        sasl_username=settings.kafka_sasl_username,
        sasl_password=password.get_secret_value() if password else None,
        ssl_ca_file=settings.kafka_ssl_ca_file,
        ssl_certificate_file=settings.kafka_ssl_certificate_file,
        ssl_key_file=settings.kafka_ssl_key_file,
    )
    try:
        kafka.client()
    except OSError as error:
        raise SetupError(
            f"the files of {variable('kafka_ssl_ca_file')}, "
            f"{variable('kafka_ssl_certificate_file')} and {variable('kafka_ssl_key_file')} "
            f"can't be used: {error.strerror or error}.",
            2,
        ) from error
    return kafka


@asynccontextmanager
async def _bounded(seconds: float, what: str) -> AsyncIterator[None]:
    """Turn what the client throws, and what takes too long, into a LogError that says what.

    The client lets cancellations of its own tasks escape; one that nobody asked of us is its.
    """
    try:
        async with asyncio.timeout(seconds):
            yield
    except asyncio.CancelledError as error:
        task = asyncio.current_task()
        if task is None or task.cancelling():
            raise
        raise LogError(f"Kafka's client gave up: {what}") from error
    except TimeoutError as error:
        raise LogError(f"Kafka did not answer within {seconds:g} s: {what}") from error
    except (KafkaError, OSError) as error:
        raise LogError(f"Kafka can't {what}: {_said(error)}") from error


def _said(error: Exception) -> str:
    """What the client throws, for a person; it has words of its own for no broker at all."""
    if isinstance(error, KafkaConnectionError) and "Unable to bootstrap" in str(error):
        return (
            f"no broker answers: is one running there, and are {variable('kafka')} and its security"
            " settings right?"
        )
    return str(error) or type(error).__name__


async def _within(seconds: float, what: str, work: Coroutine[Any, Any, T]) -> T:
    """The client's work, bounded also where it outlives its cancellation: then it is left behind.

    Its outcome is unknown then.
    """
    task = asyncio.create_task(work, name=what)
    try:
        await asyncio.wait([task], timeout=seconds)
    finally:
        if not task.done():
            _leave_behind(task)
    async with _bounded(seconds, what):
        if task in _left_behind:
            raise TimeoutError
        return task.result()


_left_behind: Final[set[asyncio.Task[Any]]] = set()


def _leave_behind(task: asyncio.Task[Any]) -> None:
    """Cancel it, and let nobody wait for it or hear of it."""

    def ended(one: asyncio.Task[Any]) -> None:
        _left_behind.discard(one)
        if not one.cancelled():
            one.exception()

    _left_behind.add(task)
    task.add_done_callback(ended)
    task.cancel()


async def _stop(consumer: AIOKafkaConsumer, what: str) -> None:
    """Stop a consumer; where its own stop fails or takes long it is cut off.

    It fails where a fetch had just failed and waits to be tried again: its cancellation escapes.
    """
    try:
        await _within(_CLOSE_S, what, consumer.stop())
    except LogError:
        coordinator, fetcher = consumer._coordinator, consumer._fetcher  # noqa: SLF001 - no other way
        tasks = [
            getattr(coordinator, name, None)
            for name in ("_coordination_task", "_heartbeat_task", "_commit_refresh_task")
        ]
        tasks += [getattr(fetcher, "_fetch_task", None), *getattr(fetcher, "_pending_tasks", ())]
        await _cut_off(consumer._client, tasks)  # noqa: SLF001 - a second `stop` does nothing


async def _cut_off(client: AIOKafkaClient, tasks: Iterable[asyncio.Task[Any] | None] = ()) -> None:
    """Abandon a client: drop its connections with what they would still send, end its tasks."""
    for task in tasks:
        if task is not None and not task.done():
            _leave_behind(task)
    for connection in client._conns.values():  # noqa: SLF001 - `close` would send the rest first
        if connection._writer is not None:  # noqa: SLF001 - the same
            connection._writer.transport.abort()  # noqa: SLF001 - the same
    with suppress(LogError):
        await _within(_CLOSE_S, "close connections", client.close())
    waiting = client._md_update_fut  # noqa: SLF001 - nobody would ever answer it
    if waiting is not None and not waiting.done():
        waiting.set_result(False)


@contextmanager
def _silent() -> Iterator[None]:
    """Keep the client from logging."""
    client = logging.getLogger("aiokafka")
    client.addFilter(_drop)
    try:
        yield
    finally:
        client.removeFilter(_drop)


def _drop(_record: logging.LogRecord) -> bool:
    return False


def _offsets(
    prefix: str, checkpoints: Mapping[Partition, Checkpoint]
) -> dict[TopicPartition, OffsetAndMetadata]:
    """Checkpoints as the client has them."""
    return {
        TopicPartition(prefix + one.topic, one.number): OffsetAndMetadata(
            kept.offset, kept.metadata
        )
        for one, kept in checkpoints.items()
    }


class KafkaLog:
    """Kafka as an EventLog. `open` it, since connecting may fail."""

    def __init__(self, settings: KafkaSettings, admin: AIOKafkaAdminClient) -> None:
        self.settings = settings
        self._admin = admin
        self._asking: list[KafkaReader] = []
        """Readers that wait for a question about bounds: one that is closed leaves cycles behind,
        and what holds a shard hardly looks for them."""

    @staticmethod
    async def open(settings: KafkaSettings) -> "KafkaLog":
        """Connect; LogError when no server answers."""
        admin = AIOKafkaAdminClient(**settings.client(_ASK_S))
        try:
            with _silent():  # what fails is told by the error
                what = f"connect to {settings.servers}"
                await _within(settings.request_timeout_s, what, admin.start())
        except BaseException:
            await _cut_off(admin._client)  # noqa: SLF001 - its own `close` may take for ever
            raise
        return KafkaLog(settings, admin)

    def _tp(self, partition: Partition) -> TopicPartition:
        return TopicPartition(self.settings.prefix + partition.topic, partition.number)

    async def writer(self) -> "KafkaWriter":
        """A producer; LogError when the broker can't be reached."""
        return await self._started(KafkaWriter(self._producer(), self.settings))

    async def transactional(self, name: str) -> "KafkaTransactionalWriter":
        """A producer of the transactional id `<prefix>headrace-<name>`.

        The broker fences those who had it, and ends their transactions, before it answers.
        """
        producer = self._producer(
            transactional_id=self.group_id(name), transaction_timeout_ms=_TRANSACTION_MS
        )
        return await self._started(KafkaTransactionalWriter(producer, self))

    def _producer(self, **more: Any) -> AIOKafkaProducer:  # noqa: ANN401 - the client's arguments
        return AIOKafkaProducer(
            **self.settings.client(),
            acks="all",
            compression_type="zstd",
            linger_ms=0,
            max_batch_size=_BATCH_BYTES,
            max_request_size=_BATCH_BYTES,
            **more,
        )

    async def _started(self, writer: W) -> W:
        whole_ms, client = self.settings.request_timeout_s * 1000, writer.producer.client
        # Of several brokers one that hangs must not take all the time that there is.
        client._request_timeout_ms = min(_ASK_S * 1000, whole_ms)  # noqa: SLF001 - there is one for all
        try:
            await _within(
                self.settings.request_timeout_s, "start a producer", writer.producer.start()
            )
            client._request_timeout_ms = int(whole_ms)  # noqa: SLF001 - as an append needs it
        except BaseException:
            await writer.close()
            raise
        return writer

    async def reader(self, at: Mapping[Partition, int | None]) -> "KafkaReader":
        """A consumer of these partitions; None: from the first offset held."""
        return await self._reader(at, self.settings.fetch_wait_ms)

    async def _reader(
        self,
        at: Mapping[Partition, int | None],
        wait_ms: int,
        most_bytes: int = _BATCH_BYTES,
    ) -> "KafkaReader":
        """`most_bytes`: of a partition at a time, but for a first batch that is larger."""
        consumer = AIOKafkaConsumer(
            **self.settings.client(_ASK_S),
            enable_auto_commit=False,
            auto_offset_reset="none",
            fetch_max_wait_ms=wait_ms,
            max_partition_fetch_bytes=most_bytes,
        )
        try:
            await _within(self.settings.request_timeout_s, "start a consumer", consumer.start())
        except BaseException:
            await _stop(consumer, "stop a consumer")
            raise
        return KafkaReader(consumer, self.settings, at)

    async def bounds(self, partition: Partition) -> Bounds:
        """The first offset, and the high-water mark that comes with a fetch."""
        if self._asking:
            reader = self._asking.pop()
        else:
            reader = await self._reader({}, _ANSWER_MS, most_bytes=1)
        try:
            reader.add(partition, None)
            async with _bounded(self.settings.request_timeout_s, f"read the bounds of {partition}"):
                read: dict[Partition, list[Read]] = {}
                while (high := reader.high_water(partition)) is None:
                    read = await reader.read(1, _ANSWER_MS)
                first = read[partition][0].offset if read else reader.position(partition)
            reader.vacate()
        except BaseException:
            await reader.close()
            raise
        self._asking.append(reader)
        return Bounds(high if first is None else first, high)

    async def trim(self, partition: Partition, before: int) -> None:
        """Delete the records below this offset; LogError where the broker can't."""
        tp = self._tp(partition)
        async with _bounded(self.settings.request_timeout_s, f"trim {tp.topic}/{tp.partition}"):
            await self._admin.delete_records({tp: RecordsToDelete(before)})

    async def describe(self) -> dict[str, TopicDescription]:
        """The topics of the catalogue that the broker has, by name without the prefix."""
        prefix = self.settings.prefix
        async with _bounded(self.settings.request_timeout_s, "describe topics"):
            there = set(await self._admin.list_topics())
            names = [prefix + name for name in TOPICS if prefix + name in there]
            if not names:
                return {}
            described = await self._admin.describe_topics(names)
            answers = await self._admin.describe_configs(
                [ConfigResource(ConfigResourceType.TOPIC, name) for name in names]
            )
        configs: dict[str, dict[str, str]] = {}
        for answer in answers:
            for _code, _message, _type, name, entries in answer.resources:
                configs[name] = {entry[0]: str(entry[1]) for entry in entries}
        return {
            topic["topic"].removeprefix(prefix): TopicDescription(
                len(topic["partitions"]),
                min((len(one["replicas"]) for one in topic["partitions"]), default=0),
                configs.get(topic["topic"], {}),
            )
            for topic in described
        }

    async def brokers(self) -> int:
        """How many brokers the cluster has now."""
        async with _bounded(self.settings.request_timeout_s, "describe the cluster"):
            return len((await self._admin.describe_cluster())["brokers"])

    async def create(
        self, topic: Topic, partitions: int, config: Mapping[str, str], replication: int
    ) -> bool:
        """Create a topic; False when it is there already."""
        new = NewTopic(
            self.settings.prefix + topic.name, partitions, replication, topic_configs=dict(config)
        )
        what = f"create topic {new.name}"
        async with _bounded(self.settings.request_timeout_s, what):
            answer = await self._admin.create_topics([new])
            for _name, code, *message in answer.topic_errors:
                error = for_code(code)
                if error is TopicAlreadyExistsError:
                    return False
                if code:
                    raise LogError(
                        f"Kafka can't {what}: {(message or [None])[0] or error.__name__}"
                    )
        return True

    def group_id(self, name: str) -> str:
        """The name of a group on the broker."""
        return f"{self.settings.prefix}headrace-{name}"

    async def saved(
        self, group: str, partitions: Iterable[Partition]
    ) -> dict[Partition, Checkpoint]:
        """A group's newest checkpoints, without joining it."""
        wanted = {self._tp(partition): partition for partition in partitions}
        if not wanted:
            return {}
        group_id = self.group_id(group)
        found: dict[TopicPartition, OffsetAndMetadata] = {}
        async with _bounded(self.settings.request_timeout_s, f"load the offsets of {group_id}"):
            # Without an answer for each, the group's coordinator isn't there yet: a broker that
            # never had a group, or that has just become the coordinator of this one.
            while not found.keys() >= wanted.keys():
                with suppress(GroupCoordinatorNotAvailableError):
                    found = await self._admin.list_consumer_group_offsets(
                        group_id, partitions=list(wanted)
                    )
                if not found.keys() >= wanted.keys():
                    await asyncio.sleep(_COORDINATOR_WAIT_S)
        return {
            wanted[tp]: Checkpoint(kept.offset, kept.metadata or "")
            for tp, kept in found.items()
            if kept.offset >= 0
        }

    async def group(self, name: str, topics: Sequence[str]) -> "KafkaGroup":
        """Join the group `<prefix>headrace-<name>`."""
        return await KafkaGroup.join(self, name, topics)

    async def close(self) -> None:
        """Close its own connections; writers, readers and groups are closed by their owners."""
        while self._asking:
            await self._asking.pop().close()
        await _cut_off(self._admin._client)  # noqa: SLF001 - its own `close` may take for ever
        self._admin._closed = True  # noqa: SLF001 - else its finaliser warns


class KafkaWriter:
    """A producer of one owner: a batch at a time a partition, each awaited."""

    def __init__(self, producer: AIOKafkaProducer, settings: KafkaSettings) -> None:
        self.producer = producer
        self._settings = settings
        self._busy: set[Partition] = set()
        self._answers: set[asyncio.Future[Any]] = set()
        self._dead = False

    async def append(self, to: Partition, records: Sequence[Record]) -> Appended:
        """Append as one batch and await the acknowledgement of all replicas.

        1. Build the batch: what the client can't take is Refused.
        2. Hand it over: until the client has queued it nothing can have been sent.
        3. Await the answer. Whatever is neither a yes nor a sure no is Unknown.
        """
        where = f"{self._settings.prefix}{to.topic}/{to.number}"
        if self._dead:
            raise Refused(f"{where}: this writer failed before; close it and ask for another")
        if to in self._busy:
            raise RuntimeError(f"{where}: a second append before the first was acknowledged")
        batch = self.producer.create_batch()
        for record in records:
            added = batch.append(
                timestamp=None, key=record.key, value=record.value, headers=list(record.headers)
            )
            if added is None:
                raise Refused(
                    f"{where}: {len(records)} records don't fit into one batch: split them"
                )
        self._busy.add(to)
        handed_over = False
        # The client retries within its own request timeout; ours is a net below it.
        limit_s = self._settings.request_timeout_s * 2
        try:
            async with asyncio.timeout(limit_s):
                topic = self._settings.prefix + to.topic
                await self.producer.partitions_for(topic)
                handed_over = True
                answer = await self.producer.send_batch(batch, topic, partition=to.number)
                self._answers.add(answer)
                try:
                    done = await answer
                finally:
                    self._answers.discard(answer)
        except _SURELY_NOT_APPENDED as error:
            self._dead = True
            raise Refused(
                f"{where}: the broker refuses {len(records)} records: {error!r}"
            ) from error
        except ProducerFenced as error:
            self._dead = True
            raise Fenced(f"{where}: {_FENCED}") from error
        except (KafkaError, OSError, TimeoutError) as error:
            self._dead = True
            if not handed_over:
                raise Refused(f"{where}: nothing was sent: {error!r}") from error
            raise Unknown(f"{where}: the append's outcome is unknown: {error!r}") from error
        except BaseException:
            self._dead = True
            raise
        finally:
            self._busy.discard(to)
        return Appended(done.offset, done.timestamp)

    async def close(self) -> None:
        """Drop the producer and what it may still hold: its own `stop` would deliver that first."""
        self._dead = True
        producer = self.producer
        producer._closed = True  # noqa: SLF001 - else its finaliser warns of what `stop` would have done
        sender = producer._sender.sender_task  # noqa: SLF001 - there is no public way to stop without a flush
        if sender is not None:
            sender.cancel()
        await _cut_off(producer.client)  # fails what is in flight, so that the sender ends
        if sender is not None:
            await asyncio.wait([sender], timeout=_CLOSE_S)
            sender.cancel()  # it may still wait for a transaction's coordinator, for ever
        for answer in self._answers:  # the client tries again, or would, and nobody sends
            if not answer.done():
                answer.set_exception(KafkaConnectionError("the writer was closed"))


class KafkaTransactionalWriter(KafkaWriter):
    """A producer of a transactional id, and of the offsets that it commits with what it sends.

    The client sends a group's offsets without its generation: not the group fences a writer that
    is no longer the owner, but the id.
    """

    def __init__(self, producer: AIOKafkaProducer, log: KafkaLog) -> None:
        super().__init__(producer, log.settings)
        self._log = log

    async def begin(self) -> None:
        """Begin a transaction."""
        async with self._deadly("begin a transaction"):
            await self.producer.begin_transaction()

    async def commit(self, group: str, checkpoints: Mapping[Partition, Checkpoint]) -> None:
        """Commit what was appended, and the group's offsets."""
        async with self._deadly("commit a transaction"):
            await self.producer.send_offsets_to_transaction(
                _offsets(self._settings.prefix, checkpoints), self._log.group_id(group)
            )
            await self.producer.commit_transaction()

    async def close(self) -> None:
        """Drop the producer, and what it has to say of a transaction that nobody waits for."""
        await super().close()
        waiter = self.producer._txn_manager.wait_for_transaction_end()  # noqa: SLF001 - else it is logged
        if waiter is not None and waiter.done() and not waiter.cancelled():
            waiter.exception()

    @asynccontextmanager
    async def _deadly(self, what: str) -> AsyncIterator[None]:
        if self._dead:
            raise LogError(f"can't {what}: this writer failed before; ask for another")
        try:
            # The client retries within its own request timeout; ours is a net below it.
            async with _bounded(self._settings.request_timeout_s * 2, what):
                yield
        except LogError as error:
            self._dead = True
            if isinstance(error.__cause__, ProducerFenced):
                raise Fenced(f"can't {what}: {_FENCED}") from error
            raise
        except BaseException:
            self._dead = True
            raise


class KafkaReader:
    """A consumer with assigned partitions and positions of its own; no group, no commits."""

    def __init__(
        self,
        consumer: AIOKafkaConsumer,
        settings: KafkaSettings,
        at: Mapping[Partition, int | None],
    ) -> None:
        self._consumer = consumer
        self._settings = settings
        self._at: dict[Partition, int | None] = dict(at)
        self._paused: set[Partition] = set()
        self._high_water: dict[Partition, int] = {}
        self._beyond_since: dict[Partition, float] = {}
        self._served: set[TopicPartition] = set()  # they gave something since all had their turn
        self._changed = True
        self._most = 16  # records at once, by the size of those before
        self._pace_s = 0.0
        self._rests_until: float | None = None  # nothing is fetched before; by the loop's time

    def _tp(self, partition: Partition) -> TopicPartition:
        return TopicPartition(self._settings.prefix + partition.topic, partition.number)

    async def _reassign(self) -> None:
        """Assigning forgets every position, so all are set again."""
        self._changed = False
        self._consumer.assign([self._tp(partition) for partition in self._at])
        self._consumer.pause(*(self._tp(partition) for partition in self._paused))
        beginnings = []
        for partition, offset in self._at.items():
            if offset is None:
                beginnings.append(partition)
            else:
                self._consumer.seek(self._tp(partition), offset)
        if beginnings:
            tps = [self._tp(partition) for partition in beginnings]
            await self._consumer.seek_to_beginning(*tps)
            for partition, tp in zip(beginnings, tps, strict=True):
                self._at[partition] = await self._consumer.position(tp)

    async def read(self, max_records: int, wait_ms: int) -> dict[Partition, list[Read]]:
        """What is there, waiting up to `wait_ms` for the first record."""
        max_records = min(max_records, self._most)
        limit_s = self._settings.request_timeout_s + self._pace_s + wait_ms / 1000
        try:
            async with _bounded(limit_s, f"read {', '.join(sorted({p.topic for p in self._at}))}"):
                await self._rest()
                if self._changed and self._at:
                    await self._reassign()
                active = {self._tp(p): p for p in self._at if p not in self._paused}
                if not active:
                    await asyncio.sleep(wait_ms / 1000)
                    return {}
                fetched = await self._fetched(active.keys(), max_records, wait_ms)
        except LogError as error:
            self._changed = True
            cause = error.__cause__
            if isinstance(cause, OffsetOutOfRangeError):
                where = ", ".join(
                    f"{tp.topic}/{tp.partition}@{offset}" for tp, offset in cause.args[0].items()
                )
                raise OutOfRange(f"{where} is no longer, or not yet, in the log") from cause
            raise
        for tp, partition in active.items() if not fetched else ():
            self._check_end(tp, partition)
        read: dict[Partition, list[Read]] = {}
        for tp, messages in fetched.items():
            partition = active[tp]
            read[partition] = [
                Read(one.offset, one.timestamp, one.key, one.value, one.headers) for one in messages
            ]
            self._at[partition] = messages[-1].offset + 1
            self._beyond_since.pop(partition, None)
        self._measure(read.values())
        if self._pace_s and self._took_all(active, read):
            self._rests_until = asyncio.get_running_loop().time() + self._pace_s
            self._consumer.pause(*active)  # else the client fetches on: the next record, alone
        return read

    def _measure(self, read: Iterable[Sequence[Read]]) -> None:
        """The next read gives as many of their size as may be unpacked in one piece."""
        sizes = [len(one.value or b"") + 1 for records in read for one in records]
        if sizes:
            self._most = max(1, _UNPACKED_BYTES * len(sizes) // sum(sizes))

    async def _fetched(
        self, active: AbstractSet[TopicPartition], max_records: int, wait_ms: int
    ) -> dict[TopicPartition, list[Any]]:
        """Of each partition in its turn: the client would empty one before it looks at the next.

        What a partition gives in one answer of the broker's may be a million records.
        """
        fetched: dict[TopicPartition, list[Any]] = {}
        waiting = active - self._served
        if waiting != active and waiting:
            fetched = await self._consumer.getmany(*waiting, timeout_ms=0, max_records=max_records)
        if not fetched:
            self._served.clear()
            fetched = await self._consumer.getmany(
                *active, timeout_ms=wait_ms, max_records=max_records
            )
        self._served |= fetched.keys()
        return fetched

    def _took_all(
        self, active: Mapping[TopicPartition, Partition], read: Mapping[Partition, Sequence[Read]]
    ) -> bool:
        """Whether something was read, and nothing more is known to be there."""
        return bool(read) and all(
            (self._consumer.highwater(tp) or 0) <= (self._at[partition] or 0)
            for tp, partition in active.items()
        )

    async def _rest(self) -> None:
        """Until the pace is over; then everything may be fetched again, in one request."""
        if self._rests_until is None:
            return
        await asyncio.sleep(self._rests_until - asyncio.get_running_loop().time())
        self._rests_until = None
        if not self._changed:
            self._consumer.resume(*(self._tp(one) for one in self._at if one not in self._paused))

    def gather(self) -> None:
        """Read together what comes within the pace."""
        self._pace_s = self._settings.pace_ms / 1000

    def _check_end(self, tp: TopicPartition, partition: Partition) -> None:
        """OutOfRange where the log ends below what is read next, which not every broker says.

        A broker may tell of an end below records that it gave in the same answer, and a new leader
        of one below what the last one gave: only an end that stays there is one.
        """
        end, at = self._consumer.highwater(tp), self._at[partition]
        if end is None or at is None or at <= end:
            self._beyond_since.pop(partition, None)
            return
        now = asyncio.get_running_loop().time()
        since = self._beyond_since.setdefault(partition, now)
        if now - since > self._settings.request_timeout_s:
            raise OutOfRange(
                f"{tp.topic}/{tp.partition}@{at} is not yet in the log, which ends at {end}"
            )

    def add(self, partition: Partition, at: int | None) -> None:
        """Read this partition too."""
        self._at[partition] = at
        self._changed = True

    def remove(self, partition: Partition) -> None:
        """No longer read this partition."""
        self._at.pop(partition, None)
        self._paused.discard(partition)
        self._high_water.pop(partition, None)
        self._beyond_since.pop(partition, None)
        self._changed = True

    def vacate(self) -> None:
        """No longer read any partition; until one is added nothing is fetched."""
        assignment = self._consumer._subscription.subscription.assignment  # noqa: SLF001 - a cycle
        self._consumer.unsubscribe()
        for tp in assignment.tps:
            assignment.state_value(tp)._assignment = None  # noqa: SLF001 - what closes it
        for partition in list(self._at):
            self.remove(partition)

    def pause(self, partitions: Iterable[Partition]) -> None:
        """Hold these back until `resume`."""
        for partition in partitions:
            self._paused.add(partition)
            if not self._changed:
                self._consumer.pause(self._tp(partition))

    def resume(self, partitions: Iterable[Partition]) -> None:
        """Go on with these."""
        for partition in partitions:
            self._paused.discard(partition)
            if not self._changed and self._rests_until is None:
                self._consumer.resume(self._tp(partition))

    def high_water(self, partition: Partition) -> int | None:
        """The next offset to be written as of the newest fetch."""
        tp = self._tp(partition)
        if tp in self._consumer.assignment():
            newest = self._consumer.highwater(tp)
            if newest is not None:
                self._high_water[partition] = newest
        return self._high_water.get(partition)

    def fetched_ms(self, partition: Partition) -> int | None:
        """When the newest fetch was answered, also one that brought no records."""
        tp = self._tp(partition)
        if tp not in self._consumer.assignment():
            return None
        fetched_ms: int | None = self._consumer.last_poll_timestamp(tp)
        return fetched_ms

    def position(self, partition: Partition) -> int | None:
        """The offset read next; None where a partition's beginning isn't known yet."""
        return self._at[partition]

    async def close(self) -> None:
        """Drop the consumer."""
        await asyncio.sleep(0)  # its stop fails where its own tasks were never given a turn
        await _stop(self._consumer, "stop a consumer")


class _Assignments(ConsumerRebalanceListener):  # type: ignore[misc]  # ships no types
    """Notes what is assigned, and holds it back: this consumer only stands for the membership."""

    def __init__(self, consumer: AIOKafkaConsumer) -> None:
        self._consumer = consumer
        self.assigned: frozenset[TopicPartition] = frozenset()
        self.changed = asyncio.Event()

    def on_partitions_revoked(self, revoked: set[TopicPartition]) -> None:
        """Keep what we have: most of it comes back with the new assignment."""

    def on_partitions_assigned(self, assigned: set[TopicPartition]) -> None:
        self._consumer.pause(*assigned)
        self.assigned = frozenset(assigned)
        self.changed.set()


def sticky() -> type[StickyPartitionAssignor]:
    """An assignor for one membership.

    The client keeps a member's assignment and generation on the class: members that share one tell
    their groups of one another's partitions.
    """

    class Sticky(StickyPartitionAssignor):  # type: ignore[misc]  # ships no types
        member_assignment = None
        generation = StickyPartitionAssignor.DEFAULT_GENERATION_ID

    return Sticky


class KafkaGroup:
    """A membership of a consumer group, and the group's checkpoints."""

    def __init__(
        self, log: KafkaLog, name: str, consumer: AIOKafkaConsumer, assignments: _Assignments
    ) -> None:
        self._log = log
        self._settings = log.settings
        self._name = name
        self._group_id = log.group_id(name)
        self._consumer = consumer
        self._assignments = assignments
        self.generation = 0

    @staticmethod
    async def join(log: KafkaLog, name: str, topics: Sequence[str]) -> "KafkaGroup":
        """Become a member, and wait for the first assignment."""
        settings, group_id = log.settings, log.group_id(name)
        consumer = AIOKafkaConsumer(
            **settings.client(_JOIN_S),
            group_id=group_id,
            enable_auto_commit=False,
            auto_offset_reset="none",
            session_timeout_ms=SESSION_TIMEOUT_MS,
            heartbeat_interval_ms=HEARTBEAT_MS,
            rebalance_timeout_ms=SESSION_TIMEOUT_MS,
            max_poll_interval_ms=_NEVER_MS,  # it never polls: its partitions are paused
            partition_assignment_strategy=(sticky(),),
        )
        assignments = _Assignments(consumer)
        try:
            consumer.subscribe([settings.prefix + topic for topic in topics], listener=assignments)
            what = f"join the group {group_id}"
            await _within(settings.request_timeout_s * 2, what, consumer.start())
        except BaseException:
            await _stop(consumer, f"leave the group {group_id}")
            raise
        return KafkaGroup(log, name, consumer, assignments)

    async def changes(self, timeout_s: float) -> frozenset[Partition]:
        """The partitions assigned to this member, when they change or after `timeout_s`.

        Nothing is while the group refuses it; MembershipEnded when the client joins no more.
        """
        with suppress(TimeoutError):
            async with asyncio.timeout(timeout_s):
                await self._assignments.changed.wait()
        self._go_on()
        self.generation += self._assignments.changed.is_set()
        self._assignments.changed.clear()
        prefix = self._settings.prefix
        return frozenset(
            Partition(tp.topic.removeprefix(prefix), tp.partition)
            for tp in self._assignments.assigned
        )

    def _go_on(self) -> None:
        """Let the client join again after an error of the group that it waits to be asked for.

        Else it is no member for ever, and believes that it has what others were given.
        """
        coordinator = self._consumer._coordinator  # noqa: SLF001 - else a poll asks, and it never polls
        try:
            coordinator.check_errors()
        except Exception as error:
            if coordinator._coordination_task.done():  # noqa: SLF001 - it joins no more
                raise MembershipEnded(
                    f"the membership of {self._group_id} has ended: {error!r}"
                ) from error
            if self._assignments.assigned:
                import structlog  # noqa: PLC0415 - slow to load, for what hardly happens

                structlog.get_logger().warning(
                    "the group refuses this member", group=self._group_id, what=repr(error)
                )
            self._assignments.on_partitions_assigned(set())

    async def load(self, partitions: Iterable[Partition]) -> dict[Partition, Checkpoint]:
        """The newest checkpoints; partitions without one are left out."""
        return await self._log.saved(self._name, partitions)

    async def save(self, checkpoints: Mapping[Partition, Checkpoint]) -> None:
        """Store checkpoints; LogError when the outcome is unknown or the member is fenced.

        So it is since a rebalance that it was not told of yet: meanwhile a partition may have been
        another member's, who went further.
        """
        if self._assignments.changed.is_set():
            raise LogError(f"the assignment of {self._group_id} has changed since: begin anew")
        what = f"save the offsets of {self._group_id}"
        offsets = _offsets(self._settings.prefix, checkpoints)
        await _within(self._settings.request_timeout_s, what, self._consumer.commit(offsets))

    async def close(self) -> None:
        """Leave the group at once."""
        await _stop(self._consumer, f"leave the group {self._group_id}")
