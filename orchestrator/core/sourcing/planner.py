"""The planner: from what is wanted to the best plan, and why."""

from orchestrator.core.shard import Market, Shard
from orchestrator.core.sourcing.plan import Outcome, Request
from orchestrator.core.sourcing.question import Question
from orchestrator.core.sourcing.record import explain
from orchestrator.core.sourcing.strategies import Facts


def source(shard: Shard, market: Market, request: Request) -> Outcome:
    """The best plan by the market's rules, and its explanation. Leaves the state as it is."""
    data = request.data
    place = shard.places.locate(data.get("ship_to", {}))
    facts = Facts(data, shard.items)
    if not facts.region and place.region:  # the postal code says it where the order doesn't
        facts.region = place.region.casefold()
    strategy, why, passed_over = market.rules.choose(facts)
    while True:
        question = Question(shard, market, request, strategy, place)
        answer = question.answer()
        if answer.best is not None or strategy.else_ is None:
            break
        passed_over = [*passed_over, [strategy.name, "found nothing"]]
        strategy, why = strategy.else_, []
    decision = explain(question, answer, why, passed_over)
    return Outcome(
        question.legs(answer.best),
        decision,
        strategy,
        decision["chosen"] and decision["chosen"]["value"],
        0 if answer.best is None else answer.best.value,
    )
