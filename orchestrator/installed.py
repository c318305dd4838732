"""What is installed here."""

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
