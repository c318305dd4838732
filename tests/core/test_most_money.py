"""Amounts, weights and quantities at their stated maxima: no sum halts a shard."""

from typing import Any

import orjson
import pytest

from events.base import MAX_MONEY_MINOR, MAX_QUANTITY
from orchestrator.core.sourcing.counterfactual import counterfactual
from projections.explained import explained
from tests.core.story import Story

MOST = MAX_MONEY_MINOR
HEAVY_G = 1_000_000_000


@pytest.mark.parametrize("late", [{}, {"deliver_by": "0001-01-01T00:00:00Z"}])
@pytest.mark.parametrize(
    "strategy",
    [
        {"when": {"order_value": {"min": 1}}, "split": {"leg_min": {"value": MOST}}},
        {"when": {"weight_g": {"min": 1}, "quantity": {"min": 1}}},
        {"split": {"quantity": "always", "cost_per_extra_leg": MOST}},
        {"parcel": {"max_g": 1, "max_ml": 1}},
        {"objective": ["cost", {"on_hand": "desc"}]},
        {"hold": 1_440, "replan_saving": MOST},
    ],
    ids=str,
)
def test_an_order_of_the_most_of_everything_is_decided_and_explained(
    strategy: dict[str, Any], late: dict[str, Any]
) -> None:
    story = Story()
    for node_id in ("BOS", "CHI"):
        costs: dict[str, Any] = {"handling_cost_minor": MOST, "unit_cost_minor": 1_000_000_000}
        story.node(node_id, capacity_orders_per_day=1, **costs)
    story.send("item_defined", sku="A", name="Anvil", weight_g=HEAVY_G, volume_ml=HEAVY_G)
    story.item("B")
    story.service(
        rates=[
            {
                "to_km": 100_000,
                "base_minor": MOST,
                "per_kg_minor": MOST,
                "per_unit_minor": MOST,
                "transit_days": 1,
            }
        ],
        surcharges={"residential_minor": MOST, "oversize_minor": MOST, "oversize_over_g": 1},
    )
    for node_id in ("BOS", "CHI"):
        for _ in range(600):
            story.receive(node_id, A=MAX_QUANTITY)
        story.receive(node_id, B=5)
    story.rules(strategy, late_per_day={"default": MOST}, load_price={"0": MOST})
    ordered = [("A", MAX_QUANTITY)] * 999 + [("B", 1)]
    lines = [
        {"line_id": str(n), "sku": sku, "quantity": units, "unit_price_minor": MOST}
        for n, (sku, units) in enumerate(ordered)
    ]
    story.order("1", lines=lines, **late)
    story.order("2", A=3, B=2, **late)
    story.at(2 * 86_400)
    events = [event for entry in story.entries for event in orjson.loads(entry)["events"]]
    plans = [orjson.loads(one["decision"]) for one in events if one["type"] == "order_allocated"]
    assert any(one["chosen"] for one in plans)
    beside = {"at": "2026-11-22T10:00:00Z", "position": "0.3.1.2", "fulfillments": []}
    for plan in plans:
        orjson.dumps(explained({**plan, **beside, "backordered": []}, counterfactual))
