"""A membership goes on from errors of its group; the client alone waits for a poll."""

import asyncio
from collections.abc import AsyncIterator
from types import SimpleNamespace
from typing import Any

import pytest
from aiokafka import TopicPartition
from aiokafka.consumer.group_coordinator import GroupCoordinator
from aiokafka.consumer.subscription_state import SubscriptionState
from aiokafka.errors import GroupAuthorizationFailedError, GroupCoordinatorNotAvailableError

from orchestrator.runtime.kafka_log import KafkaGroup, KafkaSettings, _Assignments
from schemas.ports import MembershipEnded


class Refusing:
    """A client whose broker refuses the group once, and doesn't find it afterwards."""

    def __init__(self) -> None:
        self.asked = 0
        self.broken = False
        self.cluster = SimpleNamespace(
            partitions_for_topic=lambda _: {0}, add_listener=lambda _: None, topics=set
        )

    def set_topics(self, _: object) -> "asyncio.Future[bool]":
        told = asyncio.get_running_loop().create_future()
        told.set_result(True)
        return told

    async def force_metadata_update(self) -> bool:
        return True

    async def coordinator_lookup(self, *_: object) -> int:
        self.asked += 1
        if self.broken:
            raise ZeroDivisionError
        if self.asked == 1:
            raise GroupAuthorizationFailedError("engine")
        raise GroupCoordinatorNotAvailableError


@pytest.fixture
def client() -> Refusing:
    return Refusing()


@pytest.fixture
async def coordinator(client: Refusing) -> AsyncIterator[GroupCoordinator]:
    subscription = SubscriptionState()
    subscription.register_fetch_waiters(set())
    subscription.subscribe({"inbox"})
    made = GroupCoordinator(client, subscription, group_id="engine")
    yield made
    made._coordination_task.cancel()
    await asyncio.wait([made._coordination_task])


@pytest.fixture
def assignments() -> _Assignments:
    consumer: Any = SimpleNamespace(pause=lambda *_: None)
    assignments = _Assignments(consumer)
    assignments.on_partitions_assigned({TopicPartition("inbox", 0)})
    return assignments


@pytest.fixture
def group(coordinator: GroupCoordinator, assignments: _Assignments) -> KafkaGroup:
    log: Any = SimpleNamespace(settings=KafkaSettings("broker:9092"), group_id=str)
    consumer: Any = SimpleNamespace(_coordinator=coordinator)
    return KafkaGroup(log, "engine", consumer, assignments)


async def test_a_refused_member_has_no_shard_and_asks_again(
    group: KafkaGroup, client: Refusing, assignments: _Assignments
) -> None:
    assert assignments.assigned
    async with asyncio.timeout(10):
        while await group.changes(0.01):
            pass
        while client.asked < 2:
            await group.changes(0.01)
    assert not await group.changes(0)


async def test_a_membership_that_has_ended_is_an_error(group: KafkaGroup, client: Refusing) -> None:
    client.broken = True
    with pytest.raises(MembershipEnded, match="engine has ended"):  # noqa: PT012 - whenever it is
        async with asyncio.timeout(10):
            while True:
                await group.changes(0.01)
