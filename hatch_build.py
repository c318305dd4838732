"""The wheel's build hook that compiles the core; on where HATCH_BUILD_HOOK_ENABLE_CUSTOM is true.

Needs a C compiler and Python's headers. Nothing compiled ever lies beside the source: an old `.so`
would run in place of an edited `.py`.
"""

import os
import sys
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import chdir
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from hatchling.builders.config import BuilderConfig
from hatchling.builders.hooks.plugin.interface import BuildHookInterface

_CORE = "orchestrator/core"
_LOOP = tuple(f"orchestrator/replay/{name}.py" for name in ("keys", "loop", "outcome"))
"""What a what-if does around each decision of the core's."""


class CompiledCore(BuildHookInterface[BuilderConfig]):
    """Puts the core and the loop of what-ifs into the wheel twice: as written, and by mypyc."""

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        """Compile, and name what came of it; raises SystemExit where types or the C don't fit."""
        if version == "editable":  # runs what is being edited
            return
        self._place = TemporaryDirectory()  # while the wheel is being made
        place = Path(self._place.name)
        with chdir(self.root):
            modules = sorted(str(path) for path in Path(_CORE).rglob("*.py"))
            _compile([*modules, *_LOOP], place)
        library = place / "lib"
        for path in library.rglob("*.so"):
            build_data["force_include"][str(path)] = str(path.relative_to(library))
        build_data["infer_tag"] = True
        build_data["pure_python"] = False


def _compile(modules: list[str], build: Path) -> None:
    # Only where it compiles: what makes the plain wheel needs neither.
    from mypyc.build import mypycify
    from setuptools import Distribution
    from setuptools.command.build_ext import build_ext

    class OnAllCores(build_ext):
        def build_extensions(self) -> None:
            compile_ = self.compiler.compile

            def compile_all(
                sources: Sequence[str],
                **options: Any,  # noqa: ANN401 - handed on
            ) -> list[str]:
                with ThreadPoolExecutor(os.cpu_count()) as pool:
                    made = pool.map(lambda source: compile_([source], **options), sources)
                    return [one for some in made for one in some]

            self.compiler.compile = compile_all
            super().build_extensions()

    began = time.monotonic()
    _say(f"{len(modules)} modules to C")
    extensions = mypycify(
        modules,
        opt_level="2",
        debug_level="0",
        multi_file=True,
        target_dir=str(build / "c"),
        group_name="headrace_core",
    )
    for extension in extensions:
        # Its functions are called by no other library: no call from file to file need be looked up.
        extension.extra_compile_args.append("-fvisibility=hidden")
    _say(f"C to machine code, after {time.monotonic() - began:.0f} s")
    command = OnAllCores(Distribution({"ext_modules": extensions}))
    command.build_lib = str(build / "lib")
    command.build_temp = str(build / "temp")
    command.ensure_finalized()
    command.run()
    _say(f"compiled in {time.monotonic() - began:.0f} s")


def _say(text: str) -> None:
    print(f"core: {text}", file=sys.stderr, flush=True)
