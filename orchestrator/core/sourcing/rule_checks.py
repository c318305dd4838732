"""What is wrong with a rule set, all of it at once: a path and a sentence each.

What doesn't parse is said and left out; the rest is checked all the same.
"""

import difflib
import json
import re
from collections.abc import Iterator, Mapping, Sequence
from copy import deepcopy
from dataclasses import dataclass
from typing import Any, Final, NamedTuple, TypeAlias, TypeVar

from pydantic import BaseModel, ValidationError

from events.decided import Plain, RuleProblem
from events.rules import (
    Body,
    Conditions,
    DaySpan,
    Defaults,
    NodeFields,
    NodeMatch,
    Strategy,
    When,
)
from orchestrator.core.sourcing.strategies import (
    LAST_RESORT,
    FenceSet,
    Site,
    has_conditions,
    postal,
)
from schemas.words import must_be, resolved, schema_at, schema_of

Path: TypeAlias = tuple[str | int, ...]
MAX_PROBLEMS: Final = 100
"""Problems told of one body, at the most."""
_ROUNDS: Final = 100  # of leaving out what doesn't parse; each takes out something
_ROUNDS_LEFT: Final = 10  # through the strategies before one, for what they leave to it
_SHOWN: Final = 60
_NOTHING: Final = "asks for nothing"
_EMPTY: Final = "is empty"
_LEAST: Final = {"order_value": 0, "weight_g": 0, "quantity": 1}
"""What no order has less of."""
_ONE_OF: Final = frozenset({"channel", "service_level", "country", "region"})
"""What an order has one of, at the most."""
_ATTRIBUTE: Final = "attribute "
_PERCENT = re.compile(r"0|[1-9][0-9]?|100", re.ASCII)
_SPANS = ("order_value", "weight_g", "priority", "quantity")
_LISTS = ("channel", "service_level", "country", "region", "postal_prefix", "sku", "category")


@dataclass
class Defined:
    """A node as rules look at it: a `Site`."""

    node_id: str
    kind: str
    groups: frozenset[str]
    capabilities: frozenset[str]
    country: str
    region: str | None

    @classmethod
    def of(cls, data: Plain) -> "Defined":
        """By its newest `node_defined`."""
        return cls(
            data["node_id"],
            data["kind"],
            frozenset(data.get("groups", ())),
            frozenset(data.get("capabilities", ())),
            data["address"]["country"],
            data["address"].get("region"),
        )


class Known(NamedTuple):
    """What a market has that rules may name."""

    nodes: frozenset[str]
    groups: frozenset[str]
    sites: Sequence[Site] = ()  # its nodes, where what fences leave of them is to be checked

    @classmethod
    def of(cls, sites: Sequence[Site], *, fences: bool = False) -> "Known":
        """The market's, from its nodes; `fences`: to check what fences leave of these as well.

        Who proposes a rule set may do so before the nodes that it is for are there.
        """
        groups = [group for node in sites for group in sorted(node.groups)]
        names = frozenset([node.node_id for node in sites])
        return cls(names, frozenset(groups), sites if fences else ())


def check(raw: Plain, known: Known | None) -> tuple[Body | None, list[RuleProblem]]:
    """The body where nothing is wrong, else None and every problem; `known` None: of no market."""
    told: dict[tuple[str, str], None] = {}
    body: Body | None = None
    wrong: list[Path] = []
    try:
        body = Body.model_validate(raw)
    except ValidationError as error:
        for problem in error.errors(include_url=False, include_context=False):
            wrong.append(problem["loc"])
            path = _as_written(raw, problem["loc"], missing=problem["type"] == "missing")
            told[where(path), _said(problem)] = None
    for path, detail in _meaning(body or _what_parses(raw), known, wrong):
        at = where(_as_written(raw, path))
        empty = detail.startswith((_NOTHING, _EMPTY))
        if not (empty and any(one.startswith(f"{at}.") for one, _ in told)):
            told[at, detail] = None  # else what it asks for is what is wrong
    problems = [RuleProblem(path=path, detail=detail) for path, detail in told]
    if len(problems) > MAX_PROBLEMS:
        more = len(problems) - MAX_PROBLEMS
        problems = [*problems[:MAX_PROBLEMS], RuleProblem(path="", detail=f"and {more} more")]
    return (None, problems) if problems else (body, [])


