"""The explanations that the documentation shows are the ones that the core gives."""

import pytest

from tests.docs.explanations import SAMPLES, told
from tests.docs.pages import NAMES, samples

SHOWN = [
    sample.body
    for sample in samples(NAMES["docs/how-to/explain-a-decision.md"])
    if sample.use == "explained"
]


def test_every_order_is_shown_once() -> None:
    assert [body.split(" ")[0] for body in SHOWN] == [f"web/{name}" for name in SAMPLES]


@pytest.mark.parametrize("body", SHOWN)
def test_the_page_shows_what_is_printed(body: str) -> None:
    order_id = body.split(" ", maxsplit=1)[0].removeprefix("web/")
    assert body == told(order_id)


def test_they_are_of_what_they_say() -> None:
    split, fenced, full, late = SHOWN
    assert "CHI ships 1 of KETTLE" in split
    assert "Were SOHO not outside the nodes that the strategy allows" in fenced
    assert "it is full from 2027-01-15" in full
    assert "1 day late" in late
