"""What the log and its groups say when an answer is lost, and what is there then.

The simulator's broker, and Apache Kafka behind a proxy that loses requests or answers.
"""

import asyncio
from abc import ABC, abstractmethod
from collections.abc import AsyncIterator, Callable, Iterator

import pytest

from orchestrator.embedded import apache_kafka
from orchestrator.embedded.kafka import Node
from orchestrator.embedded.server import free_port
from orchestrator.runtime.kafka_log import KafkaLog, KafkaSettings
from schemas.ports import (
    Checkpoint,
    EventLog,
    Group,
    LogError,
    Partition,
    Record,
    Refused,
    Unknown,
)
from schemas.topics import TOPIC_DEFAULTS, TOPICS
from tests.contract import committing
from tests.contract.committing import JOURNAL, NAME, UPDATES, Committing
from tests.contract.real_time import RealTime
from tests.servers import kafka_jars
from tests.servers.proxy import Loss, Proxy
from tests.simulation.broker import Broker, SimLog
from tests.simulation.plan import Fault
from tests.simulation.world import SimHost

INBOX = Partition("inbox", 0)
TOPICS_HERE = {"inbox": 1, **committing.TOPICS_HERE}
LIMIT_S = 2.0
_END_TRANSACTION = b"\x00\x1a\x00\x00"
"""How a request to commit begins, behind its length: the 26th of Kafka's protocol, version 0."""
_LOSSES = {
    Fault.SAVE_FAILED: Loss.UNASKED,
    Fault.SAVE_UNANSWERED: Loss.UNANSWERED,
    Fault.APPEND_LATE: Loss.HELD,
}


class Link(ABC):
    """A log as one process reaches it over a link that loses things, and as others do."""

    log: SimLog | KafkaLog
    """Over the link."""
    besides: EventLog
    """The same log, as somebody else reaches it."""
    committing: Committing
    """What counts of transactions, as somebody else finds it."""

    @abstractmethod
    def lose_requests(self, fault: Fault) -> None:
        """What is asked next doesn't arrive."""

    @abstractmethod
    def lose_answers(self, fault: Fault) -> None:
        """What is asked next is done, and its answer is lost."""

    @abstractmethod
    def lose_a_commit(self, fault: Fault) -> None:
        """The request to commit a transaction that comes next meets this; no other arrives."""

    @abstractmethod
    def restore(self) -> None:
        """Nothing goes lost any more."""


class Simulated(Link):
    """The simulator's broker."""

    def __init__(self) -> None:
        self._world = RealTime()
        broker = Broker(self._world, TOPICS_HERE)
        self.committing = committing.Simulated(broker)
        self.log = SimLog(broker, SimHost("one", 1))
        self.besides = SimLog(broker, SimHost("other", 2))

    def lose_requests(self, fault: Fault) -> None:
        """The fault says it."""
        self._world.strike_next(fault)

    def lose_answers(self, fault: Fault) -> None:
        """The fault says it."""
        self._world.strike_next(fault)

    def lose_a_commit(self, fault: Fault) -> None:
        """The fault says it."""
        self._world.strike_next(fault)

    def restore(self) -> None:
        """A fault strikes once."""


class Real(Link):
    """Kafka, which tells its clients the proxy's address for its own."""

    def __init__(self, log: KafkaLog, besides: KafkaLog, proxy: Proxy) -> None:
        self.log = log
        self.besides = besides
        self.committing = committing.Real(besides)
        self._proxy = proxy
        self._until_lost: asyncio.Task[None] | None = None

    def lose_requests(self, fault: Fault) -> None:
        """All of them."""
        del fault
        self._proxy.deaf = True

    def lose_answers(self, fault: Fault) -> None:
        """All of them."""
        del fault
        self._proxy.mute = True

    def lose_a_commit(self, fault: Fault) -> None:
        """That one, and then all that the client tries."""
        self._proxy.lose(_END_TRANSACTION, _LOSSES[fault])
        self._until_lost = asyncio.create_task(self._deaf_once_lost())

    async def _deaf_once_lost(self) -> None:
        await self._proxy.lost.wait()
        self._proxy.deaf = True

    def restore(self) -> None:
        """The proxy passes on what comes."""
        self._proxy.deaf = self._proxy.mute = False
        self._proxy.release()


@pytest.fixture(scope="module")
def behind() -> Iterator[tuple[int, int, int]]:
    """The ports of a broker: its own, and the two that it may be told to be reached at."""
    node = Node.new(1)
    lossy, sound = free_port(), free_port()
    with apache_kafka(
        kafka_jars(),
        node=node,
        settings={
            "listeners": (
                f"PLAINTEXT://{node.bootstrap},SOUND://127.0.0.1:{sound},"
                f"CONTROLLER://127.0.0.1:{node.controller}"
            ),
            "advertised.listeners": f"PLAINTEXT://127.0.0.1:{lossy},SOUND://127.0.0.1:{sound}",
            "listener.security.protocol.map": (
                "CONTROLLER:PLAINTEXT,PLAINTEXT:PLAINTEXT,SOUND:PLAINTEXT"
            ),
            "inter.broker.listener.name": "SOUND",
        },
    ):
        yield node.port, lossy, sound


