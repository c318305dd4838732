"""`headrace rules`: rule sets from a file to the market, and what became of them."""

import json
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Iterable, Iterator, Sequence
from datetime import UTC, datetime
from http import HTTPStatus
from typing import Annotated, Any

import orjson
import typer
from pydantic import ValidationError
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from events.decided import RuleProblem
from events.rules import Body, RuleSetProposed
from orchestrator.commands.compare import compare
from orchestrator.commands.connection import INPUT_ERROR, load_settings, run_on_kafka
from orchestrator.commands.rule_file import RuleFile, load
from orchestrator.commands.send import BadLine, Event, deliver
from orchestrator.commands.send import parse as parse_lines
from orchestrator.core.sourcing.rule_checks import Defined, Known, told
from orchestrator.core.sourcing.rule_checks import check as check_body
from orchestrator.runtime.settings import Settings, SetupError
from schemas.cloudevents import sentence_of
from schemas.ports import EventLog

app = typer.Typer(
    help="Rule sets: how a market's orders are sourced.",
    no_args_is_help=True,
    rich_markup_mode=None,
)

_CHECK_FAILED = 1
_TIMEOUT_S = 30
_PAGE = 500
_NAMED = 10  # markets in a sentence

File = Annotated[
    str, typer.Argument(metavar="FILE", help="A rule set as YAML, or - for standard input.")
]
MaybeFile = Annotated[
    str | None, typer.Argument(metavar="[FILE]", help="Names the market and the version.")
]
Market = Annotated[str | None, typer.Option("--market", help="The market, unless the file says.")]
Version = Annotated[
    str | None, typer.Option("--version", help="The version, unless the file says.")
]
Note = Annotated[str | None, typer.Option("--note", help="Why, for those who read it later.")]
Api = Annotated[
    str | None,
    typer.Option("--api", help="Where role api serves, such as http://127.0.0.1:8080."),
]


@app.callback()
def _group() -> None:
    """Rule sets: how a market's orders are sourced.

    A version is proposed from a file, approved by another person, then activated.
    """


@app.command()
def check(file: File, *, market: Market = None, api: Api = None) -> None:
    """Say all that is wrong with a rule set; with --market, also what that market won't take.

    Examples:
      headrace rules check rules.yaml
      headrace rules check rules.yaml --market US
    """
    written = load(file)
    known = None if market is None else _known(_Api(api), market)
    _, problems = check_body(written.body, known)
    problems = [*_head_problems(written, market), *problems]
    _tell(written, problems)
    if problems:
        raise typer.Exit(_CHECK_FAILED)
    count = len(written.body.get("strategies", []))
    against = f" and fits market {market}" if market else ""
    typer.echo(f"{file} is right{against}: {count} strateg{'y' if count == 1 else 'ies'}.")


@app.command()
def diff(
    file: File,
    other: Annotated[
        str | None, typer.Argument(metavar="[OTHER]", help="Another file, with which it compares.")
    ] = None,
    *,
    market: Market = None,
    version: Annotated[
        str | None, typer.Option("--version", help="Of that market, instead of the active one.")
    ] = None,
    api: Api = None,
) -> None:
    """Show what changes from FILE to OTHER, or from a market's active version to FILE.

    Examples:
      headrace rules diff old.yaml new.yaml
      headrace rules diff new.yaml --market US
    """
    new = load(other or file)
    if other is not None:
        first = load(file)
        _stop_where_wrong(first)
        old, before = first.body, file
    else:
        of = market or new.head.get("market")
        if of is None:
            _usage("Give another file, or --market.")
        old, before = _standing(_Api(api), str(of), version)
    _stop_where_wrong(new)
    changes = list(_differences(_flat(old), _flat(new.body)))
    typer.echo(f"--- {before}\n+++ {new.name}")
    for line in changes or ["No difference."]:
        typer.echo(line)