def where(path: Path) -> str:
    """`strategies[2].fences.max_km`."""
    said = ""
    for step in path:
        if isinstance(step, int):
            said += f"[{step}]"
        else:
            name = step if re.fullmatch(r"[\w-]{1,64}", step) else _shown(step)
            said += f".{name}" if said else name
    return said


def line_of(path: str, lines: Mapping[str, int]) -> int:
    """Of the lines of a file's paths, that of this one, or of what it would stand in."""
    while path and path not in lines:
        path = re.sub(r"(\.[^.\[\]]*|\[\d+\]|^[^.\[\]]*)$", "", path)
    return lines.get(path, 1)


def told(problem: RuleProblem, file: str, lines: Mapping[str, int]) -> str:
    """`FILE:line: path: what is wrong`; the file is left out where it has no name."""
    path = problem["path"].removeprefix("body.") if file else problem["path"]
    at = f"{file}:{line_of(path, lines)}: " if file else ""
    return f"{at}{path}{': ' if path else ''}{problem['detail']}"


# what doesn't parse


def _as_written(raw: Any, path: Path, *, missing: bool = False) -> Path:  # noqa: ANN401 - JSON
    """A path of the model as the writer sees it.

    One value may stand for a list of one, and a criterion for what it is parsed into.
    """
    steps: list[str | int] = []
    at = raw
    for number, step in enumerate(path):
        last = number == len(path) - 1
        if step == "[key]" and not (isinstance(at, dict) and step in at):
            continue  # not that name, but the one before it is wrong
        if isinstance(at, dict) and isinstance(step, str):
            if step in at or (last and missing):
                steps.append(step)
                at = at.get(step)
            elif len(at) == 1 and not missing:
                name, at = next(iter(at.items()))
                steps.append(name)
            else:
                steps.append(step)
                at = None
        elif isinstance(at, list) and isinstance(step, int):
            steps.append(step)
            at = at[step] if step < len(at) else None
        elif last and missing:
            steps.append(step)
    return tuple(steps)


def _said(problem: Mapping[str, Any]) -> str:
    kind, path, was = problem["type"], problem["loc"], problem["input"]
    root = schema_of(Body)
    if kind == "extra_forbidden":
        parent = schema_at(root, path[:-1]) or {}
        names = list(resolved(parent, root).get("properties", {}))
        close = difflib.get_close_matches(str(path[-1])[:100], names, 1)
        hint = f'did you mean "{close[0]}"?' if close else f"known are {', '.join(names)}"
        return f"is not a field of a rule set here; {hint}"
    if kind in {"criterion", "unsourced"}:
        return f"{problem['msg']}, was {_shown(was)}"
    if kind == "too_short" and was in ([], {}):
        return "is empty, so that nothing meets it: leave it out, or name at least one"
    schema = schema_at(root, path)
    wanted = "valid" if schema is None else must_be(schema, root)
    if path and path[-1] == "[key]":
        parent = schema_at(root, path[:-2]) or {}
        patterns = list(resolved(parent, root).get("patternProperties", {}))
        named = {"type": "string", "pattern": patterns[0]} if patterns else {"type": "string"}
        wanted = f"named by {must_be(named, root)}"
        was = path[-2]
    if kind == "missing":
        return f"is missing; it must be {wanted}"
    hint = ""
    if schema is not None and resolved(schema, root).get("type") == "string":
        if isinstance(was, bool):
            hint = ": some readers of YAML take words such as no, off and on so; put it in quotes"
        elif isinstance(was, int | float):
            hint = ": put it in quotes"
    elif wanted == "true or false" and isinstance(was, str):
        hint = ": write true or false, without quotes"
    return f"must be {wanted}, was {_shown(was)}{hint}"


