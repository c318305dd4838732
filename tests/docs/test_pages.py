"""What the documentation names exists."""

import json
import re
import tomllib
from datetime import UTC, datetime
from pathlib import Path
from types import SimpleNamespace
from typing import Any, get_args

import pytest
import typer

from events.inputs import INPUTS, NOT_BUILT
from events.outputs import OUTPUTS, ExceptionKind
from orchestrator import cli
from orchestrator.commands.send import BadLine, parse
from orchestrator.runtime.settings import Settings, variable
from projections.api.app import create_app
from schemas.cloudevents import Code
from schemas.topics import TOPICS
from tests.docs.pages import NAMES, PAGES, ROOT, anchors, links, prose, samples

NOW = datetime(2026, 1, 31, tzinfo=UTC)
SETTINGS = {variable(name) for name in Settings.model_fields} | {"HEADRACE_TEST_KAFKA"}
TARGETS = set(re.findall(r"^([a-z]+):.*## ", (ROOT / "Makefile").read_text(), re.MULTILINE))


def command_tree() -> dict[str, Any]:
    """Every command by its words, such as "topics create"."""
    found: dict[str, Any] = {}

    todo: list[tuple[str, Any]] = [("", typer.main.get_command(cli.application([])))]
    while todo:
        words, command = todo.pop()
        found[words] = command
        children = getattr(command, "commands", {})
        todo += [(f"{words} {name}".strip(), child) for name, child in children.items()]
    return found


COMMANDS = command_tree()


def command_lines(text: str) -> set[str]:
    """`headrace …` as it is called: in code spans, and at the head of shell commands."""
    called = re.findall(r"`headrace ([^`]+)`", text)
    called += re.findall(r"(?:^|[|;] *|do )headrace ([^|;\n]*)", text, re.MULTILINE)
    return {" ".join(line.split()) for line in called}


@pytest.mark.parametrize("name", NAMES)
def test_internal_links_lead_somewhere(name: str) -> None:
    page = NAMES[name]
    broken = []
    for link in links(page):
        if re.match(r"[a-z]+:", link):
            continue
        path, _, anchor = link.partition("#")
        target = (page.parent / path).resolve() if path else page
        there = target.exists() and target.is_relative_to(ROOT)
        if not there or (anchor and anchor not in anchors(target)):
            broken.append(link)
    assert not broken


def test_every_page_is_reached_from_the_readme() -> None:
    seen: set[Path] = set()
    todo = [ROOT / "README.md"]
    while todo:
        page = todo.pop()
        if page in seen:
            continue
        seen.add(page)
        targets = [(page.parent / link.partition("#")[0]).resolve() for link in links(page)]
        todo += [target for target in targets if target in PAGES]
    assert set(PAGES) - seen == set()


@pytest.mark.parametrize("name", NAMES)
def test_commands_and_options_exist(name: str) -> None:
    text = prose(NAMES[name])
    for sample in samples(NAMES[name]):
        if sample.language == "sh":
            text += "\n" + sample.body
    unknown = []
    for line in command_lines(text):
        words = line.split()
        if words[0].isupper():  # `headrace COMMAND --help`
            continue
        command = next(
            (" ".join(words[:n]) for n in (2, 1) if " ".join(words[:n]) in COMMANDS), None
        )
        if command is None:
            unknown.append(line)
            continue
        options = {
            option for parameter in COMMANDS[command].params for option in parameter.opts
        } | {"--help"}
        unknown += [f"{line}: {word}" for word in words if word[:2] == "--" and word not in options]
    assert not unknown


@pytest.mark.parametrize("name", NAMES)
def test_settings_exist(name: str) -> None:
    named = re.findall(r"\bHEADRACE_[A-Z_]+\b", NAMES[name].read_text(encoding="utf-8"))
    assert set(named) <= SETTINGS


@pytest.mark.parametrize("name", NAMES)
def test_make_targets_exist(name: str) -> None:
    named = re.findall(r"`make ([a-z]+)|^make ([a-z]+)", NAMES[name].read_text(), re.MULTILINE)
    assert {one or other for one, other in named} <= TARGETS


