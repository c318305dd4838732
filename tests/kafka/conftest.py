"""The cluster that is killed and paused, started when the first test asks, gone with the run."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.servers.killable import (
    Cluster,
    Server,
    killable_postgres,
    killed_at_the_end,
    passable_directory,
)


@pytest.fixture(scope="session")
def cluster_directory() -> Iterator[Path]:
    """Where the cluster's servers keep their data."""
    with passable_directory() as directory:
        yield directory


@pytest.fixture(scope="session")
def cluster(cluster_directory: Path) -> Iterator[Cluster]:
    """Three brokers, running."""
    made = Cluster(cluster_directory)
    with killed_at_the_end(made.brokers):
        made.start()
        yield made


@pytest.fixture(scope="session")
def mortal_postgres(cluster_directory: Path) -> Iterator[Server]:
    """A PostgreSQL that may be killed, running."""
    made = killable_postgres(cluster_directory / "postgres")
    with killed_at_the_end([made]):
        made.start()
        yield made