def _shown(value: object) -> str:
    if isinstance(value, str):
        cut = value if len(value) <= _SHOWN else value[:_SHOWN] + "…"
        return json.dumps(cut, ensure_ascii=False)
    if isinstance(value, list) and value:
        return f"a list of {len(value)}"
    if isinstance(value, dict):
        return "{" + ", ".join(map(_shown, list(value)[:3])) + ("…" if len(value) > 3 else "") + "}"  # noqa: PLR2004 - enough to know it
    return json.dumps(value)[:_SHOWN]


def _what_parses(raw: Plain) -> Body:
    """The body without what is wrong in it, strategies at their places."""
    rest = deepcopy(raw)
    for _ in range(_ROUNDS):
        try:
            return Body.model_validate(rest)
        except ValidationError as error:
            for problem in error.errors(include_url=False, include_context=False):
                if problem["type"] == "missing":
                    _fill_in(rest, _as_written(rest, problem["loc"], missing=True))
                else:
                    _leave_out(rest, _as_written(rest, problem["loc"]))
    return Body()


def _fill_in(body: Plain, path: Path) -> None:
    """Put something in the place of a required field, so that the rest can be looked at."""
    at: Any = body
    for step in path[:-1]:
        if isinstance(at, dict):
            at = at.get(step)
        else:
            inside = isinstance(at, list) and isinstance(step, int) and step < len(at)
            at = at[step] if inside else None
    name = str(path[-1])
    if isinstance(at, dict):  # else another problem had this part left out
        at[name] = 1 if name == "units" else "-" if name in {"channel", "sku"} else where(path)


def _leave_out(body: Plain, path: Path) -> None:
    """Take out the innermost field that the path leads through."""
    at: Any = body
    found: list[tuple[Plain, str]] = []
    for step in path:
        if isinstance(at, dict):
            if step not in at:
                return  # left out already
            found.append((at, str(step)))
        elif not (isinstance(at, list) and isinstance(step, int) and step < len(at)):
            break
        at = at[step]
    if not found:
        return
    parent, name = found[-1]
    if parent is body and isinstance(body[name], list) and len(path) > 1:
        body[name][path[1]] = {}  # a strategy that isn't an object; the others keep their places
    else:
        del parent[name]


# what can't be meant


def _meaning(body: Body, known: Known | None, wrong: Sequence[Path]) -> Iterator[tuple[Path, str]]:
    yield from _defaults(("defaults",), body.defaults, known)
    for number, strategy in enumerate(body.strategies):
        yield from _strategy(("strategies", number), strategy, known)
    yield from _names(body.strategies)
    yield from _else(body.strategies)
    parts = [path[2] if len(path) > 2 else "" for path in wrong if path[0] == "strategies"]  # noqa: PLR2004 - strategies, number, part
    if all(part not in {"", "when", "name", "else"} for part in parts):  # else who knows
        yield from _reach(body.strategies)


def _defaults(at: Path, defaults: Defaults, known: Known | None) -> Iterator[tuple[Path, str]]:
    for number, entry in enumerate(defaults.safety_stock or ()):
        if entry.nodes is not None:
            yield from _nodes((*at, "safety_stock", number, "nodes"), entry.nodes, known)
    seen: dict[str, int] = {}
    for number, pool in enumerate(defaults.pools or ()):
        here = (*at, "pools", number)
        if pool.id in seen:
            yield (*here, "id"), f"pool {_shown(pool.id)} stands twice: each needs an id of its own"
        seen[pool.id] = number
        yield from _days(here, pool.from_, pool.until)
    for percent in defaults.load_price:
        if not _PERCENT.fullmatch(percent):
            yield (
                (*at, "load_price", percent),
                f"must be a percentage from 0 to 100, was {_shown(percent)}",
            )


