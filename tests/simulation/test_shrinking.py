"""What fails is made shorter, and the command that is printed fails in the same way."""

import re
import shlex
import sys
from itertools import count

import pytest

from tests.simulation.__main__ import main
from tests.simulation.partners import Partners
from tests.simulation.plan import Fault, a_plan


def _defect(_: Partners) -> None:
    raise ZeroDivisionError("planted [here]")


@pytest.mark.slow
def test_a_run_that_fails_is_shrunk_to_what_it_takes_and_its_command_shows_it(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(Partners, "poison", _defect)
    drawn = next(one for one in map(a_plan, count()) if one.rates.get(Fault.POISONED, 0) >= 1)
    monkeypatch.setattr(sys, "argv", ["", str(drawn.seed), "--shrink"])
    assert main() == 1
    command = capsys.readouterr().out.splitlines()[-1]
    assert command.startswith(f"python -m tests.simulation {drawn.seed} --orders 1 ")
    others = {one.name.lower() for one in (*drawn.rates, *drawn.oddities, *drawn.changes)}
    assert {*re.findall(r"--without (\w+)", command)} == others - {"poisoned"}

    monkeypatch.setattr(sys, "argv", shlex.split(command)[2:])
    assert main() == 1
    assert "planted [here]" in capsys.readouterr().out
