"""Makes `build/compiled`: the packages with their core compiled: `python tools/compiled.py`.

It is the wheel that HATCH_BUILD_HOOK_ENABLE_CUSTOM=true makes, unpacked; put it first on PYTHONPATH
(with PYTHONSAFEPATH=1: else the folder one is in comes before it). A whole copy, so that nothing
compiled ever runs beside source that was edited since. Made anew only where what it is made from
has changed; prints its path. Ends with another code than 0 where it can not be made.
"""

import hashlib
import os
import shutil
import subprocess
import sys
import tempfile
import zipfile
from importlib.metadata import version
from pathlib import Path
from typing import Final

ROOT: Final = Path(__file__).parents[1]
COMPILED: Final = ROOT / "build" / "compiled"
_MADE_FROM: Final = (
    "pyproject.toml",
    "hatch_build.py",
    *("events", "orchestrator", "projections", "schemas"),
)


def main() -> None:
    """Make it if it isn't there, or is of something else."""
    digest = _digest()
    stamp = COMPILED / "made_from"
    if not stamp.exists() or stamp.read_text(encoding="ascii") != digest:
        _run(str(ROOT / "tools" / "install-compiler"), PYTHON=sys.executable)
        _make(digest)
    print(COMPILED)


def _make(digest: str) -> None:
    print("build/compiled: making it, one to three minutes", file=sys.stderr, flush=True)
    COMPILED.parent.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory(dir=COMPILED.parent) as place:
        _run(
            *(
                sys.executable,
                "-m",
                "hatchling",
                "build",
                "--target",
                "wheel",
                "--directory",
                place,
            ),
            HATCH_BUILD_HOOK_ENABLE_CUSTOM="true",
        )
        (wheel,) = Path(place).glob("*.whl")
        unpacked = Path(place, "unpacked")
        with zipfile.ZipFile(wheel) as archive:
            archive.extractall(unpacked)
        (unpacked / "made_from").write_text(digest, encoding="ascii")
        shutil.rmtree(COMPILED, ignore_errors=True)
        unpacked.rename(COMPILED)


def _run(*command: str, **environment: str) -> None:
    """Run it with its output as progress; end as it ends where it fails."""
    ended = subprocess.run(
        command, cwd=ROOT, env=os.environ | environment, stdout=sys.stderr, check=False
    )
    if ended.returncode:
        raise SystemExit(ended.returncode)


def _digest() -> str:
    """Of all that goes in: the sources, and what translates them."""
    digest = hashlib.sha256(f"{sys.version} {version('mypy')}".encode())
    for name in _MADE_FROM:
        paths = sorted((ROOT / name).rglob("*")) if (ROOT / name).is_dir() else [ROOT / name]
        for path in paths:
            inside = path.relative_to(ROOT)
            if path.is_file() and not any(part.startswith((".", "__py")) for part in inside.parts):
                digest.update(f"{inside}\0".encode())
                digest.update(hashlib.sha256(path.read_bytes()).digest())
    return digest.hexdigest()


if __name__ == "__main__":
    main()
