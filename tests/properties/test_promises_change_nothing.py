"""Questions leave no trace: neither in the state nor in what is decided after them."""

from random import Random
from typing import Any

import orjson
import pytest

from orchestrator.core.following import follow
from orchestrator.core.promising import promise
from orchestrator.core.shard import Shard
from tests.core.story import PLACES, Story, at_once, plain
from tests.core.test_following import some_day

NOBODYS = ("C",)
SEEDS = [0, 1, *(pytest.param(seed, marks=pytest.mark.slow) for seed in range(2, 8))]


def a_question(chance: Random) -> dict[str, Any]:
    skus = chance.sample(("A", "B", *NOBODYS), chance.randint(1, 3))
    lat, lon = PLACES[chance.choice(("BOS", "CHI", "LAX"))]
    question: dict[str, Any] = {
        "market_id": "US",
        "channel": chance.choice(("web", "shop")),
        "lines": [
            {"line_id": str(n), "sku": sku, "quantity": chance.randint(1, 12)}
            for n, sku in enumerate(skus)
        ],
        "ship_to": {"country": "US", "location": {"lat": lat, "lon": lon}},
    }
    if chance.random() < 0.3:
        question["allow_split"] = False
    if chance.random() < 0.3:
        question["allow_partial"] = False
    if chance.random() < 0.3:
        question["deliver_by"] = "2027-01-20"
    if chance.random() < 0.3:
        question["service_levels"] = ["standard", "expedited"]
    return question


class Asked(Story):
    """A story that is asked something after every step."""

    def __init__(self, seed: int) -> None:
        self.chance = Random(seed)
        self.followed = Shard(0)
        self.known = 0
        self.answers: list[dict[str, Any]] = []
        super().__init__()

    def send(self, *args: Any, **more: Any) -> list[dict[str, Any]]:  # noqa: ANN401 - as Story's
        events = super().send(*args, **more)
        follow(self.followed, map(orjson.loads, self.entries[self.known :]))
        self.known = len(self.entries)
        if all(sku in self.shard.items for sku in ("A", "B", *NOBODYS)):
            for shard in (self.shard, self.followed):
                before = plain(shard)
                question = a_question(self.chance)
                told = at_once(promise(shard, question, self.now_ms))
                slices = promise(shard, question, self.now_ms)
                for _ in range(len(self.answers) % 3):
                    next(filter(None, slices), None)
                assert plain(shard) == before, "whoever runs in between finds all as it is"
                for _ in range(len(self.answers) % 7):
                    next(slices, None)
                slices.close()
                assert plain(shard) == before, "nobody waits for the answer any more"
                assert at_once(promise(shard, question, self.now_ms)) == told
                assert plain(shard) == before
                self.answers.append(told)
        return events


@pytest.mark.parametrize("seed", SEEDS)
def test_after_any_questions_all_is_as_it_was_and_is_decided_as_without_them(seed: int) -> None:
    plainly, asked = Story(), Asked(seed)
    for story in (plainly, asked):
        story.item(*NOBODYS)
        some_day(story, Random(seed))
    assert asked.entries == plainly.entries
    promises = [one for told in asked.answers for one in told["promises"]]
    assert len({one["source"] for one in promises}) > 1
    assert any(one["earlier"] for one in promises)


@pytest.mark.parametrize("seed", SEEDS)
def test_a_followed_shard_promises_what_the_deciding_one_would(seed: int) -> None:
    story = Story()
    story.item(*NOBODYS)
    some_day(story, Random(seed))
    followed = Shard(0)
    follow(followed, map(orjson.loads, story.entries))
    chance = Random(seed)
    for _ in range(30):
        question = a_question(chance)
        found = [at_once(promise(one, question, story.now_ms)) for one in (followed, story.shard)]
        assert found[0] == found[1]
