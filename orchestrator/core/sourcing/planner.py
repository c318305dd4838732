"""The planner: from what is wanted to the best plan, and why."""

from collections.abc import Generator

from events.decided import Decision
from orchestrator.core.shard import Market, Shard
from orchestrator.core.sourcing.counterfactual import FOUND_NOTHING
from orchestrator.core.sourcing.places import Place
from orchestrator.core.sourcing.plan import Outcome, Request
from orchestrator.core.sourcing.question import Question, look_up
from orchestrator.core.sourcing.record import explain, explain_in_steps
from orchestrator.core.sourcing.search import Answer
from orchestrator.core.sourcing.strategies import Facts, Strategy

_Chosen = tuple[Place, Strategy, list[str], list[list[str]]]
"""Where it goes, the strategy that is asked first and why, those passed over."""


def source(shard: Shard, market: Market, request: Request) -> Outcome:
    """The best plan by the market's rules, and its explanation. Leaves the state as it is."""
    place, strategy, why, passed_over = _chosen(shard, market, request)
    while True:
        question = Question(shard, market, request, strategy, place)
        answer = question.answer()
        if answer.best is not None or strategy.else_ is None:
            return _outcome(question, answer, explain(question, answer, why, passed_over))
        passed_over = [*passed_over, [strategy.name, FOUND_NOTHING]]
        strategy, why = strategy.else_, []


def source_in_steps(
    shard: Shard, market: Market, request: Request
) -> Generator[None, None, Outcome]:
    """The same, giving way after every small part: nothing may change the shard in between."""
    place, strategy, why, passed_over = _chosen(shard, market, request)
    while True:
        yield from look_up(shard, market, request, strategy)
        question = Question(shard, market, request, strategy, place)
        found = question.begun()
        answer = found if isinstance(found, Answer) else (yield from found)
        if answer.best is not None or strategy.else_ is None:
            decision = yield from explain_in_steps(question, answer, why, passed_over)
            return _outcome(question, answer, decision)
        passed_over = [*passed_over, [strategy.name, FOUND_NOTHING]]
        strategy, why = strategy.else_, []


def asked(shard: Shard, market: Market, request: Request) -> tuple[Place, list[Strategy]]:
    """Where it goes, and the strategies that `source` may come to, in their order."""
    place, strategy, _, _ = _chosen(shard, market, request)
    found = [strategy]
    while strategy.else_ is not None:
        strategy = strategy.else_
        found.append(strategy)
    return place, found


def _chosen(shard: Shard, market: Market, request: Request) -> _Chosen:
    data = request.data
    place = shard.places.locate(data.get("ship_to", {}))
    facts = Facts(data, shard.items)
    if not facts.region and place.region:  # the postal code says it where the order doesn't
        facts.region = place.region.casefold()
    strategy, why, passed_over = market.rules.choose(facts)
    if request.promised:
        strategy = strategy.undated or strategy
    return place, strategy, why, passed_over


def _outcome(question: Question, answer: Answer, decision: Decision) -> Outcome:
    return Outcome(
        question.legs(answer.best),
        decision,
        question.strategy,
        decision["chosen"] and decision["chosen"]["value"],
        0 if answer.best is None else answer.best.value,
    )