@pytest.fixture(
    params=[
        "simulation",
        pytest.param(
            "kafka",
            marks=[pytest.mark.slow, pytest.mark.real_kafka("Tansu tells no other address")],
        ),
    ]
)
async def link(request: pytest.FixtureRequest, prefix: str) -> AsyncIterator[Link]:
    if request.param == "simulation":
        yield Simulated()
        return
    own, lossy, sound = request.getfixturevalue("behind")
    # What the client abandons fails unheard, and would be printed whenever it is collected.
    asyncio.get_running_loop().set_exception_handler(lambda _loop, _context: None)
    proxy = Proxy(own)
    proxy.port = lossy
    async with proxy.running():
        log, besides = [
            await KafkaLog.open(
                KafkaSettings(f"127.0.0.1:{port}", prefix, request_timeout_s=LIMIT_S)
            )
            for port in (lossy, sound)
        ]
        for topic in map(TOPICS.__getitem__, TOPICS_HERE):
            assert await besides.create(topic, 1, TOPIC_DEFAULTS | topic.config, 1)
        yield Real(log, besides, proxy)
        await besides.close()
        await log.close()


async def held(log: EventLog) -> list[bytes | None]:
    end = (await log.bounds(INBOX)).next
    reader = await log.reader({INBOX: None})
    values: list[bytes | None] = []
    async with asyncio.timeout(10):
        while len(values) < end:
            values += [one.value for one in (await reader.read(100, 100)).get(INBOX, [])]
    await reader.close()
    return values


async def member(log: EventLog) -> Group:
    group = await log.group("relay", ["inbox"])
    async with asyncio.timeout(30):
        while await group.changes(0.1) != {INBOX}:
            pass
    return group


async def append_of_unknown_outcome(
    link: Link, lose: Callable[[Fault], None], fault: Fault
) -> list[bytes | None]:
    """What is held after a first append, and a second one that something of is lost."""
    writer = await link.log.writer()
    await writer.append(INBOX, [Record(None, b"first")])
    lose(fault)
    with pytest.raises(Unknown):
        await writer.append(INBOX, [Record(None, b"second")])
    with pytest.raises(Refused, match="failed before"):
        await writer.append(INBOX, [Record(None, b"third")])
    await writer.close()
    link.restore()
    return await held(link.besides)


async def test_an_append_whose_answer_is_lost_is_unknown_and_it_is_there(link: Link) -> None:
    first, *more = await append_of_unknown_outcome(link, link.lose_answers, Fault.APPEND_UNANSWERED)
    assert first == b"first"
    assert set(more) == {b"second"}  # maybe more than once: the client may have tried again


async def test_an_append_that_is_lost_itself_is_unknown_and_it_is_not_there(link: Link) -> None:
    values = await append_of_unknown_outcome(link, link.lose_requests, Fault.APPEND_LOST)
    assert values == [b"first"]


async def test_what_a_new_writer_appends_after_an_unknown_outcome_stands_behind_it(
    link: Link,
) -> None:
    writer = await link.log.writer()
    await writer.append(INBOX, [Record(None, b"first")])
    link.lose_answers(Fault.APPEND_UNANSWERED)
    with pytest.raises(Unknown):
        await writer.append(INBOX, [Record(None, b"second")])
    await writer.close()
    link.restore()
    writer = await link.log.writer()
    offset = (await writer.append(INBOX, [Record(None, b"third")])).base_offset
    await writer.close()
    values = await held(link.besides)
    assert values[offset] == b"third"
    assert values.count(b"third") == 1


async def test_a_checkpoint_whose_answer_is_lost_is_an_error_and_it_is_kept(link: Link) -> None:
    group = await member(link.log)
    await group.save({INBOX: Checkpoint(1, "one")})
    link.lose_answers(Fault.SAVE_UNANSWERED)
    with pytest.raises(LogError):
        await group.save({INBOX: Checkpoint(2, "two")})
    assert await link.besides.saved("relay", [INBOX]) == {INBOX: Checkpoint(2, "two")}
    link.restore()
    await group.close()


async def test_a_checkpoint_that_is_lost_itself_is_an_error_and_the_one_before_is_kept(
    link: Link,
) -> None:
    group = await member(link.log)
    await group.save({INBOX: Checkpoint(1, "one")})
    link.lose_requests(Fault.SAVE_FAILED)
    with pytest.raises(LogError):
        await group.save({INBOX: Checkpoint(2, "two")})
    assert await link.besides.saved("relay", [INBOX]) == {INBOX: Checkpoint(1, "one")}
    link.restore()
    await group.close()


@pytest.mark.parametrize("fault", _LOSSES, ids=str)
async def test_after_a_commit_of_unknown_outcome_its_writer_is_dead_and_all_of_it_counts_or_nothing(
    link: Link, fault: Fault
) -> None:
    writer = await link.log.transactional(NAME)
    await writer.begin()
    await writer.append(UPDATES, [Record(b"k", b"a")])
    link.lose_a_commit(fault)
    with pytest.raises(LogError):
        await writer.commit("relay", {JOURNAL: Checkpoint(1, "one")})
    for again in (
        writer.begin(),
        writer.commit("relay", {}),
        writer.append(UPDATES, [Record(b"k", b"b")]),
    ):
        with pytest.raises(LogError, match="failed before"):
            await again
    link.restore()
    await writer.close()
    kept = await link.committing.saved()  # by who comes next, which ends what was begun
    counts = await link.committing.committed()
    nothing: tuple[dict[Partition, Checkpoint], list[bytes]] = ({}, [])
    everything = ({JOURNAL: Checkpoint(1, "one")}, [b"a"])
    may_be = {Fault.SAVE_FAILED: [nothing], Fault.SAVE_UNANSWERED: [everything]}
    assert (kept, counts) in may_be.get(fault, [nothing, everything])
