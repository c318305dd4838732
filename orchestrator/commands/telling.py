"""A decision as a person would tell it: what was asked, what was chosen, why not the others."""

import textwrap
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any, Final

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from events.decided import COMPONENTS
from schemas.money import amount, money

Json = dict[str, Any]

_LEAST_WIDTH: Final = 40
_WIDE: Final = 72  # characters, for the tables with all their columns
_SETS: Final = 8  # shown; the rest with --json
_NAMED: Final = 6  # nodes named in a sentence
_FENCES: Final = {  # what a node is that fails them
    "inactive": "inactive",
    "does_not_ship": "closed to shipping",
    "nodes": "outside the nodes that the strategy allows",
    "capability": "without a capability that the strategy asks for",
    "requires": "without a capability that an item requires",
    "max_km": "farther than the strategy allows",
    "cross_border": "across a border",
    "reach_promise": "too late for the promise",
    "lane_suspended": "on a suspended lane",
    "no_rate": "without a rate for this to there",
    "min_shelf_days": "left with units that expire too soon",
    "suppressed": "suppressed for the item, which it rejected lately",
}
_UNUSED: Final = {  # why a carrier service wasn't taken
    "no_rate": "without a rate to there",
    "lane_suspended": "suspended",
    "too_heavy": "takes nothing so heavy",
    "excluded": "takes nothing that requires what the items do",
}
_UNRATED: Final = ("fewest_legs", "distance")
"""What decides after the money where no carrier service rates anything."""
_NOWHERE_M: Final = 10**9
_TRIGGERS: Final = {
    "order_placed": "when the order was placed",
    "fulfillment_rejected": "when a node rejected units",
    "fulfillment_picked": "when a node picked short",
    "stock_received": "when stock came in",
    "stock_adjusted": "when stock was adjusted",
    "stock_counted": "when stock was counted",
    "clock_ticked": "when its time had come",
}
_LOCATED: Final = {
    "given": "at the coordinates given",
    "postal_code": "located by the postal code",
    "prefix": "located by the longest known part of the postal code",
    "region": "located by the region",
    "country": "located by the country",
}
_DECIDED: Final = {
    "most_units": "it ships the most units",
    "fewest_legs": "of equals it has the fewest legs",
    "node_id": "of equals its node ids come first",
    "only_candidate": "nothing else could ship it",
    "no_candidate": "no node can ship any of it",
    "ship_complete": "no node can ship everything, and the order may not be split",
    "all_or_nothing": "not everything can be shipped, and the order ships whole or not at all",
}
_KEPT: Final = {
    "channel": "the channel may have no more of it",
    "kept": "what is there stays there, as safety stock, by the strategy's `keep`, or since it"
    " expires too soon",
}
_CRITERIA: Final = {
    "cost": "cost",
    "distance": "distance",
    "fewest_legs": "legs",
    "on_hand": "units on hand",
    "days_of_supply": "days of supply",
    "sequence": "place in the sequence",
    "last_used": "time since its last order",
}