@pytest.mark.parametrize("name", NAMES)
def test_topics_metrics_and_routes_exist(name: str) -> None:
    text = NAMES[name].read_text(encoding="utf-8")
    metrics = (ROOT / "docs" / "reference" / "metrics.md").read_text()
    for metric in set(re.findall(r"`(headrace_[a-z_]+)", text)):
        assert metric in metrics or metric.removeprefix("headrace_") in {
            *(
                "reason",
                "detail",
                "topic",
                "partition",
                "offset",
                "replay_of",
                "left_out",
            ),  # headers
            *("rebuild", "verify", "past"),  # schemas
        }
    for topic in re.findall(r"headrace tail ([a-z-]+)", text):
        assert topic in TOPICS


@pytest.mark.parametrize("name", NAMES)
def test_event_samples_are_valid(name: str) -> None:
    events = [sample for sample in samples(NAMES[name]) if sample.use == "event"]
    bad = [
        f"{sample.page}:{sample.line}: {event.detail}"
        for sample in events
        for event in parse(sample.body.encode(), new_ids=False, now=NOW)
        if isinstance(event, BadLine)
    ]
    assert not bad


@pytest.mark.parametrize("name", NAMES)
def test_json_samples_are_json(name: str) -> None:
    for sample in samples(NAMES[name]):
        if sample.language == "json":
            for line in sample.body.splitlines():
                json.loads(line)


@pytest.mark.parametrize("name", NAMES)
def test_shell_samples_end_in_a_word_that_says_what_becomes_of_them(name: str) -> None:
    uses = {"", "run", "serve", "shows", "event", "explained"}
    assert {sample.use for sample in samples(NAMES[name])} <= uses


def test_the_command_line_page_has_every_command_and_option() -> None:
    page = NAMES["docs/reference/cli.md"].read_text(encoding="utf-8")
    for words, command in COMMANDS.items():
        if not hasattr(command, "commands"):
            assert f"`headrace {words}" in page
            for option in command.params:
                if option.param_type_name == "argument":
                    continue
                assert option.name == "help" or any(f"`{name}" in page for name in option.opts)


def test_the_http_page_has_every_route() -> None:
    page = NAMES["docs/reference/http.md"].read_text(encoding="utf-8")
    nothing: Any = SimpleNamespace(shards=None)  # the app only describes itself
    document = create_app(nothing, nothing).openapi()
    for path, methods in document["paths"].items():
        for method in methods:
            assert f"`{method.upper()} {path}`" in page


def test_the_codes_page_has_every_code() -> None:
    page = NAMES["docs/reference/codes.md"].read_text(encoding="utf-8")
    assert {code for code in Code if f"`{code}`" not in page} == set()
    assert {kind for kind in get_args(ExceptionKind) if f"`{kind}`" not in page} == set()
    assert {event for event in NOT_BUILT if f"`{event}`" not in page} == set()
    fields = {field for model in INPUTS.values() for field in model.NOT_BUILT}
    assert {field for field in fields if f"`{field}`" not in page} == set()


def test_the_states_page_has_every_status() -> None:
    page = NAMES["docs/reference/order-and-fulfillment-states.md"].read_text(encoding="utf-8")
    schema = OUTPUTS["order_accepted"].model_json_schema()
    statuses = schema["properties"]["status"]["enum"]
    assert {status for status in statuses if f"`{status}`" not in page} == set()


def test_the_dependencies_page_has_every_dependency() -> None:
    page = NAMES["docs/dependencies.md"].read_text(encoding="utf-8")
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    groups = [project["dependencies"], *project["optional-dependencies"].values()]
    names = {re.split(r"[\[<>=~! ]", one)[0] for group in groups for one in group} - {"headrace"}
    assert {name for name in names if name.lower() not in page.lower()} == set()


def test_every_decision_is_listed() -> None:
    folder = ROOT / "docs" / "adr"
    listed = set(links(folder / "README.md"))
    assert {page.name for page in folder.glob("0*.md")} == listed


def test_pages_speak_of_this_project_alone() -> None:
    for page in PAGES:
        text = page.read_text(encoding="utf-8")
        assert not re.search(r"/root\b|/work\b|/tmp/|\bshared/", text), page
