"""Servers on this machine for the demo, the tests and the benches: gone when the process is."""

from orchestrator.embedded.kafka import apache_kafka, embedded_kafka
from orchestrator.embedded.postgres import embedded_postgres
from orchestrator.embedded.server import ServerError

__all__ = ["ServerError", "apache_kafka", "embedded_kafka", "embedded_postgres"]
