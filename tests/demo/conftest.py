"""The demo's data, read once."""

import pytest

from orchestrator.demo.baskets import Baskets
from orchestrator.demo.network import Network


@pytest.fixture(scope="session")
def baskets() -> Baskets:
    return Baskets()


@pytest.fixture(scope="session")
def network(baskets: Baskets) -> Network:
    return Network(baskets.stores)