@app.command()
def propose(file: File, *, api: Api = None) -> None:
    """Propose the file's version to its market, and say what became of it.

    The file has the market, the version and the author at its top.

    Example:
      headrace rules propose rules.yaml
    """
    written = load(file)
    _stop_where_wrong(written)
    head = {"market_id" if name == "market" else name: one for name, one in written.head.items()}
    if problems := _wrong_head(head):
        _tell(written, problems)
        raise typer.Exit(INPUT_ERROR)
    data = {**written.head, "body": written.body}
    _ask("rule_set_proposed", data, written, api)


@app.command()
def approve(
    file: MaybeFile = None,
    *,
    approver: Annotated[str, typer.Option("--approver", help="Who approves: not the author.")],
    market: Market = None,
    version: Version = None,
    note: Note = None,
    api: Api = None,
) -> None:
    """Approve a proposed version: another person than its author has to.

    Examples:
      headrace rules approve rules.yaml --approver "Bo Chen"
      headrace rules approve --market US --version 7 --approver "Bo Chen"
    """
    written, data = _named(file, market, version)
    _ask("rule_set_approved", {**data, "approver": approver, "note": note}, written, api)


@app.command()
def activate(
    file: MaybeFile = None,
    *,
    from_: Annotated[
        str | None,
        typer.Option("--from", help="A time, or a day of the market; now where there is none."),
    ] = None,
    by: Annotated[str | None, typer.Option("--by", help="Who activates it.")] = None,
    market: Market = None,
    version: Version = None,
    note: Note = None,
    api: Api = None,
) -> None:
    """Let an approved version decide, at once or from a time on.

    The latest activation counts: it replaces one that is still to come. An earlier version may be
    activated again.

    Examples:
      headrace rules activate rules.yaml
      headrace rules activate --market US --version 7 --from 2026-12-01
    """
    written, data = _named(file, market, version)
    asked = {**data, "from": from_, "activated_by": by, "note": note}
    _ask("rule_set_activated", asked, written, api)


@app.command()
def shadow(
    file: MaybeFile = None,
    *,
    end: Annotated[bool, typer.Option("--end", help="Let it no longer run in shadow.")] = False,
    by: Annotated[str | None, typer.Option("--by", help="Who says so.")] = None,
    market: Market = None,
    version: Version = None,
    note: Note = None,
    api: Api = None,
) -> None:
    """Let an approved version decide beside the active one, with nothing carried out.

    Of each order from now on, role `shadow` tells what this version would have decided in the world
    as it is. A market has one shadow: the newest; it ends when it is activated too.

    Examples:
      headrace rules shadow rules.yaml
      headrace rules shadow --market US --version 8
      headrace rules shadow --market US --version 8 --end
    """
    written, data = _named(file, market, version)
    mode = "shadow_ended" if end else "shadow"
    asked = {**data, "mode": mode, "activated_by": by, "note": note}
    _ask("rule_set_activated", asked, written, api)


@app.command("list")
def list_(
    *,
    market: Annotated[str | None, typer.Option("--market", help="Only this market's.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object a version.")] = False,
    api: Api = None,
) -> None:
    """List the versions, the latest proposed first.

    A version stays, since decisions name it; one that nobody activates decides nothing.

    Examples:
      headrace rules list
      headrace rules list --market US --json
    """
    items = list(_Api(api).pages("/rule-sets", {"market_id": market} if market else {}))
    if as_json:
        for item in items:
            typer.echo(orjson.dumps(item).decode())
        return
    Console().print(listed(items))


def listed(items: Iterable[dict[str, Any]]) -> Table:
    """Versions as a table: how a version stands is never cut, whatever the terminal's width."""
    names = ("market_id", "version", "status", "author", "approver", "active_from", "note")
    table = Table()
    for name in names:
        heading = "market" if name == "market_id" else name.replace("_", " ")
        whole = name in {"version", "status"}
        table.add_column(heading, no_wrap=whole, overflow="fold", ratio=None if whole else 1)
    for item in items:
        shown = {name: str(item.get(name) or "") for name in names}
        if shown["status"] in {"proposed", "approved", "shadow"}:
            shown["status"] += ", decides nothing"
        shown["active_from"] = shown["active_from"].partition(".")[0]  # without milliseconds
        table.add_row(*(escape(shown[name]) for name in names))
    return table


