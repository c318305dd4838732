"""Guards can't be taken out unnoticed; `make mutants` tries all, here five by the commit."""

import subprocess
from pathlib import Path

import pytest

from tests.mutants.sabotage import MUTANTS, Edit, Mutant
from tests.mutants.score import interval
from tests.mutants.trial import (
    ROOT,
    NotApplicable,
    Outcome,
    applied,
    applied_all,
    sample,
    try_all,
    try_mutant,
)

pytestmark = pytest.mark.skipif(
    not (ROOT / ".git").exists(), reason="mutants are tried in a copy of what git knows"
)


@pytest.mark.parametrize("mutant", MUTANTS, ids=lambda mutant: mutant.name)
def test_every_mutant_still_fits_the_code(mutant: Mutant) -> None:
    texts = applied_all(ROOT, mutant)
    assert texts
    for path, text in texts.items():
        assert text != path.read_text()
        compile(text, str(path), "exec")
    for check in mutant.checks:
        file, _, name = check.partition("::")
        assert f"def {name}(" in (ROOT / file).read_text() if name else (ROOT / file).is_file()


@pytest.mark.parametrize("text", ["", "here and here"])
def test_an_old_text_that_does_not_stand_exactly_once_is_an_error(text: str) -> None:
    with pytest.raises(NotApplicable, match="not once"):
        applied(text, Edit("a.py", "here", "there"))


def test_a_samples_score_says_how_far_that_of_all_may_be() -> None:
    assert interval(50, 100) == pytest.approx((0.404, 0.596), abs=0.001)  # Wilson, by a table
    assert interval(10, 10)[0] == pytest.approx(0.722, abs=0.001)
    assert interval(10, 10)[1] == pytest.approx(1)
    assert interval(0, 0) == (0, 1)


@pytest.mark.slow
def test_survived_timed_out_and_crashed_are_told_apart(tmp_path: Path) -> None:
    (tmp_path / "test_code.py").write_text(
        "import code_under_test\n\n\ndef test_it():\n    assert code_under_test.limit() == 1\n"
    )
    (tmp_path / "code_under_test.py").write_text("def limit():\n    return 1\n")

    def outcome(new: str, timeout_s: float = 30) -> Outcome:
        edit = Edit("code_under_test.py", "return 1", new)
        mutant = Mutant("one", (edit,), ("test_code.py",))
        return try_mutant(tmp_path, mutant, timeout_s).outcome

    assert outcome("return 2") is Outcome.KILLED
    assert outcome("return 2 - 1") is Outcome.SURVIVED
    assert outcome("return (") is Outcome.CRASHED
    assert outcome("while True: pass", 3) is Outcome.TIMED_OUT
    assert (tmp_path / "code_under_test.py").read_text() == "def limit():\n    return 1\n"


@pytest.mark.slow
def test_five_mutants_of_this_commit_are_killed() -> None:
    commit = subprocess.run(
        ["git", "rev-parse", "HEAD"], cwd=ROOT, check=True, capture_output=True, text=True
    ).stdout
    for trial in try_all(sample(MUTANTS, commit, 5), workers=1):
        assert trial.outcome is Outcome.KILLED, f"{trial.mutant.name}: {trial}"
