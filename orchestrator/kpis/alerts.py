"""Alerts: lines that figures must not cross, from a YAML file. Pure but for `load`.

An alert opens when a closed window's figure is beyond the rule's line, and closes when it is back
at `until`, which may lie further back: so a figure that wavers about the line opens one alert.
"""

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, Final, Literal, NamedTuple, Self

import yaml
from pydantic import Field, ValidationError, model_validator
from pydantic_core import PydanticCustomError

from events.base import Id, MarketId, Model, Word
from events.kpis import Dimension, Severity, Window
from orchestrator.kpis.figures import (
    COUNTS,
    DENOMINATORS,
    OF_ORDERS,
    RATES,
    Counts,
    about,
    dimension_of,
    rates,
)
from orchestrator.kpis.windows import HOUR_MINUTES, Figures
from schemas.times import rfc3339

FIGURES: Final = (*COUNTS, *RATES)
_MINUTES: Final = {"minute": 1, "hour": HOUR_MINUTES}

Json = dict[str, Any]
Number = Annotated[float, Field(allow_inf_nan=False)]


class AlertFileError(Exception):
    """The file is no list of rules; the message has a line for each fault: path and sentence."""


class Rule(Model):
    """A rule of the file."""

    rule: Word
    figure: str
    by: Dimension
    window: Window = "hour"
    above: Number | None = None
    below: Number | None = None
    until: Number | None = None
    at_least: Annotated[int, Field(ge=0)] = 0
    market_id: MarketId | None = None
    only: Annotated[list[Id], Field(default_factory=list)]
    severity: Severity = "medium"

    @model_validator(mode="after")
    def _makes_sense(self) -> Self:
        faults = [*self._faults()]
        if faults:
            raise PydanticCustomError("rule", "{faults}", {"faults": "\n".join(faults)})
        return self

    def _faults(self) -> Iterator[str]:
        """A sentence for each, after the name of the field that it is about."""
        if self.figure not in FIGURES:
            yield f"figure: there is no {self.figure!r}: choose from {', '.join(FIGURES)}"
        if (self.above is None) == (self.below is None):
            yield "needs one of above and below"
        elif self.figure.endswith("_rate") and not 0 <= self.line <= 1:
            side = "below" if self.above is None else "above"
            yield f"{side}: {self.figure} lies between 0 and 1, was {self.line:g}"
        if self.figure in OF_ORDERS and self.by in {"node", "carrier"}:
            yield f"by: {self.figure} is counted by market and channel"
        if self.at_least and self.figure in FIGURES and self.figure not in DENOMINATORS:
            yield f"at_least: {self.figure} is no ratio: take it out"
        if self.until is not None:
            if self.above is not None and self.until > self.above:
                yield f"until: must be at most {self.above}, the line, was {self.until}"
            if self.below is not None and self.until < self.below:
                yield f"until: must be at least {self.below}, the line, was {self.until}"
        if self.by == "market" and self.only:
            yield "only: names channels, nodes or carriers: for a market say market_id"

    @property
    def line(self) -> float:
        """What must not be crossed."""
        line = self.below if self.above is None else self.above
        return math.nan if line is None else line

    def covers(self, scope: str) -> bool:
        """Whether it is about this scope."""
        market_id, *member = scope.split("/")
        return (
            dimension_of(scope) == self.by
            and self.market_id in {None, market_id}
            and (not self.only or member[-1] in self.only)
        )

    def crossed(self, value: float) -> bool:
        """Whether a figure is beyond the line."""
        return value < self.line if self.above is None else value > self.line

    def recovered(self, value: float) -> bool:
        """Whether a figure is back."""
        until = self.line if self.until is None else self.until
        return value >= until if self.above is None else value <= until

    def value_of(self, counts: Counts) -> float | None:
        """The figure of a window; None where there is none, or too little to go by."""
        said = dict(zip(COUNTS, counts, strict=True))
        if self.figure in said:
            return said[self.figure]
        if sum(said[name] for name in DENOMINATORS.get(self.figure, ())) < self.at_least:
            return None
        return rates(counts, _MINUTES[self.window]).get(self.figure)


class _File(Model):
    alerts: list[Rule]


def parse(text: str, name: str) -> Sequence[Rule]:
    """The rules of a file's text; AlertFileError, which names the place by path."""
    try:
        said = yaml.safe_load(text)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        line = mark.line + 1 if mark else 1
        raise AlertFileError(
            f"{name}:{line}: is not YAML: {error.problem or error.context}"
        ) from None
    except (yaml.YAMLError, ValueError) as error:  # ValueError: a date that there is not
        raise AlertFileError(f"{name}: is not YAML: {error}") from None
    try:
        rules = _File.model_validate(said).alerts
    except ValidationError as error:
        problems = [_told(name, one) for one in error.errors(include_url=False)]
        raise AlertFileError("\n".join(problems)) from None
    names = [one.rule for one in rules]
    twice = [place for place, one in enumerate(names) if one in names[:place]]
    if twice:
        raise AlertFileError(
            f"{name}: alerts[{twice[0]}].rule: {names[twice[0]]!r} stands twice: give each its own"
        )
    return rules