app.command()(compare)


# asking, and waiting for the answer


def _named(
    file: str | None, market: str | None, version: str | None
) -> tuple[RuleFile | None, dict[str, Any]]:
    """Which version of which market is meant: the options count, then the file."""
    written = None if file is None else load(file)
    if written is not None and written.body:
        _stop_where_wrong(written)
    head = {} if written is None else written.head
    data = {"market_id": market or head.get("market"), "version": version or head.get("version")}
    if None in data.values():
        _usage("Give a file that has them, or --market and --version.")
    return written, data


def _usage(sentence: str) -> None:
    typer.echo(sentence, err=True)
    raise typer.Exit(INPUT_ERROR)


def _ask(type_: str, data: dict[str, Any], written: RuleFile | None, api: str | None) -> None:
    """Send the event, wait until its outcome can be read, and print it; exits 1 where refused."""
    settings = load_settings()
    said = {name: value for name, value in data.items() if value is not None}
    if "market" in said:
        said["market_id"] = said.pop("market")
    line = orjson.dumps({"type": type_, "source": "headrace-rules", "data": said})
    (event,) = parse_lines(line, new_ids=True, now=datetime.now(UTC))
    if isinstance(event, BadLine):
        said_of = event.detail.replace("market_id:", "market:")
        field = said_of.partition(":")[0]
        at = written.at(field) if written and field in written.head else "the event"
        typer.echo(f"{at}: {said_of}", err=True)
        raise typer.Exit(INPUT_ERROR)
    server = _Api(api, settings)
    market, version = said["market_id"], str(said["version"])
    path = f"/rule-sets/{urllib.parse.quote(market)}/{urllib.parse.quote(version)}"
    before = server.get(path, missing={})
    if type_ != "rule_set_proposed" and written is not None and "body" in before:
        _same(written, before["body"], market, version)
    position = _send(settings, event)
    found = server.get(path, missing={}, position=position)
    known = [one["position"] for one in before.get("refusals", ())]
    fresh = [one for one in found.get("refusals", ()) if one["position"] not in known]
    if fresh:
        asked = refused_words(fresh[0]["asked"], said.get("mode"))
        typer.echo(f"Rule set {version} of {market} {asked}:", err=True)
        _tell(written, fresh[0]["problems"])
        raise typer.Exit(_CHECK_FAILED)
    if not found:
        typer.echo(
            f"Nothing is known of rule set {version} of {market}: intake rejected the event. Is the"
            " market defined? `headrace tail rejected --from-beginning` shows the reason.",
            err=True,
        )
        raise typer.Exit(_CHECK_FAILED)
    typer.echo(f"Rule set {version} of {market} {_standing_words(found)}.")


def refused_words(asked: str, mode: str | None) -> str:
    """What it is not, since that was refused; `mode`: of an activation."""
    match mode:
        case "shadow":
            return "does not run in shadow"
        case "shadow_ended":
            return "was not in shadow"
        case _:
            return f"is not {asked}"


def _same(written: RuleFile, standing: dict[str, Any], market: str, version: str) -> None:
    """Whoever names a file means what it says: it has to be what was proposed."""
    said, proposed = _flat(written.body), _flat(standing)
    if said == proposed or not written.body:
        return
    typer.echo(
        f"{written.name} is not what version {version} of {market} says: compare them with"
        f" `headrace rules diff {written.name} --market {market} --version {version}`, or name the"
        " version with --market and --version.",
        err=True,
    )
    for line in _differences(proposed, said):
        typer.echo(line, err=True)
    raise typer.Exit(_CHECK_FAILED)


