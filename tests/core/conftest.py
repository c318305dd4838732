"""The shop that most stories begin with."""

import pytest

from tests.core.story import Story


@pytest.fixture
def shop() -> Story:
    """Boston, Chicago, Los Angeles; items A and B; nothing in stock."""
    story = Story()
    for node_id in ("BOS", "CHI", "LAX"):
        story.node(node_id)
    story.item("A", "B")
    return story