def load(path: str) -> Sequence[Rule]:
    """The rules of a file; AlertFileError where it can't be read, or is none."""
    try:
        text = Path(path).read_text(encoding="utf-8")
    except OSError as error:
        raise AlertFileError(f"{path}: can't be read: {error.strerror}") from None
    except UnicodeDecodeError:
        raise AlertFileError(f"{path}: is not UTF-8") from None
    return parse(text, path)


def _told(name: str, problem: Mapping[str, Any]) -> str:
    place = ""
    for step in problem["loc"]:
        if isinstance(step, int):
            place += f"[{step}]"
        else:
            place += f".{step}" if place else step
    kind = problem["type"]
    if kind == "rule":
        return "\n".join(_fault(f"{name}: {place}", one) for one in problem["msg"].split("\n"))
    if kind == "missing":
        sentence = "is missing"
    elif kind == "extra_forbidden":
        known = Rule.model_fields if "[" in place else _File.model_fields
        sentence = f"there is no such field: choose from {', '.join(known)}"
    elif kind.startswith("model"):
        field = "rule" if place else "alerts"
        if not place and problem["input"] is None:
            return f"{name}: is empty: it must have `alerts:`, a list of rules (it may be [])"
        sentence = f"must have fields, such as `{field}:`, was {problem['input']!r}"
    else:
        what = str(problem["msg"]).replace("Input should be", "must be")
        sentence = f"{what}, was {problem['input']!r}"
    return f"{name}: {place}: {sentence}" if place else f"{name}: {sentence}"


def _fault(place: str, sentence: str) -> str:
    field, colon, rest = sentence.partition(": ")
    return (
        f"{place}.{field}: {rest}"
        if colon and field in Rule.model_fields
        else (f"{place}: {sentence}")
    )


class Transition(NamedTuple):
    """An alert that opened or closed: the event's type, its key and its fields."""

    type: Literal["alert_opened", "alert_closed"]
    alert: str
    fields: Json


class Known(NamedTuple):
    """When an alert last opened or closed; the fields of its `alert_opened` where it is open."""

    at_ms: int
    opened: Json | None


class Alerts:
    """The alerts that are open, and what the next closed windows make of them.

    `known`: the newest of each by the topic `alerts`. It may be of a later minute than is judged:
    another worker was further. Until then that alert is passed over.
    """

    def __init__(self, rules: Sequence[Rule], known: Mapping[str, Known]) -> None:
        self._rules = rules
        self._open = {alert: one.opened for alert, one in known.items() if one.opened is not None}
        self._known_ms = {alert: one.at_ms for alert, one in known.items()}

    def open(self) -> Iterable[str]:
        """The alerts that are open."""
        return self._open.keys()

    def gone(self, end_ms: int) -> Iterator[Transition]:
        """Close those whose rule is in the file no more, or is about something else."""
        names = {one.rule: one for one in self._rules}
        for alert in sorted(self._open):
            rule, _, scope = alert.partition("/")
            if self._known_ms.get(alert, 0) > end_ms:
                continue
            if rule not in names or not names[rule].covers(scope):
                sentence = f"{alert}: the rule is gone"
                yield self._close(alert, end_ms, None, "rule_gone", sentence)

    def judge(self, end_ms: int, figures: Iterable[Figures]) -> Iterator[Transition]:
        """What opens and what closes with the windows that ended then.

        A figure without a denominator is no evidence: what is open stays open.
        """
        for one in figures:
            for rule in self._rules:
                if not rule.covers(one.scope):
                    continue
                counts = one.minute if rule.window == "minute" else one.hour
                value = None if counts is None else rule.value_of(counts)
                if value is None:
                    continue
                alert = f"{rule.rule}/{one.scope}"
                if self._known_ms.get(alert, 0) > end_ms:
                    continue
                if alert not in self._open:
                    if rule.crossed(value):
                        yield self._opens(rule, one.scope, value, end_ms)
                elif rule.recovered(value):
                    sentence = f"{alert}: {rule.figure} is {value:g}"
                    yield self._close(alert, end_ms, value, "recovered", sentence)

    def _opens(self, rule: Rule, scope: str, value: float, end_ms: int) -> Transition:
        alert = f"{rule.rule}/{scope}"
        side = "below" if rule.above is None else "above"
        sentence = f"{alert}: {rule.figure} is {value:g} in the {rule.window}, {side} {rule.line:g}"
        fields = {
            **about(scope),
            "alert": alert,
            "rule": rule.rule,
            "severity": rule.severity,
            "figure": rule.figure,
            "window": rule.window,
            "opened_at": rfc3339(end_ms),
            "value": value,
            "detail": sentence,
        }
        self._open[alert] = fields
        return Transition("alert_opened", alert, fields)

    def _close(
        self, alert: str, end_ms: int, value: float | None, reason: str, detail: str
    ) -> Transition:
        opened = self._open.pop(alert)
        fields = {name: said for name, said in opened.items() if name not in {"value", "detail"}}
        fields |= {"reason": reason, "closed_at": rfc3339(end_ms), "detail": detail}
        if value is not None:
            fields["value"] = value
        return Transition("alert_closed", alert, fields)
