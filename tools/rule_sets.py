"""The reference page of rule sets: every field with its type from the models, and what it means."""
# ruff: noqa: E501 - a meaning stays on one line

from typing import Any

import yaml
from pydantic import BaseModel

from events import rules
from orchestrator.core.sourcing.strategies import DEFAULT_BODY
from schemas.words import must_be, resolved, schema_of

_ONE_OR_MORE = "; one, or a list"
_HEAD = """\
A rule set is written as YAML (`headrace rules`) and travels as JSON, the `body` of
[`rule_set_proposed`](events.md#rule_set_proposedv1). [How to write
one](../how-to/write-a-rule-set.md).

A file has `market`, `version`, `author` and `note` at its top beside `defaults` and `strategies`.
Plain words are texts, apart from `true`, `false`, `null` and numbers: `NO` is Norway. Money is in
the market's minor units, a day is one of the market's time zone, an unknown field is refused.

```yaml
{example}```

## Versions

A version (a positive whole number or an id) never changes. It is `proposed`, `approved` by another
person than its author (names are compared without case and spaces), perhaps `scheduled`, then
`active`; when another becomes active it is `superseded`, and may be activated again. Refused, with
every reason at once: a body that is not right, the same version with other content, one's own
approval, activating what is not approved, a version nobody proposed. The same again is a no-op. A
node or group that the rules name must exist in the market when they are proposed.

An activation in the future waits for its time; any later activation replaces it.

An approved version can run in `shadow` (`rule_set_activated` with `mode` shadow): role `shadow`
tells beside each order, on the topic `history`, what it would have decided as the order was
accepted, and nothing of it is carried out. A market has one shadow; it is `approved` again when
another begins, or by `mode` shadow_ended, and no shadow any more when it is activated or scheduled.
A shadow begins and ends at once; what is active or scheduled can't be one. Its pools count as they
would, were it activated: from what was taken of the active pool of the same id, else from nothing.

## The built-in rule set

It decides where a market has activated nothing, as `default-1`:

```yaml
{built_in}```

Its strategy also decides, after those of a rule set, where the conditions of none hold.
"""
_TITLES: dict[type[BaseModel], str] = {
    rules.Body: "The body",
    rules.Defaults: "defaults",
    rules.SafetyStock: "defaults.safety_stock",
    rules.Threshold: "defaults.thresholds",
    rules.Pool: "defaults.pools",
    rules.Strategy: "strategies",
    rules.When: "strategies[].when",
    rules.Fences: "strategies[].fences",
    rules.NodeMatch: "Nodes",
    rules.Keep: "strategies[].fences.keep",
    rules.Split: "strategies[].split",
    rules.LegMinimum: "strategies[].split.leg_min",
    rules.ParcelLimits: "strategies[].parcel",
}
_SPAN = "`{min, max}`, both included, one may be open: "
_MEANS = {
    "Body.defaults": "what holds whichever strategy decides",
    "Body.strategies": "in order: the first whose conditions hold decides",
    "Defaults.safety_stock": "units that no order gets; where several entries match, the largest counts",
    "Defaults.thresholds": "by channel: units that it leaves to the others, over all nodes; a number, or entries of which the largest that matches counts",
    "Defaults.pools": "units that only one channel may take",
    "Defaults.late_per_day": "by service level: what a day of lateness costs; `default` for those not named, 500 without it",
    "Defaults.load_price": "by percentage of a node's day that is booked: what a leg costs more; the highest step reached counts",
    "SafetyStock.nodes": "at these [nodes](#nodes); without it, at all",
    "SafetyStock.sku": "of these items; without `sku` and `category`, of all",
    "SafetyStock.category": "of items of these categories",
    "SafetyStock.units": "so many of each item at each node",
    "Threshold.sku": "of these items; without `sku` and `category`, of all",
    "Threshold.category": "of items of these categories",
    "Threshold.units": "so many of each item",
    "Pool.id": "what its channel took is counted on under this name in later versions",
    "Pool.sku": "of these items, together",
    "Pool.channel": "whose they are",
    "Pool.units": "so many, until its channel took them",
    "Pool.from": "its first day; without it, from the activation on",
    "Pool.until": "its last day",
    "Strategy.name": "each its own; `default` only without conditions",
    "Strategy.when": "what an order must be like; without it, every order is",
    "Strategy.fences": "what bars a node, however good it is otherwise",
    "Strategy.objective": "`cost`, or criteria in order, ties carrying on: `distance`, `fewest_legs`, `on_hand`, `days_of_supply`, `last_used`, `cost`, each also as `{name: asc}` or `{name: desc}`, and `{sequence: [nodes, the best first]}`. `on_hand` and `days_of_supply` prefer more, the others less, `last_used` the least recently used",
    "Strategy.split": "how an order may be divided",
    "Strategy.parcel": "what a parcel takes",
    "Strategy.unsourced": "what becomes of units that no node has: `backorder`, `cancel`, or `{cancel_after_days: n}`; a line with `allow_backorder: false` is cancelled at once",
    "Strategy.else": "the strategy asked next where this one finds no unit, whatever that one's conditions. Where this one finds some, the rest waits, and is planned by itself once a unit, node, service or rule that may concern it changes: then this one is asked again first",
    "Strategy.hold": "minutes before a node is asked, in which the plan may be improved; 0: never",
    "Strategy.replan_saving": "what an improvement must save",
    "When.channel": "the order's channel",
    "When.service_level": "the order's service level",
    "When.country": "of the destination",
    "When.region": "of the destination, whatever the case",
    "When.postal_prefix": "the destination's postal code begins with it, whatever spaces and case",
    "When.sku": "any line has it",
    "When.category": "any line's item is in it",
    "When.attribute": "by name: the order, any line or its item has one of the values; each name must hold",
    "When.order_value": _SPAN + "a line counts its `total_minor`, else units times `unit_price_minor`, else times the item's `value_minor`, where that is in the order's currency",
    "When.weight_g": _SPAN + "the items' weights times units",
    "When.priority": _SPAN + "the order's priority",
    "When.quantity": _SPAN + "all units of the order",
    "When.placed": "`{from, until}`, days, both included: when the customer placed it",
    "When.not": "the same conditions; none of them may hold",
    "Fences.nodes": "only these [nodes](#nodes)",
    "Fences.capability": "nodes that have all of these",
    "Fences.max_km": "at most so far from the destination",
    "Fences.cross_border": "`false`: only nodes in the destination's country",
    "Fences.reach_promise": "`true`: only legs that arrive by the day that the order asks for",
    "Fences.min_shelf_days": "only units that live so many days longer",
    "Fences.keep": "units that stay at nodes, beside the safety stock: the larger counts",
    "NodeMatch.kind": "of these kinds",
    "NodeMatch.group": "in any of these groups",
    "NodeMatch.node": "these, by id",
    "NodeMatch.region": "standing in these regions",
    "NodeMatch.country": "standing in these countries",
    "NodeMatch.not": "the same fields; a node that any of them names is out, whatever else",
    "Keep.units": "so many of every item",
    "Split.quantity": "whether a line is divided: `when_short` only where no node has all of it, `never`, or `always` where that is better",
    "Split.max_legs": "at most so many nodes in one plan (a node may send several parcels)",
    "Split.leg_min": "what each leg must have where there are two or more",
    "Split.cost_per_extra_leg": "added for every leg beyond the first",
    "LegMinimum.value": "worth at least",
    "LegMinimum.units": "units at least",
    "ParcelLimits.max_g": "grams",
    "ParcelLimits.max_ml": "millilitres",
    "ParcelLimits.apart": "pairs of item categories or capabilities that share no parcel",
}  # fmt: skip


