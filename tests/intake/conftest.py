import logging
from collections.abc import Iterator

import pytest
import structlog

from tests.leaping import Loops, leaping


@pytest.fixture(scope="module")
def _quiet() -> Iterator[None]:
    """No line for each rejection."""
    before = structlog.get_config()
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.WARNING))
    yield
    structlog.configure(**before)


def pytest_asyncio_loop_factories(item: pytest.Item) -> Loops:
    """All is in memory but what is slow."""
    return leaping(unless=item.get_closest_marker("slow") is not None)
