"""How to write a rule set, word by word, on real servers."""

import shutil
from pathlib import Path

import pytest

from orchestrator.commands.rule_file import parse
from orchestrator.core.sourcing.rule_checks import check as check_body
from orchestrator.core.sourcing.strategies import DEFAULT_BODY
from orchestrator.embedded.server import free_port
from tests.docs.pages import NAMES, ROOT, samples
from tests.docs.test_tutorial import check, run, serving, shell

PAGE = NAMES["docs/how-to/write-a-rule-set.md"]
REFERENCE = NAMES["docs/reference/rule-sets.md"]


def test_the_page_shows_the_file_that_it_uses() -> None:
    (shown,) = [one for one in samples(PAGE) if one.language == "yaml"]
    assert shown.body == (ROOT / "examples/rules.yaml").read_text(encoding="utf-8")


def test_the_reference_shows_rule_sets_that_are_right() -> None:
    example, built_in = [parse(one.body, one.page).body for one in samples(REFERENCE)]
    assert check_body(example, None)[1] == []
    assert built_in == DEFAULT_BODY


@pytest.mark.skipif(shutil.which("curl") is None, reason="the page uses curl")
def test_the_page_shows_what_happens(
    kafka: str, postgres: str, prefix: str, tmp_path: Path
) -> None:
    environment = shell(kafka, postgres, prefix)
    http = environment["HEADRACE_HTTP"]
    steps = [
        one._replace(body=one.body.replace("127.0.0.1:8080", http))
        for one in samples(PAGE)
        if one.use in {"run", "shows"}
    ]
    assert len([one for one in steps if one.use == "run"]) >= 6
    run("headrace topics create; headrace db migrate", environment)
    beside = {**environment, "HEADRACE_HTTP": f"127.0.0.1:{free_port()}"}
    with (
        serving("headrace run", environment, tmp_path / "log"),
        serving("headrace run --roles shadow", beside, tmp_path / "shadow"),
    ):
        for file in ("01-network", "02-stock"):
            run(f"headrace send examples/{file}.jsonl", environment)
        check(steps, environment)