class Telling:
    """One decision, as `GET /orders/{channel}/{order_id}/decisions` gives it."""

    def __init__(self, decision: Json) -> None:
        self.decision = decision
        self.currency: str = decision["currency"]
        self.in_money = decision["objective"] == ["cost"]
        rows = [row for one in decision["sets"] for row in one["nodes"]]
        self.unrated = self.in_money and bool(rows) and not any(row["deliver_day"] for row in rows)
        self.criteria = ["cost", *(_UNRATED if self.unrated else ())]
        if not self.in_money:
            self.criteria = decision["objective"]

    def show(self, console: Console) -> None:
        """Print it: sentences, the costs by component, what was weighed."""
        for label, sentences in self.paragraphs():
            for n, sentence in enumerate(sentences):
                wrapped = textwrap.wrap(
                    sentence,
                    max(_LEAST_WIDTH, console.width - 1),
                    initial_indent=f"  {'' if n else label:10} ",
                    subsequent_indent=" " * 13,
                    break_on_hyphens=False,
                )
                console.print("\n".join(wrapped), highlight=False, markup=False, soft_wrap=True)
        if self.decision["chosen"]:
            console.print(self._costs())
        if any(one["nodes"] for one in self.decision["sets"]):
            console.print(self._weighed(console.width))
            left_out = len(self.decision["sets"]) - _SETS
            if left_out > 0:
                console.print(f"and {left_out} more sets of units (--json)", highlight=False)

    def paragraphs(self) -> Iterator[tuple[str, list[str]]]:
        """Label and sentences, in the order in which one asks."""
        yield "Asked", list(self._asked())
        if self.decision.get("own_promise"):
            yield "Promised", [f"by {self.decision['promise']}: the order itself asks for no day."]
        yield "Rules", list(self._rules())
        yield "Plan", list(self._plan())
        if why_not := list(self._why_not()):
            yield "Why not", why_not
        if self.decision["runner_up"]:
            yield "Next best", [self._next_best()]
        if self.decision["counterfactual"] is not None:
            yield "Otherwise", list(self._otherwise())

    def _asked(self) -> Iterator[str]:
        decision = self.decision
        units = _and(
            f"{line['wanted']} of {line['sku']} (line {line['line_id']})"
            for line in decision["lines"]
        )
        asks = decision["promise"] and not decision.get("own_promise")
        due = f", by {decision['promise']}" if asks else ""
        yield f"{units}, {decision['service_level']}{due}."
        destination = decision["destination"]
        where = " ".join(destination["by"])
        how = _LOCATED.get(destination["located_by"])
        yield f"To {where or 'the customer'}, {how}." if how else "To a place that nobody knows."
        for line in decision["lines"]:
            if line["target"] < line["wanted"]:
                yield (
                    f"Of {line['sku']} only {line['promisable'] or 0} can be promised to the"
                    f" channel: {line['target']} were planned."
                )

    def _rules(self) -> Iterator[str]:
        decision = self.decision
        why = f"since {_and(decision['why'])}" if decision["why"] else "which takes any order"
        yield f"Version {decision['rule_set']}, strategy {decision['strategy']}, {why}."
        for passed in decision["passed_over"]:
            yield f"Not {passed['strategy']}: {passed['because']}."
        aim = ", then ".join(
            f"the {'most' if one.endswith(' desc') else 'least'} {_criterion(one)}"
            for one in self.criteria
        )
        legs = "" if self.unrated else "fewest legs, "
        yield f"Most units first, then {aim}, {legs}node ids."
        if decision["method"] != "exact":
            bound = decision["bound"]
            yield (
                f"Too large to be solved exactly: the best plan found. No plan has more than"
                f" {bound['units']} units, or with them less than {self._value(bound['value'])}"
                f"{' ' + self.currency if self.in_money else ''}."
            )

    def _plan(self) -> Iterator[str]:
        decision = self.decision
        chosen = decision["chosen"]
        if chosen is None:
            yield f"None: {_DECIDED.get(decision['decided_by'], decision['decided_by'])}."
        else:
            for leg in chosen["legs"]:
                yield f"{leg['node_id']} ships {_units(leg['lines'])}{self._journey(leg)}."
            split = chosen["costs"]["split"]
            extra = f", {self._money(split)} of it for shipping in parts" if split else ""
            decided = decision["decided_by"]
            because = _DECIDED.get(decided) or self._decisive()
            yield f"{self._money(chosen['cost_minor'])} in all{extra}. Chosen since {because}."
        yield from self._left_out()

    def _left_out(self) -> Iterator[str]:
        """What waits, or is cancelled since it may not, and why it has no source."""
        of_line = {line_id: one for one in self.decision["left_out"] for line_id in one["lines"]}
        for line in self.decision["backordered"]:
            units = f"{line['quantity']} of line {line['line_id']}"
            due = f", expected {line['expected_at']}" if line.get("expected_at") else ""
            one = of_line.get(line["line_id"])
            if one is None:  # another decision, or one of an earlier release, left it out
                yield f"{units} wait{due}."
            elif not one["because"]:
                yield f"{units} wait for stock{due}."
            elif [why["code"] for why in one["because"]] == ["no_rate"]:
                yield (
                    f"{units} wait for a carrier service that takes"
                    f" {self.decision['service_level']} to there from"
                    f" {_such_as(one['because'][0])}, where units are{due}."
                )
            else:
                yield f"{units} wait{due}: {self._because(one)}."
        waiting = {line["line_id"]: line["quantity"] for line in self.decision["backordered"]}
        for one in self.decision["left_out"]:
            if cancelled := one["units"] - sum(waiting.get(line, 0) for line in one["lines"]):
                why = f": {self._because(one)}" if one["because"] else " for want of stock"
                yield f"{cancelled} of {one['sku']} may not wait, and are cancelled{why}."

    def _because(self, left_out: Json) -> str:
        """What keeps units that a plan leaves out where they are."""
        return "; ".join(self._kept(why) for why in left_out["because"])

    def _kept(self, why: Json) -> str:
        code = why["code"]
        if code in _KEPT:
            return _KEPT[code]
        where = _such_as(why)
        one = why["nodes"] == 1
        if code == "split":
            allow = "the rules allow" if self.decision["method"] == "exact" else "was found"
            return (
                f"{where} {'has' if one else 'have'} units, but no plan that"
                f" {allow}{self._limits()} ships more"
            )
        return f"{where}, where units are, {'is' if one else 'are'} {_FENCES.get(code, code)}"

    def _limits(self) -> str:
        """How the order may be divided, in brackets."""
        split = self.decision["split"]
        limits = []
        if split["one_leg"]:
            limits.append("all from one node")
        elif split["all_or_nothing"]:
            limits.append("all units or none")
        if split["max_legs"] is not None:
            limits.append(f"at most {_count(split['max_legs'], 'leg')}")
        if split["leg_min_units"] is not None:
            limits.append(f"legs of {_count(split['leg_min_units'], 'unit')} or more")
        if split["leg_min_value"] is not None:
            limits.append(f"legs worth {self._money(split['leg_min_value'])} or more")
        if split["quantity"] == "never":
            limits.append("no line divided")
        return f" ({', '.join(limits)})" if limits else ""

    def _journey(self, leg: Json) -> str:
        parts = []
        if leg["distance_m"] is not None:
            parts.append(f"over {_km(leg['distance_m'])}")
        if leg["ship_day"]:
            parts.append(f"on {leg['ship_day']}")
        if leg["service"]:
            parts.append(f"by {leg['service']}")
        if leg["parcels"] > 1:
            parts.append(f"in {leg['parcels']} parcels")
        journey = " ".join(["", *parts])
        if leg["deliver_day"]:
            journey += f", to arrive on {leg['deliver_day']}"
        if leg["days_late"]:
            journey += f", {_count(leg['days_late'], 'day')} late"
        if leg.get("full_day"):
            journey += f" (it is full from {leg['full_day']} until then)"
        return f"{journey}, for {self._money(leg['cost_minor'])}"

    def _why_not(self) -> Iterator[str]:
        """Nodes that a person would have expected, and what kept out the others."""
        told = dict(self._barred())
        yield from told.values()
        yield from self._nearer()
        rest = self.decision["rest"]
        for fence, nodes in rest["fences"].items():
            if others := _without(nodes, told):
                yield f"{_nodes(others)}: {_FENCES.get(fence, fence)}."
        for units, nodes in self._empty():
            if others := _without(nodes, told):
                yield f"{_nodes(others)}: without {units}."
        if rest["few"]:
            few = "with some of the units, but too few for any part that was weighed"
            yield f"{_nodes(rest['few'])}: {few}."
        if rest["dearer"]:
            yield f"{_nodes(rest['dearer'])}: {self._dearer()}."
        for one in self.decision.get("unused", ()):
            because = _UNUSED.get(one["because"], one["because"])
            yield f"{one['service']} from {one['node_id']}: {because}."

    def _dearer(self) -> str:
        """What is sure of the nodes without a row that may ship something."""
        if self.decision["method"] != "exact":
            return "no better than what was weighed"
        if self.decision["runner_up"]:
            return "no better than the next best for certain"
        other = "other " if self.decision["chosen"] else ""
        return f"in no {other}plan that the order and its rules allow"

    def _empty(self) -> Iterator[tuple[str, list[str] | int]]:
        """Nodes that have nothing of what was planned, or of some items, and what they lack."""
        lines = self.decision["lines"]
        limited = any(not line["target"] and line["promisable"] == 0 for line in lines)
        nothing = "units that the channel may have" if limited else "free units"
        short: list[str] | int = self.decision["rest"]["short"]
        planned = {line["line_id"]: line["sku"] for line in lines if line["target"]}
        lacking: dict[str, dict[str, None]] = {}  # node id -> ids of lines of which it has none
        rows = [(row, one) for one in self.decision["sets"] for row in one["nodes"]]
        some = {row["node_id"] for row, _ in rows if not row["short"]}
        for row, one in rows:
            if _has_none(row, one) and row["node_id"] not in some:
                lacking.setdefault(row["node_id"], {}).update(_lacks_any(row, one))
        partly: dict[str, list[str]] = {}
        wholly: list[str] = []
        for node_id, line_ids in sorted(lacking.items()):
            if len(line_ids) == len(planned):
                wholly.append(node_id)
            else:
                skus = dict.fromkeys(sku for line, sku in planned.items() if line in line_ids)
                partly.setdefault(f"free units of {_and(skus)}", []).append(node_id)
        if isinstance(short, int):
            if short:
                yield nothing, short
            if wholly:
                yield nothing, wholly
        elif wholly or short:
            yield nothing, sorted({*short, *wholly})
        yield from partly.items()

    def _barred(self) -> Iterator[tuple[str, str]]:
        """Node and sentence: what would have been cheaper or nearer, for all units or a leg's."""
        chosen = self.decision["chosen"]
        everything = [
            {"line_id": line["line_id"], "sku": line["sku"], "units": line["target"]}
            for line in self.decision["lines"]
            if line["target"]
        ]
        than: dict[str, Json] = {_units(everything): chosen or {}}
        than |= {_units(leg["lines"]): leg for leg in (chosen["legs"] if chosen else ())}
        for one in self.decision["sets"]:
            units = _units(one["lines"])
            if chosen and units not in than:
                continue
            ours = than.get(units, {})
            for row in one["nodes"]:
                reasons = [_FENCES.get(fence, fence) for fence in row["fences"]]
                if _has_none(row, one):
                    continue
                if row["short"]:
                    reasons.append(f"short of {_units(row['short'])}")
                if reasons and (not ours or row["value"] < ours["value"] or _nearer(row, ours)):
                    offer = f"{row['node_id']} would ship {units}{self._journey(row)}"
                    yield row["node_id"], f"{offer}, but it is {_and(reasons)}."

    def _nearer(self) -> Iterator[str]:
        """Nodes nearer than those of the plan, that may ship what these do and cost more."""
        chosen = self.decision["chosen"]
        if chosen is None:
            return
        for leg in chosen["legs"]:
            rows: Iterable[Json] = next(
                one["nodes"] for one in self.decision["sets"] if one["lines"] == leg["lines"]
            )
            for row in rows:
                if row["node_id"] in chosen["nodes"]:
                    continue
                if _nearer(row, leg) and not row["fences"] and not row["short"]:
                    yield (
                        f"{row['node_id']} is nearer, but would ship {_units(leg['lines'])}"
                        f"{self._journey(row)}{self._dearest(row, leg)}."
                    )

    def _dearest(self, row: Json, than: Json) -> str:
        """What makes a row dearer than another, most of all; or worse, by the criteria."""
        if not self.in_money:
            at = _first_difference(than["value"], row["value"])
            return (
                "" if at is None else f": {self._worse(at, row['value'][at] - than['value'][at])}"
            )
        differences = {name: row["costs"][name] - than["costs"][name] for name in (*COMPONENTS,)}
        name = max(differences, key=lambda one: differences[one])
        if differences[name] <= 0:
            return ""
        return f": {self._money(differences[name])} more for {_component(name)}"

    def _next_best(self) -> str:
        chosen, runner_up = self.decision["chosen"], self.decision["runner_up"]
        parts = _and(f"{leg['node_id']} with {_units(leg['lines'])}" for leg in runner_up["legs"])
        if chosen is None or runner_up["units"] < chosen["units"]:
            fewer = (chosen["units"] if chosen else 0) - runner_up["units"]
            return f"{parts}: {_count(fewer, 'unit')} fewer."
        ours, theirs = self._measure(chosen), self._measure(runner_up)
        at = _first_difference(ours, theirs)
        if at is None:
            return f"{parts}: equally good, it comes later."
        return f"{parts}: {self._worse(at, theirs[at] - ours[at])}."

    def _measure(self, plan: Json) -> list[int]:
        """What a plan is compared by, in the order of the criteria."""
        if not self.in_money:
            value: list[int] = plan["value"]
            return value
        if not self.unrated:
            return [plan["value"]]
        away = [
            _NOWHERE_M if leg["distance_m"] is None else leg["distance_m"] for leg in plan["legs"]
        ]
        return [plan["value"], len(away), sum(away)]

    def _worse(self, at: int, by: int) -> str:
        criterion = self.criteria[at].partition(" ")[0]
        match criterion:
            case "cost":
                return f"{self._money(by)} dearer"
            case "distance":
                return f"{_km(by)} farther" if by < _UNKNOWN_M else "at no known distance"
            case _:
                return f"worse by {by} in {_CRITERIA.get(criterion, criterion)}"

    def _otherwise(self) -> Iterator[str]:
        told = self.decision["counterfactual"]
        lifted, stocked, dearer = told["lift_fence"], told["add_stock"], told["dearer"]
        if lifted:
            fence = _FENCES.get(lifted["fence"], lifted["fence"])
            yield f"Were {lifted['node_id']} not {fence}: {self._result(lifted)}."
        if stocked:
            fence = stocked.get("fence")
            and_fence = f", were it not {_FENCES.get(fence, fence)}" if fence else ""
            yield (
                f"With {stocked['lacking']} more of {stocked['sku']} at {stocked['node_id']}"
                f"{and_fence}: {self._result(stocked)}."
            )
        if dearer and (dearer["criterion"] != "distance" or dearer["by"] < _UNKNOWN_M):
            yield f"{self._if_dearer(dearer)}: {self._would_ship(dearer)}."
        if not (lifted or stocked or dearer):
            yield "Nothing that was weighed would have changed it."

    def _if_dearer(self, change: Json) -> str:
        node_id, by = change["node_id"], change["by"]
        match change["criterion"]:
            case "cost":
                return f"Were {node_id} {self._money(by)} dearer"
            case "distance":
                return f"Were {node_id} {by / 1000:,.1f} km farther"
            case criterion:
                return f"Were {node_id} worse by {by} in {_CRITERIA.get(criterion, criterion)}"

    def _result(self, change: Json) -> str:
        shipped = self._would_ship(change)
        if change["more_units"]:
            return f"{shipped}, {_count(change['more_units'], 'unit')} more"
        if change["criterion"] == "cost":
            return f"{shipped}, saving {self._money(change['by'])}"
        if change["criterion"] == "distance":
            nearer = change["by"] < _UNKNOWN_M
            return f"{shipped}, {_km(change['by'])} nearer" if nearer else shipped
        name = _CRITERIA.get(change["criterion"], change["criterion"])
        return f"{shipped}, better by {change['by']} in {name}"

    def _would_ship(self, change: Json) -> str:
        legs = change["plan"]["legs"]
        return _and(f"{leg['node_id']} would ship {_units(leg['lines'])}" for leg in legs)

    def _decisive(self) -> str:
        """In which criterion the plan beats the next best."""
        chosen, runner_up = self.decision["chosen"], self.decision["runner_up"]
        at = 0
        if runner_up is not None:
            at = _first_difference(self._measure(chosen), self._measure(runner_up)) or 0
        criterion = self.criteria[at].partition(" ")[0]
        match criterion:
            case "cost":
                return "it costs least"
            case "distance":
                return "it is nearest"
            case _:
                return f"it is best in {_CRITERIA.get(criterion, criterion)}"

    def _costs(self) -> Table:
        """The chosen plan and the runner-up by component, without those that are all 0."""
        plans = [("", self.decision["chosen"]), ("next best: ", self.decision["runner_up"])]
        names = [
            name
            for name in (*COMPONENTS, "split")
            if any(plan and plan["costs"][name] for _, plan in plans)
        ]
        table = Table(self.currency)
        for name in names:
            table.add_column(_plain(name.replace("_", " ")), justify="right", overflow="fold")
        table.add_column("total", justify="right")
        for prefix, plan in plans:
            if plan is None:
                continue
            for leg in plan["legs"]:
                shown = [
                    amount(leg["costs"][name], self.currency) if name in leg["costs"] else ""
                    for name in names
                ]
                total = amount(leg["cost_minor"], self.currency)
                table.add_row(_plain(f"{prefix}{leg['node_id']}"), *shown, total)
            if len(plan["legs"]) > 1:
                shown = [amount(plan["costs"][name], self.currency) for name in names]
                total = amount(plan["cost_minor"], self.currency)
                table.add_row(_plain(f"{prefix}in all"), *shown, total, style="bold")
            table.add_section()
        return table

    def _weighed(self, width: int) -> Table:
        """What was weighed: for each set of units its nodes, those that may ship it first."""
        cells: dict[str, Callable[[Json], str]] = {
            "weighed": lambda _: "",
            "node": lambda row: row["node_id"],
            "km": lambda row: "" if row["distance_m"] is None else _km(row["distance_m"])[:-3],
            "ships": lambda row: _short(row["ship_day"]),
            "arrives": lambda row: _short(row["deliver_day"]),
            "": lambda row: self._value(row["value"]),
        }
        if width < _WIDE:
            for name in ("km", "ships", "arrives"):
                del cells[name]
        table = Table()
        for name in cells:
            right = name in ("km", "")
            heading = name or (self.currency if self.in_money else "value")
            table.add_column(heading, justify="right" if right else "left", overflow="fold")
        table.add_column("", overflow="fold")
        used = {
            (leg["node_id"], _units(leg["lines"])): name
            for name in ("runner_up", "chosen")
            if self.decision[name]
            for leg in self.decision[name]["legs"]
        }
        for one in self.decision["sets"][:_SETS]:
            units = _units(one["lines"])
            for n, row in enumerate(one["nodes"]):
                part = used.get((row["node_id"], units), "").replace("_", "-")
                shown = [_plain(cell(row)) for cell in cells.values()]
                shown[0] = _plain("" if n else units)
                remarks = "; ".join([*([part] if part else []), *self._remarks(row)])
                style = "bold green" if part == "chosen" else None
                table.add_row(*shown, _plain(remarks), style=style)
            table.add_section()
        return table

    def _remarks(self, row: Json) -> Iterator[str]:
        if row["days_late"]:
            yield f"{_count(row['days_late'], 'day')} late"
        if row.get("full_day"):
            yield f"full on {_short(row['full_day'])}"
        for fence in row["fences"]:
            yield fence.replace("_", " ")
        for lack in row["short"]:
            yield f"lacks {lack['units']} of {lack['sku']}"

    def _value(self, value: int | list[int]) -> str:
        if isinstance(value, int):
            return amount(value, self.currency)
        shown = []
        for criterion, one in zip(self.decision["objective"], value, strict=True):
            match criterion.partition(" ")[0]:
                case "cost":
                    shown.append(amount(abs(one), self.currency))
                case "distance":
                    shown.append(_km(abs(one) if abs(one) < _UNKNOWN_M else None))
                case _:
                    shown.append(str(abs(one)))
        return ", ".join(shown)

    def _money(self, minor: int) -> str:
        return money(minor, self.currency)


