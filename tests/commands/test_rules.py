"""`headrace rules`: how files are read, what is said of them, what changes between them."""

from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from orchestrator.commands.rule_file import FileError, RuleFile, parse
from orchestrator.commands.rules import app
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


def test_a_file_that_is_not_there_exits_with_2(tmp_path: Path) -> None:
    done = run(tmp_path, "check", "none.yaml")
    assert done.exit_code == 2
    assert "can't be read" in done.stderr


def test_what_can_not_be_sent_is_said_before_anything_is_asked(tmp_path: Path) -> None:
    done = run(tmp_path, "propose", "rules.yaml", rules=f"market: us\nversion: 0\n{EXAMPLE}")
    assert done.exit_code == 2
    assert "version: must be" in done.stderr
    assert "author: is missing" in done.stderr
    nobody = run(tmp_path, "activate")
    assert nobody.exit_code == 2
    assert "--market" in nobody.stderr


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
