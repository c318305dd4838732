"""What is installed here."""

import os
from importlib.metadata import version
from importlib.util import find_spec
from typing import Literal


def release() -> str:
    """Which release this is."""
    return version("headrace")


def core() -> Literal["compiled", "interpreted"]:
    """How the core runs: both are made from the same source and decide the same."""
    spec = find_spec("orchestrator.core.decide")
    return "interpreted" if spec and str(spec.origin).endswith(".py") else "compiled"


def cores() -> int:
    """How many processes of ours may compute side by side."""
    allowed = getattr(os, "sched_getaffinity", None)  # not on every platform
    return len(allowed(0)) if allowed is not None else os.cpu_count() or 1