def show_v1(console: Console, decision: Json) -> None:
    """A decision of the first release."""
    table = Table("node", "distance")
    for line_id, sku, units in decision["lines"]:
        table.add_column(_plain(f"line {line_id}: {units} of {sku}"), justify="right")
    for node_id, metres, offered in decision["candidates"][:20]:
        table.add_row(_plain(node_id), _km(metres), *map(str, offered))
    if decision["candidates"]:
        console.print(table)
    sentences = [
        f"{fence.replace('_', ' ')}: {', '.join(of)}"
        for fence, of in decision["removed"].items()
        if of
    ]
    sentences += [
        f"{name.replace('_', '-')}: {_choice_v1(decision[name])}"
        for name in ("chosen", "runner_up")
    ]
    sentences.append(f"decided by: {decision['decided_by'].replace('_', ' ')}")
    if decision["counterfactual"]:
        sentences.append(f"otherwise: {decision['counterfactual']}")
    sentences += [
        f"backordered: {line['quantity']} of line {line['line_id']}"
        for line in decision["backordered"]
    ]
    for sentence in sentences:
        console.print(f"  {sentence}", highlight=False, markup=False)


def _choice_v1(choice: Json | None) -> str:
    if choice is None:
        return "none"
    nodes = ", ".join(choice["nodes"]) or "no node"
    return f"{nodes} with {choice['units']} units, {_km(choice['distance_m'])}"