def _strategy(at: Path, strategy: Strategy, known: Known | None) -> Iterator[tuple[Path, str]]:
    if strategy.when is not None:
        yield from _when((*at, "when"), strategy.when)
    wrong = False
    if strategy.fences.nodes is not None:
        for problem in _nodes((*at, "fences", "nodes"), strategy.fences.nodes, known):
            wrong = True
            yield problem
    if known is not None and not wrong:
        yield from _nobody((*at, "fences"), strategy, known.sites)
    for number, keep in enumerate(strategy.fences.keep or ()):
        yield from _nodes((*at, "fences", "keep", number), keep, known)
    ranked: list[str] = []
    for number, criterion in enumerate(strategy.objective):
        here = (*at, "objective", number)
        if criterion.by in ranked:
            yield here, f"{criterion.by} stands twice: the second decides nothing"
        ranked.append(criterion.by)
        for place, node_id in enumerate(criterion.nodes or ()):
            if known is not None and node_id not in known.nodes:
                yield (*here, "nodes", place), _unknown_node(node_id)
    least = strategy.split.leg_min
    if least is not None and least.value is None and least.units is None:
        yield (*at, "split", "leg_min"), f"{_NOTHING}: give value or units, or leave it out"
    for number, (one, other) in enumerate(strategy.parcel.apart or ()):
        if one == other:
            yield (
                (*at, "parcel", "apart", number),
                f"{_shown(one)} can't be kept apart from itself: name two different ones",
            )
    kinds = [one.then for one in strategy.unsourced]
    if "cancel" in kinds and len(kinds) > 1:
        yield (*at, "unsourced"), "cancel leaves nothing for the rest to do: name it alone"
    elif sum(one.cancel_after_days is not None for one in strategy.unsourced) > 1:
        yield (*at, "unsourced"), "cancel_after_days stands twice: one limit decides"


def _when(at: Path, when: When) -> Iterator[tuple[Path, str]]:
    yield from _spans(at, when)
    excluded = when.not_
    if excluded is None:
        return
    yield from _spans((*at, "not"), excluded)
    for name in _LISTS:
        required, barred = getattr(when, name) or (), getattr(excluded, name) or ()
        yield from _both((*at, "not", name), name, required, barred)
    for name, values in (excluded.attribute or {}).items():
        required = (when.attribute or {}).get(name, ())
        yield from _both((*at, "not", "attribute", name), "attribute", required, values)
    for name in _SPANS:
        required, barred = getattr(when, name), getattr(excluded, name)
        if barred is None or (barred.min is None and barred.max is None):
            continue
        if _covers((barred.min, barred.max), _span(when, name)):
            what = "every order" if required is None else f"all that when.{name} requires"
            yield (*at, "not", name), f"excludes {what}"
    if (
        when.placed is not None
        and excluded.placed is not None
        and _covers(_ends(excluded.placed), _ends(when.placed))
    ):
        yield (*at, "not", "placed"), "excludes all that when.placed requires"


def _both(
    at: Path, name: str, required: Sequence[str], barred: Sequence[str]
) -> Iterator[tuple[Path, str]]:
    """Values that are required and excluded: an order can't be both."""
    for number, value in enumerate(barred):
        if name == "postal_prefix":
            clash = any(postal(one).startswith(postal(value)) for one in required)
        elif name == "region":
            clash = value.casefold() in [one.casefold() for one in required]
        else:
            clash = value in required
        if clash:
            yield (*at, number), f"{_shown(value)} is both required and excluded"


def _ends(span: DaySpan) -> tuple[int | None, int | None]:
    return (
        span.from_.toordinal() if span.from_ else None,
        span.until.toordinal() if span.until else None,
    )


def _span(conditions: Conditions, name: str) -> tuple[int | None, int | None]:
    """What an order that meets them may have, from the least to the most."""
    span = getattr(conditions, name)
    low = None if span is None else span.min
    return (_LEAST.get(name) if low is None else low), (None if span is None else span.max)


def _covers(outer: tuple[int | None, int | None], inner: tuple[int | None, int | None]) -> bool:
    """Whether all of the inner span lies within the outer."""
    below = outer[0] is None or (inner[0] is not None and outer[0] <= inner[0])
    return below and (outer[1] is None or (inner[1] is not None and inner[1] <= outer[1]))


