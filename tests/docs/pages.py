"""The documentation as data: pages, links, fenced samples."""

import re
import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).parents[2]
PAGES = sorted(
    [
        *(ROOT / "docs").rglob("*.md"),
        *(ROOT / name for name in ("README.md", "CONTRIBUTING.md", "CHANGELOG.md")),
    ]
)
NAMES = {page.relative_to(ROOT).as_posix(): page for page in PAGES}

_FENCE = re.compile(r"^```(?P<info>[^\n`]*)\n(?P<body>.*?)^```$", re.MULTILINE | re.DOTALL)
_LINK = re.compile(r"\]\((?P<to>[^)\s]+)\)")
_HEADING = re.compile(r"^#+ +(?P<title>.+)$", re.MULTILINE)
_NEXT_HEADING = re.compile(r"^##+ ", re.MULTILINE)
_TYPED = re.compile(r"^ *(?:\d+\. `)?headrace (?P<words>[^`\n]*?)(?: +#.*)?(?:`.*)?$", re.MULTILINE)


class Sample(NamedTuple):
    """A fenced block. `use` is the word after the language: run, serve, shows, event or none."""

    page: str
    line: int
    language: str
    use: str
    body: str


def samples(page: Path) -> Iterator[Sample]:
    text = page.read_text(encoding="utf-8")
    for match in _FENCE.finditer(text):
        language, _, use = match["info"].strip().partition(" ")
        line = text.count("\n", 0, match.start()) + 1
        yield Sample(page.relative_to(ROOT).as_posix(), line, language, use, match["body"])


def prose(page: Path) -> str:
    """The page without its fenced blocks."""
    return _FENCE.sub("", page.read_text(encoding="utf-8"))


def links(page: Path) -> list[str]:
    return [match["to"] for match in _LINK.finditer(prose(page))]


def anchors(page: Path) -> set[str]:
    """The anchors that GitHub makes of a page's headings."""
    titles = [match["title"] for match in _HEADING.finditer(prose(page))]
    kept = [re.sub(r"[^\w\- ]", "", re.sub(r"[`*]", "", title)).lower() for title in titles]
    return {title.replace(" ", "-") for title in kept}


def commands(page: str, heading: str) -> list[list[str]]:
    """What a section says to type, word by word: a line of a block, or what a step begins with."""
    _, title, rest = NAMES[page].read_text(encoding="utf-8").partition(f"# {heading}\n")
    section = _NEXT_HEADING.split(rest, maxsplit=1)[0]
    found = [shlex.split(match["words"]) for match in _TYPED.finditer(section)]
    assert title, f"{page} has no section {heading}"
    assert found, f"{page} says nothing to type in {heading}"
    return found
