"""`headrace rules`: how files are read, what is said of them, what changes between them."""

import io
import json
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from threading import Thread
from typing import Any

import pytest
from rich.console import Console
from typer.testing import CliRunner, Result

from orchestrator.commands.rule_file import FileError, RuleFile, parse
from orchestrator.commands.rules import app, listed, refused_words
from orchestrator.core.sourcing.rule_checks import check

EXAMPLE = Path("tests/core/example_rules.yaml").read_text(encoding="utf-8")


BOMB = "a: &a [1,1,1,1,1,1,1,1,1,1]\n" + "".join(
    f"{new}: &{new} [{','.join([f'*{old}'] * 10)}]\n"
    for old, new in zip("abcdefgh", "bcdefghi", strict=True)
)


def read(text: str) -> RuleFile:
    return parse(text, "r.yaml")


def run(tmp_path: Path, *words: str, **files: str) -> Result:
    for name, text in files.items():
        (tmp_path / f"{name}.yaml").write_text(text, encoding="utf-8")
    paths = [str(tmp_path / word) if word.endswith(".yaml") else word for word in words]
    return CliRunner().invoke(app, paths)


def test_the_issues_example_is_right_as_it_stands(tmp_path: Path) -> None:
    done = run(tmp_path, "check", "rules.yaml", rules=EXAMPLE)
    assert (done.exit_code, done.stderr) == (0, "")
    assert "is right: 2 strategies." in done.stdout


@pytest.mark.parametrize(
    ("written", "meant"),
    [
        ("NO", "NO"),
        ("on", "on"),
        ("yes", "yes"),
        ("true", True),
        ("False", False),
        ("021", "021"),
        ("12:30", "12:30"),
        ("0x1F", "0x1F"),
        ("1_000", "1_000"),
        ("2026-12-01", "2026-12-01"),
        ("-7", -7),
        ("1.5", 1.5),
        ("'7'", "7"),
        ("~", None),
    ],
)
def test_words_mean_what_they_look_like(written: str, meant: object) -> None:
    found = read(f"a: [{written}]").body["a"][0]
    assert (found, type(found)) == (meant, type(meant))


def test_norway_is_a_country_and_yes_no_truth_value() -> None:
    file = read("strategies:\n- name: a\n  when: {country: [NO]}\n  fences: {reach_promise: yes}\n")
    assert [one["detail"] for one in check(file.body, None)[1]] == [
        'must be true or false, was "yes": write true or false, without quotes'
    ]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("a: 1\na: 2", "r.yaml:2: 'a' stands twice"),
        ("a: [1", "r.yaml:1: is not YAML"),
        ("a: &x [*x]", "r.yaml:1: repeats itself"),
        ("- a", "r.yaml:1: must have fields"),
        ("a: !!python/object:os.system x", "can't stand here"),
        ("x: &x {a: 1}\ny: {<<: *x}", "r.yaml:2: a field's name is a word"),
        ("a: 1\n---\nb: 2", "r.yaml:2: is not YAML"),
        ("a: \x00", "is not YAML"),
        (BOMB, "far too long"),
    ],
)  # fmt: skip
def test_what_is_no_rule_set_file_is_said_with_its_line(text: str, said: str) -> None:
    with pytest.raises(FileError) as error:
        read(text)
    assert said in str(error.value)


def test_a_problem_is_named_with_its_line_or_that_of_what_it_stands_in() -> None:
    file = read("market: us\nstrategies:\n- name: a\n  when:\n    channel: [web,\n      WEB]\n")
    assert file.at("strategies[0].when.channel[1]") == "r.yaml:6"
    assert file.at("strategies[0].when.channel") == "r.yaml:5"
    assert file.at("strategies[0].fences.max_km") == "r.yaml:3"
    assert file.at("version") == "r.yaml:1"
    assert (file.head, list(file.body)) == ({"market": "us"}, ["strategies"])


def test_check_says_everything_and_exits_with_1(tmp_path: Path) -> None:
    wrong = EXAMPLE.replace("max_km: 800", "max_km: -1").replace("else: everything", "else: rest")
    done = run(tmp_path, "check", "rules.yaml", rules=wrong)
    assert done.exit_code == 1
    first, second = done.stderr.splitlines()
    assert first.endswith(
        "strategies[0].fences.max_km: must be a whole number from 1 to 100000, was -1"
    )
    assert "rules.yaml:10: " in first
    assert 'strategies[0].else: there is no strategy "rest"' in second