def page(example: str) -> str:
    """The page, with an example rule set."""
    built_in = yaml.safe_dump(DEFAULT_BODY, sort_keys=False, default_flow_style=None)
    parts = [_HEAD.format(example=example, built_in=built_in)]
    for model, title in _TITLES.items():
        heading = f"`{title}`" if title[0].islower() else title
        parts.append(f"\n## {heading}\n\n{model.__doc__ or ''}\n\n{_table(model)}")
    return "".join(parts)


def _table(model: type[BaseModel]) -> str:
    root = schema_of(rules.Body)
    rows = ["| Field | Default | Must be | |\n|---|---|---|---|\n"]
    properties = (
        root["properties"] if model is rules.Body else root["$defs"][model.__name__]["properties"]
    )
    skipped = set(rules.NodeFields.model_fields) | {"not"} if model is rules.Keep else set()
    for name, schema in properties.items():
        if name in skipped:
            continue
        field = next(one for key, one in model.model_fields.items() if name in {key, one.alias})
        given = field.default
        default = (
            "required"
            if field.is_required()
            else "`" + str(given).lower() + "`"
            if isinstance(given, bool | int | str)
            else ""
        )
        means = _MEANS[f"{model.__name__}.{name}"]
        rows.append(f"| `{name}` | {default} | {_type(schema, root)} | {means} |\n")
    return "".join(rows)


def _type(schema: dict[str, Any], root: dict[str, Any]) -> str:
    inner = resolved(schema, root)
    if inner.get("type") == "array" and "minItems" in inner:
        return must_be(inner["items"], root).replace("|", "\\|") + _ONE_OR_MORE
    return must_be(schema, root).replace("|", "\\|")