def _spans(at: Path, conditions: Conditions) -> Iterator[tuple[Path, str]]:
    for name in _SPANS:
        span = getattr(conditions, name)
        if span is None:
            continue
        if span.min is None and span.max is None:
            yield (*at, name), f"{_NOTHING}: give min or max, or leave it out"
        elif span.min is not None and span.max is not None and span.min > span.max:
            yield (*at, name), f"can't hold: min {span.min} is more than max {span.max}"
        elif span.max is not None and span.max < _LEAST.get(name, span.max):
            yield (*at, name), f"can't hold: no order has less than {_LEAST[name]}"
    for number, prefix in enumerate(conditions.postal_prefix or ()):
        if not postal(prefix):
            yield (*at, "postal_prefix", number), "has no letter or digit: every code begins so"
    if conditions.attribute == {}:
        yield (*at, "attribute"), f"{_EMPTY}: leave it out, or name at least one"
    placed = conditions.placed
    if placed is not None:
        if placed.from_ is None and placed.until is None:
            yield (*at, "placed"), f"{_NOTHING}: give from or until, or leave it out"
        yield from _days((*at, "placed"), placed.from_, placed.until)


def _days(at: Path, first: Any, last: Any) -> Iterator[tuple[Path, str]]:  # noqa: ANN401 - days
    if first is not None and last is not None and first > last:
        yield at, f"never comes: from {first} is after until {last}"


def _nodes(at: Path, match: NodeMatch, known: Known | None) -> Iterator[tuple[Path, str]]:
    yield from _known(at, match, known)
    if match.not_ is None:
        return
    yield from _known((*at, "not"), match.not_, known)
    for name in NodeFields.model_fields:
        inside, outside = getattr(match, name), getattr(match.not_, name)
        if inside and outside and all(one in outside for one in inside):
            yield (*at, "not", name), f"leaves out every {name} that is in: no node is left"


def _nobody(at: Path, strategy: Strategy, sites: Sequence[Site]) -> Iterator[tuple[Path, str]]:
    """Fences that no node of the market passes: every order would wait for ever.

    A node whose definition names no region may be in any: its postal code may say it.
    """
    if not sites:
        return
    fences = FenceSet(strategy.fences)
    anywhere = fences
    if (nodes := strategy.fences.nodes) is not None:
        nodes = nodes.model_copy(update={"region": None})
        anywhere = FenceSet(strategy.fences.model_copy(update={"nodes": nodes}))
    failed = [(fences if node.region else anywhere).barred(node) for node in sites]
    if not all(failed):
        return
    if all("capability" in codes for codes in failed):
        named = " and ".join(map(_shown, strategy.fences.capability or ()))
        yield (*at, "capability"), f"no node of the market has {named}"
    elif all("nodes" in codes for codes in failed):
        yield (*at, "nodes"), "leaves no node of the market"
    else:
        yield at, "no node of the market passes both nodes and capability"


def _known(at: Path, fields: NodeFields, known: Known | None) -> Iterator[tuple[Path, str]]:
    if known is None:
        return
    for number, node_id in enumerate(fields.node or ()):
        if node_id not in known.nodes:
            yield (*at, "node", number), _unknown_node(node_id)
    for number, group in enumerate(fields.group or ()):
        if group not in known.groups:
            yield (*at, "group", number), f"no node of the market is in a group {_shown(group)}"


def _unknown_node(node_id: str) -> str:
    return f"the market has no node {_shown(node_id)}"


# which strategies are ever asked


def _names(strategies: Sequence[Strategy]) -> Iterator[tuple[Path, str]]:
    seen: dict[str, None] = {}
    for number, strategy in enumerate(strategies):
        here = ("strategies", number, "name")
        if strategy.name in seen:
            yield here, f"{_shown(strategy.name)} stands twice: each strategy needs its own name"
        seen[strategy.name] = None
        if strategy.name == LAST_RESORT and has_conditions(strategy):
            yield (
                here,
                f"{_shown(LAST_RESORT)} decides where no conditions hold: give it none",
            )


