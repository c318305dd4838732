import logging
from collections.abc import Iterator

import pytest
import structlog


@pytest.fixture(scope="module")
def _quiet() -> Iterator[None]:
    """No line for each rejection."""
    before = structlog.get_config()
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.WARNING))
    yield
    structlog.configure(**before)