def heading(number: int, decision: Json) -> str:
    """Which decision it is, when and why it was made."""
    trigger = decision["trigger"]
    when = _TRIGGERS.get(trigger, f"after {trigger}")
    return f"{number}. {decision['at']}, {when} ({decision['position']})"


def _plain(text: str) -> str:
    """Ids may hold what rich takes for markup."""
    return escape(text)


def _and(parts: Iterable[str]) -> str:
    *first, last = [*parts] or [""]
    return f"{', '.join(first)} and {last}" if first else last


def _units(lines: Sequence[Json]) -> str:
    """Units by item: lines of one item together."""
    of: dict[str, int] = {}
    for line in lines:
        of[line["sku"]] = of.get(line["sku"], 0) + line["units"]
    return _and(f"{units} of {sku}" for sku, units in of.items())


def _such_as(why: Json) -> str:
    """The nodes that have units left out: by id, as far as they are named."""
    nodes, named = why["nodes"], why["named"]
    if not named:
        return _count(nodes, "node")
    return (
        _and(named) if nodes == len(named) else f"{', '.join(named)} and {nodes - len(named)} more"
    )


def _nodes(nodes: list[str] | int) -> str:
    if isinstance(nodes, int):
        return _count(nodes, "node")
    if len(nodes) > _NAMED:
        return f"{', '.join(nodes[:_NAMED])} and {len(nodes) - _NAMED} more"
    return _and(nodes)