def _standing_words(found: dict[str, Any]) -> str:
    match found["status"]:
        case "scheduled":
            return f"becomes active at {found['active_from']}"
        case "approved":
            return f"is approved by {found['approver']}"
        case "shadow":
            return (
                "runs in shadow: it decides nothing. Role `shadow` tells what it would decide, and"
                " `headrace rules compare` sums it up"
            )
        case status:
            return f"is {status}"


def _send(settings: Settings, event: Event) -> str:
    positions: list[str] = []

    async def work(log: EventLog) -> None:
        await deliver(log, [event], lambda some: positions.extend(one.position for one in some))

    run_on_kafka(settings, work)
    return positions[0]


def _tell(written: RuleFile | None, problems: Sequence[RuleProblem]) -> None:
    file, lines = (written.name, written.lines) if written else ("", {})
    for one in problems:
        typer.echo(told(one, file, lines), err=True)


def _stop_where_wrong(written: RuleFile) -> None:
    """Say all that is wrong with a file's body by its lines, and exit with 1."""
    _, problems = check_body(written.body, None)
    _tell(written, problems)
    if problems:
        raise typer.Exit(_CHECK_FAILED)


class _Api:
    """The questions that commands ask of role `api`."""

    def __init__(self, url: str | None, settings: Settings | None = None) -> None:
        self._url = (url or f"http://{(settings or load_settings()).http}").rstrip("/")
        if not self._url.startswith(("http://", "https://")):
            _usage("--api begins with http:// or https://.")

    def get(
        self, path: str, *, missing: dict[str, Any] | None = None, position: str | None = None
    ) -> dict[str, Any]:
        """The answer as of the position; `missing` where there is no such thing."""
        headers = {"Headrace-Position": position} if position else {}
        request = urllib.request.Request(self._url + path, headers=headers)  # noqa: S310 - http or https, see above
        try:
            with urllib.request.urlopen(request, timeout=_TIMEOUT_S) as answer:  # noqa: S310 - the same
                found: dict[str, Any] = orjson.loads(answer.read())
                return found
        except urllib.error.HTTPError as error:
            if error.code == HTTPStatus.NOT_FOUND and missing is not None:
                return missing
            said = error.read(1000).decode(errors="replace")
            raise SetupError(f"{self._url}{path} answers {error.code}: {said}") from None
        except (OSError, orjson.JSONDecodeError) as error:
            raise SetupError(
                f"{self._url} can't be asked: {error}. Is role api running there? Set HEADRACE_HTTP"
                " or --api."
            ) from None

    def pages(self, path: str, query: dict[str, str]) -> Iterator[dict[str, Any]]:
        """All items of a list."""
        after: str | None = None
        while True:
            asked = {**query, "limit": str(_PAGE), **({"after": after} if after else {})}
            page = self.get(f"{path}?{urllib.parse.urlencode(asked)}")
            yield from page["items"]
            after = page["next"]
            if after is None:
                return


def _head_problems(written: RuleFile, market: str | None) -> list[RuleProblem]:
    """What proposing the file would be refused for, apart from its body.

    Of no market only what is there is looked at: the rest may come when it is proposed.
    """
    of = written.head.get("market", market)
    if market is not None and of != market:
        return [{"path": "market", "detail": f"the file is for {of}, not for {market}"}]
    if not written.head and not written.body:
        return [{"path": "", "detail": "is empty"}]
    fields = {name: value for name, value in written.head.items() if name != "market"}
    if market is None:
        fields = {"version": "1", "author": "nobody", **fields}
    wrong = _wrong_head({**fields, "market_id": "any" if of is None else of})
    return [{**one, "detail": f"{one['detail']} (to propose it)"} for one in wrong]