@pytest.mark.parametrize(
    ("head", "said"),
    [
        ("market: 5", "rules.yaml:1: market: must be"),
        ("note: why\nversion: true", "rules.yaml:2: version: must be"),
        ("author: []", "rules.yaml:1: author: must be"),
    ],
)
def test_check_looks_at_the_head_whatever_market_it_is_for(
    tmp_path: Path, head: str, said: str
) -> None:
    assert run(tmp_path, "check", "rules.yaml", rules=EXAMPLE).exit_code == 0
    done = run(tmp_path, "check", "rules.yaml", rules=f"{head}\n{EXAMPLE}")
    assert done.exit_code == 1
    assert said in done.stderr


def test_diff_says_in_which_file_and_line_a_mistake_stands(tmp_path: Path) -> None:
    wrong = EXAMPLE.replace("max_km: 800", "max_km: -1")
    for names in (("wrong.yaml", "right.yaml"), ("right.yaml", "wrong.yaml")):
        done = run(tmp_path, "diff", *names, wrong=wrong, right=EXAMPLE)
        assert done.exit_code == 1
        assert "wrong.yaml:10: strategies[0].fences.max_km: must be" in done.stderr


def test_an_empty_file_is_no_rule_set(tmp_path: Path) -> None:
    done = run(tmp_path, "check", "rules.yaml", rules="")
    assert (done.exit_code, done.stderr) == (1, f"{tmp_path}/rules.yaml:1: is empty\n")


def test_a_file_that_is_not_there_exits_with_2(tmp_path: Path) -> None:
    done = run(tmp_path, "check", "none.yaml")
    assert done.exit_code == 2
    assert "can't be read" in done.stderr


def test_what_can_not_be_sent_is_said_before_anything_is_asked(tmp_path: Path) -> None:
    done = run(tmp_path, "propose", "rules.yaml", rules=f"market: us\nversion: 0\n{EXAMPLE}")
    assert done.exit_code == 2
    assert "rules.yaml:2: version: must be" in done.stderr
    assert "rules.yaml:1: author: is missing" in done.stderr
    nobody = run(tmp_path, "activate")
    assert nobody.exit_code == 2
    assert "--market" in nobody.stderr


@pytest.mark.parametrize("command", ["approve", "activate", "shadow"])
def test_whoever_names_a_file_hears_in_which_line_it_is_wrong(tmp_path: Path, command: str) -> None:
    words = [command, "rules.yaml", *(["--approver", "Bo"] if command == "approve" else [])]
    wrong = EXAMPLE.replace("max_km: 800", "max_km: -1")
    done = run(tmp_path, *words, rules=f"market: us\nversion: 7\n{wrong}")
    assert done.exit_code == 1
    assert "rules.yaml:12: strategies[0].fences.max_km: must be" in done.stderr
    done = run(tmp_path, *words, rules=f"market: us\nversion: [7]\n{EXAMPLE}")
    assert done.exit_code == 2
    assert "rules.yaml:2: version: must be" in done.stderr


def test_diff_shows_values_by_name_and_not_how_they_are_written(tmp_path: Path) -> None:
    same = run(
        tmp_path,
        "diff",
        "old.yaml",
        "new.yaml",
        old=EXAMPLE,
        new=EXAMPLE.replace("[expedited]", "expedited").replace("quantity: when_short, ", ""),
    )
    assert same.stdout.splitlines()[-1] == "No difference."
    changed = run(
        tmp_path,
        "diff",
        "old.yaml",
        "new.yaml",
        old=EXAMPLE,
        new=EXAMPLE.replace("max_km: 800", "max_km: 600")
        .replace("thresholds: {marketplace: 5}", "")
        .replace("capability: [cold], ", "cross_border: false, "),
    )
    assert changed.stdout.splitlines()[2:] == [
        "- defaults.thresholds.marketplace[0].units: 5",
        '- strategies[cold-express].fences.capability: ["cold"]',
        "~ strategies[cold-express].fences.max_km: 800 -> 600",
        "+ strategies[cold-express].fences.cross_border: false",
    ]