def _has_none(row: Json, of: Json) -> bool:
    """Whether a node lacks every unit of a set."""
    return len(_lacks_any(row, of)) == len(of["lines"])


def _lacks_any(row: Json, of: Json) -> dict[str, None]:
    """The lines of a set of which a node lacks every unit."""
    lacks = {line["line_id"]: line["units"] for line in row["short"]}
    of_line = {line["line_id"]: line["units"] for line in of["lines"]}
    return {one: None for one, units in of_line.items() if lacks.get(one, 0) >= units}


def _nearer(row: Json, leg: Json) -> bool:
    there, here = row["distance_m"], leg.get("distance_m")
    return there is not None and here is not None and there < here


_UNKNOWN_M: Final = 500_000_000
"""Sums of distances from here on hold one that nobody knows, which ranks last."""


def _km(metres: int | None) -> str:
    return "unknown" if metres is None else f"{metres / 1000:,.0f} km"


def _count(number: int, what: str) -> str:
    return f"{number} {what}" if number == 1 else f"{number} {what}s"


def _without(nodes: list[str] | int, told: Json) -> list[str] | int:
    return nodes if isinstance(nodes, int) else [one for one in nodes if one not in told]


def _first_difference(ours: list[int], theirs: list[int]) -> int | None:
    pairs = zip(ours, theirs, strict=True)
    return next((n for n, (one, other) in enumerate(pairs) if one != other), None)


def _short(day: str | None) -> str:
    """A day without its year, for tables."""
    return day[5:] if day else ""


def _criterion(criterion: str) -> str:
    return _CRITERIA.get(criterion.partition(" ")[0], criterion)


def _component(name: str) -> str:
    return {"late": "being late", "load": "a day that fills up", "per_unit": "each unit"}.get(
        name, name
    )