def _else(strategies: Sequence[Strategy]) -> Iterator[tuple[Path, str]]:
    """`else` that leads to nobody, or round."""
    targets = {strategy.name: strategy.else_ for strategy in strategies}
    for number, strategy in enumerate(strategies):
        here = ("strategies", number, "else")
        if strategy.else_ is not None and strategy.else_ not in targets:
            yield here, f"there is no strategy {_shown(strategy.else_)}"
        elif strategy.name in _after(strategy.name, targets):
            yield here, f"leads back to {_shown(strategy.name)}: each is asked once"


def _reach(strategies: Sequence[Strategy]) -> Iterator[tuple[Path, str]]:
    """Strategies that no order comes to."""
    targets = {strategy.name: strategy.else_ for strategy in strategies}
    asked: dict[str, None] = {}
    why: dict[int, str] = {}
    conditions: list[tuple[When, list[_One], str]] = []
    decided_by: str | None = None
    for number, strategy in enumerate(strategies):
        when = strategy.when or When()
        same = [name for one, _, name in conditions if _comparable(one) == _comparable(when)]
        wider = [name for _, of, name in conditions if all(_implies(when, one) for one in of)]
        if decided_by is not None:
            why[number] = f"{_shown(decided_by)} before it has no conditions"
        elif same:
            why[number] = f"{_shown(same[0])} before it has the same conditions"
        elif wider:
            why[number] = f"all its orders are decided by {_shown(wider[0])} before it"
        elif _none_left(when, [of for _, of, _ in conditions]):
            why[number] = "those before it decide all its orders between them"
        else:
            asked.update(dict.fromkeys([strategy.name, *_after(strategy.name, targets)]))
        conditions.append((when, list(_one_by_one(when)), strategy.name))
        if decided_by is None and not has_conditions(strategy):
            decided_by = strategy.name
    for number, reason in why.items():
        name = strategies[number].name
        if name not in asked:
            yield (
                ("strategies", number),
                f"{_shown(name)} can never be reached: {reason}, and no `else` leads to it",
            )


class _One(NamedTuple):
    """One condition: on an order's attribute by `attribute <its name>`; `barred`: must not hold."""

    name: str
    value: Any
    barred: bool


def _one_by_one(when: When) -> Iterator[_One]:
    for barred, conditions in ((False, when), (True, when.not_ or Conditions())):
        for name in Conditions.model_fields:
            value = getattr(conditions, name)
            if name == "attribute":
                for key, values in (value or {}).items():
                    yield _One(_ATTRIBUTE + key, values, barred)
            elif value is not None:
                yield _One(name, value, barred)


def _of(conditions: Conditions | None, name: str) -> Any:  # noqa: ANN401 - a condition's value
    """What the conditions ask of that, if anything."""
    if conditions is None:
        return None
    if name.startswith(_ATTRIBUTE):
        return (conditions.attribute or {}).get(name.removeprefix(_ATTRIBUTE))
    return getattr(conditions, name)


def _implies(when: When, one: _One) -> bool:
    """Whether every order that meets these conditions meets one more, as far as is plain."""
    name, value, barred = one
    has, out = _of(when, name), _of(when.not_, name)
    if name in _SPANS:
        if not barred:
            return _covers((value.min, value.max), _span(when, name))
        kept = out is not None and _covers((out.min, out.max), (value.min, value.max))
        return kept or _apart(_span(when, name), (value.min, value.max))
    if name == "placed":
        if not barred:
            return _covers(_ends(value), (None, None) if has is None else _ends(has))
        return out is not None and _covers(_ends(out), _ends(value))
    if not barred:
        return has is not None and _within(name, has, value)
    if out is not None and _within(name, value, out):
        return True
    return name in _ONE_OF and has is not None and not _those(name, has, value)