def test_diff_of_a_list_that_has_no_order_shows_what_came_and_what_went(tmp_path: Path) -> None:
    def body(nodes: str, sequence: str) -> str:
        return (
            f"strategies:\n- name: a\n  fences: {{nodes: {{node: [{nodes}]}}}}\n"
            f"  objective: [{{sequence: [{sequence}]}}]\n"
        )

    changed = run(
        tmp_path,
        "diff",
        "old.yaml",
        "new.yaml",
        old=body("S1, S2, S3", "S1, S2"),
        new=body("S3, S1, S4", "S2, S1"),
    )
    assert changed.stdout.splitlines()[2:] == [
        '- strategies[a].fences.nodes.node: "S2"',
        '+ strategies[a].fences.nodes.node: "S4"',
        '~ strategies[a].objective[0].nodes: ["S1", "S2"] -> ["S2", "S1"]',
    ]


class Answering(BaseHTTPRequestHandler):
    """Role api with one node in one market."""

    def do_GET(self) -> None:
        """Answer any list with the node."""
        node = {
            "node_id": "BOS",
            "market_id": "us",
            "kind": "warehouse",
            "address": {"country": "US"},
            "groups": ["stores"],
        }
        self.send_response(200)
        self.end_headers()
        self.wfile.write(json.dumps({"items": [node], "next": None}).encode())

    def log_message(self, *_: object) -> None:
        """Say nothing."""


@pytest.fixture
def api() -> Iterator[str]:
    with HTTPServer(("127.0.0.1", 0), Answering) as server:
        thread = Thread(target=server.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()
        thread.join()


@pytest.mark.parametrize(
    ("head", "market", "said"),
    [
        ("market: us\nversion: 1\nauthor: Ann\n", "eu", "no market eu with nodes; there are: us"),
        ("market: eu\nversion: 1\nauthor: Ann\n", "us", "the file is for eu, not for us"),
        ("version: 1\n", "us", "author: is missing"),
        ("author: Ann\n", "us", "version: is missing"),
    ],
)
def test_check_for_a_market_says_what_proposing_would_be_refused_for(
    tmp_path: Path, api: str, head: str, market: str, said: str
) -> None:
    text = f"{head}strategies:\n- name: a\n"
    done = run(tmp_path, "check", "r.yaml", "--market", market, "--api", api, r=text)
    assert done.exit_code == 1
    assert said in done.stderr
    alone = run(tmp_path, "check", "r.yaml", r=text)
    assert alone.exit_code == 0, "without a market what isn't there may still come"


def test_check_for_a_market_that_takes_it_says_so(tmp_path: Path, api: str) -> None:
    text = "market: us\nversion: 1\nauthor: Ann\nstrategies:\n- name: a\n"
    done = run(tmp_path, "check", "r.yaml", "--market", "us", "--api", api, r=text)
    assert (done.exit_code, done.stderr) == (0, "")
    assert "fits market us" in done.stdout
    typo = f"{text}  fences: {{capability: coldd}}\n"
    done = run(tmp_path, "check", "r.yaml", "--market", "us", "--api", api, r=typo)
    assert done.exit_code == 1
    assert 'fences.capability: no node of the market has "coldd"' in done.stderr


@pytest.mark.parametrize("width", [80, 200])
def test_how_a_version_stands_is_never_cut(width: int) -> None:
    items: list[dict[str, Any]] = [
        {"market_id": "us", "version": "2026-11-holiday", "status": status, "author": "Ann Lee"}
        | {"note": "a long note about why this version " * 5, "active_from": None}
        for status in ("active", "proposed")
    ]
    out = io.StringIO()
    Console(file=out, width=width).print(listed(items))
    text = out.getvalue()
    assert text.count("2026-11-holiday") == 2
    assert "│ active " in text
    assert "proposed, decides nothing" in text
    assert max(map(len, text.splitlines())) <= width


@pytest.mark.parametrize(
    ("mode", "said"),
    [
        (None, "is not activated"),
        ("active", "is not activated"),
        ("shadow", "does not run in shadow"),
        ("shadow_ended", "was not in shadow"),
    ],
)
def test_what_is_refused_is_what_was_asked_for(mode: str | None, said: str) -> None:
    assert refused_words("activated", mode) == said
