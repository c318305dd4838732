"""Memberships of several groups in one process."""

from aiokafka.coordinator.protocol import ConsumerProtocolMemberAssignment

from orchestrator.runtime.kafka_log import sticky


def test_a_membership_tells_its_group_only_of_its_own_assignment_and_generation() -> None:
    engine, relay = sticky(), sticky()
    before = relay.metadata({"journal"}).encode()
    engine.on_assignment(ConsumerProtocolMemberAssignment(0, [("inbox", [0, 1])], b""))
    engine.on_generation_assignment(7)
    assert relay.metadata({"journal"}).encode() == before
    assert engine.metadata({"journal"}).encode() != before
