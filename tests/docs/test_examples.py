"""The files in `examples` are right, fit together, and are what the pages show."""

import json
import re
from datetime import UTC, datetime
from pathlib import Path

import pytest

from orchestrator.commands.places import BadRow, chunks, rows
from orchestrator.commands.rule_file import load
from orchestrator.commands.send import BadLine, parse
from orchestrator.core.promising import promise
from orchestrator.core.sourcing.rule_checks import Known, check
from tests.core.story import Story, at_once
from tests.docs.pages import NAMES, ROOT, samples

EXAMPLES = ROOT / "examples"
NOW = datetime(2026, 1, 31, tzinfo=UTC)


def shop() -> Story:
    """The tutorial's market with the example places, node and services."""
    story = Story(market="us")
    found = rows((EXAMPLES / "places.csv").read_bytes(), None)
    for fact in chunks([one for one in found if not isinstance(one, BadRow)], None):
        story.send("places_defined", **json.loads(fact.model_dump_json(exclude_defaults=True)))
    for name in ("01-network", "02-stock", "carriers"):
        for line in (EXAMPLES / f"{name}.jsonl").read_text(encoding="utf-8").splitlines():
            event = json.loads(line)
            story.send(event["type"], **event["data"])
    return story


@pytest.mark.parametrize("path", sorted(EXAMPLES.glob("*.jsonl")), ids=lambda path: path.stem)
def test_example_events_are_valid(path: Path) -> None:
    found = list(parse(path.read_bytes(), new_ids=False, now=NOW))
    assert found
    assert [one.detail for one in found if isinstance(one, BadLine)] == []


def test_example_places_can_be_loaded_and_stand_on_their_page() -> None:
    text = (EXAMPLES / "places.csv").read_text(encoding="utf-8")
    assert [one for one in rows(text.encode(), None) if isinstance(one, BadRow)] == []
    assert text in [one.body for one in samples(NAMES["docs/how-to/load-places.md"])]


def test_example_services_are_those_of_their_page() -> None:
    page = samples(NAMES["docs/how-to/set-up-carriers-and-calendars.md"])
    shown = "".join(
        one.body for one in page if one.use == "event" and '_defined"' in one.body.partition(",")[0]
    )
    assert shown == (EXAMPLES / "carriers.jsonl").read_text(encoding="utf-8")


def test_the_example_rule_set_fits_the_example_market() -> None:
    body = load(str(EXAMPLES / "rules.yaml")).body
    assert check(body, Known.of(shop().shard.markets["us"].node_list))[1] == []


def test_the_promise_that_a_page_asks_for_has_a_date_on_every_level() -> None:
    (page,) = [
        one
        for one in samples(NAMES["docs/how-to/promise-a-delivery-date.md"])
        if one.language == "sh"
    ]
    asked = re.search(r"-d '(.*)'", page.body, re.DOTALL)
    assert asked is not None
    question = json.loads(asked.group(1))
    for number, line in enumerate(question["lines"], 1):
        line.setdefault("line_id", str(number))  # as the API fills it in
    story = shop()
    answer = at_once(promise(story.shard, question, story.now_ms))
    dates = {one["service_level"]: one["delivery_date"] for one in answer["promises"]}
    assert list(dates) == question["service_levels"]
    assert None not in dates.values()
    assert dates["expedited"] < dates["standard"]