def _wrong_head(data: dict[str, Any]) -> list[RuleProblem]:
    """All that is wrong with the fields of a proposal, apart from its body."""
    try:
        RuleSetProposed.model_validate_json(orjson.dumps({**data, "body": {}}))
    except ValidationError as error:
        found: list[RuleProblem] = []
        for one in error.errors(include_url=False, include_context=False):
            said = sentence_of(RuleSetProposed, RuleSetProposed.TYPE, [one])
            name = str(one["loc"][0])
            path = "market" if name == "market_id" else name
            found.append({"path": path, "detail": said.removeprefix(f"{name}: ")})
        return found
    return []


def _known(api: _Api, market: str) -> Known:
    every = list(api.pages("/nodes", {}))
    nodes = [node for node in every if node["market_id"] == market]
    if not nodes:
        others = ", ".join(sorted({node["market_id"] for node in every})[:_NAMED]) or "none"
        typer.echo(
            f"--market: there is no market {market} with nodes; there are: {others}", err=True
        )
        raise typer.Exit(_CHECK_FAILED)
    return Known.of([Defined.of(node) for node in nodes], fences=True)


def _standing(api: _Api, market: str, version: str | None) -> tuple[dict[str, Any], str]:
    """The body of a market's version, by default the active one, and its name."""
    if version is None:
        listed = api.pages("/rule-sets", {"market_id": market})
        version = next((one["version"] for one in listed if one["status"] == "active"), None)
    if version is None:
        return {}, f"the built-in rule set (market {market} has activated none)"
    path = f"/rule-sets/{urllib.parse.quote(market)}/{urllib.parse.quote(version)}"
    found = api.get(path, missing={})
    if "body" not in found:
        typer.echo(f"Market {market} has no rule set {version}.", err=True)
        raise typer.Exit(_CHECK_FAILED)
    return found["body"], f"{market} version {version} ({found['status']})"


# differences


def _flat(body: dict[str, Any]) -> dict[str, Any]:
    """Every value by its path, strategies and pools by their names."""
    parsed, problems = check_body(body, None)
    if parsed is None:
        for one in problems:
            typer.echo(f"{one['path']}: {one['detail']}", err=True)
        raise typer.Exit(_CHECK_FAILED)
    written = Body.model_validate(body).model_dump(
        mode="json", by_alias=True, exclude_defaults=True
    )
    order = [one["name"] for one in written.get("strategies", [])]
    found: dict[str, Any] = {"strategies, in this order": ", ".join(order)} if order else {}
    found.update(_leaves("", written))
    return found


def _leaves(path: str, value: Any) -> Iterator[tuple[str, Any]]:  # noqa: ANN401 - JSON
    if isinstance(value, dict) and value:
        for name, one in value.items():
            yield from _leaves(f"{path}.{name}" if path else name, one)
    elif isinstance(value, list) and value and isinstance(value[0], dict):
        for number, one in enumerate(value):
            key = one.get("name") or one.get("id") or number
            rest = {name: inner for name, inner in one.items() if name not in {"name", "id"}}
            yield from _leaves(f"{path}[{key}]", rest)
    else:
        yield path, value


def _differences(old: dict[str, Any], new: dict[str, Any]) -> Iterator[str]:
    for path in dict.fromkeys([*old, *new]):
        before, after = old.get(path), new.get(path)
        if before == after:
            continue
        if before is None:
            yield f"+ {path}: {_json(after)}"
        elif after is None:
            yield f"- {path}: {_json(before)}"
        elif _is_set(path, before) and _is_set(path, after):
            yield from (f"- {path}: {_json(one)}" for one in before if one not in after)
            yield from (f"+ {path}: {_json(one)}" for one in after if one not in before)
        else:
            yield f"~ {path}: {_json(before)} -> {_json(after)}"


def _is_set(path: str, value: Any) -> bool:  # noqa: ANN401 - JSON
    """Whether it lists what belongs, in no order: who reads a change asks what came and went."""
    ranked = ".objective[" in path
    return isinstance(value, list) and not ranked and all(isinstance(one, str) for one in value)


def _json(value: Any) -> str:  # noqa: ANN401 - JSON
    return json.dumps(value, ensure_ascii=False)