def _none_left(when: When, before: Sequence[Sequence[_One]]) -> bool:
    """Whether all orders that meet these conditions meet all of one of those before, if not one.

    What each of those leaves of them is gone on with, where conditions can say that.
    """
    for _ in range(_ROUNDS_LEFT):
        left = when
        for conditions in before:
            unmet = [one for one in conditions if not _implies(left, one)]
            less = _less(left, unmet[0]) if len(unmet) == 1 else left
            if not unmet or less is None:
                return True
            left = less
        if left is when:
            return False
        when = left
    return False


def _less(when: When, one: _One) -> When | None:
    """Those orders that don't meet one more condition; None: there are none.

    All of them, where that can't be said by conditions, or is said already.
    """
    name, value, barred = one
    if name in _SPANS:
        return _less_of_span(when, one)
    has, out = _of(when, name), _of(when.not_, name)
    if name == "placed" or (barred and has is not None and name not in _ONE_OF):
        return when
    if name in _ONE_OF and has is not None:
        those = _those(name, has, value)
        left = those if barred else [each for each in has if each not in those]
        return _with(when, name, left) if left != has else when
    if barred:
        return _with(when, name, value)
    if out is not None and _within(name, value, out):
        return when
    excluded = _with(when.not_ or Conditions(), name, [*(out or ()), *value])
    return when.model_copy(update={"not_": excluded})


def _less_of_span(when: When, one: _One) -> When | None:
    name, value, barred = one
    first, last = _span(when, name)
    least: int | None = value.min
    most: int | None = value.max
    if not barred:  # what is above it, where nothing is below, or the other way round
        if most is not None and (least is None or _covers((least, None), (first, last))):
            least, most = most + 1, None
        elif least is not None and (most is None or _covers((None, most), (first, last))):
            most, least = least - 1, None
        else:
            return when
    first = max([end for end in (first, least) if end is not None], default=None)
    last = min([end for end in (last, most) if end is not None], default=None)
    if (first, last) == _span(when, name):
        return when
    if first is not None and last is not None and first > last:
        return None
    return _with(when, name, value.model_copy(update={"min": first, "max": last}))


_C = TypeVar("_C", bound=Conditions)


def _with(conditions: _C, name: str, value: Any) -> _C:  # noqa: ANN401 - a condition's value
    """The conditions, that one anew."""
    if name.startswith(_ATTRIBUTE):
        others = conditions.attribute or {}
        name, value = "attribute", {**others, name.removeprefix(_ATTRIBUTE): value}
    return conditions.model_copy(update={name: value})


def _apart(one: tuple[int | None, int | None], other: tuple[int | None, int | None]) -> bool:
    """Whether two spans have nothing in common."""
    return any(
        last is not None and first is not None and last < first
        for last, first in ((one[1], other[0]), (other[1], one[0]))
    )


def _those(name: str, some: Sequence[str], of: Sequence[str]) -> list[str]:
    """Those of some values that are one of others."""
    return [one for one in some if _within(name, [one], of)]


def _within(name: str, inner: Sequence[str], outer: Sequence[str]) -> bool:
    """Whether what is one of the inner values is one of the outer."""
    if name == "postal_prefix":
        return all(any(postal(one).startswith(postal(of)) for of in outer) for one in inner)
    if name == "region":
        return {one.casefold() for one in inner} <= {one.casefold() for one in outer}
    return set(inner) <= set(outer)


def _after(name: str, targets: Mapping[str, str | None]) -> list[str]:
    """Whom `else` leads to from there, in order; the name itself at the end of a circle."""
    found: list[str] = []
    following = targets.get(name)
    while following is not None and following in targets and following not in found:
        found.append(following)
        following = targets[following]
    return found


def _comparable(value: Any) -> Any:  # noqa: ANN401 - parts of conditions
    """Conditions that hold for the same orders by their form are equal."""
    if isinstance(value, BaseModel):
        value = value.model_dump(exclude_defaults=True)
    if isinstance(value, dict):
        return {name: _comparable(one) for name, one in value.items() if one not in (None, {})}
    if isinstance(value, list):
        return sorted(value)
    return value
